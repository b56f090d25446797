"""Figures of several runs: their measures against what the networks differ in, or side by side.

Runs are compared by the means over their paths, group by group, and by distributions over paths. Where several runs are
in one place, networks that differ in their seed alone, say, the mean is over runs: each counts as one, and its interval
is Student's t-interval. The interval of a single run is the one of its summary, over its paths.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import report
from lronnx.errors import InputError
from lronnx.plot import colors, study
from lronnx.plot.figures import Axis, Column, Figure, Hover, Line, Mark, Panel, Points, Steps, Symbol
from lronnx.plot.study import MEASURES, Group, Measure
from lronnx.runs import Run

Floats = NDArray[np.float64]

ORDER = ("epoch", "width", "depth", "units")
"""What runs are compared against, unless somebody says: the first of these that differs."""

PREFIX = "lronnx."
"""Of what is known about a network in a model's metadata."""

MOST_SIDE_BY_SIDE = 6
"""Runs up to which each has a colour."""

MOST_NAMED = 12
"""Runs of which names stand at an axis."""

_TRUE_LABELS = "accuracy_train_true_labels"
ERRORS = {
    "accuracy_test": "test error",
    "accuracy_train": "training error (labels as trained)",
    _TRUE_LABELS: "training error (true labels)",
}
"""What is told of accuracies, by the metadata that have them."""
_SYMBOLS: tuple[Symbol, ...] = ("circle", "square", "triangle", "diamond")
_LABELS = {
    "epoch": "epoch of training",
    "width": "width of the network",
    "depth": "depth (switching layers on the longest way)",
    "units": "units of the network",
    "outputs": "outputs of the network",
    "parameters": "parameters of the network",
    "label_noise": "share of wrong training labels",
}
# What follows from training, and what tells repetitions apart.
_NO_SETTING = ("seed", "accuracy_", "loss_", "labels", "corrupted_indices", "train_indices")


class Named(NamedTuple):
    """A run, what to call it, and the same for names of files; both are unique in a report."""

    run: Run
    label: str
    slug: str


def facts(run: Run) -> dict[str, float]:
    """The numbers that are known about a run's network: its metadata, and units, outputs and depth.

    Depth is the number of switching layers on the longest way through the network.
    """
    found = {}
    for key, text in run.metadata.items():
        if key.startswith(PREFIX):
            try:
                number = float(text)
            except ValueError:
                continue
            if math.isfinite(number):
                found[key.removeprefix(PREFIX)] = number
    network = run.network
    found |= {name: float(network[name]) for name in ("units", "outputs") if name in network}
    if "switching_nodes" in network:
        found["depth"] = float(max((int(node["level"]) for node in network["switching_nodes"]), default=0))
    return found


def errors(run: Run) -> dict[str, float]:
    """The errors of a run's network in percent, as far as its metadata tell accuracies.

    The training error is of the labels that the network was trained with; where some of these are wrong, the error of
    the true ones is beside it, if it is another.
    """
    known = facts(run)
    found = {
        label: 100.0 * (1.0 - known[key]) for key, label in ERRORS.items() if key in known and 0.0 <= known[key] <= 1.0
    }
    if known.get(_TRUE_LABELS) == known.get("accuracy_train"):
        found.pop(ERRORS[_TRUE_LABELS], None)
    return found


def choose(runs: Sequence[Run], asked: str | None) -> str | None:
    """What to compare runs against: ``asked``, or the first of :data:`ORDER` that differs between those that know it.

    None if nothing of these does. Raises InputError if no run knows what is asked.
    """
    known = [facts(run) for run in runs]
    if asked is not None:
        name = asked.removeprefix(PREFIX)
        if not any(name in one for one in known):
            names = sorted(set().union(*known))
            raise InputError(
                f"--against {asked}: no run knows such a number of its network; "
                + (f"they know {', '.join(names)}" if names else "they know none (see lronnx analyze)")
            )
        return name
    for name in ORDER:
        if len({one[name] for one in known if name in one}) > 1:
            return name
    return None


