"""A software authenticator and the browser around it: ECDSA P-256, CBOR, sign counters, and the PRF over hmac-secret.

https://www.w3.org/TR/webauthn-3/#prf-extension: the browser hashes the salt under its own prefix, the authenticator
answers with HMAC-SHA-256 under a key that belongs to the credential alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

_PRESENT, _VERIFIED, _ATTESTED, _EXTENDED = 1, 4, 64, 128


@dataclass
class _Held:
    """One discoverable credential."""

    rp: str
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    random: bytes = field(default_factory=lambda: os.urandom(32))
    count: int = 0


@dataclass
class Authenticator:
    """A device with its browser. origin: of the page that asks; verifies: it checks who holds it; counts: it counts."""

    origin: str
    verifies: bool = True
    counts: bool = True
    held: dict[bytes, _Held] = field(default_factory=dict)

    def create(self, options: dict[str, Any], rp: str = "") -> dict[str, Any]:
        """navigator.credentials.create(); a new credential. rp: another than the options say."""
        held, credential = _Held(rp or options["rp"]["id"]), os.urandom(32)
        self.held[credential] = held
        public = held.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (public.x, public.y))
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        attested = bytes(16) + struct.pack(">H", len(credential)) + credential + cose
        data = self._data(held, _ATTESTED | _EXTENDED) + attested + cbor2.dumps({"hmac-secret": True})
        response = {
            "clientDataJSON": text(self._client("webauthn.create", options["challenge"])),
            "attestationObject": text(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return _credential(credential, response, {"prf": {"enabled": True}})

    def get(self, options: dict[str, Any], rp: str = "") -> dict[str, Any]:
        """navigator.credentials.get() with the credential made last."""
        credential, held = list(self.held.items())[-1]
        held.count += self.counts
        was, held.rp = held.rp, rp or held.rp
        data, client = self._data(held), self._client("webauthn.get", options["challenge"])
        held.rp = was
        signature = held.key.sign(data + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        response = {"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature)}
        salt = raw(options["extensions"]["prf"]["eval"]["first"])
        return _credential(credential, response, {"prf": {"results": {"first": text(prf(held.random, salt))}}})

    def _data(self, held: _Held, more: int = 0) -> bytes:
        flags = _PRESENT | (_VERIFIED if self.verifies else 0) | more
        return hashlib.sha256(held.rp.encode()).digest() + bytes([flags]) + struct.pack(">I", held.count)

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()


def prf(random: bytes, salt: bytes) -> bytes:
    """What a credential's PRF gives for a salt."""
    return hmac.digest(random, hashlib.sha256(b"WebAuthn PRF\0" + salt).digest(), "sha256")


def text(data: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(stated: str) -> bytes:
    return urlsafe_b64decode(stated + "=" * (-len(stated) % 4))


def _credential(credential: bytes, response: dict[str, str], extensions: dict[str, Any]) -> dict[str, Any]:
    made = {"id": text(credential), "rawId": text(credential), "type": "public-key", "response": response}
    return made | {"clientExtensionResults": extensions}
