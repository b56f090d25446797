"""Several networks on the same paths: each is walked, every other one is compared with the first, and it is summed up.

:func:`compare` does so for two networks and paths at hand. :func:`plan` prepares any number of networks and paths near
data, for the command line: they are walked on however many workers, into a folder that can be resumed:

    DIR/models/K-NAME/           a run folder of network K (:mod:`lronnx.run_folder`), which lronnx report reads
    DIR/pairs/                   the same for how the others compare with the first (:data:`lronnx.records.PAIRS`)
    DIR/differences/K.parquet    both functions along the path on which network K differs most, see :func:`differences`
    DIR/comparison.json          all of it summed up, see :func:`summed_up`; written last
    DIR/compare.html             the same as a page, if the extra for pictures is installed

All networks are measured in one unit of length, that of the first one's input: a network that takes pixels from 0 to
255 is not 255 times as smooth as one that takes the same pixels from 0 to 1.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from os import PathLike
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from lronnx import __version__, inputs, metrics, network, pairing, records, study, summary
from lronnx.comparison import PathComparison, Verdict, compare_walks, union
from lronnx.errors import InputError
from lronnx.inputs import Pixels
from lronnx.jobs import Job, Result, Task, Walking, told_of, worker_name
from lronnx.matching import LoadedModel, Match, load_models, match
from lronnx.network import Network
from lronnx.paths import Path
from lronnx.places import Place
from lronnx.regions import PathWalk, Walk
from lronnx.run_folder import COMPARISON, MANIFEST, Outcome, RunFolder
from lronnx.study import Crew, Ended, Progress, Settings, Study
from lronnx.walker import Stop

Floats = NDArray[np.float64]

RESULT, PAGE = COMPARISON, "compare.html"
MODELS, PAIRS, DIFFERENCES = "models", "pairs", "differences"

PROBES = 4
"""Points of the first path at which it is found out how inputs correspond, where their shapes do not tell."""

DIFFERENCE_BYTES = 10**8
"""What is kept of the difference along a path: not more than about so many bytes."""

TWIN_BYTES = 10**8
"""What the weights of a network's rounded twins may take; there is always one."""

_FIGURES = ("count", "missing", "mean", "standard_deviation", "minimum", "quartiles", "maximum", "interval")


@dataclass(frozen=True, eq=False)
class Side:
    """One network of a comparison. ``number``: from 1, the first being what others are compared with; ``label``: what
    to call it, unique. ``match``: how it corresponds to the first one, None for the first itself.
    """

    number: int
    label: str
    loaded: LoadedModel
    match: Match | None = None

    @property
    def network(self) -> Network:
        return self.loaded.network

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.number}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', self.label)[:80]}"

    @property
    def told(self) -> tuple[str, ...]:
        """How it was loaded and matched, in sentences."""
        return (*self.loaded.told, *(self.match.told if self.match is not None else ()))


def labels(paths: Sequence[str | PathLike[str]]) -> list[str]:
    """What to call models: the names of their files, with as much of the folders in front as tells them apart."""
    files = [FilePath(path) for path in paths]
    names = {one: one.name for one in files}
    for depth in range(2, max((len(one.parts) for one in names), default=0) + 1):
        taken = list(names.values())
        for one, name in list(names.items()):
            if taken.count(name) > 1:
                names[one] = str(FilePath(*one.parts[-depth:]))
    # A file that is given twice is told apart by its place.
    return [f"{names[one]} ({number})" if files.count(one) > 1 else names[one] for number, one in enumerate(files, 1)]


