"""The statistics of a study, against plain Python over its rows; and how they are shown."""

from __future__ import annotations

import io
import itertools
import json
import math
import random
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lronnx import records, report, summary
from lronnx.errors import InputError

FLOATS = pa.list_(pa.float64())
COMMON = [
    ("path", pa.int64()),
    ("segment", pa.int32()),
    ("split", pa.string()),
    ("index", pa.int64()),
    ("label", pa.int64()),
    ("class", pa.string()),
    ("corrupted", pa.bool_()),
    ("other_index", pa.int64()),
    ("other_label", pa.int64()),
    ("length", pa.float64()),
]
CHECKS = [
    ("self_check_ok", pa.bool_()),
    ("contradictions", pa.int64()),
    ("end_pattern_mismatches", pa.int64()),
    ("max_value_error", pa.float64()),
    ("value_tolerance", pa.float64()),
    ("forward_passes", pa.int64()),
]
UNIT_COLUMNS = ("unit", "switches")
EXACT = pa.schema(
    [
        *COMMON,
        ("covered", pa.float64()),
        ("regions", pa.int64()),
        ("linear_regions", pa.int64()),
        ("breakpoints", pa.int64()),
        ("switches", pa.int64()),
        ("smallest_region", pa.float64()),
        ("density", pa.float64()),
        ("absolute_deviation", FLOATS),
        ("absolute_deviation_norm", pa.float64()),
        ("absolute_deviation_bound", FLOATS),
        ("total_variation", FLOATS),
        ("end_to_end_variation", FLOATS),
        ("slope_variation", FLOATS),
        ("local_similarity", pa.float64()),
        ("decision_changes", pa.int64()),
        ("switches_by_node", pa.map_(pa.string(), pa.int64())),
        # The statistics do not need these two.
        ("switches_by_unit", pa.map_(pa.string(), pa.struct({name: pa.list_(pa.int32()) for name in UNIT_COLUMNS}))),
        ("switches_by_place", pa.map_(pa.string(), pa.list_(pa.int32()))),
        ("partial", pa.bool_()),
        *CHECKS,
    ]
)
ESTIMATED = ["regions", "density", "total_variation", "slope_variation", "absolute_deviation"]
ESTIMATES = pa.schema(
    [
        *COMMON,
        ("fraction", pa.float64()),
        ("breakpoints_seen", pa.int64()),
        *(
            (f"estimated_{name}{suffix}", pa.float64() if name in {"regions", "density"} else FLOATS)
            for name in ESTIMATED
            for suffix in ("", "_standard_error", "_low", "_high")
        ),
        *CHECKS,
    ]
)

Row = dict[str, Any]


def row(path: int, segment: int = 0, **others: Any) -> Row:
    """An uneventful segment, with what matters replaced."""
    plain: Row = {
        "path": path,
        "segment": segment,
        "split": "",
        "index": path,
        "label": None,
        "class": None,
        "corrupted": None,
        "other_index": None,
        "other_label": None,
        "length": 2.0,
        "covered": 1.0,
        "regions": 3,
        "linear_regions": 2,
        "breakpoints": 2,
        "switches": 4,
        "smallest_region": 0.1,
        "density": 1.5,
        "absolute_deviation": [3.0, 4.0],
        "absolute_deviation_norm": 5.0,
        "absolute_deviation_bound": [6.0, 8.0],
        "total_variation": [1.0, 1.0],
        "end_to_end_variation": [1.0, -1.0],
        "slope_variation": [0.0, 2.0],
        "local_similarity": 0.5,
        "decision_changes": 1,
        "switches_by_node": {"Relu_0": 4},
        "partial": False,
        "self_check_ok": True,
        "contradictions": 0,
        "end_pattern_mismatches": 0,
        "max_value_error": 1e-15,
        "value_tolerance": 1e-6,
        "forward_passes": 10,
    }
    return plain | others


def table(rows: Iterable[Row], schema: pa.Schema = EXACT) -> pa.Table:
    maps = [{**one, "switches_by_node": list(one.get("switches_by_node", {}).items())} for one in rows]
    return pa.Table.from_pylist(maps, schema=schema)


def summarize(rows: Iterable[Row], schema: pa.Schema = EXACT, size: int = 7, **options: Any) -> dict[str, Any]:
    options = {"resamples": 100} | options
    found = summary.summarize(table(rows, schema).to_batches(max_chunksize=size), **options)
    # Nothing is nan, and nothing is of a type that JSON does not have.
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def study(seed: int = 0, paths: int = 60, outputs: int = 3, classes: int = 3) -> list[Row]:
    """A study of paths of one to four segments with everything that can be missing missing somewhere."""
    rng = random.Random(seed)
    rows = []
    for path in range(paths):
        split = rng.choice(["train", "test"])
        label = rng.choice([None, *range(classes)])
        fixed: Row = {
            "split": split,
            "label": label,
            "class": None if label is None else f"kind {label}",
            "corrupted": rng.random() < 0.4 if split == "train" and label is not None else None,
            "other_label": rng.choice([None, *range(classes)]),
        }
        for segment in range(rng.randint(1, 4)):
            breakpoints = rng.choice([0, rng.randint(1, 200)])
            numbers = {
                name: [rng.lognormvariate(0, 1) for _ in range(outputs)]
                for name in ("absolute_deviation", "total_variation", "slope_variation")
            }
            rows.append(
                row(
                    path,
                    segment,
                    **fixed,
                    **numbers,
                    length=0.0 if path % 10 == 3 else rng.lognormvariate(1, 0.5),
                    covered=rng.choice([1.0, 1.0, 0.25]),
                    regions=breakpoints + 1,
                    linear_regions=breakpoints // 2 + 1,
                    breakpoints=breakpoints,
                    switches=breakpoints + 2,
                    local_similarity=rng.uniform(-1, 1) if breakpoints else None,
                    decision_changes=rng.randint(0, 3),
                    switches_by_node={name: rng.randint(1, 9) for name in rng.sample(["a", "b", "c"], 2)},
                    self_check_ok=rng.random() < 0.9,
                    max_value_error=rng.random() * 1e-14,
                    value_tolerance=1e-6,
                    partial=rng.random() < 0.1,
                    forward_passes=rng.randint(1, 1000),
                )
            )
    return rows


