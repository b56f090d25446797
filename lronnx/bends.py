"""Where units switch on the rows of a chunk: pure NumPy, for both forms of switching nodes.

Rows are neighbouring intervals of a path. On each of them every switching function moves at a constant slope, so from
its value where the chunk starts its values at all edges follow by summation. A unit can switch inside a row, where the
function crosses zero (or another candidate takes the lead), or at an edge. Most units cannot switch in a chunk: the
largest slope of any of its rows does not take them as far as their kink. Only the others are looked at row by row.

What is rounding noise is decided as in the walk (:mod:`lronnx.ops.switching`, ``NUMBERS`` and ``Sizes``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx.graph import Array
from lronnx.regions import Floats

Integers = NDArray[np.int64]
# Sizes of the switching functions and of their slopes, for chunk and number pairs that leave doubt: (values, slopes).
Measure = Callable[[Integers, Integers], tuple[Floats, Floats]]
# The same, the largest of those in the middle of further rows.
MeasureRows = Callable[[Integers, Integers, Integers], tuple[Floats, Floats]]
# Picks numbers from a stage's output, by flat position; takes columns of it, by number.
Pick = Callable[[Integers], Array]
Take = Callable[[Integers], Array]


# What pads a window is as large as can be, and is never weighed against anything.
IMMENSE = 1e30
# Sizes where a chunk starts are right up to this factor, as far as a moving unit at its kink is concerned.
AROUND = 1e3


@dataclass
class Rows:
    """Neighbouring intervals of some chunks, sorted by chunk and place: (R,) each; ``first``: (chunks + 1,)."""

    owner: Integers
    left: Floats
    right: Floats
    first: Integers

    @classmethod
    def of(cls, owner: Integers, left: Floats, ends: Floats) -> Rows:
        """Rows that begin at ``left`` and reach to the next one of their chunk, the last to its end."""
        right = np.empty_like(left)
        right[:-1] = left[1:]
        first = np.searchsorted(owner, np.arange(len(ends) + 1))
        right[first[1:] - 1] = ends
        return cls(owner, left, right, first)

    def insert(self, owner: Integers, t: Floats, ends: Floats) -> tuple[Rows, Integers, Integers]:
        """Cut rows at further places. The new rows; which old row each lies in; and which begins at each place."""
        if not len(t):
            return self, np.arange(len(self.left)), np.zeros(0, np.int64)
        count = len(self.left)
        all_t, all_owner = np.concatenate([self.left, t]), np.concatenate([self.owner, owner])
        # Sorting is stable: an old row comes before a new one that begins at the same place.
        order = np.argsort(all_t, kind="stable") if len(ends) == 1 else np.lexsort((all_t, all_owner))
        sorted_t, sorted_owner = all_t[order], all_owner[order]
        kept = np.ones(len(order), np.bool_)
        kept[1:] = (sorted_t[1:] != sorted_t[:-1]) | (sorted_owner[1:] != sorted_owner[:-1])
        source = np.cumsum(order < count) - 1
        row = np.empty(len(order), np.int64)
        row[order] = np.cumsum(kept) - 1
        return Rows.of(sorted_owner[kept], sorted_t[kept], ends), source[kept], row[count:]


@dataclass
class Columns:
    """Some numbers of a stage's output, row by row of their chunk: P of them, n rows at most.

    ``row``: (n, P), or (n, 1) of a single chunk, as ``width`` and ``real``; rows beyond a chunk's last repeat it, with
    ``width`` 0, and are not ``real``: nothing may be found there. ``slope``: (n, P).
    """

    row: Integers
    width: Floats
    slope: Floats
    real: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Rows, owner: Integers, number: Integers, numbers: int, pick: Pick, take: Take) -> Columns:
        """``pick`` numbers by flat position, or ``take`` whole columns where there is a single chunk."""
        if len(rows.first) == 2:
            row, width = np.arange(len(rows.left))[:, None], (rows.right - rows.left)[:, None]
            return cls(row, width, take(number).astype(np.float64), np.ones(row.shape, np.bool_))
        count = (rows.first[1:] - rows.first[:-1])[owner]
        offset = np.arange(count.max(initial=1))[:, None]
        last = count - 1
        row = rows.first[owner] + np.minimum(offset, last)
        width = (rows.right - rows.left)[row]
        real = offset <= last
        width[~real] = 0.0
        return cls(row, width, pick(row * numbers + number).astype(np.float64), real)

    def some(self, chosen: Integers) -> Columns:
        """Some of the columns."""
        if self.row.shape[1] == 1:
            return Columns(self.row, self.width, self.slope[:, chosen], self.real)
        return Columns(self.row[:, chosen], self.width[:, chosen], self.slope[:, chosen], self.real[:, chosen])

    def row_at(self, offset: Integers, column: Integers) -> Integers:
        """The rows at some offsets of some columns."""
        return np.asarray(self.row[offset, 0 if self.row.shape[1] == 1 else column])

    def edges(self, start: Floats) -> Floats:
        """Values at the rows' edges, (n + 1, P), from those where the chunk starts."""
        made = np.empty((len(self.slope) + 1, len(start)))
        made[0] = start
        np.cumsum(self.width * self.slope, axis=0, out=made[1:])
        made[1:] += start
        return made


