"""MNIST and its relatives in idx files, plain or compressed.

The format is described by Y. LeCun, C. Cortes and C. Burges at http://yann.lecun.com/exdb/mnist/: big-endian numbers
of 4 bytes, first a magic one, 0x00000803 for images and 0x00000801 for labels, then the size of each axis, then one
byte per element, in row-major order.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lronnx.data.arrays import Stacked
from lronnx.data.dataset import Dataset, Part, unknown
from lronnx.data.trees import Folder, Tree, beginning, decompressed, sha256
from lronnx.errors import InputError

KIND = "MNIST idx"

_NAME = re.compile(
    r"(?P<prefix>(?:.*-)?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx(?P<axes>[13])-ubyte(?:\.gz)?"
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_IMAGES, _LABELS = 0x00000803, 0x00000801
_LIMIT = 2**30
"""Bytes of one file, decompressed; the training images of MNIST have 47 MB."""


def open_idx_folder(tree: Tree) -> Dataset | None:
    """The data set in a folder; None if no file in it has the name of an idx file with images.

    Raises InputError if images have no labels or a file is not as the format wants it.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    # A compressed file and the same one unpacked may lie side by side: the latter comes first.
    for name in sorted((member.name for member in tree.members), key=lambda name: (name.endswith(".gz"), name)):
        folder, base = posixpath.split(name)
        match = _NAME.fullmatch(base)
        if match:
            role = f"{_SPLITS[match['part']]} {match['what']}"
            found.setdefault((folder, match["prefix"]), {}).setdefault(role, name)
    sets = [files for files in found.values() if any(role.endswith("images") for role in files)]
    if not sets:
        return None
    if len(sets) > 1:
        every = ", ".join(sorted(name for files in sets for name in files.values()))
        raise InputError(
            f"{tree.path} holds several data sets in idx files ({every}): give the file with images of one"
        )
    if not isinstance(tree, Folder):
        raise InputError(f"{tree.path} holds idx files: unpack it, and give the folder")
    pairs = {}
    for split in ("train", "test"):
        images, labels = (sets[0].get(f"{split} {what}") for what in ("images", "labels"))
        if images is not None:
            pairs[split] = (tree.path / images, None if labels is None else tree.path / labels)
        if (images is None) != (labels is None):
            raise InputError(
                f"{tree.path} has {images or labels}, but not the {'labels' if images else 'images'} to it"
            )
    return _build(tree.path.name, pairs)


def open_idx(path: Path) -> Dataset | None:
    """The images of one file, with labels if the file of labels that belongs to it lies beside it; None if it is no
    idx file with images. The split is told by the name, "" if it tells none."""
    magic = _magic(path)
    if magic == _LABELS:
        raise InputError(f"{path} holds labels: give the file with images, beside which it is found")
    if magic != _IMAGES:
        return None
    match = _NAME.fullmatch(path.name)
    if match is None or match["what"] != "images":
        return _build(path.name, {"": (path, None)})
    split = _SPLITS[match["part"]]
    siblings = [
        path.with_name(f"{match['prefix']}{match['part']}-labels{dot}idx1-ubyte{gz}")
        for gz in ("", ".gz")
        for dot in "-."
    ]
    labels = next((sibling for sibling in siblings if sibling.is_file()), None)
    return _build(path.name, {split: (path, labels)})


def _build(name: str, pairs: dict[str, tuple[Path, Path | None]]) -> Dataset:
    parts, arrays, digest = [], [], hashlib.sha256()
    for split, (images_path, labels_path) in pairs.items():
        images = _read(images_path, _IMAGES, 3)
        labels = unknown(len(images)) if labels_path is None else _read(labels_path, _LABELS, 1)
        if len(images) != len(labels):
            raise InputError(f"{labels_path} holds {len(labels)} labels for the {len(images)} images of {images_path}")
        parts.append(Part(split, labels, unknown(len(images))))
        arrays.append(images)
        for path in (images_path, labels_path):
            if path is not None:
                digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return Dataset.build(name, KIND, digest.hexdigest(), (), parts, Stacked(arrays, name, "HW"))


def _magic(path: Path) -> int:
    head = beginning(path, 4)
    return int.from_bytes(head) if len(head) == 4 else 0


def _read(path: Path, magic: int, axes: int) -> NDArray[Any]:
    with decompressed(path) as stream:
        header = stream.read(4 * (1 + axes))
        if len(header) < 4 * (1 + axes):
            raise InputError(f"{path} ends within its header: it is cut off")
        found, *shape = struct.unpack(f">{1 + axes}I", header)
        size, announced = math.prod(shape), " x ".join(map(str, shape))
        if found != magic:
            raise InputError(f"{path} begins with 0x{found:08x}, and an idx file of its name with 0x{magic:08x}")
        if not 0 < size <= _LIMIT:
            raise InputError(f"{path} announces {announced} bytes, and lronnx reads 1 to {_LIMIT} of such a file")
        content = stream.read(size + 1)
    if len(content) != size:
        held = f"{len(content)} bytes" if len(content) < size else "more bytes"
        raise InputError(f"{path} holds {held} where its header announces {announced}: it is cut off or damaged")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
