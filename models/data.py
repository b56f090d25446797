"""Labelled images to train networks with: scikit-learn's digits, CIFAR-10, CIFAR-100, folders and archives of images.

A position in a split means the same image here and in ``lronnx analyze --data FILE`` on the same file: an exported
model tells by position which of its training labels were corrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from models import cifar
from models.archives import DataError, Member, Tree, damage, open_tree
from models.files import write_whole

__all__ = ["DataError", "Held", "Images", "cache_folder", "digits", "load", "symmetric_noise"]

Pixels = NDArray[np.uint8]
Positions = NDArray[np.int64]

FOLDER_VARIABLE = "LRONNX_CACHE_DIR"
INSTALL = "pip install '.[train]'"
DIGITS_TRAIN = 1000

SPLITS = ("train", "test")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"})

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

NORMALIZATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # Per channel, the mean and the standard deviation of the published training images' pixels / 255, in 4 digits.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}

_LAYOUT = "train/CLASS/NAME and test/CLASS/NAME (such as train/cat/0001.png)"

# Of how decoded images are kept: what another version kept is not read.
_CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class Held:
    """Images held out of the training split: uint8 (N, C, H, W), their labels int64 (N,), and their positions int64
    (N,) in the training split as its source orders it, ascending."""

    images: Pixels
    labels: NDArray[np.int64]
    positions: Positions


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled data set in two splits. Immutable by convention: the arrays are shared by what is drawn from it.

    ``name``: "digits", "cifar10", "cifar100" or the name of the file. ``provenance``: what the images are and where
    they are from, in one sentence. ``classes``: their names by label. Images are uint8 (N, C, H, W) with 1 channel
    (grey) or 3 (red, green, blue), labels int64 (N,). A network's input is (pixel * ``scale`` - ``mean``) / ``std``,
    the last two with one number per channel. ``train_positions`` and ``test_positions``, int64 (N,): where the images
    are in the splits as the source orders them.
    """

    name: str
    provenance: str
    classes: tuple[str, ...]
    train_images: Pixels
    train_labels: NDArray[np.int64]
    test_images: Pixels
    test_labels: NDArray[np.int64]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_positions: Positions
    test_positions: Positions

    def normalized(self, images: Pixels) -> NDArray[np.float32]:
        """The inputs for images uint8 (N, C, H, W): float32 of the same shape, rounded once from float64.

        Raises ValueError for another type or number of channels.
        """
        channels = len(self.mean)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"images are uint8 of (N, {channels}, H, W), and these are {images.dtype} of {images.shape}"
            )
        # A pixel has 256 values, so that no array of float64 as large as the images is needed.
        values = np.arange(256, dtype=np.float64) * self.scale
        table = ((values - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]).astype(np.float32)
        inputs = np.empty(images.shape, dtype=np.float32)
        for channel in range(channels):
            inputs[:, channel] = table[channel][images[:, channel]]
        return inputs

    def subset(self, train: int | None, test: int | None, seed: int) -> Images:
        """So many images of each split, drawn without replacement, in their order; all of a split for None.

        The draw in one split depends on the seed and on the split's size only, and more images add to fewer. Raises
        DataError if there are fewer or none are asked for.
        """
        kept_train = _drawn(train, len(self.train_images), seed, 0, f"training images of {self.name}")
        kept_test = _drawn(test, len(self.test_images), seed, 1, f"test images of {self.name}")
        return replace(
            self,
            train_images=self.train_images[kept_train],
            train_labels=self.train_labels[kept_train],
            train_positions=self.train_positions[kept_train],
            test_images=self.test_images[kept_test],
            test_labels=self.test_labels[kept_test],
            test_positions=self.test_positions[kept_test],
        )

    def hold_out(self, count: int, seed: int) -> tuple[Images, Held]:
        """The data set without ``count`` training images, drawn without replacement, and these, for validation.

        Raises DataError unless at least one image is held out and one is left to train with.
        """
        total = len(self.train_images)
        if count >= total:
            raise DataError(f"{count} of {total} training images of {self.name} held out leave none to train with")
        held = _drawn(count, total, seed, 2, f"training images of {self.name}")
        kept = np.delete(np.arange(total), held)
        rest = replace(
            self,
            train_images=self.train_images[kept],
            train_labels=self.train_labels[kept],
            train_positions=self.train_positions[kept],
        )
        return rest, Held(self.train_images[held], self.train_labels[held], self.train_positions[held])


