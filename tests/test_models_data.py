"""Labelled images to train with: they are those that lronnx reads, and what is damaged, hostile or missing is named."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import itertools
import lzma
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

# The generators of files in the published formats.
from test_data import (
    FLAVOURS,
    SHARED,
    Tree,
    batches,
    binary_files,
    encoded,
    link,
    python2,
    python_files,
    store,
    store_tar,
)

from lronnx.data import open_data
from lronnx.inputs import Pixels
from lronnx.preprocessing import Preprocessing
from models import archives, cifar, data
from models.data import DataError, Images, load, symmetric_noise

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(5)

# In protocol 5 numpy names another function, which no published file does.
PICKLES = {name: dump for name, dump in FLAVOURS.items() if "protocol 5" not in name}

BINARY = binary_files(10, batches(10))
ONE_IMAGE = python2({"data": np.zeros((1, 3072), np.uint8), "labels": [1]})
FOLDERS = {
    ("cifar10", "binary"): "cifar-10-batches-bin",
    ("cifar10", "Python"): "cifar-10-batches-py",
    ("cifar100", "binary"): "cifar-100-binary",
    ("cifar100", "Python"): "cifar-100-python",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LRONNX_CACHE_DIR", str(folder))
    return folder / "data"


@pytest.fixture
def pixels() -> Callable[..., NDArray[np.uint8]]:
    return lambda *shape: RNG.integers(0, 256, shape, dtype=np.uint8)


def refused(call: Callable[[], Any], *parts: str) -> None:
    """Assert that the call raises DataError and that its message has all these parts."""
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def refused_file(path: Path, *parts: str) -> None:
    refused(lambda: load(str(path)), path.name, *parts)


def same_as_lronnx(images: Images, path: Path) -> None:
    """Assert that a position in a split means the same image, label and name of a class as to ``lronnx``."""
    whole = open_data(path)
    assert images.classes == whole.classes
    assert set(whole.split_names) == {"train", "test"}
    for split, pixels, labels, positions in (
        ("train", images.train_images, images.train_labels, images.train_positions),
        ("test", images.test_images, images.test_labels, images.test_positions),
    ):
        dataset = whole.select(splits=[split])
        assert (pixels.dtype, labels.dtype, positions.dtype) == (np.uint8, np.int64, np.int64)
        np.testing.assert_array_equal(positions, dataset.index)
        np.testing.assert_array_equal(labels, dataset.label)
        expected = np.stack([dataset[position] for position in range(len(dataset))])
        channels_first = expected[:, None] if expected.ndim == 3 else np.moveaxis(expected, 3, 1)
        np.testing.assert_array_equal(pixels, channels_first)


def same(one: Images, other: Images) -> None:
    assert (one.name, one.provenance, one.classes) == (other.name, other.provenance, other.classes)
    assert (one.scale, one.mean, one.std) == (other.scale, other.mean, other.std)
    for name in ("train_images", "train_labels", "train_positions", "test_images", "test_labels", "test_positions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def files_of(dataset: str, version: str, dump: Callable[[Any], bytes] = python2) -> Tree:
    classes = 10 if dataset == "cifar10" else 100
    made = batches(classes)
    return binary_files(classes, made) if version == "binary" else python_files(classes, made, dump)


# --- CIFAR as published ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "zip"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_binary_version(tmp_path: Path, dataset: str, kind: str) -> None:
    # The files come in any order, as in the published archives.
    files = dict(reversed(files_of(dataset, "binary").items()))
    path = store(tmp_path, kind, files, FOLDERS[dataset, "binary"] + "/")
    images = load(str(path))
    same_as_lronnx(images, path)
    assert (images.name, images.scale) == (dataset, 1 / 255)
    assert images.train_images.shape[1:] == (3, 32, 32)
    for part in (cifar.TITLES[dataset], "binary version", path.name, "not compared"):
        assert part in images.provenance


@pytest.mark.parametrize("flavour", PICKLES)
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_python_version(tmp_path: Path, dataset: str, flavour: str) -> None:
    files = files_of(dataset, "Python", PICKLES[flavour])
    path = store(tmp_path, "tar.gz", dict(reversed(files.items())), FOLDERS[dataset, "Python"] + "/")
    images = load(str(path))
    same_as_lronnx(images, path)
    assert images.name == dataset
    assert "Python version" in images.provenance
    unpacked = store(tmp_path, "folder", files)
    np.testing.assert_array_equal(load(str(unpacked)).train_images, images.train_images)


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("test_batch.bin", None, ["CIFAR-10, binary version", "lacks test_batch.bin"]),
        ("batches.meta.txt", None, ["lacks batches.meta.txt"]),
        ("data_batch_3.bin", BINARY["data_batch_3.bin"][:-1], ["data_batch_3.bin has 3072", "3073 for every image"]),
        ("data_batch_4.bin", b"", ["data_batch_4.bin has 0 bytes"]),
        ("data_batch_2.bin", b"\x0a" + bytes(3072), ["data_batch_2.bin holds the label 10", "10 classes"]),
        ("batches.meta.txt", b"cat\ndog\ncat\n", ["batches.meta.txt holds a name of a class twice"]),
        ("batches.meta.txt", b"\n", ["batches.meta.txt holds no names"]),
        ("batches.meta.txt", b"\xff", ["batches.meta.txt", "UTF-8"]),
        ("data_batch_1", b"", ["several data sets", "CIFAR-10, binary version", "CIFAR-10, Python version"]),
    ],
)
def test_bad_binary_version(tmp_path: Path, kind: str, name: str, content: bytes | None, parts: Sequence[str]) -> None:
    files = {key: value for key, value in BINARY.items() if key != name} | ({} if content is None else {name: content})
    if name == "data_batch_3.bin":
        assert len(BINARY[name]) % 3073 == 0
        parts = [f"{name} has {len(BINARY[name]) - 1}", *parts[1:]]
    refused_file(store(tmp_path, kind, files), *parts)


class Hostile:
    """What a pickle would do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle(tmp_path: Path, protocol: int) -> None:
    files = files_of("cifar10", "Python")
    hostile = pickle.dumps({"data": Hostile(tmp_path / "done"), "labels": []}, protocol=protocol)
    pickle.loads(hostile)
    (tmp_path / "done").unlink()
    refused_file(
        store(tmp_path, "tar.gz", files | {"data_batch_3": hostile}), "data_batch_3", "wants to load", "not run"
    )
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", ["wants to load", "system"]),
        (b"cbuiltins\neval\n(S'1'\ntR.", ["builtins.eval"]),
        (b"cnumpy._core.multiarray\nscalar\n.", ["numpy._core.multiarray.scalar"]),
        (b"c_codecs\ndecode\n.", ["_codecs.decode"]),
        (b"Pthere\n.", ["outside of it"]),
        (ONE_IMAGE[:-9], ["may be damaged"]),
        (b"", ["may be damaged"]),
        (b"\x80\x02r\xff\xff\xff\xff.", ["may be damaged"]),
        (python2([1]), ["list where CIFAR has a dict"]),
        (python2({"labels": [1]}), ["no entry 'data'", "it has: labels"]),
        (python2({"data": np.zeros((1, 3072), np.uint8)}), ["no entry 'labels'"]),
        (python2({"data": np.zeros((1, 3072), np.int64), "labels": [1]}), ["another type than uint8"]),
        (python2({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}), ["'data' an array (1, 3071)"]),
        (python2({"data": np.zeros(3072, np.uint8), "labels": [1]}), ["'data' an array (3072,)"]),
        (python2({"data": 7, "labels": [1]}), ["'data' int"]),
        (python2({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), ["'labels'", "2 whole numbers"]),
        (python2({"data": np.zeros((1, 3072), np.uint8), "labels": ["x"]}), ["'labels'"]),
        (python2({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}), ["'labels'"]),
        (python2({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), ["label 10", "10 classes"]),
        (ONE_IMAGE.replace(b"(K\x01J\x00\x0c", b"(K\x02J\x00\x0c"), ["shape (2, 3072) in 3072 bytes"]),
    ],
)
def test_bad_pickles(tmp_path: Path, content: bytes, parts: Sequence[str]) -> None:
    files = files_of("cifar10", "Python") | {"data_batch_2": content}
    refused_file(store(tmp_path, "zip", files), "data_batch_2", *parts)


