"""An exact oracle: the regions that a small ONNX model crosses along a segment, in rational arithmetic.

Nothing here is rounded: weights and points are binary fractions, so every breakpoint, value and slope is a
:class:`fractions.Fraction`. The one exception is a BatchNormalization whose ``var + epsilon`` is not a perfect
square: its ``gamma / sqrt(var + epsilon)`` is computed in float64 and that number is then taken as exact.

The oracle goes through the graph layer by layer. It keeps a sorted list of points ``t`` such that every tensor
computed so far is affine between neighbours, hence known everywhere from its values at those points. An affine
operator is applied at each point. A switching operator first adds all points at which a unit changes branch.

Conventions where a definition leaves a choice:

* Branches are compared between neighbouring open intervals; what happens at the point itself has no part in it.
* Relu, LeakyRelu, PRelu, Abs: branch 1 where ``z > 0``, branch 0 where ``z < 0`` or ``z`` is identically zero.
* Clip, HardSigmoid: 0 low, 1 linear, 2 high. Identically on the lower limit: low. Identically on the upper
  limit: linear. A Clip without a lower limit has branches 1 and 2. Equal limits: branches 0 and 2.
* Max, Min, MaxPool, GlobalMaxPool, ReduceMax, ReduceMin: the branch is the position of the winner among the
  unit's candidates: operators with several inputs in input order, windows and reductions in row-major order
  without padding. The winner stays as long as it is a maximiser. Otherwise, and on the first interval, the
  winner is the first candidate, in that order, that is a maximiser on the whole interval.
  :attr:`Analysis.order_dependent` tells whether the opposite order would give other switches.
* A decision is the first output, in output order, that is a maximiser on an open interval (numpy's argmax).
* Nodes that the output does not depend on have no units, nor have operators fed by constants only.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Exact = NDArray[Any]  # dtype object, elements Fraction
Unit = tuple[str, int]

ZERO, ONE = Fraction(0), Fraction(1)

SWITCHING_OPERATORS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Abs", "HardSigmoid"}
    | {"Max", "Min", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"}
)


class UnsupportedError(Exception):
    """The oracle does not know this operator, or this use of it."""


class Decision(NamedTuple):
    """The argmax over the outputs passes from ``before`` to ``after`` at ``t``."""

    t: Fraction
    before: int
    after: int


@dataclass
class Analysis:
    """What is exactly true of a network along one segment: R regions, m outputs.

    ``t``: R+1 edges of the regions, 0 and 1 included. ``values``: outputs at the edges. ``slopes``: d output / dt
    per region. ``switches``: per breakpoint the units that switch, each with its branches before and after.
    ``branches``: per switching node (R, units), the branch of each unit in each region.
    ``candidates``: per node of the Max kind, how many candidates each unit has.

    ``order_dependent``: another order of candidates would give other switches (exact ties between candidates).
    ``lasting_ties``: nodes of the Max kind with several maximisers on a whole interval; there the winner depends on
    where one comes from, so that a walk that starts in the middle, or goes backwards, may see other switches.
    ``conditioning``: the smallest |slope| with which a switching function leaves or reaches zero, relative to the
    largest switching function of its operator; where it is tiny, float64 cannot place the breakpoint well.
    ``clearance``: the smallest switching function at an edge that is not zero, relative likewise.
    ``degeneracies``: how often what makes a case delicate occurs: ``simultaneous`` (breakpoints with several switches),
    ``simultaneous_layers`` (in several nodes), ``touch`` (unit, edge: zero there, with the same sign on both sides),
    ``zero_interval`` (unit, region: identically zero or tied), ``zero_at_start``, ``zero_at_end``, ``dead`` (units that
    are zero all along).
    """

    t: list[Fraction]
    values: list[list[Fraction]]
    slopes: list[list[Fraction]]
    switches: list[dict[Unit, tuple[int, int]]]
    branches: dict[str, NDArray[np.int64]]
    candidates: dict[str, list[int]]
    length: float
    order_dependent: bool
    lasting_ties: set[str]
    conditioning: float
    clearance: float
    degeneracies: Counter[str]

    @property
    def regions(self) -> int:
        return len(self.t) - 1

    @property
    def switch_count(self) -> int:
        return sum(len(together) for together in self.switches)

    @property
    def smallest_region(self) -> Fraction:
        return min(b - a for a, b in pairwise(self.t))

    @property
    def linear_regions(self) -> int:
        return 1 + sum(a != b for a, b in pairwise(self.slopes))

    @property
    def integral_deviation(self) -> list[Fraction]:
        """Per output: the integral over t of |f - a|, a the affine interpolation between the end points."""
        first, last = self.values[0], self.values[-1]
        totals = []
        for k in range(len(first)):
            gap = [v[k] - (first[k] + t * (last[k] - first[k])) for t, v in zip(self.t, self.values, strict=True)]
            total = ZERO
            for i in range(self.regions):
                width, g0, g1 = self.t[i + 1] - self.t[i], abs(gap[i]), abs(gap[i + 1])
                if gap[i] * gap[i + 1] >= 0:
                    total += width * (g0 + g1) / 2
                else:
                    total += width * (g0 * g0 + g1 * g1) / (2 * (g0 + g1))
            totals.append(total)
        return totals

    @property
    def absolute_deviation(self) -> list[float]:
        """Per output: the integral of |f - a| over the length of the segment."""
        return [self.length * float(total) for total in self.integral_deviation]

    @property
    def total_variation(self) -> list[Fraction]:
        return _variation(self.values)

    @property
    def slope_variation(self) -> list[Fraction]:
        return _variation(self.slopes)

    @property
    def decision_changes(self) -> list[Decision]:
        """Where the argmax over the outputs changes, t in (0, 1)."""
        found: list[Decision] = []
        current: int | None = None
        for i in range(self.regions):
            left, right = self.values[i], self.values[i + 1]
            cuts = [ZERO, *_envelope_kinks(left, right), ONE]
            for a, b in pairwise(cuts):
                at_a, at_b = ([_mix(p, q, s) for p, q in zip(left, right, strict=True)] for s in (a, b))
                winner = _maximisers(at_a, at_b)[0]
                if current is not None and winner != current:
                    found.append(Decision(_mix(self.t[i], self.t[i + 1], a), current, winner))
                current = winner
        return found


def analyse(model: onnx.ModelProto, start: Any, end: Any) -> Analysis:
    """Analyse the first output of ``model`` along ``x(t) = start + t (end - start)``.

    ``start`` and ``end`` are arrays (or nested lists) of one sample, with or without the batch axis; their
    elements are floats, ints or Fractions, all taken as exact.
    """
    return _Sweep(model, start, end).run()


# --- exact helpers ------------------------------------------------------------------------------------------


def exact(values: Any) -> Exact:
    """An object array of Fractions with the same shape."""
    raw = np.asarray(values)
    flat = np.empty(raw.size, dtype=object)
    for i, value in enumerate(raw.reshape(-1).tolist()):
        flat[i] = value if isinstance(value, Fraction) else Fraction(value)
    return flat.reshape(raw.shape)


def _mix(a: Fraction, b: Fraction, share: Fraction) -> Fraction:
    return a + (b - a) * share


def _variation(rows: Sequence[Sequence[Fraction]]) -> list[Fraction]:
    return [sum((abs(q[k] - p[k]) for p, q in pairwise(rows)), ZERO) for k in range(len(rows[0]))]


def _whole(array: Exact) -> tuple[Exact, int]:
    """Integers and one denominator: object arrays of ints multiply far faster than Fractions do."""
    denominator = math.lcm(*(value.denominator for value in array.reshape(-1)))
    flat = np.empty(array.size, dtype=object)
    flat[:] = [value.numerator * (denominator // value.denominator) for value in array.reshape(-1)]
    return flat.reshape(array.shape), denominator


def _dot(rows: Exact, matrix: Exact) -> Exact:
    """``rows @ matrix`` for (P, K) and (K, N)."""
    out = np.empty((rows.shape[0], matrix.shape[1]), dtype=object)
    if matrix.size == 0:
        out.fill(ZERO)
        return out
    weights, scale = _whole(matrix)
    for p, row in enumerate(rows):
        numbers, denominator = _whole(row)
        out[p] = [Fraction(int(n), denominator * scale) for n in np.dot(numbers, weights)]
    return out


def _maximisers(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[int]:
    """Which of several affine functions, given at both ends, are the largest all along."""
    top_left, top_right = max(left), max(right)
    found = [c for c in range(len(left)) if left[c] == top_left and right[c] == top_right]
    if not found:
        raise AssertionError("the maximum is not affine between these points")
    return found


def _envelope_kinks(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    """Where in (0, 1) the maximum of affine functions, given at both ends, changes slope."""
    current = max(range(len(left)), key=lambda c: (left[c], right[c]))
    kinks: list[Fraction] = []
    while right[current] != max(right):
        slope = right[current] - left[current]
        ahead = [
            ((left[current] - left[c]) / (right[c] - left[c] - slope), left[c] - right[c], c)
            for c in range(len(left))
            if right[c] - left[c] > slope
        ]
        at, _, current = min(ahead)  # of those that meet there, the steepest
        kinks.append(at)
    return kinks


def _is_square(number: Fraction) -> Fraction | None:
    """The rational square root, if there is one."""
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Fraction(top, bottom)
    return None


# --- the sweep ----------------------------------------------------------------------------------------------


@dataclass
class _Tensor:
    """``data`` has the points first, then the tensor's own shape; a constant has one point that stands for all."""

    data: Exact
    constant: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[1:])


