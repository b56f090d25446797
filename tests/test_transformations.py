"""``python -m models.transformations``: what is made computes what it should, and the table tells what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from refusals import assert_refused

import lronnx
from models import transformations
from models.transformations import NotApplicable, Row, Transformation, fold, halve_weights, markdown, transform

ROOT = Path(__file__).parents[1]
RESNET = ROOT / "models" / "trained" / "resnet18bn_digits.onnx"
BY_NAME = {one.name: one for one in transformations.TRANSFORMATIONS}
Array = NDArray[Any]


def built(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    *,
    shape: Sequence[int | str],
    opset: int = 17,
    listed: bool = False,
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    """A model from 'x' to 'y'; ``listed``: with its weights among the inputs, as old exporters have it."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if listed:
        inputs += [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in weights.items()
        ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shape)) for name in outputs]
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, made, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if listed else 8)
    onnx.checker.check_model(model)
    return model


def normalization(read: str, made: str, prefix: str = "n", **attributes: Any) -> onnx.NodeProto:
    parameters = [f"{prefix}_{role}" for role in ("scale", "shift", "mean", "var")]
    return helper.make_node("BatchNormalization", [read, *parameters], [made], **attributes)


def parameters(rng: np.random.Generator, channels: int, prefix: str = "n") -> dict[str, Array]:
    drawn = {
        "scale": rng.normal(size=channels),
        "shift": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.1, 3, channels),
    }
    return {f"{prefix}_{role}": array.astype(np.float32) for role, array in drawn.items()}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def in_double(model: onnx.ModelProto, x: Array) -> list[Array]:
    """What a model's stored numbers mean, evaluated in float64 by the standard's own definition.

    That has no ConvTranspose of several groups: of these models, what onnxruntime makes of them.
    """
    if "ConvTranspose" in operators(model):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return [array.astype(np.float64) for array in session.run(None, {"x": x.astype(np.float32)})]
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in wide.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float64), tensor.name))
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                attribute.i = TensorProto.DOUBLE
    for value in (*wide.graph.input, *wide.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return list(ReferenceEvaluator(wide).run(None, {"x": x.astype(np.float64)}))


def assert_same_function(one: onnx.ModelProto, other: onnx.ModelProto, x: Array) -> None:
    """As far as rounding each weight once allows: sums of some dozen products, none of them large."""
    for expected, found in zip(in_double(one, x), in_double(other, x), strict=True):
        assert found.dtype == np.float64
        assert found.shape == expected.shape
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def conv(rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, Array], list[int]]:
    w, b = rng.normal(size=(6, 2, 3, 3)), rng.normal(size=6)
    node = helper.make_node("Conv", ["x", "w", "b"], ["h"], group=2, pads=[1, 1, 1, 1])
    return [node], {"w": w.astype(np.float32), "b": b.astype(np.float32)}, [2, 4, 5, 5]


def conv_without_bias(rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, Array], list[int]]:
    return (
        [helper.make_node("Conv", ["x", "w"], ["h"])],
        {"w": rng.normal(size=(6, 3, 2)).astype(np.float32)},
        [2, 3, 7],
    )


def conv_transpose(rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, Array], list[int]]:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["h"], group=2, strides=[2, 1])
    return [node], {"w": rng.normal(size=(4, 3, 2, 3)).astype(np.float32)}, [2, 4, 3, 3]


def gemm(rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, Array], list[int]]:
    weights = {"w": rng.normal(size=(5, 6)).astype(np.float32), "b": rng.normal(size=(1, 6)).astype(np.float32)}
    return [helper.make_node("Gemm", ["x", "w", "b"], ["h"], alpha=0.5, beta=0.3)], weights, [4, 5]


def gemm_transposed(rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, Array], list[int]]:
    weights = {"w": rng.normal(size=(6, 5)).astype(np.float32), "b": np.array(0.7, np.float32)}
    return [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1, beta=2.0)], weights, [4, 5]


