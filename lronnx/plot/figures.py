"""Figures as data: marks in panels, with axes, captions, and the table that is written beside them.

Nothing here draws. Arrays are one-dimensional; every number in them is finite. Colours are those of
:mod:`lronnx.plot.colors`, which has one for light and one for dark backgrounds. All texts are plain text, of whatever
characters: who draws escapes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lronnx.plot.colors import INK, MUTED, Color

Floats = NDArray[np.float64]
Column = NDArray[Any] | Sequence[str]

_PLACES = re.compile(r"\{([^{}]*)\}")

Dash = Literal["solid", "dashed", "dotted"]
Symbol = Literal["circle", "diamond", "square", "triangle"]


@dataclass(frozen=True, eq=False)
class Hover:
    """What is told about each point of a mark: ``template`` with ``{column}`` for the point's entry in that column.

    ``columns``: arrays or texts, one entry per point. A column of whole numbers that ``names`` lists is a code: the
    entry is the name at that position. ``{x}`` and ``{y}`` are the point's own. Whole numbers are written as they are,
    others with six significant digits. A line break separates lines.
    """

    template: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def texts(self, x: Floats, y: Floats) -> Iterator[str]:
        """The text of every point."""
        for position in range(len(x)):
            entries = {"x": _text(x[position]), "y": _text(y[position])}
            for name, column in self.columns.items():
                entry = column[position]
                entries[name] = self.names[name][int(entry)] if name in self.names else _text(entry)
            # Cut before it is filled in: what an entry has in braces is not a column.
            parts = _PLACES.split(self.template)
            filled = (entries.get(part, "{" + part + "}") for part in parts[1::2])
            yield "".join(text for pair in zip_longest(parts[::2], filled, fillvalue="") for text in pair)


@dataclass(frozen=True, eq=False)
class Line:
    """A line through (x, y). ``group``: marks of one group are shown and hidden together by their legend entry.

    ``arrow``: the last point has an arrowhead, which points along the last stretch.
    """

    x: Floats
    y: Floats
    color: Color = INK
    name: str = ""
    dash: Dash = "solid"
    width: float = 1.5
    opacity: float = 1.0
    group: str = ""
    hover: Hover | None = None
    arrow: bool = False


@dataclass(frozen=True, eq=False)
class Steps:
    """A staircase: ``y`` (n,) between neighbouring ``edges`` (n + 1,). Hover is about each step."""

    edges: Floats
    y: Floats
    color: Color = INK
    name: str = ""
    width: float = 1.5
    opacity: float = 1.0
    group: str = ""
    hover: Hover | None = None


@dataclass(frozen=True, eq=False)
class Area:
    """What lies between two lines, (x, low) and (x, high). It has no legend entry of its own."""

    x: Floats
    low: Floats
    high: Floats
    color: Color = INK
    opacity: float = 0.2
    group: str = ""


@dataclass(frozen=True, eq=False)
class Points:
    """Points at (x, y), with error bars from ``low`` to ``high`` (both in units of y) if these are given."""

    x: Floats
    y: Floats
    color: Color = INK
    name: str = ""
    symbol: Symbol = "circle"
    size: float = 6.0
    opacity: float = 1.0
    low: Floats | None = None
    high: Floats | None = None
    group: str = ""
    hover: Hover | None = None


@dataclass(frozen=True, eq=False)
class Ticks:
    """Short vertical strokes at ``x``, each four fifths of a row high, all in the row around ``row`` of the y axis.

    ``weights`` in (0, 1]: how strongly each is drawn; None: all fully.
    """

    x: Floats
    row: float
    color: Color = INK
    name: str = ""
    weights: Floats | None = None
    hover: Hover | None = None


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars from ``low`` to ``high`` around ``position``, ``width`` wide; ``colors`` has one colour for each, if given.

    ``horizontal``: positions are along y, and low and high along x.
    """

    position: Floats
    high: Floats
    low: Floats | None = None
    width: float | Floats = 0.8
    color: Color = INK
    colors: Sequence[Color] | None = None
    name: str = ""
    opacity: float = 1.0
    horizontal: bool = False
    group: str = ""
    hover: Hover | None = None


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rectangles with rounded corners and a text in each, in the axes' units; ``x`` and ``y`` are their centres.

    ``outlines``: colours of the borders, which are drawn as ``dash`` says; a box is filled with ``fills``. Texts may
    have several lines, whose colours are ``inks`` (None: INK) and whose size is ``size`` points.
    """

    x: Floats
    y: Floats
    width: Floats
    height: Floats
    texts: Sequence[str]
    fills: Sequence[Color]
    outlines: Sequence[Color]
    hover: Hover | None = None
    inks: Sequence[Color] | None = None
    dash: Dash = "solid"
    size: float = 8.0


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts at (x, y): ``anchor`` says which end of a text is there; ``size`` is in points."""

    x: Floats
    y: Floats
    texts: Sequence[str]
    color: Color = MUTED
    anchor: Literal["start", "middle", "end"] = "start"
    size: float = 8.0


Mark = Line | Steps | Area | Points | Ticks | Bars | Boxes | Texts


@dataclass(frozen=True, eq=False)
class Axis:
    """``ticks``: positions and texts of the only ticks; ``range``: what is shown at first, (from, to), which may be
    reversed; None: what the marks need. ``hidden``: no line, ticks or grid. ``label`` says the unit, too.
    """

    label: str = ""
    log: bool = False
    ticks: Sequence[tuple[float, str]] | None = None
    range: tuple[float, float] | None = None
    hidden: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """One coordinate system. ``height``: its share of the figure's, relative to the other panels.

    ``right``: marks that belong to a second y axis on the right, ``right_y``. ``verticals``: reference lines at these
    x. ``title``: a line above the panel. ``legend``: whether marks that have a name are listed.
    """

    marks: Sequence[Mark]
    y: Axis = field(default_factory=Axis)
    height: float = 1.0
    right: Sequence[Mark] = ()
    right_y: Axis | None = None
    verticals: Sequence[float] = ()
    title: str = ""
    legend: bool = True


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that stands above the panels at ``x``: ``pixels`` (height, width, 3) or (height, width), uint8."""

    x: float
    pixels: NDArray[np.uint8]
    label: str = ""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure: panels from top to bottom, which share the x axis.

    ``name``: of its files, unique in a page: letters, digits, ``-`` and ``_``. ``caption``: what to see and how it was
    computed. ``table``: its data as columns of one length, written as CSV beside still figures. ``pictures``: a
    film strip above. ``stops``: the x that the keyboard steps through, with what is told at each; None: none.
    ``aspect``: height over width of a still figure and of the page's on a desktop. ``width``: in inches, where texts
    have to fit into what is drawn: panels without axes then fill the figure without margins, both axes have one scale,
    and the size of every text is meant at this width. A page shows such a figure at one fixed scale, all of it, and
    lets it be scrolled where it is wider than the page. None: any width will do.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    x: Axis = field(default_factory=Axis)
    caption: str = ""
    table: Mapping[str, Column] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    stops: tuple[Floats, Hover] | None = None
    aspect: float = 0.7
    width: float | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.table.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of figure {self.name} differ in length: {lengths}")


def _text(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, int | np.integer | np.bool_):
        return str(int(entry))
    # Adding zero makes the negative zero positive.
    return f"{float(entry) + 0.0:.6g}" if math.isfinite(entry) else "-"
