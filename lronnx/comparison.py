"""Two piecewise-affine functions compared exactly along one path.

Between neighbouring edges of the union of both walks' regions the two functions are affine, and so is their
difference: its largest absolute value is attained at an edge, the place where it first exceeds a bound is the solution
of a linear equation, and the integral of its absolute value has a closed form. Nothing is sampled.

What is left to judge is how large a difference rounding explains, at two levels, for each output and segment.

*double*: both networks hold the same numbers, and are computed in another order. An output is then apart by no more
than :data:`lronnx.network.ROUNDING` of its largest value, places in t by :data:`lronnx.crossing.SAME_T`, the
definition's own resolution, which is worth that times the slope; or by what cancels, see below, at the finer grain.

*float32*: one network holds numbers that were computed from the other's and rounded to single precision (BatchNorm
folded into weights, layers rescaled, nodes fused). What that amounts to depends on the network: on how much cancels,
and on how steep it is. It is measured on yardsticks, twins of both networks with every weight moved to a neighbouring
number (:meth:`lronnx.network.Network.rounded`): by how much they differ at most from what they are twins of, times
:data:`ROUNDED_FACTOR`, is what rounding explains, of outputs and of places in t. Both networks, since one may hold
larger numbers that cancel; several twins where there are few breakpoints, since one may be lucky. A walk in single
precision is no such yardstick: its errors are independent from pixel to pixel and average out, where a weight of a
convolution is wrong everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lronnx import metrics
from lronnx.agreement import TOLERANCES
from lronnx.correspondence import Correspondence, Units, correspond, moves, unsettled
from lronnx.crossing import SAME_T, cluster
from lronnx.errors import InputError
from lronnx.network import ROUNDING, SwitchingNode
from lronnx.regions import Floats, Walk

ROUNDED_FACTOR = 4.0
"""What rounding of stored numbers explains, relative to what the yardstick shows.

Of 19 public networks (dense, convolutional, residual; from PyTorch, Keras and JAX; ACAS Xu, VGG8) BatchNorm was folded,
channels were rescaled across their activations by factors between 0.2 and 4.5, and onnxruntime (basic and extended) and
onnxsim optimised them: outputs differ by at most 2.7 times the yardstick, most by less than it, and no switch moves
further than the one that the yardstick moves most. Yardsticks of other seeds differ by a factor of 2 to 4, of 10 at
most. One weight changed by 0.001 differs by about 25 times the yardstick or more, unless it hardly reaches the output:
pruned weights, and units that are off.
"""

ROUNDED_FLOOR = 8 * float(np.finfo(np.float32).eps)
"""The least that it explains of an output, relative to the largest absolute value of that output, and of a place in
t."""

GROSS = 0.01
"""Outputs that differ by more than this, relative to the largest of the path, are different, whatever rounding does.

