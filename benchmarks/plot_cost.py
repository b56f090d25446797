"""What the picture of a long walk costs: seconds and bytes of ``lronnx walk --plot`` as PNG, SVG and HTML.

The embedded network of handwritten digits is walked from image to image until enough regions are found; or MODEL along
the path in --points. What is measured begins with the finished walk and ends with the file on the disk. Every
measurement has a process of its own, since what a command draws is the first that it draws: the time to import the
drawing library counts. "describe" is from the walk to the figure, "draw" from the figure to the file's content.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lronnx
from lronnx import inputs, plot, store
from lronnx.network import Network
from lronnx.regions import PathWalk

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"
FORMS = ("png", "svg", "html")


class Job(NamedTuple):
    """One file. ``regions``: how many to walk at least, if there are no ``points``."""

    form: str
    model: Path
    points: Path | None
    regions: int
    target: Path


class Cost(NamedTuple):
    """Seconds of each part, and what came out."""

    load: float
    describe: float
    draw: float
    write: float
    size: int
    regions: int
    switches: int
    ok: bool

    @property
    def total(self) -> float:
        return self.load + self.describe + self.draw + self.write


def walk(job: Job) -> tuple[Network, np.ndarray, PathWalk]:
    """A network, the points of a path, and what was found between them."""
    network = lronnx.load(job.model)
    if job.points is not None:
        points = inputs.read_points(network.input_shape, points=str(job.points))
        return network, points, network.walk_path(points)
    with np.load(EXAMPLE / "digits_data.npz") as archive:
        images = archive["x_train"].reshape(-1, *network.input_shape) / 16.0
    # As many segments as it takes, by what the first have.
    few = network.walk_path(images[:9])
    count = min(2 + round(8.4 * job.regions / few.regions), len(images))
    return network, images[:count], network.walk_path(images[:count])


def measure(job: Job) -> Cost:
    """Draw one picture, in the process that this is called in."""
    network, points, path = walk(job)
    begin = time.perf_counter()
    for module in plot.FORMS[f".{job.form}"]:
        importlib.import_module(module)
    importlib.import_module("lronnx.plot.page" if job.form == "html" else "lronnx.plot.still")
    drawing = importlib.import_module("lronnx.plot.walk")
    loaded = time.perf_counter()
    pixels = inputs.Pixels.choose(None, None, None, network.metadata)
    described = drawing.describe(f".{job.form}", path, network, points, pixels)
    figure = time.perf_counter()
    about = drawing.About("benchmark", "the first output", "python benchmarks/plot_cost.py")
    content = drawing.drawn(f".{job.form}", described, path, network, about)
    made = time.perf_counter()
    store.write_bytes(job.target, content)
    end = time.perf_counter()
    ok = path.self_check.ok
    times = loaded - begin, figure - loaded, made - figure, end - made
    return Cost(*times, len(content), path.regions, path.switch_count, ok)


def measure_apart(job: Job) -> Cost:
    """In a new process, which has not drawn yet."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, job).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--points", type=Path, help="as for lronnx walk")
    parser.add_argument("--regions", type=int, default=30_000, help="of the embedded network's walk")
    parser.add_argument("--form", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, help="keep the files in this folder")
    given = parser.parse_args()
    if (given.model is None) != (given.points is None):
        parser.error("give both MODEL and --points, or neither")
    if given.regions < 1 or given.repeat < 1:
        parser.error("--regions and --repeat are at least 1")
    model = given.model or EXAMPLE / "digits.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.output or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        heading = True
        for form in given.form:
            job = Job(form, model, given.points, given.regions, folder / f"walk.{form}")
            costs = [measure_apart(job) for _ in range(given.repeat)]
            first = costs[0]
            if heading:
                check = "ok" if first.ok else "FAILED"
                print(f"{model.name}, {first.regions} regions, {first.switches} switches, self-check {check}")
                print(f"median of {given.repeat}, lronnx {lronnx.__version__}, Python {sys.version.split()[0]}")
                print("format   import  describe     draw    write    total seconds        MB")
                heading = False
            middle = {
                name: statistics.median(getattr(cost, name) for cost in costs)
                for name in ("load", "describe", "draw", "write", "total")
            }
            print(
                f"{form:6} {middle['load']:8.2f}  {middle['describe']:8.2f} {middle['draw']:8.2f} "
                f"{middle['write']:8.2f} {middle['total']:8.2f}          {first.size / 2**20:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
