"""What the sweep does with the rows of a stage besides running its program: in memory, or without leaving a device.

In memory NumPy does it in place, in about half the time of onnxruntime's own operators. On a device everything is a
small program whose tensors stay there; what comes back are the extremes of each number over all rows, the numbers that
are picked because a unit may switch, and the network's output.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lronnx import session
from lronnx.graph import Array
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import rows
from lronnx.session import Held
from lronnx.stages import Stage

Integers = NDArray[np.int64]


class Worker(Protocol):
    """What one thread runs stages with. A tensor is (rows, numbers), in memory or on a device."""

    def run(self, number: int, inputs: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """All outputs of a stage; those of the last one are the slopes of the network's output."""

    def array(self, held: Any) -> Array:
        """A tensor's numbers in memory."""

    def extremes(self, held: Any) -> tuple[Array, Array]:
        """The largest and the smallest of every number over all rows."""

    def pick(self, held: Any, positions: Integers) -> Array:
        """Numbers at flat positions."""

    def take(self, held: Any, numbers: Integers) -> Array:
        """Whole columns, (rows, numbers)."""

    def gather(self, number: int, name: str, held: Any, source: Integers) -> Any:
        """Rows of a tensor, for an input of a stage."""

    def activate(
        self,
        number: int,
        name: str,
        held: Any,
        source: Integers,
        factors: Array,
        owner: Integers,
        positions: Integers,
        numbers: Array,
    ) -> Any:
        """Rows of an elementwise operator's slopes: times the factors of their chunk, (chunks, units).

        At flat ``positions`` of the result other ``numbers`` are put.
        """

    def choose(self, number: int, name: str, held: Any, positions: Integers, sign: int) -> Any:
        """The numbers at ``positions``, (rows, units), times the sign."""


class Programs(Protocol):
    """Stages that are ready to run."""

    stages: tuple[Stage, ...]

    def worker(self, number: int) -> Worker:
        """For one thread: the same for the same number, from one run to the next."""


class HostStages:
    """Stages ready to run on the CPU: their programs, shared by all threads."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self.programs = [session.Bound(stage.graph) for stage in stages]
        self._workers: dict[int, HostWorker] = {}

    def worker(self, number: int) -> HostWorker:
        return self._workers.setdefault(number, HostWorker(self))


class HostWorker:
    """What one thread runs stages with. Its arrays are overwritten when the same stage runs again.

    Fresh memory costs a page fault per 4 KB, so arrays are kept and grow with the rows.
    """

    def __init__(self, owner: HostStages) -> None:
        self._owner = owner
        self._kept: dict[tuple[int, str], Array] = {}
        self._inputs: dict[int, Array] = {}

    def _array(self, number: int, name: str, rows: int, width: int, dtype: str) -> Array:
        kept = self._kept.get((number, name))
        if kept is None or len(kept) < rows:
            kept = self._kept[number, name] = np.empty((rows + rows // 4, width), dtype)
        return kept[:rows]

    def _input(self, number: int, name: str, rows: int, width: int, dtype: str) -> Array:
        """An array for an input of a stage, in memory that all stages share: it is read by one run and no more."""
        position = [source.name for source in self._owner.stages[number].sources].index(name)
        kept = self._inputs.get(position)
        if kept is None or len(kept) < rows * width:
            kept = self._inputs[position] = np.empty(rows * width + rows * width // 4, dtype)
        return kept[: rows * width].reshape(rows, width)

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

    def array(self, held: Array) -> Array:
        """A tensor's numbers in memory."""
        return held

    def extremes(self, held: Array) -> tuple[Array, Array]:
        """The largest and the smallest of every number over all rows."""
        return held.max(axis=0), held.min(axis=0)

    def pick(self, held: Array, positions: Integers) -> Array:
        """Numbers at flat positions."""
        return held.reshape(-1).take(positions)

    def take(self, held: Array, numbers: Integers) -> Array:
        """Whole columns, (rows, numbers)."""
        return held.take(numbers, axis=1)

    def gather(self, number: int, name: str, held: Array, source: Integers) -> Array:
        """Rows of a tensor."""
        made = self._input(number, name, len(source), held.shape[1], held.dtype.name)
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
        made = self._input(number, name, positions.shape[0], positions.shape[1], held.dtype.name)
        np.take(held.reshape(-1), positions, out=made, mode="clip")
        return made if sign > 0 else np.negative(made, out=made)


