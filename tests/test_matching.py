"""Points and outputs of one network as those of another, against index arithmetic written down a second time."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from budget import examples
from hypothesis import given, settings
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lronnx.errors import InputError, ModelError, NotPiecewiseAffineError
from lronnx.inputs import Pixels
from lronnx.matching import Match, load_models, match, parse_map, per_model
from lronnx.network import Network, load

Floats = NDArray[np.float64]

RANDOM = settings(derandomize=True, database=None, deadline=None, max_examples=examples(150))
SHARED = Path(os.environ.get("LRONNX_SHARED") or Path(__file__).parents[2] / "shared") / "onnx"
PRESENT = (SHARED / "MANIFEST.csv").is_file() and not os.environ.get("CI")

IMAGE = (4, 5, 3)
"""(H, W, C) of the images that the networks below take."""
HIDDEN, OUTPUTS = 16, 4


def spot(layout: str, shape: Sequence[int], y: int, x: int, channel: int) -> int:
    """Where an input of this layout, flattened, keeps one pixel of an image of (H, W, C)."""
    height, width, channels = shape
    if layout == "chw":
        return (channel * height + y) * width + x
    return (y * width + x) * channels + channel


def same_image(layouts: Sequence[str], shape: Sequence[int]) -> NDArray[np.int64]:
    """For each number of the other's input its place in the first's, pixel by pixel."""
    places = np.full(int(np.prod(shape)), -1)
    for y, x, channel in itertools.product(*map(range, shape)):
        places[spot(layouts[1], shape, y, x, channel)] = spot(layouts[0], shape, y, x, channel)
    assert (places >= 0).all()
    return places


# ---- networks


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Sequence[int | str] | None]],
    outputs: Sequence[str],
    constants: dict[str, NDArray[Any]],
) -> str:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", infos, made, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def weights(image: Sequence[int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    count = int(np.prod(image))
    hidden = rng.normal(size=(count, HIDDEN)).astype(np.float32)
    return hidden, rng.normal(size=(HIDDEN, OUTPUTS)).astype(np.float32)


def dense(
    path: Path,
    shape: Sequence[int | str],
    layout: str = "chw",
    *,
    image: Sequence[int] = IMAGE,
    names: tuple[str, str] = ("x", "y"),
    seed: int = 0,
    scaled: tuple[Sequence[float], Sequence[float]] | None = None,
    bias: float = 0.0,
    output_shape: Sequence[int] | None = None,
) -> str:
    """One function of images, of which the input, of ``shape``, is the flattened image in this layout.

    ``scaled``: factors and terms per channel that are taken off the input at first.
    """
    hidden, last = weights(image, seed)
    places = same_image(("chw", layout), image)
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["o"]),
        helper.make_node("Add", ["o", "b"], ["p"]),
        helper.make_node("Reshape", ["p", "end"], ["y"]),
    ]
    constants = {
        "flat": np.array([1, -1]),
        "w": hidden[places],
        "v": last,
        "b": np.full(OUTPUTS, bias, np.float32),
        "end": np.array([1, OUTPUTS] if output_shape is None else output_shape),
    }
    if scaled is not None:
        channels = np.array([c for _, _, c in itertools.product(*map(range, image))])
        order = np.argsort(same_image(("hwc", layout), image)) if layout != "hwc" else np.arange(len(channels))
        in_layout = np.empty(len(channels), int)
        in_layout[order] = channels
        nodes[:1] = [
            helper.make_node("Reshape", ["x", "flat"], ["f0"]),
            helper.make_node("Sub", ["f0", "term"], ["f1"]),
            helper.make_node("Div", ["f1", "factor"], ["f"]),
        ]
        constants["factor"] = np.array(scaled[0], np.float32)[in_layout]
        constants["term"] = np.array(scaled[1], np.float32)[in_layout]
    renamed = {"x": names[0], "y": names[1]}
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return write(path, nodes, [(names[0], shape)], [names[1]], constants)


@dataclass
class Shaped:
    """What of a network matching looks at, for shapes alone; ``function`` of the flattened input, if it is asked."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...] = (1, 10)
    path: str = "a.onnx"
    input_name: str = "x"
    output_name: str = "y"
    function: Callable[[Floats], Floats] | None = None

    @property
    def outputs(self) -> int:
        return int(np.prod(self.output_shape))

    def evaluate(self, point: Floats) -> Floats:
        assert self.function is not None
        assert point.shape == self.input_shape
        return self.function(point.ravel())


def matched(first: tuple[int, ...], other: tuple[int, ...], **options: Any) -> Match:
    return match(Shaped(first), Shaped(other, path="b.onnx"), **options)  # type: ignore[arg-type]


def order_of(found: Match) -> list[int]:
    """For each number of the other's input its place in the first's, as points are really turned."""
    points = np.arange(float(np.prod(found.input_shape))).reshape(1, *found.input_shape)
    turned = found.points(points)
    assert turned.shape == (1, *found.other_shape)
    assert turned.dtype == np.float64
    return turned.ravel().astype(int).tolist()


def values(network: Network, points: Floats) -> Floats:
    return np.stack([network.evaluate(point, device="cpu") for point in points])


def agree(first: Network, other: Network, found: Match, seed: int = 1) -> None:
    """Both networks compute the same at random points."""
    points = np.random.default_rng(seed).normal(size=(4, *first.input_shape))
    there = found.points(points)
    ours, theirs = values(first, points), found.values(values(other, there))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5 * np.abs(ours).max())


# The same function of an image with several inputs: (shape, layout).
VARIANTS = [
    ((1, 3, 4, 5), "chw"),
    ((3, 4, 5), "chw"),
    ((1, 3, 4, 5, 1), "chw"),
    ((1, 4, 5, 3), "hwc"),
    ((4, 5, 3), "hwc"),
    ((1, 4, 1, 5, 3), "hwc"),
    ((1, 60), "chw"),
    ((60, 1), "hwc"),
]


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> list[Network]:
    folder = tmp_path_factory.mktemp("variants")
    return [load(dense(folder / f"{i}.onnx", *variant), threads=1) for i, variant in enumerate(VARIANTS)]


