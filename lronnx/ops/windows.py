"""Affine operators with a spatial window: convolutions, average pooling, resizing.

onnxruntime's CPU provider has no double-precision kernel for any of them. In double precision a convolution
becomes one matrix product over columns that are gathered from a channels-last tensor: the columns of ``tile``
neighbouring outputs along the last spatial axis are taken together, against a banded matrix. A larger tile
copies less and multiplies more zeros; few output channels want a large one. Measured (3x3, two cores, batch
16, GFLOP/s of the direct formula): 6 channels 32x32: tile 1 13, tile 2 25, tile 4 26; 16 channels 16x16: 54, 60,
35; 64 channels 8x8: 93, 74, 32. (The same columns from Slice and Concat: 15, 24, 23; 44, 47, 36; 72, 63, 43.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil, floor, prod

import numpy as np

from lronnx.graph import Array, Node
from lronnx.ops.emitter import Emitter, Lanes, row_major_order
from lronnx.ops.record import Facts, OpRule, Sample, Verdict, ints, number, only, real, register

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


def convolve(
    e: Emitter,
    x: Lanes,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Sequence[int]],
    groups: int,
    bias: Array | None = None,
) -> Lanes:
    """Cross-correlation of (B, C, spatial...) with weights (O, C / groups, kernel...), plus a bias (O,)."""
    batch, channels, *size = x.shape
    outputs, _, *kernel = weight.shape
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    out = [(n + sum(p) - extent) // s + 1 for n, p, extent, s in zip(size, pads, extents, strides, strict=True)]
    shape = (batch, outputs, *out)
    e.multiplications += prod(shape) * prod(weight.shape[1:])
    if e.native:
        flat = e.view(e.row_major(x).name, (channels, *size))
        widths = [(p[0], p[1]) for p in pads]
        if min(min(width) for width in widths) < 0:
            # The operator itself crops nothing.
            flat = e.pad(flat, len(size) + 2, {i + 2: width for i, width in enumerate(widths)})
            widths = [(0, 0)] * len(size)
        added = () if bias is None else (e.constant(bias, "bias"),)
        made = e.one(
            "Conv",
            flat,
            e.constant(weight, "weight"),
            *added,
            kernel_shape=tuple(kernel),
            strides=tuple(strides),
            dilations=tuple(dilations),
            pads=tuple(width[side] for side in (0, 1) for width in widths),
            group=groups,
        )
        if batch == 1:
            e.computed(made, shape[1:])
        return Lanes(e.view(made, shape), shape, row_major_order(len(shape)))
    # Channels last: (lanes, B, spatial..., C).
    spatial = len(size)
    order = (0, *range(2, spatial + 2), 1)
    x = e.reorder(x, order)
    if groups > 1:
        made = _grouped(e, x, weight, strides, dilations, pads, groups, out)
        return _biased(e, Lanes(made, shape, order), bias)
    tile = _tile(outputs, kernel[-1], strides[-1], dilations[-1], out[-1])
    span = tile + kernel[-1] - 1 if tile > 1 else kernel[-1]
    chunks = ceil(span / tile)
    # Blocks of ``tile`` neighbouring places along the last axis are gathered as wholes: pad it to full blocks.
    room = [[p[0], p[1]] for p in pads]
    if tile > 1:
        room[-1][1] = (out[-1] + (chunks - 1) * tile) - size[-1] - room[-1][0]
    padded = e.pad(x.name, spatial + 3, {i + 2: (p[0], p[1]) for i, p in enumerate(room)})
    sizes = [n + sum(p) for n, p in zip(size, room, strict=True)]
    table = _block_table(sizes, out, kernel, strides, dilations, tile, chunks)
    matrix = _banded(weight, tile, chunks)
    if np.array_equal(table, np.arange(prod(sizes))[:, None]):
        made = e.one("MatMul", padded, e.constant(matrix, "weight"))
        return _biased(e, Lanes(made, shape, order), bias)
    blocks = e.view(padded, (prod(sizes) // tile, tile * channels))
    columns = e.one("Gather", blocks, e.constant(table, "table"), axis=1)
    columns = e.view(columns, (table.shape[0], table.shape[1] * tile * channels))
    made = e.one("MatMul", columns, e.constant(matrix, "weight"))
    if bias is not None:
        made = e.one("Add", made, e.constant(np.tile(bias, tile), "bias"))
    if batch == 1:
        e.computed(made, (table.shape[0], tile * outputs))
    return Lanes(e.view(made, (batch, *out, outputs)), shape, order)


def _biased(e: Emitter, made: Lanes, bias: Array | None) -> Lanes:
    return made if bias is None else e.elementwise("Add", made, bias.reshape(-1, *(1,) * (len(made.shape) - 2)))


def _block_table(
    sizes: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    tile: int,
    chunks: int,
) -> Array:
    """Which blocks of a padded tensor each row of the columns is made of, (rows, blocks per row)."""
    per_axis: list[Array] = []
    for i in range(len(out) - 1):
        starts = np.arange(out[i]) * strides[i]
        per_axis.append(starts[:, None] + np.arange(kernel[i]) * dilations[i])
    if tile > 1:
        per_axis.append(np.arange(out[-1] // tile)[:, None] + np.arange(chunks))
    else:
        per_axis.append((np.arange(out[-1]) * strides[-1])[:, None] + np.arange(kernel[-1]) * dilations[-1])
    table = np.zeros((1, 1), np.int64)
    counts = [*sizes[:-1], sizes[-1] // tile]
    for places, count in zip(per_axis, counts, strict=True):
        table = table[:, None, :, None] * count + places[None, :, None, :]
        table = table.reshape(table.shape[0] * table.shape[1], -1)
    return table


def _tile(outputs: int, kernel: int, stride: int, dilation: int, width: int) -> int:
    """How many neighbouring outputs share one row of the matrix product (see the module's table)."""
    if kernel == 1 or stride != 1 or dilation != 1:
        return 1
    wanted = 4 if outputs <= 8 else 2 if outputs <= 32 else 1
    while wanted > 1 and width % wanted:
        wanted //= 2
    return wanted


def _banded(weight: Array, tile: int, chunks: int) -> Array:
    """The matrix from gathered blocks (outer taps, chunks * tile places, channels) to (tile, outputs)."""
    outputs, channels, *kernel = weight.shape
    outer = prod(kernel[:-1])
    taps = weight.reshape(outputs, channels, outer, kernel[-1]).astype(np.float64)
    matrix = np.zeros((outer, chunks * tile, channels, tile, outputs))
    for place in range(tile):
        for tap in range(kernel[-1]):
            matrix[:, place + tap, :, place, :] = taps[:, :, :, tap].transpose(2, 1, 0)
    return matrix.reshape(outer * chunks * tile * channels, tile * outputs)


def _grouped(
    e: Emitter,
    x: Lanes,
    weight: Array,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[Sequence[int]],
    groups: int,
    out: Sequence[int],
) -> str:
    """A grouped convolution of a channels-last tensor: the matrix products of all groups."""
    outputs, inside, *kernel = weight.shape
    places, channels = (x.shape[0], *out), x.shape[1]
    padded = e.pad(x.name, len(x.shape) + 1, {i + 2: (p[0], p[1]) for i, p in enumerate(pads)})
    taps: list[str] = []
    for offset in itertools.product(*(range(k) for k in kernel)):
        starts = [o * d for o, d in zip(offset, dilations, strict=True)]
        ranges = {
            i + 2: (start, start + (n - 1) * stride + 1, stride)
            for i, (start, n, stride) in enumerate(zip(starts, out, strides, strict=True))
        }
        taps.append(e.slice(padded, ranges))
    if inside == 1:
        # Depthwise: a multiply-add per tap beats a matrix product of inner size 1.
        flat = weight.reshape(outputs, -1)
        each = outputs // groups
        if each > 1:
            index = e.constant(np.repeat(np.arange(channels), each), "indices")
            taps = [e.one("Gather", tap, index, axis=len(places) + 1) for tap in taps]
        terms = [e.one("Mul", tap, e.constant(flat[:, i], "weight")) for i, tap in enumerate(taps)]
        return terms[0] if len(terms) == 1 else e.one("Sum", *terms)
    parts = [e.view(tap, (*places, groups, inside)) for tap in taps]
    columns = e.concat(parts, len(places) + 2)
    columns = e.view(columns, (prod(places), groups, len(taps) * inside))
    columns = e.one("Transpose", columns, perm=(0, 2, 1, 3))
    matrix = weight.reshape(groups, outputs // groups, inside, -1).transpose(0, 3, 2, 1)
    matrix = matrix.reshape(1, groups, len(taps) * inside, outputs // groups)
    made = e.one("Transpose", e.one("MatMul", columns, e.constant(matrix, "weight")), perm=(0, 2, 1, 3))
    return e.view(made, (*places, outputs))


def _bias(operands: Operands, slope: bool) -> Array | None:
    """The bias to add: none to a slope."""
    bias = operands[2] if len(operands) > 2 else None
    if slope or bias is None:
        return None
    assert isinstance(bias, np.ndarray)
    return bias.ravel() if np.any(bias) else None


def _conv(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes)
    assert isinstance(weight, np.ndarray)
    strides, dilations, pads = window_of(node, x.shape[2:], weight.shape[2:])
    groups = number(node.attributes.get("group"), 1)
    return [convolve(e, x, weight, strides, dilations, pads, groups, _bias(operands, slope))]


def _conv_transpose(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """A transposed convolution as a convolution: zeros between the inputs, the kernel turned round."""
    x, weight = operands[0], operands[1]
    assert isinstance(x, Lanes)
    assert isinstance(weight, np.ndarray)
    spatial = len(x.shape) - 2
    groups = number(node.attributes.get("group"), 1)
    kernel = weight.shape[2:]
    strides = ints(node.attributes.get("strides"), (1,) * spatial)
    dilations = ints(node.attributes.get("dilations"), (1,) * spatial)
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    out = e.shapes[node.outputs[0]][2:]
    full = [s * (n - 1) + extent for s, n, extent in zip(strides, x.shape[2:], extents, strict=True)]
    begins = _cut_in_front(node, full, out)
    order = (0, *range(2, spatial + 2), 1)
    x = e.reorder(x, order)
    name, sizes = x.name, list(x.shape[2:])
    for i, stride in enumerate(strides):
        if stride == 1:
            continue
        # Every input is followed by stride - 1 zeros, the last one too.
        rest = [*sizes[i + 1 :], x.shape[1]]
        name = e.view(name, (x.shape[0], *sizes[:i], sizes[i], 1, *rest))
        name = e.pad(name, spatial + 4, {i + 3: (0, stride - 1)})
        sizes[i] *= stride
        name = e.view(name, (x.shape[0], *sizes, x.shape[1]))
    stretched = Lanes(name, (x.shape[0], x.shape[1], *sizes), order)
    # Padded by extent - 1 in front, a convolution yields the full result: less so cuts it, and the rest of the
    # output's size is made up behind (negative where the full result is cut there).
    pads = [
        (extent - 1 - begin, begin + n_out - size)
        for extent, begin, n_out, size in zip(extents, begins, out, sizes, strict=True)
    ]
    inputs, each = weight.shape[:2]
    turned = weight[(slice(None), slice(None), *(slice(None, None, -1),) * spatial)]
    turned = turned.reshape(groups, inputs // groups, each, *kernel).swapaxes(1, 2)
    turned = turned.reshape(groups * each, inputs // groups, *kernel)
    return [convolve(e, stretched, turned, (1,) * spatial, dilations, pads, groups, _bias(operands, slope))]


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
        samples=(
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {}, 9),
            Sample(((1, 2, 3, 3), np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"}, 9),
        ),
    )
)
