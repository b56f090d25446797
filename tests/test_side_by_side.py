"""Comparisons as their users run them: by the library and by the command line, in folders, interrupted, on workers."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from strategies import Builder

import lronnx
from lronnx import cli, comparison_report, report, runs, side_by_side
from lronnx.study import Crew, Progress, Settings
from lronnx.walker import Stop

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"
MODEL, DATA, POINTS = EXAMPLE / "digits.onnx", EXAMPLE / "digits_data.npz", EXAMPLE / "digits.npz"
# Circles of one pixel around few samples, walked by this process: another takes a second to begin.
QUICK = ("--radius", "1", "--anchors", "3", "--workers", "1")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, ["compare", *(str(a) for a in arguments)])
    assert result.exit_code == code, result.stderr
    return result


def changed(model: Path, target: Path, change: Any) -> Path:
    """A copy of a model whose largest weight was given to ``change`` as a writable array."""
    loaded = onnx.load(model)
    weights = max(loaded.graph.initializer, key=lambda one: numpy_helper.to_array(one).size)
    array = numpy_helper.to_array(weights).copy()
    change(array)
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))
    onnx.save(loaded, target)
    return target


def nudge(array: np.ndarray[Any, Any]) -> None:
    array.reshape(-1)[array.size // 3] += 1e-3


@pytest.fixture(scope="module")
def nudged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded network with one weight changed by 1e-3."""
    return changed(MODEL, tmp_path_factory.mktemp("nudged") / "nudged.onnx", nudge)


