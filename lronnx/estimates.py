"""Unbiased estimates of a segment's figures from exact walks of randomly chosen parts of it.

For networks that are too large to walk a segment whole. Whatever is walked is walked exactly; what lies between is
inferred, and every figure says how well. The design is stratified simple random sampling (W. G. Cochran, *Sampling
Techniques*, 3rd ed., Wiley 1977, chapters 5 and 5A):

- t in [0, 1] is cut into N equal strata and each of them into M equal cells; n cells of each stratum are drawn
  without replacement and walked. All figures here are sums over cells, so ``M/n`` times the sum over the chosen cells
  is an unbiased estimate, whatever the network. Chosen cells that touch are walked as one piece.
- All inner borders of cells are moved by one random shift of up to 1/20 of a cell, so that a breakpoint at a special
  place, such as t = 1/2, lies on a border with probability 0. Turning the whole grid around a circle would do as well,
  but one stratum then holds both ends of the segment, which are nothing alike: intervals of the total variation were a
  fifth wider.
- The variance is estimated from *overlapping pairs of strata* (collapsed strata, Cochran section 5A.12): each stratum
  together with its left neighbour, each with its right one, and the mean of the two. Its expectation is the true
  variance plus a share of the squared differences between neighbouring strata, so it errs upwards. The two cells of a
  single stratum know less: where the slope changes once inside it, they are alike in half of all draws. For total
  variation at 2 %, intervals from single strata held the truth in 92 % of all draws (51 % for the worst network) and
  were 0.18 of the value to either side; those from pairs 99 % (94 %) and 0.11.
- Intervals are those of Student's t for 95 %, with Satterthwaite's degrees of freedom (Cochran section 5.4), widened
  where so little was seen that t knows too little:

  * regions: also the limits for a number of breakpoints each of which is seen with probability n/M, independently of
    the others (Clopper and Pearson's construction, by the negative binomial distribution). If none was seen at
    2 %, up to 182 are possible.
  * slope variation: also up to what is certain plus the largest possible number of unseen bends, each as large as
    those seen are on average (if none was seen: as the largest slope).
  * total variation and absolute deviation: also by what so many unseen bends make of them if their directions are
    random (a random walk of the slope, tied at both ends of every gap between pieces).

``at_least`` is certain: what was seen and, for the variations, the differences across the gaps. It can exceed an
unbiased estimate; the truth is never below it.

Estimates per output make no estimate of their Euclidean norm: the norm of an unbiased vector is biased upwards, so
there is none here.

Measured on 14 segments of real networks (2 to 5714 regions, half of them fewer than 160) with N = 16, 1000 draws each:
how often the interval held the truth, per figure, as the mean over the networks and the worst of them, and its half
width relative to the truth, as the median over the networks.

=========  ==================  ==================  ==================  ==================
fraction   regions             total variation     slope variation     absolute deviation
=========  ==================  ==================  ==================  ==================
0.02       0.99 (0.96) +-1.46  0.99 (0.94) +-0.14  0.90 (0.55) +-3.90  1.00 (1.00) +-0.12
0.05       0.98 (0.95) +-0.89  0.99 (0.94) +-0.06  0.94 (0.68) +-1.50  1.00 (1.00) +-0.09
0.1        0.98 (0.96) +-0.60  0.99 (0.94) +-0.05  0.96 (0.71) +-1.20  1.00 (1.00) +-0.08
0.2        0.97 (0.96) +-0.39  0.99 (0.94) +-0.05  0.97 (0.67) +-0.88  1.00 (1.00) +-0.07
0.5        0.97 (0.94) +-0.19  1.00 (0.97) +-0.04  0.99 (0.90) +-0.52  1.00 (1.00) +-0.06
=========  ==================  ==================  ==================  ==================

How well regions are known depends on how many breakpoints were seen: of the 5714 regions of a VGG8, 2 % give +-0.20,
10 % give +-0.09. **Slope variation does not keep its 95 %** for small fractions: few large bends make up most of it,
and those of a narrow spike leave no trace in the slopes around it (worst: an ACAS Xu network). Nothing bounds what
such a spike may hide, and no interval from a part of a segment can hold for every network.

N = 8, 16, 32 strata: the root mean square error of the total variation was 0.030, 0.018, 0.008 (medians at 5 %), that
of the number of regions 0.36, 0.35, 0.38; with 8 strata the intervals for clustered breakpoints held in 86 % only.
Every piece costs a start, and there are up to 2 N of them: of a VGG8 in double precision 22 forward passes and 25 ms,
as much as some 150 regions of a long sweep. With N = 16, a segment of fewer than about 5000 regions is walked whole in
less time than it is estimated.

A walk's breakpoints closer than 1e-12 are one, in t of the piece; so a piece may tell apart what the walk of the whole
segment does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lronnx import metrics
from lronnx.errors import InputError
from lronnx.regions import SelfCheck, Walk

Floats = NDArray[np.float64]

STRATA = 16
"""Default number of strata: 32 pieces of a segment are walked for small fractions."""

CONFIDENCE = 0.95
"""Nominal probability that an interval holds the true figure."""

SMALLEST_FRACTION = 1e-6

_SHIFT = 0.05
"""Largest shift of the borders, in cells."""

_MOST_CHOSEN = 20
"""Most cells of one stratum, when a fraction is turned into whole numbers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a segment is sampled: ``chosen`` of the ``cells`` of each of the ``strata`` are walked.

    At least two cells of each stratum have to be chosen, for nothing could be said about the error otherwise;
    or all of them: then the whole segment is walked in one piece, and the figures are exact. Raises InputError.
    """

    strata: int
    cells: int
    chosen: int

    def __post_init__(self) -> None:
        if self.strata < 1 or self.cells < 1:
            raise InputError(f"a plan needs at least one stratum and one cell, not {self.strata} and {self.cells}")
        if not 1 <= self.chosen <= self.cells:
            raise InputError(f"a plan cannot choose {self.chosen} of {self.cells} cells of a stratum")
        if self.chosen < 2 and not self.exact:
            raise InputError("a plan chooses at least two cells of each stratum: one says nothing about the error")

    @property
    def fraction(self) -> float:
        """The probability with which any place of the segment is walked."""
        return self.chosen / self.cells

    @property
    def exact(self) -> bool:
        """Whether all is walked."""
        return self.chosen == self.cells

    @classmethod
    def for_fraction(cls, fraction: float, strata: int = STRATA) -> Plan:
        """The plan with the fewest pieces that walks ``fraction`` of a segment to within 0.5 % of that, or the nearest.

        ``fraction``: from 1e-6 to 1. :attr:`fraction` of the result tells what it is exactly. Raises InputError.

        >>> Plan.for_fraction(0.02), Plan.for_fraction(0.3, strata=8)
        (Plan(strata=16, cells=100, chosen=2), Plan(strata=8, cells=10, chosen=3))
        """
        if not SMALLEST_FRACTION <= fraction <= 1.0:
            raise InputError(
                f"--estimate {fraction} is not possible: give the fraction of a segment that is to be walked, "
                f"from {SMALLEST_FRACTION:g} to 1"
            )
        if fraction == 1.0:
            return cls(strata, 1, 1)
        nearest, distance = cls(strata, 1, 1), 1.0 - fraction
        for chosen in range(2, _MOST_CHOSEN + 1):
            for cells in (math.floor(chosen / fraction), math.ceil(chosen / fraction)):
                plan = cls(strata, max(cells, chosen), chosen)
                if abs(plan.fraction - fraction) < distance:
                    nearest, distance = plan, abs(plan.fraction - fraction)
            if distance <= 0.005 * fraction:
                break
        return nearest


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimate of one figure: floats, or arrays (m,) for a figure per output.

    ``value``: unbiased. ``standard_error``: estimated, and rather too large than too small; 0 if all was walked.
    ``degrees_of_freedom`` of the standard error. ``low``, ``high``: the 95 % confidence interval; it holds ``value``
    and does not go below what was seen. ``at_least``: a certain lower bound of the true figure.
    """

    value: float | Floats
    standard_error: float | Floats
    degrees_of_freedom: float | Floats
    low: float | Floats
    high: float | Floats
    at_least: float | Floats