def test_bad_names_in_a_pickle(tmp_path: Path) -> None:
    for held, part in (({"label_names": 7}, "list of strings"), ({"x": 1}, "no entry 'label_names'")):
        files = files_of("cifar10", "Python") | {"batches.meta": python2(held)}
        refused_file(store(tmp_path, "zip", files), "batches.meta", part)


# --- finding and downloading ----------------------------------------------------------------------------------


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, dataset: str, version: str, files: Tree) -> Path:
    """An archive under its published name, whose MD5 and number of images are taken for the published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {f"{FOLDERS[dataset, version]}/{name}": content for name, content in files.items()}
    number = ["binary", "Python"].index(version)
    published = list(cifar.PUBLISHED[dataset])
    path = store(folder, "tar.gz", entries).rename(folder / published[number].archive)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    published[number] = cifar.Published(path.name, md5, published[number].folder)
    monkeypatch.setitem(cifar.PUBLISHED, dataset, tuple(published))
    labels = 10 if dataset == "cifar10" else 100
    made = load(str(path))
    assert len(made.classes) == labels
    monkeypatch.setattr(cifar, "COUNTS", (len(made.train_images), len(made.test_images)))
    return path


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize(("dataset", "version"), FOLDERS)
def test_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, dataset: str, version: str, unpacked: bool
) -> None:
    path = publish(monkeypatch, cache, dataset, version, files_of(dataset, version))
    expected = open_data(path)
    if unpacked:
        with tarfile.open(path) as archive:
            archive.extractall(cache, filter="data")
        path.unlink()
        path = cache / FOLDERS[dataset, version]
    images = load(dataset)
    same_as_lronnx(images, path)
    assert len(images.train_images) + len(images.test_images) == len(expected)
    assert ("MD5 as published" in images.provenance) == (not unpacked)
    assert path.name in images.provenance
    cache.rename(tmp_path / "elsewhere")
    same(load(dataset, folder=tmp_path / "elsewhere"), images)
    refused(lambda: load(dataset), str(cache), "no such folder")


def test_the_binary_version_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, tmp_path, "cifar10", "Python", files_of("cifar10", "Python"))
    publish(monkeypatch, tmp_path, "cifar10", "binary", files_of("cifar10", "binary"))
    assert "binary version" in load("cifar10", folder=tmp_path).provenance


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_missing(tmp_path: Path, dataset: str) -> None:
    binary, python = cifar.PUBLISHED[dataset]
    wanted = (str(tmp_path), "--download", binary.archive, python.archive, "https://www.cs.toronto.edu/~kriz/")
    refused(lambda: load(dataset, folder=tmp_path), *wanted)
    refused(lambda: load(dataset, folder=tmp_path / "no"), *wanted, "no such folder")


@pytest.mark.parametrize("by_path", [False, True])
def test_wrong_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_path: bool) -> None:
    path = publish(monkeypatch, tmp_path, "cifar10", "binary", BINARY)
    [good] = [entry.md5 for entry in cifar.PUBLISHED["cifar10"] if entry.archive == path.name]
    path.write_bytes(path.read_bytes() + b"\0")
    bad, size = hashlib.md5(path.read_bytes()).hexdigest(), path.stat().st_size

    def again(download: bool) -> Images:
        return load(str(path)) if by_path else load("cifar10", folder=tmp_path, download=download)

    for download in (False, True):
        refused(lambda download=download: again(download), str(path), good, bad, str(size), "delete it")  # type: ignore[misc]
    assert hashlib.md5(path.read_bytes()).hexdigest() == bad


def test_another_name_needs_no_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(monkeypatch, tmp_path, "cifar10", "binary", BINARY)
    path.write_bytes(path.read_bytes() + bytes(1))
    other = path.rename(tmp_path / "mine.tar.gz")
    assert "not compared" in load(str(other)).provenance


def test_an_incomplete_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, "folder", BINARY).rename(tmp_path / "cifar-10-batches-bin")
    counts = len(load(str(path)).train_images), len(load(str(path)).test_images)
    refused(lambda: load("cifar10", folder=tmp_path), str(path), f"{counts[0]} training", "50000 and 10000")
    monkeypatch.setattr(cifar, "COUNTS", counts)
    assert load("cifar10", folder=tmp_path).name == "cifar10"


@pytest.mark.parametrize("files", [files_of("cifar100", "binary"), {"train/cat/a.png": b"", "x.txt": b""}])
def test_a_published_name_with_something_else_inside(tmp_path: Path, files: Tree) -> None:
    path = store(tmp_path, "folder", files).rename(tmp_path / "cifar-10-batches-bin")
    refused(lambda: load("cifar10", folder=tmp_path), str(path), "does not hold CIFAR-10")


class Site:
    """A server for one file, that counts what it is asked for."""

    def __init__(self, content: bytes, announced: int | None = None) -> None:
        self.asked: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                if not self.path.endswith("/cifar-10-binary.tar.gz"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) if announced is None else announced))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=lambda: self.server.serve_forever(0.01))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/kriz/"

    def __enter__(self) -> Site:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of an archive with CIFAR-10, of which the checksum is taken for the published one."""
    return publish(monkeypatch, tmp_path / "made", "cifar10", "binary", BINARY).read_bytes()


