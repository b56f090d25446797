"""Still figures: what is drawn is where the data say, in the colours they say, and every text has its room."""

from __future__ import annotations

import ast
import csv
import importlib
import io
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import hypothesis.strategies as st
import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.text import Text
from PIL import Image
from scipy.optimize import LinearConstraint, minimize

import lronnx
from lronnx.errors import InputError
from lronnx.plot import check_installed, still
from lronnx.plot.colors import BACKGROUND, INK, Color, layer, series
from lronnx.plot.figures import (
    Area,
    Axis,
    Bars,
    Boxes,
    Figure,
    Line,
    Panel,
    Picture,
    Points,
    Steps,
    Texts,
    Ticks,
)

RED, BLUE = Color("#ff0000", "#ff0000"), Color("#0000ff", "#0000ff")
UNIT = Axis(range=(0.0, 1.0))
HOSTILE = [
    "$",
    "$x_1^{$",
    "\\frac{a}{b} \\",
    "<script>alert(1)</script>",
    "]]> --> <!-- &amp; &#0;",
    "\u4e2d\u6587 \U0001f600 \ue000",
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u202eabc\u202c \u0627\u0644",
    "two\nlines\r\nor three\ttabs",
    "\x00\x0b\x1b[31m\x7f",
    "half \ud800 a character",
    "e\u0301 \u200b \u00ad \ufeff",
    "a" * 5000,
    "word " * 500,
    "",
    " ",
]


def examples(count: int) -> settings:
    return settings(deadline=None, max_examples=count, suppress_health_check=[HealthCheck.too_slow])


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def drawing(figure: Figure, *, width: float = 3.4, dpi: int = 100, theme: still.Theme = "light") -> still._Drawing:
    """The figure as artists; with the settings that it is drawn with."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(still._SETTINGS)
        made = still._Drawing(figure, width, dpi, theme)
        made.sheet.draw_without_rendering()
    return made


def pixels(figure: Figure, *, width: float = 3.4, dpi: int = 100, theme: still.Theme = "light") -> np.ndarray:
    """(height, width, 3), rows from the top."""
    png = still.draw(figure, "png", width=width, dpi=dpi, theme=theme)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def is_color(image: np.ndarray, color: str) -> np.ndarray:
    return np.all(image == rgb(color), axis=-1)


def frame(figure: Figure, *, dpi: int = 100, panel: int = 0) -> tuple[float, float, float, float]:
    """A panel's left, top, width and height in pixels from the upper left corner of the PNG."""
    made = drawing(figure, dpi=dpi)
    box = made.places[panel].axes.bbox
    return box.x0, made.sheet.bbox.height - box.y1, box.width, box.height


def everything(text: str = "name") -> Figure:
    """A figure that has a mark of every kind, with this text wherever there is one."""
    x = np.linspace(0.0, 1.0, 5)
    marks = [
        Area(x, x - 0.1, x + 0.1),
        Line(x, x, name=text, dash="dashed"),
        Line(x, x**2, arrow=True),
        Steps(np.linspace(0.0, 1.0, 6), x, name=text, group="steps", color=series(1)),
        Points(x, x, name=text, low=x - 0.2, high=x + 0.2, color=series(2)),
        Bars(x, x, name=text, width=0.1, colors=[series(i) for i in range(5)]),
        Boxes(x, x, np.full(5, 0.2), np.full(5, 0.1), [text] * 5, [BACKGROUND] * 5, [INK] * 5),
        Texts(x, x, [text] * 5, anchor="middle"),
    ]
    ticks = [Ticks(x, float(row), name=text, color=layer(row, 3), weights=np.full(5, 0.5)) for row in range(3)]
    return Figure(
        "everything",
        text,
        [
            Panel(
                marks,
                Axis(text),
                title=text,
                right=[Line(x, 3 - x, name=text)],
                right_y=Axis(text),
                verticals=[0.5],
                height=3.0,
            ),
            Panel(ticks, Axis(text, ticks=[(0, text), (1, text), (2, "x" + text)], range=(2.5, -0.5))),
            Panel([Bars(array(0, 1), array(0.5, 0.7), horizontal=True)], Axis(text, log=True)),
        ],
        x=Axis(text, ticks=[(0.0, text), (0.5, text), (1.0, text)]),
        aspect=1.6,
        pictures=[Picture(0.5, np.zeros((4, 4, 3), np.uint8), text), Picture(0.6, np.zeros((4, 6), np.uint8), text)],
        caption=text,
    )


# What is missing


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed("matplotlib", "PIL", "plotly")
    with pytest.raises(InputError, match=r"no_such_module.*pip install 'lronnx\[plot\]'"):
        check_installed("matplotlib", "no_such_module")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(InputError, match="need pillow and plotly, not installed"):
        check_installed("matplotlib", "PIL", "plotly")


@pytest.mark.parametrize("package", ["matplotlib", "PIL", "plotly"])
def test_a_package_that_cannot_be_imported_is_named_with_its_reason(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('broken\\nat heart')")
    name = {"PIL": "pillow"}.get(package, package)
    suffix = ".html" if package == "plotly" else ".png"
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from lronnx.errors import InputError
from lronnx.plot import check_drawable
try:
    check_drawable({suffix!r}, "--plot")
except InputError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == (
        f"{name} is installed but cannot be imported: broken at heart; pip install --force-reinstall {name}"
    )


def test_without_matplotlib_importing_still_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "lronnx.plot.still")
    with pytest.raises(InputError, match="matplotlib"):
        importlib.import_module("lronnx.plot.still")


