"""Folders that a run is kept in: on this machine, or behind a URL that pyarrow or fsspec knows (s3://, gs://, ...).

Every file is written whole or not at all. On this machine and wherever files can be renamed it has another name, which
begins with a dot, until it is complete; an object store shows an object only once it is complete.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from pyarrow import ArrowException, fs

from lronnx import store
from lronnx.errors import InputError

_UNFINISHED = re.compile(r"\..*\.part")
"""Names of files that were not written to their end, on this machine and elsewhere."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Where an object shows only once it is complete, so that there is nothing to rename.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class Place:
    """A folder. Names of files in it have slashes between their parts, on every system.

    ``local``: where it lies on this machine, None if it does not. ``shown``: what to call it.
    """

    def __init__(self, files: fs.FileSystem, root: str, shown: str, local: Path | None) -> None:
        self._files = files
        self._root = root.rstrip("/")
        self.shown = shown
        self.local = local

    @classmethod
    def open(cls, spec: str | os.PathLike[str]) -> Place:
        """The folder that a path or a URL names; nothing is made yet.

        Raises InputError for a URL of a kind that neither pyarrow nor an installed fsspec package knows.
        """
        text = os.fspath(spec)
        if not text:
            raise InputError("the run folder has no name")
        if not _URL.match(text) or text.lower().startswith("file://"):
            try:
                path = Path(fs.FileSystem.from_uri(text)[1]) if _URL.match(text) else Path(text).absolute()
            except (ArrowException, OSError, ValueError) as error:
                raise InputError(f"{text} is no URL of a folder: {error}") from None
            return cls(fs.LocalFileSystem(), path.as_posix(), text, path)
        try:
            files, root = fs.FileSystem.from_uri(text)
        except (ArrowException, OSError, ValueError, NotImplementedError) as error:
            files, root = _by_fsspec(text, error)
        if not root.strip("/"):
            raise InputError(f"{text} names no folder")
        # Behind the question mark there may be keys.
        shown = text.partition("?")[0]
        return cls(files, root, shown, Path(root) if isinstance(files, fs.LocalFileSystem) else None)

    def read(self, name: str) -> bytes:
        """A file's content. Raises OSError, FileNotFoundError if there is none."""
        with self._files.open_input_stream(self._path(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes) -> None:
        """Write a file, and the folder that it is in, whole or not at all. Raises OSError."""
        path = self._path(name)
        if self.local is not None:
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.write_bytes(target, content)
            return
        folder, _, last = path.rpartition("/")
        if self._files.type_name in _OBJECT_STORES:
            self._store(path, content)
            return
        self._files.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{last}.{secrets.token_hex(6)}.part"
        try:
            self._store(temporary, content)
            self._files.move(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.delete_file(temporary)
            raise

    def names(self, folder: str = "") -> list[str]:
        """The names of the files in a folder, without it, in order; none if there is no such folder. Raises OSError."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._files.get_file_info(selector)
            if info.is_file and not _UNFINISHED.fullmatch(info.base_name)
        )

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name. Raises OSError."""
        return bool(self._files.get_file_info(self._path(name)).is_file)

    def is_empty(self) -> bool:
        """Whether nothing is in it, hidden files aside, or it does not exist. Raises OSError if it is a file."""
        info = self._files.get_file_info(self._path(""))
        if info.is_file:
            raise NotADirectoryError(f"{self.shown} is a file")
        found = self._files.get_file_info(fs.FileSelector(self._path(""), allow_not_found=True))
        return all(info.base_name.startswith(".") for info in found)

    def delete(self, name: str) -> None:
        """Remove a file; none of that name is no error. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def sweep(self, folder: str) -> None:
        """Remove what was left of files that were never written to their end. Raises OSError."""
        for info in self._files.get_file_info(fs.FileSelector(self._path(folder), allow_not_found=True)):
            if info.is_file and _UNFINISHED.fullmatch(info.base_name):
                self.delete(f"{folder}/{info.base_name}" if folder else info.base_name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _store(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path) as stream:
            stream.write(content)


def _by_fsspec(text: str, error: Exception) -> tuple[fs.FileSystem, str]:
    """The file system of a URL that pyarrow itself does not know."""
    try:
        import fsspec
    except ImportError:
        raise InputError(
            f"{text}: pyarrow does not know this kind of URL ({error}); pip install fsspec, and its package for this "
            "kind, may"
        ) from None
    try:
        files, root = fsspec.core.url_to_fs(text)
    # What a file system raises that cannot be reached is up to its package.
    except Exception as problem:
        told = str(problem) or type(problem).__name__
        raise InputError(f"{text} cannot be reached: pyarrow says: {error}; fsspec says: {told}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(files)), root
