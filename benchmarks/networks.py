"""Networks to measure on, made on the spot from a seed: nothing to download, nothing to train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Channels of the convolutions between two poolings; as a VGG8 for images of 3 x 32 x 32 that is a tenth as wide.
VGG8 = ((6, 6), (16, 16), (64, 64))
HIDDEN, OUTPUTS, SIZE = 128, 10, 32


def write_vgg8(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """A VGG8 with random weights (He et al., 2015, normal) and biases, and two random points: (model, points)."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    last = "input"

    def weight(name: str, array: NDArray[np.float64]) -> str:
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(op_type: str, *inputs: str, **attributes: object) -> str:
        output = f"{op_type}_{len(nodes)}"
        nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def layer(op_type: str, shape: tuple[int, ...], **attributes: object) -> str:
        number = len(weights)
        fan_in = int(np.prod(shape[1:]))
        w = weight(f"w{number}", rng.standard_normal(shape) * np.sqrt(2 / fan_in))
        b = weight(f"b{number}", rng.uniform(-1, 1, shape[0]) / np.sqrt(fan_in))
        return node(op_type, last, w, b, **attributes)

    channels, size = 3, SIZE
    for block in VGG8:
        for width in block:
            last = layer("Conv", (width, channels, 3, 3), pads=[1, 1, 1, 1])
            last = node("Relu", last)
            channels = width
        last = node("AveragePool", last, kernel_shape=[2, 2], strides=[2, 2])
        size //= 2
    last = node("Flatten", last)
    last = layer("Gemm", (HIDDEN, channels * size * size), transB=1)
    last = node("Relu", last)
    last = layer("Gemm", (OUTPUTS, HIDDEN), transB=1)
    graph = helper.make_graph(
        nodes,
        "vgg8",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", OUTPUTS])],
        weights,
    )
    model, points = folder / "vgg8.onnx", folder / "vgg8.npz"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.write_bytes(proto.SerializeToString())
    start, end = rng.standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    np.savez(points, start=start, end=end)
    return model, points
