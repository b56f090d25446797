"""CIFAR-10 and CIFAR-100 as they are published, in their binary and their Python version.

The formats are described by A. Krizhevsky at https://www.cs.toronto.edu/~kriz/cifar.html: an image is 3072 bytes, 32 x
32 in row-major order, first all of red, then green, then blue. The binary version puts before each image a byte with
its label, CIFAR-100 two, of which the second is the fine one. The Python version holds a pickled dict per file, with
an array ``data`` (n, 3072) of uint8 and a list ``labels``, or ``fine_labels``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lronnx.data.dataset import Dataset, Part, unknown
from lronnx.data.pickles import load_data
from lronnx.data.trees import Member, Tree
from lronnx.errors import InputError

_SIZE = 32
_PIXELS = 3 * _SIZE * _SIZE
_LIMIT = 2**30
"""Bytes of one file; the largest published one, the training images of CIFAR-100, has 155 MB."""


@dataclass(frozen=True, slots=True)
class _Format:
    """``files`` are those of each split, in their order; ``marks`` tell the format if all of them are in a folder."""

    kind: str
    marks: frozenset[str]
    files: Mapping[str, tuple[str, ...]]
    names: str
    names_key: str
    labels_key: str
    label_bytes: int

    @property
    def pickled(self) -> bool:
        return not self.label_bytes


_FORMATS = (
    _Format(
        "CIFAR-10 binary",
        frozenset({"data_batch_1.bin"}),
        {"train": tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test": ("test_batch.bin",)},
        names="batches.meta.txt",
        names_key="",
        labels_key="",
        label_bytes=1,
    ),
    _Format(
        "CIFAR-10 python",
        frozenset({"data_batch_1"}),
        {"train": tuple(f"data_batch_{batch}" for batch in range(1, 6)), "test": ("test_batch",)},
        names="batches.meta",
        names_key="label_names",
        labels_key="labels",
        label_bytes=0,
    ),
    _Format(
        "CIFAR-100 binary",
        frozenset({"train.bin", "fine_label_names.txt"}),
        {"train": ("train.bin",), "test": ("test.bin",)},
        names="fine_label_names.txt",
        names_key="",
        labels_key="",
        label_bytes=2,
    ),
    _Format(
        "CIFAR-100 python",
        frozenset({"train", "meta"}),
        {"train": ("train",), "test": ("test",)},
        names="meta",
        names_key="fine_label_names",
        labels_key="fine_labels",
        label_bytes=0,
    ),
)


class _Images:
    """Images as rows of 3072 bytes, one array per file."""

    axes = "HWC"

    def __init__(self, batches: Sequence[NDArray[np.uint8]]) -> None:
        self._batches = batches
        self._begins = np.cumsum([0, *(len(batch) for batch in batches)])

    def read(self, number: int, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        which = int(np.searchsorted(self._begins, number, side="right")) - 1
        planes = self._batches[which][number - int(self._begins[which])].reshape(3, _SIZE, _SIZE)
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def open_cifar(tree: Tree) -> Dataset | None:
    """The data set in a folder or an archive, read into memory; None if it is neither CIFAR-10 nor CIFAR-100.

    Raises InputError if a file is missing or not as the format wants it.
    """
    found = _recognise(tree)
    if found is None:
        return None
    format_, files = found
    wanted = [name for names in format_.files.values() for name in names]
    missing = [name for name in (*wanted, format_.names) if name not in files]
    if missing:
        raise InputError(f"{tree.path} is {format_.kind}, but lacks {', '.join(missing)}: unpack or load it again")
    used = [files[name] for name in (*wanted, format_.names)]
    contents: dict[str, Any] = {}
    names = {member.position: name for name, member in files.items()}
    for member, content in tree.read(used, _LIMIT):
        name, what = names[member.position], tree.what(member)
        if name == format_.names:
            contents[name] = _names_in(content, format_, what) if format_.pickled else _lines(content, what)
        else:
            contents[name] = _batch(content, format_, what) if format_.pickled else _records(content, format_, what)
    classes: tuple[str, ...] = contents[format_.names]
    parts = []
    for split, batches in format_.files.items():
        labels = np.concatenate([contents[name][1] for name in batches])
        parts.append(Part(split, labels, unknown(len(labels))))
    source = _Images([contents[name][0] for name in wanted])
    return Dataset.build(tree.path.name, format_.kind, tree.fingerprint(used), classes, parts, source)


def _recognise(tree: Tree) -> tuple[_Format, dict[str, Member]] | None:
    """The format, and the files of the folder it is found in, which is the top or any below."""
    folders: dict[str, dict[str, Member]] = {}
    marks = frozenset().union(*(format_.marks for format_ in _FORMATS))
    for member in tree.members:
        folder, name = posixpath.split(member.name)
        if name in marks:
            folders[folder] = {}
    for member in tree.members:
        folder, name = posixpath.split(member.name)
        if folder in folders:
            if name in folders[folder]:
                raise InputError(f"{tree.what(member)} is there twice: pack the data set again")
            folders[folder][name] = member
    found = [
        (format_, files)
        for files in folders.values()
        for format_ in _FORMATS
        if all(name in files for name in format_.marks)
    ]
    if len(found) > 1:
        kinds = ", ".join(format_.kind for format_, _ in found)
        raise InputError(f"{tree.path} holds several data sets ({kinds}): give the folder of one")
    return found[0] if found else None


def _records(content: bytes, format_: _Format, what: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (n, 3072) and labels (n,) of a binary file."""
    size = format_.label_bytes + _PIXELS
    if not content or len(content) % size:
        raise InputError(f"{what} has {len(content)} bytes, and {format_.kind} has {size} for every image")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return records[:, format_.label_bytes :], records[:, format_.label_bytes - 1]


