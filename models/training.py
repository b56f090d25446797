"""Training a classifier of images: one network, one recipe, on a CPU or a GPU, resumable at every epoch.

Pixels stay uint8 on the device and are augmented and normalized batch by batch. The order of the images, and how each
is moved and flipped, come from one generator on the CPU, so that they do not depend on the device; it is saved with
the network and the optimizer. On a CPU with one thread a training that was interrupted ends with the same weights, to
the bit, as one that was not.
"""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.files import write_whole

SCHEDULES = ("constant", "steps", "cosine")
STATE = "state.pt"
LOG = "log.csv"
_EVALUATION_BATCH = 1000
_SAVE_EVERY = 20.0  # seconds: what an interruption may cost


class TrainingError(ValueError):
    """A recipe that cannot be followed, or a folder that holds another training; the text says what to change."""


class Diverged(TrainingError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent with momentum on the cross-entropy.

    ``schedule``: the learning rate stays (``constant``), is divided by ten when a half and three quarters of the epochs
    are done (``steps``), or falls to zero along half a cosine, step by step (``cosine``). ``weight_decay``: of all
    parameters. ``crop``: images are moved by up to so many pixels either way, black where nothing is left; ``flip``:
    they are mirrored with probability 1/2; both are drawn anew whenever an image is used. ``stop_at``: training ends
    after the first evaluation with this accuracy on the training labels, in [0, 1]. ``evaluate_every``: epochs between
    evaluations; the last epoch is always evaluated. ``mixed_precision``: forward passes of training in bfloat16 where
    torch deems it safe; many times slower on a CPU without AVX-512. ``seed``: of the order and of the augmentation.

    Raises:
        TrainingError: a figure out of its range.
    """

    epochs: int
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    crop: int = 0
    flip: bool = False
    stop_at: float | None = None
    evaluate_every: int = 1
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "evaluate_every"):
            if not 1 <= getattr(self, name) < 2**31:
                raise TrainingError(f"{_option(name)} is {getattr(self, name)}: it must be from 1 to 2^31 - 1")
        for name in ("learning_rate", "momentum", "weight_decay", "crop", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise TrainingError(f"{_option(name)} is {getattr(self, name)}: it must be a number from 0 on")
        if self.seed >= 2**63:
            raise TrainingError(f"--seed is {self.seed}: it must be below 2^63")
        if self.schedule not in SCHEDULES:
            raise TrainingError(f"--schedule is '{self.schedule}': choose one of {', '.join(SCHEDULES)}")
        if self.stop_at is not None and not 0 < self.stop_at <= 1:
            raise TrainingError(f"--stop-at is {self.stop_at}: it must be an accuracy above 0, and at most 1")

    def rate(self, progress: float) -> float:
        """The learning rate when this fraction of the steps, in [0, 1), is done."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + float(np.cos(np.pi * progress))) / 2
        if self.schedule == "steps":
            return self.learning_rate * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
        return self.learning_rate


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,), on one device; ``truth`` the labels without the noise."""

    images: torch.Tensor
    labels: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def of(
        cls,
        images: np.ndarray[Any, Any],
        labels: np.ndarray[Any, Any],
        device: torch.device,
        truth: np.ndarray[Any, Any] | None = None,
    ) -> Split:
        def moved(array: np.ndarray[Any, Any]) -> torch.Tensor:
            # torch shares the memory, so it takes none that must not be written.
            return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(device)

        given = moved(labels)
        return cls(moved(images), given, given if truth is None or truth is labels else moved(truth))


class Normalize(nn.Module):
    """Pixels of any type to network inputs float32: ``(pixel * scale - mean) / std``, mean and std per channel."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, scale: float, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() * self.scale - self.mean) / self.std


