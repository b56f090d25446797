"""Training: every step against numpy, every interruption against none."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from models import training  # noqa: E402
from models.data import Images  # noqa: E402
from models.training import Normalize, Recipe, Row, Split, Trained, TrainingError, augmented, fit  # noqa: E402

CPU = torch.device("cpu")
CLASSES = 4
PLAIN = Recipe(epochs=4, batch=8, learning_rate=0.1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that results can be compared to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arrays(count: int, seed: int, shape: tuple[int, int, int] = (2, 4, 4)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, *shape), np.uint8), generator.integers(0, CLASSES, count)


def split(count: int, seed: int, shape: tuple[int, int, int] = (2, 4, 4)) -> Split:
    return Split.of(*arrays(count, seed, shape), CPU)


TRAIN, TEST = split(30, 1), split(11, 2)
NORMALIZE = Normalize(1 / 255, (0.4, 0.6), (0.2, 0.3))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, CLASSES))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES)
    )


def weights(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().clone().numpy() for name, tensor in network.state_dict().items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)


def timeless(rows: list[Row]) -> list[str]:
    """The rows apart from the seconds; as text, in which nan equals nan."""
    return [repr(replace(row, seconds=0.0)) for row in rows]


# --- the steps ------------------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def rates(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of every step, from the definitions."""
    total = recipe.epochs * steps
    if recipe.schedule == "cosine":
        return [recipe.learning_rate / 2 * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    if recipe.schedule == "steps":
        return [
            recipe.learning_rate / (1 if 2 * step < total else 10 if 4 * step < 3 * total else 100)
            for step in range(total)
        ]
    return [recipe.learning_rate] * total


@pytest.mark.parametrize("schedule", ["constant", "steps", "cosine"])
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.01)])
def test_steps_equal_those_of_numpy(schedule: str, momentum: float, decay: float) -> None:
    recipe = Recipe(
        epochs=3, batch=8, learning_rate=0.05, momentum=momentum, weight_decay=decay, schedule=schedule, seed=5
    )
    network = linear()
    found = weights(network)
    weight, bias = found["1.weight"].astype(np.float64), found["1.bias"].astype(np.float64)
    fit(network, NORMALIZE, TRAIN, TEST, recipe)

    mean, std = np.array([0.4, 0.6])[:, None, None], np.array([0.2, 0.3])[:, None, None]
    x = ((TRAIN.images.numpy() / 255 - mean) / std).reshape(len(TRAIN.labels), -1)
    one_hot = np.eye(CLASSES)[TRAIN.labels.numpy()]
    generator = torch.Generator().manual_seed(5)
    velocity = [np.zeros_like(weight), np.zeros_like(bias)]
    rate = iter(rates(recipe, 4))
    for _ in range(recipe.epochs):
        order = torch.randperm(len(x), generator=generator).numpy()
        for begin in range(0, len(x), recipe.batch):
            rows = order[begin : begin + recipe.batch]
            error = (softmax(x[rows] @ weight.T + bias) - one_hot[rows]) / len(rows)
            step = next(rate)
            for kind, gradient in enumerate((error.T @ x[rows] + decay * weight, error.sum(0) + decay * bias)):
                velocity[kind] = momentum * velocity[kind] + gradient
            weight = weight - step * velocity[0]
            bias = bias - step * velocity[1]
    assert next(rate, None) is None
    np.testing.assert_allclose(weights(network)["1.weight"], weight, rtol=0, atol=2e-5)
    np.testing.assert_allclose(weights(network)["1.bias"], bias, rtol=0, atol=2e-5)