Layer = Callable[[np.random.Generator], tuple[list[onnx.NodeProto], dict[str, Array], list[int]]]
LAYERS: list[Layer] = [conv, conv_without_bias, conv_transpose, gemm, gemm_transposed]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("listed", [False, True])
def test_a_folded_layer_is_the_same_function(layer: Layer, listed: bool) -> None:
    rng = np.random.default_rng(0)
    nodes, weights, shape = layer(rng)
    nodes += [normalization("h", "n", epsilon=0.01), helper.make_node("Relu", ["n"], ["y"])]
    model = built(nodes, weights | parameters(rng, 6), shape=shape, listed=listed)
    folded = onnx.ModelProto.FromString(model.SerializeToString())
    assert fold(folded) == 1
    onnx.checker.check_model(folded, full_check=True)
    assert operators(folded) == [nodes[0].op_type, "Relu"]
    assert [value.name for value in folded.graph.input] == ["x"]
    assert len(folded.graph.initializer) == 2
    x = rng.normal(size=shape).astype(np.float32)
    assert_same_function(model, folded, x)
    # The file is one that others run, too.
    session = onnxruntime.InferenceSession(folded.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"x": x})
    [expected] = in_double(model, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


NUMBERS = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None)
@given(
    st.tuples(*[NUMBERS] * 5), st.floats(2**-20, 1e3, width=32), st.sampled_from([1e-5, 1e-3, 0.0]),
)  # fmt: skip
def test_folded_weights_are_rounded_once(
    numbers: tuple[float, float, float, float, float], variance: float, epsilon: float
) -> None:
    weight, bias, scale, shift, mean = numbers
    held = {"w": [[weight]], "b": [bias], "n_scale": [scale], "n_shift": [shift], "n_mean": [mean], "n_var": [variance]}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), normalization("h", "y", epsilon=epsilon)]
    model = built(nodes, {name: np.array(value, np.float32) for name, value in held.items()}, shape=[1, 1])
    assert fold(model) == 1
    found = {tensor.name: numpy_helper.to_array(tensor).ravel()[0] for tensor in model.graph.initializer}
    with localcontext() as context:
        context.prec = 60
        factor = Decimal(scale) / (Decimal(variance) + Decimal(float(np.float32(epsilon)))).sqrt()
        exact_weight, terms = (
            Decimal(weight) * factor,
            (Decimal(bias) * factor, -Decimal(mean) * factor, Decimal(shift)),
        )
        for exact, size, name in (
            (exact_weight, abs(exact_weight), "y/weight"),
            (sum(terms), sum(map(abs, terms)), "y/bias"),
        ):
            assert found[name].dtype == np.float32
            half_unit = Decimal(float(np.spacing(np.abs(np.float32(float(exact)))))) / 2
            error = abs(Decimal(float(found[name])) - exact)
            assert error <= half_unit + Decimal(size) * Decimal(2) ** -50


def test_normalizations_behind_each_other_and_shared_weights_are_folded() -> None:
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(size=(3, 3, 1, 1)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        normalization("a", "b", "n"),
        normalization("b", "c", "m"),
        helper.make_node("Abs", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    model = built(nodes, weights | parameters(rng, 3) | parameters(rng, 3, "m"), shape=[4, 3, 4, 4])
    folded = onnx.ModelProto.FromString(model.SerializeToString())
    assert fold(folded) == 2
    assert operators(folded) == ["Conv", "Abs", "Conv"]
    assert_same_function(model, folded, rng.normal(size=(4, 3, 4, 4)))


def read_twice() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), normalization("h", "n")]
    return [*nodes, helper.make_node("Add", ["n", "h"], ["y"])], ["y"]


def an_output() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    return [helper.make_node("Conv", ["x", "w"], ["h"]), normalization("h", "y")], ["y", "h"]


def behind_a_relu() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["h"])]
    return [*nodes, normalization("h", "y")], ["y"]


def in_front() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    return [normalization("x", "h"), helper.make_node("Conv", ["h", "w"], ["y"])], ["y"]


def of_made_weights() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    nodes = [helper.make_node("Abs", ["w"], ["v"]), helper.make_node("Conv", ["x", "v"], ["h"])]
    return [*nodes, normalization("h", "y")], ["y"]


