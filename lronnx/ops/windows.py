"""Affine operators with a spatial window: convolutions, average pooling, resizing.

onnxruntime's CPU provider has no double-precision kernel for any of them. What convolutions become there is the matter
of :mod:`lronnx.ops.lowering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, prod

import numpy as np

from lronnx.graph import Array, Attribute, Node
from lronnx.ops.emitter import Emitter, Lanes, row_major_order
from lronnx.ops.lowering import Convolution, lower
from lronnx.ops.record import Absorb, Facts, OpRule, Sample, Verdict, ints, number, only, real, register

Operands = Sequence["Lanes | Array | None"]
_random = np.random.default_rng(20220329)


def _weights(*shape: int) -> Array:
    return _random.standard_normal(shape).astype(np.float32)


def window_of(
    node: Node, size: Sequence[int], kernel: Sequence[int], *, pooling: bool = False
) -> tuple[list[int], list[int], list[list[int]]]:
    """Strides, dilations and [begin, end] pads per spatial axis of a convolution or pooling node.

    For SAME padding onnxruntime measures the dilated window of a convolution, but the undilated one of a pooling.
    """
    rank = len(size)
    strides = list(ints(node.attributes.get("strides"), (1,) * rank))
    dilations = list(ints(node.attributes.get("dilations"), (1,) * rank))
    pads = list(ints(node.attributes.get("pads"), (0,) * (2 * rank)))
    mode = str(node.attributes.get("auto_pad", "NOTSET")) or "NOTSET"
    if mode == "NOTSET":
        return strides, dilations, [[pads[i], pads[i + rank]] for i in range(rank)]
    pairs: list[list[int]] = []
    for i in range(rank):
        extent = kernel[i] if pooling else dilations[i] * (kernel[i] - 1) + 1
        total = max((ceil(size[i] / strides[i]) - 1) * strides[i] + extent - size[i], 0)
        small = total // 2
        pairs.append(
            {"VALID": [0, 0], "SAME_UPPER": [small, total - small], "SAME_LOWER": [total - small, small]}[mode]
        )
    return strides, dilations, pairs


# ---- convolution


def convolve(e: Emitter, x: Lanes, weight: Array, c: Convolution, bias: Array | None = None) -> Lanes:
    """Cross-correlation of (B, C, spatial...) with weights (O, C / groups, kernel...), plus a bias (O,)."""
    shape = (c.batch, c.outputs, *c.out)
    e.multiplications += prod(shape) * prod(weight.shape[1:])
    if e.native:
        flat = e.view(e.row_major(x).name, (c.channels, *c.size))
        widths = c.pads
        if min(min(width) for width in widths) < 0:
            # The operator itself crops nothing.
            flat = e.pad(flat, len(c.size) + 2, {i + 2: width for i, width in enumerate(widths)})
            widths = ((0, 0),) * len(c.size)
        added = () if bias is None else (e.constant(bias, "bias"),)
        made = e.one(
            "Conv",
            flat,
            e.constant(weight, "weight"),
            *added,
            kernel_shape=c.kernel,
            strides=c.strides,
            dilations=c.dilations,
            pads=tuple(width[side] for side in (0, 1) for width in widths),
            group=c.groups,
        )
        if c.batch == 1:
            e.computed(made, shape[1:])
        return Lanes(e.view(made, shape), shape, row_major_order(len(shape)))
    return Lanes(lower(e, e.reorder(x, c.order).name, c, weight, bias), shape, c.order)


def _bias(operands: Operands, slope: bool) -> Array | None:
    """The bias to add: none to a slope."""
    bias = operands[2] if len(operands) > 2 else None
    if slope or bias is None:
        return None
    assert isinstance(bias, np.ndarray)
    return bias.ravel() if np.any(bias) else None


def convolution_of(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Convolution | None:
    """The convolution that is computed for a node, given one sample's shapes; None for a node that is none."""
    if node.op_type not in ("Conv", "ConvTranspose") or node.domain:
        return None
    (batch, channels, *size), weight = shapes[node.inputs[0]], shapes[node.inputs[1]]
    groups = number(node.attributes.get("group"), 1)
    kernel, spatial = weight[2:], len(size)
    if node.op_type == "Conv":
        strides, dilations, pads = window_of(node, size, kernel)
        steps, outputs = tuple(strides), weight[0]
    else:
        # As a convolution of what has zeros between the inputs, the kernel turned round.
        stretches = ints(node.attributes.get("strides"), (1,) * spatial)
        dilations = list(ints(node.attributes.get("dilations"), (1,) * spatial))
        extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        out = shapes[node.outputs[0]][2:]
        full = [s * (n - 1) + extent for s, n, extent in zip(stretches, size, extents, strict=True)]
        size = [s * n for s, n in zip(stretches, size, strict=True)]
        # Padded by extent - 1 in front, a convolution yields the full result: less so cuts it, and the rest of the
        # output's size is made up behind (negative where the full result is cut there).
        pads = [
            [extent - 1 - begin, begin + n_out - n]
            for extent, begin, n_out, n in zip(extents, _cut_in_front(node, full, out), out, size, strict=True)
        ]
        steps, outputs = (1,) * spatial, weight[1] * groups
    pairs = tuple((begin, end) for begin, end in pads)
    return Convolution(batch, channels, outputs, tuple(size), kernel, steps, tuple(dilations), pairs, groups)


