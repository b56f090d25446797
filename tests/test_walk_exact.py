"""Walks against the exact oracle: random small networks, and degenerate ones whose answers are known by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from budget import examples
from hypothesis import HealthCheck, Phase, assume, given, settings
from oracle import Analysis, analyse
from strategies import GENERIC, LATTICE, Builder, Case, Tensor, dense_cases, image_cases, sequence_cases

import lronnx
from lronnx import joining, walker
from lronnx.crossing import advance
from lronnx.joining import Chain
from lronnx.walker import PatternError, Walker

F = Fraction
TOLERANCE = 1e-9
OPTIONS: tuple[dict[str, Any], ...] = (
    {"engine": "walk"},
    {"engine": "walk", "lanes": 1},
    {"engine": "sweep"},
    {"engine": "sweep", "lanes": 3},
)
"""Keyword arguments of ``Network.walk``; every case is walked once with each."""

RANDOM = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
THRESHOLDS = {"Relu", "LeakyRelu", "PRelu", "Abs", "Clip", "HardSigmoid"}


def walks(model: onnx.ModelProto, start: Any, end: Any, each: Sequence[dict[str, Any]] = OPTIONS) -> Iterator[Any]:
    """The segment walked with each of the options, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        network = lronnx.load(str(path))
        first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        for options in each:
            yield network.walk(first, last, **options)


# --- the comparison -----------------------------------------------------------------------------------------


def differences(walk: Any, found: Analysis, model: onnx.ModelProto) -> list[str]:
    """Everything in which a walk differs from the exact analysis; empty if nothing does."""
    if walk.regions != found.regions or len(walk.t) != found.regions + 1:
        exact_t = [float(t) for t in found.t]
        return [f"{walk.regions} regions instead of {found.regions}: {list(walk.t)} instead of {exact_t}"]
    wrong: list[str] = []

    def close(what: str, got: Any, expected: Any, scale: float) -> None:
        a, b = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        if a.shape != b.shape:
            wrong.append(f"{what}: shape {a.shape} instead of {b.shape}")
        elif not np.all(np.abs(a - b) <= TOLERANCE * scale):  # written so that NaN is wrong
            wrong.append(f"{what}: {a.tolist()} instead of {b.tolist()}")

    size = max(1.0, max(float(abs(v)) for row in found.values for v in row))
    steepest = max(1.0, max(float(abs(s)) for row in found.slopes for s in row))
    if walk.t[0] != 0 or walk.t[-1] != 1:
        wrong.append(f"the edges go from {walk.t[0]} to {walk.t[-1]}")
    close("t", walk.t, found.t, 1.0)
    close("values", walk.values, found.values, size)
    close("slopes", walk.slopes, found.slopes, steepest)
    close("absolute deviation", walk.absolute_deviation, found.absolute_deviation, size * max(1.0, found.length))
    close("total variation", walk.total_variation, found.total_variation, size * found.regions)
    close("slope variation", walk.slope_variation, found.slope_variation, steepest * found.regions)
    if walk.linear_regions != found.linear_regions:
        wrong.append(f"{walk.linear_regions} linear regions instead of {found.linear_regions}")
    if not walk.self_check.ok:
        wrong.append(f"the self-check failed: {walk.self_check}")
    wrong += _switch_differences(walk, found, model)
    if _decisions_are_clear(found):
        got, expected = walk.decision_changes, found.decision_changes
        if [tuple(change[1:]) for change in got] != [(change.before, change.after) for change in expected]:
            wrong.append(f"decision changes {got} instead of {expected}")
        else:
            close("decision changes", [change[0] for change in got], [change.t for change in expected], 1.0)
    return wrong


def _switch_differences(walk: Any, found: Analysis, model: onnx.ModelProto) -> list[str]:
    if len(walk.switches) != len(found.switches):
        return [f"switches at {len(walk.switches)} breakpoints instead of {len(found.switches)}"]
    operators = {node.name: node.op_type for node in model.graph.node}
    wrong = []
    for t, got, expected in zip(found.t[1:], walk.switches, found.switches, strict=False):
        units = [(switch.node, switch.unit) for switch in got]
        if len(set(units)) != len(units):
            wrong.append(f"at t = {float(t)} a unit switches twice: {units}")
        if set(units) != set(expected):
            missing, extra = set(expected) - set(units), set(units) - set(expected)
            wrong.append(f"at t = {float(t)} these switches are missing: {missing}, and these are not there: {extra}")
            continue
        for switch in got:
            before, after = expected[switch.node, switch.unit]
            operator = operators[switch.node]
            right = True
            if operator in THRESHOLDS:
                right = (switch.after > switch.before) == (after > before) and switch.after != switch.before
            elif operator in ("Max", "Min") and switch.node not in found.lasting_ties:
                right = (switch.before, switch.after) == (before, after)
            if not right:
                wrong.append(f"at t = {float(t)} {switch} instead of {before} -> {after}")
    return wrong