def test_the_rates_of_schedules() -> None:
    steps = Recipe(epochs=8, learning_rate=1.0, schedule="steps")
    assert [steps.rate(at) for at in (0, 0.49, 0.5, 0.74, 0.75, 0.99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = Recipe(epochs=8, learning_rate=2.0)
    assert [cosine.rate(at) for at in (0, 1 / 3, 0.5, 2 / 3)] == pytest.approx([2, 1.5, 1, 0.5])
    assert 0 < cosine.rate(0.999) < 1e-5
    assert {Recipe(epochs=8, learning_rate=2.0, schedule="constant").rate(at) for at in (0, 0.5, 0.9)} == {2.0}


def test_rows_tell_the_rate_at_the_beginning_of_their_epoch() -> None:
    recipe = Recipe(epochs=4, batch=8, learning_rate=1e-3, schedule="steps")
    rows = fit(linear(), NORMALIZE, TRAIN, TEST, recipe, keep=(0,)).rows
    assert [row.epoch for row in rows] == [0, 1, 2, 3, 4]
    assert [row.learning_rate for row in rows] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-5])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 0}, "--epochs is 0"),
        ({"batch": 0}, "--batch is 0"),
        ({"batch": 2**40}, "--batch is"),
        ({"evaluate_every": 0}, "--evaluate-every is 0"),
        ({"learning_rate": -1.0}, "--learning-rate is -1"),
        ({"learning_rate": math.nan}, "--learning-rate is nan"),
        ({"momentum": math.inf}, "--momentum is inf"),
        ({"weight_decay": -0.1}, "--weight-decay is -0.1"),
        ({"crop": -1}, "--crop is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**64}, "--seed is"),
        ({"schedule": "linear"}, "--schedule is 'linear'"),
        ({"stop_at": 0.0}, "--stop-at is 0"),
        ({"stop_at": 1.1}, "--stop-at is 1.1"),
        ({"stop_at": math.nan}, "--stop-at is nan"),
    ],
)
def test_recipes_that_cannot_be_followed(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        replace(PLAIN, **changes)


# --- augmentation and normalization ---------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [0, 1, 2])
def test_augmented_images_are_moved_and_mirrored(crop: int, flip: bool) -> None:
    # Not square, every pixel another and none of them 0, so that each image tells how it was made.
    image = np.arange(1, 1 + 2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    count = 600
    images = torch.from_numpy(
        np.repeat(image[None], count, 0) + np.arange(count, dtype=np.uint8)[:, None, None, None] % 9
    )
    found = augmented(images, crop, flip, torch.Generator().manual_seed(3)).numpy()
    assert found.dtype == np.uint8
    assert found.shape == images.shape
    made = []
    for source, result in zip(images.numpy(), found, strict=True):
        candidates = {}
        padded = np.pad(source, ((0, 0), (crop, crop), (crop, crop)))
        for down in range(2 * crop + 1):
            for right in range(2 * crop + 1):
                moved = padded[:, down : down + 3, right : right + 5]
                for mirrored in (False, True)[: 1 + flip]:
                    candidates[down, right, mirrored] = moved[:, :, ::-1] if mirrored else moved
        [how] = [how for how, candidate in candidates.items() if np.array_equal(candidate, result)]
        made.append(how)
    possible = (2 * crop + 1) ** 2 * (1 + flip)
    assert len(set(made)) == possible
    # All equally likely: the counts' chi-squared statistic is that of possible - 1 degrees of freedom.
    counts = np.unique(np.array(made), axis=0, return_counts=True)[1]
    assert ((counts - count / possible) ** 2 / (count / possible)).sum() < 2.5 * possible

    again = augmented(images, crop, flip, torch.Generator().manual_seed(3)).numpy()
    assert np.array_equal(again, found)
    other = augmented(images, crop, flip, torch.Generator().manual_seed(4)).numpy()
    assert np.array_equal(other, found) == (possible == 1)


def test_training_augments_and_evaluation_does_not() -> None:
    # With a learning rate of 0 nothing changes but what the network sees.
    seen: list[tuple[bool, np.ndarray]] = []
    network = linear()
    network.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, inputs[0].numpy())))
    recipe = Recipe(epochs=1, batch=30, learning_rate=0.0, crop=2, flip=True, seed=7)
    fit(network, NORMALIZE, TRAIN, TEST, recipe)
    assert [trains for trains, _ in seen] == [True, False, False]
    generator = torch.Generator().manual_seed(7)
    order = torch.randperm(30, generator=generator)
    expected = augmented(TRAIN.images[order], 2, True, generator)
    np.testing.assert_array_equal(seen[0][1], NORMALIZE(expected).numpy())
    np.testing.assert_array_equal(seen[1][1], NORMALIZE(TRAIN.images).numpy())
    np.testing.assert_array_equal(seen[2][1], NORMALIZE(TEST.images).numpy())


