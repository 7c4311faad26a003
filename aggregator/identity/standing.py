"""Who may see what of a record, by which Consents, until when: as its owner signed them, and each Consent's history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from aggregator.consent.decide import Occasion, Party, PartyKind, occasions, openable, parse
from aggregator.consent.facts import LAST
from aggregator.consent.plain import CLASSES, Words
from aggregator.consent.provision import Policy
from aggregator.consent.section_table import Coding
from aggregator.consent.sentences import Told, named_in, told
from aggregator.identity import owner_reading, signed_consents
from aggregator.identity.accounts import Owner
from aggregator.identity.grants import Grants
from aggregator.identity.parties import Parties
from aggregator.vault import tables
from aggregator.vault.envelope import Put
from aggregator.vault.fold import State, Version
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.text import Resource, loads

REMINDED = timedelta(days=14)
"""How long before its end a permission is told to be ending, at most: of a short one its last quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantee:
    """One who may read, now or later. sections: what its keys open, whatever single entries are excluded.

    since, until: of what it is permitted; None where it does not end. consents: the ids of those that permit it.
    standing: a key lies ready, so that it opens without the owner. ends_soon: REMINDED says. words: of a class, which
    has no party id: what it means.
    """

    party: Party
    name: str
    sections: frozenset[str]
    since: datetime
    until: datetime | None
    consents: tuple[str, ...]
    standing: bool
    ends_soon: bool
    words: Words | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One version of a Consent. opened: whom it could open anything to by itself, when it was signed."""

    consent: str
    version: int
    signed: datetime
    status: str
    said: Told
    opened: tuple[str, ...]


class Standing:
    """Answers for one installation. parties: who tells what people call each."""

    def __init__(self, store: Store, grants: Grants, parties: Parties, clock: Clock) -> None:
        self._store = store
        self._grants = grants
        self._parties = parties
        self._clock = clock

    def grantees(self, owner: Owner) -> list[Grantee]:
        """Everybody whom a Consent permits anything from now on, but those whom the owner has ended."""
        with self._store.read() as session:
            row, state = owner_reading.section(session, owner, signed_consents.SECTION)
            consents = signed_consents.current(state)
            parties = self._grants.grantees(session, row, owner, consents)
            found = [self._grantee(owner, row, _alone(party), consents) for party in parties]
            found += [self._class(owner, row, token, parties, consents) for token in CLASSES]
            return sorted((one for one in found if one), key=lambda one: one.name.casefold())

    def signed(self, owner: Owner) -> list[Resource]:
        """The Consents that count, as they were signed."""
        with self._store.read() as session:
            _, state = owner_reading.section(session, owner, signed_consents.SECTION)
        return signed_consents.current(state)

    def consents(self, owner: Owner) -> list[Edition]:
        """The newest version of each Consent of the owner's own, the last signed first."""
        with self._store.read() as session:
            _, state = owner_reading.section(session, owner, signed_consents.SECTION)
            found = [self._edition(session, owner, versions[-1]) for versions in _own(state).values()]
        return sorted(found, key=lambda one: one.signed, reverse=True)

    def history(self, owner: Owner, local: str) -> list[Edition]:
        """Every version of one Consent, the newest first; none where there is no such Consent."""
        with self._store.read() as session:
            _, state = owner_reading.section(session, owner, signed_consents.SECTION)
            return [self._edition(session, owner, one) for one in reversed(_own(state).get(local, []))]

    def _grantee(self, owner: Owner, row: tables.Vault, party: Party, consents: Sequence[Resource]) -> Grantee | None:
        now = self._clock()
        naming = [one for one in consents if _left(one, party, now)]
        times = [occasion for one in naming for occasion in _left(one, party, now)]
        if not times:
            return None
        since, until = min(occasion.low for occasion in times), max(occasion.high for occasion in times)
        policies = [parse(one) for one in consents]
        return Grantee(
            party=party,
            name=self._name(party, naming),
            sections=openable(policies, party, frozenset(owner.sections), now),
            since=since,
            until=until if until < LAST else None,
            consents=tuple(str(one["id"]) for one in naming),
            standing=self._grants.holds(row.id, party),
            ends_soon=until < LAST and now >= until - min(REMINDED, (until - since) / 4),
        )

    def _class(
        self, owner: Owner, row: tables.Vault, token: Coding, parties: Sequence[Party], consents: Sequence[Resource]
    ) -> Grantee | None:
        """Those whom no Consent names but by their class."""
        members = [party for party in parties if token in party.tokens]
        kind = members[0].kind if members else PartyKind.PROVIDER
        found = self._grantee(owner, row, Party("", frozenset({token}), kind), consents)
        ready = any(self._grants.holds(row.id, party) for party in members)
        return replace(found, name=CLASSES[token][0], words=CLASSES[token], standing=ready) if found else None

    def _name(self, party: Party, naming: Sequence[Resource]) -> str:
        """As it is registered; else as a Consent calls it; else its id."""
        said = {token: name for one in naming for token, name in named_in(one).items()}
        called = (said[token] for token in sorted(_alone(party).tokens) if token in said)
        return self._parties.name(party.id) or next(called, party.id)

    def _edition(self, session: Session, owner: Owner, version: Version) -> Edition:
        put = version.operation
        assert isinstance(put, Put)  # noqa: S101 - `_own` gives no other
        consent = loads(put.resource)
        policies, every = [parse(consent)], frozenset(owner.sections)
        at = datetime.fromisoformat(put.updated)
        known = self._grants.known(session, owner, [consent])
        opened = sorted(self._name(one, [consent]) for one in known if openable(policies, one, every, at))
        directory = self._parties.called(_actors(policies))
        tokens = directory | {token: self._name(one, [consent]) for one in known for token in one.tokens}
        return Edition(
            consent=str(consent["id"]),
            version=put.version,
            signed=at,
            status=str(consent.get("status", "")),
            said=told(consent, tokens),
            opened=tuple(opened),
        )


def _alone(party: Party) -> Party:
    """The party without what it shares with its class, which is told once, for all of them."""
    return replace(party, identifiers=party.identifiers - CLASSES.keys())


def _actors(policies: Sequence[Policy]) -> Iterator[Coding]:
    rules = (rule for one in policies if one.root for rule in one.root.walk())
    return (token for rule in rules if isinstance(rule.actors, frozenset) for token in rule.actors)


def _left(consent: Resource, party: Party, now: datetime) -> list[Occasion]:
    """When from now on it permits the party anything."""
    return [one for one in occasions([parse(consent)], party) if one.high > now]


def _own(state: State) -> dict[str, list[Version]]:
    found = state.sections.get(signed_consents.SECTION, {})
    return {
        local: [one for one in versions if isinstance(one.operation, Put)]
        for local, versions in found.items()
        if signed_consents.is_own(versions) and isinstance(versions[-1].operation, Put)
    }
