"""Putting a segment together from the sub-intervals that lanes walked, in any order, side by side.

The pattern that a sub-interval ends with is compared with the one that was computed afresh where the next begins: a
difference that rounding explains is a switch at the border or none at all, any other is a mismatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T, cluster
from lronnx.graph import Array
from lronnx.ops.switching import Group
from lronnx.regions import Floats, Switch

Branches = NDArray[np.signedinteger]


class Event(NamedTuple):
    """A unit changes its branch at ``t``, found at step ``step`` of its sub-interval."""

    t: float
    step: int
    group: int
    place: int
    before: int
    after: int


# Many of them; ``step`` is numbered over the whole segment once sub-intervals are joined.
EVENTS = np.dtype([("t", "f8"), ("step", "i8"), ("group", "i8"), ("place", "i8"), ("before", "i8"), ("after", "i8")])
Events = NDArray[np.void]


@dataclass(frozen=True)
class Doubt:
    """The units of a group about which rounding leaves doubt at a border.

    ``doubtful``: flat over units (kinks) or (candidates, units), packed: so close to the kink, or to the winner, that
    rounding decides; ``still``: moreover they do not move relative to it. ``offsets``: of the others of them, by flat
    position, how far from the border, in t, they are at the kink, and how well rounding lets one tell.
    """

    doubtful: NDArray[np.uint8]
    still: NDArray[np.uint8]
    offsets: dict[int, tuple[float, float]]


@dataclass
class Border:
    """A group's pattern where a sub-interval begins: branches, flat; and what is in doubt, once it is asked for."""

    state: Branches
    find: Callable[[], Doubt]

    @cached_property
    def doubt(self) -> Doubt:
        return self.find()