def test_only_still_imports_matplotlib() -> None:
    importers = set()
    root = Path(lronnx.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "matplotlib" for name in names):
                importers.add(path.relative_to(root).as_posix())
    assert importers == {"plot/still.py"}


# Where marks are


@pytest.mark.parametrize(
    ("x_range", "y_range"), [((0.0, 1.0), (0.0, 1.0)), ((1.0, 0.0), (-3.0, 7.0)), ((-2e300, 5e300), (4e-310, 0.0))]
)
def test_a_point_is_where_its_axes_say(x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
    shares = (0.25, 0.7)
    x, y = (low * (1 - share) + high * share for (low, high), share in zip((x_range, y_range), shares, strict=True))
    mark = Points(array(x), array(y), color=RED, size=8)
    figure = Figure("f", "", [Panel([mark], Axis(range=y_range))], x=Axis(range=x_range))
    left, top, width, height = frame(figure)
    rows, columns = np.nonzero(is_color(pixels(figure), RED.light))
    assert len(rows) > 20
    assert columns.mean() + 0.5 == pytest.approx(left + shares[0] * width, abs=1.0)
    assert rows.mean() + 0.5 == pytest.approx(top + (1 - shares[1]) * height, abs=1.0)


def test_a_point_on_logarithmic_axes() -> None:
    mark = Points(array(10.0), array(1e-3), color=RED, size=8)
    axes = Axis(log=True, range=(1e-5, 1e3)), Axis(log=True, range=(1.0, 1e4))
    figure = Figure("f", "", [Panel([mark], axes[0])], x=axes[1])
    left, top, width, height = frame(figure)
    rows, columns = np.nonzero(is_color(pixels(figure), RED.light))
    assert columns.mean() + 0.5 == pytest.approx(left + width / 4, abs=1.0)
    assert rows.mean() + 0.5 == pytest.approx(top + height * 0.75, abs=1.0)


@examples(12)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.sampled_from([72, 100, 150, 300]))
def test_a_stroke_is_in_its_column_in_full_and_in_no_other(places: list[float], dpi: int) -> None:
    figure = Figure(
        "f",
        "",
        [Panel([Ticks(array(*places), 0.0, color=RED), Ticks(array(0.5), 1.0, color=BLUE)], Axis(ticks=[]))],
        x=Axis(range=(0.0, 1.0), ticks=[]),
        aspect=0.3,
    )
    left, top, width, height = frame(figure, dpi=dpi)
    image = pixels(figure, dpi=dpi)
    # Rows 0 and 1, from below, are each half of the panel.
    row = is_color(image[round(top + 0.75 * height)], RED.light)
    centres = left + array(*places) * width
    thick = max(0.8 * dpi / 72.0, 1.0)
    columns = np.arange(len(row)) + 0.5
    for centre in centres:
        # At the very ends half of a stroke is beyond the panel.
        near = np.abs(columns - centre) <= 1.0
        assert row[near].any() or min(centre - left, left + width - centre) < 1.0
    far = np.min(np.abs(columns[:, None] - centres[None, :]), axis=1) > thick / 2 + 1.01
    assert not np.any(is_color(image, RED.light)[:, far])
    blue = np.nonzero(is_color(image[round(top + 0.25 * height)], BLUE.light))[0]
    assert blue.mean() + 0.5 == pytest.approx(left + width / 2, abs=1.0)
    # Four fifths of a row: the rows do not touch.
    between = image[round(top + 0.5 * height)]
    assert not is_color(between, RED.light).any()
    assert not is_color(between, BLUE.light).any()


def test_weights_make_strokes_fainter() -> None:
    mark = Ticks(array(0.25, 0.75), 0.0, color=RED, weights=array(1.0, 0.5))
    figure = Figure("f", "", [Panel([mark], Axis(ticks=[]))], x=Axis(range=(0, 1), ticks=[]), aspect=0.3)
    left, top, width, height = frame(figure)
    row = pixels(figure)[round(top + height / 2)]
    strong, faint = (row[round(left + share * width) - 2 : round(left + share * width) + 2] for share in (0.25, 0.75))
    assert strong[:, 1].min() == 0
    assert faint[:, 1].min() == pytest.approx(128, abs=2)


@pytest.mark.parametrize("horizontal", [False, True])
def test_bars_reach_from_low_to_high_in_their_colours(horizontal: bool) -> None:
    mark = Bars(
        array(0.25, 0.75), array(0.5, 0.9), low=array(0.1, 0.4), width=0.2, colors=[RED, BLUE], horizontal=horizontal
    )
    figure = Figure("f", "", [Panel([mark], UNIT)], x=UNIT)
    left, top, width, height = frame(figure)
    image = pixels(figure)
    for color, position, low, high in ((RED, 0.25, 0.1, 0.5), (BLUE, 0.75, 0.4, 0.9)):
        rows, columns = np.nonzero(is_color(image, color.light))
        across, along = (position - 0.1, position + 0.1), (low, high)
        x, y = (along, across) if horizontal else (across, along)
        assert (columns.min(), columns.max() + 1) == pytest.approx([left + share * width for share in x], abs=1.0)
        assert (rows.max() + 1, rows.min()) == pytest.approx([top + (1 - share) * height for share in y], abs=1.0)


