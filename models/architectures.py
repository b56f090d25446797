"""Piecewise-linear networks for images, by name: ``build("resnet18_w16", (3, 32, 32), 10)``.

A name is a family and its width, the number of channels of its first stage; :data:`FAMILIES` lists them all. Every
family is piecewise affine once it is exported (ReLU, max-pooling; BatchNorm in evaluation mode is affine), and all
its ReLUs are modules, so that they can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)
Shape = tuple[int, int, int]
"""Channels, height and width of one image."""


class UnknownArchitecture(ValueError):
    """A name that means no architecture, or one that does not fit the images or the classes."""


def build(name: str, input_shape: Shape, classes: int) -> nn.Module:
    """A freshly initialized network from images float32 (N, *input_shape) to logits (N, classes).

    ``name``: a family alone (its usual width) or with a width, as in ``resnet18_w16``; of an MLP the widths of all
    hidden layers, as in ``mlp_64_64``. Weights are drawn from torch's global generator.

    Raises:
        UnknownArchitecture: there is no such family, its width is not 1 to 9999 (1 to 999999 for a layer of an MLP),
            the height or width of the images is no multiple of the family's ``divisor``, or one of ``input_shape``
            and ``classes`` is below 1.
    """
    if min(*input_shape, classes) < 1:
        raise UnknownArchitecture(
            f"{name} cannot be built for images of {' x '.join(map(str, input_shape))} (channels, height, width) and "
            f"{classes} classes: each of these numbers must be 1 or more"
        )
    mlp = re.fullmatch(r"mlp((?:_[1-9][0-9]{0,5})+)", name)
    if mlp:
        return mlp_network([int(width) for width in mlp[1].split("_")[1:]], input_shape, classes)
    parts = re.fullmatch(r"([a-z0-9]+)(?:_w([1-9][0-9]{0,3}))?", name)
    if parts is None or parts[1] not in FAMILIES:
        raise UnknownArchitecture(
            f"there is no architecture '{name}': give one of {', '.join(FAMILIES)}, with _wN behind it for another "
            "width than the usual (resnet18_w16; N from 1 to 9999), or mlp_N_N_... with the widths of its hidden layers"
        )
    family = FAMILIES[parts[1]]
    _, height, width = input_shape
    if height % family.divisor or width % family.divisor:
        raise UnknownArchitecture(
            f"{name} makes its images {family.divisor} times smaller: their height and width must be multiples of "
            f"{family.divisor}, not {height} x {width}"
        )
    return family.make(int(parts[2] or family.width), input_shape, classes)


def width_of(name: str) -> int | None:
    """The width that an architecture's name stands for; None for an MLP whose hidden layers differ in theirs.

    ``name``: one that :func:`build` knows.
    """
    if name.startswith("mlp_"):
        widths = {int(width) for width in name.split("_")[1:]}
        return widths.pop() if len(widths) == 1 else None
    family, _, width = name.partition("_w")
    return int(width) if width else FAMILIES[family].width


def parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def relus(network: nn.Module, input_shape: Shape) -> int:
    """How many ReLU units the network evaluates for one image of this shape."""
    counted = 0

    def count(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    handles = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.ReLU)]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *input_shape, device=next(network.parameters()).device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return counted


def mlp_network(widths: Sequence[int], input_shape: Shape, classes: int) -> nn.Sequential:
    """Fully connected layers with ReLUs between them, on the flattened image."""
    channels, height, width = input_shape
    sizes = [channels * height * width, *widths]
    hidden = [layer for inputs, outputs in pairwise(sizes) for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes))


def vgg8(width: int, input_shape: Shape, classes: int) -> nn.Sequential:
    """The small VGG of Gamba et al. 2022: three stages of two convolutions, each halved by average pooling.

    ``width`` 6 is theirs: 6, 16 and 64 channels, then a hidden layer of 120. Other widths scale all four alike.
    There is no BatchNorm.
    """
    stages = [max(1, round(channels * width / 6)) for channels in (6, 16, 64)]
    hidden = max(1, round(120 * width / 6))
    features = _stages(input_shape[0], [[channels] * 2 for channels in stages], nn.AvgPool2d)
    flat = stages[-1] * (input_shape[1] // 8) * (input_shape[2] // 8)
    head = [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return _he_initialized(nn.Sequential(*features, *head), "fan_in")


# Convolutions per stage: configurations A, B, D and E of Simonyan and Zisserman, "Very Deep Convolutional Networks for
# Large-Scale Image Recognition" (ICLR 2015), table 1.
_VGG_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _vgg(depth: int) -> Callable[[int, Shape, int], nn.Sequential]:
    def make(width: int, input_shape: Shape, classes: int) -> nn.Sequential:
        """The convolutions of VGG for ``width`` 64, one fully connected layer behind them, as is usual on CIFAR."""
        channels = [width * factor for factor in (1, 2, 4, 8, 8)]
        stages = [[c] * count for c, count in zip(channels, _VGG_DEPTHS[depth], strict=True)]
        features = _stages(input_shape[0], stages, nn.MaxPool2d)
        flat = channels[-1] * (input_shape[1] // 32) * (input_shape[2] // 32)
        return _he_initialized(nn.Sequential(*features, nn.Flatten(), nn.Linear(flat, classes)), "fan_in")

    return make


def _stages(inputs: int, stages: Sequence[Sequence[int]], pooling: type[nn.Module]) -> Iterator[nn.Module]:
    """3x3 convolutions with a ReLU behind each, and a pooling that halves the image behind each stage."""
    for stage in stages:
        for outputs in stage:
            yield nn.Conv2d(inputs, outputs, 3, padding=1)
            yield nn.ReLU()
            inputs = outputs
        yield pooling(2)


def _cnn5(pooling: type[nn.Module]) -> Callable[[int, Shape, int], nn.Sequential]:
    def make(width: int, input_shape: Shape, classes: int) -> nn.Sequential:
        """The five-layer CNN of Nakkiran et al., "Deep Double Descent" (ICLR 2020), appendix B.

        Four convolutions with biases and BatchNorm, of w, 2w, 4w and 8w channels; pooling by 1, 2, 2 and then by what
        is left of the image (8 on CIFAR); one fully connected layer. They pool maxima; averages are a variant.
        """
        channels = [width * factor for factor in (1, 2, 4, 8)]
        left = (input_shape[1] // 4, input_shape[2] // 4)
        layers: list[nn.Module] = []
        for inputs, outputs, pool in zip((input_shape[0], *channels), channels, (1, 2, 2, left), strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            if pool != 1:
                layers.append(pooling(pool))
        return _he_initialized(nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1], classes)))

    return make


class ResNet18(nn.Module):
    """ResNet18 for small images: a 3x3 stem, then four stages of two basic blocks of w, 2w, 4w and 8w channels.

    The stages follow He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016); the stem and the widths
    those used on CIFAR. With BatchNorm, or without it and started as Zhang, Dauphin and Ma, "Fixup Initialization"
    (ICLR 2019), propose: branches begin as zero, their first convolutions scaled by the depth, with scalar biases in
    front of every layer and a scalar factor in each branch.
    """

    def __init__(self, width: int, input_shape: Shape, classes: int, *, batch_norm: bool) -> None:
        super().__init__()
        channels = [width * factor for factor in (1, 2, 4, 8)]
        stem = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width) if batch_norm else Shift(), nn.ReLU())
        make = NormBlock if batch_norm else FixupBlock
        blocks: list[nn.Module] = []
        for inputs, outputs, stride in zip((width, *channels), channels, (1, 2, 2, 2), strict=False):
            blocks += [make(inputs, outputs, stride), make(outputs, outputs, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        linear = nn.Linear(channels[-1], classes)
        self.head = linear if batch_norm else nn.Sequential(Shift(), linear)
        _he_initialized(self)
        for block in blocks:
            if isinstance(block, FixupBlock):
                block.start(len(blocks))
        if not batch_norm:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.pool(self.blocks(self.stem(image))))
        return logits


class Shift(nn.Module):
    """Adds one trained number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.bias


