"""Data sets in NumPy's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lronnx.data.dataset import Dataset, Part, unknown
from lronnx.data.trees import damage, sha256
from lronnx.errors import InputError
from lronnx.inputs import map_npy, npz_keys, read_npz

Array = NDArray[Any]

KIND = "array"

_SAMPLES, _LABELS, _CORRUPTED = ("images", "x", "data"), ("labels", "y"), ("corrupted",)
_SPLITS = ("train", "val", "valid", "validation", "test")


class Stacked:
    """Samples along the first axes of some arrays, one array per split."""

    def __init__(self, arrays: Sequence[Array], what: str, axes: str = "") -> None:
        self.axes = axes
        self._arrays, self._what = arrays, what
        self._begins = np.cumsum([0, *(len(array) for array in arrays)])

    def read(self, number: int, wanted: NDArray[np.int64]) -> Array:
        which = int(np.searchsorted(self._begins, number, side="right")) - 1
        within = number - int(self._begins[which])
        sample = np.array(self._arrays[which][within])
        if sample.dtype.kind == "f" and not np.isfinite(sample).all():
            raise InputError(f"sample {within} of {self._what} holds nan or an infinity: every number must be finite")
        return sample


def open_npy(path: Path) -> Dataset:
    """The samples along the first axis of a ``.npy`` file, which is mapped into memory, without labels."""
    array = _samples(map_npy(path), str(path))
    part = Part("", unknown(len(array)), unknown(len(array)))
    return Dataset.build(path.name, KIND, sha256(path), (), [part], Stacked([array], str(path)))


def open_npz(path: Path, key: str | None) -> Dataset:
    """The samples of an ``.npz`` file with their labels, whose arrays have the names that :func:`open_data` tells."""
    keys = npz_keys(path)
    if len(set(keys)) != len(keys):
        raise InputError(f"{path} holds several arrays of the same name")
    arrays = _Arrays(path, keys)
    if key is None:
        names = list(_arrangement(path, keys))
    elif key in keys:
        names = [("", key, *_companions(path, keys, key))]
    else:
        raise InputError(f"{path} has no array '{key}' (it has: {_quoted(keys)})")
    parts, samples = [], []
    for split, images, labels, corrupted in names:
        array = _samples(arrays[images], f"{path}:{images}")
        given = None if labels is None else arrays.labels(labels)
        # Of an array that was asked for by name, the labels are a guess that the length confirms.
        if key is not None and given is not None and len(given) != len(array):
            given, corrupted = None, None
        if given is not None and len(given) != len(array):
            raise InputError(f"{path}:{labels} holds {len(given)} labels for the {len(array)} samples of '{images}'")
        marks = unknown(len(array)) if corrupted is None else arrays.mask(corrupted, len(array))
        parts.append(Part(split, unknown(len(array)) if given is None else given, marks))
        samples.append(array)
    return Dataset.build(path.name, KIND, sha256(path), arrays.classes(), parts, Stacked(samples, str(path)))


class _Arrays:
    """The arrays of an ``.npz`` file, checked for what they are used as."""

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self._path, self._keys = path, keys

    def __getitem__(self, key: str) -> Array:
        return read_npz(self._path, key)

    def labels(self, key: str) -> Array:
        array = self[key]
        if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
            raise InputError(
                f"{self._path}:{key} has type {array.dtype} and shape {array.shape}: labels are whole numbers, one per "
                "sample, of shape (N,) or (N, 1)"
            )
        return array.reshape(-1)

    def mask(self, key: str, count: int) -> Array:
        array = self[key]
        if array.dtype == np.bool_ and array.shape == (count,):
            return array.astype(np.int8)
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(
                f"{self._path}:{key} has type {array.dtype} and shape {array.shape}: what says which labels are "
                f"corrupted is one bool for each of the {count} samples, or a list of positions"
            )
        if len(array) and (int(array.min()) < 0 or int(array.max()) >= count):
            raise InputError(f"{self._path}:{key} holds positions outside 0 to {count - 1}")
        marks = np.zeros(count, dtype=np.int8)
        marks[array.astype(np.int64)] = 1
        return marks

    def classes(self) -> tuple[str, ...]:
        if "classes" not in self._keys:
            return ()
        array = self["classes"]
        if array.dtype.kind not in "US" or array.ndim != 1:
            raise InputError(
                f"{self._path}:classes has type {array.dtype} and shape {array.shape}: names of classes are strings, "
                "one per class"
            )
        with damage(f"{self._path}:classes"):
            names = tuple(str(name) if isinstance(name, str) else name.decode() for name in array.tolist())
        if len(set(names)) != len(names):
            raise InputError(f"{self._path}:classes holds a name twice")
        return names


def _arrangement(path: Path, keys: Sequence[str]) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Per split the names of the arrays with samples, labels, and marks of corrupted labels."""
    splits = [split for split in _SPLITS if _one(path, keys, _forms(_SAMPLES, split))]
    whole = _one(path, keys, _SAMPLES)
    if splits and whole:
        raise InputError(f"{path} has both '{whole}' and arrays of splits: {path}:KEY names the one to take")
    if not splits and not whole:
        raise InputError(
            f"{path} has no array of samples by a name that lronnx knows (it has: {_quoted(keys)}): call it images, x "
            f"or data, or x_train and x_test; {path}:KEY names another one"
        )
    for split in splits or [""]:
        names = [_one(path, keys, _forms(role, split)) for role in (_SAMPLES, _LABELS, _CORRUPTED)]
        yield split, str(names[0]), names[1], names[2]


def _companions(path: Path, keys: Sequence[str], key: str) -> tuple[str | None, str | None]:
    """The names of labels and marks that belong to an array of this name: of its split, else those without one."""
    split = next((split for split in _SPLITS if key in _forms(_SAMPLES, split)), "")
    labels = _one(path, keys, _forms(_LABELS, split))
    return labels, None if labels is None else _one(path, keys, _forms(_CORRUPTED, split))


def _forms(names: Sequence[str], split: str) -> tuple[str, ...]:
    """``x`` of the split ``train`` may be called ``x_train`` or ``train_x``."""
    return tuple(form for name in names for form in ((f"{name}_{split}", f"{split}_{name}") if split else (name,)))


def _one(path: Path, keys: Sequence[str], names: Sequence[str]) -> str | None:
    found = [name for name in names if name in keys]
    if len(found) > 1:
        raise InputError(f"{path} has {_quoted(found)}, which mean the same: {path}:KEY names the one to take")
    return found[0] if found else None


def _samples(array: Array, what: str) -> Array:
    """``array``, checked to hold samples."""
    if array.ndim < 2:
        raise InputError(f"{what} has shape {array.shape}: samples are stacked along the first of at least two axes")
    if 0 in array.shape:
        raise InputError(f"{what} has shape {array.shape}: it holds no numbers")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(
            f"{what} holds {array.dtype} numbers: samples are pixels of uint8, or floating-point numbers as the "
            "network takes them"
        )
    return array


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
