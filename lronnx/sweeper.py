"""The sweep: layer by layer over stretches of segments, the slopes of all their regions pushed through at once.

A stretch of a segment, a *chunk*, starts as a single row: an interval with one slope. Every stage pushes the slopes of
all rows through the affine nodes up to the next switching nodes; where a unit passes its kink inside a row, or another
candidate takes the lead, the row is cut in two. The rows that come out at the network's end are the regions. So a layer
is evaluated once per region that the layers before it make, and never more than once per region of the network.

Values follow from where the chunk starts, where the network is evaluated afresh, by summation of the slopes over the
widths of the rows. The pattern that a chunk ends with is compared with the one computed afresh where the next begins.

This is the second algorithm, independent of the walk: no state is carried from breakpoint to breakpoint. Its idea is
that of ExactLine (Sotoudeh and Thakur, "Computing Linear Restrictions of Neural Networks", NeurIPS 2019), which pushes
points; slopes keep their accuracy on regions however small, need no biases, and are what is asked for in the end.
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np

from lronnx.bends import (
    Columns,
    Flips,
    Integers,
    Judge,
    Passing,
    Rows,
    choice_passings,
    contested,
    kink_flips,
    reachable,
)
from lronnx.graph import Array
from lronnx.joining import (
    EVENTS,
    Border,
    Chain,
    Doubt,
    Events,
    Interval,
    SegmentResult,
    doubt_of,
    first_regions,
)
from lronnx.ops.switching import NUMBERS
from lronnx.regions import Floats
from lronnx.stages import Bend, Stage
from lronnx.starts import Afresh, Places, Start, Values, as_branches
from lronnx.tensors import Programs, Worker
from lronnx.walker import AWOKEN, Progress, Stop

# Rows that a chunk should end with: few enough that what a stage works on stays in the processor's cache (so many
# numbers), enough to pay for the evaluation where the chunk starts and for the steps in Python. On a VGG8 whose largest
# layer has 6144 units, chunks of 128, 256, 384 and 512 rows are swept at 7250, 8000, 7700 and 8050 regions per second,
# in single precision at 11700, 14900, 16000 and 16600.
NUMBERS_TOGETHER = 3_000_000
LEAST_ROWS, MOST_ROWS = 32, 4096
# A GPU wants to be busy.
DEVICE_ROWS = 4096
# Chunks whose starts are evaluated together, at least; more of them if that are no more numbers than these.
PLANNED = 8
FRESH_NUMBERS = 400_000
ODD = 0.9618034
# So many chunks may rely on the same sizes.
MEASURED_FOR = 32
# Chunks are planned to end with that share of the rows they may have: what is cut off costs an evaluation of its own.
FILLED = 0.6
# Numbers to compute from which on several threads are worth it: some 20 ms of work.
SHARED_FROM = 8_000_000


# A segment and a place on it.
Place = tuple[int, float]


@dataclass
class _Chunk:
    interval: Interval
    start: Start
    # The largest sizes on it, by group, once they were asked for.
    sizes: list[tuple[Floats, Floats]] = field(default_factory=list)

    @property
    def length(self) -> float:
        return self.interval.end - self.interval.start


@dataclass(frozen=True)
class _Node:
    """A switching node: its stage and its groups' numbers."""

    bend: Bend
    groups: tuple[int, ...]


@dataclass
class _Bent:
    """What was found of a switching node on a batch of chunks: flips per kink, or passings of the winner."""

    # On whatever the stages run on.
    raw: Any
    flips: list[Flips] = field(default_factory=list)
    passings: list[Passing] = field(default_factory=list)


@dataclass(frozen=True)
class _Near:
    """A group where the chunks of a batch start, chunks in front: values, their sizes and those of their slopes.

    ``limit``: what is no more may be noise; ``awake``, by chunk: what is more than that the sizes cannot explain.
    """

    values: Floats
    sizes: Floats
    slope_sizes: Floats
    limit: Floats
    awake: Floats