WAYS = {"exact": "", "partial": ", PARTIAL: over the parts that were walked", "estimated": ", ESTIMATED"}
"""How the paths of a run may have been walked, and what is said of means over such paths."""


def walked(run: Run) -> str:
    """Which of :data:`WAYS`: partial if a budget, or whatever else, ended the walk of a segment before its end."""
    if run.estimated:
        return "estimated"
    return "partial" if run.summary["totals"].get("partial_segments", 0) else "exact"


def walked_text(run: Run) -> str:
    """The same in words, with the share of the paths' length that was walked."""
    if walked(run) != "partial":
        return "ESTIMATE" if run.estimated else "exact"
    share = 100.0 * (run.summary["totals"]["covered_fraction"] or 0.0)
    return f"PARTIAL ({'more than 99.9' if share > 99.9 else f'{share:.3g}'} % walked)"


def kind(run: Run) -> tuple[Any, ...]:
    """What has to be equal for means of two runs to be about the same thing."""
    paths = {key: value for key, value in run.study.get("paths", {}).items() if key not in ("data", "preprocessing")}
    return (walked(run), run.summary["outputs"], json.dumps(paths, sort_keys=True))


def _difference(one: Run, other: Run) -> str:
    """In which of these ``one`` is not as ``other``, in words."""
    told = []
    first, second = kind(one), kind(other)
    if first[2] != second[2]:
        told.append(f"paths are {_paths_text(one)}, not {_paths_text(other)}")
    if first[1] != second[1]:
        told.append(f"{first[1]} {study.plural(first[1], 'output')}, not {second[1]}")
    if first[0] != second[0]:
        told.append(f"figures are {walked_text(one)}, not {walked_text(other)}")
    return "; ".join(told)


def _paths_text(run: Run) -> str:
    about = run.study.get("paths", {})
    options = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in sorted(about.items())
        if isinstance(value, int | float | str) and name != "family"
    ]
    return f"{about.get('family', 'unknown')}" + (f" ({', '.join(options)})" if options else "")


def differing(runs: Sequence[Run]) -> list[str]:
    """In what the runs' paths are not the same, in words; empty if they can be compared path by path.

    A budget is none of it: of the runs that are compared, it ended no walk.
    """

    def told(run: Run) -> dict[str, Any]:
        data, walk = run.study.get("paths", {}).get("data", {}), run.study.get("walk", {})
        return {
            "data": data.get("sha256"),
            "samples": data.get("samples_sha256"),
            "paths": kind(run)[2],
            "seed": int(walk.get("seed", 0)),
            "preprocessing": _preprocessing(run),
            "share of a path that was walked": walk.get("estimate"),
            "number of paths that are done": run.paths["path"].tobytes(),
        }

    each = [told(run) for run in runs]
    return [what for what in each[0] if any(one[what] != each[0][what] for one in each)] if each else []


def _preprocessing(run: Run) -> tuple[Any, ...]:
    """Scale, standard deviations and means, one for all channels if they are equal; None for data that are inputs."""
    how = run.study.get("paths", {}).get("preprocessing") or {}
    if how.get("scale") is None:
        return (None, None, None)
    statistics = (how.get("std", [1.0]), how.get("mean", [0.0]))
    return (how["scale"], *(tuple(one[:1] if len(set(one)) == 1 else one) for one in statistics))