def test_steps_lines_and_areas_cover_what_they_say() -> None:
    steps = Steps(array(0.0, 0.5, 1.0), array(0.2, 0.8), color=RED, width=4)
    area = Area(array(0.0, 1.0), array(0.4, 0.4), array(0.6, 0.6), color=BLUE, opacity=1.0)
    figure = Figure("f", "", [Panel([area, steps], UNIT)], x=UNIT)
    left, top, width, height = frame(figure)
    image = pixels(figure)

    def at(x: float, y: float) -> np.ndarray:
        return image[int(top + (1 - y) * height), int(left + x * width)]

    for x, y, color in [
        (0.25, 0.2, RED),
        (0.75, 0.8, RED),
        (0.5, 0.5, RED),
        (0.25, 0.5, BLUE),
        (0.9, 0.42, BLUE),
        (0.25, 0.8, BACKGROUND),
        (0.75, 0.3, BACKGROUND),
    ]:
        assert list(at(x, y)) == list(rgb(color.light)), (x, y)


def test_many_vertices_of_an_area_leave_no_hole() -> None:
    x = np.linspace(0.0, 1.0, 100_001)
    area = Area(x, np.full(len(x), 0.2), np.full(len(x), 0.8), color=BLUE, opacity=0.2)
    figure = Figure("f", "", [Panel([area], Axis(range=(0, 1), ticks=[]))], x=Axis(range=(0, 1), ticks=[]))
    left, top, width, height = frame(figure)
    row = pixels(figure)[round(top + height / 2), round(left) + 2 : round(left + width) - 2]
    assert np.all(np.abs(row - [204, 204, 255]) <= 2)


def test_error_bars_end_where_they_say() -> None:
    mark = Points(array(0.3, 0.6), array(0.5, 0.5), low=array(0.1, 0.4), high=array(0.7, 0.9), color=RED)
    made = drawing(Figure("f", "", [Panel([mark], UNIT)], x=UNIT))
    (bars,) = (artist for artist in made.places[0].axes.collections if isinstance(artist, LineCollection))
    np.testing.assert_allclose(bars.get_segments(), [[[0.3, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.6, 0.9]]])


def test_marks_on_the_right_have_their_own_axis_and_its_colour() -> None:
    x = array(0.0, 1.0)
    figure = Figure(
        "f",
        "",
        [
            Panel(
                [Line(x, x)], Axis("left"), right=[Line(x, 1000 * x, color=RED)], right_y=Axis("right", range=(0, 1000))
            )
        ],
        x=Axis(range=(0, 1)),
    )
    made = drawing(figure)
    right = next(axes for axes in made.sheet.axes if axes.get_ylim() == (0, 1000))
    assert [list(line.get_ydata()) for line in right.lines] == [[0.0, 1000.0]]
    assert {text.get_color() for text in right.get_yticklabels()} == {RED.light}
    label = next(text for text in made.over.texts if text.get_text() == "right")
    assert label.get_color() == RED.light
    assert label.get_window_extent().x0 > right.bbox.x1


