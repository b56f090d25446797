"""The benchmarks measure what they say; what they measure is never a test."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import compare_cost
import numpy as np
import onnx
import onnxruntime as ort
import plot_cost
import pytest
import suite
from measure import Job, Measured, engines, forward_flops, measure
from networks import write_mlp, write_resnet18, write_vgg8
from onnx import TensorProto, helper

import lronnx
from lronnx import inputs

WRITERS: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "vgg8": write_vgg8,
    "wide vgg8": lambda folder: write_vgg8(folder, width=2),
    "mlp": write_mlp,
    "resnet18": lambda folder: write_resnet18(folder, 4, length=1e-3),
    "resnet18 with batch norm": lambda folder: write_resnet18(folder, 4, length=1e-3, batch_norm=True),
}
MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "load": 0.1,
    "system": "a system",
    "python": "3.11",
    "lronnx": "0.1",
    "onnxruntime": "1.22",
    "onnx": "1.17",
    "numpy": "2.0",
    "date": "2026-01-01",
}
RESULT = Measured(
    regions=2000,
    partial=False,
    cold=1.5,
    warm=1.0,
    passes=2.0,
    lanes=32,
    device="cpu",
    ok=True,
    peak=300.4,
    plain=1 / 20_000,
    batch=64,
    product=1e11,
    drift=1.1,
)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_written_network_is_valid_and_walks(kind: str, tmp_path: Path) -> None:
    model, points = WRITERS[kind](tmp_path)
    onnx.checker.check_model(onnx.load(model), full_check=True)
    network = lronnx.load(model)
    path = inputs.read_points(network.input_shape, points=str(points))
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    # The batch is open, and activations are neither lost nor blown up on the way to the output.
    (made,) = session.run(None, {"input": np.concatenate([*path, path[0]]).astype(np.float32)})
    assert made.shape == (3, 10)
    assert 0.05 < np.abs(made).max() < 50
    walk = network.walk_path(path, device="cpu", max_regions=5)
    assert walk.regions >= 2
    assert walk.self_check.ok


def test_batch_norm_is_an_option(tmp_path: Path) -> None:
    kinds = [
        {node.op_type for node in onnx.load(write_resnet18(tmp_path, 2, batch_norm=wanted)[0]).graph.node}
        for wanted in (False, True)
    ]
    assert kinds[1] - kinds[0] == {"BatchNormalization"}


def test_length_scales_the_segment(tmp_path: Path) -> None:
    ends = []
    for length in (1.0, 0.25):
        with np.load(write_resnet18(tmp_path, 2, length=length)[1]) as points:
            ends.append((points["start"], points["end"]))
    (start, end), (same, nearer) = ends
    assert (start == same).all()
    np.testing.assert_allclose(nearer - start, (end - start) / 4, atol=1e-6)


@pytest.mark.parametrize(
    ("lowest", "highest", "ends"), [(0.12, 1.9, (0.1, 2.0)), (0.68, 3.5, (0.5, 5.0)), (1.0, 10.0, (0.5, 20.0))]
)
def test_ends_of_an_axis(lowest: float, highest: float, ends: tuple[float, float]) -> None:
    assert suite._around(lowest, highest) == pytest.approx(ends)


def test_flops_of_a_vgg8(tmp_path: Path) -> None:
    convolutions = 9 * (
        32 * 32 * (3 * 6 + 6 * 6)
        + 16 * 16 * (6 * 16 + 16 * 16)
        + 8 * 8 * (16 * 64 + 64 * 64)
    )  # fmt: skip
    products = 4 * 4 * 64 * 128 + 128 * 10
    assert forward_flops(write_vgg8(tmp_path)[0]) == 2 * (convolutions + products)


def test_flops_of_other_layers(tmp_path: Path) -> None:
    # Shapes chosen so that no two sizes are the same.
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2], group=2),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "g"], ["d"], transA=1),
        helper.make_node("MatMul", ["d", "m"], ["y"]),
    ]
    sizes = {"w": (4, 3, 2, 2), "g": (6 * 10 * 14, 11), "m": (11, 13)}
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, dims, [0.5] * math.prod(dims)) for name, dims in sizes.items()
    ]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 5, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 13])],
        weights,
    )
    model = tmp_path / "layers.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    assert forward_flops(model) == 2 * (4 * 5 * 7 * 3 * 4 + 6 * 10 * 14 * 11 + 11 * 13)


def test_flops_of_unknown_shapes_are_refused(tmp_path: Path) -> None:
    # A reshape to a shape that is only known when it runs.
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["a"]), helper.make_node("MatMul", ["a", "m"], ["y"])],
        "unknown",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
        [helper.make_tensor("m", TensorProto.FLOAT, [4, 1], [1.0] * 4)],
    )
    model = tmp_path / "unknown.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    with pytest.raises(ValueError, match="shape of a, y"):
        forward_flops(model)


def test_a_job_is_measured(tmp_path: Path) -> None:
    model, points = write_mlp(tmp_path)
    part = suite.part_of(tmp_path / "part.npy", points, 1 / 4)
    result = measure(Job(model, part, repeat=3, yardstick=0.1))
    assert (result.ok, result.partial, result.device, result.batch) == (True, False, "cpu", 64)
    assert result.regions == lronnx.load(model).walk_path(np.load(part), device="cpu").regions
    assert result.ratio == pytest.approx(1 / result.rate / result.plain)
    assert result.product > 1e8


def test_the_engines_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "walk" in engines()
    monkeypatch.setattr(lronnx.Network, "walk_path", lambda self, points, *, device="auto": None)
    assert engines() == ("walk",)
    monkeypatch.setattr(lronnx.Network, "walk_path", lambda self, points, *, engine="walk": None)
    assert {"walk", "sweep"} <= set(engines())


def test_the_rows_of_the_table() -> None:
    rows = [
        suite.Row("a", "double", "walk", 10_000_000, RESULT),
        suite.Row("b", "single", "walk", 10_000_000, RESULT._replace(batch=1, partial=True, ok=False)),
        suite.Row("c", "single", "walk", 0, None, "broken | badly"),
    ]
    text = suite.render(rows, MACHINE)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    parts = [[part.strip() for part in line.strip("|").split("|")] for line in table]
    assert parts[2] == ["a", "double", "walk", "2000", "2000", "2.00", "10.0", "20.0", "300", "ok"]
    assert parts[3] == ["b", "single", "walk", "2000+", "2000", "2.00", "10.0 *", "20.0", "300", "FAILED"]
    assert parts[4] == ["c", "single", "walk", *["-"] * 6, "failed: broken / badly"]
    assert "A star" in text
    assert "A star" not in suite.render(rows[:1], MACHINE)
    assert "100.0 GFLOP/s" in text
    assert "load" not in suite.render(rows, {**MACHINE, "load": None})
    assert [row.ok for row in rows] == [True, False, False]


def test_rows_of_a_busy_machine_are_marked() -> None:
    results = [RESULT, RESULT._replace(drift=1.5), RESULT._replace(product=5e10), RESULT._replace(drift=math.nan)]
    rows = [suite.Row("a", "double", "walk", 10_000_000, result) for result in results]
    assert [suite.doubtful(row, rows) for row in rows] == [False, True, True, False]
    assert suite.cells(rows[1], rows)[6:8] == ["10.0 ?", "20.0 ?"]
    assert "A question mark" in suite.render(rows, MACHINE)


def test_what_is_recorded_is_json() -> None:
    rows = [suite.Row("a", "double", "walk", 1, RESULT._replace(product=math.nan)), suite.Row("b", "", "", 1, None)]
    records = json.loads(json.dumps([row.record() for row in rows], allow_nan=False))
    assert records[0]["regions_per_second"] == 2000
    assert records[0]["limit_percent"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.08217, "0.0822"), (2.0, "2.00"), (12.345, "12.3"), (5841.2, "5841"), (0.0, "0"), (math.nan, "-")],
)
def test_numbers(value: float, text: str) -> None:
    assert suite.number(value) == text


def test_growth_is_written_and_drawn(tmp_path: Path) -> None:
    growth = suite.GROWTHS[0]
    lines = [
        suite.grown(growth, part, precision, "walk", RESULT._replace(regions=int(1600 * part), warm=part))
        for precision in suite.PRECISIONS
        for part in (0.25, 0.5, 1.0)
    ]
    read = list(csv.DictReader(io.StringIO(suite.csv_text(lines))))
    assert [row["regions"] for row in read[:3]] == ["400", "800", "1600"]
    assert read[0]["part_of_segment"] == "0.25"
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    suite.draw(growth, lines, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_path_begins_each_segment_where_the_last_ends(tmp_path: Path) -> None:
    points = np.load(suite.random_path(tmp_path / "path.npy", 3, 0.25))
    assert points.shape == (4, 3, 32, 32)
    assert (
        len({round(float(length), 6) for length in np.linalg.norm(np.diff(points.reshape(4, -1), axis=0), axis=1)}) == 3
    )


def test_only_what_is_asked_for() -> None:
    given = suite.parse(["--only", "mlp", "growth_width", "--precision", "single"])
    assert given.only == ["mlp"]
    assert [growth.name for growth in given.growth] == ["growth_width"]
    assert given.engine == list(engines())


@pytest.mark.parametrize("form", plot_cost.FORMS)
def test_the_cost_of_a_picture_is_that_of_its_file(form: str, tmp_path: Path) -> None:
    job = plot_cost.Job(form, plot_cost.EXAMPLE / "digits.onnx", None, 1000, tmp_path / "picture")
    cost = plot_cost.measure(job)
    assert cost.ok
    assert 900 <= cost.regions <= 2500
    assert cost.switches >= cost.regions - 10
    assert (tmp_path / "picture").stat().st_size == cost.size
    assert min(cost.load, cost.describe, cost.draw, cost.write) >= 0.0
    assert cost.draw > 0.0


def test_the_cost_of_a_picture_of_a_given_path(tmp_path: Path) -> None:
    points = plot_cost.EXAMPLE / "digits.npz"
    cost = plot_cost.measure(plot_cost.Job("html", points.with_suffix(".onnx"), points, 1, tmp_path / "picture"))
    assert cost.regions == 517


def test_the_cost_of_a_comparison_is_that_of_a_real_one() -> None:
    models = [compare_cost.KEPT / f"mlp_{name}.onnx" for name in ("pytorch_dynamo", "keras_tf2onnx")]
    cost = compare_cost.measure((models[0], models[1]), f"{compare_cost.KEPT / 'points.npz'}:grey_chw")
    assert cost.verdict == "identical regions"
    assert cost.breakpoints[0] == cost.breakpoints[1] > 10
    assert all(seconds > 0.0 for seconds in cost[:5])