@dataclass(frozen=True)
class Row:
    """What an evaluation found. Accuracies in [0, 1], losses are mean cross-entropies; nan without such a split.

    ``train_accuracy``: on the labels that were trained with; ``clean_train_accuracy``: on the true ones.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    clean_train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass
class Trained:
    """A network in evaluation mode, the evaluations so far, and the weights at the epochs that were asked for."""

    network: nn.Module
    rows: list[Row] = field(default_factory=list)
    checkpoints: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)

    def at(self, epoch: int) -> Row:
        """The evaluation of this epoch. Raises KeyError if there was none."""
        for row in self.rows:
            if row.epoch == epoch:
                return row
        raise KeyError(epoch)


def fit(
    network: nn.Module,
    normalize: Normalize,
    train: Split,
    test: Split,
    recipe: Recipe,
    *,
    validation: Split | None = None,
    folder: Path | None = None,
    identity: dict[str, Any] | None = None,
    keep: Sequence[int] = (),
    report: Callable[[int, Row | None], None] = lambda epoch, row: None,
) -> Trained:
    """Train ``network`` in place, where its parameters are, and return it in evaluation mode.

    ``folder``: where the state is saved every 20 seconds and at the end, and from where an interrupted training goes
    on; ``log.csv`` there has a line for every evaluation. ``identity``: what the training is about beside the recipe
    (data, architecture, noise); a folder with another is refused. ``keep``: epochs whose weights are returned (0:
    before training), each evaluated, too; there are none behind an early stop. ``report`` is called after every epoch,
    with the evaluation if there was one; what it raises ends the training, which goes on from what was saved last.

    Raises:
        TrainingError: the folder holds another training, or its state is damaged; the loss is no longer finite; a
            step on a single image, of which BatchNorm can take no statistics.
    """
    device = next(network.parameters()).device
    normalize = normalize.to(device)
    # Convolutions over few channels run up to twice as fast with the channels last, on a CPU as on a GPU.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    trained = Trained(network)
    described = {"recipe": asdict(recipe), "keep": sorted(keep), **(identity or {})}
    done, spent = 0, 0.0
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        state = _load_state(folder / STATE, described)
        if state is not None:
            try:
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                generator.set_state(state["generator"])
                trained.rows = [Row(**row) for row in state["rows"]]
                trained.checkpoints = dict(state["checkpoints"])
                done, spent = int(state["epoch"]), float(state["seconds"])
            except Exception as error:
                raise _damaged(folder / STATE, error) from error

    begun = saved = time.perf_counter()

    def evaluated(epoch: int) -> Row:
        row = evaluate(network, normalize, train, test, validation)
        rate = recipe.rate((epoch - 1) / recipe.epochs) if epoch else recipe.learning_rate
        trained.rows.append(Row(epoch=epoch, learning_rate=rate, seconds=spent + time.perf_counter() - begun, **row))
        if epoch in keep:
            trained.checkpoints[epoch] = {
                name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()
            }
        return trained.rows[-1]

    def save(epoch: int) -> None:
        if folder is None:
            return
        state = {
            "described": described,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": generator.get_state(),
            "rows": [asdict(row) for row in trained.rows],
            "checkpoints": trained.checkpoints,
            "epoch": epoch,
            "seconds": spent + time.perf_counter() - begun,
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(folder / STATE, content.getvalue())
        write_log(folder / LOG, trained.rows)

    if done == 0 and 0 in keep and not trained.rows:
        report(0, evaluated(0))
    finished = bool(trained.rows) and _reached(recipe, trained.rows[-1])
    for epoch in range(done + 1, recipe.epochs + 1):
        if finished:
            break
        _one_epoch(network, normalize, train, recipe, optimizer, generator, epoch - 1)
        row = None
        if epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs or epoch in keep:
            row = evaluated(epoch)
            if not np.isfinite(row.train_loss):
                raise Diverged(
                    f"the training loss is {row.train_loss} after epoch {epoch}: it diverged; lower --learning-rate "
                    f"(it is {recipe.learning_rate:g})"
                )
            finished = _reached(recipe, row)
        if finished or epoch == recipe.epochs or time.perf_counter() - saved > _SAVE_EVERY:
            save(epoch)
            saved = time.perf_counter()
        report(epoch, row)
    network.eval()
    return trained


def _reached(recipe: Recipe, row: Row) -> bool:
    return row.epoch >= recipe.epochs or (
        recipe.stop_at is not None and row.epoch > 0 and row.train_accuracy >= recipe.stop_at
    )


def _one_epoch(
    network: nn.Module,
    normalize: Normalize,
    train: Split,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
) -> None:
    network.train()
    count = len(train.labels)
    device = train.labels.device
    steps = -(-count // recipe.batch)
    for step, rows in enumerate(torch.split(torch.randperm(count, generator=generator).to(device), recipe.batch)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate((epoch + step / steps) / recipe.epochs)
        images = augmented(train.images[rows], recipe.crop, recipe.flip, generator)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16) if recipe.mixed_precision else nullcontext():
            try:
                logits = network(normalize(images))
            except ValueError as error:
                if len(rows) > 1:
                    raise
                raise TrainingError(
                    f"the last of {count} images is a step of its own with --batch {recipe.batch}, and BatchNorm "
                    f"needs more than one ({error}); choose another --batch"
                ) from error
            loss = functional.cross_entropy(logits, train.labels[rows])
        torch.autograd.backward(loss)
        optimizer.step()


def augmented(images: torch.Tensor, crop: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Images (N, C, H, W), each moved by up to ``crop`` pixels either way and mirrored or not, all equally likely.

    What comes in from outside is 0, black. ``generator`` is one on the CPU.
    """
    count, _, height, width = images.shape
    if crop:
        # Where in the padded image each row and column comes from; one gather instead of a loop over images.
        offsets = torch.randint(0, 2 * crop + 1, (2, count, 1), generator=generator).to(images.device)
        rows = offsets[0] + torch.arange(height, device=images.device)
        columns = offsets[1] + torch.arange(width, device=images.device)
        padded = functional.pad(images, (crop, crop, crop, crop))
        sample = torch.arange(count, device=images.device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        mirrored = torch.randint(0, 2, (count, 1, 1, 1), generator=generator).to(images.device).bool()
        images = torch.where(mirrored, images.flip(3), images)
    return images


def evaluate(
    network: nn.Module,
    normalize: Normalize,
    train: Split,
    test: Split,
    validation: Split | None,
) -> dict[str, float]:
    """The losses and accuracies of a :class:`Row`, of the network in evaluation mode, in float32 as it is exported."""
    network.eval()
    train_loss, train_accuracy, clean = scores(network, normalize, train)
    held = (float("nan"),) * 3 if validation is None else scores(network, normalize, validation)
    test_loss, test_accuracy, _ = scores(network, normalize, test)
    return {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "clean_train_accuracy": clean,
        "validation_loss": held[0],
        "validation_accuracy": held[1],
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }


def scores(network: nn.Module, normalize: Normalize, split: Split) -> tuple[float, float, float]:
    """Mean cross-entropy, accuracy on the labels, and accuracy on the true labels."""
    loss, correct, true = 0.0, 0, 0
    # On a GPU, convolutions would round their inputs to TF32, which the exported network will not.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for images, labels, truth in zip(
            torch.split(split.images, _EVALUATION_BATCH),
            torch.split(split.labels, _EVALUATION_BATCH),
            torch.split(split.truth, _EVALUATION_BATCH),
            strict=True,
        ):
            logits = network(normalize(images))
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            predicted = logits.argmax(1)
            correct += int((predicted == labels).sum())
            true += int((predicted == truth).sum())
    count = len(split.labels)
    return loss / count, correct / count, true / count


