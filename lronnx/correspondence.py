"""Which switch of one network stands for which of another, on the same path.

Two networks that compute the same function need not have the same units: exporters lay tensors out differently and
name nodes as they like, optimisers fuse nodes, hidden neurons may be permuted, doubled or dead. What can be observed
of a unit on a path is when it switches, its *signature*. Switches are matched one to one, in this order:

1. *The same unit.* Nodes are paired by label or by their order; units by their index, or by the index that a
   transposed layout gives them (NCHW and NHWC), whichever explains more. A unit's switches on a segment are paired in
   order, if they are no further apart than ``tolerance``.
2. *The same signature* within a pair of nodes: all switches that a unit has left are at the same places, up to
   ``tolerance``, the nearest first. So permuted neurons find each other.
3. The same signature anywhere.
4. *Moved.* Only between functions that differ: the same unit, however far apart its switches are. It is done for pairs
   of nodes whose switches are nearer to each other than chance has it; between two networks that were trained apart
   they are not, and nothing is matched. Where there are too few switches to tell, only near ones are matched, and only
   if both networks have the same nodes, operators and numbers of units, and chance is seen nowhere else. Where most
   units of a node have moved, this is done before 2: among many switches a strange one is soon near.
5. Single switches at the same place, up to ``tolerance``.

Of the rest, rounding explains those of a unit that has only grazed its kink: two switches, there and back, within the
tolerance, and one within the tolerance of an end of a segment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T
from lronnx.regions import Floats, Walk

if TYPE_CHECKING:
    from lronnx.network import SwitchingNode

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pairs = tuple[Integers, Integers]
Units = set[tuple[str, int]]

# Axes of more than one element up to which all ways to transpose a node's units are tried.
_MOST_AXES = 4
# Below so many pairs of switches chance cannot be told from correspondence; then only near ones are believed.
_FEW, _NEAR = 20, 0.01
# In so many ways units are paired with others to find out what chance does.
_TRIALS = 40
# What float16 moves is a hundred times nearer than chance has it, what nothing but chance pairs up to three times.
_CLEARLY = 8.0


@dataclass(frozen=True)
class Correspondence:
    """Which switches of two networks on a path stand for each other; the first number or mapping is the first's.

    ``switches``: how many each has. ``matched``: how many pairs. ``largest_move``, ``median_move``: ``|t_A - t_B|``
    over the pairs; None without any. ``grazing``: unmatched ones that rounding explains. ``unmatched``: the rest, by
    node label. ``nodes``: how many pairs, by node of the first and node of the other. ``one_to_one``: whether every
    unit that switches has exactly one counterpart with the same switches, up to grazing ones, and vice versa.
    """

    switches: tuple[int, int]
    matched: int
    largest_move: float | None
    median_move: float | None
    grazing: tuple[int, int]
    unmatched: tuple[Mapping[str, int], Mapping[str, int]]
    nodes: Mapping[str, Mapping[str, int]]
    one_to_one: bool


@dataclass(frozen=True, eq=False)
class _Switches:
    """The S switches of a walk in the order of the path, all arrays (S,); ``node``: index into ``labels``."""

    labels: tuple[str, ...]
    node: Integers
    unit: Integers
    segment: Integers
    t: Floats

    def __len__(self) -> int:
        return len(self.t)

    def of_node(self) -> list[Integers]:
        """Per node, which switches are its."""
        order = np.argsort(self.node, kind="stable")
        return np.split(order, np.searchsorted(self.node[order], np.arange(1, len(self.labels))))

    def among(self, units: Units) -> Bools:
        """(S,) which switches are those of these units."""
        if not units:
            return np.zeros(len(self), np.bool_)
        pairs = zip(self.node.tolist(), self.unit.tolist(), strict=True)
        return np.fromiter(((self.labels[node], unit) in units for node, unit in pairs), np.bool_, len(self))

    def group(self) -> Integers:
        """(S,) a number per unit that switches, in the order of nodes and their units."""
        keys = np.stack([self.node, self.unit], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1) if len(self) else np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class _Same:
    """The switches of the same units of two nodes, paired in order; ``move``: how far apart they are.

    ``key``: which pairs are of one unit, on one segment; ``even``: those whose unit switches equally often in both
    there. ``believable``: whether they are nearer than chance has it; None if they are too few to tell.
    """

    first: Integers
    other: Integers
    move: Floats
    key: Integers
    even: Bools
    believable: bool | None


def reached(first: Sequence[Walk], other: Sequence[Walk]) -> list[float]:
    """How far both got on each segment that both have."""
    return [min(float(a.t[-1]), float(b.t[-1])) for a, b in zip(first, other, strict=False)]


def correspond(
    first: Sequence[Walk],
    other: Sequence[Walk],
    nodes: tuple[Sequence[SwitchingNode], Sequence[SwitchingNode]],
    *,
    tolerance: float,
    moved: bool,
    loose: tuple[Units, Units] = (frozenset(), frozenset()),  # type: ignore[assignment]
) -> Correspondence:
    """Match the switches of two walks of the same path; of partial ones, those on what both have walked.

    ``nodes``: both networks' switching nodes, in topological order. ``tolerance``: what rounding explains of a
    difference in t. ``moved``: whether the same unit may have moved further than that. ``loose``: of both networks,
    units whose switches rounding may move anywhere, node and unit: rounding explains those that are not matched.
    """
    limits = reached(first, other)
    left = _gather(first, [node.label for node in nodes[0]], limits)
    right = _gather(other, [node.label for node in nodes[1]], limits)
    partner = np.full(len(left), -1)
    taken = np.zeros(len(right), np.bool_)

    def match(pairs: Pairs) -> None:
        partner[pairs[0]] = pairs[1]
        taken[pairs[1]] = True

    paired = _pair_nodes(*nodes)
    same = _same_units(left, right, nodes, paired, tolerance)
    for found in same:
        close = found.move <= tolerance
        # Where most units have moved, another that happens to switch at the same place is no better.
        if moved and found.believable is True and 2 * close.sum() < len(close):
            close[:] = True
        match((found.first[close], found.other[close]))
    domains = np.full(len(left.labels), -1), np.full(len(right.labels), -1)
    for number, (a, b) in enumerate(paired):
        domains[0][a] = domains[1][b] = number
    groups = left.group(), right.group()
    for within in (True, False):
        free = partner < 0, ~taken
        if within:
            free = free[0] & (domains[0][left.node] >= 0), free[1] & (domains[1][right.node] >= 0)
        kinds = (domains[0][left.node], domains[1][right.node]) if within else None
        match(_alike(left, right, groups, free, kinds, tolerance))
    if moved:
        few = [found for found in same if found.believable is None]
        together = (
            None
            if not few
            else _better_than_chance(
                np.concatenate([(len(few) * found.key + number)[found.even] for number, found in enumerate(few)]),
                left.t[np.concatenate([found.first[found.even] for found in few])],
                right.t[np.concatenate([found.other[found.even] for found in few])],
            )
        )
        structures = [[(node.op_type, node.units) for node in network] for network in nodes]
        alike = structures[0] == structures[1] and all(found.believable is not False for found in same)
        for found in same:
            open_ = (partner[found.first] < 0) & ~taken[found.other]
            believed = together if found.believable is None else found.believable
            if believed is None:
                # Where networks are built in the same way, chance seldom has two units so near.
                open_ &= (found.move <= _NEAR) & alike
            elif not believed:
                continue
            match((found.first[open_], found.other[open_]))
    single = np.arange(len(left)), np.arange(len(right))
    match(_alike(left, right, single, (partner < 0, ~taken), None, tolerance))
    return _summary(left, right, groups, partner, taken, tolerance, loose)


def moves(first: Sequence[Walk], other: Sequence[Walk]) -> Floats:
    """How far, in t, the switches of one network move from one walk of a path to another: ``|t_A - t_B|`` of each.

    Only of units that switch as often in both on a segment: of others it is not known which is which.
    """
    limits = reached(first, other)
    labels = tuple({s.node: None for walks in (first, other) for w in walks for group in w.switches for s in group})
    left, right = _gather(first, labels, limits), _gather(other, labels, limits)
    count = len(limits)
    units = 1 + int(max(left.unit.max(initial=0), right.unit.max(initial=0)))
    keys = [((one.node * units) + one.unit) * count + one.segment for one in (left, right)]
    pairs = _in_order(keys[0], left.t, keys[1], right.t, unequal=False)
    return np.asarray(np.abs(left.t[pairs[0]] - right.t[pairs[1]]))


def unsettled(one: Sequence[Walk], twin: Sequence[Walk], limit: float) -> Units:
    """The units, node and number, that on some segment switch another number of times in a twin, or more than ``limit``
    away in t."""
    places: list[dict[tuple[str, int, int], list[float]]] = [{}, {}]
    limits = reached(one, twin)
    for known, walks in zip(places, (one, twin), strict=True):
        for segment, (walk, end) in enumerate(zip(walks, limits, strict=False)):
            for t, together in zip(walk.t[1:].tolist(), walk.switches, strict=False):
                if t >= end and end < 1.0:
                    break
                for switch in together:
                    known.setdefault((switch.node, switch.unit, segment), []).append(t)
    found: Units = set()
    for key in places[0].keys() | places[1].keys():
        times = [known.get(key, []) for known in places]
        if len(times[0]) != len(times[1]) or any(abs(a - b) > limit for a, b in zip(*times, strict=True)):
            found.add(key[:2])
    return found


def _gather(walks: Sequence[Walk], labels: Iterable[str], limits: Sequence[float]) -> _Switches:
    """All switches in front of the limits; a partial walk ends where the next breakpoint was not known yet."""
    numbers = {label: number for number, label in enumerate(labels)}
    found: list[tuple[int, int, int]] = []
    times: list[float] = []
    for segment, (walk, limit) in enumerate(zip(walks, limits, strict=False)):
        for t, together in zip(walk.t[1:].tolist(), walk.switches, strict=False):
            if t >= limit and limit < 1.0:
                break
            for switch in together:
                found.append((numbers.setdefault(switch.node, len(numbers)), switch.unit, segment))
                times.append(t)
    node, unit, segments = np.array(found, np.int64).reshape(-1, 3).T
    return _Switches(tuple(numbers), node, unit, segments, np.array(times, np.float64))


# --- nodes and units that are the same ------------------------------------------------------------------------------


def _pair_nodes(first: Sequence[SwitchingNode], other: Sequence[SwitchingNode]) -> list[tuple[int, int]]:
    """Which nodes may be the same, by position: by their labels if these say it of all, else in their order.

    In order: the alignment in which most nodes have a partner of as many units, of the same operator, of the same name.
    """
    by_label = {node.label: position for position, node in enumerate(other)}
    named = [(position, by_label.get(node.label, -1)) for position, node in enumerate(first)]
    if len(first) == len(other) and all(b >= 0 and first[a].units == other[b].units for a, b in named):
        return named
    best = np.zeros((len(first) + 1, len(other) + 1))
    worth = np.zeros((len(first), len(other)))
    for a, one in enumerate(first):
        for b, two in enumerate(other):
            alike = one.op_type == two.op_type
            worth[a, b] = (4.0 if one.units == two.units else 0.0) + 2.0 * alike + (one.label == two.label)
            best[a + 1, b + 1] = max(best[a, b + 1], best[a + 1, b], best[a, b] + worth[a, b])
    pairs: list[tuple[int, int]] = []
    a, b = len(first), len(other)
    while a and b:
        if best[a, b] == best[a - 1, b - 1] + worth[a - 1, b - 1] and worth[a - 1, b - 1] > 0.0:
            a, b = a - 1, b - 1
            pairs.append((a, b))
        elif best[a, b] == best[a - 1, b]:
            a -= 1
        else:
            b -= 1
    return pairs[::-1]


def _same_units(
    left: _Switches,
    right: _Switches,
    nodes: tuple[Sequence[SwitchingNode], Sequence[SwitchingNode]],
    paired: Sequence[tuple[int, int]],
    tolerance: float,
) -> list[_Same]:
    """Per pair of nodes of equally many units, their switches paired in the layout that explains most."""
    mine, theirs = left.of_node(), right.of_node()
    results = []
    for a, b in paired:
        if nodes[0][a].units != nodes[1][b].units or not (len(mine[a]) and len(theirs[b])):
            continue
        ours, others = mine[a], theirs[b]
        count = 1 + int(max(left.segment[ours].max(), right.segment[others].max()))
        keys = left.unit[ours] * count + left.segment[ours]
        found: list[tuple[tuple[int, bool, int, float], _Same]] = []
        for layout in _layouts(nodes[0][a].shape, nodes[1][b].shape):
            unit = right.unit[others] if layout is None else layout[right.unit[others]]
            other_keys = unit * count + right.segment[others]
            i, j = _in_order(keys, left.t[ours], other_keys, right.t[others])
            move = np.abs(left.t[ours[i]] - right.t[others[j]])
            within = int((move <= tolerance).sum())
            # Of units that switch unequally often the nearest switches were chosen, which chance could not do.
            even = np.isin(keys[i], _even(keys, other_keys))
            believable = _better_than_chance(keys[i][even], left.t[ours[i[even]]], right.t[others[j[even]]])
            # In a wrong layout other units are paired, many of which do not both switch.
            quality = within, believable is not False, len(move), -float(move.sum())
            found.append((quality, _Same(ours[i], others[j], move, keys[i], even, believable)))
            if 2 * within >= max(len(ours), len(others)):
                break
        results.append(max(found, key=lambda one: one[0])[1])
    return results


def _layouts(first: Sequence[int], other: Sequence[int]) -> Iterator[Integers | None]:
    """Which unit of the first each unit of the other may be: the same, None, or that of a transposed layout, (units,).

    Axes of one element, among them the batch's, have no part in it.
    """
    yield None
    mine = [size for size in first if size != 1]
    theirs = [size for size in other if size != 1]
    if 2 <= len(mine) <= _MOST_AXES and sorted(mine) == sorted(theirs):
        units = np.arange(prod(mine)).reshape(mine)
        for axes in permutations(range(len(mine))):
            if axes != tuple(range(len(mine))) and [mine[axis] for axis in axes] == theirs:
                yield units.transpose(axes).reshape(-1)


def _in_order(
    keys_first: Integers, t_first: Floats, keys_other: Integers, t_other: Floats, *, unequal: bool = True
) -> Pairs:
    """Positions of switches with equal keys, the k-th with the k-th in the order given, which is that of the path.

    Where one has more of a key, they are paired so that the sum of their distances is as small as it can be (not at
    all if ``unequal`` is False).
    """
    mine, theirs = np.argsort(keys_first, kind="stable"), np.argsort(keys_other, kind="stable")
    ours, start, count = np.unique(keys_first[mine], return_index=True, return_counts=True)
    others, start_other, count_other = np.unique(keys_other[theirs], return_index=True, return_counts=True)
    _, a, b = np.intersect1d(ours, others, assume_unique=True, return_indices=True)
    equal = count[a] == count_other[b]
    number = count[a][equal]
    inside = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    i = mine[np.repeat(start[a][equal], number) + inside]
    j = theirs[np.repeat(start_other[b][equal], number) + inside]
    if not unequal or equal.all():
        return i, j
    more = [(i, j)]
    for p, q in zip(a[~equal].tolist(), b[~equal].tolist(), strict=True):
        one = mine[start[p] : start[p] + count[p]]
        two = theirs[start_other[q] : start_other[q] + count_other[q]]
        if len(one) < len(two):
            more.append((one, two[_nearest(t_first[one], t_other[two])]))
        else:
            more.append((one[_nearest(t_other[two], t_first[one])], two))
    return np.concatenate([pair[0] for pair in more]), np.concatenate([pair[1] for pair in more])


def _nearest(few: Floats, many: Floats) -> Integers:
    """Which of ``many`` increasing numbers, in order, stand for ``few``: the sum of the distances is the smallest."""
    cost = np.zeros(len(many) + 1)
    choices = []
    for number in few:
        # The number stands for many[k], or for one in front of it.
        here = np.concatenate([[np.inf], cost[:-1] + np.abs(many - number)])
        chosen = np.where(here <= np.minimum.accumulate(here), np.arange(len(here)), 0)
        choices.append(np.maximum.accumulate(chosen))
        cost = np.minimum.accumulate(here)
    picked = np.zeros(len(few), np.int64)
    end = len(many)
    for k in range(len(few) - 1, -1, -1):
        picked[k] = choices[k][end] - 1
        end = int(picked[k])
    return picked


def _even(first: Integers, other: Integers) -> Integers:
    """The keys that are equally often in both."""
    ours, count = np.unique(first, return_counts=True)
    others, count_other = np.unique(other, return_counts=True)
    both, a, b = np.intersect1d(ours, others, assume_unique=True, return_indices=True)
    return np.asarray(both[count[a] == count_other[b]])


def _better_than_chance(keys: Integers, t_first: Floats, t_other: Floats) -> bool | None:
    """Whether paired switches are nearer to each other, in the median, than units are by chance.

    ``keys``: (n,) which unit, and segment, a pair belongs to. Chance is what comes of pairing each unit with another
    that has as many pairs, in up to :data:`_TRIALS` ways: the nearest of these has to be :data:`_CLEARLY` times as far.
    None if there are too few such units.
    """
    order = np.argsort(keys, kind="stable")
    _, start, inverse, count = np.unique(keys[order], return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(order)) - start[inverse]
    kind = count[inverse] * (len(order) + 1) + rank
    by_kind = np.argsort(kind, kind="stable")
    _, start, inverse, count = np.unique(kind[by_kind], return_index=True, return_inverse=True, return_counts=True)
    size = count[inverse]
    position = np.arange(len(order)) - start[inverse]
    one, two = t_first[order][by_kind], t_other[order][by_kind]
    several = size > 1
    if several.sum() < _FEW:
        return None
    apart = np.median(np.abs(one - two)[several])
    # Evenly spread over all ways to turn the units of a kind.
    for share in np.linspace(0.0, 1.0, _TRIALS + 2)[1:-1]:
        step = np.clip(np.rint(share * size).astype(np.int64), 1, np.maximum(size - 1, 1))
        elsewhere = start[inverse] + (position + step) % size
        if _CLEARLY * apart > np.median(np.abs(one - two[elsewhere])[several]):
            return False
    return True


# --- units with the same signature ----------------------------------------------------------------------------------


def _alike(
    left: _Switches,
    right: _Switches,
    groups: Pairs,
    free: tuple[Bools, Bools],
    kinds: Pairs | None,
    tolerance: float,
) -> Pairs:
    """Pair groups of switches, one to one, whose places are the same up to ``tolerance``, the nearest first.

    ``groups``: (S,) each the group of a switch; ``free``: which switches take part; ``kinds``: what else has to be the
    same. Groups with equal places pair up in their order, others that share a cell in time.

    Places are put into cells, and groups with equal cells are found by sorting; from cells of the width of SAME_T to
    those of twice the tolerance, so that near ones find each other before others are near enough. Cells that are moved
    by half of their width leave no two places apart that are half a width apart or less.
    """
    sides = []
    for number, one in enumerate((left, right)):
        index = np.flatnonzero(free[number])
        index = index[np.argsort(groups[number][index], kind="stable")]
        sides.append((one, index, groups[number], None if kinds is None else kinds[number]))
    width = 2.0 * SAME_T
    matched: list[Pairs] = []
    while True:
        last = width >= 2.0 * tolerance
        width = min(width, 2.0 * tolerance)
        for offset in (0.0, 0.5, 0.25, 0.75) if last else (0.0, 0.5):
            if not all(len(side[1]) for side in sides):
                break
            cells = [_Cells.of(*side, width, offset) for side in sides]
            pairs = _equal(cells[0], cells[1], left.t, right.t, tolerance)
            matched.append(pairs)
            for number, (one, index, group, kind) in enumerate(sides):
                sides[number] = one, index[~np.isin(index, pairs[number])], group, kind
        if last:
            break
        width *= 4.0
    nothing = np.zeros(0, np.int64)
    i, j = (np.concatenate([nothing, *(pair[number] for pair in matched)]) for number in (0, 1))
    # The nearest may be another's: of those that switch once, as many as can be.
    once = [_once(index, group, free[number]) for number, (_, index, group, _) in enumerate(sides)]
    if all(len(one) for one in once):
        single = np.isin(i, _once(np.flatnonzero(free[0]), groups[0], free[0]))
        a, b = (np.concatenate([one, pair[single]]) for one, pair in zip(once, (i, j), strict=True))
        more = _in_turn(left, right, (a, b), kinds, tolerance)
        if len(more[0]) > single.sum():
            i, j = np.concatenate([i[~single], more[0]]), np.concatenate([j[~single], more[1]])
    return i, j


def _once(index: Integers, groups: Integers, free: Bools) -> Integers:
    """Those switches of ``index`` that are alone in their group, of the free ones."""
    return np.asarray(index[np.bincount(groups[free], minlength=len(groups))[groups[index]] == 1])


def _in_turn(left: _Switches, right: _Switches, index: Pairs, kinds: Pairs | None, tolerance: float) -> Pairs:
    """The most pairs of single switches that are no further apart than the tolerance, in the order of their places."""
    sides = []
    for number, (one, chosen) in enumerate(zip((left, right), index, strict=True)):
        kind = np.zeros(len(one), np.int64) if kinds is None else kinds[number]
        order = chosen[np.lexsort((one.t[chosen], one.segment[chosen], kind[chosen]))]
        sides.append((order, kind[order].tolist(), one.segment[order].tolist(), one.t[order].tolist()))
    (mine, kind, segment, t), (theirs, other_kind, other_segment, other_t) = sides
    pairs: list[tuple[int, int]] = []
    a = b = 0
    while a < len(mine) and b < len(theirs):
        here, there = (kind[a], segment[a]), (other_kind[b], other_segment[b])
        if here == there and abs(t[a] - other_t[b]) <= tolerance:
            pairs.append((a, b))
            a, b = a + 1, b + 1
        elif (*here, t[a]) < (*there, other_t[b]):
            a += 1
        else:
            b += 1
    i, j = np.array(pairs, np.int64).reshape(-1, 2).T
    return mine[i], theirs[j]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Groups of switches, G of them: ``key`` (G,) hashes the cells of all of them; ``start`` and ``count``: where they
    are in ``index``, which has the groups one after the other."""

    index: Integers
    start: Integers
    count: Integers
    key: NDArray[np.uint64]

    @classmethod
    def of(
        cls, one: _Switches, index: Integers, groups: Integers, kinds: Integers | None, width: float, offset: float
    ) -> _Cells:
        _, start, count = np.unique(groups[index], return_index=True, return_counts=True)
        rank = np.arange(len(index)) - np.repeat(start, count)
        cell = np.floor(one.t[index] / width + offset).astype(np.int64).astype(np.uint64)
        # A linear hash with random odd factors, modulo 2**64; equal hashes are checked by the distances.
        factors = np.random.default_rng(0).integers(2**63, size=int(rank.max()) + 4, dtype=np.uint64) * 2 + 1
        mixed = cell * factors[0] + one.segment[index].astype(np.uint64) * factors[1]
        if kinds is not None:
            mixed += kinds[index].astype(np.uint64) * factors[2]
        key = np.add.reduceat(mixed * factors[3 + rank], start)
        return cls(index, start, count, key)


