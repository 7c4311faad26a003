"""The two boxes that everything at rest lies in: sealed to a public key, or wrapped (FORMAT.md section 4).

HPKE is RFC 9180 with X-Wing; the AEAD is AES-256-GCM; bodies are compressed, then padded.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from aggregator.errors import Tampered
from aggregator.vault.encoding import canonical, padme
from aggregator.vault.packing import KEPT, PASSING, Unpackable, pack, unpack

FORMAT = 3
KEY_BYTES = 32
_NONCE = 12
_COMMIT = 32
_SEALED = b"PRS1"
_WRAPPED = b"PRW1"
_MLKEM_PUBLIC = 1184
# A body that claims to unpack to more is refused, and none is made. Anybody with a public key can make a sealed box, a
# wrapped one only who holds its key.
_MOST_SEALED, _MOST_WRAPPED = 2**28, 2**31 - 1


class SuiteId(IntEnum):
    """The HPKE suites of FORMAT.md section 3."""

    XWING = 1
    X25519 = 2


_SUITES = {
    SuiteId.XWING: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    SuiteId.X25519: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}


def expand(key: bytes, label: str, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand with SHA-256 and this format's prefix (RFC 5869)."""
    return HKDFExpand(SHA256(), length, b"PRA1/" + label.encode()).derive(key)


def header(kind: str, vault: str, **more: str | int) -> dict[str, Any]:
    """A header: what the box is and where it belongs. `more`: section, epoch, writer, number, name."""
    return {"format": FORMAT, "kind": kind, "vault": vault, **more}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key to seal to. `raw`: suite byte, then the key (ML-KEM-768 || X25519, or X25519)."""

    raw: bytes

    @property
    def suite(self) -> SuiteId:
        return SuiteId(self.raw[0])

    def seal(self, head: dict[str, Any], plaintext: bytes) -> bytes:
        """A sealed box that only the private key opens, and only where this header is expected."""
        data_key = os.urandom(KEY_BYTES)
        top = canonical({**head, "suite": int(self.suite)})
        wrap = _SUITES[self.suite].encrypt(data_key, self._key(), info=top)
        return _join(_SEALED, top, _u16(wrap), _encrypt(data_key, plaintext, top, _MOST_SEALED, PASSING))

    def _key(self) -> Any:
        if self.suite is SuiteId.X25519:
            return X25519PublicKey.from_public_bytes(self.raw[1:])
        mlkem, x25519 = self.raw[1 : 1 + _MLKEM_PUBLIC], self.raw[1 + _MLKEM_PUBLIC :]
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
        )


class PrivateKey:
    """A key pair derived from a 32-byte seed."""

    def __init__(self, seed: bytes, suite: SuiteId = SuiteId.XWING) -> None:
        raw = expand(seed, "hpke", 96)
        self._suite = suite
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:64])
        self._x25519 = X25519PrivateKey.from_private_bytes(raw[64:])

    def public(self) -> PublicKey:
        """What writers seal to."""
        mlkem = self._mlkem.public_key().public_bytes_raw() if self._suite is SuiteId.XWING else b""
        return PublicKey(bytes([self._suite]) + mlkem + self._x25519.public_key().public_bytes_raw())

    def open(self, head: dict[str, Any], box: bytes) -> bytes:
        """The plaintext. Raises Tampered when the box is not of this key, header and suite, or was changed."""
        top, rest = _split(_SEALED, box, {**head, "suite": int(self._suite)})
        wrap, rest = _take_u16(rest)
        try:
            data_key = _SUITES[self._suite].decrypt(wrap, self._key(), info=top)
        except (InvalidTag, ValueError):
            raise Tampered(f"a sealed {head['kind']} does not open with its key") from None
        return _decrypt(data_key, rest, top, head["kind"], _MOST_SEALED)

    def _key(self) -> Any:
        if self._suite is SuiteId.X25519:
            return self._x25519
        return MLKEM768X25519PrivateKey(self._mlkem, self._x25519)


def wrap(key: bytes, head: dict[str, Any], plaintext: bytes) -> bytes:
    """A box under a symmetric key, committed to that key."""
    top = canonical(head)
    sealed = _encrypt(expand(key, "enc"), plaintext, top, _MOST_WRAPPED, KEPT)
    return _join(_WRAPPED, top, expand(key, "commit"), sealed)


def unwrap(key: bytes, head: dict[str, Any], box: bytes) -> bytes:
    """The plaintext. Raises Tampered for another key, another header, or changed bytes."""
    top, rest = _split(_WRAPPED, box, head)
    commit, rest = rest[:_COMMIT], rest[_COMMIT:]
    if not hmac.compare_digest(commit, expand(key, "commit")):
        raise Tampered(f"a wrapped {head['kind']} belongs to another key")
    return _decrypt(expand(key, "enc"), rest, top, head["kind"], _MOST_WRAPPED)


def lock(key: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """`nonce || AES-256-GCM` under a key that is used for this alone: many small rows, without a frame of their own."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def unlock(key: bytes, aad: bytes, box: bytes, kind: str) -> bytes:
    """What `lock` made. Raises Tampered."""
    try:
        return AESGCM(key).decrypt(box[:_NONCE], box[_NONCE:], aad)
    except (InvalidTag, ValueError):
        raise Tampered(f"a stored {kind} was changed") from None


def read_header(box: bytes) -> bytes:
    """The header's bytes of either box, unverified: to find out where a box claims to belong."""
    if box[:4] not in (_SEALED, _WRAPPED):
        raise Tampered("a stored box has no known beginning")
    return _take_u16(box[4:])[0]


def _encrypt(key: bytes, plaintext: bytes, aad: bytes, most: int, level: int) -> bytes:
    if len(plaintext) > most:
        raise ValueError("too long for a box: nobody would open it")
    return lock(key, aad, _pad(plaintext, level))


def _decrypt(key: bytes, data: bytes, aad: bytes, kind: str, most: int) -> bytes:
    body = unlock(key, aad, data, kind)
    try:
        return _unpad(body, most)
    except (Unpackable, struct.error):
        raise Tampered(f"a stored {kind} was changed") from None


def _pad(plaintext: bytes, level: int) -> bytes:
    packed = pack(plaintext, level)
    used = 4 + len(packed)
    return struct.pack(">I", len(packed)) + packed + bytes(padme(used) - used)


def _unpad(body: bytes, most: int) -> bytes:
    (length,) = struct.unpack_from(">I", body)
    return unpack(body[4 : 4 + length], most)


def _u16(part: bytes) -> bytes:
    return struct.pack(">H", len(part)) + part


def _take_u16(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < 2:
        raise Tampered("a stored box is cut off")
    (length,) = struct.unpack_from(">H", data)
    return data[2 : 2 + length], data[2 + length :]


def _join(magic: bytes, top: bytes, *parts: bytes) -> bytes:
    return b"".join((magic, _u16(top), *parts))


def _split(magic: bytes, box: bytes, expected: dict[str, Any]) -> tuple[bytes, bytes]:
    if box[:4] != magic:
        raise Tampered(f"a stored {expected['kind']} has another form")
    top, rest = _take_u16(box[4:])
    if top != canonical(expected):
        raise Tampered(f"a stored {expected['kind']} stands where another belongs")
    return top, rest
