"""A study: many paths near the data, walked one by one on however many workers, into a run folder that can be resumed.

What rows come out is decided by the model, the data, the paths and the settings alone, all of which the folder's
manifest records; who walked them, in which order and after how many interruptions makes no difference. The statistical
figures over all paths are those of :mod:`lronnx.summary`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lronnx import __version__, calibration, onnx_io, paths, records, session, summary
from lronnx.data import Dataset, open_data
from lronnx.errors import InputError, LronnxError
from lronnx.estimates import Plan
from lronnx.inputs import Pixels, split_spec
from lronnx.jobs import Job, Result, Task, Work
from lronnx.network import ENGINES, PRECISIONS, Network
from lronnx.ops.lowering import check_name
from lronnx.paths import Path
from lronnx.places import Place
from lronnx.preprocessing import Preprocessing
from lronnx.run_folder import Outcome, RunFolder
from lronnx.walker import Stop
from lronnx.workers import Here, Processes, Workers

MEMORY = 10**9
"""Bytes that the walks of one worker may take by default. Not what happens to be free: results depend on it."""

CORRUPTED_KEY = "lronnx.corrupted_indices"
TRAINED_KEY = "lronnx.train_indices"
"""Metadata of a model: a JSON list of the positions in the training split whose labels were wrong in its training."""

FAMILY_OPTIONS = {
    "closed": ("anchors", "radius"),
    "open": ("anchors", "radius"),
    "pairs": ("partner", "per_sample"),
    "rays": ("length", "per_sample"),
    "random": ("anchors", "radius"),
    "file": ("closed",),
}
"""The options of :func:`lronnx.paths.make` that a family has."""

RESOURCES = ("device", "lanes", "memory")
"""Settings that may change while a run lasts: like another processor, they move figures by rounding only."""

DEVICES = ("auto", "cpu", "cuda")

UNITS = 64
"""Of so many paths, spread evenly over all, a row also tells how often each unit switches."""

EXHIBITS = 2
"""Of so many paths with the most and with the least absolute deviation every region is kept, to be looked at."""

# Longer texts in a model's metadata are data, not facts; the names of a thousand classes are not as long.
_METADATA = 2**16

_FEW_REGIONS = 50_000

EXHIBIT_BYTES = 10**8
"""A path with more regions than take about so many bytes is not kept to be looked at."""

# A part is read as a whole: about so many bytes, and no more paths than these.
_PART_BYTES, _PART_PATHS = 8 * 2**20, 256
# Polylines differ in length; so many of them are looked at.
_LOOKED_AT = 100


@dataclass(frozen=True)
class Settings:
    """How the paths of a study are walked.

    ``memory``: about how many bytes one worker's walks may take. ``max_regions``, ``max_seconds``: budget of one
    segment, whose walk then ends early; its row says how much of it was covered. ``estimate``: the fraction of every
    segment that is walked, for estimates of the rest (see :mod:`lronnx.estimates`). ``regions``: also keep every
    region; ``units``: of how many paths, spread evenly, the switches of single units are kept. The others as for
    :meth:`lronnx.Network.walk_path`. Raises InputError if they exclude each other.
    """

    engine: str = "sweep"
    precision: str = "double"
    device: str = "auto"
    lanes: int | None = None
    memory: int = MEMORY
    lowering: str = "auto"
    max_regions: int | None = None
    max_seconds: float | None = None
    estimate: float | None = None
    regions: bool = False
    units: int = UNITS
    seed: int = 0

    def __post_init__(self) -> None:
        # What does not fit is told before the first path, and not of every path.
        check_name(self.lowering)
        for name, known in (("engine", ENGINES), ("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} '{getattr(self, name)}': use {', '.join(known)}")
        for name in ("lanes", "memory", "max_regions"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.units < 0:
            raise InputError(f"units must not be negative, but {self.units} is")
        budgeted = self.max_regions is not None or self.max_seconds is not None
        if self.max_regions is not None and self.max_seconds is not None:
            raise InputError("a budget is a number of regions or of seconds, not both")
        if self.engine == "both" and self.max_seconds is not None:
            raise InputError("--engine both compares what two walks found: give a budget of regions, not of seconds")
        if self.max_seconds is not None and not 0 < self.max_seconds < math.inf:
            raise InputError(f"a budget must be a positive number of seconds, not {self.max_seconds}")
        if self.estimate is not None:
            Plan.for_fraction(self.estimate)
        if self.estimate is not None and budgeted:
            raise InputError("--estimate and --budget exclude each other: an estimate walks all of what it chose")
        if self.estimate is not None and self.regions:
            raise InputError("--estimate and --regions exclude each other: most regions are not walked")


@dataclass(frozen=True)
class Crew:
    """Who walks: ``workers`` processes on this machine (1: this process; None: one per core, or one for a GPU), or a
    dask cluster behind the address ``scheduler``, or ``local``: one of ``workers`` processes on this machine.
    """

    workers: int | None = None
    scheduler: str | None = None
    local: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a study is: paths that are done, those of them that were before it went on, of how many; the regions of
    those done since; paths that could not be walked.
    """

    done: int
    before: int
    total: int
    regions: int
    failed: int


