"""Writes the nodes of a program that treats many lanes at once.

A tensor of the source network, of a known shape for one sample, becomes a program tensor with one more axis in
front, the lanes. So no network needs a batch axis of its own: a weight on the left of a product, an input
without batch axis, a Reshape to a hard-coded batch of 1 or rows that are mixed on purpose are all
just shapes of one sample.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lronnx.graph import Array, Graph, Node, Value, freeze
from lronnx.ops.record import Lookup

if TYPE_CHECKING:
    from lronnx.ops.lowering import Plan

LANES = "lanes"
# An operator that every device runs in double precision, to try a device out.
SIMPLEST = "Neg"
# TensorProto's numbers.
ELEMENT_TYPES = {"float32": 1, "float64": 11}
# Stands for minus infinity in padding: products with zero stay finite.
LOWEST = {"float64": -1e300, "float32": -1e37}
# What operators become where only sizes matter.
WITHOUT_SIGN = {"Sub": "Add", "Neg": "Identity"}
# What squares are cut off at, with room for products and sums; and sizes, in each type.
LARGEST_SQUARE = {"float64": 1e200, "float32": 1e34}
LARGEST_SIZE = {"float64": 1e100, "float32": 1e17}


@dataclass(frozen=True, slots=True)
class Lanes:
    """A program tensor holding one tensor of the network for every lane.

    ``shape`` is one sample's shape as the network sees it. Axis i + 1 of the program tensor holds the
    network's axis ``order[i]``: a Transpose costs nothing until somebody needs another order.
    """

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def physical(self) -> tuple[int, ...]:
        """The program tensor's shape without the lanes."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def axis(self, logical: int) -> int:
        """Where the program tensor keeps the network's axis ``logical`` (may be negative)."""
        return self.order.index(logical % len(self.shape)) + 1


