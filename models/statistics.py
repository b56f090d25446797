"""What the curves of a sweep say about the paper's two claims, with intervals, as text and as JSON.

The claims are those of M. Gamba, A. Chmielewski-Anders, J. Sullivan, H. Azizpour and M. Björkman, "Are All Linear
Regions Created Equal?" (AISTATS 2022): that the deviation from affine interpolation follows the test error, and that
the density of linear regions keeps growing.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.results import GROUPS, Array, Curve, Results, curves

RESAMPLES = 10_000
THRESHOLD = 0.99  # of the mean train accuracy: the interpolation threshold
GROWTH = 0.8  # what Spearman's correlation of density and x must exceed
SHRINKING_STEPS = 5  # one step down in so many is forgiven before density counts as not growing
_TIE = 1e-12  # relative; sums of the same numbers in another order are ties, not ranks

Interval = tuple[float, float]


@dataclass(frozen=True)
class Coefficient:
    """A correlation of mean curves, with what single seeds say of it.

    ``value``: of the means over seeds. ``interval``: 95 %, from resampling seeds. ``seeds``: of each seed's own curve.
    ``seeds_mean`` and ``seeds_interval``: mean over seeds and its 95 % t-interval, both by way of Fisher's z.
    The intervals are None where they cannot be computed.
    """

    value: float
    interval: Interval | None
    seeds: tuple[float, ...]
    seeds_mean: float | None
    seeds_interval: Interval | None

    @property
    def above(self) -> float:
        """What both intervals lie above; -1 where one of them is unknown."""
        if self.interval is None or self.seeds_interval is None:
            return -1.0
        return min(self.interval[0], self.seeds_interval[0])


@dataclass(frozen=True)
class Correlation:
    """Correlation of two quantities along x, around one group of points.

    ``logarithms``: Pearson's is of the logarithms (Spearman's is the same either way). ``start``: ``all``,
    ``first minimum`` or ``threshold``, the x from which on it is taken; ``x``: the x that entered.
    ``reason``: why there is no coefficient, empty if there is.
    """

    quantity: str
    against: str
    group: str
    start: str
    logarithms: bool
    x: tuple[float, ...]
    pearson: Coefficient | None
    spearman: Coefficient | None
    reason: str


@dataclass(frozen=True)
class Place:
    """An x where a mean curve does something; ``share``: of the resamples of seeds in which it does so there."""

    what: str
    x: float | None
    share: float | None


@dataclass(frozen=True)
class Value:
    """A mean over seeds at one x, with its 95 % t-interval (None with one seed)."""

    quantity: str
    group: str
    x: float
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Judgement:
    """Of a claim, around one group of points.

    ``steps``: of the claim that density grows, how many steps up there are, and how many in all; otherwise None.
    ``reason``: why it cannot be judged, empty if it can.
    """

    group: str
    verdict: str
    steps: tuple[int, int] | None
    reason: str


@dataclass(frozen=True)
class Claim:
    """``verdict``: supported, supported in part, not supported or cannot be judged.

    ``quantity`` and ``start``: of the correlations that it rests on.
    """

    claim: str
    verdict: str
    quantity: str
    start: str
    groups: tuple[Judgement, ...]


@dataclass(frozen=True)
class FamilyStatistics:
    """What the numbers of one curve say; ``notes``: what was left out and what to keep in mind."""

    family: str
    x_column: str
    x: tuple[float, ...]
    seeds: tuple[int, ...]
    threshold: Place
    first_minimum: Place
    peak: Place
    rise: Value | None
    deviation_peaks: tuple[Place, ...]
    values: tuple[Value, ...]
    correlations: tuple[Correlation, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]

    def correlation(self, quantity: str, group: str, start: str) -> Correlation:
        """The one of these names; KeyError if there is none."""
        for each in self.correlations:
            if (each.quantity, each.group, each.start) == (quantity, group, start):
                return each
        raise KeyError((quantity, group, start))


@dataclass(frozen=True)
class Statistics:
    """The statistics of each family."""

    families: tuple[FamilyStatistics, ...]

    def text(self) -> str:
        """Plain text of at most 100 columns, as far as names and numbers allow: verdicts, places, means, caveats."""
        several = any(len(family.seeds) > 1 for family in self.families)
        parts = [_text(family) for family in self.families]
        return "\n\n".join([*parts, _CAVEATS] if several else parts) + "\n"

    def details(self) -> str:
        """Plain text: every correlation, and the means that ``text`` leaves out."""
        return "\n\n".join(_details(family) for family in self.families) + "\n"

    def json(self) -> str:
        """Everything, as JSON; null where something cannot be computed."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def compute(results: Results, *, x: str | None = None, family: str | None = None) -> Statistics:
    """What the numbers say about the paper's two claims, per family; ``x`` and ``family`` as for ``curves``.

    **The range.** The *first minimum* of the mean test error is where its largest rise along x begins and the *peak*
    where that rise ends (largest: over all pairs of an earlier and a later x). With one dip and one peak those are the
    first local minimum and the peak after it, and a wiggle smaller than the rise does not move them. The
    *interpolation threshold* is the first x with a mean train accuracy of at least 0.99. All are chosen from the
    data; how often a resample of the seeds chooses the same x is given as a share. Correlations keep the x that the
    data chose.

    **Intervals.** A seed is an independent repetition of the whole curve (its own noise, weights and order), so whole
    seeds are resampled, with replacement, 10,000 times; the resample's curves are averaged and correlated over x.
    Percentiles of those are known to be too narrow with few seeds, so they are taken farther out, as T. Hesterberg
    ("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015) expands them: at the level
    of the normal distribution that the t-distribution's quantile times sqrt(n / (n - 1)) has. With five seeds that
    is 0.1 % on either side in place of 2.5 %, yet simulated data still had its true Pearson correlation inside in
    about 82 % of the cases only (75 % without expanding; with three seeds 60 % either way; see the tests). An interval
    that misses lies below the truth nearly always, since noise weakens a correlation, so it errs towards no support.

    Hence the second interval: each seed's own curve has a correlation, and the mean of these gets a t-interval by way
    of Fisher's z. It shares no resampling with the first, but is of another quantity, the correlation that one more
    seed's curve would have, which noise weakens more. (A Spearman correlation of 1 counts as half a step of ranks
    less, so that its z is finite.) A claim needs both. They tell how well the experiment repeats with other seeds at
    the same x and around the same points, not what other values of x or other images would give: a sweep draws its
    points by one seed, so that test points are the same for all its networks, and clean ones nearly so.

    **Claim 1, deviation follows the test error**: supported around a group of points if Pearson's and Spearman's
    correlation of absolute deviation with test error, from the first minimum on, have both intervals above 0.

    **Claim 2, density keeps growing**: supported around a group of points if, from the interpolation threshold on, the
    mean density grows from each x to the next in all but at most one in five steps (rounded down), and Spearman's
    correlation of density with x has both intervals above 0.8.

    Either needs three x or more in its range (the second four: with three, a half step below 1 is 0.75) and two seeds
    or more that have all of these. A claim is supported if it
    is around every group that was measured, and in part if it is around some.

    Raises:
        ValueError: as ``curves`` does.
    """
    return Statistics(tuple(_statistics(curve) for curve in curves(results, x=x, family=family)))


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Means over seeds and half widths of their 95 % t-intervals, both (n,), of values (s, n) with NaN for unknown.

    The half width is NaN where there is but one value, both are NaN where there is none.
    """
    known = np.isfinite(values)
    count = known.sum(0)
    mean = np.full(values.shape[1], np.nan)
    half = np.full(values.shape[1], np.nan)
    np.divide(np.where(known, values, 0).sum(0), count, out=mean, where=count > 0)
    squares = np.where(known, (values - mean) ** 2, 0).sum(0)
    several = count > 1
    left = count[several] - 1
    half[several] = stats.t.ppf(0.975, left) * np.sqrt(squares[several] / left / count[several])
    return mean, half


def _statistics(curve: Curve) -> FamilyStatistics:
    x, values = curve.x, curve.values
    notes: list[str] = []
    if curve.last_checkpoints:
        notes.append("each network counts with its last checkpoint")
    if len(curve.seeds) < 2:
        notes.append("one seed: no interval can be computed")
    error = values["test_error"]
    train, error_mean = mean_interval(values["train_accuracy"])[0], mean_interval(error)[0]
    threshold = first_interpolating(train[None])[0]
    low, high = (int(ends[0]) for ends in _rise(error_mean[None]))
    from_rise = f"at or after {curve.x_column} {x[low]:g}" if low >= 0 else ""
    means, times = _resampled(error)
    lows, highs = _rise(means)
    train_means, train_times = _resampled(values["train_accuracy"])
    incomplete = [str(seed) for seed, line in zip(curve.seeds, error, strict=True) if np.isnan(line).any()]
    if incomplete:
        notes.append(
            f"incomplete seeds, left out of what needs an x that they lack, except means: {', '.join(incomplete)}"
        )

    starts = {"all": 0, "first minimum": low, "threshold": threshold}
    correlations = []
    for quantity, against, logarithms in (
        ("absolute_deviation", "test_error", False),
        ("mean_deviation", "test_error", False),
        ("density", curve.x_column, True),
    ):
        other = np.broadcast_to(x, error.shape) if logarithms else error
        for group in curve.groups(quantity):
            for start, first in starts.items():
                if start == "threshold" and not logarithms:
                    continue
                correlations.append(
                    _correlation(
                        (quantity, against, group, start),
                        x,
                        values[f"{quantity}_{group}"],
                        other,
                        first,
                        logarithms,
                    )
                )

    deviation_peaks = []
    for group in curve.groups("absolute_deviation"):
        deviation = values[f"absolute_deviation_{group}"]
        deviation_means, deviation_times = _resampled(deviation)
        deviation_peaks.append(
            _place(
                f"peak of the absolute deviation around {_COLUMN[group]} points",
                x,
                _peak(mean_interval(deviation)[0][None])[0],
                _peak(deviation_means),
                deviation_times,
            )
        )
    return FamilyStatistics(
        curve.family,
        curve.x_column,
        tuple(x.tolist()),
        tuple(curve.seeds.tolist()),
        _place(
            f"interpolation threshold (mean train accuracy of {THRESHOLD:g} or more)",
            x,
            threshold,
            first_interpolating(train_means),
            train_times,
        ),
        _place("first minimum of the test error", x, low, lows, times),
        _place(f"peak of the test error {from_rise}".strip(), x, high, highs, times),
        _value("rise of test_error", "", x[high], error[:, high] - error[:, low]) if low >= 0 else None,
        tuple(deviation_peaks),
        tuple(_values(curve)),
        tuple(correlations),
        (_follows(correlations), _grows(curve, correlations, threshold)),
        tuple(notes),
    )


@cache
def _draws(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each of ``count`` seeds is in a resample, (m, count), for m distinct ones, and how often each came."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    distinct, times = np.unique(drawn, axis=0, return_counts=True)  # five seeds have 126: the rest is repetition
    return distinct, times


def _resampled(values: Array) -> tuple[Array, NDArray[np.int64]]:
    """Mean curves (m, n) of resampled seeds, from values (s, n), and how often each came; m is 0 without two seeds.

    Only seeds that know all n are drawn from. The draws are the same for every quantity of as many seeds, so pairs of
    quantities stay pairs.
    """
    complete = values[np.isfinite(values).all(1)]
    count = len(complete)
    if count < 2:
        return np.empty((0, values.shape[1])), np.empty(0, np.int64)
    distinct, times = _draws(count)
    return distinct @ complete / count, times


def first_interpolating(accuracy: Array) -> NDArray[np.int64]:
    """First column that reaches ``THRESHOLD``, int64 (m,), of mean train accuracies (m, n); -1 where none does."""
    reached = accuracy >= THRESHOLD - _TIE
    first: NDArray[np.int64] = np.where(reached.any(1), reached.argmax(1), -1)
    return first


def _rise(error: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the largest rise begins and ends, per row; -1 where nothing rises."""
    known = np.where(np.isnan(error), np.inf, error)
    lowest = np.minimum.accumulate(known, axis=1)
    rises = np.where(np.isfinite(known), known, 0) - np.where(np.isfinite(lowest), lowest, np.inf)
    high = rises.argmax(1)
    before = np.arange(error.shape[1]) <= high[:, None]
    low = np.where(before, known, np.inf).argmin(1)
    risen = rises.max(1) > _TIE
    return np.where(risen, low, -1), np.where(risen, high, -1)


