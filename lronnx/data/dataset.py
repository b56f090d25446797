"""A labelled data set in splits, whatever it is stored as, and selections from it."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lronnx.errors import InputError

Array = NDArray[Any]

_LISTED = 20
"""Names that a message lists before it only counts the others."""


class Source(Protocol):
    """Where samples are read from. They are numbered from 0, through all splits in their order."""

    @property
    def axes(self) -> str | None:
        """As :attr:`Dataset.axes`; None if the samples themselves tell."""

    def read(self, number: int, wanted: NDArray[np.int64]) -> Array:
        """One sample, read-only or a copy. ``wanted``: all that may be asked for later, to be fetched in one go."""


class Part(NamedTuple):
    """One split of a data set as its file holds it: labels (n,) of whole numbers, -1 if unknown, and what is known
    about corrupted ones, (n,) of int8."""

    split: str
    labels: Array
    corrupted: Array


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """Samples with their labels, read when they are asked for. Immutable; a selection shares what it was made of.

    ``name``: base name of the file or folder. ``kind``: of which kind it is, in words. ``fingerprint``: a hex SHA-256
    that changes when the content does: of the whole file for an archive or an array; of names and contents of the
    files used for folders of CIFAR, and of MNIST's images and labels; of the sorted relative names and sizes (not
    the contents, which may be millions of files) for a folder of images. ``classes``: the names of the classes by
    label, () if unknown. ``split_names``: of the splits that have samples, in the order of the samples; ("",) if the
    source has no splits.

    The samples are ordered by split, then by index. Of sample i, ``split[i]`` is the name of its split, ``index[i]``
    its position in that split as the source orders it, which a selection keeps, ``label[i]`` its class, -1 if
    unknown, and ``corrupted[i]`` whether its label is known to be corrupted: 1, 0, or -1 if nothing was said.
    All four have shape (N,) and are read-only.
    """

    name: str
    kind: str
    fingerprint: str
    classes: tuple[str, ...] = field(repr=False)
    split_names: tuple[str, ...]
    split: NDArray[np.str_] = field(repr=False)
    index: NDArray[np.int64] = field(repr=False)
    label: NDArray[np.int64] = field(repr=False)
    corrupted: NDArray[np.int8] = field(repr=False)
    _numbers: NDArray[np.int64] = field(repr=False)
    _sizes: Mapping[str, int] = field(repr=False)
    _source: Source = field(repr=False)

    @classmethod
    def build(
        cls, name: str, kind: str, fingerprint: str, classes: Sequence[str], parts: Sequence[Part], source: Source
    ) -> Dataset:
        """All samples of a source, whose splits are ``parts`` in order.

        Raises InputError if there is none, or if a label is no class.
        """
        counts = [len(part.labels) for part in parts]
        if not sum(counts):
            raise InputError(f"{name} holds no samples")
        for part in parts:
            _check_labels(part, classes, name)
        return cls(
            name=name,
            kind=kind,
            fingerprint=fingerprint,
            classes=tuple(classes),
            split_names=tuple(part.split for part in parts if len(part.labels)),
            split=_frozen(np.repeat(np.array([part.split for part in parts], dtype=np.str_), counts)),
            index=_frozen(np.concatenate([np.arange(count, dtype=np.int64) for count in counts])),
            label=_frozen(np.concatenate([part.labels.astype(np.int64) for part in parts])),
            corrupted=_frozen(np.concatenate([part.corrupted.astype(np.int8) for part in parts])),
            _numbers=_frozen(np.arange(sum(counts), dtype=np.int64)),
            _sizes={part.split: count for part, count in zip(parts, counts, strict=True)},
            _source=source,
        )

    @property
    def axes(self) -> str:
        """The axes of samples that are images, of uint8: "HWC" or "HW"; "" for arrays, of which no file tells them.

        For images in a folder or an archive the first sample is decoded to find out: with it, all others are
        expected to be in colour, or grey. Raises InputError if it cannot be read.
        """
        axes = self._source.axes
        return axes if axes is not None else "HWC"[: self[0].ndim]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, position: int) -> Array:
        """Sample number ``position`` of this selection: uint8 (H, W) or (H, W, C), or an array as it is stored.

        Raises InputError if it cannot be read or holds nan or an infinity, IndexError if there is no such sample.
        """
        return self._source.read(int(self._numbers[operator.index(position)]), self._numbers)

    def select(
        self,
        *,
        splits: Sequence[str] = (),
        classes: Sequence[str] = (),
        indices: str | Sequence[int] | None = None,
        samples: int | None = None,
        corrupted_samples: int | None = None,
        seed: int = 0,
    ) -> Dataset:
        """The samples that meet all the conditions given; the order stays by split, then index.

        ``splits``: of these splits. ``classes``: of these classes, given by name or by label; a text that is a name
        is taken as a name. ``indices``: with these positions in their split, numbers or a text such as "0:100,205"
        of positions and half-open ranges, whose ends may be left out. ``samples``: of those, at most so many of each
        split, drawn without replacement: ``seed`` puts each split of the source in a random order, which depends on
        nothing but the seed, the split's name and its size in the source, and the first that meet the conditions
        are taken. So more samples add to fewer, and the draw in one split depends on no other.
        ``corrupted_samples``: those whose labels are known to be corrupted are drawn apart, at most so many of each
        split, and ``samples`` bounds the others.

        Raises InputError if a split, a class or a position does not exist, if nothing is left, and if corrupted
        samples are asked for where nobody said which are.
        """
        keep = np.ones(len(self), dtype=np.bool_)
        if splits:
            keep &= self._in_splits(splits)
        if indices is not None:
            keep &= self._at(indices, keep)
        if classes:
            keep &= np.isin(self.label, [self._class(text) for text in _texts(classes, "classes")])
        if corrupted_samples is not None and not (self.corrupted >= 0).any():
            raise InputError(
                f"which labels of {self.name} are corrupted is unknown: their samples cannot be drawn apart"
            )
        for count in (samples, corrupted_samples):
            if count is not None and count < 1:
                raise InputError(f"{count} samples of each split are none: at least 1 is needed")
        if (samples, corrupted_samples) != (None, None) and seed < 0:
            raise InputError(f"the seed is {seed}: it must not be negative")
        apart = self.corrupted == 1 if corrupted_samples is not None else np.zeros(len(self), dtype=np.bool_)
        for drawn, bound in ((~apart, samples), (apart, corrupted_samples)):
            for split in self.split_names if bound is not None else ():
                inside = np.flatnonzero(keep & drawn & (self.split == split))
                ranks = _ranks(split, self._sizes[split], seed)[self.index[inside]]
                keep[inside[np.argsort(ranks)[bound:]]] = False
        if not keep.any():
            raise InputError(f"no sample of {self.name} meets all the conditions (splits, classes, indices) together")
        kept = {str(split) for split in np.unique(self.split[keep])}
        return replace(
            self,
            split_names=tuple(split for split in self.split_names if split in kept),
            split=_frozen(self.split[keep]),
            index=_frozen(self.index[keep]),
            label=_frozen(self.label[keep]),
            corrupted=_frozen(self.corrupted[keep]),
            _numbers=_frozen(self._numbers[keep]),
        )

    def with_corrupted(self, split: str, indices: Iterable[int], known: Iterable[int] | None = None) -> Dataset:
        """The same samples, those of ``split`` at these positions marked as corrupted (1), its others as not (0).

        ``known``: the positions that this is known of; of the others it is unknown (-1). A position may belong to a
        sample that is not selected. Raises InputError for a split that is not here or a position that the split does
        not have.
        """
        inside = self._in_splits([split])
        marked = np.array([_position(index) for index in indices], dtype=np.int64)
        self._check_range(marked, [split])
        corrupted = self.corrupted.copy()
        corrupted[inside] = np.isin(self.index[inside], marked)
        if known is not None:
            among = np.array([_position(index) for index in known], dtype=np.int64)
            self._check_range(among, [split])
            corrupted[inside & ~np.isin(self.index, among)] = -1
        return replace(self, corrupted=_frozen(corrupted))

    def _in_splits(self, splits: Sequence[str]) -> NDArray[np.bool_]:
        for split in _texts(splits, "splits"):
            if split not in self.split_names:
                have = _listed(self.split_names) if self.split_names != ("",) else "no splits"
                raise InputError(f"{self.name} has no split '{split}' here (it has: {have})")
        return np.isin(self.split, list(splits))

    def _class(self, text: str) -> int:
        if text in self.classes:
            return self.classes.index(text)
        known = (
            range(len(self.classes))
            if self.classes
            else [int(label) for label in np.unique(self.label[self.label >= 0])]
        )
        if not known:
            raise InputError(f"the labels of {self.name} are unknown: its samples cannot be selected by class")
        if re.fullmatch(r"[0-9]{1,18}", text) and int(text) in known:
            return int(text)
        names = _listed(self.classes) if self.classes else f"labels {_listed([str(label) for label in known])}"
        raise InputError(f"{self.name} has no class '{text}' (it has: {names})")

    def _at(self, indices: str | Sequence[int], candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which samples have one of these positions in their split."""
        splits = [split for split in self.split_names if (candidates & (self.split == split)).any()]
        if not isinstance(indices, str):
            positions = np.array([_position(index) for index in indices], dtype=np.int64)
            self._check_range(positions, splits)
            return np.isin(self.index, positions)
        chosen = np.zeros(len(self), dtype=np.bool_)
        longest = max(self._sizes[split] for split in splits)
        for part in indices.split(","):
            found = re.fullmatch(r"\s*(?:([0-9]{1,18})|([0-9]{0,18}):([0-9]{0,18}))\s*", part)
            if found is None:
                raise InputError(
                    f"'{indices}' names no positions: give numbers and half-open ranges, such as 0:100,205 (which is "
                    "0 to 99 and 205)"
                )
            single, first, last = found.groups()
            if single is None:
                begin, end = int(first or 0), int(last or longest)
                if begin >= end:
                    raise InputError(f"the range {part.strip()} of '{indices}' is empty: ranges are half-open")
            else:
                begin, end = int(single), int(single) + 1
            self._check_range(np.array([begin, end - 1]), splits)
            chosen |= (self.index >= begin) & (self.index < end)
        return chosen

    def _check_range(self, positions: NDArray[np.int64], splits: Sequence[str]) -> None:
        """Raise InputError unless one of the splits, as its source holds it, has each of these positions."""
        longest = max(self._sizes[split] for split in splits)
        bad = positions[(positions < 0) | (positions >= longest)]
        if len(bad):
            sizes = ", ".join(f"{self._sizes[split]} in '{split}'" if split else f"{longest}" for split in splits)
            raise InputError(f"{self.name} has no sample at position {bad[0]}: they count from 0 (samples: {sizes})")