@dataclass(frozen=True, eq=False)
class Gaps:
    """What was not walked, for the intervals: see the module's text.

    ``cubes``: sum of the cubes of the gaps' widths in t, over all segments. ``reach``: the greatest of the gaps'
    Euclidean lengths. ``steepest``: (m,) largest absolute slope that was seen, per t of its segment.
    """

    cubes: float
    reach: float
    steepest: Floats


@dataclass(frozen=True, eq=False)
class SegmentEstimate:
    """Estimated figures of a segment, or of several together (:func:`combine`); m outputs.

    ``regions``, and ``density`` in regions per unit of ``length`` (Euclidean): floats. ``total_variation``,
    ``slope_variation`` and ``absolute_deviation``: arrays (m,), each as the function of that name in
    :mod:`lronnx.metrics` defines it for the whole segment; the affine baseline of the deviation joins the outputs
    at the ends of the segment. There is no norm over the outputs: that of an estimate is biased upwards.

    ``breakpoints_seen``: inside what was walked. ``fraction``: that of ``plan``. ``pieces`` were walked, with
    ``forward_passes`` evaluations of a single input in total. ``self_check``: ok exactly if every piece's is.
    """

    regions: Estimate
    density: Estimate
    total_variation: Estimate
    slope_variation: Estimate
    absolute_deviation: Estimate
    breakpoints_seen: int
    fraction: float
    length: float
    self_check: SelfCheck
    forward_passes: int
    plan: Plan
    pieces: int
    segments: int
    gaps: Gaps

    @property
    def exact(self) -> bool:
        """Whether all was walked: every figure then is exact and its interval a point."""
        return self.plan.exact


