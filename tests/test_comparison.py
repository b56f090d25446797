"""Two networks compared exactly along a path: rational arithmetic, dense evaluation, known transformations."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from strategies import GENERIC, LATTICE, Builder, Case, cases, dense_cases
from walks import hand_walk

import lronnx
from lronnx import comparison
from lronnx.comparison import PathComparison, Verdict, compare_walks, union
from lronnx.errors import InputError
from lronnx.network import Network, SwitchingNode
from lronnx.regions import Switch, Walk

Floats = NDArray[np.float64]
SHARED = Path(os.environ.get("LRONNX_SHARED") or Path(__file__).parents[2] / "shared") / "onnx"


def load(model: onnx.ModelProto) -> Network:
    """A network of a model in memory: what is read of the file is read at once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return lronnx.load(path, threads=1)


def walked(network: Network, points: Sequence[Floats] | Floats) -> tuple[Walk, ...]:
    return network.walk_path(points, device="cpu").segments


def compare(first: Network, other: Network, points: Sequence[Floats] | Floats) -> PathComparison:
    return compare_walks(
        walked(first, points),
        walked(other, points),
        nodes=(first.switching_nodes, other.switching_nodes),
        twin=lambda side, seed: walked((first, other)[side].rounded(seed), points),
    )


# --- exact answers ---------------------------------------------------------------------------------------------------


@dataclass
class Exact:
    """Two functions on one segment at the edges of the union of their regions, in rational numbers."""

    first: oracle.Analysis
    other: oracle.Analysis

    def __post_init__(self) -> None:
        self.t = sorted({*self.first.t, *self.other.t})
        self.gaps = [self.gap(t) for t in self.t]

    def gap(self, t: Fraction) -> list[Fraction]:
        both = []
        for one in (self.first, self.other):
            region = min(bisect_right(one.t, t), len(one.t) - 1) - 1
            share = (t - one.t[region]) / (one.t[region + 1] - one.t[region])
            both.append([p + share * (q - p) for p, q in zip(one.values[region], one.values[region + 1], strict=True)])
        return [p - q for p, q in zip(*both, strict=True)]

    @property
    def largest(self) -> Fraction:
        return max(abs(gap) for gaps in self.gaps for gap in gaps)

    @property
    def integral(self) -> list[Fraction]:
        totals = [Fraction(0)] * len(self.gaps[0])
        for (t0, g0), (t1, g1) in pairwise(zip(self.t, self.gaps, strict=True)):
            for k, (p, q) in enumerate(zip(g0, g1, strict=True)):
                same = p * q >= 0
                mean = (abs(p) + abs(q)) / 2 if same else (p * p + q * q) / (2 * (abs(p) + abs(q)))
                totals[k] += (t1 - t0) * mean
        return totals

    def first_above(self, allowed: Sequence[float]) -> Fraction | None:
        """Where any output first differs by more than allowed."""
        limits = [Fraction(float(limit)) for limit in allowed]
        for (t0, g0), (t1, g1) in pairwise(zip(self.t, self.gaps, strict=True)):
            if any(abs(p) > limit for p, limit in zip(g0, limits, strict=True)):
                return t0
            found = []
            for p, q, limit in zip(g0, g1, limits, strict=True):
                if abs(q) > limit:
                    found.append(t0 + (t1 - t0) * ((limit if q > 0 else -limit) - p) / (q - p))
            if found:
                return min(found)
        return None


def exactly(first: onnx.ModelProto, other: onnx.ModelProto, start: Floats, end: Floats) -> Exact:
    return Exact(oracle.analyse(first, start, end), oracle.analyse(other, start, end))


def check(found: PathComparison, exact: Sequence[Exact]) -> None:
    """Everything that is said of values is exactly so, up to rounding in double precision."""
    size = float(max(abs(v) for one in exact for side in (one.first, one.other) for row in side.values for v in row))
    slopes = max(abs(s) for one in exact for side in (one.first, one.other) for row in side.slopes for s in row)
    rounding = 1e-12 * (size + float(slopes))
    assert found.size == pytest.approx(size, rel=1e-12)
    largest = float(max(one.largest for one in exact))
    assert found.largest_difference == pytest.approx(largest, rel=1e-9, abs=rounding)
    if found.largest_at is not None:
        at = found.largest_at
        there = exact[at.segment].gap(Fraction(at.t))[at.output]
        assert abs(float(there)) == pytest.approx(largest, rel=1e-9, abs=rounding)
        assert at.first - at.other == pytest.approx(float(there), rel=1e-9, abs=rounding)
    integral = [
        sum(one.first.length * float(one.integral[k]) for one in exact) for k in range(len(found.difference_integral))
    ]
    np.testing.assert_allclose(found.difference_integral, integral, rtol=1e-9, atol=rounding)
    # A place where they part is where a difference passes the bound: that is tested by what it is there and before.
    parts = [
        (number, t)
        for number, one in enumerate(exact)
        if (t := one.first_above(found.allowed[number].tolist())) is not None
    ]
    if found.parts_at is None:
        assert largest <= found.allowed.max() + rounding
    elif parts:
        at = found.parts_at
        there = abs(float(exact[at.segment].gap(Fraction(at.t))[at.output]))
        if at.t > 0.0:
            assert there == pytest.approx(at.allowed, rel=1e-6, abs=rounding)
        else:
            assert there > at.allowed - rounding
        # The steeper the difference passes the bound, the better its place is known.
        if at.segment == parts[0][0]:
            beyond = exact[at.segment].gap(min(Fraction(at.t) + Fraction(1, 10**6), Fraction(1)))[at.output]
            rate = (abs(float(beyond)) - there) * 1e6
            assert at.t == pytest.approx(float(parts[0][1]), abs=1e-12 + rounding / max(rate, 1e-9))


