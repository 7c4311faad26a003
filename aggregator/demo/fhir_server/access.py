"""Who may read and who may write.

Two ways in: a bearer token that the operator of the server has given out (a patient's, or one for the whole server),
and SMART backend services: https://hl7.org/fhir/smart-app-launch/backend-services.html (client_credentials with a
signed assertion, RFC 7523). A patient's token opens that patient's compartment and the directory.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from aggregator.demo.fhir_server.compartment import DIRECTORY
from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.store import Version
from connectors.contract import Clock

ALGORITHMS = ("ES384", "RS384")  # the two that SMART requires
SCOPES = {
    "system/*.read": False,
    "system/*.rs": False,
    "system/*.write": True,
    "system/*.cruds": True,
}  # scope -> whether it writes
_TOKEN_LIFE = timedelta(minutes=5)
_ASSERTION_LIFE = timedelta(minutes=5)
_LONGEST_ASSERTION = 8192  # characters
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_KEYS: dict[str, type[ECKey] | type[RSAKey]] = {"EC": ECKey, "RSA": RSAKey}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a token opens. patient: the only one; None is the whole server."""

    patient: str | None
    writes: bool = False

    def may_read(self, version: Version) -> bool:
        """Its own compartment, and directory entries that name no patient."""
        if self.patient is None or self.patient in version.patients:
            return True
        return not version.patients and version.resource_type in DIRECTORY


class OAuthError(Exception):
    """A refusal of the token endpoint: https://www.rfc-editor.org/rfc/rfc6749#section-5.2"""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = 401 if error == "invalid_client" else 400


class Access:
    """The tokens that are out, and the clients that may ask for one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._callers: dict[str, Caller] = {}
        self._ends: dict[str, datetime] = {}
        self._clients: dict[str, ECKey | RSAKey] = {}
        self._used: dict[tuple[str, str], datetime] = {}

    def allow(self, token: str, patient: str | None) -> None:
        """Give out a token without end: one patient's, to read; or (None) the whole server's, to read and write."""
        self._callers[token] = Caller(patient=patient, writes=patient is None)

    def register(self, client_id: str, jwk: Mapping[str, Any]) -> None:
        """Let a backend service sign in with the private key of this public EC or RSA JWK."""
        self._clients[client_id] = _KEYS[jwk["kty"]].import_key(dict(jwk))

    def caller(self, authorization: str) -> Caller:
        """Whom an Authorization header stands for. Raises Refused (401)."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        caller = self._callers.get(token) if scheme.lower() == "bearer" else None
        if caller is None or (token in self._ends and self._ends[token] <= self._clock()):
            raise Refused(401, "sign in with a bearer token")
        return caller

    def token(self, form: Mapping[str, str], token_url: str) -> dict[str, Any]:
        """Answer the token endpoint's form with a token response. Raises OAuthError."""
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "only client_credentials is served")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise OAuthError("invalid_client", "a JWT client assertion is needed")
        self._verify(form.get("client_assertion", ""), token_url)
        scopes = [scope for scope in form.get("scope", "").split() if scope in SCOPES]
        if not scopes:
            raise OAuthError("invalid_scope", f"one of {', '.join(SCOPES)} is needed")
        return self._issue(scopes)

    def _issue(self, scopes: list[str]) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self._callers[token] = Caller(patient=None, writes=any(SCOPES[scope] for scope in scopes))
        self._ends[token] = self._clock() + _TOKEN_LIFE
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": int(_TOKEN_LIFE.total_seconds()),
            "scope": " ".join(scopes),
        }

    def _verify(self, assertion: str, token_url: str) -> None:
        if len(assertion) > _LONGEST_ASSERTION:
            raise OAuthError("invalid_client", "the assertion is too long")
        try:
            claimed = jwt.decode(assertion, self._key_of, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OAuthError("invalid_client", "the assertion does not verify") from error
        self._refuse_claims(claimed, token_url)

    def _key_of(self, signed: Any) -> ECKey | RSAKey:
        """The registered key of the client that the assertion names; a key inside the assertion is never looked at."""
        return self._clients[orjson.loads(signed.payload)["iss"]]

    def _refuse_claims(self, claims: Mapping[str, Any], token_url: str) -> None:
        now, ends = self._clock(), claims.get("exp")
        once = (str(claims.get("iss")), str(claims.get("jti", "")))
        self._used = {key: end for key, end in self._used.items() if end > now}
        rules = {
            "iss and sub are the client": claims.get("iss") == claims.get("sub"),
            "aud is the token endpoint": claims.get("aud") == token_url,
            "exp lies in the next five minutes": isinstance(ends, int)
            and now.timestamp() < ends <= (now + _ASSERTION_LIFE).timestamp(),
            "jti is new": bool(once[1]) and once not in self._used,
        }
        for rule, kept in rules.items():
            if not kept:
                raise OAuthError("invalid_client", f"the assertion breaks a rule: {rule}")
        self._used[once] = now + _ASSERTION_LIFE
