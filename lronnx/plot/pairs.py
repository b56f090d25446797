"""Figures and the page of a comparison: networks along the same paths, each beside the first one.

What is said is what :mod:`lronnx.comparison_report` prints; what is seen are the outputs of two
networks along the path on which they differ most, the measures of both path by path, and the figures of
:mod:`lronnx.plot.compare` and :mod:`lronnx.plot.study`, a network beside the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import __version__, comparison_report, metrics, report
from lronnx.plot import colors, compare, segment, study, thinning
from lronnx.plot.colors import BAD, FAINT, INK, MUTED
from lronnx.plot.compare import Comparison, Named
from lronnx.plot.figures import Area, Axis, Bars, Column, Figure, Hover, Line, Mark, Panel, Points
from lronnx.plot.report import MOST_BYTES, about_data
from lronnx.plot.study import MEASURES, Detail, Layers, Measure
from lronnx.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from lronnx.plot import page

Floats = NDArray[np.float64]
Object = Mapping[str, Any]

MOST_PAIRS = 6
"""Pairs up to which each has figures; of more, those of the first ones have, and tables tell of all."""

MOST_BESIDE = 3
"""Networks up to which the table of them has a column for each, instead of a row."""

MOST_COLUMNS = 6
"""Networks up to which the table of means has a column for each, instead of a row."""

MOST_NODE_ROWS = 60
"""Rows of a table of nodes that is not folded."""

OUTPUTS = 4
"""Outputs at most that have a colour of their own: the one that differs most, and those that are the largest."""

SPREAD = 10.0
"""An axis of differences is logarithmic where it shows so many times what is typical, or what rounding explains."""

DECADES = 2.0
"""Decades that a logarithmic axis of differences goes down below what is typical."""

FAR = 5.0
"""Decades up to which what rounding explains is shown below the differences that are typical."""

MOST_NAMED = 20
"""Measures at most that a caption names."""

LONGEST = 28
"""Characters of a network's name in titles and at axes."""


@dataclass(frozen=True)
class _Level:
    """How much of a page there is: points of single paths in a figure, and parts of a path's figure in each of which
    a curve has its lowest and its highest point."""

    paths: int
    columns: int


# Each is taken if the page is too large with the one before.
_LEVELS = (_Level(600, 2000), _Level(300, 1000), _Level(100, 500), _Level(40, 250), _Level(10, 100))
_STILL = 1800

_STOPS = 5000
"""Places at most that the keyboard steps through."""

_TABLE_ROWS = 5000
"""Places up to which a page's figure of a difference has a table."""


class Pair(NamedTuple):
    """One network beside the first: ``told``, what the comparison says of the two; ``labels`` of both; ``path``, the
    one on which they differ most (None if there is none); ``prefix`` of its figures' names."""

    told: Object
    labels: tuple[str, str]
    runs: tuple[Run, Run]
    path: Difference | None
    prefix: str

    @property
    def short(self) -> tuple[str, str]:
        """The labels where there is little room."""
        first, other = (segment.elided(label, LONGEST) for label in self.labels)
        return first, other


@dataclass(frozen=True, eq=False)
class Difference:
    """The outputs of two networks along a path, m of them, at all n edges of the regions of both, in order.

    ``x``: (n,) number of the segment plus t, not decreasing; ``segment``: (n,), ``first``, ``other``: (n, m).
    ``names``: (m,) of the outputs. ``number``: of the path. ``allowed``: (S,), what rounding explains on each
    segment, of the output that differs most; None if it is not told for each.
    """

    number: int
    x: Floats
    segment: NDArray[np.int64]
    first: Floats
    other: Floats
    names: tuple[str, ...]
    allowed: Floats | None = None

    @property
    def segments(self) -> int:
        return int(self.segment.max(initial=0)) + 1

    @cached_property
    def apart(self) -> Floats:
        """(n, m) the differences' sizes."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.abs(self.other - self.first))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(m,) which outputs are finite everywhere, of both and their difference."""
        return np.asarray(np.isfinite(self.apart).all(axis=0) & np.isfinite(self.first).all(axis=0))

    @cached_property
    def winners(self) -> list[int]:
        """Outputs that are the largest somewhere, of one network or the other, those that are it longest first."""
        share = np.zeros(len(self.names))
        for values in (self.first, self.other):
            for number in range(self.segments):
                rows = self.segment == number
                t = self.x[rows] - number
                of = metrics.decisions(t, values[rows]) if rows.sum() > 1 and self.known.all() else ()
                borders = [*(begin for begin, _ in of), float(t[-1]) if len(t) else 0.0]
                for (_, k), width in zip(of, np.diff(borders), strict=True):
                    share[k] += width
        return [k for k in np.argsort(-share, kind="stable").tolist() if share[k] > 0.0]


def read_difference(table: pa.Table, names: Sequence[str] | None = None) -> Difference:
    """A table of differences as a comparison's folder has them: ``segment``, ``t``, ``first`` and ``other`` at the
    edges of both networks' regions along one path, and the metadata ``lronnx.path``, its number, and
    ``lronnx.allowed``, what rounding explains: a number, or a list of one for each segment.

    ``names``: of the outputs, of which there are as many.
    """
    metadata = {key.decode(): text.decode() for key, text in (table.schema.metadata or {}).items()}
    columns = {name: table[name].combine_chunks() for name in table.schema.names}
    count = len(table)
    first, other = (
        np.asarray(columns[name].flatten().to_numpy(), dtype=np.float64).reshape(count, -1)
        for name in ("first", "other")
    )
    number = columns["segment"].to_numpy().astype(np.int64)
    outputs = first.shape[1]
    known = segment.output_names(names if names is not None and len(names) == outputs else None, outputs)
    path = int(json.loads(metadata.get("lronnx.path", "0")))
    told = json.loads(metadata.get("lronnx.allowed", "null"))
    allowed = np.asarray(told, dtype=np.float64) if isinstance(told, list) and told else None
    return Difference(path, number + columns["t"].to_numpy(), number, first, other, known, allowed)


