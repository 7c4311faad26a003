"""A small world to try the vault in: a clock that is not UTC, a store and a key ring, and a patient who signed up.

The patient signs up once; every test works on its own copy of the two folders.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlmodel import select

from aggregator.audit import chain
from aggregator.audit import tables as audit_tables  # noqa: F401 - Store.create makes the tables that were imported
from aggregator.consent import mandate
from aggregator.consent.decide import Party
from aggregator.consent.grant import Opened, open_grant
from aggregator.consent.mandate import Mandate, Person
from aggregator.consent.section_table import SectionTable
from aggregator.fhir.index import SearchIndex
from aggregator.identity.accounts import Accounts, Owner, SignedUp
from aggregator.identity.grants import Grants
from aggregator.identity.signing import Signing
from aggregator.identity.tables import Unlocker
from aggregator.sync import tables as sync_tables  # noqa: F401 - as above
from aggregator.vault import epochs, grant_version, log, snapshot, tables, truth, view
from aggregator.vault.blob_store import LocalBlobs
from aggregator.vault.encoding import instant
from aggregator.vault.envelope import NONE, Operation, Put, seal
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.key_service import Admission, Ticket
from aggregator.vault.keys import Writer
from aggregator.vault.store import Store
from aggregator.vault.truth import Truth
from aggregator.vault.view import Reader, View
from aggregator.vault.worker_keys import WorkerKeys
from fhir_profiles import codes
from fhir_profiles.text import Resource, dumps, loads
from tests import databases

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 11, 21, 21, 30, tzinfo=BERLIN)
LOGIN, PASSWORD = "erika.beispiel", "Korrekt Pferd Batterie"
ERIKA = Person(family="Beispielmann", given="Erika Josefine", birth_date="1957-08-13", kvnr="X110411675")
DR_B, LABORATORY = Party("praxis-b"), Party("labor-c")
TABLE, INDEX = SectionTable.load(), SearchIndex("https://record.example/fhir")


class FrozenClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(kw_only=True)
class World:
    """One installation with one patient, whose owner session is open."""

    folder: Path
    clock: FrozenClock
    store: Store
    ring: KeyRing
    worker: WorkerKeys
    accounts: Accounts
    grants: Grants
    signing: Signing
    owner: Owner
    views: list[View] = field(default_factory=list)

    @property
    def vault(self) -> str:
        return self.owner.vault

    @property
    def blobs(self) -> LocalBlobs:
        return LocalBlobs(self.folder / "blobs")

    @property
    def patient(self) -> str:
        return f"Patient/{self.vault}.{self.owner.patient}"

    def local(self, source_id: str) -> str:
        """The local id of a thing of the clinic's."""
        return self.owner.root.ids().local("klinik", "erika", source_id)

    def reference(self, source_id: str) -> Resource:
        return {"reference": f"{source_id.partition('/')[0]}/{self.vault}.{self.local(source_id)}"}

    def put(self, source_id: str, elements: Resource | None = None, version: int = 1) -> Put:
        """A resource of the clinic's, as normalising leaves it. `source_id`: "Type/id"."""
        resource_type, now = source_id.partition("/")[0], instant(self.clock())
        body = {
            "resourceType": resource_type,
            "id": f"{self.vault}.{self.local(source_id)}",
            "meta": {"versionId": str(version), "lastUpdated": now},
        }
        return Put(
            local=self.local(source_id),
            resource_type=resource_type,
            version=version,
            updated=now,
            resource=dumps(body | (elements or {})),
            origin={"source": "klinik", "locator": f"/fhir/{source_id}"},
        )

    def connect(self) -> Mandate:
        """A mandate for the clinic, as the worker holds it."""
        signer = mandate.Signer(
            vault=self.vault,
            root=self.owner.root,
            sections=self.owner.sections,
            patient=self.owner.patient,
            person=ERIKA,
        )
        with self.store.write() as session:
            vault = session.get_one(tables.Vault, self.vault)
            row = mandate.issue(vault, signer, self.worker.public(), authority="klinik", account="erika")
            session.add(row)
        return mandate.open_mandate(row, self.worker, self.owner.root.verification_key)

    def append(self, section: str, *operations: Operation, writer: Writer | None = None) -> int:
        """One envelope, the owner's where no other writer is given; returns the log position, which is its number."""
        with self.store.write() as session:
            row = session.get_one(tables.Vault, self.vault)
            by, number = writer or Writer.owner(self.owner.root), row.log_position + 1
            return log.append(session, row, [self.envelope(section, *operations, writer=by, number=number)])

    def envelope(
        self,
        section: str,
        *operations: Operation,
        writer: Writer,
        number: int = 1,
        epoch: int | None = None,
        previous: bytes = NONE,
    ) -> bytes:
        """Sealed for the vault's present epoch, where no other is given."""
        key = self.owner.key(section, epoch or self.epoch)
        return seal(self.vault, key, writer, number, operations, previous)

    @property
    def epoch(self) -> int:
        with self.store.read() as session:
            return session.get_one(tables.Vault, self.vault).epoch

    def append_raw(self, *envelopes: bytes) -> int:
        """Bytes into the log, chained as they must be: what one with the database alone can do as well."""
        with self.store.write() as session:
            return log.append(session, session.get_one(tables.Vault, self.vault), envelopes)

    def truth(self) -> Truth:
        with self.store.read() as session:
            row = truth.head(session, self.vault, self.owner.root.verification_key)
            return truth.read(session, row, self.reader().seeds)

    def reader(self) -> Reader:
        return view.owner(self.owner.root, self.owner.sections, self.owner.patient)

    def open(self, reader: Reader | None = None) -> View:
        """A grantee's view; without a reader the owner's, whose opening makes a snapshot of a grown log."""
        root = None if reader else self.owner.root
        made = view.open_view(self.store, self.vault, reader or self.reader(), INDEX, root)
        self.views.append(made)
        return made

    def ticket(self, party: Party = DR_B, minutes: int = 5) -> Ticket:
        token = secrets.token_urlsafe(32)
        expires = int(self.clock().timestamp()) + minutes * 60
        admission = Admission(party=party.id, purpose="TREAT", scopes=("system/*.rs",), expires=expires)
        return Ticket(token, self.ring.admit(token, admission))

    def opening(self, ring: KeyRing | None = None, vault: str = "") -> bytes:
        """The id of an opening whose receipt the key service believes to be durable."""
        opening = secrets.token_bytes(16)
        (ring or self.ring).advance({}, [(vault or self.vault, opening)])
        return opening

    def permit(self, *parties: Party, **criteria: object) -> Resource:
        """Sign a Consent that permits; returns it as it is stored."""
        stored, _ = self.signing.save_consent(self.owner, consent(parties or (DR_B,), **criteria))
        made: Resource = loads(stored)
        return made

    def grant(self, party: Party = DR_B) -> tables.Grant:
        """The party's grant as it is stored."""
        grantee = self.ring.handle("party", party.id)
        with self.store.read() as session:
            return session.exec(select(tables.Grant).where(tables.Grant.grantee == grantee)).one()

    def opened(self, party: Party = DR_B) -> Opened:
        """The grant in its grantee's service."""
        return open_grant(self.grant(party), self.ring, self.ticket(party), self.opening(), self.clock())

    def grantee(self, party: Party = DR_B) -> Reader:
        return self.opened(party).reader(party, "TREAT", self.clock(), TABLE)

    def unlocker(self, kind: str = "password", vault: str = "") -> Unlocker:
        """The vault's unlocker of this kind as it is stored."""
        with self.store.read() as session:
            here = (Unlocker.vault == (vault or self.vault), Unlocker.kind == kind)
            return session.exec(select(Unlocker).where(*here)).one()

    def store_unlocker(self, row: Unlocker) -> None:
        """Put a row as somebody with the database could, in the place of the one with its id."""
        with self.store.write() as session:
            session.merge(row)

    def sql(self, statement: str, *values: object) -> None:
        """What somebody with the database can do."""
        databases.execute(self.store, statement, values)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """As if nothing that is committed reached the key service, and nothing were held against it."""
        watch, self.store._watch = self.store._watch, None
        yield
        self.store._watch = watch

    def raw(self) -> bytes:
        """Every byte that the database has on disk."""
        return databases.stored_bytes(self.store)

    def close(self) -> None:
        for made in self.views:
            made.close()
        self.store.close()
        self.ring.close()


