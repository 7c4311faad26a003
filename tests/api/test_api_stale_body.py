"""An owner's open view whose snapshot another node wrote anew answers all the same: it is opened again."""

from __future__ import annotations

from sqlmodel import col, delete, select

from aggregator.vault import tables
from aggregator.vault import view as views
from fhir_profiles.text import loads
from tests.api.http_world import HttpWorld


def test_a_snapshot_written_anew_under_an_open_view_costs_no_answer(fresh: HttpWorld) -> None:
    whole = fresh.patients["erika"]
    before = fresh.get(f"/fhir/Patient/{whole}", fresh.owner())
    _write_anew(fresh)
    found = fresh.get(f"/fhir/Observation?patient={whole}", fresh.owner())
    assert (before.status_code, found.status_code) == (200, 200)
    assert loads(found.content)["total"] > 0


def _write_anew(world: HttpWorld) -> None:
    service, owner = world.service, world.service.accounts.owner(world.owners["erika"])
    reader = views.owner(owner.root, owner.sections, owner.patient)
    mine = col(tables.Snapshot.vault) == owner.vault
    with service.store.write() as session:
        old = session.exec(select(tables.Snapshot.manifest).where(mine)).one()
        session.exec(delete(tables.ImageRow).where(col(tables.ImageRow.vault) == owner.vault))
    views.open_view(service.store, owner.vault, reader, service.indexer, owner.root).close()
    with service.store.read() as session:
        assert session.exec(select(tables.Snapshot.manifest).where(mine)).one() != old
