"""From the results of a width sweep, or of the checkpoints of one network, to a figure and its statistics.

``python -m models.figure RESULTS.csv -o FIGURE.png`` draws the figure of M. Gamba, A. Chmielewski-Anders, J. Sullivan,
H. Azizpour and M. Björkman, "Are All Linear Regions Created Equal?" (AISTATS 2022), from the user's own networks, and
prints what the numbers say about two claims of the paper (see ``models.statistics``): that the deviation from affine
interpolation follows the test error, and that the density of linear regions keeps growing. Nothing here needs torch;
only drawing needs matplotlib.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from models import statistics
from models.files import write_whole
from models.results import GROUPS, X_COLUMNS, Array, Curve, Results, curves, read

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
    """``least`` and ``most``: what a value can be; ``ends``: those of them at which the axis ends, too."""

    label: str
    lines: tuple[_Line, ...]
    least: float
    most: float
    ends: tuple[float, ...] = ()
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
        0.0,
        1.0,
        ends=(0.0,),
        legend="error on",
    ),
    _Panel(
        "density of regions\n(per unit length)",
        _around("density"),
        0.0,
        math.inf,
        logarithmic=True,
        legend="paths around",
    ),
    _Panel("absolute deviation\n(norm over outputs)", _around("absolute_deviation"), 0.0, math.inf, ends=(0.0,)),
    _Panel("local similarity\n(mean cosine)", _around("local_similarity"), -1.0, 1.0, ends=(1.0,)),
)

_COLUMN_WIDTH = 3.4  # inches: one column of a paper set in two
_TITLE_CHARACTERS = 50  # that fit into it
_HEIGHT = 6.4
_DPI = 200
_TICK_SIZE = 6.5  # points
_WORDS_HEIGHT = 0.35  # of the panel of errors, for what is written beside the interpolation threshold
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
    write_whole(path, output.getvalue())


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
        figure.suptitle(_wrapped(names[0] if title is None else title, 1), fontsize=8)
    else:
        for axes, name in zip(grid[0], names, strict=True):
            axes.set_title(name, pad=16)
        if title is not None:
            figure.suptitle(_wrapped(title, len(found)), fontsize=9)
    if any(len(curve.seeds) > 1 for curve in found):
        note = "markers: means over seeds, bars: 95 % t-intervals, dots: single networks"
        figure.supxlabel(note, fontsize=5.5, color="0.35")
    figure.align_ylabels()
    return figure


def _wrapped(title: str, columns: int) -> str:
    """A title in lines that so many columns of panels are wide enough for."""
    return textwrap.fill(title, _TITLE_CHARACTERS * columns)


def _default_title(curve: Curve) -> str:
    count = len(curve.seeds)
    ends = " to ".join(dict.fromkeys((_short(curve.x[0]), _short(curve.x[-1]))))
    return f"{curve.family}, {curve.x_column} {ends}, {count} seed{'s' * (count != 1)}"


def _draw_panel(axes: Any, curve: Curve, panel: _Panel) -> None:
    from matplotlib.ticker import LogFormatter

    drawn = [line for line in panel.lines if np.isfinite(curve.values[line.column]).any()]
    if not drawn:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="0.4")
    containers = []
    # A marker at the end of an axis is whole; all others lie within anyway, except where a logarithm does not end.
    clipped = panel.logarithmic
    for line in drawn:
        values = curve.values[line.column]
        # Side by side, so that error bars of different groups stay apart.
        step = _step(curve) if len(curve.seeds) > 1 else 0.0
        place = _beside(curve.x, step * (panel.lines.index(line) - (len(panel.lines) - 1) / 2))
        mean, half = statistics.mean_interval(values)
        known = np.isfinite(mean) & ((mean > 0) | (not panel.logarithmic))
        # What lies outside of what is possible is no part of an interval.
        room = np.maximum([mean - panel.least, panel.most - mean], 0)
        bars = np.minimum(np.nan_to_num(half), np.nan_to_num(room))[:, known]
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
                clip_on=clipped,
            )
        container = axes.errorbar(
            place[known],
            mean[known],
            yerr=bars if np.isfinite(half).any() else None,
            color=line.colour,
            marker=line.marker,
            markersize=3.2 if len(curve.x) <= 10 else 2.6,
            markeredgecolor="white",
            markeredgewidth=0.3,
            linewidth=1.0,
            elinewidth=0.7,
            label=line.label,
            zorder=3,
            clip_on=clipped,
        )
        containers.append(container)
    if panel.logarithmic and drawn:
        axes.set_yscale("log", nonpositive="clip")
        # Plain numbers, and of those between the powers of ten only where there are hardly any powers.
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    if drawn:
        if panel.least in panel.ends:
            axes.set_ylim(bottom=panel.least)
        if panel.most in panel.ends:
            axes.set_ylim(top=panel.most)
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


def _step(curve: Curve) -> float:
    """From one group's markers to the next one's, as a share of the axis; those of two x never mix."""
    gaps = np.diff(_positions(curve.x)) / max(np.ptp(_positions(curve.x)), 1e-9)
    return float(min(0.009, gaps.min(initial=1) / 4))


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
    index = int(statistics.first_interpolating(statistics.mean_interval(curve.values["train_accuracy"])[0][None])[0])
    if index < 0:
        return
    for axes in panels:
        axes.axvline(curve.x[index], color="0.35", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    # Errors fall along x, so there mostly is room above them on the right, if the words fit there.
    right = positions[index] - positions[0] <= 0.62 * np.ptp(positions)
    first, last = (index, len(positions) - 1) if right else (0, index)
    reach = 0.42 * np.ptp(positions)
    beside = [i for i in range(first, last + 1) if abs(positions[i] - positions[index]) <= reach]
    # The curve leads on to the next x.
    outermost = min(beside[-1] + 1, last) if right else max(beside[0] - 1, first)
    highest = _highest(curve, [*beside, outermost])
    top = panels[0].get_ylim()[1]
    panels[0].set_ylim(top=max(top, highest / (1 - _WORDS_HEIGHT)))
    panels[0].annotate(
        f"interpolation\nthreshold (mean train\naccuracy ≥ {statistics.THRESHOLD:g})",
        (curve.x[index], 1),
        xycoords=("data", "axes fraction"),
        xytext=(4 if right else -4, -2),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        fontsize=_TICK_SIZE - 0.5,
        color="0.25",
    )


def _highest(curve: Curve, at: Sequence[int]) -> float:
    """The highest that anything in the panel of errors reaches at these x; 0 if nothing is known there."""
    highest = 0.0
    for line in _PANELS[0].lines:
        values = curve.values[line.column]
        mean, half = statistics.mean_interval(values)
        ends = np.minimum(mean + np.nan_to_num(half), 1)
        highest = max(highest, *np.nan_to_num(ends[at]), float(np.nan_to_num(values[:, at]).max()))
    return float(highest)


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
@click.option("--all", "everything", is_flag=True, help="Print every correlation and more means, too.")
def main(
    results: Path,
    output: Path | None,
    json_file: Path | None,
    x: str | None,
    family: str | None,
    title: str | None,
    everything: bool,
) -> None:
    try:
        table = read(results)
        found = statistics.compute(table, x=x, family=family)
        if output is not None:
            draw(table, output, x=x, family=family, title=title)
        if json_file is not None:
            write_whole(json_file, found.json().encode())
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise _BadInput(str(error)) from None
    click.echo(found.text(), nl=False)
    if everything:
        click.echo(f"\n{found.details()}", nl=False)


if __name__ == "__main__":
    main(prog_name="python -m models.figure")
