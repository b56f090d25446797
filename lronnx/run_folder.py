"""The folder of a study: what was asked, what is done already, and how the rest gets there, whatever happens.

    RUN/manifest.json             the model's hash, the data's, every option and version; written first
    RUN/segments/part-*.parquet   the result, in the order of the paths: as many paths in each part as the manifest says
    RUN/regions/path-*.parquet    with --regions, every region of a path
    RUN/exhibits/*.parquet        every region, and the points, of the paths that deviate most and least
    RUN/times/part-*.parquet      how long each path took, and where it was walked
    RUN/journal/*.parquet         paths that are done while others of their part are not
    RUN/summary.json              written last

Paths are done in any order. Their rows go to the journal every few seconds, and into their part once all of the part's
paths are there. So a part holds the same bytes whoever worked on it, in whatever order and after however many
interruptions; and a reader of ``segments`` finds whole parts only, no path twice.

A file's name ends in the first digits of its SHA-256: one that was damaged does not fit its name, is removed, and its
paths are walked again. Only the process that runs the study writes; on this machine a lock keeps others out.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from lronnx import records
from lronnx.errors import InputError
from lronnx.places import Place

FORMAT = 2
"""Version of the folder's layout, recorded in the manifest; it changes when readers would have to."""

MANIFEST, SUMMARY = "manifest.json", "summary.json"
COMPARISON = "comparison.json"
"""What a folder that several runs share holds, those of networks that were compared."""

SEGMENTS, REGIONS, TIMES, JOURNAL, EXHIBITS = "segments", "regions", "times", "journal", "exhibits"

WAITING_PARTS = 4
"""As many parts' rows are kept in memory; of others that are finished the rows are read back when they are needed."""

JOURNAL_EVERY = 2.0
"""Seconds after which finished paths are written down even if their part is not complete."""

_NAME = re.compile(r"(?P<stem>.+)-(?P<digest>[0-9a-f]{16})\.parquet")
_PART = re.compile(r"part-(\d+)")
PATH_NAME = re.compile(r"path-(\d+)")
EXHIBIT_NAME = re.compile(r"(path|points)-(\d+)")


@dataclass(frozen=True)
class Outcome:
    """What walking one path has brought: its rows with their origin, its row of times, and its regions file."""

    path: int
    rows: pa.RecordBatch
    times: pa.RecordBatch
    regions: bytes | None = None


