"""Affine operators without a spatial window: arithmetic, matrix products, normalisation, reductions."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from lronnx.graph import Array, Attribute, Node, freeze
from lronnx.ops.emitter import Emitter, Lanes, row_major_order
from lronnx.ops.record import (
    EmitRule,
    Facts,
    Kind,
    OpRule,
    Sample,
    Verdict,
    VerdictRule,
    ints,
    jointly,
    number,
    only,
    real,
    register,
)

Operands = Sequence["Lanes | Array | None"]
_random = np.random.default_rng(20220328)


def _weights(*shape: int) -> Array:
    return _random.standard_normal(shape).astype(np.float32)


def _one_operand(reason: str) -> VerdictRule:
    def verdict(node: Node, facts: Facts) -> Verdict:
        return Kind.AFFINE if facts.count() <= 1 else reason

    return verdict


_bilinear = _one_operand("product of two operands that depend on the input: bilinear")


# ---- sums


def _add(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    moving = [x for x in operands if isinstance(x, Lanes)]
    total = moving[0] if len(moving) == 1 else e.combine("Sum" if len(moving) > 2 else "Add", *moving)
    for array in operands:
        if isinstance(array, np.ndarray):
            total = e.add(total, array, slope)
    return [total]


def _sub(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    left, right = operands
    if isinstance(left, Lanes) and isinstance(right, Lanes):
        return [e.combine("Sub", left, right)]
    if isinstance(left, Lanes):
        assert isinstance(right, np.ndarray)
        return [e.add(left, -right, slope)]
    assert isinstance(right, Lanes)
    assert isinstance(left, np.ndarray)
    return [e.add(e.unary("Neg", right), left, slope)]


def _mean(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    (total,) = _add(e, node, operands, slope)
    return [e.elementwise("Div", total, np.array(float(len(operands))))]


def _neg(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    return [e.unary("Neg", x)]


_pair = (Sample(((2, 3), (2, 3))), Sample(((1, 4, 3), _weights(4, 1))), Sample((_weights(2, 3), (3,))))
register(OpRule("Add", jointly, _add, samples=_pair))
register(OpRule("Sub", jointly, _sub, samples=_pair))
register(OpRule("Sum", jointly, _add, samples=(*_pair, Sample(((2, 3), (3,), _weights(2, 1))), Sample(((2, 3),)))))
register(OpRule("Mean", jointly, _mean, samples=(*_pair, Sample(((2, 3), (3,), (2, 1))))))
register(OpRule("Neg", jointly, _neg, samples=(Sample(((2, 3),)),)))


# ---- products with what does not depend on the input


def _mul(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    left, right = operands
    if isinstance(left, Lanes):
        assert isinstance(right, np.ndarray)
        return [e.elementwise("Mul", left, right)]
    assert isinstance(right, Lanes)
    assert isinstance(left, np.ndarray)
    return [e.elementwise("Mul", right, left)]


def _div(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    left, right = operands
    assert isinstance(left, Lanes)
    assert isinstance(right, np.ndarray)
    return [e.elementwise("Div", left, right)]


def _div_verdict(node: Node, facts: Facts) -> Verdict:
    if facts.variable[1]:
        return "the divisor depends on the input: rational, not affine"
    divisor = facts.constants[1]
    if divisor is not None and not np.all(divisor):
        return "division by zero"
    return Kind.AFFINE


def _pow_verdict(node: Node, facts: Facts) -> Verdict:
    exponent = facts.constants[1]
    if facts.variable[1]:
        return "the exponent depends on the input: not piecewise affine"
    if exponent is not None and np.all(exponent == 1):
        return Kind.AFFINE
    return "a power other than 1 of what depends on the input: not piecewise affine"


def _pow(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """The first power. The exponent may still broadcast."""
    x, exponent = operands
    assert isinstance(x, Lanes)
    assert isinstance(exponent, np.ndarray)
    shape = np.broadcast_shapes(x.shape, exponent.shape)
    return [x if shape == x.shape else e.elementwise("Mul", x, np.ones(exponent.shape))]


register(
    OpRule(
        "Mul",
        _bilinear,
        _mul,
        samples=(Sample(((2, 3), _weights(3))), Sample((_weights(4, 1, 3), (2, 1)))),
    )
)
register(OpRule("Div", _div_verdict, _div, samples=(Sample(((2, 3), _weights(3) + 3)),)))
_ones = (Sample(((2, 3), np.array(1.0, np.float32))), Sample(((3,), np.ones((2, 1), np.float32))))
register(OpRule("Pow", _pow_verdict, _pow, samples=_ones))


# ---- matrix products


def _product(e: Emitter, left: Lanes | Array, right: Lanes | Array) -> Lanes:
    """numpy's matmul of one tensor and one constant."""
    if isinstance(left, Lanes):
        assert isinstance(right, np.ndarray)
        x = e.row_major(left)
        shape = np.matmul(np.empty(x.shape, np.bool_), np.empty(right.shape, np.bool_)).shape
        squeeze = len(x.shape) == 1 and right.ndim > 2
        if squeeze:
            x = e.reshape(x, (1, *x.shape))
        x = e.row_major(e.align(x, right.ndim if right.ndim > 2 else 1))
        if right.ndim == 1:
            made = e.one("MatMul", x.name, e.constant(right[:, None], "weight"))
            full = (*x.shape[:-1], 1)
        elif right.ndim == 2:
            made = e.one("MatMul", x.name, e.constant(right, "weight"))
            full = (*x.shape[:-1], right.shape[1])
        else:
            missing = len(x.shape) - right.ndim
            held = right.reshape((1,) * (missing + 1) + right.shape)
            made = e.one("MatMul", x.name, e.constant(held, "weight"))
            full = np.matmul(np.empty(x.shape, np.bool_), np.empty(right.shape, np.bool_)).shape
        e.multiplications += prod(full) * x.shape[-1]
        return e.reshape(Lanes(made, full, row_major_order(len(full))), shape)
    assert isinstance(right, Lanes)
    assert isinstance(left, np.ndarray)
    shape = np.matmul(np.empty(left.shape, np.bool_), np.empty(right.shape, np.bool_)).shape
    if len(right.shape) == 1 and left.ndim <= 2:
        return _product(e, right, left.T)
    return _left(e, left, e.reshape(right, (*right.shape, 1)) if len(right.shape) == 1 else right, shape)


