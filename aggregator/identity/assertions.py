"""A client proves who it is by an assertion that it has signed: `private_key_jwt`.

https://www.rfc-editor.org/rfc/rfc7523#section-3, with the limits of
https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from joserfc import jws, jwt
from joserfc.errors import JoseError

from aggregator.errors import SignInFailed
from aggregator.identity.client_registry import Client
from aggregator.identity.used_once import use_once
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("ES384", "RS384")
_LONGEST_ASSERTION = 16_384  # characters
_LONGEST_LIFE = 300  # seconds an assertion may still have
_SKEW = 30  # seconds that clocks may differ
_UNTRUSTED_KEYS = frozenset({"jwk", "jku", "x5u", "x5c"})


class Assertions:
    """Which assertions are taken, each of them once."""

    def __init__(self, store: Store, key_service: KeyService, clients: Mapping[str, Client], clock: Clock) -> None:
        self._store = store
        self._key_service = key_service
        self._clients = clients
        self._clock = clock

    def verify(self, assertion: str, audience: str) -> tuple[Client, Mapping[str, Any]]:
        """Who signed it, and what it says. One error for all that is wrong: it tells nothing to who guesses."""
        try:
            if len(assertion) > _LONGEST_ASSERTION:
                raise SignInFailed("invalid_client")
            issuer, kid = _claimed(assertion)
            client = self._clients[issuer]
            if client.keys is None:
                raise SignInFailed("invalid_client")
            claims = jwt.decode(assertion, client.keys.having(kid), algorithms=list(ALGORITHMS)).claims
            self._check_claims(client, claims, audience)
        except (LookupError, ValueError, TypeError, OverflowError, JoseError):
            raise SignInFailed("invalid_client") from None
        self._use_once(client, claims)
        return client, claims

    def _check_claims(self, client: Client, claims: Mapping[str, Any], audience: str) -> None:
        now = self._clock().timestamp()
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        right = (
            claims["iss"] == claims["sub"] == client.id
            and audience in audiences
            and now - _SKEW < float(claims["exp"]) <= now + _LONGEST_LIFE + _SKEW
            and float(claims.get("nbf", 0)) <= now + _SKEW
            and isinstance(claims["jti"], str)
            and 0 < len(claims["jti"]) <= 256
            and claims["jti"].isprintable()  # half of a surrogate pair cannot be written down
        )
        if not right:
            raise SignInFailed("invalid_client")

    def _use_once(self, client: Client, claims: Mapping[str, Any]) -> None:
        handle = self._key_service.handle("jti", client.id, claims["jti"])
        expires, now = int(float(claims["exp"])) + _SKEW + 1, int(self._clock().timestamp())
        if not use_once(self._store, handle, expires=expires, now=now):
            raise SignInFailed("invalid_client")


def _claimed(assertion: str) -> tuple[str, str | None]:
    """The claimed issuer and key, to find the registered ones by; nothing else of an unverified token is used."""
    parsed = jws.extract_compact(assertion.encode())
    header = parsed.headers()
    if _UNTRUSTED_KEYS & header.keys():
        raise SignInFailed("invalid_client")
    issuer, kid = orjson.loads(parsed.payload)["iss"], header.get("kid")
    if not isinstance(issuer, str) or not isinstance(kid, str | None):
        raise TypeError
    return issuer, kid