class Scale(nn.Module):
    """Multiplies by one trained number."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h * self.factor


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class NormBlock(nn.Module):
    """``relu(h + norm(conv(relu(norm(conv(h))))))``; where the shape changes, a 1x1 convolution and norm on ``h``."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU()

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        activation: torch.Tensor = self.relu(self.shortcut(h) + self.branch(h))
        return activation


class FixupBlock(nn.Module):
    """``relu(h + scale * conv(relu(conv(h + b) + b) + b) + b)``, every b a number of its own.

    Where the shape changes, the first ``h`` is a 1x1 convolution of ``h + b``, with the b that the branch begins with.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shift = Shift()
        self.branch = nn.Sequential(
            _convolution(inputs, outputs, stride),
            Shift(),
            nn.ReLU(),
            Shift(),
            _convolution(outputs, outputs, 1),
            Scale(),
            Shift(),
        )
        self.projection: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        shifted = self.shift(h)
        kept = h if self.projection is None else self.projection(shifted)
        activation: torch.Tensor = self.relu(kept + self.branch(shifted))
        return activation

    def start(self, blocks: int) -> None:
        """Scale the first convolution of the branch by blocks^(-1/2), and start the last one from zero."""
        first, last = (module for module in self.branch if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            first.weight.mul_(blocks**-0.5)
            last.weight.zero_()


def _he_initialized(network: Network, fan: Literal["fan_in", "fan_out"] = "fan_out") -> Network:
    """Draw the convolutions' weights as He et al., "Delving Deep into Rectifiers" (ICCV 2015), their biases zero.

    ``fan_out`` keeps the size of gradients. Chains without BatchNorm need ``fan_in``, which keeps that of what goes
    forward: where a layer has more channels than the one before it, the narrow ones would hardly begin to learn.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


@dataclass(frozen=True)
class Family:
    """One kind of network whose width can be chosen."""

    make: Callable[[int, Shape, int], nn.Module]
    width: int  # where the name tells none
    divisor: int  # the height and width of the images must be multiples of it


FAMILIES: dict[str, Family] = {
    "vgg8": Family(vgg8, 6, 8),
    **{f"vgg{depth}": Family(_vgg(depth), 64, 32) for depth in _VGG_DEPTHS},
    "resnet18": Family(lambda *sizes: ResNet18(*sizes, batch_norm=False), 64, 8),
    "resnet18bn": Family(lambda *sizes: ResNet18(*sizes, batch_norm=True), 64, 8),
    "cnn5": Family(_cnn5(nn.MaxPool2d), 64, 4),
    "cnn5avg": Family(_cnn5(nn.AvgPool2d), 64, 4),
}
