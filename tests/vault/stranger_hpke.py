"""HPKE's base mode written a second time, from RFC 9180 and X-Wing's draft, with hmac and hashlib alone.

With it a box can be built around *any* key exchange, also one that no honest sender would make. Both KEMs of
FORMAT.md section 3; HKDF-SHA-256 and AES-256-GCM.

https://www.rfc-editor.org/rfc/rfc9180#section-4 and #section-5.1,
https://datatracker.ietf.org/doc/html/draft-connolly-cfrg-xwing-kem#section-5.3
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DHKEM_X25519, XWING = 0x0020, 0x647A
_XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


def x25519_secret(exchanged: bytes, capsule: bytes, public: bytes) -> bytes:
    """DHKEM(X25519)'s shared secret. exchanged: what X25519 gave."""
    suite = b"KEM" + DHKEM_X25519.to_bytes(2, "big")
    prk = _extract(suite, b"", b"eae_prk", exchanged)
    return _expand(suite, prk, b"shared_secret", capsule + public, 32)


def xwing_secret(mlkem: bytes, exchanged: bytes, capsule: bytes, public: bytes) -> bytes:
    """X-Wing's shared secret. capsule, public: the X25519 halves."""
    return hashlib.sha3_256(mlkem + exchanged + capsule + public + _XWING_LABEL).digest()


def seal(kem: int, secret: bytes, info: bytes, plaintext: bytes) -> bytes:
    """The first message of the base mode under this shared secret."""
    key, nonce = _schedule(kem, secret, info)
    return AESGCM(key).encrypt(nonce, plaintext, b"")


def open_(kem: int, secret: bytes, info: bytes, sealed: bytes) -> bytes:
    """What `seal` made. Raises InvalidTag."""
    key, nonce = _schedule(kem, secret, info)
    return AESGCM(key).decrypt(nonce, sealed, b"")


def _schedule(kem: int, secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce (RFC 9180, 5.1)."""
    suite = b"HPKE" + b"".join(one.to_bytes(2, "big") for one in (kem, 1, 2))
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    schedule = _extract(suite, secret, b"secret", b"")
    return _expand(suite, schedule, b"key", context, 32), _expand(suite, schedule, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, value: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + value, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """At most 32 bytes: one block is enough."""
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:length]