@dataclass(frozen=True)
class Comparison:
    """Runs of one kind. ``against``: what they are compared against, and ``x``, (runs,), what each has of it; None:
    their names. ``notices``: what is left out or mixed."""

    runs: tuple[Named, ...]
    against: str | None
    x: Floats
    notices: tuple[str, ...]

    @property
    def estimated(self) -> bool:
        return self.runs[0].run.estimated

    @property
    def axis(self) -> Axis:
        if self.against is None:
            named = study.spaced(len(self.runs), MOST_NAMED).tolist()
            ticks = [(float(position), self.runs[position].label) for position in named]
            left = len(self.runs) - len(named)
            label = f"run, by name ({left} in between are not named)" if left else "run"
            return Axis(label, ticks=ticks, range=(-0.5, len(self.runs) - 0.5))
        places = np.unique(self.x)
        log = float(places[0]) > 0.0 and float(places[-1]) / 4.0 >= float(places[0])
        shown = np.log(places) if log else places
        spread = float(np.ptp(shown))
        apart = bool((np.diff(shown) > 0.06 * spread).all())
        numbers = [(float(place), f"{place:.6g}") for place in places] if spread and apart else None
        return Axis(self.label, log=log, ticks=numbers)

    @property
    def label(self) -> str:
        return "run" if self.against is None else _LABELS.get(self.against, self.against.replace("_", " "))

    @property
    def short(self) -> str:
        """The same in a word or two."""
        return "run" if self.against is None else self.against.replace("_", " ")


def compared(runs: Sequence[Named], asked: str | None) -> Comparison:
    """The runs that can be compared: those with paths, of the most frequent kind, that know what is asked.

    Raises InputError if no run knows it.
    """
    notices = []
    empty = [named.label for named in runs if not named.run.done]
    if empty:
        notices.append(f"Left out, since no path of theirs is done: {listed(empty)}.")
    partial = [named for named in runs if named.run.done and walked(named.run) == "partial"]
    if partial:
        texts = [f"{named.label}: {walked_text(named.run)}" for named in partial]
        notices.append(
            f"Left out, since only parts of their paths were walked, other parts in every run: {listed(texts)}."
        )
    left = [named for named in runs if named.run.done and named not in partial]
    kinds: dict[tuple[Any, ...], list[Named]] = {}
    for named in left:
        kinds.setdefault(kind(named.run), []).append(named)
    if len(kinds) > 1:
        ordered = sorted(kinds.values(), key=lambda members: -len(members))
        left = ordered[0]
        for members in ordered[1:]:
            notices.append(
                f"Left out: {listed([named.label for named in members])}. What is not as in the runs that are "
                f"compared: {_difference(members[0].run, left[0].run)}."
            )
    # The mean moves all inputs alike.
    if len({_preprocessing(named.run)[:2] for named in left}) > 1:
        notices.append(
            "The runs' preprocessing differs: lengths are those of networks' inputs, so that a unit of length, and all "
            "that is measured in it, density and absolute deviation, is not the same in all of them."
        )
    against = choose([named.run for named in left], asked) if left else None
    if against is not None:
        lacking = [named.label for named in left if against not in facts(named.run)]
        telling = [named for named in left if against in facts(named.run)]
        values = {facts(named.run)[against] for named in telling}
        if len(values) < 2:
            one = f"only {min(values):.10g}" if values else "no value"
            notices.append(f"Nothing is drawn against {against.replace('_', ' ')}, of which the runs have {one}.")
            against = None
        else:
            if lacking:
                notices.append(f"Left out, since their networks do not tell their {against}: {listed(lacking)}.")
            left = telling
    if against is not None:
        x = np.array([facts(named.run)[against] for named in left])
        order = np.argsort(x, kind="stable")
        left, x = [left[position] for position in order], x[order]
        notices += _mixed(left, x, against)
    else:
        if len(left) > MOST_SIDE_BY_SIDE:
            left = sorted(left, key=lambda named: natural(named.label))
        x = np.arange(len(left), dtype=np.float64)
    return Comparison(tuple(left), against, x, tuple(notices))


