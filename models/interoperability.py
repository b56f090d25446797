"""Shows that it does not matter to lronnx which framework a network comes from.

``python -m models.interoperability -o DIR`` trains small networks for scikit-learn's digits, loads the same weights
into PyTorch, Keras, JAX and scikit-learn, exports each by every exporter that the framework has, and lets
``lronnx walk`` find the regions of each file and ``lronnx compare`` what they have in common with those of the first
one. It takes a minute or two on a CPU. ``DIR`` then holds the files, the points of the paths (``points.npz``), the
table that is printed (``interoperability.txt``) and all that was found (``interoperability.json``). The exit code is 1
if networks of the same weights do not have identical regions.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import onnx
import onnxruntime
from rich.console import Console

from models.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.frameworks import Digits, Made

INSTALL = "pip install '.[interoperability]'"
# What each framework and its exporters need: name of the module, name of the distribution.
NEEDED = {
    "scikit-learn": {"sklearn": "scikit-learn", "skl2onnx": "skl2onnx"},
    "PyTorch": {"torch": "torch", "onnxscript": "onnxscript"},
    "Keras": {"tensorflow": "tensorflow", "keras": "keras", "tf2onnx": "tf2onnx"},
    "JAX": {"jax": "jax", "flax": "flax", "jax2onnx": "jax2onnx"},
}
TRAINERS = ("scikit-learn", "PyTorch")  # the shared weights are trained in these two
OTHERS = tuple(name for name in NEEDED if name not in TRAINERS)
DIGITS_OF_POINTS = (3, 8, 5, 0)
TOLERANCE = 1e-4  # of logits around 10, computed in float32 in another order
IDENTICAL = "identical regions"
RESULTS, TABLE = "interoperability.json", "interoperability.txt"


class Failed(RuntimeError):
    """Something that was to agree does not, or lronnx ended with an error."""


def missing(framework: str) -> list[str]:
    """The modules that a framework needs and that are not installed."""
    return [module for module in NEEDED[framework] if importlib.util.find_spec(module) is None]


def versions() -> dict[str, str]:
    """What is installed of all frameworks, their exporters and what they share; of lronnx, too."""
    wanted = [name for needed in NEEDED.values() for name in needed.values()]
    alternatives = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
    found = {"python": platform.python_version()}
    for name in (*wanted, "numpy", "onnx", "onnxruntime", "lronnx"):
        for distribution in alternatives.get(name, (name,)):
            try:
                found[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            break
    return found


def make(frameworks: Sequence[str], *, epochs: int, seed: int) -> tuple[Iterator[Made], dict[str, Digits]]:
    """The networks, one after the other, the first of each kind before the others; and each kind's digits.

    ``frameworks``: keys of :data:`NEEDED`.
    """
    import torch

    from models import frameworks as made

    torch.set_num_threads(1)  # sums in one order, so that the same seed gives the same networks
    grey = made.load(seed)
    digits = {"cnn": made.coloured(grey, seed)}

    def networks() -> Iterator[Made]:
        mlp = made.train_mlp(grey, epochs=2 * epochs, seed=seed)
        cnn = made.train_residual(digits["cnn"], epochs=epochs, seed=seed)
        own = {"epochs": epochs, "seed": seed}
        yield from made.sklearn_mlp(mlp)
        yield from made.torch_mlp(mlp)
        if "Keras" in frameworks:
            yield from made.keras_mlp(mlp)
        if "JAX" in frameworks:
            yield from made.jax_mlp(mlp)
        yield from made.torch_residual(cnn)
        if "Keras" in frameworks:
            yield from made.keras_residual(cnn)
        if "JAX" in frameworks:
            yield from made.jax_residual(cnn)
        yield from made.sklearn_own(grey, **own)
        yield from made.torch_own(grey, **own)
        if "Keras" in frameworks:
            yield from made.keras_own(grey, **own)
        if "JAX" in frameworks:
            yield from made.jax_own(grey, **own)

    return networks(), {"": grey, **digits}


def describe(made: Made, digits: Digits) -> dict[str, Any]:
    """What is known of a network without lronnx: how it was written, and whether all compute the same.

    Raises:
        Failed: onnxruntime computes something else from the file than the framework does.
    """
    from models.frameworks import arranged

    name = f"{made.network} of {made.framework} by {made.exporter}"
    predicted = log_probabilities(made.predict(digits.test_images))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # jax2onnx notes shapes of values in between that onnxruntime corrects
    session = onnxruntime.InferenceSession(made.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [declared] = session.get_inputs()
    outputs = session.run(
        [made.output] if made.output else None, {declared.name: arranged(digits.test_images, made.layout)}
    )
    computed = log_probabilities(np.log(outputs[0]) if made.probabilities else outputs[0])
    exported = float(np.abs(computed - predicted).max())
    if not exported <= TOLERANCE:
        raise Failed(f"{name}: what onnxruntime computes differs by {exported:.1e} from what the framework does")
    kept, rounded = weights(made)
    nodes = Counter(node.op_type for node in made.model.graph.node)
    return {
        "network": made.network,
        "framework": made.framework,
        "exporter": made.exporter,
        "file": file_name(made),
        "input": declared.name,
        "layout": made.layout,
        "output": made.output,
        "opset": next(entry.version for entry in made.model.opset_import if not entry.domain),
        "operators": dict(nodes),
        "batch_norms": made.batch_norms,
        "batch_norms_written": nodes["BatchNormalization"],
        "weights_as_trained": kept,
        "weights_rounded_again": rounded,
        "accuracy": float((predicted.argmax(1) == digits.test_labels).mean()),
        "onnxruntime_differs_by": exported,
    }


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """What logits (N, classes) say, without the constant that a softmax takes from them."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def weights(made: Made) -> tuple[int, int]:
    """How many arrays of numbers in a file are one of the framework's own, bit for bit, and how many are not.

    An array may be transposed, which changes no number. Single numbers are not counted.
    """
    graph = made.model.graph
    tensors = [*graph.initializer]
    tensors += [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in tensors]
    own = {np.sort(parameter, axis=None).tobytes() for parameter in made.parameters}
    found = [
        np.sort(array, axis=None).tobytes() in own for array in arrays if array.dtype.kind == "f" and array.size > 1
    ]
    return sum(found), len(found) - sum(found)