# --- Two networks, at hand --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How two networks compare along paths. ``match``: how the second one's input and outputs correspond to the
    first's; ``paths``: every path's comparison, in order; ``json``: all of it summed up, see :func:`summed_up`.
    """

    match: Match
    paths: tuple[PathComparison, ...]
    json: Mapping[str, Any]

    def __repr__(self) -> str:
        failed = "" if self.ok else ", SELF-CHECK FAILED"
        return f"<lronnx.Comparison: {self.verdict}, outputs differ by up to {self.largest_difference:.3g}{failed}>"

    @property
    def ok(self) -> bool:
        """Whether the walks of both networks passed their self-checks; if not, do not rely on it."""
        return all(model["self_check"]["ok"] for model in self.json["models"])

    @property
    def pair(self) -> Mapping[str, Any]:
        """The figures of the pair, over all paths."""
        found: Mapping[str, Any] = self.json["pairs"][0]
        return found

    @property
    def verdict(self) -> Verdict:
        """What holds on all paths."""
        return Verdict(self.pair["verdict"])

    @property
    def rounding(self) -> str | None:
        """Which rounding explains the differences on all paths: of ``double`` precision, of ``float32``, or None."""
        return None if self.pair["rounding"] is None else str(self.pair["rounding"])

    @property
    def largest_difference(self) -> float:
        """The largest absolute difference of an output on any path."""
        return float(self.pair["largest_difference"])


def compare(
    first: Network | str | PathLike[str],
    other: Network | str | PathLike[str],
    paths: ArrayLike | Iterable[ArrayLike],
    *,
    closed: bool = False,
    layouts: tuple[str | None, str | None] = (None, None),
    pixels: tuple[Pixels, Pixels] | None = None,
    engine: str = "sweep",
    device: str = "auto",
    lanes: int | None = None,
    memory: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two networks exactly along paths: are they the same function, and where do they part?

    ``first``, ``other``: networks, or files to load. ``paths``: points of one path, (P, *sample), or several such
    arrays, in the first network's input; ``closed``: from the last point of each back to its first. ``layouts`` and
    ``pixels``: see :func:`lronnx.matching.match`. ``seed``: of bootstrap intervals. The others as for
    :meth:`lronnx.Network.walk_path`.

    Raises InputError if inputs, outputs or an argument do not fit, and what :func:`lronnx.load` raises.
    """
    loaded = _loaded(first, other)
    given = [one.network for one in loaded]
    made = _paths(paths, given[0].input_shape, closed)
    called = labels([one.path for one in given])
    found = match(*given, layouts=layouts, pixels=pixels, probes=made[0][:PROBES])
    sides = (Side(1, called[0], loaded[0]), Side(2, called[1], loaded[1], found))
    walk = partial(_walk_path, closed=closed, engine=engine, device=device, lanes=lanes, memory=memory)
    twins = cache(lambda side, seed: given[side].rounded(seed))
    most = _most_twins(given)
    comparisons, rows = [], []
    tables: tuple[list[pa.RecordBatch], list[pa.RecordBatch]] = ([], [])
    origin = dict.fromkeys((one.name for one in records.ORIGIN), None) | {"split": ""}
    for number, points in enumerate(made):
        theirs_points = found.points(points)
        mine = walk(given[0], points)
        theirs = aligned(mine, walk(given[1], theirs_points), found)

        def twin(
            side: int,
            seed: int,
            places: tuple[Floats, Floats] = (points, theirs_points),
            mine: Sequence[Walk] = mine,
        ) -> Sequence[Walk]:
            walked = walk(twins(side, seed), places[side])
            return aligned(mine, walked, found) if side else walked

        nodes = given[0].switching_nodes, given[1].switching_nodes
        compared = compare_walks(mine, theirs, nodes=nodes, twin=twin, most_twins=most)
        comparisons.append(compared)
        rows.append(records.compared(number, {2: compared}))
        for table, walks in zip(tables, (mine, theirs), strict=True):
            table.append(records.with_origin(records.walked(number, walks, units=False), origin))
    each = [partial(iter, table) for table in tables]
    told = summed_up(sides, each, partial(iter, rows), described={"family": "points", "closed": closed}, seed=seed)
    return Comparison(found, tuple(comparisons), told)


def _loaded(
    first: Network | str | PathLike[str], other: Network | str | PathLike[str]
) -> tuple[LoadedModel, LoadedModel]:
    if not isinstance(first, Network) and not isinstance(other, Network):
        # Of two files, outputs are chosen that have the same name.
        one, two = load_models([first, other])
        return one, two
    networks = [given if isinstance(given, Network) else network.load(given) for given in (first, other)]
    one, two = (LoadedModel(number, str(given.path), given, None, {}, {}) for number, given in enumerate(networks, 1))
    return one, two