# --- networks --------------------------------------------------------------------------------------------------------

Weights = list[tuple[Floats, Floats]]


def weights(seed: int = 0, sizes: Sequence[int] = (4, 12, 10, 3)) -> Weights:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((b, a)).astype(np.float32).astype(np.float64), rng.standard_normal(b).astype(np.float32))
        for a, b in pairwise(sizes)
    ]


def chain(layers: Weights) -> onnx.ModelProto:
    """Dense layers with a ReLU between them: its nodes are relu_1, relu_3, ..."""
    b = Builder((layers[0][0].shape[1],))
    x = b.input
    for weight, bias in layers[:-1]:
        x = b.relu(b.gemm(x, weight, bias))
    return b.model(b.gemm(x, *layers[-1]))


def path(seed: int = 1, points: int = 4, inputs: int = 4) -> Floats:
    """Points that are exact in single precision."""
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal((points, inputs))).astype(np.float32).astype(np.float64)


def permuted(layers: Weights) -> Weights:
    rng = np.random.default_rng(2)
    found, before = [], np.arange(layers[0][0].shape[1])
    for number, (weight, bias) in enumerate(layers):
        order = rng.permutation(len(bias)) if number < len(layers) - 1 else np.arange(len(bias))
        found.append((weight[order][:, before], bias[order]))
        before = order
    return found


def rescaled(layers: Weights, factor: float) -> Weights:
    """A positive factor moved across the first ReLU."""
    (first, bias), (second, other), *rest = layers
    scale = np.float32(factor)
    return [(first.astype(np.float32) * scale, bias * scale), (second.astype(np.float32) / scale, other), *rest]


def with_neuron(layers: Weights, row: Floats, bias: float, column: Floats) -> Weights:
    """One more neuron in the first layer, behind all others."""
    (first, one), (second, two), *rest = layers
    return [(np.vstack([first, row]), np.append(one, bias)), (np.hstack([second, column[:, None]]), two), *rest]


def split_neuron(layers: Weights) -> Weights:
    """Neuron 7 twice, with half of its outgoing weights each."""
    halved = layers[1][0].copy()
    halved[:, 7] /= 2
    return with_neuron([layers[0], (halved, layers[1][1]), *layers[2:]], layers[0][0][7], layers[0][1][7], halved[:, 7])


def doubled(layers: Weights) -> Weights:
    """Layer 0's neuron 3 is a copy of neuron 2: two units with the same signature."""
    (first, bias), *rest = layers
    first, bias = first.copy(), bias.copy()
    first[3], bias[3] = first[2], bias[2]
    return [(first, bias), *rest]


def split_layer(layers: Weights) -> onnx.ModelProto:
    """The first layer as two linear ones, the second of which is a permutation and a factor of 2."""
    b = Builder((layers[0][0].shape[1],))
    (first, bias), *rest = layers
    order = np.arange(len(bias))[::-1]
    back = 2 * np.eye(len(bias))[order]
    x = b.relu(b.gemm(b.gemm(b.input, first[order] / 2, bias[order] / 2), back))
    for weight, term in rest[:-1]:
        x = b.relu(b.gemm(x, weight, term))
    return b.model(b.gemm(x, *rest[-1]))


BASE = weights()
DEAD = with_neuron(BASE, np.zeros(4), -1.0, np.ones(10))
IDLE = with_neuron(BASE, BASE[0][0][1] + 0.5, 0.25, np.zeros(10))

