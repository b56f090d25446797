"""What the benchmarks share: walks and plain forward passes that are timed in a process of their own."""

from __future__ import annotations

import inspect
import math
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort

import lronnx
from lronnx import inputs

BATCH = 64
# Of the matrices whose product is the yardstick of what a machine can do.
MATRIX = 1024
ENGINES = ("walk", "sweep")


def engines() -> tuple[str, ...]:
    """The engines that this version of lronnx has."""
    if "engine" not in inspect.signature(lronnx.Network.walk_path).parameters:
        return ENGINES[:1]
    return ENGINES


class Job(NamedTuple):
    """A path to walk, and how. Everything is plain data: it is sent to another process."""

    model: Path
    points: Path
    engine: str = "walk"
    precision: str = "double"
    device: str = "cpu"
    lanes: int | None = None
    max_regions: int | None = None
    repeat: int = 4
    """Walks, the first and cold one included."""
    budget: float = math.inf
    """Seconds after which no further walk begins; there are always two."""
    compared: bool = True
    """Whether the plain forward pass and the matrix product are measured as well."""
    yardstick: float = 1.0
    """Seconds for that, before and after the walks; half as long for the matrix product."""


class Measured(NamedTuple):
    """What a job took; seconds are medians."""

    regions: int
    partial: bool
    cold: float
    warm: float
    """Seconds per walk: the first, with its programs being made, and those after it."""
    passes: float
    """Forward passes per region."""
    lanes: int
    device: str
    ok: bool
    """All walks passed their self-checks and agree about the number of regions."""
    peak: float
    """Megabytes at most, of the process, up to the end of the first walk."""
    plain: float
    """Seconds per sample of a plain forward pass; nan if not compared."""
    batch: int
    product: float
    """Floating-point operations per second of a matrix product in the walk's precision; nan if not compared."""
    drift: float
    """By which factor a yardstick differs before and after the warm walks, at least 1; nan if not compared."""

    @property
    def rate(self) -> float:
        """Regions per second."""
        return self.regions / self.warm

    @property
    def ratio(self) -> float:
        """Seconds per region over seconds per sample of a plain forward pass."""
        return self.warm / self.regions / self.plain


def measure(job: Job) -> Measured:
    """Walk as often as asked for, with the yardsticks measured right before and right after the warm walks."""
    model = lronnx.load(job.model)
    points = inputs.read_points(model.input_shape, points=str(job.points))
    options: dict[str, Any] = {"precision": job.precision, "device": job.device}
    options |= {"lanes": job.lanes} if job.lanes is not None else {}
    options |= {"max_regions": job.max_regions} if job.max_regions is not None else {}
    if "engine" in inspect.signature(model.walk_path).parameters:
        options["engine"] = job.engine
    begin = time.perf_counter()
    walks = [model.walk_path(points, **options)]
    # Read before a batch of plain samples, or a second walk's leftovers, can raise it.
    peak = peak_megabytes()
    plain, batch, product = _yardsticks(job, model.input_shape, walks[0].device)
    while len(walks) < max(job.repeat, 2) and (len(walks) < 2 or time.perf_counter() - begin < job.budget):
        walks.append(model.walk_path(points, **options))
    after, _, product_after = _yardsticks(job, model.input_shape, walks[0].device)
    first = walks[0]
    return Measured(
        regions=first.regions,
        partial=first.partial,
        cold=first.seconds,
        warm=float(np.median([walk.seconds for walk in walks[1:]])),
        passes=first.forward_passes / first.regions,
        lanes=first.lanes,
        device=first.device,
        ok=all(walk.self_check.ok for walk in walks) and (first.partial or len({walk.regions for walk in walks}) == 1),
        peak=peak,
        plain=_median(plain + after),
        batch=batch,
        product=_median(product + product_after),
        drift=max(_drift(plain, after), _drift(product, product_after)) if product else _drift(plain, after),
    )