def estimate_segment(
    walk_piece: Callable[[float, float], Walk],
    start_value: Floats,
    end_value: Floats,
    length: float,
    plan: Plan,
    rng: np.random.Generator,
) -> SegmentEstimate:
    """Walk randomly chosen pieces of a segment exactly, and estimate the figures of the whole.

    ``walk_piece(a, b)``: the complete walk from ``t = a`` to ``t = b > a`` of the segment, with its own t from 0 to 1;
    called once per piece, in order. What it raises is passed on. ``start_value``, ``end_value``: (m,) outputs at the
    segment's ends. ``length``: the segment's Euclidean length. ``rng`` is drawn from before the first piece only: the
    same state and plan choose the same pieces.

    Raises InputError if the values do not fit each other or the walks, if the length is not positive, and if a
    walk is partial: an estimate needs all of its pieces.
    """
    start_value, end_value = (np.asarray(value, dtype=np.float64) for value in (start_value, end_value))
    if start_value.ndim != 1 or start_value.shape != end_value.shape:
        raise InputError(
            f"the outputs at the ends of a segment have shapes {start_value.shape} and {end_value.shape}: "
            "both have to be (m,), one number per output"
        )
    if not (math.isfinite(length) and length > 0.0):
        raise InputError(f"the length of a segment is {length}: it has to be positive")
    shift, chosen = _draw(plan, rng)
    return _estimate(walk_piece, start_value, end_value, length, plan, shift, chosen)


def of_a_point(outputs: int, plan: Plan) -> SegmentEstimate:
    """A segment whose two ends are the same point: nothing is there, and that is certain. Its density is nan."""

    def certain(value: float | Floats) -> Estimate:
        nothing = 0.0 * value
        return Estimate(value, nothing, math.inf, value, value, value)

    none = np.zeros(outputs)
    return SegmentEstimate(
        regions=certain(0.0),
        density=certain(math.nan),
        total_variation=certain(none),
        slope_variation=certain(none),
        absolute_deviation=certain(none),
        breakpoints_seen=0,
        fraction=plan.fraction,
        length=0.0,
        self_check=SelfCheck.total([]),
        forward_passes=0,
        plan=plan,
        pieces=0,
        segments=1,
        gaps=Gaps(0.0, 0.0, none),
    )