@dataclass
class Flips:
    """Units of one kink that pass to its other side, in order along their chunk.

    ``before``: whether the unit was above the kink. ``corrected``: (chunk, unit, above) of units that are on another
    side where the chunk starts than was assumed.
    """

    owner: Integers
    unit: Integers
    t: Floats
    before: NDArray[np.bool_]
    corrected: tuple[Integers, Integers, NDArray[np.bool_]]


@dataclass(frozen=True)
class Judge:
    """What is told from rounding noise, and how: the numbers of an element type (``NUMBERS``).

    ``tiny``: that closer to its kink, relative to its size, a unit is at it, if values where chunks start are rounded
    like slopes. ``travel``: the same relative to the way that its function has come from there, if they are exact by
    comparison: a unit that switches with the one in front of it should not be found beside it.
    """

    noise: float
    tiny: float
    travel: float
    doubt: float
    awoken: float


def reachable(
    values: Floats,
    above: NDArray[np.bool_],
    lengths: Floats,
    most: Array,
    least: Array,
    limit: Floats,
    awake: Floats,
) -> tuple[Integers, Integers]:
    """Chunks and units that may switch: (chunks, units) each, slopes (units,).

    ``limit``: what may be noise; so may be what is more than ``awake``, by chunk: the sizes know nothing of it.
    """
    # All that a value can become: from the lowest to the highest.
    lengths = lengths[:, None]
    lowest = values + lengths * np.minimum(least, 0)
    highest = values + lengths * np.maximum(most, 0)
    near = (lowest <= limit) & (highest >= -limit)
    asleep = np.flatnonzero(awake < np.abs(values).max(axis=1, initial=0.0))
    near[asleep] |= np.abs(values[asleep]) > awake[asleep, None]
    owner, unit = np.nonzero(near)
    # Exactly zero and at rest: below its kink, and stays there.
    moving = (values[owner, unit] != 0) | (most[unit] != 0) | (least[unit] != 0) | above[owner, unit]
    return owner[moving], unit[moving]


def kink_flips(
    rows: Rows,
    owner: Integers,
    unit: Integers,
    start: Floats,
    above: NDArray[np.bool_],
    size: Floats,
    slope_size: Floats,
    limit: Floats,
    awake: Floats,
    columns: Columns,
    judge: Judge,
    measure: Measure,
    measure_rows: MeasureRows,
) -> Flips:
    """Where units pass a kink.

    (P,) each: their values and sides where the chunk starts, sizes of values and slopes there, what may be noise
    (``limit`` and ``awake`` as of :func:`reachable`).
    """
    edges = columns.edges(start)
    distance = np.abs(edges)
    near = (distance.min(axis=0) <= limit) | (distance.max(axis=0) > awake)
    if not near.any():
        return _clear_flips(rows, owner, unit, edges, columns)
    parts = []
    if not near.all():
        clear = np.flatnonzero(~near)
        parts.append(_clear_flips(rows, owner[clear], unit[clear], edges[:, clear], columns.some(clear)))
    some = np.flatnonzero(near)
    parts.append(
        _close_flips(
            rows,
            edges[:, some],
            columns.some(some),
            owner[some],
            unit[some],
            above[some],
            size[some],
            slope_size[some],
            limit[some],
            awake[some],
            judge,
            measure,
            measure_rows,
        )
    )
    return Flips(
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.unit for part in parts]),
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.before for part in parts]),
        parts[-1].corrected,
    )


