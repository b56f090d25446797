"""What a walk returns: regions, breakpoints and switches along one segment, and along a path of segments.

Definitions: `breakpoint`, `region`, `switch` as in Gamba et al., "Are All Linear Regions Created Equal?"
(AISTATS 2022), made exact; see the README. All arrays are float64.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import metrics

if TYPE_CHECKING:
    from lronnx.agreement import Agreement

Floats = NDArray[np.float64]


class Switch(NamedTuple):
    """One unit that changes its branch at a breakpoint.

    ``node`` is the node's label, ``unit`` the flat (row-major) index inside one sample of the node's
    output. ``before`` and ``after`` number the branches from below: a ReLU is 0 (off) or 1 (on), a Clip
    0, 1 or 2; for Max, MaxPool and reductions they are the position of the winning candidate.
    """

    node: str
    unit: int
    before: int
    after: int


class DecisionChange(NamedTuple):
    """The argmax over the outputs passes from output ``before`` to output ``after`` at ``t`` of a segment."""

    segment: int
    t: float
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What the walk verified about itself.

    ``contradictions``: units whose sign contradicted the state beyond rounding. ``end_pattern_mismatches``:
    units whose branch, carried to the end of a (sub-)interval, differs beyond rounding from the branch
    computed afresh there. ``max_value_error``: largest absolute difference between the outputs here and
    those of the original model, run as it is by onnxruntime, over ``points_compared`` points;
    ``value_tolerance``: what rounding of the original model's own precision explains.
    """

    contradictions: int
    end_pattern_mismatches: int
    max_value_error: float
    value_tolerance: float
    points_compared: int

    @property
    def ok(self) -> bool:
        return (
            self.contradictions == 0
            and self.end_pattern_mismatches == 0
            and self.max_value_error <= self.value_tolerance
        )

    @classmethod
    def total(cls, checks: Iterable[SelfCheck]) -> SelfCheck:
        """The sum of several checks: ok exactly if all of them are; the largest error; all points compared.

        The tolerance is the largest, or where an error exceeds its own, the smallest of those exceeded.
        """
        checks = tuple(checks)
        exceeded = [c.value_tolerance for c in checks if not c.max_value_error <= c.value_tolerance]
        errors = [c.max_value_error for c in checks]
        return cls(
            contradictions=sum(c.contradictions for c in checks),
            end_pattern_mismatches=sum(c.end_pattern_mismatches for c in checks),
            max_value_error=math.nan if any(map(math.isnan, errors)) else max(errors, default=0.0),
            value_tolerance=min(exceeded) if exceeded else max((c.value_tolerance for c in checks), default=0.0),
            points_compared=sum(c.points_compared for c in checks),
        )