def _decisions_are_clear(found: Analysis) -> bool:
    """No two outputs lead together at an edge: elsewhere the argmax changes where two lines cross."""
    for row in found.values:
        first, *others = sorted((float(v) for v in row), reverse=True)
        if others and first - others[0] <= 1e-6 * max(1.0, abs(first)):
            return False
    return all(abs(a.t - b.t) > F(1, 10**6) for a, b in pairwise(found.decision_changes))


def too_delicate(found: Analysis) -> bool:
    """Cases that float64 cannot decide: what differs from zero by less than rounding, breakpoints that nearly meet.

    Exact coincidences are not delicate, they are what is tested here.
    """
    if found.smallest_region < F(1, 10**9) or found.conditioning < 1e-6 or found.clearance < 1e-11:
        return True
    steepest = max((abs(s) for row in found.slopes for s in row), default=F(0))
    changes = [max(abs(q - p) for p, q in zip(a, b, strict=True)) for a, b in pairwise(found.slopes)]
    return any(0 < change < steepest / 10**7 for change in changes)


def check(model: onnx.ModelProto, start: Any, end: Any) -> list[Any]:
    """Walk, compare everything with the oracle, and return the walks."""
    found = analyse(model, start, end)
    results = walks(model, start, end)
    for walk in results:
        assert differences(walk, found, model) == []
    return results


def check_case(case: Case) -> None:
    found = analyse(case.model, case.start, case.end)
    assume(not too_delicate(found))
    for walk in walks(case.model, case.start, case.end):
        assert differences(walk, found, case.model) == []


# --- the comparison can fail --------------------------------------------------------------------------------


class _Switch(NamedTuple):
    node: str
    unit: int
    before: int
    after: int


def rounded(found: Analysis) -> SimpleNamespace:
    """The exact analysis in the form of a walk, rounded to float64: a walk without any fault."""
    return SimpleNamespace(
        t=np.array(found.t, dtype=np.float64),
        values=np.array(found.values, dtype=np.float64),
        slopes=np.array(found.slopes, dtype=np.float64),
        switches=tuple(tuple(_Switch(*unit, *change) for unit, change in s.items()) for s in found.switches),
        regions=found.regions,
        linear_regions=found.linear_regions,
        absolute_deviation=np.array(found.absolute_deviation),
        total_variation=np.array(found.total_variation, dtype=np.float64),
        slope_variation=np.array(found.slope_variation, dtype=np.float64),
        decision_changes=tuple((float(c.t), c.before, c.after) for c in found.decision_changes),
        self_check=SimpleNamespace(ok=True),
    )


def example() -> tuple[onnx.ModelProto, list[float], list[float]]:
    """Seven regions, a breakpoint with two switches, one decision change inside a region, a pooling."""
    b = Builder((1,))
    hidden = b.relu(b.gemm(b.input, [[1], [2], [1], [-1]], [0, 0, -1, 0.5]))
    top = b.reduction("ReduceMax", hidden, [1])
    bounded = b.clip(b.add("Max", [hidden, b.constant([0.25, 0, 0, 0])], (1, 4)), None, 2.5)
    y = b.gemm(b.add("Concat", [bounded, top], (1, 5), axis=1), [[1, 0, -2, 0.5, 0], [0, 0.125, 0, 0, 0.5]], [0, 0])
    return b.model(y), [-2], [2]


def _shift_breakpoint(walk: Any) -> None:
    walk.t[1] += 1e-6


def _shift_start(walk: Any) -> None:
    walk.t[0] += 1e-12


def _drop_breakpoint(walk: Any) -> None:
    walk.t, walk.values = np.delete(walk.t, 1), np.delete(walk.values, 1, axis=0)
    walk.slopes, walk.switches, walk.regions = walk.slopes[1:], walk.switches[1:], walk.regions - 1


def _add_breakpoint(walk: Any) -> None:
    walk.t, walk.values = np.insert(walk.t, 1, 0.01), np.insert(walk.values, 1, walk.values[0], axis=0)
    walk.slopes = np.insert(walk.slopes, 1, walk.slopes[0], axis=0)
    walk.switches, walk.regions = (walk.switches[0], *walk.switches), walk.regions + 1