def _clear_flips(rows: Rows, owner: Integers, unit: Integers, edges: Floats, columns: Columns) -> Flips:
    """Flips of units that are near their kinks at no edge, and on the sides that they were taken to be on."""
    up = edges > 0
    row, column = np.nonzero((up[1:] != up[:-1]) & columns.real)
    return _flips_inside(rows, owner, unit, edges, columns, row, column, up[row, column])


def _close_flips(
    rows: Rows,
    edges: Floats,
    columns: Columns,
    owner: Integers,
    unit: Integers,
    above: NDArray[np.bool_],
    size: Floats,
    slope_size: Floats,
    limit: Floats,
    awake: Floats,
    judge: Judge,
    measure: Measure,
    measure_rows: MeasureRows,
) -> Flips:
    """Flips of units of which some edge may be a kink."""
    slopes = columns.slope
    if judge.travel:
        travelled = np.cumsum(np.abs(columns.width * slopes), axis=0)
        edges[1:][np.abs(edges[1:]) <= judge.travel * travelled] = 0.0
    distance = np.abs(edges)
    small = (distance <= limit) & (edges != 0)
    # What moves past its kink is in doubt only where it is much closer.
    resting = small[:-1] & small[1:] & (np.abs(slopes) <= judge.doubt * slope_size)
    closer = small & (distance <= AROUND * judge.tiny * size)
    dirty = np.flatnonzero(resting.any(axis=0) | closer.any(axis=0) | (distance.max(axis=0) > awake))
    if len(dirty):
        edges[:, dirty] = _settled(
            edges[:, dirty],
            slopes[:, dirty],
            np.broadcast_to(columns.row, slopes.shape)[:, dirty],
            owner[dirty],
            unit[dirty],
            limit[dirty],
            judge,
            measure,
            measure_rows,
        )
    sign = np.sign(edges).astype(np.int8)
    left, right = sign[:-1], sign[1:]
    # On which side a unit leaves a row's left edge, and reaches its right one; at rest on the kink it is below.
    leaves = np.where(left != 0, left, right) > 0
    reaches = np.where(right != 0, right, left) > 0
    inside_row, inside = np.nonzero((leaves != reaches) & columns.real)
    found = _flips_inside(rows, owner, unit, edges, columns, inside_row, inside, leaves[inside_row, inside])
    at_row, at_edge = np.nonzero((reaches[:-1] != leaves[1:]) & columns.real[1:])
    wrong = np.flatnonzero(leaves[0] != above)
    pairs = np.concatenate([inside, at_edge])
    times = np.concatenate([found.t, rows.left[columns.row_at(at_row + 1, at_edge)]])
    before = np.concatenate([found.before, reaches[at_row, at_edge]])
    order = np.lexsort((np.concatenate([2 * inside_row, 2 * at_row + 1]), pairs))
    pairs = pairs[order]
    return Flips(owner[pairs], unit[pairs], times[order], before[order], (owner[wrong], unit[wrong], leaves[0][wrong]))


def _flips_inside(
    rows: Rows,
    owner: Integers,
    unit: Integers,
    edges: Floats,
    columns: Columns,
    row: Integers,
    column: Integers,
    before: NDArray[np.bool_],
) -> Flips:
    """Flips inside rows, in their order: where each function is zero."""
    here = columns.row_at(row, column)
    t = rows.left[here] - edges[row, column] / columns.slope[row, column]
    t = np.clip(t, rows.left[here], rows.right[here])
    nothing = np.zeros(0, np.int64)
    return Flips(owner[column], unit[column], t, before, (nothing, nothing, nothing > 0))


def _settled(
    edges: Floats,
    slopes: Floats,
    row: Integers,
    owner: Integers,
    number: Integers,
    limit: Floats,
    judge: Judge,
    measure: Measure,
    measure_rows: MeasureRows,
) -> Floats:
    """Values at edges with what is rounding noise of zero put to zero."""
    distance = np.abs(edges)
    size, slope_size = _sizes(distance, distance <= limit, row, owner, number, judge, measure, measure_rows)
    small = distance <= judge.noise * size
    resting = (np.abs(slopes) <= judge.noise * slope_size) & small[:-1] & small[1:]
    zero = distance <= judge.tiny * size
    zero[:-1] |= resting
    zero[1:] |= resting
    return np.where(zero, 0.0, edges)


