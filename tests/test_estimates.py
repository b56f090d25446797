"""Estimates against the whole: all draws enumerated, exact rational arithmetic, seeded trials, real networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise, product
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

import lronnx
from lronnx import estimates, metrics
from lronnx.errors import InputError
from lronnx.estimates import Plan, SegmentEstimate, cell_figures, combine, estimate_segment
from lronnx.regions import SelfCheck, Switch, Walk

F = Fraction
Floats = NDArray[np.float64]
RANDOM = settings(derandomize=True, database=None, deadline=None, max_examples=100)
EXAMPLE = Path(lronnx.__file__).parent / "example"
FIGURES = ("regions", "density", "total_variation", "slope_variation", "absolute_deviation")


class Function:
    """A piecewise affine function of t that is known everywhere, and its walks, by plain interpolation."""

    def __init__(self, t: Floats, values: Floats, length: float = 2.0) -> None:
        self.t, self.values, self.length = t, values, length
        self.slopes = np.diff(values, axis=0) / np.diff(t)[:, None]
        self.walked: list[tuple[float, float]] = []

    def at(self, t: Floats) -> Floats:
        return np.stack([np.interp(t, self.t, output) for output in self.values.T], axis=1)

    def walk(self, a: float, b: float) -> Walk:
        assert 0.0 <= a < b <= 1.0
        self.walked.append((a, b))
        inner = (self.t > a) & (self.t < b)
        t = np.concatenate([[a], self.t[inner], [b]])
        middles = (t[1:] + t[:-1]) / 2
        return Walk(
            t=(t - a) / (b - a),
            values=self.at(t),
            slopes=self.slopes[np.searchsorted(self.t, middles) - 1] * (b - a),
            switches=((Switch("a", 0, 0, 1),),) * int(inner.sum()),
            length=self.length * (b - a),
            self_check=SelfCheck(0, 0, 1e-7, 1e-6, 5),
            partial=False,
            forward_passes=7,
            seconds=0.0,
        )

    def estimate(self, plan: Plan, rng: np.random.Generator) -> SegmentEstimate:
        return estimate_segment(self.walk, self.values[0], self.values[-1], self.length, plan, rng)

    def given(self, plan: Plan, shift: float, chosen: tuple[tuple[int, ...], ...]) -> SegmentEstimate:
        """The estimate of a draw that is not left to chance."""
        return estimates._estimate(
            self.walk, self.values[0], self.values[-1], self.length, plan, shift, np.array(chosen)
        )

    def exactly(self) -> dict[str, float | Floats]:
        """The figures of the whole, by the functions that are tested elsewhere."""
        regions = len(self.slopes)
        return {
            "regions": float(regions),
            "density": regions / self.length,
            "total_variation": metrics.total_variation(self.values),
            "slope_variation": metrics.slope_variation(self.slopes),
            "absolute_deviation": metrics.absolute_deviation(self.t, self.values, self.length),
        }


def random_function(seed: int, breakpoints: int, outputs: int = 2, clusters: float = 1.0) -> Function:
    """Slopes that wander and breakpoints that crowd where t is small (``clusters`` > 1)."""
    rng = np.random.default_rng(seed)
    t = np.concatenate([[0.0], np.sort(rng.random(breakpoints)) ** clusters, [1.0]])
    slopes = rng.normal(size=outputs) + 0.3 * rng.normal(size=(breakpoints + 1, outputs)).cumsum(axis=0)
    values = np.vstack([np.zeros(outputs), (slopes * np.diff(t)[:, None]).cumsum(axis=0)])
    return Function(t, values)


def draws(plan: Plan) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Every draw that a plan can make, all equally probable."""
    return product(combinations(range(plan.cells), plan.chosen), repeat=plan.strata)


def values(estimate: SegmentEstimate, part: str = "value") -> Floats:
    return np.concatenate([np.atleast_1d(getattr(getattr(estimate, name), part)) for name in FIGURES])


def truth(function: Function) -> Floats:
    figures = function.exactly()
    return np.concatenate([np.atleast_1d(figures[name]) for name in FIGURES])


