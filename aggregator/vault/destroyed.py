"""The list of what the key service destroyed: only ever appended to, applied whenever a ring is opened.

    <sha256 of the line before, its first 32 hex digits> grant <vault> <id> <its epoch> ended|replaced
    <...> exposed <vault> <epoch>: grants up to this epoch ended in a restore
    <...> vault <vault>
    <...> worker <name of a worker key: 32 hex digits of its public key's hash>
    <...> unlockers <vault> <generation>: unlockers of an earlier generation

A ring that was put back from an older backup has the keys again; the list, which belongs on another disk, takes them
away before anything is opened. Each line names the one before, and the ring remembers how far it has applied the list,
so one that was cut off is noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aggregator.errors import OperatorError
from aggregator.vault import key_files

_FIRST = "0" * 32
_LONGEST = 1024  # bytes of a line


@dataclass(frozen=True, slots=True)
class Place:
    """How far a list reaches: its bytes, and the hash of its last line."""

    size: int = 0
    head: str = _FIRST


class DestroyedList:
    """The file at `path`; several processes may append."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *words: str) -> Place:
        """One line, on the disk when this returns; where the list ends then."""
        new = not self.path.exists()
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST))
            whole, end, torn = file.read().rpartition(b"\n")
            if torn:  # a crash in the middle of a line: nothing was destroyed for it
                size -= len(torn)
                file.truncate(size)
            before = _hash(whole.rpartition(b"\n")[2]) if end else _FIRST
            line = " ".join((before, *words)).encode()
            file.seek(0, os.SEEK_END)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            key_files.sync_folder(self.path.parent)
        return Place(size + len(line) + 1, _hash(line))

    def behind(self, place: Place) -> Iterator[tuple[list[str], Place]]:
        """Each line's words behind a place, and the place behind it.

        Raises OperatorError where the list is shorter than that, or is another one.
        """
        if not self.path.exists():
            if place.size:
                raise OperatorError(self._cut())
            return
        key_files.refuse_open_to_others(self.path)
        with self.path.open("rb") as file:
            if place.size:
                file.seek(max(0, place.size - _LONGEST))
                before = file.read(min(place.size, _LONGEST))
                if not before.endswith(b"\n") or _hash(before[:-1].rpartition(b"\n")[2]) != place.head:
                    raise OperatorError(self._cut())
            for line in file:
                if not line.endswith(b"\n"):
                    return
                previous, *words = line[:-1].decode().split(" ")
                if previous != place.head:
                    raise OperatorError(f"{self.path} was changed: a line does not follow the one before; restore it")
                place = Place(place.size + len(line), _hash(line[:-1]))
                yield words, place

    def _cut(self) -> str:
        return (
            f"{self.path} is shorter than the key ring remembers, or another list; put the list of destroyed keys back "
            "from where it is kept"
        )


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]
