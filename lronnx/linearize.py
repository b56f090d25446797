"""From a labelled graph to its linearized program: outputs, slopes and the switching functions, for many lanes.

For an input ``x`` and a direction ``d`` the program evaluates the network and its directional derivative under
an activation pattern. The derivative is written by the same rules as the values, without biases. All
switching functions and the rates at which they leave their branch are outputs of the program as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lronnx import session
from lronnx.dependence import Labels, rule_of
from lronnx.graph import Array, Graph, Node, Value
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import Kind, OpRule
from lronnx.ops.emitter import LANES, LOWEST, Emitter, Lanes, row_major_order
from lronnx.ops.record import Choice, Kinks
from lronnx.ops.switching import FRESH, STEP, Gain, Group, Magnitudes, emit_choice, emit_kinks, magnitudes, output_size

POINT, DIRECTION, VALUE, SLOPE, SIZE = "point", "direction", "value", "slope", "size"


@dataclass(frozen=True)
class Program:
    """A linearized program. Inputs: POINT and DIRECTION (lanes, *sample); in mode STEP one state per group.

        Outputs: VALUE and SLOPE (lanes, m); SIZE (lanes,), how large the values would be if nothing cancelled; then per
    group its switching functions, their slopes, rates, the best rate, the lowest signed value and the largest
    magnitudes; in mode FRESH the states.
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
    gains: Mapping[str, Gain],
    *,
    mode: str,
    dtype: str,
    native: bool,
) -> Program:
    """Rewrite a labelled graph as a program.

    ``contents`` and ``shapes`` as in :func:`lronnx.dependence.label`; ``gains`` from :func:`gains`. ``dtype``: float64
    or float32; ``native``: whether the runtime convolves in that type. Raises ModelError if the result is not a valid
    program.
    """
    e = _emitter(source, labels, shapes, dtype, native)
    shape = shapes[input_name]
    point, direction = e.fresh(POINT), e.fresh(DIRECTION)
    inputs = [Value(point, dtype, (LANES, *shape)), Value(direction, dtype, (LANES, *shape))]
    e.first_input = point
    order = row_major_order(len(shape))
    e.values[input_name] = Lanes(point, shape, order)
    e.slopes[input_name] = Lanes(direction, shape, order)
    states: list[Value] = []
    groups: list[Group] = []
    # Which tensors the affine stage reads that a tensor comes from: the input, or outputs of switching nodes.
    sources: dict[str, tuple[str, ...]] = {input_name: (input_name,)}
    full_sizes: dict[str, Magnitudes] = {}
    for node, rule in _evaluated(source, labels):
        e.scope(node.label)
        operands = [[_operand(name, known, contents) for name in node.inputs] for known in (e.values, e.slopes)]
        if labels.kinds[node.label] is Kind.AFFINE:
            assert rule.emit is not None
            made = rule.emit(e, node, operands[0], False)
            made_slopes = rule.emit(e, node, operands[1], True)
            stage = tuple(dict.fromkeys(name for used in node.inputs for name in sources.get(used, ())))
            sources.update((name, stage) for name in node.outputs)
        else:
            assert rule.switch is not None
            value, slope = rule.switch(e, node, operands[0], False), rule.switch(e, node, operands[1], True)
            reads = rule.reads(node, labels.lookup) if rule.reads is not None else node.inputs
            stage = tuple(dict.fromkeys(name for used in reads for name in sources.get(used, ())))
            sizes = magnitudes(e, [(e.values[name], e.slopes[name]) for name in stage], gains[node.label])
            if isinstance(value, Choice):
                assert isinstance(slope, Choice)
                out, out_slope, new = emit_choice(e, node.label, value, slope, mode, sizes, states)
            else:
                assert not isinstance(slope, Choice)
                out, out_slope, new = emit_kinks(e, node.label, value, slope, mode, sizes, states)
            made, made_slopes = [out], [out_slope]
            sources[node.outputs[0]] = (node.outputs[0],)
            full_sizes[node.outputs[0]] = sizes
            groups += [_owned(e, group, (point, direction)) for group in new]
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
    if labels.output in sources:
        read = [(e.values[name], e.slopes[name]) for name in sources[labels.output]]
        # A unit that is off because its argument cancels may be on by rounding in the original: a tenth of what
        # cancelled counts as well.
        cancelled = [full_sizes[name] for name in sources[labels.output] if name in full_sizes]
        size = output_size(e, read, gains[""], cancelled)
    else:
        size = e.held_size(contents[labels.output])
    outputs.append(Value(e.rename(size, SIZE), dtype, (LANES,)))
    for group in groups:
        if mode == FRESH:
            outputs.append(Value(group.state, "int64" if group.count else dtype, (LANES, *group.physical)))
        compared = (group.count, group.units) if group.count else group.physical
        shown = [e.stored(name, compared) for name in (group.value, group.slope, group.rate)]
        outputs += [Value(name, dtype, (LANES, *physical)) for name, physical in shown]
        outputs += [Value(name, dtype, (LANES,)) for name in (group.best, group.lowest, group.scale, group.speed)]
    # Two groups may share a switching function (a tensor that two operators read).
    distinct = {value.name: value for value in outputs}
    inputs += [value for value in states if mode == STEP]
    graph = e.program(source.name or "network", inputs, distinct.values(), PROGRAM_OPSET)
    return Program(graph, tuple(_as_stored(e, group) for group in groups), mode, dtype)