def load(spec: str, *, folder: Path | None = None, download: bool = False) -> Images:
    """The data set called ``spec``.

    - ``digits``: scikit-learn's, 1000 training images and 797 test images, see :func:`digits`.
    - ``cifar10``, ``cifar100`` (fine labels): the published archives, binary or Python version, or the folders that
      they unpack to, looked for in ``folder``; by default that is ``data`` in the user's cache directory of lronnx,
      or in the folder that the environment variable LRONNX_CACHE_DIR names. With ``download`` the binary version is
      got from the official site if there is none. They must be complete.
    - Anything else is the path of a folder, a tar archive (also compressed by gzip, bzip2 or xz) or a zip file, told
      by its content: CIFAR in one of its published formats, or images in ``train/CLASS/NAME`` and
      ``test/CLASS/NAME``, all of one size, grey or in colour, sorted by class, then name. Folders above all of these
      are left out. What is in an archive is decoded once, and kept in the cache folder under its SHA-256.

    A file that has the name of a published archive must have its MD5 as well, wherever it is; other files and folders
    in a published format are read without, as ``provenance`` says.

    Raises DataError if there is no such data set, if it cannot be read, and for a ``folder`` or a ``download`` of a
    data set that needs neither.
    """
    if spec in cifar.PUBLISHED:
        return _published(spec, cache_folder() if folder is None else folder, download)
    if folder is not None or download:
        option = "folder of data" if folder is not None else "download"
        raise DataError(f"a {option} is for {' and '.join(cifar.PUBLISHED)}, not for '{spec}': leave it out")
    if spec == "digits":
        return digits(train=DIGITS_TRAIN, seed=0)
    path = Path(spec)
    if not path.exists():
        raise DataError(f"'{spec}' is neither digits, {', '.join(cifar.PUBLISHED)} nor an existing file or folder")
    verified = cifar.is_published(path)
    cache = _cache_of(path)
    decoded = None if cache is None else _read_cache(cache)
    if decoded is None:
        with open_tree(path) as tree:
            official = cifar.read(tree)
            if official is not None:
                return _from_cifar(official, path, verified)
            decoded = _decoded(tree) if cache is None else _kept(tree, cache)
    return _from_images(decoded, path)


def digits(*, train: int, seed: int) -> Images:
    """scikit-learn's ``load_digits``: 1797 grey images of 8 x 8 pixels from 0 to 16, classes "0" to "9".

    They come without a split: ``train`` of them, with the classes in equal shares, are the training images, the others
    the test images, as ``train_test_split`` of scikit-learn draws and orders them for ``seed``. Raises DataError if
    scikit-learn is not installed, or if one of the two would lack images of some class.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise DataError(f"the digits need scikit-learn: {INSTALL}") from None
    pixels, labels = load_digits(return_X_y=True)
    total = len(labels)
    if not 10 <= train <= total - 10:
        raise DataError(f"{train} of {total} digits cannot be split by class: train with 10 to {total - 10} of them")
    images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), train_size=train, stratify=labels, random_state=seed
    )
    return Images(
        name="digits",
        provenance=(
            "scikit-learn load_digits (UCI optical recognition of handwritten digits, 8x8), "
            f"{len(x_train)} training and {len(x_test)} test images, stratified, seed {seed}"
        ),
        classes=tuple(str(digit) for digit in range(10)),
        train_images=x_train,
        train_labels=y_train,
        test_images=x_test,
        test_labels=y_test,
        scale=1 / 16,
        mean=(0.0,),
        std=(1.0,),
        train_positions=np.arange(len(x_train)),
        test_positions=np.arange(len(x_test)),
    )


def symmetric_noise(
    labels: NDArray[np.int64], probability: float, classes: int, seed: int
) -> tuple[NDArray[np.int64], Positions]:
    """Labels (N,) of which each is corrupted with a probability, and the positions, ascending, of those that are.

    Each label is corrupted independently of the others; it then becomes one of the other ``classes`` - 1 classes, all
    equally likely, so that a corrupted label always differs. Nothing but the arguments decides the result. Raises
    DataError for a probability outside of [0, 1], for fewer than two classes, and for labels that are none of them.
    """
    if not 0 <= probability <= 1:
        raise DataError(f"the probability of a corrupted label is {probability}: it must be from 0 to 1")
    if classes < 2:
        raise DataError(f"labels of {classes} class cannot be corrupted: at least two are needed")
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(f"labels go from {labels.min()} to {labels.max()}, and {classes} classes from 0")
    generator = np.random.default_rng(seed)
    corrupted = np.flatnonzero(generator.random(len(labels)) < probability)
    noisy = np.array(labels, dtype=np.int64)
    noisy[corrupted] = (noisy[corrupted] + generator.integers(1, classes, len(corrupted))) % classes
    return noisy, corrupted.astype(np.int64)


def _drawn(count: int | None, total: int, seed: int, stream: int, what: str) -> Positions:
    """Ascending positions of ``count`` out of ``total``; ``stream`` tells draws with the same seed apart."""
    if count is None:
        return np.arange(total)
    if not 1 <= count <= total:
        raise DataError(f"{count} {what} cannot be drawn: there are {total}, and at least 1 is needed")
    if seed < 0:
        raise DataError(f"the seed is {seed}: it must not be negative")
    return np.sort(np.random.default_rng([seed, stream]).permutation(total)[:count])


def cache_folder() -> Path:
    """Where data sets are looked for and kept: ``data`` in $LRONNX_CACHE_DIR or in lronnx's user cache directory."""
    named = os.environ.get(FOLDER_VARIABLE)
    return (Path(named) if named else platformdirs.user_cache_path("lronnx", appauthor=False)) / "data"


