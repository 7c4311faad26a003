"""The files of an export: written as a folder or as a tar stream, and read from either, bounded.

https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06 (USTAR). Read by itself, not by
`tarfile`, which follows headers that say how to read other headers: here a member is a path, a size and bytes.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aggregator.errors import CallerError

MANIFEST = "manifest.json"

_BLOCK = 512
_PIECE = 64 * 1024
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", re.ASCII)
_LONGEST_PATH = 100
_MOST_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class File:
    """One file on its way: its path inside the export, its size in bytes, and the bytes, which are read once."""

    path: str
    size: int
    parts: Iterable[bytes]


def of(path: str, content: bytes) -> File:
    """A file that is there whole."""
    return File(path, len(content), [content])


Files = Callable[[], Iterator[File]]
"""Begins to read an export: each call from the beginning. A file is read before the next one is asked for."""


def write_folder(folder: Path, files: Iterable[File]) -> None:
    """Make the folder. Raises CallerError where there is something at its place already."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise CallerError(f"{folder} is there already; name a new folder") from None
    except OSError as error:
        raise CallerError(f"{folder} cannot be made: {os.strerror(error.errno or 0)}") from None
    for file in files:
        place = folder / _sound(file.path)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with new_file(place) as out:
            for part in file.parts:
                out.write(part)


@contextmanager
def new_file(place: Path) -> Iterator[IO[bytes]]:
    """For its owner alone, never in the place of another; on the disk at the end. Raises CallerError."""
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CallerError(f"{place} cannot be made: {os.strerror(error.errno or 0)}") from None
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def tar(files: Iterable[File]) -> Iterator[bytes]:
    """The archive, piece by piece."""
    for file in files:
        member = tarfile.TarInfo(_sound(file.path))
        member.size, member.mode = file.size, 0o600
        yield member.tobuf(tarfile.GNU_FORMAT)
        yield from file.parts
        yield bytes(-file.size % _BLOCK)
    yield bytes(2 * _BLOCK)


def in_tar(stream: IO[bytes]) -> Iterator[File]:
    """The members of an archive, to its very end. Raises CallerError for what is none of `tar`'s."""
    known: set[str] = set()
    while header := _member(stream):
        path, size = header
        _refuse_twice(path, known)
        content = _Content(stream, size)
        yield File(path, size, content)
        content.skip()
        _exactly(stream, -size % _BLOCK)
    if any(any(piece) for piece in iter(lambda: stream.read(_PIECE), b"")):
        raise CallerError("something follows the archive's end")


def in_folder(folder: Path) -> Iterator[File]:
    """The regular files of a folder and of its folders, the manifest last. Raises CallerError for anything else.

    No link is followed: one could bring whatever this process may read into the record.
    """
    known: set[str] = set()
    for path in sorted(_paths(folder), key=lambda path: (path == MANIFEST, path)):
        _refuse_twice(path, known)
        try:
            descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            raise CallerError("a file of the export cannot be read, or is a link") from None
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield File(path, size, _Content(file, size))


def _paths(folder: Path) -> Iterator[str]:
    """Raises CallerError."""
    try:
        for one in list(os.scandir(folder)):
            if one.is_dir(follow_symlinks=False):
                inner = list(os.scandir(one.path))
                if not all(two.is_file(follow_symlinks=False) for two in inner):
                    raise CallerError("the export's folder holds what is no plain file")
                yield from (_sound(f"{one.name}/{two.name}") for two in inner)
            elif one.is_file(follow_symlinks=False):
                yield _sound(one.name)
            else:
                raise CallerError("the export's folder holds what is no plain file")
    except OSError:
        raise CallerError(f"{folder} cannot be read as a folder") from None


def _member(stream: IO[bytes]) -> tuple[str, int] | None:
    """Path and size of the next member; None at the end."""
    block = _exactly(stream, _BLOCK)
    if not any(block):
        return None
    try:
        told = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError):
        raise CallerError("this is no archive of an export") from None
    if not _is_plain(block) or told.size < 0:
        raise CallerError("the archive holds what is no plain file")
    return _sound(told.name), told.size


def _is_plain(header: bytes) -> bool:
    """No link, device or folder, and no header about headers."""
    return header[156:157] in (b"0", b"\0")


def _sound(path: str) -> str:
    """A path that stays inside the export. Raises CallerError, which does not repeat it."""
    if len(path) > _LONGEST_PATH or not _PATH.fullmatch(path):
        raise CallerError("a file of the export has a name that it cannot have")
    return path


def _refuse_twice(path: str, known: set[str]) -> None:
    if path in known or len(known) >= _MOST_FILES:
        raise CallerError("the export holds a file twice, or far too many")
    known.add(path)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    block = stream.read(length)
    if len(block) != length:
        raise CallerError("the archive is cut off")
    return block


class _Content:
    """The next `size` bytes of a stream, once, in pieces. Raises CallerError where fewer are left."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left = stream, size

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            piece = self._stream.read(min(_PIECE, self._left))
            if not piece:
                raise CallerError("a file of the export is cut off")
            self._left -= len(piece)
            yield piece

    def skip(self) -> None:
        """What was not read."""
        for _ in self:
            pass