class _Window(NamedTuple):
    """One output position of a pooling or convolution: (kernel offset, input position) of all elements inside."""

    elements: list[tuple[tuple[int, ...], tuple[int, ...]]]
    padded_size: int  # elements that count when padding is included in an average


def _windows(size: Sequence[int], kernel: Sequence[int], attrs: dict[str, Any]) -> tuple[list[int], list[_Window]]:
    """All windows over the spatial axes, row-major, and the output's spatial shape."""
    rank = len(size)
    if attrs.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedError("auto_pad")
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    pads = attrs.get("pads", [0] * (2 * rank))
    counts = []
    for axis in range(rank):
        span = size[axis] + pads[axis] + pads[rank + axis] - dilations[axis] * (kernel[axis] - 1) - 1
        count = (-(-span // strides[axis]) if attrs.get("ceil_mode", 0) else span // strides[axis]) + 1
        if attrs.get("ceil_mode", 0) and (count - 1) * strides[axis] >= size[axis] + pads[axis]:
            raise UnsupportedError("a window that starts in the padding: runtimes disagree on it")
        counts.append(count)
    windows = []
    for position in product(*(range(count) for count in counts)):
        elements = []
        padded = 0
        for offset in product(*(range(k) for k in kernel)):
            at = tuple(position[a] * strides[a] - pads[a] + offset[a] * dilations[a] for a in range(rank))
            padded += all(at[a] < size[a] + pads[rank + a] for a in range(rank))
            if all(0 <= at[a] < size[a] for a in range(rank)):
                elements.append((offset, at))
        windows.append(_Window(elements, padded))
    return counts, windows


class _Sweep:
    def __init__(self, model: onnx.ModelProto, start: Any, end: Any) -> None:
        graph = model.graph
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self.tensors: dict[str, _Tensor] = {}
        for initializer in graph.initializer:
            self._constant(initializer.name, numpy_helper.to_array(initializer))
        (source,) = [value for value in graph.input if value.name not in self.tensors]
        shape = [int(d.dim_value) or 1 for d in source.type.tensor_type.shape.dim]
        first, last = exact(start).reshape(shape), exact(end).reshape(shape)
        self.length = math.sqrt(sum((b - a) ** 2 for a, b in zip(first.reshape(-1), last.reshape(-1), strict=True)))
        self.t: list[Fraction] = [ZERO, ONE]
        self.tensors[source.name] = _Tensor(np.stack([first, last]), constant=False)
        self.output = graph.output[0].name
        needed = {self.output}
        kept: list[onnx.NodeProto] = []
        for node in reversed(graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.branches: dict[str, list[list[int]]] = {}  # per node, per interval, per unit
        self.candidates: dict[str, list[int]] = {}
        self.order_dependent = False
        self.lasting_ties: set[str] = set()
        self.conditioning = self.clearance = math.inf
        self.degeneracies: Counter[str] = Counter()
        self.last_use: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            for name in node.input:
                self.last_use[name] = index
        self.last_use[self.output] = len(self.nodes)

    def run(self) -> Analysis:
        for index, node in enumerate(self.nodes):
            attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = [self.tensors[name] if name else None for name in node.input]
            constant = all(x is None or x.constant for x in inputs)
            if node.op_type in SWITCHING_OPERATORS:
                data = self._without_units(node, attrs) if constant else self._switching(node, attrs)
            else:
                handler: Callable[..., Exact] | None = getattr(self, f"_op_{node.op_type.lower()}", None)
                if handler is None:
                    raise UnsupportedError(node.op_type)
                data = handler(attrs, *inputs)
            self.tensors[node.output[0]] = _Tensor(data, constant)
            for name in [n for n, last in self.last_use.items() if last <= index and n in self.tensors]:
                del self.tensors[name]  # a tensor that nothing reads any more need not be interpolated
        return self._finish()

    # -- points and switching functions --

    def _insert(self, new: Iterable[Fraction]) -> None:
        """Add points; every live tensor is affine around them, so it is interpolated."""
        known = set(self.t)
        merged = sorted(known.union(new))
        if len(merged) == len(self.t):
            return
        old = self.t
        origin: list[tuple[int, Fraction]] = []  # the interval a point lies in, and where in it
        for t in merged:
            i = min(bisect_right(old, t) - 1, len(old) - 2)
            origin.append((i, (t - old[i]) / (old[i + 1] - old[i])))

        def spread(data: Exact) -> Exact:
            rows = []
            for i, share in origin:
                if share == 0:
                    rows.append(data[i])
                elif share == 1:
                    rows.append(data[i + 1])
                else:
                    rows.append(data[i] + (data[i + 1] - data[i]) * share)
            return np.stack(rows)

        for tensor in self.tensors.values():
            if not tensor.constant:
                tensor.data = spread(tensor.data)
        for node, rows in self.branches.items():
            self.branches[node] = [rows[i] for i, share in origin if share != 1]
        self.t = merged

    def _switching(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Exact:
        op = node.op_type
        if op in ("Max", "Min"):
            return self._winners(node, *self._elementwise_groups(node))
        if op in ("MaxPool", "GlobalMaxPool"):
            return self._winners(node, *self._pool_groups(node, attrs))
        if op in ("ReduceMax", "ReduceMin"):
            return self._winners(node, *self._reduction_groups(node, attrs))
        return self._thresholds(node, attrs)

    def _without_units(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Exact:
        """A switching operator on constants: it has a value, and nothing that could switch."""
        kept = {name: self.tensors[name] for name in node.input if name}
        statistics = (self.conditioning, self.clearance, self.order_dependent, self.degeneracies.copy())
        for name, tensor in kept.items():
            self.tensors[name] = _Tensor(np.broadcast_to(tensor.data, (len(self.t), *tensor.shape)), constant=True)
        data = self._switching(node, attrs)
        self.tensors.update(kept)
        self.conditioning, self.clearance, self.order_dependent, self.degeneracies = statistics
        del self.branches[node.output[0]]
        self.candidates.pop(node.output[0], None)
        self.lasting_ties.discard(node.output[0])
        return data[:1]

    def _thresholds(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Exact:
        """Operators whose branch depends on where one number lies: split at the thresholds, then apply."""
        op, name = node.op_type, node.output[0]
        lowest = 0
        if op == "Clip":
            low, high = (self._limit(node, position) for position in (1, 2))
            if low is not None and high is not None and low > high:
                raise UnsupportedError("Clip with crossed limits")
            limits = [limit for limit in (low, high) if limit is not None]
            lowest = 0 if low is not None else 1
        elif op == "HardSigmoid":
            limits = [ZERO, ONE]
        else:
            limits = [ZERO]

        def pre_activation() -> Exact:
            data = self._get(node.input[0]).data
            if op == "HardSigmoid":
                data = data * Fraction(attrs.get("alpha", float(np.float32(0.2)))) + Fraction(attrs.get("beta", 0.5))
            return data

        z = pre_activation().reshape(len(self.t), -1)
        crossings = set()
        for limit in limits:
            for i in range(len(self.t) - 1):
                for a, b in zip(z[i] - limit, z[i + 1] - limit, strict=True):
                    if (a > 0 > b) or (a < 0 < b):
                        crossings.add(_mix(self.t[i], self.t[i + 1], a / (a - b)))
        self._insert(crossings)
        full = pre_activation()
        z = full.reshape(len(self.t), -1)
        self._observe([z - limit for limit in limits], winners=False)
        self.branches[name] = [
            [lowest + sum(a + b > 2 * limit for limit in limits) for a, b in zip(z[i], z[i + 1], strict=True)]
            for i in range(len(self.t) - 1)
        ]
        if op == "Relu":
            return _map(lambda x: max(x, ZERO), full)
        if op == "Abs":
            return _map(abs, full)
        if op in ("Clip", "HardSigmoid"):
            lower = [limits[0]] if lowest == 0 and limits else []
            upper = [limits[-1]] if len(limits) == 2 or (lowest == 1 and limits) else []
            return _map(lambda x: min([max([x, *lower]), *upper]), full)
        if op == "LeakyRelu":
            alpha = Fraction(attrs.get("alpha", float(np.float32(0.01))))
            return _map(lambda x: x if x > 0 else x * alpha, full)
        if not self._get(node.input[1]).constant:
            raise UnsupportedError("PRelu with slopes that depend on the input")
        slope = np.broadcast_to(_align(self._get(node.input[1]).data, full.ndim - 1), full.shape)
        return exact([x if x > 0 else x * s for x, s in zip(full.flat, slope.flat, strict=True)]).reshape(full.shape)

    def _limit(self, node: onnx.NodeProto, position: int) -> Fraction | None:
        if len(node.input) <= position or not node.input[position]:
            return None
        tensor = self._get(node.input[position])
        if not tensor.constant:
            raise UnsupportedError("Clip with limits that depend on the input")
        return Fraction(tensor.data.reshape(-1)[0])

    def _winners(self, node: onnx.NodeProto, pool: Callable[[], Exact], groups: list[list[int]], shape: Any) -> Exact:
        """Operators of the Max kind: unit u is the largest of the columns ``groups[u]`` of ``pool()``."""
        name = node.output[0]
        sign = -1 if node.op_type in ("Min", "ReduceMin") else 1
        columns = pool() * sign
        kinks = set()
        for i in range(len(self.t) - 1):
            left, right = columns[i], columns[i + 1]
            for group in groups:
                for share in _envelope_kinks([left[c] for c in group], [right[c] for c in group]):
                    kinks.add(_mix(self.t[i], self.t[i + 1], share))
        self._insert(kinks)
        columns = pool() * sign
        maximisers = [
            [_maximisers([columns[i][c] for c in group], [columns[i + 1][c] for c in group]) for group in groups]
            for i in range(len(self.t) - 1)
        ]
        self.branches[name] = _carry(maximisers, 0)
        self.order_dependent |= _changes(self.branches[name]) != _changes(_carry(maximisers, -1))
        if any(len(among) > 1 for row in maximisers for among in row):
            self.lasting_ties.add(name)
        self.candidates[name] = [len(group) for group in groups]
        self._observe(_gaps(columns, groups), winners=True)
        out = exact([max(row[c] for c in group) * sign for row in columns for group in groups])
        return out.reshape(len(self.t), *shape)

    def _observe(self, functions: Sequence[Exact], winners: bool) -> None:
        """Gather statistics about switching functions (points, units), which are affine between the points.

        Points that later operators add lie where these functions are affine already, so they show nothing new.
        """
        numbers = [data.astype(np.float64) for data in functions]
        if not numbers:
            return
        widths = np.diff([float(t) for t in self.t])[:, None]
        scale = max(float(np.abs(data).max()) for data in numbers) or 1.0
        zeros = np.array([data == 0 for data in numbers])  # Fractions that are not zero are far from underflow here
        found = self.degeneracies
        for data, zero in zip(numbers, zeros, strict=True):
            flat = zero[:-1] & zero[1:]
            leaving = ~flat & (zero[:-1] | zero[1:])
            if leaving.any():
                slope = np.abs(np.diff(data, axis=0)) / widths
                self.conditioning = min(self.conditioning, float(slope[leaving].min()) / scale)
            if not zero.all():
                self.clearance = min(self.clearance, float(np.abs(data[~zero]).min()) / scale)
            if not winners:
                sign = np.sign(data[:-1] + data[1:])
                found["touch"] += int((zero[1:-1] & (sign[:-1] * sign[1:] > 0)).sum())
                found["dead"] += int(zero.all(axis=0).sum())
        # A winner's distance from itself is zero, so that a tie takes two zeros.
        enough = 2 if winners else 1
        tied = zeros.sum(axis=0) >= enough
        found["zero_at_start"] += int(tied[0].sum())
        found["zero_at_end"] += int(tied[-1].sum())
        found["zero_interval"] += int(((zeros[:, :-1] & zeros[:, 1:]).sum(axis=0) >= enough).sum())

    def _elementwise_groups(self, node: onnx.NodeProto) -> tuple[Callable[[], Exact], list[list[int]], Any]:
        shape = np.broadcast_shapes(*(self._get(name).shape for name in node.input))
        units = math.prod(shape)

        def pool() -> Exact:
            parts = []
            for name in node.input:
                data = _align(self._get(name).data, len(shape))
                parts.append(np.broadcast_to(data, (len(self.t), *shape)).reshape(len(self.t), units))
            return np.concatenate(parts, axis=1)

        return pool, [[k * units + u for k in range(len(node.input))] for u in range(units)], shape

    def _pool_groups(
        self, node: onnx.NodeProto, attrs: dict[str, Any]
    ) -> tuple[Callable[[], Exact], list[list[int]], Any]:
        shape = self._get(node.input[0]).shape
        spatial = shape[2:]
        kernel = attrs["kernel_shape"] if node.op_type == "MaxPool" else spatial
        counts, windows = _windows(spatial, kernel, attrs)
        index = np.arange(math.prod(shape)).reshape(shape)
        groups = [
            [int(index[(b, c, *at)]) for _, at in window.elements]
            for b in range(shape[0])
            for c in range(shape[1])
            for window in windows
        ]
        return self._flat(node), groups, (shape[0], shape[1], *counts)

    def _reduction_groups(
        self, node: onnx.NodeProto, attrs: dict[str, Any]
    ) -> tuple[Callable[[], Exact], list[list[int]], Any]:
        shape = self._get(node.input[0]).shape
        axes = self._axes(
            attrs, self._get(node.input[1]) if len(node.input) > 1 and node.input[1] else None, len(shape)
        )
        groups, out_shape = _reduce_groups(shape, axes, bool(attrs.get("keepdims", 1)))
        return self._flat(node), groups, out_shape

    def _flat(self, node: onnx.NodeProto) -> Callable[[], Exact]:
        return lambda: self._get(node.input[0]).data.reshape(len(self.t), -1)

    # -- the result --

    def _finish(self) -> Analysis:
        y = self.tensors[self.output].data.reshape(-1, math.prod(self.tensors[self.output].shape))
        if self.tensors[self.output].constant:
            y = np.broadcast_to(y, (len(self.t), y.shape[1]))
        switches: list[dict[Unit, tuple[int, int]]] = []
        kept = [0]
        for i in range(1, len(self.t) - 1):
            here = {
                (node, unit): (before, after)
                for node, rows in self.branches.items()
                for unit, (before, after) in enumerate(zip(rows[i - 1], rows[i], strict=True))
                if before != after
            }
            if here:
                switches.append(here)
                kept.append(i)
        for together in switches:
            self.degeneracies["simultaneous"] += len(together) > 1
            self.degeneracies["simultaneous_layers"] += len({node for node, _ in together}) > 1
        t = [self.t[i] for i in kept] + [ONE]
        values = [list(y[i]) for i in kept] + [list(y[-1])]
        slopes = [
            [(b - a) / (t[i + 1] - t[i]) for a, b in zip(values[i], values[i + 1], strict=True)]
            for i in range(len(t) - 1)
        ]
        return Analysis(
            t=t,
            values=values,
            slopes=slopes,
            switches=switches,
            branches={node: np.array([rows[i] for i in kept], dtype=np.int64) for node, rows in self.branches.items()},
            candidates=self.candidates,
            length=self.length,
            order_dependent=self.order_dependent,
            lasting_ties=self.lasting_ties,
            conditioning=self.conditioning,
            clearance=self.clearance,
            degeneracies=self.degeneracies,
        )

    # -- affine operators: each takes the attributes and the inputs, and returns (points, shape...) --

    def _get(self, name: str) -> _Tensor:
        return self.tensors[name]

    def _constant(self, name: str, value: NDArray[Any]) -> None:
        self.tensors[name] = _Tensor(exact(value)[None], constant=True)

    @staticmethod
    def _ints(tensor: _Tensor) -> list[int]:
        if not tensor.constant:
            raise UnsupportedError("shapes, axes and indices must be constant")
        return [int(v) for v in tensor.data.reshape(-1)]

    def _axes(self, attrs: dict[str, Any], given: _Tensor | None, rank: int) -> list[int]:
        axes = self._ints(given) if given is not None else attrs.get("axes")
        return sorted(a % rank for a in axes) if axes else list(range(rank))

    def _op_identity(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        return x.data

    def _op_neg(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        return -x.data

    def _op_constant(self, attrs: dict[str, Any]) -> Exact:
        (value,) = attrs.values()
        return exact(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)[None]

    def _op_add(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor) -> Exact:
        left, right = _aligned(a, b)
        return left + right

    def _op_sub(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor) -> Exact:
        left, right = _aligned(a, b)
        return left - right

    def _op_mul(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor) -> Exact:
        if not (a.constant or b.constant):
            raise UnsupportedError("a product of two tensors that depend on the input")
        left, right = _aligned(a, b)
        return left * right

    def _op_div(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor) -> Exact:
        if not b.constant:
            raise UnsupportedError("a divisor that depends on the input")
        left, right = _aligned(a, b)
        return left / right

    def _op_sum(self, attrs: dict[str, Any], *inputs: _Tensor) -> Exact:
        total = inputs[0]
        for other in inputs[1:]:
            total = _Tensor(self._op_add({}, total, other), total.constant and other.constant)
        return total.data

    def _op_gemm(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor, c: _Tensor | None = None) -> Exact:
        left = np.swapaxes(a.data, 1, 2) if attrs.get("transA", 0) else a.data
        right = np.swapaxes(b.data, 1, 2) if attrs.get("transB", 0) else b.data
        out = self._op_matmul({}, _Tensor(left, a.constant), _Tensor(right, b.constant))
        out = np.asarray(out * Fraction(attrs.get("alpha", 1.0)))
        if c is not None:
            out = np.asarray(out + _align(c.data, 2) * Fraction(attrs.get("beta", 1.0)))
        return out

    def _op_matmul(self, attrs: dict[str, Any], a: _Tensor, b: _Tensor) -> Exact:
        if b.constant and len(b.shape) == 2 and len(a.shape) >= 2:
            flat = _dot(a.data.reshape(-1, a.shape[-1]), b.data[0])
            return flat.reshape(*a.data.shape[:-1], b.shape[1])
        if not (a.constant or b.constant):
            raise UnsupportedError("a product of two tensors that depend on the input")
        if len(a.shape) < 2 or len(b.shape) < 2:
            raise UnsupportedError("MatMul with a vector")
        rank = max(len(a.shape), len(b.shape))
        return np.asarray(np.matmul(_align(a.data, rank), _align(b.data, rank)))

    def _op_conv(self, attrs: dict[str, Any], x: _Tensor, w: _Tensor, bias: _Tensor | None = None) -> Exact:
        batch, channels, *spatial = x.shape
        if batch != 1 or not w.constant:
            raise UnsupportedError("Conv with a batch, or with weights that depend on the input")
        weight = w.data[0]
        out_channels, per_group, *kernel = weight.shape
        group = attrs.get("group", 1)
        counts, windows = _windows(spatial, kernel, attrs)
        index = np.arange(channels * math.prod(spatial)).reshape(channels, *spatial)
        matrix = np.full((index.size, out_channels * len(windows)), ZERO, dtype=object)
        for out in range(out_channels):
            first = out // (out_channels // group) * per_group
            for place, window in enumerate(windows):
                for c, (offset, at) in product(range(per_group), window.elements):
                    matrix[index[(first + c, *at)], out * len(windows) + place] = weight[(out, c, *offset)]
        y = _dot(x.data.reshape(len(x.data), -1), matrix).reshape(-1, 1, out_channels, *counts)
        if bias is not None:
            y = y + bias.data.reshape(1, 1, -1, *[1] * len(counts))
        return y

    def _op_averagepool(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        batch, channels, *spatial = x.shape
        counts, windows = _windows(spatial, attrs["kernel_shape"], attrs)
        matrix = np.full((math.prod(spatial), len(windows)), ZERO, dtype=object)
        index = np.arange(math.prod(spatial)).reshape(spatial)
        for place, window in enumerate(windows):
            size = window.padded_size if attrs.get("count_include_pad", 0) else len(window.elements)
            for _, at in window.elements:
                matrix[index[at], place] = Fraction(1, size)
        return _dot(x.data.reshape(-1, math.prod(spatial)), matrix).reshape(-1, batch, channels, *counts)

    def _op_globalaveragepool(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        return self._reduce(x, list(range(2, len(x.shape))), keep=True, mean=True)

    def _op_batchnormalization(self, attrs: dict[str, Any], x: _Tensor, *parameters: _Tensor) -> Exact:
        if attrs.get("training_mode", 0):
            raise UnsupportedError("BatchNormalization in training mode")
        epsilon = Fraction(attrs.get("epsilon", float(np.float32(1e-5))))
        gamma, beta, mean, var = (p.data.reshape(-1) for p in parameters)
        scale = []
        for g, v in zip(gamma, var, strict=True):
            root = _is_square(v + epsilon)
            scale.append(g / root if root is not None else Fraction(float(g) / math.sqrt(float(v + epsilon))))
        shape = (1, 1, -1, *[1] * (len(x.shape) - 2))
        return (x.data - mean.reshape(shape)) * exact(scale).reshape(shape) + beta.reshape(shape)

    def _op_concat(self, attrs: dict[str, Any], *inputs: _Tensor) -> Exact:
        points = max(len(x.data) for x in inputs)
        axis = attrs["axis"] % len(inputs[0].shape)
        return np.concatenate([np.broadcast_to(x.data, (points, *x.shape)) for x in inputs], axis=axis + 1)

    def _op_flatten(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        axis = attrs.get("axis", 1)
        axis += len(x.shape) if axis < 0 else 0
        return x.data.reshape(len(x.data), math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    def _op_reshape(self, attrs: dict[str, Any], x: _Tensor, target: _Tensor) -> Exact:
        dims = self._ints(target)
        if not attrs.get("allowzero", 0):
            dims = [x.shape[i] if d == 0 else d for i, d in enumerate(dims)]
        if -1 in dims:
            dims[dims.index(-1)] = math.prod(x.shape) // -math.prod(dims)
        return x.data.reshape(len(x.data), *dims)

    def _op_transpose(self, attrs: dict[str, Any], x: _Tensor) -> Exact:
        perm = attrs.get("perm", list(range(len(x.shape)))[::-1])
        return np.transpose(x.data, [0, *(p + 1 for p in perm)])

    def _op_squeeze(self, attrs: dict[str, Any], x: _Tensor, axes: _Tensor | None = None) -> Exact:
        gone = self._axes({}, axes, len(x.shape)) if axes else [i for i, d in enumerate(x.shape) if d == 1]
        return np.squeeze(x.data, axis=tuple(a + 1 for a in gone))

    def _op_unsqueeze(self, attrs: dict[str, Any], x: _Tensor, axes: _Tensor) -> Exact:
        made = self._ints(axes)
        rank = len(x.shape) + len(made)
        return np.expand_dims(x.data, axis=tuple(a % rank + 1 for a in made))

    def _op_reducemean(self, attrs: dict[str, Any], x: _Tensor, axes: _Tensor | None = None) -> Exact:
        return self._reduce(x, self._axes(attrs, axes, len(x.shape)), bool(attrs.get("keepdims", 1)), mean=True)

    def _op_reducesum(self, attrs: dict[str, Any], x: _Tensor, axes: _Tensor | None = None) -> Exact:
        return self._reduce(x, self._axes(attrs, axes, len(x.shape)), bool(attrs.get("keepdims", 1)), mean=False)

    @staticmethod
    def _reduce(x: _Tensor, axes: list[int], keep: bool, mean: bool) -> Exact:
        groups, shape = _reduce_groups(x.shape, axes, keep)
        rows = x.data.reshape(len(x.data), -1)
        out = exact([sum((row[c] for c in g), ZERO) / (len(g) if mean else 1) for row in rows for g in groups])
        return out.reshape(len(x.data), *shape)

    def _op_pad(self, attrs: dict[str, Any], x: _Tensor, *rest: _Tensor | None) -> Exact:
        if attrs.get("mode", b"constant") != b"constant":
            raise UnsupportedError("Pad that is not constant")
        amounts, value, axes = (*rest, None, None)[:3]
        assert amounts is not None
        rank = len(x.shape)
        chosen = [a % rank for a in self._ints(axes)] if axes is not None else list(range(rank))
        pads = self._ints(amounts)
        if min(pads) < 0:
            raise UnsupportedError("Pad that crops")
        widths = [(0, 0)] * (rank + 1)
        for place, axis in enumerate(chosen):
            widths[axis + 1] = (pads[place], pads[len(chosen) + place])
        fill = value.data.reshape(-1)[0] if value is not None else ZERO
        shape = [d + before + after for d, (before, after) in zip(x.data.shape, widths, strict=True)]
        out = np.full(shape, fill, dtype=object)
        out[tuple(slice(before, before + d) for d, (before, _) in zip(x.data.shape, widths, strict=True))] = x.data
        return out

    def _op_slice(self, attrs: dict[str, Any], x: _Tensor, *rest: _Tensor | None) -> Exact:
        starts, ends, axes, steps = (*rest, None, None)[:4]
        assert starts is not None
        assert ends is not None
        first, last = self._ints(starts), self._ints(ends)
        rank = len(x.shape)
        chosen = [a % rank for a in self._ints(axes)] if axes is not None else list(range(len(first)))
        stride = self._ints(steps) if steps is not None else [1] * len(first)
        index = [slice(None)] * (rank + 1)
        for a, b, axis, step in zip(first, last, chosen, stride, strict=True):
            if step <= 0:
                raise UnsupportedError("Slice with a step that is not positive")
            index[axis + 1] = slice(a, b, step)
        return x.data[tuple(index)]

    def _op_gather(self, attrs: dict[str, Any], x: _Tensor, indices: _Tensor) -> Exact:
        axis = attrs.get("axis", 0) % len(x.shape)
        where = np.array(self._ints(indices), dtype=np.int64).reshape(indices.shape)
        return np.take(x.data, where, axis=axis + 1)


def _gaps(columns: Exact, groups: list[list[int]]) -> list[Exact]:
    """The largest candidate minus each candidate: by place in the group, (points, units)."""
    best = [[max(row[c] for c in group) for group in groups] for row in columns]
    gaps = []
    for place in range(max(len(group) for group in groups)):
        # A place that a smaller window does not have counts as far away, so that it makes no tie.
        gaps.append(
            exact(
                [
                    [
                        top - row[group[place]] if place < len(group) else ONE
                        for top, group in zip(tops, groups, strict=True)
                    ]
                    for tops, row in zip(best, columns, strict=True)
                ]
            )
        )
    return gaps


def _map(function: Callable[[Fraction], Fraction], data: Exact) -> Exact:
    return exact([function(x) for x in data.reshape(-1)]).reshape(data.shape)


def _align(data: Exact, rank: int) -> Exact:
    """Give the tensor behind the points axis ``rank`` axes, as broadcasting does."""
    return data.reshape(len(data), *[1] * (rank - (data.ndim - 1)), *data.shape[1:])


def _aligned(a: _Tensor, b: _Tensor) -> tuple[Exact, Exact]:
    rank = max(len(a.shape), len(b.shape))
    return _align(a.data, rank), _align(b.data, rank)


def _reduce_groups(shape: tuple[int, ...], axes: list[int], keep: bool) -> tuple[list[list[int]], list[int]]:
    """For every output element the flat indices of what it is reduced from, row-major; and the output's shape."""
    others = [a for a in range(len(shape)) if a not in axes]
    order = np.arange(math.prod(shape)).reshape(shape).transpose([*others, *axes])
    groups = order.reshape(math.prod(shape[a] for a in others), -1).tolist()
    kept = [1 if a in axes else d for a, d in enumerate(shape)] if keep else [shape[a] for a in others]
    return groups, kept


def _carry(maximisers: list[list[list[int]]], pick: int) -> list[list[int]]:
    """The winner of each unit per interval: it stays while it can, else the maximiser at position ``pick``."""
    rows: list[list[int]] = []
    for choices in maximisers:
        previous = rows[-1] if rows else [-1] * len(choices)
        rows.append([old if old in among else among[pick] for old, among in zip(previous, choices, strict=True)])
    return rows


def _changes(rows: list[list[int]]) -> list[list[bool]]:
    """Per point and unit: does the winner change."""
    return [[a != b for a, b in zip(p, q, strict=True)] for p, q in pairwise(rows)]
