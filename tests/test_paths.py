"""Path families against arrays written out by hand, formulas per pixel and exact arithmetic, and made one by one."""

from __future__ import annotations

import math
import pickle
import re
import statistics
from collections import Counter
from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from lronnx import paths
from lronnx.errors import InputError
from lronnx.inputs import Pixels
from lronnx.paths import ChannelStatistics, Partners, anchor_offsets, make, translate, translations
from lronnx.preprocessing import Preprocessing

F = Fraction
RANDOM = settings(derandomize=True, database=None, deadline=None, max_examples=100)
PIXELS = Pixels(scale=1 / 255, mean=(0.5, 0.25, 0.125), std=(0.5, 0.75, 2.0), asked=True)


class Fake:
    """A data set of 12 colour images in two splits with three classes."""

    axes = "HWC"
    classes = ("bird", "cat", "dog")

    def __init__(self, count: int = 12, *, labelled: bool = True, kind: Any = np.uint8) -> None:
        self.images = np.random.default_rng(1).integers(0, 256, (count, 10, 9, 3)).astype(kind)
        self.split = np.array(["train", "test"])[np.arange(count) % 2]
        self.index = np.arange(count) // 2
        self.label = (np.arange(count) // 2) % 3 if labelled else np.full(count, -1)
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> NDArray[Any]:
        self.read.append(position)
        return np.asarray(self.images[position])

    def prepare(self, shape: tuple[int, ...] = (1, 3, 10, 9), layout: str | None = None) -> Preprocessing:
        pixels = PIXELS if self.images.dtype == np.uint8 else Pixels()
        return Preprocessing.choose(pixels, shape, self.images[0], self.axes, layout)


# --- anchors --------------------------------------------------------------------------------------------------

NUMBERS = np.arange(25).reshape(5, 5)

RIGHT = [[0, 0, 1, 2, 3], [5, 5, 6, 7, 8], [10, 10, 11, 12, 13], [15, 15, 16, 17, 18], [20, 20, 21, 22, 23]]
DOWN = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]
LEFT = [[1, 2, 3, 4, 4], [6, 7, 8, 9, 9], [11, 12, 13, 14, 14], [16, 17, 18, 19, 19], [21, 22, 23, 24, 24]]
UP = [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [15, 16, 17, 18, 19], [20, 21, 22, 23, 24], [20, 21, 22, 23, 24]]
DOWN_RIGHT = [[0, 0, 1, 2, 3], [0, 0, 1, 2, 3], [5, 5, 6, 7, 8], [10, 10, 11, 12, 13], [15, 15, 16, 17, 18]]
DOWN_LEFT = [[1, 2, 3, 4, 4], [1, 2, 3, 4, 4], [6, 7, 8, 9, 9], [11, 12, 13, 14, 14], [16, 17, 18, 19, 19]]
UP_LEFT = [[6, 7, 8, 9, 9], [11, 12, 13, 14, 14], [16, 17, 18, 19, 19], [21, 22, 23, 24, 24], [21, 22, 23, 24, 24]]
UP_RIGHT = [[5, 5, 6, 7, 8], [10, 10, 11, 12, 13], [15, 15, 16, 17, 18], [20, 20, 21, 22, 23], [20, 20, 21, 22, 23]]


def test_anchors_by_eye() -> None:
    np.testing.assert_array_equal(translations(NUMBERS, 4, 1.0), [RIGHT, DOWN, LEFT, UP])
    np.testing.assert_array_equal(
        translations(NUMBERS, 8, 1.0), [RIGHT, DOWN_RIGHT, DOWN, DOWN_LEFT, LEFT, UP_LEFT, UP, UP_RIGHT]
    )
    colour = np.stack([NUMBERS, 100 + NUMBERS, 200 + NUMBERS], axis=-1)
    np.testing.assert_array_equal(
        translations(colour, 4, 1.0)[1], np.stack([np.add(DOWN, c) for c in (0, 100, 200)], -1)
    )


def test_the_papers_closed_path() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (anchors,) = paths.closed([image])
    assert anchors.shape == (8, 32, 32, 3)
    assert anchors.dtype == np.uint8
    for k in range(8):
        down = round(4 * math.sin(2 * math.pi * k / 8))
        right = round(4 * math.cos(2 * math.pi * k / 8))
        for y in range(32):
            for x in range(32):
                source = image[min(max(y - down, 0), 31), min(max(x - right, 0), 31)]
                assert (anchors[k, y, x] == source).all()


