"""Files that only their owner may read: written whole or not at all, refused where others could read them."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from aggregator.errors import KeysMissing, OperatorError
from aggregator.vault.seal import KEY_BYTES

MISSING = (
    "{} is missing. Restore the key ring from its backup: move what is left of it away, but not its list of destroyed "
    "keys, then run: aggregator restore --keys-from FOLDER. Without it nothing in the store can be opened"
)


def refuse_open_to_others(path: Path) -> None:
    """Raises OperatorError where the file or folder is another user's, or others may do anything with it."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise OperatorError(f"{path} belongs to another user; run the service as its owner, or chown it")
    if found.st_mode & 0o077:
        right = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise OperatorError(f"{path} can be read by others; run: chmod {right} {path}")


def read_key(path: Path) -> bytes:
    """32 bytes in hex. Raises KeysMissing, OperatorError."""
    try:
        refuse_open_to_others(path)
        key = bytes.fromhex(path.read_text())
    except FileNotFoundError:
        raise KeysMissing(MISSING.format(path)) from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise OperatorError(f"{path} does not hold 32 bytes in hex; restore it from its backup")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Whole or not at all; what was there is replaced."""
    write(path, key.hex().encode() + b"\n")


def write(path: Path, data: bytes) -> None:
    """Mode 0600, on the disk when this returns, under its name only then."""
    made = path.with_name(path.name + ".part")
    made.unlink(missing_ok=True)
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    made.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was renamed, made or removed in it is so after a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FolderLock:
    """Held shared by whoever uses the folder, alone by whoever changes its keys; given back with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = os.open(folder, os.O_RDONLY)
        try:
            self.shared()
        except OperatorError:
            self.close()
            raise

    def shared(self) -> None:
        self._lock(fcntl.LOCK_SH)

    def alone(self) -> None:
        """Raises OperatorError where somebody else uses the folder."""
        try:
            self._lock(fcntl.LOCK_EX)
        except OperatorError:
            self.shared()  # the system gives up what was held before it tries
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _lock(self, kind: int) -> None:
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(f"the key ring in {self._folder} is in use; end what uses it, then try again") from None