def _conv(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes)
    assert isinstance(weight, np.ndarray)
    convolution = convolution_of(node, e.shapes)
    assert convolution is not None
    return [convolve(e, x, weight, convolution, _bias(operands, slope))]


def _conv_transpose(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """A transposed convolution as a convolution: zeros between the inputs, the kernel turned round."""
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes)
    assert isinstance(weight, np.ndarray)
    convolution = convolution_of(node, e.shapes)
    assert convolution is not None
    spatial, groups = len(x.shape) - 2, convolution.groups
    x = e.reorder(x, convolution.order)
    name, sizes = x.name, list(x.shape[2:])
    for i, stride in enumerate(ints(node.attributes.get("strides"), (1,) * spatial)):
        if stride == 1:
            continue
        # Every input is followed by stride - 1 zeros, the last one too.
        rest = [*sizes[i + 1 :], x.shape[1]]
        name = e.view(name, (x.shape[0], *sizes[:i], sizes[i], 1, *rest))
        name = e.pad(name, spatial + 4, {i + 3: (0, stride - 1)})
        sizes[i] *= stride
        name = e.view(name, (x.shape[0], *sizes, x.shape[1]))
    stretched = Lanes(name, (x.shape[0], x.shape[1], *sizes), convolution.order)
    inputs, each = weight.shape[:2]
    turned = weight[(slice(None), slice(None), *(slice(None, None, -1),) * spatial)]
    turned = turned.reshape(groups, inputs // groups, each, *convolution.kernel).swapaxes(1, 2)
    turned = turned.reshape(groups * each, inputs // groups, *convolution.kernel)
    return [convolve(e, stretched, turned, convolution, _bias(operands, slope))]


def _absorb(*, channels_axis: int) -> Absorb:
    """``channels_axis``: of the weights, along which one group's outputs lie."""

    def absorb(
        node: Node, operands: Sequence[Array | None], factor: Array, term: Array
    ) -> tuple[Mapping[str, Attribute], tuple[Array, Array]] | None:
        weight, bias = operands[1], operands[2] if node.input(2) else np.zeros(1)
        if weight is None or bias is None:
            return None
        weight = weight.astype(np.float64)
        if channels_axis == 0:
            weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        else:
            # (groups * inputs of one, outputs of one, kernel...)
            groups = number(node.attributes.get("group"), 1)
            apart = weight.reshape(groups, -1, *weight.shape[1:])
            weight = (apart * factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))).reshape(weight.shape)
        return node.attributes, (weight, bias.astype(np.float64) * factor + term)

    return absorb