@pytest.fixture
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.usefixtures("environment_without_proxies")
def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: bytes) -> None:
    folder = tmp_path / "a" / "b"
    with Site(archive) as site:
        monkeypatch.setattr(cifar, "BASE_URL", site.url)
        images = load("cifar10", folder=folder, download=True)
        assert site.asked == ["/kriz/cifar-10-binary.tar.gz"]
        same(load("cifar10", folder=folder, download=True), images)
        assert len(site.asked) == 1
    assert left_in(folder) == {"cifar-10-binary.tar.gz"}
    assert (folder / "cifar-10-binary.tar.gz").read_bytes() == archive
    assert "MD5 as published" in images.provenance
    same_as_lronnx(images, folder / "cifar-10-binary.tar.gz")


@pytest.mark.usefixtures("environment_without_proxies")
def test_one_of_several_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: bytes) -> None:
    with Site(archive) as site:
        monkeypatch.setattr(cifar, "BASE_URL", site.url)
        threads = [threading.Thread(target=cifar.download, args=("cifar10", tmp_path / "data")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(site.asked) == 1
    assert left_in(tmp_path / "data") == {"cifar-10-binary.tar.gz"}


@pytest.mark.usefixtures("environment_without_proxies")
@pytest.mark.parametrize("announced", [None, 10_000_000])
def test_download_with_a_wrong_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: bytes, announced: int | None
) -> None:
    sent = archive[:-1]
    with Site(sent, announced) as site:
        monkeypatch.setattr(cifar, "BASE_URL", site.url)
        refused(
            lambda: load("cifar10", folder=tmp_path / "data", download=True),
            f"{site.url}cifar-10-binary.tar.gz",
            f"{len(sent)} bytes",
            hashlib.md5(sent).hexdigest(),
            cifar.PUBLISHED["cifar10"][0].md5,
            "nothing was kept",
        )
    assert left_in(tmp_path / "data") == set()


@pytest.mark.usefixtures("environment_without_proxies", "archive")
def test_failed_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(url: str, *parts: str) -> None:
        monkeypatch.setattr(cifar, "BASE_URL", url)
        folder = tmp_path / "data"
        refused(lambda: load("cifar100", folder=folder, download=True), f"{url}cifar-100-binary.tar.gz", *parts)
        assert left_in(folder) == set()

    with Site(b"") as site:
        attempt(site.url, "cannot be downloaded", "404")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    attempt(f"http://127.0.0.1:{port}/", "cannot be downloaded", "refused")

    # A server that says nothing is given up.
    monkeypatch.setattr(cifar, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        attempt(f"http://127.0.0.1:{silent.getsockname()[1]}/", "cannot be downloaded", "timed out")

    (tmp_path / "file").write_bytes(b"")
    refused(lambda: load("cifar10", folder=tmp_path / "file", download=True), "cifar-10-binary.tar.gz", "cannot be")


def test_options_that_mean_nothing(tmp_path: Path) -> None:
    path = store(tmp_path, "folder", BINARY)
    for spec in ("digits", str(path)):
        refused(lambda spec=spec: load(spec, download=True), "download", spec, "cifar10 and cifar100")  # type: ignore[misc]
        refused(lambda spec=spec: load(spec, folder=tmp_path), "folder", spec)  # type: ignore[misc]


# --- image files ----------------------------------------------------------------------------------------------

KINDS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
NAMES = [
    "test/cat/b",
    "train/dog/00",
    "train/cat/10",
    "test/ape/z",
    "train/cat/2",
    "train/Dog/x",
]
NOISE = {
    "readme.txt": b"x",
    "train/cat/.hidden.png": b"x",
    ".git/a/b.png": b"x",
    "__MACOSX/train/cat/10.png": b"x",
}


def image_files(shape: Sequence[int], suffix: str = "png", names: Sequence[str] = NAMES) -> Tree:
    format_ = {"jpg": "jpeg", "pgm": "ppm"}.get(suffix, suffix)
    return {f"{name}.{suffix}": encoded(RNG.integers(0, 256, shape, dtype=np.uint8), format_) for name in names}


@pytest.mark.parametrize("shape", [(4, 5, 3), (5, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_images(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    for place, top in enumerate(("", "./", "a/b/")):
        folder = tmp_path / str(place)
        folder.mkdir()
        path = store(folder, kind, image_files(shape) | NOISE, top)
        images = load(str(path))
        same_as_lronnx(images, path)
        assert (images.name, images.scale) == (path.name, 1 / 255)
        assert images.classes == ("Dog", "ape", "cat", "dog")
        assert images.train_images.shape == (4, *(shape[2:] or (1,)), *shape[:2])
        assert "re-encoded" not in images.provenance
        assert path.name in images.provenance
        scaled = images.train_images.astype(np.float64) / 255
        np.testing.assert_allclose(images.mean, scaled.mean(axis=(0, 2, 3)), atol=0.51e-4)
        np.testing.assert_allclose(images.std, scaled.std(axis=(0, 2, 3)), atol=0.51e-4)
        assert all(number == round(number, 4) for number in (*images.mean, *images.std))


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "tiff", "webp"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    path = store(tmp_path, "zip", image_files((8, 6, 3), suffix))
    images = load(str(path))
    same_as_lronnx(images, path)
    assert ("re-encoded as JPEG" in images.provenance) == (suffix == "jpg")


def test_modes(tmp_path: Path) -> None:
    def png(mode: str) -> bytes:
        stream = io.BytesIO()
        colour = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        (colour.quantize(16) if mode == "P" else colour.convert(mode)).save(stream, "png")
        return stream.getvalue()

    for modes in (["P", "RGB", "RGBA"], ["1", "L", "LA"]):
        contents = itertools.cycle(map(png, modes))
        path = store(tmp_path, "tar", {f"{name}.png": next(contents) for name in NAMES})
        same_as_lronnx(load(str(path)), path)


@pytest.mark.parametrize(("suffix", "told"), [("jpg", "re-encoded as JPEG"), ("png", "as image files")])
def test_images_of_cifar10_are_told(tmp_path: Path, suffix: str, told: str) -> None:
    names = [f"{split}/{class_}/0" for split in ("train", "test") for class_ in data.CIFAR10_CLASSES]
    path = store(tmp_path, "tar.xz", image_files((32, 32, 3), suffix, names))
    images = load(str(path))
    same_as_lronnx(images, path)
    assert (images.name, images.provenance) == ("cifar10", f"CIFAR-10, {told} (set.tar.xz)")
    assert (images.mean, images.std) == data.NORMALIZATION["cifar10"]
    # Other images with these names are not CIFAR-10.
    assert load(str(store(tmp_path, "zip", image_files((32, 31, 3), suffix, names)))).name == "set.zip"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir() or bool(os.environ.get("CI")), reason="the public data sets are not here")
def test_public_images() -> None:
    path = SHARED / "cifar10_jpeg.tar.xz"
    images = load(str(path))
    assert images.provenance == f"CIFAR-10, re-encoded as JPEG ({path.name})"
    assert (len(images.train_images), len(images.test_images)) == (50_000, 10_000)
    same_as_lronnx(images, path)
    # The published images' moments, which JPEG has changed by little: it smooths.
    means, stds = data._moments(images.train_images, "")
    np.testing.assert_allclose(images.mean, means, atol=2e-4)
    np.testing.assert_allclose(images.std, stds, atol=2e-3)


GOOD = image_files((4, 5, 3))


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"train/cat/2.png": b"no image"}, ["train/cat/2.png cannot be read as an image"]),
        ({"train/cat/2.png": GOOD["train/cat/2.png"][:-30]}, ["train/cat/2.png cannot be read as an image"]),
        ({"test/ape/z.png": encoded(np.zeros((5, 4, 3), np.uint8))}, ["test/ape/z.png", "4 x 5", "5 x 4"]),
        ({"train/dog/00.png": encoded(np.zeros((4, 5), np.uint8))}, ["train/dog/00.png is grey", "in colour"]),
        ({"train/dog/00.png": encoded(np.zeros((4, 5, 4), np.uint8))}, ["train/dog/00.png is transparent"]),
        ({"train/dog/00.png": encoded(np.zeros((4, 5), np.uint16))}, ["train/dog/00.png", "mode I;16"]),
        ({"val/dog/00.png": GOOD["train/dog/00.png"]}, ["splits test, train, val", "train/CLASS/NAME"]),
        ({"train/00.png": GOOD["train/dog/00.png"]}, ["different depths", "train/00.png"]),
    ],
)
def test_bad_images(tmp_path: Path, kind: str, changes: Tree, parts: Sequence[str]) -> None:
    refused_file(store(tmp_path, kind, GOOD | changes), *parts)


@pytest.mark.parametrize(
    ("keep", "rename", "parts"),
    [
        ("train/", "", ["has the splits train, and not train and test"]),
        ("test/", "", ["has the splits test, and"]),
        ("", "training", ["has the splits test, training, and"]),
        ("none", "", ["0 files", ".png", "CIFAR-10"]),
    ],
)
def test_splits_that_are_none(tmp_path: Path, keep: str, rename: str, parts: Sequence[str]) -> None:
    files = {name: content for name, content in GOOD.items() if name.startswith(keep)}
    if rename:
        files = {name.replace("train", rename): content for name, content in files.items()}
    refused_file(store(tmp_path, "folder", files), *parts)


def test_other_layouts(tmp_path: Path) -> None:
    content = GOOD["train/cat/2.png"]
    for names, part in (
        (["cat/1.png", "dog/1.png"], "put them in train/CLASS/NAME"),
        (["a/train/cat/1.png", "b/test/cat/1.png"], "several folders, such as a and b"),
    ):
        refused_file(store(tmp_path, "zip", dict.fromkeys(names, content)), names[0].rpartition("/")[0][:1], part)


def test_frames_and_constant_channels(tmp_path: Path) -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (0, 255)]
    frames[0].save(stream, "gif", save_all=True, append_images=frames[1:])
    refused_file(store(tmp_path, "zip", GOOD | {"train/cat/3.gif": stream.getvalue()}), "train/cat/3.gif", "frames")
    flat = {f"{name}.png": encoded(np.full((4, 5, 3), 7, np.uint8)) for name in NAMES}
    refused_file(store(tmp_path, "tar", flat), "channel 0", "the same")


