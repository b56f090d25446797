"""Walks and networks made by hand, for tests of what is done with a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from strategies import Builder

from lronnx.regions import PathWalk, SelfCheck, Switch, Walk


def hand_walk(
    values: Sequence[Sequence[float]],
    length: float = 2.0,
    *,
    partial: bool = False,
    error: float = 1e-7,
    mismatches: int = 0,
    nodes: Sequence[str] = ("a", "b"),
) -> Walk:
    """A walk with edges at equal distances; at each breakpoint one unit of every node switches.

    ``values``: (R+1, m). A partial one ends at t = 1/2.
    """
    count = len(values) - 1
    t = np.linspace(0.0, 0.5 if partial else 1.0, count + 1) if count else np.array([0.0])
    array = np.array(values, dtype=np.float64)
    return Walk(
        t=t,
        values=array,
        slopes=np.diff(array, axis=0) / np.diff(t)[:, None],
        switches=tuple(tuple(Switch(node, unit, 0, 1) for node in nodes) for unit in range(max(count - 1, 0))),
        length=length,
        self_check=SelfCheck(0, mismatches, error, 1e-6, 5),
        partial=partial,
        forward_passes=7,
        seconds=0.5,
    )


def hand_path(*walks: Walk, closed: bool = False, precision: str = "double") -> PathWalk:
    return PathWalk(walks, closed, any(w.partial for w in walks), 1.0, "walk", precision, "cpu", 4)


@dataclass
class StubNetwork:
    """Stands in for a loaded network where a test needs a result that no real one gives."""

    result: Callable[..., PathWalk]
    name: str = "stub.onnx"
    sha256: str = "0" * 64
    metadata: dict[str, str] = field(default_factory=dict)
    input_name: str = "x"
    input_shape: tuple[int, ...] = (1, 2)
    output_name: str = "y"
    outputs: int = 2
    units: int = 3
    notices: tuple[str, ...] = ()
    switching_nodes: tuple[Any, ...] = ()

    @property
    def graph(self) -> Any:
        @dataclass
        class Nodes:
            nodes: tuple[()] = ()

        return Nodes()

    def walk_path(self, points: Any, **options: Any) -> PathWalk:
        return self.result(points, **options)


def save_small_model(path: Path) -> Path:
    """Three units on a two-dimensional input, two outputs; the constants below say what is between two points.

    Hidden: relu(x0), relu(x1 + 1/2), relu(x0 + x1 - 1/4); outputs: their sum, and the first minus the second.
    """
    b = Builder((2,))
    hidden = b.relu(b.gemm(b.input, [[1, 0], [0, 1], [1, 1]], [0, 0.5, -0.25]))
    path.write_bytes(b.model(b.gemm(hidden, [[1, 1, 1], [1, -1, 0]])).SerializeToString())
    return path


SMALL_START, SMALL_END = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
SMALL_EDGES = [0.0, 0.25, 0.5, 0.5625, 1.0]
SMALL_VALUES = [[0.0, 0.0], [0.0, 0.0], [0.5, -0.5], [0.75, -0.5], [4.25, -0.5]]
SMALL_SLOPES = [[0.0, 0.0], [2.0, -2.0], [4.0, 0.0], [8.0, 0.0]]
SMALL_UNITS = [1, 0, 2]
