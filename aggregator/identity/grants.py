"""The grants of a vault: compiled anew from all Consents at each signing, ended at once, and settled by new keys.

Whose keys there are says the key service: a row that a database hides meanwhile and shows again later opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlmodel import Session, col, delete, select

from aggregator.consent import deposit
from aggregator.consent.decide import Party, openable, parse
from aggregator.consent.grant import Opened, compile_grants, prospective
from aggregator.identity import app_parties, deposits, owner_reading, persons, signed_consents
from aggregator.identity.accounts import Accounts, Owner
from aggregator.identity.grant_archive import Archived, archive, archive_row, stop_header
from aggregator.vault import counter, epochs, grant_version, tables, truth
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.text import Resource


class Grants:
    """parties: who is registered, beside the people and apps whom Consents name."""

    def __init__(
        self, store: Store, key_service: KeyService, accounts: Accounts, parties: Iterable[Party], clock: Clock
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._accounts = accounts
        self._parties = parties
        self._clock = clock

    def end(self, owner: Owner, party: str) -> int:
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
        self.destroy(intents)
        if intents and self._accounts.unlocked_lately(owner):
            self.settle(owner)
        return len(intents)

    def stop(self, vault: str, party: str) -> int:
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
        self.destroy(intents)
        return len(intents)

    def settle(self, owner: Owner) -> bool:
        """Make all grants anew, where one or its time has ended, or a grantee came; returns whether they were.

        For the beginning of an owner session. What was written before stays open to those whose grants stand; nothing
        that is written from now on opens with what an ended grant held. Raises UnlockNeeded, Tampered.
        """
        with self._store.read() as session:
            if not self._unsettled(session, truth.head(session, owner.vault, owner.root.verification_key), owner):
                return False
        self._accounts.may_sign(owner)
        with self._store.write(owner.vault) as session:
            row, state = owner_reading.section(session, owner, signed_consents.SECTION)
            if not self._unsettled(session, row, owner):  # another session was faster
                return False
            intents = self.compile(session, row, owner, signed_consents.current(state))
        self.destroy(intents)
        return True

    def _unsettled(self, session: Session, row: tables.Vault, owner: Owner) -> bool:
        """Has a grant ended, or somebody's time with a section's key, or has one come whom a Consent named before?"""
        if self._key_service.rotation_due(row.id) >= row.epoch:
            return True
        before = archive(session, self._key_service, owner, row.grant_version)
        known = self.known(session, owner, before.consents)
        opened = self._opened(owner, before.consents, known)
        came = opened.keys() - before.opened.keys() - self._ended(session, owner, before, known)
        return bool(came) or before.lost(opened) or self._outlived(row.id, before)

    def _outlived(self, vault: str, before: Archived) -> bool:
        """Is a key left of somebody who was ended? A process died before it was destroyed, and no row says so now."""
        return not before.ended.isdisjoint(one.hex() for one in self._key_service.grants(vault).values())

    def finish_revocations(self) -> None:
        """Destroy the keys of every grant with an open intent: what a process that died has left. Runs at start-up."""
        with self._store.read() as session:
            intents = session.exec(select(tables.GrantIntent)).all()
        self.destroy(intents)

    def destroy(self, intents: Sequence[tables.GrantIntent]) -> None:
        """What a commit has left to destroy, once it is durable."""
        for intent in intents:
            self._key_service.destroy_grant(intent.vault, intent.grant, ended=intent.ended)
            with self._store.write(intent.vault) as session:
                same = (col(tables.GrantIntent.vault) == intent.vault, col(tables.GrantIntent.grant) == intent.grant)
                session.exec(delete(tables.GrantIntent).where(*same))

    def compile(
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
        before = archive(session, self._key_service, owner, row.grant_version)
        known = self.known(session, owner, consents)
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
            signer = owner_reading.signer(session, owner)
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

    def known(self, session: Session, owner: Owner, consents: Sequence[Resource]) -> list[Party]:
        """The registered parties, and the people and apps whom these Consents name."""
        named = (*persons.named(session, consents, owner.vault), *app_parties.named(consents, owner.vault))
        return [*self._parties, *named]

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

    def prospect(
        self,
        session: Session,
        row: tables.Vault,
        owner: Owner,
        party: Party,
        consents: Sequence[Resource],
        named: frozenset[str] = frozenset(),
    ) -> Opened:
        """What `compile` would let the party open, from the same arguments: nothing is changed."""
        before = archive(session, self._key_service, owner, row.grant_version)
        ended = self._ended(session, owner, before, [party]) - named
        counting = () if self._handle(party) in ended else consents
        return prospective(row, owner.root, owner.sections, owner.patient, counting, party, self._clock())

    def grantees(self, session: Session, row: tables.Vault, owner: Owner, consents: Sequence[Resource]) -> list[Party]:
        """Who gets a grant of these Consents, if they open anything: not who was ended."""
        before, known = (
            archive(session, self._key_service, owner, row.grant_version),
            self.known(session, owner, consents),
        )
        ended = self._ended(session, owner, before, known)
        return [party for party in known if self._handle(party) not in ended]

    def holds(self, vault: str, party: Party) -> bool:
        """Does the key service hold a key for this party? Then it opens without the owner."""
        return bool(self._held(vault, self._key_service.handle("party", party.id)))

    def reopen(self, session: Session, owner: Owner, signed: Resource) -> frozenset[str]:
        """Whom the signed Consent names: those who were ended may have a grant again."""
        ended, named = tables.EndedGrantee, self.named(session, owner, signed)
        handles = [bytes.fromhex(one) for one in named]
        session.exec(delete(ended).where(col(ended.vault) == owner.vault, col(ended.grantee).in_(handles)))
        return named

    def named(self, session: Session, owner: Owner, signed: Resource) -> frozenset[str]:
        """The grantees to whom this Consent could open something, or whom it lets add: by their handles in hex."""
        policy, every = parse(signed), frozenset(owner.sections)
        return frozenset(
            self._handle(party)
            for party in self.known(session, owner, [signed])
            if openable([policy], party, every, self._clock()) or deposit.parties([signed], [party])
        )

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
