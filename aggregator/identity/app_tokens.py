"""The tokens of apps: for a code, for a refresh token, told about, ended. One authorization's are a family.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3 and #section-6, with https://www.rfc-editor.org/rfc/rfc9700: a code
or a refresh token that comes twice ends its family, in grace of nobody. A family lives no longer than its grant, which
the key service is asked about, never a row.

joserfc, and the OAuth of these files by hand, instead of Authlib's server: that one wants to keep clients, codes and
tokens as rows with getters of its own and grants as classes to inherit, so that what is hard here (rows that open with
the token alone, an approval that is a signed Consent, one transaction for a rotation) would stand outside of it; what
it would have given is the parameters' syntax.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session, col, delete

from aggregator.errors import Refused, SignInFailed, Tampered
from aggregator.identity import app_parties, app_scopes, handed_out
from aggregator.identity.assertions import ASSERTION_TYPE, Assertions
from aggregator.identity.client_registry import Client
from aggregator.identity.clients import Caller
from aggregator.identity.handed_out import Desk, Kind, Used
from aggregator.identity.id_tokens import IdTokens
from aggregator.identity.oauth_errors import OAuthError
from aggregator.identity.tables import AccessToken
from aggregator.identity.used_once import TOKENS
from aggregator.vault.key_service import Admission, KeyService, Ticket
from aggregator.vault.seal import expand
from aggregator.vault.store import Store
from connectors.contract import Clock

_TOKEN_SECONDS = 3600  # an access token's life, where the approval does not end before
_SKEW = 30  # seconds that clocks may differ
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_NOT_VALID = "the token is not valid"
_REFRESHED = frozenset({app_scopes.OFFLINE, app_scopes.ONLINE})
_IDENTIFYING = frozenset({"client_id", "client_assertion"})
_KEPT = ("client", "authorization", "scopes", "until", "patient", "key")  # what a refresh token stands for

Form = Mapping[str, str]


class AppTokens:
    """The token endpoint for apps. clients: who is registered."""

    def __init__(
        self,
        store: Store,
        key_service: KeyService,
        desk: Desk,
        clients: Mapping[str, Client],
        id_tokens: IdTokens,
        clock: Clock,
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._desk = desk
        self._clients = clients
        self._assertions = Assertions(store, key_service, clients, clock)
        self._id_tokens = id_tokens
        self._clock = clock

    def authenticate(self, form: Form, audience: str) -> Client:
        """Who sends the form: an app without keys says so, every other client proves it. Raises OAuthError."""
        try:
            if "client_assertion" in form:
                return self._proved(form, audience)
            client = self._clients[form["client_id"]]
        except (SignInFailed, KeyError):
            raise OAuthError("invalid_client") from None
        if not _is_public(client):
            raise OAuthError("invalid_client")
        return client

    def _proved(self, form: Form, audience: str) -> Client:
        client, _ = self._assertions.verify(form["client_assertion"], audience)
        if form.get("client_assertion_type") != ASSERTION_TYPE or form.get("client_id", client.id) != client.id:
            raise SignInFailed("invalid_client")
        return client

    def token(self, form: Form, audience: str, key: str = "") -> dict[str, Any]:
        """The answer to an app: tokens for a code, or for a refresh token, which is used up. Raises OAuthError.

        key: the thumbprint of the key that the tokens are to be bound to (DPoP).

        One transaction: whoever brings the same again waits for it, and then ends what came of it.
        """
        grant = _GRANTS[form["grant_type"]]
        named = grant.kind is not Kind.REFRESH or not form.keys().isdisjoint(_IDENTIFYING)
        client = self.authenticate(form, audience) if named else None
        token = form.get(grant.parameter, "")
        try:
            with self._store.write(TOKENS) as session:
                told = self._desk.take(session, grant.kind, token)
                grant.check(form, told)
                if not self._stands(told["authorization"]) or not _has_its_key(told, key):
                    raise Refused("the approval has ended, or it is bound to another key")
                return self._issue(session, grant.kind, self._whose(client, told), told | {"key": key})
        except Used:
            self._end(grant.kind, token)
            raise OAuthError("invalid_grant") from None
        except Refused:  # of whatever it is, one answer: it tells nothing to who guesses
            raise OAuthError("invalid_grant") from None

    def caller(self, token: str) -> Caller:
        """Whom an access token of an app stands for. Raises SignInFailed."""
        admission, row = self._admission(token)
        client = self._clients[admission.client]
        party = app_parties.party(_authorization(admission))
        return Caller(replace(client, id=party.id, party=party), admission, Ticket(token, row))

    def introspect(self, client: Client, token: str) -> dict[str, Any]:
        """https://www.rfc-editor.org/rfc/rfc7662: of a client's own tokens; every other is not active."""
        try:
            admission, _ = self._admission(token)
        except SignInFailed:
            return {"active": False}
        if admission.client != client.id:
            return {"active": False}
        told = {"active": True, "client_id": client.id, "scope": " ".join(admission.scopes), "exp": admission.expires}
        told |= {"token_type": _type(admission), "patient": admission.patient}
        vault = app_parties.vault_of(_authorization(admission))
        told |= self._id_tokens.who(client.id, vault, admission.patient, admission.scopes)
        return told | ({"cnf": {"jkt": admission.key}} if admission.key else {})

    def keys(self) -> dict[str, Any]:
        """The JWK set that verifies id_tokens."""
        return self._id_tokens.public()

    def revoke(self, token: str) -> None:
        """End a refresh token, and all that came of the same approval; one that is unknown is ended already."""
        self._end(Kind.REFRESH, token)

    def _whose(self, client: Client | None, told: Mapping[str, Any]) -> Client:
        """Whose it is. A refresh token of an app without a key is enough to say so (RFC 6749, section 6)."""
        found = self._clients.get(told["client"])
        if found is None or not (_is_for(client, told) if client else _is_public(found)):
            raise Refused("it is another client's")
        return found

    def _end(self, kind: Kind, token: str) -> None:
        """What was handed out with this token, or for it."""
        with self._store.write(TOKENS) as session:
            if family := self._desk.family_of(session, kind, token):
                handed_out.end_family(session, family)

    def _stands(self, authorization: str) -> bool:
        """Is the key of the grant there that the approval gave?"""
        party = self._key_service.handle("party", app_parties.APP + authorization)
        return party in self._key_service.grants(app_parties.vault_of(authorization)).values()

    def _admission(self, token: str) -> tuple[Admission, bytes]:
        """Whom an app's token stands for, and its row. Raises SignInFailed."""
        with self._store.read() as session:
            row = session.get(AccessToken, _token_id(token))
        try:
            if row is None:
                raise Refused(_NOT_VALID)
            now = self._clock()
            admission = self._key_service.identify(Ticket(token, row.row), now)
            soon = admission.expires <= now.timestamp() + _TOKEN_SECONDS + _SKEW  # or the clock was set back
            if admission.client not in self._clients or not soon or not self._stands(_authorization(admission)):
                raise Refused(_NOT_VALID)
        except (Refused, Tampered):
            raise SignInFailed(_NOT_VALID) from None
        return admission, row.row

    def _issue(self, session: Session, kind: Kind, client: Client, told: Mapping[str, Any]) -> dict[str, Any]:
        now = int(self._clock().timestamp())
        authorization, scopes = told["authorization"], tuple(told["scopes"])
        expires, family = min(now + _TOKEN_SECONDS, told["until"]), self._desk.family(authorization)
        admission = Admission(
            party=app_parties.APP + authorization,
            purpose=app_parties.PURPOSE,
            scopes=scopes,
            expires=expires,
            client=client.id,
            patient=told["patient"],
            key=told["key"],
        )
        token = secrets.token_urlsafe(32)
        row = self._key_service.admit(token, admission)
        session.exec(delete(AccessToken).where(col(AccessToken.expires) <= now))
        session.add(AccessToken(token=_token_id(token), row=row, expires=expires, family=family))
        answer = {"access_token": token, "token_type": _type(admission), "expires_in": expires - now}
        answer |= {"scope": " ".join(scopes), "patient": told["patient"]}
        if kind is Kind.CODE and app_scopes.OPENID in scopes:
            answer["id_token"] = self._id_tokens.issue(told)
        if not _REFRESHED.isdisjoint(scopes):
            kept = {name: told[name] for name in _KEPT} | ({} if _is_public(client) else {"key": ""})
            answer["refresh_token"] = self._desk.give(session, Kind.REFRESH, kept, told["until"], family)
        return answer


