"""Metrics against hand-worked values and against exact rational arithmetic on random piecewise-affine functions."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from budget import examples
from hypothesis import given, settings
from numpy.typing import NDArray
from walks import hand_path, hand_walk

from lronnx import metrics
from lronnx.regions import SelfCheck

F = Fraction
Floats = NDArray[np.float64]
RANDOM = settings(derandomize=True, database=None, deadline=None, max_examples=examples(200))

# --- exact, and as slow as it likes ---------------------------------------------------------------------------


Function = tuple[list[F], list[list[F]]]
"""Edges, and the outputs at every edge."""


def exact_slopes(t: list[F], values: list[list[F]]) -> list[list[F]]:
    return [
        [(b - a) / (t1 - t0) for a, b in zip(v0, v1, strict=True)]
        for (t0, v0), (t1, v1) in pairwise(zip(t, values, strict=True))
    ]


def exact_absolute_deviation(t: list[F], values: list[list[F]]) -> list[F]:
    """Each piece of g is cut at its zero, and the two triangles are added."""
    totals = []
    for k in range(len(values[0])):
        rise = (values[-1][k] - values[0][k]) / (t[-1] - t[0])
        gaps = [v[k] - values[0][k] - rise * (at - t[0]) for at, v in zip(t, values, strict=True)]
        total = F(0)
        for (t0, g0), (t1, g1) in pairwise(zip(t, gaps, strict=True)):
            if g0 * g1 < 0:
                zero = t0 + (t1 - t0) * g0 / (g0 - g1)
                total += abs(g0) * (zero - t0) / 2 + abs(g1) * (t1 - zero) / 2
            else:
                total += (t1 - t0) * (abs(g0) + abs(g1)) / 2
        totals.append(total)
    return totals


def exact_bound(t: list[F], values: list[list[F]]) -> list[F]:
    totals = []
    slopes = exact_slopes(t, values)
    for k in range(len(values[0])):
        rise = (values[-1][k] - values[0][k]) / (t[-1] - t[0])
        total = F(0)
        for i, (t0, t1) in enumerate(pairwise(t)):
            at_start = values[i][k] - slopes[i][k] * t0 - values[0][k] + rise * t[0]
            total += (t1 - t0) * abs(at_start) + abs(slopes[i][k] - rise) * (t1**2 - t0**2) / 2
        totals.append(total)
    return totals


def exact_decision_changes(t: list[F], values: list[list[F]]) -> list[tuple[F, int, int]]:
    """All crossings of all pairs, and the argmax in the middle between neighbouring ones."""
    pieces: list[tuple[F, int]] = []
    m = len(values[0])
    for (t0, v0), (t1, v1) in pairwise(zip(t, values, strict=True)):
        cuts = {t0, t1}
        for a in range(m):
            for b in range(a):
                g0, g1 = v0[a] - v0[b], v1[a] - v1[b]
                if g0 * g1 < 0:
                    cuts.add(t0 + (t1 - t0) * g0 / (g0 - g1))
        for left, right in pairwise(sorted(cuts)):
            share = ((left + right) / 2 - t0) / (t1 - t0)
            middle = [x + share * (y - x) for x, y in zip(v0, v1, strict=True)]
            pieces.append((left, middle.index(max(middle))))
    changes = []
    for (_, before), (at, after) in pairwise(pieces):
        if before != after:
            changes.append((at, before, after))
    return changes


@st.composite
def functions(draw: st.DrawFn, whole: bool = True) -> Function:
    """Edges on a grid and small whole values, so that ties, touches and runs of equal slopes are common.

    All numbers are dyadic: in float64 they are exact.
    """
    inner = draw(st.lists(st.integers(1, 31), unique=True, max_size=7))
    t = [F(0), *(F(i, 32) for i in sorted(inner)), F(1)]
    if not whole and len(t) > 2:
        t = t[:-1]
    m = draw(st.integers(1, 4))
    row = st.lists(st.integers(-4, 4).map(F), min_size=m, max_size=m)
    return t, draw(st.lists(row, min_size=len(t), max_size=len(t)))


def floats(rows: list[list[F]] | list[F]) -> Floats:
    return np.array(rows, dtype=np.float64)


@RANDOM
@given(functions())
def test_deviations_equal_the_exact_integrals(function: Function) -> None:
    t, values = function
    slopes = floats(exact_slopes(t, values))
    got = metrics.absolute_deviation(floats(t), floats(values), 3.0)
    np.testing.assert_allclose(got, 3 * floats(exact_absolute_deviation(t, values)), rtol=1e-13, atol=1e-14)
    bound = metrics.absolute_deviation_bound(floats(t), floats(values), slopes, 3.0)
    np.testing.assert_allclose(bound, 3 * floats(exact_bound(t, values)), rtol=1e-12, atol=1e-12)
    assert (bound >= got - 1e-12).all()


@RANDOM
@given(functions(whole=False))
def test_a_partial_walk_is_a_shorter_segment(function: Function) -> None:
    t, values = function
    stop = t[-1]
    whole = [at / stop for at in t]
    slopes = floats(exact_slopes(t, values))
    for measure in (
        lambda at, s, length: metrics.absolute_deviation(at, floats(values), length),
        lambda at, s, length: metrics.absolute_deviation_bound(at, floats(values), s, length),
    ):
        partial = measure(floats(t), slopes, 5.0)
        complete = measure(floats(whole), slopes * float(stop), 5.0 * float(stop))
        np.testing.assert_allclose(partial, complete, rtol=1e-12, atol=1e-12)


@RANDOM
@given(functions())
def test_variations_equal_the_exact_sums(function: Function) -> None:
    t, values = function
    slopes = exact_slopes(t, values)
    m = range(len(values[0]))
    total = [sum(abs(b[k] - a[k]) for a, b in pairwise(values)) for k in m]
    np.testing.assert_allclose(metrics.total_variation(floats(values)), floats(total), rtol=1e-14)
    np.testing.assert_allclose(
        metrics.end_to_end_variation(floats(values)), floats([values[-1][k] - values[0][k] for k in m])
    )
    bends = [sum((abs(b[k] - a[k]) for a, b in pairwise(slopes)), F(0)) for k in m]
    np.testing.assert_allclose(metrics.slope_variation(floats(slopes)), floats(bends), rtol=1e-13)


@RANDOM
@given(functions(), st.integers(0, 2**32 - 1))
def test_linear_regions_merge_equal_slopes_in_spite_of_rounding(function: Function, seed: int) -> None:
    slopes = exact_slopes(*function)
    runs = 1 + sum(a != b for a, b in pairwise(slopes))
    assert metrics.linear_regions(floats(slopes)) == runs
    noise = 1.0 + 1e-14 * np.random.default_rng(seed).standard_normal((len(slopes), len(slopes[0])))
    assert metrics.linear_regions(floats(slopes) * noise) == runs


@RANDOM
@given(functions())
def test_local_similarity_is_the_mean_cosine(function: Function) -> None:
    slopes = exact_slopes(*function)
    cosines = []
    for a, b in pairwise(slopes):
        if not any(a) or not any(b):
            cosines.append(1.0 if not any(a) and not any(b) else 0.0)
            continue
        product = sum(x * y for x, y in zip(a, b, strict=True))
        cosines.append(float(product) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
    got = metrics.local_similarity(floats(slopes))
    if not cosines:
        assert got is None
    else:
        assert got == pytest.approx(sum(cosines) / len(cosines), abs=1e-13)


@RANDOM
@given(functions(), st.one_of(st.none(), st.integers(0, 2**32 - 1)))
def test_decision_changes_are_exact(function: Function, seed: int | None) -> None:
    t, values = function
    noisy = floats(values)
    if seed is not None:
        # What is tied in exact arithmetic comes out of float64 apart by some units in the last place.
        noisy = noisy * (1.0 + 1e-15 * np.random.default_rng(seed).standard_normal(noisy.shape))
    expected = exact_decision_changes(t, values)
    got = metrics.decision_changes(floats(t), noisy)
    assert [change[1:] for change in got] == [(before, after) for _, before, after in expected]
    np.testing.assert_allclose([at for at, *_ in got], [float(at) for at, *_ in expected], rtol=0, atol=1e-12)


# --- worked by hand -------------------------------------------------------------------------------------------


def test_deviation_of_a_tent() -> None:
    t, values = np.array([0.0, 0.25, 1.0]), np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(metrics.absolute_deviation(t, values, 4.0), [2.0, 0.0])


def test_deviation_of_a_region_that_crosses_the_baseline() -> None:
    # g goes from 3 to -1 over a width of 1/2: two triangles of 3 * 3/8 / 2 and 1 * 1/8 / 2.
    t, values = np.array([0.0, 0.25, 0.75, 1.0]), np.array([[0.0], [3.0], [-1.0], [0.0]])
    assert metrics.absolute_deviation(t, values, 1.0)[0] == pytest.approx(3 / 8 + 9 / 16 + 1 / 16 + 1 / 8)


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_deviation_neither_underflows_nor_overflows(size: float) -> None:
    t, values = np.array([0.0, 0.25, 0.75, 1.0]), np.array([[0.0], [1.0], [-1.0], [0.0]]) * size
    assert metrics.absolute_deviation(t, values, 1.0)[0] == pytest.approx(0.5 * size, rel=1e-12)


def test_an_affine_output_deviates_by_nothing() -> None:
    t, values = np.array([0.0, 1.0]), np.array([[0.1, 1e9], [0.7, -1 / 3]])
    np.testing.assert_array_equal(metrics.absolute_deviation(t, values, 1.0), [0.0, 0.0])


def test_bound_on_a_tent() -> None:
    # First half: |1 - 0| t on [0, 1/2] is 1/8; second half: intercept 1, slope -1: 1/2 + (1 - 1/4) / 2.
    t, values, slopes = np.array([0.0, 0.5, 1.0]), np.array([[0.0], [0.5], [0.0]]), np.array([[1.0], [-1.0]])
    assert metrics.absolute_deviation_bound(t, values, slopes, 2.0)[0] == pytest.approx(2 * (1 / 8 + 1 / 2 + 3 / 8))
    assert metrics.absolute_deviation(t, values, 2.0)[0] == pytest.approx(2 * 0.25)


def test_every_output_is_judged_by_its_own_scale() -> None:
    slopes = np.array([[1e6, 1e-6], [1e6, 2e-6], [1e6, 2e-6]])
    assert metrics.linear_regions(slopes) == 2


def test_noise_in_a_constant_output_is_no_linear_region() -> None:
    slopes = np.array([[1.0, 1e-17], [1.0, -1e-17], [1.0, 0.0]])
    assert metrics.linear_regions(slopes) == 1


def test_small_but_real_differences_count() -> None:
    assert metrics.linear_regions(np.array([[1.0], [1.0 + 1e-11], [1.0]])) == 3
    assert metrics.linear_regions(np.zeros((4, 2))) == 1
    assert metrics.linear_regions(np.zeros((0, 2))) == 0


def test_similarity_conventions() -> None:
    assert metrics.local_similarity(np.array([[1.0, 2.0]])) is None
    assert metrics.local_similarity(np.zeros((3, 2))) == 1.0
    assert metrics.local_similarity(np.array([[0.0, 0.0], [1.0, 0.0]])) == 0.0
    assert metrics.local_similarity(np.array([[1e-20, -1e-20], [1e-20, 1e-20], [1.0, 0.0]])) == 0.5
    assert metrics.local_similarity(np.array([[1e300, 0.0], [-1e300, 0.0]])) == -1.0


def test_a_third_output_takes_over_within_one_region() -> None:
    # Lines 1 - 2t, 3t - 2 and the constant 0, which is the largest between 1/2 and 2/3.
    t, values = np.array([0.0, 1.0]), np.array([[1.0, -2.0, 0.0], [-1.0, 1.0, 0.0]])
    assert metrics.decision_changes(t, values) == ((0.5, 0, 2), (pytest.approx(2 / 3), 2, 1))


def test_three_outputs_meet_in_one_point() -> None:
    t, values = np.array([0.0, 1.0]), np.array([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
    assert metrics.decision_changes(t, values) == ((0.5, 0, 2),)


def test_a_touch_is_no_change() -> None:
    t, values = np.array([0.0, 0.5, 1.0]), np.array([[0.0, -1.0], [0.0, 0.0], [0.0, -1.0]])
    assert metrics.decision_changes(t, values) == ()
    # In floating point the two may even pass each other by a rounding error.
    values[1, 1] = 1e-16
    values[:, 0] += 1.0
    values[:, 1] += 1.0
    assert metrics.decision_changes(t, values) == ()


def test_a_change_exactly_at_an_edge() -> None:
    t, values = np.array([0.0, 0.5, 1.0]), np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert metrics.decision_changes(t, values) == ((0.5, 0, 1),)


def test_equal_outputs_belong_to_the_lower_index() -> None:
    # Tied on the first region, then 0 falls behind, then both are equal again.
    t = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    values = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    assert metrics.decision_changes(t, values) == ((0.25, 0, 1), (0.75, 1, 0))


def test_decisions_of_numbers_near_the_end_of_the_range() -> None:
    largest = float(np.finfo(np.float64).max)
    t = np.array([0.0, 1.0])
    values = largest * np.array([[1.0, -1.0], [-1.0, 0.5]])
    assert metrics.decision_changes(t, values) == ((pytest.approx(2 / 3.5, rel=1e-14), 0, 1),)


def test_one_output_decides_nothing() -> None:
    t, values = np.array([0.0, 0.5, 1.0]), np.array([[1.0], [0.0], [2.0]])
    assert metrics.decision_changes(t, values) == ()
    assert metrics.decisions(t, values) == ((0.0, 0),)


def test_nothing_was_walked() -> None:
    t, values, slopes = np.array([0.0]), np.array([[1.0, 2.0]]), np.zeros((0, 2))
    for figure in (
        metrics.absolute_deviation(t, values, 1.0),
        metrics.absolute_deviation_bound(t, values, slopes, 1.0),
        metrics.total_variation(values),
        metrics.end_to_end_variation(values),
        metrics.slope_variation(slopes),
    ):
        np.testing.assert_array_equal(figure, [0.0, 0.0])
    assert metrics.decisions(t, values) == ()
    assert metrics.local_similarity(slopes) is None


# --- walks and paths ------------------------------------------------------------------------------------------


def test_figures_of_a_walk() -> None:
    walk = hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], length=4.0)
    assert (walk.regions, walk.breakpoints, walk.linear_regions, walk.switch_count) == (2, 1, 2, 2)
    assert walk.switches_by_node == {"a": 1, "b": 1}
    assert (walk.smallest_region, walk.density, walk.outputs) == (0.5, 0.5, 2)
    np.testing.assert_array_equal(walk.absolute_deviation, [2.0, 2.0])
    np.testing.assert_array_equal(walk.mean_absolute_deviation, [0.5, 0.5])
    assert walk.absolute_deviation_norm == pytest.approx(math.sqrt(8.0))
    assert walk.local_similarity == pytest.approx(-1.0)
    assert walk.decision_changes == ((0.25, 1, 0), (0.75, 0, 1))


def test_a_partial_walk_refers_to_what_was_walked() -> None:
    walk = hand_walk([[0.0], [1.0], [0.0]], length=4.0, partial=True)
    assert (walk.walked_length, walk.density) == (2.0, 1.0)
    np.testing.assert_array_equal(walk.absolute_deviation, [1.0])
    np.testing.assert_array_equal(walk.mean_absolute_deviation, [0.5])


def test_a_walk_that_was_stopped_at_once() -> None:
    walk = hand_walk([[3.0, 1.0]], partial=True)
    assert (walk.regions, walk.breakpoints, walk.linear_regions, walk.switch_count) == (0, 0, 0, 0)
    assert math.isnan(walk.density)
    assert math.isnan(walk.smallest_region)
    assert np.isnan(walk.mean_absolute_deviation).all()
    path = hand_path(walk)
    assert math.isnan(path.density)
    assert math.isnan(path.smallest_region)
    assert path.decision_changes == ()


def test_single_precision_has_wider_tolerances() -> None:
    walk = hand_walk([[0.0], [1.0], [2.0 + 1e-6]])
    assert walk.linear_regions == 2
    assert replace(walk, precision="single").linear_regions == 1


def test_totals_of_a_path_are_sums() -> None:
    first, second = hand_walk([[0.0], [1.0], [0.0]]), hand_walk([[0.0], [2.0], [3.0], [3.0]], length=6.0, mismatches=2)
    path = hand_path(first, second)
    assert (path.regions, path.breakpoints, path.linear_regions, path.switch_count) == (5, 3, 5, 6)
    assert path.switches_by_node == {"a": 3, "b": 3}
    assert path.smallest_region == pytest.approx(1 / 3)
    assert (path.length, path.walked_length, path.density) == (8.0, 8.0, 5 / 8)
    for name in (
        "absolute_deviation",
        "absolute_deviation_bound",
        "total_variation",
        "end_to_end_variation",
        "slope_variation",
    ):
        np.testing.assert_allclose(getattr(path, name), getattr(first, name) + getattr(second, name))
    # Cosines -1 | 1 and 0 (into the flat part): the mean over the three breakpoints, not over the segments.
    assert path.local_similarity == pytest.approx(0.0)
    assert second.local_similarity == pytest.approx(0.5)
    assert path.forward_passes == 14
    assert not path.self_check.ok
    assert path.self_check.end_pattern_mismatches == 2
    assert path.self_check.points_compared == 10


def test_decision_changes_of_a_path() -> None:
    falling, rising = [[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]]
    inside = [[-1.0, 0.0], [1.0, 0.0]]
    path = hand_path(hand_walk(falling), hand_walk(rising), hand_walk(inside))
    assert path.decision_changes == ((1, 0.0, 0, 1), (2, 0.5, 1, 0))
    assert path.decision_changes[0].segment == 1


def test_decision_change_where_a_closed_path_ends() -> None:
    triangle = [
        hand_walk([[0.0, 0.0], [-1.0, 0.0]]),
        hand_walk([[-1.0, 0.0], [1.0, 0.0]]),
        hand_walk([[1.0, 0.0], [0.0, 0.0]]),
    ]
    assert hand_path(*triangle).decision_changes == ((1, 0.5, 1, 0),)
    assert hand_path(*triangle, closed=True).decision_changes == ((0, 0.0, 0, 1), (1, 0.5, 1, 0))


@pytest.mark.parametrize(
    ("checks", "ok"),
    [
        ([(1e-7, 1e-6), (1e-3, 1e-2)], True),
        ([(5.0, 10.0), (1.0, 0.5)], False),
        ([(math.nan, 1.0), (0.0, 1.0)], False),
        ([(0.0, 1.0), (math.nan, 1.0)], False),
        ([], True),
    ],
)
def test_a_path_is_checked_if_all_its_segments_are(checks: list[tuple[float, float]], ok: bool) -> None:
    total = SelfCheck.total(SelfCheck(0, 0, error, tolerance, 1) for error, tolerance in checks)
    assert total.ok is ok