def _peak(values: Array) -> NDArray[np.int64]:
    highest: NDArray[np.int64] = np.where(np.isnan(values), -np.inf, values).argmax(1)
    return highest


def _place(what: str, x: Array, index: np.int64 | int, resampled: NDArray[np.int64], times: NDArray[np.int64]) -> Place:
    """``resampled``: the index that each resample of ``_resampled`` chose."""
    return Place(
        what,
        float(x[index]) if index >= 0 else None,
        float(times[resampled == index].sum() / times.sum()) if len(times) else None,
    )


def _value(quantity: str, group: str, x: np.float64, values: Array) -> Value | None:
    [mean], [half] = mean_interval(values[:, None])
    if math.isnan(mean):
        return None
    interval = None if math.isnan(half) else (float(mean - half), float(mean + half))
    return Value(quantity, group, float(x), float(mean), interval)


def _values(curve: Curve) -> list[Value]:
    named = [("train_error", "", "train_error"), ("test_error", "", "test_error")]
    for quantity in ("density", "absolute_deviation", "mean_deviation", "local_similarity"):
        named += [(quantity, group, f"{quantity}_{group}") for group in curve.groups(quantity)]
    found = [
        _value(quantity, group, x, curve.values[name][:, i])
        for quantity, group, name in named
        for i, x in enumerate(curve.x)
    ]
    return [value for value in found if value is not None]


