"""Comparisons as their users run them: by the library and by the command line, in folders, interrupted, on workers."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_comparisons
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from strategies import Builder, Tensor
from walks import hand_walk

import lronnx
from lronnx import cli, comparison_report, jobs, matching, records, report, runs, side_by_side
from lronnx.comparison import compare_walks
from lronnx.correspondence import Correspondence
from lronnx.paths import Path as Along
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
        from lronnx import study

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


# --- Tiny networks, by hand -------------------------------------------------------------------------------------------

HIDDEN, BIAS = [[1, 0], [0, 1], [1, 1]], [0, 0.5, -0.25]
LAST = [[1, 1, 1], [1, -1, 0]]
AWAY = np.array([[-1.0, -1.0], [0.25, 0.5], [1.0, -0.75]])


def saved(path: Path, b: Builder, output: Tensor) -> Path:
    path.write_bytes(b.model(output).SerializeToString())
    return path


def small(path: Path, last: Any = LAST, hidden: Any = HIDDEN, bias: Any = BIAS, shift: Any = (0, 0)) -> Path:
    """Three units on a plane, two outputs."""
    b = Builder((2,))
    return saved(path, b, b.gemm(b.relu(b.gemm(b.input, hidden, bias)), last, shift))


def planned(models: Sequence[Path], paths: Sequence[np.ndarray[Any, Any]]) -> side_by_side.Plan:
    def made(network: lronnx.Network) -> Any:
        one = side_by_side.on_points(paths[0], False, Settings(), {"command": "none"}, network)
        every = tuple(Along(points.reshape(-1, *network.input_shape), False) for points in paths)
        return replace(one, paths=every, described={"family": "points", "numbers": np.concatenate(paths).tolist()})

    return side_by_side.plan(matching.load_models(list(models), threads=1), made)


def test_slopes_of_the_other_network_are_in_the_order_of_its_values(tmp_path: Path) -> None:
    """Outputs that are images, with their channels first and last."""
    rng = np.random.default_rng(0)
    weights, last = rng.normal(size=(5, 12)), rng.normal(size=(12, 5))
    b = Builder((3, 2, 2))
    x = b.gemm(b.relu(b.gemm(b.add("Flatten", [b.input], (1, 12)), weights)), last)
    first = saved(tmp_path / "chw.onnx", b, b.add("Reshape", [x, b.constant([1, 3, 2, 2], np.int64)], (1, 3, 2, 2)))
    b = Builder((2, 2, 3))
    x = b.add("Transpose", [b.input], (1, 3, 2, 2), perm=[0, 3, 1, 2])
    x = b.gemm(b.relu(b.gemm(b.add("Flatten", [x], (1, 12)), weights)), last)
    x = b.add("Reshape", [x, b.constant([1, 3, 2, 2], np.int64)], (1, 3, 2, 2))
    other = saved(tmp_path / "hwc.onnx", b, b.add("Transpose", [x], (1, 2, 2, 3), perm=[0, 2, 3, 1]))
    points = rng.normal(size=(3, 12))
    _, result = planned([first, other], [points]).run(str(tmp_path / "out"), Crew(1))
    assert result is not None
    assert result["pairs"][0]["verdict"] == "identical regions"
    one, two = (pq.read_table(tmp_path / "out" / "models" / name / "segments") for name in ("1-chw.onnx", "2-hwc.onnx"))
    for column in ("slope_variation", "total_variation", "absolute_deviation"):
        rows = np.array(one.column(column).to_pylist())
        np.testing.assert_allclose(np.array(two.column(column).to_pylist()), rows, rtol=1e-9, atol=1e-12)
        assert len(np.unique(rows.round(9), axis=1)[0]) == 12
    networks = [lronnx.load(path) for path in (first, other)]
    found = lronnx.compare(*networks, points.reshape(-1, 1, 3, 2, 2)).match
    mine = networks[0].walk_path(points.reshape(-1, 1, 3, 2, 2)).segments
    theirs = networks[1].walk_path(found.points(points.reshape(-1, 1, 3, 2, 2))).segments
    for walk, own in zip(side_by_side.aligned(mine, theirs, found), mine, strict=True):
        np.testing.assert_allclose(walk.slopes, own.slopes, rtol=1e-7, atol=1e-9)
        assert walk.length == own.length


def test_kept_differences_are_of_their_own_pair_path_and_output(tmp_path: Path) -> None:
    """Of three networks, where the second differs most on the last path, and the third on the one in the middle."""
    models = [
        small(tmp_path / "one.onnx"),
        small(tmp_path / "two.onnx", last=[[1, 1, 1], [1, -1.5, 0]]),
        small(tmp_path / "three.onnx", last=[[1, 1, 1], [1.75, -1, 0]]),
    ]
    paths = [
        np.array([[-1, -1], [0.5, 0.5], [1, 0.25]]),
        np.array([[-1, -1], [8, 1.0], [3, 1]]),
        np.array([[-1.0, -1], [1, 4], [2, -2]]),
    ]
    _, result = planned(models, paths).run(str(tmp_path / "out"), Crew(1))
    assert result is not None
    assert [pair["largest_at"]["path"] for pair in result["pairs"]] == [2, 1]
    networks = [lronnx.load(model) for model in models]
    for pair in result["pairs"]:
        at, number = pair["largest_at"], pair["other"]
        assert at["output"] == 1
        table = pq.read_table(tmp_path / "out" / "differences" / f"{number}.parquet")
        told = {key.decode().removeprefix("lronnx."): json.loads(text) for key, text in table.schema.metadata.items()}
        assert (told["path"], told["first"], told["other"]) == (at["path"], 1, number)
        points = paths[at["path"]]
        for row in table.to_pylist():
            start, end = points[row["segment"]], points[row["segment"] + 1]
            place = (start + row["t"] * (end - start)).reshape(networks[0].input_shape)
            for name, one in (("first", networks[0]), ("other", networks[number - 1])):
                np.testing.assert_allclose(row[name], one.evaluate(place).reshape(-1), rtol=1e-9, atol=1e-12)
        alone = lronnx.compare(networks[0], networks[number - 1], points).paths[0]
        assert told["allowed"] == pytest.approx(alone.allowed[:, 1].tolist(), rel=1e-9)
        # Outputs of another size have another rounding.
        assert told["allowed"] != pytest.approx(alone.allowed[:, 0].tolist(), rel=0.1)


def test_rounding_is_the_coarsest_and_moves_are_medians(tmp_path: Path) -> None:
    """A layer that is scaled by three and back, in float32."""
    first = made_comparisons.network(tmp_path / "first.onnx", width=8)
    other = made_comparisons.network(tmp_path / "other.onnx", width=8, scale=3.0)
    paths = [made_comparisons.points(1, seed=seed) for seed in range(3)]
    found = lronnx.compare(first, other, paths)
    assert found.rounding == found.pair["rounding"] == "float32"
    assert found.verdict == "identical regions"
    assert "rounding of numbers stored in float32" in comparison_report.verdict_text(found.json, found.pair)
    moves = []
    for points in paths:
        walks = [one.walk_path(points).segments for one in (first, other)]
        moves.append(np.concatenate([np.abs(a.t - b.t)[1:-1] for a, b in zip(*walks, strict=True)]))
        assert all(a.breakpoints == b.breakpoints > 3 for a, b in zip(*walks, strict=True))
    medians = [float(np.median(move)) for move in moves]
    assert found.pair["median_move"] == pytest.approx(float(np.median(medians)), rel=1e-6)
    assert found.pair["largest_move"] == pytest.approx(float(max(move.max() for move in moves)), rel=1e-6)
    assert len({f"{x:.3g}" for x in (*medians, *map(np.max, moves))}) == 6
    assert [one.correspondence.median_move for one in found.paths] == pytest.approx(medians, rel=1e-6)


def test_rows_of_a_pair_hold_its_figures() -> None:
    first = [hand_walk([[0, 1], [2, 0], [1, 1], [0, 3]])]
    other = [hand_walk([[0, 1], [2, 0.5], [1, 1], [0, 3], [1, 3]])]
    units = Correspondence(
        switches=(4, 6),
        matched=3,
        largest_move=0.5,
        median_move=0.25,
        grazing=(1, 2),
        unmatched=({"a": 5}, {"b": 7, "c": 8}),
        nodes={"a": {"b": 2, "c": 1}},
        one_to_one=False,
    )
    found = replace(compare_walks(first, other, nodes=((), ())), correspondence=units)
    assert found.largest_at is not None
    assert found.parts_at is not None
    assert found.breakpoints == (2, 3)
    assert found.allowed[0, 0] != found.allowed[0, 1]
    [row] = records.compared(7, {3: found}).to_pylist()
    assert row == {
        "path": 7,
        "other": 3,
        "verdict": "different",
        "rounding": None,
        "length": 2.0,
        "breakpoints_first": 2,
        "breakpoints_other": 3,
        "union_breakpoints": found.union_breakpoints,
        "largest_difference": found.largest_difference,
        "largest_at": asdict(found.largest_at),
        "size": found.size,
        "allowed": float(found.allowed.max()),
        "parts_at": asdict(found.parts_at),
        "difference_integral": found.difference_integral.tolist(),
        "switches_first": 4,
        "switches_other": 6,
        "matched_switches": 3,
        "largest_move": 0.5,
        "median_move": 0.25,
        "one_to_one": False,
        "grazing_first": 1,
        "grazing_other": 2,
        "unmatched_first": [("a", 5)],
        "unmatched_other": [("b", 7), ("c", 8)],
        "nodes": [("a", [("b", 2), ("c", 1)])],
    }


def test_breakpoints_are_each_networks_own(tmp_path: Path) -> None:
    models = [small(tmp_path / "one.onnx"), small(tmp_path / "two.onnx", bias=[5, 0.5, -0.25])]
    found = lronnx.compare(*models, [AWAY, AWAY + 0.125])
    own = [
        sum(walk.breakpoints for points in (AWAY, AWAY + 0.125) for walk in one.walk_path(points).segments)
        for one in map(lronnx.load, models)
    ]
    assert found.pair["breakpoints"] == own
    assert own[0] > own[1] > 0


def test_paths_of_different_length_are_compared_in_part() -> None:
    whole = hand_walk([[0, 1], [2, 0]], nodes=())
    assert not compare_walks([whole, whole], [whole, whole], nodes=((), ())).partial
    for first, other in (([whole, whole], [whole]), ([whole], [whole, whole])):
        assert compare_walks(first, other, nodes=((), ())).partial


def test_up_to_a_hundredth_rounding_is_asked() -> None:
    def at(end: float) -> Any:
        return [hand_walk([[0.0], [end]], nodes=())]

    def rounding(end: float) -> str | None:
        # Twins that are as far from what they are twins of.
        return compare_walks(
            at(1.0), at(end), nodes=((), ()), twin=lambda side, seed: at((1.0, end)[side] + 0.02)
        ).rounding

    assert rounding(1.0095) == "float32"
    assert rounding(1.0015) == "float32"
    assert rounding(1.0105) is None


def test_a_rounded_twin_has_neighbouring_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(6, 5)) * 10.0 ** rng.integers(-3, 4, (6, 5))).astype(np.float32)
    weights[2, 3] = 0.0
    b = Builder((5,))
    network = lronnx.load(saved(tmp_path / "linear.onnx", b, b.gemm(b.input, weights)))
    found = [
        np.stack([network.rounded(seed).evaluate(point).reshape(-1) for point in np.eye(5)], axis=1) for seed in (0, 1)
    ]
    for twin in found:
        # Of a single weight, in double precision: its value.
        steps = (twin - weights.astype(np.float64)) / np.spacing(np.abs(weights)).astype(np.float64)
        assert steps[2, 3] == 0.0
        steps[2, 3] = 1.0
        assert set(steps.reshape(-1).tolist()) == {-1.0, 1.0}
    assert (found[0] != found[1]).any()


def verdict(first: Path, other: Path, paths: Any) -> str:
    found = lronnx.compare(first, other, paths)
    return comparison_report.verdict_text(found.json, found.pair)


def test_on_how_many_paths_outputs_differ_is_told(tmp_path: Path) -> None:
    first, other = small(tmp_path / "one.onnx"), small(tmp_path / "two.onnx", last=[[1, 1, 1], [1, -1.5, 0]])
    # Where the second unit is off, both are the same.
    off, on = np.array([[-1.0, -1], [2, -0.75]]), np.array([[-1, -1], [1, 2.0]])
    told = "the outputs differ by more than rounding explains"
    all_the_same = " All the same, their activation regions correspond one to one: the same units switch."
    assert verdict(first, other, [off, on, on + 0.5]) == f"On these 3 paths {told} on 2 of them.{all_the_same}"
    assert verdict(first, other, [on, on + 0.5]) == f"On these 2 paths {told} on all of them.{all_the_same}"
    assert verdict(first, other, [on]) == f"On this path {told}.{all_the_same}"
    # Another unit that switches elsewhere.
    moved = small(tmp_path / "three.onnx", bias=[0, 0.5, 9])
    assert verdict(first, moved, [on]) == f"On this path {told}."


def test_where_no_unit_switches_it_is_told(tmp_path: Path) -> None:
    models = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for path, factor in zip(models, (1.0, 2.0), strict=True):
        b = Builder((2,))
        saved(path, b, b.gemm(b.gemm(b.input, np.eye(2) * factor), np.array(LAST)[:, :2] / factor))
    told = "On this path both are the same function: their outputs differ by no more than rounding in double precision."
    assert verdict(*models, [AWAY]) == f"{told} No unit switches: each path is a single region of both."


def test_units_that_stand_for_several_are_told(tmp_path: Path) -> None:
    """A unit that switches at -1 and at 1, and two units of which each switches at one of these."""
    b = Builder((1,))
    size = b.add("Abs", [b.input], (1, 1))
    first = saved(tmp_path / "one.onnx", b, b.sum(size, b.relu(b.gemm(size, [[1]], [-1]))))
    b = Builder((1,))
    size = b.add("Abs", [b.input], (1, 1))
    outside = b.gemm(b.relu(b.gemm(b.input, [[1], [-1]], [-1, -1])), [[1, 1]])
    other = saved(tmp_path / "two.onnx", b, b.sum(size, outside))
    found = lronnx.compare(first, other, np.array([[-2.0], [3.0]]))
    assert found.verdict == "same function, different units"
    assert found.pair["unmatched_by_node"] == [{}, {}]
    told = "All switches are at the same places, but belong to other units: one stands for several of the other."
    assert comparison_report.verdict_text(found.json, found.pair).endswith(f"in double precision. {told}")
    # A unit of no effect has no counterpart.
    b = Builder((1,))
    size = b.add("Abs", [b.input], (1, 1))
    inside = b.gemm(b.relu(b.gemm(size, [[1], [1]], [-1, -2])), [[1, 0]])
    other = saved(tmp_path / "three.onnx", b, b.sum(size, inside))
    told = "But some units that switch have no counterpart that switches at the same places."
    assert verdict(first, other, np.array([[-2.5], [3.0]])).endswith(f"in double precision. {told}")


@pytest.mark.parametrize("failing", [(True, True), (True, False), (False, True), (False, False)])
def test_the_library_tells_of_failed_self_checks(
    failing: tuple[bool, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [small(tmp_path / "one.onnx"), small(tmp_path / "two.onnx")]
    original = lronnx.Network.walk_path

    def broken(self: lronnx.Network, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        if not failing[self.name == "two.onnx"]:
            return found
        return replace(
            found,
            segments=tuple(
                replace(one, self_check=replace(one.self_check, contradictions=3)) for one in found.segments
            ),
        )

    monkeypatch.setattr(lronnx.Network, "walk_path", broken)
    found = lronnx.compare(*models, AWAY)
    assert found.ok is not any(failing)
    told = ", SELF-CHECK FAILED" if any(failing) else ""
    assert repr(found) == f"<lronnx.Comparison: identical regions, outputs differ by up to 0{told}>"


def test_seconds_are_each_networks_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small(tmp_path / "one.onnx"), small(tmp_path / "two.onnx", bias=[0, 0.5, 0]), small(tmp_path / "x.onnx")]
    clock = [0.0]
    taken = {"one.onnx": 1.0, "two.onnx": 20.0, "x.onnx": 300.0}
    original = jobs.Walking.segments

    def slow(self: jobs.Walking, *arguments: Any) -> Any:
        clock[0] += taken[self.network.name]
        return original(self, *arguments)

    monkeypatch.setattr(jobs.Walking, "segments", slow)
    monkeypatch.setattr(side_by_side, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    ended, result = planned(models, [AWAY, AWAY + 0.125]).run(str(tmp_path / "out"), Crew(1))
    assert result is not None
    found = [runs.read(folder).seconds for folder in side_by_side.run_folders(str(tmp_path / "out"))]
    assert found == [2.0, 40.0, 600.0]
    # With what comparing them takes.
    assert ended.seconds >= sum(taken.values()) * 2
