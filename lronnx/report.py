"""What people read: a run or a study as tables of figures, a network as a table of nodes. Computes nothing.

Everything fits 80 columns on a terminal. Where the output is no terminal (a pipe, a file), nothing is coloured or
cut, and each node is one line for ``grep``. Names come from model files: they are shown, never interpreted.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lronnx.regions import PathWalk, Walk

if TYPE_CHECKING:
    from lronnx.agreement import Agreement
    from lronnx.network import Inspection

TOP_NODES = 10
TOP_SEGMENTS = 20
TOP_CLASSES = 20
TOP_TESTS = 12
TOP_CLASS_TESTS = 5

FEW = 5
"""Paths below which no interval of a mean is told: see :func:`lronnx.summary.mean_interval` how narrow it would be."""

MEASURES = {
    "regions": "regions",
    "linear_regions_per_region": "linear per region",
    "density": "density",
    "absolute_deviation_norm": "absolute deviation",
    "mean_absolute_deviation_norm": "mean deviation",
    "total_variation_norm": "total variation",
    "slope_variation_norm": "slope variation",
    "local_similarity": "local similarity",
    "decision_changes": "decision changes",
    "estimated_regions": "regions",
    "estimated_density": "density",
    # Not the norms of the exact figures, so not their names.
    "estimated_absolute_deviation_output_mean": "absolute deviation per output",
    "estimated_mean_absolute_deviation_output_mean": "mean deviation per output",
    "estimated_total_variation_output_mean": "total variation per output",
    "estimated_slope_variation_output_mean": "slope variation per output",
}
"""The measures of :mod:`lronnx.summary`, as :func:`walk_report` calls them."""
# The columns of the table of groups: those that are there.
_GROUP_MEASURES = {
    "density": "density",
    "mean_absolute_deviation_norm": "mean\ndeviation",
    "total_variation_norm": "total\nvariation",
    "local_similarity": "local\nsimilarity",
    "estimated_density": "ESTIMATED\ndensity",
    "estimated_mean_absolute_deviation_output_mean": "ESTIMATED\nmean dev.\nper output",
    "estimated_total_variation_output_mean": "ESTIMATED\nvariation\nper output",
}

GROUP_KINDS = ("split", "split_and_corrupted", "pair", "class")
"""The kinds of groups of paths that are shown, of those that :mod:`lronnx.summary` knows."""

NODE_COLUMNS = ("node", "operator", "switches", "share")
SEGMENT_COLUMNS = ("segment", "regions", "length", "density", "absolute deviation", "self-check")

_UNLIMITED = 100_000

_CHECK_STYLES = {"ok": "bold green", "FAILED": "bold red"}

_KIND_STYLES = {"switching": "bold", "cut": "yellow", "refused": "bold red", "constant": "dim", "unused": "dim"}


def print_to(stream: TextIO, *parts: RenderableType) -> None:
    """Print what the functions below return, one blank line between the parts."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=stream, width=_UNLIMITED, highlight=False, markup=False, emoji=False, no_color=True)
    with console.capture() as captured:
        for position, part in enumerate(parts):
            if position:
                console.print()
            console.print(part)
    # Table cells are padded up to their column's width, the last column too.
    stream.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def walk_report(
    path: PathWalk, *, title: str, analysed: str, operators: Mapping[str, str] | None = None
) -> list[RenderableType]:
    """The figures of a run. ``title``: what was walked; ``analysed``: which input and output;
    ``operators``: operator names by node label."""
    parts: list[RenderableType] = [paragraph(clean(title), clean(analysed))]
    parts.append(
        paragraph(
            "A region is a stretch of the way on which no unit (one ReLU, one pooling window) switches: there the "
            "network is a single affine function."
        )
    )
    if path.partial:
        parts.append(Text(partial_text(path), style="bold yellow"))
    parts.append(_figures(path))
    if path.switches_by_node:
        parts.append(_switches(path, operators or {}))
    if len(path.segments) > 1:
        parts.append(_segments(path))
    return parts


