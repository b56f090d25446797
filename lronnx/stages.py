"""A network cut at its switching nodes: programs that push slopes through the affine nodes in between.

On an interval of a path on which no unit switches, every tensor moves at a constant slope. Behind a switching node the
slopes of an interval follow from those in front of it and the branches there; between two switching nodes they follow
by the affine operators alone, without their biases. A *stage* is what lies between: all affine nodes that the
switching nodes of one level need and that no stage before has evaluated. Its rows are intervals, which its program
treats as lanes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from lronnx.dependence import Labels
from lronnx.graph import Array, Graph, Node, Value
from lronnx.linearize import DIRECTION, POINT, SLOPE, VALUE, emitter_for, evaluated, operand_of
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import Kind, OpRule
from lronnx.ops.emitter import LANES, Emitter, Lanes, row_major_order
from lronnx.ops.lowering import Plan
from lronnx.ops.record import Choice, Kinks
from lronnx.ops.switching import emit_value
from lronnx.passes import Source


@dataclass(frozen=True)
class Bend:
    """A switching node: what a stage computes of it, and how its output's slope follows from the branch.

    ``output``: the tensor that it makes; ``raw``: the stage's output with the slopes of its switching functions, rows
    in front: of its argument, ``physical``, or of its candidates, (count, units). ``factors``: of an elementwise
    operator, per branch the factor from the argument's slope to the output's, a number or (units,) as stored;
    ``kinks``: where its kinks are, likewise; ``sign``: of a choice, -1 if its candidates are negated. ``shape`` and
    ``order``: how units are stored.
    """

    label: str
    output: str
    raw: str
    count: int
    sign: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    factors: tuple[Array, ...]
    kinks: tuple[Array, ...]

    @property
    def units(self) -> int:
        return prod(self.shape)

    @property
    def physical(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def numbers(self) -> int:
        """Elements of one row of ``raw``."""
        return max(self.count, 1) * self.units

    def unit(self) -> NDArray[np.int64]:
        """The row-major index of the unit stored at each flat position, (units,)."""
        return np.arange(self.units).reshape(self.shape).transpose(self.order).reshape(-1)


@dataclass(frozen=True)
class Input:
    """An input of a stage's program: the tensor ``tensor`` of the network, one row after another of ``physical``.

    ``bend``: the switching node that makes it, None if it was exported by an earlier stage, or is the network's input.
    """

    name: str
    tensor: str
    physical: tuple[int, ...]
    bend: Bend | None


@dataclass(frozen=True)
class Stage:
    """One stage. ``exports``: (tensor, the program's output) for every affine tensor that a later stage reads.

    ``work``: its share of the multiplications of one forward pass, in [0, 1].
    """

    graph: Graph
    sources: tuple[Input, ...]
    bends: tuple[Bend, ...]
    exports: tuple[tuple[str, str], ...]
    work: float = 0.0


def cut(
    source: Source,
    input_name: str,
    *,
    dtype: str,
    convolves: Collection[str],
    plan: Plan,
) -> tuple[Stage, ...]:
    """The stages of a network in order; the last one's only output is SLOPE, (rows, outputs).

    ``dtype``, ``convolves`` and ``plan`` as of :func:`lronnx.linearize.build`. There is no stage if the output does not
    depend on the input. Raises ModelError if a program is not valid.
    """
    labels, contents, shapes = source.labels, source.contents, source.shapes
    nodes = list(evaluated(source.graph, labels))
    levels = levels_of(nodes, labels, input_name)
    if labels.output not in levels:
        return ()
    first_use, last = _assign(nodes, labels, levels)
    known: dict[str, tuple[Lanes, Bend | None]] = {}
    known[input_name] = (
        Lanes("", shapes[input_name], row_major_order(len(shapes[input_name]))),
        None,
    )
    stages: list[Stage] = []
    works: list[int] = []
    for level in range(last + 1):
        e = emitter_for(source.graph, labels, shapes, dtype, convolves, plan, "")
        inside = [(node, rule) for node, rule in nodes if first_use.get(node.label) == level]
        made_here = {name for node, _ in inside if labels.kinds[node.label] is Kind.AFFINE for name in node.outputs}
        read = {labels.output} if level == last else set()
        for node, rule in inside:
            read.update(_reads(node, rule, labels))
        sources: list[Input] = []
        inputs: list[Value] = []
        for name, (lanes, bend) in known.items():
            if name in read and name not in made_here:
                given = e.fresh(DIRECTION if name == input_name else f"slope of {name}")
                sources.append(Input(given, name, lanes.physical, bend))
                inputs.append(Value(given, dtype, (LANES, *lanes.physical)))
                e.slopes[name] = Lanes(given, lanes.shape, lanes.order)
        e.first_input = inputs[0].name
        bends: list[Bend] = []
        outputs: list[Value] = []
        for node, rule in inside:
            e.scope(node.label)
            operands = [operand_of(name, e.slopes, contents) for name in node.inputs]
            if labels.kinds[node.label] is Kind.AFFINE:
                assert rule.emit is not None
                if any(prod(shapes[name]) for name in node.outputs if name):
                    made = rule.emit(e, node, operands, True)
                else:
                    made = [e.held(np.zeros(shapes[name]), True) for name in node.outputs]
                e.slopes.update(zip(node.outputs, made, strict=False))
                continue
            assert rule.switch is not None
            bend, raw = _bend(e, node, rule.switch(e, node, operands, True), inputs)
            bends.append(bend)
            outputs.append(raw)
            known[node.outputs[0]] = Lanes("", bend.shape, bend.order), bend
        exports: list[tuple[str, str]] = []
        if level == last:
            flat = e.slopes[labels.output]
            flat = e.reshape(e.row_major(flat), (flat.size,))
            outputs.append(Value(e.rename(flat.name, SLOPE), dtype, (LANES, flat.size)))
        else:
            later = {
                name
                for node, rule in nodes
                if first_use.get(node.label, -1) > level
                for name in _reads(node, rule, labels)
            } | {labels.output}
            for name in sorted(made_here & later):
                lanes = e.slopes[name]
                kept = _owned(e, lanes.name, lanes.physical, inputs)
                exports.append((name, kept.name))
                outputs.append(kept)
                known[name] = lanes, None
        outputs = list({value.name: value for value in outputs}.values())
        works.append(e.multiplications)
        graph = e.program(f"stage {level}", inputs, outputs, PROGRAM_OPSET)
        stages.append(Stage(graph, tuple(sources), tuple(bends), tuple(exports)))
    total = max(sum(works), 1)
    return tuple(
        Stage(stage.graph, stage.sources, stage.bends, stage.exports, work / total)
        for stage, work in zip(stages, works, strict=True)
    )


@dataclass(frozen=True)
class Values:
    """A program of the network's values alone. Input: POINT; outputs: VALUE, and per switching node, by label, its
    argument, or its candidates, stored in ``order``: (name, order)."""

    graph: Graph
    functions: Mapping[str, tuple[str, tuple[int, ...]]]


def values(
    source: Source,
    input_name: str,
    *,
    dtype: str,
    convolves: Collection[str],
    plan: Plan,
) -> Values:
    """The network with everything shown that its units switch by. Arguments and errors as of :func:`cut`."""
    labels, contents, shapes = source.labels, source.contents, source.shapes
    e = emitter_for(source.graph, labels, shapes, dtype, convolves, plan, "")
    point = e.fresh(POINT)
    e.first_input = point
    inputs = [Value(point, dtype, (LANES, *shapes[input_name]))]
    e.values[input_name] = Lanes(point, shapes[input_name], row_major_order(len(shapes[input_name])))
    functions: dict[str, tuple[str, tuple[int, ...]]] = {}
    outputs: dict[str, Value] = {}
    for node, rule in evaluated(source.graph, labels):
        e.scope(node.label)
        operands = [operand_of(name, e.values, contents) for name in node.inputs]
        if not any(prod(shapes[name]) for name in node.outputs if name):
            made = [e.held(np.zeros(shapes[name]), True) for name in node.outputs]
        elif labels.kinds[node.label] is Kind.AFFINE:
            assert rule.emit is not None
            made = rule.emit(e, node, operands, False)
        else:
            assert rule.switch is not None
            form = rule.switch(e, node, operands, False)
            bend, raw = _bend(e, node, form, inputs)
            functions[node.label] = raw.name, bend.order
            outputs[raw.name] = raw
            made = [emit_value(e, form)]
        e.values.update(zip(node.outputs, made, strict=False))
    e.scope("")
    result = e.values[labels.output] if labels.output in e.values else e.held(contents[labels.output], False)
    flat = e.reshape(e.row_major(result), (result.size,))
    shown = [Value(e.rename(flat.name, VALUE), dtype, (LANES, flat.size)), *outputs.values()]
    return Values(e.program(source.graph.name or "network", inputs, shown, PROGRAM_OPSET), functions)


def _reads(node: Node, rule: OpRule, labels: Labels) -> set[str]:
    reads = rule.reads(node, labels.lookup) if rule.reads is not None else node.inputs
    return {name for name in reads if name in labels.lookup.variable}


def levels_of(nodes: list[tuple[Node, OpRule]], labels: Labels, input_name: str) -> dict[str, int]:
    """How many switching nodes lie in front of each tensor, at most."""
    levels = {input_name: 0}
    for node, rule in nodes:
        level = max((levels[name] for name in _reads(node, rule, labels)), default=0)
        if labels.kinds[node.label] is Kind.SWITCHING:
            level += 1
        levels.update((name, level) for name in node.outputs if name)
    return levels


def _assign(nodes: list[tuple[Node, OpRule]], labels: Labels, levels: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """The stage that evaluates each node, by label: the first one that needs it. And the number of the last stage."""
    last = levels[labels.output]
    needed_at: dict[str, int] = {labels.output: last}
    stage: dict[str, int] = {}
    for node, rule in reversed(nodes):
        if labels.kinds[node.label] is Kind.SWITCHING:
            mine = levels[node.outputs[0]] - 1
        else:
            mine = min((needed_at[name] for name in node.outputs if name in needed_at), default=-1)
            if mine < 0:
                continue
        stage[node.label] = mine
        for name in _reads(node, rule, labels):
            needed_at[name] = min(needed_at.get(name, mine), mine)
    return stage, last


def _bend(e: Emitter, node: Node, form: Kinks | Choice, inputs: list[Value]) -> tuple[Bend, Value]:
    output = node.outputs[0]
    if isinstance(form, Choice):
        raw = _owned(e, form.candidates, (form.count, prod(form.shape)), inputs)
        return Bend(node.label, output, raw.name, form.count, form.sign, form.shape, form.order, (), ()), raw
    x = form.argument
    factors = [np.asarray(form.base)]
    for jump in form.jumps:
        factors.append(factors[-1] + jump)
    stored = tuple(_stored(factor, x) for factor in factors)
    raw = _owned(e, x.name, x.physical, inputs)
    kinks = tuple(_stored(kink, x) for kink in form.kinks)
    return Bend(node.label, output, raw.name, 0, 1, x.shape, x.order, stored, kinks), raw


def _owned(e: Emitter, name: str, physical: tuple[int, ...], inputs: list[Value]) -> Value:
    """The tensor as an output: under the shape that it was computed in, and no input (see :func:`linearize.build`)."""
    name, physical = e.stored(name, physical)
    if name in {value.name for value in inputs}:
        name = e.rename(name, name)
    return Value(name, e.dtype.name, (LANES, *physical))


def _stored(factor: Array, x: Lanes) -> Array:
    """A factor in the order in which the argument is stored, one per unit; a single number stays one."""
    factor = np.asarray(factor, dtype=np.float64)
    if factor.ndim == 0:
        return factor
    wide = factor.reshape((1,) * (len(x.shape) - factor.ndim) + factor.shape)
    return np.broadcast_to(wide.transpose(x.order), x.physical).reshape(-1).copy()
