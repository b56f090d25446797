"""Figures of studies say what the runs hold: bars, curves and points are compared to the per-path figures."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import made_runs
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lronnx import report as texts
from lronnx.errors import InputError
from lronnx.plot import colors, compare, report, study
from lronnx.plot.figures import Area, Bars, Figure, Line, Mark, Points, Steps
from lronnx.plot.study import MEASURES, Detail, Layers
from lronnx.runs import Run


@pytest.fixture(scope="module")
def made() -> Run:
    return made_runs.run(1, 50, pairs=True)


def of(figure: Figure | None, panel: int, kind: type[Mark]) -> list[Any]:
    assert figure is not None
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


def arrays(found: Any) -> Iterator[np.ndarray]:
    """All arrays of numbers anywhere in a figure."""
    if isinstance(found, np.ndarray):
        yield found
    elif dataclasses.is_dataclass(found):
        for one in dataclasses.fields(found):
            yield from arrays(getattr(found, one.name))
    elif isinstance(found, dict):
        for one in found.values():
            yield from arrays(one)
    elif isinstance(found, list | tuple):
        for one in found:
            yield from arrays(one)


def every_figure(*runs: Run, against: str | None = None) -> list[Figure]:
    narrow, wide = report.figures(runs, against)
    return [*narrow, *wide]


# --- Distributions


@pytest.mark.parametrize("measure", MEASURES, ids=lambda one: one.key)
@pytest.mark.parametrize("kind", ["split", "split_and_corrupted", "pair"])
def test_histograms_and_distribution_functions(made: Run, measure: study.Measure, kind: str) -> None:
    members = study.groups(made, kind)
    figure = study.distribution(made, measure, members, name="figure", by="group")
    bars, curves, points = of(figure, 0, Steps), of(figure, 1, Steps), of(figure, 1, Points)
    assert len(bars) == len(curves) == len(points) == len(members) == 2
    for group, outline, curve, cloud in zip(members, bars, curves, points, strict=True):
        values = made.paths[measure.exact][group.paths]
        assert group.figures is not None
        assert len(values) == group.figures["paths"] > 3
        counts, _ = np.histogram(values, outline.edges)
        np.testing.assert_array_equal(outline.hover.columns["count"], counts)
        np.testing.assert_allclose(outline.y, 100.0 * counts / len(values))
        assert counts.sum() == len(values)
        # The function at any place, by its definition.
        for x in np.r_[cloud.x, np.nextafter(cloud.x, -np.inf), np.linspace(cloud.x[0], cloud.x[-1], 9)]:
            step = np.searchsorted(curve.edges, x, side="right") - 1
            if 0 <= step < len(curve.y):
                assert curve.y[step] == pytest.approx(100.0 * np.mean(values <= x)), x
        # Every path is there, and says who it is.
        at = np.searchsorted(made.paths["path"], cloud.hover.columns["path"])
        assert sorted(at.tolist()) == np.flatnonzero(group.paths).tolist()
        np.testing.assert_array_equal(cloud.x, made.paths[measure.exact][at])
        told = list(cloud.hover.texts(cloud.x, cloud.y))
        assert all(f"sample {10 * path}" in text for path, text in zip(at.tolist(), told, strict=True))
        assert outline.color == curve.color == cloud.color
    assert len({mark.edges.tobytes() for mark in bars}) == 1


@pytest.mark.parametrize("kind", ["split", "split_and_corrupted", "pair", "class"])
def test_groups_are_those_of_the_summary(made: Run, kind: str) -> None:
    found = study.groups(made, kind)
    assert [int(group.paths.sum()) for group in found] == [one["paths"] for one in made.summary["groups"][kind]]
    for group in found:
        assert group.figures is not None
        mean = group.figures["measures"]["density"]["mean"]
        assert made.paths["density"][group.paths].mean() == pytest.approx(mean, rel=1e-12)


def test_divided_splits_know_clean_from_corrupted(made: Run) -> None:
    found = {group.name: int(group.paths.sum()) for group in study.divided(made)}
    assert found == {"train, clean labels": 12, "train, corrupted labels": 13, "test": 25}
    assert len({group.color for group in study.divided(made)}) == 3
    assert [group.name for group in study.divided(made_runs.run(corrupted=False))] == ["train", "test"]


@given(
    st.lists(st.one_of(st.floats(-1e300, 1e300), st.integers(-3, 3).map(float)), min_size=1, max_size=60), st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_bins_hold_every_value(values: list[float], log: bool) -> None:
    array = np.array([abs(value) + 1e-12 for value in values] if log else values)
    edges = study.bins(array, log)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert 1 <= len(edges) - 1 <= study.MOST_BINS
    assert np.histogram(array, edges)[0].sum() == len(array)


def test_bins_are_as_wide_as_freedman_and_diaconis_say() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    expected = np.histogram_bin_edges(values, "fd")
    np.testing.assert_allclose(study.bins(values, log=False), expected)


def test_the_test_in_the_caption_is_that_of_the_summary(made: Run) -> None:
    figure = study.distribution(made, MEASURES[0], study.groups(made, "split"), name="figure", by="split")
    train = made.paths["split"] == "train"
    density = made.paths["density"]
    expected = scipy.stats.ks_2samp(density[train], density[~train])
    assert figure is not None
    assert f"distance {expected.statistic:.3f}, p = {texts.probability_text(expected.pvalue)}" in figure.caption


def test_paths_of_no_group_are_counted() -> None:
    made = made_runs.run(1, 50)
    figure = study.distribution(made, MEASURES[0], study.divided(made)[:2], name="figure", by="label")
    assert figure is not None
    assert "25 paths of which it is not known belong to no group." in figure.caption
    whole = study.distribution(made, MEASURES[0], study.divided(made), name="figure", by="label")
    assert whole is not None
    assert "no group" not in whole.caption


def test_classes_have_rows_with_their_quartiles() -> None:
    made = made_runs.run(3, 200, classes=[f"kind {number}" for number in range(12)])
    figure = study.rows(made, MEASURES[1], study.groups(made, "class"), name="figure", by="class")
    [bars] = of(figure, 0, Bars)
    *clouds, median = of(figure, 0, Points)
    values = made.paths["absolute_deviation_norm"]
    for number, row in enumerate(bars.position):
        own = values[made.paths["class"] == f"kind {[*range(12)][number]}"]
        np.testing.assert_allclose(
            [bars.low[number], median.x[number], bars.high[number]], np.quantile(own, [0.25, 0.5, 0.75])
        )
        assert row == 11 - number
    assert sorted(np.concatenate([cloud.x for cloud in clouds])) == sorted(values)
    assert {cloud.name for cloud in clouds} == {"train", "test"}


def test_of_many_classes_the_extremes_are_shown_and_that_is_said() -> None:
    made = made_runs.run(4, 900, classes=[f"kind {number}" for number in range(50)])
    members = study.groups(made, "class")
    figure = study.rows(made, MEASURES[0], members, name="figure", by="class")
    assert figure is not None
    assert f"Of {len(members)} groups, the 10 with the highest and the 10 with the lowest means" in figure.caption
    means = sorted((group.figures["measures"]["density"]["mean"] for group in members if group.figures), reverse=True)
    [bars] = of(figure, 0, Bars)
    np.testing.assert_array_equal(bars.hover.columns["mean"], [*means[:10], *means[-10:]])


def test_of_many_paths_some_are_points_and_the_curve_stays_where_it_is() -> None:
    made = made_runs.run(5, 3000, segments=1, classes=())
    members = study.groups(made, "split")
    figure = study.distribution(made, MEASURES[0], members, name="figure", by="split", detail=Detail(200))
    points, curves = of(figure, 1, Points), of(figure, 1, Steps)
    assert figure is not None
    assert sum(len(one.x) for one in points) == 200
    assert f"{3000 - 200} in between have none" in figure.caption
    for group, cloud, curve in zip(members, points, curves, strict=True):
        values = np.sort(made.paths["density"][group.paths])
        assert {values[0], values[-1]} <= set(cloud.x.tolist())
        middle = (curve.edges[:-1] + curve.edges[1:]) / 2
        exact = 100.0 * np.searchsorted(values, middle, side="right") / len(values)
        assert np.abs(curve.y - exact).max() <= 100.0 / study.MOST_STEPS * 1.01
        assert len(curve.y) <= study.MOST_STEPS + 1
    assert "steps at most" not in figure.caption
    less = study.distribution(made, MEASURES[0], members, name="figure", by="split", detail=Detail(200, 90))
    assert less is not None
    assert [len(one.y) for one in of(less, 1, Steps)] == [91, 91]
    assert "For want of room, curves have 90 steps at most." in less.caption


# --- Where the network bends


def test_bars_of_layers_are_the_switches_of_the_table(made: Run) -> None:
    layers = Layers.of(made)
    share, each = study.by_layer(made, layers, name="")
    table = made_runs.rows(1, 50, pairs=True).to_pylist()
    counted = {one["label"]: 0 for one in made_runs.NODES}
    for row in table:
        for label, count in row["switches_by_node"]:
            counted[label] += count
    [bars] = of(share, 0, Bars)
    total = sum(counted.values())
    np.testing.assert_allclose(bars.high, [100.0 * count / total for count in counted.values()])
    assert [text for _, text in share.panels[0].y.ticks or ()] == list(counted)
    # As in the figure of a path.
    assert list(bars.colors) == [colors.layer(position, 3) for position in range(3)]
    [bars] = of(each, 0, Bars)
    units = [one["units"] for one in made_runs.NODES]
    np.testing.assert_allclose(bars.high, [c / u / 50 for c, u in zip(counted.values(), units, strict=True)])


def test_units_from_the_busiest_to_those_that_never_switch(made: Run) -> None:
    curves, silent = study.by_unit(made, Layers.of(made), name="")
    for steps, label in zip(of(curves, 0, Steps), made.unit_switches, strict=True):
        units = made.unit_switches[label]
        places = (np.arange(len(units)) + 0.5) / len(units) * 100.0
        heights = steps.y[np.searchsorted(steps.edges, places, side="right") - 1]
        np.testing.assert_allclose(heights, np.sort(units)[::-1] / 8)
        assert steps.edges[0] == 0.0
        assert steps.edges[-1] == 100.0
    [bars] = of(silent, 0, Bars)
    np.testing.assert_allclose(bars.high, [100.0 * (one == 0).mean() for one in made.unit_switches.values()])
    assert bars.high.max() > 0


def test_maps_and_channels(made: Run) -> None:
    figure = study.in_image(made, Layers.of(made), name="")
    assert figure is not None
    assert [picture.label for picture in figure.pictures] == ["6 x 5", "3 x 3"]
    [bands] = of(figure, 0, Bars)
    for number, (label, shape) in enumerate((("first", (4, 6, 5)), ("second", (3, 3, 3)))):
        units = made.unit_switches[label].reshape(shape) / 8
        places = units.mean(axis=0)
        assert (bands.low[number], bands.high[number]) == (pytest.approx(places.min()), pytest.approx(places.max()))
        channels = of(figure, 1, Points)[number]
        np.testing.assert_allclose(np.sort(units.mean(axis=(1, 2))), channels.y)
        np.testing.assert_allclose(units.mean(axis=(1, 2))[channels.hover.columns["channel"]], channels.y)
        pixels = figure.pictures[number].pixels
        factor = pixels.shape[0] // shape[1]
        # Bright is the highest: the map's lightness rises evenly.
        light = pixels[::factor, ::factor].astype(float) @ [0.3, 0.6, 0.1]
        assert np.corrcoef(light.ravel(), places.ravel())[0, 1] > 0.95
        assert light.argmax() == places.argmax()


@pytest.mark.parametrize(
    ("input_shape", "layout", "shapes", "maps"),
    [
        # Channels first, with whatever borders and strides.
        ((1, 3, 32, 32), "CHW", [(1, 8, 32, 32), (1, 16, 15, 15), (1, 64, 8, 8), (1, 4, 4, 4), (1, 10)], [0, 1, 2, 3]),
        # Channels last, also after a transposition: rows would be taken for channels.
        ((1, 3, 8, 8), "CHW", [(1, 8, 8, 16), (1, 4, 4, 2), (1, 2, 2, 64)], []),
        ((1, 32, 32, 3), "HWC", [(1, 16, 16, 8), (1, 8, 8, 32), (1, 8, 8, 8)], []),
        ((1, 32, 32, 3), "HWC", [(1, 24, 16, 16), (1, 4, 8, 8)], [0, 1]),
        # More rows than the image has, or of other proportions.
        ((1, 3, 16, 16), "CHW", [(1, 64, 20, 20), (1, 64, 8, 2), (1, 64, 8, 8)], [2]),
        # Without preprocessing the input's shape has to tell.
        ((1, 3, 9, 9), "", [(1, 5, 9, 9)], [0]),
        ((1, 784), "HW", [(1, 8, 28, 28)], []),
        ((1, 5, 9, 9), "", [(1, 5, 9, 9)], []),
    ],
)
def test_only_what_is_rows_and_columns_of_the_image_is_a_map(
    input_shape: tuple[int, ...], layout: str, shapes: list[tuple[int, ...]], maps: list[int]
) -> None:
    nodes = [made_runs.node(f"layer{n}", shape, n + 1) for n, shape in enumerate(shapes)]
    run = made_runs.run(1, 6, nodes=nodes, input_shape=input_shape, layout=layout)
    layers = Layers.of(run)
    figure = study.in_image(run, layers, name="")
    left = [f"layer{n}" for n, shape in enumerate(shapes) if len(shape) == 4 and n not in maps]
    told = f"do not tell which axes are its rows and columns: {', '.join(left)}."
    if maps:
        assert figure is not None
        assert [text for _, text in figure.x.ticks or ()] == [f"layer{n}" for n in maps]
        assert [one.label for one in figure.pictures] == [f"{shapes[n][2]} x {shapes[n][3]}" for n in maps]
        assert (told in figure.caption) == bool(left)
        assert study.without_place(run, layers) == ""
    else:
        assert figure is None
        assert study.without_place(run, layers).endswith(told)
        assert told in report.page_of([run]).decode()


def test_of_many_channels_some_are_points_on_a_page_and_all_in_a_still() -> None:
    made = made_runs.run(1, 4, nodes=[made_runs.node("wide", (1, 200, 6, 5), 1)])
    for detail, count in ((study.ALL, 200), (Detail(600), study.MOST_CHANNELS)):
        figure = study.in_image(made, Layers.of(made), name="", detail=detail)
        assert figure is not None
        assert [len(mark.x) for mark in of(figure, 1, Points)] == [count]
        assert ("of more than 64, some" in figure.caption) == (count < 200)
    assert b"of more than 64, some" in report.page_of([made])


@pytest.mark.parametrize(("segments", "together"), [(2, 1), (40, 4), (1, 1)])
def test_places_along_the_path(segments: int, together: int) -> None:
    made = made_runs.run(2, 9, segments=segments)
    figure = study.along(made, Layers.of(made), name="")
    below: Any = 0.0
    areas, lines = of(figure, 0, Area), of(figure, 0, Steps)
    for label, area, line in zip(made.place_switches, areas, lines, strict=True):
        counts = made.place_switches[label].reshape(-1, together).sum(axis=1)
        np.testing.assert_allclose(line.y - below, counts / 9, atol=1e-9)
        np.testing.assert_allclose(area.high[::2], line.y)
        np.testing.assert_allclose(area.low[::2], np.broadcast_to(below, line.y.shape))
        np.testing.assert_array_equal(line.hover.columns["count"], counts)
        below = line.y
        assert figure is not None
        np.testing.assert_array_equal(figure.table[f"switches on a path, mean: {label}"], counts / 9)
    assert lines[0].edges[-1] == segments
    assert len(lines[0].y) <= study.MOST_PLACES


def test_without_an_order_of_layers_none_has_a_colour() -> None:
    old = made_runs.run(1, 8, nodes=None)
    layers = Layers.of(old)
    assert not layers.ordered
    assert set(layers.labels) == {"first", "second", "third"}
    [figure] = study.by_layer(old, layers, name="")
    assert "those that switch most first" in figure.caption
    [bars] = of(figure, 0, Bars)
    assert len(set(bars.colors)) == 1
    assert (np.diff(bars.high) <= 0).all()
    assert study.along(old, layers, name="") is None
    assert study.in_image(old, layers, name="") is None
    assert study.by_unit(old, layers, name="") == []


def test_what_was_not_walked_is_not_drawn_as_if_nothing_switched() -> None:
    whole, partial = made_runs.run(1, 8), made_runs.run(1, 8, partial=True)
    names = ({figure.name for figure in every_figure(run)} for run in (whole, partial))
    first, second = names
    assert first - second == {"places-along-path", "units", "silent-units", "places-in-image"}
    sentence = b"what was not walked would look like what does not switch."
    assert sentence in report.page_of([partial])
    assert sentence not in report.page_of([whole])


def test_of_many_units_some_are_drawn_on_a_page_and_all_in_a_still() -> None:
    made = made_runs.run(1, 4, nodes=[made_runs.node("wide", (1, 900), 1)])
    times = np.random.default_rng(0).permutation(900)
    many = dataclasses.replace(made, unit_switches={"wide": times})
    told = f"Of a curve with more steps, {study.MOST_STEPS // 2} are drawn"
    everything = study.by_unit(many, Layers.of(many), name="")[0]
    some = study.by_unit(many, Layers.of(many), name="", detail=Detail(600))[0]
    assert everything.table["switches_of_a_unit_on_a_path"].tolist() == (np.arange(900)[::-1] / 8).tolist()
    assert [len(mark.y) for mark in of(everything, 0, Steps)] == [900]
    assert [len(mark.y) for mark in of(some, 0, Steps)] == [300]
    assert told in some.caption
    assert told not in everything.caption
    [drawn] = [figure for figure in every_figure(many) if figure.name == "units"]
    assert len(drawn.table["units_percent"]) == 900
    assert told.encode() in report.page_of([many])


# --- Several runs


def width(number: int, seed: int, **more: str) -> dict[str, str]:
    known = {"lronnx.width": str(number), "lronnx.seed": str(seed), "lronnx.accuracy_test": str(0.5 + seed / 10)}
    return known | {f"lronnx.{key}": text for key, text in more.items()}


@pytest.fixture(scope="module")
def sweep() -> list[Run]:
    return [
        made_runs.run(10 * number + seed, 30, shown=f"sweep/w{number}_s{seed}", metadata=width(number, seed))
        for number in (8, 2, 4)
        for seed in range(3)
    ]


def test_several_runs_in_a_place_are_a_mean_with_students_interval(sweep: list[Run]) -> None:
    found = compare.compared(report.name(sweep), None)
    assert found.against == "width"
    assert found.x.tolist() == [2.0] * 3 + [4.0] * 3 + [8.0] * 3
    assert found.notices == ()
    first, _ = compare.trends(found)
    errors, density, _ = first.panels
    [means] = [mark for mark in density.marks if isinstance(mark, Points) and mark.name == "test"]
    [singles] = [mark for mark in density.marks if isinstance(mark, Points) and not mark.name and mark.group == "test"]
    assert means.x.tolist() == [2.0, 4.0, 8.0]
    assert means.low is not None
    assert means.high is not None
    for position, number in enumerate((2, 4, 8)):
        there = [run for run in sweep if run.metadata["lronnx.width"] == str(number)]
        values = [run.paths["density"][run.paths["split"] == "test"].mean() for run in there]
        assert means.y[position] == pytest.approx(np.mean(values), rel=1e-12)
        interval = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
        assert (means.low[position], means.high[position]) == pytest.approx(interval)
        assert sorted(singles.y[singles.x == number]) == pytest.approx(sorted(values))
    [error] = [mark for mark in errors.marks if isinstance(mark, Points) and mark.name == "test error"]
    assert error.y.tolist() == pytest.approx([40.0] * 3)
    assert [text for _, text in first.x.ticks or ()] == ["2", "4", "8"]
    assert first.x.log


def test_a_single_run_has_the_interval_of_its_summary(sweep: list[Run]) -> None:
    found = compare.compared(report.name([sweep[0], sweep[3]]), "width")
    first, _ = compare.trends(found)
    [means] = [mark for mark in first.panels[1].marks if isinstance(mark, Points) and mark.name == "test"]
    assert means.low is not None
    for position, run in enumerate((sweep[3], sweep[0])):
        [test] = [one for one in run.summary["groups"]["split"] if one["split"] == "test"]
        figures = test["measures"]["density"]
        assert (means.y[position], means.low[position]) == (figures["mean"], figures["interval"][0])
    assert any(isinstance(mark, Line) for mark in first.panels[1].marks)


def test_what_runs_are_compared_against() -> None:
    def known(**facts: str) -> Run:
        return made_runs.run(0, 4, metadata={f"lronnx.{key}": text for key, text in facts.items()})

    assert compare.choose([known(epoch="1", width="2"), known(epoch="2", width="3")], None) == "epoch"
    assert compare.choose([known(epoch="1", width="2"), known(epoch="1", width="3")], None) == "width"
    assert compare.choose([known(), known()], None) is None
    assert compare.choose([known(label_noise="0.1"), known(label_noise="0.2")], "label_noise") == "label_noise"
    assert compare.facts(known(width="2"))["depth"] == 3
    assert compare.facts(known())["units"] == 120 + 27 + 7
    assert "dataset" not in compare.facts(known(dataset="CIFAR", accuracy="nan"))
    with pytest.raises(InputError, match=r"--against widht: no run knows such a number.*they know depth, outputs"):
        compare.choose([known()], "widht")


def test_percentages_are_not_taken_for_accuracies() -> None:
    known = {"lronnx.accuracy_test": "93.2", "lronnx.accuracy_train": "-0.1"}
    runs = [made_runs.run(n, 6, shown=f"run{n}", metadata=known | {"lronnx.width": str(n)}) for n in (1, 2)]
    assert compare.errors(runs[0]) == {}
    first, _ = compare.trends(compare.compared(report.name(runs), None))
    assert len(first.panels) == 2
    assert "error" not in {text for column in first.table.values() for text in column}
    assert b"test error" not in report.page_of(runs)


def test_runs_of_another_kind_are_told_and_left_out(sweep: list[Run]) -> None:
    others = [
        made_runs.run(1, 8, shown="estimates", metadata=width(16, 0), estimated=True),
        made_runs.run(1, 8, shown="outputs", metadata=width(16, 0), outputs=5),
        made_runs.run(1, 8, shown="anchors", metadata=width(16, 0), segments=3),
        made_runs.run(1, 0, shown="empty", metadata=width(16, 0)),
        made_runs.run(1, 8, shown="unknown", metadata={}),
    ]
    found = compare.compared(report.name([*sweep[:3], *others, *sweep[3:]]), None)
    assert [named.run for named in found.runs] == [*sweep[3:6], *sweep[6:], *sweep[:3]]
    told = "\n".join(found.notices)
    assert "Left out, since no path of theirs is done: empty." in told
    assert "Left out: estimates. What is not as in the runs that are compared: figures are ESTIMATE, not exact." in told
    assert "Left out: outputs. What is not as in the runs that are compared: 5 outputs, not 3." in told
    assert "Left out: anchors. What is not as in the runs that are compared: paths are closed (anchors 3), not" in told
    assert "Left out, since their networks do not tell their width: unknown." in told


def test_runs_in_one_place_that_differ_in_more_than_their_seed_are_told() -> None:
    runs = [made_runs.run(s, 8, metadata=width(2, s, label_noise=f"0.{s}")) for s in range(2)]
    runs.append(made_runs.run(2, 8, metadata=width(4, 0, label_noise="0.0")))
    found = compare.compared(report.name(runs), "width")
    assert found.notices == ("Runs in the same place, over which means are taken, also differ in their label noise.",)


def test_nothing_is_drawn_against_a_number_that_all_runs_have() -> None:
    runs = [made_runs.run(s, 8, shown=f"run{s}", metadata=width(2, s)) for s in range(2)]
    found = compare.compared(report.name(runs), "width")
    assert found.against is None
    assert found.notices == ("Nothing is drawn against width, of which the runs have only 2.",)
    assert [named.label for named in found.runs] == ["run0", "run1"]
    assert all("width" not in figure.title for figure in compare.trends(found))


def test_of_few_paths_no_interval_is_drawn() -> None:
    runs = [made_runs.run(s, 14, shown=f"run{s}", metadata=width(s, 0)) for s in (1, 2)]
    # Of seven training paths, four have a wrong label and three a right one.
    first, _ = compare.trends(compare.compared(report.name(runs), None))
    for mark in of(first, 1, Points):
        assert mark.low is not None
        assert mark.high is not None
        assert (mark.low == mark.y).all() == (mark.high == mark.y).all() == (mark.name != "test"), mark.name
    assert f"fewer than {texts.FEW} paths have none" in first.caption
    drawn = [row for row in zip(*first.table.values(), strict=True) if row[3] == "density"]
    assert [math.isnan(row[5]) for row in drawn] == [row[2] != "test" for row in drawn]
    figure = study.distribution(runs[0], MEASURES[0], study.divided(runs[0]), name="figure", by="label")
    assert [mark.group for mark in of(figure, 0, Steps)] == ["test"]
    assert [mark.name for mark in of(figure, 1, Points)] == [
        "train, clean labels (3 paths)",
        "train, corrupted labels (4 paths)",
        "",
    ]
    assert figure is not None
    assert (
        "So few paths tell little, and are points only, without an interval: train, clean labels (3 paths), train, "
        "corrupted labels (4 paths)." in figure.caption
    )
    assert "train, clean labels" in figure.caption
    alone = study.distribution(made_runs.run(1, 3), MEASURES[0], study.divided(runs[0])[:0], name="f", by="label")
    assert alone is None
    few = made_runs.run(1, 3)
    single = study.distribution(few, MEASURES[0], study.groups(few, "split"), name="f", by="split")
    assert single is not None
    assert len(single.panels) == 1
    assert "bin" not in single.caption
    assert "interval" not in texts.interval_text(texts.interval(few.summary["groups"]["all"][0]["measures"]["density"]))
    assert texts.interval_text(texts.interval(few.summary["groups"]["all"][0]["measures"]["density"])) == "-"


def test_few_paths_of_a_class_have_no_bar() -> None:
    made = made_runs.run(4, 20, classes=["kind 0", "kind 1", "kind 2"])
    few = made_runs.run(4, 3, classes=["kind 0", "kind 1"])
    for run, bars in ((made, True), (few, False)):
        groups = study.groups(run, "class")
        figure = study.rows(run, MEASURES[0], groups, name="figure", by="class")
        assert figure is not None
        counts = [int(group.paths.sum()) for group in groups]
        drawn = [len(mark.position) for mark in of(figure, 0, Bars)]
        assert sum(drawn) == sum(count >= texts.FEW for count in counts)
        assert bool(drawn) == bars
        assert ("fewer than 5 paths have no bar" in figure.caption) == (min(counts) < texts.FEW)
    assert min(int(group.paths.sum()) for group in study.groups(made, "class")) < texts.FEW


def test_paths_of_images_that_the_network_was_not_trained_with_are_told() -> None:
    made = made_runs.run(1, 50)
    paths = dict(made.paths)
    paths["corrupted"] = np.where(paths["path"] < 8, -1, paths["corrupted"]).astype(np.int8)
    known = dataclasses.replace(made, paths=paths)
    told = (
        "4 train-split paths are of images that the model was not trained with, or whose label nobody knows to be "
        "right or wrong, and in neither group."
    )
    assert study.left_out(known) == told
    assert study.left_out(made) == ""
    assert study.left_out(made_runs.run(1, 50, corrupted=False)) == ""
    figure = study.distribution(known, MEASURES[0], study.divided(known), name="figure", by="label")
    assert figure is not None
    assert told in figure.caption
    split = study.distribution(known, MEASURES[0], study.groups(known, "split"), name="figure", by="split")
    assert split is not None
    assert told.removesuffix(", and in neither group.") + "." in split.caption
    first, _ = compare.trends(compare.compared(report.name([known, made_runs.run(2, 50)]), None))
    assert f"run: {told}" in first.caption
    assert told.encode() in report.page_of([known])


@pytest.mark.parametrize("kind", ["split", "class"])
def test_paths_without_a_number_are_counted_and_told(made: Run, kind: str) -> None:
    values = made.paths["density"].copy()
    values[:7] = math.nan
    some = dataclasses.replace(made, paths={**made.paths, "density": values})
    told = "7 paths have no density that is a finite number, and are left out."
    members = study.groups(some, kind)
    draw = study.rows if kind == "class" else study.distribution
    figure = draw(some, MEASURES[0], members, name="figure", by=kind)
    assert figure is not None
    assert told in figure.caption
    assert len(figure.table["path"]) == 43
    whole = draw(made, MEASURES[0], members, name="figure", by=kind)
    assert whole is not None
    assert "finite number" not in whole.caption
    if kind == "split":
        names = [f"{group.name} ({int(np.isfinite(values[group.paths]).sum())} paths)" for group in members]
        for panel in (0, 1):
            assert [mark.name for mark in of(figure, panel, Steps)] == names
        hovers = [next(iter(mark.hover.texts(mark.edges[1:], mark.y))) for mark in of(figure, 0, Steps)]
        for text, name in zip(hovers, names, strict=True):
            assert " of " + name.partition("(")[2].rstrip(")") + " (" in text
    runs = compare.overlaid(compare.compared(report.name([some, made_runs.run(2, 50)]), None), MEASURES[0])
    assert runs is not None
    assert told in runs.caption


def test_labels_count_the_paths_of_their_groups(made: Run) -> None:
    figure = study.distribution(made, MEASURES[0], study.divided(made), name="figure", by="label")
    names = ["train, clean labels (12 paths)", "train, corrupted labels (13 paths)", "test (25 paths)"]
    assert [mark.name for mark in of(figure, 0, Steps)] == names
    # Right labels are as training paths are, wrong ones are another colour, in all figures alike.
    assert [mark.color for mark in of(figure, 0, Steps)] == [colors.series(0), colors.series(2), colors.series(1)]
    splits = study.distribution(made, MEASURES[0], study.groups(made, "split"), name="figure", by="split")
    assert [mark.color for mark in of(splits, 0, Steps)] == [colors.series(0), colors.series(1)]


def test_the_clearest_of_several_tests_is_told() -> None:
    made = made_runs.run(4, 300, classes=[f"kind {number}" for number in range(4)])
    figure = study.rows(made, MEASURES[0], study.groups(made, "class"), name="figure", by="class")
    found = []
    for test in made.summary["tests"]:
        if test["measure"] == "density" and "class" in test["first"] and "class" in test["second"]:
            own = [made.paths["density"][made.paths["class"] == test[side]["class"]] for side in ("first", "second")]
            found.append(
                (scipy.stats.ks_2samp(*own), *(f"class {test[side]['class']}" for side in ("first", "second")))
            )
    best, *names = min(found, key=lambda test: test[0].pvalue)
    assert len({test[0].pvalue for test in found}) == len(found) == 6
    assert figure is not None
    assert (
        f"The clearest Kolmogorov-Smirnov test, of {' and '.join(names)}: distance {best.statistic:.3f}, "
        f"p = {texts.probability_text(best.pvalue)}," in figure.caption
    )


def test_of_two_large_runs_some_paths_are_points_on_a_page_and_all_in_a_still() -> None:
    found = compare.compared(report.name([made_runs.run(n, 700, segments=1, shown=f"run{n}") for n in (1, 2)]), None)
    some = compare.overlaid(found, MEASURES[0], detail=Detail(300))
    everything = compare.overlaid(found, MEASURES[0])
    assert some is not None
    assert everything is not None
    assert [len(mark.x) for mark in of(some, 0, Points)] == [150, 150]
    assert "a point is a path; 1,100 in between have none." in some.caption
    assert "a point is a path." in everything.caption
    assert len(everything.table["path"]) == 1400


def made_of(means: list[float]) -> list[Run]:
    """Runs whose paths' densities have these means: the last of another place than the others."""
    runs = []
    for number, mean in enumerate(means):
        place = 4 if number == len(means) - 1 else 2
        run = made_runs.run(number, 12, shown=f"run{number}", metadata=width(place, number), corrupted=False)
        summary = copy.deepcopy(run.summary)
        for group in summary["groups"]["split"]:
            group["measures"]["density"] |= {"mean": mean, "interval": [mean, mean]}
        runs.append(dataclasses.replace(run, summary=summary))
    return runs


