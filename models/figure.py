"""From the results of a width sweep, or of the checkpoints of one network, to a figure and its statistics.

``python -m models.figure RESULTS.csv -o FIGURE.png`` draws the figure of M. Gamba, A. Chmielewski-Anders, J. Sullivan,
H. Azizpour and M. Björkman, "Are All Linear Regions Created Equal?" (AISTATS 2022), from the user's own networks, and
prints what the numbers say about two claims of the paper: that the deviation from affine interpolation follows the
test error, and that the density of linear regions keeps growing. Nothing here needs torch; only drawing needs
matplotlib.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy import stats

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
    _write_whole(path, output.getvalue().encode())


def _cell(value: object) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        # mkstemp's files are for their owner alone; a result is as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


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


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Means over seeds and half widths of their 95 % t-intervals, both (n,), of values (s, n) with NaN for unknown.

    The half width is NaN where there is but one value, both are NaN where there is none.
    """
    known = np.isfinite(values)
    count = known.sum(0)
    mean = np.full(values.shape[1], np.nan)
    half = np.full(values.shape[1], np.nan)
    np.divide(np.where(known, values, 0).sum(0), count, out=mean, where=count > 0)
    squares = np.where(known, (values - mean) ** 2, 0).sum(0)
    several = count > 1
    left = count[several] - 1
    half[several] = stats.t.ppf(0.975, left) * np.sqrt(squares[several] / left / count[several])
    return mean, half


# --- statistics -----------------------------------------------------------------------------------------------

RESAMPLES = 10_000
THRESHOLD = 0.99  # of the mean train accuracy: the interpolation threshold
GROWTH = 0.8  # what Spearman's correlation of density and x must exceed
SHRINKING_STEPS = 5  # one step down in so many is forgiven before density counts as not growing
_TIE = 1e-12  # relative; sums of the same numbers in another order are ties, not ranks

Interval = tuple[float, float]


@dataclass(frozen=True)
class Coefficient:
    """A correlation of mean curves, with what single seeds say of it.

    ``value``: of the means over seeds. ``interval``: 95 %, from resampling seeds. ``seeds``: of each seed's own curve.
    ``seeds_mean`` and ``seeds_interval``: mean over seeds and its 95 % t-interval, both by way of Fisher's z.
    The intervals are None where they cannot be computed.
    """

    value: float
    interval: Interval | None
    seeds: tuple[float, ...]
    seeds_mean: float | None
    seeds_interval: Interval | None

    @property
    def above(self) -> float:
        """What both intervals lie above; -1 where one of them is unknown."""
        if self.interval is None or self.seeds_interval is None:
            return -1.0
        return min(self.interval[0], self.seeds_interval[0])


@dataclass(frozen=True)
class Correlation:
    """Correlation of two quantities along x, around one group of points.

    ``logarithms``: Pearson's is of the logarithms (Spearman's is the same either way). ``start``: ``all``,
    ``first minimum`` or ``threshold``, the x from which on it is taken; ``x``: the x that entered.
    ``reason``: why there is no coefficient, empty if there is.
    """

    quantity: str
    against: str
    group: str
    start: str
    logarithms: bool
    x: tuple[float, ...]
    pearson: Coefficient | None
    spearman: Coefficient | None
    reason: str


@dataclass(frozen=True)
class Place:
    """An x where a mean curve does something; ``share``: of the resamples of seeds in which it does so there."""

    what: str
    x: float | None
    share: float | None


@dataclass(frozen=True)
class Value:
    """A mean over seeds at one x, with its 95 % t-interval (None with one seed)."""

    quantity: str
    group: str
    x: float
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Judgement:
    """Of a claim, around one group of points; ``reasons``: the numbers that it rests on, or why there are none."""

    group: str
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """``verdict``: supported, supported in part, not supported or cannot be judged."""

    claim: str
    verdict: str
    groups: tuple[Judgement, ...]


