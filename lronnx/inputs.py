"""Reading the points that a walk joins: NumPy files, image files, and arrays that a caller hands over.

Nothing is guessed and nothing is changed silently: no resizing, no reordering of axes, no rounding, no
unpickling. A point is a float64 array of one sample's shape in the end, or an InputError says what does not fit.
"""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lronnx.errors import InputError

Array = NDArray[Any]
Floats = NDArray[np.float64]
_Scalar = TypeVar("_Scalar", bound=np.generic)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"})

SCALE_KEY, MEAN_KEY, STD_KEY = "lronnx.scale", "lronnx.mean", "lronnx.std"
"""Metadata of a model that say how its training pipeline turned pixels into inputs."""

_DAMAGE = (EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)

_AXES_NOTE = "axes of size 1 in front may be left out or added"


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a pixel p from 0 to 255 becomes an input: ``(p * scale - mean) / std``, the last two per channel.

    ``scale`` is None if nobody has said; ``mean`` and ``std`` hold one number, or one per channel.
    ``asked``: the user gave an option, so that it is an error if no file holds pixels.
    """

    scale: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    asked: bool = False

    @classmethod
    def choose(
        cls, scale: str | None, mean: str | None, std: str | None, metadata: Mapping[str, str] | None = None
    ) -> Pixels:
        """What the user says (texts such as ``1/255`` or ``0.485,0.456,0.406``), else what the model records.

        Raises InputError for texts that are no numbers, and for a zero or infinite factor.
        """
        metadata = metadata or {}

        def pick(text: str | None, option: str, key: str) -> tuple[float, ...] | None:
            if text is not None:
                return _numbers(text, option)
            return _numbers(metadata[key], f"the model's metadata entry {key}") if key in metadata else None

        factor = pick(scale, "--scale", SCALE_KEY)
        if factor is not None and len(factor) != 1:
            raise InputError(f"--scale takes one number, not {len(factor)}; numbers per channel go to --mean and --std")
        chosen = cls(
            scale=None if factor is None else factor[0],
            mean=pick(mean, "--mean", MEAN_KEY) or (0.0,),
            std=pick(std, "--std", STD_KEY) or (1.0,),
            asked=any(text is not None for text in (scale, mean, std)),
        )
        if chosen.scale == 0.0 or 0.0 in chosen.std:
            raise InputError("--scale and --std must not be 0: they are factors between pixels and inputs")
        return chosen

    def apply(self, pixels: Array, channel_axis: int | None, what: str) -> Floats:
        """The inputs that these pixels, whole or real numbers, stand for: float64 of the same shape.

        Raises InputError if no scale is known or channels do not fit.
        """
        if self.scale is None:
            raise InputError(
                f"{what} holds pixels from 0 to 255, and nothing says how they become inputs of the network: "
                "give --scale 1/255 (or --scale 1 for a network that takes 0 to 255), and --mean and --std if it "
                "was trained with them"
            )
        mean, std = (self._spread(numbers, pixels, channel_axis, what) for numbers in (self.mean, self.std))
        return np.asarray((pixels.astype(np.float64) * self.scale - mean) / std)

    def invert(self, inputs: Array, channel_axis: int | None, what: str) -> Floats:
        """The pixels, real numbers, that become these inputs: float64 of the same shape.

        Raises InputError if no scale is known or channels do not fit.
        """
        if self.scale is None:
            raise InputError(f"nothing says which pixels {what} stands for")
        mean, std = (self._spread(numbers, inputs, channel_axis, what) for numbers in (self.mean, self.std))
        return np.asarray((inputs.astype(np.float64) * std + mean) / self.scale)

    @staticmethod
    def _spread(numbers: tuple[float, ...], pixels: Array, channel_axis: int | None, what: str) -> Floats:
        if len(numbers) == 1:
            return np.array(numbers[0])
        channels = 1 if channel_axis is None else pixels.shape[channel_axis]
        if channel_axis is None or len(numbers) != channels:
            raise InputError(
                f"--mean and --std hold {len(numbers)} numbers, but {what} has {channels} channel"
                f"{'' if channels == 1 else 's'}: give one number, or one per channel"
            )
        shape = [1] * pixels.ndim
        shape[channel_axis] = channels
        return np.array(numbers).reshape(shape)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a sample of an image network keeps its height, width and channels (axis None: a single grey one)."""

    height: int
    width: int
    channels: int
    channel_axis: int | None


