"""Where the boxes of a directed acyclic graph go, from top to bottom, and how its edges run between them.

The layered drawing of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981), in four steps: levels by the longest path; an edge over several levels is led through a dummy in
each, and edges of one box share theirs, as long as they run side by side; an order within the levels with few
crossings, by barycentres; and x coordinates that make edges as straight as the order allows, which is a linear program
(E. R. Gansner et al., "A Technique for Drawing Directed Graphs", 1993).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

Floats = NDArray[np.float64]
Edge = tuple[int, int]

# What straightness is worth between boxes, between a box and a dummy, and between dummies: a way through boxes goes
# straight on, and what passes them bends.
_WEIGHTS = (3.0, 1.0, 8.0)
_SWEEPS = 24
# So many vertices are put in order, in all attempts together.
_ATTEMPTS = 2000
# Points of a curve between two levels.
_CURVE = 24
# The last part of an edge, and the first, is vertical: room for an arrowhead.
_STUB = 0.07


@dataclass(frozen=True, eq=False)
class Layout:
    """``x`` and ``y``, (n,): centres of the boxes, y grows upwards and the first level is the highest.

    ``edges``: per edge the points that it runs through, (k, 2), from the lower side of one box to the upper side of
    another, downwards all the way; it is straight within a level. ``levels``: the boxes' levels, (n,).
    ``box``: what is covered, (left, right, bottom, top), left and top at 0. ``crossings``: how many times edges cross
    between levels, edges that run together counted once.
    """

    x: Floats
    y: Floats
    edges: Mapping[Edge, Floats]
    levels: NDArray[np.int64]
    box: tuple[float, float, float, float]
    crossings: int


def layered(
    widths: Sequence[float] | Floats,
    heights: Sequence[float] | Floats,
    edges: Sequence[Edge],
    *,
    gap: float = 0.25,
    between: float = 0.25,
    lane: float = 0.12,
) -> Layout:
    """Lay out boxes 0 to n - 1 of these sizes. ``edges``: pairs (from, to), without a cycle; repeated ones are one.

    ``gap``: at least so much lies between two boxes of a level; ``lane``: between an edge and what is beside it;
    ``between``: between levels, and more where edges run far sideways.
    """
    edges = list(dict.fromkeys(edges))
    levels = _levels(len(widths), edges)
    net = _Net(levels, edges)
    rows = net.order()
    sides = np.full(len(net.level), 0.0)
    sides[: len(widths)] = np.asarray(widths, dtype=np.float64) / 2
    x = net.place(rows, sides, gap, lane)
    x -= np.min(x - sides, initial=np.inf) if len(x) else 0.0
    return _draw(net, rows, x, sides, np.asarray(heights, dtype=np.float64), edges, between)


def span(count: int, edges: Sequence[Edge]) -> int:
    """How many dummies a layout of these boxes needs, which is what it takes its time for."""
    return _Net(_levels(count, edges), edges).dummies


def _levels(count: int, edges: Sequence[Edge]) -> NDArray[np.int64]:
    """The longest path to each box; what has nothing in front of it stands just above what reads it."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    levels = np.zeros(count, dtype=np.int64)
    for box in nx.topological_sort(graph):
        for reader in graph[box]:
            levels[reader] = max(levels[reader], levels[box] + 1)
    for box in range(count):
        if not graph.in_degree(box) and graph[box]:
            levels[box] = min(levels[reader] for reader in graph[box]) - 1
    return levels