@pytest.fixture(scope="module")
def folder(nudged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both compared on six paths."""
    target = tmp_path_factory.mktemp("compared") / "out"
    printed = run(MODEL, nudged, "--data", DATA, "--samples", 3, *QUICK, "-o", target, "--json").stdout
    assert json.loads(printed) == json.loads((target / "comparison.json").read_text())
    return target


@pytest.fixture
def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return found


def numbers(value: Any) -> list[float]:
    """All numbers in JSON."""
    if isinstance(value, dict):
        return [x for one in value.values() for x in numbers(one)]
    if isinstance(value, list | tuple):
        return [x for one in value for x in numbers(one)]
    return [value] if isinstance(value, float) else []


def test_a_network_is_itself() -> None:
    result = json.loads(run(MODEL, MODEL, "--points", POINTS, "--json").stdout)
    [pair] = result["pairs"]
    assert pair["verdict"] == "identical regions"
    assert pair["rounding"] == "double"
    assert pair["largest_difference"] == 0.0
    assert pair["one_to_one"]
    assert pair["matched_switches"] == pair["switches"][0] == pair["switches"][1]
    assert pair["union_breakpoints"] == pair["breakpoints"][0] > 100
    assert [model["label"] for model in result["models"]] == ["digits.onnx (1)", "digits.onnx (2)"]
    for figures in pair["measures"].values():
        assert figures["difference"] == 0.0
        assert figures["larger"] == 0.5
    assert all(map(math.isfinite, numbers(result)))


def test_the_library_returns_what_the_command_prints(nudged: Path) -> None:
    printed = json.loads(run(MODEL, nudged, "--points", POINTS, "--json").stdout)
    with np.load(POINTS) as arrays:
        ends = np.stack([arrays["start"], arrays["end"]])
    for paths in (ends, [ends], [list(ends)]):
        found = lronnx.compare(MODEL, nudged, paths)
        returned = json.loads(json.dumps(found.json, allow_nan=False))
        for one in (printed, returned):
            one.pop("described", None)
        assert numbers(returned) == pytest.approx(numbers(printed), rel=1e-6, abs=1e-9)
        assert found.verdict == printed["pairs"][0]["verdict"] == "different"
        assert found.rounding is None
        assert len(found.paths) == 1
        assert found.paths[0].largest_difference == found.largest_difference
        assert "different" in repr(found)


def test_figures_of_a_pair_are_those_of_its_paths(folder: Path, result: dict[str, Any]) -> None:
    [pair] = result["pairs"]
    rows = [
        row for part in sorted((folder / "pairs" / "segments").iterdir()) for row in pq.read_table(part).to_pylist()
    ]
    assert [row["path"] for row in rows] == list(range(6))
    assert pair["largest_difference"] == max(row["largest_difference"] for row in rows)
    assert pair["breakpoints"][1] == sum(row["breakpoints_other"] for row in rows)
    parted = [row["path"] for row in rows if row["parts_at"] is not None]
    assert pair["paths_parted"] == len(parted) > 0
    assert pair["parts_at"]["path"] == parted[0]
    assert pair["parts_at"]["t"] == rows[parted[0]]["parts_at"]["t"]
    total = np.linalg.norm(np.sum([row["difference_integral"] for row in rows], axis=0))
    assert pair["mean_difference"] == pytest.approx(total / result["length"])
    # Each network's folder is one of lronnx analyze, whose figures are the network's own.
    read = [runs.read(str(folder / "models" / name)) for name in ("1-digits.onnx", "2-nudged.onnx")]
    for run_, model in zip(read, result["models"], strict=True):
        assert run_.summary["totals"]["regions"] == model["regions"]
        assert run_.summary["groups"]["all"][0]["measures"]["density"]["mean"] == model["measures"]["density"]["mean"]
    difference = read[1].paths["density"] - read[0].paths["density"]
    assert pair["measures"]["density"]["difference"] == pytest.approx(difference.mean())
    # What is kept for pictures attains the largest difference where it is told.
    table = pq.read_table(folder / "differences" / "2.parquet")
    assert json.loads(table.schema.metadata[b"lronnx.path"]) == pair["largest_at"]["path"]
    first, other = (np.array(table.column(name).to_pylist()) for name in ("first", "other"))
    gaps = np.abs(first - other)
    assert gaps.max() == pair["largest_difference"]
    at = np.unravel_index(gaps.argmax(), gaps.shape)
    place = pair["largest_at"]
    assert (place["segment"], place["t"]) == tuple(table.column(name)[at[0]].as_py() for name in ("segment", "t"))
    assert place["output"] == at[1]


def test_one_unit_of_length_for_all(tmp_path: Path) -> None:
    """A network that takes pixels as they are, and the same one that takes them divided by 255."""
    shares = tmp_path / "shares.onnx"
    b = Builder((4,))
    weights, last = [[1, -1, 0.5, 2], [0.5, 1, -1, 0.25], [-1, 0.25, 1, 1]], [[1, 1, -1], [0, 2, 1]]
    hidden = b.relu(b.gemm(b.input, weights, [-0.5, 0.25, -0.5]))
    shares.write_bytes(b.model(b.gemm(hidden, last)).SerializeToString())
    whole = tmp_path / "whole.onnx"
    b = Builder((4,))
    scaled = np.asarray(weights) / np.float32(256)
    hidden = b.relu(b.gemm(b.input, scaled, [-0.5, 0.25, -0.5]))
    whole.write_bytes(b.model(b.gemm(hidden, last)).SerializeToString())
    points = tmp_path / "points.npy"
    np.save(points, np.array([[0, 250, 10, 3], [255, 0, 80, 200], [3, 90, 255, 0]], np.uint8))
    told = run(shares, whole, "--points", points, "--scale", "1=1/256", "--scale", "2=1", "--json").stdout
    result = json.loads(told)
    one, two = result["models"]
    assert result["pairs"][0]["verdict"] == "identical regions"
    assert one["regions"] == two["regions"] > 2
    assert one["measures"]["density"]["mean"] == pytest.approx(two["measures"]["density"]["mean"], rel=1e-12)
    # The other way round, lengths are of the other's input.
    back = json.loads(run(whole, shares, "--points", points, "--scale", "1=1", "--scale", "2=1/256", "--json").stdout)
    assert back["length"] == pytest.approx(256 * result["length"])
    assert back["pairs"][0]["verdict"] == "identical regions"


def test_the_other_networks_lengths_are_the_firsts(folder: Path) -> None:
    lengths = [
        pq.read_table(folder / "models" / name / "segments").column("length").to_pylist()
        for name in ("1-digits.onnx", "2-nudged.onnx")
    ]
    assert lengths[0] == lengths[1]


def test_an_interrupted_comparison_goes_on(tmp_path: Path, nudged: Path) -> None:
    def planned() -> side_by_side.Plan:
        from lronnx import matching, study

        loaded = matching.load_models([MODEL, nudged], threads=1)
        return side_by_side.plan(
            loaded,
            lambda network: study.plan(network, str(DATA), samples=2, radius=1.0, anchors=3, settings=Settings()),
        )

    undisturbed, broken = str(tmp_path / "one"), str(tmp_path / "two")
    _, expected = planned().run(undisturbed, Crew(1))
    assert expected is not None
    done = 0

    def progress(found: Progress) -> None:
        nonlocal done
        done = found.done

    for limit in (1, 2):
        ended, result = planned().run(
            broken, Crew(1), progress=progress, stop=lambda limit=limit: Stop.SOON if done >= limit else Stop.NO
        )
        assert result is None
        assert ended.interrupted
        assert ended.done == limit
    # One of the folders has lost a path that the others have.
    journal = next((tmp_path / "two" / "models" / "2-nudged.onnx" / "journal").iterdir())
    journal.unlink()
    ended, result = planned().run(broken, Crew(2))
    assert result == expected
    for part in ("models/1-digits.onnx", "models/2-nudged.onnx", "pairs"):
        one, two = (
            {p.name: p.read_bytes() for p in (tmp_path / x / part / "segments").iterdir()} for x in ("one", "two")
        )
        assert one == two
    # Nothing is left to do, and nothing changes.
    ended, result = planned().run(broken, Crew(1))
    assert (ended.resumed, result) == (4, expected)


def test_a_folder_of_something_else_is_left_alone(nudged: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    told = run(nudged, MODEL, "--points", POINTS, "-o", folder, code=2).stderr
    assert "belongs to another study" in told
    # Nor is a place inside of a run folder one for another.
    told = run(MODEL, nudged, "--points", POINTS, "-o", folder / "pairs", code=2).stderr
    assert "run folder" in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_three_models(tmp_path: Path, nudged: Path) -> None:
    other = changed(MODEL, tmp_path / "scaled.onnx", lambda array: np.multiply(array, 1.5, out=array))
    text = run(MODEL, nudged, other, "--data", DATA, "--samples", 1, *QUICK, "-o", tmp_path / "out").stdout
    assert "nudged.onnx against digits.onnx: different" in text
    assert "scaled.onnx against digits.onnx: different" in text
    result = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(pair["first"], pair["other"]) for pair in result["pairs"]] == [(1, 2), (1, 3)]
    assert [model["number"] for model in result["models"]] == [1, 2, 3]
    near, far = result["pairs"]
    assert far["largest_difference"] > 100 * near["largest_difference"]
    assert sorted(path.name for path in (tmp_path / "out" / "differences").iterdir()) == ["2.parquet", "3.parquet"]


def test_text_tells_what_the_json_does(result: dict[str, Any]) -> None:
    [pair] = result["pairs"]
    stream = io.StringIO()
    report.print_to(stream, *comparison_report.comparison_report(result))
    text = stream.getvalue()
    assert all(len(line) <= 95 for line in text.splitlines())
    assert f"{pair['largest_difference']:.2g}" in text
    assert f"{pair['union_breakpoints']} in the union" in text
    place = pair["largest_at"]
    where = f" +t, on segment {place['segment']} of path {place['path']}\n"
    assert re.search(re.escape(f"{place['t']:.6g}") + where, text)
    assert f"output {place['output']}: {place['first']:.6g} and {place['other']:.6g}" in text
    shown = {row[0]: row for row in comparison_report.paired_rows(pair)}
    for name, figures in pair["measures"].items():
        row = shown[report.MEASURES[name]]
        assert row[-1] == f"{100 * figures['larger']:.3g} %"
        assert re.search(r"\s+".join(map(re.escape, row)), text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MODEL,), "at least two models"),
        ((MODEL, MODEL), "either --data, or --points"),
        ((MODEL, MODEL, "--data", DATA, "--points", POINTS), "either --data, or --points"),
        ((MODEL, MODEL, "--start", POINTS), "both --start and --end"),
        ((MODEL, MODEL, "--points", POINTS, "--samples", 3), "--samples"),
        ((MODEL, MODEL, "--points", POINTS, "--start", POINTS, "--end", POINTS), "either --points"),
    ],
)
def test_wrong_usage_is_told(arguments: Sequence[object], message: str) -> None:
    assert message in run(*arguments, code=2).stderr


def test_a_failed_self_check_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    original = lronnx.Network.walk_path

    def broken(self: lronnx.Network, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        segments = tuple(
            replace(walk, self_check=replace(walk.self_check, contradictions=3)) for walk in found.segments
        )
        return replace(found, segments=segments)

    monkeypatch.setattr(lronnx.Network, "walk_path", broken)
    told = run(MODEL, MODEL, "--points", POINTS, code=5)
    assert "self-check failed for digits.onnx (1), digits.onnx (2)" in told.stderr


def test_labels_are_unique_and_short() -> None:
    assert side_by_side.labels(["a/x.onnx", "b/y.onnx"]) == ["x.onnx", "y.onnx"]
    assert side_by_side.labels(["a/x.onnx", "b/x.onnx", "b/y.onnx"]) == ["a/x.onnx", "b/x.onnx", "y.onnx"]
    assert side_by_side.labels(["x.onnx", "b/x.onnx"]) == ["x.onnx", "b/x.onnx"]
    assert side_by_side.labels(["x.onnx", "x.onnx"]) == ["x.onnx (1)", "x.onnx (2)"]


def test_paths_of_equal_points_are_compared(tmp_path: Path) -> None:
    """All translations of a constant image are the same image: segments without length, and no regions."""
    data = tmp_path / "images.npy"
    np.save(data, np.full((1, 8, 8), 7, np.uint8))
    nudged = changed(MODEL, tmp_path / "nudged.onnx", nudge)
    arguments = (MODEL, nudged, "--data", data, *QUICK, "--scale", "1/16", "-o", tmp_path / "out")
    result = json.loads(run(*arguments, "--json").stdout)
    [pair] = result["pairs"]
    assert (result["length"], pair["breakpoints"], pair["mean_difference"]) == (0.0, [0, 0], None)
    point = np.full((1, 1, 8, 8), 7 / 16)
    gap = np.abs(lronnx.load(MODEL).evaluate(point) - lronnx.load(nudged).evaluate(point))
    assert pair["largest_difference"] == pytest.approx(gap.max(), rel=1e-9)
    assert (pair["largest_at"]["t"], pair["largest_at"]["output"]) == (0.0, int(gap.argmax()))
    assert pair["measures"]["density"]["count"] == 0
    assert pair["measures"]["regions"]["ratio"] is None


def test_measures_are_those_of_analyze(folder: Path, tmp_path: Path) -> None:
    arguments = ["analyze", MODEL, "--data", DATA, "--samples", 3, *QUICK, "-o", tmp_path / "alone", "--exhibits", 0]
    assert CliRunner().invoke(cli.main, [str(a) for a in arguments]).exit_code == 0
    one, two = (runs.read(str(path)) for path in (folder / "models" / "1-digits.onnx", tmp_path / "alone"))
    assert one.summary["totals"] == two.summary["totals"]
    assert set(one.paths) == set(two.paths)
    for measure, values in one.paths.items():
        assert np.array_equal(values, two.paths[measure], equal_nan=values.dtype.kind == "f"), measure
