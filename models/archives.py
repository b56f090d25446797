"""The files in a folder or an archive, named and read in the same way. Nothing is extracted under its own name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

LARGEST_ARCHIVE = 16 * 2**30
"""Bytes of a decompressed archive above which it is refused: it is copied to a temporary file."""

LARGEST_FILE = 2**30
"""Bytes of one file above which it is refused: it is read into memory."""

_CHUNK = 2**20


class DataError(ValueError):
    """Data that cannot be had or used as they are. Its text is for the user: what is wrong, where, and what to do."""


class Member(NamedTuple):
    """A file of a tree: its path with slashes, relative to the tree, its size in bytes, and how the tree finds it.

    ``regular`` is False for what an archive holds besides files and folders: links, devices, files with holes.
    """

    name: str
    size: int
    regular: bool
    entry: Any


class Tree(ABC):
    """The files of a folder or an archive, without hidden ones: those whose name, or whose folder's, begins with a
    dot, and ``__MACOSX``, which the archiver of macOS adds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage(path):
            self.members = [member for member in self._list() if not _hidden(member.name)]
        for member in self.members:
            try:
                member.name.encode()
            except UnicodeEncodeError:
                raise DataError(f"{path} holds a file whose name is not UTF-8, {member.name!a}: rename it") from None

    def what(self, member: Member) -> str:
        """What to call a member in messages."""
        return f"{self.path}:{member.name}"

    def read(self, member: Member) -> bytes:
        """A member's content. Raises DataError for damage, for what is no regular file, and for one too large."""
        what = self.what(member)
        if not member.regular:
            raise DataError(
                f"{what} is no regular file but a link, a device or one with holes: pack the files themselves "
                "(tar --dereference)"
            )
        if member.size > LARGEST_FILE:
            raise DataError(f"{what} claims {member.size} bytes, more than the {LARGEST_FILE} that are read of a file")
        with damage(what):
            content = self._read(member)
        if len(content) != member.size:
            raise DataError(f"{what} holds {len(content)} bytes where {member.size} were announced: it is damaged")
        return content

    @abstractmethod
    def _list(self) -> Iterator[Member]: ...

    @abstractmethod
    def _read(self, member: Member) -> bytes: ...


class _Folder(Tree):
    """A folder of the file system. Links are followed, but not into a folder that is being listed."""

    def _list(self) -> Iterator[Member]:
        yield from self._walk(self.path, "", frozenset())

    def _walk(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Member]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in above:
            return
        for path in sorted(folder.iterdir()):
            if _hidden(path.name):
                continue
            if path.is_dir():
                yield from self._walk(path, f"{prefix}{path.name}/", above | {(status.st_dev, status.st_ino)})
            elif path.is_file():
                yield Member(f"{prefix}{path.name}", path.stat().st_size, True, path)

    def _read(self, member: Member) -> bytes:
        return cast(Path, member.entry).read_bytes()


class _Zip(Tree):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        super().__init__(path)

    def _list(self) -> Iterator[Member]:
        for info in self._archive.infolist():
            if not info.is_dir():
                # The upper half of external_attr is a Unix mode where the archiver recorded one.
                yield Member(_normal(info.filename), info.file_size, info.external_attr >> 28 in {0, 8}, info)

    def _read(self, member: Member) -> bytes:
        with self._archive.open(member.entry) as stream:
            return stream.read(member.size + 1)


class _Tar(Tree):
    """An uncompressed tar archive in an open file."""

    def __init__(self, path: Path, stream: IO[bytes], archive: tarfile.TarFile) -> None:
        self._stream, self._archive = stream, archive
        super().__init__(path)

    def _list(self) -> Iterator[Member]:
        for info in self._archive:
            if not info.isdir():
                yield Member(_normal(info.name), info.size, info.isreg() and not info.issparse(), info)
        # tarfile takes a bad header, and the end of the file, for the end of the archive.
        self._stream.seek(self._archive.offset)
        if self._stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{self.path} has no end-of-archive mark: it is cut off or damaged")

    def _read(self, member: Member) -> bytes:
        self._stream.seek(member.entry.offset_data)
        return self._stream.read(member.size)


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """The files of a folder, a zip file or a tar archive (also compressed by gzip, bzip2 or xz), told by its content.

    A compressed tar archive is decompressed, as a whole and up to its checksum, to a nameless temporary file, since it
    cannot be read in any other order than its own. Raises DataError if ``path`` is none of these or is damaged.
    """
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder")
    with ExitStack() as stack:
        tree: Tree
        with damage(path):
            zipped = zipfile.is_zipfile(path)
        if zipped:
            with damage(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
            tree = _Zip(path, archive)
        else:
            stream = stack.enter_context(_plain(path))
            with damage(path):
                try:
                    opened = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
                except tarfile.ReadError:
                    raise DataError(f"{path} is neither a folder nor a tar archive or a zip file") from None
            tree = _Tar(path, stream, opened)
        yield tree


@contextmanager
def damage(what: Path | str) -> Iterator[None]:
    """Turns what damaged files make the standard library raise into a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except (
        OSError,
        EOFError,
        MemoryError,
        OverflowError,
        RuntimeError,  # an encrypted member of a zip file, or a way of compression that Python lacks
        ValueError,
        lzma.LZMAError,
        struct.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{what} cannot be read, it may be damaged or cut off: {reason}") from None


_OPENERS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast(IO[bytes], gzip.GzipFile(path, "rb")),
    b"BZh": lambda path: cast(IO[bytes], bz2.BZ2File(path, "rb")),
    b"\xfd7zXZ\x00": lambda path: cast(IO[bytes], lzma.LZMAFile(path, "rb")),  # noqa: SIM115
}


@contextmanager
def _plain(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, decompressed if its first bytes say that it is compressed."""
    with damage(path), path.open("rb") as stream:
        head = stream.read(max(map(len, _OPENERS)))
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        with path.open("rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as copy:
        with damage(path), opener(path) as packed:
            size = 0
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                if size > LARGEST_ARCHIVE:
                    raise DataError(f"{path} holds more than {LARGEST_ARCHIVE} bytes: unpack it and give the folder")
                try:
                    copy.write(chunk)
                except OSError as error:
                    raise DataError(
                        f"{path} cannot be decompressed to a temporary file ({error}): unpack it and give the folder, "
                        "or let TMPDIR name a folder with more room"
                    ) from None
        copy.seek(0, os.SEEK_SET)
        yield copy


def _hidden(name: str) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))


def _normal(name: str) -> str:
    """``name`` without empty parts and single dots; an absolute one keeps its first slash."""
    parts = "/".join(part for part in name.split("/") if part not in {"", "."})
    return f"/{parts}" if name.startswith("/") else parts
