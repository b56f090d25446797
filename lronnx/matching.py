"""How the inputs and outputs of one network correspond to those of another, and loading networks to be compared.

The same function may be exported with its channels first or last, flattened, and with further axes of size 1. What
turns a point of the first network into one of the other is a permutation of its numbers, and, where both networks say
how pixels become their inputs, an affine map per channel. Where the shapes leave several permutations, the networks'
own outputs decide, or the user does; nothing is taken for granted.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lronnx import network as networks
from lronnx import onnx_io
from lronnx.errors import InputError, LronnxError, ModelError, NotPiecewiseAffineError
from lronnx.graph import Value
from lronnx.inputs import Pixels, core_shape
from lronnx.network import Network
from lronnx.onnx_io import Interface
from lronnx.ops import QUANTIZED
from lronnx.preprocessing import clear_layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYOUTS = ("chw", "hwc")
"""Channels first, or last."""

PROBES = 8
"""At how many of the given points outputs are compared, at most."""
_AGREE = networks.ROUNDING["float32"]
# By how much a difference has to be smaller than another one if the outputs are to tell the two apart.
_CLEARLY = 100.0
# Below this, relative to the outputs, differences are rounding in double precision and say nothing.
_SMALLEST = 1e-12

_STAIRCASE = (
    "it is quantized: what it computes is rounded to a grid, so that its output is a staircase, piecewise constant in "
    "its input (but for the grid's scale, where that follows the input), with no slopes and no linear regions to "
    "compare; the float model that it was made from can be compared"
)


@dataclass(frozen=True, eq=False)
class Match:
    """How points and outputs of a network correspond to those of another one.

    ``input_shape`` and ``other_shape``: one sample's, of the first network and of the other. ``outputs``: (m,), for
    each output of the first its place among the other's; None if they are in the same order. ``told``: what was matched
    and how, in short sentences. ``order``: (n,), for each number of a point of the other, flattened, its place in the
    first's; None if they are in the same order. ``factor`` and ``term``: what the first's numbers, in the other's
    order, are multiplied by, and what is then added: numbers, or arrays of (n,); None if they stay as they are.
    """

    input_shape: tuple[int, ...]
    other_shape: tuple[int, ...]
    outputs: Ints | None = None
    told: tuple[str, ...] = ()
    order: Ints | None = None
    factor: Floats | None = None
    term: Floats | None = None

    def points(self, points: Floats) -> Floats:
        """The other network's points for points of the first: float64, (P, \\*input_shape) to (P, \\*other_shape).

        Raises InputError for another shape.
        """
        array = np.asarray(points, dtype=np.float64)
        if array.shape[1:] != self.input_shape:
            raise InputError(
                f"points of shape {array.shape[1:]}, the first network's input takes {self.input_shape}: points are "
                "stacked along the first axis"
            )
        flat = array.reshape(len(array), -1)
        if self.order is not None:
            flat = flat[:, self.order]
        if self.factor is not None:
            flat = flat * self.factor
        if self.term is not None:
            flat = flat + self.term
        return np.asarray(flat).reshape(len(array), *self.other_shape)

    def values(self, array: Floats) -> Floats:
        """Outputs of the other network, or their slopes, in the order of the first's: (..., m) to (..., m)."""
        return array if self.outputs is None else array[..., self.outputs]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network to be compared, and how it was loaded, so that it can be loaded again elsewhere.

    ``number``: its place among the models, from 1. ``path``: the file as it was given. ``output``, ``fixed_inputs`` and
    ``shapes``: the arguments of :func:`lronnx.load` for it. ``told``: what was chosen for it and why, in short
    sentences.
    """

    number: int
    path: str
    network: Network
    output: str | None
    fixed_inputs: Mapping[str, NDArray[Any]]
    shapes: Mapping[str, tuple[int, ...]]
    told: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Order:
    """One way in which the numbers of two arrays may correspond.

    ``order``: (n,), for each number of the other, flattened, its place in the first; None if it is the same.
    ``layouts``: where both keep their channels if that is the way, as pairs of "chw" and "hwc". ``guess``: shapes do
    not suggest it, so that only the outputs can.
    """

    order: Ints | None
    layouts: tuple[tuple[str, str], ...]
    guess: bool = False

    def _allowed(self, told: tuple[str | None, str | None]) -> list[tuple[str, str]]:
        return [p for p in self.layouts if all(want in (None, have) for want, have in zip(told, p, strict=True))]

    def allows(self, told: tuple[str | None, str | None]) -> bool:
        """Whether this is a way if that much is known of both layouts."""
        return bool(self._allowed(told))

    def known(self, told: tuple[str | None, str | None]) -> tuple[str, str]:
        """Where both then keep their channels, "" where that is still open."""
        pairs = self._allowed(told) or self.layouts
        one, two = ({pair[side] for pair in pairs} for side in (0, 1))
        return (one.pop() if len(one) == 1 else ""), (two.pop() if len(two) == 1 else "")


def match(
    first: Network,
    other: Network,
    *,
    layouts: tuple[str | None, str | None] = (None, None),
    pixels: tuple[Pixels, Pixels] | None = None,
    probes: Floats | None = None,
    names: tuple[str, str] = ("1", "2"),
    image_shape: tuple[int, int, int] | None = None,
) -> Match:
    """How points of ``first`` become points of ``other``, and how their outputs correspond.

    Axes of size 1 may be anywhere, channels first or last, and inputs flattened. ``layouts``: where the inputs keep
    their channels, "chw" (first) or "hwc" (last); of a flattened one the order in which its pixels were flattened; None
    if nobody says. ``pixels``: how pixels become inputs of both; if both have a scale, points go through the affine
    map between the two. ``probes``: points of the first, (P, \\*input_shape), at which outputs tell where shapes leave
    several ways. ``names``: what to call the models, as options for one of them are written: their numbers, or file
    names. ``image_shape``: (H, W, C) of the images, if they are known, which tells how two flattened inputs may differ;
    otherwise they are taken for square ones of three channels where that is possible.

    Inputs of the same shape are taken as they are, unless the outputs agree, up to rounding of float32, if their
    channels are moved, and do not otherwise. Outputs that are images are permuted by the same rules.

    Raises InputError if inputs or outputs do not correspond, or if there are several ways and nothing decides.
    """
    given = _checked(layouts)
    pair = _Pair(first, other, names, pixels, given)
    pair.check_counts()
    if image_shape is not None and prod(image_shape) != prod(first.input_shape):
        raise InputError(f"images of {image_shape} are no inputs of {pair.called[0]}, which takes {first.input_shape}")
    found = _orders(first.input_shape, other.input_shape, image_shape, guess=True)
    inputs = found
    if any(given):
        told = pair.layouts
        inputs = tuple(replace(order, guess=False) for order in found if order.allows(told))
    outputs = _orders(first.output_shape, other.output_shape)
    if len([order for order in outputs if not order.guess]) > 1:
        # A network is taken to keep the channels of both in the same place where it is the user who says so.
        outputs = tuple(order for order in outputs if order.allows(given))
    if not inputs:
        raise InputError(pair.misfit(found))
    if not outputs:
        raise InputError(pair.unlike())
    ways = list(itertools.product(inputs, outputs))
    certain = [way for way in ways if not (way[0].guess or way[1].guess)]
    if len(certain) == len(ways) == 1:
        return pair.match(*certain[0])
    decided = None if probes is None else pair.decide(ways, certain, np.asarray(probes, dtype=np.float64))
    if decided is not None:
        return decided
    if len(certain) == 1:
        return pair.match(*certain[0])
    tried = (
        "" if probes is None else ", and the outputs do not tell it either: they agree in none of these, or in several"
    )
    if not any(not order.guess for order in inputs):
        raise InputError(pair.misfit(found))
    if not certain:
        raise InputError(pair.unlike())
    raise InputError(pair.ambiguous(inputs, outputs, tried))


@dataclass(frozen=True)
class _Pair:
    """Two networks to be matched, and what the user said about them."""

    first: Network
    other: Network
    names: tuple[str, str]
    pixels: tuple[Pixels, Pixels] | None
    given: tuple[str | None, str | None]

    @property
    def called(self) -> tuple[str, str]:
        """What to call the networks in messages."""
        networks_named = zip((self.first, self.other), self.names, strict=True)
        one, two = (f"model {name} ({network.path})" if name.isdecimal() else name for network, name in networks_named)
        return one, two

    @property
    def _short(self) -> tuple[str, str]:
        """The same in sentences."""
        one, two = (f"model {name}" if name.isdecimal() else name for name in self.names)
        return one, two

    @property
    def layouts(self) -> tuple[str | None, str | None]:
        """Where the inputs keep their channels as far as the user or the shapes say it."""
        one, two = (
            want or _clear(network.input_shape)
            for want, network in zip(self.given, (self.first, self.other), strict=True)
        )
        return one, two

    def check_counts(self) -> None:
        """Raise InputError unless the numbers of inputs and outputs are equal."""
        first, other, called = self.first, self.other, self.called
        sizes = prod(first.input_shape), prod(other.input_shape)
        if sizes[0] != sizes[1]:
            raise InputError(
                f"the inputs do not correspond: '{first.input_name}' of {called[0]} is {first.input_shape}, "
                f"{sizes[0]} numbers, '{other.input_name}' of {called[1]} {other.input_shape}, {sizes[1]} numbers; "
                "networks are compared at the same points"
            )
        if first.outputs != other.outputs:
            raise InputError(
                f"the outputs do not correspond: '{first.output_name}' of {called[0]} is {first.output_shape}, "
                f"{first.outputs} numbers, '{other.output_name}' of {called[1]} {other.output_shape}, {other.outputs} "
                "numbers; --output K=NAME or --map FIRST=OTHER chooses others"
            )

    def match(self, inputs: _Order, outputs: _Order, decided: tuple[str, ...] = ()) -> Match:
        """The match that these orders make. Raises InputError if pixels cannot be mapped."""
        first, other = self.first, self.other
        pair = inputs.known(self.layouts)
        scaled, told = self._pixel_map(pair[1])
        factor, term = (None, None) if scaled is None else scaled
        return Match(
            first.input_shape,
            other.input_shape,
            None if outputs.order is None else np.argsort(outputs.order),
            (
                _sentence("input", first.input_name, first.input_shape, other.input_name, other.input_shape, pair),
                _sentence(
                    "output",
                    first.output_name,
                    first.output_shape,
                    other.output_name,
                    other.output_shape,
                    outputs.known((_clear(first.output_shape), _clear(other.output_shape))),
                ),
                *decided,
                *told,
            ),
            inputs.order,
            factor,
            term,
        )

    # ---- what the outputs tell

    def decide(
        self, ways: Sequence[tuple[_Order, _Order]], certain: Sequence[tuple[_Order, _Order]], probes: Floats
    ) -> Match | None:
        """The way under which outputs agree at points of the first network, if they clearly do so under one only.

        None if there is no such way; also if the only certain one is it, which then goes without saying.
        """
        picks = np.unique(np.linspace(0, len(probes) - 1, PROBES).astype(int))
        points = probes[picks].reshape(len(picks), *self.first.input_shape)
        reference = np.stack([self.first.evaluate(point) for point in points])
        tried = [(way, self._difference(way, points, reference)) for way in certain]
        if not any(difference <= _AGREE for _, difference in tried):
            tried += [(way, self._difference(way, points, reference)) for way in ways if way not in certain]
        elif len(certain) == 1:
            return None
        tried.sort(key=lambda found: found[1])
        (way, smallest), *others = tried
        # Where there is no other way, what a difference would be is seen from how outputs vary from point to point.
        rival = others[0][1] if others else _relative(reference, reference[:1])
        if smallest > _AGREE or rival <= _CLEARLY * max(smallest, _SMALLEST):
            return None
        told = (
            f"decided by the outputs, at {len(points)} point{'' if len(points) == 1 else 's'}: they agree to "
            f"{smallest:.1g} of the largest"
        )
        if others:
            told += f", and in any other order they differ by {rival:.1g} or more"
        return self.match(*way, (told,))

    def _difference(self, way: tuple[_Order, _Order], points: Floats, reference: Floats) -> float:
        """The largest difference of outputs, relative to the largest output."""
        made = self.match(*way)
        values = made.values(np.stack([self.other.evaluate(point) for point in made.points(points)]))
        return _relative(reference, values)

    # ---- pixels

    def _pixel_map(self, layout: str) -> tuple[tuple[Floats, Floats] | None, tuple[str, ...]]:
        """The factor and the term of a match, see :class:`Match`, and what to say about them."""
        if self.pixels is None or all(pixels.scale is None for pixels in self.pixels):
            return None, ()
        first, other = self.pixels
        if first.scale is None:
            return None, (
                f"{self._short[0]} does not say how pixels become inputs: {self._short[1]} gets the same numbers",
            )
        if other.scale is None:
            return None, (f"{self._short[1]} does not say how pixels become inputs: it gets the same numbers",)
        lists = [first.mean, first.std, other.mean, other.std]
        count = max(len(numbers) for numbers in lists)
        if any(len(numbers) not in (1, count) for numbers in lists):
            counts = [max(len(pixels.mean), len(pixels.std)) for pixels in self.pixels]
            raise InputError(
                f"--mean and --std hold {counts[0]} numbers for {self.called[0]} and {counts[1]} for {self.called[1]}, "
                "whose inputs are the same images: give one number, or one per channel"
            )
        scale, other_scale = Fraction(first.scale), Fraction(other.scale)
        factors, terms = [], []
        for channel in range(count):
            # Composed exactly and rounded once, so that nothing is changed where both maps are the same.
            mean, std, other_mean, other_std = (Fraction(numbers[channel % len(numbers)]) for numbers in lists)
            factors.append(float(std * other_scale / (scale * other_std)))
            terms.append(float((mean * other_scale / scale - other_mean) / other_std))
        if set(factors) == {1.0} and set(terms) == {0.0}:
            return None, ()
        told = (
            f"an input is {_written(first)} in {self._short[0]} and {_written(other)} in {self._short[1]}: points go "
            "through the map between the two",
        )
        if len(set(factors)) == len(set(terms)) == 1:
            return (np.array(factors[0]), np.array(terms[0])), told
        channels = self._channels(layout, count)
        return (np.array(factors)[channels], np.array(terms)[channels]), told

    def _channels(self, layout: str, count: int) -> Ints:
        """The channel of each number of the other's input, flattened, if it has so many channels."""
        shape = self.other.input_shape
        sizes = _squeezed(shape)
        if len(sizes) <= 1:
            fits = dict.fromkeys(LAYOUTS, prod(shape) % count == 0)
        else:
            fits = {"chw": sizes[0] == count, "hwc": sizes[-1] == count}
        if not layout and fits["chw"] != fits["hwc"]:
            layout = "chw" if fits["chw"] else "hwc"
        if not layout and any(fits.values()):
            raise InputError(
                f"--mean and --std hold {count} numbers, one per channel, and the shape of the input of "
                f"{self.called[1]}, {shape}, does not tell which axis holds the channels: say --layout "
                f"{self.names[1]}=chw or --layout {self.names[1]}=hwc"
            )
        if not layout or not fits[layout]:
            raise InputError(
                f"--mean and --std hold {count} numbers, one per channel, but the input of {self.called[1]}, {shape}, "
                "has another number of channels: give one number, or one per channel"
            )
        places = np.arange(prod(shape), dtype=np.int64)
        return np.asarray(places // (len(places) // count) if layout == "chw" else places % count)

    # ---- messages

    def _inputs(self) -> str:
        first, other = self.first, self.other
        return (
            f"'{first.input_name}' of {self.called[0]}, {first.input_shape}, and '{other.input_name}' of "
            f"{self.called[1]}, {other.input_shape}"
        )

    def _options(self) -> str:
        """What to say so that nothing is left open."""
        left = [name for name, layout in zip(self.names, self.layouts, strict=True) if layout is None]
        return " and ".join(f"--layout {name}=chw (channels first) or {name}=hwc (channels last)" for name in left)

    def misfit(self, found: Sequence[_Order]) -> str:
        """Why no order is possible."""
        if not any(self.given):
            message = (
                f"the inputs do not correspond: {self._inputs()}, hold as many numbers, but are not the same up to "
                "axes of size 1, channels first or last, or flattening"
            )
            ways = sorted({pair for order in found for pair in order.layouts})
            if ways:
                told = " or ".join(f"--layout {self.names[0]}={a} --layout {self.names[1]}={b}" for a, b in ways)
                message += f"; if their channels are elsewhere than it seems, say so: {told}"
            return message
        said = " ".join(
            f"--layout {name}={layout}" for name, layout in zip(self.names, self.given, strict=True) if layout
        )
        possible = sorted({f"{one} and {two}" for order in found for one, two in order.layouts})
        only = f": they correspond as {', or as '.join(possible)}" if possible else ""
        if all(len(_squeezed(network.input_shape)) <= 1 for network in (self.first, self.other)):
            only = ": nothing tells the size of the images that were flattened"
        return f"{said} does not fit the inputs {self._inputs()}{only}"

    def unlike(self) -> str:
        """Why no order of the outputs is possible."""
        first, other = self.first, self.other
        return (
            f"the outputs do not correspond: '{first.output_name}' of {self.called[0]}, {first.output_shape}, and "
            f"'{other.output_name}' of {self.called[1]}, {other.output_shape}, hold as many numbers, but are not the "
            "same up to axes of size 1, channels first or last, or flattening; --output K=NAME or --map FIRST=OTHER "
            "chooses others"
        )

    def ambiguous(self, inputs: Sequence[_Order], outputs: Sequence[_Order], tried: str) -> str:
        """What the user has to decide."""
        of_inputs = [order for order in inputs if not order.guess]
        if len(of_inputs) > 1:
            ways = [" -> ".join(order.known(self.layouts)) for order in of_inputs]
            ways = [way if way.strip("-> ") else "the same order" for way in ways]
            return (
                f"the inputs {self._inputs()}, hold the same numbers in an order that their shapes do not tell "
                f"({', or '.join(ways)}){tried}: say {self._options()}"
            )
        first, other = self.first, self.other
        return (
            f"the outputs '{first.output_name}' of {self.called[0]}, {first.output_shape}, and '{other.output_name}' "
            f"of {self.called[1]}, {other.output_shape}, hold the same numbers in an order that their shapes do not "
            f"tell{tried}: say " + " and ".join(f"--layout {name}=chw or {name}=hwc" for name in self.names)
        )


def _sentence(
    what: str,
    first_name: str,
    first: tuple[int, ...],
    other_name: str,
    other: tuple[int, ...],
    layouts: tuple[str, str],
) -> str:
    one, two = (
        "x".join(map(str, shape)) + (f", {layout}" if layout else "") or "a number"
        for shape, layout in zip((first, other), layouts, strict=True)
    )
    return f"{what} '{first_name}' ({one}) -> '{other_name}' ({two})"


def _relative(one: Floats, other: Floats) -> float:
    """The largest difference, relative to the largest number; inf if there are numbers that are not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    size = max(float(np.abs(array).max(initial=0.0)) for array in (one, other))
    return float(np.abs(one - other).max(initial=0.0)) / (size or 1.0)


def _written(pixels: Pixels) -> str:
    mean, std = (", ".join(f"{x:g}" for x in numbers) for numbers in (pixels.mean, pixels.std))
    return f"(pixel * {pixels.scale:g} - [{mean}]) / [{std}]"


def _checked(layouts: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    for layout in layouts:
        if layout is not None and layout.lower() not in LAYOUTS:
            raise InputError(f"--layout is '{layout}': give chw (channels first) or hwc (channels last)")
    first, other = (None if layout is None else layout.lower() for layout in layouts)
    return first, other


def _clear(shape: tuple[int, ...]) -> str | None:
    """ "chw" or "hwc" if a shape alone tells that."""
    layout = clear_layout(core_shape(shape)).lower()
    return layout if layout in LAYOUTS else None


# ---- orders of numbers


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _image(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The sizes of an image's axes, channels last, of an array that holds one."""
    core = core_shape(shape)
    return (*core[1:], core[0]) if layout == "chw" else core


def _grey(shape: tuple[int, ...]) -> bool:
    """Whether an array may be an image of a single channel, in front, behind, or without an axis of its own."""
    core = core_shape(shape)
    return len(core) == 2 or (len(core) == 3 and core[2] == 1)


def _places(image: tuple[int, ...], layout: str) -> Ints:
    """For each number of an image, channels last, its place in a flattened array of this layout."""
    places = np.arange(prod(image), dtype=np.int64)
    if layout == "hwc":
        return places
    return np.moveaxis(places.reshape(image[-1], *image[:-1]), 0, -1).ravel()


def _orders(
    first: tuple[int, ...], other: tuple[int, ...], image: tuple[int, int, int] | None = None, guess: bool = False
) -> tuple[_Order, ...]:
    """Every way in which the numbers of arrays of two shapes may correspond, the same order at first if it is one.

    ``image``: (H, W, C) of the images that both hold, if that is known; ``guess``: whether arrays of numbers in a row
    may be square ones, if it is not. Two axes are a grey image, or a row of several channels: that is a guess. So is
    what contradicts a shape that tells its layout, and another order of arrays of the same shape.
    """
    shapes = first, other
    flat = [len(_squeezed(shape)) <= 1 for shape in shapes]
    held = [shape for shape, in_a_row in zip(shapes, flat, strict=True) if not in_a_row]
    same = _squeezed(first) == _squeezed(other)
    matrices = all(len(core_shape(shape)) == 2 for shape in held)
    supposed = image or (_square_image(prod(first)) if guess else None)
    swaps: list[tuple[Ints, tuple[str, str], bool]] = []
    alike = [(layout, layout) for layout in LAYOUTS]
    for pair in (("chw", "hwc"), ("hwc", "chw")):
        sizes = [_image(shape, layout) for shape, layout in zip(shapes, pair, strict=True) if shape in held]
        if not held and supposed is not None:
            sizes = [supposed]
        # Axes of size 1 may be anywhere, and the channels' is what it is.
        if len({(_squeezed(size[:-1]), size[-1]) for size in sizes}) != 1:
            continue
        order = _places(sizes[0], pair[0])[np.argsort(_places(sizes[0], pair[1]))]
        if (order == np.arange(len(order))).all():
            alike.append(pair)
            continue
        against = any(_clear(shape) not in (None, layout) for shape, layout in zip(shapes, pair, strict=True))
        swaps.append((order, pair, same or matrices or against))
    found = [_Order(order, (pair,), guess) for order, pair, guess in swaps]
    if len(swaps) == 2 and np.array_equal(swaps[0][0], swaps[1][0]):
        found = [_Order(swaps[0][0], (swaps[0][1], swaps[1][1]), swaps[0][2] and swaps[1][2])]
    if not (same or any(flat)):
        return tuple(found)
    if held and all(_grey(shape) for shape in held) and (image is None or image[2] == 1):
        # Of a grey image the order is the same wherever its channel is.
        alike = list(itertools.product(LAYOUTS, LAYOUTS))
        found = [replace(order, layouts=()) for order in found]
    return _Order(None, tuple(alike)), *found


def _square_image(count: int) -> tuple[int, int, int] | None:
    """(H, W, C) of a square image of so many numbers, in colour or grey; None if there is none."""
    for channels in (3, 1):
        side = isqrt(count // channels)
        if side * side * channels == count:
            return side, side, channels
    return None


# ---- loading


def load_models(
    models: Sequence[str | os.PathLike[str]],
    *,
    outputs: Mapping[int, str] | None = None,
    maps: Sequence[tuple[int | None, str, str]] = (),
    fixed_inputs: Mapping[str, ArrayLike] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    sample_shape: tuple[int, ...] | None = None,
    threads: int | None = None,
) -> list[LoadedModel]:
    """Load networks to be compared with the first of them.

    ``outputs``: what to analyse, by the models' numbers from 1. ``maps``: (K, FIRST, OTHER): the tensor OTHER of model
    K, of all but the first if K is None, stands for the tensor FIRST of the first, its input or its output. Of a model
    about which nothing is said the output is analysed that has the name of the first's, else its first one.
    ``fixed_inputs`` and ``shapes``, as in :func:`lronnx.load`, are for the models that have such inputs. A size that
    the first leaves open is taken from ``sample_shape``, that of a point, if it is not in ``shapes``; that of another
    from the first's input, channels first or last, whichever fits.

    Raises what :func:`lronnx.load` raises, naming the file, and InputError for options that fit no model.
    """
    outputs, fixed_inputs, shapes = dict(outputs or {}), dict(fixed_inputs or {}), dict(shapes or {})
    paths = [os.fspath(model) for model in models]
    if len(paths) < 2:
        raise InputError("give two models or more: the first one is what the others are compared with")
    for number in outputs:
        _check_number(number, len(paths), "--output")
    for wanted, left, right in maps:
        if wanted is not None:
            _check_number(wanted, len(paths), f"--map {left}={wanted}:{right}")
        if wanted == 1:
            raise InputError(f"--map {left}=1:{right}: model 1 is the one that {left} is of; name another")
    interfaces = [onnx_io.read_interface(path) for path in paths]
    for option, names in (("--input", fixed_inputs), ("--shape", shapes)):
        _check_known(names, option, paths, interfaces)
    loaded: list[LoadedModel] = []
    for number, (path, interface) in enumerate(zip(paths, interfaces, strict=True), 1):
        own_maps = _own_maps(maps, number)
        first = loaded[0].network if loaded else None
        if first is None:
            output, told = _first_output(outputs.get(1), maps, path, interface)
        else:
            output, told = _other_output(outputs.get(number), own_maps, path, interface, first, interfaces[0], paths[0])
        arguments: dict[str, Any] = {
            "output": output,
            "fixed_inputs": {
                name: np.asarray(array) for name, array in fixed_inputs.items() if name in interface.inputs
            },
            "threads": threads,
        }
        known = {name: tuple(int(n) for n in shape) for name, shape in shapes.items() if name in interface.inputs}
        with _naming(path):
            shape = sample_shape if first is None else first.input_shape
            network, used = _load_open(path, arguments, known, shape, "the points" if first is None else paths[0])
        for name in used.keys() - known.keys():
            source = "the points" if first is None else paths[0]
            told.append(
                f"the sizes that the input '{name}' leaves open are those of {source}: {_dimensions(used[name])}"
            )
        if first is not None:
            _check_input_maps(own_maps, path, network, interface, first, interfaces[0], paths[0])
        loaded.append(LoadedModel(number, path, network, output, arguments["fixed_inputs"], used, tuple(told)))
    return loaded


def _dimensions(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape) or "a number"


def _check_number(number: int, count: int, option: str) -> None:
    if not 1 <= number <= count:
        raise InputError(f"{option}: there is no model {number}, models are numbered from 1 to {count}")


def _check_known(names: Mapping[str, Any], option: str, paths: Sequence[str], interfaces: Sequence[Interface]) -> None:
    for name in names:
        if not any(name in interface.inputs for interface in interfaces):
            have = "; ".join(
                f"{path} has {', '.join(interface.inputs) or 'none'}"
                for path, interface in zip(paths, interfaces, strict=True)
            )
            raise InputError(f"{option} {name}: no model has an input of that name: {have}")


def _own_maps(maps: Sequence[tuple[int | None, str, str]], number: int) -> list[tuple[str, str]]:
    """What stands for what in one model: what is said of it alone goes before what is said of all."""
    alone = [(left, right) for which, left, right in maps if which == number]
    of_all = [(left, right) for which, left, right in maps if which is None]
    return alone + [(left, right) for left, right in of_all if left not in dict(alone)]


def _first_output(
    wanted: str | None, maps: Sequence[tuple[int | None, str, str]], path: str, interface: Interface
) -> tuple[str | None, list[str]]:
    """What to analyse of the first model: what was asked for, else what others' outputs are said to stand for."""
    mapped = list(dict.fromkeys(left for _, left, _ in maps if left not in interface.inputs))
    for name in mapped:
        if name not in interface.outputs and name not in interface.tensors:
            raise InputError(
                f"--map {name}=...: {path} has no tensor of that name; its inputs are {', '.join(interface.inputs)}, "
                f"its outputs {', '.join(interface.outputs)}"
            )
    chosen = [*mapped] if wanted is None else list(dict.fromkeys([wanted, *mapped]))
    if len(chosen) > 1:
        raise InputError(
            f"one output of {path} is analysed, but options name {len(chosen)}: {', '.join(chosen)}; --output and "
            "--map have to name the same"
        )
    return (chosen[0] if chosen else None), []


def _other_output(
    wanted: str | None,
    maps: Sequence[tuple[str, str]],
    path: str,
    interface: Interface,
    first: Network,
    first_interface: Interface,
    first_path: str,
) -> tuple[str | None, list[str]]:
    """What to analyse of another model, and what to say about it."""
    mapped = list(dict.fromkeys(right for left, right in maps if left not in first_interface.inputs))
    for name in mapped:
        if name not in interface.outputs and name not in interface.tensors:
            raise InputError(
                f"--map {first.asked}={name}: {path} has no tensor of that name; its outputs are "
                f"{', '.join(interface.outputs)}, and lronnx inspect shows its nodes"
            )
    chosen = mapped if wanted is None else list(dict.fromkeys([wanted, *mapped]))
    if len(chosen) > 1:
        raise InputError(
            f"one output of {path} is analysed, but options name {len(chosen)}: {', '.join(chosen)}; --output and "
            "--map have to name the same"
        )
    if chosen:
        return chosen[0], []
    # A tensor inside that has the name of an output elsewhere is something else: many names are plain numbers.
    inside = first.asked not in first_interface.outputs
    if first.asked in interface.outputs[1:] or (inside and first.asked in interface.tensors):
        return first.asked, [f"its output '{first.asked}' is analysed, which has the name of that of {first_path}"]
    return None, []


def _check_input_maps(
    maps: Sequence[tuple[str, str]],
    path: str,
    network: Network,
    interface: Interface,
    first: Network,
    first_interface: Interface,
    first_path: str,
) -> None:
    """Raise InputError if a map of an input names another one than those that vary."""
    for left, right in maps:
        if left not in first_interface.inputs:
            continue
        for name, where, of, have in (
            (left, first_path, first, first_interface),
            (right, path, network, interface),
        ):
            if name != of.input_name:
                state = "which does not vary" if name in have.inputs else "which is no input"
                raise InputError(
                    f"--map {left}={right}: the input of {where} that varies is '{of.input_name}', not '{name}', "
                    f"{state}; its inputs are {', '.join(have.inputs)}, and --input NAME=FILE holds all but one"
                )


def _load_open(
    path: str,
    arguments: Mapping[str, Any],
    shapes: dict[str, tuple[int, ...]],
    wanted: tuple[int, ...] | None,
    source: str,
) -> tuple[Network, dict[str, tuple[int, ...]]]:
    """A network, and the shapes with which it was loaded: of an input that is left open what takes ``wanted``, the
    shape of ``source``."""
    try:
        return networks.load(path, shapes=shapes, **arguments), shapes
    except InputError as error:
        value = error.open_input
        if value is None or wanted is None or value.name in arguments["fixed_inputs"]:
            raise
        problem: LronnxError = InputError(f"{error}; {wanted}, the shape of {source}, does not fit it", value)
    for position, shape in enumerate(_fitting(value, wanted)):
        used = {**shapes, value.name: shape}
        try:
            return networks.load(path, shapes=used, **arguments), used
        except LronnxError as error:
            # Whether channels come first or last shows when onnxruntime runs the network; the first way is told about.
            if position == 0:
                problem = error
    raise problem


def _fitting(value: Value, wanted: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes that an input may have which takes points of the shape ``wanted``, the most natural one first."""
    if value.shape is None:
        # Whether that is with the batch's axis is known if it is another network's, and shows if it is not.
        return [wanted]
    core = core_shape(wanted)
    ways = [core]
    if len(core) >= 3:
        ways += [(*core[1:], core[0]), (core[-1], *core[:-1])]
    ways.append((prod(core),))
    found = []
    for way in dict.fromkeys(ways):
        shape = (1,) * (len(value.shape) - len(way)) + way
        # What is left open in front of everything else is the batch.
        fits = len(shape) == len(value.shape) and all(
            declared == size if isinstance(declared, int) else axis > 0 or size == 1
            for axis, (declared, size) in enumerate(zip(value.shape, shape, strict=True))
        )
        if fits:
            found.append(shape)
    return found


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors name the file, and tell what a quantized network is."""
    try:
        yield
    except NotPiecewiseAffineError as error:
        advice = error.advice
        if any(refusal.reason == QUANTIZED for refusal in error.refusals):
            advice = f"{_STAIRCASE}\n{advice}"
        raise NotPiecewiseAffineError(error.refusals, advice, path) from None
    except InputError as error:
        raise InputError(_named(error, path), error.open_input) from None
    except ModelError as error:
        raise ModelError(_named(error, path)) from None


def _named(error: Exception, path: str) -> str:
    return str(error) if path in str(error) else f"{path}: {error}"


# ---- options


def per_model(values: Sequence[str], models: Sequence[str], option: str) -> list[str | None]:
    """What an option says for each of the models, None where it says nothing.

    ``values``: as they were given, ``K=VALUE`` for one model, K its number from 1 or its file name as it was given, or
    ``VALUE`` for all of which nothing else is said.

    Raises InputError if a model, or all, are named twice, for numbers that no model has, and if there is no value.
    """
    for_all: str | None = None
    found: list[str | None] = [None] * len(models)
    for text in values:
        number, value = _split(text, models, option)
        if not value:
            raise InputError(f"{option} {text}: there is no value; give VALUE, or K=VALUE for model K alone")
        held = for_all if number is None else found[number - 1]
        if held is not None:
            which = "all models" if number is None else f"model {number} ({models[number - 1]})"
            raise InputError(f"{option} is given twice for {which}: {held} and {value}")
        if number is None:
            for_all = value
        else:
            found[number - 1] = value
    return [for_all if value is None else value for value in found]


def _split(text: str, models: Sequence[str], option: str) -> tuple[int | None, str]:
    """The number of the model that a value is for, None for all, and the value."""
    head, equals, tail = text.partition("=")
    if equals and head.isdecimal():
        _check_number(int(head), len(models), f"{option} {text}")
        return int(head), tail
    # Names of files may have the sign in them.
    named = max((model for model in models if text.startswith(f"{model}=")), key=len, default=None)
    if named is None:
        return None, text
    if list(models).count(named) > 1:
        raise InputError(f"{option} {text}: several models are {named}; give a number")
    return list(models).index(named) + 1, text[len(named) + 1 :]


def parse_map(text: str, models: Sequence[str] = ()) -> tuple[int | None, str, str]:
    """``FIRST=OTHER`` or ``FIRST=K:OTHER`` as (K, FIRST, OTHER), K None if it is not there.

    K is a number; or the name of one of ``models``, which becomes its number. Raises InputError for other texts.
    """
    first, equals, other = text.partition("=")
    head, colon, tail = other.partition(":")
    number: int | None = None
    if colon and head.isdecimal():
        number, other = int(head), tail
    elif named := [model for model in models if other.startswith(f"{model}:")]:
        longest = max(named, key=len)
        if list(models).count(longest) > 1:
            raise InputError(f"--map {text}: several models are {longest}; give a number")
        number, other = list(models).index(longest) + 1, other[len(longest) + 1 :]
    if not (first and equals and other):
        raise InputError(f"--map {text}: give FIRST=OTHER, or FIRST=K:OTHER for model K alone, names of tensors")
    return number, first, other
