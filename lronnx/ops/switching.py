"""Piecewise-linear operators: what they choose between, and the program that keeps their choice as state.

Two forms cover all of them: :class:`Kinks` (an elementwise function with kinks) and :class:`Choice` (the
largest of several candidates). ``emit_*`` writes their outputs, and the rates at which units leave their
branch, under a pattern that is given (:data:`STEP`) or computed afresh (:data:`FRESH`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T
from lronnx.graph import Array, Node, Value
from lronnx.ops.affine import reduced_axes
from lronnx.ops.emitter import (
    ELEMENT_TYPES,
    LANES,
    LARGEST_SIZE,
    LARGEST_SQUARE,
    LOWEST,
    Emitter,
    Lanes,
    row_major_order,
)
from lronnx.ops.record import (
    Choice,
    Facts,
    Kind,
    Kinks,
    Lookup,
    OpRule,
    Sample,
    SwitchRule,
    Verdict,
    ints,
    real,
    refuse,
    register,
    switching,
)
from lronnx.ops.windows import window_of

Operands = Sequence["Lanes | Array | None"]

STEP, FRESH = "step", "fresh"

# Per element type. ``noise``: relative to its size (see :class:`Sizes`) a number below this is rounding of zero. For
# doubles that is 900 units of rounding: a sum of n products errs by some square root of n of them, and real numbers
# are almost never that small beside what they are summed up from. ``zero``: the same for a unit that moves, where only
# a single place is at stake. ``doubt``: relative to the size that a lane began with, a number above this is no noise,
# and its present size need not be asked for. ``tiny`` keeps a quotient finite; ``nudge / tiny`` is a rate at which a
# unit leaves at once.
NUMBERS = {
    "float64": {"noise": 1e-13, "zero": 4e-15, "doubt": 1e-9, "tiny": 1e-300, "nudge": 1e-150},
    "float32": {"noise": 5e-6, "zero": 1e-6, "doubt": 1e-4, "tiny": 1e-37, "nudge": 1e-22},
}


@dataclass(frozen=True)
class Group:
    """The switching functions of one node that share a form: one kink of an elementwise operator, or a choice.

    ``count`` is the number of candidates (0 for a kink), ``kink`` the kink's number. ``shape`` and ``order`` tell how
    the program stores the units. The others are names of the program's tensors: what the pattern is; the functions,
    their slopes and rates; per lane the smallest rate, and the smallest distance from the kink on the unit's own
    side; the functions' and slopes' sizes, where they are written.
    """

    label: str
    kink: int
    count: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    state: str
    value: str
    slope: str
    rate: str
    best: str
    lowest: str
    size: str = ""
    slope_size: str = ""

    @property
    def units(self) -> int:
        return prod(self.shape)

    @property
    def physical(self) -> tuple[int, ...]:
        """Shape of one lane's state."""
        if self.count:
            return (1, self.units)
        return tuple(self.shape[axis] for axis in self.order)

    @cached_property
    def unit(self) -> NDArray[np.int64]:
        """The row-major index of the unit that the program stores at each flat position, (units,)."""
        numbers = np.arange(self.units).reshape(self.shape)
        return numbers.transpose(self.order).reshape(-1)


@dataclass(frozen=True)
class Sizes:
    """A node's switching functions and their slopes in squares (see :meth:`Emitter.squared`), in their own forms.

    The root of such a square is a number's size: what it would be if nothing cancelled. The size of ``sum w x + b`` is
    the root of ``sum w^2 (x^2 + size(x)^2) + b^2``. Rounding errors are small against it, those of this sum and, since
    the sizes of its terms are in it, those of the sums before.
    """

    value: Kinks | Choice
    slope: Kinks | Choice


@dataclass(frozen=True)
class Switched:
    """What was written for a switching node: its output, the output's slope, the squares of both, if asked for."""

    out: Lanes
    slope: Lanes
    squares: Lanes | None
    slope_squares: Lanes | None
    groups: list[Group]


def squares(e: Emitter, x: Lanes, rounding: Lanes | None) -> Lanes:
    """``x^2 + size(x)^2`` of an element; ``rounding``: the latter, ``x^2`` if it is left out."""
    wide = e.cast(x, e.squares.name)
    most = LARGEST_SQUARE[e.squares.name]
    with e.squared({}, {}):
        squared = replace(wide, name=e.one("Mul", wide.name, wide.name))
        squared = replace(squared, name=e.at_most(squared.name, most))
        total = e.combine("Add", squared, squared if rounding is None else e.reorder(rounding, x.order))
        return replace(total, name=e.at_most(total.name, most))


def _size(e: Emitter, squared: Lanes, like: Lanes, offset: Array) -> str:
    """Sizes in the program's type and another tensor's layout, from their squares."""
    most = LARGEST_SIZE[e.dtype.name]
    with e.squared({}, {}):
        if np.any(offset):
            squared = e.elementwise("Add", squared, offset)
        root = e.root(e.reorder(squared, like.order))
        root = replace(root, name=e.at_most(root.name, most))
    return e.cast(root, e.dtype.name, e.squares.name).name


