"""Affine operators with a spatial window: convolutions, average pooling, resizing.

onnxruntime's CPU provider has no double-precision kernel for any of them. In double precision a convolution
becomes one matrix product over columns that are cut out of a channels-last tensor: the columns of ``tile``
neighbouring outputs along the last spatial axis are taken together, against a banded matrix. A larger tile
copies less and multiplies more zeros; few output channels want a large one. Measured (3x3, two cores, batch
16, GFLOP/s of the direct formula): 6 channels 32x32: tile 1 8, tile 2 15, tile 4 16; 16 channels 16x16: 30, 36,
28; 64 channels 8x8: 66, 50, 28.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil, floor, prod

import numpy as np

from lronnx.graph import Array, Node
from lronnx.ops.emitter import Emitter, Lanes, row_major_order
from lronnx.ops.record import EmitRule, Facts, Kind, OpRule, Sample, Verdict, ints, only, register

Operands = Sequence["Lanes | Array | None"]
_random = np.random.default_rng(20220329)


def _weights(*shape: int) -> Array:
    return _random.standard_normal(shape).astype(np.float32)


def window_of(node: Node, size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int], list[list[int]]]:
    """Strides, dilations and [begin, end] pads per spatial axis of a convolution or pooling node."""
    rank = len(size)
    strides = list(ints(node.attributes.get("strides"), (1,) * rank))
    dilations = list(ints(node.attributes.get("dilations"), (1,) * rank))
    pads = list(ints(node.attributes.get("pads"), (0,) * (2 * rank)))
    mode = str(node.attributes.get("auto_pad", "NOTSET")) or "NOTSET"
    if mode == "NOTSET":
        return strides, dilations, [[pads[i], pads[i + rank]] for i in range(rank)]
    pairs: list[list[int]] = []
    for i in range(rank):
        extent = dilations[i] * (kernel[i] - 1) + 1
        total = max((ceil(size[i] / strides[i]) - 1) * strides[i] + extent - size[i], 0)
        small = total // 2
        pairs.append(
            {"VALID": [0, 0], "SAME_UPPER": [small, total - small], "SAME_LOWER": [total - small, small]}[mode]
        )
    return strides, dilations, pairs


# ---- convolution


def convolve(
    e: Emitter,
    x: Lanes,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Sequence[int]],
    groups: int,
) -> Lanes:
    """Cross-correlation of (B, C, spatial...) with weights (O, C / groups, kernel...), without bias."""
    batch, channels, *size = x.shape
    outputs, _, *kernel = weight.shape
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    out = [
        (n + sum(p) - extent) // s + 1 for n, p, extent, s in zip(size, pads, extents, strides, strict=True)
    ]
    shape = (batch, outputs, *out)
    if e.native:
        flat = e._reshape(e.row_major(x).name, (channels, *size))
        made = e.one(
            "Conv",
            flat,
            e.constant(weight, "weight"),
            kernel_shape=tuple(kernel),
            strides=tuple(strides),
            dilations=tuple(dilations),
            pads=tuple([p[0] for p in pads] + [p[1] for p in pads]),
            group=groups,
        )
        name = made if batch == 1 else e._reshape(made, shape)
        if batch == 1:
            name = e._reshape(made, shape)
        return Lanes(name, shape, row_major_order(len(shape)))
    # Channels last: (lanes, B, spatial..., C).
    spatial = len(size)
    order = (0, *range(2, spatial + 2), 1)
    x = e.reorder(x, order)
    rank = spatial + 3
    tile = _tile(outputs, kernel[-1], strides[-1], dilations[-1], groups, out[-1])
    if tile > 1:
        name = _banded(e, x, weight, strides, dilations, pads, out, tile)
    else:
        padded = e.pad(x.name, rank, {i + 2: (p[0], p[1]) for i, p in enumerate(pads)})
        taps: list[str] = []
        for offset in itertools.product(*(range(k) for k in kernel)):
            ranges = {}
            for i in range(spatial):
                start = offset[i] * dilations[i]
                bounds = (start, start + (out[i] - 1) * strides[i] + 1, strides[i])
                if bounds != (0, size[i] + sum(pads[i]), 1):
                    ranges[i + 2] = bounds
            taps.append(e.slice(padded, ranges) if ranges else padded)
        if groups == 1:
            columns = e.concat(taps, rank - 1)
            matrix = weight.transpose(*range(2, spatial + 2), 1, 0).reshape(-1, outputs)
            name = e.one("MatMul", columns, e.constant(matrix, "weight"))
        else:
            name = _grouped(e, taps, weight, groups, (batch, *out), channels)
    return Lanes(name, shape, order)


def _tile(outputs: int, kernel: int, stride: int, dilation: int, groups: int, width: int) -> int:
    """How many neighbouring outputs share one row of the matrix product (see the module's table)."""
    if kernel == 1 or stride != 1 or dilation != 1 or groups != 1:
        return 1
    wanted = 4 if outputs <= 8 else 2 if outputs <= 32 else 1
    while wanted > 1 and width % wanted:
        wanted //= 2
    return wanted


def _banded(
    e: Emitter,
    x: Lanes,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Sequence[int]],
    out: Sequence[int],
    tile: int,
) -> str:
    """A convolution of stride and dilation 1 along the last spatial axis, ``tile`` outputs at a time."""
    outputs, channels, *kernel = weight.shape
    spatial = len(kernel)
    rank = spatial + 3
    span = tile + kernel[-1] - 1
    chunks = ceil(span / tile)
    tiles = out[-1] // tile
    width = x.shape[-1] + pads[-1][0]
    widths = {i + 2: (p[0], p[1]) for i, p in enumerate(pads)}
    widths[spatial + 1] = (pads[-1][0], (tiles + chunks - 1) * tile - width)
    padded = e.pad(x.name, rank, widths)
    sizes = [n + sum(p) for n, p in zip(x.shape[2:], pads, strict=True)]
    grouped = e._reshape(padded, (x.shape[0], *sizes[:-1], tiles + chunks - 1, tile * channels))
    parts: list[str] = []
    for offset in itertools.product(*(range(k) for k in kernel[:-1])):
        for chunk in range(chunks):
            ranges = {
                i + 2: (
                    offset[i] * dilations[i],
                    offset[i] * dilations[i] + (out[i] - 1) * strides[i] + 1,
                    strides[i],
                )
                for i in range(spatial - 1)
            }
            ranges[spatial + 1] = (chunk, chunk + tiles, 1)
            ranges[spatial + 2] = (0, min(tile, span - chunk * tile) * channels, 1)
            parts.append(e.slice(grouped, ranges))
    columns = e.concat(parts, rank - 1)
    outer = prod(kernel[:-1])
    taps = weight.reshape(outputs, channels, outer, kernel[-1]).astype(np.float64)
    matrix = np.zeros((outer, span, channels, tile, outputs))
    for place in range(tile):
        for tap in range(kernel[-1]):
            matrix[:, place + tap, :, place, :] = taps[:, :, :, tap].transpose(2, 1, 0)
    made = e.one("MatMul", columns, e.constant(matrix.reshape(outer * span * channels, tile * outputs), "weight"))
    return e._reshape(made, (x.shape[0], *out, outputs))


