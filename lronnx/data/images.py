"""Data sets of image files, one folder per class, in a folder or an archive."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lronnx.data.dataset import Dataset, Part, unknown
from lronnx.data.trees import Folder, Member, Tree
from lronnx.errors import InputError
from lronnx.inputs import IMAGE_SUFFIXES, decode_image, require_pillow

SPLITS = ("train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing")
"""Names of folders that are splits even if all images are in one of them, in the order in which splits come."""

_IN_MEMORY = 32 * 2**20

_LAYOUT = "SPLIT/CLASS/NAME or CLASS/NAME (such as train/cat/0001.png)"


class _Images:
    """Image files of a tree, decoded one by one.

    Of a compressed archive, which can only be read from its beginning, the encoded images that are wanted are copied
    to a temporary file when the first of them is asked for.
    """

    axes = None

    def __init__(self, tree: Tree, members: Sequence[Member]) -> None:
        self._tree, self._members = tree, members
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._begins: dict[int, int] = {}
        weakref.finalize(self, self._spool.close)

    def read(self, number: int, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        member = self._members[number]
        if self._tree.quick:
            [(_, encoded)] = self._tree.read([member])
        else:
            with self._lock:
                # A forked process shares the position in an open file with its parent.
                if self._process != os.getpid():
                    self._begin()
                if number not in self._begins:
                    self._fetch(wanted)
                self._spool.seek(self._begins[number])
                encoded = self._spool.read(member.size)
        return decode_image(io.BytesIO(encoded), self._tree.what(member))

    def _fetch(self, wanted: NDArray[np.int64]) -> None:
        numbers = {self._members[number].position: int(number) for number in wanted if int(number) not in self._begins}
        for member, encoded in self._tree.read([self._members[number] for number in numbers.values()]):
            try:
                begin = self._spool.seek(0, io.SEEK_END)
                self._spool.write(encoded)
            except OSError as error:
                raise InputError(
                    f"the images of {self._tree.path} cannot be copied to a temporary file ({error}): select fewer "
                    "samples, unpack the archive, or let TMPDIR name a folder with more room"
                ) from None
            self._begins[numbers[member.position]] = begin


def open_images(tree: Tree) -> Dataset | None:
    """The images of a folder or an archive, none of which is decoded yet; None if there are none.

    Raises InputError if they are not in folders as :func:`lronnx.data.open_data` tells, or Pillow is not installed.
    """
    images = [member for member in tree.members if PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        return None
    require_pillow(tree.path)
    placed = sorted(_place(tree, images), key=lambda place: (_rank(place[0]), place))
    classes = sorted({place[1] for place in placed})
    numbers = {class_: number for number, class_ in enumerate(classes)}
    parts = []
    for split, places in itertools.groupby(placed, key=lambda place: place[0]):
        labels = np.array([numbers[class_] for _, class_, _, _ in places], dtype=np.int64)
        parts.append(Part(split, labels, unknown(len(labels))))
    is_folder = isinstance(tree, Folder)
    fingerprint = _of_names_and_sizes(images) if is_folder else tree.fingerprint(images)
    kind = "image folder" if is_folder else "image archive"
    return Dataset.build(
        tree.path.name, kind, fingerprint, classes, parts, _Images(tree, [place[3] for place in placed])
    )


def _place(tree: Tree, images: Sequence[Member]) -> list[tuple[str, str, str, Member]]:
    """Split, class, name and member of every image. A folder above all of them counts only if it is a split's."""
    paths: dict[tuple[str, ...], Member] = {}
    for member in images:
        tree.check_regular(member)
        path = tuple(member.name.split("/"))
        if member.name.startswith("/") or ".." in path:
            raise InputError(f"{tree.what(member)} is outside of the data set: images are in {_LAYOUT}")
        if path in paths:
            raise InputError(f"{tree.what(member)} is there twice: pack the data set again")
        paths[path] = member
    shortest, longest = (pick(sorted(paths), key=len) for pick in (min, max))
    if len(shortest) != len(longest):
        raise InputError(
            f"{tree.path} has images at different depths, such as {'/'.join(shortest)} and {'/'.join(longest)}: put "
            f"them in {_LAYOUT}"
        )
    folders = len(shortest) - 1
    while folders > 1 and len({path[-1 - folders] for path in paths}) == 1:
        if folders == 2 and shortest[-3] in SPLITS:
            break
        folders -= 1
    if folders not in (1, 2) or (folders == 1 and all(path[-2] in SPLITS for path in paths)):
        raise InputError(
            f"{tree.path} has images such as {'/'.join(shortest)}, which tells no class: put them in {_LAYOUT}"
        )
    return [(path[-3] if folders == 2 else "", path[-2], path[-1], member) for path, member in paths.items()]


def _rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _of_names_and_sizes(images: Sequence[Member]) -> str:
    digest = hashlib.sha256()
    for member in sorted(images):
        digest.update(f"{member.name}\0{member.size}\n".encode())
    return digest.hexdigest()
