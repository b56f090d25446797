"""What walks cost on networks of several kinds and sizes, as a table; and how that grows, as plots.

Writes table.md, table.json and, per kind of growth, a PNG and the CSV it was drawn from. Everything is measured in
one run on one machine: rates mean little elsewhere, ratios more. Public networks come from the folder of the
environment variable LRONNX_SHARED, or else from one named "shared" beside the repository; rows without theirs are
left out.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.util
import io
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from measure import BATCH, MATRIX, Job, Measured, engines, forward_flops, measure_apart
from networks import SIZE, write_mlp, write_resnet18, write_vgg8
from numpy.typing import NDArray

import lronnx
from lronnx import store

SHARED = Path(os.environ.get("LRONNX_SHARED") or Path(__file__).parents[2] / "shared") / "onnx"
PRECISIONS = ("double", "single")
# So that no row takes much longer than half a minute on two cores, with its yardsticks and repetitions.
BUDGET = 15.0
# A row is doubtful if a yardstick changes by this factor while it is measured, or falls behind the run's best by it.
STEADY = 1.25
# Distances, in those of independent random images, with some hundred regions each.
RESNET_LENGTHS = {16: 1 / 128, 64: 1 / 2048}


@dataclass(frozen=True)
class Case:
    """A path through a network, under a name."""

    name: str
    model: Path
    points: Path


@dataclass(frozen=True)
class Row:
    """A case as it was measured with one engine in one precision; ``result`` is None if that failed."""

    case: str
    precision: str
    engine: str
    flops: int
    result: Measured | None
    problem: str = ""

    @property
    def limit(self) -> float:
        """Per cent of the regions per second that forward passes as fast as a large matrix product would allow."""
        assert self.result is not None
        return 100 * self.result.rate * self.flops / self.result.product

    @property
    def ok(self) -> bool:
        return self.result is not None and self.result.ok

    def record(self) -> dict[str, Any]:
        """Everything about it, for JSON: what was not measured is null."""
        record: dict[str, Any] = {"network": self.case, "precision": self.precision, "engine": self.engine}
        record |= {"forward_flops": self.flops, "problem": self.problem}
        if self.result is not None:
            derived = {"regions_per_second": self.result.rate, "ratio": self.result.ratio, "limit_percent": self.limit}
            record |= {**self.result._asdict(), **derived}
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }


# ---- the cases


def save_path(target: Path, points: Sequence[NDArray[Any]] | NDArray[Any]) -> Path:
    np.save(target, np.asarray(points, dtype=np.float32))
    return target


def part_of(target: Path, points: Path, fraction: float) -> Path:
    """The first part of the segment in a file of two points."""
    with np.load(points) as archive:
        start, end = (archive[key].astype(np.float64) for key in ("start", "end"))
    return save_path(target, [start, start + fraction * (end - start)])


def random_path(target: Path, segments: int, length: float, seed: int = 1) -> Path:
    """Segments that follow each other, each towards another random image for ``length`` of the way there."""
    rng = np.random.default_rng(seed)
    points = [rng.standard_normal((3, SIZE, SIZE))]
    for _ in range(segments):
        points.append(points[-1] + length * (rng.standard_normal(points[-1].shape) - points[-1]))
    return save_path(target, points)


def public(name: str) -> tuple[Path, Path] | None:
    """A public network with its segment, or points in the unit cube where it has none; None if it is not there."""
    model = SHARED / "models" / name
    points = SHARED / "segments" / f"{name.removesuffix('.onnx').replace('/', '__')}.npz"
    return (model, points) if model.is_file() else None


def with_points(found: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    model, points = found
    if not points.is_file():
        shape = lronnx.load(model).input_shape
        points = save_path(folder / f"{model.stem}.npy", np.random.default_rng(1).uniform(0, 1, (2, *shape)))
    return model, points


def case_vgg8(folder: Path) -> tuple[Path, Path]:
    found = public("vgg8_random.onnx")
    return with_points(found, folder) if found else write_vgg8(folder)


def case_path(folder: Path) -> tuple[Path, Path]:
    return case_vgg8(folder)[0], random_path(folder / "path.npy", 8, 1 / 4)


def case_public(*names: str) -> Callable[[Path], tuple[Path, Path] | None]:
    def make(folder: Path) -> tuple[Path, Path] | None:
        found = next(filter(None, map(public, names)), None)
        return with_points(found, folder) if found else None

    return make


def case_resnet18(width: int) -> Callable[[Path], tuple[Path, Path]]:
    return lambda folder: write_resnet18(folder, width, length=RESNET_LENGTHS[width])


# Short names are what --only takes.
CASES: dict[str, tuple[str, Callable[[Path], tuple[Path, Path] | None]]] = {
    "vgg8": ("VGG8", case_vgg8),
    "vgg8-8": ("VGG8, 8 segments", case_path),
    "resnet": ("ResNet 2b (CIFAR)", case_public("vnncomp2021_cifar10_resnet/resnet_2b.onnx")),
    "mlp": ("MLP 784-256-256-256-10", write_mlp),
    "acasxu": (
        "ACAS Xu 1-1",
        case_public("vnncomp2021_acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "eran/ACASXU_run2a_1_1_batch_2000.onnx"),
    ),
    "resnet18-16": ("ResNet18, width 16", case_resnet18(16)),
    "resnet18-64": ("ResNet18, width 64", case_resnet18(64)),
}


# ---- growth


@dataclass(frozen=True)
class Growth:
    """A kind of growth: what is varied, and what is drawn over what."""

    name: str
    title: str
    varied: str
    """The varied quantity's name in the CSV."""
    x: str
    """The column on the horizontal axis."""
    x_label: str
    y: str
    y_label: str
    ticks: tuple[int, ...]
    """Where the horizontal axis is labelled, if at the varied values."""
    make: Callable[[Path], list[tuple[float, Path, Path]]]
    """The varied value, the model and the points of each measurement."""