def _correlation(
    name: tuple[str, str, str, str], x: Array, first: Array, second: Array, begin: int, logarithms: bool
) -> Correlation:
    """Of two (s, n), at the x from index ``begin`` on that have both, over the seeds that have all of these."""

    def impossible(reason: str, used: Array = x[:0]) -> Correlation:
        return Correlation(*name, logarithms, tuple(used.tolist()), None, None, reason)

    if begin < 0:
        return impossible("the mean test error never rises" if name[3] == "first minimum" else "never reached")
    known = np.isfinite(first) & np.isfinite(second)
    columns = known.any(0) & (np.arange(len(x)) >= begin)
    if logarithms:  # leaving out the seed in place of the x would leave out low densities only
        columns &= ~((first <= 0) | (second <= 0)).any(0)
    used = x[columns]
    if len(used) < 3:
        return impossible(f"{len(used)} x in the range, fewer than 3", used)
    lines = known[:, columns].all(1)
    if not lines.any():
        return impossible("no seed has all x of the range", used)
    a, b = first[np.ix_(lines, columns)], second[np.ix_(lines, columns)]
    (resampled_a, times), (resampled_b, _) = _resampled(a), _resampled(b)
    pairs = [(a.mean(0)[None], b.mean(0)[None]), (resampled_a, resampled_b), (a, b)]
    ranks = [(_ranks(one), _ranks(other)) for one, other in pairs]
    if logarithms:
        pairs = [(np.log(one), np.log(other)) for one, other in pairs]
    pearson, spearman = _coefficient(pairs, times, _TIE), _coefficient(ranks, times, _half_step(len(used)))
    if pearson is None or spearman is None:
        return impossible("a curve is constant", used)
    return Correlation(*name, logarithms, tuple(used.tolist()), pearson, spearman, "")


