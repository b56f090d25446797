"""Results that outlive a run: the regions file (Parquet) and the JSON object.

A file is written whole or not at all: under another name in the same folder first, then renamed.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lronnx.errors import InputError
from lronnx.regions import DecisionChange, PathWalk, SelfCheck, Walk

if TYPE_CHECKING:
    import pyarrow as pa

    from lronnx.agreement import Agreement

FORMAT_VERSION = "1"
"""Version of the regions file, recorded in it; it changes when a column changes its name, type or meaning."""

_ROW_GROUP_BYTES = 16 * 2**20


def walk_to_json(path: PathWalk, *, model: str, version: str) -> dict[str, Any]:
    """The result of a run as one object of JSON types: figures of the whole path, then ``per_segment``.

    Numbers that do not exist (a density of nothing, a mean over no breakpoints) are None, never nan. ``length`` is
    that of the part that was walked, which is all of it unless ``partial``: ``density`` and deviations refer to it.
    ``decision_changes`` of the path also hold those exactly where two segments meet. Of the engine ``both`` there is
    also ``agreement``: how the walk and the sweep compare.
    """
    compared = {} if path.agreement is None else {"agreement": _agreement(path.agreement)}
    return {
        "model": model,
        "engine": path.engine,
        "precision": path.precision,
        "device": path.device,
        "outputs": path.outputs,
        "segments": len(path.segments),
        **_figures(path, path.decision_changes),
        **compared,
        "version": version,
        "per_segment": [
            _figures(walk, tuple(DecisionChange(index, *change) for change in walk.decision_changes))
            for index, walk in enumerate(path.segments)
        ],
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "breakpoints": list(found.breakpoints),
        "unmatched_switches": found.unmatched,
        "largest_difference_in_t": found.largest_t,
        "largest_relative_difference_of_values": _plain(found.largest_value),
        "tolerance": found.tolerance,
    }


def write_regions(
    target: Path, path: PathWalk, *, model: str, sha256: str, options: Mapping[str, Any], version: str
) -> None:
    """Write the regions file: Parquet, one row per region of every segment, in order.

    Columns: ``segment`` int32, ``region`` int64 (from 0 in each segment), ``t_start`` and ``t_end`` float64, ``value``
    list<float64> (outputs at t_start), ``slope`` list<float64> (d output / d t), ``node`` string and ``unit`` int64
    (the first unit that switches at t_end; null where the walk of the segment ends), ``switches`` int32 (how many
    units switch at t_end). The file's metadata, keys beginning with ``lronnx.``, say what it was made of.

    ``options`` is recorded as JSON. Raises OSError; then no file is left behind, and an older one is untouched.
    """
    with replacing(target) as temporary:
        _write_regions(temporary, path, _metadata(path, model, sha256, options, version))


def regions_bytes(path: PathWalk, *, model: str, sha256: str, options: Mapping[str, Any], version: str) -> bytes:
    """The content of a regions file, as :func:`write_regions` writes it."""
    import pyarrow as pa

    target = pa.BufferOutputStream()
    _write_regions(target, path, _metadata(path, model, sha256, options, version))
    return bytes(target.getvalue())


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def check_writable(target: Path, *, sources: Mapping[str, Path] | None = None) -> None:
    """Raise InputError if a file could not be written there, before any work is done for it.

    ``sources``: files that are read, by what they are; writing over one of them is refused.
    """
    place = _real(target)
    if place.is_dir():
        raise InputError(f"the output {target} is a folder: name a file in it")
    if place.exists() and not place.is_file():
        raise InputError(f"the output {target} is not an ordinary file: it is replaced as a whole, so it has to be one")
    if place.exists() and not os.access(place, os.W_OK):
        raise InputError(f"the output {target} exists and is write-protected: choose another name")
    if not place.parent.exists():
        raise InputError(f"the output's folder {place.parent} does not exist: create it first")
    if not place.parent.is_dir():
        raise InputError(f"the output {target} cannot be written: {place.parent} is not a folder")
    for what, source in (sources or {}).items():
        if source.exists() and place.exists() and place.samefile(source):
            raise InputError(f"the output {target} is {what} itself: choose another name")
    try:
        with _temporary(place):
            pass
    except OSError as error:
        raise InputError(f"the output {target} cannot be written: {error.strerror or error}") from None


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A file to write instead of ``target``, which it becomes at the end; removed if anything goes wrong.

    The content is on the disk before the name changes, so that a crash leaves the old file or the new one.
    """
    place = _real(target)
    with _temporary(place) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, place)
        # The new name, too, outlasts a power failure.
        with suppress(OSError):
            folder = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """A new empty file next to ``place``, gone at the end unless it was renamed."""
    # Not by tempfile, whose files nobody else may read: the umask decides about this one.
    temporary = place.with_name(f".{place.name[:100]}.{secrets.token_hex(6)}.part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _real(target: Path) -> Path:
    """Where a file of this name really lies: renaming onto a symbolic link would replace the link."""
    return Path(os.path.realpath(target))


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("segment", pa.int32(), nullable=False),
            pa.field("region", pa.int64(), nullable=False),
            pa.field("t_start", pa.float64(), nullable=False),
            pa.field("t_end", pa.float64(), nullable=False),
            pa.field("value", pa.list_(pa.float64()), nullable=False),
            pa.field("slope", pa.list_(pa.float64()), nullable=False),
            pa.field("node", pa.string()),
            pa.field("unit", pa.int64()),
            pa.field("switches", pa.int32(), nullable=False),
        ]
    )


