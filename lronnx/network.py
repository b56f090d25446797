"""A loaded network: what the file holds, whether it is piecewise affine, and the walks along segments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lronnx import agreement, calibration, dependence, inputs, linearize, onnx_io, session, stages, sweeper
from lronnx.crossing import SAME_T
from lronnx.dependence import Labels
from lronnx.errors import InputError, ModelError, NotPiecewiseAffineError, Refusal
from lronnx.graph import Array, Graph, Node, Value
from lronnx.joining import SegmentResult
from lronnx.linearize import Program
from lronnx.onnx_io import Model
from lronnx.ops import Kind
from lronnx.ops.lowering import AUTO, MOST_WEIGHTS, PLAIN, Plan, Rates, check_name
from lronnx.ops.switching import FRESH, STEP
from lronnx.ops.windows import convolution_of
from lronnx.passes import Source, fold
from lronnx.regions import PathWalk, SelfCheck, Walk
from lronnx.starts import Places
from lronnx.sweeper import Sweeper
from lronnx.tensors import DeviceStages, HostStages, Programs
from lronnx.walker import Evaluate, Evaluation, Progress, Stop, Walker

ENGINES = ("sweep", "walk", "both")
PRECISIONS = {"double": "float64", "single": "float32"}
# The original model is evaluated at the ends of a segment and at this many edges and midpoints inside.
COMPARED_POINTS = 16
# What rounding through a network explains, relative to the size that the outputs would have if nothing cancelled: 2048
# units of rounding. A sum of n products errs by some square root of n of them, and layers add up: the worst of 120
# networks, seven layers of 250, by 540 in a thousand segments.
ROUNDING = {name: 1024 * float(np.finfo(name).eps) for name in ("float64", "float32", "float16")}


@dataclass(frozen=True)
class NodeReport:
    """One node as ``inspect`` shows it.

    ``kind``: constant, affine, switching, cut, refused or unused; ``reason``: why refused, cut or unused. ``units``:
    piecewise-linear units of one sample. ``lowering``: how a convolution is computed in double precision on a CPU, ''
    for any other node. ``outputs``: the tensors that it makes. ``reads``: those that it is computed from and that
    depend on the network's input, or on a node that is refused: of a recognised choice what its condition compares.
    """

    index: int
    name: str
    label: str
    op_type: str
    output: str
    shape: tuple[int | str, ...] | None
    kind: str
    units: int
    reason: str
    lowering: str = ""
    outputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def switches(self) -> bool:
        """Whether it is a switching node of its own, and not the condition of one."""
        return self.kind == "switching" and self.reason == ""


@dataclass(frozen=True)
class Inspection:
    """What is known of a model without walking it, piecewise affine or not.

    ``problem``: why it cannot be walked although no node may be refused (onnxruntime cannot run it, NaN weights).
    ``input_name``: the input that varies, the first one if there are several; ``output_name``: the tensor that is
    analysed, in front of what is cut; ``asked``: the output that it was to be.
    """

    name: str
    sha256: str
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[NodeReport, ...]
    refusals: tuple[Refusal, ...]
    notices: tuple[str, ...]
    units: int
    piecewise_affine: bool
    problem: str = ""
    input_name: str = ""
    output_name: str = ""
    asked: str = ""


@dataclass(frozen=True)
class SwitchingNode:
    """A node whose units switch. ``shape``: of one sample's output, the batch's axis included; ``units``: its elements.

    ``level``: how many switching nodes there are on a way from the input to its output, itself included, at most.
    """

    label: str
    op_type: str
    shape: tuple[int, ...]
    units: int
    level: int


@dataclass(frozen=True)
class _Study:
    """A model with everything that loading finds out about it."""

    model: Model
    input_name: str
    asked: str
    labels: Labels
    variable: set[str]
    values: Mapping[str, Value]
    contents: Mapping[str, Array]
    feeds: Mapping[str, Array]
    problem: str
    notices: tuple[str, ...]
    threads: int = field(default_factory=session.cores)
    rates: Callable[[], Rates] = calibration.rates

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return _dims(self.values)

    def alternatives(self) -> list[str]:
        """Further outputs of the model that could be analysed."""
        graph, found = self.model.graph, []
        for name in graph.outputs:
            if name != self.asked and name in self.values:
                labels = dependence.label(graph, name, self.variable, self.contents, self.shapes)
                if not labels.refusals and labels.output in self.variable:
                    found.append(name)
        return found

    def advice(self) -> str:
        """What to do about a refusal."""
        lines = [self.problem] if self.problem else []
        others = self.alternatives()
        if others:
            lines.append(f"the refused output is '{self.asked}'; --output can choose another: {', '.join(others)}")
        text = "lronnx inspect shows every node; --output NAME analyses the network up to a node in front of these"
        first = self.model.graph.nodes[self.labels.refusals[0].index]
        before = next((name for name in first.inputs if name in self.variable and name != self.input_name), "")
        # Every tensor in front of the first refused node is in front of all of them.
        return "\n".join([*lines, text + (f", for example {before}" if before else "")])

    def units(self, node: Node) -> int:
        if self.labels.kinds.get(node.label) is not Kind.SWITCHING or node.label not in self.labels.needed:
            return 0
        value = self.values.get(node.outputs[0])
        return prod(value.dims) if value is not None else 0

    @cached_property
    def traced(self) -> set[str]:
        """The tensors that depend on the input, or on a node that is refused: a random one depends on nothing."""
        nodes = self.model.graph.nodes
        made = {name for refusal in self.labels.refusals for name in nodes[refusal.index].outputs if name}
        return self.variable | made

    def reads(self, node: Node) -> tuple[str, ...]:
        """What a node is computed from, without repetitions: see :class:`NodeReport`."""
        rule = dependence.rule_of(node)
        names = node.inputs if rule is None else tuple(rule.depends_on(node))
        if rule is not None and rule.reads is not None and node.label in self.labels.kinds:
            names = rule.reads(node, self.labels.lookup)
        return tuple(dict.fromkeys(name for name in names if name in self.traced))

    def lanes(self) -> int:
        """How many places to walk at once: enough to share out a step's overhead, few enough to keep the memory small.

        On a VGG8 of 29,000 units 1, 8, 16, 32 and 64 lanes walk 950, 2660, 2710, 3070 and 2900 regions per second.
        """
        units = sum(self.units(node) for node in self.model.graph.nodes)
        size = max(units, prod(self.values[self.input_name].dims), 1)
        return int(np.clip(2 ** int(np.log2(max(1_200_000 / size, 1))), 1, 64))

    def plan(self, wanted: str) -> Plan:
        """How a walk on this machine's CPU convolves in double precision; ``wanted`` as in :class:`Plan`."""
        named = (node.input(1) for node in self.model.graph.nodes if self.lowers(node))
        weights = sum(prod(self.shapes[name]) for name in named)
        lanes = max(self.lanes() // self.threads, 1)
        return Plan(self.rates, lanes, wanted, self.compared(), small=weights > MOST_WEIGHTS)

    def lowers(self, node: Node) -> bool:
        """Whether a node is a convolution that is evaluated."""
        if self.problem or self.labels.refusals or node.label not in self.labels.needed:
            return False
        return self.labels.kinds[node.label] is Kind.AFFINE and convolution_of(node, self.shapes) is not None

    def lowering(self, node: Node, plan: Plan) -> str:
        """The name of a convolution's lowering; '' for any other node."""
        shape = convolution_of(node, self.shapes) if self.lowers(node) else None
        return plan.choose(shape, node.label).name if shape is not None else ""

    def weights(self) -> list[str]:
        """The floating-point constants that affine nodes compute with, in the order in which they are read."""
        names: dict[str, None] = {}
        for node in self.model.graph.nodes:
            rule = dependence.rule_of(node)
            if rule is not None and not rule.moves and self.labels.kinds.get(node.label) is Kind.AFFINE:
                names.update((name, None) for name in node.inputs if name in self.contents.keys() - self.variable)
        return [name for name in names if self.contents[name].dtype.kind == "f"]

    def compared(self) -> frozenset[str]:
        """The labels of nodes whose rounding must not depend on the place."""
        if self.problem or self.labels.refusals:
            return frozenset()
        return dependence.compared(self.model.graph, self.labels)


def _study(
    path: str | os.PathLike[str],
    output: str | None,
    fixed_inputs: Mapping[str, ArrayLike] | None,
    shapes: Mapping[str, Sequence[int]] | None,
    lenient: bool = False,
) -> _Study:
    """Read and judge a model. ``lenient``: what keeps it from being walked becomes a notice instead of an error."""
    fixed = {name: np.asarray(array) for name, array in (fixed_inputs or {}).items()}
    model = onnx_io.read_model(path, shapes)
    graph = model.graph
    _check_fixed(graph, fixed, model.path)
    asked = _choose_output(graph, output, model.path)
    others = [name for name in graph.outputs if name != asked]
    notices: list[str] = []
    if others and output is None:
        notices.append(f"analysing the output '{asked}', not {', '.join(others)} (--output NAME chooses)")
    free, told = _free_inputs(graph, asked, fixed, model.path, lenient)
    notices += told
    input_name = free[0]
    variable = set().union(*(dependence.variable_tensors(graph, name) for name in free))
    feeds = {name: _sample(graph.values[name]) for name in graph.inputs if name not in fixed}
    feeds |= {name: _typed(array, graph.values[name]) for name, array in fixed.items()}
    values, contents, problem = _observe(model, graph.nodes, feeds, set(fixed), variable)
    labels = dependence.label(graph, asked, variable, contents, _dims(values))
    if labels.cut:
        names = ", ".join(f"{node.op_type} '{node.label}'" for node in reversed(labels.cut))
        notices.append(f"cut off at the output: {names}; analysing '{labels.output}' in front of it")
    if not labels.refusals and labels.output in values and not values[labels.output].size and not lenient:
        raise InputError(f"the output '{labels.output}' of {path} has no elements: there is nothing to analyse")
    if labels.output not in variable and not labels.refusals:
        notices.append(f"the output '{asked}' does not depend on the input '{input_name}'")
    if not problem and not labels.refusals:
        try:
            _check_constants(graph, labels, variable, contents, model.path)
        except ModelError as error:
            problem = str(error)
    return _Study(model, input_name, asked, labels, variable, values, contents, feeds, problem, tuple(notices))


def _free_inputs(
    graph: Graph, asked: str, fixed: Mapping[str, Array], path: Path, lenient: bool
) -> tuple[list[str], list[str]]:
    """The inputs that may vary, the first of which is moved along, and what has to be said about them.

    Raises InputError unless there is exactly one, of floating-point numbers (if not ``lenient``).
    """
    free = [name for name in graph.inputs if name not in fixed]
    if not free:
        raise InputError(f"{path}: every input is fixed or the model has none: there is no input to vary")
    read = {name for node in graph.ancestors([asked]) for name in node.inputs} | {asked}
    notices: list[str] = []
    if len(free) > 1 and any(name in read for name in free):
        idle = [name for name in free if name not in read]
        free = [name for name in free if name in read]
        if idle:
            notices.append(f"the output '{asked}' does not depend on the inputs {', '.join(idle)}")
    problem = ""
    declared = graph.values[free[0]]
    if len(free) > 1:
        problem = (
            f"{path} has {len(free)} free inputs ({', '.join(free)}); fix all but one with --input NAME=FILE "
            f"(fixed_inputs= in Python)"
        )
    elif declared.dtype not in ("float32", "float64", "float16"):
        problem = (
            f"the input '{free[0]}' of {path} is {declared.dtype}: only floating-point inputs can be moved along; "
            f"fix it with --input {free[0]}=FILE if there is another"
        )
    elif 0 in (declared.shape or ()):
        problem = f"the input '{free[0]}' of {path} has no elements: its shape is {declared.shape}"
    if problem and not lenient:
        raise InputError(problem)
    return free, [*notices, problem] if problem else notices


def _observe(
    model: Model, nodes: Sequence[Node], feeds: Mapping[str, Array], fixed: set[str], variable: set[str]
) -> tuple[dict[str, Value], dict[str, Array], str]:
    """Types and shapes of all tensors, the content of all that do not vary, and what went wrong, '' if nothing.

    Found by running the model once: what files declare about tensors inside is often missing and sometimes wrong.
    """
    graph, where = model.graph, str(model.path)
    values = {name: value for name, value in graph.values.items() if name in graph.constants or name in graph.inputs}
    contents: dict[str, Array] = {**graph.constants, **{name: feeds[name] for name in fixed}}
    tensors = [name for node in nodes for name in node.outputs if name]
    constant = [name for name in tensors if name not in variable]
    problem = ""
    try:
        trial = session.observe(model.bytes, feeds, tensors, set(constant), where)
    except ModelError as error:
        problem = str(error)
        # The nodes can still be judged better if at least the constants are known.
        try:
            trial = session.observe(model.bytes, feeds, constant, set(constant), where, prune=True)
        except ModelError:
            return values, contents, problem
    return values | trial.values, contents | trial.contents, problem


def _dims(values: Mapping[str, Value]) -> dict[str, tuple[int, ...]]:
    return {name: value.dims for name, value in values.items()}


def _check_constants(
    graph: Graph, labels: Labels, variable: set[str], contents: Mapping[str, Array], path: Path
) -> None:
    """Raise ModelError if a number that the analysis really uses is not finite."""
    used = {labels.output: ("", False)} if labels.output not in variable else {}
    for node in graph.nodes:
        kind = labels.kinds.get(node.label)
        if kind is not Kind.CONDITION and (kind is Kind.CONSTANT or node.label not in labels.needed):
            continue
        reader, rule = f", read by node {node.label} [{node.op_type}],", dependence.rule_of(node)
        infinite = rule is not None and rule.infinite
        used.update((name, (reader, infinite)) for name in node.inputs if not infinite or name not in used)
        for key, attribute in node.attributes.items():
            if isinstance(attribute, float | tuple | np.ndarray):
                what = f"the attribute '{key}' of node {node.label} [{node.op_type}] of {path}"
                onnx_io.check_finite(np.asarray(attribute), what, infinite=infinite)
    for name, (reader, infinite) in used.items():
        if name in contents and name not in variable:
            stored = "initializer" if name in graph.constants else "constant tensor"
            what = f"the {stored} '{name}'{reader} of {path}"
            onnx_io.check_finite(np.asarray(contents[name]), what, infinite=infinite)


def _check_fixed(graph: Graph, fixed: Mapping[str, Array], path: Path) -> None:
    for name, array in fixed.items():
        if name not in graph.inputs:
            raise InputError(f"--input {name}: {path} has no such input; it has {', '.join(graph.inputs)}")
        expected = graph.values[name].dims
        if prod(expected) != array.size:
            raise InputError(f"--input {name}: the model expects shape {expected}, the array has {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"--input {name}: the array holds NaN or infinity")


def _choose_output(graph: Graph, output: str | None, path: Path) -> str:
    if not graph.outputs:
        raise ModelError(f"{path} has no output")
    if output is None:
        return graph.outputs[0]
    made = {name for node in graph.nodes for name in node.outputs if name}
    if output in graph.outputs or output in made:
        return output
    by_node = {node.label: next(filter(None, node.outputs), "") for node in graph.nodes}
    if by_node.get(output):
        return by_node[output]
    raise InputError(
        f"--output {output}: {path} has neither a tensor nor a node of that name; its outputs are "
        f"{', '.join(graph.outputs)}, and lronnx inspect shows its nodes"
    )


def _sample(value: Value) -> Array:
    """A harmless input to find shapes with."""
    shape = value.dims
    if value.dtype in ("float16", "float32", "float64"):
        return np.linspace(0.1, 0.9, max(prod(shape), 1)).astype(value.dtype)[: prod(shape)].reshape(shape)
    try:
        return np.zeros(shape, np.dtype(value.dtype))
    except TypeError:
        return np.zeros(shape, np.float32)


def _typed(array: Array, value: Value) -> Array:
    try:
        return np.asarray(array, dtype=np.dtype(value.dtype)).reshape(value.dims)
    except (TypeError, ValueError) as error:
        raise InputError(f"--input {value.name}: the model expects {value.dtype}: {error}") from None


def inspect(
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    fixed_inputs: Mapping[str, ArrayLike] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    lowering: str = AUTO,
) -> Inspection:
    """Look at a model without walking it, also at one that is not piecewise affine. ``lowering`` as for a walk.

    Raises InputError or ModelError if the file cannot be read or is no valid ONNX graph. That onnxruntime cannot run
    it is told in ``problem``.
    """
    check_name(lowering)
    study = _study(path, output, fixed_inputs, shapes, lenient=True)
    plan = study.plan(lowering)
    graph, labels = study.model.graph, study.labels
    refused = {refusal.index: refusal for refusal in labels.refusals}
    cut = {node.label for node in labels.cut}
    reports: list[NodeReport] = []
    for node in graph.nodes:
        kind, reason = _describe(node, study, refused, cut)
        first = next((name for name in node.outputs if name), "")
        value = study.values.get(first)
        units = study.units(node) if kind == "switching" else 0
        shape = value.shape if value is not None else None
        op_type = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        made = tuple(name for name in node.outputs if name)
        told = kind, units, reason, study.lowering(node, plan), made, study.reads(node)
        reports.append(NodeReport(node.index, node.name, node.label, op_type, first, shape, *told))
    notices = study.notices
    if labels.refusals and (others := study.alternatives()):
        notices += (f"the output '{study.asked}' is refused; --output can choose another: {', '.join(others)}",)
    return Inspection(
        study.model.path.name,
        study.model.sha256,
        study.model.producer,
        graph.opsets,
        tuple(graph.values[name] for name in graph.inputs),
        tuple(_output_value(study, name) for name in graph.outputs),
        tuple(reports),
        labels.refusals,
        notices,
        sum(report.units for report in reports),
        not labels.refusals and not study.problem,
        study.problem,
        study.input_name,
        labels.output,
        study.asked,
    )


def _output_value(study: _Study, name: str) -> Value:
    value = study.values.get(name) or study.model.graph.values.get(name)
    return value if value is not None else Value(name, "unknown", None)


def _describe(node: Node, study: _Study, refused: Mapping[int, Refusal], cut: set[str]) -> tuple[str, str]:
    if node.index in refused:
        return "refused", refused[node.index].reason
    if node.label in cut:
        return "cut", "behind the analysed output"
    kind = study.labels.kinds.get(node.label)
    if kind is None:
        return "unused", "the analysed output does not depend on it"
    if kind is Kind.CONSTANT:
        return "constant", ""
    if node.label not in study.labels.needed:
        return "unused", "its value is not needed"
    if kind is Kind.CONDITION:
        return "switching", "condition of a choice"
    return kind.value, ""


def load(
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    fixed_inputs: Mapping[str, ArrayLike] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int | None = None,
    rates: Rates | None = None,
) -> Network:
    """Read an ONNX network for walking.

    ``output``: the tensor, or the node, to analyse (default: the first output). ``fixed_inputs``: content of every
    input but one. ``shapes``: per input, where the file leaves more than the batch open. ``threads``: how many compute
    on the CPU (default: one per core); with a single one, results do not depend on timing and are the same to the last
    bit whenever they are computed in the same way. ``rates``: how fast the machine is, by which convolutions are
    lowered (default: as measured on this machine).

    Raises InputError (wrong arguments or unreadable file), ModelError (no valid ONNX model) or
    NotPiecewiseAffineError, which names every node that is refused.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    study = _study(path, output, fixed_inputs, shapes)
    if threads is not None:
        study = replace(study, threads=threads)
    if rates is not None:
        study = replace(study, rates=lambda: rates)
    if study.labels.refusals:
        raise NotPiecewiseAffineError(study.labels.refusals, study.advice())
    if study.problem:
        raise ModelError(study.problem)
    return Network(study)


class Network:
    """A piecewise-affine network with one input that varies and one output that is analysed.

    ``input_shape`` is one sample's shape as the model declares it, a symbolic batch taken as 1; ``outputs`` is
    the number m of output elements of one sample, which has ``output_shape``. ``asked``: the output that was to be
    analysed; ``output_name`` is a tensor in front of it if a tail was cut. ``notices`` tell what was cut or left out;
    ``cut``: the operators that were cut off at the output; ``producer``: what the file says of the program that made
    it, '' if nothing.
    """

    def __init__(self, study: _Study) -> None:
        self._study = study
        self.path = study.model.path
        self.name = study.model.path.name
        self.sha256 = study.model.sha256
        self.weights_sha256 = study.model.weights_sha256
        self.metadata = study.model.metadata
        self.producer = study.model.producer
        self.graph: Graph = replace(study.model.graph, values={**study.model.graph.values, **study.values})
        self.input_name = study.input_name
        self.input_shape: tuple[int, ...] = study.values[study.input_name].dims
        self.asked = study.asked
        self.output_name = study.labels.output
        value = study.values.get(self.output_name)
        self.output_shape: tuple[int, ...] = value.dims if value is not None else study.contents[self.output_name].shape
        self.outputs = prod(self.output_shape)
        self.units = sum(study.units(node) for node in self.graph.nodes)
        self.notices = study.notices
        self.cut = tuple(node.op_type for node in reversed(study.labels.cut))
        self._stages: dict[tuple[str, str, str], Programs] = {}
        self._values: dict[tuple[str, str], tuple[stages.Values, session.Session]] = {}
        self._sessions: dict[tuple[str, str, str, bool, float, str], tuple[Program, session.Session]] = {}

    def __repr__(self) -> str:
        return f"<lronnx.Network {self.name}: {self.units} units, input {self.input_shape}, {self.outputs} outputs>"

    @property
    def lowers(self) -> bool:
        """Whether it has convolutions, which there are several ways to write as matrix products."""
        return any(self._study.lowers(node) for node in self._study.model.graph.nodes)

    @cached_property
    def switching_nodes(self) -> tuple[SwitchingNode, ...]:
        """All nodes whose units may switch, in the network's (topological) order."""
        study, labels = self._study, self._study.labels
        nodes = list(linearize.evaluated(study.model.graph, labels))
        levels = stages.levels_of(nodes, labels, self.input_name)
        return tuple(
            SwitchingNode(
                node.label, node.op_type, study.shapes[node.outputs[0]], study.units(node), levels[node.outputs[0]]
            )
            for node, _ in nodes
            if study.units(node)
        )

    def rounded(self, seed: int = 0) -> Network:
        """The same network, every weight moved to a neighbouring number of single precision, up or down at random.

        How far its outputs and breakpoints are from this one's is what rounding of stored numbers amounts to. Weights
        that a transformation computes and rounds (BatchNorm folded, layers rescaled) are moved by at most half as far
        by each rounding. Zeros stay; weights in double precision move as far as others.
        """
        generator = np.random.default_rng(seed)
        contents = dict(self._study.contents)
        for name in self._study.weights():
            weights = np.asarray(contents[name], np.promote_types(contents[name].dtype, np.float32))
            # The spacing of single precision, also beyond its range.
            coarser = np.finfo(np.float32).eps / np.finfo(weights.dtype).eps
            step = np.spacing(np.abs(weights)) * weights.dtype.type(coarser) * (weights != 0)
            contents[name] = weights + generator.choice(np.array([-1, 1], weights.dtype), weights.shape) * step
        return Network(replace(self._study, contents=contents))

    # ---- programs

    @cached_property
    def _source(self) -> Source:
        return Source(self._study.model.graph, self._study.labels, self._study.contents, self._study.shapes)

    @cached_property
    def _folded(self) -> Source:
        return fold(self._source)

    def _program(
        self,
        mode: str,
        precision: str,
        device: str,
        *,
        sizes: bool,
        doubt: float = 0.0,
        public: bool = False,
        lowering: str = AUTO,
    ) -> Program:
        study = self._study
        # The original's rounding, that of all its nodes, is judged by sizes of all of them.
        source = self._source if doubt else self._folded
        return linearize.build(
            source.graph,
            source.labels,
            self.input_name,
            source.contents,
            source.shapes,
            mode=mode,
            dtype=PRECISIONS[precision],
            convolves=_convolves(device),
            sizes=sizes,
            # For the range: whether numbers in single precision are right is judged by these.
            squares="float64" if doubt else "",
            doubt=doubt,
            public=public,
            # A program for other readers must not depend on this machine.
            plan=Plan(compared=study.compared()) if public else study.plan(lowering),
        )

    def _runner(
        self, mode: str, precision: str, device: str, *, sizes: bool, doubt: float = 0.0, lowering: str = AUTO
    ) -> tuple[Program, session.Session]:
        key = (mode, precision, device, sizes, doubt, lowering)
        if key not in self._sessions:
            program = self._program(mode, precision, device, sizes=sizes, doubt=doubt, lowering=lowering)
            self._sessions[key] = program, session.Session(program.graph, device, self._study.threads)
        return self._sessions[key]

    @cached_property
    def _original(self) -> session.Original:
        # A thread pool of its own would get in the way of others beside.
        threads = 1 if self._study.threads == 1 else 0
        return session.Original(self._study.model.bytes, self.output_name, str(self.path), threads)

    def original(self, point: ArrayLike) -> NDArray[np.float64]:
        """The analysed output of the model as it was exported, run by onnxruntime on one sample: (m,)."""
        feeds = dict(self._study.feeds)
        feeds[self.input_name] = np.asarray(point, dtype=np.float64).reshape(self.input_shape)
        if self.output_name not in self._study.variable:
            return np.asarray(self._study.contents[self.output_name], dtype=np.float64).ravel()
        return self._original(feeds)

    def evaluate(self, point: ArrayLike, *, device: str = "auto", lowering: str = AUTO) -> NDArray[np.float64]:
        """The analysed output of one sample in double precision, as a sweep computes it: (m,).

        Raises InputError if an argument does not fit.
        """
        check_name(lowering)
        _, runner = self._shown(session.choose_device(device), lowering)
        given = np.asarray(point, dtype=np.float64).reshape(1, *self.input_shape)
        made = dict(zip(runner.outputs, runner({linearize.POINT: given}), strict=True))
        return np.array(made[linearize.VALUE], dtype=np.float64).ravel()

    def _shown(self, device: str, lowering: str) -> tuple[stages.Values, session.Session]:
        """The program of outputs and switching functions, in double precision."""
        if (device, lowering) not in self._values:
            plan, convolves = self._study.plan(lowering), _convolves(device)
            shown = stages.values(self._folded, self.input_name, dtype="float64", convolves=convolves, plan=plan)
            self._values[device, lowering] = shown, session.Session(shown.graph, device, self._study.threads)
        return self._values[device, lowering]

    def linearize(self, *, precision: str = "double") -> bytes:
        """The linearized program as an ONNX model.

        Inputs ``point`` and ``direction``, (lanes, *input_shape); outputs ``value`` and ``slope``, (lanes, m), of the
        linear region that the path from the point in that direction enters. Per switching node also NODE/branch (+1 or
        -1: above or below the kink; or the winning candidate's number), NODE/function and NODE/function_slope (what is
        zero at the kink, or what is chosen from), and NODE/rate: a unit with rate r < 0 leaves its branch -1/r further
        along the direction. Of a node with several kinks the others' names end in _1, _2. Raises InputError for an
        unknown precision.
        """
        _check_precision(precision)
        program = self._program(FRESH, precision, "cpu", sizes=True, public=True)
        return onnx_io.to_bytes(program.graph, description=f"linearized from {self.name} (sha256 {self.sha256})")

    # ---- walks

    def walk(
        self,
        start: ArrayLike,
        end: ArrayLike,
        *,
        engine: str = "sweep",
        precision: str = "double",
        device: str = "auto",
        lanes: int | None = None,
        memory: int | None = None,
        max_regions: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
        lowering: str = AUTO,
    ) -> Walk:
        """All linear regions on the segment from ``start`` to ``end``, arrays of one sample's shape.

        ``engine``: ``sweep``, or ``walk``, the other algorithm, or ``both``, which compares them. ``precision``:
        ``double``, or ``single`` for exploring. ``device``: ``auto``, ``cpu`` or ``cuda``. ``lanes``: how many
        sub-intervals are walked side by side, how many regions a sweep pushes through a layer together. ``memory``:
        about how many bytes that may take, if ``lanes`` does not say; by default a quarter of what is free.
        ``max_regions`` ends the walk early, and so does ``stop``, which is asked at every step.
        ``lowering``: how convolutions are computed that the runtime has no kernel for, wherever that can be (see
        :mod:`lronnx.ops.lowering`); ``auto``: in the way that is fastest on this machine.

        Raises InputError if an argument does not fit, and KeyboardInterrupt if ``stop`` ended it at once.
        """
        path = self.walk_path(
            [start, end],
            engine=engine,
            precision=precision,
            device=device,
            lanes=lanes,
            memory=memory,
            max_regions=max_regions,
            progress=progress,
            stop=stop,
            lowering=lowering,
        )
        if not path.segments:
            raise KeyboardInterrupt
        return path.segments[0]

    def walk_path(
        self,
        points: Iterable[ArrayLike],
        *,
        closed: bool = False,
        engine: str = "sweep",
        precision: str = "double",
        device: str = "auto",
        lanes: int | None = None,
        memory: int | None = None,
        max_regions: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
        lowering: str = AUTO,
    ) -> PathWalk:
        """Walk the segments between neighbouring ``points`` (P, *sample), and back to the first if ``closed``.

        A walk that ends early holds what is contiguous from the first point on, and is marked partial. With the engine
        ``both`` the result is the sweep's, and its ``agreement`` tells how it compares with the walk's.
        Raises InputError if an argument does not fit.
        """
        begin = time.perf_counter()
        path = inputs.as_points(points, self.input_shape, closed=closed)
        if closed:
            path = np.concatenate([path, path[:1]])
        _check_precision(precision)
        if engine not in ENGINES:
            raise InputError(f"unknown engine '{engine}': use {', '.join(ENGINES)}")
        check_name(lowering)
        if max_regions is not None and max_regions < 1:
            raise InputError(f"max_regions must be at least 1, not {max_regions}")
        if lanes is not None and lanes < 1:
            raise InputError(f"lanes must be at least 1, not {lanes}")
        if memory is not None and memory < 1:
            raise InputError(f"memory must be at least 1 byte, not {memory}")
        device = session.choose_device(device)
        if memory is None:
            free = session.free_device_memory() if device == "cuda" else 0
            memory = (free or session.free_memory()) // 4
        run = partial(self._run, path, closed, precision, device, lowering, lanes, memory, max_regions)
        if engine != "both":
            return run(engine, progress, stop)
        walked, swept = (
            run(one, None if progress is None else _part_of(progress, share), stop)
            for share, one in enumerate(("walk", "sweep"))
        )
        both = tuple(
            replace(
                right,
                self_check=SelfCheck.total([left.self_check, right.self_check]),
                forward_passes=left.forward_passes + right.forward_passes,
                seconds=left.seconds + right.seconds,
            )
            for left, right in zip(walked.segments, swept.segments, strict=False)
        )
        return replace(
            swept,
            segments=both,
            partial=walked.partial or swept.partial,
            engine=engine,
            seconds=time.perf_counter() - begin,
            agreement=agreement.compare(walked.segments, swept.segments, precision),
        )

    def _run(
        self,
        path: NDArray[np.float64],
        closed: bool,
        precision: str,
        device: str,
        lowering: str,
        lanes: int | None,
        memory: int,
        max_regions: int | None,
        engine: str,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop] | None,
    ) -> PathWalk:
        """What one engine finds on the segments between neighbouring points."""
        begin = time.perf_counter()
        lengths = np.linalg.norm(np.diff(path.reshape(len(path), -1), axis=0), axis=1)
        runner: Walker | Sweeper
        if engine == "walk":
            runner = self._walker(precision, device, lowering, lanes, memory)
        else:
            runner = self._sweeper(precision, device, lowering, lanes, memory)
        results = runner.run(path, max_regions, progress, stop)
        seconds = time.perf_counter() - begin
        total = sum(len(result.t) - 1 for result in results) or 1
        walks = tuple(
            self._finish(
                result, path[i], path[i + 1], float(lengths[i]), runner, total, seconds, precision, device, lowering
            )
            for i, result in enumerate(results)
        )
        return PathWalk(
            segments=walks,
            closed=closed,
            partial=not all(result.complete for result in results) or len(results) < len(lengths),
            seconds=time.perf_counter() - begin,
            engine=engine,
            precision=precision,
            device=device,
            lanes=runner.lanes,
        )

    def _walker(self, precision: str, device: str, lowering: str, lanes: int | None, memory: int) -> Walker:
        program, _ = self._runner(STEP, precision, device, sizes=False, lowering=lowering)
        # A lane takes some 30 numbers per unit.
        numbers = 30 * max(self.units, prod(self.input_shape), 1)
        fitting = max(memory // (numbers * np.dtype(PRECISIONS[precision]).itemsize), 1)
        count = lanes or min(self._study.lanes(), fitting)
        return Walker(program.groups, self._evaluate(precision, device, lowering), program.dtype, count)

    def _sweeper(self, precision: str, device: str, lowering: str, lanes: int | None, memory: int) -> Sweeper:
        source, plan = self._folded, self._study.plan(lowering)
        if (precision, device, lowering) not in self._stages:
            made = stages.cut(
                source, self.input_name, dtype=PRECISIONS[precision], convolves=_convolves(device), plan=plan
            )
            on_host = device == "cpu"
            self._stages[precision, device, lowering] = (
                HostStages(made) if on_host else DeviceStages(made, PRECISIONS[precision], device)
            )
        programs, (shown, runner) = self._stages[precision, device, lowering], self._shown(device, lowering)
        program, fresh = self._runner(FRESH, precision, device, sizes=True, lowering=lowering)

        def afresh(points: Array, directions: Array) -> Evaluation:
            feeds = {linearize.POINT: points, linearize.DIRECTION: directions}
            found = dict(zip(fresh.outputs, fresh(feeds), strict=True))
            judged = [(found[group.size], found[group.slope_size]) for group in program.groups]
            return Evaluation(found[linearize.VALUE], found[linearize.SLOPE], found, judged, [])

        def values(points: Array) -> tuple[Array, dict[str, Array]]:
            found = dict(zip(runner.outputs, runner({linearize.POINT: points}), strict=True))
            return found[linearize.VALUE], {label: found[name] for label, (name, _) in shown.functions.items()}

        workers = self._study.threads if device == "cpu" else 1
        orders = {label: order for label, (_, order) in shown.functions.items()}
        places = Places(programs.stages, program.groups, afresh, values, orders, PRECISIONS[precision])
        return Sweeper(
            programs,
            places,
            PRECISIONS[precision],
            self.input_name,
            lanes or sweeper.rows_that_fit(programs.stages, PRECISIONS[precision], memory // workers, device),
            workers,
        )

    def _evaluate(self, precision: str, device: str, lowering: str) -> Evaluate:
        """Evaluates the programs for a walk, under the names of the one that takes its steps."""
        program, _ = self._runner(STEP, precision, device, sizes=False, lowering=lowering)

        def evaluate(
            points: Array,
            directions: Array,
            pattern: Sequence[Array] | None,
            fixed: Sequence[Array] = (),
            sizes: bool = False,
        ) -> Evaluation:
            sizes = sizes or pattern is None
            mode = FRESH if pattern is None else STEP
            used, runner = self._runner(mode, precision, device, sizes=sizes, lowering=lowering)
            feeds: dict[str, Array] = {linearize.POINT: points, linearize.DIRECTION: directions}
            if pattern is not None:
                feeds.update(zip((group.state for group in used.groups), pattern, strict=True))
                feeds.update(zip(used.fixed, fixed, strict=True))
            made = dict(zip(runner.outputs, runner(feeds), strict=True))
            tensors = dict(made)
            for group, other in zip(program.groups, used.groups, strict=True):
                # Of two units that are the same another program may keep one.
                for key in ("state", "value", "slope", "rate", "best", "lowest"):
                    if getattr(other, key) in made:
                        tensors[getattr(group, key)] = made[getattr(other, key)]
            judged = [(made[other.size], made[other.slope_size]) for other in used.groups] if sizes else []
            constant = [made[name] for name in used.fixed] if pattern is None else []
            return Evaluation(made[linearize.VALUE], made[linearize.SLOPE], tensors, judged, constant)

        return evaluate

    def _finish(
        self,
        result: SegmentResult,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        length: float,
        runner: Walker | Sweeper,
        total: int,
        seconds: float,
        precision: str,
        device: str,
        lowering: str,
    ) -> Walk:
        """A segment's walk with its self-check; evaluations and time are shared out by regions."""
        share = (len(result.t) - 1) / total
        sized = partial(self._sizes, end - start, runner.lanes, precision, device, lowering)
        error, tolerance, compared = self._compare(result, start, end, precision, sized)
        check = SelfCheck(result.contradictions, result.mismatches, error, tolerance, compared)
        return Walk(
            t=result.t,
            values=result.values,
            slopes=result.slopes,
            switches=result.switches,
            length=length,
            self_check=check,
            partial=not result.complete,
            forward_passes=round(runner.passes * share),
            seconds=seconds * share,
            precision=precision,
        )

    def _compare(
        self,
        result: SegmentResult,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        precision: str,
        sized: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> tuple[float, float, int]:
        """The largest difference from the original model at the ends, and at some edges and midpoints in between.

        With it comes what rounding explains there: the largest such number, or the smallest of those exceeded.
        ``sized``: see :meth:`_sizes`.
        """
        edges = result.t
        picks = np.unique(np.linspace(0, len(edges) - 1, COMPARED_POINTS // 2).astype(int))
        places = [(float(edges[i]), result.values[i]) for i in picks]
        for i in np.unique(np.linspace(0, len(edges) - 2, COMPARED_POINTS // 2).astype(int)):
            middle = (edges[i] + edges[i + 1]) / 2
            places.append((float(middle), (result.values[i] + result.values[i + 1]) / 2))
        points = np.stack([start + t * (end - start) for t, _ in places])
        exact = np.stack([self.original(point) for point in points])
        if not np.isfinite(exact).all():
            return float("inf"), 0.0, len(places)
        errors = np.abs(exact - np.stack([value for _, value in places]))

        def allowed(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
            # What is found here is rounded as well, and places are what they are up to the definition's own resolution.
            made = self._rounding(precision) * sizes + ROUNDING[PRECISIONS[precision]] * sizes.max(axis=0)
            return np.asarray(made + SAME_T * np.abs(result.slopes).max(axis=0, initial=0.0))

        # No size is below the number itself, which is enough for most.
        limits = allowed(np.abs(exact))
        if not (errors <= limits).all():
            limits = allowed(np.maximum(sized(points), np.abs(exact)))
        exceeded = limits[~(errors <= limits)]
        tolerance = exceeded.min() if exceeded.size else limits.max(initial=0.0)
        return float(errors.max(initial=0.0)), float(tolerance), len(places)

    def _sizes(
        self,
        direction: NDArray[np.float64],
        lanes: int,
        precision: str,
        device: str,
        lowering: str,
        points: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """What the outputs at points would be if nothing cancelled, (points, m); 0 where that is not known."""
        judge = self._judge(precision, device, lowering)
        parts = []
        for rows in (points[i : i + lanes] for i in range(0, len(points), lanes)):
            given = {linearize.POINT: rows, linearize.DIRECTION: np.broadcast_to(direction, rows.shape)}
            (sizes,) = judge({name: array.astype(np.float32) for name, array in given.items()})
            parts.append(sizes.copy())
        # Squares of very small or large numbers are none.
        sizes = np.concatenate(parts)
        return np.where(np.isfinite(sizes), sizes, 0.0)

    def _judge(self, precision: str, device: str, lowering: str) -> session.Session:
        """The program whose sizes the outputs are judged by: single precision will do, but for their squares."""
        # Sizes tell of how numbers are lowered, where they are.
        used = lowering if (precision, device) == ("double", "cpu") else PLAIN
        return self._runner(FRESH, "single", "cpu", sizes=True, doubt=self._rounding(precision), lowering=used)[1]

    def _rounding(self, precision: str) -> float:
        """What explains differences between a walk and the original, which computes in its least precise type."""
        study = self._study
        held = {value.dtype for name, value in study.values.items() if name in study.variable}
        return max(ROUNDING[name] for name in (held | {PRECISIONS[precision]}) & ROUNDING.keys())


def _part_of(progress: Callable[[Progress], None], number: int) -> Callable[[Progress], None]:
    """Progress of the first or second of two runs, as that of both."""
    return lambda found: progress(Progress((found.fraction + number) / 2, found.regions))


def _convolves(device: str) -> tuple[str, ...]:
    """The types that a device convolves in: the CPU provider has kernels for single precision only."""
    return ("float32", "float64") if device == "cuda" else ("float32",)


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}': use double or single")
