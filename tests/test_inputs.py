"""Reading points: what fits is taken exactly as it is, everything else is refused with a message that says why."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lronnx import inputs
from lronnx.errors import InputError
from lronnx.inputs import Pixels, as_points, read_points

CIFAR = (1, 3, 4, 5)
RNG = np.random.default_rng(0)
A, B = RNG.standard_normal(CIFAR), RNG.standard_normal(CIFAR)


def save(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


def savez(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def refused(*parts: str, **arguments: Any) -> None:
    """Assert that reading raises InputError and that its message has all these parts."""
    arguments.setdefault("shape", CIFAR)
    with pytest.raises(InputError) as caught:
        read_points(arguments.pop("shape"), **arguments)
    for part in parts:
        assert part in str(caught.value)


# --- files ----------------------------------------------------------------------------------------------------


def test_npy_start_and_end(tmp_path: Path) -> None:
    points = read_points(CIFAR, start=save(tmp_path / "a.npy", A), end=save(tmp_path / "b.npy", B))
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [A, B])


def test_npz_keys(tmp_path: Path) -> None:
    spec = savez(tmp_path / "a.npz", start=A, end=B, other=A + 1)
    np.testing.assert_array_equal(read_points(CIFAR, start=spec, end=spec), [A, B])
    np.testing.assert_array_equal(read_points(CIFAR, points=spec), [A, B])
    np.testing.assert_array_equal(read_points(CIFAR, start=f"{spec}:other", end=f"{spec}:start"), [A + 1, A])


def test_npz_points(tmp_path: Path) -> None:
    stacked = np.stack([A, B, A + 1])
    spec = savez(tmp_path / "p.npz", points=stacked, start=A, end=B, more=stacked[:, 0])
    np.testing.assert_array_equal(read_points(CIFAR, points=spec), stacked)
    np.testing.assert_array_equal(read_points(CIFAR, points=f"{spec}:more"), stacked)
    np.testing.assert_array_equal(read_points(CIFAR, points=save(tmp_path / "p.npy", stacked)), stacked)


def test_a_file_whose_name_looks_like_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "odd.npz:x"
    folder.mkdir()
    spec = save(folder / "a.npz:start.npy", A)
    np.testing.assert_array_equal(read_points(CIFAR, start=spec, end=save(tmp_path / "b.npy", B))[0], A)


@pytest.mark.parametrize("kind", ["float16", "float32", ">f4", ">f8", "float64", "longdouble"])
def test_floating_point_arrays_are_taken_exactly(tmp_path: Path, kind: str) -> None:
    start = A.astype(kind)
    points = read_points(CIFAR, start=save(tmp_path / "a.npy", start), end=save(tmp_path / "b.npy", B))
    np.testing.assert_array_equal(points[0], start)


def test_fortran_order(tmp_path: Path) -> None:
    spec = save(tmp_path / "a.npy", np.asfortranarray(A))
    np.testing.assert_array_equal(read_points(CIFAR, start=spec, end=save(tmp_path / "b.npy", B))[0], A)


def test_missing_key_lists_those_there_are(tmp_path: Path) -> None:
    spec = savez(tmp_path / "a.npz", x=A, y=B)
    refused("no array 'start'", "'x', 'y'", "a.npz:KEY", start=spec, end=spec)
    refused("no array 'points'", points=spec)
    refused("no array 'nope'", start=f"{spec}:nope", end=spec)


def test_missing_files(tmp_path: Path) -> None:
    refused("no file", "gone.npy", start=str(tmp_path / "gone.npy"), end=str(tmp_path / "gone.npy"))
    refused("no file", "gone.npz", points=str(tmp_path / "gone.npz:points"))
    refused("is not a file", points=str(tmp_path))


class Trap:
    """Unpickling this would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("form", ["object array", "bare pickle", "npz"])
def test_pickles_are_never_loaded(tmp_path: Path, form: str) -> None:
    mark, spec = tmp_path / "mark", tmp_path / ("a.npz" if form == "npz" else "a.npy")
    trap = np.array([Trap(mark)], dtype=object)
    if form == "bare pickle":
        spec.write_bytes(pickle.dumps(Trap(mark)))
    elif form == "npz":
        np.savez(spec, start=trap, end=trap)
    else:
        np.save(spec, trap, allow_pickle=True)
    refused("pickled", "never loads", start=str(spec), end=str(spec))
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff garbage", b"hello", bytes(range(256))]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
def test_damaged_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    spec = tmp_path / f"a{suffix}"
    spec.write_bytes(content)
    refused(spec.name, start=str(spec), end=str(spec))


