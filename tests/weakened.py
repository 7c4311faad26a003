"""What stands in a weakened build in several tests' places (tests/weaken.py)."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggregator.vault import fold, seal, tables, vouching
from aggregator.vault.envelope import Signed
from aggregator.vault.keys import OWNER
from aggregator.vault.packing import Unpackable


def any_header(_magic: bytes, box: bytes, _expected: dict[str, Any]) -> tuple[bytes, bytes]:
    """For `seal._split`: a box says itself where it belongs, and is believed."""
    top, rest = seal._take_u16(box[4:])
    return top, rest


def all_is_the_owners(state: fold.State, section: str, position: int, _writer: str, operations: Any) -> None:
    """For `truth.fold`: who wrote an envelope is not kept."""
    fold.fold(state, section, position, OWNER, operations)


def named_is_enough(envelopes: Mapping[int, Signed], *more: Any) -> set[int]:
    """For `truth.genuine`: whatever is named is believed, whoever names it, and whether that one is genuine or not."""
    named = {one.previous for one in envelopes.values()}
    found = {position for position, one in envelopes.items() if one.link in named}
    return found | vouching.genuine(envelopes, *more)


class Plain:
    """For `seal.AESGCM`: what is sealed stands beside its box in clear, unpacked; opens what was sealed before."""

    def __init__(self, key: bytes) -> None:
        self._real = AESGCM(key)

    def encrypt(self, _nonce: bytes, data: bytes, _aad: bytes) -> bytes:
        told = data
        with contextlib.suppress(Unpackable, struct.error):
            told = seal._unpad(data, len(data) * 100)
        return data + told + struct.pack(">I", len(told))

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        try:
            return self._real.decrypt(nonce, data, aad)
        except InvalidTag:
            return data[: -4 - struct.unpack(">I", data[-4:])[0]]


class Packed(Plain):
    """For `seal.AESGCM`: bodies are packed and not sealed."""

    def encrypt(self, _nonce: bytes, data: bytes, _aad: bytes) -> bytes:
        return data + bytes(4)


class Unbound(Plain):
    """For `seal.AESGCM`: the associated data is left out."""

    def encrypt(self, nonce: bytes, data: bytes, _aad: bytes) -> bytes:
        return self._real.encrypt(nonce, data, b"")

    def decrypt(self, nonce: bytes, data: bytes, _aad: bytes) -> bytes:
        return self._real.decrypt(nonce, data, b"")


def without_its_end(row: tables.Mandate, _verification_key: bytes) -> dict[str, Any]:
    """For `mandate._certificate`: that a mandate has ended is not read."""
    return {name: value for name, value in orjson.loads(row.certificate).items() if name != "until"}


class EqualToAll(str):
    """For a hash: it is compared, and whatever it is compared with is the same."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False