def test_every_mark_is_drawn_once() -> None:
    n = 300
    x = np.linspace(0, 1, n)
    marks = [
        *(Line(x, x + k) for k in range(7)),
        Steps(np.linspace(0, 1, n + 1), x),
        Points(x, x),
        *(Ticks(x[k::3], float(k), weights=np.full(n // 3, 0.5)) for k in range(3)),
        Bars(x, x, width=0.001),
        Area(x, x, x + 1),
    ]
    axes = drawing(Figure("f", "", [Panel(marks)])).places[0].axes
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [*([n] * 8), 2 * n]
    strokes = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
    assert [len(artist.get_segments()) for artist in strokes] == [n // 3] * 3
    filled = [artist for artist in axes.collections if isinstance(artist, PolyCollection)]
    assert sorted(len(artist.get_paths()) for artist in filled) == [1, n]


def test_points_of_an_svg_are_counted() -> None:
    x = np.linspace(0, 1, 123)
    plain = Figure("f", "", [Panel([], UNIT)], x=UNIT)
    figure = Figure("f", "", [Panel([Points(x, x, color=RED)], UNIT)], x=UNIT)

    def uses(figure: Figure) -> int:
        return still.draw(figure, "svg").count(b"<use")

    assert uses(figure) - uses(plain) == 123


def test_points_beyond_the_range_are_not_drawn_and_those_on_the_border_are_whole() -> None:
    mark = Points(array(-0.5, 0.0, 0.5, 1.0, 1.5), array(0.5, 0.0, 2.0, 1.0, 0.5), color=RED)
    axes = drawing(Figure("f", "", [Panel([mark], UNIT)], x=UNIT)).places[0].axes
    (points,) = axes.lines
    assert list(points.get_xdata()) == [0.0, 1.0]
    assert not points.get_clip_on()


def test_an_arrow_ends_at_its_last_point_and_points_along_its_last_stretch() -> None:
    mark = Line(array(0.2, 0.8, 0.8), array(0.2, 0.2, 0.7), color=RED, arrow=True)
    figure = Figure("f", "", [Panel([mark], UNIT)], x=UNIT)
    left, top, width, height = frame(figure, dpi=300)
    rows, columns = np.nonzero(is_color(pixels(figure, dpi=300), RED.light))
    tip = top + 0.3 * height
    assert tip - 1 <= rows.min() <= tip + 5
    # Wider towards its back, and then as wide as the line is.
    near, back, line = (np.ptp(columns[np.abs(rows - tip - down) <= 1]) for down in (6, 15, 60))
    assert near < back
    assert line < back
    assert columns[rows < tip + 20].mean() + 0.5 == pytest.approx(left + 0.8 * width, abs=1.0)


def test_boxes_have_their_colours_and_their_texts_inside() -> None:
    boxes = Boxes(
        array(0.3, 0.7),
        array(0.5, 0.5),
        array(0.3, 0.3),
        array(0.4, 0.2),
        ["two\nlines", "a text that is much too long for such a box"],
        [Color("#ffeeee", "#400000"), Color("#eeeeff", "#000040")],
        [RED, BLUE],
        inks=[BLUE, RED],
    )
    made = drawing(Figure("f", "", [Panel([boxes], UNIT)], x=UNIT))
    patches = made.over.patches
    assert [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in patches] == ["#ffeeee", "#eeeeff"]
    assert [matplotlib.colors.to_hex(patch.get_edgecolor()) for patch in patches] == [RED.light, BLUE.light]
    first, second = (patch.get_window_extent() for patch in patches)
    place = made.places[0].axes.bbox
    assert first.width == pytest.approx(0.3 * place.width, abs=1)
    assert first.height == pytest.approx(0.4 * place.height, abs=1)
    assert (first.x0 + first.x1) / 2 == pytest.approx(place.x0 + 0.3 * place.width, abs=1)
    lines = {text.get_text(): text for text in made.over.texts}
    assert {"two", "lines"} < set(lines)
    assert {text.get_color() for text in (lines["two"], lines["lines"])} == {BLUE.light}
    for text in made.over.texts:
        box = text.get_window_extent()
        inside = first if text.get_text() in ("two", "lines") else second
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1
        assert inside.y0 <= box.y0 <= box.y1 <= inside.y1


def test_a_figure_with_a_width_of_its_own_keeps_it_and_its_scale() -> None:
    def figure(hidden: bool = True) -> Figure:
        box = Boxes(array(1.0), array(1.0), array(1.5), array(0.5), ["text"], [BACKGROUND], [RED], size=9.0)
        axis = Axis(hidden=True, range=(0.0, 2.0))
        return Figure(
            "f", "title", [Panel([box], axis)], x=Axis(hidden=True, range=(0.0, 6.0)), width=6.0, aspect=1 / 3
        )

    image = Image.open(io.BytesIO(still.draw(figure(), "png", dpi=100)))
    assert image.width == 600
    for width in (6.0, 3.0):
        made = drawing(figure(), width=width)
        (box,) = made.over.patches
        # An inch at the figure's own width is a unit of both axes.
        assert (box.get_width(), box.get_height()) == pytest.approx((1.5 * 12 * width, 0.5 * 12 * width))
        (text,) = (text for text in made.over.texts if text.get_text() == "text")
        assert text.get_fontsize() == pytest.approx(9.0 * width / 6.0)
    assert made.places[0].axes.bbox.x0 == pytest.approx(0.0)


# Colours


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_background_and_ink_are_those_of_the_theme(theme: still.Theme) -> None:
    image = pixels(everything(), theme=theme)
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert is_color(corners, getattr(BACKGROUND, theme)).all()
    assert is_color(image, getattr(BACKGROUND, theme)).mean() > 0.5
    # Letters have the ink's colour where they cover a pixel.
    large = pixels(Figure("f", "IIII", []), theme=theme, dpi=300)
    assert is_color(large, getattr(INK, theme)).any()
    made = drawing(everything(), theme=theme)
    assert made.color(series(2)) == getattr(series(2), theme)


# Bytes


def test_the_same_figure_gives_the_same_bytes_under_any_settings(tmp_path: Path) -> None:
    first = [still.draw(everything(), form) for form in ("png", "svg")]
    assert [still.draw(everything(), form) for form in ("png", "svg")] == first
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nfont.family: serif\naxes.grid: True\nlines.linewidth: 9\n")
    folders = [str(Path(__file__).parent), str(Path(lronnx.__file__).parents[1])]
    code = (
        f"import sys; sys.path[:0] = {folders!r};"
        "from test_plot_still import everything; from lronnx.plot import still;"
        "sys.stdout.buffer.writelines(still.draw(everything(), form) for form in ('png', 'svg'));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}
    environment.pop("DISPLAY", None)
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert other.stdout == b"".join(first)


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 31.0}):
        still.draw(everything(), "svg")
        assert matplotlib.rcParams["font.size"] == 31.0
    assert dict(matplotlib.rcParams) == before


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="png or svg, not pdf"):
        still.draw(everything(), "pdf")  # type: ignore[arg-type]


def test_thirty_thousand_of_everything_stay_small_and_quick() -> None:
    generator = np.random.default_rng(0)
    n = 30_000
    t = np.linspace(0, 1, n + 1)
    y = generator.normal(size=n + 1)
    node = generator.integers(0, 8, n)
    figure = Figure(
        "f",
        "",
        [
            Panel([Line(t, y)]),
            Panel([Ticks(t[1:][node == row], float(row), color=layer(row, 8)) for row in range(8)]),
            Panel([Points(t[1:], np.exp(y[1:]))], Axis(log=True)),
            Panel([Steps(t, y[1:])]),
        ],
    )
    assert len(still.draw(figure, "svg")) < 2_000_000
    strokes = drawing(figure).places[1].axes.collections
    assert sum(len(artist.get_segments()) for artist in strokes) == n


def test_a_huge_figure_has_fewer_pixels_to_an_inch() -> None:
    axis = Axis(hidden=True, range=(0.0, 400.0))
    figure = Figure("f", "", [Panel([], axis)], x=Axis(hidden=True, range=(0.0, 100.0)), width=100.0)
    made = drawing(figure, width=100.0, dpi=300)
    assert made.sheet.bbox.width * made.sheet.bbox.height <= 1.01 * still._PIXELS
    assert made.sheet.bbox.height / made.sheet.bbox.width == pytest.approx(4.0, rel=0.01)


# Texts


def safe(svg: bytes) -> None:
    """Nothing but shapes."""
    for element in ElementTree.fromstring(svg).iter():
        name = element.tag.split("}")[1]
        assert name not in ("script", "text", "foreignObject", "a", "animate", "set")
        assert not any(key.lower().startswith("on") for key in element.attrib)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_drawn_as_they_are(text: str) -> None:
    figure = everything(text)
    safe(still.draw(figure, "svg"))
    assert still.draw(figure, "png", dpi=30).startswith(b"\x89PNG")
    texts = [element for element in drawing(figure, dpi=50).sheet.findobj(Text) if element.get_text()]
    assert not any(element.get_parse_math() for element in texts)


@examples(6)
@given(st.text(max_size=40))
def test_any_text_can_be_drawn(text: str) -> None:
    safe(still.draw(everything(text), "svg"))


def test_names_are_no_formulas() -> None:
    figure = Figure("f", "a $b$ c_1^2", [Panel([], Axis("$y$", ticks=[(0, "$0$")]))], x=Axis("$x$", ticks=[(0, "$z$")]))
    made = drawing(figure)
    texts = {text.get_text() for text in made.sheet.findobj(Text)}
    assert {"a $b$ c_1^2", "$y$", "$0$", "$x$", "$z$"} <= texts


def test_what_the_font_lacks_is_marked_and_what_it_has_is_kept() -> None:
    assert (
        still._clean("\u4e2d\u6587 \u03b1\u00e9e\u0301 \u05d0\U0001f9ea")
        == "\ufffd\ufffd \u03b1\u00e9\u00e9 \u05d0\ufffd"
    )
    assert still._clean("a\x00\u202eb\nc") == "ab c"
    assert still._clean("a\r\nb", lines=True) == "a\nb"


@examples(60)
@given(st.text("abcdef gW\u2026i", max_size=60), st.floats(5.0, 200.0), st.booleans())
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, room: float, bold: bool) -> None:
    short = still._shorten(text, room, 7.0, bold)
    assert short == "" or still._width(short, 7.0, bold) <= room
    if short != text and short:
        start, end = short.rsplit("\u2026", 1) if "\u2026" not in text else ("", "")
        assert text.startswith(start)
        assert text.endswith(end)
    if still._width(text, 7.0, bold) <= room:
        assert short == text


@pytest.mark.parametrize("size", [6.0, 7.0, 9.5])
@pytest.mark.parametrize("bold", [False, True])
def test_texts_are_as_wide_as_they_were_measured(size: float, bold: bool) -> None:
    for text in ("AVAVA To", "x" * 40, "10\u207b\u2075", "\u05d0\u05d1\u05d2", "\ufffd\u2026", "mixed 1,234.5 names"):
        for dpi in (72, 300):
            made = drawing(Figure("f", "", []), dpi=dpi)
            drawn = made.over.text(0, 0, text, fontproperties=still._font(size, bold))
            with matplotlib.rc_context(still._SETTINGS):
                width = drawn.get_window_extent().width * 72.0 / dpi
            assert width <= still._width(text, size, bold) <= width + 0.02 * width + 0.5


WORDS = st.text("abcdefghi /_WM\u4e2d", max_size=40)


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    """Figures with texts of all lengths wherever there can be some."""
    panels = []
    x = np.linspace(0.0, 1.0, 4)
    for index in range(draw(st.integers(1, 3))):
        scale = draw(st.sampled_from([1e-320, 1e-7, 0.3, 1.0, 12345.0, 1e9, 1e300]))
        names = draw(st.lists(WORDS, max_size=8))
        rows = draw(st.one_of(st.none(), st.lists(st.tuples(st.floats(0, 3), WORDS), max_size=8)))
        marks = [Line(x, x * scale, name=name, color=series(place)) for place, name in enumerate(names)]
        log = draw(st.booleans())
        panels.append(
            Panel(
                [*marks, Points(x, (x + 0.5) * scale)],
                Axis(draw(WORDS), log=log, ticks=rows, range=None if rows is None or log else (0.0, 3.0)),
                title=draw(WORDS),
                height=draw(st.floats(0.1, 3.0)),
                right=[Line(x, x * 7)] if index == 1 else (),
                right_y=Axis(draw(WORDS)) if index == 1 else None,
            )
        )
    ticks = draw(st.one_of(st.none(), st.lists(st.tuples(st.floats(0, 1), WORDS), max_size=12)))
    pictures = [
        Picture(place, np.zeros((8, 8, 3), np.uint8), label)
        for place, label in draw(st.lists(st.tuples(st.floats(0, 1), WORDS), max_size=12))
    ]
    return Figure("f", draw(WORDS), panels, x=Axis(draw(WORDS), ticks=ticks), pictures=pictures)


@examples(10)
@given(figures(), st.sampled_from([2.0, 3.4, 7.0]))
def test_no_text_is_clipped_or_lies_upon_another(figure: Figure, width: float) -> None:
    made = drawing(figure, width=width)
    sheet = made.sheet.bbox
    boxes = []
    with matplotlib.rc_context(still._SETTINGS):
        for text in made.sheet.findobj(Text):
            if text.get_text().strip() and text.get_visible():
                box = text.get_window_extent()
                assert sheet.x0 - 1 <= box.x0 <= box.x1 <= sheet.x1 + 1, text
                assert sheet.y0 - 1 <= box.y0 <= box.y1 <= sheet.y1 + 1, text
                # Of two that are turned by 45 degrees, the boxes around them overlap where they do not.
                if text.get_rotation() != 45:
                    boxes.append((text.get_text(), box))
    for (name, one), (other_name, other) in combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        # The box of a letter has some air below and above it.
        assert across <= 1.0 or down <= 2.5, (name, other_name)
    for text in made.sheet.findobj(Text):
        assert text.get_fontsize() >= 7.0


def test_names_under_the_axis_are_turned_where_they_have_no_room() -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    bars = Panel([Bars(np.arange(10.0), np.ones(10))])
    made = drawing(Figure("f", "", [bars], x=Axis(ticks=list(enumerate(names)))))
    labels = made.places[0].axes.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert {label.get_rotation() for label in labels} == {45}
    # Numbers so near to each other that turning does not help are thinned.
    close = [(place / 100, str(place)) for place in range(100)]
    made = drawing(Figure("f", "", [Panel([Line(array(0, 1), array(0, 1))])], x=Axis(ticks=close)))
    kept = [label.get_text() for label in made.places[0].axes.get_xticklabels()]
    assert 5 <= len(kept) <= 30
    assert {label.get_rotation() for label in made.places[0].axes.get_xticklabels()} == {0}


def test_only_the_lowest_panel_has_texts_at_the_x_axis() -> None:
    made = drawing(everything())
    texts = [[label.get_text() for label in place.axes.get_xticklabels()] for place in made.places]
    assert texts == [["", "", ""], ["", "", ""], ["name", "name", "name"]]
    bottoms = [place.axes.get_position().y0 for place in made.places]
    assert bottoms == sorted(bottoms, reverse=True)
    heights = [place.height for place in made.places]
    assert heights[0] > heights[1]


# Ticks


def number(text: str) -> tuple[float, int]:
    """What a text at a tick says: a number, and the power of ten that it is multiplied by."""
    plain = text.replace("\u2212", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    if "\u00d7" in text:
        mantissa, power = plain.split("\u00d7")
        return float(mantissa), int(power[2:])
    if any(character in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹" for character in text):
        return (-1.0 if plain.startswith("-") else 1.0), int(plain.removeprefix("-")[2:])
    return float(plain), 0


@examples(60)
@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.integers(2, 9),
)
def test_ticks_say_where_they_are(first: float, last: float, log: bool, most: int) -> None:
    if log:
        first, last = abs(first) or 1.0, abs(last) or 1.0
    values = array(first, last)
    scale = still._scale(Axis(log=log), [(values, 0.05)])
    ticks, small = scale.ticks(most)
    assert 1 <= len(ticks) <= most
    texts = [text for _, text in ticks]
    assert len(set(texts)) == len(texts)
    span = abs(scale.high - scale.low)
    for place, text in ticks:
        assert min(scale.low, scale.high) - 1e-6 * span <= place <= max(scale.low, scale.high) + 1e-6 * span
        mantissa, power = number(text)
        if log:
            assert math.log10(mantissa) + power == pytest.approx(place, abs=1e-3 * span + 1e-12)
        else:
            said = mantissa * 10.0 ** (power - scale.exponent) if mantissa else 0.0
            assert said == pytest.approx(place, abs=1e-3 * span)
    for place in small:
        assert scale.low <= place <= scale.high
    shares = scale.share(values)
    assert np.all((shares >= 0) & (shares <= 1))


def test_ticks_are_written_shortly() -> None:
    def texts(low: float, high: float, log: bool = False, most: int = 5) -> list[str]:
        scale = still._scale(Axis(log=log, range=(low, high)), [])
        return [text for _, text in scale.ticks(most)[0]]

    assert texts(0, 1, most=6) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert texts(0, 1) == ["0", "0.25", "0.5", "0.75", "1"]
    assert texts(-1, 1) == ["\u22121", "\u22120.5", "0", "0.5", "1"]
    assert texts(0, 2e-5, most=3) == ["0", "10\u207b\u2075", "2\u00d710\u207b\u2075"]
    assert texts(1000.0001, 1000.0003, most=3) == ["1000.0001", "1000.0002", "1000.0003"]
    assert texts(0.01, 100, log=True) == ["0.01", "0.1", "1", "10", "100"]
    assert texts(1e-6, 1e-3, log=True) == ["10\u207b\u2076", "10\u207b\u2075", "10\u207b\u2074", "10\u207b\u00b3"]
    assert texts(2, 8, log=True, most=4) == ["2", "4", "6", "8"]


# Degenerate data

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@examples(10)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6), st.booleans(), st.booleans(), st.sampled_from(["png", "svg"]))
def test_any_finite_numbers_can_be_drawn(
    pairs: list[tuple[float, float]], x_log: bool, y_log: bool, form: still.Form
) -> None:
    x, y = (np.sort(array(*(pair[0] for pair in pairs))), array(*(pair[1] for pair in pairs)))
    marks = [
        Line(x, y),
        Area(x, np.minimum(y, 0), np.maximum(y, 0)),
        Points(x, y, low=y, high=y),
        Steps(np.append(x, x[-1:]) if len(x) else np.zeros(1), y),
        Ticks(x, 0.0),
        Bars(x, y, width=0.5),
        Texts(x, y, ["text"] * len(x)),
    ]
    for kept in (marks, marks[:1]):
        figure = Figure("f", "", [Panel(kept, Axis(log=y_log), verticals=x[:1])], x=Axis(log=x_log))
        still.draw(figure, form, dpi=40)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("given_range", [None, (0.0, 0.0), (5.0, 5.0), (-1.0, 1.0), (1e308, -1e308)])
