"""Operators that move data without computing: shapes, selections, permutations; and those that yield shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lronnx.graph import Array, Node
from lronnx.ops.affine import transpose
from lronnx.ops.emitter import LOWEST, Emitter, Lanes, row_major_order
from lronnx.ops.record import Facts, Kind, OpRule, Sample, Verdict, ints, jointly, number, only, register

Operands = Sequence["Lanes | Array | None"]


def _data(operands: Operands) -> Lanes:
    x = operands[0]
    assert isinstance(x, Lanes)
    return x


def _constant(operands: Operands, position: int) -> Array | None:
    """An operand that does not depend on the input; None where it is left out."""
    x = operands[position] if position < len(operands) else None
    assert not isinstance(x, Lanes)
    return x


# ---- the same elements under another shape


def _reshape(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """The result's shape was found by evaluation: the many ways to write it down do not matter here."""
    return [e.reshape(_data(operands), e.shapes[node.outputs[0]])]


def _dropout_verdict(node: Node, facts: Facts) -> Verdict:
    training = facts.constants[2] if len(facts.constants) > 2 else None
    if facts.opset >= 12 and training is not None and np.any(training):
        return "Dropout in training mode is random"
    return only(0)(node, facts)


def _cast_verdict(node: Node, facts: Facts) -> Verdict:
    # TensorProto's numbers: 1 float, 10 float16, 11 double, 16 bfloat16.
    if node.attributes.get("to") in (1, 10, 11, 16):
        return Kind.AFFINE
    return "a cast of what depends on the input to integers or booleans is discontinuous"


def _cast_like_verdict(node: Node, facts: Facts) -> Verdict:
    like = facts.constants[1] if len(facts.constants) > 1 else None
    if like is not None and like.dtype.kind in "iub":
        return "a cast of what depends on the input to integers or booleans is discontinuous"
    return Kind.AFFINE


register(
    OpRule(
        "Reshape",
        only(0),
        _reshape,
        follows_tail=True,
        samples=(
            Sample(((2, 3, 4), np.array([4, -1]))),
            Sample(((2, 3, 4), np.array([0, -1]))),
            Sample(((2, 3), np.array([1, 2, 1, 3]))),
        ),
    )
)
register(
    OpRule(
        "Flatten",
        only(0),
        _reshape,
        follows_tail=True,
        samples=(Sample(((2, 3, 4),)), Sample(((2, 3, 4),), {"axis": 0}), Sample(((2, 3, 4),), {"axis": -1})),
    )
)
register(
    OpRule(
        "Squeeze",
        only(0),
        _reshape,
        follows_tail=True,
        samples=(Sample(((1, 3, 1, 2), np.array([0]))), Sample(((1, 3, 1),)), Sample(((1, 3, 1),), {"axes": (2,)}, 11)),
    )
)
register(
    OpRule(
        "Unsqueeze",
        only(0),
        _reshape,
        follows_tail=True,
        samples=(Sample(((3, 2), np.array([0, -1]))), Sample(((3, 2),), {"axes": (1,)}, 11)),
    )
)
register(OpRule("Identity", only(0), _reshape, follows_tail=True, samples=(Sample(((2, 3),)),)))
register(
    OpRule(
        "Dropout",
        _dropout_verdict,
        _reshape,
        # In inference the mask is all true.
        varies=lambda node: node.outputs[:1],
        random=lambda node, facts: isinstance(_dropout_verdict(node, facts), str),
        samples=(Sample(((2, 3),)),),
    )
)
register(OpRule("Cast", _cast_verdict, _reshape, follows_tail=True, samples=(Sample(((2, 3),), {"to": 11}),)))
register(
    OpRule(
        "CastLike",
        _cast_like_verdict,
        _reshape,
        depends_on=lambda node: node.inputs[:1],
        samples=(Sample(((2, 3), np.zeros(1))),),
    )
)


# ---- the same elements in another order


