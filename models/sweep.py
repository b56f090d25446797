"""Train a family of networks over widths and seeds, analyse each, and draw the paper's figure.

``python -m models.sweep digits -o SWEEP`` takes minutes on a laptop. Each network is trained and exported
(``SWEEP/networks``), and walked by ``lronnx analyze`` on closed paths around training points with true and with
corrupted labels and around test points (``SWEEP/runs``); ``results.csv`` has a line per network, ``figure.png`` and
``statistics.txt`` show what came out. The same command goes on with a sweep that was interrupted. Of a command with
other widths or seeds only the networks that are not there yet are made, and the results are those that it names. With
``--keep 0,1,2,5,...`` the networks of these epochs are analysed, too; with one width alone the figure is then about
epochs, with several it is about the widths at the last one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import filelock
import numpy as np
import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models import architectures, data, figure, results, statistics
from models.data import Images
from models.files import write_whole
from models.train import (
    Experiment,
    Exported,
    ExportFailed,
    Refused,
    check_installed,
    choose_device,
    epochs_of,
    prepare,
    run,
    write_data,
)
from models.training import SCHEDULES, Diverged, Recipe, Row, TrainingError

RESULTS, FIGURE, STATISTICS, SETTINGS = "results.csv", "figure.png", "statistics.txt", "sweep.json"
_ROWS = "rows.json"
_AT_A_TIME_ON_GPU = 4


@dataclass(frozen=True)
class Sweep:
    """What is trained and how it is analysed; a preset is one of these.

    ``architectures``: names with ``{w}`` for the width. ``points``: so many paths around points of each kind.
    ``anchors``, ``radius``: of the closed paths, points of the circle and pixels to move by. ``precision``: of the
    analysis. The rest as for :class:`models.train.Experiment` and :class:`models.training.Recipe`.

    Raises:
        TrainingError: an architecture without ``{w}``, or one that is named twice; a radius that is none.
    """

    architectures: tuple[str, ...]
    widths: tuple[int, ...]
    seeds: int
    data: str
    epochs: int
    learning_rate: float
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    crop: int = 0
    flip: bool = False
    mixed_precision: bool = False
    evaluate_every: int = 10
    noise: float = 0.2
    train_samples: int | None = None
    test_samples: int | None = None
    data_seed: int = 0
    keep: tuple[int, ...] = ()
    points: int = 40
    anchors: int = 8
    radius: float = 1.0
    precision: str = "double"
    title: str = ""

    def __post_init__(self) -> None:
        for template in self.architectures:
            if "{w}" not in template:
                raise TrainingError(
                    f"--architecture '{template}' is the same for every width: write {{w}} where the width stands"
                )
        if len(set(self.architectures)) < len(self.architectures):
            raise TrainingError(f"--architecture names one twice: {', '.join(self.architectures)}")
        if not 0 < self.radius < float("inf"):
            raise TrainingError(f"--radius is {self.radius}: it must be a number of pixels above 0")

    def experiment(self, architecture: str, seed: int) -> Experiment:
        """One training of the sweep."""
        own = {one.name for one in fields(self)}
        recipe = Recipe(seed=seed, **{one.name: getattr(self, one.name) for one in fields(Recipe) if one.name in own})
        return Experiment(
            architecture, recipe, self.train_samples, self.test_samples, 0, self.noise, self.data_seed, self.keep
        )  # fmt: skip

    def identity(self, images: Images) -> dict[str, Any]:
        """What must be the same for a sweep to be gone on with: all but what only adds networks to it."""
        free = {"architectures", "widths", "seeds", "title", "data"}
        described = {name: value for name, value in asdict(self).items() if name not in free}
        return dict(json.loads(json.dumps({**described, "data": f"{images.name}: {images.provenance}"})))


PRESETS = {
    "digits": Sweep(
        architectures=("mlp_{w}_{w}",),
        widths=(4, 5, 7, 10, 14, 17, 20, 24, 28, 40, 64, 128, 256),
        seeds=10,
        data="digits",
        epochs=400,
        learning_rate=0.1,
        title="MLPs 64-w-w-10 on scikit-learn's digits, 20 % of 1,000 training labels wrong",
    ),
    # What two cores manage in an hour.
    "cifar10": Sweep(
        architectures=("vgg8_w{w}",),
        widths=(1, 2, 3, 4, 5, 6, 8, 12),
        seeds=3,
        data="cifar10",
        epochs=100,
        learning_rate=0.1,
        mixed_precision=True,
        train_samples=10_000,
        points=12,
        anchors=4,
        title="VGG8 of width w on 10,000 images of CIFAR-10, 20 % of the training labels wrong",
    ),
    # Sized by arithmetic for an hour of one large GPU, on which it has not been run: 48 networks of 30 epochs, four at
    # a time, in some 30 minutes; then a few million regions, which ResNet18s of width 16 make most of.
    "cifar10-gpu": Sweep(
        architectures=("cnn5_w{w}", "resnet18_w{w}"),
        widths=(1, 2, 3, 4, 6, 8, 12, 16),
        seeds=3,
        data="cifar10",
        epochs=30,
        learning_rate=0.05,
        mixed_precision=True,
        points=4,
        anchors=4,
        precision="single",
        title="Five-layer CNN and ResNet18 of width w on CIFAR-10, 20 % of the training labels wrong",
    ),
}


@dataclass(frozen=True)
class Item:
    """One network of a sweep."""

    architecture: str
    width: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.architecture}_seed{self.seed}"


def items(sweep: Sweep) -> list[Item]:
    """The networks, the widest first: what is left to the end should be quick."""
    return [
        Item(template.replace("{w}", str(width)), width, seed)
        for width in sorted(sweep.widths, reverse=True)
        for template in sweep.architectures
        for seed in range(sweep.seeds)
    ]


class Interrupted(Exception):
    """The sweep was told to stop."""


class AnalysisFailed(RuntimeError):
    """``lronnx analyze`` ended with an error; the text has its last words."""


class Worker:
    """What one process needs to train and analyse any network of a sweep.

    ``stopping`` tells, between two epochs and twice a second while an analysis runs, whether to give up.
    """

    def __init__(self, sweep: Sweep, images: Images, folder: Path, device: str, stopping: Callable[[], bool]) -> None:
        self.sweep, self.images, self.folder = sweep, images, folder
        self.device, self.wanted = choose_device(device), device
        self.stopping = stopping
        self.analysis: subprocess.Popen[str] | None = None

    def __call__(self, item: Item) -> list[dict[str, Any]]:
        """Train, export and analyse; the rows of the results, one per exported network.

        Raises Interrupted, and what training, export and analysis raise.
        """
        experiment = self.sweep.experiment(item.architecture, item.seed)
        prepared = prepare(experiment, self.images)

        def report(epoch: int, row: Row | None) -> None:
            if self.stopping():
                raise Interrupted

        folder = self.folder / "networks" / item.name
        exported = run(experiment, self.images, folder, device=self.device, report=report, prepared=prepared)
        # The last epoch once, if it is one of those to keep as well.
        networks = {one.epoch: one for one in exported}.values()
        rows = [self._row(item, one, self._analyze(item, one)) for one in networks]
        write_whole(folder / _ROWS, json.dumps(rows, indent=1).encode())
        return rows

    def _analyze(self, item: Item, exported: Exported) -> dict[str, Any]:
        """The summary of ``lronnx analyze`` on closed paths around this network's training and test points."""
        sweep = self.sweep
        run_folder = self.folder / "runs" / f"{item.name}_epoch{exported.epoch:05d}"
        command = [sys.executable, "-m", "lronnx", "analyze", exported.path, "--data", self.folder / "data.npz"]
        command += ["--paths", "closed", "--anchors", sweep.anchors, "--radius", sweep.radius]
        command += ["--samples", sweep.points, "--seed", sweep.data_seed, "--precision", sweep.precision]
        # Of many networks nobody looks at single paths or units.
        command += ["--exhibits", 0, "--units", 0]
        # Not the device that was chosen for torch: with auto, a GPU may be one that onnxruntime cannot use.
        command += ["--device", self.wanted, "--workers", 1, "--json", "-o", run_folder]
        if sweep.noise:
            corrupted = self.folder / f"corrupted_seed{item.seed}.npy"
            command += ["--corrupted", corrupted]
            if len(np.load(corrupted)):
                command += ["--corrupted-samples", sweep.points]
        code, told, errors = self._watched([str(part) for part in command])
        if code != 0 and self.stopping():
            raise Interrupted  # whoever told the sweep to stop told the analysis, too
        if code != 0:
            raise AnalysisFailed(
                f"the analysis of {exported.path} ended with exit code {code}:\n{errors.strip()[-2000:]}\nthe command: "
                + " ".join(str(part) for part in command)
            )
        return dict(json.loads(told))

    def _watched(self, command: list[str]) -> tuple[int, str, str]:
        """Run a command, but terminate it once the sweep is told to stop: exit code, stdout, stderr."""
        if self.stopping():
            raise Interrupted
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.analysis = process
            try:
                while True:
                    try:
                        told, errors = process.communicate(timeout=0.5)
                        break
                    except subprocess.TimeoutExpired:
                        if self.stopping():
                            raise Interrupted from None
            except BaseException:
                process.terminate()
                process.communicate()
                raise
            finally:
                self.analysis = None
        return process.returncode, told, errors

    def _row(self, item: Item, exported: Exported, summary: dict[str, Any]) -> dict[str, Any]:
        """One line of the results, keyed as :data:`models.results.COLUMNS`."""
        row = exported.row
        found: dict[str, Any] = {
            "architecture": item.architecture,
            "width": item.width,
            "seed": item.seed,
            "epoch": exported.epoch,
            "parameters": exported.parameters,
            "units": exported.units,
            "train_accuracy": row.train_accuracy,
            "clean_train_accuracy": row.clean_train_accuracy,
            "test_accuracy": row.test_accuracy,
            "train_loss": row.train_loss,
            "test_loss": row.test_loss,
        }
        for group, measured in measured_groups(summary).items():
            found |= {f"{key}_{group}": value for key, value in _measures(measured, self.sweep.anchors).items()}
        return found


