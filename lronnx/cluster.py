"""Walking the paths of a study on a dask.distributed cluster: one that runs somewhere, or one made on this machine.

Every worker gets the job once, by a plugin, which also reaches workers that join later or take the place of dead ones;
tasks hold a path's points, results come back to the process that runs the study, which alone writes. So workers need
neither the data nor the run folder, only lronnx of the same version. A worker's threads walk one path each.
"""

from __future__ import annotations

import logging
import threading
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lronnx import __version__
from lronnx.errors import InputError, LronnxError
from lronnx.jobs import Job, Result, Task, Walking
from lronnx.workers import TICK, without_interrupts

# Of a dask worker process: the jobs that it was given, and each thread's networks.
_jobs: dict[str, Job] = {}
_networks = threading.local()

# Parts of dask that log what they also raise.
_CHATTY = ("client", "comm", "core", "nanny", "scheduler", "worker")

# Seconds to wait for a scheduler.
_PATIENCE = 15

_INSTALL = "this needs dask: pip install 'lronnx[distributed]'"


class Dask:
    """A cluster behind a scheduler's ``address`` (tcp://HOST:8786, or the file that --scheduler-file wrote).

    Without one, ``count`` workers of one thread each on this machine. Raises InputError if dask is not installed or
    nobody answers.
    """

    def __init__(self, job: Job, *, address: str | None = None, count: int | None = None) -> None:
        try:
            import distributed
        except ImportError:
            raise InputError(_INSTALL) from None
        self._name = f"lronnx-{uuid.uuid4().hex}"
        self._local: Any = None
        self._client: Any = None
        # Whatever goes wrong is told by what is raised.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        for name in _CHATTY:
            logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
        try:
            if address is None:
                # Ctrl-C reaches every process of the terminal; when to end is for this one to say.
                with without_interrupts():
                    self._local = distributed.LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        # Any free port: the usual one may be somebody else's.
                        dashboard_address=":0",
                        memory_limit=0,
                        silence_logs=logging.CRITICAL,
                    )
                self._client = distributed.Client(self._local)
            elif address.endswith(".json"):
                # dask waits for one that is not there, for ever.
                if not Path(address).is_file():
                    raise InputError(f"--scheduler {address}: there is no such scheduler file")
                self._client = distributed.Client(scheduler_file=address, timeout=_PATIENCE)
            else:
                self._client = distributed.Client(address, timeout=_PATIENCE)
        except LronnxError:
            raise
        # What dask raises where a cluster cannot be reached or made is up to its parts.
        except Exception as error:
            option = "--cluster local" if address is None else f"--scheduler {address}"
            raise InputError(f"{option}: {str(error) or type(error).__name__}") from None
        try:
            self._client.register_plugin(_Deliver(self._name, job).plugin(), name=self._name)
        except Exception as error:
            self.close()
            raise LronnxError(f"the cluster's workers cannot take the job: {error}") from None

    def results(self, tasks: Iterable[Task]) -> Iterator[Result | None]:
        import distributed

        source = iter(tasks)
        running: dict[Any, Task] = {}
        try:
            while True:
                # Twice as many as there are threads keep everybody busy; workers may come and go.
                room = max(2 * sum(self._client.ncores().values()), 4)
                while len(running) < room and (task := next(source, None)) is not None:
                    running[self._submit(task)] = task
                if not running:
                    return
                try:
                    done = distributed.wait(list(running), timeout=TICK, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    yield None
                    continue
                for future in done:
                    task = running.pop(future)
                    if future.status == "finished":
                        yield future.result()
                    elif future.status == "error":
                        problem = f"{type(future.exception()).__name__}: {future.exception()}"
                        yield Result(task.path, None, None, 0.0, "", "", problem)
                    else:
                        # Lost on the way, by no fault of its own.
                        running[self._submit(task)] = task
                    future.release()
        except LronnxError:
            raise
        # What dask raises when a scheduler goes away depends on what it was doing.
        except Exception as error:
            told = str(error).partition("\n")[0] or type(error).__name__
            raise LronnxError(
                f"the connection to the cluster is lost ({told}); what is finished is safe, the same command goes on"
            ) from None
        finally:
            with suppress(Exception):
                for future in running:
                    future.cancel()

    def close(self) -> None:
        if self._local is None and self._client is not None and self._client.status == "running":
            # The cluster lives on; what it keeps for a study that is over is only in the way.
            with suppress(Exception):
                self._client.unregister_worker_plugin(self._name)
        for one in (self._client, self._local):
            if one is not None:
                with suppress(Exception):
                    one.close(timeout=_PATIENCE)

    def _submit(self, task: Task) -> Any:
        key = f"{self._name}-{task.path}-{uuid.uuid4()}"
        with warnings.catch_warnings():
            # Points are what a task is about, however large they are.
            warnings.filterwarnings("ignore", message="Sending large graph")
            return self._client.submit(walk, self._name, task, __version__, key=key)


def walk(name: str, task: Task, version: str) -> Result:
    """What a dask worker does for one task of the job that was delivered under that name."""
    if version != __version__:
        problem = f"the worker has lronnx {__version__}, the study was begun with {version}: install the same"
        return Result(task.path, None, None, 0.0, "", "", problem)
    kept = _networks.__dict__
    if name not in kept:
        # Of a job that is over a worker need not keep the network.
        kept.clear()
        kept[name] = Walking(_jobs[name])
    walking: Walking = kept[name]
    return walking.walk(task)


class _Deliver:
    """A job on its way to every worker that there is or will be."""

    def __init__(self, name: str, job: Job) -> None:
        self._name = name
        self._job = job

    def plugin(self) -> Any:
        from distributed import WorkerPlugin

        name, job = self._name, self._job

        class Delivery(WorkerPlugin):  # type: ignore[misc]  # published with few types
            def setup(self, worker: Any) -> None:
                from lronnx import cluster, session

                session.keep_freed_memory()
                cluster._jobs[name] = job

            def teardown(self, worker: Any) -> None:
                from lronnx import cluster

                cluster._jobs.pop(name, None)

        return Delivery()