def gains(
    source: Graph,
    labels: Labels,
    input_name: str,
    contents: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Gain]:
    """How much the affine stage in front of each switching node enlarges independent noise, by node label.

    Every switching node's output is replaced by independent standard normal numbers, so that nothing cancels that
    cancels in the network: the largest response says what size of numbers the stage adds up. The stage in
    front of the network's output has the label ''.
    """
    e = _emitter(source, labels, shapes, "float32", True)
    inputs: list[Value] = []
    outputs: dict[str, tuple[str, str]] = {}

    def independent(name: str) -> None:
        shape = shapes[name]
        made = e.fresh("noise")
        inputs.append(Value(made, "float32", (LANES, *shape)))
        e.values[name] = e.slopes[name] = Lanes(made, shape, row_major_order(len(shape)))

    independent(input_name)
    e.first_input = inputs[0].name
    for node, rule in _evaluated(source, labels):
        e.scope(node.label)
        operands = [[_operand(name, known, contents) for name in node.inputs] for known in (e.values, e.slopes)]
        if labels.kinds[node.label] is Kind.AFFINE:
            assert rule.emit is not None
            e.values.update(zip(node.outputs, rule.emit(e, node, operands[0], False), strict=False))
            e.slopes.update(zip(node.outputs, rule.emit(e, node, operands[1], True), strict=False))
            continue
        assert rule.switch is not None
        forms = rule.switch(e, node, operands[0], False), rule.switch(e, node, operands[1], True)
        outputs[node.label] = _response(e, forms[0]), _response(e, forms[1])
        independent(node.outputs[0])
    if labels.output in e.values:
        outputs[""] = e.values[labels.output].name, e.slopes[labels.output].name
    if not outputs:
        return {}
    # Responses have the shapes of whatever the switching nodes compare: leave them open.
    names = {name for pair in outputs.values() for name in pair}
    renamed = {name: e.rename(name, "response") for name in sorted(names)}
    values = [Value(name, "float32", None) for name in renamed.values()]
    graph = e.program("gains", inputs, values, PROGRAM_OPSET)
    generator = np.random.default_rng(0)
    runner = session.Session(graph, "cpu")
    responses: list[dict[str, Array]] = []
    for noisy in (False, True):
        feeds: dict[str, Array] = {}
        for value in inputs:
            assert value.shape is not None
            shape = (1, *(int(d) for d in value.shape[1:]))
            feeds[value.name] = generator.standard_normal(shape, np.float32) if noisy else np.zeros(shape, np.float32)
        responses.append(dict(zip(runner.outputs, runner(feeds), strict=True)))
    found: dict[str, Gain] = {}
    for label, (value_name, slope_name) in outputs.items():
        at_zero = np.abs(responses[0][renamed[value_name]])
        factor = np.abs(responses[1][renamed[slope_name]])
        # What pads a window is no number that is ever added up.
        at_zero = at_zero[at_zero < -0.5 * LOWEST["float32"]]
        found[label] = Gain(float(factor.max(initial=0.0)), float(at_zero.max(initial=0.0)))
    return found


def _owned(e: Emitter, group: Group, inputs: Sequence[str]) -> Group:
    """The group with switching functions of its own.

    onnxruntime returns freed memory for an output that is an input.
    """
    value, slope = (e.rename(name, name) if name in inputs else name for name in (group.value, group.slope))
    return replace(group, value=value, slope=slope)


def _as_stored(e: Emitter, group: Group) -> Group:
    """The group under the names of its switching functions as outputs; elements and their order are the same."""
    value, slope = (e.stored(name, ())[0] for name in (group.value, group.slope))
    return replace(group, value=value, slope=slope)


def _response(e: Emitter, form: Kinks | Choice) -> str:
    return form.candidates if isinstance(form, Choice) else form.argument.name


def _emitter(source: Graph, labels: Labels, shapes: Mapping[str, tuple[int, ...]], dtype: str, native: bool) -> Emitter:
    opset = source.opsets.get("ai.onnx", 1)

    def probe(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
        return session.probe(node, arrays, opset)

    return Emitter(dtype, native, shapes, opset, probe, labels.lookup)


def _evaluated(source: Graph, labels: Labels) -> Iterator[tuple[Node, OpRule]]:
    """The nodes that depend on the input and that the output needs, with their rules."""
    for node in source.nodes:
        if node.label in labels.needed and labels.kinds[node.label] in (Kind.AFFINE, Kind.SWITCHING):
            rule = rule_of(node)
            assert rule is not None
            yield node, rule


def _operand(name: str, known: Mapping[str, Lanes], contents: Mapping[str, Array]) -> Lanes | Array | None:
    """What a rule is given for an input; None also for the condition of a recognised choice, which is not evaluated."""
    if name in known:
        return known[name]
    return np.asarray(contents[name]) if name in contents else None