def test_truncated_files(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "a.npy", A)).read_bytes()
    for length in (4, 8, 40, 200, len(whole) - 1):
        (tmp_path / "cut.npy").write_bytes(whole[:length])
        refused("cut.npy", start=str(tmp_path / "cut.npy"), end=str(tmp_path / "cut.npy"))
    whole = Path(savez(tmp_path / "a.npz", start=A, end=B)).read_bytes()
    for length in (4, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        refused("cut.npz", points=str(tmp_path / "cut.npz"))


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("start.npy", b"not an array")
        archive.writestr("readme.txt", b"hello")
    refused("a.npz:start", start=str(tmp_path / "a.npz"), end=str(tmp_path / "a.npz"))


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2,3")
    refused(".npy", ".npz", "a.csv", start=str(tmp_path / "a.csv"), end=str(tmp_path / "a.csv"))


# --- shapes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "given"),
    [
        ((1, 3, 4, 5), (3, 4, 5)),
        ((1, 3, 4, 5), (1, 1, 3, 4, 5)),
        ((1, 1, 1, 5), (5,)),
        ((5,), (1, 5)),
        ((1, 1, 4, 4), (4, 4)),
        ((1, 4, 4, 1), (4, 4, 1)),
        ((1, 784, 1), (784, 1)),
        ((1,), ()),
    ],
)
def test_axes_of_size_one_in_front(sample: tuple[int, ...], given: tuple[int, ...]) -> None:
    a, b = np.zeros(given), np.ones(given)
    points = as_points([a, b], sample)
    assert points.shape == (2, *sample)
    assert as_points(np.stack([a, b, a]), sample).shape == (3, *sample)


@pytest.mark.parametrize(
    ("sample", "given", "hint"),
    [
        ((1, 3, 4, 5), (4, 5, 3), "another order"),
        ((1, 3, 4, 5), (2, 3, 4, 5), "2 samples"),
        ((1, 3, 4, 5), (60,), "reshape"),
        ((1, 3, 4, 5), (3, 4, 6), "(3, 4, 6)"),
        ((1, 4, 4, 1), (4, 4), "reshape"),
        ((5,), (5, 1), "(5, 1)"),
    ],
)
def test_wrong_shapes_say_what_was_expected(sample: tuple[int, ...], given: tuple[int, ...], hint: str) -> None:
    with pytest.raises(InputError) as caught:
        as_points([np.zeros(given), np.ones(given)], sample)
    for part in ("point 0", str(given), str(sample), hint):
        assert part in str(caught.value)


def test_points_are_at_least_two(tmp_path: Path) -> None:
    refused("at least two", points=save(tmp_path / "a.npy", A))
    refused("at least two", points=save(tmp_path / "a.npy", np.float64(3)))
    with pytest.raises(InputError, match="at least two"):
        as_points([A], CIFAR)


def test_ragged_points() -> None:
    with pytest.raises(InputError, match="point 1"):
        as_points([A, [[1.0, 2.0], [3.0]]], CIFAR)


# --- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int64", "int8", "uint16", "bool", "complex128", "U3", "S4", "M8[s]", "object"])
def test_other_kinds_of_numbers_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match="floating-point"):
        as_points([np.zeros(CIFAR).astype(kind), B], CIFAR)


def test_integers_in_a_file(tmp_path: Path) -> None:
    integers = save(tmp_path / "a.npy", np.zeros(CIFAR, dtype=np.int64))
    refused("int64", "astype", start=integers, end=integers)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_number_is_finite(tmp_path: Path, bad: float) -> None:
    start = A.copy()
    start[0, 1, 2, 3] = bad
    refused(str(bad), "(0, 1, 2, 3)", start=save(tmp_path / "a.npy", start), end=save(tmp_path / "b.npy", B))
    start[0, 2] = bad
    refused("20 more", start=save(tmp_path / "b.npy", B), end=save(tmp_path / "a.npy", start))


def test_numbers_beyond_float64() -> None:
    if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    with pytest.raises(InputError, match="exactly"):
        as_points([A, B + np.longdouble(1) / 3], CIFAR)


def test_a_segment_needs_a_direction() -> None:
    with pytest.raises(InputError, match=r"segment 1 \(from point 1 to point 2\) has no direction"):
        as_points([A, B, B], CIFAR)
    assert as_points([A, B, A], CIFAR).shape == (3, *CIFAR)
    with pytest.raises(InputError, match=r"segment 2 \(from point 2 to point 0\)"):
        as_points([A, B, A], CIFAR, closed=True)
    with pytest.raises(InputError, match="longer than"):
        as_points([A - 1e308, A + 1e308], CIFAR)


# --- pixels ---------------------------------------------------------------------------------------------------