def _replace_switches(walk: Any, change: Callable[[list[_Switch]], None]) -> None:
    place = max(range(len(walk.switches)), key=lambda i: len(walk.switches[i]))
    together = list(walk.switches[place])
    change(together)
    walk.switches = tuple(tuple(together) if i == place else s for i, s in enumerate(walk.switches))


def _drop_switch(walk: Any) -> None:
    _replace_switches(walk, lambda together: together.pop())  # type: ignore[arg-type]


def _repeat_switch(walk: Any) -> None:
    _replace_switches(walk, lambda together: together.append(together[0]))


def _wrong_unit(walk: Any) -> None:
    _replace_switches(walk, lambda together: together.__setitem__(0, together[0]._replace(unit=3)))


def _wrong_node(walk: Any) -> None:
    _replace_switches(walk, lambda together: together.__setitem__(0, together[0]._replace(node="elsewhere")))


def _wrong_direction(walk: Any) -> None:
    first = walk.switches[0][0]
    turned = first._replace(before=first.after, after=first.before)
    walk.switches = ((turned, *walk.switches[0][1:]), *walk.switches[1:])


def _scale_slope(walk: Any) -> None:
    walk.slopes[int(np.abs(walk.slopes[:, 0]).argmax()), 0] *= 1.001


def _shift_value(walk: Any) -> None:
    walk.values[2, 1] += 1e-7


def _value_not_a_number(walk: Any) -> None:
    walk.values[2, 1] = np.nan


def _lose_an_output(walk: Any) -> None:
    walk.values = walk.values[:, :1]


def _merge_linear_regions(walk: Any) -> None:
    walk.linear_regions -= 1


def _scale_deviation(walk: Any) -> None:
    walk.absolute_deviation *= 1 + 1e-6


def _scale_variation(walk: Any) -> None:
    walk.total_variation *= 1 + 1e-6


def _scale_slope_variation(walk: Any) -> None:
    walk.slope_variation *= 1 + 1e-6


def _shift_decision(walk: Any) -> None:
    (t, before, after), *others = walk.decision_changes
    walk.decision_changes = ((t + 1e-6, before, after), *others)


def _lose_decision(walk: Any) -> None:
    walk.decision_changes = ()


def _fail_self_check(walk: Any) -> None:
    walk.self_check.ok = False


FAULTS = [
    _shift_breakpoint, _shift_start, _drop_breakpoint, _add_breakpoint, _drop_switch, _repeat_switch, _wrong_unit,
    _wrong_node, _wrong_direction, _scale_slope, _shift_value, _value_not_a_number, _lose_an_output,
    _merge_linear_regions, _scale_deviation, _scale_variation, _scale_slope_variation, _shift_decision, _lose_decision,
    _fail_self_check,
]  # fmt: skip


def test_the_comparison_accepts_the_exact_result_and_rounding() -> None:
    model, start, end = example()
    found = analyse(model, start, end)
    # What the faults need: several regions, a shared breakpoint, a decision that is compared.
    assert found.regions == 7
    assert found.decision_changes
    assert _decisions_are_clear(found)
    assert max(len(together) for together in found.switches) >= 2
    walk = rounded(found)
    assert differences(walk, found, model) == []
    walk.t[1:-1] += 1e-12
    walk.values += 1e-12
    walk.slopes *= 1 + 1e-12
    assert differences(walk, found, model) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_the_comparison_rejects_every_fault(fault: Callable[[Any], None]) -> None:
    model, start, end = example()
    found = analyse(model, start, end)
    walk = rounded(found)
    fault(walk)
    assert differences(walk, found, model) != []


# --- faults in the walk itself are noticed ------------------------------------------------------------------


def ties_of_units() -> tuple[onnx.ModelProto, Any, Any]:
    """Duplicated neurons, multiples of them, and a second layer that switches with the first."""
    b = Builder((2,))
    first = b.relu(b.gemm(b.input, [[1, 2], [1, 2], [-3, -6], [1, -1]], [0.5, 0.5, -1.5, 0]))
    return b.model(b.relu(b.gemm(first, [[1, 1, -1, 2], [-1, 0.5, 1, 1]]))), [-1, -1], [2, 1]