def by_path(rows: Iterable[Row]) -> list[list[Row]]:
    return [list(group) for _, group in itertools.groupby(rows, key=lambda one: one["path"])]


def outputs_of(segments: Sequence[Row], name: str) -> list[float]:
    return [math.fsum(one) for one in zip(*(segment[name] for segment in segments), strict=True)]


def figures_of(segments: Sequence[Row]) -> dict[str, float | None]:
    """The measures of a path by their definitions, in exact arithmetic where that is possible."""
    covered = math.fsum(one["length"] * one["covered"] for one in segments)
    regions = sum(one["regions"] for one in segments)
    norms = {name: math.hypot(*outputs_of(segments, name)) for name in summary._EXACT_LISTS}
    cosines = [Fraction(one["local_similarity"]) * one["breakpoints"] for one in segments if one["breakpoints"]]
    breakpoints = sum(one["breakpoints"] for one in segments)
    return {
        "regions": regions,
        "linear_regions_per_region": float(Fraction(sum(one["linear_regions"] for one in segments), regions)),
        "density": regions / covered if covered else None,
        "absolute_deviation_norm": norms["absolute_deviation"],
        "mean_absolute_deviation_norm": norms["absolute_deviation"] / covered if covered else None,
        "total_variation_norm": norms["total_variation"],
        "slope_variation_norm": norms["slope_variation"],
        "local_similarity": float(sum(cosines) / breakpoints) if breakpoints else None,
        "decision_changes": sum(one["decision_changes"] for one in segments),
    }


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-300)


def check_statistics(found: dict[str, Any], values: Sequence[float | None]) -> None:
    there = sorted(value for value in values if value is not None)
    assert (found["count"], found["missing"]) == (len(there), len(values) - len(there))
    if not there:
        assert {found[key] for key in ("mean", "standard_deviation", "interval", "minimum", "quartiles")} == {None}
        assert found["ecdf"] == {"value": [], "fraction": []}
        return
    assert found["mean"] == near(statistics.fmean(there))
    assert (found["minimum"], found["maximum"]) == (near(there[0]), near(there[-1]))
    if len(there) == 1:
        assert found["standard_deviation"] is None
        assert found["interval"] is None
        assert found["quartiles"] == [found["mean"]] * 3
        return
    assert found["standard_deviation"] == pytest.approx(statistics.stdev(there), rel=1e-9, abs=1e-12)
    assert found["quartiles"] == [near(one) for one in statistics.quantiles(there, method="inclusive")]
    low, high = found["interval"]
    assert there[0] * (1 - 1e-12) <= low <= high <= there[-1] * (1 + 1e-12) or there[0] < 0
    check_ecdf(found["ecdf"], there, complete=len(there) <= 201)


def check_ecdf(found: dict[str, Any], values: Sequence[float], *, complete: bool) -> None:
    """Every point is where the function of ``values`` is, up to rounding of the values."""
    assert found["value"] == sorted(set(found["value"]))
    for value, fraction in zip(found["value"], found["fraction"], strict=True):
        at_most = sum(one <= value + 1e-12 * abs(value) for one in values)
        assert fraction == at_most / len(values)
    ordered = sorted(values)
    for needed in ordered if complete else (ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]):
        assert any(value == near(needed) for value in found["value"])
    assert found["fraction"][-1] == 1.0


# --- Statistics -----------------------------------------------------------------------------------------------

FIGURES = {"paths", "measures", "per_output"}
GROUPS: dict[str, Callable[[Row], dict[str, Any] | None]] = {
    "all": lambda one: {},
    "split": lambda one: {"split": one["split"]},
    "class": lambda one: None if one["label"] is None else {"label": one["label"], "class": one["class"]},
    "split_and_class": lambda one: (
        None if one["label"] is None else {"split": one["split"], "label": one["label"], "class": one["class"]}
    ),
    "split_and_corrupted": lambda one: (
        None if one["corrupted"] is None else {"split": one["split"], "corrupted": one["corrupted"]}
    ),
    "pair": lambda one: (
        None
        if one["label"] is None or one["other_label"] is None
        else {"pair": "same class" if one["label"] == one["other_label"] else "other class"}
    ),
}


@pytest.mark.parametrize("seed", range(2))
def test_statistics_of_every_group(seed: int) -> None:
    rows = study(seed)
    found = summarize(rows)
    paths = by_path(rows)
    assert set(found["groups"]) == set(GROUPS)
    for kind, property_of in GROUPS.items():
        expected: dict[str, list[list[Row]]] = {}
        for segments in paths:
            fields = property_of(segments[0])
            if fields is not None:
                expected.setdefault(json.dumps(fields, sort_keys=True), []).append(segments)
        groups = {
            json.dumps({key: one[key] for key in one.keys() - FIGURES}, sort_keys=True): one
            for one in found["groups"][kind]
        }
        assert groups.keys() == expected.keys()
        for key, members in expected.items():
            assert groups[key]["paths"] == len(members)
            assert list(groups[key]["measures"]) == found["measures"]
            figures = [figures_of(segments) for segments in members]
            for name in found["measures"]:
                check_statistics(groups[key]["measures"][name], [one[name] for one in figures])


