"""Runs as :func:`lronnx.runs.read` has them, made of random figures: of whatever size, and with whatever names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lronnx import records, summary
from lronnx.runs import Exhibit, Run

HOSTILE = "<script>window.pwned = 1</script>\"'&{path}"


def node(label: str, shape: Sequence[int], level: int) -> dict[str, Any]:
    """A node as a manifest has it."""
    return {"label": label, "operator": "Relu", "shape": list(shape), "units": int(np.prod(shape)), "level": level}


NODES = (node("first", (1, 4, 6, 5), 1), node("second", (1, 3, 3, 3), 2), node("third", (1, 7), 3))


def rows(
    seed: int,
    paths: int,
    *,
    outputs: int = 3,
    segments: int = 2,
    classes: Sequence[str] = ("cat", "dog"),
    nodes: Sequence[Mapping[str, Any]] = NODES,
    corrupted: bool = True,
    ok: bool = True,
    partial: bool = False,
    pairs: bool = False,
    estimated: bool = False,
) -> pa.Table:
    """The segments table of a study."""
    rng = np.random.default_rng(seed)
    found = []
    for path in range(paths):
        label = int(rng.integers(len(classes))) if classes else None
        split = "train" if path % 2 == 0 else "test"
        for segment in range(segments):
            switches = {str(one["label"]): int(rng.integers(1, 90)) for one in nodes}
            total = sum(switches.values())
            numbers = {
                name: rng.lognormal(0.0, 1.0, outputs).tolist()
                for name in ("absolute_deviation", "total_variation", "slope_variation")
            }
            place: dict[str, Any] = {
                "path": path,
                "segment": segment,
                "split": split,
                "index": 10 * path,
                "label": label,
                "class": None if label is None else classes[label],
                "corrupted": bool(path % 4 == 0) if corrupted and split == "train" else None,
                "other_index": None,
                "other_label": int(path % 3 == 0) if pairs else None,
                "length": 2.0,
                "self_check_ok": ok or path > 0,
                "contradictions": 0,
                "end_pattern_mismatches": 0,
                "max_value_error": 1e-9,
                "value_tolerance": 1e-6,
                "forward_passes": 10,
            }
            if estimated:
                place |= {"fraction": 0.3, "breakpoints_seen": 5}
                for name, entry in [*numbers.items(), ("regions", 9.0 + path), ("density", 4.5)]:
                    place |= {f"estimated_{name}{part}": entry for part in ("", "_standard_error", "_low", "_high")}
            else:
                place |= numbers | {
                    "covered": 0.5 if partial else 1.0,
                    "regions": total + 1,
                    "linear_regions": total,
                    "breakpoints": total,
                    "switches": total,
                    "smallest_region": 1e-4,
                    "density": (total + 1) / 2.0,
                    "absolute_deviation_norm": float(np.linalg.norm(numbers["absolute_deviation"])),
                    "absolute_deviation_bound": numbers["absolute_deviation"],
                    "end_to_end_variation": numbers["total_variation"],
                    "local_similarity": float(1.0 - rng.random() / 50),
                    "decision_changes": int(rng.integers(3)),
                    "switches_by_node": list(switches.items()),
                    "switches_by_unit": None,
                    "switches_by_place": [],
                    "partial": partial,
                }
            found.append(place)
    return pa.Table.from_pylist(found, schema=records.ESTIMATES if estimated else records.SEGMENTS)


def run(
    seed: int = 0,
    paths: int = 40,
    *,
    shown: str = "folder/run",
    model: str = "model.onnx",
    metadata: Mapping[str, str] | None = None,
    total: int | None = None,
    nodes: Sequence[Mapping[str, Any]] | None = NODES,
    units: bool = True,
    exhibits: Sequence[Exhibit] = (),
    input_shape: Sequence[int] = (1, 3, 12, 10),
    layout: str = "CHW",
    **options: Any,
) -> Run:
    """A run; ``nodes``: None if nothing was recorded of its network."""
    table = rows(seed, paths, nodes=nodes or NODES, **options)
    segments = options.get("segments", 2)
    estimated = options.get("estimated", False)
    study = {
        "model": {"sha256": f"{seed:064x}", "input": "image", "input_shape": list(input_shape), "output": "logits"},
        "paths": {
            "family": "closed",
            "anchors": segments,
            "data": {"kind": "array", "sha256": "d", "samples": {"train": paths}, "samples_sha256": "s"},
            "preprocessing": {"scale": 1 / 255, "mean": [0.5], "std": [0.25], "layout": layout},
        },
        "walk": {"engine": "sweep", "precision": "double", "estimate": 0.3 if estimated else None, "seed": 0},
    }
    network: dict[str, Any] = {}
    if nodes is not None:
        network = {
            "units": sum(int(one["units"]) for one in nodes),
            "outputs": options.get("outputs", 3),
            "metadata": dict(metadata or {}),
            "notices": [],
            "switching_nodes": [dict(one) for one in nodes],
        }
    rng = np.random.default_rng(seed)
    recorded = nodes is not None and units and not estimated
    per_path = dict(summary.per_path(table.to_batches()))
    per_path["index"] = 10 * per_path["path"]
    manifest = {
        "study": study,
        "paths": total or paths,
        "chosen": {"model": model, "data": "data.npz", "command": f"lronnx analyze {model}", "network": network},
        "sessions": [{"begun": "2026-11-26", "environment": {"lronnx": "0", "system": "Linux"}}],
    }
    return Run(
        shown=shown,
        manifest=json.loads(json.dumps(manifest)),
        summary=summary.summarize(table.to_batches(), resamples=50),
        done=paths,
        total=total or paths,
        paths=per_path,
        network=network,
        unit_switches={str(n["label"]): rng.integers(0, 40, int(n["units"])) for n in nodes or ()} if recorded else {},
        unit_paths=8 if recorded else 0,
        place_switches={str(n["label"]): rng.integers(0, 50, (segments, records.PLACES)) for n in nodes or ()}
        if recorded
        else {},
        exhibits=tuple(exhibits),
        seconds=1.5,
        devices=("cpu",),
    )


def exhibit(
    regions: int, *, outputs: int = 3, path: int = 0, size: int = 8, most: bool = True, seed: int = 0
) -> Exhibit:
    """A closed path of two segments with so many regions, whose outputs are a random walk."""
    rng = np.random.default_rng(seed)
    segment = np.sort(rng.integers(0, 2, regions)).astype(np.int32) if regions > 1 else np.zeros(1, np.int32)
    if regions > 1:
        segment[-1] = 1
    counts = np.bincount(segment, minlength=2)
    slope = rng.normal(size=(regions, outputs))
    start, end, value, switches = [], [], [], []
    at = np.zeros(outputs)
    first = 0
    for count in counts.tolist():
        edges = np.concatenate([[0.0], np.sort(rng.random(max(count - 1, 0))), [1.0]])
        start.append(edges[:-1][:count])
        end.append(edges[1:][:count])
        steps = np.diff(edges)[:count, None] * slope[first : first + count]
        value.append(at + np.concatenate([np.zeros((1, outputs)), np.cumsum(steps, axis=0)])[:count])
        at = at + steps.sum(axis=0)
        switches.append(np.r_[np.ones(max(count - 1, 0)), np.zeros(min(count, 1))])
        first += count
    together = np.concatenate(switches).astype(np.int32)
    labels = np.array([str(one["label"]) for one in NODES])[rng.integers(0, len(NODES), regions)]
    lists = pa.list_(pa.float64())
    table = pa.table(
        {
            "segment": pa.array(segment),
            "region": pa.array(np.arange(regions)),
            "t_start": pa.array(np.concatenate(start)),
            "t_end": pa.array(np.concatenate(end)),
            "value": pa.array(list(np.concatenate(value)), lists),
            "slope": pa.array(list(slope), lists),
            "node": pa.array(
                [label if count else None for label, count in zip(labels.tolist(), together, strict=True)], pa.string()
            ),
            "unit": pa.array([0 if count else None for count in together.tolist()], pa.int64()),
            "switches": pa.array(together),
        }
    ).replace_schema_metadata({"lronnx.lengths": "[2.0, 2.0]", "lronnx.closed": "true"})
    points = rng.random((2, 1, 3, size, size))
    return Exhibit(path, path, most, 0, table, points)
