"""Random small ONNX models and segments for hypothesis, and the builder that hand-made test models use too.

Two families of weights. ``generic``: float32 from a seeded normal distribution; exact ties do not occur unless the
structure forces them. ``lattice``: small dyadic numbers with many zeros, duplicated, negated and zero rows, and biases
that are often zero, so that ties, dead units, touched kinks and simultaneous switches are common and exact.

Hypothesis draws the structure and a seed; the numbers come from numpy. Every node's name is its first output tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]

GENERIC, LATTICE = "generic", "lattice"


class Tensor(NamedTuple):
    """A tensor of the model under construction; the shape has the batch axis, 1."""

    name: str
    shape: tuple[int, ...]


class Builder:
    """Builds a model with one input and one output, node by node."""

    def __init__(
        self, shape: Sequence[int], opset: int = 17, symbolic_batch: bool = True, family: str = GENERIC
    ) -> None:
        self.opset = opset
        self.family = family
        self.symbolic_batch = symbolic_batch
        self.input = Tensor("x", (1, *shape))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[Tensor | str], shape: Sequence[int], **attributes: Any) -> Tensor:
        """Append a node; ``shape`` is the shape of its output."""
        name = f"{op.lower()}_{len(self.nodes)}"
        names = [entry.name if isinstance(entry, Tensor) else entry for entry in inputs]
        self.nodes.append(helper.make_node(op, names, [name], name=name, **attributes))
        return Tensor(name, tuple(shape))

    def constant(self, values: Any, dtype: Any = np.float32) -> Tensor:
        array = np.asarray(values, dtype=dtype)
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return Tensor(name, tuple(array.shape))

    def gemm(self, x: Tensor, weight: Any, bias: Any = None) -> Tensor:
        """``x @ weight.T + bias`` with one row of ``weight`` per unit."""
        rows = np.asarray(weight, dtype=np.float32)
        inputs = [x, self.constant(rows)] + ([] if bias is None else [self.constant(bias)])
        return self.add("Gemm", inputs, (1, len(rows)), transB=1)

    def relu(self, x: Tensor) -> Tensor:
        return self.add("Relu", [x], x.shape)

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add("Add", [a, b], np.broadcast_shapes(a.shape, b.shape))

    def clip(self, x: Tensor, low: float | None, high: float | None) -> Tensor:
        limits = [self.constant(limit) if limit is not None else "" for limit in (low, high)]
        return self.add("Clip", [x, *limits] if high is not None else [x, limits[0]], x.shape)

    def reduction(self, op: str, x: Tensor, axes: Sequence[int], keepdims: bool = True) -> Tensor:
        shape = [1 if a in axes else d for a, d in enumerate(x.shape) if keepdims or a not in axes]
        if self.opset >= 18 or op == "ReduceSum":
            return self.add(op, [x, self.constant(axes, np.int64)], shape, keepdims=int(keepdims))
        return self.add(op, [x], shape, axes=list(axes), keepdims=int(keepdims))

    def model(self, output: Tensor) -> onnx.ModelProto:
        """The finished and checked model."""
        batch = "N" if self.symbolic_batch else 1
        source = helper.make_tensor_value_info(self.input.name, TensorProto.FLOAT, [batch, *self.input.shape[1:]])
        target = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [batch, *output.shape[1:]])
        graph = helper.make_graph(self.nodes, "network", [source], [target], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


@dataclass(repr=False)
class Case:
    """A network and a segment; ``start`` and ``end`` are exact in float32 and have one sample's shape."""

    model: onnx.ModelProto
    start: Floats
    end: Floats
    label: str

    def __repr__(self) -> str:
        operators = " ".join(node.op_type for node in self.model.graph.node)
        return f"Case({self.label}: {operators}; {self.start.tolist()} -> {self.end.tolist()})"


# --- numbers ------------------------------------------------------------------------------------------------


