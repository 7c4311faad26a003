"""Wycheproof's vectors where our own wrappers take them: what is right opens, what is crooked is refused (attack 36).

Each test is seen to fail with the primitive below the wrapper replaced by one with the bug that the vectors look for.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from aggregator.errors import Tampered
from aggregator.vault import seal
from aggregator.vault.encoding import canonical
from aggregator.vault.keys import verify
from aggregator.vault.packing import KEPT
from aggregator.vault.seal import PrivateKey, SuiteId, header, lock, unlock
from tests.vault import stranger_hpke
from tests.vault.wycheproof import raw, vectors
from tests.weaken import weakens

pytestmark = [pytest.mark.attack(36), pytest.mark.storeless]
HEAD, DATA_KEY = header("envelope", "v"), bytes(range(32))
OURS = X25519PrivateKey.generate()
XWING = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def opens(act: Callable[[], bytes]) -> bytes | None:
    """What opened, None where it was refused, by our own error and no other."""
    try:
        return act()
    except Tampered:
        return None


# --- AES-GCM


class _Unauthenticated:
    """Decrypts without looking at the tag."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def decrypt(self, nonce: bytes, data: bytes, _aad: bytes) -> bytes:
        counter = nonce + (2).to_bytes(4, "big")
        return Cipher(algorithms.AES(self._key), modes.CTR(counter)).decryptor().update(data[:-16])


@weakens("aggregator.vault.seal", "AESGCM", _Unauthenticated)
def test_aes_gcm() -> None:
    """The format's nonces have 96 bits: vectors with others have no form here."""
    tried = 0
    for group, test in vectors("Cipher/aes_gcm"):
        key, nonce, aad, message, ct, tag = raw(test, "key", "iv", "aad", "msg", "ct", "tag")
        if group["ivSize"] == 96:
            tried += 1
            expected = message if test["result"] == "valid" else None
            assert opens(partial(unlock, key, aad, nonce + ct + tag, "vector")) == expected, test["tcId"]
    assert tried > 150


@weakens("aggregator.vault.seal", "_NONCE", 16)
def test_what_is_sealed_is_aes_gcm(monkeypatch: pytest.MonkeyPatch) -> None:
    for group, test in vectors("Cipher/aes_gcm"):
        key, nonce, aad, message, ct, tag = raw(test, "key", "iv", "aad", "msg", "ct", "tag")
        if group["ivSize"] == 96 and test["result"] == "valid":
            monkeypatch.setattr(os, "urandom", lambda length: (nonce + bytes(16))[:length])  # noqa: B023
            assert lock(key, aad, message) == nonce + ct + tag, test["tcId"]


# --- HKDF


@weakens("aggregator.vault.seal", "HKDFExpand", lambda algorithm, length, _info: HKDFExpand(algorithm, length, b""))
def test_hkdf() -> None:
    """`expand` is its second half, as seal.py uses it; the first is one HMAC. Its own labels are in our vectors."""
    for _, test in vectors("Protocol/hkdf_sha256"):
        ikm, salt, info, okm = raw(test, "ikm", "salt", "info", "okm")
        key = hmac.digest(salt, ikm, "sha256")
        if test["result"] == "valid":
            assert seal.HKDFExpand(SHA256(), test["size"], info).derive(key) == okm, test["tcId"]
        else:
            with pytest.raises(ValueError, match="Cannot derive keys larger"):
                seal.HKDFExpand(SHA256(), test["size"], info)


# --- HPKE: X25519, ML-KEM-768 in X-Wing


class _Sloppy:
    """A suite that takes a shared secret of zeros, as X25519 gives for points of low order."""

    def decrypt(self, wrap: bytes, key: X25519PrivateKey, *, info: bytes) -> bytes:
        try:
            exchanged = key.exchange(X25519PublicKey.from_public_bytes(wrap[:32]))
        except ValueError:
            exchanged = bytes(32)
        secret = stranger_hpke.x25519_secret(exchanged, wrap[:32], key.public_key().public_bytes_raw())
        return stranger_hpke.open_(stranger_hpke.DHKEM_X25519, secret, info, wrap[32:])


