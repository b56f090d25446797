"""Comparisons as JSON objects, run folders and tables of differences: the differences are of real walks, the measures
of :mod:`made_runs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from strategies import Builder

import lronnx
from lronnx import pairing
from lronnx.network import Network
from lronnx.regions import PathWalk
from lronnx.runs import Run

DOUBLE = 1e-12
"""What rounding explains here, relative to the largest output."""


class Made(NamedTuple):
    """What a page is made of."""

    comparison: dict[str, Any]
    runs: list[Run]
    differences: dict[int, pa.Table]


def network(
    path: Path, *, seed: int = 0, width: int = 12, outputs: int = 3, shift: float = 0.0, scale: float = 1.0
) -> Network:
    """Two inputs, two layers of units; ``shift`` is added to the last bias; ``scale`` of the first layer's units, whose
    effect is taken back after them."""
    rng = np.random.default_rng(seed)
    b = Builder((2,))
    weights = [rng.normal(size=size) for size in ((width, 2), (width, width), (outputs, width))]
    biases = [rng.normal(size=size) for size in (width, width, outputs)]
    # One output alone, so that it is known which.
    biases[2][outputs - 1] += shift
    x = b.relu(b.gemm(b.input, scale * weights[0], scale * biases[0]))
    x = b.relu(b.gemm(x, weights[1] / scale, biases[1]))
    path.write_bytes(b.model(b.gemm(x, weights[2] / width, biases[2])).SerializeToString())
    return lronnx.load(path)


def points(segments: int, seed: int = 0) -> np.ndarray:
    """The points of a path in the plane."""
    return 4.0 * np.random.default_rng(seed).normal(size=(segments + 1, 1, 2))


def table(first: PathWalk, other: PathWalk, path: int = 0) -> pa.Table:
    """Both networks' outputs at the edges of the regions of either."""
    columns: dict[str, list[Any]] = {"segment": [], "t": [], "first": [], "other": []}
    for number, (one, two) in enumerate(zip(first.segments, other.segments, strict=True)):
        t = np.union1d(one.t, two.t)
        columns["segment"] += [number] * len(t)
        columns["t"] += t.tolist()
        for name, walk in (("first", one), ("other", two)):
            values = [np.interp(t, walk.t, walk.values[:, k]) for k in range(walk.values.shape[1])]
            columns[name] += np.stack(values, axis=1).tolist()
    lists = pa.list_(pa.float64())
    kinds = {"segment": pa.int32(), "t": pa.float64(), "first": lists, "other": lists}
    made = pa.table({name: pa.array(column, kinds[name]) for name, column in columns.items()})
    return made.replace_schema_metadata({"lronnx.path": json.dumps(path)})


def pair(
    made: pa.Table, walks: tuple[PathWalk, PathWalk], runs: tuple[Run, Run], number: int, *, path: int = 0
) -> dict[str, Any]:
    """What a comparison says of two networks, from a table of their differences."""
    first, other = (np.array(made[name].to_pylist()) for name in ("first", "other"))
    apart = np.abs(other - first)
    size = float(max(np.abs(first).max(), np.abs(other).max()))
    allowed = DOUBLE * size
    row, output = np.unravel_index(int(apart.argmax()), apart.shape)

    def at(row: int, output: int) -> dict[str, Any]:
        return {
            "path": path,
            "segment": made["segment"][row].as_py(),
            "t": made["t"][row].as_py(),
            "output": int(output),
            "first": float(first[row, output]),
            "other": float(other[row, output]),
            "allowed": allowed,
        }

    largest = float(apart.max())
    beyond = np.argwhere(apart > allowed)
    switches = [sum(walk.switches_by_node.values()) for walk in walks]
    nodes = [list(walk.switches_by_node) for walk in walks]
    same = switches[0] == switches[1] and not len(beyond)
    matched = {a: {b: walks[0].switches_by_node[a]} for a, b in zip(*nodes, strict=False)} if same else {}
    total = sum(count for of in matched.values() for count in of.values())
    verdict = "different" if len(beyond) else "identical regions" if same else "same function, different units"
    return {
        "first": 1,
        "other": number,
        "verdict": verdict,
        "rounding": None if len(beyond) else "double",
        "largest_difference": largest,
        "largest_at": at(int(row), int(output)) if largest else None,
        "size": size,
        "allowed": allowed,
        "parts_at": at(*beyond[0].tolist()) if len(beyond) else None,
        "paths_parted": runs[0].done if len(beyond) else 0,
        "mean_difference": float(apart.mean()),
        "breakpoints": [sum(walk.regions - 1 for walk in one.segments) for one in walks],
        "union_breakpoints": len(made) - 2 * len(walks[0].segments),
        "switches": switches,
        "matched_switches": total,
        "largest_move": 0.0 if same else None,
        "median_move": 0.0 if same else None,
        "one_to_one": same,
        "grazing": [0, 0],
        "unmatched_by_node": [{} if same else dict(walk.switches_by_node) for walk in walks],
        "nodes": matched,
        "measures": pairing.pair(runs[0].paths, runs[1].paths, runs[0].summary["measures"]),
    }


def made(
    networks: Sequence[Network],
    runs: Sequence[Run],
    *,
    segments: int = 2,
    labels: Sequence[str] | None = None,
    path: int = 0,
    matched: Sequence[str] = ("input x is input x",),
) -> Made:
    """A comparison of these networks, whose measures are those of ``runs``."""
    way = points(segments)
    walks = [one.walk_path(way) for one in networks]
    differences = {number: table(walks[0], walk, path) for number, walk in enumerate(walks[1:], 2)}
    count = runs[0].done
    models = [
        {
            "number": number,
            "name": one.name,
            "label": labels[number - 1] if labels else one.name,
            "sha256": one.sha256,
            "input": one.input_name,
            "input_shape": list(one.input_shape),
            "output": one.output_name,
            "outputs": one.outputs,
            "units": one.units,
            "notices": [],
            "cut": [],
            "matched": [] if number == 1 else list(matched),
            "regions": sum(int(regions) for regions in run.paths["regions"]),
            "self_check": run.summary["totals"]["self_check"],
            "measures": run.summary["groups"]["all"][0]["measures"],
        }
        for number, (one, run) in enumerate(zip(networks, runs, strict=True), 1)
    ]
    comparison = {
        "version": "0",
        "precision": "double",
        "seed": 0,
        "paths": count,
        "segments": count * segments,
        "length": float(runs[0].paths["length"].sum()),
        "described": {"family": "closed", "anchors": segments, "samples": {"train": count}},
        "models": models,
        "pairs": [
            pair(differences[number], (walks[0], walk), (runs[0], run), number, path=path)
            for number, (walk, run) in enumerate(zip(walks[1:], runs[1:], strict=True), 2)
        ],
    }
    # As it is read from a file: nothing but JSON.
    return Made(json.loads(json.dumps(comparison, allow_nan=False)), list(runs), differences)