# --- unbiased, over all draws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-0.05, -0.0123, 0.0, 0.0371])
@pytest.mark.parametrize("plan", [Plan(1, 5, 2), Plan(2, 4, 3), Plan(3, 4, 2)], ids=str)
def test_the_mean_over_all_draws_is_the_truth(plan: Plan, shift: float) -> None:
    function = random_function(1, 40, clusters=2.0)
    every = [function.given(plan, shift, draw) for draw in draws(plan)]
    assert len(every) == math.comb(plan.cells, plan.chosen) ** plan.strata
    np.testing.assert_allclose(np.mean([values(e) for e in every], axis=0), truth(function), rtol=1e-12)


@pytest.mark.parametrize("plan", [Plan(1, 5, 2), Plan(2, 4, 3), Plan(3, 4, 2), Plan(4, 3, 2)], ids=str)
@pytest.mark.parametrize("seed", [2, 3])
def test_the_variance_is_not_underestimated(plan: Plan, seed: int) -> None:
    function = random_function(seed, 40, clusters=1.5)
    every = [function.given(plan, 0.02, draw) for draw in draws(plan)]
    true = np.var([values(e) for e in every], axis=0)
    estimated = np.mean([values(e, "standard_error") ** 2 for e in every], axis=0)
    assert (estimated >= true * (1.0 - 1e-12)).all()
    if plan.strata == 1:
        np.testing.assert_allclose(estimated, true, rtol=1e-11)


@pytest.mark.parametrize("plan", [Plan(2, 4, 2), Plan(3, 4, 2), Plan(2, 5, 4)], ids=str)
def test_the_variance_is_unbiased_where_all_strata_are_alike(plan: Plan) -> None:
    # The same figures in every stratum, handed over directly: borders at the ends of a real segment are never alike.
    cells = np.random.default_rng(4).random((plan.cells, 3))
    totals, variances = [], []
    for draw in draws(plan):
        figures = cells[np.array(draw)]
        totals.append(figures.sum(axis=(0, 1)) / plan.fraction)
        variances.append(estimates._variance(figures, plan)[0])
    np.testing.assert_allclose(np.mean(totals, axis=0), plan.strata * cells.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.mean(variances, axis=0), np.var(totals, axis=0), rtol=1e-11)


def test_every_draw_is_equally_probable() -> None:
    plan, rng, rounds = Plan(2, 4, 2), np.random.default_rng(5), 7200
    counts: Counter[tuple[tuple[int, ...], ...]] = Counter()
    shifts = []
    for _ in range(rounds):
        shift, chosen = estimates._draw(plan, rng)
        shifts.append(shift)
        counts[tuple(tuple(sorted(stratum)) for stratum in chosen.tolist())] += 1
    assert set(counts) == set(draws(plan))
    expected = rounds / 36
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 66.6  # 35 degrees of freedom, 1 in 1000
    assert np.abs(shifts).max() <= 0.05
    assert np.std(shifts) == pytest.approx(0.1 / math.sqrt(12), rel=0.03)


def test_breakpoints_at_special_places_are_counted() -> None:
    # Without a shift, all of these were borders of cells, and in no piece.
    t = np.linspace(0.0, 1.0, 65)
    function = Function(t, np.abs(np.arange(65)[:, None] % 2).astype(np.float64))
    every = [function.estimate(Plan(8, 8, 4), np.random.default_rng(seed)).regions.value for seed in range(40)]
    assert np.mean(every) == pytest.approx(64.0, rel=0.05)


# --- additive figures -------------------------------------------------------------------------------------------


@st.composite
def exact_functions(draw: st.DrawFn) -> tuple[list[F], list[list[F]]]:
    """Edges and values that are exact in float64."""
    inner = draw(st.lists(st.integers(1, 63), unique=True, max_size=9))
    t = [F(0), *(F(i, 64) for i in sorted(inner)), F(1)]
    row = st.lists(st.integers(-4, 4).map(F), min_size=2, max_size=2)
    return t, draw(st.lists(row, min_size=len(t), max_size=len(t)))