@pytest.mark.parametrize("one", range(len(VARIANTS)))
def test_the_same_function_with_any_two_inputs(variants: list[Network], one: int) -> None:
    first = variants[one]
    probes = np.random.default_rng(2).normal(size=(3, *first.input_shape))
    for other, (_, layout) in zip(variants, VARIANTS, strict=True):
        found = match(first, other, probes=probes, image_shape=IMAGE)
        agree(first, other, found)
        assert order_of(found) == same_image((VARIANTS[one][1], layout), IMAGE).tolist()
        # Said by the user it needs no outputs; flattened ones need the size of the images.
        said = match(first, other, layouts=(VARIANTS[one][1], layout), image_shape=IMAGE)
        assert order_of(said) == order_of(found)


@st.composite
def arranged(draw: st.DrawFn) -> tuple[tuple[int, int, int], list[tuple[tuple[int, ...], str]]]:
    """(H, W, C) of an image, and two inputs that take it, (shape, layout)."""
    image = draw(st.tuples(*[st.integers(1, 4)] * 3))
    height, width, channels = image
    inputs = []
    for _ in range(2):
        layout = draw(st.sampled_from(["chw", "hwc"]))
        sizes = (channels, height, width) if layout == "chw" else image
        shape = (int(np.prod(sizes)),) if draw(st.booleans()) else sizes
        inputs.append(
            ((1,) * draw(st.integers(0, 2)) + shape + (1,) * (len(shape) == 1 and draw(st.booleans())), layout)
        )
    return image, inputs


@RANDOM
@given(arranged())
def test_layouts_that_are_said(case: tuple[tuple[int, int, int], list[tuple[tuple[int, ...], str]]]) -> None:
    image, ((first, one), (other, two)) = case
    found = matched(first, other, layouts=(one, two), image_shape=image)
    assert order_of(found) == same_image((one, two), image).tolist()


@RANDOM
@given(arranged(), st.randoms(use_true_random=False))
def test_layouts_that_outputs_tell(
    case: tuple[tuple[int, int, int], list[tuple[tuple[int, ...], str]]], random: Any
) -> None:
    image, ((first, one), (other, two)) = case
    places = same_image((one, two), image)
    matrix = np.random.default_rng(random.getrandbits(32)).normal(size=(10, len(places)))

    def ours(point: Floats) -> Floats:
        return np.asarray(matrix @ point)

    def theirs(point: Floats) -> Floats:
        # Numbers of the other's input in the order of the first's.
        back = np.empty(len(places))
        back[places] = point
        return ours(back)

    rng = np.random.default_rng(0)
    probes = rng.normal(size=(3, *first))
    a, b = Shaped(first, function=ours), Shaped(other, function=theirs)
    found = match(a, b, probes=probes, image_shape=image)  # type: ignore[arg-type]
    point = rng.normal(size=(1, *first))
    np.testing.assert_allclose(b.evaluate(found.points(point)[0]), a.evaluate(point[0]), rtol=1e-9, atol=1e-9)


@RANDOM
@given(st.lists(st.integers(1, 4), min_size=0, max_size=4), st.data())
def test_axes_of_size_1_do_not_matter(core: list[int], data: st.DataObject) -> None:
    def stretched() -> tuple[int, ...]:
        shape = list(core)
        for _ in range(data.draw(st.integers(0, 3))):
            shape.insert(data.draw(st.integers(0, len(shape))), 1)
        return tuple(shape)

    found = matched(stretched(), stretched())
    assert order_of(found) == list(range(int(np.prod(core))))


# ---- inputs that shapes alone match


@pytest.mark.parametrize(
    ("first", "other", "layouts"),
    [
        ((1, 3, 32, 32), (1, 32, 32, 3), ("chw", "hwc")),
        ((32, 32, 3), (1, 3, 32, 32), ("hwc", "chw")),
        # No channels of 1 or 3, but one arrangement only fits.
        ((1, 5, 7, 9), (1, 7, 9, 5), ("chw", "hwc")),
        ((7, 9, 5), (5, 7, 9), ("hwc", "chw")),
        # An image of one row, which is no matrix.
        ((1, 3, 1, 8), (1, 1, 8, 3), ("chw", "hwc")),
    ],
)
def test_shapes_that_tell(first: tuple[int, ...], other: tuple[int, ...], layouts: tuple[str, str]) -> None:
    found = matched(first, other)
    image = next(s for s, layout in zip((first, other), layouts, strict=True) if layout == "hwc")[-3:]
    assert order_of(found) == same_image(layouts, image).tolist()
    one, two = ("x".join(map(str, shape)) for shape in (first, other))
    assert found.told[0] == f"input 'x' ({one}, {layouts[0]}) -> 'x' ({two}, {layouts[1]})"


def test_volumes() -> None:
    found = matched((1, 2, 3, 4, 5), (1, 3, 4, 5, 2))
    wanted = np.empty((3, 4, 5, 2), int)
    for c, z, y, x in itertools.product(range(2), range(3), range(4), range(5)):
        wanted[z, y, x, c] = ((c * 3 + z) * 4 + y) * 5 + x
    assert order_of(found) == wanted.ravel().tolist()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ((1, 1, 28, 28), (784,)),
        ((784,), (28, 28, 1)),
        ((1, 28, 28), (28, 28, 1)),
        ((4, 6), (24,)),
        ((64,), (1, 64)),
        ((3, 32, 32), (1, 3, 32, 32)),
    ],
)
def test_what_has_one_order(first: tuple[int, ...], other: tuple[int, ...]) -> None:
    for layouts in [(None, None), ("chw", "chw"), ("hwc", None)]:
        if layouts[0] == "hwc" and first == (3, 32, 32):
            continue
        found = matched(first, other, layouts=layouts)
        assert found.order is None
        assert order_of(found) == list(range(int(np.prod(first))))


def test_grey_images_have_the_same_order_wherever_their_channel_is() -> None:
    for shapes in itertools.product([(1, 1, 28, 28), (1, 28, 28, 1), (28, 28), (784,)], repeat=2):
        assert matched(*shapes, layouts=("chw", "hwc")).order is None


def test_a_row_of_channels_is_turned_if_the_user_says_so() -> None:
    found = matched((1, 4, 6), (1, 6, 4), layouts=("chw", "hwc"))
    assert order_of(found) == np.arange(24).reshape(4, 6).T.ravel().tolist()