def image(path: Path, pixels: Any, mode: str | None = None) -> str:
    picture = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (picture.convert(mode) if mode else picture).save(path)
    return str(path)


COLOUR = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
UNIT = Pixels(scale=1 / 255)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff"])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (3, 4, 5), (1, 4, 5, 3)])
def test_colour_images(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    spec = image(tmp_path / f"a{suffix}", COLOUR)
    points = read_points(shape, start=spec, end=image(tmp_path / "b.png", 255 - COLOUR), pixels=UNIT)
    expected = COLOUR if shape[-1] == 3 else COLOUR.transpose(2, 0, 1)
    np.testing.assert_allclose(points[0].reshape(expected.shape), expected / 255, rtol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 4, 5), (1, 4, 5, 1), (4, 5)])
def test_grey_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    spec, other = image(tmp_path / "a.png", GREY), image(tmp_path / "b.png", 255 - GREY)
    points = read_points(shape, start=spec, end=other, pixels=Pixels(scale=1.0))
    np.testing.assert_array_equal(points[0].reshape(4, 5), GREY)


def test_images_become_grey_or_colour_as_the_channels_want(tmp_path: Path) -> None:
    spec, other = image(tmp_path / "a.png", COLOUR), image(tmp_path / "b.png", GREY)
    points = read_points((1, 1, 4, 5), start=spec, end=other, pixels=Pixels(scale=1.0))
    np.testing.assert_array_equal(points[0, 0, 0], np.asarray(Image.fromarray(COLOUR).convert("L")))
    points = read_points(CIFAR, start=spec, end=other, pixels=Pixels(scale=1.0))
    np.testing.assert_array_equal(points[1, 0], np.stack([GREY] * 3))


def test_mean_and_std_per_channel(tmp_path: Path) -> None:
    pixels = Pixels.choose("1/255", "0.5,0.25, 0.125", "0.5,2,4", {})
    expected = (COLOUR / 255 - [0.5, 0.25, 0.125]) / [0.5, 2, 4]
    spec, other = image(tmp_path / "a.png", COLOUR), image(tmp_path / "b.png", 255 - COLOUR)
    points = read_points(CIFAR, start=spec, end=other, pixels=pixels)
    np.testing.assert_allclose(points[0, 0], expected.transpose(2, 0, 1), rtol=1e-14)
    points = read_points((1, 4, 5, 3), start=spec, end=other, pixels=pixels)
    np.testing.assert_allclose(points[0, 0], expected, rtol=1e-14)
    array = save(tmp_path / "a.npy", COLOUR.transpose(2, 0, 1))
    points = read_points(CIFAR, start=array, end=other, pixels=pixels)
    np.testing.assert_allclose(points[0, 0], expected.transpose(2, 0, 1), rtol=1e-14)


def test_the_model_may_say_how_pixels_are_scaled(tmp_path: Path) -> None:
    metadata = {"lronnx.scale": "1/255", "lronnx.mean": "0.5", "lronnx.std": "[0.25]"}
    assert Pixels.choose(None, None, None, metadata) == Pixels(1 / 255, (0.5,), (0.25,))
    assert Pixels.choose("2", None, "1,2,3", metadata) == Pixels(2.0, (0.5,), (1.0, 2.0, 3.0), asked=True)
    with pytest.raises(InputError, match=r"lronnx\.mean"):
        Pixels.choose(None, None, None, {"lronnx.mean": "a lot"})


