"""Pages: what is written, and what Chromium makes of it with the network off."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, TABLET, Browser, open_browser
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("plotly")

from lronnx.plot import colors, page
from lronnx.plot.figures import (
    Area,
    Axis,
    Bars,
    Boxes,
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
from lronnx.plot.still import csv_bytes

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "{{x}} {x} %{x} ${x} %{meta[0]}",
    "<b>bold</b><br>&lt;&amp; <a href='javascript:window.pwned=1'>link</a><sub>1</sub>",
    "$\\alpha$ \u2028\u2029 <!-- é 漢 🙂",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(autouse=True)
def defaults(request: pytest.FixtureRequest) -> None:
    """Every test finds a light desktop."""
    if "browser" in request.fixturenames:
        request.getfixturevalue("browser").emulate(prefers_color_scheme="light")


def show(browser: Browser, folder: Path, *blocks: page.Block, title: str = "Page", **options: Any) -> None:
    browser.show(page.render(title, [page.Section("Section", blocks)]), folder, **options)


def show_figures(browser: Browser, folder: Path, *figures: Figure, **options: Any) -> None:
    show(browser, folder, page.Figures(figures), **options)


def payload(figure: Figure) -> dict[str, Any]:
    return dict(json.loads(json.dumps(page._Payload(figure).payload(), allow_nan=False)))


def array(told: dict[str, Any], index: int) -> np.ndarray[Any, Any]:
    kind, text = told["arrays"][index]
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(f"<{kind}"))


def one_panel(*marks: Mark, y: Axis | None = None, **options: Any) -> Figure:
    return Figure("figure", "A figure", [Panel(marks, y or Axis("y"))], **{"x": Axis("x"), **options})


def floats(*values: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


def every_kind(count: int = 6) -> list[Mark]:
    """One mark of each kind, with so many points, and a text on each."""
    rng = np.random.default_rng(3)
    x = np.linspace(0.0, 10.0, count)
    y = rng.normal(size=count)
    number = np.arange(count)

    def hover(kind: str) -> Hover:
        return Hover(kind + " {number}\nat {x}, {y}", {"number": number})

    return [
        Line(x, y, name="a line", hover=hover("line")),
        Steps(np.append(x, 11.0), y, name="steps", hover=hover("step")),
        Area(x, y - 1, y + 1),
        Points(x, y + 5, low=y + 4.5, high=y + 6, name="points", hover=hover("point")),
        Ticks(x, -4.0, name="ticks", weights=np.linspace(0.2, 1.0, count), hover=hover("tick")),
        Bars(x, -y - 7, low=np.full(count, -9.0), width=0.5, name="bars", hover=hover("bar")),
        Boxes(
            x,
            np.full(count, 9.0),
            np.full(count, 0.9),
            np.full(count, 0.8),
            [f"b{i}" for i in number],
            [colors.SURFACE] * count,
            [colors.INK] * count,
            hover("box"),
        ),
        Texts(x, np.full(count, 11.0), [f"t{i}" for i in number]),
    ]


# ---- what is written


def test_the_same_arguments_give_the_same_bytes() -> None:
    def written() -> bytes:
        figure = one_panel(*every_kind(), table={"a": np.arange(3), "b": ["x", "y", "x"]})
        return page.render("t", [page.Section("s", [page.Figures([figure]), page.Prose("p")])], subtitle="u")

    assert written() == written()


def test_a_page_without_figures_is_small() -> None:
    content = page.render("t", [page.Section("s", [page.Prose("p"), page.Facts([("a", "b")]), page.Code("c")])])
    assert len(content) < 60_000


def test_nothing_but_plotly_is_large() -> None:
    content = page.render("t", [page.Section("s", [page.Figures([one_panel()])])])
    assert len(content) - len(page.get_plotlyjs().encode()) < 90_000


def test_policy_allows_the_pages_own_scripts_only() -> None:
    content = page.render("t", [page.Section("s", [page.Figures([one_panel()])])]).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', content)
    assert policy
    allowed = policy[1].replace("&#x27;", "'")
    assert allowed.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in allowed.split(";")[1]
    assert "http" not in allowed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["Line", "Steps", "Points", "Ticks", "Bars"])
def test_what_is_not_finite_is_refused(kind: str, bad: float) -> None:
    mark = next(mark for mark in every_kind() if type(mark).__name__ == kind)
    values = next(getattr(mark, name) for name in ("y", "high", "x") if hasattr(mark, name))
    values[2] = bad
    with pytest.raises(ValueError, match="figure figure has a number that is not finite"):
        page.render("t", [page.Section("s", [page.Figures([one_panel(mark)])])])


def test_names_of_figures() -> None:
    with pytest.raises(ValueError, match="two figures of a page are named figure"):
        page.render("t", [page.Section("s", [page.Figures([one_panel(), one_panel()])])])
    with pytest.raises(ValueError, match="letters, digits"):
        page.render("t", [page.Section("s", [page.Figures([Figure("a b", "", [])])])])


def test_tables_have_as_many_cells_as_columns() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        page.DataTable(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="do not span 2 columns"):
        page.DataTable(["a", "b"], [], groups=[("g", 3)])


def test_anchors_are_unique_and_plain() -> None:
    titles = ["Top", "A <b>", "a b", "", "Été", "漢"]
    html = page.render("t", [page.Section(title, []) for title in titles]).decode()
    anchors = re.findall(r'<section id="([^"]*)"', html)
    assert anchors == ["top-2", "a-b", "a-b-2", "section", "ete", "section-2"]


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["1", "-2.5", "1e-05", "12,494"], True),
        (["36.1 to 40.2", "3 ± 0.1", "-"], True),
        (["1.2 %", "3 ms", "< 0.001", "\u22124"], True),
        (["1", "node_2"], False),
        (["1x8x8"], False),
        (["", "-"], False),
    ],
)
def test_columns_of_numbers(cells: Sequence[str], numeric: bool) -> None:
    html = page.render("t", [page.Section("s", [page.DataTable(["c"], [[cell] for cell in cells])])]).decode()
    assert ('<td class="number">' in html) == numeric


def test_positions_along_x_keep_all_bits() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(50))
    told = payload(one_panel(Steps(np.append(x, 1.0), rng.random(50)), Line(x, x), Ticks(x, 0.0), Points(x, x)))
    for mark in told["panels"][0]["marks"]:
        assert (array(told, mark["x"])[:50] == x).all()
    assert len(told["arrays"]) < 6, "equal arrays are held once"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_six_digits_of_what_is_told_are_kept(values: list[float]) -> None:
    column = np.array(values, dtype=np.float64)
    told = payload(one_panel(Points(np.arange(len(values)), np.arange(len(values)), hover=Hover("{v}", {"v": column}))))
    kept = array(told, told["panels"][0]["marks"][0]["hover"]["columns"]["v"]["array"])
    assert [f"{value:.6g}" for value in kept.tolist()] == [f"{value:.6g}" for value in values]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=10))
def test_whole_numbers_are_kept(values: list[int]) -> None:
    told = payload(one_panel(table={"n": np.array(values, dtype=np.int64)}))
    (column,) = told["table"]
    codes = array(told, column["array"]).tolist()
    kept = [int(column["names"][code]) for code in codes] if "names" in column else [int(code) for code in codes]
    assert kept == values


@given(
    st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=1, max_size=8),
    st.booleans(),
)
def test_all_that_can_be_shown_is_inside_the_range(values: list[float], log: bool) -> None:
    y = np.array(values, dtype=np.float64)
    told = payload(one_panel(Line(np.arange(len(y)), y), y=Axis(log=log)))
    low, high = told["panels"][0]["y"]["range"]
    assert low < high
    assert np.isfinite([low, high]).all()
    shown = y[y >= 1e-290] if log else y
    assert ((shown >= low) & (shown <= high)).all()
    assert low > 0 or not log


# ---- what Chromium makes of it


def test_every_mark_is_drawn(browser: Browser, tmp_path: Path) -> None:
    counts = (1, 6, 2000)
    show_figures(browser, tmp_path, *(Figure(f"f{count}", "", [Panel(every_kind(count))]) for count in counts))
    for count in counts:
        drawn = browser.marks(f"f{count}")
        assert [mark["kind"] for mark in drawn] == [type(mark).__name__ for mark in every_kind()]
        assert [mark["count"] for mark in drawn] == [count] * len(drawn)
        assert {mark["way"] for mark in drawn} == {"canvas", "overlay"}
    browser.check_quiet()


def test_few_marks_are_elements(browser: Browser, tmp_path: Path) -> None:
    elements = {
        "Line": ("path.js-line", 1),
        "Steps": ("path.js-line", 1),
        "Area": (".js-fill", 1),
        "Points": ("path.point", 6),
        "Bars": (".bars .point > path", 6),
    }
    marks = {type(mark).__name__: mark for mark in every_kind()}
    show_figures(browser, tmp_path, *(Figure(kind, "", [Panel([marks[kind]])]) for kind in elements))
    for kind, (selector, count) in elements.items():
        assert [(mark["count"], mark["way"]) for mark in browser.marks(kind)] == [(6, "plotly")]
        selected = f"#figure-{kind} .cartesianlayer {selector}"
        assert browser.run("return document.querySelectorAll(arguments[0]).length", selected) == count
    assert browser.run("return document.querySelectorAll('#figure-Points .errorbar path').length") == 6


@pytest.mark.parametrize("dense", [False, True])
def test_hovering_tells_what_is_there(browser: Browser, tmp_path: Path, dense: bool) -> None:
    marks = [mark for mark in every_kind() if dense or not isinstance(mark, Ticks)]
    show_figures(browser, tmp_path, one_panel(*marks))
    assert any(mark["way"] == "canvas" for mark in browser.marks("figure")) == dense
    for mark in marks:
        if isinstance(mark, Area | Texts):
            continue
        assert mark.hover
        match mark:
            case Steps():
                # The middle of a step, where no point is near.
                x, y, at = mark.edges[:-1], mark.y, (float(mark.edges[1] + mark.edges[2]) / 2, float(mark.y[1]))
                expected = list(mark.hover.texts(x, y))[1]
            case Ticks():
                x, y = mark.x, np.full(len(mark.x), mark.row)
                at, expected = (float(x[2]), mark.row), list(mark.hover.texts(x, y))[2]
            case Bars():
                at = (float(mark.position[2]), (float(mark.high[2]) - 9.0) / 2)
                expected = list(mark.hover.texts(mark.position, mark.high))[2]
            case _:
                at, expected = (float(mark.x[2]), float(mark.y[2])), list(mark.hover.texts(mark.x, mark.y))[2]
        assert browser.hover("figure", 0, *at) == expected
    browser.check_quiet()


def test_numbers_are_written_as_python_writes_them(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=400) * 10.0 ** rng.integers(-12, 12, 400)
    values = np.concatenate([values, [0.0, -0.0, 1.0, 999999.5, 1e-5, 123456.0, 0.0001, 1e300, 5e-324, np.nan]])
    position = np.arange(len(values), dtype=np.float64)
    codes = np.arange(len(values)) % 3
    hover = Hover(
        "{v} {name} {n} {x}{{y}} {zz}", {"v": values, "name": codes, "n": codes}, {"name": ["{v}", "b", "<c>"]}
    )
    show_figures(browser, tmp_path, one_panel(Points(position, position, hover=hover)))
    told = browser.run("""
        const [mark] = document.getElementById("figure-figure").chart.data.panels[0].marks;
        return Array.from(mark.x, (x, i) => lronnx.told(mark.hover, i, x, mark.y[i]));
    """)
    assert told == list(hover.texts(position, position))


def test_hostile_names_show_as_they_are(browser: Browser, tmp_path: Path) -> None:
    everything = " ".join(HOSTILE)
    place = np.arange(len(HOSTILE), dtype=np.float64)
    hover = Hover("{name}", {"name": np.arange(len(HOSTILE))}, {"name": HOSTILE})
    ones = np.ones(len(HOSTILE))
    figures = []
    for i, name in enumerate(HOSTILE):
        marks: list[Mark] = [
            Points(place, place, name=name, hover=hover, group=name),
            Texts(floats(1.0), floats(2.0), [name]),
            Boxes(place, place - 3, ones * 9, ones * 0.9, HOSTILE, [colors.SURFACE] * 6, [colors.INK] * 6),
        ]
        ticks = [(float(k), text) for k, text in enumerate(HOSTILE)]
        panel = Panel(marks, Axis(name, ticks=ticks), title=name, right=[Points(place, place)], right_y=Axis(name))
        picture = Picture(1.0, np.zeros((4, 4), dtype=np.uint8), name)
        table = {name: HOSTILE, "n": np.arange(len(HOSTILE))}
        figures.append(Figure(f"f{i}", name, [panel], Axis(name, ticks=ticks), name, table, [picture], (place, hover)))
    blocks: list[page.Block] = [
        page.Prose(everything),
        page.Prose(everything, "warning"),
        page.Facts([(everything, everything)]),
        page.Code(everything),
        page.DataTable([everything], [[name] for name in HOSTILE], everything, [(everything, 1)]),
        page.Figures(figures),
        page.Disclosure(everything, [page.Prose("inside")], open=True),
    ]
    content = page.render(everything, [page.Section(everything, blocks), page.Section("b", [])], subtitle=everything)
    browser.show(content, tmp_path)
    assert browser.run("return document.title").split() == everything.split()
    shown = browser.run(
        "return [...document.querySelectorAll('body *:not(script)')].map((e) => e.textContent).join('\\n')"
    )
    for name in HOSTILE:
        assert name in shown
    for i, name in enumerate(HOSTILE):
        chart = f"document.getElementById('figure-f{i}')"
        # Names of ticks are shortened where they are too long; a short one is there as it is.
        ticks = browser.run(f"return [...{chart}.querySelectorAll('.ytick text')].map((e) => e.textContent)")
        assert "{{x}} {x} %{x} ${x} %{meta[0]}"[:6] in "".join(ticks)
        assert browser.run(f"return {chart}.querySelectorAll('.plot a, .plot b, .plot tspan[style*=bold]').length") == 0
        assert browser.run(f"return {chart}.querySelector('.legend-name').textContent") == name
        assert browser.hover(f"f{i}", 0, float(i), float(i)) == name
    browser.run("for (const details of document.querySelectorAll('.data')) details.open = true")
    browser.settle()
    assert browser.run("return document.querySelectorAll('img').length") == len(HOSTILE)
    assert browser.run("return [...document.querySelectorAll('.data td')].map((e) => e.textContent)")[0] == HOSTILE[0]
    browser.check_quiet()


def test_a_tick_called_like_markup_shows_as_it_is(browser: Browser, tmp_path: Path) -> None:
    ticks = [(0.0, "<b>a</b>"), (1.0, "a<br>b"), (2.0, "&lt;"), (3.0, "$x$")]
    figure = one_panel(Points(floats(0, 3), floats(0, 3)), y=Axis(ticks=ticks), x=Axis("<i>x</i>", ticks=ticks))
    show_figures(browser, tmp_path, figure)
    for axis in "xy":
        script = "return [...document.querySelectorAll('." + axis + "tick text')].map((text) => text.textContent)"
        assert browser.run(script) == [text for _, text in ticks]
    assert "<i>x</i>" in browser.run("return document.querySelector('.plot').textContent")


def test_light_and_dark(browser: Browser, tmp_path: Path) -> None:
    figure = one_panel(Line(floats(0, 1), floats(0, 1), colors.series(0)))
    show_figures(browser, tmp_path, figure)
    ask = """
        const style = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
        return [style("body", "backgroundColor"), style(".figure", "backgroundColor"), style("body", "color"),
                style(".js-line", "stroke"), style(".xtick text", "fill")];
    """
    light = browser.run(ask)
    browser.emulate(prefers_color_scheme="dark")
    dark = browser.run(ask)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    browser.run("document.getElementById('theme').click()")
    browser.settle()
    assert browser.run(ask) == light
    # What was chosen stays after the page is opened again.
    browser.driver.refresh()
    browser.draw_all()
    assert browser.run(ask) == light
    browser.run("localStorage.clear()")
    browser.driver.refresh()
    browser.draw_all()
    assert browser.run(ask) == dark
    # Paper is light.
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(ask) == light
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(ask) == dark
    browser.check_quiet()


def test_a_page_works_where_nothing_is_remembered(browser: Browser, tmp_path: Path) -> None:
    script = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no storage') } })"
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        show_figures(browser, tmp_path, one_panel(*every_kind()))
        browser.run("document.getElementById('theme').click()")
        assert browser.run("return document.documentElement.dataset.theme") == "dark"
        browser.check_quiet()
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def full_page() -> bytes:
    long = "very_long_name." * 40
    words = "several words that go on " * 24
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(20))
    stops = (x, Hover("at {x}"))
    pictures = [Picture(at, rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), long) for at in (0.0, 0.01, 0.5, 1.0)]
    ticks = [(float(i), f"{long}{i}") for i in range(6)]
    first = Figure(
        "first",
        words,
        [
            Panel([Line(x, x, name=long)], Axis(words), title=words, right=[Line(x, -x)], right_y=Axis(words)),
            Panel([Ticks(x, float(i)) for i in range(6)], Axis(ticks=ticks)),
        ],
        Axis(words),
        words,
        {long: x, "b": [long] * 20},
        pictures,
        stops,
    )
    bars = Figure("bars", "Bars", [Panel([Bars(np.arange(6.0), np.arange(6.0))])], Axis(ticks=ticks))
    boxes = Boxes(floats(0), floats(0), floats(2), floats(1), [words], [colors.SURFACE], [colors.INK])
    wide = Figure("wide", "", [Panel([boxes], Axis(hidden=True))], Axis(hidden=True), width=12.0, aspect=0.3)
    blocks = [
        page.Prose(long + words),
        page.Facts([(long, long), ("a", words)]),
        page.Code(long),
        page.DataTable([f"column {i}" for i in range(14)], [["12345.6"] * 13 + [long]] * 3, words),
        page.Figures([first, bars], 2),
        page.Figures([wide]),
        page.Disclosure(long, [page.Prose(long)]),
    ]
    sections = [
        page.Section(title, blocks if i == 0 else [page.Prose("p")]) for i, title in enumerate([long, *"abcdef"])
    ]
    return page.render(long, sections, subtitle=words)


@pytest.mark.parametrize("size", [PHONE, TABLET, DESKTOP])
def test_nothing_is_wider_than_the_window(browser: Browser, tmp_path: Path, size: tuple[int, int]) -> None:
    browser.show(full_page(), tmp_path, size=size)
    assert browser.overflow() == []
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.settle()
    assert browser.overflow() == []
    # All figures are inside their cards, and no text is too small to be read.
    small = browser.run("""
        const found = [];
        for (const element of document.querySelectorAll("body *:not(script)")) {
          if (!element.getClientRects().length || element.closest("#js-plotly-tester")) continue;
          if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
          const size = parseFloat(getComputedStyle(element).fontSize);
          if (size < 12) found.push(`${element.tagName} ${size}: ${element.textContent}`);
        }
        return found;
    """)
    assert small == []
    browser.check_quiet()


def test_a_resized_window_redraws(browser: Browser, tmp_path: Path) -> None:
    show_figures(browser, tmp_path, one_panel(*every_kind()), size=DESKTOP)
    browser.resize(PHONE)
    browser.wait("return document.querySelector('.board').getBoundingClientRect().width < 380")
    browser.wait("return document.querySelector('.plot').chart === undefined && lronnx.charts[0].width < 380")
    assert browser.overflow() == []
    assert [mark["count"] for mark in browser.marks("figure")] == [6] * 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(browser: Browser, tmp_path: Path, scheme: str) -> None:
    browser.show(full_page(), tmp_path)
    browser.emulate(prefers_color_scheme=scheme)
    faint = browser.run("""
        const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
        const luminance = (rgb) => {
          const part = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
          const unit = rgb.startsWith("color(") ? 1 : 255;
          const [r, g, b] = parts(rgb.replace("srgb", "")).map((value) => part(value / unit));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (element) => {
          for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            const alpha = color.includes("/") || color.startsWith("rgba") ? parts(color).at(-1) : 1;
            if (alpha > 0.8) return color;
          }
          return "rgb(255, 255, 255)";
        };
        const found = [];
        for (const element of document.querySelectorAll("body *:not(script)")) {
          if (!element.getClientRects().length || element.closest("#js-plotly-tester, .box-text")) continue;
          if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
          const style = getComputedStyle(element);
          const ink = element.closest("svg") ? style.fill : style.color;
          const [a, b] = [luminance(ink), luminance(behind(element.closest("svg")?.parentElement ?? element))];
          const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (contrast < 4.5) found.push(`${element.tagName}.${element.className} ${contrast}: ${ink}`);
        }
        return found;
    """)
    assert faint == []


def stepped() -> tuple[Figure, list[str]]:
    x = np.linspace(0.0, 1.0, 301)
    hover = Hover("t = {x}\nnode {node}", {"node": np.arange(301) % 2}, {"node": ["relu", "<b>pool</b>"]})
    figure = Figure(
        "steps",
        "Steps",
        [Panel([Line(x, x**2)]), Panel([Line(x, -x)])],
        stops=(x[::-1], Hover(hover.template, {"node": np.arange(301)[::-1] % 2}, hover.names)),
    )
    return figure, [text.replace("\n", ", ") for text in hover.texts(x, np.zeros(301))]


def test_keys_step_through_stops(browser: Browser, tmp_path: Path) -> None:
    figure, texts = stepped()
    show_figures(browser, tmp_path, figure)
    assert "301 places" in browser.readout("steps")
    browser.run("document.querySelector('#figure-steps .board').focus()")
    assert browser.run("return document.querySelector('.readout').getAttribute('aria-live')") == "polite"
    at = 0
    for key, expected in [
        ("ArrowRight", 0),
        ("ArrowRight", 1),
        ("PageDown", 4),
        ("ArrowLeft", 3),
        ("End", 300),
        ("ArrowRight", 300),
        ("PageUp", 297),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]:
        browser.press(key)
        at = expected
        assert browser.readout("steps") == f"{at + 1} of 301: {texts[at]}"
        cursor = browser.run(
            "const c = lronnx.charts[0]; return [+c.cursor.getAttribute('x1'), c.scale.x(c.data.stops.x[c.stop])]"
        )
        assert cursor[0] == pytest.approx(cursor[1])
    assert browser.run("return document.querySelector('.cursor').style.display") == ""
    browser.run("[...document.querySelectorAll('.tool')].find((b) => b.textContent.startsWith('Next')).click()")
    assert browser.readout("steps") == f"2 of 301: {texts[1]}"
    # A click goes to the stop that is nearest.
    browser.click(*browser.place("steps", 0, 0.5004, 0.2))
    assert browser.readout("steps") == f"151 of 301: {texts[150]}"
    browser.check_quiet()


def test_everything_is_reached_with_the_tab_key(browser: Browser, tmp_path: Path) -> None:
    figure, _ = stepped()
    table = page.DataTable(["a"], [["1"]])
    show(browser, tmp_path, page.Figures([figure]), table, page.Code("c"), page.Disclosure("d", []))
    browser.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    seen = []
    for _ in range(40):
        browser.press("Tab")
        seen.append(browser.run("return document.activeElement.className || document.activeElement.tagName"))
        outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert seen[-1] == "BODY" or outline != "none"
        if seen[-1] == "SUMMARY":
            break
    wanted = {"board", "quiet", "scroll", "sort", "copy quiet", "SUMMARY"}
    assert wanted <= set(seen)
    assert any(name.startswith("tool") for name in seen)


def ranges(browser: Browser) -> list[list[float]]:
    script = "const full = lronnx.charts[0].plot._fullLayout; return [full.xaxis.range, full.yaxis.range]"
    return [list(map(float, one)) for one in browser.run(script)]


def test_zooming(browser: Browser, tmp_path: Path) -> None:
    x = np.linspace(0.0, 1.0, 50)
    panels = [Panel([Line(x, x)]), Panel([Ticks(x, 0.0)]), Panel([Line(x, 10.0 ** (-9 * x))], Axis(log=True))]
    show_figures(browser, tmp_path, Figure("zoom", "Zoom", panels))
    first = ranges(browser)
    assert first[0] == [0.0, 1.0]
    browser.drag(browser.place("zoom", 0, 0.25, 0.5), browser.place("zoom", 0, 0.75, 0.6))
    zoomed = ranges(browser)
    assert zoomed[0] == pytest.approx([0.25, 0.75], abs=0.01)
    assert zoomed[1] == first[1], "panels that share x keep their y"
    # The theme and the window may change: what is shown stays.
    browser.emulate(prefers_color_scheme="dark")
    assert ranges(browser)[0] == pytest.approx(zoomed[0])

    def press(label: str) -> None:
        browser.run("document.querySelector(`.tool[aria-label='${arguments[0]}']`).click()", label)
        browser.settle()

    press("Show all")
    assert ranges(browser) == first
    assert browser.run("return document.querySelector('.when-zoomed').hidden")
    press("Zoom in")
    assert ranges(browser)[0] == pytest.approx([0.25, 0.75])
    press("Later part")
    assert ranges(browser)[0] == pytest.approx([0.5, 1.0])
    press("Zoom out")
    assert ranges(browser)[0] == pytest.approx([0.0, 1.0])
    browser.check_quiet()


def test_the_legend_hides_groups(browser: Browser, tmp_path: Path) -> None:
    x = floats(0, 1)
    marks: list[Mark] = [
        Line(x, x, name="first", group="g"),
        Area(x, x, x + 1, group="g"),
        Points(x, x, name="second"),
        Line(x, x, group="g"),
        Line(x, x),
    ]
    for extra in ([], [Ticks(x, 0.0, name="ticks")]):
        show_figures(browser, tmp_path, one_panel(*marks, *extra))
        names = browser.run("return [...document.querySelectorAll('.legend-name')].map((e) => e.textContent)")
        assert names == ["first", "second", *(["ticks"] if extra else [])]
        browser.run("document.querySelector('.entry').click()")
        browser.settle()
        counts = [mark["count"] for mark in browser.marks("figure")]
        assert counts == [0, 0, 2, 0, 2, *([2] if extra else [])]
        assert browser.run("return document.querySelector('.entry').getAttribute('aria-pressed')") == "false"
        browser.run("document.querySelector('.entry').click()")
        browser.settle()
        assert [mark["count"] for mark in browser.marks("figure")] == [2] * (5 + len(extra))


def test_data_of_a_figure(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=450) * 1e-7
    value[3] = np.nan
    table = {"t": rng.random(450), "v": value, "n": rng.integers(-5, 10**12, 450), "name": ['a "q", b\nc', "é"] * 225}
    figure = one_panel(table=table)
    show_figures(browser, tmp_path, figure)
    browser.run("document.querySelector('.data').open = true")
    browser.settle()
    assert browser.run("return document.querySelectorAll('.data tbody tr').length") == 200
    assert "first 200 of 450 rows" in browser.text()
    assert browser.run("return document.querySelectorAll('.data tbody tr')[3].cells[1].textContent") == "-"
    saved = browser.driver.execute_async_script("""
        const done = arguments[0];
        const before = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blob.text().then(done); return before(blob); };
        document.querySelector(".save").click();
        URL.createObjectURL = before;
    """)
    (head, *rows), (expected_head, *expected) = (
        list(csv.reader(io.StringIO(text, newline=""))) for text in (saved, csv_bytes(figure).decode())
    )
    assert head == expected_head
    assert len(rows) == 450
    for row, other in zip(rows, expected, strict=True):
        assert row[3] == other[3]
        assert [float(cell or "nan") for cell in row[:3]] == pytest.approx(
            [float(cell or "nan") for cell in other[:3]], rel=0, abs=0, nan_ok=True
        )


def test_disclosures_draw_and_free(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, page.Disclosure("more", [page.Figures([one_panel(*every_kind())])]))
    assert browser.run("return lronnx.charts[0].plot === null || lronnx.charts[0].plot === undefined")
    for _ in range(2):
        browser.run("document.querySelector('summary').click()")
        browser.wait("return lronnx.charts[0].plot")
        browser.settle()
        assert [mark["count"] for mark in browser.marks("figure")] == [6] * 8
        browser.run("document.querySelector('summary').click()")
        browser.wait("return !lronnx.charts[0].plot")
        assert browser.run("return document.querySelectorAll('.js-plotly-plot, .stage canvas').length") == 0
    browser.check_quiet()


def test_figures_are_drawn_when_they_come_into_view(browser: Browser, tmp_path: Path) -> None:
    figures = [Figure(f"f{i}", "", [Panel([Line(floats(0, 1), floats(0, 1))])]) for i in range(12)]
    path = tmp_path / "page.html"
    path.write_bytes(page.render("t", [page.Section("s", [page.Figures(figures)])]))
    browser.resize(DESKTOP)
    browser.driver.get(path.as_uri())
    browser.wait("return !!lronnx.charts[0].plot")
    browser.settle()
    assert not browser.run("return lronnx.charts[11].plot")
    height = browser.run("return document.documentElement.scrollHeight")
    browser.run("document.querySelector('#figure-f11').scrollIntoView({ behavior: 'instant' })")
    browser.wait("return !!lronnx.charts[11].plot")
    browser.draw_all()
    # There was room for the figures before they were drawn.
    assert browser.run("return document.documentElement.scrollHeight") == pytest.approx(height, rel=0.12)


def test_pictures_stand_above_their_places(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((8, 8), (8, 8, 3), (300, 200, 3))]
    pictures = [Picture(at, one, f"picture {at}") for at, one in zip((0.0, 0.5, 1.0), pixels, strict=True)]
    figure = Figure("film", "", [Panel([Line(floats(0, 1), floats(0, 1))])], pictures=pictures)
    show_figures(browser, tmp_path, figure)
    told = browser.run("""
        const chart = lronnx.charts[0];
        const left = chart.plot.getBoundingClientRect().left;
        return [...document.querySelectorAll(".picture img")].map((image, i) => {
          const box = image.getBoundingClientRect();
          const at = left + chart.scale.x(chart.data.pictures[i].x);
          return [image.alt, image.complete && image.naturalWidth > 0, box.left + box.width / 2 - at, box.bottom];
        });
    """)
    assert [one[0] for one in told] == ["picture 0.0", "picture 0.5", "picture 1.0"]
    assert all(one[1] for one in told)
    assert abs(told[1][2]) < 1
    assert max(abs(one[2]) for one in told) < 60
    # The pixels are those of the array.
    shown = browser.run("""
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 8;
        const context = canvas.getContext("2d");
        context.drawImage(document.querySelectorAll(".picture img")[1], 0, 0);
        return [...context.getImageData(0, 0, 8, 8).data];
    """)
    assert (np.array(shown).reshape(8, 8, 4)[..., :3] == pixels[1]).all()
    browser.check_quiet()


def test_pages_scroll_over_figures(browser: Browser, tmp_path: Path) -> None:
    hover = Hover("at {x}")
    x = floats(0, 1, 2)
    figures = [Figure(f"f{i}", "", [Panel([Points(x, x, hover=hover)])]) for i in range(4)]
    content = page.render("t", [page.Section("s", [page.Figures(figures)])])
    try:
        browser.show(content, tmp_path, size=PHONE, touch=True)
        before = ranges(browser)
        place = browser.place("f1", 0, 0.7, 1.0)
        start = browser.run("return window.scrollY")
        browser.swipe(*place, up=250)
        browser.wait(f"return window.scrollY > {start} + 100")
        assert ranges(browser) == before
        # A tap tells what is there.
        browser.tap(*browser.place("f1", 0, 1.0, 1.0))
        tip = "return document.querySelector('#figure-f1 .tip')"
        assert browser.wait(f"{tip}.hidden ? '' : document.querySelector('#figure-f1 .tip').textContent") == "at 1"
    finally:
        browser.resize(DESKTOP)
    browser.show(content, tmp_path)
    before = ranges(browser)
    # Where there is a mouse, too, a finger still does not zoom.
    browser.swipe(*browser.place("f0", 0, 0.7, 1.0), up=100)
    assert ranges(browser) == before
    place = browser.place("f1", 0, 0.7, 1.0)
    start = browser.run("return window.scrollY")
    browser.wheel(*place, down=300)
    browser.wait(f"return window.scrollY > {start} + 100")
    assert ranges(browser) == before


def test_on_a_phone_a_term_its_value_and_its_meaning_are_under_each_other(browser: Browser, tmp_path: Path) -> None:
    rows = [
        ("regions", "14434", "each of one activation pattern, and neighbours differ"),
        ("length", "58.3", "Euclid's"),
    ]
    show(browser, tmp_path, page.DataTable(("figure", "value", "meaning"), rows), size=PHONE)
    left, right = browser.run("""
        const box = document.querySelector(".scroll").getBoundingClientRect();
        return [box.left, box.right];
    """)
    cells = browser.run("""
        return [...document.querySelectorAll("td")].map((cell) => {
          const range = document.createRange();
          range.selectNodeContents(cell);
          const { left, right, top, bottom } = range.getBoundingClientRect();
          return [left, right, top, bottom];
        });
    """)
    assert all(left < cell[0] < cell[1] < right for cell in cells)
    term, value, meaning = cells[:3]
    assert term[2] == value[2]
    assert term[1] < value[0]
    assert meaning[2] >= term[3]
    assert "data-more" not in browser.run("return document.querySelector('.scroll').outerHTML")


def test_what_can_be_scrolled_fades_out_where_there_is_more(browser: Browser, tmp_path: Path) -> None:
    columns = [f"a name of column {i}" for i in range(6)]
    table = page.DataTable(columns, [[f"entry number {i}" for i in range(6)]])
    sections = [page.Section(f"A section, {i}", [table] if not i else []) for i in range(6)]
    browser.show(page.render("t", sections), tmp_path, size=PHONE)
    sides = (
        "const e = document.querySelector(arguments[0]); return [e.dataset.more ?? '', getComputedStyle(e).maskImage]"
    )
    for selector in (".scroll", ".bar ul"):
        more, mask = browser.run(sides, selector)
        assert more == "right"
        assert mask.startswith("linear-gradient")
        end = "const e = document.querySelector(arguments[0]); e.scrollTo({ left: arguments[1], behavior: 'instant' })"
        browser.run(end, selector, 40)
        browser.settle()
        assert browser.run(sides, selector)[0] == "left right"
        browser.run(end, selector, 1e6)
        browser.settle()
        assert browser.run(sides, selector)[0] == "left"
    browser.resize(DESKTOP)
    assert browser.run(sides, ".scroll") == ["", "none"]


def test_a_table_of_many_columns_fits_a_desktop(browser: Browser, tmp_path: Path) -> None:
    columns = ["mean over the paths of", "paths", "regions", "linear per region", "density", "absolute deviation"]
    columns += ["mean deviation", "total variation", "slope variation", "local similarity", "decision changes"]
    rows = [["train, corrupted labels", "24", "13368", "0.9837", "87", "1377", "8.598"] + ["48811.25"] * 4]
    show(browser, tmp_path, page.DataTable(columns, rows))
    across, room, tallest = browser.run("""
        const scroll = document.querySelector(".scroll");
        const heights = [...document.querySelectorAll("th")].map((th) => th.querySelector(".sort").offsetHeight);
        return [scroll.scrollWidth, scroll.clientWidth, Math.max(...heights)];
    """)
    assert across <= room
    assert tallest < 65, "names of columns have at most three lines"


def test_names_of_columns_stand_over_their_numbers(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, page.DataTable(("name", "number"), [("a", "1"), ("b", "12345")]))
    ends = browser.run("""
        const text = (element) => {
          const range = document.createRange();
          range.selectNodeContents(element);
          return range.getBoundingClientRect();
        };
        const [name, number] = [...document.querySelectorAll(".sort")].map(text);
        const [a, one] = [...document.querySelectorAll("td")].map(text);
        return [name.left - a.left, number.right - one.right];
    """)
    assert ends == pytest.approx([0, 0], abs=1)
    seen = browser.run("""
        const look = (element, side) => getComputedStyle(element, side);
        const [name, number] = document.querySelectorAll(".sort");
        const arrows = [look(name, "::after"), look(number, "::before")];
        return arrows.map(({ content, opacity }) => [content, Number(opacity)]);
    """)
    # That a table can be sorted is seen before it is pointed at.
    assert [content for content, _ in seen] == ['"\u2195"'] * 2
    assert all(opacity >= 0.3 for _, opacity in seen)


def test_nothing_shines_through_the_bar(browser: Browser, tmp_path: Path) -> None:
    sections = [page.Section(name, [page.Prose("p " * 4000)]) for name in ("One", "Two")]
    browser.show(page.render("t", sections), tmp_path)
    assert re.fullmatch(
        r"rgb\(.*\)", browser.run("return getComputedStyle(document.querySelector('.bar')).backgroundColor")
    )


def test_tables_sort(browser: Browser, tmp_path: Path) -> None:
    rows = [["b", "10", "-"], ["a", "9", "1e-3"], ["c", "1,000", "-2"], ["d", "-", "0.5 %"]]
    show(browser, tmp_path, page.DataTable(["name", "n", "m"], rows, groups=[("", 1), ("numbers", 2)]))
    read = "return [...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent).join('')"

    def click(column: int) -> str:
        browser.run("document.querySelectorAll('.sort')[arguments[0]].click()", column)
        return str(browser.run(read))

    assert browser.run(read) == "bacd"
    assert [click(0), click(0), click(0)] == ["abcd", "dcba", "bacd"]
    assert [click(1), click(1)] == ["abcd", "cbad"]
    assert browser.run("return [...document.querySelectorAll('[aria-sort]')].map((e) => e.ariaSort)") == ["descending"]
    assert click(2) == "cadb"
    assert browser.run("return getComputedStyle(document.querySelectorAll('td')[1]).textAlign") == "right"


def test_tables_that_do_not_sort_look_the_same(browser: Browser, tmp_path: Path) -> None:
    table = page.DataTable(("figure", "value", "meaning"), [("a", "1", "one"), ("b", "2", "two")])
    heights = []
    for sorts in (True, False):
        show(browser, tmp_path, dataclasses.replace(table, sorts=sorts))
        assert browser.run("return document.querySelectorAll('.sort').length") == 3 * sorts
        heads = browser.run("return [...document.querySelectorAll('th')].map((head) => head.textContent)")
        assert heads == ["figure", "value", "meaning"]
        heights.append(browser.run("return document.querySelector('thead').offsetHeight"))
        browser.check_quiet()
    assert heights[0] == pytest.approx(heights[1], abs=2)


def test_code_is_copied(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, page.Code("lronnx walk <a> && b"))
    browser.run("window.copied = []; document.addEventListener('copy', () => copied.push(String(getSelection())))")
    browser.run("navigator.clipboard && (navigator.clipboard.writeText = async (text) => { copied.push(text) })")
    browser.run("document.querySelector('.copy').click()")
    browser.wait("return document.querySelector('.copy').textContent === 'Copied'")
    assert browser.run("return copied") == ["lronnx walk <a> && b"]


def degenerate() -> list[Figure]:
    nothing = np.zeros(0)
    one = floats(0.5)
    same = np.full(4, 3.0)
    return [
        Figure("none", "", []),
        Figure("empty", "", [Panel([])], Axis("x"), pictures=[Picture(0.0, np.zeros((2, 2), np.uint8))]),
        one_panel(
            Line(nothing, nothing),
            Steps(floats(0.0), nothing),
            Area(nothing, nothing, nothing),
            Points(nothing, nothing, hover=Hover("{x}")),
            Ticks(nothing, 0.0, weights=nothing),
            Bars(nothing, nothing),
            Boxes(nothing, nothing, nothing, nothing, [], [], []),
            Texts(nothing, nothing, []),
            table={"a": nothing, "b": []},
            stops=(nothing, Hover("{x}")),
        ),
        Figure("one", "", [Panel(every_kind(1))], table={"a": one}, stops=(one, Hover("{x}"))),
        Figure("same", "", [Panel([Line(same, same), Points(same, same), Ticks(same, 3.0), Steps(floats(3, 3), one)])]),
        Figure("log", "", [Panel([Points(one, one), Bars(one, one)], Axis(log=True))], Axis(log=True)),
        Figure("negative", "", [Panel([Line(floats(-1, 0, 1), floats(0, -1, 5))], Axis(log=True))], Axis(log=True)),
        Figure("low", "", [Panel([Area(one, -one, one), Steps(floats(0, 1), -one)], Axis(log=True))]),
        Figure("large", "", [Panel([Line(floats(-1e300, 1e300), floats(-1.7e308, 1.7e308))])]),
        Figure("small", "", [Panel([Line(floats(0, 5e-324), floats(1e-310, 2e-310))])]),
        Figure("near", "", [Panel([Line(floats(1, 1 + 1e-15), floats(1e9, 1e9 + 1e-6))])]),
        Figure("flat", "", [Panel([Line(one, one)], Axis(range=(1.0, 1.0)), height=0.0)], Axis(range=(2.0, 1.0))),
        Figure("far", "", [Panel([Line(one, one)], Axis(log=True, range=(1e-300, 1e300)), verticals=[0.1, 0.9])]),
    ]


def test_degenerate_figures(browser: Browser, tmp_path: Path) -> None:
    figures = degenerate()
    show_figures(browser, tmp_path, *figures)
    for figure in figures:
        for mark, drawn in zip(
            [mark for panel in figure.panels for mark in panel.marks], browser.marks(figure.name), strict=True
        ):
            assert drawn["kind"] == type(mark).__name__
    assert "no data" in browser.run("return document.getElementById('figure-empty').textContent")
    assert [mark["count"] for mark in browser.marks("one")] == [1] * 8
    browser.run("for (const button of document.querySelectorAll('.tool')) button.click()")
    browser.run("for (const details of document.querySelectorAll('.data')) details.open = true")
    browser.settle()
    browser.check_quiet()
    content = page.render(
        "", [page.Section("", []), page.Section("", [page.Figures([]), page.Facts([]), page.Prose("")])]
    )
    browser.show(content, tmp_path)
    browser.check_quiet()


def test_a_figure_of_a_width_of_its_own_keeps_its_scale(browser: Browser, tmp_path: Path) -> None:
    boxes = Boxes(
        floats(1, 11),
        floats(1, 1),
        floats(1.5, 1.5),
        floats(1, 1),
        ["one\ntwo\nthree", "b"],
        [colors.SURFACE] * 2,
        [colors.BAD] * 2,
        Hover("box {n}", {"n": np.arange(2)}),
        dash="dashed",
    )
    line = Line(floats(2, 10), floats(1, 1), arrow=True)
    panel = Panel([line, boxes], Axis(hidden=True, range=(2.0, 0.0)))
    figure = Figure("net", "", [panel], Axis(hidden=True, range=(0.0, 12.0)), width=12.0, aspect=2 / 12)
    for size in (PHONE, DESKTOP):
        show_figures(browser, tmp_path, figure, size=size)
        assert browser.overflow() == []
        told = browser.run("""
            const { x, panels } = lronnx.charts[0].scale;
            return [x(1) - x(0), panels[0].y(1) - panels[0].y(0), document.querySelectorAll(".box-text").length,
                    parseFloat(getComputedStyle(document.querySelector(".box-text")).fontSize),
                    document.querySelector(".port").scrollWidth, document.querySelectorAll(".arrow").length];
        """)
        assert told[0] == pytest.approx(told[1], abs=0.5)
        assert told[2] == 4
        assert told[3] >= 12
        assert told[3] == pytest.approx(told[0] * 8 / 72, rel=0.01)
        assert told[4] == pytest.approx(12 * told[0], abs=3)
        assert told[5] == 1
        assert [mark["count"] for mark in browser.marks("net")] == [2, 2]
    browser.run("document.querySelector('.port').scrollLeft = 1e6")
    assert browser.hover("net", 0, 11.0, 1.0) == "box 1"
    browser.check_quiet()


def painted_row(browser: Browser, y: float) -> list[int]:
    """How opaque the first panel of the first figure is painted along this y, in pixels of its canvas."""
    return list(
        browser.run(
            """
            const { scale, canvas } = lronnx.charts[0];
            const ratio = canvas.width / canvas.getBoundingClientRect().width;
            const copy = new OffscreenCanvas(canvas.width, 1).getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, -Math.round(scale.panels[0].y(arguments[0]) * ratio));
            const [left, right] = [scale.x.start, scale.x.end].map((at) => Math.round(at * ratio));
            const row = copy.getImageData(left, 0, right - left, 1).data;
            return Array.from({ length: right - left }, (_, i) => row[4 * i + 3]);
            """,
            y,
        )
    )


def test_thirty_thousand_marks(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 30_000
    x = np.sort(rng.random(count))
    unit = rng.integers(0, 5000, count)
    node = rng.integers(0, 2, count)
    names = {"node": ["node_relu", "node_pool"]}
    hover = Hover("{node} unit {unit} t {x}", {"node": node, "unit": unit}, names)
    panels = [
        Panel([Ticks(x, 0.0, colors.Color("#ff0000", "#ff0000"), weights=rng.uniform(0.1, 1, count), hover=hover)]),
        Panel([Points(x, rng.normal(size=count), hover=hover)]),
    ]
    figure = Figure("many", "", panels, stops=(x, hover))
    show_figures(browser, tmp_path, figure)
    seconds = browser.run("""
        const [chart] = lronnx.charts;
        chart.free();
        const start = performance.now();
        chart.draw();
        chart.canvas.getContext("2d").getImageData(0, 0, 1, 1);
        return (performance.now() - start) / 1000;
    """)
    assert seconds < 2.0
    assert [(mark["count"], mark["way"]) for mark in browser.marks("many")] == [(count, "canvas")] * 2
    browser.settle()
    expected = list(hover.texts(x, np.zeros(count)))
    browser.run("lronnx.charts[0].zoomTo([0.5, 0.5002])")
    browser.settle()
    at = int(np.searchsorted(x, 0.5001))
    assert browser.hover("many", 0, float(x[at]), 0.0) == expected[at]
    reds = painted_row(browser, 0.0)
    # As many strokes as there are marks in what is shown, where these do not touch each other.
    places = (x[(x > 0.5) & (x < 0.5002)] - 0.5) / 0.0002 * len(reds)
    assert len(places) > 3
    strokes = int(((np.array(reds[1:]) > 0) & (np.array(reds[:-1]) == 0)).sum())
    apart = int((np.diff(places) > 4).sum()) + 1
    assert apart <= strokes + 1
    assert strokes <= len(places)
    browser.check_quiet()


def test_weights_are_how_strongly_ticks_are_drawn(browser: Browser, tmp_path: Path) -> None:
    red = colors.Color("#ff0000", "#ff0000")
    ticks = Ticks(floats(0.25, 0.5, 0.75), 0.0, red, weights=floats(0.2, 0.6, 1.0))
    show_figures(browser, tmp_path, one_panel(ticks, x=Axis(range=(0.0, 1.0))))
    row = painted_row(browser, 0.0)
    centres = [round(at * len(row)) for at in ticks.x]
    strengths = [max(row[at - 4 : at + 4]) / 255 for at in centres]
    assert strengths == pytest.approx([0.2, 0.6, 1.0], abs=0.02)


def test_density_shows_where_ticks_have_no_pixel_each(browser: Browser, tmp_path: Path) -> None:
    red = colors.Color("#ff0000", "#ff0000")
    rng = np.random.default_rng(0)
    # Three in a pixel on the left, fifteen on the right.
    x = np.concatenate([rng.uniform(0.0, 0.5, 1500), rng.uniform(0.5, 1.0, 7500)])
    show_figures(browser, tmp_path, one_panel(Ticks(np.sort(x), 0.0, red), x=Axis(range=(0.0, 1.0))))
    row = np.array(painted_row(browser, 0.0))
    left, right = row[: len(row) // 2], row[len(row) // 2 :]
    assert left.mean() < 0.6 * right.mean()
    assert right.max() == 255
    assert len(set(right.tolist())) > 8
    # Magnified, each is a tick of its own.
    browser.run("lronnx.charts[0].zoomTo([0.2, 0.21])")
    browser.settle()
    shown = np.array(painted_row(browser, 0.0))
    places = (x[(x > 0.2) & (x < 0.21)] - 0.2) / 0.01 * len(shown)
    for place in places[(places > 4) & (places < len(shown) - 4)]:
        assert shown[int(place) - 2 : int(place) + 3].max() == 255
    assert (shown > 0).mean() < 0.3
    browser.check_quiet()


def test_symbols_at_the_ends_of_an_axis_are_whole(browser: Browser, tmp_path: Path) -> None:
    red = colors.Color("#ff0000", "#ff0000")
    ends = Axis(range=(0.0, 1.0))
    points = [Points(floats(0.5), floats(y), red, symbol="square", size=10.0) for y in (1.0, 0.0, 1.1, -0.2)]
    dense = [Ticks(floats(0.2), 0.5), *points]
    figures = [Figure(name, "", [Panel(marks, ends)], ends) for name, marks in (("few", points), ("many", dense))]
    show_figures(browser, tmp_path, *figures)
    for name in ("few", "many"):
        reached = browser.run(
            """
            const { scale, plot, canvas } = document.getElementById(`figure-${arguments[0]}`).chart;
            const { start, end } = scale.panels[0].y;
            if (arguments[0] === "few") {
              const top = plot.getBoundingClientRect().top;
              const boxes = [...plot.querySelectorAll("path.point")].filter((path) => path.getClientRects()[0]?.height);
              const clipped = boxes.some((path) => {
                for (let at = path; at !== plot; at = at.parentElement)
                  if (at.getAttribute("clip-path")) return true;
                return false;
              });
              if (clipped) return "clipped";
              const rects = boxes.map((path) => path.getBoundingClientRect());
              const [first, last] = [Math.min(...rects.map((r) => r.top)), Math.max(...rects.map((r) => r.bottom))];
              return [start - (first - top), last - top - end];
            }
            const ratio = canvas.width / canvas.getBoundingClientRect().width;
            const at = Math.round(scale.x(0.5) * ratio);
            const column = canvas.getContext("2d").getImageData(at, 0, 1, canvas.height).data;
            const painted = Array.from({ length: canvas.height }, (_, i) => column[4 * i + 3] > 128);
            return [start - painted.indexOf(true) / ratio, (painted.lastIndexOf(true) + 1) / ratio - end];
            """,
            name,
        )
        # Half a symbol's size beyond either end, and nothing of those that lie beyond it.
        assert reached == pytest.approx([5.0, 5.0], abs=1.0), name


def test_symbols_weigh_the_same(browser: Browser, tmp_path: Path) -> None:
    symbols = ("circle", "diamond", "square", "triangle")
    points = [Points(floats(i), floats(i), symbol=symbol, size=10.0) for i, symbol in enumerate(symbols)]
    show_figures(browser, tmp_path, one_panel(*points))
    areas = browser.run("""
        return [...document.querySelectorAll(".plot path.point")].map((path) => {
          const { x, y, width, height } = path.getBBox();
          const svg = path.ownerSVGElement;
          let count = 0;
          for (let i = 0; i < 100; i++)
            for (let j = 0; j < 100; j++) {
              const point = svg.createSVGPoint();
              [point.x, point.y] = [x + ((i + 0.5) * width) / 100, y + ((j + 0.5) * height) / 100];
              count += path.isPointInFill(point);
            }
          return (count / 10000) * width * height;
        });
    """)
    assert len(areas) == 4
    assert max(areas) < 1.4 * min(areas)


def test_a_thousand_lines(browser: Browser, tmp_path: Path) -> None:
    x = np.arange(20.0)
    lines = [Line(x, x * i, colors.series(i), name=f"output {i}") for i in range(1000)]
    show_figures(browser, tmp_path, one_panel(*lines))
    assert [mark["count"] for mark in browser.marks("figure")] == [20] * 1000
    assert browser.run("return document.querySelectorAll('.entry').length") == 1000
    assert browser.run("return document.querySelector('.legend').getBoundingClientRect().height") < 200
    browser.check_quiet()


def test_ticks_of_logarithmic_axes(browser: Browser, tmp_path: Path) -> None:
    y = 10.0 ** -np.arange(10)
    show_figures(browser, tmp_path, one_panel(Line(np.arange(10.0), y), y=Axis(log=True)))
    read = "return [...document.querySelectorAll('.ytick text')].map((text) => text.textContent)"
    ticks = browser.run(read)
    assert 3 <= len(ticks) <= 11
    assert all(re.fullmatch("10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", text) for text in ticks)
    browser.run("const c = lronnx.charts[0]; Plotly.relayout(c.plot, { 'yaxis.range': [-0.5, 0.2] })")
    browser.settle()
    near = browser.run(read)
    assert near != ticks
    assert len(near) >= 2
    assert all(10**-0.5 * 0.99 <= float(text) <= 10**0.2 * 1.01 for text in near)
