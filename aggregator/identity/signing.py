"""What an owner signs: the vault's Patient, and Consents. Each change of Consents compiles every grant anew.

A Consent counts only when it was written by the owner: one from a source is a document and permits nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.consent import deposit
from aggregator.consent.decide import Party, openable, parse
from aggregator.consent.grant import compile_grants
from aggregator.consent.mandate import Person, Signer
from aggregator.errors import CallerError, Changed, Tampered
from aggregator.fhir.outcome import NotValid
from aggregator.fhir.validity import refuse_invalid
from aggregator.identity import deposits, patient, persons
from aggregator.identity.accounts import Accounts, Owner, owner_put
from aggregator.identity.owner_changes import is_current
from aggregator.vault import counter, epochs, grant_version, tables, truth
from aggregator.vault.encoding import b32, canonical
from aggregator.vault.envelope import Put
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.fold import State, Version
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import IMPORTED, OWNER, Root
from aggregator.vault.seal import header, read_header, unwrap, wrap
from aggregator.vault.store import Store
from aggregator.vault.view import IDENTITY
from connectors.contract import Clock
from fhir_profiles.text import Resource, dumps, loads

_CONSENTS = "unsorted"  # the owner's alone: who may read what is nobody else's business


class Signing:
    """Writes as the owner; every call needs an unlock within the last minutes."""

    def __init__(
        self, store: Store, key_service: KeyService, accounts: Accounts, parties: Sequence[Party], clock: Clock
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._accounts = accounts
        self._parties = parties
        self._clock = clock

    def introduce(self, owner: Owner, said: Resource, if_match: int | None = None) -> bytes:
        """Correct the vault's one Patient, who says to be this one; returns it as it is stored.

        if_match: as for a Consent. Raises UnlockNeeded, NotValid, Changed, and CallerError where it does not say who.
        """
        self._accounts.may_sign(owner)
        made = patient.corrected(said, owner.whole_patient, self._clock().date())
        with self._store.write(owner.vault) as session:
            row, state = self._open(session, owner, IDENTITY)
            before = state.sections.get(IDENTITY, {}).get(owner.patient, [])
            if not is_current(if_match, before):
                raise Changed("the Patient has changed since you read it; read it again")
            put = self._put(owner.patient, made, before)
            owner.append(session, row, IDENTITY, [put])
        return put.resource

    def signer(self, owner: Owner) -> Signer:
        """The owner as one who may issue mandates. Raises UnlockNeeded, CallerError."""
        self._accounts.may_sign(owner)
        self._accounts.refuse_before_safe(owner.vault)
        return self._signer(owner, self.person(owner))

    def person(self, owner: Owner) -> Person:
        """Who the vault's Patient says to be. Raises Tampered where there is none: sign-up writes it."""
        with self._store.read() as session:
            return self._person(session, owner)

    def _person(self, session: Session, owner: Owner) -> Person:
        _, state = self._open(session, owner, IDENTITY)
        versions = state.sections.get(IDENTITY, {}).get(owner.patient)
        if not versions or not isinstance(put := versions[-1].operation, Put):
            raise Tampered("the vault's Patient is gone")
        return patient.person(loads(put.resource))

    def save_consent(
        self, owner: Owner, consent: Resource, local: str | None = None, if_match: int | None = None
    ) -> tuple[bytes, bool]:
        """Sign a Consent (a new one, or a new version of `local`) and compile the grants: (as stored, is it new).

        if_match: the version that the caller read. Raises Changed where it is not the current one, UnlockNeeded,
        NotValid, CallerError for an id that is not a Consent of the owner.
        """
        self._accounts.may_sign(owner)
        self._refuse_invalid(owner, consent)
        chosen = local or b32(os.urandom(16))
        with self._store.write(owner.vault) as session:
            row, state = self._open(session, owner, _CONSENTS)
            before = state.sections.get(_CONSENTS, {}).get(chosen, [])
            if local and not _own_consent(before):
                raise CallerError("there is no such Consent of yours")
            if not is_current(if_match, before):
                raise Changed("the Consent has changed since you read it; read it again")
            made = dict(consent) | {"id": f"{owner.vault}.{chosen}"}
            made.setdefault("patient", {"reference": f"Patient/{owner.whole_patient}"})
            put = self._put(chosen, made, before)
            position = owner.append(session, row, _CONSENTS, [put])
            state.sections.setdefault(_CONSENTS, {})[chosen] = [*before, Version(position, OWNER, put)]
            intents = self._compile(session, row, owner, consents_of(state), self._reopen(session, owner, made))
        self._destroy(intents)
        return put.resource, not before

    def end_grant(self, owner: Owner, party: str) -> int:
        """End everything a grantee may do, at once and without a fresh unlock; returns how many permissions ended.

        It stays ended until a Consent that names the grantee is signed anew. Without a fresh unlock nothing else is
        signed, and the keys change in the next owner session (`settle`): the key service remembers that they must.
        """
        grantee = self._key_service.handle("party", party)
        with self._store.write(owner.vault) as session:
            row = counter.known_head(session, owner.vault)
            session.merge(tables.EndedGrantee(vault=owner.vault, grantee=grantee))
            intents = self._retire(session, row.id, self._held(row.id, grantee), ended=True)
            deposits.retire(session, deposits.of(session, row.id, grantee), root=owner.root, position=row.log_position)
            made = archive(session, self._key_service, owner, row.grant_version).without(grantee.hex())
            grant_version.step(row, self._key_service.handle)
            session.add(row)
            if not made.missing:  # else the next signing would take for told what nobody can tell any more
                session.add(archive_row(owner.root, row.id, row.grant_version, made))
        self._destroy(intents)
        if intents and self._accounts.unlocked_lately(owner):
            self.settle(owner)
        return len(intents)

    def stop_grant(self, vault: str, party: str) -> int:
        """The same by the operator, in an emergency and without the owner: nothing is opened, and nothing signed.

        The key service vouches for the version that it makes; the keys change in the next owner session.
        """
        grantee = self._key_service.handle("party", party)
        with self._store.write(vault) as session:
            row = counter.known_head(session, vault)
            session.merge(tables.EndedGrantee(vault=vault, grantee=grantee))
            intents = self._retire(session, vault, self._held(vault, grantee), ended=True)
            deposits.retire(session, deposits.of(session, vault, grantee), root=None, position=0)
            grant_version.step(row, self._key_service.handle)
            session.add(row)
            box = self._key_service.lock(vault, stop_header(vault, row.grant_version), grantee)
            session.add(tables.GrantArchive(vault=vault, version=row.grant_version, box=box))
        self._destroy(intents)
        return len(intents)

    def settle(self, owner: Owner) -> bool:
        """Change the vault's keys, where a grant or its time has ended since they last were; returns whether they did.

        For the beginning of an owner session. What was written before stays open to those whose grants stand; nothing
        that is written from now on opens with what an ended grant held. Raises UnlockNeeded, Tampered.
        """
        with self._store.read() as session:
            if not self._unsettled(session, truth.head(session, owner.vault, owner.root.verification_key), owner):
                return False
        self._accounts.may_sign(owner)
        with self._store.write(owner.vault) as session:
            row, state = self._open(session, owner, _CONSENTS)
            if not self._unsettled(session, row, owner):  # another session was faster
                return False
            intents = self._compile(session, row, owner, consents_of(state))
        self._destroy(intents)
        return True

    def _unsettled(self, session: Session, row: tables.Vault, owner: Owner) -> bool:
        """Has a grant ended, or the time for which somebody had a section's key?"""
        if self._key_service.rotation_due(row.id) >= row.epoch:
            return True
        before = archive(session, self._key_service, owner, row.grant_version)
        known = self._known(session, owner, before.consents)
        return before.lost(self._opened(owner, before.consents, known)) or self._outlived(row.id, before)

    def _outlived(self, vault: str, before: Archived) -> bool:
        """Is a key left of somebody who was ended? A process died before it was destroyed, and no row says so now."""
        return not before.ended.isdisjoint(one.hex() for one in self._key_service.grants(vault).values())

    def finish_revocations(self) -> None:
        """Destroy the keys of every grant with an open intent: what a process that died has left. Runs at start-up."""
        with self._store.read() as session:
            intents = session.exec(select(tables.GrantIntent)).all()
        self._destroy(intents)

    def _destroy(self, intents: Sequence[tables.GrantIntent]) -> None:
        for intent in intents:
            self._key_service.destroy_grant(intent.vault, intent.grant, ended=intent.ended)
            with self._store.write(intent.vault) as session:
                same = (col(tables.GrantIntent.vault) == intent.vault, col(tables.GrantIntent.grant) == intent.grant)
                session.exec(delete(tables.GrantIntent).where(*same))

    def _open(self, session: Session, owner: Owner, section: str) -> tuple[tables.Vault, State]:
        row = truth.head(session, owner.vault, owner.root.verification_key)
        return row, truth.read(session, row, OwnersSeeds(owner.root, {section: owner.sections[section]})).state

    def _signer(self, owner: Owner, person: Person) -> Signer:
        return Signer(vault=owner.vault, root=owner.root, sections=owner.sections, patient=owner.patient, person=person)

    def _put(self, local: str, resource: Resource, before: Sequence[Version]) -> Put:
        version = before[-1].operation.version + 1 if before else 1
        return owner_put(local, resource, version, self._clock())

    def _refuse_invalid(self, owner: Owner, consent: Resource) -> None:
        if consent.get("resourceType") != "Consent":
            raise NotValid.at("", "a Consent is expected here")
        refuse_invalid(consent)
        named = consent.get("patient", {}).get("reference")
        if named is not None and named != f"Patient/{owner.whole_patient}":
            raise NotValid.at("Consent.patient", "names somebody else than the owner of this vault")

    def _compile(
        self,
        session: Session,
        row: tables.Vault,
        owner: Owner,
        consents: Sequence[Resource],
        named: frozenset[str] = frozenset(),
    ) -> Sequence[tables.GrantIntent]:
        """Every grant anew, from all Consents; under new keys, where a grantee loses a section that it could open.

        row: as `truth.head` gave it in this transaction. named: the grantees whom a Consent names that is signed just
        now. Returns what is to be destroyed after the commit.
        """
        before, known = (
            archive(session, self._key_service, owner, row.grant_version),
            self._known(session, owner, consents),
        )
        ended = self._ended(session, owner, before, known) - named
        parties = [party for party in known if self._handle(party) not in ended]
        opened = self._opened(owner, consents, parties)
        lost = before.lost(opened) or self._outlived(row.id, before)
        grant_version.step(row, self._key_service.handle)
        exposed = self._key_service.rotation_due(row.id)
        if lost or before.missing or exposed >= row.epoch:
            # More than one step where a restored database fell back behind an epoch whose seeds somebody has kept.
            for _ in range(max(1, exposed - row.epoch + 1)):
                epochs.rotate(session, row, owner.root, owner.sections)
                session.flush()
            session.exec(delete(tables.ImageRow).where(col(tables.ImageRow.vault) == row.id))
        session.add(row)
        intents = self._retire(session, row.id, self._held(row.id), ended=lost or before.missing)
        session.exec(delete(tables.Grant).where(col(tables.Grant.vault) == row.id))  # one without a key opens nothing
        deposits.retire(session, deposits.every(session, row.id), root=owner.root, position=row.log_position)
        adding = deposit.parties(consents, parties)
        if adding:
            signer = self._signer(owner, self._person(session, owner))
            session.add_all(deposit.issue(row, signer, self._key_service, consents, party) for party in adding)
        told = (owner.root, self._key_service, owner.sections, owner.patient, consents, parties)
        session.add_all(compile_grants(row, *told, self._clock()))
        session.add(archive_row(owner.root, row.id, row.grant_version, Archived(consents, opened, ended)))
        return intents

    def _opened(
        self, owner: Owner, consents: Sequence[Resource], parties: Sequence[Party]
    ) -> dict[str, frozenset[str]]:
        """Grantee's handle in hex -> the sections that its grant opens."""
        policies = [parse(consent) for consent in consents]
        every = frozenset(owner.sections)
        found = {self._handle(party): openable(policies, party, every, self._clock()) for party in parties}
        return {who: names for who, names in found.items() if names}

    def _handle(self, party: Party) -> str:
        return self._key_service.handle("party", party.id).hex()

    def _known(self, session: Session, owner: Owner, consents: Sequence[Resource]) -> list[Party]:
        """The registered parties, and the people whom these Consents name."""
        return [*self._parties, *persons.named(session, consents, owner.vault)]

    def _ended(self, session: Session, owner: Owner, before: Archived, known: Sequence[Party]) -> frozenset[str]:
        """Who gets no grant until a Consent names them anew: told by the owner's archive, not by the table alone.

        Everybody, where the archive is gone: nobody can say any more who was ended.
        """
        if before.missing:
            return frozenset(map(self._handle, known))
        ended = tables.EndedGrantee
        return before.ended | {
            one.hex() for one in session.exec(select(ended.grantee).where(ended.vault == owner.vault))
        }

    def _reopen(self, session: Session, owner: Owner, signed: Resource) -> frozenset[str]:
        """Whom the signed Consent names: those who were ended may have a grant again."""
        ended, policy, every = tables.EndedGrantee, parse(signed), frozenset(owner.sections)
        known = self._known(session, owner, [signed])
        named = frozenset(
            self._handle(party)
            for party in known
            if openable([policy], party, every, self._clock()) or deposit.parties([signed], [party])
        )
        handles = [bytes.fromhex(one) for one in named]
        session.exec(delete(ended).where(col(ended.vault) == owner.vault, col(ended.grantee).in_(handles)))
        return named

    def _held(self, vault: str, grantee: bytes | None = None) -> Sequence[str]:
        """What could be opened, a grantee's or all, to read or to add: the key service knows, not the database's rows.

        A row that is hidden just now, and put back later, would open for ever if the rows were asked.
        """
        return [one for one, whose in self._key_service.grants(vault).items() if grantee in (None, whose)]

    def _retire(
        self, session: Session, vault: str, grants: Sequence[str], *, ended: bool
    ) -> Sequence[tables.GrantIntent]:
        """Take the grants' rows and images away and leave the intent to destroy their keys.

        ended: a grantee loses something by it, so the seeds that it may have kept must come to nothing.
        """
        intents, image = [], tables.ImageRow
        for grant in grants:
            # One that a crash, or another server, has not finished yet: what was lost then stays lost.
            intent = session.get(tables.GrantIntent, (vault, grant)) or tables.GrantIntent(vault=vault, grant=grant)
            intent.ended = intent.ended or ended
            session.add(intent)
            intents.append(intent)
            session.exec(delete(image).where(col(image.vault) == vault, col(image.reader).startswith(f"{grant}/")))
            session.exec(delete(tables.Grant).where(col(tables.Grant.vault) == vault, col(tables.Grant.id) == grant))
        return intents


