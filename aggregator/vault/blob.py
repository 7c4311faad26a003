"""A sealed stream of bytes outside the database: an attachment, in constant memory (FORMAT.md section 13)."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggregator.errors import Tampered
from aggregator.vault.encoding import b32, b64, canonical, padme, unb64
from aggregator.vault.seal import KEY_BYTES, expand, header
from aggregator.vault.stream import CHUNK, TAG, Chunks

if TYPE_CHECKING:
    from aggregator.vault.blob_store import BlobStore

_KIND = "a stored blob"
_MAGIC = b"PRB1"
_COMMIT = 32
_ID = re.compile(r"[a-z2-7]{26}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 2**50  # bytes: far beyond any attachment, far below where a counter or a double would end


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """What finds and opens one blob: it stands in the operation that brought it. size, sha256: of the plaintext."""

    id: str
    key: bytes = field(repr=False)
    size: int
    sha256: str

    def member(self) -> dict[str, Any]:
        """As an operation holds it."""
        return {"id": self.id, "key": b64(self.key), "size": self.size, "sha256": self.sha256}


def read_member(member: Mapping[str, Any]) -> Blob:
    """The inverse of `Blob.member`. Raises KeyError, TypeError, ValueError for what is none."""
    made = Blob(id=member["id"], key=unb64(member["key"]), size=member["size"], sha256=member["sha256"])
    sound = _ID.fullmatch(made.id) and len(made.key) == KEY_BYTES and _SHA256.fullmatch(made.sha256)
    if not sound or type(made.size) is not int or not 0 <= made.size <= _MOST or len(member) != 4:
        raise ValueError("a blob is not of the format")
    return made


def new_blob_id() -> str:
    """128 random bits: the object's name tells nothing, not even whose it is."""
    return b32(os.urandom(16))


def write(store: BlobStore, vault: str, plaintext: Iterable[bytes]) -> Blob:
    """Seal a stream under a fresh key and store it; it is durable on return. A row must name it, or it is swept."""
    sealing = Sealing(vault, new_blob_id(), os.urandom(KEY_BYTES))
    store.put(sealing.id, sealing.seal(plaintext))
    return sealing.blob()


class Sealing:
    """One plaintext on its way into a blob. The key is used for this stream alone: its nonces are counted."""

    def __init__(self, vault: str, blob: str, key: bytes) -> None:
        self.id = blob
        self._vault, self._key = vault, key
        self._size, self._sha256 = 0, hashlib.sha256()

    def seal(self, plaintext: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes at rest, piece by piece."""
        top = _header(self._vault, self.id)
        yield _head(top, self._key)
        yield from Chunks(self._key, top, _KIND).seal(self._padded(plaintext))

    def blob(self) -> Blob:
        """What opens it, once everything was sealed."""
        return Blob(id=self.id, key=self._key, size=self._size, sha256=self._sha256.hexdigest())

    def _padded(self, plaintext: Iterable[bytes]) -> Iterator[bytes]:
        for part in plaintext:
            for at in range(0, len(part), CHUNK):  # one that comes in one piece is not copied in one piece
                piece = part[at : at + CHUNK]
                self._size += len(piece)
                self._sha256.update(piece)
                yield piece
        missing = padme(self._size) - self._size
        for at in range(0, missing, CHUNK):
            yield bytes(min(CHUNK, missing - at))


def read(store: BlobStore, vault: str, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The plaintext's bytes from start to end (excluded), at most CHUNK at a time, each piece authenticated.

    Raises Tampered before the piece that is not what was written; ValueError for a range that is not in it.
    """
    end = blob.size if end is None else end
    if not 0 <= start <= end <= blob.size:
        raise ValueError("no such range")
    top, last = _header(vault, blob.id), _last(blob.size)
    expected = _head(top, blob.key)
    first, final = start // CHUNK, max(start, end - 1) // CHUNK
    place = len(expected) + first * (CHUNK + TAG)
    stop = stored_size(vault, blob.size) if final == last else len(expected) + (final + 1) * (CHUNK + TAG)
    total, parts = store.read(blob.id, place if first else 0, stop)
    _refuse_other_length(total, stored_size(vault, blob.size))
    source = _Source(parts)
    begun = source.take(len(expected)) if not first else _beginning(store, blob.id, len(expected))
    if not hmac.compare_digest(begun, expected):
        raise Tampered("a stored blob belongs elsewhere, or to another key")
    chunks = Chunks(blob.key, top, _KIND)
    for number in range(first, final + 1):
        sealed = source.take(CHUNK + TAG if number < last else _final(blob.size) + TAG)
        at = number * CHUNK
        yield chunks.open_one(number, sealed, last=number == last)[max(start - at, 0) : end - at]


def stored_size(vault: str, size: int) -> int:
    """How many bytes lie at rest for a plaintext of this size: no more of the size is told than this."""
    head = len(_head(_header(vault, "a" * 26), bytes(KEY_BYTES)))
    return head + padme(size) + (_last(size) + 1) * TAG


def _refuse_other_length(total: int, expected: int) -> None:
    if total != expected:
        raise Tampered("a stored blob has another length")


def _beginning(store: BlobStore, blob: str, length: int) -> bytes:
    return b"".join(store.read(blob, 0, length)[1])


def _header(vault: str, blob: str) -> bytes:
    return canonical(header("blob", vault, name=blob))


def _head(top: bytes, key: bytes) -> bytes:
    """What stands before the chunks. GCM does not commit to its key, so the key's commitment is among it."""
    return _MAGIC + len(top).to_bytes(2, "big") + top + expand(key, "commit", _COMMIT)


def _last(size: int) -> int:
    """The number of the last chunk; there is always one."""
    return max(padme(size) - 1, 0) // CHUNK


def _final(size: int) -> int:
    """How many bytes the last chunk holds."""
    return padme(size) - _last(size) * CHUNK


class _Source:
    """Bytes that come in pieces of any size, taken in others."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._held = parts, bytearray()

    def take(self, length: int) -> bytes:
        """The next bytes. Raises Tampered where fewer are left."""
        while len(self._held) < length:
            part = next(self._parts, None)
            if part is None:
                raise Tampered("a stored blob is cut off")
            self._held += part
        taken = bytes(self._held[:length])
        del self._held[:length]
        return taken
