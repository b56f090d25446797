"""The networks of models/: their sizes against the published tables, their start, their exported files."""

from __future__ import annotations

import copy
import importlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from lronnx import cli

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
architectures = importlib.import_module("models.architectures")
export = importlib.import_module("models.export")

if TYPE_CHECKING:
    from torch import Tensor, nn

# The exporter trips over deprecations inside torch; they are not about how it is called here.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")

Image = tuple[int, int, int]
CIFAR: Image = (3, 32, 32)

# --- sizes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """What a network has: trained numbers, ReLU units, windows of its max-poolings."""

    parameters: int
    relus: int
    windows: int


# Channels of 3x3 convolutions in order; A and M halve the image by average and maximum, or reduce all of it to one
# pixel. VGG8: Gamba et al. 2022; the other four: columns A, B, D and E of table 1 of Simonyan and Zisserman 2015.
PUBLISHED: dict[str, list[int | str]] = {
    "vgg8": [6, 6, "A", 16, 16, "A", 64, 64, "A"],
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg13": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
    # Nakkiran et al. 2020, appendix B.1: 64, 128, 256 and 512 channels, maxima over 1, 2, 2 and 8 squared.
    "cnn5": [64, 128, "M", 256, "M", 512, "M all"],
    "cnn5avg": [64, 128, "A", 256, "A", 512, "A all"],
}