def consent(parties: Sequence[Party], **criteria: object) -> Resource:
    """An active Consent that permits these parties what the criteria say."""
    reader = {"coding": [{"system": codes.PARTICIPATION_TYPE, "code": "PRCP"}]}
    actors = [{"role": reader, "reference": {"reference": f"Organization/{party.id}"}} for party in parties]
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": codes.CONSENT_SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": codes.LOINC, "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": codes.ACT_CODE, "code": "OPTIN"}]},
        "provision": {"type": "permit", "actor": actors} | criteria,
    }


def sign_up(folder: Path) -> SignedUp:
    """Make store and key ring in this folder, and one patient in them, who has said who she is."""
    (folder / "store").mkdir()
    ring, clock = KeyRing.create(folder / "keys"), FrozenClock()
    store = followed_store(_file(folder), ring)
    accounts = accounts_of(store, ring, clock)
    signed_up = accounts.sign_up(LOGIN, PASSWORD, ERIKA)
    accounts.prove_recovery(LOGIN, signed_up.recovery_code)
    store.checkpoint()
    store.close()
    ring.close()
    return signed_up


def copy(template: Path, owner: Owner, folder: Path) -> World:
    """A world of its own, with the patient of the template."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    databases.copy(_file(template), _file(folder))
    ring, clock = KeyRing(folder / "keys"), FrozenClock()
    store = followed_store(_file(folder), ring)
    accounts = accounts_of(store, ring, clock)
    grants = Grants(store, ring, accounts, [DR_B, LABORATORY], clock)
    return World(
        folder=folder,
        clock=clock,
        store=store,
        ring=ring,
        worker=WorkerKeys.read(folder / "keys"),
        accounts=accounts,
        grants=grants,
        signing=Signing(store, accounts, grants, clock),
        owner=owner,
    )


def followed_store(file: Path, ring: KeyRing) -> Store:
    """The store in this file, whose heads the key ring remembers."""
    store = databases.store_in(file)
    store.follow(
        ring,
        snapshot.extends(ring.verification_key),
        chain.extends,
        epochs.extends(ring.verification_key),
        grant_version.extends(ring.handle),
    )
    return store


def _file(folder: Path) -> Path:
    return folder / "store" / "aggregator.db"


def accounts_of(store: Store, ring: KeyRing, clock: FrozenClock) -> Accounts:
    """Sign-ups and sessions of an installation."""
    return Accounts(store, ring, clock, session_seconds=30 * 60, signing_seconds=5 * 60)
