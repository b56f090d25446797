"""The figure of a walk, or of the regions of a path that were kept: outputs, switches, widths and slopes along it.

The x axis is t from 0 to 1; of a path of several segments it is the number of the segment, from 0, plus t. A path is
described by :class:`SegmentData`, which is made from a finished walk or from a regions file, and drawn by nobody here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import metrics
from lronnx.errors import InputError
from lronnx.inputs import Pixels, core_shape
from lronnx.plot import colors, thinning
from lronnx.plot import pixels as pictures
from lronnx.plot.figures import (
    Area,
    Axis,
    Bars,
    Column,
    Figure,
    Hover,
    Line,
    Mark,
    Panel,
    Picture,
    Points,
    Steps,
    Texts,
    Ticks,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from lronnx.network import Network
    from lronnx.regions import PathWalk

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LABELS_KEY = "lronnx.labels"
"""Metadata of a model: the names of its classes, a JSON list, in the order of its outputs."""

ROWS = 12
"""Nodes up to which each has a row, whether it switches or not; of more, only those that switch have one."""
MOST_ROWS = 24
"""Rows at most; of more nodes neighbours share one."""
FAINT = 20
"""Outputs at most that are drawn without a colour of their own."""
TABLE_OUTPUTS = 10
"""Outputs at most in the figure's table."""
FILM = 6
"""Pictures along a single segment."""
MOST_PICTURES = 12
"""Pictures at most of the points of a path."""
MANY_SEGMENTS = 12
"""Of more segments only the outputs that are the largest somewhere have a colour, and their lines are thin."""
NAME_LENGTH = 20
"""Characters at most of a node's name beside its row, and of a class's in the legend."""
SHOWN_CHANGES = 4
"""Changes of the largest output up to which each has a line and a text; the strip shows any number."""
LETTER_STILL, LETTER_PAGE = 0.012, 0.02
"""How wide a letter is, as a share of a panel, in a still figure and on a page, which may be a phone's."""
STRAIGHT = "if straight (shaded: absolute deviation)"
"""The legend's entry of all dashed lines of a still figure."""
LENS = 12
"""Regions that are magnified."""
PALE = 0.3
"""How strongly switches are drawn there that bend no output."""
CROWD = 1000
"""Regions up to which steps are told apart on a page; of more, all are pale, in front of them is their median, in so
many columns:"""
MEDIANS = 300
MARKED = 120
"""Regions up to which each breakpoint that bends an output is a point on the curves."""


@dataclass(frozen=True)
class Detail:
    """How much of a path is drawn. Up to ``exact`` regions, all of it.

    ``tolerance``: how far a curve may be from the exact one, as a share of its panel's range. ``ticks``: switches, and
    ``steps``: regions, up to which each is drawn; of more, what falls in each of ``columns`` is put together.
    ``bands``: columns of widths and slopes, which would be restless in as many. ``series``: outputs with a colour of
    their own, if there are more than :data:`lronnx.plot.colors.SERIES`. ``stops``: breakpoints at most that the
    keyboard steps through, 0 for none. ``hover``: whether marks tell about themselves. ``rows``: regions up to which
    the figure has a table; None for any number. ``lens``: whether a few regions are magnified in a panel of their own
    where single ones cannot be seen; readers of a page magnify themselves.
    """

    exact: int = 300
    tolerance: float = 1 / 5000
    ticks: int = 60_000
    steps: int = 60_000
    columns: int = 2000
    bands: int = 2000
    series: int = colors.SERIES
    stops: int = 30_000
    hover: bool = True
    rows: int | None = 5000
    lens: bool = False


PAGE = Detail()
"""For a page: what is left out stays below what can be seen when it is magnified several times."""

STILL = Detail(
    tolerance=1 / 2000,
    ticks=0,
    steps=600,
    columns=1800,
    bands=300,
    series=4,
    stops=0,
    hover=False,
    rows=None,
    lens=True,
)
"""For a still figure 7 inches wide: a column is about a pixel at 300 pixels per inch."""


@dataclass(frozen=True)
class Nodes:
    """All switching nodes of a network, in its order: labels, operators, and the shape of one sample of the output, or
    None where it is not known. A node's place here decides about its colour."""

    labels: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...] | None, ...] = ()

    @classmethod
    def of(cls, network: Network) -> Nodes:
        """Those of a loaded network."""
        nodes = network.switching_nodes
        return cls(
            tuple(node.label for node in nodes),
            tuple(node.op_type for node in nodes),
            tuple(node.shape for node in nodes),
        )

    @classmethod
    def recorded(cls, facts: Iterable[Mapping[str, Any]]) -> Nodes:
        """Those in a run folder's facts of a network (``switching_nodes``; see :class:`lronnx.runs.Run`)."""
        nodes = list(facts)
        return cls(
            tuple(str(node["label"]) for node in nodes),
            tuple(str(node.get("operator", "")) for node in nodes),
            tuple(tuple(node["shape"]) if node.get("shape") is not None else None for node in nodes),
        )

    def including(self, labels: Iterable[str]) -> Nodes:
        """These, and behind them what else is in ``labels``, of which nothing is known."""
        more = [label for label in dict.fromkeys(labels) if label not in set(self.labels)]
        blank = ("",) * len(more), (None,) * len(more)
        return Nodes(self.labels + tuple(more), self.operators + blank[0], self.shapes + blank[1])

    def told(self, position: int) -> str:
        """The node's label and operator."""
        operator = self.operators[position]
        return self.labels[position] + (f" ({operator})" if operator else "")


@dataclass(frozen=True, eq=False)
class Switches:
    """Unit switches, S of them, in the order of the path.

    ``region``: (S,) the number of the region, counted through the path, that ends there. ``node``: (S,) places in the
    network's switching nodes. ``unit``: (S,) flat indices in the node's output. ``before`` and ``after``: (S,)
    branches, None if they were not kept.
    """

    region: Integers
    node: Integers
    unit: Integers
    before: Integers | None = None
    after: Integers | None = None