@dataclass(frozen=True)
class FamilyStatistics:
    """What the numbers of one curve say; ``notes``: what was left out and what to keep in mind."""

    family: str
    x_column: str
    x: tuple[float, ...]
    seeds: tuple[int, ...]
    threshold: Place
    first_minimum: Place
    peak: Place
    rise: Value | None
    deviation_peaks: tuple[Place, ...]
    values: tuple[Value, ...]
    correlations: tuple[Correlation, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """The statistics of each family."""

    families: tuple[FamilyStatistics, ...]

    def text(self) -> str:
        """Plain text, the verdicts first."""
        return "\n\n".join(_text(family) for family in self.families) + "\n"

    def json(self) -> str:
        """Everything, as JSON; null where something cannot be computed."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def statistics(results: Results, *, x: str | None = None, family: str | None = None) -> Statistics:
    """What the numbers say about the paper's two claims, per family; ``x`` and ``family`` as for ``curves``.

    **The range.** The *first minimum* of the mean test error is where its largest rise along x begins and the *peak*
    where that rise ends (largest: over all pairs of an earlier and a later x). With one dip and one peak those are the
    first local minimum and the peak after it, and a wiggle smaller than the rise does not move them. The
    *interpolation threshold* is the first x with a mean train accuracy of at least 0.99. All are chosen from the
    data; how often a resample of the seeds chooses the same x is given as a share. Correlations keep the x that the
    data chose.

    **Intervals.** A seed is an independent repetition of the whole curve (its own noise, weights and order), so whole
    seeds are resampled, with replacement, 10,000 times; the resample's curves are averaged and correlated over x.
    Percentiles of those are known to be too narrow with few seeds, so they are taken farther out, as T. Hesterberg
    ("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015) expands them: at the level
    of the normal distribution that the t-distribution's quantile times sqrt(n / (n - 1)) has. With five seeds that
    is 0.1 % on either side in place of 2.5 %, yet simulated data still had its true Pearson correlation inside in
    about 82 % of the cases only (75 % without expanding; with three seeds 60 % either way; see the tests). An interval
    that misses lies below the truth nearly always, since noise weakens a correlation, so it errs towards no support.

    Hence the second interval: each seed's own curve has a correlation, and the mean of these gets a t-interval by way
    of Fisher's z. It shares no resampling with the first, but is of another quantity, the correlation that one more
    seed's curve would have, which noise weakens more. (A Spearman correlation of 1 counts as half a step of ranks
    less, so that its z is finite.) A claim needs both. They tell how well the experiment repeats with other seeds at
    the same x, not what other values of x would give.

    **Claim 1, deviation follows the test error**: supported around a group of points if Pearson's and Spearman's
    correlation of absolute deviation with test error, from the first minimum on, have both intervals above 0.

    **Claim 2, density keeps growing**: supported around a group of points if, from the interpolation threshold on, the
    mean density grows from each x to the next in all but at most one in five steps (rounded down), and Spearman's
    correlation of density with x has both intervals above 0.8.

    Either needs three x or more in its range (the second four: with three, a half step below 1 is 0.75) and two seeds
    or more that have all of these. A claim is supported if it
    is around every group that was measured, and in part if it is around some.

    Raises:
        ValueError: as ``curves`` does.
    """
    return Statistics(tuple(_statistics(curve) for curve in curves(results, x=x, family=family)))


def _statistics(curve: Curve) -> FamilyStatistics:
    x, values = curve.x, curve.values
    notes: list[str] = []
    if curve.last_checkpoints:
        notes.append("each network counts with its last checkpoint")
    if len(curve.seeds) < 2:
        notes.append("one seed: no interval can be computed")
    error = values["test_error"]
    train, error_mean = mean_interval(values["train_accuracy"])[0], mean_interval(error)[0]
    threshold = _threshold(train[None])[0]
    low, high = (int(ends[0]) for ends in _rise(error_mean[None]))
    from_rise = f"at or after {curve.x_column} {x[low]:g}" if low >= 0 else ""
    means, times = _resampled(error)
    lows, highs = _rise(means)
    train_means, train_times = _resampled(values["train_accuracy"])
    incomplete = [str(seed) for seed, line in zip(curve.seeds, error, strict=True) if np.isnan(line).any()]
    if incomplete:
        notes.append(
            f"incomplete seeds, left out of what needs an x that they lack, except means: {', '.join(incomplete)}"
        )

    starts = {"all": 0, "first minimum": low, "threshold": threshold}
    correlations = []
    for quantity, against, logarithms in (
        ("absolute_deviation", "test_error", False),
        ("mean_deviation", "test_error", False),
        ("density", curve.x_column, True),
    ):
        other = np.broadcast_to(x, error.shape) if logarithms else error
        for group in curve.groups(quantity):
            for start, first in starts.items():
                if start == "threshold" and not logarithms:
                    continue
                correlations.append(
                    _correlation(
                        (quantity, against, group, start),
                        x,
                        values[f"{quantity}_{group}"],
                        other,
                        first,
                        logarithms,
                    )
                )

    deviation_peaks = []
    for group in curve.groups("absolute_deviation"):
        deviation = values[f"absolute_deviation_{group}"]
        deviation_means, deviation_times = _resampled(deviation)
        deviation_peaks.append(
            _place(
                f"peak of absolute_deviation_{group}",
                x,
                _peak(mean_interval(deviation)[0][None])[0],
                _peak(deviation_means),
                deviation_times,
            )
        )
    at = sorted({low, high, threshold, len(x) - 1} - {-1})
    return FamilyStatistics(
        curve.family,
        curve.x_column,
        tuple(x.tolist()),
        tuple(curve.seeds.tolist()),
        _place(
            f"interpolation threshold (mean train accuracy of {THRESHOLD:g} or more)",
            x,
            threshold,
            _threshold(train_means),
            train_times,
        ),
        _place("first minimum of the test error", x, low, lows, times),
        _place(f"peak of the test error {from_rise}".strip(), x, high, highs, times),
        _value("rise of test_error", "", x[high], error[:, high] - error[:, low]) if low >= 0 else None,
        tuple(deviation_peaks),
        tuple(_values(curve, at)),
        tuple(correlations),
        (_follows(curve, correlations), _grows(curve, correlations, threshold)),
        tuple(notes),
    )


@cache
def _draws(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each of ``count`` seeds is in a resample, (m, count), for m distinct ones, and how often each came."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    distinct, times = np.unique(drawn, axis=0, return_counts=True)  # five seeds have 126: the rest is repetition
    return distinct, times


def _resampled(values: Array) -> tuple[Array, NDArray[np.int64]]:
    """Mean curves (m, n) of resampled seeds, from values (s, n), and how often each came; m is 0 without two seeds.

    Only seeds that know all n are drawn from. The draws are the same for every quantity of as many seeds, so pairs of
    quantities stay pairs.
    """
    complete = values[np.isfinite(values).all(1)]
    count = len(complete)
    if count < 2:
        return np.empty((0, values.shape[1])), np.empty(0, np.int64)
    distinct, times = _draws(count)
    return distinct @ complete / count, times


def _threshold(accuracy: Array) -> NDArray[np.int64]:
    """First column that reaches ``THRESHOLD``, per row; -1 where none does."""
    reached = accuracy >= THRESHOLD - _TIE
    first: NDArray[np.int64] = np.where(reached.any(1), reached.argmax(1), -1)
    return first


def _rise(error: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the largest rise begins and ends, per row; -1 where nothing rises."""
    known = np.where(np.isnan(error), np.inf, error)
    lowest = np.minimum.accumulate(known, axis=1)
    rises = np.where(np.isfinite(known), known, 0) - np.where(np.isfinite(lowest), lowest, np.inf)
    high = rises.argmax(1)
    before = np.arange(error.shape[1]) <= high[:, None]
    low = np.where(before, known, np.inf).argmin(1)
    risen = rises.max(1) > _TIE
    return np.where(risen, low, -1), np.where(risen, high, -1)


def _peak(values: Array) -> NDArray[np.int64]:
    highest: NDArray[np.int64] = np.where(np.isnan(values), -np.inf, values).argmax(1)
    return highest


def _place(what: str, x: Array, index: np.int64 | int, resampled: NDArray[np.int64], times: NDArray[np.int64]) -> Place:
    """``resampled``: the index that each resample of ``_resampled`` chose."""
    return Place(
        what,
        float(x[index]) if index >= 0 else None,
        float(times[resampled == index].sum() / times.sum()) if len(times) else None,
    )


def _value(quantity: str, group: str, x: np.float64, values: Array) -> Value | None:
    [mean], [half] = mean_interval(values[:, None])
    if math.isnan(mean):
        return None
    interval = None if math.isnan(half) else (float(mean - half), float(mean + half))
    return Value(quantity, group, float(x), float(mean), interval)


def _values(curve: Curve, at: Sequence[int]) -> list[Value]:
    named = [("train_error", "", "train_error"), ("test_error", "", "test_error")]
    for quantity in ("density", "absolute_deviation", "local_similarity"):
        named += [(quantity, group, f"{quantity}_{group}") for group in curve.groups(quantity)]
    found = [
        _value(quantity, group, curve.x[i], curve.values[name][:, i]) for quantity, group, name in named for i in at
    ]
    return [value for value in found if value is not None]


def _correlation(
    name: tuple[str, str, str, str], x: Array, first: Array, second: Array, begin: int, logarithms: bool
) -> Correlation:
    """Of two (s, n), at the x from index ``begin`` on that have both, over the seeds that have all of these."""

    def impossible(reason: str, used: Array = x[:0]) -> Correlation:
        return Correlation(*name, logarithms, tuple(used.tolist()), None, None, reason)

    if begin < 0:
        return impossible("the mean test error never rises" if name[3] == "first minimum" else "never reached")
    known = np.isfinite(first) & np.isfinite(second)
    columns = known.any(0) & (np.arange(len(x)) >= begin)
    if logarithms:  # leaving out the seed in place of the x would leave out low densities only
        columns &= ~((first <= 0) | (second <= 0)).any(0)
    used = x[columns]
    if len(used) < 3:
        return impossible(f"{len(used)} x in the range, fewer than 3", used)
    lines = known[:, columns].all(1)
    if not lines.any():
        return impossible("no seed has all x of the range", used)
    a, b = first[np.ix_(lines, columns)], second[np.ix_(lines, columns)]
    (resampled_a, times), (resampled_b, _) = _resampled(a), _resampled(b)
    pairs = [(a.mean(0)[None], b.mean(0)[None]), (resampled_a, resampled_b), (a, b)]
    ranks = [(_ranks(one), _ranks(other)) for one, other in pairs]
    if logarithms:
        pairs = [(np.log(one), np.log(other)) for one, other in pairs]
    pearson, spearman = _coefficient(pairs, times, _TIE), _coefficient(ranks, times, _half_step(len(used)))
    if pearson is None or spearman is None:
        return impossible("a curve is constant", used)
    return Correlation(*name, logarithms, tuple(used.tolist()), pearson, spearman, "")


def _coefficient(pairs: Sequence[tuple[Array, Array]], times: NDArray[np.int64], closest: float) -> Coefficient | None:
    """From the pairs of the means, of the resamples and of the single seeds; None if a mean is constant.

    ``times``: how often each resample came. ``closest``: how near to 1 the correlation of a single seed counts at most.
    """
    [value], resampled, seeds = (_pearson(one, other) for one, other in pairs)
    if math.isnan(value):
        return None
    interval = mean = seeds_interval = None
    count = len(seeds)
    if count > 1:
        left = count - 1
        tail = stats.norm.cdf(-math.sqrt(count / left) * stats.t.ppf(0.975, left))
        if not np.isnan(resampled).any():
            low, high = np.quantile(np.repeat(resampled, times), [tail, 1 - tail])
            interval = (float(low), float(high))
        if not np.isnan(seeds).any():
            z = np.arctanh(np.clip(seeds, closest - 1, 1 - closest))
            [centre], [half] = mean_interval(z[:, None])
            mean = float(np.tanh(centre))
            seeds_interval = (float(np.tanh(centre - half)), float(np.tanh(centre + half)))
    each = tuple(float(seed) for seed in seeds if not math.isnan(seed))
    return Coefficient(float(value), interval, each, mean, seeds_interval)


def _half_step(count: int) -> float:
    """Half the distance between two neighbouring values that Spearman's correlation of ``count`` pairs can have."""
    return 6 / (count**3 - count)


def _ranks(values: Array) -> Array:
    largest = np.abs(values).max(1, keepdims=True, initial=0)
    scaled = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    ranks: Array = stats.rankdata(np.round(scaled, 12), axis=1)
    return ranks


def _pearson(first: Array, second: Array) -> Array:
    """Per row, (m,) from (m, n); NaN where a row is constant."""
    sums = []
    centred = []
    for values in (first, second):
        deviations = values - values.mean(1, keepdims=True)
        deviations[np.ptp(values, axis=1) <= _TIE * np.abs(values).max(1, initial=0)] = np.nan
        centred.append(deviations)
        sums.append((deviations**2).sum(1))
    products: Array = (centred[0] * centred[1]).sum(1) / np.sqrt(sums[0] * sums[1])
    return np.clip(products, -1, 1)


def _follows(curve: Curve, correlations: Sequence[Correlation]) -> Claim:
    judged = []
    for each in correlations:
        if (each.quantity, each.start) != ("absolute_deviation", "first minimum"):
            continue
        if each.pearson is None or each.spearman is None:
            judged.append(Judgement(each.group, "cannot be judged", (each.reason,)))
            continue
        reasons = (_shown("Pearson", each.pearson), _shown("Spearman", each.spearman))
        judged.append(Judgement(each.group, _verdict((each.pearson, each.spearman), 0.0), reasons))
    return _claim(f"absolute deviation follows the test error over {curve.x_column}", judged)


def _grows(curve: Curve, correlations: Sequence[Correlation], threshold: int) -> Claim:
    judged = []
    for each in correlations:
        if (each.quantity, each.start) != ("density", "threshold"):
            continue
        if each.spearman is None:
            reason = "the interpolation threshold is never reached" if threshold < 0 else each.reason
            judged.append(Judgement(each.group, "cannot be judged", (reason,)))
            continue
        if 1 - _half_step(len(each.x)) <= GROWTH:
            reason = f"{len(each.x)} x in the range, too few for a Spearman correlation above {GROWTH}"
            judged.append(Judgement(each.group, "cannot be judged", (reason,)))
            continue
        density = curve.values[f"density_{each.group}"][:, np.isin(curve.x, each.x)]
        steps = np.diff(density[np.isfinite(density).all(1)].mean(0))
        grown = int((steps > 0).sum())
        verdict = _verdict((each.spearman,), GROWTH)
        if len(steps) - grown > len(steps) // SHRINKING_STEPS:
            verdict = "not supported"
        reasons = (f"grows in {grown} of {len(steps)} steps", _shown("Spearman", each.spearman))
        judged.append(Judgement(each.group, verdict, reasons))
    return _claim(f"density of regions keeps growing with {curve.x_column} from the interpolation threshold on", judged)


def _verdict(coefficients: Sequence[Coefficient], bound: float) -> str:
    if any(each.interval is None or each.seeds_interval is None for each in coefficients):
        return "cannot be judged"
    return "supported" if all(each.above > bound for each in coefficients) else "not supported"


def _claim(claim: str, judged: Sequence[Judgement]) -> Claim:
    verdicts = {each.verdict for each in judged}
    if verdicts == {"supported"}:
        verdict = "supported"
    elif "supported" in verdicts:
        verdict = "supported in part"
    elif "not supported" in verdicts:
        verdict = "not supported"
    else:
        verdict = "cannot be judged"
    return Claim(claim, verdict, tuple(judged))


# --- text -----------------------------------------------------------------------------------------------------


def _shown(name: str, coefficient: Coefficient) -> str:
    value = f"{name} r = {coefficient.value:.2f}"
    if coefficient.interval is None or coefficient.seeds_interval is None:
        return f"{value}, without an interval: that needs two seeds or more, and no curve that is constant"
    return f"{value} (95 % {_between(coefficient.interval)}; single seeds {_between(coefficient.seeds_interval)})"


def _between(interval: Interval) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _estimate(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if interval is None else f"{value:.2f} ({_between(interval)})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(family: FamilyStatistics) -> str:
    x = family.x_column
    ends = dict.fromkeys(f"{end:g}" for end in (family.x[0], family.x[-1]))
    lines = [
        f"{family.family}: {len(family.x)} x ({x} {' to '.join(ends)}), "
        f"{len(family.seeds)} seed{'s' * (len(family.seeds) != 1)}",
        "",
    ]
    for claim in family.claims:
        lines.append(f"{claim.verdict.upper()}: {claim.claim}")
        if not claim.groups:
            lines.append("  nothing was measured")
        for judgement in claim.groups:
            lines.append(f"  around {_words(judgement.group)} points: {judgement.verdict}")
            lines += [f"    {reason}" for reason in judgement.reasons]
    lines.append("")
    for place in (family.threshold, family.first_minimum, family.peak, *family.deviation_peaks):
        share = "" if place.share is None else f", in {100 * place.share:.0f} % of the resamples"
        where = f"{x} {place.x:g}" if place.x is not None else "none"
        lines.append(f"{_words(place.what)}: {where}{share}")
    if family.rise is not None:
        interval = f" ({_digits(family.rise.interval)})" if family.rise.interval else ""
        lines.append(f"rise of the test error between the two: {family.rise.mean:.3g}{interval}")
    at = sorted({value.x for value in family.values})
    rows = [["mean (95 % t-interval)", *(f"{x} {each:g}" for each in at)]]
    found = {(value.quantity, value.group, value.x): value for value in family.values}
    for quantity, group in dict.fromkeys((value.quantity, value.group) for value in family.values):
        cells = []
        for each in at:
            value = found.get((quantity, group, each))
            interval = f" ({_digits(value.interval)})" if value and value.interval else ""
            cells.append(f"{value.mean:.3g}{interval}" if value else "")
        rows.append([_words(f"{quantity} {group}".strip()), *cells])
    lines += ["", *_table(rows), ""]
    rows = [["correlation", "around", "from", "of", "means over seeds", "each seed's own: mean", "range"]]
    impossible = []
    for correlation in family.correlations:
        name = f"{_words(correlation.quantity)}, {_words(correlation.against)}"
        if correlation.pearson is None or correlation.spearman is None:
            impossible.append(
                f"{name}, around {_words(correlation.group)}, from {correlation.start} on: {correlation.reason}"
            )
            continue
        for kind, coefficient in (("Pearson", correlation.pearson), ("Spearman", correlation.spearman)):
            extent = (min(coefficient.seeds), max(coefficient.seeds)) if coefficient.seeds_mean is not None else None
            rows.append(
                [
                    name,
                    _words(correlation.group),
                    f"{correlation.x[0]:g} ({len(correlation.x)})",
                    kind + (" (log)" if correlation.logarithms and kind == "Pearson" else ""),
                    _estimate(coefficient.value, coefficient.interval),
                    _estimate(coefficient.seeds_mean, coefficient.seeds_interval),
                    _between(extent) if extent else "",
                ]
            )
    if len(rows) > 1:
        lines += _table(rows)
    if impossible:
        lines += ["Cannot be computed:", *(f"  {line}" for line in impossible)]
    for note in (*family.notes, *_caveats(family)):
        lines += ["", textwrap.fill(f"{note[0].upper()}{note[1:]}.", 110)]
    return "\n".join(lines)


def _caveats(family: FamilyStatistics) -> list[str]:
    caveats = []
    if family.first_minimum.x is not None:
        caveats.append(
            f"the range from {family.x_column} {family.first_minimum.x:g} on, the first minimum of the mean test "
            "error, is chosen from the data, as where its largest rise begins; so that rise is biased upwards"
        )
    if len(family.seeds) > 1:
        caveats.append(
            f"95 % intervals of correlations are from {RESAMPLES:,} resamples of the seeds, at expanded percentiles; "
            "with few seeds they are too narrow nonetheless. The others are t-intervals of Fisher's z of each seed's "
            "own correlation, where a Spearman correlation of 1 counts as half a step of ranks less. Neither kind says "
            f"what other values of {family.x_column} would give"
        )
    return caveats


def _digits(interval: Interval) -> str:
    return f"{interval[0]:.3g} to {interval[1]:.3g}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# --- figure ---------------------------------------------------------------------------------------------------

# Colours of M. Okabe and K. Ito's palette, which the colour-blind tell apart.
_BLACK, _BLUE, _VERMILLION, _GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"


@dataclass(frozen=True)
class _Line:
    column: str
    label: str
    colour: str
    marker: str


@dataclass(frozen=True)
class _Panel:
    label: str
    lines: tuple[_Line, ...]
    logarithmic: bool = False
    legend: str = ""


_AROUND = {
    "train_clean": ("clean training", _BLUE, "o"),
    "train_corrupted": ("corrupted training", _VERMILLION, "s"),
    "test": ("test points", _GREEN, "^"),
}


def _around(measure: str) -> tuple[_Line, ...]:
    return tuple(_Line(f"{measure}_{group}", *_AROUND[group]) for group in GROUPS)


_PANELS = (
    _Panel(
        "error (share of\nmislabelled points)",
        (
            _Line("train_error", "training labels, noise included", _BLACK, "D"),
            _Line("test_error", "test labels", _GREEN, "^"),
        ),
        legend="error on",
    ),
    _Panel("density of regions\n(per unit length)", _around("density"), logarithmic=True, legend="paths around"),
    _Panel("absolute deviation\n(norm over outputs)", _around("absolute_deviation")),
    _Panel("local similarity\n(mean cosine)", _around("local_similarity")),
)

_COLUMN_WIDTH = 3.4  # inches: one column of a paper set in two
_HEIGHT = 6.4
_DPI = 200
_TICK_SIZE = 6.5  # points
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # the one that comes with matplotlib, so that a figure is the same everywhere
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.labelsize": _TICK_SIZE,
    "ytick.labelsize": _TICK_SIZE,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "ytick.minor.size": 1.5,
    "ytick.minor.width": 0.4,
    "legend.fontsize": _TICK_SIZE,
    "svg.hashsalt": "lronnx",
}
# What each format would record of the program and the moment.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def draw(
    results: Results, path: Path, *, x: str | None = None, family: str | None = None, title: str | None = None
) -> None:
    """Write the figure to ``path``: PNG (200 dots per inch), SVG or PDF, told by its suffix, whole or not at all.

    A column of four panels per family, 3.4 inches wide: errors, density of regions, absolute deviation and local
    similarity along x. Markers are means over seeds with 95 % t-intervals, dots single networks. The same results
    give the same bytes with the same release of matplotlib, whose settings are neither used nor changed.

    ``title``: by default what the data are. ``x`` and ``family``: as for ``curves``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: another suffix, or as ``curves`` does.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"{path}: a figure is written as {', '.join(_METADATA)}, not as {suffix or 'a bare name'}")
    found = curves(results, x=x, family=family)
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"drawing needs {error.name}: pip install '.[train]'", name=error.name) from None
    output = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = _figure(found, title)
        FigureCanvasAgg(figure)
        figure.savefig(output, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])
    _write_whole(path, output.getvalue())


def _figure(found: Sequence[Curve], title: str | None) -> Any:
    """The matplotlib figure of some curves, side by side."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(_COLUMN_WIDTH * len(found), _HEIGHT),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.04),
    )
    grid = figure.subplots(len(_PANELS), len(found), sharex="col", squeeze=False)
    for column, curve in enumerate(found):
        for row, panel in enumerate(_PANELS):
            _draw_panel(grid[row, column], curve, panel)
        _draw_x(grid[:, column], curve)
    names = [_default_title(curve) for curve in found]
    if len(found) == 1:
        figure.suptitle(names[0] if title is None else title, fontsize=8)
    else:
        for axes, name in zip(grid[0], names, strict=True):
            axes.set_title(name, pad=16)
        if title is not None:
            figure.suptitle(title, fontsize=9)
    if any(len(curve.seeds) > 1 for curve in found):
        note = "markers: means over seeds, bars: 95 % t-intervals, dots: single networks"
        figure.supxlabel(note, fontsize=5.5, color="0.35")
    figure.align_ylabels()
    return figure


