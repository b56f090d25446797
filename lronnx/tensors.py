"""What the sweep does with the rows of a stage, besides running its program: on arrays in memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from lronnx import session
from lronnx.graph import Array
from lronnx.stages import Stage

Integers = NDArray[np.int64]


class HostStages:
    """Stages ready to run on the CPU: their programs, shared by all threads."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self.programs = [session.Bound(stage.graph) for stage in stages]

    def worker(self) -> HostWorker:
        return HostWorker(self)


class HostWorker:
    """What one thread runs stages with. Its arrays are overwritten when the same stage runs again.

    Fresh memory costs a page fault per 4 KB, so arrays are kept and grow with the rows.
    """

    def __init__(self, owner: HostStages) -> None:
        self._owner = owner
        self._kept: dict[tuple[int, str], Array] = {}

    def _array(self, number: int, name: str, rows: int, width: int, dtype: str) -> Array:
        kept = self._kept.get((number, name))
        if kept is None or len(kept) < rows:
            kept = self._kept[number, name] = np.empty((rows + rows // 4, width), dtype)
        return kept[:rows]

    def run(self, number: int, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """All outputs of a stage, (rows, numbers) each, from its inputs, (rows, numbers) each."""
        graph = self._owner.stages[number].graph
        shaped = {name: array.reshape(rows, *_physical(graph.values[name].shape)) for name, array in inputs.items()}
        made: dict[str, Array] = {}
        bound: dict[str, Array] = {}
        for name in graph.outputs:
            value = graph.values[name]
            physical = _physical(value.shape)
            made[name] = self._array(number, name, rows, prod(physical), value.dtype)
            bound[name] = made[name].reshape(rows, *physical)
        self._owner.programs[number](shaped, bound)
        return made

    def extremes(self, held: Array) -> tuple[Array, Array]:
        """The largest and the smallest of every number over all rows."""
        return held.max(axis=0), held.min(axis=0)

    def pick(self, held: Array, positions: Integers) -> Array:
        """Numbers at flat positions."""
        return held.reshape(-1).take(positions)

    def gather(self, number: int, name: str, held: Array, source: Integers) -> Array:
        """Rows of a tensor."""
        made = self._array(number, name, len(source), held.shape[1], held.dtype.name)
        return np.take(held, source, axis=0, out=made, mode="clip")

    def activate(
        self,
        number: int,
        name: str,
        held: Array,
        source: Integers,
        factors: Array,
        owner: Integers,
        positions: Integers,
        numbers: Array,
    ) -> Array:
        """Rows of an elementwise operator's slopes: times the factors of their chunk, (chunks, units).

        At flat ``positions`` of the result other ``numbers`` are put.
        """
        made = self.gather(number, name, held, source)
        if len(factors) == 1:
            np.multiply(made, factors, out=made)
        else:
            first = np.searchsorted(owner, np.arange(len(factors) + 1))
            for chunk, (begin, end) in enumerate(itertools.pairwise(first)):
                np.multiply(made[begin:end], factors[chunk], out=made[begin:end])
        made.reshape(-1)[positions] = numbers
        return made

    def choose(self, number: int, name: str, held: Array, positions: Integers, sign: int) -> Array:
        """The numbers at ``positions``, (rows, units), times the sign."""
        made = self._array(number, name, positions.shape[0], positions.shape[1], held.dtype.name)
        np.take(held.reshape(-1), positions, out=made, mode="clip")
        return made if sign > 0 else np.negative(made, out=made)


def _physical(shape: tuple[int | str, ...] | None) -> tuple[int, ...]:
    assert shape is not None
    return tuple(int(size) for size in shape[1:])
