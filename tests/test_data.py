"""Reading data sets: what is read equals what was written, what is hostile or damaged is refused and does nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import multiprocessing
import os
import pickle
import pickletools
import struct
import sys
import tarfile
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lronnx import inputs
from lronnx.data import Dataset, images, open_data, pickles, trees
from lronnx.data.dataset import Part
from lronnx.errors import InputError

Array = NDArray[Any]

SHARED = Path(os.environ.get("LRONNX_SHARED") or Path(__file__).parents[2] / "shared") / "data"
RNG = np.random.default_rng(0)


def refused(call: Callable[[], Any], *parts: str) -> None:
    """Assert that the call raises InputError and that its message has all these parts."""
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def samples_of(dataset: Dataset) -> list[Array]:
    return [dataset[position] for position in range(len(dataset))]


def pixels(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# --- arrays ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", ">f8"])
def test_npy(tmp_path: Path, kind: str) -> None:
    array = pixels(5, 3, 4).astype(kind)
    np.save(tmp_path / "a.npy", array)
    dataset = open_data(tmp_path / "a.npy")
    assert (dataset.name, dataset.kind, dataset.axes, dataset.classes) == ("a.npy", "array", "", ())
    assert (len(dataset), dataset.split_names, set(dataset.split)) == (5, ("",), {""})
    assert dataset[0].dtype == array.dtype
    np.testing.assert_array_equal(samples_of(dataset), array)
    np.testing.assert_array_equal(dataset.index, range(5))
    np.testing.assert_array_equal(dataset.label, [-1] * 5)
    np.testing.assert_array_equal(dataset.corrupted, [-1] * 5)
    np.testing.assert_array_equal(dataset[-1], array[4])
    with pytest.raises(IndexError):
        dataset[5]


def test_types_of_the_contract(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=pixels(3, 2, 2), y_train=np.arange(3, dtype=np.uint8), x_test=pixels(1, 2, 2))
    for dataset in (open_data(tmp_path / "a.npz"), open_data(str(tmp_path / "a.npz")).select(splits=["train"])):
        assert dataset.split.dtype.kind == "U"
        assert [array.dtype for array in (dataset.index, dataset.label, dataset.corrupted)] == ["i8", "i8", "i1"]
        for array in (dataset.split, dataset.index, dataset.label, dataset.corrupted):
            assert array.shape == (len(dataset),)
            assert not array.flags.writeable
        dataset[0][...] = 7
        assert not np.array_equal(dataset[0], np.full((2, 2), 7)), "a sample that was changed comes back changed"


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("data", "labels")])
def test_npz(tmp_path: Path, names: tuple[str, str]) -> None:
    x, y = RNG.random((4, 3)), np.array([[0], [2], [-1], [1]], dtype=np.int16)
    mask = np.array([True, False, False, True])
    np.savez(tmp_path / "a.npz", **{names[0]: x, names[1]: y}, corrupted=mask, classes=np.array(["a", "bb", "ß"]))
    dataset = open_data(tmp_path / "a.npz")
    np.testing.assert_array_equal(samples_of(dataset), x)
    np.testing.assert_array_equal(dataset.label, [0, 2, -1, 1])
    np.testing.assert_array_equal(dataset.corrupted, mask)
    assert dataset.classes == ("a", "bb", "ß")


@pytest.mark.parametrize("form", ["x_{}", "images_{}", "{}_images", "{}_x", "data_{}"])
def test_npz_with_splits(tmp_path: Path, form: str) -> None:
    train, test = pixels(5, 2, 2), pixels(3, 2, 2)
    arrays = {
        form.format("test"): test,
        form.format("train"): train,
        "test_labels": [5, 6, 7],
        "y_train": [0, 1, 2, 3, 4],
    }
    np.savez(tmp_path / "a.npz", **arrays, corrupted_train=np.array([3, 1, 3]))
    dataset = open_data(tmp_path / "a.npz")
    assert dataset.split_names == ("train", "test")
    assert list(dataset.split) == ["train"] * 5 + ["test"] * 3
    np.testing.assert_array_equal(dataset.index, [0, 1, 2, 3, 4, 0, 1, 2])
    np.testing.assert_array_equal(dataset.label, range(8))
    np.testing.assert_array_equal(dataset.corrupted, [0, 1, 0, 1, 0, -1, -1, -1])
    np.testing.assert_array_equal(samples_of(dataset), np.concatenate([train, test]))


def test_npz_with_a_key(tmp_path: Path) -> None:
    x, other, short = RNG.random((4, 3)), RNG.random((4, 3)), RNG.random((2, 3))
    np.savez(tmp_path / "a.npz", x=x, other=other, short=short, y=[3, 2, 1, 0], corrupted=[1])
    dataset = open_data(f"{tmp_path / 'a.npz'}:other")
    np.testing.assert_array_equal(samples_of(dataset), other)
    np.testing.assert_array_equal(dataset.label, [3, 2, 1, 0])
    np.testing.assert_array_equal(dataset.corrupted, [0, 1, 0, 0])
    dataset = open_data(f"{tmp_path / 'a.npz'}:short")
    np.testing.assert_array_equal(dataset.label, [-1, -1])
    np.testing.assert_array_equal(dataset.corrupted, [-1, -1])
    np.savez(tmp_path / "b.npz", x_train=x, y_train=[0, 0, 0, 0], x_test=other, y_test=[1, 1, 1, 1])
    dataset = open_data(f"{tmp_path / 'b.npz'}:x_test")
    assert (list(dataset.label), dataset.split_names) == ([1, 1, 1, 1], ("",))
    refused(lambda: open_data(f"{tmp_path / 'a.npz'}:gone"), "no array 'gone'", "'other'")


X = RNG.random((4, 3))


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"z": X}, ["no array of samples", "'z'", "images, x or data"]),
        ({"x": X, "images": X}, ["'images', 'x'", "mean the same"]),
        ({"x_train": X, "train_x": X}, ["'x_train', 'train_x'"]),
        ({"x": X, "x_train": X}, ["both 'x' and arrays of splits"]),
        ({"x": X, "y": [1, 2]}, ["2 labels for the 4 samples"]),
        ({"x": X, "y": [0.5, 1, 2, 3]}, ["a.npz:y", "whole numbers"]),
        ({"x": X, "y": np.eye(4, dtype=int)}, ["(4, 4)", "(N,) or (N, 1)"]),
        ({"x": X, "y": [0, 1, -2, 3]}, ["label -2"]),
        ({"x": X, "y": [0, 1, 2, 3], "classes": ["a", "b", "c"]}, ["label 3", "3 classes"]),
        ({"x": X, "y": np.array([0, 1, 2, 2**64 - 1], dtype=np.uint64)}, ["label 18446744073709551615"]),
        ({"x": X, "classes": ["a", "a"]}, ["name twice"]),
        ({"x": X, "classes": [1, 2]}, ["a.npz:classes", "strings"]),
        ({"x": X, "corrupted": [4]}, ["outside 0 to 3"]),
        ({"x": X, "corrupted": [-1]}, ["outside 0 to 3"]),
        ({"x": X, "corrupted": [True]}, ["one bool for each of the 4"]),
        ({"x": X.astype(np.int32)}, ["int32", "uint8"]),
        ({"x": X.astype(complex)}, ["complex128"]),
        ({"x": X[:, 0]}, ["shape (4,)"]),
        ({"x": X[:, :0]}, ["shape (4, 0)", "no numbers"]),
        ({"x": X[:0]}, ["shape (0, 3)"]),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: Mapping[str, Any], parts: Sequence[str]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused(lambda: open_data(tmp_path / "a.npz"), "a.npz", *parts)


def test_numbers_must_be_finite(tmp_path: Path) -> None:
    array = np.ones((3, 2))
    array[1, 1] = np.nan
    np.save(tmp_path / "a.npy", array)
    dataset = open_data(tmp_path / "a.npy")
    np.testing.assert_array_equal(dataset[2], [1, 1])
    refused(lambda: dataset[1], "sample 1", "a.npy", "finite")


def test_an_npy_file_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", pixels(4, 3))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the whole array is read"))
    assert len(open_data(tmp_path / "a.npy")) == 4


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00\xff\xff garbage", b"\x80\x04K\x00."])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".zip", ".tar.gz", ".bin", ""])
def test_damaged_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    refused(lambda: open_data(tmp_path / f"a{suffix}"), f"a{suffix}")


def test_truncated_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    content = (tmp_path / "a.npy").read_bytes()
    for length in (5, 20, 127, len(content) - 1):
        (tmp_path / "a.npy").write_bytes(content[:length])
        refused(lambda: open_data(tmp_path / "a.npy"), "a.npy")


def test_pickled_objects_in_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}], [{}]], dtype=object), allow_pickle=True)
    refused(lambda: open_data(tmp_path / "a.npy"), "pickled", "never loads")
    np.savez(tmp_path / "a.npz", x=X, y=np.array([{}] * 4, dtype=object))
    refused(lambda: open_data(tmp_path / "a.npz"), "a.npz:y", "pickled")


def test_missing(tmp_path: Path) -> None:
    refused(lambda: open_data(tmp_path / "gone"), "no file or folder", "gone")
    refused(lambda: open_data(f"{tmp_path}/gone.npz:x"), "gone.npz")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(lambda: open_data(tmp_path / "pipe"), "neither a file nor a folder")


# --- images ---------------------------------------------------------------------------------------------------

Tree = dict[str, bytes]


def encoded(array: Array, suffix: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, suffix)
    return stream.getvalue()


IMAGES = {
    f"{split}/{class_}/{name}.png": pixels(4, 5, 3)
    for split, class_, name in [
        ("test", "cat", "b"),
        ("train", "dog", "00"),
        ("train", "cat", "10"),
        ("train", "cat", "2"),
        ("test", "ape", "x"),
    ]
}
FILES = {name: encoded(array) for name, array in IMAGES.items()}
ORDER = ["train/cat/10.png", "train/cat/2.png", "train/dog/00.png", "test/ape/x.png", "test/cat/b.png"]
NOISE = {
    "readme.txt": b"hello",
    "train/cat/.hidden.png": b"no image",
    ".git/cat/a.png": b"no image",
    "__MACOSX/train/cat/10.png": b"no image",
    "train/labels.csv": b"1,2",
}

KINDS = ["folder", "zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def store(folder: Path, kind: str, files: Tree, top: str = "") -> Path:
    """The files as a folder or an archive, in the order given."""
    path = folder / ("set" if kind == "folder" else f"set.{kind}")
    if kind == "folder":
        for name, content in files.items():
            (path / top / name).parent.mkdir(parents=True, exist_ok=True)
            (path / top / name).write_bytes(content)
        path.mkdir(exist_ok=True)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
    else:
        store_tar(path, [(tarfile.TarInfo(top + name), content) for name, content in files.items()])
    return path


def store_tar(path: Path, entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Path:
    packing = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(path.suffix[1:], "")
    with tarfile.open(path, f"w:{packing}") as archive:  # type: ignore[call-overload]
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("top", ["", "data/", "./", "a/b/"])
@pytest.mark.parametrize("kind", KINDS)
def test_images(tmp_path: Path, kind: str, top: str) -> None:
    path = store(tmp_path, kind, FILES | NOISE, top)
    dataset = open_data(path)
    assert dataset.kind == ("image folder" if kind == "folder" else "image archive")
    assert (dataset.name, dataset.axes) == (path.name, "HWC")
    assert (dataset.classes, dataset.split_names) == (("ape", "cat", "dog"), ("train", "test"))
    assert list(dataset.split) == ["train"] * 3 + ["test"] * 2
    np.testing.assert_array_equal(dataset.index, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(dataset.label, [1, 1, 2, 0, 1])
    for position in (4, 0, 3, 1, 2):
        np.testing.assert_array_equal(dataset[position], IMAGES[ORDER[position]])


def test_images_without_splits(tmp_path: Path) -> None:
    dataset = open_data(store(tmp_path, "tar", {name.removeprefix("train/"): FILES[name] for name in ORDER[:3]}))
    assert (dataset.split_names, dataset.classes, list(dataset.label)) == (("",), ("cat", "dog"), [0, 0, 1])


def test_a_single_split_is_told_by_its_name(tmp_path: Path) -> None:
    files = {name: FILES[name] for name in ORDER[:3]}
    assert open_data(store(tmp_path, "zip", files)).split_names == ("train",)
    assert open_data(store(tmp_path, "tar", files, "set/")).split_names == ("train",)
    other = {name.replace("train", "pictures"): content for name, content in files.items()}
    assert open_data(store(tmp_path, "tar.gz", other)).split_names == ("",)


def test_the_order_of_splits(tmp_path: Path) -> None:
    content = FILES[ORDER[0]]
    files = {f"{split}/cat/a.png": content for split in ("zeta", "test", "val", "alpha", "train")}
    assert open_data(store(tmp_path, "zip", files)).split_names == ("train", "val", "test", "alpha", "zeta")


def test_grey_and_colour_images(tmp_path: Path) -> None:
    grey, colour = pixels(3, 4), pixels(3, 4, 3)
    files = {"a/1.png": encoded(grey), "a/2.png": encoded(colour), "b/1.bmp": encoded(pixels(7, 2), "bmp")}
    files["b/2.png"] = encoded(np.dstack([colour, np.full((3, 4), 255, np.uint8)]))
    dataset = open_data(store(tmp_path, "zip", files))
    assert [sample.shape for sample in samples_of(dataset)] == [(3, 4), (3, 4, 3), (7, 2), (3, 4, 3)]
    np.testing.assert_array_equal(dataset[0], grey)
    np.testing.assert_array_equal(dataset[3], colour)
    assert dataset.axes == "HW"
    assert dataset.select(indices=[1]).axes == "HWC"


@pytest.mark.parametrize("kind", KINDS)
def test_opening_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    decoded = []
    original = inputs.decode_image
    monkeypatch.setattr(images, "decode_image", lambda stream, what: decoded.append(what) or original(stream, what))
    dataset = open_data(store(tmp_path, kind, FILES)).select(splits=["train"]).with_corrupted("train", [0])
    assert decoded == []
    dataset[1]
    assert len(decoded) == 1
    assert decoded[0].endswith("set:train/cat/2.png" if kind == "folder" else f"set.{kind}:train/cat/2.png")


def test_a_compressed_archive_is_read_once_for_a_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    original = trees.Tar.read

    def reading(self: trees.Tar, members: Any, limit: int = trees.LARGEST) -> Any:
        members = list(members)
        read.append(sorted(member.name for member in members))
        return original(self, members, limit)

    monkeypatch.setattr(trees.Tar, "read", reading)
    monkeypatch.setattr(images, "_IN_MEMORY", 1)
    whole = open_data(store(tmp_path, "tar.xz", FILES))
    selection = whole.select(splits=["test"])
    for _ in range(2):
        for position, name in enumerate(ORDER[3:]):
            np.testing.assert_array_equal(selection[position], IMAGES[name])
    assert read == [sorted(ORDER[3:])]
    np.testing.assert_array_equal(samples_of(whole), [IMAGES[name] for name in ORDER])
    assert read == [sorted(ORDER[3:]), sorted(ORDER[:3])]


class Slow(tempfile.SpooledTemporaryFile[bytes]):
    """Leaves time for others between going to a place and reading there."""

    def seek(self, *arguments: int) -> int:
        position = super().seek(*arguments)
        time.sleep(1e-4)
        return position


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_threads_and_forks_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # What is copied lies in a file, whose position threads and processes would share.
    monkeypatch.setattr(images, "_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Slow)
    files = {f"a/{name:03}.png": encoded(np.full((40, 40), name, np.uint8)) for name in range(60)}
    dataset = open_data(store(tmp_path, kind, files))
    wrong = []

    def check(positions: Sequence[int]) -> None:
        wrong.extend(position for position in positions if (dataset[position] != position).any())

    threads = [threading.Thread(target=check, args=(order,)) for order in (range(60), range(59, -1, -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    if sys.platform != "linux":
        return
    forked = [multiprocessing.get_context("fork").Process(target=_check_all, args=(dataset,)) for _ in range(2)]
    for process in forked:
        process.start()
    for process in forked:
        process.join()
        assert process.exitcode == 0


def _check_all(dataset: Dataset) -> None:
    for _ in range(5):
        assert all((sample == position).all() for position, sample in enumerate(samples_of(dataset)))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_read(tmp_path: Path, kind: str) -> None:
    refused(lambda: open_data(store(tmp_path, kind, NOISE)), "neither images")
    (tmp_path / "empty").mkdir()
    refused(lambda: open_data(store(tmp_path / "empty", kind, {})), "holds 0 files", "CLASS/NAME")


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["a.png"], ["a.png", "tells no class"]),
        (["train/a.png", "test/b.png"], ["test/b.png", "tells no class"]),
        (["a/1.png", "train/a/2.png"], ["different depths", "a/1.png", "train/a/2.png"]),
        (["a/b/c/1.png", "b/b/c/1.png"], ["a/b/c/1.png", "tells no class"]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_other_layouts(tmp_path: Path, kind: str, names: Sequence[str], parts: Sequence[str]) -> None:
    path = store(tmp_path, kind, dict.fromkeys(names, FILES[ORDER[0]]))
    refused(lambda: open_data(path), "SPLIT/CLASS/NAME", *parts)


def test_images_that_are_none(tmp_path: Path) -> None:
    damaged = FILES[ORDER[0]][:-50]
    dataset = open_data(store(tmp_path, "tar.gz", {"a/0.png": damaged, "a/1.png": b"x", "a/2.png": FILES[ORDER[1]]}))
    refused(lambda: dataset[0], "set.tar.gz:a/0.png", "cannot be read as an image")
    refused(lambda: dataset[1], "set.tar.gz:a/1.png", "cannot be read as an image")
    np.testing.assert_array_equal(dataset[2], IMAGES[ORDER[1]])
    deep = io.BytesIO()
    Image.fromarray(np.zeros((3, 3), dtype=np.uint16)).save(deep, "png")
    see_through = encoded(np.zeros((3, 3, 4), dtype=np.uint8))
    dataset = open_data(store(tmp_path, "zip", {"a/1.png": deep.getvalue(), "a/2.png": see_through}))
    refused(lambda: dataset[0], "not 8 bits")
    refused(lambda: dataset[1], "transparent")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    dataset = open_data(store(tmp_path, "tar.xz", {"a/1.png": encoded(np.zeros((20, 20), dtype=np.uint8))}))
    refused(lambda: dataset[0], "a/1.png", "bomb")


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_encoded_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(trees.Tree.read, "__defaults__", (10,))
    path = store(tmp_path, kind, FILES)
    dataset = open_data(path)
    refused(lambda: dataset[0], path.name, ".png claims 1", "reads at most")


def test_a_size_that_is_only_claimed(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a/1.png")
    info.size = 2**40
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    for name, packed in (("a.tar", content), ("a.tar.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        refused(lambda name=name: open_data(tmp_path / name), name)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)))
    refused(lambda: open_data(tmp_path / "b.tar.gz"), "b.tar.gz", "header of 8589934592 bytes")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_truncated_archives(tmp_path: Path, kind: str) -> None:
    path = store(tmp_path, kind, FILES)
    content = path.read_bytes()
    # At the border between two members, too, where a tar archive looks complete.
    cuts = {10, len(content) // 3, len(content) // 2, len(content) - 5} | ({1024, 2048} if kind == "tar" else set())
    for cut in cuts:
        if kind == "tar" and cut == len(content) - 5:
            # Only padding is missing.
            continue
        path.write_bytes(content[:cut])
        refused(lambda: open_data(path), path.name)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_flipped_bits(tmp_path: Path, kind: str) -> None:
    path = store(tmp_path, kind, {"a/1.png": bytes(range(256)) * 8})
    content = path.read_bytes()
    unpack = {"tar.gz": gzip.decompress, "tar.bz2": bz2.decompress, "tar.xz": lzma.decompress}.get(kind)
    for position in range(len(content) // 8, len(content) // 2, max(1, len(content) // 30)):
        changed = bytearray(content)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            open_data(path)[0]
        if unpack is not None:
            with pytest.raises((OSError, EOFError, lzma.LZMAError, ValueError, Exception)):
                unpack(bytes(changed))
            assert "as an image" not in str(caught.value), "damage went unnoticed until the image was decoded"


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_changes_while_it_is_open(tmp_path: Path, kind: str) -> None:
    path = store(tmp_path, kind, FILES)
    dataset = open_data(path)
    if kind == "folder":
        (path / ORDER[0]).unlink()
        refused(lambda: dataset[0], "10.png")
        (path / ORDER[1]).write_bytes(FILES[ORDER[1]] + b"more")
        refused(lambda: dataset[1], "2.png", "was changed")
    elif kind == "tar.gz":
        store(tmp_path, kind, {f"other/{name}": content for name, content in FILES.items()})
        refused(lambda: dataset[0], "set.tar.gz", "was changed")
        store(tmp_path, kind, {})
        refused(lambda: dataset[0], "set.tar.gz", "was changed")
    else:
        path.write_bytes(b"")
        refused(lambda: dataset[0], "was changed")


def link(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def sparse(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1099511627776"}
    return info, b"x"


@pytest.mark.parametrize("packing", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ((tarfile.TarInfo("../../a/1.png"), b"x"), ["outside"]),
        ((tarfile.TarInfo("a/../../1.png"), b"x"), ["outside"]),
        ((tarfile.TarInfo("/etc/1.png"), b"x"), ["outside"]),
        (link("a/1.png", tarfile.SYMTYPE, "/etc/passwd"), ["link"]),
        (link("a/1.png", tarfile.LNKTYPE, "a/2.png"), ["link"]),
        (link("a/1.png", tarfile.CHRTYPE), ["device"]),
        (link("a/1.png", tarfile.FIFOTYPE), ["device"]),
        (sparse("a/1.png"), ["holes"]),
        ((tarfile.TarInfo("a/2.png"), b"x"), ["twice"]),
        ((tarfile.TarInfo("./a//2.png"), b"x"), ["twice"]),
    ],
)
def test_hostile_members(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packing: str,
    entry: tuple[tarfile.TarInfo, bytes],
    parts: list[str],
) -> None:
    for method in ("extract", "extractall", "makefile", "makelink", "makedev", "makefifo"):
        monkeypatch.setattr(tarfile.TarFile, method, lambda *_, **__: pytest.fail("something is extracted"))
    path = store_tar(tmp_path / f"set.{packing}", [(tarfile.TarInfo("a/2.png"), FILES[ORDER[0]]), entry])
    before = sorted(tmp_path.rglob("*"))
    refused(lambda: open_data(path), path.name, *parts)
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_members_that_are_no_images_are_ignored(tmp_path: Path) -> None:
    entries = [
        link("a/link", tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.TarInfo("../../x.txt"), b"x"),
        link("dev", tarfile.BLKTYPE),
        (tarfile.TarInfo("a/2.png"), FILES[ORDER[0]]),
    ]
    dataset = open_data(store_tar(tmp_path / "set.tar.gz", entries))
    np.testing.assert_array_equal(samples_of(dataset), [IMAGES[ORDER[0]]])


def test_headers_are_not_kept(tmp_path: Path) -> None:
    path = store(tmp_path, "tar", {f"a/{number}.png": b"x" for number in range(50)})
    with tarfile.open(path, "r:") as archive:
        assert max(len(archive.members) for _ in trees._infos(archive)) <= 1  # type: ignore[attr-defined]


def test_hostile_zip(tmp_path: Path) -> None:
    refused(lambda: open_data(store(tmp_path, "zip", {"../a/1.png": b"x"})), "outside")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("a/1.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    refused(lambda: open_data(tmp_path / "link.zip"), "a/1.png", "link")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    store_tar(tmp_path / "set.tar", [(tarfile.TarInfo("a/\udcff.png"), b"x")])
    refused(lambda: open_data(tmp_path / "set.tar"), "set.tar", "not text", "\\udcff")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_folders_that_lead_into_each_other(tmp_path: Path) -> None:
    path = store(tmp_path, "folder", FILES)
    (path / "train" / "cat" / "loop").symlink_to(path, target_is_directory=True)
    (path / "train" / "bird").symlink_to(path / "train" / "dog", target_is_directory=True)
    dataset = open_data(path).select(splits=["train"])
    assert [dataset.classes[label] for label in dataset.label] == ["bird", "cat", "cat", "dog"]
    np.testing.assert_array_equal(dataset[0], dataset[3])


def test_pillow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    refused(lambda: open_data(store(tmp_path, "tar", FILES)), "pip install 'lronnx[image]'")


@pytest.mark.skipif(not SHARED.is_dir() or bool(os.environ.get("CI")), reason="the public data sets are not here")
def test_public_data_sets() -> None:
    dataset = open_data(SHARED / "cifar10_jpeg.tar.xz")
    assert (len(dataset), dataset.split_names, len(dataset.classes)) == (60000, ("train", "test"), 10)
    np.testing.assert_array_equal(np.bincount(dataset.label), [6000] * 10)
    for name, shape in (("cifar10_test100", (32, 32, 3)), ("mnist_test100", (28, 28))):
        dataset = open_data(SHARED / f"{name}.npz")
        assert (len(dataset), dataset[99].shape) == (100, shape)


# --- CIFAR ----------------------------------------------------------------------------------------------------

TEN = [f"class {number}" for number in range(10)]
HUNDRED = [f"fine_{number}" for number in range(100)]
CIFAR = {10: ("cifar-10-batches", TEN), 100: ("cifar-100", HUNDRED)}

Batch = tuple[Array, list[int]]


def batches(classes: int) -> dict[str, Batch]:
    """Images (n, 32, 32, 3) and labels by the name of their file, in the order in which they are to be read."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if classes == 10 else ["train", "test"]
    return {
        name: (pixels(1 + count % 2, 32, 32, 3), [int(label) for label in RNG.integers(0, classes, 1 + count % 2)])
        for count, name in enumerate(names, 1)
    }