def _left(e: Emitter, left: Array, right: Lanes, shape: tuple[int, ...]) -> Lanes:
    """A constant on the left of a tensor of at least two axes."""
    held = left[None, :] if left.ndim == 1 else left
    rank = max(held.ndim, len(right.shape))
    right = e.row_major(e.align(right, rank))
    full = np.matmul(np.empty(held.shape, np.bool_), np.empty(right.shape, np.bool_)).shape
    held = held.reshape((1,) * (rank - held.ndim + 1) + held.shape)
    made = e.one("MatMul", e.constant(held, "weight"), right.name)
    e.multiplications += prod(full) * right.shape[-2]
    return e.reshape(Lanes(made, full, row_major_order(len(full))), shape)


def _matmul(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    left, right = operands
    assert left is not None
    assert right is not None
    return [_product(e, left, right)]


def _fused_matmul(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """onnxruntime's matrix product that transposes and scales."""
    sides: list[Lanes | Array] = []
    for operand, key in zip(operands, ("transA", "transB"), strict=True):
        assert operand is not None
        if not node.attributes.get(key, 0) or len(operand.shape) < 2:
            sides.append(operand)
        elif isinstance(operand, Lanes):
            rank = len(operand.shape)
            sides.append(transpose(operand, (*range(rank - 2), rank - 1, rank - 2)))
        else:
            sides.append(operand.swapaxes(-1, -2))
    product = _product(e, sides[0], sides[1])
    alpha = real(node.attributes.get("alpha"), 1.0)
    return [product if alpha == 1 else e.elementwise("Mul", product, np.array(alpha))]


def _fused_matmul_verdict(node: Node, facts: Facts) -> Verdict:
    if node.attributes.get("transBatchA", 0) or node.attributes.get("transBatchB", 0):
        return f"{node.op_type} that transposes the batch is not supported"
    return _bilinear(node, facts)


def _gemm(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    alpha, beta = real(node.attributes.get("alpha"), 1.0), real(node.attributes.get("beta"), 1.0)
    left, right = operands[0], operands[1]
    assert left is not None
    assert right is not None
    # Without a constant factor there is still a product to write when only the bias varies.
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        left_matrix = left.T if node.attributes.get("transA", 0) else left
        right_matrix = right.T if node.attributes.get("transB", 0) else right
        product: Lanes | Array = alpha * np.matmul(left_matrix.astype(np.float64), right_matrix.astype(np.float64))
    else:
        sides: list[Lanes | Array] = []
        for side, key in ((left, "transA"), (right, "transB")):
            flipped = bool(node.attributes.get(key, 0))
            if isinstance(side, Lanes):
                sides.append(transpose(side, (1, 0)) if flipped else side)
            else:
                sides.append(alpha * (side.T if flipped else side).astype(np.float64))
        product = _product(e, sides[0], sides[1])
    bias = operands[2] if len(operands) > 2 else None
    if bias is None:
        assert isinstance(product, Lanes)
        return [product]
    if isinstance(bias, Lanes):
        bias = e.elementwise("Mul", bias, np.array(beta)) if beta != 1.0 else bias
        return _add(e, node, [product, bias], slope)
    assert isinstance(product, Lanes)
    return [e.add(product, beta * bias.astype(np.float64), slope)]


def _absorb_in_gemm(
    node: Node, operands: Sequence[Array | None], factor: Array, term: Array
) -> tuple[Mapping[str, Attribute], tuple[Array, Array]] | None:
    bias = operands[2] if node.input(2) else np.zeros(())
    weight = operands[1]
    if weight is None or bias is None:
        return None
    across = factor[:, None] if node.attributes.get("transB", 0) else factor
    beta = real(node.attributes.get("beta"), 1.0)
    shifted = beta * bias.astype(np.float64) * factor + term
    return freeze({**node.attributes, "beta": 1.0}), (weight.astype(np.float64) * across, shifted)


def transpose(x: Lanes, permutation: Sequence[int]) -> Lanes:
    """Another order of the network's axes: no data moves, only the book-keeping."""
    shape = tuple(x.shape[axis] for axis in permutation)
    return Lanes(x.name, shape, tuple(list(permutation).index(axis) for axis in x.order))


def _gemm_verdict(node: Node, facts: Facts) -> Verdict:
    # The third operand is added: it may vary with either.
    return _bilinear(node, replace(facts, variable=facts.variable[:2]))


register(
    OpRule(
        "MatMul",
        _bilinear,
        _matmul,
        samples=(
            Sample(((1, 4), _weights(4, 3))),
            Sample(((4,), _weights(4, 3))),
            Sample((_weights(3, 4), (4,))),
            Sample((_weights(3, 4), (4, 2))),
            Sample(((2, 5, 4), _weights(4, 3))),
            Sample(((5, 4), _weights(2, 4, 3))),
            Sample((_weights(2, 3, 4), (4, 5))),
            Sample(((2, 3, 4), _weights(4))),
            Sample(((4,), _weights(2, 4, 3))),
            Sample((_weights(4), (2, 4, 3))),
        ),
    )
)
register(
    OpRule(
        "FusedMatMul",
        _fused_matmul_verdict,
        _fused_matmul,
        domain="com.microsoft",
        samples=(
            Sample(((2, 4), _weights(3, 4)), {"transB": 1, "alpha": 0.3}),
            Sample(((2, 4, 5), _weights(2, 4, 3)), {"transA": 1}),
            Sample((_weights(4, 3), (2, 4, 5)), {"transA": 1, "alpha": 2.0}),
        ),
    )
)
register(
    OpRule(
        "Gemm",
        _gemm_verdict,
        _gemm,
        absorb=_absorb_in_gemm,
        samples=(
            Sample(((1, 4), _weights(3, 4), _weights(3)), {"transB": 1}),
            Sample(((4, 2), _weights(4, 3), _weights(2, 1)), {"transA": 1, "alpha": 0.5, "beta": 2.0}),
            Sample((_weights(2, 4), (4, 3))),
            Sample((_weights(2, 4), _weights(4, 3), (2, 3)), {"beta": 0.5}),
        ),
    )
)


def _einsum_verdict(node: Node, facts: Facts) -> Verdict:
    if facts.count() > 1:
        return "Einsum of two operands that depend on the input: bilinear"
    position = facts.variable.index(True)
    term = _einsum_terms(str(node.attributes["equation"]))[0][position]
    if len(set(term.replace(".", ""))) != len(term.replace(".", "")):
        return "Einsum that takes a diagonal of what depends on the input is not supported"
    return Kind.AFFINE


def _einsum_terms(equation: str) -> tuple[list[str], str]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return terms, right


def _einsum(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    equation = str(node.attributes["equation"])
    terms, result = _einsum_terms(equation)
    lane = next(c for c in string.ascii_letters if c not in equation)
    names: list[str] = []
    for i, operand in enumerate(operands):
        if isinstance(operand, Lanes):
            terms[i] = lane + terms[i]
            names.append(e.row_major(operand).name)
        else:
            assert operand is not None
            names.append(e.constant(operand, "weight"))
    made = e.one("Einsum", *names, equation=f"{','.join(terms)}->{lane}{result}")
    shape = e.shapes[node.outputs[0]]
    return [Lanes(made, shape, row_major_order(len(shape)))]


register(
    OpRule(
        "Einsum",
        _einsum_verdict,
        _einsum,
        samples=(
            Sample(((2, 3, 4), _weights(5, 4)), {"equation": "bij,kj->bik"}),
            Sample((_weights(5, 4), (3, 4)), {"equation": "ij,kj"}),
            Sample(((3, 4),), {"equation": "ij->j"}),
        ),
    )
)


# ---- normalisation


def _normalization(node: Node, operands: Sequence[object]) -> tuple[Array, Array]:
    """Factor and term per channel."""
    scale, bias, mean, variance = (np.asarray(a, dtype=np.float64) for a in operands[1:])
    factor = scale / np.sqrt(variance + real(node.attributes.get("epsilon"), 1e-5))
    return factor, bias - mean * factor


def _batch_normalization(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    factor, term = _normalization(node, operands)
    per_channel = (-1,) + (1,) * (len(x.shape) - 2)
    scaled = e.elementwise("Mul", x, factor.reshape(per_channel))
    return [e.add(scaled, term.reshape(per_channel), slope)]


def _batch_normalization_verdict(node: Node, facts: Facts) -> Verdict:
    if node.attributes.get("training_mode", 0):
        return "BatchNormalization in training mode depends on the batch"
    if facts.opset < 9 and not node.attributes.get("spatial", 1):
        return "BatchNormalization with spatial=0 is not supported"
    return only(0)(node, facts)


_positive = np.abs(_weights(3)) + 0.5
register(
    OpRule(
        "BatchNormalization",
        _batch_normalization_verdict,
        _batch_normalization,
        per_channel=_normalization,
        samples=(
            Sample(((1, 3, 2, 2), _weights(3), _weights(3), _weights(3), _positive), opset=15),
            Sample(((2, 3), _weights(3), _weights(3), _weights(3), _positive), {"epsilon": 1e-3}, opset=15),
        ),
    )
)


def _scaler(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x = operands[0]
    assert isinstance(x, Lanes)
    offset = np.asarray(node.attributes.get("offset", (0.0,)), dtype=np.float32).astype(np.float64)
    scale = np.asarray(node.attributes.get("scale", (1.0,)), dtype=np.float32).astype(np.float64)
    return [e.elementwise("Mul", e.add(x, -offset, slope), scale)]


register(
    OpRule(
        "Scaler",
        only(0),
        _scaler,
        domain="ai.onnx.ml",
        samples=(
            Sample(((2, 3),), {"offset": (0.5, -1.0, 0.0), "scale": (2.0, 0.1, -1.0)}),
            Sample(((2, 3),), {"offset": (0.5,), "scale": (0.25,)}),
        ),
    )
)


# ---- reductions


def reduced_axes(node: Node, operands: Sequence[object], rank: int) -> tuple[int, ...]:
    """The axes over which a Reduce operator reduces, from its attribute or its second operand."""
    given = operands[1] if len(operands) > 1 else None
    axes = ints(given if isinstance(given, np.ndarray) else node.attributes.get("axes"))
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def _reduce(*, mean: bool) -> EmitRule:
    def emit(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
        x = operands[0]
        assert isinstance(x, Lanes)
        axes = reduced_axes(node, operands, len(x.shape))
        shape = tuple(1 if axis in axes else d for axis, d in enumerate(x.shape))
        if prod(shape) != x.size:
            physical = e.constant(np.array(sorted(x.axis(axis) for axis in axes), np.int64), "axes")
            count = x.size // prod(shape)
            x = Lanes(e.one("ReduceSum", x.name, physical, keepdims=1), shape, x.order)
            x = e.elementwise("Mul", x, np.array(1.0 / count)) if mean else x
        kept = shape if node.attributes.get("keepdims", 1) else tuple(d for a, d in enumerate(shape) if a not in axes)
        return [e.reshape(x, kept)]

    return emit


_reductions = (
    Sample(((2, 3, 4),), {"axes": (1,), "keepdims": 0}, opset=11),
    Sample(((2, 3, 4),), {"axes": (-1, 0)}, opset=11),
    Sample(((2, 3),), {"keepdims": 0}, opset=11),
    Sample(((2, 3, 4), np.array([1, 2])), {"keepdims": 0}, opset=18),
    Sample(((2, 3, 4),), {"noop_with_empty_axes": 1}, opset=18),
)
register(OpRule("ReduceMean", only(0), _reduce(mean=True), samples=_reductions))
register(OpRule("ReduceSum", only(0), _reduce(mean=False), samples=_reductions))


def _cumsum(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    x, axis = operands
    assert isinstance(x, Lanes)
    assert isinstance(axis, np.ndarray)
    physical = e.constant(np.array(x.axis(ints(axis)[0]), np.int64), "axis")
    exclusive, reverse = (number(node.attributes.get(key), 0) for key in ("exclusive", "reverse"))
    return [Lanes(e.one("CumSum", x.name, physical, exclusive=exclusive, reverse=reverse), x.shape, x.order)]


register(
    OpRule(
        "CumSum",
        only(0),
        _cumsum,
        samples=(
            Sample(((2, 3), np.array(1))),
            Sample(((2, 3), np.array(-2)), {"exclusive": 1, "reverse": 1}),
        ),
    )
)