def inspect_report(inspection: Inspection) -> list[RenderableType]:
    """What is known of a network: every node, and the verdict, also on one that is refused."""
    heading = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    heading.add_column(style="dim")
    heading.add_column(overflow="fold")
    for name, text in inspect_facts(inspection):
        heading.add_row(name, Text(clean(text)))

    lowered = any(node.lowering for node in inspection.nodes)
    nodes = empty_table("#", "node", "operator", "output shape", "kind", "units", *(["lowering"] if lowered else []))
    for column in (0, 5):
        nodes.columns[column].justify = "right"
        nodes.columns[column].no_wrap = True
    nodes.columns[4].no_wrap = True
    for node in inspection.nodes:
        nodes.add_row(
            str(node.index),
            Text(clean(node.label)),
            Text(clean(node.op_type)),
            shape_text(node.shape),
            Text(node.kind, style=_KIND_STYLES.get(node.kind, "")),
            str(node.units) if node.units else "",
            *([node.lowering] if lowered else []),
        )
    parts: list[RenderableType] = [heading, nodes]
    lines = [f"notice: {notice}" for notice in inspection.notices]
    if lines:
        parts.append(Text("\n".join(clean(line) for line in lines)))
    return [*parts, _verdict(inspection)]


def inspect_facts(inspection: Inspection) -> list[tuple[str, str]]:
    """What a model file says about itself: (name, text)."""
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in inspection.opsets.items())
    rows = [
        ("model", inspection.name),
        ("SHA-256", inspection.sha256),
        ("made by", inspection.producer or "unknown"),
        ("opset", opsets or "unknown"),
    ]
    rows += [("input", f"{value.name}: {value.dtype} {shape_text(value.shape)}") for value in inspection.inputs]
    rows += [("output", f"{value.name}: {value.dtype} {shape_text(value.shape)}") for value in inspection.outputs]
    return rows


def summary_report(
    summary: Mapping[str, Any], *titles: str, operators: Mapping[str, str] | None = None
) -> list[RenderableType]:
    """The statistics of a study, as :func:`lronnx.summary.summarize` has them. ``titles``: lines that come first;
    ``operators``: operator names by node label."""
    totals = summary["totals"]
    parts: list[RenderableType] = []
    if titles:
        parts.append(paragraph(*(clean(title) for title in titles)))
    told = study_warnings(summary)
    check = totals["self_check"]
    failed = [] if check["ok"] else [told.pop()]
    parts += [Text(wrapped(text), style="bold yellow") for text in told]
    parts.append(_totals(summary))
    parts += [Text(wrapped(text), style="bold red") for text in failed]
    if not totals["paths"]:
        return parts
    nodes = totals.get("switches_by_node")
    if nodes:
        parts.append(_node_table(nodes, totals["switches"], operators or {}))
    parts.append(_measures(summary))
    for table in (_group_table(summary), _test_table(summary)):
        if table is not None:
            parts.append(table)
    return parts