def test_order_of_groups() -> None:
    rows = [
        row(0, split="b", label=10, corrupted=True, other_label=3),
        row(1, split="test", label=9, corrupted=False, other_label=9),
        row(2, split="train", label=2, corrupted=True),
        row(3, split="a", label=None, corrupted=False),
        row(4, split="train", label=2, corrupted=False),
    ]
    groups = summarize(rows)["groups"]
    assert [one["split"] for one in groups["split"]] == ["train", "test", "a", "b"]
    assert [one["label"] for one in groups["class"]] == [2, 9, 10]
    assert [one["pair"] for one in groups["pair"]] == ["same class", "other class"]
    assert [one["corrupted"] for one in groups["split_and_corrupted"]][:2] == [False, True]


@pytest.mark.parametrize("kind", ["split", "class", "split_and_class", "split_and_corrupted", "pair"])
def test_what_is_not_known_makes_no_group(kind: str) -> None:
    assert summarize([row(0), row(1)])["groups"][kind] == []


def test_a_class_without_a_number() -> None:
    groups = summarize([row(0, **{"class": "cat"}), row(1, **{"class": "cat"}), row(2)])["groups"]
    assert [(one["label"], one["class"], one["paths"]) for one in groups["class"]] == [(None, "cat", 2)]


def test_totals() -> None:
    rows = study(5)
    found = summarize(rows)["totals"]
    nodes: dict[str, int] = {}
    for one in rows:
        for name, count in one["switches_by_node"].items():
            nodes[name] = nodes.get(name, 0) + count
    failed = [segments[0]["path"] for segments in by_path(rows) if not all(one["self_check_ok"] for one in segments)]
    length = math.fsum(one["length"] for one in rows)
    covered = math.fsum(one["length"] * one["covered"] for one in rows)
    assert 0 < len(failed) <= 20
    assert found == {
        "paths": 60,
        "segments": len(rows),
        **{name: sum(one[name] for one in rows) for name in ("regions", "linear_regions", "breakpoints", "switches")},
        "length": near(length),
        "covered_length": near(covered),
        "covered_fraction": near(covered / length),
        "partial_segments": sum(one["partial"] for one in rows),
        "self_check": {
            "ok": False,
            "ok_segments": sum(one["self_check_ok"] for one in rows),
            "failed_segments": sum(not one["self_check_ok"] for one in rows),
            "failed_paths": len(failed),
            "first_failed_paths": failed,
            "contradictions": 0,
            "end_pattern_mismatches": 0,
            "max_value_error": max(one["max_value_error"] for one in rows),
        },
        "forward_passes": sum(one["forward_passes"] for one in rows),
        "switches_by_node": nodes,
    }
    assert list(found["switches_by_node"].values()) == sorted(nodes.values(), reverse=True)


def test_totals_of_checks() -> None:
    rows = [row(path, self_check_ok=False, contradictions=2, end_pattern_mismatches=3) for path in range(25)]
    found = summarize([*rows, row(25, max_value_error=math.nan)])["totals"]["self_check"]
    assert (found["failed_paths"], found["first_failed_paths"]) == (25, list(range(20)))
    assert (found["contradictions"], found["end_pattern_mismatches"]) == (50, 75)
    assert found["max_value_error"] is None


@given(st.lists(st.integers(0, 40), min_size=1, max_size=90), st.sampled_from([5, 21]))
def test_distribution_functions_are_exact_where_they_are_given(numbers: list[int], points: int) -> None:
    ordered = np.sort(np.array(numbers, dtype=float))
    found = summary._ecdf(ordered, points)
    assert len(found["value"]) <= points
    check_ecdf(found, ordered.tolist(), complete=len(set(numbers)) <= points)


def test_distribution_functions_of_many_paths() -> None:
    rows = [row(path, regions=1 + (path * 7919) % 5000, split="ab"[path % 2]) for path in range(5000)]
    found = summarize(rows, size=1000, resamples=10)["groups"]
    values = [one["regions"] for one in rows]
    assert len(found["all"][0]["measures"]["regions"]["ecdf"]["value"]) == 201
    check_ecdf(found["all"][0]["measures"]["regions"]["ecdf"], values, complete=False)


def test_many_groups_have_short_distribution_functions() -> None:
    rows = [row(path, regions=path, label=path % 21) for path in range(21 * 30)]
    found = summarize(rows, resamples=10)["groups"]
    assert {len(one["measures"]["regions"]["ecdf"]["value"]) for one in found["class"]} == {21}
    assert len(found["all"][0]["measures"]["regions"]["ecdf"]["value"]) == 201


# --- Single outputs -------------------------------------------------------------------------------------------


def per_output(segments: Sequence[Row]) -> dict[str, list[float | None]]:
    covered = math.fsum(one["length"] * one["covered"] for one in segments)
    deviation = outputs_of(segments, "absolute_deviation")
    return {
        "absolute_deviation": list(deviation),
        "mean_absolute_deviation": [one / covered if covered else None for one in deviation],
        "total_variation": list(outputs_of(segments, "total_variation")),
    }