def _coefficient(pairs: Sequence[tuple[Array, Array]], times: NDArray[np.int64], closest: float) -> Coefficient | None:
    """From the pairs of the means, of the resamples and of the single seeds; None if a mean is constant.

    ``times``: how often each resample came. ``closest``: how near to 1 the correlation of a single seed counts at most.
    """
    [value], resampled, seeds = (_pearson(one, other) for one, other in pairs)
    if math.isnan(value):
        return None
    interval = mean = seeds_interval = None
    count = len(seeds)
    if count > 1:
        left = count - 1
        tail = stats.norm.cdf(-math.sqrt(count / left) * stats.t.ppf(0.975, left))
        if not np.isnan(resampled).any():
            low, high = np.quantile(np.repeat(resampled, times), [tail, 1 - tail])
            interval = (float(low), float(high))
        if not np.isnan(seeds).any():
            z = np.arctanh(np.clip(seeds, closest - 1, 1 - closest))
            [centre], [half] = mean_interval(z[:, None])
            mean = float(np.tanh(centre))
            seeds_interval = (float(np.tanh(centre - half)), float(np.tanh(centre + half)))
    each = tuple(float(seed) for seed in seeds if not math.isnan(seed))
    return Coefficient(float(value), interval, each, mean, seeds_interval)