def _load_state(path: Path, described: dict[str, Any]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        # torch does not look at the checksums of what it reads.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("the checksum of its content is another")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        there, here = _flat(state["described"]), _flat(described)
    except Exception as error:
        raise _damaged(path, error) from error
    differing = sorted(
        f"{key}: {there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here"
        for key in {*there, *here}
        if key not in there or key not in here or there[key] != here[key]
    )
    if differing:
        raise TrainingError(
            f"{path.parent} holds another training ({'; '.join(differing)}); give another folder, or delete {path.name}"
        )
    return state


def _damaged(path: Path, error: Exception) -> TrainingError:
    told = " ".join(str(error).split()) or type(error).__name__
    return TrainingError(f"{path} is damaged ({told}); delete it to train from the start")


def _flat(described: dict[str, Any]) -> dict[str, Any]:
    """The recipe's settings beside the others, as JSON has them: tuples and lists are one there."""
    plain = {key: value for key, value in described.items() if key != "recipe"} | described["recipe"]
    return dict(json.loads(json.dumps(plain)))


def write_log(path: Path, rows: Sequence[Row]) -> None:
    """Write the evaluations as CSV, one line each, whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [one.name for one in fields(Row)]
    table.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        table.writerow(
            "" if value != value else f"{value:.6g}" if isinstance(value, float) else value for value in values
        )
    write_whole(path, text.getvalue().encode())


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
