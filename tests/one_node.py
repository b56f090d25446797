"""Networks of one node, made from the sample cases of the operator table, and what they compute in double precision.

The reference is ``onnx.reference`` in float64. It is wrong or incomplete for a few operators (batch statistics in
BatchNormalization up to opset 13, grouped ConvTranspose, ceil_mode and SAME padding in some ranks, cropping Pad,
linear Upsample, nothing of com.microsoft): those are written down here a second time, in plain numpy and without a
thought for speed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lronnx.ops import Sample

Floats = NDArray[np.float64]
Key = tuple[str, str]
DOMAIN_VERSIONS = {"ai.onnx.ml": 3, "com.microsoft": 1}
OUTPUT = "y"


def input_shape(sample: Sample) -> tuple[int, ...]:
    """The network's input: the operand itself if one varies, else all of them one behind the other."""
    shapes = [operand for operand in sample.operands if isinstance(operand, tuple)]
    return shapes[0] if len(shapes) == 1 else (sum(int(np.prod(shape)) for shape in shapes),)


def split_input(sample: Sample, x: Floats) -> list[Floats | None]:
    """The node's operands for one input of the network, in float64 (integers as they are)."""
    pieces: list[Floats | None] = []
    start, flat = 0, x.ravel()
    for operand in sample.operands:
        if isinstance(operand, tuple):
            size = int(np.prod(operand))
            pieces.append(flat[start : start + size].reshape(operand))
            start += size
        elif operand is not None and operand.dtype.kind == "f":
            pieces.append(operand.astype(np.float64))
        else:
            pieces.append(operand)
    return pieces


def one_node(
    key: Key, sample: Sample, dtype: type = np.float32, after: Sequence[onnx.NodeProto] = ()
) -> onnx.ModelProto:
    """A network of one node (and those in ``after``); the outputs are y, y1, y2, ..."""
    domain, op_type = key
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes = [operand for operand in sample.operands if isinstance(operand, tuple)]
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, NDArray[Any]] = {}
    names: list[str] = []
    start = 0
    for i, operand in enumerate(sample.operands):
        if operand is None:
            names.append("")
        elif isinstance(operand, tuple) and len(shapes) == 1:
            names.append("x")
        elif isinstance(operand, tuple):
            size = int(np.prod(operand))
            ends = {f"start{i}": [start], f"end{i}": [start + size], f"shape{i}": list(operand)}
            constants |= {name: np.array(content, np.int64) for name, content in ends.items()}
            nodes.append(helper.make_node("Slice", ["x", f"start{i}", f"end{i}"], [f"flat{i}"]))
            nodes.append(helper.make_node("Reshape", [f"flat{i}", f"shape{i}"], [f"in{i}"]))
            names.append(f"in{i}")
            start += size
        else:
            constants[f"in{i}"] = operand.astype(dtype) if operand.dtype.kind == "f" else operand
            names.append(f"in{i}")
    outputs = [OUTPUT, *(f"{OUTPUT}{i}" for i in range(1, sample.outputs))]
    nodes.append(helper.make_node(op_type, names, outputs, name="node", domain=domain, **sample.attributes))
    nodes.extend(after)
    if after:
        outputs = list(after[-1].output)
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", element, input_shape(sample))],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", sample.opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, DOMAIN_VERSIONS[domain]))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def reference(key: Key, sample: Sample, output: int = 0) -> Callable[[Floats], Floats]:
    """The node's function of the network's input, in float64, flat."""
    own = OWN.get(key[1]) if key[1] not in ONLY_BEFORE or sample.opset < ONLY_BEFORE[key[1]] else None
    if own is not None:
        return lambda x: np.asarray(own(sample.attributes, *split_input(sample, x)), dtype=np.float64).ravel()
    evaluator = ReferenceEvaluator(one_node(key, sample, np.float64))

    def evaluate(x: Floats) -> Floats:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, {"x": x.reshape(input_shape(sample))})
        return np.asarray(results[output], dtype=np.float64).ravel()

    return evaluate


# ---- operators that the reference evaluator gets wrong, in numpy