class Sweeper:
    """Sweeps segments. ``programs``: the network's stages; ``places`` computes single places afresh.

    ``dtype``: of the slopes; ``rows``: how many a chunk may end with; ``workers``: threads.
    """

    def __init__(
        self,
        programs: Programs,
        places: Places,
        dtype: str,
        input_name: str,
        rows: int,
        workers: int,
    ) -> None:
        self.programs = programs
        self.stages: tuple[Stage, ...] = programs.stages
        self.places = places
        self.groups = places.groups
        self.dtype = dtype
        self.input_name = input_name
        self.lanes = max(rows, 2)
        self.workers = max(workers, 1)
        numbers = NUMBERS[dtype]
        # Where a chunk starts values are always double: in single precision no noise is passed on from there.
        self._is_double = dtype == "float64"
        self.judge = Judge(
            numbers["noise"],
            numbers["zero"] if self._is_double else 0.0,
            0.0 if self._is_double else float(np.finfo(dtype).eps),
            # Sizes are those of the chunk's own neighbourhood: no need to stay as far from noise as a walk.
            numbers["doubt"] if self._is_double else 4 * numbers["noise"],
            AWOKEN,
        )
        found: dict[str, list[int]] = {}
        for index, group in enumerate(self.groups):
            found.setdefault(group.label, []).append(index)
        self.nodes = {
            bend.label: _Node(bend, tuple(found.get(bend.label, ()))) for stage in self.stages for bend in stage.bends
        }
        # Numbers that one row takes in all stages.
        self._numbers = sum(
            sum(prod(source.physical) for source in stage.sources) + sum(bend.numbers for bend in stage.bends)
            for stage in self.stages
        )
        self._rows_passed = 0.0

    @property
    def passes(self) -> float:
        """Evaluations of a single input, a slope counting as one; of part of the network, that part."""
        return self._rows_passed + self.places.passes

    # ---- segments

    def run(
        self,
        points: Floats,
        max_regions: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
    ) -> list[SegmentResult]:
        """Sweep the segments between neighbouring ``points`` (P, *sample), P - 1 of them: see :meth:`Walker.run`."""
        self.points = points
        self.directions = np.diff(points, axis=0)
        self.segments = len(self.directions)
        self._chains = [Chain(self.groups) for _ in range(self.segments)]
        self.contradictions = np.zeros(self.segments, np.int64)
        self.max_regions = max_regions
        self._lock = threading.RLock()
        self._spans = deque((segment, 0.0, 1.0) for segment in range(self.segments))
        self._planned: deque[_Chunk] = deque()
        # In t of all segments together, as is what was swept.
        self._unplanned = float(self.segments)
        # By segment the sizes measured last, and how many chunks have been planned since.
        self._sizes: dict[int, list[tuple[Floats, Floats]]] = {}
        self._ages: dict[int, int] = {}
        # Segments that are put together already.
        self._whole: dict[int, SegmentResult] = {}
        self._busy = 0
        self._swept = 0.0
        self._found = 0
        self._wish = Stop.NO
        # The end of what has been swept, gaps or not.
        self._furthest: Place = 0, 0.0
        self._failed = False
        # Threads at work.
        self._active = 1
        with ThreadPoolExecutor(max(self.workers - 1, 1), "lronnx-sweep") as pool:
            others: list[Future[None]] = []

            def help_out() -> None:
                """Have all threads work, once there is enough to do."""
                if self.workers > 1 and not others and self._is_worth_sharing():
                    self._active = self.workers
                    others.extend(pool.submit(self._work, number, None, None) for number in range(1, self.workers))

            try:
                self._work(0, progress, stop, help_out)
            except BaseException:
                self._failed = True
                raise
            for other in others:
                other.result()
        return self._results()

    def _is_worth_sharing(self) -> bool:
        """Whether what is left to do takes longer than threads take to get in each other's way."""
        if not self._swept:
            return False
        expected = max(self._found, 1) / self._swept * (self.segments - self._swept)
        return expected * self._numbers > SHARED_FROM

    def _work(
        self,
        number: int,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop] | None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Sweep chunks until there are none, in one thread; ``after`` is called after each batch."""
        worker = self.programs.worker(number)
        try:
            while not self._failed:
                if stop is not None:
                    self._wish = stop()
                if progress is not None:
                    progress(Progress(min(self._swept / self.segments, 1.0), self._found))
                with self._lock:
                    batch = self._take()
                    self._busy += bool(batch)
                if not batch:
                    if self._busy and self._wish is not Stop.NOW and not self._enough():
                        # What another thread cuts off may still come back.
                        threading.Event().wait(2e-4)
                        continue
                    return
                try:
                    self._sweep(worker, batch)
                finally:
                    with self._lock:
                        self._busy -= 1
                after()
        except BaseException:
            self._failed = True
            raise

    def _enough(self) -> bool:
        return self.max_regions is not None and self._contiguous() >= self.max_regions

    def _take(self) -> list[_Chunk]:
        """The next chunks to sweep together, from left to right."""
        if self._enough():
            return []
        if self._is_next() and self._is_wanted(self._spans[0][:2]):
            self._plan()
        batch: list[_Chunk] = []
        expected = 0.0
        while self._planned and self._is_wanted(_place(self._planned[0])):
            regions = self._expected(self._planned[0])
            if batch and expected + regions > self.lanes:
                break
            batch.append(self._planned.popleft())
            expected += regions
        return batch

    def _together(self) -> int:
        """At how many places the network is evaluated afresh together."""
        return int(np.clip(FRESH_NUMBERS // max(self._numbers, 1), PLANNED, 16 * PLANNED))

    def _is_next(self) -> bool:
        """Whether there is a span that lies in front of all chunks that are planned."""
        return bool(self._spans) and (not self._planned or self._spans[0][:2] < _place(self._planned[0]))

    def _is_wanted(self, place: Place) -> bool:
        """Whether a chunk that starts there is to be swept: if the run should end, only what fills a gap."""
        return self._wish is Stop.NO or (self._wish is Stop.SOON and place < self._furthest)

    def _expected(self, chunk: _Chunk) -> float:
        """How many rows a chunk will end with, as far as the density found so far tells."""
        return chunk.length * max(self._found, 1) / self._swept if self._swept else float(self.lanes)

    def _plan(self) -> None:
        """Decide on the next chunks and evaluate their starts."""
        wanted: list[Interval] = []
        known = self._swept > 0
        density = max(self._found, 1) / self._swept if known else 0.0
        most = min(self._together() * self._active, self.lanes) if known else 1
        while len(wanted) < most and self._is_next():
            segment, start, end = self._spans.popleft()
            share = self._unplanned / self._active
            # Nothing is known yet at first: begin with little. Later no chunk should be too small to pay for its start.
            width = max(min(FILLED * self.lanes / density, share), 4 / density) if known else share / 128
            # An odd factor keeps borders off the round numbers at which constructed networks bend.
            middle = start + width * ODD
            if middle < end - width / 4:
                self._spans.appendleft((segment, middle, end))
                end = middle
            self._unplanned -= end - start
            interval = Interval(segment, start, end)
            # They are planned from left to right, but for what is left of one that was cut short.
            bisect.insort(self._chains[segment].intervals, interval, key=lambda other: other.start)
            wanted.append(interval)
        self._planned.extendleft(reversed(self._begin(wanted)))
        for segment in [segment for segment in self._sizes if segment < wanted[0].segment]:
            del self._sizes[segment], self._ages[segment]

    def _begin(self, intervals: Sequence[Interval]) -> list[_Chunk]:
        """Evaluate where chunks start."""
        if not intervals:
            return []
        places = [(interval.segment, interval.start) for interval in intervals]
        first: dict[int, float] = {}
        for segment, t in places:
            # Sizes change slowly: those of one chunk do for many that follow.
            age = self._ages[segment] = self._ages.get(segment, MEASURED_FOR) + 1
            if age > MEASURED_FOR:
                self._ages[segment] = 0
                first[segment] = t
        known: dict[Place, Afresh] = {}
        for segment, afresh in zip(first, self._evaluate(list(first.items())), strict=True):
            self._sizes[segment] = afresh.sizes
            if self._is_double:
                known[segment, first[segment]] = afresh
        starts: dict[Place, Start] = {}
        others = [place for place in places if place not in known]
        for place, found in zip(others, self._values(others), strict=True):
            start = self.places.start(found, self._sizes[place[0]], self.judge.doubt)
            if not (self._is_double and self.places.is_doubtful(start)):
                starts[place] = start
        # Noise that is passed on is told from numbers only where sizes are known.
        doubtful = [place for place in others if place not in starts]
        known.update(zip(doubtful, self._evaluate(doubtful), strict=True))
        for place, afresh in known.items():
            starts[place] = self.places.start(afresh, afresh.sizes, self.judge.doubt)
        for segment in first:
            self._check_finite(segment, [size for pair in self._sizes[segment] for size in pair])
        chunks = []
        for interval, place in zip(intervals, places, strict=True):
            start = starts[place]
            self._check_finite(interval.segment, start.values)
            interval.borders = self._borders(start.branches, place)
            chunks.append(_Chunk(interval, start))
        return chunks

    def _check_finite(self, segment: int, arrays: Sequence[Floats]) -> None:
        """Nothing can be judged where numbers leave the range of their type."""
        if not all(np.isfinite(array).all() for array in arrays):
            self.contradictions[segment] += 1

    def _evaluate(self, places: Sequence[Place]) -> list[Afresh]:
        """The network at (segment, t), computed afresh."""
        if not places:
            return []
        directions = np.stack([self.directions[segment] for segment, _ in places])
        with self._lock:
            return self.places.afresh(self._points(places), directions)

    def _values(self, places: Sequence[Place]) -> list[Values]:
        """The values at (segment, t)."""
        if not places:
            return []
        with self._lock:
            return self.places.values(self._points(places))

    def _points(self, places: Sequence[Place]) -> Floats:
        return np.stack([self.points[segment] + t * self.directions[segment] for segment, t in places])

    def _borders(self, branches: Sequence[Array], place: Place, known: Afresh | None = None) -> list[Border]:
        """The pattern at a place; what is in doubt there is found by an evaluation afresh, if it is asked for."""
        found = [] if known is None else [known]

        def doubt(index: int) -> Doubt:
            if not found:
                found.extend(self._evaluate([place]))
            group, numbers, (afresh,) = self.groups[index], NUMBERS[self.dtype], found
            state = as_branches(group, afresh.branches[index])
            sizes = afresh.sizes[index]
            return doubt_of(
                group, state, afresh.values[index], afresh.slopes[index], *sizes, numbers["noise"], numbers["zero"]
            )

        return [
            Border(as_branches(group, branch), partial(doubt, index))
            for index, (group, branch) in enumerate(zip(self.groups, branches, strict=True))
        ]

    # ---- a batch of chunks

    def _sweep(self, worker: Worker, batch: list[_Chunk]) -> None:
        """Find the regions of some chunks; what lies behind the rows that a chunk may have is left for later."""
        count = len(batch)
        ends = np.array([chunk.interval.end for chunk in batch])
        rows = Rows.of(np.arange(count), np.array([chunk.interval.start for chunk in batch]), ends)
        directions = np.stack([self.directions[chunk.interval.segment].reshape(-1) for chunk in batch])
        held: dict[str, Any] = {self.input_name: directions.astype(self.dtype)}
        # Which row of the tensor each row now lies in.
        within: dict[str, Integers] = {self.input_name: np.arange(count)}
        bent: dict[str, _Bent] = {}
        limit = self.lanes if count == 1 else max(2 * self.lanes // count, 8)
        passes = 0.0
        # So it is if the output does not depend on the input.
        slope = np.zeros((count, len(batch[0].start.value)))
        for number, stage in enumerate(self.stages):
            inputs: dict[str, Any] = {}
            for source in stage.sources:
                at = within[source.tensor]
                if source.bend is None:
                    inputs[source.name] = worker.gather(number, source.name, held[source.tensor], at)
                elif source.bend.count:
                    positions = self._chosen(source.bend, bent[source.bend.label], batch, rows, at)
                    inputs[source.name] = worker.choose(
                        number, source.name, bent[source.bend.label].raw, positions, source.bend.sign
                    )
                else:
                    inputs[source.name] = self._activated(
                        worker, number, source.name, source.bend, bent[source.bend.label], batch, rows, at
                    )
            made = worker.run(number, inputs, len(rows.left))
            passes += stage.work * len(rows.left)
            if number == len(self.stages) - 1:
                slope = worker.array(next(iter(made.values()))).astype(np.float64)
                break
            for name, kept in stage.exports:
                held[name] = made[kept]
                within[name] = np.arange(len(rows.left))
            for bend in stage.bends:
                bent[bend.label] = self._bend(worker, bend, made[bend.raw], batch, rows)
                within[bend.output] = np.arange(len(rows.left))
            rows, source_rows = self._cut(rows, [bent[bend.label] for bend in stage.bends], ends, limit)
            for name, at in within.items():
                within[name] = at[source_rows]
        with self._lock:
            self._rows_passed += passes
            self._keep(batch, rows, ends, slope, bent)
            done = {chunk.interval.segment for chunk in batch if self._chains[chunk.interval.segment].complete}
        # A large segment is concluded while other threads go on; many small ones are cheaper together, in the end.
        self._conclude([segment for segment in done if len(rows.left) * self._numbers > SHARED_FROM])

    def _cut(self, rows: Rows, found: Sequence[_Bent], ends: Floats, limit: int) -> tuple[Rows, Integers]:
        """Cut rows where units switch; where a chunk gets too many, it ends earlier."""
        owners: list[Integers] = []
        times: list[Floats] = []
        for one in found:
            owners += [flips.owner for flips in one.flips]
            times += [flips.t for flips in one.flips]
            if one.passings:
                owners.append(np.array([passing.owner for passing in one.passings]))
                times.append(np.array([passing.t for passing in one.passings]))
        if not owners:
            return rows, np.arange(len(rows.left))
        owner, t = np.concatenate(owners), np.concatenate(times)
        inside = t < ends[owner]
        cut, source, _ = rows.insert(owner[inside], t[inside], ends)
        counts = np.diff(cut.first)
        if not (counts > limit).any():
            return cut, source
        keep = np.arange(len(cut.left)) - cut.first[cut.owner] < limit
        for chunk in np.flatnonzero(counts > limit).tolist():
            last = cut.first[chunk] + limit - 1
            ends[chunk] = (cut.left[last] + cut.right[last]) / 2
        return Rows.of(cut.owner[keep], cut.left[keep], ends), source[keep]

    def _bend(self, worker: Worker, bend: Bend, raw: Any, batch: Sequence[_Chunk], rows: Rows) -> _Bent:
        """Where the units of a switching node switch."""
        found = _Bent(raw)
        if not self.nodes[bend.label].groups:
            return found
        most, least = worker.extremes(raw)
        lengths = np.array([chunk.length for chunk in batch])
        for index in self.nodes[bend.label].groups:
            values = _stacked([chunk.start.values[index] for chunk in batch])
            sizes = [_stacked([(chunk.sizes or chunk.start.sizes)[index][i] for chunk in batch]) for i in (0, 1)]
            limit = _stacked([chunk.start.limits[index][0] for chunk in batch])
            awake = np.array([chunk.start.limits[index][1] for chunk in batch])
            near = _Near(values, sizes[0], sizes[1], limit, awake)
            if bend.count:
                found.passings += self._passings(worker, bend, index, raw, batch, rows, near, most, least, lengths)
            else:
                found.flips.append(self._flips(worker, bend, index, raw, batch, rows, near, most, least, lengths))
        return found

    def _flips(
        self,
        worker: Worker,
        bend: Bend,
        index: int,
        raw: Any,
        batch: Sequence[_Chunk],
        rows: Rows,
        near: _Near,
        most: Array,
        least: Array,
        lengths: Floats,
    ) -> Flips:
        above = _stacked([chunk.start.branches[index] for chunk in batch])
        owner, unit = reachable(near.values, above, lengths, most, least, near.limit, near.awake)
        if not len(owner):
            nothing = np.zeros(0, np.int64)
            return Flips(nothing, nothing, np.zeros(0), nothing > 0, (nothing, nothing, nothing > 0))
        columns = Columns.of(rows, owner, unit, bend.numbers, partial(worker.pick, raw), partial(worker.take, raw))
        flips = kink_flips(
            rows,
            owner,
            unit,
            near.values[owner, unit],
            above[owner, unit],
            near.sizes[owner, unit],
            near.slope_sizes[owner, unit],
            near.limit[owner, unit],
            near.awake[owner],
            columns,
            self.judge,
            partial(self._measured, index, batch),
            partial(self._measured_rows, index, batch, rows),
        )
        for who, which, now in zip(*flips.corrected, strict=True):
            batch[who].start.branches[index][which] = now
        return flips

    def _passings(
        self,
        worker: Worker,
        bend: Bend,
        index: int,
        raw: Any,
        batch: Sequence[_Chunk],
        rows: Rows,
        near: _Near,
        most: Array,
        least: Array,
        lengths: Floats,
    ) -> list[Passing]:
        winners = _stacked([chunk.start.branches[index] for chunk in batch])
        shape = (bend.count, bend.units)
        owner, unit = contested(
            near.values, winners, lengths, most.reshape(shape), least.reshape(shape), near.limit, near.awake
        )
        if not len(owner):
            return []
        numbers = (np.arange(bend.count)[:, None] * bend.units + unit).reshape(-1)
        wide_owner = np.tile(owner, bend.count)
        columns = Columns.of(
            rows, wide_owner, numbers, bend.numbers, partial(worker.pick, raw), partial(worker.take, raw)
        )
        slopes = columns.slope.reshape(len(columns.slope), bend.count, len(owner))
        # The candidates of a unit are on the same rows; of a single chunk all columns are.
        first = slice(0, len(owner))
        mine = Columns(columns.row[:, first], columns.width[:, first], slopes, columns.real[:, first])

        passings, ties, corrected = choice_passings(
            rows,
            owner,
            unit,
            bend.units,
            near.values[owner, :, unit].T,
            slopes,
            mine,
            near.limit[owner, :, unit].T,
            near.awake[owner],
            winners[owner, unit],
            self.judge,
            partial(self._measured, index, batch),
            partial(self._measured_rows, index, batch, rows),
        )
        for p, winner in corrected:
            batch[owner[p]].start.branches[index][unit[p]] = winner
        for (who, which, candidate), (t, winner) in ties.items():
            # Numbered once the chunk's rows are known.
            batch[who].interval.ties[index, which, candidate] = t, winner, -1
        return passings

    def _measured(
        self, index: int, batch: Sequence[_Chunk], owner: Integers, number: Integers
    ) -> tuple[Floats, Floats]:
        """The largest sizes where a chunk starts, in its middle and where it ends."""
        size, slope_size = np.empty(len(owner)), np.empty(len(owner))
        for who in np.unique(owner).tolist():
            chunk = batch[who]
            if not chunk.sizes:
                interval = chunk.interval
                places = interval.start, (interval.start + interval.end) / 2, interval.end
                found = self._evaluate([(interval.segment, t) for t in places])
                chunk.sizes = [
                    (np.max([pair[0] for pair in pairs], axis=0), np.max([pair[1] for pair in pairs], axis=0))
                    for pairs in zip(*(afresh.sizes for afresh in found), strict=True)
                ]
            mine = owner == who
            for made, held in zip((size, slope_size), chunk.sizes[index], strict=True):
                made[mine] = held.reshape(-1)[number[mine]]
        return size, slope_size

    def _measured_rows(
        self, index: int, batch: Sequence[_Chunk], rows: Rows, row: Integers, which: Integers, number: Integers
    ) -> tuple[Floats, Floats]:
        """The largest sizes of some numbers in the middle of rows: ``row`` for ``number[which]``."""
        size, slope_size = np.zeros(len(number)), np.zeros(len(number))
        distinct, inverse = np.unique(row, return_inverse=True)
        places = [
            (batch[int(rows.owner[r])].interval.segment, float(rows.left[r] + rows.right[r]) / 2) for r in distinct
        ]
        for begin in range(0, len(places), PLANNED):
            found = self._evaluate(places[begin : begin + PLANNED])
            for offset, start in enumerate(found):
                for mine in np.unique(which[inverse.reshape(-1) == begin + offset]).tolist():
                    held, slope = (array.reshape(-1)[number[mine]] for array in start.sizes[index])
                    size[mine], slope_size[mine] = max(size[mine], held), max(slope_size[mine], slope)
        return size, slope_size

    # ---- slopes behind a switching node

    def _factors(self, bend: Bend, batch: Sequence[_Chunk]) -> tuple[Array, Integers]:
        """Factors where the chunks start, (chunks, units), and the branches, (chunks, units)."""
        groups = self.nodes[bend.label].groups
        shape = (len(batch), bend.units)
        branch = np.zeros(shape, np.int64)
        for index in groups:
            branch += _stacked([chunk.start.branches[index] for chunk in batch])
        return _by_branch(bend, branch, np.arange(bend.units)), branch

    def _activated(
        self,
        worker: Worker,
        number: int,
        name: str,
        bend: Bend,
        found: _Bent,
        batch: Sequence[_Chunk],
        rows: Rows,
        within: Integers,
    ) -> Any:
        factors, branch = self._factors(bend, batch)
        owner = np.concatenate([flips.owner for flips in found.flips] or [np.zeros(0, np.int64)])
        unit = np.concatenate([flips.unit for flips in found.flips] or [np.zeros(0, np.int64)])
        t = np.concatenate([flips.t for flips in found.flips] or [np.zeros(0)])
        change = np.concatenate([np.where(flips.before, -1, 1) for flips in found.flips] or [np.zeros(0, np.int64)])
        begin = rows_from(rows, owner, t)
        inside = begin < rows.first[owner + 1]
        owner, unit, change, begin = owner[inside], unit[inside], change[inside], begin[inside]
        positions, numbers = np.zeros(0, np.int64), np.zeros(0)
        if len(owner):
            pairs, inverse = np.unique(owner * bend.units + unit, return_inverse=True)
            who, which = pairs // bend.units, pairs % bend.units
            longest = int(np.diff(rows.first)[who].max())
            steps = np.zeros((longest, len(pairs)), np.int64)
            np.add.at(steps, (begin - rows.first[owner], inverse.reshape(-1)), change)
            branches = branch[who, which] + np.cumsum(steps, axis=0)
            row = rows.first[who] + np.arange(longest)[:, None]
            offset, place = np.nonzero((branches != branch[who, which]) & (row < rows.first[who + 1]))
            row, which = row[offset, place], which[place]
            raw = worker.pick(found.raw, within[row] * bend.units + which)
            numbers = raw * _by_branch(bend, branches[offset, place], which)
            positions = row * bend.units + which
        return worker.activate(
            number,
            name,
            found.raw,
            within,
            factors.astype(self.dtype),
            rows.owner,
            positions,
            numbers.astype(self.dtype),
        )

    def _chosen(self, bend: Bend, found: _Bent, batch: Sequence[_Chunk], rows: Rows, within: Integers) -> Integers:
        """Where the winners' slopes stand among those of the candidates, (rows, units)."""
        (index,) = self.nodes[bend.label].groups
        winners = _stacked([chunk.start.branches[index] for chunk in batch])
        number = winners * bend.units + np.arange(bend.units)
        positions: Integers = within[:, None] * bend.numbers + (number if len(batch) == 1 else number[rows.owner])
        if found.passings:
            owner = np.array([passing.owner for passing in found.passings])
            begin = rows_from(rows, owner, np.array([passing.t for passing in found.passings]))
            for first, passing in zip(begin.tolist(), found.passings, strict=True):
                end = rows.first[passing.owner + 1]
                positions[first:end, passing.unit] += (passing.after - passing.before) * bend.units
        return positions

    # ---- what a chunk found

    def _keep(
        self, batch: Sequence[_Chunk], rows: Rows, ends: Floats, slope: Floats, bent: Mapping[str, _Bent]
    ) -> None:
        """Note the regions of some chunks, and give back what was cut off of them."""
        tables: list[Events] = []
        finals = [[branch.copy() for branch in chunk.start.branches] for chunk in batch]
        for label, found in bent.items():
            node = self.nodes[label]
            for index, flips in zip(node.groups, found.flips, strict=False):
                inside = flips.t < ends[flips.owner]
                who, unit, t = flips.owner[inside], flips.unit[inside], flips.t[inside]
                above = flips.before[inside].astype(np.int64)
                kink = self.groups[index].kink
                at = rows_from(rows, who, t) - rows.first[who]
                tables.append(_events(who, t, at - 1, index, unit, kink + above, kink + 1 - above))
                for one, number, was in zip(who.tolist(), unit.tolist(), above.tolist(), strict=True):
                    finals[one][index][number] = not was
            passings = [passing for passing in found.passings if passing.t < ends[passing.owner]]
            if passings:
                who, unit, t, before, after = (np.array(held) for held in zip(*passings, strict=True))
                at = rows_from(rows, who, t) - rows.first[who]
                tables.append(_events(who, t, at - 1, node.groups[0], unit, before, after))
                for passing in passings:
                    finals[passing.owner][node.groups[0]][passing.unit] = passing.after
        events = np.concatenate([np.zeros(0, OWNED), *tables])
        for position, chunk in enumerate(batch):
            interval, own = chunk.interval, slice(rows.first[position], rows.first[position + 1])
            left = rows.left[own]
            slopes = slope[own]
            values = np.empty_like(slopes)
            values[0] = chunk.start.value
            np.cumsum((rows.right[own] - left)[:-1, None] * slopes[:-1], axis=0, out=values[1:])
            values[1:] += chunk.start.value
            interval.ties = {
                key: (t, winner, int(np.searchsorted(left, t)) - 1)
                for key, (t, winner, _) in interval.ties.items()
                if t < ends[position]
            }
            for border, group, branch in zip(interval.borders, self.groups, chunk.start.branches, strict=True):
                border.state = as_branches(group, branch)
            mine = events[events["owner"] == position]
            table = np.empty(len(mine), EVENTS)
            for key in EVENTS.names or ():
                table[key] = mine[key]
            interval.arrays = left, values, slopes, table
            interval.moves = len(left) - 1
            chain = self._chains[interval.segment]
            if ends[position] < interval.end:
                self._spans.appendleft((interval.segment, float(ends[position]), interval.end))
                self._unplanned += interval.end - float(ends[position])
                interval.end = float(ends[position])
            interval.final = [
                as_branches(group, branch) for group, branch in zip(self.groups, finals[position], strict=True)
            ]
            self._swept += chunk.length
            self._furthest = max(self._furthest, (interval.segment, interval.end))
            self._found += len(left) - 1
            chain.join_ready()

    # ---- all of it

    def _contiguous(self) -> int:
        """Regions found without a gap from the first point on."""
        count = 0
        for chain in self._chains:
            place = 0.0
            for interval in chain.intervals:
                if not interval.done or interval.start != place:
                    return count
                count += interval.moves
                place = interval.end
            if not chain.complete:
                return count
            count += 1
        return count

    def _results(self) -> list[SegmentResult]:
        count = next((k for k, chain in enumerate(self._chains) if not chain.complete), self.segments)
        self._conclude([segment for segment in range(count) if segment not in self._whole])
        results = [self._whole[segment] for segment in range(count)]
        if count < self.segments:
            rest = self._chains[count].beginning(int(self.contradictions[count]))
            if len(rest.t) > 1:
                results.append(rest)
        return results if self.max_regions is None else first_regions(results, self.max_regions)

    def _conclude(self, segments: Sequence[int]) -> None:
        """Put segments together that were swept to their ends."""
        for begin in range(0, len(segments), self._together()):
            places = [(segment, 1.0) for segment in segments[begin : begin + self._together()]]
            for (segment, _), end in zip(places, self._evaluate(places), strict=True):
                borders = self._borders(end.branches, (segment, 1.0), end)
                self._whole[segment] = self._chains[segment].whole(
                    end.value, borders, int(self.contradictions[segment])
                )


