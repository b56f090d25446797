"""Small networks for scikit-learn's digits in four frameworks, with the same weights, each as its exporters write it.

The weights of an MLP are trained in scikit-learn, those of a residual network in PyTorch; Keras and JAX are given
them, and PyTorch is given the MLP's. Besides, each framework trains a network of its own, of other layers. PyTorch and
scikit-learn are needed for all of it; Keras (with TensorFlow) and JAX are imported only by what is about them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from models import data
from models.digits import BATCH, TRAIN_COUNT, ResidualBlock
from models.export import quiet, strip_provenance

Floats = NDArray[np.float32]
Layout = Literal["flat", "chw", "hwc"]
"""How an input holds an image: as one row of numbers, channels first, or channels last."""
LAYOUTS: tuple[Layout, ...] = ("flat", "chw", "hwc")

OPSET = 17  # what all exporters that can be asked for one are asked for
CLASSES = 10
HIDDEN = (16, 16)  # of the MLP
CHANNELS, DENSE = 4, 16  # of the residual network
EPSILON = 1e-5  # of BatchNorm, whose default is not the same everywhere
SLOPE = 0.1  # of leaky ReLUs
INK = (0.3, 1.0)  # the colour of a coloured digit, per channel, is drawn from here

SCIKIT_LEARN, PYTORCH, KERAS, JAX = "scikit-learn", "PyTorch", "Keras", "JAX"


@dataclass(frozen=True)
class Digits:
    """The digits, grey (N, 1, 8, 8) or coloured (N, 3, 8, 8), float32 in [0, 1], and their labels int64 (N,)."""

    train_images: Floats
    train_labels: NDArray[np.int64]
    test_images: Floats
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Made:
    """A network as one framework holds it and one of its exporters wrote it.

    ``layout``: of the file's input. ``output``: the name of the output to be looked at, None for the only one; it holds
    probabilities where ``probabilities`` says so, logits elsewhere. ``predict``: float32 images (N, C, H, W) to the
    framework's own float32 logits (N, classes), or to its log-probabilities. ``parameters``: the numbers that the
    framework holds, of any shapes. ``batch_norms``: how many BatchNorm layers the network has.
    """

    network: str
    framework: str
    exporter: str
    layout: Layout
    model: onnx.ModelProto
    predict: Callable[[Floats], Floats]
    parameters: tuple[Floats, ...]
    output: str | None = None
    probabilities: bool = False
    batch_norms: int = 0


def arranged(images: Floats, layout: Layout) -> Floats:
    """Images (N, C, H, W) in a layout."""
    if layout == "flat":
        return images.reshape(len(images), -1)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if layout == "hwc" else images


def load(seed: int) -> Digits:
    """The digits as they come with scikit-learn, split as ``seed`` decides."""
    split = data.digits(train=TRAIN_COUNT, seed=seed)
    return Digits(
        split.normalized(split.train_images), split.train_labels, split.normalized(split.test_images), split.test_labels
    )


def coloured(digits: Digits, seed: int) -> Digits:
    """Each digit on black, in a colour of its own.

    An image of one channel is the same numbers in the same order whether its channels come first or last; three
    channels tell the layouts apart.
    """
    rng = np.random.default_rng(seed)

    def colour(images: Floats) -> Floats:
        return (images * rng.uniform(*INK, (len(images), 3, 1, 1))).astype(np.float32)

    return Digits(colour(digits.train_images), digits.train_labels, colour(digits.test_images), digits.test_labels)


# What is trained in one framework and loaded into others.


class ResidualNet(nn.Module):
    """Images (N, 3, 8, 8) to logits (N, 10): a convolution, max-pooling, a pre-activation residual block, two layers.

    Two of the three BatchNorms come right behind a convolution, so that an exporter may fold them into it, and one
    behind a pooling, into which nothing can be folded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS, eps=EPSILON)
        self.block = ResidualBlock(CHANNELS)
        self.dense = nn.Linear(CHANNELS * 4 * 4, DENSE)
        self.head = nn.Linear(DENSE, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        h = functional.max_pool2d(functional.relu(self.norm(self.stem(image))), 2)
        h = functional.relu(self.block(h))
        logits: torch.Tensor = self.head(functional.relu(self.dense(h.flatten(1))))
        return logits


BATCH_NORMS = 3


def train_mlp(digits: Digits, *, epochs: int, seed: int) -> MLPClassifier:
    """An MLP for grey digits, trained in scikit-learn, its weights float32 as the images are."""
    classifier = MLPClassifier(HIDDEN, max_iter=epochs, random_state=seed, learning_rate_init=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs were asked for
        return classifier.fit(arranged(digits.train_images, "flat"), digits.train_labels)


def train_torch(module: nn.Module, digits: Digits, *, epochs: int, seed: int) -> nn.Module:
    """Train a torch module in place and return it in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    optimizer = torch.optim.Adam(module.train().parameters(), lr=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(module(images[rows]), labels[rows]).backward()
            optimizer.step()
    return module.eval()


def train_residual(digits: Digits, *, epochs: int, seed: int) -> ResidualNet:
    """A :class:`ResidualNet` for coloured digits, trained in PyTorch."""
    torch.manual_seed(seed)
    module = ResidualNet()
    train_torch(module, digits, epochs=epochs, seed=seed)
    return module


# scikit-learn


def sklearn_mlp(classifier: MLPClassifier) -> Iterator[Made]:
    """The MLP as skl2onnx writes it: labels come first, and probabilities behind a softmax."""
    yield _sklearn("mlp", classifier, (*classifier.coefs_, *classifier.intercepts_))


def sklearn_own(digits: Digits, *, epochs: int, seed: int) -> Iterator[Made]:
    """An MLP behind a StandardScaler, whose pipeline is exported as a whole."""
    pipeline: Pipeline = make_pipeline(
        StandardScaler(), MLPClassifier((12,), max_iter=epochs, random_state=seed, learning_rate_init=0.01)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(arranged(digits.train_images, "flat"), digits.train_labels)
    scaler, classifier = (step for _, step in pipeline.steps)
    yield _sklearn(
        "scikit-learn's own", pipeline, (scaler.mean_, scaler.scale_, *classifier.coefs_, *classifier.intercepts_)
    )


def _sklearn(network: str, estimator: Any, parameters: Sequence[NDArray[Any]]) -> Made:
    import skl2onnx

    model = skl2onnx.to_onnx(
        estimator, np.zeros((1, 64), np.float32), target_opset=OPSET, options={id(estimator): {"zipmap": False}}
    )
    return Made(
        network,
        SCIKIT_LEARN,
        "skl2onnx",
        "flat",
        _anonymous(model),
        lambda images: estimator.predict_log_proba(arranged(images, "flat")),
        tuple(parameter.astype(np.float32) for parameter in parameters),
        output="probabilities",
        probabilities=True,
    )


# PyTorch


def torch_mlp(classifier: MLPClassifier) -> Iterator[Made]:
    """scikit-learn's MLP as a torch module that takes images (N, 1, 8, 8)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for weight, bias in zip(classifier.coefs_, classifier.intercepts_, strict=True):
        linear = nn.Linear(*weight.shape)
        linear.load_state_dict({"weight": torch.tensor(weight.T), "bias": torch.tensor(bias)})
        layers += [linear, nn.ReLU()]
    yield from _torch("mlp", nn.Sequential(*layers[:-1]), (1, 8, 8))


def torch_residual(module: ResidualNet) -> Iterator[Made]:
    """The residual network, at first by the exporter that leaves every BatchNorm and all weights as they are."""
    yield from _torch("cnn", module, (3, 8, 8), batch_norms=BATCH_NORMS)


class Branches(nn.Module):
    """Images (N, 1, 8, 8) to logits (N, 10): two strided convolutions side by side, PReLU, average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.large = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.activation = nn.PReLU(8)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(8 * 2 * 2, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        h = self.activation(torch.cat([self.small(image), self.large(image)], dim=1))
        logits: torch.Tensor = self.head(self.pool(h).flatten(1))
        return logits


def torch_own(digits: Digits, *, epochs: int, seed: int) -> Iterator[Made]:
    """A network with branches that are concatenated, trained in PyTorch."""
    torch.manual_seed(seed)
    yield from _torch("PyTorch's own", train_torch(Branches(), digits, epochs=epochs, seed=seed), (1, 8, 8))


def _torch(network: str, module: nn.Module, shape: tuple[int, ...], batch_norms: int = 0) -> Iterator[Made]:
    module = module.eval()

    def predict(images: Floats) -> Floats:
        with torch.no_grad():
            logits: Floats = module(torch.from_numpy(images)).numpy()
        return logits

    parameters = tuple(value.numpy() for value in module.state_dict().values() if value.is_floating_point())
    made = partial(
        Made, network, PYTORCH, layout="chw", predict=predict, parameters=parameters, batch_norms=batch_norms
    )
    sample = torch.zeros(2, *shape)  # of one row the exporters would take the 1 for a constant
    if batch_norms:
        preserved = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
        yield made("TorchScript, as it is", model=_torchscript(module, sample, **preserved))
    yield made("TorchScript", model=_torchscript(module, sample))
    with quiet():
        program = torch.onnx.export(
            module,
            (sample,),
            input_names=["image"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # None is what the other exporter returns
    yield made("dynamo", model=_anonymous(program.model_proto))


def _torchscript(module: nn.Module, sample: torch.Tensor, **options: Any) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is the former exporter is why it is asked for
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (sample,),
            path,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
            **options,
        )
        return _anonymous(onnx.load(path))


# Keras


def keras_mlp(classifier: MLPClassifier) -> Iterator[Made]:
    """scikit-learn's MLP as a Keras model that takes images (N, 8, 8, 1)."""
    keras = _keras()
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(units, activation="relu") for units in HIDDEN]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    model.set_weights([array for pair in zip(classifier.coefs_, classifier.intercepts_, strict=True) for array in pair])
    yield from _from_keras("mlp", model)


def keras_residual(module: ResidualNet) -> Iterator[Made]:
    """PyTorch's residual network as a Keras model that takes images (N, 8, 8, 3)."""
    keras = _keras()
    layers = keras.layers
    made: list[tuple[Any, list[Floats]]] = []

    def convolution(weight: str, h: Any) -> Any:
        bias = weight.replace("weight", "bias")
        arrays = [_kernel(values[weight]), *([values[bias]] if bias in values else [])]
        made.append((layers.Conv2D(CHANNELS, 3, padding="same", use_bias=len(arrays) > 1), arrays))
        return made[-1][0](h)

    def norm(prefix: str, h: Any) -> Any:
        parts = ("weight", "bias", "running_mean", "running_var")
        made.append((layers.BatchNormalization(epsilon=EPSILON), [values[f"{prefix}.{part}"] for part in parts]))
        return made[-1][0](h)

    def dense(units: int, kernel: Floats, bias: Floats, h: Any) -> Any:
        made.append((layers.Dense(units), [kernel, bias]))
        return made[-1][0](h)

    values = _values(module)
    image = keras.Input((8, 8, 3))
    h = layers.MaxPooling2D(2)(layers.ReLU()(norm("norm", convolution("stem.weight", image))))
    branch = layers.ReLU()(norm("block.branch.0", h))
    branch = layers.ReLU()(norm("block.branch.3", convolution("block.branch.2.weight", branch)))
    h = layers.ReLU()(layers.Add()([h, convolution("block.branch.5.weight", branch)]))
    h = layers.ReLU()(
        dense(DENSE, _behind_channels_last(values["dense.weight"]), values["dense.bias"], layers.Flatten()(h))
    )
    model = keras.Model(image, dense(CLASSES, values["head.weight"].T, values["head.bias"], h))
    for layer, arrays in made:
        layer.set_weights(arrays)
    yield from _from_keras("cnn", model, batch_norms=BATCH_NORMS)


def keras_own(digits: Digits, *, epochs: int, seed: int) -> Iterator[Made]:
    """A network with leaky ReLUs, a depthwise convolution and a softmax at its end, trained in Keras."""
    keras = _keras()
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same"),
            layers.LeakyReLU(negative_slope=SLOPE),
            layers.AveragePooling2D(2),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    model.fit(arranged(digits.train_images, "hwc"), digits.train_labels, batch_size=BATCH, epochs=epochs, verbose=0)
    yield from _from_keras("Keras' own", model, batch_norms=1, probabilities=True)


def _keras() -> Any:
    """Keras with TensorFlow behind it, on the CPU, where float32 is not rounded to fewer digits."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which it would tell of at every start
    import keras
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")
    return keras


def _from_keras(network: str, model: Any, batch_norms: int = 0, probabilities: bool = False) -> Iterator[Made]:
    import tensorflow
    import tf2onnx

    def predict(images: Floats) -> Floats:
        outputs: Floats = model(arranged(images, "hwc"), training=False).numpy()
        return np.log(outputs) if probabilities else outputs

    made = partial(
        Made,
        network,
        KERAS,
        layout="hwc",
        predict=predict,
        parameters=tuple(model.get_weights()),
        probabilities=probabilities,
        batch_norms=batch_norms,
    )
    signature = [tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.float32, name="image")]
    # tf2onnx's from_keras does not know the outputs of a Sequential of Keras 3.
    function = tensorflow.function(lambda image: model(image, training=False), input_signature=signature)
    with _silent("tf2onnx", "tensorflow"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*np.object", category=FutureWarning)  # of Keras' own making
        exported, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
        yield made("tf2onnx", model=_anonymous(exported))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            model.export(path, format="onnx", verbose=False)
            yield made("model.export", model=_anonymous(onnx.load(path)))


# JAX


def jax_mlp(classifier: MLPClassifier) -> Iterator[Made]:
    """scikit-learn's MLP as a function of jax.numpy that takes rows (N, 64)."""
    jax = _jax()
    layers = [
        (jax.numpy.asarray(weight), jax.numpy.asarray(bias))
        for weight, bias in zip(classifier.coefs_, classifier.intercepts_, strict=True)
    ]

    def mlp(h: Any) -> Any:
        for weight, bias in layers[:-1]:
            h = jax.nn.relu(h @ weight + bias)
        weight, bias = layers[-1]
        return h @ weight + bias

    parameters = [np.asarray(array) for pair in layers for array in pair]
    yield _from_jax("mlp", mlp, (64,), "flat", parameters)


def jax_residual(module: ResidualNet) -> Iterator[Made]:
    """PyTorch's residual network as a module of Flax that takes images (N, 8, 8, 3)."""
    jax = _jax()
    from flax import nnx

    values = _values(module)
    rngs = nnx.Rngs(0)

    def convolution(weight: str, inputs: int) -> Any:
        bias = values.get(weight.replace("weight", "bias"))
        layer = nnx.Conv(inputs, CHANNELS, (3, 3), padding="SAME", use_bias=bias is not None, rngs=rngs)
        layer.kernel[...] = jax.numpy.asarray(_kernel(values[weight]))
        if bias is not None:
            layer.bias[...] = jax.numpy.asarray(bias)
        return layer

    def norm(prefix: str) -> Any:
        layer = nnx.BatchNorm(CHANNELS, epsilon=EPSILON, use_running_average=True, rngs=rngs)
        parts = {"weight": layer.scale, "bias": layer.bias, "running_mean": layer.mean, "running_var": layer.var}
        for part, variable in parts.items():
            variable[...] = jax.numpy.asarray(values[f"{prefix}.{part}"])
        return layer

    def dense(kernel: Floats, bias: Floats) -> Any:
        layer = nnx.Linear(*kernel.shape, rngs=rngs)
        layer.kernel[...], layer.bias[...] = jax.numpy.asarray(kernel), jax.numpy.asarray(bias)
        return layer

    class Residual(nnx.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.stem, self.norm = convolution("stem.weight", 3), norm("norm")
            self.before, self.first = norm("block.branch.0"), convolution("block.branch.2.weight", CHANNELS)
            self.between, self.second = norm("block.branch.3"), convolution("block.branch.5.weight", CHANNELS)
            self.dense = dense(_behind_channels_last(values["dense.weight"]), values["dense.bias"])
            self.head = dense(values["head.weight"].T, values["head.bias"])

        def __call__(self, image: Any) -> Any:
            h = nnx.max_pool(nnx.relu(self.norm(self.stem(image))), window_shape=(2, 2), strides=(2, 2))
            h = nnx.relu(h + self.second(nnx.relu(self.between(self.first(nnx.relu(self.before(h)))))))
            return self.head(nnx.relu(self.dense(h.reshape(h.shape[0], -1))))

    network = Residual()
    parameters = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(network, (nnx.Param, nnx.BatchStat)))]
    yield _from_jax("cnn", network, (8, 8, 3), "hwc", parameters, batch_norms=BATCH_NORMS)


