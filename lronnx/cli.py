"""The command line: parses, calls the library, prints. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import click

from lronnx import __version__, inputs, report, store
from lronnx.errors import InputError, LronnxError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lronnx import study
    from lronnx.matching import LoadedModel
    from lronnx.network import Inspection, Network
    from lronnx.regions import PathWalk
    from lronnx.walker import Progress, Stop

SELF_CHECK_FAILED = 5
INCOMPLETE = 6
"""Some paths of a study could not be walked."""
TERMINATED = 143
"""128 + SIGTERM."""
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


class _Budget(click.ParamType):  # type: ignore[type-arg]
    """A number of regions, or of seconds, minutes or hours: ``("max_regions", n)`` or ``("max_seconds", s)``."""

    name = "budget"
    _UNITS: ClassVar = {"s": 1.0, "m": 60.0, "h": 3600.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        text = str(value).strip()
        try:
            if text[-1:] in self._UNITS:
                return "max_seconds", float(text[:-1]) * self._UNITS[text[-1]]
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"'{value}' is no budget; give seconds (30s, 5m, 1h) or a number of regions (5000)", param, ctx)
        return "max_regions", number


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


def _decorated(command: _Command, decorators: Sequence[Callable[[_Command], _Command]]) -> _Command:
    """The command with all of these options, the first of them first."""
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _input_options(command: _Command) -> _Command:
    """The options that say what a model file leaves open about its inputs."""
    decorators = [
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
    return _decorated(command, decorators)


def _model_options(command: _Command) -> _Command:
    """The options that say which function a model file stands for."""
    decorators = [
        click.option(
            "--output", "output_name", metavar="NAME", help="Analyse this output, tensor or node (default: the first)."
        ),
        _input_options,
    ]
    return _decorated(command, decorators)


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


def _pixel_options(command: _Command) -> _Command:
    """How pixels become inputs."""
    decorators = [
        click.option(
            "--scale", metavar="NUMBER", help="Pixels: input = (pixel * SCALE - MEAN) / STD; 1/255, for example."
        ),
        click.option(
            "--mean", metavar="NUMBERS", help="Pixels: subtracted after scaling; one number or one per channel, a,b,c."
        ),
        click.option("--std", metavar="NUMBERS", help="Pixels: divided by; one number or one per channel, a,b,c."),
    ]
    return _decorated(command, decorators)


def _engine_options(command: _Command) -> _Command:
    """By which algorithm and where to walk."""
    decorators = [
        click.option(
            "--engine",
            type=click.Choice(["sweep", "walk", "both"]),
            default="sweep",
            show_default=True,
            help="The algorithm: layer by layer, or from breakpoint to breakpoint; both compares them.",
        ),
        _precision_option,
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to compute; auto takes a GPU if there really is one.",
        ),
        _lowering_option,
        click.option(
            "--lanes",
            type=click.IntRange(min=1),
            metavar="N",
            help="How many places are walked, or regions swept, at once.",
        ),
    ]
    return _decorated(command, decorators)


def _data_options(command: _Command) -> _Command:
    """Around which samples of which data to walk, and on which paths."""
    decorators = [
        click.option(
            "--data", metavar="DATA", help=".npy, .npz, images in class folders or an archive of them, CIFAR, MNIST."
        ),
        click.option(
            "--paths",
            "family",
            type=click.Choice(["closed", "open", "pairs", "rays", "random", "file"]),
            default="closed",
            show_default=True,
            help="Closed: an image moved around a circle and back; open: not back; pairs: from sample to sample; "
            "rays: into random directions; random: closed, of random images; file: polylines in DATA.",
        ),
        click.option(
            "--split", "splits", multiple=True, metavar="NAME", help="Samples of this split (default: of all)."
        ),
        click.option("--class", "classes", multiple=True, metavar="NAME", help="Samples of this class, name or label."),
        click.option("--indices", metavar="0:100,205", help="Samples at these positions in their split."),
        click.option(
            "--samples", type=click.IntRange(min=1), metavar="N", help="At most N samples per split, drawn by the seed."
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything that is random."
        ),
        click.option(
            "--anchors", type=int, metavar="K", help="closed, open, random: points of the circle (default: 8)."
        ),
        click.option("--radius", type=float, metavar="R", help="closed, open, random: pixels to move by (default: 4)."),
        click.option(
            "--partner", type=click.Choice(["any", "same", "other"]), help="pairs: of which class (default: any)."
        ),
        click.option(
            "--per-sample", type=click.IntRange(min=1), metavar="N", help="pairs, rays: paths per sample (default: 1)."
        ),
        click.option("--length", type=float, metavar="L", help="rays: how long, in units of the network's input."),
        click.option(
            "--closed", is_flag=True, default=None, help="file: walk from the last point back to the first, too."
        ),
    ]
    return _decorated(command, decorators)


@click.group("lronnx", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lronnx")
def main() -> None:
    """Find exactly the linear regions that a piecewise-linear network (.onnx) crosses on a segment.

    \b
    lronnx walk              try it: an embedded network of handwritten digits
    lronnx inspect MODEL     what the network is made of, and whether it can be walked
    lronnx walk MODEL --start A.npy --end B.npy
    lronnx analyze MODEL --data IMAGES -o RUN     thousands of paths around the samples of a data set
    lronnx report RUN -o report.html              what that found, as a page of figures
    lronnx compare A B --points P.npy             whether two networks are the same function, and where not

    Exit codes: 0 done; 2 wrong usage or bad input file; 3 valid model but not piecewise affine;
    4 not a valid ONNX model; 5 the self-check failed (the result is written and marked); 6 some paths of a study
    could not be walked; 130 interrupted, 143 terminated (what was found is written and marked).
    """


@main.command(short_help="Show every node, and whether the network can be walked.")
@click.argument("model", type=_MODEL)
@_model_options
@_lowering_option
@click.option(
    "--plot",
    "picture",
    type=_TARGET,
    metavar="FILE.png|svg|html",
    help="Draw the graph, affine nodes folded into stages; html is interactive.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def inspect(
    model: Path,
    output_name: str | None,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    lowering: str,
    picture: Path | None,
    as_json: bool,
) -> int:
    """Show every node of MODEL: constant, affine or switching, with its number of units, and the verdict.

    Also for a network that is refused; the exit code then is 3, and 4 if onnxruntime cannot run it.
    """
    import lronnx

    if picture is not None:
        _check_picture(picture, None, _sources(model, None, None, None, fixed_inputs))
    inspection = lronnx.inspect(
        model,
        output=output_name,
        fixed_inputs=_read_fixed(fixed_inputs),
        shapes=_unique(shapes, "--shape"),
        lowering=lowering,
    )
    unwritten: list[str] = []
    if picture is not None:
        from lronnx.plot import network as drawing

        with _noting(unwritten, f"the picture {picture}"):
            store.write_bytes(picture, drawing.draw(picture.suffix, inspection, _command_line()))
    if as_json:
        _print_json(_inspection_json(inspection))
    else:
        report.print_to(sys.stdout, *report.inspect_report(inspection))
    if unwritten:
        raise InputError("\n".join(unwritten))
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
@_pixel_options
@_engine_options
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    help="Choose the lanes for about so much memory (default: a quarter of what is free).",
)
@click.option("--max-regions", type=click.IntRange(min=1), metavar="N", help="Stop after N regions; partial result.")
@click.option("-o", "--out", "target", type=_TARGET, metavar="REGIONS.parquet", help="Write every region to this file.")
@click.option(
    "--plot",
    "picture",
    type=_TARGET,
    metavar="FILE.png|svg|html",
    help="Draw the outputs, where each layer switches, and the regions' widths and slopes; html is interactive.",
)
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
    picture: Path | None,
    as_json: bool,
) -> int:
    """Find every linear region of MODEL on the segment from START to END, or along a path of POINTS.

    Without MODEL, an embedded example is walked: from one handwritten digit to another.

    A FILE is .npy, .npz (file.npz:key names the array), or, for a network that takes images, an image of
    exactly its size.
    """
    begun = time.monotonic()
    _settle()
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
        sources = _sources(model, start, end, points, fixed_inputs)
        if target is not None:
            store.check_writable(target, sources=sources)
        if picture is not None:
            _check_picture(picture, target, sources)
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
    unwritten: list[str] = []
    try:
        if target is not None:
            # Options may be left out, and tails are cut off: what was analysed is said as well.
            analysed = {"analysed_input": network.input_name, "analysed_output": network.output_name}
            options = {**ctx.params, **analysed, "notices": network.notices}
            with _noting(unwritten, f"the output {target}"):
                store.write_regions(
                    target, path, model=network.name, sha256=network.sha256, options=options, version=__version__
                )
        if picture is not None:
            from lronnx.plot import walk as drawing

            about = drawing.About(title, _analysed(network), _command_line())
            with _noting(unwritten, f"the picture {picture}"):
                store.write_bytes(picture, drawing.draw(picture.suffix, path, network, path_points, pixels, about))
    finally:
        # The walk may have taken hours: what can be printed is, whatever else went wrong.
        _print_walk(path, network, title, as_json)
    if unwritten:
        raise InputError("\n".join(unwritten))
    return _conclude(path, max_regions)


@contextlib.contextmanager
def _noting(problems: list[str], what: str) -> Iterator[None]:
    """Takes note of what could not be written instead of raising it."""
    try:
        yield
    except OSError as error:
        problems.append(f"{what} could not be written: {error.strerror or error}")


def _check_picture(picture: Path, target: Path | None, sources: dict[str, Path]) -> None:
    """Raise InputError if no picture could be drawn and written there, before any work is done for it."""
    from lronnx import plot

    plot.check_drawable(picture.suffix, f"--plot {picture}")
    store.check_writable(picture, sources={**sources, **({} if target is None else {"the regions file (-o)": target})})
    if target is not None and os.path.realpath(picture) == os.path.realpath(target):
        raise InputError(f"--plot and -o are the same file, {picture}: choose another name")


@main.command(short_help="Walk thousands of paths near the data; resumable.")
@click.argument("model", type=_MODEL, required=False)
@click.option(
    "-o", "--out", "target", required=True, metavar="RUN", help="The run folder: a path or a URL (s3://, ...)."
)
@_data_options
@click.option(
    "--corrupted-samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw samples with wrong labels apart, at most N; --samples is about the others then.",
)
@click.option("--corrupted", metavar="FILE", help="Whose training labels are wrong: positions or a mask, .npy or .npz.")
@_model_options
@_pixel_options
@click.option(
    "--layout",
    type=click.Choice(["chw", "hwc"]),
    help="Where the network's input has its channels, if its shape does not tell.",
)
@_engine_options
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    default=1000,
    show_default=True,
    help="About how much one worker's walks may take.",
)
@click.option("--regions", is_flag=True, help="Keep every region, too: one Parquet file per path.")
@click.option(
    "--units",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of how many paths, spread evenly, to keep how often each unit switches (default: 64).",
)
@click.option(
    "--exhibits",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of how many paths with the most and the least deviation to keep every region, for pictures (default: 2).",
)
@click.option(
    "--budget", type=_Budget(), metavar="30s|N", help="End a segment's walk after this time, or after N regions."
)
@click.option(
    "--estimate",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="FRACTION",
    help="Walk random parts of every segment, this fraction of it, and estimate the rest.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes on this machine (default: one per core)."
)
@click.option("--scheduler", metavar="ADDRESS", help="Walk on the dask cluster of this scheduler.")
@click.option("--cluster", type=click.Choice(["local"]), help="Walk on a dask cluster made on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object instead of a table.")
def analyze(
    model: Path | None,
    target: str,
    data: str | None,
    family: str,
    splits: Sequence[str],
    classes: Sequence[str],
    indices: str | None,
    samples: int | None,
    corrupted_samples: int | None,
    corrupted: str | None,
    seed: int,
    anchors: int | None,
    radius: float | None,
    partner: str | None,
    per_sample: int | None,
    length: float | None,
    closed: bool | None,
    output_name: str | None,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    scale: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None,
    engine: str,
    precision: str,
    device: str,
    lowering: str,
    lanes: int | None,
    memory: int,
    regions: bool,
    units: int | None,
    exhibits: int | None,
    budget: tuple[str, float] | None,
    estimate: float | None,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    as_json: bool,
) -> int:
    """Walk MODEL along the paths of a FAMILY around the samples of DATA, write every segment's figures, and sum up.

    The same command goes on with a run that was interrupted, however it ended. RUN/segments holds one row per
    segment (Parquet), RUN/summary.json the statistics.

    Without MODEL and DATA: the embedded network, and the handwritten digits that it was trained and tested with.
    """
    from lronnx import study

    if scheduler is not None and (cluster is not None or workers is not None):
        raise click.UsageError("--scheduler names a cluster that has its workers: leave out --cluster and --workers")
    if estimate is not None and not (units is None and exhibits is None):
        raise click.UsageError("--estimate does not walk all of a path: leave out --units and --exhibits")
    if exhibits and budget is not None and budget[0] == "max_seconds" and not regions:
        raise click.UsageError("--exhibits walks paths again, which a budget of seconds ends elsewhere: add --regions")
    settings = study.Settings(
        engine=engine,
        precision=precision,
        device=device,
        lanes=lanes,
        memory=memory * 10**6,
        lowering=lowering,
        estimate=estimate,
        regions=regions,
        units=study.UNITS if units is None else units,
        seed=seed,
        **({} if budget is None else {budget[0]: budget[1]}),  # type: ignore[arg-type]
    )
    begun = time.monotonic()
    embedded = False
    _settle()
    with contextlib.ExitStack() as stack:
        if model is None:
            if data is not None:
                raise click.UsageError(
                    "give the MODEL to walk: only the embedded example goes without, and without DATA"
                )
            model, data = stack.enter_context(_example_data())
            embedded = True
        elif data is None:
            raise click.UsageError("give --data: the samples to walk around")
        fixed, known = _read_fixed(fixed_inputs), _unique(shapes, "--shape")
        network = _load(model, output_name, fixed_inputs, shapes, None, None)
        for notice in network.notices:
            _tell(f"Notice: {notice}")
        planned = study.plan(
            network,
            data,
            family,
            splits=splits,
            classes=classes,
            indices=indices,
            samples=samples,
            corrupted_samples=corrupted_samples,
            corrupted=None if corrupted is None else inputs.read_array(corrupted, "corrupted"),
            scale=scale,
            mean=mean,
            std=std,
            layout=layout,
            settings=settings,
            output=output_name,
            fixed_inputs=fixed,
            shapes=known,
            anchors=anchors,
            radius=radius,
            partner=partner,
            per_sample=per_sample,
            length=length,
            closed=closed,
            # The embedded data lie wherever lronnx is installed.
            about={"command": _command_line(), "data": Path(data).name if embedded else data},
        )
        _tell(planned.told)
        crew = study.Crew(workers, scheduler, cluster is not None)
        interrupts = _Interrupts("paths", raises=True)
        try:
            with _StudyBar() as progress, interrupts as stop:
                ended = planned.run(
                    target,
                    crew,
                    progress=progress,
                    stop=stop,
                    notice=lambda text: _tell(f"Notice: {text}"),
                    exhibits=study.EXHIBITS if exhibits is None else exhibits,
                )
        except KeyboardInterrupt:
            _tell("Stopped at once; what was finished is safe. The same command goes on from here.")
            return TERMINATED if interrupts.terminated else INTERRUPTED
    _tell_end(ended, time.monotonic() - begun)
    if ended.summary is not None:
        if as_json:
            _print_json(dict(ended.summary))
        else:
            report.print_to(
                sys.stdout, *report.summary_report(ended.summary, network.name, data, operators=_operators(network))
            )
        if not ended.summary["totals"]["self_check"]["ok"]:
            _complain("the self-check failed on some paths, do not rely on this result; please report the model")
            return SELF_CHECK_FAILED
        return 0
    return INTERRUPTED if ended.interrupted else INCOMPLETE


def _tell_end(ended: study.Ended, seconds: float, *, kept: bool = True) -> None:
    """What the run did, in a line, and what is missing. ``kept``: whether there is a folder that lasts."""
    walked = ended.done - ended.resumed
    before = f" ({ended.resumed} were there already)" if ended.resumed else ""
    paths = "path" if walked == 1 else "paths"
    where = f"are in {ended.shown}" if kept else "are done"
    _tell(f"{walked} {paths} walked in {seconds:.1f} s{before}; {ended.done} of {ended.total} {where}")
    for path, problem in list(ended.failed.items())[:10]:
        _complain(f"path {path} could not be walked: {problem}")
    if len(ended.failed) > 10:
        _complain(f"and {len(ended.failed) - 10} more")
    if ended.done < ended.total and kept:
        _tell("The same command goes on from here.")


@main.command("report", short_help="Show what studies found: a page of figures.")
@click.argument("specs", metavar="RUN [RUN ...]", nargs=-1, required=True)
@click.option("-o", "--out", "target", type=_TARGET, metavar="REPORT.html", help="Write the page to this file.")
@click.option(
    "--png",
    type=_TARGET,
    metavar="DIR",
    help="Write every figure, and its data as CSV, to this folder; the regions of single paths are in RUN/exhibits.",
)
@click.option("--svg", type=_TARGET, metavar="DIR", help="The same as SVG.")
@click.option("--title", metavar="TEXT", help="What the page is called.")
@click.option(
    "--against",
    metavar="NAME",
    help="Compare runs against this number of their networks: width, depth, units, parameters, epoch, label_noise, or "
    "any in the models' metadata (default: the first of epoch, width, depth and units that differs).",
)
def make_report(
    specs: Sequence[str],
    target: Path | None,
    png: Path | None,
    svg: Path | None,
    title: str | None,
    against: str | None,
) -> int:
    """Show what is in one or several RUN folders of lronnx analyze, finished or not, as a page that opens offline.

    What was run, the key figures, distributions by group with tests, which layers and units bend the network, and
    where, and the paths with the most and the least deviation. Several runs are compared, too: each measure against
    width, depth, epoch or whatever differs, with the test error beside it.
    """
    from lronnx import plot, runs

    folders = {form: folder for form, folder in (("png", png), ("svg", svg)) if folder is not None}
    if target is None and not folders:
        raise click.UsageError("say what to write: -o REPORT.html for a page, --png DIR or --svg DIR for its figures")
    begun = time.monotonic()
    if target is not None:
        _check_page(target, specs)
    for form, folder in folders.items():
        plot.check_installed(*plot.FORMS[f".{form}"])
        _check_folder(folder, f"--{form}")
    from lronnx.plot import report as drawing

    read = [runs.read(spec) for spec in specs]
    for notice in drawing.distinct(read)[1]:
        _tell(f"Notice: {notice}")
    if target is not None:
        content = drawing.page_of(read, title=title, against=against, command=_command_line())
        store.write_bytes(target, content)
        _tell(f"wrote {target}: {len(content) / 1e6:.1f} MB, in {time.monotonic() - begun:.1f} s")
        if len(content) > drawing.MOST_BYTES:
            _tell(
                f"Notice: a page is meant to have at most {drawing.MOST_BYTES / 1e6:.1f} MB, and so much cannot be "
                "told in less: give fewer runs, or use --png DIR or --svg DIR"
            )
    if folders:
        from lronnx.plot import still

        columns, pages = drawing.figures(read, against)
        for form, folder in folders.items():
            begun = time.monotonic()
            forms: list[Literal["png", "svg"]] = ["png" if form == "png" else "svg"]
            written = still.write(columns, folder, forms) + still.write(pages, folder, forms, width=drawing.WIDE)
            count = len(columns) + len(pages)
            _tell(
                f"wrote {count} figure{'' if count == 1 else 's'}, {len(written)} files, to {folder} in "
                f"{time.monotonic() - begun:.1f} s"
            )
    return 0


@main.command(short_help="Compare networks exactly on the same paths.")
@click.argument("models", metavar="A.onnx B.onnx [...]", nargs=-1, type=_MODEL, required=True)
@click.option("--start", metavar="FILE", help="A single segment: where it starts, .npy, .npz (key start) or an image.")
@click.option("--end", metavar="FILE", help="Where it ends: .npy, .npz (key end) or an image.")
@click.option("--points", metavar="FILE", help="Points of a single path: .npy, or .npz (points, or start and end).")
@_data_options
@click.option(
    "-o",
    "--out",
    "target",
    metavar="DIR",
    help="Keep all of it in this folder, a path or a URL: comparison.json, a page, and what lronnx report reads.",
)
@click.option("--output", "outputs", multiple=True, metavar="[K=]NAME", help="Analyse this output, tensor or node.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="FIRST=[K:]OTHER",
    help="The tensor OTHER of the other model(s) stands for the tensor FIRST, input or output, of the first one.",
)
@click.option(
    "--layout",
    "layouts",
    multiple=True,
    metavar="[K=]chw|hwc",
    help="Where the input has its channels, if its shape does not tell.",
)
@click.option("--scale", "scales", multiple=True, metavar="[K=]NUMBER", help="Pixels: (pixel * SCALE - MEAN) / STD.")
@click.option("--mean", "means", multiple=True, metavar="[K=]NUMBERS", help="One number or one per channel, a,b,c.")
@click.option("--std", "stds", multiple=True, metavar="[K=]NUMBERS", help="One number or one per channel, a,b,c.")
@_input_options
@click.option(
    "--engine",
    type=click.Choice(["sweep", "walk"]),
    default="sweep",
    show_default=True,
    help="The algorithm: layer by layer, or from breakpoint to breakpoint.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there really is one.",
)
@_lowering_option
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MB",
    default=1000,
    show_default=True,
    help="About how much one worker's walks may take.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes on this machine (default: one per core)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def compare(
    models: Sequence[Path],
    start: str | None,
    end: str | None,
    points: str | None,
    data: str | None,
    family: str,
    splits: Sequence[str],
    classes: Sequence[str],
    indices: str | None,
    samples: int | None,
    seed: int,
    anchors: int | None,
    radius: float | None,
    partner: str | None,
    per_sample: int | None,
    length: float | None,
    closed: bool | None,
    target: str | None,
    outputs: Sequence[str],
    maps: Sequence[str],
    layouts: Sequence[str],
    scales: Sequence[str],
    means: Sequence[str],
    stds: Sequence[str],
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    fixed_inputs: Sequence[tuple[str, str]],
    engine: str,
    device: str,
    lowering: str,
    memory: int,
    workers: int | None,
    as_json: bool,
) -> int:
    """Compare two or more networks, each with the first: are they the same function on these paths, region by region,
    where do they part, and how nonlinear is each?

    Paths are in the first model's input: of points in a file, or of a family around the samples of DATA as for lronnx
    analyze. Inputs and outputs of the others are matched with the first's, and how is said. Options with K= are about
    one model, K being its number (1, 2, ...) or its name as given; without, about all.
    """
    from lronnx import comparison_report, matching, side_by_side, study

    if len(models) < 2:
        raise click.UsageError("give at least two models: the first one, and what to compare with it")
    by_points = points is not None or start is not None or end is not None
    if by_points == (data is not None):
        raise click.UsageError("give either --data, or --points, or --start and --end: what to walk along")
    if points is None and by_points and (start is None or end is None):
        raise click.UsageError("give both --start and --end, or --points")
    if points is not None and (start is not None or end is not None):
        raise click.UsageError("give either --points, or --start and --end")
    chosen = {
        "--paths": family != "closed" and family,
        "--split": splits,
        "--class": classes,
        "--indices": indices,
        "--samples": samples,
        "--anchors": anchors,
        "--radius": radius,
        "--partner": partner,
        "--per-sample": per_sample,
        "--length": length,
    }
    if by_points and (unused := [option for option, value in chosen.items() if value]):
        raise click.UsageError(f"{', '.join(unused)}: these are about paths around --data, not about given points")
    begun = time.monotonic()
    _settle()
    names = [str(model) for model in models]
    told = {
        option: matching.per_model(values, names, option)
        for option, values in (
            ("--output", outputs),
            ("--layout", layouts),
            ("--scale", scales),
            ("--mean", means),
            ("--std", stds),
        )
    }
    if target is not None and "://" not in target:
        _check_folder(Path(target), "-o")
    loaded = _load_models(models, told["--output"], maps, fixed_inputs, shapes, start, points)
    pixels = [
        inputs.Pixels.choose(told["--scale"][at], told["--mean"][at], told["--std"][at], one.network.metadata)
        for at, one in enumerate(loaded)
    ]
    mapped = _check_pixels(pixels)
    settings = study.Settings(engine=engine, device=device, memory=memory * 10**6, lowering=lowering, seed=seed)
    about = {"command": _command_line()}

    def made(network: Network) -> study.Study:
        if data is None:
            # Where they say how one model's inputs become another's, options are of use for points of any kind.
            how = replace(pixels[0], asked=pixels[0].asked and not mapped)
            read = inputs.read_points(
                network.input_shape, start=start, end=end, points=points, closed=bool(closed), pixels=how
            )
            return side_by_side.on_points(read, bool(closed), settings, about, network)
        return study.plan(
            network,
            data,
            family,
            splits=splits,
            classes=classes,
            indices=indices,
            samples=samples,
            scale=told["--scale"][0],
            mean=told["--mean"][0],
            std=told["--std"][0],
            layout=told["--layout"][0],
            settings=settings,
            anchors=anchors,
            radius=radius,
            partner=partner,
            per_sample=per_sample,
            length=length,
            closed=closed,
            about={**about, "data": data},
        )

    planned = side_by_side.plan(loaded, made, layouts=told["--layout"], pixels=pixels)
    if planned.studies[0].told:
        _tell(planned.studies[0].told)
    for side in planned.sides:
        for text in side.network.notices:
            _tell(f"Notice: {side.label}: {text}")
    interrupts = _Interrupts("paths", raises=True)
    try:
        with _StudyBar() as progress, interrupts as stop:
            ended, result = planned.run(
                target,
                study.Crew(workers),
                progress=progress,
                stop=stop,
                notice=lambda text: _tell(f"Notice: {text}"),
            )
    except KeyboardInterrupt:
        kept = "what was finished is safe. The same command goes on from here." if target else "nothing was kept (-o)."
        _tell(f"Stopped at once; {kept}")
        return TERMINATED if interrupts.terminated else INTERRUPTED
    _tell_end(ended, time.monotonic() - begun, kept=target is not None)
    if result is None:
        if target is None:
            _tell("Nothing is summed up unless all paths are done, and nothing was kept: -o DIR would keep it.")
        return INTERRUPTED if ended.interrupted else INCOMPLETE
    if as_json:
        _print_json(result)
    else:
        report.print_to(sys.stdout, *comparison_report.comparison_report(result))
    if target is not None:
        _write_comparison(target, result)
    failed = [model["label"] for model in result["models"] if not model["self_check"]["ok"]]
    if failed:
        _complain(f"the self-check failed for {', '.join(failed)}, do not rely on this result; please report the model")
        return SELF_CHECK_FAILED
    return 0


def _check_pixels(pixels: Sequence[inputs.Pixels]) -> bool:
    """Whether inputs of the first model are mapped to those of others by what is known of both models' pixels.

    Raises InputError if an option about another model is of no use.
    """
    for number, one in enumerate(pixels[1:], 2):
        if one.asked and (one.scale is None or pixels[0].scale is None):
            lacking = number if one.scale is None else 1
            raise InputError(
                f"--scale, --mean and --std of model {number} say how its inputs and those of model 1 are made of the "
                f"same pixels, but nothing says so of model {lacking}: give --scale {lacking}=NUMBER, too"
            )
    return pixels[0].scale is not None and any(one.scale is not None for one in pixels[1:])


def _load_models(
    models: Sequence[Path],
    outputs: Sequence[str | None],
    maps: Sequence[str],
    fixed_inputs: Sequence[tuple[str, str]],
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    start: str | None,
    points: str | None,
) -> list[LoadedModel]:
    """The networks; sizes that the first leaves open are taken from the points, unless an option gives them."""
    from functools import partial

    from lronnx import matching

    load = partial(
        matching.load_models,
        models,
        outputs={number: name for number, name in enumerate(outputs, 1) if name is not None},
        maps=[matching.parse_map(text, [str(model) for model in models]) for text in maps],
        fixed_inputs=_read_fixed(fixed_inputs),
        shapes=_unique(shapes, "--shape"),
    )
    try:
        return load()
    except InputError as error:
        value = getattr(error, "open_input", None)
        shape = None if value is None else inputs.shape_from_points(value.shape, start=start, points=points)
        if shape is None:
            raise
    return load(sample_shape=shape)


def _write_comparison(target: str, result: dict[str, Any]) -> None:
    """Write the page of a comparison beside its result."""
    from lronnx import plot, runs, side_by_side
    from lronnx.places import Place

    try:
        plot.check_installed(*plot.FORMS[".html"])
    except InputError as error:
        _tell(f"Notice: no page was written: {error}")
        return
    from lronnx.plot import pairs

    read = [runs.read(folder) for folder in side_by_side.run_folders(target)]
    page = pairs.page_of(result, read, side_by_side.kept_differences(target, result), command=_command_line())
    place = Place.open(target)
    place.write(side_by_side.PAGE, page)
    _tell(f"wrote {place.shown}/{side_by_side.PAGE}: {len(page) / 1e6:.1f} MB")


def _check_page(target: Path, specs: Sequence[str]) -> None:
    """Raise InputError if no page could be written there, before any work is done for it."""
    from lronnx import plot, run_folder

    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {target}: a report is a page, .html; --png DIR and --svg DIR write its figures")
    plot.check_drawable(".html", f"-o {target}")
    _check_outside(target, "-o")
    names = (run_folder.MANIFEST, run_folder.SUMMARY)
    store.check_writable(target, sources={f"{name} of {spec}": Path(spec) / name for spec in specs for name in names})


def _check_outside(target: Path, option: str) -> None:
    """Raise InputError for a place in a run folder, which holds nothing but its run."""
    from lronnx import run_folder

    resolved = target.resolve()
    for folder in (resolved, *resolved.parents):
        try:
            manifest = json.loads((folder / run_folder.MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(manifest, dict) and {"format", "study"} <= manifest.keys():
            raise InputError(f"{option} {target}: this is inside of the run folder {folder}; write it beside that")


def _check_folder(folder: Path, option: str) -> None:
    """Raise InputError if no files could be written to a folder, which need not exist, before any work is done."""
    _check_outside(folder, option)
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{option} {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{option} {folder}: {there} is write-protected")


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


def _settle() -> None:
    """Prepare this process, which belongs to the command alone, for walking."""
    from lronnx import session

    session.keep_freed_memory()


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
    import numpy as np

    with _embedded("digits.onnx") as model, _embedded("digits.npz") as points:
        with np.load(points, allow_pickle=False) as archive:
            labels = [str(archive[key]) for key in ("start_label", "end_label")]
        title = f"the embedded example {model.name}, from a handwritten {labels[0]} to a handwritten {labels[1]}"
        yield model, str(points), title


@contextlib.contextmanager
def _example_data() -> Iterator[tuple[Path, str]]:
    """The embedded network, and the images that it was trained and tested with."""
    with _embedded("digits.onnx") as model, _embedded("digits_data.npz") as data:
        yield model, str(data)


@contextlib.contextmanager
def _embedded(name: str) -> Iterator[Path]:
    """A file that comes with lronnx."""
    from importlib.resources import as_file, files

    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(as_file(files("lronnx") / "example" / name))
        except FileNotFoundError as error:
            raise InputError(f"the embedded example is not installed: {error.filename}") from None
        if not path.exists():
            raise InputError(f"the embedded example is not installed: {path}")
        yield path


def _sources(
    model: Path, start: str | None, end: str | None, points: str | None, fixed_inputs: Sequence[tuple[str, str]]
) -> dict[str, Path]:
    """The files that are read, none of which may be written over."""
    given = {"--start": start, "--end": end, "--points": points}
    given |= {f"--input {name}": spec for name, spec in fixed_inputs}
    files = {f"the file for {option}": inputs.split_spec(spec)[0] for option, spec in given.items() if spec is not None}
    return {"the model": model, **files}


def _command_line() -> str:
    """The command as it was given, to be repeated. What stands behind the question mark of a URL may be secret."""
    return shlex.join(["lronnx", *(re.sub(r"^(\w+://[^?]*)\?.*", r"\1", text) for text in sys.argv[1:])])


def _unique(pairs: Sequence[tuple[str, Any]], option: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.UsageError(f"{option} names the same input twice")
    return found


def _print_walk(path: PathWalk, network: Network, title: str, as_json: bool) -> None:
    if as_json:
        _print_json(store.walk_to_json(path, model=network.name, version=__version__))
        return
    shown = report.walk_report(path, title=title, analysed=_analysed(network), operators=_operators(network))
    report.print_to(sys.stdout, *shown)


def _analysed(network: Network) -> str:
    """Which function was walked."""
    count = network.outputs
    return (
        f"input '{network.input_name}' ({report.shape_text(network.input_shape)}), "
        f"output '{network.output_name}' ({count} number{'' if count == 1 else 's'}), {network.units} units"
    )


def _operators(network: Network) -> dict[str, str]:
    """The operators of nodes, by label."""
    return {node.label: node.op_type for node in network.graph.nodes}


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
        check = path.self_check
        _complain(
            "the self-check failed, do not rely on this result; please report the model: "
            f"{check.contradictions} contradictions, {check.end_pattern_mismatches} mismatches of the pattern, outputs "
            f"within {check.max_value_error:.2e} of the model's own where rounding explains {check.value_tolerance:.2e}"
        )
        return SELF_CHECK_FAILED
    return INTERRUPTED if path.partial and not stopped else 0


class _Interrupts:
    """Ctrl-C ends a run once what was begun is done, so that none of it is lost; twice, at once. SIGTERM, at once.

    ``begun``: what is finished. ``raises``: at once means in the middle of whatever goes on, by a KeyboardInterrupt;
    otherwise whoever asks is told.
    """

    def __init__(self, begun: str = "stretches", *, raises: bool = False) -> None:
        self._begun = begun
        self._raises = raises
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}
        self.terminated = False

    def __enter__(self) -> _Interrupts:
        for received in (signal.SIGINT, signal.SIGTERM):
            self._before[received] = signal.signal(received, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for received, before in self._before.items():
            signal.signal(received, before)

    def __call__(self) -> Stop:
        from lronnx.walker import Stop

        return (Stop.NO, Stop.SOON, Stop.NOW)[min(self._count, 2)]

    def _note(self, received: int, *frame: object) -> None:
        if received == signal.SIGTERM:
            self.terminated, self._count = True, 2
        else:
            self._count += 1
        if self._count >= 2 and self._raises:
            raise KeyboardInterrupt
        if self._count == 1:
            _tell(f"Interrupted: finishing the {self._begun} that were begun; Ctrl-C again stops at once.")


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


class _StudyBar:
    """Progress of a study on stderr if that is a terminal: paths, their rate and the time that is left."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._update: Callable[[study.Progress], None] | None = None

    def __enter__(self) -> Callable[[study.Progress], None]:
        return self._show

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _show(self, progress: study.Progress) -> None:
        if not sys.stderr.isatty():
            return
        if self._update is None:
            self._update = self._start(progress)
        self._update(progress)

    def _start(self, first: study.Progress) -> Callable[[study.Progress], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        begun = time.monotonic()
        bars = Bars(
            TextColumn("walking"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("paths, {task.fields[rate]} left:"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._stack.enter_context(bars)
        task = bars.add_task("walking", total=first.total, completed=first.before, rate="", failed="")

        def update(progress: study.Progress) -> None:
            seconds = max(time.monotonic() - begun, 1e-3)
            paths, regions = (progress.done - progress.before) / seconds, progress.regions / seconds
            pace = f"{paths:.1f}/s" if paths >= 1 else f"{60 * paths:.1f}/min"
            failed = f"{progress.failed} failed" if progress.failed else ""
            bars.update(task, completed=progress.done, rate=f"{pace}, {regions:,.0f} regions/s,", failed=failed)

        return update


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
                "outputs": list(node.outputs),
                "reads": list(node.reads),
            }
            for node in inspection.nodes
        ],
        "analysed_input": inspection.input_name,
        "analysed_output": inspection.output_name,
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