@dataclass(frozen=True, eq=False)
class SegmentData:
    """The regions of a path of P segments with R regions in all and m outputs.

    ``t``: per segment the edges of its regions, (R_i + 1,). ``values``: the outputs there, (R_i + 1, m). ``slopes``:
    per segment (R_i, m), d output / d t. ``switches``: those that are known, the first at every breakpoint among them;
    ``together``: (R,) how many units switch where each region ends, 0 where a segment ends. ``deviation``: (m,) the
    absolute deviation. ``decisions``: per segment, which output is the largest from which t on. ``names``: (m,) of the
    outputs; ``named``: whether they are names of classes. ``warnings``: what a reader has to know first.
    ``film``: pictures along the path; ``stretched``: whether their range says nothing. ``single``: whether values and
    slopes were computed in single precision. ``partial``: whether the run was stopped early. ``lengths``: of the
    segments.
    """

    nodes: Nodes
    t: tuple[Floats, ...]
    values: tuple[Floats, ...]
    slopes: tuple[Floats, ...]
    switches: Switches
    together: Integers
    deviation: Floats
    decisions: tuple[tuple[tuple[float, int], ...], ...]
    names: tuple[str, ...]
    named: bool = False
    warnings: tuple[str, ...] = ()
    film: tuple[Picture, ...] = ()
    stretched: bool = False
    closed: bool = False
    single: bool = False
    partial: bool = False
    lengths: tuple[float, ...] = ()

    @property
    def regions(self) -> int:
        return len(self.together)

    def slope_changes(self, segment: int) -> NDArray[np.bool_]:
        """(R_i - 1, m) see :func:`lronnx.metrics.slope_changes`."""
        tolerance = metrics.SLOPE_TOLERANCE_SINGLE if self.single else metrics.SLOPE_TOLERANCE
        with np.errstate(over="ignore", invalid="ignore"):
            return metrics.slope_changes(self.slopes[segment], tolerance)

    @cached_property
    def bends(self) -> NDArray[np.bool_]:
        """(R,) whether the slope of any output changes where a region ends; not where a segment does."""
        bent = [np.zeros(0, dtype=np.bool_)]
        for segment, slopes in enumerate(self.slopes):
            bent.append(np.asarray(self.slope_changes(segment).any(axis=1)))
            # Where the last region of a segment ends there is no breakpoint.
            bent.append(np.zeros(min(len(slopes), 1), dtype=np.bool_))
        return np.concatenate(bent)

    @cached_property
    def deviates(self) -> NDArray[np.bool_]:
        """(m,) whether an output is further from its baseline anywhere than rounding takes it."""
        found = np.zeros(len(self.names), dtype=np.bool_)
        tolerance = metrics.VALUE_TOLERANCE_SINGLE if self.single else metrics.VALUE_TOLERANCE
        for t, values in zip(self.t, self.values, strict=True):
            if len(t) > 2:
                # Halves, as differences of the largest numbers are none.
                half = values / 2
                gap = half - metrics.between(half[0], half[-1], t / t[-1])
                with np.errstate(invalid="ignore"):
                    found |= np.abs(gap).max(axis=0) > 10 * tolerance * np.abs(half).max()
        return found

    @property
    def breakpoints(self) -> int:
        return sum(max(len(slopes) - 1, 0) for slopes in self.slopes)

    @property
    def idle(self) -> int:
        """Breakpoints at which units switch without any effect on the slope of an output."""
        return self.breakpoints - int(self.bends.sum())

    @property
    def linear_regions(self) -> int:
        """See :func:`lronnx.metrics.linear_regions`; the sum over the segments."""
        return self.regions - self.idle

    @cached_property
    def leads(self) -> tuple[tuple[float, float, int], ...]:
        """Stretches of the x axis, from where to where, on each of which one output is the largest, and which."""
        found: list[tuple[float, float, int]] = []
        for segment, (t, of) in enumerate(zip(self.t, self.decisions, strict=True)):
            for (begin, k), (end, _) in pairwise([*of, (float(t[-1]), -1)]):
                joined = bool(found) and found[-1][1:] == (segment + begin, k)
                start = found.pop()[0] if joined else segment + begin
                found.append((start, segment + end, k))
        return tuple(found)

    def outputs_at(self, x: float) -> Floats:
        """(m,) the outputs at a place of the x axis that was walked."""
        segment = min(int(x), len(self.t) - 1)
        t = self.t[segment]
        if len(t) < 2:
            return np.asarray(self.values[segment][0])
        region = int(np.clip(np.searchsorted(t, x - segment) - 1, 0, len(t) - 2))
        share = (x - segment - t[region]) / (t[region + 1] - t[region])
        here, there = self.values[segment][region], self.values[segment][region + 1]
        return np.asarray((1.0 - share) * here + share * there)

    def film_label(self, x: float) -> str:
        """What is written at a picture: what the network takes it for, if that has a name."""
        if not self.named or len(self.names) == 1:
            return f"t = {x:.2g}" if len(self.t) == 1 else f"{x:g}"
        return elided(self.names[int(np.argmax(self.outputs_at(x)))])

    @property
    def end(self) -> float:
        """Where on the x axis the path ends, or what was walked of it; 1 if that is nothing."""
        if not self.regions:
            return 1.0
        return len(self.t) - 1 + (1.0 if self.lengths[-1:] == (0.0,) else float(self.t[-1][-1]))


def from_walk(
    path: PathWalk,
    nodes: Nodes,
    *,
    labels: Sequence[str] | None = None,
    points: Sequence[NDArray[Any]] | NDArray[Any] | None = None,
    pixels: Pixels | None = None,
) -> SegmentData:
    """A finished walk. ``labels``: names of the outputs (see :func:`class_labels`). ``points``: the path's, without the
    way back of a closed one, each of one sample's shape; None if they are not known. ``pixels``: how pixels became
    inputs.
    """
    found = list(chain.from_iterable(chain.from_iterable(walk.switches for walk in path.segments)))
    nodes = nodes.including(path.switches_by_node)
    place = {label: position for position, label in enumerate(nodes.labels)}
    together = []
    for walk in path.segments:
        ending = np.zeros(walk.regions, dtype=np.int64)
        ending[: len(walk.switches)] = [len(units) for units in walk.switches]
        together.append(ending)
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *together])
    columns = list(zip(*found, strict=True)) or [()] * 4
    unit, before, after = (np.array(column, dtype=np.int64) for column in columns[1:])
    node = np.array([place[label] for label in columns[0]], dtype=np.int64)
    data = SegmentData(
        nodes=nodes,
        t=tuple(walk.t for walk in path.segments),
        values=tuple(walk.values for walk in path.segments),
        slopes=tuple(walk.slopes for walk in path.segments),
        switches=Switches(np.repeat(np.arange(len(counts)), counts), node, unit, before, after),
        together=counts,
        deviation=path.absolute_deviation,
        decisions=tuple(walk.decisions for walk in path.segments),
        names=output_names(labels, path.outputs),
        named=labels is not None,
        warnings=_warnings(
            [walk.t for walk in path.segments],
            [walk.length for walk in path.segments],
            path.partial,
            path.self_check.ok,
            path.agreement is None or path.agreement.ok,
        ),
        closed=path.closed,
        single=path.precision == "single",
        partial=path.partial,
        lengths=tuple(walk.length for walk in path.segments),
    )
    return _filmed(data, points, pixels)


def from_regions(
    table: pa.Table,
    nodes: Nodes,
    *,
    labels: Sequence[str] | None = None,
    points: Sequence[NDArray[Any]] | NDArray[Any] | None = None,
    pixels: Pixels | None = None,
) -> SegmentData:
    """A regions file (see :func:`lronnx.store.write_regions`) that was read, its metadata included; the rest as of
    :func:`from_walk`. Of units that switch together it holds the first, and no branches.

    Raises InputError if it is no such table.
    """
    try:
        return _filmed(_read(table, nodes, labels), points, pixels)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"these are no regions as lronnx writes them: {error}") from None