def test_padding_shifting_and_cropping_is_the_same() -> None:
    image = np.random.default_rng(0).random((9, 12))
    padded = np.pad(image, 8, mode="edge")
    for (down, right), anchor in zip(anchor_offsets(8, 4.0), translations(image), strict=True):
        np.testing.assert_array_equal(anchor, padded[8 - down : 17 - down, 8 - right : 20 - right])


def half_away(value: Fraction) -> int:
    """The nearest whole number, halves away from zero, by comparing whole numbers only."""
    whole = (2 * abs(value) + 1) // 2
    return int(whole if value >= 0 else -whole)


def rounded_root(value: Fraction, square: int) -> int:
    """The nearest whole number to ``value * sqrt(square)``, which is no half unless it is 0."""
    wanted = value * value * square
    n = 0
    while (F(n) + F(1, 2)) ** 2 < wanted:
        n += 1
    return n if value >= 0 else -n


# cos(2 pi k / K) as (rational factor, number under the root).
COSINES = {
    4: [(F(1), 1), (F(0), 1), (F(-1), 1), (F(0), 1)],
    6: [(F(1), 1), (F(1, 2), 1), (F(-1, 2), 1), (F(-1), 1), (F(-1, 2), 1), (F(1, 2), 1)],
    8: [(F(s, 2), root) if root == 2 else (F(s), root) for s, root in
        [(1, 1), (1, 2), (0, 1), (-1, 2), (-1, 1), (-1, 2), (0, 1), (1, 2)]],
    12: [(F(2), 1), (F(1), 3), (F(1), 1), (F(0), 1), (F(-1), 1), (F(-1), 3),
         (F(-2), 1), (F(-1), 3), (F(-1), 1), (F(0), 1), (F(1), 1), (F(1), 3)],
}  # fmt: skip


@pytest.mark.parametrize("anchors", COSINES)
def test_offsets_are_those_of_exact_arithmetic(anchors: int) -> None:
    # Multiples of 1/4 meet halves at all angles whose cosine is rational.
    cosines = [(f / 2 if anchors == 12 else f, root) for f, root in COSINES[anchors]]
    for quarters in range(8, 80):
        radius = F(quarters, 4)
        exact = [half_away(radius * f) if root == 1 else rounded_root(radius * f, root) for f, root in cosines]
        offsets = anchor_offsets(anchors, float(radius))
        assert [right for _, right in offsets] == exact
        # sin(a) = cos(a - 90 degrees); six anchors do not stand at right angles.
        if anchors % 4 == 0:
            assert [down for down, _ in offsets] == [exact[k - anchors // 4] for k in range(anchors)]


def test_halves_go_away_from_zero() -> None:
    # In floating point, cos(60 degrees) is 0.5000000000000001 and cos(120 degrees) -0.4999999999999998.
    assert [right for _, right in anchor_offsets(6, 1.0)] == [1, 1, -1, -1, -1, 1]
    assert [right for _, right in anchor_offsets(6, 3.0)] == [3, 2, -2, -3, -2, 2]
    assert anchor_offsets(4, 0.5) == [(0, 1), (1, 0), (0, -1), (-1, 0)]


@RANDOM
@given(st.integers(3, 60), st.floats(0.1, 30.0), st.booleans())
def test_offsets_are_near_the_circle_and_neighbours_differ(anchors: int, radius: float, closed: bool) -> None:
    try:
        offsets = anchor_offsets(anchors, radius, closed=closed)
    except InputError as error:
        advice = re.search(r"; (?:at most (\d+) fit there, and )?a radius of ([\d.]+) is enough", str(error))
        assert advice is not None
        anchor_offsets(anchors, float(advice[2]), closed=closed)
        if advice[1] is not None:
            most = int(advice[1])
            assert (3 if closed else 2) <= most < anchors
            anchor_offsets(most, radius, closed=closed)
            if most + 1 < anchors:
                with pytest.raises(InputError):
                    anchor_offsets(most + 1, radius, closed=closed)
        return
    assert len(offsets) == anchors
    for k, (down, right) in enumerate(offsets):
        assert abs(right - radius * math.cos(2 * math.pi * k / anchors)) <= 0.5 + 1e-8
        assert abs(down - radius * math.sin(2 * math.pi * k / anchors)) <= 0.5 + 1e-8
        assert offsets[k] != offsets[k - 1]


@pytest.mark.parametrize("anchors", [9, 12, 100, 10**9])
def test_too_many_anchors_are_refused(anchors: int) -> None:
    with pytest.raises(
        InputError, match=r"too many for a radius of 1.*at most 8 fit there, and a radius of .* is enough"
    ):
        anchor_offsets(anchors, 1.0)


@pytest.mark.parametrize("call", [translations, lambda *given: next(paths.closed([given[0]], *given[1:]))])
@pytest.mark.parametrize(
    ("anchors", "radius", "message"),
    [
        (2, 1.0, "2 anchors are too few: a closed path of translations needs at least three"),
        (8, 0.4, "too many for a radius of 0.4: neighbours would fall on the same pixel; a radius of 1.9 is enough"),
        (8, 0.0, "above 0"),
        (8, -1.0, "above 0"),
        (8, math.nan, "above 0"),
        (8, math.inf, "out of its frame"),
        (8, 5.0, r"moves an image of 6 x 5 pixels \(width x height\) out of its frame"),
        (8, 5.6, "out of its frame"),
        (10**12, 1e12, "out of its frame"),
    ],
)
def test_circles_that_do_not_fit_are_refused(call: Any, anchors: int, radius: float, message: str) -> None:
    image = np.zeros((5, 6))
    assert len(translations(image, 8, 4.4)) == 8
    with pytest.raises(InputError, match=message):
        call(image, anchors, radius)


def test_open_paths_have_the_same_anchors() -> None:
    images = np.random.default_rng(0).random((3, 9, 9))
    for a, b in zip(paths.open_(images, 6, 2.0), paths.closed(images, 6, 2.0), strict=True):
        np.testing.assert_array_equal(a, b)
    (two,) = paths.open_([NUMBERS], 2, 1.0)
    np.testing.assert_array_equal(two, [RIGHT, LEFT])
    with pytest.raises(InputError, match="1 anchors are too few: a path needs at least two"):
        next(paths.open_(images, 1))
    with pytest.raises(InputError, match=r"2 anchors are too many for a radius of 0\.4"):
        next(paths.open_([NUMBERS], 2, 0.4))


def test_what_is_no_image_is_refused() -> None:
    for shape in [(), (5,), (1, 3, 8, 8), (0, 4)]:
        with pytest.raises(InputError, match="cannot be translated"):
            translations(np.zeros(shape))


# --- pairs ----------------------------------------------------------------------------------------------------


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    count = draw(st.integers(1, 14))
    splits = draw(st.lists(st.sampled_from(["train", "test"]), min_size=count, max_size=count))
    return splits, draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))


