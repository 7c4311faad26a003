"""A sealed stream: chunks that are sealed one by one, in constant memory (FORMAT.md section 13).

Each lies under a counter and a flag that says whether it is the last: STREAM (https://eprint.iacr.org/2015/189), as age
has it. So any chunk opens alone, and what was cut off, appended, put in another order or taken from another stream does
not open. A key is used for one stream alone: its nonces are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggregator.errors import Tampered
from aggregator.vault.seal import expand

CHUNK = 64 * 1024
"""Bytes of plaintext in every chunk but the last."""

TAG = 16
"""Bytes that a chunk is longer at rest."""


class Chunks:
    """What seals and opens the chunks of one stream. top: the header, which every chunk is bound to.

    kind: what a chunk that does not open is called in the error.
    """

    def __init__(self, key: bytes, top: bytes, kind: str) -> None:
        self._cipher = AESGCM(expand(key, "chunk"))
        self._top = top
        self._kind = kind

    def seal(self, plaintext: Iterable[bytes]) -> Iterator[bytes]:
        """The whole stream, chunk by chunk."""
        for number, (chunk, last) in enumerate(cut(plaintext, CHUNK)):
            yield self._cipher.encrypt(_nonce(number, last), chunk, self._top)

    def open(self, sealed: Iterable[bytes]) -> Iterator[bytes]:
        """The whole stream again, in pieces of any size. Raises Tampered before the piece that is not what it was."""
        for number, (chunk, last) in enumerate(cut(sealed, CHUNK + TAG)):
            yield self.open_one(number, chunk, last=last)

    def open_one(self, number: int, sealed: bytes, *, last: bool) -> bytes:
        """One chunk, at its place. Raises Tampered."""
        try:
            return self._cipher.decrypt(_nonce(number, last), sealed, self._top)
        except InvalidTag:
            raise Tampered(f"{self._kind} was changed") from None


def cut(parts: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """(piece, is it the last) of a stream in pieces of any size; there is always one, and all but the last are full."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) > size:
            yield bytes(held[:size]), False
            del held[:size]
    yield bytes(held), True


def _nonce(number: int, last: bool) -> bytes:
    """The flag is what makes a cut noticed: without it a shorter stream is a whole one."""
    return number.to_bytes(11, "big") + bytes([last])
