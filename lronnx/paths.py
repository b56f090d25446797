"""Families of paths near the data: closed paths of translated images, segments between samples, and others.

Every family comes in two forms. The functions :func:`closed`, :func:`open_`, :func:`pairs`, :func:`rays`,
:func:`random_images` and :func:`polylines` are plain generators (the last a sequence) of arrays and need nothing else
of lronnx. :func:`make` gives the same paths of a data set as a sequence whose members are made when they are
asked for, as inputs of a network.

**Reproducible, one by one.** Everything random about a path comes from a stream of its own,
``numpy.random.default_rng([seed, the family's number, the sample's position or the path's number, ...])``. A path thus
depends on the seed and on its number, never on which others are made nor in which order, and ``paths[i]`` makes path i
alone. NumPy keeps such streams the same on every machine, though not for ever from one of its versions to the next.

**Lengths of zero.** Neighbouring points of a path can be equal where samples are: all translations of a constant
image are the same image, and a data set may hold a sample twice. Such segments are passed on as they are; whoever
walks them has to expect them. Only polylines from a file are refused for it.

The closed paths are those of Gamba, Chmielewski-Anders, Sullivan, Azizpour and Björkman, "Are All Linear Regions
Created Equal?", AISTATS 2022.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lronnx.errors import InputError
from lronnx.inputs import as_points, npz_keys, read_array, split_spec
from lronnx.metrics import norm
from lronnx.preprocessing import Preprocessing

Array = NDArray[Any]
Floats = NDArray[np.float64]
_Scalar = TypeVar("_Scalar", bound=np.generic)
_Prepare = Callable[[Array], Array]

FAMILIES = ("closed", "open", "pairs", "rays", "random", "file")

PARTNERS = ("any", "same", "other")
"""Which samples :func:`pairs` may join: any two, two of the same class, or two of different classes."""

# Part of every seed, so that the families do not share their random numbers.
_PAIRS, _RAYS, _RANDOM = (int.from_bytes(name, "big") for name in (b"pair", b"rays", b"rand"))

_SAME_PIXEL = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Path:
    """One path. ``points``: (P, \\*shape) float64, in the network's input; ``closed``: the last point joins the first.

    ``sample``: the position in the data set of the sample that it starts from, ``other`` that of the second sample
    of a pair, in what partners are chosen from; None where there is none. ``label``: of a path from a file, the label
    given there; None otherwise.
    """

    points: Floats
    closed: bool
    sample: int | None = None
    other: int | None = None
    label: int | None = None


class Samples(Protocol):
    """What :func:`make` needs to know of a data set of N samples; ``lronnx.data.Dataset`` is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Array: ...

    @property
    def split(self) -> NDArray[np.str_]:
        """(N,) the split of every sample, "" if there are none."""

    @property
    def label(self) -> NDArray[np.int64]:
        """(N,) the label of every sample, -1 if unknown."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label; () if unknown."""


# --- translated images ----------------------------------------------------------------------------------------


def anchor_offsets(anchors: int = 8, radius: float = 4.0, *, closed: bool = True) -> list[tuple[int, int]]:
    """(down, right) in pixels of each of the ``anchors`` translations on a circle of ``radius`` pixels.

    Anchor k is moved right by ``radius cos(2 pi k / anchors)`` and down by ``radius sin(2 pi k / anchors)``, to the
    nearest pixel. Halves go away from zero; whatever is nearer to a half than 1e-9 pixels counts as one, so that
    rounding noise decides nothing (cos 60° is 1/2, and is not in floating point).

    Raises InputError for fewer than three anchors (two if not ``closed``: a closed path of two points would go back
    the same way, and count everything twice), for a radius that is not positive and finite, and if neighbouring
    anchors coincide since the circle is too small for so many.

    >>> anchor_offsets(4, 1.0)
    [(0, 1), (1, 0), (0, -1), (-1, 0)]
    """
    least = 3 if closed else 2
    if anchors < least:
        kind = "a closed path of translations needs at least three" if closed else "a path needs at least two"
        raise InputError(f"{anchors} anchors are too few: {kind}")
    if not (math.isfinite(radius) and radius > 0.0):
        raise InputError(f"the radius of the anchors is {radius:g} pixels: give a number above 0")
    # On the circle a coordinate crosses from one pixel to the next at most 4 * radius + 2 times.
    most = 8 * radius + 5
    if anchors <= most:
        offsets = _circle(anchors, radius)
        if not _coincide(offsets):
            return offsets
    fitting = next(
        (n for n in range(min(anchors - 1, int(most)), least - 1, -1) if not _coincide(_circle(n, radius))),
        None,
    )
    # Points in one pixel are at most its diagonal apart.
    enough = math.ceil(10.0 / (math.sqrt(2.0) * math.sin(math.pi / anchors)) + 1e-6) / 10.0
    message = f"{anchors} anchors are too many for a radius of {radius:g}: neighbours would fall on the same pixel; "
    message += "" if fitting is None else f"at most {fitting} fit there, and "
    raise InputError(message + f"a radius of {enough:.1f} is enough for {anchors}")


