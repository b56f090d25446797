"""The figure of a network: what is folded into which box, where boxes and edges lie, and what they say."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import onnx
import pytest
from browser import PHONE, Browser, open_browser
from click.testing import CliRunner, Result
from hypothesis import given, settings
from onnx import TensorProto, helper
from PIL import Image
from strategies import Builder
from test_rewritten import leaky

import lronnx
from lronnx import cli, store
from lronnx.graph import Value
from lronnx.network import Inspection, NodeReport
from lronnx.plot import colors, network
from lronnx.plot.figures import Boxes, Figure, Line, Texts
from lronnx.plot.layout import Layout, _Net, layered
from lronnx.plot.network import MOST_BOXES, by_levels, figure, fold

EXAMPLE = Path(lronnx.__file__).parent / "example" / "digits.onnx"
KINDS = ("affine", "affine", "affine", "switching", "switching", "cut", "refused")
Edge = tuple[int, int]


@st.composite
def graphs(draw: st.DrawFn, most: int = 14) -> tuple[list[str], list[Edge]]:
    """Kinds of vertices, and edges from lower to higher ones."""
    count = draw(st.integers(1, most))
    kinds = [draw(st.sampled_from(KINDS)) for _ in range(count)]
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=3 * count)) if pairs else []
    return kinds, edges


def quotient(boxes: Sequence[Sequence[int]], edges: Sequence[Edge]) -> nx.DiGraph:
    box = {vertex: number for number, vertices in enumerate(boxes) for vertex in vertices}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(boxes)))
    graph.add_edges_from((box[a], box[b]) for a, b in edges if box[a] != box[b])
    return graph


# --- folding --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(graphs())
def test_folded_graphs_have_no_cycle(graph: tuple[list[str], list[Edge]]) -> None:
    kinds, edges = graph
    boxes = fold(kinds, edges)
    assert sorted(vertex for box in boxes for vertex in box) == list(range(len(kinds)))
    assert all(len({kinds[vertex] for vertex in box}) == 1 for box in boxes)
    assert all(len(box) == 1 or kinds[box[0]] in ("affine", "cut") for box in boxes)
    assert nx.is_directed_acyclic_graph(quotient(boxes, edges))


@settings(deadline=None)
@given(graphs())
def test_boxes_hold_what_hangs_together_and_leads_to_the_same(graph: tuple[list[str], list[Edge]]) -> None:
    kinds, edges = graph
    whole = nx.DiGraph(edges)
    whole.add_nodes_from(range(len(kinds)))

    def leads(vertex: int) -> set[int]:
        alike = whole.subgraph([v for v in whole if kinds[v] == kinds[vertex]])
        inside = nx.descendants(alike, vertex) | {vertex}
        return {reader for v in inside for reader in whole[v]} - set(alike)

    expected = nx.Graph()
    expected.add_nodes_from(whole)
    for a, b in edges:
        if kinds[a] == kinds[b] and kinds[a] in ("affine", "cut") and leads(a) == leads(b):
            expected.add_edge(a, b)
    assert {frozenset(box) for box in fold(kinds, edges)} == set(map(frozenset, nx.connected_components(expected)))


@settings(deadline=None)
@given(graphs(), st.integers(1, 8))
def test_levels_go_forward(graph: tuple[list[str], list[Edge]], most: int) -> None:
    kinds, edges = graph
    boxes = by_levels(kinds, edges, most)
    assert sorted(vertex for box in boxes for vertex in box) == list(range(len(kinds)))
    assert all(a < b for a, b in quotient(boxes, edges).edges)
    assert len(boxes) <= max(most, 1)
    whole = by_levels(kinds, edges, 10**6)
    assert all(len({kinds[vertex] for vertex in box}) == 1 for box in whole)


def test_a_residual_block() -> None:
    # relu -> conv -> relu -> conv -> add, and relu -> shortcut -> add -> relu.
    kinds = ["switching", "affine", "switching", "affine", "affine", "affine", "switching"]
    edges = [(0, 1), (1, 2), (2, 3), (0, 4), (3, 5), (4, 5), (5, 6)]
    assert fold(kinds, edges) == [[0], [1], [2], [3, 4, 5], [6]]


def test_what_two_branches_read_is_a_stage_of_its_own() -> None:
    # concat -> conv a -> relu a, concat -> conv b -> relu b.
    kinds = ["affine", "affine", "affine", "switching", "switching"]
    assert fold(kinds, [(0, 1), (0, 2), (1, 3), (2, 4)]) == [[0], [1], [2], [3], [4]]


# --- layout ---------------------------------------------------------------------------------------------------


def rectangles(layout: Layout, widths: Sequence[float], heights: Sequence[float]) -> list[tuple[float, ...]]:
    sizes = zip(layout.x, layout.y, widths, heights, strict=True)
    return [(x - w / 2, x + w / 2, y - h / 2, y + h / 2) for x, y, w, h in sizes]


@settings(deadline=None)
@given(graphs(12), st.integers(0, 2**31))
def test_boxes_and_edges_keep_apart(graph: tuple[list[str], list[Edge]], seed: int) -> None:
    kinds, edges = graph
    rng = np.random.default_rng(seed)
    widths, heights = rng.uniform(0.1, 3, len(kinds)), rng.uniform(0.1, 1, len(kinds))
    layout = layered(widths, heights, edges)
    boxes = rectangles(layout, widths, heights)
    left, right, bottom, top = layout.box
    for a, b, c, d in boxes:
        assert left - 1e-5 <= a < b <= right + 1e-5
        assert bottom - 1e-5 <= c < d <= top + 1e-5
    for one, other in itertools.combinations(range(len(boxes)), 2):
        (a, b, c, d), (e, f, g, h) = boxes[one], boxes[other]
        # An edge may run between them, 0.12 from either.
        assert b + 0.24 - 1e-5 <= e or f + 0.24 - 1e-5 <= a or d < g or h < c
    assert set(layout.edges) == set(edges)
    for (source, target), points in layout.edges.items():
        assert np.isfinite(points).all()
        np.testing.assert_allclose(points[0], (layout.x[source], boxes[source][2]), atol=1e-5)
        np.testing.assert_allclose(points[-1], (layout.x[target], boxes[target][3]), atol=1e-5)
        assert (np.diff(points[:, 1]) < 0).all()
        # It arrives from above, so that an arrowhead has a direction.
        assert points[-1, 0] == points[-2, 0]
        # It bends no further than to where it runs straight down.
        across = points[:, 0]
        straight = across[:-1][np.diff(across) == 0]
        for extreme in (across.min(), across.max()):
            assert extreme in straight or extreme == across[0]
        fine = np.concatenate([np.linspace(p, q, 20) for p, q in itertools.pairwise(points)])
        for box, (a, b, c, d) in enumerate(boxes):
            inside = (
                (fine[:, 0] > a + 1e-5) & (fine[:, 0] < b - 1e-5) & (fine[:, 1] > c + 1e-5) & (fine[:, 1] < d - 1e-5)
            )
            assert not inside.any(), (source, target, box)


@settings(deadline=None)
@given(graphs(12))
def test_levels_are_the_longest_paths(graph: tuple[list[str], list[Edge]]) -> None:
    kinds, edges = graph
    layout = layered([1.0] * len(kinds), [1.0] * len(kinds), edges)
    whole = nx.DiGraph(edges)
    whole.add_nodes_from(range(len(kinds)))
    for vertex in whole:
        before = list(whole.predecessors(vertex))
        if before:
            assert layout.levels[vertex] == max(layout.levels[v] for v in before) + 1
        elif whole[vertex]:
            assert layout.levels[vertex] == min(layout.levels[v] for v in whole[vertex]) - 1


def crossings(net: _Net, rows: Sequence[Sequence[int]]) -> int:
    """Pairs of edges between two levels that cross, looked at one by one."""
    place = {vertex: position for row in rows for position, vertex in enumerate(row)}
    found = 0
    for row in rows:
        steps = [(place[v], place[w]) for v in row for w in net.down[v]]
        found += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(steps, 2))
    return found


def test_as_few_edges_cross_as_can() -> None:
    rng = np.random.default_rng(0)
    tried = crossed = 0
    for _ in range(200):
        count = int(rng.integers(4, 9))
        pairs = list(itertools.combinations(range(count), 2))
        edges = [pairs[i] for i in rng.permutation(len(pairs))[: rng.integers(3, 13)]]
        layout = layered([1.0] * count, [1.0] * count, edges)
        net = _Net(layout.levels, edges)
        rows = [[v for v in range(len(net.level)) if net.level[v] == level] for level in range(max(net.level) + 1)]
        orders = [list(itertools.permutations(row)) for row in rows]
        if np.prod([len(one) for one in orders]) > 500:
            continue
        fewest = min(crossings(net, order) for order in itertools.product(*orders))
        assert layout.crossings == crossings(net, net.order()) == fewest, edges
        tried, crossed = tried + 1, crossed + (fewest > 0)
    assert tried > 100
    assert crossed > 10


def test_nothing_crosses_that_need_not() -> None:
    branches = [(0, i) for i in range(1, 6)] + [(i, i + 5) for i in range(1, 6)] + [(i, 11) for i in range(6, 11)]
    layout = layered([1.0] * 12, [0.3] * 12, branches)
    assert layout.crossings == 0
    # What is symmetric looks so.
    assert layout.x[0] == pytest.approx(layout.x[11]) == pytest.approx(layout.x[1:6].mean())
    np.testing.assert_allclose(layout.x[1:6], layout.x[6:11])
    # Of an even number of branches, too: what they come from is between the two in the middle.
    even = [(0, i) for i in range(1, 5)] + [(i, 5) for i in range(1, 5)]
    layout = layered([1.0] * 6, [0.3] * 6, even)
    assert layout.x[0] == pytest.approx(layout.x[5]) == pytest.approx(layout.x[1:5].mean())
    # The other way round, as they are numbered.
    twisted = [(0, 3), (1, 2), (0, 4), (1, 5)]
    assert layered([1.0] * 6, [0.3] * 6, twisted).crossings == 0


def test_a_way_through_boxes_is_straight() -> None:
    edges = [(i, i + 1) for i in range(30)] + [(3 * i, 3 * i + 3) for i in range(10)]
    layout = layered([1.0] * 31, [0.3] * 31, edges)
    assert len(set(layout.x)) == 1
    assert layout.crossings == 0
    # Every shortcut passes on one side, as close as it may.
    for source in range(0, 30, 3):
        assert np.abs(layout.edges[source, source + 3][:, 0] - layout.x[0]).max() == pytest.approx(0.5 + 0.12)


def test_nothing_to_lay_out() -> None:
    assert layered([], [], []).box == (0.0, 0.0, 0.0, 0.0)
    assert layered([2.0], [1.0], []).x.tolist() == [1.0]


# --- figures --------------------------------------------------------------------------------------------------


def saved(builder: Builder, output: Any, folder: Path, name: str = "m.onnx") -> Path:
    onnx.save(builder.model(output), folder / name)
    return folder / name


def boxes_of(drawn: Figure) -> dict[str, tuple[Any, ...]]:
    """Per text of a box: its centre, fill, outline, text colour, whether it is dashed, and what hovering tells."""
    found = {}
    for mark in drawn.panels[0].marks:
        if isinstance(mark, Boxes) and mark.hover is not None:
            told = mark.hover.texts(mark.x, mark.y)
            assert mark.inks is not None
            columns = (mark.x, mark.y, mark.fills, mark.outlines, mark.inks, [mark.dash] * len(mark.x), told)
            found.update({text: row for text, *row in zip(mark.texts, *columns, strict=True)})
    return {text: tuple(row) for text, row in found.items()}


def count(drawn: Figure) -> int:
    """How many boxes there are."""
    return sum(len(mark.x) for mark in drawn.panels[0].marks if isinstance(mark, Boxes) and mark.hover is not None)


def headings(drawn: Figure) -> str:
    return " ".join(text for mark in drawn.panels[0].marks if isinstance(mark, Texts) for text in mark.texts)


def check(drawn: Figure, inspection: Inspection) -> None:
    """What holds of every figure of a network."""
    (panel,) = drawn.panels
    assert drawn.width is not None
    left, right = drawn.x.range or (0, 0)
    bottom, top = panel.y.range or (0, 0)
    assert drawn.width == pytest.approx(right - left)
    assert drawn.aspect == pytest.approx((top - bottom) / (right - left))
    for mark in panel.marks:
        assert np.isfinite([mark.x, mark.y]).all()  # type: ignore[union-attr]
        if isinstance(mark, Boxes):
            assert len({len(mark.x), len(mark.texts), len(mark.fills), len(mark.outlines), len(mark.width)}) == 1
            assert (mark.x - mark.width / 2 > left).all()
            assert (mark.x + mark.width / 2 < right).all()
            assert (mark.y - mark.height / 2 > bottom).all()
            for text, height in zip(mark.texts, mark.height, strict=True):
                assert 0.12 * len(text.split("\n")) * bool(text) < height
    assert list(drawn.table["label"]) == [node.label for node in inspection.nodes]
    shown = {node.label for node in inspection.nodes if node.kind in ("affine", "cut", "refused") or node.switches}
    assert {label for label, box in zip(drawn.table["label"], drawn.table["box"], strict=True) if box} <= shown
    assert len(set(drawn.table["box"]) - {""}) <= count(drawn)


def test_the_example() -> None:
    inspection = lronnx.inspect(EXAMPLE)
    drawn = figure(inspection)
    check(drawn, inspection)
    boxes = boxes_of(drawn)
    assert "input image\n1x1x8x8" in boxes
    assert "output logits\n1x10" in boxes
    assert "Relu: 512 units, 48.5 %\nnode_relu" in boxes
    assert "affine stage: 2 nodes\nConv, Add" in boxes
    switching = [node for node in inspection.nodes if node.units]
    for position, node in enumerate(switching):
        ((_, _, fill, _, ink, dash, told),) = (row for text, row in boxes.items() if text.endswith("\n" + node.label))
        assert fill == colors.layer(position, len(switching))
        assert ink == colors.text_on(fill)
        assert dash == "solid"
        assert f"{node.units} units" in told
    # One line for every edge of the folded graph, the shortcut among them.
    lines = [mark for mark in drawn.panels[0].marks if isinstance(mark, Line)]
    assert len(lines) == len(boxes)
    assert all(line.arrow for line in lines)
    assert "Piecewise affine: 1,056 units in 6 switching nodes." in headings(drawn)
    assert "8 affine nodes in 6 stages" in headings(drawn)


def test_every_edge_of_the_network_is_drawn() -> None:
    inspection = lronnx.inspect(EXAMPLE)
    drawn = figure(inspection)
    box = dict(zip(drawn.table["label"], drawn.table["box"], strict=True))
    maker = {name: node.label for node in inspection.nodes for name in node.outputs}
    expected = {
        (box[maker[name]], box[node.label]) for node in inspection.nodes for name in node.reads if name in maker
    }
    expected = {(a, b) for a, b in expected if a != b} | {("input", box[inspection.nodes[0].label])}
    expected.add((box[maker[inspection.output_name]], "output"))
    # Where boxes are: every line leads from the lower side of one to the upper side of another.
    at = {}
    for text, (x, y, *_, told) in boxes_of(drawn).items():
        first = told.split("\n")[0]
        label = first.split(" ")[2].removesuffix(":") if first.startswith("#") else ""
        at[round(float(x), 4), round(float(y), 4)] = box[label] if label else text.split(" ")[0]
    found = set()
    for mark in drawn.panels[0].marks:
        if isinstance(mark, Line):
            ends = []
            for end in (0, -1):
                place = min(at, key=lambda p: abs(p[1] - mark.y[end]) + 10 * abs(p[0] - mark.x[end]))
                ends.append(at[place])
            found.add(tuple(ends))
    assert found == expected


def test_a_network_that_is_refused(tmp_path: Path) -> None:
    b = Builder((2,))
    hidden = b.add("Sigmoid", [b.relu(b.input)], (1, 2))
    product = b.add("Mul", [hidden, hidden], (1, 2))
    inspection = lronnx.inspect(saved(b, b.gemm(product, np.eye(2)), tmp_path))
    drawn = figure(inspection)
    check(drawn, inspection)
    refused = {text: row for text, row in boxes_of(drawn).items() if "refused" in text}
    assert len(refused) == 2
    for text, (_, _, fill, outline, _, _, told) in refused.items():
        # The mark and the word, not the colour alone.
        assert text.startswith("\u00d7 refused: ")
        assert fill == outline == colors.BAD
        assert any(refusal.reason in told for refusal in inspection.refusals)
        # All of the reason is in the box, in as many lines as it takes: a still figure has no other place for it.
        assert any(refusal.reason == " ".join(text.split("\n")[2:]) for refusal in inspection.refusals)
    assert "Not piecewise affine: 2 nodes are refused." in headings(drawn)
    assert "\u00d7 refused" in headings(drawn)
    assert [reason for reason in drawn.table["reason"] if reason] == [one.reason for one in inspection.refusals]


def test_what_is_cut_off(tmp_path: Path) -> None:
    b = Builder((3,))
    tail = b.add("Softmax", [b.gemm(b.relu(b.input), np.eye(3))], (1, 3))
    inspection = lronnx.inspect(saved(b, tail, tmp_path))
    drawn = figure(inspection)
    check(drawn, inspection)
    boxes = boxes_of(drawn)
    assert [text for text, row in boxes.items() if row[5] == "dashed"] == [
        "cut: Softmax\nsoftmax_2",
        "the file's output softmax_2\n1x3",
    ]
    assert "output gemm_1\n1x3" in boxes
    dashed = [mark.dash for mark in drawn.panels[0].marks if isinstance(mark, Line)]
    assert Counter(dashed) == {"solid": 4 - 1, "dashed": 2}
    assert "1 node cut off" in headings(drawn)


def test_a_recognised_choice_is_one_box(tmp_path: Path) -> None:
    b = Builder((3,))
    inspection = lronnx.inspect(saved(b, leaky(b, b.gemm(b.input, np.eye(3))), tmp_path))
    drawn = figure(inspection)
    check(drawn, inspection)
    assert [text.split("\n")[0] for text in boxes_of(drawn)] == [
        "input x",
        "affine: Gemm",
        "Where: 3 units, 100 %",
        "output where_4",
    ]
    assert sum(isinstance(mark, Line) for mark in drawn.panels[0].marks) == 3
    assert "not shown: 3 unused nodes" in headings(drawn)


def test_reads_and_outputs(tmp_path: Path) -> None:
    b = Builder((4,))
    left, right = (f"part_{side}" for side in "ab")
    sizes = b.constant([2, 2], np.int64)
    b.nodes.append(helper.make_node("Split", [b.input.name, sizes.name], [left, right], name="split", axis=1))
    summed = b.add("Add", [left, right], (1, 2))
    doubled = b.add("Add", [summed, summed], (1, 2))
    shape = b.add("Shape", [doubled], (2,))
    inspection = lronnx.inspect(saved(b, b.add("Reshape", [b.relu(doubled), shape], (1, 2)), tmp_path))
    found = {node.op_type: (node.reads, node.outputs) for node in inspection.nodes}
    assert found["Split"] == (("x",), (left, right))
    assert found["Add"] == ((summed.name,), (doubled.name,))
    assert inspection.nodes[1].reads == (left, right)
    # Of a tensor's shape nothing depends on the input.
    assert found["Shape"] == ((), (shape.name,))
    assert found["Reshape"][0] == (inspection.nodes[4].outputs[0],)
    assert (inspection.input_name, inspection.output_name) == ("x", inspection.nodes[-1].output)
    assert inspection.asked == inspection.output_name


def test_several_inputs(tmp_path: Path) -> None:
    b = Builder((2,))
    model = b.model(b.relu(b.sum(b.input, b.constant([[0.0, 0.0]]))))
    (bias,) = model.graph.initializer
    model.graph.input.append(helper.make_tensor_value_info(bias.name, TensorProto.FLOAT, (1, 2)))
    del model.graph.initializer[:]
    onnx.save(model, tmp_path / "m.onnx")
    both = figure(lronnx.inspect(tmp_path / "m.onnx"))
    assert "input x\n1x2" in boxes_of(both)
    assert f"further input {bias.name}\n1x2" in boxes_of(both)
    one = figure(lronnx.inspect(tmp_path / "m.onnx", fixed_inputs={bias.name: np.zeros(2)}))
    assert len(boxes_of(one)) == len(boxes_of(both)) - 1


def test_an_output_that_does_not_depend_on_the_input(tmp_path: Path) -> None:
    b = Builder((2,))
    inspection = lronnx.inspect(saved(b, b.relu(b.constant([[1.0, 2.0]])), tmp_path))
    drawn = figure(inspection)
    assert {text.split("\n")[0] for text in boxes_of(drawn)} == {"input x", "output relu_0"}
    assert not any(isinstance(mark, Line) for mark in drawn.panels[0].marks)
    assert "Affine: no node switches" in headings(drawn)
    assert "not shown: 1 constant node" in headings(drawn)


def hand(nodes: Sequence[NodeReport], **changes: Any) -> Inspection:
    ends = {"input_name": "x", "output_name": nodes[-1].outputs[0], "asked": nodes[-1].outputs[0]}
    found = Inspection(
        "m.onnx",
        "0" * 64,
        "somebody",
        {"": 17},
        (Value("x", "float32", (1, 3)),),
        (Value(nodes[-1].outputs[0], "float32", (1, 8)),),
        tuple(nodes),
        (),
        (),
        sum(node.units for node in nodes),
        True,
    )
    return replace(found, **{**ends, **changes})


def node(index: int, kind: str, reads: Sequence[str], units: int = 0, **changes: Any) -> NodeReport:
    op = {"affine": "Conv", "switching": "Relu"}.get(kind, "Erf")
    told = (index, "", f"n{index}", op, f"t{index}", (1, 8), kind, units, "")
    return replace(NodeReport(*told, "", (f"t{index}",), tuple(reads)), **changes)


def chain(count: int) -> list[NodeReport]:
    names = ["x", *(f"t{i}" for i in range(count))]
    return [node(i, ("affine", "switching")[i % 2], [names[i]], 8 * (i % 2)) for i in range(count)]


def dense(blocks: int) -> list[NodeReport]:
    """Every block reads all blocks before it."""
    nodes: list[NodeReport] = []
    features = ["x"]
    for _ in range(blocks):
        for kind in ("affine", "affine", "switching", "affine"):
            reads = [nodes[-1].outputs[0]] if len(nodes) % 4 else features
            nodes.append(node(len(nodes), kind, reads, 8 * (kind == "switching")))
        features = [*features, nodes[-1].outputs[0]]
    return nodes


@pytest.mark.parametrize(
    ("nodes", "folded"),
    [(chain(398), False), (chain(1001), True), (dense(30), False), (dense(250), True)],
    ids=["chain", "long chain", "dense", "large dense"],
)
def test_large_networks(nodes: list[NodeReport], folded: bool) -> None:
    inspection = hand(nodes)
    begin = time.perf_counter()
    drawn = figure(inspection)
    seconds = time.perf_counter() - begin
    check(drawn, inspection)
    assert seconds < 4
    boxes = count(drawn)
    assert boxes <= MOST_BOXES
    assert (boxes < 210) >= folded
    assert ("folded by levels" in headings(drawn)) is folded
    assert ("too many for a box each" in drawn.caption) is folded
    # Nothing is lost: every node is in some box, and boxes tell of all units.
    assert all(drawn.table["box"])
    assert set(drawn.table["units"]) <= {"", "8"}
    # All arrows, or those that no chain of others stands for.
    lines = sum(isinstance(mark, Line) for mark in drawn.panels[0].marks)
    assert lines >= boxes - 1
    assert ("An arrow is left out" in drawn.caption) is (len(nodes) == 1000)


def test_wide_networks_are_folded_by_levels() -> None:
    nodes = [node(i, ("affine", "switching")[i % 2], [f"t{i - 1}" if i % 2 else "x"], i % 2) for i in range(200)]
    nodes.append(node(200, "affine", [f"t{i}" for i in range(1, 200, 2)]))
    drawn = figure(hand(nodes))
    assert [text.split("\n")[0] for text in boxes_of(drawn)] == [
        "input x",
        "affine stage: 100 nodes",
        "100 switching nodes: 100 units",
        "affine: Conv",
        "output t200",
    ]


@pytest.mark.parametrize(("units", "text"), [(1, "1 unit in 1 switching node."), (2, "2 units in 1 switching node.")])
def test_one_is_singular(units: int, text: str) -> None:
    drawn = figure(hand([node(0, "affine", ["x"]), node(1, "switching", ["t0"], units)]))
    assert f"Piecewise affine: {text}" in headings(drawn)


def test_shapes_that_are_not_known() -> None:
    nodes = [replace(one, shape=None, units=0) for one in chain(4)]
    drawn = figure(hand(nodes, piecewise_affine=False, problem="it does not run"))
    boxes = boxes_of(drawn)
    assert "Relu: units unknown\nn1" in boxes
    assert boxes["Relu: units unknown\nn1"][2] == colors.layer(0, 2)
    assert "This model cannot be walked. it does not run 2 affine nodes in 2 stages; 2 switching nodes" in headings(
        drawn
    )
    assert "bar" not in headings(drawn)


HOSTILE = (
    "<script>window.pwned = 1</script>",
    "$\\frac{1}{2}$ {text} {x}",
    "n" * 5000,
    "\u202e\x1b[31m\n\u8a9e" * 9,
    " ",
)


def hostile() -> Inspection:
    names = [f"{text}{i}" for i, text in enumerate(HOSTILE)]
    nodes = [
        replace(one, label=name, name=name, op_type=f"{name}.Op", reason=name if one.kind == "refused" else "")
        for one, name in zip([*chain(4), node(4, "refused", ["t3"])], names, strict=True)
    ]
    nodes[-1] = replace(nodes[-1], outputs=(names[0],))
    return hand(
        nodes,
        name=names[0],
        inputs=(Value(names[1], "float32", None),),
        input_name=names[1],
        producer=names[0],
        notices=(names[0],),
        problem=names[0],
        piecewise_affine=False,
    )


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_hostile_names(suffix: str) -> None:
    inspection = hostile()
    content = network.draw(suffix, inspection, "lronnx inspect '<script>'")
    magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!"}[suffix]
    assert content.startswith(magic)
    assert b"<script>window" not in content
    drawn = figure(inspection)
    assert list(drawn.table["label"]) == [one.label for one in inspection.nodes]
    for text in boxes_of(drawn):
        assert len(text.split("\n")) <= 3
        assert all(line.isprintable() for line in text.split("\n"))


def test_texts_fit_into_boxes() -> None:
    from lronnx.plot import still

    rng = np.random.default_rng(0)
    names = [*HOSTILE, "/features/features.10/BatchNormalization", "MMMMWWWW" * 8, "iiii" * 30, "MaxPool \u00d72, Conv"]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,() "
    names += ["".join(rng.choice(list(letters), rng.integers(1, 60))) for _ in range(200)]
    for name in names:
        text = network._fitting(name)
        assert still._width(still._clean(text), network._SIZE) / 72 <= network._WIDTH, text
        assert text == name or "\u2026" in text
    # And room is used: what is shortened fills most of it.
    short = network._fitting("abcdefgh_" * 20)
    assert still._width(still._clean(short), network._SIZE) / 72 > 0.75 * network._WIDTH


# --- pages ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_the_page(browser: Browser, tmp_path: Path) -> None:
    inspection = lronnx.inspect(EXAMPLE)
    drawn = network._figure(network._Picture(inspection), head=False)
    browser.show(network.draw(".html", inspection, "lronnx inspect digits.onnx"), tmp_path)
    browser.check_quiet()
    marks = browser.marks("network")
    lines = [mark for mark in drawn.panels[0].marks if isinstance(mark, Line)]
    assert [mark["count"] for mark in marks if mark["kind"] == "Line"] == [len(line.x) for line in lines]
    heads = browser.run("return document.querySelectorAll('#figure-network .arrow').length")
    assert heads == len(lines)
    expected = [len(mark.x) for mark in drawn.panels[0].marks if isinstance(mark, Boxes)]
    assert [mark["count"] for mark in marks if mark["kind"] == "Boxes"] == expected
    (x, y, *_), text = next((row, text) for text, row in boxes_of(drawn).items() if text.startswith("Relu: 512"))
    told = browser.hover("network", 0, float(x), float(y))
    assert "512 units, 48.5 % of all" in told
    seen = browser.run("return [...document.querySelectorAll('#figure-network .box-text')].map((t) => t.textContent)")
    assert set(text.split("\n")) <= set(seen)
    assert not [one for one in seen if "\u2026" in one and one not in "\n".join(boxes_of(drawn)).split("\n")]
    rows = browser.run("return [...document.querySelectorAll('table')].map((t) => t.tBodies[0].rows.length)")
    # The nodes stand there once, and can be saved.
    assert rows.count(len(inspection.nodes)) == 1
    assert browser.run("return document.querySelectorAll('details.data').length") == 0
    browser.run("window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return 'blob:x'; }")
    browser.run("HTMLAnchorElement.prototype.click = function () { saved.push(this.download); }")
    browser.run("document.querySelector('.save').click()")
    content, name = browser.driver.execute_async_script(
        "const done = arguments[0]; saved[0].text().then((text) => done([text, saved[1]]))"
    )
    assert name == "network.csv"
    table = figure(inspection).table
    told = list(csv.reader(io.StringIO(content, newline="")))
    assert told == [list(table), *map(list, zip(*table.values(), strict=True))]
    assert inspection.sha256 in browser.text().replace("\n", "")


def test_wide_pages_scroll(browser: Browser, tmp_path: Path) -> None:
    nodes = [node(i, ("affine", "switching")[i % 2], [f"t{i - 1}" if i % 2 else "x"], i % 2) for i in range(10)]
    nodes.append(node(10, "affine", [f"t{i}" for i in range(1, 10, 2)]))
    inspection = hand(nodes)
    browser.show(network.draw(".html", inspection, ""), tmp_path, size=PHONE)
    browser.check_quiet()
    assert not browser.overflow()
    port = "const b = document.querySelector('#figure-network .port');"
    wide, seen, left = browser.run(port + "return [b.scrollWidth, b.clientWidth, b.scrollLeft]")
    assert wide > 1000
    assert seen < 380
    # The input, in the middle, is seen first.
    assert abs(left + seen / 2 - wide / 2) < 2
    drawn = figure(inspection)
    x, y, *_ = boxes_of(drawn)["output t10\n1x8"]
    # What lies to the right is told where it is when the figure was moved there.
    browser.run(port + "b.scrollLeft += 50; b.scrollTop = 1e6")
    assert browser.hover("network", 0, float(x), float(y)) == "output t10: 1x8"


def test_a_wide_graph_leaves_the_verdict_and_the_key_in_view(browser: Browser, tmp_path: Path) -> None:
    nodes = [node(i, ("affine", "switching")[i % 2], [f"t{i - 1}" if i % 2 else "x"], i % 2) for i in range(10)]
    nodes.append(node(10, "affine", [f"t{i}" for i in range(1, 10, 2)]))
    inspection = hand(nodes)
    browser.show(network.draw(".html", inspection, ""), tmp_path, size=PHONE)
    for selector, text in ((".subtitle", "Piecewise affine"), (".key", "switching, coloured from first to last")):
        told, left, right = browser.run(
            "const e = document.querySelector(arguments[0]), b = e.getBoundingClientRect();"
            "return [e.textContent, b.left, b.right]",
            selector,
        )
        assert text in told
        assert left >= 0
        assert right <= PHONE[0]
    colored = "return getComputedStyle(document.querySelector('.patch i')).backgroundColor"
    light = browser.run(colored)
    assert light != "rgba(0, 0, 0, 0)"
    assert "switching, coloured" not in browser.run("return document.querySelector('#figure-network').textContent")


def test_boxes_are_stepped_through(browser: Browser, tmp_path: Path) -> None:
    nodes = [node(i, ("affine", "switching")[i % 2], [f"t{i - 1}" if i else "x"], i % 2) for i in range(30)]
    inspection = hand(nodes)
    browser.show(network.draw(".html", inspection, ""), tmp_path)
    expected = [row[-1] for row in sorted(boxes_of(figure(inspection)).values(), key=lambda row: -row[1])]
    board = "document.querySelector('#figure-network .board')"
    assert f"{len(expected)} boxes" in browser.readout("network")
    browser.run(f"{board}.focus()")

    def seen(key: str) -> tuple[str, str]:
        browser.press(key)
        tip, inside = browser.run("""
            const tip = document.querySelector(".tip");
            const { top, bottom } = document.querySelector(".highlight rect").getBoundingClientRect();
            return [tip.hidden ? "" : tip.textContent, top >= 48 && bottom <= innerHeight];
        """)
        assert inside, "what is marked is in view"
        return str(tip), browser.readout("network")

    for number, text in enumerate(expected[:25], 1):
        assert seen("ArrowDown") == (text, f"{number} of {len(expected)}: {text.replace(chr(10), ', ')}")
    assert seen("ArrowUp")[0] == expected[23]
    assert seen("End")[0] == expected[-1]
    assert seen("Home")[0] == expected[0]
    browser.press("Escape")
    assert browser.run("return document.querySelector('.highlight').childElementCount") == 0
    browser.check_quiet()


def test_hostile_page(browser: Browser, tmp_path: Path) -> None:
    browser.show(network.draw(".html", hostile(), "x"), tmp_path)
    browser.check_quiet()
    assert HOSTILE[0] in browser.text()


# --- the command line -----------------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at a model is a failure."""

    def inspect(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model was read")

    monkeypatch.setattr(lronnx, "inspect", inspect)


@pytest.mark.parametrize("suffix", ["png", "svg", "html", "PNG"])
def test_inspect_draws(tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"network.{suffix}"
    plain, drawn = run("inspect", EXAMPLE), run("inspect", EXAMPLE, "--plot", picture)
    assert drawn.exit_code == 0
    assert drawn.stdout == plain.stdout
    assert [path.name for path in tmp_path.iterdir()] == [picture.name]
    content = picture.read_bytes()
    if suffix.lower() == "png":
        with Image.open(io.BytesIO(content)) as image:
            width = figure(lronnx.inspect(EXAMPLE)).width
            assert width is not None
            assert image.size[0] == pytest.approx(300 * width, abs=1)
    else:
        assert content.decode("utf-8").startswith("<?xml" if suffix == "svg" else "<!")
    assert json.loads(run("inspect", EXAMPLE, "--json", "--plot", picture).stdout)["units"] == 1056


def test_json_tells_the_edges() -> None:
    content = json.loads(run("inspect", EXAMPLE, "--json").stdout)
    assert (content["analysed_input"], content["analysed_output"]) == ("image", "logits")
    made = {"image"}
    for one in content["nodes"]:
        assert one["reads"]
        assert set(one["reads"]) <= made
        assert one["output"] == one["outputs"][0]
        made.update(one["outputs"])


def test_inspect_draws_what_cannot_be_walked(tmp_path: Path) -> None:
    b = Builder((2,))
    refused = saved(b, b.gemm(b.add("Sigmoid", [b.relu(b.input)], (1, 2)), np.eye(2)), tmp_path)
    assert run("inspect", refused, "--plot", tmp_path / "refused.svg").exit_code == 3
    assert (tmp_path / "refused.svg").exists()
    b = Builder((2,))
    broken = saved(b, b.relu(b.gemm(b.input, [[np.nan, 1.0]])), tmp_path, "nan.onnx")
    assert run("inspect", broken, "--plot", tmp_path / "broken.html").exit_code == 4
    assert "This model cannot be walked." in (tmp_path / "broken.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("never")
def test_pictures_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "m.svg"
    model.write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "folder.png").mkdir()
    for target, told in (
        ("a.gif", "a picture is a .png or .svg file, or an interactive page, .html"),
        ("a", "a picture is a .png or .svg file"),
        ("m.svg", "is the model itself"),
        ("folder.png", "is a folder"),
        ("nowhere/a.png", "does not exist"),
    ):
        result = run("inspect", model, "--plot", tmp_path / target)
        assert (result.exit_code, told in result.stderr) == (2, True), (target, result.stderr)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "plotly" else found(name, *a))
    result = run("inspect", model, "--plot", tmp_path / "a.html")
    assert result.exit_code == 2
    assert "pip install 'lronnx[plot]'" in result.stderr
    assert model.read_bytes() == EXAMPLE.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "m.svg"]


def test_what_was_found_is_told_where_the_picture_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_bytes", full)
    result = run("inspect", EXAMPLE, "--plot", tmp_path / "a.svg")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "Piecewise affine: 1056 units" in result.stdout
