"""The page of a comparison says what it says, draws what was found, and opens in a browser without a word."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import made_comparisons
import made_runs
import numpy as np
import pyarrow as pa
import pytest
from browser import PHONE, Browser, open_browser
from hypothesis import given, settings
from hypothesis import strategies as st
from made_comparisons import Made
from test_plot_report import counts, payloads

from lronnx import comparison_report
from lronnx import report as texts
from lronnx.plot import pairs, report, still
from lronnx.plot.figures import Area, Bars, Figure, Line, Points
from lronnx.plot.study import MEASURES
from lronnx.runs import Run

HOSTILE = made_runs.HOSTILE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def some_runs(*seeds: int, paths: int = 40, **options: Any) -> list[Run]:
    return [made_runs.run(seed, paths, **options) for seed in seeds]


@pytest.fixture(scope="module")
def different(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two networks that have nothing in common."""
    folder = tmp_path_factory.mktemp("different")
    networks = [made_comparisons.network(folder / f"{name}.onnx", seed=seed) for name, seed in (("one", 1), ("two", 2))]
    return made_comparisons.made(networks, some_runs(1, 2))


@pytest.fixture(scope="module")
def identical(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same network, whose first layer is scaled by a power of two."""
    folder = tmp_path_factory.mktemp("identical")
    networks = [
        made_comparisons.network(folder / f"{name}.onnx", seed=1, scale=scale)
        for name, scale in (("a", 1.0), ("b", 2.0))
    ]
    return made_comparisons.made(networks, some_runs(1, 1))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network, the same again, and another one, with ten outputs."""
    folder = tmp_path_factory.mktemp("three")
    networks = [
        made_comparisons.network(folder / f"net{number}.onnx", seed=seed, outputs=10)
        for number, seed in enumerate((1, 1, 3), 1)
    ]
    return made_comparisons.made(networks, some_runs(1, 1, 3, paths=12, outputs=10))


def page_of(made: Made, **options: Any) -> bytes:
    return pairs.page_of(made.comparison, made.runs, made.differences, **options)


def figure(made: Made, name: str) -> Figure:
    [found] = [one for one in pairs.figures(made.comparison, made.runs, made.differences) if one.name == name]
    return found


def of(found: Figure, panel: int, kind: type) -> list[Any]:
    return [mark for mark in found.panels[panel].marks if isinstance(mark, kind)]


def cells(content: bytes) -> list[str]:
    """The cells of all tables."""
    found = re.findall(r"<td[^>]*>(.*?)</td>", content.decode(), re.DOTALL)
    return [cell.replace("&#x27;", "'").replace("&amp;", "&") for cell in found]


# --- What a page says


def test_a_page_says_what_the_comparison_says(different: Made) -> None:
    content = page_of(different, command="lronnx compare one.onnx two.onnx")
    text = content.decode()
    comparison = different.comparison
    [pair] = comparison["pairs"]
    assert "<h1>one.onnx and two.onnx: different</h1>" in text
    sentence = comparison_report.verdict_text(comparison, pair)
    largest = comparison_report.evidence_rows(comparison, pair)[0]
    place = f"t = {pair['largest_at']['t']:.6g} of segment {pair['largest_at']['segment']} of path 0"
    assert f'<p class="subtitle">{sentence} Largest difference: {largest[1]}; {largest[2]}, at {place}.</p>' in text
    told = cells(content)
    for name, *row in comparison_report.evidence_rows(comparison, pair):
        at = told.index(name.strip())
        assert told[at + 1 : at + 3] == row
    for model in comparison["models"]:
        for number in (model["sha256"][:12], f"{model['units']:,}", f"{model['regions']:,}", "x (1x2)"):
            assert number in told
    assert "input x is input x" in told
    assert "lronnx compare one.onnx two.onnx</code>" in text
    assert "warning" not in re.sub(r"<(style|script|noscript).*?</\1>", "", text, flags=re.DOTALL)


def test_numbers_of_the_evidence_are_written_as_in_all_tables(different: Made) -> None:
    comparison = copy.deepcopy(different.comparison)
    comparison["pairs"][0] |= {
        "breakpoints": [12345, 678],
        "union_breakpoints": 1234567,
        "switches": [123456, 1000],
        "matched_switches": 1000,
        "grazing": [2000, 3],
        "median_move": 0.0,
        "largest_move": 1e-12,
        "unmatched_by_node": [{"4321": 5432, "1000": 10}, {}],
    }
    comparison["pairs"][0]["largest_at"] |= {"first": 1234567.0, "other": 123456.5}
    told = cells(page_of(different._replace(comparison=comparison)))
    at = told.index("breakpoints")
    assert told[at + 1 : at + 3] == ["12,345 and 678", "1,234,567 in the union (closer than 1e-12 in t: one)"]
    at = told.index("unit switches")
    assert told[at + 1] == "123,456 and 1,000"
    assert told[at + 2] == "1,000 stand for each other; of the rest, 2,000 and 3 are rounding at a kink"
    # Names and measured numbers stay as they are.
    assert told[told.index("5,432") + 1] == "of 4321"
    assert told[told.index("largest difference") + 2].endswith(": 1.23457e+06 and 123456")


def test_what_was_cut_off_is_told(different: Made) -> None:
    assert "cut off at the output" not in cells(page_of(different))
    comparison = copy.deepcopy(different.comparison)
    comparison["models"][1]["cut"] = ["Softmax", "Identity"]
    told = cells(page_of(different._replace(comparison=comparison)))
    at = told.index("cut off at the output")
    assert told[at + 1 : at + 3] == ["", "Softmax, Identity"]


def test_what_was_walked_is_counted(three: Made, tmp_path: Path) -> None:
    text = page_of(three).decode()
    assert '<p class="subtitle">12 paths, 24 segments in all; all are compared with net1.onnx</p>' in text
    assert "<caption>12 paths, 24 segments in all, of length" in text
    networks = [made_comparisons.network(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(3)]
    text = page_of(made_comparisons.made(networks, some_runs(0, 1, 2, paths=1))).decode()
    assert '<p class="subtitle">1 path, 2 segments; all are compared' in text
    assert not re.search(r"\b1 (paths|segments)\b", text[text.index("<main>") : text.index("<script>")])
    assert not [name for name, one in payloads(text.encode()).items() if "1 paths" in json.dumps(one)]


def test_tables_in_whose_order_there_is_a_meaning_do_not_sort(different: Made) -> None:
    tables = re.findall(r"<table.*?</table>", page_of(different).decode(), re.DOTALL)
    sorts = ["sort" in table for table in tables]
    assert sorts == [False, False, True, True]
    assert [">figure<" in table for table in tables] == [False, True, False, False]


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (3, 3), (4, 2), (5, 3), (6, 2)])
def test_figures_of_networks_leave_few_places_empty(three: Made, count: int, columns: int) -> None:
    made = three._replace(runs=[three.runs[at % 3] for at in range(count)])
    models = [three.comparison["models"][at % 3] | {"number": at + 1, "label": f"{at}"} for at in range(count)]
    told = [three.comparison["pairs"][1] | {"other": at + 1} for at in range(1, count)]
    text = page_of(made._replace(comparison=three.comparison | {"models": models, "pairs": told})).decode()
    section = text[text.index("<h2>Where the networks bend") :]
    found = re.findall(
        r'<div class="figures columns-(\d)">(.*?)</div>\n<', section[: section.index("</section>")], re.DOTALL
    )
    assert [int(one) for one, _ in found] == [columns] * 3