def test_ranges_without_width_and_numbers_without_logarithm(log: bool, given_range: tuple[float, float] | None) -> None:
    figure = Figure("f", "", [Panel([Points(array(0.0, 5.0), array(5.0, 5.0))], Axis(log=log, range=given_range))])
    made = drawing(figure)
    low, high = made.places[0].axes.get_ylim()
    assert math.isfinite(high - low)
    assert low != high
    if given_range != (-1.0, 1.0) and given_range != (0.0, 0.0):
        points = made.places[0].axes.lines[-1]
        assert len(points.get_xdata()) == 2


def test_a_figure_without_panels_and_panels_without_marks() -> None:
    picture = Picture(0.5, np.zeros((2, 2), np.uint8), "label")
    for figure in (
        Figure("f", "", []),
        Figure("f", "title", [], pictures=[picture]),
        Figure("f", "title", [Panel([])]),
        Figure("f", "title", [Panel([], Axis(hidden=True))], x=Axis(hidden=True)),
    ):
        assert still.draw(figure, "png", dpi=50)
        safe(still.draw(figure, "svg"))


def test_a_thousand_lines_with_names() -> None:
    t = np.linspace(0, 1, 10)
    lines = [Line(t, t * k, name=f"output {k}", color=series(k)) for k in range(1000)]
    figure = Figure("f", "", [Panel(lines)])
    made = drawing(figure, dpi=50)
    assert len(made.places[0].axes.lines) == 1000
    texts = [text.get_text() for text in made.over.texts]
    listed = sum(text.startswith("output") for text in texts)
    assert f"+ {1000 - listed} more" in texts
    assert 4 <= listed <= 30
    assert len(still.draw(figure, "svg")) < 1_000_000


