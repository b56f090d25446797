"""What people do to a model between its export and its use, applied to one and compared with it region by region.

``python -m models.transformations MODEL.onnx --points FILE -o DIR`` writes ``DIR/NAME.onnx`` for each of
:data:`TRANSFORMATIONS`, has ``lronnx compare`` compare it with the model along the path through the points, and prints
a table: which transformations leave the linear regions alone, how far the others move them, and which make a network
that has none. ``DIR/transformations.md`` is that table, ``DIR/transformations.json`` has it with all that ``lronnx
compare`` told.

Each transformation is a function from a file to a file, whose docstring has the lines that do it without this module.
"""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console

from models.files import write_whole

JSON, MARKDOWN = "transformations.json", "transformations.md"
# lronnx reads models from this opset on.
LOWEST_OPSET = 7
# Exit codes of lronnx.
_DONE, _NOT_PIECEWISE_AFFINE, _SELF_CHECK_FAILED = 0, 3, 5

Array = NDArray[Any]


class NotApplicable(Exception):
    """A transformation has nothing to do in this model, or cannot do it; the text says why."""


class Refused(click.ClickException):
    """An error that is the user's to mend: the message alone, and exit code 2."""

    exit_code = 2


# ---- simplification and optimization


def simplify(model: Path, made: Path) -> str:
    """Fold constants and BatchNormalization and remove nodes that do nothing, with onnxsim.

    On the command line: ``onnxsim model.onnx simplified.onnx``.
    """
    import onnxsim

    simplified, same = onnxsim.simplify(onnx.load(model))
    if not same:
        raise NotApplicable("onnxsim's own check of what it made failed")
    onnx.save(simplified, made)
    return ""


def slim(model: Path, made: Path) -> str:
    """Fold constants and BatchNormalization and remove nodes that do nothing, with onnxslim.

    On the command line: ``onnxslim model.onnx slim.onnx``.
    """
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(model)), made)
    return ""


def optimize(model: Path, made: Path) -> str:
    """Fold constants and BatchNormalization, inline functions and rewrite nodes with onnxscript's optimizer.

    In Python: ``onnx.save(onnxscript.optimizer.optimize(onnx.load("model.onnx")), "optimized.onnx")``.
    """
    from onnxscript import optimizer

    onnx.save(optimizer.optimize(onnx.load(model)), made)
    return ""


def optimize_basic(model: Path, made: Path) -> str:
    """Let onnxruntime save the model as it is after what it optimizes for every processor alike.

    In Python::

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = "optimized.onnx"
        onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
    """
    return _optimize_offline("ORT_ENABLE_BASIC", model, made)


def optimize_extended(model: Path, made: Path) -> str:
    """Let onnxruntime fuse layers with their activations, too; as :func:`optimize_basic`, ``ORT_ENABLE_EXTENDED``."""
    return _optimize_offline("ORT_ENABLE_EXTENDED", model, made)


def optimize_portably(model: Path, made: Path) -> str:
    """Let onnxruntime optimize all it can but for what ties the file to one kind of processor.

    As :func:`optimize_basic`, with ``ORT_ENABLE_ALL``, and with ``disabled_optimizers=["NchwcTransformer"]`` for the
    session.
    """
    return _optimize_offline("ORT_ENABLE_ALL", model, made, disabled_optimizers=["NchwcTransformer"])


def optimize_all(model: Path, made: Path) -> str:
    """Let onnxruntime optimize all it can; as :func:`optimize_basic`, ``ORT_ENABLE_ALL``, which is the default.

    On x86 that lays out channels and weights in blocks of 8 or 16 as the processor likes it, which the file does not
    tell: only a machine of the same kind may run it, as onnxruntime warns.
    """
    return _optimize_offline("ORT_ENABLE_ALL", model, made)


def _optimize_offline(level: str, model: Path, made: Path, **options: Any) -> str:
    import onnxruntime

    session = onnxruntime.SessionOptions()
    session.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session.optimized_model_filepath = str(made)
    session.log_severity_level = 3  # without the warning that the file is for this machine
    # Not the file: what is saved would go on to refer to weights outside it, in the folder of this one.
    whole = onnx.load(model).SerializeToString()
    onnxruntime.InferenceSession(whole, session, providers=["CPUExecutionProvider"], **options)
    return ""


# ---- BatchNormalization