def clean(text: str) -> str:
    """``text`` with everything escaped that a terminal might obey instead of showing it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shape_text(shape: Sequence[int | str] | None) -> str:
    """``1x3x32x32``; ``?`` if it is not known."""
    if shape is None:
        return "?"
    return "x".join(clean(str(size)) for size in shape) or "scalar"


def inspect_verdict(inspection: Inspection, number: Callable[[int], str] = str) -> tuple[str, bool]:
    """Whether a network can be walked: in a sentence, whose counts are written by ``number``, and as a truth value."""
    if inspection.refusals:
        count = len(inspection.refusals)
        return f"Not piecewise affine: {number(count)} node{'s are' if count > 1 else ' is'} refused.", False
    if inspection.problem:
        return "This model cannot be walked.", False
    if not inspection.piecewise_affine:
        return "Not piecewise affine.", False
    switching = sum(node.kind == "switching" for node in inspection.nodes)
    if switching == 0:
        return "Affine: no node switches, so there is a single region everywhere.", True
    nodes = f"{number(switching)} switching node{'s' if switching > 1 else ''}"
    return f"Piecewise affine: {number(inspection.units)} unit{'s' if inspection.units != 1 else ''} in {nodes}.", True


def _verdict(inspection: Inspection) -> RenderableType:
    text, good = inspect_verdict(inspection)
    lines = [str(refusal) for refusal in inspection.refusals]
    shown = [Text(clean(line)) for line in [*lines, inspection.problem] if line]
    return Group(Text(text, style="bold green" if good else "bold red"), *shown)


def walk_figures(
    path: PathWalk, count: Callable[[int], str] = str, names: Sequence[str] | None = None
) -> list[tuple[str, str | Text, str]]:
    """What :func:`walk_report` tells of a run: the name of each figure, the figure, and what it means.

    ``count`` writes how many there are; ``names``: of the outputs, if they have any.
    """
    segments = len(path.segments)
    over = f", norm over {count(path.outputs)} outputs" if path.outputs > 1 else ""
    where = "from start to end" if segments == 1 else f"of {count(segments)} segments together"
    if path.partial:
        where = f"of what was walked, of {number(path.length)} in all"
    rows: list[tuple[str, str | Text, str]] = [
        ("regions", count(path.regions), "each of one activation pattern"),
        ("linear regions", count(path.linear_regions), "neighbours with the same slope counted once"),
        ("breakpoints", count(path.breakpoints), f"inside segments; unit switches: {count(path.switch_count)}"),
        ("smallest region", number(path.smallest_region), "in t, which is 0 at the start and 1 at the end"),
        ("length", number(path.walked_length), f"Euclidean, {where}"),
        ("density", number(path.density), "regions per unit of length"),
        ("absolute deviation", number(path.absolute_deviation_norm), f"area to the straight line{over}"),
        ("mean deviation", number(path.absolute_deviation_norm / (path.walked_length or math.nan)), "that per length"),
        (
            "local similarity",
            number(path.local_similarity),
            "mean cosine between neighbouring slopes" if path.local_similarity is not None else "needs a breakpoint",
        ),
    ]
    if path.outputs > 1:
        rows.append(("largest output", *_decisions(path, count, names)))
    rows.append(("self-check", *_self_check(path)))
    if path.agreement is not None:
        rows.append(("engines", *_agreement(path.agreement)))
    passes = f"{count(path.forward_passes)} forward passes on {path.device}"
    rows.append(("seconds", f"{path.seconds:.2f}", passes))
    if path.precision != "double":
        rows.append(("precision", path.precision, "float32, for exploring: counts may be slightly off"))
    return rows


def _figures(path: PathWalk) -> Table:
    return figure_table(walk_figures(path))


def figure_table(rows: Iterable[tuple[str, str | Text, str]]) -> Table:
    """Figure, number, meaning: short enough for a line of 80 columns each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="bold")
    table.add_column(style="dim")
    for name, figure, meaning in rows:
        table.add_row(name, figure, clean(meaning))
    return table


def _decisions(path: PathWalk, count: Callable[[int], str], names: Sequence[str] | None) -> tuple[str, str]:
    """Which outputs are the largest on the way, and where that changes."""

    def name(output: int) -> str:
        return str(output) if names is None else names[output]

    changes = path.decision_changes
    many = len(path.segments) > 1
    if not changes:
        first = next((walk.decisions[0][1] for walk in path.segments if walk.decisions), None)
        return ("" if first is None else name(first), "all the way")
    spots = [f"{change.t:.6g}" + (f" of segment {change.segment}" if many else "") for change in changes]
    if len(changes) == 1:
        return f"{name(changes[0].before)} -> {name(changes[0].after)}", f"at t = {spots[0]}"
    if len(changes) <= 3 and not many:
        steps = [name(changes[0].before)] + [name(change.after) for change in changes]
        return " -> ".join(steps), f"at t = {', '.join(spots)}"
    return f"{count(len(changes))} changes", f"the first at t = {spots[0]}"


def _self_check(path: PathWalk) -> tuple[Text, str]:
    check = path.self_check
    if check.ok:
        return Text("ok", style="bold green"), f"outputs within {check.max_value_error:.1e} of the model's own"
    return Text("FAILED", style="bold red"), (
        f"{check.contradictions} contradictions, {check.end_pattern_mismatches} mismatches, "
        f"error {check.max_value_error:.1e} of {check.value_tolerance:.1e}"
    )


def _agreement(found: Agreement) -> tuple[Text, str]:
    """How the walk and the sweep compare."""
    text = f"breakpoints within {found.largest_t:.1e} in t, outputs within {found.largest_value:.1e}"
    if found.ok:
        return Text("agree", style="bold green"), text
    walk, sweep = found.breakpoints
    return Text("DISAGREE", style="bold red"), (
        f"{walk} breakpoints walked, {sweep} swept, {found.unmatched} unmatched switches, {text}"
    )


def _switches(path: PathWalk, operators: Mapping[str, str]) -> RenderableType:
    return _node_table(path.switches_by_node, path.switch_count, operators)


