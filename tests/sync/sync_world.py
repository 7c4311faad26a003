"""A world with sources that say what a test tells them, and what their runs leave in store and vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr
from sqlmodel import Session, col, select, update

from aggregator.config import SourceSettings
from aggregator.consent.mandate import Person
from aggregator.identity.accounts import Owner
from aggregator.sync import quarantine
from aggregator.sync.connect import Connections
from aggregator.sync.feeds import run_feed
from aggregator.sync.registry import Registry, Source
from aggregator.sync.run import Outcome, Worker, run
from aggregator.sync.tables import Connection
from aggregator.vault import tables, view
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.store import Store
from connectors.contract import (
    Batch,
    Clock,
    ConnectorSpec,
    Cursor,
    Deleted,
    Found,
    Identifier,
    Item,
    Kind,
    Origin,
    Reason,
    Settings,
    Skipped,
    Subject,
)
from fhir_profiles import codes
from fhir_profiles.text import Resource, dumps, loads
from tests.databases import stored_bytes
from tests.vault.source import without_tls
from tests.vault.world import ERIKA, START, TABLE, FrozenClock, World

Step = Batch | Exception | Callable[[], object]
"""What a pull does next: give a batch, raise, or do something beside it."""


class ScriptedSettings(Settings):
    account: str = ""
    secret: SecretStr = SecretStr("")


@dataclass
class Script:
    """A source. Each pull plays the next list of steps; the last list is played again and again."""

    pulls: list[Sequence[Step]] = field(default_factory=lambda: [[]])
    cursors: list[Cursor | None] = field(default_factory=list)  # what each pull was given

    def says(self, *pulls: Sequence[Step]) -> None:
        """What the coming pulls play."""
        self.pulls = list(pulls)

    async def check(self) -> None:
        """Nothing to prove."""

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        self.cursors.append(cursor)
        steps = self.pulls.pop(0) if len(self.pulls) > 1 else self.pulls[0]
        for step in steps:
            await asyncio.sleep(0)
            if isinstance(step, Batch):
                yield step
            elif isinstance(step, Exception):
                raise step
            else:
                step()

    def source(self, authority: str, kind: Kind = Kind.ACCOUNT, minutes: int = 360) -> Source:
        spec = ConnectorSpec(
            name="scripted",
            version="1",
            title="A script",
            config=ScriptedSettings,
            connect=lambda _settings, _client, _clock: self,
            kind=kind,
            resource_types=("Patient", "Observation"),
            incremental=True,
            reports_deletions=True,
            min_interval=timedelta(minutes=1),
            account=frozenset({"account", "secret"}) if kind is Kind.ACCOUNT else frozenset(),
            account_id="account" if kind is Kind.ACCOUNT else None,
        )
        return Source(authority, SourceSettings(connector="scripted", interval_minutes=minutes), spec)


class Scripted(Registry):
    """Sources that no entry point names."""

    def __init__(self, *sources: Source) -> None:
        self._sources = {source.authority: source for source in sources}

    def put(self, source: Source) -> None:
        """Configure one more, or another in its place."""
        self._sources[source.authority] = source


@dataclass(kw_only=True)
class SyncWorld:
    """The world of the vault's tests with two scripted accounts and a scripted feed."""

    world: World
    clinic: Script = field(default_factory=Script)
    other: Script = field(default_factory=Script)
    feed: Script = field(default_factory=Script)

    def __post_init__(self) -> None:
        self.registry = Scripted(
            self.clinic.source("klinik"), self.other.source("praxis"), self.feed.source("labor", Kind.FEED)
        )
        self.worker = worker(self.world, self.registry)
        self.connections = Connections(self.worker)

    @property
    def store(self) -> Store:
        return self.world.store

    @property
    def clock(self) -> FrozenClock:
        return self.world.clock

    def connect(self, authority: str = "klinik", account: str = "erika") -> str:
        signer = self.world.signing.signer(self.fresh())
        return self.connections.connect(signer, authority, {"account": account})

    def verify(self, owner: Owner | None = None, person: Person = ERIKA) -> str:
        """A practice vouches for this person, and the owner redeems the code."""
        code = self.connections.issue_code("labor", person)
        return self.connections.redeem(self.world.signing.signer(owner or self.fresh()), code)

    def fresh(self) -> Owner:
        """The owner, just unlocked."""
        return replace(self.world.owner, unlocked_at=self.clock())

    def run(self, connection: str, *, again: bool = False) -> Outcome:
        return asyncio.run(run(self.worker, connection, again=again))

    def run_feed(self, *, again: bool = False) -> list[Outcome]:
        return asyncio.run(run_feed(self.worker, self.registry.source("labor"), again=again))

    def row(self, connection: str) -> Connection:
        with self.store.read() as session:
            return session.get_one(Connection, connection)

    def local(self, source_id: str, authority: str = "klinik", account: str = "erika") -> str:
        return self.world.owner.root.ids().local(authority, account, source_id)

    def record(self, owner: Owner | None = None) -> dict[str, Any]:
        """Section -> local id -> what each version is: its number with the resource's text, or "deleted"."""
        owner = owner or self.world.owner
        state = view.read_truth(self.store, owner.vault, view.owner(owner.root, owner.sections, owner.patient))
        return {
            name: {local: [_told(version.operation) for version in versions] for local, versions in resources.items()}
            for name, resources in sorted(state.sections.items())
            if resources
        }

    def versions(self, source_id: str, authority: str = "klinik") -> dict[str, list[str]]:
        """Section -> number of each version of one thing ("2 deleted" for a tombstone)."""
        local = self.local(source_id, authority)
        found = {name: resources[local] for name, resources in self.record().items() if local in resources}
        return {name: [number for number, _ in told] for name, told in found.items()}

    def resource(self, source_id: str, authority: str = "klinik") -> Resource:
        """The newest version of one thing, as stored."""
        local = self.local(source_id, authority)
        (versions,) = [resources[local] for resources in self.record().values() if local in resources]
        made: Resource = loads(versions[-1][1])
        return made

    def aside(self, owner: Owner | None = None) -> dict[str, str]:
        """Item -> reason of what stands aside for the patient."""
        return {one["item"]: one["reason"] for one in self.opened(owner)}

    def opened(self, owner: Owner | None = None) -> list[Any]:
        """The patient's own look at the quarantine."""
        owner = owner or self.world.owner
        return list(quarantine.opened(self.store, owner.vault, partial(owner.seed, "unsorted")))

    def raw(self) -> bytes:
        """Every byte that the database has on disk."""
        return stored_bytes(self.store)

    def end(self, connection: str) -> None:
        self.connections.end(self.world.vault, connection, self.world.owner.root)

    def take_lease(self, connection: str) -> None:
        """What another process does that finds the lease run out."""
        with self.store.write() as session:
            session.exec(update(Connection).where(col(Connection.id) == connection).values(lease="another"))


