"""Reading what a study left in its run folder, finished or not, without changing it.

What is read is enough for a report: neither the model, nor the data, nor onnxruntime are needed. A folder that is being
worked on can be read as well: then it is about the paths that are done, in complete parts or in the journal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lronnx import records, run_folder, summary
from lronnx.errors import InputError
from lronnx.places import Place

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FORMATS = (1, 2)
"""Layouts of run folders that can be read. Those of the first know neither single units, places nor exhibits."""

MOST_SEGMENTS = 64
"""Up to so many segments of a path, switches are told by segment; of longer ones, by place in a segment only."""


UNFINISHED = "The run is not finished: this is about the {done} of its {total} paths that are."
NO_SWITCHES = "Where on their way units switch, and which, was not recorded in this run."
NO_EXHIBITS = (
    "Of no path were all regions kept, so none is shown: lronnx analyze keeps them once all paths are done, unless it "
    "is called with --exhibits 0, or with a budget of seconds."
)
COMPARED = (
    "Of no path were all regions kept, so none is shown: a comparison, which made this run, keeps none; lronnx analyze "
    "of the model alone does."
)
"""Notices of what a run lacks."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A path all of whose regions were kept. ``points``: (P, *sample) float64, in the network's input.

    ``most``: whether it is one of those with the most deviation from affine interpolation, or with the least; ``rank``:
    0 for the most extreme of these. ``position``: of the path in :attr:`Run.paths`. ``regions``: its regions file, as
    :func:`lronnx.store.write_regions` describes it, with its metadata.
    """

    path: int
    position: int
    most: bool
    rank: int
    regions: pa.Table
    points: Floats


@dataclass(frozen=True, eq=False)
class Run:
    """What a run folder holds.

    ``shown``: what to call it. ``summary``: as of :func:`lronnx.summary.summarize`, with the ``study``.
    ``done``: how many of the study's ``total`` paths it is about. ``paths``: as of :func:`lronnx.summary.per_path`,
    and ``index``, the sample's position in its split (-1 if the path belongs to none). ``network``: the facts of it in
    the manifest; empty if they were not recorded.

    ``unit_switches``: by node, (units,) how often each unit switched on ``unit_paths`` of the paths.
    ``place_switches``: by node, (S, PLACES) how often its units switched in each of :data:`lronnx.records.PLACES` equal
    parts of each of S segments, on all paths; S is 1 if paths have unequal or very many segments, whose parts are then
    taken together.
    ``seconds``: how long the walks of these paths took, all together, whoever did them; None if that is not known.
    ``devices``: what they ran on. ``notices``: what is missing, and why.
    """

    shown: str
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    done: int
    total: int
    paths: Mapping[str, NDArray[Any]]
    network: Mapping[str, Any] = field(default_factory=dict)
    unit_switches: Mapping[str, Integers] = field(default_factory=dict)
    unit_paths: int = 0
    place_switches: Mapping[str, Integers] = field(default_factory=dict)
    exhibits: tuple[Exhibit, ...] = ()
    seconds: float | None = None
    devices: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def study(self) -> Mapping[str, Any]:
        """What decided which rows came out, as the manifest has it."""
        return dict(self.manifest["study"])

    @property
    def estimated(self) -> bool:
        return bool(self.summary["estimated"])

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata, as far as they were recorded."""
        return dict(self.network.get("metadata", {}))

    @property
    def model(self) -> str:
        """The name of the model's file."""
        return str(self.manifest["chosen"].get("model", "model"))


def read(spec: str) -> Run:
    """Read a run folder, a path or a URL.

    Raises InputError if there is none, or if it cannot be read.
    """
    place = Place.open(spec)
    manifest = _manifest(place)
    paths = int(manifest["paths"])
    notices: list[str] = []
    try:
        parts = _Rows.of(place)
        per_path = dict(summary.per_path(parts.batches()))
        done = len(per_path["path"])
        figures = _summary(place)
        # A summary of all paths is none of those that are left, should parts have gone.
        if figures is None or not figures["totals"].get("paths") == done == paths:
            seed = manifest["study"]["walk"].get("seed", 0)
            figures = {"study": manifest["study"], **summary.summarize(parts.batches(), seed=seed)}
        if done < paths:
            notices.append(UNFINISHED.format(done=done, total=paths))
        per_path["index"] = _indices(parts, done)
        seconds, devices = _times(place, parts, done)
        switches = _switches(parts, manifest, notices)
        exhibits = () if figures["estimated"] else _exhibits(place, manifest, per_path, notices)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"the run folder {place.shown} cannot be read: {error}") from None
    return Run(
        shown=place.shown,
        manifest=manifest,
        summary=figures,
        done=done,
        total=paths,
        paths=per_path,
        network=manifest["chosen"]["network"],
        exhibits=exhibits,
        seconds=seconds,
        devices=devices,
        notices=tuple(notices),
        **switches,
    )