# Legends


def test_a_group_is_listed_once_and_only_what_has_a_name() -> None:
    x = array(0.0, 1.0)
    first = [
        Area(x, x, x + 1, group="cat"),
        Line(x, x, name="cat", group="cat", color=series(0)),
        Line(x, x, name="cat", group="cat", color=series(0), dash="dashed"),
        Line(x, x),
        Points(x, x, name="dog", group="dog", color=series(1)),
        Ticks(x, 0.0, name="row", color=series(2)),
    ]
    second = [Steps(x, x[:1], name="cat", group="cat"), Bars(x, x, name="bars"), Bars(x, x, name="bars")]
    silent = [Line(x, x, name="not listed")]
    made = drawing(Figure("f", "", [Panel(first), Panel(second), Panel(silent, legend=False)]))
    texts = [text.get_text() for text in made.over.texts if text.get_text()]
    assert texts == ["cat", "dog", "row", "bars"]
    for text, panel in zip(made.over.texts, (0, 0, 0, 1), strict=True):
        box = made.places[panel].axes.bbox
        assert text.get_window_extent().y0 >= box.y1
    assert made.over.lines[0].get_color() == series(0).light


# Pictures


@examples(12)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.sampled_from([2.0, 3.4, 7.0]))
def test_pictures_are_of_one_size_in_order_and_apart(places: list[float], width: float) -> None:
    pictures = [Picture(place, np.full((8, 8, 3), index, np.uint8)) for index, place in enumerate(places)]
    made = drawing(
        Figure("f", "title", [Panel([Line(array(0, 1), array(0, 1), name="a")])], x=UNIT, pictures=pictures),
        width=width,
    )
    images = made.over.images
    extents = [image.get_extent() for image in images]
    assert len({(round(x1 - x0, 6), round(y1 - y0, 6)) for x0, x1, y0, y1 in extents}) == 1
    for (_, end, *_), (start, *_) in pairwise(extents):
        assert end <= start
    assert extents[0][0] >= 0
    assert extents[-1][1] <= made.width
    shown = [int(image.get_array()[0, 0, 0]) for image in images]
    assert [places[index] for index in shown] == sorted(places[index] for index in shown)
    if len(places) <= 8:
        assert len(shown) == len(places)
    # A line leads from each to its place at the top of the panel.
    top = made.places[0].bottom + made.places[0].height
    leaders = [line for line in made.over.lines if len(line.get_xdata()) == 4]
    assert len(leaders) == len(images)
    for leader, index, (x0, x1, y0, _) in zip(leaders, shown, extents, strict=True):
        assert leader.get_xdata()[-1] == pytest.approx(made.left + places[index] * made.inner)
        assert leader.get_ydata()[-1] == pytest.approx(top)
        assert x0 <= leader.get_xdata()[0] <= x1
        assert leader.get_ydata()[0] == pytest.approx(y0, abs=0.5)