def _mixed(runs: Sequence[Named], x: Floats, against: str) -> list[str]:
    """A warning where runs at one place differ in more than their seed."""
    differing: set[str] = set()
    for place in np.unique(x):
        there = [named.run.metadata for named, at in zip(runs, x, strict=True) if at == place]
        for key in set().union(*there):
            name = key.removeprefix(PREFIX)
            settles = key.startswith(PREFIX) and name != against and not name.startswith(_NO_SETTING)
            if settles and len({one.get(key) for one in there}) > 1:
                differing.add(name)
    if not differing:
        return []
    names = ", ".join(name.replace("_", " ") for name in sorted(differing))
    return [f"Runs in the same place, over which means are taken, also differ in their {names}."]


def natural(text: str) -> list[tuple[int, str]]:
    """What sorts names as people do: ``run 9`` before ``run 10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def listed(labels: Sequence[str], most: int = 8) -> str:
    rest = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {rest} more" if rest > 0 else "")


class _Series(NamedTuple):
    """Means at places, increasing: with intervals, and how many runs each is of."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    runs: NDArray[np.int64]


def trends(found: Comparison, *, name: str = "") -> list[Figure]:
    """The measures against what runs are compared against: errors, density and absolute deviation, then the others."""
    measures = [measure for measure in MEASURES if measure.name(found.estimated) is not None]
    error = _error_panel(found)
    what = f"against {found.short}" if found.against is not None else "run by run"
    parts = [
        ("density-and-deviation", f"Regions and deviation {what}", measures[:2], error),
        ("other-measures", f"How the outputs move {what}", measures[2:], None),
    ]
    figures = []
    for key, title, chosen, first in parts:
        panels, table = [], _Table()
        if first is not None:
            panels.append(first[0])
            table.add(first[1])
        for measure in chosen:
            panel, entries = _measure_panel(found, measure)
            panels.append(panel)
            table.add(entries)
        caption = _trend_caption(found, chosen, first is not None)
        figures.append(
            Figure(
                name=f"{name}{key}",
                title=title,
                panels=panels,
                x=found.axis,
                caption=caption,
                table=table.columns(found),
                aspect=0.4 * len(panels),
            )
        )
    return figures


class _Entry(NamedTuple):
    """A row of a figure's table."""

    run: int
    group: str
    measure: str
    value: float
    low: float
    high: float


class _Table:
    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, entries: Sequence[_Entry]) -> None:
        self._entries += entries

    def columns(self, found: Comparison) -> dict[str, Column]:
        """One row per run, group and measure."""
        entries = self._entries
        table: dict[str, Column] = {"run": [found.runs[one.run].label for one in entries]}
        if found.against is not None:
            table[found.against] = np.array([found.x[one.run] for one in entries])
        table |= {
            "group": [one.group for one in entries],
            "measure": [one.measure for one in entries],
            "mean": np.array([one.value for one in entries]),
            "low": np.array([one.low for one in entries]),
            "high": np.array([one.high for one in entries]),
        }
        return table


def _measure_panel(found: Comparison, measure: Measure) -> tuple[Panel, list[_Entry]]:
    """The means of a measure by group, with their intervals, over the runs."""
    column = measure.name(found.estimated)
    assert column is not None
    limits = (-1.0, 1.0) if measure.key == "local-similarity" else (0.0, math.inf)
    by_group: dict[str, list[tuple[int, Group]]] = {}
    for position, named in enumerate(found.runs):
        for group in study.divided(named.run):
            by_group.setdefault(group.name, []).append((position, group))
    marks: list[Mark] = []
    entries: list[_Entry] = []
    values: list[float] = []
    for number, (group_name, members) in enumerate(by_group.items()):
        known = [
            (position, figures)
            for position, group in members
            if group.figures is not None and (figures := group.figures["measures"][column])["mean"] is not None
        ]
        if not known:
            continue
        color = members[0][1].color
        at = np.array([position for position, _ in known])
        mean = np.array([figures["mean"] for _, figures in known])
        ends = np.array([report.interval(figures) or (math.nan, math.nan) for _, figures in known])
        entries += [
            _Entry(int(position), group_name, column, *row)
            for position, row in zip(at, np.column_stack([mean, ends]).tolist(), strict=True)
        ]
        values += mean.tolist()
        paths = [int(figures["count"]) for _, figures in known]
        marks += _series_marks(
            found, group_name, color, number, len(by_group), at, mean, ends, f"{measure.title} {{mean}}", limits, paths
        )
    positive = np.array([value for value in values if value > 0.0])
    log = (
        measure.key != "local-similarity"
        and len(positive) == len(values) > 0
        and float(positive.max()) / study.SPREAD > float(positive.min())
    )
    shown = _range(marks, log)
    if log and shown is not None:
        marks = [_above(mark, shown[0]) for mark in marks]
    return Panel(marks, Axis(measure.label(found.estimated), log=log, range=shown)), entries


