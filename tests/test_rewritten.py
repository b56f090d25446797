"""Activation functions that exporters write as a choice, and nodes that onnxruntime fused: walked as what they mean.

Every one is compared with the function in numpy: breakpoints where it has kinks, values and slopes in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from strategies import Builder, Tensor

import lronnx

Make = Callable[[Builder, Tensor], Tensor]


def choice(b: Builder, compare: str, left: Tensor, right: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    condition = b.add(compare, [left, right], np.broadcast_shapes(left.shape, right.shape))
    return b.add("Where", [condition, yes, no], np.broadcast_shapes(yes.shape, no.shape, condition.shape))


def scaled(b: Builder, x: Tensor, factor: float, offset: float = 0.0) -> Tensor:
    return b.sum(b.add("Mul", [x, b.constant(factor)], x.shape), b.constant(offset))


def leaky(b: Builder, x: Tensor) -> Tensor:
    return choice(b, "Less", x, b.constant(0.0), scaled(b, x, 0.1), x)


def threshold(b: Builder, x: Tensor) -> Tensor:
    """torch's threshold(x, 0.5, 0.5)."""
    return choice(b, "Greater", x, b.constant(0.5), x, b.constant(0.5))


def constant_first(b: Builder, x: Tensor) -> Tensor:
    return choice(b, "GreaterOrEqual", b.constant(0.5), x, b.constant(0.5), x)


def softshrink(b: Builder, x: Tensor) -> Tensor:
    low = choice(b, "Less", x, b.constant(-0.5), scaled(b, x, 1.0, 0.5), b.constant(0.0))
    return choice(b, "Greater", x, b.constant(0.5), scaled(b, x, 1.0, -0.5), low)


def clip(b: Builder, x: Tensor) -> Tensor:
    """The second choice is made by the first one's result."""
    low = choice(b, "Less", x, b.constant(-0.5), b.constant(-0.5), x)
    return choice(b, "Less", b.constant(0.75), low, b.constant(0.75), low)


def shifted(b: Builder, x: Tensor) -> Tensor:
    """The condition is on 1 - 2 x > 0, that is x < 1/2."""
    return choice(b, "Greater", scaled(b, x, -2.0, 1.0), b.constant(0.0), scaled(b, x, 3.0), scaled(b, x, 1.0, 1.0))


RECOGNISED: list[tuple[Make, Callable[[Any], Any], Sequence[float]]] = [
    (leaky, lambda x: np.where(x < 0, float(np.float32(0.1)) * x, x), [0.0]),
    (threshold, lambda x: np.maximum(x, 0.5), [0.5]),
    (constant_first, lambda x: np.maximum(x, 0.5), [0.5]),
    (softshrink, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), [-0.5, 0.5]),
    (clip, lambda x: np.clip(x, -0.5, 0.75), [-0.5, 0.75]),
    (shifted, lambda x: np.where(x < 0.5, 3 * x, x + 1), [0.5]),
]


def load(folder: Path, model: onnx.ModelProto) -> lronnx.Network:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return lronnx.load(path)


@pytest.mark.parametrize(("make", "function", "kinks"), RECOGNISED, ids=lambda p: getattr(p, "__name__", ""))
def test_a_continuous_choice(
    tmp_path: Path, make: Make, function: Callable[[Any], Any], kinks: Sequence[float]
) -> None:
    b = Builder((2,))
    # Behind weights of its own, so that the choice stands inside a network: units see x and -2 x.
    network = load(tmp_path, b.model(make(b, b.gemm(b.input, [[1, 0], [0, -2]]))))
    assert network.units == (4 if make is clip else 2)
    walk = network.walk(np.array([-1.5, -1.0]), np.array([1.0, 1.5]), device="cpu")
    places = sorted((x + 1.5) / 2.5 for x in kinks) + sorted((-x / 2 + 1.0) / 2.5 for x in kinks)
    np.testing.assert_allclose(walk.t, [0.0, *sorted(places), 1.0], rtol=0, atol=1e-12)
    x = np.stack([-1.5 + 2.5 * walk.t, 2.0 - 5.0 * walk.t], axis=1)
    np.testing.assert_allclose(walk.values, function(x), rtol=0, atol=1e-12)
    assert walk.self_check.ok


def jump(b: Builder, x: Tensor) -> Tensor:
    return choice(b, "Less", x, b.constant(0.0), b.constant(0.25), x)


def hard_shrink(b: Builder, x: Tensor) -> Tensor:
    inner = choice(b, "Less", x, b.constant(0.5), b.constant(0.0), x)
    return choice(b, "Less", x, b.constant(-0.5), x, inner)


def other_tensor(b: Builder, x: Tensor) -> Tensor:
    """max(x, |x|) would be continuous, but nothing in the condition says so."""
    return choice(b, "Less", x, b.constant(0.0), b.add("Abs", [x], x.shape), x)


