"""Inputs of an image network as pictures that can be shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx.errors import InputError
from lronnx.inputs import Pixels

Bytes = NDArray[np.uint8]

SMALLEST = 8
"""Rows and columns that an array has at least to count as a picture: of fewer nothing is recognized."""
LONGEST = 4
"""How many times as long as wide a picture is at most: windows of a few sensors are none."""

DARK = 16.0
"""A pixel of 0 to 255 that nobody tells from black. Where none is brighter, pixels have another range (0 to 16)."""


class Shown(NamedTuple):
    """``images``: each (height, width) if it is grey, else (height, width, 3). ``stretched``: nothing is known about
    pixels, or they would all be black, so that the range of all inputs together was stretched from black to white."""

    images: tuple[Bytes, ...]
    stretched: bool


def channel_axis(shape: Sequence[int]) -> int | None:
    """Which of the last three axes of a sample has an image's channels, 0 or 2; None if it is no image.

    An image is (channels, height, width) or (height, width, channels) of 1 or 3 channels, at least 8 x 8 and
    at most four times as long as wide, with any number of axes of size 1 in front.
    """
    if len(shape) < 3 or any(size != 1 for size in shape[:-3]):
        return None
    for axis in (0, 2):
        sizes = list(shape[-3:])
        if sizes.pop(axis) in (1, 3) and min(sizes) >= max(SMALLEST, max(sizes) / LONGEST):
            return axis
    return None


def shown(points: Sequence[NDArray[Any]], shape: Sequence[int], pixels: Pixels | None) -> Shown | None:
    """Inputs as pictures of 0 to 255: the inverse of the preprocessing, rounded; None if they are no images.

    ``points``: arrays of ``shape``, that of one sample. ``pixels``: how pixels became inputs, as far as is known.
    """
    axis = channel_axis(shape)
    if axis is None or not points:
        return None
    arrays = np.stack([np.asarray(point, dtype=np.float64).reshape(shape[-3:]) for point in points])
    found = None
    with suppress(InputError), np.errstate(over="ignore"):
        # The axis of the points is in front of all others.
        found = (pixels or Pixels()).invert(arrays, axis + 1, "the path")
    stretched = found is None or float(found.max()) <= DARK
    if found is None or stretched:
        # Halves, since the difference of the largest numbers is none.
        low, high = float(arrays.min()) / 2, float(arrays.max()) / 2
        flat = high == low
        found = np.full_like(arrays, 127.5) if flat else (arrays / 2 - low) / (high - low) * 255.0
    images = np.rint(np.clip(found, 0.0, 255.0)).astype(np.uint8)
    if axis == 0:
        images = np.moveaxis(images, 1, -1)
    grey = images.shape[-1] == 1
    return Shown(tuple(np.ascontiguousarray(image[..., 0] if grey else image) for image in images), stretched)
