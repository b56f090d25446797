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
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lronnx.errors import InputError
from lronnx.plot import check_installed
from lronnx.plot.colors import BACKGROUND, FAINT, INK, MUTED, Color
from lronnx.plot.figures import Area, Axis, Bars, Boxes, Figure, Line, Mark, Panel, Points, Steps, Texts, Ticks
from lronnx.store import replacing

check_installed("matplotlib", "PIL")

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.collections import LineCollection, PolyCollection  # noqa: E402
from matplotlib.figure import Figure as Sheet  # noqa: E402
from matplotlib.font_manager import FontProperties, get_font  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

Floats = NDArray[np.float64]
Form = Literal["png", "svg"]
Theme = Literal["light", "dark"]

_SETTINGS: Any = {
    # Names are no formulas.
    "text.parse_math": False,
    "svg.fonttype": "path",
    # Identifiers in SVG are random otherwise.
    "svg.hashsalt": "lronnx",
    # A line of many vertices is more than Agg fills at once.
    "agg.path.chunksize": 10000,
    "axes.linewidth": 0.6,
}
_LOCK = threading.Lock()
"""matplotlib's settings are those of the process."""

_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (3.5, 2.0)), "dotted": (0, (1.0, 1.6))}
_SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "triangle": "^"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MANY = 2000
"""So many strokes, points or bars of a panel, or ten times as many vertices, are pixels inside an SVG."""

_PAD = 4.0
_GAP = 3.0
_LEADER = 8.0
_ARROW = 4.5
COLUMN = 3.4
"""Inches."""


