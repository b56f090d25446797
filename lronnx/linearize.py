"""From a labelled graph to its linearized program: outputs, slopes and the switching functions, for many lanes.

For an input ``x`` and a direction ``d`` the program evaluates the network and its directional derivative under
an activation pattern. The derivative is written by the same rules as the values, without biases. All
switching functions and the rates at which they leave their branch are outputs of the program as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from lronnx import session
from lronnx.dependence import Labels, rule_of
from lronnx.graph import Array, Graph, Node, Value
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import Kind, OpRule
from lronnx.ops.emitter import LANES, Emitter, Lanes, row_major_order
from lronnx.ops.lowering import Plan
from lronnx.ops.record import Choice, Kinks
from lronnx.ops.switching import FRESH, STEP, Group, Sizes, Switched, emit_choice, emit_kinks
from lronnx.ops.switching import squares as squares_of

POINT, DIRECTION, VALUE, SLOPE, SIZE = "point", "direction", "value", "slope", "size"


@dataclass(frozen=True)
class Program:
    """A linearized program. Inputs: POINT and DIRECTION (lanes, *sample); in mode STEP a state per group and ``fixed``.

    ``fixed`` are slopes in front of all switching nodes, which are the same along a whole segment: a program in mode
    FRESH makes them, in the order in which one in mode STEP reads them.

    Outputs: VALUE and SLOPE (lanes, m); then per group its switching functions, their slopes, rates, and what
    :class:`Group` keeps per lane; in mode FRESH the states. With ``sizes`` also SIZE (lanes, m), how large the values
    would be if nothing cancelled, and per group the sizes of its functions and slopes (see :class:`Sizes`).
    """

    graph: Graph
    groups: tuple[Group, ...]
    dtype: str
    fixed: tuple[str, ...] = ()


def build(
    source: Graph,
    labels: Labels,
    input_name: str,
    contents: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    mode: str,
    dtype: str,
    convolves: Collection[str],
    sizes: bool,
    squares: str = "",
    doubt: float = 0.0,
    public: bool = False,
    plan: Plan | None = None,
) -> Program:
    """Rewrite a labelled graph as a program.

    ``contents`` and ``shapes`` as in :func:`lronnx.dependence.label`. ``dtype``: float64 or float32;
    ``convolves``: for which types the runtime has convolution kernels. ``sizes``: also write sizes, which mode FRESH
    needs, their squares in the type ``squares`` (default: ``dtype``); ``doubt``: how close to its kink, relative to its
    size, a unit may be on either branch as far as sizes are concerned. ``public``: for other readers than the walk,
    with outputs named after the network's nodes (see the README). ``plan``: how convolutions are written for which the
    runtime has no kernel (default: by rates of no machine in particular). Raises ModelError if the result is not a
    valid program.
    """
    e = emitter_for(source, labels, shapes, dtype, convolves, plan or Plan(), squares)
    shape = shapes[input_name]
    point, direction = e.fresh(POINT), e.fresh(DIRECTION)
    inputs = [Value(point, dtype, (LANES, *shape)), Value(direction, dtype, (LANES, *shape))]
    e.first_input = point
    order = row_major_order(len(shape))
    e.values[input_name] = Lanes(point, shape, order)
    e.slopes[input_name] = Lanes(direction, shape, order)
    # The same for squares of sizes.
    squared: tuple[dict[str, Lanes], dict[str, Lanes]] = {}, {}
    if sizes:
        for held, known in zip((e.values, e.slopes), squared, strict=True):
            known[input_name] = squares_of(e, held[input_name], None)
    states: list[Value] = []
    groups: list[Group] = []
    kept = () if public else _in_front(source, labels, input_name)
    fixed: list[Value] = []
    for node, rule in evaluated(source, labels):
        e.scope(node.label)
        operands = [[operand_of(name, known, contents) for name in node.inputs] for known in (e.values, e.slopes)]
        wide = [_alike(e, node, operands[0], known, contents) for known in squared] if sizes else []
        if not any(prod(shapes[name]) for name in node.outputs if name):
            nothing = [np.zeros(shapes[name]) for name in node.outputs]
            made: Sequence[Sequence[Lanes]] = [[e.held(array, True) for array in nothing]] * 2
            with e.squared(*squared):
                made_squares = [[e.held(array, True) for array in nothing]] * len(wide)
        elif labels.kinds[node.label] is Kind.AFFINE:
            assert rule.emit is not None
            made = [rule.emit(e, node, operands[0], False), rule.emit(e, node, operands[1], True)]
            with e.squared(*squared):
                made_squares = [rule.emit(e, node, one, slope) for one, slope in zip(wide, (False, True), strict=False)]
        else:
            assert rule.switch is not None
            forms = [rule.switch(e, node, operands[0], False), rule.switch(e, node, operands[1], True)]
            with e.squared(*squared):
                found = [rule.switch(e, node, one, slope) for one, slope in zip(wide, (False, True), strict=False)]
            judged = Sizes(*found) if sizes else None
            switched = _switch(e, node.label, forms, mode, judged, states, doubt)
            made = [[switched.out], [switched.slope]]
            made_squares = [[one] for one in (switched.squares, switched.slope_squares) if one is not None]
            given = {point, direction, *(value.name for value in fixed)}
            groups += [_owned(e, group, given) for group in switched.groups]
        for known, tensors in zip((e.values, e.slopes, *squared), (*made, *made_squares), strict=False):
            known.update(zip(node.outputs, tensors, strict=False))
        for name in (name for name in node.outputs if name in kept):
            slope = e.slopes[name]
            if mode == STEP:
                slope = e.slopes[name] = replace(slope, name=e.fresh("fixed"))
            else:
                # It may be an input, or a view of one, which onnxruntime returns freed memory for.
                slope = replace(slope, name=e.rename(slope.name, "fixed"))
            fixed.append(Value(slope.name, dtype, (LANES, *slope.physical)))
    e.scope("")
    if labels.output in e.values:
        results = e.values[labels.output], e.slopes[labels.output]
    else:
        held_output = contents[labels.output]
        results = e.held(held_output, False), e.held(held_output, True)
    outputs: list[Value] = []
    for name, tensor in zip((VALUE, SLOPE), results, strict=True):
        flat = e.reshape(e.row_major(tensor), (tensor.size,))
        outputs.append(Value(e.rename(flat.name, name), dtype, (LANES, tensor.size)))
    if sizes:
        with e.squared(*squared):
            rounding = squared[0].get(labels.output) or e.held(np.zeros(results[0].shape), True)
            flat = e.reshape(e.row_major(rounding), (rounding.size,))
            outputs.append(Value(e.root(flat, SIZE).name, e.squares.name, (LANES, rounding.size)))
    if doubt:
        # Nothing else is read of a program that judges other results.
        sized = [value for value in outputs if value.name == SIZE]
        return Program(e.program(source.name or "network", inputs, sized, PROGRAM_OPSET), tuple(groups), dtype)
    if public:
        outputs = [value for value in outputs if value.name != SIZE]
        for group in groups:
            e.scope(group.label)
            for hint in ("branch", "function", "function_slope", "rate"):
                outputs.append(_shown(e, group, hint))
        return Program(e.program(source.name or "network", inputs, outputs, PROGRAM_OPSET), (), dtype)
    for group in groups:
        if mode == FRESH:
            outputs.append(Value(group.state, _state_type(group, dtype), (LANES, *group.physical)))
        compared = (group.count, group.units) if group.count else group.physical
        shown = [e.stored(name, compared) for name in (group.value, group.slope, group.rate)]
        outputs += [Value(name, dtype, (LANES, *physical)) for name, physical in shown]
        outputs += [Value(name, dtype, (LANES,)) for name in (group.best, group.lowest)]
        if sizes:
            outputs += [Value(name, dtype, (LANES, *compared)) for name in (group.size, group.slope_size)]
    if mode == STEP:
        inputs += [*states, *fixed]
    else:
        outputs += fixed
    # Two groups may share a switching function (a tensor that two operators read).
    distinct = {value.name: value for value in outputs}
    graph = e.program(source.name or "network", inputs, distinct.values(), PROGRAM_OPSET)
    names = tuple(value.name for value in fixed)
    return Program(graph, tuple(_as_stored(e, group) for group in groups), dtype, names)


def _in_front(source: Graph, labels: Labels, input_name: str) -> tuple[str, ...]:
    """The tensors that no switching node is in front of, and that something behind one reads, or a switching node."""
    front, read = {input_name}, {labels.output}
    for node, rule in evaluated(source, labels):
        reads = rule.reads(node, labels.lookup) if rule.reads is not None else node.inputs
        moving = {name for name in reads if name in labels.lookup.variable}
        if labels.kinds[node.label] is Kind.AFFINE and moving <= front:
            front.update(node.outputs)
        else:
            read |= moving
    return tuple(name for node in source.nodes for name in node.outputs if name in front and name in read)


def _shown(e: Emitter, group: Group, hint: str) -> Value:
    """One of a group's tensors under a name for readers, in the network's own order: one per unit or candidate."""
    name = {"branch": group.state, "function": group.value, "function_slope": group.slope, "rate": group.rate}[hint]
    dtype = _state_type(group, e.dtype.name) if hint == "branch" else e.dtype.name
    shape, order = group.shape, group.order
    front: tuple[int, ...] = ()
    if group.count:
        # Candidates come first.
        front = () if hint == "branch" else (group.count,)
        name = e.view(name, (*front, *(shape[axis] for axis in order)))
    order = (*range(len(front)), *(axis + len(front) for axis in order))
    tensor = e.row_major(Lanes(name, (*front, *shape), order))
    return Value(e.rename(tensor.name, hint), dtype, (LANES, *tensor.shape))


def _state_type(group: Group, dtype: str) -> str:
    return "int64" if group.count else dtype


def _switch(
    e: Emitter,
    label: str,
    forms: Sequence[Kinks | Choice],
    mode: str,
    sizes: Sizes | None,
    states: list[Value],
    doubt: float,
) -> Switched:
    value, slope = forms
    if isinstance(value, Choice):
        assert isinstance(slope, Choice)
        return emit_choice(e, label, value, slope, mode, sizes, states, doubt)
    assert isinstance(slope, Kinks)
    return emit_kinks(e, label, value, slope, mode, sizes, states, doubt)


def _alike(
    e: Emitter,
    node: Node,
    operands: Sequence[Lanes | Array | None],
    squared: Mapping[str, Lanes],
    contents: Mapping[str, Array],
) -> list[Lanes | Array | None]:
    """The operands in squares, stored as the operands themselves are."""
    found: list[Lanes | Array | None] = []
    for name, operand in zip(node.inputs, operands, strict=True):
        one = operand_of(name, squared, contents)
        found.append(e.reorder(one, operand.order) if isinstance(one, Lanes) and isinstance(operand, Lanes) else one)
    return found


def _owned(e: Emitter, group: Group, inputs: Collection[str]) -> Group:
    """The group with switching functions of its own.

    onnxruntime returns freed memory for an output that is an input.
    """
    value, slope = (e.rename(name, name) if name in inputs else name for name in (group.value, group.slope))
    return replace(group, value=value, slope=slope)


def _as_stored(e: Emitter, group: Group) -> Group:
    """The group under the names of its switching functions as outputs; elements and their order are the same."""
    value, slope = (e.stored(name, ())[0] for name in (group.value, group.slope))
    return replace(group, value=value, slope=slope)


def emitter_for(
    source: Graph,
    labels: Labels,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    convolves: Collection[str],
    plan: Plan,
    squares: str,
) -> Emitter:
    opset = source.opsets.get("ai.onnx", 1)

    def probe(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
        return session.probe(node, arrays, opset)

    return Emitter(dtype, convolves, shapes, opset, probe, labels.lookup, plan, squares)


def evaluated(source: Graph, labels: Labels) -> Iterator[tuple[Node, OpRule]]:
    """The nodes that depend on the input and that the output needs, with their rules."""
    for node in source.nodes:
        if node.label in labels.needed and labels.kinds[node.label] in (Kind.AFFINE, Kind.SWITCHING):
            rule = rule_of(node)
            assert rule is not None
            yield node, rule


def operand_of(name: str, known: Mapping[str, Lanes], contents: Mapping[str, Array]) -> Lanes | Array | None:
    """What a rule is given for an input; None also for the condition of a recognised choice, which is not evaluated."""
    if name in known:
        return known[name]
    return np.asarray(contents[name]) if name in contents else None