@dataclass
class RunFolder:
    """A run folder that this process works on; make one with :meth:`open`.

    ``paths``: how many the study has; ``per_part``: how many share a part; ``done``: whose result is safe or kept here.
    ``notices``: what had to be mended when it was opened.
    """

    place: Place
    paths: int
    per_part: int
    schema: pa.Schema
    keeps_regions: bool
    manifest: dict[str, Any]
    done: set[int] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)
    # Finished paths of parts that are not complete; None: its rows are in the journal only.
    _waiting: dict[int, Outcome | None] = field(default_factory=dict)
    _journaled: dict[str, set[int]] = field(default_factory=dict)
    _unwritten: set[int] = field(default_factory=set)
    _last: float = field(default_factory=time.monotonic)
    _lock: FileLock | None = None

    @classmethod
    def open(
        cls,
        place: Place,
        study: Mapping[str, Any],
        *,
        paths: int,
        per_part: int,
        schema: pa.Schema,
        keeps_regions: bool,
        environment: Mapping[str, str],
        chosen: Callable[[], Mapping[str, Any]] = dict,
    ) -> RunFolder:
        """Begin a run, or go on with one.

        ``study``: JSON of everything that decides what rows come out; a folder with another one is refused. ``chosen``:
        JSON of what is settled once, when the run begins, and then holds. ``schema``: that of the rows.
        ``environment``: what may change the last digits of figures (versions, the processor); every one is recorded.
        Raises InputError if the folder cannot be used, OSError if it cannot be written.
        """
        lock = _locked(place)
        try:
            manifest = _read_manifest(place, study)
            fresh = manifest is None
            if manifest is None:
                if not place.is_empty():
                    raise InputError(
                        f"the run folder {place.shown} is not empty and holds no {MANIFEST}: name another, or a new one"
                    )
                manifest = {
                    "format": FORMAT,
                    "study": dict(study),
                    "paths": paths,
                    "paths_per_part": per_part,
                    "chosen": dict(chosen()),
                    "sessions": [],
                }
            here = {"begun": _now(), "environment": dict(environment)}
            known = [dict(session["environment"]) for session in manifest["sessions"]]
            fits = here["environment"] in known
            if not fits:
                manifest["sessions"].append(here)
                place.write(MANIFEST, _json(manifest))
            about = {b"lronnx.study": json.dumps(study, sort_keys=True).encode()}
            run = cls(
                place,
                int(manifest["paths"]),
                int(manifest["paths_per_part"]),
                schema.with_metadata(about),
                keeps_regions,
                manifest,
            )
            run._lock = lock
            if known and not fits:
                changed = ", ".join(_differences(known[-1], here["environment"], ""))
                run.notices.append(f"the run was begun elsewhere, figures may differ in their last digits: {changed}")
            if not fresh:
                run._recover()
            return run
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def add(self, outcome: Outcome) -> None:
        """Keep the result of a path. Raises OSError if it cannot be written; what was written before is safe."""
        if outcome.path in self.done:
            return
        if outcome.regions is not None:
            self._write(REGIONS, f"path-{outcome.path:06d}", outcome.regions)
        self._waiting[outcome.path] = Outcome(outcome.path, outcome.rows, outcome.times)
        self._unwritten.add(outcome.path)
        self.done.add(outcome.path)
        self._complete(outcome.path // self.per_part)
        if time.monotonic() - self._last >= JOURNAL_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write down what is finished but not yet written. Raises OSError."""
        self._last = time.monotonic()
        if not self._unwritten:
            return
        found = self._outcomes(sorted(self._unwritten))
        fields = [*self.schema, *list(records.TIMES)[1:]]
        # A path's times stand beside each of its rows.
        batches = [
            pa.RecordBatch.from_arrays(
                [
                    *one.rows.columns,
                    *(
                        pa.array([column[0].as_py()] * one.rows.num_rows, column.type)
                        for column in one.times.columns[1:]
                    ),
                ],
                schema=pa.schema(fields),
            )
            for one in found
        ]
        name = self._write(JOURNAL, f"rows-{time.time_ns():020d}", _parquet(batches, pa.schema(fields)))
        self._journaled[name] = {one.path for one in found}
        self._unwritten.clear()
        self._spare()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary. Raises OSError."""
        self.place.write(SUMMARY, (json.dumps(summary, allow_nan=False) + "\n").encode())

    def exhibited(self, wanted: Iterable[int]) -> set[int]:
        """Which of these paths are kept as exhibits. All other exhibits, and damaged ones, are removed."""
        wanted = set(wanted)
        self.place.sweep(EXHIBITS)
        kinds: dict[int, set[str]] = {path: {"path"} if self.keeps_regions else set() for path in wanted}
        for name in self.place.names(EXHIBITS):
            named = EXHIBIT_NAME.match(name)
            if named is None or int(named[2]) not in wanted or named[1] in kinds[int(named[2])]:
                self.place.delete(f"{EXHIBITS}/{name}")
            elif is_sound(name, self.place.read(f"{EXHIBITS}/{name}")):
                kinds[int(named[2])].add(named[1])
            else:
                self.place.delete(f"{EXHIBITS}/{name}")
        return {path for path, found in kinds.items() if found == {"path", "points"}}

    def exhibit(self, path: int, points: NDArray[np.float64], regions: bytes | None) -> None:
        """Keep a path as an exhibit: its points (P, *sample) and its regions file, if it is not among all others'."""
        if regions is not None:
            self._write(EXHIBITS, f"path-{path:06d}", regions)
        flat = points.reshape(len(points), -1)
        offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
        rows = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)))
        about = {b"lronnx.shape": json.dumps(list(points.shape[1:])).encode()}
        schema = pa.schema([pa.field("point", rows.type, nullable=False)], about)
        self._write(
            EXHIBITS, f"points-{path:06d}", _parquet([pa.RecordBatch.from_arrays([rows], schema=schema)], schema)
        )

    @property
    def complete(self) -> bool:
        return len(self.done) == self.paths and not self._waiting

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of all complete parts, in the order of the paths; only some of their columns, if these are named."""
        for name in self.place.names(SEGMENTS):
            yield from _table(self.place.read(f"{SEGMENTS}/{name}"), columns).to_batches()

    def seconds(self) -> float:
        """What the walks of all complete parts took together, each on its worker."""
        total = 0.0
        for name in self.place.names(TIMES):
            table = _table(self.place.read(f"{TIMES}/{name}"), ["seconds"])
            total += float(table.column("seconds").to_numpy().sum())
        return total

    def close(self) -> None:
        """Write down what is finished, and let others have the folder. Raises OSError."""
        try:
            self.flush()
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
            return
        # What ended the run is what matters: that, say, the disk is full.
        with contextlib.suppress(OSError):
            self.close()

    # ---- what is finished, but not in a part

    def _spare(self) -> None:
        """Keep no more rows in memory than a few parts have: where paths fail, parts are long in coming."""
        if sum(one is not None for one in self._waiting.values()) > WAITING_PARTS * self.per_part:
            for paths in self._journaled.values():
                self._waiting.update(dict.fromkeys(paths))

    def _outcomes(self, paths: Iterable[int]) -> list[Outcome]:
        """Finished paths, from memory or from the journal."""
        paths = list(paths)
        missing = {path for path in paths if self._waiting[path] is None}
        for name, others in self._journaled.items():
            if others & missing:
                content = self._read(JOURNAL, name)
                if content is None:
                    raise InputError(f"{JOURNAL}/{name} was damaged while it was in use: the same command goes on")
                for one in self._split(*self._from_journal(content)):
                    if one.path in missing:
                        self._waiting[one.path] = one
        found = [self._waiting[path] for path in paths]
        return [one for one in found if one is not None]

    def _from_journal(self, content: bytes) -> tuple[pa.Table, pa.Table]:
        """Rows and times of a journal file."""
        table = _table(content)
        times = pa.table({one.name: table.column(one.name) for one in records.TIMES}, schema=records.TIMES)
        return table.select(self.schema.names), times

    def _split(self, rows: pa.Table, times: pa.Table) -> Iterator[Outcome]:
        """The outcome of every path in a table, where the rows of a path are neighbours."""
        numbers = rows.column("path").to_numpy()
        timed = times.column("path").to_pylist()
        first = 0
        for row in range(1, len(numbers) + 1):
            if row < len(numbers) and numbers[row] == numbers[first]:
                continue
            path = int(numbers[first])
            (one,) = rows.slice(first, row - first).combine_chunks().to_batches()
            (time_row,) = times.slice(timed.index(path), 1).combine_chunks().to_batches()
            yield Outcome(path, pa.RecordBatch.from_arrays(one.columns, schema=self.schema), time_row)
            first = row

    # ---- parts

    def _part(self, number: int) -> range:
        return range(number * self.per_part, min((number + 1) * self.per_part, self.paths))

    def _complete(self, number: int) -> None:
        """Write a part if all of its paths are there."""
        paths = self._part(number)
        if any(path not in self._waiting for path in paths):
            return
        found = self._outcomes(paths)
        # First the lesser file: where the part is, everything is.
        self._write(TIMES, f"part-{number:05d}", _parquet([one.times for one in found], records.TIMES))
        self._write(SEGMENTS, f"part-{number:05d}", _parquet([one.rows for one in found], self.schema))
        for path in paths:
            del self._waiting[path]
        self._unwritten.difference_update(paths)
        for name, others in list(self._journaled.items()):
            others.difference_update(paths)
            if not others:
                del self._journaled[name]
                self.place.delete(f"{JOURNAL}/{name}")

    def _write(self, folder: str, stem: str, content: bytes) -> str:
        name = f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        self.place.write(f"{folder}/{name}", content)
        return name

    # ---- going on

    def _recover(self) -> None:
        """Find out what is done. Removes what is damaged or left over."""
        for folder in ("", SEGMENTS, REGIONS, TIMES, JOURNAL):
            self.place.sweep(folder)
        regions = {path for path, _ in self._sound(REGIONS, PATH_NAME)} if self.keeps_regions else set()
        timed = {part for part, _ in self._sound(TIMES, _PART)}
        for number, content in self._sound(SEGMENTS, _PART):
            paths = set(self._part(number))
            if number in timed and (not self.keeps_regions or paths <= regions):
                self.done |= paths
                continue
            # Something beside it was lost: the other paths of the part need not be walked again.
            if number in timed:
                name = next(name for name in self.place.names(TIMES) if name.startswith(f"part-{number:05d}-"))
                self._keep(_table(content), _table(self.place.read(f"{TIMES}/{name}")), regions)
                self.flush()
            self._remove(SEGMENTS, f"part-{number:05d}-")
        # Where a run ended between the two files of a part, or its rows were lost, there are times of nothing.
        whole = {name[: len("part-00000-")] for name in self.place.names(SEGMENTS)}
        for name in self.place.names(TIMES):
            if name[: len("part-00000-")] not in whole:
                self.place.delete(f"{TIMES}/{name}")
        for name in self.place.names(JOURNAL):
            journal = self._read(JOURNAL, name)
            if journal is None:
                continue
            kept = self._keep(*self._from_journal(journal), regions)
            self._unwritten -= kept
            if kept:
                self._journaled[name] = kept
                self._spare()
            else:
                self.place.delete(f"{JOURNAL}/{name}")
        for name in self.place.names(REGIONS):
            named = PATH_NAME.match(name)
            if named is None or int(named[1]) not in self.done:
                self.place.delete(f"{REGIONS}/{name}")
        for number in sorted({path // self.per_part for path in self._waiting}):
            self._complete(number)
        if not self.complete:
            self.place.delete(SUMMARY)

    def _keep(self, rows: pa.Table, times: pa.Table, regions: set[int]) -> set[int]:
        """Take over paths that are not done yet; returns which."""
        kept = set()
        for one in self._split(rows, times):
            if one.path not in self.done and (not self.keeps_regions or one.path in regions):
                self._waiting[one.path] = one
                self._unwritten.add(one.path)
                self.done.add(one.path)
                kept.add(one.path)
        return kept

    def _sound(self, folder: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, bytes]]:
        """The files of a folder that are what their names say, one per number."""
        seen: set[int] = set()
        for name in self.place.names(folder):
            content = self._read(folder, name)
            if content is None:
                continue
            named = pattern.match(name)
            if named is None or int(named[1]) in seen:
                self.place.delete(f"{folder}/{name}")
                continue
            seen.add(int(named[1]))
            yield int(named[1]), content

    def _read(self, folder: str, name: str) -> bytes | None:
        """A file's content; one that is damaged is removed, and None."""
        content = self.place.read(f"{folder}/{name}")
        if is_sound(name, content):
            return content
        self.notices.append(f"{folder}/{name} is damaged: removed, its paths are walked again")
        self.place.delete(f"{folder}/{name}")
        return None

    def _remove(self, folder: str, beginning: str) -> None:
        for name in self.place.names(folder):
            if name.startswith(beginning):
                self.place.delete(f"{folder}/{name}")


