"""Less to draw without a difference that can be seen. Pure functions of arrays; nothing is changed, only left out.

What is left out is told by a tolerance in the unit of an axis, or by a number of columns: as many equally wide vertical
strips of a panel as a device can tell apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]

# Splitting at the farthest vertex alone could take as many rounds as there are vertices.
_ROUNDS = 40


class Envelope(NamedTuple):
    """What a staircase does in each column that it reaches: ``left`` and ``right`` ends of the columns, and the lowest,
    the highest, and the middle one (the median) of the steps there; (k,) each."""

    left: Floats
    right: Floats
    low: Floats
    high: Floats
    middle: Floats


def simplify(x: Floats, y: Floats, tolerance: float) -> Positions:
    """The positions (k,), in order, of vertices whose polyline is nowhere further than ``tolerance`` from all of it.

    ``x``: (n,), increasing strictly; ``y``: (n,), finite. The distance is vertical, in the unit of y; between two
    polylines whose vertices are among the same x it is greatest at one of these. Both ends are kept; with a tolerance
    of 0, all but what lies exactly on the line between others. Vertices are split off where the distance is greatest,
    for all stretches at once (after U. Ramer, 1972, and D. Douglas and T. Peucker, 1973), in O(n log n).

    >>> simplify(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 0.0]), 0.5).tolist()
    [0, 2, 3]
    """
    count = len(x)
    if count <= 2:
        return np.arange(count)
    # Differences of the largest numbers there are would overflow.
    size = float(np.abs(y).max()) or 1.0
    y, tolerance = y / size, tolerance / size
    kept = np.zeros(count, dtype=np.bool_)
    kept[[0, -1]] = True
    starts, ends = np.array([0]), np.array([count - 1])
    for round_ in range(count):
        # The inner vertices of all stretches that are not done, one stretch after the other.
        inner = ends - starts - 1
        offsets = np.concatenate([[0], np.cumsum(inner)])
        at = np.arange(offsets[-1]) + np.repeat(starts + 1 - offsets[:-1], inner)
        first, last = np.repeat(starts, inner), np.repeat(ends, inner)
        share = (x[at] - x[first]) / (x[last] - x[first])
        distance = np.abs(y[at] - ((1.0 - share) * y[first] + share * y[last]))
        largest = np.maximum.reduceat(distance, offsets[:-1])
        far = largest > tolerance
        if not far.any():
            break
        hits = np.flatnonzero(distance == np.repeat(largest, inner))
        split = at[hits[np.searchsorted(hits, offsets[:-1])]][far]
        starts, ends = starts[far], ends[far]
        cuts = [starts, split, ends]
        if round_ >= _ROUNDS:
            cuts.append((starts + ends) // 2)
        edges = np.sort(np.stack(cuts), axis=0)
        kept[edges] = True
        starts, ends = edges[:-1].ravel(), edges[1:].ravel()
        open_ = ends - starts > 1
        starts, ends = starts[open_], ends[open_]
        if not len(starts):
            break
    return np.flatnonzero(kept)


def marks(x: Floats, limits: tuple[float, float], columns: int) -> tuple[Positions, NDArray[np.int64]]:
    """Of the marks in each column the first, and how many it stands for: positions (k,), increasing in x, and counts.

    ``x``: (n,), in any order. Every column that has a mark keeps one, and the counts add up to n: marks outside of
    ``limits`` count for the nearest column.

    >>> positions, counts = marks(np.array([0.01, 0.02, 0.9]), (0.0, 1.0), 10)
    >>> positions.tolist(), counts.tolist()
    ([0, 2], [2, 1])
    """
    # Of equal columns the first mark is the first of all in x, whatever the order it came in.
    order = np.argsort(x, kind="stable")
    _, first, counts = np.unique(_columns(x[order], limits, columns), return_index=True, return_counts=True)
    return order[first], counts


def envelope(edges: Floats, y: Floats, limits: tuple[float, float], columns: int) -> Envelope:
    """The lowest, the highest and the middle step of a staircase in every column that it reaches.

    ``edges``: (n + 1,), increasing; ``y``: (n,), the step between neighbouring edges. A step belongs to every column
    that it has a part in, however narrow, and columns end where the staircase does.

    >>> found = envelope(np.array([0.0, 0.1, 1.0]), np.array([5.0, 1.0]), (0.0, 1.0), 2)
    >>> found.low.tolist(), found.high.tolist(), found.middle.tolist()
    ([1.0, 1.0], [5.0, 1.0], [1.0, 1.0])
    """
    if not len(y):
        return Envelope(*(np.zeros(0) for _ in range(5)))
    first, last = _columns(edges[:-1], limits, columns), _columns(edges[1:], limits, columns)
    # A step that ends where a column begins has no part in it.
    borders = np.linspace(*limits, columns + 1)
    last = np.maximum(last - (edges[1:] <= borders[last]), first)
    spans = last - first + 1
    step = np.repeat(np.arange(len(y)), spans)
    column = np.arange(len(step)) - np.repeat(np.cumsum(spans) - spans - first, spans)
    # In each column from the lowest to the highest.
    order = np.lexsort((y[step], column))
    column, heights = column[order], y[step][order]
    reached, begins, counts = np.unique(column, return_index=True, return_counts=True)
    left = np.maximum(borders[reached], edges[0])
    right = np.minimum(borders[reached + 1], edges[-1])
    ends = begins + counts
    return Envelope(left, right, heights[begins], heights[ends - 1], heights[begins + (counts - 1) // 2])


def _columns(x: Floats, limits: tuple[float, float], columns: int) -> Positions:
    low, high = limits
    return np.clip(((x - low) / (high - low) * columns).astype(np.intp), 0, columns - 1)
