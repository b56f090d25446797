"""Figures of what one study found: how its figures are distributed over paths, and where on the way the network bends.

Everything comes from a run folder, as :func:`lronnx.runs.read` has it. The unit of all statistics is the path; means
and tests are those of the summary, distributions are of the paths themselves. Estimates are called so.

Bins of histograms are equally wide, on a logarithmic axis equally wide in the logarithm, and the same for all groups of
a figure: as many as the rule of D. Freedman and P. Diaconis, "On the histogram as a density estimator" (1981), asks for
all groups together, at least as many as H. A. Sturges, "The choice of a class interval" (1926), does, at most
:data:`MOST_BINS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import records, report
from lronnx.plot import colors
from lronnx.plot.colors import FAINT, INK, Color
from lronnx.plot.figures import Area, Axis, Bars, Column, Figure, Hover, Mark, Panel, Picture, Points, Steps
from lronnx.plot.thinning import Positions
from lronnx.preprocessing import image_size
from lronnx.runs import Run

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST_BINS = 60
"""Bins of a histogram."""
MOST_STEPS = 600
"""Steps of a curve from 0 to 1: what is left out moves it by less than 1/600 of its panel's height."""
MOST_CLASSES = 20
"""Classes up to which each has a row; of more, the half of this with the highest and with the lowest means have."""
MOST_PLACES = 256
"""Parts of a path whose switches are told one by one; of more, neighbours in a segment are put together."""
MOST_LISTED = 12
"""Layers up to which all are in a legend; of more, some."""
MOST_CHANNELS = 64
"""Channels of a layer that are points of their own on a page."""
MAP_PIXELS = 96
"""About the width of a map of switches, in pixels."""

SPREAD = 30.0
"""An axis is logarithmic where its largest number is so many times its smallest."""


class Measure(NamedTuple):
    """One of the measures whose distributions are shown.

    ``key``: in names of files; ``exact`` and ``estimated``: its names in :mod:`lronnx.summary`, None if there is none;
    ``title``, ``unit``: what the axis says; ``meaning``: what it says of a path.
    """

    key: str
    exact: str
    estimated: str | None
    title: str
    unit: str
    meaning: str

    def name(self, estimated: bool) -> str | None:
        return self.estimated if estimated else self.exact

    def label(self, estimated: bool) -> str:
        per = " per output" if estimated and self.key != "density" else ""
        return f"{'ESTIMATED ' if estimated else ''}{self.title}{per} ({self.unit})"


MEASURES = (
    Measure(
        "density",
        "density",
        "estimated_density",
        "density",
        "regions per unit of length",
        "how many regions, each of one activation pattern, a path crosses per unit of its length in the network's "
        "input",
    ),
    Measure(
        "absolute-deviation",
        "absolute_deviation_norm",
        "estimated_absolute_deviation_output_mean",
        "absolute deviation",
        "output x input length",
        "the area between the outputs and a straight line from end to end of each segment; 0 where the network is "
        "affine",
    ),
    Measure(
        "mean-deviation",
        "mean_absolute_deviation_norm",
        "estimated_mean_absolute_deviation_output_mean",
        "mean deviation",
        "in units of the outputs",
        "how far the outputs are from a straight line, on the average along the path",
    ),
    Measure(
        "total-variation",
        "total_variation_norm",
        "estimated_total_variation_output_mean",
        "total variation",
        "in units of the outputs",
        "how far the outputs move up and down along the path, all together",
    ),
    Measure(
        "local-similarity",
        "local_similarity",
        None,
        "local similarity",
        "mean cosine",
        "how alike the slopes of neighbouring regions are: 1 if nothing bends, less the more it does",
    ),
)


class Group(NamedTuple):
    """Paths that have something in common: what to call them, which (paths,), their figures in the summary (None where
    it has none), and a colour."""

    name: str
    paths: Bools
    figures: Mapping[str, Any] | None
    color: Color


@dataclass(frozen=True)
class Detail:
    """How much is drawn of each figure: at most ``paths`` points of single paths, None for all; and at most ``steps``
    of a group's distribution function."""

    paths: int | None = None
    steps: int = MOST_STEPS


ALL = Detail()


def everything(run: Run) -> Group:
    """All paths."""
    [figures] = run.summary["groups"]["all"]
    return Group("all paths", np.ones(run.done, dtype=np.bool_), figures, colors.series(0))


def groups(run: Run, kind: str) -> list[Group]:
    """The groups of a kind (see :func:`lronnx.summary.summarize`) that the summary has."""
    found = []
    for position, figures in enumerate(run.summary["groups"].get(kind, [])):
        found.append(Group(report.group_name(figures), _members(run, figures), figures, colors.series(position)))
    return found


def divided(run: Run) -> list[Group]:
    """All splits; of those of which it is known whose labels are wrong, the clean and the corrupted ones apart.

    Paths of such a split whose label is neither known to be right nor wrong are in none.
    """
    labels = run.summary["groups"]["split_and_corrupted"]
    found = []
    for position, split in enumerate(run.summary["groups"]["split"]):
        apart = [figures for figures in labels if figures["split"] == split["split"]]
        for figures in apart or [split]:
            color = colors.series(2 * int(bool(figures.get("corrupted"))) + position)
            found.append(Group(report.group_name(figures), _members(run, figures), figures, color))
    if not found:
        found = [
            Group(report.group_name(figures), _members(run, figures), figures, colors.series(2 * position))
            for position, figures in enumerate(labels)
        ]
    return found or [everything(run)]