def sums_that_cancel() -> tuple[onnx.ModelProto, Any, Any]:
    rng = np.random.default_rng(5)
    weights = rng.standard_normal(8).astype(np.float32)
    rows = np.array([rng.permutation(np.concatenate([weights, -weights])) for _ in range(64)])
    b = Builder((16,))
    return b.model(b.gemm(b.relu(b.gemm(b.input, rows)), np.ones((1, 64)))), [0.1] * 16, [0.7] * 16


def units_that_come_to_rest(seed: int = 5, sign: int = -1, size: float = 1.0) -> tuple[onnx.ModelProto, Any, Any]:
    """The last unit is relu(sign relu(-x)) plus three terms that cancel: it stays at its kink from x = 0 on."""
    rng = np.random.default_rng(seed)
    b = Builder((2,))
    w, v = (np.float32(rng.standard_normal()) for _ in range(2))
    first = b.relu(b.gemm(b.input, [[-1, 0], [0, w]], [0, 5.0]))
    second = b.relu(b.gemm(first, [[1, 0], [0, v]], [0, 7.0]))
    p = np.round(rng.standard_normal(2) * 4096) / 4096 * size
    copies = b.add("Concat", [second] * 3, (1, 6), axis=1)
    third = float(np.float32(1 / 3))
    y = b.relu(b.gemm(copies, [[sign, p[0], 0, p[1], 0, -p[0] - p[1]]]))
    return b.model(y), [-1, third], [2, third]


def _skip_ties(patch: pytest.MonkeyPatch) -> None:
    """Of the units that leave together only the first is told."""
    net = Chain._net
    patch.setattr(Chain, "_net", lambda self, events: net(self, events)[:1])


def _never_merge(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(joining, "cluster", lambda times: np.arange(len(times)))


def _believe_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walker, "_clean", lambda *arguments: False)


def _overshoot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(walker, "advance", lambda best: (1 + 1e-6) * advance(best))


def _never_rest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walker, "_rest", lambda *arguments: False)


WALK_OPTIONS = [options for options in OPTIONS if options["engine"] == "walk"]

WALK_FAULTS = [
    (_skip_ties, ties_of_units),
    (_never_merge, ties_of_units),
    (_believe_noise, sums_that_cancel),
    (_overshoot, ties_of_units),
    (_never_rest, units_that_come_to_rest),
]


@pytest.mark.parametrize(("plant", "build"), WALK_FAULTS, ids=lambda f: f.__name__.strip("_"))
def test_a_fault_in_the_walk_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    build: Callable[[], tuple[onnx.ModelProto, Any, Any]],
) -> None:
    model, start, end = build()
    found = analyse(model, start, end)
    assert all(differences(walk, found, model) == [] for walk in walks(model, start, end))
    plant(monkeypatch)
    try:
        # The walk with a single lane gives up soonest.
        assert any(differences(walk, found, model) for walk in walks(model, start, end, WALK_OPTIONS[::-1]))
    except PatternError:
        return


# --- random networks ----------------------------------------------------------------------------------------


@RANDOM
@given(case=dense_cases(GENERIC))
def test_generic_dense_networks(case: Case) -> None:
    check_case(case)


@RANDOM
@given(case=dense_cases(LATTICE))
def test_lattice_dense_networks(case: Case) -> None:
    check_case(case)


@RANDOM
@given(case=image_cases(GENERIC))
def test_generic_image_networks(case: Case) -> None:
    check_case(case)


@RANDOM
@given(case=image_cases(LATTICE))
def test_lattice_image_networks(case: Case) -> None:
    check_case(case)


@settings(RANDOM, max_examples=examples(25))
@given(case=sequence_cases(GENERIC))
def test_generic_sequence_networks(case: Case) -> None:
    check_case(case)


@settings(RANDOM, max_examples=examples(25))
@given(case=sequence_cases(LATTICE))
def test_lattice_sequence_networks(case: Case) -> None:
    check_case(case)


# --- degenerate networks, answers known by hand -------------------------------------------------------------


def expect(
    model: onnx.ModelProto,
    start: Any,
    end: Any,
    t: Sequence[float | Fraction],
    switches: Sequence[set[tuple[str, int]]],
) -> None:
    """The breakpoints ``t`` (without 0 and 1) and the units that switch at each; all else is left to the oracle."""
    for walk in check(model, start, end):
        assert walk.regions == len(t) + 1
        np.testing.assert_allclose(walk.t, [0.0, *map(float, t), 1.0], rtol=0, atol=1e-12)
        assert [{(s.node, s.unit) for s in together} for together in walk.switches] == list(switches)