def _half_step(count: int) -> float:
    """Half the distance between two neighbouring values that Spearman's correlation of ``count`` pairs can have."""
    return 6 / (count**3 - count)


def _ranks(values: Array) -> Array:
    largest = np.abs(values).max(1, keepdims=True, initial=0)
    scaled = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    ranks: Array = stats.rankdata(np.round(scaled, 12), axis=1)
    return ranks


def _pearson(first: Array, second: Array) -> Array:
    """Per row, (m,) from (m, n); NaN where a row is constant."""
    sums = []
    centred = []
    for values in (first, second):
        deviations = values - values.mean(1, keepdims=True)
        deviations[np.ptp(values, axis=1) <= _TIE * np.abs(values).max(1, initial=0)] = np.nan
        centred.append(deviations)
        sums.append((deviations**2).sum(1))
    products: Array = (centred[0] * centred[1]).sum(1) / np.sqrt(sums[0] * sums[1])
    return np.clip(products, -1, 1)


def _follows(correlations: Sequence[Correlation]) -> Claim:
    def judge(each: Correlation) -> Judgement:
        if each.pearson is None or each.spearman is None:
            return Judgement(each.group, "cannot be judged", None, each.reason)
        return _judgement(each.group, (each.pearson, each.spearman), 0.0)

    return _claim(
        "absolute deviation follows the test error", "absolute_deviation", "first minimum", correlations, judge
    )


def _grows(curve: Curve, correlations: Sequence[Correlation], threshold: int) -> Claim:
    def judge(each: Correlation) -> Judgement:
        if each.spearman is None:
            reason = "the interpolation threshold is never reached" if threshold < 0 else each.reason
            return Judgement(each.group, "cannot be judged", None, reason)
        if 1 - _half_step(len(each.x)) <= GROWTH:
            reason = f"{len(each.x)} x in the range, too few for a Spearman correlation above {GROWTH}"
            return Judgement(each.group, "cannot be judged", None, reason)
        density = curve.values[f"density_{each.group}"][:, np.isin(curve.x, each.x)]
        steps = np.diff(density[np.isfinite(density).all(1)].mean(0))
        grown = int((steps > 0).sum())
        shrinks = len(steps) - grown > len(steps) // SHRINKING_STEPS
        if shrinks:
            return Judgement(each.group, "not supported", (grown, len(steps)), "")
        return _judgement(each.group, (each.spearman,), GROWTH, (grown, len(steps)))

    return _claim("density of regions keeps growing", "density", "threshold", correlations, judge)


def _judgement(
    group: str, coefficients: Sequence[Coefficient], bound: float, steps: tuple[int, int] | None = None
) -> Judgement:
    """Whether all intervals lie above the bound."""
    if any(each.interval is None or each.seeds_interval is None for each in coefficients):
        reason = "no interval: one seed, or a constant curve"
        return Judgement(group, "cannot be judged", steps, reason)
    supported = all(each.above > bound for each in coefficients)
    return Judgement(group, "supported" if supported else "not supported", steps, "")


def _claim(
    claim: str,
    quantity: str,
    start: str,
    correlations: Sequence[Correlation],
    judge: Callable[[Correlation], Judgement],
) -> Claim:
    """Of the judgements of the correlations of a quantity from some x on."""
    judged = tuple(judge(each) for each in correlations if (each.quantity, each.start) == (quantity, start))
    verdicts = {each.verdict for each in judged}
    if verdicts == {"supported"}:
        verdict = "supported"
    elif "supported" in verdicts:
        verdict = "supported in part"
    elif "not supported" in verdicts:
        verdict = "not supported"
    else:
        verdict = "cannot be judged"
    return Claim(claim, verdict, quantity, start, judged)


# --- text -----------------------------------------------------------------------------------------------------

_WIDTH = 100  # of the text, in columns

_CAVEATS = textwrap.fill(
    "Clean and corrupted are training points with a true and a wrong label. Correlations are of means over seeds; "
    "in brackets 95 % intervals, first theirs, from resampled seeds (too narrow with few), then of single seeds' own "
    "correlations (a t-interval; a Spearman correlation of 1 counts as a little less). A claim needs both; they tell "
    "how it repeats with other seeds, not at other x nor around other images. "
    "± is half of a 95 % t-interval. Threshold, minimum and peaks are chosen from the data, so the rise is biased "
    "upwards.",
    _WIDTH,
)