class _Unchecked:
    """An X-Wing that goes on with an empty secret where ML-KEM refused."""

    def decrypt(self, wrap: bytes, key: Any, *, info: bytes) -> bytes:
        try:
            return XWING.decrypt(wrap, key, info=info)
        except (InvalidTag, ValueError):
            point, message = wrap[-80:-48], wrap[-48:]
            exchanged = OURS.exchange(X25519PublicKey.from_public_bytes(point))
            secret = stranger_hpke.xwing_secret(b"", exchanged, point, OURS.public_key().public_bytes_raw())
            return stranger_hpke.open_(stranger_hpke.XWING, secret, info, message)


def _private(suite: SuiteId, x25519: X25519PrivateKey, mlkem: MLKEM768PrivateKey | None = None) -> PrivateKey:
    """Ours, with a vector's key in place of one derived from a seed."""
    made = PrivateKey(bytes(32), suite)
    made._x25519, made._mlkem = x25519, mlkem or made._mlkem
    return made


def _box(suite: SuiteId, capsule: bytes, message: Callable[[bytes, bytes], bytes]) -> bytes:
    """A sealed box whose capsule is the vector's. message: HPKE's, of an info and a plaintext."""
    top = canonical({**HEAD, "suite": int(suite)})
    body = seal._encrypt(DATA_KEY, b"text", top, 1024, KEPT)
    return seal._join(b"PRS1", top, seal._u16(capsule + message(top, DATA_KEY)), body)


@weakens("aggregator.vault.seal", "_SUITES", {SuiteId.X25519: _Sloppy()})
def test_x25519() -> None:
    refused = 0
    for _, test in vectors("Protocol/x25519"):
        public, private, shared = raw(test, "public", "private", "shared")
        key = X25519PrivateKey.from_private_bytes(private)
        secret = stranger_hpke.x25519_secret(shared, public, key.public_key().public_bytes_raw())
        box = _box(SuiteId.X25519, public, partial(stranger_hpke.seal, stranger_hpke.DHKEM_X25519, secret))
        zero = shared == bytes(32)
        refused += zero
        opened = opens(partial(_private(SuiteId.X25519, key).open, HEAD, box))
        assert opened == (None if zero else b"text"), test["tcId"]
    assert refused > 5


@weakens("aggregator.vault.seal", "_SUITES", {SuiteId.XWING: _Unchecked()})
def test_ml_kem_768_in_x_wing() -> None:
    """A capsule of the right length gives the secret that the vector says, the rejected one too; another gives none."""
    ephemeral = X25519PrivateKey.generate()
    point, public = ephemeral.public_key().public_bytes_raw(), OURS.public_key().public_bytes_raw()
    exchanged = ephemeral.exchange(OURS.public_key())
    for _, test in vectors("Protocol/mlkem_768"):
        seed, capsule, secret = raw(test, "seed", "c", "K")
        if len(seed) != 64:
            with pytest.raises(ValueError):  # noqa: PT011
                MLKEM768PrivateKey.from_seed_bytes(seed)
            continue
        key = _private(SuiteId.XWING, OURS, MLKEM768PrivateKey.from_seed_bytes(seed))
        shared = stranger_hpke.xwing_secret(secret, exchanged, point, public)
        box = _box(SuiteId.XWING, capsule + point, partial(stranger_hpke.seal, stranger_hpke.XWING, shared))
        expected = b"text" if test["result"] == "valid" else None
        assert opens(partial(key.open, HEAD, box)) == expected, test["tcId"]


# --- Ed25519


class _Malleable:
    """Takes s + L for s, as implementations before RFC 8032 did."""

    ORDER = 2**252 + 27742317777372353535851937790883648493

    @classmethod
    def from_public_bytes(cls, public: bytes) -> _Malleable:
        made = cls()
        made.key = Ed25519PublicKey.from_public_bytes(public)  # type: ignore[attr-defined]
        return made

    def verify(self, signature: bytes, message: bytes) -> None:
        s = int.from_bytes(signature[32:], "little") % self.ORDER
        self.key.verify(signature[:32] + s.to_bytes(32, "little"), message)  # type: ignore[attr-defined]


@weakens("aggregator.vault.keys", "Ed25519PublicKey", _Malleable)
def test_ed25519() -> None:
    for group, test in vectors("Signature/ed25519"):
        message, signature = raw(test, "msg", "sig")
        public = bytes.fromhex(group["publicKey"]["pk"])
        try:
            verify(public, signature, message, "vector")
            taken = "valid"
        except Tampered:
            taken = "invalid"
        if test["result"] != "acceptable":
            assert taken == test["result"], test["tcId"]
