"""What a patient does beside FHIR: sources, connections, what stands aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import SourceSettings
from aggregator.sync.registry import Source, load
from fhir_profiles.text import Resource
from tests.api.http_world import HttpWorld
from tests.databases import stored_bytes

WRONG: Resource = {
    "resourceType": "Observation",
    "id": "falsch",
    "status": "final",
    "code": {"text": "HbA1c"},
    "subject": {"reference": "Patient/a"},
    "valueQuantity": {"value": "7.2"},
}


def _load(world: HttpWorld, resource: Resource) -> None:
    request = {"method": "PUT", "url": f"Observation/{resource['id']}"}
    entry = [{"resource": resource, "request": request}]
    world.clinic.load({"resourceType": "Bundle", "type": "transaction", "entry": entry}, "wrong")


def test_a_connection_says_in_words_how_fresh_it_is(shared: HttpWorld) -> None:
    (told,) = shared.get("/app/connections", shared.owner()).json()["connections"]
    assert (told["source"], told["status"], told["error"]) == ("klinik", "fresh", "")
    assert told["in_words"] == {"de": "Die Daten sind aktuell.", "en": "The data are up to date."}
    assert told["last_success"] == "2026-11-21T20:30:00+00:00"


def test_what_stands_aside_opens_for_the_patient_and_comes_back_when_mended(fresh: HttpWorld) -> None:
    _load(fresh, WRONG)
    fresh.sync()
    (aside,) = fresh.get("/app/quarantine", fresh.owner()).json()["items"]
    assert (aside["reason"], aside["detail"]) == (
        "invalid",
        "Observation.valueQuantity.value: expects a JSON number, found string",
    )
    assert '"value":"7.2"' in aside["raw"]
    assert fresh.get("/app/quarantine", fresh.owner("berta")).json()["items"] == []
    _load(fresh, WRONG | {"valueQuantity": {"value": 7}})
    fresh.sync()
    assert fresh.get("/app/quarantine", fresh.owner()).json()["items"] == []


def test_pull_again_is_asked_of_ones_own_connection_alone(fresh: HttpWorld) -> None:
    (told,) = fresh.get("/app/connections", fresh.owner()).json()["connections"]
    assert told["next"] is not None
    path = f"/app/connections/{told['id']}/again"
    assert fresh.http.post(path, headers=fresh.owner("berta")).status_code == 400
    assert fresh.http.post(path, headers=fresh.owner()).status_code == 202
    assert fresh.get("/app/connections", fresh.owner()).json()["connections"][0]["next"] is None


def test_a_connection_that_ended_is_pulled_no_more(fresh: HttpWorld) -> None:
    (told,) = fresh.get("/app/connections", fresh.owner()).json()["connections"]
    path = f"/app/connections/{told['id']}"
    assert fresh.http.delete(path, headers=fresh.owner("berta")).status_code == 400
    assert fresh.http.delete(path, headers=fresh.owner()).status_code == 204
    assert [outcome.connection for outcome in fresh.sync()] != [told["id"]]
    assert fresh.get("/app/connections", fresh.owner()).json()["connections"] == []
    assert fresh.get("/fhir/Observation", fresh.owner()).json()["total"] == 3


@pytest.mark.parametrize("source", ["charite", "Klinik", "sources", "../klinik"])
def test_a_source_that_is_not_configured_is_told_and_no_other_is_named(shared: HttpWorld, source: str) -> None:
    body = {"source": source, "account": {}}
    answer = shared.http.post("/app/connections", json=body, headers=shared.owner())
    told = answer.json()["issue"][0]["diagnostics"]
    assert (answer.status_code, told) == (400, "there is no such source; GET /app/sources lists those there are")


@pytest.mark.attack(20)
def test_a_connection_whose_source_is_gone_from_the_settings_is_still_told(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh.service.registry, "_sources", {})
    fresh.sync()
    (told,) = fresh.get("/app/connections", fresh.owner()).json()["connections"]
    assert (told["source"], told["title"], told["status"]) == ("klinik", "klinik", "broken")
    assert told["error"] == "there is no source of that name in the settings"
    assert b"klinik" not in stored_bytes(fresh.service.store)


def test_nothing_is_connected_before_the_recovery_code_is_proven(fresh: HttpWorld) -> None:
    told = {"login": "carla", "password": "Korrekt Pferd Batterie", "family": "C", "given": "Carla"}
    made = fresh.http.post("/auth/sign-up", json=told | {"birth_date": "1999-09-09"}).json()
    body = {"source": "klinik", "account": {"patient_id": "a"}}
    headers = {"Authorization": f"Bearer {made['token']}"}
    answer = fresh.http.post("/app/connections", json=body, headers=headers)
    assert answer.status_code == 400
    assert "recovery code" in answer.json()["issue"][0]["diagnostics"]


def test_sign_up_names_what_is_missing(shared: HttpWorld) -> None:
    answer = shared.http.post("/auth/sign-up", json={"login": "x", "password": "y", "family": "z", "given": "g"})
    assert (answer.status_code, answer.json()["issue"][0]["diagnostics"]) == (400, "birth_date: a string is needed")


def test_a_feed_says_in_words_how_the_patient_was_identified(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connector = {"folder": str(tmp_path), "authority_system": "https://labor.example/tests"}

    def configure(level: str) -> None:
        told = {"connector": "practice_ldt", "settings": connector, "identity_level": level}
        feed = Source("labor", SourceSettings(**told), load("practice_ldt"))
        monkeypatch.setitem(fresh.service.registry._sources, "labor", feed)

    def told() -> Resource:
        made = fresh.get("/app/connections", fresh.owner()).json()["connections"]
        (one,) = [one["verification"] for one in made if one["source"] == "labor"]
        assert [one["verification"] for one in made if one["source"] != "labor"] == [None]
        return dict(one)

    configure("substantial")
    owner = fresh.service.accounts.owner(fresh.owners["erika"])
    code = fresh.service.connections.issue_code("labor", fresh.service.signing.signer(owner).person)
    assert fresh.http.post("/app/activations", json={"code": code}, headers=fresh.owner()).status_code == 201
    assert told() == {
        "method": "activation-code",
        "level": "substantial",
        "by": "labor",
        "at": "2026-11-21T21:30:00+01:00",
        "enough": True,
        "in_words": {
            "de": "Sie wurden am 21.11.2026 mit einem Aktivierungscode identifiziert (Vertrauensniveau substanziell).",
            "en": "Your identity was verified by an activation code on 2026-11-21 (level of assurance: substantial).",
        },
    }
    configure("high")
    assert told()["enough"] is False
    assert told()["in_words"]["de"].endswith("bitten Sie die Praxis um einen neuen Aktivierungscode.")
    assert "now asks for level high" in told()["in_words"]["en"]
