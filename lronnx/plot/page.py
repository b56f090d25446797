"""One self-contained HTML page of texts, tables and interactive figures, which opens from disk with the network off.

A page is a list of :class:`Section`, each a list of blocks. All texts are plain text, of whatever characters; they are
shown as they are and never run. The page holds the whole of plotly.js, so no request leaves it, and its Content
Security Policy forbids any: only its own scripts may run, and pictures may only be part of it.

Figures travel as JSON with their arrays as base64 and are drawn by ``assets/figure.js`` when they come into view.
Numbers lose nothing that is shown: positions along x keep all their bits; of what hovering tells, the six significant
digits that are written. A page without figures is without plotly.js, too.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from plotly.offline import get_plotlyjs

from lronnx.plot import colors
from lronnx.plot.figures import (
    Area,
    Axis,
    Bars,
    Boxes,
    Column,
    Figure,
    Floats,
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


@dataclass(frozen=True)
class Prose:
    """Text; an empty line separates paragraphs. A ``"warning"`` stands out."""

    text: str
    tone: Literal["plain", "warning"] = "plain"


@dataclass(frozen=True)
class Facts:
    """Terms with what is said about each: ``rows`` of (term, description)."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class DataTable:
    """A table, which readers may sort by any column if it ``sorts``: where the rows' order does not matter.

    ``groups``: headings over neighbouring columns, each with the number of columns that it spans, in order; together
    they span all columns. An empty heading groups nothing. Columns of numbers are aligned to the right. ``file``: the
    name, without suffix, under which readers may save the table as CSV; they cannot if it is empty.

    Raises ValueError if a row or the groups do not fit the columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    file: str = ""
    sorts: bool = True

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row}")
        if self.groups and sum(count for _, count in self.groups) != len(self.columns):
            raise ValueError(f"the groups {self.groups} do not span {len(self.columns)} columns")


@dataclass(frozen=True)
class Key:
    """What colours mean: each entry is a text and the colours of its patch, whose border is ``outline``, or dashed."""

    @dataclass(frozen=True)
    class Entry:
        """One text and its patch of colours."""

        text: str
        fills: Sequence[colors.Color]
        outline: colors.Color
        dashed: bool = False

    entries: Sequence[Entry]


@dataclass(frozen=True)
class Code:
    """Text as it is, to be copied."""

    text: str


@dataclass(frozen=True)
class Figures:
    """Figures under each other or, with more ``columns`` and room for them, side by side."""

    figures: Sequence[Figure]
    columns: Literal[1, 2, 3] = 1


@dataclass(frozen=True)
class Disclosure:
    """Blocks that are shown when the reader opens them. Figures inside are drawn only while it is open."""

    summary: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page. ``anchor``: its address in the page; made of the title if empty."""

    title: str
    blocks: Sequence[Block]
    anchor: str = ""


Block = Prose | Facts | DataTable | Key | Code | Figures | Disclosure

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0072b2"/>'
    '<path d="M5 23 12 11l6 7 9-11" fill="none" stroke="#fff" stroke-width="3.2" stroke-linejoin="round" '
    'stroke-linecap="round"/></svg>'
)

_NUMBER = r"[+\-\u2212]?(?:\d[\d,\u2009\u202f ]*)?\.?\d+(?:[eE][+\-\u2212]?\d+)?"
_NUMERIC = re.compile(
    rf"[<>\u2264\u2265~\u2248]?\s*{_NUMBER}(?:\s*(?:\u00b1|to|\u2013|/|\.\.)\s*{_NUMBER})*\s?(?:%|[a-zA-Z\u00b5]{{1,2}})?"
)
_SHORT = 24
"""Characters of a table's cell that is not broken."""
_FEW_COLUMNS = 4
_MANY_COLUMNS = 8
# What can be computed from an axis' ends, such as their difference and its inverse, is a number, too.
_LARGEST = 1e305
_SMALLEST = 1e-290
_NOTHING = {"", "-", "\u2013", "\u2014"}