@RANDOM
@given(labelled(), st.sampled_from(paths.PARTNERS), st.integers(0, 3))
def test_partners_obey_class_and_split(data: tuple[list[str], list[int]], partner: str, seed: int) -> None:
    splits, labels = data
    count = len(labels)
    allowed = [
        {
            other
            for other in range(count)
            if other != sample
            and splits[other] == splits[sample]
            and (partner == "any" or (labels[other] == labels[sample]) == (partner == "same"))
        }
        for sample in range(count)
    ]
    lonely = [sample for sample in range(count) if not allowed[sample]]
    if lonely:
        with pytest.raises(InputError, match=f"sample {lonely[0]} has no partner.*split '{splits[lonely[0]]}'"):
            Partners(count, partner, labels=labels, splits=splits, seed=seed)
        return
    choose = Partners(count, partner, labels=labels, splits=splits, seed=seed)
    for sample in range(count):
        size = len(allowed[sample])
        chosen = [choose(sample, repeat) for repeat in range(2 * size + 1)]
        # Each of them once, then again in the same order.
        assert set(chosen[:size]) == allowed[sample]
        assert chosen[size:] == chosen[: size + 1]
        # Whether others were chosen before does not matter.
        assert Partners(count, partner, labels=labels, splits=splits, seed=seed)(sample, size) == chosen[size]


def test_partners_are_uniform() -> None:
    # 1200 samples of one class: each has a partner out of four others in 300 splits of its own.
    splits = [f"{i // 5}" for i in range(6000)]
    choose = Partners(6000, "any", splits=splits, seed=7)
    for repeat in (0, 2):
        steps = Counter((choose(i, repeat) - i) % 5 for i in range(6000))
        assert set(steps) == {1, 2, 3, 4}
        # Four times a standard deviation of a count.
        assert all(abs(steps[k] - 1500) < 4 * math.sqrt(6000 * 0.25 * 0.75) for k in steps)
    both = Counter(((choose(i, 0) - i) % 5, (choose(i, 1) - i) % 5) for i in range(6000))
    assert len(both) == 12
    assert all(abs(n - 500) < 4.5 * math.sqrt(500) for n in both.values())


