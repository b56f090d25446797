"""The graph IR: frozen values, nodes and graphs, independent of ONNX protobufs and of any runtime.

Both sides of lronnx speak it: a network that was read from a file is a :class:`Graph`, and so is the
linearized program that is rewritten from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from lronnx.errors import ModelError

Array = NDArray[Any]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in a graph: its name, element type (a numpy name, ``float32``) and shape.

    A dimension is an int where it is known and a string (the symbol) where it is not;
    ``shape`` is None when not even the rank is known.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape, all of whose dimensions are known. Raises ModelError otherwise."""
        if self.shape is None or not all(isinstance(d, int) for d in self.shape):
            raise ModelError(f"the shape of tensor '{self.name}' is not known: {self.shape}")
        return tuple(int(d) for d in self.shape)

    @property
    def size(self) -> int:
        """The number of elements. Raises ModelError where the shape is not known."""
        return prod(self.dims)


@dataclass(frozen=True, slots=True)
class Node:
    """One operator application. An empty input or output name means that it is left out.

    ``name`` is what the file says (often empty); ``label`` is unique in the graph and never empty.
    """

    index: int
    name: str
    label: str
    domain: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=lambda: MappingProxyType({}))

    def input(self, position: int) -> str:
        """The name of an input, '' if the node has none there."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A directed acyclic graph of nodes in topological order, in static single assignment form.

    ``constants`` are tensors whose content is known; ``values`` holds what is known of every tensor.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    values: Mapping[str, Value]
    opsets: Mapping[str, int]

    def check(self) -> None:
        """Raise ModelError unless every tensor is defined once, before it is used."""
        defined: set[str] = set()
        for name in (*self.inputs, *self.constants):
            if name in defined:
                raise ModelError(f"tensor '{name}' is both an input and a constant")
            defined.add(name)
        labels: set[str] = set()
        for node in self.nodes:
            if node.label in labels:
                raise ModelError(f"two nodes are labelled '{node.label}'")
            labels.add(node.label)
            for used in node.inputs:
                if used and used not in defined:
                    raise ModelError(
                        f"node {node.label} [{node.op_type}] reads tensor '{used}', which nothing defines before it"
                    )
            for made in node.outputs:
                if made in defined:
                    raise ModelError(f"node {node.label} [{node.op_type}] defines tensor '{made}' a second time")
                if made:
                    defined.add(made)
        for name in self.outputs:
            if name not in defined:
                raise ModelError(f"the graph's output '{name}' is defined by nothing")

    def shape(self, name: str) -> tuple[int, ...]:
        """The known shape of a tensor. Raises ModelError where it is not known."""
        return self.values[name].dims

    def producers(self) -> dict[str, Node]:
        """Which node makes each tensor (inputs and constants are in no entry)."""
        return {made: node for node in self.nodes for made in node.outputs if made}

    def ancestors(self, outputs: Iterable[str]) -> tuple[Node, ...]:
        """The nodes that ``outputs`` depend on, in topological order."""
        needed = set(outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(name for name in node.inputs if name)
        return tuple(reversed(kept))

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph as networkx sees it: a vertex per node (and per input and output), an edge per use.

        Vertices are labels; attributes are plain strings and numbers, so that
        ``networkx.write_graphml`` accepts the result.
        """
        graph = nx.MultiDiGraph(name=self.name)
        producer: dict[str, str] = {}
        for name in self.inputs:
            graph.add_node(f"input:{name}", kind="input", op_type="", shape=self._shape_text(name))
            producer[name] = f"input:{name}"
        for node in self.nodes:
            first = next((made for made in node.outputs if made), "")
            graph.add_node(
                node.label,
                kind="node",
                op_type=node.op_type,
                domain=node.domain,
                index=node.index,
                shape=self._shape_text(first),
            )
            for made in node.outputs:
                producer[made] = node.label
        for node in self.nodes:
            for position, used in enumerate(node.inputs):
                if used in producer:
                    graph.add_edge(producer[used], node.label, tensor=used, position=position)
        for name in self.outputs:
            graph.add_node(f"output:{name}", kind="output", op_type="", shape=self._shape_text(name))
            if name in producer:
                graph.add_edge(producer[name], f"output:{name}", tensor=name, position=0)
        return graph

    def _shape_text(self, name: str) -> str:
        value = self.values.get(name)
        return "?" if value is None or value.shape is None else "x".join(str(d) for d in value.shape)


def freeze(attributes: Mapping[str, Attribute]) -> Mapping[str, Attribute]:
    """A read-only copy of a mapping of attributes; arrays inside are made read-only too."""
    for value in attributes.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return MappingProxyType(dict(attributes))
