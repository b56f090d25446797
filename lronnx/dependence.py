"""Labels every node constant, affine in the input so far, or switching; and refuses what is none of these.

Whether an operator is affine depends on which of its operands depend on the input, never on its name alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lronnx import onnx_io
from lronnx.errors import Refusal
from lronnx.graph import Array, Graph, Node
from lronnx.ops import TABLE, Facts, Kind, Lookup, OpRule


@dataclass(frozen=True)
class Labels:
    """The verdict on a graph: what was found of each node, by label.

    ``output`` is the tensor to analyse, which differs from the one that was asked for where a tail was cut.
    ``cut`` are the tail's nodes. ``needed`` are the labels of nodes that the analysis really evaluates.
    """

    output: str
    kinds: Mapping[str, Kind]
    refusals: tuple[Refusal, ...]
    cut: tuple[Node, ...]
    needed: Collection[str]
    lookup: Lookup


def rule_of(node: Node) -> OpRule | None:
    """The operator's record; None if the table does not know the operator."""
    return TABLE.get((node.domain, node.op_type))


def variable_tensors(graph: Graph, input_name: str) -> set[str]:
    """Every tensor whose content depends on the content of the input (not on its shape alone)."""
    variable = {input_name}
    for node in graph.nodes:
        if variable.intersection(_depends_on(node)):
            rule = rule_of(node)
            variable.update(name for name in (node.outputs if rule is None else rule.varies(node)) if name)
    return variable


def _depends_on(node: Node) -> Collection[str]:
    """The inputs whose content, and not their shape or type alone, a node depends on."""
    rule = rule_of(node)
    return node.inputs if rule is None else rule.depends_on(node)


def cut_tail(graph: Graph, output: str, variable: set[str]) -> tuple[str, tuple[Node, ...]]:
    """Follow the network back from its output to before a trailing softmax and the like.

    Returns the tensor to analyse and the nodes that are cut, none if there is no such tail.
    """
    producers = graph.producers()
    position, passed, cut, best = output, [], [], output
    while position in producers:
        node = producers[position]
        rule = rule_of(node)
        moving = [name for name in node.inputs if name in variable]
        if rule is None or len(set(moving)) != 1 or not (rule.tail or rule.follows_tail):
            break
        passed.append(node)
        position = moving[0]
        if rule.tail:
            cut, best = list(passed), position
    return best, tuple(cut)


def label(
    graph: Graph, output: str, variable: set[str], contents: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> Labels:
    """Judge every node that the output depends on.

    ``contents``: known content of tensors outside ``variable``; ``shapes``: of one sample.
    """
    output, cut = cut_tail(graph, output, variable)
    producers = graph.producers()
    lookup = Lookup(producers, contents, variable, shapes)
    opset = graph.opsets.get("ai.onnx", 1)
    kinds: dict[str, Kind] = {}
    refusals: list[Refusal] = []
    relevant = graph.ancestors([output])
    conditions: dict[str, Node] = {}
    for node in relevant:
        reason = ""
        rule = rule_of(node)
        facts = Facts(
            tuple(name in variable and name in _depends_on(node) for name in node.inputs),
            tuple(contents.get(name) for name in node.inputs),
            tuple(shapes.get(name) for name in node.inputs),
            opset,
            lookup,
        )
        if rule is not None and rule.random(node, facts):
            reason = str(rule.verdict(node, facts))
        elif not any(facts.variable):
            kinds[node.label] = Kind.CONSTANT
            continue
        elif rule is None:
            reason = _unknown(node, opset)
        else:
            verdict = rule.verdict(node, facts)
            if isinstance(verdict, str):
                reason = verdict
            elif verdict is Kind.SWITCHING and any(_is_used(name, relevant, output) for name in rule.varies(node)[1:]):
                reason = "its further outputs (indices) depend on the input: discontinuous"
            else:
                kinds[node.label] = verdict
                if verdict is Kind.CONDITION:
                    conditions.update(dict.fromkeys(node.outputs, node))
        if reason:
            refusals.append(Refusal(node.index, node.name, node.op_type, next(filter(None, node.outputs), ""), reason))
    refusals += _stray_conditions(conditions, relevant, kinds, output)
    refusals.sort(key=lambda refusal: refusal.index)
    needed = _needed(relevant, output, kinds, lookup) if not refusals else [node.label for node in relevant]
    return Labels(output, kinds, tuple(refusals), cut, frozenset(needed), lookup)


def compared(graph: Graph, labels: Labels) -> frozenset[str]:
    """The labels of the evaluated nodes that lead to a comparison of one tensor's elements with each other."""
    found: set[str] = set()
    tensors: set[str] = set()
    for node in reversed(graph.nodes):
        rule = rule_of(node)
        if node.label not in labels.needed or rule is None:
            continue
        leads = not tensors.isdisjoint(node.outputs)
        if leads:
            found.add(node.label)
        if leads or (rule.compares and labels.kinds[node.label] is Kind.SWITCHING):
            tensors.update(rule.reads(node, labels.lookup) if rule.reads is not None else node.inputs)
    return frozenset(found)


def _unknown(node: Node, opset: int) -> str:
    if node.domain:
        return f"an operator of the domain '{node.domain}', which lronnx does not know"
    if not onnx_io.has_schema(node, opset):
        return f"ONNX defines no such operator at opset {opset}"
    return "lronnx does not know whether this operator is piecewise affine"


def _is_used(name: str, nodes: tuple[Node, ...], output: str) -> bool:
    return bool(name) and (name == output or any(name in node.inputs for node in nodes))


def _stray_conditions(
    conditions: Mapping[str, Node], nodes: tuple[Node, ...], kinds: Mapping[str, Kind], output: str
) -> list[Refusal]:
    """A comparison may only choose between the sides of a recognised choice; anything else jumps."""
    found: dict[str, Refusal] = {}
    for name, node in conditions.items():
        refusal = Refusal(
            node.index, node.name, node.op_type, name, "a comparison of what depends on the input is discontinuous"
        )
        users = [user for user in nodes if name in user.inputs]
        for user in users:
            accepted = kinds.get(user.label) is Kind.SWITCHING
            # A choice that was refused names itself; its condition would only repeat it.
            refused_choice = user.label not in kinds and rule_of(user) is not None and rule_of(user).reads is not None  # type: ignore[union-attr]
            if not accepted and not refused_choice:
                found[name] = refusal
        if name == output:
            found[name] = refusal
    return list(found.values())


def _needed(nodes: tuple[Node, ...], output: str, kinds: Mapping[str, Kind], lookup: Lookup) -> list[str]:
    wanted, labels = {output}, []
    for node in reversed(nodes):
        if not wanted.intersection(node.outputs) or kinds[node.label] is Kind.CONSTANT:
            continue
        labels.append(node.label)
        rule = rule_of(node)
        reads = rule.reads(node, lookup) if rule is not None and rule.reads is not None else node.inputs
        wanted.update(name for name in reads if name)
    return labels