def exact_cell(t: list[F], rows: list[list[F]], k: int, left: F, right: F) -> tuple[F, F, F, F]:
    """Breakpoints in [left, right), total variation, slope variation and deviation (length 1) of output k there.

    The curve is cut at the cell's borders and at every zero of its distance to the baseline.
    """
    slopes = [(b[k] - a[k]) / (t1 - t0) for (t0, a), (t1, b) in pairwise(zip(t, rows, strict=True))]

    def at(x: F) -> F:
        i = max(i for i in range(len(slopes)) if t[i] <= x)
        return rows[i][k] + slopes[i] * (x - t[i])

    def gap(x: F) -> F:
        return at(x) - rows[0][k] - x * (rows[-1][k] - rows[0][k])

    inside = [i for i in range(1, len(t) - 1) if left <= t[i] < right]
    edges = sorted({left, right, *(t[i] for i in inside)})
    zeros = set()
    for a, b in pairwise(edges):
        if gap(a) * gap(b) < 0:
            zeros.add(a + (b - a) * gap(a) / (gap(a) - gap(b)))
    finer = sorted({*edges, *zeros})
    return (
        F(len(inside)),
        sum((abs(at(b) - at(a)) for a, b in pairwise(edges)), F(0)),
        sum((abs(slopes[i] - slopes[i - 1]) for i in inside), F(0)),
        sum(((b - a) * (abs(gap(a)) + abs(gap(b))) / 2 for a, b in pairwise(finer)), F(0)),
    )


