"""Who approved, for the app: OpenID Connect's id_token, signed with ES256.

https://openid.net/specs/openid-connect-core-1_0.html#IDToken and
https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#scopes-for-requesting-identity-data

The signing key is derived from a key of the key ring and is nowhere stored; whoever restores the ring has it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from aggregator.identity import app_parties
from aggregator.identity.app_scopes import FHIR_USER
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import expand
from connectors.contract import Clock

ALGORITHM = "ES256"
_SECONDS = 300  # it is read once, when it comes
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256's base point


class IdTokens:
    """Issues them. issuer: this installation's base URL."""

    def __init__(self, key_service: KeyService, clock: Clock, issuer: str) -> None:
        self._key_service = key_service
        self._clock = clock
        self._issuer = issuer

    @cached_property
    def _key(self) -> ECKey:
        halves = (self._key_service.handle("id-token", half) for half in ("1", "2"))
        # 16 bytes more than the order has, so that the remainder is as good as uniform.
        drawn = int.from_bytes(expand(b"".join(halves), "id-token", 48))
        private = ec.derive_private_key(drawn % (_ORDER - 1) + 1, ec.SECP256R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = ECKey.import_key(pem, {"use": "sig", "alg": ALGORITHM})
        key.ensure_kid()
        return key

    def public(self) -> dict[str, Any]:
        """The JWK set that verifies them: https://www.rfc-editor.org/rfc/rfc7517#section-5"""
        return {"keys": [self._key.as_dict(private=False)]}

    def subject(self, client: str, vault: str) -> str:
        """The patient, by a name that is for this app alone."""
        return self._key_service.handle("subject", client, vault).hex()

    def issue(self, told: Mapping[str, Any]) -> str:
        """told: what an authorization code stands for."""
        now = int(self._clock().timestamp())
        claims = {"iss": self._issuer, "aud": told["client"], "iat": now, "exp": now + _SECONDS}
        claims["sub"] = self.subject(told["client"], app_parties.vault_of(told["authorization"]))
        if told["nonce"]:
            claims["nonce"] = told["nonce"]
        if FHIR_USER in told["scopes"]:
            claims["fhirUser"] = f"{self._issuer}/fhir/Patient/{told['patient']}"
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key, algorithms=[ALGORITHM])