def jax_own(digits: Digits, *, epochs: int, seed: int) -> Iterator[Made]:
    """A network with a strided convolution, leaky ReLUs and a clipped layer, trained by gradient steps in JAX."""
    jax = _jax()
    jnp = jax.numpy
    rng = np.random.default_rng(seed)
    shapes = ((3, 3, 1, 6), (6,), (6 * 4 * 4, 12), (12,), (12, CLASSES), (CLASSES,))
    parameters = [
        jnp.asarray(
            rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape) if len(shape) > 1 else np.zeros(shape), "float32"
        )
        for shape in shapes
    ]

    def apply(parameters: Any, image: Any) -> Any:
        kernel, bias, dense, dense_bias, head, head_bias = parameters
        h = jax.lax.conv_general_dilated(
            image, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        h = jax.nn.leaky_relu(h + bias, negative_slope=SLOPE)
        h = jnp.clip(h.reshape(h.shape[0], -1) @ dense + dense_bias, 0, 6)
        return h @ head + head_bias

    def loss(parameters: Any, images: Any, labels: Any) -> Any:
        logits = jax.nn.log_softmax(apply(parameters, images))
        return -jnp.take_along_axis(logits, labels[:, None], axis=1).mean()

    def step(parameters: Any, images: Any, labels: Any) -> Any:
        gradients = jax.grad(loss)(parameters, images, labels)
        return [parameter - 0.1 * gradient for parameter, gradient in zip(parameters, gradients, strict=True)]

    compiled = jax.jit(step)
    images = arranged(digits.train_images, "hwc")
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            parameters = compiled(parameters, images[rows], digits.train_labels[rows])
    yield _from_jax(
        "JAX's own", partial(apply, parameters), (8, 8, 1), "hwc", [np.asarray(array) for array in parameters]
    )


def _jax() -> Any:
    """JAX on the CPU, where float32 is not rounded to fewer digits."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    return jax


def _from_jax(
    network: str,
    function: Callable[[Any], Any],
    shape: tuple[int, ...],
    layout: Layout,
    parameters: Sequence[Floats],
    batch_norms: int = 0,
) -> Made:
    from jax2onnx import to_onnx

    with _silent("jax2onnx", "onnx_ir"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(function, inputs=[("batch", *shape)])
    return Made(
        network,
        JAX,
        "jax2onnx",
        layout,
        _anonymous(model),
        lambda images: np.asarray(function(arranged(images, layout))),
        tuple(parameters),
        batch_norms=batch_norms,
    )


def _values(module: nn.Module) -> dict[str, Floats]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def _kernel(weight: Floats) -> Floats:
    """PyTorch's (outputs, inputs, height, width) as (height, width, inputs, outputs)."""
    return weight.transpose(2, 3, 1, 0)


def _behind_channels_last(weight: Floats) -> Floats:
    """The layer behind PyTorch's flattened (channels, height, width) for a flattened (height, width, channels)."""
    outputs = len(weight)
    return weight.reshape(outputs, CHANNELS, 4, 4).transpose(2, 3, 1, 0).reshape(-1, outputs)


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what an exporter notes about the machine and the source; what the graph computes is as exported."""
    strip_provenance(model)
    model.ClearField("metadata_props")
    return model


@contextlib.contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Without what these packages log below an error."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