def _grouped(
    e: Emitter, taps: Sequence[str], weight: Array, groups: int, places: Sequence[int], channels: int
) -> str:
    """The matrix products of all groups, from one tap tensor (lanes, places..., C) per kernel position."""
    outputs = weight.shape[0]
    inside = channels // groups
    if inside == 1:
        # Depthwise: a multiply-add per tap beats a matrix product of inner size 1.
        flat = weight.reshape(outputs, -1)
        each = outputs // groups
        if each > 1:
            index = e.constant(np.repeat(np.arange(channels), each), "indices")
            taps = [e.one("Gather", tap, index, axis=len(places) + 1) for tap in taps]
        terms = [e.one("Mul", tap, e.constant(flat[:, i], "weight")) for i, tap in enumerate(taps)]
        return terms[0] if len(terms) == 1 else e.one("Sum", *terms)
    parts = [e._reshape(tap, (*places, groups, inside)) for tap in taps]
    columns = e.concat(parts, len(places) + 2)
    columns = e._reshape(columns, (prod(places), groups, len(taps) * inside))
    columns = e.one("Transpose", columns, perm=(0, 2, 1, 3))
    matrix = weight.reshape(groups, outputs // groups, inside, -1).transpose(0, 3, 2, 1)
    matrix = matrix.reshape(1, groups, len(taps) * inside, outputs // groups)
    made = e.one("Transpose", e.one("MatMul", columns, e.constant(matrix, "weight")), perm=(0, 2, 1, 3))
    return e._reshape(made, (*places, outputs))


def _bias(e: Emitter, made: Lanes, operands: Operands, slope: bool) -> list[Lanes]:
    bias = operands[2] if len(operands) > 2 else None
    if bias is None:
        return [made]
    assert isinstance(bias, np.ndarray)
    return [e.add(made, bias.reshape(-1, *(1,) * (len(made.shape) - 2)), slope)]


def _conv(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes) and isinstance(weight, np.ndarray)
    strides, dilations, pads = window_of(node, x.shape[2:], weight.shape[2:])
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    return _bias(e, convolve(e, x, weight, strides, dilations, pads, groups), operands, slope)


def _conv_transpose(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """A transposed convolution as a convolution: zeros between the inputs, the kernel turned round."""
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes) and isinstance(weight, np.ndarray)
    spatial = len(x.shape) - 2
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    kernel = weight.shape[2:]
    strides = ints(node.attributes.get("strides"), (1,) * spatial)
    dilations = ints(node.attributes.get("dilations"), (1,) * spatial)
    out = e.shapes[node.outputs[0]][2:]
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    full = [s * (n - 1) + extent for s, n, extent in zip(strides, x.shape[2:], extents, strict=True)]
    begins = _transposed_begins(node, strides, full, out)
    order = (0, *range(2, spatial + 2), 1)
    x = e.reorder(x, order)
    name, sizes = x.name, list(x.shape[2:])
    for i, stride in enumerate(strides):
        if stride == 1:
            continue
        rest = [*sizes[i + 1 :], x.shape[1]]
        name = e._reshape(name, (x.shape[0], *sizes[:i], sizes[i], 1, *rest))
        name = e.pad(name, spatial + 4, {i + 3: (0, stride - 1)})
        sizes[i] *= stride
        name = e._reshape(name, (x.shape[0], *sizes, x.shape[1]))
    stretched = Lanes(name, (x.shape[0], x.shape[1], *sizes), order)
    # Output position y gathers full position y + begin; the stretched input ends with stride - 1 extra zeros.
    pads = [
        [extent - 1 - begin, n_out + begin - size - (extent - 1) + extent - 1]
        for extent, begin, n_out, size in zip(extents, begins, out, sizes, strict=True)
    ]
    pads = [[p[0], n_out + extent - 1 - size - p[0]] for p, n_out, extent, size in zip(pads, out, extents, sizes, strict=True)]
    inputs, each = weight.shape[:2]
    turned = weight[(slice(None), slice(None), *(slice(None, None, -1),) * spatial)]
    turned = turned.reshape(groups, inputs // groups, each, *kernel).swapaxes(1, 2)
    turned = turned.reshape(groups * each, inputs // groups, *kernel)
    made = convolve(e, stretched, turned, (1,) * spatial, dilations, pads, groups)
    return _bias(e, made, operands, slope)


def _transposed_begins(node: Node, strides: Sequence[int], full: Sequence[int], out: Sequence[int]) -> list[int]:
    """How many leading elements of the full result each spatial axis drops."""
    spatial = len(full)
    mode = str(node.attributes.get("auto_pad", "NOTSET")) or "NOTSET"
    extra = ints(node.attributes.get("output_padding"), (0,) * spatial)
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return list(ints(node.attributes.get("pads"), (0,) * (2 * spatial))[:spatial])
    begins = []
    for i in range(spatial):
        total = max(full[i] + extra[i] - out[i], 0)
        begins.append(total // 2 if mode in ("SAME_UPPER", "VALID") else total - total // 2)
    if mode == "NOTSET":
        # The standard puts the larger half at the end unless SAME_LOWER asks otherwise... with a given output shape
        # and no auto_pad, onnxruntime puts the larger half at the beginning.
        begins = [max(full[i] + extra[i] - out[i], 0) - max(full[i] + extra[i] - out[i], 0) // 2 for i in range(spatial)]
    return begins


register(
    OpRule(
        "Conv",
        only(0),
        _conv,
        samples=(
            Sample(((1, 3, 8, 8), _weights(4, 3, 3, 3), _weights(4)), {"pads": (1, 1, 1, 1)}),
            Sample(((1, 3, 8, 8), _weights(12, 3, 3, 3)), {"pads": (1, 0, 2, 1)}),
            Sample(((1, 3, 8, 7), _weights(40, 3, 3, 2)), {"auto_pad": "SAME_UPPER"}),
            Sample(((2, 4, 9, 9), _weights(6, 2, 3, 3), _weights(6)), {"group": 2, "strides": (2, 3)}),
            Sample(((1, 4, 9, 9), _weights(8, 1, 3, 3)), {"group": 4, "dilations": (2, 1)}),
            Sample(((1, 4, 9, 9), _weights(4, 1, 3, 3)), {"group": 4, "auto_pad": "SAME_LOWER", "strides": (2, 2)}),
            Sample(((1, 2, 10), _weights(3, 2, 3)), {"dilations": (2,), "pads": (1, 1)}),
            Sample(((1, 2, 10), _weights(3, 2, 4)), {"pads": (1, 1)}),
            Sample(((1, 2, 4, 5, 6), _weights(3, 2, 2, 3, 2)), {"strides": (1, 2, 1), "pads": (0, 1, 0, 1, 1, 0)}),
            Sample(((1, 5, 4, 4), _weights(3, 5, 1, 1), _weights(3)), {"auto_pad": "VALID"}),
        ),
    )
)
register(
    OpRule(
        "ConvTranspose",
        only(0),
        _conv_transpose,
        samples=(
            Sample(((1, 3, 4, 5), _weights(3, 2, 3, 3), _weights(2)), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
            Sample(((1, 3, 4, 5), _weights(3, 2, 3, 3)), {"strides": (2, 3), "output_padding": (1, 2)}),
            Sample(((1, 4, 4, 4), _weights(4, 2, 2, 2)), {"group": 2, "strides": (2, 2)}),
            Sample(((1, 3, 4), _weights(3, 2, 3)), {"dilations": (2,), "pads": (0, 1)}),
            Sample(((1, 3, 4, 4), _weights(3, 2, 4, 4)), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
            Sample(((1, 1, 3, 3), _weights(1, 2, 3, 3)), {"auto_pad": "SAME_UPPER", "strides": (2, 2)}),
        ),
    )
)


# ---- average pooling


def _average_pool(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """Sums of shifted copies along one axis after the other, divided by how many elements each window covers."""
    x = operands[0]
    assert isinstance(x, Lanes)
    kernel = ints(node.attributes["kernel_shape"])
    size = x.shape[2:]
    strides, dilations, pads = window_of(node, size, kernel)
    out = e.shapes[node.outputs[0]][2:]
    include = bool(node.attributes.get("count_include_pad", 0))
    counts = np.ones(())
    name, rank = x.name, len(x.shape) + 1
    for i, n in enumerate(size):
        starts = np.arange(out[i]) * strides[i] - pads[i][0]
        places = starts[:, None] + np.arange(kernel[i]) * dilations[i]
        low, high = (-pads[i][0], n + pads[i][1]) if include else (0, n)
        count = ((places >= low) & (places < high)).sum(1)
        counts = np.multiply.outer(counts, count)
        axis = x.axis(i + 2)
        last = (out[i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1
        name = e.pad(name, rank, {axis: (pads[i][0], max(last - n - pads[i][0], 0))})
        shifted = [
            e.slice(name, {axis: (k * dilations[i], k * dilations[i] + (out[i] - 1) * strides[i] + 1, strides[i])})
            for k in range(kernel[i])
        ]
        name = shifted[0] if len(shifted) == 1 else e.one("Sum", *shifted)
    total = Lanes(name, (*x.shape[:2], *out), x.order)
    return [e.elementwise("Mul", total, 1.0 / (counts if np.ptp(counts) else counts.flat[0]))]


def _global_average_pool(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    axes = e.constant(np.array(sorted(x.axis(i) for i in range(2, len(x.shape))), np.int64), "axes")
    name = e.one("ReduceMean", x.name, axes, keepdims=1)
    return [Lanes(name, x.shape[:2] + (1,) * (len(x.shape) - 2), x.order)]


register(
    OpRule(
        "AveragePool",
        only(0),
        _average_pool,
        samples=(
            Sample(((1, 2, 6, 6),), {"kernel_shape": (2, 2), "strides": (2, 2)}),
            Sample(((1, 2, 7, 6),), {"kernel_shape": (3, 2), "pads": (1, 0, 1, 1), "strides": (2, 1)}),
            Sample(((1, 2, 7, 6),), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1}),
            Sample(((1, 2, 6, 6),), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
            Sample(((1, 2, 7),), {"kernel_shape": (3,), "auto_pad": "SAME_UPPER", "strides": (2,)}),
            Sample(((1, 1, 4, 4, 4),), {"kernel_shape": (2, 2, 2)}),
            Sample(((1, 2, 8, 8),), {"kernel_shape": (2, 2), "dilations": (2, 2)}, 19),
        ),
    )
)
register(
    OpRule("GlobalAveragePool", only(0), _global_average_pool, samples=(Sample(((1, 2, 3, 4),)), Sample(((2, 3, 5),))))
)


# ---- resizing


def resize_matrix(
    n_in: int,
    n_out: int,
    scale: float,
    mode: str,
    coordinates: str,
    nearest: str,
    cubic: float,
    exclude_outside: bool,
) -> Array:
    """The matrix (n_in, n_out) that resizes one axis, by the formulas of the ONNX standard's Resize."""
    matrix = np.zeros((n_in, n_out))
    length = scale * n_in
    for y in range(n_out):
        if coordinates == "align_corners":
            x = 0.0 if length == 1 else y * (n_in - 1) / (length - 1)
        elif coordinates == "asymmetric":
            x = y / scale
        elif coordinates == "pytorch_half_pixel":
            x = (y + 0.5) / scale - 0.5 if length > 1 else 0.0
        elif coordinates == "half_pixel_symmetric":
            adjustment = n_out / length
            x = n_in / 2 * (1 - adjustment) + (y + 0.5) / scale - 0.5
        else:
            x = (y + 0.5) / scale - 0.5
        if mode == "nearest":
            rounded = {
                "round_prefer_floor": ceil(x - 0.5),
                "round_prefer_ceil": floor(x + 0.5),
                "floor": floor(x),
                "ceil": ceil(x),
            }[nearest]
            matrix[min(max(rounded, 0), n_in - 1), y] = 1.0
            continue
        base = floor(x)
        ratio = x - base
        if mode == "linear":
            taps = {base: 1 - ratio, base + 1: ratio}
        else:
            a = cubic
            taps = {}
            for step in (-1, 0, 1, 2):
                distance = abs(ratio - step)
                if distance <= 1:
                    weight = ((a + 2) * distance - (a + 3)) * distance * distance + 1
                else:
                    weight = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
                taps[base + step] = weight
        if exclude_outside:
            taps = {place: weight for place, weight in taps.items() if 0 <= place < n_in}
            total = sum(taps.values())
            taps = {place: weight / total for place, weight in taps.items()}
        for place, weight in taps.items():
            matrix[min(max(place, 0), n_in - 1), y] += weight
    return matrix


def _resize(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    given = [operands[i] if len(operands) > i else None for i in range(4)]
    old = node.op_type != "Resize" or len(operands) <= 2
    scales = given[1] if old else given[2]
    if scales is None and "scales" in node.attributes:
        scales = np.asarray(node.attributes["scales"])
    rank = len(x.shape)
    axes = tuple(axis % rank for axis in ints(node.attributes.get("axes"), tuple(range(rank))))
    out = e.shapes[node.outputs[0]]
    mode = str(node.attributes.get("mode", "nearest"))
    mode = "linear" if mode in ("bilinear", "trilinear") else mode
    coordinates = str(node.attributes.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"))
    nearest = str(node.attributes.get("nearest_mode", "floor" if old else "round_prefer_floor"))
    for i, axis in enumerate(axes):
        n_in, n_out = x.shape[axis], out[axis]
        sized = scales is None or np.size(scales) == 0
        scale = n_out / n_in if sized else float(np.asarray(scales, dtype=np.float64).ravel()[i])  # type: ignore[arg-type]
        matrix = resize_matrix(
            n_in,
            n_out,
            scale,
            mode,
            coordinates,
            nearest,
            float(node.attributes.get("cubic_coeff_a", -0.75)),  # type: ignore[arg-type]
            bool(node.attributes.get("exclude_outside", 0)),
        )
        if n_in == n_out and np.array_equal(matrix, np.eye(n_in)):
            continue
        shape = (*x.shape[:axis], n_out, *x.shape[axis + 1 :])
        if mode == "nearest":
            indices = e.constant(matrix.argmax(0).astype(np.int64), "indices")
            x = Lanes(e.one("Gather", x.name, indices, axis=x.axis(axis)), shape, x.order)
        else:
            x = e.reorder(x, (*(a for a in x.order if a != axis), axis))
            x = Lanes(e.one("MatMul", x.name, e.constant(matrix, "weight")), shape, x.order)
    return [x]


def _resize_verdict(node: Node, facts: Facts) -> Verdict:
    if node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "Resize with tf_crop_and_resize is not supported"
    if node.attributes.get("antialias", 0):
        return "Resize with antialias is not supported"
    if str(node.attributes.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        return "Resize that keeps the aspect ratio is not supported"
    return only(0)(node, facts)


_scales = np.array([1, 1, 2, 1.5], np.float32)
_empty = np.array([], np.float32)
register(
    OpRule(
        "Resize",
        _resize_verdict,
        _resize,
        samples=(
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "linear"}),
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "nearest", "nearest_mode": "ceil"}),
            Sample(
                ((1, 2, 4, 4), None, _scales),
                {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            ),
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "cubic"}),
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}),
            Sample(
                ((1, 2, 4, 4), None, _empty, np.array([1, 2, 7, 3])),
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
            ),
            Sample(
                ((1, 2, 4, 4), None, _empty, np.array([1, 2, 7, 3])),
                {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            ),
        ),
    )
)
register(
    OpRule(
        "Upsample",
        only(0),
        _resize,
        samples=(
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {}, 9),
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"}, 9),
        ),
    )
)
