"""How a convolution is written where the runtime has no kernel for it: candidates, and a model of what each costs.

onnxruntime's CPU provider convolves in single precision only. In double precision a convolution becomes products of
matrices and the copies in front of them, of which there are several ways:

- ``banded-1``, ``-2``, ``-4``: blocks of that many neighbouring places along the last axis are gathered from a
  channels-last tensor, and multiplied with a banded matrix. A larger block copies less and multiplies more zeros.
- ``slices``: the same columns as for ``banded-1``, from a slice per tap.
- ``winograd-2``, ``-4``: minimal filtering of 2x2 or 4x4 outputs at a time (Lavin and Gray, CVPR 2016): 2.25 or 4 times
  fewer multiplications, for transforms of the input and the output. Places lead and lanes follow, so that weights are
  read once for all lanes.
- ``product`` (kernels of size 1), ``grouped`` and ``depthwise``: no choice there.

Measured by ``benchmarks/lowerings.py`` (3x3, 32 lanes, one core of an AMD EPYC with AVX-512, onnxruntime 1.31; GFLOP/s
of the direct formula, so that fewer multiplications show as more). The model chose what is marked:

    channels  size   banded-1  banded-2  banded-4  slices  winograd-2  winograd-4
           6    32       19.0     32.4*      30.8    10.0        10.9        15.5
          16    16       69.4     73.0*      42.0    44.7        43.7        61.8
          64     8      109.6     89.7       41.9    81.2       132.9       206.1*
          64    32       53.1     45.8       25.8    45.1        55.2        80.4*
         128    16       66.2     60.9       33.3    60.9       100.9       164.9*
         256     8       95.1     74.2       37.5    82.9       141.0       246.5*
         512     4      102.4     76.4       31.4    95.8       173.3       181.4*

Of one lane, which has the weights to itself, 512 channels of 7x7 are fastest by ``banded-1``. ``slices`` are fastest
where there are very few channels, or a kernel of size 1 with strides, by some tenth; the model does not see that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, prod

import numpy as np

from lronnx.errors import InputError
from lronnx.graph import Array, Attribute, Graph, Node, Value, freeze
from lronnx.ops.emitter import LANES, Emitter

AUTO = "auto"
# Sums of products of weights and inputs and of nothing else.
PLAIN = "banded-1"
# Where a program is made for no machine in particular, and no network tells how many places are walked at once.
USUAL_LANES = 32


@dataclass(frozen=True)
class Convolution:
    """The shape of one sample's cross-correlation: (batch, channels, *size) to (batch, outputs, *out).

    ``pads`` are [begin, end] per spatial axis, negative where the input is cropped.
    """

    batch: int
    channels: int
    outputs: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int

    @property
    def out(self) -> tuple[int, ...]:
        zipped = zip(self.size, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        return tuple((n + sum(p) - (d * (k - 1) + 1)) // s + 1 for n, k, s, d, p in zipped)

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(n + sum(p) for n, p in zip(self.size, self.pads, strict=True))

    @property
    def order(self) -> tuple[int, ...]:
        """Channels last, as all lowerings read and write."""
        return (0, *range(2, len(self.size) + 2), 1)


# ---- what operations cost


@dataclass(frozen=True)
class Operation:
    """One operation of a program, as far as its time depends on it.

    ``kind``: ``product`` of matrices, ``batch`` times ``rows x inner`` by ``inner x columns``; or one of ``MOVES``, of
    ``rows`` runs of ``columns`` neighbouring elements each. ``wide``: the right operand is what is computed.
    """

    kind: str
    rows: int
    columns: int
    inner: int = 1
    batch: int = 1
    wide: bool = False

    @property
    def terms(self) -> tuple[float, ...]:
        """What the time is taken to be a sum of, each with a rate of its own: see :class:`Rates`."""
        if self.kind != "product":
            moved = float(self.rows * self.columns)
            return 1.0, float(self.rows), moved, moved * _far(16 * moved)
        read, right, written = (
            float(self.batch * size)
            for size in (self.rows * self.inner, self.inner * self.columns, self.rows * self.columns)
        )
        # Registers hold eight numbers: a matrix with fewer columns is multiplied as if it had so many.
        multiplied = read * 8 * ceil(self.columns / 8)
        moved = read + right + written
        return 1.0, float(self.batch), multiplied, right, written, moved * _far(8 * moved)


MOVES = ("gather", "copy", "transpose")


def _far(size: float) -> float:
    """How far from the core so many bytes are: 0 up to a mebibyte, 1 from 64 on."""
    return min(max(log2(max(size, 1.0)) - 20, 0.0) / 6, 1.0)


@dataclass(frozen=True)
class Rates:
    """Seconds per term of an operation, by kind, of one core.

    Of a product: per node, per matrix, per multiply-add, per element of the right operand (which is copied before it
    is used), per element written, per element that is far away. Of a move: per node, run, element, element far away.
    """

    seconds: Mapping[str, tuple[float, ...]]

    def predict(self, operations: Sequence[Operation]) -> float:
        return sum(float(np.dot(self.seconds[one.kind], one.terms)) for one in operations)


# Of one core of an x86-64 server with AVX-512. Programs that are written for any machine are written by these.
SHIPPED = Rates(
    {
        "product": (2e-6, 0.0, 1.45e-11, 1.6e-10, 0.0, 1.9e-10),
        "gather": (1.8e-6, 2.4e-9, 7e-11, 1.4e-10),
        "copy": (2e-6, 5.7e-9, 8e-11, 2.1e-10),
        "transpose": (1.9e-6, 4.7e-9, 9e-11, 3e-10),
    }
)
# Weights are up to four times as many where a lowering transforms them, and once more as squares. With more than these
# in all convolutions together, a program might exceed the two gigabytes that a model can have.
MOST_WEIGHTS = 16_000_000
# How much faster a lowering must be that rounds more, and takes longer where sizes are asked for.
HANDICAP = 1.1


@dataclass(frozen=True)
class Plan:
    """How convolutions are to be written: by which rates, for how many lanes side by side, or all in one way.

    ``rates`` is only called where there is a choice. ``wanted``: a lowering's name, taken wherever it can be, or AUTO.
    Unless it is wanted, no lowering that cancels is taken for convolutions with the labels ``compared``: it rounds the
    outputs of a tile differently, and of elements that are compared with each other those that are equal must come out
    equal (else a walk looks into rounding noise at every step). ``small``: nor for any other, since it has more
    weights. Raises InputError for an unknown name.
    """

    rates: Callable[[], Rates] = lambda: SHIPPED
    lanes: int = USUAL_LANES
    wanted: str = AUTO
    compared: Collection[str] = ()
    small: bool = False

    def __post_init__(self) -> None:
        check_name(self.wanted)

    def choose(self, shape: Convolution, label: str = "", *, squaring: bool = False) -> Lowering:
        """The cheapest lowering of those that can be had, or the one that is wanted.

        ``label``: of the convolution's node; ``squaring``: as an Emitter's.
        """
        offered = [one for one in LOWERINGS if one.applies(shape) and not (squaring and one.cancels)]
        wanted = [one for one in offered if one.name == self.wanted]
        if self.small or label in self.compared:
            offered = [one for one in offered if not one.cancels]
        if wanted or len(offered) == 1:
            return (wanted or offered)[0]
        rates = self.rates()

        def cost(one: Lowering) -> float:
            return rates.predict(one.operations(shape, self.lanes)) * (HANDICAP if one.cancels else 1.0)

        return min(offered, key=cost)


def check_name(name: str) -> None:
    """Raise InputError if no lowering has that name."""
    if name != AUTO and name not in names():
        raise InputError(f"unknown lowering '{name}': use {AUTO}, {', '.join(names())}")


def names() -> list[str]:
    """Those that may be wanted."""
    return [one.name for one in LOWERINGS]


Emit = Callable[[Emitter, str, Convolution, Array, Array | None], str]


@dataclass(frozen=True)
class Lowering:
    """One way to write a convolution.

    ``emit`` reads a channels-last tensor (lanes, batch, *size, channels) and writes (lanes, batch, *out, outputs),
    given the weights (outputs, channels / groups, *kernel) and a bias (outputs,) or None. ``operations``: what it
    costs for so many lanes. ``cancels``: whether it is a sum with other terms than the products of weights and inputs,
    which must cancel: not for squares, and rounding is larger.
    """

    name: str
    applies: Callable[[Convolution], bool]
    emit: Emit
    operations: Callable[[Convolution, int], list[Operation]]
    cancels: bool = False


# ---- copies


def _pad(e: Emitter, name: str, shape: Convolution, pads: Sequence[tuple[int, int]]) -> str:
    return e.pad(name, len(shape.size) + 3, {i + 2: pad for i, pad in enumerate(pads)})


def _padding(shape: Convolution, lanes: int) -> list[Operation]:
    if not any(map(any, shape.pads)):
        return []
    places = lanes * shape.batch * prod(shape.padded)
    return [Operation("copy", places // shape.padded[-1], shape.padded[-1] * shape.channels)]


def _slices(e: Emitter, name: str, shape: Convolution) -> list[str]:
    """A padded tensor as each tap of the kernel sees it, (lanes, batch, *out, channels)."""
    taps: list[str] = []
    for offset in itertools.product(*(range(k) for k in shape.kernel)):
        starts = [o * d for o, d in zip(offset, shape.dilations, strict=True)]
        ranges = {
            i + 2: (start, start + (n - 1) * stride + 1, stride)
            for i, (start, n, stride) in enumerate(zip(starts, shape.out, shape.strides, strict=True))
        }
        taps.append(e.slice(name, ranges))
    return taps


def _plain(weight: Array) -> Array:
    """Weights as the matrix from (taps, channels) to outputs."""
    return np.moveaxis(weight.reshape(*weight.shape[:2], -1), 0, -1).swapaxes(0, 1).reshape(-1, weight.shape[0])


def _biased(e: Emitter, name: str, bias: Array | None) -> str:
    return name if bias is None else e.one("Add", name, e.constant(bias, "bias"))


def _shown(e: Emitter, name: str, physical: Sequence[int], shape: Convolution) -> str:
    """What was made as ``physical`` per sample, as a tensor of the network."""
    if shape.batch == 1:
        e.computed(name, physical)
    return e.view(name, (shape.batch, *shape.out, shape.outputs))


# ---- one product of matrices


def _is_product(shape: Convolution) -> bool:
    return shape.groups == 1 and set(shape.kernel) == {1} == set(shape.strides) and not any(map(any, shape.pads))


def _emit_product(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
    return _biased(e, e.one("MatMul", name, e.constant(_plain(weight), "weight")), bias)


def _product_operations(shape: Convolution, lanes: int) -> list[Operation]:
    return [Operation("product", lanes * shape.batch * prod(shape.out), shape.outputs, shape.channels)]


def _takes_columns(shape: Convolution) -> bool:
    return shape.groups == 1 and not _is_product(shape)


def _emit_slices(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
    taps = _slices(e, _pad(e, name, shape, shape.pads), shape)
    return _emit_product(e, e.concat(taps, len(shape.size) + 2), shape, weight, bias)


def _slices_operations(shape: Convolution, lanes: int) -> list[Operation]:
    rows, taps = lanes * shape.batch * prod(shape.out), prod(shape.kernel)
    apart = shape.strides[-1] > 1 or len(shape.size) < 1
    run = shape.channels * (1 if apart else shape.out[-1])
    cut = Operation("copy", rows * shape.channels // run, run)
    joined = [Operation("copy", rows * taps, shape.channels)] if taps > 1 else []
    product = Operation("product", rows, shape.outputs, taps * shape.channels)
    return [*_padding(shape, lanes), *[cut] * taps, *joined, product]


# ---- gathered blocks against a banded matrix


def _tiles(tile: int) -> Callable[[Convolution], bool]:
    def applies(shape: Convolution) -> bool:
        contiguous = shape.kernel[-1] > 1 and shape.strides[-1] == 1 == shape.dilations[-1]
        return _takes_columns(shape) and (tile == 1 or (contiguous and shape.out[-1] % tile == 0))

    return applies


def _chunks(shape: Convolution, tile: int) -> int:
    """How many blocks of ``tile`` places a row of the columns takes along the last axis."""
    return ceil((tile + shape.kernel[-1] - 1) / tile) if tile > 1 else shape.kernel[-1]


def _banded(tile: int) -> Emit:
    def emit(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
        chunks, out = _chunks(shape, tile), shape.out
        room = list(shape.pads)
        if tile > 1:
            # Blocks are gathered as wholes: the last axis is padded to full ones.
            room[-1] = room[-1][0], (out[-1] + (chunks - 1) * tile) - shape.size[-1] - room[-1][0]
        sizes = [n + sum(p) for n, p in zip(shape.size, room, strict=True)]
        table = _block_table(sizes, shape, tile, chunks)
        # The samples of a batch are as good as lanes here.
        blocks = e.view(_pad(e, name, shape, room), (prod(sizes) // tile, tile * shape.channels))
        columns = e.one("Gather", blocks, e.constant(table, "table"), axis=1)
        columns = e.view(columns, (table.shape[0], table.shape[1] * tile * shape.channels))
        made = e.one("MatMul", columns, e.constant(_band(weight, tile, chunks), "weight"))
        made = _biased(e, made, None if bias is None else np.tile(bias, tile))
        return _shown(e, made, (table.shape[0], tile * shape.outputs), shape)

    return emit


def _banded_operations(tile: int) -> Callable[[Convolution, int], list[Operation]]:
    def operations(shape: Convolution, lanes: int) -> list[Operation]:
        rows = lanes * shape.batch * prod(shape.out) // tile
        blocks = prod(shape.kernel[:-1]) * _chunks(shape, tile)
        return [
            *_padding(shape, lanes),
            Operation("gather", rows * blocks, tile * shape.channels),
            Operation("product", rows, tile * shape.outputs, blocks * tile * shape.channels),
        ]

    return operations


def _block_table(sizes: Sequence[int], shape: Convolution, tile: int, chunks: int) -> Array:
    """Which blocks of a padded tensor each row of the columns is made of, (rows, blocks per row)."""
    per_axis = [
        (np.arange(n) * stride)[:, None] + np.arange(k) * dilation
        for n, stride, k, dilation in zip(shape.out, shape.strides, shape.kernel, shape.dilations, strict=True)
    ]
    if tile > 1:
        per_axis[-1] = np.arange(shape.out[-1] // tile)[:, None] + np.arange(chunks)
    table = np.zeros((1, 1), np.int64)
    for places, count in zip(per_axis, [*sizes[:-1], sizes[-1] // tile], strict=True):
        table = table[:, None, :, None] * count + places[None, :, None, :]
        table = table.reshape(table.shape[0] * table.shape[1], -1)
    return table


def _band(weight: Array, tile: int, chunks: int) -> Array:
    """The matrix from gathered blocks (outer taps, chunks * tile places, channels) to (tile, outputs)."""
    outputs, channels, *kernel = weight.shape
    outer = prod(kernel[:-1])
    taps = weight.reshape(outputs, channels, outer, kernel[-1]).astype(np.float64)
    matrix = np.zeros((outer, chunks * tile, channels, tile, outputs))
    for place in range(tile):
        for tap in range(kernel[-1]):
            matrix[:, place + tap, :, place, :] = taps[:, :, :, tap].transpose(2, 1, 0)
    return matrix.reshape(outer * chunks * tile * channels, tile * outputs)


# ---- minimal filtering

# Where the polynomials are evaluated that a row of tiles and a row of the kernel stand for, besides infinity. Of all
# points 0, +-a, +-b these sixteenths lead to the least rounding in tiles of 4: a quarter of that of 0, +-1, +-2.
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 11 / 16, -11 / 16, 23 / 16, -23 / 16)}
# How much the size of what cancels counts in an output's size. Measured, rounding is at most 2e-15 of the former.
CANCELLED = 0.25
# Up to this size a whole axis is transformed by one matrix, padding included; from there on tile by tile.
WHOLE_AXIS = 32


def transforms(tile: int) -> tuple[Array, Array, Array]:
    """Of ``tile`` outputs y of a row x of tile + 2 inputs under a kernel w of 3: y = A ((G w) * (B x)); A, G and B."""
    points, places = POINTS[tile], tile + 2
    outer, kernel, inner = np.zeros((tile, places)), np.zeros((places, 3)), np.zeros((places, places))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        outer[:, i] = point ** np.arange(tile)
        kernel[i] = point ** np.arange(3) / np.prod(point - np.array(others))
        inner[i, : places - 1] = np.poly(others)[::-1]
    outer[-1, -1] = kernel[-1, -1] = 1.0
    inner[-1] = np.poly(points)[::-1]
    return outer, kernel, inner


def _is_small_square(shape: Convolution) -> bool:
    return shape.groups == 1 and shape.kernel == (3, 3) and set(shape.strides) == {1} == set(shape.dilations)


def _tile_counts(shape: Convolution, tile: int) -> list[int]:
    return [ceil(n / tile) for n in shape.out]


def _by_axis(shape: Convolution) -> bool:
    return max(shape.size) <= WHOLE_AXIS


def _axis_matrix(inner: Array, size: int, pad: int, tile: int, count: int) -> Array:
    """From all elements of an axis to (places, tiles): what every tile's transform of its own elements is."""
    places = len(inner)
    matrix = np.zeros((places, count, size))
    for number in range(count):
        for place in range(places):
            at = number * tile + place - pad
            if 0 <= at < size:
                matrix[:, number, at] = inner[:, place]
    return matrix.reshape(places * count, size)