@RANDOM
@given(exact_functions(), st.lists(st.integers(1, 127), unique=True, min_size=2, max_size=6))
def test_cells_equal_exact_arithmetic_and_add_up(function: tuple[list[F], list[list[F]]], places: list[int]) -> None:
    t, rows = function
    walks = Function(np.array(t, dtype=np.float64), np.array(rows, dtype=np.float64), length=3.0)
    inner = [F(place, 128) for place in sorted(places)]
    # One walk over some cells in the middle, and one over each of the two ends.
    got, cuts = [], [[F(0), inner[0]], inner, [inner[-1], F(1)]]
    for borders in cuts:
        walk = walks.walk(float(borders[0]), float(borders[-1]))
        got.append(cell_figures(walk, np.array(borders, dtype=np.float64), walks.values[0], walks.values[-1], 3.0))
    cells = [cell for borders in cuts for cell in pairwise(borders)]
    figures = np.vstack(got)
    for row, (left, right) in zip(figures, cells, strict=True):
        # A breakpoint where a walk begins is in none: there is no region before it.
        begins = left in (inner[0], inner[-1]) and left in t
        for k in range(2):
            count, variation, bends, deviation = exact_cell(t, rows, k, left, right)
            if not begins:
                assert row[0] == count
                assert row[3 + k] == pytest.approx(float(bends), rel=1e-12, abs=1e-12)
            assert row[1 + k] == pytest.approx(float(variation), rel=1e-12, abs=1e-12)
            assert row[5 + k] == pytest.approx(3 * float(deviation), rel=1e-12, abs=1e-12)
    whole = walks.exactly()
    np.testing.assert_allclose(figures[:, 1:3].sum(axis=0), whole["total_variation"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(figures[:, 5:].sum(axis=0), whole["absolute_deviation"], rtol=1e-12, atol=1e-12)
    lost = len({inner[0], inner[-1]} & set(t))
    assert figures[:, 0].sum() == walks.exactly()["regions"] - 1 - lost


@RANDOM
@given(exact_functions(), st.lists(st.integers(1, 127), unique=True, max_size=8))
def test_cells_of_one_walk_add_up_to_the_whole(function: tuple[list[F], list[list[F]]], places: list[int]) -> None:
    walks = Function(np.array(function[0], dtype=np.float64), np.array(function[1], dtype=np.float64))
    borders = np.array([0, *sorted(places), 128]) / 128
    total = cell_figures(walks.walk(0.0, 1.0), borders, walks.values[0], walks.values[-1], 2.0).sum(axis=0)
    expected = truth(walks)
    assert total[0] == expected[0] - 1
    np.testing.assert_allclose(total[1:], expected[2:], rtol=1e-12, atol=1e-12)


def test_neighbouring_cells_are_walked_as_one_piece() -> None:
    function = random_function(6, 50)
    got = function.given(Plan(2, 4, 2), 0.0, ((0, 3), (0, 2)))
    assert function.walked == [(0.0, 0.125), (0.375, 0.625), (0.75, 0.875)]
    assert (got.pieces, got.forward_passes, got.self_check.points_compared) == (3, 21, 15)
    function.walked.clear()
    function.given(Plan(2, 4, 2), 0.04, ((0, 3), (0, 2)))
    np.testing.assert_allclose(function.walked, [(0.0, 0.13), (0.38, 0.63), (0.755, 0.88)])


# --- exact ------------------------------------------------------------------------------------------------------


@cache
def digits() -> Walk:
    points = np.load(EXAMPLE / "digits.npz")
    return lronnx.load(EXAMPLE / "digits.onnx").walk(points["start"], points["end"])


def test_all_of_a_real_network_is_its_walk() -> None:
    points = np.load(EXAMPLE / "digits.npz")
    start, end = (points[name].astype(np.float64) for name in ("start", "end"))
    network, whole = lronnx.load(EXAMPLE / "digits.onnx"), digits()
    got = estimate_segment(
        lambda a, b: network.walk(start + a * (end - start), start + b * (end - start)),
        whole.values[0],
        whole.values[-1],
        whole.length,
        Plan.for_fraction(1.0),
        np.random.default_rng(0),
    )
    assert (got.exact, got.fraction, got.pieces, got.breakpoints_seen) == (True, 1.0, 1, 516)
    assert got.self_check.ok
    for name in FIGURES:
        estimate, expected = getattr(got, name), getattr(whole, name)
        for part in ("value", "low", "high", "at_least"):
            np.testing.assert_allclose(getattr(estimate, part), expected, rtol=1e-12)
        assert not np.any(estimate.standard_error)


def test_pieces_of_a_real_network_are_parts_of_its_walk() -> None:
    points = np.load(EXAMPLE / "digits.npz")
    start, end = (points[name].astype(np.float64) for name in ("start", "end"))
    network, whole = lronnx.load(EXAMPLE / "digits.onnx"), digits()
    known = Function(whole.t, whole.values, whole.length)
    plan = Plan.for_fraction(0.2, strata=4)
    got = estimate_segment(
        lambda a, b: network.walk(start + a * (end - start), start + b * (end - start)),
        whole.values[0],
        whole.values[-1],
        whole.length,
        plan,
        np.random.default_rng(7),
    )
    expected = known.estimate(plan, np.random.default_rng(7))
    assert got.self_check.ok
    assert got.breakpoints_seen == expected.breakpoints_seen
    for part in ("value", "standard_error", "low", "high", "at_least"):
        np.testing.assert_allclose(values(got, part), values(expected, part), rtol=1e-6)


@pytest.mark.parametrize("plan", [Plan(1, 1, 1), Plan(16, 1, 1), Plan(3, 4, 4)], ids=str)
def test_walking_all_is_exact(plan: Plan) -> None:
    function = random_function(8, 30)
    got = function.estimate(plan, np.random.default_rng(1))
    assert function.walked == [(0.0, 1.0)]
    for part in ("value", "low", "high", "at_least"):
        np.testing.assert_allclose(values(got, part), truth(function), rtol=1e-13)
    assert not values(got, "standard_error").any()
    together = combine([got, got])
    np.testing.assert_allclose(together.regions.high, 62.0)
    assert together.density.value == 62.0 / 4.0


# --- intervals --------------------------------------------------------------------------------------------------


def held(estimate: SegmentEstimate, expected: Floats) -> NDArray[np.bool_]:
    margin = 1e-9 * np.abs(expected)
    return (values(estimate, "low") <= expected + margin) & (expected <= values(estimate, "high") + margin)


@pytest.mark.parametrize(("fraction", "clusters"), [(0.05, 1.0), (0.2, 1.0), (0.1, 2.0), (0.5, 1.0)])
def test_intervals_hold_the_truth(fraction: float, clusters: float) -> None:
    function = random_function(9, 1000, clusters=clusters)
    rng, plan = np.random.default_rng(10), Plan.for_fraction(fraction)
    every = [function.estimate(plan, rng) for _ in range(100)]
    covered = np.mean([held(e, truth(function)) for e in every], axis=0)
    assert covered.min() > 0.9
    # That of the counts is not won by being far too wide.
    assert covered[0] < 1.0
    error = np.sqrt(np.mean([(values(e) - truth(function)) ** 2 for e in every], axis=0))
    claimed = np.sqrt(np.mean([values(e, "standard_error") ** 2 for e in every], axis=0))
    assert (claimed > 0.85 * error).all()
    assert claimed[0] < 1.25 * error[0]
    bias = np.mean([values(e) for e in every], axis=0) - truth(function)
    assert (np.abs(bias) < 4.0 * error / math.sqrt(len(every))).all()


def test_intervals_hold_the_truth_of_a_real_network() -> None:
    whole = digits()
    function = Function(whole.t, whole.values, whole.length)
    rng, plan = np.random.default_rng(11), Plan.for_fraction(0.1)
    covered = np.mean([held(function.estimate(plan, rng), truth(function)) for _ in range(100)], axis=0)
    assert 0.9 <= covered[0] < 1.0
    assert covered.min() >= 0.88


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("breakpoints", [1, 3, 10])
def test_intervals_hold_small_counts(breakpoints: int, fraction: float) -> None:
    rng, plan = np.random.default_rng(12), Plan.for_fraction(fraction)
    covered = []
    for seed in range(50):
        function = random_function(seed, breakpoints)
        covered.append(held(function.estimate(plan, rng), truth(function)))
    assert np.mean(covered, axis=0).min() >= 0.9


def test_nothing_seen_is_no_certainty() -> None:
    affine = Function(np.array([0.0, 1.0]), np.array([[0.0, 5.0], [1.0, 5.0]]))
    got = affine.estimate(Plan.for_fraction(0.02), np.random.default_rng(13))
    assert (got.breakpoints_seen, got.regions.value, got.regions.low) == (0, 1.0, 1.0)
    # 0.98**183 < 0.025 < 0.98**182: so many may have been missed, but not one more.
    assert got.regions.high == 183.0
    value, low, high = (getattr(got.total_variation, part) for part in ("value", "low", "high"))
    assert value[0] == pytest.approx(1.0, rel=0.02)
    assert low[0] < 0.9 * value[0] < 1.1 * value[0] < high[0]
    assert got.slope_variation.high[0] == pytest.approx(182.0)
    assert got.absolute_deviation.high[0] > 0.01
    # The second output does not move at all, as far as can be seen.
    assert (value[1], low[1], high[1]) == (0.0, 0.0, 0.0)


def binomial(trials: int, chance: F, at_most: int) -> F:
    return sum((math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(at_most + 1)), F(0))


def finish(plan: Plan, seen: int, total: Floats, gaps: estimates.Gaps, segments: int = 1) -> SegmentEstimate:
    """Estimates of one output of which the standard error has no say."""
    return estimates._finish(
        plan,
        segments=segments,
        length=2.0,
        seen=seen,
        total=total,
        variance=np.zeros(4),
        freedom=np.ones(4),
        at_least=np.array([segments + seen, 0.25, 4.0, 0.0]),
        gaps=gaps,
        check=SelfCheck(0, 0, 0.0, 0.0, 0),
        passes=0,
        pieces=0,
    )


@pytest.mark.parametrize("cells", [4, 10])
@pytest.mark.parametrize("seen", [0, 1, 2, 5])
def test_limits_of_a_count_are_those_of_the_binomial(cells: int, seen: int) -> None:
    chance, total = F(2, cells), np.array([1 + seen * cells / 2, 0.0, 0.0, 0.0])
    got = finish(Plan(2, cells, 2), seen, total, estimates.Gaps(0.0, 0.0, np.zeros(1)))
    possible = range(seen, 40 * cells)
    most = max(k for k in possible if binomial(k, chance, seen) > F(1, 40))
    fewest = min(k for k in possible if seen == 0 or 1 - binomial(k, chance, seen - 1) > F(1, 40))
    assert (got.regions.low, got.regions.high) == (1 + fewest, 1 + most)
    assert (got.density.low, got.density.high) == ((1 + fewest) / 2, (1 + most) / 2)


@pytest.mark.parametrize(("seen", "bend"), [(0, 7.0), (2, 1.5)])
@pytest.mark.parametrize("segments", [1, 3])
def test_unseen_bends_widen_every_interval(seen: int, bend: float, segments: int) -> None:
    # If two bends were seen, they were of size 1.5, for a fifth of everything was walked; else they may be of size 7.
    total = np.array([segments + 5.0 * seen, 2.0, 5.0 * seen * bend, 3.0])
    got = finish(Plan(2, 10, 2), seen, total, estimates.Gaps(0.12, 0.5, np.array([7.0])), segments)
    unseen = got.regions.high - segments - seen
    half = 1.959964 * bend * math.sqrt(unseen * 0.12 / segments / 12)
    for figure, middle, width in ((got.total_variation, 2.0, half), (got.absolute_deviation, 3.0, half * 0.5 / 2)):
        assert figure.high[0] == pytest.approx(middle + width, rel=1e-6)
        assert figure.low[0] == pytest.approx(max(middle - width, 0.2 * middle), rel=1e-6)
    assert got.slope_variation.high[0] == pytest.approx(4.0 + unseen * bend)


@pytest.mark.parametrize("border", [1, 2, 3])
def test_strata_that_differ_only_from_each_other_tell_of_an_error(border: int) -> None:
    # The slope changes between two strata: inside each of them, all cells are alike.
    function = Function(np.array([0.0, border / 4, 1.0]), np.array([[0.0], [border / 4], [4.0]]))
    got = function.given(Plan(4, 4, 2), 0.0, ((1, 2),) * 4)
    assert got.total_variation.standard_error[0] > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_bounds_are_certain(seed: int) -> None:
    function = random_function(seed, 60, clusters=1.0 + seed / 2)
    expected, walked_values = truth(function), []
    for fraction in (0.05, 0.3, 0.8):
        got = function.estimate(Plan.for_fraction(fraction, strata=5), np.random.default_rng(seed))
        assert (values(got, "at_least") <= expected * (1.0 + 1e-12)).all()
        assert (values(got, "low") <= values(got)).all()
        assert (values(got) <= values(got, "high")).all()
        assert (values(got, "high") >= values(got, "at_least")).all()
        assert got.regions.at_least == 1 + got.breakpoints_seen
        assert got.regions.low >= got.regions.at_least
        walked_values.append(got)
    assert [e.fraction for e in walked_values] == [0.05, 0.3, 0.8]


def test_differences_across_gaps_are_certain() -> None:
    # Straight up, then a bend between the two pieces.
    function = Function(np.array([0.0, 0.5, 1.0]), np.array([[0.0], [1.0], [0.0]]))
    got = function.given(Plan(1, 8, 2), 0.0, ((1, 6),))
    assert got.total_variation.at_least[0] == pytest.approx(0.25 + 0.25 + 0.25 + 0.25 + 0.0)
    assert got.slope_variation.at_least[0] == pytest.approx(4.0)
    assert got.breakpoints_seen == 0
    assert got.slope_variation.value[0] == 0.0
    assert got.slope_variation.high[0] >= 4.0


def test_what_is_certain_bounds_the_interval() -> None:
    # A step between two pieces in which nothing happens ...
    step = Function(np.array([0.0, 0.375, 0.625, 1.0]), np.array([[0.0], [0.0], [5.0], [5.0]]))
    got = step.given(Plan(1, 8, 2), 0.0, ((1, 6),)).total_variation
    assert (got.value[0], got.low[0]) == (0.0, 0.0)
    assert got.high[0] == got.at_least[0] == pytest.approx(5.0)
    # ... and one inside a piece: by t, less than nothing would be possible.
    step = Function(np.array([0.0, 0.125, 0.25, 1.0]), np.array([[0.0], [0.0], [5.0], [5.0]]))
    got = step.given(Plan(1, 8, 2), 0.0, ((1, 6),)).total_variation
    assert got.value[0] == pytest.approx(20.0)
    assert got.low[0] == pytest.approx(5.0)


def test_degrees_of_freedom() -> None:
    alone = random_function(22, 30).given(Plan(1, 9, 4), 0.0, ((0, 2, 5, 7),))
    np.testing.assert_allclose(values(alone, "degrees_of_freedom"), 3.0, rtol=1e-12)
    # Two strata with variances in the ratio 1 : 9 make (1 + 9)**2 / (1 + 81), fewer than the three of the pair.
    cells = np.array([[[0.0], [1.0]], [[0.0], [3.0]]])
    plan = Plan(2, 10, 2)
    variance, spread = estimates._variance(cells, plan)
    assert estimates._freedom(variance, spread, plan)[0] == pytest.approx(100 / 82)
    # Single strata: 100 * (1 - 0.2) * (1 / 2) / 2 and nine times that; the pair: 400 * 0.8 * 2 / 4 / (1 - 0.2 / 3).
    assert variance[0] == pytest.approx((20.0 + 180.0 + 160.0 / (1 - 0.2 / 3)) / 2)


def test_the_baseline_joins_the_ends_of_the_segment() -> None:
    # Affine inside every piece, yet far from the line between the ends: the area is 1/4 times the length.
    function = Function(np.array([0.0, 0.5, 1.0]), np.array([[0.0], [0.5], [0.0]]), length=4.0)
    got = function.given(Plan(2, 4, 2), 0.0, ((0, 3), (0, 3)))
    cell = [4.0 * 0.125 * (a + b) / 2 for a, b in ((0.0, 0.125), (0.375, 0.5))]
    assert got.absolute_deviation.value[0] == pytest.approx(2 * 2 * sum(cell))
    assert got.absolute_deviation.at_least[0] == pytest.approx(2 * sum(cell))


# --- several segments -------------------------------------------------------------------------------------------


def test_a_path_is_the_sum_of_its_segments() -> None:
    functions = [random_function(seed, 80 + 10 * seed) for seed in range(4)]
    plan, rng = Plan.for_fraction(0.2), np.random.default_rng(14)
    parts = [function.estimate(plan, rng) for function in functions]
    got = combine(parts)
    assert (got.segments, got.length, got.fraction) == (4, 8.0, 0.2)
    assert got.breakpoints_seen == sum(part.breakpoints_seen for part in parts)
    assert got.gaps.cubes == pytest.approx(sum(part.gaps.cubes for part in parts))
    assert got.gaps.reach == max(part.gaps.reach for part in parts)
    assert (got.gaps.steepest == np.max([part.gaps.steepest for part in parts], axis=0)).all()
    assert (got.pieces, got.forward_passes) == (sum(p.pieces for p in parts), sum(p.forward_passes for p in parts))
    for name in FIGURES:
        if name == "density":
            continue
        figure, figures = getattr(got, name), [getattr(part, name) for part in parts]
        np.testing.assert_allclose(figure.value, sum(f.value for f in figures))
        np.testing.assert_allclose(figure.at_least, sum(f.at_least for f in figures))
        np.testing.assert_allclose(figure.standard_error**2, sum(f.standard_error**2 for f in figures))
        spread = sum(f.standard_error**4 / f.degrees_of_freedom for f in figures)
        np.testing.assert_allclose(figure.degrees_of_freedom, figure.standard_error**4 / spread)
    assert got.density.value == pytest.approx(got.regions.value / 8.0)
    assert got.density.high == pytest.approx(got.regions.high / 8.0)
    # Errors that are independent cancel: the interval is narrower than the sum of theirs.
    width = got.regions.high - got.regions.low
    assert width < 0.8 * sum(part.regions.high - part.regions.low for part in parts)


def test_combining_does_not_depend_on_the_order() -> None:
    functions = [random_function(seed, 30 + 10 * seed) for seed in range(4)]
    plan, rng = Plan.for_fraction(0.1), np.random.default_rng(15)
    a, b, c, d = (function.estimate(plan, rng) for function in functions)
    whole = combine([a, b, c, d])
    for other in (combine([combine([a, b]), combine([c, d])]), combine([d, combine([b, c, a])])):
        for part in ("value", "standard_error", "degrees_of_freedom", "low", "high", "at_least"):
            np.testing.assert_allclose(values(other, part), values(whole, part), rtol=1e-12)
        assert other.segments == 4
    alone = combine([a])
    for part in ("value", "standard_error", "degrees_of_freedom", "low", "high", "at_least"):
        np.testing.assert_allclose(values(alone, part), values(a, part), rtol=1e-12)


def test_the_interval_of_a_path_holds_the_truth() -> None:
    functions = [random_function(seed, 40, clusters=1.0 + seed / 4) for seed in range(4)]
    expected = sum(truth(function) for function in functions)
    expected[1] = expected[0] / 8.0
    plan, rng = Plan.for_fraction(0.2, strata=8), np.random.default_rng(16)
    covered = [held(combine(f.estimate(plan, rng) for f in functions), expected) for _ in range(50)]
    assert np.mean(covered, axis=0).min() >= 0.9


# --- plans and bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "cells", "chosen"),
    [
        (1.0, 1, 1),
        (0.5, 4, 2),
        (0.02, 100, 2),
        (0.3, 10, 3),
        (0.15, 20, 3),
        (2 / 3, 3, 2),
        (0.9, 10, 9),
        (1e-6, 2 * 10**6, 2),
    ],
)
def test_plans_meet_the_fraction(fraction: float, cells: int, chosen: int) -> None:
    assert Plan.for_fraction(fraction) == Plan(estimates.STRATA, cells, chosen)


@RANDOM
@given(st.floats(1e-6, 1.0), st.integers(1, 64))
def test_plans_come_close_to_any_fraction(fraction: float, strata: int) -> None:
    plan = Plan.for_fraction(fraction, strata)
    assert plan.strata == strata
    assert plan.fraction == pytest.approx(fraction, rel=0.025)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, math.nan, math.inf, 1e-7])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"--estimate .* is not possible: give the fraction"):
        Plan.for_fraction(fraction)


