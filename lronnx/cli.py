"""The command line: parses, calls the library, prints. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lronnx import __version__, inputs, report, store
from lronnx.errors import InputError, LronnxError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lronnx.network import Inspection, Network
    from lronnx.regions import PathWalk
    from lronnx.walker import Progress, Stop

SELF_CHECK_FAILED = 5
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: whoever read the output has gone away."""
INTERNAL_ERROR = 1

PROGRESS_AFTER = 1.0
"""Seconds that a run takes before it shows its progress."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Maps every exception to a message on stderr and an exit code; no user ever sees a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # Names in models are any Unicode, terminals are not.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().invoke(ctx)
            # A closed pipe is noticed while its end can still be reported.
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except LronnxError as error:
            _complain(str(error))
            code = error.exit_code
        except BrokenPipeError:
            _discard_stdout()
            code = PIPE_CLOSED
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _complain(f"{where}{error.strerror or error}")
            code = InputError.exit_code
        except MemoryError:
            _complain("out of memory: fewer --lanes or less --memory need less, and so does --precision single")
            code = InputError.exit_code
        except KeyboardInterrupt:
            _complain("interrupted")
            code = INTERRUPTED
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            _complain(
                f"internal error, please report it: {type(error).__name__}: {error} "
                f"({Path(place.filename).name}, line {place.lineno}, version {__version__})"
            )
            code = INTERNAL_ERROR
        ctx.exit(code or 0)


class _Named(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """``NAME=TEXT``, as a pair."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not (name and equals and text):
            self.fail(f"'{value}' is not of the form {self.name.upper()}", param, ctx)
        return name, self.parse(text, param, ctx)

    def parse(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return text


class _NamedFile(_Named):
    name = "name=file"


class _NamedShape(_Named):
    name = "name=1x3x32x32"

    def parse(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        sizes = text.lower().replace(",", "x").split("x")
        if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
            self.fail(f"'{text}' is no shape; give positive sizes with x between them, such as 1x3x32x32", param, ctx)
        return tuple(int(size) for size in sizes)


_MODEL = click.Path(exists=True, dir_okay=False, path_type=Path)
_TARGET = click.Path(path_type=Path)


def _model_options(command: _Command) -> _Command:
    """The options that say which function a model file stands for."""
    decorators = [
        click.option(
            "--output", "output_name", metavar="NAME", help="Analyse this output, tensor or node (default: the first)."
        ),
        click.option(
            "--shape",
            "shapes",
            type=_NamedShape(),
            metavar="NAME=1x3x32x32",
            multiple=True,
            help="Shape of one sample of an input whose size the model leaves open.",
        ),
        click.option(
            "--input",
            "fixed_inputs",
            type=_NamedFile(),
            multiple=True,
            help="Hold this input of a model with several at the array in a .npy or .npz file.",
        ),
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _precision_option(command: _Command) -> _Command:
    return click.option(
        "--precision",
        type=click.Choice(["double", "single"]),
        default="double",
        show_default=True,
        help="double is exact up to float64 rounding; single is faster, for exploring.",
    )(command)


def _lowering_option(command: _Command) -> _Command:
    return click.option(
        "--lowering",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="How convolutions in double precision are computed on a CPU, wherever that can be: banded-1, banded-2, "
        "banded-4, slices, winograd-2 or winograd-4; auto takes what is fastest on this machine.",
    )(command)


@click.group("lronnx", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lronnx")
def main() -> None:
    """Find exactly the linear regions that a piecewise-linear network (.onnx) crosses on a segment.

    \b
    lronnx walk              try it: an embedded network of handwritten digits
    lronnx inspect MODEL     what the network is made of, and whether it can be walked
    lronnx walk MODEL --start A.npy --end B.npy

    Exit codes: 0 done; 2 wrong usage or bad input file; 3 valid model but not piecewise affine;
    4 not a valid ONNX model; 5 the self-check failed (the result is written and marked); 130 interrupted (likewise).
    """


@main.command(short_help="Show every node, and whether the network can be walked.")
@click.argument("model", type=_MODEL)
@_model_options
@_lowering_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def inspect(
    model: Path,
    output_name: str | None,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    lowering: str,
    as_json: bool,
) -> int:
    """Show every node of MODEL: constant, affine or switching, with its number of units, and the verdict.

    Also for a network that is refused; the exit code then is 3, and 4 if onnxruntime cannot run it.
    """
    import lronnx

    inspection = lronnx.inspect(
        model,
        output=output_name,
        fixed_inputs=_read_fixed(fixed_inputs),
        shapes=_unique(shapes, "--shape"),
        lowering=lowering,
    )
    if as_json:
        _print_json(_inspection_json(inspection))
    else:
        report.print_to(sys.stdout, *report.inspect_report(inspection))
    if inspection.problem and not inspection.refusals:
        return lronnx.ModelError.exit_code
    return 0 if inspection.piecewise_affine else lronnx.NotPiecewiseAffineError.exit_code


@main.command(short_help="Find every linear region on a segment or path.")
@click.argument("model", type=_MODEL, required=False)
@click.option("--start", metavar="FILE", help="Where the segment starts: .npy, .npz (key start) or an image.")
@click.option("--end", metavar="FILE", help="Where it ends: .npy, .npz (key end) or an image.")
@click.option("--points", metavar="FILE", help="Points of a path instead: .npy, or .npz (points, or start and end).")
@click.option("--closed", is_flag=True, help="Walk from the last point back to the first, too.")
@_model_options
@click.option("--scale", metavar="NUMBER", help="Pixels: input = (pixel * SCALE - MEAN) / STD; 1/255, for example.")
@click.option(
    "--mean", metavar="NUMBERS", help="Pixels: subtracted after scaling; one number or one per channel, a,b,c."
)
@click.option("--std", metavar="NUMBERS", help="Pixels: divided by; one number or one per channel, a,b,c.")
@click.option(
    "--engine",
    type=click.Choice(["sweep", "walk", "both"]),
    default="sweep",
    show_default=True,
    help="The algorithm: layer by layer, or from breakpoint to breakpoint; both compares them.",
)
@_precision_option
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there really is one.",
)
@_lowering_option
@click.option(
    "--lanes",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many places are walked, or regions swept, at once.",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    help="Choose the lanes for about so much memory (default: a quarter of what is free).",
)
@click.option("--max-regions", type=click.IntRange(min=1), metavar="N", help="Stop after N regions; partial result.")
@click.option("-o", "--out", "target", type=_TARGET, metavar="REGIONS.parquet", help="Write every region to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def walk(
    ctx: click.Context,
    /,
    model: Path | None,
    start: str | None,
    end: str | None,
    points: str | None,
    closed: bool,
    output_name: str | None,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    scale: str | None,
    mean: str | None,
    std: str | None,
    engine: str,
    precision: str,
    device: str,
    lowering: str,
    lanes: int | None,
    memory: int | None,
    max_regions: int | None,
    target: Path | None,
    as_json: bool,
) -> int:
    """Find every linear region of MODEL on the segment from START to END, or along a path of POINTS.

    Without MODEL, an embedded example is walked: from one handwritten digit to another.

    A FILE is .npy, .npz (file.npz:key names the array), or, for a network that takes images, an image of
    exactly its size.
    """
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        if model is None:
            if start or end or points:
                raise click.UsageError(
                    "give the MODEL to walk: only the embedded example goes without, and without points"
                )
            model, points, title = stack.enter_context(_example())
        elif points is None and (start is None or end is None):
            raise click.UsageError("give both --start and --end, or --points")
        elif points is not None and (start is not None or end is not None):
            raise click.UsageError("give either --points, or --start and --end")
        else:
            title = model.name
        if target is not None:
            store.check_writable(target, sources=_sources(model, start, end, points, fixed_inputs))
        network = _load(model, output_name, fixed_inputs, shapes, start, points)
        for notice in network.notices:
            _tell(f"Notice: {notice}")
        pixels = inputs.Pixels.choose(scale, mean, std, network.metadata)
        path_points = inputs.read_points(
            network.input_shape, start=start, end=end, points=points, closed=closed, pixels=pixels
        )
        with _ProgressBar(begun) as progress, _Interrupts() as stop:
            path = network.walk_path(
                path_points,
                closed=closed,
                engine=engine,
                precision=precision,
                device=device,
                lanes=lanes,
                memory=None if memory is None else memory * 10**6,
                max_regions=max_regions,
                progress=progress,
                stop=stop,
                lowering=lowering,
            )
    unwritten: OSError | None = None
    if target is not None:
        # Options may be left out, and tails are cut off: what was analysed is said as well.
        analysed = {"analysed_input": network.input_name, "analysed_output": network.output_name}
        options = {**ctx.params, **analysed, "notices": network.notices}
        try:
            store.write_regions(
                target, path, model=network.name, sha256=network.sha256, options=options, version=__version__
            )
        except OSError as error:
            # The walk may have taken hours: what can be printed still is.
            unwritten = error
    _print_walk(path, network, title, as_json)
    if unwritten is not None:
        raise InputError(f"the output {target} could not be written: {unwritten.strerror or unwritten}")
    return _conclude(path, max_regions)


@main.command(short_help="Write an ONNX model of outputs and slopes.")
@click.argument("model", type=_MODEL)
@click.option("-o", "--out", "target", type=_TARGET, required=True, metavar="OUT.onnx", help="The file to write.")
@_model_options
@_precision_option
def linearize(
    model: Path,
    target: Path,
    output_name: str | None,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    precision: str,
) -> int:
    """Write the linearized program of MODEL: an ONNX model that computes outputs and their slopes.

    Any onnxruntime runs it.
    """
    store.check_writable(target, sources=_sources(model, None, None, None, fixed_inputs))
    network = _load(model, output_name, fixed_inputs, shapes, None, None)
    for notice in network.notices:
        _tell(f"Notice: {notice}")
    store.write_bytes(target, network.linearize(precision=precision))
    _tell(f"wrote {target}")
    return 0


def _load(
    model: Path,
    output_name: str | None,
    fixed_inputs: Sequence[tuple[str, str]],
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    start: str | None,
    points: str | None,
) -> Network:
    """The network; sizes that the model leaves open are taken from the points, unless an option gives them."""
    import lronnx

    fixed = _read_fixed(fixed_inputs)
    known = _unique(shapes, "--shape")
    try:
        return lronnx.load(model, output=output_name, fixed_inputs=fixed, shapes=known)
    except InputError as error:
        value = getattr(error, "open_input", None)
        if value is None or value.name in fixed or value.name in known:
            raise
        shape = inputs.shape_from_points(value.shape, start=start, points=points)
        if shape is None:
            raise
    return lronnx.load(model, output=output_name, fixed_inputs=fixed, shapes={**known, value.name: shape})


def _read_fixed(fixed_inputs: Sequence[tuple[str, str]]) -> dict[str, NDArray[np.generic]]:
    return {name: inputs.read_array(spec, name) for name, spec in _unique(fixed_inputs, "--input").items()}


@contextlib.contextmanager
def _example() -> Iterator[tuple[Path, str, str]]:
    """The embedded network, its two points, and what to call them."""
    from importlib.resources import as_file, files

    import numpy as np

    folder = files("lronnx") / "example"
    try:
        with as_file(folder / "digits.onnx") as model, as_file(folder / "digits.npz") as points:
            with np.load(points, allow_pickle=False) as archive:
                labels = [str(archive[key]) for key in ("start_label", "end_label")]
            title = f"the embedded example {model.name}, from a handwritten {labels[0]} to a handwritten {labels[1]}"
            yield model, str(points), title
    except FileNotFoundError as error:
        raise InputError(f"the embedded example is not installed: {error.filename}") from None


def _sources(
    model: Path, start: str | None, end: str | None, points: str | None, fixed_inputs: Sequence[tuple[str, str]]
) -> dict[str, Path]:
    """The files that are read, none of which may be written over."""
    given = {"--start": start, "--end": end, "--points": points}
    given |= {f"--input {name}": spec for name, spec in fixed_inputs}
    files = {f"the file for {option}": inputs.split_spec(spec)[0] for option, spec in given.items() if spec is not None}
    return {"the model": model, **files}


def _unique(pairs: Sequence[tuple[str, Any]], option: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.UsageError(f"{option} names the same input twice")
    return found


def _print_walk(path: PathWalk, network: Network, title: str, as_json: bool) -> None:
    if as_json:
        _print_json(store.walk_to_json(path, model=network.name, version=__version__))
        return
    count = network.outputs
    analysed = (
        f"input '{network.input_name}' ({report.shape_text(network.input_shape)}), "
        f"output '{network.output_name}' ({count} number{'' if count == 1 else 's'}), {network.units} units"
    )
    operators = {node.label: node.op_type for node in network.graph.nodes}
    report.print_to(sys.stdout, *report.walk_report(path, title=title, analysed=analysed, operators=operators))


def _conclude(path: PathWalk, max_regions: int | None) -> int:
    """The exit code of a finished walk, and why on stderr if it is not a plain success."""
    stopped = path.partial and max_regions is not None and path.regions >= max_regions
    if stopped:
        _tell(f"Stopped after {path.regions} regions (--max-regions): the result is partial.")
    elif path.partial:
        _tell("Interrupted: the result holds what was walked from the start on and is marked partial.")
    if path.agreement is not None and not path.agreement.ok:
        _complain("walk and sweep disagree, do not rely on this result; please report the model")
        return SELF_CHECK_FAILED
    if not path.self_check.ok:
        _complain("the self-check failed, do not rely on this result; please report the model")
        return SELF_CHECK_FAILED
    return INTERRUPTED if path.partial and not stopped else 0


class _Interrupts:
    """Ctrl-C ends a walk once the stretches that were begun are done, so that none of them is lost; twice, at once."""

    def __enter__(self) -> Callable[[], Stop]:
        from lronnx.walker import Stop

        self._count = 0
        self._before = signal.signal(signal.SIGINT, self._note)
        return lambda: (Stop.NO, Stop.SOON, Stop.NOW)[min(self._count, 2)]

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *received: object) -> None:
        self._count += 1
        if self._count == 1:
            _tell("Interrupted: finishing the stretches that were begun; Ctrl-C again stops at once.")


class _ProgressBar:
    """Progress on stderr if that is a terminal, from the moment the run has taken a while."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._visible = sys.stderr.isatty()
        self._stack = contextlib.ExitStack()
        self._update: Callable[[Progress], None] | None = None

    def __enter__(self) -> Callable[[Progress], None]:
        return self._show

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _show(self, progress: Progress) -> None:
        if not self._visible or time.monotonic() - self._begun < PROGRESS_AFTER:
            return
        if self._update is None:
            self._update = self._start()
        self._update(progress)

    def _start(self) -> Callable[[Progress], None]:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[regions]} regions"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._stack.enter_context(bars)
        task = bars.add_task("walking", total=1.0, regions=0)
        return lambda progress: bars.update(task, completed=progress.fraction, regions=progress.regions)


def _inspection_json(inspection: Inspection) -> dict[str, Any]:
    def tensors(values: Any) -> list[dict[str, Any]]:
        return [{"name": v.name, "dtype": v.dtype, "shape": None if v.shape is None else list(v.shape)} for v in values]

    return {
        "model": inspection.name,
        "sha256": inspection.sha256,
        "producer": inspection.producer,
        "opsets": dict(inspection.opsets),
        "inputs": tensors(inspection.inputs),
        "outputs": tensors(inspection.outputs),
        "nodes": [
            {
                "index": node.index,
                "name": node.name,
                "label": node.label,
                "operator": node.op_type,
                "output": node.output,
                "shape": None if node.shape is None else list(node.shape),
                "kind": node.kind,
                "units": node.units,
                "reason": node.reason,
                "lowering": node.lowering or None,
            }
            for node in inspection.nodes
        ],
        "units": inspection.units,
        "piecewise_affine": inspection.piecewise_affine,
        "refusals": [
            {
                "index": refusal.index,
                "name": refusal.name,
                "operator": refusal.op_type,
                "output": refusal.output,
                "reason": refusal.reason,
            }
            for refusal in inspection.refusals
        ],
        "notices": list(inspection.notices),
        "problem": inspection.problem,
        "version": __version__,
    }


def _print_json(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, allow_nan=False))


def _tell(message: str) -> None:
    # Line by line: a message may list nodes, whose names may hold anything.
    click.echo("\n".join(report.clean(line) for line in message.split("\n")), err=True)


def _complain(message: str) -> None:
    _tell(f"Error: {message}")


def _discard_stdout() -> None:
    """Let the interpreter flush what nobody reads any more without complaining about it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