def test_the_table_of_measures_has_the_numbers_of_the_comparison(different: Made) -> None:
    told = cells(page_of(different))
    first, other = different.comparison["models"]
    for name, figures in different.comparison["pairs"][0]["measures"].items():
        # The last table that has it: regions are counted of the networks, too.
        at = len(told) - 1 - told[::-1].index(texts.MEASURES[name])
        row = told[at : at + 8]
        assert row[1] == texts.short(first["measures"][name]["mean"])
        assert row[2] == texts.short(other["measures"][name]["mean"])
        ends = [float(end) for end in row[4].split(" .. ")]
        for shown, number in zip(
            [float(row[3]), *ends, float(row[5]), float(row[6]), float(row[7].removesuffix(" %")) / 100],
            [
                figures["difference"],
                *figures["interval"],
                *(figures[one] for one in ("ratio", "standardized", "larger")),
            ],
            strict=True,
        ):
            assert shown == pytest.approx(number, rel=5e-3)


def test_layers_that_correspond_are_told(identical: Made, different: Made) -> None:
    [pair] = identical.comparison["pairs"]
    told = cells(page_of(identical))
    for node, counterparts in pair["nodes"].items():
        [(counterpart, matched)] = counterparts.items()
        at = told.index(node)
        assert told[at : at + 3] == [node, counterpart, str(matched)]
    told = cells(page_of(different))
    first, other = different.comparison["pairs"][0]["unmatched_by_node"]
    rows = [told[at : at + 5] for at in range(len(told)) if told[at + 2 : at + 3] == ["0"]]
    for node, count in first.items():
        assert [node, "-", "0", str(count), "0"] in rows
    for node, count in other.items():
        assert ["-", node, "0", "0", str(count)] in rows


