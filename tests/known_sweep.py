"""A sweep of widths with curves that are known beforehand, as the rows of its results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.results import GROUPS, Results, read, write

Array = NDArray[np.float64]

WIDTHS = (1, 2, 4, 7, 10, 20, 50, 100, 256)
TEST_ERROR = np.array([0.8, 0.5, 0.3, 0.16, 0.18, 0.22, 0.18, 0.16, 0.15])
TRAIN_ACCURACY = np.array([0.2, 0.4, 0.6, 0.8, 0.9, 0.995, 1, 1, 1])
DEVIATION = np.array([0.5, 1, 2, 3, 6, 11.4, 8, 7, 6.5])
DENSITY = np.array([0.2, 0.5, 1, 3, 5, 13, 40, 70, 134])
THRESHOLD = 5  # column of the curves above


def network(name: str = "mlp_8_8", *, width: int = 8, seed: int = 0, epoch: int = 400, **others: Any) -> dict[str, Any]:
    row = {"architecture": name, "width": width, "seed": seed, "epoch": epoch}
    return row | {"train_accuracy": 1.0, "test_accuracy": 0.8} | others


def sweep(
    seeds: int = 5,
    *,
    noise: float = 0.02,
    groups: Sequence[str] = GROUPS,
    name: Callable[[int], str] = lambda width: f"mlp_{width}_{width}",
    deviation: Array = DEVIATION,
    density: Array = DENSITY,
    accuracy: Array = TRAIN_ACCURACY,
) -> Iterator[dict[str, Any]]:
    """Rows of a width sweep with the curves given, and noise of its own on each of them in every network."""
    generator = np.random.default_rng(1)
    for seed in range(seeds):
        for column, width in enumerate(WIDTHS):

            def noisy(value: float) -> float:
                return float(value * math.exp(noise * generator.standard_normal()))

            row = network(
                name(width),
                width=width,
                seed=seed,
                parameters=64 * width,
                train_accuracy=accuracy[column],
                test_accuracy=1 - min(noisy(TEST_ERROR[column]), 1),
            )
            for group in groups:
                row |= {
                    f"paths_{group}": 40,
                    f"density_{group}": noisy(density[column]),
                    f"absolute_deviation_{group}": noisy(deviation[column]),
                    f"mean_deviation_{group}": noisy(deviation[column]) / 9,
                    f"local_similarity_{group}": 1 - deviation[column] / 40,
                }
            yield row


def written(tmp_path: Path, rows: Any) -> Results:
    write(tmp_path / "r.csv", rows)
    return read(tmp_path / "r.csv")
