"""Worker processes that do as a task says, without any network: what its first point's first number stands for."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection

from lronnx.errors import ModelError
from lronnx.jobs import Job, Result, Task

WORK, DIE, DIE_ONCE, EXIT, SLEEP, HALF = range(6)


def answer(task: Task) -> Result:
    return Result(task.path, None, None, float(task.points.sum()), f"process:{os.getpid()}", "cpu")


def work(pipe: Connection) -> None:
    """Stands for ``lronnx.workers._work``. A job whose output is 'stillborn' or 'refused' never begins."""
    job: Job = pipe.recv()
    if job.output == "stillborn":
        os._exit(3)
    if job.output == "refused":
        pipe.send(ModelError("no such network"))
        return
    pipe.send(None)
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        what = int(task.points[0, 0])
        if what == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == EXIT:
            os._exit(7)
        if what == HALF:
            # Dies in the middle of a message.
            os.write(pipe.fileno(), b"\x00\x00\x10\x00half")
            os._exit(0)
        if what == DIE_ONCE:
            mark = f"{job.output}-{task.path}"
            if not os.path.exists(mark):
                with open(mark, "w"):
                    pass
                os.kill(os.getpid(), signal.SIGKILL)
        if what == SLEEP:
            time.sleep(float(task.points[0, 1]))
        pipe.send(answer(task))