def combine(estimates: Iterable[SegmentEstimate]) -> SegmentEstimate:
    """The estimate for several segments together, such as those of a path: figures, variances and lengths add up.

    The draws have to be independent of each other. The density is that of the whole, all regions per whole length.
    Raises InputError if there is none, if they were made with different plans, or for different numbers of outputs.
    """
    parts = tuple(estimates)
    if not parts:
        raise InputError("there is no segment whose estimate could be combined")
    plans = {part.plan for part in parts}
    if len(plans) > 1:
        raise InputError(
            "estimates of different plans cannot be combined: use one fraction and one number of strata for all "
            f"segments (there are: {', '.join(sorted(map(str, plans)))})"
        )
    if len({len(part.gaps.steepest) for part in parts}) > 1:
        raise InputError(
            "estimates for different numbers of outputs cannot be combined: they are of different networks"
        )

    def column(part: SegmentEstimate, name: str) -> Floats:
        figures = (part.regions, part.total_variation, part.slope_variation, part.absolute_deviation)
        return np.concatenate([np.atleast_1d(getattr(figure, name)) for figure in figures])

    variances = [column(part, "standard_error") ** 2 for part in parts]
    spread = _sum([v**2 / column(part, "degrees_of_freedom") for v, part in zip(variances, parts, strict=True)])
    variance = _sum(variances)
    return _finish(
        parts[0].plan,
        segments=sum(part.segments for part in parts),
        length=math.fsum(part.length for part in parts),
        seen=sum(part.breakpoints_seen for part in parts),
        total=_sum([column(part, "value") for part in parts]),
        variance=variance,
        freedom=_freedom(variance, spread, parts[0].plan),
        at_least=_sum([column(part, "at_least") for part in parts]),
        gaps=Gaps(
            cubes=math.fsum(part.gaps.cubes for part in parts),
            reach=max(part.gaps.reach for part in parts),
            steepest=np.max([part.gaps.steepest for part in parts], axis=0),
        ),
        check=SelfCheck.total(part.self_check for part in parts),
        passes=sum(part.forward_passes for part in parts),
        pieces=sum(part.pieces for part in parts),
    )


def _draw(plan: Plan, rng: np.random.Generator) -> tuple[float, NDArray[np.int64]]:
    """The shift of the borders in cells, and (N, n) the chosen cells of each stratum, by their number in it."""
    shift = float(rng.uniform(-_SHIFT, _SHIFT))
    return shift, np.array([rng.choice(plan.cells, plan.chosen, replace=False) for _ in range(plan.strata)])


def _estimate(
    walk_piece: Callable[[float, float], Walk],
    start_value: Floats,
    end_value: Floats,
    length: float,
    plan: Plan,
    shift: float,
    chosen: NDArray[np.int64],
) -> SegmentEstimate:
    """What :func:`estimate_segment` returns, for a given draw."""
    order = np.sort((chosen + plan.cells * np.arange(plan.strata)[:, None]).ravel())
    figures, walks, at_least = [], [], _Between(start_value, end_value)
    for run in np.split(order, np.flatnonzero(np.diff(order) > 1) + 1):
        borders = _borders(np.arange(run[0], run[-1] + 2), shift, plan)
        first, last = float(borders[0]), float(borders[-1])
        walk = walk_piece(first, last)
        if walk.partial:
            raise InputError(f"the walk from t = {first:g} to {last:g} is partial: an estimate needs all of its pieces")
        if walk.outputs != len(start_value):
            raise InputError(
                f"the walk from t = {first:g} to {last:g} has {walk.outputs} outputs, but the ends of the segment "
                f"have {len(start_value)}"
            )
        figures.append(cell_figures(walk, borders, start_value, end_value, length))
        at_least.add(first, last, walk)
        walks.append(walk)
    cells = np.concatenate(figures).reshape(plan.strata, plan.chosen, -1)
    walked = cells.sum(axis=(0, 1))
    gaps, differences = at_least.finish(length)
    variance, spread = _variance(cells, plan)
    seen = round(float(walked[0]))
    one = np.zeros_like(walked)
    one[0] = 1.0
    return _finish(
        plan,
        segments=1,
        length=length,
        seen=seen,
        # Of a single stratum of a single cell nothing is multiplied, so that what is exact stays so to the last bit.
        total=one + (walked if plan.exact else walked * (plan.cells / plan.chosen)),
        variance=variance,
        freedom=_freedom(variance, spread, plan),
        at_least=one + walked + differences,
        gaps=gaps,
        check=SelfCheck.total(walk.self_check for walk in walks),
        passes=sum(walk.forward_passes for walk in walks),
        pieces=len(walks),
    )


def _borders(index: NDArray[np.int64], shift: float, plan: Plan) -> Floats:
    """Where the borders with these numbers are, from 0 at t = 0 to N * M at t = 1; all but these two are shifted."""
    last = plan.strata * plan.cells
    inner = (index > 0) & (index < last)
    return np.asarray((index + np.where(inner, shift, 0.0)) / last)