def render(title: str, sections: Sequence[Section], *, subtitle: str = "") -> bytes:
    """The page, UTF-8. The same arguments give the same bytes.

    Raises ValueError if two figures have one name, a name is not one, or a number that is to be drawn is not finite.
    """
    return _Page(title, sections, subtitle).html().encode("utf-8", "replace")


def size(figure: Figure) -> int:
    """How many bytes a figure adds to a page, its caption aside.

    Raises ValueError if a number that is to be drawn is not finite.
    """
    return len(_encoded(figure))


def _encoded(figure: Figure) -> str:
    """The figure as JSON that may stand inside of HTML."""
    payload = json.dumps(_Payload(figure).payload(), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        payload = payload.replace(character, f"\\u{ord(character):04x}")
    return payload


class _Page:
    """One page while it is written: its anchors and the names of its figures are unique."""

    def __init__(self, title: str, sections: Sequence[Section], subtitle: str) -> None:
        self._title = title
        self._subtitle = subtitle
        self._sections = sections
        self._anchors: set[str] = {"top", "theme"}
        self._figures: set[str] = set()

    def html(self) -> str:
        style = _unindented(_asset("page.css").replace("/*VARIABLES*/", _variables()))
        anchors = [self._anchor(section.anchor or section.title) for section in self._sections]
        body = [self._section(section, anchor) for section, anchor in zip(self._sections, anchors, strict=True)]
        parts = ("base", "texts", "marks", "figure", "page") if self._figures else ("base", "page")
        program = "".join(_unindented(_asset(f"{part}.js")) for part in parts)
        scripts = [f'"use strict";(()=>{{\n{program}}})();']
        if self._figures:
            scripts.insert(0, get_plotlyjs().replace("\r\n", "\n"))
        policy = (
            f"default-src 'none'; script-src {' '.join(map(_source, scripts))}; style-src 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )
        icon = base64.b64encode(_ICON.encode()).decode()
        return "".join(
            (
                '<!doctype html>\n<html lang="en" id="top">\n<head>\n<meta charset="utf-8">\n',
                f'<meta http-equiv="Content-Security-Policy" content="{_text(policy)}">\n',
                '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
                '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
                f"<title>{_text(self._title)}</title>\n",
                f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">\n',
                f"<style>\n{style}</style>\n</head>\n<body>\n",
                self._header(anchors),
                "<main>\n",
                '<noscript><p class="prose warning">Figures are drawn by scripts, which are off.</p></noscript>\n',
                *body,
                "</main>\n",
                *(f"<script>{script}</script>\n" for script in scripts),
                "</body>\n</html>\n",
            )
        )

    def _header(self, anchors: Sequence[str]) -> str:
        links = "".join(
            f'<li><a href="#{anchor}">{_text(section.title)}</a></li>'
            for section, anchor in zip(self._sections, anchors, strict=True)
            if section.title
        )
        contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if links.count("<li>") > 1 else "<span></span>"
        subtitle = f'<p class="subtitle">{_text(self._subtitle)}</p>' if self._subtitle else ""
        return (
            f'<div class="bar"><div class="bar-inner">{contents}'
            '<button type="button" id="theme" class="quiet" hidden></button></div></div>\n'
            f'<header class="head"><h1>{_text(self._title)}</h1>{subtitle}</header>\n'
        )

    def _section(self, section: Section, anchor: str) -> str:
        title = f"<h2>{_text(section.title)}</h2>\n" if section.title else ""
        label = f' aria-label="{_text(section.title)}"' if section.title else ""
        return f'<section id="{anchor}"{label}>\n{title}{self._blocks(section.blocks)}</section>\n'

    def _anchor(self, wanted: str) -> str:
        plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "section"
        anchor, count = slug, 1
        while anchor in self._anchors:
            count += 1
            anchor = f"{slug}-{count}"
        self._anchors.add(anchor)
        return anchor

    def _blocks(self, blocks: Sequence[Block]) -> str:
        return "".join(self._block(block) for block in blocks)

    def _block(self, block: Block) -> str:
        match block:
            case Prose():
                paragraphs = [part for part in re.split(r"\n[ \t]*\n", block.text.strip("\n")) if part.strip()]
                inner = "".join(f"<p>{_text(part)}</p>" for part in paragraphs)
                role = ' role="note"' if block.tone == "warning" else ""
                return f'<div class="prose {block.tone}"{role}>{inner}</div>\n' if inner else ""
            case Facts():
                rows = "".join(f"<div><dt>{_text(a)}</dt><dd>{_text(b)}</dd></div>" for a, b in block.rows)
                return f'<dl class="facts">{rows}</dl>\n' if rows else ""
            case DataTable():
                return _table(block)
            case Key():
                entries = "".join(_entry(entry) for entry in block.entries)
                return f'<ul class="key" aria-label="Key">{entries}</ul>\n' if entries else ""
            case Code():
                return (
                    '<div class="code"><button type="button" class="copy quiet" hidden>Copy</button>'
                    f'<pre tabindex="0"><code>{_text(block.text)}</code></pre></div>\n'
                )
            case Figures():
                inner = "".join(self._figure(figure) for figure in block.figures)
                return f'<div class="figures columns-{block.columns}">\n{inner}</div>\n' if inner else ""
            case Disclosure():
                state = " open" if block.open else ""
                return (
                    f'<details class="disclosure"{state}><summary>{_text(block.summary)}</summary>\n'
                    f'<div class="disclosed">{self._blocks(block.blocks)}</div></details>\n'
                )

    def _figure(self, figure: Figure) -> str:
        name = figure.name
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"a figure is named {name!r}: a name has letters, digits, '-' and '_' only")
        if name in self._figures:
            raise ValueError(f"two figures of a page are named {name}")
        self._figures.add(name)
        payload = _encoded(figure)
        title = f'<h3 class="figure-title">{_text(figure.title)}</h3>\n' if figure.title else ""
        caption = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
        label = _text(figure.title or figure.caption or name)
        return (
            f'<figure class="figure" id="figure-{name}" aria-label="{label}">\n'
            f'{title}<div class="stage" style="--aspect:{float(figure.aspect):.4f}"></div>\n{caption}\n'
            f'<script type="application/json" class="payload">{payload}</script></figure>\n'
        )


def _text(text: str) -> str:
    """Text as HTML, also for attributes; control characters become visible."""
    return escape("".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in text))


