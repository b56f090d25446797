"""The oracle itself: examples worked by hand, and agreement with the reference evaluators of onnx and onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from budget import examples
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from oracle import Analysis, Decision, UnsupportedError, analyse, exact
from strategies import GENERIC, LATTICE, Builder, Case, Tensor, cases

F = Fraction
RANDOM = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def units(analysis: Analysis) -> list[set[tuple[str, int]]]:
    return [set(together) for together in analysis.switches]


# --- worked by hand -----------------------------------------------------------------------------------------


def test_relu_at_its_kink() -> None:
    b = Builder((1,))
    y = b.relu(b.input)
    found = analyse(b.model(y), [-1], [3])
    assert found.t == [0, F(1, 4), 1]
    assert found.values == [[0], [0], [3]]
    assert found.slopes == [[0], [4]]
    assert found.switches == [{(y.name, 0): (0, 1)}]
    assert found.regions == found.linear_regions == 2
    # The baseline is 3 t; the deviation is a triangle of base 1 and height 3/4.
    assert found.integral_deviation == [F(3, 8)]
    assert found.absolute_deviation == [1.5]
    assert found.total_variation == [3]
    assert found.slope_variation == [4]


def test_absolute_value_from_two_relus_is_one_breakpoint_with_two_switches() -> None:
    b = Builder((1,))
    right, left = b.relu(b.input), b.relu(b.add("Neg", [b.input], b.input.shape))
    found = analyse(b.model(b.sum(right, left)), [-1], [1])
    assert found.t == [0, F(1, 2), 1]
    assert found.switches == [{(right.name, 0): (0, 1), (left.name, 0): (1, 0)}]
    assert found.slopes == [[-2], [2]]
    assert found.absolute_deviation == [1.0]


def test_residual_with_absolute_value() -> None:
    b = Builder((1,))
    y = b.sum(b.input, b.add("Abs", [b.input], b.input.shape))
    found = analyse(b.model(y), [-1], [2])
    assert found.t == [0, F(1, 3), 1]
    assert found.values == [[0], [0], [4]]
    assert found.slopes == [[0], [6]]


def test_clip_has_three_branches_and_a_deviation_that_changes_sign() -> None:
    b = Builder((1,))
    y = b.clip(b.input, -1, 1)
    found = analyse(b.model(y), [-2], [2])
    assert found.t == [0, F(1, 4), F(3, 4), 1]
    assert found.switches == [{(y.name, 0): (0, 1)}, {(y.name, 0): (1, 2)}]
    # Triangles of height 1/2: 1/16 at either end, and 2 * 1/16 in the middle, where the sign changes.
    assert found.integral_deviation == [F(1, 4)]
    assert found.absolute_deviation == [1.0]


@pytest.mark.parametrize(
    ("low", "high", "before", "after", "at"),
    [(0.5, None, 0, 1, F(3, 4)), (None, 0.5, 1, 2, F(3, 4)), (0, 0, 0, 2, F(1, 2))],
)
def test_clip_with_one_limit_or_equal_limits(
    low: float | None, high: float | None, before: int, after: int, at: Fraction
) -> None:
    b = Builder((1,))
    y = b.clip(b.input, low, high)
    found = analyse(b.model(y), [-1], [1])
    assert found.t == [0, at, 1]
    assert found.switches == [{(y.name, 0): (before, after)}]


def test_clip_that_rests_on_its_limits() -> None:
    # relu(x) stays at 0 for half of the way. As a lower limit that is 'low', as an upper limit it is 'linear'.
    for low, high, expected in [(0, 1, (0, 1)), (-1, 0, (1, 2))]:
        b = Builder((1,))
        r = b.relu(b.input)
        y = b.clip(r, low, high)
        found = analyse(b.model(y), [-1], [1])
        assert found.switches == [{(r.name, 0): (0, 1), (y.name, 0): expected}]


def test_hard_sigmoid() -> None:
    b = Builder((1,))
    y = b.add("HardSigmoid", [b.input], b.input.shape, alpha=0.25, beta=0.5)
    found = analyse(b.model(y), [-4], [4])
    assert found.t == [0, F(1, 4), F(3, 4), 1]
    assert found.values == [[0], [0], [1], [1]]


def test_kinks_that_are_touched_are_no_switches() -> None:
    b = Builder((1,))
    bent = b.add("Abs", [b.input], b.input.shape)
    y = b.relu(bent)
    found = analyse(b.model(y), [-1], [1])
    assert units(found) == [{(bent.name, 0)}]
    assert found.degeneracies["touch"] == 1
    b = Builder((1,))
    bent = b.add("Abs", [b.input], b.input.shape)
    y = b.relu(b.add("Neg", [bent], bent.shape))
    found = analyse(b.model(y), [-1], [1])
    assert units(found) == [{(bent.name, 0)}]
    assert (found.regions, found.linear_regions) == (2, 1)


def test_identically_zero_is_the_lower_branch() -> None:
    for op in ("Relu", "Abs", "LeakyRelu"):
        b = Builder((1,))
        first = b.relu(b.input)
        second = b.add(op, [first], first.shape)
        found = analyse(b.model(second), [-1], [1])
        assert found.switches == [{(first.name, 0): (0, 1), (second.name, 0): (0, 1)}]
        assert found.degeneracies["zero_interval"] == 1


def test_start_and_end_on_a_kink_are_no_breakpoints() -> None:
    b = Builder((1,))
    model = b.model(b.relu(b.input))
    for start, end in [(0, 1), (-1, 0), (1, 0), (0, -1)]:
        assert analyse(model, [start], [end]).t == [0, 1]


def test_leaky_and_parametric_relu() -> None:
    b = Builder((2,))
    leaky = b.add("LeakyRelu", [b.input], b.input.shape, alpha=-0.5)
    y = b.add("PRelu", [leaky, b.constant([2, 0.25])], leaky.shape)
    found = analyse(b.model(y), [-2, -4], [2, 4])
    # -2 -> 1 -> 1 and -4 -> 2 -> 2: the second operator sees positive numbers only, zero at the kink.
    assert found.values == [[1, 2], [0, 0], [2, 4]]
    assert units(found) == [{(leaky.name, 0), (leaky.name, 1)}]


def test_max_pool_switches_when_the_winner_is_overtaken() -> None:
    b = Builder((1, 3))
    y = b.add("MaxPool", [b.input], (1, 1, 2), kernel_shape=[2], strides=[1])
    found = analyse(b.model(y), [[0, 1, 0.5]], [[2, 1, 1.5]])
    # Both windows switch at t = 1/2, where all three are 1.
    assert found.t == [0, F(1, 2), 1]
    assert found.switches == [{(y.name, 0): (1, 0), (y.name, 1): (0, 1)}]
    assert found.values == [[1, 1], [1, 1], [2, F(3, 2)]]


def test_max_pool_ties() -> None:
    b = Builder((1, 2))
    y = b.add("MaxPool", [b.input], (1, 1, 1), kernel_shape=[2])
    model = b.model(y)
    assert analyse(model, [[1, 1]], [[2, 2]]).t == [0, 1]  # identical
    assert analyse(model, [[1, 1]], [[2, 3]]).t == [0, 1]  # equal at the start only
    assert analyse(model, [[1, 2]], [[3, 3]]).t == [0, 1]  # equal at the end only
    assert analyse(model, [[1, 2]], [[3, 2]]).t == [0, F(1, 2), 1]
    # Candidates |x|, 0, which touch: no switch of the pooling.
    b = Builder((1, 1))
    bent = b.add("Abs", [b.input], b.input.shape)
    both = b.add("Concat", [bent, b.constant([[[0]]])], (1, 1, 2), axis=2)
    y = b.add("MaxPool", [both], (1, 1, 1), kernel_shape=[2])
    assert units(analyse(b.model(y), [[-1]], [[1]])) == [{(bent.name, 0)}]


def test_ties_that_last_depend_on_the_order_of_candidates() -> None:
    def analysis(zero_first: bool, start: float, end: float) -> Analysis:
        b = Builder((1,))
        r, zero = b.relu(b.input), b.constant([[0]])
        return analyse(b.model(b.add("Max", [zero, r] if zero_first else [r, zero], r.shape)), [start], [end])

    # relu(x) ties with 0 until x > 0; whoever comes first is the winner there.
    assert units(analysis(False, -1, 1)) == [{("relu_0", 0)}]
    assert units(analysis(True, -1, 1)) == [{("relu_0", 0), ("max_1", 0)}]
    # From x > 0 the winner is relu(x), which stays a maximiser.
    for zero_first in (True, False):
        assert units(analysis(zero_first, 1, -1)) == [{("relu_0", 0)}]
    assert analysis(False, -1, 1).order_dependent
    assert not analysis(False, 1, -1).order_dependent


def test_max_of_three_crosses_twice_and_ignores_what_lies_below() -> None:
    b = Builder((1,))
    rows = b.gemm(b.input, [[-1], [0], [2], [1]], [0, 1, -3, -5])
    y = b.reduction("ReduceMax", rows, [1])
    found = analyse(b.model(y), [-4], [4])
    assert found.t == [0, F(3, 8), F(3, 4), 1]  # x = -1 and x = 2
    assert found.switches == [{(y.name, 0): (0, 1)}, {(y.name, 0): (1, 2)}]
    # The lowest line never takes part; min of the negated lines is the mirror image.
    b = Builder((1,))
    rows = b.gemm(b.input, [[1], [0], [-2], [-1]], [0, -1, 3, 5])
    assert analyse(b.model(b.reduction("ReduceMin", rows, [1])), [-4], [4]).t == found.t


def test_three_candidates_meeting_in_one_point() -> None:
    b = Builder((1,))
    rows = b.gemm(b.input, [[-1], [0], [1]], [0, 0, 0])
    y = b.reduction("ReduceMax", rows, [1])
    assert analyse(b.model(y), [-1], [1]).switches == [{(y.name, 0): (0, 2)}]


def test_two_layers_that_switch_together() -> None:
    for bias, expected in [(0, [{("relu_1", 0), ("relu_3", 0)}]), (-1, [{("relu_1", 0)}, {("relu_3", 0)}])]:
        b = Builder((1,))
        first = b.relu(b.gemm(b.input, [[1]], [0]))
        second = b.relu(b.gemm(first, [[1]], [bias]))
        assert units(analyse(b.model(second), [-2], [2])) == expected


def test_dead_units_and_switches_without_effect() -> None:
    b = Builder((1,))
    hidden = b.relu(b.gemm(b.input, [[1], [0], [0]], [0, -1, 0]))
    y = b.gemm(hidden, [[0, 1, 1]])
    found = analyse(b.model(y), [-1], [1])
    assert units(found) == [{(hidden.name, 0)}]
    assert (found.regions, found.linear_regions) == (2, 1)
    assert found.degeneracies["dead"] == 1


def test_nodes_without_influence_and_operators_on_constants_have_no_units() -> None:
    b = Builder((1,))
    weight = b.add("Relu", [b.constant([[-1.0, 2.0]])], (1, 2))
    b.relu(b.input)
    y = b.relu(b.add("MatMul", [b.input, weight], (1, 2)))
    found = analyse(b.model(y), [-1], [1])
    assert found.values[-1] == [0, 2]
    assert units(found) == [{(y.name, 1)}]


def test_decision_changes_inside_a_region() -> None:
    b = Builder((1,))
    y = b.gemm(b.input, [[1], [-2], [0.25]], [0, 1, 0.25])
    found = analyse(b.model(y), [0], [1])
    # max(x, 1 - 2 x, (x + 1) / 4): outputs 1 and 0 meet at 1/3 with 1/3, where the third is 1/3 as well.
    assert found.regions == 1
    assert found.decision_changes == [Decision(F(1, 3), 1, 0)]
    b = Builder((1,))
    y = b.gemm(b.input, [[1], [-2], [0.25]], [0, 1, 0.5])
    assert analyse(b.model(y), [0], [1]).decision_changes == [Decision(F(2, 9), 1, 2), Decision(F(2, 3), 2, 0)]


def test_decision_changes_at_a_breakpoint_and_not_where_outputs_touch() -> None:
    b = Builder((1,))
    r = b.relu(b.input)
    y = b.gemm(r, [[0], [1]])
    assert analyse(b.model(y), [-1], [1]).decision_changes == [Decision(F(1, 2), 0, 1)]
    b = Builder((1,))
    bent = b.add("Abs", [b.input], b.input.shape)
    y = b.gemm(bent, [[0], [1]])
    assert analyse(b.model(y), [-1], [1]).decision_changes == []


def test_values_behind_irrational_normalization_are_close() -> None:
    b = Builder((1,))
    y = b.add("BatchNormalization", [b.input, *(b.constant([v]) for v in (1, 0, 0, 2))], b.input.shape)
    assert float(analyse(b.model(y), [0], [1]).values[-1][0]) == pytest.approx(
        1 / np.sqrt(2 + np.float64(np.float32(1e-5)))
    )


def test_unknown_operators_are_refused() -> None:
    b = Builder((1,))
    with pytest.raises(UnsupportedError):
        analyse(b.model(b.add("Exp", [b.input], b.input.shape)), [0], [1])
    b = Builder((1,))
    with pytest.raises(UnsupportedError):
        analyse(b.model(b.add("Mul", [b.input, b.input], b.input.shape)), [0], [1])


# --- against other evaluators, on random networks -----------------------------------------------------------


def as_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in float64."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for initializer in double.graph.initializer:
        if initializer.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(initializer).astype(np.float64)
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    for value in [*double.graph.input, *double.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    # The reference evaluator uses batch statistics in BatchNormalization before opset 14.
    double.opset_import[0].version = max(14, double.opset_import[0].version)
    return double


def reference_is_right(model: onnx.ModelProto) -> bool:
    """onnx.reference gets padded and one-dimensional max poolings wrong (shapes, or an exception)."""
    shapes = onnx.shape_inference.infer_shapes(model)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in [*shapes.graph.value_info, *shapes.graph.input]}
    for node in model.graph.node:
        if node.op_type in ("MaxPool", "GlobalMaxPool"):
            pads = next((list(a.ints) for a in node.attribute if a.name == "pads"), [0])
            if ranks.get(node.input[0]) != 4 or any(pads):
                return False
    return True


def inside(found: Analysis) -> list[tuple[Fraction, list[Fraction], int]]:
    """All edges and midpoints: t, values, and the region they lie in (or begin)."""
    points = [(t, v, min(i, found.regions - 1)) for i, (t, v) in enumerate(zip(found.t, found.values, strict=True))]
    for i in range(found.regions):
        middle = [(p + q) / 2 for p, q in zip(found.values[i], found.values[i + 1], strict=True)]
        points.append(((found.t[i] + found.t[i + 1]) / 2, middle, i))
    return points


def point(case: Case, t: Fraction) -> NDArray[np.float64]:
    start, end = exact(case.start), exact(case.end)
    return np.asarray((start + (end - start) * t).astype(np.float64)[None])


def floats(values: Sequence[Fraction]) -> NDArray[np.float64]:
    return np.array([float(v) for v in values])


def check_against_evaluators(case: Case) -> bool:
    """Compare values and branches at edges and midpoints; True if the float64 reference took part."""
    found = analyse(case.model, case.start, case.end)
    options = onnxruntime.SessionOptions()
    # The optimizer merges Pad with zeros into MaxPool, which then ignores the zeros: a wrong result.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    single = onnxruntime.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    double = ReferenceEvaluator(as_double(case.model)) if reference_is_right(case.model) else None
    largest = max(1.0, max(float(abs(v)) for row in found.values for v in row))
    for t, values, region in inside(found):
        x = point(case, t)
        expected = floats(values)
        got = single.run(None, {"x": x.astype(np.float32)})[0]
        np.testing.assert_allclose(np.ravel(got), expected, rtol=0, atol=1e-4 * largest)
        if double is None:
            continue
        tensors: Any = double.run(None, {"x": x}, intermediate=True)
        output = np.ravel(tensors[case.model.graph.output[0].name])
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-11 * largest)
        for node in case.model.graph.node:
            if (
                t not in found.t
                and node.output[0] in found.branches
                and node.op_type in ("Relu", "LeakyRelu", "PRelu", "Abs")
            ):
                z = np.ravel(tensors[node.input[0]])
                clear = np.abs(z) > 1e-9 * max(1.0, float(np.abs(z).max()))
                assert np.array_equal(z[clear] > 0, found.branches[node.output[0]][region][clear] == 1)
    return double is not None


@RANDOM
@given(case=cases(GENERIC))
def test_generic_networks_against_reference_evaluators(case: Case) -> None:
    check_against_evaluators(case)


@RANDOM
@given(case=cases(LATTICE))
def test_lattice_networks_against_reference_evaluators(case: Case) -> None:
    check_against_evaluators(case)


@RANDOM
@given(case=cases(LATTICE))
def test_every_region_is_affine_and_agrees_with_single_points(case: Case) -> None:
    # On a segment of length zero nothing is ever inserted: the value at a point does not depend on the sweep.
    found = analyse(case.model, case.start, case.end)
    start, end = exact(case.start), exact(case.end)
    for t, values, _ in inside(found)[:40]:
        x = start + (end - start) * t
        assert analyse(case.model, x, x).values[0] == values


@RANDOM
@given(case=cases(LATTICE))
def test_parts_and_reversal(case: Case) -> None:
    whole = analyse(case.model, case.start, case.end)
    start, end = exact(case.start), exact(case.end)
    a, b = F(1, 5), F(3, 4)
    part = analyse(case.model, start + (end - start) * a, start + (end - start) * b)
    back = analyse(case.model, end, start)
    # Which of several tied candidates wins depends on where one comes from, so there only the rest is comparable.
    pooled = whole.lasting_ties | part.lasting_ties | back.lasting_ties

    def key(found: Analysis, origin: Fraction, width: Fraction) -> list[tuple[Fraction, set[tuple[str, int]]]]:
        pairs = []
        for t, together in zip(found.t[1:-1], found.switches, strict=True):
            kept = {unit for unit in together if unit[0] not in pooled}
            if kept:
                pairs.append((origin + t * width, kept))
        return sorted(pairs, key=lambda pair: pair[0])

    assert key(part, a, b - a) == [pair for pair in key(whole, F(0), F(1)) if a < pair[0] < b]
    assert key(back, F(1), F(-1)) == key(whole, F(0), F(1))
    assert back.integral_deviation == whole.integral_deviation


def test_lattice_networks_are_degenerate_often() -> None:
    seen: Counter[str] = Counter()

    @settings(RANDOM, max_examples=150)
    @given(case=cases(LATTICE))
    def count(case: Case) -> None:
        found = analyse(case.model, case.start, case.end)
        seen["cases"] += 1
        seen["order_dependent"] += found.order_dependent
        seen["without_effect"] += found.linear_regions < found.regions
        for name in found.degeneracies:
            seen[name] += found.degeneracies[name] > 0

    count()
    wanted = {
        "simultaneous": 0.35, "simultaneous_layers": 0.15, "zero_interval": 0.4, "zero_at_start": 0.4,
        "zero_at_end": 0.4, "dead": 0.3, "touch": 0.03, "order_dependent": 0.02, "without_effect": 0.15,
    }  # fmt: skip
    rates = {name: seen[name] / seen["cases"] for name in wanted}
    assert all(rates[name] >= wanted[name] for name in wanted), rates


def test_the_builder_names_every_node_after_its_output() -> None:
    b = Builder((2,))
    y: Tensor = b.relu(b.gemm(b.input, [[1, 2]]))
    model = b.model(y)
    assert (
        [node.name for node in model.graph.node]
        == [node.output[0] for node in model.graph.node]
        == ["gemm_0", "relu_1"]
    )
