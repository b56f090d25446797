"""Studies as their users run them: rows against single walks, interruptions of every kind, any number of workers."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from budget import examples
from click.testing import CliRunner, Result
from PIL import Image

import lronnx
from lronnx import cli, estimates, inputs, paths, records, study
from lronnx.data import open_data
from lronnx.jobs import Job, Task, Walking
from lronnx.preprocessing import Preprocessing
from lronnx.walker import Stop

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"
MODEL, DATA = EXAMPLE / "digits.onnx", EXAMPLE / "digits_data.npz"
# Circles of one pixel: short paths.
QUICK = ("--radius", "1", "--anchors", "4")


def run(*arguments: object, code: int = 0) -> Result:
    # Exhibits are tested in test_runs.py, and where runs are killed.
    few = () if "--estimate" in arguments else ("--exhibits", "0")
    result = CliRunner().invoke(cli.main, ["analyze", *(str(a) for a in (*arguments, *few))])
    assert result.exit_code == code, result.stderr
    return result


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lronnx", "analyze", *(str(a) for a in arguments)]


def content(folder: Path, *parts: str) -> dict[str, bytes]:
    """Everything that must not depend on who walked, and when."""
    found = {f"{part}/{path.name}": path.read_bytes() for part in parts for path in sorted((folder / part).iterdir())}
    return found | {"summary": (folder / "summary.json").read_bytes()}


def table(folder: Path) -> pa.Table:
    return pyarrow.dataset.dataset(folder / "segments").to_table()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 paths without interruptions, by this process."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    run("-o", folder, "--samples", 12, *QUICK, "--workers", 1, "--regions")
    return folder


def test_rows_are_the_figures_of_single_walks(straight: Path) -> None:
    rows = table(straight).to_pylist()
    assert len(rows) == 24 * 4
    network = lronnx.load(MODEL, threads=1)
    data = open_data(DATA).select(samples=12)
    assert sorted({(row["split"], row["index"]) for row in rows}) == sorted(
        zip(data.split.tolist(), data.index.tolist(), strict=True)
    )
    with np.load(DATA) as arrays:
        for path in (0, 7, 13, 23):
            mine = [row for row in rows if row["path"] == path]
            split, index = mine[0]["split"], mine[0]["index"]
            image = arrays[f"x_{split}"][index]
            # One pixel to the right, down, left and up, edges repeated.
            padded = np.pad(image, 1, mode="edge")
            moves = [(0, 1), (1, 0), (0, -1), (-1, 0)]
            anchors = np.stack([padded[1 - d : 9 - d, 1 - r : 9 - r] for d, r in moves])
            walked = network.walk_path(anchors.reshape(4, 1, 1, 8, 8) / 16, closed=True, memory=study.MEMORY)
            assert [row["segment"] for row in mine] == [0, 1, 2, 3]
            for row, walk in zip(mine, walked.segments, strict=True):
                assert row["label"] == arrays[f"y_{split}"][index]
                assert row["corrupted"] is None
                assert row["other_index"] is None
                assert row["regions"] == walk.regions
                assert row["linear_regions"] == walk.linear_regions
                assert row["breakpoints"] == walk.breakpoints
                assert row["switches"] == walk.switch_count
                assert dict(row["switches_by_node"]) == walk.switches_by_node
                check_switches(row, walk)
                assert row["length"] == walk.length
                assert row["density"] == walk.density
                assert row["smallest_region"] == walk.smallest_region
                assert row["local_similarity"] == walk.local_similarity
                assert row["decision_changes"] == len(walk.decision_changes)
                assert row["absolute_deviation_norm"] == walk.absolute_deviation_norm
                for name in (
                    "absolute_deviation",
                    "absolute_deviation_bound",
                    "total_variation",
                    "end_to_end_variation",
                    "slope_variation",
                ):
                    assert row[name] == getattr(walk, name).tolist()
                assert (row["covered"], row["partial"]) == (1.0, False)
                assert row["self_check_ok"]
                assert row["max_value_error"] == walk.self_check.max_value_error
                assert row["forward_passes"] == walk.forward_passes


def check_switches(row: dict[str, Any], walk: lronnx.Walk) -> None:
    """The switches of a row by unit and by place, counted one by one."""
    units: Counter[tuple[str, int]] = Counter()
    places: Counter[tuple[str, int]] = Counter()
    for t, together in zip(walk.t[1:-1].tolist(), walk.switches, strict=True):
        for switch in together:
            units[switch.node, switch.unit] += 1
            places[switch.node, next(i for i in range(records.PLACES) if t < (i + 1) / records.PLACES)] += 1
    assert units
    by_unit = {
        (node, unit): count
        for node, found in row["switches_by_unit"]
        for unit, count in zip(found["unit"], found["switches"], strict=True)
    }
    by_place = {(node, i): count for node, found in row["switches_by_place"] for i, count in enumerate(found) if count}
    assert (by_unit, by_place) == (units, places)
    assert all(len(found) == records.PLACES for _, found in row["switches_by_place"])
    assert [node for node, _ in row["switches_by_unit"]] == sorted(walk.switches_by_node)


def test_regions_are_those_that_walk_writes(straight: Path, tmp_path: Path) -> None:
    name = next(path for path in (straight / "regions").iterdir() if path.name.startswith("path-000005-"))
    found = pq.read_table(name)
    row = table(straight).filter(pa.compute.field("path") == 5).to_pylist()[0]
    with np.load(DATA) as arrays:
        image = arrays[f"x_{row['split']}"][row["index"]]
    padded = np.pad(image, 1, mode="edge")
    anchors = np.stack([padded[1 - d : 9 - d, 1 - r : 9 - r] for d, r in [(0, 1), (1, 0), (0, -1), (-1, 0)]])
    np.save(tmp_path / "points.npy", anchors.reshape(4, 1, 8, 8) / 16)
    network = lronnx.load(MODEL, threads=1)
    walked = network.walk_path(np.load(tmp_path / "points.npy"), closed=True, memory=study.MEMORY)
    assert found.num_rows == walked.regions
    assert found.column("t_start").to_pylist() == [t for walk in walked.segments for t in walk.t[:-1].tolist()]
    told = {key.decode(): value.decode() for key, value in found.schema.metadata.items()}
    assert told["lronnx.model"] == "digits.onnx"
    assert json.loads(told["lronnx.options"])["paths"]["radius"] == 1
    assert json.loads(told["lronnx.closed"]) is True


def test_the_manifest_says_what_was_done(straight: Path) -> None:
    manifest = json.loads((straight / "manifest.json").read_text())
    assert manifest["paths"] == 24
    assert manifest["study"]["model"]["sha256"] == lronnx.load(MODEL).sha256
    assert manifest["study"]["paths"]["family"] == "closed"
    assert manifest["study"]["paths"]["data"]["samples"] == {"train": 12, "test": 12}
    assert manifest["study"]["walk"]["precision"] == "double"
    assert manifest["chosen"]["rates"], "how convolutions are lowered must not depend on the worker's machine"
    assert {"lronnx", "numpy", "onnxruntime", "pyarrow", "python"} <= manifest["sessions"][0]["environment"].keys()
    times = pyarrow.dataset.dataset(straight / "times").to_table()
    assert sorted(times.column("path").to_pylist()) == list(range(24))
    assert min(times.column("seconds").to_pylist()) > 0


def test_the_same_command_again_walks_nothing(straight: Path) -> None:
    before = content(straight, "segments", "regions", "times")
    result = run("-o", straight, "--samples", 12, *QUICK, "--workers", 1, "--regions")
    assert "0 paths walked" in result.stderr
    assert "24 were there already" in result.stderr
    assert "density" in result.stdout
    assert content(straight, "segments", "regions", "times") == before


@pytest.mark.parametrize("crew", [("--workers", 2), ("--workers", 3), ("--cluster", "local", "--workers", 2)])
def test_whoever_walks_the_rows_are_the_same(straight: Path, tmp_path: Path, crew: tuple[Any, ...]) -> None:
    run("-o", tmp_path / "run", "--samples", 12, *QUICK, "--regions", *crew)
    assert content(tmp_path / "run", "segments", "regions") == content(straight, "segments", "regions")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of somebody else: one worker of two threads."""
    import distributed

    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0", memory_limit=0) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_of_somebody_else(straight: Path, tmp_path: Path, scheduler: str) -> None:
    run("-o", tmp_path / "run", "--samples", 12, *QUICK, "--regions", "--scheduler", scheduler)
    assert content(tmp_path / "run", "segments", "regions") == content(straight, "segments", "regions")
    workers = pyarrow.dataset.dataset(tmp_path / "run" / "times").to_table().column("worker").to_pylist()
    assert not any(worker.endswith(f":{os.getpid()}") for worker in workers)


