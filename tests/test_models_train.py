"""``python -m models.train``: what comes out is what was trained, and bad options are told in a sentence."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from refusals import assert_refused

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("sklearn")

from models import data, export, train, training  # noqa: E402

ROOT = Path(__file__).parents[1]
OPTIONS = [
    *("mlp_12", "--epochs", "3", "--learning-rate", "0.1", "--batch", "32", "--evaluate-every", "2", "--keep", "0,1"),
    *("--train-samples", "300", "--test-samples", "200", "--validation", "60", "--noise", "0.3"),
    *("--seed", "4", "--data-seed", "9", "--threads", "1", "--device", "cpu"),
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def invoke(*arguments: object) -> Result:
    """In one line, as a terminal of any width shows it."""
    return CliRunner().invoke(train.main, [str(argument) for argument in arguments])


@dataclass(frozen=True)
class Done:
    """A finished run, and what the command printed."""

    folder: Path
    stdout: str

    def metadata(self, name: str) -> dict[str, Any]:
        entries = {entry.key: entry.value for entry in onnx.load(self.folder / name).metadata_props}
        texts = {"lronnx.architecture", "lronnx.dataset", "lronnx.training"}
        assert texts < set(entries)
        assert all(key.startswith("lronnx.") for key in entries)
        return {
            key.removeprefix("lronnx."): value if key in texts else json.loads(value) for key, value in entries.items()
        }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("train") / "deep" / "run"
    before = torch.get_num_threads()
    result = invoke(*OPTIONS, "-o", folder)
    torch.set_num_threads(before)
    assert result.exit_code == 0, result.output
    return Done(folder, result.stdout)


def test_saved_data_are_what_was_trained_and_tested_with(tmp_path: Path) -> None:
    options = ("mlp_3", "--epochs", 1, "--train-samples", 50, "--test-samples", 30, "--validation", 10, "--noise", 0.4)
    result = invoke(*options, "--save-data", "-o", tmp_path / "run", "--device", "cpu")
    assert result.exit_code == 0, result.output
    prepared = train.prepare(train.Experiment("mlp_3", training.Recipe(epochs=1), 50, 30, 10, 0.4), data.load("digits"))
    with np.load(tmp_path / "run" / "data.npz") as saved:
        assert np.array_equal(saved["x_train"], prepared.images.train_images[:, 0])
        assert np.array_equal(saved["x_test"], prepared.images.test_images[:, 0])
        assert np.array_equal(saved["y_train"], prepared.images.train_labels)
        assert np.array_equal(saved["y_test"], prepared.images.test_labels)
        wrong = saved["corrupted_train"]
    assert np.array_equal(wrong, prepared.noisy_labels != prepared.images.train_labels)
    assert 5 < wrong.sum() < 30
    # The positions in the model's metadata are others; the data's own marks are what counts.
    command = [sys.executable, "-m", "lronnx", "analyze", tmp_path / "run" / "model.onnx", "--split", "train", "--json"]
    command += ["--data", tmp_path / "run" / "data.npz", "--radius", 1, "--anchors", 3, "-o", tmp_path / "walks"]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)["groups"]["split_and_corrupted"]
    assert {one["corrupted"]: one["paths"] for one in groups} == {True: wrong.sum(), False: 40 - wrong.sum()}


def test_batch_norms_can_be_kept_as_nodes(tmp_path: Path) -> None:
    options = ("resnet18bn_w1", "--epochs", 1, "--train-samples", 40, "--test-samples", 20, "--threads", 1)
    images = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    counts, logits = [], []
    # The same training twice: only what is exported differs.
    for more in ((), ("--keep-batch-norm",)):
        result = invoke(*options, *more, "-o", tmp_path / "run", "--device", "cpu")
        assert result.exit_code == 0, result.output
        path = tmp_path / "run" / "model.onnx"
        model = onnx.load(path)
        counts.append(
            [sum(node.op_type == kind for node in model.graph.node) for kind in ("Conv", "BatchNormalization")]
        )
        assert ("lronnx.batch_norm" in {entry.key for entry in model.metadata_props}) == bool(more)
        logits += onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": images})
    assert counts == [[20, 0], [20, 20]]
    assert np.ptp(logits[0]) > 0.1
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-4)


MODELS = {"epoch_00000.onnx": 0, "epoch_00001.onnx": 1, "model.onnx": 3}


def test_what_comes_out(done: Done) -> None:
    assert {path.name for path in done.folder.iterdir()} == {*MODELS, "log.csv", "state.pt"}
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, (name, epoch) in zip(lines, MODELS.items(), strict=True):
        assert line.startswith(f"{done.folder / name}: epoch {epoch}, 910 parameters, 12 ReLUs; accuracy: train ")
        assert "validation" in line
        assert line.endswith("of torch's, relative to the largest")


@pytest.mark.parametrize("name", MODELS)
def test_metadata_are_true_of_the_file(name: str, done: Done) -> None:
    told = done.metadata(name)
    digits = data.load("digits")
    total = len(digits.train_images)
    # Which images, and which labels are wrong, from the generators' definitions.
    drawn = np.sort(np.random.default_rng([9, 0]).permutation(total)[:300])
    held = np.sort(np.random.default_rng([9, 2]).permutation(300)[:60])
    kept = np.setdiff1d(drawn, drawn[held])
    tested = np.sort(np.random.default_rng([9, 1]).permutation(len(digits.test_images))[:200])
    wrong = np.random.default_rng(4).random(240) < 0.3
    assert told["train_indices"] == kept.tolist()
    assert told["corrupted_indices"] == kept[wrong].tolist()
    assert (told["train_samples"], told["test_samples"]) == (240, 200)
    assert told["epoch"] == MODELS[name]
    keys = ("architecture", "width", "seed", "label_noise", "parameters", "relu_units")
    assert {key: told[key] for key in keys} == {
        "architecture": "mlp_12", "width": 12, "seed": 4, "label_noise": 0.3, "parameters": 65 * 12 + 13 * 10,
        "relu_units": 12
    }  # fmt: skip
    assert told["labels"] == list("0123456789")
    assert told["dataset"] == digits.provenance
    assert told["training"] == (
        "SGD, momentum 0.9, weight decay 0, learning rate 0.1 (cosine), batch 32, 3 epochs, crop 0, no flip"
    )

    session = onnxruntime.InferenceSession(done.folder / name, providers=["CPUExecutionProvider"])

    def logits(images: np.ndarray) -> np.ndarray:
        [found] = session.run(
            None, {"image": (images.astype(np.float32) * np.float32(told["scale"]) - told["mean"][0]) / told["std"][0]}
        )
        return found

    def accuracy(images: np.ndarray, labels: np.ndarray) -> float:
        return round(float(np.mean(logits(images).argmax(1) == labels)), 6)

    assert (told["mean"], told["std"], told["scale"]) == ([0.0], [1.0], 1 / 16)
    assert accuracy(digits.train_images[kept], digits.train_labels[kept]) == told["accuracy_train_true_labels"]
    assert accuracy(digits.test_images[tested], digits.test_labels[tested]) == told["accuracy_test"]
    holdout = drawn[held]
    assert accuracy(digits.train_images[holdout], digits.train_labels[holdout]) == told["accuracy_validation"]
    # A label that is wrong never counts as right, whatever it became.
    noisy, _ = data.symmetric_noise(digits.train_labels[kept], 0.3, 10, 4)
    assert np.array_equal(noisy != digits.train_labels[kept], wrong)
    assert accuracy(digits.train_images[kept], noisy) == told["accuracy_train"]
    powers = np.exp(logits(digits.test_images[tested]).astype(np.float64))
    loss = -np.log(powers[np.arange(200), digits.test_labels[tested]] / powers.sum(1)).mean()
    assert told["loss_test"] == pytest.approx(loss, abs=2e-6)


def test_networks_of_epochs_differ_and_the_last_is_that_of_the_state(done: Done) -> None:
    state = torch.load(done.folder / "state.pt", weights_only=True)

    def weights(name: str) -> dict[str, np.ndarray]:
        return {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(done.folder / name).graph.initializer
        }

    expected = {"epoch_00000.onnx": state["checkpoints"][0], "epoch_00001.onnx": state["checkpoints"][1]}
    expected["model.onnx"] = state["network"]
    for name, tensors in expected.items():
        found = weights(name)
        for key, tensor in tensors.items():
            assert np.array_equal(found[key], tensor.numpy()), (name, key)
    assert not np.array_equal(weights("model.onnx")["1.weight"], weights("epoch_00001.onnx")["1.weight"])


def test_the_log_has_the_validation(done: Done) -> None:
    with (done.folder / "log.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["0", "1", "2", "3"]
    for line, name in ((lines[0], "epoch_00000.onnx"), (lines[1], "epoch_00001.onnx"), (lines[3], "model.onnx")):
        assert float(line["validation_accuracy"]) == pytest.approx(done.metadata(name)["accuracy_validation"], abs=1e-6)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_the_same_command_again_does_nothing(done: Done) -> None:
    before = snapshot(done.folder)
    again = invoke(*OPTIONS, "-o", done.folder)
    assert again.exit_code == 0, again.output
    assert again.stdout == done.stdout
    assert snapshot(done.folder) == before


def test_other_options_are_refused(done: Done) -> None:
    before = snapshot(done.folder)
    assert_refused(
        invoke(*OPTIONS, "--noise", 0.2, "--seed", 5, "-o", done.folder),
        f"{done.folder} holds another training", "noise: 0.3 there, 0.2 here", "seed: 4 there, 5 here",
    )  # fmt: skip
    assert_refused(invoke(*OPTIONS, "--data-seed", 1, "-o", done.folder), "data_seed: 9 there, 1 here")
    assert_refused(invoke("mlp_13", *OPTIONS[1:], "-o", done.folder), "architecture: mlp_12 there, mlp_13 here")
    assert snapshot(done.folder) == before


@pytest.mark.parametrize("damage", ["removed", "cut off", "another training's", "other weights", "other metadata"])
def test_a_network_that_is_not_this_trainings_is_exported_again(damage: str, done: Done, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done.folder, folder)
    path = folder / "model.onnx"
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(whole[:-100])
    elif damage == "another training's":
        shutil.copy(folder / "epoch_00001.onnx", path)
    elif damage == "other metadata":
        model = onnx.load(path)
        next(entry for entry in model.metadata_props if entry.key == "lronnx.label_noise").value = "0.1"
        onnx.save(model, path)
    else:
        model = onnx.load(path)
        weights = next(tensor for tensor in model.graph.initializer if tensor.name == "1.weight")
        weights.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * np.float32(1.01), "1.weight")
        )
        onnx.save(model, path)
    again = invoke(*OPTIONS, "-o", folder)
    assert again.exit_code == 0, again.output
    assert path.read_bytes() == whole
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_file_that_computes_something_else_is_refused(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done.folder, folder)
    (folder / "model.onnx").unlink()
    original = train.export_onnx

    def falsified(module: torch.nn.Module, *arguments: Any, **options: Any) -> None:
        with torch.no_grad():
            module[1].bias += 1
            original(module, *arguments, **options)
            module[1].bias -= 1

    monkeypatch.setattr(train, "export_onnx", falsified)
    assert_refused(invoke(*OPTIONS, "-o", folder), "model.onnx: onnxruntime's logits differ from torch's by")
    assert not (folder / "model.onnx").exists()


def test_parity_sees_nan_and_shapes(tmp_path: Path) -> None:
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    inputs = torch.rand(5, 1, 2, 2)
    path = tmp_path / "model.onnx"
    export.export_onnx(linear, inputs[:2], path, input_name="image", output_name="logits", metadata={"key": [1]})
    assert export.parity(linear, path, inputs) < 1e-6
    assert export.is_described_by(path, {"key": [1]})
    assert not export.is_described_by(path, {"key": [2]})
    assert not export.is_described_by(path, {})
    assert not export.is_described_by(tmp_path / "other.onnx", {"key": [1]})
    with pytest.raises(ValueError, match=r"the output is of \(5, 3\), not of \(5, 1\)"):
        export.parity(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1)).eval(), path, inputs)
    with torch.no_grad():
        linear[1].bias[2] = math.nan
    assert math.isnan(export.parity(linear, path, inputs))


BASE = ("mlp_4", "--epochs", 1, "--device", "cpu")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--data", "digits", "--keep", "0,2"), "'0,2': epochs are 0 (before training) to 1"),
        (("--keep", "-1"), "epochs are 0"),
        (("--keep", "one"), "'one' names no epochs"),
        (("--keep", ""), "'' names no epochs"),
        (("--noise", 2), "--noise"),
        (("--noise", "nan"), "the probability of a corrupted label is nan"),
        (("--learning-rate", "nan"), "--learning-rate is nan"),
        (("--learning-rate", "-0.1"), "--learning-rate is -0.1"),
        (("--epochs", 0), "--epochs is 0"),
        (("--batch", 0), "--batch is 0"),
        (("--crop", -1), "--crop is -1"),
        (("--stop-at", 2), "--stop-at is 2"),
        (("--seed", -1), "--seed"),
        (("--seed", 2**64), "--seed"),
        (("--schedule", "linear"), "--schedule"),
        (("--threads", 0), "--threads"),
        (("--validation", 1000), "leave none to train with"),
        (("--train-samples", 1001), "1001 training images of digits cannot be drawn"),
        (("--test-samples", 0), "0 test images of digits cannot be drawn"),
        (("--data", "nowhere.tar"), "'nowhere.tar' is neither digits"),
        (("--data", "cifar10", "--data-folder", "nowhere"), "CIFAR-10 is not in nowhere"),
        (("--download",), "a download is for"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_bad_options(options: tuple[object, ...], told: str, tmp_path: Path) -> None:
    assert_refused(invoke(*BASE, *options, "-o", tmp_path / "run"), told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ("vgg9", "there is no architecture 'vgg9'"),
        ("vgg11", "multiples of 32"),
        ("mlp_999999_999999_999999", "mlp_999999_999999_999999 cannot be held in memory"),
    ],
)
def test_bad_architectures(architecture: str, told: str, tmp_path: Path) -> None:
    assert_refused(invoke(architecture, "--epochs", 1, "-o", tmp_path / "run"), told)


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for folder in (taken, taken / "run"):
        assert_refused(invoke(*BASE, "-o", folder), str(taken))
        assert_refused(invoke(*BASE, "-o", folder, "--tensorboard"), str(taken))
    assert taken.read_text() == "a file"
    assert_refused(invoke(*BASE, "-o", "/proc/none/run"), "/proc/none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path: Path) -> None:
    assert_refused(invoke("mlp_4", "--device", "cuda", "-o", tmp_path / "run"), "--device cuda: torch finds no GPU")
    assert train.choose_device("auto") == torch.device("cpu")


def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
        assert_refused(invoke(*BASE, "-o", tmp_path / "run"), "the package onnxscript is not installed")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert_refused(invoke(*BASE, "-o", tmp_path / "run", "--tensorboard"), "--tensorboard needs the package")
    assert not (tmp_path / "run").exists()


def test_divergence_is_told(tmp_path: Path) -> None:
    result = invoke("mlp_4_4", "--epochs", 3, "--learning-rate", 1e30, "-o", tmp_path)
    assert_refused(result, "it diverged; lower --learning-rate (it is 1e+30)")
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = training._one_epoch
    monkeypatch.setattr(training, "_SAVE_EVERY", 0.0)

    def interrupted(*arguments: Any) -> None:
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        original(*arguments)

    options = ("mlp_4", "--epochs", 4, "--threads", 1, "-o")
    with monkeypatch.context() as patch:
        patch.setattr(training, "_one_epoch", interrupted)
        result = invoke(*options, tmp_path / "one")
    assert result.exit_code == 130
    assert "interrupted; the same command goes on" in result.stderr
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"state.pt", "log.csv"}
    for folder in ("one", "other"):
        assert invoke(*options, tmp_path / folder).exit_code == 0
    assert (tmp_path / "one" / "model.onnx").read_bytes() == (tmp_path / "other" / "model.onnx").read_bytes()


def test_tensorboard_shows_every_evaluation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    options = ("mlp_4", "--epochs", 4, "--validation", 50, "--threads", 1, "--tensorboard", "-o", folder)
    # Interrupted after three epochs, of which one is saved: two are trained, and written, again.
    original = training._one_epoch

    def interrupted(*arguments: Any) -> None:
        epoch = arguments[-1]
        training._SAVE_EVERY = -1.0 if epoch == 0 else 1e9
        if epoch == 3:
            raise KeyboardInterrupt
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_SAVE_EVERY", 1e9)
        patch.setattr(training, "_one_epoch", interrupted)
        assert invoke(*options).exit_code == 130
    assert torch.load(folder / "state.pt", weights_only=True)["epoch"] == 1
    assert invoke(*options).exit_code == 0
    files = sorted((folder / "tensorboard").iterdir())
    assert len(files) == 2
    assert invoke(*options).exit_code == 0
    assert sorted((folder / "tensorboard").iterdir()) == files

    log = EventAccumulator(str(folder / "tensorboard"))
    log.Reload()
    names = {f"{kind}/{split}" for kind in ("loss", "accuracy") for split in ("train", "validation", "test")}
    assert set(log.Tags()["scalars"]) == names | {"accuracy/train_true_labels", "learning_rate"}
    rows = torch.load(folder / "state.pt", weights_only=True)["rows"]
    columns = {
        "loss/train": "train_loss",
        "accuracy/validation": "validation_accuracy",
        "accuracy/test": "test_accuracy",
        "accuracy/train_true_labels": "clean_train_accuracy",
        "learning_rate": "learning_rate",
    }
    for tag, column in columns.items():
        scalars = log.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3, 4]
        assert [scalar.value for scalar in scalars] == pytest.approx([row[column] for row in rows], rel=1e-6)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = train.initialized("mlp_3", (1, 8, 8), 10, 5).state_dict()
    following = torch.rand(1)
    torch.manual_seed(2)
    second = train.initialized("mlp_3", (1, 8, 8), 10, 5).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = train.initialized("mlp_3", (1, 8, 8), 10, 6).state_dict()
    assert not torch.equal(first["1.weight"], other["1.weight"])
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), following)


def test_without_noise_and_subsets_nothing_is_told_of_them() -> None:
    digits = data.load("digits")
    recipe = training.Recipe(epochs=1)
    row = training.Row(1, 0.1, 0.5, 0.5, 0.5, math.nan, math.nan, 0.5, 0.5, 1.0)
    experiment = train.Experiment("mlp_4", recipe)
    told = train.describe(row, experiment, train.prepare(experiment, digits), 1, 1)
    assert not {"corrupted_indices", "train_indices", "accuracy_validation", "loss_validation"} & told.keys()
    noisy = replace(experiment, noise=0.5, recipe=replace(recipe, flip=True, crop=2, mixed_precision=True))
    told = train.describe(row, noisy, train.prepare(noisy, digits), 1, 1)
    assert 400 < len(told["corrupted_indices"]) < 600
    assert told["training"].endswith("crop 2, flip, mixed precision (bfloat16)")


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models.train", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert "--keep" in done.stdout