def grow_regions(folder: Path) -> list[tuple[float, Path, Path]]:
    model, points = case_vgg8(folder)
    fractions = [2.0**-power for power in range(4, -1, -1)]
    return [(part, model, part_of(folder / f"part_{part}.npy", points, part)) for part in fractions]


def grow_width(folder: Path) -> list[tuple[float, Path, Path]]:
    made = []
    for width in (1, 2, 4):
        model, points = write_vgg8(folder, width=width)
        made.append((float(width), model, part_of(folder / f"wide_{width}.npy", points, 1 / 32)))
    return made


def grow_segments(folder: Path) -> list[tuple[float, Path, Path]]:
    model, _ = case_vgg8(folder)
    counts = (1, 2, 4, 8, 16)
    return [(float(count), model, random_path(folder / f"path_{count}.npy", count, 1 / 32)) for count in counts]


GROWTHS = (
    Growth(
        name="growth_regions",
        title="Time of a walk along longer and longer parts of a segment, VGG8",
        varied="part_of_segment",
        x="regions",
        x_label="regions",
        y="seconds",
        y_label="time of a walk (s)",
        ticks=(),
        make=grow_regions,
    ),
    Growth(
        name="growth_width",
        title="Time per region of wider and wider networks, VGG8",
        varied="width",
        x="width",
        x_label="width (multiple of the VGG8's channels)",
        y="milliseconds_per_region",
        y_label="time per region (ms)",
        ticks=(1, 2, 4),
        make=grow_width,
    ),
    Growth(
        name="growth_segments",
        title="Time per region of paths of more and more segments, VGG8",
        varied="segments",
        x="segments",
        x_label="segments walked together",
        y="milliseconds_per_region",
        y_label="time per region (ms)",
        ticks=(1, 2, 4, 8, 16),
        make=grow_segments,
    ),
)


def grown(growth: Growth, varied: float, precision: str, engine: str, result: Measured) -> dict[str, Any]:
    """One line of a growth's CSV."""
    return {
        "engine": engine,
        "precision": precision,
        growth.varied: f"{varied:g}",
        "regions": result.regions,
        "seconds": f"{result.warm:.6g}",
        "milliseconds_per_region": f"{1000 * result.warm / result.regions:.6g}",
        "passes_per_region": f"{result.passes:.4g}",
        "peak_megabytes": f"{result.peak:.0f}",
        "self_check": "ok" if result.ok else "FAILED",
    }