def _default_title(curve: Curve) -> str:
    count = len(curve.seeds)
    ends = " to ".join(dict.fromkeys((_short(curve.x[0]), _short(curve.x[-1]))))
    return f"{curve.family}, {curve.x_column} {ends}, {count} seed{'s' * (count != 1)}"


def _draw_panel(axes: Any, curve: Curve, panel: _Panel) -> None:
    drawn = [line for line in panel.lines if np.isfinite(curve.values[line.column]).any()]
    if not drawn:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="0.4")
    containers = []
    for line in drawn:
        values = curve.values[line.column]
        # Side by side, so that error bars of different groups stay apart.
        step = 0.009 if len(curve.seeds) > 1 else 0.0
        place = _beside(curve.x, step * (panel.lines.index(line) - (len(panel.lines) - 1) / 2))
        mean, half = mean_interval(values)
        known = np.isfinite(mean) & ((mean > 0) | (not panel.logarithmic))
        if len(curve.seeds) > 1:
            x = np.broadcast_to(place, values.shape)[np.isfinite(values)]
            single = values[np.isfinite(values)]
            axes.plot(
                x,
                single,
                ".",
                color=line.colour,
                alpha=0.35,
                markersize=3,
                markeredgewidth=0,
                zorder=2,
            )
        container = axes.errorbar(
            place[known],
            mean[known],
            yerr=np.nan_to_num(half[known]) if np.isfinite(half).any() else None,
            color=line.colour,
            marker=line.marker,
            markersize=3.2,
            markeredgecolor="white",
            markeredgewidth=0.3,
            linewidth=1.0,
            elinewidth=0.7,
            label=line.label,
            zorder=3,
        )
        containers.append(container)
    if panel.logarithmic and drawn:
        axes.set_yscale("log", nonpositive="clip")
    axes.set_ylabel(panel.label)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    if panel.legend and drawn:
        axes.annotate(
            panel.legend,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-2, 1.2),
            textcoords="offset points",
            ha="right",
            fontsize=_TICK_SIZE,
        )
        axes.legend(
            handles=[container.lines[0] for container in containers],
            labels=[container.get_label() for container in containers],
            loc="lower left",
            bbox_to_anchor=(0, 0.98),
            ncols=3,
            frameon=False,
            borderpad=0,
            borderaxespad=0.2,
            handlelength=1.6,
            handletextpad=0.4,
            columnspacing=1.0,
        )