# Compared by identity: equality of arrays is an array, and no two runs take the same time.
@dataclass(frozen=True, eq=False, repr=False)
class Walk:
    """All linear regions on one segment ``x(t) = start + t (end - start)``, R of them, for m outputs.

    ``t``: (R+1,) edges of the regions, from 0 to 1 (to where the walk got, if ``partial``).
    ``values``: (R+1, m) outputs at the edges. ``slopes``: (R, m) d output / d t inside each region.
    ``switches``: for each of the R-1 breakpoints the units that switch there, at least one.
    ``length``: Euclidean norm of end - start. ``seconds``: wall time.
    ``forward_passes``: evaluations of a single input in total, a slope counting as one.
    ``precision``: ``double`` or ``single``, what values and slopes were computed in.

    Of a ``partial`` walk every measure describes the part that was walked; R is 0 if it was stopped at once.
    """

    t: Floats
    values: Floats
    slopes: Floats
    switches: tuple[tuple[Switch, ...], ...]
    length: float
    self_check: SelfCheck
    partial: bool
    forward_passes: int
    seconds: float
    precision: str = "double"

    def __repr__(self) -> str:
        text = f"<lronnx.Walk: {self.regions} regions, density {self.density:.6g}, length {self.walked_length:.6g}"
        return (
            text + (", partial" if self.partial else "") + ("" if self.self_check.ok else ", SELF-CHECK FAILED") + ">"
        )

    @property
    def outputs(self) -> int:
        """Number of outputs, m."""
        return int(self.values.shape[1])

    @property
    def regions(self) -> int:
        """Number of activation regions: breakpoints + 1."""
        return len(self.t) - 1

    @property
    def breakpoints(self) -> int:
        return max(self.regions - 1, 0)

    @cached_property
    def switch_count(self) -> int:
        """Unit switches; more than breakpoints when units switch together."""
        return sum(len(together) for together in self.switches)

    @cached_property
    def switches_by_node(self) -> dict[str, int]:
        """Unit switches per node label, most first; nodes without any are left out."""
        return dict(Counter(s.node for together in self.switches for s in together).most_common())

    @cached_property
    def smallest_region(self) -> float:
        """Width in t of the narrowest region; nan if there is none."""
        return float(np.diff(self.t).min()) if self.regions else math.nan

    @cached_property
    def linear_regions(self) -> int:
        """Runs of neighbouring regions with the same slope: see :func:`lronnx.metrics.linear_regions`."""
        single = self.precision == "single"
        return metrics.linear_regions(
            self.slopes, metrics.SLOPE_TOLERANCE_SINGLE if single else metrics.SLOPE_TOLERANCE
        )

    @property
    def walked_length(self) -> float:
        """Euclidean length of the part that was walked: all of it, unless ``partial``."""
        return self.length * float(self.t[-1])

    @property
    def density(self) -> float:
        """Regions per unit of the length that was walked; nan if none was."""
        return self.regions / self.walked_length if self.walked_length > 0.0 else math.nan

    @cached_property
    def absolute_deviation(self) -> Floats:
        """(m,) see :func:`lronnx.metrics.absolute_deviation`; multiplied by the length."""
        return metrics.absolute_deviation(self.t, self.values, self.length)

    @property
    def absolute_deviation_norm(self) -> float:
        """Euclidean norm of the absolute deviation over the outputs."""
        return metrics.norm(self.absolute_deviation)

    @property
    def mean_absolute_deviation(self) -> Floats:
        """(m,) the absolute deviation divided by the length that was walked; nan if none was."""
        return self.absolute_deviation / (self.walked_length or math.nan)

    @cached_property
    def absolute_deviation_bound(self) -> Floats:
        """(m,) the triangle bound that earlier published curves show; for comparison only."""
        return metrics.absolute_deviation_bound(self.t, self.values, self.slopes, self.length)

    @cached_property
    def total_variation(self) -> Floats:
        """(m,) see :func:`lronnx.metrics.total_variation`."""
        return metrics.total_variation(self.values)

    @cached_property
    def end_to_end_variation(self) -> Floats:
        """(m,) output at the end minus output at the start."""
        return metrics.end_to_end_variation(self.values)

    @cached_property
    def slope_variation(self) -> Floats:
        """(m,) see :func:`lronnx.metrics.slope_variation`."""
        return metrics.slope_variation(self.slopes)

    @cached_property
    def local_similarity(self) -> float | None:
        """Mean cosine between the slope vectors of neighbouring regions; None without breakpoints."""
        return metrics.local_similarity(self.slopes)

    @cached_property
    def decisions(self) -> tuple[tuple[float, int], ...]:
        """(t, output) for every stretch on which one output is the largest, beginning at t."""
        single = self.precision == "single"
        return metrics.decisions(
            self.t, self.values, metrics.VALUE_TOLERANCE_SINGLE if single else metrics.VALUE_TOLERANCE
        )

    @property
    def decision_changes(self) -> tuple[tuple[float, int, int], ...]:
        """(t, argmax before, argmax after) wherever the argmax over the outputs changes."""
        return tuple((after[0], before[1], after[1]) for before, after in pairwise(self.decisions))