def left_out(run: Run) -> str:
    """How many paths of splits some of whose labels are known to be right or wrong are in no group of :func:`divided`,
    and why; empty if all are in one."""
    return " ".join(f"{one}, and in neither group." for one in _unknown_labels(run))


def strangers(run: Run) -> str:
    """The same of splits as a whole, which these paths are in."""
    return " ".join(f"{one}." for one in _unknown_labels(run))


def _unknown_labels(run: Run) -> list[str]:
    known = {figures["split"] for figures in run.summary["groups"]["split_and_corrupted"]}
    told = []
    for split in sorted(name or "" for name in known):
        count = int(((run.paths["split"] == split) & (run.paths["corrupted"] < 0)).sum())
        if count:
            whose = f"{split}-split {plural(count, 'path')} {'is' if count == 1 else 'are'}".removeprefix("-split ")
            images = "an image" if count == 1 else "images"
            told.append(
                f"{count:,} {whose} of {images} that the model was not trained with, or whose label nobody knows to be "
                "right or wrong"
            )
    return told


def _members(run: Run, figures: Mapping[str, Any]) -> Bools:
    """(paths,) which paths are in a group of the summary."""
    paths = run.paths
    inside = np.ones(run.done, dtype=np.bool_)
    if "split" in figures:
        inside &= paths["split"] == (figures["split"] or "")
    if "corrupted" in figures:
        inside &= paths["corrupted"] == int(figures["corrupted"])
    if "label" in figures:
        inside &= paths["label"] == (-1 if figures["label"] is None else figures["label"])
        inside &= paths["class"] == (figures["class"] or "")
    if "pair" in figures:
        same = paths["label"] == paths["other_label"]
        inside &= (paths["label"] >= 0) & (paths["other_label"] >= 0)
        inside &= same if figures["pair"] == "same class" else ~same
    return inside


def sample_text(run: Run, position: int) -> str:
    """Which sample a path belongs to, as far as that is known: ``train sample 12, class cat, corrupted label``."""
    split, index, label, name, corrupted, other = (
        run.paths[column][position] for column in ("split", "index", "label", "class", "corrupted", "other_label")
    )
    words = []
    if index >= 0 or split:
        words.append(" ".join(filter(None, [str(split), f"sample {index}" if index >= 0 else ""])))
    if name or label >= 0:
        words.append(f"class {name or label}")
    if other >= 0:
        words.append(f"to one of class {other}")
    if corrupted == 1:
        words.append("corrupted label")
    return ", ".join(words)


# --- Distributions --------------------------------------------------------------------------------------------


