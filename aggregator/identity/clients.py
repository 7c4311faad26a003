"""Providers and payers sign in as SMART backend services: `private_key_jwt`, then an opaque access token.

https://hl7.org/fhir/smart-app-launch/backend-services.html and https://www.rfc-editor.org/rfc/rfc7523. The purpose of
use is chosen in the assertion's UDAP B2B claim among those registered for the client.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, delete

from aggregator.errors import Refused, SignInFailed, Tampered
from aggregator.identity import scopes
from aggregator.identity.assertions import ASSERTION_TYPE, Assertions
from aggregator.identity.client_registry import Client
from aggregator.identity.tables import AccessToken
from aggregator.identity.used_once import TOKENS
from aggregator.vault.key_service import Admission, KeyService, Ticket
from aggregator.vault.seal import expand
from aggregator.vault.store import Store
from connectors.contract import Clock

_SKEW = 30  # seconds that clocks may differ
_DEFAULT_PURPOSE = "TREAT"
_PURPOSE = re.compile(
    r"(?:urn:oid:2\.16\.840\.1\.113883\.5\.8#|http://terminology\.hl7\.org/CodeSystem/v3-ActReason[#|])?([\w-]+)"
)
"""A code of v3-ActReason, alone or with its system: UDAP writes system#code, FHIR system|code."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in client."""

    client: Client
    admission: Admission
    ticket: Ticket


class Clients:
    """Sign-in of clients and what their tokens stand for."""

    def __init__(
        self, store: Store, key_service: KeyService, clients: Mapping[str, Client], clock: Clock, token_seconds: int
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._clients = clients
        self._assertions = Assertions(store, key_service, clients, clock)
        self._clock = clock
        self._token_seconds = token_seconds

    def token(self, form: Mapping[str, str], audience: str) -> dict[str, Any]:
        """The token endpoint's answer (RFC 6749, 5.1). Raises SignInFailed, Refused."""
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refused("unsupported_grant_type")
        client, claims = self._assertions.verify(form.get("client_assertion", ""), audience)
        if client.is_app:
            raise Refused("unauthorized_client")  # what it may see is the patient's to approve
        granted = scopes.granted(form.get("scope", ""))
        if not granted:
            raise Refused("invalid_scope")
        expires = int(self._clock().timestamp()) + self._token_seconds
        token = secrets.token_urlsafe(32)
        purpose = _purpose(client, claims)
        admission = Admission(party=client.id, purpose=purpose, scopes=granted, expires=expires)
        row = AccessToken(token=_token_id(token), row=self._key_service.admit(token, admission), expires=expires)
        with self._store.write(TOKENS) as session:
            now = int(self._clock().timestamp())
            session.exec(delete(AccessToken).where(col(AccessToken.expires) <= now))
            session.add(row)
        answer = {"access_token": token, "token_type": "bearer", "expires_in": self._token_seconds}
        return answer | {"scope": " ".join(granted)}

    def caller(self, token: str) -> Caller:
        """Whom an access token stands for. Raises SignInFailed."""
        with self._store.read() as session:
            row = session.get(AccessToken, _token_id(token))
        if row is None:
            raise SignInFailed("the token is not valid")
        ticket = Ticket(token, row.row)
        try:
            admission = self._key_service.identify(ticket, self._clock())
            if admission.expires > self._clock().timestamp() + self._token_seconds + _SKEW:
                raise Refused("the token is of a time that has not come")  # the clock was set back
            return Caller(self._clients[admission.party], admission, ticket)
        except (Refused, Tampered, KeyError):
            raise SignInFailed("the token is not valid") from None

    def revoke(self, token: str) -> None:
        """End a token (RFC 7009); one that is unknown is ended already."""
        with self._store.write(TOKENS) as session:
            session.exec(delete(AccessToken).where(col(AccessToken.token) == _token_id(token)))


def _purpose(client: Client, claims: Mapping[str, Any]) -> str:
    """extensions.hl7-b2b.purpose_of_use: the first, if every one stated is registered for the client. Raises Refused.

    A claim that is there and says something else is refused: falling back to another purpose would open what the
    caller did not ask for. Only where nothing is stated it is treatment.
    """
    extensions = claims.get("extensions", {})
    b2b = extensions.get("hl7-b2b", {}) if isinstance(extensions, dict) else None
    if not isinstance(b2b, dict):
        raise Refused("invalid_request")
    stated = b2b.get("purpose_of_use", [_DEFAULT_PURPOSE])
    codes = [_code(one) for one in (stated if isinstance(stated, list) else [stated])]
    if not codes or not set(codes) <= set(client.settings.purposes):
        raise Refused("invalid_request")
    return codes[0]


def _code(stated: object) -> str:
    """A stated purpose's code; empty for what is none."""
    match = _PURPOSE.fullmatch(stated) if isinstance(stated, str) else None
    return match[1] if match else ""


def _token_id(token: str) -> bytes:
    return expand(token.encode(), "id", 16)
