"""``python -m models.sweep``: trained, exported, analysed and drawn, however often it is interrupted."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result
from refusals import assert_refused

torch = pytest.importorskip("torch")
for package in ("onnxscript", "sklearn", "matplotlib"):
    pytest.importorskip(package)

import onnx  # noqa: E402

from models import data, results, sweep, training  # noqa: E402
from models.sweep import PRESETS, Item, Sweep  # noqa: E402
from models.train import Exported  # noqa: E402
from models.training import TrainingError  # noqa: E402

ROOT = Path(__file__).parents[1]
EPOCHS, POINTS, ANCHORS, SAMPLES = 2, 2, 3, 400
OPTIONS = [
    *("digits", "--epochs", EPOCHS, "--points", POINTS, "--anchors", ANCHORS, "--train-samples", SAMPLES),
    *("--batch", 40, "--device", "cpu", "--workers", 2),
]
GRID = ["--widths", "3,2", "--seeds", 2]
GROUPS = {"train_clean": ("train", False), "train_corrupted": ("train", True), "test": ("test", None)}
DEADLINE = 180.0  # seconds for what takes a few on a machine that has nothing else to do


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "models.sweep", *(str(argument) for argument in arguments)]


@dataclass
class Running:
    """A sweep in a process group of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *arguments: object) -> Running:
        process = subprocess.Popen(
            command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        return cls(process)

    def family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def wait_for(self, what: Any) -> None:
        end = time.monotonic() + DEADLINE
        while not what():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)

    def wait_for_workers(self) -> None:
        self.wait_for(lambda: len(self.family()) > 2)  # two, and what looks after them

    def ended(self, family: list[psutil.Process]) -> tuple[int, str]:
        """Exit code and what was told, once it and every process that it had started is gone."""
        _, told = self.process.communicate(timeout=DEADLINE)
        _, alive = psutil.wait_procs(family, timeout=20)
        left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert not left
        # Nor any that was begun after the family was asked for.
        for process in psutil.process_iter():
            try:
                assert os.getsid(process.pid) != self.process.pid or process.status() == psutil.STATUS_ZOMBIE
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return self.process.returncode, told


def completed(*arguments: object) -> tuple[str, str]:
    running = Running.start(*arguments)
    out, told = running.process.communicate(timeout=DEADLINE)
    assert running.process.returncode == 0, told
    return out, told


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(sweep.main, [str(argument) for argument in arguments])


def times(folder: Path) -> dict[str, int]:
    """When each file below the folder was written."""
    found = (path for kind in ("networks", "runs") for path in (folder / kind).rglob("*"))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in found if path.is_file()}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def metadata(path: Path) -> dict[str, str]:
    return {entry.key.removeprefix("lronnx."): entry.value for entry in onnx.load(path).metadata_props}