def wrong_place(b: Builder, x: Tensor) -> Tensor:
    return choice(b, "Less", x, b.constant(0.001), scaled(b, x, 0.1), x)


@pytest.mark.parametrize("make", [jump, hard_shrink, other_tensor, wrong_place])
def test_a_choice_that_jumps_is_refused(tmp_path: Path, make: Make) -> None:
    b = Builder((2,))
    with pytest.raises(lronnx.NotPiecewiseAffineError) as caught:
        load(tmp_path, b.model(make(b, b.gemm(b.input, [[1, 0], [0, -2]]))))
    assert "Where" in {refusal.op_type for refusal in caught.value.refusals}


def test_a_condition_that_is_used_otherwise_is_refused(tmp_path: Path) -> None:
    b = Builder((2,))
    condition = b.add("Less", [b.input, b.constant(0.0)], b.input.shape)
    chosen = b.add("Where", [condition, b.constant(0.0), b.input], b.input.shape)
    step = b.add("Cast", [condition], b.input.shape, to=TensorProto.FLOAT)
    with pytest.raises(lronnx.NotPiecewiseAffineError) as caught:
        load(tmp_path, b.model(b.sum(chosen, step)))
    assert [refusal.op_type for refusal in caught.value.refusals] == ["Less"]


def test_a_long_chain_of_choices_is_judged_at_once(tmp_path: Path) -> None:
    b = Builder((1,))
    x: Tensor = b.input
    for step in range(30):
        x = choice(b, "Less", x, b.constant(-step / 30), scaled(b, x, 0.5, -step / 60), x)
    network = load(tmp_path, b.model(x))
    walk = network.walk(np.array([-1.0]), np.array([1.0]), device="cpu")
    assert walk.self_check.ok
    assert walk.regions > 3


# ---- fused nodes

FUSED = "com.microsoft"


def fused_model(nodes: list[onnx.NodeProto], shape: tuple[int, ...], weights: dict[str, Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


WEIGHT, BIAS = np.array([[1.0, 0.0], [0.0, -2.0]]), np.array([0.25, -0.5])
ACTIVATIONS: list[tuple[dict[str, Any], Callable[[Any], Any]]] = [
    ({"activation": "Relu"}, lambda z: np.maximum(z, 0)),
    ({"activation": "LeakyRelu", "activation_alpha": 0.25}, lambda z: np.where(z < 0, 0.25 * z, z)),
    (
        {"activation": "HardSigmoid", "activation_alpha": 0.5, "activation_beta": 0.25},
        lambda z: np.clip(0.5 * z + 0.25, 0, 1),
    ),
]


@pytest.mark.parametrize(("attributes", "function"), ACTIVATIONS, ids=["relu", "leaky", "hard_sigmoid"])
def test_a_fused_product(tmp_path: Path, attributes: dict[str, Any], function: Callable[[Any], Any]) -> None:
    node = helper.make_node("FusedGemm", ["x", "w", "b"], ["y"], name="dense", domain=FUSED, transB=1, **attributes)
    network = load(tmp_path, fused_model([node], (1, 2), {"w": WEIGHT, "b": BIAS}))
    check_fused(network, lambda x: function(x @ WEIGHT.T + BIAS), "dense")


@pytest.mark.parametrize(
    ("attributes", "function"),
    [
        ({"activation": "Clip", "activation_params": [-0.5, 0.75]}, lambda z: np.clip(z, -0.5, 0.75)),
        ({"activation": "LeakyRelu", "activation_params": [0.25]}, lambda z: np.where(z < 0, 0.25 * z, z)),
    ],
)
def test_a_fused_convolution(tmp_path: Path, attributes: dict[str, Any], function: Callable[[Any], Any]) -> None:
    """With the sum of a skip connection in front of its activation."""
    node = helper.make_node("FusedConv", ["x", "w", "b", "x"], ["y"], name="c", domain=FUSED, **attributes)
    kernel = WEIGHT[:, :, None, None]
    network = load(tmp_path, fused_model([node], (1, 2, 1, 1), {"w": kernel, "b": BIAS}))
    check_fused(network, lambda x: function(x @ WEIGHT.T + BIAS + x), "c")


def check_fused(network: lronnx.Network, function: Callable[[Any], Any], label: str) -> None:
    start, end = np.array([-1.5, 1.0]), np.array([1.0, -1.0])
    walk = network.walk(start.reshape(network.input_shape), end.reshape(network.input_shape), device="cpu")
    assert network.units == 2
    assert {switch.node for together in walk.switches for switch in together} == {label}
    assert walk.regions > 2
    x = start + walk.t[:, None] * (end - start)
    np.testing.assert_allclose(walk.values, function(x), rtol=0, atol=1e-12)
    middles = (walk.values[1:] + walk.values[:-1]) / 2
    np.testing.assert_allclose(middles, function((x[1:] + x[:-1]) / 2), rtol=0, atol=1e-12)
    assert walk.self_check.ok