def translate(image: NDArray[_Scalar], down: int, right: int) -> NDArray[_Scalar]:
    """The image with its content moved by whole pixels: the same shape, (H, W) or (H, W, C), and type.

    ``out[y, x] = image[clamp(y - down), clamp(x - right)]``: what moves in repeats the pixels at the edge, as if
    the image were padded with these, shifted, and cropped to its size.

    >>> translate(np.array([[1, 2, 3]]), 0, 1).tolist()
    [[1, 1, 2]]
    """
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[rows[:, None], columns]


def translations(
    image: NDArray[_Scalar], anchors: int = 8, radius: float = 4.0, *, closed: bool = True
) -> NDArray[_Scalar]:
    """The anchors of one image: (K, H, W) or (K, H, W, C), the image translated by :func:`anchor_offsets`.

    Raises InputError as that function does, for an array that is no image, and for a radius that moves all of the
    image out of its frame.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise InputError(f"an array of shape {image.shape} cannot be translated: give (H, W) or (H, W, C)")
    height, width = image.shape[:2]
    # Compared first: a circle far outside could hold any number of anchors.
    offsets = [(0, width)] if radius >= width else anchor_offsets(anchors, radius, closed=closed)
    if any(abs(down) >= height or abs(right) >= width for down, right in offsets):
        raise InputError(
            f"a radius of {radius:g} pixels moves an image of {width} x {height} pixels (width x height) out of its "
            "frame: nothing of it is left"
        )
    return np.stack([translate(image, down, right) for down, right in offsets])


def closed(
    images: Iterable[Array], anchors: int = 8, radius: float = 4.0, prepare: _Prepare | None = None
) -> Iterator[Array]:
    """For every image the anchors of its closed path, (K, \\*shape): the last one is followed by the first.

    ``images``: each (H, W) or (H, W, C). ``prepare`` turns each translated image into an input of the network, such as
    :meth:`lronnx.preprocessing.Preprocessing.from_image`; without it the images come as they are.

    Raises InputError as :func:`translations` does.
    """
    for image in images:
        yield _translated(image, anchors, radius, True, prepare)


def open_(
    images: Iterable[Array], anchors: int = 8, radius: float = 4.0, prepare: _Prepare | None = None
) -> Iterator[Array]:
    """The same anchors as :func:`closed`; the way from the last back to the first is left out. Two are enough."""
    for image in images:
        yield _translated(image, anchors, radius, False, prepare)


# --- segments between samples ---------------------------------------------------------------------------------


class Partners:
    """Which sample each sample is paired with: ``partners(sample, repeat)`` is the position of another one.

    ``labels``: (N,) whole numbers, -1 for unknown; needed for the partners "same" and "other". ``splits``: (N,) the
    split of every sample; partners are of the same split. ``classes``: names of the classes, for messages.

    A sample is never its own partner. ``repeat`` 0, 1, 2, ... gives different partners until all that are allowed have
    had their turn; then they come again in the same order. Each depends on ``seed``, the position of the sample and
    the labels and splits, and each allowed partner is as likely as any other.

    Raises InputError if labels are needed and unknown, and for a sample that has no partner, which it names. ``of``:
    the positions of the samples that need one; by default all do.
    """

    def __init__(
        self,
        count: int,
        partner: str = "any",
        *,
        labels: ArrayLike | None = None,
        splits: ArrayLike | None = None,
        classes: Sequence[str] = (),
        seed: int = 0,
        of: ArrayLike | None = None,
    ) -> None:
        if partner not in PARTNERS:
            raise InputError(f"there is no partner '{partner}': choose one of {', '.join(PARTNERS)}")
        self._seed = _checked_seed(seed)
        label = np.full(count, -1) if labels is None else np.asarray(labels)
        split = np.zeros(count, dtype=np.int64) if splits is None else np.asarray(splits)
        if label.shape != (count,) or split.shape != (count,):
            raise InputError(f"there are {count} samples, but {label.size} labels and {split.size} splits")
        if partner != "any" and (label < 0).any():
            first = int(np.flatnonzero(label < 0)[0])
            raise InputError(
                f"partners of {'the same' if partner == 'same' else 'another'} class need the label of every sample, "
                f"and that of sample {first} is unknown: give data with labels, or pair with any"
            )
        # Sorted by split, then class, the samples of a split are neighbours, and so are those of a class in it.
        self._order = np.lexsort((label, split))
        self._rank = np.empty(count, dtype=np.int64)
        self._rank[self._order] = np.arange(count)
        in_split = _runs(split[self._order])
        in_class = _runs(split[self._order], label[self._order])
        itself = np.stack([np.arange(count), np.arange(count) + 1], axis=1)
        self._allowed = in_class if partner == "same" else in_split
        self._excluded = in_class if partner == "other" else itself
        alone = self._order[np.diff(self._allowed)[:, 0] == np.diff(self._excluded)[:, 0]]
        alone = alone if of is None else np.intersect1d(alone, np.asarray(of))
        if len(alone):
            sample = int(alone.min())
            where = f" of split '{split[sample]}'" if splits is not None and str(split[sample]) else ""
            name = str(classes[label[sample]]) if 0 <= label[sample] < len(classes) else str(label[sample])
            reason = {
                "any": f"it is the only one{where}",
                "same": f"it is the only one of class '{name}'{where}",
                "other": f"all samples{where} are of class '{name}'",
            }[partner]
            raise InputError(f"sample {sample} has no partner: {reason}; select more samples, or other partners")

    def __call__(self, sample: int, repeat: int = 0) -> int:
        """The position of the partner."""
        rank = self._rank[sample]
        first, stop = self._allowed[rank].tolist()
        skipped, after = self._excluded[rank].tolist()
        rng = np.random.default_rng([self._seed, _PAIRS, sample])
        chosen = first + _draw(rng, (stop - first) - (after - skipped), repeat)
        return int(self._order[chosen if chosen < skipped else chosen + (after - skipped)])


def pairs(
    samples: Sequence[Array],
    partner: str = "any",
    *,
    labels: ArrayLike | None = None,
    splits: ArrayLike | None = None,
    per_sample: int = 1,
    seed: int = 0,
    prepare: _Prepare | None = None,
) -> Iterator[Array]:
    """Segments (2, \\*shape) from every sample to ``per_sample`` others, sample by sample; see :class:`Partners`.

    ``prepare`` turns each sample into an input of the network. Raises InputError.
    """
    _check_repeats(per_sample)
    choose = Partners(len(samples), partner, labels=labels, splits=splits, seed=seed)
    for sample in range(len(samples)):
        for repeat in range(per_sample):
            yield _prepared([samples[sample], samples[choose(sample, repeat)]], prepare)


def ray(start: Floats, length: float, *, sample: int, repeat: int = 0, seed: int = 0) -> Floats:
    """A segment (2, \\*shape) from ``start`` to ``start + length * u``, in the units of the network's input.

    ``u`` is uniform on the unit sphere: independent Gaussian numbers, divided by their norm (Muller, "A note on a
    method for generating points uniformly on n-dimensional spheres", CACM 2(4), 1959). It depends on ``seed``,
    ``sample`` and ``repeat`` alone.

    Raises InputError for a length that is not positive and finite, and if the end is beyond float64.
    """
    if not (math.isfinite(length) and length > 0.0):
        raise InputError(f"the length of a ray is {length:g}: give a number above 0")
    start = np.asarray(start, dtype=np.float64)
    direction = np.random.default_rng([_checked_seed(seed), _RAYS, sample, repeat]).standard_normal(start.shape)
    with np.errstate(over="ignore"):
        end = start + length * (direction / norm(direction))
    if not np.isfinite(end).all():
        raise InputError(f"a ray of length {length:g} ends beyond what float64 can say: give a smaller one")
    return np.stack([start, end])


def rays(
    samples: Iterable[Array],
    length: float,
    *,
    per_sample: int = 1,
    seed: int = 0,
    prepare: _Prepare | None = None,
) -> Iterator[Floats]:
    """``per_sample`` segments (2, \\*shape) from every sample into random directions; see :func:`ray`.

    ``prepare`` turns each sample into an input of the network, whose units ``length`` is in.
    """
    _check_repeats(per_sample)
    for sample, start in enumerate(samples):
        point = start if prepare is None else prepare(start)
        for repeat in range(per_sample):
            yield ray(point, length, sample=sample, repeat=repeat, seed=seed)


# --- random control images ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Mean and standard deviation of all pixels of a data set, one number per channel, in the data's own units.

    ``std`` divides by the number of pixels, not by one less.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(images: Iterable[Array]) -> ChannelStatistics:
    """Mean and standard deviation per channel, in one pass that holds one image at a time.

    ``images``: each (H, W) or (H, W, C), all with as many channels. Means and sums of squared deviations of the images
    are merged one by one, which loses no digits where the mean is large against the deviation (Chan, Golub and
    LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983).

    Raises InputError if there is no image, or if their channels differ in number.
    """
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for position, image in enumerate(images):
        if image.ndim not in (2, 3) or image.size == 0:
            raise InputError(f"image {position} has shape {image.shape}: give (H, W) or (H, W, C)")
        pixels = image.reshape(image.shape[0] * image.shape[1], -1).astype(np.float64)
        if position == 0:
            mean, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
        elif pixels.shape[1] != len(mean):
            raise InputError(f"image {position} has {pixels.shape[1]} channels, but those before it have {len(mean)}")
        own = pixels.mean(axis=0)
        gap, before = own - mean, count
        count += len(pixels)
        mean = mean + gap * (len(pixels) / count)
        squares = squares + ((pixels - own) ** 2).sum(axis=0) + gap**2 * (before * len(pixels) / count)
    if count == 0:
        raise InputError("there are no images to take the mean and standard deviation of")
    return ChannelStatistics(tuple(mean.tolist()), tuple(np.sqrt(squares / count).tolist()))


def random_image(statistics: ChannelStatistics, size: tuple[int, int], number: int, seed: int = 0) -> Floats:
    """Control image ``number``: (H, W, C), every pixel uniform between mean - std and mean + std of its channel.

    In the data's own units, as real numbers: for pixels from 0 to 255, some can be below or above these.
    ``size``: (H, W).
    """
    mean, std = np.array(statistics.mean), np.array(statistics.std)
    rng = np.random.default_rng([_checked_seed(seed), _RANDOM, number])
    return rng.uniform(mean - std, mean + std, size=(*size, len(mean)))


def random_images(statistics: ChannelStatistics, size: tuple[int, int], count: int, seed: int = 0) -> Iterator[Floats]:
    """``count`` control images (H, W, C), to be given to :func:`closed` like real ones; see :func:`random_image`."""
    for number in range(count):
        yield random_image(statistics, size, number, seed)


# --- polylines of one's own -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Polylines(Sequence[Floats]):
    """The polylines of a file, each (P, \\*shape) float64, checked; made by :func:`polylines`.

    ``names``: what to call each; ``closed``: whether the last point of each joins its first; ``labels``: one per
    polyline, or None. The arrays are kept in memory in the type they have in the file.
    """

    names: tuple[str, ...]
    closed: bool
    labels: tuple[int, ...] | None
    shape: tuple[int, ...]
    _arrays: Sequence[Array] = field(repr=False)

    def __len__(self) -> int:
        return len(self._arrays)

    @overload
    def __getitem__(self, position: int) -> Floats: ...
    @overload
    def __getitem__(self, position: slice) -> list[Floats]: ...
    def __getitem__(self, position: int | slice) -> Floats | list[Floats]:
        if isinstance(position, slice):
            return [self[i] for i in range(len(self))[position]]
        array = self._arrays[position]
        return array.astype(np.float64).reshape(len(array), *self.shape)


def polylines(
    file: str | os.PathLike[str], shape: Sequence[int] | None = None, *, closed: bool | None = None
) -> Polylines:
    """The polylines of a ``.npy`` or ``.npz`` file of floating-point arrays.

    A ``.npy`` file holds (N, P, \\*shape): N polylines of P points each. An ``.npz`` file holds either such an array
    under the key ``paths`` (or ``file.npz:key``), or one array (P, \\*shape) per polyline, in the archive's order;
    beside these it may hold ``closed``, one boolean, and ``labels``, (N,) whole numbers.

    ``shape``: what a point has to fit, up to axes of size 1 in front; None takes that of the first point. ``closed``:
    what the caller says; None leaves it to the file, and to False if that says nothing.

    Raises InputError, which names the polyline, as :func:`lronnx.inputs.as_points` does; and if the file cannot be
    read, holds something else, or contradicts ``closed``.
    """
    spec = os.fspath(file)
    path, key = split_spec(spec)
    suffix = path.suffix.lower()
    if suffix not in {".npy", ".npz"}:
        raise InputError(f"{path} holds no polylines: give a .npy or .npz file")
    beside = npz_keys(path) if suffix == ".npz" else []
    named = [name for name in beside if name not in {"paths", "closed", "labels"}]
    if key is None and "paths" in beside:
        if named:
            raise InputError(
                f"{path} has the key 'paths' and others ({', '.join(named)}): keep all polylines under 'paths', or "
                f"each under a name of its own; {path}:KEY takes one key"
            )
        key = "paths"
    if suffix == ".npy" or key is not None:
        stacked = read_array(spec if suffix == ".npy" else f"{path}:{key}", "paths")
        if stacked.ndim < 3:
            raise InputError(
                f"{spec} has shape {stacked.shape}: polylines are stacked as (N, P, *shape), N of them with P points "
                "each"
            )
        arrays: list[Array] = list(stacked)
        names = tuple(f"{number}" for number in range(len(arrays)))
    else:
        arrays = [read_array(f"{path}:{name}", name) for name in named]
        names = tuple(named)
    if not arrays:
        raise InputError(f"{spec} holds no polylines")
    closes = _read_closed(path, beside, closed)
    labels = _read_labels(path, beside, len(arrays))
    full = tuple(arrays[0].shape[1:]) if shape is None else tuple(shape)
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0:
            raise InputError(f"polyline {name} of {spec} is a single number: give its points along the first axis")
        try:
            as_points(array, full, closed=closes)
        except InputError as error:
            raise InputError(f"polyline {name} of {spec}: {error}") from None
    return Polylines(names, closes, labels, full, arrays)


# --- of a data set, one by one --------------------------------------------------------------------------------


class Paths(Sequence[Path]):
    """Paths that are made when asked for: ``len`` is known, ``paths[i]`` makes path i alone, each time anew.

    A slice is another such sequence. ``family`` is one of :data:`FAMILIES`. Can be sent to another process if its data
    set can.
    """

    def __init__(self, family: str, build: Callable[[int], Path], numbers: range) -> None:
        self.family = family
        self._build = build
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> Paths: ...
    def __getitem__(self, position: int | slice) -> Path | Paths:
        if isinstance(position, slice):
            return Paths(self.family, self._build, self._numbers[position])
        return self._build(self._numbers[position])


def make(
    family: str,
    data: Samples | str | os.PathLike[str],
    prepare: Preprocessing,
    *,
    anchors: int = 8,
    radius: float = 4.0,
    partner: str = "any",
    per_sample: int = 1,
    length: float | None = None,
    seed: int = 0,
    closed: bool | None = None,
    count: int | None = None,
    statistics: ChannelStatistics | None = None,
    pool: Samples | None = None,
    places: ArrayLike | None = None,
) -> Paths:
    """The paths of a family, each with the points as the network takes them.

    - ``"closed"``, ``"open"``: one path per sample, its image translated by ``anchors`` and ``radius``.
    - ``"pairs"``: ``per_sample`` segments from each sample to a ``partner`` (:class:`Partners`) by ``seed``; path i
      starts from sample ``i // per_sample``. Partners are from ``pool``, the samples of which ``data`` are some, those
      at ``places``; by default from ``data`` itself. :attr:`Path.other` is then a position in the pool.
    - ``"rays"``: likewise, ``length`` long, into random directions (:func:`ray`).
    - ``"random"``: closed paths like the first, of ``count`` random images (:func:`random_image`; None: as many as
      there are samples). They follow the channels' ``statistics``; None takes those of ``data``, in one pass over all
      of it.
    - ``"file"``: ``data`` names a file of :func:`polylines`, to which ``closed`` applies, and of ``prepare`` only the
      input's shape counts: :meth:`lronnx.preprocessing.Preprocessing.identity`.

    Arguments of other families are left aside. Raises InputError at once for whatever can be seen without reading
    all samples.
    """
    if family not in FAMILIES:
        raise InputError(f"there is no family of paths '{family}': choose one of {', '.join(FAMILIES)}")
    if isinstance(data, (str, os.PathLike)):
        if family != "file":
            raise InputError(f"paths of the family '{family}' start from the samples of a data set, not from a file")
        lines = polylines(data, prepare.input_shape, closed=closed)
        return Paths(family, _FromFile(lines), range(len(lines)))
    if family == "file":
        raise InputError("paths of the family 'file' come from a file: give its name, and no data set")
    samples = len(data)
    if samples == 0:
        raise InputError("there are no samples: select some")
    if family in {"closed", "open"}:
        closes = family == "closed"
        # The first image shows whether the others can be translated.
        translations(prepare.image(data[0]), anchors, radius, closed=closes)
        return Paths(family, _Translated(data, prepare, anchors, radius, closes), range(samples))
    if family == "random":
        if count is not None and count < 1:
            raise InputError(f"{count} random images are too few: ask for at least one")
        translations(prepare.image(data[0]), anchors, radius)
        if statistics is None:
            statistics = channel_statistics(prepare.image(data[i]) for i in range(samples))
        build = _Random(statistics, prepare, anchors, radius, _checked_seed(seed))
        return Paths(family, build, range(samples if count is None else count))
    _check_repeats(per_sample)
    numbers = range(samples * per_sample)
    if family == "pairs":
        pool = data if pool is None else pool
        at = np.arange(samples) if places is None else np.asarray(places, dtype=np.int64)
        choose = Partners(
            len(pool), partner, labels=pool.label, splits=pool.split, classes=pool.classes, seed=seed, of=at
        )
        return Paths(family, _Pairs(data, pool, at, prepare, choose, per_sample), numbers)
    if length is None:
        raise InputError("rays need a length, in the units of the network's input")
    ray(prepare(data[0]), length, sample=0, seed=seed)
    return Paths(family, _Rays(data, prepare, length, per_sample, seed), numbers)


@dataclass(frozen=True, eq=False)
class _Translated:
    data: Samples
    prepare: Preprocessing
    anchors: int
    radius: float
    closed: bool

    def __call__(self, number: int) -> Path:
        image = self.prepare.image(self.data[number])
        points = _translated(image, self.anchors, self.radius, self.closed, self.prepare.from_image)
        return Path(points, self.closed, sample=number)


@dataclass(frozen=True, eq=False)
class _Random:
    statistics: ChannelStatistics
    prepare: Preprocessing
    anchors: int
    radius: float
    seed: int

    def __call__(self, number: int) -> Path:
        assert self.prepare.image_shape is not None
        image = random_image(self.statistics, self.prepare.image_shape[:2], number, self.seed)
        return Path(_translated(image, self.anchors, self.radius, True, self.prepare.from_image), True)


@dataclass(frozen=True, eq=False)
class _Pairs:
    data: Samples
    pool: Samples
    places: NDArray[np.int64]
    prepare: Preprocessing
    partners: Partners
    per_sample: int

    def __call__(self, number: int) -> Path:
        sample, repeat = divmod(number, self.per_sample)
        other = self.partners(int(self.places[sample]), repeat)
        points = _prepared([self.data[sample], self.pool[other]], self.prepare)
        return Path(points, False, sample=sample, other=other)


@dataclass(frozen=True, eq=False)
class _Rays:
    data: Samples
    prepare: Preprocessing
    length: float
    per_sample: int
    seed: int

    def __call__(self, number: int) -> Path:
        sample, repeat = divmod(number, self.per_sample)
        points = ray(self.prepare(self.data[sample]), self.length, sample=sample, repeat=repeat, seed=self.seed)
        return Path(points, False, sample=sample)


@dataclass(frozen=True, eq=False)
class _FromFile:
    lines: Polylines

    def __call__(self, number: int) -> Path:
        label = None if self.lines.labels is None else self.lines.labels[number]
        return Path(self.lines[number], self.lines.closed, label=label)


# --- helpers --------------------------------------------------------------------------------------------------


def _circle(anchors: int, radius: float) -> list[tuple[int, int]]:
    angles = [2.0 * math.pi * k / anchors for k in range(anchors)]
    return [(_nearest(radius * math.sin(angle)), _nearest(radius * math.cos(angle))) for angle in angles]


def _nearest(offset: float) -> int:
    """The nearest whole number, halves away from zero."""
    return int(math.copysign(math.floor(abs(offset) + 0.5 + _SAME_PIXEL), offset))


def _coincide(offsets: Sequence[tuple[int, int]]) -> bool:
    """Whether neighbours are equal, the last and the first among them.

    These two are mirror images of the second and the first: an open path would not get by with fewer pixels.
    """
    return any(offsets[k - 1] == offsets[k] for k in range(len(offsets)))


def _translated(image: Array, anchors: int, radius: float, closed: bool, prepare: _Prepare | None) -> Array:
    return _prepared(translations(image, anchors, radius, closed=closed), prepare)


def _prepared(samples: Iterable[Array], prepare: _Prepare | None) -> Array:
    return np.stack([sample if prepare is None else prepare(sample) for sample in samples])


def _runs(*keys: Array) -> NDArray[np.int64]:
    """(N, 2) for each position of sorted keys where the run of equal ones around it starts and stops."""
    count = len(keys[0])
    changes = np.zeros(max(count - 1, 0), dtype=np.bool_)
    for key in keys:
        changes |= key[1:] != key[:-1]
    edges = np.concatenate([[0], np.flatnonzero(changes) + 1, [count]])
    sizes = np.diff(edges)
    return np.stack([np.repeat(edges[:-1], sizes), np.repeat(edges[1:], sizes)], axis=1)


def _draw(rng: np.random.Generator, count: int, repeat: int) -> int:
    """Member ``repeat`` of a random order of ``range(count)``, which starts again after its end.

    The beginning of a Fisher-Yates shuffle: what is drawn first does not depend on how many are drawn after it.
    """
    moved: dict[int, int] = {}
    chosen = 0
    for position in range(repeat % count + 1):
        other = int(rng.integers(position, count))
        chosen = moved.get(other, other)
        moved[other] = moved.get(position, position)
    return chosen


def _check_repeats(per_sample: int) -> None:
    if per_sample < 1:
        raise InputError(f"{per_sample} paths per sample are too few: ask for at least one")


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise InputError(f"the seed is {seed}: give a whole number from 0 up")
    return seed


def _read_closed(path: FilePath, beside: Sequence[str], closed: bool | None) -> bool:
    if "closed" not in beside:
        return bool(closed)
    flag = read_array(f"{path}:closed", "closed")
    if flag.shape != () or flag.dtype != np.bool_:
        raise InputError(f"{path}:closed has shape {flag.shape} and type {flag.dtype}: give one boolean, True or False")
    if closed is not None and closed != bool(flag):
        raise InputError(
            f"{path}:closed says that its polylines are {'closed' if flag else 'open'}, and the caller says otherwise: "
            "leave one of the two out"
        )
    return bool(flag)


def _read_labels(path: FilePath, beside: Sequence[str], count: int) -> tuple[int, ...] | None:
    if "labels" not in beside:
        return None
    labels = read_array(f"{path}:labels", "labels")
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"{path}:labels has shape {labels.shape} and type {labels.dtype}: give one whole number for each of the "
            f"{count} polylines"
        )
    return tuple(int(label) for label in labels)
