"""What a worker does: one path of a study at a time, on one thread, so that the result does not depend on the worker.

A :class:`Job` goes to every worker once, a :class:`Task` for every path; what comes back is a :class:`Result`. All are
plain data that can be pickled. Everything that could make two workers differ is decided before and stands in the job:
how much memory a sweep may take (its chunks depend on it), and by which rates convolutions are lowered.
"""

from __future__ import annotations

import copy
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lronnx import estimates, metrics, network, records, store
from lronnx.errors import InputError, LronnxError
from lronnx.ops.lowering import Rates
from lronnx.regions import Floats, PathWalk, SelfCheck, Walk
from lronnx.walker import Stop

# Of the random numbers for path p and segment s: [seed, this, p, s].
_ESTIMATE_STREAM = 7


@dataclass(frozen=True)
class Job:
    """How every path of a study is walked.

    ``model``: the bytes of a self-contained ONNX file, or where it lies; then ``sha256`` and ``weights_sha256`` are
    those of the file as the study has it, '' if nobody knows. ``memory``: about how many bytes one worker's walks may
    take. ``rates``: :attr:`lronnx.ops.lowering.Rates.seconds`, None for this machine's. ``max_regions`` and
    ``max_seconds``: a segment's budget, after which its walk ends early. ``estimate``: the fraction of every segment to
    walk, None for all of it.
    ``about``: what is recorded in a regions file.
    """

    model: bytes | Path
    sha256: str = ""
    weights_sha256: str = ""
    output: str | None = None
    fixed_inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    engine: str = "sweep"
    precision: str = "double"
    device: str = "auto"
    lanes: int | None = None
    memory: int = 10**9
    lowering: str = "auto"
    rates: Mapping[str, tuple[float, ...]] | None = None
    max_regions: int | None = None
    max_seconds: float | None = None
    estimate: float | None = None
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def begin(self) -> Walking:
        """What a worker does its tasks with."""
        return Walking(self)


class Task(NamedTuple):
    """A path to walk: float64 points (P, \\*shape of one sample), P >= 2.

    ``units``: whether to keep how often each unit switches; ``regions``: whether the regions file is wanted.
    """

    path: int
    points: Floats
    closed: bool
    units: bool = False
    regions: bool = False


class StoppedError(Exception):
    """Somebody wants the study to end at once."""


class Result(NamedTuple):
    """What a task has brought. ``problem``: why the path could not be walked, '' if it could; then ``rows`` is set.

    ``interrupted``: it was stopped, and nothing is known of the path. ``others``: further results, where a task
    brings several.
    """

    path: int
    rows: pa.RecordBatch | None
    regions: bytes | None
    seconds: float
    worker: str
    device: str
    problem: str = ""
    interrupted: bool = False
    others: tuple[Result, ...] = ()


class Worker(Protocol):
    """Whatever does tasks."""

    def walk(self, task: Task, stop: Callable[[], Stop] | None = None) -> Result:
        """Do one task. What cannot be done is told in the result; only a programming error is raised."""


class Work(Protocol):
    """Whatever goes to every worker once: plain data that can be pickled."""

    def begin(self) -> Worker:
        """What a worker does its tasks with. Raises LronnxError if it cannot begin."""