def test_layers_that_correspond_in_part_are_told_with_what_is_left_of_both(different: Made) -> None:
    comparison = copy.deepcopy(different.comparison)
    comparison["pairs"][0] |= {
        "nodes": {"a": {"x": 5, "y": 1}},
        "unmatched_by_node": [{"a": 2, "third": 4, "first": 3}, {"x": 1000, "z": 1}],
    }
    told = cells(page_of(different._replace(comparison=comparison)))
    at = told.index("first", told.index("moved by") if "moved by" in told else 0)
    # In the first network's order, as far as that is known.
    rows = [("first", "-", "0", "3", "0"), ("third", "-", "0", "4", "0"), ("a", "x", "5", "2", "1,000")]
    rows += [("-", "z", "0", "0", "1")]
    assert told[at : at + 20] == [cell for row in rows for cell in row]


def test_what_has_to_be_known_first_stands_out(different: Made) -> None:
    broken = different._replace(runs=[different.runs[0], made_runs.run(2, 40, ok=False, partial=True)])
    text = page_of(broken).decode()
    main = text[text.index("<main>") :]
    first = main[: main.index("<table")]
    assert first.count('<div class="prose warning" role="note"><p>two.onnx: ') == 2
    assert "<p>two.onnx: PARTIAL: 80 of 80 segments were not walked to their end" in first
    assert "<p>two.onnx: SELF-CHECK FAILED: do not rely on these figures. The self-check failed on" in first
    figures = payloads(page_of(broken))
    assert "network-1-places-along-path" in figures
    assert "network-2-places-along-path" not in figures


def test_networks_that_are_the_same_leave_nothing_to_compare(identical: Made, browser: Browser, tmp_path: Path) -> None:
    content = page_of(identical)
    text = content.decode()
    assert "<h1>a.onnx and b.onnx: identical regions</h1>" in text
    assert "Where regions are the same, so are the measures, up to rounding." in text
    figures = payloads(content)
    assert not [name for name in figures if name.startswith(("paired", "runs-", "ratios"))]
    drawn = figure(identical, "difference")
    assert all(not mark.y.any() for mark in of(drawn, 1, Line) if mark.group.startswith("output"))
    assert not of(drawn, 1, Points)
    assert "they differ on none" in drawn.caption
    assert not drawn.panels[1].y.log
    browser.show(content, tmp_path)
    browser.check_quiet()
    assert browser.overflow() == []


@pytest.mark.parametrize("paths", [1, 4])
def test_of_few_paths_no_interval_is_told(paths: int, tmp_path: Path, browser: Browser) -> None:
    networks = [made_comparisons.network(tmp_path / f"{seed}.onnx", seed=seed) for seed in (1, 2)]
    made = made_comparisons.made(networks, some_runs(1, 2, paths=paths, segments=1), segments=1)
    content = page_of(made)
    text = content.decode()
    main = text[text.index("<main>") : text.index("<script>")]
    assert "interval" not in re.sub(r"no interval is told", "", main)
    assert " .. " not in main
    assert '<button type="button" class="sort">d_z</button>' not in main
    assert ("value of a path" in main) == (paths == 1)
    figures = payloads(content)
    assert ("paired-density" in figures) == ("ratios" in figures) == (paths > 1)
    assert not [name for name in figures if name.startswith("runs-")]
    for one in figures.values():
        assert all(panel["marks"] for panel in one["panels"])
    browser.show(content, tmp_path)
    browser.check_quiet()
    assert "no data" not in browser.text()


