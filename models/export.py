"""From a torch module to one self-contained, described ONNX file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from models.files import write_whole

OPSET = 18  # what torch's exporter emits natively; any other goes through a version converter
METADATA_PREFIX = "lronnx."


def export_onnx(
    module: torch.nn.Module,
    sample: torch.Tensor,
    path: Path,
    *,
    input_name: str,
    output_name: str,
    metadata: Mapping[str, Any],
    keep_batch_norm: bool = False,
) -> None:
    """Write ``module`` (in evaluation mode) to ``path``, weights inside, the first dimension dynamic.

    The file is written whole or not at all.

    ``sample``: float32 (N, ...) with N >= 2, since the exporter would take a 1 for a constant.
    ``metadata``: written to the model's ``metadata_props`` with the prefix ``lronnx.``; strings as they
    are, anything else as JSON.
    ``keep_batch_norm``: leave every BatchNorm a node of its own, where the exporter would fold it into the layer
    before it; of what the exporter optimizes, only constants are then computed beforehand.

    Raises:
        ValueError: ``sample`` holds fewer than two rows, or the module is in training mode.
    """
    if len(sample) < 2:
        raise ValueError(f"the sample needs two rows or more to keep the batch dynamic, not {len(sample)}")
    if module.training:
        raise ValueError("the module is in training mode; call module.eval() before exporting it")
    with quiet():
        program = torch.onnx.export(
            module,
            (sample,),
            input_names=[input_name],
            output_names=[output_name],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
            optimize=not keep_batch_norm,
        )
    assert program is not None  # None is what the former exporter returns
    if keep_batch_norm:
        from onnxscript import optimizer

        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    strip_provenance(model)
    onnx.helper.set_model_props(model, _properties(metadata))
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString(deterministic=True))


def is_described_by(path: Path, metadata: Mapping[str, Any]) -> bool:
    """Whether there is an ONNX file at ``path`` that :func:`export_onnx` wrote with just this metadata."""
    try:
        model = onnx.load(path)
    except Exception:  # protobuf's error has no public name
        return False
    return {entry.key: entry.value for entry in model.metadata_props} == _properties(metadata)


def _properties(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        METADATA_PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter says about torchvision, which nothing here uses, and about torch's own insides."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def strip_provenance(model: onnx.ModelProto) -> None:
    """Remove, in place, what the exporter notes about the machine and the source it ran from.

    It records the stack trace of every operation, with absolute paths, in doc strings and in the
    metadata of nodes and values.
    """
    graph = model.graph
    for described in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        described.ClearField("doc_string")
        described.ClearField("metadata_props")


def parity(module: torch.nn.Module, path: Path, inputs: torch.Tensor) -> float:
    """Largest absolute difference between ``module`` and the file, run by onnxruntime; nan if any of both is nan.

    ``inputs``: float32 (N, ...). The file is run with all N rows at once and with the first row alone,
    so that a batch frozen by the export shows.

    Raises:
        ValueError: the file's output is of another shape than the module's.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [declared] = session.get_inputs()
    with torch.no_grad():
        expected = module(inputs).numpy()
    differences = []
    for rows in (len(inputs), 1):
        [actual] = session.run(None, {declared.name: inputs[:rows].numpy()})
        if actual.shape != expected[:rows].shape:
            raise ValueError(f"{path}: the output is of {actual.shape}, not of {expected[:rows].shape}")
        differences.append(np.abs(actual - expected[:rows]).max())
    return float(np.max(differences))