@pytest.mark.parametrize(
    ("scale", "mean", "std"), [(1 / 16, (0.0,), (1.0,)), (1 / 255, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))]
)
def test_normalization_is_that_of_the_data(scale: float, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (2, len(mean), 16, 16)).copy()
    labels = np.zeros(2, np.int64)
    images = Images(
        "", "", ("0", "1"), pixels, labels, pixels, labels, scale, mean, std, np.arange(2), np.arange(2)
    )  # fmt: skip
    found = Normalize(scale, mean, std)(torch.from_numpy(pixels))
    assert found.dtype == torch.float32
    # pixel * scale - mean loses digits where it is near 0, relative to what was subtracted.
    np.testing.assert_allclose(found.numpy(), images.normalized(pixels), rtol=3e-7, atol=3e-7)


def test_arrays_that_must_not_be_written_are_copied() -> None:
    images, labels = arrays(5, 3)
    truth = labels[::-1]
    for array in (images, labels):
        array.setflags(write=False)
    made = Split.of(images, labels, CPU, truth)
    assert np.array_equal(made.images.numpy(), images)
    assert np.array_equal(made.labels.numpy(), labels)
    assert np.array_equal(made.truth.numpy(), truth)
    same = Split.of(images, labels, CPU)
    assert np.array_equal(same.truth.numpy(), labels)


# --- evaluation -----------------------------------------------------------------------------------------------


def test_scores_equal_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 4)  # does not divide 30
    images, labels = arrays(30, 1)
    truth = (labels + (np.arange(30) % 3 == 0)) % CLASSES
    network = linear().eval()
    loss, accuracy, clean = training.scores(network, NORMALIZE, Split.of(images, labels, CPU, truth))
    x = ((images / 255 - np.array([0.4, 0.6])[:, None, None]) / np.array([0.2, 0.3])[:, None, None]).reshape(30, -1)
    found = weights(network)
    logits = x @ found["1.weight"].T + found["1.bias"]
    assert loss == pytest.approx(-np.log(softmax(logits)[np.arange(30), labels]).mean(), rel=1e-5)
    assert accuracy == np.mean(logits.argmax(1) == labels)
    assert clean == np.mean(logits.argmax(1) == truth) != accuracy


def test_rows_hold_the_scores_of_each_split() -> None:
    images, labels = arrays(30, 1)
    train = Split.of(images, labels, CPU, (labels + 1) % CLASSES)
    validation = split(7, 5)
    trained = fit(linear(), NORMALIZE, train, TEST, PLAIN, validation=validation)
    row = trained.rows[-1]
    assert trained.at(4) is row
    with pytest.raises(KeyError):
        trained.at(0)
    for name, one in (("train", train), ("validation", validation), ("test", TEST)):
        loss, accuracy, clean = training.scores(trained.network, NORMALIZE, one)
        assert (getattr(row, f"{name}_loss"), getattr(row, f"{name}_accuracy")) == (loss, accuracy)
        if name == "train":
            assert row.clean_train_accuracy == clean
    without = fit(linear(), NORMALIZE, train, TEST, PLAIN).rows[-1]
    assert math.isnan(without.validation_loss)
    assert math.isnan(without.validation_accuracy)


