"""The figure of a walk says what the walk says: its marks are counted, measured and read back."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import hand_path, hand_walk

import lronnx
from lronnx import inputs, report, store
from lronnx.agreement import Agreement
from lronnx.inputs import Pixels
from lronnx.jobs import Job, Task, Walking
from lronnx.plot import colors, segment
from lronnx.plot import pixels as pictures
from lronnx.plot.figures import Area, Bars, Figure, Line, Mark, Panel, Points, Steps, Texts, Ticks
from lronnx.plot.segment import PAGE, STILL, Nodes
from lronnx.regions import PathWalk, Switch, Walk

EXAMPLE = Path(lronnx.__file__).parent / "example"
NODES = Nodes(("a", "b"), ("Relu", "MaxPool"), ((1, 2, 3, 4), None))


@pytest.fixture(scope="module")
def network() -> lronnx.Network:
    return lronnx.load(EXAMPLE / "digits.onnx")


@pytest.fixture(scope="module")
def points(network: lronnx.Network) -> np.ndarray:
    with np.load(EXAMPLE / "digits_data.npz") as archive:
        images = archive["x_test"][[3, 8, 11]] / 16.0
    return images.reshape(3, *network.input_shape).astype(np.float64)


@pytest.fixture(scope="module")
def walked(network: lronnx.Network, points: np.ndarray) -> PathWalk:
    return network.walk_path(points, closed=True)


def described(path: PathWalk, detail: segment.Detail = PAGE, nodes: Nodes = NODES, **options: Any) -> Figure:
    return segment.figure(segment.from_walk(path, nodes, **options), name="walk", title="title", detail=detail)


def marks(panel: Panel, kind: type[Mark]) -> list[Any]:
    return [mark for mark in panel.marks if isinstance(mark, kind)]


def arrays(found: Any) -> Iterator[np.ndarray]:
    """All arrays of numbers anywhere in a figure."""
    if isinstance(found, np.ndarray):
        yield found
    elif dataclasses.is_dataclass(found):
        for one in dataclasses.fields(found):
            yield from arrays(getattr(found, one.name))
    elif isinstance(found, dict):
        yield from arrays(list(found.values()))
    elif isinstance(found, list | tuple):
        for one in found:
            yield from arrays(one)


def curves(figure: Figure) -> list[Line]:
    """The outputs that have a legend entry."""
    return [mark for mark in marks(figure.panels[0], Line) if mark.name and mark.dash == "solid"]


def curve_names(figure: Figure) -> list[str]:
    return [curve.name for curve in curves(figure)]


def check_finite(figure: Figure) -> None:
    for array in arrays(figure):
        assert array.dtype.kind in "iuf", array.dtype
        assert np.isfinite(array).all()


def texts(mark: Any) -> list[str]:
    assert mark.hover is not None
    x = next(getattr(mark, name) for name in ("x", "position", "edges") if hasattr(mark, name))
    x = x[:-1] if isinstance(mark, Steps) else x
    return list(mark.hover.texts(x, getattr(mark, "y", np.zeros(len(x)))))


@st.composite
def any_path(draw: st.DrawFn) -> PathWalk:
    """Up to four segments of up to 30 regions, whose values are whole numbers or have no scale at all."""
    outputs = draw(st.integers(1, 12))
    numbers = st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3)
    factor = draw(st.sampled_from([1.0, 1e300, 1e-300]))
    walks = []
    for _ in range(draw(st.integers(1, 4))):
        regions = draw(st.integers(1, 30))
        row = st.lists(numbers, min_size=outputs, max_size=outputs)
        values = np.array(draw(st.lists(row, min_size=regions + 1, max_size=regions + 1))) * factor / 1e3
        if walks:
            values[0] = walks[-1].values[-1]
        walk = hand_walk(values.tolist(), length=draw(st.sampled_from([0.5, 2.0])), nodes=("b", "a"))
        gaps = draw(st.lists(st.floats(1e-6, 1.0), min_size=regions, max_size=regions))
        t = np.concatenate([[0.0], np.cumsum(gaps) / np.sum(gaps)])
        t[-1] = 1.0
        with np.errstate(over="ignore"):
            slopes = np.clip(np.diff(values, axis=0) / np.diff(t)[:, None], -1.7e308, 1.7e308)
        walks.append(replace(walk, t=t, slopes=slopes))
    return hand_path(*walks)


# --- What is drawn is what was found ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(any_path())
def test_the_shaded_areas_are_the_absolute_deviation(path: PathWalk) -> None:
    figure = described(path)
    check_finite(figure)
    areas: dict[str, float] = {}
    size = max(float(np.abs(walk.values).max()) for walk in path.segments) or 1.0
    for area in marks(figure.panels[0], Area):
        assert (area.low <= area.high).all()
        # In one region after the other, whatever segment it is in.
        areas[area.group] = areas.get(area.group, 0.0) + float(np.trapezoid(area.high / size - area.low / size, area.x))
    expected = sum(walk.absolute_deviation / size / walk.length for walk in path.segments)
    assert len(areas) == min(path.outputs, colors.SERIES)
    for group, area in areas.items():
        assert area == pytest.approx(expected[int(group.removeprefix("output-"))], rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(any_path())
def test_curves_widths_and_slopes_are_the_walks(path: PathWalk) -> None:
    figure = described(path)
    edges = np.concatenate([number + walk.t[number > 0 :] for number, walk in enumerate(path.segments)])
    for curve in curves(figure):
        k = int(curve.group.removeprefix("output-"))
        values = np.concatenate([walk.values[number > 0 :, k] for number, walk in enumerate(path.segments)])
        assert curve.name == ("output" if path.outputs == 1 else f"output {k}")
        np.testing.assert_array_equal(curve.x, edges)
        np.testing.assert_array_equal(curve.y, values)
    (widths,) = marks(figure.panels[-2], Steps)
    assert [text.split("\n")[1] for text in texts(widths)] == [f"region {i + 1}" for i in range(path.regions)]
    np.testing.assert_array_equal(widths.edges, edges)
    np.testing.assert_array_equal(widths.y, np.concatenate([np.diff(walk.t) for walk in path.segments]))
    (norms,) = marks(figure.panels[-1], Steps)
    slopes = np.concatenate([walk.slopes for walk in path.segments])
    scale = np.abs(slopes).max() or 1.0
    # Beside a slope of 1 the square of a tiny one is 0; nobody sees either.
    np.testing.assert_allclose(norms.y / scale, [math.hypot(*row) for row in slopes / scale], rtol=1e-12, atol=1e-150)
    assert figure.panels[-2].y.log
    assert figure.panels[0].verticals[: len(path.segments) - 1] == list(range(1, len(path.segments)))


def test_a_baseline_joins_the_ends_of_every_segment(walked: PathWalk, network: lronnx.Network) -> None:
    figure = described(walked, nodes=Nodes.of(network))
    lines = [mark for mark in marks(figure.panels[0], Line) if mark.dash == "dashed"]
    assert len(lines) == colors.SERIES
    assert not any(line.name for line in lines)
    still = described(walked, STILL, Nodes.of(network))
    named = [mark.name for mark in marks(still.panels[0], Line) if mark.dash == "dashed" and mark.name]
    assert named == [segment.STRAIGHT]
    groups = [mark.group for panel in still.panels for mark in panel.marks if getattr(mark, "name", "")]
    assert len(groups) == len(set(groups)), "of two names in a group one would not be listed"
    for line in lines:
        k = int(line.group.removeprefix("output-"))
        assert line.x.tolist() == [0.0, 1.0, 2.0, 3.0]
        ends = [walk.values[0, k] for walk in walked.segments] + [walked.segments[-1].values[-1, k]]
        np.testing.assert_allclose(line.y, ends, rtol=1e-9)


def test_every_switch_is_a_tick_that_tells_its_unit(walked: PathWalk, network: lronnx.Network) -> None:
    figure = described(walked, nodes=Nodes.of(network))
    panel = figure.panels[1]
    ticks = marks(panel, Ticks)
    assert sum(len(mark.x) for mark in ticks) == walked.switch_count
    rows = {int(place): label for place, label in panel.y.ticks or ()}
    assert [rows[row].split()[0] for row in sorted(rows)] == [node.label for node in network.switching_nodes]
    shapes = {node.label: node.shape for node in network.switching_nodes}
    found = []
    for mark in ticks:
        label, count = rows[int(mark.row)].rsplit(maxsplit=1)
        assert walked.switches_by_node[label] == len(mark.x) == int(count.replace(",", ""))
        assert mark.weights is None
        for x, text in zip(mark.x, texts(mark), strict=True):
            unit = int(re.search(r"unit (\d+)", text)[1])  # type: ignore[index]
            axes = re.search(r": \((\d+), (\d+), (\d+)\) of (.*)", text)
            if axes:
                assert np.ravel_multi_index([int(axis) for axis in axes.groups()[:3]], shapes[label][1:]) == unit
                assert axes[4].split(",")[0] == " x ".join(map(str, shapes[label][1:]))
            assert (axes is not None) == (len(shapes[label]) == 4)
            before, after = (int(branch) for branch in re.search(r"branch (\d+) → (\d+)", text).groups())  # type: ignore[union-attr]
            assert f"{label} ({'MaxPool' if 'pool' in label else 'Relu'})" in text
            found.append((float(x), Switch(label, unit, before, after)))
    expected = [
        (number + float(walk.t[index + 1]), switch)
        for number, walk in enumerate(walked.segments)
        for index, together in enumerate(walk.switches)
        for switch in together
    ]
    assert sorted(found) == sorted(expected)


def test_a_tick_tells_the_region_that_ends_and_the_slopes_on_both_sides() -> None:
    walk = replace(hand_walk([[0.0], [1.0], [3.0]]), t=np.array([0.0, 0.25, 1.0]), slopes=np.array([[4.0], [2.5]]))
    first, second = marks(described(hand_path(walk)).panels[1], Ticks)
    assert texts(first) == [
        "t = 0.25\na (Relu)\nunit 0: (0, 0, 0) of 2 x 3 x 4\nbranch 0 → 1\n"
        "the region that ends here is 0.25 wide\nslope 4 → 2.5"
    ]
    assert texts(second)[0].startswith("t = 0.25\nb (MaxPool)\nunit 0\nbranch")


def test_a_node_has_its_colour_on_every_path(network: lronnx.Network, points: np.ndarray, walked: PathWalk) -> None:
    short = network.walk_path([points[0], points[0] + 0.02 * (points[1] - points[0])])
    assert set(short.switches_by_node) < set(walked.switches_by_node)
    used = []
    for path in (walked, short):
        panel = described(path, nodes=Nodes.of(network)).panels[1]
        names = dict(panel.y.ticks or ())
        used.append({names[mark.row].split()[0]: mark.color for mark in marks(panel, Ticks)})
    assert used[1] == {label: used[0][label] for label in used[1]}
    nodes = [node.label for node in network.switching_nodes]
    assert used[0] == {label: colors.layer(nodes.index(label), len(nodes)) for label in used[0]}


def test_stops_are_the_breakpoints(walked: PathWalk, network: lronnx.Network) -> None:
    stops = described(walked, nodes=Nodes.of(network)).stops
    assert stops is not None
    expected = np.concatenate([number + walk.t[1:-1] for number, walk in enumerate(walked.segments)])
    np.testing.assert_array_equal(stops[0], expected)
    told = list(stops[1].texts(stops[0], stops[0]))
    first = walked.segments[0].switches[0]
    more = f" and {len(first) - 1} more" if len(first) > 1 else ""
    width = f"{walked.segments[0].t[1]:.6g}"
    assert re.match(
        rf"t = \S+: {first[0].node} \(\w+\), unit {first[0].unit}{more}\nregion 1 ends here, {width} wide", told[0]
    )
    counts = [len(together) - 1 for walk in walked.segments for together in walk.switches]
    assert {0} < set(counts)
    for text, count in zip(told, counts, strict=True):
        assert (f" and {count} more\n" in text) if count else "more" not in text
    few = described(walked, replace(PAGE, stops=50), Nodes.of(network)).stops
    assert few is not None
    assert 40 <= len(few[0]) <= 50
    assert set(few[0]) <= set(expected)
    assert described(walked, STILL, Nodes.of(network)).stops is None


def test_the_table_has_a_row_per_region(walked: PathWalk, network: lronnx.Network) -> None:
    table = described(walked, nodes=Nodes.of(network)).table
    assert len(table["t_start"]) == walked.regions
    row = walked.segments[0].regions + 1
    walk = walked.segments[1]
    assert (table["segment"][row], table["region"][row]) == (1, 1)
    assert (table["t_start"][row], table["t_end"][row], table["width"][row]) == (
        walk.t[1],
        walk.t[2],
        walk.t[2] - walk.t[1],
    )
    assert (table["node"][row], table["unit"][row]) == (walk.switches[1][0].node, str(walk.switches[1][0].unit))
    assert table["switches"][row] == len(walk.switches[1])
    assert [table[f"value_{k}"][row] for k in range(10)] == walk.values[1].tolist()
    assert [table[f"slope_{k}"][row] for k in range(10)] == walk.slopes[1].tolist()
    last = walked.segments[0].regions - 1
    assert (table["node"][last], table["unit"][last], table["switches"][last]) == ("", "", 0)
    assert not described(walked, replace(PAGE, rows=walked.regions - 1), Nodes.of(network)).table


def test_a_regions_file_gives_the_same_figure(walked: PathWalk, network: lronnx.Network, points: np.ndarray) -> None:
    content = store.regions_bytes(walked, model="m", sha256="0", options={}, version="1")
    nodes = Nodes.of(network)
    labels = segment.class_labels(network.metadata, network.outputs)
    read = segment.from_regions(pq.read_table(pa.BufferReader(content)), nodes, labels=labels, points=points)
    made = segment.from_walk(walked, nodes, labels=labels, points=points)
    assert (read.closed, read.warnings, read.names) == (made.closed, made.warnings, made.names)
    left, right = (segment.figure(data, name="f", title="") for data in (read, made))
    assert [picture.label for picture in left.pictures] == [picture.label for picture in right.pictures]
    assert curve_names(left) == curve_names(right)
    for one, other in zip(curves(left), curves(right), strict=True):
        np.testing.assert_allclose(np.interp(other.x, one.x, one.y), other.y, atol=0.01)
    # The file holds the first unit of each breakpoint and how many there are.
    shown = sum(len(mark.x) for mark in marks(left.panels[1], Ticks))
    assert shown == walked.breakpoints
    told = [text for mark in marks(left.panels[1], Ticks) for text in texts(mark)]
    more = [int(found[1]) for text in told if (found := re.search(r"and (\d+) more units?$", text, re.MULTILINE))]
    assert 0 not in more
    assert sum(more) == walked.switch_count - walked.breakpoints > 0
    assert f"the first is shown; {sum(more)} others are not" in left.caption
    assert not any("branch" in text for text in told)
    for of in (left, right):
        check_finite(of)


def test_what_is_no_regions_file_is_refused() -> None:
    with pytest.raises(lronnx.InputError, match="no regions"):
        segment.from_regions(pa.table({"segment": [0]}), NODES)


def test_nodes_of_a_network_and_of_a_runs_facts(network: lronnx.Network) -> None:
    nodes = Nodes.of(network)
    shown = [node for node in lronnx.inspect(network.path).nodes if node.units]
    assert nodes.labels == tuple(node.label for node in shown)
    assert nodes.shapes == tuple(node.shape for node in shown)
    facts = [{"label": one.label, "operator": one.op_type, "shape": list(one.shape)} for one in network.switching_nodes]
    assert Nodes.recorded(facts) == nodes


# --- Thinning -----------------------------------------------------------------------------------------------------


def long_walk(regions: int, outputs: int = 3, seed: int = 0) -> Walk:
    rng = np.random.default_rng(seed)
    t = np.concatenate([[0.0], np.cumsum(rng.exponential(size=regions))])
    t /= t[-1]
    values = np.cumsum(rng.normal(size=(regions + 1, outputs)), axis=0)
    switches = tuple((Switch("ab"[node], int(unit), 0, 1),) for node, unit in rng.integers(0, 2, (regions - 1, 2)))
    slopes = np.diff(values, axis=0) / np.diff(t)[:, None]
    return replace(hand_walk([[0.0], [1.0]]), t=t, values=values, slopes=slopes, switches=switches)


def test_up_to_a_few_hundred_regions_nothing_is_thinned() -> None:
    for detail in (PAGE, STILL):
        figure = described(hand_path(long_walk(300)), detail)
        assert all(len(mark.x) == 301 for mark in curves(figure))
        assert sum(len(mark.x) for mark in marks(figure.panels[1], Ticks)) == 299
        assert len(marks(figure.panels[2], Steps)[0].y) == 300
        assert "Nothing is thinned." in figure.caption


@pytest.mark.parametrize("detail", [PAGE, STILL])
def test_many_regions_are_thinned_by_what_is_seen(detail: segment.Detail) -> None:
    path = hand_path(long_walk(70_000))
    (walk,) = path.segments
    figure = described(path, detail)
    check_finite(figure)
    shown = curves(figure)
    span = walk.values.max() - walk.values.min()
    for k, curve in enumerate(sorted(shown, key=lambda line: line.name)):
        distance = np.abs(np.interp(walk.t, curve.x, curve.y) - walk.values[:, k])
        assert distance.max() <= span * detail.tolerance * (1 + 1e-9)
        assert len(curve.x) < 70_000
    area = sum(np.trapezoid(mark.high - mark.low, mark.x) for mark in marks(figure.panels[0], Area))
    assert area == pytest.approx(walk.absolute_deviation.sum() / walk.length, abs=3 * span * detail.tolerance)
    columns = detail.columns
    for mark in marks(figure.panels[1], Ticks):
        node = "ab"[int(mark.row)]
        x = np.array([walk.t[i + 1] for i, (switch,) in enumerate(walk.switches) if switch.node == node])
        assert set((mark.x * columns).astype(int)) == set((x * columns).astype(int))
        assert len(mark.x) <= columns
        assert mark.weights is not None
        counts = np.bincount((x * columns).astype(int), minlength=columns)
        assert (np.diff(mark.weights[np.argsort(counts[(mark.x * columns).astype(int)])]) >= 0).all()
        assert 0.0 < mark.weights.min() < mark.weights.max() == 1.0
    (envelope,) = marks(figure.panels[-2], Area)
    assert (envelope.low.min(), envelope.high.max()) == (np.diff(walk.t).min(), np.diff(walk.t).max())
    for words in ("curves are within", "one is drawn", "median", f"{detail.bands} columns"):
        assert words.lower() in figure.caption.lower()
    assert f"1/{columns}" in figure.caption


@pytest.mark.parametrize(("regions", "outputs"), [(2000, 3), (301, 1)])
def test_a_still_figure_magnifies_a_few_regions(regions: int, outputs: int) -> None:
    walk = long_walk(regions, outputs)
    # The largest output changes often, so that the middle is magnified.
    figure = described(hand_path(walk), STILL)
    (panel,) = (panel for panel in figure.panels if "magnified" in panel.title)
    lines = marks(panel, Line)
    assert len(lines) == min(outputs, 2)
    first = int(np.searchsorted(walk.t, 0.5)) - 1 - segment.LENS // 2
    t = walk.t[first : first + segment.LENS + 1]
    drawn = {mark.color: int(mark.group.removeprefix("output-")) for mark in curves(figure)}
    gaps, heights = [], []
    for line in lines:
        np.testing.assert_allclose(t[0] + line.x * (t[-1] - t[0]), t, rtol=1e-12)
        f = walk.values[first : first + segment.LENS + 1, drawn[line.color]]
        gaps.append(f - np.interp(t, [t[0], t[-1]], [f[0], f[-1]]))
        heights.append(line.y)
    # One scale for all of them.
    scale, shift = np.polyfit(np.concatenate(gaps), np.concatenate(heights), 1)
    assert scale > 0
    np.testing.assert_allclose(np.concatenate(heights), scale * np.concatenate(gaps) + shift, atol=1e-9)
    assert (panel.y.ticks or ())[0][0] == pytest.approx(shift)
    ticks = np.sort(np.concatenate([mark.x for mark in marks(panel, Ticks)]))
    np.testing.assert_allclose(t[0] + ticks * (t[-1] - t[0]), t[1:-1], rtol=1e-12)
    assert panel.title.startswith(f"{1 / (t[-1] - t[0]):,.0f} times magnified")
    assert f"magnified are {segment.LENS} regions" in figure.caption


def test_what_is_magnified_is_the_change_of_the_largest_output() -> None:
    walk = long_walk(1000, 2)
    values = np.column_stack([0.01 * walk.values[:, 0] + 10 * walk.t, 0.01 * walk.values[:, 1] + 3.0])
    path = hand_path(replace(walk, values=values))
    ((_, _), (change, _), *others) = path.segments[0].decisions
    assert len(others) < segment.SHOWN_CHANGES
    figure = described(path, STILL)
    (panel,) = (panel for panel in figure.panels if "magnified" in panel.title)
    texts = [mark.texts[0] for mark in panel.marks if isinstance(mark, Texts)]
    first, last = (float(re.sub("[^0-9.]", "", text)) for text in texts[-2:])
    assert first < change < last


def test_nothing_is_magnified_where_everything_is_seen_or_nothing_bends() -> None:
    def titles(path: PathWalk, detail: segment.Detail = STILL) -> str:
        return " ".join(panel.title for panel in described(path, detail).panels)

    assert "magnified" not in titles(hand_path(long_walk(300)))
    assert "magnified" not in titles(hand_path(long_walk(1000)), PAGE)
    assert "magnified" not in titles(hand_path(hand_walk([[0.0]] * 1001)))
    ramps = hand_path(*[hand_walk([[0.0], [1.0]]), hand_walk([[1.0], [2.0]])] * 200)
    assert "magnified" not in titles(ramps)


def test_a_page_keeps_every_tick_that_can_be_found_by_magnifying() -> None:
    figure = described(hand_path(long_walk(30_000)))
    assert sum(len(mark.x) for mark in marks(figure.panels[1], Ticks)) == 29_999
    assert len(marks(figure.panels[2], Steps)[0].y) == 30_000


def test_a_page_shows_the_median_of_very_many_regions_and_each_of_them() -> None:
    walk = long_walk(2000)
    figure = described(hand_path(walk))
    for panel, steps in zip(figure.panels[-2:], (np.diff(walk.t), np.linalg.norm(walk.slopes, axis=1)), strict=True):
        (drawn,) = marks(panel, Steps)
        assert drawn.opacity < 0.5
        np.testing.assert_allclose(drawn.y, steps)
        (line,) = marks(panel, Line)
        assert len(line.x) == 2 * segment.MEDIANS
        for place in (0.1003, 0.5003, 0.9003):
            column = int(place * segment.MEDIANS)
            within = (walk.t[1:] > column / segment.MEDIANS) & (walk.t[:-1] < (column + 1) / segment.MEDIANS)
            ordered = np.sort(steps[within])
            assert line.y[np.searchsorted(line.x, place)] == pytest.approx(ordered[(len(ordered) - 1) // 2])
    assert f"their median in {segment.MEDIANS} columns" in figure.caption
    few = described(hand_path(long_walk(segment.CROWD)))
    assert marks(few.panels[-1], Steps)[0].opacity == 1.0
    assert not marks(few.panels[-1], Line)


# --- Outputs and their names --------------------------------------------------------------------------------------


def test_of_many_outputs_the_largest_and_then_the_most_bent_have_colours() -> None:
    values = np.zeros((3, 1000))
    values[1] = np.linspace(0.0, -5.0, 1000)
    values[:, 500] = [9.0, 1.0, 1.0]
    values[:, 3] = [0.0, 2.0, 9.0]
    figure = described(hand_path(hand_walk(values.tolist())))
    named = curve_names(figure)
    assert named == [f"output {k}" for k in (500, 3, 999, 998, 997, 996, 995)]
    grey = [mark for mark in marks(figure.panels[0], Line) if mark.color == colors.FAINT]
    assert len(grey) == segment.FAINT
    assert "973 of 1000 outputs are not drawn" in figure.caption
    assert len([name for name in figure.table if name.startswith("value_")]) == segment.TABLE_OUTPUTS
    still = described(hand_path(hand_walk(values.tolist())), STILL)
    assert curve_names(still) == named[: STILL.series]


def test_more_winners_than_colours() -> None:
    values = np.eye(12)
    figure = described(hand_path(hand_walk(values.tolist())))
    assert len(curves(figure)) == colors.SERIES
    assert len({mark.color for mark in curves(figure)}) == colors.SERIES


def test_short_numbers() -> None:
    shown = [segment._short(number) for number in (7.81e-5, -0.0039, 0.0, 1.5e10, -2e-100)]
    assert shown == [
        "7.8\u00d710\u207b\u2075",
        "\u22120.0039",
        "0",
        "1.5\u00d710\u00b9\u2070",
        "\u22122\u00d710\u207b\u00b9\u2070\u2070",
    ]


def test_class_labels() -> None:
    key = segment.LABELS_KEY
    assert segment.class_labels({key: '["cat", "dog"]'}, 2) == ("cat", "dog")
    for text in ('["cat"]', "[1, 2]", "cat", '{"a": 1}', "null"):
        assert segment.class_labels({key: text}, 2) is None
    assert segment.class_labels({}, 2) is None


def test_titles_and_changes_of_the_largest_output() -> None:
    path = hand_path(hand_walk([[1.0, 0.0], [1.0, 2.0], [0.0, 3.0]]))
    data = segment.from_walk(path, NODES, labels=["cat", "dog"])
    assert segment.headline(data, "net") == "net: 2 linear regions from cat to dog"
    figure = segment.figure(data, name="f", title="net")
    assert figure.title == "net"
    assert figure.panels[0].verticals == pytest.approx([0.25])
    assert segment.headline(segment.from_walk(path, NODES), "net") == "net: 2 linear regions"
    digits = segment.from_walk(path, NODES, labels=["3", "8"])
    assert segment.headline(digits, "net") == "net: 2 linear regions from class 3 to class 8"
    assert segment.headline(segment.from_walk(hand_path(hand_walk([[1.0, 2.0]] * 2)), NODES), "net") == "net: 1 region"


# --- Switches without effect --------------------------------------------------------------------------------------


def bent_at(breakpoints: Sequence[int], regions: int, single: bool = False) -> PathWalk:
    """A walk whose outputs bend at some of its breakpoints only: the second at each of these, the first at the first
    of them."""
    slopes = np.ones((regions, 2))
    slopes[:, 1] = np.isin(np.arange(regions), breakpoints).cumsum() * (1e-7 if single else 1.0) + 1.0
    slopes[breakpoints[0] :, 0] = 3.0
    values = np.concatenate([np.zeros((1, 2)), np.cumsum(slopes, axis=0) / regions])
    walk = replace(hand_walk(values.tolist(), nodes=("b",)), slopes=slopes)
    return hand_path(replace(walk, precision="single") if single else walk, precision="single" if single else "double")


def test_breakpoints_that_bend_nothing_are_counted_as_linear_regions_are(
    walked: PathWalk, network: lronnx.Network, points: np.ndarray
) -> None:
    data = segment.from_walk(walked, Nodes.of(network))
    assert 0 < walked.linear_regions < walked.regions
    assert data.linear_regions == walked.linear_regions
    assert segment.headline(data, "net") == f"net: {walked.regions:,} regions, {walked.linear_regions:,} linear"
    content = store.regions_bytes(walked, model="m", sha256="0", options={}, version="1")
    read = segment.from_regions(pq.read_table(pa.BufferReader(content)), Nodes.of(network))
    np.testing.assert_array_equal(read.bends, data.bends)
    said = f"{walked.regions - walked.linear_regions:,} of {walked.breakpoints:,} breakpoints bend no output"
    for detail in (PAGE, STILL):
        figure = segment.figure(data, name="f", title="", detail=detail)
        assert said in figure.caption
        assert (said in figure.panels[1].title) == (detail is STILL)
    single = segment.from_walk(bent_at([2, 4], 6, single=True), NODES)
    assert single.single
    assert single.linear_regions == bent_at([2, 4], 6, single=True).linear_regions == 2


def test_where_every_breakpoint_bends_an_output_all_are_linear_regions() -> None:
    figure = described(hand_path(hand_walk([[0.0], [1.0], [0.0]])))
    assert "each region is a linear region of its own" in figure.caption
    assert "bend no output" not in figure.caption
    assert not any("bends no output" in text for mark in marks(figure.panels[1], Ticks) for text in texts(mark))


def test_curves_have_no_dot_where_nothing_bends() -> None:
    walk = bent_at([2, 4], 6).segments[0]
    for dots in marks(described(hand_path(walk, walk)).panels[0], Points):
        assert dots.x.tolist() == pytest.approx([2 / 6, 4 / 6, 1 + 2 / 6, 1 + 4 / 6])


def test_a_switch_without_effect_says_so() -> None:
    figure = described(bent_at([2, 4], 6))
    (ticks,) = marks(figure.panels[1], Ticks)
    assert len(ticks.x) == 5
    assert ["bends no output" in text for text in texts(ticks)] == [True, False, True, False, True]
    assert figure.stops is not None
    told = list(figure.stops[1].texts(figure.stops[0], figure.stops[0]))
    assert ["bends no output" in text for text in told] == [True, False, True, False, True]


def test_magnified_switches_without_effect_are_pale_and_have_no_dot() -> None:
    bent = np.flatnonzero(np.arange(400) % 3 == 1)
    path = bent_at(bent.tolist(), 400)
    figure = described(path, STILL)
    (panel,) = (panel for panel in figure.panels if "magnified" in panel.title)
    (ticks,) = marks(panel, Ticks)
    first = float(re.sub("[^0-9.]", "", marks(panel, Texts)[-2].texts[0]))
    number = np.rint(400 * (first + ticks.x / segment_zoom(panel))).astype(int)
    assert len(number) == segment.LENS - 1
    assert ticks.weights is not None
    np.testing.assert_array_equal(ticks.weights, np.where(np.isin(number, bent), 1.0, segment.PALE))
    dots = {mark.color: mark.x for mark in marks(panel, Points)}
    color = {mark.name: mark.color for mark in curves(figure)}
    np.testing.assert_array_equal(dots[color["output 1"]], ticks.x[np.isin(number, bent)])
    # The other output bends nowhere here.
    assert len(dots[color["output 0"]]) == 0
    assert panel.title.endswith("a dot at each bend; pale ticks bend no output")


def segment_zoom(panel: Panel) -> float:
    return float(panel.title.split()[0].replace(",", ""))


# --- The largest output -------------------------------------------------------------------------------------------


def strip(figure: Figure) -> Bars:
    (found,) = marks(figure.panels[0], Bars)
    return found


@settings(deadline=None, max_examples=30)
@given(any_path())
def test_the_strip_changes_where_the_largest_output_does(path: PathWalk) -> None:
    figure = described(path)
    data = segment.from_walk(path, NODES)
    changes = [(change.segment + change.t, change.after) for change in path.decision_changes]
    if len(path.segments[0].decisions) and data.leads:
        leads = [(begin, k) for begin, _, k in data.leads]
        assert leads[1:] == changes
        assert data.leads[0][0] == 0.0
        assert data.leads[-1][1] == len(path.segments)
        assert all(end == begin for (_, end, _), (begin, _, _) in zip(data.leads, data.leads[1:], strict=False))
    if not changes:
        assert not marks(figure.panels[0], Bars)
        return
    shown = strip(figure)
    np.testing.assert_allclose(shown.position - shown.width / 2, [begin for begin, _, _ in data.leads], atol=1e-12)
    np.testing.assert_allclose(shown.position + shown.width / 2, [end for _, end, _ in data.leads], atol=1e-12)
    highest = max(line.y.max() for line in marks(figure.panels[0], Line))
    assert shown.low is not None
    assert (shown.low >= highest).all()
    assert [text.split(" ", 2)[-1].split("\n")[0] for text in texts(shown)] == [data.names[k] for *_, k in data.leads]
    colour = {int(mark.group.removeprefix("output-")): mark.color for mark in curves(figure)}
    assert shown.colors is not None
    for color, (*_, k) in zip(shown.colors, data.leads, strict=True):
        assert color == colour.get(k, color)
        assert k in colour or color in (colors.FAINT, colors.MUTED)


def test_names_of_the_largest_output_stand_where_there_is_room(walked: PathWalk, network: lronnx.Network) -> None:
    assert walked.decision_changes
    figure = described(walked, STILL, Nodes.of(network))
    (said,) = marks(figure.panels[0], Texts)
    shown = strip(described(walked, nodes=Nodes.of(network)))
    begins = (shown.position - shown.width / 2).tolist()
    wide = [begin for begin, width in zip(begins, shown.width, strict=True) if width / 3 >= 8 * segment.LETTER_STILL]
    assert said.x.tolist() == pytest.approx(wide)
    assert wide


def test_regions_files_have_the_strip(walked: PathWalk, network: lronnx.Network) -> None:
    content = store.regions_bytes(walked, model="m", sha256="0", options={}, version="1")
    read = segment.from_regions(pq.read_table(pa.BufferReader(content)), Nodes.of(network))
    made = segment.from_walk(walked, Nodes.of(network))
    np.testing.assert_allclose(
        [(begin, end) for begin, end, _ in read.leads], [(begin, end) for begin, end, _ in made.leads], atol=1e-9
    )
    assert [k for *_, k in read.leads] == [k for *_, k in made.leads]
    assert len(strip(segment.figure(read, name="f", title="")).position) == len(made.leads)


def test_of_very_many_changes_the_strip_has_the_first_in_each_column() -> None:
    values = [[float(i % 2), float((i + 1) % 2)] for i in range(400)]
    path = hand_path(hand_walk(values))
    assert len(path.decision_changes) == 399
    few = described(path, replace(PAGE, columns=50))
    shown = strip(few)
    assert len(shown.position) == 50
    assert shown.width.sum() == pytest.approx(1.0)
    assert "one is drawn (50 of 400)" in few.caption
    assert len(strip(described(path)).position) == 400


# --- What nothing deviates from, and where a walk stops -----------------------------------------------------------


def test_axes_of_a_single_region() -> None:
    for slope in (0.0, 3.0, 1e-300):
        figure = described(hand_path(hand_walk([[1.0], [1.0 + slope]])))
        low, high = figure.panels[-2].y.range or (0, 9)
        assert 0 < low < 1 < high < 2
        low, high = figure.panels[-1].y.range or (-1, 0)
        assert low == 0.0
        assert high > slope
    many = described(hand_path(hand_walk([[0.0], [1.0], [5.0], [0.0]])))
    assert many.panels[-2].y.range is None
    assert many.panels[-1].y.range is None


def test_the_legend_has_dashed_lines_only_if_some_are_seen() -> None:
    def named(path: PathWalk) -> list[str]:
        return [mark.name for mark in marks(described(path, STILL).panels[0], Line) if mark.dash == "dashed"]

    assert named(hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0]]))) == ["", ""]
    # The first does not deviate, the second does.
    assert named(hand_path(hand_walk([[9.0, 0.0], [8.0, 1.0], [7.0, 0.0]]))) == ["", segment.STRAIGHT]


def test_where_nothing_deviates_the_first_outputs_have_colours() -> None:
    rng = np.random.default_rng(1)
    # Straight but for rounding.
    ends = rng.normal(size=(2, 40))
    ends[:, 30] = 9.0
    share = np.linspace(0.0, 1.0, 8)[:, None]
    values = (ends[0] * (1 - share) + ends[1] * share) * (1 + rng.choice([0, 1e-16, 2e-16], size=(8, 40)))
    path = hand_path(hand_walk(values.tolist()))
    assert len(set(path.absolute_deviation.tolist())) > 2
    assert curve_names(described(path)) == [f"output {k}" for k in (30, 0, 1, 2, 3, 4, 5)]


def test_of_many_segments_only_the_largest_outputs_have_colours() -> None:
    values = np.zeros((3, 10))
    values[:, 0] = [9.0, 9.5, 9.0]
    values[1, 7] = 20.0
    for count, names in ((12, 7), (13, 2)):
        figure = described(hand_path(*[hand_walk(values.tolist())] * count))
        assert len(curve_names(figure)) == names
        assert curve_names(figure)[:2] == ["output 0", "output 7"]
        assert len([mark for mark in marks(figure.panels[0], Line) if mark.color == colors.FAINT]) == 10 - names


def test_the_axis_of_a_partial_walk_says_where_it_ends() -> None:
    walk = hand_walk([[0.0], [1.0], [0.0]], partial=True)
    assert described(hand_path(walk)).x.label.endswith("stopped at t = 0.5")
    assert described(hand_path(hand_walk([[0.0], [1.0]]), walk)).x.label.endswith("stopped at t = 0.5 of segment 1")
    assert "stopped" not in described(hand_path(hand_walk([[0.0], [1.0]]))).x.label


def test_still_figures_say_what_bands_are() -> None:
    titles = [panel.title for panel in described(hand_path(long_walk(2000)), STILL).panels[-2:]]
    assert titles[0].endswith("(band: narrowest to widest; line: median)")
    assert titles[1].endswith("(band: least to greatest; line: median)")
    for path, detail in ((long_walk(500), STILL), (long_walk(2000), PAGE)):
        assert not any("band" in panel.title for panel in described(hand_path(path), detail).panels)


# --- Rows ---------------------------------------------------------------------------------------------------------


def many_nodes(count: int, used: Sequence[int]) -> tuple[Nodes, PathWalk]:
    nodes = Nodes(tuple(f"node_{i}" for i in range(count)), ("Relu",) * count, (None,) * count)
    walk = hand_walk([[0.0], [1.0], [0.0]], nodes=[f"node_{i}" for i in used])
    return nodes, hand_path(walk)


def test_a_dozen_nodes_have_a_row_each_whether_they_switch_or_not() -> None:
    nodes, path = many_nodes(12, [2, 7])
    panel = described(path, nodes=nodes).panels[1]
    assert [text for _, text in panel.y.ticks or ()] == [f"node_{i}  {int(i in (2, 7))}" for i in range(12)]
    first, last = panel.y.range or (0, 0)
    assert first > last
    assert not panel.y.label


def test_of_more_nodes_only_those_that_switch_have_rows() -> None:
    nodes, path = many_nodes(50, [2, 7, 49])
    figure = described(path, nodes=nodes)
    assert [text.split()[0] for _, text in figure.panels[1].y.ticks or ()] == ["node_2", "node_7", "node_49"]
    assert "47 of 50 switching nodes have no row" in figure.caption
    assert figure.panels[1].y.label == "3 of 50 nodes"
    assert [mark.color for mark in marks(figure.panels[1], Ticks)] == [colors.layer(i, 50) for i in (2, 7, 49)]


def test_of_very_many_neighbours_share_rows_and_keep_their_colours() -> None:
    nodes, path = many_nodes(60, range(60))
    figure = described(path, nodes=nodes)
    panel = figure.panels[1]
    assert len(panel.y.ticks or ()) == segment.MOST_ROWS
    assert (panel.y.ticks or ())[0][1] == "node_0 .. node_2 (3)  3"
    ticks = marks(panel, Ticks)
    assert [mark.color for mark in ticks] == [colors.layer(i, 60) for i in range(60)]
    assert np.all(np.diff([mark.row for mark in ticks]) >= 0)
    assert "rows hold several nodes" in figure.caption.lower()


def test_nothing_that_switches_among_many_nodes() -> None:
    nodes, _ = many_nodes(50, [])
    figure = described(hand_path(hand_walk([[0.0], [1.0]])), nodes=nodes)
    assert len(figure.panels) == 4
    check_finite(figure)


# --- Degenerate and hostile ---------------------------------------------------------------------------------------

HOSTILE = ["<script>alert(1)</script>", "{x} {unit} $\\frac{", "\u202egnp.exe\n\t\x1b[31m", "n" * 500, "", "\ud800"]


def degenerate() -> dict[str, PathWalk]:
    affine = hand_walk([[0.0, 1.0], [1.0, 1.0]])
    stopped = replace(
        hand_walk([[1.0, 2.0]], partial=True), t=np.zeros(1), slopes=np.zeros((0, 2)), values=np.array([[1.0, 2.0]])
    )
    broken = hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    broken.values[1, 0] = np.nan
    broken.slopes[0, 1] = np.inf
    huge = replace(
        hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]),
        values=np.array([[4e307, -4e307], [-4e307, 4e307], [4e307, 1e300]]),
        slopes=np.array([[1.7e308, 1.7e308], [1.7e308, -1.7e308]]),
    )
    return {
        "one region": hand_path(affine),
        "constant": hand_path(hand_walk([[0.0], [0.0], [0.0]])),
        "stopped at once": hand_path(stopped),
        "nothing": replace(hand_path(), partial=True),
        "stopped in the second segment": hand_path(affine, stopped),
        "gaps": hand_path(hand_walk([[0.0], [1.0], [0.0]], partial=True), hand_walk([[0.0], [1.0], [5.0]])),
        "huge": hand_path(huge),
        "tiny": hand_path(hand_walk([[0.0, 5e-324], [5e-324, 0.0], [0.0, 0.0]])),
        "not finite": hand_path(broken),
        "a thousand outputs": hand_path(hand_walk(np.random.default_rng(0).normal(size=(5, 1000)).tolist())),
        "hostile nodes": hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], nodes=HOSTILE)),
    }


@pytest.mark.parametrize("name", degenerate())
@pytest.mark.parametrize("nodes", [NODES, Nodes()], ids=["nodes", "no nodes"])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_degenerate_walks_have_figures_without_a_number_that_is_none(name: str, nodes: Nodes) -> None:
    from lronnx.plot import still

    path = degenerate()[name]
    labels = [f"{HOSTILE[k % 5]}{k}" for k in range(path.outputs)]
    for detail in (PAGE, STILL):
        data = segment.from_walk(path, nodes, labels=labels)
        with np.errstate(all="raise", under="ignore"):
            figure = segment.figure(data, name="f", title=segment.headline(data, HOSTILE[1]), detail=detail)
        check_finite(figure)
        for mark in (mark for panel in figure.panels for mark in panel.marks):
            if getattr(mark, "hover", None) is not None:
                assert not any("nan" in text or "inf" in text for text in texts(mark))
        assert len({len(column) for column in figure.table.values()}) == 1
    assert still.draw(figure, "png", width=7, dpi=40).startswith(b"\x89PNG")
    assert len(figure.panels) == (4 if data.nodes.labels else 3)


def test_what_is_not_finite_is_left_out_and_said() -> None:
    figure = described(degenerate()["not finite"])
    assert "1 outputs are not drawn because they are not finite" in figure.caption
    assert "slopes are not drawn" in figure.caption.lower()
    assert figure.table["value_0"] == ["0.0", ""]


def test_segments_without_length_keep_the_outputs_and_are_no_stops(network: lronnx.Network) -> None:
    points = np.random.default_rng(5).random((3, *network.input_shape))
    task = Task(0, points[[0, 0, 1, 1, 2, 2]], False, regions=True)
    about = {"model": "m", "sha256": "0", "options": {}, "version": "1"}
    result = Walking(Job(EXAMPLE / "digits.onnx", about=about)).walk(task)
    assert result.regions is not None
    table = pq.read_table(pa.BufferReader(result.regions))
    assert sorted(set(table.column("segment").to_pylist())) == [1, 3]
    labels = [f"name{k}" for k in range(10)]
    read = segment.from_regions(table, Nodes.of(network), labels=labels, points=task.points)
    assert len(read.t) == 5
    assert read.end == 5.0
    for place, point in enumerate(task.points):
        assert read.outputs_at(float(place)) == pytest.approx(network.evaluate(point), rel=1e-9)
    for x, point in ((1.25, points[0] + 0.25 * (points[1] - points[0])), (3.5, (points[1] + points[2]) / 2)):
        assert read.outputs_at(x) == pytest.approx(network.evaluate(point), rel=1e-9)
    taken = [labels[int(network.evaluate(point).argmax())] for point in task.points]
    assert [picture.label for picture in read.film] == taken
    assert not read.warnings


def test_where_a_walk_stopped() -> None:
    whole, half, none = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5]), np.zeros(1)
    for t, lengths, told in (
        ([half, whole, whole], [1.0] * 3, "stopped at t = 0.5 of segment 0"),
        ([whole, none, half], [1.0, 0.0, 1.0], "stopped at t = 0.5 of segment 2"),
        ([whole, none], [1.0, 0.0], "stopped at the end of segment 1"),
        ([half, none, half], [1.0, 0.0, 1.0], "2 of 3 segments were not walked to their end"),
        ([none], [1.0], "stopped before the first region was finished"),
        ([none, none], [0.0, 1.0], "stopped before the first region was finished"),
        ([half], [1.0], "stopped at t = 0.5"),
    ):
        assert segment._stopped(t, lengths) == told


def test_the_deviation_of_a_regions_file_is_that_of_the_walk(network: lronnx.Network) -> None:
    points = np.random.default_rng(6).random((3, *network.input_shape))
    for precision in ("double", "single"):
        path = network.walk_path(points, precision=precision)
        content = store.regions_bytes(path, model="m", sha256="0", options={}, version="1")
        read = segment.from_regions(pq.read_table(pa.BufferReader(content)), Nodes.of(network))
        assert read.deviation == pytest.approx(path.absolute_deviation, rel=1e-5)
        assert read.single == (precision == "single")
        assert read.decisions == tuple(walk.decisions for walk in path.segments)
        assert read.linear_regions == path.linear_regions


@pytest.mark.parametrize("labels", ["[" * 100_000, "[", "{}", '["a"]', "[1, 2]", "null"])
def test_labels_that_are_none(labels: str) -> None:
    assert segment.class_labels({"lronnx.labels": labels}, 2) is None


def test_engines_that_disagree_come_first() -> None:
    found = Agreement(breakpoints=(1, 2), unmatched=1, largest_t=0.0, largest_value=0.0, precision="double")
    path = replace(hand_path(hand_walk([[0.0], [1.0]])), agreement=found)
    assert described(path).title.startswith("ENGINES DISAGREE: do not rely on this result")


def test_warnings_come_first() -> None:
    walk = hand_walk([[0.0], [1.0], [0.0]], partial=True, mismatches=3)
    figure = described(hand_path(walk))
    warnings = "SELF-CHECK FAILED: do not rely on this result. PARTIAL: stopped at t = 0.5. "
    assert figure.title == warnings + "title"
    assert figure.caption.startswith(warnings)
    assert figure.x.range == (0.0, 0.5)
    nothing = described(degenerate()["nothing"])
    assert nothing.title.startswith("PARTIAL: stopped before the first region")
    assert "nothing to draw" in nothing.caption
    gaps = replace(hand_path(walk, walk), closed=True)
    assert described(gaps).title.startswith("SELF-CHECK FAILED")
    assert "2 of 2 segments were not walked to their end" in described(gaps).title
    content = store.regions_bytes(hand_path(walk), model="m", sha256="0", options={}, version="1")
    read = segment.from_regions(pq.read_table(pa.BufferReader(content)), NODES)
    assert " ".join(f"{text}." for text in read.warnings) + " " == warnings


def test_segments_with_gaps_between_them_are_not_joined() -> None:
    figure = described(degenerate()["gaps"])
    solid = [mark for mark in marks(figure.panels[0], Line) if mark.dash == "solid"]
    assert [(line.x[0], line.x[-1], line.name) for line in solid] == [(0.0, 0.5, "output"), (1.0, 2.0, "")]
    assert [len(mark.y) for mark in marks(figure.panels[2], Steps)] == [2, 2]


def test_points_mark_few_breakpoints() -> None:
    values = [[float(i % 2)] for i in range(segment.MARKED + 1)]
    (shown,) = marks(described(hand_path(hand_walk(values))).panels[0], Points)
    assert len(shown.x) == segment.MARKED - 1
    assert not marks(described(hand_path(hand_walk([*values, [0.0]]))).panels[0], Points)


# --- The film strip -----------------------------------------------------------------------------------------------


def test_a_film_shows_the_inputs_along_the_way(network: lronnx.Network, points: np.ndarray) -> None:
    path = network.walk_path(points[:2])
    data = segment.from_walk(
        path,
        Nodes.of(network),
        labels=segment.class_labels(network.metadata, network.outputs),
        points=points[:2],
        pixels=Pixels(scale=1 / 255),
    )
    assert not data.stretched
    assert [picture.x for picture in data.film] == pytest.approx(np.linspace(0.0, 1.0, segment.FILM))
    for picture in data.film:
        point = (1 - picture.x) * points[0] + picture.x * points[1]
        np.testing.assert_array_equal(picture.pixels, np.rint(point[0, 0] * 255).astype(np.uint8))
        assert picture.label == f"class {int(network.original(point).argmax())}"


def test_a_film_of_a_path_shows_its_anchors(walked: PathWalk, network: lronnx.Network, points: np.ndarray) -> None:
    data = segment.from_walk(walked, Nodes.of(network), points=points)
    assert data.stretched
    assert [(picture.x, picture.label) for picture in data.film] == [(0, "0"), (1, "1"), (2, "2"), (3, "3")]
    np.testing.assert_array_equal(data.film[0].pixels, data.film[3].pixels)
    low, high = points.min(), points.max()
    np.testing.assert_array_equal(data.film[1].pixels, np.rint((points[1, 0, 0] - low) / (high - low) * 255))
    assert "their own range" in segment.figure(data, name="f", title="").caption
    long = np.concatenate([points] * 10)
    many = segment.from_walk(hand_path(*[hand_walk([[0.0], [1.0]])] * 29), NODES, points=long)
    assert [picture.x for picture in many.film] == list(range(0, 30, 3))


def test_partial_paths_have_pictures_of_what_was_walked(points: np.ndarray) -> None:
    data = segment.from_walk(hand_path(hand_walk([[0.0], [1.0]], partial=True)), NODES, points=points[:2])
    assert data.film[-1].x == 0.5
    data = segment.from_walk(hand_path(hand_walk([[0.0], [1.0]], partial=True)), NODES, points=points)
    assert [picture.x for picture in data.film] == [0.0]
    assert not segment.from_walk(degenerate()["stopped at once"], NODES, points=points[:2]).film


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 3, 32, 32), 0),
        ((3, 9, 8), 0),
        ((3, 8, 7), None),
        ((1, 1, 16, 64), 0),
        ((1, 1, 16, 65), None),
        ((1, 128, 9), None),
        ((1, 8, 8), 0),
        ((1, 1, 28, 28), 0),
        ((32, 32, 3), 2),
        ((128, 32, 1), 2),
        ((128, 9, 1), None),
        ((1, 28, 28, 1), 2),
        ((1, 1, 1, 5), None),
        ((3, 4), None),
        ((28, 28), None),
        ((784,), None),
        ((2, 3, 8, 8), None),
        ((3, 3, 3), None),
        ((4, 8, 8), None),
        ((), None),
    ],
)
def test_what_counts_as_an_image(shape: tuple[int, ...], axis: int | None) -> None:
    assert pictures.channel_axis(shape) == axis
    assert (pictures.shown([np.zeros(shape)], shape, None) is None) == (axis is None)


@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (8, 9, 3), (1, 1, 8, 9), (8, 9, 1)])
def test_pixels_are_what_the_preprocessing_took(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    axis = pictures.channel_axis(shape)
    assert axis is not None
    channels = shape[len(shape) - 3 + axis]
    known = Pixels(scale=1 / 255, mean=(0.4, 0.5, 0.6)[:channels], std=(0.2, 0.3, 0.1)[:channels])
    points = [known.apply(image, len(shape) - 3 + axis, "it") for image in images]
    found = pictures.shown(points, shape, known)
    assert found is not None
    assert not found.stretched
    for image, got in zip(images, found.images, strict=True):
        core = image.reshape(shape[-3:])
        wanted = np.moveaxis(core, 0, -1) if axis == 0 else core
        np.testing.assert_array_equal(got, wanted[..., 0] if channels == 1 else wanted)


def test_pixels_out_of_range_and_of_no_range() -> None:
    shape = (1, 8, 8)
    far = pictures.shown([np.full(shape, -2.0), np.full(shape, 7.0)], shape, Pixels(scale=1 / 255))
    assert far is not None
    assert [image.max() for image in far.images] == [0, 255]
    flat = pictures.shown([np.full(shape, 3.0)], shape, None)
    assert flat is not None
    assert (flat.stretched, flat.images[0].max()) == (True, 128)
    misfit = pictures.shown([np.arange(64.0).reshape(shape) / 4], shape, Pixels(1 / 255, (0.1, 0.2, 0.3)))
    assert misfit is not None
    assert (misfit.stretched, misfit.images[0].min(), misfit.images[0].max()) == (True, 0, 255)
    # Pixels of 0 to 16 are black where 255 is white.
    dark = pictures.shown([np.arange(64.0).reshape(shape) / 4], shape, Pixels(1.0))
    assert dark is not None
    assert (dark.stretched, dark.images[0].max()) == (True, 255)
    huge = pictures.shown([(np.linspace(-1.7, 1.7, 64) * 1e308).reshape(shape)], shape, None)
    assert huge is not None
    assert (huge.images[0].min(), huge.images[0].max()) == (0, 255)


def test_inverting_needs_a_scale() -> None:
    with pytest.raises(lronnx.InputError, match="which pixels"):
        inputs.Pixels().invert(np.zeros(3), None, "it")


def test_the_partial_text_agrees_with_the_report() -> None:
    path = hand_path(hand_walk([[0.0], [1.0], [0.0]], partial=True))
    (warning,) = segment.from_walk(path, NODES).warnings
    assert report.partial_text(path).startswith(warning)