def _node_table(switches: Mapping[str, int], total: int, operators: Mapping[str, str]) -> RenderableType:
    """The nodes whose units switch most often. ``switches``: by node, most first; ``total``: of all nodes."""
    table = empty_table(*NODE_COLUMNS)
    for column in (2, 3):
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True
    for label, operator, count, share in node_rows(switches, total, operators, TOP_NODES):
        table.add_row(Text(clean(label)), Text(clean(operator)), count, share)
    return table


def node_rows(
    switches: Mapping[str, int],
    total: int,
    operators: Mapping[str, str],
    most: int,
    count: Callable[[int], str] = str,
) -> list[tuple[str, str, str, str]]:
    """The rows of a table of switches by node, under :data:`NODE_COLUMNS`: ``most`` nodes, and the others in one.

    ``count`` writes how many there are.
    """
    counted = list(switches.items())
    rows = [(label, operators.get(label, ""), count(own), f"{own / total:.1%}") for label, own in counted[:most]]
    rest = counted[most:]
    if rest:
        own = sum(own for _, own in rest)
        rows.append((f"{count(len(rest))} other nodes", "", count(own), f"{own / total:.1%}"))
    return rows


def _segments(path: PathWalk) -> RenderableType:
    table = empty_table(*SEGMENT_COLUMNS)
    for column in table.columns[:-1]:
        column.justify = "right"
    for row in segment_rows(path, TOP_SEGMENTS):
        table.add_row(*row)
    left = len(path.segments) - TOP_SEGMENTS
    if left > 0:
        return Group(table, Text(f"and {left} more segments: --json lists them all", style="dim"))
    return table


def segment_rows(path: PathWalk, most: int, count: Callable[[int], str] = str) -> list[tuple[str, ...]]:
    """The rows of a table of the first segments, ``most`` of them, under :data:`SEGMENT_COLUMNS`. ``count`` writes how
    many regions there are."""
    return [(str(index), *_segment(walk, count)) for index, walk in enumerate(path.segments[:most])]


def _segment(walk: Walk, count: Callable[[int], str]) -> tuple[str, str, str, str, str]:
    state = "ok" if walk.self_check.ok else "FAILED"
    return (
        count(walk.regions),
        number(walk.walked_length),
        number(walk.density),
        number(walk.absolute_deviation_norm),
        f"{state}, partial" if walk.partial else state,
    )


def _totals(summary: Mapping[str, Any]) -> Table:
    """What was walked, all paths together."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="bold")
    table.add_column(style="dim")
    for name, figure, meaning in total_rows(summary):
        styled = Text(figure, style=_CHECK_STYLES.get(figure, "")) if name == "self-check" else figure
        table.add_row(name, styled, clean(meaning))
    return table


def total_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was walked, all paths together: the name of each figure, the figure, and what it means."""
    totals = summary["totals"]
    rows = [
        ("paths", str(totals["paths"]), "the unit of all statistics"),
        ("segments", str(totals["segments"]), "of all paths together"),
    ]
    if summary["estimated"]:
        error = totals["estimated_regions_standard_error"]
        rows += [
            ("estimated regions", number(totals["estimated_regions"]), f"ESTIMATE, standard error {number(error)}"),
            ("length", number(totals["length"]), f"Euclidean; {_percent(totals['walked_fraction'])} of it was walked"),
        ]
    else:
        covered = totals["covered_fraction"]
        rows += [
            ("regions", str(totals["regions"]), "each of one activation pattern"),
            ("linear regions", str(totals["linear_regions"]), "neighbours with the same slope counted once"),
            ("unit switches", str(totals["switches"]), f"at {totals['breakpoints']} breakpoints"),
            ("length", number(totals["length"]), f"Euclidean; {_percent(covered)} of it was walked"),
        ]
    check = totals["self_check"]
    if check["ok"]:
        rows.append(("self-check", "ok", f"outputs within {number(check['max_value_error'])} of the model's own"))
    else:
        segments, paths = check["failed_segments"], check["failed_paths"]
        text = f"on {segments} segment{'' if segments == 1 else 's'} of {paths} path{'' if paths == 1 else 's'}"
        rows.append(("self-check", "FAILED", text))
    return [*rows, ("forward passes", str(totals["forward_passes"]), "evaluations of a single input")]