def test_pillow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, "folder", GOOD)
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused_file(path, "Pillow", "pip install '.[train]'")
    refused_file(store(tmp_path, "tar", GOOD), "Pillow", "pip install '.[train]'")
    assert load(str(store(tmp_path, "zip", BINARY))).name == "cifar10"


# --- archives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [BINARY, GOOD])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_that_are_cut_off(tmp_path: Path, kind: str, files: Tree) -> None:
    path = store(tmp_path, kind, files)
    content = path.read_bytes()
    # A tar archive ends with zeros to fill up to a round size.
    useful = len(content.rstrip(b"\0")) + 100 if kind == "tar" else len(content)
    for size in (useful - 1, useful - 9, useful // 2, 700, 100):
        cut = tmp_path / f"{size}.{kind}"
        cut.write_bytes(content[:size])
        refused_file(cut)


@pytest.mark.parametrize("packing", ["", "gz", "xz"])
def test_tar_archives_that_end_between_two_files(tmp_path: Path, packing: str) -> None:
    """Where a header should be, tarfile takes the end of the file, and a damaged header, for the end of the archive."""
    content = store(tmp_path, "tar", GOOD).read_bytes()
    with tarfile.open(tmp_path / "set.tar") as archive:
        header = archive.getmembers()[-1].offset
    pack = {"": bytes, "gz": gzip.compress, "xz": lzma.compress}[packing]
    for number, bad in enumerate([content[:header], content[:header] + b"x" * 512 + content[header + 512 :]]):
        path = tmp_path / f"{number}.tar.{packing}"
        path.write_bytes(pack(bad))
        refused_file(path, "no end-of-archive mark")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = store(tmp_path, "folder", BINARY)
    with archives.open_tree(path) as tree:
        [member] = [member for member in tree.members if member.name == "test_batch.bin"]
        assert tree.read(member) == BINARY["test_batch.bin"]
        with (path / member.name).open("ab") as stream:
            stream.write(b"x")
        refused(lambda: tree.read(member), "test_batch.bin", "were announced")


def test_a_flipped_bit_in_a_compressed_archive(tmp_path: Path) -> None:
    for kind in ("tar.gz", "tar.bz2", "tar.xz", "zip"):
        path = store(tmp_path, kind, GOOD)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 16
        path.write_bytes(content)
        refused_file(path, "cannot be read")


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 5000, b"\x1f\x8b" + bytes(50), b"PK\x05\x06"])
def test_files_that_are_no_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.tar.gz"
    path.write_bytes(content)
    refused_file(path)