def test_intervals_end_where_numbers_cannot_go_on() -> None:
    # Student's interval of these reaches below 0.
    for means, log in (([1.0, 9.0, 5.0], False), ([1.0, 900.0, 5.0], True)):
        first, _ = compare.trends(compare.compared(report.name(made_of(means)), "width"))
        panel = first.panels[1]
        [test] = [mark for mark in panel.marks if isinstance(mark, Points) and mark.name == "test"]
        assert test.low is not None
        assert panel.y.log == log
        assert panel.y.range is not None
        half = scipy.stats.t.ppf(0.975, 1) * np.std(means[:2], ddof=1) / math.sqrt(2)
        assert np.mean(means[:2]) - half < 0.0
        assert test.low[0] == (panel.y.range[0] if log else 0.0)
        if log:
            assert panel.y.range[0] > 0.0


def test_captions_say_which_interval_a_symbol_has(sweep: list[Run]) -> None:
    student, bootstrap, single = (
        "(Student's t)",
        "interval (bootstrap)",
        "Where a group of paths is of a single network",
    )
    for runs, told in (
        (sweep, (True, False, False)),
        (sweep[:4], (True, True, True)),
        ([sweep[0], sweep[3]], (False, True, False)),
    ):
        first, _ = compare.trends(compare.compared(report.name(runs), "width"))
        assert tuple(text in first.caption for text in (student, bootstrap, single)) == told


