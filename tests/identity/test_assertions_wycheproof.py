"""Wycheproof's vectors for the two signatures that a client's assertion may carry (attack 36).

The vectors are of signatures, not of tokens: they go to what `jwt.decode` verifies with, under the names that the
token endpoint allows.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc._rfc7518.jws_algs import ESAlgorithm
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from aggregator.identity import assertions
from tests.vault.wycheproof import raw, vectors
from tests.weaken import weakens

pytestmark = [pytest.mark.attack(36), pytest.mark.storeless]


class _AnyPadding:
    """RSA that looks at the padding and not at what it signs."""

    def verify(self, _: bytes, signature: bytes, key: RSAKey) -> bool:
        public: Any = key.get_op_key("verify")
        try:
            opened = public.recover_data_from_signature(signature, padding.PKCS1v15(), None)
        except Exception:  # noqa: BLE001
            return False
        return bool(opened)


class _AnyLength(ESAlgorithm):
    """ECDSA that cuts a signature into two halves, however long it is."""

    def verify(self, message: bytes, signature: bytes, key: ECKey) -> bool:
        half = len(signature) // 2
        return super().verify(
            message, b"".join(one.lstrip(b"\0").rjust(48, b"\0") for one in (signature[:half], signature[half:])), key
        )


def _taken(algorithm: str, key: Any, test: dict[str, Any]) -> str:
    assert algorithm in assertions.ALGORITHMS
    message, signature = raw(test, "msg", "sig")
    return "valid" if JWSRegistry.algorithms[algorithm].verify(message, signature, key) else "invalid"


@weakens("joserfc.jws.JWSRegistry", "algorithms", {"ES384": _AnyLength("ES384", "P-384", 384)})
def test_es384() -> None:
    for group, test in vectors("Signature/ecdsa_secp384r1_sha384_p1363"):
        key = ECKey.import_key(group["publicKeyPem"])
        assert _taken("ES384", key, test) == test["result"], test["tcId"]


@pytest.mark.parametrize("size", [2048, 3072, 4096])
@weakens("joserfc.jws.JWSRegistry", "algorithms", {"RS384": _AnyPadding()})
def test_rs384(size: int) -> None:
    for group, test in vectors(f"Signature/rsa_signature_{size}_sha384"):
        key = RSAKey.import_key(group["publicKeyPem"])
        if test["result"] != "acceptable":
            assert _taken("RS384", key, test) == test["result"], test["tcId"]
