"""What is folded into the node in front changes no number, and nothing that a reader of the network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lronnx
from lronnx import network as network_module
from lronnx import onnx_io
from lronnx.linearize import Program
from lronnx.network import Network
from lronnx.ops.switching import FRESH

Floats = NDArray[np.float64]
SIZE = 6
# operator, shape of its weights, channels of its output, attributes
FRONTS: dict[str, tuple[str, tuple[int, ...], int, dict[str, Any]]] = {
    "conv": ("Conv", (5, 3, 3, 3), 5, {"pads": [1, 1, 1, 1]}),
    "grouped": ("Conv", (6, 1, 3, 3), 6, {"group": 3, "strides": [2, 2]}),
    "transposed": ("ConvTranspose", (3, 4, 3, 3), 4, {"strides": [2, 2]}),
    "transposed-grouped": ("ConvTranspose", (3, 2, 3, 3), 6, {"group": 3}),
    "gemm": ("Gemm", (3 * SIZE * SIZE, 7), 7, {"alpha": 0.5, "beta": 2.0}),
    "gemm-turned": ("Gemm", (7, 3 * SIZE * SIZE), 7, {"transB": 1}),
}


def model_of(
    front: str,
    *,
    dtype: type = np.float32,
    bias: bool = True,
    between: bool = False,
    variance: float = 1.0,
    epsilon: float = 2**-10,
    seed: int = 0,
) -> onnx.ModelProto:
    """A node, a normalisation and a ReLU. ``between``: the sum reads what lies between as well.

    In whatever type, the weights are the same numbers.
    """
    op_type, shape, channels, attributes = FRONTS[front]
    rng = np.random.default_rng(seed)
    constants = {"w": rng.standard_normal(shape)}
    if bias:
        constants["b"] = rng.standard_normal(channels)
    constants |= {name: rng.standard_normal(channels) for name in ("scale", "shift", "mean")}
    constants["variance"] = variance * (rng.random(channels) + 0.1)
    constants = {name: array.astype(np.float32).astype(dtype) for name, array in constants.items()}
    first = "x"
    nodes = []
    if op_type == "Gemm":
        nodes.append(helper.make_node("Flatten", ["x"], ["flat"], name="flat"))
        first = "flat"
    inputs = [first, "w", *(["b"] if bias else [])]
    nodes += [
        helper.make_node(op_type, inputs, ["inner"], name="front", **attributes),
        helper.make_node(
            "BatchNormalization", ["inner", "scale", "shift", "mean", "variance"], ["normal"], name="norm",
            epsilon=epsilon,
        ),
        helper.make_node("Relu", ["normal"], ["relu"], name="relu"),
        helper.make_node("Add", ["relu", "inner" if between else "relu"], ["y"], name="sum"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        front,
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [1, 3, SIZE, SIZE])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def load(folder: Path, model: onnx.ModelProto, **options: Any) -> Network:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return lronnx.load(path, **options)


def program(network: Network) -> Program:
    return network._program(FRESH, "double", "cpu", sizes=True, lowering="banded-1")


def is_folded(network: Network) -> bool:
    """Whether nothing is multiplied by the normalisation's own factor any more: one node fewer is evaluated."""
    return len(network._folded.graph.nodes) < len(network._source.graph.nodes)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("front", FRONTS)
def test_folded_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: str, bias: bool) -> None:
    model = model_of(front, bias=bias)
    network = load(tmp_path, model)
    assert is_folded(network)
    evaluator = ReferenceEvaluator(by_groups(model_of(front, bias=bias, dtype=np.float64)))
    start, end = np.random.default_rng(1).standard_normal((2, *network.input_shape))
    walk = network.walk(start, end, device="cpu")
    assert walk.self_check.ok
    for t, values in zip(walk.t, walk.values, strict=True):
        expected = evaluator.run(None, {"x": start + t * (end - start)})[0].ravel()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12 * abs(expected).max() + 1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(network_module, "fold", lambda source: source)
        plain = load(tmp_path, model)
        apart = plain.walk(start, end, device="cpu")
    assert not is_folded(plain)
    np.testing.assert_allclose(walk.t, apart.t, rtol=0, atol=1e-12)
    np.testing.assert_allclose(walk.values, apart.values, rtol=0, atol=1e-11)
    np.testing.assert_allclose(walk.slopes, apart.slopes, rtol=0, atol=1e-11)
    assert walk.switches == apart.switches


