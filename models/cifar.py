"""CIFAR-10 and CIFAR-100 as they are published: found, downloaded, checked and read.

The formats are described by A. Krizhevsky at https://www.cs.toronto.edu/~kriz/cifar.html, which also gives the MD5
sums: an image is 3072 bytes, 32 x 32 in row-major order, first all of red, then green, then blue. The binary version
puts before each image a byte with its label, CIFAR-100 two, of which the second is the fine one. The Python version
holds a pickled dict per file, with an array ``data`` (n, 3072) of uint8 and a list ``labels``, or ``fine_labels``.

lronnx reads the same formats, but what is in models/ meets it through files only; the tests compare both, image by
image.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import math
import os
import pickle
import posixpath
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from models.archives import DataError, Member, Tree

BASE_URL = "https://www.cs.toronto.edu/~kriz/"
TIMEOUT = 60.0  # seconds without a byte after which a download is given up

COUNTS = (50_000, 10_000)
"""Training and test images of both data sets, as published."""

_SIZE = 32
_PIXELS = 3 * _SIZE * _SIZE
_CHUNK = 2**18


@dataclass(frozen=True, slots=True)
class Published:
    """A published archive: its file name, its MD5 in hex, and the folder that unpacking it makes."""

    archive: str
    md5: str
    folder: str


PUBLISHED: dict[str, tuple[Published, ...]] = {
    # The binary version comes first: reading it needs no pickle.
    "cifar10": (
        Published("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin"),
        Published("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py"),
    ),
    "cifar100": (
        Published("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary"),
        Published("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100-python"),
    ),
}

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


class Cifar(NamedTuple):
    """What a tree in one of the formats holds: ``dataset`` "cifar10" or "cifar100", the ``version`` "binary" or
    "Python", images uint8 (N, 3, 32, 32), labels int64 (N,), in the order of the files."""

    dataset: str
    version: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Format:
    """A folder has this format if all ``marks`` are in it. ``label_bytes`` is 0 in the pickled version."""

    dataset: str
    version: str
    marks: frozenset[str]
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    names_key: str
    labels_key: str
    label_bytes: int

    def __str__(self) -> str:
        return f"{TITLES[self.dataset]}, {self.version} version"


_FORMATS = (
    _Format(
        "cifar10",
        "binary",
        frozenset({"data_batch_1.bin"}),
        tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)),
        ("test_batch.bin",),
        names="batches.meta.txt",
        names_key="",
        labels_key="",
        label_bytes=1,
    ),
    _Format(
        "cifar10",
        "Python",
        frozenset({"data_batch_1"}),
        tuple(f"data_batch_{batch}" for batch in range(1, 6)),
        ("test_batch",),
        names="batches.meta",
        names_key="label_names",
        labels_key="labels",
        label_bytes=0,
    ),
    _Format(
        "cifar100",
        "binary",
        frozenset({"train.bin", "fine_label_names.txt"}),
        ("train.bin",),
        ("test.bin",),
        names="fine_label_names.txt",
        names_key="",
        labels_key="",
        label_bytes=2,
    ),
    _Format(
        "cifar100",
        "Python",
        frozenset({"train", "meta"}),
        ("train",),
        ("test",),
        names="meta",
        names_key="fine_label_names",
        labels_key="fine_labels",
        label_bytes=0,
    ),
)


# --- finding and downloading ----------------------------------------------------------------------------------


def find(dataset: str, folder: Path) -> Path | None:
    """The first of the published archives and the folders they unpack to that is in ``folder``; None if none is."""
    for published in PUBLISHED[dataset]:
        for path, there in (
            (folder / published.archive, Path.is_file),
            (folder / published.folder, Path.is_dir),
        ):
            if there(path):
                return path
    return None


def is_published(path: Path) -> bool:
    """Whether a file has a published archive's name, and then also its MD5.

    Raises DataError if it has the name only.
    """
    expected = {entry.archive: entry.md5 for entries in PUBLISHED.values() for entry in entries}.get(path.name)
    if expected is None or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if found != expected:
        raise DataError(
            f"{path} is not the published archive: its MD5 is {found}, that of the published one {expected} (the file "
            f"has {path.stat().st_size} bytes). If it was cut off, delete it and get it again; if it was packed "
            "otherwise on purpose, give it another name"
        )
    return True


def download(dataset: str, folder: Path) -> Path:
    """Get the binary version from the official site into ``folder``, which is made; return the archive's path.

    Of several processes one does the work and the others wait. Nothing is left behind under the archive's name unless
    its MD5 is right. Raises DataError if it cannot be had or kept.
    """
    published = PUBLISHED[dataset][0]
    target = folder / published.archive
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{published.archive}.lock"):
            if not target.is_file():
                _fetch(BASE_URL + published.archive, published.md5, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error}") from None
    return target


def _fetch(url: str, md5: str, target: Path) -> None:
    # The caller holds the lock, so that no other process writes under this name; what a killed one left is overwritten.
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            found, size = _stream(url, file)
        if found != md5:
            raise DataError(
                f"{url} gave {size} bytes with the MD5 {found}, and the published archive has {md5}: the download was "
                "cut off or changed on its way, nothing was kept; try again, or put the archive into "
                f"{target.parent} by other means"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _stream(url: str, file: io.BufferedWriter) -> tuple[str, int]:
    """Copy what ``url`` gives; return its MD5 and size."""
    digest, size = hashlib.md5(usedforsecurity=False), 0

    def failed(reason: object) -> NoReturn:
        raise DataError(
            f"{url} cannot be downloaded: {reason}. Check the connection and try again, or put the archive into the "
            "data folder by other means"
        )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        failed(f"the server answers {error.code} ({error.reason})")
    except (OSError, http.client.HTTPException) as error:
        failed(getattr(error, "reason", None) or error)
    with (
        response,
        Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress,
    ):
        announced = response.headers.get("Content-Length", "")
        task = progress.add_task(f"downloading {url}", total=int(announced) if announced.isdecimal() else None)
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                failed(error)
            if not chunk:
                return digest.hexdigest(), size
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            progress.update(task, completed=size)


# --- reading --------------------------------------------------------------------------------------------------


def read(tree: Tree) -> Cifar | None:
    """The data set in a tree, in whichever of its folders it lies; None if it is neither CIFAR-10 nor CIFAR-100.

    Raises DataError if a file is missing or not as the format wants it, or if there are several data sets.
    """
    found = _recognise(tree)
    if found is None:
        return None
    format_, files = found
    wanted = (*format_.train, *format_.test, format_.names)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise DataError(f"{tree.path} is {format_}, but lacks {', '.join(missing)}: unpack or get it again")
    names = files[format_.names]
    content = tree.read(names)
    classes = (_names if format_.label_bytes else _pickled_names)(content, format_, tree.what(names))
    splits: list[Any] = []
    for batches in (format_.train, format_.test):
        images, labels = zip(*(_batch(tree, files[name], format_, classes) for name in batches), strict=True)
        splits += [np.concatenate(images).reshape(-1, 3, _SIZE, _SIZE), np.concatenate(labels)]
    return Cifar(format_.dataset, format_.version, classes, *splits)


def _recognise(tree: Tree) -> tuple[_Format, dict[str, Member]] | None:
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
                raise DataError(f"{tree.what(member)} is there twice: pack the data set again")
            folders[folder][name] = member
    found = [
        (format_, files) for files in folders.values() for format_ in _FORMATS if all(m in files for m in format_.marks)
    ]
    if len(found) > 1:
        kinds = "; ".join(str(format_) for format_, _ in found)
        raise DataError(f"{tree.path} holds several data sets ({kinds}): give the folder of one")
    return found[0] if found else None


def _batch(
    tree: Tree, member: Member, format_: _Format, classes: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, 3072) and labels (n,) of a file."""
    what = tree.what(member)
    images, labels = (_records if format_.label_bytes else _pickled_batch)(tree.read(member), format_, what)
    if labels.max(initial=0) >= len(classes):
        raise DataError(f"{what} holds the label {labels.max()}, and the data set names {len(classes)} classes")
    return images, labels


