"""An owner's open view whose snapshot another node wrote anew answers all the same: it is opened again."""

from __future__ import annotations

from sqlmodel import col, delete

from aggregator.vault import snapshot, tables, truth
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
    """As the owner's opening would, had it found the log one envelope longer."""
    service, owner = world.service, world.service.accounts.owner(world.owners["erika"])
    reader = views.owner(owner.root, owner.sections, owner.patient)
    with service.store.write() as session:
        found = truth.read(session, truth.head(session, owner.vault, reader.verification_key), reader.seeds)
        before = snapshot.stored(session, owner.vault)
        snapshot.write(session, views._snapshot(found, reader, owner.root))
        session.exec(delete(tables.ImageRow).where(col(tables.ImageRow.vault) == owner.vault))
        assert snapshot.stored(session, owner.vault) != before