@pytest.mark.parametrize("numbers", [(0, 4, 2), (4, 0, 0), (4, 4, 5), (4, 4, 0), (4, 4, 1)])
def test_impossible_plans_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="a plan"):
        Plan(*numbers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_value": np.zeros((1, 2))}, r"shapes \(1, 2\) and \(2,\)"),
        ({"end_value": np.zeros(3)}, r"shapes \(2,\) and \(3,\)"),
        ({"start_value": np.zeros(3), "end_value": np.zeros(3)}, "has 2 outputs, but the ends of the segment have 3"),
        ({"length": 0.0}, "length of a segment is 0.0"),
        ({"length": math.nan}, "length of a segment is nan"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    function = random_function(17, 5)
    arguments = {
        "start_value": function.values[0],
        "end_value": function.values[-1],
        "length": 2.0,
        "plan": Plan(2, 4, 2),
        "rng": np.random.default_rng(0),
    }
    with pytest.raises(InputError, match=message):
        estimate_segment(function.walk, **(arguments | change))  # type: ignore[arg-type]


def test_a_partial_piece_is_refused_and_errors_pass() -> None:
    function = random_function(18, 5)
    ends, rng = (function.values[0], function.values[-1], 2.0, Plan(2, 4, 2)), np.random.default_rng(0)
    with pytest.raises(InputError, match="is partial: an estimate needs all of its pieces"):
        estimate_segment(lambda a, b: replace(function.walk(a, b), partial=True), *ends, rng)

    def interrupted(a: float, b: float) -> Walk:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimate_segment(interrupted, *ends, rng)


def test_a_failed_piece_fails_the_estimate() -> None:
    function = random_function(19, 5)
    bad = SelfCheck(0, 3, 1e-7, 1e-6, 5)

    def walk(a: float, b: float) -> Walk:
        found = function.walk(a, b)
        return replace(found, self_check=bad) if a == 0.0 else found

    got = estimates._estimate(
        walk, function.values[0], function.values[-1], 2.0, Plan(2, 4, 2), 0.0, np.array(((0, 2), (1, 3)))
    )
    assert not got.self_check.ok
    assert got.self_check.end_pattern_mismatches == 3


def test_what_cannot_be_combined_is_refused() -> None:
    function, rng = random_function(20, 5), np.random.default_rng(0)
    one = function.estimate(Plan(2, 4, 2), rng)
    with pytest.raises(InputError, match="there is no segment"):
        combine([])
    with pytest.raises(InputError, match=r"different plans cannot be combined.*cells=5"):
        combine([one, function.estimate(Plan(2, 5, 2), rng)])
    with pytest.raises(InputError, match="different numbers of outputs"):
        combine([one, random_function(20, 5, outputs=3).estimate(Plan(2, 4, 2), rng)])


def test_the_same_state_chooses_the_same_pieces() -> None:
    function, walked = random_function(21, 5), []
    for seed in (1, 1, 2):
        function.walked = []
        function.estimate(Plan.for_fraction(0.1), np.random.default_rng(seed))
        walked.append(function.walked)
    assert walked[0] == walked[1] != walked[2]
    assert all(a < b for a, b in walked[0])
