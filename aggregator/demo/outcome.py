"""What `aggregator demo --once --json` says: one object, the same in a second run but for seconds, receipts and
stored_bytes.

Counts of a patient are those of the owner's view, counts of a provider those of what the provider was answered over
HTTP. Neither counts Provenance, AuditEvent and Consent, which tell of the record and are not it, nor Binary, which is
a part of what points to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlmodel import col, func, select

from aggregator.audit.receipts import SYSTEM
from aggregator.demo.account import Account, account_for, raw_bytes
from aggregator.demo.door import Door, new_client
from aggregator.demo.residents import SignedIn
from aggregator.demo.world import SignedInProvider, World
from aggregator.sync.run import Outcome
from aggregator.vault import blob_rows
from aggregator.vault import view as views
from aggregator.vault.tables import Vault
from fhir_profiles.profiles import SECTIONS

_NOT_CLINICAL = ("Provenance", "AuditEvent", "Consent", "Binary")
_BY_SECTION = """
SELECT section.name, count(*) FROM resource JOIN section ON section.id = resource.section
WHERE NOT EXISTS (SELECT 1 FROM kind WHERE kind.type IN (?, ?, ?, ?) AND resource.rid BETWEEN kind.first AND kind.last)
GROUP BY section.name
"""


async def outcome(world: World) -> dict[str, Any]:
    """The object. Raises AggregatorError."""
    patients = [_patient(world, one) for one in world.patients]
    resources = {row["id"]: row["resources"] for row in patients}
    async with new_client() as client:
        door = Door(client, world.base_url)
        rows = [row async for row in _providers(door, world, resources)]
    accounts = [account_for(world, one) for one in world.patients]
    told = {
        "seconds": round(world.seconds, 3),
        "sources": _sources(world),
        "patients": patients,
        "providers": rows,
        "data": _data(world, accounts),
        "receipts": _receipts(world),
        "stored_bytes": _stored_bytes(world),
        "raw_bytes": await raw_bytes(world, accounts),
    }
    return {name: value for name, value in told.items() if value is not None}


def _sources(world: World) -> list[dict[str, Any]]:
    """A row for each connection, and one for each feed itself: what it holds that belongs to nobody known."""
    people = {connection: one for one in world.patients for connection in one.connections}
    rows = [_source(outcome, people.get(outcome.connection)) for outcome in world.outcomes]
    order = [one.resident.short for one in world.patients]
    return sorted(rows, key=lambda row: _place(row["connection"], order))


def _place(connection: str, order: list[str]) -> tuple[str, int]:
    authority, _, short = connection.partition("/")
    return authority, order.index(short) if short in order else -1


def _source(outcome: Outcome, patient: SignedIn | None) -> dict[str, Any]:
    row = {
        "connection": f"{outcome.authority}/{patient.resident.short}" if patient else outcome.authority,
        "connector": outcome.connector,
        "patient": patient.id if patient else None,
        "found": outcome.found,
        "stored": outcome.stored,
        "unchanged": outcome.unchanged,
        "quarantined": outcome.quarantined,
        "deleted": outcome.deleted,
        "status": outcome.status,
    }
    return row | ({"error": outcome.error} if outcome.error else {})


def _patient(world: World, patient: SignedIn) -> dict[str, Any]:
    service = world.served.service
    owner = service.accounts.owner(patient.token)
    reader = views.owner(owner.root, owner.sections, owner.patient)
    view = views.open_view(service.store, owner.vault, reader, service.indexer, owner.root)
    try:
        counted: Mapping[str, int] = dict(view.image.select(_BY_SECTION, _NOT_CLINICAL))
    finally:
        view.close()
    return {
        "id": patient.id,
        "name": patient.resident.name,
        "resources": sum(counted.values()),
        "sections": {name: counted.get(name, 0) for name in SECTIONS},
    }


async def _providers(door: Door, world: World, resources: Mapping[str, int]) -> AsyncIterator[dict[str, Any]]:
    for provider in world.providers:
        for patient in world.patients:
            if any(one == provider.provider for one, _ in patient.resident.consents):
                visible = await _visible(door, provider, patient)
                yield {
                    "name": provider.provider.name,
                    "patient": patient.id,
                    "visible": visible,
                    "withheld": resources[patient.id] - visible,
                }


async def _visible(door: Door, provider: SignedInProvider, patient: SignedIn) -> int:
    shown = 0
    async for resource in door.everything(provider.token, patient.id):
        shown += resource["resourceType"] not in _NOT_CLINICAL
    return shown


def _data(world: World, accounts: list[Account]) -> dict[str, int] | None:
    """`refused`: files of the folder that are no Bundle or were not taken; None without a data folder."""
    data = world.served.data
    if data is None:
        return None
    by_short = {account.patient.resident.short: account for account in accounts}
    found = [by_short[one.short].entries(one.entries) for one in data.patients]
    stored, quarantined = sum(one["stored"] for one in found), sum(one["quarantined"] for one in found)
    entries = sum(len(one.entries) for one in data.patients) + data.lost
    return {
        "bundles": data.bundles,
        "entries": entries,
        "stored": stored,
        "quarantined": quarantined,
        "missing": entries - stored - quarantined,
    }


def _receipts(world: World) -> int:
    with world.served.service.store.read() as session:
        total = session.exec(select(func.sum(Vault.audit_position)).where(col(Vault.id) != SYSTEM)).one()
    return int(total or 0)


def _stored_bytes(world: World) -> int:
    """The database once its write-ahead log is folded in, and the blobs beside it."""
    store = world.served.service.store
    store.checkpoint()
    return store.size() + blob_rows.stored_bytes(store)