def _lowest(e: Emitter, name: str, rank: int, hint: str) -> str:
    """The smallest element of each lane, (lanes,)."""
    if rank == 1:
        return e.one("Identity", name, hint=hint)
    return e.one("ReduceMin", name, e.constant(np.arange(1, rank), "axes"), keepdims=0, hint=hint)


def _times(e: Emitter, x: Lanes, factor: Array) -> Lanes | None:
    """``factor * x``; None stands for zero."""
    factor = np.asarray(factor)
    if not np.any(factor):
        return None
    return x if np.all(factor == 1) else e.elementwise("Mul", x, factor)


def _total(e: Emitter, terms: Sequence[Lanes | None], constant: Array) -> Lanes | None:
    """The sum of terms (None: zero) and a constant; None if there is no term."""
    found = [term for term in terms if term is not None]
    if not found:
        return None
    total = found[0]
    for term in found[1:]:
        total = e.combine("Add", total, term)
    return e.elementwise("Add", total, constant) if np.any(constant) else total


def emit_kinks(
    e: Emitter,
    label: str,
    value: Kinks,
    slope: Kinks,
    mode: str,
    sizes: Sizes | None,
    states: list[Value],
    doubt: float = 0.0,
) -> Switched:
    """Write an elementwise switching node; one group per kink.

    In mode STEP the states become program inputs, appended to ``states``: +1 above the kink, -1 below. In mode FRESH
    ``sizes`` are needed. ``doubt``: the squares of the output are those of any branch, not of the present one alone,
    where a unit is closer to its kink than this, relative to its size.
    """
    z, s = value.argument, slope.argument
    rank = len(z.shape) + 1
    groups: list[Group] = []
    gradient: list[Lanes | None] = []
    constant: list[Lanes | None] = []
    near: list[Lanes] = []
    for number, (kink, jump) in enumerate(zip(value.kinks, value.jumps, strict=True)):
        g = e.elementwise("Sub", z, kink) if np.any(kink) else z
        hints = {key: f"{key}/{number}" for key in ("state", "rate", "best", "lowest")}
        size = slope_size = ""
        if sizes is not None:
            assert isinstance(sizes.value, Kinks)
            assert isinstance(sizes.slope, Kinks)
            size = _size(e, sizes.value.argument, z, kink)
            slope_size = _size(e, sizes.slope.argument, s, _ZERO)
        if mode == STEP:
            state = e.fresh(hints["state"])
            states.append(Value(state, e.dtype.name, (LANES, *z.physical)))
        else:
            state = _fresh_kink(e, g.name, s.name, size, slope_size, hints["state"])
        distance = e.one("Mul", state, g.name)
        # A unit above its kink whose function is identically zero belongs below it: the nudge makes it leave.
        nudge = e.number(NUMBERS[e.dtype.name]["nudge"], rank)
        towards = e.one("Mul", state, e.one("Sub", s.name, nudge))
        rate = e.one("Div", towards, e.at_least(distance, NUMBERS[e.dtype.name]["tiny"]), hint=hints["rate"])
        groups.append(
            Group(
                label,
                number,
                0,
                z.shape,
                z.order,
                state,
                g.name,
                s.name,
                rate,
                _lowest(e, rate, rank, hints["best"]),
                _lowest(e, distance, rank, hints["lowest"]),
                size,
                slope_size,
            )
        )
        above = Lanes(e.one("Relu", state), z.shape, z.order)
        gradient.append(_times(e, above, jump))
        constant.append(_times(e, above, -np.asarray(jump) * kink))
        if doubt:
            limit = e.one("Mul", size, e.constant(np.array(doubt)))
            close = e.one("LessOrEqual", e.one("Abs", g.name), limit)
            near.append(Lanes(e.one("Cast", close, to=ELEMENT_TYPES[e.squares.name]), z.shape, z.order))
    factor = _total(e, gradient, value.base)
    # On every branch the output is written as that branch's own line, which is exactly constant where it is flat.
    if factor is None:
        outs = [_times(e, x, value.base) or e.elementwise("Mul", x, _ZERO) for x in (z, s)]
    else:
        outs = [e.combine("Mul", factor, x) for x in (z, s)]
    out, out_slope = outs
    flat = _total(e, constant, value.offset)
    if flat is not None:
        out = e.combine("Add", out, flat)
    elif np.any(value.offset):
        out = e.elementwise("Add", out, value.offset)
    if sizes is None:
        return Switched(out, out_slope, None, None, groups)
    made: list[Lanes] = []
    for held, x, at_kink in ((sizes.value, out, near), (sizes.slope, out_slope, [])):
        assert isinstance(held, Kinks)
        made.append(squares(e, x, _bent(e, e.reorder(held.argument, z.order), factor, value, at_kink)))
    return Switched(out, out_slope, made[0], made[1], groups)