def _write_regions(target: Path | pa.NativeFile, path: PathWalk, metadata: Mapping[str, str]) -> None:
    import pyarrow.parquet as pq

    # The two lists of a row decide how many rows make a group of a handy size.
    rows = max(_ROW_GROUP_BYTES // (16 * path.outputs + 64), 1)
    # Names repeat, so a dictionary of them pays; numbers do not.
    schema = _schema().with_metadata(metadata)
    with pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=["node"]) as writer:
        for group in _groups(path, rows):
            writer.write_table(group, row_group_size=rows)


def _groups(path: PathWalk, rows: int) -> Iterator[pa.Table]:
    """The table in parts of ``rows`` rows: a long segment is cut, short ones are put together."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    room = rows
    for index, walk in enumerate(path.segments):
        first = 0
        while first < walk.regions:
            last = min(first + room, walk.regions)
            waiting.append(_batch(index, walk, first, last))
            room -= last - first
            first = last
            if room == 0:
                yield pa.concat_tables(waiting)
                waiting, room = [], rows
    if waiting:
        yield pa.concat_tables(waiting)


def _batch(segment: int, walk: Walk, first: int, last: int) -> pa.Table:
    """Rows ``first`` to ``last`` - 1 of a segment."""
    import pyarrow as pa

    rows = last - first
    # The last region of a segment ends where the walk does, at no switch.
    switches = [walk.switches[region] if region < len(walk.switches) else () for region in range(first, last)]
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * walk.outputs)

    def lists(array: np.ndarray[Any, np.dtype[np.float64]]) -> pa.ListArray:
        flat = np.ascontiguousarray(array, dtype=np.float64).reshape(-1)
        return pa.ListArray.from_arrays(offsets, pa.array(flat))

    columns = [
        pa.array(np.full(rows, segment, dtype=np.int32)),
        pa.array(np.arange(first, last, dtype=np.int64)),
        pa.array(np.ascontiguousarray(walk.t[first:last], dtype=np.float64)),
        pa.array(np.ascontiguousarray(walk.t[first + 1 : last + 1], dtype=np.float64)),
        lists(walk.values[first:last]),
        lists(walk.slopes[first:last]),
        pa.array([together[0].node if together else None for together in switches], pa.string()),
        pa.array([int(together[0].unit) if together else None for together in switches], pa.int64()),
        pa.array(np.array([len(together) for together in switches], dtype=np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=_schema())


def _metadata(path: PathWalk, model: str, sha256: str, options: Mapping[str, Any], version: str) -> dict[str, str]:
    return {
        "lronnx.format": FORMAT_VERSION,
        "lronnx.model": _printable(model),
        "lronnx.sha256": sha256,
        "lronnx.options": json.dumps(_plain(dict(options)), allow_nan=False),
        "lronnx.engine": path.engine,
        "lronnx.precision": path.precision,
        "lronnx.device": path.device,
        "lronnx.segments": str(len(path.segments)),
        "lronnx.closed": json.dumps(path.closed),
        "lronnx.lengths": json.dumps(_plain([walk.length for walk in path.segments]), allow_nan=False),
        "lronnx.partial": json.dumps(path.partial),
        "lronnx.self_check": json.dumps(_plain(_check(path.self_check)), allow_nan=False),
        "lronnx.version": version,
        "lronnx.onnxruntime_version": _version("onnxruntime-gpu", "onnxruntime"),
        "lronnx.numpy_version": np.__version__,
    }


def _figures(walk: Walk | PathWalk, changes: tuple[DecisionChange, ...]) -> dict[str, Any]:
    """What a segment and a path have in common."""
    figures = {
        "length": walk.walked_length,
        "regions": walk.regions,
        "linear_regions": walk.linear_regions,
        "breakpoints": walk.breakpoints,
        "switches": walk.switch_count,
        "smallest_region": walk.smallest_region,
        "density": walk.density,
        "absolute_deviation": walk.absolute_deviation,
        "absolute_deviation_norm": walk.absolute_deviation_norm,
        "absolute_deviation_bound": walk.absolute_deviation_bound,
        "total_variation": walk.total_variation,
        "end_to_end_variation": walk.end_to_end_variation,
        "slope_variation": walk.slope_variation,
        "local_similarity": walk.local_similarity,
        "decision_changes": [change._asdict() for change in changes],
        "switches_by_node": walk.switches_by_node,
        "self_check": _check(walk.self_check),
        "partial": walk.partial,
        "forward_passes": walk.forward_passes,
        "seconds": walk.seconds,
    }
    return {name: _plain(figure) for name, figure in figures.items()}


def _check(check: SelfCheck) -> dict[str, Any]:
    return {
        "ok": check.ok,
        "contradictions": check.contradictions,
        "end_pattern_mismatches": check.end_pattern_mismatches,
        "max_value_error": check.max_value_error,
    }


def _plain(figure: Any) -> Any:
    """``figure`` in types of JSON: arrays as lists, numpy's numbers as Python's, None for nan and infinities."""
    if isinstance(figure, np.ndarray | np.generic):
        figure = figure.tolist()
    if isinstance(figure, float):
        return figure if math.isfinite(figure) else None
    if isinstance(figure, Mapping):
        return {_printable(str(key)): _plain(value) for key, value in figure.items()}
    if isinstance(figure, list | tuple):
        return [_plain(value) for value in figure]
    if isinstance(figure, Path):
        return _printable(str(figure))
    return figure


def _printable(text: str) -> str:
    """``text`` without the halves of characters that stand for undecodable bytes in a file's name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _version(*distributions: str) -> str:
    """The version of the first of these packages that is installed."""
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