@pytest.mark.parametrize("mixed", [False, True])
def test_evaluation_changes_nothing_and_is_in_float32(mixed: bool) -> None:
    kinds: set[tuple[bool, torch.dtype]] = set()

    def note(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        kinds.add((module.training, output.dtype))

    recipe = replace(PLAIN, mixed_precision=mixed)
    often, seldom = convolutional(), convolutional()
    handle = often[-1].register_forward_hook(note)
    fit(often, NORMALIZE, TRAIN, TEST, recipe, keep=(0,))
    handle.remove()
    assert kinds == {(True, torch.bfloat16 if mixed else torch.float32), (False, torch.float32)}
    fit(seldom, NORMALIZE, TRAIN, TEST, replace(recipe, evaluate_every=4))
    # The statistics of BatchNorm are among the weights.
    assert_same(weights(often), weights(seldom))
    assert not often.training
    assert {parameter.dtype for parameter in often.parameters()} == {torch.float32}


def test_evaluates_as_often_as_it_should() -> None:
    told: list[tuple[int, bool]] = []
    recipe = replace(PLAIN, epochs=7, evaluate_every=3)
    fit(linear(), NORMALIZE, TRAIN, TEST, recipe, keep=(0, 4), report=lambda e, row: told.append((e, row is not None)))
    assert told == [(epoch, epoch in {0, 3, 4, 6, 7}) for epoch in range(8)]


@pytest.mark.parametrize("mixed", [False, True])
def test_two_epochs_of_digits_are_better_than_none(mixed: bool) -> None:
    pytest.importorskip("sklearn")
    from models import data

    digits = data.load("digits")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    trained = fit(
        network,
        Normalize(digits.scale, digits.mean, digits.std),
        Split.of(digits.train_images, digits.train_labels, CPU),
        Split.of(digits.test_images, digits.test_labels, CPU),
        Recipe(epochs=2, batch=32, learning_rate=0.1, mixed_precision=mixed),
        keep=(0,),
    )
    before, _, after = trained.rows
    assert before.test_accuracy < 0.3
    assert after.test_accuracy > 0.8
    assert after.train_loss < 0.6 < before.train_loss


# --- interruptions --------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stopping_at(epoch: int) -> Callable[[int, Row | None], None]:
    def report(done: int, _row: Row | None) -> None:
        if done == epoch:
            raise Stop

    return report


HARD = Recipe(
    epochs=9, batch=8, learning_rate=0.05, weight_decay=1e-3, crop=1, flip=True, evaluate_every=2, seed=3
)  # fmt: skip


@pytest.mark.parametrize("make", [linear, convolutional])
@pytest.mark.parametrize(
    ("interruptions", "saved_every"),
    [((0,), 0.0), ((1, 2, 5, 8), 0.0), ((9,), 0.0), ((3, 4), 1e9), ((0, 1, 4), 2e-3)],
)
def test_an_interrupted_training_ends_like_another(
    make: Callable[[], nn.Module],
    interruptions: tuple[int, ...],
    saved_every: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "_SAVE_EVERY", saved_every)
    keep = (0, 3, 4, 9)
    expected = fit(make(), NORMALIZE, TRAIN, TEST, HARD, keep=keep)
    for epoch in interruptions:
        with pytest.raises(Stop):
            fit(make(), NORMALIZE, TRAIN, TEST, HARD, keep=keep, folder=tmp_path, report=stopping_at(epoch))
        # The state of an interrupted training is whatever was saved last.
        if saved_every == 0.0 and epoch:
            assert torch.load(tmp_path / training.STATE, weights_only=True)["epoch"] == epoch
    begun: list[int] = []
    found = fit(
        make(), NORMALIZE, TRAIN, TEST, HARD, keep=keep, folder=tmp_path, report=lambda epoch, row: begun.append(epoch)
    )
    if saved_every == 0.0:
        assert begun == list(range(interruptions[-1] + 1 if interruptions[-1] else 0, 10))
    assert_same(weights(found.network), weights(expected.network))
    assert timeless(found.rows) == timeless(expected.rows)
    assert [row.epoch for row in found.rows] == [0, 2, 3, 4, 6, 8, 9]
    assert list(found.checkpoints) == list(keep)
    for epoch in keep:
        assert_same(found.checkpoints[epoch], expected.checkpoints[epoch])
    assert_same(found.checkpoints[9], weights(found.network))
    seconds = [row.seconds for row in found.rows]
    assert seconds == sorted(seconds)
    # And once more: nothing is left to do.
    files = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    assert files.keys() == {training.STATE, training.LOG}
    again = fit(make(), NORMALIZE, TRAIN, TEST, HARD, keep=keep, folder=tmp_path, report=stopping_at(9))
    assert_same(weights(again.network), weights(expected.network))
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()} == files


