"""A small residual network for scikit-learn's 8x8 digits: the example that comes with lronnx.

``python -m models.digits`` trains it (seconds on one core) and writes ``digits.onnx``, the
two points of the example, ``digits.npz``, and the images that it was trained and tested with, ``digits_data.npz``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models import data
from models.export import export_onnx, parity

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"
SCALE = 16.0  # the data set's pixels are counts from 0 to 16
TRAIN_COUNT = 1347  # of 1797 digits; a quarter, rounded up, is left for testing
BATCH = 32
START_DIGIT, END_DIGIT = 3, 8
TOLERANCE = 1e-4  # float32 rounding of logits around 10, summed in another order


class ResidualBlock(nn.Module):
    """``h + conv(relu(norm(conv(relu(norm(h))))))``.

    Normalizing first keeps the first BatchNorm a node of its own: no convolution comes right before it,
    into which the exporter would fold it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.branch(h)


class DigitsNet(nn.Module):
    """Images (N, 1, 8, 8) in [0, 1] to logits (N, 10)."""

    def __init__(self, channels: int = 8, hidden: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            ResidualBlock(channels),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * 4 * 4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image))


ARCHITECTURE = (
    "conv 3x3 (8), batch norm, relu, max pool 2x2, pre-activation residual block (8), relu, "
    "fully connected 32, relu, fully connected 10"
)


@dataclass(frozen=True)
class Digits:
    """Images float32 (N, 1, 8, 8) in [0, 1] and labels int64 (N,), split by class in equal shares."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load(seed: int) -> Digits:
    """The data set as it comes with scikit-learn; ``seed`` decides the split."""
    digits = data.digits(train=TRAIN_COUNT, seed=seed)
    train_images, test_images = (
        torch.from_numpy(digits.normalized(images)) for images in (digits.train_images, digits.test_images)
    )
    train_labels, test_labels = torch.from_numpy(digits.train_labels), torch.from_numpy(digits.test_labels)
    return Digits(train_images, train_labels, test_images, test_labels)


def train(digits: Digits, *, epochs: int, seed: int) -> DigitsNet:
    """Train a fresh network and return it in evaluation mode; the same seed gives the same network."""
    torch.manual_seed(seed)
    network = DigitsNet()
    steps = epochs * -(-len(digits.train_images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / max(1, steps)))
    for _ in range(epochs):
        for rows in torch.randperm(len(digits.train_images)).split(BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(digits.train_images[rows]), digits.train_labels[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images that are classified as labelled, in [0, 1]."""
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


def write(network: DigitsNet, digits: Digits, folder: Path, *, seed: int) -> float:
    """Write the three files to ``folder``; return the worst difference to onnxruntime.

    Raises:
        RuntimeError: the exported file computes something else than ``network``, or ``network``
            classifies no test image of one of the example's two digits correctly.
    """
    model = folder / "digits.onnx"
    export_onnx(
        network,
        digits.test_images[:2],
        model,
        input_name="image",
        output_name="logits",
        metadata={
            "architecture": ARCHITECTURE,
            "dataset": "scikit-learn load_digits (UCI optical recognition of handwritten digits, 8x8)",
            "scale": 1 / SCALE,
            "mean": [0.0],
            "std": [1.0],
            "labels": [str(digit) for digit in range(10)],
            "seed": seed,
            "accuracy_train": round(accuracy(network, digits.train_images, digits.train_labels), 4),
            "accuracy_test": round(accuracy(network, digits.test_images, digits.test_labels), 4),
        },
    )
    difference = parity(network, model, digits.test_images)
    if difference > TOLERANCE:
        raise RuntimeError(f"onnxruntime's logits differ from torch's by {difference:.2e}, more than {TOLERANCE:.0e}")
    np.savez(
        folder / "digits.npz",
        start=example(network, digits, START_DIGIT),
        end=example(network, digits, END_DIGIT),
        start_label=START_DIGIT,
        end_label=END_DIGIT,
    )
    np.savez_compressed(
        folder / "digits_data.npz",
        x_train=pixels(digits.train_images),
        y_train=digits.train_labels.numpy(),
        x_test=pixels(digits.test_images),
        y_test=digits.test_labels.numpy(),
    )
    return difference


def pixels(images: torch.Tensor) -> np.ndarray:
    """Images (N, 1, 8, 8) in [0, 1] as the data set's own counts, uint8 (N, 8, 8)."""
    return (images[:, 0].numpy() * SCALE).astype(np.uint8)


def example(network: DigitsNet, digits: Digits, digit: int) -> np.ndarray:
    """The first test image of a digit that ``network`` recognizes, float32 (1, 8, 8).

    Raises:
        RuntimeError: it recognizes none.
    """
    with torch.no_grad():
        predicted = network(digits.test_images).argmax(1)
    found = torch.nonzero((predicted == digit) & (digits.test_labels == digit))
    if not len(found):
        raise RuntimeError(f"the network recognizes no test image of digit {digit}; train it for longer")
    return digits.test_images[int(found[0])].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.digits", description=__doc__)
    parser.add_argument("--output", type=Path, default=EXAMPLE, help="folder to write to (default: lronnx/example)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order (default: 0)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training images (default: 30)")
    options = parser.parse_args()

    torch.set_num_threads(1)  # sums in one order, so the same seed gives the same file; as fast for a net this small
    options.output.mkdir(parents=True, exist_ok=True)
    digits = load(options.seed)
    network = train(digits, epochs=options.epochs, seed=options.seed)
    for name, images, labels in (
        ("train", digits.train_images, digits.train_labels),
        ("test", digits.test_images, digits.test_labels),
    ):
        print(f"accuracy on {len(images)} {name} images: {accuracy(network, images, labels):.4f}")
    difference = write(network, digits, options.output, seed=options.seed)
    print(f"largest difference between torch and onnxruntime on the test images: {difference:.1e}")
    for name in ("digits.onnx", "digits.npz", "digits_data.npz"):
        print(f"wrote {options.output / name} ({(options.output / name).stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