# Events of several chunks.
OWNED = np.dtype([("owner", "i8"), *EVENTS.descr])


def _events(
    owner: Integers, t: Floats, step: Integers, group: int, place: Integers, before: Integers, after: Integers
) -> Events:
    """Events of a group, with the chunks that they belong to."""
    made = np.empty(len(owner), OWNED)
    made["owner"], made["t"], made["step"], made["group"] = owner, t, step, group
    made["place"], made["before"], made["after"] = place, before, after
    return made


def _stacked(arrays: Sequence[Array]) -> Array:
    """Arrays one behind the other; a single one is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def rows_that_fit(stages: Sequence[Stage], dtype: str, memory: int, device: str) -> int:
    """How many rows a chunk may end with: few enough for the memory, in bytes, and for a processor's cache."""
    kept, most, largest = 0, 1, 1
    for stage in stages:
        inputs = [prod(source.physical) for source in stage.sources]
        outputs = [bend.numbers for bend in stage.bends]
        kept += sum(outputs)
        # The inputs, columns of a convolution, a padded copy.
        most = max(most, 12 * sum(inputs))
        largest = max(largest, *inputs, *outputs)
    wanted = DEVICE_ROWS if device != "cpu" else int(np.clip(NUMBERS_TOGETHER // largest, LEAST_ROWS, MOST_ROWS))
    return int(np.clip(memory // (np.dtype(dtype).itemsize * (kept + most)), 2, wanted))


def _place(chunk: _Chunk) -> Place:
    """Where a chunk starts."""
    return chunk.interval.segment, chunk.interval.start


def rows_from(rows: Rows, owner: Integers, t: Floats) -> Integers:
    """The first row of a chunk that begins at ``t`` or later."""
    if len(rows.first) == 2:
        return np.searchsorted(rows.left, t)
    found = np.empty(len(owner), np.int64)
    for who in np.unique(owner).tolist():
        mine = owner == who
        begin, end = rows.first[who], rows.first[who + 1]
        found[mine] = begin + np.searchsorted(rows.left[begin:end], t[mine])
    return found


def _by_branch(bend: Bend, branch: Integers, unit: Integers) -> Array:
    """The factors of units on given branches."""
    if all(factor.ndim == 0 for factor in bend.factors):
        return np.array([float(factor) for factor in bend.factors])[branch]
    table = np.stack([np.broadcast_to(factor, (bend.units,)) for factor in bend.factors])
    return np.asarray(table[branch, unit])
