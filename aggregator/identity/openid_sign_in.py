"""Sign-in through a provider: it says who somebody is, and finds their record. It opens nothing.

What opens a record is the patient's own passkey or password, which this service asks for afterwards: the provider, and
whoever has broken into it, never gets the vault's key. A link lies under a handle of issuer and subject.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import col, delete, select

from aggregator.errors import CallerError, Refused, SignInFailed
from aggregator.identity.accounts import Accounts, Owner
from aggregator.identity.handed_out import Desk, Kind
from aggregator.identity.openid_provider import Attempt, Provider
from aggregator.identity.tables import OpenIdLink
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

_ROWS = "openid"  # what the transactions here take of the store
_LIFE = 600  # seconds to sign in at the provider
_IDENTIFIED = 300  # seconds to unlock afterwards
_NOT_THIS = "this sign-in was not begun in this browser, or it was used or took too long; begin again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Either the record is linked now, or `identified` stands for whoever is linked, until they unlock."""

    linked: bool
    identified: str = ""


class OpenIdSignIn:
    """Of one installation. providers: by name; base_url: where they send the browser back to."""

    def __init__(
        self,
        store: Store,
        key_service: KeyService,
        desk: Desk,
        accounts: Accounts,
        providers: Mapping[str, Provider],
        clock: Clock,
        base_url: str,
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._desk = desk
        self._accounts = accounts
        self.providers = providers
        self._clock = clock
        self._base_url = base_url

    def begin(self, name: str, browser: str, owner: Owner | None) -> str:
        """Where to send the browser. browser: a secret that it alone holds. owner: who wants to be linked.

        Raises CallerError, SignInFailed.
        """
        provider = self._provider(name)
        attempt = Attempt(
            redirect_uri=f"{self._base_url}/auth/openid/{name}/callback",
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
        )
        told = {"provider": name, "browser": _hash(browser), "vault": owner.vault if owner else ""}
        told |= {"nonce": attempt.nonce, "verifier": attempt.verifier, "redirect_uri": attempt.redirect_uri}
        with self._store.write(_ROWS) as session:
            state = self._desk.give(session, Kind.OPENID, told, int(self._clock().timestamp()) + _LIFE)
        return provider.address(attempt, state)

    def finish(self, name: str, answer: Mapping[str, str], browser: str) -> Finished:
        """What the provider's answer comes to. Raises CallerError, SignInFailed, Refused."""
        provider = self._provider(name)
        try:
            with self._store.write(_ROWS) as session:
                told = self._desk.take(session, Kind.OPENID, answer.get("state", ""))
        except Refused:
            raise SignInFailed(_NOT_THIS) from None
        if told["provider"] != name or told["browser"] != _hash(browser):
            raise SignInFailed(_NOT_THIS)
        if answer.get("iss", provider.settings.issuer) != provider.settings.issuer:  # RFC 9207
            raise SignInFailed(_NOT_THIS)
        if not answer.get("code"):
            raise SignInFailed("the sign-in provider let nobody in")
        attempt = Attempt(redirect_uri=told["redirect_uri"], nonce=told["nonce"], verifier=told["verifier"])
        subject = provider.subject(answer["code"], attempt)
        handle = self._key_service.handle("openid", provider.settings.issuer, subject)
        return self._link(handle, name, told["vault"]) if told["vault"] else self._identified(handle)

    def sign_in(self, identified: str, password: str, device: str = "") -> Owner:
        """The unlock that follows, by password. Raises SignInFailed, CallerError."""
        try:
            with self._store.read() as session:
                vault = self._desk.look(session, Kind.IDENTIFIED, identified)["vault"]
        except Refused:
            raise SignInFailed("sign in at the provider again: that was too long ago") from None
        owner = self._accounts.sign_in_as(vault, password, device)
        with self._store.write(_ROWS) as session:
            self._desk.take(session, Kind.IDENTIFIED, identified)
        return owner

    def links(self, owner: Owner) -> list[str]:
        """The names of the providers that the owner's record is linked with."""
        with self._store.read() as session:
            found = session.exec(select(OpenIdLink.provider).where(OpenIdLink.vault == owner.vault)).all()
        return sorted(set(found))

    def unlink(self, owner: Owner, name: str) -> None:
        """The provider finds this record no longer."""
        here = (col(OpenIdLink.vault) == owner.vault, col(OpenIdLink.provider) == name)
        with self._store.write(_ROWS) as session:
            session.exec(delete(OpenIdLink).where(*here))

    def _provider(self, name: str) -> Provider:
        found = self.providers.get(name)
        if found is None:
            raise CallerError.at("provider", "there is no such sign-in provider here")
        return found

    def _link(self, handle: bytes, name: str, vault: str) -> Finished:
        with self._store.write(_ROWS) as session:
            row = session.get(OpenIdLink, handle)
            if row is not None and row.vault != vault:
                raise Refused("this sign-in belongs to another record here; end it there first")
            session.merge(OpenIdLink(subject=handle, vault=vault, provider=name))
        return Finished(linked=True)

    def _identified(self, handle: bytes) -> Finished:
        with self._store.write(_ROWS) as session:
            row = session.get(OpenIdLink, handle)
            if row is None:
                raise SignInFailed("nobody here is linked with this sign-in; sign in by login or passkey, and link it")
            expires = int(self._clock().timestamp()) + _IDENTIFIED
            token = self._desk.give(session, Kind.IDENTIFIED, {"vault": row.vault}, expires)
        return Finished(linked=False, identified=token)


def _hash(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()