def doubt_of(
    group: Group,
    state: Branches,
    values: Array,
    slopes: Array,
    value_sizes: Floats,
    slope_sizes: Floats,
    noise: float,
    zero: float,
) -> Doubt:
    """What is in doubt about a group, from what was evaluated there: switching functions, slopes and the sizes of both.

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
        return Doubt(nothing, nothing, {})
    still = doubtful & (speed <= noise * slope_sizes)
    moving = np.flatnonzero(doubtful & ~still)
    away = values.reshape(-1)[moving] / slopes.reshape(-1)[moving]
    blurs = zero * value_sizes.reshape(-1)[moving] / speed.reshape(-1)[moving]
    # A candidate behind the winner by ``values`` catches up where its lead grows to that.
    away = away if group.count else -away
    offsets = dict(zip(moving.tolist(), zip(away.tolist(), blurs.tolist(), strict=True), strict=True))
    return Doubt(np.packbits(doubtful.reshape(-1)), np.packbits(still.reshape(-1)), offsets)


@dataclass
class Interval:
    """A sub-interval of a segment: what a lane found on it."""

    segment: int
    start: float
    end: float
    # Evaluations: where, with what outputs and slopes; and what switches. One by one, or all at once as arrays.
    times: list[float] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    slopes: list[Floats] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    arrays: tuple[Floats, Floats, Floats, Events] | None = None
    # Steps to another place.
    moves: int = 0
    borders: list[Border] = field(default_factory=list)
    final: list[Branches] | None = None
    # Candidates that tie with the winner at the start, (group, unit, candidate): when their tie ended, and how.
    ties: dict[tuple[int, int, int], tuple[float, int, int]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.final is not None

    def found(self) -> tuple[Floats, Floats, Floats, Events]:
        """Where it was evaluated, outputs and slopes there, and events."""
        if self.arrays is not None:
            return self.arrays
        held = (np.asarray(self.times), np.asarray(self.values), np.asarray(self.slopes))
        return *held, np.array(self.events, EVENTS)

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
        self._events: list[Events] = []
        # Evaluations so far, and where, with what values and slopes, part by part.
        self._count = 0
        self._times: list[Floats] = []
        self._values: list[Floats] = []
        self._slopes: list[Floats] = []

    @property
    def reached(self) -> float:
        """Where the sub-interval begins that is to be joined next, which may not be among them yet."""
        return self.intervals[self._joined - 1].end if self._joined else 0.0

    @property
    def complete(self) -> bool:
        return bool(self.intervals) and self._joined == len(self.intervals) and self.intervals[-1].end == 1.0

    def join_ready(self) -> None:
        """Join finished sub-intervals to what lies left of them, and let go of their patterns."""
        found = self.intervals
        while self._joined < len(found):
            part = found[self._joined]
            if not (part.times or part.arrays) or part.start != self.reached:
                return
            if not self._open:
                if self._joined:
                    at_border, wrong, self._carried = self._join(found[self._joined - 1], part.borders, part.start)
                    self._mismatches += wrong
                    self._add(np.array(at_border, EVENTS), self._count - 1)
                    found[self._joined - 1].final = []
                part.borders = []
                self._open = True
            if not part.done:
                return
            self._append(part)
            self._open = False
            self._joined += 1

    def _append(self, part: Interval) -> None:
        times, values, slopes, events = part.found()
        events, self._carried = self._with_history(part, events)
        self._add(events, self._count)
        self._count += len(times)
        self._times.append(times)
        self._values.append(values)
        self._slopes.append(slopes)

    def _add(self, events: Events, first: int) -> None:
        """Note events whose steps are numbered from the evaluation ``first`` on."""
        if len(events):
            events["step"] += first
            self._events.append(events)

    def whole(self, value: Floats, borders: Sequence[Border], contradictions: int) -> SegmentResult:
        """A segment that was walked to its end, where it has ``value`` and the pattern was computed afresh."""
        self.join_ready()
        _, wrong, _ = self._join(self.intervals[-1], borders, 1.0, last=True)
        # A unit that is at its kink at the end, up to rounding, switches nowhere: as at the start.
        at_end = {
            (index, place % group.units): blur
            for index, (group, border) in enumerate(zip(self.groups, borders, strict=True))
            for place, (_, blur) in border.doubt.offsets.items()
        }
        events = self._all_events()
        for (index, place), blur in at_end.items():
            gone = (events["group"] == index) & (events["place"] == place) & (1.0 - events["t"] <= blur)
            events = events[~gone]
        return self._regions(events, (1.0, value), self._mismatches + wrong, contradictions, True)

    def beginning(self, contradictions: int) -> SegmentResult:
        """A segment up to the first sub-interval that is not done, and what is known of that."""
        self.join_ready()
        if self._open:
            self._append(self.intervals[self._joined])
        if not self._count:
            empty = np.zeros((0, 0))
            return SegmentResult(np.zeros(1), empty, empty, (), 0, 0, False)
        # The region that the walk was in when it ended has no end yet.
        limit = float(self._times[-1][-1])
        events = self._all_events()
        events = events[events["t"] < limit - SAME_T]
        return self._regions(events, (limit, self._values[-1][-1]), self._mismatches, contradictions, False)

    def _all_events(self) -> Events:
        return np.concatenate([np.zeros(0, EVENTS), *self._events])

    def _regions(
        self, events: Events, stop: tuple[float, Floats], mismatches: int, contradictions: int, complete: bool
    ) -> SegmentResult:
        times, values, slopes = (np.concatenate(held) for held in (self._times, self._values, self._slopes))
        if not len(events):
            edges = np.array([0.0, stop[0]])
            return SegmentResult(
                edges, np.stack([values[0], stop[1]]), slopes[:1], (), mismatches, contradictions, complete
            )
        events = events[np.lexsort((events["step"], events["t"]))]
        numbers = cluster(events["t"])
        first = np.searchsorted(numbers, np.arange(numbers[-1] + 1))
        t = events["t"][first]
        reached = np.maximum.accumulate(np.maximum.reduceat(events["step"], first))
        # Further evaluations at the same place were made before the pattern settled.
        lasting = np.flatnonzero(np.append(np.diff(times) > SAME_T, True))
        after = lasting[np.searchsorted(lasting, np.minimum(reached + 1, len(times) - 1))]
        # Rounding may turn round the order of times within a breakpoint; the order of steps is the true one.
        nets = self._nets(events, first)
        changes = np.fromiter((bool(net) for net in nets), np.bool_, len(nets))
        at_start = t <= SAME_T
        kept = np.flatnonzero(changes & ~at_start & (t < stop[0] - SAME_T))
        # The slope of the first region: after whatever switches at the very start.
        begin = after[np.flatnonzero(at_start)[-1]] if at_start.any() else 0
        places = after[kept]
        at_edges = values[places] + slopes[places] * (t[kept] - times[places])[:, None]
        return SegmentResult(
            np.concatenate([[0.0], t[kept], [stop[0]]]),
            np.concatenate([values[:1], at_edges, stop[1][None]]),
            slopes[np.concatenate([[begin], places]).astype(np.int64)],
            tuple(nets[i] for i in kept.tolist()),
            mismatches,
            contradictions,
            complete,
        )

    def _nets(self, events: Events, first: NDArray[np.int64]) -> list[tuple[Switch, ...]]:
        """What switches in each breakpoint; its events begin at ``first``."""
        units = np.empty(len(events), np.int64)
        for index in np.unique(events["group"]).tolist():
            mine = events["group"] == index
            units[mine] = self.groups[index].unit[events["place"][mine]]
        labels = [self.groups[index].label for index in events["group"].tolist()]
        switches = list(map(Switch, labels, units.tolist(), events["before"].tolist(), events["after"].tolist()))
        nets: list[tuple[Switch, ...]] = []
        for begin, end in pairwise([*first.tolist(), len(events)]):
            if end - begin == 1:
                nets.append((switches[begin],))
            else:
                together = events[begin:end]
                together = together[np.argsort(together["step"], kind="stable")]
                nets.append(self._net([Event(*row) for row in together.tolist()]))
        return nets

    def _net(self, events: Sequence[Event]) -> tuple[Switch, ...]:
        """What changed in the end among units that switch together, some to and fro."""
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
            final = part.final[index]
            if group.count and self._carried:
                final = final.copy()
                for (owner, unit), winner in self._carried.items():
                    if owner == index:
                        final[unit] = winner
            different = np.flatnonzero(final != border.state)
            if not len(different):
                continue
            size = max(group.count, 1) * group.units
            doubtful = np.unpackbits(border.doubt.doubtful, count=size).astype(bool)
            still = np.unpackbits(border.doubt.still, count=size).astype(bool)
            for unit in map(int, different):
                before, after = int(final[unit]), int(border.state[unit])
                where = before * group.units + unit if group.count else unit
                if not doubtful[where]:
                    wrong += 1
                elif still[where] and group.count:
                    history[index, unit] = before
                elif not last:
                    shift = 0 if group.count else group.kink
                    # A unit may come to rest on its kink at the border itself. Others are not before the last switch
                    # of the sub-interval that ends here.
                    offset, _ = border.doubt.offsets.get(where, (0.0, 0.0))
                    when = max(t + offset, float(self._times[-1][-1]))
                    events.append(Event(when, 0, index, unit, before + shift, after + shift))
        return events, wrong, history

    def _with_history(self, part: Interval, events: Events) -> tuple[Events, dict[tuple[int, int], int]]:
        """The sub-interval's events, and the winners at its end, had it begun with the winners carried so far."""
        if not self._carried:
            return events, {}
        others: list[Event] = []
        mine: dict[tuple[int, int], list[Event]] = {}
        for event in map(Event._make, events.tolist()):
            key = event.group, event.place
            if key in self._carried:
                mine.setdefault(key, []).append(event)
            else:
                others.append(event)
        remaining: dict[tuple[int, int], int] = {}
        for (index, unit), winner in self._carried.items():
            tie = part.ties.get((index, unit, winner))
            if tie is None:
                # It ties to the very end: it never stopped being a maximiser.
                remaining[index, unit] = winner
                continue
            t, merged_with, step = tie
            if merged_with != winner:
                others.append(Event(t, max(step, 0), index, unit, winner, merged_with))
            others += [event for event in mine.get((index, unit), []) if event.step > step]
        return np.array(others, EVENTS), remaining