@pytest.mark.parametrize("limit", [20_000_000, 100])
def test_single_outputs(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "PER_OUTPUT_NUMBERS", limit)
    monkeypatch.setattr(summary, "_BLOCK", 7)
    rows = study(2)
    found = summarize(rows)
    kept = limit > 100
    assert found["per_output_intervals"] is kept
    assert found["outputs"] == 3
    for group in (*found["groups"]["all"], *found["groups"]["split"]):
        members = [one for one in by_path(rows) if group.get("split") in {None, one[0]["split"]}]
        figures = [per_output(segments) for segments in members]
        assert set(group["per_output"]) == set(figures[0])
        for name, columns in group["per_output"].items():
            assert ("interval" in columns, "ecdf" in columns) == (kept, kept)
            for output in range(3):
                values = [one[name][output] for one in figures if one[name][output] is not None]
                assert columns["count"][output] == len(values)
                assert columns["mean"][output] == near(statistics.fmean(values))
                assert columns["standard_deviation"][output] == pytest.approx(statistics.stdev(values), rel=1e-9)
                if kept:
                    assert len(columns["ecdf"][output]["value"]) == min(21, len(values))
                    check_ecdf(columns["ecdf"][output], values, complete=False)
                    low, high = columns["interval"][output]
                    assert low < columns["mean"][output] < high


def test_outputs_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "PER_OUTPUT_OUTPUTS", 2)
    rows = study(2)
    found = summarize(rows)
    assert not found["per_output_intervals"]
    monkeypatch.undo()
    whole = summarize(rows)
    for name, columns in found["groups"]["all"][0]["per_output"].items():
        assert columns == {key: whole["groups"]["all"][0]["per_output"][name][key] for key in columns}
        assert set(columns) == {"count", "mean", "standard_deviation"}


# --- How the rows come in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [20_000_000, 50])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_batches_do_not_matter(size: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "PER_OUTPUT_NUMBERS", limit)
    monkeypatch.setattr(summary, "_BLOCK", 7)
    rows = study(7)
    assert summarize(rows, size=size) == summarize(rows, size=13)


def test_order_of_paths_does_not_matter() -> None:
    paths = by_path(study(7))
    mixed = [segment for segments in random.Random(0).sample(paths, len(paths)) for segment in segments]
    assert summarize(mixed) == summarize(study(7))


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = study(7)
    paths = by_path(rows)
    for number in range(4):
        part = [segment for segments in paths[number::4] for segment in segments]
        pq.write_table(table(part), tmp_path / f"{number}.parquet", row_group_size=11)
    for rows_at_once in (3, 100_000):
        monkeypatch.setattr(summary, "_LARGEST_BATCH", rows_at_once)
        found = summary.summarize(ds.dataset(tmp_path, format="parquet"), resamples=100)
        assert found == summarize(rows)


def test_the_tables_of_these_tests_are_those_that_a_study_writes() -> None:
    for schema, written in ((EXACT, records.SEGMENTS), (ESTIMATES, records.ESTIMATES)):
        assert sorted(schema.names) == sorted(written.names)
        rows = [row(0), row(1)] if schema is EXACT else [estimate(0), estimate(1)]
        assert summarize(rows, written) == summarize(rows, schema)


def test_a_slice_of_a_batch_counts_its_own_switches() -> None:
    [batch] = table([row(0, switches_by_node={"x": 1}), row(1, switches_by_node={"y": 2})]).to_batches()
    assert summary.summarize([batch.slice(1)])["totals"]["switches_by_node"] == {"y": 2}


def test_a_path_may_go_on_in_the_next_batch() -> None:
    rows = [row(0, segment) for segment in range(50)]
    assert summarize(rows, size=1)["groups"]["all"][0]["measures"]["regions"]["mean"] == 150.0


@pytest.mark.parametrize("schema", [EXACT, ESTIMATES])
def test_nothing(schema: pa.Schema) -> None:
    sources: list[Any] = [ds.dataset(schema.empty_table()), schema.empty_table().to_batches()]
    for source in sources:
        found = summary.summarize(source)
        json.dumps(found, allow_nan=False)
        assert found["totals"]["paths"] == 0
        assert found["totals"]["self_check"]["ok"]
        [group] = found["groups"]["all"]
        assert all(one["count"] == 0 and one["mean"] is None for one in group["measures"].values())
        assert found["tests"] == []
        report.summary_report(found)
    assert summary.summarize([])["totals"]["paths"] == 0


def test_one_path() -> None:
    found = summarize([row(0), row(0, 1)])
    measures = found["groups"]["all"][0]["measures"]
    assert measures["density"]["mean"] == 1.5
    assert measures["absolute_deviation_norm"]["mean"] == 10.0
    assert all(one["standard_deviation"] is None and one["interval"] is None for one in measures.values())
    outputs = found["groups"]["all"][0]["per_output"]
    assert outputs["absolute_deviation"]["mean"] == [6.0, 8.0]
    assert outputs["mean_absolute_deviation"]["interval"] == [None, None]


def test_a_measure_that_no_path_has() -> None:
    rows = [row(path, length=0.0, breakpoints=0, local_similarity=None) for path in range(5)]
    measures = summarize(rows)["groups"]["all"][0]["measures"]
    for name in ("density", "local_similarity", "mean_absolute_deviation_norm"):
        check_statistics(measures[name], [None] * 5)


def test_equal_figures_have_no_spread() -> None:
    # Rounding must not make a spread of the mean of equal numbers.
    rows = [row(path, length=0.7, absolute_deviation=[0.1, 0.1]) for path in range(7)]
    group = summarize(rows)["groups"]["all"][0]
    for one in group["measures"].values():
        assert one["standard_deviation"] == 0.0
        assert one["interval"] == [one["minimum"]] * 2 == [one["mean"]] * 2
    assert group["per_output"]["absolute_deviation"]["interval"] == [[0.1, 0.1]] * 2


