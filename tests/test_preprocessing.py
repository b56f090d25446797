"""Samples become inputs as a loop over single pixels has it, translating commutes with it, and misfits are refused."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from lronnx.errors import InputError
from lronnx.inputs import Pixels
from lronnx.paths import translate
from lronnx.preprocessing import Preprocessing

RANDOM = settings(derandomize=True, database=None, deadline=None, max_examples=100)
RNG = np.random.default_rng(0)
SCALED = Pixels(scale=1 / 255, mean=(0.5, 0.25, 0.125), std=(0.5, 0.75, 2.0), asked=True)
GREY = Pixels(scale=0.5, mean=(3.0,), std=(0.25,), asked=True)


def spot(layout: str, shape: tuple[int, int, int], y: int, x: int, channel: int) -> int:
    """Where an input of this layout, flattened, keeps one pixel of an image of (H, W, C)."""
    height, width, channels = shape
    if layout == "CHW":
        return (channel * height + y) * width + x
    return (y * width + x) * channels + channel


def every(shape: tuple[int, int, int]) -> Any:
    return itertools.product(*map(range, shape))


# (the network's input, its layout, --layout, the data's axes, axes of a sample, whether pixels are uint8)
ARRANGEMENTS = [
    ("(1, C, H, W)", "CHW", None, "HWC", "HWC"),
    ("(C, H, W)", "CHW", "chw", "HWC", "HWC"),
    ("(1, H, W, C)", "HWC", None, "HWC", "HWC"),
    ("(1, H, W, C)", "HWC", "hwc", "HWC", "HWC"),
    ("(1, C * H * W)", "CHW", "chw", "HWC", "HWC"),
    ("(C * H * W,)", "HWC", "hwc", "HWC", "HWC"),
    ("(1, C * H * W, 1)", "CHW", "chw", "HWC", "HWC"),
    ("(1, C, H, W)", "CHW", None, "", "CHW"),
    ("(1, C, H, W)", "CHW", None, "", "HWC"),
    ("(1, H, W, C)", "HWC", None, "", "HWC"),
    ("(H, W, C)", "HWC", None, "", "CHW"),
    ("(1, C * H * W)", "CHW", "chw", "", "CHW"),
    ("(1, C * H * W)", "HWC", "hwc", "", "CHW"),
]
GREY_ARRANGEMENTS = [
    (shape, axes, sample)
    for shape in ("(1, 1, H, W)", "(1, H, W)", "(H, W)", "(1, H, W, 1)", "(H * W,)", "(1, H * W)", "(1, H * W, 1)")
    for axes, sample in (("HW", "HW"), ("", "HW"), ("HWC", "HWC"), ("", "CHW"))
]


def sample_of(image: NDArray[Any], axes: str) -> NDArray[Any]:
    """An image of (H, W, C) as a sample whose axes are these."""
    return {"HWC": image, "HW": image[:, :, 0], "CHW": np.ascontiguousarray(np.moveaxis(image, -1, 0))}[axes]


def sized(text: str, shape: tuple[int, int, int]) -> tuple[int, ...]:
    return eval(text, dict(zip("HWC", shape, strict=True)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(("text", "layout", "wanted", "axes", "sample_axes"), ARRANGEMENTS)
def test_colour_images(
    text: str, layout: str, wanted: str | None, axes: str, sample_axes: str, kind: type[np.generic]
) -> None:
    shape = (4, 5, 3)
    image = RNG.integers(0, 256, shape).astype(kind)
    pixels = SCALED if kind is np.uint8 else Pixels()
    sample = sample_of(image, sample_axes)
    prepare = Preprocessing.choose(pixels, sized(text, shape), sample, axes, wanted)
    assert (prepare.layout, prepare.sample_axes, prepare.image_shape) == (layout, sample_axes, shape)
    back = prepare.image(sample)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, image)
    got = prepare(sample)
    assert got.shape == sized(text, shape)
    assert got.dtype == np.float64
    for y, x, c in every(shape):
        p = float(image[y, x, c])
        expected = (p * (1 / 255) - SCALED.mean[c]) / SCALED.std[c] if kind is np.uint8 else p
        assert got.ravel()[spot(layout, shape, y, x, c)] == expected
    np.testing.assert_array_equal(prepare.from_image(image), got)


@pytest.mark.parametrize("wanted", [None, "chw"])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
@pytest.mark.parametrize(("text", "axes", "sample_axes"), GREY_ARRANGEMENTS)
def test_grey_images(text: str, axes: str, sample_axes: str, kind: type[np.generic], wanted: str | None) -> None:
    shape = (4, 5, 1)
    if wanted is not None and text == "(1, H, W, 1)":
        wanted = "hwc"
    image = RNG.integers(0, 256, shape).astype(kind)
    sample = sample_of(image, sample_axes)
    pixels = GREY if kind is np.uint8 else Pixels()
    prepare = Preprocessing.choose(pixels, sized(text, shape), sample, axes, wanted)
    assert prepare.layout == ("HWC" if text == "(1, H, W, 1)" else "HW")
    np.testing.assert_array_equal(prepare.image(sample), image)
    expected = (image * 0.5 - 3.0) / 0.25 if kind is np.uint8 else image
    np.testing.assert_array_equal(prepare(sample), expected.reshape(sized(text, shape)))
    np.testing.assert_array_equal(prepare.from_image(image[:, :, 0]), prepare(sample))


@RANDOM
@given(st.data())
def test_translating_commutes_with_preprocessing(data: st.DataObject) -> None:
    # No size is 1 or 3: of (3, 4, 3) and the like the shape does not tell the layout.
    sizes = st.integers(4, 7)
    colour = data.draw(st.booleans())
    shape = (data.draw(sizes), data.draw(sizes), 3 if colour else 1)
    kind = data.draw(st.sampled_from([np.uint8, np.float32, np.float64]))
    image = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, shape).astype(kind)
    pixels = (SCALED if colour else GREY) if kind is np.uint8 else Pixels()
    if colour:
        text, _, wanted, axes, sample_axes = data.draw(st.sampled_from(ARRANGEMENTS))
    else:
        text, axes, sample_axes = data.draw(st.sampled_from(GREY_ARRANGEMENTS))
        wanted = None
    prepare = Preprocessing.choose(pixels, sized(text, shape), sample_of(image, sample_axes), axes, wanted)
    down, right = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    moved = prepare.from_image(translate(prepare.image(sample_of(image, sample_axes)), down, right)).ravel()
    still = prepare(sample_of(image, sample_axes)).ravel()
    for y, x, c in every(shape):
        source = min(max(y - down, 0), shape[0] - 1), min(max(x - right, 0), shape[1] - 1)
        assert moved[spot(prepare.layout, shape, y, x, c)] == still[spot(prepare.layout, shape, *source, c)]


def test_real_numbers_between_pixels_go_through_the_same_map() -> None:
    sample = RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    prepare = Preprocessing.choose(SCALED, (1, 3, 4, 5), sample, "HWC", None)
    between = RNG.uniform(-20.0, 300.0, (4, 5, 3))
    expected = np.moveaxis((between / 255 - np.array(SCALED.mean)) / np.array(SCALED.std), -1, 0)[None]
    np.testing.assert_allclose(prepare.from_image(between), expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(prepare.from_image(sample.astype(np.float64)), prepare(sample))


def test_an_image_is_a_view() -> None:
    sample = RNG.random((3, 4, 5))
    prepare = Preprocessing.choose(Pixels(), (1, 3, 4, 5), sample, "", None)
    assert np.shares_memory(prepare.image(sample), sample)


def test_a_narrow_image_keeps_its_axes() -> None:
    # Without its axes of size 1 in front, (1, 1, 5, 3) looks like a grey image.
    sample = RNG.random((1, 5, 3))
    prepare = Preprocessing.choose(Pixels(), (1, 1, 5, 3), sample, "HWC", None)
    assert (prepare.layout, prepare.image_shape) == ("HWC", (1, 5, 3))
    prepare = Preprocessing.choose(Pixels(), (1, 3, 1, 5), sample, "HWC", None)
    assert (prepare.layout, prepare.image_shape) == ("CHW", (1, 5, 3))
    np.testing.assert_array_equal(prepare(sample)[0, :, 0, :], sample[0].T)


def test_layout_decides_where_the_shape_does_not() -> None:
    sample = RNG.random((3, 5, 3))
    unclear = Preprocessing.choose(Pixels(), (1, 3, 5, 3), sample, "", None)
    np.testing.assert_array_equal(unclear(sample), sample[None])
    with pytest.raises(InputError, match=r"\(3, 5, 3\).*not clear which axis.*--layout chw"):
        unclear.image(sample)
    with pytest.raises(InputError, match="not clear which axis"):
        unclear.from_image(sample)
    first = Preprocessing.choose(Pixels(), (1, 3, 5, 3), sample, "", "chw")
    assert first.image_shape == (5, 3, 3)
    np.testing.assert_array_equal(first.image(sample)[:, :, 1], sample[1])
    last = Preprocessing.choose(Pixels(), (1, 3, 5, 3), sample, "", "hwc")
    assert last.image_shape == (3, 5, 3)
    np.testing.assert_array_equal(last.image(sample), sample)
    for prepare in (first, last):
        np.testing.assert_array_equal(prepare(sample), sample[None])
    # Images say it themselves unless all three sizes are the same.
    assert Preprocessing.choose(Pixels(), (1, 3, 5, 3), sample, "HWC", None).layout == "HWC"
    cube = RNG.random((3, 3, 3))
    with pytest.raises(InputError, match="in an order that its shape does not tell: say --layout"):
        Preprocessing.choose(Pixels(), (1, 3, 3, 3), cube, "HWC", None)
    np.testing.assert_array_equal(
        Preprocessing.choose(Pixels(), (1, 3, 3, 3), cube, "HWC", "chw")(cube)[0], np.moveaxis(cube, -1, 0)
    )


def test_channels_of_any_number_if_the_user_says_so() -> None:
    sample = RNG.random((4, 5, 6))
    with pytest.raises(InputError, match="not clear"):
        Preprocessing.choose(Pixels(), (1, 4, 5, 6), sample, "", None).image(sample)
    assert Preprocessing.choose(Pixels(), (1, 4, 5, 6), sample, "", "chw").image_shape == (5, 6, 4)
    assert Preprocessing.choose(Pixels(), (1, 4, 5, 6), sample, "HWC", None).layout == "HWC"
    assert Preprocessing.choose(Pixels(), (1, 6, 4, 5), sample, "HWC", None).layout == "CHW"


def test_samples_that_are_no_images() -> None:
    for shape, given_shape in [((1, 7), (7,)), ((7,), (1, 7)), ((1,), ()), ((1, 2, 2, 2, 2), (2, 2, 2, 2))]:
        sample = RNG.random(given_shape)
        prepare = Preprocessing.choose(Pixels(), shape, sample, "", None)
        assert prepare.layout == ""
        np.testing.assert_array_equal(prepare(sample), sample.reshape(shape))
        with pytest.raises(InputError, match="no images"):
            prepare.image(sample)
        with pytest.raises(InputError, match=r"--layout hwc .*no images: leave it out"):
            Preprocessing.choose(Pixels(), shape, sample, "", "hwc")


def test_flat_pixels() -> None:
    sample = np.arange(7, dtype=np.uint8)
    np.testing.assert_array_equal(
        Preprocessing.choose(GREY, (1, 7), sample, "", None)(sample), [(sample * 0.5 - 3.0) / 0.25]
    )
    with pytest.raises(InputError, match="hold 3 numbers"):
        Preprocessing.choose(SCALED, (1, 7), sample, "", None)
    # Per channel, but which axis is that?
    with pytest.raises(InputError, match="--layout chw or --layout hwc"):
        Preprocessing.choose(SCALED, (1, 3, 5, 3), np.zeros((3, 5, 3), np.uint8), "", None)


def test_identity() -> None:
    prepare = Preprocessing.identity((1, 2, 3, 4, 5))
    point = RNG.random((1, 2, 3, 4, 5))
    np.testing.assert_array_equal(prepare(point), point)
    with pytest.raises(InputError, match="--scale"):
        Preprocessing.identity((1, 2), GREY)


@pytest.mark.parametrize(
    ("shape", "sample", "axes", "layout", "message"),
    [
        ((1, 1, 32, 32), (28, 28), "HW", None, r"28 x 28 pixels \(width x height\).* takes 32 x 32; .*does not resize"),
        ((1, 3, 8, 6), (6, 8, 3), "HWC", None, r"8 x 6 pixels.*takes 6 x 8; "),
        ((1, 3, 8, 8), (8, 8), "HW", None, "a grey image.*takes 3 channels"),
        ((1, 1, 8, 8), (8, 8, 3), "HWC", None, "a colour image.*takes grey ones"),
        ((1, 8, 8, 1), (8, 8, 3), "HWC", None, "a colour image.*takes grey ones"),
        ((1, 1, 8, 8), (9, 9, 3), "HWC", None, "takes 8 x 8 with 1 channel"),
        ((1, 192), (8, 8, 3), "HWC", None, "an order that its shape does not tell.*--layout chw.*--layout hwc"),
        ((1, 192), (3, 8, 8), "", None, "an order that its shape does not tell"),
        ((1, 100), (8, 8, 3), "HWC", "chw", "takes 100 numbers, and the image has 192"),
        ((1, 3, 8, 8), (8, 8, 3), "HWC", "hwc", "--layout hwc does not fit.*3 channels as chw only"),
        ((1, 8, 8, 1), (8, 8), "HW", "chw", "--layout chw does not fit.*1 channel as hwc only"),
        ((1, 2, 2, 2, 2), (8, 8, 3), "HWC", None, "takes none of that shape"),
        ((1, 3, 8, 8), (8, 8, 3), "HWC", "nchw", "--layout is 'nchw': give chw"),
        ((1, 1, 8, 8), (64,), "", None, r"has shape \(64,\), the network's input takes \(1, 1, 8, 8\).*a reshape"),
        ((1, 4, 5, 6), (5, 6, 4), "", None, "axes seem to be in another order"),
        ((1, 3, 8, 8), (8, 8), "HWC", None, "which is not HWC"),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_what_does_not_fit_is_refused(
    shape: tuple[int, ...], sample: tuple[int, ...], axes: str, layout: str | None, message: str, kind: Any
) -> None:
    pixels = Pixels(scale=1.0) if kind is np.uint8 else Pixels()
    with pytest.raises(InputError, match=message):
        Preprocessing.choose(pixels, shape, np.zeros(sample, kind), axes, layout)


def test_numbers_of_another_kind_are_refused() -> None:
    shape, pixels, floats = (1, 3, 4, 5), np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 3))
    with pytest.raises(InputError, match=r"nothing says how.*--scale"):
        Preprocessing.choose(Pixels(), shape, pixels, "HWC", None)
    with pytest.raises(InputError, match=r"--scale.*data hold float64 numbers"):
        Preprocessing.choose(SCALED, shape, floats, "HWC", None)
    with pytest.raises(InputError, match="holds int64 numbers"):
        Preprocessing.choose(Pixels(), shape, floats.astype(np.int64), "HWC", None)
    with pytest.raises(InputError, match=r"hold 2 numbers.*3 channels"):
        Preprocessing.choose(Pixels(scale=1.0, mean=(1.0, 2.0)), shape, pixels, "HWC", None)
    # What the model records of pixels is none of the business of floats.
    recorded = Pixels(scale=2.0, mean=(1.0,))
    np.testing.assert_array_equal(Preprocessing.choose(recorded, shape, floats, "HWC", None)(floats), np.zeros(shape))


def test_samples_unlike_the_first_are_refused() -> None:
    prepare = Preprocessing.choose(SCALED, (1, 3, 4, 5), np.zeros((4, 5, 3), np.uint8), "HWC", None)
    for method in (prepare, prepare.image):
        with pytest.raises(InputError, match=r"shape \(5, 4, 3\), but others have \(4, 5, 3\).*does not resize"):
            method(np.zeros((5, 4, 3), np.uint8))
        with pytest.raises(InputError, match="holds float64 numbers, but others hold uint8 pixels"):
            method(np.zeros((4, 5, 3)))
    with pytest.raises(InputError, match=r"shape \(4, 5\)"):
        prepare.from_image(np.zeros((4, 5)))
    with pytest.raises(InputError, match=r"shape \(\)"):
        prepare.from_image(1.0)
    bad = np.zeros((4, 5, 3))
    bad[1, 2, 0] = np.nan
    with pytest.raises(InputError, match=r"nan at position \(1, 2, 0\)"):
        prepare.from_image(bad)
    floats = Preprocessing.choose(Pixels(), (1, 3, 4, 5), np.zeros((4, 5, 3)), "HWC", None)
    with pytest.raises(InputError, match="nan at position"):
        floats(bad)
    with pytest.raises(InputError, match="holds uint8 numbers, but others hold floating-point"):
        floats(np.zeros((4, 5, 3), np.uint8))


def test_it_says_what_it_does() -> None:
    prepare = Preprocessing.choose(GREY, (1, 20), np.zeros((4, 5), np.uint8), "HW", None)
    assert str(prepare) == "samples (4, 5) (HW) -> input (1, 20) (HW), (pixel * 0.5 - [3]) / [0.25]"
    assert str(Preprocessing.identity((1, 7))) == "samples (1, 7) -> input (1, 7), floats as they are"
