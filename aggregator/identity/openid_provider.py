"""A sign-in provider that says who somebody is: OpenID Connect, authorization code with PKCE and nonce.

https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth (the ID token's checks: 3.1.3.7) and
https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import orjson
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from aggregator.config import OpenIdSettings
from aggregator.errors import OperatorError, SignInFailed
from aggregator.identity import redirect_uris
from aggregator.identity.client_keys import FetchedKeys
from connectors.contract import Clock, ConnectorError

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384")
_OWN_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", None: "RS256"}
"""The curve of our own key -> what we sign with."""
_SKEW = 30  # seconds that clocks may differ
_REMEMBERED = 3600  # seconds that a provider's document is used
_NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_SCOPE = "openid"  # who it is: no name, no address, nothing that is not needed


class Web(Protocol):
    """What asks the provider. Both raise ConnectorError."""

    def get(self, address: str) -> bytes:
        """What is there."""

    def post(self, address: str, body: bytes, *, headers: Mapping[str, str]) -> bytes:
        """What answers this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to sign in: what must come back, and what only we know."""

    redirect_uri: str
    nonce: str
    verifier: str


class Provider:
    """One provider, as the operator has set it up."""

    def __init__(self, name: str, settings: OpenIdSettings, web: Web, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._web = web
        self._clock = clock
        self._secret = _read(name, "client_secret_file", settings.client_secret_file).strip()
        self._key = _key(name, settings.private_key_file)
        self._document: dict[str, Any] = {}
        self._keys: FetchedKeys | None = None
        self._asked = float("-inf")

    def address(self, attempt: Attempt, state: str) -> str:
        """Where the browser is sent. Raises SignInFailed."""
        challenge = _b64(hashlib.sha256(attempt.verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": attempt.redirect_uri,
            "scope": _SCOPE,
            "state": state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        there = self._known()["authorization_endpoint"]
        return f"{there}{'&' if '?' in there else '?'}{urlencode(asked)}"

    def subject(self, code: str, attempt: Attempt) -> str:
        """Who came back with this code, as the provider names them. Raises SignInFailed."""
        told = self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        more, headers = self._own_proof(told["token_endpoint"])
        try:
            body = urlencode(form | more).encode()
            answer = orjson.loads(self._web.post(told["token_endpoint"], body, headers=_FORM | headers))
            return self._checked(answer["id_token"], attempt.nonce)
        except ConnectorError:
            raise SignInFailed("the sign-in provider did not take the code; try again") from None
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, JoseError):
            raise SignInFailed("the sign-in provider did not say who you are") from None

    def _checked(self, token: str, nonce: str) -> str:
        """The subject of an ID token that is the provider's, for us, for this try, and for now."""
        assert self._keys is not None  # noqa: S101 - `_known` has set it
        kid = jws.extract_compact(token.encode()).headers().get("kid")
        claims = jwt.decode(token, self._keys.having(kid), algorithms=list(ALGORITHMS)).claims
        now, client = self._clock().timestamp(), self.settings.client_id
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        right = (
            claims["iss"] == self.settings.issuer
            and client in audiences
            and claims.get("azp", client if len(audiences) == 1 else "") == client
            and float(claims["exp"]) > now - _SKEW
            and float(claims["iat"]) <= now + _SKEW
            and claims["nonce"] == nonce
            and isinstance(claims["sub"], str)
            and 0 < len(claims["sub"]) <= 255
        )
        if not right:
            raise ValueError
        return str(claims["sub"])

    def _known(self) -> dict[str, Any]:
        """The provider's document. Raises SignInFailed."""
        now = self._clock().timestamp()
        if not 0 <= now - self._asked < _REMEMBERED:
            self._document, self._asked = self._fetched(), now
            place = f"openid.{self.name}: the provider's jwks_uri"
            self._keys = FetchedKeys(place, self._document["jwks_uri"], self._web.get, self._clock)
        return self._document

    def _fetched(self) -> dict[str, Any]:
        address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            told: dict[str, Any] = orjson.loads(self._web.get(address))
            sound = told["issuer"] == self.settings.issuer and not any(
                redirect_uris.fault(told[one]) for one in _NEEDED
            )
        except (ConnectorError, LookupError, TypeError, ValueError):
            sound = False
        if not sound:
            raise SignInFailed("the sign-in provider does not answer as it should; try again later")
        return told

    def _own_proof(self, token_endpoint: str) -> tuple[dict[str, str], dict[str, str]]:
        """(form, headers) by which the provider knows this service: a signature, a secret, or PKCE alone."""
        client = self.settings.client_id
        if self._key is not None:
            now = int(self._clock().timestamp())
            claims = {"iss": client, "sub": client, "aud": token_endpoint, "jti": secrets.token_urlsafe(16)}
            header = {"alg": _OWN_ALGORITHMS[self._key.as_dict(private=False).get("crv")], "kid": self._key.kid}
            made = jwt.encode(header, claims | {"iat": now, "exp": now + 60}, self._key, list(_OWN_ALGORITHMS.values()))
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            return {"client_id": client, "client_assertion_type": kind, "client_assertion": made}, {}
        if self._secret:
            pair = f"{quote(client, safe='')}:{quote(self._secret, safe='')}"
            return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {"client_id": client}, {}


def _key(name: str, file: Path | None) -> Any:
    text = _read(name, "private_key_file", file)
    if not text:
        return None
    try:
        key = JWKRegistry.import_key(orjson.loads(text))
        key.ensure_kid()
    except (ValueError, TypeError, LookupError, JoseError):
        key = None
    if key is None or not key.is_private or key.as_dict(private=False).get("crv") not in _OWN_ALGORITHMS:
        raise OperatorError(f"openid.{name}.private_key_file: {file} is no private JWK (RSA, P-256 or P-384)")
    return key


def _read(name: str, setting: str, file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        raise OperatorError(f"openid.{name}.{setting}: {file} cannot be read") from None


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