def _manifest(place: Place) -> dict[str, Any]:
    try:
        found = json.loads(place.read(run_folder.MANIFEST))
        if not isinstance(found, dict):
            raise TypeError("it is no JSON object")
        layout = found["format"]
        if layout not in FORMATS:
            raise InputError(
                f"the run folder {place.shown} has layout {layout}, this lronnx reads {', '.join(map(str, FORMATS))}"
            )
        return _completed(found)
    except (FileNotFoundError, NotADirectoryError):
        if any(place.exists(name) for name in (run_folder.COMPARISON, f"pairs/{run_folder.MANIFEST}")):
            raise InputError(
                f"{place.shown} is a comparison of networks, each of which has a run folder in {place.shown}/models"
            ) from None
        raise InputError(
            f"{place.shown} is no run folder: it holds no {run_folder.MANIFEST}; lronnx analyze -o makes one"
        ) from None
    except OSError as error:
        raise InputError(f"the run folder {place.shown} cannot be read: {error}") from None
    except KeyError as error:
        raise InputError(f"{place.shown}/{run_folder.MANIFEST} is damaged: it has no {error.args[0]}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{place.shown}/{run_folder.MANIFEST} is damaged: {error}") from None


def _completed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with every object that readers look into, empty where it has none.

    Raises KeyError for what every manifest has, and TypeError for what is of another type than it should be.
    """
    whole = _typed(manifest["paths"], int, "paths")
    if isinstance(whole, bool) or whole < 0:
        raise TypeError("paths is no number of paths")
    study = dict(_typed(manifest["study"], dict, "study"))
    for name in ("model", "paths", "walk"):
        study[name] = _typed(study.get(name, {}), dict, f"study.{name}")
    study["walk"] = {"seed": 0, **study["walk"]}
    _typed(study["walk"]["seed"], int, "study.walk.seed")
    chosen = dict(_typed(manifest.get("chosen", {}), dict, "chosen"))
    network = chosen["network"] = dict(_typed(chosen.get("network", {}), dict, "chosen.network"))
    for key, value in _typed(network.get("metadata", {}), dict, "chosen.network.metadata").items():
        _typed(value, str, f"chosen.network.metadata.{key}")
    for node in _typed(network.get("switching_nodes", []), list, "chosen.network.switching_nodes"):
        for name, kind in (("label", str), ("operator", str), ("shape", list), ("units", int), ("level", int)):
            _typed(_typed(node, dict, "a switching node")[name], kind, f"{name} of a switching node")
        if not all(isinstance(size, int) for size in node["shape"]) or math.prod(node["shape"]) != node["units"]:
            raise TypeError(f"the units of the switching node {node['label']} do not fit its shape")
    sessions = _typed(manifest.get("sessions", []), list, "sessions")
    for session in sessions:
        _typed(_typed(session, dict, "a session").get("environment", {}), dict, "a session's environment")
    return {**manifest, "study": study, "chosen": chosen, "sessions": sessions}


def _typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is no {kind.__name__}")
    return value


def _summary(place: Place) -> dict[str, Any] | None:
    """What the run itself summed up in the end; None if it has not, or if that cannot be read."""
    try:
        found = json.loads(place.read(run_folder.SUMMARY))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    kinds = {"estimated": bool, "totals": dict, "measures": list, "groups": dict, "tests": list, "confidence": float}
    whole = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return dict(found) if whole else None


@dataclass(frozen=True)
class _Rows:
    """All rows of a run: those of complete parts, by the parts' files, and those of other paths that are done."""

    place: Place
    names: tuple[str, ...]
    journal: tuple[pa.Table, ...]

    @classmethod
    def of(cls, place: Place) -> _Rows:
        """What there is. Raises InputError if a part is damaged."""
        # In this order: whoever works on the run moves rows from the journal to parts.
        waiting = []
        for name in place.names(run_folder.JOURNAL):
            with suppress(FileNotFoundError):
                table = _checked(place, f"{run_folder.JOURNAL}/{name}")
                # A journal that is damaged costs its paths only: they are walked again.
                waiting += [table] if table is not None else []
        names = tuple(place.names(run_folder.SEGMENTS))
        seen = [np.zeros(0, np.int64)]
        for name in names:
            table = _checked(place, f"{run_folder.SEGMENTS}/{name}", ["path"])
            if table is None:
                raise InputError(
                    f"{place.shown}/{run_folder.SEGMENTS}/{name} is damaged: the command that made the run walks its "
                    "paths again"
                )
            seen.append(table.column("path").to_numpy())
        done = np.unique(np.concatenate(seen))
        journal = []
        for table in waiting:
            path = table.column("path").to_numpy()
            journal.append(table.filter(pa.array(~np.isin(path, done))))
            done = np.union1d(done, path)
        return cls(place, names, tuple(journal))

    def tables(self, columns: Iterable[str]) -> Iterator[pa.Table]:
        """One per file, with those of these columns that it has."""
        for name in self.names:
            content = self.place.read(f"{run_folder.SEGMENTS}/{name}")
            file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
            known = set(file.schema_arrow.names)
            yield file.read([column for column in columns if column in known], use_threads=False)
        for table in self.journal:
            yield table.select([column for column in columns if column in table.column_names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, without the columns that are large and of no use for statistics."""
        large = {"switches_by_unit", "switches_by_place", "absolute_deviation_bound", "end_to_end_variation"}
        names = {one.name: None for schema in (records.SEGMENTS, records.ESTIMATES) for one in schema}
        for table in self.tables([name for name in names if name not in large]):
            yield from table.to_batches()


def _times(place: Place, rows: _Rows, done: int) -> tuple[float | None, tuple[str, ...]]:
    """Seconds and devices of all walks; no seconds where the times of some are missing or damaged."""
    seconds: dict[int, float] = {}
    devices = set[str]()
    tables = [_checked(place, f"{run_folder.TIMES}/{name}") for name in place.names(run_folder.TIMES)]
    for table in (*tables, *rows.journal):
        if table is not None:
            # In the journal a path's times stand beside each of its rows.
            seconds |= dict(zip(table.column("path").to_pylist(), table.column("seconds").to_pylist(), strict=True))
            devices.update(table.column("device").to_pylist())
    return (math.fsum(seconds.values()) if len(seconds) == done else None), tuple(sorted(devices))


def _indices(parts: _Rows, count: int) -> Integers:
    """(paths,) the position of each path's sample in its split, -1 if it has none."""
    numbers, indices = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for table in parts.tables(["path", "index"]):
        numbers.append(table.column("path").to_numpy())
        indices.append(table.column("index").fill_null(-1).to_numpy())
    path, first = np.unique(np.concatenate(numbers), return_index=True)
    assert len(path) == count
    return np.concatenate(indices)[first].astype(np.int64)


def _switches(parts: _Rows, manifest: Mapping[str, Any], notices: list[str]) -> dict[str, Any]:
    """Switches by unit and by place, of all nodes."""
    recorded = manifest["chosen"]["network"].get("switching_nodes", [])
    units = {str(node["label"]): np.zeros(int(node["units"]), np.int64) for node in recorded}
    places = {label: np.zeros((MOST_SEGMENTS, records.PLACES), np.int64) for label in units}
    paths = 0
    longest, lengths, seen = 0, set[int](), 0
    for table in parts.tables(["path", "segment", "switches_by_unit", "switches_by_place"]):
        seen += len(table)
        if "switches_by_place" not in table.column_names or not units:
            continue
        path, segment = table.column("path").to_numpy(), table.column("segment").to_numpy()
        _, counts = np.unique(path, return_counts=True)
        lengths.update(counts.tolist())
        longest = max(longest, int(segment.max(initial=-1)) + 1)
        for label, rows, numbers in _entries(table.column("switches_by_place")):
            if label in places:
                at = np.minimum(segment[rows], MOST_SEGMENTS - 1)
                np.add.at(places[label], at, _matrix(numbers))
        kept = pc.is_valid(table.column("switches_by_unit")).to_numpy()
        paths += len(np.unique(path[kept]))
        for label, _, numbers in _entries(table.column("switches_by_unit")):
            if label in units:
                found, times = (
                    pc.list_flatten(pc.struct_field(numbers, name)).to_numpy() for name in ("unit", "switches")
                )
                if len(found) and not 0 <= found.min() <= found.max() < len(units[label]):
                    raise InputError(f"the rows of the run know more units of {label} than its {run_folder.MANIFEST}")
                np.add.at(units[label], found, times)
    if not longest:
        if seen and not manifest["study"]["walk"].get("estimate"):
            notices.append(NO_SWITCHES)
        return {}
    if longest > MOST_SEGMENTS or len(lengths) > 1:
        places = {label: found.sum(axis=0, keepdims=True) for label, found in places.items()}
    else:
        places = {label: found[:longest] for label, found in places.items()}
    return {"place_switches": places, "unit_switches": units if paths else {}, "unit_paths": paths}


def _entries(column: pa.ChunkedArray) -> Iterator[tuple[str, NDArray[np.intp], pa.Array]]:
    """The entries of a column of maps: for every key, the rows that have it and their values."""
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        rows = np.repeat(np.arange(len(chunk)), np.diff(offsets))
        inside = slice(int(offsets[0]), int(offsets[-1]))
        keys, values = chunk.keys[inside], chunk.items[inside]
        encoded = keys.dictionary_encode()
        codes = encoded.indices.to_numpy()
        for code, label in enumerate(encoded.dictionary.to_pylist()):
            mine = np.flatnonzero(codes == code)
            yield label, rows[mine], values.take(pa.array(mine))


def _matrix(lists: pa.Array) -> Integers:
    """Lists of one length as rows."""
    return np.asarray(pc.list_flatten(lists).to_numpy()).reshape(len(lists), -1).astype(np.int64)


def _exhibits(
    place: Place, manifest: Mapping[str, Any], paths: Mapping[str, NDArray[Any]], notices: list[str]
) -> tuple[Exhibit, ...]:
    """The exhibits whose files are there and sound, those with the most deviation first."""
    files: dict[tuple[str, int], str] = {}
    for name in place.names(run_folder.EXHIBITS):
        named = run_folder.EXHIBIT_NAME.match(name)
        if named:
            files[named[1], int(named[2])] = f"{run_folder.EXHIBITS}/{name}"
    chosen = {path for kind, path in files if kind == "points"}
    if manifest["study"]["walk"].get("regions"):
        for name in place.names(run_folder.REGIONS):
            named = run_folder.PATH_NAME.match(name)
            if named and int(named[1]) in chosen:
                files["path", int(named[1])] = f"{run_folder.REGIONS}/{name}"
    found: list[Exhibit] = []
    for extreme, numbers in zip((True, False), _extremes(paths, chosen), strict=True):
        for rank, path in enumerate(numbers):
            if path not in chosen or ("path", path) not in files:
                continue
            try:
                regions, points = (_checked(place, files[kind, path]) for kind in ("path", "points"))
                if regions is None or points is None:
                    raise ValueError
                shape = json.loads(points.schema.metadata[b"lronnx.shape"])
                array = _floats(points.column("point").combine_chunks()).reshape(len(points), *shape)
            except (ValueError, TypeError, KeyError):
                told = f"The files of path {path} in {run_folder.EXHIBITS} are damaged: analyze again mends them."
                notices.append(told)
                continue
            position = int(np.searchsorted(paths["path"], path))
            found.append(Exhibit(path, position, extreme, rank, regions, array))
    if not found and len(paths["path"]) == manifest["paths"]:
        notices.append(COMPARED if manifest["chosen"].get("comparison") else NO_EXHIBITS)
    return tuple(found)


def _extremes(paths: Mapping[str, NDArray[Any]], chosen: set[int]) -> tuple[list[int], list[int]]:
    """The paths with the most and the least deviation, for as many as it takes to have all that were chosen."""
    # How many were asked for is not recorded, and of some the files may be missing.
    count = (len(chosen) + 1) // 2
    most, least = summary.extremes(paths, count)
    while not chosen <= {*most, *least} and count < len(paths["path"]):
        count *= 2
        most, least = summary.extremes(paths, count)
    return most, least


def _floats(lists: pa.Array) -> Floats:
    return np.asarray(pc.list_flatten(lists).to_numpy(), dtype=np.float64)


def _checked(place: Place, name: str, columns: list[str] | None = None) -> pa.Table | None:
    """A Parquet file, or some of its columns; None if it is damaged."""
    content = place.read(name)
    if not run_folder.is_sound(name.rpartition("/")[2], content):
        return None
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(columns, use_threads=False)