def emit_value(e: Emitter, form: Kinks | Choice) -> Lanes:
    """Write a switching node's output alone, whatever branch it is on; flat branches are exactly flat."""
    if isinstance(form, Choice):
        chosen = e.one("ReduceMax", form.candidates, e.constant(np.array([1]), "axes"), keepdims=0)
        physical = tuple(form.shape[axis] for axis in form.order)
        out = Lanes(e.view(chosen, physical), form.shape, form.order)
        return out if form.sign > 0 else e.unary("Neg", out)
    z = form.argument
    gradient: list[Lanes | None] = []
    constant: list[Lanes | None] = []
    for kink, jump in zip(form.kinks, form.jumps, strict=True):
        above = e.one("Greater", z.name, e.beside(kink, z.order))
        mask = replace(z, name=e.one("Cast", above, to=ELEMENT_TYPES[e.dtype.name]))
        gradient.append(_times(e, mask, jump))
        constant.append(_times(e, mask, -np.asarray(jump) * kink))
    factor = _total(e, gradient, form.base)
    out = (_times(e, z, form.base) or e.elementwise("Mul", z, _ZERO)) if factor is None else e.combine("Mul", factor, z)
    flat = _total(e, constant, form.offset)
    if flat is not None:
        return e.combine("Add", out, flat)
    return e.elementwise("Add", out, form.offset) if np.any(form.offset) else out


def _bent(e: Emitter, squared: Lanes, factor: Lanes | None, form: Kinks, near: Sequence[Lanes]) -> Lanes:
    """Squares of sizes behind the present branch, or the steepest one for units that are ``near`` a kink."""
    steepest = np.abs(np.asarray(form.base)) + sum((np.abs(np.asarray(jump)) for jump in form.jumps), start=_ZERO)
    if factor is None:
        with e.squared({}, {}):
            return e.elementwise("Mul", squared, np.asarray(form.base))
    wide = e.cast(factor, e.squares.name)
    with e.squared({}, {}):
        weight = e.combine("Mul", wide, wide)
        for close in near:
            weight = e.combine("Max", weight, e.elementwise("Mul", close, steepest))
        return e.combine("Mul", squared, weight)


def _fresh_kink(e: Emitter, g: str, s: str, wide: str, slope_wide: str, hint: str) -> str:
    """The state that a path entering at this place is in: by sign; by the slope's sign where the value is zero."""
    numbers = NUMBERS[e.dtype.name]
    size, speed = e.one("Abs", g), e.one("Abs", s)

    def share(name: str, part: float) -> str:
        return e.one("Mul", name, e.constant(np.array(part)))

    still_at = share(slope_wide, numbers["noise"])
    still = e.one("LessOrEqual", speed, still_at)
    at_kink = e.one("LessOrEqual", size, e.one("Max", share(speed, SAME_T), share(wide, numbers["zero"])))
    zero = e.one("And", still, e.one("LessOrEqual", size, share(wide, numbers["noise"])))
    at_kink = e.one("Or", at_kink, zero)
    rising = e.one("Greater", s, still_at)
    positive = e.one("Greater", g, e.constant(np.zeros(())))
    up = e.one("Or", e.one("And", at_kink, rising), e.one("And", e.one("Not", at_kink), positive))
    double = share(e.one("Cast", up, to=ELEMENT_TYPES[e.dtype.name]), 2.0)
    return e.one("Sub", double, e.constant(np.array(1.0)), hint=hint)


def emit_choice(
    e: Emitter,
    label: str,
    value: Choice,
    slope: Choice,
    mode: str,
    sizes: Sizes | None,
    states: list[Value],
    doubt: float = 0.0,
) -> Switched:
    """Write a choosing node. As :func:`emit_kinks`; the state is the winning candidate's number, (lanes, 1, units)."""
    z, s = value.candidates, slope.candidates
    hints = {key: f"{key}/0" for key in ("state", "rate", "best", "lowest")}
    size = slope_size = squared = slope_squared = ""
    if sizes is not None:
        assert isinstance(sizes.value, Choice)
        assert isinstance(sizes.slope, Choice)
        squared, slope_squared = sizes.value.candidates, sizes.slope.candidates
        shape = (value.count, prod(value.shape))
        like = Lanes(z, shape, (0, 1))
        size = _size(e, Lanes(squared, shape, (0, 1)), like, _ZERO)
        slope_size = _size(e, Lanes(slope_squared, shape, (0, 1)), like, _ZERO)
    if mode == STEP:
        state = e.fresh(hints["state"])
        states.append(Value(state, "int64", (LANES, 1, prod(value.shape))))
    else:
        state = _fresh_choice(e, z, s, size, slope_size, hints["state"])
    winner = e.one("GatherElements", z, state, axis=1)
    winner_slope = e.one("GatherElements", s, state, axis=1)
    distance = e.one("Sub", winner, z)
    towards = e.one("Sub", winner_slope, s)
    rate = e.one("Div", towards, e.at_least(distance, NUMBERS[e.dtype.name]["tiny"]), hint=hints["rate"])
    group = Group(
        label,
        0,
        value.count,
        value.shape,
        value.order,
        state,
        z,
        s,
        rate,
        _lowest(e, rate, 3, hints["best"]),
        _lowest(e, distance, 3, hints["lowest"]),
        size,
        slope_size,
    )
    physical = tuple(value.shape[axis] for axis in value.order)

    def placed(chosen: str) -> Lanes:
        return Lanes(e.view(chosen, physical), value.shape, value.order)

    out, out_slope = (placed(chosen if value.sign > 0 else e.one("Neg", chosen)) for chosen in (winner, winner_slope))
    if sizes is None:
        return Switched(out, out_slope, None, None, [group])
    rounding = e.one("GatherElements", squared, state, axis=1)
    slope_rounding = e.one("GatherElements", slope_squared, state, axis=1)
    if doubt:
        limit = e.one("Mul", size, e.constant(np.array(doubt)))
        close = e.one("Cast", e.one("LessOrEqual", distance, limit), to=ELEMENT_TYPES[e.squares.name])
        largest = e.one("ReduceMax", e.one("Mul", squared, close), e.constant(np.array([1]), "axes"), keepdims=1)
        rounding = e.one("Max", rounding, largest)
    made = [squares(e, x, placed(held)) for x, held in ((out, rounding), (out_slope, slope_rounding))]
    return Switched(out, out_slope, made[0], made[1], [group])


