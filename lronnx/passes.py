"""What is simplified in a network before its programs are written: nothing that a reader of the network ever sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lronnx.dependence import Labels, rule_of
from lronnx.graph import Array, Graph, Node
from lronnx.ops import Kind


@dataclass(frozen=True)
class Source:
    """A labelled network as programs are written from it: ``contents`` and ``shapes`` as :func:`dependence.label`'s."""

    graph: Graph
    labels: Labels
    contents: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]


def fold(source: Source) -> Source:
    """Have nodes scale and shift their channels themselves where the next one does nothing else.

    Weights and biases are multiplied in double precision. A node keeps its label and makes the next one's tensor;
    what lies in between is read by nothing else, and is not the output.
    """
    labels = source.labels
    readers = _readers(source)
    producers = source.graph.producers()
    contents, shapes = dict(source.contents), dict(source.shapes)
    replaced: dict[str, Node] = {}
    dropped: set[str] = set()
    for node in source.graph.nodes:
        rule = rule_of(node)
        if rule is None or rule.per_channel is None or not _is_evaluated(labels, node):
            continue
        front = producers.get(node.inputs[0])
        if front is None or not _is_evaluated(labels, front) or readers.get(node.inputs[0]) != [node.label]:
            continue
        absorb = getattr(rule_of(front), "absorb", None)
        if absorb is None or front.label in replaced or any(readers.get(name) for name in node.outputs[1:]):
            continue
        operands = [[contents.get(name) for name in one.inputs] for one in (node, front)]
        with np.errstate(all="ignore"):
            made = absorb(front, operands[1], *rule.per_channel(node, operands[0]))
        if made is None or not all(np.isfinite(array).all() for array in made[1]):
            continue
        attributes, arrays = made
        names = [f"{node.outputs[0]}/{hint}" for hint in ("weight", "bias")]
        if any(name in shapes or name in contents for name in names):
            continue
        for name, array in zip(names, arrays, strict=True):
            contents[name], shapes[name] = array, array.shape
        replaced[front.label] = replace(
            front, inputs=(front.inputs[0], *names), outputs=node.outputs[:1], attributes=attributes
        )
        dropped.add(node.label)
    if not replaced:
        return source
    nodes = tuple(replaced.get(node.label, node) for node in source.graph.nodes if node.label not in dropped)
    return Source(replace(source.graph, nodes=nodes), labels, contents, shapes)


def _is_evaluated(labels: Labels, node: Node) -> bool:
    return node.label in labels.needed and labels.kinds.get(node.label) is Kind.AFFINE


def _readers(source: Source) -> dict[str, list[str]]:
    """The labels of the nodes that read each tensor when the network is evaluated, '' for its output."""
    found: dict[str, list[str]] = {source.labels.output: [""]}
    for name, label in _reads(source):
        found.setdefault(name, []).append(label)
    return found


def _reads(source: Source) -> Iterator[tuple[str, str]]:
    for node in source.graph.nodes:
        rule = rule_of(node)
        if node.label in source.labels.needed and rule is not None:
            names = rule.reads(node, source.labels.lookup) if rule.reads is not None else node.inputs
            yield from ((name, node.label) for name in names if name)