def class_labels(metadata: Mapping[str, str], outputs: int) -> tuple[str, ...] | None:
    """The names of the outputs that a model's metadata have; None if there are none, or not as many as outputs."""
    try:
        labels = json.loads(metadata.get(LABELS_KEY, "null"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(labels, list) or len(labels) != outputs or not all(isinstance(one, str) for one in labels):
        return None
    return tuple(labels)


def headline(path: SegmentData, what: str) -> str:
    """A title: ``what`` was walked, how many regions it crosses and how many of them are linear regions, and from
    where to where."""
    count = _count(path.regions, "region")
    if path.idle:
        count += f", {path.linear_regions:,} linear,"
    elif path.regions > 1:
        count = _count(path.regions, "linear region")
    ends = [of[0][1] for of in path.decisions[:1] if of] + [of[-1][1] for of in path.decisions[-1:] if of]
    if path.named and len(path.names) > 1 and len(ends) == 2 and ends[0] != ends[1]:
        return f"{what}: {count} from {_plainly(path.names[ends[0]])} to {_plainly(path.names[ends[1]])}"
    return f"{what}: {count.removesuffix(',')}"


def figure(path: SegmentData, *, name: str, title: str, detail: Detail = PAGE) -> Figure:
    """The figure of a path: outputs, switches by node, widths of regions and the slope's norm, from top to bottom.

    ``name``: of its files (see :class:`lronnx.plot.figures.Figure`). What was thinned, and how, is in its caption; a
    warning is in front of its title.
    """
    drawn = _Drawing(path, detail)
    panels = [drawn.outputs()]
    if path.nodes.labels:
        panels.append(drawn.barcode())
    window = drawn.window()
    if window is not None:
        panels.append(drawn.lens(window))
    panels += [drawn.widths(), drawn.steepness()]
    heights = sum(panel.height for panel in panels)
    return Figure(
        name=name,
        title=" ".join([*(f"{warning}." for warning in path.warnings), title]),
        panels=panels,
        x=drawn.axis(),
        caption=drawn.caption(),
        table=_table(path) if detail.rows is None or path.regions <= detail.rows else {},
        pictures=path.film,
        stops=drawn.stops() if detail.stops else None,
        # A film strip, and the axis below.
        aspect=0.105 * heights + 0.025 * len(panels) + (0.12 if path.film else 0.0) + 0.08,
    )


class _Run(NamedTuple):
    """A stretch of the path that was walked without a gap: the edges of its regions, (n + 1,), once each; of which
    segments and from which row on; and where among the edges its segments begin and end."""

    x: Floats
    rows: tuple[tuple[int, int], ...]
    anchors: NDArray[np.intp]
    regions: slice


class _Window(NamedTuple):
    """Regions that are magnified: the number of the first; their edges on the x axis, and as shares of the window; by
    output, half of what it has there beyond the straight line through the window's ends, the range of all of that, and
    by output, at which of the inner edges its slope changes.
    """

    region: int
    x: Floats
    share: Floats
    gaps: dict[int, Floats]
    low: float
    high: float
    bent: dict[int, NDArray[np.bool_]]


class _Drawing:
    """A path on its way to a figure: panel by panel, taking note of what is left out."""

    def __init__(self, path: SegmentData, detail: Detail) -> None:
        self.path, self.detail = path, detail
        self.exact = path.regions <= detail.exact
        self.limits = (0.0, path.end)
        self.single = len(path.t) <= 1
        self.anchors = [float(x) for x in range(1, len(path.t))]
        self.notes: list[str] = []
        self.runs = tuple(_runs(path))
        self.start, self.end = _places(path)
        self.width = np.concatenate([np.zeros(0), *(np.diff(t) for t in path.t)])
        self.norm = np.concatenate([np.zeros(0), *(_norms(slopes) for slopes in path.slopes)])
        self.vivid, self.faint = _chosen(path, detail.series if len(path.names) > colors.SERIES else colors.SERIES)

    # --- Outputs

    def outputs(self) -> Panel:
        path = self.path
        curves = {k: list(self._curves(k)) for k in (*self.vivid, *self.faint)}
        heights = [y for of in curves.values() for _, y in of]
        low, high = (min(y.min() for y in heights), max(y.max() for y in heights)) if heights else (0.0, 1.0)
        # Half of it twice: the range of the largest numbers is none.
        tolerance = 0.0 if self.exact else (high / 2 - low / 2) * self.detail.tolerance * 2
        winners = {k for of in path.decisions for _, k in of}
        back: list[Mark] = []
        front: list[Mark] = []
        for k in self.faint:
            for run, y in curves[k]:
                at = self._simplified(run, y, tolerance)
                back.append(Line(run.x[at], y[at], colors.FAINT, width=0.8, hover=self._named(k, len(at))))
        areas: list[Mark] = []
        meant: list[Mark] = []
        for rank, k in enumerate(self.vivid):
            color, group, leads = colors.series(rank), f"output-{k}", k in winners or len(path.names) == 1
            for number, (run, y) in enumerate(curves[k]):
                at = self._simplified(run, y, tolerance)
                x, y, base = run.x[at], y[at], (run.x[run.anchors], y[run.anchors])
                label = "" if number else elided(path.names[k])
                thick = leads and len(path.t) <= MANY_SEGMENTS
                width, hover = 2.0 if thick else 1.1, self._named(k, len(at))
                areas.append(_area(x, y, *base, color, 0.16 if leads else 0.07, group))
                straight = Line(*base, color, dash="dashed", width=1.0, opacity=0.75, group=group)
                # A still figure has no caption that says so; on a page a legend entry stands for all of its group.
                if self.detail.hover or meant or not self._seen(run, curves[k][number][1], low, high):
                    back.append(straight)
                else:
                    meant = [replace(straight, name=STRAIGHT, group="")]
                front.append(Line(x, y, color, label, width=width, group=group, hover=hover))
                if path.regions <= MARKED:
                    inner = np.setdiff1d(np.arange(len(run.x)), run.anchors)
                    # As a magnified one has them: a dot is where something bends.
                    inner = inner[path.bends[run.regions.start + inner - 1]]
                    front.append(Points(run.x[inner], y[inner], color, size=3.5, group=group))
        missing = sum(not of for of in curves.values()) if path.regions else 0
        self._note_outputs(missing)
        strip, changes = self._leads(low, high)
        title = "What the network says along the way"
        return Panel(
            [*areas, *back, *front, *meant, *strip],
            Axis("output"),
            height=3.0,
            verticals=[*self.anchors, *changes],
            title=f"{title}; the strip: the largest output" if strip else title,
        )

    def _seen(self, run: _Run, y: Floats, low: float, high: float) -> bool:
        """Whether a curve's baseline can be told from it."""
        y = y / 2
        gap = y - np.interp(run.x, run.x[run.anchors], y[run.anchors])
        return float(np.abs(gap).max()) > (high / 2 - low / 2) / 200

    def _curves(self, k: int) -> Iterator[tuple[_Run, Floats]]:
        """An output at the edges of every run; none where it is not finite."""
        for run in self.runs:
            y = np.concatenate([self.path.values[segment][row:, k] for segment, row in run.rows])
            if np.isfinite(y).all():
                yield run, y

    def _simplified(self, run: _Run, y: Floats, tolerance: float) -> NDArray[np.intp]:
        if self.exact:
            return np.arange(len(y))
        return np.union1d(thinning.simplify(run.x, y, tolerance), run.anchors)

    def _named(self, k: int, count: int) -> Hover | None:
        if not self.detail.hover:
            return None
        codes = np.zeros(count, dtype=np.uint8)
        return Hover("{output}: {y}\nt = {x}", {"output": codes}, {"output": [self.path.names[k]]})

    def _leads(self, low: float, high: float) -> tuple[list[Mark], list[float]]:
        """A strip above all curves, which has the colour of the largest output, and where that changes, if it does so
        a few times only; nothing if it does not change."""
        path = self.path
        kept = self._kept_leads()
        if len({k for *_, k in kept}) < 2:
            return [], []
        begin, end = np.array([x for x, _, _ in kept]), np.array([x for _, x, _ in kept])
        which = np.array([k for *_, k in kept])
        size = high / 2 - low / 2

        def above(share: float) -> Floats:
            return np.full(len(kept), np.clip(high + 2 * share * size, None, np.finfo(np.float64).max))

        codes = {k: code for code, k in enumerate(dict.fromkeys(which.tolist()))}
        hover = Hover(
            "the largest: {output}\nfrom t = {from} to {to}",
            {"output": _small(np.array([codes[k] for k in which.tolist()])), "from": begin, "to": end},
            {"output": [path.names[k] for k in codes]},
        )
        # Of outputs without a colour of their own, neighbours are told apart.
        tones = [
            colors.series(self.vivid.index(k)) if k in self.vivid else (colors.FAINT, colors.MUTED)[place % 2]
            for place, k in enumerate(which.tolist())
        ]
        strip = Bars(
            begin / 2 + end / 2,
            above(0.09),
            low=above(0.05),
            width=end - begin,
            colors=tones,
            hover=hover if self.detail.hover else None,
        )
        changes = self._shown_changes()
        if changes:
            places, said = [t for t, _ in changes], [f" from here: {elided(path.names[k])}" for _, k in changes]
            return [strip, Texts(np.array(places), above(0.15)[: len(places)], said)], places
        names = [elided(path.names[k]) for k in which.tolist()]
        room = (end - begin) / (self.limits[1] - self.limits[0]) / (LETTER_PAGE if self.detail.hover else LETTER_STILL)
        fits = np.flatnonzero(room >= [len(name) for name in names])
        if not len(fits):
            return [strip], []
        # Not in the middle: that of a stretch around a point of the path is often the point, where there is a line.
        return [strip, Texts(begin[fits], above(0.15)[fits], [names[place] for place in fits])], []

    def _kept_leads(self) -> Sequence[tuple[float, float, int]]:
        """Stretches of the largest outputs; of very many, the first in each column, up to the next."""
        leads = self.path.leads
        if len(leads) <= self.detail.columns:
            return leads
        kept = thinning.marks(np.array([begin for begin, _, _ in leads]), self.limits, self.detail.columns)[0].tolist()
        self.notes.append(
            f"of stretches of the largest output that begin less than 1/{self.detail.columns} of the width apart, one "
            f"is drawn ({len(kept):,} of {len(leads):,})"
        )
        return [
            (leads[place][0], leads[after - 1][1], leads[place][2]) for place, after in pairwise([*kept, len(leads)])
        ]

    def _shown_changes(self) -> Sequence[tuple[float, int]]:
        path = self.path
        changes = path.decisions[0][1:] if self.single and path.decisions and len(path.names) > 1 else ()
        return changes if len(changes) <= SHOWN_CHANGES else ()

    def _note_outputs(self, missing: int) -> None:
        path = self.path
        if not self.exact:
            self.notes.append(
                f"curves are within 1/{round(1 / self.detail.tolerance)} of the panel's range of the exact ones"
            )
        left = len(path.names) - len(self.vivid) - len(self.faint)
        if self.faint:
            self.notes.append(f"{len(self.faint)} outputs more are drawn in grey")
        if left:
            self.notes.append(f"{left} of {len(path.names)} outputs are not drawn")
        if missing:
            self.notes.append(f"{missing} outputs are not drawn because they are not finite everywhere")

    # --- Switches

    def barcode(self) -> Panel:
        path, nodes = self.path, self.path.nodes
        counts = np.bincount(path.switches.node, minlength=len(nodes.labels))
        rows = self._rows(counts)
        order = np.argsort(path.switches.node, kind="stable")
        of_node = np.split(order, np.cumsum(counts)[:-1])
        thin = not self.exact and len(order) > self.detail.ticks
        found = []
        for row, members in enumerate(rows):
            for node in members:
                at = of_node[node]
                x = self.end[path.switches.region[at]]
                if thin:
                    kept, standing = thinning.marks(x, self.limits, self.detail.columns)
                    found.append((row, node, at[kept], x[kept], standing))
                else:
                    found.append((row, node, at, x, np.ones(len(at), dtype=np.int64)))
        most = max((int(standing.max()) for *_, standing in found if len(standing)), default=1)
        if most > 1:
            self.notes.append(
                f"of switches that are less than 1/{self.detail.columns} of the width apart, one is drawn, the more "
                f"strongly the more they are (up to {most})"
            )
        marks = [
            Ticks(
                x,
                float(row),
                colors.layer(node, len(nodes.labels)),
                weights=_weights(standing),
                hover=self._switched(node, at) if self.detail.hover else None,
            )
            for row, node, at, x, standing in found
            if len(x)
        ]
        ticks = [(float(row), self._row_name(members, int(counts[members].sum()))) for row, members in enumerate(rows)]
        return Panel(
            marks,
            Axis(self._shown_nodes(rows, counts), ticks=ticks, range=(len(rows) - 0.5, -0.5)),
            height=min(max(0.3 * len(rows), 0.7), 5.0),
            verticals=self.anchors,
            title=self._barcode_title(),
            legend=False,
        )

    def _barcode_title(self) -> str:
        """A still figure has no caption that says how many of the switches matter."""
        idle = "" if self.detail.hover else self._idle()
        return f"Where units switch, {f'by layer: {idle}' if idle else 'and in which layer: a tick for every switch'}"

    def _idle(self) -> str:
        """How many breakpoints have no effect, if there are any."""
        path = self.path
        none = "bends" if path.breakpoints == 1 else "bend"
        return f"{path.idle:,} of {_count(path.breakpoints, 'breakpoint')} {none} no output" if path.idle else ""

    def _rows(self, counts: Integers) -> list[NDArray[np.intp]]:
        """The nodes of each row, the first layers in the first."""
        if len(counts) <= ROWS:
            return [np.array([node]) for node in range(len(counts))]
        active = np.flatnonzero(counts)
        idle = len(counts) - len(active)
        if not len(active):
            # An empty row says that nothing switches, and that there is something that could.
            active, idle = np.array([0]), 0
        if idle:
            self.notes.append(f"{idle} of {len(counts)} switching nodes have no row because none of their units switch")
        if len(active) > MOST_ROWS:
            self.notes.append(f"rows hold several nodes that follow each other: {len(active)} switch")
        return np.array_split(active, min(len(active), MOST_ROWS))

    def _shown_nodes(self, rows: list[NDArray[np.intp]], counts: Integers) -> str:
        """How many of the nodes the rows are about, if that is not one row for each."""
        shown = sum(map(len, rows))
        return "" if len(rows) == len(counts) else f"{shown} of {len(counts)} nodes"

    def _row_name(self, members: NDArray[np.intp], count: int) -> str:
        labels = self.path.nodes.labels
        if len(members) == 1:
            return f"{elided(labels[members[0]])}  {count:,}"
        half = NAME_LENGTH // 2
        ends = " .. ".join(elided(labels[node], half) for node in (members[0], members[-1]))
        return f"{ends} ({len(members)})  {count:,}"

    def _switched(self, node: int, at: NDArray[np.intp]) -> Hover:
        """What is told about switches ``at`` of a node."""
        path, switches = self.path, self.path.switches
        region = switches.region[at]
        unit = switches.unit[at]
        columns: dict[str, Column] = {
            "node": np.zeros(len(at), dtype=np.uint8),
            "unit": _small(unit),
            "width": _single(self.width[region]),
        }
        names = {"node": [path.nodes.told(node)]}
        lines = ["t = {x}", "{node}", "unit {unit}"]
        shape = core_shape(path.nodes.shapes[node] or ())
        if len(shape) > 1 and unit.size and unit.max() < np.prod(shape):
            # Which of its axes are channels, rows and columns, a tensor does not say.
            axes = [f"axis{number}" for number in range(len(shape))]
            columns |= {name: _small(index) for name, index in zip(axes, np.unravel_index(unit, shape), strict=True)}
            place, sizes = ", ".join(f"{{{name}}}" for name in axes), " x ".join(map(str, shape))
            lines[-1] += f": ({place}) of {sizes}"
        if switches.before is not None and switches.after is not None:
            columns |= {"before": _small(switches.before[at]), "after": _small(switches.after[at])}
            lines.append("branch {before} \u2192 {after}")
        else:
            others = path.together[region] - 1
            if others.any():
                counts, columns["others"] = np.unique(others, return_inverse=True)
                names["others"] = [f"\nand {_count(count, 'more unit')}" if count else "" for count in counts.tolist()]
                lines[-1] += "{others}"
        lines.append("the region that ends here is {width} wide")
        if np.isfinite(self.norm).all():
            # A region that ends at a switch is followed by another of its segment.
            columns |= {"from": _single(self.norm[region]), "to": _single(self.norm[region + 1])}
            lines.append("slope {from} \u2192 {to}")
        if not path.bends[region].all():
            columns["effect"] = path.bends[region].astype(np.uint8)
            names["effect"] = _EFFECT
            lines[-1] += "{effect}"
        return Hover("\n".join(lines), columns, names)

    # --- A few regions

    def window(self) -> _Window | None:
        """Some regions in the middle, or where the largest output changes; None if there is nothing to magnify."""
        if not self.detail.lens or self.exact or not self.vivid:
            return None
        path = self.path
        changes = self._shown_changes()
        centre = changes[0][0] if changes else path.end / 2
        run = min(self.runs, key=lambda one: max(one.x[0] - centre, centre - one.x[-1]))
        # Of one segment, since the path itself bends where two meet.
        segment = int(np.clip(np.searchsorted(run.x[run.anchors], centre, side="right") - 1, 0, len(run.rows) - 1))
        begin, end = int(run.anchors[segment]), int(run.anchors[segment + 1])
        first = int(np.clip(np.searchsorted(run.x, centre) - 1 - LENS // 2, begin, max(end - LENS, begin)))
        last = min(first + LENS, end)
        x = run.x[first : last + 1]
        share = (x - x[0]) / (x[-1] - x[0])
        gaps = {}
        for k in self.vivid[:2]:
            for of, y in self._curves(k):
                if of is run:
                    part = y[first : last + 1] / 2
                    gaps[k] = part - metrics.between(part[:1], part[-1:], share)[:, 0]
        low = min((float(gap.min()) for gap in gaps.values()), default=0.0)
        high = max((float(gap.max()) for gap in gaps.values()), default=0.0)
        if low == high or last - first < 2:
            return None
        bends = path.slope_changes(run.rows[segment][0])[first - begin : last - begin - 1]
        bent = {k: bends[:, k] for k in gaps}
        return _Window(run.regions.start + first, x, share, gaps, low, high, bent)

    def lens(self, shown: _Window) -> Panel:
        """These regions over the whole width."""
        path, switches = self.path, self.path.switches
        width = self.limits[1]
        across = shown.share * width
        count = len(across) - 1
        marks: list[Mark] = []
        near = np.flatnonzero((switches.region >= shown.region) & (switches.region < shown.region + count - 1))
        for node in np.unique(switches.node[near]).tolist():
            at = near[switches.node[near] == node]
            places = across[switches.region[at] - shown.region + 1]
            weights = np.where(path.bends[switches.region[at]], 1.0, PALE)
            marks.append(Ticks(places, 0.5, colors.layer(node, len(path.nodes.labels)), weights=weights))

        def placed(gap: Floats) -> Floats:
            return np.asarray(0.2 + 0.5 * (gap - shown.low) / (shown.high - shown.low))

        for k, gap in shown.gaps.items():
            color, y = colors.series(self.vivid.index(k)), placed(gap)
            bent = 1 + np.flatnonzero(shown.bent[k])
            marks += [Line(across, y, color, width=1.8), Points(across[bent], y[bent], color, size=4.0)]
        widest = int(np.diff(across).argmax())
        if across[widest + 1] - across[widest] > width / 6:
            middle = float(across[widest] + across[widest + 1]) / 2
            marks.append(Texts(np.array([middle]), np.array([0.82]), ["\u2190 a region \u2192"], anchor="middle"))
        # Its ends in units of the output, twice what is kept.
        told = [(0.0, "0")] + [
            (end, _short(2 * end)) for end in (shown.low, shown.high) if abs(end) > 0.2 * (shown.high - shown.low)
        ]
        below = np.array([-0.06])
        explained = "bend: difference to the line between this excerpt's ends"
        marks.append(Texts(np.array([width / 2]), below, [explained], anchor="middle"))
        first, last = (_place_text(float(place), shown.x) for place in (shown.x[0], shown.x[-1]))
        marks.append(Texts(np.zeros(1), below, [f" t = {first}"], anchor="start"))
        marks.append(Texts(np.array([width]), below, [f"{last} "], anchor="end"))
        times = (self.limits[1] - self.limits[0]) / (shown.x[-1] - shown.x[0])
        names = " and ".join(elided(path.names[k]) for k in shown.gaps)
        said = "straight inside a region, a dot at each bend"
        if not path.bends[shown.region : shown.region + count - 1].all():
            said = "a dot at each bend; pale ticks bend no output"
        self.notes.append(
            f"magnified are {count} regions: {names}, less the straight line between the values at both edges of the "
            f"panel ({2 * shown.low:.2g} to {2 * shown.high:.2g})"
        )
        return Panel(
            marks,
            Axis("bend", ticks=[(float(placed(np.full(1, at))[0]), text) for at, text in told], range=(-0.18, 1.0)),
            height=1.6,
            title=f"{times:,.0f} times magnified: {said}",
            legend=False,
        )

    # --- Widths and slopes

    def widths(self) -> Panel:
        marks = self._staircase(self.width, colors.INK, "width")
        return Panel(
            marks,
            Axis("width in t", log=True, range=self._shown_widths()),
            height=1.1,
            verticals=self.anchors,
            title=f"How wide the regions are{self._band('narrowest', 'widest')}",
            legend=False,
        )

    def _shown_widths(self) -> tuple[float, float] | None:
        """No region is wider than 1, and an axis that has to show nearly that much ends there."""
        if not len(self.width) or self.width.max() < 0.5:
            return None
        return min(float(self.width.min()) / 1.3, 0.1), 1.05

    def _shown_norms(self) -> tuple[float, float] | None:
        """From 0 on, if all slopes are the same; None: whatever they need."""
        if not len(self.norm) or not np.isfinite(self.norm).all():
            return None
        least, most = float(self.norm.min()), float(self.norm.max())
        if least < most * (1 - 1e-6) or most > np.finfo(np.float64).max / 2:
            return None
        return (0.0, 1.25 * most) if most > np.finfo(np.float64).tiny else (0.0, 1.0)

    def steepness(self) -> Panel:
        marks: list[Mark] = []
        if np.isfinite(self.norm).all():
            marks = self._staircase(self.norm, colors.INK, "slope")
        else:
            self.notes.append("slopes are not drawn because they are not finite everywhere")
        return Panel(
            marks,
            Axis("\u2016df/dt\u2016", range=self._shown_norms()),
            height=1.1,
            verticals=self.anchors,
            title=f"How steep the output is: its slope's norm{self._band('least', 'greatest')}",
            legend=False,
        )

    def _crowded(self) -> bool:
        """Whether all regions are drawn, but so narrow that their steps would be a solid band."""
        return not self.exact and CROWD < self.path.regions <= self.detail.steps

    def _band(self, least: str, most: str) -> str:
        """What band and line are, in the title of a still figure, which has no caption."""
        each = self.exact or self.path.regions <= self.detail.steps
        return "" if each or self.detail.hover else f" (band: {least} to {most}; line: median)"

    def _staircase(self, y: Floats, color: colors.Color, what: str) -> list[Mark]:
        """One step per region, or of many what they reach from and to in each column."""
        marks: list[Mark] = []
        each = self.exact or self.path.regions <= self.detail.steps
        crowded = self._crowded()
        for run in self.runs:
            steps = y[run.regions]
            if each:
                hover = None
                if self.detail.hover:
                    number = np.arange(run.regions.start, run.regions.stop)
                    hover = Hover(f"{what} {{y}}\nregion {{region}}", {"region": _small(number + 1)})
                opacity = 0.4 if crowded else 1.0
                marks.append(Steps(run.x, steps, color, width=1.0, opacity=opacity, hover=hover))
                if crowded:
                    found = thinning.envelope(run.x, steps, self.limits, MEDIANS)
                    x = np.stack([found.left, found.right], axis=1).ravel()
                    marks.append(Line(x, np.repeat(found.middle, 2), color, width=1.2))
                continue
            found = thinning.envelope(run.x, steps, self.limits, self.detail.bands)
            x = np.stack([found.left, found.right], axis=1).ravel()
            low, middle, high = (np.repeat(part, 2) for part in (found.low, found.middle, found.high))
            marks += [Area(x, low, high, color, 0.3), Line(x, middle, color, width=0.9)]
        return marks

    # --- The rest

    def axis(self) -> Axis:
        """That of t."""
        stopped = _stopped(self.path.t, self.path.lengths) if self.path.partial else ""
        if self.single:
            label = f"t, from the start (0); {stopped}" if stopped else "t, from the start (0) to the end (1)"
            return Axis(label, range=self.limits)
        count = len(self.path.t)
        stride = -(-count // 16)
        ticks = [(float(x), str(x)) for x in range(0, count + 1, stride) if x <= self.path.end]
        label = f"segment of the path + t; {stopped}" if stopped else "segment of the path + t"
        return Axis(label, ticks=ticks, range=self.limits)

    def stops(self) -> tuple[Floats, Hover] | None:
        """Every breakpoint, with the first unit that switches there."""
        path, switches = self.path, self.path.switches
        first = np.flatnonzero(np.diff(switches.region, prepend=-1))
        x = self.end[switches.region[first]]
        if len(x) > self.detail.stops:
            first = first[thinning.marks(x, self.limits, self.detail.stops)[0]]
            x = self.end[switches.region[first]]
        if not len(x):
            return None
        region = switches.region[first]
        columns: dict[str, Column] = {
            "node": _small(switches.node[first]),
            "unit": _small(switches.unit[first]),
            "region": _small(region + 1),
            "width": _single(self.width[region]),
        }
        text = "t = {x}: {node}, unit {unit}"
        more = path.together[region] - 1
        # Counted from 1, as the number of a stop is.
        text += "{more}\nregion {region} ends here, {width} wide"
        counts, columns["more"] = np.unique(more, return_inverse=True)
        names = {
            "node": [path.nodes.told(position) for position in range(len(path.nodes.labels))],
            "more": [f" and {count:,} more" if count else "" for count in counts.tolist()],
        }
        if not path.bends[region].all():
            columns["effect"] = path.bends[region].astype(np.uint8)
            names["effect"] = _EFFECT
            text += "{effect}"
        return x, Hover(text, columns, names)

    def caption(self) -> str:
        """What is to be seen, and what is not."""
        path = self.path
        parts = [f"{warning}." for warning in path.warnings]
        if not path.regions:
            return " ".join([*parts, "No region was finished, so that there is nothing to draw."])
        parts.append(
            f"{_count(path.regions, 'region')}: stretches on which the network is one affine function, each output a "
            "straight piece. Dashed: the straight line between an output's values at the ends of a segment; shaded: "
            "the absolute deviation from it."
        )
        if path.nodes.labels:
            parts.append(
                "Rows: the network's layers from the first, at the top, to the last, and how often they switch."
            )
        if path.idle:
            parts.append(
                f"{self._idle()}: what switches there has no effect on any slope, and the regions on both sides are "
                f"one linear region, so that there are {path.linear_regions:,} of these."
            )
        elif path.breakpoints:
            parts.append("Every breakpoint bends an output: each region is a linear region of its own.")
        hidden = int(path.together.sum()) - len(path.switches.region)
        if hidden:
            parts.append(f"Of units that switch together the first is shown; {hidden:,} others are not.")
        if not self.single:
            parts.append("Vertical lines: where a segment ends and the next begins.")
        if not self.exact and path.regions > self.detail.steps:
            self.notes.append(
                f"widths and slopes are shown by range and median (the line) in {self.detail.bands} columns"
            )
        if self._crowded():
            self.notes.append(
                f"of widths and slopes, grey is each region's and the line is their median in {MEDIANS} columns"
            )
        if path.film:
            said = ["Pictures: the inputs"]
            if path.named and len(path.names) > 1:
                said.append("and what the network takes them for")
            if path.stretched:
                said.append("brightness stretched to their own range")
            parts.append(", ".join(said) + ".")
        if self.notes:
            listed = "; ".join(self.notes)
            parts.append(f"{listed[0].upper()}{listed[1:]}.")
        elif self.exact:
            parts.append("Nothing is thinned.")
        return " ".join(parts)


_SUPERSCRIPTS = str.maketrans("\u22120123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_EFFECT = ["\nbends no output", ""]
"""What is told about a breakpoint by whether it bends an output."""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _weights(standing: Integers) -> Floats | None:
    """How strongly marks are drawn that stand for so many each; alone they are told from none as well."""
    most = int(standing.max())
    if most == 1:
        return None
    weakest = 1.0 - 0.55 * min((most - 1) / 6, 1.0)
    return np.asarray(weakest + (1.0 - weakest) * np.sqrt((standing - 1) / (most - 1)))


def output_names(labels: Sequence[str] | None, outputs: int) -> tuple[str, ...]:
    """What to call the outputs. ``labels``: as of :func:`class_labels`."""
    if labels is None:
        return ("output",) if outputs == 1 else tuple(f"output {k}" for k in range(outputs))
    # A bare number would look like a value.
    return tuple(f"class {label}" if label.strip().isdecimal() else label for label in labels)


def _warnings(
    t: Sequence[Floats], lengths: Sequence[float], partial: bool, ok: bool, agree: bool = True
) -> tuple[str, ...]:
    found = []
    if not ok:
        found.append("SELF-CHECK FAILED: do not rely on this result")
    if not agree:
        found.append("ENGINES DISAGREE: do not rely on this result")
    if partial:
        found.append(f"PARTIAL: {_stopped(t, lengths)}")
    return tuple(found)


def _stopped(t: Sequence[Floats], lengths: Sequence[float]) -> str:
    # A segment without length ends where it begins.
    short = [number for number, edges in enumerate(t) if edges[-1] < 1.0 and lengths[number] > 0.0]
    if not any(len(edges) > 1 for edges in t):
        return "stopped before the first region was finished"
    if len(short) > 1:
        return f"{len(short)} of {len(t)} segments were not walked to their end"
    if not short:
        return f"stopped at the end of segment {len(t) - 1}"
    [number] = short
    return f"stopped at t = {t[number][-1]:.4g}" + (f" of segment {number}" if len(t) > 1 else "")


def _chosen(path: SegmentData, series: int) -> tuple[list[int], list[int]]:
    """The outputs with a colour of their own, ``series`` unless more are the largest somewhere, and those without.

    The largest come first, in the order of the path, then those that deviate most, then the first. Of many segments
    only the largest have a colour.
    """
    count = len(path.names)
    share = np.zeros(count)
    seen: list[int] = []
    for t, of in zip(path.t, path.decisions, strict=True):
        borders = [*(begin for begin, _ in of), float(t[-1])]
        for (_, k), width in zip(of, np.diff(borders), strict=True):
            share[k] += width
            seen.append(k)
    winners = list(dict.fromkeys(seen))
    if len(winners) > colors.SERIES:
        most = set(sorted(winners, key=lambda k: -share[k])[: colors.SERIES])
        winners = [k for k in winners if k in most]
    deviation = np.nan_to_num(path.deviation, nan=0.0, posinf=np.finfo(np.float64).max)
    # What rounding leaves of nothing would put them in an order that means nothing.
    deviation = np.where(path.deviates, deviation, 0.0)
    if len(path.t) > MANY_SEGMENTS:
        series = 0
    rest = [k for k in np.argsort(-deviation, kind="stable").tolist() if k not in set(winners)]
    room = max(series - len(winners), 0)
    return winners + rest[:room], rest[room : room + FAINT]


def _runs(path: SegmentData) -> Iterator[_Run]:
    """The stretches of the path without gaps."""
    offset = 0
    waiting: list[tuple[int, int]] = []
    begun = 0
    for segment, t in enumerate(path.t):
        count = len(t) - 1
        if count:
            waiting.append((segment, 1 if waiting else 0))
        offset += count
        if waiting and (t[-1] < 1.0 or segment == len(path.t) - 1):
            x = np.concatenate([number + path.t[number][row:] for number, row in waiting])
            lengths = [len(path.t[number]) - 1 for number, _ in waiting]
            yield _Run(x, tuple(waiting), np.concatenate([[0], np.cumsum(lengths)]), slice(begun, offset))
            waiting, begun = [], offset


def _places(path: SegmentData) -> tuple[Floats, Floats]:
    """(R,) twice: where on the x axis each region begins and ends."""
    empty = np.zeros(0)
    starts = [empty, *(segment + t[:-1] for segment, t in enumerate(path.t))]
    ends = [empty, *(segment + t[1:] for segment, t in enumerate(path.t))]
    return np.concatenate(starts), np.concatenate(ends)


def _norms(slopes: Floats) -> Floats:
    """(R,) Euclidean norms of the rows, whose squares may overflow; the largest number there is, where a norm does."""
    finite = np.isfinite(slopes)
    size = float(np.abs(slopes).max(initial=0.0, where=finite)) or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = slopes / size
        norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled)) * size
    return np.asarray(np.where(np.isinf(norms) & finite.all(axis=1), np.finfo(np.float64).max, norms))


def _area(
    x: Floats, y: Floats, base_x: Floats, base_y: Floats, color: colors.Color, opacity: float, group: str
) -> Area:
    """What lies between a curve and its baseline, with a vertex wherever they cross."""
    size = max(float(np.abs(y).max()), float(np.abs(base_y).max())) or 1.0
    y, base = y / size, np.interp(x, base_x, base_y / size)
    gap = y - base
    crossing = np.flatnonzero(np.sign(gap[:-1]) * np.sign(gap[1:]) < 0)
    share = gap[crossing] / (gap[crossing] - gap[crossing + 1])
    at = x[crossing] + share * (x[crossing + 1] - x[crossing])
    met = base[crossing] + share * (base[crossing + 1] - base[crossing])
    low, high = np.minimum(y, base), np.maximum(y, base)
    x, low, high = (np.insert(whole, crossing + 1, inserted) for whole, inserted in ((x, at), (low, met), (high, met)))
    return Area(x, low * size, high * size, color, opacity, group)


def _filmed(
    data: SegmentData, points: Sequence[NDArray[Any]] | NDArray[Any] | None, pixels: Pixels | None
) -> SegmentData:
    """With pictures, if there are points and they are images."""
    if points is None or len(points) < 2 or not data.regions:
        return data
    anchors = [np.asarray(point, dtype=np.float64) for point in points]
    if data.closed:
        anchors.append(anchors[0])
    if len(anchors) == 2:
        places = np.linspace(0.0, data.end, FILM)
    else:
        whole = int(data.end + 1e-9)
        # At equal distances, so that each can stand above its place.
        places = np.arange(0.0, whole + 1, max(-(-whole // (MOST_PICTURES - 1)), 1))
    inputs = []
    for x in places:
        segment = min(int(x), len(anchors) - 2)
        t = float(x) - segment
        inputs.append((1.0 - t) * anchors[segment] + t * anchors[segment + 1])
    shown = pictures.shown(inputs, inputs[0].shape, pixels)
    if shown is None:
        return data
    film = tuple(
        Picture(float(x), image, data.film_label(float(x))) for x, image in zip(places, shown.images, strict=True)
    )
    return replace(data, film=film, stretched=shown.stretched)


def _read(table: pa.Table, nodes: Nodes, labels: Sequence[str] | None) -> SegmentData:
    """A regions table as data. Raises KeyError, TypeError or ValueError."""
    metadata = {key.decode(): text.decode() for key, text in (table.schema.metadata or {}).items()}
    columns = {name: table[name].combine_chunks() for name in table.schema.names}
    count = len(table)
    segment = columns["segment"].to_numpy()
    together = columns["switches"].to_numpy().astype(np.int64)
    start, end = (columns[name].to_numpy() for name in ("t_start", "t_end"))
    value, slope = (columns[name].flatten().to_numpy().reshape(count, -1) for name in ("value", "slope"))
    if count and (segment.min() < 0 or (np.diff(segment) < 0).any()):
        raise ValueError("the segments are not in order")
    lengths = [float(length) for length in json.loads(metadata.get("lronnx.lengths", "[]"))]
    # Of segments without length, and of those that were not reached, there are no rows.
    segments = int(segment.max(initial=-1)) + 1
    while segments < len(lengths) and lengths[segments] == 0.0:
        segments += 1
    lengths += [1.0] * (segments - len(lengths))
    cuts = np.searchsorted(segment, np.arange(segments + 1))
    t: list[Floats] = []
    values: list[Floats] = []
    slopes, decisions = [], []
    deviation = np.zeros(value.shape[1])
    single = metadata.get("lronnx.precision") == "single"
    tolerance = metrics.VALUE_TOLERANCE_SINGLE if single else metrics.VALUE_TOLERANCE
    partial = bool(json.loads(metadata.get("lronnx.partial", "false")))
    for number, (first, last) in enumerate(pairwise(cuts.tolist())):
        rows = slice(first, last)
        if first == last:
            t.append(np.zeros(1))
            # Where nothing moves the outputs are what they were; in front of all others, what they are next.
            near = values[-1][-1:] if values else value[:1]
            values.append(near if len(near) else np.zeros((1, value.shape[1])))
        else:
            t.append(np.append(start[rows], end[last - 1]))
            ending = value[last - 1] + (end[last - 1] - start[last - 1]) * slope[last - 1]
            values.append(np.concatenate([value[rows], ending[None]]))
        slopes.append(slope[rows])
        deviation += metrics.absolute_deviation(t[-1], values[-1], lengths[number])
        decisions.append(metrics.decisions(t[-1], values[-1], tolerance))
    switching = np.flatnonzero(together)
    named = columns["node"].dictionary_encode()
    used = named.dictionary.to_pylist()
    nodes = nodes.including(used)
    place = np.array([nodes.labels.index(label) for label in used], dtype=np.int64)
    code = named.indices.take(switching).to_numpy(zero_copy_only=False).astype(np.int64)
    unit = columns["unit"].take(switching).to_numpy(zero_copy_only=False).astype(np.int64)
    return SegmentData(
        nodes=nodes,
        t=tuple(t),
        values=tuple(values),
        slopes=tuple(slopes),
        switches=Switches(switching, place[code], unit),
        together=together,
        deviation=deviation,
        decisions=tuple(decisions),
        names=output_names(labels, value.shape[1]),
        named=labels is not None,
        warnings=_warnings(
            t,
            lengths,
            partial,
            json.loads(metadata.get("lronnx.self_check", "{}")).get("ok", True),
        ),
        closed=json.loads(metadata.get("lronnx.closed", "false")),
        single=single,
        partial=partial,
        lengths=tuple(lengths[:segments]),
    )


def _table(path: SegmentData) -> dict[str, Column]:
    """One row per region."""
    counts = [len(t) - 1 for t in path.t]
    first = np.flatnonzero(np.diff(path.switches.region, prepend=-1))
    node: list[str] = [""] * path.regions
    unit: list[str] = [""] * path.regions
    for region, position, number in zip(
        path.switches.region[first].tolist(),
        path.switches.node[first].tolist(),
        path.switches.unit[first].tolist(),
        strict=True,
    ):
        node[region], unit[region] = path.nodes.labels[position], str(number)
    chosen: Sequence[int] = range(len(path.names))
    if len(path.names) > TABLE_OUTPUTS:
        vivid, faint = _chosen(path, colors.SERIES)
        chosen = sorted([*vivid, *faint][:TABLE_OUTPUTS])
    empty, integers = np.zeros(0), np.zeros(0, dtype=np.int64)
    table: dict[str, Column] = {
        "segment": np.concatenate([integers, np.repeat(np.arange(len(counts)), counts)]),
        "region": np.concatenate([integers, *(np.arange(count) for count in counts)]),
        "t_start": np.concatenate([empty, *(t[:-1] for t in path.t)]),
        "t_end": np.concatenate([empty, *(t[1:] for t in path.t)]),
        "width": np.concatenate([empty, *(np.diff(t) for t in path.t)]),
        "node": node,
        "unit": unit,
        "switches": path.together,
        "slope_norm": _written(np.concatenate([empty, *(_norms(slopes) for slopes in path.slopes)])),
    }
    for k in chosen:
        table[f"value_{k}"] = _written(np.concatenate([empty, *(values[:-1, k] for values in path.values)]))
        table[f"slope_{k}"] = _written(np.concatenate([empty, *(slopes[:, k] for slopes in path.slopes)]))
    return table


def _written(numbers: Floats) -> Column:
    """Numbers for the table; texts, if some do not exist."""
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers
    return [repr(number) if exists else "" for number, exists in zip(numbers.tolist(), finite, strict=True)]


def _plainly(name: str) -> str:
    return elided(name, 2 * NAME_LENGTH)


def _place_text(place: float, edges: Floats) -> str:
    """A place on the x axis with as many digits as tell the ends of ``edges`` apart."""
    digits = int(np.clip(2 - np.floor(np.log10(edges[-1] - edges[0])), 2, 15))
    return f"{place:.{digits}f}"


def _short(number: float) -> str:
    """Two digits, as axes have them."""
    digits, _, exponent = f"{number:.2g}".replace("-", "\u2212").partition("e")
    # Without its leading zero.
    power = re.sub(r"^([+\u2212])0*", r"\1", exponent)
    return f"{digits}\u00d710{power.replace('+', '').translate(_SUPERSCRIPTS)}" if power else digits


def elided(text: str, length: int = NAME_LENGTH) -> str:
    """Without so much of its middle that it is no longer."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}\u2026{text[len(text) - (length - 1) // 2 :]}"


def _small(numbers: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers, none negative, in the smallest type that holds them: pages carry them all."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def _single(numbers: Floats) -> NDArray[Any]:
    """Single precision, which is more than is shown, where that has them."""
    limits = np.finfo(np.float32)
    sizes = np.abs(numbers[numbers != 0.0])
    if sizes.size and (sizes.min() < limits.tiny or sizes.max() > limits.max):
        return numbers
    return numbers.astype(np.float32)