@dataclass(frozen=True)
class Ended:
    """How a run ended. ``summary``: None unless all paths are done. ``failed``: why, by path. ``resumed``: paths that
    were done before; ``seconds``: what all walks took together; ``notices``: what was mended in the folder.
    """

    summary: Mapping[str, Any] | None
    done: int
    total: int
    resumed: int
    failed: Mapping[int, str]
    interrupted: bool
    seconds: float
    notices: tuple[str, ...]
    shown: str


class _Paths(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Path: ...


@dataclass(frozen=True)
class Study:
    """What is to be walked, and how.

    ``paths``: a sequence that makes path i when it is asked for. ``data``: where their samples are from, None if from
    nowhere. ``described``: JSON of everything that decided which paths these are. ``output``, ``fixed_inputs`` and
    ``shapes``: how the network was loaded. ``about``: JSON to be recorded that decides nothing. ``told``: what was
    decided about the samples, for people. ``partners``: where the second samples of pairs are from.
    """

    network: Network
    paths: _Paths
    data: Dataset | None
    described: Mapping[str, Any]
    settings: Settings = field(default_factory=Settings)
    output: str | None = None
    fixed_inputs: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    told: str = ""
    partners: Dataset | None = None

    def run(
        self,
        folder: str,
        crew: Crew | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
        notice: Callable[[str], None] | None = None,
        exhibits: int = EXHIBITS,
    ) -> Ended:
        """Walk all paths that the run folder does not hold yet, and sum up.

        ``folder``: a path or a URL. ``exhibits``: of how many paths with the most and with the least absolute deviation
        every region is kept, for pictures; they are walked a second time, at the end. ``stop`` is asked all the time:
        SOON finishes the paths that were begun, NOW does not. Raises InputError if the folder belongs to another study,
        or is in use; OSError if it cannot be written: then, and whatever else happens, what was written stays, and the
        same call goes on from there.
        """
        crew = crew or Crew()
        stop = stop or (lambda: Stop.NO)
        place = Place.open(folder)
        schema = records.SEGMENTS if self.settings.estimate is None else records.ESTIMATES
        with RunFolder.open(
            place,
            self.identity(),
            paths=len(self.paths),
            per_part=self.per_part(),
            schema=schema,
            keeps_regions=self.settings.regions,
            environment=versions() | self.resources(crew),
            chosen=lambda: {**self.about, "rates": self.rates(), "network": facts(self.network)},
        ) as run:
            for told in run.notices if notice else ():
                assert notice is not None
                notice(told)
            before = len(run.done)
            failed: dict[int, str] = {}
            if before < len(self.paths) and stop() is Stop.NO:
                self._walk(run, crew, before, failed, progress, stop)
            interrupted = stop() is not Stop.NO and not run.complete
            run.flush()
            figures = None
            if run.complete:
                figures = self.sum_up(run)
                run.finish(figures)
                self._exhibits(run, crew, exhibits, stop, notice or (lambda text: None))
            return Ended(
                summary=figures,
                done=len(run.done),
                total=len(self.paths),
                resumed=before,
                failed=failed,
                interrupted=interrupted,
                seconds=run.seconds(),
                notices=tuple(run.notices),
                shown=place.shown,
            )

    def resources(self, crew: Crew) -> dict[str, str]:
        """What may change while a run lasts, as it is now."""
        told = {name: str(getattr(self.settings, name)) for name in RESOURCES}
        if crew.scheduler is None:
            # What it comes to on this machine.
            told["device"] = session.choose_device(self.settings.device)
        return told

    def identity(self) -> dict[str, Any]:
        """JSON of everything that decides which rows come out."""
        network = self.network
        settings = {name: one for name, one in asdict(self.settings).items() if name not in RESOURCES}
        return {
            "lronnx": __version__,
            "model": {
                "sha256": network.sha256,
                "weights_sha256": network.weights_sha256,
                "input": network.input_name,
                "input_shape": list(network.input_shape),
                "output": network.output_name,
                "fixed_inputs": {name: hash_of(array) for name, array in sorted(self.fixed_inputs.items())},
            },
            "paths": dict(self.described),
            "walk": settings,
        }

    # ---- walking

    def _walk(
        self,
        run: RunFolder,
        crew: Crew,
        before: int,
        failed: dict[int, str],
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop],
    ) -> None:
        def keep(result: Result, origin: Mapping[str, Any]) -> int:
            assert result.rows is not None
            run.add(outcome(result, origin))
            return self._regions(result.rows)

        workers = self._workers(crew, run.manifest["chosen"]["rates"], len(self.paths) - before, stop)
        self.drive(workers, run.done, failed, keep, progress, stop)

    def drive(
        self,
        workers: Workers,
        done: set[int],
        failed: dict[int, str],
        keep: Callable[[Result, Mapping[str, Any]], int],
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop],
    ) -> None:
        """Have workers, which are closed in the end, do all paths that are not ``done``.

        ``keep``: is given each result with its path's origin, adds the path to ``done`` and tells how many regions
        there are. ``failed``: takes why a path could not be walked.
        """
        before, regions = len(done), 0
        # Of the paths that are being walked.
        origins: dict[int, dict[str, Any]] = {}

        def tasks() -> Iterator[Task]:
            for number in range(len(self.paths)):
                if number in done:
                    continue
                if stop() is not Stop.NO:
                    return
                try:
                    path = self.paths[number]
                except LronnxError as error:
                    failed[number] = str(error)
                    continue
                origins[number] = self.origin(path)
                yield Task(number, path.points, path.closed, self.keeps_units(number), self.settings.regions)

        try:
            for result in workers.results(tasks()):
                if result is not None and not result.interrupted:
                    origin = origins.pop(result.path)
                    if result.problem:
                        failed[result.path] = result.problem
                    else:
                        regions += keep(result, origin)
                if progress is not None:
                    progress(Progress(len(done), before, len(self.paths), regions, len(failed)))
                if stop() is Stop.NOW:
                    break
        finally:
            workers.close()

    def _workers(self, crew: Crew, rates: Any, remaining: int, stop: Callable[[], Stop]) -> Workers:
        job = self.job(rates)
        if crew.scheduler is not None or crew.local:
            from lronnx.cluster import Dask

            content, *hashes = onnx_io.self_contained(self.network.path)
            if hashes != [self.network.sha256, self.network.weights_sha256]:
                raise InputError(f"the model file {self.network.path}, or its weights, has changed since it was loaded")
            job = replace(job, model=content)
            return Dask(job, address=crew.scheduler, count=min(crew.workers or session.cores(), remaining))
        return self.local_workers(job, crew, remaining, stop)

    def local_workers(self, job: Work, crew: Crew, remaining: int, stop: Callable[[], Stop]) -> Workers:
        """Workers on this machine for so many paths."""
        alone = crew.workers is None and session.choose_device(self.settings.device) == "cuda"
        count = min(1 if alone else crew.workers or session.cores(), remaining)
        return Here(job, stop) if count == 1 else Processes(job, count, stop)

    def job(self, rates: Any) -> Job:
        """How a worker walks the paths. ``rates``: as from :meth:`rates`."""
        network = self.network
        settings = asdict(self.settings)
        # These are about single paths.
        del settings["regions"], settings["units"]
        return Job(
            model=network.path,
            sha256=network.sha256,
            weights_sha256=network.weights_sha256,
            output=self.output,
            fixed_inputs=dict(self.fixed_inputs),
            shapes=dict(self.shapes),
            rates=None if rates is None else {kind: tuple(numbers) for kind, numbers in rates.items()},
            about={
                "model": network.name,
                "sha256": network.sha256,
                "options": self.identity(),
                "version": __version__,
            },
            **settings,
        )

    def keeps_units(self, path: int) -> bool:
        """Whether a path is one of those, spread evenly, whose rows tell of single units."""
        count, kept = len(self.paths), self.settings.units
        return path * kept // count != (path - 1) * kept // count

    def _exhibits(
        self, run: RunFolder, crew: Crew, count: int, stop: Callable[[], Stop], notice: Callable[[str], None]
    ) -> None:
        """Keep every region of the paths that deviate most and least. Whatever goes wrong, the study is done."""
        # What a budget of seconds allows is another walk every time, and of estimates most regions are not walked.
        again = self.settings.estimate is None and self.settings.max_seconds is None
        try:
            if again or (self.settings.estimate is None and run.keeps_regions):
                self._exhibit(run, crew, count, stop, notice)
        except OSError as error:
            notice(f"the regions for pictures could not be kept: {error.strerror or error}")
        except KeyboardInterrupt:
            notice("stopped before all regions for pictures were kept; the same command makes up for it")

    def _exhibit(
        self, run: RunFolder, crew: Crew, count: int, stop: Callable[[], Stop], notice: Callable[[str], None]
    ) -> None:
        paths = summary.per_path(run.rows())
        most, least = summary.extremes(paths, count)
        regions = dict(zip(paths["path"].tolist(), paths["regions"].tolist(), strict=True))
        there = run.exhibited([*most, *least])
        missing = [path for path in (*most, *least) if path not in there]
        if run.keeps_regions:
            for path in missing:
                run.exhibit(path, self.paths[path].points, None)
            return
        # A value and a slope of every output.
        size = 16 * self.network.outputs + 60
        large = [path for path in missing if regions[path] * size > EXHIBIT_BYTES]
        if large:
            told = ", ".join(map(str, large))
            notice(f"the regions of these paths are too many to be kept for pictures: {told}")
            missing = [path for path in missing if path not in large]
        if missing and stop() is Stop.NO:
            chosen = {path: self.paths[path] for path in missing}
            tasks = [Task(path, one.points, one.closed, False, True) for path, one in chosen.items()]
            # For a few regions other processes would take longer to start than to walk.
            few = sum(regions[path] for path in missing) < _FEW_REGIONS
            here = few and crew.scheduler is None and not crew.local
            rates = run.manifest["chosen"]["rates"]
            workers = self._workers(Crew(1) if here else crew, rates, len(missing), stop)
            try:
                for result in workers.results(tasks):
                    if result is not None and result.regions is not None:
                        run.exhibit(result.path, chosen[result.path].points, result.regions)
                        missing.remove(result.path)
                    elif result is not None and result.problem:
                        notice(f"the regions of path {result.path} could not be kept: {result.problem}")
                    if stop() is not Stop.NO:
                        break
            finally:
                workers.close()
        if missing:
            told = ", ".join(map(str, missing))
            notice(f"the regions of these paths are not kept for pictures: {told}; the same command makes up for it")

    def rates(self) -> dict[str, list[float]] | None:
        """By what convolutions are lowered on every worker, None if there is nothing to choose."""
        if not self.network.lowers:
            return None
        return {kind: list(numbers) for kind, numbers in calibration.rates().seconds.items()}

    def per_part(self) -> int:
        """How many paths share a part."""
        row = 400 + 40 * self.network.outputs * (4 if self.settings.estimate is not None else 1)
        count = len(self.paths)
        longest = 1
        for number in range(0, count, max(count // _LOOKED_AT, 1)):
            try:
                longest = max(longest, len(self.paths[number].points))
            except LronnxError:
                # It will be told when its turn comes.
                continue
            if self.described.get("family") != "file":
                break
        return int(np.clip(_PART_BYTES // (row * longest), 1, _PART_PATHS))

    def origin(self, path: Path) -> dict[str, Any]:
        """What :data:`lronnx.records.ORIGIN` says of a path."""
        told: dict[str, Any] = dict.fromkeys((one.name for one in records.ORIGIN), None) | {"split": ""}
        data = self.data
        if data is None or path.sample is None:
            return told | {"label": path.label}
        told |= {"split": str(data.split[path.sample]), "index": int(data.index[path.sample])}
        label, corrupted = int(data.label[path.sample]), int(data.corrupted[path.sample])
        if label >= 0:
            told["label"] = label
            told["class"] = data.classes[label] if label < len(data.classes) else None
        if corrupted >= 0:
            told["corrupted"] = bool(corrupted)
        if path.other is not None:
            partners = self.partners if self.partners is not None else data
            told["other_index"] = int(partners.index[path.other])
            other = int(partners.label[path.other])
            told["other_label"] = other if other >= 0 else None
        return told

    def _regions(self, rows: pa.RecordBatch) -> int:
        name = "regions" if self.settings.estimate is None else "breakpoints_seen"
        return int(rows.column(name).to_numpy().sum())

    def sum_up(self, run: RunFolder) -> dict[str, Any]:
        """The summary of a run that is complete."""
        return {
            "study": run.manifest["study"],
            **summary.summarize(run.rows(), seed=self.settings.seed),
        }


def plan(
    network: Network,
    data: str,
    family: str = "closed",
    *,
    splits: Sequence[str] = (),
    classes: Sequence[str] = (),
    indices: str | Sequence[int] | None = None,
    samples: int | None = None,
    corrupted_samples: int | None = None,
    corrupted: np.ndarray[Any, Any] | None = None,
    scale: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    layout: str | None = None,
    settings: Settings | None = None,
    output: str | None = None,
    fixed_inputs: Mapping[str, np.ndarray[Any, Any]] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    about: Mapping[str, Any] | None = None,
    **options: Any,
) -> Study:
    """The study of a network on the paths of one family around the samples of a data set.

    ``data``: whatever :func:`lronnx.data.open_data` reads; for the family ``file`` the file of
    :func:`lronnx.paths.polylines`. ``splits`` to ``corrupted_samples``: which samples, as for
    :meth:`lronnx.data.Dataset.select`, with the settings' seed. ``corrupted``: positions in the training split (or
    the only one) whose labels are wrong, or a mask of it; else the data themselves or the model's metadata may
    tell. ``scale``, ``mean``, ``std``: how pixels become inputs, as for :meth:`lronnx.inputs.Pixels.choose`;
    ``layout``: see :meth:`lronnx.preprocessing.Preprocessing.choose`. ``options`` are the family's,
    :data:`FAMILY_OPTIONS`, None standing for the default. ``output``, ``fixed_inputs`` and ``shapes`` are those
    that the network was loaded with.

    Raises InputError for what does not fit, and for options of another family.
    """
    settings = settings or Settings()
    if family not in FAMILY_OPTIONS:
        raise InputError(f"there is no family of paths '{family}': choose one of {', '.join(FAMILY_OPTIONS)}")
    given = {name: option for name, option in options.items() if option is not None}
    for name in given:
        if name not in FAMILY_OPTIONS[family]:
            having = [one for one, names in FAMILY_OPTIONS.items() if name in names]
            if not having:
                raise TypeError(f"there is no option {name}")
            raise InputError(
                f"--{name.replace('_', '-')} is an option of paths of the famil{'y' if len(having) == 1 else 'ies'} "
                f"{', '.join(having)}, not of {family}"
            )
    pixels = Pixels.choose(scale, mean, std, network.metadata)
    chosen = Study(
        network,
        (),
        None,
        {},
        settings,
        output=output,
        fixed_inputs=dict(fixed_inputs or {}),
        shapes=dict(shapes or {}),
        about={"model": network.name, "data": data, **(about or {})},
    )
    if family == "file":
        if splits or classes or any(one is not None for one in (indices, samples, corrupted_samples, corrupted)):
            raise InputError("paths from a file have no samples to choose: leave out what chooses some")
        if layout is not None:
            raise InputError("--layout is about images; paths from a file are inputs of the network already")
        prepare = Preprocessing.identity(network.input_shape, pixels)
        made = paths.make(family, data, prepare, **given)
        described: dict[str, Any] = {"family": family, **_described(family, given), "sha256": _hash_of_file(data)}
        return replace(chosen, paths=made, described=described, told=f"{len(made)} paths from {data}")
    everything = _marked(open_data(data), corrupted, network.metadata)
    selected = everything.select(
        splits=splits,
        classes=classes,
        indices=indices,
        samples=samples,
        corrupted_samples=corrupted_samples,
        seed=settings.seed,
    )
    prepare = Preprocessing.choose(pixels, network.input_shape, selected[0], selected.axes, layout)
    if family == "pairs":
        # A partner does not depend on who else was chosen, and its class need not be one that was.
        given |= {"pool": everything, "places": _places(selected, everything)}
        chosen = replace(chosen, partners=everything)
    made = paths.make(family, selected, prepare, seed=settings.seed, **given)
    described = {
        "family": family,
        **_described(family, given),
        "data": _selection(selected),
        "preprocessing": {
            "scale": prepare.pixels.scale if prepare.holds_pixels else None,
            "mean": list(prepare.pixels.mean),
            "std": list(prepare.pixels.std),
            "layout": prepare.layout,
        },
    }
    counts = ", ".join(f"{count} {split}".rstrip() for split, count in described["data"]["samples"].items())
    told = f"{len(made)} paths ({family}); {selected.kind} {selected.name}, samples: {counts}\n{prepare}"
    return replace(chosen, paths=made, data=selected, described=described, told=told)


def _described(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a family as they hold, whether given or by default."""
    defaults = {name: one.default for name, one in inspect.signature(paths.make).parameters.items()}
    told = {name: given.get(name, defaults[name]) for name in FAMILY_OPTIONS[family]}
    # A whole number and the same as a float are one.
    return {name: float(option) if isinstance(defaults[name], float) else option for name, option in told.items()}


def _places(selected: Dataset, everything: Dataset) -> NDArray[np.int64]:
    """Where the selected samples are among all."""
    found = np.empty(len(selected), np.int64)
    for split in selected.split_names:
        mine, all_of_it = np.flatnonzero(selected.split == split), np.flatnonzero(everything.split == split)
        order = np.argsort(everything.index[all_of_it])
        at = np.searchsorted(everything.index[all_of_it], selected.index[mine], sorter=order)
        found[mine] = all_of_it[order[at]]
    return found


def _marked(data: Dataset, corrupted: np.ndarray[Any, Any] | None, metadata: Mapping[str, str]) -> Dataset:
    """The data with the labels marked that are known to be wrong."""
    split = "train" if "train" in data.split_names else data.split_names[0]
    if corrupted is not None:
        if len(data.split_names) > 1 and split != "train":
            raise InputError(f"--corrupted is about the split 'train', which {data.name} does not have")
        if corrupted.ndim != 1 or corrupted.dtype.kind not in "biu":
            raise InputError("--corrupted takes one axis of whole numbers, positions in the split, or of booleans")
        if corrupted.dtype == np.bool_:
            count = int((data.split == split).sum())
            if len(corrupted) != count:
                raise InputError(f"--corrupted is a mask of {len(corrupted)} samples, the split has {count}")
            corrupted = np.flatnonzero(corrupted)
        return data.with_corrupted(split, corrupted.tolist())
    # What the data say of their own samples holds; a model's positions are those of the split that it was trained with.
    unknown = bool((data.corrupted[data.split == split] < 0).all())
    if CORRUPTED_KEY in metadata and split == "train" and unknown:
        # A sample that the model was not trained with has no label that it was trained with.
        trained = _positions(metadata, TRAINED_KEY) if TRAINED_KEY in metadata else None
        return data.with_corrupted(split, _positions(metadata, CORRUPTED_KEY), trained)
    return data


def _positions(metadata: Mapping[str, str], key: str) -> list[int]:
    try:
        return [int(index) for index in json.loads(metadata[key])]
    except (ValueError, TypeError):
        raise InputError(f"the model's metadata entry {key} is no JSON list of whole numbers") from None


def _hash_of_file(spec: str) -> str:
    path, key = split_spec(spec)
    return hashlib.sha256(path.read_bytes() + (key or "").encode()).hexdigest()


def outcome(result: Result, origin: Mapping[str, Any]) -> Outcome:
    """What a run folder keeps of a path that was walked. ``origin``: as from :meth:`Study.origin`."""
    assert result.rows is not None
    return Outcome(result.path, records.with_origin(result.rows, origin), times(result), result.regions)


def times(result: Result) -> pa.RecordBatch:
    """The row of times of a path that was walked."""
    told = {"path": result.path, "seconds": result.seconds, "worker": result.worker, "device": result.device}
    return pa.RecordBatch.from_pylist([told], records.TIMES)


def hash_of(array: np.ndarray[Any, Any]) -> str:
    """What stands for an array in JSON: equal for equal ones."""
    described = json.dumps([array.dtype.str, list(array.shape)]).encode()
    return hashlib.sha256(described + np.ascontiguousarray(array).tobytes()).hexdigest()


def _selection(data: Dataset) -> dict[str, Any]:
    """JSON of which samples of which data these are."""
    chosen = hashlib.sha256()
    for column in (data.split, data.index, data.label, data.corrupted):
        chosen.update("\0".join(map(str, column.tolist())).encode())
    counts: dict[str, int] = {}
    for split in data.split.tolist():
        counts[str(split)] = counts.get(str(split), 0) + 1
    return {"kind": data.kind, "sha256": data.fingerprint, "samples": counts, "samples_sha256": chosen.hexdigest()}


def facts(network: Network) -> dict[str, Any]:
    """JSON of what a report tells of a network, so that it needs neither the model nor onnxruntime."""
    return {
        "units": network.units,
        "outputs": network.outputs,
        "metadata": {
            key: text
            for key, text in sorted(network.metadata.items())
            if key not in (CORRUPTED_KEY, TRAINED_KEY) and len(text) <= _METADATA
        },
        "notices": list(network.notices),
        "switching_nodes": [
            {
                "label": one.label,
                "operator": one.op_type,
                "shape": list(one.shape),
                "units": one.units,
                "level": one.level,
            }
            for one in network.switching_nodes
        ],
    }


def versions() -> dict[str, str]:
    """Of what computes, JSON to be recorded."""
    return {
        "lronnx": __version__,
        "onnxruntime": session.RUNTIME_VERSION,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
