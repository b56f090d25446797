"""The measures of a walk: pure functions of its edges, values and slopes, all in closed form.

Throughout, R is the number of regions and m the number of outputs; ``t`` is (R+1,), the edges of the
regions in [0, 1] in increasing order from 0; ``values`` is (R+1, m), the outputs at the edges; ``slopes``
is (R, m), d output / d t inside each region. All arrays are float64. ``length`` is the Euclidean norm of
``end - start``. Nothing is sampled: on each region the outputs are affine, so every integral and every
crossing below is a formula in these arrays, exact up to rounding.

A walk that was stopped early has ``t[-1] < 1``. Every measure then describes the part that was walked, as if
the segment ended there: the affine baseline joins the outputs at ``t[0]`` and ``t[-1]``, and lengths are those
of that part.

Density, absolute deviation and the similarity of neighbouring regions are the measures of Gamba, Chmielewski-Anders,
Sullivan, Azizpour and Björkman, "Are All Linear Regions Created Equal?", AISTATS 2022.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lronnx.crossing import SAME_T

Floats = NDArray[np.float64]

SLOPE_TOLERANCE = 1e-12
"""Relative difference below which two slopes count as equal, for slopes computed in double precision.

A slope is a product of as many matrices as the network has layers; its rounding error is the unit roundoff, 1.1e-16,
times a small power of the number of terms summed along the way. Slopes that are equal in exact arithmetic
differ by up to 1e-15 of the largest in real networks. Real differences can be nearly as small, since weight decay
leaves weights that hardly matter (1e-14 has been seen), so the line is drawn three digits above the noise: a unit that
changes every slope by less than that counts as having no effect.
"""

SLOPE_TOLERANCE_SINGLE = 1e-5
"""The same for slopes computed in single precision (unit roundoff 6e-8)."""

VALUE_TOLERANCE = 1e-13
"""Difference, relative to the largest output of the walk, below which two outputs count as tied at an edge.

