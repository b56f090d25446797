"""Putting a segment together from the sub-intervals that lanes walked, in any order, side by side.

The pattern that a sub-interval ends with is compared with the one that was computed afresh where the next begins: a
difference that rounding explains is a switch at the border or none at all, any other is a mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T, cluster
from lronnx.graph import Array
from lronnx.ops.switching import Group
from lronnx.regions import Floats, Switch

Branches = NDArray[np.signedinteger]


@dataclass(frozen=True)
class Event:
    """A unit changes its branch at ``t``, found at step ``step`` of its sub-interval."""

    t: float
    step: int
    group: int
    place: int
    before: int
    after: int


@dataclass
class Border:
    """A group's pattern where a sub-interval begins, and the units about which rounding leaves doubt there.

    ``state``: branches, flat. ``doubtful``: flat over units (kinks) or (candidates, units): so close to the kink, or
    to the winner, that rounding decides; ``still``: moreover they do not move relative to it. ``offsets``: of the
    others of them, by flat position, how far from the border, in t, they are at the kink, and how well rounding lets
    one tell.
    """

    state: Branches
    doubtful: NDArray[np.uint8]
    still: NDArray[np.uint8]
    offsets: dict[int, tuple[float, float]]


def border_of(
    group: Group,
    state: Branches,
    values: Array,
    slopes: Array,
    value_sizes: Floats,
    slope_sizes: Floats,
    noise: float,
    zero: float,
) -> Border:
    """A group's border from what was evaluated there: switching functions, their slopes and the sizes of both.

    (units,) each, or (candidates, units). ``noise`` and ``zero``: what is rounding relative to a size, of what rests
    and of what moves (:data:`lronnx.ops.switching.NUMBERS`).
    """
    if group.count:
        units = np.arange(group.units)
        values, slopes = values[state, units] - values, slopes - slopes[state, units]
        value_sizes = value_sizes + value_sizes[state, units]
        slope_sizes = slope_sizes + slope_sizes[state, units]
    speed = np.abs(slopes)
    doubtful = np.abs(values) <= noise * value_sizes + 4 * SAME_T * speed
    if not doubtful.any():
        nothing = np.zeros(-(-doubtful.size // 8), np.uint8)
        return Border(state, nothing, nothing, {})
    still = doubtful & (speed <= noise * slope_sizes)
    moving = np.flatnonzero(doubtful & ~still)
    away = values.reshape(-1)[moving] / slopes.reshape(-1)[moving]
    blurs = zero * value_sizes.reshape(-1)[moving] / speed.reshape(-1)[moving]
    # A candidate behind the winner by ``values`` catches up where its lead grows to that.
    away = away if group.count else -away
    offsets = dict(zip(moving.tolist(), zip(away.tolist(), blurs.tolist(), strict=True), strict=True))
    return Border(state, np.packbits(doubtful.reshape(-1)), np.packbits(still.reshape(-1)), offsets)


@dataclass
class Interval:
    """A sub-interval of a segment: what a lane found on it."""

    segment: int
    start: float
    end: float
    times: list[float] = field(default_factory=list)
    # Steps to another place.
    moves: int = 0
    values: list[Floats] = field(default_factory=list)
    slopes: list[Floats] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    borders: list[Border] = field(default_factory=list)
    final: list[Branches] | None = None
    # Candidates that tie with the winner at the start, (group, unit, candidate): when their tie ended, and how.
    ties: dict[tuple[int, int, int], tuple[float, int, int]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.final is not None

    # ``final`` is emptied once the sub-interval after it is joined.


@dataclass
class SegmentResult:
    """Everything found on one segment, in the arrays of :class:`lronnx.regions.Walk`."""

    t: Floats
    values: Floats
    slopes: Floats
    switches: tuple[tuple[Switch, ...], ...]
    mismatches: int
    contradictions: int
    complete: bool


def first_regions(results: Sequence[SegmentResult], limit: int) -> list[SegmentResult]:
    """The first ``limit`` regions of a path."""
    kept: list[SegmentResult] = []
    for result in results:
        if limit <= 0:
            break
        count = min(limit, len(result.t) - 1)
        whole = result.complete and count == len(result.t) - 1
        kept.append(
            SegmentResult(
                result.t[: count + 1],
                result.values[: count + 1],
                result.slopes[:count],
                result.switches[: count - 1],
                result.mismatches,
                result.contradictions,
                whole,
            )
        )
        limit -= count
    return kept


class Chain:
    """One segment's sub-intervals, from left to right; :meth:`join_ready` is called whenever one is done."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.intervals: list[Interval] = []
        self._joined = 0
        # Whether the sub-interval that is next has been compared with what it begins at.
        self._open = False
        self._mismatches = 0
        # Winners other than those that the next sub-interval began with, by group and unit: see `_with_history`.
        self._carried: dict[tuple[int, int], int] = {}
        # (t, number of the evaluation, event)
        self._events: list[tuple[float, int, Event]] = []
        self._times: list[float] = []
        self._values: list[Floats] = []
        self._slopes: list[Floats] = []

    @property
    def complete(self) -> bool:
        return bool(self.intervals) and self.intervals[-1].end == 1.0 and all(part.done for part in self.intervals)

    def join_ready(self) -> None:
        """Join finished sub-intervals to what lies left of them, and let go of their patterns."""
        found = self.intervals
        while self._joined < len(found):
            part = found[self._joined]
            if not part.times:
                return
            if not self._open:
                if self._joined:
                    at_border, wrong, self._carried = self._join(found[self._joined - 1], part.borders, part.start)
                    self._mismatches += wrong
                    self._events += [(event.t, len(self._times) - 1, event) for event in at_border]
                    found[self._joined - 1].final = []
                part.borders = []
                self._open = True
            if not part.done:
                return
            self._append(part)
            self._open = False
            self._joined += 1

    def _append(self, part: Interval) -> None:
        events, self._carried = self._with_history(part)
        self._events += [(event.t, len(self._times) + event.step, event) for event in events]
        self._times += part.times
        self._values += part.values
        self._slopes += part.slopes

    def whole(self, value: Floats, borders: Sequence[Border], contradictions: int) -> SegmentResult:
        """A segment that was walked to its end, where it has ``value`` and the pattern was computed afresh."""
        self.join_ready()
        _, wrong, _ = self._join(self.intervals[-1], borders, 1.0, last=True)
        # A unit that is at its kink at the end, up to rounding, switches nowhere: as at the start.
        at_end = {
            (index, place % group.units): blur
            for index, (group, border) in enumerate(zip(self.groups, borders, strict=True))
            for place, (_, blur) in border.offsets.items()
        }
        self._events = [
            entry for entry in self._events if 1.0 - entry[0] > at_end.get((entry[2].group, entry[2].place), 0.0)
        ]
        return self._regions((1.0, value), self._mismatches + wrong, contradictions, True)

    def beginning(self, contradictions: int) -> SegmentResult:
        """A segment up to the first sub-interval that is not done, and what is known of that."""
        self.join_ready()
        if self._open:
            self._append(self.intervals[self._joined])
        if not self._times:
            empty = np.zeros((0, 0))
            return SegmentResult(np.zeros(1), empty, empty, (), 0, 0, False)
        # The region that the walk was in when it ended has no end yet.
        limit = self._times[-1]
        self._events = [entry for entry in self._events if entry[0] < limit - SAME_T]
        return self._regions((limit, self._values[-1]), self._mismatches, contradictions, False)

    def _regions(
        self, stop: tuple[float, Floats], mismatches: int, contradictions: int, complete: bool
    ) -> SegmentResult:
        events, times, values, slopes = self._events, self._times, self._values, self._slopes
        events.sort(key=lambda entry: (entry[0], entry[1]))
        numbers = cluster(np.array([entry[0] for entry in events]))
        edges, at_edges, inside = [0.0], [values[0]], []
        switches: list[tuple[Switch, ...]] = []
        # The evaluation before the first switch may be none of this segment's.
        reached = -1
        begin = 0
        current = 0
        # The slope of the first region: after whatever switches at the very start.
        while begin < len(events):
            stop_index = int(np.searchsorted(numbers, numbers[begin], side="right"))
            together = events[begin:stop_index]
            begin = stop_index
            t = together[0][0]
            reached = max(reached, *(entry[1] for entry in together))
            after = min(reached + 1, len(times) - 1)
            # Further evaluations at the same place were made before the pattern settled.
            while after + 1 < len(times) and times[after + 1] - times[after] <= SAME_T:
                after += 1
            # Rounding may turn round the order of times within a breakpoint; the order of steps is the true one.
            net = self._net([entry[2] for entry in sorted(together, key=lambda entry: entry[1])])
            if t <= SAME_T:
                current = after
                continue
            if not net or t >= stop[0] - SAME_T:
                continue
            inside.append(slopes[current])
            edges.append(t)
            at_edges.append(values[after] + slopes[after] * (t - times[after]))
            switches.append(net)
            current = after
        inside.append(slopes[current])
        edges.append(stop[0])
        at_edges.append(stop[1])
        return SegmentResult(
            np.array(edges),
            np.array(at_edges),
            np.array(inside),
            tuple(switches),
            mismatches,
            contradictions,
            complete,
        )

    def _net(self, events: Sequence[Event]) -> tuple[Switch, ...]:
        """What changed in the end among units that switch together, some to and fro."""
        if len(events) == 1:
            group, only = self.groups[events[0].group], events[0]
            return (Switch(group.label, int(group.unit[only.place]), only.before, only.after),)
        first: dict[tuple[int, int], int] = {}
        last: dict[tuple[int, int], int] = {}
        for event in events:
            first.setdefault((event.group, event.place), event.before)
            last[event.group, event.place] = event.after
        # Kinks of one node that are passed together (a Clip of no width) are one switch of its unit.
        by_unit: dict[tuple[str, int], tuple[int, int]] = {}
        for (index, place), before in first.items():
            after = last[index, place]
            if before == after:
                continue
            group = self.groups[index]
            key = (group.label, int(group.unit[place]))
            if key in by_unit:
                known = by_unit[key]
                before, after = (
                    (min(known[0], before), max(known[1], after))
                    if after > before
                    else (max(known[0], before), min(known[1], after))
                )
            by_unit[key] = (before, after)
        return tuple(Switch(label, unit, *change) for (label, unit), change in by_unit.items())

    def _join(
        self, part: Interval, borders: Sequence[Border], t: float, last: bool = False
    ) -> tuple[list[Event], int, dict[tuple[int, int], int]]:
        """Compare the pattern at a sub-interval's end with the one computed afresh there.

        Returns the switches that fall on the border itself, the number of mismatches, and the winners that the
        next sub-interval has to be read with.
        """
        assert part.final is not None
        events: list[Event] = []
        wrong = 0
        history: dict[tuple[int, int], int] = {}
        for index, (group, border) in enumerate(zip(self.groups, borders, strict=True)):
            final = part.final[index].copy()
            for (owner, unit), winner in self._carried.items():
                if owner == index:
                    final[unit] = winner
            different = np.flatnonzero(final != border.state)
            if not len(different):
                continue
            size = max(group.count, 1) * group.units
            doubtful = np.unpackbits(border.doubtful, count=size).astype(bool)
            still = np.unpackbits(border.still, count=size).astype(bool)
            for unit in map(int, different):
                before, after = int(final[unit]), int(border.state[unit])
                where = before * group.units + unit if group.count else unit
                if not doubtful[where]:
                    wrong += 1
                elif still[where]:
                    if group.count:
                        history[index, unit] = before
                elif not last:
                    shift = 0 if group.count else group.kink
                    # Not before the last switch of the sub-interval that ends here.
                    when = max(t + border.offsets[where][0], part.times[-1])
                    events.append(Event(when, 0, index, unit, before + shift, after + shift))
        return events, wrong, history

    def _with_history(self, part: Interval) -> tuple[list[Event], dict[tuple[int, int], int]]:
        """The sub-interval's events, and the winners at its end, had it begun with the winners carried so far."""
        if not self._carried:
            return part.events, {}
        events = part.events
        remaining: dict[tuple[int, int], int] = {}
        for (index, unit), winner in self._carried.items():
            tie = part.ties.get((index, unit, winner))
            mine = [e for e in events if (e.group, e.place) == (index, unit)]
            others = [e for e in events if (e.group, e.place) != (index, unit)]
            if tie is None:
                # It ties to the very end: it never stopped being a maximiser.
                events = others
                remaining[index, unit] = winner
                continue
            t, merged_with, step = tie
            later = [e for e in mine if e.step > step]
            if merged_with != winner:
                later.append(Event(t, max(step, 0), index, unit, winner, merged_with))
            events = others + later
        return events, remaining
