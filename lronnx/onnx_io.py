"""The only module that knows ONNX protobufs: files to :class:`Graph`, and :class:`Graph` to ONNX bytes.

Reading repairs what exporters get wrong but runtimes accept: unsorted nodes, initializers that are also
listed as inputs, missing names, model-local functions, weights in external files. Shapes declared for
intermediate tensors are not believed (some exporters write wrong ones); they are found by evaluation.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, inliner, numpy_helper

from lronnx.errors import InputError, ModelError
from lronnx.graph import Array, Attribute, Graph, Node, Value, freeze
from lronnx.ops import fused

MINIMUM_OPSET = 7
# Written programs use this pair: every operator that they need has a kernel at this version.
PROGRAM_OPSET, PROGRAM_IR = 18, 10


@dataclass(frozen=True)
class Model:
    """An ONNX file as it was read: its graph, and what identifies it.

    ``bytes`` is a self-contained serialization (external weights embedded, local functions inlined, fused nodes taken
    apart, nodes sorted, initializers not listed as inputs) that onnxruntime runs as the original model.
    ``sha256`` is of the file; ``weights_sha256`` of the weights in external files, '' if there are none.
    """

    path: Path
    sha256: str
    weights_sha256: str
    graph: Graph
    producer: str
    metadata: Mapping[str, str]
    bytes: bytes


def read_model(path: str | os.PathLike[str], shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Read an ONNX file.

    The first dimension of an input becomes 1 where it is symbolic; ``shapes`` (per input name) fixes the others.

    Raises InputError if the file cannot be read or ``shapes`` does not fit, ModelError if it is not a valid ONNX model.
    """
    path = Path(path)
    content, proto = _read(path)
    weights = _load_external(proto, path)
    if proto.functions:
        try:
            proto = inliner.inline_local_functions(proto)
        except Exception as error:
            raise ModelError(f"{path}: its model-local functions cannot be inlined: {_first_line(error)}") from None
    _fix_inputs(proto.graph, dict(shapes or {}), path)
    _sort(proto.graph, path)
    _drop_unused(proto.graph)
    _expand_fused(proto, path)
    # Before this version every initializer had to be listed as an input, which they no longer are.
    proto.ir_version = max(proto.ir_version, 4)
    graph = _to_graph(proto, path)
    graph.check()
    _clear_equal_names(proto.graph)
    del proto.graph.value_info[:]
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    try:
        whole = proto.SerializeToString()
    except Exception as error:
        raise ModelError(f"{path}: a model of over 2 GB is too large to be read: {_first_line(error)}") from None
    return Model(path, hashlib.sha256(content).hexdigest(), weights, graph, producer, metadata, whole)


@dataclass(frozen=True)
class Interface:
    """What a model takes and makes, as its file declares it.

    ``inputs``: those that are no initializers, a string for every dimension that is left open, None for a shape that
    is not declared. ``outputs``: in the file's order. ``tensors``: what its nodes make.
    """

    inputs: Mapping[str, Value]
    outputs: tuple[str, ...]
    tensors: frozenset[str]


def read_interface(path: str | os.PathLike[str]) -> Interface:
    """Look at what a model takes and makes, without judging it.

    Raises InputError or ModelError as :func:`read_model` if the file cannot be read.
    """
    graph = _read(Path(path))[1].graph
    return Interface(
        {value.name: _value(value) for value in _real_inputs(graph)},
        tuple(value.name for value in graph.output),
        frozenset(name for node in graph.node for name in node.output if name),
    )


def self_contained(path: str | os.PathLike[str]) -> tuple[bytes, str, str]:
    """An ONNX file as it is, but for weights in external files, which become part of it: to be read elsewhere.

    With it come the hashes that a :class:`Model` has of it, of the file and of external weights. Raises InputError or
    ModelError as :func:`read_model`.
    """
    path = Path(path)
    content, proto = _read(path)
    sha256, weights = hashlib.sha256(content).hexdigest(), _load_external(proto, path)
    if not weights:
        return content, sha256, weights
    try:
        return bytes(proto.SerializeToString()), sha256, weights
    except Exception as error:
        raise ModelError(f"{path}: a model of over 2 GB cannot be sent elsewhere: {_first_line(error)}") from None