def fold_batch_norm(model: Path, made: Path) -> str:
    """Put each BatchNormalization into the Conv, ConvTranspose or Gemm whose output it normalizes, see :func:`fold`.

    In Python, from a clone::

        model = onnx.load("model.onnx")
        models.transformations.fold(model)
        onnx.save(model, "folded.onnx")
    """
    proto = onnx.load(model)
    count = sum(_is(node, "BatchNormalization") for node in proto.graph.node)
    if not count:
        raise NotApplicable("the model has no BatchNormalization node: its exporter may have folded them")
    folded = fold(proto)
    if not folded:
        raise NotApplicable("no BatchNormalization normalizes what a Conv, ConvTranspose or Gemm makes for it alone")
    onnx.save(proto, made)
    return f"{folded} of {count}"


def fold(model: ModelProto) -> int:
    """Fold BatchNormalization nodes into the layers in front of them, in place; returns how many.

    With ``s = scale / sqrt(var + epsilon)`` for each output channel, ``s (W x + b - mean) + shift`` is ``(s W) x +
    (s (b - mean) + shift)``. The weights and biases in brackets are computed in float64 from the stored numbers and
    rounded once, to the type of the weights. A float32 weight is then the one nearest to the exact value, as far as
    float64 can tell which is (relative error 2^-24 and some 2^-51); of a bias, which may cancel, the 2^-51 is
    relative to its terms.

    Folded is what is in inference mode and has constant parameters, where nothing but the normalization reads what the
    layer makes. The rest stays, as does what is in subgraphs. Inputs that have an initializer count as constants.
    """
    _own_weights(model)
    graph = model.graph
    constants = _constants(graph)
    uses = Counter([*(name for node in graph.node for name in _reads(node)), *(value.name for value in graph.output)])
    producers = {name: node for node in graph.node for name in node.output}
    names = {*_tensors(graph)}
    folded = []
    for normalization in graph.node:
        factors = _scale_and_shift(normalization, constants)
        layer = producers.get(normalization.input[0]) if factors is not None else None
        if factors is None or layer is None or uses[layer.output[0]] != 1:
            continue
        weights = _folded_weights(layer, constants, *factors)
        if weights is None:
            continue
        del layer.input[1:]
        for role, array in zip(("weight", "bias"), weights, strict=True):
            name = _fresh(f"{normalization.output[0]}/{role}", names)
            graph.initializer.append(numpy_helper.from_array(array, name))
            constants[name] = array
            layer.input.append(name)
        layer.output[0] = normalization.output[0]
        producers[layer.output[0]] = layer
        folded.append(normalization)
    for normalization in folded:
        graph.node.remove(normalization)
    _drop_unused(graph)
    return len(folded)


def _scale_and_shift(node: NodeProto, constants: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """What a BatchNormalization multiplies each channel by and then adds, float64; None if it is none to be folded."""
    if not _is(node, "BatchNormalization") or sum(map(bool, node.output)) != 1:
        return None
    # Until opset 8 there could be parameters for every position, not for every channel.
    if _attribute(node, "training_mode", 0) or not _attribute(node, "spatial", 1):
        return None
    if not all(name in constants for name in node.input[1:5]):
        return None
    scale, shift, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:5])
    spread = variance + float(np.float32(_attribute(node, "epsilon", 1e-5)))
    if not (spread > 0).all():
        return None
    factor = scale / np.sqrt(spread)
    return factor, shift - mean * factor


