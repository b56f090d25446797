"""Which switch of one network stands for which of another: on switches made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from walks import hand_walk

from lronnx.correspondence import Correspondence, _nearest, correspond, moves
from lronnx.network import SwitchingNode
from lronnx.regions import Switch, Walk

Times = dict[tuple[str, int], Sequence[float]]


def walk(times: Times, end: float = 1.0) -> Walk:
    """Units that switch at these t, each a node and a unit."""
    found: dict[float, list[Switch]] = {}
    for (node, unit), switched in times.items():
        for number, t in enumerate(switched):
            found.setdefault(t, []).append(Switch(node, unit, number % 2, 1 - number % 2))
    inner = sorted(found)
    edges = np.array([0.0, *inner, end])
    made = hand_walk([[0.0]] * len(edges), nodes=())
    return replace(made, t=edges, switches=tuple(tuple(found[t]) for t in inner), partial=end < 1.0)


def node(label: str, *shape: int, op_type: str = "R") -> SwitchingNode:
    return SwitchingNode(label, op_type, (1, *shape), int(np.prod(shape)), 1)


def matched(
    first: Times | Sequence[Times],
    other: Times | Sequence[Times],
    nodes: Sequence[SwitchingNode] = (node("a", 20), node("b", 20)),
    others: Sequence[SwitchingNode] | None = None,
    *,
    tolerance: float = 1e-9,
    moved: bool = False,
) -> Correspondence:
    """Match both ways: what is told of one has to be told of the other, too."""
    sides = [[walk(one) for one in ([side] if isinstance(side, dict) else side)] for side in (first, other)]
    both = nodes, nodes if others is None else others
    found = correspond(*sides, both, tolerance=tolerance, moved=moved)
    back = correspond(*sides[::-1], both[::-1], tolerance=tolerance, moved=moved)
    assert back.switches == found.switches[::-1]
    assert (back.matched, back.largest_move, back.one_to_one) == (found.matched, found.largest_move, found.one_to_one)
    assert back.unmatched == found.unmatched[::-1]
    assert back.grazing == found.grazing[::-1]
    assert found.matched + found.grazing[0] + sum(found.unmatched[0].values()) == found.switches[0]
    assert found.matched + found.grazing[1] + sum(found.unmatched[1].values()) == found.switches[1]
    assert sum(sum(counts.values()) for counts in found.nodes.values()) == found.matched
    return found


BASE: Times = {("a", 0): [0.1, 0.8], ("a", 1): [0.3], ("a", 5): [0.3], ("b", 2): [0.1, 0.4, 0.6], ("b", 3): [0.55]}


def test_the_same_switches() -> None:
    found = matched(BASE, BASE)
    assert found.matched == 8
    assert (found.largest_move, found.median_move) == (0.0, 0.0)
    assert found.nodes == {"a": {"a": 4}, "b": {"b": 4}}
    assert found.one_to_one


def test_no_switches() -> None:
    found = matched({}, {})
    assert (found.switches, found.matched, found.largest_move, found.median_move) == ((0, 0), 0, None, None)
    assert (found.nodes, found.unmatched, found.one_to_one) == ({}, ({}, {}), True)


def test_nodes_by_another_name_and_in_another_number() -> None:
    # A node that never switches in front of them, and one between them.
    others = [node("w", 7), node("x", 20), node("y", 3), node("z", 20)]
    renamed = {("x" if name == "a" else "z", unit): t for (name, unit), t in BASE.items()}
    found = matched(BASE, renamed, others=others)
    assert found.nodes == {"a": {"x": 4}, "b": {"z": 4}}
    assert found.one_to_one


def test_labels_that_mislead() -> None:
    # What one calls a, the other calls b.
    swapped = {("b" if name == "a" else "a", unit): t for (name, unit), t in BASE.items()}
    found = matched(BASE, swapped)
    assert found.nodes == {"a": {"b": 4}, "b": {"a": 4}}
    assert found.one_to_one


def test_permuted_units() -> None:
    permuted = {(name, 19 - unit): t for (name, unit), t in BASE.items()}
    found = matched(BASE, permuted)
    assert found.matched == 8
    assert found.largest_move == 0.0
    assert found.nodes == {"a": {"a": 4}, "b": {"b": 4}}
    assert found.one_to_one


def test_a_unit_must_have_the_same_signature() -> None:
    other = {**BASE, ("a", 0): [0.1, 0.8 + 1e-7]}
    found = matched(BASE, other)
    assert found.unmatched == ({"a": 1}, {"a": 1})
    assert not found.one_to_one
    assert found.largest_move == 0.0
    wide = matched(BASE, other, tolerance=2e-7)
    assert wide.one_to_one
    assert wide.largest_move == pytest.approx(1e-7)


def test_the_nearest_are_matched_first() -> None:
    # Two units within the tolerance of each other; each has a counterpart that is nearer than the other's.
    first: Times = {("a", 0): [0.5], ("a", 1): [0.5 + 1e-5]}
    other: Times = {("a", 11): [0.5 + 1e-5 + 1e-8], ("a", 10): [0.5 - 1e-8]}
    found = matched(first, other, tolerance=1e-4)
    assert found.matched == 2
    assert found.largest_move == pytest.approx(1e-8, rel=1e-3)


def test_places_on_either_side_of_a_cell() -> None:
    rng = np.random.default_rng(0)
    t = rng.random(300)
    for tolerance in (1e-9, 1e-6, 1e-4):
        first: Times = {("a", unit): [place] for unit, place in enumerate(t)}
        other: Times = {("a", 299 - unit): [place + 0.99 * tolerance] for unit, place in enumerate(t)}
        assert matched(first, other, [node("a", 300)], tolerance=tolerance).matched == 300
        # Those that switch twice are never matched in turn.
        apart: Times = {("a", unit): [place, place + 0.5] for unit, place in enumerate(np.linspace(0.1, 0.4, 40))}
        further: Times = {("a", 39 - unit): [p + 1.01 * tolerance for p in apart["a", unit]] for unit in range(40)}
        assert matched(apart, further, [node("a", 300)], tolerance=tolerance).matched == 0
        twice: Times = {("a", unit): sorted(t[[unit, 299 - unit]]) for unit in range(100)}
        moved: Times = {
            ("a", 99 - unit): [place + 0.3 * tolerance for place in twice["a", unit]] for unit in range(100)
        }
        assert matched(twice, moved, [node("a", 300)], tolerance=tolerance).one_to_one


def test_another_segment_is_another_place() -> None:
    found = matched([{("a", 0): [0.5]}, {("a", 1): [0.25]}], [{("a", 1): [0.25]}, {("a", 0): [0.5]}])
    assert found.matched == 0
    assert found.unmatched == ({"a": 2}, {"a": 2})


def test_equal_units_of_which_one_has_more() -> None:
    found = matched({("a", unit): [0.2, 0.7] for unit in range(3)}, {("a", unit): [0.2, 0.7] for unit in range(10, 15)})
    assert found.matched == 6
    assert found.unmatched == ({}, {"a": 4})
    assert not found.one_to_one


def test_equal_signatures_stay_in_their_nodes() -> None:
    # A pooling that switches with what it pools: both nodes have units with the same signature, in both networks.
    first: Times = {("a", 0): [0.3], ("b", 0): [0.3], ("b", 1): [0.4]}
    other: Times = {("a", 9): [0.3], ("b", 8): [0.3], ("b", 7): [0.4]}
    assert matched(first, other).nodes == {"a": {"a": 1}, "b": {"b": 2}}
    # Also where they come in another order.
    nodes = [node("a", 20), node("b", 20)]
    assert matched(first, other, nodes, nodes[::-1]).nodes == {"a": {"a": 1}, "b": {"b": 2}}


def test_rounding_does_not_decide_between_nodes() -> None:
    next_to = float(np.nextafter(0.3, 1))
    others = [node("x", 30, op_type="S"), node("y", 40, op_type="S")]
    found = matched({("a", 0): [0.3], ("b", 0): [next_to]}, {("x", 0): [next_to], ("y", 0): [0.3]}, others=others)
    assert found.nodes == {"a": {"x": 1}, "b": {"y": 1}}


def test_signatures_go_before_single_switches() -> None:
    # Without nodes that could be the same, a unit with both switches is not two units with one each.
    first: Times = {("a", 0): [0.1, 0.8], ("a", 1): [0.1], ("a", 2): [0.8]}
    other: Times = {("z", 0): [0.1], ("z", 1): [0.8], ("z", 2): [0.1, 0.8]}
    found = matched(first, other, [node("a", 20)], [node("z", 30, op_type="S")])
    assert found.matched == 4
    assert found.one_to_one


def test_a_unit_that_is_two_elsewhere() -> None:
    # A Clip is one unit with two kinks, a Relu and a Min are two units.
    found = matched({("a", 0): [0.2, 0.5]}, {("x", 0): [0.2], ("y", 0): [0.5]}, others=[node("x", 20), node("y", 20)])
    assert found.matched == 2
    assert not found.one_to_one
    assert found.unmatched == ({}, {})


@pytest.mark.parametrize("others", [(4, 5, 3), (20, 3), (5, 3, 4), (60,)])
def test_transposed_layouts(others: tuple[int, ...]) -> None:
    """Also where all switches have moved, so that signatures would not do."""
    rng = np.random.default_rng(1)
    order = np.arange(60).reshape(3, 4, 5)
    axes = {(4, 5, 3): (1, 2, 0), (5, 3, 4): (2, 0, 1)}.get(others)
    where = np.argsort((order if axes is None else order.transpose(axes)).reshape(-1))
    t = rng.random(60)
    first: Times = {("a", unit): [t[unit]] for unit in range(60)}
    other: Times = {("z", int(where[unit])): [t[unit] + rng.uniform(-1e-4, 1e-4)] for unit in range(60)}
    found = matched(first, other, [node("a", 3, 4, 5)], [node("z", *others)], moved=True)
    assert found.matched == 60
    assert found.one_to_one
    assert found.largest_move is not None
    assert found.largest_move <= 1e-4


def test_moved_switches_are_matched_where_functions_differ() -> None:
    rng = np.random.default_rng(2)
    t = rng.random(400)
    first: Times = {("a", unit): [place] for unit, place in enumerate(t)}
    shift = np.clip(t + 1e-3 * rng.standard_normal(400), 1e-6, 1 - 1e-6)
    other: Times = {("a", unit): [place] for unit, place in enumerate(shift)}
    nodes = [node("a", 400)]
    found = matched(first, other, nodes, moved=True)
    assert found.matched == 400
    assert found.one_to_one
    assert found.median_move == pytest.approx(float(np.median(np.abs(shift - t))))
    assert found.largest_move == pytest.approx(float(np.abs(shift - t).max()))
    assert matched(first, other, nodes).matched == 0
    # Many are near a strange one then.
    assert matched(first, other, nodes, tolerance=1e-4, moved=True).one_to_one
    # A node of another size behind it, of the same operator, is not the same.
    renamed: Times = {("x", unit): times for (_, unit), times in other.items()}
    assert matched(first, renamed, nodes, [node("x", 400), node("y", 7)], moved=True).matched == 400
    # Units of a network that was trained apart switch anywhere.
    apart: Times = {("a", unit): [place] for unit, place in enumerate(rng.random(400))}
    assert matched(first, apart, nodes, moved=True).matched == 0


def test_too_few_switches_to_tell_are_matched_between_networks_of_the_same_nodes_only() -> None:
    first: Times = {("a", 0): [0.3], ("a", 4): [0.7]}
    other: Times = {("a", 0): [0.301], ("a", 4): [0.702]}
    assert matched(first, other, moved=True).matched == 2
    # Of networks that are built in another way, units of the same number say nothing.
    assert matched(first, other, others=[node("a", 20), node("b", 20), node("c", 5)], moved=True).matched == 0


def test_of_more_switches_of_a_unit_the_nearest_is_the_same() -> None:
    found = matched({("a", 0): [0.3]}, {("a", 0): [0.1, 0.2, 0.3001]}, moved=True)
    assert found.matched == 1
    assert found.largest_move == pytest.approx(1e-4)
    assert found.unmatched == ({}, {"a": 2})


def test_few_nodes_moved_and_others_permuted() -> None:
    rng = np.random.default_rng(3)
    t = rng.random((2, 50))
    first: Times = {(name, unit): [t[row, unit]] for row, name in enumerate("ab") for unit in range(50)}
    other: Times = {("a", 49 - unit): [t[0, unit]] for unit in range(50)}
    other |= {
        ("b", unit): [t[1, unit] + 1e-3 * rng.uniform(-1, 1) * t[1, unit] * (1 - t[1, unit])] for unit in range(50)
    }
    found = matched(first, other, [node("a", 50), node("b", 50)], moved=True)
    assert found.matched == 100
    assert found.largest_move is not None
    assert found.largest_move < 1e-3


def test_two_swapped_units_of_a_node_that_is_the_same() -> None:
    t = np.random.default_rng(4).random(50)
    first: Times = {("a", unit): [place] for unit, place in enumerate(t)}
    order = [1, 0, *range(2, 50)]
    other: Times = {("a", order[unit]): [place] for unit, place in enumerate(t)}
    for moved in (False, True):
        found = matched(first, other, [node("a", 50)], moved=moved)
        assert found.matched == 50
        assert found.largest_move == 0.0
        assert found.one_to_one


def test_grazing() -> None:
    back = {**BASE, ("a", 7): [0.5, 0.5 + 5e-10], ("b", 3): [0.2, 0.2 + 5e-10, 0.55]}
    found = matched(BASE, back)
    assert found.grazing == (0, 4)
    assert found.unmatched == ({}, {})
    assert found.one_to_one
    # Further apart they are no grazing; nor is one that does not come back.
    assert matched(BASE, {**BASE, ("a", 7): [0.5, 0.5 + 5e-9]}).unmatched == ({}, {"a": 2})
    assert matched(BASE, {**BASE, ("a", 7): [0.5]}).unmatched == ({}, {"a": 1})
    assert matched(BASE, {**BASE, ("a", 7): [0.5], ("a", 8): [0.5 + 1e-10]}).unmatched == ({}, {"a": 2})
    three = matched(BASE, {**BASE, ("a", 7): [0.5, 0.5 + 3e-10, 0.5 + 6e-10]})
    assert three.grazing == (0, 2)
    assert three.unmatched == ({}, {"a": 1})


def test_grazing_an_end_of_a_segment() -> None:
    found = matched([BASE, {}], [{**BASE, ("a", 9): [1 - 5e-10]}, {("b", 9): [5e-10]}])
    assert found.grazing == (0, 2)
    assert found.one_to_one
    assert matched(BASE, {**BASE, ("a", 9): [5e-9]}).unmatched == ({}, {"a": 1})
    # Which of those that graze an end together stand for each other does not matter.
    found = matched({**BASE, ("a", 1): [0.3, 1 - 5e-10]}, {**BASE, ("b", 3): [0.55, 1 - 5e-10]})
    assert found.matched == 9
    assert found.one_to_one


def test_of_partial_walks_what_both_have_walked() -> None:
    part = {key: [t for t in times if t < 0.5] for key, times in BASE.items()}
    nodes = [node("a", 20), node("b", 20)]
    found = correspond([walk(BASE)], [walk(part, end=0.5)], (nodes, nodes), tolerance=1e-9, moved=False)
    assert found.switches == (5, 5)
    assert found.one_to_one


def test_how_far_switches_move() -> None:
    other = {key: [t + 1e-4 for t in times] for key, times in BASE.items()}
    other[("a", 1)] = [0.3, 0.9]
    np.testing.assert_allclose(moves([walk(BASE)], [walk(other)]), 1e-4 * np.ones(7))
    assert len(moves([walk({})], [walk({})])) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.lists(st.integers(0, 40), min_size=4, max_size=7))
def test_the_nearest_in_order(few: list[int], many: list[int]) -> None:
    """Against all ways to choose."""
    numbers = [np.sort(0.3 * np.array(one)) for one in (few, many)]
    picked = _nearest(*numbers)
    assert (np.diff(picked) > 0).all()

    def cost(chosen: Iterable[int] | NDArray[np.int64]) -> float:
        return float(np.abs(numbers[0] - numbers[1][list(chosen)]).sum())

    least = min(cost(chosen) for chosen in combinations(range(len(many)), len(few)))
    assert cost(picked) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_many_switches(together: bool) -> None:
    """Thirty thousand permuted units, also all of them at once: a loop over pairs would never end."""
    rng = np.random.default_rng(5)
    count = 30_000
    t = np.full(count, 0.5) if together else rng.random(count)
    order = rng.permutation(count)
    first: Times = {("a", unit): [place] for unit, place in enumerate(t.tolist())}
    other: Times = {("a", int(order[unit])): [place] for unit, place in enumerate(t.tolist())}
    nodes = [node("a", count)]
    found = correspond([walk(first)], [walk(other)], (nodes, nodes), tolerance=1e-9, moved=False)
    assert found.matched == count
    assert found.one_to_one
