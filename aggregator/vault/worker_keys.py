"""What the syncing worker holds: the key that its rows are sealed to, and the operator's feed key.

keys/worker.key      32 bytes in hex: opens mandates, settings, cursors, and nothing that is sealed to a section
keys/worker.key.new  the next one, while rows lie under either: both open, the new one seals
keys/feed.key        32 bytes in hex: routing tags and their MACs; it never changes, since no tag is kept in clear
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from aggregator.errors import Tampered
from aggregator.vault import key_files
from aggregator.vault.keys import handle
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey

FILE, NEW, FEED = "worker.key", "worker.key.new", "feed.key"


class WorkerKeys:
    """In the worker's hands. successor: the next key's seed, while the key is changing."""

    def __init__(self, seed: bytes, feed: bytes, successor: bytes | None = None) -> None:
        self._old = PrivateKey(seed)
        self._newest = PrivateKey(successor) if successor else self._old
        self._feed = feed

    @classmethod
    def read(cls, folder: Path) -> WorkerKeys:
        """From the files above. Raises KeysMissing, OperatorError."""
        new = folder / NEW
        successor = key_files.read_key(new) if new.exists() else None
        return cls(key_files.read_key(folder / FILE), key_files.read_key(folder / FEED), successor)

    @property
    def changing(self) -> bool:
        """Are there two?"""
        return self._newest is not self._old

    def old_name(self) -> str:
        """What the key that is to go, or the only one, is called in the list of destroyed keys."""
        return hashlib.sha256(self._old.public().raw).hexdigest()[:32]

    def public(self) -> PublicKey:
        return self._newest.public()

    def open(self, head: dict[str, Any], box: bytes) -> bytes:
        try:
            return self._newest.open(head, box)
        except Tampered:
            if not self.changing:
                raise
        return self._old.open(head, box)

    def seal(self, head: dict[str, Any], plaintext: bytes) -> bytes:
        return self.public().seal(head, plaintext)

    def reseal(self, head: dict[str, Any], box: bytes) -> bytes:
        """The same under the newest key; as it is where it lies there already. Raises Tampered where neither opens."""
        with suppress(Tampered):
            self._newest.open(head, box)
            return box
        return self.seal(head, self._old.open(head, box))

    def feed_tag(self, *parts: str) -> bytes:
        """A routing tag under the operator's feed key."""
        return handle(self._feed, *parts)


def create(folder: Path) -> None:
    """New keys in a new folder."""
    for name in (FILE, FEED):
        key_files.write_key(folder / name, os.urandom(KEY_BYTES))


def begin(folder: Path) -> WorkerKeys:
    """A new key beside the old, durable before anything lies under it; where there is one already, that."""
    if not (folder / NEW).exists():
        key_files.write_key(folder / NEW, os.urandom(KEY_BYTES))
    return WorkerKeys.read(folder)


def settle(folder: Path) -> None:
    """Everything lies under the new one: it takes the old one's name, whose key is gone then."""
    with suppress(FileNotFoundError):  # another process that starts has done it
        (folder / NEW).rename(folder / FILE)
    key_files.sync_folder(folder)
