"""What a provider adds: create only, blind, about this patient alone, and with its receipt."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlmodel import select

from aggregator.api.deposits import Deposits
from aggregator.vault import tables
from fhir_profiles.codes import KVNR
from fhir_profiles.text import Resource
from tests.api.http_world import PASSWORD, HttpWorld, classes
from tests.weaken import weakens

COLLECT = {
    "action": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "collect"}]}]
}
BOTH = {"action": [*COLLECT["action"], {"coding": [{**COLLECT["action"][0]["coding"][0], "code": "access"}]}]}
LABORATORY = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}
NEVER = "aaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb"


def observation(world: HttpWorld, code: str = "2160-0", **changed: Any) -> Resource:
    made = {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [LABORATORY]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{world.patients['erika']}"},
    }
    return made | changed


def send(world: HttpWorld, resource: Resource, who: dict[str, str] | None = None) -> httpx.Response:
    """As the client that may create, where no other is given."""
    whose = who or world.token("fremd", "system/*.crs")
    return world.http.post(f"/fhir/{resource['resourceType']}", json=resource, headers=whose)


def bundle(kind: str, *resources: Resource, **entry: Any) -> Resource:
    def one(resource: Resource) -> Resource:
        request = {"method": "POST", "url": resource["resourceType"]} if kind == "transaction" else None
        return {"resource": resource} | ({"request": request} if request else {}) | entry

    return {"resourceType": "Bundle", "type": kind, "entry": [one(resource) for resource in resources]}


def found(world: HttpWorld, resource_type: str = "Observation") -> list[Resource]:
    """What the owner reads, of what this client added."""
    told = world.get(f"/fhir/{resource_type}?_count=100", world.owner()).json().get("entry", [])
    own = [entry["resource"] for entry in told]
    return [one for one in own if one["meta"].get("source") == "urn:aggregator:source:party/fremd"]


def receipts(world: HttpWorld, kind: str) -> list[Resource]:
    told = world.get("/fhir/AuditEvent?_count=200", world.owner()).json()["entry"]
    mine = [one["resource"] for one in told if one["resource"]["agent"][0]["who"]["identifier"]["value"] == "fremd"]
    return [one for one in mine if {"type": "receipt", "valueString": kind} in one["entity"][0]["detail"]]


def test_what_is_added_is_in_the_record_and_not_read_back(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    answer = send(fresh, observation(fresh))
    assert (answer.status_code, answer.content) == (201, b"")
    (one,) = found(fresh)
    where = f"{fresh.service.base_url}/fhir/Observation/{one['id']}/_history/1"
    assert (answer.headers["location"], answer.headers["etag"]) == (where, 'W/"1"')
    for path in (f"Observation/{one['id']}", f"Observation?patient={fresh.patients['erika']}"):
        assert fresh.get(f"/fhir/{path}", fresh.token("fremd")).status_code == 404
    origin = fresh.get(f"/fhir/Provenance?target=Observation/{one['id']}", fresh.owner()).text
    assert "party/fremd" in origin
    (receipt,) = receipts(fresh, "deposited")
    assert receipt["action"] == "C"
    assert {"type": "added", "valueString": "1"} in receipt["entity"][0]["detail"]
    assert any(one["type"] == "consent" for one in receipt["entity"][0]["detail"])


def test_the_same_content_twice_is_stored_once(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    first, second = send(fresh, observation(fresh)), send(fresh, observation(fresh, id="mine"))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == second.headers["location"]
    assert send(fresh, observation(fresh, "2345-7")).status_code == 201
    assert len(found(fresh)) == 2


def test_who_may_also_read_reads_what_it_added(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **BOTH)
    place = send(fresh, observation(fresh)).headers["location"].partition("/_history")[0]
    answer = fresh.http.get(place, headers=fresh.token("fremd"))
    assert (answer.status_code, answer.json()["code"]["coding"][0]["code"]) == (200, "2160-0")


def test_a_condition_is_judged_in_what_the_provider_may_read(fresh: HttpWorld) -> None:
    unless = {"If-None-Exist": "code=1234-5"}
    fresh.consent("fremd", **COLLECT)
    assert send(fresh, observation(fresh, "1234-5"), fresh.token("fremd", "system/*.crs") | unless).status_code == 404
    fresh.consent("fremd", **BOTH)
    who = fresh.token("fremd", "system/*.crs") | unless
    assert send(fresh, observation(fresh, "1234-5"), fresh.token("fremd", "system/*.cr") | unless).status_code == 403
    first = send(fresh, observation(fresh, "1234-5"), who)
    again = send(fresh, observation(fresh, "1234-5", status="amended"), who)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"] == again.headers["location"]
    assert len(found(fresh)) == 1


@pytest.mark.parametrize("kind", ["collection", "transaction"])
def test_a_bundle_is_added_whole_and_points_to_itself(fresh: HttpWorld, kind: str) -> None:
    fresh.consent("fremd", **COLLECT)
    subject = {"reference": f"Patient/{fresh.patients['erika']}"}
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "Labor"},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}],
        "subject": subject,
        "result": [{"reference": "urn:uuid:8a2a3c5e-0f0e-4d9a-9a0e-1d0e0a0b0c0d"}],
    }
    sent = bundle(kind, observation(fresh), report)
    sent["entry"][0]["fullUrl"] = "urn:uuid:8a2a3c5e-0f0e-4d9a-9a0e-1d0e0a0b0c0d"
    answer = fresh.http.post("/fhir", json=sent, headers=fresh.token("fremd", "system/*.c"))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["type"] == "transaction-response"
    (one,), (other,) = found(fresh), found(fresh, "DiagnosticReport")
    assert other["result"] == [{"reference": f"Observation/{one['id']}"}]
    assert [entry["response"]["location"].partition("/_history")[0] for entry in told["entry"]] == [
        f"Observation/{one['id']}",
        f"DiagnosticReport/{other['id']}",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"request": {"method": "PUT", "url": "Observation/x"}},
        {"request": {"method": "DELETE", "url": "Observation/x"}},
        {"request": {"method": "POST", "url": "Observation", "ifNoneExist": "code=x"}},
        {"request": {"method": "POST", "url": "Condition"}},
        {"request": None},
    ],
)
def test_nothing_but_creates_is_taken(fresh: HttpWorld, entry: dict[str, Any]) -> None:
    fresh.consent("fremd", **COLLECT)
    sent = bundle("transaction", observation(fresh), **entry)
    assert fresh.http.post("/fhir", json=sent, headers=fresh.token("fremd", "system/*.c")).status_code == 400
    place = send(fresh, observation(fresh)).headers["location"].partition("/_history")[0]
    told = fresh.token("fremd", "system/*.cruds")
    assert fresh.http.put(place, json=observation(fresh), headers=told).status_code == 403
    assert fresh.http.delete(place, headers=told).status_code == 403


@pytest.mark.attack(1, 3)
@pytest.mark.parametrize("provision", [None, {}, {"type": "deny", **COLLECT}], ids=["nothing", "to read", "a deny"])
def test_without_the_permission_it_is_as_if_there_were_no_such_patient(
    fresh: HttpWorld, provision: dict[str, Any] | None
) -> None:
    if provision is not None:
        fresh.consent("fremd", **provision)
    answer = send(fresh, observation(fresh))
    never = send(fresh, observation(fresh, subject={"reference": f"Patient/{NEVER}"}))
    assert (answer.status_code, answer.content) == (404, never.content)
    assert never.status_code == 404
    assert found(fresh) == []
    assert len(receipts(fresh, "refused")) == 1


@pytest.mark.attack(42)
@weakens("aggregator.api.caller.Principal", "require", lambda *_: None)
def test_the_token_must_say_so(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    assert send(fresh, observation(fresh), fresh.token("fremd", "system/*.rs")).status_code == 403
    assert send(fresh, observation(fresh), fresh.token("fremd", "system/Condition.c")).status_code == 403
    assert found(fresh) == []


def refused_whole(world: HttpWorld, **changed: Any) -> None:
    """In a Bundle beside something that is about this patient: all or nothing."""
    world.consent("fremd", **COLLECT)
    sent = bundle("collection", observation(world), observation(world, "2345-7", **changed))
    answer = world.http.post("/fhir", json=sent, headers=world.token("fremd", "system/*.c"))
    assert answer.status_code == 422
    assert found(world) == []
    assert receipts(world, "deposited") == []
    assert world.get("/app/quarantine", world.owner()).json()["items"] == []


ANOTHER = {"resourceType": "Patient", "id": "p", "name": [{"family": "Anders"}], "birthDate": "1950-01-01"}


@pytest.mark.attack(55, 57)
@weakens("aggregator.sync.deposit", "_refuse_unnamed", lambda _: None, about=(55, 57))
@pytest.mark.parametrize("said", [{"identifier": {"system": KVNR, "value": "Z999999999"}}, {"display": "Uwe Anders"}])
def test_who_is_named_by_what_cannot_be_compared_could_be_anybody(fresh: HttpWorld, said: dict[str, Any]) -> None:
    refused_whole(fresh, subject=said)


@pytest.mark.attack(55, 57)
@weakens("aggregator.sync.normalise.Normaliser", "_whose", lambda *_: None, about=(55, 57))
def test_what_is_about_a_group_is_refused(fresh: HttpWorld) -> None:
    refused_whole(fresh, subject={"reference": "Group/all"})


@pytest.mark.attack(55, 57)
@pytest.mark.parametrize(
    "changed",
    [
        {"contained": [ANOTHER], "subject": {"reference": "#p"}},
        {"subject": {"reference": "https://elsewhere.example/fhir/Patient/1"}},
    ],
    ids=["inside", "elsewhere"],
)
def test_what_is_about_another_patient_is_refused(fresh: HttpWorld, changed: dict[str, Any]) -> None:
    refused_whole(fresh, **changed)


@pytest.mark.attack(55)
def test_two_patients_in_one_bundle_are_nobodys(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    other = {"reference": f"Patient/{fresh.patients['berta']}"}
    sent = bundle("collection", observation(fresh), observation(fresh, subject=other))
    assert fresh.http.post("/fhir", json=sent, headers=fresh.token("fremd", "system/*.c")).status_code == 400


@pytest.mark.attack(56)
@weakens("aggregator.api.deposits", "NOT_ADDED", frozenset())
@pytest.mark.parametrize("kind", ["Consent", "Patient"])
def test_consents_and_patients_are_not_added_by_others(fresh: HttpWorld, kind: str) -> None:
    signed = fresh.consent("fremd", **COLLECT)
    told = fresh.get(f"/fhir/Consent/{signed}", fresh.owner()).json()
    theirs = (
        told if kind == "Consent" else {"resourceType": "Patient", "name": [{"family": "Muster", "given": ["Erika"]}]}
    )
    theirs |= {"birthDate": "1957-08-13"} if kind == "Patient" else {}
    sent = bundle("collection", observation(fresh), theirs)
    assert fresh.http.post("/fhir", json=sent, headers=fresh.token("fremd", "system/*.c")).status_code == 400
    assert fresh.http.post("/fhir/Consent", json=told, headers=fresh.token("fremd", "system/*.c")).status_code == 403


@weakens("aggregator.consent.deposit.Permits", "__call__", lambda *_: True)
def test_only_what_the_consent_names_is_taken(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT, **{"class": classes("results")})
    subject = {"reference": f"Patient/{fresh.patients['erika']}"}
    condition = {"resourceType": "Condition", "code": {"text": "Husten"}, "subject": subject}
    assert send(fresh, condition).status_code == 403
    assert send(fresh, observation(fresh)).status_code == 201


def test_what_is_not_fhir_is_told(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    answer = send(fresh, observation(fresh, status="perhaps"))
    assert answer.status_code == 422
    assert "Observation.status" in answer.text
    assert send(fresh, {**observation(fresh), "subject": {"display": "Erika"}}).status_code == 400
    assert found(fresh) == []


@pytest.mark.attack(17, 25, 27)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None, about=(25,))
def test_an_ended_deposit_stays_ended_though_its_row_comes_back(fresh: HttpWorld) -> None:
    """The weakened key service keeps the key: then the old row writes again."""
    fresh.consent("fremd", **COLLECT)
    assert send(fresh, observation(fresh)).status_code == 201
    with fresh.service.store.read() as session:
        rows = [row.model_dump() for row in session.exec(select(tables.Mandate)) if row.grantee]
    assert fresh.http.delete("/app/grants/fremd", headers=fresh.owner()).json() == {"ended": 1}
    assert send(fresh, observation(fresh, "2345-7")).status_code == 404
    with fresh.service.store.write() as session:
        for row in rows:
            session.merge(tables.Mandate(**row))
    assert send(fresh, observation(fresh, "2345-7")).status_code == 404
    assert len(found(fresh)) == 1


@pytest.mark.attack(17)
@weakens("aggregator.audit.receipts.Condition", "__eq__", lambda *_: True)
def test_what_ends_between_opening_and_commit_is_not_written(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.consent("fremd", **COLLECT)
    opened = Deposits._opened

    def ended_meanwhile(self: Deposits, *given: Any) -> Any:
        made = opened(self, *given)
        fresh.service.grants.stop(fresh.patients["erika"].partition(".")[0], "fremd")
        return made

    monkeypatch.setattr(Deposits, "_opened", ended_meanwhile)
    assert send(fresh, observation(fresh)).status_code == 404
    assert found(fresh) == []


def test_after_a_rotation_it_is_sealed_for_the_new_epoch(fresh: HttpWorld) -> None:
    fresh.consent("fremd", **COLLECT)
    assert fresh.http.delete("/app/grants/praxis", headers=fresh.owner()).json() == {"ended": 1}
    assert send(fresh, observation(fresh)).status_code == 201
    assert fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).status_code == 200
    assert send(fresh, observation(fresh)).status_code == 200
    assert len(found(fresh)) == 1