@dataclass(frozen=True, slots=True)
class _Source:
    """One array as it was read, ``what`` to call it in messages, and the channel axis of an image."""

    array: Array
    what: str
    channel_axis: int | None = None


def read_points(
    shape: Sequence[int],
    *,
    start: str | None = None,
    end: str | None = None,
    points: str | None = None,
    closed: bool = False,
    pixels: Pixels | None = None,
) -> Floats:
    """The points of a path, from ``start`` and ``end`` or from ``points``: float64 of shape (P, \\*shape), P >= 2.

    Each is a file: ``.npy``; ``.npz`` with the key ``start``, ``end`` or ``points`` (for ``points`` also both of the
    first two), or ``file.npz:key`` for another key; or, for ``start`` and ``end``, an image. ``shape`` is that of one
    sample; see :func:`as_points` for what fits it. Floating-point arrays are taken as they are. Arrays of
    uint8 and images hold pixels, which ``pixels`` turns into inputs.

    Raises InputError if a file cannot be read or does not fit.
    """
    pixels = pixels or Pixels()
    shape = tuple(shape)
    if points is None:
        if start is None or end is None:
            raise InputError("a walk needs both a start and an end, or a file with points")
        sources = [_read_source(start, "start", shape), _read_source(end, "end", shape)]
    else:
        if start is not None or end is not None:
            raise InputError("points and a start or end exclude each other")
        sources = _read_path(points)
    used = any(source.array.dtype == np.uint8 for source in sources)
    if pixels.asked and not used:
        raise InputError(
            "--scale, --mean and --std turn pixels (images, uint8 arrays) into inputs, but no file given holds "
            "pixels: floating-point arrays are taken as they are"
        )
    converted = []
    for source in sources:
        array, what = source.array, source.what
        if array.dtype == np.uint8:
            axis = source.channel_axis if source.channel_axis is not None else _channel_axis(shape, pixels)
            array = pixels.apply(_to_shape(array, shape, what), axis, what)
        # Checked as it was given: messages then speak of positions in that array.
        converted.append(_to_shape(_to_floats(array, what), shape, what))
    _check_directions(converted, closed)
    return np.stack(converted)


def as_points(points: Iterable[ArrayLike], shape: Sequence[int], *, closed: bool = False) -> Floats:
    """Points that a caller hands over, checked: float64 of shape (P, \\*shape), P >= 2.

    A point may have the shape of one sample, ``shape``, or differ from it by axes of size 1 in front: for
    (1, 3, 32, 32) also (3, 32, 32).

    Raises InputError for fewer than two points, another shape, numbers that are not floating-point or
    not finite, and for neighbouring points that are equal (with ``closed`` the last and the first are neighbours).
    """
    shape = tuple(shape)
    converted = []
    for position, point in enumerate(points):
        converted.append(as_point(point, shape, f"point {position}"))
    _check_directions(converted, closed)
    return np.stack(converted)


def as_point(point: ArrayLike, shape: Sequence[int], what: str) -> Floats:
    """One point that a caller hands over, checked: float64 of ``shape``, from which it may differ by axes of size 1 in
    front. ``what``: what to call it in messages.

    Raises InputError for another shape, and for numbers that are not floating-point or not finite.
    """
    return _to_shape(_to_floats(_as_array(point, what), what), tuple(shape), what)


def core_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """``shape`` without axes of size 1 in front."""
    position = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[position:])


def read_array(spec: str, key: str) -> Array:
    """An array from a ``.npy`` or ``.npz`` file, of whatever type it has; ``key`` is looked up in an ``.npz``.

    ``spec`` is the file's name; ``file.npz:other`` names another key. Raises InputError.
    """
    source = _read_numpy(spec, key)
    if source.array.dtype.kind in "fc" and not np.isfinite(source.array).all():
        raise InputError(_not_finite(source.array, source.what))
    return source.array