def test_the_table_of_a_figure_has_words_for_what_is_not_known(made: Run) -> None:
    figure = study.distribution(made, MEASURES[0], study.groups(made, "split"), name="figure", by="split")
    assert figure is not None
    words = {1: "corrupted", 0: "clean", -1: ""}
    at = np.searchsorted(made.paths["path"], np.asarray(figure.table["path"]))
    assert list(figure.table["training_label"]) == [words[int(one)] for one in made.paths["corrupted"][at]]
    assert set(figure.table["training_label"]) == set(words.values())
    assert "-1" not in {str(entry) for column in figure.table.values() for entry in column}


def test_units_that_all_switch_need_no_axes(made: Run) -> None:
    busy = dataclasses.replace(made, unit_switches={label: one + 1 for label, one in made.unit_switches.items()})
    [figure] = study.by_unit(busy, Layers.of(busy), name="")
    assert figure.name == "units"
    assert figure.caption.endswith("Every unit of every layer switched on at least one of 8 paths.")


def test_regions_are_linear_only_where_they_are(made: Run) -> None:
    for figure in every_figure(made, made_runs.run(2, 9)):
        assert "linear region" not in figure.caption + figure.title + figure.x.label


def test_distances_of_runs(sweep: list[Run]) -> None:
    found = compare.compared(report.name(sweep[:2]), None)
    columns, rows = compare.distances(found)
    expected = scipy.stats.ks_2samp(sweep[0].paths["density"], sweep[1].paths["density"]).statistic
    assert dict(zip(columns, rows[0], strict=True)) | {} == {
        "measure": "density",
        "run": "w8_s0",
        "other run": "w8_s1",
        "mean": texts.short(sweep[0].paths["density"].mean()),
        "mean of the other": texts.short(sweep[1].paths["density"].mean()),
        "distance": f"{expected:.3f}",
    }