_EXPLAINED = textwrap.fill(
    "x from: the first x, and how many. Of means: of means over seeds, and the interval from resampled seeds, at "
    "expanded percentiles. Mean of seeds': of each seed's own correlation, and its t-interval, both by way of "
    "Fisher's z, where a Spearman correlation of 1 counts as half a step of ranks less, so that the mean can lie "
    "outside of the range.",
    _WIDTH,
)

_SHARES = ("train_error", "test_error")
_COLUMN = {
    "train_error": "train",
    "test_error": "test",
    "train_clean": "clean",
    "train_corrupted": "corrupted",
    "test": "test",
}
_MAIN = (
    ("error in %", [(name, "") for name in _SHARES]),
    ("density around", [("density", group) for group in GROUPS]),
    ("absolute deviation around", [("absolute_deviation", group) for group in GROUPS]),
)
_MORE_QUANTITIES = ("mean_deviation", "local_similarity")
_MORE = tuple((f"{name.replace('_', ' ')} around", [(name, group) for group in GROUPS]) for name in _MORE_QUANTITIES)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _between(interval: Interval) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _shown(coefficient: Coefficient | None) -> str:
    """The correlation of the means and both intervals."""
    if coefficient is None:
        return ""
    intervals = (coefficient.interval, coefficient.seeds_interval)
    return f"{coefficient.value:.2f}" + "".join(f" [{each[0]:.2f}, {each[1]:.2f}]" for each in intervals if each)


