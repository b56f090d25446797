"""Paired figures against SciPy and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lronnx import pairing

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    one = rng.lognormal(size=40)
    return one, one * rng.lognormal(0.1, 0.2, size=40)


def test_the_standardised_difference_is_that_of_the_paired_t_test(sample: tuple[np.ndarray, np.ndarray]) -> None:
    one, two = sample
    found = pairing.paired(one, two)
    assert found["difference"] == pytest.approx(float(np.mean(two - one)))
    assert found["standardized"] == pytest.approx(stats.ttest_rel(two, one).statistic / math.sqrt(len(one)))
    assert found["ratio"] == pytest.approx(two.mean() / one.mean())


def test_the_interval_is_the_percentile_bootstrap_of_the_differences(sample: tuple[np.ndarray, np.ndarray]) -> None:
    one, two = sample
    low, high = pairing.paired(one, two, seed=1)["interval"]
    other = stats.bootstrap(
        (two - one,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    width = other.high - other.low
    assert low == pytest.approx(other.low, abs=0.08 * width)
    assert high == pytest.approx(other.high, abs=0.08 * width)
    # Pairing matters: the paths differ from each other far more than the networks do.
    apart = one.std() * 2 * 1.96 / math.sqrt(len(one))
    assert width < 0.6 * apart


def test_the_interval_of_the_ratio_is_that_of_drawn_paths(sample: tuple[np.ndarray, np.ndarray]) -> None:
    one, two = sample
    rng = np.random.default_rng(11)
    ratios = []
    for _ in range(20_000):
        paths = [int(rng.integers(len(one))) for _ in one]
        ratios.append(sum(two[path] for path in paths) / sum(one[path] for path in paths))
    ratios.sort()
    ends = ratios[500], ratios[-501]
    low, high = pairing.paired(one, two, seed=1)["ratio_interval"]
    width = ends[1] - ends[0]
    assert low == pytest.approx(ends[0], abs=0.08 * width)
    assert high == pytest.approx(ends[1], abs=0.08 * width)
    # The first's mean differs from draw to draw: with that of all paths instead, the interval is another one.
    fixed = [1.0 + end / one.mean() for end in pairing.paired(one, two, seed=1)["interval"]]
    assert fixed[1] - fixed[0] > 1.3 * width


def test_the_interval_of_the_ratio_is_of_the_same_draws_exactly() -> None:
    one, two = np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 8.0])
    rng = np.random.default_rng(7)
    ratios = []
    for _ in range(50):
        paths = rng.integers(0, 3, 3)
        ratios.append(two[paths].sum() / one[paths].sum())
    found = pairing.paired(one, two, seed=7, resamples=50, confidence=0.8)["ratio_interval"]
    assert found == pytest.approx([np.quantile(ratios, 0.1), np.quantile(ratios, 0.9)])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_ratio_to_what_may_be_zero_has_no_interval(sign: float) -> None:
    two = np.array([1.0, 2.0, 3.0])
    assert pairing.paired(sign * np.array([0.0, 0.0, 2.0]), two)["ratio_interval"] is None
    assert pairing.paired(sign * np.array([-1.0, 1.0, 2.0]), two)["ratio_interval"] is None
    assert pairing.paired(sign * np.array([0.1, 1.0, 2.0]), two)["ratio_interval"] is not None
    assert pairing.paired(sign * np.full(3, 1e-308), 1e5 * two)["ratio_interval"] is None
    assert pairing.paired(two, 0.0 * two)["ratio_interval"] == [0.0, 0.0]


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=12))
def test_larger_is_the_share_of_paths_with_ties_as_halves(pairs: list[tuple[float, float]]) -> None:
    one, two = (np.array(column) for column in zip(*pairs, strict=True))
    share = 0.0
    for a, b in pairs:
        same = abs(a - b) <= 1e-9 * max(abs(a), abs(b))
        share += 0.5 if same else float(b > a)
    found = pairing.paired(one, two)
    assert found["larger"] == pytest.approx(share / len(pairs))
    back = pairing.paired(two, one)
    assert back["larger"] == pytest.approx(1.0 - found["larger"])
    assert back["difference"] == pytest.approx(-found["difference"])


def test_rounding_is_no_difference() -> None:
    one = np.array([1.0, 20.0, 300.0])
    found = pairing.paired(one, one * (1 + 1e-13))
    assert found["difference"] == 0.0
    assert found["larger"] == 0.5
    assert found["standardized"] is None
    assert found["interval"] == [0.0, 0.0]
    assert found["ratio_interval"] == pytest.approx([1.0, 1.0], rel=0.0, abs=1e-15)


def test_equal_differences_have_no_standardised_one() -> None:
    one = np.array([0.1, 0.2, 0.7])
    assert pairing.paired(one, one + 0.1)["standardized"] is None


def test_what_does_not_exist_is_none() -> None:
    nothing = pairing.paired(np.array([math.nan, 1.0]), np.array([1.0, math.nan]))
    assert nothing == {
        "count": 0,
        "difference": None,
        "interval": None,
        "standardized": None,
        "larger": None,
        "ratio": None,
        "ratio_interval": None,
    }
    single = pairing.paired(np.array([0.0, math.nan]), np.array([2.0, 5.0]))
    assert (single["count"], single["difference"], single["interval"], single["ratio"]) == (1, 2.0, None, None)
    assert pairing.paired(np.array([1.0]), np.array([2.0]))["ratio_interval"] is None


def test_only_the_same_paths_are_paired() -> None:
    one = {"path": np.array([0, 1]), "regions": np.array([3.0, 4.0])}
    two = {"path": np.array([0, 2]), "regions": np.array([3.0, 4.0])}
    with pytest.raises(ValueError, match="same paths"):
        pairing.pair(one, two, ["regions"])
    assert pairing.pair(one, one, ["regions"])["regions"]["difference"] == 0.0