def shape_from_points(
    declared: Sequence[int | str] | None, *, start: str | None, points: str | None
) -> tuple[int, ...] | None:
    """The sample shape that the given points have, for a network that leaves dimensions open; None if they do not fit.

    ``declared``: the network's input shape, a string for every open dimension; None if it says nothing at all.
    Raises InputError for unreadable files.
    """
    if declared is None:
        # Whether the points' first axis is a batch is then anybody's guess.
        return None
    if points is not None:
        given = _read_path(points)[0].array.shape
    elif start is not None and not _is_image(start):
        given = _read_numpy(start, "start").array.shape
    else:
        return None
    core = core_shape(given)
    missing = len(declared) - len(core)
    if missing < 0:
        return None
    full = (1,) * missing + core
    fits = all(
        wanted == have if isinstance(wanted, int) else (position > 0 or have == 1)
        for position, (wanted, have) in enumerate(zip(declared, full, strict=True))
    )
    return full if fits else None


def _read_path(spec: str) -> list[_Source]:
    """The points of ``--points``: one array with points along its first axis, or ``start`` and ``end``."""
    path, key = split_spec(spec)
    if _is_image(spec):
        raise InputError(f"{path} is one image; points are an array: two images go to --start and --end")
    if key is None and path.suffix.lower() == ".npz":
        keys = npz_keys(path)
        if "points" not in keys and {"start", "end"} <= set(keys):
            return [_read_numpy(spec, "start"), _read_numpy(spec, "end")]
    source = _read_numpy(spec, "points")
    if source.array.ndim == 0 or len(source.array) < 2:
        raise InputError(
            f"{source.what} has shape {_text(source.array.shape)}: points are stacked along the first axis, "
            "at least two of them"
        )
    return [_Source(point, f"point {index} of {source.what}") for index, point in enumerate(source.array)]


def _read_source(spec: str, role: str, shape: tuple[int, ...]) -> _Source:
    """A start or an end, whatever kind of file it is."""
    if _is_image(spec):
        return _read_image(split_spec(spec)[0], role, shape)
    source = _read_numpy(spec, role)
    return _Source(source.array, f"the {role} ({source.what})")


def _is_image(spec: str) -> bool:
    return split_spec(spec)[0].suffix.lower() in IMAGE_SUFFIXES


def split_spec(spec: str) -> tuple[Path, str | None]:
    """The file that ``spec`` names, and the key behind it (``file.npz:key``) or None.

    If a file exists under the full name, that one is meant.
    """
    if Path(spec).exists():
        return Path(spec), None
    head, found, key = spec.rpartition(".npz:")
    return (Path(head + ".npz"), key) if found else (Path(spec), None)