def consents_of(state: State) -> list[Resource]:
    """Every current Consent that the owner signed here, whatever its status: not one that was only imported."""
    return [
        loads(versions[-1].operation.resource)
        for versions in state.sections.get(_CONSENTS, {}).values()
        if _own_consent(versions) and versions[-1].writer == OWNER and isinstance(versions[-1].operation, Put)
    ]


@dataclass(frozen=True, slots=True)
class Archived:
    """One grant version, as the owner keeps it. Grantees by their handles in hex.

    opened: grantee -> sections. ended: who gets no grant until a Consent names them anew. missing: the row is gone.
    """

    consents: Sequence[Resource]
    opened: Mapping[str, frozenset[str]]
    ended: frozenset[str] = frozenset()
    missing: bool = False

    def lost(self, opened: Mapping[str, frozenset[str]]) -> bool:
        """Is a section among these that one of them no longer has?"""
        return any(not names <= opened.get(who, frozenset()) for who, names in self.opened.items())

    def without(self, grantee: str) -> Archived:
        """The same after a grantee's end."""
        left = {who: names for who, names in self.opened.items() if who != grantee}
        return replace(self, opened=left, ended=self.ended | {grantee})


def archive(session: Session, key_service: KeyService, owner: Owner, version: int) -> Archived:
    """A grant version: its Consents, and what they opened to whom; nothing before the first. Raises Tampered."""
    row = session.get(tables.GrantArchive, (owner.vault, version))
    if row is None:
        return Archived([], {}, missing=version > 0)
    stopped = stop_header(owner.vault, version)
    if read_header(row.box) == canonical(stopped):
        grantee = key_service.unlock(owner.vault, stopped, row.box)
        return archive(session, key_service, owner, version - 1).without(grantee.hex())
    return read_archive_members(
        orjson.loads(unwrap(owner.root.owner_key(), archive_header(owner.vault, version), row.box))
    )


