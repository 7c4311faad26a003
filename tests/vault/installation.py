"""An installation that lives longer than its processes: it dies at a durable step, opens again, is backed up, restored.

For the state machine (test_state_machine.py). What it does goes through the service's own functions; what it looks at
is what they give.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlmodel import col, select

from aggregator import app
from aggregator.audit import chain, receipts
from aggregator.audit.receipts import Opening
from aggregator.audit.tables import Receipt
from aggregator.commands import restore
from aggregator.consent.decide import Party
from aggregator.consent.grant import Opened, open_grant
from aggregator.errors import CallerError
from aggregator.identity import unlockers
from aggregator.identity.accounts import Owner, SignedUp, owner_put
from aggregator.identity.grant_archive import archive
from aggregator.identity.grants import Grants
from aggregator.identity.signing import Signing
from aggregator.sync.tables import Connection
from aggregator.vault import counter, dump, tables, truth
from aggregator.vault.encoding import instant
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.key_ring import KeyRing, WorkerKeys
from aggregator.vault.keys import OWNER
from aggregator.vault.view import View
from connectors.contract import Batch, Cursor
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import loads
from tests import databases
from tests.sync.sync_world import Script, SyncWorld, batch, condition, deleted, observation, patient
from tests.vault.world import (
    DR_B,
    LABORATORY,
    LOGIN,
    TABLE,
    FrozenClock,
    World,
    accounts_of,
    consent,
    followed_store,
)

THERAPIST = Party("praxis-t")
PARTIES = {"b": DR_B, "lab": LABORATORY, "t": THERAPIST}

# What a source's thing may become, and the section that it then lies in.
NUMBERS = {"7": "results", "9": "results"}
CODES = {"E11.9": "problems", "I10.00": "problems", "F32.1": "mental-health", "F10.2": "substance-use"}
SECTIONS = ("results", "problems", "mental-health", "substance-use")

Told = tuple[str, tuple[tuple[int, str | None], ...]]
"""What is held of one resource: its section, and (version, value) of each version, None for a deletion."""


class Died(BaseException):
    """The process ended here: nothing catches this."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a crash may have left half done. version: of the grants; consents: id -> (version, is it active?)."""

    record: Mapping[str, Told]
    cursor: int
    connected: bool
    consents: Mapping[str, tuple[int, bool]]
    granted: frozenset[str]
    ended: frozenset[str]
    version: int


@dataclass
class Changes(Script):
    """A source: what has become of its things, in order; a cursor is a place in that list. Two changes a batch."""

    log: list[tuple[str, str | None]] = field(default_factory=list)

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        done = int(str(cursor)) if cursor is not None else 0
        for at in range(done, max(len(self.log), done + 1), 2):
            await asyncio.sleep(0)
            some = self.log[at : at + 2]
            items = [deleted(thing) if value is None else _thing(thing, value) for thing, value in some]
            yield batch(patient(), *items, cursor=str(at + len(some)))


def _thing(thing: str, value: str) -> Any:
    kind, _, name = thing.partition("/")
    return observation(name, int(value)) if kind == "Observation" else condition(value, name)