Outputs that are equal in exact arithmetic (a tie exactly at a breakpoint, duplicated output neurons) differ
by rounding here.
"""

VALUE_TOLERANCE_SINGLE = 1e-6
"""The same for outputs computed in single precision."""


def linear_regions(slopes: Floats, tolerance: float = SLOPE_TOLERANCE) -> int:
    """The number of linear regions: runs of neighbouring regions on which the output has the same slope.

    A unit can switch with no effect downstream; the two activation regions then are one linear region.
    Slopes are rounded, so "the same" is ``|s[i+1,k] - s[i,k]| <= tolerance * max_i |s[i,k]| + 0.01 * tolerance *
    max |s|`` for every output k: each output is judged by its own scale (outputs may be in different units), and the
    second term keeps the rounding noise of an output that is constant in exact arithmetic from counting.

    ``slopes``: (R, m). Returns a count from 1 to R (0 if R is 0).

    >>> linear_regions(np.array([[1.0], [1.0 + 1e-15], [2.0]]))
    2
    """
    if len(slopes) == 0:
        return 0
    return 1 + int(np.count_nonzero(slope_changes(slopes, tolerance).any(axis=1)))


def slope_changes(slopes: Floats, tolerance: float = SLOPE_TOLERANCE) -> NDArray[np.bool_]:
    """(R-1, m) whether an output's slope changes at a breakpoint, as :func:`linear_regions` compares slopes.

    ``slopes``: (R, m). Empty if there is no breakpoint.

    >>> slope_changes(np.array([[1.0, 0.0], [1.0, 2.0], [1.0, 2.0]])).tolist()
    [[False, True], [False, False]]
    """
    if len(slopes) < 2:
        return np.zeros((0, slopes.shape[1]), dtype=np.bool_)
    size = np.abs(slopes)
    allowed = tolerance * size.max(axis=0) + 0.01 * tolerance * size.max()
    return np.asarray(np.abs(np.diff(slopes, axis=0)) > allowed)


def absolute_deviation(t: Floats, values: Floats, length: float) -> Floats:
    """The area between each output and the straight line between its end points: (m,), output times input length.

    ``AD_k = length * integral |f_k(x(t)) - a_k(t)| dt`` with ``a_k`` affine and equal to ``f_k`` at both ends. With
    ``g = f_k - a_k`` at the two ends of a region of width h, the region's integral is ``h (|g0| + |g1|) / 2``
    if g keeps its sign, else ``h (g0**2 + g1**2) / (2 (|g0| + |g1|))``: two triangles.

    Zero exactly when the output is affine along the segment. Divide by the length walked for the mean deviation.

    >>> float(absolute_deviation(np.array([0.0, 0.5, 1.0]), np.array([[0.0], [1.0], [0.0]]), 2.0)[0])
    1.0
    """
    return np.asarray(length * deviation_integrals(t, values - _baseline(t, values)).sum(axis=0))


def deviation_integrals(t: Floats, gap: Floats) -> Floats:
    """``integral |g_k| dt`` over each region, for functions ``g_k`` that are affine there: (R, m), unit of g times t.

    ``gap``: (R+1, m), g at the edges. The closed form is that of :func:`absolute_deviation`.
    """
    before, after = np.abs(gap[:-1]), np.abs(gap[1:])
    both = before + after
    # Signs are compared, not multiplied: the product of two small gaps underflows to 0. Shares of the sum are
    # squared, not the gaps: those overflow or underflow long before the result does.
    crosses = np.sign(gap[:-1]) * np.sign(gap[1:]) < 0
    share = np.divide(before, both, out=np.zeros_like(both), where=crosses)
    mean = 0.5 * both * np.where(crosses, share**2 + (1.0 - share) ** 2, 1.0)
    return np.asarray(np.diff(t)[:, None] * mean)


def absolute_deviation_bound(t: Floats, values: Floats, slopes: Floats, length: float) -> Floats:
    """The triangle bound on :func:`absolute_deviation` that earlier published curves show: (m,), same unit.

    ``length * sum (h |c - a(0)| + |s - b| (t1**2 - t0**2) / 2)`` over the regions, where ``c + s t`` is the
    region's own affine piece, continued to t = 0, and ``a(0) + b t`` is the baseline. It is an upper bound on the
    integral, several times too large, and by no constant factor: for comparison with those curves only.
    """
    if len(slopes) == 0:
        return np.zeros(values.shape[1])
    start, stop = t[:-1, None], t[1:, None]
    rise = (values[-1] - values[0]) / (t[-1] - t[0])
    intercept = values[:-1] - slopes * start
    terms = (stop - start) * np.abs(intercept - (values[0] - rise * t[0]))
    terms += np.abs(slopes - rise) * ((stop - start) * (stop + start) / 2)
    return np.asarray(length * terms.sum(axis=0))


def total_variation(values: Floats) -> Floats:
    """``sum_i |f_k(t[i+1]) - f_k(t[i])|``: (m,), the way that each output goes up and down, in units of the output.

    At least ``|end_to_end_variation|``, and equal to it where the output is monotone.
    """
    return np.asarray(np.abs(np.diff(values, axis=0)).sum(axis=0))


def end_to_end_variation(values: Floats) -> Floats:
    """``f_k(end) - f_k(start)``: (m,), signed, in units of the output."""
    return np.asarray(values[-1] - values[0])


def slope_variation(slopes: Floats) -> Floats:
    """``sum_i |s[i+1,k] - s[i,k]|`` over the breakpoints: (m,), in units of the output (per segment, not per length).

    Zero exactly when the output is affine along the segment.
    """
    return np.asarray(np.abs(np.diff(slopes, axis=0)).sum(axis=0))


def local_similarity(slopes: Floats) -> float | None:
    """The cosine between the slope vectors (length m) of neighbouring regions, averaged over the breakpoints.

    In [-1, 1]; 1 where the outputs go on in the same direction. None if there is no breakpoint.
    A zero slope vector (the outputs are constant there; below 1e-13 of the longest counts as zero) has no direction:
    its cosine with another zero vector is 1, with any other vector 0.

    ``slopes``: (R, m).

    >>> local_similarity(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]]))
    0.5
    """
    if len(slopes) < 2:
        return None
    largest = float(np.abs(slopes).max())
    if largest == 0.0:
        return 1.0
    scaled = slopes / largest
    norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    zero = norms <= 1e-13 * norms.max()
    directions = np.where(zero[:, None], 0.0, scaled / np.where(zero, 1.0, norms)[:, None])
    cosines = np.einsum("ij,ij->i", directions[:-1], directions[1:])
    cosines[zero[:-1] & zero[1:]] = 1.0
    return float(np.clip(cosines, -1.0, 1.0).mean())


def decisions(t: Floats, values: Floats, tolerance: float = VALUE_TOLERANCE) -> tuple[tuple[float, int], ...]:
    """Which output is the largest, and from where on: ``((t, output), ...)``, the first at ``t[0]``.

    On each region the outputs are m affine functions; their upper envelope gives the exact ``t`` of every
    change, also where a third output takes over in between. Outputs that are equal on an interval go to the
    lowest index, as ``numpy.argmax`` has it. A tie at a single point is no change by itself: what counts is
    who is largest before it and after it. Changes closer than 1e-12 in t are one, and if the
    argmax before it is the argmax after it, none.

    ``tolerance``: two outputs tie at an edge if they differ by at most this times the largest absolute output.
    Empty if there is no region.
    """
    if len(t) < 2:
        return ()
    if np.abs(values).max() > 2.0**1000:
        # Differences and sums of such numbers can overflow; a power of two moves none of them in relation to others.
        values = values * 2.0**-30
    margin = tolerance * float(np.abs(values).max())
    largest = values.max(axis=1, keepdims=True)
    snapped = np.where(values >= largest - margin, largest, values)
    left, right = snapped[:-1], snapped[1:]
    first = _best(left, right, margin)
    last = _best(right, left, margin)
    changes: list[tuple[float, int, int]] = []
    # Where the same output is largest at both ends of a region nothing happens inside it: a difference of two
    # affine functions that is not positive at both ends is not positive between them.
    joints = np.flatnonzero(last[:-1] != first[1:]) + 1
    insides = np.flatnonzero(first != last)
    for region in np.union1d(joints, insides).tolist():
        if region > 0 and last[region - 1] != first[region]:
            changes.append((float(t[region]), int(last[region - 1]), int(first[region])))
        if first[region] != last[region]:
            inner = _envelope(left[region], right[region], int(first[region]), int(last[region]), margin)
            width = t[region + 1] - t[region]
            changes += [(float(t[region] + share * width), before, after) for share, before, after in inner]
    pieces = [(float(t[0]), int(first[0]))]
    position = 0
    while position < len(changes):
        at, _, after = changes[position]
        reached = at
        position += 1
        while position < len(changes) and changes[position][0] - reached < SAME_T:
            reached, _, after = changes[position]
            position += 1
        if after != pieces[-1][1]:
            pieces.append((at, after))
    return tuple(pieces)


def decision_changes(
    t: Floats, values: Floats, tolerance: float = VALUE_TOLERANCE
) -> tuple[tuple[float, int, int], ...]:
    """``(t, argmax before, argmax after)`` wherever the largest output changes, in order; see :func:`decisions`.

    Empty if there is only one output.

    >>> decision_changes(np.array([0.0, 1.0]), np.array([[1.0, 0.0], [0.0, 3.0]]))
    ((0.25, 0, 1),)
    """
    pieces = decisions(t, values, tolerance)
    return tuple((after[0], before[1], after[1]) for before, after in pairwise(pieces))


def norm(vector: NDArray[np.float64]) -> float:
    """The Euclidean norm of an array of any shape, the same to the last bit on any number of cores.

    ``numpy.linalg.norm`` of a whole array is a product of the BLAS library, whose threads share it out.
    """
    return float(np.linalg.norm(vector.reshape(-1), axis=0))


def _baseline(t: Floats, values: Floats) -> Floats:
    """(R+1, m) the affine functions that equal the outputs at both ends, exactly so in floating point."""
    if len(t) < 2:
        return values.copy()
    return between(values[0], values[-1], (t - t[0]) / (t[-1] - t[0]))


def between(first: Floats, last: Floats, share: Floats) -> Floats:
    """(S, m) the affine functions that are ``first`` (m,) at share 0 and ``last`` at share 1, exactly so at both.

    ``share``: (S,).
    """
    return np.asarray((1.0 - share)[:, None] * first + share[:, None] * last)


def _best(here: Floats, there: Floats, margin: float) -> NDArray[np.intp]:
    """(R,) the output that is largest just inside each region, next to the edge where the outputs are ``here``.

    Among those that tie at the edge it is the one that is largest at the other edge, ``there``; of several
    outputs that are equal (within ``margin``) on the whole region the first.
    """
    tied = here == here.max(axis=1, keepdims=True)
    ahead = np.where(tied, there, -math.inf)
    return np.asarray((ahead >= ahead.max(axis=1, keepdims=True) - margin).argmax(axis=1))


def _envelope(left: Floats, right: Floats, first: int, last: int, margin: float) -> list[tuple[float, int, int]]:
    """The changes of the upper envelope of m affine functions inside one region: ``(share, before, after)``.

    ``share`` is the position inside the region, from 0 to 1.
    ``left``, ``right``: (m,) the functions at both ends; ``first``, ``last``: which is largest next to either end.
    """
    changes = []
    current, reached = first, 0.0
    # An output joins the envelope at most once, for its slope is greater than that of all before it.
    for _ in range(len(left)):
        # Whoever ends within the margin of the present one without being largest there never matters.
        rivals = np.flatnonzero(right > right[current] + margin)
        if len(rivals) == 0:
            break
        behind = left[current] - left[rivals]
        ahead = right[rivals] - right[current]
        share = np.divide(behind, behind + ahead, out=np.zeros_like(behind), where=behind > 0.0)
        share = np.maximum(share, reached)
        reached = float(share.min())
        together = rivals[share == reached]
        steepest = right[together] - left[together]
        rival = int(together[steepest.argmax()])
        same = (np.abs(left - left[rival]) <= margin) & (np.abs(right - right[rival]) <= margin)
        changes.append((reached, current, int(same.argmax())))
        current = int(same.argmax())
    if current != last:
        changes.append((1.0, current, last))
    return changes