def file_name(made: Made) -> str:
    """Such as ``cnn_keras_model-export.onnx``."""
    words = (made.network.replace("'s", "").replace("'", ""), made.framework, made.exporter)
    return "_".join(re.sub(r"[^a-z0-9]+", "-", word.lower()) for word in words) + ".onnx"


def walked(path: Path, points: Path, key: str, output: str | None) -> dict[str, Any]:
    """What ``lronnx walk`` finds along the points."""
    chosen = ["--output", output] if output else []
    found = lronnx("walk", path, "--points", f"{points}:{key}", *chosen)
    if not found["self_check"]["ok"]:
        raise Failed(f"{path.name}: lronnx's outputs are not those of the model")
    return {name: found[name] for name in ("regions", "linear_regions", "breakpoints", "switches", "self_check")}


def compared(first: Path, other: Path, points: Path, key: str, outputs: Sequence[str | None]) -> dict[str, Any]:
    """What ``lronnx compare`` finds along the points, of this pair alone."""
    chosen = [text for k, output in enumerate(outputs, 1) if output for text in ("--output", f"{k}={output}")]
    found = lronnx("compare", first, other, "--points", f"{points}:{key}", *chosen)
    [pair] = found["pairs"]
    left_out = ("first", "other", "measures")  # of one path, measures say nothing that the walks do not
    return {"matched": found["models"][1]["matched"], **{k: v for k, v in pair.items() if k not in left_out}}


def lronnx(command: str, *arguments: str | Path) -> Any:
    """What a command of lronnx prints as JSON.

    Raises:
        Failed: it ended with an error; the text has its last words.
    """
    line = [sys.executable, "-m", "lronnx", command, *map(str, arguments), "--json", "--device", "cpu"]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"lronnx {command} {' '.join(map(str, arguments))} ended with {done.returncode}: {told[-1]}")
    return json.loads(done.stdout)


def points_of(digits: Digits) -> NDArray[np.float32]:
    """The first test image of each of four digits, (4, C, H, W)."""
    return np.stack([digits.test_images[digits.test_labels == digit][0] for digit in DIGITS_OF_POINTS])


def key_of(network: str, layout: str) -> str:
    """The name that points have in ``points.npz``."""
    return f"{'coloured' if network == 'cnn' else 'grey'}_{layout}"