class Walking:
    """A job ready to run: the network is loaded. Not to be used by two threads at once.

    Raises LronnxError if the model cannot be loaded, as :func:`lronnx.load`.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.network = _load(job)
        self._plan = None if job.estimate is None else estimates.Plan.for_fraction(job.estimate)

    def walk(self, task: Task, stop: Callable[[], Stop] | None = None) -> Result:
        """Walk one path. A path that cannot be walked is told in the result; only a programming error is raised."""
        return told_of(task, self.job.device, partial(self._result, task, stop))

    def _result(self, task: Task, stop: Callable[[], Stop] | None) -> Result:
        begin = time.perf_counter()
        if self._plan is None:
            walks, device = self.segments(task, stop)
            regions = self._regions(walks, task.closed, device) if task.regions else None
            rows = records.walked(task.path, walks, units=task.units)
        else:
            found, device = self._estimates(task, self._plan, stop)
            rows, regions = records.estimated(task.path, found), None
        return Result(task.path, rows, regions, time.perf_counter() - begin, worker_name(), device)

    # ---- all of a path

    def rounded(self, seed: int) -> Walking:
        """The same with a rounded twin of the network: see :meth:`lronnx.Network.rounded`."""
        twin = copy.copy(self)
        twin.network = self.network.rounded(seed)
        return twin

    def segments(self, task: Task, stop: Callable[[], Stop] | None = None) -> tuple[list[Walk], str]:
        """The walks of a path's segments, and the device that they ran on.

        Raises LronnxError if it cannot be walked, and StoppedError if ``stop`` ended it.
        """
        points = np.concatenate([task.points, task.points[:1]]) if task.closed else task.points
        still = [bool((here == there).all()) for here, there in pairwise(points)]
        budgeted = self.job.max_regions is not None or self.job.max_seconds is not None
        walks: list[Walk] = []
        device = self.job.device
        first = 0
        while first < len(still):
            last = first + 1
            if still[first]:
                walks.append(self._point(points[first]))
            else:
                # A budget is one of each segment; otherwise those that follow each other are walked together.
                while not budgeted and last < len(still) and not still[last]:
                    last += 1
                found = self._walk(points[first : last + 1], stop)
                walks += found.segments
                device = found.device
            first = last
        return walks, device

    def _walk(self, points: Floats, stop: Callable[[], Stop] | None) -> PathWalk:
        job = self.job
        ends = None if job.max_seconds is None else time.monotonic() + job.max_seconds

        def ask() -> Stop:
            asked = Stop.NO if stop is None else stop()
            if asked is Stop.NO and ends is not None and time.monotonic() > ends:
                return Stop.NOW
            # What is walked of a path when the study is stopped is of no use.
            return Stop.NO if asked is Stop.SOON else asked

        found = self.network.walk_path(
            points,
            engine=job.engine,
            precision=job.precision,
            device=job.device,
            lanes=job.lanes,
            memory=job.memory,
            max_regions=job.max_regions,
            stop=ask,
            lowering=job.lowering,
        )
        if found.partial and stop is not None and stop() is Stop.NOW:
            raise StoppedError
        if found.agreement is not None and not found.agreement.ok:
            raise LronnxError("walk and sweep disagree; please report the model")
        if not found.segments or found.segments[0].t[-1] == 0.0:
            # Nothing at all was finished within the budget: an empty walk, from which nothing follows.
            return PathWalk((self._nothing(points),), False, True, 0.0, job.engine, job.precision, found.device, 1)
        return found

    def _point(self, point: Floats) -> Walk:
        """A segment without length."""
        value = self._value(point)
        check = SelfCheck(0, 0, 0.0, 0.0, 0)
        none = np.zeros((0, len(value)))
        return Walk(np.zeros(1), value[None], none, (), 0.0, check, False, 0, 0.0, self.job.precision)

    def _nothing(self, points: Floats) -> Walk:
        """A segment of which nothing was walked."""
        walk = self._point(points[0])
        length = metrics.norm(points[1] - points[0])
        return Walk(walk.t, walk.values, walk.slopes, (), length, walk.self_check, True, 0, 0.0, self.job.precision)

    def _regions(self, walks: list[Walk], closed: bool, device: str) -> bytes:
        about, job = dict(self.job.about), self.job
        path = PathWalk(
            tuple(walks), closed, any(walk.partial for walk in walks), 0.0, job.engine, job.precision, device, 1
        )
        return store.regions_bytes(path, **about)

    # ---- parts of a path

    def _estimates(
        self, task: Task, plan: estimates.Plan, stop: Callable[[], Stop] | None
    ) -> tuple[list[estimates.SegmentEstimate], str]:
        points = np.concatenate([task.points, task.points[:1]]) if task.closed else task.points
        found = []
        device = [self.job.device]
        for segment, (start, end) in enumerate(pairwise(points)):
            if (start == end).all():
                found.append(estimates.of_a_point(self.network.outputs, plan))
                continue
            rng = np.random.default_rng([self.job.seed, _ESTIMATE_STREAM, task.path, segment])
            values = self._value(start), self._value(end)
            piece = partial(self._piece, start, end, stop, device)
            length = metrics.norm(end - start)
            found.append(estimates.estimate_segment(piece, *values, length, plan, rng))
        return found, device[0]

    def _piece(
        self, start: Floats, end: Floats, stop: Callable[[], Stop] | None, device: list[str], a: float, b: float
    ) -> Walk:
        """The walk of the part from t = a to t = b of a segment."""
        ends = [start + t * (end - start) if t < 1.0 else end for t in (a, b)]
        found = self._walk(np.stack(ends), stop)
        device[0] = found.device
        return found.segments[0]

    def _value(self, point: Floats) -> Floats:
        return self.network.evaluate(point, device=self.job.device, lowering=self.job.lowering)


def told_of(task: Task, device: str, work: Callable[[], Result]) -> Result:
    """The result of a task; of one that was stopped, or that cannot be done, one that says so."""
    try:
        return work()
    except StoppedError:
        return Result(task.path, None, None, 0.0, worker_name(), device, interrupted=True)
    except LronnxError as error:
        return Result(task.path, None, None, 0.0, worker_name(), device, str(error))
    except MemoryError:
        problem = "out of memory: less --memory, fewer --workers or --precision single need less"
        return Result(task.path, None, None, 0.0, worker_name(), device, problem)


def worker_name() -> str:
    """What this process is called in tables of times."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _load(job: Job) -> network.Network:
    rates = None if job.rates is None else Rates(dict(job.rates))
    load = partial(
        network.load, output=job.output, fixed_inputs=job.fixed_inputs, shapes=job.shapes, threads=1, rates=rates
    )
    if isinstance(job.model, bytes):
        with tempfile.TemporaryDirectory(prefix="lronnx-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(job.model)
            return load(path)
    loaded = load(job.model)
    if job.sha256 and (job.sha256, job.weights_sha256) != (loaded.sha256, loaded.weights_sha256):
        raise InputError(f"the model file {job.model}, or its weights, has changed since the study began")
    return loaded
