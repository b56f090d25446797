"""Train one network and export it: ``python -m models.train vgg8 --data cifar10 -o RUN``.

RUN then holds ``model.onnx``, with what it is in its metadata, ``epoch_00010.onnx`` for every epoch that was asked for
with ``--keep``, ``log.csv`` with a line for every evaluation, and ``state.pt``, from which the same command goes on.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from models import architectures, data
from models.data import Images
from models.export import export_onnx, is_described_by, parity
from models.files import write_whole
from models.training import SCHEDULES, Normalize, Recipe, Row, Split, TrainingError, fit

MODEL, DATA = "model.onnx", "data.npz"
_PARITY_IMAGES = 256
_RELATIVE_TOLERANCE = 1e-4  # float32 rounding of logits, relative to the largest, summed in another order


@dataclass(frozen=True)
class Experiment:
    """One training: which network, on which images with which noise, and how.

    ``train_samples``, ``test_samples``: so many images of each split, all if None, drawn by ``data_seed``;
    ``validation``: so many of the training images are held out. ``noise``: the probability that a training label is
    replaced by another one. ``keep``: epochs whose networks are exported, too. ``keep_batch_norm``: of the exported
    files, as for :func:`models.export.export_onnx`. The recipe's seed is that of the noise and the weights as well.
    """

    architecture: str
    recipe: Recipe
    train_samples: int | None = None
    test_samples: int | None = None
    validation: int = 0
    noise: float = 0.0
    data_seed: int = 0
    keep: tuple[int, ...] = ()
    keep_batch_norm: bool = False

    @property
    def seed(self) -> int:
        """Of the noise and the weights, which is the recipe's, too."""
        return self.recipe.seed

    def identity(self, images: Images) -> dict[str, Any]:
        """What must be the same for a training to be gone on with, beside the recipe."""
        return {
            "architecture": self.architecture,
            "data": f"{images.name}: {images.provenance}",
            "train_samples": self.train_samples,
            "test_samples": self.test_samples,
            "validation": self.validation,
            "noise": self.noise,
            "data_seed": self.data_seed,
        }


@dataclass(frozen=True, eq=False)
class Prepared:
    """The images of an experiment as they are trained with.

    ``noisy_labels``: int64 (N,), of the training images; ``corrupted``: int64, which of these labels are wrong.
    """

    images: data.Images
    held: data.Held | None
    noisy_labels: np.ndarray[Any, np.dtype[np.int64]]
    corrupted: np.ndarray[Any, np.dtype[np.int64]]


def prepare(experiment: Experiment, images: data.Images) -> Prepared:
    """Draw the images of an experiment and the noise on their labels.

    Raises:
        data.DataError: there are fewer images than asked for, or the noise is no probability.
    """
    images = images.subset(experiment.train_samples, experiment.test_samples, experiment.data_seed)
    held = None
    if experiment.validation:
        images, held = images.hold_out(experiment.validation, experiment.data_seed)
    noisy, corrupted = data.symmetric_noise(images.train_labels, experiment.noise, len(images.classes), experiment.seed)
    return Prepared(images, held, noisy, corrupted)


def write_data(images: data.Images, path: Path, corrupted: np.ndarray[Any, Any] | None = None) -> None:
    """Write images as an ``.npz`` that ``lronnx analyze --data`` reads, pixels as they are.

    ``corrupted``: positions of the training images whose labels were replaced; the labels written are the true ones.
    """
    arrays: dict[str, Any] = {"classes": np.array(images.classes)}
    for split, pixels, labels in (
        ("train", images.train_images, images.train_labels),
        ("test", images.test_images, images.test_labels),
    ):
        # (N, H, W) if grey, else (N, H, W, C).
        arrays[f"x_{split}"] = pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)
        arrays[f"y_{split}"] = labels
    if corrupted is not None:
        arrays["corrupted_train"] = np.isin(np.arange(len(images.train_labels)), corrupted)
    write_whole(path, lambda file: np.savez(file, **arrays))


@dataclass(frozen=True)
class Exported:
    """One network as a file. ``difference``: of its logits from torch's, the largest, relative to the largest logit."""

    path: Path
    epoch: int
    row: Row
    parameters: int
    units: int
    difference: float


