"""The tables of a study: what a row of each holds, and how a walk or an estimate becomes one.

``SEGMENTS``: one row per segment of every path, the figures of :class:`lronnx.regions.Walk` under their names.
``ESTIMATES``: the same for a study of estimates, :class:`lronnx.estimates.SegmentEstimate`; whatever was not counted
but estimated has ``estimated`` in its name. ``TIMES``: one row per path: what may differ from run to run.
``PAIRS``: of a comparison, one row per path and network but the first: :class:`lronnx.comparison.PathComparison`.

Both first tables begin with ``ORIGIN``: which sample of which data a path belongs to. ``split`` is '' if the data has
none; ``index`` is the sample's position in its split, null if the path belongs to no sample; ``label``, ``class`` and
``corrupted`` (whether the label is known to be wrong) are null if nobody knows; ``other_index`` and ``other_label``
are of the sample that a path leads to from another one. A segment whose two ends are the same point (translations of a
constant image) has no direction: length 0, no regions, density null.

Three columns are maps by node: ``switches_by_node``, how often its units switch; ``switches_by_place``, the same in
each of :data:`PLACES` equal parts of t; ``switches_by_unit``, which units (flat, row-major indices) switch, and how
often each. The last is large and null but for as many paths as the study was asked to keep it for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lronnx.regions import Walk

if TYPE_CHECKING:
    from lronnx.comparison import PathComparison, Place
    from lronnx.estimates import Estimate, SegmentEstimate

PLACES = 16
"""Equal parts of a segment, from t = 0 to t = 1, in which switches are counted."""

_NUMBERS = pa.list_(pa.field("item", pa.float64(), nullable=False))
_COUNTS = pa.map_(pa.string(), pa.int64())
_PER_UNIT = pa.map_(pa.string(), pa.struct({"unit": pa.list_(pa.int32()), "switches": pa.list_(pa.int32())}))
_PER_PLACE = pa.map_(pa.string(), pa.list_(pa.int32()))

_PLACE = [pa.field("path", pa.int64(), nullable=False), pa.field("segment", pa.int32(), nullable=False)]

ORIGIN = [
    pa.field("split", pa.string(), nullable=False),
    pa.field("index", pa.int64()),
    pa.field("label", pa.int64()),
    pa.field("class", pa.string()),
    pa.field("corrupted", pa.bool_()),
    pa.field("other_index", pa.int64()),
    pa.field("other_label", pa.int64()),
]

_CHECK = [
    pa.field("self_check_ok", pa.bool_(), nullable=False),
    pa.field("contradictions", pa.int64(), nullable=False),
    pa.field("end_pattern_mismatches", pa.int64(), nullable=False),
    pa.field("max_value_error", pa.float64(), nullable=False),
    pa.field("value_tolerance", pa.float64(), nullable=False),
    pa.field("forward_passes", pa.int64(), nullable=False),
]

_WALKED = [
    pa.field("length", pa.float64(), nullable=False),
    pa.field("covered", pa.float64(), nullable=False),
    pa.field("regions", pa.int64(), nullable=False),
    pa.field("linear_regions", pa.int64(), nullable=False),
    pa.field("breakpoints", pa.int64(), nullable=False),
    pa.field("switches", pa.int64(), nullable=False),
    pa.field("smallest_region", pa.float64()),
    pa.field("density", pa.float64()),
    pa.field("absolute_deviation", _NUMBERS, nullable=False),
    pa.field("absolute_deviation_norm", pa.float64(), nullable=False),
    pa.field("absolute_deviation_bound", _NUMBERS, nullable=False),
    pa.field("total_variation", _NUMBERS, nullable=False),
    pa.field("end_to_end_variation", _NUMBERS, nullable=False),
    pa.field("slope_variation", _NUMBERS, nullable=False),
    pa.field("local_similarity", pa.float64()),
    pa.field("decision_changes", pa.int64(), nullable=False),
    pa.field("switches_by_node", _COUNTS, nullable=False),
    pa.field("switches_by_unit", _PER_UNIT),
    pa.field("switches_by_place", _PER_PLACE, nullable=False),
    pa.field("partial", pa.bool_(), nullable=False),
]

_SCALARS, _VECTORS = ("regions", "density"), ("total_variation", "slope_variation", "absolute_deviation")
_PARTS = {"": "value", "_standard_error": "standard_error", "_low": "low", "_high": "high"}

_ESTIMATED = [
    pa.field("length", pa.float64(), nullable=False),
    pa.field("fraction", pa.float64(), nullable=False),
    pa.field("breakpoints_seen", pa.int64(), nullable=False),
    *(
        # A density of nothing is none.
        pa.field(f"estimated_{name}{part}", kind, nullable=name == "density")
        for names, kind in ((_SCALARS, pa.float64()), (_VECTORS, _NUMBERS))
        for name in names
        for part in _PARTS
    ),
]

SEGMENTS = pa.schema([*_PLACE, *ORIGIN, *_WALKED, *_CHECK])
ESTIMATES = pa.schema([*_PLACE, *ORIGIN, *_ESTIMATED, *_CHECK])
_AT = pa.struct(
    [
        pa.field("segment", pa.int32(), nullable=False),
        pa.field("t", pa.float64(), nullable=False),
        pa.field("output", pa.int32(), nullable=False),
        pa.field("first", pa.float64(), nullable=False),
        pa.field("other", pa.float64(), nullable=False),
        pa.field("allowed", pa.float64(), nullable=False),
    ]
)
_NODES = pa.map_(pa.string(), _COUNTS)

PAIRS = pa.schema(
    [
        pa.field("path", pa.int64(), nullable=False),
        pa.field("other", pa.int32(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("rounding", pa.string()),
        pa.field("length", pa.float64(), nullable=False),
        pa.field("breakpoints_first", pa.int64(), nullable=False),
        pa.field("breakpoints_other", pa.int64(), nullable=False),
        pa.field("union_breakpoints", pa.int64(), nullable=False),
        pa.field("largest_difference", pa.float64(), nullable=False),
        pa.field("largest_at", _AT),
        pa.field("size", pa.float64(), nullable=False),
        # What rounding explains at most, of any output on any segment.
        pa.field("allowed", pa.float64(), nullable=False),
        pa.field("parts_at", _AT),
        pa.field("difference_integral", _NUMBERS, nullable=False),
        pa.field("switches_first", pa.int64(), nullable=False),
        pa.field("switches_other", pa.int64(), nullable=False),
        pa.field("matched_switches", pa.int64(), nullable=False),
        pa.field("largest_move", pa.float64()),
        pa.field("median_move", pa.float64()),
        pa.field("one_to_one", pa.bool_(), nullable=False),
        pa.field("grazing_first", pa.int64(), nullable=False),
        pa.field("grazing_other", pa.int64(), nullable=False),
        pa.field("unmatched_first", _COUNTS, nullable=False),
        pa.field("unmatched_other", _COUNTS, nullable=False),
        pa.field("nodes", _NODES, nullable=False),
    ]
)
TIMES = pa.schema(
    [
        pa.field("path", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("worker", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
    ]
)


def walked(path: int, walks: Sequence[Walk], *, units: bool) -> pa.RecordBatch:
    """The rows of a path's segments, without their origin. ``units``: whether the switches of single units are kept."""
    columns: dict[str, list[Any]] = {field.name: [] for field in (*_PLACE, *_WALKED, *_CHECK)}
    for segment, walk in enumerate(walks):
        figures = {
            "path": path,
            "segment": segment,
            "length": walk.length,
            "covered": float(walk.t[-1]) if walk.length > 0.0 else 1.0,
            "regions": walk.regions,
            "linear_regions": walk.linear_regions,
            "breakpoints": walk.breakpoints,
            "switches": walk.switch_count,
            "smallest_region": _finite(walk.smallest_region),
            "density": _finite(walk.density),
            "absolute_deviation": walk.absolute_deviation,
            "absolute_deviation_norm": walk.absolute_deviation_norm,
            "absolute_deviation_bound": walk.absolute_deviation_bound,
            "total_variation": walk.total_variation,
            "end_to_end_variation": walk.end_to_end_variation,
            "slope_variation": walk.slope_variation,
            "local_similarity": walk.local_similarity,
            "decision_changes": len(walk.decision_changes),
            "switches_by_node": sorted(walk.switches_by_node.items()),
            "switches_by_unit": _by_unit(walk) if units else None,
            "switches_by_place": _by_place(walk),
            "partial": walk.partial,
            "self_check_ok": walk.self_check.ok,
            "contradictions": walk.self_check.contradictions,
            "end_pattern_mismatches": walk.self_check.end_pattern_mismatches,
            "max_value_error": walk.self_check.max_value_error,
            "value_tolerance": walk.self_check.value_tolerance,
            "forward_passes": walk.forward_passes,
        }
        for name, figure in figures.items():
            columns[name].append(figure)
    return _batch(columns, [*_PLACE, *_WALKED, *_CHECK])