def measured_groups(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The groups of a study's summary by the names that the results use."""
    found = summary["groups"]
    groups = {
        "train_corrupted" if one["corrupted"] else "train_clean": one
        for one in found["split_and_corrupted"]
        if one["split"] == "train"
    }
    splits = {one["split"]: one for one in found["split"]}
    if not groups:
        groups["train_clean"] = splits["train"]  # without noise nobody told which labels are wrong: none is
    return groups | {"test": splits["test"]}


def _measures(group: dict[str, Any], segments: int) -> dict[str, float | None]:
    """The measures of the results, means over a group's paths of so many segments."""
    means = {name: measure["mean"] for name, measure in group["measures"].items()}
    return {
        "paths": group["paths"],
        "density": means["density"],
        "breakpoints_per_segment": means["regions"] / segments - 1,
        "absolute_deviation": means["absolute_deviation_norm"],
        "mean_deviation": means["mean_absolute_deviation_norm"],
        "total_variation": means["total_variation_norm"],
        "local_similarity": means["local_similarity"],
    }


_worker: Worker | None = None


def _start_worker(sweep: Sweep, handed: Path, folder: Path, device: str, stop: Any) -> None:
    """Make this process a worker: it leaves Ctrl-C to the process that started it, and ends with it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The pool terminates its workers when one of them dies.
    signal.signal(signal.SIGTERM, _end_worker)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    gone = threading.Event()

    def follow() -> None:
        parent.join()
        gone.set()
        # Time to end an analysis; an idle worker would wait for work for ever.
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    with handed.open("rb") as file:
        images = pickle.load(file)
    _worker = Worker(sweep, images, folder, device, lambda: bool(stop.value) or gone.is_set())


def _end_worker(_signal: int, _frame: object) -> None:
    """End this process at once, and the analysis that it waits for."""
    if _worker is not None and _worker.analysis is not None:
        _worker.analysis.terminate()
    os._exit(128 + signal.SIGTERM)


def _work(item: Item) -> list[dict[str, Any]] | None:
    assert _worker is not None
    try:
        return _worker(item)
    except Interrupted:
        return None
    except TrainingError as error:
        raise type(error)(f"{item.name}: {error}") from error


def perform(
    sweep: Sweep,
    images: Images,
    folder: Path,
    *,
    workers: int,
    device: str,
    report: Callable[[Item, list[dict[str, Any]]], None] = lambda item, rows: None,
) -> Path:
    """Train and analyse what is not there yet; returns the path of the results.

    ``device``: ``cpu``, ``cuda`` or ``auto``, with which training and analysis choose for themselves. ``report`` is
    called for every network, also for those that were there already.

    Raises:
        data.DataError: there are fewer images than asked for.
        TrainingError: the folder holds something else, another process writes to it, or a training fails.
        Diverged: some trainings diverged; all others are done, and the results are theirs.
        ExportFailed: an exported network computes something else than it should.
        AnalysisFailed: an analysis fails.
        KeyboardInterrupt: after the workers have stopped; what they were at goes on from its last saved state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(folder / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise TrainingError(f"another process is at work in {folder}; wait for it, or give another folder") from None
    with lock:
        # Before the settings are noted, which would keep those that can be followed out of the folder.
        prepare(sweep.experiment("", 0), images)
        _check_settings(sweep, images, folder)
        _write_data(sweep, images, folder)
        rows: dict[Item, list[dict[str, Any]]] = {}
        diverged: list[str] = []
        waiting = []
        for item in items(sweep):
            done = _finished(folder / "networks" / item.name / _ROWS)
            if done is None:
                waiting.append(item)
            else:
                rows[item] = done
                report(item, done)
        # Closed whatever happens here: the workers would go on until nobody knew of them any more.
        with closing(_in_processes(sweep, images, folder, workers, device, waiting)) as ready:
            for item, found in ready:
                if isinstance(found, Diverged):
                    diverged.append(str(found))
                    continue
                rows[item] = found
                results.write(folder / RESULTS, _ordered(rows))
                report(item, found)
        if diverged:
            if rows:
                results.write(folder / RESULTS, _ordered(rows))
            raise Diverged("\n".join([f"{len(diverged)} of {len(items(sweep))} networks diverged:", *diverged]))
        results.write(folder / RESULTS, _ordered(rows))
    return folder / RESULTS


def _in_processes(
    sweep: Sweep, images: Images, folder: Path, workers: int, device: str, waiting: Sequence[Item]
) -> Generator[tuple[Item, list[dict[str, Any]] | Diverged]]:
    """Every network as soon as it is ready, with its rows, or with why it never will be."""
    if not waiting:
        return
    # Spawned, since neither CUDA nor threads survive a fork.
    context = multiprocessing.get_context("spawn")
    # Not an Event, which a worker that is killed could leave locked.
    stop = context.RawValue("b", 0)
    # The images come to the workers in a file. The pipe that they are started through would hold up whoever starts
    # them until they have read it, for ever if one of them dies first.
    handed = folder / ".images"
    write_whole(handed, lambda file: pickle.dump(images, file, protocol=pickle.HIGHEST_PROTOCOL))
    pool = ProcessPoolExecutor(
        min(workers, len(waiting)), context, initializer=_start_worker, initargs=(sweep, handed, folder, device, stop)
    )
    analyses: list[psutil.Process] = []
    try:
        with _terminated_like_interrupted() as held:
            with held():
                futures = {pool.submit(_work, item): item for item in waiting}
            while futures:
                analyses = _grandchildren()
                for future in wait(futures, timeout=1, return_when=FIRST_COMPLETED).done:
                    item = futures.pop(future)
                    try:
                        found = future.result()
                    except Diverged as error:
                        yield item, error
                        continue
                    assert found is not None, "nobody told the workers to stop"
                    yield item, found
    except BrokenProcessPool:
        # That of a worker that was killed would go on, and keep the next one out of its folder.
        for process in analyses:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        raise TrainingError(
            "a worker process died, killed or out of memory; the same command goes on, perhaps with fewer --workers"
        ) from None
    finally:
        # Whatever ended the loop, a worker is not to begin with, or go on with, anything.
        stop.value = 1
        pool.shutdown(cancel_futures=True)
        handed.unlink(missing_ok=True)


def _grandchildren() -> list[psutil.Process]:
    """The processes that the workers started."""
    found = []
    for worker in multiprocessing.active_children():
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(worker.pid).children()
    return found


@contextmanager
def _terminated_like_interrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """SIGTERM raises KeyboardInterrupt here, as Ctrl-C does, so that workers are told to stop.

    Within what it gives out, which is for starting them, both wait: a worker that is begun by halves ends in a
    traceback. Processes that are started there never see Ctrl-C, which the terminal sends to them as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    holding, held_back = False, False

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal held_back
        if not holding:
            raise KeyboardInterrupt
        held_back = True

    @contextmanager
    def held() -> Iterator[None]:
        nonlocal holding
        # What is started inherits the mask. It is this thread's alone, so that the signal may come all the same.
        masks = hasattr(signal, "pthread_sigmask")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
        holding = True
        try:
            yield
        finally:
            holding = False
            if masks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if held_back:
            raise KeyboardInterrupt

    # Who is told to ignore Ctrl-C, as a shell tells what it runs in the background, goes on to do so.
    caught = {signal.SIGTERM} | {one for one in (signal.SIGINT,) if signal.getsignal(one) != signal.SIG_IGN}
    former = {one: signal.signal(one, interrupt) for one in caught}
    try:
        yield held
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)


def _check_settings(sweep: Sweep, images: Images, folder: Path) -> None:
    """Refuse a folder whose networks were trained or analysed otherwise; note how these are."""
    path = folder / SETTINGS
    identity = sweep.identity(images)
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = [key for key in {*found, *identity} if found.get(key) != identity.get(key)]
        except (ValueError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path} is damaged ({error}); delete {folder} to begin again") from error
        if differing:
            told = "; ".join(f"{key}: {found.get(key)} there, {identity.get(key)} here" for key in sorted(differing))
            raise TrainingError(f"{folder} holds another sweep ({told}); give another folder, or the same options")
        return
    others = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    if others:
        # What lies there under the names of a sweep's files would be taken for them.
        raise TrainingError(f"{folder} holds {others[0]}, but no sweep ({SETTINGS}); give an empty folder or another")
    write_whole(path, json.dumps(identity, indent=1).encode())


def _write_data(sweep: Sweep, images: Images, folder: Path) -> None:
    """Write the images that are trained and tested with, and per seed which labels are wrong, for the analysis."""
    for seed in range(sweep.seeds):
        path = folder / f"corrupted_seed{seed}.npy"
        if not path.exists():
            prepared = prepare(sweep.experiment("", seed), images)
            write_whole(path, partial(np.save, arr=prepared.corrupted))
    path = folder / "data.npz"
    if not path.exists():
        write_data(prepare(sweep.experiment("", 0), images).images, path)


def _finished(path: Path) -> list[dict[str, Any]] | None:
    """The rows of a network that was analysed already; None if it was not, or if the file is damaged."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not rows or not isinstance(rows, list):
        return None
    return rows if all(isinstance(row, dict) and set(row) <= set(results.COLUMNS) for row in rows) else None


def _ordered(rows: dict[Item, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All rows by architecture, width, seed and epoch, whoever was ready first."""
    family = results.family_of
    order = sorted(rows, key=lambda item: (family(item.architecture), item.width, item.architecture, item.seed))
    return [row for item in order for row in rows[item]]


def told(item: Item, rows: Sequence[dict[str, Any]]) -> str:
    """One line about a network of the sweep, at its last epoch."""
    row = rows[-1]
    measured = [
        f"{group.replace('_', ' ')} {row[f'density_{group}']:.3g}, {row[f'absolute_deviation_{group}']:.3g}"
        for group in results.GROUPS
        if row.get(f"density_{group}") is not None
    ]
    return (
        f"{item.name}: error: train {1 - row['train_accuracy']:.1%}, test {1 - row['test_accuracy']:.1%}; density, "
        f"deviation: {'; '.join(measured)}"
    )


def present(folder: Path, sweep: Sweep) -> str:
    """Draw the figure and write the statistics of the results in a folder; returns their text.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: the results are damaged, or of more families than are shown side by side.
    """
    # With the epochs of several widths it is about the widths, at the last epoch.
    x = "width" if len(sweep.widths) > 1 else None
    table = results.read(folder / RESULTS)
    text = statistics.compute(table, x=x).text()
    write_whole(folder / STATISTICS, text.encode())
    figure.draw(table, folder / FIGURE, x=x, title=sweep.title or None)
    return text


def _cores() -> int:
    """Cores, not threads of them, that this process may use: a container or a job scheduler may grant few of many."""
    cores = psutil.cpu_count(logical=False) or 1
    return min(cores, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else cores


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise Refused(f"{option} '{text}': give whole numbers from 1 on, such as 1,2,4,8")
    return numbers


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("preset", type=click.Choice(list(PRESETS)))
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the results.",
)
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    metavar="NAME",
    help="With {w} for the width, as in resnet18_w{w}; may be repeated.",
)
@click.option("--widths", metavar="1,2,4,8", help="The widths.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Networks per width, each with its own noise.")
@click.option("--data", metavar="DATA", help="digits, cifar10, cifar100, or an archive or folder of images.")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Where CIFAR's archives lie (default: a cache).")
@click.option("--download", is_flag=True, help="Fetch CIFAR from its site if it is not there.")
@click.option("--train-samples", type=click.IntRange(min=1), metavar="N", help="Train with N of the images.")
@click.option("--test-samples", type=click.IntRange(min=1), metavar="N", help="Test with N of the images.")
@click.option("--noise", type=click.FloatRange(0, 1), metavar="P", help="Probability that a training label is wrong.")
@click.option("--epochs", type=int, metavar="N", help="Passes over the training images.")
@click.option("--batch", type=int, metavar="N", help="Images per step.")
@click.option("--learning-rate", type=float, metavar="R", help="At the beginning.")
@click.option("--momentum", type=float, metavar="M", help="Of the steps.")
@click.option("--weight-decay", type=float, metavar="D", help="Of all weights.")
@click.option("--schedule", type=click.Choice(SCHEDULES), help="Of the learning rate.")
@click.option("--crop", type=int, metavar="PIXELS", help="Augment: move images by up to so many pixels.")
@click.option("--flip/--no-flip", default=None, help="Augment: mirror images, or not, by chance.")
@click.option(
    "--mixed-precision/--no-mixed-precision",
    default=None,
    help="Train with bfloat16 where that is safe (many times slower on a CPU without AVX-512).",
)
@click.option("--evaluate-every", type=int, metavar="EPOCHS", help="Evaluations in between, for log.csv.")
@click.option("--keep", metavar="0,1,2,5", help="Export and analyse the networks after these epochs, too.")
@click.option(
    "--data-seed",
    type=click.IntRange(min=0),
    metavar="S",
    help="Of which images are drawn, to train with and for the paths; the same ones for all networks.",
)
@click.option("--points", type=click.IntRange(min=1), metavar="N", help="Paths around N points of each kind.")
@click.option("--anchors", type=click.IntRange(min=3), metavar="K", help="Points of a closed path.")
@click.option("--radius", type=float, metavar="R", help="Pixels by which a closed path moves its image.")
@click.option("--precision", type=click.Choice(["double", "single"]), help="Of the analysis.")
@click.option("--title", help="Of the figure.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Networks at a time (default: see below).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def main(
    preset: str,
    folder: Path,
    data_folder: Path | None,
    download: bool,
    widths: str | None,
    keep: str | None,
    workers: int | None,
    device: str,
    **chosen: Any,
) -> None:
    """Train networks of many widths and seeds, analyse each, and draw the paper's figure.

    PRESET gives the settings, and every option replaces one: digits (minutes on two cores), cifar10 (VGG8 on a part of
    the images, an hour on two cores), cifar10-gpu (five-layer CNNs and ResNet18s, sized for an hour of a large GPU).
    The same command goes on with a sweep that was interrupted.

    So many networks are trained and analysed at a time as there are cores, or four on a GPU.
    """
    console = Console(stderr=True, highlight=False)
    try:
        check_installed("onnxscript", "matplotlib")
        sweep = replace(PRESETS[preset], **{name: value for name, value in chosen.items() if value not in (None, ())})
        if widths is not None:
            sweep = replace(sweep, widths=_numbers(widths, "--widths"))
        if keep is not None:
            sweep = replace(sweep, keep=epochs_of(keep, sweep.epochs))
        if sweep != PRESETS[preset] and chosen["title"] is None:
            sweep = replace(sweep, title="")  # the preset's would not be true
        images = data.load(sweep.data, folder=data_folder, download=download)
        shape = images.train_images.shape[1:]
        for item in items(sweep):
            with torch.device("meta"):  # which takes no memory
                architectures.build(item.architecture, shape, len(images.classes))
            sweep.experiment(item.architecture, item.seed)
        kind = choose_device(device).type
        workers = workers or (_AT_A_TIME_ON_GPU if kind == "cuda" else _cores())
        console.print(f"{images.name}: {images.provenance}", markup=False, soft_wrap=True)
        try:
            _perform_with_progress(sweep, images, folder, workers, device, console)
        except Diverged:
            if (folder / RESULTS).exists():
                click.echo(present(folder, sweep), nl=False)
            raise
        text = present(folder, sweep)
    except (AnalysisFailed, ExportFailed, torch.OutOfMemoryError, ModuleNotFoundError, ValueError, OSError) as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on")
        sys.exit(130)
    click.echo(text, nl=False)
    console.print(
        f"wrote {folder / RESULTS}, {folder / FIGURE} and {folder / STATISTICS}", markup=False, soft_wrap=True
    )


def _perform_with_progress(
    sweep: Sweep, images: Images, folder: Path, workers: int, device: str, console: Console
) -> None:
    begun = time.monotonic()
    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(items(sweep)))

        def report(item: Item, rows: list[dict[str, Any]]) -> None:
            console.print(told(item, rows), markup=False, soft_wrap=True)
            progress.advance(bar)

        perform(sweep, images, folder, workers=workers, device=device, report=report)
    console.print(f"{len(items(sweep))} networks in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