def _fresh_choice(e: Emitter, z: str, s: str, wide: str, slope_wide: str, hint: str) -> str:
    """The first of the candidates that lead, and keep leading as the path goes on."""
    numbers, axis = NUMBERS[e.dtype.name], e.constant(np.array([1]), "axes")

    def best(held: str) -> tuple[str, str, str]:
        """The largest candidate, its slope and its sizes."""
        first = e.one("ArgMax", held, axis=1, keepdims=1)
        chosen = [e.one("GatherElements", x, first, axis=1) for x in (s, wide, slope_wide)]
        return chosen[0], chosen[1], chosen[2]

    def share(name: str, part: float) -> str:
        return e.one("Mul", name, e.constant(np.array(part)))

    lead = e.one("ReduceMax", z, axis, keepdims=1)
    lead_slope, lead_size, _ = best(z)
    approach = share(e.one("Abs", e.one("Sub", lead_slope, s)), SAME_T)
    near = e.one("Max", share(e.one("Add", wide, lead_size), numbers["zero"]), approach)
    leading = e.one("LessOrEqual", e.one("Sub", lead, z), near)
    kept = e.one("Where", leading, s, e.constant(np.array(LOWEST[e.dtype.name])))
    top, _, top_size = best(kept)
    least = e.one("Sub", top, share(e.one("Add", slope_wide, top_size), numbers["noise"]))
    stays = e.one("Cast", e.one("GreaterOrEqual", kept, least), to=ELEMENT_TYPES[e.dtype.name])
    return e.one("ArgMax", stays, axis=1, keepdims=1, hint=hint)


# ---- elementwise operators


def _argument(operands: Operands) -> Lanes:
    x = operands[0]
    assert isinstance(x, Lanes)
    return x


def _scalar(node: Node, key: str, default: float) -> Array:
    return np.asarray(real(node.attributes.get(key), default))


_ZERO, _ONE = np.zeros(()), np.ones(())


