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

import orjson
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete

from aggregator.config import ClientSettings
from aggregator.consent.decide import Party, PartyKind
from aggregator.errors import OperatorError, Refused, SignInFailed, Tampered
from aggregator.identity import scopes
from aggregator.identity.tables import AccessToken, UsedAssertion
from aggregator.vault.key_service import PERSON, Admission, KeyService, Ticket
from aggregator.vault.seal import expand
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.codes import RECORD

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("ES384", "RS384")
_LONGEST_ASSERTION = 16_384  # characters
_LONGEST_LIFE = 300  # seconds an assertion may still have
_SKEW = 30  # seconds that clocks may differ
_DEFAULT_PURPOSE = "TREAT"
_PURPOSE = re.compile(
    r"(?:urn:oid:2\.16\.840\.1\.113883\.5\.8#|http://terminology\.hl7\.org/CodeSystem/v3-ActReason[#|])?([\w-]+)"
)
"""A code of v3-ActReason, alone or with its system: UDAP writes system#code, FHIR system|code."""
_UNTRUSTED_KEYS = frozenset({"jwk", "jku", "x5u", "x5c"})
TOKENS = "clients"  # what the transactions here take of the store: rows of no vault


@dataclass(frozen=True, slots=True)
class Client:
    """A registered party: its settings, its keys, and how Consents name it."""

    id: str
    settings: ClientSettings
    keys: KeySet
    party: Party


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in client."""

    client: Client
    admission: Admission
    ticket: Ticket


def register(settings: Mapping[str, ClientSettings]) -> dict[str, Client]:
    """The configured clients. Raises OperatorError for a key file that cannot be used."""
    return {name: _client(name, one) for name, one in settings.items()}


class Clients:
    """Sign-in of clients and what their tokens stand for."""

    def __init__(
        self, store: Store, key_service: KeyService, clients: Mapping[str, Client], clock: Clock, token_seconds: int
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._clients = clients
        self._clock = clock
        self._token_seconds = token_seconds

    def token(self, form: Mapping[str, str], audience: str) -> dict[str, Any]:
        """The token endpoint's answer (RFC 6749, 5.1). Raises SignInFailed, Refused."""
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refused("unsupported_grant_type")
        client, claims = self._verify(form.get("client_assertion", ""), audience)
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

    def _verify(self, assertion: str, audience: str) -> tuple[Client, Mapping[str, Any]]:
        """RFC 7523 section 3, and SMART's limits. One error for all that is wrong: it tells nothing to who guesses."""
        try:
            if len(assertion) > _LONGEST_ASSERTION:
                raise SignInFailed("invalid_client")
            client = self._clients[_issuer(assertion)]
            claims = jwt.decode(assertion, client.keys, algorithms=list(ALGORITHMS)).claims
            self._check_claims(client, claims, audience)
        except (KeyError, ValueError, TypeError, OverflowError, JoseError):
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
        expires = int(float(claims["exp"])) + _SKEW + 1
        try:
            with self._store.write(TOKENS) as session:
                now = int(self._clock().timestamp())
                session.exec(delete(UsedAssertion).where(col(UsedAssertion.expires) <= now))
                session.add(UsedAssertion(handle=handle, expires=expires))
        except IntegrityError:
            raise SignInFailed("invalid_client") from None


def _issuer(assertion: str) -> str:
    """The claimed issuer, to find the registered keys by; nothing else of an unverified token is used."""
    parsed = jws.extract_compact(assertion.encode())
    if _UNTRUSTED_KEYS & parsed.headers().keys():
        raise SignInFailed("invalid_client")
    issuer = orjson.loads(parsed.payload)["iss"]
    if not isinstance(issuer, str):
        raise TypeError
    return issuer


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


def _client(name: str, settings: ClientSettings) -> Client:
    if not settings.jwks_file.is_file():
        raise OperatorError(
            f"clients.{name}.jwks_file: {settings.jwks_file} is not there; write the client's public keys there"
        )
    try:
        keys = KeySet.import_key_set(orjson.loads(settings.jwks_file.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, JoseError):
        raise OperatorError(
            f"clients.{name}.jwks_file: {settings.jwks_file} is no JWK set; write the client's public keys there"
        ) from None
    if any(key.is_private for key in keys.keys):
        raise OperatorError(
            f"clients.{name}.jwks_file: {settings.jwks_file} holds a private key; only public ones go there"
        )
    if name.startswith(PERSON) or any(one.system == RECORD for one in settings.identifiers):
        raise OperatorError(
            f"clients.{name}: named like a person with a record here; choose another name or identifier"
        )
    identifiers = frozenset((one.system, one.value) for one in settings.identifiers)
    return Client(name, settings, keys, Party(name, identifiers, PartyKind(settings.kind)))


def _token_id(token: str) -> bytes:
    return expand(token.encode(), "id", 16)