def distribution(
    run: Run, measure: Measure, members: Sequence[Group], *, name: str, by: str, detail: Detail = ALL
) -> Figure | None:
    """Histogram and distribution function of a measure, by group; None if no path has it.

    ``by``: how the groups are told apart, ``split``. At most seven groups can be told apart.
    """
    column = measure.name(run.estimated)
    if column is None or column not in run.paths:
        return None
    values = run.paths[column]
    finite = np.isfinite(values)
    shown = [group for group in members if (group.paths & finite).any()]
    if not shown:
        return None
    pooled = values[np.logical_or.reduce([group.paths for group in shown]) & finite]
    log = is_log(pooled) and measure.key != "local-similarity"
    edges = bins(pooled, log)
    histogram: list[Mark] = []
    curves: list[Mark] = []
    hovers: list[Mark] = []
    single: list[Group] = []
    coarse = False
    kept: list[tuple[Group, Positions]] = []
    for group in shown:
        positions = np.flatnonzero(group.paths & finite)
        own = values[positions]
        order = np.argsort(own, kind="stable")
        own, positions = own[order], positions[order]
        fraction = 100.0 * np.searchsorted(own, own, side="right") / len(own)
        few = len(own) < report.FEW
        if not few:
            counts = np.histogram(own, edges)[0]
            histogram += _histogram(group, edges, counts, _counted(group, finite), len(own))
            steps = spaced(len(own), detail.steps)
            coarse |= MOST_STEPS > detail.steps == len(steps)
            heights = np.concatenate([[0.0], fraction[steps]])
            ends = np.concatenate([[edges[0]], own[steps], [edges[-1]]])
            curves.append(Steps(ends, heights, group.color, _counted(group, finite), group=group.name))
        most = None if detail.paths is None else max(detail.paths * len(own) // len(pooled), 10)
        points = spaced(len(own), most)
        kept.append((group, positions[points]))
        template = (
            "{sample}" + f"\npath {{path}} of {plain(group.name)}\n{measure.title} {{x}}\n{{y}} % have at most this"
        )
        if not any(sample_text(run, at) for at in positions[points[:1]]):
            template = template.removeprefix("{sample}\n")
        columns: dict[str, Column] = {
            "path": run.paths["path"][positions[points]],
            "sample": [sample_text(run, at) for at in positions[points]],
        }
        hover = Hover(template, columns)
        size = 5.0 if len(points) <= 100 else 3.0
        label = _counted(group, finite) if few else ""
        if few:
            size = 7.0
            single.append(group)
        hovers.append(
            Points(own[points], fraction[points], group.color, label, size=size, group=group.name, hover=hover)
        )
    bars = 0.75 if len(shown) > 1 else 1.0
    panels = [
        Panel(
            [*curves, *hovers],
            Axis("share of the paths (%)", range=(0.0, 103.0)),
            1.0,
            title="How many paths have at most this value",
            legend=bool(single),
        )
    ]
    if histogram:
        title = "How many paths have such a value"
        panels.insert(0, Panel(histogram, Axis("share of the paths (%)"), bars, title=title, legend=not single))
    left = len(pooled) - sum(len(positions) for _, positions in kept)
    beyond = int(finite.sum()) - len(pooled)
    told = [left_out(run)] if by == "label" else [strangers(run)] if by == "split" else []
    if beyond and (by != "label" or not any(told)):
        told += [f"{beyond} {plural(beyond, 'path')} of which it is not known belong to no group."]
    caption = [
        f"{sentence(measure.meaning)}.",
        missing_told(measure, _missing(members, finite)),
        _means(shown, column),
        *_tests_told(run, column, shown),
        *told,
        _few_told([_counted(group, finite) for group in single]),
        f"{len(edges) - 1} {plural(len(edges) - 1, 'bin')} (Freedman-Diaconis)"
        + (", equally wide on the logarithmic axis." if log else ".")
        if histogram
        else "",
        "A point is a path" + (f"; {left} in between have none." if left else "."),
        f"For want of room, curves have {detail.steps} steps at most." if coarse else "",
    ]
    return Figure(
        name=name,
        title=f"{sentence(measure.title)} by {by}" if len(shown) > 1 else sentence(measure.title),
        panels=panels,
        x=Axis(measure.label(run.estimated), log=log),
        caption=" ".join(filter(None, caption)),
        table=_paths_table(run, column, kept, by),
        aspect=0.85,
    )


def rows(
    run: Run, measure: Measure, members: Sequence[Group], *, name: str, by: str, detail: Detail = ALL
) -> Figure | None:
    """A measure by group, a row for each: all paths, quartiles and median; for more groups than colours tell apart.

    None if no path has it.
    """
    column = measure.name(run.estimated)
    if column is None or column not in run.paths:
        return None
    values = run.paths[column]
    finite = np.isfinite(values)
    shown = [group for group in members if group.figures is not None and (group.paths & finite).any()]
    if not shown:
        return None
    told = len(shown)
    if told > MOST_CLASSES:
        ordered = sorted(shown, key=lambda group: -_figure(group, column)["mean"])
        half = MOST_CLASSES // 2
        shown = ordered[:half] + ordered[-half:]
    pooled = np.concatenate([values[group.paths & finite] for group in shown])
    log = is_log(pooled) and measure.key != "local-similarity"
    splits = groups(run, "split") or [everything(run)]
    marks: list[Mark] = []
    place = {id(group): len(shown) - 1 - position for position, group in enumerate(shown)}
    rows_ = np.array([place[id(group)] for group in shown], dtype=np.float64)
    quartiles = np.array([_figure(group, column)["quartiles"] for group in shown])
    counts = np.array([_figure(group, column)["count"] for group in shown])
    statistics: dict[str, Column] = {
        "group": [group.name for group in shown],
        "paths": [f"{told} {plural(told, 'path')}" for told in counts.tolist()],
        "mean": np.array([_figure(group, column)["mean"] for group in shown]),
        "low": quartiles[:, 0],
        "middle": quartiles[:, 1],
        "high": quartiles[:, 2],
    }
    hover = Hover(
        f"{{group}}, {{paths}}\n{measure.title}: mean {{mean}}, median {{middle}}\n"
        "half of them from {low} to {high}",
        statistics,
    )
    many = counts >= report.FEW
    if many.any():
        told_of = Hover(hover.template, {key: _chosen(column, many) for key, column in statistics.items()})
        low, high = quartiles[many, 0], quartiles[many, 2]
        marks.append(Bars(rows_[many], high, low, 0.62, FAINT, name="the middle half", horizontal=True, hover=told_of))
    kept: list[tuple[Group, Positions]] = []
    pieces = []
    for group in shown:
        positions = np.flatnonzero(group.paths & finite)
        positions = positions[np.argsort(values[positions], kind="stable")]
        most = None if detail.paths is None else max(detail.paths * len(positions) // len(pooled), 5)
        positions = positions[spaced(len(positions), most)]
        kept.append((group, positions))
        pieces.append(positions)
    which = np.concatenate(pieces)
    height = np.repeat(rows_, [len(piece) for piece in pieces])
    for number, split in enumerate(splits):
        mine = split.paths[which]
        if not mine.any():
            continue
        at = which[mine]
        # Splits lie above each other, so that none hides another.
        offset = 0.0 if len(splits) == 1 else 0.18 - 0.36 * number / max(len(splits) - 1, 1)
        columns: dict[str, Column] = {
            "path": run.paths["path"][at],
            "sample": [sample_text(run, one) for one in at],
        }
        marks.append(
            Points(
                values[at],
                height[mine] + offset,
                split.color,
                "" if len(splits) == 1 else split.name,
                size=5.0 if len(which) <= 400 else 3.0,
                opacity=0.8,
                hover=Hover(f"{{sample}}\npath {{path}}\n{measure.title} {{x}}", columns),
            )
        )
    medians = Points(quartiles[:, 1], rows_, INK, "median", "diamond", 7.0, hover=hover)
    marks.append(medians)
    left = len(pooled) - len(which)
    caption = [f"{sentence(measure.meaning)}."]
    lacking = missing_told(measure, _missing(members, finite))
    if lacking:
        caption.append(lacking)
    if told > len(shown):
        caption.append(f"Of {told} groups, the {half} with the highest and the {half} with the lowest means.")
    caption.append("A point is a path" + (f"; {left} in between have none." if left else "."))
    if not many.all():
        caption.append(f"Groups of fewer than {report.FEW} paths have no bar: so few tell little.")
    caption += _tests_told(run, column, shown)
    return Figure(
        name=name,
        title=f"{sentence(measure.title)} by {by}",
        panels=[
            Panel(
                marks,
                Axis(
                    ticks=[(place[id(group)], group.name.removeprefix("class ")) for group in shown],
                    range=(-0.6, len(shown) - 0.4),
                ),
            )
        ],
        x=Axis(measure.label(run.estimated), log=log),
        caption=" ".join(caption),
        table=_paths_table(run, column, kept, by),
        aspect=max(0.25 + 0.05 * len(shown), 0.4),
    )


def _chosen(column: Column, which: Bools) -> Column:
    return (
        [entry for entry, one in zip(column, which, strict=True) if one]
        if isinstance(column, list)
        else (np.asarray(column)[which])
    )


def bins(values: Floats, log: bool) -> Floats:
    """The edges of a histogram's bins, (bins + 1,); see this module for the rule. ``values``: finite, at least one."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        room = max(abs(low) * 0.05, 1e-300) if low else 0.5
        return np.array([low - room, high + room])
    size = max(abs(low), abs(high))
    # Differences of the largest numbers would overflow.
    scaled = np.log(values) if log else values / size
    spread = float(np.ptp(scaled))
    quarter, three = np.quantile(scaled, [0.25, 0.75])
    width = 2.0 * float(three - quarter) / len(values) ** (1 / 3)
    count = math.ceil(math.log2(len(values))) + 1
    if width > 0.0:
        count = max(count, math.ceil(min(spread / width, MOST_BINS)))
    count = min(count, MOST_BINS)
    edges = np.linspace(float(scaled.min()), float(scaled.max()), count + 1)
    edges = np.exp(edges) if log else edges * size
    edges[0], edges[-1] = low, high
    if not (np.diff(edges) > 0.0).all():
        # So close to each other that numbers do not tell the bins apart.
        return np.array([low, high])
    return np.asarray(edges)


def _histogram(group: Group, edges: Floats, counts: Integers, label: str, total: int) -> list[Mark]:
    """Bars, and an outline of them that has the name."""
    share = 100.0 * counts / total
    hover = Hover(
        f"{plain(group.name)}\n{{count}} of {total} {plural(total, 'path')} ({{y}} %)\nfrom {{low}} to {{high}}",
        {"count": counts, "low": edges[:-1], "high": edges[1:]},
    )
    x = np.repeat(edges, 2)[1:-1]
    return [
        Area(x, np.zeros(2 * len(share)), np.repeat(share, 2), group.color, 0.18, group.name),
        Steps(edges, share, group.color, label, 2.0, group=group.name, hover=hover),
    ]


def _counted(group: Group, finite: Bools) -> str:
    """A group's name, with how many of its paths there is a number of."""
    count = int((group.paths & finite).sum())
    return f"{group.name} ({count} {plural(count, 'path')})"


def _paths_table(run: Run, column: str, kept: Sequence[tuple[Group, Positions]], by: str) -> dict[str, Column]:
    """A row for each path that is drawn."""
    which = np.concatenate([positions for _, positions in kept])
    table: dict[str, Column] = {
        by.replace(" ", "_"): [group.name for group, positions in kept for _ in positions],
        column: run.paths[column][which],
        "path": run.paths["path"][which],
    }
    for name in ("split", "class"):
        if (run.paths[name] != "").any():
            table[name] = [str(one) for one in run.paths[name][which]]
    for name in ("index", "label", "other_label"):
        if (run.paths[name] >= 0).any():
            table[name] = [str(one) if one >= 0 else "" for one in run.paths[name][which]]
    if (run.paths["corrupted"] >= 0).any():
        table["training_label"] = [_LABEL_STATES.get(int(one), "") for one in run.paths["corrupted"][which]]
    return table


_LABEL_STATES = {0: "clean", 1: "corrupted"}


def _figure(group: Group, column: str) -> Mapping[str, Any]:
    assert group.figures is not None
    return dict(group.figures["measures"][column])


def _means(members: Sequence[Group], column: str) -> str:
    """The mean of each group with its interval."""
    told = []
    for group in members:
        figures = _figure(group, column)
        ends = report.interval(figures)
        interval = f" ({report.short(ends[0])} to {report.short(ends[1])})" if ends else ""
        told.append(f"{group.name} {report.short(figures['mean'])}{interval}")
    which = (
        ", with their 95 % intervals over paths"
        if any(report.interval(_figure(one, column)) for one in members)
        else ""
    )
    return f"Means{which}: {', '.join(told)}."


def _few_told(names: Sequence[str]) -> str:
    """That some groups have so few paths that nothing but these is drawn."""
    if not names:
        return ""
    return f"So few paths tell little, and are points only, without an interval: {', '.join(names)}."


def _missing(members: Sequence[Group], finite: Bools) -> int:
    """How many paths of any of the groups there is no number of."""
    return int((np.logical_or.reduce([group.paths for group in members]) & ~finite).sum())


def missing_told(measure: Measure, count: int) -> str:
    """That ``count`` paths do not have the measure; empty if none lacks it."""
    if not count:
        return ""
    are = "path has" if count == 1 else "paths have"
    return f"{count:,} {are} no {measure.title} that is a finite number, and {'is' if count == 1 else 'are'} left out."


def _tests_told(run: Run, column: str, members: Sequence[Group]) -> list[str]:
    """The test of two groups, or the clearest of several."""
    names = {group.name for group in members}
    found = [
        test
        for test in run.summary["tests"]
        if test["measure"] == column
        and report.group_name(test["first"]) in names
        and ("rest" in test["second"] or report.group_name(test["second"]) in names)
    ]
    if not found:
        return []
    best = min(found, key=lambda test: (test["adjusted_p_value"], -test["statistic"]))
    second = "the rest" if "rest" in best["second"] else report.group_name(best["second"])
    told = (
        f"{report.group_name(best['first'])} and {second}: distance {best['statistic']:.3f}, "
        f"p = {report.probability_text(best['p_value'])}, {report.probability_text(best['adjusted_p_value'])} adjusted "
        "for the number of tests"
    ).replace("= <", "<")
    first = "Kolmogorov-Smirnov test of " if len(found) == 1 else "The clearest Kolmogorov-Smirnov test, of "
    return [f"{first}{told}."]


def is_log(values: Floats) -> bool:
    low, high = float(values.min()), float(values.max())
    return low > 0.0 and high / SPREAD > low


def spaced(count: int, most: int | None) -> Positions:
    """``most`` of ``count`` ranks, evenly spaced, first and last among them; all if there are no more."""
    if most is None or count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, max(most, 2)).round().astype(np.intp))