def worker(world: World, registry: Registry, clock: Clock | None = None) -> Worker:
    return Worker(
        store=world.store,
        keys=world.worker,
        key_service=world.ring,
        registry=registry,
        table=TABLE,
        clock=clock or world.clock,
        client=without_tls,
        blobs=world.blobs,
    )


def _told(operation: Put | Delete) -> tuple[str, str]:
    if isinstance(operation, Put):
        return str(operation.version), operation.resource.decode()
    return f"{operation.version} deleted", ""


def second_owner(world: World, person: Person = ERIKA) -> Owner:
    """One more vault in the same store."""
    with world.store.read() as session:
        known = {row.id for row in session.exec(select(tables.Vault))}
    signed_up = world.accounts.sign_up(f"person-{len(known)}", "Noch ein langes Wort", person)
    world.accounts.prove_recovery(f"person-{len(known)}", signed_up.recovery_code)
    return signed_up.owner


@contextmanager
def broken_commits(number: int) -> Iterator[list[int]]:
    """The n-th transaction that writes fails at its very end: nothing of it is kept. Gives the count of those begun."""
    begun: list[int] = []
    whole = Store.write

    @contextmanager
    def write(store: Store, *names: str) -> Iterator[Session]:
        begun.append(1)
        mine = len(begun)
        with whole(store, *names) as session:
            yield session
            if mine == number:
                session.flush()
                raise KilledHere

    with patch.object(Store, "write", write):
        yield begun


class KilledHere(BaseException):
    """The process ends: nothing catches this."""


# --- what sources say


def patient(who: Person = ERIKA, source_id: str = "p1") -> Resource:
    numbers = {"identifier": [{"system": codes.KVNR, "value": who.kvnr}]} if who.kvnr else {}
    name = {"name": [{"family": who.family, "given": who.given.split()}], "birthDate": who.birth_date}
    return {"resourceType": "Patient", "id": source_id, **numbers, **name}


def observation(source_id: str = "o1", value: object = 7, patient: str = "Patient/p1") -> Resource:
    return {
        "resourceType": "Observation",
        "id": source_id,
        "status": "final",
        "code": {"coding": [{"system": codes.LOINC, "code": "4548-4"}]},
        "subject": {"reference": patient},
        "valueQuantity": {"value": value, "unit": "%"},
    }


def condition(code: str, source_id: str = "c1") -> Resource:
    return {
        "resourceType": "Condition",
        "id": source_id,
        "code": {"coding": [{"system": codes.ICD_10_GM, "code": code}]},
        "subject": {"reference": "Patient/p1"},
    }


def found(resource: Resource, who: Person | None = None, warnings: tuple[str, ...] = ()) -> Found:
    return Found(
        resource, origin(f"{resource['resourceType']}/{resource['id']}", dumps(resource)), _subject(who), warnings
    )


def deleted(source_id: str) -> Deleted:
    return Deleted(source_id.partition("/")[0], origin(source_id))


def skipped(
    source_id: str, reason: Reason = Reason.CHECKSUM, raw: bytes = b"raw bytes", who: Person | None = None
) -> Skipped:
    return Skipped(reason, origin(source_id, raw), raw, "The checksum is not the file's.", _subject(who))


def origin(source_id: str, raw: bytes = b"") -> Origin:
    return Origin.of(raw, locator=f"/fhir/{source_id}", source_id=source_id, fetched_at=START)


def batch(*items: Item | Resource, cursor: str | None = "1", listed: Sequence[str] | None = None) -> Batch:
    made = tuple(found(item) if isinstance(item, dict) else item for item in items)
    return Batch(made, Cursor(cursor) if cursor else None, frozenset(listed) if listed is not None else None)


def _subject(who: Person | None) -> Subject | None:
    if who is None:
        return None
    numbers = (Identifier(codes.KVNR, who.kvnr),) if who.kvnr else ()
    return Subject(identifiers=numbers, family=who.family, given=who.given, birth_date=who.birth_date)
