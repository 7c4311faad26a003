"""Who sends a request: an owner by session token, or a client by access token; remembered briefly."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from starlette.requests import Request

from aggregator.api.headers import header
from aggregator.api.service import Service
from aggregator.errors import Refused, SignInFailed
from aggregator.identity import persons, scopes
from aggregator.identity.accounts import Owner
from aggregator.identity.clients import Caller
from aggregator.identity.sessions import hour
from aggregator.vault.key_service import PERSONS_PURPOSE
from aggregator.vault.keys import OWNER
from aggregator.vault.view import Reader
from fhir_profiles.text import Resource

# A token that another process ended is refused here after this time at the latest. A grant that ended is refused at
# once, by the receipt's condition.
_REMEMBERED_SECONDS = 5.0
_MOST = 10_000
_SCHEMES = ("bearer", "dpop")
PROVED = "aggregator.proved"
"""Where a request remembers the token for which its one DPoP proof was taken."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `reader` names the views that this caller alone uses; one of owner and client is set."""

    reader: str
    name: str
    party: str
    purpose: str
    expires: float
    owner: Owner | None = None
    client: Caller | None = None

    def require(self, resource_type: str, letter: str) -> None:
        """Raise Refused unless the token's scopes allow the interaction ("c" create, "r" read, "s" search)."""
        if self.client and not scopes.allows(self.client.admission.scopes, resource_type, letter):
            raise Refused("the token's scopes do not allow this")

    def within_scopes(self, reader: Reader) -> Reader:
        """Of an app, whose scopes are its approval's: its view holds no type that they do not name, as a target either.

        What else they narrow, the Consent does.
        """
        permits = reader.permits
        if permits is None or self.client is None or not self.client.admission.client:
            return reader
        named = self.client.admission.scopes

        def within(section: str, resource: Resource) -> bool:
            resource_type = str(resource.get("resourceType", ""))
            asked = any(scopes.allows(named, resource_type, letter) for letter in "rs")
            return asked and permits(section, resource)

        return replace(reader, permits=within)

    def as_owner(self) -> Owner:
        """Raise Refused for everyone but a vault's owner."""
        if self.owner is None:
            raise Refused("this is for the owner of a record alone")
        return self.owner

    def toward(self, vault: str) -> Principal:
        """Who this is to a vault: the owner of another one comes as a person, a grantee like every other."""
        if self.owner is None or self.owner.vault == vault:
            return self
        person = persons.party(self.owner.vault).id
        name = self.name if self.party == person else person
        return replace(self, party=person, name=name, purpose=PERSONS_PURPOSE)

    def as_client(self) -> Caller:
        """Raise Refused for an owner."""
        if self.client is None:
            raise Refused("this is for registered clients alone")
        return self.client


@dataclass(frozen=True, slots=True)
class _Known:
    """Whom a token stands for, remembered at `at` (the clock's) until `until` (monotonic)."""

    until: float
    at: float
    principal: Principal


class Callers:
    """Token -> Principal."""

    def __init__(self, service: Service, on_forget: Callable[[str], None]) -> None:
        self._service = service
        self._on_forget = on_forget
        self._known: dict[str, _Known] = {}
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="session-notes")

    def of(self, request: Request) -> Principal:
        """Whoever the bearer token stands for. Raises SignInFailed."""
        scheme, _, told = (header(request, b"authorization") or "").partition(" ")
        token = told.strip()
        if scheme.lower() not in _SCHEMES or not token:
            raise SignInFailed("a bearer token is needed: sign in at /auth/sign-in or /auth/token")
        principal = self.remembered(token)
        key = principal.client.admission.key if principal.client else ""
        if bool(key) != (scheme.lower() == "dpop"):
            raise SignInFailed("the token is not valid")
        if key and request.scope.get(PROVED) != token:
            self._prove(request, token, key)
            request.scope[PROVED] = token
        return principal

    def _prove(self, request: Request, token: str, key: str) -> None:
        """The token is bound to a key: whoever brings it proves to hold that key. Raises SignInFailed."""
        url = self._service.base_url + request.scope["path"]
        proof = header(request, b"dpop") or ""
        try:
            proved = self._service.proofs.take(proof, method=request.method, url=url, token=token)
        except Refused as error:
            raise SignInFailed(str(error)) from None
        if proved != key:
            raise SignInFailed("the token is not valid")

    def remembered(self, token: str) -> Principal:
        """Whom the token stands for, looked up at most every few seconds. Raises SignInFailed."""
        known = self._known.get(token)
        now = time.monotonic()
        clock = self._service.clock().timestamp()
        if known and known.until > now and known.at <= clock < known.principal.expires:
            return known.principal
        principal = self._look_up(token)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[token] = _Known(now + _REMEMBERED_SECONDS, clock, principal)
        if principal.owner is not None:
            self._note(principal.owner)
        return principal

    def forget(self, token: str) -> None:
        """After a sign-out: what is known of the caller goes, and what is held for it."""
        known = self._known.pop(token, None)
        if known is not None:
            self._on_forget(known.principal.reader)

    def forget_owner(self, vault: str) -> None:
        """After whatever ended an owner's sessions: nothing of any of them is remembered or held."""
        for token, known in list(self._known.items()):
            if known.principal.owner and known.principal.owner.vault == vault:
                del self._known[token]
        self._on_forget(f"{OWNER}/{vault}")

    def forget_apps(self) -> None:
        """After whatever may have ended apps' tokens: who they stand for is looked up anew."""
        for token, known in list(self._known.items()):
            if known.principal.client and known.principal.client.admission.client:
                self.forget(token)

    def sweep(self) -> None:
        """An owner's root stays in memory no longer than it is remembered."""
        now = time.monotonic()
        for token in [token for token, known in self._known.items() if known.until <= now]:
            del self._known[token]

    def _note(self, owner: Owner) -> None:
        """The hour in which a session is used, written beside the request, which does not wait for it."""
        now = self._service.clock().timestamp()
        if hour(now) > owner.seen:
            self._notes.submit(self._service.accounts.sessions.see, owner.vault, owner.session, now)

    def _look_up(self, token: str) -> Principal:
        for find in (self._service.clients.caller, self._service.app_tokens.caller):
            with suppress(SignInFailed):
                return _client(find(token))
        return _owner(self._service.accounts.owner(token))


def _client(caller: Caller) -> Principal:
    client, admission = caller.client, caller.admission
    return Principal(
        reader=f"{client.id}/{admission.purpose}",
        name=client.settings.name,
        party=client.id,
        purpose=admission.purpose,
        expires=admission.expires,
        client=caller,
    )


def _owner(owner: Owner) -> Principal:
    return Principal(
        reader=f"{OWNER}/{owner.vault}",
        name="owner",
        party=OWNER,
        purpose="PATRQT",
        expires=owner.expires.timestamp(),
        owner=owner,
    )
