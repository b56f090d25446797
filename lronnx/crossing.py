"""Where the next breakpoint is: pure arithmetic on the rates that a program evaluated.

A unit leaves its branch at rate ``r < 0`` if it does so ``-1 / r`` further along the segment; a rate of zero or more
never leaves. Rates are ordered, so the smallest rate of a lane is its next breakpoint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lronnx.graph import Array

# Two breakpoints closer than this in t are one (the definition's own resolution); so are two decision changes.
SAME_T = 1e-12
# What a sum of coordinates in [0, 1] is rounded by.
ULP_T = 2.3e-16


def advance(best: float) -> float:
    """How far along the segment the unit with the smallest rate leaves its branch; inf if none does."""
    return -1.0 / best if best < 0 else np.inf


def pending_threshold(step: float, epsilon: float) -> float:
    """The rate below which a unit leaves together with the first, up to a few ulps of the type with this epsilon."""
    return -1.0 / (step * (1 + 4 * epsilon) + ULP_T)


def pending(rates: Array, threshold: float) -> NDArray[np.int64]:
    """Flat positions in one lane's rates that are at or below the threshold."""
    return np.flatnonzero(rates.reshape(-1) <= threshold)


def cluster(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the groups of sorted times whose neighbours are at most SAME_T apart."""
    if not len(times):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.cumsum(np.diff(times) > SAME_T)]).astype(np.int64)