def _relu(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    return Kinks(_argument(operands), (_ZERO,), _ZERO, _ZERO, (_ONE,))


def _leaky_relu(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    alpha = _scalar(node, "alpha", 0.01)
    return Kinks(_argument(operands), (_ZERO,), alpha, _ZERO, (1 - alpha,))


def _prelu(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    alpha = np.asarray(operands[1], dtype=np.float64)
    return Kinks(_argument(operands), (_ZERO,), alpha, _ZERO, (1 - alpha,))


def _abs(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    return Kinks(_argument(operands), (_ZERO,), -_ONE, _ZERO, (2 * _ONE,))


def _bounds(node: Node, operands: Sequence[object]) -> tuple[float | None, float | None]:
    """Clip's bounds, None where it has none. Exporters also write an open bound as float32's largest number."""
    found: list[float | None] = []
    for position, key, sign in ((1, "min", -1.0), (2, "max", 1.0)):
        given = operands[position] if len(operands) > position else None
        bound = given if given is not None else node.attributes.get(key)
        number = None if bound is None or np.size(bound) == 0 else float(np.asarray(bound).ravel()[0])  # type: ignore[arg-type]
        found.append(None if number is None or sign * number >= 3.4e38 else number)
    return found[0], found[1]


def _clip(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    low, high = _bounds(node, operands)
    return _clipped(_argument(operands), low, high)


def _clipped(x: Lanes, low: float | None, high: float | None) -> Kinks:
    if low is not None and high is not None and low >= high:
        return Kinks(x, (), _ZERO, np.asarray(high), ())
    kinks = tuple(np.asarray(bound) for bound in (low, high) if bound is not None)
    jumps = ((_ONE,) if low is not None else ()) + ((-_ONE,) if high is not None else ())
    base = _ONE if low is None else _ZERO
    return Kinks(x, kinks, base, _ZERO if low is None else np.asarray(low), jumps)


def _hard_sigmoid(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    scaled = e.elementwise("Mul", _argument(operands), _scalar(node, "alpha", 0.2))
    return _clipped(e.add(scaled, _scalar(node, "beta", 0.5), slope), 0.0, 1.0)


def _thresholded_relu_verdict(node: Node, facts: Facts) -> Verdict:
    alpha = float(_scalar(node, "alpha", 1.0))
    return Kind.SWITCHING if alpha == 0 else f"{node.op_type} jumps at {alpha}: discontinuous"


def _shrink_verdict(node: Node, facts: Facts) -> Verdict:
    same = _scalar(node, "bias", 0.0) == _scalar(node, "lambd", 0.5) >= 0
    return Kind.SWITCHING if same else f"{node.op_type} whose bias differs from lambd jumps: discontinuous"


def _shrink(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    limit = _scalar(node, "lambd", 0.5)
    if not limit:
        return Kinks(_argument(operands), (), _ONE, _ZERO, ())
    return Kinks(_argument(operands), (-limit, limit), _ONE, limit, (-_ONE, _ONE))


register(OpRule("Relu", switching(0), switch=_relu, samples=(Sample(((2, 3, 4),)), Sample(((5,),)))))
register(
    OpRule(
        "LeakyRelu",
        switching(0),
        switch=_leaky_relu,
        samples=(Sample(((2, 6),)), Sample(((2, 6),), {"alpha": -0.5}), Sample(((2, 6),), {"alpha": 2.0})),
    )
)
register(
    OpRule(
        "PRelu",
        switching(0),
        switch=_prelu,
        samples=(Sample(((1, 3, 2), np.array([[0.5], [-1.0], [2.0]], np.float32))), Sample(((4,), np.float32([0.2])))),  # type: ignore[arg-type]
    )
)
register(OpRule("Abs", switching(0), switch=_abs, samples=(Sample(((2, 6),)),)))
register(
    OpRule(
        "Clip",
        switching(0),
        switch=_clip,
        infinite=True,
        samples=(
            Sample(((2, 6), np.array(-0.3, np.float32), np.array(0.4, np.float32))),
            Sample(((2, 6), None, np.array(0.4, np.float32))),
            Sample(((2, 6), np.array(0.1, np.float32))),
            Sample(((2, 6),), {"min": 0.0, "max": 6.0}, 7),
            Sample(((2, 6), np.array(0.5, np.float32), np.array(0.5, np.float32))),
        ),
    )
)
register(
    OpRule("HardSigmoid", switching(0), switch=_hard_sigmoid, samples=(Sample(((2, 6),), {"alpha": 0.5, "beta": 0.4}),))
)
register(OpRule("ThresholdedRelu", _thresholded_relu_verdict, switch=_relu, samples=(Sample(((4,),), {"alpha": 0.0}),)))
_shrinks = (Sample(((6,),), {"lambd": 0.3, "bias": 0.3}), Sample(((6,),), {"lambd": 0.0, "bias": 0.0}))
register(OpRule("Shrink", _shrink_verdict, switch=_shrink, samples=_shrinks))


# ---- operators that choose


def _stack(e: Emitter, names: Sequence[str], units: int, sign: int) -> str:
    stacked = e.concat([e.view(name, (1, units)) for name in names], 1)
    return stacked if sign > 0 else e.one("Neg", stacked)


def _extreme(sign: int) -> SwitchRule:
    def switch(e: Emitter, node: Node, operands: Operands, slope: bool) -> Choice:
        parts = e.broadcast(*(e.operand(operand, slope) for operand in operands))
        shape = np.broadcast_shapes(*(x.shape for x in parts))
        order = parts[0].order
        physical = tuple(shape[axis] for axis in order)
        target = e.constant(np.array([1, *physical]), "shape")
        names = [x.name if x.shape == shape else e.one("Expand", x.name, target) for x in parts]
        return Choice(_stack(e, names, prod(shape), sign), len(names), sign, shape, order)

    return switch


def _reduced(sign: int) -> SwitchRule:
    def switch(e: Emitter, node: Node, operands: Operands, slope: bool) -> Choice:
        x = _argument(operands)
        rank = len(x.shape)
        pooled = node.op_type == "GlobalMaxPool"
        axes = tuple(range(2, rank)) if pooled else reduced_axes(node, operands, rank)
        others = tuple(axis for axis in range(rank) if axis not in axes)
        count = prod(x.shape[axis] for axis in axes)
        units = prod(x.shape[axis] for axis in others)
        name = e.view(e.reorder(x, (*axes, *others)).name, (count, units))
        shape = e.shapes[node.outputs[0]]
        signed = name if sign > 0 else e.one("Neg", name)
        return Choice(signed, count, sign, shape, row_major_order(len(shape)))

    return switch


def _max_pool(e: Emitter, node: Node, operands: Operands, slope: bool) -> Choice:
    x = _argument(operands)
    kernel = ints(node.attributes["kernel_shape"])
    size = x.shape[2:]
    strides, dilations, pads = window_of(node, size, kernel, pooling=True)
    shape = e.shapes[node.outputs[0]]
    out = shape[2:]
    widths: dict[int, tuple[int, int]] = {}
    for i, n in enumerate(size):
        last = (out[i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1
        widths[x.axis(i + 2)] = (pads[i][0], max(last - n - pads[i][0], 0))
    # A padded place never wins: it lies below everything and does not move.
    fill = 0.0 if slope else LOWEST[e.dtype.name]
    padded = e.pad(x.name, len(x.shape) + 1, widths, fill)
    names: list[str] = []
    for offset in itertools.product(*(range(k) for k in kernel)):
        ranges = {
            x.axis(i + 2): (
                offset[i] * dilations[i],
                offset[i] * dilations[i] + (out[i] - 1) * strides[i] + 1,
                strides[i],
            )
            for i in range(len(size))
        }
        names.append(e.slice(padded, ranges))
    return Choice(_stack(e, names, prod(shape), 1), len(names), 1, shape, x.order)


_extremes = (
    Sample(((2, 3), (2, 3))),
    Sample(((2, 3), (3,), np.array([[0.1], [-0.2]], np.float32))),
    Sample(((2, 3), np.array(0.0, np.float32))),
    Sample(((2, 3),)),
)
_folds = (
    Sample(((2, 3, 4),), {"axes": (1,), "keepdims": 0}, 12),
    Sample(((2, 3, 4),), {"axes": (-1, 0)}, 12),
    Sample(((2, 3),), {"keepdims": 0}, 12),
    Sample(((2, 3, 4), np.array([1])), {}, 18),
)
register(OpRule("Max", switching(), switch=_extreme(1), infinite=True, samples=_extremes))
register(OpRule("Min", switching(), switch=_extreme(-1), infinite=True, samples=_extremes))
register(OpRule("ReduceMax", switching(0), switch=_reduced(1), compares=True, samples=_folds))
register(OpRule("ReduceMin", switching(0), switch=_reduced(-1), compares=True, samples=_folds))
register(
    OpRule(
        "GlobalMaxPool",
        switching(0),
        switch=_reduced(1),
        compares=True,
        samples=(Sample(((1, 2, 3, 4),)), Sample(((2, 3, 5),))),
    )
)
register(
    OpRule(
        "MaxPool",
        switching(0),
        switch=_max_pool,
        compares=True,
        samples=(
            Sample(((1, 2, 6, 6),), {"kernel_shape": (2, 2), "strides": (2, 2)}),
            Sample(((1, 2, 7, 6),), {"kernel_shape": (3, 2), "pads": (1, 0, 1, 1), "strides": (2, 1)}),
            Sample(((1, 1, 7, 7),), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
            Sample(((1, 1, 7, 7),), {"kernel_shape": (2, 2), "dilations": (2, 3)}),
            Sample(((1, 2, 7),), {"kernel_shape": (3,), "auto_pad": "SAME_LOWER", "strides": (2,)}),
            Sample(((1, 1, 4, 4, 4),), {"kernel_shape": (2, 2, 2)}),
        ),
    )
)


# ---- Where, as exporters write activation functions that have no operator of their own


@dataclass(frozen=True)
class _Pieces:
    """A piecewise-linear function of one tensor, the same for every element: ``lines[i]`` is (factor, offset)."""

    root: str
    breaks: tuple[float, ...]
    lines: tuple[tuple[float, float], ...]

    def at(self, place: float) -> int:
        return sum(place > b for b in self.breaks)


_COMPARISONS = {"Greater": 1, "GreaterOrEqual": 1, "Less": -1, "LessOrEqual": -1}
_CONSTANT_ROOT = ""


def _uniform(array: Array | None) -> float | None:
    if array is None or array.size == 0 or array.dtype.kind not in "fiu" or np.ptp(array) != 0:
        return None
    return float(array.flat[0])


def _trace(name: str, lookup: Lookup, stop: str) -> _Pieces | None:
    """How a tensor follows from one tensor by scalar arithmetic and further recognised choices.

    Nothing is traced back beyond the tensor ``stop``.
    """
    if name not in lookup.variable:
        number = _uniform(lookup.constants.get(name))
        return None if number is None else _Pieces(_CONSTANT_ROOT, (), ((0.0, number),))
    itself = _Pieces(name, (), ((1.0, 0.0),))
    node = lookup.producers.get(name)
    if node is None or name == stop:
        return itself
    if node.op_type == "Where":
        return _recognise(node, lookup, stop) or itself
    if node.op_type == "Identity":
        return _trace(node.inputs[0], lookup, stop)
    if node.op_type not in ("Add", "Sub", "Mul", "Div", "Neg"):
        return itself
    parts = [_trace(used, lookup, stop) for used in node.inputs]
    if any(part is None for part in parts):
        return itself
    pieces = [part for part in parts if part is not None]
    if node.op_type == "Neg":
        return _Pieces(pieces[0].root, pieces[0].breaks, tuple((-a, -b) for a, b in pieces[0].lines))
    left, right = pieces
    if left.root and right.root and (left.root != right.root or left.breaks or right.breaks):
        return itself
    bent, other = (left, right) if left.root else (right, left)
    breaks, root = bent.breaks, bent.root
    if node.op_type in ("Add", "Sub"):
        sign = 1.0 if node.op_type == "Add" else -1.0
        signs = (1.0, sign) if bent is left else (sign, 1.0)
        a2, b2 = other.lines[0]
        return _Pieces(
            root, breaks, tuple((signs[0] * a + signs[1] * a2, signs[0] * b + signs[1] * b2) for a, b in bent.lines)
        )
    if other.root or (node.op_type == "Div" and bent is right):
        return itself
    factor = other.lines[0][1]
    if node.op_type == "Div":
        return _Pieces(root, breaks, tuple((a / factor, b / factor) for a, b in bent.lines)) if factor else itself
    return _Pieces(root, breaks, tuple((a * factor, b * factor) for a, b in bent.lines))


def _recognise(node: Node, lookup: Lookup, stop: str = "") -> _Pieces | None:
    """A Where as a continuous function of one tensor, or None.

    Of the tensor that everything is traced back to; if that does not work, of the one that is compared: a choice may
    follow upon another.
    """
    condition = lookup.producers.get(node.inputs[0])
    if condition is None or condition.op_type not in _COMPARISONS:
        return None
    compared = [name for name in condition.inputs if name in lookup.variable]
    key = node.label, stop
    if key not in lookup.memory:
        tried = (_recognise_from(node, condition, lookup, root) for root in (stop, *compared))
        lookup.memory[key] = next((found for found in tried if found is not None), None)
    pieces: _Pieces | None = lookup.memory[key]
    return pieces


def _recognise_from(node: Node, condition: Node, lookup: Lookup, stop: str) -> _Pieces | None:
    sides = [_trace(used, lookup, stop) for used in condition.inputs]
    yes, no = (_trace(used, lookup, stop) for used in node.inputs[1:3])
    if sides[0] is None or sides[1] is None or yes is None or no is None:
        return None
    left, right = sides[0], sides[1]
    direction = _COMPARISONS[condition.op_type]
    if not left.root:
        left, right, direction = right, left, -direction
    root = left.root
    if right.root or not root or left.breaks or {yes.root, no.root} - {root, _CONSTANT_ROOT}:
        return None
    factor, offset = left.lines[0]
    if factor == 0:
        return None
    place = (right.lines[0][1] - offset) / factor
    if factor < 0:
        direction = -direction
    above, below = (yes, no) if direction > 0 else (no, yes)
    first = [(a, b) for a, b in zip((*below.breaks, np.inf), below.lines, strict=True) if a < place]
    breaks = [a for a, _ in first]
    lines = [b for _, b in first]
    low = below.lines[below.at(place)]
    high_index = sum(b <= place for b in above.breaks)
    high = above.lines[high_index]
    values = [a * place + b for a, b in (low, high)]
    # The constants are float32: what its rounding explains is no jump.
    if abs(values[0] - values[1]) > 1e-6 * max(abs(place), *map(abs, values)):
        return None
    lines.append(low)
    breaks.append(place)
    lines.append(high)
    breaks += above.breaks[high_index:]
    lines += above.lines[high_index + 1 :]
    return _Pieces(root, tuple(breaks), tuple(lines))


def _where_verdict(node: Node, facts: Facts) -> Verdict:
    if not facts.variable[0]:
        return Kind.AFFINE
    if _recognise(node, facts.lookup) is not None:
        return Kind.SWITCHING
    return "a choice by a condition on the input whose two sides do not visibly meet: discontinuous"


def _where_reads(node: Node, lookup: Lookup) -> tuple[str, ...]:
    if node.inputs[0] not in lookup.variable:
        return node.inputs
    pieces = _recognise(node, lookup)
    assert pieces is not None
    return (pieces.root,)


def _where(e: Emitter, node: Node, operands: Operands, slope: bool) -> list[Lanes]:
    """A choice that is known beforehand: each side times 0 or 1. A constant side is no more than a bias."""
    condition, *sides = operands
    assert isinstance(condition, np.ndarray)
    masks = (condition, ~condition)
    moving = [
        e.elementwise("Mul", x, mask.astype(np.float64))
        for x, mask in zip(sides, masks, strict=True)
        if isinstance(x, Lanes)
    ]
    total = moving[0] if len(moving) == 1 else e.combine("Add", *moving)
    for x, mask in zip(sides, masks, strict=True):
        if isinstance(x, np.ndarray):
            total = e.add(total, np.where(mask, np.maximum(x.astype(np.float64), LOWEST[e.dtype.name]), 0.0), slope)
    return [total]


def _where_switch(e: Emitter, node: Node, operands: Operands, slope: bool) -> Kinks:
    pieces = _recognise(node, e.lookup)
    assert pieces is not None
    x = (e.slopes if slope else e.values)[pieces.root]
    shape = e.shapes[node.outputs[0]]
    if shape != x.shape:
        # A side that is constant may be larger than what varies.
        x = e.elementwise("Mul", x, np.ones(shape))
    bends = [
        (place, after[0] - before[0])
        for place, before, after in zip(pieces.breaks, pieces.lines[:-1], pieces.lines[1:], strict=True)
        if after[0] != before[0]
    ]
    factor, offset = pieces.lines[0]
    return Kinks(
        x,
        tuple(np.asarray(place) for place, _ in bends),
        np.asarray(factor),
        np.asarray(offset),
        tuple(np.asarray(jump) for _, jump in bends),
    )


def _condition(node: Node, facts: Facts) -> Verdict:
    return Kind.CONDITION


register(
    OpRule(
        "Where",
        _where_verdict,
        _where,
        _where_switch,
        reads=_where_reads,
        infinite=True,
        samples=(
            Sample((np.array([[True, False, True]]), (2, 3), (2, 3))),
            Sample((np.array([[True], [False]]), (3,), np.array(0.5, np.float32))),
        ),
    )
)
for _comparison in _COMPARISONS:
    register(OpRule(_comparison, _condition))


# ---- smooth or discontinuous operators, with the reason for which they are refused


def _always(node: Node, facts: Facts) -> bool:
    return True


def _never(node: Node, facts: Facts) -> bool:
    return False


_SMOOTH = "smooth, not piecewise affine"
_JUMPS = "discontinuous: piecewise constant in what depends on the input"
_RANDOM = "random"
_FLOW = "control flow or sequences are not supported; export the model without them"
QUANTIZED = "quantized: piecewise constant, so it has no linear regions"
"""Why operators of quantized networks are refused."""
_NORM = "divides by a norm or a deviation of the input: not piecewise affine"

for _op in ("Softmax", "LogSoftmax", "Sigmoid", "Tanh"):
    register(OpRule(_op, refuse(_SMOOTH), tail=True, follows_tail=True))
register(OpRule("ArgMax", refuse(_JUMPS), tail=True, follows_tail=True))
for _op in ("ArrayFeatureExtractor", "ZipMap", "Normalizer"):
    register(OpRule(_op, refuse("a classifier's tail, not piecewise affine"), domain="ai.onnx.ml", follows_tail=True))
_REASONS = {
    _SMOOTH: (
        "Exp Log Sqrt Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Elu Selu Celu Gelu "
        "Softplus Softsign Mish HardSwish Swish ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare"
    ),
    _JUMPS: (
        "Sign Floor Ceil Round ArgMin Equal Not And Or Xor IsNaN IsInf Mod BitShift Hardmax OneHot NonZero Unique "
        "TopK MaxUnpool Binarizer"
    ),
    _NORM: (
        "LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LRN LpNormalization "
        "MeanVarianceNormalization ReduceL2"
    ),
    "a norm of the input, not affine; write ReduceL1 as Abs and ReduceSum": "LpPool GlobalLpPool ReduceL1",
    _RANDOM: "RandomNormal RandomUniform RandomNormalLike RandomUniformLike Multinomial Bernoulli",
    _FLOW: (
        "If Loop Scan SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength "
        "SequenceMap SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement"
    ),
    "recurrent with smooth gates, not piecewise affine": "LSTM GRU RNN",
    QUANTIZED: (
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul MatMulInteger ConvInteger"
    ),
    "a product of operands that depend on the input: not affine": "Attention Det GridSample RotaryEmbedding",
}
for _reason, _names in _REASONS.items():
    for _op in _names.split():
        register(OpRule(_op, refuse(_reason), random=_always if _reason == _RANDOM else _never))
# What onnxruntime puts in their place, and what it adds to them.
_REPLACED = (
    "QuantizeLinear DequantizeLinear QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv "
    "QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere "
    "DynamicQuantizeMatMul MatMulInteger16 MatMulIntegerToFloat"
)
for _op in _REPLACED.split():
    register(OpRule(_op, refuse(QUANTIZED), domain="com.microsoft"))
# Of a layout that it has for each kind of processor, and of what it fuses.
_BLOCKED = (
    "laid out by onnxruntime for the kind of processor that it was saved on, which the file does not tell; save it "
    "with disabled_optimizers=['NchwcTransformer'], or at the level ORT_ENABLE_EXTENDED"
)
_LAID_OUT = "Conv MaxPool GlobalMaxPool AveragePool GlobalAveragePool Upsample ReorderInput ReorderOutput"
for _op in _LAID_OUT.split():
    register(OpRule(_op, refuse(_BLOCKED), domain="com.microsoft.nchwc"))
for _op in ("FastGelu", "BiasGelu", "QuickGelu"):
    register(OpRule(_op, refuse(_SMOOTH), domain="com.microsoft"))
register(OpRule("SkipLayerNormalization", refuse(_NORM), domain="com.microsoft"))
