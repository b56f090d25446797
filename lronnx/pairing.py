"""Measures of two networks on the same paths, path by path: what is the same for both cancels.

A path is as curved, as long and as close to the data for one network as for the other, so differences are taken path by
path before they are averaged. What remains is the networks' own. All figures are about the other network minus the
first one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lronnx.summary import mean_interval, resampled_means

Floats = NDArray[np.float64]

RESOLUTION = 1e-9
"""Relative difference below which a measure of one path is the same for both networks.

Sums over some ten thousand regions are rounded by some 1e-13 of themselves; two exports of the same weights differ by
so much. What is left of such differences would be noise, of which a standardised difference can be anything.
"""


def paired(
    first: Floats, other: Floats, *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95
) -> dict[str, Any]:
    """How a measure of another network differs from that of the first one, as JSON.

    ``first``, ``other``: (paths,) the measure of each path; paths on which either does not exist (nan) are left out.

    - ``count``: the paths that are left;
    - ``difference``: the mean over paths of other minus first, each below :data:`RESOLUTION` counting as none;
    - ``interval``: the ends of its bootstrap interval over paths: see :func:`lronnx.summary.mean_interval`, also
      for how narrow it is for few paths;
    - ``standardized``: that mean in standard deviations (n - 1) of the differences, the effect size d_z of paired
      measurements (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, section 2.3.5);
    - ``larger``: the share of paths on which the other's is larger, half of those on which both are the same
      counting: the probability of superiority, for pairs (Grissom and Kim, "Effect Sizes for Research", 2012);
    - ``ratio``: the mean of the other divided by the mean of the first;
    - ``ratio_interval``: the ends of its percentile bootstrap interval over paths, which are drawn as for ``interval``:
      the ends are quantiles of the ratio of both means over the same drawn paths.

    What does not exist is None: all but ``count`` without a path, an interval of one path, a standardised difference
    where all differences are equal, a ratio to a mean of 0, and its interval where a mean of the first over drawn paths
    is 0, or some are positive and others negative: a ratio then jumps from one infinity to the other.

    >>> paired(np.array([1.0, 2.0]), np.array([2.0, 4.0]))["difference"]
    1.5
    """
    known = np.isfinite(first) & np.isfinite(other)
    one, two = first[known], other[known]
    count = len(one)
    told: dict[str, Any] = {
        "count": count,
        **dict.fromkeys(("difference", "interval", "standardized", "larger", "ratio", "ratio_interval")),
    }
    if not count:
        return told
    differences = two - one
    differences[np.abs(differences) <= RESOLUTION * np.maximum(np.abs(one), np.abs(two))] = 0.0
    told["difference"] = float(differences.mean())
    told["larger"] = float((differences > 0.0).mean() + 0.5 * (differences == 0.0).mean())
    mean = float(one.mean())
    if mean != 0.0:
        told["ratio"] = _finite(float(two.mean()) / mean)
    if count > 1:
        low, high = mean_interval(differences[:, None], seed=seed, resamples=resamples, confidence=confidence)
        told["interval"] = [float(low[0]), float(high[0])]
        # Equal numbers have a ratio of 1, whatever their last digits.
        both = np.stack([one, np.where(differences == 0.0, one, two)], axis=1)
        told["ratio_interval"] = _ratio_interval(both, seed, resamples, confidence)
        spread = float(differences.std(ddof=1))
        # Differences of equal numbers can differ in their last digits.
        if spread > RESOLUTION * abs(told["difference"]):
            told["standardized"] = _finite(told["difference"] / spread)
    return told


def pair(
    first: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], measures: list[str], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """:func:`paired` of every one of ``measures``, from what :func:`lronnx.summary.per_path` tells of both networks.

    Raises ValueError if these are not the same paths.
    """
    if not np.array_equal(first["path"], other["path"]):
        raise ValueError("the two networks were not walked along the same paths")
    return {
        name: paired(first[name].astype(np.float64), other[name].astype(np.float64), seed=seed) for name in measures
    }


def _ratio_interval(both: Floats, seed: int, resamples: int, confidence: float) -> list[float] | None:
    """Of the mean of the second column divided by that of the first."""
    with np.errstate(over="ignore", invalid="ignore"):
        means = resampled_means(both, np.random.default_rng(seed), resamples)
        if means[:, 0].min() <= 0.0 <= means[:, 0].max():
            return None
        ratios = means[:, 1] / means[:, 0]
    if not np.isfinite(ratios).all():
        return None
    low, high = np.quantile(ratios, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return [float(low), float(high)]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