class _Net:
    """The boxes, and a dummy for every level that edges of a box pass.

    ``level``: of every vertex, boxes first. ``down``, ``up``: neighbours in the next level and in the one before.
    ``way``: per box the dummies of its edges, in order. ``pole``: which vertices have to be above each other: those
    of one number.
    """

    def __init__(self, levels: NDArray[np.int64], edges: Sequence[Edge]) -> None:
        self.level: list[int] = [int(level) for level in levels]
        self.boxes = len(levels)
        self.way: dict[int, list[int]] = {}
        furthest: dict[int, int] = {}
        for source, target in edges:
            furthest[source] = max(furthest.get(source, 0), self.level[target])
        for source, last in furthest.items():
            passed = range(self.level[source] + 1, last)
            self.way[source] = [len(self.level) + i for i in range(len(passed))]
            self.level.extend(passed)
        self.down: list[list[int]] = [[] for _ in self.level]
        self.up: list[list[int]] = [[] for _ in self.level]
        steps = [step for edge in edges for step in self.steps(edge)]
        for upper, lower in dict.fromkeys(steps):
            self.down[upper].append(lower)
            self.up[lower].append(upper)

    @property
    def dummies(self) -> int:
        return len(self.level) - self.boxes

    def through(self, edge: Edge) -> list[int]:
        """The vertices that an edge runs through."""
        source, target = edge
        passed = self.level[target] - self.level[source] - 1
        return [source, *self.way[source][:passed], target]

    def steps(self, edge: Edge) -> list[Edge]:
        vertices = self.through(edge)
        return list(pairwise(vertices))

    def order(self) -> list[list[int]]:
        """The vertices of every level from left to right, with few crossings: the best of several attempts."""
        first: list[list[int]] = [[] for _ in range(max(self.level, default=-1) + 1)]
        for vertex in self._by_depth():
            first[self.level[vertex]].append(vertex)
        best, self.crossings = first, self._crossings(first)
        # Any order will do to start with, and small graphs have time for many.
        rng = np.random.default_rng(0)
        attempts = min(max(_ATTEMPTS // max(len(self.level), 1), 1), 12)
        for attempt in range(attempts):
            if not self.crossings:
                break
            rows = [[row[i] for i in rng.permutation(len(row))] if attempt else list(row) for row in first]
            rows, found = self._swept(rows)
            if found < self.crossings:
                best, self.crossings = rows, found
        return best

    def _swept(self, rows: list[list[int]]) -> tuple[list[list[int]], int]:
        """Sweep down and up until that no longer helps; the best order on the way and its crossings."""
        best, fewest = [list(row) for row in rows], self._crossings(rows)
        unchanged = 0
        for sweep in range(_SWEEPS if self.dummies < 5000 else _SWEEPS // 3):
            if not fewest or unchanged > 5:
                break
            self._sweep(rows, downwards=sweep % 2 == 0, mirrored=sweep % 4 >= 2)
            self._transpose(rows)
            found = self._crossings(rows)
            unchanged += 1
            if found < fewest:
                best, fewest, unchanged = [list(row) for row in rows], found, 0
        return best, fewest

    def _by_depth(self) -> list[int]:
        """All vertices as a depth-first search meets them: what hangs together is together from the start."""
        seen = [False] * len(self.level)
        found: list[int] = []
        starts = sorted((v for v in range(len(self.level)) if not self.up[v]), key=lambda v: (self.level[v], v))
        waiting = starts[::-1]
        while waiting:
            vertex = waiting.pop()
            if seen[vertex]:
                continue
            seen[vertex] = True
            found.append(vertex)
            # Dummies come last: long edges run beside what they pass.
            waiting.extend(sorted(self.down[vertex], reverse=True))
        return found

    def _sweep(self, rows: list[list[int]], *, downwards: bool, mirrored: bool) -> None:
        """Sort every level by the mean place of each vertex's neighbours in the level before."""
        place = [0.0] * len(self.level)
        for row in rows:
            for position, vertex in enumerate(row):
                place[vertex] = position
        beside = self.up if downwards else self.down
        for row in rows if downwards else reversed(rows):
            wanted = {
                vertex: sum(place[other] for other in beside[vertex]) / len(beside[vertex])
                if beside[vertex]
                else place[vertex]
                for vertex in row
            }
            if mirrored:
                # Ties are turned round, so that other orders are tried.
                row.reverse()
            row.sort(key=wanted.__getitem__)
            for position, vertex in enumerate(row):
                place[vertex] = position

    def _transpose(self, rows: list[list[int]]) -> None:
        """Exchange neighbours as long as that removes crossings."""
        place = {vertex: position for row in rows for position, vertex in enumerate(row)}
        for _ in range(4):
            better = False
            for row in rows:
                for i in range(len(row) - 1):
                    left, right = row[i], row[i + 1]
                    gained = 0
                    for beside in (self.up, self.down):
                        if beside[left] and beside[right]:
                            a = sorted(place[v] for v in beside[left])
                            b = sorted(place[v] for v in beside[right])
                            gained += _inversions(a, b) - _inversions(b, a)
                    if gained > 0:
                        row[i], row[i + 1] = right, left
                        place[right], place[left] = i, i + 1
                        better = True
            if not better:
                return

    def _crossings(self, rows: list[list[int]]) -> int:
        place = {vertex: position for row in rows for position, vertex in enumerate(row)}
        total = 0
        for row in rows:
            before: list[int] = []
            for vertex in row:
                ends = sorted(place[other] for other in self.down[vertex])
                total += sum(len(before) - bisect_right(before, end) for end in ends)
                for end in ends:
                    insort(before, end)
        return total

    def place(self, rows: list[list[int]], sides: Floats, gap: float, lane: float) -> Floats:
        """x of every vertex: the order is kept, and edges are as straight as it allows.

        Of all solutions the middle between the one that is furthest to the left and the one furthest to the right.
        """
        neighbours = [pair for row in rows for pair in pairwise(row)]
        pole = self._poles(neighbours)
        count = max(pole, default=-1) + 1
        apart: dict[Edge, float] = {}
        for left, right in neighbours:
            room = gap if left < self.boxes and right < self.boxes else lane
            key = pole[left], pole[right]
            apart[key] = max(apart.get(key, 0.0), float(sides[left] + sides[right]) + room)
        pulls: Counter[Edge] = Counter()
        for upper, below in enumerate(self.down):
            for lower in below:
                if pole[upper] != pole[lower]:
                    weight = _WEIGHTS[(upper >= self.boxes) + (lower >= self.boxes)]
                    # A chain, which has nothing else on either side, is straight if it can be.
                    weight *= 4.0 if len(below) == 1 and len(self.up[lower]) == 1 else 1.0
                    # However many edges pass a box, together they pull it no more than one.
                    weight /= len(below) if lower >= self.boxes > upper else 1
                    weight /= len(self.up[lower]) if upper >= self.boxes > lower else 1
                    pulls[pole[upper], pole[lower]] += weight  # type: ignore[assignment]
        return _straightest(count, apart, pulls)[pole]

    def _poles(self, neighbours: Sequence[Edge]) -> list[int]:
        """Numbers of what has to be straight: each box, and the dummies of each box's edges together.

        Where two such would have to be left of one another, their dummies are separate.
        """
        pole = list(range(self.boxes)) + [0] * self.dummies
        for source, way in self.way.items():
            for dummy in way:
                pole[dummy] = self.boxes + source
        while True:
            graph = nx.DiGraph((pole[left], pole[right]) for left, right in neighbours)
            knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
            if not knots:
                break
            # Long ones give way last: they are seen most. What is in one level alone is in no knot with its like.
            lengths = Counter(pole[self.boxes :])
            loose: set[int] = set()
            for knot in knots:
                bundles = sorted((one for one in knot if lengths[one] > 1), key=lambda one: (lengths[one], one))
                loose.update(bundles[: (len(bundles) + 1) // 2])
            for dummy in range(self.boxes, len(pole)):
                if pole[dummy] in loose:
                    pole[dummy] = 2 * self.boxes + dummy
        numbers = {name: number for number, name in enumerate(dict.fromkeys(pole))}
        return [numbers[name] for name in pole]


def _inversions(a: Sequence[int], b: Sequence[int]) -> int:
    """How many pairs of an entry of ``a`` and one of ``b`` there are with the first greater; both are sorted."""
    found = position = 0
    for entry in a:
        while position < len(b) and b[position] < entry:
            position += 1
        found += position
    return found


def _straightest(count: int, apart: Mapping[Edge, float], pulls: Mapping[Edge, float]) -> Floats:
    """x (count,) with x[b] - x[a] >= apart[a, b] and the smallest sum of pulls[a, b] * |x[a] - x[b]|."""
    if not count:
        return np.zeros(0)
    pairs = np.array(list(pulls), dtype=np.int64).reshape(-1, 2)
    weights = np.array(list(pulls.values()), dtype=np.float64)
    order = np.array(list(apart), dtype=np.int64).reshape(-1, 2)
    n, m = len(pairs), len(order)
    lengths = count + np.arange(n)
    # x[a] - x[b] - length <= 0, x[b] - x[a] - length <= 0, x[left] - x[right] <= -apart.
    rows = np.concatenate([np.repeat(np.arange(2 * n), 3), 2 * n + np.repeat(np.arange(m), 2)])
    columns = np.concatenate([np.stack([pairs[:, 0], pairs[:, 1], lengths], 1).ravel()] * 2 + [order.ravel()])
    signs = np.concatenate([np.tile([1.0, -1, -1], n), np.tile([-1.0, 1, -1], n), np.tile([1.0, -1], m)])
    matrix = coo_array((signs, (rows, columns)), shape=(2 * n + m, count + n)).tocsr()
    limits = np.concatenate([np.zeros(2 * n), -np.array(list(apart.values()), dtype=np.float64)])
    total = sum(apart.values()) + 1.0
    found = []
    for towards in (1.0, -1.0):
        # The pull to one side is too weak to make anything less straight.
        cost = np.concatenate([np.full(count, towards * 0.4 * weights.min(initial=1.0) / count), weights])
        bounds = np.concatenate([np.tile([0.0, total], (count, 1)), np.tile([0.0, total], (n, 1))])
        solved = linprog(
            cost, A_ub=matrix if len(limits) else None, b_ub=limits if len(limits) else None, bounds=bounds
        )
        if solved.x is None:
            raise RuntimeError(f"no layout: {solved.message}")
        found.append(solved.x[:count])
    # What is straight but for rounding is straight.
    return np.asarray(np.round((found[0] + found[1]) / 2, 6))


def _draw(
    net: _Net,
    rows: list[list[int]],
    x: Floats,
    sides: Floats,
    heights: Floats,
    edges: Sequence[Edge],
    between: float,
) -> Layout:
    thick = [max((float(heights[v]) for v in row if v < net.boxes), default=0.0) for row in rows]
    tops, top = [], 0.0
    for number, row in enumerate(rows):
        tops.append(top)
        far = max((abs(x[v] - x[w]) for v in row for w in net.down[v]), default=0.0)
        top -= thick[number] + between + min(0.12 * far, 3 * between)
    middles = [high - depth / 2 for high, depth in zip(tops, thick, strict=True)]
    y = np.array([middles[net.level[v]] for v in range(net.boxes)], dtype=np.float64)
    lines: dict[Edge, Floats] = {}
    for edge in edges:
        source, target = edge
        points = [(x[source], y[source] - heights[source] / 2)]
        for upper, lower in net.steps(edge):
            start = x[upper], tops[net.level[upper]] - thick[net.level[upper]]
            end = x[lower], tops[net.level[lower]] + (_STUB if lower < net.boxes else 0.0)
            points += _curve(start, end)
        points.append((x[target], y[target] + heights[target] / 2))
        lines[edge] = _distinct(points)
    ends = (
        0.0,
        float(np.max(x + sides, initial=0.0)),
        float(np.min(y - heights / 2, initial=0.0)),
        0.0,
    )
    return Layout(x[: net.boxes], y, lines, np.array(net.level[: net.boxes], dtype=np.int64), ends, net.crossings)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """From one point to a lower one, vertical at both ends; two of these cross no more often than they have to."""
    if start[0] == end[0]:
        return [start, end]
    at = np.linspace(0, 1, _CURVE)
    # A Bezier curve whose inner points are straight below and above its ends.
    across, down = at * at * (3 - 2 * at), 3 * at * (1 - at) * (0.6 * (1 - at) + 0.4 * at) + at**3
    points = np.stack([start[0] + (end[0] - start[0]) * across, start[1] + (end[1] - start[1]) * down], axis=1)
    return [start, *((float(a), float(b)) for a, b in points[1:-1]), end]


def _distinct(points: Sequence[tuple[float, float]]) -> Floats:
    """The points without those that repeat the one before or lie on a vertical between two others."""
    kept: list[tuple[float, float]] = []
    for point in points:
        if kept and kept[-1][0] == point[0] and abs(kept[-1][1] - point[1]) < 1e-9:
            continue
        if len(kept) > 1 and kept[-1][0] == kept[-2][0] == point[0]:
            kept.pop()
        kept.append(point)
    return np.array(kept, dtype=np.float64)