SAME_FUNCTION: dict[str, tuple[Weights, onnx.ModelProto, Verdict, str, dict[str, int]]] = {
    "itself": (BASE, chain(BASE), Verdict.IDENTICAL, "double", {}),
    "permuted": (BASE, chain(permuted(BASE)), Verdict.IDENTICAL, "double", {}),
    "rescaled by a power of two": (BASE, chain(rescaled(BASE, 4.0)), Verdict.IDENTICAL, "double", {}),
    "rescaled": (BASE, chain(rescaled(BASE, 3.7)), Verdict.IDENTICAL, "float32", {}),
    "permuted and rescaled": (BASE, chain(permuted(rescaled(BASE, 3.7))), Verdict.IDENTICAL, "float32", {}),
    "a layer split in two": (BASE, split_layer(BASE), Verdict.IDENTICAL, "double", {}),
    "a dead neuron": (BASE, chain(DEAD), Verdict.IDENTICAL, "double", {}),
    "an idle neuron": (BASE, chain(IDLE), Verdict.SAME, "double", {"relu_1": 2}),
    "a neuron split in two": (BASE, chain(split_neuron(BASE)), Verdict.SAME, "double", {"relu_1": 2}),
    "equal neurons permuted": (doubled(BASE), chain(permuted(doubled(BASE))), Verdict.IDENTICAL, "double", {}),
}


@pytest.mark.parametrize(("first", "other", "verdict", "rounding", "extra"), SAME_FUNCTION.values(), ids=SAME_FUNCTION)
def test_the_same_function(
    first: Weights, other: onnx.ModelProto, verdict: Verdict, rounding: str, extra: dict[str, int]
) -> None:
    found = compare(load(chain(first)), load(other), path())
    assert (found.verdict, found.rounding) == (verdict, rounding)
    assert found.parts_at is None
    assert found.largest_difference <= found.allowed.max() < 1e-5 * found.size
    links = found.correspondence
    assert links.unmatched == ({}, extra)
    assert links.one_to_one == (verdict is Verdict.IDENTICAL)
    assert links.matched == links.switches[0] == links.switches[1] - sum(extra.values())
    assert links.largest_move is not None
    assert links.largest_move < (1e-12 if rounding == "double" else 1e-6)
    assert {node for others in links.nodes.values() for node in others} <= {"relu_1", "relu_2", "relu_3", "relu_4"}
    assert all(len(others) == 1 for others in links.nodes.values())


def test_the_first_of_two_networks_may_have_the_extra_units() -> None:
    found = compare(load(chain(IDLE)), load(chain(BASE)), path())
    assert found.verdict is Verdict.SAME
    assert found.correspondence.unmatched == ({"relu_1": 2}, {})


def test_batch_normalization_folded() -> None:
    rng = np.random.default_rng(3)
    (first, bias), *rest = BASE
    scale, shift, mean, variance = rng.uniform(0.5, 2, (4, len(bias))).astype(np.float32)
    b = Builder((4,))
    parameters = [b.constant(one) for one in (scale, shift, mean, variance)]
    normalized = b.add("BatchNormalization", [b.gemm(b.input, first, bias), *parameters], (1, len(bias)))
    x = b.relu(b.gemm(b.relu(normalized), *rest[0]))
    factor = (scale / np.sqrt(variance + np.float32(1e-5))).astype(np.float32)
    folded = [((first.astype(np.float32) * factor[:, None]), (bias - mean) * factor + shift), *rest]
    found = compare(load(b.model(b.gemm(x, *rest[1]))), load(chain(folded)), path())
    assert (found.verdict, found.rounding) == (Verdict.IDENTICAL, "float32")
    assert (
        found.correspondence.nodes == {"relu_2": {"relu_1": 23}, "relu_4": {"relu_3": 20}} or found.largest_difference
    )


def image(nhwc: bool, order: Sequence[int], scale: float = 1.0) -> onnx.ModelProto:
    """A convolution whose ReLU and pooling have the channels in front or behind, in any order."""
    rng = np.random.default_rng(4)
    kernel, bias = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
    dense = rng.standard_normal((2, 3, 4, 5))
    order = list(order)
    b = Builder((2, 6, 7))
    x = b.add("Conv", [b.input, b.constant(kernel[order] * scale), b.constant(bias[order] * scale)], (1, 3, 4, 5))
    if nhwc:
        x = b.add("Transpose", [x], (1, 4, 5, 3), perm=[0, 2, 3, 1])
    x = b.relu(x)
    rows = dense[:, order]
    x = b.add("Flatten", [x], (1, 60), axis=1)
    return b.model(b.gemm(x, (rows.transpose(0, 2, 3, 1) if nhwc else rows).reshape(2, 60) / scale))


@pytest.mark.parametrize(
    ("nhwc", "order", "scale", "rounding"),
    [(True, (0, 1, 2), 1, "double"), (True, (2, 0, 1), 1, "double"), (False, (1, 2, 0), 1, "double"),
     (True, (0, 1, 2), 3.7, "float32")],
)  # fmt: skip
def test_channels_elsewhere(nhwc: bool, order: Sequence[int], scale: float, rounding: str) -> None:
    points = np.random.default_rng(5).standard_normal((3, 2, 6, 7))
    found = compare(load(image(False, (0, 1, 2))), load(image(nhwc, order, scale)), points)
    assert (found.verdict, found.rounding) == (Verdict.IDENTICAL, rounding)
    assert found.correspondence.matched == sum(found.correspondence.switches) / 2 > 50


# --- different functions ---------------------------------------------------------------------------------------------