def _estimate(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if interval is None else f"{value:.2f} ({_between(interval)})"


def _decimals(value: float, digits: int) -> int:
    """How many decimals a value has that is written with so many digits."""
    return max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0


def _plus_minus(value: Value | None) -> str:
    """A mean with three digits, or two of its half interval, whichever is less, but no less than one of that.

    Shares are in %, with one decimal at most.
    """
    if value is None:
        return ""
    scale = 100 if value.quantity in _SHARES else 1
    average = scale * value.mean
    half = scale * (value.interval[1] - value.mean) if value.interval else None
    if half is not None and half <= _TIE * abs(average):
        half = 0.0  # the same everywhere, but for rounding
    decimals = _decimals(average, 3)
    if half:
        decimals = max(min(decimals, _decimals(half, 2)), _decimals(half, 1)) if average else _decimals(half, 2)
    if value.quantity in _SHARES:
        decimals = min(decimals, 1)
    if decimals > 6:
        return f"{average:.3g}" if half is None else f"{average:.3g}±{half:.2g}"
    mean = f"{average:.{decimals}f}"
    if half is None:
        return mean
    return f"{mean}±{half:.{decimals}f}" if half else f"{mean}±0"


def _text(family: FamilyStatistics) -> str:
    column = family.x_column
    ends = " to ".join(dict.fromkeys(f"{end:.0f}" for end in (family.x[0], family.x[-1])))
    count = len(family.seeds)
    lines = [f"{family.family}: {column} {ends} ({len(family.x)} x), {count} seed{'s' * (count != 1)}"]
    for claim in family.claims:
        lines += ["", *_claim_lines(family, claim)]
    lines += ["", *_place_lines(family), "", *_means(family, _MAIN)]
    lines += [textwrap.fill(f"{note[0].upper()}{note[1:]}.", _WIDTH) for note in family.notes]
    return "\n".join(lines)


def _claim_lines(family: FamilyStatistics, claim: Claim) -> list[str]:
    lines = [f"{claim.verdict.upper()}: {claim.claim}{_since(family, claim.start)}"]
    if not claim.groups:
        return [*lines, "  nothing was measured"]
    grows = claim.quantity == "density"
    names = [("around", ""), *((_COLUMN[judged.group], judged.verdict) for judged in claim.groups)]
    rows = [["steps up" if grows else "Pearson", "Spearman", ""]]
    for judged in claim.groups:
        correlation = family.correlation(claim.quantity, judged.group, claim.start)
        steps = f"{judged.steps[0]} of {judged.steps[1]}" if judged.steps else ""
        first = steps if grows else _shown(correlation.pearson)
        # A claim that cannot be judged for want of x says so in place of coefficients of too few.
        rows.append([first, _shown(correlation.spearman), judged.reason] if first else [])
    measured = [row for row in rows if row]
    if len(measured) == 1:
        names, rows = names[1:], rows[1:]
    table = iter(_table(measured))
    reasons = ["", *(judged.reason for judged in claim.groups)][-len(rows) :]
    shown = [next(table) if row else reason for row, reason in zip(rows, reasons, strict=True)]
    beginnings = [max(len(name[i]) for name in names) for i in range(2)]
    for name, end in zip(names, shown, strict=True):
        lines.append(f"  {name[0]:{beginnings[0]}}  {name[1]:{beginnings[1]}}  {end}".rstrip())
    return lines


def _since(family: FamilyStatistics, start: str) -> str:
    """The range of a claim in words; nothing if there is none, which is then the reason that is given."""
    place = family.threshold if start == "threshold" else family.first_minimum
    if place.x is None:
        return ""
    left = sum(x >= place.x for x in family.x)
    return f", from {family.x_column} {place.x:.0f} on ({left} x)"


def _place_lines(family: FamilyStatistics) -> list[str]:
    rows = [["", family.x_column, "same in resamples"]]
    for place in (family.threshold, family.first_minimum, family.peak, *family.deviation_peaks):
        share = "" if place.share is None else f"{100 * place.share:.0f} %"
        rows.append([place.what, "none" if place.x is None else f"{place.x:.0f}", share])
    if len(family.seeds) < 2:
        rows = [row[:2] for row in rows]
    lines = _table(rows)
    if family.rise is not None:
        low, high = family.rise.interval or (None, None)
        ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        rise = f"{100 * family.rise.mean:.1f}{ends} percentage points"
        lines.append(f"rise of the test error from that minimum to that peak: {rise}")
    return lines


def _means(family: FamilyStatistics, blocks: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> list[str]:
    """A table of means, a row per x; ``blocks``: a heading over columns, each of a quantity and a group."""
    found = {(value.quantity, value.group, value.x): value for value in family.values}
    parts = [["", *_table([[family.x_column], *([f"{x:.0f}"] for x in family.x)])]]
    for heading, names in blocks:
        columns = []
        for quantity, group in names:
            cells = [_plus_minus(found.get((quantity, group, x))) for x in family.x]
            if any(cells):
                columns.append([_COLUMN[group or quantity], *cells])
        if columns:
            parts.append([heading, *_table(list(zip(*columns, strict=True)))])
    widths = [max(map(len, part)) for part in parts]
    padded = ([line.ljust(width) for line in part] for part, width in zip(parts, widths, strict=True))
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _details(family: FamilyStatistics) -> str:
    rows = [["around", "x from", "", "of means [95 %]", "mean of seeds' [95 %]", "seeds' range"]]
    headings: dict[int, str] = {}
    impossible = []
    seen = set()
    for each in family.correlations:
        name = f"{_words(each.quantity)}, {_words(each.against)}"
        if each.pearson is None or each.spearman is None:
            impossible.append(f"{name}, around {_COLUMN[each.group]} points, from {each.start} on: {each.reason}")
            continue
        # Ranges that begin with different things are often the same x.
        if (each.quantity, each.group, each.x) in seen:
            continue
        seen.add((each.quantity, each.group, each.x))
        heading = f"{name}{' (Pearson: of logarithms)' if each.logarithms else ''}"
        if heading not in headings.values():
            headings[len(rows)] = heading
        for kind, coefficient in (("Pearson", each.pearson), ("Spearman", each.spearman)):
            rows.append(
                [
                    _COLUMN[each.group],
                    f"{each.x[0]:.0f} ({len(each.x)})",
                    kind,
                    _estimate(coefficient.value, coefficient.interval),
                    _estimate(coefficient.seeds_mean, coefficient.seeds_interval),
                    _between((min(coefficient.seeds), max(coefficient.seeds))) if coefficient.seeds else "",
                ]
            )
    parts = [_means(family, _MORE)] if any(value.quantity in _MORE_QUANTITIES for value in family.values) else []
    if headings:
        table = ["Correlations"]
        for number, line in enumerate(_table(rows)):
            table += [*([headings[number]] if number in headings else []), f"  {line}"]
        parts.append([*table, _EXPLAINED])
    if impossible:
        parts.append(["Cannot be computed:", *(f"  {line}" for line in impossible)])
    return "\n\n".join([f"{family.family}: details", *("\n".join(part) for part in parts)])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
