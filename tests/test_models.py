"""The example network that comes with lronnx, and the script that trains and exports it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

import lronnx

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("LRONNX_SHARED") or ROOT.parent / "shared") / "data"
EXAMPLE = ROOT / "lronnx" / "example"
METADATA_KEYS = {
    f"lronnx.{key}"
    for key in (
        "architecture",
        "dataset",
        "scale",
        "mean",
        "std",
        "labels",
        "seed",
        "accuracy_train",
        "accuracy_test",
    )
}


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def assert_self_contained_and_anonymous(path: Path) -> None:
    """No weight lies in another file, and nothing tells where or from which source the file was made."""
    content = path.read_bytes()
    for trace in (str(ROOT), str(Path.home()), "site-packages", 'File "', ".py"):
        assert trace.encode() not in content, f"{path.name} contains {trace!r}"
    model = onnx.load_from_string(content)
    graph = model.graph
    for described in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        assert not described.doc_string
        assert not described.metadata_props
    assert not model.doc_string
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(path.name)] == [path.name]


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    return onnx.load(EXAMPLE / "digits.onnx")


def test_shipped_model_is_small_and_self_contained() -> None:
    path = EXAMPLE / "digits.onnx"
    assert path.stat().st_size < 300_000
    assert_self_contained_and_anonymous(path)
    onnx.checker.check_model(path, full_check=True)


def test_shipped_model_holds_float32_weights(shipped: onnx.ModelProto) -> None:
    kinds = {onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type) for tensor in shipped.graph.initializer}
    assert np.dtype(np.float32) in kinds
    # Shapes are int64; no weight may be of any other precision.
    assert kinds <= {np.dtype(np.float32), np.dtype(np.int64)}


def test_shipped_model_takes_any_number_of_images(shipped: onnx.ModelProto) -> None:
    [image], [logits] = shipped.graph.input, shipped.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    dims = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (image, logits)]
    assert dims == [["batch", 1, 8, 8], ["batch", 10]]
    session = onnxruntime.InferenceSession(EXAMPLE / "digits.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        [output] = session.run(None, {"image": np.zeros((rows, 1, 8, 8), np.float32)})
        assert output.shape == (rows, 10)


def test_shipped_model_shows_what_lronnx_handles(shipped: onnx.ModelProto) -> None:
    used = {node.op_type for node in shipped.graph.node}
    assert {"Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "Gemm"} <= used


def test_shipped_metadata(shipped: onnx.ModelProto) -> None:
    entries = metadata(shipped)
    assert set(entries) == METADATA_KEYS
    assert json.loads(entries["lronnx.scale"]) == 1 / 16
    assert json.loads(entries["lronnx.mean"]) == [0]
    assert json.loads(entries["lronnx.std"]) == [1]
    assert json.loads(entries["lronnx.labels"]) == list("0123456789")
    assert json.loads(entries["lronnx.accuracy_test"]) >= 0.97


def test_shipped_points_are_images_of_two_digits_that_the_model_recognizes() -> None:
    with np.load(EXAMPLE / "digits.npz") as points:
        assert set(points.files) == {"start", "end", "start_label", "end_label"}
        images = np.stack([points["start"], points["end"]])
        labels = [int(points["start_label"]), int(points["end_label"])]
    assert images.dtype == np.float32
    assert images.shape == (2, 1, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert np.array_equal(images * 16, np.round(images * 16))
    assert labels[0] != labels[1]
    session = onnxruntime.InferenceSession(EXAMPLE / "digits.onnx", providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"image": images})
    assert logits.argmax(1).tolist() == labels


def test_shipped_data_are_what_the_model_was_trained_and_tested_with(shipped: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(EXAMPLE / "digits.onnx", providers=["CPUExecutionProvider"])
    entries = metadata(shipped)
    with np.load(EXAMPLE / "digits_data.npz") as data:
        assert set(data.files) == {"x_train", "y_train", "x_test", "y_test"}
        assert (len(data["x_train"]), len(data["x_test"])) == (1347, 450)
        for split in ("train", "test"):
            images = data[f"x_{split}"]
            assert (images.dtype, images.shape[1:], images.max()) == (np.uint8, (8, 8), 16)
            scaled = images[:, None] * np.float32(json.loads(entries["lronnx.scale"]))
            [logits] = session.run(None, {"image": scaled})
            accuracy = (logits.argmax(1) == data[f"y_{split}"]).mean()
            assert round(accuracy, 4) == json.loads(entries[f"lronnx.accuracy_{split}"])


VGG8 = ROOT / "models" / "trained" / "vgg8_cifar10.onnx"


def test_the_trained_vgg8_is_what_the_readme_says() -> None:
    assert_self_contained_and_anonymous(VGG8)
    model = onnx.load(VGG8)
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert sum(array.size for array in weights if array.dtype == np.float32) == 174_116
    told = metadata(model)
    assert (told["lronnx.architecture"], told["lronnx.relu_units"]) == ("vgg8", "28792")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for split in ("train", "test"):
        assert f"{100 * float(told[f'lronnx.accuracy_{split}']):.1f} %" in readme


def test_the_trained_vgg8_recognizes_what_it_was_tested_with() -> None:
    images = SHARED / "cifar10_test100.npz"
    if not images.exists():
        pytest.skip(f"the images are not there: {images}")
    told = metadata(onnx.load(VGG8))
    scale, mean, std = (np.array(json.loads(told[f"lronnx.{key}"]), np.float32) for key in ("scale", "mean", "std"))
    with np.load(images) as data:
        inputs = ((data["images"] * scale - mean) / std).transpose(0, 3, 1, 2)
        [logits] = onnxruntime.InferenceSession(VGG8, providers=["CPUExecutionProvider"]).run(None, {"image": inputs})
        accuracy = (logits.argmax(1) == data["labels"]).mean()
    # Of 100 images, four standard errors around what was found on 10,000.
    assert abs(accuracy - float(told["lronnx.accuracy_test"])) < 4 * 0.039


def test_the_trained_vgg8_is_walked() -> None:
    rng = np.random.default_rng(0)
    walk = lronnx.load(VGG8, threads=1).walk(*rng.normal(size=(2, 3, 32, 32)) * 0.2)
    assert walk.self_check.ok
    assert walk.regions > 500


RESNET = ROOT / "models" / "trained" / "resnet18bn_digits.onnx"


def test_the_trained_resnet_keeps_its_batch_norms_and_recognizes_digits() -> None:
    assert_self_contained_and_anonymous(RESNET)
    model = onnx.load(RESNET)
    assert sum(node.op_type == "BatchNormalization" for node in model.graph.node) == 20
    told = metadata(model)
    assert (told["lronnx.architecture"], told["lronnx.batch_norm"]) == ("resnet18bn_w2", "nodes of their own")
    with np.load(EXAMPLE / "digits_data.npz") as data:
        images, labels = data["x_test"][:, None] * np.float32(json.loads(told["lronnx.scale"])), data["y_test"]
    [logits] = onnxruntime.InferenceSession(RESNET, providers=["CPUExecutionProvider"]).run(None, {"image": images})
    # Some of these digits, split otherwise, it was trained with.
    assert (logits.argmax(1) == labels).mean() > float(told["lronnx.accuracy_test"]) - 0.02


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    pytest.importorskip("sklearn")
    from models import digits

    return digits


def test_training_improves_and_repeats(script: ModuleType) -> None:
    data = script.load(seed=0)
    assert len(data.train_images) == len(data.train_labels) > len(data.test_images) == len(data.test_labels)

    def accuracy(epochs: int) -> float:
        network = script.train(data, epochs=epochs, seed=0)
        return float(script.accuracy(network, data.test_images, data.test_labels))

    untrained, trained = accuracy(0), accuracy(2)
    assert untrained < 0.5 < 0.8 < trained
    assert accuracy(2) == trained


def test_export(script: ModuleType, tmp_path: Path) -> None:
    import torch

    data = script.load(seed=1)
    network = script.train(data, epochs=1, seed=1)
    reported = script.write(network, data, tmp_path, seed=1)
    assert {path.name for path in tmp_path.iterdir()} == {"digits.onnx", "digits.npz", "digits_data.npz"}
    with np.load(tmp_path / "digits_data.npz") as written:
        for split, images in (("train", data.train_images), ("test", data.test_images)):
            assert np.array_equal(written[f"x_{split}"][:, None] / np.float32(16), images.numpy())
            assert np.array_equal(written[f"y_{split}"], getattr(data, f"{split}_labels").numpy())
    assert_self_contained_and_anonymous(tmp_path / "digits.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "digits.onnx", providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"image": data.test_images.numpy()})
    with torch.no_grad():
        expected = network(data.test_images).numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=script.TOLERANCE)
    assert np.abs(logits - expected).max() <= reported

    entries = metadata(onnx.load(tmp_path / "digits.onnx"))
    assert set(entries) == METADATA_KEYS
    assert json.loads(entries["lronnx.seed"]) == 1
    correct = (logits.argmax(1) == data.test_labels.numpy()).mean()
    assert json.loads(entries["lronnx.accuracy_test"]) == pytest.approx(correct, abs=1e-4)


def test_export_refuses_what_it_would_export_wrongly(script: ModuleType, tmp_path: Path) -> None:
    import torch

    from models.export import export_onnx

    names = {"input_name": "image", "output_name": "logits", "metadata": {}}
    network = script.DigitsNet()
    with pytest.raises(ValueError, match="training mode"):
        export_onnx(network, torch.zeros(2, 1, 8, 8), tmp_path / "digits.onnx", **names)
    with pytest.raises(ValueError, match="two rows"):
        export_onnx(network.eval(), torch.zeros(1, 1, 8, 8), tmp_path / "digits.onnx", **names)