def run(
    experiment: Experiment,
    images: data.Images,
    folder: Path,
    *,
    device: torch.device,
    report: Callable[[int, Row | None], None] = lambda epoch, row: None,
    prepared: Prepared | None = None,
) -> list[Exported]:
    """Train and export; what is there already is not done again. Returns the kept epochs' networks, then the last.

    ``images``: the whole data set, of which the experiment draws. A file of another training, which is there if only
    the state was deleted, is replaced.

    Raises:
        architectures.UnknownArchitecture, data.DataError, TrainingError: see there.
        ExportFailed: an exported file computes something else than the network.
    """
    prepared = prepared or prepare(experiment, images)
    images = prepared.images
    shape = images.train_images.shape[1:]
    network = initialized(experiment.architecture, shape, len(images.classes), experiment.seed).to(device)
    held = prepared.held
    trained = fit(
        network,
        Normalize(images.scale, images.mean, images.std),
        Split.of(images.train_images, prepared.noisy_labels, device, images.train_labels),
        Split.of(images.test_images, images.test_labels, device),
        experiment.recipe,
        validation=None if held is None else Split.of(held.images, held.labels, device),
        folder=folder,
        identity=experiment.identity(images),
        keep=experiment.keep,
        report=report,
    )
    network = network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    # Not what the network goes on to hold: loading writes to the tensors that state_dict gives out.
    last = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    exported = []
    for epoch, weights in sorted(trained.checkpoints.items()):
        network.load_state_dict(weights)
        path = folder / f"epoch_{epoch:05d}.onnx"
        exported.append(_export(network, path, trained.at(epoch), experiment, prepared))
    network.load_state_dict(last)
    exported.append(_export(network, folder / MODEL, trained.rows[-1], experiment, prepared))
    return exported


def initialized(architecture: str, shape: architectures.Shape, classes: int, seed: int) -> nn.Module:
    """A network whose initial weights depend on nothing but these; torch's generator is left as it was.

    Raises:
        architectures.UnknownArchitecture: there is no such network.
        TrainingError: it is too large for the memory.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return architectures.build(architecture, shape, classes)
        except RuntimeError as error:
            raise TrainingError(f"{architecture} cannot be held in memory: {error}") from error


class ExportFailed(RuntimeError):
    """An exported file that computes something else than the network."""


def _export(network: nn.Module, path: Path, row: Row, experiment: Experiment, prepared: Prepared) -> Exported:
    images = prepared.images
    shape = images.train_images.shape[1:]
    inputs = torch.from_numpy(images.normalized(images.test_images[:_PARITY_IMAGES]))
    parameters, units = architectures.parameters(network), architectures.relus(network, shape)
    metadata = describe(row, experiment, prepared, parameters, units)
    difference = _difference_of_existing(network.eval(), path, metadata, inputs)
    if not difference <= _RELATIVE_TOLERANCE:
        # Under another name until it is known to compute the same.
        partial = path.with_name(f".{path.name}")
        export_onnx(
            network,
            inputs[:1].repeat(2, 1, 1, 1),
            partial,
            input_name="image",
            output_name="logits",
            metadata=metadata,
            keep_batch_norm=experiment.keep_batch_norm,
        )
        difference = relative_parity(network, partial, inputs)
        if not difference <= _RELATIVE_TOLERANCE:
            raise ExportFailed(
                f"{partial}: onnxruntime's logits differ from torch's by {difference:.2e} of the largest, more than "
                f"{_RELATIVE_TOLERANCE:.0e}"
            )
        partial.replace(path)
    return Exported(path, row.epoch, row, parameters, units, difference)


def _difference_of_existing(network: nn.Module, path: Path, metadata: dict[str, Any], inputs: torch.Tensor) -> float:
    """As :func:`relative_parity`; nan if there is no such file, or if it is damaged or described otherwise."""
    if not is_described_by(path, metadata):
        return math.nan
    try:
        return relative_parity(network, path, inputs)
    except Exception:  # onnxruntime's errors have no base of their own
        return math.nan


def relative_parity(network: nn.Module, path: Path, inputs: torch.Tensor) -> float:
    """The largest difference between the logits of a network and of a file, relative to the largest logit."""
    with torch.no_grad():
        largest = float(network(inputs).abs().max())
    return parity(network, path, inputs) / (largest or 1.0)


def describe(row: Row, experiment: Experiment, prepared: Prepared, parameters: int, units: int) -> dict[str, Any]:
    """The metadata of an exported network.

    ``corrupted_indices`` and ``train_indices`` (only of a part of the images) are positions in the training split as
    the data set orders it. Of accuracies and losses those of the split that does not exist are left out.
    """
    images, recipe = prepared.images, experiment.recipe
    scores = {
        "accuracy_train": row.train_accuracy,
        "accuracy_train_true_labels": row.clean_train_accuracy,
        "accuracy_validation": row.validation_accuracy,
        "accuracy_test": row.test_accuracy,
        "loss_train": row.train_loss,
        "loss_validation": row.validation_loss,
        "loss_test": row.test_loss,
    }
    described: dict[str, Any] = {
        "architecture": experiment.architecture,
        **({} if (width := architectures.width_of(experiment.architecture)) is None else {"width": width}),
        "parameters": parameters,
        "relu_units": units,
        "dataset": images.provenance,
        "scale": images.scale,
        "mean": list(images.mean),
        "std": list(images.std),
        "labels": list(images.classes),
        "epoch": row.epoch,
        "seed": experiment.seed,
        "training": (
            f"SGD, momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g}, learning rate "
            f"{recipe.learning_rate:g} ({recipe.schedule}), batch {recipe.batch}, {recipe.epochs} epochs, crop "
            f"{recipe.crop}, {'flip' if recipe.flip else 'no flip'}"
            f"{', mixed precision (bfloat16)' if recipe.mixed_precision else ''}"
        ),
        "label_noise": experiment.noise,
        **{key: round(value, 6) for key, value in scores.items() if not math.isnan(value)},
        "train_samples": len(images.train_labels),
        "test_samples": len(images.test_labels),
    }
    if experiment.keep_batch_norm:
        described["batch_norm"] = "nodes of their own"
    if experiment.noise:
        described["corrupted_indices"] = images.train_positions[prepared.corrupted].tolist()
    if experiment.train_samples is not None or experiment.validation:
        described["train_indices"] = images.train_positions.tolist()
    return described


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or ``auto``: a GPU if there is one.

    Raises:
        TrainingError: there is no GPU that torch can use.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch finds no GPU here; choose cpu, or install a build of torch for CUDA")
    return torch.device(name)


def check_installed(*packages: str) -> None:
    """See to it before hours of training that what their end needs is there.

    Raises:
        TrainingError: a package is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise TrainingError(f"the package {package} is not installed: pip install '.[train]'")