def estimated(path: int, estimates: Sequence[SegmentEstimate]) -> pa.RecordBatch:
    """The rows of a path's segments, without their origin, for a study of estimates."""
    columns: dict[str, list[Any]] = {field.name: [] for field in (*_PLACE, *_ESTIMATED, *_CHECK)}
    for segment, found in enumerate(estimates):
        figures: dict[str, Any] = {
            "path": path,
            "segment": segment,
            "length": found.length,
            "fraction": found.fraction,
            "breakpoints_seen": found.breakpoints_seen,
            "self_check_ok": found.self_check.ok,
            "contradictions": found.self_check.contradictions,
            "end_pattern_mismatches": found.self_check.end_pattern_mismatches,
            "max_value_error": found.self_check.max_value_error,
            "value_tolerance": found.self_check.value_tolerance,
            "forward_passes": found.forward_passes,
        }
        for name in (*_SCALARS, *_VECTORS):
            estimate: Estimate = getattr(found, name)
            for part, attribute in _PARTS.items():
                figure = getattr(estimate, attribute)
                figures[f"estimated_{name}{part}"] = _finite(float(figure)) if name in _SCALARS else figure
        for name, figure in figures.items():
            columns[name].append(figure)
    return _batch(columns, [*_PLACE, *_ESTIMATED, *_CHECK])