def _sizes(
    distance: Floats,
    near: NDArray[np.bool_],
    row: Integers,
    owner: Integers,
    number: Integers,
    judge: Judge,
    measure: Measure,
    measure_rows: MeasureRows,
) -> tuple[Floats, Floats]:
    """Sizes of columns and of their slopes. ``distance``, at edges: how large numbers are, ``near``: which matter."""
    size, slope_size = measure(owner, number)
    reached = distance.max(axis=0)
    # What sizes do not explain has awoken on the way: there they are measured row by row.
    awoken = (reached > judge.awoken * size) & (reached < IMMENSE)
    if awoken.any():
        beside = (near[:-1] | near[1:]) & awoken
        lone = np.flatnonzero(awoken & ~beside.any(axis=0))
        beside[distance[1:, lone].argmax(axis=0), lone] = True
        places, which = np.nonzero(beside)
        more, more_slope = measure_rows(row[places, which], which, number)
        size, slope_size = np.maximum(size, more), np.maximum(slope_size, more_slope)
    return size, slope_size


class Passing(NamedTuple):
    """The winner of a choice passes from one candidate to another."""

    owner: int
    unit: int
    t: float
    before: int
    after: int


def contested(
    values: Floats,
    winners: Integers,
    lengths: Floats,
    most: Array,
    least: Array,
    limit: Floats,
    awake: Floats,
) -> tuple[Integers, Integers]:
    """Chunks and units whose winner may be overtaken: values (chunks, K, units), winners (chunks, units).

    ``limit`` and ``awake`` as of :func:`reachable`.
    """
    index = winners[:, None, :]
    lead = np.take_along_axis(values, index, axis=1) - values
    wide_most, wide_least = (np.broadcast_to(x, values.shape) for x in (most, least))
    own_most, own_least = (np.take_along_axis(x, index, axis=1) for x in (wide_most, wide_least))
    approach = (wide_most - own_least).astype(np.float64)
    near = lead <= lengths[:, None, None] * np.maximum(approach, 0) + limit
    same = (lead == 0) & (approach == 0) & (own_most == wide_least)
    near &= ~same
    # Something may have awoken of which the sizes know nothing.
    near |= (lead > awake[:, None, None]) & (lead < IMMENSE)
    np.put_along_axis(near, index, False, axis=1)
    owner, unit = np.nonzero(near.any(axis=1))
    return owner, unit


