"""What a patient takes back is closed at once: for open views, pages, and periods that end while a view is open."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest
from sqlmodel import select

from aggregator import application
from aggregator.api.access import Access
from aggregator.api.caller import Callers
from aggregator.errors import RolledBack, Stale
from aggregator.identity.grants import Grants
from aggregator.vault import tables
from aggregator.vault.tables import GrantIntent
from tests.api.http_world import PASSWORD, HttpWorld, classes, consent
from tests.weaken import weakens


def _inactive(world: HttpWorld, whole_id: str, client: str) -> None:
    told = consent(world.patients["erika"], client) | {"id": whole_id, "status": "inactive"}
    answer = world.http.put(f"/fhir/Consent/{whole_id}", json=told, headers=world.owner())
    assert answer.status_code == 200, answer.text


@pytest.mark.attack(17)
@weakens("aggregator.api.access", "Condition", lambda *_: None)
def test_a_revocation_closes_an_open_page(fresh: HttpWorld) -> None:
    signed = fresh.consent("fremd")
    caller, whole = fresh.token("fremd"), fresh.patients["erika"]
    page = fresh.get(f"/fhir/Observation?patient={whole}&_count=1", caller).json()
    following = next(link["url"] for link in page["link"] if link["relation"] == "next")
    _inactive(fresh, signed, "fremd")
    never = fresh.get("/fhir/Observation?patient=aaaaaaaaaaaaaaaaaaaaaaaaaa.x", caller)
    for path in (following, f"/fhir/Observation?patient={whole}", f"/fhir/Patient/{whole}"):
        answer = fresh.get(path, caller)
        assert (answer.status_code, answer.content) == (404, never.content)


@pytest.mark.attack(17)
@weakens("aggregator.api.access", "Condition", lambda *_: None)
def test_a_narrower_consent_narrows_the_open_view(fresh: HttpWorld) -> None:
    caller, whole = fresh.token("labor"), fresh.patients["erika"]
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).json()["total"] == 3
    deny = {"type": "deny", "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]}
    fresh.consent("labor", **deny)
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code in (200, 404)
    assert "entry" not in fresh.get(f"/fhir/Observation?patient={whole}", caller).json()


@pytest.mark.attack(18)
@weakens("aggregator.consent.grant", "boundaries", lambda *_: None)
def test_a_consent_that_ends_while_a_view_is_open(fresh: HttpWorld) -> None:
    fresh.consent("fremd", period={"start": "2026-01-01", "end": "2026-11-21T21:33:00+01:00"})
    caller, whole = fresh.token("fremd"), fresh.patients["erika"]
    assert fresh.get(f"/fhir/Condition?patient={whole}", caller).json()["total"] == 1
    fresh.clock.advance(minutes=3, seconds=1)
    assert "entry" not in fresh.get(f"/fhir/Condition?patient={whole}", caller).json()


@pytest.mark.attack(25, 27)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None, about=(25,))
def test_an_old_grant_row_put_back_opens_nothing(fresh: HttpWorld) -> None:
    signed = fresh.consent("fremd")
    vault = fresh.patients["erika"].partition(".")[0]
    with fresh.service.store.read() as session:
        old = [row.model_dump() for row in session.exec(select(tables.Grant).where(tables.Grant.vault == vault))]
    _inactive(fresh, signed, "fremd")
    with fresh.service.store.write() as session:
        session.add_all(tables.Grant(**row) for row in old)
    assert fresh.get(f"/fhir/Condition?patient={fresh.patients['erika']}", fresh.token("fremd")).status_code == 404


def test_a_grant_ends_without_a_fresh_unlock(fresh: HttpWorld) -> None:
    fresh.clock.advance(minutes=10)
    answer = fresh.http.put("/fhir/Consent/x.y", json=consent(fresh.patients["erika"], "labor"), headers=fresh.owner())
    assert answer.status_code == 404
    answer = fresh.http.post("/fhir/Consent", json=consent(fresh.patients["erika"], "labor"), headers=fresh.owner())
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (403, "security")
    assert fresh.http.delete("/app/grants/labor", headers=fresh.owner()).json() == {"ended": 1}
    assert fresh.get(f"/fhir/Observation?patient={fresh.patients['erika']}", fresh.token("labor")).status_code == 404
    assert fresh.get(f"/fhir/Observation?patient={fresh.patients['erika']}", fresh.token("praxis")).status_code == 200


def test_a_view_follows_what_a_sync_brings(fresh: HttpWorld) -> None:
    caller, whole = fresh.token("labor"), fresh.patients["erika"]
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).json()["total"] == 3
    fresh.clinic.load(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "resource": {
                        "resourceType": "Observation",
                        "id": "neu",
                        "status": "final",
                        "category": [
                            {
                                "coding": [
                                    {
                                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                                        "code": "laboratory",
                                    }
                                ]
                            }
                        ],
                        "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
                        "subject": {"reference": "Patient/a"},
                    },
                    "request": {"method": "PUT", "url": "Observation/neu"},
                }
            ],
        },
        "new",
    )
    fresh.sync()
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).json()["total"] == 4


def test_a_sensitive_section_opens_when_it_is_named(fresh: HttpWorld) -> None:
    from pathlib import Path

    from fhir_profiles.text import loads

    fresh.clinic.load(loads(Path(__file__).with_name("hidden.json").read_bytes()), "hidden")
    fresh.sync()
    fresh.consent("fremd", **{"class": classes("mental-health")})
    found = {one["resourceType"] for one in fresh.everything(fresh.token("fremd"))}
    assert found == {"Condition", "MedicationRequest", "Observation", "Patient", "Practitioner"}


@pytest.mark.attack(49)
@weakens("aggregator.application", "_finish", lambda _: None)
def test_a_revocation_that_a_full_disk_stopped_is_finished_without_a_restart(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant's row is gone and its key is not: nobody asks again, and the key ends all the same."""
    monkeypatch.setattr(application, "_SWEEP_SECONDS", 0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(fresh.service.key_service), "destroy_grant", _disk_full)
        assert fresh.http.delete("/app/grants/praxis", headers=fresh.owner()).status_code == 507
        assert _intents(fresh) == 1
    asyncio.run(_swept(fresh))
    assert _intents(fresh) == 0


