"""Whoever walks: every path once, whatever dies on the way."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_workers
import numpy as np
import psutil
import pyarrow as pa
import pytest
from fake_workers import DIE, DIE_ONCE, EXIT, HALF, SLEEP, WORK

from lronnx import workers
from lronnx.errors import LronnxError, ModelError
from lronnx.jobs import Job, Result, Task, Walking
from lronnx.walker import Stop
from lronnx.workers import ATTEMPTS, Here, Processes

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example" / "digits.onnx"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    monkeypatch.setattr(workers, "_work", fake_workers.work)
    return Job(b"", output=str(tmp_path / "mark"))


def task(path: int, what: int = WORK, number: float = 0.0) -> Task:
    return Task(path, np.array([[float(what), number]]), False)


def found(crew: Processes, tasks: list[Task]) -> dict[int, Result]:
    results: dict[int, Result] = {}
    for result in crew.results(iter(tasks)):
        if result is not None:
            assert result.path not in results
            results[result.path] = result
    assert sorted(results) == sorted(one.path for one in tasks)
    return results


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_path_once(fake: Job, count: int) -> None:
    tasks = [task(path, number=path) for path in range(30)]
    results = found(Processes(fake, count), tasks)
    assert all(result.seconds == path and not result.problem for path, result in results.items())
    assert 1 <= len({result.worker for result in results.values()}) <= count


def test_no_more_processes_than_tasks(fake: Job) -> None:
    crew = Processes(fake, 8)
    results = crew.results(iter([task(0, SLEEP, 1.0), task(1, SLEEP, 1.0)]))
    next(results)
    assert len(crew._workers) == 2
    assert len([result for result in results if result is not None]) >= 1
    assert not list(Processes(fake, 2).results(iter([])))


def test_a_killed_worker_costs_its_path_only(fake: Job) -> None:
    tasks = [task(path, DIE_ONCE if path % 5 == 0 else WORK) for path in range(20)]
    results = found(Processes(fake, 2), tasks)
    assert not any(result.problem for result in results.values())


@pytest.mark.parametrize(("what", "told"), [(DIE, "SIGKILL"), (EXIT, "exit code 7"), (HALF, "exit code 0")])
def test_a_path_that_kills_whoever_walks_it_is_given_up(fake: Job, what: int, told: str) -> None:
    tasks = [task(path, what if path == 3 else WORK) for path in range(12)]
    results = found(Processes(fake, 2), tasks)
    assert told in results[3].problem
    assert f"{workers.ATTEMPTS} workers died" in results[3].problem
    assert [path for path, result in results.items() if result.problem] == [3]


def test_workers_that_cannot_begin(fake: Job) -> None:
    crew = Processes(Job(b"", output="stillborn"), 2)
    with pytest.raises(LronnxError, match=r"died before they could begin \(with exit code 3\)"):
        list(crew.results(iter([task(0)])))
    with pytest.raises(ModelError, match="no such network"):
        list(Processes(Job(b"", output="refused"), 2).results(iter([task(0)])))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="sends SIGSTOP")
def test_a_worker_that_listens_to_nothing_does_not_stop_the_others(fake: Job) -> None:
    crew = Processes(fake, 2)
    made, last = 0, math.inf

    def tasks() -> Iterator[Task]:
        # However long one of them takes to start, the other has enough to do.
        nonlocal made
        while made < last:
            made += 1
            yield Task(made - 1, np.zeros((2000, 200)), False)

    results = crew.results(tasks())
    seen = 0
    while sum(worker.ready for worker in crew._workers) < 2:
        seen += next(results) is not None
    last = made + 40
    frozen = crew._workers[0].process.pid
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    until = time.monotonic() + 60
    for result in results:
        seen += result is not None
        # All but what the frozen one has.
        if made == last and seen >= made - 2:
            break
        assert time.monotonic() < until
    crew.close()
    assert not psutil.pid_exists(frozen)


def test_a_worker_that_dies_before_it_has_read_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    job = real_job(fixed_inputs={"unused": np.zeros(2_000_000)})
    crew = Processes(job, 1)
    results = crew.results(iter(real_tasks(1)))
    start = crew._start
    killed = []

    def stillborn() -> Any:
        worker = start()
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        killed.append(worker.process.pid)
        return worker

    monkeypatch.setattr(crew, "_start", stillborn)
    with pytest.raises(LronnxError, match="died before they could begin"):
        list(results)
    assert len(killed) == workers.ATTEMPTS


def test_closing_leaves_no_process(fake: Job) -> None:
    crew = Processes(fake, 2)
    results = crew.results(iter([task(path, SLEEP, 60.0) for path in range(4)]))
    while sum(worker.ready for worker in crew._workers) < 2:
        assert next(results) is None
    pids = [worker.process.pid for worker in crew._workers]
    results.close()  # type: ignore[attr-defined]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


def test_the_caller_is_called_while_nothing_comes(fake: Job) -> None:
    crew = Processes(fake, 1)
    begun = time.monotonic()
    for result in crew.results(iter([task(0, SLEEP, 30.0)])):
        assert result is None
        break
    assert time.monotonic() - begun < 20
    crew.close()


def test_what_is_only_at_hand_is_not_begun(fake: Job) -> None:
    stopping = False
    crew = Processes(fake, 2, lambda: Stop.SOON if stopping else Stop.NO)
    done = []
    for result in crew.results(task(path, SLEEP, 0.2) for path in range(100)):
        if result is not None:
            done.append(result.path)
            stopping = len(done) >= 4
    # The two that were being walked are finished, the two behind them are not.
    assert 4 <= len(done) <= 6
    assert not crew._workers


def real_job(**options: Any) -> Job:
    return Job(EXAMPLE, **options)


def real_tasks(count: int) -> list[Task]:
    rng = np.random.default_rng(5)
    return [Task(path, rng.random((3, 1, 1, 8, 8)), path % 2 == 0) for path in range(count)]


def rows_of(results: Iterator[Result | None]) -> list[pa.RecordBatch]:
    kept = {}
    for result in results:
        if result is not None:
            assert not result.problem
            assert result.rows is not None
            kept[result.path] = result.rows
    return [kept[path] for path in sorted(kept)]


def test_processes_bring_what_this_process_brings() -> None:
    tasks = real_tasks(5)
    here = rows_of(Here(real_job()).results(iter(tasks)))
    there = rows_of(Processes(real_job(), 2).results(iter(tasks)))
    assert len(here) == len(there) == 5
    for one, other in zip(here, there, strict=True):
        assert one.equals(other)


def test_a_worker_that_is_killed_while_it_walks() -> None:
    tasks = real_tasks(8)
    crew = Processes(real_job(), 2)
    results = crew.results(iter(tasks))
    kept, killed = [], 0
    # A path that costs as many workers as this is given up.
    costs: Counter[int] = Counter()
    for result in results:
        busy = [worker for worker in crew._workers if worker.ready and worker.tasks]
        busy = [worker for worker in busy if costs[worker.tasks[0].path] < ATTEMPTS - 1]
        if killed < 3 and busy:
            costs[busy[0].tasks[0].path] += 1
            pid = busy[0].process.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed += 1
        if result is not None:
            kept.append(result)
    assert killed == 3
    expected = rows_of(Here(real_job()).results(iter(tasks)))
    assert all(one.equals(other) for one, other in zip(rows_of(iter(kept)), expected, strict=True))


def test_a_worker_ends_when_nobody_leads_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import numpy as np, os, signal\n"
        "from pathlib import Path\n"
        "from lronnx.jobs import Job, Task\n"
        "from lronnx.workers import Processes\n"
        "if __name__ == '__main__':\n"
        f"    crew = Processes(Job(Path({str(EXAMPLE)!r})), 2)\n"
        "    tasks = (Task(i, np.random.default_rng(i).random((30, 1, 1, 8, 8)), True) for i in range(10000))\n"
        "    for result in crew.results(tasks):\n"
        "        if result is not None:\n"
        "            print(*(worker.process.pid for worker in crew._workers), flush=True)\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "lead.py").write_text(code)
    done = subprocess.run([sys.executable, tmp_path / "lead.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < until, "orphans go on walking"
        time.sleep(0.1)


def test_what_cannot_be_walked_is_told() -> None:
    bad = [Task(0, np.full((2, 1, 1, 8, 8), np.nan), False), Task(1, np.zeros((2, 3, 3)), False), *real_tasks(4)[2:]]
    results = list(Here(real_job()).results(iter(bad)))
    assert [bool(result.problem) for result in results if result is not None] == [True, True, False, False]


def test_this_process_can_be_stopped_in_the_middle() -> None:
    asked = 0

    def stop() -> Stop:
        nonlocal asked
        asked += 1
        return Stop.NOW if asked > 1 else Stop.NO

    (result,) = list(Here(real_job(), stop).results(iter(real_tasks(1))))
    assert result is not None
    assert result.interrupted
    assert result.rows is None
    # To finish what was begun is not to stop in the middle of it.
    walking = Walking(real_job())
    assert not walking.walk(real_tasks(1)[0], lambda: Stop.SOON).interrupted


def test_a_fault_of_the_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*anything: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Walking, "walk", broken)
    (result,) = list(Here(real_job()).results(iter(real_tasks(1))))
    assert result is not None
    assert "ZeroDivisionError: oops" in result.problem
    assert "report" in result.problem