def with_change(layers: Weights, layer: int, row: int, column: int, by: float = 1e-3) -> Weights:
    changed = [(weight.copy(), bias) for weight, bias in layers]
    changed[layer][0][row, column] += by
    return changed


@pytest.mark.parametrize(("layer", "row", "column"), [(0, 1, 2), (1, 8, 7), (2, 1, 4), (2, 0, 8)])
def test_one_weight_changed_by_a_thousandth(layer: int, row: int, column: int) -> None:
    points = path(points=3)
    models = [chain(BASE), chain(with_change(BASE, layer, row, column))]
    found = compare(load(models[0]), load(models[1]), points)
    exact = [exactly(*models, *ends) for ends in pairwise(points)]
    assert (found.verdict, found.rounding) == (Verdict.DIFFERENT, None)
    check(found, exact)
    expected = next(
        (s, t) for s, one in enumerate(exact) if (t := one.first_above(found.allowed[s].tolist())) is not None
    )
    assert found.parts_at is not None
    assert found.parts_at.segment == expected[0]
    assert found.parts_at.t == pytest.approx(float(expected[1]), abs=1e-9)
    assert found.union_breakpoints == sum(len({*one.first.t, *one.other.t}) - 2 for one in exact)
    assert found.breakpoints == tuple(
        sum(side.regions - 1 for side in sides) for sides in zip(*((e.first, e.other) for e in exact), strict=True)
    )
    links = found.correspondence
    if layer == 2:
        # All regions correspond, the last layer alone differs.
        assert links.one_to_one
        assert links.largest_move == 0.0
        assert found.union_breakpoints == found.breakpoints[0]
    else:
        assert links.largest_move is not None
        assert 1e-9 < links.largest_move < 0.01


def test_a_network_that_parts_on_a_later_segment() -> None:
    """A neuron that first fires on the second of three segments."""
    row, bias, column = np.array([1.0, 0, 0, 0]), -2.0, np.full(10, 0.5)
    points = np.array([[0.0, 1, 1, 1], [1, 0, 0, 0], [5, 0, 0, 1], [5, 1, 1, 1]])
    models = [chain(BASE), chain(with_neuron(BASE, row, bias, column))]
    found = compare(load(models[0]), load(models[1]), points)
    assert found.verdict is Verdict.DIFFERENT
    assert found.parts_at is not None
    assert found.parts_at.segment == 1
    # It fires from 2 on, a quarter of the way from 1 to 5.
    assert 0.25 <= found.parts_at.t < 0.2501
    check(found, [exactly(*models, *ends) for ends in pairwise(points)])
    assert found.correspondence.unmatched == ({}, {}) or found.correspondence.unmatched[1]["relu_1"] >= 1


def test_float16_moves_breakpoints() -> None:
    halved = [(weight.astype(np.float16), bias.astype(np.float16)) for weight, bias in BASE]
    found = compare(load(chain(BASE)), load(chain(halved)), path())  # type: ignore[arg-type]
    assert found.verdict is Verdict.DIFFERENT
    links = found.correspondence
    assert links.one_to_one
    assert links.median_move is not None
    assert links.largest_move is not None
    assert 1e-6 < links.median_move < links.largest_move < 0.01


def test_two_networks_with_nothing_in_common() -> None:
    sizes = (4, 60, 60, 3)
    found = compare(load(chain(weights(7, sizes))), load(chain(weights(8, sizes))), path())
    assert found.verdict is Verdict.DIFFERENT
    assert found.parts_at is not None
    assert (found.parts_at.segment, found.parts_at.t) == (0, 0.0)
    assert found.correspondence.matched == 0
    assert (found.correspondence.largest_move, found.correspondence.median_move) == (None, None)
    assert sum(found.correspondence.unmatched[0].values()) == found.correspondence.switches[0] > 100
    assert not found.correspondence.one_to_one


def test_dense_evaluation_never_exceeds_the_largest_difference() -> None:
    first, other = load(chain(BASE)), load(chain(with_change(BASE, 1, 3, 5, 0.1)))
    points = path(points=3)
    found = compare(first, other, points)
    at = found.largest_at
    assert at is not None

    def difference(segment: int, t: float) -> Floats:
        x = points[segment] + t * (points[segment + 1] - points[segment])
        return np.abs(first.evaluate(x, device="cpu") - other.evaluate(x, device="cpu"))

    dense = max(difference(s, t).max() for s in range(2) for t in np.linspace(0, 1, 400))
    assert 0.9 * found.largest_difference < dense <= found.largest_difference * (1 + 1e-12)
    assert difference(at.segment, at.t)[at.output] == pytest.approx(found.largest_difference, rel=1e-10)
    assert abs(at.first - at.other) == found.largest_difference
    grid = np.linspace(0, 1, 4001)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    integral = sum(
        lengths[s] * np.trapezoid(np.stack([difference(s, t) for t in grid[::10]]), grid[::10], axis=0)
        for s in range(2)
    )
    np.testing.assert_allclose(found.difference_integral, integral, rtol=0.02)
    assert found.length == pytest.approx(lengths.sum())