class Installation:
    """One patient, one source, three parties; the folder, the clock and the source outlive every process."""

    def __init__(self, folder: Path, template: tuple[Path, SignedUp]) -> None:
        source, signed_up = template
        self._folder, self._stores, self.password_number = folder, 0, 0
        self.source = Changes()
        shutil.copytree(source / "keys", folder / "keys")
        self._store_folder().mkdir()
        if not databases.on_postgresql():
            shutil.copytree(source / "store", self._store_folder(), dirs_exist_ok=True)
        databases.copy(source / "store" / "aggregator.db", self.file)
        self.clock = FrozenClock()
        self._owner = signed_up.owner
        self.start()

    @property
    def file(self) -> Path:
        return self._store_folder() / "aggregator.db"

    @property
    def owner(self) -> Owner:
        """Just unlocked."""
        return replace(self._owner, unlocked_at=self.clock())

    @property
    def vault(self) -> str:
        return self._owner.vault

    def start(self) -> None:
        """A process begins: with nothing but what is on the disk."""
        with ExitStack() as opened:
            ring = KeyRing(self._folder / "keys")
            opened.callback(ring.close)
            store = followed_store(self.file, ring)
            opened.callback(store.close)
            with store.write() as session:
                app._bind(session, ring)
            accounts = accounts_of(store, ring, self.clock)
            grants = Grants(store, ring, accounts, list(PARTIES.values()), self.clock)
            grants.finish_revocations()
            opened.pop_all()  # what dies before this has nothing open any more, as any dead process
        self.world = World(
            folder=self._folder,
            clock=self.clock,
            store=store,
            ring=ring,
            worker=WorkerKeys.read(self._folder / "keys"),
            accounts=accounts,
            grants=grants,
            signing=Signing(store, accounts, grants, self.clock),
            owner=self._owner,
        )
        self.syncing = SyncWorld(world=self.world, clinic=self.source)

    def stop(self) -> None:
        """It ends; whatever it knew is gone."""
        self.world.close()

    def restart(self) -> None:
        self.stop()
        self.clock.advance(seconds=self.syncing.worker.lease_seconds + 1)  # what a dead run held is free again
        self.start()

    # --- what people do

    def connect(self) -> None:
        self.syncing.connect()

    def disconnect(self) -> None:
        self.syncing.end(self.connection().id)

    def connection(self) -> Connection:
        with self.world.store.read() as session:
            return session.exec(select(Connection).where(Connection.vault == self.vault)).one()

    def sync(self) -> str:
        return self.syncing.run(self.connection().id).status

    def write(self, name: str, version: int, value: str | None) -> None:
        """The owner's own hand: a note, changed or taken away."""
        local, now = self.local(name, OWNER), self.clock()
        resource = observation(name, int(value or 0)) | {"id": f"{self.vault}.{local}"}
        put = owner_put(local, resource, version, now)
        gone = Delete(local=local, resource_type="Observation", version=version, updated=instant(now), origin={})
        with self.world.store.write(self.vault) as session:
            row = truth.head(session, self.vault, self._owner.root.verification_key)
            self._owner.append(session, row, "results", [gone if value is None else put])

    def sign(self, consent_id: str | None, parties: frozenset[str], sections: frozenset[str], active: bool) -> str:
        """A Consent, new or changed; returns its id."""
        classes = [{"system": SECTION_SYSTEM, "code": name} for name in sorted(sections)]
        made = consent([PARTIES[one] for one in sorted(parties)], **{"class": classes})
        made["status"] = "active" if active else "inactive"
        stored, _ = self.world.signing.save_consent(self.owner, made, consent_id)
        return str(loads(stored)["id"].partition(".")[2])

    def end(self, party: str, lately: bool) -> None:
        owner = self.owner if lately else replace(self.owner, unlocked_at=self.clock().replace(year=2000))
        self.world.grants.end(owner, PARTIES[party].id)

    def stop_grant(self, party: str) -> None:
        self.world.grants.stop(self.vault, PARTIES[party].id)

    def session(self) -> None:
        """What an owner session begins with."""
        self.world.grants.settle(self.owner)

    def change_password(self, password: str) -> None:
        self.world.accounts.replace_password(self.vault, self._owner.root, unlockers.derive(password))

    def signs_in(self, password: str) -> bool:
        self.clock.advance(hours=2)  # wrong tries are forgotten
        with suppress(CallerError):
            return self.world.accounts.sign_in(LOGIN, password).root.secret == self._owner.root.secret
        return False

    def back_up(self, number: int) -> Path:
        folder = self._folder / f"backup-{number}"
        folder.mkdir(mode=0o700)
        with self.world.store.read() as session:
            dump.finish(folder, dump.write(session, folder, instant(self.clock()), lambda *_: None))
        return folder

    def restore(self, backup: Path) -> None:
        """As `aggregator restore` does, into an empty store; the key ring is the one that lived on."""
        self.stop()
        self._stores += 1
        self._store_folder().mkdir()
        ring, store = KeyRing(self._folder / "keys"), databases.store_in(self.file)
        try:
            dump.read(backup)
            restore._refuse_filled(store)
            restore._load(store, ring, backup)
        finally:
            store.close()
            ring.close()
        self.start()

    @property
    def restored(self) -> bool:
        """Is there an installation in the store?"""
        store = databases.store_in(self.file)
        try:
            with store.read() as session:
                return session.get(tables.Installation, 1) is not None
        finally:
            store.close()

    # --- what there is

    def local(self, name: str, writer: str = "source") -> str:
        authority = ("klinik", "erika") if writer == "source" else ("vault", "notes")
        return self._owner.root.ids().local(*authority, name)

    def seen(self) -> Seen:
        with self.world.store.read() as session:
            row = truth.head(session, self.vault, self._owner.root.verification_key)
            told = archive(session, self.world.ring, self._owner, row.grant_version)
            ended = set(session.exec(select(tables.EndedGrantee.grantee)))
            connections = session.exec(select(Connection).where(Connection.vault == self.vault)).all()
        by_handle = {self.world.ring.handle("party", party.id): name for name, party in PARTIES.items()}
        gone = ended | {bytes.fromhex(one) for one in told.ended} | (by_handle.keys() if told.missing else set())
        state = self.syncing.worker.state(self.vault, connections[0].id, connections[0].state) if connections else {}
        record, consents = self._record()
        return Seen(
            record,
            int(state.get("cursor") or 0),
            any(not one.ended for one in connections),
            consents,
            frozenset(by_handle[one.grantee] for one in self.grants()),
            frozenset(by_handle[one] for one in gone),
            row.grant_version,
        )

    def _record(self) -> tuple[dict[str, Told], dict[str, tuple[int, bool]]]:
        """The truth: everything but persons and Consents, and of each Consent its version and whether it is active."""
        found = self.world.truth()
        assert found.refused == {}
        record, consents = dict[str, Told](), dict[str, tuple[int, bool]]()
        places = [local for resources in found.state.sections.values() for local in resources]
        assert len(places) == len(set(places)), "a resource lies in two sections"
        for (section, _), versions in zip(found.state.newest(), found.state.histories(), strict=True):
            newest = versions[-1].operation
            if newest.resource_type == "Consent" and isinstance(newest, Put):
                consents[newest.local] = newest.version, loads(newest.resource)["status"] == "active"
            elif section != "identity":
                told = tuple((one.operation.version, _value(one.operation)) for one in versions)
                record[newest.local] = section, told
        return record, consents

    def grants(self) -> list[tables.Grant]:
        with self.world.store.read() as session:
            return list(session.exec(select(tables.Grant).where(tables.Grant.vault == self.vault)))

    def opened(self, party: str, row: tables.Grant) -> Opened:
        """In its grantee's service, after a durable receipt."""
        who, world = PARTIES[party], self.world
        opening = Opening(self.vault, self._owner.root.audit.public())
        with world.store.write(self.vault) as session:
            assert receipts.commit(session, world.ring, [opening.first({"kind": "opened"})]) == [True]
        return open_grant(row, world.ring, world.ticket(who), opening.id, self.clock())

    def shown_to(self, party: str, opened: Opened) -> dict[str, tuple[str, str]]:
        """Local id -> (section, value) of what a grantee's view holds, without the Patient."""
        view = self.world.open(opened.reader(PARTIES[party], "TREAT", self.clock(), TABLE))
        try:
            return shown(view)
        finally:
            view.close()

    def shown_to_owner(self) -> dict[str, tuple[str, str]]:
        """The same of the owner's, whose opening folds the log into a snapshot."""
        view = self.world.open()
        try:
            return shown(view)
        finally:
            view.close()

    def envelopes(self) -> set[bytes]:
        with self.world.store.read() as session:
            return set(session.exec(select(tables.LogEntry.envelope)))

    def receipts_hold(self) -> bool:
        with self.world.store.read() as session:
            rows = session.exec(select(Receipt).where(Receipt.vault == self.vault).order_by(col(Receipt.position)))
            return chain.holds(rows.all(), session.get_one(tables.Vault, self.vault))

    def head(self) -> dict[str, Any]:
        """The vault's row as somebody with the database could keep it."""
        with self.world.store.read() as session:
            return session.get_one(tables.Vault, self.vault).model_dump()

    @contextmanager
    def put_back(self, row: Mapping[str, Any]) -> Iterator[None]:
        """The vault's row as it was once, and afterwards as it is."""
        now = self.head()
        self._write_head(row)
        try:
            yield
        finally:
            self._write_head(now)

    def _write_head(self, row: Mapping[str, Any]) -> None:
        with self.world.unwatched(), self.world.store.write() as session:
            session.merge(tables.Vault(**row))

    def _store_folder(self) -> Path:
        return self._folder / f"store-{self._stores}"