def open_tensorboard(folder: Path) -> Callable[[Row], None]:
    """What writes an evaluation to a TensorBoard log in this folder, which the first evaluation begins.

    Of a training that was interrupted and goes on, TensorBoard shows every epoch once.

    Raises:
        TrainingError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(f"--tensorboard needs the package tensorboard ({error}): pip install '.[train]'") from error
    writer: SummaryWriter | None = None

    def write(row: Row) -> None:
        nonlocal writer
        writer = writer or SummaryWriter(str(folder), purge_step=row.epoch)
        for split in ("train", "validation", "test"):
            for kind in ("loss", "accuracy"):
                value = getattr(row, f"{split}_{kind}")
                if not math.isnan(value):
                    writer.add_scalar(f"{kind}/{split}", value, row.epoch)
        writer.add_scalar("accuracy/train_true_labels", row.clean_train_accuracy, row.epoch)
        writer.add_scalar("learning_rate", row.learning_rate, row.epoch)
        writer.flush()

    return write


class Refused(click.ClickException):
    """An error that is the user's to mend: the message alone, and exit code 2."""

    exit_code = 2


def epochs_of(text: str | None, last: int) -> tuple[int, ...]:
    """Epochs from a text such as ``0,1,2,5``, sorted.

    Raises:
        Refused: it is no such text, or an epoch lies behind the last.
    """
    if text is None:
        return ()
    try:
        epochs = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise Refused(f"'{text}' names no epochs: give whole numbers, such as 0,1,2,5,10") from None
    if epochs[0] < 0 or epochs[-1] > last:
        raise Refused(f"'{text}': epochs are 0 (before training) to {last}")
    return tuple(epochs)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("architecture")
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for what comes out.",
)
@click.option(
    "--data",
    "spec",
    default="digits",
    show_default=True,
    help="digits, cifar10, cifar100, or an archive or folder of images (SPLIT/CLASS/NAME) or of CIFAR.",
)
@click.option("--data-folder", type=click.Path(path_type=Path), help="Where CIFAR's archives lie (default: a cache).")
@click.option("--download", is_flag=True, help="Fetch CIFAR from its site if it is not there.")
@click.option("--train-samples", type=int, metavar="N", help="Train with N of the images (default: all).")
@click.option("--test-samples", type=int, metavar="N", help="Test with N of the images (default: all).")
@click.option("--validation", type=click.IntRange(min=0), default=0, metavar="N", help="Hold out N training images.")
@click.option(
    "--noise",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="P",
    help="The probability that a training label is replaced by another one.",
)
@click.option("--epochs", type=int, default=100, show_default=True)
@click.option("--batch", type=int, default=128, show_default=True)
@click.option("--learning-rate", type=float, default=0.05, show_default=True)
@click.option("--momentum", type=float, default=0.9, show_default=True)
@click.option("--weight-decay", type=float, default=0.0, show_default=True)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default="cosine",
    show_default=True,
    help="Of the learning rate: to zero along a cosine, or a tenth after 1/2 and 3/4 of the epochs.",
)
@click.option(
    "--crop",
    type=int,
    default=0,
    show_default=True,
    metavar="PIXELS",
    help="Augment: move images by up to so many pixels.",
)
@click.option("--flip", is_flag=True, help="Augment: mirror images, or not, by chance.")
@click.option("--stop-at", type=float, metavar="ACCURACY", help="End at this accuracy on the training labels.")
@click.option("--evaluate-every", type=int, default=1, show_default=True, metavar="EPOCHS")
@click.option("--keep", metavar="0,1,2,5", help="Export the network after these epochs, too (0: before training).")
@click.option(
    "--keep-batch-norm", is_flag=True, help="Export BatchNorm as nodes of its own, not folded into convolutions."
)
@click.option(
    "--mixed-precision",
    is_flag=True,
    help="Train with bfloat16 where torch deems it safe (many times slower on a CPU without AVX-512).",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="On a CPU; with 1 the same seed gives the same weights, to the bit.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of noise, weights, order and augmentation.",
)
@click.option(
    "--data-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of which images are drawn."
)
@click.option(
    "--save-data",
    is_flag=True,
    help="Write what was trained and tested with to data.npz in the folder, for lronnx analyze.",
)
@click.option("--tensorboard", is_flag=True, help="Write a TensorBoard log, too, to RUN/tensorboard.")
def main(
    architecture: str,
    folder: Path,
    spec: str,
    data_folder: Path | None,
    download: bool,
    train_samples: int | None,
    test_samples: int | None,
    validation: int,
    noise: float,
    keep: str | None,
    keep_batch_norm: bool,
    device: str,
    threads: int | None,
    seed: int,
    data_seed: int,
    save_data: bool,
    tensorboard: bool,
    **recipe: Any,
) -> None:
    """Train ARCHITECTURE (vgg8, resnet18_w16, cnn5_w8, mlp_64_64, ...) on images and export it as ONNX.

    An interrupted training goes on with the same command.
    """
    console = Console(stderr=True)
    try:
        check_installed("onnxscript")
        chosen = Recipe(seed=seed, **recipe)
        if threads:
            torch.set_num_threads(threads)
        experiment = Experiment(
            architecture, chosen, train_samples, test_samples, validation, noise, data_seed,
            epochs_of(keep, chosen.epochs), keep_batch_norm,
        )  # fmt: skip
        images = data.load(spec, folder=data_folder, download=download)
        console.print(f"{images.name}: {images.provenance}", highlight=False, markup=False, soft_wrap=True)
        log = open_tensorboard(folder / "tensorboard") if tensorboard else None
        exported = _run_with_progress(experiment, images, folder, choose_device(device), log, console)
        if save_data:
            drawn = prepare(experiment, images)
            write_data(drawn.images, folder / DATA, drawn.corrupted if noise else None)
    except (
        architectures.UnknownArchitecture,
        data.DataError,
        TrainingError,
        ExportFailed,
        OSError,
        torch.OutOfMemoryError,
    ) as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on")
        sys.exit(130)
    for one in exported:
        click.echo(told(one))


def _run_with_progress(
    experiment: Experiment,
    images: data.Images,
    folder: Path,
    device: torch.device,
    log: Callable[[Row], None] | None,
    console: Console,
) -> list[Exported]:
    columns = (
        TextColumn("epoch"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=experiment.recipe.epochs)

        def report(epoch: int, row: Row | None) -> None:
            progress.update(bar, completed=epoch)
            if row is not None:
                progress.update(bar, description=f"train {row.train_accuracy:.1%}, test {row.test_accuracy:.1%}")
                if log is not None:
                    log(row)

        return run(experiment, images, folder, device=device, report=report)


def told(exported: Exported) -> str:
    """One line about an exported network."""
    row = exported.row
    held = "" if math.isnan(row.validation_accuracy) else f", validation {row.validation_accuracy:.2%}"
    return (
        f"{exported.path}: epoch {exported.epoch}, {exported.parameters:,} parameters, {exported.units:,} ReLUs; "
        f"accuracy: train {row.train_accuracy:.2%}{held}, test {row.test_accuracy:.2%}; onnxruntime's logits within "
        f"{exported.difference:.1e} of torch's, relative to the largest"
    )


if __name__ == "__main__":
    main()
