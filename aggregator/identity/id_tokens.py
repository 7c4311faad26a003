"""Who approved, for the app: OpenID Connect's id_token, signed with ES256.

https://openid.net/specs/openid-connect-core-1_0.html#IDToken and
https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#scopes-for-requesting-identity-data

The signing key is derived from a key of the key ring and is nowhere stored; whoever restores the ring has it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

    def who(self, client: str, vault: str, patient: str, scopes: Collection[str]) -> dict[str, str]:
        """The claims about who approved. sub: by a name that is for this app alone; patient: the Patient's whole id."""
        told = {"iss": self._issuer, "sub": self._key_service.handle("subject", client, vault).hex()}
        return told | ({"fhirUser": f"{self._issuer}/fhir/Patient/{patient}"} if FHIR_USER in scopes else {})

    def issue(self, told: Mapping[str, Any]) -> str:
        """told: what an authorization code stands for."""
        now = int(self._clock().timestamp())
        client, vault = told["client"], app_parties.vault_of(told["authorization"])
        claims: dict[str, Any] = {"aud": client, "iat": now, "exp": now + _SECONDS}
        claims |= self.who(client, vault, told["patient"], told["scopes"])
        if told["nonce"]:
            claims["nonce"] = told["nonce"]
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key, algorithms=[ALGORITHM])