@pytest.mark.parametrize("at", [F(1, 2), F(1, 4), F(1, 3), F(2, 3), F(1, 5), F(1, 7), F(1, 10), F(9, 10), F(1, 64)])
def test_breakpoint_at_a_simple_fraction(at: Fraction) -> None:
    b = Builder((1,))
    y = b.relu(b.input)
    # From -p to q the kink lies at p / (p + q).
    start, end = [-at.numerator], [at.denominator - at.numerator]
    expect(b.model(y), start, end, [at], [{(y.name, 0)}])


def test_breakpoints_a_millionth_apart_are_two() -> None:
    b = Builder((1,))
    y = b.relu(b.gemm(b.input, [[1], [1]], [0, -(2.0**-20)]))
    expect(b.model(y), [-0.5], [0.5], [0.5, 0.5 + 2.0**-20], [{(y.name, 0)}, {(y.name, 1)}])


def test_breakpoints_closer_than_the_definition_allows_are_one() -> None:
    b = Builder((1,))
    y = b.relu(b.gemm(b.input, [[1], [1]], [0, -(2.0**-44)]))
    for walk in walks(b.model(y), [-0.5], [0.5]):
        assert walk.regions == 2
        np.testing.assert_allclose(walk.t, [0, 0.5, 1], rtol=0, atol=1e-12)
        assert [{(s.node, s.unit) for s in together} for together in walk.switches] == [{(y.name, 0), (y.name, 1)}]


def test_duplicated_neurons_are_one_breakpoint_and_two_switches() -> None:
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, [[1, 2], [1, 2], [1, -1]], [0.5, 0.5, 0]))
    # x runs from (-1, -1) to (2, 1): 3 t - 1 and 2 t - 1. Units 0, 1: 7 t - 2.5. Unit 2: t, zero at the start.
    expect(b.model(y), [-1, -1], [2, 1], [F(5, 14)], [{(y.name, 0), (y.name, 1)}])


def test_neurons_that_are_multiples_of_each_other_switch_together() -> None:
    factors = [1, -1, 3, 0.1, -0.7, 1e-3, 1e3]
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, np.outer(factors, [1, 1])))
    expect(b.model(y), [-1, 0], [1, 1], [F(1, 3)], [{(y.name, unit) for unit in range(len(factors))}])


def test_dead_units_never_switch() -> None:
    b = Builder((1,))
    y = b.relu(b.gemm(b.input, [[0], [0], [0], [1]], [0, -1, 1, 0]))
    expect(b.model(y), [-1], [3], [F(1, 4)], [{(y.name, 3)}])


def test_zero_weights_are_one_region() -> None:
    b = Builder((2,))
    y = b.gemm(b.relu(b.gemm(b.input, np.zeros((5, 2)), [0, 1, -1, 0, 0])), np.ones((2, 5)), [0, 0])
    expect(b.model(y), [-1, 2], [3, -4], [], [])


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, -1), (1, 0), (-1, 0)])
@pytest.mark.parametrize("op", ["Relu", "Abs", "LeakyRelu"])
def test_start_or_end_on_a_kink_is_no_breakpoint(op: str, start: float, end: float) -> None:
    b = Builder((1,))
    expect(b.model(b.add(op, [b.input], b.input.shape)), [start], [end], [], [])


def test_start_on_a_kink_of_a_unit_that_comes_back() -> None:
    # Unit 1 reads relu(x) - 2 relu(x - 1): it leaves zero at once, and crosses zero at x = 2.
    b = Builder((1,))
    first = b.relu(b.gemm(b.input, [[1], [1]], [0, -1]))
    second = b.relu(b.gemm(first, [[1, -2]], [0]))
    expect(b.model(second), [0], [4], [F(1, 4), F(1, 2)], [{(first.name, 1)}, {(second.name, 0)}])


def test_a_kink_that_is_touched_is_not_crossed() -> None:
    for sign in ("", "Neg"):
        b = Builder((1,))
        bent = b.add("Abs", [b.input], b.input.shape)
        y = b.relu(b.add(sign, [bent], bent.shape) if sign else bent)
        expect(b.model(y), [-1], [2], [F(1, 3)], [{(bent.name, 0)}])


@pytest.mark.parametrize("right", [-1, 0, 1])
@pytest.mark.parametrize("left", [-1, 0, 1])
def test_two_layers_at_the_same_t(left: int, right: int) -> None:
    # The second layer reads left relu(-x) + right relu(x): zero at the kink, with any signs before and after.
    b = Builder((1,))
    first = b.relu(b.gemm(b.input, [[-1], [1]]))
    second = b.relu(b.gemm(first, [[left, right]]))
    together = {(first.name, 0), (first.name, 1)}
    if (left > 0) != (right > 0):
        together.add((second.name, 0))
    expect(b.model(second), [-1], [2], [F(1, 3)], [together])