def _disk_full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def _intents(world: HttpWorld) -> int:
    with world.service.store.read() as session:
        return len(session.exec(select(GrantIntent)).all())


async def _swept(world: HttpWorld) -> None:
    """The sweep of a serving process, until the intent is gone or two seconds are over."""
    access = Access(world.service)
    sweeping = asyncio.create_task(application._sweep(world.service, access, Callers(world.service, print)))
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not _intents(world):
            break
    sweeping.cancel()


async def _unsettled(_: object, owner: object) -> object:
    return owner


@pytest.mark.attack(25)
@weakens("aggregator.api.auth_routes", "settled", _unsettled)
def test_the_keys_change_at_the_next_sign_in_and_who_may_read_reads_on(fresh: HttpWorld) -> None:
    """Views that are open meanwhile are opened anew, with the grant's newer seeds."""
    fresh.clock.advance(minutes=10)
    path, praxis = f"/fhir/Observation?patient={fresh.patients['erika']}", fresh.token("praxis")
    before = fresh.get(path, praxis).json()["total"]
    assert fresh.http.delete("/app/grants/labor", headers=fresh.owner()).json() == {"ended": 1}
    assert _epoch(fresh) == 1
    for _ in range(2):
        assert fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).status_code == 200
        assert _epoch(fresh) == 2
    assert fresh.get(path, praxis).json()["total"] == before
    assert fresh.get(path, fresh.token("labor")).status_code == 404
    assert fresh.get(path, fresh.owner()).json()["total"] >= before  # an owner session from before is as good as ever
    with fresh.service.store.read() as session:
        made = session.get_one(tables.Snapshot, fresh.patients["erika"].partition(".")[0])
    assert set(orjson.loads(made.manifest)["epochs"].values()) == {2}


def test_a_vault_whose_keys_cannot_be_changed_is_still_its_owners(
    fresh: HttpWorld, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.clock.advance(minutes=10)
    assert fresh.http.delete("/app/grants/labor", headers=fresh.owner()).json() == {"ended": 1}
    with fresh.service.store.write() as session:
        session.get_one(tables.Vault, fresh.patients["erika"].partition(".")[0]).epochs_signature = bytes(64)
    with caplog.at_level(logging.WARNING):
        assert fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).status_code == 200
    told = (
        "sign-in: what waits for a vault's owner could not be done: the signature of a stored list of epochs is wrong"
    )
    assert told in caplog.messages


def _epoch(world: HttpWorld) -> int:
    with world.service.store.read() as session:
        return session.get_one(tables.Vault, world.patients["erika"].partition(".")[0]).epoch


@pytest.mark.parametrize("error", [Stale("the vault has moved on"), RolledBack()])
def test_a_sign_in_does_not_wait_for_keys_that_cannot_change_now(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> bool:
        raise error

    monkeypatch.setattr(Grants, "settle", fails)
    assert fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).status_code == 200