def _median(numbers: Sequence[float]) -> float:
    return float(np.median(numbers)) if numbers else math.nan


def _drift(before: Sequence[float], after: Sequence[float]) -> float:
    if not before:
        return math.nan
    quotient = _median(before) / _median(after)
    return max(quotient, 1 / quotient)


def _yardsticks(job: Job, shape: Sequence[int], device: str) -> tuple[list[float], int, list[float]]:
    if not job.compared:
        return [], 0, []
    plain, batch = seconds_per_sample(job.model, shape, device=device, seconds=job.yardstick)
    # The products are the processor's: they are no limit for a walk on another device.
    return plain, batch, product_rates(job.precision, job.yardstick / 2) if device == "cpu" else []


def seconds_per_sample(
    model: Path, sample: Sequence[int], *, device: str = "cpu", seconds: float
) -> tuple[list[float], int]:
    """Of as many batches as fit into that time, after a warm-up; and the size of a batch."""
    providers = ["CUDAExecutionProvider"] if device == "cuda" else []
    session = ort.InferenceSession(str(model), providers=[*providers, "CPUExecutionProvider"])
    source = session.get_inputs()[0]
    kinds = {"tensor(double)": np.float64, "tensor(float16)": np.float16}
    dims = list(sample)
    if source.shape and not isinstance(source.shape[0], int):
        dims[0] = BATCH
    x = np.random.default_rng(0).standard_normal(dims).astype(kinds.get(source.type, np.float32))
    batch = x.size // math.prod(sample)
    for _ in range(3):
        session.run(None, {source.name: x})
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        session.run(None, {source.name: x})
        taken.append((time.perf_counter() - begin) / batch)
    return taken, batch


def product_rates(precision: str, seconds: float) -> list[float]:
    """Floating-point operations per second of matrix products, on all cores, after a warm-up."""
    dtype = np.float64 if precision == "double" else np.float32
    a, b = np.random.default_rng(0).standard_normal((2, MATRIX, MATRIX)).astype(dtype)
    out = a @ b
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        np.matmul(a, b, out=out)
        rates.append(2 * MATRIX**3 / (time.perf_counter() - begin))
    return rates


def peak_megabytes() -> float:
    """Of this process; nan on Windows."""
    if sys.platform == "win32":
        return math.nan
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux getrusage begins with what the parent process had when it started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure_apart(job: Job) -> Measured:
    """In a new process, so that the peak memory is the job's own. Raises what was raised there."""
    # Other than a multiprocessing.Pool an executor notices that its process was killed, as for too much memory.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, job).result()


def forward_flops(model: Path) -> int:
    """Floating-point operations of one sample's forward pass: two per multiplication and addition of the linear layers.

    Raises ValueError if the shapes that they depend on cannot be inferred.
    """
    proto = onnx.load(model)
    graph = proto.graph
    held = {tensor.name for tensor in graph.initializer}
    for source in graph.input:
        for size in source.type.tensor_type.shape.dim:
            if source.name not in held and not size.HasField("dim_value"):
                size.dim_value = 1
    # What is declared of inner and final tensors would keep their open sizes open.
    for target in graph.output:
        target.type.tensor_type.ClearField("shape")
    graph.ClearField("value_info")
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.name not in shapes and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = tuple(size.dim_value for size in sizes)
    total = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        missing = [name for name in (*node.input[:2], node.output[0]) if name not in shapes]
        if missing:
            raise ValueError(f"{model.name}: the shape of {', '.join(missing)} is not known")
        left, right, made = (shapes[name] for name in (*node.input[:2], node.output[0]))
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        match node.op_type:
            case "Conv":
                products = math.prod(made) * math.prod(right[1:])
            case "ConvTranspose":
                products = math.prod(left) * math.prod(right[1:])
            case _:
                products = math.prod(made) * left[0 if transposed else -1]
        total += 2 * products
    return total
