"""Seconds per region of a walk, divided by seconds per sample of a plain forward pass of the same file.

The forward pass is onnxruntime's own, float32, in batches of 64, with its default options, measured right before and
right after the walk by the same process. Every measurement has a process of its own, so that the peak memory is its.
"cold" is a process's first walk, the programs being made included; "warm" the median of those after it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from networks import write_vgg8

import lronnx
from lronnx import inputs

BATCH = 64


def seconds_per_sample(model: Path, seconds: float = 1.0) -> list[float]:
    """Of as many batches as fit into that time, after a warm-up."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    fixed = isinstance(source.shape[0], int)
    shape = [*(source.shape[:1] if fixed else [BATCH]), *source.shape[1:]]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for _ in range(3):
        session.run(None, {source.name: x})
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        session.run(None, {source.name: x})
        taken.append((time.perf_counter() - begin) / len(x))
    return taken


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    plain = seconds_per_sample(job["model"])
    network = lronnx.load(job["model"])
    points = inputs.read_points(network.input_shape, points=str(job["points"]))
    options = {key: job[key] for key in ("precision", "device", "lanes", "max_regions")}
    walks = [network.walk_path(points, **options) for _ in range(job["repeat"])]
    plain += seconds_per_sample(job["model"])
    return {
        "plain": float(np.median(plain)),
        "cold": walks[0].seconds / walks[0].regions,
        "warm": float(np.median([walk.seconds / walk.regions for walk in walks[1:] or walks])),
        "regions": sorted({walk.regions for walk in walks}),
        "passes": walks[0].forward_passes / walks[0].regions,
        "lanes": walks[0].lanes,
        "device": walks[0].device,
        "ok": all(walk.self_check.ok for walk in walks),
        "peak": peak_megabytes(),
    }


def peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--points", type=Path, help="as for lronnx walk")
    parser.add_argument("--precision", nargs="+", choices=["double", "single"], default=["double", "single"])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--lanes", type=int, nargs="+", default=[None])
    parser.add_argument("--max-regions", type=int, nargs="+", default=[None])
    parser.add_argument("--repeat", type=int, default=4, help="walks per row, the cold one included")
    given = parser.parse_args()
    if (given.model is None) != (given.points is None):
        parser.error("give both MODEL and --points, or neither")
    with tempfile.TemporaryDirectory() as folder:
        model, points = (given.model, given.points) if given.model else write_vgg8(Path(folder))
        print(f"{model.name}, onnxruntime {ort.__version__}, lronnx {lronnx.__version__}")
        print("precision device lanes  regions  self-check  plain/s  walk/s  ratio  (cold)  passes/region  peak MB")
        for precision, lanes, limit in product(given.precision, given.lanes, given.max_regions):
            job = {
                "model": model,
                "points": points,
                "precision": precision,
                "device": given.device,
                "lanes": lanes,
                "max_regions": limit,
                "repeat": given.repeat,
            }
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure, (job,))
            print(
                f"{precision:9} {row['device']:6} {row['lanes']:5}  {'/'.join(map(str, row['regions'])):>7}  "
                f"{'ok' if row['ok'] else 'FAILED':>10}  {1 / row['plain']:7.0f}  {1 / row['warm']:6.0f}  "
                f"{row['warm'] / row['plain']:5.1f}  {row['cold'] / row['plain']:6.1f}  {row['passes']:13.2f}  "
                f"{row['peak']:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
