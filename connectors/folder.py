"""A watched folder: which files lie in it, and their bytes.

Files are never moved, changed or deleted. A name leads nowhere else: symbolic links, folders and devices are passed
over, also when one is put in a file's place between listing and reading. An entry says whether somebody may still be
writing the file; such a file is left for the next pull.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors.contract import Clock, NeedsOperator, Transient

_QUIET = timedelta(seconds=2)  # a file changed more recently may still be growing
# O_NONBLOCK so that opening a named pipe cannot hang.
_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE_ANY_MORE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)  # deleted; now a symbolic link; now a pipe or socket
_PROBLEM = "The watched folder {problem}: the operator must check the setting folder and the rights on it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One regular file of the folder. size in bytes; age since its last change (negative where clocks differ)."""

    name: str
    size: int
    age: timedelta

    @property
    def settled(self) -> bool:
        """Whether nobody seems to be writing it."""
        return abs(self.age) >= _QUIET


class Folder:
    """The regular files of one folder."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    async def entries(self, wanted: Callable[[str], bool]) -> list[Entry]:
        """The files whose name is wanted, sorted by name. Raises NeedsOperator or Transient."""
        return sorted(await asyncio.to_thread(self._list, wanted), key=lambda entry: entry.name)

    async def read(self, entry: Entry, limit: int) -> bytes | None:
        """The file's bytes; None where it is gone, no regular file any more, or has grown beyond limit bytes."""
        return await asyncio.to_thread(self._read, entry.name, limit)

    def _list(self, wanted: Callable[[str], bool]) -> list[Entry]:
        now = self._clock()
        with _problems_named(), os.scandir(self._path) as listing:
            return [entry for item in listing if wanted(item.name) and (entry := _entry(item, now))]

    def _read(self, name: str, limit: int) -> bytes | None:
        with _problems_named():
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return _read_at(folder, name, limit)
            finally:
                os.close(folder)


def _entry(item: os.DirEntry[str], now: datetime) -> Entry | None:
    try:
        status = item.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted while we list
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(name=item.name, size=status.st_size, age=now - datetime.fromtimestamp(status.st_mtime, UTC))


def _read_at(folder: int, name: str, limit: int) -> bytes | None:
    try:
        opened = os.open(name, _READ_ONLY, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_FILE_ANY_MORE:
            return None
        raise
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


@contextmanager
def _problems_named() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise NeedsOperator(_PROBLEM.format(problem="does not exist")) from None
    except PermissionError:
        raise NeedsOperator(_PROBLEM.format(problem="or a file in it may not be read")) from None
    except OSError:
        raise Transient("The watched folder does not answer: it is tried again.") from None
