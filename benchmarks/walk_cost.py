"""Seconds per region of a sweep or a walk, divided by seconds per sample of a plain forward pass of the same file.

The forward pass is onnxruntime's own, float32, in batches of 64, with its default options, measured right before and
right after the warm walks by the same process. Every measurement has a process of its own, so that the peak memory is
its first walk's. "cold" is a process's first walk, the programs being made included; the others are the median of
those after it.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path

import onnxruntime as ort
from measure import Job, measure_apart
from networks import write_vgg8

import lronnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--points", type=Path, help="as for lronnx walk")
    parser.add_argument("--engine", nargs="+", choices=["sweep", "walk"], default=["sweep", "walk"])
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
        print(
            "engine precision device lanes  regions  self-check  plain/s  walk/s  ratio  (cold)  passes/region  peak MB"
        )
        for precision, engine, lanes, limit in product(given.precision, given.engine, given.lanes, given.max_regions):
            job = Job(
                model,
                points,
                engine,
                precision,
                device=given.device,
                lanes=lanes,
                max_regions=limit,
                repeat=given.repeat,
            )
            row = measure_apart(job)
            print(
                f"{engine:6} {precision:9} {row.device:6} {row.lanes:5}  {row.regions:7}  "
                f"{'ok' if row.ok else 'FAILED':>10}  "
                f"{1 / row.plain:7.0f}  {row.rate:6.0f}  {row.ratio:5.1f}  {row.ratio * row.cold / row.warm:6.1f}  "
                f"{row.passes:13.2f}  {row.peak:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
