"""The figure of a network: its graph from the input down to the output, piecewise affine or not.

Affine nodes are folded into *affine stages*, what lies between switching nodes. Two affine nodes belong to one stage if
an edge, or a chain of edges through such nodes, connects them and they lead to the same nodes of other kinds: a node
leads to those that its result reaches through affine nodes alone, the analysed output among them. So the convolution
of a residual block, that of its shortcut and the addition in which they meet are one stage, which the next ReLU reads;
what two ReLUs read, as the concatenation in front of several branches, is a stage of its own. Nodes that are cut off
at the output are folded in the same way. Nothing else is: every switching or refused node is a box.

The folded graph has no cycle. Along an edge inside a kind the set of nodes led to can only lose members. A path that
leaves a stage for another one of its kind and returned would have the same set all the way, so it would never have
left; and a node of another kind that it passes on its way is among those that every node of the stage leads to, also
the one that it returns to: the network would have a cycle itself.

Where a network is too large for this to be looked at, it is folded by levels, as :func:`by_levels` says.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import networkx as nx
import numpy as np

from lronnx import __version__
from lronnx.network import Inspection, NodeReport
from lronnx.plot import colors
from lronnx.plot.colors import BACKGROUND, BAD, GOOD, INK, MUTED, SURFACE, Color
from lronnx.plot.figures import Axis, Boxes, Dash, Figure, Hover, Line, Mark, Panel, Texts
from lronnx.plot.layout import Edge, Layout, layered, span
from lronnx.report import clean, inspect_facts, inspect_verdict, shape_text

MOST_BOXES = 400
"""Beyond this a network is folded by levels."""
_MOST_DUMMIES = 20_000
_WIDEST = 40.0
_MOST_LEVELS = 200
_MOST_LINKS = 1000

FOLDED = ("affine", "cut")
"""The kinds of nodes that are folded."""

# Inches.
_WIDTH = 2.1
_SIZE = 7.0
_LINE = 0.125
_MARGIN = 0.12
_NARROWEST = 3.4
_BAR = 0.035

_PROBLEM = 160
"""So many characters of what keeps a model from being walked are told above its graph."""
_REASON = 5
"""So many lines of a box at most tell why its node is refused."""
_LISTED = 100
"""Of more nodes than this the page's table is closed at first."""

_NAMED = 12
"""So many nodes of a box are told one by one."""


def fold(kinds: Sequence[str], edges: Iterable[Edge], folded: Collection[str] = FOLDED) -> list[list[int]]:
    """The boxes that vertices 0 to n - 1 are folded into, by the rule above, in order of their first vertices.

    ``kinds``: of every vertex; those in ``folded`` may share a box. ``edges``: pairs (from, to) with from < to.
    """
    readers: list[list[int]] = [[] for _ in kinds]
    for source, target in edges:
        readers[source].append(target)
    # Sets of vertices, as bits: one per vertex.
    leads = [0] * len(kinds)
    together = nx.Graph()
    together.add_nodes_from(range(len(kinds)))
    for vertex in reversed(range(len(kinds))):
        if kinds[vertex] not in folded:
            continue
        alike = [reader for reader in readers[vertex] if kinds[reader] == kinds[vertex]]
        for reader in readers[vertex]:
            leads[vertex] |= leads[reader] if kinds[reader] == kinds[vertex] else 1 << reader
        together.add_edges_from((vertex, reader) for reader in alike if leads[reader] == leads[vertex])
    return sorted(sorted(box) for box in nx.connected_components(together))