def rows(images_: Array) -> Array:
    """(n, 3072), plane after plane, by the definition: red of row 0 comes first."""
    return np.array([[image[y, x, c] for c in range(3) for y in range(32) for x in range(32)] for image in images_])


def binary_files(classes: int, made: Mapping[str, Batch]) -> Tree:
    files = {}
    for name, (images_, labels) in made.items():
        coarse = [b"\x05"] * len(labels) if classes == 100 else [b""] * len(labels)
        records = zip(coarse, labels, rows(images_), strict=True)
        files[f"{name}.bin"] = b"".join(
            c + bytes([label]) + row.astype(np.uint8).tobytes() for c, label, row in records
        )
    names = "batches.meta.txt" if classes == 10 else "fine_label_names.txt"
    files[names] = "\n".join(CIFAR[classes][1]).encode() + b"\n\n"
    return files | {"readme.html": b"<html>"} | ({"coarse_label_names.txt": b"x\ny\n"} if classes == 100 else {})


def python2(value: Any) -> bytes:
    """A pickle as Python 2 and its numpy wrote it: protocol 2, strings of bytes, ``numpy.core.multiarray``."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return b"U" + bytes([len(raw)]) + raw
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(item) for pair in value.items() for item in pair) + b"u"
    assert isinstance(value, np.ndarray)
    code = value.dtype.str
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\n" + _python2(code[1:]) + b"K\x00K\x01\x87R(K\x03" + _python2(code[0])
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    order, fortran = ("F", b"\x88") if value.flags.f_contiguous and not value.flags.c_contiguous else ("C", b"\x89")
    return made + b"(K\x01" + shape + dtype + fortran + _python2(value.tobytes(order)) + b"tb"


def numpy1(pickled: bytes) -> bytes:
    """A pickle with the module names of numpy 1: in protocols up to 3 these are lines, in 4 and 5 counted strings."""
    for module in (b"multiarray", b"numeric"):
        old, modern = b"numpy.core." + module, b"numpy._core." + module
        pickled = pickled.replace(b"c" + modern + b"\n", b"c" + old + b"\n")
        pickled = pickled.replace(b"\x8c" + bytes([len(modern)]) + modern, b"\x8c" + bytes([len(old)]) + old)
    # Frames, whose lengths are off now, are optional.
    return b"".join(_without_frames(pickled))


def _without_frames(pickled: bytes) -> list[bytes]:
    if pickled[2:3] != b"\x95":
        return [pickled]
    whole = pickletools.optimize(b"\x80\x02" + pickled[11:])
    return [pickled[:2], whole[2:]] if whole[2:3] != b"\x95" else [pickled[:2], whole[11:]]


def fortran(value: Any) -> Any:
    return {key: np.asfortranarray(item) if isinstance(item, np.ndarray) else item for key, item in value.items()}


FLAVOURS: dict[str, Callable[[Any], bytes]] = {
    "Python 2": python2,
    "Python 2, Fortran order": lambda value: python2(fortran(value)),
    **{f"numpy 2, protocol {p}": lambda value, p=p: pickle.dumps(value, protocol=p) for p in range(2, 6)},
    **{f"numpy 1, protocol {p}": lambda value, p=p: numpy1(pickle.dumps(value, protocol=p)) for p in range(2, 6)},
    **{f"Fortran order, protocol {p}": lambda value, p=p: pickle.dumps(fortran(value), protocol=p) for p in (2, 4, 5)},
}


def python_files(classes: int, made: Mapping[str, Batch], dump: Callable[[Any], bytes]) -> Tree:
    files = {}
    for name, (images_, labels) in made.items():
        held = {
            "batch_label": f"part {name}",
            "data": rows(images_).astype(np.uint8),
            "filenames": ["x.png"] * len(labels),
        }
        held |= {"labels": labels} if classes == 10 else {"coarse_labels": [19] * len(labels), "fine_labels": labels}
        files[name] = dump(held)
    if classes == 10:
        return files | {"batches.meta": dump({"num_cases_per_batch": 10000, "label_names": TEN, "num_vis": 3072})}
    return files | {"meta": dump({"fine_label_names": HUNDRED, "coarse_label_names": ["fish"]})}


def check_cifar(dataset: Dataset, classes: int, made: Mapping[str, Batch]) -> None:
    assert (dataset.classes, dataset.axes) == (tuple(CIFAR[classes][1]), "HWC")
    assert dataset.split_names == ("train", "test")
    counts = [
        sum(len(labels) for name, (_, labels) in made.items() if name.startswith("test") == test) for test in (0, 1)
    ]
    assert list(dataset.split) == ["train"] * counts[0] + ["test"] * counts[1]
    assert list(dataset.index) == [*range(counts[0]), *range(counts[1])]
    assert list(dataset.label) == [label for _, labels in made.values() for label in labels]
    np.testing.assert_array_equal(samples_of(dataset), np.concatenate([images_ for images_, _ in made.values()]))


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "zip"])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_binary(tmp_path: Path, classes: int, kind: str) -> None:
    made = batches(classes)
    # The files come in any order, as in the published archives.
    files = dict(reversed(binary_files(classes, made).items()))
    dataset = open_data(store(tmp_path, kind, files, f"{CIFAR[classes][0]}-bin/"))
    assert dataset.kind == f"CIFAR-{classes} binary"
    check_cifar(dataset, classes, made)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_python(tmp_path: Path, classes: int, flavour: str) -> None:
    made = batches(classes)
    files = python_files(classes, made, FLAVOURS[flavour])
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        for content in files.values():
            # These are pickles indeed, of which it is known that they are harmless.
            assert isinstance(pickle.loads(content, encoding="bytes"), dict)
    path = store(tmp_path, "tar.gz", dict(reversed(files.items())), f"{CIFAR[classes][0]}-py/")
    dataset = open_data(path)
    assert dataset.kind == f"CIFAR-{classes} python"
    check_cifar(dataset, classes, made)
    check_cifar(open_data(store(tmp_path, "folder", files)), classes, made)


def test_the_opcodes_of_python_2() -> None:
    """The pickles above and those of numpy 1 are what they are said to be."""
    held = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}
    names = [opcode.name for opcode, _, _ in pickletools.genops(python2(held))]
    assert {"SHORT_BINSTRING", "BINSTRING", "GLOBAL", "REDUCE", "BUILD"} <= set(names)
    for protocol in (2, 3, 4, 5):
        old = numpy1(pickle.dumps(held, protocol=protocol))
        assert b"numpy.core." in old
        assert b"numpy._core" not in old


MADE = batches(10)
BINARY, PYTHON = binary_files(10, MADE), python_files(10, MADE, python2)


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("data_batch_2.bin", lambda content: content[:-1], ["data_batch_2.bin", "3073"]),
        ("data_batch_2.bin", lambda content: b"", ["data_batch_2.bin has 0 bytes"]),
        ("data_batch_2.bin", lambda content: b"\x0a" + content[1:], ["label 10", "10 classes"]),
        ("batches.meta.txt", lambda content: b"\n", ["batches.meta.txt", "no names"]),
        ("batches.meta.txt", lambda content: b"a\na\n", ["batches.meta.txt", "twice"]),
        ("batches.meta.txt", lambda content: b"\xff", ["batches.meta.txt", "UTF-8"]),
        ("test_batch.bin", None, ["CIFAR-10 binary", "lacks test_batch.bin"]),
    ],
)
def test_bad_binary_files(tmp_path: Path, name: str, change: Any, parts: Sequence[str]) -> None:
    files = dict(BINARY)
    if change is None:
        del files[name]
    else:
        files[name] = change(files[name])
    refused(lambda: open_data(store(tmp_path, "tar.gz", files)), *parts)


@pytest.mark.parametrize(
    ("held", "parts"),
    [
        ([1], ["list where CIFAR has a dict"]),
        ({"labels": [1]}, ["no entry 'data'", "labels"]),
        ({"data": np.zeros((1, 3072), np.uint8)}, ["no entry 'labels'"]),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, ["shape (1, 3071)", "(images, 3072)"]),
        ({"data": np.zeros((1, 3072), np.int64), "labels": [1]}, ["'data'", "uint8"]),
        ({"data": [1], "labels": [1]}, ["'data' list"]),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]}, ["'labels'", "1 whole numbers"]),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [b"1"]}, ["'labels'", "1 whole numbers"]),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, ["'labels'", "1 whole numbers"]),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, ["label 10"]),
        ({"data": np.zeros((1, 3072)), "labels": [1]}, ["type 'f8'"]),
    ],
)
def test_bad_batches(tmp_path: Path, held: Any, parts: Sequence[str]) -> None:
    files = PYTHON | {"data_batch_3": pickle.dumps(held, protocol=2)}
    refused(lambda: open_data(store(tmp_path, "tar.gz", files)), *parts)


@pytest.mark.parametrize("kind", ["uint8", "<i4", ">i8"])
def test_labels_as_an_array(tmp_path: Path, kind: str) -> None:
    files = python_files(
        10,
        MADE,
        lambda held: pickle.dumps({k: np.array(v, dtype=kind) if k == "labels" else v for k, v in held.items()}),
    )
    check_cifar(open_data(store(tmp_path, "zip", files)), 10, MADE)


def test_a_file_twice(tmp_path: Path) -> None:
    entries = [(tarfile.TarInfo(name), content) for name, content in [*BINARY.items(), *BINARY.items()]]
    refused(lambda: open_data(store_tar(tmp_path / "set.tar.gz", entries)), "data_batch_1.bin is there twice")


def test_several_sets(tmp_path: Path) -> None:
    both = BINARY | PYTHON
    refused(lambda: open_data(store(tmp_path, "folder", both)), "several data sets", "CIFAR-10 binary, CIFAR-10 python")


def test_large_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lronnx.data.cifar._LIMIT", 2**20 - 1)
    files = BINARY | {"data_batch_1.bin": bytes(2**20)}
    refused(lambda: open_data(store(tmp_path, "tar.gz", files)), "data_batch_1.bin", "reads at most")


# --- hostile pickles ------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


NDARRAY = b"cnumpy\nndarray\n"
RECONSTRUCTED = b"cnumpy.core.multiarray\n_reconstruct\n" + NDARRAY + b"K\x00\x85U\x01b\x87R"
U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
U1_STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def hostile(mark: str) -> dict[str, tuple[bytes, str]]:
    """Pickles that would write a file if they could, or take all memory, and what the refusal names."""
    command = text(f"touch {mark}")
    call = command + b"\x85R."
    code = text(f"__import__('os').mkdir({mark!r})")
    return {
        "os.system": (b"\x80\x02cos\nsystem\n" + command + b"\x85R.", "os.system"),
        "posix.system": (b"\x80\x02cposix\nsystem\n" + call, "posix.system"),
        "protocol 0": (f"cos\nsystem\n(S'touch {mark}'\ntR.".encode(), "os.system"),
        "INST": (f"(S'touch {mark}'\nios\nsystem\n.".encode(), "os.system"),
        "OBJ": (f"(cos\nsystem\nS'touch {mark}'\no.".encode(), "os.system"),
        "builtins.eval": (b"\x80\x04" + stack_global("builtins", "eval") + code + b"\x85R.", "builtins.eval"),
        "builtins.exec": (b"\x80\x02c__builtin__\nexec\n" + code + b"\x85R.", "__builtin__.exec"),
        "getattr": (b"\x80\x02c__builtin__\ngetattr\n" + NDARRAY + text("tofile") + b"\x86R.", "__builtin__.getattr"),
        "numpy.load": (b"\x80\x04" + stack_global("numpy", "load") + text(mark) + b"\x85R.", "numpy.load"),
        "numpy.save": (b"\x80\x04" + stack_global("numpy", "save") + text(mark) + b"K\x01\x86R.", "numpy.save"),
        "dotted": (
            b"\x80\x04" + stack_global("numpy.core.multiarray", "sys.modules") + b".",
            "numpy.core.multiarray.sys.modules",
        ),
        "dotted behind an admitted name": (
            b"\x80\x04" + stack_global("numpy", "ndarray.tofile") + text(mark) + b"\x85R.",
            "numpy.ndarray.tofile",
        ),
        "admitted name in another module": (
            b"\x80\x02cnumpy.core\nmultiarray._reconstruct\n.",
            "numpy.core.multiarray.",
        ),
        "name split elsewhere": (b"\x80\x02cnumpy ndarray\nx\n.", "numpy.ndarray x"),
        "copyreg": (b"\x80\x02ccopy_reg\n_reconstructor\n" + NDARRAY + NDARRAY + b"N\x87R.", "copy_reg._reconstructor"),
        "copyreg.__newobj__": (b"\x80\x04" + stack_global("copyreg", "__newobj__") + b".", "copyreg.__newobj__"),
        "functools.partial": (b"\x80\x04" + stack_global("functools", "partial") + b")R.", "functools.partial"),
        "NEWOBJ": (b"\x80\x02" + NDARRAY + b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86\x85\x81.", "NEWOBJ"),
        "NEWOBJ_EX": (b"\x80\x04" + NDARRAY + b")}\x92.", "NEWOBJ_EX"),
        "PERSID": (f"P{mark}\n.".encode(), "PERSID"),
        "BINPERSID": (b"\x80\x02" + text(mark) + b"Q.", "BINPERSID"),
        "EXT1": (b"\x80\x02\x82\x01.", "EXT1"),
        "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "a set": (b"\x80\x04\x8f.", "EMPTY_SET"),
        "a float": (b"\x80\x02G?\xf0\x00\x00\x00\x00\x00\x00.", "BINFLOAT"),
        "an array called": (b"\x80\x02" + RECONSTRUCTED + b")R.", "calls what is no function"),
        "ndarray called": (b"\x80\x02" + NDARRAY + b"K\x05\x85\x85R.", "ndarray is called"),
        "reconstruct with a giant shape": (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n" + NDARRAY + b"J\xff\xff\xff\x7f\x85U\x01b\x87R.",
            "_reconstruct is called",
        ),
        "a string called": (b"\x80\x02U\x01x)R.", "calls what is no function"),
        "objects": (b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.", "type 'O8'"),
        "records": (b"\x80\x02cnumpy\ndtype\nU\x03V16K\x00K\x01\x87R.", "type 'V16'"),
        "a type with fields": (b"\x80\x02" + U1 + b"(K\x03U\x01|NU\x01aNK\x01K\x01K\x00tb.", "state of what has none"),
        "BUILD on a name": (b"\x80\x02" + NDARRAY + b"}U\x01xK\x01sb.", "state of what has none"),
        "BUILD on a dict": (b"\x80\x02}}U\x01xK\x01sb.", "state of what has none"),
        "BUILD on an array with a dict": (
            b"\x80\x02" + RECONSTRUCTED + b"}U\x05arrayK\x01sb.",
            "state of what has none",
        ),
        "BUILD twice": (
            b"\x80\x02" + RECONSTRUCTED + 2 * (b"(K\x01K\x01\x85" + U1 + U1_STATE + b"\x89U\x01xtb") + b".",
            "not described as numpy",
        ),
        "another shape": (
            b"\x80\x02" + RECONSTRUCTED + b"(K\x01K\x00\x85" + U1 + U1_STATE + b"\x89U\x01xtb.",
            "an array of shape (0,) and type uint8 has 1 bytes",
        ),
        "BUILD twice on a type": (b"\x80\x02" + U1 + U1_STATE + U1_STATE + b".", "state of what has none"),
        "a tuple of too little": (b"\x80\x02K\x01\x87.", "lacks elements"),
        "a giant array": (
            b"\x80\x02" + RECONSTRUCTED + b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + U1 + b"\x89U\x01xtb.",
            "not described as numpy",
        ),
        "a negative shape": (
            b"\x80\x02" + RECONSTRUCTED + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + U1 + b"\x89U\x01xtb.",
            "not described as numpy",
        ),
        "a giant shape of ones": (
            b"\x80\x02" + RECONSTRUCTED + b"(K\x01(" + 40 * b"K\x01" + b"t" + U1 + b"\x89U\x01xtb.",
            "not described as numpy",
        ),
        "an unfinished array": (b"\x80\x02" + RECONSTRUCTED + b".", "does not come"),
        "a name as the result": (b"\x80\x02" + NDARRAY + b".", "type where data belong"),
        "giant bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "damaged"),
        "giant bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**50) + b"x.", "damaged"),
        "giant string": (b"\x80\x04\x8d" + struct.pack("<Q", 2**63 + 1) + b"x.", "damaged"),
        "giant frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N", "damaged"),
        "a hash without end": (
            b"\x80\x02}K\x00" + b"".join(b"q\x01h\x01\x86" for _ in range(200)) + b"K\x01s.",
            "neither a string nor bytes",
        ),
        "elements of no list": (b"\x80\x02}K\x01a.", "no list"),
        "entries of no dict": (b"\x80\x02]U\x01xK\x01s.", "no dict"),
        "an odd dict": (b"\x80\x02}(U\x01xu.", "no dict"),
        "no mark": (b"\x80\x02K\x01t.", "damaged"),
        "an empty stack": (b"\x80\x02a.", "damaged"),
        "nothing at all": (b"\x80\x02.", "middle"),
        "a list left open": (b"\x80\x02(N.", "middle"),
        "no memo": (b"\x80\x02h\x07.", "damaged"),
        "no end": (b"\x80\x02]", "damaged"),
        "no pickle": (b"\xff\xfe", "damaged"),
        "empty": (b"", "damaged"),
        "a long number": (b"I" + b"9" * 5000 + b"\n.", "damaged"),
        "a latin name": (b"\x80\x02cnumpy\ndtype\nU\x02\xff1K\x00K\x01\x87R.", "damaged"),
    }


@pytest.mark.parametrize("name", hostile("x"))
def test_hostile_pickles(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    payload, part = hostile(str(mark))[name]
    refused(lambda: pickles.load_data(payload, "batch"), "batch", part)
    # In a place where a data set would have it, behind a harmless entry.
    files = PYTHON | {"data_batch_4": payload}
    refused(lambda: open_data(store(tmp_path, "tar.gz", files)), "set.tar.gz:data_batch_4", part)
    assert not mark.exists()


def test_the_payloads_would_work(tmp_path: Path) -> None:
    """With the pickle module the first of them leaves a mark: the test above tests something."""
    mark = tmp_path / "mark"
    for name in ("os.system", "protocol 0", "INST", "OBJ", "builtins.eval"):
        pickle.loads(hostile(str(mark))[name][0])
        assert mark.exists(), name
        mark.rmdir() if mark.is_dir() else mark.unlink()


def test_a_memo_index_takes_no_memory() -> None:
    # The C implementation of pickle would reserve 64 GB for this.
    assert pickles.load_data(b"\x80\x02Nr\xff\xff\xff\xff.", "batch") is None


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_survives(value: Any, protocol: int) -> None:
    pickled = pickle.dumps(value, protocol=protocol)
    # Python 3 writes empty bytes as a call of bytes() in protocols up to 2, which no file of CIFAR holds.
    if b"bytes\n" in pickled and b"builtin" in pickled:
        refused(lambda: pickles.load_data(pickled, "batch"), "__builtin__.bytes")
    else:
        assert pickles.load_data(pickled, "batch") == value


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_pickles_are_read_or_refused(data: st.DataObject) -> None:
    dump = FLAVOURS[data.draw(st.sampled_from(sorted(FLAVOURS)))]
    pickled = bytearray(dump({"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    try:
        pickles.load_data(bytes(pickled), "batch")
    except InputError as error:
        assert "batch" in str(error)  # noqa: PT017


# --- MNIST ----------------------------------------------------------------------------------------------------


def idx(array: Array) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


DIGITS = {"train": (pixels(4, 3, 5), np.array([7, 0, 9, 1])), "t10k": (pixels(2, 3, 5), np.array([3, 4]))}


def mnist(folder: Path, *, dot: str = "-", packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for part, arrays in DIGITS.items():
        for what, array in zip(("images", "labels"), arrays, strict=True):
            name = f"{part}-{what}{dot}idx{array.ndim}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist(tmp_path: Path, dot: str, packed: bool) -> None:
    dataset = open_data(mnist(tmp_path / "raw", dot=dot, packed=packed))
    assert (dataset.name, dataset.kind, dataset.axes, dataset.classes) == ("raw", "MNIST idx", "HW", ())
    assert list(dataset.split) == ["train"] * 4 + ["test"] * 2
    assert list(dataset.index) == [0, 1, 2, 3, 0, 1]
    assert list(dataset.label) == [7, 0, 9, 1, 3, 4]
    np.testing.assert_array_equal(samples_of(dataset), np.concatenate([DIGITS["train"][0], DIGITS["t10k"][0]]))


@pytest.mark.parametrize("dot", ["-", "."])
def test_unpacked_files_come_first(tmp_path: Path, dot: str) -> None:
    # torchvision leaves the packed files beside the unpacked ones.
    path = mnist(mnist(tmp_path / "raw", dot=dot, packed=False), packed=True)
    for packed in path.glob("*.gz"):
        packed.write_bytes(b"damaged")
    assert len(open_data(path)) == 6


@pytest.mark.parametrize("packed", [False, True])
def test_one_file_of_images(tmp_path: Path, packed: bool) -> None:
    path = mnist(tmp_path / "raw", packed=packed) / ("t10k-images-idx3-ubyte" + ".gz" * packed)
    dataset = open_data(path)
    assert (dataset.split_names, list(dataset.label)) == (("test",), [3, 4])
    np.testing.assert_array_equal(samples_of(dataset), DIGITS["t10k"][0])
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    refused(lambda: open_data(labels), "holds labels", "images")
    labels.unlink()
    assert list(open_data(path).label) == [-1, -1]
    path.rename(tmp_path / "digits")
    assert open_data(tmp_path / "digits").split_names == ("",)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train-images-idx3-ubyte", idx(DIGITS["train"][0])[:-1], ["59 bytes", "4 x 3 x 5"]),
        ("train-images-idx3-ubyte", idx(DIGITS["train"][0]) + b"x", ["more bytes", "4 x 3 x 5"]),
        ("train-images-idx3-ubyte", idx(DIGITS["train"][0])[:9], ["within its header"]),
        ("train-images-idx3-ubyte", idx(DIGITS["train"][1]) + bytes(20), ["0x00000801", "0x00000803"]),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, ["announces 4294967295 x"]),
        ("train-images-idx3-ubyte", idx(np.zeros((0, 3, 5))), ["announces 0 x 3 x 5"]),
        ("train-labels-idx1-ubyte", idx(DIGITS["t10k"][1]), ["2 labels for the 4 images"]),
        ("train-labels-idx1-ubyte", None, ["train-images-idx3-ubyte", "not the labels"]),
        ("t10k-images-idx3-ubyte", None, ["t10k-labels-idx1-ubyte", "not the images"]),
        ("fashion-train-images-idx3-ubyte", idx(DIGITS["train"][0]), ["several data sets"]),
    ],
)
def test_bad_idx(tmp_path: Path, name: str, content: bytes | None, parts: Sequence[str]) -> None:
    path = mnist(tmp_path / "raw")
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content)
    refused(lambda: open_data(path), *parts)


def test_truncated_gzip(tmp_path: Path) -> None:
    path = mnist(tmp_path / "raw", packed=True) / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    refused(lambda: open_data(path), path.name, "damaged")
    refused(lambda: open_data(path.parent), path.name, "damaged")


# --- fingerprints ---------------------------------------------------------------------------------------------


def test_fingerprints(tmp_path: Path) -> None:
    import hashlib

    path = store(tmp_path, "tar.xz", FILES)
    whole = open_data(path)
    assert whole.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert whole.select(samples=1).fingerprint == whole.fingerprint
    np.save(tmp_path / "a.npy", X)
    assert open_data(tmp_path / "a.npy").fingerprint == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()


def changes(folder: Path, change: Callable[[Path], object]) -> bool:
    before = open_data(folder).fingerprint
    change(folder)
    return open_data(folder).fingerprint != before


def test_fingerprints_of_folders(tmp_path: Path) -> None:
    folder = store(tmp_path, "folder", FILES)
    first = open_data(folder).fingerprint
    (tmp_path / "copy").mkdir()
    assert open_data(store(tmp_path / "copy", "folder", dict(reversed(FILES.items())))).fingerprint == first
    assert not changes(folder, lambda path: (path / "note.txt").write_text("x"))
    assert changes(folder, lambda path: (path / ORDER[0]).write_bytes(FILES[ORDER[0]] + b"x"))
    assert changes(folder, lambda path: (path / ORDER[0]).rename(path / "train/cat/other.png"))
    digits = mnist(tmp_path / "raw")
    assert changes(digits, lambda path: (path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([7, 0, 9, 2]))))
    (tmp_path / "cifar").mkdir()
    cifar = store(tmp_path / "cifar", "folder", BINARY)
    assert not changes(cifar, lambda path: (path / "readme.html").write_text("x"))
    assert changes(cifar, lambda path: (path / "batches.meta.txt").write_text("\n".join(reversed(TEN))))


# --- selections -----------------------------------------------------------------------------------------------


class Numbers:
    """Samples that are their own numbers."""

    axes = ""

    def read(self, number: int, wanted: NDArray[np.int64]) -> Array:
        assert number in wanted
        return np.array([number])


def numbered(sizes: Mapping[str, int], classes: Sequence[str] = ("a", "b", "c")) -> Dataset:
    rng = np.random.default_rng(1)
    unknown = {split: np.full(size, -1) for split, size in sizes.items()}
    parts = [Part(split, rng.integers(-1, len(classes) or 3, size), unknown[split]) for split, size in sizes.items()]
    return Dataset.build("set", "numbers", "", classes, parts, Numbers())


SIZES = {"train": 40, "test": 9, "extra": 17}
SET = numbered(SIZES)
TRAIN = numbered({"train": 40})

Condition = tuple[list[str], list[str], list[int] | None, int | None, int]
CONDITIONS = st.tuples(
    st.lists(st.sampled_from(SET.split_names), max_size=3),
    st.lists(st.sampled_from(["a", "b", "0", "2"]), max_size=2),
    st.none() | st.lists(st.integers(0, 8), min_size=1, max_size=12),
    st.none() | st.integers(1, 12),
    st.integers(0, 3),
)


def select(dataset: Dataset, condition: Condition) -> Dataset | None:
    splits, classes, indices, samples, seed = condition
    try:
        return dataset.select(splits=splits, classes=classes, indices=indices, samples=samples, seed=seed)
    except InputError as error:
        assert "no sample of set meets" in str(error)  # noqa: PT017
        return None


def keys(dataset: Dataset | None) -> list[tuple[str, int]]:
    if dataset is None:
        return []
    return [(str(split), int(index)) for split, index in zip(dataset.split, dataset.index, strict=True)]


WHERE = {key: position for position, key in enumerate(keys(SET))}


@settings(max_examples=150, deadline=None)
@given(CONDITIONS)
def test_a_selection_is_what_was_asked_for(condition: Condition) -> None:
    splits, classes, indices, samples, _ = condition
    found = keys(select(SET, condition))
    numbers = {"a": 0, "b": 1, "0": 0, "2": 2}
    candidates = [
        (split, index)
        for (split, index), position in WHERE.items()
        if (not splits or split in splits)
        and (not classes or SET.label[position] in [numbers[text] for text in classes])
        and (indices is None or index in indices)
    ]
    if samples is None:
        assert found == candidates
    for split in SET.split_names:
        inside = [key for key in candidates if key[0] == split]
        drawn = [key for key in found if key[0] == split]
        assert set(drawn) <= set(inside)
        assert len(drawn) == (len(inside) if samples is None else min(samples, len(inside)))
    assert found == [key for key in WHERE if key in set(found)], "the order is not by split, then index"


@settings(max_examples=100, deadline=None)
@given(CONDITIONS)
def test_everything_moves_along(condition: Condition) -> None:
    marked = SET.with_corrupted("train", range(0, 40, 3))
    found = select(marked, condition)
    if found is not None:
        positions = [WHERE[key] for key in keys(found)]
        np.testing.assert_array_equal(found.label, SET.label[positions])
        np.testing.assert_array_equal(found.corrupted, marked.corrupted[positions])
        np.testing.assert_array_equal([int(sample[0]) for sample in samples_of(found)], positions)
        assert found.split_names == tuple(split for split in SET.split_names if split in set(found.split))


@settings(max_examples=100, deadline=None)
@given(CONDITIONS, CONDITIONS, st.permutations(range(3)))
def test_conditions_in_any_order(one: Condition, samples: Condition, order: list[int]) -> None:
    splits, classes, indices, _, _ = one
    steps: list[Condition] = [(splits, [], None, None, 0), ([], classes, None, None, 0), ([], [], indices, None, 0)]
    together = select(SET, (splits, classes, indices, samples[3], samples[4]))
    step: Dataset | None = SET
    for position in order:
        if step is not None:
            splits_left = [split for split in steps[position][0] if split in step.split_names]
            if steps[position][0] and not splits_left:
                step = None
                break
            step = select(step, (splits_left, *steps[position][1:]))
    if step is not None:
        step = select(step, ([], [], None, samples[3], samples[4]))
    assert keys(step) == keys(together)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 45), st.integers(1, 45), st.integers(0, 2**70))
def test_draws(few: int, more: int, seed: int) -> None:
    few, more = min(few, more), max(few, more)
    drawn = keys(SET.select(samples=more, seed=seed))
    assert drawn == keys(numbered({"train": 40, "test": 9, "extra": 17}).select(samples=more, seed=seed))
    fewer = keys(SET.select(samples=few, seed=seed))
    assert set(fewer) <= set(drawn)
    assert keys(SET.select(samples=more, seed=seed).select(samples=few, seed=seed)) == fewer
    alone = TRAIN.select(samples=more, seed=seed)
    assert keys(alone) == [key for key in drawn if key[0] == "train"], "the draw depends on other splits"


def test_draws_are_uniform() -> None:
    counts = np.zeros((2, 40), dtype=int)
    for seed in range(2000):
        drawn = (
            numbered({"train": 40, "test": 40}).select(samples=10, seed=seed)
            if seed == 0
            else BIG.select(samples=10, seed=seed)
        )
        for row, split in enumerate(("train", "test")):
            counts[row, drawn.index[drawn.split == split]] += 1
    # Binomial with n = 2000 and p = 1/4: a standard deviation of 19.4, of which 5 are passed once in a million.
    assert counts.sum() == 2 * 2000 * 10
    assert abs(counts - 500).max() < 97
    same = sum(keys_of(BIG, "train", seed) == keys_of(BIG, "test", seed) for seed in range(20))
    assert same == 0, "two splits of a size are drawn alike"


BIG = numbered({"train": 40, "test": 40})


def keys_of(dataset: Dataset, split: str, seed: int) -> list[int]:
    return [index for name, index in keys(dataset.select(samples=10, seed=seed)) if name == split]


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ("0", [0]),
        ("0:3", [0, 1, 2]),
        ("2:4,0, 39", [0, 2, 3, 39]),
        ("38:", [38, 39]),
        (":2,1:3", [0, 1, 2]),
        (":", list(range(40))),
        ([5, np.int64(3), 3], [3, 5]),
        (range(4, 6), [4, 5]),
    ],
)
def test_indices(indices: Any, expected: list[int]) -> None:
    assert list(TRAIN.select(indices=indices).index) == expected


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"splits": ["val"]}, ["no split 'val'", "train, test, extra"]),
        ({"splits": "train"}, ["splits are a sequence"]),
        ({"classes": ["d"]}, ["no class 'd'", "a, b, c"]),
        ({"classes": ["3"]}, ["no class '3'"]),
        ({"classes": ["-1"]}, ["no class '-1'"]),
        ({"classes": ["²"]}, ["no class '²'"]),
        ({"classes": "a"}, ["classes are a sequence"]),
        ({"indices": "40"}, ["position 40", "40 in 'train'", "9 in 'test'"]),
        ({"indices": "0:41"}, ["position 40"]),
        ({"indices": "40:"}, ["40:", "empty"]),
        ({"indices": [40]}, ["position 40"]),
        ({"indices": [-1]}, ["position -1"]),
        ({"indices": [0.5]}, ["0.5"]),
        ({"indices": [2**70]}, [str(2**70)]),
        ({"splits": ["test"], "indices": "9"}, ["position 9", "9 in 'test'"]),
        ({"indices": "5:5"}, ["5:5", "empty"]),
        ({"indices": "x"}, ["'x'", "0:100,205"]),
        ({"indices": "1,,2"}, ["'1,,2'"]),
        ({"indices": "-1"}, ["'-1'"]),
        ({"indices": "1:2:3"}, ["'1:2:3'"]),
        ({"indices": ""}, ["''"]),
        ({"indices": []}, ["no sample of set"]),
        ({"samples": 0}, ["0 samples"]),
        ({"corrupted_samples": 3}, ["set", "unknown", "apart"]),
        ({"samples": 1, "seed": -1}, ["seed is -1"]),
        ({"splits": ["test"], "indices": "0", "classes": ["c" if SET.label[40] != 2 else "a"]}, ["no sample of set"]),
    ],
)
def test_bad_selections(arguments: dict[str, Any], parts: Sequence[str]) -> None:
    refused(lambda: SET.select(**arguments), *parts)


@settings(max_examples=100, deadline=None)
@given(CONDITIONS, st.none() | st.integers(1, 12))
def test_samples_with_corrupted_labels_are_drawn_apart(condition: Condition, corrupted_samples: int | None) -> None:
    splits, classes, indices, samples, seed = condition
    marked = SET.with_corrupted("train", range(0, 40, 3)).with_corrupted("test", [1])
    where: dict[str, Any] = {"splits": splits, "classes": classes, "indices": indices, "seed": seed}
    try:
        found = keys(marked.select(**where, samples=samples, corrupted_samples=corrupted_samples))
    except InputError:
        found = []

    def drawn(count: int | None, *, wrong: bool) -> set[tuple[str, int]]:
        """Everything that meets the other conditions, in the order of the draw, but only of one kind of label."""
        kept = set()
        for split in SET.split_names:
            of_kind = [key for key, row in WHERE.items() if key[0] == split and (marked.corrupted[row] == 1) == wrong]
            allowed = set(keys(select(SET, (splits, classes, indices, None, 0))))
            if count is None:
                kept |= set(of_kind) & allowed
                continue
            by_rank = [key for n in range(1, SIZES[split] + 1) for key in keys(SET.select(samples=n, seed=seed))]
            order = [key for key in dict.fromkeys(by_rank) if key in set(of_kind) & allowed]
            kept |= set(order[:count])
        return kept

    if corrupted_samples is None:
        assert found == keys(select(marked, condition))
    else:
        assert set(found) == drawn(samples, wrong=False) | drawn(corrupted_samples, wrong=True)


def test_classes_without_names() -> None:
    dataset = numbered({"": 30}, ())
    assert set(dataset.select(classes=["2"]).label) == {2}
    refused(lambda: dataset.select(classes=["7"]), "no class '7'", "labels 0, 1, 2")
    refused(lambda: dataset.select(splits=["train"]), "no splits")
    unlabelled = Dataset.build("set", "", "", (), [Part("", np.full(3, -1), np.full(3, -1))], Numbers())
    refused(lambda: unlabelled.select(classes=["0"]), "labels of set are unknown")


def test_a_name_comes_before_a_label() -> None:
    dataset = numbered({"": 30}, ("1", "10", "2"))
    assert set(dataset.select(classes=["1"]).label) == {0}
    assert set(dataset.select(classes=["2"]).label) == {2}
    assert set(dataset.select(classes=["0"]).label) == {0}


def test_many_names_are_cut_short() -> None:
    dataset = numbered({"": 5}, [f"c{number}" for number in range(1000)])
    refused(lambda: dataset.select(classes=["x"]), "c0, c1,", "and 980 more")


def test_corrupted_labels() -> None:
    marked = SET.with_corrupted("train", iter([3, 0, 39]))
    np.testing.assert_array_equal(np.flatnonzero(marked.corrupted == 1), [0, 3, 39])
    np.testing.assert_array_equal(marked.corrupted[:40] >= 0, True)
    np.testing.assert_array_equal(marked.corrupted[40:], -1)
    np.testing.assert_array_equal(SET.corrupted, -1)
    # Of a selection, the positions are still those in the split.
    part = SET.select(indices="2:5").with_corrupted("train", [3, 39])
    assert [key for key, mark in zip(keys(part), part.corrupted, strict=True) if mark == 1] == [("train", 3)]
    again = marked.with_corrupted("train", [])
    np.testing.assert_array_equal(again.corrupted[:40], 0)
    refused(lambda: SET.with_corrupted("train", [40]), "position 40")
    refused(lambda: SET.with_corrupted("train", [-1]), "position -1")
    refused(lambda: SET.with_corrupted("val", [0]), "no split 'val'")


def test_a_data_set_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SET.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        SET.label[0] = 5
