"""The walk: from breakpoint to breakpoint along segments, many lanes at once, the activation pattern as state.

At every step each lane evaluates the network and its slope under its pattern, finds the unit that leaves its branch
first, moves there exactly and changes that unit's branch. No sign of a nearly-zero number is ever asked for the
pattern again; a unit moving away from its kink cannot leave, so one that has just switched is not found twice.

Segments are cut into sub-intervals that lanes walk side by side, taken from left to right, so that an interrupted
walk is complete up to some point. Their borders are no breakpoints: the pattern that a lane ends with is compared
with the one that the next sub-interval began with, which is part of the self-check as well.

Units that switch together are all flipped at once. If an upstream switch turns the slope of a unit that was flipped
with it, the unit leaves again after a step of length zero: in as many evaluations as there are layers in between,
the pattern that the path enters is reached, and a unit that returned to its branch did not switch.

What is rounding noise is decided per unit, against its size: what it would be if nothing cancelled, with the roundings
of all layers before in it. Sizes are evaluated where a lane begins, and again for a lane about one of whose units
they leave doubt. A unit whose function has become zero up to rounding is put on the lower side of its kink.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T, advance, pending, pending_threshold
from lronnx.errors import LronnxError
from lronnx.graph import Array
from lronnx.joining import Border, Branches, Chain, Event, Interval, SegmentResult, doubt_of, first_regions
from lronnx.ops.emitter import LARGEST_SIZE
from lronnx.ops.switching import NUMBERS, Group
from lronnx.regions import Floats

# A sub-interval should hold about this many regions: enough to pay for its two border evaluations.
REGIONS_PER_INTERVAL = 64
# Lanes are refilled once this share or less of them is busy: to start few costs nearly as much as to start many.
FULL_ENOUGH = 0.75
# A sum of n numbers exceeds its size by the square root of n at most; what exceeds it by more has a size out of date.
AWOKEN = 1e3
# Two leaving times that differ by this share, and some rounding, may be one.
NEARLY = 1e-9
# More evaluations than this at one place means that the pattern does not settle.
MAXIMUM_STALL = 2_000


class PatternError(LronnxError):
    """The activation pattern does not settle at a place: rounding makes units leave their branches for ever.

    Report the model; ``--precision double`` may help if it was not used.
    """

    exit_code = 5


class Stop(enum.Enum):
    """Whether a walk should end early: not at all; once the sub-intervals that were begun are done; or at once."""

    NO = "no"
    SOON = "soon"
    NOW = "now"


@dataclass(frozen=True)
class Progress:
    """How far a run is: the walked fraction of all segments, in [0, 1], and the regions found so far."""

    fraction: float
    regions: int


@dataclass
class Evaluation:
    """What a program returned for some lanes: ``tensors`` by output name, each with the lanes in front.

    ``sizes``: per group those of its switching functions and of their slopes; empty if they were not asked for.
    ``fixed``: slopes that stay as they are on the whole segment; of an evaluation afresh only.
    """

    value: Floats
    slope: Floats
    tensors: Mapping[str, Array]
    sizes: Sequence[tuple[Array, Array]]
    fixed: Sequence[Array]


class Evaluate(Protocol):
    """Evaluates points (lanes, *sample) and directions under the states of all groups (None: computed afresh).

    With states come the ``fixed`` slopes that an evaluation afresh on the same segment gave.
    """

    def __call__(
        self,
        points: Array,
        directions: Array,
        pattern: Sequence[Array] | None,
        fixed: Sequence[Array] = (),
        sizes: bool = False,
    ) -> Evaluation: ...


# A group, and flat positions among its rates.
_Places = tuple[int, NDArray[np.int64]]


@dataclass
class _Lane:
    interval: Interval
    t: float
    stall: int = 0
    # The evaluation that found the breakpoint at ``t``, its row and place; None after a step of length zero.
    before: tuple[Evaluation, int, float] | None = None
    # Sizes of all switching functions and slopes, by group; the evaluation that they belong to; the largest value's.
    sizes: list[tuple[Floats, Floats]] = field(default_factory=list)
    measured: Evaluation | None = None
    scale: float = 0.0
    # Units that left, or nearly did, since the pattern last settled: some may have come to rest on their kink.
    watched: list[_Places] = field(default_factory=list)
    # Choices made since the pattern last settled: (group, unit, winner before).
    unsettled: list[tuple[int, int, int]] = field(default_factory=list)
    # Per choosing group: units and candidates that still tie with the winner.
    open: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)


class Walker:
    """Walks segments. ``groups`` as in the program; ``evaluate`` runs it; ``dtype`` is the program's."""

    def __init__(self, groups: Sequence[Group], evaluate: Evaluate, dtype: str, lanes: int) -> None:
        self.groups = tuple(groups)
        self.evaluate = evaluate
        self.lanes = max(1, lanes)
        self.dtype = dtype
        self.epsilon = float(np.finfo(dtype).eps)
        self.noise = NUMBERS[dtype]["noise"]
        self.zero = NUMBERS[dtype]["zero"]
        self.doubt = NUMBERS[dtype]["doubt"]
        # What pads a window is as large as can be, and is never weighed against anything.
        self.immense = 0.1 * LARGEST_SIZE[dtype]
        self.evaluations = 0

    @property
    def passes(self) -> float:
        """Evaluations of a single input, a slope counting as one."""
        return 2.0 * self.evaluations

    def run(
        self,
        points: Floats,
        max_regions: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
    ) -> list[SegmentResult]:
        """Walk the segments between neighbouring ``points`` (P, *sample), P - 1 of them.

        ``stop``, asked at every step, may end the walk early: the result is what is contiguous from the first point.
        Raises PatternError if the pattern does not settle somewhere.
        """
        self.points = points
        self.directions = np.diff(points, axis=0)
        self.segments = len(self.directions)
        self._chains = [Chain(self.groups) for _ in range(self.segments)]
        self.max_regions = max_regions
        self.contradictions = np.zeros(self.segments, np.int64)
        self._walked = 0.0
        self._found = 0
        shape = points.shape[1:]
        self._x = np.empty((self.lanes, *shape), self.dtype)
        self._d = np.empty((self.lanes, *shape), self.dtype)
        self._states = [
            np.empty((self.lanes, *group.physical), np.int64 if group.count else self.dtype) for group in self.groups
        ]
        self._fixed: list[Array] = []
        self._queue = self._schedule()
        active: list[_Lane] = []
        while True:
            wish = Stop.NO if stop is None else stop()
            if wish is Stop.NOW:
                break
            active, exhausted = self._refill(active) if wish is Stop.NO else (active, True)
            if active:
                active = self._step(active)
            elif exhausted:
                break
            if progress is not None:
                inside = sum(lane.t - lane.interval.start for lane in active)
                progress(Progress(min((self._walked + inside) / self.segments, 1.0), self._found))
            if max_regions is not None and self._contiguous() >= max_regions:
                break
        return self._results()

    # ---- which sub-interval next

    def _schedule(self) -> Iterator[Interval]:
        """Sub-intervals from left to right, as wide as the density found so far suggests."""
        for segment in range(self.segments):
            front = 0.0
            while front < 1.0:
                remaining = (1.0 - front) + (self.segments - 1 - segment)
                if self.segments - segment >= 2 * self.lanes:
                    width = 1.0
                elif self._walked > 0:
                    density = max(self._found, 1) / self._walked
                    width = max(
                        min(REGIONS_PER_INTERVAL / density, remaining / self.lanes), REGIONS_PER_INTERVAL / density / 8
                    )
                else:
                    # Nothing is known yet: begin with little, also since sizes are measured where a lane begins.
                    width = remaining / self.lanes / 16
                # An odd factor keeps borders off the round numbers at which constructed networks bend.
                end = front + width * 0.9618034
                if end > 1.0 - width / 4:
                    end = 1.0
                interval = Interval(segment, front, end)
                self._chains[segment].intervals.append(interval)
                front = end
                yield interval

    def _refill(self, active: list[_Lane]) -> tuple[list[_Lane], bool]:
        """Give free lanes their next sub-interval, and evaluate them afresh there. True if none was left."""
        if len(active) > self.lanes * FULL_ENOUGH:
            return active, False
        new: list[Interval] = []
        while len(active) + len(new) < self.lanes:
            interval = next(self._queue, None)
            if interval is None:
                break
            new.append(interval)
        if not new:
            return active, True
        lanes = [_Lane(interval, interval.start) for interval in new]
        first = len(active)
        rows = slice(first, first + len(new))
        self._place(lanes, first)
        for row, lane in enumerate(lanes, first):
            self._d[row] = self.directions[lane.interval.segment]
        evaluation = self.evaluate(self._x[rows], self._d[rows], None)
        self.evaluations += len(new)
        for number, group in enumerate(self.groups):
            self._states[number][rows] = evaluation.tensors[group.state]
        if not self._fixed:
            self._fixed = [np.empty((self.lanes, *held.shape[1:]), held.dtype) for held in evaluation.fixed]
        for kept, held in zip(self._fixed, evaluation.fixed, strict=True):
            kept[rows] = held
        for row, lane in enumerate(lanes):
            self._keep_sizes(lane, evaluation, row, evaluation)
            lane.interval.borders = self._borders(evaluation, row, lane.sizes)
            if not all(np.isfinite(size).all() for sizes in lane.sizes for size in sizes):
                # Nothing can be judged where numbers leave the range of their type.
                self.contradictions[lane.interval.segment] += 1
            if lane.interval.start > 0:
                self._open_ties(lane, evaluation, row)
        return self._keep(active, lanes, evaluation, first), False

    def _place(self, lanes: Sequence[_Lane], first: int) -> None:
        for row, lane in enumerate(lanes, first):
            segment = lane.interval.segment
            self._x[row] = self.points[segment] + lane.t * self.directions[segment]

    def _step(self, active: list[_Lane]) -> list[_Lane]:
        count = len(active)
        self._place(active, 0)
        states, fixed = ([held[:count] for held in arrays] for arrays in (self._states, self._fixed))
        evaluation = self.evaluate(self._x[:count], self._d[:count], states, fixed)
        self.evaluations += count
        return self._keep([], active, evaluation, 0)

    def _keep(self, kept: list[_Lane], lanes: Sequence[_Lane], evaluation: Evaluation, first: int) -> list[_Lane]:
        """Move lanes on after an evaluation. Those that go on are packed into the first rows of the state."""
        self._count_contradictions(evaluation, lanes, first)
        best = self._stacked(evaluation, [group.best for group in self.groups], len(lanes))
        # The arrays of an evaluation are overwritten by the next.
        values, slopes = evaluation.value.astype(np.float64), evaluation.slope.astype(np.float64)
        result = list(kept)
        for row, lane in enumerate(lanes):
            lane.interval.times.append(lane.t)
            lane.interval.values.append(values[row])
            lane.interval.slopes.append(slopes[row])
            if self._move(lane, first + row, row, evaluation, best[row]):
                target = len(result)
                if target != first + row:
                    for held in (self._d, *self._states, *self._fixed):
                        held[target] = held[first + row]
                result.append(lane)
        return result

    @staticmethod
    def _stacked(evaluation: Evaluation, names: Sequence[str], lanes: int) -> Floats:
        """One number per lane and group, (lanes, groups)."""
        if not names:
            return np.zeros((lanes, 1))
        return np.stack([evaluation.tensors[name] for name in names], axis=1).astype(np.float64)

    # ---- one lane, one breakpoint

    def _move(self, lane: _Lane, place: int, row: int, evaluation: Evaluation, best: Floats) -> bool:
        """Take a lane to its next breakpoint. False if the sub-interval ends before it."""
        interval = lane.interval
        number = len(interval.times) - 1
        step, leaving, watched = self._next(lane, place, row, evaluation, best)
        if step > SAME_T:
            restored = bool(lane.unsettled) and self._restore(lane, place, row, evaluation, number)
            rested = bool(lane.watched) and self._rest(lane, place, row, evaluation, number)
            if restored or rested:
                # Branches were put back, so the rates have to be found again.
                return True
            lane.stall = 0
            if lane.open:
                self._close_ties(lane, place, row, evaluation)
        else:
            lane.stall += 1
            if lane.stall > MAXIMUM_STALL:
                raise PatternError(
                    f"the activation pattern does not settle at t = {lane.t!r} of segment {interval.segment}"
                )
        if lane.t + step >= interval.end:
            interval.final = [self._branches(group, self._states[i][place]) for i, group in enumerate(self.groups)]
            self._walked += interval.end - interval.start
            self._chains[interval.segment].join_ready()
            return False
        for index, places in leaving:
            times = [lane.t + step] * len(places) if step > SAME_T else self._foreseen(lane, index, places)
            self._switch(lane, place, row, evaluation, index, places, times, number)
        if step > SAME_T:
            lane.before = evaluation, row, lane.t
            lane.watched = watched
            interval.moves += 1
            self._found += 1
        else:
            lane.before = None
            lane.watched += watched
        lane.t += step
        return True

    def _next(
        self, lane: _Lane, place: int, row: int, evaluation: Evaluation, best: Floats
    ) -> tuple[float, list[_Places], list[_Places]]:
        """How far the next breakpoint is, who leaves there, and who may come to rest there.

        Rates are evaluated with rounding noise and all: where a unit seems to leave by nothing but noise, its group's
        rates are cleaned and the search is repeated.
        """
        cleaned: set[int] = set()
        while True:
            step = advance(float(best.min()))
            if lane.t + step >= lane.interval.end:
                return step, [], []
            threshold = pending_threshold(step, self.epsilon)
            loose = -1.0 / (step * (1 + NEARLY + 100 * self.epsilon) + SAME_T)
            leaving: list[_Places] = []
            watched: list[_Places] = []
            for index in np.flatnonzero(best <= loose).tolist():
                rates = evaluation.tensors[self.groups[index].rate][row].reshape(-1)
                places = pending(rates, loose)
                now = places[rates[places] <= threshold]
                if len(now) and index not in cleaned:
                    cleaned.add(index)
                    if self._clean(lane, index, place, row, evaluation, rates, now):
                        best[index] = rates.min()
                        break
                if len(now):
                    leaving.append((index, now))
                if not self.groups[index].count:
                    watched.append((index, places))
            else:
                return step, leaving, watched

    def _foreseen(self, lane: _Lane, index: int, places: NDArray[np.int64]) -> list[float]:
        """When units leave that are found at their kink, or beyond it, right after a breakpoint.

        That is at the breakpoint, as far as is known now. But if the evaluation before saw such a unit leaving a little
        later, by no more than rounding of its value explains, there are two breakpoints, and that was its time.
        """
        times = [lane.t] * len(places)
        if lane.before is None:
            return times
        (evaluation, row, begin), group = lane.before, self.groups[index]
        rates, slopes = (evaluation.tensors[name][row].reshape(-1) for name in (group.rate, group.slope))
        sizes, slope_sizes = (self.noise * held.reshape(-1) for held in lane.sizes[index])
        for number, position in enumerate(places.tolist()):
            ahead = advance(float(rates[position])) - (lane.t - begin)
            speed = abs(float(slopes[position]))
            explained = speed > slope_sizes[position] and ahead * speed <= sizes[position]
            if explained and lane.t + ahead < lane.interval.end:
                times[number] = lane.t + max(ahead, 0.0)
        return times

    def _clean(
        self,
        lane: _Lane,
        index: int,
        place: int,
        row: int,
        evaluation: Evaluation,
        rates: Array,
        places: NDArray[np.int64],
    ) -> bool:
        """Whether units at ``places`` may move by rounding noise only. If so, the group's rates are cleaned of it."""
        group, numbers = self.groups[index], NUMBERS[self.dtype]
        if not group.count and len(places) == 1:
            # The usual case, without the arrays of the others.
            unit = int(places[0])
            speed = abs(float(evaluation.tensors[group.slope][row].reshape(-1)[unit]))
            if speed == 0 or not self._is_doubtful(speed, float(lane.sizes[index][1][unit])):
                return False
        values, slopes = (held.reshape(-1) for held in _functions(group, evaluation, row))
        state = self._states[index][place, ...].reshape(-1)
        winners = state * group.units + np.arange(group.units) if group.count else np.zeros(0, np.int64)

        def compared() -> tuple[Floats, Floats]:
            """Slopes relative to the branch's own, and their sizes, at the places in question."""
            sizes = lane.sizes[index][1].reshape(-1)
            if not group.count:
                return np.abs(slopes[places]), sizes[places]
            mine = winners[places % group.units]
            return np.abs(slopes[mine] - slopes[places]), sizes[mine] + sizes[places]

        # What does not move at all is no noise.
        pairs = zip(*(held.tolist() for held in compared()), strict=True)
        if not any(speed > 0 and self._is_doubtful(speed, size) for speed, size in pairs):
            return False
        self._measure(lane, place, evaluation)
        speeds, sizes = compared()
        if not ((speeds <= self.noise * sizes) & (speeds > 0)).any():
            return False
        sizes = lane.sizes[index][1].reshape(-1)
        if not group.count:
            moving = np.where(np.abs(slopes) <= self.noise * sizes, 0, slopes) - slopes.dtype.type(numbers["nudge"])
            towards, distances = state * moving, state * values
        else:
            towards, distances = ((held[winners] - _by_unit(group, held)).reshape(-1) for held in (slopes, values))
            together = (sizes[winners] + _by_unit(group, sizes)).reshape(-1)
            towards = np.where(towards < -self.noise * together, towards, 0)
        with np.errstate(over="ignore"):
            rates[:] = towards / np.maximum(distances, numbers["tiny"])
        return True

    def _switch(
        self,
        lane: _Lane,
        place: int,
        row: int,
        evaluation: Evaluation,
        index: int,
        places: NDArray[np.int64],
        times: Sequence[float],
        number: int,
    ) -> None:
        """Change the branch of the units of one group that leave, at ``times``."""
        group = self.groups[index]
        events = lane.interval.events
        state = self._states[index][place, ...].reshape(-1)
        if not group.count:
            for unit, t in zip(places.tolist(), times, strict=True):
                rising = state[unit] < 0
                branch = group.kink + (0 if rising else 1)
                events.append(Event(t, number, index, unit, branch, branch + (1 if rising else -1)))
                state[unit] = -state[unit]
            return
        _, slopes = _functions(group, evaluation, row)
        chosen: dict[int, tuple[int, float]] = {}
        for position, t in zip(places.tolist(), times, strict=True):
            candidate, unit = divmod(position, group.units)
            if unit not in chosen or slopes[candidate, unit] > slopes[chosen[unit][0], unit]:
                chosen[unit] = candidate, t
        for unit, (candidate, t) in chosen.items():
            winner = int(state[unit])
            events.append(Event(t, number, index, unit, winner, candidate))
            lane.unsettled.append((index, unit, winner))
            state[unit] = candidate

    def _restore(self, lane: _Lane, place: int, row: int, evaluation: Evaluation, number: int) -> bool:
        """Put winners back that are still maximisers now that the pattern has settled: a tie is no switch."""
        first: dict[tuple[int, int], int] = {}
        for index, unit, before in lane.unsettled:
            first.setdefault((index, unit), before)
        lane.unsettled = []
        restored = False
        for (index, unit), before in first.items():
            state = self._states[index][place, ...].reshape(-1)
            now = int(state[unit])
            if now == before:
                continue
            one = np.array([unit]), np.array([before]), np.array([now])
            tied = self._tied(lane, place, index, evaluation, row, *one)
            if tied[0]:
                lane.interval.events.append(Event(lane.t, number, index, unit, now, before))
                state[unit] = before
                restored = True
        return restored

    def _rest(self, lane: _Lane, place: int, row: int, evaluation: Evaluation, number: int) -> bool:
        """Put units that have come to rest on their kink, up to rounding, on its lower side."""
        found, lane.watched = lane.watched, []
        resting = False
        for index, places in found:
            group = self.groups[index]
            state = self._states[index][place, ...].reshape(-1)
            places = places[state[places] > 0]
            if not len(places):
                continue
            (values, slopes), (sizes, slope_sizes) = _functions(group, evaluation, row), lane.sizes[index]
            # The slope first: of most units that have just left it is far from noise.
            if not any(
                self._is_doubtful(abs(float(slopes[unit])), float(slope_sizes[unit]))
                and self._is_doubtful(abs(float(values[unit])), float(sizes[unit]))
                for unit in places.tolist()
            ):
                continue
            self._measure(lane, place, evaluation)
            values, slopes = np.abs(values[places]), np.abs(slopes[places])
            sizes, slope_sizes = (self.noise * held[places] for held in lane.sizes[index])
            for unit in np.unique(places[(values <= sizes) & (slopes <= slope_sizes)]).tolist():
                lane.interval.events.append(Event(lane.t, number, index, unit, group.kink + 1, group.kink))
                state[unit] = -1
                resting = True
        return resting

    def _tied(
        self,
        lane: _Lane,
        place: int,
        index: int,
        evaluation: Evaluation,
        row: int,
        units: NDArray[np.int64],
        candidates: NDArray[np.int64],
        winners: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether candidates have the same value and slope as the winners, up to rounding."""
        group = self.groups[index]
        gaps = [np.abs(held[winners, units] - held[candidates, units]) for held in _functions(group, evaluation, row)]

        def together() -> list[Floats]:
            return [size[winners, units] + size[candidates, units] for size in lane.sizes[index]]

        tied = np.asarray((gaps[0] == 0) & (gaps[1] == 0))
        doubtful = [self._doubtful(gap, size) for gap, size in zip(gaps, together(), strict=True)]
        if (~tied & doubtful[0] & doubtful[1]).any():
            self._measure(lane, place, evaluation)
            near = [gap <= self.noise * size for gap, size in zip(gaps, together(), strict=True)]
            tied |= near[0] & near[1]
        return tied

    # ---- sizes, and what they say

    def _doubtful(self, numbers: Floats, sizes: Floats) -> NDArray[np.bool_]:
        """Whether numbers may be rounding noise, as far as sizes tell that were measured where the lane began.

        A number may exceed its own size by the square root of how many it is the sum of, but by no more: where one
        does, something has awoken since that the sizes know nothing of.
        """
        asleep = (numbers > AWOKEN * sizes) & (numbers < self.immense)
        return np.asarray((numbers <= self.doubt * sizes) | asleep)

    def _is_doubtful(self, number: float, size: float) -> bool:
        """The same of one number."""
        return number <= self.doubt * size or AWOKEN * size < number < self.immense

    def _measure(self, lane: _Lane, place: int, evaluation: Evaluation) -> None:
        """Have the lane's sizes belong to this evaluation."""
        if lane.measured is not evaluation:
            rows = slice(place, place + 1)
            states, fixed = ([held[rows] for held in arrays] for arrays in (self._states, self._fixed))
            found = self.evaluate(self._x[rows], self._d[rows], states, fixed, sizes=True)
            self._keep_sizes(lane, found, 0, evaluation)
            self.evaluations += 1

    def _keep_sizes(self, lane: _Lane, evaluation: Evaluation, row: int, measured: Evaluation) -> None:
        pairs = zip(self.groups, evaluation.sizes, strict=True)
        lane.sizes = [_sizes(group, sizes, row) for group, sizes in pairs]
        lane.measured = measured
        lane.scale = max(
            (float(size.max(where=size < self.immense, initial=0.0)) for size, _ in lane.sizes), default=0.0
        )

    # ---- ties where a sub-interval begins

    # A winner is kept as long as it is a maximiser: which of several tied candidates wins depends on the path so far.
    # A lane that starts inside a segment does not know it. It takes the first and notes, for every other candidate,
    # when and how their tie ends; once the sub-interval before is done, the right history is read from these notes.

    def _open_ties(self, lane: _Lane, evaluation: Evaluation, row: int) -> None:
        for index, (group, border) in enumerate(zip(self.groups, lane.interval.borders, strict=True)):
            if not group.count:
                continue
            size = group.count * group.units
            still = np.unpackbits(border.doubt.still, count=size).reshape(group.count, group.units).astype(bool)
            still[border.state, np.arange(group.units)] = False
            candidates, units = np.nonzero(still)
            if len(units):
                lane.open[index] = (units, candidates)

    def _close_ties(self, lane: _Lane, place: int, row: int, evaluation: Evaluation) -> None:
        for index in list(lane.open):
            units, candidates = lane.open[index]
            winners = self._states[index][place, ...].reshape(-1)[units]
            merged = winners == candidates
            tied = self._tied(lane, place, index, evaluation, row, units, candidates, winners)
            ended = merged | ~tied
            if not ended.any():
                continue
            for unit, candidate, winner in zip(units[ended], candidates[ended], winners[ended], strict=True):
                lane.interval.ties[index, int(unit), int(candidate)] = (
                    lane.t,
                    int(winner),
                    len(lane.interval.times) - 2,
                )
            lane.open[index] = (units[~ended], candidates[~ended])
            if ended.all():
                del lane.open[index]

    def _borders(self, evaluation: Evaluation, row: int, sizes: Sequence[tuple[Floats, Floats]]) -> list[Border]:
        return [self._border(index, evaluation, row, *pair) for index, pair in enumerate(sizes)]

    def _border(self, index: int, evaluation: Evaluation, row: int, value_sizes: Floats, slope_sizes: Floats) -> Border:
        group = self.groups[index]
        state = self._branches(group, evaluation.tensors[group.state][row])
        values, slopes = _functions(group, evaluation, row)
        # The arrays of an evaluation are overwritten by the next.
        doubt = doubt_of(group, state, values, slopes, value_sizes, slope_sizes, self.noise, self.zero)
        return Border(state, lambda: doubt)

    def _branches(self, group: Group, state: Array) -> Branches:
        flat = state.reshape(-1)
        # A choice may be among more candidates than 16 bits can number.
        return np.asarray(flat if group.count else flat > 0).astype(np.int16 if group.count < 2**15 else np.int32)

    def _count_contradictions(self, evaluation: Evaluation, lanes: Sequence[_Lane], first: int) -> None:
        """Units whose sign contradicts their branch by more than rounding can explain.

        What is small beside the largest number in the network is left to the comparison at a sub-interval's end.
        """
        if not self.groups:
            return
        lowest = self._stacked(evaluation, [group.lowest for group in self.groups], len(lanes))
        largest = np.array([lane.scale for lane in lanes])
        for row, index in np.argwhere(lowest < -self.doubt * largest[:, None]).tolist():
            self._measure(lanes[row], first + row, evaluation)
            group = self.groups[index]
            state = self._states[index][first + row, ...].reshape(-1)
            values, slopes = _functions(group, evaluation, row)
            value_sizes, _ = lanes[row].sizes[index]
            if group.count:
                units = np.arange(group.units)
                distances, slopes = values[state, units] - values, slopes[state, units] - slopes
                value_sizes = value_sizes + value_sizes[state, units]
            else:
                distances = state * values
            # Ten times the noise of a zero, and what the place itself is rounded by.
            wrong = distances < -10 * self.noise * value_sizes - 10 * SAME_T * np.abs(slopes)
            self.contradictions[lanes[row].interval.segment] += int(wrong.sum())

    # ---- putting the sub-intervals together

    def _contiguous(self) -> int:
        """Regions found without a gap from the first point on (at most one too many per sub-interval)."""
        count = 0
        for chain in self._chains:
            for interval in chain.intervals:
                if not interval.done:
                    # The last step leads to a place that is not evaluated yet.
                    return count + max(interval.moves - 1, 0)
                count += interval.moves
            if not chain.complete:
                return count
            count += 1
        return count

    def _results(self) -> list[SegmentResult]:
        count = next((k for k, chain in enumerate(self._chains) if not chain.complete), self.segments)
        wrong = self.contradictions.tolist()
        results = [self._chains[k].whole(*end, wrong[k]) for k, end in enumerate(self._evaluate_ends(count))]
        if count < self.segments:
            partial = self._chains[count].beginning(wrong[count])
            if len(partial.t) > 1:
                results.append(partial)
        return results if self.max_regions is None else first_regions(results, self.max_regions)

    def _evaluate_ends(self, count: int) -> list[tuple[Floats, list[Border]]]:
        """The segments' end points, evaluated afresh."""
        found: list[tuple[Floats, list[Border]]] = []
        for begin in range(0, count, self.lanes):
            chunk = range(begin, min(begin + self.lanes, count))
            rows = slice(0, len(chunk))
            for row, segment in enumerate(chunk):
                self._x[row] = self.points[segment + 1]
                self._d[row] = self.directions[segment]
            evaluation = self.evaluate(self._x[rows], self._d[rows], None)
            self.evaluations += len(chunk)
            for row in range(len(chunk)):
                pairs = zip(self.groups, evaluation.sizes, strict=True)
                borders = self._borders(evaluation, row, [_sizes(group, sizes, row) for group, sizes in pairs])
                found.append((evaluation.value[row].astype(np.float64), borders))
        return found


def _functions(group: Group, evaluation: Evaluation, row: int) -> tuple[Array, Array]:
    """Values and slopes of a group's switching functions: (units,), or those of its candidates, (count, units)."""
    shape = (group.count, group.units) if group.count else (group.units,)
    tensors = evaluation.tensors
    return tensors[group.value][row].reshape(shape), tensors[group.slope][row].reshape(shape)


def _sizes(group: Group, sizes: tuple[Array, Array], row: int) -> tuple[Floats, Floats]:
    """Sizes of a group's switching functions and slopes, in the shape of :func:`_functions`."""
    shape = (group.count, group.units) if group.count else (group.units,)
    value, slope = (held[row].reshape(shape).astype(np.float64) for held in sizes)
    return value, slope


def _by_unit(group: Group, flat: Array) -> Array:
    return flat.reshape(group.count, group.units)