def _folded_weights(
    layer: NodeProto, constants: Mapping[str, Array], factor: Array, term: Array
) -> tuple[Array, Array] | None:
    """Weights and biases of a layer whose output channels are scaled by ``factor``, then shifted by ``term``.

    None if it is no such layer. The attribute ``beta`` of a Gemm becomes part of its biases.
    """
    if not any(_is(layer, kind) for kind in ("Conv", "ConvTranspose", "Gemm")):
        return None
    if not all(name in constants for name in layer.input[1:] if name):
        return None
    weights = constants[layer.input[1]]
    if weights.dtype.kind != "f":
        return None
    bias = constants[layer.input[2]].astype(np.float64) if len(layer.input) > 2 and layer.input[2] else np.zeros(1)
    wide = weights.astype(np.float64)
    if _is(layer, "Conv"):
        wide *= factor.reshape(-1, *[1] * (wide.ndim - 1))
    elif _is(layer, "ConvTranspose"):
        # (inputs, outputs of one group, ...), the inputs of one group after those of another.
        groups = _attribute(layer, "group", 1)
        grouped = wide.reshape(groups, len(wide) // groups, *wide.shape[1:])
        wide = (grouped * factor.reshape(groups, 1, -1, *[1] * (wide.ndim - 2))).reshape(wide.shape)
    else:
        wide *= factor.reshape(-1, 1) if _attribute(layer, "transB", 0) else factor
        bias = bias * float(np.float32(_attribute(layer, "beta", 1.0)))
        kept = [attribute for attribute in layer.attribute if attribute.name != "beta"]
        del layer.attribute[:]
        layer.attribute.extend(kept)
    return wide.astype(weights.dtype), (bias * factor + term).astype(weights.dtype)


# ---- versions and names


def raise_opset(model: Path, made: Path) -> str:
    """Convert to the newest opset that onnx knows how to and onnxruntime runs.

    In Python: ``onnx.save(onnx.version_converter.convert_version(onnx.load("model.onnx"), 21), "opset21.onnx")``.
    """
    return _convert_opset(model, made, lambda opset: range(onnx.defs.onnx_opset_version(), opset, -1))


def lower_opset(model: Path, made: Path) -> str:
    """Convert to the oldest opset that onnx knows how to, but none that lronnx does not read.

    As :func:`raise_opset`, with a smaller number.
    """
    return _convert_opset(model, made, lambda opset: range(LOWEST_OPSET, opset))


def _convert_opset(model: Path, made: Path, candidates: Callable[[int], range]) -> str:
    import onnxruntime
    from onnx import version_converter

    proto = onnx.load(model)
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    reason = f"it is of opset {opset} already"
    for target in candidates(opset):
        try:
            converted = version_converter.convert_version(proto, target)
            onnx.checker.check_model(converted, full_check=True)
            onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception as error:  # the converter, the checker and onnxruntime have no base in common
            reason = f"to none, the last that was tried is {target}: {_first_line(error)}"
            continue
        onnx.save(converted, made)
        return f"{opset} to {target}"
    raise NotApplicable(reason)


def rename(model: Path, made: Path) -> str:
    """Give every tensor and node another name, inputs and outputs included.

    In Python: ``onnx.save(onnx.compose.add_prefix(onnx.load("model.onnx"), "renamed/"), "renamed.onnx")``.
    """
    from onnx import compose

    onnx.save(compose.add_prefix(onnx.load(model), "renamed/"), made)
    return ""


def externalize(model: Path, made: Path) -> str:
    """Put the weights, all tensors of 1024 bytes or more, into a file beside the model.

    In Python: ``onnx.save(onnx.load("model.onnx"), "external.onnx", save_as_external_data=True, location="weights")``.
    """
    weights = made.with_name(f"{made.name}.data")
    weights.unlink(missing_ok=True)  # some releases of onnx append to it
    onnx.save(onnx.load(model), made, save_as_external_data=True, location=weights.name)
    return ""


# ---- fewer bits


def store_float16(model: Path, made: Path) -> str:
    """Store the weights in float16 and compute in float32, see :func:`halve_weights`.

    In Python, from a clone::

        model = onnx.load("model.onnx")
        models.transformations.halve_weights(model)
        onnx.save(model, "float16_weights.onnx")
    """
    proto = onnx.load(model)
    if not (count := halve_weights(proto)):
        raise NotApplicable("no initializer is of float32")
    onnx.save(proto, made)
    return f"{count} tensors"


def halve_weights(model: ModelProto) -> int:
    """Make every float32 initializer a float16 one that is cast to float32, in place; returns how many.

    Each number becomes the float16 nearest to it. Weights in nodes (Constant) and in subgraphs stay.

    Raises:
        NotApplicable: a number is too large for float16; the model is then half done.
    """
    _own_weights(model)
    graph = model.graph
    names = {*_tensors(graph)}
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halved = array.astype(np.float16)
        if not np.isfinite(halved).all():
            largest = np.abs(array).max()
            raise NotApplicable(f"the initializer '{tensor.name}' holds {largest:g}: float16 ends at 65504")
        stored = _fresh(f"{tensor.name}/float16", names)
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(halved, stored))
    nodes = [*casts, *graph.node]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return len(casts)