def test_every_pair_of_three_networks_is_told(three: Made, browser: Browser, tmp_path: Path) -> None:
    content = page_of(three)
    told = cells(content)
    for label, verdict in (("net2.onnx", "identical regions"), ("net3.onnx", "different")):
        at = told.index(label)
        assert told[at + 1] == verdict
        assert told[at + 2].startswith("On these 12 paths")
    figures = payloads(content)
    assert {"network-2-difference", "network-3-difference", "network-3-paired-density", "ratios"} <= figures.keys()
    assert "network-2-paired-density" not in figures
    means = [model["measures"]["density"]["mean"] for model in three.comparison["models"]]
    at = told.index("density")
    assert told[at : at + 4] == ["density", *map(texts.short, means)]
    names = [one.name for one in pairs.figures(three.comparison, three.runs, three.differences)]
    assert len(set(names)) == len(names)
    assert set(figures) <= set(names)
    browser.show(content, tmp_path)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.draw_all()
    browser.check_quiet()
    browser.resize(PHONE)
    assert browser.overflow() == []


def test_of_many_networks_the_first_are_drawn(tmp_path: Path) -> None:
    networks = [made_comparisons.network(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(9)]
    made = made_comparisons.made(networks, some_runs(*range(9), paths=6))
    content = page_of(made)
    figures = payloads(content)
    drawn = {name for name in figures if name.endswith("-difference")}
    assert drawn == {f"network-{number}-difference" for number in range(2, 2 + pairs.MOST_PAIRS)}
    assert "figures show the first ones only" in content.decode()
    told = cells(content)
    assert all(told.count(f"{seed}.onnx") >= 3 for seed in range(1, 9))


@pytest.mark.parametrize("paths", [1, 7])
def test_whatever_names_are_the_page_is_quiet(paths: int, browser: Browser, tmp_path: Path) -> None:
    labels = [HOSTILE, f"{HOSTILE} 2"]
    networks = [made_comparisons.network(tmp_path / f"{seed}.onnx", seed=seed) for seed in (1, 2)]
    metadata = {"lronnx.labels": json.dumps([HOSTILE, "cat", "dog"])}
    nodes = [made_runs.node(HOSTILE, (1, 2, 2, 2), 1)]
    runs = some_runs(1, 2, paths=paths, classes=[HOSTILE], nodes=nodes, metadata=metadata)
    made = made_comparisons.made(networks, runs, labels=labels, matched=[HOSTILE])
    made.comparison["models"][1]["notices"] = [HOSTILE]
    made.comparison["pairs"][0]["nodes"] = {HOSTILE: {HOSTILE: 3}}
    content = page_of(made, command=HOSTILE)
    browser.show(content, tmp_path)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.draw_all()
    browser.check_quiet()
    assert browser.overflow() == []
    assert str(browser.run("return document.title")) == f"{labels[0]} and {labels[1]}: different"
    at = made.comparison["pairs"][0]["largest_at"]
    hovered = browser.hover("difference", 1, at["segment"] + at["t"], made.comparison["pairs"][0]["largest_difference"])
    assert "largest difference" in hovered or "difference" in hovered


# --- What is drawn


def test_marks_are_as_many_as_the_data(different: Made, browser: Browser, tmp_path: Path) -> None:
    content = page_of(different)
    browser.show(content, tmp_path)
    browser.check_quiet()
    assert browser.overflow() == []
    for name, found in payloads(content).items():
        drawn = browser.marks(name)
        assert [mark["count"] for mark in drawn] == counts(found), name
        assert all(mark["way"] != "none" or not mark["count"] for mark in drawn), name
    for measure in MEASURES:
        points = [mark["count"] for mark in browser.marks(f"paired-{measure.key}") if mark["kind"] == "Points"]
        assert points == [40, 40]
    browser.resize(PHONE)
    assert browser.overflow() == []
    browser.emulate(prefers_color_scheme="dark")
    browser.check_quiet()
    browser.emulate(prefers_color_scheme="light")


def test_both_functions_are_drawn_as_they_are(different: Made) -> None:
    table = different.differences[2]
    first, other = (np.array(table[name].to_pylist()) for name in ("first", "other"))
    x = table["segment"].to_numpy() + table["t"].to_numpy()
    drawn = figure(different, "difference")
    lines = [mark for mark in of(drawn, 0, Line) if mark.group.startswith("output")]
    assert len(lines) == 2 * first.shape[1]
    room = max(np.ptp(first), np.ptp(other), np.ptp([first, other]))
    for mark in lines:
        k = int(mark.group.removeprefix("output-"))
        values = (first if mark.width > 3.0 else other)[:, k]
        assert np.abs(np.interp(x, mark.x, mark.y) - values).max() < room / 2000
    sizes = [mark for mark in of(drawn, 1, Line) if mark.group.startswith("output")]
    assert len(sizes) == first.shape[1]
    for mark in sizes:
        k = int(mark.group.removeprefix("output-"))
        assert np.abs(np.interp(x, mark.x, mark.y) - np.abs(other - first)[:, k]).max() < room / 500


def test_the_largest_difference_and_where_they_part_are_marked(different: Made) -> None:
    [pair] = different.comparison["pairs"]
    drawn = figure(different, "difference")
    [largest] = of(drawn, 1, Points)
    at, parted = pair["largest_at"], pair["parts_at"]
    assert (largest.x[0], largest.y[0]) == (at["segment"] + at["t"], pair["largest_difference"])
    for panel in (0, 1):
        [border] = [mark for mark in of(drawn, panel, Line) if mark.group == "parted"]
        assert border.x.tolist() == [parted["segment"] + parted["t"]] * 2
    low, high = drawn.panels[1].y.range or (0.0, 0.0)
    assert low < pair["largest_difference"] < high
    # On another path than the one that is drawn there is no such place.
    elsewhere = copy.deepcopy(different.comparison)
    elsewhere["pairs"][0]["parts_at"]["path"] = 7
    drawn = figure(different._replace(comparison=elsewhere), "difference")
    assert not [mark for mark in of(drawn, 0, Line) if mark.group == "parted"]
    place = f"t = {parted['t']:.6g} of segment {parted['segment']} of path 7"
    assert f"They part on another path first: at {place}." in drawn.caption


@pytest.mark.parametrize(
    ("share", "shown", "log"), [(1e-9, False, False), (1e-4, True, True), (0.2, True, False), (1e3, True, True)]
)
def test_what_rounding_explains_is_drawn_where_there_is_room(
    different: Made, share: float, shown: bool, log: bool
) -> None:
    comparison = copy.deepcopy(different.comparison)
    [pair] = comparison["pairs"]
    pair["allowed"] = share * pair["largest_difference"]
    drawn = figure(different._replace(comparison=comparison), "difference")
    lines = [mark for mark in of(drawn, 1, Line) if mark.name == "what rounding explains"]
    assert [mark.y.tolist() for mark in lines] == ([[pair["allowed"]] * 2] if shown else [])
    assert ("What rounding explains is too small" in drawn.caption) == (not shown)
    low, high = drawn.panels[1].y.range or (0.0, 0.0)
    assert drawn.panels[1].y.log == log
    assert (low < pair["allowed"] < high) or not shown


@pytest.mark.parametrize(
    ("allowed", "shown"), [([0.1, 0.3], [0.1, 0.1, 0.3, 0.3]), ([0.2, 0.2], [0.2, 0.2]), (0.2, [0.2, 0.2])]
)
def test_what_rounding_explains_is_drawn_segment_by_segment(
    different: Made, allowed: list[float] | float, shown: list[float]
) -> None:
    comparison = copy.deepcopy(different.comparison)
    [pair] = comparison["pairs"]
    pair["allowed"] = float(np.max(allowed))
    [table] = different.differences.values()
    table = table.replace_schema_metadata({**table.schema.metadata, b"lronnx.allowed": json.dumps(allowed).encode()})
    drawn = figure(different._replace(comparison=comparison, differences={2: table}), "difference")
    [line] = [mark for mark in of(drawn, 1, Line) if mark.name == "what rounding explains"]
    assert line.y.tolist() == shown
    assert f"drawn for output {pair['largest_at']['output']}, which differs most." in drawn.caption
    assert line.x.tolist() == ([0.0, 1.0, 1.0, 2.0] if len(shown) == 4 else [0.0, 2.0])
    low, high = drawn.panels[1].y.range or (0.0, 0.0)
    assert low < min(shown) <= max(shown) < high


@pytest.mark.parametrize("share", [1e-9, 1e9])
def test_what_rounding_explains_on_single_segments_may_have_no_room(different: Made, share: float) -> None:
    [table] = different.differences.values()
    size = share * different.comparison["pairs"][0]["largest_difference"]
    kept = json.dumps([size, size / 2]).encode()
    table = table.replace_schema_metadata({**table.schema.metadata, b"lronnx.allowed": kept})
    drawn = figure(different._replace(differences={2: table}), "difference")
    assert not [mark for mark in of(drawn, 1, Line) if mark.name == "what rounding explains"]
    assert f"What rounding explains is too {'small' if share < 1.0 else 'large'}, beside" in drawn.caption
    # On one of them only.
    kept = json.dumps([1e-3 * size / share, 1e-300]).encode()
    table = table.replace_schema_metadata({**table.schema.metadata, b"lronnx.allowed": kept})
    drawn = figure(different._replace(differences={2: table}), "difference")
    [line] = [mark for mark in of(drawn, 1, Line) if mark.name == "what rounding explains"]
    low, high = drawn.panels[1].y.range or (0.0, 0.0)
    assert low == line.y.min() < line.y.max() < high
    assert "What is less than the axis shows, 0 too, is at its lower end." in drawn.caption


def test_the_outputs_that_matter_have_colours(three: Made) -> None:
    drawn = figure(three, "network-3-difference")
    [pair] = [one for one in three.comparison["pairs"] if one["other"] == 3]
    named = [mark for mark in of(drawn, 0, Line) if mark.name and mark.group.startswith("output")]
    assert len(named) <= pairs.OUTPUTS
    assert named[0].group == f"output-{pair['largest_at']['output']}"
    table = three.differences[3]
    winners = {int(np.argmax(values)) for name in ("first", "other") for values in table[name].to_pylist()[::7]}
    assert len(winners & {int(mark.group[7:]) for mark in named}) >= min(len(winners), pairs.OUTPUTS - 1)
    assert len([mark for mark in of(drawn, 1, Line) if not mark.group and not mark.name]) == 10 - len(named)


def test_outputs_that_are_not_finite_are_left_out(different: Made) -> None:
    table = different.differences[2]
    values = np.array(table["other"].to_pylist())
    values[3, 1] = math.inf
    broken = table.set_column(3, "other", pa.array(values.tolist(), pa.list_(pa.float64())))
    drawn = figure(different._replace(differences={2: broken}), "difference")
    assert {mark.group for mark in of(drawn, 1, Line)} >= {"output-0", "output-2"}
    assert not [mark for mark in of(drawn, 1, Line) if mark.group == "output-1"]
    assert "not finite" in drawn.caption
    still.draw(drawn, "png", dpi=50)


def test_a_comparison_without_a_kept_difference_has_a_page(different: Made) -> None:
    content = page_of(different._replace(differences={}))
    assert "difference" not in payloads(content)
    assert "paired-density" in payloads(content)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(-9, 0))