def _transpose(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = _data(operands)
    permutation = ints(node.attributes.get("perm"), tuple(reversed(range(len(x.shape)))))
    return [transpose(x, permutation)]


register(
    OpRule(
        "Transpose",
        only(0),
        _transpose,
        follows_tail=True,
        samples=(Sample(((2, 3, 4),)), Sample(((1, 2, 3, 4),), {"perm": (0, 3, 1, 2)})),
    )
)


# ---- joining and cutting along an axis


def _concat(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    parts = [e.operand(operand, slope) for operand in operands]
    order = max(parts, key=lambda x: x.size).order
    parts = [e.reorder(x, order) for x in parts if x.size]
    axis = number(node.attributes["axis"], 0) % len(order)
    shape = list(parts[0].shape)
    shape[axis] = sum(x.shape[axis] for x in parts)
    name = e.concat([x.name for x in parts], parts[0].axis(axis))
    return [Lanes(name, tuple(shape), order)]


register(
    OpRule(
        "Concat",
        jointly,
        _concat,
        samples=(
            Sample(((2, 3), (2, 1), np.ones((2, 2), np.float32)), {"axis": 1}),
            Sample(((2, 3), (1, 3)), {"axis": -2}),
        ),
    )
)


def _split(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = _data(operands)
    axis = number(node.attributes.get("axis"), 0) % len(x.shape)
    made: list[Lanes] = []
    start = 0
    for output in node.outputs:
        shape = e.shapes[output]
        name = e.slice(x.name, {x.axis(axis): (start, start + shape[axis], 1)})
        made.append(Lanes(name, shape, x.order))
        start += shape[axis]
    return made


register(
    OpRule(
        "Split",
        only(0),
        _split,
        samples=(
            Sample(((2, 6), np.array([2, 4])), {"axis": 1}, 13, outputs=2),
            Sample(((6, 2),), {"axis": -2}, 13, outputs=3),
            Sample(((2, 6),), {"axis": 1, "split": (1, 5)}, 11, outputs=2),
            Sample(((2, 7),), {"axis": 1, "num_outputs": 3}, 18, outputs=3),
        ),
    )
)


def _slice(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = _data(operands)
    if len(operands) == 1:
        starts, ends, axes = (ints(node.attributes.get(key)) for key in ("starts", "ends", "axes"))
        steps: tuple[int, ...] = ()
    else:
        starts, ends, axes, steps = (ints(_constant(operands, i)) for i in range(1, 5))
    axes = axes or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    ranges = {x.axis(axis): bounds for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}
    name = e.slice(x.name, {axis: (b[0], b[1], b[2]) for axis, b in ranges.items()})
    return [Lanes(name, e.shapes[node.outputs[0]], x.order)]


register(
    OpRule(
        "Slice",
        only(0),
        _slice,
        samples=(
            Sample(((2, 6), np.array([1]), np.array([5]), np.array([1]), np.array([2]))),
            Sample(((4, 6), np.array([-1, 0]), np.array([-9, 3]), np.array([1, 0]), np.array([-1, 1]))),
            Sample(((4, 6),), {"starts": (1,), "ends": (2**31,), "axes": (-1,)}, 9),
        ),
    )
)


def _gather(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x, indices = operands
    assert isinstance(x, Lanes)
    assert isinstance(indices, np.ndarray)
    axis = number(node.attributes.get("axis"), 0) % len(x.shape)
    x = e.row_major(x)
    name = e.one("Gather", x.name, e.constant(indices.astype(np.int64), "indices"), axis=axis + 1)
    shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    return [Lanes(name, shape, row_major_order(len(shape)))]


register(
    OpRule(
        "Gather",
        only(0),
        _gather,
        samples=(
            Sample(((2, 6), np.array([[0, -1], [3, 3]])), {"axis": 1}),
            Sample(((2, 6), np.array(1)), {"axis": 0}),
        ),
    )
)


# ---- padding


def _pad(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    mode = str(node.attributes.get("mode", "constant"))
    if mode == "wrap":
        return _by_table(e, node, operands, slope)
    x = _data(operands)
    rank = len(x.shape)
    given = [None, *(_constant(operands, i) for i in range(1, 4))]
    widths = ints(node.attributes.get("pads") if given[1] is None else given[1])
    axes = tuple(axis % rank for axis in ints(given[3], tuple(range(rank))))
    value = np.asarray(node.attributes.get("value", 0.0) if given[2] is None else given[2], dtype=np.float64)
    # Minus infinity, or the lowest float32: what must not win a maximum. See there.
    fill = 0.0 if slope or not value.size else max(float(value.flat[0]), LOWEST[e.dtype.name])
    pairs = {x.axis(axis): (widths[i], widths[i + len(axes)]) for i, axis in enumerate(axes)}
    if mode == "constant":
        name = e.pad(x.name, rank + 1, pairs, fill)
    else:
        flat = [pairs.get(axis, (0, 0))[side] for side in (0, 1) for axis in range(rank + 1)]
        name = e.one("Pad", x.name, e.constant(np.array(flat, np.int64), "pads"), mode=mode)
    return [Lanes(name, e.shapes[node.outputs[0]], x.order)]


def _pad_verdict(node: Node, facts: Facts) -> Verdict:
    mode = str(node.attributes.get("mode", "constant"))
    if mode not in ("constant", "reflect", "edge", "wrap"):
        return f"Pad with mode '{mode}' is not supported"
    return only(0)(node, facts)


register(
    OpRule(
        "Pad",
        _pad_verdict,
        _pad,
        infinite=True,
        samples=(
            Sample(((2, 3), np.array([0, 1, 2, 1]), np.array(0.5, np.float32)), {}, 17),
            Sample(((2, 4), np.array([0, 2, 0, 1])), {"mode": "reflect"}, 17),
            Sample(((2, 4), np.array([1, 2, 0, 1])), {"mode": "edge"}, 17),
            Sample(((2, 4), np.array([1, 2, 0, 1])), {"mode": "wrap"}, 19),
            Sample(((2, 4), np.array([0, -1, 0, 2])), {}, 17),
            Sample(((2, 4), np.array([2, 1]), None, np.array([-1])), {}, 18),
            Sample(((2, 4),), {"pads": (0, 1, 0, 1), "value": 2.0}, 9),
        ),
    )
)


# ---- any other selection of elements, described by a table of indices


def _by_table(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """Move data as the operator itself moves the numbers 0, 1, 2, ...

    The node is run once on indices in place of data; constants that it mixes in are given negative
    numbers. So no operator's index arithmetic is written a second time here.
    """
    arrays: list[Array | None] = []
    sources: list[str] = []
    offset = 0
    mixed: list[Array] = []
    for operand in operands:
        if isinstance(operand, Lanes):
            arrays.append(np.arange(offset, offset + operand.size, dtype=np.float64).reshape(operand.shape))
            sources.append(e.reshape(operand, (operand.size,)).name)
            offset += operand.size
        elif operand is not None and operand.dtype.kind == "f":
            start = sum(a.size for a in mixed)
            arrays.append(-1.0 - np.arange(start, start + operand.size, dtype=np.float64).reshape(operand.shape))
            mixed.append(np.asarray(operand, dtype=np.float64).ravel())
        else:
            arrays.append(operand)
    table = e.probe(node, arrays)[0]
    codes = np.rint(table).astype(np.int64).ravel()
    moved = e.one("Gather", e.concat(sources, 1), e.constant(np.maximum(codes, 0), "table"), axis=1)
    result = e.reshape(Lanes(moved, (codes.size,), (0,)), table.shape)
    fixed = codes < 0
    if fixed.any():
        content = np.concatenate(mixed)[np.where(fixed, -1 - codes, 0)] * fixed
        result = e.elementwise("Mul", result, (~fixed).astype(np.float64).reshape(table.shape))
        result = e.add(result, content.reshape(table.shape), slope)
    return [result]


def _scatter_verdict(node: Node, facts: Facts) -> Verdict:
    if len(facts.variable) > 1 and facts.variable[1]:
        return "the indices depend on the input: discontinuous"
    if str(node.attributes.get("reduction", "none")) != "none":
        return f"{node.op_type} with reduction '{node.attributes['reduction']}' is not supported"
    return Kind.AFFINE


def _trilu(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = _data(operands)
    diagonal = ints(_constant(operands, 1), (0,))[0]
    cut = np.triu if node.attributes.get("upper", 1) else np.tril
    return [e.elementwise("Mul", x, cut(np.ones(x.shape[-2:]), diagonal))]


_rows = np.array([[0, 1], [1, 0]])
register(OpRule("Expand", only(0), _by_table, samples=(Sample(((3, 1), np.array([2, 1, 4]))),)))
register(OpRule("Tile", only(0), _by_table, samples=(Sample(((2, 3), np.array([2, 2]))),)))
register(
    OpRule(
        "GatherND",
        only(0),
        _by_table,
        samples=(Sample(((2, 2, 3), _rows)), Sample(((2, 2, 3), np.array([[1], [0]])), {"batch_dims": 1})),
    )
)
register(
    OpRule("Compress", only(0), _by_table, samples=(Sample(((3, 2), np.array([True, False, True])), {"axis": 0}),))
)
register(OpRule("ReverseSequence", only(0), _by_table, samples=(Sample(((3, 2), np.array([2, 3]))),)))
register(OpRule("GatherElements", only(0), _by_table, samples=(Sample(((2, 2), _rows), {"axis": 1}),)))
register(
    OpRule(
        "ScatterND",
        _scatter_verdict,
        _by_table,
        samples=(
            Sample(((4, 2), np.array([[1], [3]]), (2, 2))),
            Sample(((4, 2), np.array([[1], [3]]), np.ones((2, 2), np.float32))),
            Sample((np.ones((4, 2), np.float32), np.array([[1], [3]]), (2, 2))),
        ),
    )
)
register(
    OpRule("ScatterElements", _scatter_verdict, _by_table, samples=(Sample(((2, 3), _rows, (2, 2)), {"axis": 1}),))
)
register(
    OpRule(
        "DepthToSpace",
        only(0),
        _by_table,
        samples=(Sample(((1, 8, 2, 3),), {"blocksize": 2}), Sample(((1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"})),
    )
)
register(OpRule("SpaceToDepth", only(0), _by_table, samples=(Sample(((1, 2, 4, 6),), {"blocksize": 2}),)))
register(
    OpRule(
        "Trilu",
        only(0),
        _trilu,
        samples=(Sample(((3, 4),)), Sample(((2, 3, 4), np.array(1)), {"upper": 0})),
    )
)


# ---- what depends on the shape alone


def _static(node: Node, facts: Facts) -> Verdict:
    return Kind.CONSTANT


for _op in ("Shape", "Size", "EyeLike"):
    register(OpRule(_op, _static, depends_on=lambda node: ()))