def figures(comparison: Object, runs: Sequence[Run], differences: Mapping[int, pa.Table]) -> list[Figure]:
    """All figures, in full, with a table of their data each. Arguments as of :func:`page_of`.

    Names are unique, and the same for the same comparison; titles say which networks a figure is about.
    """
    named, pairs = _read(comparison, runs, differences)
    found = [figure for pair in pairs if (figure := difference(comparison, pair, columns=_STILL, still=True))]
    found += _overview(comparison)
    found += [figure for pair in pairs for figure in _paired(pair, study.ALL)]
    found += _overlaid(named, study.ALL)
    found += [figure for row in _bends(named) for figure in row]
    return found


def page_of(
    comparison: Object,
    runs: Sequence[Run],
    differences: Mapping[int, pa.Table],
    *,
    title: str | None = None,
    command: str = "",
) -> bytes:
    """The page, UTF-8, of at most :data:`~lronnx.plot.report.MOST_BYTES` unless there is so much to say.

    ``comparison``: the JSON object of a comparison. ``runs``: the run folder of each of its networks, in their order.
    ``differences``: by the number of the other network, see :func:`read_difference`. ``command``: what makes it again.
    """
    from lronnx.plot import page

    named, pairs = _read(comparison, runs, differences)
    content = b""
    for level in _LEVELS:
        built = _Page(comparison, named, pairs, command, level)
        content = page.render(title or built.title(), built.sections(), subtitle=built.subtitle())
        if len(content) <= MOST_BYTES:
            break
    return content


def _read(
    comparison: Object, runs: Sequence[Run], differences: Mapping[int, pa.Table]
) -> tuple[list[Named], list[Pair]]:
    models = comparison["models"]
    named = [
        Named(run, str(model["label"]), f"network-{model['number']}") for run, model in zip(runs, models, strict=True)
    ]
    place = {model["number"]: position for position, model in enumerate(models)}
    pairs = []
    for told in comparison["pairs"]:
        two = named[place[told["first"]]], named[place[told["other"]]]
        table = differences.get(told["other"])
        path = None if table is None or not len(table) else read_difference(table, _names(two[0].run))
        prefix = "" if len(comparison["pairs"]) == 1 else f"{two[1].slug}-"
        pairs.append(Pair(told, (two[0].label, two[1].label), (two[0].run, two[1].run), path, prefix))
    return named, pairs


def _names(run: Run) -> tuple[str, ...] | None:
    """The names of the outputs, if they have any."""
    outputs = int(run.summary["outputs"] or 0)
    return segment.class_labels(run.metadata, outputs)


# --- The path on which two networks differ most ---------------------------------------------------------------


def difference(comparison: Object, pair: Pair, *, columns: int, still: bool = False) -> Figure | None:
    """Outputs of both networks along the path on which they differ most, and how far they are apart there.

    ``columns``: parts of the path in each of which a curve has its lowest and highest point at least. ``still``:
    without what hovering tells, and with a table whatever its length. None if there is no such path.
    """
    path = pair.path
    if path is None or len(path.x) < 2:
        return None
    drawn = _Drawing(comparison, pair, path, columns, still)
    panels = [drawn.outputs(), drawn.apart()]
    first, other = pair.short
    apart = comparison["paths"] > 1 and pair.told["largest_difference"]
    what = "where they differ most:" if apart else "along"
    return Figure(
        name=f"{pair.prefix}difference",
        title=f"{first} and {other} {what} {drawn.where()}",
        panels=panels,
        x=drawn.axis(),
        caption=drawn.caption(),
        table=drawn.table() if still or len(path.x) <= _TABLE_ROWS else {},
        stops=None if still else drawn.stops(),
        aspect=0.72,
    )