def _cut_in_front(node: Node, full: Sequence[int], out: Sequence[int]) -> list[int]:
    """How many leading elements of a transposed convolution's ``full`` result are cut, per spatial axis.

    Where the output's size is asked for (by ``output_shape`` or SAME), what is too much is cut on both sides. An odd
    element too many is cut behind with SAME_UPPER, else in front: onnxruntime's rule where the standard is silent.
    """
    spatial = len(full)
    mode = str(node.attributes.get("auto_pad", "NOTSET")) or "NOTSET"
    if "output_shape" not in node.attributes and not mode.startswith("SAME"):
        pads = ints(node.attributes.get("pads"), (0,) * (2 * spatial))
        return list(pads[:spatial]) if mode == "NOTSET" else [0] * spatial
    extra = ints(node.attributes.get("output_padding"), (0,) * spatial)
    surplus = [max(f + more - n, 0) for f, more, n in zip(full, extra, out, strict=True)]
    return [n // 2 if mode == "SAME_UPPER" else n - n // 2 for n in surplus]


register(
    OpRule(
        "Conv",
        only(0),
        _conv,
        absorb=_absorb(channels_axis=0),
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
        absorb=_absorb(channels_axis=1),
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


def _covers(
    size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], out: Sequence[int]
) -> bool:
    """Whether every window lies inside the tensor, as it does unless the size of the output is rounded up."""
    zipped = zip(size, kernel, strides, dilations, out, strict=True)
    return all((o - 1) * s + d * (k - 1) + 1 <= n for n, k, s, d, o in zipped)


def _average_pool(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """Sums of shifted copies along one axis after the other, divided by how many elements each window covers."""
    x = operands[0]
    assert isinstance(x, Lanes)
    kernel = ints(node.attributes["kernel_shape"])
    size = x.shape[2:]
    strides, dilations, pads = window_of(node, size, kernel, pooling=True)
    out = e.shapes[node.outputs[0]][2:]
    plain = not any(map(any, pads)) and set(dilations) == {1}
    if e.pools and plain and _covers(size, kernel, strides, dilations, out):
        flat = e.view(e.row_major(x).name, (x.shape[1], *size))
        made = e.one("AveragePool", flat, kernel_shape=kernel, strides=tuple(strides))
        return [Lanes(e.view(made, (*x.shape[:2], *out)), (*x.shape[:2], *out), row_major_order(len(x.shape)))]
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
    return [e.elementwise("Mul", total, 1.0 / (counts if np.ptp(counts) else counts.ravel()[:1]))]


def _global_average_pool(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    axes = e.constant(np.array(sorted(x.axis(i) for i in range(2, len(x.shape))), np.int64), "axes")
    total = e.one("ReduceSum", x.name, axes, keepdims=1)
    name = e.one("Mul", total, e.constant(np.array(1.0 / prod(x.shape[2:]))))
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
    n_in: int, n_out: int, scale: float, mode: str, coordinates: str, cubic: float, exclude_outside: bool
) -> Array:
    """The matrix (n_in, n_out) that resizes one axis, by the standard's formulas for modes linear and cubic.

    With align_corners, a scale that does not lead to an integer size and a size that is asked for are the same to
    onnxruntime: the corners that are aligned are those of the tensors.
    """
    matrix = np.zeros((n_in, n_out))
    for y in range(n_out):
        if coordinates == "align_corners":
            x = 0.0 if n_out == 1 else y * (n_in - 1) / (n_out - 1)
        elif coordinates == "asymmetric":
            x = y / scale
        elif coordinates == "tf_half_pixel_for_nn":
            x = (y + 0.5) / scale
        elif coordinates == "pytorch_half_pixel":
            x = (y + 0.5) / scale - 0.5 if n_out > 1 else 0.0
        elif coordinates == "half_pixel_symmetric":
            adjustment = n_out / (scale * n_in)
            x = n_in / 2 * (1 - adjustment) + (y + 0.5) / scale - 0.5
        else:
            x = (y + 0.5) / scale - 0.5
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


def _nearest(e: Emitter, node: Node, operands: Operands, x: Lanes, axis: int) -> Array:
    """Which index along ``axis`` each output takes.

    The node itself is asked, on data that are their own indices: where a coordinate lies half-way between two
    elements, rounding inside onnxruntime decides, and it did so when the network was used.
    """
    own = np.arange(x.shape[axis], dtype=np.float32).reshape(-1, *(1,) * (len(x.shape) - axis - 1))
    data = np.broadcast_to(own, x.shape)
    # From opset 13 on an operand may be left out, and exporters write an empty one instead; before, it may not.
    others = [a if isinstance(a, np.ndarray) and (a.size or e.opset < 13) else None for a in operands[1:]]
    arrays = [np.ascontiguousarray(data), *others]
    moved = np.moveaxis(e.probe(node, arrays)[0], axis, 0)
    return np.rint(moved.reshape(moved.shape[0], -1)[:, 0]).astype(np.int64)


def _resize(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    source = x
    old = node.op_type != "Resize" or len(operands) <= 2
    position = 1 if old else 2
    given = operands[position] if len(operands) > position else None
    assert not isinstance(given, Lanes)
    scales = np.asarray(node.attributes.get("scales", ()) if given is None else given, dtype=np.float64).ravel()
    rank = len(x.shape)
    axes = tuple(axis % rank for axis in ints(node.attributes.get("axes"), tuple(range(rank))))
    out = e.shapes[node.outputs[0]]
    mode = str(node.attributes.get("mode", "nearest"))
    coordinates = str(node.attributes.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"))
    if mode != "nearest" and out == x.shape:
        # onnxruntime copies, whatever the scales.
        return [x]
    for i, axis in enumerate(axes):
        n_in, n_out = x.shape[axis], out[axis]
        shape = (*x.shape[:axis], n_out, *x.shape[axis + 1 :])
        if mode == "nearest":
            table = _nearest(e, node, operands, source, axis)
            if not np.array_equal(table, np.arange(n_in)):
                name = e.one("Gather", x.name, e.constant(table, "indices"), axis=x.axis(axis))
                x = Lanes(name, shape, x.order)
            continue
        matrix = resize_matrix(
            n_in,
            n_out,
            float(scales[i]) if scales.size else n_out / n_in,
            "cubic" if mode == "cubic" else "linear",
            coordinates,
            real(node.attributes.get("cubic_coeff_a"), -0.75),
            bool(node.attributes.get("exclude_outside", 0)),
        )
        if n_in != n_out or not np.array_equal(matrix, np.eye(n_in)):
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
# onnx.reference rounds the coordinates of cubic resizing to float32: these scales lead to none that it changes.
_dyadic = np.array([1, 1, 2, 0.5], np.float32)
_empty = np.array([], np.float32)
register(
    OpRule(
        "Resize",
        _resize_verdict,
        _resize,
        moves=True,
        samples=(
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "linear"}),
            Sample(((1, 2, 4, 4), None, _scales), {"mode": "nearest", "nearest_mode": "ceil"}),
            Sample(
                ((1, 2, 4, 4), None, _scales),
                {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            ),
            Sample(((1, 2, 4, 6), None, _dyadic), {"mode": "cubic"}),
            Sample(((1, 2, 4, 6), None, _dyadic), {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}),
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
        moves=True,
        samples=(
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {}, 9),
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"}, 9),
        ),
    )
)
