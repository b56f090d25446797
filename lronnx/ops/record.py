"""What the operator table knows of one operator: its dependence, its slope, its switches and its sample cases."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lronnx.graph import Array, Attribute, Node

if TYPE_CHECKING:
    from lronnx.ops.emitter import Emitter, Lanes


class Kind(enum.Enum):
    """How a node's output depends on the network's input, given that its inputs are affine or behind switches."""

    CONSTANT = "constant"
    AFFINE = "affine"
    SWITCHING = "switching"
    # A comparison that only chooses between the sides of a recognised Where: it is part of that switch.
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a node's operands when its dependence is judged.

    ``variable``: per input, whether it depends on the network's input. ``constants``: its content where it does
    not (None where unknown). ``shapes``: None where unknown. ``producers``: the nodes that make the inputs.
    """

    variable: tuple[bool, ...]
    constants: tuple[Array | None, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    opset: int
    lookup: Lookup

    def count(self) -> int:
        """How many operands depend on the input."""
        return sum(self.variable)


@dataclass(frozen=True, slots=True)
class Lookup:
    """The graph around a node, for the few rules that recognise a pattern of several nodes.

    ``memory``: what these rules found already.
    """

    producers: Mapping[str, Node]
    constants: Mapping[str, Array]
    variable: frozenset[str] | set[str]
    shapes: Mapping[str, tuple[int, ...]]
    memory: dict[tuple[str, str], Any] = field(default_factory=dict, compare=False)


# What a node scales each channel (axis 1) of its first operand by, and then adds to it, given its constant operands.
PerChannel = Callable[[Node, Sequence["Array | None"]], "tuple[Array, Array]"]
# Given a node's constant operands (None for others), a factor and a term per channel: its attributes and constant
# operands, the weights and a bias, with which it scales and shifts its output itself; None where it cannot.
Absorb = Callable[
    [Node, Sequence["Array | None"], Array, Array], "tuple[Mapping[str, Attribute], tuple[Array, Array]] | None"
]
# A verdict is a kind, or the reason for which the node is refused.
Verdict = Kind | str


@dataclass(frozen=True)
class Kinks:
    """An elementwise piecewise-linear function of one argument ``z``, whose unit is the element.

    ``f(z) = base z + offset + sum_j jumps[j] max(z - kinks[j], 0)`` with ``kinks`` increasing; every
    coefficient is a number or an array that broadcasts to the argument's shape. One switching function
    ``z - kinks[j]`` per kink. ``branch`` of a unit = number of kinks below ``z``.
    """

    argument: Lanes
    kinks: tuple[Array, ...]
    base: Array
    offset: Array
    jumps: tuple[Array, ...]


@dataclass(frozen=True)
class Choice:
    """The largest of K candidates (the smallest, if ``sign`` is -1), whose unit is the output element.

    ``candidates`` names a program tensor (lanes, K, units), already multiplied by ``sign``. The units are the
    output's elements of ``shape`` in the physical order ``order``. The branch is the winning candidate.
    """

    candidates: str
    count: int
    sign: int
    shape: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """A sample case for tests: input shapes of the variable operands, constants of the others, attributes.

    ``operands``: a shape (tuple) for an operand that depends on the input, an array for a constant one, None for
    one that is left out. ``opset``: at which the case is written.
    """

    operands: tuple[tuple[int, ...] | Array | None, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1


VerdictRule = Callable[[Node, Facts], Verdict]
EmitRule = Callable[["Emitter", Node, Sequence["Lanes | Array | None"], bool], "list[Lanes]"]
SwitchRule = Callable[["Emitter", Node, Sequence["Lanes | Array | None"], bool], Kinks | Choice]


@dataclass(frozen=True)
class OpRule:
    """Everything that lronnx knows about one operator.

    ``verdict`` judges its dependence. ``emit`` writes the node for many lanes at once; called with
    ``slope=True`` on slopes it writes the linear part alone: the operator without its bias. That is the
    slope rule of every affine operator, so that value and slope cannot drift apart, and its double-precision
    lowering. ``switch`` describes a switching operator. ``depends_on``: the inputs whose content matters (of some
    operands only the shape or the type does); ``varies``: the outputs that depend on these; ``reads``: the inputs that
    the rules above are written with. ``random``: whether the operator is random, even if nothing it reads varies;
    ``infinite``: whether its constant operands may hold infinities. ``tail``: may be cut off at the network's output;
    ``follows_tail``: may stand behind such an operator there. ``compares``: switches between elements of one operand,
    many of which may be exactly the same, as in the border of an image. ``per_channel`` and ``absorb``: for
    :func:`lronnx.passes.fold`. ``moves``: its constant operands say where elements go, they are no weights.
    """

    op_type: str
    verdict: VerdictRule
    emit: EmitRule | None = None
    switch: SwitchRule | None = None
    reads: Callable[[Node, Lookup], tuple[str, ...]] | None = None
    depends_on: Callable[[Node], Sequence[str]] = lambda node: node.inputs
    domain: str = ""
    infinite: bool = False
    tail: bool = False
    varies: Callable[[Node], Sequence[str]] = lambda node: node.outputs
    random: Callable[[Node, Facts], bool] = lambda node, facts: False
    follows_tail: bool = False
    compares: bool = False
    per_channel: PerChannel | None = None
    absorb: Absorb | None = None
    moves: bool = False
    samples: tuple[Sample, ...] = ()


TABLE: dict[tuple[str, str], OpRule] = {}


def register(rule: OpRule) -> None:
    """Enter a rule in the table. Raises ValueError if the operator is already there."""
    key = (rule.domain, rule.op_type)
    if key in TABLE:
        raise ValueError(f"{rule.op_type} is registered twice")
    TABLE[key] = rule


def jointly(node: Node, facts: Facts) -> Verdict:
    """Affine in all operands together, whichever of them vary."""
    return Kind.AFFINE


def only(*positions: int) -> VerdictRule:
    """Affine in the operands at ``positions``; all others must not depend on the input."""

    def verdict(node: Node, facts: Facts) -> Verdict:
        wrong = [i for i, varies in enumerate(facts.variable) if varies and i not in positions]
        if wrong:
            return f"operand {wrong[0]} ('{node.input(wrong[0])}') depends on the input, which is not supported"
        return Kind.AFFINE

    return verdict


def switching(*positions: int) -> VerdictRule:
    """Switching in the operands at ``positions`` (all, if none is given); others must not depend on the input."""

    def verdict(node: Node, facts: Facts) -> Verdict:
        wrong = [i for i, varies in enumerate(facts.variable) if varies and positions and i not in positions]
        if wrong:
            return f"operand {wrong[0]} ('{node.input(wrong[0])}') depends on the input, which is not supported"
        return Kind.SWITCHING

    return verdict


def refuse(reason: str) -> VerdictRule:
    """Never piecewise affine, for the given reason."""
    return lambda node, facts: reason


def number(value: Attribute | None, default: int) -> int:
    """An integer attribute; ``default`` where it is left out."""
    return default if value is None else int(np.asarray(value))


def real(value: Attribute | None, default: float) -> float:
    """A floating-point attribute, which is a float32 in the file; ``default`` where it is left out."""
    return float(np.float32(default if value is None else np.asarray(value)))


def ints(value: Attribute | Array | None, default: Sequence[int] = ()) -> tuple[int, ...]:
    """An attribute or a constant operand as a tuple of ints; ``default`` where it is left out."""
    if value is None:
        return tuple(default)
    return tuple(int(v) for v in np.atleast_1d(np.asarray(value)).ravel())