@pytest.mark.parametrize("sign", [1, -1])
def test_units_that_come_to_rest_on_their_kink_are_off(sign: int) -> None:
    for seed in (1, 5, 9, 10):
        for size in (1.0, 16.0, 256.0):
            check(*units_that_come_to_rest(seed, sign, size))


def test_a_chain_of_layers_at_the_same_t() -> None:
    b = Builder((1,))
    x: Tensor = b.input
    names = []
    for _ in range(6):
        x = b.relu(b.gemm(x, [[0.7]], [0]))
        names.append(x.name)
    expect(b.model(x), [-1], [2], [F(1, 3)], [{(name, 0) for name in names}])
    expect(b.model(x), [2], [-1], [F(2, 3)], [{(name, 0) for name in names}])


def test_relu_of_relu_is_off_where_it_is_zero() -> None:
    b = Builder((1,))
    first = b.relu(b.input)
    second = b.relu(first)
    expect(b.model(second), [-1], [1], [F(1, 2)], [{(first.name, 0), (second.name, 0)}])


def test_all_zero_input_without_biases() -> None:
    # Without biases the network is positively homogeneous: from zero outwards nothing switches.
    rng = np.random.default_rng(3)
    b = Builder((3,))
    x: Tensor = b.input
    for width in (8, 8, 2):
        x = b.relu(b.gemm(x, rng.standard_normal((width, x.shape[1]))))
    model = b.model(x)
    expect(model, [0, 0, 0], [1, -2, 0.5], [], [])
    expect(model, [1, -2, 0.5], [0, 0, 0], [], [])


def test_opposite_points_without_biases_switch_at_one_half_only() -> None:
    rng = np.random.default_rng(4)
    b = Builder((3,))
    first = b.relu(b.gemm(b.input, rng.standard_normal((16, 3))))
    second = b.relu(b.gemm(first, rng.standard_normal((16, 16))))
    for walk in check(b.model(b.gemm(second, rng.standard_normal((2, 16)))), [-1, 2, 0.5], [1, -2, -0.5]):
        np.testing.assert_allclose(walk.t, [0, 0.5, 1], rtol=0, atol=1e-12)
        assert {(s.node, s.unit) for s in walk.switches[0]} >= {(first.name, unit) for unit in range(16)}


def test_identical_candidates_of_a_max_pool() -> None:
    b = Builder((1, 4))
    y = b.add("MaxPool", [b.input], (1, 1, 3), kernel_shape=[2], strides=[1])
    expect(b.model(y), [[1, 1, 1, 1]], [[2, 2, 2, 2]], [], [])
    # The middle window's candidates stay equal; in the last one 1 + 2 t overtakes 2 - 2 t.
    expect(b.model(y), [[0, 1, 1, 2]], [[0, 3, 3, 0]], [F(1, 4)], [{(y.name, 2)}])


def test_candidates_that_tie_at_one_point() -> None:
    b = Builder((1, 2))
    y = b.add("MaxPool", [b.input], (1, 1, 1), kernel_shape=[2])
    model = b.model(y)
    expect(model, [[1, 1]], [[3, 2]], [], [])
    expect(model, [[1, 1]], [[2, 3]], [], [])
    expect(model, [[2, 3]], [[4, 4]], [], [])
    expect(model, [[0, 1]], [[3, 2]], [F(1, 2)], [{(y.name, 0)}])


def test_candidates_that_touch() -> None:
    b = Builder((1,))
    bent = b.add("Abs", [b.input], b.input.shape)
    y = b.add("Max", [bent, b.constant([[0]])], bent.shape)
    expect(b.model(y), [-1], [2], [F(1, 3)], [{(bent.name, 0)}])


def test_three_candidates_that_meet_in_one_point() -> None:
    b = Builder((1,))
    y = b.reduction("ReduceMax", b.gemm(b.input, [[-1], [0], [1]], [0, 0, 0]), [1])
    expect(b.model(y), [-1], [2], [F(1, 3)], [{(y.name, 0)}])