def changed(run: Run, *keys: str, to: Any) -> Run:
    """The run with another entry in its manifest's study."""
    study_ = copy.deepcopy(run.manifest["study"])
    part = study_
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = to
    return dataclasses.replace(run, manifest={**run.manifest, "study": study_})


def test_in_what_paths_are_not_the_same() -> None:
    one, two = made_runs.run(1, 8), made_runs.run(2, 8)
    assert compare.differing([one, two]) == []
    assert compare.differing([one, made_runs.run(2, 9)]) == ["number of paths that are done"]
    assert compare.differing([one, made_runs.run(2, 8, segments=3)]) == ["paths"]
    for keys, to, told in (
        (("paths", "data", "sha256"), "other", ["data"]),
        (("paths", "data", "samples_sha256"), "other", ["samples"]),
        (("walk", "seed"), 1, ["seed"]),
        (("walk", "estimate"), 0.1, ["share of a path that was walked"]),
        (("paths", "preprocessing", "scale"), 1.0, ["preprocessing"]),
        (("paths", "preprocessing", "mean"), [0.4], ["preprocessing"]),
        (("paths", "preprocessing", "std"), [0.2, 0.25, 0.25], ["preprocessing"]),
        (("paths", "preprocessing", "std"), [0.25, 0.25, 0.25], []),
        # It ended no walk.
        (("walk", "max_regions"), 10**6, []),
    ):
        other = changed(two, *keys, to=to)
        assert compare.differing([one, two, other]) == told, keys
        text = report.page_of([one, other]).decode()
        assert ("compared path by path." in text) == (not told), keys
        if told:
            assert f"cannot be compared path by path, since they differ in this: {told[0]}." in text
        assert ("The runs&#x27; preprocessing differs" in text) == (keys[-1] in ("scale", "std") and bool(told))


