"""What ``lronnx analyze`` costs beyond the walks themselves, and what a second worker brings.

Every measurement is a command of its own, on the same paths: the bare engine in a loop, single-threaded, with nothing
kept; ``analyze`` with one worker, with several, and on a dask cluster of as many. Times are those of whole commands,
from start to exit, imports included. They take turns, as often as --repeat says, and the median counts. Peak memory is
that of all processes of a command together (resident set sizes; what they share counts several times).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.dataset

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"

BARE = """
import sys, time
import lronnx
from lronnx import session, study
session.keep_freed_memory()
network = lronnx.load(sys.argv[1], threads=1)
samples, splits = int(sys.argv[4]) or None, [sys.argv[5]] if sys.argv[5] else []
planned = study.plan(network, sys.argv[2], sys.argv[3], samples=samples, splits=splits)
for number in range(len(planned.paths)):
    path = planned.paths[number]
    network.walk_path(path.points, closed=path.closed, memory=study.MEMORY)
"""


@dataclass
class Row:
    """A way to walk: how it is called, its command (RUN stands for a new folder), and what was measured."""

    name: str
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def timed(command: Sequence[str], run: Path) -> tuple[float, float]:
    """Seconds of a command, and the peak megabytes of all its processes together."""
    begin, peak = time.perf_counter(), 0
    process = psutil.Popen(
        [str(run) if part == "RUN" else part for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while process.poll() is None:
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, total)
        try:
            process.wait(0.1)
        except psutil.TimeoutExpired:
            continue
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read().decode()}")
    return seconds, peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=EXAMPLE / "digits.onnx")
    parser.add_argument("--data", type=Path, default=EXAMPLE / "digits_data.npz")
    parser.add_argument("--paths", default="closed")
    parser.add_argument("--samples", type=int, default=64, help="of each split; 0 for all")
    parser.add_argument("--split", default="", help="default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=["engine", "one", "several", "dask"])
    given = parser.parse_args()

    chosen = ["--samples", str(given.samples)] if given.samples else []
    chosen += ["--split", given.split] if given.split else []
    analyze = [sys.executable, "-m", "lronnx", "analyze", str(given.model), "--data", str(given.data)]
    analyze += ["--paths", given.paths, *chosen, "-o", "RUN"]
    bare = [str(given.model), str(given.data), given.paths, str(given.samples), given.split]
    rows = {
        "engine": Row("engine alone, 1 thread", [sys.executable, "-c", BARE, *bare]),
        "one": Row("analyze --workers 1", [*analyze, "--workers", "1"]),
        "several": Row(f"analyze --workers {given.workers}", [*analyze, "--workers", str(given.workers)]),
        "dask": Row(
            f"the same, dask ({given.workers})", [*analyze, "--cluster", "local", "--workers", str(given.workers)]
        ),
    }
    rows = {key: row for key, row in rows.items() if key not in given.skip}
    paths = regions = 0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(given.repeat):
            for key, row in rows.items():
                run = Path(folder) / "run"
                shutil.rmtree(run, ignore_errors=True)
                seconds, megabytes = timed(row.command, run)
                row.seconds.append(seconds)
                row.megabytes.append(megabytes)
                print(f"turn {turn}: {row.name}: {seconds:.1f} s, {megabytes:.0f} MB", file=sys.stderr)
                if key != "engine":
                    table = pyarrow.dataset.dataset(run / "segments").to_table(columns=["path", "regions"])
                    paths = len(set(table.column("path").to_pylist()))
                    regions = sum(table.column("regions").to_pylist())
    print(f"{paths} paths, {regions} regions, median of {given.repeat}")
    print(f"{'':26} seconds  paths/s  regions/s  peak MB  times as fast as one worker")
    usual = statistics.median(rows["one"].seconds) if "one" in rows else float("nan")
    for row in rows.values():
        seconds = statistics.median(row.seconds)
        print(
            f"{row.name:26} {seconds:7.1f}  {paths / seconds:7.1f}  {regions / seconds:9.0f}  "
            f"{max(row.megabytes):7.0f}  {usual / seconds:.2f}"
        )
    if "engine" in rows and "one" in rows:
        ratios = [one / bare for one, bare in zip(rows["one"].seconds, rows["engine"].seconds, strict=True)]
        print(
            f"analyze over the engine's own time, turn by turn: {', '.join(f'{100 * (r - 1):+.1f} %' for r in ratios)}"
        )


if __name__ == "__main__":
    main()