def test_candidates_that_tie_for_a_while() -> None:
    # relu(x) ties with 0 as long as x <= 0, and the winner stays: first come, first served.
    b = Builder((1,))
    r = b.relu(b.input)
    y = b.add("Max", [r, b.constant([[0]])], r.shape)
    expect(b.model(y), [-1], [2], [F(1, 3)], [{(r.name, 0)}])
    expect(b.model(y), [2], [-1], [F(2, 3)], [{(r.name, 0)}])
    b = Builder((1,))
    r = b.relu(b.input)
    y = b.add("Max", [b.constant([[0]]), r], r.shape)
    expect(b.model(y), [-1], [2], [F(1, 3)], [{(r.name, 0), (y.name, 0)}])
    expect(b.model(y), [2], [-1], [F(2, 3)], [{(r.name, 0)}])


def test_a_segment_along_a_kink() -> None:
    # Units 0 and 1 look at a coordinate that stays 0; unit 2 moves; unit 3 sees only their sum.
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, [[1, 0], [-1, 0], [0, 1], [1, 1]]))
    expect(b.model(y), [0, -1], [0, 2], [F(1, 3)], [{(y.name, 2), (y.name, 3)}])
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, [[1, -1], [-2, 2], [1, 1]]))
    expect(b.model(y), [-1, -1], [3, 3], [F(1, 4)], [{(y.name, 2)}])


def test_sums_that_cancel_stay_zero_in_spite_of_rounding() -> None:
    # All coordinates are equal and the weights of every unit sum to zero, but only in exact arithmetic.
    rng = np.random.default_rng(5)
    weights = rng.standard_normal(8).astype(np.float32)
    rows = np.array([rng.permutation(np.concatenate([weights, -weights])) for _ in range(64)])
    b = Builder((16,))
    y = b.relu(b.gemm(b.input, rows))
    expect(b.model(b.gemm(y, np.ones((1, 64)))), [0.1] * 16, [0.7] * 16, [], [])


def test_branches_that_cancel_are_dead_downstream() -> None:
    b = Builder((1,))
    bent = b.add("Abs", [b.gemm(b.input, [[1.1], [0.3]], [0.1, -0.2])], (1, 2))
    nothing = b.relu(b.add("Sub", [bent, bent], bent.shape))
    found = analyse(b.model(b.sum(nothing, bent)), [-1], [1])
    assert all(node == bent.name for together in found.switches for node, _ in together)
    check(b.model(b.sum(nothing, bent)), [-1], [1])


def test_residual_with_absolute_value() -> None:
    b = Builder((1,))
    bent = b.add("Abs", [b.input], b.input.shape)
    for walk in check(b.model(b.sum(b.input, bent)), [-1], [2]):
        np.testing.assert_allclose(walk.values, [[0], [0], [4]], rtol=0, atol=1e-12)
        np.testing.assert_allclose(walk.slopes, [[0], [6]], rtol=0, atol=1e-12)
        assert walk.linear_regions == 2


def test_switches_without_effect_count_for_regions_only() -> None:
    b = Builder((1,))
    hidden = b.relu(b.gemm(b.input, [[1], [1]], [0, -1]))
    for walk in check(b.model(b.gemm(hidden, [[0, 1]])), [-2], [2]):
        assert (walk.regions, walk.linear_regions) == (3, 2)


def test_clip_crosses_both_limits_and_may_start_on_one() -> None:
    b = Builder((1,))
    y = b.clip(b.input, -1, 1)
    model = b.model(y)
    expect(model, [-2], [2], [F(1, 4), F(3, 4)], [{(y.name, 0)}, {(y.name, 0)}])
    expect(model, [-1], [2], [F(2, 3)], [{(y.name, 0)}])
    expect(model, [-1], [1], [], [])
    expect(model, [1], [1.5], [], [])


def test_a_place_that_rounding_does_not_explain_is_not_taken() -> None:
    # The second unit hardly moves until the first one lets it go, and is then at its kink at once.
    b = Builder((1,))
    first = b.relu(b.input)
    both = b.add("Concat", [b.input, first], (1, 2), axis=1)
    y = b.relu(b.gemm(both, [[1e-8, 1]], [-1e-12]))
    # It should be 0.5 and 5e-13 more, which is one breakpoint by definition.
    for walk in walks(b.model(y), [-1], [1]):
        np.testing.assert_allclose(walk.t, [0, 0.5, 1], rtol=0, atol=1e-12)
        assert {(s.node, s.unit) for s in walk.switches[0]} == {(first.name, 0), (y.name, 0)}
        assert walk.self_check.ok