# --- Where the network bends ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """The nodes that have units, in the network's order, N of them, with their colours.

    ``ordered``: whether their order is known; if not, those that switch most come first, and none has a colour.
    ``units``: how many each has, 0 if not known. ``switches``: on all paths. ``shapes``: of a sample's output.
    """

    labels: tuple[str, ...]
    operators: tuple[str, ...]
    units: Integers
    switches: Integers
    shapes: tuple[tuple[int, ...] | None, ...]
    ordered: bool

    @classmethod
    def of(cls, run: Run) -> Layers:
        counted = run.summary["totals"].get("switches_by_node", {})
        nodes = list(run.network.get("switching_nodes", []))
        ordered = bool(nodes) and {str(node["label"]) for node in nodes} >= counted.keys()
        if not ordered:
            nodes = [{"label": label} for label in counted]
        return cls(
            tuple(str(node["label"]) for node in nodes),
            tuple(str(node.get("operator", "")) for node in nodes),
            np.array([int(node.get("units", 0)) for node in nodes], dtype=np.int64),
            np.array([counted.get(str(node["label"]), 0) for node in nodes], dtype=np.int64),
            tuple(tuple(node["shape"]) if node.get("shape") else None for node in nodes),
            ordered,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def color(self, position: int) -> Color:
        return colors.layer(position, len(self)) if self.ordered else colors.series(0)

    def colors(self) -> list[Color]:
        return [self.color(position) for position in range(len(self))]

    def told(self, position: int) -> str:
        operator = self.operators[position]
        return self.labels[position] + (f" ({operator})" if operator else "")

    def listed(self, position: int) -> bool:
        """Whether it is named in legends: of many, the first, the last and some between."""
        return len(self) <= MOST_LISTED or position in set(spaced(len(self), MOST_LISTED // 2).tolist())


def by_layer(run: Run, layers: Layers, *, name: str) -> list[Figure]:
    """Switches of each layer, and switches of one of its units."""
    if not len(layers) or not layers.switches.sum():
        return []
    total = int(layers.switches.sum())
    share = 100.0 * layers.switches / total
    per_path = layers.switches / max(run.done, 1)
    table: dict[str, Column] = {
        "layer": list(layers.labels),
        "operator": list(layers.operators),
        "units": layers.units,
        "switches": layers.switches,
        "share_percent": share,
        "switches_per_path": per_path,
    }
    known = bool((layers.units > 0).all())
    hover = "{layer}\n{switches} switches, {share_percent} % of all\n{switches_per_path} on a path"
    if known:
        table["switches_per_unit_and_path"] = per_path / layers.units
        hover += "\n{units} units, each {switches_per_unit_and_path} times on a path"
    order = "from the network's input at the top to its output" if layers.ordered else "those that switch most first"
    found = [
        _layer_bars(
            layers,
            share,
            Axis("share of all switches (%)"),
            Hover(hover, table),
            name=f"{name}switches-by-layer",
            title="Which layers switch",
            caption=f"Where a region ends, a unit of some layer switches: {total:,} switches on {run.done:,} "
            f"{plural(run.done, 'path')}, by layer, {order}.",
            table=table,
        )
    ]
    if known:
        found.append(
            _layer_bars(
                layers,
                np.asarray(table["switches_per_unit_and_path"]),
                Axis("switches of a unit on a path"),
                Hover(hover, table),
                name=f"{name}switches-per-unit",
                title="How often one unit of a layer switches",
                caption="The same divided by the number of units of the layer, and by the number of paths: layers with "
                "few units can bend the network as often as those with many.",
                table=table,
            )
        )
    return found


def _layer_bars(
    layers: Layers,
    values: Floats,
    axis: Axis,
    hover: Hover,
    *,
    name: str,
    title: str,
    caption: str,
    table: dict[str, Column],
) -> Figure:
    count = len(layers)
    rows_ = np.arange(count, dtype=np.float64)[::-1].copy()
    return Figure(
        name=name,
        title=title,
        panels=[
            Panel(
                [Bars(rows_, values, width=0.78, colors=layers.colors(), horizontal=True, hover=hover)],
                Axis(ticks=list(zip(rows_.tolist(), layers.labels, strict=True)), range=(-0.6, count - 0.4)),
            )
        ],
        x=axis,
        caption=caption,
        table=table,
        aspect=min(0.22 + 0.05 * count, 3.0),
    )


def by_unit(run: Run, layers: Layers, *, name: str, detail: Detail = ALL) -> list[Figure]:
    """How unequally the units of each layer switch, and how many never do."""
    counted = [run.unit_switches.get(label) for label in layers.labels]
    if not run.unit_paths or not layers.ordered or any(one is None for one in counted):
        return []
    curves: list[Mark] = []
    silent = np.zeros(len(layers))
    thinned = False
    table: dict[str, list[Any]] = {"layer": [], "units_percent": [], "switches_of_a_unit_on_a_path": []}
    for position, units in enumerate(counted):
        assert units is not None
        silent[position] = 100.0 * float((units == 0).mean())
        heights = np.sort(units)[::-1] / run.unit_paths
        # A unit is a step of the curve; of equal neighbours the last one ends it.
        ends = np.flatnonzero(np.diff(heights, append=-1.0)) + 1
        steps = spaced(len(ends), None if detail.paths is None else MOST_STEPS // 2)
        thinned |= len(steps) < len(ends)
        edges = 100.0 * np.concatenate([[0], ends[steps]]) / len(units)
        label = layers.labels[position]
        hover = Hover(
            f"{plain(layers.told(position))}\n{{upto}} % of its units switch\n{{times}} times or more on a path",
            {"upto": edges[1:], "times": heights[ends[steps] - 1]},
        )
        curves.append(
            Steps(
                edges,
                heights[ends[steps] - 1],
                layers.color(position),
                label if layers.listed(position) else "",
                group=label,
                hover=hover,
            )
        )
        table["layer"] += [label] * len(steps)
        table["units_percent"] += edges[1:].tolist()
        table["switches_of_a_unit_on_a_path"] += heights[ends[steps] - 1].tolist()
    sentence = f"On the {run.unit_paths} {plural(run.unit_paths, 'path')} of which single units were recorded."
    never: dict[str, Column] = {
        "layer": list(layers.labels),
        "units": layers.units,
        "silent": np.array([int((one == 0).sum()) for one in counted if one is not None], dtype=np.int64),
        "silent_percent": silent,
    }
    all_switched = not silent.any()
    found = [
        Figure(
            name=f"{name}units",
            title="Do all units of a layer switch alike?",
            panels=[Panel(curves, Axis("switches on a path"))],
            x=Axis("units of the layer, the busiest first (%)", range=(0.0, 100.0)),
            caption="A flat curve: all units of the layer switch equally often. A steep one: few units make most of "
            f"its switches. {sentence}"
            + (
                f" Every unit of every layer switched on at least one of {run.unit_paths} "
                f"{plural(run.unit_paths, 'path')}."
                if all_switched
                else ""
            )
            + (f" Of a curve with more steps, {MOST_STEPS // 2} are drawn, evenly spaced." if thinned else ""),
            table={key: np.array(column) if key != "layer" else column for key, column in table.items()},
            aspect=0.62,
        )
    ]
    if all_switched:
        return found
    return [
        *found,
        _layer_bars(
            layers,
            silent,
            Axis("units that never switched (%)", range=(0.0, min(max(1.1 * float(silent.max()), 5.0), 100.0))),
            Hover("{layer}\n{silent} of {units} units never switched ({silent_percent} %)", never),
            name=f"{name}silent-units",
            title="Units that never switched",
            caption="A unit that does not switch on a path is affine there: on or off all the way. " + sentence,
            table=never,
        ),
    ]


def in_image(run: Run, layers: Layers, *, name: str, detail: Detail = ALL) -> Figure | None:
    """Where in the image, and in which channels, the units of convolutional layers switch; None if there are none."""
    found, left = _maps(run, layers)
    if not found:
        return None
    kept = [
        (position, run.unit_switches[layers.labels[position]].reshape(sizes) / run.unit_paths)
        for position, sizes in found
    ]
    most = None if detail.paths is None else MOST_CHANNELS
    pictures, bands, middles, channels = [], [], [], []
    table: dict[str, list[Any]] = {"layer": [], "row": [], "column": [], "switches_of_a_unit_on_a_path": []}
    for x, (position, per_unit) in enumerate(kept):
        places = per_unit.mean(axis=0)
        highest = float(places.max())
        count, rows_, columns = per_unit.shape
        pictures.append(Picture(float(x), _map(places / highest if highest else places), f"{rows_} x {columns}"))
        bands.append((float(places.min()), highest))
        middles.append(float(np.median(places)))
        each = np.sort(per_unit.mean(axis=(1, 2)), kind="stable")
        number = np.argsort(per_unit.mean(axis=(1, 2)), kind="stable")
        chosen = spaced(count, most)
        channels.append((x, position, each[chosen], number[chosen]))
        at = np.indices((rows_, columns)).reshape(2, -1)
        table["layer"] += [layers.labels[position]] * places.size
        table["row"] += at[0].tolist()
        table["column"] += at[1].tolist()
        table["switches_of_a_unit_on_a_path"] += places.ravel().tolist()
    x_ = np.arange(len(kept), dtype=np.float64)
    low, high = (np.array(ends) for ends in zip(*bands, strict=True))
    tints = [layers.color(position) for position, _ in kept]
    about: dict[str, Column] = {
        "layer": [layers.labels[position] for position, _ in kept],
        "low": low,
        "high": high,
        "middle": np.array(middles),
    }
    hover = Hover("{layer}\nbrightest place {high}\nmedian {middle}\ndarkest {low}", about)
    where: list[Mark] = [
        Bars(x_, high, low, 0.5, colors=tints, opacity=0.55, hover=hover),
        Points(x_, np.array(middles), INK, "median place", "diamond", 6.0, hover=hover),
    ]
    which: list[Mark] = [
        Points(
            np.full(len(each), float(x)),
            each,
            layers.color(position),
            size=5.0,
            opacity=0.8,
            hover=Hover(f"{plain(layers.labels[position])}\nchannel {{channel}}: {{y}}", {"channel": number}),
        )
        for x, position, each, number in channels
    ]
    thinned = any(len(each) < per_unit.shape[0] for (_, per_unit), (*_, each, _) in zip(kept, channels, strict=True))
    edges = set(spaced(len(kept), 16).tolist())
    return Figure(
        name=f"{name}places-in-image",
        title="Where in the image, and in which channels",
        panels=[
            Panel(where, Axis("switches of a unit on a path"), title="From the darkest to the brightest place"),
            Panel(which, Axis("switches of a unit on a path"), title="Channel by channel"),
        ],
        x=Axis(
            "layer",
            ticks=[(float(x), layers.labels[position]) for x, (position, _) in enumerate(kept) if x in edges],
            range=(-0.5, len(kept) - 0.5),
        ),
        caption="The pictures show how often units switch at each place of the image, mean over channels and over "
        f"{run.unit_paths} {plural(run.unit_paths, 'path')}: dark is never, bright is the layer's highest, which the "
        "bars below tell. A point is a channel, mean over all places"
        + (f"; of more than {MOST_CHANNELS}, some at evenly spaced ranks." if thinned else ".")
        + (f" {_left_out_of_maps(layers, left)}" if left else ""),
        table={key: column if key == "layer" else np.array(column) for key, column in table.items()},
        pictures=pictures,
        aspect=0.75,
    )


def without_place(run: Run, layers: Layers) -> str:
    """Which nodes have no place in :func:`in_image`, and why, if it is None for that reason; else empty."""
    found, left = _maps(run, layers)
    return "" if found else _left_out_of_maps(layers, left)


def _left_out_of_maps(layers: Layers, left: Sequence[int]) -> str:
    if not left:
        return ""
    names = ", ".join(layers.labels[position] for position in left[:8])
    more = f" and {len(left) - 8} more" if len(left) > 8 else ""
    return (
        "Not shown as places in the image, since shapes do not tell which axes are its rows and columns: "
        f"{names}{more}."
    )


def _maps(run: Run, layers: Layers) -> tuple[list[tuple[int, tuple[int, int, int]]], list[int]]:
    """The layers whose units are channels, rows and columns of the image, in this order, with how many of each; and
    those that have three axes as well of which that is not clear.

    A manifest does not tell what axes are. Rows and columns keep about the proportions of the image, and get no more;
    of an order in which another axis fits better, or of whatever order where that is so in the same network, nothing is
    said.
    """
    about = run.study.get("paths", {}).get("preprocessing") or {}
    image = image_size(tuple(run.study.get("model", {}).get("input_shape") or ()), str(about.get("layout") or ""))
    asked: list[tuple[int, tuple[int, int, int]]] = []
    misfits = []
    for position, (label, shape) in enumerate(zip(layers.labels, layers.shapes, strict=True)):
        units = run.unit_switches.get(label)
        if shape is None or units is None or not layers.ordered or not run.unit_paths:
            continue
        sizes = shape[-3:]
        if len(sizes) != 3 or sizes[1] * sizes[2] == 1 or not math.prod(sizes) == len(units) == math.prod(shape):
            continue
        asked.append((position, (sizes[0], sizes[1], sizes[2])))
        first, other = (_misfit(one, image) for one in (sizes[1:], sizes[:2]))
        misfits.append((first, other))
    last = any(other < first for first, other in misfits)
    clear = [first < other or (first == other < math.inf and not last) for first, other in misfits]
    kept = [one for one, is_clear in zip(asked, clear, strict=True) if is_clear]
    return kept, [position for (position, _), is_clear in zip(asked, clear, strict=True) if not is_clear]


def _misfit(size: tuple[int, ...], image: tuple[int, int] | None) -> float:
    """How far the proportions of (rows, columns) are from those of the image; infinite if these cannot be its rows and
    columns."""
    if image is None or size[0] > image[0] or size[1] > image[1]:
        return math.inf
    found = abs(math.log(size[0] * image[1] / (size[1] * image[0])))
    # Whatever is cut off at borders, or rounded, is less than half of them.
    return found if found < math.log(2.0) else math.inf


def _map(shares: Floats) -> NDArray[np.uint8]:
    """Numbers from 0 to 1 as a picture, dark to bright, each a square of pixels."""
    ramp = np.array(
        [[int(colors.layer(step, 256).light[i : i + 2], 16) for i in (1, 3, 5)] for step in range(256)], dtype=np.uint8
    )
    found = ramp[np.rint(shares * 255).astype(np.intp)]
    factor = max(MAP_PIXELS // max(shares.shape), 1)
    return np.ascontiguousarray(np.repeat(np.repeat(found, factor, axis=0), factor, axis=1))


def along(run: Run, layers: Layers, *, name: str) -> Figure | None:
    """Switches by place on the way, the layers stacked; None if that was not recorded."""
    if not layers.ordered or not run.place_switches or not run.done:
        return None
    counts = np.stack([run.place_switches[label] for label in layers.labels])
    segments, parts = counts.shape[1:]
    together = 1
    while segments * parts // together > MOST_PLACES and together < parts:
        together *= 2
    counts = counts.reshape(len(layers), segments * parts // together, together).sum(axis=2)
    if not counts.any():
        return None
    edges = np.linspace(0.0, segments, counts.shape[1] + 1)
    per_path = counts / run.done
    tops = np.cumsum(per_path, axis=0)
    marks: list[Mark] = []
    doubled = np.repeat(edges, 2)[1:-1]
    for position in range(len(layers)):
        below = tops[position - 1] if position else np.zeros(counts.shape[1])
        label = layers.labels[position]
        color = layers.color(position)
        marks.append(Area(doubled, np.repeat(below, 2), np.repeat(tops[position], 2), color, 0.75, label))
        hover = Hover(
            f"{plain(layers.told(position))}\n{{count}} switches here on all paths\n{{mean}} on a path",
            {"count": counts[position], "mean": per_path[position]},
        )
        marks.append(
            Steps(
                edges,
                tops[position],
                color,
                label if layers.listed(position) else "",
                0.8,
                group=label,
                hover=hover,
            )
        )
    many = segments > 1
    unit = f"1/{records.PLACES // together} of a segment"
    starts = np.arange(segments + 1)
    shown = starts[:: max(math.ceil(len(starts) / 17), 1)]
    place = "point" if many else "t"
    table: dict[str, Column] = {f"from_{place}": edges[:-1], f"to_{place}": edges[1:]}
    table |= {f"switches on a path, mean: {label}": per_path[position] for position, label in enumerate(layers.labels)}
    return Figure(
        name=f"{name}places-along-path",
        title="Where along the path",
        panels=[
            Panel(
                marks,
                Axis("switches on a path", range=(0.0, 1.05 * float(tops.max()))),
                verticals=[float(one) for one in starts[1:-1]] if segments <= 32 else [],
            )
        ],
        x=Axis(
            "points of the path, by number, and the way between them"
            if many
            else "t, from the start (0) to the end (1) of a segment",
            ticks=[(float(one), str(one)) for one in shown] if many else None,
            range=(0.0, float(segments)),
        ),
        caption=f"How many units switch in each {unit}, mean over {run.done:,} {plural(run.done, 'path')}, the layers "
        "on top of each other: the highest line "
        "is all switches. "
        + ("Vertical lines are points of the path." if many else "t = 0 and t = 1 are the ends of each segment."),
        table=table,
        aspect=0.5,
    )


# --- Words ----------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """A name that is part of a template, whose braces would be taken for columns."""
    return text.replace("{", "(").replace("}", ")")


def plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