def test_single_runs_say_what_they_are(sweep: list[Run]) -> None:
    _, others = compare.trends(compare.compared(report.name(sweep), None))
    panel = others.panels[0]
    [single] = [mark for mark in panel.marks if isinstance(mark, Points) and not mark.name and mark.group == "test"]
    assert single.hover is not None
    told = list(single.hover.texts(single.x, single.y))
    assert told[0].endswith(f"\nwidth 2\nmean deviation {single.y[0]:.6g}")


def test_labels_of_runs_are_distinct() -> None:
    folders = ["a/run", "b/run", "a/run/", "c/<script>", "c/!", "s3://bucket/x/run"]
    found = report.name([made_runs.run(0, 2, shown=folder) for folder in folders])
    assert [named.label for named in found] == ["a/run", "b/run", "a/run (2)", "<script>", "!", "x/run"]
    # Some file systems take names for the same that differ in case alone.
    names = [named.slug for named in report.name([made_runs.run(0, 2, shown=one) for one in ("x/VGG", "y/vgg", "/")])]
    assert names == ["VGG", "vgg-2", "run"]
    assert report.name([made_runs.run(0, 2, shown="/")])[0].label == "/"
    assert [named.slug for named in found] == ["a-run", "b-run", "a-run-2", "script", "run", "x-run"]