def by_groups(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each convolution by groups, which the reference evaluator gets wrong where it is transposed."""
    node = next(node for node in model.graph.node if node.name == "front")
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if node.op_type != "ConvTranspose" or groups == 1:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    position = [node.name for node in made.graph.node].index("front")
    del made.graph.node[position]
    pieces = []
    for group in range(groups):
        size = len(held["w"]) // groups
        each = held["w"].shape[1]
        parts = {"w": held["w"][group * size : (group + 1) * size]}
        if "b" in held:
            parts["b"] = held["b"][group * each : (group + 1) * each]
        parts |= {"from": np.array([group * size]), "to": np.array([(group + 1) * size]), "axis": np.array([1])}
        made.graph.initializer.extend(numpy_helper.from_array(a, f"{name}{group}") for name, a in parts.items())
        names = [f"x{group}", f"w{group}", *([f"b{group}"] if "b" in held else [])]
        pieces += [
            helper.make_node("Slice", ["x", f"from{group}", f"to{group}", f"axis{group}"], [f"x{group}"]),
            helper.make_node("ConvTranspose", names, [f"inner{group}"]),
        ]
    pieces.append(helper.make_node("Concat", [f"inner{group}" for group in range(groups)], ["inner"], axis=1))
    rest = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*rest[:position], *pieces, *rest[position:]])
    return made


@pytest.mark.parametrize("front", FRONTS)
def test_squares_are_those_of_the_folded_numbers(tmp_path: Path, front: str) -> None:
    network = load(tmp_path, model_of(front))
    made = program(network)
    (group,) = made.groups
    session = ort.InferenceSession(onnx_io.to_bytes(made.graph))
    x, d = np.random.default_rng(1).standard_normal((2, 1, *network.input_shape))
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"point": x, "direction": d}), strict=True))
    folded = network._folded
    (node,) = (node for node in folded.graph.nodes if node.label == "front")
    assert node.outputs == ("normal",)
    weight, bias = (folded.contents[name] for name in node.inputs[1:])
    # The sum of squares is what the same node makes of squares; it multiplies by its own constants as well.
    # An input's size is that of the number itself, and both are squared.
    model = model_of(front, dtype=np.float64)
    attributes = FRONTS[front][3]
    squares = {
        "w": np.square(weight) * attributes.get("alpha", 1.0),
        "b": np.square(np.ravel(bias)) / attributes.get("beta", 1.0),
    }
    rest = [tensor for tensor in model.graph.initializer if tensor.name not in squares]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*rest, *(numpy_helper.from_array(a, name) for name, a in squares.items())])
    model.graph.output[0].name = "inner"
    expected = ReferenceEvaluator(by_groups(model)).run(None, {"x": 2 * np.square(x[0])})[0]
    size = np.moveaxis(found[group.size].reshape(1, *group.physical), range(1, 1 + len(group.order)),
                       [axis + 1 for axis in group.order])  # fmt: skip
    np.testing.assert_allclose(size.ravel(), np.sqrt(expected.ravel()), rtol=1e-11)


@pytest.mark.parametrize(
    "model",
    [
        model_of("conv", between=True),
        # A factor that is none.
        model_of("conv", variance=0.0, epsilon=0.0),
    ],
    ids=["read-by-two", "infinite"],
)
def test_what_is_not_folded(tmp_path: Path, model: onnx.ModelProto) -> None:
    assert not is_folded(load(tmp_path, model))


def test_what_is_asked_for_is_still_there(tmp_path: Path) -> None:
    model = model_of("conv")
    x = np.random.default_rng(2).standard_normal((1, 3, SIZE, SIZE))
    inner = load(tmp_path, model, output="inner")
    assert not is_folded(inner)
    path = tmp_path / "m.onnx"
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expected = sum(
        np.einsum("oc,nchw->nohw", weights["w"][:, :, i, j], np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))[
            ..., i : i + SIZE, j : j + SIZE
        ]) for i in range(3) for j in range(3)
    ) + weights["b"][:, None, None]  # fmt: skip
    values = inner.walk(x, -x, device="cpu").values[0]
    np.testing.assert_allclose(values, np.ravel(expected), rtol=0, atol=1e-12 * abs(expected).max())
    names = [node.name for node in lronnx.inspect(path).nodes]
    assert names == ["front", "norm", "relu", "sum"]
    assert [node.name for node in lronnx.load(path).graph.nodes] == names
    assert is_folded(lronnx.load(path, output="normal"))


def test_saved_programs_are_folded(tmp_path: Path) -> None:
    folded = load(tmp_path, model_of("conv"))
    session = ort.InferenceSession(folded.linearize())
    assert {output.name for output in session.get_outputs()} == {
        "value", "slope", "relu/branch", "relu/function", "relu/function_slope", "relu/rate"
    }  # fmt: skip
