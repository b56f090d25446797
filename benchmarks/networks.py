"""Networks to measure on, made on the spot from a seed: nothing to download, nothing to train."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Channels of the convolutions between two poolings; as a VGG8 for images of 3 x 32 x 32 that is a tenth as wide.
VGG8 = ((6, 6), (16, 16), (64, 64))
HIDDEN, OUTPUTS, SIZE = 128, 10, 32
MLP = (784, 256, 256, 256, OUTPUTS)
# Strides of the first of two blocks in each stage of a ResNet18, whose channels are 1, 2, 4 and 8 times the stem's.
STRIDES = (1, 2, 2, 2)
# Eight blocks add up: with branches of this size activations grow by little more than 2 from first to last.
BRANCH = 8**-0.5


class _Builder:
    """A chain of nodes that grows at its end, ``last``."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "input"

    def weight(self, name: str, array: NDArray[np.float64]) -> str:
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        self.last = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [self.last], name=self.last, **attributes))
        return self.last

    def layer(
        self, op_type: str, shape: tuple[int, ...], *, gain: float = 2.0, bias: bool = True, **attributes: Any
    ) -> str:
        """An affine layer behind the last node: its weights have the variance gain / fan-in."""
        number = len(self.weights)
        fan_in = int(np.prod(shape[1:]))
        operands = [self.weight(f"w{number}", self.rng.standard_normal(shape) * np.sqrt(gain / fan_in))]
        if bias:
            operands.append(self.weight(f"b{number}", self.rng.uniform(-1, 1, shape[0]) / np.sqrt(fan_in)))
        return self.node(op_type, self.last, *operands, **attributes)

    def normalization(self, channels: int, scale: float) -> str:
        """A BatchNormalization with random statistics: variances around the 2 that such convolutions really have."""
        number = len(self.weights)
        operands = {
            "scale": scale * np.sqrt(2) * self.rng.uniform(0.5, 1.5, channels),
            "shift": scale * 0.1 * self.rng.standard_normal(channels),
            "mean": 0.1 * self.rng.standard_normal(channels),
            "variance": 2 * self.rng.uniform(0.5, 1.5, channels),
        }
        names = [self.weight(f"{name}{number}", array) for name, array in operands.items()]
        return self.node("BatchNormalization", self.last, *names)

    def save(
        self, folder: Path, name: str, shape: Sequence[int], start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> tuple[Path, Path]:
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, ["batch", OUTPUTS])],
            self.weights,
        )
        model, points = folder / f"{name}.onnx", folder / f"{name}.npz"
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model.write_bytes(proto.SerializeToString())
        np.savez(points, start=start.astype(np.float32), end=end.astype(np.float32))
        return model, points


def write_vgg8(folder: Path, seed: int = 0, width: int = 1) -> tuple[Path, Path]:
    """A VGG8 with random weights (He et al., 2015, normal) and biases, and two random points: (model, points).

    ``width`` multiplies the channels and the hidden units.
    """
    net = _Builder(seed)
    channels, size = 3, SIZE
    for block in VGG8:
        for made in block:
            net.layer("Conv", (made * width, channels, 3, 3), pads=[1, 1, 1, 1])
            net.node("Relu", net.last)
            channels = made * width
        net.node("AveragePool", net.last, kernel_shape=[2, 2], strides=[2, 2])
        size //= 2
    net.node("Flatten", net.last)
    net.layer("Gemm", (HIDDEN * width, channels * size * size), transB=1)
    net.node("Relu", net.last)
    net.layer("Gemm", (OUTPUTS, HIDDEN * width), transB=1)
    start, end = net.rng.standard_normal((2, 3, SIZE, SIZE))
    return net.save(folder, "vgg8" if width == 1 else f"vgg8_{width}", (3, SIZE, SIZE), start, end)


def write_mlp(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Fully connected layers of 784-256-256-256-10, as for images of digits, and two points in the unit cube."""
    net = _Builder(seed)
    for fan_in, made in pairwise(MLP):
        if net.nodes:
            net.node("Relu", net.last)
        net.layer("Gemm", (made, fan_in), transB=1)
    start, end = net.rng.uniform(0, 1, (2, MLP[0]))
    return net.save(folder, "mlp", (MLP[0],), start, end)


def write_resnet18(
    folder: Path, width: int, seed: int = 0, *, length: float = 1.0, batch_norm: bool = False
) -> tuple[Path, Path]:
    """A ResNet18 for images of 3 x 32 x 32 whose stem has ``width`` channels, and two points.

    ``length``: the distance of the points, in that of two independent random images. ``batch_norm``: normalizations
    behind the convolutions, as they are before an exporter folds them in.
    """
    net = _Builder(seed)

    def convolve(made: int, fan_in: int, kernel: int, stride: int = 1, scale: float = 1.0, gain: float = 2.0) -> str:
        net.layer(
            "Conv",
            (made, fan_in, kernel, kernel),
            gain=gain if batch_norm else gain * scale**2,
            bias=not batch_norm,
            pads=[kernel // 2] * 4,
            strides=[stride, stride],
        )
        # What it is divided by is meant for a gain of 2.
        return net.normalization(made, scale * np.sqrt(gain / 2)) if batch_norm else net.last

    convolve(width, 3, 3)
    net.node("Relu", net.last)
    channels = width
    for stage, first in enumerate(STRIDES):
        made = width * 2**stage
        for stride in (first, 1):
            shortcut = net.last
            convolve(made, channels, 3, stride)
            net.node("Relu", net.last)
            branch = convolve(made, made, 3, scale=BRANCH)
            if stride > 1:
                net.last = shortcut
                # No ReLU follows on this way that would halve the variance.
                shortcut = convolve(made, channels, 1, stride, gain=1.0)
            net.node("Add", branch, shortcut)
            net.node("Relu", net.last)
            channels = made
    net.node("GlobalAveragePool", net.last)
    net.node("Flatten", net.last)
    net.layer("Gemm", (OUTPUTS, channels), transB=1)
    start, direction = net.rng.standard_normal((2, 3, SIZE, SIZE))
    name = f"resnet18_{width}{'_bn' if batch_norm else ''}"
    return net.save(folder, name, (3, SIZE, SIZE), start, start + length * np.sqrt(2) * direction)
