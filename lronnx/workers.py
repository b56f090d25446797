"""Who walks the paths of a study: this process, or several on this machine. :mod:`lronnx.cluster` has a third way.

Each takes tasks as it has room for them, gives results in any order, and gives None now and then while there are none,
so that the caller can look up. A worker that dies, killed or out of memory, costs the path that it was at: that one and
what waited for it go to others, and another worker takes its place.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from lronnx import session
from lronnx.errors import LronnxError
from lronnx.jobs import Result, Task, Work, Worker
from lronnx.walker import Stop

TICK = 0.25
"""Seconds after which the caller gets to look up at the latest."""

ATTEMPTS = 3
"""How many workers a path may cost before it is given up."""

# A worker has its next path at hand while it walks one.
_AHEAD = 2


class Workers(Protocol):
    """Whoever walks paths."""

    def results(self, tasks: Iterable[Task]) -> Iterator[Result | None]:
        """The results of all tasks, in any order, and None now and then.

        Raises LronnxError if no worker can begin. Closing the iterator gives up what is not finished.
        """

    def close(self) -> None:
        """Let go of what the workers need."""


class Here:
    """This process, one path after another. ``stop``: asked while it walks."""

    def __init__(self, job: Work, stop: Callable[[], Stop] | None = None) -> None:
        self._walking = job.begin()
        self._stop = stop

    def results(self, tasks: Iterable[Task]) -> Iterator[Result | None]:
        for task in tasks:
            yield _walk(self._walking, task, self._stop)

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    """A process, the pipe to it, and the tasks that it has: it is at the first of them.

    What it is sent goes through a thread: a pipe takes no more than a little if the other side does not listen.
    """

    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    tasks: deque[Task] = field(default_factory=deque)
    _outbox: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _sender: threading.Thread | None = None

    def send(self, message: Any) -> None:
        if self._sender is None:
            self._sender = threading.Thread(target=self._send, name="lronnx-send", daemon=True)
            self._sender.start()
        self._outbox.put(message)

    def end(self, patience: float = 0.0) -> int | None:
        """Wait so many seconds for the process to end, then end it; returns its exit code."""
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._outbox.put(None)
        if self._sender is not None:
            self._sender.join()
        self.pipe.close()
        return self.process.exitcode

    def _send(self) -> None:
        # That the other side is dead shows when it is listened to.
        with suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self.pipe.send(message)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Threads and processes that begin in here never get SIGINT; if one comes meanwhile, this thread gets it later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Where it is not running yet, starting a process starts it, and that lets SIGINT through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """``count`` processes on this machine, one thread each.

    ``stop``: once it says SOON, a worker that is done with a path does not begin the next one that it has at hand.
    A program that uses this needs the usual ``if __name__ == "__main__":`` around what it does, since every worker
    imports it.
    """

    def __init__(self, job: Work, count: int, stop: Callable[[], Stop] | None = None) -> None:
        self._job = job
        self._count = count
        self._stop = stop or (lambda: Stop.NO)
        self._workers: list[_Worker] = []

    def results(self, tasks: Iterable[Task]) -> Iterator[Result | None]:
        waiting: deque[Task] = deque()
        source = iter(tasks)
        attempts: Counter[int] = Counter()
        stillborn = 0
        try:
            while True:
                stopping = self._stop() is not Stop.NO
                if not stopping:
                    self._employ(waiting, source)
                if not any(worker.tasks for worker in self._workers) and (stopping or not waiting):
                    return
                ready = wait([worker.pipe for worker in self._workers], TICK)
                if not ready:
                    yield None
                for worker in [one for one in self._workers if one.pipe in ready]:
                    try:
                        message = worker.pipe.recv()
                    # Whatever a worker was sending when it died is not readable.
                    except Exception:
                        code = self._bury(worker)
                        stillborn = 0 if worker.ready else stillborn + 1
                        if stillborn >= ATTEMPTS:
                            raise LronnxError(
                                f"{stillborn} workers in a row died before they could begin ({_cause(code)})"
                            ) from None
                        if worker.ready and worker.tasks:
                            at = worker.tasks[0].path
                            attempts[at] += 1
                            if attempts[at] >= ATTEMPTS:
                                worker.tasks.popleft()
                                problem = f"{ATTEMPTS} workers died at it, the last one {_cause(code)}"
                                yield Result(at, None, None, 0.0, "", "", problem)
                        waiting.extendleft(reversed(worker.tasks))
                        continue
                    if isinstance(message, LronnxError):
                        raise message
                    if message is None:
                        worker.ready, stillborn = True, 0
                        continue
                    worker.tasks.popleft()
                    if self._stop() is Stop.NO:
                        # The next task is on its way before the caller has dealt with the result.
                        self._employ(waiting, source)
                    else:
                        self._bury(worker, at_once=True)
                    yield message
        finally:
            self.close()

    def close(self) -> None:
        while self._workers:
            self._workers.pop().end()

    def _employ(self, waiting: deque[Task], source: Iterator[Task]) -> None:
        """Give everybody enough to do; make workers that are missing."""
        for depth in range(1, _AHEAD + 1):
            for worker in self._workers:
                if worker.ready and len(worker.tasks) < depth:
                    task = _next(waiting, source)
                    if task is None:
                        return
                    worker.tasks.append(task)
                    worker.send(task)
        while len(self._workers) < self._count:
            # Each of those that are still beginning will need one.
            beginning = sum(not worker.ready for worker in self._workers)
            while len(waiting) <= beginning:
                task = next(source, None)
                if task is None:
                    return
                waiting.append(task)
            self._workers.append(self._start())

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), name="lronnx-worker", daemon=True)
        with without_interrupts():
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        worker.send(self._job)
        return worker

    def _bury(self, worker: _Worker, at_once: bool = False) -> int | None:
        """Take a worker that is dead, or is to be, off the list; returns its exit code."""
        self._workers.remove(worker)
        return worker.end(0.0 if at_once else 5.0)


def _next(waiting: deque[Task], source: Iterator[Task]) -> Task | None:
    return waiting.popleft() if waiting else next(source, None)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"by {name}" + (": was memory short?" if name == "SIGKILL" else "")
    return f"with exit code {code}"


def _walk(walking: Worker, task: Task, stop: Callable[[], Stop] | None = None) -> Result:
    """A path's result; that of a fault in the program, too, is one that tells of it."""
    try:
        return walking.walk(task, stop)
    except Exception as error:
        problem = f"internal error, please report it: {type(error).__name__}: {error}"
        return Result(task.path, None, None, 0.0, "", "", problem)


def _work(pipe: Connection) -> None:
    """What a worker process does: is sent a job, sends None once it is ready, then a result for each task."""
    # Ctrl-C reaches every process of the terminal; when to end is for the one that leads to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    session.keep_freed_memory()
    try:
        job: Work = pipe.recv()
    except EOFError:
        return
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                tasks.put(pipe.recv())
        except (EOFError, OSError):
            # Whoever leads is gone, and nobody wants what is being walked.
            os._exit(0)

    # Listening all the time keeps the other side from waiting until a long path is done.
    threading.Thread(target=listen, daemon=True).start()
    try:
        walking = job.begin()
    except LronnxError as error:
        pipe.send(error)
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(None)
        for _ in itertools.count():
            pipe.send(_walk(walking, tasks.get()))