def draw(figure: Figure, form: Form, *, width: float | None = None, dpi: int = 300, theme: Theme = "light") -> bytes:
    """The figure as the content of a PNG or SVG file.

    ``width`` in inches; None: the figure's own, or 3.4 if it has none, a column of most two-column papers. ``dpi``:
    pixels per inch of a PNG, and of what is too much for outlines in an SVG.
    """
    width = width or figure.width or COLUMN
    if form not in ("png", "svg"):
        raise ValueError(f"a still figure is png or svg, not {form}")
    target = io.BytesIO()
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        sheet = _Drawing(figure, width, dpi, theme).sheet
        metadata: dict[str, Any] = (
            {"Software": None} if form == "png" else {"Date": None, "Creator": None, "Title": _clean(figure.title)}
        )
        sheet.savefig(target, format=form, dpi=dpi, metadata=metadata)
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
    """Write NAME.png or NAME.svg, and NAME.csv, of each figure; the files' paths. The folder is made if need be.

    Nothing is written before everything is drawn, and a file is written whole or not at all. Raises InputError where
    the folder cannot be written to.
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
    return FontProperties(fname=path), get_font(str(path))


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
    font.set_text(text, 0.0)
    return float(font.get_width_height()[0]) / 64.0 / 100.0 * size + 0.2


@lru_cache(maxsize=4096)
def _clean(text: str, lines: bool = False) -> str:
    """What can be drawn of a text: no control characters, no others that the font lacks; line breaks if ``lines``."""
    known = _face(False)[1].get_charmap()
    out = []
    for character in text.replace("\r\n", "\n"):
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

    def ticks(self, most: int) -> tuple[list[float], list[str], list[float]]:
        """Places in drawn units, their texts, and places of small ticks; about ``most`` of the first at most."""
        low, high = min(self.low, self.high), max(self.low, self.high)
        if not self.log:
            places = _round_places(low, high, most)
            return places, _numbers(places, self.exponent), []
        whole = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        small = [
            place
            for decade in range(math.floor(low), math.ceil(high) + 1)
            for place in (decade + math.log10(digit) for digit in range(2, 10))
            if low <= place <= high
        ]
        if len(whole) >= 2:
            stride = -(-len(whole) // most)
            decades = [decade for decade in whole if decade % stride == 0] or [whole[0]]
            plain = decades[0] >= -2 and decades[-1] <= 3
            texts = [f"{10.0**decade:g}" if plain else _power(decade) for decade in decades]
            between = small if stride == 1 and len(whole) <= 7 else [float(decade) for decade in whole if stride > 1]
            return [float(decade) for decade in decades], texts, between
        exponent = math.floor(low)
        values = _round_places(10 ** (low - exponent), 10 ** (high - exponent), most)
        values = [value for value in values if value > 0]
        return [exponent + math.log10(value) for value in values], _numbers(values, exponent), small


def _scaled(values: Floats, exponent: int) -> Floats:
    """``values`` times a power of ten, in two steps, each of which has a power that exists."""
    if exponent == 0:
        return values
    half = exponent // 2
    with np.errstate(over="ignore", under="ignore"):
        scaled: Floats = values * 10.0**half * 10.0 ** (exponent - half)
    return scaled


def _round_places(low: float, high: float, most: int) -> list[float]:
    places = MaxNLocator(max(most - 1, 1), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(place) + 0.0 for place in places if low - slack <= place <= high + slack]


def _numbers(places: Sequence[float], exponent: int) -> list[str]:
    """Places times ten to ``exponent``, with as many digits as tell them apart."""
    largest = max((abs(place) for place in places), default=0.0)
    if largest == 0.0:
        return ["0" for _ in places]
    step = min((after - before for before, after in pairwise(places)), default=largest)
    power = math.floor(math.log10(largest) + 1e-9)
    if -4 <= power + exponent < 6:
        factor, tail = exponent, ""
    else:
        factor, tail = -power, f"\u00d7{_power(power + exponent)}"
    digits = 0
    scaled_step = step * 10.0**factor
    while digits < 15 and abs(round(scaled_step, digits) - scaled_step) > 1e-4 * scaled_step:
        digits += 1
    texts = []
    for place in places:
        text = f"{place * 10.0**factor:.{digits}f}"
        if float(text) == 0.0:
            texts.append("0")
        else:
            texts.append(tail[1:] if tail and float(text) == 1.0 else text + tail)
    return [text.replace("-", "\u2212") for text in texts]


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


@dataclass
class _Entry:
    """One line of a legend."""

    mark: Mark
    text: str


@dataclass
class _Place:
    """A panel as it is drawn. Lengths in points."""

    panel: Panel
    y: _Scale
    right: _Scale | None
    title: list[str]
    entries: list[_Entry]
    columns: list[float] = field(default_factory=list)
    beside: bool = False
    head: float = 0.0
    bottom: float = 0.0
    height: float = 0.0
    labels: list[tuple[float, str]] = field(default_factory=list)


class _Drawing:
    def __init__(self, figure: Figure, width: float, dpi: int, theme: Theme) -> None:
        self.figure, self.dpi, self.theme = figure, dpi, theme
        self.width = width * 72.0
        self.size = 7.0 if width < 5 else 8.0
        # What the sizes of texts among the marks are multiplied by.
        self.zoom = width / figure.width if figure.width else self.size / 8.0
        self.line = self.size * 1.25
        marks = [mark for panel in figure.panels for mark in (*panel.marks, *panel.right)]
        spans = list(_spans(marks, "x"))
        spans += [(np.asarray(panel.verticals, dtype=np.float64), 0.0) for panel in figure.panels]
        spans += [(np.array([picture.x], dtype=np.float64), 0.0) for picture in figure.pictures]
        self.x = _scale(figure.x, spans)
        listed: set[tuple[str, ...]] = set()
        self.places = [self._place(panel, listed) for panel in figure.panels]
        self._arrange()
        self._draw()

    def color(self, color: Color) -> str:
        return color.dark if self.theme == "dark" else color.light

    # Places

    def _place(self, panel: Panel, listed: set[tuple[str, ...]]) -> _Place:
        right = _scale(panel.right_y or Axis(), list(_spans(panel.right, "y"))) if panel.right else None
        entries = []
        here: set[tuple[str, ...]] = set()
        for mark in (*panel.marks, *panel.right) if panel.legend else ():
            name = getattr(mark, "name", "")
            group = getattr(mark, "group", "")
            key = ("group", group) if group else (type(mark).__name__, name, mark.color.light)  # type: ignore[union-attr]
            if name and key not in here and key not in listed:
                entries.append(_Entry(mark, _clean(name)))
                here.add(key)
        listed.update(key for key in here if key[0] == "group")
        return _Place(panel, _scale(panel.y, list(_spans(panel.marks, "y"))), right, [], entries)

    def _arrange(self) -> None:
        size, line, figure = self.size, self.line, self.figure
        self.title_size = size + 1.5
        self.title = _wrap(_clean(figure.title), self.width - 2 * _PAD, self.title_size, 2, bold=True)
        axis_label = size + 0.5
        left = right = _PAD
        for place in self.places:
            y = place.panel.y
            label = (axis_label * 1.3 + 2) if y.label and not y.hidden else 0.0
            ticks = 0.0
            if not y.hidden:
                texts = [text for _, text in self._y_ticks(y, place.y, 200.0)]
                ticks = max((_width(text, size) for text in texts), default=0.0) + 4.5
            left = max(left, _PAD + label + ticks)
            if place.right is not None and place.panel.right_y and not place.panel.right_y.hidden:
                texts = [text for _, text in self._y_ticks(place.panel.right_y, place.right, 200.0)]
                label = (axis_label * 1.3 + 2) if place.panel.right_y.label else 0.0
                right = max(right, _PAD + label + 4.5 + max((_width(text, size) for text in texts), default=0.0))
        self.left = left
        # The last tick's text reaches over the end of the axis.
        self.right = max(right, _PAD + 8.0)
        # Where texts have to fit, both axes have one scale.
        fitted = bool(figure.width) and figure.x.hidden and all(place.panel.y.hidden for place in self.places)
        if fitted:
            self.left = self.right = 0.0
        self.inner = max(self.width - self.left - self.right, 10.0)

        top = _PAD + len(self.title) * self.title_size * 1.25 + (2.0 if self.title else 0.0)
        for place in self.places:
            self._head(place)
        self._strip()
        bottom = _PAD
        last = bool(self.places) and not figure.x.hidden
        if last:
            bottom += 4.5 + line + (axis_label * 1.3 if figure.x.label else 0.0)
        gap = size * 0.9
        fixed = top + self.strip_height + bottom + sum(place.head for place in self.places)
        fixed += gap * max(len(self.places) - 1, 0) + size * 0.5
        least = [self._least(place.panel) for place in self.places]
        self.height = max(self.width * figure.aspect, fixed + sum(least), 24.0)
        heights = _shares(self.height - fixed, [place.panel.height for place in self.places], least)
        if fitted:
            unit = self.inner / abs(self.x.high - self.x.low)
            heights = [abs(place.y.high - place.y.low) * unit for place in self.places]
            self.height = fixed + sum(heights)
        at = self.height - top
        self.strip_top = 0.0
        for index, (place, height) in enumerate(zip(self.places, heights, strict=True)):
            at -= place.head
            if index == 0:
                self.strip_top = at
                at -= self.strip_height + size * 0.5
            place.height, place.bottom = height, at - height
            at -= height + gap
        if not self.places:
            self.strip_top = at
        self.title_y = self.height - _PAD

    def _least(self, panel: Panel) -> float:
        rows = len(panel.y.ticks or ())
        return max(24.0, min(rows, 16) * self.line)

    def _head(self, place: _Place) -> None:
        """The title of a panel and its legend above it."""
        size = self.size
        title = _clean(place.panel.title)
        entries = place.entries
        sample = 14.0
        widest = self.inner * 0.6
        for entry in entries:
            entry.text = _shorten(entry.text, widest, size)
        widths = [sample + _width(entry.text, size) + 9.0 for entry in entries]
        title_width = _width(title, size + 0.5, bold=True) + 9.0 if title else 0.0
        place.beside = bool(title and entries) and title_width + sum(widths) <= self.inner
        place.title = _wrap(title, self.inner, size + 0.5, 2, bold=True) if title else []
        rows = 0
        if entries:
            for count in range(len(entries), 0, -1):
                columns = [max(widths[column::count]) for column in range(count)]
                if sum(columns) - 9.0 <= self.inner or count == 1:
                    break
            most = 4
            if len(entries) > most * count:
                hidden = len(entries) - (most * count - 1)
                place.entries = [*entries[: most * count - 1], _Entry(Texts(*_NOWHERE, []), f"+ {hidden} more")]
            place.columns = columns
            rows = -(-len(place.entries) // count)
        above = len(place.title) + (0 if place.beside else rows)
        place.head = above * self.line * 1.05 + (3.0 if above else 0.0)

    def _strip(self) -> None:
        """Where the pictures stand: ``strip`` has (picture, centre, side) of each."""
        pictures = sorted(self.figure.pictures, key=lambda picture: picture.x)
        self.strip: list[tuple[Any, float, float]] = []
        self.strip_height = 0.0
        self.strip_labels = any(picture.label for picture in pictures)
        if not pictures:
            return
        low, high = _PAD, self.width - _PAD
        most = max(int((high - low + _GAP) // (14.0 + _GAP)), 1)
        if len(pictures) > most:
            pictures = [pictures[index] for index in np.linspace(0, len(pictures) - 1, most).round().astype(int)]
        side = min(40.0 if self.width < 360 else 54.0, (high - low + _GAP) / len(pictures) - _GAP)
        wanted = np.array([self.left + float(self.x.share(picture.x)) * self.inner for picture in pictures])
        centres = _spread(wanted, side + _GAP, low + side / 2, high - side / 2)
        self.strip = [(picture, float(centre), side) for picture, centre in zip(pictures, centres, strict=True)]
        self.strip_height = side + _LEADER + (self.line if self.strip_labels else 0.0)

    def _y_ticks(self, axis: Axis, scale: _Scale, height: float) -> list[tuple[float, str]]:
        """Places, in drawn units, and texts along a y axis of this height."""
        room = self.width * 0.3
        if axis.ticks is None:
            places, texts, _ = scale.ticks(max(int(height / (self.size * 2.2)), 2))
            return list(zip(places, texts, strict=True))
        kept: list[tuple[float, str]] = []
        taken: list[float] = []
        for place, text in axis.ticks:
            share = float(scale.share(place))
            if not -1e-9 <= share <= 1 + 1e-9 or any(abs(share - other) * height < self.size for other in taken):
                continue
            taken.append(share)
            kept.append((float(scale(place)), _shorten(_clean(text), room, self.size)))
        return kept

    def _x_ticks(self) -> list[tuple[float, str]]:
        axis, scale = self.figure.x, self.x
        if axis.ticks is None:
            for most in range(max(int(self.inner / 30.0), 2), 1, -1):
                places, texts, _ = scale.ticks(most)
                if self._apart([(place, text) for place, text in zip(places, texts, strict=True)]):
                    break
            return list(zip(places, texts, strict=True))
        kept: list[tuple[float, str]] = []
        for place, text in sorted(axis.ticks):
            share = float(scale.share(place))
            if -1e-9 <= share <= 1 + 1e-9:
                entry = (float(scale(place)), _shorten(_clean(text), self.inner * 0.4, self.size))
                if self._apart([*kept[-1:], entry]):
                    kept.append(entry)
        return kept

    def _apart(self, ticks: Sequence[tuple[float, str]]) -> bool:
        end = -math.inf
        unit = self.inner / (self.x.high - self.x.low)
        for place, text in sorted(ticks, key=lambda tick: tick[0] * unit):
            centre, half = (place - self.x.low) * unit, _width(text, self.size) / 2
            if centre - half < end + 4.0:
                return False
            end = centre + half
        return True

    # Artists

    def _draw(self) -> None:
        self.sheet = Sheet(figsize=(self.width / 72.0, self.height / 72.0), dpi=self.dpi)
        self.sheet.set_facecolor(self.color(BACKGROUND))
        for index, place in enumerate(self.places):
            self._draw_panel(place, index == len(self.places) - 1)
        # What is placed in points, above everything.
        self.over = self.sheet.add_axes((0, 0, 1, 1), facecolor="none")
        self.over.set_axis_off()
        self.over.set_xlim(0, self.width)
        self.over.set_ylim(0, self.height)
        for row, text in enumerate(self.title):
            y = self.title_y - row * self.title_size * 1.25
            self._text(_PAD, y, text, self.title_size, INK, va="top", bold=True)
        for place in self.places:
            self._draw_head(place)
            self._draw_labels(place)
            for mark in (*place.panel.marks, *place.panel.right):
                if isinstance(mark, Line) and mark.arrow:
                    self._draw_arrow(mark, place)
                elif isinstance(mark, Boxes):
                    self._draw_boxes(mark, place)
                elif isinstance(mark, Texts):
                    self._draw_texts(mark, place)
        self._draw_strip()

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        color: Color,
        *,
        ha: str = "left",
        va: str = "baseline",
        bold: bool = False,
        rotation: float = 0.0,
    ) -> None:
        if text:
            self.over.text(
                x,
                y,
                text,
                fontproperties=_font(size, bold),
                color=self.color(color),
                ha=ha,
                va=va,
                rotation=rotation,
                rotation_mode="anchor",
                parse_math=False,
            )

    def _axes(self, place: _Place, y: _Scale) -> Axes:
        rectangle = (
            self.left / self.width,
            place.bottom / self.height,
            self.inner / self.width,
            place.height / self.height,
        )
        axes = self.sheet.add_axes(rectangle, facecolor="none")
        axes.set_xlim(self.x.low, self.x.high)
        axes.set_ylim(y.low, y.high)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
            spine.set_color(self.color(MUTED))
        axes.tick_params(length=2.5, width=0.6, pad=2.0, color=self.color(MUTED), labelcolor=self.color(MUTED))
        axes.tick_params(which="minor", length=1.5, width=0.4, color=self.color(MUTED))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def _draw_panel(self, place: _Place, lowest: bool) -> None:
        panel, figure = place.panel, self.figure
        axes = self._axes(place, place.y)
        font: Any = {"fontproperties": _font(self.size), "parse_math": False}
        if not panel.y.hidden:
            ticks = self._y_ticks(panel.y, place.y, place.height)
            axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks], **font)
            if panel.y.ticks is None:
                axes.set_yticks(place.y.ticks(max(int(place.height / (self.size * 2.2)), 2))[2], minor=True)
                axes.grid(axis="y", color=self.color(FAINT), linewidth=0.4)
            axes.spines["left"].set_visible(True)
        if not figure.x.hidden:
            axes.spines["bottom"].set_visible(True)
            ticks = self._x_ticks()
            axes.set_xticks([at for at, _ in ticks], [text if lowest else "" for _, text in ticks], **font)
            if figure.x.ticks is None and figure.x.log:
                axes.set_xticks(self.x.ticks(max(len(ticks), 2))[2], minor=True)
        many = _strokes(panel.marks) + _strokes(panel.right) > _MANY
        for vertical in panel.verticals:
            at = float(self.x(vertical))
            axes.axvline(at, color=self.color(MUTED), linewidth=0.6, dashes=(3, 2), zorder=1.5)
        for mark in panel.marks:
            self._draw_mark(axes, mark, place.y, many)
        if place.right is not None:
            axes = self._axes(place, place.right)
            axis = panel.right_y or Axis()
            if not axis.hidden:
                axes.yaxis.tick_right()
                ticks = self._y_ticks(axis, place.right, place.height)
                axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks], **font)
                axes.spines["right"].set_visible(True)
            for mark in panel.right:
                self._draw_mark(axes, mark, place.right, many)

    def _draw_mark(self, axes: Axes, mark: Mark, y: _Scale, many: bool) -> None:
        x = self.x
        match mark:
            case Line():
                self._draw_line(axes, x(mark.x), y(mark.y), mark, mark.dash, many)
            case Steps():
                edges, heights = np.repeat(x(mark.edges), 2)[1:-1], np.repeat(y(mark.y), 2)
                self._draw_line(axes, edges, heights, mark, "solid", many)
            case Area():
                if len(mark.x):
                    axes.fill_between(
                        x(mark.x),
                        y(mark.low),
                        y(mark.high),
                        color=self.color(mark.color),
                        alpha=mark.opacity,
                        linewidth=0,
                        rasterized=many,
                        zorder=1,
                    )
            case Points():
                self._draw_points(axes, mark, y, many)
            case Ticks():
                self._draw_ticks(axes, mark, y, many)
            case Bars():
                self._draw_bars(axes, mark, y, many)

    def _draw_line(self, axes: Axes, x: Floats, y: Floats, mark: Line | Steps, dash: str, many: bool) -> None:
        axes.add_line(
            Line2D(
                x,
                y,
                color=self.color(mark.color),
                linewidth=mark.width * 0.75,
                linestyle=_DASHES[dash],
                alpha=mark.opacity,
                solid_joinstyle="round",
                rasterized=many,
                zorder=2,
            )
        )

    def _draw_points(self, axes: Axes, mark: Points, y: _Scale, many: bool) -> None:
        at, heights = self.x(mark.x), y(mark.y)
        if mark.low is not None and mark.high is not None and len(at):
            low, high = y(mark.low), y(mark.high)
            segments = np.stack([np.stack([at, low], 1), np.stack([at, high], 1)], 1)
            axes.add_collection(
                LineCollection(
                    list(segments),
                    colors=self.color(mark.color),
                    linewidths=0.8,
                    alpha=mark.opacity,
                    rasterized=many,
                    zorder=2.4,
                ),
                autolim=False,
            )
        seen = _inside(at, self.x) & _inside(heights, y)
        axes.add_line(
            Line2D(
                at[seen],
                heights[seen],
                color=self.color(mark.color),
                linestyle="none",
                marker=_SYMBOLS[mark.symbol],
                markersize=mark.size * 0.75,
                markeredgewidth=0,
                alpha=mark.opacity,
                clip_on=False,
                rasterized=many,
                zorder=2.5,
            )
        )

    def _draw_ticks(self, axes: Axes, mark: Ticks, y: _Scale, many: bool) -> None:
        at = self.x(mark.x)
        if not len(at):
            return
        low, high = y(mark.row - 0.4), y(mark.row + 0.4)
        segments = np.empty((len(at), 2, 2))
        segments[:, :, 0] = at[:, None]
        segments[:, 0, 1], segments[:, 1, 1] = low, high
        thinnest = 72.0 / self.dpi
        strokes = LineCollection(
            list(segments),
            colors=self.color(mark.color),
            linewidths=max(thinnest, min(0.8, 0.5 * self.inner / len(at))),
            alpha=mark.weights,
            capstyle="butt",
            rasterized=many,
            zorder=2,
        )
        strokes.set_snap(True)
        axes.add_collection(strokes, autolim=False)

    def _draw_bars(self, axes: Axes, mark: Bars, y: _Scale, many: bool) -> None:
        if not len(mark.position):
            return
        half = np.asarray(mark.width) / 2
        along, across = (y, self.x) if mark.horizontal else (self.x, y)
        first, last = along(mark.position - half), along(mark.position + half)
        low, high = across(_lows(mark)), across(mark.high)
        corners = np.stack([np.stack(pair, 1) for pair in ((first, low), (last, low), (last, high), (first, high))], 1)
        if mark.horizontal:
            corners = corners[:, :, ::-1]
        colors = [self.color(color) for color in mark.colors] if mark.colors is not None else self.color(mark.color)
        bars = PolyCollection(
            list(corners), facecolors=colors, linewidths=0, alpha=mark.opacity, rasterized=many, zorder=1.8
        )
        bars.set_snap(True)
        axes.add_collection(bars, autolim=False)

    def _draw_arrow(self, mark: Line, place: _Place) -> None:
        """A head at the end of a line."""
        x = self.left + self.x.share(mark.x[-2:]) * self.inner
        y = place.bottom + place.y.share(mark.y[-2:]) * place.height
        along = np.array([np.diff(x)[0], np.diff(y)[0]]) if len(x) > 1 else np.zeros(2)
        length = float(np.hypot(*along))
        if not length:
            return
        tip, along = np.array([x[-1], y[-1]]), along / length
        across = np.array([-along[1], along[0]]) * 0.36 * _ARROW
        back = tip - along * _ARROW
        self.over.add_patch(
            Polygon([tip, back + across, back - across], facecolor=self.color(mark.color), linewidth=0, zorder=2.9)
        )

    def _draw_boxes(self, mark: Boxes, place: _Place) -> None:
        unit_x = self.inner / abs(self.x.high - self.x.low)
        unit_y = place.height / abs(place.y.high - place.y.low)
        for index, text in enumerate(mark.texts):
            x = self.left + float(self.x.share(mark.x[index])) * self.inner
            y = place.bottom + float(place.y.share(mark.y[index])) * place.height
            width, height = float(mark.width[index]) * unit_x, float(mark.height[index]) * unit_y
            radius = min(3.0, width / 4, height / 4)
            self.over.add_patch(
                FancyBboxPatch(
                    (x - width / 2, y - height / 2),
                    width,
                    height,
                    boxstyle=f"round,pad=0,rounding_size={radius}",
                    facecolor=self.color(mark.fills[index]),
                    edgecolor=self.color(mark.outlines[index]),
                    linewidth=0.8 if height > 3.0 else 0.0,
                    linestyle=_DASHES[mark.dash],
                    zorder=3,
                )
            )
            lines = _clean(text, lines=True).split("\n")
            size = mark.size * self.zoom
            while size > 4.5 and (
                max(_width(line, size) for line in lines) > width - 4 or len(lines) * size * 1.2 > height - 2
            ):
                size -= 0.5
            lines = lines[: max(int((height - 1) / (size * 1.2)), 1)]
            ink = INK if mark.inks is None else mark.inks[index]
            for row, line in enumerate(lines):
                middle = y + (len(lines) - 1) / 2 * size * 1.2 - row * size * 1.2 - size * 0.36
                self._text(x, middle, _shorten(line, width - 3, size), size, ink, ha="center")

    def _draw_texts(self, mark: Texts, place: _Place) -> None:
        size = mark.size * self.zoom
        scale = place.y
        for at, height, text in zip(mark.x, mark.y, mark.texts, strict=True):
            x = self.left + float(self.x.share(at)) * self.inner
            y = place.bottom + float(scale.share(height)) * place.height
            before, after = x - _PAD, self.width - _PAD - x
            room = {"start": after, "end": before, "middle": 2 * min(before, after)}[mark.anchor]
            ha = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
            lines = _clean(text, lines=True).split("\n")
            for row, line in enumerate(lines):
                middle = y + (len(lines) - 1) / 2 * size * 1.2 - row * size * 1.2 - size * 0.36
                self._text(x, middle, _shorten(line, room, size), size, mark.color, ha=ha)

    def _draw_head(self, place: _Place) -> None:
        top = place.bottom + place.height + place.head
        if place is self.places[0]:
            top = self.strip_top + place.head
        line = self.line * 1.05
        for row, text in enumerate(place.title):
            self._text(self.left, top - (row + 0.8) * line, text, self.size + 0.5, INK, bold=True)
        count = len(place.columns)
        if not count:
            return
        x0 = self.left
        if place.beside:
            x0 = self.left + self.inner - sum(place.columns) + 9.0
        else:
            top -= len(place.title) * line
        for index, entry in enumerate(place.entries):
            row, column = divmod(index, count)
            x, y = x0 + sum(place.columns[:column]), top - (row + 0.8) * line
            self._sample(entry.mark, x, y + self.size * 0.36)
            self._text(x + 14.0, y, entry.text, self.size, MUTED)

    def _sample(self, mark: Mark, x: float, y: float) -> None:
        match mark:
            case Line() | Steps():
                dash = mark.dash if isinstance(mark, Line) else "solid"
                width = min(mark.width * 0.75, 2.0)
                self._sample_line([x, x + 11.0], [y, y], color=self.color(mark.color), linewidth=width, dash=dash)
            case Points():
                self.over.add_line(
                    Line2D(
                        [x + 5.5],
                        [y],
                        color=self.color(mark.color),
                        marker=_SYMBOLS[mark.symbol],
                        markersize=min(max(mark.size * 0.75, 3.0), 5.0),
                        markeredgewidth=0,
                        linestyle="none",
                    )
                )
            case Ticks():
                for shift in (2.5, 5.5, 8.5):
                    at = x + shift
                    self._sample_line([at, at], [y - 2.5, y + 2.5], color=self.color(mark.color), linewidth=1.0)
            case Bars():
                color = self.color(mark.color)
                self.over.add_patch(
                    Rectangle((x + 2.0, y - 2.5), 7.0, 5.0, facecolor=color, linewidth=0, alpha=mark.opacity)
                )

    def _sample_line(
        self, x: list[float], y: list[float], *, color: str, linewidth: float, dash: str = "solid"
    ) -> None:
        self.over.add_line(Line2D(x, y, color=color, linewidth=linewidth, linestyle=_DASHES[dash]))

    def _draw_labels(self, place: _Place) -> None:
        size = self.size + 0.5
        panel = place.panel
        centre = place.bottom + place.height / 2
        if panel.y.label and not panel.y.hidden:
            text = _shorten(_clean(panel.y.label), place.height + 6, size)
            self._text(_PAD + size * 0.9, centre, text, size, INK, ha="center", rotation=90)
        if place.right is not None and panel.right_y and panel.right_y.label and not panel.right_y.hidden:
            text = _shorten(_clean(panel.right_y.label), place.height + 6, size)
            self._text(self.width - _PAD - size * 0.25, centre, text, size, INK, ha="center", rotation=90)
        if place is self.places[-1] and self.figure.x.label and not self.figure.x.hidden:
            text = _shorten(_clean(self.figure.x.label), self.width - 2 * _PAD, size)
            self._text(self.left + self.inner / 2, _PAD + size * 0.25, text, size, INK, ha="center")

    def _draw_strip(self) -> None:
        for picture, centre, side in self.strip:
            top = self.strip_top - (self.line if self.strip_labels else 0.0)
            rows, columns = picture.pixels.shape[:2]
            scale = side / max(rows, columns)
            width, height = columns * scale, rows * scale
            bottom = top - side / 2 - height / 2
            small = max(rows, columns) < side * self.dpi / 72.0
            gray: Any = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.pixels.ndim == 2 else {}
            self.over.imshow(
                picture.pixels,
                extent=(centre - width / 2, centre + width / 2, bottom, bottom + height),
                interpolation="nearest" if small else "hanning",
                aspect="auto",
                **gray,
            )
            at = self.left + float(self.x.share(picture.x)) * self.inner
            base = top - side
            self.over.add_line(
                Line2D(
                    [centre, centre, at, at],
                    [bottom, base - 1.5, base - _LEADER + 1.0, base - _LEADER - self.size * 0.5],
                    color=self.color(MUTED),
                    linewidth=0.5,
                )
            )
            label = _shorten(_clean(picture.label), side + _GAP - 1, self.size)
            self._text(centre, top + 2.0, label, self.size, MUTED, ha="center")
        if self.strip:
            self.over.set_xlim(0, self.width)
            self.over.set_ylim(0, self.height)


_NOWHERE = (np.empty(0), np.empty(0))


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


def _inside(values: Floats, scale: _Scale) -> NDArray[np.bool_]:
    share = (values - scale.low) / (scale.high - scale.low)
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