def cell_figures(walk: Walk, borders: Floats, start_value: Floats, end_value: Floats, length: float) -> Floats:
    """The additive figures of each of C neighbouring cells, from one walk over all of them: (C, 1 + 3 m).

    ``borders``: (C+1,) in t of the segment; the walk goes from the first to the last. The columns are the breakpoints
    inside the cell (one on a border belongs to the right of it), then per output the total variation, the slope
    variation at those breakpoints (slopes per t of the segment), and the absolute deviation from the affine
    functions that are ``start_value`` at t = 0 and ``end_value`` at t = 1, times ``length``. The sums over the cells
    are the figures of the whole.
    """
    first, last = borders[0], borders[-1]
    # Of a whole segment t stays as it is, to the last bit.
    t = np.clip(first + (last - first) * walk.t, first, last)
    t[0], t[-1] = first, last
    cell = np.searchsorted(borders, t[1:-1], side="right") - 1
    outputs = walk.outputs
    figures = np.zeros((len(borders) - 1, 1 + 3 * outputs))
    variation, bends, deviation = np.split(figures[:, 1:], 3, axis=1)
    np.add.at(figures[:, 0], cell, 1.0)
    np.add.at(bends, cell, np.abs(np.diff(walk.slopes / (last - first), axis=0)))
    inner = borders[1:-1]
    place = np.searchsorted(t, inner, side="right")
    share = (inner - t[place - 1]) / (t[place] - t[place - 1])
    cuts = (1.0 - share)[:, None] * walk.values[place - 1] + share[:, None] * walk.values[place]
    t, values = np.insert(t, place, inner), np.insert(walk.values, place, cuts, axis=0)
    cell = np.searchsorted(borders, t[:-1], side="right") - 1
    np.add.at(variation, cell, np.abs(np.diff(values, axis=0)))
    gap = values - metrics.between(start_value, end_value, t)
    np.add.at(deviation, cell, length * metrics.deviation_integrals(t, gap))
    return figures


class _Between:
    """Collects, piece by piece, what is known about the gaps between them."""

    def __init__(self, start_value: Floats, end_value: Floats) -> None:
        self._end_value = end_value
        self._reached = 0.0
        self._value = start_value
        self._slope: Floats | None = None
        self._widths: list[float] = []
        self._variation = np.zeros_like(start_value)
        self._bends = np.zeros_like(start_value)
        self._steepest = np.zeros_like(start_value)

    def add(self, first: float, last: float, walk: Walk) -> None:
        slopes = walk.slopes / (last - first)
        self._gap(first, walk.values[0])
        if self._slope is not None:
            self._bends += np.abs(slopes[0] - self._slope)
        self._steepest = np.maximum(self._steepest, np.abs(slopes).max(axis=0))
        self._reached, self._value, self._slope = last, walk.values[-1], slopes[-1]

    def finish(self, length: float) -> tuple[Gaps, Floats]:
        """The gaps, and (1 + 3 m) what at least lies in them."""
        self._gap(1.0, self._end_value)
        differences = np.concatenate([[0.0], self._variation, self._bends, np.zeros_like(self._bends)])
        cubes = math.fsum(width**3 for width in self._widths)
        return Gaps(cubes, length * max(self._widths, default=0.0), self._steepest), differences

    def _gap(self, until: float, value: Floats) -> None:
        if until > self._reached:
            self._widths.append(until - self._reached)
            self._variation += np.abs(value - self._value)


def _pairings(strata: int) -> Iterator[list[slice]]:
    """The two ways to join neighbouring strata in pairs; one without a partner stays alone."""
    for first in (0, 1):
        alone = [slice(0, 1)] if first else []
        yield alone + [slice(i, min(i + 2, strata)) for i in range(first, strata, 2)]


def _variance(cells: Floats, plan: Plan) -> tuple[Floats, Floats]:
    """Estimated variance of the totals, from the figures of the chosen cells (N, n, q), and its spread: (q,) each.

    Degrees of freedom are variance**2 / spread. A pair of strata is taken for one stratum of 2 M cells of which 2 n
    were chosen: ``v = (2M)**2 (1 - f) s**2 / (2n)``. As n were chosen of either half, and not 2 n anywhere,
    s**2 is too small by the factor ``1 - f / (2n - 1)`` if the halves are alike; that is made up for.
    """
    if plan.exact:
        return np.zeros(cells.shape[2]), np.zeros(cells.shape[2])
    n, fraction = plan.chosen, plan.fraction
    variances, spreads = [], []
    for pairing in _pairings(plan.strata):
        parts, squares = [], []
        for together in pairing:
            pooled = cells[together].reshape(-1, cells.shape[2])
            width = together.stop - together.start
            variance = (plan.cells * width) ** 2 * (1.0 - fraction) * pooled.var(axis=0, ddof=1) / len(pooled)
            if width == 2:
                variance = variance / (1.0 - fraction / (2 * n - 1))
            parts.append(variance)
            squares.append(variance**2 / (len(pooled) - 1))
        variances.append(_sum(parts))
        spreads.append(_sum(squares))
    mean = (variances[0] + variances[1]) / 2
    # The two are far from independent, so their mean has the degrees of freedom of one, the fewer.
    shares = [
        np.divide(spread, variance**2, out=np.zeros_like(mean), where=variance > 0.0)
        for variance, spread in zip(variances, spreads, strict=True)
    ]
    return mean, np.maximum(*shares) * mean**2