# --- random networks -------------------------------------------------------------------------------------------------

RANDOM = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@RANDOM
@given(case=st.one_of(cases(GENERIC), cases(LATTICE)))
def test_any_network_is_identical_to_itself(case: Case) -> None:
    network = load(case.model)
    points = np.stack([case.start, case.end])
    found = compare(network, load(case.model), points)
    assert (found.verdict, found.rounding) == (Verdict.IDENTICAL, "double")
    assert (found.largest_difference, found.largest_at, found.parts_at) == (0.0, None, None)
    assert not found.difference_integral.any()
    assert found.union_breakpoints == found.breakpoints[0] == found.breakpoints[1]
    links = found.correspondence
    assert links.matched == links.switches[0] == links.switches[1]
    assert links.largest_move in (0.0, None)
    assert links.unmatched == ({}, {})
    assert links.grazing == (0, 0)


@RANDOM
@given(case=dense_cases(GENERIC), pick=st.integers(0, 2**20), by=st.sampled_from([1e-3, 0.1, -1.0]))
def test_a_random_network_with_one_weight_changed(case: Case, pick: int, by: float) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(case.model)
    matrices = [
        one for one in changed.graph.initializer if len(one.dims) == 2 and one.data_type == onnx.TensorProto.FLOAT
    ]
    assume(matrices)
    chosen = matrices[pick % len(matrices)]
    array = numpy_helper.to_array(chosen).copy()
    array.reshape(-1)[pick % array.size] += by
    chosen.CopyFrom(numpy_helper.from_array(array, chosen.name))
    exact = exactly(case.model, changed, case.start, case.end)
    assume(min(exact.first.conditioning, exact.other.conditioning) > 1e-6)
    first, other = load(case.model), load(changed)
    points = np.stack([case.start, case.end])
    found = compare(first, other, points)
    check(found, [exact])
    if found.rounding is None:
        assert any(abs(gap) > limit for gaps in exact.gaps for gap, limit in zip(gaps, found.allowed[0], strict=True))
    swapped = compare(other, first, points)
    assert swapped.largest_difference == found.largest_difference
    if found.largest_at is not None:
        at = found.largest_at
        assert swapped.largest_at == replace(at, first=at.other, other=at.first)
    assert swapped.breakpoints == found.breakpoints[::-1]
    assert swapped.union_breakpoints == found.union_breakpoints
    np.testing.assert_array_equal(swapped.difference_integral, found.difference_integral)
    assert swapped.correspondence.switches == found.correspondence.switches[::-1]


# --- walks made by hand ----------------------------------------------------------------------------------------------


def made(t: Sequence[float], values: Sequence[float], **changes: Any) -> Walk:
    walk = hand_walk([[value] for value in values], nodes=())
    edges = np.array(t)
    slopes = np.diff(walk.values, axis=0) / np.diff(edges)[:, None]
    return replace(walk, t=edges, slopes=slopes, **changes)