def _paths(paths: ArrayLike | Iterable[ArrayLike], shape: tuple[int, ...], closed: bool) -> list[Floats]:
    """The points of every path, checked."""
    listed = paths if isinstance(paths, np.ndarray) else list(paths)  # type: ignore[arg-type]
    if len(listed) == 0:
        raise InputError("there is no path to compare networks on")
    # A point has the sample's shape, or fewer axes of size 1 in front; a path has one axis more.
    if np.ndim(listed[0]) <= len(shape) and inputs.core_shape(np.shape(listed[0])) == inputs.core_shape(shape):
        listed = [listed]  # type: ignore[list-item]
    return [inputs.as_points(points, shape, closed=closed) for points in listed]  # type: ignore[arg-type]


def _walk_path(
    one: Network,
    points: Floats,
    *,
    closed: bool,
    engine: str,
    device: str,
    lanes: int | None,
    memory: int | None,
) -> tuple[Walk, ...]:
    found: PathWalk = one.walk_path(points, closed=closed, engine=engine, device=device, lanes=lanes, memory=memory)
    return found.segments


def aligned(first: Sequence[Walk], other: Sequence[Walk], found: Match) -> list[Walk]:
    """The other network's walks with its outputs in the order of the first's, and lengths in the first's unit."""
    return [
        replace(walk, values=found.values(walk.values), slopes=found.values(walk.slopes), length=one.length)
        for one, walk in zip(first, other, strict=True)
    ]


# --- On workers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparisonJob:
    """How every path is walked by all networks: plain data for workers. ``jobs``: one for each network, the first's
    first; ``matches``: of the others."""

    jobs: tuple[Job, ...]
    matches: tuple[Match, ...]

    def begin(self) -> Comparing:
        """What a worker does its tasks with. Raises LronnxError if a model cannot be loaded."""
        return Comparing(self)


class Comparing:
    """A job ready to run: the networks are loaded. Not to be used by two threads at once."""

    def __init__(self, job: ComparisonJob) -> None:
        self._job = job
        self._walking = [job.begin() for job in job.jobs]
        self._twins: dict[tuple[int, int], Walking] = {}
        self._most_twins = _most_twins([one.network for one in self._walking])

    def walk(self, task: Task, stop: Callable[[], Stop] | None = None) -> Result:
        """Walk one path, in the first network's input, with all networks, and compare.

        The result's rows are those of ``records.PAIRS``, its others every network's results, in order. A path that
        cannot be walked is told in the result; only a programming error is raised.
        """
        return told_of(task, self._job.jobs[0].device, partial(self._result, task, stop))

    def walks(self, task: Task, stop: Callable[[], Stop] | None = None) -> tuple[list[list[Walk]], str, list[float]]:
        """What every network walks, the others' aligned with the first's; the device that they ran on; and how many
        seconds each took."""
        begin = time.perf_counter()
        mine, device = self._walking[0].segments(task, stop)
        found, seconds = [mine], [time.perf_counter() - begin]
        for one, how in zip(self._walking[1:], self._job.matches, strict=True):
            begin = time.perf_counter()
            theirs, _ = one.segments(task._replace(points=how.points(task.points)), stop)
            found.append(aligned(mine, theirs, how))
            seconds.append(time.perf_counter() - begin)
        return found, device, seconds

    def compared(
        self, task: Task, walks: Sequence[Sequence[Walk]], stop: Callable[[], Stop] | None = None
    ) -> dict[int, PathComparison]:
        """By number of the other network, how it compares with the first."""
        nodes = [one.network.switching_nodes for one in self._walking]
        kept: dict[int, Sequence[Walk]] = {}

        def twin(number: int, side: int, seed: int) -> Sequence[Walk]:
            if side:
                how = self._job.matches[number - 2]
                points = how.points(task.points)
                found, _ = self._twin(number - 1, seed).segments(task._replace(points=points), stop)
                return aligned(walks[0], found, how)
            if seed not in kept:
                # The same for all others.
                kept[seed] = self._twin(0, seed).segments(task, stop)[0]
            return kept[seed]

        return {
            number: compare_walks(
                walks[0],
                theirs,
                nodes=(nodes[0], nodes[number - 1]),
                twin=partial(twin, number),
                most_twins=self._most_twins,
            )
            for number, theirs in enumerate(walks[1:], 2)
        }

    def _twin(self, position: int, seed: int) -> Walking:
        if (position, seed) not in self._twins:
            self._twins[position, seed] = self._walking[position].rounded(seed)
        return self._twins[position, seed]

    def _result(self, task: Task, stop: Callable[[], Stop] | None) -> Result:
        begin = time.perf_counter()
        walks, device, seconds = self.walks(task, stop)
        rows = records.compared(task.path, self.compared(task, walks, stop))
        others = tuple(
            Result(task.path, records.walked(task.path, one, units=task.units), None, taken, worker_name(), device)
            for one, taken in zip(walks, seconds, strict=True)
        )
        return Result(task.path, rows, None, time.perf_counter() - begin, worker_name(), device, others=others)