# --- All of it


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"paths": 1},
        {"paths": 0},
        {"estimated": True},
        {"outputs": 1000, "paths": 4},
        {"classes": ()},
        {"nodes": None},
        {"nodes": [made_runs.node(f"layer {n}", (1, 1), n) for n in range(300)], "paths": 3},
        {"nodes": [made_runs.node("only", (1, 90, 1, 4), 1)], "segments": 70, "paths": 3},
        {"partial": True, "ok": False, "total": 99},
    ],
    ids=lambda one: " ".join(one) or "plain",
)
def test_figures_are_finite_and_have_names_of_their_own(options: dict[str, Any]) -> None:
    made = made_runs.run(**({"paths": 20} | options))
    for runs in ([made], [made, made]):
        figures = every_figure(*runs)
        assert len({figure.name for figure in figures}) == len(figures)
        for figure in figures:
            for array in arrays(figure.panels):
                if array.dtype.kind == "f":
                    assert np.isfinite(array).all(), figure.name
            assert figure.title
            assert figure.caption
            assert figure.table or figure.name.startswith("path")
    assert bool(every_figure(made)) == (made.done > 0)


def test_names_of_figures_stay_the_same(made: Run) -> None:
    names = [figure.name for figure in every_figure(made)]
    assert names[:2] == ["density-by-split", "absolute-deviation-by-split"]
    assert {"switches-by-layer", "places-along-path", "units", "places-in-image"} <= set(names)
    assert names == [figure.name for figure in every_figure(made_runs.run(9, 30, pairs=True, shown="elsewhere"))]


def test_numbers_at_the_end_of_what_there_is(made: Run) -> None:
    wild = dataclasses.replace(made, paths=dict(made.paths))
    values = made.paths["density"].copy()
    values[:4] = [1e308, 1e-308, math.nan, 1e308]
    wild.paths["density"] = values  # type: ignore[index]
    for figure in (
        study.distribution(wild, MEASURES[0], study.groups(wild, "split"), name="f", by="split"),
        study.rows(wild, MEASURES[0], study.groups(wild, "class"), name="f", by="class"),
    ):
        assert figure is not None
        for array in arrays(figure.panels):
            assert array.dtype.kind != "f" or np.isfinite(array).all()