def unknown(count: int) -> Array:
    """Of ``count`` samples, the labels nobody knows, or whether they are corrupted if nobody said."""
    return np.full(count, -1, dtype=np.int8)


def _check_labels(part: Part, classes: Sequence[str], name: str) -> None:
    if not len(part.labels):
        return
    low, high = int(part.labels.min()), int(part.labels.max())
    where = f" in split '{part.split}'" if part.split else ""
    if low < -1:
        raise InputError(f"{name} holds the label {low}{where}: labels count from 0, and -1 stands for an unknown one")
    if classes and high >= len(classes):
        raise InputError(f"{name} holds the label {high}{where}, but names {len(classes)} classes, which count from 0")
    if high > np.iinfo(np.int64).max:
        raise InputError(f"{name} holds the label {high}{where}, which is larger than a label can be")


def _ranks(split: str, size: int, seed: int) -> NDArray[np.int64]:
    """A random order of the positions in a split: the rank of each."""
    salt = int.from_bytes(hashlib.sha256(split.encode()).digest()[:8])
    return np.random.default_rng([seed, salt]).permutation(size)


def _texts(texts: Sequence[str], option: str) -> Sequence[str]:
    # A string is a sequence of strings, too, and never the one that was meant.
    if isinstance(texts, str):
        raise InputError(f"{option} are a sequence of names, not the text '{texts}'")
    return texts


def _position(index: int) -> int:
    try:
        position = operator.index(index)
    except TypeError:
        raise InputError(f"{index!r} is no position: positions are whole numbers") from None
    if abs(position) > np.iinfo(np.int64).max:
        raise InputError(f"no split has a position {position}")
    return position


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _frozen(array: Array) -> Any:
    array.setflags(write=False)
    return array
