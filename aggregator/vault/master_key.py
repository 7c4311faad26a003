"""What the key ring lies under: a key that wraps one other key, the ring's row key. In a file, or in a token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from aggregator.errors import Tampered
from aggregator.vault import key_files
from aggregator.vault.seal import KEY_BYTES, header, unwrap, wrap

_HEADER = header("key", "", name="row")


class MasterKey(Protocol):
    """Where it is changed, both the new and the old are there until the ring lies under the new one."""

    def wrap(self, key: bytes) -> bytes:
        """The row key under this master key."""

    def unwrap(self, box: bytes) -> bytes:
        """What `wrap` made. Raises Tampered where it was another master key's."""

    def successor(self) -> MasterKey:
        """A new master key, durable before anything lies under it."""

    def settle(self) -> None:
        """The ring lies under this one: any other goes."""


class FileKey:
    """32 bytes in hex in a file; its successor lies beside it as `.new` until the ring lies under that."""

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self._path = path
        self._key = key or key_files.read_key(path)

    @classmethod
    def create(cls, path: Path) -> FileKey:
        key_files.write_key(path, os.urandom(KEY_BYTES))
        return cls(path)

    def wrap(self, key: bytes) -> bytes:
        return wrap(self._key, _HEADER, key)

    def unwrap(self, box: bytes) -> bytes:
        try:
            return unwrap(self._key, _HEADER, box)
        except Tampered:
            if not self._new().exists():
                raise
        # A change that was interrupted between the ring's commit and the file's new name.
        other = key_files.read_key(self._new())
        opened = unwrap(other, _HEADER, box)
        self._key = other
        return opened

    def successor(self) -> FileKey:
        made = os.urandom(KEY_BYTES)
        key_files.write_key(self._new(), made)
        return FileKey(self._path, made)

    def settle(self) -> None:
        if key_files.read_key(self._path) != self._key:
            key_files.write_key(self._path, self._key)
        self._new().unlink(missing_ok=True)
        key_files.sync_folder(self._path.parent)

    def _new(self) -> Path:
        return self._path.with_name(self._path.name + ".new")