def test_checkpoints_are_the_weights_of_their_epochs() -> None:
    keep = (0, 2, 4)
    trained = fit(convolutional(), NORMALIZE, TRAIN, TEST, replace(PLAIN, schedule="constant"), keep=keep)
    assert_same(trained.checkpoints[0], weights(convolutional()))
    shorter = fit(convolutional(), NORMALIZE, TRAIN, TEST, replace(PLAIN, schedule="constant", epochs=2))
    assert_same(trained.checkpoints[2], weights(shorter.network))
    assert not np.array_equal(trained.checkpoints[0]["0.weight"], trained.checkpoints[2]["0.weight"])


def test_ends_at_the_first_evaluation_that_is_good_enough(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=60, learning_rate=0.02, schedule="constant", evaluate_every=2)
    everything = fit(linear(), NORMALIZE, TRAIN, TEST, recipe).rows
    goal = 0.8
    first = next(row for row in everything if row.train_accuracy >= goal)
    assert 2 < first.epoch < 60
    exactly = replace(recipe, stop_at=first.train_accuracy)
    stopped = fit(linear(), NORMALIZE, TRAIN, TEST, replace(recipe, stop_at=goal), folder=tmp_path, keep=(60,))
    assert stopped.rows[-1].epoch == first.epoch
    assert not stopped.checkpoints
    assert fit(linear(), NORMALIZE, TRAIN, TEST, exactly).rows[-1].epoch == first.epoch
    assert torch.load(tmp_path / training.STATE, weights_only=True)["epoch"] == first.epoch
    again = fit(
        linear(), NORMALIZE, TRAIN, TEST, replace(recipe, stop_at=goal), folder=tmp_path, keep=(60,),
        report=lambda epoch, row: pytest.fail(f"epoch {epoch} was trained"),
    )  # fmt: skip
    assert again.rows == stopped.rows or timeless(again.rows) == timeless(stopped.rows)
    assert_same(weights(again.network), weights(stopped.network))


def test_accuracy_before_training_stops_nothing() -> None:
    recipe = replace(PLAIN, stop_at=1e-6)
    trained = fit(linear(), NORMALIZE, TRAIN, TEST, recipe, keep=(0,))
    assert [row.epoch for row in trained.rows] == [0, 1]


# --- the folder -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished training."""
    fit(linear(), NORMALIZE, TRAIN, TEST, PLAIN, folder=tmp_path, identity={"data": "these"}, keep=(1,))
    return tmp_path


def resumed(folder: Path, recipe: Recipe = PLAIN, **changes: Any) -> Trained:
    options: dict[str, Any] = {"identity": {"data": "these"}, "keep": (1,)} | changes
    return fit(linear(), NORMALIZE, TRAIN, TEST, recipe, folder=folder, **options)


OTHERWISE = Recipe(5, 9, 0.2, 0.5, 0.1, "steps", 1, True, 0.5, 2, True, 1)


@pytest.mark.parametrize("name", [one.name for one in fields(Recipe)])
def test_another_recipe_is_refused(name: str, folder: Path) -> None:
    value, changed = getattr(PLAIN, name), getattr(OTHERWISE, name)
    assert value != changed
    before = (folder / training.STATE).read_bytes()
    with pytest.raises(TrainingError) as raised:
        resumed(folder, replace(PLAIN, **{name: changed}))
    assert str(raised.value) == (
        f"{folder} holds another training ({name}: {value} there, {changed} here); give another folder, or delete "
        "state.pt"
    )
    assert (folder / training.STATE).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"identity": {"data": "those"}}, r"\(data: these there, those here\)"),
        ({"identity": {}}, r"\(data: these there, nothing here\)"),
        ({"identity": {"data": "these", "noise": None}}, r"\(noise: nothing there, None here\)"),
        ({"keep": (1, 2)}, r"\(keep: \[1\] there, \[1, 2\] here\)"),
    ],
)
def test_another_identity_is_refused(changes: dict[str, Any], told: str, folder: Path) -> None:
    with pytest.raises(TrainingError, match=told):
        resumed(folder, **changes)


