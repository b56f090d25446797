"""How a sample of a data set becomes an input of the network, and an image again where a path moves its pixels.

Between both lies the *image*: (H, W, C), channels last, in the data's own numbers (pixels from 0 to 255, or floats).
Everything that is done to pixels, such as a translation, is done to the image; :meth:`Preprocessing.from_image`
then turns pixels into inputs once, channel by channel, and puts the axes where the network wants them. Both steps
treat all pixels of a channel alike, so that translating and preprocessing commute, exactly.

Nothing is resized, no grey image is made a coloured one or the other way round, and where the shapes alone leave
two ways to arrange the axes, the user has to say which one it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lronnx.errors import InputError
from lronnx.inputs import Pixels, as_point, core_shape

Array = NDArray[Any]
Floats = NDArray[np.float64]

_SAMPLE = "a sample of the data"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """pixels -> (p * scale - mean) / std, and the axes of a sample -> those of the network's input.

    ``pixels``: the affine map, applied to uint8 samples only; floating-point samples are taken as they are.
    ``input_shape``: one sample's shape as the network declares it, batch axis 1 included, (1, 3, 32, 32) for example.
    ``layout``: where the input keeps its axes, "CHW", "HWC" or "HW", once axes of size 1 in front are left out; of a
    flattened input (3072,) the order in which its pixels were flattened; "" if it is no image, or nobody knows how
    its axes are arranged. ``sample_shape``: the shape of every sample; ``sample_axes``: where samples keep their axes,
    in the same terms. ``image_shape``: (H, W, C), or None if ``layout`` is "". ``holds_pixels``: samples are uint8.
    """

    pixels: Pixels
    input_shape: tuple[int, ...]
    layout: str
    sample_shape: tuple[int, ...]
    sample_axes: str
    image_shape: tuple[int, int, int] | None
    holds_pixels: bool

    @classmethod
    def choose(
        cls, pixels: Pixels, input_shape: tuple[int, ...], sample: ArrayLike, axes: str, layout: str | None
    ) -> Preprocessing:
        """The preprocessing for a data set of which ``sample`` is one; only its shape and its type matter.

        ``axes``: "HWC" or "HW" if the data are known to be images, "" if not. ``layout``: what the user says of the
        network's input, "chw" or "hwc"; None if nothing.

        Samples of unknown axes that have the network's shape, up to axes of size 1 in front, are arranged like its
        input. That one's channels are then where ``layout`` says, else on the first of three axes if it is 1 or 3
        long, or the last if that one is; if both or neither are, samples still are inputs, but no images. Other
        samples of unknown axes are images if they have two axes, (H, W), or three and the same rule finds their
        channels.

        An image fits an input of (C, H, W), (H, W, C), one of H * W numbers if it is grey, and one of C * H * W
        numbers if ``layout`` says in which order. For grey images both orders are the same, so that ``layout``
        is then free to be anything that the input's shape allows.

        Raises InputError if samples do not fit the network, if the arrangement is ambiguous, if they are uint8 and
        ``pixels`` has no scale, if they are floats and the user gave one, and if ``layout`` has nothing to say. Other
        ``axes`` are a ValueError.
        """
        array = np.asarray(sample)
        input_shape = tuple(int(size) for size in input_shape)
        wanted = None if layout is None else layout.upper()
        if wanted not in {None, "CHW", "HWC"}:
            raise InputError(f"--layout is '{layout}': give chw (channels first) or hwc (channels last)")
        if axes not in {"", "HW", "HWC"}:
            raise ValueError(f"axes are '{axes}', none of 'HWC', 'HW' and ''")
        holds_pixels = array.dtype == np.uint8
        if pixels.asked and not holds_pixels:
            raise InputError(
                f"--scale, --mean and --std turn pixels (images, uint8 arrays) into inputs, but the data hold "
                f"{array.dtype} numbers: floating-point samples are taken as they are"
            )
        shape = tuple(array.shape)
        if axes == "" and core_shape(shape) == core_shape(input_shape):
            place = sample_axes = _own_layout(core_shape(shape), wanted)
            image_shape = _image_shape(core_shape(shape), sample_axes)
            if wanted is not None and image_shape is None:
                raise InputError(
                    f"--layout {layout} says where images keep their channels, but samples of shape {shape} are no "
                    "images: leave it out"
                )
        else:
            sample_axes = axes or _guessed_axes(shape, input_shape)
            image_shape = _image_shape(shape if axes else core_shape(shape), sample_axes)
            if image_shape is None:
                raise InputError(f"{_SAMPLE} has shape {shape}, which is not {sample_axes}")
            place = _fit(image_shape, input_shape, wanted)
        chosen = cls(pixels, input_shape, place, shape, sample_axes, image_shape, holds_pixels)
        # Whatever does not fit shows here, and not in the middle of a long run.
        chosen(np.zeros(shape, array.dtype))
        return chosen

    @classmethod
    def identity(cls, input_shape: tuple[int, ...], pixels: Pixels | None = None) -> Preprocessing:
        """That of data that are inputs of the network already: floating-point arrays of its own shape.

        ``pixels``: what the user said about pixels; InputError if that was anything, since there are none.
        """
        return cls.choose(pixels or Pixels(), input_shape, np.zeros(input_shape), "", None)

    def image(self, sample: ArrayLike) -> Array:
        """A sample as an image: (H, W, C), of the sample's own type; a view of it where that is possible.

        Raises InputError if samples are no images, or if this one has another shape or type than the others.
        """
        array = self._checked(sample)
        if self.image_shape is None:
            raise InputError(self._no_image())
        height, width, channels = self.image_shape
        if self.sample_axes == "CHW":
            return np.moveaxis(array.reshape(channels, height, width), 0, -1)
        return array.reshape(height, width, channels)

    def from_image(self, image: ArrayLike) -> Floats:
        """The network's input for an image: float64 of ``input_shape``.

        ``image``: (H, W, C), or (H, W) if it is grey, in the data's own numbers. If samples are pixels, an image may
        also hold real numbers between them; they go through the same affine map.

        Raises InputError for another shape, for numbers that are not finite, and if samples are no images.
        """
        array = np.asarray(image)
        if self.image_shape is None:
            raise InputError(self._no_image())
        height, width, channels = self.image_shape
        if array.shape != self.image_shape and not (channels == 1 and array.shape == (height, width)):
            raise InputError(f"an image has shape {array.shape}, and the data hold images of {self.image_shape}")
        values = self._values(array.reshape(self.image_shape), "an image", channel_axis=2)
        if self.layout == "CHW":
            values = np.moveaxis(values, -1, 0)
        return np.ascontiguousarray(values).reshape(self.input_shape)

    def __call__(self, sample: ArrayLike) -> Floats:
        """The network's input for a sample: float64 of ``input_shape``.

        Raises InputError if the sample has another shape or type than the others, or numbers that are not finite.
        """
        if self.image_shape is not None:
            return self.from_image(self.image(sample))
        per_channel = max(len(self.pixels.mean), len(self.pixels.std)) > 1
        if self.holds_pixels and per_channel and len(core_shape(self.sample_shape)) == 3:
            raise InputError(self._no_image())
        return self._values(self._checked(sample), _SAMPLE, channel_axis=None).reshape(self.input_shape)

    def __str__(self) -> str:
        """What is done, in one line."""
        of = f" ({self.sample_axes})" if self.sample_axes else ""
        to = f" ({self.layout})" if self.layout else ""
        mapped = "floats as they are"
        if self.holds_pixels:
            mean, std = (", ".join(f"{x:g}" for x in numbers) for numbers in (self.pixels.mean, self.pixels.std))
            mapped = f"(pixel * {self.pixels.scale:g} - [{mean}]) / [{std}]"
        return f"samples {self.sample_shape}{of} -> input {self.input_shape}{to}, {mapped}"

    def _checked(self, sample: ArrayLike) -> Array:
        array = np.asarray(sample)
        if array.shape != self.sample_shape:
            raise InputError(
                f"{_SAMPLE} has shape {array.shape}, but others have {self.sample_shape}: a network takes samples of "
                "one shape, and lronnx does not resize, since the result would depend on how"
            )
        if (array.dtype == np.uint8) != self.holds_pixels:
            raise InputError(f"{_SAMPLE} holds {array.dtype} numbers, but others hold {self._kind()}: give one kind")
        return array

    def _values(self, array: Array, what: str, channel_axis: int | None) -> Floats:
        if not self.holds_pixels:
            return as_point(array, array.shape, what)
        if array.dtype != np.uint8:
            array = as_point(array, array.shape, what)
        return self.pixels.apply(array, channel_axis, what)

    def _kind(self) -> str:
        return "uint8 pixels" if self.holds_pixels else "floating-point numbers"

    def _no_image(self) -> str:
        core = core_shape(self.sample_shape)
        if len(core) == 3:
            return (
                f"samples have shape {self.sample_shape}, and it is not clear which axis holds the channels: say "
                "--layout chw or --layout hwc"
            )
        return (
            f"samples have shape {self.sample_shape} and are no images, as paths of translated images need them: give "
            "images, or arrays of (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )


def clear_layout(core: tuple[int, ...]) -> str:
    """Where an array without axes of size 1 in front keeps its axes if its shape alone tells: "CHW", "HWC" or "HW";
    else ""."""
    if len(core) == 2:
        return "HW"
    if len(core) != 3:
        return ""
    first, last = core[0] in (1, 3), core[2] in (1, 3)
    return "" if first == last else "CHW" if first else "HWC"


def image_size(input_shape: tuple[int, ...], layout: str) -> tuple[int, int] | None:
    """(H, W) of the images that an input takes, whose axes are as ``layout`` says: see :class:`Preprocessing`; "" if
    nothing is known but the shape. None if that does not tell."""
    core = core_shape(input_shape)
    found = _image_shape(core, layout or clear_layout(core))
    return None if found is None else found[:2]


def _own_layout(core: tuple[int, ...], wanted: str | None) -> str:
    """The same, if the user may have said something of arrays with three axes."""
    return wanted if wanted is not None and len(core) == 3 else clear_layout(core)


def _image_shape(shape: tuple[int, ...], axes: str) -> tuple[int, int, int] | None:
    """(H, W, C) of an array of this shape; None if it is no image."""
    if len(shape) != len(axes) or not axes:
        return None
    sizes = dict(zip(axes, shape, strict=True))
    return sizes["H"], sizes["W"], sizes.get("C", 1)


def _guessed_axes(shape: tuple[int, ...], input_shape: tuple[int, ...]) -> str:
    """The axes of samples that say nothing of them and have another shape than the network's input."""
    core = core_shape(shape)
    axes = clear_layout(core)
    if not axes:
        # This says what does not fit, for arrays that are no images.
        as_point(np.zeros(shape), input_shape, _SAMPLE)
    return axes


