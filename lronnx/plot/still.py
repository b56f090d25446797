"""Still figures: PNG and SVG by matplotlib, for papers, and the tables beside them as CSV.

All places are worked out here, in points (1/72 inch), before anything is drawn: every text is measured first, so that
none is clipped and none lies upon another. A figure is made higher than its ``aspect`` says where its panels would
otherwise have no room. What would overlap is, in this order, wrapped, turned, shortened in the middle, left out.

The same figure gives the same bytes with the same versions of matplotlib and Pillow: nothing depends on the clock, on
the user's matplotlibrc or on the fonts of the machine. Texts are set in DejaVu Sans, which matplotlib carries with it;
characters that it lacks become U+FFFD. In SVG they are outlines, not text: what is seen is then what was measured,
whether or not the reader has the font, and nothing in a name can become markup.

Both kinds of axes are linear for matplotlib: logarithms are taken, and numbers too large or too small for its
arithmetic scaled, by :class:`_Scale`, which also says what is written at the ticks.
"""

from __future__ import annotations

import csv
import io
import math
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx.errors import InputError
from lronnx.plot import check_installed
from lronnx.plot.colors import BACKGROUND, FAINT, INK, MUTED, Color
from lronnx.plot.figures import (
    Area,
    Axis,
    Bars,
    Boxes,
    Dash,
    Figure,
    Line,
    Mark,
    Panel,
    Picture,
    Points,
    Steps,
    Texts,
    Ticks,
)
from lronnx.store import replacing

check_installed("matplotlib", "PIL")

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import LineCollection, PolyCollection  # noqa: E402
from matplotlib.figure import Figure as Sheet  # noqa: E402
from matplotlib.font_manager import FontProperties  # noqa: E402
from matplotlib.ft2font import FT2Font, LoadFlags  # noqa: E402
from matplotlib.image import AxesImage  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

Floats = NDArray[np.float64]
Form = Literal["png", "svg"]
Theme = Literal["light", "dark"]

COLUMN = 3.4
"""Inches: a column of most two-column papers."""

_SETTINGS: Any = {
    # Names are no formulas.
    "text.parse_math": False,
    "svg.fonttype": "path",
    # Letters are as wide as they were measured, whatever the size of a pixel.
    "text.hinting": "none",
    # Identifiers in SVG are random otherwise.
    "svg.hashsalt": "lronnx",
    # A line of many vertices is more than Agg fills at once.
    "agg.path.chunksize": 10000,
    "axes.linewidth": 0.6,
}
_LOCK = threading.Lock()
"""matplotlib's settings are those of the process."""

_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (3.5, 2.0)), "dotted": (0, (1.0, 1.6))}
_SIDES: dict[str, Literal["left", "center", "right"]] = {"start": "left", "middle": "center", "end": "right"}
_SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "triangle": "^"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MANY = 2000
"""So many strokes, points or bars of a panel, or ten times as many vertices, are pixels inside an SVG."""

_LONGEST = 200
"""Characters of a text's beginning and end that are looked at: what is longer is shortened in any case."""

_PIECE = 20000
"""Vertices of an area that are filled at once."""
_PIXELS = 4e7
"""Pixels of a PNG: of a figure that would have more there are fewer to an inch."""

# Lengths in points.
_PIXEL = 0.75
"""Of a line's width and a symbol's size, which are in pixels of CSS."""
_PAD = 4.0
"""Around everything."""
_GAP = 3.0
"""Between pictures."""
_SMALLEST = 14.0
"""A picture; where so small ones have no room, evenly chosen ones are shown."""
_FEW = 8
"""Pictures up to which all are shown, wherever they stand."""
_LEADER = 8.0
"""From a picture to its place."""
_SAMPLE = 15.0
"""The line or symbol in a legend, and the space behind it."""
_BETWEEN = 9.0
"""Between a legend's columns."""
_LEGEND_LINES = 4
"""What has no room in so many is counted, not listed."""


def draw(figure: Figure, form: Form, *, width: float | None = None, dpi: int = 300, theme: Theme = "light") -> bytes:
    """The figure as the content of a PNG or SVG file.

    ``width`` in inches; None: the figure's own, or :data:`COLUMN` if it has none. Texts among the marks of a figure
    that has one are as much smaller or larger than they were meant as the figure is. ``dpi``: pixels per inch of a PNG,
    and of what is too much for outlines in an SVG; fewer, where a figure is so large that it would have more than 40
    million.
    """
    if form not in ("png", "svg"):
        raise ValueError(f"a still figure is png or svg, not {form}")
    target = io.BytesIO()
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        drawing = _Drawing(figure, width or figure.width or COLUMN, dpi, theme)
        metadata: dict[str, Any] = (
            {"Software": None} if form == "png" else {"Date": None, "Creator": None, "Title": _clean(figure.title)}
        )
        drawing.sheet.savefig(target, format=form, dpi=drawing.dpi, metadata=metadata)
    return target.getvalue()