@dataclass(frozen=True, slots=True)
class _Grant:
    """A grant type: the parameter that holds the token, what kind it is, and what else the form must say.

    check raises Refused, OAuthError.
    """

    parameter: str
    kind: Kind
    check: Callable[[Form, Mapping[str, Any]], None]


def _has_its_key(told: Mapping[str, Any], key: str) -> bool:
    """What is bound to a key is only for whoever proves to hold it (DPoP)."""
    return told["key"] in ("", key)


def _is_public(client: Client) -> bool:
    """An app that runs where nothing can be kept secret has no key to prove itself with."""
    return client.is_app and client.keys is None


def _is_for(client: Client, told: Mapping[str, Any]) -> bool:
    return bool(told["client"] == client.id)


def _redeems(form: Form, told: Mapping[str, Any]) -> None:
    """PKCE: https://www.rfc-editor.org/rfc/rfc7636#section-4.6"""
    verifier = form.get("code_verifier", "")
    digest = hashlib.sha256(verifier.encode()).digest()
    proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    proved = _VERIFIER.fullmatch(verifier) and hmac.compare_digest(proof, told["challenge"])
    if not proved or form.get("redirect_uri") != told["redirect_uri"]:
        raise Refused("the code is not for this")


def _refreshes(form: Form, told: Mapping[str, Any]) -> None:
    if "scope" in form and set(form["scope"].split()) != set(told["scopes"]):
        raise OAuthError("invalid_scope", "a refresh keeps its scopes; ask the patient anew for others")


_GRANTS = {
    "authorization_code": _Grant("code", Kind.CODE, _redeems),
    "refresh_token": _Grant("refresh_token", Kind.REFRESH, _refreshes),
}
GRANT_TYPES = tuple(_GRANTS)
"""What an app can come with."""


def _type(admission: Admission) -> str:
    return "DPoP" if admission.key else "Bearer"


def _authorization(admission: Admission) -> str:
    return admission.party.removeprefix(app_parties.APP)


def _token_id(token: str) -> bytes:
    return expand(token.encode(), "id", 16)