def test_equal_figures_too_large_to_square_have_no_spread() -> None:
    lists = {name: [1e200, -1e200] for name in summary._EXACT_LISTS}
    group = summarize([row(path, **lists) for path in range(3)])["groups"]["all"][0]
    assert group["per_output"]["total_variation"]["standard_deviation"] == [0.0, 0.0]
    assert group["per_output"]["total_variation"]["interval"] == [[1e200] * 2, [-1e200] * 2]


def test_one_output() -> None:
    rows = [row(path, **{name: [path + 1.0] for name in summary._EXACT_LISTS}) for path in range(3)]
    found = summarize(rows)
    assert found["outputs"] == 1
    assert found["groups"]["all"][0]["measures"]["total_variation_norm"]["mean"] == 2.0


@pytest.mark.parametrize("wild", [math.inf, -math.inf, math.nan, 1e308, 1e200])
def test_figures_that_overflow_are_missing(wild: float) -> None:
    lists = {name: [wild, wild] for name in summary._EXACT_LISTS}
    rows = [row(0), row(1), row(2), *(row(3, segment, **lists) for segment in range(3))]
    group = summarize(rows)["groups"]["all"][0]
    assert group["measures"]["absolute_deviation_norm"]["missing"] == 1
    assert group["measures"]["absolute_deviation_norm"]["mean"] == 5.0
    if wild != 1e200:
        assert group["per_output"]["absolute_deviation"]["count"] == [3, 3]
    lengths = summarize([row(path, length=wild) for path in range(3)])
    assert lengths["totals"]["length"] in {None, 3 * wild}


# --- Bootstrap ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "confidence"), [(2, 0.95), (9, 0.5), (40, 0.95), (3000, 0.99)])
def test_interval_is_the_one_of_scipy(count: int, confidence: float) -> None:
    values = np.random.default_rng(1).lognormal(0, 1, (count, 3))
    low, high = summary.mean_interval(values, seed=5, resamples=1500, confidence=confidence)
    for column in range(3):
        expected = scipy.stats.bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=1500,
            batch=100,
            confidence_level=confidence,
            method="percentile",
            random_state=np.random.default_rng(5),
        ).confidence_interval
        assert (low[column], high[column]) == (near(expected.low), near(expected.high))


@pytest.mark.parametrize(("draw", "mean"), [("normal", 3.0), ("gamma", 4.0)])
def test_interval_covers_the_mean(draw: str, mean: float) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(3.0, 1.0, (60, 600)) if draw == "normal" else rng.gamma(4.0, 1.0, (60, 600))
    # 600 samples at once, each a column: the columns are resampled alike, but are independent.
    low, high = summary.mean_interval(values, resamples=1000)
    assert 0.92 < np.mean((low <= mean) & (mean <= high)) < 0.97
    low, high = summary.mean_interval(values, resamples=1000, confidence=0.5)
    assert 0.43 < np.mean((low <= mean) & (mean <= high)) < 0.57


def test_interval_depends_on_its_own_column_only() -> None:
    values = np.random.default_rng(3).normal(size=(50, 3000))
    low, high = summary.mean_interval(values, resamples=50)
    for column in (0, 1023, 1024, 2999):
        alone = summary.mean_interval(values[:, [column]], resamples=50)
        assert (alone[0][0], alone[1][0]) == (near(low[column]), near(high[column]))


def test_interval_of_a_small_spread_around_a_large_mean() -> None:
    small = np.random.default_rng(3).integers(-8, 9, (50, 1)) * 2.0**-20
    low, high = summary.mean_interval(small)
    shifted = summary.mean_interval(small + 2.0**20)
    assert shifted[0][0] - 2.0**20 == pytest.approx(low[0], abs=2.0**-31)
    assert shifted[1][0] - 2.0**20 == pytest.approx(high[0], abs=2.0**-31)


def test_interval_where_columns_lack_different_rows() -> None:
    rows = study(9)
    found = summarize(rows, seed=4)["groups"]["all"][0]["measures"]
    figures = [figures_of(segments) for segments in by_path(rows)]
    for name, one in found.items():
        there = np.array([[figure[name]] for figure in figures if figure[name] is not None], dtype=float)
        low, high = summary.mean_interval(there, seed=4, resamples=100)
        assert one["interval"] == [pytest.approx(low[0], rel=1e-9), pytest.approx(high[0], rel=1e-9)]
    assert len({one["missing"] for one in found.values()}) > 1


def test_the_seed_decides() -> None:
    rows = study(1)
    assert summarize(rows, seed=1) == summarize(rows, seed=1)
    first, second = (summarize(rows, seed=seed)["groups"]["all"][0]["measures"]["density"] for seed in (1, 2))
    assert first["interval"] != second["interval"]
    assert first["mean"] == second["mean"]


# --- Tests of differences -------------------------------------------------------------------------------------


def distance(first: Sequence[float], second: Sequence[float]) -> Fraction:
    """The largest difference of two distribution functions, by trying every value."""
    return max(
        abs(Fraction(sum(x <= at for x in first), len(first)) - Fraction(sum(x <= at for x in second), len(second)))
        for at in {*first, *second}
    )


def exact_probability(first: Sequence[float], second: Sequence[float]) -> Fraction:
    """How many of the ways to divide the pooled values have at least this distance."""
    pooled, seen = [*first, *second], distance(first, second)
    ways = list(itertools.combinations(range(len(pooled)), len(first)))
    beyond = 0
    for chosen in ways:
        others = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        beyond += distance([pooled[i] for i in chosen], others) >= seen
    return Fraction(beyond, len(ways))