def test_flattened_images_that_are_not_square() -> None:
    found = matched((120,), (1, 120), layouts=("hwc", "chw"), image_shape=(5, 8, 3))
    assert order_of(found) == same_image(("hwc", "chw"), (5, 8, 3)).tolist()


def test_images_of_another_size() -> None:
    with pytest.raises(
        InputError, match=r"images of \(2, 2, 3\) are no inputs of model 1 \(a.onnx\), which takes \(48,\)"
    ):
        matched((48,), (48,), image_shape=(2, 2, 3))


def test_a_wide_image_of_one_row_is_an_image_where_that_is_known() -> None:
    found = matched((1, 1, 8, 3), (24,), layouts=("hwc", "chw"), image_shape=(1, 8, 3))
    assert order_of(found) == same_image(("hwc", "chw"), (1, 8, 3)).tolist()


# ---- what outputs decide


def linear(count: int, places: NDArray[np.int64] | None = None, bias: float = 0.0) -> Callable[[Floats], Floats]:
    """A linear function; of inputs whose numbers are at ``places`` of it, if they are in another order."""
    matrix = np.random.default_rng(3).normal(size=(10, count))
    inverse = slice(None) if places is None else np.argsort(places)
    return lambda point: np.asarray(matrix @ point[inverse] + bias)


def probes_for(shape: tuple[int, ...], count: int = 3) -> Floats:
    return np.random.default_rng(4).normal(size=(count, *shape))


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_outputs_tell_how_an_image_was_flattened(layout: str) -> None:
    places = same_image(("chw", layout), (4, 4, 3))
    first = Shaped((1, 3, 4, 4), function=linear(48))
    other = Shaped((48,), path="b.onnx", function=linear(48, places))
    found = match(first, other, probes=probes_for(first.input_shape))  # type: ignore[arg-type]
    assert order_of(found) == places.tolist()
    assert found.told[0] == f"input 'x' (1x3x4x4, chw) -> 'x' (48, {layout})"
    assert "decided by the outputs, at 3 points: they agree to " in found.told[2]


def test_inputs_of_the_same_shape_are_taken_as_they_are() -> None:
    first = Shaped((48,), function=linear(48))
    for function in (linear(48), lambda point: np.full(10, 7.0)):
        found = match(first, Shaped((1, 48), function=function), probes=probes_for((48,)))  # type: ignore[arg-type]
        assert found.order is None
        assert len(found.told) == 2


