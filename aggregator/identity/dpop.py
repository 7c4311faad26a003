"""DPoP: with each request a client proves that it holds the key its token is bound to.

https://www.rfc-editor.org/rfc/rfc9449#section-4.3. A proof carries its own public key: it says nothing about who the
client is, only that the same key signed as before, which its thumbprint tells (RFC 7638).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64encode

from aggregator.errors import Refused
from aggregator.identity.used_once import use_once
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

ALGORITHMS = ("ES256", "ES384")
REFUSED = "invalid_dpop_proof"
_TYPE = "dpop+jwt"
_LONGEST = 4096  # characters
_LIFE = 60  # seconds
_SKEW = 30  # seconds that clocks may differ
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof that holds: the thumbprint of its key, its name, and until when it does (Unix seconds)."""

    thumbprint: str
    jti: str
    expires: int


class Proofs:
    """Which proofs are taken, each of them once."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock

    def take(self, text: str, *, method: str, url: str, token: str | None = None) -> str:
        """The thumbprint of the key that made this proof (`jkt`). Raises Refused("invalid_dpop_proof").

        url: as others reach what is asked, never from the Host header. token: the access token beside the proof; None
        where one is yet to be given out.
        """
        now = self._clock().timestamp()
        proof = read(text, method=method, url=url, token=token, now=now)
        handle = self._key_service.handle("dpop", proof.thumbprint, proof.jti)
        if not use_once(self._store, handle, expires=proof.expires, now=int(now)):
            raise Refused(REFUSED)
        return proof.thumbprint


def read(text: str, *, method: str, url: str, token: str | None, now: float) -> Proof:
    """All that can be said of a proof by itself; one error for all that is wrong. Raises Refused."""
    try:
        if len(text) > _LONGEST:
            raise Refused(REFUSED)
        key, claims = _opened(text)
        right = (
            claims["htm"] == method
            and _address(claims["htu"]) == _address(url)
            and now - _LIFE - _SKEW < float(claims["iat"]) <= now + _SKEW
            and isinstance(claims["jti"], str)
            and 0 < len(claims["jti"]) <= 256
            and claims["jti"].isprintable()
            and (token is None or claims["ath"] == token_hash(token))
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, JoseError):
        raise Refused(REFUSED) from None
    if not right:
        raise Refused(REFUSED)
    expires = int(float(claims["iat"])) + _LIFE + _SKEW + 1
    return Proof(thumbprint=key.thumbprint(), jti=claims["jti"], expires=expires)


def token_hash(token: str) -> str:
    """`ath`: the access token's SHA-256 in base64url."""
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode()


def _opened(text: str) -> tuple[ECKey, Mapping[str, Any]]:
    """The key in the header and the claims that it signed. Raises Refused and what joserfc and JSON raise."""
    parsed = jws.extract_compact(text.encode())
    header = parsed.headers()
    if header["typ"] != _TYPE or header["jwk"]["kty"] != "EC":
        raise Refused(REFUSED)
    key = ECKey.import_key(header["jwk"])
    if key.is_private or not jws.validate_compact(parsed, key, algorithms=list(ALGORITHMS)):
        raise Refused(REFUSED)
    claims = orjson.loads(parsed.payload)
    if not isinstance(claims, dict):
        raise TypeError
    return key, claims


def _address(url: str) -> tuple[str, str, int | None, str]:
    """What of an address counts: not its query, nor how its scheme, host and port are written (RFC 3986, 6.2)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme), parts.path or "/"