def _above(mark: Mark, least: float) -> Mark:
    """The mark with intervals that end at the lower end of a logarithmic axis, where they go on to 0 or below."""
    if isinstance(mark, Points) and mark.low is not None:
        return replace(mark, low=np.maximum(mark.low, least))
    return mark


def _range(marks: Sequence[Mark], log: bool) -> tuple[float, float] | None:
    """What points and their bars take up, with room for symbols; None if there are none."""
    points = [mark for mark in marks if isinstance(mark, Points)]
    ends = [end for mark in points for end in (mark.y, mark.low, mark.high) if end is not None]
    if not ends:
        return None
    shown = np.concatenate(ends)
    shown = np.log(shown[shown > 0.0]) if log else shown
    low, high = float(shown.min()), float(shown.max())
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    found = (low - room, high + room)
    return (math.exp(found[0]), math.exp(found[1])) if log else found


def _series_marks(
    found: Comparison,
    group: str,
    color: colors.Color,
    number: int,
    count: int,
    at: NDArray[np.int64],
    mean: Floats,
    ends: Floats,
    what: str,
    limits: tuple[float, float],
    paths: Sequence[int] = (),
) -> list[Mark]:
    """A line through the means in every place, with error bars, and behind it the single runs if they are more."""
    labels = [found.runs[position].label for position in at]
    x = found.x[at]
    series = _placed(x, mean, ends)
    marks: list[Mark] = []
    symbol = _SYMBOLS[number % len(_SYMBOLS)]
    intervals = [
        f"\n95 % interval {report.short(low)} to {report.short(high)}" if math.isfinite(low) else ""
        for low, high in zip(series.low.tolist(), series.high.tolist(), strict=True)
    ]
    template = f"{study.plain(group)}\n{what}{{interval}}\n"
    columns: dict[str, Column] = {"mean": series.mean, "runs": series.runs, "interval": intervals}
    if found.against is None:
        # Groups of a run stand beside each other.
        series = series._replace(x=series.x + 0.5 * ((number % count + 0.5) / count - 0.5))
        columns["run"] = labels
        template += "{run}"
    elif int(series.runs.max()) > 1:
        template += f"{study.plain(found.short)} {{x}}, mean over {{runs}} runs"
        hover = Hover(
            f"{{run}}, {study.plain(group)}\n{study.plain(found.short)} {{x}}\n{what.replace('{mean}', '{y}')}",
            {"run": labels},
        )
        marks.append(Points(x, mean, color, size=4.0, opacity=0.35, group=group, hover=hover))
    else:
        columns["run"] = labels
        template += f"{{run}}\n{study.plain(found.short)} {{x}}"
    if paths and len(series.x) == len(paths):
        columns["paths"] = [f"{told} {study.plural(told, 'path')}" for told in paths]
        template += "\n{paths}"
    if found.against is not None and len(series.x) > 1:
        marks.append(Line(series.x, series.mean, color, group=group))
    low = np.where(np.isfinite(series.low), series.low, series.mean)
    high = np.where(np.isfinite(series.high), series.high, series.mean)
    least, most = limits
    # A mean's interval may reach beyond what the numbers can be.
    low, high = np.maximum(low, np.minimum(least, series.mean)), np.minimum(high, np.maximum(most, series.mean))
    marks.append(
        Points(
            series.x,
            series.mean,
            color,
            group,
            symbol,
            7.0,
            low=low,
            high=high,
            group=group,
            hover=Hover(template, columns),
        )
    )
    return marks