def chain(layers: Sequence[int | str], image: Image, hidden: Sequence[int], classes: int, *, norm: bool) -> Size:
    """The size of convolutions (with biases), poolings and fully connected layers, one after the other."""
    channels, height, width = image
    parameters = relus = windows = 0
    for layer in layers:
        if isinstance(layer, str):
            height, width = (1, 1) if layer.endswith("all") else (height // 2, width // 2)
            if layer.startswith("M"):
                windows += channels * height * width
        else:
            parameters += 9 * channels * layer + layer + (2 * layer if norm else 0)
            channels = layer
            relus += channels * height * width
    inputs = channels * height * width
    for units in (*hidden, classes):
        parameters += inputs * units + units
        inputs = units
    return Size(parameters, relus + sum(hidden), windows)


def chain_of(family: str, width: int, image: Image, classes: int) -> Size:
    """The published table with all its channels multiplied by ``width`` over the table's first."""
    first = PUBLISHED[family][0]
    assert isinstance(first, int)
    layers = [layer if isinstance(layer, str) else round(layer * width / first) for layer in PUBLISHED[family]]
    hidden = [20 * width] if family == "vgg8" else []
    return chain(layers, image, hidden, classes, norm=family.startswith("cnn5"))


def resnet18(width: int, image: Image, classes: int, *, norm: bool) -> Size:
    """3x3 stem, then per stage four 3x3 convolutions, and a 1x1 in the shortcut of all stages but the first."""
    area = image[1] * image[2]
    convolutions = [(9, image[0], width)]
    relus = width * area
    for stage, channels in enumerate((width, 2 * width, 4 * width, 8 * width)):
        inputs = channels if stage == 0 else channels // 2
        convolutions += [(9, inputs, channels), *[(9, channels, channels)] * 3]
        if stage:
            convolutions.append((1, inputs, channels))
        relus += 4 * channels * area // 4**stage
    parameters = sum(k * inputs * outputs for k, inputs, outputs in convolutions)
    if norm:
        parameters += 2 * sum(outputs for _, _, outputs in convolutions)
    else:
        parameters += 8 * (4 + 1) + 2  # four biases and a factor per block, a bias behind the stem, one before the end
    return Size(parameters + (8 * width + 1) * classes, relus, 0)


def expected_size(name: str, image: Image, classes: int) -> Size:
    family, *rest = name.split("_")
    if family == "mlp":
        return chain([], image, [int(units) for units in rest], classes, norm=False)
    width = int(rest[0].removeprefix("w"))
    if family in PUBLISHED:
        return chain_of(family, width, image, classes)
    return resnet18(width, image, classes, norm={"resnet18": False, "resnet18bn": True}[family])


@pytest.mark.parametrize(
    ("name", "parameters", "relus"),
    [
        ("vgg8_w6", 174_116, 28_792),  # Gamba et al. 2022
        ("cnn5_w64", 1_558_026, 64 * 1024 + 128 * 1024 + 256 * 256 + 512 * 64),  # Nakkiran et al. 2020, appendix B.1
        # What is known of the convolutions of configurations A, B, D and E, and a layer from 512 to 10 units.
        ("vgg11_w64", 9_220_480 + 5_130, 64 * 1024 + 128 * 256 + 512 * 64 + 1024 * 16 + 1024 * 4),
        ("vgg13_w64", 9_404_992 + 5_130, 2 * (64 * 1024 + 128 * 256 + 256 * 64 + 512 * 16 + 512 * 4)),
        ("vgg16_w64", 14_714_688 + 5_130, 276_480),
        ("vgg19_w64", 20_024_384 + 5_130, 303_104),
        # The usual ResNet18 on CIFAR; without its 4,800 BatchNorm channels and with 42 scalars.
        ("resnet18bn_w64", 11_173_962, 8_704 * 64),
        ("resnet18_w64", 11_173_962 - 2 * 4_800 + 42, 8_704 * 64),
    ],
)
def test_the_expected_sizes_are_the_published_ones(name: str, parameters: int, relus: int) -> None:
    size = expected_size(name, CIFAR, 10)
    assert (size.parameters, size.relus) == (parameters, relus)


FAMILIES = ("vgg8", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet18bn", "cnn5", "cnn5avg")
WIDTHS = (1, 2, 5, 16, 64)


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == set(architectures.FAMILIES)


@pytest.mark.parametrize(("image", "classes"), [(CIFAR, 10), ((1, 64, 32), 7)])
@pytest.mark.parametrize("name", [*(f"{f}_w{w}" for f in FAMILIES for w in WIDTHS), "vgg8_w6", "mlp_64", "mlp_7_5_3_2"])
def test_sizes(name: str, image: Image, classes: int) -> None:
    # Shapes alone are computed on torch's meta device, so that wide networks cost nothing.
    with torch.device("meta"):
        network = architectures.build(name, image, classes)
        logits = network.eval()(torch.empty(2, *image))
    assert logits.shape == (2, classes)
    expected = expected_size(name, image, classes)
    assert architectures.parameters(network) == expected.parameters
    assert architectures.relus(network, image) == expected.relus


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_alone_has_its_published_width(family: str) -> None:
    with torch.device("meta"):
        network = architectures.build(family, CIFAR, 10)
    width = 6 if family == "vgg8" else 64
    assert architectures.parameters(network) == expected_size(f"{family}_w{width}", CIFAR, 10).parameters


@pytest.mark.parametrize(
    ("name", "width"), [("vgg8", 6), ("vgg8_w12", 12), ("mlp_7", 7), ("mlp_7_7", 7), ("mlp_7_8", None)]
)
def test_the_width_that_a_name_stands_for(name: str, width: int | None) -> None:
    assert architectures.width_of(name) == width


def test_what_is_frozen_is_no_parameter() -> None:
    network = architectures.build("mlp_3", (1, 2, 2), 2)
    network[1].weight.requires_grad_(False)
    assert architectures.parameters(network) == 3 + 3 * 2 + 2


@pytest.mark.parametrize("training", [True, False])
def test_counting_relus_changes_nothing(training: bool) -> None:
    network = architectures.build("resnet18bn_w1", (3, 8, 8), 10).train(training)
    before = copy.deepcopy(network.state_dict())
    architectures.relus(network, (3, 8, 8))
    assert network.training is training
    assert_same_state(network.state_dict(), before)
    assert not any(module._forward_hooks for module in network.modules())


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_mlp_of_any_depth(depth: int) -> None:
    network = architectures.build("mlp" + "_7" * depth, (1, 8, 8), 10)
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert [layer.in_features for layer in linear] == [64, *[7] * depth]
    assert [layer.out_features for layer in linear] == [*[7] * depth, 10]
    assert architectures.relus(network, (1, 8, 8)) == 7 * depth
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize(
    "name",
    [
        *("", "vgg", "vgg12", "VGG8", "cnn5_avg", "../cnn5", "resnet18_16", "resnet18_w", "resnet18_w0"),
        *("resnet18_w-1", "resnet18_w1.5", "resnet18_w016", "resnet18_w10000", "resnet18_w16_w16", "resnet18_w16\n"),
        *("mlp", "mlp_", "mlp_w7", "mlp_0", "mlp_7_0", "mlp_7__7", "mlp_7_", "mlp_07", "mlp_1000000"),
    ],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(architectures.UnknownArchitecture) as raised:
        architectures.build(name, CIFAR, 10)
    message = str(raised.value)
    assert f"'{name}'" in message
    # The message says what could be given instead: the families, how a width is written, and MLPs.
    assert all(family in message for family in FAMILIES)
    assert "_wN" in message
    assert "mlp_N_N" in message


@pytest.mark.parametrize(
    ("name", "image", "classes", "message"),
    [
        ("vgg8", (1, 28, 28), 10, "vgg8 .* multiples of 8, not 28 x 28"),
        ("vgg11_w4", (1, 8, 8), 10, "vgg11_w4 .* multiples of 32, not 8 x 8"),
        ("vgg19", (3, 64, 48), 10, "multiples of 32, not 64 x 48"),
        ("resnet18", (3, 8, 12), 10, "multiples of 8, not 8 x 12"),
        ("resnet18bn", (3, 9, 8), 10, "multiples of 8, not 9 x 8"),
        ("cnn5_w2", (3, 6, 8), 10, "multiples of 4, not 6 x 8"),
        ("cnn5avg_w2", (3, 2, 2), 10, "multiples of 4, not 2 x 2"),
        ("cnn5", (3, 0, 0), 10, "3 x 0 x 0 .* must be 1 or more"),
        ("mlp_7", (0, 8, 8), 10, "0 x 8 x 8 .* must be 1 or more"),
        ("vgg8", (3, -8, 8), 10, "3 x -8 x 8 .* must be 1 or more"),
        ("mlp_7", (1, 8, 8), 0, "0 classes: .* must be 1 or more"),
    ],
)
def test_images_and_classes_that_do_not_fit(name: str, image: Image, classes: int, message: str) -> None:
    with pytest.raises(architectures.UnknownArchitecture, match=message):
        architectures.build(name, image, classes)


@pytest.mark.parametrize("name", ["vgg8", "resnet18", "resnet18bn", "cnn5", "cnn5avg", "mlp_9"])
def test_images_of_digits_fit(name: str) -> None:
    network = architectures.build(name if name == "mlp_9" else f"{name}_w2", (1, 8, 8), 10).eval()
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


# --- the start ------------------------------------------------------------------------------------------------


def assert_same_state(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("name", [*(f"{family}_w1" for family in FAMILIES), "mlp_7_7"])
def test_the_seed_decides_the_weights(name: str) -> None:
    def built(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        state: dict[str, Tensor] = architectures.build(name, CIFAR, 10).state_dict()
        return state

    first = built(3)
    assert_same_state(built(3), first)
    changed = [key for key, value in built(4).items() if not torch.equal(value, first[key])]
    weights = [key for key, value in first.items() if value.dim() > 1 and value.any()]
    assert weights
    assert set(weights) <= set(changed)


def test_fixup_starts_as_the_bias_of_its_last_layer() -> None:
    torch.manual_seed(0)
    network = architectures.build("resnet18_w3", (3, 16, 16), 10)
    image = torch.randn(4, 3, 16, 16)
    assert torch.count_nonzero(network(image)) == 0
    [*_, bias] = network.parameters()
    with torch.no_grad():
        bias.copy_(torch.arange(10.0))
    assert torch.equal(network(image), torch.arange(10.0).expand(4, 10))


def test_fixup_blocks_start_as_their_shortcuts() -> None:
    torch.manual_seed(0)
    network = architectures.build("resnet18_w3", (3, 16, 16), 10)
    positive = torch.rand(4, 3, 16, 16)
    kept = 0
    for block in network.blocks:
        if block.projection is None:
            shortcut = positive
            kept += 1
        else:
            shortcut = torch.nn.functional.conv2d(positive, block.projection.weight, stride=2)
            assert torch.count_nonzero(shortcut.clamp(min=0)) > 0
        assert torch.equal(block(positive), shortcut.clamp(min=0))
        # What is zero is the last convolution of the branch, not the signal in front of it.
        assert torch.count_nonzero(block.branch[:4](positive)) > 0
        positive = shortcut.clamp(min=0).detach()
    assert (len(network.blocks), kept) == (8, 5)
    assert positive.shape == (4, 24, 2, 2)


def assert_drawn(weight: Tensor, deviation: float) -> None:
    """Mean and standard deviation within five standard errors of zero and ``deviation``."""
    count = weight.numel()
    assert abs(float(weight.detach().mean())) < 5 * deviation / count**0.5
    assert float(weight.detach().square().mean()) ** 0.5 == pytest.approx(deviation, rel=5 / (2 * count) ** 0.5)


def he_deviation(convolution: nn.Conv2d, *, chain: bool) -> float:
    """Of He et al. 2015 for ReLUs: by the fan of the inputs in chains without BatchNorm, else of the outputs."""
    channels = convolution.in_channels if chain else convolution.out_channels
    return float((2 / (channels * np.prod(convolution.kernel_size))) ** 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_start_as_drawn_by_he_and_fixup(family: str) -> None:
    torch.manual_seed(5)
    network = architectures.build(f"{family}_w4", CIFAR, 10)
    scaled = set()
    if family == "resnet18":
        # Zhang et al. 2019: branches of m = 2 layers, L = 8 of them, so L^(-1/(2m-2)) is 8^(-1/2).
        for block in network.blocks:
            first, last = (module for module in block.branch if isinstance(module, torch.nn.Conv2d))
            assert_drawn(first.weight, he_deviation(first, chain=False) * 8**-0.5)
            assert torch.count_nonzero(last.weight) == 0
            scaled |= {first, last}
        numbers = [float(value.detach()) for value in network.parameters() if value.shape == (1,)]
        assert Counter(numbers) == {0.0: 2 + 8 * 4, 1.0: 8}
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module not in scaled:
            assert_drawn(module.weight, he_deviation(module, chain=family.startswith("vgg")))
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            assert torch.count_nonzero(module.bias) == 0


# --- what the residual blocks compute -------------------------------------------------------------------------


def randomize(network: nn.Module, seed: int) -> None:
    """Draw all parameters and buffers such that no layer is trivial and no signal dies or explodes."""
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()

    def uniform(value: Tensor, low: float, high: float) -> None:
        value.uniform_(low, high, generator=generator)
        drawn.add(value.data_ptr())

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                uniform(module.running_mean, -0.5, 0.5)
                uniform(module.running_var, 0.05, 2)
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.5, 0.5)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                deviation = (2 / module.weight[0].numel()) ** 0.5
                uniform(module.weight, -(3**0.5) * deviation, 3**0.5 * deviation)
                if module.bias is not None:
                    uniform(module.bias, -0.5, 0.5)
            elif isinstance(module, architectures.Shift):
                uniform(module.bias, -0.3, 0.3)
            elif isinstance(module, architectures.Scale):
                uniform(module.factor, 0.5, 1.5)
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    left = {name for name, value in named.items() if value.data_ptr() not in drawn}
    assert all(name.endswith("num_batches_tracked") for name in left), left


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(3, 3, 1), (3, 6, 2)])
def test_fixup_block(inputs: int, outputs: int, stride: int) -> None:
    """Figure 1 of Zhang et al. 2019: a bias in front of each layer; the identity is kept without one."""
    block = architectures.FixupBlock(inputs, outputs, stride)
    randomize(block, 0)
    h = torch.rand(2, inputs, 8, 8)
    conv2d = torch.nn.functional.conv2d
    with torch.no_grad():
        shifted = h + block.shift.bias
        branch = conv2d(shifted, block.branch[0].weight, stride=stride, padding=1) + block.branch[1].bias
        branch = conv2d(branch.clamp(min=0) + block.branch[3].bias, block.branch[4].weight, padding=1)
        branch = branch * block.branch[5].factor + block.branch[6].bias
        shortcut = h if stride == 1 else conv2d(shifted, block.projection.weight, stride=stride)
        expected = (shortcut + branch).clamp(min=0)
        assert 0.1 < float((expected > 0).float().mean()) < 0.95
        torch.testing.assert_close(block(h), expected)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(3, 3, 1), (3, 6, 2)])
def test_norm_block(inputs: int, outputs: int, stride: int) -> None:
    """Figure 2 of He et al. 2016 with BatchNorm after each convolution, the one in the shortcut included."""
    block = architectures.NormBlock(inputs, outputs, stride).eval()
    randomize(block, 0)
    h = torch.rand(2, inputs, 8, 8)
    conv2d = torch.nn.functional.conv2d

    def norm(h: Tensor, by: nn.BatchNorm2d) -> Tensor:
        mean, var, weight, bias = (v[:, None, None] for v in (by.running_mean, by.running_var, by.weight, by.bias))
        return (h - mean) / (var + 1e-5).sqrt() * weight + bias

    with torch.no_grad():
        branch = norm(conv2d(h, block.branch[0].weight, stride=stride, padding=1), block.branch[1]).clamp(min=0)
        branch = norm(conv2d(branch, block.branch[3].weight, padding=1), block.branch[4])
        shortcut = h
        if stride != 1:
            shortcut = norm(conv2d(h, block.shortcut[0].weight, stride=stride), block.shortcut[1])
        expected = (shortcut + branch).clamp(min=0)
        assert 0.1 < float((expected > 0).float().mean()) < 0.95
        torch.testing.assert_close(block(h), expected)


# --- export ---------------------------------------------------------------------------------------------------

CLASSES = 5
ROWS = 24
# The narrowest networks whose random weights leave units of every layer switching; images as small as they may be.
EXPORTED: dict[str, Image] = {
    "vgg8_w2": (3, 8, 16),
    "vgg11_w1": (3, 32, 32),
    "vgg13_w1": (3, 32, 32),
    "vgg16_w1": (3, 32, 32),
    "vgg19_w1": (3, 32, 32),
    "resnet18_w1": (3, 16, 8),
    "resnet18bn_w1": (3, 16, 8),
    "cnn5_w2": (3, 8, 16),
    "cnn5avg_w2": (1, 8, 16),
    "mlp_7_7": (1, 4, 6),
}
POOLING = {"vgg8": ("AveragePool", 3), "cnn5": ("MaxPool", 3), "cnn5avg": ("AveragePool", 3)} | {
    f"vgg{depth}": ("MaxPool", 5) for depth in (11, 13, 16, 19)
}
BASIC = {"Conv", "Relu", "Reshape", "Gemm"}


@dataclass(frozen=True)
class Exported:
    name: str
    image: Image
    network: nn.Module
    path: Path
    inputs: Tensor

    @property
    def family(self) -> str:
        return self.name.split("_")[0]


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network whose every parameter and buffer is random, in evaluation mode, and its file."""
    name = request.param
    image = EXPORTED[name]
    network = architectures.build(name, image, CLASSES).eval()
    randomize(network, 1)
    inputs = torch.randn(ROWS, *image, generator=torch.Generator().manual_seed(2))
    path = tmp_path_factory.mktemp("exported") / f"{name}.onnx"
    export.export_onnx(network, inputs[:2], path, input_name="image", output_name="logits", metadata={"seed": 1})
    return Exported(name, image, network, path, inputs)


def patterns(network: nn.Module, inputs: Tensor) -> list[np.ndarray]:
    """Which units of each ReLU are active: per ReLU, bool (N, units)."""
    active: list[np.ndarray] = []

    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        active.append((output > 0).flatten(1).numpy())

    handles = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, torch.nn.ReLU)]
    with torch.no_grad():
        network(inputs)
    for handle in handles:
        handle.remove()
    return active


def test_the_exported_networks_are_not_trivial(exported: Exported) -> None:
    """Were they almost linear, or dead behind some layer, the tests below would show nothing."""
    for layer, active in enumerate(patterns(exported.network, exported.inputs)):
        switching = active.any(0) & ~active.all(0)
        assert switching.any(), f"no unit of ReLU {layer} of {exported.name} is both active and inactive"
    with torch.no_grad():
        logits = exported.network(exported.inputs)
    assert logits.std(0).min() > 0.01


def test_file_computes_what_torch_computes(exported: Exported) -> None:
    exact = copy.deepcopy(exported.network).double()
    with torch.no_grad():
        expected = exact(exported.inputs.double()).numpy()
        rounded = exported.network(exported.inputs).numpy()
    # The measure of float32 rounding is torch's own, relative to the largest logit and a few units in the last place.
    largest = np.abs(expected).max()
    rounding = np.abs(rounded - expected).max()
    assert rounding < 100 * np.finfo(np.float32).eps * largest
    tolerance = 4 * max(rounding, np.finfo(np.float32).eps * largest)

    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    for rows in (ROWS, 3, 1):
        [logits] = session.run(None, {"image": exported.inputs[:rows].numpy()})
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected[:rows], rtol=0, atol=tolerance)
    assert export.parity(exported.network, exported.path, exported.inputs) <= tolerance + rounding


def test_parity_sees_another_network(exported: Exported) -> None:
    other = copy.deepcopy(exported.network)
    [*_, bias] = other.parameters()
    with torch.no_grad():
        bias[0] += 0.5
    assert export.parity(other, exported.path, exported.inputs) == pytest.approx(0.5, abs=1e-3)


def test_file_is_described_and_plain(exported: Exported) -> None:
    model = onnx.load(exported.path)
    [image], [logits] = model.graph.input, model.graph.output
    dims = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (image, logits)]
    assert dims == [["batch", *exported.image], ["batch", CLASSES]]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"lronnx.seed": "1"}

    used = Counter(node.op_type for node in model.graph.node)
    assert used["Relu"] == sum(isinstance(module, torch.nn.ReLU) for module in exported.network.modules())
    # BatchNorm is part of the convolutions in front of it; there is neither padding nor anything that does nothing.
    others = {op: count for op, count in used.items() if op not in BASIC}
    if exported.family == "resnet18bn":
        assert others == {"Add": 8, "ReduceMean": 1}
    elif exported.family == "resnet18":
        # Of every block a sum, a factor and four biases; one behind the stem and one in front of the last layer.
        assert others == {"Add": 8 * 5 + 2, "Mul": 8, "ReduceMean": 1}
    else:
        assert others == dict([POOLING[exported.family]] if exported.family in POOLING else [])


def command(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_lronnx_counts_the_same_units(exported: Exported) -> None:
    expected = expected_size(exported.name, exported.image, CLASSES)
    content = command("inspect", exported.path, "--json")
    assert content["piecewise_affine"] is True
    assert content["units"] == expected.relus + expected.windows
    by_operator: Counter[str] = Counter()
    for node in content["nodes"]:
        by_operator[node["operator"]] += node["units"] or 0
    assert (by_operator["Relu"], by_operator["MaxPool"]) == (expected.relus, expected.windows)


def test_lronnx_walks_the_file(exported: Exported, tmp_path: Path) -> None:
    start, end = exported.inputs[:2]
    if exported.family.startswith("vgg1"):
        end = start + (end - start) / 4  # thousands of units switch on the whole way
    points = tmp_path / "points.npz"
    np.savez(points, points=torch.stack([start, end]).numpy())
    content = command("walk", exported.path, "--points", points, "--json")
    assert content["self_check"]["ok"] is True
    assert content["partial"] is False
    assert content["outputs"] == CLASSES

    # Between samples of the same segment, torch's activation patterns change no more often than regions are left.
    exact = copy.deepcopy(exported.network).double()
    start, end = start.double(), end.double()
    positions = torch.linspace(0, 1, 101, dtype=torch.float64).reshape(-1, 1, 1, 1)
    active = np.concatenate(patterns(exact, start + positions * (end - start)), axis=1)
    changes = int((active[1:] != active[:-1]).any(1).sum())
    assert 2 < changes < content["regions"]
    with torch.no_grad():
        ends = exact(torch.stack([start, end])).numpy()
    np.testing.assert_allclose(content["end_to_end_variation"], ends[1] - ends[0], rtol=1e-4, atol=1e-4)