def _batch(content: bytes, format_: _Format, what: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, 3072) and labels (n,) of a pickled file."""
    batch = _entries(content, what, "data", format_.labels_key)
    data, labels = batch["data"], batch[format_.labels_key]
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == _PIXELS):
        held = f"uint8 of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f"{what} holds as 'data' {held}, and {format_.kind} an array of uint8, (images, {_PIXELS})")
    if isinstance(labels, list) and all(isinstance(label, int) and 0 <= label < 2**31 for label in labels):
        labels = np.array(labels, dtype=np.int64)
    if not (isinstance(labels, np.ndarray) and labels.shape == data.shape[:1]):
        raise InputError(
            f"{what} holds as '{format_.labels_key}' something else than {len(data)} whole numbers, one per image"
        )
    return data, labels


def _names_in(content: bytes, format_: _Format, what: str) -> tuple[str, ...]:
    names = _entries(content, what, format_.names_key)[format_.names_key]
    if not (isinstance(names, list) and all(isinstance(name, (bytes, str)) for name in names)):
        raise InputError(f"{what} holds as '{format_.names_key}' something else than a list of strings")
    return _distinct([name if isinstance(name, str) else _decoded(name, what) for name in names], what)


def _entries(content: bytes, what: str, *keys: str) -> dict[str, Any]:
    """A pickled dict, whose keys are bytes if Python 2 wrote it, with these keys at least."""
    held = load_data(content, what)
    if not isinstance(held, dict):
        raise InputError(f"{what} holds a {type(held).__name__} where CIFAR has a dict")
    entries = {_decoded(key, what) if isinstance(key, bytes) else key: value for key, value in held.items()}
    for key in keys:
        if key not in entries:
            raise InputError(f"{what} has no entry '{key}' (it has: {', '.join(sorted(entries))})")
    return entries


def _lines(content: bytes, what: str) -> tuple[str, ...]:
    return _distinct([line.strip() for line in _decoded(content, what).splitlines() if line.strip()], what)


def _distinct(names: Sequence[str], what: str) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names):
        raise InputError(f"{what} holds {'a name of a class twice' if names else 'no names of classes'}")
    return tuple(names)


def _decoded(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InputError(f"{what} holds a name that is not text in UTF-8") from None