class Numbers:
    """Weights of one family."""

    def __init__(self, family: str, seed: int) -> None:
        self.family = family
        self.rng = np.random.default_rng(seed)

    def array(self, *shape: int) -> Floats:
        if self.family == LATTICE:
            return self.rng.choice([-2, -1, -1, -0.5, 0, 0, 0.5, 1, 1, 2], size=shape)
        return self.rng.standard_normal(shape).astype(np.float32).astype(np.float64)

    def scalar(self) -> float:
        return float(self.array(1)[0])

    def positive(self) -> float:
        if self.family == LATTICE:
            return float(self.rng.choice([0.25, 0.5, 1, 2]))
        return float(np.float32(self.rng.uniform(0.2, 1.5)))

    def factors(self, *shape: int) -> Floats:
        """Numbers that can be divided by; powers of two in the lattice family, so that quotients stay dyadic."""
        if self.family == LATTICE:
            return self.rng.choice([-2, -1, 0.5, 1, 2, 4], size=shape)
        signs = self.rng.choice([-1, 1], size=shape)
        return (signs * self.rng.uniform(0.3, 2, size=shape)).astype(np.float32).astype(np.float64)

    def layer(self, units: int, *fan: int) -> tuple[Floats, Floats]:
        """Weights (units, ...) and biases (units); in the lattice family often with coinciding units."""
        weight, bias = self.array(units, *fan), self.array(units)
        if self.family == LATTICE:
            if self.rng.random() < 0.6:
                bias[:] = 0
            for unit in range(1, units):
                chance = self.rng.random()
                other = int(self.rng.integers(unit))
                if chance < 0.15:
                    weight[unit], bias[unit] = weight[other], bias[other]
                elif chance < 0.25:
                    weight[unit], bias[unit] = -weight[other], -bias[other]
                elif chance < 0.3:
                    weight[unit] = 0
        else:
            weight *= np.float32(1 / math.sqrt(math.prod(fan)))
            weight = weight.astype(np.float32).astype(np.float64)
        return weight, bias


