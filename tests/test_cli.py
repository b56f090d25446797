"""The command line: exit codes, what goes to which stream, and what a file holds when something went wrong."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from PIL import Image
from strategies import Builder
from walks import (
    SMALL_EDGES,
    SMALL_END,
    SMALL_SLOPES,
    SMALL_START,
    SMALL_UNITS,
    SMALL_VALUES,
    StubNetwork,
    hand_path,
    hand_walk,
    save_small_model,
)

import lronnx
from lronnx import cli, report
from lronnx.regions import PathWalk

FINISHED = hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def shell(*arguments: object, script: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with ``script`` run before it."""
    code = f"import sys\nfrom lronnx import cli\n{script}\nsys.argv[0] = 'lronnx'\ncli.main()"
    command = [sys.executable, "-c", code, *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "small.onnx")


@pytest.fixture
def points(tmp_path: Path) -> Path:
    np.savez(tmp_path / "p.npz", start=SMALL_START, end=SMALL_END)
    return tmp_path / "p.npz"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StubNetwork]:
    """Makes every model load as a stub that returns (or raises) what it is given."""

    def install(result: PathWalk | Callable[..., PathWalk], **attributes: Any) -> StubNetwork:
        network = StubNetwork(result if callable(result) else lambda *a, **k: result, **attributes)
        monkeypatch.setattr(lronnx, "load", lambda *a, **k: network)
        return network

    return install


def raising(error: BaseException) -> Callable[..., PathWalk]:
    def result(*arguments: Any, **options: Any) -> PathWalk:
        raise error

    return result


# --- walk -----------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_nothing_else(model: Path, points: Path) -> None:
    result = run("walk", model, "--points", points, "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert (content["model"], content["engine"], content["precision"]) == ("small.onnx", "sweep", "double")
    assert (content["regions"], content["breakpoints"], content["switches"], content["outputs"]) == (4, 3, 3, 2)
    assert content["length"] == pytest.approx(np.sqrt(8))
    assert content["total_variation"] == pytest.approx([4.25, 0.5])
    assert content["end_to_end_variation"] == pytest.approx([4.25, -0.5])
    assert content["self_check"]["ok"] is True
    assert content["partial"] is False
    assert len(content["per_segment"]) == 1
    assert result.stdout.count("\n") == 1


def test_regions_file(model: Path, points: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.parquet"
    result = run("walk", model, "--points", points, "-o", target)
    assert result.exit_code == 0, result.stderr
    table = pq.read_table(target).to_pydict()
    np.testing.assert_allclose(table["t_start"], SMALL_EDGES[:-1], atol=1e-15)
    np.testing.assert_allclose(table["t_end"], SMALL_EDGES[1:], atol=1e-15)
    np.testing.assert_allclose(table["value"], SMALL_VALUES[:-1], atol=1e-15)
    np.testing.assert_allclose(table["slope"], SMALL_SLOPES, atol=1e-15)
    assert table["unit"] == [*SMALL_UNITS, None]
    assert table["switches"] == [1, 1, 1, 0]
    metadata = pq.read_metadata(target).metadata
    assert metadata[b"lronnx.model"] == b"small.onnx"
    assert json.loads(metadata[b"lronnx.options"])["points"] == str(points)
    options = json.loads(pq.read_metadata(target).metadata[b"lronnx.options"])
    assert (options["analysed_input"], options["analysed_output"], options["notices"]) == ("x", "gemm_2", [])


def test_start_and_end(model: Path, points: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SMALL_START.astype(np.float32))
    result = run("walk", model, "--start", tmp_path / "a.npy", "--end", points, "--json")
    assert json.loads(result.stdout)["regions"] == 4


def test_closed_path(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", [SMALL_START, SMALL_END, [0.1, -0.7]])
    content = json.loads(run("walk", model, "--points", tmp_path / "p.npy", "--closed", "--json").stdout)
    assert content["segments"] == len(content["per_segment"]) == 3
    assert content["regions"] == sum(segment["regions"] for segment in content["per_segment"])
    np.testing.assert_allclose(content["end_to_end_variation"], 0.0, atol=1e-14)
    assert json.loads(run("walk", model, "--points", tmp_path / "p.npy", "--json").stdout)["segments"] == 2


def test_table_for_people(model: Path, points: Path) -> None:
    result = run("walk", model, "--points", points)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    lines = {line.split("  ")[0]: line.split() for line in result.stdout.splitlines() if line}
    assert lines["regions"][1] == "4"
    assert lines["breakpoints"][1] == "3"
    assert lines["self-check"][1] == "ok"
    assert "100.0%" in result.stdout


def test_precisions(model: Path, points: Path) -> None:
    result = run("walk", model, "--points", points, "--precision", "single")
    assert result.exit_code == 0
    assert "float32, for exploring" in result.stdout


def test_the_number_of_regions_may_be_limited(model: Path, points: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.parquet"
    result = run("walk", model, "--points", points, "--max-regions", 2, "--json", "-o", target)
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert (content["regions"], content["partial"]) == (2, True)
    assert "--max-regions" in result.stderr
    assert pq.read_metadata(target).metadata[b"lronnx.partial"] == b"true"
    assert pq.read_table(target).num_rows == 2


def test_an_image_network(tmp_path: Path) -> None:
    b = Builder((3, 2, 2))
    flat = b.add("Flatten", [b.input], (1, 12))
    hidden = b.relu(b.gemm(flat, np.eye(12), [-0.5] * 12))
    proto = b.model(b.gemm(hidden, np.ones((1, 12))))
    onnx.save(proto, tmp_path / "m.onnx")
    for name, value in (("black", 0), ("white", 255)):
        Image.new("RGB", (2, 2), (value,) * 3).save(tmp_path / f"{name}.png")
    files = ("--start", tmp_path / "black.png", "--end", tmp_path / "white.png")
    content = json.loads(run("walk", tmp_path / "m.onnx", *files, "--scale", "1/255", "--json").stdout)
    assert (content["regions"], content["switches"]) == (2, 12)
    result = run("walk", tmp_path / "m.onnx", *files)
    assert result.exit_code == 2
    assert "--scale" in result.stderr
    entry = proto.metadata_props.add()
    entry.key, entry.value = "lronnx.scale", "1/255"
    onnx.save(proto, tmp_path / "m.onnx")
    assert json.loads(run("walk", tmp_path / "m.onnx", *files, "--json").stdout)["switches"] == 12


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    """A network that takes images of any size."""
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "H", "W"])
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 1, 1])
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("GlobalAveragePool", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "open", [source], [target])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    start = -np.ones((1, 2, 3))
    np.savez(tmp_path / "open.npz", start=start, end=-start)
    return tmp_path / "m.onnx"