def _asset(name: str) -> str:
    return (files("lronnx.plot") / "assets" / name).read_text(encoding="utf-8")


def _unindented(code: str) -> str:
    """A script or style without the white space that lines begin with; none of ours has texts of several lines."""
    return re.sub(r"(?m)^\s+", "", code)


def _source(script: str) -> str:
    """What a Content Security Policy calls this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _variables() -> str:
    """The colours as CSS variables ``--name-light`` and ``--name-dark``."""
    named = {
        "ink": colors.INK,
        "muted": colors.MUTED,
        "faint": colors.FAINT,
        "background": colors.BACKGROUND,
        "surface": colors.SURFACE,
        "bad": colors.BAD,
        "good": colors.GOOD,
        "accent": colors.series(0),
    }
    return "".join(f"--{n}-light:{c.light};--{n}-dark:{c.dark};" for n, c in named.items())


def _entry(entry: Key.Entry) -> str:
    """An entry of a key."""

    def toned(color: colors.Color) -> str:
        return f"--on-light:{color.light};--on-dark:{color.dark}"

    fills = "".join(f'<i style="{toned(color)}"></i>' for color in entry.fills)
    dashed = " dashed" if entry.dashed else ""
    patch = f'<span class="patch{dashed}" style="{toned(entry.outline)}" aria-hidden="true">{fills}</span>'
    return f"<li>{patch}{_text(entry.text)}</li>"


def _table(table: DataTable) -> str:
    kinds = [_kind([row[i] for row in table.rows]) for i in range(len(table.columns))]
    groups = ""
    if table.groups:
        cells = "".join(
            f'<th colspan="{count}" scope="colgroup" class="{"group" if name else "none"}">{_text(name)}</th>'
            for name, count in table.groups
        )
        groups = f"<tr>{cells}</tr>"
    head = "".join(
        f'<th scope="col"{kind}>{_heading(name, table.sorts)}</th>'
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    looks = _looks(table, kinds)
    labels = [f' data-label="{_text(name)}"' if "named" in looks else "" for name in table.columns]
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}{at}>{_text(cell)}</td>" for cell, kind, at in zip(row, kinds, labels, strict=True))
        + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{_text(table.caption)}</caption>" if table.caption else ""
    save = f'<button type="button" class="save quiet" data-file="{_text(table.file)}" hidden>Save CSV</button>\n'
    save = save if table.file else ""
    label = _text(table.caption or "Table")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="table{looks}">{caption}'
        f"<thead>{groups}<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n{save}"
    )


def _heading(name: str, sorts: bool) -> str:
    """The name of a column, which readers may press to sort by it."""
    if not name:
        return ""
    return (
        f'<button type="button" class="sort">{_text(name)}</button>'
        if sorts
        else f'<span class="name">{_text(name)}</span>'
    )


def _looks(table: DataTable, kinds: Sequence[str]) -> str:
    """Further classes of a table: one of many columns is set tighter; one of few columns, with sentences among them, is
    set as blocks under each other where there is no room for them side by side."""
    if len(table.columns) >= _MANY_COLUMNS:
        return " many"
    if len(table.columns) > _FEW_COLUMNS or table.groups or "" not in kinds[1:]:
        return ""
    # A term, its value and its meaning need no names; more than that does.
    return " stacks" if len(table.columns) <= 3 else " stacks named"


def _kind(cells: Sequence[str]) -> str:
    """How the cells of a column are set, as an attribute: numbers, texts that are so short that they are not broken,
    or others."""
    if _numeric(cells):
        return ' class="number"'
    return ' class="short"' if max(map(len, cells), default=0) <= _SHORT else ""


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column has numbers, possibly with errors or units, and nothing else."""
    told = [cell.strip() for cell in cells if cell.strip() not in _NOTHING]
    return bool(told) and all(_NUMERIC.fullmatch(cell) for cell in told)