# --- CIFAR ----------------------------------------------------------------------------------------------------


def _published(dataset: str, folder: Path, download: bool) -> Images:
    path = cifar.find(dataset, folder)
    if path is None and download:
        path = cifar.download(dataset, folder)
    if path is None:
        archives = " or ".join(entry.archive for entry in cifar.PUBLISHED[dataset])
        state = "" if folder.is_dir() else " (there is no such folder)"
        raise DataError(
            f"{cifar.TITLES[dataset]} is not in {folder}{state}: allow its download (--download), or put {archives} "
            f"from {cifar.BASE_URL} there"
        )
    verified = cifar.is_published(path)
    with open_tree(path) as tree:
        official = cifar.read(tree)
    if official is None or official.dataset != dataset:
        raise DataError(f"{path} does not hold {cifar.TITLES[dataset]}: delete it and get it again")
    counts = len(official.train_images), len(official.test_images)
    if counts != cifar.COUNTS:
        raise DataError(
            f"{path} holds {counts[0]} training and {counts[1]} test images, and {cifar.TITLES[dataset]} has "
            f"{cifar.COUNTS[0]} and {cifar.COUNTS[1]}: get it again, or give its path to train with a part of it"
        )
    return _from_cifar(official, path, verified)


def _from_cifar(official: cifar.Cifar, path: Path, verified: bool) -> Images:
    checked = "MD5 as published" if verified else "not compared with the published MD5"
    mean, std = NORMALIZATION[official.dataset]
    return Images(
        name=official.dataset,
        provenance=f"{cifar.TITLES[official.dataset]}, {official.version} version ({_name(path)}, {checked})",
        classes=official.classes,
        train_images=official.train_images,
        train_labels=official.train_labels,
        test_images=official.test_images,
        test_labels=official.test_labels,
        scale=1 / 255,
        mean=mean,
        std=std,
        train_positions=np.arange(len(official.train_images)),
        test_positions=np.arange(len(official.test_images)),
    )


# --- image files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoded:
    """What image files hold: ``jpeg`` if any of them is one."""

    classes: tuple[str, ...]
    images: dict[str, Pixels]
    labels: dict[str, NDArray[np.int64]]
    jpeg: bool