@pytest.mark.parametrize("text", ["", "x", "1/0", "nan", "inf", "1,,2", "1e999", "1/2/3", "[", "[]", "[1"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(InputError, match="--mean"):
        Pixels.choose("1", text, None, {})


def test_factors_are_not_zero() -> None:
    for scale, std in (("0", None), ("1", "1,0,1")):
        with pytest.raises(InputError, match="not be 0"):
            Pixels.choose(scale, None, std, {})
    with pytest.raises(InputError, match="one number"):
        Pixels.choose("1,2,3", None, None, {})


def test_pixels_need_a_scale(tmp_path: Path) -> None:
    spec = image(tmp_path / "a.png", COLOUR)
    refused("--scale 1/255", start=spec, end=spec)
    array = save(tmp_path / "a.npy", COLOUR.transpose(2, 0, 1))
    refused("--scale 1/255", start=array, end=array)


def test_options_for_pixels_need_pixels(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.npy", A), save(tmp_path / "b.npy", B)
    refused("no file given holds pixels", start=a, end=b, pixels=Pixels.choose("1/255", None, None, {}))
    # What the model records is no such order.
    read_points(CIFAR, start=a, end=b, pixels=Pixels.choose(None, None, None, {"lronnx.scale": "1/255"}))


def test_channels_and_numbers_fit(tmp_path: Path) -> None:
    colour, grey = image(tmp_path / "a.png", COLOUR), image(tmp_path / "b.png", GREY)
    refused("2 numbers", "3 channels", start=colour, end=colour, pixels=Pixels(1.0, (1.0, 2.0)))
    refused("1 channel", shape=(1, 1, 4, 5), start=grey, end=grey, pixels=Pixels(1.0, (1.0, 2.0, 3.0)))


def test_images_are_not_resized(tmp_path: Path) -> None:
    spec = image(tmp_path / "a.png", np.zeros((5, 4, 3)))
    refused("4 x 5", "5 x 4", "does not resize", start=spec, end=spec, pixels=UNIT)
    refused("is an image, but", shape=(1, 60), start=spec, end=spec, pixels=UNIT)


def test_images_that_would_change(tmp_path: Path) -> None:
    alpha = np.dstack([COLOUR, np.full((4, 5), 255)])
    opaque = image(tmp_path / "opaque.png", alpha)
    points = read_points(CIFAR, start=opaque, end=image(tmp_path / "b.png", 255 - COLOUR), pixels=Pixels(scale=1.0))
    np.testing.assert_array_equal(points[0, 0], COLOUR.transpose(2, 0, 1))
    alpha[0, 0, 3] = 254
    clear = image(tmp_path / "clear.png", alpha)
    refused("transparent", start=clear, end=clear, pixels=UNIT)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 5), 40_000, dtype=np.uint16)).save(deep)
    refused("I;16", start=str(deep), end=str(deep), pixels=UNIT)
    moving = tmp_path / "moving.gif"
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    refused("2 frames", start=str(moving), end=str(moving), pixels=UNIT)


def test_an_image_is_no_path(tmp_path: Path) -> None:
    refused("--start and --end", points=image(tmp_path / "a.png", COLOUR))


def test_ambiguous_axes(tmp_path: Path) -> None:
    spec = image(tmp_path / "a.png", np.zeros((3, 3, 3)))
    refused("not clear", shape=(1, 3, 3, 3), start=spec, end=spec, pixels=UNIT)
    # The size of the image tells them apart.
    wide = read_points(
        (1, 3, 7, 3),
        start=image(tmp_path / "wide.png", np.zeros((3, 7, 3))),
        end=image(tmp_path / "tall.png", np.ones((7, 3, 3))),
        pixels=UNIT,
    )
    assert wide.shape == (2, 1, 3, 7, 3)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = image(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)
    refused("cannot be read", start=spec, end=spec, pixels=UNIT)


def test_pillow_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = image(tmp_path / "a.png", COLOUR)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    refused("pip install 'lronnx[image]'", start=spec, end=spec, pixels=UNIT)


# --- other inputs, open shapes --------------------------------------------------------------------------------


def test_other_inputs_may_be_integers(tmp_path: Path) -> None:
    spec = save(tmp_path / "a.npy", np.array([3]))
    assert inputs.read_array(spec, "label").tolist() == [3]
    spec = savez(tmp_path / "a.npz", label=np.array([4]), other=np.array([np.nan]))
    assert inputs.read_array(spec, "label").tolist() == [4]
    with pytest.raises(InputError, match="finite"):
        inputs.read_array(f"{spec}:other", "label")


@pytest.mark.parametrize(
    ("declared", "given", "shape"),
    [
        (("N", 3, "H", "W"), (1, 3, 4, 5), (1, 3, 4, 5)),
        (("N", 3, "H", "W"), (3, 4, 5), (1, 3, 4, 5)),
        (("N", 1, "H", "W"), (4, 5), (1, 1, 4, 5)),
        (("N", 3, "H", "W"), (1, 4, 4, 5), None),
        (("N", 3, "H", "W"), (2, 3, 4, 5), None),
        (("N", "F"), (1, 2, 3), None),
    ],
)
def test_open_sizes_are_taken_from_the_points(
    tmp_path: Path, declared: tuple[int | str, ...], given: tuple[int, ...], shape: tuple[int, ...] | None
) -> None:
    single, several = save(tmp_path / "a.npy", np.zeros(given)), save(tmp_path / "p.npy", np.zeros((3, *given)))
    assert inputs.shape_from_points(declared, start=single, points=None) == shape
    assert inputs.shape_from_points(declared, start=None, points=several) == shape
    assert inputs.shape_from_points(declared, start="a.png", points=None) is None


def test_what_to_walk_is_said_once(tmp_path: Path) -> None:
    refused("both", start=save(tmp_path / "a.npy", A))
    refused("exclude", start=save(tmp_path / "a.npy", A), points=save(tmp_path / "b.npy", B))