def _most_twins(networks: Sequence[Network]) -> int:
    """How many twins of each network may be kept: their weights take memory."""
    size = max(sum(array.nbytes for array in one.graph.constants.values()) for one in networks)
    return max(TWIN_BYTES // max(size, 1), 1)


@dataclass(frozen=True)
class _Mapped(Sequence[Path]):
    """Paths of the first network as they are in another one's input."""

    paths: Any
    match: Match

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path: Path = self.paths[index]
        return replace(path, points=self.match.points(path.points))


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be compared, and how. ``studies``: each network's, in the order of ``sides``."""

    sides: tuple[Side, ...]
    studies: tuple[Study, ...]

    @property
    def settings(self) -> Settings:
        return self.studies[0].settings

    def run(
        self,
        folder: str | None,
        crew: Crew | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], Stop] | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> tuple[Ended, dict[str, Any] | None]:
        """Walk and compare all paths that the folder does not hold yet, and sum up.

        ``folder``: a path or a URL; None for none that lasts. The result is None unless all paths are done. ``stop``,
        ``notice`` and what is raised as for :meth:`lronnx.study.Study.run`.
        """
        with ExitStack() as stack:
            if folder is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lronnx-"))
            return self._run(folder, crew or Crew(), progress, stop or (lambda: Stop.NO), notice or (lambda text: None))

    def _run(
        self,
        folder: str,
        crew: Crew,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop],
        notice: Callable[[str], None],
    ) -> tuple[Ended, dict[str, Any] | None]:
        place = Place.open(folder)
        if place.exists(MANIFEST):
            raise InputError(f"{place.shown} is a run folder of lronnx analyze: name another folder")
        if not place.is_empty() and not place.exists(f"{PAIRS}/{MANIFEST}"):
            raise InputError(f"{place.shown} is not empty and holds no comparison: name another folder, or a new one")
        first = self.studies[0]
        count = len(first.paths)
        rates = first.rates() if any(one.network.lowers for one in self.sides) else None
        with ExitStack() as stack:

            def opened(
                name: str, identity: Mapping[str, Any], per_part: int, schema: pa.Schema, facts: Any
            ) -> RunFolder:
                return stack.enter_context(
                    RunFolder.open(
                        Place.open(f"{folder}/{name}"),
                        identity,
                        paths=count,
                        per_part=per_part,
                        schema=schema,
                        keeps_regions=False,
                        environment=study.versions() | first.resources(crew),
                        chosen=lambda: facts,
                    )
                )

            # Whether this is the same comparison is asked before anything is made.
            chosen = {**first.about, "rates": rates, "folders": [side.folder for side in self.sides]}
            pairs = opened(PAIRS, self.identity(), first.per_part(), records.PAIRS, chosen)
            rates = pairs.manifest["chosen"]["rates"]
            # A model's file may have another name by now.
            folders = [str(name) for name in pairs.manifest["chosen"]["folders"]]
            runs = [
                opened(
                    f"{MODELS}/{name}",
                    one.identity(),
                    one.per_part(),
                    records.SEGMENTS,
                    {**one.about, "rates": rates, "network": study.facts(one.network), "comparison": True},
                )
                for name, one in zip(folders, self.studies, strict=True)
            ]
            everything = [pairs, *runs]
            for text in dict.fromkeys(text for run in everything for text in run.notices):
                notice(text)
            done = set.intersection(*(run.done for run in everything))
            before = len(done)
            failed: dict[int, str] = {}
            if before < count and stop() is Stop.NO:
                self._walk(pairs, runs, done, self.job(rates), crew, failed, progress, stop)
            for run in everything:
                run.flush()
            result = None
            complete = all(run.complete for run in everything)
            interrupted = stop() is not Stop.NO and not complete
            if complete:
                for one, run in zip(self.studies, runs, strict=True):
                    run.finish(one.sum_up(run))
                result = summed_up(
                    self.sides,
                    [run.rows for run in runs],
                    pairs.rows,
                    described=first.described,
                    seed=self.settings.seed,
                )
                pairs.finish(result)
                self._keep_differences(place, result, self.job(rates), stop, notice)
                place.write(RESULT, (json.dumps(result, allow_nan=False, indent=1) + "\n").encode())
            ended = Ended(
                summary=None,
                done=len(done),
                total=count,
                resumed=before,
                failed=failed,
                interrupted=interrupted,
                seconds=pairs.seconds(),
                notices=tuple(pairs.notices),
                shown=place.shown,
            )
            return ended, result

    def identity(self) -> dict[str, Any]:
        """JSON of everything that decides what comes out."""
        return {
            **self.studies[0].identity(),
            "model": {
                str(side.number): one.identity()["model"] for side, one in zip(self.sides, self.studies, strict=True)
            },
            "matched": {str(side.number): _facts(side.match) for side in self.sides if side.match is not None},
        }

    def job(self, rates: Any) -> ComparisonJob:
        """What every worker needs. ``rates``: as from :meth:`lronnx.study.Study.rates`."""
        jobs = tuple(one.job(rates) for one in self.studies)
        return ComparisonJob(jobs, tuple(side.match for side in self.sides if side.match is not None))

    def _walk(
        self,
        pairs: RunFolder,
        runs: Sequence[RunFolder],
        done: set[int],
        job: ComparisonJob,
        crew: Crew,
        failed: dict[int, str],
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], Stop],
    ) -> None:
        first = self.studies[0]

        def keep(result: Result, origin: Mapping[str, Any]) -> int:
            assert result.rows is not None
            regions = 0
            for run, one in zip(runs, result.others, strict=True):
                assert one.rows is not None
                run.add(study.outcome(one, origin))
                regions += int(one.rows.column("regions").to_numpy().sum())
            pairs.add(Outcome(result.path, result.rows, study.times(result)))
            done.add(result.path)
            return regions

        workers = first.local_workers(job, crew, len(first.paths) - len(done), stop)
        first.drive(workers, done, failed, keep, progress, stop)

    def _keep_differences(
        self,
        place: Place,
        result: Mapping[str, Any],
        job: ComparisonJob,
        stop: Callable[[], Stop],
        notice: Callable[[str], None],
    ) -> None:
        """Keep both functions along the path on which they differ most, for pictures; walked once more."""
        comparing: Comparing | None = None
        for pair in result["pairs"]:
            name = f"{DIFFERENCES}/{pair['other']}.parquet"
            number = 0 if pair["largest_at"] is None else pair["largest_at"]["path"]
            size = 16 * self.sides[0].network.outputs * pair["union_breakpoints"] / max(len(self.studies[0].paths), 1)
            about = self._about(pair, number)
            if stop() is not Stop.NO or _metadata(place, name) == about:
                continue
            if size > DIFFERENCE_BYTES:
                notice(f"the difference along path {number} has too many places to be kept for pictures")
                continue
            comparing = comparing or job.begin()
            path = self.studies[0].paths[number]
            task = Task(number, path.points, path.closed)
            walks, _, _ = comparing.walks(task, stop)
            allowed = comparing.compared(task, walks, stop)[pair["other"]].allowed
            output = 0 if pair["largest_at"] is None else pair["largest_at"]["output"]
            place.write(name, differences(walks[0], walks[pair["other"] - 1], allowed[:, output].tolist(), about))

    def _about(self, pair: Mapping[str, Any], path: int) -> dict[str, Any]:
        """JSON of what tells the file of a pair's difference from that of another comparison."""
        return {
            "path": path,
            "first": pair["first"],
            "other": pair["other"],
            "largest_at": pair["largest_at"],
            "identity": self.identity(),
        }