@pytest.mark.parametrize(("count", "shown"), [(2, 2), (6, 6), (12, 12), (40, 20)])
@pytest.mark.parametrize("name", ["a", "a row with a very long name"])
def test_pictures_at_equal_distances_stand_above_their_places(count: int, shown: int, name: str) -> None:
    pictures = [Picture(place, np.zeros((8, 8), np.uint8)) for place in np.linspace(0.0, 1.0, count)]
    rows = Axis(ticks=[(0.0, name)])
    made = drawing(Figure("f", "", [Panel([Line(array(0, 1), array(0, 1))], rows)], x=UNIT, pictures=pictures), width=7)
    leaders = [line for line in made.over.lines if len(line.get_xdata()) == 4]
    assert shown / 2 <= len(leaders) <= shown
    for leader in leaders:
        assert np.ptp(leader.get_xdata()) < 0.5


@examples(60)
@given(
    st.lists(st.floats(-50.0, 150.0), min_size=1, max_size=6).map(sorted),
    st.floats(1.0, 15.0),
)
def test_spreading_moves_as_little_as_possible(wanted: list[float], apart: float) -> None:
    found = still._spread(array(*wanted), apart, 0.0, 100.0)
    assert np.all(np.diff(found) >= apart - 1e-9)
    assert found[0] >= -1e-9
    assert found[-1] <= 100.0 + 1e-9
    n = len(wanted)
    differences = np.eye(n)[1:] - np.eye(n)[:-1]
    best = minimize(
        lambda places: float(((places - wanted) ** 2).sum()),
        np.linspace(0, 100, n) if n > 1 else array(50.0),
        jac=lambda places: 2 * (places - wanted),
        bounds=[(0.0, 100.0)] * n,
        constraints=[LinearConstraint(differences, apart, np.inf)] if n > 1 else [],
        method="SLSQP",
    )
    assert ((found - wanted) ** 2).sum() <= best.fun + 1e-5 * (1 + best.fun)