def test_seeds_matter_and_so_does_nothing_but_labels_and_splits() -> None:
    labels = [i % 4 for i in range(40)]
    first, second = (Partners(40, "same", labels=labels, seed=seed) for seed in (0, 1))
    assert [first(i) for i in range(40)] != [second(i) for i in range(40)]
    renamed = Partners(40, "same", labels=[10 * label for label in labels], splits=["x"] * 40, seed=0)
    assert [first(i) for i in range(40)] == [renamed(i) for i in range(40)]


def test_partners_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="no partner 'both': choose one of any, same, other"):
        Partners(4, "both")
    for partner in ("same", "other"):
        with pytest.raises(InputError, match="label of every sample, and that of sample 2 is unknown"):
            Partners(4, partner, labels=[0, 0, -1, 0])
        with pytest.raises(InputError, match="sample 0 is unknown"):
            Partners(4, partner)
    with pytest.raises(InputError, match="sample 1 has no partner: it is the only one of class 'cat' of split 'test'"):
        Partners(4, "same", labels=[0, 1, 1, 0], splits=["train", "test", "train", "train"], classes=("dog", "cat"))
    with pytest.raises(InputError, match="sample 0 has no partner: all samples are of class '5'"):
        Partners(3, "other", labels=[5, 5, 5])
    with pytest.raises(InputError, match="sample 0 has no partner: it is the only one;"):
        Partners(1, splits=[""])
    with pytest.raises(InputError, match="3 samples, but 2 labels"):
        Partners(3, "same", labels=[1, 1])
    with pytest.raises(InputError, match="seed is -1"):
        Partners(3, seed=-1)


def test_pairs_of_plain_arrays() -> None:
    samples = np.random.default_rng(0).random((5, 2, 3))
    segments = list(paths.pairs(samples, per_sample=2, seed=3, prepare=lambda x: 10 * x))
    choose = Partners(5, seed=3)
    expected = [10 * samples[[i, choose(i, repeat)]] for i in range(5) for repeat in range(2)]
    np.testing.assert_array_equal(segments, expected)
    with pytest.raises(InputError, match="0 paths per sample"):
        next(paths.pairs(samples, per_sample=0))


# --- rays -----------------------------------------------------------------------------------------------------


def test_rays_have_their_length_and_start_at_the_sample() -> None:
    samples = np.random.default_rng(0).random((4, 1, 3, 8, 8))
    segments = list(paths.rays(samples, 2.5, per_sample=3, seed=1))
    assert len(segments) == 12
    for number, (start, end) in enumerate(segments):
        np.testing.assert_array_equal(start, samples[number // 3])
        assert math.fsum(((end - start) ** 2).ravel()) ** 0.5 == pytest.approx(2.5, rel=1e-13)


def test_directions_are_uniform() -> None:
    # u uniform on the sphere in n dimensions: means 0, E u u^T = 1/n, and E u_i^4 = 3 / (n (n + 2)).
    n, count = 4, 4000
    ends = np.array([end for _, end in paths.rays(np.zeros((count, n)), 1.0, seed=11)])
    assert np.abs(ends.mean(axis=0)).max() < 4 / math.sqrt(n * count)
    second = ends.T @ ends / count
    spread = math.sqrt((3 / (n * (n + 2)) - 1 / n**2) / count)
    assert np.abs(second - np.eye(n) / n).max() < 4 * spread
    assert np.abs((ends**4).mean(axis=0) - 3 / (n * (n + 2))).max() < 4 / math.sqrt(count) * 0.2
    # In three dimensions each coordinate is uniform on [-1, 1] (Archimedes).
    heights = np.sort([end[2] for _, end in paths.rays(np.zeros((count, 3)), 1.0, seed=12)])
    gaps = np.abs((heights + 1) / 2 - (np.arange(count) + 0.5) / count)
    assert gaps.max() < 1.63 / math.sqrt(count)


def test_rays_do_not_depend_on_how_many_there_are() -> None:
    few = list(paths.rays(np.zeros((3, 5)), 1.0, seed=4))
    many = list(paths.rays(np.zeros((9, 5)), 1.0, per_sample=4, seed=4))
    np.testing.assert_array_equal(few, many[0:12:4])
    assert len({tuple(end) for _, end in many}) == 36
    assert not np.array_equal(few, list(paths.rays(np.zeros((3, 5)), 1.0, seed=5)))


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan, math.inf])
def test_lengths_that_are_none_are_refused(length: float) -> None:
    with pytest.raises(InputError, match="length of a ray"):
        next(paths.rays([np.zeros(3)], length))


