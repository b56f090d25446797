"""What people read of a comparison: verdicts, their evidence and paired measures as text. Computes nothing.

Everything is about the object that :func:`lronnx.side_by_side.summed_up` makes. Pages show the same sentences and rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lronnx import report
from lronnx.comparison import GROSS
from lronnx.crossing import SAME_T
from lronnx.report import clean, interval, number, shape_text, short

TOP_NODES = 6
"""Nodes of unmatched switches, and of correspondences, that are named at most."""

_STYLES = {"identical regions": "bold green", "same function, different units": "bold yellow", "different": "bold red"}


def comparison_report(result: Mapping[str, Any]) -> list[RenderableType]:
    """A comparison of two or more networks."""
    parts: list[RenderableType] = [report.paragraph(heading(result)), _models(result)]
    for pair in result["pairs"]:
        title = f"{clean(label(result, pair['other']))} against {clean(label(result, pair['first']))}: "
        parts.append(
            Text.assemble(
                title,
                (pair["verdict"], _STYLES[pair["verdict"]]),
                "\n",
                report.wrapped(clean(verdict_text(result, pair))),
            )
        )
        parts.append(_evidence(result, pair))
    parts += [report.paragraph("Measures, per path:"), _means(result)]
    for pair in result["pairs"]:
        if shows_differences(pair):
            parts.append(_paired(result, pair))
    return parts


def heading(result: Mapping[str, Any]) -> str:
    """What was compared, on what."""
    paths, segments = result["paths"], result["segments"]
    return (
        f"{len(result['models'])} models on {_count(paths, 'path')}, {_count(segments, 'segment')}, of length "
        f"{number(result['length'])} in the input of the first"
    )


def label(result: Mapping[str, Any], which: int) -> str:
    """What to call a model, by its number."""
    return str(result["models"][which - 1]["label"])


def model_text(model: Mapping[str, Any], count: Callable[[int], str] = str) -> str:
    """Which function of a model was walked."""
    outputs = model["outputs"]
    return (
        f"input '{model['input']}' ({shape_text(model['input_shape'])}), output '{model['output']}' "
        f"({count(outputs)} number{'' if outputs == 1 else 's'}), {count(model['units'])} units"
    )


def verdict_text(result: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """What a verdict says, in a sentence or two, and no more than was found."""
    return " ".join(filter(None, [_verdict(result, pair), cut_text(result, pair)]))


def _verdict(result: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    paths = result["paths"]
    where = "On this path" if paths == 1 else f"On these {paths} paths"
    silent = pair["switches"] == [0, 0]
    if pair["verdict"] == "different":
        parted = pair["paths_parted"]
        of = "" if paths == 1 else f" on {parted} of them" if parted < paths else " on all of them"
        text = f"{where} the outputs differ by more than rounding explains{of}."
        if pair["one_to_one"] and not silent:
            text += " All the same, their activation regions correspond one to one: the same units switch."
        return text
    why = {
        "double": "their outputs differ by no more than rounding in double precision",
        "float32": "their outputs differ by no more than rounding of numbers stored in float32 explains",
    }[pair["rounding"]]
    text = f"{where} both are the same function: {why}."
    if silent:
        return text + " No unit switches: each path is a single region of both."
    if pair["verdict"] == "identical regions":
        return text + " Their activation regions correspond one to one."
    if any(pair["unmatched_by_node"]):
        return text + " But some units that switch have no counterpart that switches at the same places."
    return (
        text + " All switches are at the same places, but belong to other units: one stands for several of the other."
    )


def cut_text(result: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """What was cut off at the outputs of the two networks, if that is not the same; else ''."""
    cuts = [(which, result["models"][pair[which] - 1]["cut"]) for which in ("first", "other")]
    if cuts[0][1] == cuts[1][1]:
        return ""
    told = [f"{', '.join(cut)} at the output of {label(result, pair[which])}" for which, cut in cuts if cut]
    return f"Not compared, since cut off: {'; '.join(told)}."


def evidence_rows(
    result: Mapping[str, Any], pair: Mapping[str, Any], count: Callable[[int], str] = str
) -> list[tuple[str, str, str]]:
    """The evidence of a verdict: the name of each figure, the figure, and what it means. ``count`` writes how many
    there are."""
    at, parts = pair["largest_at"], pair["parts_at"]
    rows: list[tuple[str, str, str]]
    if at is None:
        rows = [("largest difference", "0", "the outputs are equal everywhere")]
    else:
        rows = [
            ("largest difference", tiny(pair["largest_difference"]), output_text(at)),
            ("  where", number(at["t"]), _where(result, at)),
        ]
    rows.append(("largest output", number(pair["size"]), "of both, in absolute value"))
    if at is not None and pair["largest_difference"] <= GROSS * pair["size"]:
        # Beyond that, no rounding is asked.
        by = "in double precision" if pair["rounding"] == "double" else "of float32 numbers"
        rows.append(("rounding explains", tiny(pair["allowed"]), f"of that difference: rounding {by}"))
    if parts is not None:
        place = f"{_where(result, parts)}; output {parts['output']}, by over {tiny(parts['allowed'])}"
        rows.append(("parts from", number(parts["t"]), place))
    if pair["mean_difference"] is not None:
        rows.append(("mean difference", tiny(pair["mean_difference"]), "along the paths, norm over the outputs"))
    breakpoints, switches, matched = pair["breakpoints"], pair["switches"], pair["matched_switches"]
    union = f"{count(pair['union_breakpoints'])} in the union (closer than {SAME_T:g} in t: one)"
    rows.append(("breakpoints", _two(breakpoints, count), union))
    if switches != [0, 0]:
        all_of_them = switches == [matched, matched]
        told = "each stands for one of the other" if all_of_them else f"{count(matched)} stand for each other"
        if pair["grazing"] != [0, 0]:
            told += f"; of the rest, {_two(pair['grazing'], count)} are rounding at a kink"
        rows.append(("unit switches", _two(switches, count), told))
    if matched:
        rows.append(
            (
                "moved by",
                tiny(pair["median_move"]),
                f"in t, the median of those that correspond; at most {tiny(pair['largest_move'])}",
            )
        )
    # Where nothing corresponds, everything is only in one of them.
    for which, nodes in zip(("first", "other"), pair["unmatched_by_node"] if matched else ({}, {}), strict=True):
        name = f"only in {pair[which]}"
        for node, number_of in list(nodes.items())[:TOP_NODES]:
            rows.append((name, count(number_of), f"of {node}"))
            name = ""
        if len(nodes) > TOP_NODES:
            rest = list(nodes.values())[TOP_NODES:]
            rows.append(("", count(sum(rest)), f"of {_count(len(rest), 'more node')}"))
    return rows


def node_pairs(pair: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Which node of the other network has the switches that stand for a node's of the first: with how many, most first.

    Nodes that share a switch or two with others by chance are left out: of each only where most of its switches are.
    """
    rows = []
    for node, others in pair["nodes"].items():
        name, count = max(others.items(), key=lambda entry: entry[1])
        rows.append((node, name, count))
    return sorted(rows, key=lambda row: -row[2])