def perform(
    folder: Path, frameworks: Sequence[str], *, epochs: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Make, export, walk and compare; write the files, the points and what was found, which is returned.

    ``report``: is given a line about each file.

    Raises:
        Failed: a file or a framework does not compute what it should, or lronnx refuses a file.
        OSError: a file cannot be written.
    """
    from models.frameworks import LAYOUTS, arranged

    networks, digits = make(frameworks, epochs=epochs, seed=seed)
    points = folder / "points.npz"
    arrays: dict[str, Any] = {
        key_of(network, layout): arranged(points_of(these), layout)
        for network, these in digits.items()
        for layout in LAYOUTS
    }
    write_whole(points, lambda file: np.savez_compressed(file, **arrays))
    files: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    references: dict[str, tuple[Made, NDArray[np.float64]]] = {}
    for made in networks:
        these = digits.get(made.network, digits[""])
        path = folder / file_name(made)
        write_whole(path, made.model.SerializeToString(deterministic=True))
        described = describe(made, these)
        predicted = log_probabilities(made.predict(these.test_images))
        first, expected = references.setdefault(made.network, (made, predicted))
        differs = float(np.abs(predicted - expected).max())
        if not differs <= TOLERANCE:
            raise Failed(
                f"{made.network}: {made.framework} predicts otherwise than {first.framework} with the same weights, by "
                f"{differs:.1e}"
            )
        found = walked(path, points, key_of(made.network, made.layout), made.output)
        files.append({**described, "predictions_differ_by": differs, "walk": found})
        told = f"{path.name}: {found['regions']} regions"
        if first is not made:
            key = key_of(made.network, first.layout)
            pair = compared(folder / file_name(first), path, points, key, (first.output, made.output))
            pairs.append({"files": [file_name(first), path.name], **pair})
            told += f", {pair['verdict']}"
        report(told)
    result = {
        "versions": versions(),
        "seed": seed,
        "epochs": epochs,
        "points": {key: list(array.shape) for key, array in arrays.items()},
        "files": files,
        "pairs": pairs,
    }
    write_whole(folder / RESULTS, (json.dumps(result, indent=1) + "\n").encode())
    write_whole(folder / TABLE, table(result).encode())
    return result


def table(result: Mapping[str, Any]) -> str:
    """What was found, a block for each network: a line per file, each compared with the first of its block."""
    pairs = {pair["files"][1]: pair for pair in result["pairs"]}
    blocks = []
    for network in dict.fromkeys(file["network"] for file in result["files"]):
        files = [file for file in result["files"] if file["network"] == network]
        lines = [COLUMNS, *(row(file, pairs.get(file["file"])) for file in files)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        blocks.append("\n".join([titled(network, files[0]), *text]))
    told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n\n".join([*blocks, told]) + "\n"


COLUMNS = (
    "framework",
    "exporter",
    "input",
    "regions",
    "verdict",
    "rounding",
    "difference",
    "move",
    "BatchNorm",
    "rounded again",
    "operators",
)


def titled(network: str, first: Mapping[str, Any]) -> str:
    """What a block of the table is about."""
    images = "coloured" if network == "cnn" else "grey"
    return (
        f"{network}: trained in {first['framework']} ({first['accuracy']:.1%} of the test images right), "
        f"along {len(DIGITS_OF_POINTS)} {images} digits"
    )


def row(file: Mapping[str, Any], pair: Mapping[str, Any] | None) -> tuple[str, ...]:
    """A line of the table; ``pair`` is None for the file that the others are compared with."""
    verdict, rounding, difference, move = "-", "-", "-", "-"
    if pair is not None:
        verdict, rounding = pair["verdict"], pair["rounding"] or "none"
        difference = f"{pair['largest_difference']:.1e}"
        move = "-" if pair["largest_move"] is None else f"{pair['largest_move']:.1e}"
    norms = f"{file['batch_norms_written']} of {file['batch_norms']}" if file["batch_norms"] else "-"
    total = file["weights_as_trained"] + file["weights_rounded_again"]
    operators = ", ".join(f"{name} {count}" if count > 1 else name for name, count in file["operators"].items())
    return (
        file["framework"],
        file["exporter"],
        file["layout"],
        str(file["walk"]["regions"]),
        verdict,
        rounding,
        difference,
        move,
        norms,
        f"{file['weights_rounded_again']} of {total}",
        operators,
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the exported files and what was found.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(OTHERS, case_sensitive=False),
    help="Besides scikit-learn and PyTorch, which train the weights, only this framework; may be repeated.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=8, show_default=True, help="Passes of each training.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split and the weights.")
def main(folder: Path, only: tuple[str, ...], epochs: int, seed: int) -> None:
    """Export networks of the same weights from several frameworks and show that their regions are identical.

    A framework that is not installed is told and left out, unless --only names it.
    """
    console = Console(stderr=True, highlight=False)
    frameworks = []
    for framework in (*TRAINERS, *(only or OTHERS)):
        lacking = missing(framework)
        if lacking and (framework in TRAINERS or only):
            raise click.UsageError(f"{framework} needs {', '.join(lacking)}, not installed here: {INSTALL}")
        if lacking:
            told = f"{framework} is left out: {', '.join(lacking)} not installed ({INSTALL})"
            console.print(told, markup=False, soft_wrap=True)
        else:
            frameworks.append(framework)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        result = perform(
            folder,
            frameworks,
            epochs=epochs,
            seed=seed,
            report=partial(console.print, markup=False, soft_wrap=True),
        )
    except (Failed, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(result), nl=False)
    differing = [pair["files"][1] for pair in result["pairs"] if pair["verdict"] != IDENTICAL]
    if differing:
        raise click.ClickException(f"not of identical regions: {', '.join(differing)}")


if __name__ == "__main__":
    main()