class _Drawing:
    """The figure of a difference on its way: which outputs, and on which scale."""

    def __init__(self, comparison: Object, pair: Pair, path: Difference, columns: int, still: bool) -> None:
        self.comparison, self.pair, self.path = comparison, pair, path
        self.columns, self.still = columns, still
        self.told = pair.told
        self.limits = (0.0, float(max(path.segments, math.ceil(path.x[-1]))))
        at = self.told["largest_at"]
        largest = [] if at is None or not self.told["largest_difference"] else [int(at["output"])]
        most = np.argsort(-np.where(path.known, path.apart.max(axis=0), -1.0), kind="stable").tolist()
        chosen = list(dict.fromkeys([*(largest or most[:1]), *path.winners]))
        self.vivid = [k for k in chosen if path.known[k]][:OUTPUTS]
        if len(path.names) <= OUTPUTS:
            self.vivid += [k for k in range(len(path.names)) if path.known[k] and k not in self.vivid]
        self.faint = [k for k in most if path.known[k] and k not in self.vivid][: segment.FAINT]
        self.left = len(path.names) - len(self.vivid) - len(self.faint)
        self.thinned = False
        # Where one segment ends another begins.
        self.kept = np.flatnonzero(np.diff(path.x, prepend=-1.0) > 0.0)
        self.allowed = self._explained()
        self.floor, self.top = self._scale()

    def _explained(self) -> Floats | None:
        """(S,) what rounding explains on each segment; None if that is not known."""
        if self.path.allowed is not None and len(self.path.allowed) == self.path.segments:
            return self.path.allowed
        told = self.told["allowed"]
        return None if told is None else np.full(self.path.segments, float(told))

    def _scale(self) -> tuple[float, float]:
        """The lower and the upper end of the axis of differences; the lower is 0 if it is not logarithmic."""
        shown = self.path.apart[:, [*self.vivid, *self.faint]]
        most = shown.max(axis=1, initial=0.0)
        if not most.any():
            return 0.0, 1.15 * (0.0 if self.allowed is None else float(self.allowed.max())) or 1.0
        typical = float(np.median(most[most > 0.0]))
        # What is much larger than differences, or much smaller, would leave no room for them.
        if self.allowed is not None and not typical / 10.0**FAR <= self.allowed.max() <= typical * 10.0**FAR:
            self.allowed = None
        lines = np.array([typical]) if self.allowed is None else self.allowed
        # Of a segment where it is far less than elsewhere, it is at the axis' end.
        least, line = float(lines[lines >= typical / 10.0**FAR].min()), float(lines.max())
        top, low = max(float(most.max()), line), min(typical, least)
        if top / SPREAD <= low:
            return 0.0, 1.15 * top
        floor = min(max(float(shown[shown > 0.0].min()), typical / 10.0**DECADES), least / 3.0)
        # Room for marks at both ends.
        return floor / 1.3, top * (top / floor) ** 0.06

    # --- Panels

    def outputs(self) -> Panel:
        path = self.path
        first, other = self.pair.short
        back: list[Mark] = []
        front: list[Mark] = []
        both = [values[:, k] for k in self.vivid for values in (path.first, path.other)]
        low = min((float(y.min()) for y in both), default=0.0)
        high = max((float(y.max()) for y in both), default=1.0)
        for rank, k in enumerate(self.vivid):
            color, group = colors.series(rank), f"output-{k}"
            for values, whose, marks in ((path.first, first, back), (path.other, other, front)):
                x, y = self._curve(path.x[self.kept], values[self.kept, k], high / 2 - low / 2)
                wide = marks is back
                hover = (
                    None
                    if self.still
                    else Hover(f"{study.plain(path.names[k])} of {study.plain(whose)}: {{y}}\n{self._place()} {{x}}")
                )
                name = "" if wide else segment.elided(path.names[k])
                width, opacity = (6.0, 0.35) if wide else (1.6, 1.0)
                marks.append(Line(x, y, color, name, width=width, opacity=opacity, group=group, hover=hover))
        parted = self._parted()
        if parted is not None:
            # Of halves: differences of the largest numbers are none.
            room = 0.1 * (high / 2 - low / 2) or 1.0
            front.append(self._border(parted, low - room, high + room))
        return Panel(
            [*back, *front],
            Axis("output"),
            height=1.3,
            verticals=self._borders(),
            # Names, which the figure's title has in this order, have no room on a phone.
            title="Outputs: wide and pale of the first, thin of the other",
        )

    def apart(self) -> Panel:
        path = self.path
        first, other = self.pair.short
        back: list[Mark] = []
        front: list[Mark] = []
        for k in (*self.faint, *self.vivid):
            vivid = k in self.vivid
            color = colors.series(self.vivid.index(k)) if vivid else FAINT
            x, y = self._sizes(path.x[self.kept], (path.other - path.first)[self.kept, k])
            hover = None
            if not self.still:
                columns: dict[str, Column] = {
                    "first": np.interp(x, path.x, path.first[:, k]),
                    "other": np.interp(x, path.x, path.other[:, k]),
                }
                columns["apart"] = np.abs(np.asarray(columns["other"]) - np.asarray(columns["first"]))
                hover = Hover(
                    f"{study.plain(path.names[k])}, difference {{apart}}\n{study.plain(first)} {{first}}\n"
                    f"{study.plain(other)} {{other}}\n{self._place()} {{x}}",
                    columns,
                )
            group = f"output-{k}" if vivid else ""
            width = 1.6 if vivid else 0.8
            (front if vivid else back).append(Line(x, y, color, width=width, group=group, hover=hover))
        if self.allowed is not None:
            edges = np.concatenate([np.arange(path.segments, dtype=np.float64), [self.limits[1]]])
            x, y = np.repeat(edges, 2)[1:-1], np.repeat(np.maximum(self.allowed, self.floor), 2)
            flat = (np.diff(y, prepend=math.nan) == 0.0) & (np.diff(y, append=math.nan) == 0.0)
            front.append(Line(x[~flat], y[~flat], MUTED, "what rounding explains", "dashed", 1.4))
        parted = self._parted()
        if parted is not None:
            front.append(self._border(parted, self.floor, self.top))
        at = self.told["largest_at"]
        if at is not None and self.told["largest_difference"] and at["path"] == path.number:
            hover = Hover(
                f"the largest difference: {{y}}\n{comparison_report.output_text(at)}\n{_place(self.comparison, at)}"
            )
            front.append(
                Points(
                    np.array([at["segment"] + at["t"]]),
                    np.array([float(self.told["largest_difference"])]),
                    INK,
                    "the largest difference",
                    "diamond",
                    9.0,
                    hover=hover,
                )
            )
        return Panel(
            [*back, *front],
            Axis("size of the difference", log=self.floor > 0.0, range=(self.floor or -0.04 * self.top, self.top)),
            verticals=self._borders(),
            title="How far the outputs are apart",
        )

    def _borders(self) -> list[float]:
        """Where a segment ends and the next begins."""
        return [float(one) for one in range(1, self.path.segments)]

    def _parted(self) -> float | None:
        at = self.told["parts_at"]
        return None if at is None or at["path"] != self.path.number else float(at["segment"] + at["t"])

    def _border(self, x: float, low: float, high: float) -> Line:
        return Line(np.full(2, x), np.array([low, high]), BAD, "here they part", "dotted", 2.0, group="parted")

    # --- Curves

    def _curve(self, x: Floats, y: Floats, half: float) -> tuple[Floats, Floats]:
        """The vertices of an output that are drawn. ``half``: of the panel's range."""
        at = thinning.simplify(x, y, half / (2 * self.columns))
        return self._reduced(x[at], y[at])

    def _sizes(self, x: Floats, gap: Floats) -> tuple[Floats, Floats]:
        """The size of a difference that is affine between x, with a vertex wherever it is 0; on a logarithmic axis,
        where straight lines are curves, with vertices that follow these, and nothing below the axis' end."""
        x, gap = _crossed(x, gap, 0.0)
        y = np.abs(gap)
        if not self.floor:
            kept = thinning.simplify(x, y, self.top / (2 * self.columns))
            return self._reduced(x[kept], y[kept])
        x, y = _bent(*_crossed(x, y, self.floor), self.floor, (self.limits[1] - self.limits[0]) / self.columns)
        heights = np.log(np.maximum(y, self.floor))
        kept = thinning.simplify(x, heights, math.log(self.top / self.floor) / (2 * self.columns))
        x, heights = self._reduced(x[kept], heights[kept])
        return x, np.exp(heights)

    def _reduced(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Of more vertices than can be told apart, the lowest and the highest in each column."""
        if len(x) <= 4 * self.columns:
            return x, y
        self.thinned = True
        column = np.minimum((x / self.limits[1] * self.columns).astype(np.int64), self.columns - 1)
        order = np.lexsort((y, column))
        ends = np.flatnonzero(np.diff(column[order], append=-1))
        begins = np.concatenate([[0], ends[:-1] + 1])
        kept = np.union1d(order[np.concatenate([begins, ends])], [0, len(x) - 1])
        return x[kept], y[kept]

    def stops(self) -> tuple[Floats, Hover]:
        """Breakpoints of either network, of very many some, with the largest difference there."""
        at = self.kept[study.spaced(len(self.kept), _STOPS)]
        shown = np.flatnonzero(self.path.known)
        apart = self.path.apart[np.ix_(at, shown)]
        columns: dict[str, Column] = {"most": apart.max(axis=1, initial=0.0)}
        template = f"{self._place()} {{x}}: outputs differ by up to {{most}}"
        if len(shown):
            columns["output"] = shown[apart.argmax(axis=1)]
            template += ", {output}"
        return self.path.x[at], Hover(template, columns, {"output": self.path.names})

    # --- Words

    def where(self) -> str:
        return f"path {self.path.number}" if self.comparison["paths"] > 1 else "the path"

    def _place(self) -> str:
        return "t =" if self.path.segments == 1 else "segment + t ="

    def axis(self) -> Axis:
        count = self.path.segments
        if count == 1:
            return Axis("t, from the start (0) to the end (1)", range=self.limits)
        stride = -(-count // 16)
        ticks = [(float(x), str(x)) for x in range(0, count + 1, stride)]
        return Axis("segment of the path + t", ticks=ticks, range=self.limits)

    def caption(self) -> str:
        path, told = self.path, self.told
        sentences = []
        if self.comparison["paths"] > 1:
            count = f"{self.comparison['paths']:,} paths"
            differ = f"Of {count}, the one on which the networks differ most."
            sentences.append(differ if told["largest_difference"] else f"One of {count}; they differ on none.")
        sentences.append(
            "Between neighbouring breakpoints of either network both are affine, and so is the difference."
        )
        parted = told["parts_at"]
        if parted is not None and self._parted() is None:
            sentences.append(f"They part on another path first: at {_place(self.comparison, parted)}.")
        explained = self._explained()
        if explained is not None and self.allowed is None:
            size = "small" if explained.max() < self.top else "large"
            sentences.append(f"What rounding explains is too {size}, beside the differences, to be shown.")
        at = told["largest_at"]
        if self.allowed is not None and at is not None and len(path.names) > 1:
            sentences.append(f"What rounding explains is drawn for {path.names[at['output']]}, which differs most.")
        if self.floor:
            sentences.append("What is less than the axis shows, 0 too, is at its lower end.")
        if self.faint:
            sentences.append(f"Grey: {len(self.faint)} {study.plural(len(self.faint), 'output')} more.")
        if self.left:
            sentences.append(f"{self.left:,} of {len(path.names):,} outputs are not drawn.")
        if not path.known.all():
            sentences.append("Outputs that are not finite everywhere are left out.")
        if self.thinned:
            sentences.append(
                f"Of curves with very many breakpoints, the lowest and the highest in each of {self.columns} parts of "
                "the way are drawn."
            )
        if not self.still and len(self.kept) > _STOPS:
            sentences.append(f"The keyboard steps through {_STOPS:,} of {len(self.kept):,} places.")
        return " ".join(sentences)

    def table(self) -> dict[str, Column]:
        path = self.path
        found: dict[str, Column] = {"segment": path.segment, "t": path.x - path.segment}
        for k in (*self.vivid, *self.faint)[: segment.TABLE_OUTPUTS]:
            found |= {f"first_{k}": path.first[:, k], f"other_{k}": path.other[:, k]}
            found[f"difference_{k}"] = path.other[:, k] - path.first[:, k]
        return found


def _crossed(x: Floats, y: Floats, level: float) -> tuple[Floats, Floats]:
    """A polyline with a vertex wherever it crosses a level."""
    gap = y - level
    at = np.flatnonzero(np.sign(gap[:-1]) * np.sign(gap[1:]) < 0.0)
    places = x[at] + gap[at] / (gap[at] - gap[at + 1]) * (x[at + 1] - x[at])
    inside = (places > x[at]) & (places < x[at + 1])
    return np.insert(x, at[inside] + 1, places[inside]), np.insert(y, at[inside] + 1, level)


def _bent(x: Floats, y: Floats, floor: float, width: float) -> tuple[Floats, Floats]:
    """More vertices on straight lines that are curves on a logarithmic axis, where they are at least ``width`` wide:
    at equal ratios of 1.25 at most, from ``floor`` on."""
    low, high = np.maximum(y[:-1], floor), np.maximum(y[1:], floor)
    steps = np.ceil(np.abs(np.log(high / low)) / math.log(1.25)).astype(np.int64)
    more = np.where(np.diff(x) >= width, np.maximum(steps - 1, 0), 0)
    if not more.any():
        return x, y
    of = np.repeat(np.arange(len(more)), more)
    number = np.arange(len(of)) - np.repeat(np.cumsum(more) - more, more) + 1
    heights = low[of] * (high[of] / low[of]) ** (number / (more[of] + 1))
    share = np.clip((heights - y[of]) / (y[of + 1] - y[of]), 0.0, 1.0)
    at = x[of] + share * (x[of + 1] - x[of])
    return np.insert(x, of + 1, at), np.insert(y, of + 1, heights)


# --- Measures, path by path -----------------------------------------------------------------------------------


def _overview(comparison: Object) -> list[Figure]:
    """How many times the first network's each measure is, for each of the others; none of a single path."""
    names = [name for name in report.MEASURES if all(name in pair["measures"] for pair in comparison["pairs"])]
    kept = [
        name for name in names if any((pair["measures"][name]["ratio"] or 0.0) > 0.0 for pair in comparison["pairs"])
    ]
    # Those of the same regions would all be 1.
    pairs = [pair for pair in comparison["pairs"] if any(_apart(pair["measures"][name]) for name in kept)]
    pairs = pairs[: colors.SERIES]
    if comparison["paths"] < 2 or not pairs:
        return []
    marks: list[Mark] = []
    table: dict[str, list[Any]] = {"measure": [], "network": [], "ratio": [], "low": [], "high": []}
    ends: list[float] = [1.0]
    each = 0.7 / len(pairs)
    for number, pair in enumerate(pairs):
        other = comparison_report.label(comparison, pair["other"])
        color = colors.series(number)
        rows: list[tuple[str, float, float, float, float]] = []
        for position, name in enumerate(kept):
            told = pair["measures"][name]
            if not (told["ratio"] or 0.0) > 0.0:
                continue
            place = len(kept) - 1 - position + 0.35 - each * (number + 0.5)
            least, most = _ratio_interval(told) or (told["ratio"], told["ratio"])
            rows.append((name, place, told["ratio"], least, most))
        if not rows:
            continue
        at, ratio, low, high = (np.array([row[1 + i] for row in rows]) for i in range(4))
        ends += [*ratio, *low[low > 0.0], *high[high > 0.0]]
        columns: dict[str, Column] = {
            "measure": [report.MEASURES[row[0]] for row in rows],
            "low": low,
            "high": high,
            "ratio": ratio,
        }
        text = f"{study.plain(segment.elided(other, LONGEST))}: {{measure}}\n{{ratio}} times the first's"
        if (high > low).any():
            text += "\n95 % interval {low} to {high}"
            marks.append(Bars(at, high, low, min(0.09, each / 4), color, opacity=0.6, horizontal=True, group=other))
        hover = Hover(text, columns)
        marks.append(Points(ratio, at, color, segment.elided(other, LONGEST), size=9.0, group=other, hover=hover))
        table["measure"] += [row[0] for row in rows]
        table["network"] += [other] * len(rows)
        for key, values in (("ratio", ratio), ("low", low), ("high", high)):
            table[key] += values.tolist()
    least, most = min(ends), max(ends)
    room = max((most / least) ** 0.05, 1.0 + 1e-6)
    shown = (least / room, most * room)
    marks = [
        replace(mark, low=np.maximum(mark.low, shown[0])) if isinstance(mark, Bars) and mark.low is not None else mark
        for mark in marks
    ]
    rows_ = (-0.6, len(kept) - 0.4)
    marks.insert(0, Line(np.ones(2), np.array(rows_), MUTED, width=1.5))
    first = str(comparison["models"][0]["label"])
    alone = comparison_report.label(comparison, pairs[0]["other"])
    whose = f" of {segment.elided(alone, LONGEST)}" if len(pairs) == 1 else ""
    return [
        Figure(
            name="ratios",
            title=f"Measures{whose}, in multiples of those of {segment.elided(first, LONGEST)}",
            panels=[
                Panel(
                    marks,
                    Axis(
                        ticks=[(float(len(kept) - 1 - i), report.MEASURES[name]) for i, name in enumerate(kept)],
                        range=rows_,
                    ),
                    legend=len(pairs) > 1,
                )
            ],
            x=Axis("ratio of the means over the paths", log=True, range=shown),
            caption=" ".join([f"1, the line: as much as {first}.", *_ratio_notes(comparison, pairs, names)]),
            table={key: column if key in ("measure", "network") else np.array(column) for key, column in table.items()},
            # Of two networks it is one of several figures side by side.
            aspect=(0.25 + 0.065 * len(kept))
            if len(comparison["pairs"]) == 1
            else 0.16 + len(kept) * (0.014 + 0.01 * min(len(pairs), 4)),
        )
    ]


def _ratio_interval(told: Object) -> tuple[float, float] | None:
    """The interval of a ratio; None where there is none, or where it is of too few paths to be told."""
    ends = told["ratio_interval"]
    return (float(ends[0]), float(ends[1])) if ends is not None and told["count"] >= report.FEW else None


def _ratio_notes(comparison: Object, pairs: Sequence[Object], names: Sequence[str]) -> list[str]:
    """What the bars of the figure of ratios are, and what a logarithmic axis cannot show, by name."""
    hidden: list[str] = []
    cut: list[str] = []
    bare: list[str] = []
    bars = False
    for pair in pairs:
        whose = "" if len(pairs) == 1 else f" of {comparison_report.label(comparison, pair['other'])}"
        for name in names:
            told, measure = pair["measures"][name], f"{report.MEASURES[name]}{whose}"
            ratio, ends = told["ratio"], _ratio_interval(told)
            if ratio is None:
                why = "the first's is 0" if told["count"] else "no path has it in both"
                hidden.append(f"{measure} ({why})")
            elif ratio <= 0.0:
                hidden.append(f"{measure} (ratio {report.short(ratio)})")
            elif ends is None:
                bare += [measure] if told["count"] >= report.FEW else []
            else:
                bars = True
                cut += [f"{measure} (from {report.short(ends[0])})"] if ends[0] <= 0.0 else []
    notes = []
    if bars:
        notes.append("Bars: the 95 % interval of the ratio (bootstrap of the paths, the same ones for both networks).")
    for lead, listed in (
        ("Bars that reach 0 or below leave the logarithmic axis", cut),
        ("Without a bar, since the first's mean may well be 0", bare),
        ("Not on a logarithmic axis, so not drawn", hidden),
    ):
        if listed:
            notes.append(f"{lead}: {compare.listed(listed, MOST_NAMED)}.")
    return notes


def _apart(told: Object) -> bool:
    """Whether a measure is another on any path, of some paths on which both networks have it."""
    return told.get("count", 0) > 1 and not (told["difference"] == 0.0 and told["standardized"] is None)


def _paired(pair: Pair, detail: Detail) -> list[Figure]:
    """For each measure, a point per path: of the first network along x, of the other along y, and the difference."""
    measures = [one for one in MEASURES if _apart(pair.told["measures"].get(one.exact, {}))]
    found = [paired(pair, measure, detail) for measure in measures]
    return [figure for figure in found if figure is not None]


def paired(pair: Pair, measure: Measure, detail: Detail = study.ALL) -> Figure | None:
    """A measure of both networks, path by path, and their difference; None of fewer than two paths that have it."""
    one, two = pair.runs
    column = measure.exact
    shared, mine, its = np.intersect1d(one.paths["path"], two.paths["path"], return_indices=True)
    x, y = one.paths[column][mine].astype(np.float64), two.paths[column][its].astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    shared, mine, x, y = shared[finite], mine[finite], x[finite], y[finite]
    if len(x) < 2:
        return None
    first, other = pair.short
    gap = y - x
    pooled = np.concatenate([x, y])
    log = study.is_log(pooled) and measure.key != "local-similarity"
    low, high = _room(x, log)
    both = _room(pooled, log)
    shown = study.spaced(len(x), detail.paths)
    order = np.argsort(gap, kind="stable")[shown]
    columns: dict[str, Column] = {
        "path": shared[order],
        "sample": [study.sample_text(one, at) for at in mine[order].tolist()],
        "first": x[order],
        "other": y[order],
        "gap": gap[order],
    }
    sample = "{sample}\n" if any(columns["sample"]) else ""
    hover = Hover(
        f"path {{path}}\n{sample}{study.plain(first)} {{first}}\n{study.plain(other)} {{other}}\ndifference {{gap}}",
        columns,
    )
    size = 6.0 if len(order) <= 150 else 4.0
    opacity = 0.9 if len(order) <= 150 else 0.6
    color = colors.series(0)
    diagonal = np.array([low, high])
    upper: list[Mark] = [
        Line(diagonal, diagonal, MUTED, dash="dashed", width=1.2),
        Points(x[order], y[order], color, size=size, opacity=opacity, hover=hover),
    ]
    told = pair.told["measures"][column]
    lower: list[Mark] = [Line(diagonal, np.zeros(2), MUTED, dash="dashed", width=1.2)]
    interval = report.interval(told)
    if interval is not None:
        lower.append(Area(diagonal, np.full(2, interval[0]), np.full(2, interval[1]), colors.series(1), 0.22))
    mean = report.short(told["difference"])
    lower += [
        Line(diagonal, np.full(2, told["difference"]), colors.series(1), f"mean {mean}", width=1.8),
        Points(x[order], gap[order], color, size=size, opacity=opacity, hover=hover),
    ]
    left = len(x) - len(order)
    caption = [
        f"{study.sentence(measure.meaning)}. A point is a path"
        + (f"; {left:,} in between have none." if left else "."),
        f"Above the dashed line {other} has more, below it {first}.",
        f"Mean difference {mean}"
        + (f", 95 % interval {report.interval_text(interval)} (shaded)" if interval else "")
        + (f"; {100 * told['larger']:.4g} % of the paths are above." if told["larger"] is not None else "."),
        study.missing_told(measure, int((~finite).sum())),
    ]
    return Figure(
        name=f"{pair.prefix}paired-{measure.key}",
        title=f"{study.sentence(measure.title)}, path by path",
        panels=[
            Panel(upper, Axis(f"{measure.title} of {other}", log=log, range=both), height=1.7, legend=False),
            Panel(lower, Axis("difference"), title=f"{other} minus {first}"),
        ],
        x=Axis(f"{measure.label(False)} of {first}", log=log, range=(low, high)),
        caption=" ".join(filter(None, caption)),
        table={"path": shared, "first": x, "other": y, "difference": gap},
        aspect=1.05,
    )


def _room(values: Floats, log: bool) -> tuple[float, float]:
    """What values take up, with room for symbols."""
    shown = np.log(values) if log else values
    low, high = float(shown.min()), float(shown.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    ends = low - room, high + room
    return (math.exp(ends[0]), math.exp(ends[1])) if log else ends


def _beside(named: Sequence[Named]) -> Comparison:
    return Comparison(tuple(named), None, np.arange(len(named), dtype=np.float64), ())


def _overlaid(named: Sequence[Named], detail: Detail) -> list[Figure]:
    """The distributions of the measures over the paths, those of all networks above each other."""
    if min(one.run.done for one in named) < report.FEW:
        return []
    shown = _beside(named[: compare.MOST_SIDE_BY_SIDE])
    drawn = [compare.overlaid(shown, measure, detail=detail) for measure in MEASURES]
    return [
        replace(figure, title=figure.title.replace("run by run", "network by network")) for figure in drawn if figure
    ]


def _bends(named: Sequence[Named]) -> Iterator[list[Figure]]:
    """Where the networks bend: rows of figures of one kind, one for each network, on the same axes."""
    along: list[Figure] = []
    shares: list[Figure] = []
    units: list[Figure] = []
    for one in named[: compare.MOST_SIDE_BY_SIDE]:
        layers = Layers.of(one.run)
        prefix = f"{one.slug}-"
        # What was not walked would look like what does not switch.
        place = None if compare.walked(one.run) == "partial" else study.along(one.run, layers, name=prefix)
        along += [place] if place is not None else []
        for figure, row in zip(study.by_layer(one.run, layers, name=prefix), (shares, units), strict=False):
            row.append(figure)
        for row in (along, shares, units):
            if row and row[-1].name.startswith(prefix) and not row[-1].title.startswith(one.label):
                row[-1] = replace(row[-1], title=f"{one.label}: {row[-1].title[:1].lower()}{row[-1].title[1:]}")
    for row in (along, shares, units):
        if row:
            yield _alike(row)


def _alike(row: Sequence[Figure]) -> list[Figure]:
    """Figures with the same axis of numbers."""
    if all(panel.y.range is not None and panel.y.ticks is None for figure in row for panel in figure.panels):
        most = max(panel.y.range[1] for figure in row for panel in figure.panels if panel.y.range)
        return [
            replace(figure, panels=[replace(panel, y=replace(panel.y, range=(0.0, most))) for panel in figure.panels])
            for figure in row
        ]
    ends = [
        np.max(mark.high) for figure in row for panel in figure.panels for mark in panel.marks if isinstance(mark, Bars)
    ]
    return [replace(figure, x=replace(figure.x, range=(0.0, 1.05 * float(max(ends))))) for figure in row]


# --- The page -------------------------------------------------------------------------------------------------


class _Page:
    """The sections of a page, at a level of detail."""

    def __init__(
        self, comparison: Object, named: Sequence[Named], pairs: Sequence[Pair], command: str, level: _Level
    ) -> None:
        from lronnx.plot import page

        self._page = page
        self._comparison = comparison
        self._named, self._pairs = named, pairs
        self._command = command
        self._columns = max(level.columns // max(min(len(pairs), MOST_PAIRS), 1), 50)
        self._detail = Detail(max(level.paths // max(min(len(pairs), MOST_PAIRS), 1), 10))

    def title(self) -> str:
        labels = [one.label for one in self._named]
        if len(labels) > 2:
            return f"{len(labels)} networks along the same paths"
        return f"{' and '.join(labels)}: {self._pairs[0].told['verdict']}"

    def subtitle(self) -> str:
        """The answer, if there is one; otherwise what was compared."""
        if len(self._pairs) == 1:
            return self._answer(self._pairs[0])
        return f"{self._what()}; all are compared with {self._named[0].label}"

    def _what(self) -> str:
        """What was walked: how many paths and segments."""
        paths, segments = self._comparison["paths"], self._comparison["segments"]
        told = f"{paths:,} {study.plural(paths, 'path')}, {segments:,} {study.plural(segments, 'segment')}"
        return told if paths == 1 else f"{told} in all"

    def sections(self) -> list[page.Section]:
        found = []
        if len(self._pairs) > 1:
            rows = [(pair.labels[1], str(pair.told["verdict"]), self._answer(pair)) for pair in self._pairs]
            table = self._page.DataTable(("network", "verdict", "in words"), rows)
            found.append(self._page.Section("The same function?", [*self._warnings(), table]))
            found.append(self._page.Section("The networks", self._networks()))
        else:
            found.append(self._page.Section("The networks", [*self._warnings(), *self._networks()]))
        for title, blocks in (
            ("The evidence", self._evidence()),
            ("Measures, path by path", self._measures()),
            ("Where the networks bend", [self._page.Figures(row, _columns(len(row))) for row in _bends(self._named)]),
            ("Repeat it", self._again()),
        ):
            if blocks:
                found.append(self._page.Section(title, blocks))
        return found

    def _answer(self, pair: Pair) -> str:
        """The verdict in words, with the evidence that comes first."""
        name, figure, meaning = comparison_report.evidence_rows(self._comparison, pair.told)[0]
        told = comparison_report.verdict_text(self._comparison, pair.told)
        at = pair.told["largest_at"]
        where = "" if at is None else f", at {_place(self._comparison, at)}"
        return f"{told} {study.sentence(name)}: {figure}; {meaning}{where}."

    def _warnings(self) -> Iterator[page.Block]:
        """What has to be known first."""
        for one in self._named:
            told = report.study_warnings(one.run.summary)
            if not one.run.summary["totals"]["self_check"]["ok"]:
                told[-1] = f"SELF-CHECK FAILED: do not rely on these figures. {told[-1]}"
            for text in told:
                yield self._page.Prose(f"{one.label}: {text}", "warning")

    # ---- the networks

    def _networks(self) -> list[page.Block]:
        columns: dict[str, list[str]] = {}
        for model, one in zip(self._comparison["models"], self._named, strict=True):
            layers = Layers.of(one.run)
            check = model["self_check"]
            shape = report.shape_text(model["input_shape"])
            outputs = int(model["outputs"])
            cells = {
                "network": one.label,
                "file": str(model["name"]),
                "made by": str(model.get("producer") or ""),
                "SHA-256": str(model["sha256"])[:12],
                "input": f"{model['input']} ({shape})",
                "output": f"{model['output']} ({outputs:,} {study.plural(outputs, 'number')})",
                "cut off at the output": ", ".join(map(str, model["cut"])),
                "as matched": "\n".join(map(str, model["matched"])),
                "units": _count(model["units"]),
                "switching layers": str(len(layers)) if layers.ordered else "",
                "regions": _count(model["regions"]),
                "self-check": "ok" if check["ok"] else "FAILED",
                "notices": "\n".join(map(str, model["notices"])),
            }
            for column, cell in cells.items():
                columns.setdefault(column, []).append(cell)
        if columns["file"] == columns["network"]:
            del columns["file"]
        columns = {column: cells for column, cells in columns.items() if any(cells)}
        caption = (
            f"{self._what()}, of length {report.number(self._comparison['length'])} in the input of the first network; "
            f"{self._comparison['precision']} precision."
        )
        if len(self._named) > MOST_BESIDE:
            rows = list(zip(*columns.values(), strict=True))
            return [self._page.DataTable(tuple(columns), rows, caption)]
        labels = columns.pop("network")
        rows = [(column, *cells) for column, cells in columns.items()]
        # Which of two is which has to be seen on a phone, too, where tables of few columns are set as blocks.
        groups = (("", 1), ("first", 1), ("other", 1)) if len(labels) == 2 else ()
        return [self._page.DataTable(("", *labels), rows, caption, groups, sorts=False)]

    # ---- each beside the first

    def _evidence(self) -> list[page.Block]:
        found: list[page.Block] = []
        for position, pair in enumerate(self._pairs):
            blocks = self._pair(pair, drawn=position < MOST_PAIRS)
            if len(self._pairs) == 1:
                found += blocks
            else:
                summary = f"{pair.labels[1]}: {pair.told['verdict']}"
                found.append(self._page.Disclosure(summary, blocks, open=position < 2))
        return found

    def _pair(self, pair: Pair, *, drawn: bool) -> list[page.Block]:
        evidence = comparison_report.evidence_rows(self._comparison, pair.told, _count)
        rows = [(name.strip(), *told) for name, *told in evidence]
        blocks: list[page.Block] = [self._page.DataTable(("figure", "value", "meaning"), rows, sorts=False)]
        figure = difference(self._comparison, pair, columns=self._columns) if drawn else None
        if figure is not None:
            blocks.append(self._page.Figures([figure]))
        nodes = self._nodes(pair)
        if nodes:
            columns: Sequence[str] = (
                "node",
                "corresponds to",
                "switches that match",
                *(f"only in {label}" for label in pair.short),
            )
            caption = (
                f"Which layer of {pair.labels[1]} has the switches that stand for those of a layer of "
                f"{pair.labels[0]}, and where other switches come from"
            )
            if not any(pair.told["unmatched_by_node"]):
                columns, nodes = columns[:3], [row[:3] for row in nodes]
            table = self._page.DataTable(columns, nodes, caption)
            long = len(nodes) > MOST_NODE_ROWS
            blocks.append(self._page.Disclosure(f"Layer by layer: {len(nodes)} rows", [table]) if long else table)
        return blocks

    def _nodes(self, pair: Pair) -> list[tuple[str, ...]]:
        """A row for each node of the first network that switches, in its order, then for others of the other one."""
        found = {node: (its, matched) for node, its, matched in comparison_report.node_pairs(pair.told)}
        mine, its = (
            {node: alone[node] for node in dict.fromkeys([*Layers.of(run).labels, *alone]) if node in alone}
            for run, alone in zip(pair.runs, pair.told["unmatched_by_node"], strict=True)
        )
        rows: list[tuple[str, ...]] = []
        for node in dict.fromkeys([*Layers.of(pair.runs[0]).labels, *found, *mine]):
            if node in found or node in mine:
                other, matched = found.get(node, ("-", 0))
                rows.append((node, other, *map(_count, (matched, mine.get(node, 0), its.pop(other, 0)))))
        return rows + [("-", node, "0", "0", _count(number)) for node, number in its.items()]

    # ---- measures

    def _measures(self) -> list[page.Block]:
        """Tables of all networks, and figures of those whose differences are their own."""
        means = comparison_report.mean_rows(self._comparison)
        if not means:
            return []
        apart = [pair for pair in self._pairs if comparison_report.shows_differences(pair.told)]
        told = "mean" if self._comparison["paths"] > 1 else "value"
        labels = [one.label for one in self._named]
        blocks: list[page.Block] = []
        if len(self._pairs) == 1 and apart:
            # All in one table.
            differences = {row[0]: row[1:] for row in comparison_report.paired_rows(apart[0].told)}
            names = comparison_report.PAIRED_COLUMNS[1:]
            rows = [(*row, *differences.get(row[0], ("-",) * len(names))) for row in means]
            groups = [("", 1), (f"{told} of a path", 2), (f"{labels[1]} minus {labels[0]}", len(names))]
            blocks.append(self._table(("measure", *labels, *names), rows, groups))
            blocks += self._notes(apart[0])
        elif len(labels) <= MOST_COLUMNS:
            blocks.append(self._table(("measure of a path", *labels), means))
        else:
            columns = ("network", *(row[0] for row in means))
            blocks.append(
                self._table(
                    columns,
                    [(label, *cells) for label, *cells in zip(labels, *(row[1:] for row in means), strict=True)],
                )
            )
        same = [pair.labels[1] for pair in self._pairs if pair not in apart]
        if same:
            whose = "" if len(self._pairs) == 1 else f": {compare.listed(same)}"
            text = f"Where regions are the same, so are the measures, up to rounding{whose}."
            blocks.append(self._page.Prose(text))
        overview = _overview(self._comparison) if apart else []
        if overview and len(self._pairs) > 1:
            blocks.append(self._page.Figures(overview))
        for position, pair in enumerate(apart):
            drawn = _paired(pair, self._detail) if position < MOST_PAIRS else []
            figures: list[page.Block] = [self._page.Figures(drawn, 2)] if drawn else []
            if len(self._pairs) == 1:
                beside = [*overview, *drawn]
                blocks += [self._page.Figures(beside, 2)] if beside else []
                continue
            rows = comparison_report.paired_rows(pair.told)
            table = self._table(comparison_report.PAIRED_COLUMNS, rows)
            summary = f"{pair.labels[1]} and {pair.labels[0]}, path by path"
            blocks.append(self._page.Disclosure(summary, [table, *self._notes(pair), *figures], open=not position))
        overlaid = _overlaid(self._named, self._detail) if apart else []
        if overlaid:
            figures = [self._page.Figures(overlaid, 2)]
            blocks.append(self._page.Disclosure("Distributions over the paths", figures, open=True))
        if len(self._pairs) > MOST_PAIRS or len(self._named) > compare.MOST_SIDE_BY_SIDE:
            blocks.append(
                self._page.Prose("Of so many networks, figures show the first ones only; tables tell of all.")
            )
        return blocks

    def _table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[tuple[str, int]] = ()
    ) -> page.Block:
        """A table without the columns in which nothing is told."""
        kept = [position for position in range(len(columns)) if any(row[position] != "-" for row in rows)]
        spans = np.repeat(np.arange(len(groups)), [count for _, count in groups])
        counts = [(name, sum(int(spans[at] == number) for at in kept)) for number, (name, _) in enumerate(groups)]
        return self._page.DataTable(
            [columns[at] for at in kept],
            [[row[at] for at in kept] for row in rows],
            groups=[(name, count) for name, count in counts if count],
        )

    def _notes(self, pair: Pair) -> list[page.Block]:
        return [self._page.Prose(note) for note in comparison_report.paired_notes(pair.told)]

    # ---- how to make it again

    def _again(self) -> list[page.Block]:
        known = [row for row in about_data(self._named[0].run) if row[1] != "unknown"]
        rows = [*known, *((name, str(self._comparison[name])) for name in ("seed", "precision"))]
        blocks: list[page.Block] = [self._page.Facts(rows)]
        if self._command:
            blocks.append(self._page.Code(self._command))
        text = f"Made by lronnx {__version__}. It needs no network: all of it is in this file."
        if self._named[0].run.done:
            text += " In the comparison's folder, models/ has a run folder of each network, which lronnx report shows."
        return [*blocks, self._page.Prose(text)]


def _count(number: int) -> str:
    return f"{number:,}"


def _columns(count: int) -> Literal[2, 3]:
    """How many figures of a row of so many are side by side, so that few places stay empty."""
    return 3 if count % 2 and count > 1 else 2


def _place(comparison: Object, at: Object) -> str:
    """Where on the paths something is."""
    place = comparison_report.place_text(comparison, at)
    return f"t = {report.number(at['t'])}" + (f" of {place}" if place else "")