def test_a_choice_among_more_candidates_than_16_bits_number() -> None:
    rng = np.random.default_rng(0)
    weight, bias = np.zeros((40_000, 2)), rng.standard_normal(40_000) - 10
    weight[39_000], weight[39_500] = [1, 1], [-1, 1]
    bias[39_000] = bias[39_500] = 0
    b = Builder((2,))
    model = b.model(b.reduction("ReduceMax", b.gemm(b.input, weight, bias), [1]))
    # At the end both candidates are equal.
    for walk in walks(model, [-2, 1], [0, 1]):
        assert walk.regions == 1
        assert walk.self_check.ok


def test_hundreds_of_units_switch_at_the_same_t() -> None:
    rng = np.random.default_rng(6)
    direction = np.array([3.0, -1.0, 2.0])
    rows = rng.integers(-3, 4, size=(400, 3)).astype(np.float64)
    b = Builder((3,))
    first = b.relu(b.gemm(b.input, rows))
    second = b.relu(b.gemm(first, rng.integers(-1, 2, size=(10, 400))))
    moving = {(first.name, int(unit)) for unit in np.flatnonzero(rows @ direction)}
    assert len(moving) > 300
    for walk in check(b.model(second), -direction, 2 * direction):
        np.testing.assert_allclose(walk.t, [0, 1 / 3, 1], rtol=0, atol=1e-12)
        assert {(s.node, s.unit) for s in walk.switches[0]} >= moving


def test_a_decision_changes_inside_a_region() -> None:
    b = Builder((1,))
    for walk in check(b.model(b.gemm(b.input, [[1], [-2]], [0, 1])), [0], [1]):
        assert walk.regions == 1
        ((t, before, after),) = walk.decision_changes
        assert abs(t - 1 / 3) < 1e-12
        assert (before, after) == (1, 0)


# --- walks that end early -----------------------------------------------------------------------------------


def busy_network(folder: Path) -> tuple[lronnx.Network, Any, Any]:
    rng = np.random.default_rng(12)
    b = Builder((4,))
    hidden = b.relu(b.gemm(b.input, rng.standard_normal((200, 4)), rng.standard_normal(200)))
    hidden = b.relu(b.gemm(hidden, rng.standard_normal((100, 200)), rng.standard_normal(100)))
    onnx.save(b.model(b.gemm(hidden, rng.standard_normal((2, 100)))), folder / "m.onnx")
    return lronnx.load(folder / "m.onnx"), 5 * rng.standard_normal(4), 5 * rng.standard_normal(4)


@pytest.mark.parametrize("wish", [lronnx.Stop.SOON, lronnx.Stop.NOW])
@pytest.mark.parametrize("lanes", [1, 8])
def test_a_path_that_is_stopped_is_the_beginning_of_the_whole(tmp_path: Path, wish: lronnx.Stop, lanes: int) -> None:
    network, start, end = busy_network(tmp_path)
    points = np.linspace(start, end, 41)
    whole = network.walk_path(points, lanes=8)
    begun = 0

    def stop() -> lronnx.Stop:
        nonlocal begun
        begun += 1
        return wish if begun > 4 else lronnx.Stop.NO

    part = network.walk_path(points, engine="walk", lanes=lanes, stop=stop)
    assert part.partial
    assert part.self_check.ok
    assert 0 < part.regions < whole.regions
    if wish is lronnx.Stop.SOON:
        # Whatever was begun is done: with several lanes, several segments at least.
        assert not any(walk.partial for walk in part.segments)
        assert len(part.segments) >= lanes
    for one, other in zip(part.segments, whole.segments, strict=False):
        np.testing.assert_allclose(one.t[:-1], other.t[: one.regions], rtol=0, atol=1e-12)
        assert one.switches == other.switches[: one.regions - 1]


@pytest.mark.parametrize("limit", [1, 2, 5, 20])
@pytest.mark.parametrize("lanes", [1, 8])
def test_a_limit_is_met_exactly(tmp_path: Path, limit: int, lanes: int) -> None:
    network, start, end = busy_network(tmp_path)
    whole = network.walk(start, end)
    part = network.walk(start, end, engine="walk", max_regions=limit, lanes=lanes)
    assert (part.regions, part.partial) == (limit, True)
    np.testing.assert_allclose(part.t, whole.t[: limit + 1], rtol=0, atol=1e-12)
    full = network.walk_path([start, end], max_regions=whole.regions, lanes=lanes)
    assert (full.regions, full.partial) == (whole.regions, False)


def test_an_interrupt_in_python_is_an_interrupt(tmp_path: Path) -> None:
    network, start, end = busy_network(tmp_path)

    def interrupt(progress: lronnx.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.walk(start, end, engine="walk", progress=interrupt)