def archived(session: Session, key_service: KeyService, owner: Owner, version: int) -> list[Resource]:
    """The Consents that were in force with a grant version. Raises Tampered."""
    return list(archive(session, key_service, owner, version).consents)


def archive_members(made: Archived) -> dict[str, Any]:
    """As JSON holds it: the Consents as text, so that no number changes."""
    return {
        "consents": [dumps(one).decode() for one in made.consents],
        "ended": sorted(made.ended),
        "opened": {who: sorted(names) for who, names in made.opened.items()},
    }


def read_archive_members(told: Mapping[str, Any]) -> Archived:
    """The inverse. Raises KeyError, ValueError, TypeError or AttributeError for what is none."""
    opened = {who: frozenset(map(str, names)) for who, names in told["opened"].items()}
    return Archived([loads(text) for text in told["consents"]], opened, frozenset(map(str, told["ended"])))


def archive_row(root: Root, vault: str, version: int, made: Archived) -> tables.GrantArchive:
    """What is stored of a grant version."""
    told = {"version": version} | archive_members(made)
    box = wrap(root.owner_key(), archive_header(vault, version), canonical(told))
    return tables.GrantArchive(vault=vault, version=version, box=box)


def archive_header(vault: str, version: int) -> dict[str, Any]:
    """The header of one grant version in the archive."""
    return header("grants", vault, name=str(version))


def stop_header(vault: str, version: int) -> dict[str, Any]:
    """The header of a grant version that the operator made by ending one: the box holds the grantee's handle."""
    return header("stop", vault, name=str(version))


def _own_consent(versions: Sequence[Version]) -> bool:
    """May the owner sign it: was it the owner's from the beginning, here or in an earlier installation?"""
    return bool(versions) and all(
        version.writer in (OWNER, IMPORTED) and version.operation.resource_type == "Consent" for version in versions
    )