def choice_passings(
    rows: Rows,
    owner: Integers,
    unit: Integers,
    units: int,
    start: Floats,
    slopes: Floats,
    columns: Columns,
    limit: Floats,
    awake: Floats,
    winners: Integers,
    judge: Judge,
    measure: Measure,
    measure_rows: MeasureRows,
) -> tuple[list[Passing], dict[tuple[int, int, int], tuple[float, int]], list[tuple[int, int]]]:
    """Where winners change. ``start`` and ``limit``: (K, P), ``slopes``: (n, K, P), ``awake`` and winners: (P,).
    ``units``: how many there are in all.

    A winner is kept as long as it is a maximiser. Returns the passings; for candidates that tie with the winner where
    the chunk starts when the tie ends, and the winner then, by (chunk, unit, candidate); and the columns whose winner
    at the start is another than was assumed, with that winner.
    """
    count, candidates, _ = slopes.shape
    edges = np.empty((count + 1, candidates, len(owner)))
    edges[0] = start
    np.cumsum(columns.width[:, None, :] * slopes, axis=0, out=edges[1:])
    edges[1:] += start
    gaps = edges.max(axis=1, keepdims=True) - edges
    doubtful = (gaps > 0) & ((gaps <= limit) | ((gaps > awake) & (gaps < IMMENSE)))
    dirty = np.flatnonzero(doubtful.any(axis=(0, 1)))
    if len(dirty):
        # Every candidate of a column that leaves doubt is a column of its own.
        shape = (count + 1, candidates * len(dirty))
        wide = np.broadcast_to(doubtful.any(axis=1, keepdims=True), doubtful.shape)[:, :, dirty].reshape(shape)
        sizes, slope_sizes = (
            held.reshape(candidates, len(dirty))
            for held in _sizes(
                np.abs(edges[:, :, dirty]).reshape(shape),
                wide,
                np.tile(np.broadcast_to(columns.row, (count, len(owner)))[:, dirty], candidates),
                np.tile(owner[dirty], candidates),
                (np.arange(candidates)[:, None] * units + unit[dirty]).reshape(-1),
                judge,
                measure,
                measure_rows,
            )
        )
        gaps[:, :, dirty] = _settled_gaps(gaps[:, :, dirty], slopes[:, :, dirty], judge, sizes, slope_sizes)
    leads = gaps == 0
    # A candidate that leads at both ends of a row leads all along it.
    kept = leads[:-1] & leads[1:]
    bent = ~kept.any(axis=1) & columns.real
    changes = np.zeros_like(bent)
    changes[0] = True
    changes[1:] = (kept[1:] != kept[:-1]).any(axis=1) & columns.real[1:]
    changes |= bent
    passings: list[Passing] = []
    ties: dict[tuple[int, int, int], tuple[float, int]] = {}
    corrected: list[tuple[int, int]] = []
    busy = np.flatnonzero(changes[1:].any(axis=0) | bent[0] | ~kept[0][winners, np.arange(len(owner))])
    for p in busy.tolist():
        who, which = int(owner[p]), int(unit[p])
        winner = int(winners[p])
        pieces: list[tuple[float, NDArray[np.bool_]]] = []
        for i in np.flatnonzero(changes[:, p]).tolist():
            begin = float(rows.left[columns.row[i, p if columns.row.shape[1] > 1 else 0]])
            if not bent[i, p]:
                pieces.append((begin, kept[i, :, p]))
                continue
            width = float(columns.width[i, p if columns.width.shape[1] > 1 else 0])
            pieces += [(begin + ahead, members) for ahead, members in _envelope(gaps[i, :, p], slopes[i, :, p], width)]
        first = pieces[0][1]
        if not first[winner]:
            winner = int(np.argmax(first))
            corrected.append((p, winner))
        open_ties = set(np.flatnonzero(first).tolist()) - {winner}
        for t, members in pieces[1:]:
            if not members[winner]:
                after = int(np.argmax(members))
                passings.append(Passing(who, which, t, winner, after))
                winner = after
            for other in [c for c in open_ties if c == winner or not members[c]]:
                ties[who, which, other] = t, winner
                open_ties.discard(other)
    return passings, ties, corrected


def _settled_gaps(gaps: Floats, slopes: Floats, judge: Judge, sizes: Floats, slope_sizes: Floats) -> Floats:
    """Gaps behind the leader at edges, (n + 1, K, P), with what is rounding noise of a tie put to zero."""
    leader = gaps.argmin(axis=1)
    along = np.arange(gaps.shape[2])
    wide = sizes + sizes[leader, along].reshape(len(leader), 1, -1)
    small = gaps <= judge.noise * wide
    zero = gaps <= judge.tiny * wide
    for edge, lead in ((slice(None, -1), leader[:-1]), (slice(1, None), leader[1:])):
        own = np.take_along_axis(slopes, lead[:, None, :], axis=1)
        wide_slopes = slope_sizes + slope_sizes[lead, along].reshape(len(lead), 1, -1)
        resting = (np.abs(slopes - own) <= judge.noise * wide_slopes) & small[:-1] & small[1:]
        zero[edge] |= resting
    return np.where(zero, 0.0, gaps)


def _envelope(gaps: Floats, slopes: Floats, width: float) -> list[tuple[float, NDArray[np.bool_]]]:
    """Who leads from where on, on a row on which the leader changes: (distance from its left edge, members)."""
    leading = gaps == 0
    place = 0.0
    current = int(np.argmax(np.where(leading, slopes, -np.inf)))
    found = [(0.0, leading & (slopes == slopes[current]))]
    while True:
        faster = np.flatnonzero(slopes > slopes[current])
        if not len(faster):
            return found
        when = (gaps[faster] - gaps[current]) / (slopes[faster] - slopes[current])
        when = np.maximum(when, place)
        place = float(when.min())
        if place >= width:
            return found
        together = faster[when == place]
        current = int(together[np.argmax(slopes[together])])
        same = (slopes == slopes[current]) & (gaps == gaps[current])
        found.append((place, same))