def _windows(
    attributes: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Strides, dilations, leading and trailing pads, and sizes of the output."""
    rank = len(size)
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    pads = list(attributes.get("pads", [0] * 2 * rank))
    mode = attributes.get("auto_pad", "NOTSET")
    before, behind, out = pads[:rank], pads[rank:], []
    for i in range(rank):
        extent = dilations[i] * (kernel[i] - 1) + 1
        if mode.startswith("SAME"):
            total = max((-(-size[i] // strides[i]) - 1) * strides[i] + extent - size[i], 0)
            before[i], behind[i] = total // 2, total - total // 2
            if mode == "SAME_LOWER":
                before[i], behind[i] = behind[i], before[i]
        steps = (size[i] + before[i] + behind[i] - extent) / strides[i]
        count = ceil(steps) + 1 if attributes.get("ceil_mode", 0) else int(steps // 1) + 1
        if attributes.get("ceil_mode", 0) and (count - 1) * strides[i] >= size[i] + before[i]:
            count -= 1
        out.append(count)
    return strides, dilations, before, behind, out


def _pool(attributes: Mapping[str, Any], x: Floats, average: bool) -> Floats:
    size, kernel = x.shape[2:], attributes["kernel_shape"]
    strides, dilations, before, behind, out = _windows(attributes, size, kernel)
    result = np.zeros((*x.shape[:2], *out))
    for place in itertools.product(*map(range, out)):
        inside, covered = [], 0
        for tap in itertools.product(*map(range, kernel)):
            at = [p * s - b + k * d for p, s, b, k, d in zip(place, strides, before, tap, dilations, strict=True)]
            covered += all(-b <= a < n + e for a, n, b, e in zip(at, size, before, behind, strict=True))
            if all(0 <= a < n for a, n in zip(at, size, strict=True)):
                inside.append(x[(slice(None), slice(None), *at)])
        if average:
            divisor = covered if attributes.get("count_include_pad", 0) else len(inside)
            result[(slice(None), slice(None), *place)] = np.sum(inside, axis=0) / divisor
        else:
            result[(slice(None), slice(None), *place)] = np.max(inside, axis=0)
    return result


def _max_pool(attributes: Mapping[str, Any], x: Floats) -> Floats:
    return _pool(attributes, x, average=False)


def _average_pool(attributes: Mapping[str, Any], x: Floats) -> Floats:
    return _pool(attributes, x, average=True)


def _conv_transpose(attributes: Mapping[str, Any], x: Floats, w: Floats, b: Floats | None = None) -> Floats:
    """Every input element adds its kernel to the output. Surplus rows go where onnxruntime drops them."""
    spatial = x.ndim - 2
    groups = attributes.get("group", 1)
    strides = attributes.get("strides", [1] * spatial)
    dilations = attributes.get("dilations", [1] * spatial)
    extra = attributes.get("output_padding", [0] * spatial)
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    mode = attributes.get("auto_pad", "NOTSET")
    full = [
        s * (n - 1) + d * (k - 1) + 1 + e
        for s, n, d, k, e in zip(strides, x.shape[2:], dilations, w.shape[2:], extra, strict=True)
    ]
    wanted = attributes.get("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        totals = [max(f - n, 0) for f, n in zip(full, wanted[-spatial:], strict=True)]
        smaller, larger = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = [*smaller, *larger] if mode == "SAME_UPPER" else [*larger, *smaller]
        full = [max(f, n) for f, n in zip(full, wanted[-spatial:], strict=True)]
    each, inside = w.shape[1], x.shape[1] // groups
    y = np.zeros((x.shape[0], each * groups, *full))
    for channel in range(x.shape[1]):
        to = slice(channel // inside * each, (channel // inside + 1) * each)
        for at in itertools.product(*map(range, x.shape[2:])):
            for tap in itertools.product(*map(range, w.shape[2:])):
                place = tuple(s * a + d * k for s, a, d, k in zip(strides, at, dilations, tap, strict=True))
                share = np.multiply.outer(x[(slice(None), channel, *at)], w[(channel, slice(None), *tap)])
                y[(slice(None), to, *place)] += share
    y = y[
        (
            slice(None),
            slice(None),
            *(slice(p, n - q) for p, q, n in zip(pads[:spatial], pads[spatial:], full, strict=True)),
        )
    ]
    return y if b is None else y + b.reshape(-1, *[1] * spatial)


def _batch_normalization(
    attributes: Mapping[str, Any], x: Floats, scale: Floats, bias: Floats, mean: Floats, variance: Floats
) -> Floats:
    shape = (-1, *[1] * (x.ndim - 2))
    epsilon = float(np.float32(attributes.get("epsilon", 1e-5)))
    scale, bias, mean, variance = (a.reshape(shape) for a in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def _thirds(x: float, mode: str) -> int:
    return {
        "round_prefer_floor": int(np.ceil(x - 0.5)),
        "round_prefer_ceil": int(np.floor(x + 0.5)),
        "floor": int(np.floor(x)),
        "ceil": int(np.ceil(x)),
    }[mode]


def _scaler(attributes: Mapping[str, Any], x: Floats) -> Floats:
    offset, scale = (np.float64(np.float32(attributes[key])) for key in ("offset", "scale"))
    return (x - offset) * scale


def _fused_matmul(attributes: Mapping[str, Any], a: Floats, b: Floats) -> Floats:
    left, right = (
        np.swapaxes(side, -1, -2) if attributes.get(key, 0) else side for side, key in ((a, "transA"), (b, "transB"))
    )
    return float(np.float32(attributes.get("alpha", 1.0))) * (left @ right)


def _pad(attributes: Mapping[str, Any], x: Floats, pads: Any = None, value: Any = None, axes: Any = None) -> Floats:
    """Negative widths crop; onnx.reference knows none."""
    pads = np.asarray(attributes["pads"] if pads is None else pads)
    value = attributes.get("value", 0.0) if value is None else value
    widths = np.zeros((x.ndim, 2), int)
    widths[range(x.ndim) if axes is None else axes] = pads.reshape(2, -1).T
    constant = {"constant_values": float(value)} if attributes.get("mode", "constant") == "constant" else {}
    padded = np.pad(x, np.maximum(widths, 0), attributes.get("mode", "constant"), **constant)
    return padded[tuple(slice(max(-b, 0), n - max(-e, 0)) for n, (b, e) in zip(padded.shape, widths, strict=True))]


def _upsample(attributes: Mapping[str, Any], x: Floats, scales: Floats) -> Floats:
    """What the standard says Upsample became, under the same evaluator."""
    later = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        **attributes,
    )  # fmt: skip
    return np.asarray(ReferenceEvaluator(later).run(None, {"x": x, "scales": scales})[0])


OWN: dict[str, Callable[..., Floats]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "ConvTranspose": _conv_transpose,
    "FusedMatMul": _fused_matmul,
    "GlobalMaxPool": lambda attributes, x: x.max(axis=tuple(range(2, x.ndim))),
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Scaler": _scaler,
    "Upsample": _upsample,
}
# Where the reference evaluator is right from some opset on, it is used from there.
ONLY_BEFORE = {"BatchNormalization": 14}
FLOAT = TensorProto.FLOAT