def _placed(x: Floats, mean: Floats, ends: Floats) -> _Series:
    """The means in every place; of several runs with Student's t-interval."""
    places = np.unique(x)
    rows = []
    for place in places:
        there = x == place
        count = int(there.sum())
        if count == 1:
            rows.append((float(mean[there][0]), *ends[there][0].tolist(), 1))
            continue
        centre = float(mean[there].mean())
        half = _student(count) * float(mean[there].std(ddof=1)) / math.sqrt(count)
        rows.append((centre, centre - half, centre + half, count))
    columns = np.array(rows)
    return _Series(places, columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3].astype(np.int64))


def _student(count: int) -> float:
    """Standard errors on each side of a mean of ``count`` numbers that its 95 % interval reaches."""
    from scipy.stats import t

    return float(t.ppf(0.975, count - 1))


def _error_panel(found: Comparison) -> tuple[Panel, list[_Entry]] | None:
    """Test and training error, where the metadata tell accuracies; None if no run does."""
    marks: list[Mark] = []
    entries: list[_Entry] = []
    told = [errors(named.run) for named in found.runs]
    # As test and training paths are, and another.
    for number, (label, position) in enumerate(zip(ERRORS.values(), (1, 0, 4), strict=True)):
        known = [(at, one[label]) for at, one in enumerate(told) if label in one]
        if not known:
            continue
        at = np.array([run for run, _ in known])
        error = np.array([one for _, one in known])
        ends = np.full((len(at), 2), math.nan)
        entries += [_Entry(int(run), label, "error_percent", one, math.nan, math.nan) for run, one in known]
        marks += _series_marks(
            found, label, colors.series(position), number, len(ERRORS), at, error, ends, "{mean} %", (0.0, 100.0)
        )
    if not marks:
        return None
    return Panel(marks, Axis("error of the network (%)", range=_range(marks, log=False))), entries


def _trend_caption(found: Comparison, measures: Sequence[Measure], errors: bool) -> str:
    told = [f"{measure.title}: {measure.meaning}" for measure in measures]
    sentences = [f"{study.sentence('; '.join(told))}."]
    places: dict[str, list[float]] = {}
    for named, x in zip(found.runs, found.x.tolist(), strict=True):
        for group in study.divided(named.run):
            places.setdefault(group.name, []).append(x)
    counts = np.concatenate([np.unique(there, return_counts=True)[1] for there in places.values()])
    over_paths = (
        f"the mean over a run's paths, its bar the 95 % interval (bootstrap); fewer than {report.FEW} paths have none, "
        "since so few tell little."
    )
    if counts.max() == 1:
        sentences.append(f"A symbol is {over_paths}")
    else:
        sentences.append(
            "A symbol is the mean over the networks there, its bar the 95 % interval (Student's t), faint points are "
            "single networks; a network's figure is the mean over its paths."
        )
        if counts.min() == 1:
            sentences.append(f"Where a group of paths is of a single network, the symbol is {over_paths}")
    told_of: dict[str, list[str]] = {}
    for named in found.runs:
        told_of.setdefault(study.left_out(named.run), []).append(named.label)
    for text, labels in told_of.items():
        if text:
            sentences.append(text if len(told_of) == 1 else f"{listed(labels)}: {text}")
    if errors:
        sentences.append("Errors are what the models' metadata tell.")
    return " ".join(sentences)