Where float32 holds the weights so badly that it does not even settle two digits, nobody could tell what the function
is; and the yardsticks need not be walked for networks that have nothing in common.
"""

TWINS, TWIN_BREAKPOINTS = 4, 2000
"""So many twins of each network are walked at most, and fewer where they have more breakpoints than this together."""

MOST_MOVED = 1e-3
"""How far in t rounding moves a switch at most. A unit that moves further, or is not sure to switch at all, settles
nothing: its switches may be anywhere, and those of others may not.
"""

# How much finer double precision rounds than single precision.
_FINER = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)


class Verdict(StrEnum):
    """What two networks have in common on a path.

    ``IDENTICAL``: the same function, up to rounding, and units that correspond one to one, so the same regions. Nothing
    is said of units that do not switch there, nor of weights that do not matter there.
    ``SAME``: the same function, but some units have no counterpart. ``DIFFERENT``: another function.
    """

    IDENTICAL = "identical regions"
    SAME = "same function, different units"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Place:
    """A place on a path, and what one output is there: ``first`` in the first network, ``other`` in the other.

    ``allowed``: what rounding explains of that output's difference on that segment.
    """

    segment: int
    t: float
    output: int
    first: float
    other: float
    allowed: float


@dataclass(frozen=True, eq=False)
class PathComparison:
    """Two networks, m outputs each, compared on a path; of partial walks, on what both have walked.

    ``rounding``: ``double`` or ``float32``, whichever explains the differences of values; None if nothing does.
    ``breakpoints``: of both; ``union_breakpoints``: of both together, those closer than 1e-12 in t being one.
    ``largest_difference``: the largest ``|f_A - f_B|`` of any output anywhere, and ``largest_at``, where it is (the
    first such place); None if there is no difference. ``size``: the largest absolute output of both.
    ``allowed``: (m,) what rounding explains; that in double precision alone, if it explains all or if differences are
    gross. ``parts_at``: the first place at which an output differs by more: there it differs by exactly that much,
    unless it is the start of a segment. ``difference_integral``: (m,) ``integral |f_A - f_B|`` over the length, in
    output times input of the first network; ``length``: that of the part that was compared.
    """

    verdict: Verdict
    rounding: str | None
    breakpoints: tuple[int, int]
    union_breakpoints: int
    largest_difference: float
    largest_at: Place | None
    size: float
    allowed: Floats
    parts_at: Place | None
    difference_integral: Floats
    length: float
    correspondence: Correspondence
    partial: bool


@dataclass(frozen=True, eq=False)
class _Union:
    """Both functions at the U edges of the union of their regions on one segment: (U,), (U, m), (U, m)."""

    t: Floats
    first: Floats
    other: Floats

    @property
    def gap(self) -> Floats:
        return np.asarray(self.first - self.other)

    def place(self, segment: int, t: float, output: int, allowed: Floats) -> Place:
        at = np.array([t])
        values = [float(_interpolated(self.t, v[:, [output]], at)[0, 0]) for v in (self.first, self.other)]
        return Place(segment, t, output, values[0], values[1], float(allowed[segment, output]))


def union(first: Walk, other: Walk) -> tuple[Floats, Floats, Floats]:
    """Both functions at the U edges of the union of their regions: t (U,), outputs of both (U, m).

    Breakpoints closer than 1e-12 in t are one. Values are those of each walk's own affine pieces. It ends where the
    shorter of two partial walks does.
    """
    end = min(float(first.t[-1]), float(other.t[-1]))
    inner = np.sort(np.concatenate([walk.t[1:-1] for walk in (first, other)]))
    inner = inner[inner < end]
    inner = inner[np.unique(cluster(inner), return_index=True)[1]]
    t = np.concatenate([[0.0], inner, [end]]) if end > 0.0 else np.zeros(1)
    return t, _interpolated(first.t, first.values, t), _interpolated(other.t, other.values, t)


def _interpolated(edges: Floats, values: Floats, t: Floats) -> Floats:
    """(U, m) a function that is affine between edges, where it has the values (R+1, m), at places in between."""
    if len(edges) < 2:
        return np.repeat(values[:1], len(t), axis=0)
    region = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, len(edges) - 2)
    share = ((t - edges[region]) / (edges[region + 1] - edges[region]))[:, None]
    return np.asarray((1.0 - share) * values[region] + share * values[region + 1])


def compare_walks(
    first: Sequence[Walk],
    other: Sequence[Walk],
    *,
    nodes: tuple[Sequence[SwitchingNode], Sequence[SwitchingNode]],
    twin: Callable[[int, int], Sequence[Walk]] | None = None,
    most_twins: int = TWINS,
) -> PathComparison:
    """Compare two networks' walks of the same path, a walk per segment, the other's outputs in the first's order.

    ``nodes``: both networks' switching nodes. ``twin``: walks the same path with a
    :meth:`~lronnx.network.Network.rounded` twin, of the first network (0) or the other (1), of a seed, outputs in the
    same order; asked only if rounding in double precision does not explain the differences, and these are not
    :data:`GROSS`. Without it nothing is explained by ``float32``. ``most_twins``: of each network, at most.

    Raises InputError if the walks have different numbers of outputs, if there is none, or if outputs are too large for
    double precision.
    """
    if not first or not other:
        raise InputError("there is no segment to compare: a walk of the path is empty")
    outputs = {walk.outputs for walk in (*first, *other)}
    if len(outputs) > 1:
        raise InputError(
            f"the networks have {first[0].outputs} and {other[0].outputs} outputs: they cannot be compared"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        unions = [_Union(*union(a, b)) for a, b in zip(first, other, strict=False)]
        lengths = [walk.length for walk in first]
        integrals = [
            length * metrics.deviation_integrals(u.t, u.gap).sum(axis=0)
            for length, u in zip(lengths, unions, strict=False)
        ]
        integral = np.asarray(np.sum(integrals, axis=0))
        numbers = [integral, *(array for u in unions for array in (u.first, u.other, u.gap))]
    if not all(np.isfinite(array).all() for array in numbers):
        raise InputError("the outputs are too large to be compared: their differences exceed double precision")
    judged = _Judged(first, other, unions, nodes, twin, most_twins)
    rounding, allowed, correspondence = judged.result()
    if rounding is None:
        verdict = Verdict.DIFFERENT
    else:
        verdict = Verdict.IDENTICAL if correspondence.one_to_one else Verdict.SAME
    largest, largest_at = _largest(unions, allowed)
    ends = [float(u.t[-1]) for u in unions]
    return PathComparison(
        verdict=verdict,
        rounding=rounding,
        breakpoints=(_breakpoints(first, ends), _breakpoints(other, ends)),
        union_breakpoints=sum(max(len(u.t) - 2, 0) for u in unions),
        largest_difference=largest,
        largest_at=largest_at,
        size=judged.size,
        allowed=allowed,
        parts_at=_first_above(unions, allowed),
        difference_integral=integral,
        length=math.fsum(length * end for length, end in zip(lengths, ends, strict=False)),
        correspondence=correspondence,
        partial=len(first) != len(other) or any(walk.partial for walk in (*first, *other)),
    )


def _breakpoints(walks: Sequence[Walk], ends: Sequence[float]) -> int:
    """Breakpoints in front of the ends."""
    return sum(int((walk.t[1:-1] < end).sum()) for walk, end in zip(walks, ends, strict=False))


def _largest(unions: Sequence[_Union], allowed: Floats) -> tuple[float, Place | None]:
    """The largest difference, and the first place where it is."""
    largest, place = 0.0, None
    for segment, one in enumerate(unions):
        gap = np.abs(one.gap)
        if gap.size and gap.max() > largest:
            edge, output = np.unravel_index(int(gap.argmax()), gap.shape)
            largest = float(gap[edge, output])
            values = float(one.first[edge, output]), float(one.other[edge, output])
            place = Place(segment, float(one.t[edge]), int(output), *values, float(allowed[segment, output]))
    return largest, place


def _first_above(unions: Sequence[_Union], allowed: Floats) -> Place | None:
    """The first place at which an output differs by more than allowed; of several outputs the first."""
    for segment, one in enumerate(unions):
        gap, limit = one.gap, allowed[segment]
        above = np.abs(gap) > limit
        edges = np.flatnonzero(above.any(axis=1))
        if not len(edges):
            continue
        edge = int(edges[0])
        if edge == 0:
            return one.place(segment, 0.0, int(above[0].argmax()), allowed)
        outputs = np.flatnonzero(above[edge])
        before, after = gap[edge - 1, outputs], gap[edge, outputs]
        share = (np.sign(after) * limit[outputs] - before) / (after - before)
        number = int(share.argmin())
        t = one.t[edge - 1] + np.clip(share[number], 0.0, 1.0) * (one.t[edge] - one.t[edge - 1])
        return one.place(segment, float(t), int(outputs[number]), allowed)
    return None


class _Judged:
    """What rounding explains of the differences between two networks on a path of S segments, m outputs."""

    def __init__(
        self,
        first: Sequence[Walk],
        other: Sequence[Walk],
        unions: Sequence[_Union],
        nodes: tuple[Sequence[SwitchingNode], Sequence[SwitchingNode]],
        twin: Callable[[int, int], Sequence[Walk]] | None,
        most_twins: int,
    ) -> None:
        self._walks = first, other
        self._nodes = nodes
        self._twin = twin
        breakpoints = sum(walk.breakpoints for walk in (*first, *other))
        self._twins = min(max(TWIN_BREAKPOINTS // max(breakpoints, 1), 1), TWINS, max(most_twins, 1))
        self._difference = _most(np.abs(u.gap) for u in unions)
        self._sizes = _most(np.maximum(np.abs(u.first), np.abs(u.other)) for u in unions)
        self.size = float(self._sizes.max(initial=0.0))
        slopes = np.maximum(*(_most(np.abs(walk.slopes) for walk in walks[: len(unions)]) for walks in self._walks))
        self._double = ROUNDING["float64"] * self._sizes.max(axis=0) + SAME_T * slopes
        # Of both networks: by how much twins differ, how far their switches move, and units that settle nothing.
        self._wander: Floats | None = None
        self._moved = 0.0
        self._loose: tuple[Units, Units] = set(), set()

    def result(self) -> tuple[str | None, Floats, Correspondence]:
        """Which rounding explains the differences, what it explains, (S, m), and which switches correspond."""
        close = TOLERANCES["double"]
        floor = np.maximum(self._double, ROUNDED_FLOOR * self._sizes)
        if (self._difference <= self._double).all():
            found = self._correspond(close, moved=False)
            # A unit that the other network lacks is not found by looking further away.
            if found.one_to_one or self._twin is None or not all(found.unmatched):
                return "double", self._double, found
            # Where outputs hardly depend on units, rounding may show in places alone.
            self._measure()
            wide = self._correspond(self._tolerance(), moved=False)
            return ("float32", floor, wide) if wide.one_to_one else ("double", self._double, found)
        if self._twin is None:
            return None, self._double, self._correspond(close, moved=True)
        if self._difference.max() > GROSS * self.size:
            return None, floor, self._correspond(close, moved=True)
        wander = self._measure()
        allowed = np.maximum(ROUNDED_FACTOR * wander + ROUNDED_FLOOR * self._sizes, self._double)
        if (self._difference <= np.maximum(allowed * _FINER, self._double)).all():
            return "double", np.maximum(allowed * _FINER, self._double), self._correspond(close, moved=False)
        if (self._difference <= allowed).all():
            return "float32", allowed, self._correspond(self._tolerance(), moved=False)
        return None, allowed, self._correspond(close, moved=True)

    def _correspond(self, tolerance: float, *, moved: bool) -> Correspondence:
        return correspond(*self._walks, self._nodes, tolerance=tolerance, moved=moved, loose=self._loose)

    def _tolerance(self) -> float:
        """What rounding explains of a place in t."""
        return min(max(ROUNDED_FLOOR, ROUNDED_FACTOR * self._moved), MOST_MOVED)

    def _measure(self) -> Floats:
        """Walk the twins: (S, m) by how much outputs differ."""
        if self._wander is None:
            assert self._twin is not None
            self._wander = np.zeros_like(self._sizes)
            for side, own in enumerate(self._walks):
                for seed in range(self._twins):
                    twin = self._twin(side, seed)
                    gaps = (np.abs(_Union(*union(a, b)).gap) for a, b in zip(own, twin, strict=False))
                    with np.errstate(over="ignore", invalid="ignore"):
                        differing = _most(gaps)[: len(self._wander)]
                    # A twin that overflows says nothing.
                    self._wander = np.fmax(self._wander, np.where(np.isfinite(differing), differing, 0.0))
                    moved = moves(own, twin)
                    settled = moved[ROUNDED_FACTOR * moved <= MOST_MOVED]
                    self._moved = max(self._moved, float(settled.max(initial=0.0)))
                    self._loose[side].update(unsettled(own, twin, MOST_MOVED / ROUNDED_FACTOR))
        return self._wander


def _most(arrays: Iterable[Floats]) -> Floats:
    """(S, m) the largest of non-negative numbers, of S arrays (..., m); 0 without any."""
    return np.stack([array.max(axis=0, initial=0.0) for array in arrays])
