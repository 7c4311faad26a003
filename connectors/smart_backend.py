"""SMART Backend Services: this installation signs in with its own key (private_key_jwt, ES384, client_credentials).

https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html
https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from connectors.contract import Clock, ConnectorError, NeedsOperator, SourceChanged
from connectors.http import LOOPBACK, Answer, Refusal, exchange, origin, raise_unless_good
from fhir_profiles import text

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = timedelta(minutes=4)  # SMART allows five; the source's clock may be a little behind
_EARLY = timedelta(seconds=30)  # a token is renewed before it ends, so that no request overtakes it
_DEFAULT_LIFE = timedelta(minutes=5)  # where the source does not tell, what SMART recommends at most
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How this installation is registered at the source.

    private_key_file: an EC key on P-384, as a JWK (its `kid` is sent) or as PEM (its RFC 7638 thumbprint is sent).
    token_url: None to look it up in .well-known/smart-configuration below the source's base.
    """

    client_id: str
    private_key_file: Path
    scope: str
    token_url: str | None = None


class BackendSignIn:
    """A credential that fetches an access token when it is needed and keeps it in memory until it ends."""

    refused: Refusal = NeedsOperator

    def __init__(self, http: httpx.AsyncClient, base_url: str, client: Client, clock: Clock) -> None:
        self._http = http
        self._base = httpx.URL(base_url.rstrip("/") + "/")
        self._client = client
        self._clock = clock
        self._token: str | None = None
        self._ends: datetime | None = None

    async def headers(self) -> Mapping[str, str]:
        """The Authorization header. Raises ConnectorError where the source gives no token."""
        if self._token is None or self._ends is None or self._clock() >= self._ends:
            self._token, self._ends = await self._sign_in()
        return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> bool:
        """Drop the token; the next request signs in anew."""
        self._token = None
        return True

    async def _sign_in(self) -> tuple[str, datetime]:
        url = await self._token_url()
        form = {
            "grant_type": "client_credentials",
            "scope": self._client.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(url),
        }
        answer = await exchange(self._http, "POST", url, headers=_ACCEPT, form=form, max_bytes=_MAX_BYTES)
        if answer.status in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NeedsOperator(
                f"The source refuses this installation's sign-in ({answer.status}): "
                "the operator must check client_id, private_key_file and scope."
            )
        raise_unless_good(answer, self._clock())
        return self._granted(_json_object(answer))

    def _granted(self, granted: dict[str, Any]) -> tuple[str, datetime]:
        token, life = granted.get("access_token"), granted.get("expires_in")
        if not isinstance(token, str) or not (token.isascii() and token.isprintable() and token):
            raise SourceChanged("The source's token endpoint answered without an access token.")
        lasting = timedelta(seconds=life) if isinstance(life, int) and 0 < life < 1 << 31 else _DEFAULT_LIFE
        return token, self._clock() + max(lasting - _EARLY, lasting / 2)

    async def _token_url(self) -> httpx.URL:
        if self._client.token_url is not None:
            return httpx.URL(self._client.token_url)
        where = self._base.join(".well-known/smart-configuration")
        answer = await exchange(self._http, "GET", where, headers=_ACCEPT, max_bytes=_MAX_BYTES)
        if 400 <= answer.status < 500:
            raise NeedsOperator("The source publishes no smart-configuration: the operator must set token_url.")
        raise_unless_good(answer, self._clock())
        return self._trusted(_json_object(answer).get("token_endpoint"))

    def _trusted(self, endpoint: object) -> httpx.URL:
        try:
            url = httpx.URL(endpoint) if isinstance(endpoint, str) else None
        except httpx.InvalidURL:
            url = None
        # A source may not send our signature in the clear, nor to a service on this machine or beside it.
        if url is not None and (origin(url) == origin(self._base) or _is_public_https(url)):
            return url
        raise NeedsOperator("The source names no usable token endpoint: the operator must set token_url.")

    def _assertion(self, audience: httpx.URL) -> str:
        key = read_key(self._client.private_key_file)
        now = int(self._clock().timestamp())
        claims = {
            "iss": self._client.client_id,
            "sub": self._client.client_id,
            "aud": str(audience),
            "iat": now,
            "exp": now + int(_ASSERTION_LIFE.total_seconds()),
            "jti": secrets.token_urlsafe(24),
        }
        header = {"alg": "ES384", "typ": "JWT", "kid": key.kid or key.thumbprint()}
        return jwt.encode(header, claims, key, algorithms=["ES384"])


_ACCEPT = {"Accept": "application/json", "Accept-Encoding": "gzip"}


def _is_public_https(url: httpx.URL) -> bool:
    if url.scheme != "https":
        return False
    try:
        return ip_address(url.host).is_global
    except ValueError:  # a name
        return url.host not in LOOPBACK | {""}


def read_key(path: Path) -> ECKey:
    """The private key for ES384. Raises NeedsOperator where the file cannot be read or holds another kind of key."""
    try:
        raw = path.read_bytes()
        key = ECKey.import_key(text.loads(raw) if raw.lstrip().startswith(b"{") else raw)
    except (OSError, ValueError, TypeError, KeyError, JoseError):
        raise NeedsOperator("private_key_file cannot be read: the operator must give an EC key on P-384.") from None
    if key.curve_name != "P-384" or not key.is_private:
        raise NeedsOperator("private_key_file holds no private EC key on P-384: the operator must give one.")
    return key


def _json_object(answer: Answer) -> dict[str, Any]:
    error: ConnectorError = SourceChanged("The source's sign-in answers with something other than JSON.")
    try:
        value = text.loads(answer.body)
    except text.NotJson:
        raise error from None
    if not isinstance(value, dict):
        raise error
    return value