def _metadata(place: Place, name: str) -> dict[str, Any] | None:
    """What the file of a difference says of itself, but for what is allowed; None if there is no sound one."""
    if not place.exists(name):
        return None
    content = place.read(name)
    try:
        # All of it is read, since damage may be anywhere.
        known = _table(content).schema.metadata or {}
        told = {key.decode().removeprefix("lronnx."): json.loads(value) for key, value in known.items()}
    except (pa.ArrowException, OSError, ValueError):
        return None
    told.pop("allowed", None)
    return told


def _table(content: bytes) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)


def differences(
    first: Sequence[Walk], other: Sequence[Walk], allowed: Sequence[float], about: Mapping[str, Any]
) -> bytes:
    """Both functions along a path, at all edges of the regions of both, in order: a Parquet file.

    Columns: ``segment`` int32, ``t`` float64, ``first`` and ``other`` list<float64>, the outputs. Between neighbouring
    rows of a segment both are affine. Metadata, all JSON: ``lronnx.allowed``, what rounding explains of the output that
    differs most, on each segment; and ``about`` under its names, ``lronnx.path`` among them.
    """
    segments, times, values = [], [], ([], [])  # type: ignore[var-annotated]
    for number, (one, two) in enumerate(zip(first, other, strict=True)):
        t, *both = union(one, two)
        segments.append(np.full(len(t), number, np.int32))
        times.append(t)
        for kept, part in zip(values, both, strict=True):
            kept.append(part)
    kind = pa.list_(pa.float64())

    def lists(parts: Sequence[Floats]) -> pa.ListArray:
        flat = np.concatenate(parts)
        offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)), type=kind)

    columns = [pa.array(np.concatenate(segments)), pa.array(np.concatenate(times)), *(lists(one) for one in values)]
    told = {**about, "allowed": list(allowed)}
    metadata = {f"lronnx.{name}".encode(): json.dumps(value).encode() for name, value in told.items()}
    table = pa.table(columns, names=["segment", "t", "first", "other"]).replace_schema_metadata(metadata)
    target = pa.BufferOutputStream()
    pq.write_table(table, target, compression="zstd")
    return bytes(target.getvalue())


