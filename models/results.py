"""The table of trained networks and what was measured of them, as a CSV file, and its curves over width or epoch."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.files import write_whole

Array = NDArray[np.float64]

GROUPS = ("train_clean", "train_corrupted", "test")
"""The points that paths run around: training points with their true label, with a corrupted one, test points."""

MEASURES = (
    "paths",
    "density",
    "breakpoints_per_segment",
    "absolute_deviation",
    "mean_deviation",
    "total_variation",
    "local_similarity",
)
"""What is known of a group's paths: their number, then means over them. The density is in regions per unit length, the
absolute deviation the norm over outputs, the mean deviation that per unit length, the local similarity the mean cosine
of the slopes of neighbouring regions."""

_COUNTS = ("width", "seed", "epoch", "parameters", "units", *(f"paths_{group}" for group in GROUPS))
_SHARES = ("train_accuracy", "clean_train_accuracy", "test_accuracy")

COLUMNS = (
    "architecture",
    "width",
    "seed",
    "epoch",
    "parameters",
    "units",
    *_SHARES,
    "train_loss",
    "test_loss",
    *(f"{measure}_{group}" for group in GROUPS for measure in MEASURES),
)
"""The columns of the CSV file, in order. ``train_accuracy`` is measured on the labels trained with,
``clean_train_accuracy`` on the true ones; both, like ``test_accuracy``, are shares in [0, 1]."""

X_COLUMNS = ("width", "epoch", "parameters")
"""What can be on the x axis."""

FAMILIES = 4  # columns of panels that a figure, and a README, can still show side by side

# --- the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Results:
    """One row per trained network or checkpoint. ``values``: each numeric column as float64 (N,), NaN where unknown."""

    architectures: tuple[str, ...]
    values: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.architectures)

    def __getitem__(self, column: str) -> Array:
        return self.values[column]


def read(path: Path) -> Results:
    """The table that ``write`` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a table; the message names file and line.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from None
    return _parse(text, str(path))


def write(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows, keyed by ``COLUMNS``, to a CSV file, whole or not at all.

    A column that is left out, None or NaN is unknown and becomes an empty cell. Floats are written so that they are
    read back bit for bit.

    Raises:
        ValueError: a key that is no column, or a row that ``read`` would refuse.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, 1):
        strange = sorted(set(row) - set(COLUMNS))
        if strange:
            raise ValueError(f"row {number} of {path} has no such column: {', '.join(strange)}")
        writer.writerow([_cell(row.get(column)) for column in COLUMNS])
    _parse(output.getvalue(), str(path))
    write_whole(path, output.getvalue().encode())


def _cell(value: object) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _parse(text: str, what: str) -> Results:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    architectures: list[str] = []
    table: list[list[float]] = []
    seen: dict[tuple[str, float, float], int] = {}
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"{what}, line 1: {_wrong_header(header)}")
        for cells in reader:
            where = f"{what}, line {reader.line_num}"
            if len(cells) != len(COLUMNS):
                raise ValueError(f"{where}: {len(cells)} cells, not {len(COLUMNS)}")
            if not cells[0].strip():
                raise ValueError(f"{where}: the architecture is missing")
            row = [_number(column, cell, where) for column, cell in zip(COLUMNS[1:], cells[1:], strict=True)]
            known = dict(zip(COLUMNS[1:], row, strict=True))
            if math.isnan(known["seed"]):
                raise ValueError(f"{where}: the seed is missing")
            epoch = -1.0 if math.isnan(known["epoch"]) else known["epoch"]
            first = seen.setdefault((cells[0], epoch, known["seed"]), reader.line_num)
            if first != reader.line_num:
                raise ValueError(f"{where}: the same architecture, epoch and seed as line {first}")
            architectures.append(cells[0])
            table.append(row)
    except csv.Error as error:
        raise ValueError(f"{what}, line {reader.line_num}: {error}") from None
    if not table:
        raise ValueError(f"{what} has no row below its header")
    columns = np.array(table, np.float64).T
    return Results(tuple(architectures), dict(zip(COLUMNS[1:], columns, strict=True)))


def _wrong_header(header: Sequence[str]) -> str:
    missing = [column for column in COLUMNS if column not in header]
    strange = [column for column in header if column not in COLUMNS]
    if missing:
        return f"lacks the columns {', '.join(missing)}"
    if strange:
        return f"unknown columns {', '.join(strange)}"
    return f"the columns must be, in this order, {','.join(COLUMNS)}"


def _number(column: str, cell: str, where: str) -> float:
    if not cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{where}: {column} is {cell!r}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: {column} is {cell}; leave the cell empty if the value is unknown")
    if column in _COUNTS:
        if value < 0 or value != int(value):
            raise ValueError(f"{where}: {column} is {cell}, not a whole number from 0 on")
    elif column in _SHARES:
        if not 0 <= value <= 1:
            raise ValueError(f"{where}: {column} is {cell}, not a share from 0 to 1")
    elif column.startswith("local_similarity"):
        if not -1 - 1e-9 <= value <= 1 + 1e-9:
            raise ValueError(f"{where}: {column} is {cell}, not a cosine")
    elif value < 0:
        raise ValueError(f"{where}: {column} is {cell}, less than 0")
    return value