class _Payload:
    """A figure as JSON; equal arrays are held once."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._arrays: list[list[str]] = []
        self._known: dict[tuple[str, bytes], int] = {}

    def payload(self) -> dict[str, Any]:
        figure = self._figure
        marks = [mark for panel in figure.panels for mark in (*panel.marks, *panel.right)]
        verticals = [float(x) for panel in figure.panels for x in panel.verticals]
        return {
            "name": figure.name,
            "title": figure.title,
            "caption": figure.caption,
            "aspect": float(figure.aspect),
            "width": None if figure.width is None else float(figure.width),
            "x": _axis(figure.x, _extent(marks, "x", verticals)),
            "panels": [self._panel(panel) for panel in figure.panels],
            "pictures": [_picture(picture) for picture in figure.pictures],
            "stops": self._stops(),
            "table": [{"name": name, **self._column(column)} for name, column in figure.table.items()],
            "arrays": self._arrays,
        }

    def _stops(self) -> dict[str, Any] | None:
        if self._figure.stops is None:
            return None
        x, hover = self._figure.stops
        order = np.argsort(x, kind="stable")
        columns: dict[str, Column] = {
            name: [column[i] for i in order] if isinstance(column, Sequence) else column[order]
            for name, column in hover.columns.items()
        }
        ordered = Hover(hover.template, columns, hover.names)
        return {"x": self._floats(np.asarray(x)[order]), "hover": self._hover(ordered)}

    def _panel(self, panel: Panel) -> dict[str, Any]:
        right = panel.right_y or (Axis() if panel.right else None)
        return {
            "title": panel.title,
            "height": float(panel.height),
            "legend": panel.legend,
            "verticals": [float(x) for x in panel.verticals],
            "y": _axis(panel.y, _extent(panel.marks, "y", ())),
            "right": _axis(right, _extent(panel.right, "y", ())) if right else None,
            "marks": [
                {**self._mark(mark), "side": side}
                for side, marks in (("y", panel.marks), ("right", panel.right))
                for mark in marks
            ],
        }

    def _mark(self, mark: Mark) -> dict[str, Any]:
        told: dict[str, Any] = {"kind": type(mark).__name__, "color": getattr(mark, "color", None)}
        for name in ("name", "group", "dash", "symbol", "anchor", "horizontal", "arrow"):
            if getattr(mark, name, None):
                told[name] = getattr(mark, name)
        for name in ("opacity", "size"):
            if hasattr(mark, name):
                told[name] = float(getattr(mark, name))
        hover = getattr(mark, "hover", None)
        told["hover"] = self._hover(hover) if hover else None
        exact = hover is not None and "{y}" in hover.template
        match mark:
            case Line():
                told |= {"x": self._floats(mark.x), "y": self._floats(mark.y, exact), "width": float(mark.width)}
            case Steps():
                told |= {"x": self._floats(mark.edges), "y": self._floats(mark.y, exact), "width": float(mark.width)}
            case Area():
                told |= {"x": self._floats(mark.x)}
                told |= {"low": self._floats(mark.low, False), "high": self._floats(mark.high, False)}
            case Points():
                told |= {"x": self._floats(mark.x), "y": self._floats(mark.y, exact)}
                if mark.low is not None:
                    told["low"] = self._floats(mark.low, False)
                if mark.high is not None:
                    told["high"] = self._floats(mark.high, False)
            case Ticks():
                told |= {"x": self._floats(mark.x), "row": float(mark.row)}
                if mark.weights is not None:
                    told["weights"] = self._floats(mark.weights, False)
            case Bars():
                position = np.asarray(mark.position, dtype=np.float64)
                low = np.zeros_like(position) if mark.low is None else mark.low
                width = np.broadcast_to(np.asarray(mark.width, dtype=np.float64), position.shape)
                told |= {"x": self._floats(position), "high": self._floats(mark.high)}
                told |= {"low": self._floats(low), "width": self._floats(width), "based": mark.low is not None}
                if mark.colors is not None:
                    told["colors"] = self._coded(list(mark.colors))
            case Boxes():
                told |= {"x": self._floats(mark.x), "y": self._floats(mark.y), "texts": list(mark.texts)}
                told |= {"width": self._floats(mark.width), "height": self._floats(mark.height)}
                told |= {"fills": self._coded(list(mark.fills)), "outlines": self._coded(list(mark.outlines))}
                if mark.inks is not None:
                    told["inks"] = self._coded(list(mark.inks))
            case Texts():
                told |= {"x": self._floats(mark.x), "y": self._floats(mark.y, False), "texts": list(mark.texts)}
        return told

    def _hover(self, hover: Hover) -> dict[str, Any]:
        columns = {}
        for name, column in hover.columns.items():
            if "{" + name + "}" in hover.template:
                columns[name] = self._column(column, hover.names.get(name), shown=True)
        return {"template": hover.template, "columns": columns}

    def _column(self, column: Column, names: Sequence[str] | None = None, *, shown: bool = False) -> dict[str, Any]:
        """A column of numbers, or codes with their names. ``shown``: six significant digits of it are enough."""
        if names is not None:
            return {"array": self._integers(np.asarray(column, dtype=np.int64)), "names": [str(n) for n in names]}
        array = np.asarray(column)
        if array.dtype.kind in "ui" and (array.size == 0 or np.abs(array.astype(np.float64)).max() < 2**53):
            return {"array": self._integers(array), "whole": True}
        if array.dtype.kind == "b":
            return {"array": self._integers(array.astype(np.int64)), "whole": True}
        if array.dtype.kind == "f":
            values = array.astype(np.float64)
            return {"array": self._shown(values) if shown else self._add(values)}
        return self._coded([str(entry) for entry in column])

    def _coded(self, entries: Sequence[Any]) -> dict[str, Any]:
        names: dict[Any, int] = {}
        codes = [names.setdefault(entry, len(names)) for entry in entries]
        return {"array": self._integers(np.array(codes, dtype=np.int64)), "names": list(names)}

    def _floats(self, values: Floats | NDArray[Any], exact: bool = True) -> int:
        """Positions: all bits if ``exact``, otherwise far finer than a pixel."""
        array = np.asarray(values, dtype=np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"figure {self._figure.name} has a number that is not finite")
        if array.size and not exact:
            with np.errstate(over="ignore", under="ignore"):
                single = array.astype(np.float32)
            normal = (array == 0) | (np.abs(array) > 1e-37)
            spread = float(np.ptp(array / 2))
            if np.isfinite(single).all() and normal.all() and np.abs(single - array).max() <= 2e-7 * spread:
                return self._add(single)
        return self._add(array)

    def _shown(self, values: Floats) -> int:
        """Six significant digits of each: single precision holds these, and gives them back."""
        rounded = np.array([float(f"{value:.6g}") for value in values.tolist()], dtype=np.float64)
        size = np.abs(rounded[np.isfinite(rounded) & (rounded != 0)])
        if size.size == 0 or (size.min() > 1e-37 and size.max() < 1e38):
            return self._add(rounded.astype(np.float32))
        return self._add(rounded)

    def _integers(self, values: NDArray[Any]) -> int:
        if values.size == 0:
            return self._add(np.zeros(0, dtype=np.uint8))
        low, high = int(values.min()), int(values.max())
        for kind in (np.uint8, np.int16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return self._add(values.astype(kind))
        return self._add(values.astype(np.float64))

    def _add(self, array: NDArray[Any]) -> int:
        kind = array.dtype.kind + str(array.dtype.itemsize)
        content = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        key = (kind, hashlib.sha256(content).digest())
        if key not in self._known:
            self._known[key] = len(self._arrays)
            self._arrays.append([kind, base64.b64encode(content).decode()])
        return self._known[key]


def _axis(axis: Axis, extent: _Extent) -> dict[str, Any]:
    low, high = extent.shown(axis.log) if axis.range is None else (float(axis.range[0]), float(axis.range[1]))
    reverse = low > high
    low, high = _widened(min(low, high), max(low, high), axis.log)
    return {
        "label": axis.label,
        "log": axis.log,
        "hidden": axis.hidden,
        "ticks": None if axis.ticks is None else [[float(at), str(text)] for at, text in axis.ticks],
        "range": [high, low] if reverse else [low, high],
    }


@dataclass
class _Extent:
    """What marks take up of an axis: ``loose`` ends have room beyond them."""

    low: float = np.inf
    high: float = -np.inf
    positive: float = np.inf
    loose_low: bool = False
    loose_high: bool = False

    def add(self, values: Floats | float, *, loose: bool | tuple[bool, bool]) -> None:
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
        array = array[np.isfinite(array)]
        if array.size == 0:
            return
        loose_low, loose_high = loose if isinstance(loose, tuple) else (loose, loose)
        low, high = float(array.min()), float(array.max())
        above = array[array > 0]
        if above.size:
            self.positive = min(self.positive, float(above.min()))
        if low <= self.low:
            self.loose_low = loose_low or (low == self.low and self.loose_low)
            self.low = low
        if high >= self.high:
            self.loose_high = loose_high or (high == self.high and self.loose_high)
            self.high = high

    def shown(self, log: bool) -> tuple[float, float]:
        if self.low > self.high:
            return (1.0, 10.0) if log else (0.0, 1.0)
        if log:
            if not np.isfinite(self.positive):
                return 1.0, 10.0
            low, high = self.positive, max(self.high, self.positive)
            if low == high:
                return _widened(low, high, True)
            room = high**0.05 / low**0.05
            low, high = (
                low / (room if self.loose_low or self.low <= 0 else 1.0),
                high * (room if self.loose_high else 1.0),
            )
            return _widened(low, min(high, _LARGEST), True)
        low, high = _widened(self.low, self.high, False)
        room = high / 20 - low / 20
        low, high = low - (room if self.loose_low else 0.0), high + (room if self.loose_high else 0.0)
        return max(low, -_LARGEST), min(high, _LARGEST)


def _widened(low: float, high: float, log: bool) -> tuple[float, float]:
    """A range that can be shown: not empty, and not narrower than numbers can be told apart."""
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    if log:
        low, high = max(low, 1e-300), max(high, 1e-300)
        return (low, high) if high > low * (1 + 1e-9) else (low / 3, high * 3)
    largest = max(abs(low), abs(high))
    if high / 2 - low / 2 > max(1e-12 * largest, _SMALLEST):
        return low, high
    room = largest * 0.1 if largest > _SMALLEST * 1e3 else 1.0
    return low - room, high + room


def _extent(marks: Sequence[Mark], along: Literal["x", "y"], verticals: Sequence[float]) -> _Extent:
    extent = _Extent()
    for values, loose in _ends(marks, along):
        extent.add(values, loose=loose)
    for x in verticals:
        extent.add(x, loose=False)
    return extent


def _ends(marks: Sequence[Mark], along: Literal["x", "y"]) -> Iterator[tuple[Floats | float, bool | tuple[bool, bool]]]:
    horizontal = along == "x"
    for mark in marks:
        match mark:
            case Line():
                yield (mark.x, False) if horizontal else (mark.y, True)
            case Steps():
                yield (mark.edges, False) if horizontal else (mark.y, True)
            case Area():
                yield from [(mark.x, False)] if horizontal else [(mark.low, True), (mark.high, True)]
            case Points():
                yield (mark.x, True) if horizontal else (mark.y, True)
                for end in (mark.low, mark.high):
                    if end is not None and not horizontal:
                        yield end, True
            case Ticks():
                if horizontal:
                    yield mark.x, False
                elif len(mark.x):
                    yield np.array([mark.row - 0.5, mark.row + 0.5]), False
            case Bars():
                position = np.asarray(mark.position, dtype=np.float64)
                if mark.horizontal == horizontal:
                    # Bars stand on the axis: there is no room below what they stand on.
                    low = np.zeros_like(position) if mark.low is None else np.asarray(mark.low)
                    high = np.asarray(mark.high)
                    if len(position):
                        yield low, (bool((high < low).any() or mark.low is not None), False)
                        yield high, True
                else:
                    half = np.asarray(mark.width, dtype=np.float64) / 2
                    yield np.concatenate([position - half, position + half]), True
            case Boxes():
                centre, size = (mark.x, mark.width) if horizontal else (mark.y, mark.height)
                yield np.concatenate([np.asarray(centre) - np.asarray(size) / 2, centre + np.asarray(size) / 2]), True
            case Texts():
                yield (mark.x, True) if horizontal else (mark.y, True)


def _picture(picture: Picture) -> dict[str, Any]:
    pixels = np.ascontiguousarray(picture.pixels)
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((256, 256))
    image.save(stream, "PNG", optimize=True)
    return {
        "x": float(picture.x),
        "label": picture.label,
        "width": int(pixels.shape[1]),
        "height": int(pixels.shape[0]),
        "source": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode(),
    }
