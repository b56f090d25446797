"""Convolutions in double precision: every lowering against plain loops, their choice, and the rates it is made by."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import lronnx
from lronnx import calibration, cli, onnx_io, session
from lronnx import network as network_module
from lronnx.graph import Array, Node, Value
from lronnx.ops import lowering
from lronnx.ops.emitter import LANES, Emitter
from lronnx.ops.lowering import LOWERINGS, SHIPPED, Convolution, Plan, Rates
from lronnx.ops.record import Lookup
from lronnx.ops.windows import convolution_of

TOLERANCE = 1e-12
# What the walk takes for rounding of zero, relative to a number's size.
NOISE = 1e-13
SHAPES = ((6, 32), (16, 16), (64, 8), (64, 32), (128, 16), (256, 8), (512, 4))
CHOOSABLE = ("banded-1", "banded-2", "banded-4", "slices", "winograd-2", "winograd-4")


def square(channels: int, size: int, kernel: int = 3) -> Convolution:
    """As many channels out as in, with as much padding as keeps the size."""
    pads = ((kernel // 2,) * 2,) * 2
    return Convolution(1, channels, channels, (size,) * 2, (kernel,) * 2, (1, 1), (1, 1), pads, 1)


# ---- plain loops


def direct(c: Convolution, x: Array, weight: Array) -> Array:
    """A cross-correlation as it is defined, of (N, channels, *size)."""
    padded = np.zeros((*x.shape[:2], *(n + 40 for n in c.size)))
    padded[(slice(None), slice(None), *(slice(20, 20 + n) for n in c.size))] = x
    result = np.zeros((len(x), c.outputs, *c.out))
    each, inside = c.outputs // c.groups, c.channels // c.groups
    for output, channel in itertools.product(range(c.outputs), range(inside)):
        source = padded[:, output // each * inside + channel]
        for tap in itertools.product(*map(range, c.kernel)):
            begins = [20 - p[0] + k * d for p, k, d in zip(c.pads, tap, c.dilations, strict=True)]
            zipped = zip(begins, c.out, c.strides, strict=True)
            window = source[(slice(None), *(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zipped))]
            result[:, output] += weight[(output, channel, *tap)] * window
    return result


def lowered(
    c: Convolution, name: str, x: Array, weight: Array, bias: Array | None, *, squares: Array | None = None
) -> Array:
    """What onnxruntime makes of a lowering, (N, outputs, *out); of squares instead, if they are given."""
    e = Emitter("float64", (), {}, 18, lambda node, arrays: [], Lookup({}, {}, set(), {}), Plan(wanted=name))
    if squares is None:
        made = lowering.lower(e, "x", c, weight, bias)
    else:
        with e.squared({}, {}):
            made = lowering.lower(e, "x", c, weight, bias)
    values = [
        Value(key, "float64", (LANES, c.batch, *size, channels))
        for key, size, channels in (("x", c.size, c.channels), (made, c.out, c.outputs))
    ]
    runner = ort.InferenceSession(onnx_io.to_bytes(e.program("lowered", values[:1], values[1:], 18)))
    read = np.moveaxis(x if squares is None else squares, 1, -1)
    result = runner.run(None, {"x": np.ascontiguousarray(read.reshape(-1, c.batch, *read.shape[1:]))})[0]
    return np.moveaxis(result.reshape(-1, *c.out, c.outputs), -1, 1)


def offered(c: Convolution) -> Iterator[lowering.Lowering]:
    return (one for one in LOWERINGS if one.applies(c))


def check(c: Convolution, one: lowering.Lowering, seed: int) -> None:
    """Assert that a lowering computes the convolution, that it does of squares, and that sizes tell of its rounding."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * c.batch, c.channels, *c.size))
    # Much is exactly zero behind a ReLU; what is left differs in size.
    x *= 10.0 ** rng.integers(-2, 3, (len(x), c.channels, *(1,) * len(c.size)))
    x[rng.random(x.shape) < 0.3] = 0
    x[..., : c.size[-1] // 2] *= rng.integers(0, 2)
    weight = rng.standard_normal((c.outputs, c.channels // c.groups, *c.kernel))
    bias = rng.standard_normal(c.outputs) if rng.integers(0, 2) else None
    added = np.zeros(c.outputs) if bias is None else bias
    added = added.reshape(-1, *(1,) * len(c.size))
    expected, size = direct(c, x, weight) + added, direct(c, abs(x), abs(weight)) + abs(added)
    found = lowered(c, one.name, x, weight, bias)
    assert found.shape == expected.shape
    # A tile's outputs are rounded together.
    scale = size.max(axis=tuple(range(1, size.ndim)), keepdims=True) if one.cancels else size
    assert (abs(found - expected) <= TOLERANCE * scale).all(), one.name
    squares, exact = lowered(c, one.name, x, weight, bias, squares=x**2), direct(c, x**2, weight**2) + added**2
    if one.cancels:
        assert (squares >= exact * (1 - TOLERANCE)).all()
        assert (abs(found - expected) <= NOISE * np.sqrt(squares)).all(), one.name
    else:
        assert (abs(squares - exact) <= TOLERANCE * exact).all(), one.name


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """One to three axes, as a node's attributes say it."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    square_kernel = rank == 2 and draw(st.booleans())
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    numbers = st.integers(1, 3)
    channels, outputs = groups * draw(numbers), groups * draw(numbers)
    kernel = (3, 3) if square_kernel else tuple(draw(st.lists(numbers, min_size=rank, max_size=rank)))
    if square_kernel and draw(st.booleans()):
        strides = dilations = (1, 1)
    else:
        strides = tuple(draw(st.lists(numbers, min_size=rank, max_size=rank)))
        dilations = tuple(draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank)))
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    size = tuple(draw(st.integers(extent, extent + 6)) for extent in extents)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups}
    mode = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    pads = [(0, 0)] * rank
    if mode == "NOTSET":
        pads = [draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in range(rank)]
        attributes["pads"] = tuple(pad[side] for side in (0, 1) for pad in pads)
    else:
        attributes["auto_pad"] = mode
    if mode.startswith("SAME"):
        totals = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(size, strides, extents, strict=True)]
        pads = [(t // 2, t - t // 2) if mode == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals]
    batch = draw(st.sampled_from([1, 1, 2]))
    node = Node(0, "", "conv", "", "Conv", ("x", "w"), ("y",), attributes)
    shapes = {"x": (batch, channels, *size), "w": (outputs, channels // groups, *kernel)}
    found = convolution_of(node, shapes)
    assert found == Convolution(batch, channels, outputs, size, kernel, strides, dilations, tuple(pads), groups), (
        "not the convolution that the node's attributes say"
    )
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions(), st.integers(0, 2**32 - 1))
def test_every_lowering_is_the_convolution(c: Convolution, seed: int) -> None:
    for one in offered(c):
        check(c, one, seed)


@pytest.mark.parametrize("name", CHOOSABLE)
@pytest.mark.parametrize(
    "c",
    [
        square(5, 8),
        square(40, 4),
        # Cropped in front, as a transposed convolution may be; and tile by tile, since an axis is long.
        Convolution(1, 2, 3, (12, 9), (3, 3), (1, 1), (1, 1), ((-2, 1), (0, -1)), 1),
        Convolution(2, 2, 3, (35, 40), (3, 3), (1, 1), (1, 1), ((1, 1), (2, -2)), 1),
        Convolution(1, 2, 3, (3, 35), (3, 3), (1, 1), (1, 1), ((0, 0), (1, 1)), 1),
    ],
    ids=["square", "deep", "cropped", "long", "flat"],
)
def test_lowering(c: Convolution, name: str) -> None:
    for one in offered(c):
        if one.name == name:
            check(c, one, 7)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("which", range(3))
def test_a_wrong_transform_is_noticed(monkeypatch: pytest.MonkeyPatch, tile: int, which: int) -> None:
    made = lowering.transforms(tile)
    made[which][1, 1] += 1e-9
    monkeypatch.setattr(lowering, "transforms", lambda tile: made)
    (one,) = (one for one in LOWERINGS if one.name == f"winograd-{tile}")
    with pytest.raises(AssertionError):
        check(square(5, 8), one, 7)


@pytest.mark.parametrize("name", ["winograd-2", "winograd-4"])
def test_sizes_know_of_what_cancels(name: str) -> None:
    # A column of numbers, which the kernel weighs on its right only: all it sees is zero, but not all there is.
    c = square(4, 8)
    x, weight = np.zeros((1, 4, 8, 8)), np.zeros((4, 4, 3, 3))
    x[..., 3] = np.random.default_rng(0).standard_normal((1, 4, 8))
    weight[..., 2] = np.random.default_rng(1).standard_normal((4, 4, 3))
    found = lowered(c, name, x, weight, None)
    sizes = np.sqrt(lowered(c, name, x, weight, None, squares=x**2))
    exact = direct(c, x, weight)
    if name == "winograd-4":
        assert abs(found[exact == 0]).max() > 0
    assert (abs(found - exact) <= NOISE * sizes).all()


@pytest.mark.parametrize("name", ["winograd-2", "winograd-4"])
def test_what_sees_zeros_only_is_zero(name: str) -> None:
    c = square(4, 9)
    x, weight = np.zeros((2, 4, 9, 9)), np.random.default_rng(1).standard_normal((4, 4, 3, 3))
    x[:, 1, 3, 6] = 1e-200, 1e200
    found = lowered(c, name, x, weight, None)
    assert np.array_equal(found != 0, direct(c, x, weight) != 0)


# ---- the choice


def test_the_choice_is_made_by_rates_alone() -> None:
    first, again = (
        [Plan(lambda: Rates(dict(SHIPPED.seconds))).choose(square(*shape)).name for shape in SHAPES] for _ in range(2)
    )
    assert first == again
    assert first[0].startswith("banded")
    assert first[-2] == "winograd-4"


def test_rates_decide() -> None:
    # Where nothing but multiplying costs, as little as possible is multiplied; where only moving does, it is avoided.
    nothing = {kind: (0.0,) * len(rates) for kind, rates in SHIPPED.seconds.items()}
    multiplying = Rates({**nothing, "product": (0, 0, 1.0, 0, 0, 0)})
    moving = Rates({**nothing, **dict.fromkeys(lowering.MOVES, (0, 0, 1.0, 0))})
    assert Plan(lambda: multiplying).choose(square(256, 16)).name == "winograd-4"
    assert Plan(lambda: moving).choose(square(256, 16), squaring=True).name in ("banded-2", "banded-4")
    assert Plan(lambda: multiplying).choose(square(256, 16), squaring=True).name in ("banded-1", "slices")


def test_fewer_lanes_read_fewer_weights() -> None:
    # Of one lane, reading the weights takes longer than multiplying by them, and they are four times as many.
    assert Plan(lanes=1).choose(square(512, 4)).name in ("banded-1", "slices")
    assert Plan(lanes=64).choose(square(512, 4)).name == "winograd-4"


def test_many_weights_are_not_transformed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Plan(small=True).choose(square(256, 8)).cancels
    assert Plan(small=True, wanted="winograd-2").choose(square(256, 8)).name == "winograd-2"
    study = lronnx.load(write_network(tmp_path))._study
    weights = 9 * (2 * 6 + 6 * 5)
    for most, small in ((weights, False), (weights - 1, True)):
        monkeypatch.setattr(network_module, "MOST_WEIGHTS", most)
        assert study.plan("auto").small is small


@pytest.mark.parametrize("name", CHOOSABLE)
def test_what_is_wanted_is_taken_where_it_can_be(name: str) -> None:
    plan = Plan(wanted=name)
    assert plan.choose(square(8, 8)).name == name
    assert plan.choose(square(8, 8, kernel=1)).name == "product"
    assert plan.choose(Convolution(1, 4, 4, (8,), (3,), (1,), (1,), ((1, 1),), 2)).name == "grouped"
    assert plan.choose(Convolution(1, 4, 4, (8,), (3,), (1,), (1,), ((1, 1),), 4)).name == "depthwise"
    assert not plan.choose(square(8, 8), squaring=True).cancels


def test_no_rates_are_asked_for_without_a_choice() -> None:
    def rates() -> Rates:
        raise AssertionError

    assert Plan(rates).choose(square(8, 8, kernel=1)).name == "product"
    assert Plan(rates, wanted="slices").choose(square(8, 8)).name == "slices"


# ---- networks


def write_network(folder: Path, kernel: int = 3, bias: bool = False, pooled: str = "") -> Path:
    """Two convolutions with ReLUs, of float32, and a matrix product; ``pooled``: by what, behind the second ReLU."""
    rng = np.random.default_rng(3)
    shapes = {"w1": (6, 2, kernel, kernel), "w2": (5, 6, kernel, kernel), "w3": (5 * (16 if pooled else 64), 3)}
    shapes |= {"b1": (6,), "b2": (5,)} if bias else {}
    held = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), name) for name, s in shapes.items()]
    pads = [kernel // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x", "w1", *(["b1"] if bias else [])], ["c1"], name="first", pads=pads),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", *(["b2"] if bias else [])], ["c2"], name="second", pads=pads),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("Flatten", ["r2"], ["f"], name="flat")
        if not pooled
        else helper.make_node(pooled, ["r2"], ["f4"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        *([helper.make_node("Flatten", ["f4"], ["f"], name="flat")] if pooled else []),
        helper.make_node("MatMul", ["f", "w3"], ["y"], name="last"),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    model = helper.make_model(
        helper.make_graph(nodes, "two", [source], [target], held),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = folder / "two.onnx"
    onnx.save(model, path)
    return path


def black_bordered(seed: int) -> tuple[Array, Array]:
    """Two images that are zero but for a spot in the middle and a corner, different in both."""
    rng = np.random.default_rng(seed)
    points = np.zeros((2, 1, 2, 8, 8))
    points[..., 3:5, 3:5] = rng.standard_normal((2, 1, 2, 2, 2))
    points[..., :2, :1] = rng.standard_normal((2, 1, 2, 2, 1))
    return points[0], points[1]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_walks_agree(tmp_path: Path, seed: int, bias: bool) -> None:
    network = lronnx.load(write_network(tmp_path, bias=bias))
    pairs = [black_bordered(seed), tuple(np.random.default_rng(seed).standard_normal((2, *network.input_shape)))]
    for start, end in pairs:
        walks = [network.walk(start, end, device="cpu", lowering=name) for name in ("auto", *CHOOSABLE)]
        for walk in walks:
            assert walk.self_check.ok
            np.testing.assert_allclose(walk.t, walks[0].t, rtol=0, atol=1e-11)
            np.testing.assert_allclose(walk.values, walks[0].values, rtol=0, atol=1e-10)
            found, expected = (
                [sorted((s.node, s.unit) for s in switches) for switches in one.switches] for one in (walk, walks[0])
            )
            assert found == expected


@pytest.mark.parametrize("name", ["winograd-2", "winograd-4"])
def test_what_does_not_move_does_not_seem_to(tmp_path: Path, name: str) -> None:
    # Else every step of a walk would measure sizes, to tell noise from movement.
    network = lronnx.load(write_network(tmp_path))
    passes = [
        network.walk(*black_bordered(0), device="cpu", engine="walk", lowering=one).forward_passes
        for one in ("banded-1", name)
    ]
    assert passes[0] == passes[1]


def test_what_is_compared_is_rounded_alike_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "rates", lambda: SHIPPED)
    # Whatever may cancel is taken.
    monkeypatch.setattr(lowering, "HANDICAP", 0.0)
    for pooled, cancels in (("", True), ("AveragePool", True), ("MaxPool", False)):
        path = write_network(tmp_path, bias=True, pooled=pooled)
        told = [node.lowering for node in lronnx.inspect(path).nodes if node.lowering]
        assert [name.startswith("winograd") for name in told] == [cancels] * 2
        forced = [node.lowering for node in lronnx.inspect(path, lowering="winograd-2").nodes if node.lowering]
        assert forced == ["winograd-2"] * 2
        network = lronnx.load(path)
        for name in ("auto", "winograd-4"):
            assert network.walk(*black_bordered(0), device="cpu", lowering=name).self_check.ok


def test_an_unknown_name(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    network = lronnx.load(path)
    for call in (
        lambda: lronnx.inspect(path, lowering="fast"),
        lambda: network.walk(*black_bordered(0), lowering="fast"),
        lambda: network.walk_path(black_bordered(0), lowering="fast"),
    ):
        with pytest.raises(lronnx.InputError, match=r"unknown lowering 'fast': use auto, .*winograd-4"):
            call()


def test_inspect_tells(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    told = {node.name: node.lowering for node in lronnx.inspect(path, lowering="slices").nodes}
    assert told == {"first": "slices", "relu1": "", "second": "slices", "relu2": "", "flat": "", "last": ""}
    assert {node.lowering for node in lronnx.inspect(path).nodes} <= {"", *CHOOSABLE}
    told = {node.name: node.lowering for node in lronnx.inspect(write_network(tmp_path, 1), lowering="slices").nodes}
    assert told["first"] == "product"


def test_help_names_all() -> None:
    (option,) = {p.help for p in (*cli.walk.params, *cli.inspect.params) if p.name == "lowering"}
    assert all(name in option for name in CHOOSABLE)
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in CHOOSABLE)
    fixed = {"product", "grouped", "depthwise"}
    assert {one.name for one in LOWERINGS} == {*CHOOSABLE, *fixed}


def test_saved_programs_do_not_depend_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_network(tmp_path)
    monkeypatch.setattr(calibration, "rates", lambda: pytest.fail("measured"))
    monkeypatch.setattr(session, "cores", lambda: 7)
    assert lronnx.load(path).linearize() == lronnx.load(path).linearize()


def test_single_precision_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "rates", lambda: pytest.fail("measured"))
    network = lronnx.load(write_network(tmp_path))
    # A sweep evaluates where its chunks start in double precision all the same.
    assert network.walk(*black_bordered(0), device="cpu", engine="walk", precision="single").self_check.ok


# ---- calibration


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """An empty cache folder, and how often was measured: the shipped rates are found each time."""
    measured: list[int] = []

    def measure() -> Rates:
        measured.append(1)
        return SHIPPED

    monkeypatch.setenv("LRONNX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "measure", measure)
    calibration.rates.cache_clear()
    yield measured
    calibration.rates.cache_clear()


def again() -> Rates:
    """As another process finds it."""
    calibration.rates.cache_clear()
    return calibration.rates()


def kept(folder: Path) -> Path:
    (path,) = (folder / "cache").iterdir()
    return path


def test_what_was_measured_is_kept(tmp_path: Path, cache: list[int]) -> None:
    assert again() == again() == calibration.rates() == SHIPPED
    assert len(cache) == 1
    assert json.loads(kept(tmp_path).read_text())["key"]["onnxruntime"] == ort.__version__


@pytest.mark.parametrize("key", ["version", "processor", "cores", "onnxruntime"])
def test_another_machine_measures_anew(tmp_path: Path, cache: list[int], key: str) -> None:
    again()
    content = json.loads(kept(tmp_path).read_text())
    content["key"][key] = "another"
    kept(tmp_path).write_text(json.dumps(content))
    again()
    assert len(cache) == 2
    again()
    assert len(cache) == 2


def damaged() -> Sequence[bytes]:
    sound = {kind: list(rates) for kind, rates in SHIPPED.seconds.items()}
    wrong: list[Any] = [
        None,
        [],
        {},
        {"key": "KEY"},
        {"key": "KEY", "seconds": 3},
        {"key": "KEY", "seconds": {**sound, "copy": None}},
        {"key": "KEY", "seconds": {**sound, "copy": [1.0]}},
        {"key": "KEY", "seconds": {**sound, "copy": [-1.0, 0, 0, 0]}},
        {"key": "KEY", "seconds": {**sound, "copy": [float("nan"), 0, 0, 0]}},
        {"key": "KEY", "seconds": {**sound, "copy": [float("inf"), 0, 0, 0]}},
        {"key": "KEY", "seconds": {**sound, "copy": ["a", 0, 0, 0]}},
    ]
    return [b"", b"\xff\xfe", b'{"key": {', *(json.dumps(one).encode() for one in wrong)]


@pytest.mark.parametrize("content", damaged())
def test_a_damaged_file_is_measured_over(tmp_path: Path, cache: list[int], content: bytes) -> None:
    again()
    key = json.dumps(calibration._key()).encode()
    kept(tmp_path).write_bytes(content.replace(b'"KEY"', key))
    assert again() == SHIPPED
    assert len(cache) == 2
    assert again() == SHIPPED
    assert len(cache) == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path, cache: list[int]) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    assert again() == calibration.rates() == SHIPPED
    assert len(cache) == 1


def test_a_file_that_cannot_be_written(tmp_path: Path, cache: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs tests may be allowed to write anywhere: it fails at the last moment instead.
    def refuse(*names: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(os, "replace", refuse)
    assert again() == SHIPPED
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="who may write anywhere is never refused")
def test_a_read_only_folder(tmp_path: Path, cache: list[int]) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    assert again() == SHIPPED
    assert not list((tmp_path / "cache").iterdir())


def test_measuring() -> None:
    found = calibration.measure()
    assert {kind: len(rates) for kind, rates in found.seconds.items()} == {
        kind: len(rates) for kind, rates in SHIPPED.seconds.items()
    }
    assert all(np.isfinite(rates).all() and min(rates) >= 0 for rates in found.seconds.values())
    assert all(found.predict([one]) > 0 for one in calibration.SAMPLES)


def test_the_fit_finds_rates_again() -> None:
    found = calibration.fit({one: SHIPPED.predict([one]) for one in calibration.SAMPLES})
    for kind, rates in SHIPPED.seconds.items():
        np.testing.assert_allclose(found.seconds[kind], rates, rtol=1e-6, atol=1e-18)