# An epoch 0 has no place on a logarithmic axis: it is set as far left of 1 as 2 is right of it.
_ZERO = math.log(2)


def _positions(x: Array) -> Array:
    """Where x lie along the axis, in units of its logarithm."""
    return np.where(x < 1, (x - 1) * _ZERO, np.log(np.maximum(x, 1)))


def _beside(x: Array, share: float) -> Array:
    """The x that lie so large a share of the axis to the right."""
    shift = share * float(np.ptp(_positions(x)))
    return np.where(x < 1, x + shift / _ZERO, x * math.exp(shift))


def _draw_x(panels: Any, curve: Curve) -> None:
    """The x axis that the panels share, and the interpolation threshold through all of them."""
    bottom = panels[-1]
    if curve.x[0] > 0:
        bottom.set_xscale("log")
    else:
        bottom.set_xscale("symlog", linthresh=1, linscale=_ZERO / math.log(10) * 0.9)
    positions = _positions(curve.x)
    margin = 0.05 if len(curve.x) > 1 else 0.0
    ends = np.array([_beside(curve.x, -margin)[0], _beside(curve.x, margin)[-1]])
    bottom.set_xlim(*(ends if margin else curve.x[0] + np.array([-0.5, 0.5]) * max(curve.x[0], 1)))
    bottom.set_xticks(curve.x, _tick_labels(curve.x, positions), minor=False)
    bottom.set_xticks([], minor=True)
    bottom.set_xlabel({"width": "width", "epoch": "epoch", "parameters": "number of parameters"}[curve.x_column])
    index = int(_threshold(mean_interval(curve.values["train_accuracy"])[0][None])[0])
    if index < 0:
        return
    for axes in panels:
        axes.axvline(curve.x[index], color="0.35", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    # Errors fall along x, so there is room above them on the right, if the words fit there.
    right = positions[index] - positions[0] <= 0.62 * np.ptp(positions)
    panels[0].annotate(
        f"interpolation\nthreshold (mean train\naccuracy ≥ {THRESHOLD:g})",
        (curve.x[index], 1),
        xycoords=("data", "axes fraction"),
        xytext=(4 if right else -4, -2),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        fontsize=_TICK_SIZE - 0.5,
        color="0.25",
    )


def _tick_labels(x: Array, positions: Array) -> list[str]:
    """A label per tick, empty where it would touch the one before it or the last one."""
    full = [_short(value) for value in x]
    points = _COLUMN_WIDTH * 72 * 0.74  # from the first tick to the last, roughly
    place = (positions - positions[0]) / max(np.ptp(positions), 1e-9) * points
    half = np.array([len(label) for label in full]) * _TICK_SIZE * 0.64 / 2  # a digit of DejaVu Sans is 0.64 em wide
    labels = [""] * len(full)
    taken = -math.inf
    for i in range(len(full)):
        last = i == len(full) - 1
        if last or (place[i] - half[i] >= taken + 3 and place[i] + half[i] <= place[-1] - half[-1] - 3):
            labels[i] = full[i]
            taken = place[i] + half[i]
    return labels


def _short(value: float) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * unit or (value >= unit and unit > 1e3):
            return f"{value / unit:.3g}{letter}"
    return f"{value:g}"


# --- command --------------------------------------------------------------------------------------------------


class _BadInput(click.ClickException):
    exit_code = 2


@click.command(
    help="Draw the figure of RESULTS, the CSV file of a sweep, and print what its numbers say.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Figure: .png, .svg or .pdf.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="The statistics as JSON.")
@click.option("--x", type=click.Choice(X_COLUMNS), help="The x axis.  [default: whichever of width and epoch varies]")
@click.option("--family", help="Only the networks of this family, such as mlp_w_w.  [default: side by side]")
@click.option("--title", help="Title of the figure.  [default: what the data are]")
def main(
    results: Path, output: Path | None, json_file: Path | None, x: str | None, family: str | None, title: str | None
) -> None:
    try:
        table = read(results)
        found = statistics(table, x=x, family=family)
        if output is not None:
            draw(table, output, x=x, family=family, title=title)
        if json_file is not None:
            _write_whole(json_file, found.json().encode())
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise _BadInput(str(error)) from None
    click.echo(found.text(), nl=False)


if __name__ == "__main__":
    main(prog_name="python -m models.figure")
