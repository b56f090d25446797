"""From a labelled graph to its linearized program: outputs, slopes and the switching functions, for many lanes.

For an input ``x`` and a direction ``d`` the program evaluates the network and its directional derivative under
an activation pattern. The derivative is written by the same rules as the values, without biases. All
switching functions and the rates at which they leave their branch are outputs of the program as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lronnx import session
from lronnx.dependence import Labels, rule_of
from lronnx.graph import Array, Graph, Value
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import Kind
from lronnx.ops.emitter import LANES, Emitter, Lanes, row_major_order
from lronnx.ops.record import Choice
from lronnx.ops.switching import FRESH, STEP, Group, emit_choice, emit_kinks

POINT, DIRECTION, VALUE, SLOPE = "point", "direction", "value", "slope"


@dataclass(frozen=True)
class Program:
    """A linearized program. Inputs: POINT and DIRECTION (lanes, *sample); in mode STEP one state per group.

    Outputs: VALUE and SLOPE (lanes, m); then per group its switching functions, their slopes, rates, the
    best rate, the lowest signed value and the largest magnitude; in mode FRESH the states.
    """

    graph: Graph
    groups: tuple[Group, ...]
    mode: str
    dtype: str


def build(
    source: Graph,
    labels: Labels,
    input_name: str,
    contents: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    mode: str,
    dtype: str,
    native: bool,
) -> Program:
    """Rewrite a labelled graph as a program.

    ``contents`` and ``shapes`` as in :func:`lronnx.dependence.label`. ``dtype``: float64 or float32; ``native``:
    whether the runtime convolves in that type. Raises ModelError if the result is not a valid program.
    """
    opset = source.opsets.get("ai.onnx", 1)

    def probe(node, arrays):  # type: ignore[no-untyped-def]
        return session.probe(node, arrays, opset)

    e = Emitter(dtype, native, shapes, opset, probe, labels.lookup)
    shape = shapes[input_name]
    point, direction = e.fresh(POINT), e.fresh(DIRECTION)
    inputs = [Value(point, dtype, (LANES, *shape)), Value(direction, dtype, (LANES, *shape))]
    e.first_input = point
    order = row_major_order(len(shape))
    e.values[input_name] = Lanes(point, shape, order)
    e.slopes[input_name] = Lanes(direction, shape, order)
    states: list[Value] = []
    groups: list[Group] = []
    for node in source.nodes:
        if node.label not in labels.needed or labels.kinds[node.label] in (Kind.CONSTANT, Kind.CONDITION):
            continue
        rule = rule_of(node)
        assert rule is not None
        e.scope(node.label)
        operands = [
            [_operand(name, known, contents) for name in node.inputs] for known in (e.values, e.slopes)
        ]
        if labels.kinds[node.label] is Kind.AFFINE:
            assert rule.emit is not None
            made = rule.emit(e, node, operands[0], False)
            made_slopes = rule.emit(e, node, operands[1], True)
        else:
            assert rule.switch is not None
            value, slope = rule.switch(e, node, operands[0], False), rule.switch(e, node, operands[1], True)
            if isinstance(value, Choice):
                assert isinstance(slope, Choice)
                out, out_slope, new = emit_choice(e, node.label, value, slope, mode, states)
            else:
                assert not isinstance(slope, Choice)
                out, out_slope, new = emit_kinks(e, node.label, value, slope, mode, states)
            made, made_slopes = [out], [out_slope]
            groups += new
        e.values.update(zip(node.outputs, made, strict=False))
        e.slopes.update(zip(node.outputs, made_slopes, strict=False))
    e.scope("")
    if labels.output in e.values:
        results = e.values[labels.output], e.slopes[labels.output]
    else:
        held = contents[labels.output]
        results = e.held(held, False), e.held(held, True)
    outputs: list[Value] = []
    for name, tensor in zip((VALUE, SLOPE), results, strict=True):
        flat = e.reshape(e.row_major(tensor), (tensor.size,))
        outputs.append(Value(e.rename(flat.name, name), dtype, (LANES, tensor.size)))
    for group in groups:
        wide = (LANES, *group.physical)
        if group.count:
            wide = (LANES, group.count, group.units)
        if mode == FRESH:
            outputs.append(Value(group.state, "int64" if group.count else dtype, (LANES, *group.physical)))
        outputs += [Value(name, dtype, wide) for name in (group.value, group.slope, group.rate)]
        outputs += [Value(name, dtype, (LANES,)) for name in (group.best, group.lowest, group.scale)]
    # Two groups may share a switching function (a tensor that two operators read).
    distinct = {value.name: value for value in outputs}
    inputs += [value for value in states if mode == STEP]
    graph = e.program(source.name or "network", inputs, distinct.values(), PROGRAM_OPSET)
    return Program(graph, tuple(groups), mode, dtype)


def _operand(name: str, known: Mapping[str, Lanes], contents: Mapping[str, Array]) -> Lanes | Array | None:
    if not name:
        return None
    if name in known:
        return known[name]
    return np.asarray(contents[name])