class _Maker:
    """The blocks that random networks consist of."""

    def __init__(self, draw: Draw, builder: Builder, numbers: Numbers) -> None:
        self.draw = draw
        self.b = builder
        self.numbers = numbers

    def choose(self, *options: str) -> str:
        return str(self.draw(st.sampled_from(options)))

    # -- blocks for any shape (1, C, ...) --

    def channelwise(self, x: Tensor, values: Floats) -> Tensor:
        """A constant with one number per channel, shaped to broadcast against ``x``."""
        return self.b.constant(values.reshape(-1, *[1] * (len(x.shape) - 2)))

    def activation(self, x: Tensor) -> Tensor:
        b, numbers = self.b, self.numbers
        kind = self.choose(
            "relu", "relu", "relu", "leaky", "prelu", "clip", "clip_low", "clip_high", "abs", "two_relus", "relu_relu",
            "max_constant", "min_constant", "hardsigmoid", "touching",
        )  # fmt: skip
        if kind == "leaky":
            alpha = self.draw(st.sampled_from([-1.5, -1.0, -0.5, 0.01, 0.25, 0.5, 1.5, 2.0]))
            return b.add("LeakyRelu", [x], x.shape, alpha=alpha)
        if kind == "prelu":
            slopes = numbers.rng.choice([-2, -0.5, 0, 0.25, 0.5, 1.5, 2], size=x.shape[1])
            return b.add("PRelu", [x, self.channelwise(x, slopes)], x.shape)
        if kind == "clip":
            low = numbers.scalar()
            return b.clip(x, low, float(np.float32(low + numbers.positive())))
        if kind == "clip_low":
            return b.clip(x, numbers.scalar(), None)
        if kind == "clip_high":
            return b.clip(x, None, numbers.scalar())
        if kind == "abs":
            return b.add("Abs", [x], x.shape)
        if kind == "two_relus":
            negative = b.relu(b.add("Neg", [x], x.shape))
            return b.add("Sum", [b.relu(x), negative], x.shape)
        if kind == "relu_relu":
            return b.relu(b.relu(x))
        if kind == "touching":
            # The second operator's pre-activation reaches zero without a change of sign.
            bent = b.add("Abs", [x], x.shape)
            if numbers.rng.random() < 0.5:
                bent = b.add("Neg", [bent], x.shape)
            return b.sum(x, b.add(self.choose("Relu", "LeakyRelu", "Abs"), [bent], x.shape))
        if kind in ("max_constant", "min_constant"):
            constant = self.channelwise(x, numbers.array(x.shape[1]))
            inputs = [x, constant] if numbers.rng.random() < 0.5 else [constant, x]
            return b.add("Max" if kind == "max_constant" else "Min", inputs, x.shape)
        if kind == "hardsigmoid":
            return b.add("HardSigmoid", [x], x.shape, alpha=0.25, beta=0.5)
        return b.relu(x)

    def batch_normalization(self, x: Tensor) -> Tensor:
        b, numbers, channels = self.b, self.numbers, x.shape[1]
        epsilon = 2.0**-10
        # var + epsilon is the square of a dyadic number, so that the scale is rational.
        roots = numbers.rng.choice([0.5, 1, 2], size=channels)
        parameters = [numbers.factors(channels), numbers.array(channels), numbers.array(channels), roots**2 - epsilon]
        return b.add("BatchNormalization", [x, *map(b.constant, parameters)], x.shape, epsilon=epsilon)

    def arithmetic(self, x: Tensor) -> Tensor:
        b, numbers = self.b, self.numbers
        op = self.choose("Neg", "Sub", "Mul", "Div", "Identity", "Gather")
        if op in ("Neg", "Identity"):
            return b.add(op, [x], x.shape)
        if op == "Gather":
            indices = numbers.rng.integers(x.shape[1], size=x.shape[1] + 1)
            return b.add(op, [x, b.constant(indices, np.int64)], (1, len(indices), *x.shape[2:]), axis=1)
        constant = self.channelwise(x, numbers.factors(x.shape[1]))
        return b.add(op, [constant, x] if op == "Sub" and numbers.rng.random() < 0.5 else [x, constant], x.shape)

    def join(self, left: Tensor, right: Tensor) -> Tensor:
        """Two branches of one shape become one."""
        op = self.choose("Max", "Min", "Concat", "Add", "Sub")
        if op == "Concat":
            return self.b.add(op, [left, right], (1, left.shape[1] + right.shape[1], *left.shape[2:]), axis=1)
        return self.b.add(op, [left, right], left.shape)

    def absolute_residual(self, x: Tensor) -> Tensor:
        return self.b.sum(x, self.b.add("Abs", [x], x.shape))

    # -- dense --

    def dense(self, x: Tensor, units: int) -> Tensor:
        weight, bias = self.numbers.layer(units, x.shape[1])
        if self.choose("gemm", "matmul") == "gemm":
            return self.b.gemm(x, weight, bias)
        product = self.b.add("MatMul", [x, self.b.constant(weight.T)], (1, units))
        return self.b.sum(product, self.b.constant(bias))

    def dense_block(self, x: Tensor) -> Tensor:
        units = self.draw(st.integers(3, 10))
        kind = self.choose(
            "plain", "plain", "residual", "absolute_residual", "join", "max3", "normalized", "arithmetic", "reduction"
        )
        if kind == "residual":
            return self.b.sum(x, self.dense(self.activation(self.dense(x, units)), x.shape[1]))
        if kind == "absolute_residual":
            return self.absolute_residual(self.dense(x, units))
        if kind == "join":
            return self.join(self.activation(self.dense(x, units)), self.dense(x, units))
        if kind == "max3":
            return self.b.add(self.choose("Max", "Min"), [self.dense(x, units) for _ in range(3)], (1, units))
        if kind == "normalized":
            return self.activation(self.batch_normalization(self.dense(x, units)))
        if kind == "arithmetic":
            return self.activation(self.arithmetic(self.dense(x, units)))
        if kind == "reduction":
            wide = self.dense(x, units + 1)
            op = self.choose("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum")
            return self.b.add("Sub", [wide, self.b.reduction(op, wide, [1])], wide.shape)
        return self.activation(self.dense(x, units))

    # -- images (1, C, H, W) and sequences (1, C, L) --

    def conv(self, x: Tensor, channels: int, keep_size: bool = False) -> Tensor:
        spatial = len(x.shape) - 2
        groups = x.shape[1] if x.shape[1] > 1 and channels % x.shape[1] == 0 and self.draw(st.booleans()) else 1
        kernel = [3] * spatial if keep_size else [self.draw(st.integers(1, min(3, d))) for d in x.shape[2:]]
        dilations, strides = [1] * spatial, [1] * spatial
        pads = [1] * (2 * spatial) if keep_size else [self.draw(st.integers(0, k - 1)) for k in kernel * 2]
        if not keep_size:
            strides = [self.draw(st.integers(1, 2))] * spatial
            if min(x.shape[2:]) >= 5 and max(kernel) <= 2:
                dilations = [self.draw(st.integers(1, 2))] * spatial
        size = [
            (d + pads[a] + pads[spatial + a] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1
            for a, d in enumerate(x.shape[2:])
        ]
        weight, bias = self.numbers.layer(channels, x.shape[1] // groups, *kernel)
        inputs = [x, self.b.constant(weight)] + ([self.b.constant(bias)] if self.draw(st.booleans()) else [])
        return self.b.add(
            "Conv", inputs, (1, channels, *size), group=groups, kernel_shape=kernel, strides=strides, pads=pads,
            dilations=dilations,
        )  # fmt: skip

    def pool(self, x: Tensor) -> Tensor:
        op = self.choose("MaxPool", "MaxPool", "AveragePool")
        spatial = len(x.shape) - 2
        kernel = [self.draw(st.integers(1, min(3, d))) for d in x.shape[2:]]
        strides = [self.draw(st.integers(1, 2)) for _ in range(spatial)]
        # A window must not lie in the padding alone.
        pads = [self.draw(st.integers(0, k // 2)) for k in kernel * 2]
        span = [d + pads[a] + pads[spatial + a] - kernel[a] for a, d in enumerate(x.shape[2:])]
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        size = [s // strides[a] + 1 for a, s in enumerate(span)]
        if op == "AveragePool":
            attributes["count_include_pad"] = self.draw(st.integers(0, 1))
        elif self.draw(st.booleans()):
            ceiled = [-(-s // strides[a]) + 1 for a, s in enumerate(span)]
            # Runtimes disagree on windows that start behind the input.
            if all((c - 1) * strides[a] < x.shape[2 + a] + pads[a] for a, c in enumerate(ceiled)):
                size, attributes["ceil_mode"] = ceiled, 1
        return self.b.add(op, [x], (*x.shape[:2], *size), **attributes)

    def shuffle(self, x: Tensor) -> Tensor:
        """Operators that only move elements."""
        b, rank = self.b, len(x.shape)
        kind = self.choose("pad", "slice", "transpose")
        if kind == "pad":
            pads = [0, 0] + [1] * (rank - 2) + [0] * rank
            shape = [d + pads[a] for a, d in enumerate(x.shape)]
            value = [b.constant(self.numbers.scalar())] if self.draw(st.booleans()) else []
            return b.add("Pad", [x, b.constant(pads, np.int64), *value], shape)
        if kind == "slice" and x.shape[2] > 2:
            limits = [b.constant([k], np.int64) for k in (0, np.iinfo(np.int64).max, 2, 2)]
            return b.add("Slice", [x, *limits], (*x.shape[:2], (x.shape[2] + 1) // 2, *x.shape[3:]))
        perm = [0, 1, *range(2, rank)[::-1]]
        return b.add("Transpose", [x], [x.shape[p] for p in perm], perm=perm)

    def image_block(self, x: Tensor) -> Tensor:
        channels = self.draw(st.integers(1, 3 if len(x.shape) == 3 else 2))
        kind = self.choose(
            "plain", "plain", "residual", "absolute_residual", "join", "normalized", "pool", "pool", "shuffle",
            "arithmetic",
        )  # fmt: skip
        if kind == "residual":
            return self.b.sum(x, self.conv(self.activation(x), x.shape[1], keep_size=True))
        if kind == "absolute_residual":
            return self.absolute_residual(x)
        if kind == "join":
            left = self.activation(self.conv(x, channels, keep_size=True))
            return self.join(left, self.conv(x, channels, keep_size=True))
        if kind == "normalized":
            return self.activation(self.batch_normalization(self.conv(x, channels)))
        if kind == "pool":
            return self.pool(x)
        if kind == "shuffle":
            return self.shuffle(x)
        if kind == "arithmetic" and x.shape[1] <= 2:
            return self.arithmetic(x)
        return self.activation(self.conv(x, channels))

    def head(self, x: Tensor) -> Tensor:
        """From (1, C, ...) to a matrix (1, K)."""
        b, size = self.b, math.prod(x.shape[2:])
        kind = self.choose("flatten", "flatten", "reshape", "average", "mean", "max", "reduce_max")
        if kind == "reshape":
            first = 0 if b.symbolic_batch else 1
            return b.add("Reshape", [x, b.constant([first, -1], np.int64)], (1, x.shape[1] * size))
        if kind == "mean":
            return b.reduction("ReduceMean", x, list(range(2, len(x.shape))), keepdims=False)
        if kind == "reduce_max":
            return b.reduction("ReduceMax", x, [1, *range(3, len(x.shape))], keepdims=False)
        if kind in ("average", "max"):
            pooled = (*x.shape[:2], *[1] * (len(x.shape) - 2))
            x = b.add("GlobalAveragePool" if kind == "average" else "GlobalMaxPool", [x], pooled)
            size = 1
        return b.add("Flatten", [x], (1, x.shape[1] * size), axis=1)


# --- strategies ---------------------------------------------------------------------------------------------


def _segment(draw: Draw, numbers: Numbers, shape: Sequence[int]) -> tuple[Floats, Floats]:
    rng = numbers.rng

    def point() -> Floats:
        if numbers.family == LATTICE:
            return rng.choice([-3.0, -2.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 2.0, 3.0], size=shape)
        return (3 * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)

    start, end = point(), point()
    kinds = ["free", "free"]
    if numbers.family == LATTICE:
        kinds += ["from_zero", "to_zero", "antipodal", "along", "diagonal", "axis"]
    kind = draw(st.sampled_from(kinds))
    if kind == "from_zero":
        start = np.zeros_like(start)
    elif kind == "to_zero":
        end = np.zeros_like(end)
    elif kind == "antipodal":
        end = -start
    elif kind == "along":
        # Units that look only at these coordinates stay on their kink.
        still = rng.random(shape) < 0.5
        start[still] = end[still] = 0
    elif kind == "diagonal":
        # Units whose weights cancel stay on their kink.
        start[:], end[:] = start.flat[0], end.flat[0]
    elif kind == "axis":
        moved = int(rng.integers(start.size))
        end = np.where(np.arange(start.size).reshape(start.shape) == moved, end, start)
    if np.array_equal(start, end):
        end = end.copy()
        end.flat[0] += 1
    return start, end


def _case(draw: Draw, family: str, kind: str) -> Case:
    seed = draw(st.integers(0, 2**20))
    numbers = Numbers(family, seed)
    opset = draw(st.integers(13, 20))
    symbolic = draw(st.booleans())
    if kind == "dense":
        shape: tuple[int, ...] = (draw(st.integers(1, 6)),)
    elif kind == "image":
        shape = (draw(st.integers(1, 2)), draw(st.integers(4, 6)), draw(st.integers(4, 6)))
    else:
        shape = (draw(st.integers(1, 3)), draw(st.integers(4, 12)))
    builder = Builder(shape, opset, symbolic, family)
    maker = _Maker(draw, builder, numbers)
    x = builder.input
    if kind == "dense":
        for _ in range(draw(st.integers(1, 5))):
            x = maker.dense_block(x)
    else:
        x = maker.activation(maker.conv(x, draw(st.integers(1, 2))))
        for _ in range(draw(st.integers(0, 4))):
            x = maker.image_block(x)
        x = maker.head(x)
    if draw(st.integers(0, 3)):
        x = maker.dense(x, draw(st.integers(1, 3)))
    start, end = _segment(draw, numbers, shape)
    return Case(builder.model(x), start, end, f"{family} {kind}, seed {seed}, opset {opset}")


@st.composite
def dense_cases(draw: Draw, family: str) -> Case:
    """Dense networks with residual, joined and normalized blocks, 1 to 6 inputs."""
    return _case(draw, family, "dense")


@st.composite
def image_cases(draw: Draw, family: str) -> Case:
    """Convolutional networks on images of 4 to 6 pixels a side."""
    return _case(draw, family, "image")


@st.composite
def sequence_cases(draw: Draw, family: str) -> Case:
    """Convolutional networks on sequences (1d convolutions and poolings)."""
    return _case(draw, family, "sequence")


def cases(family: str) -> st.SearchStrategy[Case]:
    """All kinds of networks of one family of weights."""
    return st.one_of(dense_cases(family), image_cases(family), sequence_cases(family))