def _read_numpy(spec: str, default_key: str) -> _Source:
    path, key = split_spec(spec)
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with path.open("rb") as stream:
            return _Source(read_npy(stream, str(path)), str(path))
    if suffix != ".npz":
        raise InputError(
            f"{path} is of no kind that lronnx reads: give a .npy file, an .npz file, or an image "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    key = default_key if key is None else key
    keys = npz_keys(path)
    if key not in keys:
        have = ", ".join(f"'{name}'" for name in keys) or "none"
        raise InputError(f"{path} has no array '{key}' (it has: {have}); {path}:KEY names another one")
    return _Source(read_npz(path, key), f"{path}:{key}")


def read_npz(path: Path, key: str) -> Array:
    """The array ``key`` of an ``.npz`` file, which must be there. Raises InputError if it cannot be read."""
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
        return read_npy(stream, f"{path}:{key}")


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays in an ``.npz`` file, in its order. Raises InputError if it cannot be read."""
    check_file(path)
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


@contextmanager
def reading(what: Path | str) -> Iterator[None]:
    """Turns what a damaged file makes the standard library raise into an InputError that names the file."""
    try:
        yield
    except MemoryError:
        raise InputError(f"{what} claims to hold more than fits in memory") from None
    except _DAMAGE as error:
        raise InputError(f"{what} cannot be read, it may be damaged: {error}") from None


def read_npy(stream: IO[bytes], what: str) -> Array:
    """One array in numpy's own format; objects in it would be pickled code, and are never loaded."""
    _check_npy(stream, what)
    try:
        with reading(what):
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except InputError as error:
        if "allow_pickle" in str(error):
            raise InputError(_pickled(what)) from None
        raise


def map_npy(path: Path) -> Array:
    """The array of a ``.npy`` file, read-only and mapped into memory: only what is used is read.

    Raises InputError as :func:`read_npy` does.
    """
    check_file(path)
    with path.open("rb") as stream:
        _check_npy(stream, str(path))
    try:
        with reading(path):
            return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except InputError as error:
        if "Python objects" in str(error):
            raise InputError(_pickled(str(path))) from None
        raise


def _check_npy(stream: IO[bytes], what: str) -> None:
    """Raise InputError unless the stream, which is at its beginning again afterwards, starts as a .npy file does."""
    magic = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if not magic:
        raise InputError(f"{what} is empty")
    if magic != np.lib.format.MAGIC_PREFIX:
        if magic[:1] == b"\x80":
            raise InputError(_pickled(what))
        raise InputError(f"{what} is not a .npy file, whatever its name: save the array with numpy.save")
    stream.seek(0)


def _pickled(what: str) -> str:
    return (
        f"{what} holds pickled Python objects, which lronnx never loads, since loading them can run any program: "
        "save a plain floating-point array with numpy.save"
    )


def check_file(path: Path) -> None:
    """Raise InputError unless there is a file of this name."""
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not path.is_file():
        raise InputError(f"{path} is not a file")


def _read_image(path: Path, role: str, shape: tuple[int, ...]) -> _Source:
    """An image as a uint8 array of the sample's shape; grey or colour as the network's channels want it."""
    check_file(path)
    require_pillow(path)
    what = f"the {role} ({path})"
    layouts = _layouts(shape)
    if not layouts:
        raise InputError(
            f"{what} is an image, but the network's input of shape {_text(shape)} is not: give a .npy or .npz file"
        )
    with _opened_image(path, what) as image:
        # Sizes are compared before any pixel is decoded.
        width, height = image.size
        fitting = [layout for layout in layouts if (layout.width, layout.height) == (width, height)]
        if not fitting:
            wanted = " or ".join(sorted({f"{layout.width} x {layout.height}" for layout in layouts}))
            raise InputError(
                f"{what} is {width} x {height} pixels, the network's input {_text(shape)} takes {wanted} "
                "(width x height); lronnx does not resize, since the result would depend on how"
            )
        if len(fitting) > 1:
            raise InputError(f"in {_text(shape)} the axis of the channels is not clear for {what}: give a .npy file")
        layout = fitting[0]
        pixels = _decode(image, layout.channels, what)
    if layout.channel_axis is not None and layout.channel_axis == len(shape) - 3:
        pixels = np.moveaxis(pixels, -1, 0)
    return _Source(np.ascontiguousarray(pixels).reshape(shape), what, layout.channel_axis)


def require_pillow(what: Path | str) -> None:
    """Raise InputError unless Pillow, which reads images, is installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise InputError(f"reading {what} needs Pillow: pip install 'lronnx[image]'") from None


def decode_image(encoded: IO[bytes], what: str) -> NDArray[np.uint8]:
    """The pixels of an image file: (height, width) if it is grey, else (height, width, 3), red, green, blue.

    An image with a palette counts as one in colour. Raises InputError unless it is a single opaque frame of 8 bits
    a channel, and of a size that Pillow does not take for a decompression bomb. Pillow must be installed.
    """
    with _opened_image(encoded, what) as image:
        if image.mode in {"1", "L", "LA"}:
            return _decode(image, 1, what)[:, :, 0]
        return _decode(image, 3, what)


@contextmanager
def _opened_image(file: Path | IO[bytes], what: str) -> Iterator[Any]:
    """A Pillow image, not decoded yet; whatever goes wrong inside becomes an InputError that names the file."""
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(file) as image,
        ):
            yield image
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{what} claims to hold more than fits in memory") from None
    # The decoders of some thirty formats raise whatever they like on damaged data.
    except Exception as error:
        raise InputError(f"{what} cannot be read as an image: {error}") from None


def _decode(image: Any, channels: int, what: str) -> NDArray[np.uint8]:
    """(height, width, channels) of a Pillow image whose pixels are 8 bits deep and opaque."""
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{what} holds {image.n_frames} frames: give a file with one")
    if image.mode not in {"1", "L", "P", "RGB", "LA", "RGBA", "PA"}:
        raise InputError(f"{what} has pixels of mode {image.mode}, not 8 bits of grey or RGB: give a .npy file")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise InputError(f"{what} is transparent in places, and no input of a network is: flatten it first")
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def _layouts(shape: Sequence[int]) -> list[_Layout]:
    """How a sample of this shape may be an image: channels first, channels last, or a grey plane."""
    core = core_shape(shape)
    if len(core) == 2:
        return [_Layout(core[0], core[1], 1, None)]
    if len(core) != 3:
        return []
    found = []
    if core[0] == 3:
        found.append(_Layout(core[1], core[2], 3, len(shape) - 3))
    if core[2] in (1, 3):
        found.append(_Layout(core[0], core[1], core[2], len(shape) - 1))
    return found


def _channel_axis(shape: tuple[int, ...], pixels: Pixels) -> int | None:
    """Where a uint8 array of this shape keeps its channels, as far as per-channel numbers need to know."""
    count = max(len(pixels.mean), len(pixels.std))
    axes = {layout.channel_axis for layout in _layouts(shape) if layout.channels == count}
    return axes.pop() if count > 1 and len(axes) == 1 else None


def _as_array(point: ArrayLike, what: str) -> Array:
    try:
        return np.asarray(point)
    except ValueError as error:
        raise InputError(f"{what} is not an array: {error}") from None


def _to_shape(array: NDArray[_Scalar], shape: tuple[int, ...], what: str) -> NDArray[_Scalar]:
    """``array`` as ``shape``, from which it may differ by axes of size 1 in front."""
    core, wanted = core_shape(array.shape), core_shape(shape)
    if core == wanted:
        return array.reshape(shape)
    message = f"{what} has shape {_text(array.shape)}, the network's input takes {_text(shape)} ({_AXES_NOTE})"
    if len(core) == len(wanted) + 1 and core[1:] == wanted:
        message += f"; this looks like {core[0]} samples: give one, or all as points of a path"
    elif sorted(core) == sorted(wanted):
        message += "; the axes seem to be in another order"
    elif math.prod(core) == math.prod(wanted):
        message += "; the number of elements fits, so a reshape may be what is missing"
    raise InputError(message)


def _to_floats(array: Array, what: str) -> Floats:
    """``array`` as float64, exactly; InputError for other kinds of numbers and for nan and infinities."""
    if array.dtype.kind != "f":
        remedy = "give floating-point numbers, saved with array.astype('float64')"
        if array.dtype == np.uint8:
            remedy += ", or scale the pixels first"
        elif array.dtype.hasobject:
            remedy = "give a plain floating-point array"
        raise InputError(
            f"{what} holds {array.dtype} numbers, and a walk moves through real ones: {remedy}"
            if array.dtype.kind in "iubc"
            else f"{what} holds {array.dtype}, no numbers: {remedy}"
        )
    if not np.isfinite(array).all():
        raise InputError(_not_finite(array, what))
    with np.errstate(over="ignore"):
        result = array.astype(np.float64)
    if array.dtype.itemsize > 8 and not np.array_equal(result, array):
        raise InputError(f"{what} holds {array.dtype} numbers that float64 cannot hold exactly")
    return result


def _not_finite(array: Array, what: str) -> str:
    bad = np.argwhere(~np.isfinite(array))
    first = tuple(int(i) for i in bad[0])
    others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"{what} is {array[first]} at position {_text(first)}{others}: every number must be finite"


def _check_directions(points: Sequence[Floats], closed: bool) -> None:
    """Raise InputError unless there are two points, and every segment has a finite length above 0."""
    if len(points) < 2:
        raise InputError(f"a path needs at least two points, not {len(points)}")
    last = len(points) if closed else len(points) - 1
    for segment in range(last):
        following = (segment + 1) % len(points)
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(points[following] - points[segment]))
        where = f"segment {segment} (from point {segment} to point {following})"
        if length == 0.0:
            raise InputError(f"{where} has no direction: its start and end are the same point")
        if not math.isfinite(length):
            raise InputError(f"{where} is longer than float64 can say: scale the points down")


def _numbers(text: str, where: str) -> tuple[float, ...]:
    """``0.5``, ``1/255`` or several of these with commas between them, in brackets or not."""
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        numbers = tuple(_number(part) for part in bare.split(","))
    except (ValueError, ZeroDivisionError):
        raise InputError(
            f"{where} is '{text}', which is not a number, a fraction such as 1/255, or several with commas between them"
        ) from None
    return numbers


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    number = float(above) / float(below) if slash else float(above)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _text(shape: Sequence[int]) -> str:
    """A shape as Python writes it, whatever integers it is made of."""
    return str(tuple(int(size) for size in shape))