def _facts(found: Match) -> dict[str, Any]:
    """JSON of what a match does."""
    arrays = {"order": found.order, "outputs": found.outputs, "factor": found.factor, "term": found.term}
    return {name: None if array is None else study.hash_of(np.asarray(array)) for name, array in arrays.items()}


def run_folders(folder: str) -> list[str]:
    """The run folders of a comparison's networks, in order. Raises OSError."""
    manifest = json.loads(Place.open(f"{folder}/{PAIRS}").read(MANIFEST))
    return [f"{folder}/{MODELS}/{name}" for name in manifest["chosen"]["folders"]]


def kept_differences(folder: str, result: Mapping[str, Any]) -> dict[int, pa.Table]:
    """What a folder keeps of :func:`differences`, by the number of the other network.

    Raises InputError if a file cannot be read.
    """
    place = Place.open(folder)
    found = {}
    for pair in result["pairs"]:
        name = f"{DIFFERENCES}/{pair['other']}.parquet"
        if place.exists(name):
            try:
                found[pair["other"]] = _table(place.read(name))
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{place.shown}/{name} cannot be read: {error}") from None
    return found


def plan(
    loaded: Sequence[LoadedModel],
    made: Callable[[Network], Study],
    *,
    layouts: Sequence[str | None] | None = None,
    pixels: Sequence[Pixels] | None = None,
) -> Plan:
    """Prepare a comparison of networks, the first of them with each of the others.

    ``made``: makes the study of the first network, such as by :func:`lronnx.study.plan`: its paths, in the first one's
    input, are everybody's. ``layouts`` and ``pixels``: of each network, see :func:`lronnx.matching.match`.

    Raises InputError if inputs or outputs do not correspond, or for fewer than two networks.
    """
    if len(loaded) < 2:
        raise InputError("a comparison needs at least two models")
    first = made(loaded[0].network)
    if not len(first.paths):
        raise InputError("there is no path to compare networks on")
    layouts = layouts or [None] * len(loaded)
    called = labels([one.network.path for one in loaded])
    probes = first.paths[0].points[:PROBES]
    sides, studies = [Side(1, called[0], loaded[0])], []
    for number, one in enumerate(loaded[1:], 2):
        found = match(
            loaded[0].network,
            one.network,
            layouts=(layouts[0], layouts[number - 1]),
            pixels=None if pixels is None else (pixels[0], pixels[number - 1]),
            probes=probes,
            names=("1", str(number)),
        )
        sides.append(Side(number, called[number - 1], one, found))
    told = dict(first.described.get("preprocessing", {}))
    for side in sides:
        described = dict(first.described)
        if side.match is not None:
            # Part of what decides about the rows, and no difference between the paths of the runs.
            described["preprocessing"] = {**told, "as_input_of": loaded[0].network.sha256}
        studies.append(
            replace(
                first,
                network=side.network,
                paths=first.paths if side.match is None else _Mapped(first.paths, side.match),
                described=described,
                output=side.loaded.output,
                fixed_inputs=dict(side.loaded.fixed_inputs),
                shapes=dict(side.loaded.shapes),
                about={**first.about, "model": side.network.name, "label": side.label},
            )
        )
    return Plan(tuple(sides), tuple(studies))