def _equal(first: _Cells, other: _Cells, t_first: Floats, t_other: Floats, tolerance: float) -> Pairs:
    """The switches of groups with equal keys, the k-th such group in time with the k-th, that are no further apart."""
    ids = np.unique(np.concatenate([first.key, other.key]), return_inverse=True)[1].reshape(-1)
    size = len(ids)
    ranked = []
    for part, cells, t in ((ids[: len(first.key)], first, t_first), (ids[len(first.key) :], other, t_other)):
        # Of groups that begin at the same place, rounding must not decide which comes first.
        order = np.lexsort((np.rint(t[cells.index[cells.start]] / SAME_T), part))
        _, start, count = np.unique(part[order], return_index=True, return_counts=True)
        rank = np.empty(len(part), np.int64)
        rank[order] = np.arange(len(part)) - np.repeat(start, count)
        ranked.append(part * size + rank)
    _, a, b = np.intersect1d(ranked[0], ranked[1], assume_unique=True, return_indices=True)
    same = first.count[a] == other.count[b]
    a, b = a[same], b[same]
    number = first.count[a]
    offsets = np.cumsum(number) - number
    inside = np.arange(number.sum()) - np.repeat(offsets, number)
    i = first.index[np.repeat(first.start[a], number) + inside]
    j = other.index[np.repeat(other.start[b], number) + inside]
    if not len(i):
        return i, j
    far = np.maximum.reduceat(np.abs(t_first[i] - t_other[j]), offsets)
    near = np.repeat(far <= tolerance, number)
    return i[near], j[near]