def is_sound(name: str, content: bytes) -> bool:
    """Whether a file's content is what its name says."""
    named = _NAME.fullmatch(name)
    return named is not None and hashlib.sha256(content).hexdigest().startswith(named["digest"])


def _read_manifest(place: Place, study: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a run of this study; None if there is none. Raises InputError if it is of another."""
    try:
        found = json.loads(place.read(MANIFEST))
        layout, begun = found["format"], found["study"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place.shown}/{MANIFEST} is damaged ({error!r}): name another run folder") from None
    if layout != FORMAT:
        raise InputError(
            f"the run folder {place.shown} has layout {layout}, this lronnx knows {FORMAT}: finish it with the version "
            "that began it, or name another folder"
        )
    differences = list(_differences(begun, json.loads(_json(study)), ""))
    if differences:
        told = "\n".join(f"  {line}" for line in differences[:12])
        more = f"\n  and {len(differences) - 12} more" if len(differences) > 12 else ""
        raise InputError(
            f"the run folder {place.shown} belongs to another study; repeat its options, or name another folder. "
            f"Different are:\n{told}{more}"
        )
    return dict(found)


def _differences(before: Any, after: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), f"{where}.{key}" if where else key)
    elif before != after:
        yield f"{where}: {_short(before)} there, {_short(after)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _locked(place: Place) -> FileLock | None:
    """The folder, made if need be, kept from other processes of this machine; None where that cannot be."""
    if place.local is None:
        return None
    try:
        place.local.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"the run folder {place.shown} is a file") from None
    lock = FileLock(place.local / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process is working on the run folder {place.shown}: wait for it") from None
    except NotImplementedError:
        # Some network file systems have no locks.
        return None
    return lock


def _table(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """What a Parquet file holds."""
    # Read by this thread alone: one of pyarrow's that lets go of a Python buffer while the interpreter ends aborts it.
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(columns, use_threads=False)


def _parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """A Parquet file with these rows: the same bytes for the same rows."""
    table = pa.Table.from_batches([pa.RecordBatch.from_arrays(one.columns, schema=schema) for one in batches], schema)
    names = [one.name for one in schema if one.type == pa.string()]
    target = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), target, compression="zstd", use_dictionary=names)
    return bytes(target.getvalue())


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