def csv_bytes(figure: Figure) -> bytes:
    """The figure's table as CSV (RFC 4180, UTF-8): a row of names, then numbers that read back as they were.

    What is not finite does not exist, and its field is empty.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_encodable(name) for name in figure.table)
    writer.writerows(zip(*(map(_field, column) for column in figure.table.values()), strict=True))
    return text.getvalue().encode("utf-8")


def write(
    figures: Iterable[Figure],
    folder: Path,
    forms: Sequence[Form],
    *,
    width: float | None = None,
    dpi: int = 300,
    theme: Theme = "light",
) -> list[Path]:
    """Write NAME.png or NAME.svg of each figure, and NAME.csv if it has a table; the files' paths.

    The folder is made if need be. Nothing is written before everything is drawn, and a file is written whole or not at
    all. Raises InputError where the folder cannot be written to.
    """
    contents: dict[str, bytes] = {}
    for figure in figures:
        for form in forms:
            contents[f"{figure.name}.{form}"] = draw(figure, form, width=width, dpi=dpi, theme=theme)
        if figure.table:
            contents[f"{figure.name}.csv"] = csv_bytes(figure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, content in contents.items():
                stack.enter_context(replacing(folder / name)).write_bytes(content)
    except OSError as error:
        raise InputError(f"the pictures cannot be written to {folder}: {error.strerror or error}") from None
    return [folder / name for name in contents]


def _field(entry: Any) -> str:
    if isinstance(entry, str):
        return _encodable(entry)
    if entry is None:
        return ""
    if isinstance(entry, bool | int | np.bool_ | np.integer):
        return str(int(entry))
    return repr(float(entry)) if math.isfinite(entry) else ""


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# Texts


@lru_cache(maxsize=2)
def _face(bold: bool) -> tuple[FontProperties, Any]:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return FontProperties(fname=path), FT2Font(str(path))


def _font(size: float, bold: bool = False) -> FontProperties:
    font = _face(bold)[0].copy()
    font.set_size(size)
    return font


@lru_cache(maxsize=4096)
def _width(text: str, size: float, bold: bool = False) -> float:
    """How wide one line of cleaned text is, in points."""
    font = _face(bold)[1]
    # Large, so that no hint to the rasterizer moves anything.
    font.set_size(100.0, 72)
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    return float(font.get_width_height()[0]) / 64.0 / 100.0 * size + 0.2


@lru_cache(maxsize=1)
def _known() -> frozenset[int]:
    """The characters that there are in both faces."""
    return frozenset(_face(False)[1].get_charmap()) & frozenset(_face(True)[1].get_charmap())


@lru_cache(maxsize=4096)
def _clean(text: str, lines: bool = False) -> str:
    """What can be drawn of a text: no control characters, no others that the font lacks; line breaks if ``lines``."""
    known = _known()
    out = []
    if len(text) > 2 * _LONGEST:
        text = text[:_LONGEST] + "…" + text[-_LONGEST:]
    for character in unicodedata.normalize("NFC", text.replace("\r\n", "\n")):
        if character == "\n" and lines:
            out.append(character)
        elif character.isspace():
            out.append(" ")
        # Marks of direction and the like are seen by what they do to their neighbours only.
        elif unicodedata.category(character) not in ("Cc", "Cf"):
            out.append(character if ord(character) in known else "\ufffd")
    return "".join(out)


def _shorten(text: str, room: float, size: float, bold: bool = False) -> str:
    """``text`` without so much of its middle that it is at most ``room`` wide; "" where not even an ellipsis is."""
    if _width(text, size, bold) <= room:
        return text
    few, many = 0, len(text)
    while many - few > 1:
        kept = (few + many) // 2
        if _width(_middle(text, kept), size, bold) <= room:
            few = kept
        else:
            many = kept
    short = _middle(text, few)
    return short if _width(short, size, bold) <= room else ""


def _middle(text: str, kept: int) -> str:
    """``kept`` characters of ``text``, around an ellipsis."""
    return text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()


def _wrap(text: str, room: float, size: float, lines: int, bold: bool = False) -> list[str]:
    """``text`` in at most ``lines`` lines, broken at spaces; the last is shortened."""
    out: list[str] = []
    rest = text.split()
    while rest:
        taken = 1
        if len(out) == lines - 1:
            taken = len(rest)
        while taken < len(rest) and _width(" ".join(rest[: taken + 1]), size, bold) <= room:
            taken += 1
        out.append(_shorten(" ".join(rest[:taken]), room, size, bold))
        rest = rest[taken:]
    return out


def _narrowest(text: str, size: float) -> float:
    """How much room ``text`` needs in two lines."""
    words = text.split()
    breaks = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words) + 1)]
    return min((max(_width(first, size), _width(second, size)) for first, second in breaks), default=0.0)


# Scales


@dataclass(frozen=True)
class _Scale:
    """From an axis's units to units that are drawn: log10 of them, or a power of ten times them; and the limits."""

    log: bool
    exponent: int
    low: float
    high: float

    def __call__(self, values: Floats | float) -> Floats:
        given = np.asarray(values, dtype=np.float64)
        span = abs(self.high - self.low)
        floor, ceiling = min(self.low, self.high) - 1e4 * span, max(self.low, self.high) + 1e4 * span
        if self.log:
            # What has no logarithm lies far below.
            units = np.full(given.shape, floor)
            np.log10(given, out=units, where=given > 0)
        else:
            units = _scaled(given, -self.exponent)
        # Far out of sight a place no longer matters, but would overflow.
        clipped: Floats = np.clip(units, floor, ceiling)
        return clipped

    def share(self, values: Floats | float) -> Floats:
        """Where values lie between the limits, from 0 to 1."""
        return (self(values) - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> tuple[list[tuple[float, str]], list[float]]:
        """At most ``most`` (two or more) places in drawn units with their texts, and places of small ticks."""
        low, high = min(self.low, self.high), max(self.low, self.high)
        if not self.log:
            places = _round_places(low, high, most)
            return list(zip(places, _numbers(places, self.exponent), strict=True)), []
        whole = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        small = [
            place
            for decade in range(math.floor(low), math.ceil(high) + 1)
            for place in (decade + math.log10(digit) for digit in range(2, 10))
            if low <= place <= high
        ]
        if len(whole) >= 2:
            stride = -(-len(whole) // most)
            # Of hundreds of decades, round ones.
            stride = next(size for size in (*range(1, 6), 10, 20, 50, 100, 200, 500) if size >= stride)
            decades = [decade for decade in whole if decade % stride == 0]
            plain = decades[0] >= -2 and decades[-1] <= 3
            texts = [f"{10.0**decade:g}" if plain else _power(decade) for decade in decades]
            if stride > 1 or len(whole) > 7:
                small = [float(decade) for decade in whole] if len(whole) < 40 else []
            return [(float(decade), text) for decade, text in zip(decades, texts, strict=True)], small
        exponent = math.floor(low)
        values = _round_places(10 ** (low - exponent), 10 ** (high - exponent), most)
        values = [value for value in values if value > 0]
        places = [exponent + math.log10(value) for value in values]
        return list(zip(places, _numbers(values, exponent), strict=True)), small


def _scaled(values: Floats, exponent: int) -> Floats:
    """``values`` times a power of ten, in two steps, each of which has a power that exists."""
    if exponent == 0:
        return values
    half = exponent // 2
    with np.errstate(over="ignore", under="ignore"):
        scaled: Floats = values * 10.0**half * 10.0 ** (exponent - half)
    return scaled


def _round_places(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` (two or more) multiples of a round number between ``low`` and ``high``."""
    slack = 1e-9 * (high - low)
    places: list[float] = []
    # The locator counts intervals, of which the outer ones may reach beyond the limits.
    for intervals in range(most + 1, 0, -1):
        found = MaxNLocator(intervals, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        places = [float(place) for place in found if low - slack <= place <= high + slack]
        if len(places) <= most:
            return places
    # It never finds less than two, nor always so few.
    return places[:: -(-len(places) // most)]


def _numbers(places: Sequence[float], exponent: int) -> list[str]:
    """What is written at ``places`` times ten to ``exponent``: as many digits as it takes."""
    largest = max((abs(place) for place in places), default=0.0)
    if largest == 0.0:
        return ["0" for _ in places]
    step = min((after - before for before, after in pairwise(places)), default=largest)
    power = math.floor(math.log10(largest) + 1e-9)
    plain = -4 <= power + exponent < 6
    factor = 10.0 ** (exponent if plain else -power)
    tail = "" if plain else f"\u00d7{_power(power + exponent)}"
    texts = []
    for place in places:
        number, digits = place * factor, 0
        while digits < 15 and abs(round(number, digits) - number) > 1e-4 * step * factor:
            digits += 1
        text = f"{number:.{digits}f}"
        if float(text) == 0.0:
            texts.append("0")
        else:
            text = text.replace("-", "\u2212") + tail
            texts.append(text.replace("1\u00d7", "") if tail and text in (f"1{tail}", f"\u22121{tail}") else text)
    return texts


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def _scale(axis: Axis, spans: Sequence[tuple[Floats, float]]) -> _Scale:
    """``spans``: values that have to be seen, and how much room they want beyond them, as a share."""
    kept = [(values[values > 0] if axis.log else values, room) for values, room in spans]
    kept = [(values, room) for values, room in kept if len(values)]
    lowest = min((float(values.min()) for values, _ in kept), default=1.0 if axis.log else 0.0)
    highest = max((float(values.max()) for values, _ in kept), default=1.0)
    given = axis.range
    if given is not None and axis.log and min(given) <= 0:
        given = None
    first, last = given if given is not None else (lowest, highest)
    if axis.log:
        exponent = 0
        low, high = math.log10(first), math.log10(last)
        if abs(high - low) < 1e-6:
            low, high = low - 0.5, high + 0.5
    else:
        largest = max(abs(first), abs(last))
        exponent = 0 if largest == 0 or 1e-100 < largest < 1e100 else math.floor(math.log10(largest))
        low, high = (float(_scaled(np.asarray(end, dtype=np.float64), -exponent)) for end in (first, last))
        if abs(high - low) <= 1e-10 * max(abs(low), abs(high)):
            beyond = 0.1 * abs(low) or 1.0
            low, high = low - beyond, high + beyond
    if given is None:
        # Each end has the room that what lies there wants.
        span = high - low
        unit = _Scale(axis.log, exponent, low, high)
        low = min([low, *(float(unit(values.min())) - room * span for values, room in kept)])
        high = max([high, *(float(unit(values.max())) + room * span for values, room in kept)])
    return _Scale(axis.log, exponent, low, high)


def _spans(marks: Iterable[Mark], along: Literal["x", "y"]) -> Iterator[tuple[Floats, float]]:
    """The values of marks along an axis, each with the room that it wants beyond them."""
    x = along == "x"
    for mark in marks:
        match mark:
            case Line():
                yield (mark.x, 0.0) if x else (mark.y, 0.05)
            case Steps():
                yield (mark.edges, 0.0) if x else (mark.y, 0.05)
            case Area():
                yield from [(mark.x, 0.0)] if x else [(mark.low, 0.05), (mark.high, 0.05)]
            case Points():
                yield (mark.x, 0.03) if x else (mark.y, 0.05)
                for ends in (mark.low, mark.high):
                    if ends is not None and not x:
                        yield ends, 0.05
            case Ticks():
                yield (mark.x, 0.0) if x else (np.array([mark.row - 0.5, mark.row + 0.5]), 0.0)
            case Bars():
                if x == mark.horizontal:
                    low = _lows(mark)
                    yield low, 0.0
                    yield mark.high, 0.0
                    # Where bars do not begin at the axis, or go beyond its zero, they get some air.
                    yield mark.high[mark.high != low], 0.05
                else:
                    half = np.asarray(mark.width) / 2
                    yield mark.position - half, 0.02
                    yield mark.position + half, 0.02
            case Boxes():
                centre, size = (mark.x, mark.width) if x else (mark.y, mark.height)
                yield centre - size / 2, 0.02
                yield centre + size / 2, 0.02
            case Texts():
                yield (mark.x, 0.0) if x else (mark.y, 0.05)


def _lows(bars: Bars) -> Floats:
    return np.zeros(len(bars.high)) if bars.low is None else bars.low


# Drawing


class _Entry(NamedTuple):
    """An entry of a legend; without a mark, what is said of those that are not listed."""

    mark: Mark | None
    text: str


@dataclass
class _Place:
    """A panel, and where it is drawn. Lengths are in points, from the figure's lower left corner."""

    panel: Panel
    y: _Scale
    right: _Scale | None
    entries: list[_Entry]
    title: list[str] = field(default_factory=list)
    """Lines of the panel's title, above its legend."""
    columns: list[float] = field(default_factory=list)
    """Widths of the legend's columns."""
    legend_left: float = 0.0
    beside: bool = False
    """The legend is in the title's line."""
    head: float = 0.0
    """How high title and legend are."""
    top: float = 0.0
    """Where they begin."""
    bottom: float = 0.0
    height: float = 200.0
    axes: Axes | None = None


class _Drawing:
    """A figure on a sheet. Everything is placed first, then drawn."""

    def __init__(self, figure: Figure, width: float, dpi: int, theme: Theme) -> None:
        self.figure, self.theme = figure, theme
        self.width = width * 72.0
        self.size = 7.0 if width < 5 else 8.0
        # What sizes of texts among the marks are multiplied by.
        self.zoom = width / figure.width if figure.width else self.size / 8.0
        self.label_size = self.size + 0.5
        self.title_size = self.size + 1.5
        self.line = self.size * 1.25
        self.bare = figure.x.hidden and all(panel.y.hidden and not panel.right for panel in figure.panels)
        self.margin = 0.0 if self.bare and figure.width is not None else _PAD
        self.x = _scale(figure.x, list(self._x_spans()))
        listed: set[tuple[str, ...]] = set()
        self.places = [self._place(panel, listed) for panel in figure.panels]
        self.left, self.right, self.inner = _PAD, _PAD, self.width - 2 * _PAD
        # What fits depends on the room, and the room on what fits; it settles at once, or nearly.
        for _ in range(3):
            self._place_x()
            self._place_margins()
            self._place_texts()
            for place in self.places:
                self._place_head(place)
            self._place_pictures()
            self._place_panels()
        # Agg has 16 bits for a coordinate, and memory is finite.
        most = min(30000 * 72.0 / max(self.width, self.height), 72.0 * math.sqrt(_PIXELS / (self.width * self.height)))
        self.dpi = min(float(dpi), most)
        self._draw()

    def color(self, color: Color) -> str:
        return color.dark if self.theme == "dark" else color.light

    # Places

    def _x_spans(self) -> Iterator[tuple[Floats, float]]:
        for panel in self.figure.panels:
            yield from _spans((*panel.marks, *panel.right), "x")
            yield np.asarray(panel.verticals, dtype=np.float64), 0.0
        yield np.array([picture.x for picture in self.figure.pictures], dtype=np.float64), 0.0

    def _place(self, panel: Panel, listed: set[tuple[str, ...]]) -> _Place:
        """``listed``: the groups that have an entry in the legend of a panel above."""
        entries = []
        here: set[tuple[str, ...]] = set()
        for mark in (*panel.marks, *panel.right) if panel.legend else ():
            if isinstance(mark, Area | Boxes | Texts) or not mark.name:
                continue
            group = "" if isinstance(mark, Ticks) else mark.group
            key = (group,) if group else (type(mark).__name__, mark.name, mark.color.light)
            if key not in here and key not in listed:
                entries.append(_Entry(mark, _clean(mark.name)))
                here.add(key)
        listed.update(key for key in here if len(key) == 1)
        right = _scale(panel.right_y or Axis(), list(_spans(panel.right, "y"))) if panel.right else None
        return _Place(panel, _scale(panel.y, list(_spans(panel.marks, "y"))), right, entries)

    def _place_x(self) -> None:
        """The x axis's ticks, and how high they and the label are."""
        axis = self.figure.x
        self.x_ticks: list[tuple[float, str]] = []
        self.x_turned = False
        self.x_height = 0.0
        self.x_label: list[str] = []
        if axis.hidden or not self.places:
            return
        if axis.ticks is None:
            for most in range(min(max(int(self.inner / 22.0), 2), 11), 1, -1):
                self.x_ticks = self.x.ticks(most)[0]
                if self._apart(self.x_ticks):
                    break
        else:
            self._place_names(axis.ticks)
        widest = max((_width(text, self.size) for _, text in self.x_ticks), default=0.0)
        self.x_height = 4.5 + (0.71 * (widest + self.size) if self.x_turned else self.size)
        if axis.label:
            self.x_label = _wrap(_clean(axis.label), self.width - 2 * _PAD, self.label_size, 2)
            self.x_height += 2.0 + len(self.x_label) * self.label_size * 1.2

    def _place_names(self, ticks: Sequence[tuple[float, str]]) -> None:
        """Given ticks: as they are; turned, if there is room for them then; or so many of them as have room."""
        shown = [(at, text) for at, text in ticks if _seen(float(self.x.share(at)))]
        names = [(float(self.x(at)), _shorten(_clean(text), self.inner * 0.4, self.size)) for at, text in shown]
        names.sort()
        unit = self.inner / abs(self.x.high - self.x.low)
        closest = min(((after[0] - before[0]) * unit for before, after in pairwise(names)), default=math.inf)
        if self._apart(names):
            self.x_ticks = names
        elif closest > self.size * 1.3:
            self.x_turned = True
            self.x_ticks = [(at, _shorten(text, 60.0, self.size)) for at, text in names]
        else:
            for name in names:
                if self._apart([*self.x_ticks[-1:], name]):
                    self.x_ticks.append(name)

    def _apart(self, ticks: Sequence[tuple[float, str]]) -> bool:
        """Whether texts under these places do not come near each other."""
        unit = self.inner / abs(self.x.high - self.x.low)
        ends = sorted((at * unit, _width(text, self.size) / 2) for at, text in ticks)
        return all(after[0] - after[1] >= before[0] + before[1] + 4.0 for before, after in pairwise(ends))

    def _place_margins(self) -> None:
        """What is needed on both sides of the panels."""
        left = right = self.margin
        for place in self.places:
            left = max(left, self._beside(place.panel.y, place.y, place.height))
            if place.right is not None:
                right = max(right, self._beside(place.panel.right_y or Axis(), place.right, place.height))
        for at, text in self.x_ticks:
            share = (at - self.x.low) / (self.x.high - self.x.low)
            width = _width(text, self.size)
            before, after = (0.71 * width, 0.0) if self.x_turned else (width / 2, width / 2)
            left = max(left, _PAD + before - share * self.inner)
            right = max(right, _PAD + after - (1 - share) * self.inner)
        self.left, self.right = left, right
        self.inner = max(self.width - left - right, 10.0)

    def _beside(self, axis: Axis, scale: _Scale, height: float) -> float:
        """How wide the label and the ticks of a y axis are."""
        if axis.hidden:
            return self.margin
        widest = max((_width(text, self.size) for _, text in self._y_ticks(axis, scale, height)), default=0.0)
        lines = len(self._y_label(axis, height))
        return _PAD + widest + 4.5 + (lines * self.label_size * 1.2 + 3.0 if lines else 0.0)

    def _y_label(self, axis: Axis, height: float) -> list[str]:
        return [] if axis.hidden else _wrap(_clean(axis.label), height + 4.0, self.label_size, 2)

    def _y_ticks(self, axis: Axis, scale: _Scale, height: float) -> list[tuple[float, str]]:
        """Places, in drawn units, and texts."""
        if axis.hidden:
            return []
        if axis.ticks is None:
            ticks = scale.ticks(self._most(height))[0]
            unit = height / abs(scale.high - scale.low)
            # On a logarithmic axis they are not evenly spaced.
            return [
                tick
                for index, tick in enumerate(ticks)
                if index == 0 or (tick[0] - ticks[index - 1][0]) * unit > self.line
            ]
        kept: list[tuple[float, str]] = []
        taken: list[float] = []
        for at, text in axis.ticks:
            share = float(scale.share(at))
            if _seen(share) and all(abs(share - other) * height > self.size for other in taken):
                taken.append(share)
                kept.append((float(scale(at)), _shorten(_clean(text), self.width * 0.3, self.size)))
        return kept

    def _most(self, height: float) -> int:
        """How many ticks a y axis has at most."""
        return min(max(int(height / (self.size * 1.9)), 2), 8)

    def _place_texts(self) -> None:
        """Widen the x axis, unless its range is given, so that texts beside their places are on the sheet."""
        if self.figure.x.range is not None:
            return
        for _ in range(4):
            before = after = 0.0
            for place in self.places:
                for mark in place.panel.marks:
                    if isinstance(mark, Texts):
                        for x, text in zip(mark.x, mark.texts, strict=True):
                            share = float(self.x.share(x))
                            if not _seen(share):
                                continue
                            at = self.left + share * self.inner
                            width = max(
                                _width(line, mark.size * self.zoom) for line in _clean(text, lines=True).split("\n")
                            )
                            start = at - {"start": 0.0, "middle": width / 2, "end": width}[mark.anchor]
                            before = max(before, _PAD - start)
                            after = max(after, start + width - self.width + _PAD)
            if max(before, after) < 0.1:
                return
            # Not more than half of the width is for what stands beside.
            room = max(self.inner - before - after, self.inner / 2)
            unit = (self.x.high - self.x.low) / room
            self.x = replace(self.x, low=self.x.low - before * unit, high=self.x.high + after * unit)

    def _place_head(self, place: _Place) -> None:
        """The title of a panel and its legend, above it."""
        size = self.size
        title = _clean(place.panel.title).strip()
        entries = self._entries(place)
        widths = [_SAMPLE + _width(entry.text, size) + _BETWEEN for entry in entries]
        taken = _width(title, self.label_size, bold=True) + 2 * _BETWEEN if title else 0.0
        place.title = _wrap(title, self.inner, self.label_size, 2, bold=True)
        place.beside = bool(title and entries) and taken + sum(widths) - _BETWEEN <= self.inner
        place.legend_left = self.left
        place.columns = _columns(widths, self.inner)
        if len(place.columns) < len(entries):
            # A legend of several lines may begin at the margin, if it has fewer then.
            wide = _columns(widths, self.width - self.right - _PAD)
            if -(-len(entries) // len(wide)) < -(-len(entries) // len(place.columns)):
                place.columns, place.legend_left = wide, _PAD
        if place.beside:
            place.legend_left = self.left + self.inner - sum(place.columns) + _BETWEEN
        rows = -(-len(entries) // len(place.columns)) if entries else 0
        lines = len(place.title) + (0 if place.beside else min(rows, _LEGEND_LINES))
        place.head = lines * self.line * 1.05 + (3.0 if lines else 0.0)

    def _entries(self, place: _Place) -> list[_Entry]:
        return [_Entry(entry.mark, _shorten(entry.text, self.inner * 0.6, self.size)) for entry in place.entries]

    def _place_pictures(self) -> None:
        """Where the pictures stand: each with the place of its centre."""
        pictures = sorted(self.figure.pictures, key=lambda picture: float(self.x.share(picture.x)))
        self.strip: list[tuple[Picture, float]] = []
        self.side = 0.0
        self.strip_label = self.line if any(picture.label for picture in pictures) else 0.0
        self.strip_height = 0.0
        if not pictures:
            return
        room = self.width - 2 * _PAD + _GAP
        most = max(int(room / (_SMALLEST + _GAP)), 1)
        if len(pictures) > most:
            pictures = [pictures[index] for index in np.linspace(0, len(pictures) - 1, most).round().astype(int)]
        wanted = np.array([self.left + float(self.x.share(picture.x)) * self.inner for picture in pictures])
        largest = 40.0 if self.size < 8 else 54.0
        self.side = min(largest, room / len(pictures) - _GAP)
        # So many of them, at equal distances, as can stand above their places.
        for stride in range(1, len(pictures) if len(pictures) > _FEW else 2):
            apart = np.diff(wanted[::stride])
            side = min(self.side if stride == 1 else largest, 0.8 * float(apart.min(initial=math.inf)) - _GAP)
            if side >= 1.5 * _SMALLEST:
                pictures, wanted, self.side = pictures[::stride], wanted[::stride], side
                break
        half = self.side / 2
        centres = _spread(wanted, self.side + _GAP, _PAD + half, self.width - _PAD - half)
        self.strip = list(zip(pictures, centres.tolist(), strict=True))
        self.strip_height = self.strip_label + self.side + _LEADER

    def _place_panels(self) -> None:
        """Heights, from top to bottom: title; per panel its head, in the first the pictures, and itself; the x axis."""
        self.title = _wrap(_clean(self.figure.title), self.width - 2 * _PAD, self.title_size, 2, bold=True)
        top = self.margin
        if self.title:
            top = _PAD + len(self.title) * self.title_size * 1.25 + 2.0
        # Half a tick's text reaches over the end of its axis.
        over = 0.0 if self.bare else self.size * 0.5
        gap = self.size * 1.2
        fixed = top + self.strip_height + over + self.margin + self.x_height
        fixed += sum(place.head for place in self.places) + gap * max(len(self.places) - 1, 0)
        least = [self._least(place) for place in self.places]
        self.height = max(fixed + sum(least), 24.0)
        if not (self.bare and self.figure.width is not None):
            self.height = max(self.height, self.width * self.figure.aspect)
        heights = _shares(self.height - fixed, [place.panel.height for place in self.places], least)
        at = self.height - top
        self.strip_top = at
        for index, (place, height) in enumerate(zip(self.places, heights, strict=True)):
            place.top = at
            at -= place.head
            if index == 0:
                self.strip_top = at
                at -= self.strip_height + over
            place.height, place.bottom = height, at - height
            at -= height + gap

    def _least(self, place: _Place) -> float:
        """How high a panel has to be: as its label in two lines, and its rows."""
        if self.bare and self.figure.width is not None:
            return self.inner * abs((place.y.high - place.y.low) / (self.x.high - self.x.low))
        least = 24.0
        for axis in (place.panel.y, place.panel.right_y or Axis()):
            if not axis.hidden:
                label = min(_narrowest(_clean(axis.label), self.label_size), 90.0)
                least = max(least, label - 4.0, min(len(axis.ticks or ()), 24) * self.size * 1.1)
        return least

    def _at(self, place: _Place, x: float, y: float) -> tuple[float, float]:
        """Where a place in a panel's units is on the sheet."""
        return (
            self.left + float(self.x.share(x)) * self.inner,
            place.bottom + float(place.y.share(y)) * place.height,
        )

    # Artists

    def _draw(self) -> None:
        # Whole pixels, so that what lies on their borders stays there.
        size = [math.ceil(length * self.dpi / 72.0 - 1e-6) / self.dpi for length in (self.width, self.height)]
        self.sheet = Sheet(figsize=(size[0], size[1]), dpi=self.dpi, facecolor=self.color(BACKGROUND))
        for index, place in enumerate(self.places):
            self._draw_panel(place, index == len(self.places) - 1)
        # What is placed in points, in front of all panels.
        self.over = self.sheet.add_axes((0, 0, 1, 1), facecolor="none")
        self.over.set_axis_off()
        self.over.set_xlim(0, size[0] * 72.0)
        self.over.set_ylim(0, size[1] * 72.0)
        for row, text in enumerate(self.title):
            y = self.height - _PAD - (row + 0.8) * self.title_size * 1.25
            self._text(_PAD, y, text, self.title_size, INK, bold=True)
        for place in self.places:
            self._draw_head(place)
            self._draw_labels(place)
            for mark in place.panel.marks:
                match mark:
                    case Line() if mark.arrow:
                        self._draw_arrow(mark, place)
                    case Boxes():
                        self._draw_boxes(mark, place)
                    case Texts():
                        self._draw_texts(mark, place)
        for row, text in enumerate(self.x_label):
            y = _PAD + (len(self.x_label) - 0.75 - row) * self.label_size * 1.2
            half = _width(text, self.label_size) / 2
            # Under the middle of the panels, unless it is wider than they are.
            x = min(max(self.left + self.inner / 2, _PAD + half), self.width - _PAD - half)
            self._text(x, y, text, self.label_size, INK, ha="center")
        for picture, centre in self.strip:
            self._draw_picture(picture, centre)

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        color: Color,
        *,
        ha: Literal["left", "center", "right"] = "left",
        bold: bool = False,
        rotation: float = 0.0,
    ) -> None:
        """One line of text; ``y`` is its base line's."""
        if text:
            self.over.text(
                x,
                y,
                text,
                fontproperties=_font(size, bold),
                color=self.color(color),
                ha=ha,
                va="baseline",
                rotation=rotation,
                rotation_mode="anchor",
                zorder=4,
            )

    def _axes(self, place: _Place, y: _Scale) -> Axes:
        sheet_width, sheet_height = self.sheet.get_size_inches() * 72.0
        axes = self.sheet.add_axes(
            (
                self.left / sheet_width,
                place.bottom / sheet_height,
                self.inner / sheet_width,
                place.height / sheet_height,
            ),
            facecolor="none",
        )
        axes.set_xlim(self.x.low, self.x.high)
        axes.set_ylim(y.low, y.high)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
            spine.set_color(self.color(MUTED))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def _draw_panel(self, place: _Place, lowest: bool) -> None:
        panel, figure = place.panel, self.figure
        axes = place.axes = self._axes(place, place.y)
        many = _strokes(panel.marks) + _strokes(panel.right) > _MANY
        if not figure.x.hidden:
            axes.spines["bottom"].set_visible(True)
            turned: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if self.x_turned else {}
            labels = self.x_ticks if lowest else [(at, "") for at, _ in self.x_ticks]
            self._draw_ticks_of(axes.xaxis, labels, MUTED, turned)
            if figure.x.ticks is None:
                axes.set_xticks(self.x.ticks(max(len(self.x_ticks), 2))[1], minor=True)
        self._draw_y_axis(axes, panel.y, place.y, place.height, _tint(panel.marks) if panel.right else None)
        if not panel.y.hidden:
            axes.spines["left"].set_visible(True)
            if panel.y.ticks is None:
                axes.grid(axis="y", color=self.color(FAINT), linewidth=0.4)
        for vertical in panel.verticals:
            axes.axvline(float(self.x(vertical)), color=self.color(MUTED), linewidth=0.6, dashes=(3, 2), zorder=1.5)
        for mark in panel.marks:
            self._draw_mark(axes, mark, place.y, many)
        if place.right is not None:
            axes = self._axes(place, place.right)
            axis = panel.right_y or Axis()
            axes.yaxis.tick_right()
            self._draw_y_axis(axes, axis, place.right, place.height, _tint(panel.right))
            axes.spines["right"].set_visible(not axis.hidden)
            for mark in panel.right:
                self._draw_mark(axes, mark, place.right, many)

    def _draw_y_axis(self, axes: Axes, axis: Axis, scale: _Scale, height: float, tint: Color | None) -> None:
        self._draw_ticks_of(axes.yaxis, self._y_ticks(axis, scale, height), tint or MUTED, {})
        if axis.ticks is None and not axis.hidden:
            axes.set_yticks(scale.ticks(self._most(height))[1], minor=True)

    def _draw_ticks_of(self, axis: Any, ticks: Sequence[tuple[float, str]], color: Color, how: Any) -> None:
        axis.set_tick_params(length=2.5, width=0.6, pad=2.0, color=self.color(MUTED), labelcolor=self.color(color))
        axis.set_tick_params(which="minor", length=1.5, width=0.4, color=self.color(MUTED))
        texts = [text for _, text in ticks]
        axis.set_ticks([at for at, _ in ticks], texts, fontproperties=_font(self.size), **how)

    def _draw_mark(self, axes: Axes, mark: Mark, y: _Scale, many: bool) -> None:
        x = self.x
        match mark:
            case Line() if not mark.arrow:
                self._draw_line(axes, x(mark.x), y(mark.y), mark, mark.dash, many)
            case Steps():
                self._draw_line(axes, np.repeat(x(mark.edges), 2)[1:-1], np.repeat(y(mark.y), 2), mark, "solid", many)
            case Area():
                self._draw_area(axes, mark, y, many)
            case Points():
                self._draw_points(axes, mark, y, many)
            case Ticks():
                self._draw_ticks(axes, mark, y, many)
            case Bars():
                self._draw_bars(axes, mark, y, many)

    def _draw_line(self, axes: Axes, x: Floats, y: Floats, mark: Line | Steps, dash: Dash, many: bool) -> None:
        line = Line2D(
            x,
            y,
            color=self.color(mark.color),
            linewidth=mark.width * _PIXEL,
            linestyle=_DASHES[dash],
            alpha=mark.opacity,
            solid_joinstyle="round",
            rasterized=many,
            zorder=2,
        )
        axes.add_line(line)

    def _draw_area(self, axes: Axes, mark: Area, y: _Scale, many: bool) -> None:
        x, low, high = self.x(mark.x), y(mark.low), y(mark.high)
        # In pieces, since Agg fills no outline that is too long; where what is translucent is joined is not seen.
        pieces = [
            np.stack([np.concatenate([x[part], x[part][::-1]]), np.concatenate([low[part], high[part][::-1]])], 1)
            for part in (slice(first, first + _PIECE + 1) for first in range(0, max(len(x) - 1, 0), _PIECE))
        ]
        area = PolyCollection(
            pieces, facecolors=self.color(mark.color), linewidths=0, alpha=mark.opacity, rasterized=many, zorder=1
        )
        axes.add_collection(area, autolim=False)

    def _draw_points(self, axes: Axes, mark: Points, y: _Scale, many: bool) -> None:
        x, at, color = self.x(mark.x), y(mark.y), self.color(mark.color)
        if mark.low is not None and mark.high is not None:
            ends: Any = np.stack([np.stack([x, y(mark.low)], 1), np.stack([x, y(mark.high)], 1)], 1)
            bars = LineCollection(ends, colors=color, linewidths=0.8, alpha=mark.opacity, rasterized=many, zorder=2.4)
            axes.add_collection(bars, autolim=False)
        # Those at the border are whole.
        seen = _seen((x - self.x.low) / (self.x.high - self.x.low)) & _seen((at - y.low) / (y.high - y.low))
        points = Line2D(
            x[seen],
            at[seen],
            color=color,
            linestyle="none",
            marker=_SYMBOLS[mark.symbol],
            markersize=mark.size * _PIXEL,
            markeredgewidth=0,
            alpha=mark.opacity,
            clip_on=False,
            rasterized=many,
            zorder=2.5,
        )
        axes.add_line(points)

    def _draw_ticks(self, axes: Axes, mark: Ticks, y: _Scale, many: bool) -> None:
        ends: Any = np.empty((len(mark.x), 2, 2))
        ends[:, :, 0] = self.x(mark.x)[:, None]
        ends[:, 0, 1], ends[:, 1, 1] = y(mark.row - 0.4), y(mark.row + 0.4)
        pixel = 72.0 / self.dpi
        strokes = LineCollection(
            ends,
            colors=self.color(mark.color),
            # Thinner where there are many, but always whole pixels.
            linewidths=max(round(min(0.8, 0.5 * self.inner / max(len(mark.x), 1)) / pixel), 1) * pixel,
            alpha=mark.weights,
            capstyle="butt",
            rasterized=many,
            zorder=2,
        )
        # Onto whole pixels: a stroke between two would be half as strong on both.
        strokes.set_snap(True)
        axes.add_collection(strokes, autolim=False)

    def _draw_bars(self, axes: Axes, mark: Bars, y: _Scale, many: bool) -> None:
        half = np.asarray(mark.width) / 2
        along, across = (y, self.x) if mark.horizontal else (self.x, y)
        first, last = along(mark.position - half), along(mark.position + half)
        low, high = across(_lows(mark)), across(mark.high)
        corners: Any = np.stack(
            [np.stack(pair, 1) for pair in ((first, low), (last, low), (last, high), (first, high))], 1
        )
        colors = self.color(mark.color) if mark.colors is None else [self.color(color) for color in mark.colors]
        bars = PolyCollection(
            corners[:, :, ::-1] if mark.horizontal else corners,
            facecolors=colors,
            linewidths=0,
            alpha=mark.opacity,
            rasterized=many,
            zorder=1.8,
        )
        bars.set_snap(True)
        axes.add_collection(bars, autolim=False)

    def _draw_arrow(self, mark: Line, place: _Place) -> None:
        ends = [self._at(place, x, y) for x, y in zip(mark.x, mark.y, strict=True)]
        # The direction is that of the last stretch that has one.
        stretches = [(before, after) for before, after in pairwise(ends) if math.dist(before, after) > 1e-6]
        if not stretches:
            return
        (from_x, from_y), (x, y) = stretches[-1]
        length = math.hypot(x - from_x, y - from_y)
        width, color = mark.width * _PIXEL, self.color(mark.color)
        along = ((x - from_x) / length, (y - from_y) / length)
        head = min(3.0 + 1.5 * width, length)
        back_x, back_y = x - along[0] * head, y - along[1] * head
        half = head * 0.42
        corners = [
            (x, y),
            (back_x - along[1] * half, back_y + along[0] * half),
            (back_x + along[1] * half, back_y - along[0] * half),
        ]
        points = [stretches[0][0], *(after for _, after in stretches[:-1]), (back_x, back_y)]
        how: Any = {"alpha": mark.opacity, "zorder": 2, "clip_box": place.axes.bbox if place.axes else None}
        line = Line2D(*zip(*points, strict=True), color=color, linewidth=width, linestyle=_DASHES[mark.dash], **how)
        self.over.add_line(line)
        self.over.add_patch(Polygon(corners, facecolor=color, linewidth=0, **how))

    def _draw_boxes(self, mark: Boxes, place: _Place) -> None:
        unit_x = self.inner / abs(self.x.high - self.x.low)
        unit_y = place.height / abs(place.y.high - place.y.low)
        for index, text in enumerate(mark.texts):
            if not _seen(self.x.share(mark.x[index])) or not _seen(place.y.share(mark.y[index])):
                continue
            x, y = self._at(place, mark.x[index], mark.y[index])
            width, height = float(mark.width[index]) * unit_x, float(mark.height[index]) * unit_y
            radius = min(3.0, width / 4, height / 4)
            box = FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=self.color(mark.fills[index]),
                edgecolor=self.color(mark.outlines[index]),
                # A thin one is all border otherwise.
                linewidth=0.8 if min(width, height) > 3.0 else 0.0,
                linestyle=_DASHES[mark.dash],
                zorder=3,
            )
            self.over.add_patch(box)
            lines = _clean(text, lines=True).split("\n")
            size = mark.size * self.zoom
            while size > 4.5 and (
                max(_width(line, size) for line in lines) > width - 3.0 or len(lines) * size * 1.2 > height - 1.0
            ):
                size -= 0.25
            lines = lines[: max(int((height - 1.0) / (size * 1.2)), 1)]
            ink = INK if mark.inks is None else mark.inks[index]
            self._lines(x, y, [_shorten(line, width - 3.0, size) for line in lines], size, ink, "center")

    def _draw_texts(self, mark: Texts, place: _Place) -> None:
        size = mark.size * self.zoom
        for x, y, text in zip(mark.x, mark.y, mark.texts, strict=True):
            if not _seen(self.x.share(x)) or not _seen(place.y.share(y)):
                continue
            at, height = self._at(place, x, y)
            before, after = at - _PAD, self.width - _PAD - at
            room = {"start": after, "end": before, "middle": 2 * min(before, after)}[mark.anchor]
            lines = [_shorten(line, room, size) for line in _clean(text, lines=True).split("\n")]
            self._lines(at, height, lines, size, mark.color, _SIDES[mark.anchor])

    def _lines(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        size: float,
        color: Color,
        ha: Literal["left", "center", "right"],
    ) -> None:
        """Lines of text whose middle is at ``y``."""
        for row, line in enumerate(lines):
            self._text(x, y + ((len(lines) - 1) / 2 - row) * size * 1.2 - size * 0.36, line, size, color, ha=ha)

    def _draw_head(self, place: _Place) -> None:
        line, top = self.line * 1.05, place.top
        for row, text in enumerate(place.title):
            self._text(self.left, top - (row + 0.8) * line, text, self.label_size, INK, bold=True)
        entries, count = self._entries(place), len(place.columns)
        most = count * _LEGEND_LINES
        if len(entries) > most:
            entries[most - 1 :] = [_Entry(None, f"+ {len(entries) - most + 1} more")]
        if not place.beside:
            top -= len(place.title) * line
        for index, entry in enumerate(entries):
            row, column = divmod(index, count)
            x, y = place.legend_left + sum(place.columns[:column]), top - (row + 0.8) * line
            if entry.mark is not None:
                self._draw_sample(entry.mark, x, y + self.size * 0.36)
            self._text(x + (_SAMPLE if entry.mark is not None else 0.0), y, entry.text, self.size, MUTED)

    def _draw_sample(self, mark: Mark, x: float, y: float) -> None:
        """How a mark looks, in a legend; ``x`` is its left end."""
        assert not isinstance(mark, Boxes)
        color, width = self.color(mark.color), _SAMPLE - 4.0
        match mark:
            case Line() | Steps():
                dash = _DASHES[mark.dash if isinstance(mark, Line) else "solid"]
                how: Any = {"linewidth": min(mark.width * _PIXEL, 2.0), "linestyle": dash, "alpha": mark.opacity}
                self.over.add_line(Line2D([x, x + width], [y, y], color=color, **how))
            case Points():
                symbol: Any = {"marker": _SYMBOLS[mark.symbol], "markersize": 4.5, "markeredgewidth": 0}
                self.over.add_line(Line2D([x + width / 2], [y], color=color, linestyle="none", **symbol))
            case Ticks():
                for share in (0.2, 0.5, 0.8):
                    self.over.add_line(Line2D([x + share * width] * 2, [y - 2.5, y + 2.5], color=color, linewidth=0.8))
            case Bars():
                self.over.add_patch(
                    Rectangle((x + 2.0, y - 3.0), 6.0, 6.0, facecolor=color, linewidth=0, alpha=mark.opacity)
                )

    def _draw_labels(self, place: _Place) -> None:
        """The labels of the y axes, each turned and in the middle of its axis."""
        size, middle = self.label_size, place.bottom + place.height / 2
        panel = place.panel
        for row, text in enumerate(self._y_label(panel.y, place.height)):
            color = (_tint(panel.marks) if panel.right else None) or INK
            self._text(_PAD + size * (0.85 + 1.2 * row), middle, text, size, color, ha="center", rotation=90)
        if place.right is not None and panel.right_y is not None:
            lines = self._y_label(panel.right_y, place.height)
            for row, text in enumerate(reversed(lines)):
                x = self.width - _PAD - size * (0.25 + 1.2 * row)
                self._text(x, middle, text, size, _tint(panel.right) or INK, ha="center", rotation=90)

    def _draw_picture(self, picture: Picture, centre: float) -> None:
        pixels = picture.pixels
        rows, columns = pixels.shape[:2]
        pixel = 72.0 / self.dpi
        scale = self.side / max(rows, columns)
        small = scale >= pixel
        if small:
            # Each pixel of a small one becomes a square of whole pixels.
            scale = math.floor(scale / pixel + 1e-6) * pixel
        width, height = columns * scale, rows * scale
        middle = self.strip_top - self.strip_label - self.side / 2
        left, bottom = (round(place / pixel) * pixel for place in (centre - width / 2, middle - height / 2))
        image = AxesImage(
            self.over,
            # A rounding error would be one more row of pixels.
            extent=(left, left + width - 1e-4 * pixel, bottom, bottom + height - 1e-4 * pixel),
            interpolation="nearest" if small else "hanning",
        )
        image.set_data(np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels)
        self.over.add_image(image)
        at = self.left + float(self.x.share(picture.x)) * self.inner
        start, base = self.strip_top - self.strip_label - self.side, self.strip_top - self.strip_height
        # Straight down, wherever the picture stands above its place.
        start_x = min(max(at, left + 0.25), left + width - 0.25)
        leader = Line2D(
            [start_x, start_x, at, at],
            [bottom, start - 1.5, base + 1.0, base - (self.size * 0.5 if self.places else 0.0)],
            color=self.color(MUTED),
            linewidth=0.5,
            zorder=-1,
        )
        self.over.add_line(leader)
        label = _shorten(_clean(picture.label), self.side + _GAP - 1.0, self.size)
        self._text(centre, self.strip_top - self.line + 2.0, label, self.size, MUTED, ha="center")


def _columns(widths: Sequence[float], room: float) -> list[float]:
    """The widths of the most columns, filled row by row, that have room: one at least."""
    for count in range(len(widths), 0, -1):
        columns = [max(widths[column::count]) for column in range(count)]
        if sum(columns) - _BETWEEN <= room or count == 1:
            return columns
    return []


def _tint(marks: Sequence[Mark]) -> Color | None:
    """The colour that all of these marks have, if they have one."""
    colors = {mark.color for mark in marks if not isinstance(mark, Boxes | Texts)}
    return colors.pop() if len(colors) == 1 else None


def _strokes(marks: Iterable[Mark]) -> float:
    """How much there is to draw, in strokes, points or bars; ten vertices of a line are one."""
    total = 0.0
    for mark in marks:
        match mark:
            case Line() | Area():
                total += len(mark.x) / 10
            case Steps():
                total += len(mark.y) / 5
            case Points() | Ticks():
                total += len(mark.x)
            case Bars():
                total += len(mark.position)
    return total


def _seen(share: Any) -> Any:
    """Whether a share of an axis lies on it."""
    return (share >= -1e-9) & (share <= 1 + 1e-9)


def _shares(total: float, ratios: Sequence[float], least: Sequence[float]) -> list[float]:
    """Heights in these ratios, with this sum, but none below its least: those that would be have it."""
    fixed: set[int] = set()
    while True:
        rest = total - sum(least[index] for index in fixed)
        weight = sum(ratio for index, ratio in enumerate(ratios) if index not in fixed)
        short = {
            index
            for index, ratio in enumerate(ratios)
            if index not in fixed and ratio * rest < least[index] * weight - 1e-9
        }
        if not short:
            return [least[i] if i in fixed else ratio * rest / weight for i, ratio in enumerate(ratios)]
        fixed |= short


def _spread(wanted: Floats, apart: float, low: float, high: float) -> Floats:
    """The places nearest to ``wanted`` (ascending; least squares) that are ``apart`` and between ``low`` and ``high``.

    Without the distances these are the ascending places nearest to the shifted ones: neighbours that would change
    their order are pooled to their mean.
    """
    shift = apart * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []
    for value in wanted - shift:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, count), (other, more) = pools[-2:]
            pools[-2:] = [((mean * count + other * more) / (count + more), count + more)]
    places = np.concatenate([np.full(count, mean) for mean, count in pools])
    ending = max(high - (len(wanted) - 1) * apart, low)
    spread: Floats = np.clip(places, low, ending) + shift
    return spread