def compared(path: int, pairs: Mapping[int, PathComparison]) -> pa.RecordBatch:
    """The rows of a path in ``PAIRS``: by the number of the other network, how it compares with the first one."""
    rows = []
    for other, found in pairs.items():
        units = found.correspondence
        rows.append(
            {
                "path": path,
                "other": other,
                "verdict": str(found.verdict),
                "rounding": found.rounding,
                "length": found.length,
                "breakpoints_first": found.breakpoints[0],
                "breakpoints_other": found.breakpoints[1],
                "union_breakpoints": found.union_breakpoints,
                "largest_difference": found.largest_difference,
                "largest_at": _at(found.largest_at),
                "size": found.size,
                "allowed": float(found.allowed.max(initial=0.0)),
                "parts_at": _at(found.parts_at),
                "difference_integral": found.difference_integral.tolist(),
                "switches_first": units.switches[0],
                "switches_other": units.switches[1],
                "matched_switches": units.matched,
                "largest_move": units.largest_move,
                "median_move": units.median_move,
                "one_to_one": units.one_to_one,
                "grazing_first": units.grazing[0],
                "grazing_other": units.grazing[1],
                "unmatched_first": sorted(units.unmatched[0].items()),
                "unmatched_other": sorted(units.unmatched[1].items()),
                "nodes": sorted((node, sorted(others.items())) for node, others in units.nodes.items()),
            }
        )
    return pa.RecordBatch.from_pylist(rows, PAIRS)


def _at(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else asdict(place)


def with_origin(rows: pa.RecordBatch, origin: Mapping[str, Any]) -> pa.RecordBatch:
    """The same rows with which sample they belong to: ``origin`` has a value, or None, for every field of ORIGIN."""
    count = rows.num_rows
    told = [pa.array([origin[field.name]] * count, field.type) for field in ORIGIN]
    fields = [*_PLACE, *ORIGIN, *list(rows.schema)[len(_PLACE) :]]
    columns = [*rows.columns[: len(_PLACE)], *told, *rows.columns[len(_PLACE) :]]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _batch(columns: Mapping[str, list[Any]], fields: Sequence[pa.Field]) -> pa.RecordBatch:
    arrays = [
        _lists(columns[field.name]) if field.type == _NUMBERS else pa.array(columns[field.name], field.type)
        for field in fields
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _lists(rows: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> pa.ListArray:
    """One list per row. Numbers that overflowed are infinite; what is not a number is none of ours."""
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int32)
    flat = np.concatenate(rows) if rows else np.zeros(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=_NUMBERS)


def _by_unit(walk: Walk) -> list[tuple[str, dict[str, NDArray[np.int64]]]]:
    """Of every node with switches, sorted, which of its units switch, and how often each."""
    units: dict[str, list[int]] = {}
    for together in walk.switches:
        for switch in together:
            units.setdefault(switch.node, []).append(switch.unit)
    counted = {node: np.unique(numbers, return_counts=True) for node, numbers in sorted(units.items())}
    return [(node, {"unit": found, "switches": counts}) for node, (found, counts) in counted.items()]


def _by_place(walk: Walk) -> list[tuple[str, NDArray[np.int64]]]:
    """Of every node with switches, sorted, how many there are in each of PLACES parts of the segment."""
    parts = np.minimum((walk.t[1:-1] * PLACES).astype(np.int64), PLACES - 1).tolist()
    places: dict[str, list[int]] = {}
    for part, together in zip(parts, walk.switches, strict=True):
        for switch in together:
            places.setdefault(switch.node, []).append(part)
    return [(node, np.bincount(numbers, minlength=PLACES)) for node, numbers in sorted(places.items())]


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