def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lronnx.cluster._PATIENCE", 1)
    assert "no such scheduler file" in run("-o", tmp_path, *QUICK, "--scheduler", "gone.json", code=2).stderr
    result = run("-o", tmp_path, *QUICK, "--scheduler", "tcp://127.0.0.1:1", code=2)
    assert "--scheduler tcp://127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_scheduler_that_dies(straight: Path, tmp_path: Path) -> None:
    address, folder = tmp_path / "scheduler.json", tmp_path / "run"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    script = "import sys; from distributed.cli.{0} import main; sys.argv[0] = '{0}'; main()"
    options = ("--scheduler-file", str(address), "--no-dashboard")
    leader = subprocess.Popen([sys.executable, "-c", script.format("dask_scheduler"), "--port", "0", *options], **quiet)
    worker = subprocess.Popen(
        [sys.executable, "-c", script.format("dask_worker"), "--nthreads", "1", *options], **quiet
    )
    try:
        while not address.exists():
            assert leader.poll() is None
            time.sleep(0.05)
        arguments = ("-o", folder, "--samples", 12, *QUICK, "--regions")
        process = subprocess.Popen(
            command(*arguments, "--scheduler", address), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(list(folder.glob("regions/*"))) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        leader.kill()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2, told
        assert "the connection to the cluster is lost" in told
        assert "Traceback" not in told
        assert progress_of(folder) >= 2
        run(*arguments, "--workers", 1)
        assert content(folder, "segments", "regions") == content(straight, "segments", "regions")
    finally:
        leader.kill()
        worker.kill()
        leader.wait()
        worker.wait()


def test_a_run_behind_a_url(straight: Path, tmp_path: Path) -> None:
    import fsspec

    url = f"memory://{tmp_path.name}/run"
    run("-o", url, "--samples", 12, *QUICK, "--workers", 1, "--regions")
    files = fsspec.filesystem("memory")
    for name, expected in content(straight, "segments", "regions").items():
        path = "summary.json" if name == "summary" else name
        assert files.cat_file(f"/{tmp_path.name}/run/{path}") == expected


def progress_of(folder: Path) -> int:
    """Paths that are safe."""
    count = 0
    for part in ("segments", "journal"):
        for path in folder.glob(f"{part}/*.parquet"):
            try:
                count += len(set(pq.read_table(path, columns=["path"]).column("path").to_pylist()))
            except (OSError, pa.ArrowInvalid):
                continue
    return count


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_killed_again_and_again(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = command("-o", folder, "--samples", 12, *QUICK, "--workers", 2, "--regions")
    # What is journaled at once shows up after a kill however short the run was.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = "import sys; from lronnx import cli, run_folder; run_folder.JOURNAL_EVERY = 0.05; cli.main()"
    arguments[1:3] = ["-c", script]
    rng = random.Random(11)
    killed, safe = 0, 0
    while killed < examples(10):
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + rng.uniform(0.5, 4.0)
        # Some moments are in the middle of the work, right after something was written.
        while process.poll() is None and time.monotonic() < until:
            if rng.random() < 0.05 and progress_of(folder) > safe:
                break
            time.sleep(0.01)
        if process.poll() is not None:
            # It got through before it was killed: begin again, so that enough kills count.
            process.communicate()
            assert process.returncode == 0
            assert content(folder, "segments", "regions") == content(straight, "segments", "regions")
            for part in ("segments", "times", "regions"):
                for path in folder.glob(f"{part}/*"):
                    path.unlink()
            safe = 0
            continue
        process.kill()
        process.communicate()
        killed += 1
        now = progress_of(folder)
        assert now >= safe, "a path that was safe is gone"
        safe = now
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert content(folder, "segments", "regions") == content(straight, "segments", "regions")
    assert not list((folder / "journal").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize("crew", [("--workers", 2), ("--cluster", "local", "--workers", 2)])
def test_workers_that_are_killed(straight: Path, tmp_path: Path, crew: tuple[Any, ...]) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command("-o", folder, "--samples", 12, *QUICK, "--regions", *crew),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    leader, victims = psutil.Process(process.pid), set()
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until and len(victims) < 2:
        # Only workers that walk: a path is done.
        if len(list(folder.glob("regions/*"))) > 2 * len(victims):
            workers = [child for child in leader.children(recursive=True) if busy(child) and child.pid not in victims]
            if workers:
                workers[0].kill()
                victims.add(workers[0].pid)
        time.sleep(0.02)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert victims, "nobody was killed"
    assert content(folder, "segments", "regions") == content(straight, "segments", "regions")


def busy(process: psutil.Process) -> bool:
    """Whether this is a process that computes, and not one that looks after others."""
    try:
        return process.cpu_times().user > 0.5 and process.num_threads() >= 1 and not process.children()
    except psutil.Error:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(("received", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_end_a_run_that_can_go_on(
    straight: Path, tmp_path: Path, received: signal.Signals, code: int, workers: int
) -> None:
    folder = tmp_path / "run"
    arguments = command("-o", folder, "--samples", 12, *QUICK, "--workers", workers, "--regions")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(folder.glob("regions/*"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(received)
    shown, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert not shown
    assert "The same command goes on from here." in told
    assert "Traceback" not in told
    # What was being written when it was told to stop at once may be missing.
    assert 2 <= progress_of(folder) < 24
    assert not (folder / "summary.json").exists()
    result = run("-o", folder, "--samples", 12, *QUICK, "--workers", 1, "--regions")
    assert "were there already" in result.stderr
    assert content(folder, "segments", "regions") == content(straight, "segments", "regions")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk(straight: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no permission to make a file system")
    try:
        arguments = ("-o", disk / "run", "--samples", 12, *QUICK, "--workers", 1, "--regions")
        result = run(*arguments, code=2)
        assert "No space left" in result.stderr
        assert "Traceback" not in result.stderr
        safe = progress_of(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        result = run(*arguments)
        assert f"({safe} were there already)" in result.stderr
        assert content(disk / "run", "segments", "regions") == content(straight, "segments", "regions")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_defaults_that_are_spelled_out_are_the_same(tmp_path: Path) -> None:
    run("-o", tmp_path, "--samples", 1, "--workers", 1)
    again = run("-o", tmp_path, "--samples", 1, "--workers", 1, "--anchors", 8, "--radius", 4, "--paths", "closed")
    assert "2 were there already" in again.stderr


def test_resources_may_change_and_are_told(straight: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(straight, tmp_path / "run")
    result = run("-o", tmp_path / "run", "--samples", 12, *QUICK, "--workers", 1, "--regions", "--memory", 500)
    assert 'memory: "1000000000" there, "500000000" here' in result.stderr
    assert "24 were there already" in result.stderr
    sessions = json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]
    assert [session["environment"]["memory"] for session in sessions] == ["1000000000", "500000000"]


def test_another_study_is_refused(straight: Path, tmp_path: Path) -> None:
    before = content(straight, "segments", "regions", "times")
    result = run("-o", straight, "--samples", 11, *QUICK, "--workers", 1, "--regions", code=2)
    assert "another study" in result.stderr
    assert "samples.train: 12 there, 11 here" in result.stderr
    assert "radius" in run("-o", straight, "--samples", 12, "--regions", code=2).stderr
    assert content(straight, "segments", "regions", "times") == before


# ---- families, data, settings


@pytest.mark.parametrize(
    ("family", "options", "count", "segments"),
    [
        ("closed", ("--anchors", 5), 6, 5),
        ("open", ("--anchors", 5), 6, 4),
        ("pairs", ("--partner", "other", "--per-sample", 2), 12, 1),
        ("pairs", (), 6, 1),
        ("rays", ("--length", 0.5, "--per-sample", 3), 18, 1),
        ("random", ("--anchors", 3, "--radius", 1), 6, 3),
    ],
)
def test_families(tmp_path: Path, family: str, options: tuple[Any, ...], count: int, segments: int) -> None:
    arguments = ("-o", tmp_path, "--paths", family, "--samples", 3, "--seed", 4, "--workers", 1, *options)
    run(*arguments)
    rows = table(tmp_path).to_pylist()
    assert [row["path"] for row in rows] == [path for path in range(count) for _ in range(segments)]
    if family == "rays":
        assert all(row["length"] == pytest.approx(0.5) for row in rows)
    if family == "random":
        assert {(row["split"], row["index"], row["label"]) for row in rows} == {("", None, None)}
    else:
        assert {row["split"] for row in rows} == {"train", "test"}
    if family == "pairs":
        labels = {split: np.load(DATA)[f"y_{split}"] for split in ("train", "test")}
        for row in rows:
            assert row["other_label"] == labels[row["split"]][row["other_index"]]
            assert (row["other_label"] != row["label"]) or not options
    else:
        assert {row["other_label"] for row in rows} == {None}


def test_partners_are_from_the_whole_split(tmp_path: Path) -> None:
    # No other class was chosen, but there are other classes.
    arguments = ("--paths", "pairs", "--partner", "other", "--class", "3", "--split", "test", "--workers", 1)
    run("-o", tmp_path / "some", *arguments, "--samples", 4)
    run("-o", tmp_path / "more", *arguments, "--samples", 8)
    some, more = (table(tmp_path / name).to_pylist() for name in ("some", "more"))
    with np.load(DATA) as arrays:
        for row in some:
            assert row["label"] == 3
            assert row["other_label"] == arrays["y_test"][row["other_index"]] != 3
            ends = arrays["x_test"][[row["index"], row["other_index"]]].reshape(2, -1) / 16
            assert row["length"] == pytest.approx(np.linalg.norm(ends[1] - ends[0]), rel=1e-12)
    # A partner does not depend on who else was chosen.
    chosen = {row["index"]: row["other_index"] for row in more}
    assert all(chosen[row["index"]] == row["other_index"] for row in some)


def test_polylines_of_ones_own(tmp_path: Path) -> None:
    lines = np.random.default_rng(0).random((3, 3, 1, 8, 8))
    np.savez(tmp_path / "lines.npz", paths=lines, labels=[4, 5, 6])
    run(MODEL, "--data", tmp_path / "lines.npz", "--paths", "file", "--closed", "-o", tmp_path / "run", "--workers", 1)
    rows = table(tmp_path / "run").to_pylist()
    assert [(row["path"], row["segment"], row["label"]) for row in rows] == [
        (path, segment, 4 + path) for path in range(3) for segment in range(3)
    ]
    walked = lronnx.load(MODEL, threads=1).walk_path(lines[1], closed=True, memory=study.MEMORY)
    assert [row["regions"] for row in rows if row["path"] == 1] == [walk.regions for walk in walked.segments]


def test_a_constant_image_has_no_regions(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    images[1, 2:5, 3:6] = 9
    np.savez(tmp_path / "data.npz", images=images)
    run(MODEL, "--data", tmp_path / "data.npz", *QUICK, "-o", tmp_path / "run", "--workers", 1, "--regions")
    rows = table(tmp_path / "run").to_pylist()
    for row in rows[:4]:
        assert (row["length"], row["regions"], row["density"], row["covered"]) == (0.0, 0, None, 1.0)
        assert row["absolute_deviation_norm"] == 0.0
    assert all(row["regions"] > 0 and row["density"] > 0 for row in rows[4:])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    (everything,) = summary["groups"]["all"]
    assert everything["measures"]["density"]["count"] == 1


def test_segments_without_length_between_others(tmp_path: Path) -> None:
    points = np.random.default_rng(1).random((4, 1, 1, 8, 8))
    task = Task(0, points[[0, 0, 1, 2, 2, 2, 3, 3]], True)
    result = Walking(Job(MODEL)).walk(task)
    assert result.rows is not None
    regions = result.rows.column("regions").to_pylist()
    straight = lronnx.load(MODEL, threads=1).walk_path(points, closed=True, memory=10**9)
    alone = [walk.regions for walk in straight.segments]
    assert regions == [0, alone[0], alone[1], 0, 0, alone[2], 0, alone[3]]


def test_the_data_know_their_corrupted_labels_better_than_the_model(tmp_path: Path) -> None:
    model = onnx.load(EXAMPLE / "digits.onnx")
    onnx.helper.set_model_props(model, {"lronnx.scale": "0.0625", "lronnx.corrupted_indices": "[0, 2]"})
    onnx.save(model, tmp_path / "model.onnx")
    images = np.zeros((4, 8, 8), np.uint8)
    images[:, 3] = 16
    marks = {"unmarked": {}, "marked": {"corrupted_train": np.array([False, True, False, False])}}
    for name, mark in marks.items():
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=np.arange(4), **mark)
        given = ("--data", tmp_path / f"{name}.npz", "-o", tmp_path / name, *QUICK, "--workers", 1)
        run(tmp_path / "model.onnx", *given)
    wrong = {name: {row["index"] for row in table(tmp_path / name).to_pylist() if row["corrupted"]} for name in marks}
    assert wrong == {"unmarked": {0, 2}, "marked": {1}}


def test_labels_that_a_model_was_not_trained_with_are_neither_clean_nor_corrupted(tmp_path: Path) -> None:
    model = onnx.load(EXAMPLE / "digits.onnx")
    told = {"lronnx.scale": "0.0625", "lronnx.corrupted_indices": "[2]", "lronnx.train_indices": "[2, 3]"}
    onnx.helper.set_model_props(model, told)
    onnx.save(model, tmp_path / "model.onnx")
    images = np.zeros((4, 8, 8), np.uint8)
    images[:, 3] = 16
    np.savez(tmp_path / "data.npz", x_train=images, y_train=np.arange(4))
    given = (tmp_path / "model.onnx", "--data", tmp_path / "data.npz", *QUICK, "--workers", 1)
    run(*given, "-o", tmp_path / "run")
    marks = {row["index"]: row["corrupted"] for row in table(tmp_path / "run").to_pylist()}
    assert marks == {0: None, 1: None, 2: True, 3: False}

    for bad, part in (("[4]", "no sample at position 4"), ("2", "lronnx.train_indices is no JSON list")):
        onnx.helper.set_model_props(model, told | {"lronnx.train_indices": bad})
        onnx.save(model, tmp_path / "model.onnx")
        assert part in run(*given, "-o", tmp_path / "bad", code=2).stderr


def test_corrupted_labels_are_a_group(tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.arange(0, 1347, 2))
    run("-o", tmp_path / "run", "--samples", 6, *QUICK, "--workers", 1, "--corrupted", tmp_path / "wrong.npy")
    rows = table(tmp_path / "run").to_pylist()
    for row in rows:
        assert row["corrupted"] == ((row["index"] % 2 == 0) if row["split"] == "train" else None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    groups = summary["groups"]["split_and_corrupted"]
    assert {(group["split"], group["corrupted"]) for group in groups} == {("train", True), ("train", False)}

    drawn = ("--samples", 2, "--corrupted-samples", 3)
    run("-o", tmp_path / "apart", *drawn, *QUICK, "--workers", 1, "--corrupted", tmp_path / "wrong.npy")
    groups = json.loads((tmp_path / "apart" / "summary.json").read_text())["groups"]
    assert [group["paths"] for group in groups["split"]] == [5, 2]
    assert {group["corrupted"]: group["paths"] for group in groups["split_and_corrupted"]} == {True: 3, False: 2}


def test_a_sample_that_cannot_be_read_costs_its_path_only(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "data" / "train" / "x").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8) + np.arange(8, dtype=np.uint8)).save(
            tmp_path / "data" / "train" / "x" / f"{number}.png"
        )
    victim = tmp_path / "data" / "train" / "x" / "2.png"
    whole = victim.read_bytes()
    # As large as before, so that it is the same data set when it is whole again.
    victim.write_bytes(whole[:30] + bytes(len(whole) - 30))
    arguments = (MODEL, "--data", tmp_path / "data", *QUICK, "-o", tmp_path / "run", "--workers", 1)
    result = run(*arguments, code=6)
    assert "path 2 could not be walked" in result.stderr
    assert "2.png" in result.stderr
    assert progress_of(tmp_path / "run") == 3
    assert not (tmp_path / "run" / "summary.json").exists()
    victim.write_bytes(whole)
    assert "1 path walked" in run(*arguments).stderr
    assert len(table(tmp_path / "run")) == 16


def test_a_budget_of_regions(tmp_path: Path) -> None:
    run("-o", tmp_path, "--samples", 2, "--budget", 30, "--workers", 1)
    for row in table(tmp_path).to_pylist():
        assert row["regions"] == 30
        assert row["partial"]
        assert 0 < row["covered"] < 1
        assert row["density"] == pytest.approx(30 / (row["length"] * row["covered"]))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["totals"]["partial_segments"] == 32
    assert 0 < summary["totals"]["covered_fraction"] < 1


def test_a_budget_of_seconds(tmp_path: Path) -> None:
    result = run("-o", tmp_path / "little", "--samples", 1, "--budget", "0.0001s", "--workers", 1)
    rows = table(tmp_path / "little").to_pylist()
    assert all(row["partial"] and 0 <= row["covered"] < 1 for row in rows)
    assert all((row["covered"] == 0.0) == (row["regions"] == 0) for row in rows)
    assert "not walked to their end" in result.stdout
    run("-o", tmp_path / "plenty", "--samples", 1, *QUICK, "--budget", "1h", "--workers", 1)
    assert not any(row["partial"] for row in table(tmp_path / "plenty").to_pylist())


def test_estimates_are_labelled_and_near(tmp_path: Path) -> None:
    result = run("-o", tmp_path / "some", "--samples", 1, *QUICK, "--estimate", 0.25, "--workers", 1)
    exact = run("-o", tmp_path / "all", "--samples", 1, *QUICK, "--workers", 1)
    assert "ESTIMATE" in result.stdout
    assert "ESTIMATE" not in exact.stdout
    rows, truth = table(tmp_path / "some").to_pylist(), table(tmp_path / "all").to_pylist()
    assert table(tmp_path / "some").schema.names == records.ESTIMATES.names
    within = 0
    for row, true in zip(rows, truth, strict=True):
        assert row["fraction"] == pytest.approx(0.25, abs=0.05)
        within += row["estimated_regions_low"] <= true["regions"] <= row["estimated_regions_high"]
        assert row["estimated_regions"] == pytest.approx(true["regions"], rel=0.6)
        assert row["self_check_ok"]
    assert within >= len(rows) - 2
    everything = run("-o", tmp_path / "one", "--samples", 1, *QUICK, "--estimate", 1, "--workers", 1)
    assert "ESTIMATE" in everything.stdout
    for row, true in zip(table(tmp_path / "one").to_pylist(), truth, strict=True):
        assert row["estimated_regions"] == row["estimated_regions_low"] == true["regions"]
        np.testing.assert_allclose(row["estimated_absolute_deviation"], true["absolute_deviation"], rtol=1e-9)
        np.testing.assert_allclose(row["estimated_total_variation"], true["total_variation"], rtol=1e-9)


def test_estimates_of_a_path_do_not_depend_on_the_others() -> None:
    points = np.random.default_rng(3).random((3, 1, 1, 8, 8))
    job = Job(MODEL, estimate=0.2, seed=9)
    alone = Walking(job).walk(Task(5, points, False)).rows
    after = Walking(job)
    after.walk(Task(4, points[::-1].copy(), True))
    assert after.walk(Task(5, points, False)).rows.equals(alone)  # type: ignore[union-attr]
    assert not Walking(job).walk(Task(6, points, False)).rows.equals(alone)  # type: ignore[union-attr]


def test_an_estimate_where_nothing_moves() -> None:
    points = np.random.default_rng(3).random((2, 1, 1, 8, 8))
    result = Walking(Job(MODEL, estimate=0.2)).walk(Task(0, points[[0, 0, 1]], False))
    assert not result.problem
    assert result.rows is not None
    first = result.rows.to_pylist()[0]
    assert (first["length"], first["estimated_regions"], first["estimated_density"]) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", DATA), "give the MODEL"),
        ((MODEL,), "give --data"),
        (("--length", 1), "--length is an option of paths of the family rays"),
        (("--paths", "rays"), "length"),
        (("--paths", "rays", "--length", 1, "--anchors", 3), "--anchors is an option of paths of the families closed"),
        (("--paths", "pairs", "--closed"), "--closed is an option"),
        (("--estimate", 0), "--estimate"),
        (("--estimate", 0.1, "--budget", 5), "exclude"),
        (("--estimate", 0.1, "--regions"), "exclude"),
        (("--engine", "both", "--budget", "3s"), "budget of regions"),
        (("--budget", "soon"), "no budget"),
        (("--budget", 0), "no budget"),
        (("--budget", "-3s"), "positive|budget"),
        (("--scheduler", "tcp://localhost:1", "--workers", 2), "leave out"),
        (("--split", "validation"), "validation"),
        (("--class", "cat"), "cat"),
        (("--indices", "5000"), "5000"),
        (("--radius", 30), "radius|30"),
        (("--scale", 0), "0"),
        (("--corrupted", "gone.npy"), "gone.npy"),
        (("--lowering", "magic"), "magic"),
    ],
)
def test_bad_options_are_told(tmp_path: Path, arguments: tuple[Any, ...], told: str) -> None:
    import re

    result = run("-o", tmp_path / "run", *arguments, code=2)
    assert re.search(told, result.stderr), result.stderr
    assert "Traceback" not in result.output
    assert not list((tmp_path / "run").glob("segments/*"))


def test_data_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=np.zeros((3, 9, 9), np.uint8))
    result = run(MODEL, "--data", tmp_path / "data.npz", "-o", tmp_path / "run", code=2)
    assert "9" in result.stderr
    result = run(MODEL, "--data", tmp_path / "nowhere", "-o", tmp_path / "run", code=2)
    assert "nowhere" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_run_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    assert "not empty" in run("-o", tmp_path, code=2).stderr
    assert "is a file" in run("-o", tmp_path / "mine.txt", code=2).stderr
    assert "no name" in run("-o", "", code=2).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="nobody may write to /proc")
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    told = run("-o", "/proc/run", "--samples", 1, code=2).stderr
    assert "/proc/run" in told
    assert "embedded" not in told


def test_a_summary_as_json(straight: Path) -> None:
    result = run("-o", straight, "--samples", 12, *QUICK, "--workers", 1, "--regions", "--json")
    assert json.loads(result.stdout) == json.loads((straight / "summary.json").read_text())


def test_a_failed_self_check_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lronnx.regions import SelfCheck

    monkeypatch.setattr(SelfCheck, "ok", property(lambda self: False))
    result = run("-o", tmp_path, "--samples", 1, *QUICK, "--workers", 1, code=5)
    assert "self-check failed" in result.stderr
    assert "FAILED" in result.stdout


def test_the_progress_bar(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    bar = cli._StudyBar()
    with bar as progress:
        for done in range(5, 12):
            progress(study.Progress(done, 5, 24, 100 * done, 1))
            time.sleep(0.12)
    text = shown.getvalue()
    assert "/24" in text
    assert "paths, " in text
    assert "regions/s" in text
    assert "1 failed" in text


# ---- from Python


def study_of(count: int = 6, **options: Any) -> study.Study:
    return study.plan(lronnx.load(MODEL), str(DATA), samples=count // 2, anchors=4, radius=1.0, **options)


def test_from_python(tmp_path: Path) -> None:
    seen = []
    ended = study_of().run(str(tmp_path), study.Crew(workers=1), progress=seen.append)
    assert ended.summary is not None
    assert ended.summary["totals"]["paths"] == 6
    assert (ended.done, ended.total, ended.resumed, ended.failed) == (6, 6, 0, {})
    assert [one.done for one in seen] == list(range(1, 7))
    assert not ended.interrupted
    assert ended.seconds > 0


def test_stopping_from_python(tmp_path: Path) -> None:
    calls = 0

    def stop() -> Stop:
        nonlocal calls
        calls += 1
        return Stop.SOON if calls > 12 else Stop.NO

    ended = study_of().run(str(tmp_path), study.Crew(workers=1), stop=stop)
    assert ended.interrupted
    assert ended.summary is None
    assert 0 < ended.done < 6


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a group")
@pytest.mark.parametrize("crew", [("--workers", 2), ("--cluster", "local", "--workers", 2)])
@pytest.mark.parametrize("when", ["starting", "walking"])
def test_ctrl_c_in_a_terminal_reaches_all_processes(tmp_path: Path, crew: tuple[Any, ...], when: str) -> None:
    folder = tmp_path / "run"
    arguments = command("-o", folder, "--samples", 60, *QUICK, *crew)
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while not (folder / "manifest.json").exists() or (when == "walking" and not list(folder.glob("journal/*"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "The same command goes on from here." in told
    assert progress_of(folder) < 120


def test_ctrl_c_is_not_swallowed_in_python(tmp_path: Path) -> None:
    def progress(found: study.Progress) -> None:
        if found.done == 2:
            # As a signal does, in the middle of the next path.
            def interrupted(*arguments: Any) -> Any:
                raise KeyboardInterrupt

            patch.setattr(Walking, "_walk", interrupted)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        study_of().run(str(tmp_path), study.Crew(workers=1), progress=progress)
    assert progress_of(tmp_path) == 2


def test_rays_and_norms_do_not_depend_on_the_threads_of_the_blas() -> None:
    code = (
        "import hashlib, numpy as np; from lronnx import metrics, paths;"
        "points = [paths.ray(np.zeros((3, 224, 224)), 1.0, sample=s).tobytes() for s in range(3)];"
        "print(hashlib.sha256(b''.join(points)).hexdigest(), metrics.norm(np.random.default_rng(0).random(150000)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(told) == 1


@pytest.mark.parametrize("crew", [study.Crew(workers=1), study.Crew(workers=2), study.Crew(workers=1, local=True)])
def test_weights_that_change_on_the_way(tmp_path: Path, crew: study.Crew) -> None:
    import onnx

    model = tmp_path / "model.onnx"
    onnx.save(onnx.load(MODEL), model, save_as_external_data=True, location="weights", size_threshold=0)
    planned = study.plan(lronnx.load(model), str(DATA), samples=2, anchors=4, radius=1.0)
    whole = (tmp_path / "weights").read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    (tmp_path / "weights").write_bytes(changed)
    with pytest.raises(lronnx.LronnxError, match="has changed"):
        planned.run(str(tmp_path / "run"), crew)
    assert not list((tmp_path / "run").glob("segments/*"))
    (tmp_path / "weights").write_bytes(whole)
    assert planned.run(str(tmp_path / "run"), crew).done == 4


def test_parts_of_long_polylines_are_smaller(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.random.default_rng(0).random((3, 500, 1, 8, 8)))
    network = lronnx.load(MODEL)
    long = study.plan(network, str(tmp_path / "long.npy"), "file")
    assert 1 <= long.per_part() < 30
    assert study_of().per_part() == 256


def test_a_model_that_changes_on_the_way(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL.read_bytes())
    planned = study.plan(lronnx.load(model), str(DATA), samples=2)
    model.write_bytes(MODEL.read_bytes() + b"\0\0")
    with pytest.raises(lronnx.LronnxError):
        planned.run(str(tmp_path / "run"), study.Crew(workers=1))


def test_path_generators_are_what_a_study_walks(tmp_path: Path) -> None:
    data = open_data(DATA).select(samples=2)
    network = lronnx.load(MODEL, threads=1)
    prepare = Preprocessing.choose(
        inputs.Pixels.choose(None, None, None, network.metadata), network.input_shape, data[0], data.axes, None
    )

    def images() -> Iterator[Any]:
        return (prepare.image(data[i]) for i in range(len(data)))

    made = list(paths.closed(images(), anchors=4, radius=1.0, prepare=prepare.from_image))
    planned = study.plan(network, str(DATA), samples=2, anchors=4, radius=1.0)
    assert len(made) == len(planned.paths) == 4
    for points, path in zip(made, (planned.paths[i] for i in range(4)), strict=True):
        assert np.array_equal(points, path.points)


def test_estimates_follow_their_plan() -> None:
    plan = estimates.Plan.for_fraction(0.1)
    assert plan.fraction == pytest.approx(0.1, abs=0.02)