def study_warnings(summary: Mapping[str, Any]) -> list[str]:
    """What has to be known first: that figures are estimates, partial, or not to be relied upon."""
    totals = summary["totals"]
    check = totals["self_check"]
    told = []
    if summary["estimated"]:
        told.append(
            "ESTIMATE: only parts of each segment were walked. What the tables call estimated is unbiased, but spreads "
            "more between paths than the exact figures do."
        )
    elif totals["partial_segments"]:
        told.append(
            f"PARTIAL: {totals['partial_segments']} of {totals['segments']} segments were not walked to their end, "
            f"{_percent(totals['covered_fraction'])} of the length was walked; all figures are about these parts."
        )
    if not check["ok"]:
        named = [str(path) for path in check["first_failed_paths"]]
        named += ["..."] if check["failed_paths"] > len(named) else []
        told.append(f"The self-check failed on these paths: {', '.join(named)}. All figures include them.")
    return told


def _measures(summary: Mapping[str, Any]) -> RenderableType:
    """Every measure over all paths, and what there is to know about them."""
    table = empty_table(*measure_columns(summary))
    for column in table.columns:
        # Where numbers are so long that the table does not fit, the interval takes two lines.
        column.no_wrap = column is not table.columns[2]
    for column in table.columns[1:]:
        column.justify = "right"
    for row in measure_rows(summary):
        table.add_row(*row)
    return Group(table, Text(), Text(wrapped(*measure_notes(summary)), style="dim"))