def on_points(points: Floats, closed: bool, settings: Settings, about: Mapping[str, Any], one: Network) -> Study:
    """The study of a single path, of points (P, *sample) in the network's input."""
    described = {"family": "points", "closed": closed, "points": study.hash_of(points)}
    return Study(one, (Path(points, closed),), None, described, settings, about={"model": one.name, **about})


# --- Summing up -------------------------------------------------------------------------------------------------


def summed_up(
    sides: Sequence[Side],
    rows: Sequence[Callable[[], Iterable[pa.RecordBatch]]],
    pairs: Callable[[], Iterable[pa.RecordBatch]],
    *,
    described: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """A comparison as one object of JSON types. What does not exist is None; nothing is nan or infinite.

    ``rows``: give the rows of every network in ``records.SEGMENTS``, those of a path next to each other; ``pairs``:
    gives those in ``records.PAIRS``, in the order of the paths.

    Keys: ``version``, ``precision``, ``seed``, ``paths``, ``segments``, ``length`` (in the first network's input),
    ``described`` (how the paths were made), ``models`` and ``pairs``.

    Each of ``models``: ``number``, ``name``, ``label``, ``sha256``, ``producer`` (the program that made the file, ''
    if it does not say), ``input``, ``input_shape``, ``output``, ``outputs`` (m), ``units``, ``notices``, ``cut``
    (operators that were cut off at the output), ``matched`` (how it corresponds to the first one, in sentences),
    ``regions``, ``self_check`` and ``measures``: those of :mod:`lronnx.summary` over all paths, lengths in the first
    network's input.

    Each of ``pairs``, of the ``first`` network and an ``other`` (numbers): ``verdict`` (the least favourable of the
    paths': see :class:`lronnx.comparison.Verdict`) and ``rounding`` (the coarsest that is needed);
    ``largest_difference`` and ``largest_at``, where it is attained (``path``, ``segment``, ``t``, ``output`` and both
    values); ``size``, the largest output; ``allowed``, what rounding explains of that difference, there; ``parts_at``,
    the first place on the first path where outputs differ by more (and by more than how much), and ``paths_parted``, on
    how many paths they do; ``mean_difference``, the mean along all paths of the norm of each output's mean absolute
    difference; ``breakpoints``, ``union_breakpoints``, ``switches`` of both, ``matched_switches``, ``largest_move`` and
    ``median_move`` (the median of the paths' medians) of those, ``one_to_one``, ``grazing``, ``unmatched_by_node`` and
    ``nodes``, as :class:`lronnx.correspondence.Correspondence` defines them; and ``measures``, see
    :func:`lronnx.pairing.paired`.
    """
    summaries = [summary.summarize(one(), seed=seed) for one in rows]
    per_path = [summary.per_path(one()) for one in rows]
    found = {side.number: _Pair() for side in sides[1:]}
    for batch in pairs():
        for row in batch.to_pylist():
            found[row["other"]].add(row)
    models = []
    for side, told in zip(sides, summaries, strict=True):
        [group] = told["groups"]["all"]
        models.append(
            {
                "number": side.number,
                "name": side.network.name,
                "label": side.label,
                "sha256": side.network.sha256,
                "producer": side.network.producer,
                "input": side.network.input_name,
                "input_shape": list(side.network.input_shape),
                "output": side.network.output_name,
                "outputs": side.network.outputs,
                "units": side.network.units,
                "notices": list(side.network.notices),
                "cut": list(side.network.cut),
                "matched": list(side.told),
                "regions": told["totals"]["regions"],
                "self_check": told["totals"]["self_check"],
                "measures": {
                    name: {key: figures[key] for key in _FIGURES} for name, figures in group["measures"].items()
                },
            }
        )
    totals = summaries[0]["totals"]
    compared = []
    for side, other in zip(sides[1:], per_path[1:], strict=True):
        figures = found[side.number].figures()
        measures = pairing.pair(per_path[0], other, list(summaries[0]["measures"]), seed=seed)
        compared.append({"first": 1, "other": side.number, **figures, "measures": measures})
    return {
        "version": __version__,
        "precision": "double",
        "seed": seed,
        "paths": totals["paths"],
        "segments": totals["segments"],
        "length": totals["length"],
        "described": dict(described),
        "models": models,
        "pairs": compared,
    }


class _Pair:
    """A pair of networks over all paths, which are added in order."""

    def __init__(self) -> None:
        self._order = list(Verdict)
        self._verdict = self._order[0]
        self._roundings: set[str | None] = set()
        self._worst: Mapping[str, Any] | None = None
        self._parted: Mapping[str, Any] | None = None
        self._size = self._allowed = self._length = 0.0
        self._integral: Floats | float = 0.0
        self._one_to_one = True
        self._counts: Counter[str] = Counter()
        self._moves: list[float] = []
        self._medians: list[float] = []
        self._unmatched: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        self._nodes: dict[str, Counter[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of ``records.PAIRS``."""
        self._verdict = max(self._verdict, Verdict(row["verdict"]), key=self._order.index)
        self._roundings.add(row["rounding"])
        if self._worst is None or row["largest_difference"] > self._worst["largest_difference"]:
            self._worst = row
        if row["parts_at"] is not None:
            self._counts["paths_parted"] += 1
            self._parted = self._parted or {"path": row["path"], **row["parts_at"]}
        self._size = max(self._size, row["size"])
        self._allowed = max(self._allowed, row["allowed"])
        self._length += row["length"]
        self._integral = self._integral + np.asarray(row["difference_integral"])
        self._one_to_one &= row["one_to_one"]
        for name in ("breakpoints", "switches", "grazing"):
            for which in ("first", "other"):
                self._counts[f"{name}_{which}"] += row[f"{name}_{which}"]
        for name in ("union_breakpoints", "matched_switches"):
            self._counts[name] += row[name]
        self._moves += [] if row["largest_move"] is None else [row["largest_move"]]
        self._medians += [] if row["median_move"] is None else [row["median_move"]]
        for total, which in zip(self._unmatched, ("first", "other"), strict=True):
            total.update(dict(row[f"unmatched_{which}"]))
        for node, others in row["nodes"]:
            self._nodes.setdefault(node, Counter()).update(dict(others))

    def figures(self) -> dict[str, Any]:
        """See :func:`summed_up`."""
        assert self._worst is not None
        at, counts = self._worst["largest_at"], self._counts
        return {
            "verdict": str(self._verdict),
            "rounding": next((one for one in (None, "float32") if one in self._roundings), "double"),
            "largest_difference": self._worst["largest_difference"],
            "largest_at": None if at is None else {"path": self._worst["path"], **at},
            "size": self._size,
            "allowed": self._allowed if at is None else at["allowed"],
            "parts_at": self._parted,
            "paths_parted": counts["paths_parted"],
            "mean_difference": metrics.norm(np.asarray(self._integral)) / self._length if self._length > 0.0 else None,
            **{
                name: [counts[f"{name}_first"], counts[f"{name}_other"]]
                for name in ("breakpoints", "switches", "grazing")
            },
            **{name: counts[name] for name in ("union_breakpoints", "matched_switches")},
            "largest_move": max(self._moves, default=None),
            "median_move": float(np.median(self._medians)) if self._medians else None,
            "one_to_one": self._one_to_one,
            "unmatched_by_node": [dict(total.most_common()) for total in self._unmatched],
            "nodes": {node: dict(others) for node, others in self._nodes.items()},
        }