def overlaid(found: Comparison, measure: Measure, *, name: str = "", detail: study.Detail = study.ALL) -> Figure | None:
    """The distribution functions of a measure over the paths of each run, at most six; None if no path has it."""
    column = measure.name(found.estimated)
    if column is None:
        return None
    marks: list[Mark] = []
    points: list[Mark] = []
    table: dict[str, list[Any]] = {"run": [], "path": [], column: []}
    values = []
    for named in found.runs:
        own = named.run.paths[column]
        values.append(np.sort(own[np.isfinite(own)]))
    pooled = np.concatenate(values)
    if not len(pooled):
        return None
    log = study.is_log(pooled) and measure.key != "local-similarity"
    low, high = float(pooled.min()), float(pooled.max())
    for position, (named, own) in enumerate(zip(found.runs, values, strict=True)):
        if not len(own):
            continue
        color = colors.series(position)
        fraction = 100.0 * np.searchsorted(own, own, side="right") / len(own)
        steps = study.spaced(len(own), study.MOST_STEPS)
        label = f"{named.label} ({len(own)} {study.plural(len(own), 'path')})"
        ends = np.concatenate([[low], own[steps], [high]])
        marks.append(Steps(ends, np.concatenate([[0.0], fraction[steps]]), color, label, group=named.label))
        paths = named.run.paths
        order = np.flatnonzero(np.isfinite(paths[column]))
        order = order[np.argsort(paths[column][order], kind="stable")]
        most = None if detail.paths is None else max(detail.paths // len(found.runs), 10)
        shown = study.spaced(len(own), most)
        columns: dict[str, Column] = {
            "path": paths["path"][order[shown]],
            "sample": [study.sample_text(named.run, one) for one in order[shown]],
        }
        template = f"{study.plain(named.label)}, path {{path}}\n{{sample}}\n{measure.title} {{x}}"
        points.append(
            Points(own[shown], fraction[shown], color, size=4.0, group=named.label, hover=Hover(template, columns))
        )
        table["run"] += [named.label] * len(shown)
        table["path"] += paths["path"][order[shown]].tolist()
        table[column] += own[shown].tolist()
    left = len(pooled) - len(table["path"])
    caption = [
        f"{study.sentence(measure.meaning)}. A curve further to the right has larger values; a point is a path"
        + (f"; {left:,} in between have none." if left else "."),
        study.missing_told(measure, sum(named.run.done for named in found.runs) - len(pooled)),
    ]
    return Figure(
        name=f"{name}runs-{measure.key}",
        title=f"{study.sentence(measure.title)} of the paths, run by run",
        panels=[Panel([*marks, *points], Axis("paths with at most this value (%)", range=(0.0, 103.0)))],
        x=Axis(measure.label(found.estimated), log=log),
        caption=" ".join(filter(None, caption)),
        table={key: column if key == "run" else np.array(column) for key, column in table.items()},
        aspect=0.62,
    )


def distances(found: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A table of how far the distributions of any two runs differ: its columns and rows."""
    rows: list[tuple[str, ...]] = []
    for measure in MEASURES:
        column = measure.name(found.estimated)
        if column is None:
            continue
        for first, second in combinations(found.runs, 2):
            one, two = (named.run.paths[column][np.isfinite(named.run.paths[column])] for named in (first, second))
            if len(one) and len(two):
                means = (_mean(named.run, column) for named in (first, second))
                rows.append((measure.title, first.label, second.label, *means, f"{_distance(one, two):.3f}"))
    return ("measure", "run", "other run", "mean", "mean of the other", "distance"), rows


def _distance(one: Floats, two: Floats) -> float:
    """The largest difference of two distribution functions, as of Kolmogorov and Smirnov."""
    values = np.concatenate([one, two])
    shares = (np.searchsorted(np.sort(own), values, side="right") / len(own) for own in (one, two))
    first, second = shares
    return float(np.abs(first - second).max())


def _mean(run: Run, column: str) -> str:
    [everything] = run.summary["groups"]["all"]
    figures: Mapping[str, Any] = everything["measures"][column]
    return report.short(figures["mean"])