def test_nothing_there(tmp_path: Path) -> None:
    refused_file(tmp_path / "no.tar", "neither digits, cifar10, cifar100 nor an existing file")
    refused_file(store(tmp_path, "zip", {}), "0 files")
    refused_file(store(tmp_path, "tar.gz", {}), "0 files")
    os.mkfifo(tmp_path / "pipe")
    refused_file(tmp_path / "pipe", "neither a file nor a folder")


@pytest.mark.parametrize("name", ["../train/cat/evil.png", "/train/cat/evil.png", "train/../../evil.png"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_hostile_names(tmp_path: Path, kind: str, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    before = left_in(tmp_path) | {f"set.{kind}"}
    refused_file(store(inside, kind, GOOD | {name: b"x"}), "evil.png is outside of the data set")
    assert left_in(tmp_path) == before


def test_hostile_members(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(GOOD["train/cat/2.png"])
    entries = [(tarfile.TarInfo(name), content) for name, content in GOOD.items()]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        path = store_tar(tmp_path / "set.tar.gz", [*entries, link("train/cat/evil.png", kind, str(secret))])
        refused_file(path, "train/cat/evil.png is no regular file")
    twice = store_tar(tmp_path / "set.tar", [*entries, entries[0]])
    refused_file(twice, f"{entries[0][0].name} is there twice")
    records = [(tarfile.TarInfo(name), content) for name, content in BINARY.items()]
    refused_file(store_tar(tmp_path / "set.tar", [*records, records[0]]), f"{records[0][0].name} is there twice")
    surrogate = store_tar(tmp_path / "set.tar", [*entries, (tarfile.TarInfo("train/cat/\udcff.png"), b"")])
    refused_file(surrogate, "not UTF-8", "rename")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("train/cat/evil.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(secret))
    refused_file(tmp_path / "link.zip", "train/cat/evil.png is no regular file")


def test_sizes_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, "tar.gz", GOOD)
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE", 1000)
    refused_file(path, "more than 1000 bytes", "unpack it")
    monkeypatch.undo()
    monkeypatch.setattr(archives, "LARGEST_FILE", 10)
    refused_file(path, "claims", "10 that are read")


def test_a_folder_that_links_to_itself(tmp_path: Path) -> None:
    path = store(tmp_path, "folder", GOOD)
    (path / "train" / "again").symlink_to(path, target_is_directory=True)
    (path / "extra").mkdir()
    (path / "extra" / "4.png").write_bytes(GOOD["train/cat/2.png"])
    (path / "extra").rename(tmp_path / "extra")
    (path / "test" / "extra").symlink_to(tmp_path / "extra", target_is_directory=True)
    images = load(str(path))
    same_as_lronnx(images, path)
    assert "extra" in images.classes


# --- the cache of decoded images ------------------------------------------------------------------------------


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded so far."""
    decoded: list[str] = []
    original = data._pixels
    monkeypatch.setattr(data, "_pixels", lambda content, what: decoded.append(what) or original(content, what))
    return decoded


def kept_in(cache: Path) -> Path:
    [kept] = cache.glob("*.npz")
    return kept


def test_images_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, decodings: list[str]
) -> None:
    path = store(tmp_path, "tar.xz", GOOD)
    first = load(str(path))
    assert len(decodings) >= len(GOOD)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in kept_in(cache).name
    decodings.clear()
    same(load(str(path)), first)
    assert decodings == []
    # Another Pillow may decode otherwise.
    with monkeypatch.context() as patch:
        patch.setattr(data.metadata, "version", lambda package: f"another {package}")
        same(load(str(path)), first)
        assert decodings
    assert len(list(cache.glob("*.npz"))) == 2
    decodings.clear()
    # The same file under another name is another data set with the same images.
    renamed = load(str(path.rename(tmp_path / "other.tar.xz")))
    assert (renamed.name, decodings) == ("other.tar.xz", [])
    # Another file under the same name is another data set.
    store(tmp_path, "tar.xz", image_files((4, 5, 3)))
    same_as_lronnx(load(str(path)), path)
    assert decodings
    assert left_in(cache) == {kept.name for kept in cache.glob("*.npz")}


def _flip(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _without_labels(content: bytes) -> bytes:
    with np.load(io.BytesIO(content)) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    held["train_labels"] = held["train_labels"][1:]
    stream = io.BytesIO()
    np.savez(stream, **held)
    return stream.getvalue()


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:-10],
        lambda content: content[: len(content) // 2],
        lambda content: b"\x93NUMPY" + content,
        _flip,
        _without_labels,
        lambda content: python2({"x": 1}),
    ],
)
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, cache: Path, decodings: list[str], harm: Callable[[bytes], bytes]
) -> None:
    path = store(tmp_path, "zip", image_files((40, 50, 3)))
    first = load(str(path))
    kept = kept_in(cache)
    content = kept.read_bytes()
    kept.write_bytes(harm(content))
    decodings.clear()
    same(load(str(path)), first)
    assert decodings
    decodings.clear()
    same(load(str(path)), first)
    assert decodings == []


def test_a_cache_that_cannot_be_used(tmp_path: Path, decodings: list[str]) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    path = store(tmp_path, "zip", GOOD)
    first = load(str(path))
    decodings.clear()
    same(load(str(path)), first)
    assert decodings


def test_one_of_several_decodes(tmp_path: Path, cache: Path, decodings: list[str]) -> None:
    path = store(tmp_path, "zip", GOOD)
    threads = [threading.Thread(target=load, args=(str(path),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decodings) == len(GOOD) + 1, "the first image is decoded once more, to know the size"
    assert kept_in(cache)


# --- what is done with them -----------------------------------------------------------------------------------


def made(train: int = 40, test: int = 20, channels: int = 3, **changes: Any) -> Images:
    held: dict[str, Any] = {
        "name": "made",
        "provenance": "made up",
        "classes": ("a", "b", "c"),
        "train_images": RNG.integers(0, 256, (train, channels, 3, 4), dtype=np.uint8),
        "train_labels": RNG.integers(0, 3, train),
        "test_images": RNG.integers(0, 256, (test, channels, 3, 4), dtype=np.uint8),
        "test_labels": RNG.integers(0, 3, test),
        "scale": 1 / 255,
        "mean": (0.4914, 0.4822, 0.4465)[:channels],
        "std": (0.2470, 0.2435, 0.2616)[:channels],
        "train_positions": np.arange(train) * 2 + 1,
        "test_positions": np.arange(test) * 3,
    }
    return Images(**held | changes)


@pytest.mark.parametrize(
    "images",
    [
        made(),
        made(mean=data.NORMALIZATION["cifar100"][0], std=data.NORMALIZATION["cifar100"][1]),
        made(channels=1),
        made(channels=1, scale=1 / 16, mean=(0.0,), std=(1.0,)),
    ],
)
def test_normalized_is_what_lronnx_does(images: Images) -> None:
    # Every value of a pixel, in every channel.
    channels = len(images.mean)
    pixels = np.concatenate(
        [images.train_images, np.arange(264).astype(np.uint8).reshape(-1, 1, 3, 4).repeat(channels, 1)]
    )
    inputs = images.normalized(pixels)
    assert (inputs.dtype, inputs.shape) == (np.float32, pixels.shape)
    chosen = Pixels(scale=images.scale, mean=images.mean, std=images.std)
    last = np.moveaxis(pixels, 1, 3)
    preprocessing = Preprocessing.choose(chosen, (1, channels, 3, 4), last[0], "HWC", None)
    for image, actual in zip(last, inputs, strict=True):
        np.testing.assert_array_equal(preprocessing(image).astype(np.float32)[0], actual)


def test_normalized_refuses() -> None:
    images = made()
    for bad in (images.train_images.astype(np.float32), images.train_images[:, :1], images.train_images[0]):
        with pytest.raises(ValueError, match="uint8 of"):
            images.normalized(bad)


def rows_are_kept(images: Images, pixels: Any, labels: Any, positions: Any, split: str = "train") -> None:
    """Assert that images, labels and positions still belong together, in ascending order."""
    assert (np.diff(positions) > 0).all()
    rows = np.searchsorted(getattr(images, f"{split}_positions"), positions)
    np.testing.assert_array_equal(getattr(images, f"{split}_positions")[rows], positions)
    np.testing.assert_array_equal(getattr(images, f"{split}_images")[rows], pixels)
    np.testing.assert_array_equal(getattr(images, f"{split}_labels")[rows], labels)


def test_subset() -> None:
    images = made()
    part = images.subset(15, 7, seed=3)
    assert (len(part.train_images), len(part.test_images)) == (15, 7)
    rows_are_kept(images, part.train_images, part.train_labels, part.train_positions)
    rows_are_kept(images, part.test_images, part.test_labels, part.test_positions, "test")
    same(images.subset(15, 7, seed=3), part)
    same(images.subset(None, None, seed=3), images)
    # One split's draw does not depend on the other's, and more images add to fewer.
    np.testing.assert_array_equal(images.subset(15, None, seed=3).train_positions, part.train_positions)
    np.testing.assert_array_equal(images.subset(None, 7, seed=3).test_positions, part.test_positions)
    assert set(part.train_positions) < set(images.subset(16, 1, seed=3).train_positions)
    assert set(part.train_positions) != set(images.subset(15, 7, seed=4).train_positions)
    rows_are_kept(
        images, *(getattr(part.subset(4, 2, 0), f"train_{name}") for name in ("images", "labels", "positions"))
    )
    for train, test, part_ in ((41, None, "41 training images of made"), (None, 21, "21 test"), (0, None, "0 train")):
        refused(lambda train=train, test=test: images.subset(train, test, 0), part_, "there are")  # type: ignore[misc]
    refused(lambda: images.subset(3, 3, -1), "seed")


def test_every_image_is_drawn_as_often() -> None:
    images = made(train=10, test=5)
    counts = np.zeros(10)
    for seed in range(2000):
        counts[(images.subset(3, 1, seed).train_positions - 1) // 2] += 1
    # 2000 draws with probability 0.3: five standard deviations of the binomial distribution.
    assert np.abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_hold_out() -> None:
    images = made()
    rest, held = images.hold_out(11, seed=2)
    assert (len(rest.train_images), len(held.images)) == (29, 11)
    rows_are_kept(images, rest.train_images, rest.train_labels, rest.train_positions)
    rows_are_kept(images, held.images, held.labels, held.positions)
    assert sorted([*rest.train_positions, *held.positions]) == list(images.train_positions)
    for name in ("test_images", "test_labels", "test_positions"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(images, name))
    np.testing.assert_array_equal(images.hold_out(11, seed=2)[1].positions, held.positions)
    assert not np.array_equal(images.hold_out(11, seed=3)[1].positions, held.positions)
    for count in (40, 41):
        refused(lambda count=count: images.hold_out(count, 0), f"{count} of 40", "leave none")  # type: ignore[misc]
    refused(lambda: images.hold_out(0, 0), "0 training images", "at least 1")


# --- label noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("probability", "classes"), [(0.2, 10), (0.5, 2), (0.05, 100), (0.9, 3)])
def test_noise_statistics(probability: float, classes: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    count = 40_000
    labels = RNG.integers(0, classes, count)
    before = labels.copy()
    noisy, corrupted = symmetric_noise(labels, probability, classes, seed=7)
    np.testing.assert_array_equal(labels, before)
    assert (noisy.dtype, corrupted.dtype, noisy.shape) == (np.int64, np.int64, (count,))
    np.testing.assert_array_equal(corrupted, np.flatnonzero(noisy != labels))
    assert noisy.min() >= 0
    assert noisy.max() < classes
    assert stats.binomtest(len(corrupted), count, probability).pvalue > 1e-4
    # What a label became, told as the step to it: each of the other classes is as likely, whatever the label was.
    steps = np.bincount((noisy - labels)[corrupted] % classes, minlength=classes)
    assert steps[0] == 0
    if classes > 2:
        assert stats.chisquare(steps[1:]).pvalue > 1e-4
    # Which labels are corrupted depends neither on the label nor on the position.
    hit = np.isin(np.arange(count), corrupted)
    for groups in (labels, np.arange(count) * 20 // count):
        table = np.array([[hit[groups == group].sum(), (~hit[groups == group]).sum()] for group in np.unique(groups)])
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_noise_is_determined() -> None:
    labels = RNG.integers(0, 10, 1000)
    noisy, corrupted = symmetric_noise(labels, 0.2, 10, seed=1)
    np.random.default_rng(0).random(3)
    again, at = symmetric_noise(labels.copy(), 0.2, 10, seed=1)
    np.testing.assert_array_equal(noisy, again)
    np.testing.assert_array_equal(corrupted, at)
    assert not np.array_equal(symmetric_noise(labels, 0.2, 10, seed=2)[1], corrupted)
    # What is corrupted does not depend on the labels.
    np.testing.assert_array_equal(symmetric_noise(labels[::-1], 0.2, 10, seed=1)[1], corrupted)


def test_noise_none_and_all() -> None:
    labels = RNG.integers(0, 4, 500)
    noisy, corrupted = symmetric_noise(labels, 0.0, 4, seed=0)
    np.testing.assert_array_equal(noisy, labels)
    assert (corrupted.shape, corrupted.dtype) == ((0,), np.int64)
    noisy, corrupted = symmetric_noise(labels, 1.0, 4, seed=0)
    assert (noisy != labels).all()
    np.testing.assert_array_equal(corrupted, range(500))


def test_noise_refuses() -> None:
    labels = np.array([0, 1, 2])
    for bad in (-0.1, 1.1, float("nan")):
        refused(lambda bad=bad: symmetric_noise(labels, bad, 3, 0), "probability", str(bad))  # type: ignore[misc]
    refused(lambda: symmetric_noise(np.zeros(3, np.int64), 0.1, 1, 0), "1 class ", "at least two")
    refused(lambda: symmetric_noise(labels, 0.1, 2, 0), "from 0 to 2", "2 classes")
    refused(lambda: symmetric_noise(labels - 1, 0.1, 3, 0), "from -1")


# --- digits and dependencies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "seed"), [(1000, 0), (1347, 0), (1347, 5)])
def test_digits(train: int, seed: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    x, y = datasets.load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=1797 - train, train_size=train, stratify=y, random_state=seed
    )
    images = data.digits(train=train, seed=seed)
    assert (images.name, images.scale, images.mean, images.std) == ("digits", 1 / 16, (0,), (1,))
    assert images.classes == tuple("0123456789")
    assert (images.train_images.dtype, images.train_labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(images.train_images, x_train.reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(images.test_images, x_test.reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(images.train_labels, y_train)
    np.testing.assert_array_equal(images.test_labels, y_test)
    np.testing.assert_array_equal(images.test_positions, range(1797 - train))
    if (train, seed) == (1000, 0):
        same(load("digits"), images)


def test_digits_that_cannot_be_split() -> None:
    pytest.importorskip("sklearn")
    for train in (0, 9, 1788, 1797):
        refused(lambda train=train: data.digits(train=train, seed=0), f"{train} of 1797")  # type: ignore[misc]


def test_scikit_learn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "sklearn.datasets", "sklearn.model_selection"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(lambda: load("digits"), "scikit-learn", "pip install '.[train]'")


def test_nothing_large_is_imported() -> None:
    code = "import sys, models.data; print({'torch', 'sklearn', 'PIL', 'lronnx', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