# --- curves ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """The networks of one family along x.

    ``x``: float64 (n,), ascending. ``seeds``: int64 (s,), ascending. ``values``: each numeric column and the two
    errors ``train_error`` and ``test_error`` (1 - accuracy) as float64 (s, n), NaN where there is no such network or
    the value is unknown. ``last_checkpoints``: whether earlier checkpoints of the networks were left out.
    """

    family: str
    x_column: str
    x: Array
    seeds: NDArray[np.int64]
    values: Mapping[str, Array]
    last_checkpoints: bool

    def groups(self, measure: str) -> tuple[str, ...]:
        """The groups for which ``measure`` is known anywhere."""
        return tuple(group for group in GROUPS if np.isfinite(self.values[f"{measure}_{group}"]).any())


def family_of(architecture: str) -> str:
    """What the networks of a width sweep share: the name, with the widths in it removed.

    A number in the name's first part tells the depth and stays; a number with letters loses its digits, a bare one
    becomes a w: ``resnet18_w16`` is of the family ``resnet18_w``, ``mlp_20_20`` of ``mlp_w_w``.
    """
    first, *others = architecture.split("_")
    return "_".join([first, *("w" if part.isdigit() else re.sub(r"\d+", "", part) for part in others)])


def curves(results: Results, *, x: str | None = None, family: str | None = None) -> tuple[Curve, ...]:
    """The curves of ``results``, one per family, ordered by name.

    ``x``: one of ``X_COLUMNS``; by default whichever of width and epoch varies (the epoch does if a network has
    several checkpoints). Along widths or parameters a network counts with its last checkpoint, and a family is as
    ``family_of`` says; along epochs each architecture is a family of its own. ``family``: only this one.

    Raises:
        ValueError: width and epoch both vary and ``x`` does not say which is meant; a row without the x; two networks
            of a family and a seed at the same x; no such family; more than ``FAMILIES`` of them.
    """
    networks: dict[tuple[str, float], list[int]] = {}
    for row, name in enumerate(results.architectures):
        networks.setdefault((name, results["seed"][row]), []).append(row)
    checkpoints = any(len(rows) > 1 for rows in networks.values())
    if x is None:
        # After early stopping every network has an epoch of its own: that alone makes no sweep over epochs.
        if checkpoints and len(np.unique(results["width"])) > 1:
            raise ValueError("both width and epoch vary: say with --x which of them is the x axis")
        x = "epoch" if checkpoints else "width"
    elif x not in X_COLUMNS:
        raise ValueError(f"the x axis is {x!r}, not one of {', '.join(X_COLUMNS)}")
    if x != "epoch":
        last = [max(rows, key=lambda row: np.nan_to_num(results["epoch"][row], nan=-1)) for rows in networks.values()]
    else:
        last = list(range(len(results)))
    families: dict[str, list[int]] = {}
    for row in last:
        name = results.architectures[row]
        families.setdefault(name if x == "epoch" else family_of(name), []).append(row)
    if family is not None:
        if family not in families:
            raise ValueError(f"no family {family!r}; there are {', '.join(sorted(families))}")
        families = {family: families[family]}
    if len(families) > FAMILIES:
        raise ValueError(
            f"{len(families)} families are more than the {FAMILIES} that are shown side by side; "
            f"choose one with --family: {', '.join(sorted(families))}"
        )
    return tuple(
        _curve(results, name, rows, x, checkpoints and x != "epoch") for name, rows in sorted(families.items())
    )


def _curve(results: Results, family: str, rows: Sequence[int], x_column: str, last_checkpoints: bool) -> Curve:
    for row in rows:
        if math.isnan(results[x_column][row]):
            name, seed = results.architectures[row], int(results["seed"][row])
            raise ValueError(f"{name}, seed {seed}: the {x_column}, which is the x axis, is unknown")
    x, columns = np.unique(results[x_column][rows], return_inverse=True)
    seeds, lines = np.unique(results["seed"][rows].astype(np.int64), return_inverse=True)
    placed: dict[tuple[int, int], int] = {}
    for row, line, column in zip(rows, lines, columns, strict=True):
        other = placed.setdefault((line, column), row)
        if other != row:
            names = " and ".join(results.architectures[each] for each in (other, row))
            raise ValueError(f"{names}, seed {seeds[line]}, have the same {x_column}, {x[column]:g}: keep one of them")
    values = {name: np.full((len(seeds), len(x)), np.nan) for name in COLUMNS[1:]}
    for name, value in values.items():
        value[lines, columns] = results[name][rows]
    values["train_error"] = 1 - values["train_accuracy"]
    values["test_error"] = 1 - values["test_accuracy"]
    return Curve(family, x_column, x, seeds, values, last_checkpoints)