def _freedom(variance: Floats, spread: Floats, plan: Plan) -> Floats:
    """(q,) Satterthwaite's degrees of freedom; where nothing varied, as many as there are without pairing."""
    nominal = np.full_like(variance, plan.strata * max(plan.chosen - 1, 1))
    return np.divide(variance**2, spread, out=nominal, where=spread > 0.0)


def _finish(
    plan: Plan,
    *,
    segments: int,
    length: float,
    seen: int,
    total: Floats,
    variance: Floats,
    freedom: Floats,
    at_least: Floats,
    gaps: Gaps,
    check: SelfCheck,
    passes: int,
    pieces: int,
) -> SegmentEstimate:
    """Intervals around the totals; columns as in :func:`cell_figures`, but regions for breakpoints."""
    count, variation, bends, deviation = _columns(len(gaps.steepest))
    error = np.sqrt(variance)
    low, high = total.copy(), total.copy()
    if not plan.exact:
        from scipy import stats

        tail = (1.0 - CONFIDENCE) / 2
        half = stats.t.ppf(1.0 - tail, freedom) * error
        # Both limits count trials, of which each succeeds with probability f, until the last of so many successes.
        fewest = seen + (int(stats.nbinom.ppf(tail, seen, plan.fraction)) if seen else 0)
        most = seen + int(stats.nbinom.ppf(1.0 - tail, seen + 1, plan.fraction))
        walked = total * plan.fraction
        bend = walked[bends] / seen if seen else gaps.steepest
        # A random walk with steps b, rate r per unit of t, tied at both ends of a gap of width g, has an integral of
        # variance r b**2 g**3 / 12.
        floor = stats.norm.ppf(1.0 - tail) * bend * math.sqrt((most - seen) * gaps.cubes / segments / 12.0)
        half[variation] = np.maximum(half[variation], floor)
        half[deviation] = np.maximum(half[deviation], floor * gaps.reach / 2)
        low, high = np.maximum(total - half, walked), np.maximum(total + half, at_least)
        low[count] = max(min(float(total[0] - half[0]), segments + fewest), segments + seen)
        high[count] = max(float(high[0]), segments + most)
        high[bends] = np.maximum(high[bends], at_least[bends] + (most - seen) * bend)

    def figure(columns: slice) -> Estimate:
        parts = (part[columns] for part in (total, error, freedom, low, high, at_least))
        return Estimate(*(float(part[0]) if columns is count else part.copy() for part in parts))

    regions = figure(count)
    per_length = (regions.value, regions.standard_error, regions.low, regions.high, regions.at_least)
    value, standard_error, lowest, highest, certain = (number / length for number in per_length)
    return SegmentEstimate(
        regions=regions,
        density=Estimate(value, standard_error, regions.degrees_of_freedom, lowest, highest, certain),
        total_variation=figure(variation),
        slope_variation=figure(bends),
        absolute_deviation=figure(deviation),
        breakpoints_seen=seen,
        fraction=plan.fraction,
        length=length,
        self_check=check,
        forward_passes=passes,
        plan=plan,
        pieces=pieces,
        segments=segments,
        gaps=gaps,
    )


def _columns(outputs: int) -> tuple[slice, slice, slice, slice]:
    """Where breakpoints, total variation, slope variation and absolute deviation are among the figures."""
    ends = [0, *(1 + outputs * i for i in range(4))]
    first, second, third, fourth = (slice(a, b) for a, b in pairwise(ends))
    return first, second, third, fourth


def _sum(terms: Sequence[Floats]) -> Floats:
    return np.asarray(np.sum(terms, axis=0))
