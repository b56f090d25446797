"""Files in a folder or an archive, named and read in the same way. Nothing is ever extracted to the file system.

An archive may be hostile: names are only text, links and devices are never followed, no size is believed before as
many bytes have arrived, and one file takes at most :data:`LARGEST` bytes of memory.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import struct
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from lronnx.errors import InputError
from lronnx.inputs import reading

LARGEST = 256 * 2**20
"""Bytes of a file in an archive above which it is refused, if the caller names no other limit."""

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20
_LARGEST_HEADER = 16 * 2**20


class Member(NamedTuple):
    """A file of a tree: its path with slashes, relative to the tree; its size in bytes; and where the tree finds it.

    ``regular`` is False for what an archive holds besides files and folders: links, devices, files with holes.
    """

    name: str
    size: int
    position: int
    regular: bool = True


class Tree(ABC):
    """The files of a folder or an archive. ``members`` are listed once; hidden ones are left out.

    Hidden are files and folders whose names begin with a dot, and ``__MACOSX``, which the archiver of macOS adds.
    ``quick``: reading one member takes no longer because of the others.
    """

    quick = True

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage(path):
            self.members = [member for member in self._list() if not _hidden(member.name)]

    def what(self, member: Member) -> str:
        """What to call a member in messages."""
        return f"{self.path}:{member.name}"

    def check_regular(self, member: Member) -> None:
        """Raise InputError for a member that cannot be read, since it is no regular file."""
        if not member.regular:
            raise InputError(
                f"{self.what(member)} is no regular file but a link, a device or one with holes: pack the files "
                "themselves (tar --dereference)"
            )

    def read(self, members: Iterable[Member], limit: int = LARGEST) -> Iterator[tuple[Member, bytes]]:
        """The contents of some members, in one pass, in the tree's own order.

        Raises InputError for a member above ``limit`` bytes, one that is no regular file, and for damage.
        """
        wanted = sorted(members, key=lambda member: member.position)
        for member in wanted:
            self.check_regular(member)
            if member.size > limit:
                raise InputError(
                    f"{self.what(member)} claims {member.size} bytes, and lronnx reads at most {limit // 2**20} MiB "
                    "of such a file"
                )
        with damage(self.path):
            for member, content in self._read(wanted):
                if len(content) != member.size:
                    raise InputError(
                        f"{self.what(member)} holds {len(content)} bytes where {member.size} were announced: "
                        f"{self.path} is damaged, or was changed while it was read"
                    )
                yield member, content

    @abstractmethod
    def fingerprint(self, members: Sequence[Member]) -> str:
        """Hex SHA-256 that changes with these members; of an archive it is that of the whole file."""

    @abstractmethod
    def _list(self) -> Iterator[Member]: ...

    @abstractmethod
    def _read(self, wanted: Sequence[Member]) -> Iterator[tuple[Member, bytes]]: ...


class Folder(Tree):
    """A folder of the file system. Links are followed, but not into a folder that is being listed."""

    def fingerprint(self, members: Sequence[Member]) -> str:
        """Of the sorted names and contents of these members."""
        digest = hashlib.sha256()
        with damage(self.path):
            for member in sorted(members):
                digest.update(f"{member.name}\0{sha256(self.path / member.name)}\n".encode())
        return digest.hexdigest()

    def _list(self) -> Iterator[Member]:
        for position, (name, size) in enumerate(self._walk(self.path, "", frozenset())):
            yield Member(_checked(name, self.path), size, position)

    def _walk(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int]]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in above:
            return
        above |= {(status.st_dev, status.st_ino)}
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if _hidden(entry.name):
                continue
            if entry.is_dir():
                yield from self._walk(folder / entry.name, f"{prefix}{entry.name}/", above)
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat().st_size

    def _read(self, wanted: Sequence[Member]) -> Iterator[tuple[Member, bytes]]:
        for member in wanted:
            with (self.path / member.name).open("rb") as stream:
                yield member, stream.read(member.size + 1)


class Zip(Tree):
    """A ``.zip`` file, kept open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage(path):
            self._open()
        super().__init__(path)

    def _open(self) -> None:
        self._process = os.getpid()
        self._archive = zipfile.ZipFile(self.path)

    def fingerprint(self, members: Sequence[Member]) -> str:
        return sha256(self.path)

    def _list(self) -> Iterator[Member]:
        for position, info in enumerate(self._archive.infolist()):
            if not info.is_dir():
                # The upper half of external_attr is a Unix mode where the archiver recorded one.
                kind = info.external_attr >> 28
                yield Member(_normal(info.filename, self.path), info.file_size, position, kind in {0, 8})

    def _read(self, wanted: Sequence[Member]) -> Iterator[tuple[Member, bytes]]:
        # A forked process shares the position in an open file with its parent.
        if self._process != os.getpid():
            self._open()
        infos = self._archive.infolist()
        for member in wanted:
            with self._archive.open(infos[member.position]) as stream:
                yield member, stream.read(member.size + 1)