def measure_columns(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The heading of :func:`measure_rows`."""
    if summary["estimated"]:
        first = "ESTIMATE of"
    else:
        first = "PARTIAL measure" if summary["totals"].get("partial_segments") else "measure of a path"
    return (first, "mean", f"{100 * summary['confidence']:.4g} % interval", "standard\ndeviation", "median")


def measure_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Every measure over all paths, under :func:`measure_columns`."""
    [everything] = summary["groups"]["all"]
    rows: list[tuple[str, ...]] = []
    for name, figures in everything["measures"].items():
        quartiles = figures["quartiles"]
        rows.append(
            (
                MEASURES[name],
                short(figures["mean"]),
                interval_text(interval(figures)),
                short(figures["standard_deviation"]),
                short(quartiles[1] if quartiles else None),
            )
        )
    return rows


def measure_notes(summary: Mapping[str, Any]) -> list[str]:
    """What there is to know about the measures."""
    [everything] = summary["groups"]["all"]
    over = (
        "deviation and variation per output are means over the outputs (of a norm there is no unbiased estimate)"
        if summary["estimated"]
        else "deviation and variation are norms over the outputs; local similarity is a mean over breakpoints"
    )
    lines = [
        f"Density is in regions per unit of length; mean deviation is absolute deviation per length; {over}. The "
        f"interval is of the mean over paths (bootstrap); fewer than {FEW} have none, since so few tell little."
    ]
    missing = [
        f"{MEASURES[name]} ({figures['missing']})"
        for name, figures in everything["measures"].items()
        if figures["missing"]
    ]
    if missing:
        lines.append(f"Left out are paths that have no such figure: {', '.join(missing)}.")
    return lines


def _group_table(summary: Mapping[str, Any]) -> RenderableType | None:
    """Means by group: splits, clean and corrupted labels, pairs, classes."""
    names = [name for name in _GROUP_MEASURES if name in summary["measures"]]
    sections = group_rows(summary, names, TOP_CLASSES)
    if not sections:
        return None
    table = empty_table("mean over the paths of", "paths", *(_GROUP_MEASURES[name] for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for rows in sections:
        for name, *figures in rows:
            table.add_row(Text(clean(name)), *figures)
        table.add_section()
    left = len(summary["groups"]["class"]) - TOP_CLASSES
    if left > 0:
        return Group(table, Text(f"and {left} more classes: the summary lists them all", style="dim"))
    return table


def group_rows(summary: Mapping[str, Any], measures: Sequence[str], most: int) -> list[list[tuple[str, ...]]]:
    """Of every kind of group that there is, the first ``most`` groups: name, paths, and the means of ``measures``."""
    return [
        [
            (
                group_name(group),
                str(group["paths"]),
                *(short(group["measures"][name]["mean"]) for name in measures),
            )
            for group in summary["groups"][kind][:most]
        ]
        for kind in GROUP_KINDS
        if summary["groups"][kind]
    ]


def _test_table(summary: Mapping[str, Any]) -> RenderableType | None:
    """How far the groups differ: the clearest tests of every kind."""
    sections = test_rows(summary, TOP_TESTS, TOP_CLASS_TESTS)
    if not sections:
        return None
    table = empty_table(*test_columns(summary))
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    for rows in sections:
        for measure, between, *figures in rows:
            table.add_row(measure, Text(clean(between)), *figures)
        table.add_section()
    lines = [TESTS_NOTE]
    left = len(summary["tests"]) - sum(map(len, sections))
    if left:
        lines.append(f"These are the clearest of each kind; the summary lists {left} more.")
    return Group(table, Text(), Text(wrapped(*lines), style="dim"))


TESTS_NOTE = (
    "Kolmogorov-Smirnov: the distance is the largest difference of two distribution functions; p is adjusted for "
    "the number of tests of a measure (Benjamini-Hochberg)."
)


def test_columns(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The heading of :func:`test_rows`."""
    return ("ESTIMATE of" if summary["estimated"] else "measure", "between", "distance", "p", "adjusted\np")


def test_rows(summary: Mapping[str, Any], most: int, most_of_classes: int) -> list[list[tuple[str, ...]]]:
    """How far groups differ, under :func:`test_columns`: of every kind of group the clearest tests, at most so many."""
    sections = []
    for kind in GROUP_KINDS:
        tests = [test for test in summary["tests"] if test["kind"] == kind]
        clearest = sorted(tests, key=lambda test: (test["adjusted_p_value"], -test["statistic"]))
        rows: list[tuple[str, ...]] = [
            (
                MEASURES[test["measure"]],
                between_text(test["first"], test["second"]),
                f"{test['statistic']:.3f}",
                probability_text(test["p_value"]),
                probability_text(test["adjusted_p_value"]),
            )
            for test in clearest[: most_of_classes if kind == "class" else most]
        ]
        if rows:
            sections.append(rows)
    return sections


def group_name(group: Mapping[str, Any]) -> str:
    """What makes a group: ``class cat``."""
    words = []
    if group.get("split"):
        words.append(group["split"])
    elif "split" in group and "corrupted" not in group:
        words.append("(no split)")
    if "corrupted" in group:
        words.append("corrupted labels" if group["corrupted"] else "clean labels")
    if "label" in group:
        words.append(f"class {group['label'] if group['class'] is None else group['class']}")
    if "pair" in group:
        words.append("pairs in a class" if group["pair"] == "same class" else "pairs across classes")
    return ", ".join(words)


def between_text(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The two groups of a test, in as few words as tell them."""
    if "corrupted" in first:
        return ": ".join(filter(None, [first["split"], "clean, corrupted"]))
    if "pair" in first:
        return "pairs in, across classes"
    return f"{group_name(first)}, {'the rest' if 'rest' in second else group_name(second).removeprefix('class ')}"


def short(figure: float | None) -> str:
    """Four digits and no more than ten characters, or a dash for what does not exist."""
    if figure is None:
        return "-"
    return f"{figure:.0f}" if 1e4 <= abs(figure) < 1e7 else f"{figure:.4g}"


def interval(figures: Mapping[str, Any]) -> Sequence[float] | None:
    """The interval of a measure's mean; None where there is none, or where it is of fewer than :data:`FEW` paths."""
    ends: Sequence[float] | None = figures["interval"]
    return ends if figures["count"] >= FEW else None


def interval_text(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{short(ends[0])} .. {short(ends[1])}"


def probability_text(value: float) -> str:
    return "< 1e-6" if value < 1e-6 else f"{value:.2g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.4g} %"


def partial_text(path: PathWalk) -> str:
    """Where a partial walk stopped."""
    if not path.segments:
        return "PARTIAL: stopped before the first region was finished."
    where = f"t = {number(float(path.segments[-1].t[-1]))}"
    if len(path.segments) > 1:
        where += f" of segment {len(path.segments) - 1}"
    return f"PARTIAL: stopped at {where}; all figures are about the part that was walked."


def number(figure: float | None) -> str:
    """Six digits, or a dash for what does not exist."""
    return "-" if figure is None or not math.isfinite(figure) else f"{figure:.6g}"


def empty_table(*columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def paragraph(*lines: str) -> Text:
    """Text broken between words at 80 columns, the same on a terminal and in a file; long words stay whole."""
    return Text(wrapped(*lines))


def wrapped(*lines: str, indent: str = "") -> str:
    """Lines broken between words at 80 columns, what is broken off behind ``indent``."""
    return "\n".join(
        textwrap.fill(line, 80, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent)
        for line in lines
    )