def place_text(result: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """Which segment and path a place is on, as far as there is more than one: ``segment 5 of path 4``; or ''."""
    told = [f"segment {at['segment']}"] if result["segments"] > result["paths"] else []
    return " of ".join([*told, *([f"path {at['path']}"] if result["paths"] > 1 else [])])


def _where(result: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    place = place_text(result, at)
    return f"t, on {place}" if place else "t"


def output_text(at: Mapping[str, Any]) -> str:
    """An output, and what it is there in both networks, with as many digits as tell the two apart."""
    first, other = at["first"], at["other"]
    digits = next((n for n in range(6, 17) if f"{first:.{n}g}" != f"{other:.{n}g}"), 17)
    # One more tells by how much, roughly.
    digits = digits if digits == 6 else min(digits + 1, 17)
    return f"output {at['output']}: {first:.{digits}g} and {other:.{digits}g}"


def shows_differences(pair: Mapping[str, Any]) -> bool:
    """Whether differences between the measures of two networks are their own, and not rounding."""
    return bool(pair["verdict"] != "identical regions")


PAIRED_COLUMNS = ("measure", "difference", "95 % interval", "ratio", "d_z", "larger")


def paired_rows(pair: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of every measure, how the other network differs from the first, path by path: see :data:`PAIRED_COLUMNS`."""
    rows: list[tuple[str, ...]] = []
    for name, figures in pair["measures"].items():
        if not figures["count"]:
            continue
        ends = interval(figures)
        rows.append(
            (
                report.MEASURES[name],
                _signed(figures["difference"]),
                "-" if ends is None else f"{_three(ends[0])} .. {_three(ends[1])}",
                _three(figures["ratio"]),
                _three(figures["standardized"]) if figures["count"] >= report.FEW else "-",
                f"{100 * figures['larger']:.3g} %",
            )
        )
    return rows


def paired_notes(pair: Mapping[str, Any]) -> list[str]:
    """What the columns of :func:`paired_rows` mean."""
    count = max((figures["count"] for figures in pair["measures"].values()), default=0)
    told = "Difference: the mean over the paths of the other's minus the first's"
    if count >= report.FEW:
        told += "; d_z: that mean in standard deviations of the differences"
    else:
        told += f"; of fewer than {report.FEW} paths no interval is told"
    return [f"{told}; larger: the share of paths on which it is larger, ties counting half."]


def mean_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of every measure, the mean over the paths of each model."""
    names = result["models"][0]["measures"]
    return [
        (report.MEASURES[name], *(short(model["measures"][name]["mean"]) for model in result["models"]))
        for name in names
        if any(model["measures"][name]["mean"] is not None for model in result["models"])
    ]


def _models(result: Mapping[str, Any]) -> Text:
    lines = []
    for model in result["models"]:
        lines.append(f"{model['number']}  {clean(model['label'])}: {clean(model_text(model))}")
        lines += [f"   {clean(told)}" for told in (*model["notices"], *model["matched"])]
    return Text("\n".join(report.wrapped(line, indent="   ") for line in lines))


def _evidence(result: Mapping[str, Any], pair: Mapping[str, Any]) -> RenderableType:
    return report.figure_table(
        [(name, figure, clean(meaning)) for name, figure, meaning in evidence_rows(result, pair)]
    )


def _means(result: Mapping[str, Any]) -> RenderableType:
    table = report.empty_table("mean of", *(f"{model['number']}" for model in result["models"]))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in mean_rows(result):
        table.add_row(*row)
    return table


def _paired(result: Mapping[str, Any], pair: Mapping[str, Any]) -> RenderableType:
    table = report.empty_table(f"{pair['other']} minus {pair['first']}", *PAIRED_COLUMNS[1:])
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for row in paired_rows(pair):
        table.add_row(*row)
    return Group(table, report.paragraph(*paired_notes(pair)))


def _two(counts: Sequence[int], count: Callable[[int], str]) -> str:
    one, two = map(count, counts)
    return f"{one} and {two}" if one != two else f"{one} each"


def tiny(figure: float | None) -> str:
    """Two digits: of small differences only the size matters."""
    return "-" if figure is None else "0" if figure == 0.0 else f"{figure:.2g}"


def _signed(figure: float | None) -> str:
    return "0" if figure == 0.0 else f"{'+' if figure is not None and figure > 0.0 else ''}{_three(figure)}"


def _three(figure: float | None) -> str:
    """Three digits, of counts all of them."""
    if figure is None:
        return "-"
    return f"{figure:.0f}" if 1e3 <= abs(figure) < 1e6 else f"{figure:.3g}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