def convert_float16(model: Path, made: Path) -> str:
    """Make all of the network float16, weights and operators, with float32 inputs and outputs, by onnxruntime's tool.

    In Python::

        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load("model.onnx"), keep_io_types=True), "float16.onnx")

    The tool also moves weights that are closer to zero than 6e-8 away from it, to 6e-8.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), made)
    return ""


def quantize_dynamically(model: Path, made: Path) -> str:
    """Quantize weights to 8 bits, and activations by their range in each run.

    In Python: ``onnxruntime.quantization.quantize_dynamic("model.onnx", "quantized.onnx")``.
    """
    from onnxruntime import quantization

    quantization.quantize_dynamic(_without_shapes(model), made)
    return ""


def quantize_statically(model: Path, made: Path) -> str:
    """Quantize weights and activations to 8 bits, with scales from calibration inputs, as QuantizeLinear nodes (QDQ).

    In Python, with a ``CalibrationDataReader`` whose ``get_next`` gives one feed after another, then None:
    ``onnxruntime.quantization.quantize_static("model.onnx", "quantized.onnx", reader)``. Here the feeds are 16 random
    inputs from 0 to 1: how good the scales are does not matter to whether there are linear regions.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self, feeds: Sequence[dict[str, Array]]) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feeds, None)

    proto = onnx.load(model)
    _own_weights(proto)
    random = np.random.default_rng(0)
    feeds = []
    for _ in range(16):
        feed = {}
        for value in proto.graph.input:
            kind = value.type.tensor_type
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            feed[value.name] = random.random([dim.dim_value or 1 for dim in kind.shape.dim]).astype(dtype)
        feeds.append(feed)
    quantization.quantize_static(_without_shapes(model), made, Reader(feeds))
    return ""


def _without_shapes(model: Path) -> ModelProto:
    """A model without the shapes of what is inside: some releases transpose a Gemm's weights and leave theirs."""
    proto = onnx.load(model)
    del proto.graph.value_info[:]
    return proto


@dataclass(frozen=True)
class Transformation:
    """One thing that people do to a model.

    ``tool``: the package that does it, '' if it is this module. ``apply``: reads the first file, writes the second, and
    returns what is worth knowing about it, '' if nothing is. It raises NotApplicable, and whatever the tool raises.
    """

    name: str
    tool: str
    apply: Callable[[Path, Path], str]


TRANSFORMATIONS = (
    Transformation("renamed", "onnx", rename),
    Transformation("external-data", "onnx", externalize),
    Transformation("opset-down", "onnx", lower_opset),
    Transformation("opset-up", "onnx", raise_opset),
    Transformation("batchnorm-folded", "", fold_batch_norm),
    Transformation("onnxsim", "onnxsim", simplify),
    Transformation("onnxslim", "onnxslim", slim),
    Transformation("onnxscript", "onnxscript", optimize),
    Transformation("onnxruntime-basic", "onnxruntime", optimize_basic),
    Transformation("onnxruntime-extended", "onnxruntime", optimize_extended),
    Transformation("onnxruntime-portable", "onnxruntime", optimize_portably),
    Transformation("onnxruntime-all", "onnxruntime", optimize_all),
    Transformation("float16-weights", "", store_float16),
    Transformation("float16", "onnxruntime", convert_float16),
    Transformation("int8-dynamic", "onnxruntime", quantize_dynamically),
    Transformation("int8-static", "onnxruntime", quantize_statically),
)


# ---- models as protobufs


def _is(node: NodeProto, kind: str) -> bool:
    return bool(node.op_type == kind and node.domain in ("", "ai.onnx"))


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _own_weights(model: ModelProto) -> None:
    """Take initializers out of the inputs, where old exporters list them, so that they are constants."""
    held = {tensor.name for tensor in model.graph.initializer}
    for value in list(model.graph.input):
        if value.name in held:
            model.graph.input.remove(value)
    # Before this version they had to be listed there.
    model.ir_version = max(model.ir_version, 4)


def _constants(graph: GraphProto) -> dict[str, Array]:
    """The content of initializers and of Constant nodes that hold a tensor."""
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if _is(node, "Constant") and isinstance(value := _attribute(node, "value", None), TensorProto):
            held[node.output[0]] = value
    return {name: numpy_helper.to_array(tensor) for name, tensor in held.items()}


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _reads(node: NodeProto) -> Iterator[str]:
    """The tensors that a node reads, and every name that occurs in its subgraphs, which may be one of them."""
    yield from node.input
    for subgraph in _subgraphs(node):
        yield from _tensors(subgraph)