# --- what is left ---------------------------------------------------------------------------------------------------


def _summary(
    left: _Switches,
    right: _Switches,
    groups: Pairs,
    partner: Integers,
    taken: Bools,
    tolerance: float,
    loose: tuple[Units, Units],
) -> Correspondence:
    i = np.flatnonzero(partner >= 0)
    j = partner[i]
    move = np.abs(left.t[i] - right.t[j])
    nodes: dict[str, Counter[str]] = defaultdict(Counter)
    pairs, counts = np.unique(np.stack([left.node[i], right.node[j]], axis=1), axis=0, return_counts=True)
    for (a, b), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        nodes[left.labels[a]][right.labels[b]] += count
    grazes = [
        _grazing(one, group, open_, tolerance) | (open_ & one.among(units))
        for one, group, open_, units in zip((left, right), groups, (partner < 0, ~taken), loose, strict=True)
    ]
    unmatched = []
    for one, open_, grazing in zip((left, right), (partner < 0, ~taken), grazes, strict=True):
        numbers = Counter(one.node[open_ & ~grazing].tolist())
        unmatched.append({one.labels[number]: count for number, count in sorted(numbers.items())})
    # Which units graze an end of a segment together has no meaning.
    kept = ~(_at_an_end(left.t[i], tolerance) & _at_an_end(right.t[j], tolerance))
    units = np.unique(np.stack([groups[0][i[kept]], groups[1][j[kept]]], axis=1), axis=0)
    single = all(len(np.unique(column)) == len(column) for column in units.T)
    return Correspondence(
        switches=(len(left), len(right)),
        matched=len(i),
        largest_move=float(move.max()) if len(move) else None,
        median_move=float(np.median(move)) if len(move) else None,
        grazing=(int(grazes[0].sum()), int(grazes[1].sum())),
        unmatched=(unmatched[0], unmatched[1]),
        nodes={node: dict(others.most_common()) for node, others in nodes.items()},
        one_to_one=single and not unmatched[0] and not unmatched[1],
    )


def _at_an_end(t: Floats, tolerance: float) -> Bools:
    return np.asarray((t <= tolerance) | (t >= 1.0 - tolerance))


def _grazing(one: _Switches, groups: Integers, open_: Bools, tolerance: float) -> Bools:
    """(S,) which of the open switches are explained by a unit that grazes its kink, or an end of a segment."""
    result = open_ & _at_an_end(one.t, tolerance)
    index = np.flatnonzero(open_ & ~result)
    index = index[np.argsort(groups[index], kind="stable")]
    group, segment, t = groups[index], one.segment[index], one.t[index]
    back = (group[1:] == group[:-1]) & (segment[1:] == segment[:-1]) & (np.diff(t) <= tolerance)
    # Of a run of n switches that follow each other closely, pairs from the first on.
    run = 0
    for position in np.flatnonzero(back).tolist():
        if position >= run:
            result[index[position : position + 2]] = True
            run = position + 2
    return result