def csv_text(lines: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


# Blue and vermilion of the palette by Okabe and Ito: told apart with any colour vision, and so are the markers.
STYLES = {"walk": ("#0072B2", "o"), "sweep": ("#D55E00", "s")}
OTHER_STYLE = ("#000000", "^")
DASHES = {"double": "-", "single": "--"}


def draw(growth: Growth, lines: Sequence[dict[str, Any]], target: Path) -> None:
    """A growth's lines as a PNG; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    style: dict[Any, Any] = {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
    }
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(7, 4.4), layout="constrained")
        curves = list(dict.fromkeys((line["engine"], line["precision"]) for line in lines))
        highest = 0.0
        lowest = math.inf
        for engine, precision in curves:
            chosen = [line for line in lines if (line["engine"], line["precision"]) == (engine, precision)]
            colour, marker = STYLES.get(engine, OTHER_STYLE)
            x = [float(line[growth.x]) for line in chosen]
            y = [float(line[growth.y]) for line in chosen]
            highest, lowest = max(highest, *y), min(lowest, *y)
            axes.plot(
                x,
                y,
                color=colour,
                marker=marker,
                # Hollow as well as dashed: short pieces of dashed lines look solid.
                markerfacecolor=colour if precision == "double" else "white",
                linestyle=DASHES.get(precision, ":"),
                linewidth=1.8,
                label=f"{engine}, {precision}",
            )
        axes.set(title=growth.title, xlabel=growth.x_label, ylabel=growth.y_label, xscale="log")
        axes.title.set_fontsize(11.5)
        if highest > 4 * lowest:
            axes.set_yscale("log")
            axes.set_ylim(*_around(lowest, highest))
        else:
            axes.set_ylim(0, 1.15 * highest)
        _label(axes.xaxis, ticker, growth.ticks)
        if axes.get_yscale() == "log":
            _label(axes.yaxis, ticker, ())
        axes.grid(which="major", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, handlelength=3)
        content = io.BytesIO()
        figure.savefig(content, dpi=200, format="png")
        pyplot.close(figure)
    store.write_bytes(target, content.getvalue())


def _around(lowest: float, highest: float) -> tuple[float, float]:
    """The next numbers below and above that are 1, 2 or 5 times a power of ten: the ends of the axis have labels."""
    powers = range(math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return max(tick for tick in numbers if tick < lowest), min(tick for tick in numbers if tick > highest)


def _label(axis: Any, ticker: Any, ticks: Sequence[int]) -> None:
    """Plain numbers on a logarithmic axis: at ``ticks``, or at 1, 2 and 5 times the powers of ten."""
    if ticks:
        axis.set_major_locator(ticker.FixedLocator(ticks))
    else:
        axis.set_major_locator(ticker.LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=20))
    axis.set_major_formatter(ticker.FuncFormatter(lambda number, _: f"{number:,.10g}"))
    axis.set_minor_locator(ticker.NullLocator())


# ---- the table

HEAD = (
    "network",
    "precision",
    "engine",
    "regions",
    "regions/s",
    "passes/region",
    "ratio",
    "% of limit",
    "peak MB",
    "self-check",
)
# Columns of words; numbers are aligned at their ends.
WORDS = (0, 1, 2, 9)


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if not math.isfinite(value):
        return "-"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


def doubtful(row: Row, rows: Iterable[Row]) -> bool:
    """Whether something else seems to have used the machine while this row was measured."""
    if row.result is None:
        return False
    rates = [other.result.product for other in rows if other.result is not None and other.precision == row.precision]
    # What is nan was not measured, and compares as false.
    return row.result.drift > STEADY or any(rate > STEADY * row.result.product for rate in rates)


def cells(row: Row, rows: Iterable[Row] = ()) -> list[str]:
    """A row of the table as text; ``rows``: the others of its run."""
    names = [row.case, row.precision, row.engine]
    if row.result is None:
        return [*names, *["-"] * 6, "failed: " + row.problem.replace("|", "/")]
    result = row.result
    doubt = " ?" if doubtful(row, rows) else ""
    return [
        *names,
        f"{result.regions}{'+' if result.partial else ''}",
        number(result.rate),
        f"{result.passes:.2f}",
        number(result.ratio) + (" *" if result.batch == 1 else "") + doubt,
        number(row.limit) + doubt,
        number(result.peak),
        "ok" if result.ok else "FAILED",
    ]


def notes(rows: Sequence[Row]) -> list[str]:
    """What has to be said below the table."""
    results = [row.result for row in rows if row.result is not None]
    said = []
    if any(result.batch == 1 for result in results):
        said.append(
            f"A star: the file fixes its batch at 1, so the ratio is to a plain forward pass of one sample, not of "
            f"{BATCH}; it is not comparable with the others."
        )
    if any(result.partial for result in results):
        said.append("A plus: the walk was ended after so many regions.")
    if any(result.device != "cpu" for result in results):
        said.append("A limit is measured for walks on the processor only.")
    if any(doubtful(row, rows) for row in rows):
        said.append(
            "A question mark: the machine was not equally fast before, during and after the walks, as when something "
            "else uses it; measure this row again."
        )
    return said


def render(rows: Sequence[Row], machine: dict[str, Any]) -> str:
    """The table as Markdown that is aligned as text too, with the machine above and the notes below it."""
    table = [list(HEAD), *(cells(row, rows) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    rule = ["-" * width if column in WORDS else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if column in WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (table[0], rule, *table[1:])
    ]
    above = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['date']}"
        + ("" if machine["load"] is None else f", load {machine['load']} at the beginning"),
        f"lronnx {machine['lronnx']}, onnxruntime {machine['onnxruntime']}, numpy {machine['numpy']}, "
        f"Python {machine['python']}",
    ]
    for precision in dict.fromkeys(row.precision for row in rows):
        rates = [
            row.result.product
            for row in rows
            if row.precision == precision and row.result is not None and math.isfinite(row.result.product)
        ]
        if rates:
            above.append(
                f"matrix product of {MATRIX} x {MATRIX}, {precision}: {np.median(rates) / 1e9:.1f} GFLOP/s "
                f"({min(rates) / 1e9:.1f} to {max(rates) / 1e9:.1f} beside the rows)"
            )
    body = ["| " + " | ".join(line) + " |" for line in padded]
    below = [f"\n{note}" for note in notes(rows)]
    return "\n".join([*(f"- {line}" for line in above), "", *body, *below]) + "\n"


def machine_facts() -> dict[str, Any]:
    """What figures depend on besides lronnx itself."""
    affinity = getattr(os, "sched_getaffinity", None)
    load = getattr(os, "getloadavg", None)
    return {
        "processor": processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        # A machine that is busy all the time shows in no drift.
        "load": round(load()[0], 1) if load else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "lronnx": lronnx.__version__,
        "onnxruntime": ort.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# ---- the run


def problem(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return first if isinstance(error, lronnx.LronnxError) else f"{type(error).__name__}: {first}"


def run_table(given: argparse.Namespace, folder: Path) -> list[Row]:
    rows = []
    for name in given.only:
        title, make = CASES[name]
        made = make(folder)
        if made is None:
            print(f"skipped: {title}: its file is not in {SHARED}", file=sys.stderr, flush=True)
            continue
        case = Case(title, *made)
        flops = forward_flops(case.model)
        for precision, engine in product(given.precision, given.engine):
            job = Job(case.model, case.points, engine, precision, given.device, repeat=given.repeat, budget=BUDGET)
            try:
                row = Row(case.name, precision, engine, flops, measure_apart(job))
            except Exception as error:
                # Whatever goes wrong in one row, the others are still worth having.
                row = Row(case.name, precision, engine, flops, None, problem(error))
            print("  ".join(cells(row)), file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def run_growth(growth: Growth, given: argparse.Namespace, folder: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of its CSV, and whether all of them are right."""
    lines, right = [], True
    points = growth.make(folder)
    for engine, precision in product(given.engine, given.precision):
        for varied, model, path in points:
            job = Job(model, path, engine, precision, given.device, repeat=given.repeat, budget=BUDGET, compared=False)
            try:
                result = measure_apart(job)
            except Exception as error:
                print(
                    f"{growth.name}: {engine}, {precision}, {varied:g}: failed: {problem(error)}",
                    file=sys.stderr,
                    flush=True,
                )
                right = False
                continue
            right &= result.ok
            lines.append(grown(growth, varied, precision, engine, result))
            print(f"{growth.name}: " + ", ".join(map(str, lines[-1].values())), file=sys.stderr, flush=True)
    return lines, right


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    growths = [growth.name for growth in GROWTHS]
    choices = [*CASES, *growths]
    parser.add_argument("--engine", nargs="+", choices=engines(), default=list(engines()))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--repeat", type=int, default=4, help="walks per row, the cold one included; at least 2")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--only", nargs="+", choices=choices, default=choices, metavar="NAME", help=f"of {', '.join(choices)}"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", metavar="FOLDER", help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    given.growth = [growth for growth in GROWTHS if growth.name in given.only]
    given.only = [name for name in CASES if name in given.only]
    return given


def main() -> int:
    given = parse()
    given.output.mkdir(parents=True, exist_ok=True)
    machine = machine_facts()
    right = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = run_table(given, folder)
        if rows:
            right = all(row.ok for row in rows)
            text = render(rows, machine)
            content = {"machine": machine, "rows": [row.record() for row in rows]}
            store.write_bytes(given.output / "table.md", text.encode())
            store.write_bytes(given.output / "table.json", (json.dumps(content, indent=1) + "\n").encode())
            print(text, flush=True)
        drawable = importlib.util.find_spec("matplotlib") is not None
        if given.growth and not drawable:
            print("no plots: pip install '.[benchmark]' brings matplotlib", file=sys.stderr)
        for growth in given.growth:
            lines, fine = run_growth(growth, given, folder)
            right &= fine
            if lines:
                store.write_bytes(given.output / f"{growth.name}.csv", csv_text(lines).encode())
                if drawable:
                    draw(growth, lines, given.output / f"{growth.name}.png")
    if not right:
        print("a walk failed or its self-check did: see above", file=sys.stderr)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