def rewritten(folder: Path, **changes: Any) -> None:
    state = torch.load(folder / training.STATE, weights_only=True)
    torch.save({name: value for name, value in (state | changes).items() if value is not None}, folder / training.STATE)


@pytest.mark.parametrize(
    "changes",
    [
        {"described": None},
        {"described": {}},
        {"described": "nothing"},
        {"network": None},
        {"network": {"1.weight": torch.zeros(4, 32)}},
        {"optimizer": {}},
        {"generator": torch.zeros(3)},
        {"rows": [{"epoch": 1}]},
        {"checkpoints": 3},
        {"epoch": None},
        {"seconds": "many"},
    ],
)
def test_a_state_with_other_content_is_refused(changes: dict[str, Any], folder: Path) -> None:
    rewritten(folder, **changes)
    with pytest.raises(TrainingError, match=r"state\.pt is damaged \(.+\); delete it to train from the start"):
        resumed(folder)


def test_a_damaged_state_is_refused_or_unharmed(folder: Path) -> None:
    path = folder / training.STATE
    whole = path.read_bytes()
    expected = resumed(folder)
    generator = np.random.default_rng(0)
    refused = 0
    for content in (b"", b"no state", whole[: len(whole) // 2], whole[:-1], whole[1:]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"state\.pt is damaged"):
            resumed(folder)
    for position in generator.choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = resumed(folder)
        except TrainingError:
            refused += 1
        else:
            # What torch's archives hold between their members, and of members' dates, matters to nobody.
            assert_same(weights(found.network), weights(expected.network))
    assert refused >= 10
    path.unlink()
    assert_same(weights(resumed(folder).network), weights(expected.network))


def test_the_log_has_a_line_for_every_evaluation(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=5, evaluate_every=2)
    trained = fit(linear(), NORMALIZE, TRAIN, TEST, recipe, folder=tmp_path, keep=(0,))
    with (tmp_path / training.LOG).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["0", "2", "4", "5"]
    for line, row in zip(lines, trained.rows, strict=True):
        told = asdict(row)
        assert line.keys() == told.keys()
        for name, value in told.items():
            if math.isnan(value):
                assert line[name] == ""
                assert name.startswith("validation")
            else:
                assert float(line[name]) == pytest.approx(value, rel=1e-5)


def test_a_training_that_diverges_is_an_error_and_not_finished(tmp_path: Path) -> None:
    recipe = replace(PLAIN, learning_rate=1e38, schedule="constant")
    for _ in range(2):  # neither the first time nor when it is gone on with
        with pytest.raises(
            TrainingError, match=r"training loss is (nan|inf) after epoch 1: it diverged; lower --learn"
        ):
            fit(linear(), NORMALIZE, TRAIN, TEST, recipe, folder=tmp_path)
        assert not list(tmp_path.iterdir())


def test_a_step_on_one_image_is_refused_if_batch_norm_needs_more() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.BatchNorm1d(4))
    with pytest.raises(TrainingError, match="the last of 30 images is a step of its own with --batch 29"):
        fit(network, NORMALIZE, TRAIN, TEST, replace(PLAIN, batch=29))
    fit(network, NORMALIZE, TRAIN, TEST, replace(PLAIN, batch=28))


def test_what_a_report_raises_is_not_swallowed() -> None:
    with pytest.raises(Stop):
        fit(linear(), NORMALIZE, TRAIN, TEST, PLAIN, report=stopping_at(2))


def test_states_are_plain_data(folder: Path) -> None:
    # What identifies a training is compared as JSON.
    state = torch.load(folder / training.STATE, weights_only=True)
    assert json.loads(json.dumps(state["described"])) == {"recipe": asdict(PLAIN), "keep": [1], "data": "these"}