def in_training() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    return [helper.make_node("Conv", ["x", "w"], ["h"]), normalization("h", "y", training_mode=1)], ["y"]


def with_statistics() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    nodes, outputs = in_training()
    nodes[1].output.extend(["mean", "var"])
    return nodes, outputs


def read_in_a_branch() -> tuple[list[onnx.NodeProto], Sequence[str]]:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(kind, ["h"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, kind in (("then", "Relu"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        normalization("h", "n"),
        helper.make_node("If", ["yes"], ["i"], **branches),
        helper.make_node("Add", ["n", "i"], ["y"]),
    ]
    return nodes, ["y"]


@pytest.mark.parametrize(
    "case",
    [read_twice, an_output, behind_a_relu, in_front, of_made_weights, in_training, with_statistics, read_in_a_branch],
)
def test_what_cannot_be_folded_stays(
    case: Callable[[], tuple[list[onnx.NodeProto], Sequence[str]]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    nodes, outputs = case()
    weights = {"w": rng.normal(size=(3, 3, 1, 1)).astype(np.float32), "yes": np.array(True)} | parameters(rng, 3)
    model = built(nodes, weights, shape=[1, 3, 2, 2], outputs=outputs)
    folded = onnx.ModelProto.FromString(model.SerializeToString())
    assert fold(folded) == 0
    assert folded.graph.node == model.graph.node
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(NotApplicable, match="for it alone"):
        BY_NAME["batchnorm-folded"].apply(tmp_path / "model.onnx", tmp_path / "made.onnx")


def test_a_network_of_many_normalizations_keeps_its_regions(tmp_path: Path) -> None:
    assert BY_NAME["batchnorm-folded"].apply(RESNET, tmp_path / "folded.onnx") == "20 of 20"
    rng = np.random.default_rng(3)
    start, end = rng.random((2, 1, 8, 8))
    before, after = (
        lronnx.load(path, threads=1).walk(start, 0.9 * start + 0.1 * end) for path in (RESNET, tmp_path / "folded.onnx")
    )
    assert before.regions == after.regions > 10
    np.testing.assert_allclose(after.t, before.t, rtol=0, atol=1e-3)
    np.testing.assert_allclose(after.values, before.values, rtol=0, atol=1e-5 * np.abs(before.values).max())


@pytest.mark.parametrize("listed", [False, True])
def test_float16_weights_are_the_nearest_and_computed_with_in_float32(listed: bool) -> None:
    rng = np.random.default_rng(4)
    weights = {
        "w": rng.normal(size=(5, 6)).astype(np.float32),
        "b": np.array([1e-9, -2.0, 3e-6, 0, 1, 65504], np.float32),
        "shape": np.array([1, -1]),
    }
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Reshape", ["h", "shape"], ["y"])]
    model = built(nodes, weights, shape=[2, 5], listed=listed)
    assert halve_weights(model) == 2
    onnx.checker.check_model(model, full_check=True)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {name: array.dtype.name for name, array in stored.items()} == {
        "w/float16": "float16", "b/float16": "float16", "shape": "int64"
    }  # fmt: skip
    for name in ("w", "b"):
        # No other float16 is nearer.
        found, exact = stored[f"{name}/float16"], weights[name].astype(np.float64)
        with np.errstate(over="ignore"):
            neighbours = [np.nextafter(found, np.float16(way)) for way in (np.inf, -np.inf)]
        for other in neighbours:
            assert (np.abs(found.astype(np.float64) - exact) <= np.abs(other.astype(np.float64) - exact)).all()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(size=(2, 5)).astype(np.float32)
    [found] = session.run(None, {"x": x})
    expected = x.astype(np.float64) @ stored["w/float16"].astype(np.float64) + stored["b/float16"].astype(np.float64)
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-6, atol=1e-5)


def test_weights_that_float16_cannot_hold_are_told(tmp_path: Path) -> None:
    weights = {"w": np.array([[1.0, -7e4]], np.float32)}
    onnx.save(built([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, shape=[1, 1]), tmp_path / "model.onnx")
    [row] = transform([BY_NAME["float16-weights"]], tmp_path / "model.onnx", tmp_path, pytest.fail)
    assert row.outcome == "not applied"
    assert row.reason == "the initializer 'w' holds 70000: float16 ends at 65504"
    assert not (tmp_path / "float16-weights.onnx").exists()


def values(path: Path, x: Array) -> Array:
    """The one output of a model of one input, whatever they are called."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [declared] = session.get_inputs()
    [found] = session.run(None, {declared.name: x})
    return np.asarray(found)


# How far the outputs may be from the model's, relative to the largest.
TOLERANCES = {"float16-weights": 1e-2, "float16": 1e-2, "int8-dynamic": 0.3, "int8-static": 2.0}
# What this network cannot be converted to, and what the tools say then.
IMPOSSIBLE = {"opset-down": "noop_with_empty_axes"}


@pytest.mark.parametrize("one", transformations.TRANSFORMATIONS, ids=lambda one: one.name)
@pytest.mark.filterwarnings("default")  # tools are imported here for the first time; what they warn of is theirs
def test_what_is_made_computes_the_same(one: Transformation, tmp_path: Path) -> None:
    if one.tool:
        pytest.importorskip(one.tool)
    made = []

    def compare(path: Path) -> tuple[str, str, None]:
        made.append(path)
        return "compared", "", None

    [row] = transform([one], RESNET, tmp_path, compare)
    if one.name in IMPOSSIBLE and row.outcome == "not applied":
        assert IMPOSSIBLE[one.name] in row.reason
        return
    assert row.outcome == "compared", row.reason
    assert made == [tmp_path / f"{one.name}.onnx"]
    assert row.nodes == (74, len(onnx.load(made[0]).graph.node))
    assert row.version == (sys.modules[one.tool].__version__.removeprefix("v") if one.tool else "")
    with np.load(ROOT / "lronnx" / "example" / "digits_data.npz") as data:
        x = (data["x_test"][:50, None] / 16).astype(np.float32)
    expected, found = values(RESNET, x), values(made[0], x)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference <= TOLERANCES.get(one.name, 1e-5)
    # What says that it changes numbers does.
    assert (difference > 1e-5) == (one.name in TOLERANCES)


def test_a_model_is_lowered_as_far_as_it_goes(tmp_path: Path) -> None:
    weights = {"w": np.ones((1, 1), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    onnx.save(built(nodes, weights, shape=[1, 1]), tmp_path / "model.onnx")
    for name, low in (("opset-down", True), ("opset-up", False)):
        note = BY_NAME[name].apply(tmp_path / "model.onnx", tmp_path / "made.onnx")
        opset = onnx.load(tmp_path / "made.onnx").opset_import[0].version
        assert note == f"17 to {opset}"
        assert (7 <= opset < 17) if low else (opset > 17)
    onnx.save(built(nodes, weights, shape=[1, 1], opset=7), tmp_path / "old.onnx")
    with pytest.raises(NotApplicable, match="of opset 7 already"):
        BY_NAME["opset-down"].apply(tmp_path / "old.onnx", tmp_path / "made.onnx")


def test_weights_outside_are_written_once(tmp_path: Path) -> None:
    for _ in range(2):
        BY_NAME["external-data"].apply(RESNET, tmp_path / "made.onnx")
    size = (tmp_path / "made.onnx.data").stat().st_size
    assert 40_000 < size < 120_000
    assert (tmp_path / "made.onnx").stat().st_size < RESNET.stat().st_size - 30_000
    # And others can be made of what has them outside.
    for name in ("onnxruntime-extended", "batchnorm-folded"):
        folder = tmp_path / name
        folder.mkdir()
        BY_NAME[name].apply(tmp_path / "made.onnx", folder / "alone.onnx")
        assert values(folder / "alone.onnx", np.zeros((1, 1, 8, 8), np.float32)).shape == (1, 10)


# ---- the rows and the table


def compared(**changed: Any) -> dict[str, Any]:
    pair = {
        "verdict": "identical regions", "rounding": "float32", "largest_difference": 3e-6, "size": 30.0,
        "breakpoints": [4172, 4168], "switches": [4172, 4168], "matched_switches": 4160, "largest_move": 1.26e-4,
        "median_move": 2e-8,
    }  # fmt: skip
    return {"pairs": [pair | changed]}


def test_the_table() -> None:
    rows = [
        Row("batchnorm-folded", "", "", "20 of 20", "f.onnx", (74, 54), "compared", "", compared()),
        Row("float16", "onnxruntime", "1.32.0", "", "h.onnx", (74, 76), "compared", "", compared(
            verdict="different", rounding=None, largest_difference=0.0, largest_move=None, median_move=None
        )),
        Row("int8", "onnxruntime", "1.32.0", "", "i.onnx", (74, 196), "refused",
            "not piecewise affine: 3 nodes refused\n  #3 a: quantized\n  #4 b\n  #5 c\nso there\ntry this", None),
        Row("opset-down", "onnx", "1.23.2", "", None, (74, None), "not applied", "it cannot", None),
        Row("odd", "onnx", "1.23.2", "", "o.onnx", (74, 74), "failed", "the self-check failed", compared()),
    ]  # fmt: skip
    lines = markdown(rows).splitlines()
    assert len({len(line) for line in lines[:7]}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:7]]
    assert cells[2] == [
        "batchnorm-folded (20 of 20)", "own", "74 → 54", "identical regions", "float32", "3.0e-06", "1.0e-07",
        "4,172 / 4,168", "1.3e-04", "2.0e-08", "20"
    ]  # fmt: skip
    assert cells[3][3:] == ["different", "no", "0", "0", "4,172 / 4,168", "", "", "20"]
    assert cells[4] == ["int8", "onnxruntime 1.32.0", "74 → 196", "refused", *[""] * 7]
    assert cells[5] == ["opset-down", "onnx 1.23.2", "74", "not applied", *[""] * 7]
    assert cells[6][3] == "identical regions (failed)"
    assert lines[8:] == [
        "- int8: refused: not piecewise affine: 3 nodes refused: #3 a: quantized (and 2 more); so there",
        "- opset-down: not applied: it cannot",
        "- odd: failed: the self-check failed",
    ]


def test_tools_that_fail_or_are_missing_are_told(tmp_path: Path) -> None:
    def fails(model: Path, made: Path) -> str:
        made.write_bytes(b"half")
        raise RuntimeError("no such kernel\nat line 3")

    def nothing(model: Path, made: Path) -> str:
        raise NotApplicable("it is as it should be")

    ones = [
        Transformation("fails", "", fails),
        Transformation("missing", "surely_not_installed", fails),
        Transformation("nothing", "", nothing),
    ]
    told: list[str] = []
    for one in ones:
        (tmp_path / f"{one.name}.onnx").write_bytes(b"of another run")
    rows = transform(ones, RESNET, tmp_path, pytest.fail, told.append)
    assert told == ["fails", "missing", "nothing"]
    assert {row.outcome for row in rows} == {"not applied"}
    assert [row.reason for row in rows] == [
        "RuntimeError: no such kernel",
        "the package surely_not_installed is not installed: pip install '.[transformations]'",
        "it is as it should be",
    ]
    assert not list(tmp_path.iterdir())


def answering(monkeypatch: pytest.MonkeyPatch, code: int, stdout: str, stderr: str) -> list[list[str]]:
    """Have every process end so; returns the list that their command lines are added to."""
    called: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    monkeypatch.setattr(transformations.subprocess, "run", run)
    return called


@pytest.mark.parametrize(
    ("code", "stdout", "outcome", "reason"),
    [
        (0, json.dumps(compared()), "compared", ""),
        (3, "", "refused", "wrong of b.onnx"),
        (5, json.dumps(compared()), "failed", "the self-check failed: wrong of b.onnx"),
        (4, "", "failed", "lronnx compare ended with exit code 4: wrong of b.onnx"),
        (-9, "", "failed", "lronnx compare ended with exit code -9: wrong of b.onnx"),
    ],
)
def test_exit_codes_are_told_apart(
    code: int, stdout: str, outcome: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = answering(monkeypatch, code, stdout, "Notice: first\nError: wrong of a/b.onnx\n")
    found = transformations.compare(Path("a.onnx"), Path("a", "b.onnx"), ["--points", "p.npy"])
    assert found == (outcome, reason, compared() if stdout else None)
    command = [
        sys.executable,
        "-m",
        "lronnx",
        "compare",
        "a.onnx",
        str(Path("a", "b.onnx")),
        "--json",
        "--workers",
        "1",
    ]
    assert called == [[*command, "--points", "p.npy"]]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(transformations.main, [str(argument) for argument in arguments])


def test_the_command_writes_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 0, json.dumps(compared()), "")
    result = invoke(
        RESNET, "--points", "p.npy", "--only", "renamed", "--only", "float16-weights", "-o", tmp_path / "new"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == (tmp_path / "new" / "transformations.md").read_text(encoding="utf-8")
    described = json.loads((tmp_path / "new" / "transformations.json").read_text(encoding="utf-8"))
    assert described["model"] == RESNET.name
    assert [one["name"] for one in described["transformations"]] == ["renamed", "float16-weights"]
    assert described["transformations"][1]["comparison"] == compared()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "renamed.onnx", "float16-weights.onnx", "transformations.json", "transformations.md"
    }  # fmt: skip


def test_a_failed_comparison_shows_in_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        transformations,
        "compare",
        lambda model, made, **_: ("compared" if model == made else "failed", "so it goes", compared()),
    )
    result = invoke(RESNET, "--points", "p.npy", "--only", "renamed", "-o", tmp_path)
    assert result.exit_code == 1
    assert "- renamed: failed: so it goes" in result.stdout


def test_bad_input_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    options = ("--points", "p.npy", "-o", tmp_path / "out")
    assert_refused(invoke(junk, *options), "junk.onnx is not an ONNX model")
    assert_refused(invoke(tmp_path / "gone.onnx", *options), "gone.onnx", "does not exist")
    assert_refused(invoke(RESNET, *options, "--only", "turned"), "turned", "onnxsim", "float16-weights")
    (tmp_path / "file").write_bytes(b"")
    answering(monkeypatch, 2, "", "Error: cannot read p.npy")
    assert_refused(invoke(RESNET, "--points", "p.npy", "-o", tmp_path / "file" / "out"), "file")
    assert_refused(invoke(RESNET, *options), "cannot be compared with itself", "cannot read p.npy")
    assert not list((tmp_path / "out").iterdir())


def test_the_command_compares_what_it_makes(tmp_path: Path) -> None:
    with np.load(ROOT / "lronnx" / "example" / "digits_data.npz") as data:
        np.save(tmp_path / "points.npy", data["x_test"][:2])
    only = [part for name in ("batchnorm-folded", "int8-dynamic") for part in ("--only", name)]
    command = [sys.executable, "-m", "models.transformations", RESNET, "--points", tmp_path / "points.npy", *only]
    done = subprocess.run(
        [str(part) for part in (*command, "-o", tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "transformations.json").read_text(encoding="utf-8")
    folded, quantized = json.loads(text)["transformations"]
    assert folded["outcome"] == "compared"
    [pair] = folded["comparison"]["pairs"]
    assert (pair["verdict"], pair["rounding"], pair["one_to_one"]) == ("identical regions", "float32", True)
    assert pair["breakpoints"][0] == pair["breakpoints"][1] > 100
    assert quantized["outcome"] == "refused"
    assert "int8-dynamic.onnx" in quantized["reason"]
    told = done.stdout.splitlines()
    assert [line.split("|")[4].strip() for line in told[2:4]] == ["identical regions", "refused"]
    assert "DynamicQuantizeLinear" in told[5]
    assert "it is quantized" in told[5]
