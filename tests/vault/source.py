"""A source in memory: a connector of the contract that shows what a test gives it, and a worker that syncs from it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import httpx

from aggregator.config import SourceSettings
from aggregator.sync.connect import Connections
from aggregator.sync.registry import Registry, Source
from aggregator.sync.run import Outcome, Worker, run
from connectors.contract import (
    Batch,
    Clock,
    Connector,
    ConnectorSpec,
    Cursor,
    Found,
    Item,
    Kind,
    Origin,
    Reason,
    Settings,
    Skipped,
)
from fhir_profiles.text import Resource, dumps
from tests.vault.world import START, TABLE, World

AUTHORITY = "fachklinik-am-see"


class Account(Settings):
    """What one patient's account at the source takes."""

    patient_id: str
    bearer_token: str


class Memory(Connector):
    """Shows its items in one batch."""

    def __init__(self, items: Sequence[Item], cursor: str) -> None:
        self._batch = Batch(tuple(items), Cursor(cursor))

    async def check(self) -> None:
        """It always answers."""

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        _ = cursor  # a source may repeat itself, and this one always does
        yield self._batch


class OneSource(Registry):
    """A registry of this source alone: no entry point is looked up."""

    def __init__(self, items: Sequence[Item], cursor: str) -> None:
        def connect(_settings: Account, _client: httpx.AsyncClient, _clock: Clock) -> Connector:
            return Memory(items, cursor)

        spec = ConnectorSpec(
            name="memory",
            version="1",
            title="Memory",
            config=Account,
            connect=connect,
            kind=Kind.ACCOUNT,
            resource_types=("Patient", "Observation", "Condition", "Organization"),
            incremental=True,
            reports_deletions=True,
            min_interval=timedelta(minutes=1),
            account=frozenset({"patient_id", "bearer_token"}),
            account_id="patient_id",
        )
        self._sources = {AUTHORITY: Source(AUTHORITY, SourceSettings(connector="memory"), spec)}


def found(resource: Resource, locator: str = "") -> Found:
    return Found(resource, _origin(dumps(resource), f"{resource['resourceType']}/{resource['id']}", locator))


def skipped(raw: bytes, detail: str, locator: str) -> Skipped:
    return Skipped(Reason.UNREADABLE, _origin(raw, "Observation/unreadable", locator), raw, detail)


def _origin(raw: bytes, source_id: str, locator: str) -> Origin:
    sha256 = hashlib.sha256(raw).hexdigest()
    return Origin(locator=locator or source_id, source_id=source_id, fetched_at=START, sha256=sha256)


def without_tls() -> httpx.AsyncClient:
    """For a source that asks nothing of the network: to read every authority's certificate takes longer than a pull."""
    return httpx.AsyncClient(verify=False)


async def sync(world: World, items: Sequence[Item], account: dict[str, Any], cursor: str) -> Outcome:
    """Connect the world's owner to a source with these items, and pull it once, by the service's own run."""
    registry = OneSource(items, cursor)
    worker = Worker(
        store=world.store,
        keys=world.worker,
        key_service=world.ring,
        registry=registry,
        table=TABLE,
        clock=world.clock,
        client=without_tls,
        blobs=world.blobs,
    )
    connections = Connections(worker)
    connection = connections.connect(world.signing.signer(world.owner), AUTHORITY, account)
    return await run(worker, connection)