def test_open_sizes_come_from_an_option(open_model: Path) -> None:
    points = open_model.with_name("open.npz")
    result = run("walk", open_model, "--shape", "x=1x1x2x3", "--points", points, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["switches"] == 6
    result = run("walk", open_model, "--shape", "x=1x1x3x3", "--points", points, "--json")
    assert result.exit_code == 2
    assert "(1, 1, 3, 3)" in result.stderr


def test_open_sizes_come_from_the_points(open_model: Path) -> None:
    result = run("walk", open_model, "--points", open_model.with_name("open.npz"), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["switches"] == 6


def test_the_embedded_example() -> None:
    begun = time.monotonic()
    result = shell("walk")
    assert result.returncode == 0, result.stderr
    assert "the embedded example" in result.stdout
    assert "self-check" in result.stdout
    assert "Traceback" not in result.stderr
    assert time.monotonic() - begun < 20


def test_the_embedded_example_takes_other_options(tmp_path: Path) -> None:
    result = run("walk", "--json", "-o", tmp_path / "r.parquet")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["regions"] == pq.read_table(tmp_path / "r.parquet").num_rows


# --- when something is wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walk", "gone.onnx"], "does not exist"),
        (["walk", "--points", "p.npz"], "MODEL"),
        (["walk", "MODEL"], "--start and --end"),
        (["walk", "MODEL", "--start", "p.npz"], "--start and --end"),
        (["walk", "MODEL", "--start", "p.npz", "--points", "p.npz"], "either"),
        (["walk", "MODEL", "--points", "p.npz", "--lanes", "0"], "--lanes"),
        (["walk", "MODEL", "--points", "p.npz", "--engine", "other"], "--engine"),
        (["walk", "MODEL", "--points", "p.npz", "--input", "x"], "NAME=FILE"),
        (["walk", "MODEL", "--points", "p.npz", "--shape", "x=1xa"], "positive sizes"),
        (["walk", "MODEL", "--points", "p.npz", "--shape", "x=1x0"], "positive sizes"),
        (["walk", "MODEL", "--points", "p.npz", "--shape", "x=1x2", "--shape", "x=1x2"], "twice"),
        (["linearize", "MODEL"], "-o"),
        (["linearize", "MODEL", "-o", "MODEL"], "the model itself"),
        (["walk", "MODEL", "--points", "p.npz", "-o", "p.npz"], "--points itself"),
        (["walk", "MODEL", "--points", "p.npz", "--input", "s=p.npz", "-o", "p.npz"], "itself"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage(model: Path, points: Path, arguments: list[str], message: str) -> None:
    places = {"MODEL": str(model), "p.npz": str(points)}
    result = run(*(places.get(a, a) for a in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_failed_self_check_is_written_and_marked(
    model: Path, points: Path, tmp_path: Path, stub: Callable[..., StubNetwork]
) -> None:
    stub(hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0]], mismatches=1)))
    target = tmp_path / "r.parquet"
    result = run("walk", model, "--points", points, "-o", target, "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["self_check"]["ok"] is False
    assert "self-check failed" in result.stderr
    assert json.loads(pq.read_metadata(target).metadata[b"lronnx.self_check"])["ok"] is False
    result = run("walk", model, "--points", points)
    assert result.exit_code == 5
    assert "FAILED" in result.stdout


def test_what_was_walked_before_an_interrupt_is_kept(
    model: Path, points: Path, tmp_path: Path, stub: Callable[..., StubNetwork]
) -> None:
    stub(hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0]], partial=True)))
    target = tmp_path / "r.parquet"
    result = run("walk", model, "--points", points, "-o", target)
    assert result.exit_code == 130
    assert "PARTIAL" in result.stdout
    assert "Interrupted" in result.stderr
    assert pq.read_metadata(target).metadata[b"lronnx.partial"] == b"true"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "out of memory"),
        (OSError(28, "No space left on device", "/some/where"), 2, "/some/where: No space left"),
        (lronnx.ModelError("odd\x1b[31m name"), 4, "odd\\x1b[31m name"),
        (lronnx.NotPiecewiseAffineError([]), 3, "not piecewise affine"),
        (ZeroDivisionError("a bug"), 1, "internal error, please report it: ZeroDivisionError: a bug"),
    ],
)
def test_no_error_shows_a_traceback(
    model: Path,
    points: Path,
    tmp_path: Path,
    stub: Callable[..., StubNetwork],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    stub(raising(error))
    before = set(tmp_path.iterdir())
    result = run("walk", model, "--points", points, "-o", tmp_path / "r.parquet", "--json")
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stdout == ""
    assert set(tmp_path.iterdir()) == before


def test_a_full_disk_does_not_lose_the_result(
    model: Path, points: Path, tmp_path: Path, stub: Callable[..., StubNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(FINISHED)
    monkeypatch.setattr(cli.store, "_batch", raising(OSError(28, "No space left on device")))
    result = run("walk", model, "--points", points, "-o", tmp_path / "r.parquet", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["regions"] == 2
    assert "No space left" in result.stderr
    assert not (tmp_path / "r.parquet").exists()


@pytest.mark.skipif(os.name != "posix", reason="closing a pipe is no signal elsewhere")
def test_a_reader_that_goes_away(model: Path) -> None:
    # The pipe is closed before the first byte is written.
    script = "import os\nr, w = os.pipe()\nos.close(r)\nos.dup2(w, 1)"
    result = shell("inspect", model, script=script)
    assert result.returncode == 141
    assert result.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_control_c(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    b = Builder((8,))
    hidden = b.relu(b.gemm(b.input, rng.standard_normal((60, 8)), rng.standard_normal(60)))
    hidden = b.relu(b.gemm(hidden, rng.standard_normal((60, 60)), rng.standard_normal(60)))
    onnx.save(b.model(b.gemm(hidden, rng.standard_normal((2, 60)))), tmp_path / "m.onnx")
    np.save(tmp_path / "p.npy", 3 * rng.standard_normal((30, 8)))
    # A real signal, sent when the walk reports that it has got somewhere.
    script = f"""
import os
def show(self, progress):
    if progress.regions >= 40:
        os.kill(os.getpid(), {int(signal.SIGINT)})
cli._ProgressBar._show = show
"""
    target = tmp_path / "r.parquet"
    result = shell(
        "walk", tmp_path / "m.onnx", "--points", tmp_path / "p.npy", "--lanes", 1, "-o", target, "--json", script=script
    )
    assert result.returncode == 130, result.stderr
    content = json.loads(result.stdout)
    assert content["partial"] is True
    assert content["regions"] >= 10
    whole = json.loads(run("walk", tmp_path / "m.onnx", "--points", tmp_path / "p.npy", "--json").stdout)
    assert content["regions"] < whole["regions"]
    assert "Traceback" not in result.stderr
    assert pq.read_metadata(target).metadata[b"lronnx.partial"] == b"true"
    assert pq.read_table(target).num_rows == content["regions"]


def test_one_interrupt_finishes_what_was_begun(model: Path, points: Path, stub: Callable[..., StubNetwork]) -> None:
    wishes: list[lronnx.Stop] = []

    def result(points: Any, **options: Any) -> PathWalk:
        for _ in range(3):
            wishes.append(options["stop"]())
            os.kill(os.getpid(), signal.SIGINT)
        return FINISHED

    stub(result)
    before = signal.getsignal(signal.SIGINT)
    told = run("walk", model, "--points", points).stderr
    assert wishes == [lronnx.Stop.NO, lronnx.Stop.SOON, lronnx.Stop.NOW]
    assert told.count("Ctrl-C again stops at once") == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_node_may_be_analysed_by_its_name(points: Path, model: Path) -> None:
    example = Path(lronnx.__file__).parent / "example"
    network = lronnx.load(example / "digits.onnx", output="node_relu")
    assert network.output_name == network.graph.nodes[1].outputs[0] != "node_relu"
    result = run("walk", model, "--points", points, "--output", "nothing")
    assert result.exit_code == 2
    assert "neither a tensor nor a node" in result.stderr


# --- progress -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "seconds", "shown"), [(Terminal, 5, True), (Terminal, 0, False), (io.StringIO, 5, False)]
)
def test_progress_is_for_long_runs_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], seconds: float, shown: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    with cli._ProgressBar(time.monotonic() - seconds) as progress:
        for step in range(3):
            progress(lronnx.Progress(step / 3, 100 * step))
    assert ("regions" in stderr.getvalue()) is shown


# --- inspect --------------------------------------------------------------------------------------------------


def test_inspect(model: Path) -> None:
    result = run("inspect", model)
    assert result.exit_code == 0
    assert "Piecewise affine: 3 units in 1 switching node." in result.stdout
    content = json.loads(run("inspect", model, "--json").stdout)
    assert content["piecewise_affine"] is True
    assert content["units"] == 3
    assert [node["kind"] for node in content["nodes"]] == ["affine", "switching", "affine"]
    assert content["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 2]}]


def test_inspect_a_network_that_is_refused(tmp_path: Path) -> None:
    b = Builder((2,))
    hidden = b.add("Sigmoid", [b.relu(b.input)], (1, 2))
    product = b.add("Mul", [hidden, hidden], (1, 2))
    onnx.save(b.model(b.gemm(product, np.eye(2))), tmp_path / "m.onnx")
    result = run("inspect", tmp_path / "m.onnx")
    assert result.exit_code == 3
    assert "Not piecewise affine" in result.stdout
    assert "switching" in result.stdout
    assert "#1 sigmoid_1 [Sigmoid]" in result.stdout
    result = run("inspect", tmp_path / "m.onnx", "--json")
    assert result.exit_code == 3
    content = json.loads(result.stdout)
    assert content["piecewise_affine"] is False
    assert content["refusals"][0]["operator"] == "Sigmoid"
    np.savez(tmp_path / "p.npz", start=SMALL_START, end=SMALL_END)
    result = run("walk", tmp_path / "m.onnx", "--points", tmp_path / "p.npz", "-o", tmp_path / "r.parquet")
    assert result.exit_code == 3
    assert "#1 sigmoid_1 [Sigmoid]" in result.stderr
    assert not (tmp_path / "r.parquet").exists()


def node(index: int, label: str) -> Any:
    return lronnx.NodeReport(index, "", label, "Conv", f"t{index}", (1, 64, 32, 32), "affine", 0, "")


def inspection(*labels: str) -> Any:
    return lronnx.Inspection(
        name="m.onnx",
        sha256="0" * 64,
        producer="somebody",
        opsets={"": 17},
        inputs=(),
        outputs=(),
        nodes=tuple(node(i, label) for i, label in enumerate(labels)),
        refusals=(),
        notices=(),
        units=0,
        piecewise_affine=True,
    )


def test_a_piped_table_has_one_whole_line_per_node() -> None:
    labels = [f"/features/features.{i}/a_rather_long_name_of_a_block/convolution" for i in range(500)]
    stream = io.StringIO()
    report.print_to(stream, *report.inspect_report(inspection(*labels)))
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert all(line == line.rstrip() for line in lines)
    for index, label in enumerate(labels):
        assert sum(label + " " in line and line.split()[0] == str(index) for line in lines) == 1


def test_a_terminal_of_80_columns_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    label = "/features/features.0/a_rather_long_name_of_a_block/convolution_of_some_kind"
    for parts in (
        report.inspect_report(inspection(label)),
        report.walk_report(
            hand_path(*[hand_walk([[0.1, 1e-9], [1e9, 0.3], [0.2, 123456.789]], nodes=[label])] * 30),
            title="model" * 9,
            analysed="input",
        ),
    ):
        stream = Terminal()
        report.print_to(stream, *parts)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
        assert max(len(line) for line in plain.splitlines()) <= 80
        assert "…" not in plain
        assert "convolution_of_some_kind"[-5:] in plain


def test_names_are_shown_and_not_obeyed() -> None:
    wicked = "[bold]x[/bold] \x1b]0;title\x07 \r\n :smile: \u202e"
    for parts in (
        report.inspect_report(inspection(wicked)),
        report.walk_report(hand_path(hand_walk([[0.0], [1.0], [0.0]], nodes=[wicked])), title=wicked, analysed=wicked),
    ):
        stream = io.StringIO()
        report.print_to(stream, *parts)
        assert "[bold]x[/bold] \\x1b]0;title\\x07 \\r\\n :smile: \\u202e" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()


def test_a_stream_that_knows_only_ascii(model: Path, points: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = shell("walk", model, "--points", points, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()


def test_many_segments_and_nodes_are_summed_up() -> None:
    walk = hand_walk([[0.0], [1.0], [0.0]], nodes=[f"node{i}" for i in range(25)])
    stream = io.StringIO()
    report.print_to(stream, *report.walk_report(hand_path(*[walk] * 30), title="t", analysed="a"))
    assert "15 other nodes" in stream.getvalue()
    assert "and 10 more segments" in stream.getvalue()


def test_decisions_in_words() -> None:
    def row(*walks: Any) -> str:
        stream = io.StringIO()
        report.print_to(stream, *report.walk_report(hand_path(*walks), title="t", analysed="a"))
        return next((" ".join(x.split()) for x in stream.getvalue().splitlines() if x.startswith("largest")), "")

    once, back = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]
    assert row(hand_walk([[1.0], [0.0]])) == ""
    assert row(hand_walk([[1.0, 0.0], [2.0, 0.0]])) == "largest output 0 all the way"
    assert row(hand_walk(once)) == "largest output 0 -> 1 at t = 0.5"
    assert row(hand_walk([*once, [1.0, 0.0]])) == "largest output 0 -> 1 -> 0 at t = 0.25, 0.75"
    assert row(hand_walk(once), hand_walk(back)) == "largest output 2 changes the first at t = 0.5 of segment 0"


# --- linearize, and the rest ----------------------------------------------------------------------------------


def test_linearize(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "linear.onnx"
    result = run("linearize", model, "-o", target)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    onnx.checker.check_model(onnx.load(target))
    onnxruntime.InferenceSession(target.read_bytes(), providers=["CPUExecutionProvider"])


def test_version_and_help() -> None:
    assert run("--version").stdout == f"lronnx, version {lronnx.__version__}\n"
    for command in ((), ("inspect",), ("walk",), ("linearize",)):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.stdout


def test_notices_go_to_stderr(model: Path, points: Path, stub: Callable[..., StubNetwork]) -> None:
    stub(FINISHED, notices=("the trailing operator is cut off",))
    result = run("walk", model, "--points", points, "--json")
    json.loads(result.stdout)
    assert "Notice: the trailing operator is cut off" in result.stderr


def test_single_precision_says_so(model: Path, points: Path, stub: Callable[..., StubNetwork]) -> None:
    stub(replace(FINISHED, precision="single"))
    assert "for exploring" in run("walk", model, "--points", points).stdout


def test_options_reach_the_network(model: Path, points: Path, stub: Callable[..., StubNetwork]) -> None:
    seen: dict[str, Any] = {}

    def result(points: Any, **options: Any) -> PathWalk:
        seen.update(options, points=points)
        return FINISHED

    stub(result)
    run("walk", model, "--points", points, "--closed", "--lanes", 3, "--max-regions", 9, "--device", "cpu")
    assert (seen["closed"], seen["lanes"], seen["max_regions"], seen["device"]) == (True, 3, 9, "cpu")
    np.testing.assert_array_equal(seen["points"], [[SMALL_START], [SMALL_END]])