def test_the_union_of_edges() -> None:
    first = made([0, 0.25, 0.75, 1], [0, 1, 1, 3])
    other = made([0, 0.25 + 5e-13, 0.5, 1], [0, 0, 2, 4])
    t, mine, theirs = union(first, other)
    np.testing.assert_array_equal(t, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(mine[:, 0], [0, 1, 1, 1, 3])
    np.testing.assert_allclose(theirs[:, 0], [0, 0, 2, 3, 4], atol=1e-11)
    np.testing.assert_array_equal(union(other, first)[0], t)
    further = made([0, 0.25 + 5e-12, 0.5, 1], [0, 0, 2, 4])
    np.testing.assert_array_equal(union(first, further)[0], [0, 0.25, 0.25 + 5e-12, 0.5, 0.75, 1])


def test_the_largest_difference_is_at_a_breakpoint_of_either() -> None:
    first, other = made([0, 0.25, 1], [0, 1, 0]), made([0, 0.5, 1], [0, -2, 0])
    for a, b in ((first, other), (other, first)):
        found = compare_walks([a], [b], nodes=((), ()))
        # At 1/2: 2/3 + 2; at 1/4: 1 + 1.
        assert found.largest_difference == pytest.approx(8 / 3)
        assert found.largest_at is not None
        assert (found.largest_at.t, found.largest_at.output) == (0.5, 0)
        assert sorted([found.largest_at.first, found.largest_at.other]) == pytest.approx([-2.0, 2 / 3])
        assert found.union_breakpoints == 2
        assert found.length == 2.0
        # Two triangles and a trapezium, times the length: 1/8 2 + 1/4 (2 + 8/3) / 2 + 1/4 8/3.
        assert found.difference_integral[0] == pytest.approx(2 * (0.25 + (2 + 8 / 3) / 8 + 2 / 3))


def test_of_several_largest_differences_the_first_is_told() -> None:
    first, other = made([0, 0.25, 0.5, 0.75, 1], [0, 1, 0, 1, 0]), made([0, 1], [0, 0])
    found = compare_walks([first, first], [other, other], nodes=((), ()))
    assert found.largest_at is not None
    assert (found.largest_at.segment, found.largest_at.t) == (0, 0.25)


def test_a_partial_walk_is_compared_as_far_as_it_got() -> None:
    whole = made([0, 0.25, 0.5, 0.75, 1], [0, 1, 1, 1, 9])
    part = made([0, 0.25, 0.5], [0, 1, 1], partial=True)
    for a, b in ((whole, part), (part, whole)):
        found = compare_walks([a, whole], [b], nodes=((), ()))
        assert found.partial
        assert found.largest_difference == 0.0
        assert found.rounding == "double"
        assert found.breakpoints == (1, 1)
        assert found.union_breakpoints == 1
        assert found.length == 1.0
    assert not compare_walks([whole], [whole], nodes=((), ())).partial


def test_a_walk_that_was_stopped_at_once() -> None:
    stopped = replace(
        made([0, 1], [2, 3]),
        t=np.zeros(1),
        values=np.array([[2.0]]),
        slopes=np.zeros((0, 1)),
        switches=(),
        partial=True,
    )
    found = compare_walks([stopped], [made([0, 1], [2.5, 3])], nodes=((), ()))
    assert found.largest_difference == 0.5
    assert found.largest_at is not None
    assert found.largest_at.t == 0.0
    assert found.parts_at is not None
    assert found.length == 0.0
    assert found.difference_integral.tolist() == [0.0]


def test_the_yardsticks_are_asked_for_only_where_they_decide() -> None:
    flat = made([0, 1], [1, 1])
    asked: list[tuple[int, int]] = []

    def twin(side: int, seed: int) -> list[Walk]:
        asked.append((side, seed))
        return [made([0, 1], [1, 1 + 1e-6])]

    def verdict(other: Walk, given: Any = twin, most: int = 1) -> tuple[str | None, int]:
        asked.clear()
        found = compare_walks([flat], [other], nodes=((), ()), twin=given, most_twins=most)
        return found.rounding, len(asked)

    assert verdict(made([0, 1], [1, 1 + 1e-13])) == ("double", 0)
    assert verdict(made([0, 1], [1, 1 + 1e-10])) == ("float32", 2)
    assert verdict(made([0, 1], [1, 1 + 4e-6])) == ("float32", 2)
    assert verdict(made([0, 1], [1, 1 + 4e-6]), most=9) == ("float32", 2 * comparison.TWINS)
    assert sorted(asked) == [(side, seed) for side in (0, 1) for seed in range(comparison.TWINS)]
    # The other's twin is here as far from it as that is from the first.
    assert verdict(made([0, 1], [1, 1 + 3e-5])) == ("float32", 2)
    assert verdict(made([0, 1], [1, 0.9])) == (None, 0)
    assert verdict(made([0, 1], [1, 1 + 4e-6]), None) == (None, 0)


def test_what_the_yardsticks_show_of_each_output_and_segment() -> None:
    def walks(*ends: tuple[float, float]) -> list[Walk]:
        return [hand_walk([[8, 2], [8 + a, 2 + b]], nodes=()) for a, b in ends]

    first, other = walks((0, 0), (0, 0)), walks((0, 1e-6), (1e-5, 0))
    twins = [walks((8e-5, 0), (0, 0)), walks((0, 1e-6), (1e-5, 3e-5))]
    found = compare_walks(first, other, nodes=((), ()), twin=lambda side, seed: twins[side], most_twins=1)
    # Four times the most that either network's twin shows, and a floor of eight units of rounding.
    floor = np.array([64, 16]) * 2.0**-23
    np.testing.assert_allclose(found.allowed, np.array([[4 * 8e-5, 0], [0, 4 * 3e-5]]) + floor, rtol=1e-4)
    # What one output, or one segment, is allowed is no excuse for another.
    assert found.verdict is Verdict.DIFFERENT
    assert found.parts_at is not None
    assert (found.parts_at.segment, found.parts_at.output) == (1, 0)
    assert found.parts_at.allowed == pytest.approx(floor[0], rel=1e-4)
    assert found.largest_at is not None
    assert found.largest_at.allowed == found.parts_at.allowed


def test_gross_differences_are_different_whatever_twins_do() -> None:
    one, other, wild = (hand_walk([[10], [10 + a]], nodes=()) for a in (0, 0.11, 50))
    found = compare_walks([one], [other], nodes=((), ()), twin=lambda side, seed: [wild])
    assert found.verdict is Verdict.DIFFERENT
    near = hand_walk([[10], [10.09]], nodes=())
    assert compare_walks([one], [near], nodes=((), ()), twin=lambda side, seed: [wild]).rounding == "float32"


def test_a_network_that_cancels_is_judged_by_its_twin_in_double_precision_too() -> None:
    one, other, twin = (hand_walk([[1], [1 + a]], nodes=()) for a in (0, 1e-10, 0.09))
    found = compare_walks([one], [other], nodes=((), ()), twin=lambda side, seed: [twin if side == 0 else other])
    assert found.rounding == "double"


def test_small_outputs_beside_large_ones_are_compared() -> None:
    one, other = (hand_walk([[1e6, 0], [1e6, a]], nodes=()) for a in (1e-8, -3e-8))
    found = compare_walks([one], [other], nodes=((), ()), twin=lambda side, seed: [one if side == 0 else other])
    assert found.verdict is Verdict.DIFFERENT
    assert found.parts_at is not None
    assert found.parts_at.output == 1


def test_outputs_that_overflow_are_told() -> None:
    one, other = (hand_walk([[a], [a]], nodes=()) for a in (1.5e308, -1.5e308))
    with pytest.raises(InputError, match="too large to be compared"):
        compare_walks([one], [other], nodes=((), ()))


def test_places_may_show_rounding_that_outputs_do_not() -> None:
    """The unit of an output that hardly depends on it."""

    def walk(t: float) -> Walk:
        made_walk = made([0, t, 1], [1, 1, 1 + 1e-14 * (1 - t)])
        return replace(made_walk, switches=((Switch("u", 0, 0, 1),),))

    node = SwitchingNode("u", "R", (1, 1), 1, 1)
    one, other, twin = walk(0.5), walk(0.5 + 1e-7), walk(0.5 - 1e-7)
    found = compare_walks([one], [other], nodes=((node,), (node,)), twin=lambda side, seed: [(twin, one)[side]])
    assert (found.verdict, found.rounding) == (Verdict.IDENTICAL, "float32")
    far = compare_walks([one], [walk(0.6)], nodes=((node,), (node,)), twin=lambda side, seed: [(twin, walk(0.6))[side]])
    assert (far.verdict, far.rounding) == (Verdict.SAME, "double")


def test_a_unit_that_settles_nothing_excuses_itself_alone() -> None:
    """One unit hardly moves through its kink: a twin has it switch far away. Another is extra."""

    def walk(slow: float, *extra: float) -> Walk:
        places = sorted([(slow, "slow"), (0.5, "steady"), *((t, "extra") for t in extra)])
        made_walk = made([0, *(t for t, _ in places), 1], [1 + 1e-7 * k for k in range(len(places) + 2)])
        return replace(made_walk, switches=tuple((Switch(name, 0, 0, 1),) for _, name in places))

    nodes = tuple(SwitchingNode(name, "R", (1, 1), 1, 1) for name in ("slow", "steady", "extra"))
    first, same, more = walk(0.3), walk(0.42), walk(0.42, 0.7)

    def verdict(other: Walk) -> PathComparison:
        twins = walk(0.2), replace(other, t=other.t + np.where(other.t == 0.42, 0.05, 0.0))
        return compare_walks([first], [other], nodes=(nodes, nodes), twin=lambda side, seed: [twins[side]])

    assert verdict(same).verdict is Verdict.IDENTICAL
    assert verdict(more).verdict is Verdict.SAME
    assert verdict(more).correspondence.unmatched == ({}, {"extra": 1})


def test_where_functions_are_the_same_a_unit_that_switches_elsewhere_is_another() -> None:
    """A neuron without effect: another bias moves its switch, and nothing else."""
    moved = with_neuron(BASE, BASE[0][0][1] + 0.5, 0.3, np.zeros(10))
    found = compare(load(chain(IDLE)), load(chain(moved)), path())
    assert (found.verdict, found.rounding) == (Verdict.SAME, "double")
    assert found.correspondence.unmatched == ({"relu_1": 2}, {"relu_1": 2})
    assert found.correspondence.matched == found.correspondence.switches[0] - 2


def test_what_cannot_be_compared() -> None:
    one = made([0, 1], [0, 1])
    with pytest.raises(InputError, match="1 and 2 outputs"):
        compare_walks([one], [hand_walk([[0, 0], [1, 1]])], nodes=((), ()))
    with pytest.raises(InputError, match="no segment"):
        compare_walks([one], [], nodes=((), ()))


# --- the twin with rounded weights -----------------------------------------------------------------------------------


def test_a_rounded_twin_has_other_weights_and_the_same_structure() -> None:
    network = load(chain(BASE))
    twin = network.rounded()
    assert twin.switching_nodes == network.switching_nodes
    point = path()[0]
    size = float(np.abs(network.evaluate(point, device="cpu")).max())
    moved = float(np.abs(twin.evaluate(point, device="cpu") - network.evaluate(point, device="cpu")).max())
    assert 1e-8 < moved / size < 1e-5
    np.testing.assert_array_equal(twin.evaluate(point), network.rounded().evaluate(point))
    assert (twin.evaluate(point) != network.rounded(1).evaluate(point)).any()
    np.testing.assert_array_equal(network.evaluate(point), load(chain(BASE)).evaluate(point))


def test_weights_of_any_size_and_type_have_a_rounded_twin() -> None:
    b = Builder((1,))
    # In double precision, far beyond the range of single precision.
    wide = b.add("Cast", [b.input], (1, 1), to=TensorProto.DOUBLE)
    network = load(
        b.model(b.add("Cast", [b.add("Mul", [wide, b.constant([[3e300]], np.float64)], (1, 1))], (1, 1), to=1))
    )
    twin = network.rounded()
    (weight,) = (a for a in twin._study.contents.values() if a.dtype == np.float64 and a.size == 1)
    assert 2.0**-24 <= abs(float(weight.item()) / 3e300 - 1.0) <= 2.0**-23


def test_zeros_of_a_rounded_twin_stay() -> None:
    b = Builder((2,))
    twin = load(b.model(b.gemm(b.relu(b.gemm(b.input, [[1, 0], [0, 0]])), [[0, 3]]))).rounded()
    assert twin.evaluate(np.array([2.0, 1e30])).tolist() == [0.0]


def test_a_rounded_twin_resizes_as_before() -> None:
    b = Builder((1, 4, 4))
    scales = b.constant([1, 1, 2, 2])
    x = b.relu(b.add("Resize", [b.input, "", scales], (1, 1, 8, 8), mode="nearest"))
    network = load(b.model(b.add("Flatten", [x], (1, 64), axis=1)))
    point = np.random.default_rng(0).standard_normal((1, 4, 4))
    # There are no weights in it.
    np.testing.assert_array_equal(network.rounded().evaluate(point), network.evaluate(point))


# --- real networks ---------------------------------------------------------------------------------------------------


@cache
def real(name: str) -> onnx.ModelProto:
    file = SHARED / "models" / name
    if not file.is_file():
        pytest.skip("the public networks are not here")
    return onnx.load(file)


def segment(name: str, share: float = 0.3) -> Floats:
    ends = np.load(SHARED / "segments" / (name.removesuffix(".onnx").replace("/", "__") + ".npz"))
    return np.stack([ends["start"], ends["start"] + share * (ends["end"] - ends["start"])])


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """As onnxruntime writes it after its basic optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every BatchNormalization behind a convolution folded into it, in single precision."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        front = makers[node.input[0]]
        scale, shift, mean, variance = (numpy_helper.to_array(constants[name]) for name in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = (scale / np.sqrt(variance + np.float32(epsilon))).astype(np.float32)
        weight = numpy_helper.to_array(constants[front.input[1]])
        bias = numpy_helper.to_array(constants[front.input[2]]) if len(front.input) > 2 else np.zeros_like(mean)
        new = weight * factor.reshape(-1, 1, 1, 1), (bias - mean) * factor + shift
        names = [f"{node.output[0]}/{kind}" for kind in ("weight", "bias")]
        graph.initializer.extend(numpy_helper.from_array(a, name) for a, name in zip(new, names, strict=True))
        front.input[:] = [front.input[0], *names]
        front.output[0] = node.output[0]
        graph.node.remove(node)
    return made


def test_a_residual_network_with_its_normalization_folded() -> None:
    name = "torch_legacy/resnet_bn_b1_raw.onnx"
    found = compare(load(real(name)), load(folded(real(name))), segment(name))
    assert (found.verdict, found.rounding) == (Verdict.IDENTICAL, "float32")
    assert found.correspondence.matched > 100
    assert found.allowed.max() < 2e-5 * found.size


def test_a_keras_network_as_onnxruntime_optimises_it(tmp_path: Path) -> None:
    name = "keras/cnn_maxpool_bn.onnx"
    found = compare(load(real(name)), load(optimised(real(name), tmp_path)), segment(name))
    assert found.verdict is Verdict.IDENTICAL
    assert found.correspondence.matched > 100


@pytest.mark.parametrize("name", ["torch_legacy/resnet_bn.onnx", "jax/res_clip_abs.onnx", "torch_legacy/mlp.onnx"])
def test_a_real_network_with_one_weight_changed(name: str) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(real(name))
    # A bias of the last layer: the change reaches the output whatever the path.
    last = changed.graph.node[-1] if changed.graph.node[-1].op_type in ("Gemm", "Add") else changed.graph.node[-2]
    bias = next(one for one in changed.graph.initializer if one.name == last.input[-1])
    array = numpy_helper.to_array(bias).copy()
    array.reshape(-1)[0] += 1e-3
    bias.CopyFrom(numpy_helper.from_array(array, bias.name))
    found = compare(load(real(name)), load(changed), segment(name, 0.1))
    assert found.verdict is Verdict.DIFFERENT
    assert found.largest_difference == pytest.approx(1e-3, rel=1e-3)
    assert found.largest_at is not None
    assert found.largest_at.output == 0
    assert found.correspondence.one_to_one