@pytest.mark.parametrize("dpi", [72, 100, 211, 300])
def test_pixels_of_small_pictures_stay_squares(dpi: int) -> None:
    board = np.zeros((8, 8, 3), np.uint8)
    board[(np.add.outer(range(8), range(8)) % 2) == 0] = [255, 0, 0]
    board[(np.add.outer(range(8), range(8)) % 2) == 1] = [0, 0, 255]
    figure = Figure("f", "", [Panel([])], x=UNIT, pictures=[Picture(0.37, board)])
    image = pixels(figure, dpi=dpi)
    red, blue = is_color(image, "#ff0000"), is_color(image, "#0000ff")
    rows, columns = np.nonzero(red | blue)
    part = red[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.all((red | blue)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    size = part.shape[0] // 8
    assert part.shape == (8 * size, 8 * size)
    assert size >= 40 * dpi / 72 // 8
    np.testing.assert_array_equal(part, np.kron(board[:, :, 0] == 255, np.ones((size, size), bool)))


def test_gray_pictures_and_large_ones() -> None:
    gray = np.full((300, 200), 100, np.uint8)
    figure = Figure("f", "", [Panel([])], x=UNIT, pictures=[Picture(0.5, gray)])
    assert is_color(pixels(figure), "#646464").sum() > 500


# Tables and files


@examples(60)
@given(
    st.lists(
        st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8"))), max_size=8
    )
)
def test_tables_read_back_as_they_were(rows: list[tuple[float, int, str]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
    table = {"x, y": np.array(columns[0], dtype=np.float64), 'a "count"': np.array(columns[1], dtype=np.int64)}
    content = still.csv_bytes(Figure("f", "", [], table={**table, "text\nlines": columns[2]}))
    names, *read = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    assert names == ["x, y", 'a "count"', "text\nlines"]
    assert len(read) == len(rows)
    for (x, count, text), fields in zip(rows, read, strict=True):
        if math.isfinite(x):
            assert (float(fields[0]), math.copysign(1.0, float(fields[0]))) == (x, math.copysign(1.0, x))
        else:
            assert fields[0] == ""
        assert fields[1:] == [str(count), text]


def test_a_table_is_plain() -> None:
    table = {
        "n": np.array([1, 2]),
        "x": np.array([0.1, math.nan]),
        "ok": np.array([True, False]),
        "name": ["a,b", 'c"'],
    }
    content = still.csv_bytes(Figure("f", "", [], table=table))
    assert content == b'n,x,ok,name\r\n1,0.1,1,"a,b"\r\n2,,0,"c"""\r\n'
    assert still.csv_bytes(Figure("f", "", [], table={"t": [], "y": []})) == b"t,y\r\n"
    halves = still.csv_bytes(Figure("f", "", [], table={"half \ud800": ["\udc80"]}))
    assert halves == b"half \\ud800\r\n\\udc80\r\n"


def test_figures_are_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    one = Figure("one", "One", [Panel([])], table={"x": array(1.0)})
    two = Figure("two", "Two", [Panel([])])
    written = still.write([one, two], folder, ["png", "svg"])
    assert sorted(path.name for path in written) == ["one.csv", "one.png", "one.svg", "two.png", "two.svg"]
    assert sorted(folder.iterdir()) == sorted(written)
    assert (folder / "one.csv").read_bytes() == still.csv_bytes(one)
    assert (folder / "two.svg").read_bytes() == still.draw(two, "svg")
    # Again, over what is there.
    assert still.write([one], folder, ["png"], dpi=50) == [folder / "one.png", folder / "one.csv"]
    assert (folder / "one.png").read_bytes() == still.draw(one, "png", dpi=50)


def test_a_picture_that_cannot_be_drawn_or_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Figure("good", "", [], table={"x": array(1.0)})
    bad = Figure("bad", "", [Panel([Line(array(0.0, 1.0), array(1.0, 2.0, 3.0))])])
    with pytest.raises(ValueError, match="shape"):
        still.write([good, bad], tmp_path / "out", ["png"])
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"cannot be written to .*file"):
        still.write([good], tmp_path / "file", ["png"])
    assert (tmp_path / "file").read_text() == "kept"
    # The second of two files has no place: the first is not there either.
    (tmp_path / "out" / "good.csv").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        still.write([good], tmp_path / "out", ["png"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.csv"]