def shown(view: View) -> dict[str, tuple[str, str]]:
    """Local id -> (section, value); Consents and Patients are left out."""
    image = view.image
    records = [
        one for kind, rids in image.kinds.items() if kind not in ("Patient", "Consent") for one in image.fetch(rids)
    ]
    return {one.local: (one.section, _of(loads(one.body))) for one in records}


def _value(operation: Put | Delete) -> str | None:
    return _of(loads(operation.resource)) if isinstance(operation, Put) else None


def _of(resource: Any) -> str:
    if resource["resourceType"] == "Observation":
        return str(resource["valueQuantity"]["value"])
    return str(resource["code"]["coding"][0]["code"])


@contextmanager
def dying_at(number: int | None) -> Iterator[None]:
    """The process dies at the n-th durable step: before or after a commit, a counter, a key that is destroyed."""
    reached = 0

    def step() -> None:
        nonlocal reached
        reached += 1
        if reached == number:
            raise Died

    def stepping(whole: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            step()
            made = whole(*args, **kwargs)
            step()
            return made

        return run

    names = ("destroy_grant", "raise_generation", "register_grant", "new_generation", "restored")
    places: list[tuple[Any, str]] = [(counter, "moved"), (counter, "tell"), *((KeyRing, name) for name in names)]
    patches = [patch.object(where, name, stepping(getattr(where, name))) for where, name in places]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()