def _read(path: Path) -> tuple[bytes, ModelProto]:
    """A file's bytes, and the model that they are."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the model file {path}: {error.strerror or error}") from None
    return content, _parse(content, path)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _parse(content: bytes, path: Path) -> ModelProto:
    advice = "export it again, or check that the download is complete"
    if not content:
        raise ModelError(f"{path} is empty, not an ONNX model: {advice}")
    try:
        proto = onnx.load_model_from_string(content)
    except Exception:
        raise ModelError(f"{path} is not an ONNX model (its bytes are no ONNX protobuf): {advice}") from None
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{path} is not an ONNX model (it holds no graph): {advice}")
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    opset = opsets.get("ai.onnx")
    if opset is not None and opset < MINIMUM_OPSET:
        raise ModelError(
            f"{path} uses opset {opset}; lronnx reads opset {MINIMUM_OPSET} and later: "
            "convert it with onnx.version_converter"
        )
    return proto


def _load_external(proto: ModelProto, path: Path) -> str:
    """Embed external weights; returns their hash, '' if there are none.

    Files outside the model's folder are refused: a model must not read them.
    """
    folder = path.resolve().parent
    found, digest = False, hashlib.sha256()
    for tensor in _tensors(proto.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        target = (folder / location).resolve()
        if not location or folder not in target.parents:
            raise ModelError(
                f"{path}: the weights of '{tensor.name}' lie outside the model's folder ({location!r}); "
                "put the data file beside the model"
            )
        if not target.is_file():
            raise ModelError(
                f"{path}: the external data file {location!r} of '{tensor.name}' is missing beside the model"
            )
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:
            raise ModelError(f"{path}: external data of '{tensor.name}': {_first_line(error)}") from None
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
        found = True
        digest.update(f"{tensor.name}\0{len(tensor.raw_data)}\0".encode())
        digest.update(tensor.raw_data)
    return digest.hexdigest() if found else ""


def _tensors(graph: GraphProto) -> list[TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                found.append(attribute.t)
            elif attribute.type == AttributeProto.TENSORS:
                found.extend(attribute.tensors)
            elif attribute.type == AttributeProto.GRAPH:
                found.extend(_tensors(attribute.g))
    return found


def _real_inputs(graph: GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are no initializers."""
    known = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    return [value for value in graph.input if value.name not in known]


def _fix_inputs(graph: GraphProto, shapes: dict[str, Sequence[int]], path: Path) -> None:
    """Take initializers out of the inputs, and give every input a static shape."""
    real = _real_inputs(graph)
    names = {value.name for value in real}
    for value in list(graph.input):
        if value.name not in names:
            graph.input.remove(value)
    unknown = sorted(set(shapes) - names)
    if unknown:
        raise InputError(f"{path} has no input named {', '.join(unknown)}; it has {[value.name for value in real]}")
    for value in real:
        if not value.type.HasField("tensor_type"):
            raise ModelError(f"{path}: the input '{value.name}' is no tensor; lronnx analyses tensor inputs only")
        tensor_type = value.type.tensor_type
        declared = list(tensor_type.shape.dim) if tensor_type.HasField("shape") else None
        given = shapes.get(value.name)
        if declared is None and given is None:
            raise InputError(
                f"{path} declares no shape for its input '{value.name}'; "
                f"give it: --shape {value.name}=1x3x32x32 (or shapes= in Python)",
                _value(value),
            )
        if given is not None and declared is not None and len(given) != len(declared):
            raise InputError(
                f"the input '{value.name}' has {len(declared)} dimensions, "
                f"the given shape {tuple(given)} has {len(given)}"
            )
        if given is not None and any(int(size) < 1 for size in given):
            raise InputError(f"the given shape {tuple(given)} of '{value.name}' has a size that is not at least 1")
        if declared is None:
            assert given is not None
            declared = [tensor_type.shape.dim.add() for _ in given]
        free: list[str] = []
        as_declared = _value(value)
        for axis, dim in enumerate(declared):
            fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
            if given is not None:
                if fixed is not None and fixed != given[axis]:
                    raise InputError(
                        f"the input '{value.name}' has size {fixed} on axis {axis}, the given shape has {given[axis]}"
                    )
                dim.dim_value = int(given[axis])
            elif fixed is None and axis == 0:
                dim.dim_value = 1
            elif fixed is None:
                free.append(dim.dim_param or "?")
        if free:
            raise InputError(
                f"the input '{value.name}' of {path} has free dimensions {', '.join(free)} besides the batch; "
                f"fix them: --shape {value.name}=1x3x32x32 (or shapes= in Python)",
                as_declared,
            )


def _sort(graph: GraphProto, path: Path) -> None:
    """Put nodes in topological order, keeping the file's order where it is one."""
    producer: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and name in producer:
                raise ModelError(f"{path}: tensor '{name}' is defined by two nodes (#{producer[name]} and #{index})")
            if name:
                producer[name] = index
    order = nx.DiGraph()
    order.add_nodes_from(range(len(graph.node)))
    for index, node in enumerate(graph.node):
        for name in _used(node):
            if name in producer:
                order.add_edge(producer[name], index)
    try:
        sequence = list(nx.lexicographical_topological_sort(order))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(order)]
        names = ", ".join(f"#{i} [{graph.node[i].op_type}] -> {graph.node[i].output[0]}" for i in cycle[:5])
        raise ModelError(f"{path}: the graph has a cycle through {names}") from None
    if sequence != list(range(len(graph.node))):
        _set_nodes(graph, [graph.node[index] for index in sequence])