@given(st.lists(st.integers(0, 1000), min_size=6, max_size=9, unique=True), st.integers(2, 4))
@settings(max_examples=15, deadline=None)
def test_kolmogorov_smirnov(regions: list[int], first: int) -> None:
    rows = [row(path, regions=one, split="a" if path < first else "b") for path, one in enumerate(regions)]
    [test] = [one for one in summarize(rows, resamples=2)["tests"] if one["measure"] == "regions"]
    assert (test["kind"], test["first"], test["second"]) == ("split", {"split": "a"}, {"split": "b"})
    assert (test["first_count"], test["second_count"]) == (first, len(regions) - first)
    assert test["statistic"] == near(float(distance(regions[:first], regions[first:])))
    assert test["p_value"] == near(float(exact_probability(regions[:first], regions[first:])))
    assert test["adjusted_p_value"] == test["p_value"]


def adjusted(probabilities: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg: the smallest rate at which a test is among those that are rejected."""
    total = len(probabilities)
    order = sorted(probabilities)
    return [
        min(1.0, *(order[rank] * total / (rank + 1) for rank in range(total) if order[rank] >= one))
        for one in probabilities
    ]


def test_every_comparison() -> None:
    rows = study(4, paths=120)
    found = summarize(rows)
    figures = {one[0]["path"]: figures_of(one) for one in by_path(rows)}
    firsts = {one[0]["path"]: one[0] for one in by_path(rows)}

    def values(fields: dict[str, Any], name: str) -> list[float]:
        chosen = []
        for path, first in firsts.items():
            if "pair" in fields:
                same = first["label"] == first["other_label"]
                fits = None not in (first["label"], first["other_label"]) and same == (fields["pair"] == "same class")
            else:
                fits = all(first[key] == value for key, value in fields.items())
            if fits and figures[path][name] is not None:
                chosen.append(figures[path][name])
        return chosen

    for name in found["measures"]:
        tests = [one for one in found["tests"] if one["measure"] == name]
        # Two splits; clean and corrupted of one split; two kinds of pairs; three classes.
        assert [one["kind"] for one in tests] == ["split", "split_and_corrupted", "pair", *["class"] * 3]
        for one in tests:
            first, second = values(one["first"], name), values(one["second"], name)
            assert (one["first_count"], one["second_count"]) == (len(first), len(second))
            assert one["statistic"] == near(float(distance(first, second)))
        expected = adjusted([one["p_value"] for one in tests])
        assert [one["adjusted_p_value"] for one in tests] == [near(one) for one in expected]
        assert tests[1]["first"] == {"split": "train", "corrupted": False}
        assert tests[1]["second"] == {"split": "train", "corrupted": True}


def test_labels_are_compared_within_a_split() -> None:
    rows = [row(path, split="ab"[path % 2], corrupted=path % 4 < 2) for path in range(16)]
    tests = [one for one in summarize(rows)["tests"] if one["measure"] == "regions" and one["kind"] != "split"]
    assert [(one["first"]["split"], one["second"]["split"]) for one in tests] == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize(("classes", "tests"), [(10, 45), (11, 11)])
def test_classes_are_compared_in_pairs_or_to_the_rest(classes: int, tests: int) -> None:
    rows = [row(path, regions=path, label=path % classes) for path in range(3 * classes)]
    rows.append(row(len(rows), regions=0))
    found = [one for one in summarize(rows)["tests"] if one["measure"] == "regions"]
    assert len(found) == tests
    if classes > 10:
        assert all(one["second"] == {"rest": True} for one in found)
        # A path whose class is not known belongs to no class, nor to the rest.
        assert {(one["first_count"], one["second_count"]) for one in found} == {(3, 3 * classes - 3)}
        others = [path for path in range(3 * classes) if path % classes != 0]
        assert found[0]["statistic"] == near(float(distance([0, classes, 2 * classes], others)))


def test_groups_of_one_are_not_compared() -> None:
    rows = [row(path, split="a" if path else "b") for path in range(5)]
    assert summarize(rows)["tests"] == []
    # Counted are the paths that have the figure.
    rows = [row(path, split="ab"[path % 2], length=0.0 if path == 1 else 1.0) for path in range(4)]
    assert "density" not in {one["measure"] for one in summarize(rows)["tests"]}
    assert "regions" in {one["measure"] for one in summarize(rows)["tests"]}


# --- Estimates ------------------------------------------------------------------------------------------------


def estimate(path: int, segment: int = 0, **others: Any) -> Row:
    plain = {name: value for name, value in row(path, segment).items() if name in ESTIMATES.names}
    plain |= {"fraction": 0.25, "breakpoints_seen": 5}
    for name in ESTIMATED:
        for suffix, value in (("", 4.0), ("_standard_error", 1.0), ("_low", 2.0), ("_high", 6.0)):
            plain[f"estimated_{name}{suffix}"] = value if name in {"regions", "density"} else [value, 2 * value]
    return plain | others


def estimates(paths: int = 40) -> list[Row]:
    rng = random.Random(1)
    return [
        estimate(
            path,
            segment,
            split="ab"[path % 2],
            length=0.0 if path == 7 else rng.uniform(1, 3),
            fraction=rng.choice([0.25, 0.5]),
            estimated_regions=rng.uniform(20, 30),
            estimated_regions_standard_error=rng.uniform(1, 3),
            estimated_total_variation=[rng.random(), rng.random()],
            estimated_absolute_deviation=[rng.random(), rng.random()],
        )
        for path in range(paths)
        for segment in range(2)
    ]


def test_estimates() -> None:
    rows = estimates()
    found = summarize(rows, ESTIMATES)
    assert found["estimated"] is True
    assert all(name.startswith("estimated_") for name in found["measures"])
    measures = found["groups"]["all"][0]["measures"]
    paths = by_path(rows)
    regions = [math.fsum(one["estimated_regions"] for one in segments) for segments in paths]
    lengths = [math.fsum(one["length"] for one in segments) for segments in paths]
    means = {
        name: [math.fsum(x for one in segments for x in one[name]) / 2 for segments in paths]
        for name in summary._ESTIMATE_LISTS
    }

    def per_length(figures: Sequence[float]) -> list[float | None]:
        return [one / length if length else None for one, length in zip(figures, lengths, strict=True)]

    check_statistics(measures["estimated_regions"], regions)
    check_statistics(measures["estimated_density"], per_length(regions))
    for name in ("total_variation", "slope_variation", "absolute_deviation"):
        check_statistics(measures[f"estimated_{name}_output_mean"], means[f"estimated_{name}"])
    deviation = per_length(means["estimated_absolute_deviation"])
    check_statistics(measures["estimated_mean_absolute_deviation_output_mean"], deviation)
    errors = [math.hypot(*(one["estimated_regions_standard_error"] for one in segments)) for segments in paths]
    rms = math.sqrt(statistics.fmean(error**2 for error in errors))
    assert measures["estimated_regions"]["estimation_standard_error"] == near(rms)
    shares = [error / length for error, length in zip(errors, lengths, strict=True) if length]
    rms = math.sqrt(statistics.fmean(share**2 for share in shares))
    assert measures["estimated_density"]["estimation_standard_error"] == near(rms)
    totals = found["totals"]
    assert "regions" not in totals
    assert totals["estimated_regions"] == near(math.fsum(regions))
    assert totals["estimated_regions_standard_error"] == near(math.hypot(*errors))
    assert totals["breakpoints_seen"] == 5 * 80
    walked = math.fsum(one["length"] * one["fraction"] for one in rows)
    assert totals["walked_fraction"] == near(walked / math.fsum(lengths))
    output = found["groups"]["all"][0]["per_output"]
    assert all(name.startswith("estimated_") for name in output)
    first = statistics.fmean(math.fsum(one["estimated_total_variation"][1] for one in segments) for segments in paths)
    assert output["estimated_total_variation"]["mean"][1] == near(first)


# --- Errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1), row(2), row(1)], "path 1 in two places"),
        ([row(1, 0), row(1, 0)], "segment 0 of path 1 after its segment 0"),
        ([row(1, 2), row(1, 1)], "segment 1 of path 1 after its segment 2"),
        ([row(1, 0, split="a"), row(1, 1, split="b")], "path 1 that differ in split"),
        ([row(0), row(1, 0, label=2), row(1, 1)], "path 1 that differ in label"),
        ([row(1, 0, corrupted=True), row(1, 1, corrupted=False)], "path 1 that differ in corrupted"),
        ([row(1, split=None)], "nulls in the column split"),
        ([row(1, regions=None)], "nulls in the column regions"),
        ([row(1, total_variation=None)], "different lengths in the column total_variation"),
        ([row(1), row(1, 1, total_variation=[1.0])], "different lengths in the column total_variation"),
        ([row(1, total_variation=[1.0])], "2 and 1 outputs"),
    ],
)
def test_tables_that_do_not_fit(rows: list[Row], message: str) -> None:
    with pytest.raises(InputError, match=message):
        summarize(rows)


def test_outputs_that_change_between_batches() -> None:
    with pytest.raises(InputError, match="2 and 1 outputs"):
        summarize([row(1), row(2, **{name: [1.0] for name in summary._EXACT_LISTS})], size=1)


@pytest.mark.parametrize("column", ["path", "segment", "split", "regions", "switches_by_node", "self_check_ok"])
def test_columns_that_are_missing(column: str) -> None:
    lacking = table([row(0)]).drop_columns([column])
    for source in (lacking.to_batches(), ds.dataset(lacking)):
        with pytest.raises(InputError, match=f"no column {column}"):
            summary.summarize(source)


def test_tables_that_change_between_batches() -> None:
    first, second = table([row(0)]), table([row(1)]).drop_columns(["regions"])
    with pytest.raises(InputError, match="no column regions"):
        summary.summarize([*first.to_batches(), *second.to_batches()])
    with pytest.raises(InputError, match="exact rows and estimates"):
        summary.summarize([*first.to_batches(), *table([estimate(1)], ESTIMATES).to_batches()])


def test_no_outputs() -> None:
    rows = [row(path, **{name: [] for name in summary._EXACT_LISTS}) for path in range(3)]
    assert summarize(rows)["outputs"] == 0
    found = summarize([estimate(0, **{name: [] for name in summary._ESTIMATE_LISTS})], ESTIMATES)
    assert found["groups"]["all"][0]["measures"]["estimated_total_variation_output_mean"]["missing"] == 1


def test_a_table_of_something_else() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        summary.summarize(table([row(0)]).set_column(9, "length", pa.array(["long"])).to_batches())


def test_a_damaged_file(tmp_path: Path) -> None:
    place = tmp_path / "0.parquet"
    pq.write_table(table(study()), place)
    whole = ds.dataset(place, format="parquet")
    content = place.read_bytes()
    place.write_bytes(content[:100] + bytes(len(content) // 2) + content[100 + len(content) // 2 :])
    with pytest.raises(InputError, match="cannot be read"):
        summary.summarize(whole)


@pytest.mark.parametrize(
    "options", [{"confidence": 0.0}, {"confidence": 1.0}, {"confidence": math.nan}, {"resamples": 0}, {"seed": -1}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=str(next(iter(options.values())))):
        summary.summarize([], **options)


# --- The report -----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(found: dict[str, Any], *titles: str, terminal: bool = False, monkeypatch: Any = None) -> str:
    stream: io.StringIO = io.StringIO()
    if terminal:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "xterm")
        stream = Terminal()
    report.print_to(stream, *report.summary_report(found, *titles))
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


@pytest.fixture(scope="module")
def wild_study() -> dict[str, Any]:
    """Everything as wide as it gets: long, hostile names and numbers with exponents."""
    rng = random.Random(0)
    rows = []
    for path in range(400):
        label = path % 100
        size = 10.0 ** rng.uniform(-300, -2)
        rows.append(
            row(
                path,
                split=["train", "\x1b[2Jvalidation-" + "w" * 90, "test"][path % 3],
                label=label,
                **{"class": f"[bold]\x1b]0;class {label}\x07 {'n' * label}\r\n"},
                corrupted=path % 7 < 3,
                other_label=path % 99,
                length=10.0 ** rng.uniform(-100, 100),
                regions=rng.randint(1, 10**15),
                local_similarity=-(10.0 ** rng.uniform(-300, 0)),
                switches_by_node={"\x1b[31m" + "m" * 100: 5},
                self_check_ok=path % 3 > 0,
                partial=path % 5 == 0,
                **{name: [size, size] for name in summary._EXACT_LISTS},
            )
        )
    return summarize(rows, size=1000)


def test_report_fits_80_columns(wild_study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = wild_study
    text = shown(found, "t" * 30 + " words" * 40, terminal=True, monkeypatch=monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert not re.search(r"[^\x20-\x7e\n─]", text)
    assert "and 80 more classes" in text
    # No digit of a number is cut off.
    words = set(text.split())
    for one in found["groups"]["all"][0]["measures"].values():
        figures = [one["mean"], one["standard_deviation"], one["quartiles"][1], *one["interval"]]
        assert {report.short(figure) for figure in figures} <= words
    for group in (*found["groups"]["split"], *found["groups"]["pair"]):
        assert {
            report.short(group["measures"][name]["mean"])
            for name in report._GROUP_MEASURES
            if name in group["measures"]
        } <= words
    assert {"absolute deviation", "linear per region"} <= {line[:18].strip() for line in text.splitlines()}


def test_report_of_names_that_terminals_would_obey(wild_study: dict[str, Any]) -> None:
    text = shown(wild_study, "\x1b[2J")
    assert not re.search(r"[^\x20-\x7e\n─]", text)
    assert ", ..." in text
    assert "class [bold]\\x1b]0;class 3\\x07 nnn\\r\\n" in text
    assert "\\x1b[31mmmm" in text


def test_report_of_a_small_study_fits_without_a_terminal() -> None:
    text = shown(summarize(study(3, paths=200)), "Study of digits.onnx")
    assert max(map(len, text.splitlines())) <= 80


def test_report_shows_the_figures() -> None:
    rows = study(3)
    found = summarize(rows)
    text = shown(found, "Study of digits.onnx")
    density = found["groups"]["all"][0]["measures"]["density"]
    low, high = density["interval"]
    quartiles = density["quartiles"]
    expected = [
        "density",
        f"{density['mean']:.4g}",
        f"{low:.4g} .. {high:.4g}",
        f"{density['standard_deviation']:.4g}",
        f"{quartiles[1]:.4g}",
    ]
    assert re.search(r"\s+".join(map(re.escape, expected)), text)
    assert "95 % interval" in text
    train = found["groups"]["split"][0]
    mean = train["measures"]["density"]["mean"]
    assert re.search(rf"train\s+{train['paths']}\s+{re.escape(f'{mean:.4g}')}", text)
    assert "PARTIAL" in text
    assert "FAILED" in text
    failed = found["totals"]["self_check"]["first_failed_paths"]
    assert f"failed on these paths: {failed[0]}, {failed[1]}, " in text
    assert f"density ({density['missing']})" in text
    assert "train: clean, corrupted" in text
    [test] = [one for one in found["tests"] if one["measure"] == "density" and one["kind"] == "split"]
    assert re.search(rf"density\s+train, test\s+{test['statistic']:.3f}\s", text)
    assert "ESTIMATE" not in text.upper()


def test_report_of_a_clean_study_raises_no_alarm() -> None:
    text = shown(summarize([row(path) for path in range(4)]))
    assert "PARTIAL" not in text
    assert "FAILED" not in text
    assert "Left out" not in text
    assert "between" not in text


def test_report_says_small_probabilities_as_such() -> None:
    rows = [row(path, regions=path, split="a" if path < 60 else "b") for path in range(120)]
    text = shown(summarize(rows))
    assert re.search(r"regions\s+a, b\s+1\.000\s+< 1e-6\s+< 1e-6", text)


def test_report_of_estimates_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = summarize(estimates(), ESTIMATES)
    text = shown(found, terminal=True, monkeypatch=monkeypatch)
    assert text.startswith("ESTIMATE: ")
    assert "estimated regions" in text
    assert re.search(r"ESTIMATE of\s+mean", text)
    assert re.search(r"ESTIMATE of\s+between", text)
    assert "ESTIMATED" in text
    assert max(map(len, text.splitlines())) <= 80


def test_reports_name_every_measure() -> None:
    names = {*summary._EXACT_MEASURES, *summary._ESTIMATE_MEASURES}
    assert report.MEASURES.keys() == names
    assert report._GROUP_MEASURES.keys() <= names