def _reshape(e: Emitter, name: str, shape: Sequence[int]) -> str:
    """Another shape, with the lanes in the axis of size -1, wherever that is."""
    return e.one("Reshape", name, e.constant(np.array(shape, np.int64), "shape"))


def _winograd(tile: int) -> Emit:
    def emit(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
        outer, small, inner = transforms(tile)
        (height, width), (down, across), places = shape.size, _tile_counts(shape, tile), tile + 2
        (above, _), (left, _) = shape.pads
        if e.squaring:
            # Constants are squared: these become the sums of squares.
            kernel = np.sqrt(np.einsum("pi,ocij,qj->pqco", small**2, weight.astype(np.float64) ** 2, small**2))
        else:
            kernel = np.einsum("pi,ocij,qj->pqco", small, weight.astype(np.float64), small)
        kernel = kernel.reshape(places * places, shape.channels, shape.outputs)
        # (lanes * batch, height, width, channels) with the places in front.
        x = e.one("Transpose", _reshape(e, name, (-1, height, width, shape.channels)), perm=(1, 2, 0, 3))
        if _by_axis(shape):
            rows = e.constant(_axis_matrix(inner, height, above, tile, down), "transform")
            columns = e.constant(_axis_matrix(inner, width, left, tile, across)[None], "transform")
            x = e.one("MatMul", rows, _reshape(e, x, (height, -1)))
            x = e.one("MatMul", columns, _reshape(e, x, (places * down, width, -1)))
            x = e.one("Transpose", _reshape(e, x, (places, down, places, across, -1)), perm=(0, 2, 1, 3, 4))
        else:
            full = down * tile + 2, across * tile + 2
            behind = [n - size - pad[0] for n, size, pad in zip(full, shape.size, shape.pads, strict=True)]
            x = e.pad(x, 4, {0: (above, behind[0]), 1: (left, behind[1])})
            starts = [np.arange(places)[:, None] + tile * np.arange(count) for count in (down, across)]
            table = starts[0][:, None, :, None] * full[1] + starts[1][None, :, None, :]
            x = e.one("Gather", _reshape(e, x, (prod(full), -1)), e.constant(table, "table"), axis=0)
            x = e.one("MatMul", e.constant(inner, "transform"), _reshape(e, x, (places, -1)))
            x = e.one("MatMul", e.constant(inner[None], "transform"), _reshape(e, x, (places, places, -1)))
        # One product per place, with the lanes among its rows: (places, tiles * lanes * batch, channels).
        x = e.one("MatMul", _reshape(e, x, (places * places, -1, shape.channels)), e.constant(kernel, "weight"))
        x = e.one("MatMul", e.constant(outer, "transform"), _reshape(e, x, (places, -1)))
        x = e.one("MatMul", e.constant(outer[None], "transform"), _reshape(e, x, (tile, places, -1)))
        x = _reshape(e, x, (tile, tile, down, across, -1, shape.outputs))
        x = e.one("Transpose", x, perm=(4, 2, 0, 3, 1, 5))
        x = _reshape(e, x, (-1, down * tile, across * tile, shape.outputs))
        surplus = {i + 1: (0, n, 1) for i, n in enumerate(shape.out) if n % tile}
        x = e.slice(x, surplus) if surplus else x
        if not e.squaring:
            x = e.one("Mul", x, _seen(e, name, shape))
        return _shown(e, _biased(e, x, bias), (*shape.out, shape.outputs), shape)

    return emit


def _seen(e: Emitter, name: str, shape: Convolution) -> str:
    """1 where an output sees anything but zeros, (lanes * batch, *out, 1), 0 elsewhere.

    What does not move at all must not seem to: a walk would have to look into rounding noise at every step.
    """
    (height, width), (below, right) = shape.size, shape.out
    windows = [
        _axis_matrix(np.eye(k), size, pad[0], 1, n).reshape(k, n, size).sum(0)
        for k, size, pad, n in zip(shape.kernel, shape.size, shape.pads, shape.out, strict=True)
    ]
    axis = e.constant(np.array([4], np.int64), "axes")
    total = _reshape(e, e.one("ReduceSum", e.one("Abs", name), axis, keepdims=0), (-1, height, width))
    total = e.one("MatMul", e.constant(windows[0][None], "window"), total)
    total = e.one("MatMul", total, e.constant(windows[1].T, "window"))
    return _reshape(e, e.one("Sign", total), (-1, below, right, 1))


def _winograd_operations(tile: int) -> Callable[[Convolution, int], list[Operation]]:
    def operations(shape: Convolution, lanes: int) -> list[Operation]:
        places, (down, across), (height, width) = tile + 2, _tile_counts(shape, tile), shape.size
        samples = lanes * shape.batch
        read, written = samples * shape.channels, samples * shape.outputs
        found = [Operation("transpose", height * width * samples, shape.channels)]
        if _by_axis(shape):
            found += [
                Operation("product", places * down, width * read, height, wide=True),
                Operation("product", places * across, read, width, places * down, wide=True),
                Operation("transpose", places * places * down, across * read),
            ]
        else:
            full = (down * tile + 2) * (across * tile + 2)
            found += [
                Operation("copy", down * tile + 2, full // (down * tile + 2) * read),
                Operation("gather", places * places * down * across, read),
                Operation("product", places, places * down * across * read, places, wide=True),
                Operation("product", places, down * across * read, places, places, wide=True),
            ]
        found += [
            Operation("product", down * across * samples, shape.outputs, shape.channels, places * places),
            Operation("product", tile, places * down * across * written, places, wide=True),
            Operation("product", tile, down * across * written, places, tile, wide=True),
            Operation("transpose", tile * tile * down * across * samples, shape.outputs),
        ]
        # What an output sees, and the product with it.
        found += [Operation("copy", samples * height, width * shape.channels)] * 2
        found.append(Operation("copy", samples * shape.out[0], shape.out[1] * shape.outputs))
        if any(n % tile for n in shape.out):
            found.append(Operation("copy", samples * shape.out[0], shape.out[1] * shape.outputs))
        return found

    return operations


# ---- groups


def _is_depthwise(shape: Convolution) -> bool:
    return shape.groups > 1 and shape.channels == shape.groups


def _is_grouped(shape: Convolution) -> bool:
    return shape.groups > 1 and shape.channels > shape.groups


def _emit_depthwise(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
    """A multiply-add per tap, which beats a matrix product of inner size 1."""
    taps = _slices(e, _pad(e, name, shape, shape.pads), shape)
    each = shape.outputs // shape.groups
    if each > 1:
        index = e.constant(np.repeat(np.arange(shape.channels), each), "indices")
        taps = [e.one("Gather", tap, index, axis=len(shape.size) + 2) for tap in taps]
    flat = weight.reshape(shape.outputs, -1)
    terms = [e.one("Mul", tap, e.constant(flat[:, i], "weight")) for i, tap in enumerate(taps)]
    return _biased(e, terms[0] if len(terms) == 1 else e.one("Sum", *terms), bias)


def _emit_grouped(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
    """The matrix products of all groups."""
    taps = _slices(e, _pad(e, name, shape, shape.pads), shape)
    places, groups, inside = (shape.batch, *shape.out), shape.groups, shape.channels // shape.groups
    parts = [e.view(tap, (*places, groups, inside)) for tap in taps]
    columns = e.concat(parts, len(places) + 2)
    columns = e.view(columns, (prod(places), groups, len(taps) * inside))
    columns = e.one("Transpose", columns, perm=(0, 2, 1, 3))
    matrix = weight.reshape(groups, shape.outputs // groups, inside, -1).transpose(0, 3, 2, 1)
    matrix = matrix.reshape(1, groups, len(taps) * inside, shape.outputs // groups)
    made = e.one("Transpose", e.one("MatMul", columns, e.constant(matrix, "weight")), perm=(0, 2, 1, 3))
    return _biased(e, e.view(made, (*places, shape.outputs)), bias)


def _uncounted(shape: Convolution, lanes: int) -> list[Operation]:
    """Of lowerings that no other competes with."""
    return []


LOWERINGS = (
    Lowering("product", _is_product, _emit_product, _product_operations),
    *(Lowering(f"banded-{tile}", _tiles(tile), _banded(tile), _banded_operations(tile)) for tile in (1, 2, 4)),
    Lowering("slices", _takes_columns, _emit_slices, _slices_operations),
    *(
        Lowering(f"winograd-{tile}", _is_small_square, _winograd(tile), _winograd_operations(tile), cancels=True)
        for tile in POINTS
    ),
    Lowering("grouped", _is_grouped, _emit_grouped, _uncounted),
    Lowering("depthwise", _is_depthwise, _emit_depthwise, _uncounted),
)


def lower(e: Emitter, name: str, shape: Convolution, weight: Array, bias: Array | None) -> str:
    """Write a convolution of a channels-last tensor: see :attr:`Lowering.emit`."""
    if not e.squaring:
        return e.plan.choose(shape, e.label).emit(e, name, shape, weight, bias)
    squares = e.plan.choose(shape, e.label, squaring=True).emit(e, name, shape, weight, bias)
    numbers = e.plan.choose(shape, e.label)
    if not numbers.cancels:
        return squares
    # Rounding of the terms that cancel is told by their sizes, those of a whole tile together: where all that an output
    # is the sum of is zero, it is not.
    rounding = numbers.emit(e, name, shape, weight, None)
    return e.one("Add", squares, e.one("Mul", rounding, e.constant(np.array(CANCELLED))))


# ---- operations by themselves, to be timed


def program_of(operation: Operation) -> tuple[Graph, tuple[int, ...], tuple[int, ...]]:
    """A program of one operation, from ``x`` to ``y``, with their shapes."""
    rows, columns, inner, batch = operation.rows, operation.columns, operation.inner, operation.batch
    attributes: dict[str, Attribute] = {}
    inputs: tuple[str, ...] = ("x", "held")
    held: Array | None = None
    if operation.kind == "product":
        front = (batch,) if batch > 1 else ()
        made = (*front, rows, columns)
        if operation.wide:
            shape, held, inputs = (*front, inner, columns), np.full((rows, inner), 0.5), ("held", "x")
        else:
            shape, held = (*front, rows, inner), np.full((*front, inner, columns), 0.5)
        op_type = "MatMul"
    elif operation.kind == "gather":
        # Columns are gathered from a tensor that is a few times smaller.
        shape, made = (ceil(rows / 4), columns), (rows, columns)
        op_type, attributes, held = "Gather", {"axis": 0}, np.arange(rows) // 4
    elif operation.kind == "copy":
        shape, made = (rows, columns - 2), (rows, columns)
        op_type, held = "Pad", np.array([0, 1, 0, 1])
    else:
        shape, made = (8, rows // 8, columns), (rows // 8, 8, columns)
        op_type, attributes, inputs = "Transpose", {"perm": (1, 0, 2)}, ("x",)
    node = Node(0, "", "node", "", op_type, inputs, ("y",), freeze(attributes))
    values = {name: Value(name, "float64", (LANES, *dims[1:])) for name, dims in (("x", shape), ("y", made))}
    constants = {} if held is None else {"held": held}
    return Graph("operation", ("x",), ("y",), (node,), constants, values, {"ai.onnx": 17}), shape, made