def _tensors(graph: GraphProto) -> Iterator[str]:
    """Every name that occurs in a graph or its subgraphs, as often as it does."""
    yield from (one.name for one in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from _reads(node)
        yield from node.output


def _fresh(hint: str, names: set[str]) -> str:
    """A name that is not in use; it is then."""
    while hint in names:
        hint += "'"
    names.add(hint)
    return hint


def _drop_unused(graph: GraphProto) -> None:
    """Forget initializers that nothing reads, and types of tensors that are no longer made."""
    read = {*(name for node in graph.node for name in _reads(node)), *(value.name for value in graph.output)}
    made = {name for node in graph.node for name in node.output}
    for described, kept in ((graph.initializer, read), (graph.value_info, made)):
        for one in list(described):
            if one.name not in kept:
                described.remove(one)


# ---- applying and comparing


@dataclass(frozen=True)
class Row:
    """One transformation of one model, and what came of it.

    ``version``: of the tool. ``nodes``: of the model and of what was made of it. ``outcome``: ``compared``;
    ``refused``, not piecewise affine; ``not applied``; or ``failed``, the comparison did, or its self-check. ``reason``
    of all but the first, ``comparison``: what ``lronnx compare --json`` printed, of the first and maybe the last.
    """

    name: str
    tool: str
    version: str
    note: str
    file: str | None
    nodes: tuple[int, int | None]
    outcome: str
    reason: str
    comparison: dict[str, Any] | None

    @property
    def pair(self) -> dict[str, Any]:
        """The comparison's one pair; empty if there is none."""
        return {} if self.comparison is None else dict(self.comparison["pairs"][0])


def transform(
    transformations: Sequence[Transformation],
    model: Path,
    folder: Path,
    compare: Callable[[Path], tuple[str, str, dict[str, Any] | None]],
    report: Callable[[str], object] = lambda name: None,
) -> list[Row]:
    """Apply transformations, each to the same model; ``compare`` gives outcome, reason and comparison of a file made.

    ``report`` is called with the name of each before it is applied.

    Raises:
        OSError: the folder cannot be written to.
    """
    count = len(onnx.load(model).graph.node)
    rows = []
    for one in transformations:
        report(one.name)
        made = folder / f"{one.name}.onnx"
        made.unlink(missing_ok=True)
        version = note = ""
        try:
            if one.tool:
                version = str(importlib.import_module(one.tool).__version__).removeprefix("v")
            with _quiet():
                note = one.apply(model, made)
            nodes = len(onnx.load(made, load_external_data=False).graph.node)
        except OSError:
            raise
        except Exception as error:  # tools raise what they like
            reason = _why(error)
            made.unlink(missing_ok=True)  # half of it may be there
            rows.append(Row(one.name, one.tool, version, note, None, (count, None), "not applied", reason, None))
        else:
            rows.append(Row(one.name, one.tool, version, note, made.name, (count, nodes), *compare(made)))
    return rows


def _why(error: Exception) -> str:
    if isinstance(error, NotApplicable):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is not installed: pip install '.[transformations]'"
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what tools tell about their progress, and advise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def compare(model: Path, made: Path, options: Sequence[str]) -> tuple[str, str, dict[str, Any] | None]:
    """Outcome, reason and result of ``lronnx compare``, as in :class:`Row`; ``options`` are its own."""
    # Of one path no more than one worker can do anything.
    given = ["--json", "--workers", "1", *options]
    command = [sys.executable, "-m", "lronnx", "compare", str(model), str(made), *given]
    done = subprocess.run(command, capture_output=True, text=True)
    # In front of it there may be notices.
    _, _, error = f"\n{done.stderr}".rpartition("\nError: ")
    error = (error or done.stderr).strip().replace(str(made), made.name)
    if done.returncode == _DONE:
        return "compared", "", dict(json.loads(done.stdout))
    if done.returncode == _NOT_PIECEWISE_AFFINE:
        return "refused", error, None
    if done.returncode == _SELF_CHECK_FAILED:
        return "failed", f"the self-check failed: {error}", dict(json.loads(done.stdout))
    return "failed", f"lronnx compare ended with exit code {done.returncode}: {error}", None


# ---- the table


_HEAD = (
    "transformation",
    "tool",
    "nodes",
    "verdict",
    "rounding",
    "largest difference",
    "relative",
    "breakpoints",
    "largest move",
    "median move",
    "unmatched",
)


def _cells(row: Row) -> list[str]:
    pair = row.pair
    name = f"{row.name} ({row.note})" if row.note else row.name
    nodes = str(row.nodes[0]) if row.nodes[1] is None else f"{row.nodes[0]} → {row.nodes[1]}"
    cells = [name, f"{row.tool} {row.version}".strip() or "own", nodes]
    if not pair:
        return [*cells, row.outcome, *[""] * (len(_HEAD) - 4)]
    verdict = pair["verdict"] if row.outcome == "compared" else f"{pair['verdict']} ({row.outcome})"
    largest, size = pair["largest_difference"], pair["size"]
    return [
        *cells,
        verdict,
        pair["rounding"] or "no",
        _short(largest),
        _short(largest / size if size else None),
        " / ".join(f"{count:,}" for count in pair["breakpoints"]),
        _short(pair["largest_move"]),
        _short(pair["median_move"]),
        f"{sum(pair['switches']) - 2 * pair['matched_switches']:,}",
    ]


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.1e}" if number else "0"


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown that can be read as it is; below it, why some are not compared."""
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    lines = [line(_HEAD), line(["-" * width for width in widths]), *(line(cells) for cells in table[1:])]
    reasons = [f"- {row.name}: {row.outcome}: {_briefly(row.reason)}" for row in rows if row.reason]
    return "\n".join([*lines, *(["", *reasons] if reasons else [])]) + "\n"


def _briefly(reason: str) -> str:
    """A reason in one line: of the nodes that it lists, indented, the first; without its end, which is how to go on."""
    told, nodes = [], 0
    for line in reason.splitlines():
        if line.startswith(" "):
            nodes += 1
            if nodes > 1:
                continue
        told.append(line.strip())
    if nodes:
        told = told[:-1] if len(told) > 2 else told
        told[1] += f" (and {nodes - 1} more)" if nodes > 1 else ""
    return ": ".join(told[:2]) + "".join(f"; {line}" for line in told[2:])


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--points", metavar="FILE", help="The path: an array with its points along the first axis.")
@click.option("--closed", is_flag=True, help="Go on from the last point back to the first.")
@click.option("--start", metavar="FILE", help="The path: from this point, an array or an image ...")
@click.option("--end", metavar="FILE", help="... to this one.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([one.name for one in TRANSFORMATIONS]),
    metavar="NAME",
    help=f"Apply this one alone; may be repeated: {', '.join(one.name for one in TRANSFORMATIONS)}.",
)
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the models and the table.",
)
def main(
    model: Path,
    points: str | None,
    closed: bool,
    start: str | None,
    end: str | None,
    only: tuple[str, ...],
    folder: Path,
    options: tuple[str, ...],
) -> None:
    """Apply transformations to MODEL, an ONNX file, and compare each with it along a path.

    OPTIONS, after --, are further ones of lronnx compare. Exit code 1 if a comparison fails.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # tools run models with it, and it warns of each initializer
    console = Console(stderr=True, highlight=False)
    chosen = [one for one in TRANSFORMATIONS if not only or one.name in only]
    try:
        onnx.load(model)
    except Exception as error:  # protobuf's error has no public name
        raise Refused(f"{model} is not an ONNX model: {_first_line(error)}") from error
    given = [("--points", points), ("--start", start), ("--end", end)]
    path = [text for option, value in given if value is not None for text in (option, value)]
    against = partial(compare, model, options=[*path, *(["--closed"] if closed else []), *options])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with console.status("the model with itself") as status:
            # What is wrong with the path, the options or the model itself is told once.
            outcome, reason, _ = against(model)
            if outcome != "compared":
                raise Refused(f"{model} cannot be compared with itself: {reason}")
            rows = transform(chosen, model, folder, against, status.update)
        text = markdown(rows)
        write_whole(folder / MARKDOWN, text.encode())
        table = {"model": model.name, "transformations": [asdict(row) for row in rows]}
        write_whole(folder / JSON, json.dumps(table, indent=1).encode())
    except OSError as error:
        raise Refused(str(error)) from error
    click.echo(text, nl=False)
    sys.exit(1 if any(row.outcome == "failed" for row in rows) else 0)


if __name__ == "__main__":
    main()