class DeviceStages:
    """Stages ready to run on a device, with everything that stays on it."""

    def __init__(self, stages: Sequence[Stage], dtype: str, device: str) -> None:
        self.stages = tuple(stages)
        self.device = device
        self.programs = [session.Resident(stage.graph, device) for stage in stages]
        self.helpers = {
            name: session.Resident(graph, device) for name, graph in rows.programs(dtype, PROGRAM_OPSET).items()
        }

    def worker(self, number: int) -> DeviceWorker:
        return DeviceWorker(self)


class DeviceWorker:
    """The same as :class:`HostWorker` for tensors on a device."""

    def __init__(self, owner: DeviceStages) -> None:
        self._owner = owner

    def run(self, number: int, inputs: Mapping[str, Held | Array], rows: int) -> dict[str, Held]:
        stage = self._owner.stages[number]
        last = number == len(self._owner.stages) - 1
        shapes = {source.name: source.physical for source in stage.sources}
        shaped: dict[str, Held | Array] = {}
        for name, held in inputs.items():
            if isinstance(held, Held):
                shaped[name] = held
            else:
                shaped[name] = held.reshape(rows, *shapes[name])
        return self._owner.programs[number](shaped, fetch=last)

    def array(self, held: Held) -> Array:
        return held.array()

    def extremes(self, held: Held) -> tuple[Array, Array]:
        found = self._owner.helpers["extremes"]({"held": held}, fetch=True)
        return found["most"].array(), found["least"].array()

    def pick(self, held: Held, positions: Integers) -> Array:
        if not positions.size:
            return np.zeros(positions.shape)
        return self._owner.helpers["pick"]({"held": held, "positions": positions}, fetch=True)["picked"].array()

    def take(self, held: Held, numbers: Integers) -> Array:
        return self._owner.helpers["take"]({"held": held, "columns": numbers}, fetch=True)["taken"].array()

    def gather(self, number: int, name: str, held: Held | Array, source: Integers) -> Held:
        shape = self._shape(number, name)
        return self._owner.helpers["gather"]({"held": held, "source": source, "shape": shape})["made"]

    def activate(
        self,
        number: int,
        name: str,
        held: Held,
        source: Integers,
        factors: Array,
        owner: Integers,
        positions: Integers,
        numbers: Array,
    ) -> Held:
        inputs: dict[str, Held | Array] = {
            "held": held,
            "source": source,
            "factors": factors,
            # One row of factors is that of all rows.
            "owner": owner if len(factors) > 1 else np.zeros(1, np.int64),
            "shape": self._shape(number, name),
        }
        if not len(positions):
            return self._owner.helpers["activate"](inputs)["made"]
        inputs |= {"positions": positions, "numbers": numbers}
        return self._owner.helpers["activate and put"](inputs)["made"]

    def choose(self, number: int, name: str, held: Held, positions: Integers, sign: int) -> Held:
        inputs: dict[str, Held | Array] = {"held": held, "positions": positions, "shape": self._shape(number, name)}
        return self._owner.helpers["choose" if sign > 0 else "choose the least"](inputs)["made"]

    def _shape(self, number: int, name: str) -> Integers:
        (physical,) = (s.physical for s in self._owner.stages[number].sources if s.name == name)
        return np.array([-1, *physical], np.int64)


def _physical(shape: tuple[int | str, ...] | None) -> tuple[int, ...]:
    assert shape is not None
    return tuple(int(size) for size in shape[1:])