def _fit(image: tuple[int, int, int], input_shape: tuple[int, ...], wanted: str | None) -> str:
    """The layout of an input of this shape that takes an image of (H, W, C). Raises InputError if none does."""
    height, width, channels = image
    core = core_shape(input_shape)
    found = {
        name: core_shape(shape) == core
        for name, shape in {
            "HW": (height, width) if channels == 1 else (),
            "CHW": (channels, height, width),
            "HWC": (height, width, channels),
        }.items()
    }
    # Numbers in a row, wherever axes of size 1 stand around them: (784,) or (784, 1).
    flat = max(core, default=1) == math.prod(core) == math.prod(image)
    if channels == 1 and (found["HW"] or flat):
        return "HW"
    fitting = [name for name in ("CHW", "HWC") if found[name]]
    if wanted is not None and (flat or wanted in fitting):
        return wanted
    if wanted is not None and fitting:
        raise InputError(
            f"--layout {wanted.lower()} does not fit: the network's input {input_shape} takes images of "
            f"{width} x {height} pixels (width x height) with {_channels(channels)} as "
            f"{fitting[0].lower()} only"
        )
    if len(fitting) == 1:
        return fitting[0]
    if flat or fitting:
        raise InputError(
            f"the network's input {input_shape} holds the {channels} channels of an image in an order that its shape "
            "does not tell: say --layout chw (one channel after the other) or --layout hwc (pixel by pixel)"
        )
    raise InputError(_misfit(image, core, input_shape))


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _misfit(image: tuple[int, int, int], core: tuple[int, ...], input_shape: tuple[int, ...]) -> str:
    """Why an image of (H, W, C) is no input of this shape."""
    height, width, channels = image
    kind = {1: "a grey image", 3: "a colour image"}.get(channels, f"an image of {channels} channels")
    message = f"{_SAMPLE} is {kind} of {width} x {height} pixels (width x height), the network's input {input_shape} "
    clear = clear_layout(core)
    takes = [taken for axes in ([clear] if clear else ["CHW", "HWC"]) if (taken := _image_shape(core, axes))]
    if channels > 1 and (height, width) in {(h, w) for h, w, c in takes if c == 1}:
        return message + "takes grey ones: convert the images, lronnx changes no colours"
    if any((h, w) == (height, width) for h, w, _ in takes):
        counts = " or ".join(str(c) for h, w, c in takes if (h, w) == (height, width))
        return message + f"takes {counts} channels: convert the images, lronnx changes no colours"
    sizes = sorted({f"{w} x {h}" for h, w, c in takes if c == channels})
    if sizes:
        return message + (f"takes {' or '.join(sizes)}; lronnx does not resize, since the result would depend on how")
    if len(core) == 1:
        return message + f"takes {core[0]} numbers, and the image has {math.prod(image)}"
    if clear:
        return message + f"takes {takes[0][1]} x {takes[0][0]} with {_channels(takes[0][2])}"
    return message + "takes none of that shape"
