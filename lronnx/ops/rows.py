"""What the sweep does with rows of slopes between two stages, as programs for a device."""

from __future__ import annotations

import numpy as np

from lronnx.graph import Attribute, Graph, Node, Value, freeze

# Operator, operands, output, attributes.
Steps = list[tuple[str, tuple[str, ...], str, dict[str, Attribute]]]


def programs(dtype: str, opset: int) -> dict[str, Graph]:
    """By name; their inputs and outputs are named as the arguments in :class:`lronnx.tensors.Worker`."""
    flat: Steps = [("Reshape", ("held", "all"), "flat", {})]
    table: Steps = [("Flatten", ("held",), "table", {"axis": 1})]
    rows: Steps = [*table, ("Gather", ("table", "source"), "rows", {"axis": 0})]
    weighted: Steps = [
        *rows,
        ("Gather", ("factors", "owner"), "weights", {"axis": 0}),
        ("Mul", ("rows", "weights"), "weighted", {}),
    ]
    put: Steps = [
        *weighted,
        ("Reshape", ("weighted", "all"), "line", {}),
        ("ScatterElements", ("line", "positions", "numbers"), "put", {"axis": 0}),
        ("Reshape", ("put", "shape"), "made", {}),
    ]
    chosen: Steps = [*flat, ("Gather", ("flat", "positions"), "chosen", {"axis": 0})]
    extremes: Steps = [
        *table,
        ("ReduceMax", ("table", "first"), "most", {"keepdims": 0}),
        ("ReduceMin", ("table", "first"), "least", {"keepdims": 0}),
    ]
    steps: dict[str, Steps] = {
        "extremes": extremes,
        "pick": [*flat, ("Gather", ("flat", "positions"), "picked", {"axis": 0})],
        "take": [*table, ("Gather", ("table", "columns"), "taken", {"axis": 1})],
        "gather": [*rows, ("Reshape", ("rows", "shape"), "made", {})],
        "activate": [*weighted, ("Reshape", ("weighted", "shape"), "made", {})],
        "activate and put": put,
        "choose": [*chosen, ("Reshape", ("chosen", "shape"), "made", {})],
        "choose the least": [*chosen, ("Neg", ("chosen",), "least", {}), ("Reshape", ("least", "shape"), "made", {})],
    }
    return {name: _program(name, found, dtype, opset) for name, found in steps.items()}


def _program(name: str, steps: Steps, dtype: str, opset: int) -> Graph:
    numbers = {"source": "int64", "owner": "int64", "positions": "int64", "columns": "int64", "shape": "int64"}
    constants = {"all": np.array([-1], np.int64), "first": np.array([0], np.int64)}
    made = [output for _, _, output, _ in steps]
    read = [used for _, operands, _, _ in steps for used in operands]
    inputs = tuple(dict.fromkeys(used for used in read if used not in made and used not in constants))
    outputs = tuple(output for output in made if output not in read)
    nodes = tuple(
        Node(index, output, output, "", operator, operands, (output,), freeze(attributes))
        for index, (operator, operands, output, attributes) in enumerate(steps)
    )
    values = {used: Value(used, numbers.get(used, dtype), None) for used in (*inputs, *outputs)}
    held = {used: array for used, array in constants.items() if used in read}
    return Graph(name, inputs, outputs, nodes, held, values, {"ai.onnx": opset})