def _records(content: bytes, format_: _Format, what: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    size = format_.label_bytes + _PIXELS
    if not content or len(content) % size:
        raise DataError(f"{what} has {len(content)} bytes, and {format_} has {size} for every image: get it again")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return records[:, format_.label_bytes :], records[:, format_.label_bytes - 1].astype(np.int64)


def _names(content: bytes, format_: _Format, what: str) -> tuple[str, ...]:
    return _distinct([line.strip() for line in _text(content, what).splitlines() if line.strip()], what)


def _pickled_batch(content: bytes, format_: _Format, what: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = _entries(content, what, "data", format_.labels_key)
    data, labels = batch["data"], batch[format_.labels_key]
    images = data.array if isinstance(data, _Array) else None
    if images is None or images.ndim != 2 or images.shape[1] != _PIXELS or not len(images):
        held = type(data).__name__ if images is None else f"an array {images.shape}"
        raise DataError(f"{what} holds as 'data' {held}, and {format_} has an array of uint8, (images, {_PIXELS})")
    if not (
        isinstance(labels, list)
        and len(labels) == len(images)
        and all(isinstance(label, int) and 0 <= label < 2**31 for label in labels)
    ):
        raise DataError(f"{what} holds as '{format_.labels_key}' something else than {len(images)} whole numbers")
    return images, np.array(labels, dtype=np.int64)


def _pickled_names(content: bytes, format_: _Format, what: str) -> tuple[str, ...]:
    names = _entries(content, what, format_.names_key)[format_.names_key]
    if not (isinstance(names, list) and all(isinstance(name, (bytes, str)) for name in names)):
        raise DataError(f"{what} holds as '{format_.names_key}' something else than a list of strings")
    return _distinct([_text(name, what) if isinstance(name, bytes) else name for name in names], what)


def _entries(content: bytes, what: str, *keys: str) -> dict[Any, Any]:
    """A pickled dict, whose keys are bytes if Python 2 wrote it, with these keys at least."""
    try:
        # Python 2 pickled text as bytes, and arrays hold bytes that are no text in any encoding.
        held = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    # The unpickler raises whatever it likes on damaged data.
    except Exception as error:
        raise DataError(f"{what} cannot be read as a pickle, it may be damaged: {error}") from None
    if not isinstance(held, dict):
        raise DataError(f"{what} holds a {type(held).__name__} where CIFAR has a dict")
    entries = {_text(key, what) if isinstance(key, bytes) else key: value for key, value in held.items()}
    for key in keys:
        if key not in entries:
            raise DataError(f"{what} has no entry '{key}' (it has: {', '.join(sorted(map(str, entries)))})")
    return entries


def _distinct(names: Sequence[str], what: str) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names):
        raise DataError(f"{what} holds {'a name of a class twice' if names else 'no names of classes'}")
    return tuple(names)


def _text(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise DataError(f"{what} holds a name that is not text in UTF-8") from None


# --- pickles --------------------------------------------------------------------------------------------------
#
# A pickle is a program that may call whatever it can name. Arrays need four names; what stands for them here calls
# nothing of numpy's and only keeps its arguments.


class _Type:
    """Stands for ``numpy.dtype``: the code of a type, such as b"u1"; its state is its byte order, of which one byte
    has none."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands for ``numpy.ndarray``; ``array`` is None until its state, (version, shape, dtype, Fortran order, bytes),
    is known."""

    array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        if not (isinstance(kind, _Type) and kind.code in (b"u1", "u1") and isinstance(raw, bytes)):
            raise DataError("it holds an array of another type than uint8, which CIFAR does not")
        if not all(isinstance(size, int) and size >= 0 for size in shape) or math.prod(shape) != len(raw):
            raise DataError(f"it holds an array of shape {shape} in {len(raw)} bytes")
        self.array = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: bytes | str) -> bytes:
    """How Python 3 writes bytes in protocols up to 2: as a string of their code points."""
    if encoding not in (b"latin1", "latin1"):
        raise DataError(f"it encodes text as {encoding!r}, which CIFAR does not")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    _NAMES = {  # noqa: RUF012
        # numpy 2 renamed numpy.core to numpy._core.
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._NAMES[module, name]
        except KeyError:
            raise DataError(
                f"it wants to load {module}.{name}, which no pickle of CIFAR does and which could do anything: it was "
                "not run; get the archive from its official site"
            ) from None

    def persistent_load(self, pid: object) -> NoReturn:
        raise DataError("it refers to objects outside of it, which no pickle of CIFAR does")