def _set_nodes(graph: GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Keep these of the graph's nodes, in this order."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def _clear_equal_names(graph: GraphProto) -> None:
    """Take the names of nodes away that are not unique: onnxruntime refuses a model for them, and needs none."""
    counts = Counter(node.name for node in graph.node)
    for node in graph.node:
        if counts[node.name] > 1:
            node.name = ""


def _drop_unused(graph: GraphProto) -> None:
    """Forget initializers that nothing reads: what they hold does not matter, and runtimes stumble over some."""
    used = {name for node in graph.node for name in _used(node)} | {value.name for value in graph.output}
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)


def _expand_fused(proto: ModelProto, path: Path) -> None:
    """Replace the nodes that onnxruntime fused by the plain ones that they stand for."""
    if all(node.domain != fused.DOMAIN for node in proto.graph.node):
        return
    names = {name for node in proto.graph.node for name in (*node.input, *node.output)}

    def fresh(hint: str) -> str:
        numbered = (f"{hint}_{i}" for i in itertools.count())
        name = next(n for n in itertools.chain([hint], numbered) if n not in names)
        names.add(name)
        return name

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(proto.graph.node):
        if node.domain != fused.DOMAIN:
            nodes.append(node)
            continue
        held = _node(index, node, node.name, path)
        parts = fused.expand(held, opset, fresh)
        nodes += [node] if parts[0] is held else [_to_proto(part, part.name) for part in parts]
    _set_nodes(proto.graph, nodes)