@pytest.mark.parametrize("shape", [(48,), (3, 3, 3), (1, 28, 28)])
def test_inputs_of_the_same_shape_in_another_order(shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    image = {48: (4, 4, 3), 27: (3, 3, 3)}.get(count)
    places = np.arange(count).reshape(28, 28).T.ravel() if image is None else same_image(("hwc", "chw"), image)
    first = Shaped(shape, function=linear(count))
    other = Shaped(shape, function=linear(count, places))
    found = match(first, other, probes=probes_for(shape))  # type: ignore[arg-type]
    assert order_of(found) == places.tolist()
    assert "decided by the outputs" in found.told[2]
    assert matched(shape, shape).order is None


def test_matrices_that_only_the_outputs_turn() -> None:
    places = np.arange(24).reshape(4, 6).T.ravel()
    first, other = Shaped((4, 6), function=linear(24)), Shaped((6, 4), function=linear(24, places))
    found = match(first, other, probes=probes_for((4, 6)))  # type: ignore[arg-type]
    assert order_of(found) == places.tolist()
    with pytest.raises(InputError, match="the inputs do not correspond"):
        match(first, other)  # type: ignore[arg-type]
    # A single point does not tell how much outputs vary, and a function that does not vary tells nothing.
    with pytest.raises(InputError, match="the inputs do not correspond"):
        match(first, other, probes=probes_for((4, 6), 1))  # type: ignore[arg-type]
    still = [Shaped(shape, function=lambda point: np.full(10, 7.0)) for shape in ((4, 6), (6, 4))]
    with pytest.raises(InputError, match="the inputs do not correspond"):
        match(*still, probes=probes_for((4, 6)))  # type: ignore[arg-type]


def test_a_large_constant_hides_no_order() -> None:
    # The wrong order differs by less than what rounding of float32 would explain, but by more than the right one.
    places = same_image(("chw", "hwc"), (4, 4, 3))
    first = Shaped((3, 4, 4), function=linear(48, bias=1e7))
    other = Shaped((48,), function=linear(48, places, bias=1e7))
    found = match(first, other, probes=probes_for((3, 4, 4)))  # type: ignore[arg-type]
    assert order_of(found) == places.tolist()


def test_outputs_that_do_not_tell() -> None:
    first = Shaped((3, 4, 4), function=linear(48))
    cases = [
        (lambda point: point[:10], probes_for((3, 4, 4)), first),
        # Points and functions for which all orders are the same.
        (linear(48), np.ones((2, 3, 4, 4)), first),
        (lambda point: np.full(10, 7.0), probes_for((3, 4, 4)), Shaped((3, 4, 4), function=lambda p: np.full(10, 7.0))),
        (lambda point: np.full(10, np.inf), probes_for((3, 4, 4)), first),
        # Clearly closer in one order, but not the same function; and the same up to rounding, but in all orders.
        (lambda point: 1.002 * linear(48)(point), probes_for((3, 4, 4)), first),
        (
            lambda point: linear(48, bias=1e6)(point) + 1.0,
            probes_for((3, 4, 4)),
            Shaped((3, 4, 4), function=linear(48, bias=1e6)),
        ),
    ]
    for function, probes, one in cases:
        with pytest.raises(InputError, match="the outputs do not tell it either"):
            match(one, Shaped((48,), function=function), probes=probes)  # type: ignore[arg-type]


def test_what_is_asked_for_where_shapes_leave_it_open() -> None:
    with pytest.raises(InputError) as caught:
        matched((1, 3, 32, 32), (3072,))
    assert str(caught.value) == (
        "the inputs 'x' of model 1 (a.onnx), (1, 3, 32, 32), and 'x' of model 2 (b.onnx), (3072,), hold the same "
        "numbers in an order that their shapes do not tell (chw -> chw, or chw -> hwc): say --layout 2=chw (channels "
        "first) or 2=hwc (channels last)"
    )
    for layout in ("chw", "hwc"):
        found = matched((1, 3, 32, 32), (3072,), layouts=(None, layout))
        assert order_of(found) == same_image(("chw", layout), (32, 32, 3)).tolist()
    with pytest.raises(InputError, match=r"--layout a=chw .* and --layout b=chw"):
        matched((5, 7, 9), (315,), names=("a", "b"))
    assert (
        order_of(matched((5, 7, 9), (315,), layouts=("chw", "hwc"))) == same_image(("chw", "hwc"), (7, 9, 5)).tolist()
    )
    with pytest.raises(InputError, match="say --layout 1=chw"):
        matched((5, 7, 9), (315,), layouts=(None, "hwc"))


# ---- inputs that do not match


@pytest.mark.parametrize(
    ("first", "other", "layouts", "said"),
    [
        (
            (1, 3, 32, 32),
            (1, 1, 28, 28),
            (None, None),
            r"\(a.onnx\) is \(1, 3, 32, 32\), 3072 .* \(1, 1, 28, 28\), 784",
        ),
        ((4, 6), (6, 4), (None, None), r"'x' of model 1 \(a.onnx\), \(4, 6\), .* --layout 1=chw --layout 2=hwc or"),
        ((3, 32, 48), (3, 48, 32), (None, None), "hold as many numbers, but are not the same up to"),
        # One that contradicts the shapes is not taken for granted.
        ((3, 32, 32), (32, 3, 32), (None, None), "say so: --layout 1=hwc --layout 2=chw$"),
        (
            (1, 3, 32, 32),
            (1, 32, 32, 3),
            ("chw", "chw"),
            r"--layout 1=chw --layout 2=chw does not fit .* as chw and hwc$",
        ),
        ((1, 3, 32, 32), (1, 3, 32, 32), ("chw", "hwc"), "--layout 1=chw --layout 2=hwc does not fit .* chw and chw"),
        ((1, 3, 32, 32), (1, 3, 32, 32), (None, "hwc"), "--layout 2=hwc does not fit"),
        ((60,), (60,), ("chw", "hwc"), "nothing tells the size of the images"),
        ((60,), (60,), ("first", None), "--layout is 'first': give chw"),
    ],
)
def test_inputs_that_do_not_correspond(
    first: tuple[int, ...], other: tuple[int, ...], layouts: tuple[str | None, str | None], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        matched(first, other, layouts=layouts)


def test_what_contradicts_a_shape_is_what_the_user_says() -> None:
    found = matched((3, 32, 32), (32, 3, 32), layouts=("hwc", "chw"))
    assert order_of(found) == same_image(("hwc", "chw"), (3, 32, 32)).tolist()


def test_points_of_another_shape() -> None:
    found = matched((1, 3, 2, 2), (1, 2, 2, 3))
    with pytest.raises(InputError, match=r"points of shape \(2, 2, 3\)"):
        found.points(np.zeros((4, 2, 2, 3)))


def test_a_match_travels() -> None:
    found = pickle.loads(pickle.dumps(matched((1, 3, 4, 5), (1, 4, 5, 3))))
    assert order_of(found) == same_image(("chw", "hwc"), IMAGE).tolist()


# ---- outputs


def outputs_matched(first: tuple[int, ...], other: tuple[int, ...], **options: Any) -> Match:
    return match(Shaped((8,), first), Shaped((8,), other, path="b.onnx"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [(10,), (1, 10), (1, 10, 1, 1), (10, 1)])
def test_outputs_with_axes_of_size_1(other: tuple[int, ...]) -> None:
    found = outputs_matched((1, 10), other)
    assert found.outputs is None
    array = np.random.default_rng(0).normal(size=(3, 10))
    assert found.values(array) is array


def test_outputs_that_are_images() -> None:
    found = outputs_matched((1, 10, 8, 7), (1, 8, 7, 10))
    theirs = np.random.default_rng(0).normal(size=(2, 8, 7, 10))
    ours = found.values(theirs.reshape(2, -1)).reshape(2, 10, 8, 7)
    for c, y, x in itertools.product(range(10), range(8), range(7)):
        np.testing.assert_array_equal(ours[:, c, y, x], theirs[:, y, x, c])
    assert found.outputs is not None
    assert found.outputs.dtype == np.int64
    # What it is the other way round.
    back = outputs_matched((1, 8, 7, 10), (1, 10, 8, 7))
    np.testing.assert_array_equal(back.values(ours.reshape(2, -1)), theirs.reshape(2, -1))


def test_outputs_in_an_order_that_nothing_tells() -> None:
    for first, other in [((1, 10, 8, 8), (640,)), ((640,), (1, 10, 8, 8))]:
        with pytest.raises(InputError, match=r"the outputs 'y' of .* in an order that their shapes do not tell: say"):
            outputs_matched(first, other)
        assert outputs_matched(first, other, layouts=("chw", "chw")).outputs is None


def test_outputs_that_outputs_tell() -> None:
    matrix = np.random.default_rng(5).normal(size=(10 * 6, 8))
    first = Shaped((8,), (1, 10, 3, 2), function=lambda point: np.asarray(matrix @ point))
    turned = np.moveaxis(matrix.reshape(10, 3, 2, 8), 0, 2).reshape(60, 8)
    other = Shaped((8,), (60,), function=lambda point: np.asarray(turned @ point))
    found = match(first, other, probes=probes_for((8,)))  # type: ignore[arg-type]
    point = probes_for((8,))[:1]
    np.testing.assert_array_equal(found.values(other.evaluate(point[0])), first.evaluate(point[0]))
    assert found.outputs is not None


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (
            (1, 10),
            (1, 9),
            r"'y' of model 1 \(a.onnx\) is \(1, 10\), 10 numbers, 'y' of model 2 \(b.onnx\) \(1, 9\), 9 ",
        ),
        ((1, 4, 6), (1, 6, 4), r"the outputs do not correspond: .* hold as many numbers"),
        ((1, 5, 8, 9), (1, 5, 9, 8), r"the outputs do not correspond: .* --map FIRST=OTHER"),
    ],
)
def test_outputs_that_do_not_correspond(first: tuple[int, ...], other: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        outputs_matched(first, other)


# ---- pixels

IMAGENET = Pixels(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIGNED = Pixels(1 / 127.5, (1.0,), (1.0,))


def test_points_go_through_the_map_between_two_preprocessings() -> None:
    rng = np.random.default_rng(6)
    pixels = rng.integers(0, 256, (5, *IMAGE)).astype(np.float64)
    first = np.moveaxis(IMAGENET.apply(pixels, 3, "pixels"), 3, 1)[:, None]
    found = matched((1, 3, 4, 5), (4, 5, 3), pixels=(IMAGENET, SIGNED))
    np.testing.assert_allclose(found.points(first), SIGNED.apply(pixels, None, "pixels"), rtol=1e-14, atol=1e-14)
    back = matched((4, 5, 3), (1, 3, 4, 5), pixels=(SIGNED, IMAGENET))
    np.testing.assert_allclose(back.points(SIGNED.apply(pixels, None, "")), first, rtol=1e-14, atol=1e-14)
    assert found.told[2] == (
        "an input is (pixel * 0.00392157 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225] in model 1 and "
        "(pixel * 0.00784314 - [1]) / [1] in model 2: points go through the map between the two"
    )


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_pixels_of_flattened_images(layout: str) -> None:
    found = matched((3, 4, 5), (60,), layouts=(None, layout), pixels=(SIGNED, IMAGENET))
    pixels = np.random.default_rng(7).integers(0, 256, IMAGE)
    there = found.points(np.moveaxis(SIGNED.apply(pixels, None, ""), 2, 0)[None])[0]
    wanted = IMAGENET.apply(pixels, 2, "")
    for y, x, c in itertools.product(*map(range, IMAGE)):
        assert there[spot(layout, IMAGE, y, x, c)] == pytest.approx(wanted[y, x, c], rel=1e-14)


@RANDOM
@given(*[st.floats(0.01, 100.0)] * 6, st.floats(-10, 10))
def test_the_map_is_composed_exactly(
    scale: float, mean: float, std: float, other_scale: float, other_mean: float, other_std: float, x: float
) -> None:
    pair = Pixels(scale, (mean,), (std,)), Pixels(other_scale, (other_mean,), (other_std,))
    made = matched((2,), (2,), pixels=pair).points(np.array([[x, 0.0]]))[0]
    for number, got in zip((x, 0.0), made, strict=True):
        pixel = (Fraction(number) * Fraction(std) + Fraction(mean)) / Fraction(scale)
        wanted = (pixel * Fraction(other_scale) - Fraction(other_mean)) / Fraction(other_std)
        factor = abs(Fraction(std) * Fraction(other_scale) / Fraction(scale) / Fraction(other_std) * Fraction(number))
        # Three roundings: of the factor, of the product and of the sum, and one of the term.
        size = factor + abs(wanted) + abs(wanted - factor)
        assert abs(Fraction(got) - wanted) <= 4 * Fraction(2) ** -53 * (size + factor)


def test_equal_preprocessings_change_nothing() -> None:
    spread = Pixels(1 / 255, (0.5,) * 3, (0.25,) * 3)
    for pair in [(IMAGENET, IMAGENET), (spread, Pixels(1 / 255, (0.5,), (0.25,))), (Pixels(), Pixels())]:
        found = matched((1, 3, 4, 5), (1, 3, 4, 5), pixels=pair)
        assert (found.factor, found.term) == (None, None)
        assert len(found.told) == 2


def test_one_model_that_does_not_say_how_pixels_become_inputs() -> None:
    found = matched((1, 3, 4, 5), (1, 3, 4, 5), pixels=(IMAGENET, Pixels()))
    assert (found.factor, found.term) == (None, None)
    assert found.told[2] == "model 2 does not say how pixels become inputs: it gets the same numbers"
    found = matched((1, 3, 4, 5), (1, 3, 4, 5), pixels=(Pixels(mean=(1.0,)), IMAGENET), names=("a.onnx", "b.onnx"))
    assert (found.factor, found.term) == (None, None)
    assert found.told[2] == "a.onnx does not say how pixels become inputs: b.onnx gets the same numbers"


@pytest.mark.parametrize(
    ("first", "other", "pixels", "said"),
    [
        (
            (3, 3, 3),
            (3, 3, 3),
            (IMAGENET, SIGNED),
            "does not tell which axis holds the channels: say --layout 2=chw or",
        ),
        ((48,), (48,), (IMAGENET, SIGNED), "does not tell which axis holds the channels: say --layout 2=chw or"),
        ((1, 4, 4), (1, 4, 4), (IMAGENET, SIGNED), r"\(1, 4, 4\), has another number of channels"),
        ((64,), (64,), (IMAGENET, SIGNED), r"\(64,\), has another number of channels"),
        ((6,), (6,), (IMAGENET, Pixels(1.0, (1.0, 2.0), (1.0,))), r"hold 3 numbers for model 1 .* and 2 for model 2"),
    ],
)
def test_pixels_that_do_not_fit(
    first: tuple[int, ...], other: tuple[int, ...], pixels: tuple[Pixels, Pixels], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        matched(first, other, pixels=pixels)


def test_pixels_where_the_count_alone_tells_the_axis() -> None:
    two = Pixels(1.0, (1.0, 2.0), (1.0,))
    for shape in [(2, 4, 5), (4, 5, 2)]:
        found = matched(shape, shape, pixels=(two, Pixels(1.0)))
        channel = np.broadcast_to(np.arange(2).reshape(2, 1, 1) if shape[0] == 2 else np.arange(2), shape)
        np.testing.assert_array_equal(found.points(np.zeros((1, *shape)))[0], channel + 1.0)


def test_a_network_that_undoes_another_preprocessing(tmp_path: Path) -> None:
    factors, terms = (2.0, 4.0, 0.5), (1.0, -1.0, 3.0)
    first = load(dense(tmp_path / "a.onnx", (1, 3, 4, 5), "chw"), threads=1)
    other = load(dense(tmp_path / "b.onnx", (1, 4, 5, 3), "hwc", scaled=(factors, terms)), threads=1)
    # The other's input is the first's times the factors, plus the terms.
    said = (
        Pixels(1.0),
        Pixels(1.0, tuple(-t / f for f, t in zip(factors, terms, strict=True)), tuple(1 / f for f in factors)),
    )
    agree(first, other, match(first, other, pixels=said))
    # The outputs decide with pixels mapped.
    flat = load(dense(tmp_path / "c.onnx", (60,), "hwc", scaled=(factors, terms)), threads=1)
    agree(first, flat, match(first, flat, pixels=said, probes=probes_for(first.input_shape)))


# ---- loading


def pair_of_inputs(path: Path, names: tuple[str, str] = ("x", "c"), second: Sequence[int | str] = (1, 4)) -> str:
    """x c + relu(x), of which one input has to be fixed."""
    nodes = [
        helper.make_node("Mul", names, ["p"]),
        helper.make_node("Relu", [names[0]], ["r"]),
        helper.make_node("Add", ["p", "r"], ["y"]),
    ]
    return write(path, nodes, [(names[0], (1, 4)), (names[1], second)], ["y"], {})


def heads(path: Path, names: Sequence[str], inner: str = "r") -> str:
    """A network of several outputs: names[k] is k + 1 times the rectified input."""
    nodes = [helper.make_node("Relu", ["x"], [inner])]
    nodes += [helper.make_node("Mul", [inner, f"k{k}"], [name]) for k, name in enumerate(names)]
    constants = {f"k{k}": np.array(k + 1.0, np.float32) for k in range(len(names))}
    return write(path, nodes, [("x", (1, 4))], names, constants)


def convolution(path: Path, shape: Sequence[int | str] | None, layout: str) -> str:
    """A convolution, rectified and averaged, whose input leaves sizes open."""
    rng = np.random.default_rng(8)
    nodes = [
        helper.make_node("Conv", ["x" if layout == "chw" else "t", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    if layout == "hwc":
        nodes[:0] = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])]
    return write(path, nodes, [("x", shape)], ["y"], {"w": rng.normal(size=(5, 3, 3, 3)).astype(np.float32)})


def test_loaded_models_can_be_loaded_again(tmp_path: Path) -> None:
    fixed = np.arange(4.0)
    paths = [pair_of_inputs(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", ("n", 4), image=(2, 2, 1))]
    loaded = load_models(paths, fixed_inputs={"c": fixed}, shapes={"x": (1, 4)}, threads=1)
    assert [model.number for model in loaded] == [1, 2]
    assert [model.path for model in loaded] == paths
    assert [list(model.fixed_inputs) for model in loaded] == [["c"], []]
    assert [model.shapes for model in loaded] == [{"x": (1, 4)}] * 2
    for model in loaded:
        again = load(model.path, output=model.output, fixed_inputs=model.fixed_inputs, shapes=model.shapes, threads=1)
        point = np.ones(again.input_shape)
        np.testing.assert_array_equal(again.evaluate(point), model.network.evaluate(point))
    np.testing.assert_array_equal(loaded[0].network.evaluate(np.ones((1, 4))), fixed + 1)


def test_options_that_no_model_knows(tmp_path: Path) -> None:
    paths = [heads(tmp_path / "a.onnx", ["y"]), heads(tmp_path / "b.onnx", ["z"])]
    for options, said in [
        (
            {"fixed_inputs": {"c": np.ones(1)}},
            r"--input c: no model has an input of that name: .*a.onnx has x; .*b.onnx",
        ),
        ({"shapes": {"c": (1,)}}, "--shape c: no model has an input"),
        ({"outputs": {3: "y"}}, "--output: there is no model 3, models are numbered from 1 to 2"),
        ({"outputs": {2: "q"}}, r"b.onnx has neither a tensor nor a node of that name"),
        ({"maps": [(3, "y", "z")]}, "--map y=3:z: there is no model 3"),
        ({"maps": [(1, "y", "z")]}, "--map y=1:z: model 1 is the one"),
        (
            {"maps": [(None, "q", "z")]},
            r"--map q=...: .*a.onnx has no tensor of that name; its inputs are x, its outputs y",
        ),
        ({"maps": [(None, "y", "q")]}, r"--map y=q: .*b.onnx has no tensor of that name; its outputs are z"),
        ({"maps": [(None, "r", "z")], "outputs": {1: "y"}}, r"one output of .*a.onnx is analysed, but .* 2: y, r"),
        ({"maps": [(None, "y", "z")], "outputs": {2: "r"}}, r"one output of .*b.onnx is analysed, but .* 2: r, z"),
        (
            {"maps": [(None, "x", "z")]},
            "the input of .*b.onnx that varies is 'x', not 'z', which is no input; its inputs",
        ),
    ]:
        with pytest.raises(InputError, match=said):
            load_models(paths, **options, threads=1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give two models or more"):
        load_models(paths[:1])


def test_maps_of_inputs(tmp_path: Path) -> None:
    paths = [pair_of_inputs(tmp_path / "a.onnx"), pair_of_inputs(tmp_path / "b.onnx", ("u", "v"))]
    fixed = {"c": np.ones(4), "v": np.ones(4)}
    loaded = load_models(paths, fixed_inputs=fixed, maps=[(None, "x", "u")], threads=1)
    assert [model.network.input_name for model in loaded] == ["x", "u"]
    with pytest.raises(
        InputError, match=r"--map x=v: the input of .*b.onnx that varies is 'u', not 'v', which does not"
    ):
        load_models(paths, fixed_inputs=fixed, maps=[(2, "x", "v")], threads=1)
    with pytest.raises(
        InputError, match=r"--map c=u: the input of .*a.onnx that varies is 'x', .* its inputs are x, c,"
    ):
        load_models(paths, fixed_inputs=fixed, maps=[(2, "c", "u")], threads=1)


def test_which_output_is_compared(tmp_path: Path) -> None:
    a, b = heads(tmp_path / "a.onnx", ["y", "z"]), heads(tmp_path / "b.onnx", ["o", "y", "z"])
    c = heads(tmp_path / "c.onnx", ["o", "p"], inner="y")

    def compared(*paths: str, **options: Any) -> list[str]:
        return [model.network.output_name for model in load_models(paths, threads=1, **options)]

    assert compared(a, b) == ["y", "y"]
    assert compared(b, a) == ["o", "y"]
    assert compared(a, b, outputs={1: "z"}) == ["z", "z"]
    assert compared(a, b, outputs={2: "o"}) == ["y", "o"]
    assert compared(a, b, c, maps=[(2, "y", "z")]) == ["y", "z", "o"]
    assert compared(a, b, c, maps=[(None, "z", "o")]) == ["z", "o", "o"]
    # What is said of one model goes before what is said of all.
    assert compared(a, b, c, maps=[(None, "z", "o"), (3, "z", "p")]) == ["z", "o", "p"]
    # A tensor inside another network is something else, unless one inside is asked for.
    assert compared(a, c) == ["y", "o"]
    assert compared(a, b, outputs={1: "r"}) == ["r", "r"]
    told = load_models([a, b], threads=1)[1].told
    assert told == (f"its output 'y' is analysed, which has the name of that of {a}",)


@pytest.mark.parametrize(
    ("shape", "layout", "used"),
    [
        (("n", 3, "h", "w"), "chw", (1, 3, 6, 7)),
        (("n", "h", "w", 3), "hwc", (1, 6, 7, 3)),
        # Nothing but running it tells where the channels are.
        (("n", "a", "b", "c"), "chw", (1, 3, 6, 7)),
        (("n", "a", "b", "c"), "hwc", (1, 6, 7, 3)),
    ],
)
def test_open_sizes_are_those_of_the_first(
    tmp_path: Path, shape: Sequence[int | str], layout: str, used: tuple[int, ...]
) -> None:
    first = convolution(tmp_path / "a.onnx", (1, 3, 6, 7), "chw")
    other = convolution(tmp_path / "b.onnx", shape, layout)
    loaded = load_models([first, other], threads=1)
    assert loaded[1].shapes == {"x": used}
    assert loaded[1].network.input_shape == used
    sizes = "x".join(map(str, used))
    assert loaded[1].told == (f"the sizes that the input 'x' leaves open are those of {first}: {sizes}",)
    agree(loaded[0].network, loaded[1].network, match(loaded[0].network, loaded[1].network))


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    first = convolution(tmp_path / "a.onnx", (1, 3, 6, 7), "chw")
    loaded = load_models([first, convolution(tmp_path / "b.onnx", None, "chw")], threads=1)
    assert loaded[1].network.input_shape == (1, 3, 6, 7)


def test_open_sizes_of_a_flattened_input(tmp_path: Path) -> None:
    paths = [dense(tmp_path / "a.onnx", (1, 3, 4, 5)), dense(tmp_path / "b.onnx", ("n", "d"))]
    assert load_models(paths, threads=1)[1].network.input_shape == (1, 60)


def test_open_sizes_of_the_first(tmp_path: Path) -> None:
    paths = [convolution(tmp_path / f"{i}.onnx", ("n", 3, "h", "w"), "chw") for i in range(2)]
    loaded = load_models(paths, sample_shape=(3, 6, 7), threads=1)
    assert [model.network.input_shape for model in loaded] == [(1, 3, 6, 7)] * 2
    assert loaded[0].told == ("the sizes that the input 'x' leaves open are those of the points: 1x3x6x7",)
    # Samples of images have their channels last.
    assert load_models(paths, sample_shape=(6, 7, 3), threads=1)[0].shapes == {"x": (1, 3, 6, 7)}
    with pytest.raises(InputError, match="free dimensions h, w besides the batch") as caught:
        load_models(paths, threads=1)
    assert caught.value.open_input is not None
    with pytest.raises(InputError, match=r"besides the batch.*; \(4, 6, 7\), the shape of the points, does not fit it"):
        load_models(paths, sample_shape=(4, 6, 7), threads=1)
    with pytest.raises(InputError, match="besides the batch"):
        load_models(paths, sample_shape=(2, 3, 6, 7), threads=1)
    # Too small for the convolution in any order.
    with pytest.raises(ModelError, match=r"0\.onnx"):
        load_models(paths, sample_shape=(3, 1, 1), threads=1)
    # What is told is why the most natural one does not work.
    everything = [convolution(tmp_path / f"open{i}.onnx", ("n", "a", "b", "c"), "chw") for i in range(2)]
    with pytest.raises(ModelError, match="Invalid input shape"):
        load_models(everything, sample_shape=(3, 1, 1), threads=1)


def test_open_sizes_of_an_input_that_is_fixed(tmp_path: Path) -> None:
    # It has nothing to do with the points.
    paths = [heads(tmp_path / "a.onnx", ["y"]), pair_of_inputs(tmp_path / "b.onnx", second=(1, "k"))]
    with pytest.raises(InputError, match=r"the input 'c' of .* has free dimensions k"):
        load_models(paths, fixed_inputs={"c": np.ones(4)}, threads=1)
    loaded = load_models(paths, fixed_inputs={"c": np.ones(4)}, shapes={"c": (1, 4)}, threads=1)
    assert [model.shapes for model in loaded] == [{}, {"c": (1, 4)}]


def test_shapes_that_are_given_go_first(tmp_path: Path) -> None:
    paths = [
        convolution(tmp_path / "0.onnx", (1, 3, 6, 7), "chw"),
        convolution(tmp_path / "1.onnx", ("n", 3, "h", "w"), "chw"),
    ]
    loaded = load_models(paths, shapes={"x": (1, 3, 6, 7)}, threads=1)
    assert loaded[1].told == ()


# ---- models that are refused


def smooth(path: Path) -> str:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    return write(path, nodes, [("x", (1, 4))], ["y"], {})


def test_a_refused_model_is_named(tmp_path: Path) -> None:
    good, bad = heads(tmp_path / "good.onnx", ["y"]), smooth(tmp_path / "bad.onnx")
    with pytest.raises(
        NotPiecewiseAffineError, match=r"the network \S*bad.onnx is not piecewise affine: 1 node"
    ) as caught:
        load_models([good, bad], threads=1)
    assert [refusal.op_type for refusal in caught.value.refusals] == ["Sigmoid"]
    assert caught.value.exit_code == 3
    assert "--output" in str(caught.value)
    assert "quantized" not in str(caught.value)
    with pytest.raises(NotPiecewiseAffineError, match=r"bad\.onnx"):
        load_models([bad, good], threads=1)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = heads(tmp_path / "good.onnx", ["y"])
    (tmp_path / "text.onnx").write_text("text")
    for bad, kind in [("text.onnx", ModelError), ("missing.onnx", InputError)]:
        with pytest.raises(kind, match=bad):
            load_models([good, tmp_path / bad], threads=1)
    # Most messages name the file, and all have to.
    with pytest.raises(InputError, match=r"good.onnx: the input 'x' has 2 dimensions"):
        load_models([good, good], shapes={"x": (1, 2, 2)}, threads=1)


def test_a_quantized_model_is_told_to_be_a_staircase(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    caplog.set_level(logging.ERROR)
    path = dense(tmp_path / "float.onnx", (1, 60))
    quantization.quantize_dynamic(path, tmp_path / "quantized.onnx")
    with pytest.raises(NotPiecewiseAffineError, match=r"quantized.onnx is not piecewise affine") as caught:
        load_models([path, tmp_path / "quantized.onnx"], threads=1)
    assert "is a staircase, piecewise constant in its input" in str(caught.value)
    assert "the float model that it was made from can be compared" in str(caught.value)
    assert caught.value.exit_code == 3


# ---- options


def test_options_per_model() -> None:
    models = ["a.onnx", "b=2.onnx", "c.onnx"]

    def read(*given: str) -> list[str | None]:
        return per_model(given, models, "--scale")

    assert read() == [None, None, None]
    assert read("1/255") == ["1/255"] * 3
    assert read("2=1", "1/255") == ["1/255", "1", "1/255"]
    assert read("1/255", "b=2.onnx=1") == ["1/255", "1", "1/255"]
    assert read("c.onnx=x=y") == [None, None, "x=y"]
    assert per_model(["b=2=1"], ["b", "b=2"], "--scale") == [None, "1"]
    # What is no model is part of the value.
    assert read("d.onnx=1") == ["d.onnx=1"] * 3
    assert read("dense/BiasAdd:0") == ["dense/BiasAdd:0"] * 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["2=1", "2=2"], r"--scale is given twice for model 2 \(b.onnx\): 1 and 2"),
        (["2=1", "b.onnx=2"], "--scale is given twice for model 2"),
        (["1", "2"], "--scale is given twice for all models: 1 and 2"),
        (["4=1"], "--scale 4=1: there is no model 4, models are numbered from 1 to 3"),
        (["0=1"], "there is no model 0"),
        (["2="], "--scale 2=: there is no value"),
        ([""], "there is no value"),
        (["a.onnx=1"], "several models are a.onnx; give a number"),
    ],
)
def test_options_per_model_that_are_wrong(values: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        per_model(values, ["a.onnx", "b.onnx", "a.onnx"], "--scale")


def test_maps() -> None:
    assert parse_map("x=input_1") == (None, "x", "input_1")
    assert parse_map("x=2:input_1") == (2, "x", "input_1")
    assert parse_map("Identity:0=2:dense:0") == (2, "Identity:0", "dense:0")
    assert parse_map("y=dense:0") == (None, "y", "dense:0")
    assert parse_map("y=b.onnx:dense:0", ["a.onnx", "b.onnx"]) == (2, "y", "dense:0")
    for text in ("x", "x=", "=y", "x=2:", ""):
        with pytest.raises(InputError, match="give FIRST=OTHER, or FIRST=K:OTHER"):
            parse_map(text)
    with pytest.raises(InputError, match="several models are a; give a number"):
        parse_map("y=a:b", ["a", "a"])


# ---- real networks

EXPORTED = Path(__file__).parent / "interoperability"


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_the_same_weights_in_several_frameworks(family: str) -> None:
    paths = sorted(EXPORTED.glob(f"{family}_*.onnx"))
    assert len(paths) > 3
    loaded = [model.network for model in load_models(paths, threads=1)]
    for first in loaded:
        probes = probes_for(first.input_shape)
        for other in loaded:
            agree(first, other, match(first, other, probes=probes))


ALIKE = [
    ("torch_legacy/mlp.onnx", "torch_dynamo/mlp.onnx"),
    ("torch_legacy/mlp_f64.onnx", "torch_legacy/mlp_f64.onnx"),
    ("torch_legacy/lenet_maxpool.onnx", "torch_dynamo/lenet_maxpool.onnx"),
    ("torch_legacy/lenet_maxpool.onnx", "torch_legacy/lenet_maxpool_b1_raw.onnx"),
    ("torch_legacy/resnet_bn.onnx", "torch_dynamo/resnet_bn.onnx"),
    ("torch_dynamo/shapes.onnx", "torch_legacy/shapes.onnx"),
    ("torch_dynamo_variants/mlp_unopt_extdata.onnx", "torch_dynamo_variants/mlp_opset13.onnx"),
    ("marabou_nets/cifar_base_kw.onnx", "marabou_nets/cifar_base_kw_simp.onnx"),
    ("dnnv_tests/mnist_relu_3_50.onnx", "dnnv_ERAN-MNIST/mnist_relu_3_50.onnx"),
    ("marabou_nets/cifar_base_kw.onnx", "vnncomp2021_oval21/cifar_base_kw.onnx"),
]


@pytest.mark.skipif(not PRESENT, reason="the public networks are not here, or this is a CI run")
@pytest.mark.parametrize(("one", "two"), ALIKE)
def test_two_exports_of_one_network(one: str, two: str) -> None:
    first, other = load_models([SHARED / "models" / one, SHARED / "models" / two], threads=1)
    probes = probes_for(first.network.input_shape)
    agree(first.network, other.network, match(first.network, other.network, probes=probes))


@pytest.mark.skipif(not PRESENT, reason="the public networks are not here, or this is a CI run")
def test_networks_of_two_frameworks() -> None:
    first, other = load_models(
        [SHARED / "models" / name for name in ("torch_legacy/lenet_maxpool.onnx", "keras/cnn_maxpool_bn.onnx")]
    )
    found = match(first.network, other.network)
    assert order_of(found) == same_image(("chw", "hwc"), (32, 32, 3)).tolist()


@pytest.mark.skipif(not PRESENT, reason="the public networks are not here, or this is a CI run")
def test_a_statically_quantized_network() -> None:
    names = "torch_legacy/lenet_maxpool.onnx", "ort_variants/REJ_lenet_qdq_static.onnx"
    with pytest.raises(NotPiecewiseAffineError, match="is a staircase") as caught:
        load_models([SHARED / "models" / name for name in names], threads=1)
    assert "REJ_lenet_qdq_static.onnx is not piecewise affine" in str(caught.value)
