"""Everybody whom a Consent can name beside people with a record here: one list, whoever they came from.

Three ways in: the operator's settings, the operator's word on a client that registered itself, and a directory file.
Who is in the directory alone is known by name and role, and has no keys; nobody signs in as them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aggregator.consent.decide import Party, PartyKind
from aggregator.consent.section_table import Coding
from aggregator.errors import CallerError, OperatorError
from aggregator.identity.client_keys import Fetch
from aggregator.identity.client_registry import Client, ClientRegistry, client, codings
from aggregator.identity.directory import Entry
from aggregator.identity.registration import Claim, Unfit, likeness, stated
from aggregator.identity.registrations import Registration, Registrations, State
from connectors.contract import Clock

CONFIGURED, DIRECTORY, APPROVED = "configured", "directory", "approved"
"""How a claim was verified: written into the settings, read in a directory file, or approved by the operator's note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Somebody on the list. verified: how, one of the three; note: the operator's words on it."""

    id: str
    name: str
    kind: PartyKind
    identifiers: frozenset[Coding]
    verified: str
    role: str = ""
    note: str = ""
    since: int | None = None
    """Since when it is approved, in Unix seconds."""
    signs_in: bool = True


class Parties:
    """The list, and how one comes on it."""

    def __init__(
        self,
        clients: ClientRegistry,
        registrations: Registrations,
        directory: Mapping[str, Entry],
        fetch: Fetch,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self.registrations = registrations
        self._directory = directory
        self._called = {code: _words(one) for one in directory.values() for code in one.identifiers}
        self._fetch = fetch
        self._clock = clock

    def __iter__(self) -> Iterator[Party]:
        """Those for whom grants are made: who can sign in just now."""
        return (one.party for one in self._clients.values())

    def listed(self) -> list[Listed]:
        """All of them: clients first, then the directory."""
        approved = {one.id: one for one in self.registrations.all(State.APPROVED)}
        return [
            *(self._client(one, approved.get(id_)) for id_, one in self._clients.items()),
            *map(_entry, self._directory.values()),
        ]

    def name(self, party_id: str) -> str | None:
        """What people call a registered party, just now."""
        one = self._clients.get(party_id)
        return one.settings.name if one else None

    def called(self, identifiers: Iterable[Coding]) -> dict[Coding, str]:
        """Those of these identifiers that are in the directory -> whose they are, with the role."""
        return {one: self._called[one] for one in identifiers if one in self._called}

    def found(self, text: str, most: int) -> list[Listed]:
        """Those with all these words in name and role, or with this very identifier."""
        words = [likeness(word) for word in text.split()]
        return [one for one in self.listed() if _matches(one, words, text.strip())][:most]

    def verified(self, client_id: str) -> Listed:
        """One who may sign in, and how their claim was verified. Raises KeyError."""
        return self._client(self._clients[client_id], self.registrations.find(client_id))

    def register(self, metadata: Mapping[str, Any]) -> Registration:
        """A client's own claim, which waits for the operator (RFC 7591). Raises Unfit, Full."""
        claim = stated(metadata)
        self._check(claim)
        return self.registrations.ask(claim)

    def approve(self, client_id: str, note: str) -> Registration:
        """Let it in as what it claims to be: the operator says how that was verified. Raises OperatorError."""
        found = self.registrations.find(client_id)
        if found is not None and found.state is State.PENDING:
            try:
                self._check(found.claim)  # somebody of that name may have come meanwhile
            except CallerError as error:
                raise OperatorError(f"parties: {client_id}: {error}") from None
        return self.registrations.approve(client_id, note)

    def add(self, entry_id: str, keys: dict[str, Any], note: str) -> Registration:
        """Let somebody of the directory in: name, kind and identifiers are the file's. Raises OperatorError."""
        entry = self._directory.get(entry_id)
        if entry is None:
            raise OperatorError(f"parties: {entry_id} is in no file of parties.directory_files")
        identifiers = [{"system": system, "value": value} for system, value in sorted(entry.identifiers)]
        told = {"client_name": entry.name, "kind": entry.kind.value, "identifiers": identifiers}
        try:
            claim = stated({"grant_types": ["client_credentials"]} | told | keys)
            self._check(claim)
        except CallerError as error:
            raise OperatorError(f"parties: {entry_id}: {error}") from None
        return self.registrations.add(claim, note, entry_id)

    def in_directory(self, claim: Claim) -> list[Listed]:
        """Who stands in the directory with one of the claimed identifiers, or under that name: for the operator."""
        identifiers = codings(claim.settings)
        like = likeness(claim.settings.name)
        return [
            _entry(one)
            for one in self._directory.values()
            if identifiers & one.identifiers or likeness(one.name) == like
        ]

    def _client(self, one: Client, approved: Registration | None) -> Listed:
        own, kind = codings(one.settings), one.party.kind
        told = Listed(id=one.id, name=one.settings.name, kind=kind, identifiers=own, verified=CONFIGURED)
        if approved is None:
            return told
        entry = self._directory.get(approved.entry)
        verified = DIRECTORY if approved.entry else APPROVED
        return replace(told, verified=verified, note=approved.note, since=approved.at, role=entry.role if entry else "")

    def _check(self, claim: Claim) -> None:
        """Nobody comes under the name or with an identifier of somebody who is in. Raises Unfit."""
        identifiers, like = codings(claim.settings), likeness(claim.settings.name)
        for one in self._clients.values():
            if likeness(one.settings.name) == like or likeness(one.id) == like:
                raise Unfit("client_name: somebody else is registered under this name")
            if identifiers & codings(one.settings):
                raise Unfit("identifiers: somebody else is registered with one of them")
        try:
            client("new", claim.settings, self._fetch, self._clock)
        except OperatorError as error:
            raise Unfit(str(error).removeprefix("clients.new.").removeprefix("clients.new: ")) from None


def _entry(one: Entry) -> Listed:
    return Listed(
        id=one.id,
        name=one.name,
        kind=one.kind,
        identifiers=one.identifiers,
        verified=DIRECTORY,
        role=one.role,
        signs_in=False,
    )


def _words(one: Entry) -> str:
    return f"{one.name} ({one.role})" if one.role else one.name


def _matches(one: Listed, words: list[str], text: str) -> bool:
    said = likeness(f"{one.name} {one.role}")
    return any(value == text for _, value in one.identifiers) or all(word in said for word in words)
