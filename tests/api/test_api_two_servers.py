"""Two servers on one database and one key ring: what one of them takes back, the other's very next answer refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from aggregator.app import open_service
from aggregator.application import create_app
from aggregator.config import Config
from aggregator.demo.server import serve
from aggregator.vault import tables
from fhir_profiles.codes import RECORD
from tests.api.http_world import HttpWorld
from tests.api.second_server import second_server
from tests.weaken import weakens

OBSERVATION = {
    "resourceType": "Observation",
    "id": "neu",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
    "category": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
    ],
    "subject": {"reference": "Patient/a"},
}


@pytest.fixture
def servers(fresh: HttpWorld, tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two processes beside the test's own."""
    config = fresh.service.config
    with second_server(config, tmp_path) as one, second_server(config, tmp_path) as other:
        yield one, other


def observations(world: HttpWorld, server: httpx.Client, who: Mapping[str, str]) -> tuple[int, Any]:
    """(status, total)"""
    answer = server.get(f"/fhir/Observation?patient={world.patients['erika']}", headers=dict(who))
    return answer.status_code, answer.json().get("total")


def grants(world: HttpWorld) -> list[dict[str, Any]]:
    with world.service.store.read() as session:
        vault = world.patients["erika"].partition(".")[0]
        return [row.model_dump() for row in session.exec(select(tables.Grant).where(tables.Grant.vault == vault))]


@pytest.mark.attack(17, 25, 27)
def test_revoked_through_one_process_refused_by_the_others_next_answer(
    fresh: HttpWorld, servers: tuple[httpx.Client, httpx.Client]
) -> None:
    one, other = servers
    praxis, labor = fresh.token("praxis"), fresh.token("labor")
    for server in servers:
        assert observations(fresh, server, praxis) == observations(fresh, server, labor) == (200, 3)
    before = grants(fresh)
    assert one.delete("/app/grants/praxis", headers=fresh.owner()).json() == {"ended": 1}
    assert observations(fresh, other, praxis)[0] == 404
    assert observations(fresh, one, praxis)[0] == 404
    assert observations(fresh, other, labor) == (200, 3)
    with fresh.service.store.write() as session:  # who has the database puts the old rows back
        for row in before:
            session.merge(tables.Grant(**row))
    assert observations(fresh, other, praxis)[0] == 404
    assert observations(fresh, one, praxis)[0] == 404


@pytest.mark.attack(17)
def test_a_carer_and_what_a_sync_brings(fresh: HttpWorld, servers: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = servers
    role = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PRCP"}]}
    berta = fresh.patients["berta"].partition(".")[0]
    actor = [{"role": role, "reference": {"identifier": {"system": RECORD, "value": berta}}}]
    family = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "FAMRQT"}]
    fresh.consent("", actor=actor, purpose=family)
    for server in servers:
        assert observations(fresh, server, fresh.owner("berta")) == (200, 3)
        assert observations(fresh, server, fresh.owner()) == (200, 3)
    entry = {"resource": OBSERVATION, "request": {"method": "PUT", "url": "Observation/neu"}}
    fresh.clinic.load({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}, "new")
    fresh.sync()  # a third process's, as seen from both
    for server in servers:
        assert observations(fresh, server, fresh.owner("berta")) == (200, 4)
        assert observations(fresh, server, fresh.owner()) == (200, 4)
    assert one.delete(f"/app/grants/person/{berta}", headers=fresh.owner()).json() == {"ended": 1}
    assert observations(fresh, other, fresh.owner("berta"))[0] == 404


@pytest.mark.attack(17)
@weakens("aggregator.audit.receipts.Condition", "__eq__", lambda *_: True)
def test_the_receipts_condition_is_what_stops_the_other_server(fresh: HttpWorld) -> None:
    """In one process, so that the weakened build is both servers': there the held view answers on."""
    config = Config(**fresh.service.config.model_dump())
    second = open_service(config, fresh.clock)
    praxis = fresh.token("praxis")
    with serve(create_app(second)) as running, httpx.Client(base_url=running.url, timeout=30) as other:
        assert observations(fresh, other, praxis) == (200, 3)
        assert fresh.http.delete("/app/grants/praxis", headers=fresh.owner()).json() == {"ended": 1}
        status = observations(fresh, other, praxis)[0]
    second.close()
    assert status == 404