def assert_true(row: dict[str, str], network: Path, run: Path, groups: list[str]) -> None:
    """A row of the results is what the exported network and the summary of its analysis say."""
    told = metadata(network)
    for column, key in (
        ("train_accuracy", "accuracy_train"),
        ("clean_train_accuracy", "accuracy_train_true_labels"),
        ("test_accuracy", "accuracy_test"),
        ("train_loss", "loss_train"),
        ("test_loss", "loss_test"),
    ):
        assert float(row[column]) == pytest.approx(json.loads(told[key]), abs=6e-7)
    for column, key in (
        ("architecture", "architecture"), ("seed", "seed"), ("epoch", "epoch"), ("parameters", "parameters"),
        ("units", "relu_units"),
    ):  # fmt: skip
        assert row[column] == told[key]
    found = json.loads((run / "summary.json").read_text())["groups"]
    for group, (split, corrupted) in GROUPS.items():
        if group not in groups:
            assert row[f"density_{group}"] == row[f"paths_{group}"] == ""
            continue
        kind = "split" if corrupted is None or "train_corrupted" not in groups else "split_and_corrupted"
        [one] = [
            one for one in found[kind] if one["split"] == split and (kind == "split" or one["corrupted"] == corrupted)
        ]
        assert int(row[f"paths_{group}"]) == one["paths"] == POINTS
        for column, measure in (
            ("density", "density"),
            ("absolute_deviation", "absolute_deviation_norm"),
            ("mean_deviation", "mean_absolute_deviation_norm"),
            ("total_variation", "total_variation_norm"),
            ("local_similarity", "local_similarity"),
        ):
            mean = one["measures"][measure]["mean"]
            assert row[f"{column}_{group}"] == ("" if mean is None else repr(mean))
        regions = one["measures"]["regions"]["mean"]
        assert float(row[f"breakpoints_per_segment_{group}"]) == pytest.approx((regions - ANCHORS) / ANCHORS)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that began as one network, grew to four, and was terminated once on the way."""
    folder = tmp_path_factory.mktemp("sweep") / "run"
    completed(*OPTIONS, "--widths", 2, "--seeds", 1, "-o", folder)
    assert [(row["width"], row["seed"]) for row in table(folder)] == [("2", "0")]
    first = times(folder)

    running = Running.start(*OPTIONS, *GRID, "-o", folder)
    running.wait_for(lambda: len(list((folder / "networks").glob("*/rows.json"))) > 1)
    family = running.family()
    assert len(family) >= 2
    running.process.terminate()
    code, told = running.ended(family)
    assert code == 130
    assert "interrupted; the same command goes on" in told
    assert "Traceback" not in told

    out, _ = completed(*OPTIONS, *GRID, "-o", folder)
    assert out == (folder / "statistics.txt").read_text()
    assert times(folder) | first == times(folder)  # what was there is as it was
    return folder


def test_the_results_are_those_of_the_networks_and_of_their_analyses(done: Path) -> None:
    rows = table(done)
    assert [(row["width"], row["seed"]) for row in rows] == [("2", "0"), ("2", "1"), ("3", "0"), ("3", "1")]
    for row in rows:
        name = f"mlp_{row['width']}_{row['width']}_seed{row['seed']}"
        assert row["epoch"] == str(EPOCHS)
        assert_true(row, done / "networks" / name / "model.onnx", done / "runs" / f"{name}_epoch00002", list(GROUPS))
    # Not the same network over and over.
    assert len({row["test_loss"] for row in rows}) == 4
    assert len({row["density_test"] for row in rows}) == 4


def test_the_analysis_is_of_the_images_and_labels_trained_with(done: Path) -> None:
    digits = data.load("digits")
    drawn = np.sort(np.random.default_rng([0, 0]).permutation(1000)[:SAMPLES])
    with np.load(done / "data.npz") as arrays:
        assert np.array_equal(arrays["x_train"], digits.train_images[drawn, 0])
        assert np.array_equal(arrays["y_train"], digits.train_labels[drawn])
        assert np.array_equal(arrays["x_test"], digits.test_images[:, 0])
        assert np.array_equal(arrays["y_test"], digits.test_labels)
        assert arrays["classes"].tolist() == list("0123456789")
    wrong = []
    for seed in range(2):
        corrupted = np.load(done / f"corrupted_seed{seed}.npy")
        assert np.array_equal(corrupted, np.flatnonzero(np.random.default_rng(seed).random(SAMPLES) < 0.2))
        told = metadata(done / "networks" / f"mlp_3_3_seed{seed}" / "model.onnx")
        assert json.loads(told["corrupted_indices"]) == drawn[corrupted].tolist()
        assert json.loads(told["train_indices"]) == drawn.tolist()
        wrong.append(set(corrupted.tolist()))
    assert wrong[0] != wrong[1]


def test_a_figure_and_statistics_are_there(done: Path) -> None:
    assert {path.name for path in done.iterdir()} == {
        *("networks", "runs", "results.csv", "figure.png", "statistics.txt", "sweep.json", "data.npz", ".lock"),
        *("corrupted_seed0.npy", "corrupted_seed1.npy"),
    }
    assert (done / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "density" in (done / "statistics.txt").read_text()


def test_the_same_command_again_does_nothing(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, results = times(done), (done / "results.csv").read_bytes()
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", lambda *_: pytest.fail("a worker was started"))
    begun = time.monotonic()
    result = invoke(*OPTIONS, *GRID, "-o", done)
    assert time.monotonic() - begun < 20
    assert result.exit_code == 0, result.output
    assert result.stdout == (done / "statistics.txt").read_text()
    for name in ("mlp_2_2_seed0", "mlp_3_3_seed1"):
        assert f"{name}: error: train" in result.stderr
    assert times(done) == before
    assert (done / "results.csv").read_bytes() == results


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--noise", 0.1), "noise: 0.2 there, 0.1 here"),
        (("--points", 3), "points: 2 there, 3 here"),
        (("--train-samples", 300), "train_samples: 400 there, 300 here"),
        (("--learning-rate", 0.2, "--flip"), "flip: False there, True here; learning_rate: 0.1 there, 0.2 here"),
        (("--keep", "0,1"), "keep: [] there, [0, 1] here"),
    ],
)
def test_other_options_are_refused(options: tuple[object, ...], told: str, done: Path) -> None:
    before = times(done)
    assert_refused(invoke(*OPTIONS, *GRID, *options, "-o", done), f"{done} holds another sweep ({told})")
    assert times(done) == before


def test_two_at_once_are_refused(done: Path) -> None:
    with filelock.FileLock(done / ".lock"):
        assert_refused(invoke(*OPTIONS, *GRID, "-o", done), f"another process is at work in {done}")
    for _ in range(2):  # and nothing is left locked behind
        assert invoke(*OPTIONS, *GRID, "-o", done).exit_code == 0


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(done, folder)
    return folder


def test_damaged_rows_are_made_again_without_training(done: Path, copy: Path) -> None:
    for name, content in (("mlp_2_2_seed0", b'[{"width": 2'), ("mlp_3_3_seed1", b"[]")):
        (copy / "networks" / name / "rows.json").write_bytes(content)
    before = times(copy)
    result = invoke(*OPTIONS, *GRID, "-o", copy)
    assert result.exit_code == 0, result.output
    assert (copy / "results.csv").read_bytes() == (done / "results.csv").read_bytes()
    changed = {name for name, moment in times(copy).items() if before.get(name) != moment}
    assert {name for name in changed if name.endswith((".pt", ".onnx", ".csv"))} == set()
    assert {f"networks/{name}/rows.json" for name in ("mlp_2_2_seed0", "mlp_3_3_seed1")} <= changed


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b'{"epochs": '])
def test_damaged_settings_are_refused(content: bytes, copy: Path) -> None:
    (copy / "sweep.json").write_bytes(content)
    assert_refused(invoke(*OPTIONS, *GRID, "-o", copy), f"{copy / 'sweep.json'} is damaged")


def test_a_damaged_state_is_told_with_its_place(copy: Path) -> None:
    network = copy / "networks" / "mlp_3_3_seed0"
    (network / "rows.json").unlink()
    (network / "state.pt").write_bytes(b"no state")
    assert_refused(invoke(*OPTIONS, *GRID, "-o", copy), f"mlp_3_3_seed0: {network / 'state.pt'} is damaged")


def test_an_analysis_that_fails_is_told_in_its_own_words(copy: Path) -> None:
    network = copy / "networks" / "mlp_3_3_seed0"
    (network / "rows.json").unlink()
    shutil.rmtree(copy / "runs" / "mlp_3_3_seed0_epoch00002")
    (copy / "data.npz").write_bytes((copy / "data.npz").read_bytes()[:1000])
    analysis = ("analyze", network / "model.onnx", "--data", copy / "data.npz", "-o", copy / "own")
    own = subprocess.run(
        [sys.executable, "-m", "lronnx", *analysis], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE
    )
    assert own.returncode == 2
    sentence = own.stderr.strip().splitlines()[-1]
    assert "data.npz" in sentence
    assert_refused(
        invoke(*OPTIONS, *GRID, "-o", copy),
        f"the analysis of {network / 'model.onnx'} ended with exit code 2:",
        " ".join(sentence.split()),
        "the command: ",
    )
    assert not (network / "rows.json").exists()


def test_epochs_of_one_network_without_noise(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = (*OPTIONS, "--widths", 3, "--seeds", 1, "--keep", "0,1,2", "--noise", 0, "-o", folder)
    result = invoke(*options)
    assert result.exit_code == 0, result.output
    rows = table(folder)
    # The last epoch is in a file of its own and in model.onnx.
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    name = "mlp_3_3_seed0"
    for epoch, row in enumerate(rows):
        run = folder / "runs" / f"{name}_epoch{epoch:05d}"
        assert_true(row, folder / "networks" / name / f"epoch_{epoch:05d}.onnx", run, ["train_clean", "test"])
        assert row["train_accuracy"] == row["clean_train_accuracy"]
    assert len({row["absolute_deviation_test"] for row in rows}) == 3
    assert "epoch" in (folder / "statistics.txt").read_text()


def test_epochs_of_several_widths_are_drawn_along_the_widths(done: Path, tmp_path: Path) -> None:
    """As if each network had been analysed at an earlier epoch, too."""
    rows = [
        {key: value for key, value in row.items() if value} | {"epoch": epoch}
        for row in table(done)
        for epoch in (1, EPOCHS)
    ]
    for place in (done, tmp_path):
        sweep_settings = replace(PRESETS["digits"], widths=(2, 3), keep=(1,) if place == tmp_path else ())
        if place == tmp_path:
            with (tmp_path / "results.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(table(done)[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        text = sweep.present(place, sweep_settings)
        assert "width" in text
    assert (tmp_path / "figure.png").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--architecture", "vgg9_w{w}"), "there is no architecture 'vgg9_w"),
        (("--architecture", "mlp_4"), "--architecture 'mlp_4' is the same for every width: write {w}"),
        (("--architecture", "mlp_{w}", "--architecture", "mlp_{w}"), "--architecture names one twice"),
        (("--widths", "0"), "--widths '0'"),
        (("--widths", "1,x"), "--widths '1,x'"),
        (("--widths", ""), "--widths ''"),
        (("--keep", "500"), "'500': epochs are 0 (before training) to 400"),
        (("--seeds", 0), "--seeds"),
        (("--anchors", 1), "--anchors"),
        (("--radius", "nan"), "--radius is nan"),
        (("--radius", 0), "--radius is 0"),
        (("--epochs", 0), "--epochs is 0"),
        (("--noise", 2), "--noise"),
        (("--learning-rate", "nan"), "--learning-rate is nan"),
        (("--train-samples", 2000), "2000 training images of digits cannot be drawn"),
        (("--data", "nowhere"), "'nowhere' is neither digits"),
        (("--data-folder", "nowhere"), "a folder of data is for"),
        (("--momentum", "-1"), "--momentum is -1.0"),
        (("--evaluate-every", "0"), "--evaluate-every is 0"),
    ],
)
def test_bad_options(options: tuple[object, ...], told: str, tmp_path: Path) -> None:
    assert_refused(invoke("digits", *options, "--device", "cpu", "-o", tmp_path / "run"), told)
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_refusal_does_not_take_the_folder(tmp_path: Path) -> None:
    too_many = replace(TINY, train_samples=5000)
    images = data.load("digits")
    with pytest.raises(data.DataError, match="5000 training images"):
        sweep.perform(too_many, images, tmp_path, workers=1, device="cpu")
    assert not (tmp_path / "sweep.json").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    # As models.train --save-data leaves it: these images are not the sweep's.
    (tmp_path / "data.npz").write_bytes(b"others")
    assert_refused(invoke("digits", "-o", tmp_path), tmp_path.name, "holds data.npz, but no sweep", "another")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["data.npz"]
    assert (tmp_path / "data.npz").read_bytes() == b"others"


def test_bad_places(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert_refused(invoke("digits", "--device", "cpu", "-o", taken), str(taken))
    assert_refused(invoke("cnn", "-o", tmp_path), "'cnn' is not one of 'digits'")
    if not torch.cuda.is_available():
        assert_refused(invoke("digits", "--device", "cuda", "-o", tmp_path / "run"), "--device cuda")


def test_packages_that_are_missing_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sweep.check_installed.__globals__["importlib"].util
    monkeypatch.setattr(found, "find_spec", lambda name: None if name == "matplotlib" else name)
    assert_refused(invoke("digits", "-o", tmp_path / "run"), "the package matplotlib is not installed")
    assert not (tmp_path / "run").exists()


# --- pieces ---------------------------------------------------------------------------------------------------

TINY = Sweep(("mlp_{w}", "mlp_{w}_{w}"), (2, 5), 2, "digits", 1, 0.1)


def test_every_setting_is_an_option() -> None:
    options = {parameter.name for parameter in sweep.main.params}
    assert {one.name for one in fields(Sweep)} <= options


def test_items_are_every_architecture_width_and_seed() -> None:
    found = sweep.items(TINY)
    assert {(item.architecture, item.width, item.seed) for item in found} == {
        (template.replace("{w}", str(width)), width, seed)
        for template in TINY.architectures for width in TINY.widths for seed in range(2)
    }  # fmt: skip
    assert len(found) == 8
    assert [item.width for item in found] == [5] * 4 + [2] * 4
    assert len({item.name for item in found}) == 8


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_built_and_identified(preset: str) -> None:
    from models import architectures

    chosen = PRESETS[preset]
    shape = (1, 8, 8) if chosen.data == "digits" else (3, 32, 32)
    for item in sweep.items(chosen):
        with torch.device("meta"):
            architectures.build(item.architecture, shape, 10)
        experiment = chosen.experiment(item.architecture, item.seed)
        assert (experiment.seed, experiment.recipe.seed) == (item.seed, item.seed)
        assert (experiment.noise, experiment.recipe.epochs) == (chosen.noise, chosen.epochs)
    identity = chosen.identity(data.load("digits"))
    assert json.loads(json.dumps(identity)) == identity
    assert not {"architectures", "widths", "seeds", "title"} & identity.keys()


@pytest.mark.parametrize(
    ("content", "good"),
    [
        ('[{"width": 2, "seed": 0}]', True),
        ('[{"width": 2, "thickness": 0}]', False),
        ("[]", False),
        ("[3]", False),
        ('{"width": 2}', False),
        ("[", False),
        ("\ud800", False),
    ],
)
def test_rows_that_are_there(content: str, good: bool, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    assert sweep._finished(path) is None
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert sweep._finished(path) == (json.loads(content) if good else None)


def test_lines_leave_out_what_is_unknown() -> None:
    row = {
        "train_accuracy": 0.75, "test_accuracy": 0.5, "density_test": 1.5, "absolute_deviation_test": 0.25,
        "density_train_clean": None, "absolute_deviation_train_clean": None,
    }  # fmt: skip
    told = sweep.told(Item("mlp_2", 2, 1), [{}, row])
    assert told == "mlp_2_seed1: error: train 25.0%, test 50.0%; density, deviation: test 1.5, 0.25"


@pytest.mark.parametrize("order", [1, -1])
def test_groups_of_a_summary(order: int) -> None:
    splits = [{"split": "train", "paths": 4}, {"split": "test", "paths": 3}][::order]
    apart = [
        {"split": "train", "corrupted": False, "paths": 1}, {"split": "train", "corrupted": True, "paths": 2},
        {"split": "test", "corrupted": False, "paths": 3},
    ][::order]  # fmt: skip
    with_noise = sweep.measured_groups({"groups": {"split": splits, "split_and_corrupted": apart}})
    assert {name: group["paths"] for name, group in with_noise.items()} == {
        "train_clean": 1, "train_corrupted": 2, "test": 3
    }  # fmt: skip
    without = sweep.measured_groups({"groups": {"split": splits, "split_and_corrupted": []}})
    assert {name: group["paths"] for name, group in without.items()} == {"train_clean": 4, "test": 3}


def test_workers_stop_if_anything_fails_between_two_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[bool] = []

    def ready(*_arguments: Any) -> Iterator[tuple[Item, list[dict[str, Any]]]]:
        try:
            for item in sweep.items(TINY):
                yield item, [{"architecture": item.architecture, "width": item.width, "seed": item.seed, "epoch": 1}]
        finally:
            stopped.append(True)

    def report(_item: Item, _rows: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_in_processes", ready)
    images = data.load("digits")
    try:
        sweep.perform(TINY, images, tmp_path, workers=1, device="cpu", report=report)
    except KeyboardInterrupt:
        # While the error is at hand, the frames that it came through are kept alive.
        assert stopped == [True]
    else:
        pytest.fail("the interruption was swallowed")


def test_networks_that_diverge_leave_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = sweep.Sweep(("mlp_{w}",), (1, 2), 1, "digits", epochs=1, learning_rate=0.1)
    wide, narrow = sweep.items(planned)
    row = {"architecture": "mlp_1", "width": 1, "seed": 0, "epoch": 1, "train_accuracy": 0.5, "test_accuracy": 0.25}

    def ready(*_given: object) -> Generator[Any, None, None]:
        yield wide, training.Diverged(f"{wide.name}: it diverged")
        yield narrow, [row]

    monkeypatch.setattr(sweep, "_in_processes", ready)
    with pytest.raises(training.Diverged, match=r"^1 of 2 networks diverged:\nmlp_2_seed0: it diverged$"):
        sweep.perform(planned, data.load("digits"), tmp_path, workers=1, device="cpu")
    assert results.read(tmp_path / "results.csv").architectures == ("mlp_1",)


def test_a_sweep_that_diverges_says_so(tmp_path: Path) -> None:
    result = invoke("digits", "--widths", 2, "--seeds", 1, "--epochs", 1, "--learning-rate", 1e30, "-o", tmp_path)
    assert_refused(result, "1 of 1 networks diverged: mlp_2_2_seed0: the training loss is nan", "--learning-rate")


@pytest.mark.parametrize("received", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_until_the_workers_are_started(received: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = []
    with pytest.raises(KeyboardInterrupt), sweep._terminated_like_interrupted() as held:  # noqa: PT012
        with held():
            os.kill(os.getpid(), received)
            time.sleep(0.01)
            reached.append("started")
        reached.append("too far")
    assert reached == ["started"]
    with pytest.raises(KeyboardInterrupt), sweep._terminated_like_interrupted() as held:  # noqa: PT012
        with held():
            pass
        os.kill(os.getpid(), received)
        time.sleep(1)
        reached.append("too far")
    assert reached == ["started"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_measures_that_are_unknown_stay_so() -> None:
    measures = {
        name: {"mean": 6.0 if name == "regions" else None}
        for name in (
            "density", "regions", "absolute_deviation_norm", "mean_absolute_deviation_norm", "total_variation_norm",
            "local_similarity",
        )
    }  # fmt: skip
    found = sweep._measures({"paths": 2, "measures": measures}, 3)
    assert found["breakpoints_per_segment"] == 1
    assert found["local_similarity"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in found.values())


def test_default_workers_are_the_cores_that_are_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 96 if logical else 48)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert sweep._cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(96)))
    assert sweep._cores() == 48
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None)
    assert sweep._cores() == 1


@pytest.mark.parametrize("there", [True, False])
def test_training_and_analysis_choose_their_devices_for_themselves(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    commands: list[list[str]] = []

    def watched(_worker: sweep.Worker, command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        return 0, "{}", ""

    monkeypatch.setattr(sweep.Worker, "_watched", watched)
    exported = Exported(tmp_path / "model.onnx", 1, None, 1, 1, 0.0)  # type: ignore[arg-type]
    for wanted in ("auto", "cpu") + ("cuda",) * there:
        worker = sweep.Worker(replace(TINY, noise=0.0), None, tmp_path, wanted, lambda: False)  # type: ignore[arg-type]
        worker._analyze(Item("mlp_2", 2, 0), exported)
        assert worker.device.type == ("cuda" if there and wanted != "cpu" else "cpu")
        assert commands[-1][commands[-1].index("--device") + 1] == wanted


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_sweeps_without_a_radius(radius: float) -> None:
    with pytest.raises(TrainingError, match="--radius"):
        replace(TINY, radius=radius)


# --- interruptions --------------------------------------------------------------------------------------------

# Epochs enough that an interruption meets trainings as well as analyses.
LONG = [*OPTIONS, *GRID, "--epochs", 300]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    completed(*LONG, "-o", folder)
    return (folder / "results.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill the group", "kill the main process", "SIGINT", "SIGTERM", "SIGINT to all"])
def test_an_interrupted_sweep_ends_like_another(how: str, undisturbed: bytes, tmp_path: Path) -> None:
    generator = np.random.default_rng(len(how))
    for _ in range(3):
        running = Running.start(*LONG, "-o", tmp_path)
        try:
            running.wait_for_workers()
        except AssertionError:
            if running.process.poll() == 0:
                break  # a fast machine was done before all interruptions
            raise
        time.sleep(generator.choice([0, generator.uniform(0, 6)]))  # often while the workers are just beginning
        family = running.family()
        if how == "kill the group":
            os.killpg(running.process.pid, signal.SIGKILL)
        elif how == "kill the main process":
            running.process.kill()
        elif how == "SIGINT to all":
            os.killpg(running.process.pid, signal.SIGINT)
        else:
            running.process.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
        code, told = running.ended(family)
        # One that has written everything may be met while the interpreter ends.
        ended_by = {-signal.SIGINT, 0} if "wrote " in told else {0}
        assert code in ended_by | {-signal.SIGKILL if "kill" in how else 130}, told
        assert "Traceback" not in told
    completed(*LONG, "-o", tmp_path)
    assert (tmp_path / "results.csv").read_bytes() == undisturbed
    # Files that were being written are left, if at all, under names that nobody takes for them.
    assert not [
        path for path in tmp_path.rglob("*.onnx") if path.name.startswith("model") and path.name != "model.onnx"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "analysis"])
def test_a_worker_that_is_killed_is_told_and_leaves_nothing(moment: str, undisturbed: bytes, tmp_path: Path) -> None:
    running = Running.start(*LONG, "-o", tmp_path)
    pattern = "networks/*/log.csv" if moment == "training" else "runs/*/manifest.json"
    if moment == "training":
        running.wait_for_workers()
        time.sleep(5)
    else:
        running.wait_for(lambda: list(tmp_path.glob(pattern)))
    family = running.family()
    workers = [process for process in psutil.Process(running.process.pid).children() if "fork" in process.cmdline()[-1]]
    # Of the workers rather the one that waits for an analysis.
    chosen = max(workers, key=lambda process: len(process.children()))
    if moment == "analysis":
        running.wait_for(lambda: any(process.children() for process in workers))
        chosen = next(process for process in workers if process.children())
        time.sleep(1.1)
    chosen.kill()
    code, told = running.ended(family)
    assert code == 2
    assert "Error: a worker process died, killed or out of memory; the same command goes on" in " ".join(told.split())
    assert "Traceback" not in told
    completed(*LONG, "-o", tmp_path)
    assert (tmp_path / "results.csv").read_bytes() == undisturbed


@pytest.mark.slow
def test_two_sweeps_in_one_folder(tmp_path: Path) -> None:
    running = Running.start(*LONG, "-o", tmp_path)
    running.wait_for_workers()
    second = Running.start(*LONG, "-o", tmp_path)
    code, told = second.ended(second.family())
    assert code == 2
    assert "another process is at work in" in " ".join(told.split())
    family = running.family()
    running.process.terminate()
    assert running.ended(family)[0] == 130