def by_levels(kinds: Sequence[str], edges: Iterable[Edge], most: int) -> list[list[int]]:
    """The boxes of a network that is folded by levels, at most about ``most``, in an order in which edges go forward.

    A vertex's level is how many vertices that are not affine lie in front of it, at most, itself included. Of a level
    the vertices of each kind are one box. If that makes more than ``most`` boxes, neighbouring levels are put together,
    everything but inputs and outputs in one box.
    """
    level = [0 if kind in ("affine", "input") else 1 for kind in kinds]
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        level[target] = max(level[target], level[source] + (kinds[target] != "affine"))
    # Affine vertices come after the others of their level, inputs first and outputs last.
    ranks = {"input": -1, "affine": 1, "output": 2}
    keys = [(level[v], ranks.get(kind, 0), kind) for v, kind in enumerate(kinds)]
    if len(set(keys)) > most:
        together = -(-(max(level) + 1) // most)
        ends = ("input", "output")
        keys = [
            (depth // together, rank, kind) if kind in ends else (depth // together, 0, "")
            for depth, rank, kind in keys
        ]
    boxes: dict[tuple[int, int, str], list[int]] = {}
    for vertex, key in enumerate(keys):
        boxes.setdefault(key, []).append(vertex)
    return [boxes[key] for key in sorted(boxes)]


@dataclass
class _Box:
    """One box: its kind, its vertices, and what is written in it.

    ``share``: of all units, in [0, 1]. ``behind``: whether it lies behind the tensor that is analysed.
    """

    kind: str
    vertices: list[int]
    nodes: list[NodeReport]
    lines: list[str] = field(default_factory=list)
    hover: list[str] = field(default_factory=list)
    share: float = 0.0
    color: Color = MUTED
    behind: bool = False

    @property
    def height(self) -> float:
        return _LINE * len(self.lines) + 0.1 + (2 * _BAR if self.share else 0.0)


class _Picture:
    """A network as it is drawn. ``vertices``: inputs, then nodes, then outputs."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.nodes = [node for node in inspection.nodes if _is_drawn(node)]
        self.edges: list[Edge] = []
        self._vertices()
        self._forget_dead_ends()
        # Where nothing is known of shapes, no other picture has units either.
        switching = [node for node in inspection.nodes if node.switches]
        self.switching = [node for node in switching if node.units] or switching
        self.place = {node.label: position for position, node in enumerate(self.switching)}
        self.folded = self.thinned = False
        groups = fold(self.kinds, self.edges)
        self._box(groups)
        if len(self.boxes) > MOST_BOXES or span(len(self.boxes), self.links) > _MOST_DUMMIES:
            self._fold_by_levels()
        self.layout = self._layout()
        if self.layout.box[1] > _WIDEST and not self.folded:
            self._fold_by_levels()
            self.layout = self._layout()

    def _vertices(self) -> None:
        found = self.inspection
        read = {name for node in self.nodes for name in node.reads} | {found.input_name, found.output_name}
        self.inputs = [value for value in found.inputs if value.name in read]
        makers = {value.name: vertex for vertex, value in enumerate(self.inputs)}
        first = len(self.inputs)
        for vertex, node in enumerate(self.nodes, first):
            makers.update((name, vertex) for name in node.outputs)
        self.edges = [
            (makers[name], vertex)
            for vertex, node in enumerate(self.nodes, first)
            for name in node.reads
            if name in makers
        ]
        self.kinds = ["input"] * first + [node.kind for node in self.nodes]
        self.outputs = [found.output_name] if found.output_name else []
        # What is cut off leads to the output that was asked for.
        if found.asked and found.asked != found.output_name:
            self.outputs.append(found.asked)
        for name in self.outputs:
            if name in makers:
                self.edges.append((makers[name], len(self.kinds)))
            self.kinds.append("output")
        self.edges = list(dict.fromkeys(self.edges))

    def _forget_dead_ends(self) -> None:
        """Leave out affine nodes that nothing is made of, as the sides of a choice that is recognised as a whole."""
        first, last = len(self.inputs), len(self.inputs) + len(self.nodes)
        useful = [kind != "affine" for kind in self.kinds]
        for source, target in sorted(self.edges, key=lambda edge: -edge[1]):
            useful[source] = useful[source] or useful[target]
        numbers = {vertex: number for number, vertex in enumerate(v for v, used in enumerate(useful) if used)}
        self.nodes = [self.nodes[vertex - first] for vertex in range(first, last) if useful[vertex]]
        self.kinds = [kind for kind, used in zip(self.kinds, useful, strict=True) if used]
        self.edges = [(numbers[a], numbers[b]) for a, b in self.edges if useful[a] and useful[b]]

    def _fold_by_levels(self) -> None:
        self.folded = True
        self._box(by_levels(self.kinds, self.edges, _MOST_LEVELS))

    def _box(self, groups: Sequence[Sequence[int]]) -> None:
        """``boxes``, what is written in them, and ``links``, the edges between them."""
        first, last = len(self.inputs), len(self.inputs) + len(self.nodes)
        self.boxes = []
        box_of = {}
        for number, vertices in enumerate(groups):
            box_of.update(dict.fromkeys(vertices, number))
            nodes = [self.nodes[vertex - first] for vertex in vertices if first <= vertex < last]
            kinds = {self.kinds[vertex] for vertex in vertices}
            box = _Box(kinds.pop() if len(kinds) == 1 else "mixed", list(vertices), nodes)
            self._write(box)
            self.boxes.append(box)
        self.links = sorted({(box_of[a], box_of[b]) for a, b in self.edges if box_of[a] != box_of[b]})
        if self.folded and len(self.links) > _MOST_LINKS:
            self.links = sorted(nx.transitive_reduction(nx.DiGraph(self.links)).edges)
            self.thinned = True

    def _layout(self) -> Layout:
        return layered([_WIDTH] * len(self.boxes), [box.height for box in self.boxes], self.links)

    # What is written

    def _write(self, box: _Box) -> None:
        nodes, total = box.nodes, self.inspection.units
        units = sum(node.units for node in nodes)
        several = len(nodes) > 1
        box.behind = box.kind == "cut"
        if box.kind in ("input", "output"):
            self._write_ends(box)
            return
        share = units / total if total else 0.0
        counted = [f"{_counted(units, 'unit')}, {_percent(share)}", _counted(units, "unit")]
        switching = [node for node in nodes if node.switches]
        if any(node.shape is None for node in switching):
            counted = ["units unknown"]
        if switching:
            box.color = self._color(switching[len(switching) // 2])
        match box.kind:
            case "switching":
                box.share = share
                op = nodes[0].op_type
                head = f"{len(nodes)} switching nodes" if several else op
                box.lines = [_fitting(*(f"{head}: {text}" for text in counted))]
            case "affine":
                box.lines = [f"affine stage: {len(nodes):,} nodes" if several else f"affine: {nodes[0].op_type}"]
            case "cut":
                box.lines = [f"cut: {len(nodes)} nodes" if several else f"cut: {nodes[0].op_type}"]
            case "refused":
                box.lines = [
                    f"\u00d7 refused: {len(nodes)} nodes" if several else f"\u00d7 refused: {nodes[0].op_type}"
                ]
            case _:
                kinds = Counter(sorted(node.kind for node in nodes))
                box.share = share
                marked = "\u00d7 " if kinds["refused"] else ""
                box.lines = [marked + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())]
                box.lines += [_fitting(*counted)] if switching else []
        box.lines.append(_operators(nodes) if several else nodes[0].label)
        if box.kind == "refused" and not several:
            # Still figures have no other place for it.
            lines = _wrapped(clean(nodes[0].reason), _WIDTH - 0.08)
            rest = " ".join(lines[_REASON - 1 :])
            box.lines += lines if len(lines) <= _REASON else [*lines[: _REASON - 1], rest]
        box.lines = [_fitting(line) for line in box.lines]
        box.hover = self._told(box)

    def _write_ends(self, box: _Box) -> None:
        if box.kind == "input":
            values = [self.inputs[vertex] for vertex in box.vertices]
            moved = [value.name == self.inspection.input_name for value in values]
            names = [
                ("input " if one else "further input ") + value.name for one, value in zip(moved, values, strict=True)
            ]
            shapes = [value.shape for value in values]
        else:
            picked = [self.outputs[vertex - len(self.kinds)] for vertex in box.vertices]
            box.behind = self.inspection.output_name not in picked
            names, shapes = [], []
            for name in picked:
                analysed = name == self.inspection.output_name
                behind = "" if analysed else "the file's "
                names.append(f"{behind}output {name}")
                shapes.append(self._shape(name))
        if len(names) == 1:
            box.lines = [_fitting(names[0]), _fitting(shape_text(shapes[0]))]
        else:
            box.lines = [_fitting(f"{len(names):,} {box.kind}s"), _fitting(", ".join(names))]
        box.hover = [f"{_shortened(name, 100)}: {shape_text(shape)}" for name, shape in zip(names, shapes, strict=True)]

    def _shape(self, name: str) -> tuple[int | str, ...] | None:
        found = self.inspection
        for node in found.nodes:
            if node.output == name and node.shape is not None:
                return node.shape
        for value in (*found.outputs, *found.inputs):
            if value.name == name:
                return value.shape
        return None

    def _color(self, node: NodeReport) -> Color:
        """The colour of a switching node; one without units, of an empty tensor, has none of its own."""
        place = self.place.get(node.label)
        return MUTED if place is None else colors.layer(place, len(self.switching))

    def _told(self, box: _Box) -> list[str]:
        lines = []
        for node in box.nodes[:_NAMED]:
            lines.append(f"#{node.index} {node.op_type} {_shortened(node.label, 60)}: {shape_text(node.shape)}")
            if node.units:
                share = node.units / self.inspection.units
                lines.append(f"    {_counted(node.units, 'unit')}, {_percent(share)} of all")
            if node.reason:
                lines.append(f"    {node.kind}: {_shortened(node.reason, 90)}")
        left = len(box.nodes) - _NAMED
        return lines + ([f"and {left:,} more"] if left > 0 else [])


def draw(suffix: str, inspection: Inspection, command: str) -> bytes:
    """The content of a picture's file: PNG, SVG or, for the suffix ``.html``, a page. ``command`` is what repeats it.

    Needs what :data:`lronnx.plot.FORMS` lists for the suffix.
    """
    suffix = suffix.lower()
    if suffix == ".html":
        return _page(inspection, command)
    from lronnx.plot import still

    return still.draw(figure(inspection), "svg" if suffix == ".svg" else "png")


def _page(inspection: Inspection, command: str) -> bytes:
    from lronnx.plot import page

    # What stands above the graph is the page's own text: a graph may be wider than the window, and is scrolled there.
    picture = _Picture(inspection)
    drawn = _figure(picture, head=False)
    text, _ = inspect_verdict(inspection, lambda count: f"{count:,}")
    told: list[page.Block] = [page.Prose(line, "warning") for line in [inspection.problem] if line]
    told += [page.Prose(f"{line}.") for line in [_counts(picture)] if line]
    told.append(
        page.Key([page.Key.Entry(sign.text, sign.fills, sign.outline, sign.dashed) for sign in _signs(picture)])
    )
    columns = list(drawn.table)
    rows = list(zip(*drawn.table.values(), strict=True))
    facts = [*inspect_facts(inspection), *(("notice", notice) for notice in inspection.notices)]
    sections = [page.Section("Graph", [*told, page.Figures([replace(drawn, title="", table={})])])]
    if inspection.refusals:
        refused = [
            (str(refusal.index), refusal.name or refusal.output, refusal.op_type, refusal.reason)
            for refusal in inspection.refusals
        ]
        sections.append(page.Section("Refused", [page.DataTable(("index", "node", "operator", "reason"), refused)]))
    caption = "A box is counted in the order of the boxes' first nodes; what is in none is not shown."
    table: page.Block = page.DataTable(columns, rows, caption, file="network")
    if len(rows) > _LISTED:
        table = page.Disclosure(f"All {len(rows):,} nodes", [table])
    sections.append(page.Section("Nodes", [table]))
    sections.append(page.Section("File", [page.Facts([*facts, ("lronnx", __version__)]), page.Code(command)]))
    return page.render(inspection.name, sections, subtitle=text)


def figure(inspection: Inspection) -> Figure:
    """The picture of a network. Its table has one row per node: those that are left out are in no box."""
    return _figure(_Picture(inspection), head=True)


def _figure(picture: _Picture, *, head: bool) -> Figure:
    """``head``: whether the verdict, the counts and what the looks mean stand above the graph."""
    layout = picture.layout
    across = max(layout.box[1] + 2 * _MARGIN, _NARROWEST)
    left = (layout.box[1] - across) / 2
    above, top = _head(picture, left + _MARGIN, across - 2 * _MARGIN) if head else ([], layout.box[3] + _MARGIN)
    bottom = layout.box[2] - _MARGIN
    marks: list[Mark] = [*_lines(picture), *_boxes(picture), *above]
    down = top - bottom
    return Figure(
        name="network",
        title=picture.inspection.name,
        panels=[Panel(marks, y=Axis(range=(bottom, top), hidden=True), legend=False)],
        x=Axis(range=(left, left + across), hidden=True),
        caption=_caption(picture),
        table=_table(picture),
        aspect=down / across,
        width=across,
    )


def _lines(picture: _Picture) -> list[Mark]:
    return [
        Line(
            points[:, 0],
            points[:, 1],
            color=MUTED,
            width=1.0,
            dash="dashed" if picture.boxes[edge[1]].behind else "solid",
            arrow=True,
        )
        for edge, points in picture.layout.edges.items()
    ]


def _boxes(picture: _Picture) -> list[Mark]:
    marks: list[Mark] = []
    layout = picture.layout
    looks: dict[Dash, list[int]] = {}
    for number, box in enumerate(picture.boxes):
        looks.setdefault("dashed" if box.behind else "solid", []).append(number)
    for dash, numbers in looks.items():
        boxes = [picture.boxes[number] for number in numbers]
        styles = [_style(box) for box in boxes]
        marks.append(
            Boxes(
                layout.x[numbers],
                layout.y[numbers],
                np.full(len(boxes), _WIDTH),
                np.array([box.height for box in boxes]),
                ["\n".join(box.lines) for box in boxes],
                [style.fill for style in styles],
                [style.outline for style in styles],
                hover=Hover("{text}", {"text": ["\n".join(box.hover) for box in boxes]}),
                inks=[style.ink for style in styles],
                dash=dash,
                size=_SIZE,
            )
        )
    return [*marks, *_bars(picture)]


def _bars(picture: _Picture) -> list[Mark]:
    """Along the lower side of boxes with units: the line stands for all units, the bar for the box's own."""
    numbers = [number for number, box in enumerate(picture.boxes) if box.share]
    if not numbers:
        return []
    whole = _WIDTH - 2 * _MARGIN
    heights = np.array([picture.boxes[number].height for number in numbers], dtype=np.float64)
    shares = np.array([picture.boxes[number].share for number in numbers])
    inks = [_style(picture.boxes[number]).ink for number in numbers]
    x, y = picture.layout.x[numbers], picture.layout.y[numbers] - heights / 2 + 1.4 * _BAR
    marks: list[Mark] = []
    for share, thick in ((np.ones(len(numbers)), 0.15 * _BAR), (shares, _BAR)):
        width = np.maximum(share * whole, 0.01)
        places = x - whole / 2 + width / 2
        marks.append(Boxes(places, y, width, np.full(len(numbers), thick), [""] * len(numbers), inks, inks))
    return marks


class _Style(NamedTuple):
    fill: Color
    outline: Color
    ink: Color


def _style(box: _Box) -> _Style:
    match box.kind:
        case "switching":
            return _Style(box.color, box.color, colors.text_on(box.color))
        case "refused":
            return _Style(BAD, BAD, colors.text_on(BAD))
        case "affine":
            return _Style(SURFACE, MUTED, INK)
        case "mixed":
            if any(node.kind == "refused" for node in box.nodes):
                return _Style(BAD, BAD, colors.text_on(BAD))
            if any(node.switches for node in box.nodes):
                return _Style(box.color, box.color, colors.text_on(box.color))
            return _Style(SURFACE, MUTED, INK)
    return _Style(BACKGROUND, MUTED, MUTED) if box.behind else _Style(BACKGROUND, INK, INK)


def _head(picture: _Picture, left: float, across: float) -> tuple[list[Mark], float]:
    """What stands above the graph: the verdict, the counts, and what the looks of boxes mean. And where it ends."""
    text, good = inspect_verdict(picture.inspection, lambda count: f"{count:,}")
    color = GOOD if good else BAD
    rows: list[tuple[str, Color]] = [(line, color) for line in _wrapped(text, across)]
    rows += [(line, MUTED) for line in _wrapped(_shortened(picture.inspection.problem, _PROBLEM), across)]
    rows += [(line, MUTED) for line in _wrapped(_counts(picture), across)]
    signs = _signs(picture)
    placed: list[tuple[int, float, _Sign]] = []
    row, at = len(rows), 0.0
    for sign in signs:
        needed = 0.3 + _text_width(sign.text) + 0.15
        if at and at + needed > across:
            row, at = row + 1, 0.0
        placed.append((row, left + at, sign))
        at += needed
    step = 0.16
    lowest = 0.2
    count = row + 1 if signs else row

    def height(number: int) -> float:
        return lowest + (count - 1 - number) * step

    marks: list[Mark] = []
    for one in dict.fromkeys(color for _, color in rows):
        numbers = [number for number, (_, color) in enumerate(rows) if color == one]
        marks.append(
            Texts(
                np.full(len(numbers), left),
                np.array([height(number) for number in numbers]),
                [rows[number][0] for number in numbers],
                color=one,
                size=_SIZE,
            )
        )
    for number, x, sign in placed:
        fills = sign.fills
        each = 0.22 / len(fills)
        marks.append(
            Boxes(
                np.array([x + each * (position + 0.5) for position in range(len(fills))], dtype=np.float64),
                np.full(len(fills), height(number), dtype=np.float64),
                np.full(len(fills), each),
                np.full(len(fills), 0.1),
                [""] * len(fills),
                fills,
                [sign.outline] if len(fills) == 1 else fills,
                dash="dashed" if sign.dashed else "solid",
            )
        )
        marks.append(Texts(np.array([x + 0.28]), np.array([height(number)]), [sign.text], color=MUTED, size=_SIZE))
    return marks, height(0) + step


class _Sign(NamedTuple):
    """What boxes look like, and what that means."""

    text: str
    fills: list[Color]
    outline: Color = MUTED
    dashed: bool = False


def _signs(picture: _Picture) -> list[_Sign]:
    """The looks of boxes that occur, with what they mean."""
    kinds = {box.kind for box in picture.boxes}
    # Boxes of several levels look like what matters most of what they hold.
    for box in picture.boxes:
        if box.kind == "mixed":
            held = {node.kind for node in box.nodes}
            kinds.add(next(kind for kind in ("refused", "switching", "affine", "cut") if kind in held))
    signs: list[_Sign] = []
    if "switching" in kinds:
        shown = min(len(picture.switching), 5)
        bars = "; bar: share of all units" if any(box.share for box in picture.boxes) else ""
        label = f"switching, coloured from first to last{bars}"
        signs.append(_Sign(label, [colors.layer(position, shown) for position in range(shown)]))
    if "affine" in kinds:
        signs.append(_Sign("affine", [SURFACE]))
    if "cut" in kinds:
        signs.append(_Sign("cut off behind the analysed output", [BACKGROUND], dashed=True))
    if "refused" in kinds:
        signs.append(_Sign("\u00d7 refused", [BAD], BAD))
    return signs


def _counts(picture: _Picture) -> str:
    """What is in boxes, and what is left out."""
    kinds = Counter(node.kind for node in picture.nodes)
    found = picture.inspection
    parts = []
    if kinds["affine"]:
        stages = sum(box.kind == "affine" for box in picture.boxes)
        inside = f" in {_counted(stages, 'stage')}" if stages else ""
        parts.append(f"{_counted(kinds['affine'], 'affine node')}{inside}")
    if kinds["switching"] and not found.piecewise_affine:
        units = f"{_counted(found.units, 'unit')} in " if found.units else ""
        parts.append(f"{units}{_counted(kinds['switching'], 'switching node')}")
    if kinds["cut"]:
        parts.append(f"{_counted(kinds['cut'], 'node')} cut off")
    constant = sum(node.kind == "constant" for node in found.nodes)
    unused = len(found.nodes) - len(picture.nodes) - constant
    left = [f"{constant:,} constant"] if constant else []
    left += [f"{unused:,} unused"] if unused else []
    if left:
        parts.append(f"not shown: {_counted(constant + unused, 'node', ' and '.join(left))}")
    if picture.folded:
        parts.append("too large to be shown box by box, so folded by levels")
    return "; ".join(parts)


def _counted(count: int, noun: str, text: str = "") -> str:
    return f"{text or f'{count:,}'} {noun}{'' if count == 1 else 's'}"


def _caption(picture: _Picture) -> str:
    parts = [
        "From the input at the top to the output at the bottom; an arrow leads from what makes a tensor to what reads "
        "it. Affine nodes between the same switching nodes are one stage.",
    ]
    if picture.switching:
        parts.append("Switching nodes have the colours that they have in every other picture of this network.")
    if picture.folded:
        parts.append(
            f"The network has {len(picture.nodes):,} nodes, too many for a box each: what is equally many switching "
            "nodes away from the input, at most, is put together, and neighbouring levels where that is still too much."
        )
    if picture.thinned:
        parts.append("An arrow is left out where a chain of others leads from the one box to the other as well.")
    if any(node.kind == "refused" for node in picture.nodes):
        parts.append("Why nodes are refused stands in the table.")
    return " ".join(parts)


def _table(picture: _Picture) -> dict[str, Sequence[str]]:
    """One row per node. Boxes are numbered in the order of their first nodes."""
    number = {node.label: str(box) for box, one in enumerate(picture.boxes) for node in one.nodes}
    nodes = picture.inspection.nodes
    return {
        "index": [str(node.index) for node in nodes],
        "label": [node.label for node in nodes],
        "operator": [node.op_type for node in nodes],
        "kind": [node.kind for node in nodes],
        "box": [number.get(node.label, "") for node in nodes],
        "units": [str(node.units) if node.units else "" for node in nodes],
        "shape": [shape_text(node.shape) for node in nodes],
        "reason": [node.reason for node in nodes],
    }


# Texts


def _percent(share: float) -> str:
    """A share of all units; what is there is never 0 %."""
    if not share:
        return "0 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %" if share >= 0.001 else "< 0.1 %"


def _operators(nodes: Sequence[NodeReport]) -> str:
    """The operators of nodes in order, repeated ones once: the most frequent first if there are many."""
    counts = Counter(node.op_type for node in nodes)
    kinds = counts.most_common() if len(counts) > 4 else list(counts.items())
    return ", ".join(f"{kind} \u00d7{count}" if count > 1 else kind for kind, count in kinds)


def _is_drawn(node: NodeReport) -> bool:
    return node.kind in ("affine", "cut", "refused") or node.switches


_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[]/\\ -"), frozenset("mwMW@%&#_+=<>~")


def _text_width(text: str, size: float = _SIZE) -> float:
    """About how wide a line of text is, in inches, on the large side: that depends on the typeface."""
    total = 0.0
    for character in text:
        if character in _NARROW:
            total += 0.42
        elif character in _WIDE:
            total += 0.95
        elif unicodedata.east_asian_width(character) in "WF":
            total += 1.05
        else:
            total += 0.72 if character.isupper() else 0.63
    return total * size / 72


def _fitting(*texts: str) -> str:
    """The first of these texts that fits into a box, or the last one without its middle."""
    room = _WIDTH - 0.08
    # Names may hold anything; a line of a box is one.
    texts = tuple(clean(text) for text in texts)
    for text in texts:
        if _text_width(text) <= room:
            return text
    text = texts[-1]
    # Names may be of any length: what is far beyond a box is never looked at.
    kept = min(len(text), 200)
    while kept > 1 and _text_width(_shortened(text, kept)) > room:
        kept -= 1
    return _shortened(text, kept)


def _shortened(text: str, kept: int) -> str:
    """At most ``kept`` characters of ``text``, around an ellipsis."""
    text = clean(text)
    if len(text) <= kept:
        return text
    kept = max(kept - 1, 1)
    return text[: (kept + 1) // 2] + "\u2026" + text[len(text) - kept // 2 :]


def _wrapped(text: str, across: float) -> list[str]:
    """``text`` in lines that are at most ``across`` inches wide, broken at spaces, or where a word is too long."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}") <= across:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for character in word:
            if _text_width(lines[-1] + character) > across:
                lines.append("")
            lines[-1] += character
    return lines