def _used(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads, those that its subgraphs capture included."""
    return [name for name in node.input if name] + _captured(node)


def _captured(node: onnx.NodeProto) -> list[str]:
    """The tensors that the subgraphs of a node read without making them, each once."""
    names: dict[str, None] = {}
    for attribute in node.attribute:
        subgraphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        for subgraph in subgraphs:
            own = {value.name for value in subgraph.input} | {tensor.name for tensor in subgraph.initializer}
            own |= {name for inner in subgraph.node for name in inner.output}
            read = [name for inner in subgraph.node for name in _used(inner)]
            read += [value.name for value in subgraph.output]
            names.update((name, None) for name in read if name not in own)
    return list(names)


def _to_graph(proto: ModelProto, path: Path) -> Graph:
    graph = proto.graph
    values: dict[str, Value] = {}
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type"):
            values[value.name] = _value(value)
    constants: dict[str, Array] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise ModelError(f"{path}: two initializers are named '{tensor.name}'")
        try:
            array = _to_array(tensor)
        except Exception as error:
            raise ModelError(f"{path}: the initializer '{tensor.name}' is damaged: {_first_line(error)}") from None
        constants[tensor.name] = array
        values[tensor.name] = Value(tensor.name, array.dtype.name, array.shape)
    for sparse in graph.sparse_initializer:
        raise ModelError(f"{path}: the sparse initializer '{sparse.values.name}' is not supported; store it dense")
    labels = _labels(graph)
    nodes = tuple(_node(index, node, labels[index], path) for index, node in enumerate(graph.node))
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    return Graph(
        graph.name,
        tuple(value.name for value in graph.input),
        tuple(value.name for value in graph.output),
        nodes,
        constants,
        values,
        opsets,
    )


def _to_array(tensor: TensorProto) -> Array:
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind == "V" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array


def check_finite(array: Array, what: str, *, infinite: bool = False) -> None:
    """Raise ModelError if a floating-point array holds NaN, or infinities where they are not allowed."""
    if array.dtype.kind != "f":
        return
    good = ~np.isnan(array) if infinite else np.isfinite(array)
    if not good.all():
        bad = np.argwhere(~np.atleast_1d(good))[0]
        value = np.atleast_1d(array)[tuple(bad)]
        raise ModelError(f"{what} holds {value} at index {tuple(int(i) for i in bad)}; its weights must be finite")


def _value(value: onnx.ValueInfoProto) -> Value:
    tensor_type = value.type.tensor_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor_type.elem_type).name
    except Exception:
        dtype = "unknown"
    shape = None
    if tensor_type.HasField("shape"):
        shape = tuple(
            int(dim.dim_value) if dim.HasField("dim_value") else (dim.dim_param or "?") for dim in tensor_type.shape.dim
        )
    return Value(value.name, dtype, shape)


def _labels(graph: GraphProto) -> list[str]:
    """A label for every node, no two alike: its name, or else its operator and what it makes."""
    counts = Counter(node.name for node in graph.node)
    taken = {name for name, count in counts.items() if name and count == 1}
    labels: list[str] = []
    for index, node in enumerate(graph.node):
        if node.name in taken:
            labels.append(node.name)
            continue
        label = f"{node.op_type}:{next((name for name in node.output if name), index)}"
        while label in taken:
            label += "'"
        taken.add(label)
        labels.append(label)
    return labels


def _node(index: int, node: onnx.NodeProto, label: str, path: Path) -> Node:
    """A node of the IR. What its subgraphs capture counts as inputs behind its own: it depends on these as well."""
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH or attribute.type == AttributeProto.GRAPHS:
            attributes[attribute.name] = "(subgraph)"
            continue
        try:
            attributes[attribute.name] = _attribute(attribute)
        except Exception as error:
            raise ModelError(
                f"{path}: node {label} [{node.op_type}], attribute '{attribute.name}': {_first_line(error)}"
            ) from None
    domain = "" if node.domain == "ai.onnx" else node.domain
    return Node(
        index,
        node.name,
        label,
        domain,
        node.op_type,
        (*node.input, *_captured(node)),
        tuple(node.output),
        freeze(attributes),
    )


def _attribute(attribute: AttributeProto) -> Attribute:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TensorProto):
        return _to_array(value)
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple) or hasattr(value, "__iter__"):
        items = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value]
        return tuple(items)
    return str(value)


def has_schema(node: Node, opset: int) -> bool:
    """Whether the ONNX standard defines this operator (of the standard's own domains) at this opset."""
    try:
        onnx.defs.get_schema(node.op_type, opset, node.domain)
    except Exception:
        return False
    return True


def _to_proto(node: Node, name: str) -> onnx.NodeProto:
    made = helper.make_node(node.op_type, node.inputs, node.outputs, name, domain=node.domain)
    for key, attribute in node.attributes.items():
        held = numpy_helper.from_array(attribute) if isinstance(attribute, np.ndarray) else attribute
        made.attribute.append(helper.make_attribute(key, held))
    return made


def to_bytes(graph: Graph, *, description: str = "", dynamic: str = "lanes") -> bytes:
    """Serialize a graph as an ONNX model. String dimensions become symbolic ones.

    Raises ModelError if the ONNX checker rejects the result.
    """
    infos = []
    for name in (*graph.inputs, *graph.outputs):
        value = graph.values[name]
        element = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        infos.append(helper.make_tensor_value_info(name, element, value.shape))
    nodes = [_to_proto(node, node.label) for node in graph.nodes]
    initializers = [numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in graph.constants.items()]
    proto_graph = helper.make_graph(
        nodes, graph.name, infos[: len(graph.inputs)], infos[len(graph.inputs) :], initializers
    )
    opsets = [helper.make_opsetid("" if d == "ai.onnx" else d, v) for d, v in graph.opsets.items()]
    model = helper.make_model(
        proto_graph, opset_imports=opsets, ir_version=PROGRAM_IR, producer_name="lronnx", doc_string=description
    )
    # The checker wants every output's rank, which a runtime does not; and it cannot take models of over 2 GB.
    ranked = all(graph.values[name].shape is not None for name in graph.outputs)
    if ranked and math.fsum(a.nbytes for a in graph.constants.values()) < 2**30:
        try:
            onnx.checker.check_model(model)
        except Exception as error:
            raise ModelError(
                f"the program that was made of the model is not valid ONNX: {_first_line(error)}"
            ) from None
    return bytes(model.SerializeToString())


def expose(model: bytes, outputs: Sequence[str], *, prune: bool = False) -> bytes:
    """The same model with ``outputs`` (names of any tensors in it, of unknown shape and type) as its outputs.

    ``prune``: without the nodes that these do not need.
    """
    proto = onnx.load_model_from_string(model)
    if prune:
        needed, nodes = set(outputs), []
        for node in reversed(proto.graph.node):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(_used(node))
        _set_nodes(proto.graph, nodes[::-1])
    kept = {value.name: value for value in proto.graph.output}
    infos = []
    for name in outputs:
        info = onnx.ValueInfoProto()
        info.CopyFrom(kept[name]) if name in kept else None
        info.name = name
        # Declared output shapes are often wrong once the batch is fixed: leave the rank open.
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
        infos.append(info)
    del proto.graph.output[:]
    proto.graph.output.extend(infos)
    return bytes(proto.SerializeToString())