class Tar(Tree):
    """A tar archive, plain or compressed as a whole: the compressed kind is read from its beginning every time."""

    def __init__(self, path: Path) -> None:
        packed = compression(path)
        self._open, self.quick = _OPENERS[packed], not packed
        super().__init__(path)

    def fingerprint(self, members: Sequence[Member]) -> str:
        return sha256(self.path)

    def _list(self) -> Iterator[Member]:
        with self._opened() as stream, tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
            for ordinal, info in enumerate(_infos(archive)):
                if not info.isdir():
                    regular = info.isreg() and not info.issparse()
                    position = info.offset_data if self.quick else ordinal
                    yield Member(_normal(info.name, self.path), info.size, position, regular)
            # tarfile takes a bad header, and the end of the file, for the end of the archive.
            if stream.last != bytes(_BLOCK):
                raise InputError(f"{self.path} has no end-of-archive mark: it is cut off or damaged")
            # Only at its end does a decompressor check what it has read.
            while stream.read(_CHUNK):
                pass

    def _read(self, wanted: Sequence[Member]) -> Iterator[tuple[Member, bytes]]:
        if self.quick:
            with self.path.open("rb") as plain:
                for member in wanted:
                    plain.seek(member.position)
                    yield member, plain.read(member.size)
            return
        left = list(reversed(wanted))
        with self._opened() as stream, tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
            for ordinal, info in enumerate(_infos(archive)):
                if not left:
                    return
                if ordinal != left[-1].position:
                    continue
                member = left.pop()
                if (_normal(info.name, self.path), info.size) != (member.name, member.size):
                    break
                stream.seek(info.offset_data)
                yield member, stream.take(info.size)
            else:
                if not left:
                    return
        raise InputError(f"{self.path} was changed while it was read: open it again")

    @contextmanager
    def _opened(self) -> Iterator[_Forward]:
        with ExitStack() as stack:
            yield _Forward(stack.enter_context(self._open(self.path)), self.path, self.quick)


class _Forward:
    """What tarfile needs of a file, over a stream that goes back only as far as its last reading.

    A compressed stream would start afresh at every step back. Readings of headers are bounded, since tarfile reads
    as many bytes as they claim.
    """

    def __init__(self, stream: IO[bytes], path: Path, seekable: bool) -> None:
        self._stream, self._path, self._seekable = stream, path, seekable
        self._position = 0
        self._pending = self.last = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise InputError(f"{self._path} claims a header of {size} bytes: it is damaged")
        return self.take(size)

    def take(self, size: int) -> bytes:
        """As :meth:`read`, for a member's content, whose size the caller has judged."""
        content = self._pending[:size]
        self._pending = self._pending[size:]
        if len(content) < size:
            content += self._stream.read(size - len(content))
        self._position += len(content)
        self.last = content
        return content

    def seek(self, position: int) -> None:
        back = self._position - position
        if back > len(self.last):
            raise InputError(f"{self._path} leads backwards: it is damaged")
        if back > 0:
            self._pending = self.last[-back:] + self._pending
            self.last = self.last[:-back]
            self._position = position
        elif self._seekable and not self._pending:
            self._position = self._stream.seek(position)
            self.last = b""
        while self._position < position and self.take(min(_CHUNK, position - self._position)):
            pass


def open_archive(path: Path) -> Tree | None:
    """The archive that a file is by its content, whatever its name; None if it is none. Raises InputError for damage.

    Accepted are zip files and tar archives, the latter as they are or compressed by gzip, bzip2 or xz.
    """
    with damage(path):
        if zipfile.is_zipfile(path):
            return Zip(path)
        head = beginning(path, _BLOCK)
        # Nothing but zeros is the end of an archive that holds nothing.
        if head != bytes(_BLOCK):
            try:
                tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return None
        return Tar(path)


def compression(path: Path) -> str:
    """How the whole file is compressed, by its first bytes: "gzip", "bzip2", "xz", or "" if it is not."""
    with damage(path), path.open("rb") as stream:
        head = stream.read(6)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of a file, decompressed if it is compressed; fewer than ``size`` if it has fewer."""
    with decompressed(path) as stream:
        return stream.read(size)


@contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, decompressed if it is compressed by gzip, bzip2 or xz; InputError if it is damaged."""
    with damage(path), _OPENERS[compression(path)](path) as stream:
        yield stream


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content. Raises InputError if it cannot be read."""
    with damage(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def damage(what: Path | str) -> Iterator[None]:
    """Turns what damaged files make the standard library raise into an InputError that names the file."""
    try:
        with reading(what):
            yield
    except (lzma.LZMAError, tarfile.TarError, struct.error, IndexError, OverflowError) as error:
        raise InputError(f"{what} cannot be read, it may be damaged: {error}") from None


_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    "": lambda path: path.open("rb"),
    "gzip": lambda path: cast(IO[bytes], gzip.GzipFile(path, "rb")),
    "bzip2": lambda path: cast(IO[bytes], bz2.BZ2File(path, "rb")),
    "xz": lambda path: cast(IO[bytes], lzma.LZMAFile(path, "rb")),  # noqa: SIM115
}


def _infos(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The headers of an archive, of which tarfile would otherwise keep every one."""
    while (info := archive.next()) is not None:
        cast(Any, archive).members.clear()
        yield info


def _hidden(name: str) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))


def _normal(name: str, path: Path) -> str:
    """``name`` without empty parts and single dots; an absolute one keeps its first slash."""
    parts = "/".join(part for part in name.split("/") if part not in {"", "."})
    return _checked("/" + parts if name.startswith("/") else parts, path)


def _checked(name: str, path: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} holds a file whose name is not text in UTF-8, {name!a}: rename it") from None
    return name