def test_curves_on_logarithmic_axes_are_those_of_the_difference(seed: int, count: int, decade: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([[0.0], np.sort(rng.random(count - 2)), [1.0]]) if count > 2 else np.array([0.0, 1.0])
    x = np.unique(x)
    gap = rng.normal(size=len(x)) * 10.0 ** (rng.random(len(x)) * decade)
    gap[rng.random(len(x)) < 0.2] = 0.0
    drawing = object.__new__(pairs._Drawing)
    drawing.columns, drawing.limits, drawing.thinned = 1000, (0.0, 1.0), False
    drawing.top = 2.0 * float(np.abs(gap).max()) or 1.0
    drawing.floor = drawing.top * 1e-5
    at, heights = drawing._sizes(x, gap)
    assert (np.diff(at) > 0.0).all()
    assert np.abs(np.interp(x, at, np.log(heights)) - np.log(np.maximum(np.abs(gap), drawing.floor))).max() < 0.02
    # In between it is a curve, which lines follow but for what is narrower than a column.
    dense = np.union1d(np.linspace(0.0, 1.0, 2001), at)
    exact = np.log(np.maximum(np.abs(np.interp(dense, x, gap)), drawing.floor))
    shown = np.interp(dense, at, np.log(heights))
    begin, end = np.searchsorted(dense, dense - 1e-3), np.searchsorted(dense, dense + 1e-3, side="right")
    for here, first, last in zip(shown.tolist(), begin.tolist(), end.tolist(), strict=True):
        assert exact[first:last].min() - 0.03 < here < exact[first:last].max() + 0.03


def test_of_very_many_breakpoints_the_highest_and_lowest_are_kept() -> None:
    rng = np.random.default_rng(0)
    drawing = object.__new__(pairs._Drawing)
    drawing.columns, drawing.limits, drawing.thinned = 100, (0.0, 1.0), False
    drawing.floor, drawing.top = 0.0, 1e-3
    x, gap = np.linspace(0.0, 1.0, 30_001), rng.normal(size=30_001)
    at, heights = drawing._sizes(x, gap)
    assert len(at) <= 202
    assert drawing.thinned
    for column in range(100):
        mine = np.abs(gap)[(x >= column / 100) & (x < (column + 1) / 100)]
        assert mine.max() in heights[(at >= column / 100) & (at < (column + 1) / 100)]


def test_a_point_is_a_path(different: Made, browser: Browser, tmp_path: Path) -> None:
    first, other = (run.paths["density"] for run in different.runs)
    drawn = figure(different, "paired-density")
    [points], [below] = (of(drawn, panel, Points) for panel in (0, 1))
    assert sorted(zip(points.x.tolist(), points.y.tolist(), strict=True)) == sorted(
        zip(first.tolist(), other.tolist(), strict=True)
    )
    assert below.y == pytest.approx(below.hover.columns["other"] - below.hover.columns["first"])
    figures = different.comparison["pairs"][0]["measures"]["density"]
    [mean] = [mark for mark in of(drawn, 1, Line) if mark.name]
    assert mean.y.tolist() == [figures["difference"]] * 2
    [area] = of(drawn, 1, Area)
    assert [area.low[0], area.high[0]] == figures["interval"]
    browser.show(page_of(different), tmp_path)
    path = int(np.argmax(first))
    told = browser.hover("paired-density", 0, float(first[path]), float(other[path]))
    assert f"path {path}" in told
    assert f"one.onnx {first[path]:.6g}" in told
    assert f"two.onnx {other[path]:.6g}" in told


def test_ratios_are_those_of_the_means(different: Made) -> None:
    drawn = figure(different, "ratios")
    [points], [bars] = of(drawn, 0, Points), of(drawn, 0, Bars)
    names = dict(drawn.panels[0].y.ticks or ())
    measures = different.comparison["pairs"][0]["measures"]
    by_title = {texts.MEASURES[name]: name for name in measures}
    assert len(points.x) == len(names) == len(measures)
    for position, x in enumerate(points.x.tolist()):
        name = by_title[names[round(points.y[position])]]
        assert x == measures[name]["ratio"]
        ends = measures[name]["ratio_interval"]
        assert [bars.low[position], bars.high[position]] == ends
        assert ends[0] <= x <= ends[1]
    assert "Bars: the 95 % interval of the ratio" in drawn.caption
    assert "drawn:" not in drawn.caption


def test_what_a_logarithmic_axis_cannot_show_is_told_by_name(different: Made) -> None:
    comparison = copy.deepcopy(different.comparison)
    measures = comparison["pairs"][0]["measures"]
    measures["density"] |= {"ratio": 0.0, "ratio_interval": [0.0, 0.0]}
    measures["total_variation_norm"] |= {"ratio": None, "ratio_interval": None}
    measures["local_similarity"] |= {"ratio": -0.25, "ratio_interval": [-0.5, 0.1]}
    measures["decision_changes"] |= {"ratio_interval": None}
    measures["regions"] |= {"ratio_interval": [-0.5, 3.0]}
    drawn = figure(different._replace(comparison=comparison), "ratios")
    for told in (
        "Bars that reach 0 or below leave the logarithmic axis: regions (from -0.5).",
        "Without a bar, since the first's mean may well be 0: decision changes.",
        "not drawn: density (ratio 0), total variation (the first's is 0), local similarity (ratio -0.25).",
    ):
        assert told in drawn.caption
    [points], [bars] = of(drawn, 0, Points), of(drawn, 0, Bars)
    low, high = drawn.x.range or (0.0, 0.0)
    assert len(points.x) == len(drawn.panels[0].y.ticks or ()) == len(measures) - 3
    assert 0.0 < low == bars.low.min()
    assert bars.high.max() == 3.0 < high
    still.draw(drawn, "png", dpi=50)
    assert "ratios" in payloads(page_of(different._replace(comparison=comparison)))


def test_measures_that_are_the_same_on_every_path_are_not_drawn(different: Made) -> None:
    comparison = copy.deepcopy(different.comparison)
    comparison["pairs"][0]["measures"]["density"] |= {
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "standardized": None,
        "larger": 0.5,
        "ratio": 1.0,
    }
    names = payloads(page_of(different._replace(comparison=comparison))).keys()
    assert "paired-density" not in names
    assert "paired-total-variation" in names


def test_networks_stand_beside_each_other_on_one_axis(different: Made) -> None:
    found = {one.name: one for one in pairs.figures(different.comparison, different.runs, different.differences)}
    along = [found[f"network-{number}-places-along-path"] for number in (1, 2)]
    assert along[0].panels[0].y.range == along[1].panels[0].y.range
    highest = max(float(mark.high.max()) for one in along for mark in one.panels[0].marks if isinstance(mark, Area))
    assert highest < (along[0].panels[0].y.range or (0.0, 0.0))[1]
    layers = [found[f"network-{number}-switches-by-layer"] for number in (1, 2)]
    assert layers[0].x.range == layers[1].x.range
    for one, label in zip(along, ("one.onnx", "two.onnx"), strict=True):
        assert one.title.startswith(f"{label}: ")


def test_the_keyboard_steps_through_the_breakpoints(different: Made, browser: Browser, tmp_path: Path) -> None:
    table = different.differences[2]
    first, other = (np.array(table[name].to_pylist()) for name in ("first", "other"))
    browser.show(page_of(different), tmp_path)
    browser.run("document.querySelector('#figure-difference .board').focus()")
    browser.press("Home", "ArrowRight")
    most = np.abs(other - first)[1]
    told = f"{table['t'][1].as_py():.6g}: outputs differ by up to {most.max():.6g}, output {int(most.argmax())}"
    assert told in browser.readout("difference")


# --- Files


def test_all_figures_can_be_written(different: Made, tmp_path: Path) -> None:
    found = pairs.figures(different.comparison, different.runs, different.differences)
    written = still.write(found, tmp_path / "figures", ["png"], dpi=40)
    assert len(written) == 2 * len(found)
    assert {one.name for one in found} >= set(payloads(page_of(different)))
    for one in found:
        assert all("nan" not in str(entry) for column in one.table.values() for entry in column)


def wide(edges: int, outputs: int, seed: int) -> pa.Table:
    """Two walks of many regions."""
    rng = np.random.default_rng(seed)
    t = np.concatenate([[0.0], np.sort(rng.random(edges - 2)), [1.0]])
    first = np.cumsum(rng.normal(size=(edges, outputs)), axis=0) / math.sqrt(edges)
    other = first + 1e-3 * np.cumsum(rng.normal(size=(edges, outputs)), axis=0)
    offsets = pa.array(np.arange(edges + 1, dtype=np.int32) * outputs)
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values.ravel())) for values in (first, other)]
    made = pa.table({"segment": pa.array(np.zeros(edges, np.int32)), "t": t, "first": lists[0], "other": lists[1]})
    return made.replace_schema_metadata({"lronnx.path": "0"})