def _from_images(decoded: _Decoded, path: Path) -> Images:
    shape = decoded.images["train"].shape[1:]
    if decoded.classes == CIFAR10_CLASSES and shape == (3, 32, 32):
        encoded = "re-encoded as JPEG" if decoded.jpeg else "as image files"
        name, provenance = "cifar10", f"CIFAR-10, {encoded} ({_name(path)})"
        mean, std = NORMALIZATION[name]
    else:
        name = _name(path)
        provenance = f"images of {name}, {'re-encoded as JPEG' if decoded.jpeg else 'as image files'}"
        mean, std = _moments(decoded.images["train"], name)
    return Images(
        name=name,
        provenance=provenance,
        classes=decoded.classes,
        train_images=decoded.images["train"],
        train_labels=decoded.labels["train"],
        test_images=decoded.images["test"],
        test_labels=decoded.labels["test"],
        scale=1 / 255,
        mean=mean,
        std=std,
        train_positions=np.arange(len(decoded.images["train"])),
        test_positions=np.arange(len(decoded.images["test"])),
    )


def _moments(images: Pixels, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels / 255, rounded to 4 digits."""
    means, stds = [], []
    values = np.arange(256) / 255
    for channel in range(images.shape[1]):
        counts = sum(np.bincount(part[:, channel].ravel(), minlength=256) for part in np.array_split(images, 16))
        mean = float(np.average(values, weights=counts))
        std = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
        if round(std, 4) == 0:
            raise DataError(f"all pixels of channel {channel} of {name} are the same in the training images")
        means.append(round(mean, 4))
        stds.append(round(std, 4))
    return tuple(means), tuple(stds)


def _decoded(tree: Tree) -> _Decoded:
    """Decode all images of a tree, in the order in which ``lronnx.data.open_data`` has them."""
    try:
        from PIL import Image  # noqa: F401
    except ImportError:
        raise DataError(f"reading the images of {tree.path} needs Pillow: {INSTALL}") from None
    placed = _placed(tree)
    classes = tuple(sorted({class_ for _, class_, _, _ in placed}))
    numbers = {class_: number for number, class_ in enumerate(classes)}
    images, labels = {}, {}
    first = next(member for split, _, _, member in placed if split == SPLITS[0])
    shape = _pixels(tree.read(first), tree.what(first))[0].shape
    jpeg = False
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"decoding {tree.path.name}", total=len(placed))
        for split in SPLITS:
            members = [(numbers[class_], member) for which, class_, _, member in placed if which == split]
            labels[split] = np.array([number for number, _ in members], dtype=np.int64)
            images[split] = np.empty((len(members), *shape), dtype=np.uint8)
            for row, (_, member) in enumerate(members):
                pixels, is_jpeg = _pixels(tree.read(member), tree.what(member))
                jpeg |= is_jpeg
                if pixels.shape != shape:
                    raise DataError(
                        f"{tree.what(member)} is {_described(pixels.shape)}, but {first.name} is "
                        f"{_described(shape)}: convert them to one size and kind"
                    )
                images[split][row] = pixels
                progress.advance(task)
    return _Decoded(classes, images, labels, jpeg)


def _placed(tree: Tree) -> list[tuple[str, str, str, Member]]:
    """Split, class, name and member of every image, sorted by these."""
    found: dict[tuple[str, ...], Member] = {}
    for member in tree.members:
        if posixpath.splitext(member.name)[1].lower() not in SUFFIXES:
            continue
        path = tuple(member.name.split("/"))
        if member.name.startswith("/") or ".." in path:
            raise DataError(f"{tree.what(member)} is outside of the data set: images are in {_LAYOUT}")
        if path in found:
            raise DataError(f"{tree.what(member)} is there twice: pack the data set again")
        found[path] = member
    if not found:
        raise DataError(
            f"{tree.path} holds {len(tree.members)} files, but neither images ({', '.join(sorted(SUFFIXES))}) nor "
            "CIFAR-10 or CIFAR-100 in one of its published formats"
        )
    shortest, longest = (pick(sorted(found), key=len) for pick in (min, max))
    if len(shortest) != len(longest):
        raise DataError(
            f"{tree.path} has images at different depths, such as {'/'.join(shortest)} and {'/'.join(longest)}: put "
            f"them in {_LAYOUT}"
        )
    if len(shortest) < 3:
        raise DataError(f"{tree.path} has images such as {'/'.join(shortest)}: put them in {_LAYOUT}")
    above = sorted({path[:-3] for path in found})
    if len(above) > 1:
        raise DataError(
            f"{tree.path} has images in several folders, such as {'/'.join(above[0])} and {'/'.join(above[1])}: put "
            f"them in {_LAYOUT}"
        )
    placed = sorted((path[-3], path[-2], path[-1], member) for path, member in found.items())
    splits = {split for split, _, _, _ in placed}
    if splits != set(SPLITS):
        listed = ", ".join(sorted(splits)[:20]) + (", ..." if len(splits) > 20 else "")
        raise DataError(f"{tree.path} has the splits {listed}, and not train and test: put images in {_LAYOUT}")
    return placed


def _pixels(encoded: bytes, what: str) -> tuple[Pixels, bool]:
    """The image in a file, uint8 (1, H, W) if it is grey, else (3, H, W), and whether it is a JPEG.

    An image with a palette counts as one in colour. Raises DataError unless it is a single opaque frame of 8 bits a
    channel.
    """
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(encoded)) as image,
        ):
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{what} holds several frames: give a file with one")
            if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
                raise DataError(f"{what} has pixels of mode {image.mode}, not 8 bits of grey or RGB")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[:, :, 3].min() < 255:
                raise DataError(f"{what} is transparent in places: flatten it first")
            grey = image.mode in {"1", "L", "LA"}
            pixels = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8)
            planes = pixels[None] if grey else np.moveaxis(pixels, 2, 0)
            return planes, image.format == "JPEG"
    except DataError:
        raise
    # The decoders of some thirty formats raise whatever they like on damaged data.
    except Exception as error:
        raise DataError(f"{what} cannot be read as an image: {error}") from None


def _described(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{'grey' if channels == 1 else 'in colour'}, {width} x {height} pixels (width x height)"


def _name(path: Path) -> str:
    """The base name of a path, also of one such as ``.``."""
    return path.name if path.name not in {"", ".."} else path.resolve().name


# --- the cache of decoded images ------------------------------------------------------------------------------


def _cache_of(path: Path) -> Path | None:
    """Where the decoded images of a file are kept; None for a folder, which has no checksum, and without Pillow."""
    if not path.is_file():
        return None
    try:
        # Decoders of JPEG may differ in the last bit, and lronnx decodes with the Pillow that is installed.
        decoder = metadata.version("pillow")
    except metadata.PackageNotFoundError:
        return None
    with damage(path), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return cache_folder() / f"decoded-{_CACHE_VERSION}-pillow-{decoder}-{digest}.npz"


def _kept(tree: Tree, path: Path) -> _Decoded:
    """What an archive holds, decoded and kept for the next time unless another process was faster."""
    with _locked(path):
        kept = _read_cache(path)
        if kept is None:
            kept = _decoded(tree)
            _write_cache(path, kept)
    return kept


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process decodes, others that want the same wait; without a lock where there can be none."""
    lock = FileLock(path.with_suffix(".lock"))
    with contextlib.suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        # Releasing a lock that is not held does nothing.
        lock.release()


def _read_cache(path: Path) -> _Decoded | None:
    """What was kept; None if nothing was, or if it is damaged: reading an array to its end checks its CRC-32."""
    try:
        # numpy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as stream, np.load(stream) as arrays:
            held: dict[str, NDArray[Any]] = {name: arrays[name] for name in arrays.files}
        images = {split: held[f"{split}_images"] for split in SPLITS}
        labels = {split: held[f"{split}_labels"] for split in SPLITS}
        classes = tuple(str(class_) for class_ in held["classes"])
        jpeg = bool(held["jpeg"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        return None
    sound = all(
        images[split].dtype == np.uint8
        and images[split].ndim == 4
        and labels[split].dtype == np.int64
        and labels[split].shape == images[split].shape[:1]
        for split in SPLITS
    )
    return _Decoded(classes, images, labels, jpeg) if sound else None


def _write_cache(path: Path, decoded: _Decoded) -> None:
    """Keep what was decoded, all of it or nothing; not being able to is no error."""
    arrays: dict[str, Any] = {f"{split}_images": decoded.images[split] for split in SPLITS}
    arrays |= {f"{split}_labels": decoded.labels[split] for split in SPLITS}
    with contextlib.suppress(OSError):
        write_whole(
            path,
            lambda file: np.savez(file, **arrays, classes=np.array(decoded.classes), jpeg=np.array(decoded.jpeg)),
        )