@dataclass(frozen=True, eq=False, repr=False)
class PathWalk:
    """The walks along a path of segments, in order; totals are sums over them.

    ``closed``: the last segment ends where the first begins. ``partial``: the run was stopped early; segments that
    it had not reached are left out. ``seconds``: wall time of the whole run. ``device``: where it really ran.
    ``agreement``: of the engine ``both``, how the two results compare.
    """

    segments: tuple[Walk, ...]
    closed: bool
    partial: bool
    seconds: float
    engine: str
    precision: str
    device: str
    lanes: int
    agreement: Agreement | None = None

    def __repr__(self) -> str:
        text = f"<lronnx.PathWalk: {len(self.segments)} segments, {self.regions} regions"
        return (
            text + (", partial" if self.partial else "") + ("" if self.self_check.ok else ", SELF-CHECK FAILED") + ">"
        )

    @property
    def outputs(self) -> int:
        """Number of outputs, m."""
        return self.segments[0].outputs if self.segments else 0

    @property
    def regions(self) -> int:
        """Activation regions of all segments; a point where two segments meet is counted as an edge of both."""
        return sum(walk.regions for walk in self.segments)

    @property
    def breakpoints(self) -> int:
        """Breakpoints inside the segments; where two segments meet is none."""
        return sum(walk.breakpoints for walk in self.segments)

    @property
    def linear_regions(self) -> int:
        return sum(walk.linear_regions for walk in self.segments)

    @property
    def switch_count(self) -> int:
        """Unit switches; more than breakpoints when units switch together."""
        return sum(walk.switch_count for walk in self.segments)

    @cached_property
    def switches_by_node(self) -> dict[str, int]:
        """Unit switches per node label, most first; nodes without any are left out."""
        total: Counter[str] = Counter()
        for walk in self.segments:
            total.update(walk.switches_by_node)
        return dict(total.most_common())

    @property
    def smallest_region(self) -> float:
        """Width of the narrowest region, in t of its segment; nan if there is none."""
        return min((walk.smallest_region for walk in self.segments if walk.regions), default=math.nan)

    @property
    def length(self) -> float:
        """Sum of the lengths of the segments, walked to their end or not."""
        return math.fsum(walk.length for walk in self.segments)

    @property
    def walked_length(self) -> float:
        """Length of the part that was walked: all of it, unless ``partial``."""
        return math.fsum(walk.walked_length for walk in self.segments)

    @property
    def density(self) -> float:
        """Regions per unit of the length that was walked; nan if none was."""
        return self.regions / self.walked_length if self.walked_length > 0.0 else math.nan

    @property
    def absolute_deviation(self) -> Floats:
        """(m,) sum over the segments, each against the affine baseline between its own end points."""
        return self._sum([walk.absolute_deviation for walk in self.segments])

    @property
    def absolute_deviation_norm(self) -> float:
        """Euclidean norm over the outputs of the path's absolute deviation."""
        return metrics.norm(self.absolute_deviation)

    @property
    def mean_absolute_deviation(self) -> Floats:
        """(m,) the absolute deviation divided by the length that was walked; nan if none was."""
        return self.absolute_deviation / (self.walked_length or math.nan)

    @property
    def absolute_deviation_bound(self) -> Floats:
        """(m,) the triangle bound that earlier published curves show; for comparison only."""
        return self._sum([walk.absolute_deviation_bound for walk in self.segments])

    @property
    def total_variation(self) -> Floats:
        """(m,) see :func:`lronnx.metrics.total_variation`."""
        return self._sum([walk.total_variation for walk in self.segments])

    @property
    def end_to_end_variation(self) -> Floats:
        """(m,) output at the end of the path minus output at its start; about 0 on a closed path."""
        return self._sum([walk.end_to_end_variation for walk in self.segments])

    @property
    def slope_variation(self) -> Floats:
        """(m,) sum over the breakpoints; the bends where segments meet are no property of the network."""
        return self._sum([walk.slope_variation for walk in self.segments])

    @property
    def local_similarity(self) -> float | None:
        """Mean over all breakpoints of the path; None without breakpoints."""
        terms = [(walk.local_similarity, walk.breakpoints) for walk in self.segments]
        count = sum(breakpoints for _, breakpoints in terms)
        if count == 0:
            return None
        return math.fsum(mean * breakpoints for mean, breakpoints in terms if mean is not None) / count

    @cached_property
    def decision_changes(self) -> tuple[DecisionChange, ...]:
        """Wherever the argmax over the outputs changes along the path, in order.

        A change exactly where two segments meet is at t = 0 of the later one (of the first, for
        the point where a closed path ends); it belongs to the path and to none of its segments.
        """
        changes = []
        for index, walk in enumerate(self.segments):
            # Segment -1 leads up to segment 0 of a closed path, and of no other.
            before = self.segments[index - 1] if index > 0 or (self.closed and not self.partial) else None
            if before is not None and before.t[-1] == 1.0 and before.decisions and walk.decisions:
                last, first = before.decisions[-1][1], walk.decisions[0][1]
                if last != first:
                    changes.append(DecisionChange(index, 0.0, last, first))
            changes += [DecisionChange(index, *change) for change in walk.decision_changes]
        return tuple(changes)

    @cached_property
    def self_check(self) -> SelfCheck:
        """Ok exactly if every segment's is."""
        return SelfCheck.total(walk.self_check for walk in self.segments)

    @property
    def forward_passes(self) -> int:
        """Evaluations of a single input in total, a slope counting as one."""
        return sum(walk.forward_passes for walk in self.segments)

    def _sum(self, terms: list[Floats]) -> Floats:
        return np.asarray(np.sum(terms, axis=0)) if terms else np.zeros(0)
