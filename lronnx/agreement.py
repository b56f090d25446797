"""Two engines' results on the same path, compared unit by unit: each is the other's test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lronnx.regions import Floats, Walk

# What rounding explains, by precision: of a place in t, and of an output relative to the largest.
TOLERANCES = {"double": 1e-9, "single": 1e-3}


@dataclass(frozen=True)
class Agreement:
    """How far two engines agree on a path.

    ``breakpoints``: how many each found. ``unmatched``: switches of a unit that one of them did not find.
    ``largest_t``: the largest difference in t between the same switches of the same unit, in order; ``largest_value``:
    that between outputs at the edges of the regions, relative to the largest output; nan if the numbers of edges
    differ. ``precision``: ``double`` or ``single``.
    """

    breakpoints: tuple[int, int]
    unmatched: int
    largest_t: float
    largest_value: float
    precision: str

    @property
    def tolerance(self) -> float:
        """What both differences may be by rounding."""
        return TOLERANCES[self.precision]

    @property
    def ok(self) -> bool:
        """Whether the engines found the same regions, up to rounding.

        Single precision may take switches that coincide for two breakpoints: there the switches alone have to agree.
        """
        if self.unmatched or not self.largest_t <= self.tolerance:
            return False
        if self.precision == "single":
            return not self.largest_value > self.tolerance
        return self.breakpoints[0] == self.breakpoints[1] and self.largest_value <= self.tolerance


def compare(one: Sequence[Walk], other: Sequence[Walk], precision: str) -> Agreement:
    """Compare the segments of two results; of partial ones, what both have walked."""
    breakpoints = [0, 0]
    unmatched = 0
    largest_t = largest_value = 0.0
    for left, right in zip(one, other, strict=False):
        reached = min(float(left.t[-1]), float(right.t[-1]))
        # A partial result ends where the next breakpoint was not known yet.
        limit = reached if reached < 1.0 else np.inf
        found = [_switches(walk, limit) for walk in (left, right)]
        for key in found[0].keys() | found[1].keys():
            times = [one_found.get(key, []) for one_found in found]
            unmatched += abs(len(times[0]) - len(times[1]))
            differences = [abs(a - b) for a, b in zip(*times, strict=False)]
            largest_t = max(largest_t, *differences, 0.0)
        edges = [_edges(walk, limit) for walk in (left, right)]
        for number, count in enumerate(edges):
            breakpoints[number] += count - 1
        if edges[0] != edges[1]:
            largest_value = float("nan")
            continue
        values = left.values[: edges[0]], right.values[: edges[0]]
        largest_value = max(largest_value, _relative(*values)) if largest_value == largest_value else largest_value
    return Agreement((breakpoints[0], breakpoints[1]), unmatched, largest_t, largest_value, precision)


def _switches(walk: Walk, limit: float) -> dict[tuple[str, int], list[float]]:
    """When each unit switches, in order."""
    found: dict[tuple[str, int], list[float]] = {}
    for t, together in zip(walk.t[1:].tolist(), walk.switches, strict=False):
        if t < limit:
            for switch in together:
                found.setdefault((switch.node, switch.unit), []).append(t)
    return found


def _edges(walk: Walk, limit: float) -> int:
    """Edges in front of a place, the first one included, the end of the segment left out."""
    return int(np.searchsorted(walk.t[:-1], limit)) if len(walk.t) > 1 else 1


def _relative(one: Floats, other: Floats) -> float:
    """The largest difference, relative to the largest number."""
    scale = float(np.abs(one).max(initial=0.0))
    return float(np.abs(one - other).max(initial=0.0)) / (scale or 1.0)