def row_major_order(rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


class Emitter:
    """Collects nodes and constants of a program.

    ``dtype``: of all floating-point tensors. ``convolves``: for which types the runtime has convolution
    kernels; for others convolutions are lowered to matrix products. ``probe`` runs one node on arrays.
    ``shapes``: of the source network's tensors, one sample each. ``squares``: in which type squares are written, whose
    range is twice that of numbers; the same as ``dtype`` if it is not given. ``plan``: how convolutions are lowered.
    """

    def __init__(
        self,
        dtype: str,
        convolves: Collection[str],
        shapes: Mapping[str, tuple[int, ...]],
        opset: int,
        probe: Callable[[Node, Sequence[Array | None]], list[Array]],
        lookup: Lookup,
        plan: Plan,
        squares: str = "",
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.squares = np.dtype(squares or dtype)
        self.convolves = convolves
        self.shapes = shapes
        self.opset = opset
        self.probe = probe
        self.lookup = lookup
        self.plan = plan
        self.values: dict[str, Lanes] = {}
        self.slopes: dict[str, Lanes] = {}
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._by_content: dict[bytes, str] = {}
        self._written: dict[tuple[object, ...], str] = {}
        self._scope = ""
        self._used: dict[str, int] = {}
        self._zero: dict[str, str] = {}
        # Whether constants are squared and differences are sums: see `squared`.
        self._squaring = False
        self._stored: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.first_input: str = ""
        # Multiplications of weights with one lane's numbers that have been written, by the direct formula.
        self.multiplications = 0

    @contextmanager
    def squared(self, values: dict[str, Lanes], slopes: dict[str, Lanes]) -> Iterator[None]:
        """Write what is written inside for squares: an affine operator ``sum w x + b`` becomes ``sum w^2 q + b^2``.

        With ``q`` the squares of independent numbers' sizes that is the square of the sum's size, whatever cancels. It
        is written in the type ``squares``. Inside, ``values`` and ``slopes`` are what is known of the network's
        tensors.
        """
        outside = self.dtype, self.values, self.slopes
        self.dtype, self.values, self.slopes = self.squares, values, slopes
        self._squaring = True
        try:
            yield
        finally:
            self.dtype, self.values, self.slopes = outside
            self._squaring = False

    @property
    def squaring(self) -> bool:
        """Whether squares are written now."""
        return self._squaring

    @property
    def native(self) -> bool:
        """Whether the runtime convolves in the type that is written now."""
        return self.dtype.name in self.convolves

    @property
    def pools(self) -> bool:
        """Whether the runtime's own average pooling will do."""
        return self.native and not self._squaring

    # ---- nodes and constants

    def scope(self, label: str) -> None:
        """Name the tensors that follow after a node of the network."""
        self._scope = label

    @property
    def label(self) -> str:
        """Of the node of the network that is written now."""
        return self._scope

    def fresh(self, hint: str) -> str:
        """A tensor name that is not in use yet."""
        base = f"{self._scope}/{hint}" if self._scope else hint
        for suffix in itertools.count(self._used.get(base, 0)):
            name = f"{base}_{suffix}" if suffix else base
            if name not in self._used:
                self._used[base] = suffix + 1
                self._used[name] = 1
                return name
        raise AssertionError

    def constant(self, array: Array | Sequence[int] | float, hint: str = "constant") -> str:
        """The name of a constant of this content; floating-point content takes the program's dtype."""
        held = np.asarray(array)
        if held.dtype.kind == "f":
            # Infinities stand for what must not win a choice.
            most = -LOWEST[self.dtype.name]
            if self._squaring:
                held, most = np.square(np.clip(held.astype(np.float64), -1e110, 1e110)), LARGEST_SQUARE[self.dtype.name]
            held = np.clip(held.astype(np.float64), -most, most).astype(self.dtype)
        held = np.ascontiguousarray(held).reshape(held.shape)
        digest = hashlib.sha256(f"{held.dtype}{held.shape}".encode() + held.tobytes()).digest()
        if digest not in self._by_content:
            name = self.fresh(hint)
            self._by_content[digest] = name
            held.setflags(write=False)
            self.constants[name] = held
        return self._by_content[digest]

    def one(self, op_type: str, *inputs: str, hint: str = "", **attributes: int | float | str | tuple[int, ...]) -> str:
        """Append a node with one output, whose name it returns; the same operator on the same inputs is written once.

        ``hint``: what to name the output after, if not the operator; two hints make two tensors.
        """
        if self._squaring:
            op_type = WITHOUT_SIGN.get(op_type, op_type)
        key = (op_type, inputs, hint, tuple(sorted(attributes.items())))
        if key not in self._written:
            made = self.fresh(hint or op_type)
            self.nodes.append(Node(len(self.nodes), made, made, "", op_type, inputs, (made,), freeze(attributes)))
            self._written[key] = made
        return self._written[key]

    def rename(self, name: str, hint: str) -> str:
        """The same tensor under a name of its own."""
        return self.one("Identity", name, hint=hint)

    # ---- lanes and layouts

    def row_major(self, x: Lanes) -> Lanes:
        return self.reorder(x, row_major_order(len(x.shape)))

    def reorder(self, x: Lanes, order: tuple[int, ...]) -> Lanes:
        """The same tensor with its axes stored in another order."""
        if x.order == order:
            return x
        target = tuple(x.shape[axis] for axis in order)
        if [a for a in x.order if x.shape[a] != 1] == [a for a in order if x.shape[a] != 1]:
            name = self.view(x.name, target)
        else:
            permutation = (0, *(x.order.index(axis) + 1 for axis in order))
            name = self.one("Transpose", x.name, perm=permutation)
        return Lanes(name, x.shape, order)

    def view(self, name: str, physical: Sequence[int]) -> str:
        """A program tensor's elements under another shape per lane."""
        made = self.one("Reshape", name, self.constant(np.array([-1, *physical], np.int64), "shape"))
        if name in self._stored:
            self._stored[made] = self._stored[name]
        return made

    def computed(self, name: str, physical: Sequence[int]) -> None:
        """Note the shape per lane in which an operator made a tensor that is then viewed under another."""
        self._stored[name] = name, tuple(physical)

    def stored(self, name: str, physical: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        """The tensor that a view shows, with its shape per lane; the tensor itself if it is no view.

        A runtime copies a view that is an output of the program, but not what it shows.
        """
        return self._stored.get(name, (name, tuple(physical)))

    def reshape(self, x: Lanes, shape: Sequence[int]) -> Lanes:
        """The sample's elements, in row-major order, under another shape."""
        shape = tuple(shape)
        if shape == x.shape:
            return x
        kept = [a for a in x.order if x.shape[a] != 1]
        if [x.shape[a] for a in sorted(kept)] == [d for d in shape if d != 1]:
            # Only axes of size 1 come or go: the storage order survives.
            rank = {axis: i for i, axis in enumerate(sorted(kept))}
            wide = [i for i, d in enumerate(shape) if d != 1]
            ones = [i for i, d in enumerate(shape) if d == 1]
            order = (*ones, *(wide[rank[a]] for a in kept))
            target = tuple(shape[axis] for axis in order)
            name = x.name if target == x.physical else self.view(x.name, target)
            return Lanes(name, shape, order)
        x = self.row_major(x)
        return Lanes(self.view(x.name, shape), shape, row_major_order(len(shape)))

    def align(self, x: Lanes, rank: int) -> Lanes:
        """Leading axes of size 1 up to ``rank``, as broadcasting reads a shape."""
        missing = rank - len(x.shape)
        if missing <= 0:
            return x
        shape = (1,) * missing + x.shape
        order = (*range(missing), *(axis + missing for axis in x.order))
        return Lanes(self.view(x.name, tuple(shape[a] for a in order)), shape, order)

    def broadcast(self, *tensors: Lanes) -> list[Lanes]:
        """The same rank and storage order for all, so that elementwise operators may combine them."""
        rank = max(len(x.shape) for x in tensors)
        aligned = [self.align(x, rank) for x in tensors]
        order = max(aligned, key=lambda x: x.size).order
        return [self.reorder(x, order) for x in aligned]

    def beside(self, array: Array, order: Sequence[int]) -> str:
        """A constant that broadcasts, as the network's own broadcasting does, against a tensor stored in ``order``."""
        array = np.asarray(array)
        if array.ndim == 0:
            return self.constant(array)
        array = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
        return self.constant(np.expand_dims(array.transpose(order), 0))

    def elementwise(self, op_type: str, x: Lanes, array: Array, *, swapped: bool = False) -> Lanes:
        """``op_type`` of a tensor and a constant (``swapped``: of the constant and the tensor)."""
        array = np.asarray(array)
        x = self.align(x, array.ndim)
        operands = (x.name, self.beside(array, x.order))
        shape = np.broadcast_shapes(x.shape, array.shape)
        return Lanes(self.one(op_type, *(operands[::-1] if swapped else operands)), shape, x.order)

    def combine(self, op_type: str, *tensors: Lanes) -> Lanes:
        """``op_type`` of several tensors, elementwise."""
        aligned = self.broadcast(*tensors)
        shape = np.broadcast_shapes(*(x.shape for x in aligned))
        return Lanes(self.one(op_type, *(x.name for x in aligned)), shape, aligned[0].order)

    def unary(self, op_type: str, x: Lanes) -> Lanes:
        return replace(x, name=self.one(op_type, x.name))

    def root(self, x: Lanes, hint: str = "") -> Lanes:
        """Square roots, elementwise."""
        return replace(x, name=self.one("Sqrt", x.name, hint=hint))

    def add(self, x: Lanes, bias: Array | None, slope: bool) -> Lanes:
        """``x + bias``; a slope keeps its shape but takes no bias."""
        if bias is None:
            return x
        if slope or not np.any(bias):
            shape = np.broadcast_shapes(x.shape, np.shape(bias))
            return x if shape == x.shape else self.elementwise("Mul", x, np.ones(np.shape(bias)))
        return self.elementwise("Add", x, bias)

    def held(self, array: Array, slope: bool) -> Lanes:
        """A constant of the network as a tensor of lanes (its slope is zero)."""
        array = np.asarray(array, dtype=self.dtype)
        zero = self._zero_lane()
        rank = array.ndim
        zero = self.view(zero, (1,) * rank)
        content = np.zeros_like(array) if slope else array
        name = self.one("Add", zero, self.constant(np.expand_dims(content, 0)))
        return Lanes(name, array.shape, row_major_order(rank))

    def _zero_lane(self) -> str:
        """Zeros, (lanes, 1), which no runtime knows to be constant."""
        dtype = self.dtype.name
        if dtype not in self._zero:
            flat = self.one("Flatten", self.first_input, axis=1)
            one = self.one("Cast", self.slice(flat, {1: (0, 1, 1)}), to=ELEMENT_TYPES[dtype])
            self._zero[dtype] = self.one("Mul", one, self.constant(np.zeros(())))
        return self._zero[dtype]

    def at_least(self, name: str, least: float) -> str:
        """Elements below a number become it (onnxruntime's Max takes three times as long)."""
        return self.one("Clip", name, self.constant(np.array(least)))

    def at_most(self, name: str, most: float) -> str:
        """Elements above a number become it. Constants are written as they are, also among squares."""
        key = f"most {most} {self.dtype.name}"
        if key not in self.constants:
            self.constants[key] = np.array(most, self.dtype)
        return self.one("Clip", name, "", key)

    def number(self, number: float, rank: int) -> str:
        """A number per lane that no runtime optimizes away, however small, of ``rank`` axes."""
        name = self.at_least(self._zero_lane(), number)
        return self.view(name, (1,) * (rank - 1)) if rank != 2 else name

    def cast(self, x: Lanes, dtype: str, held: str = "") -> Lanes:
        """The same tensor in another type; ``held``: the one that it has, if not the program's."""
        if dtype == (held or self.dtype.name):
            return x
        return replace(x, name=self.one("Cast", x.name, to=ELEMENT_TYPES[dtype]))

    def slice(self, name: str, ranges: Mapping[int, tuple[int, int, int]]) -> str:
        """Cut a program tensor: per program axis (start, end, step)."""
        axes = sorted(ranges)
        columns = [self.constant(np.array([ranges[a][i] for a in axes], np.int64), "range") for i in range(3)]
        names = [columns[0], columns[1], self.constant(np.array(axes, np.int64), "axes"), columns[2]]
        return self.one("Slice", name, *names)

    def pad(self, name: str, rank: int, widths: Mapping[int, tuple[int, int]], value: float = 0.0) -> str:
        """Pad (or, if negative, crop) axes of a program tensor of ``rank`` axes, the lanes included."""
        if not any(any(width) for width in widths.values()):
            return name
        before = [widths.get(axis, (0, 0))[0] for axis in range(rank)]
        after = [widths.get(axis, (0, 0))[1] for axis in range(rank)]
        pads = self.constant(np.array(before + after, np.int64), "pads")
        if value == 0.0:
            return self.one("Pad", name, pads)
        return self.one("Pad", name, pads, self.constant(np.array(value)))

    def concat(self, names: Sequence[str], axis: int) -> str:
        return names[0] if len(names) == 1 else self.one("Concat", *names, axis=axis)

    def operand(self, operand: Lanes | Array | None, slope: bool) -> Lanes:
        """Any operand as lanes."""
        assert operand is not None
        return operand if isinstance(operand, Lanes) else self.held(operand, slope)

    def program(self, name: str, inputs: Iterable[Value], outputs: Iterable[Value], opset: int) -> Graph:
        """The finished program. Raises ModelError if it is not well formed."""
        inputs, outputs = tuple(inputs), tuple(outputs)
        needed: set[str] = {value.name for value in outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        kept.reverse()
        constants = {key: array for key, array in self.constants.items() if key in needed}
        graph = Graph(
            name,
            tuple(value.name for value in inputs),
            tuple(value.name for value in outputs),
            tuple(replace(node, index=index) for index, node in enumerate(kept)),
            constants,
            {value.name: value for value in (*inputs, *outputs)},
            {"ai.onnx": opset},
        )
        graph.check()
        return graph