def test_pages_of_much_are_not_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [made_comparisons.network(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(3)]
    runs = some_runs(0, 1, 2, paths=600, segments=1)
    made = made_comparisons.made(networks, runs, segments=1)
    differences = {number: wide(40_000, 3, number) for number in (2, 3)}
    content = page_of(made._replace(differences=differences))
    assert len(content) <= report.MOST_BYTES
    captions = [one["caption"] for name, one in payloads(content).items() if name.endswith("difference")]
    assert len(captions) == 2
    assert all("The keyboard steps through 5,000 of 40,000 places." in caption for caption in captions)
    monkeypatch.setattr(pairs, "MOST_BYTES", len(content) - 1)
    less = page_of(made._replace(differences=differences))
    assert len(less) < len(content)
    assert payloads(less).keys() == payloads(content).keys()


def test_the_same_comparison_gives_the_same_page(different: Made) -> None:
    assert page_of(different) == page_of(different)


def test_paths_that_are_not_done_by_both_are_left_out(different: Made) -> None:
    shorter = made_runs.run(2, 30)
    drawn = figure(different._replace(runs=[different.runs[0], shorter]), "paired-density")
    assert len(of(drawn, 0, Points)[0].x) == 30


def renamed(run: Run, **paths: Sequence[float]) -> Run:
    return dataclasses.replace(run, paths={**run.paths, **{name: np.array(values) for name, values in paths.items()}})


def test_paths_without_a_measure_are_left_out_and_told(different: Made) -> None:
    similarity = different.runs[0].paths["local_similarity"].copy()
    similarity[:3] = math.nan
    runs = [renamed(different.runs[0], local_similarity=similarity), different.runs[1]]
    drawn = figure(different._replace(runs=runs), "paired-local-similarity")
    assert len(of(drawn, 0, Points)[0].x) == 37
    assert "3 paths have no local similarity" in drawn.caption
