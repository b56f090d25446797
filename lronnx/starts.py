"""The network at single places: where the chunks of a sweep start, and what rounding noise is there.

Values alone are cheap, and do for most chunks. Slopes, sizes and branches that are told from noise come from the
linearized program that a walk begins with, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lronnx.bends import IMMENSE, Integers
from lronnx.graph import Array
from lronnx.joining import Branches
from lronnx.ops.switching import Group
from lronnx.regions import Floats
from lronnx.stages import Bend, Stage
from lronnx.walker import AWOKEN, Evaluation

# The network afresh at points (places, *sample), with directions.
EvaluateAfresh = Callable[[Array, Array], Evaluation]
# Values at points (places, *sample): the outputs (places, m), and by switching node its argument or candidates.
EvaluateValues = Callable[[Array], tuple[Floats, Mapping[str, Array]]]
# A unit that is no more than this, relative to the largest of its operator, from its kink is looked at closely.
CLOSE = 1e-9


@dataclass
class Values:
    """The network at a place, units as a stage stores them: the output; per group values and branches (above the kink
    or not; or the winner)."""

    value: Floats
    values: list[Floats]
    branches: list[Array]


@dataclass
class Start(Values):
    """Where a chunk starts: also sizes of values and of slopes, measured not far away, and what they tell of values: up
    to where they may be noise, and from where on they are more than sizes explain."""

    sizes: list[tuple[Floats, Floats]]
    limits: list[tuple[Floats, float]]


@dataclass
class Afresh(Values):
    """The network at a place, computed afresh with slopes and with sizes of its own."""

    slopes: list[Floats]
    sizes: list[tuple[Floats, Floats]]


class Places:
    """Evaluates the network at places. ``groups`` as ``evaluate`` knows them; ``orders``: as ``values`` stores units.

    ``dtype``: what ``evaluate`` reads. ``passes``: evaluations of a single input so far, a slope counting as one.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        groups: Sequence[Group],
        evaluate: EvaluateAfresh,
        values: EvaluateValues,
        orders: Mapping[str, tuple[int, ...]],
        dtype: str,
    ) -> None:
        self._bends: dict[str, Bend] = {bend.label: bend for stage in stages for bend in stage.bends}
        self._evaluate, self._evaluate_values, self._dtype = evaluate, values, dtype
        self._source = tuple(groups)
        self.groups = tuple(self._as_bend(group) for group in groups)
        self._orders = [_order(old, new) for old, new in zip(groups, self.groups, strict=True)]
        self._value_orders = [_order(replace(new, order=orders[new.label]), new) for new in self.groups]
        self.passes = 0.0

    def _as_bend(self, group: Group) -> Group:
        bend = self._bends[group.label]
        return replace(group, shape=bend.shape, order=bend.order)

    def afresh(self, points: Floats, directions: Floats) -> list[Afresh]:
        """The network at points (places, *sample), entered in these directions."""
        count = len(points)
        evaluation = self._evaluate(points.astype(self._dtype), directions.astype(self._dtype))
        self.passes += 2 * count
        value = evaluation.value.astype(np.float64)
        starts = [Afresh(value[row], [], [], [], []) for row in range(count)]
        for index, (group, order) in enumerate(zip(self._source, self._orders, strict=True)):
            shape = (count, group.count, group.units) if group.count else (count, group.units)
            # The arrays of an evaluation are overwritten by a later one.
            held = [
                array.reshape(shape).astype(np.float64)
                for array in (
                    evaluation.tensors[group.value],
                    evaluation.tensors[group.slope],
                    *evaluation.sizes[index],
                )
            ]
            state = evaluation.tensors[group.state].reshape(count, -1)
            branches = state.astype(np.int64) if group.count else state > 0
            if order is not None:
                held, branches = [array[..., order] for array in held], branches[:, order]
            for row, start in enumerate(starts):
                start.values.append(held[0][row])
                start.slopes.append(held[1][row])
                start.sizes.append((held[2][row], held[3][row]))
                start.branches.append(branches[row])
        return starts

    def values(self, points: Floats) -> list[Values]:
        """At points (places, *sample) the output, and per group values and branches, whatever is noise of them."""
        count = len(points)
        output, functions = self._evaluate_values(points)
        self.passes += count
        output = output.astype(np.float64)
        values: list[Floats] = []
        branches: list[Array] = []
        for group, order in zip(self.groups, self._value_orders, strict=True):
            held = functions[group.label].reshape((count, group.count, group.units) if group.count else (count, -1))
            if order is not None:
                held = held[..., order]
            held = held.astype(np.float64) if group.count else held - self._bends[group.label].kinks[group.kink]
            values.append(held)
            branches.append(held.argmax(axis=1) if group.count else held > 0)
        return [
            Values(output[row], [held[row] for held in values], [branch[row] for branch in branches])
            for row in range(count)
        ]

    def start(self, found: Values, sizes: list[tuple[Floats, Floats]], doubt: float) -> Start:
        """What was found at a place, judged by sizes: what is no more than ``doubt`` of them may be noise."""
        return Start(found.value, found.values, found.branches, sizes, self._limits(found.values, sizes, doubt))

    def is_doubtful(self, start: Start) -> bool:
        """Whether some unit is so close to its kink, or to the winner, that it may be so by rounding."""
        for group, held, (limit, awake) in zip(self.groups, start.values, start.limits, strict=True):
            distance = held.max(axis=0) - held if group.count else np.abs(held)
            near = distance <= limit
            if group.count or distance.max(initial=0.0) > awake:
                near |= (distance > awake) & (distance < IMMENSE)
            if near.any() and (near & (distance > 0)).any():
                return True
        return False

    def _limits(
        self, values: Sequence[Floats], sizes: Sequence[tuple[Floats, Floats]], doubt: float
    ) -> list[tuple[Floats, float]]:
        """By group, up to where values may be noise, and from where on they are more than sizes explain.

        Sizes may have been measured where a unit was asleep: then it is judged by the largest of its group.
        """
        found = []
        for group, held, (size, _) in zip(self.groups, values, sizes, strict=True):
            magnitude, wide = np.abs(held), size
            if group.count:
                magnitude, wide = (np.where(array < IMMENSE, array, 0.0) for array in (magnitude, wide))
            close = CLOSE * float(magnitude.max(initial=0.0))
            found.append((np.maximum(doubt * size, close), AWOKEN * float(wide.max(initial=0.0))))
        return found


def _order(old: Group, new: Group) -> Integers | None:
    """Where an evaluation stores each unit of a stage; None if at the same place."""
    if old.order == new.order:
        return None
    place = np.empty(old.units, np.int64)
    place[old.unit] = np.arange(old.units)
    return place[new.unit]


def as_branches(group: Group, branch: NDArray[np.generic]) -> Branches:
    """Branches as sub-intervals keep them."""
    return np.asarray(branch).astype(np.int16 if group.count < 2**15 else np.int32)