def test_rays_beyond_float64_are_refused() -> None:
    # In one dimension a direction is +1 or -1.
    sign = paths.ray(np.zeros(1), 1.0, sample=0)[1]
    assert abs(sign) == 1.0
    assert paths.ray(-1.7e308 * sign, 1.7e308, sample=0)[1] == 0.0
    with pytest.raises(InputError, match="beyond what float64"):
        paths.ray(1.7e308 * sign, 1.7e308, sample=0)


# --- random images --------------------------------------------------------------------------------------------


@RANDOM
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 5), st.sampled_from([np.uint8, np.float64]))
def test_channel_statistics_are_those_of_all_pixels(seed: int, channels: int, count: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    # Images of different sizes, and a mean that is large against the deviation.
    images = [
        (rng.random((*rng.integers(1, 5, 2), channels)) * 200 + (1e6 if kind is np.float64 else 0)).astype(kind)
        for _ in range(count)
    ]
    got = paths.channel_statistics(iter(images))
    for channel in range(channels):
        pixels = [F(float(p)) for image in images for p in image[..., channel].ravel()]
        assert got.mean[channel] == pytest.approx(float(statistics.mean(pixels)), rel=1e-14)
        assert got.std[channel] == pytest.approx(float(statistics.pvariance(pixels)) ** 0.5, rel=1e-9, abs=1e-9)


def test_channel_statistics_of_a_large_mean() -> None:
    # The textbook formula, mean of squares minus square of the mean, gives 0 or worse here.
    images = 1e9 + np.random.default_rng(0).integers(0, 2, (50, 4, 4)).astype(np.float64)
    expected = float(statistics.pvariance([F(float(p)) for p in images.ravel()])) ** 0.5
    assert paths.channel_statistics(images).std[0] == pytest.approx(expected, rel=1e-7)


def test_channel_statistics_of_nothing() -> None:
    with pytest.raises(InputError, match="no images"):
        paths.channel_statistics([])
    with pytest.raises(InputError, match="image 1 has 3 channels, but those before it have 1"):
        paths.channel_statistics([np.zeros((2, 2)), np.zeros((2, 2, 3))])
    with pytest.raises(InputError, match=r"image 0 has shape \(4,\)"):
        paths.channel_statistics([np.zeros(4)])


def test_random_pixels_are_uniform_in_their_interval() -> None:
    given_statistics = ChannelStatistics(mean=(10.0, -3.0, 200.0), std=(20.0, 0.5, 64.0))
    images = np.array(list(paths.random_images(given_statistics, (12, 11), 30, seed=2)))
    assert images.shape == (30, 12, 11, 3)
    count = 30 * 12 * 11
    for channel, (mean, std) in enumerate(zip(given_statistics.mean, given_statistics.std, strict=True)):
        pixels = np.sort(images[..., channel].ravel())
        assert mean - std <= pixels[0] < mean - 0.99 * std
        assert mean + std >= pixels[-1] > mean + 0.99 * std
        assert abs(pixels.mean() - mean) < 4 * std / math.sqrt(3 * count)
        expected = mean + std * (2 * (np.arange(count) + 0.5) / count - 1)
        assert np.abs(pixels - expected).max() < 2 * std * 1.63 / math.sqrt(count)
    np.testing.assert_array_equal(paths.random_image(given_statistics, (12, 11), 17, seed=2), images[17])
    assert not np.array_equal(paths.random_image(given_statistics, (12, 11), 17, seed=3), images[17])


# --- files ----------------------------------------------------------------------------------------------------

LINES = np.random.default_rng(5).standard_normal((3, 4, 2, 5))


def test_polylines_of_an_npy_file(tmp_path: FilePath) -> None:
    np.save(tmp_path / "a.npy", LINES.astype(np.float32))
    for shape in (None, (2, 5), (1, 2, 5)):
        lines = paths.polylines(tmp_path / "a.npy", shape)
        assert (len(lines), lines.names, lines.closed, lines.labels) == (3, ("0", "1", "2"), False, None)
        assert lines[1].dtype == np.float64
        np.testing.assert_array_equal(lines[1], LINES[1].astype(np.float32).reshape(4, *(shape or (2, 5))))
        np.testing.assert_array_equal(lines[1:], [lines[1], lines[2]])
    assert paths.polylines(tmp_path / "a.npy", closed=True).closed


def test_polylines_of_an_npz_file(tmp_path: FilePath) -> None:
    stacked, named = tmp_path / "stacked.npz", tmp_path / "named.npz"
    np.savez(stacked, labels=np.array([4, 5, 6]), paths=LINES, closed=np.array(True))
    lines = paths.polylines(stacked, (2, 5))
    assert (lines.closed, lines.labels) == (True, (4, 5, 6))
    np.testing.assert_array_equal(lines[2], LINES[2])
    np.savez(named, there=LINES[0], closed=np.array(False), back=LINES[1, :2], labels=np.array([1, 0], np.uint8))
    lines = paths.polylines(str(named), (2, 5), closed=False)
    assert (lines.names, lines.closed, lines.labels) == (("there", "back"), False, (1, 0))
    np.testing.assert_array_equal(lines[1], LINES[1, :2])
    np.savez(tmp_path / "more.npz", first=LINES, second=2 * LINES, closed=np.array(True))
    lines = paths.polylines(f"{tmp_path / 'more.npz'}:second", (2, 5))
    np.testing.assert_array_equal(lines[0], 2 * LINES[0])
    assert lines.closed


def refused(message: str, *given: Any, **options: Any) -> None:
    with pytest.raises(InputError, match=message):
        paths.polylines(*given, **options)


def test_polylines_that_do_not_fit_are_refused(tmp_path: FilePath) -> None:
    def npz(**arrays: Any) -> FilePath:
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    refused("polyline 0 of .*a.npz: point 0 has shape", npz(paths=LINES), (3, 5))
    refused("polyline b of .*: point 0 has shape", npz(a=LINES[0], b=LINES[0, :, 1:]), (2, 5))
    refused("polyline b of .*at least two points", npz(a=LINES[0], b=LINES[0, :1]), (2, 5))
    refused("polyline b of .*single number", npz(a=LINES[0], b=np.array(1.0)), (2, 5))
    refused("polyline a of .*holds int64 numbers", npz(a=np.arange(20).reshape(2, 2, 5)), (2, 5))
    refused("polyline a of .*uint8 numbers.*scale the pixels first", npz(a=np.zeros((2, 10), np.uint8)), (10,))
    refused("polyline b of .*segment 1 .*no direction", npz(a=LINES[0], b=LINES[0, [0, 1, 1]]), (2, 5))
    ends_where_it_starts = LINES[0, [0, 1, 2, 0]]
    assert len(paths.polylines(npz(a=ends_where_it_starts), (2, 5))) == 1
    refused("segment 3 .*no direction", npz(a=ends_where_it_starts), (2, 5), closed=True)
    bad = LINES.copy()
    bad[1, 2, 0, 3] = np.inf
    refused(r"inf at position \(1, 2, 0, 3\)", npz(paths=bad), (2, 5))
    refused(r"a.npz:b is inf at position \(2, 0, 3\)", npz(a=bad[0], b=bad[1]), (2, 5))
    refused("'paths' and others .extra.", npz(paths=LINES, extra=LINES[0]))
    refused("stacked as", npz(paths=LINES[0, 0]))
    refused("holds no polylines", npz(paths=LINES[:0]))
    refused("holds no polylines", npz(closed=np.array(True)))
    refused("closed has shape", npz(a=LINES[0], closed=np.array([True])))
    refused("closed has shape .* and type int64", npz(a=LINES[0], closed=np.array(1)))
    refused("its polylines are open, and the caller", npz(a=LINES[0], closed=np.array(False)), closed=True)
    refused("one whole number for each of the 1", npz(a=LINES[0], labels=np.array([1, 2])))
    refused("one whole number for each", npz(a=LINES[0], labels=np.array([1.0])))
    refused("no array 'b'", f"{npz(a=LINES[0])}:b")
    refused("no file", tmp_path / "none.npz")
    refused("no file", tmp_path / "none.npy")
    refused("give a .npy or .npz file", tmp_path / "a.png")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    refused("a.npz cannot be read", tmp_path / "a.npz")


# --- of a data set --------------------------------------------------------------------------------------------


def options(family: str) -> dict[str, Any]:
    return {
        "closed": {"anchors": 8, "radius": 3.0},
        "open": {"anchors": 5, "radius": 2.0},
        "pairs": {"partner": "other", "per_sample": 2, "seed": 3},
        "rays": {"length": 1.5, "per_sample": 3, "seed": 4},
        "random": {"anchors": 4, "radius": 1.0, "count": 7, "seed": 5},
        "file": {"closed": True},
    }[family]


def source(family: str, tmp_path: FilePath) -> tuple[Any, Preprocessing]:
    if family != "file":
        data = Fake()
        return data, data.prepare()
    np.save(tmp_path / "lines.npy", LINES)
    return tmp_path / "lines.npy", Preprocessing.identity((1, 2, 5))


LENGTHS = {"closed": 12, "open": 12, "pairs": 24, "rays": 36, "random": 7, "file": 3}


@pytest.mark.parametrize("family", paths.FAMILIES)
def test_a_path_alone_is_the_path_in_the_sequence(family: str, tmp_path: FilePath) -> None:
    data, prepare = source(family, tmp_path)
    whole = make(family, data, prepare, **options(family))
    assert len(whole) == LENGTHS[family]
    assert whole.family == family
    made = list(whole)
    sent = pickle.loads(pickle.dumps(whole))
    for number in reversed(range(len(whole))):
        for alone in (
            make(family, data, prepare, **options(family))[number],
            whole[number - len(whole)],
            whole[number:][0],
            whole[::-1][len(whole) - 1 - number],
            sent[number],
        ):
            np.testing.assert_array_equal(alone.points, made[number].points)
            fields = ("closed", "sample", "other", "label")
            assert [getattr(alone, f) for f in fields] == [getattr(made[number], f) for f in fields]
    for path in made:
        assert path.points.dtype == np.float64
        assert path.points.shape[1:] == prepare.input_shape
        assert path.closed == (family in {"closed", "random", "file"})
    assert len({path.points.tobytes() for path in made}) == len(made)
    with pytest.raises(IndexError):
        whole[len(whole)]


@pytest.mark.parametrize("family", ["closed", "open", "pairs", "rays", "random"])
def test_a_path_reads_no_more_than_its_own_samples(family: str) -> None:
    data = Fake()
    given_statistics = ChannelStatistics((100.0, 100.0, 100.0), (50.0, 50.0, 50.0))
    whole = make(family, data, data.prepare(), statistics=given_statistics, **options(family))
    assert set(data.read) <= {0}
    data.read.clear()
    path = whole[6]
    assert data.read == [position for position in (path.sample, path.other) if position is not None]


def test_paths_are_those_of_the_plain_functions() -> None:
    data = Fake()
    prepare = data.prepare()
    images, inputs = list(data.images), np.stack([prepare(image) for image in data.images])

    def same(family: str, arrays: Any) -> None:
        np.testing.assert_array_equal(
            [path.points for path in make(family, data, prepare, **options(family))], list(arrays)
        )

    same("closed", paths.closed(images, 8, 3.0, prepare.from_image))
    same("open", paths.open_(images, 5, 2.0, prepare.from_image))
    same(
        "pairs",
        paths.pairs(images, "other", labels=data.label, splits=data.split, per_sample=2, seed=3, prepare=prepare),
    )
    same("rays", paths.rays(inputs, 1.5, per_sample=3, seed=4))
    control = paths.random_images(paths.channel_statistics(images), (10, 9), 7, seed=5)
    same("random", paths.closed(control, 4, 1.0, prepare.from_image))


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_closed_paths_in_the_networks_axes(layout: str) -> None:
    data = Fake()
    path = make("closed", data, data.prepare((1, 270), layout), anchors=4, radius=1.0)[5]
    moved = np.stack([translate(data.images[5], *offset) for offset in [(0, 1), (1, 0), (0, -1), (-1, 0)]])
    expected = (moved / 255 - np.array(PIXELS.mean)) / np.array(PIXELS.std)
    expected = np.moveaxis(expected, -1, 1) if layout == "chw" else expected
    np.testing.assert_allclose(path.points.reshape(expected.shape), expected, rtol=1e-14, atol=1e-15)
    assert (path.closed, path.sample, path.other) == (True, 5, None)


def test_pairs_join_samples_of_a_split_and_class() -> None:
    data = Fake()
    prepare = data.prepare()
    for number, path in enumerate(make("pairs", data, prepare, partner="other", per_sample=2)):
        assert path.sample == number // 2
        assert path.other is not None
        assert data.split[path.sample] == data.split[path.other]
        assert data.label[path.sample] != data.label[path.other]
        np.testing.assert_array_equal(path.points, [prepare(data[path.sample]), prepare(data[path.other])])


def test_random_images_follow_the_data() -> None:
    data = Fake(kind=np.float32)
    prepare = data.prepare()
    whole = make("random", data, prepare, anchors=4, radius=1.0)
    assert len(whole) == len(data)
    mean, std = data.images.mean(axis=(0, 1, 2), dtype=np.float64), data.images.std(axis=(0, 1, 2), dtype=np.float64)
    points = np.stack([path.points for path in whole])
    assert points.shape == (12, 4, 1, 3, 10, 9)
    off = np.abs(points - mean[:, None, None]) / std[:, None, None]
    assert 0.99 < off.max() <= 1.0 + 1e-9
    assert all(path.sample is None for path in whole)
    # Of pixels, the affine map comes after the drawing.
    prepare = Fake().prepare()
    mapped = np.stack([path.points for path in make("random", Fake(), prepare, anchors=4, radius=1.0)])
    expected = (points / 255 - np.reshape(PIXELS.mean, (3, 1, 1))) / np.reshape(PIXELS.std, (3, 1, 1))
    np.testing.assert_allclose(mapped, expected, rtol=1e-9, atol=1e-9)


def test_rays_are_in_the_units_of_the_input() -> None:
    data = Fake()
    prepare = data.prepare()
    for path in make("rays", data, prepare, length=0.25):
        np.testing.assert_array_equal(path.points[0], prepare(data[path.sample or 0]))
        assert np.linalg.norm(path.points[1] - path.points[0]) == pytest.approx(0.25, rel=1e-12)


def test_labels_of_a_file(tmp_path: FilePath) -> None:
    np.savez(tmp_path / "a.npz", paths=LINES, labels=np.array([7, 8, 9]), closed=np.array(True))
    whole = make("file", tmp_path / "a.npz", Preprocessing.identity((1, 2, 5)))
    assert [(path.label, path.closed, path.sample) for path in whole] == [
        (7, True, None),
        (8, True, None),
        (9, True, None),
    ]


def test_a_constant_image_gives_segments_of_length_zero() -> None:
    data = Fake()
    data.images[2] = 77
    points = make("closed", data, data.prepare(), radius=3.0)[2].points
    np.testing.assert_array_equal(points, np.broadcast_to(points[0], points.shape))


@pytest.mark.parametrize(
    ("family", "given_options", "message"),
    [
        ("circle", {}, "no family of paths 'circle': choose one of closed, open, pairs, rays, random, file"),
        ("closed", {"anchors": 2}, "too few"),
        ("closed", {"radius": 9.0}, "9 x 10 pixels"),
        ("open", {"anchors": 1}, "too few"),
        ("random", {"radius": 100.0}, "out of its frame"),
        ("random", {"count": 0}, "0 random images"),
        ("random", {"seed": -3, "radius": 2.0}, "seed is -3"),
        ("pairs", {"partner": "twin"}, "no partner 'twin'"),
        ("pairs", {"per_sample": 0}, "0 paths per sample"),
        ("pairs", {"seed": -1}, "seed is -1"),
        ("rays", {}, "rays need a length"),
        ("rays", {"length": -1.0}, "length of a ray is -1"),
        ("rays", {"length": 1.0, "per_sample": -1}, "-1 paths per sample"),
        ("rays", {"length": 1.0, "seed": -1}, "seed is -1"),
        ("file", {}, "come from a file"),
    ],
)
def test_bad_options_are_refused_at_once(family: str, given_options: dict[str, Any], message: str) -> None:
    data = Fake()
    with pytest.raises(InputError, match=message):
        make(family, data, data.prepare(), **given_options)


def test_data_that_do_not_fit_a_family_are_refused() -> None:
    data = Fake()
    with pytest.raises(InputError, match="not from a file"):
        make("closed", "images.npy", data.prepare())
    with pytest.raises(InputError, match="sample 0 is unknown"):
        make("pairs", Fake(labelled=False), data.prepare(), partner="same")
    with pytest.raises(InputError, match="no samples"):
        make("closed", Fake(0), data.prepare())
    with pytest.raises(
        InputError, match="sample 0 has no partner: it is the only one of class 'bird' of split 'train'"
    ):
        make("pairs", Fake(6), data.prepare(), partner="same")
    flat = Fake()
    flat.images = np.random.default_rng(0).random((12, 7))
    prepare = Preprocessing.choose(Pixels(), (1, 7), flat.images[0], "", None)
    assert make("pairs", flat, prepare)[0].points.shape == (2, 1, 7)
    assert make("rays", flat, prepare, length=1.0)[0].points.shape == (2, 1, 7)
    for family in ("closed", "open", "random"):
        with pytest.raises(InputError, match="no images"):
            make(family, flat, prepare)
