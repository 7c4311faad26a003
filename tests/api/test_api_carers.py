"""A carer is a grantee: whom a Consent names by the record they have here reads that far, and does nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.codes import RECORD
from fhir_profiles.text import Resource
from tests.api.http_world import PASSWORD, HttpWorld, classes
from tests.weaken import weakens

FAMILY = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "FAMRQT"}]


def vault(world: HttpWorld, login: str) -> str:
    return world.patients[login].partition(".")[0]


def person(world: HttpWorld, login: str) -> list[dict[str, Any]]:
    """provision.actor that names somebody by their record."""
    role = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PRCP"}]}
    return [{"role": role, "reference": {"identifier": {"system": RECORD, "value": vault(world, login)}}}]


def let(world: HttpWorld, login: str = "berta", **provision: Any) -> str:
    """Erika lets a person read; returns the Consent's id."""
    return world.consent("", actor=person(world, login), purpose=FAMILY, **provision)


def observations(world: HttpWorld, login: str = "berta") -> tuple[int, Any]:
    """Erika's, as this person is answered: (status, total)."""
    answer = world.get(f"/fhir/Observation?patient={world.patients['erika']}", world.owner(login))
    return answer.status_code, answer.json().get("total")


def receipts(world: HttpWorld, by: str) -> list[Resource]:
    """Erika's receipts of what this party did."""
    found = world.get("/fhir/AuditEvent?_count=200", world.owner()).json()["entry"]
    events = [entry["resource"] for entry in found]
    return [one for one in events if one["agent"][0]["who"]["identifier"]["value"] == by]


def test_a_carer_reads_what_the_consent_opens_and_the_receipts_name_them(fresh: HttpWorld) -> None:
    let(fresh, **{"class": classes("results")})
    assert observations(fresh) == (200, 3)
    found = fresh.everything(fresh.owner("berta"))
    assert {one["resourceType"] for one in found} <= {"Observation", "DiagnosticReport", "Patient", "Practitioner"}
    mine = receipts(fresh, f"person/{vault(fresh, 'berta')}")
    assert {one["agent"][0]["name"] for one in mine} == {"Erika Anders"}
    assert {one["purposeOfEvent"][0]["coding"][0]["code"] for one in mine} == {"FAMRQT"}
    told = [detail for one in mine for detail in one["entity"][0]["detail"]]
    assert any(one["type"].startswith("withheld-") for one in told)
    assert any(one["type"] == "consent" for one in told)


def test_a_search_without_a_patient_is_the_carers_own_record(fresh: HttpWorld) -> None:
    before = fresh.get("/fhir/Observation", fresh.owner("berta")).json()["total"]
    let(fresh)
    assert fresh.get("/fhir/Observation", fresh.owner("berta")).json()["total"] == before


def test_records_lists_what_may_be_read_with_names_where_identity_is_open(fresh: HttpWorld) -> None:
    def listed() -> list[dict[str, Any]]:
        told = fresh.get("/app/records", fresh.owner("berta")).json()["records"]
        return [one for one in told if not one["own"]]

    assert listed() == []
    let(fresh, **{"class": classes("results")})
    bare = {"vault": vault(fresh, "erika"), "patient": fresh.patients["erika"], "own": False}
    assert listed() == [bare]
    let(fresh, **{"class": classes("identity")})
    assert listed()[0]["name"][0]["family"] == "Muster"


@pytest.mark.attack(1)
@weakens("aggregator.api.caller.Principal", "toward", lambda self, _: self)
@pytest.mark.parametrize(
    "path", ["Patient/{}", "Observation?patient={}", "Patient/{}/$everything", "AuditEvent?patient={}"]
)
def test_who_is_not_named_gets_the_404_of_a_record_that_never_was(fresh: HttpWorld, path: str) -> None:
    let(fresh)
    fresh.sign_up("carla", "Fremd", "1970-01-01")
    never = fresh.get("/fhir/" + path.format("a" * 26 + "." + "b" * 26), fresh.owner("carla"))
    answer = fresh.get("/fhir/" + path.format(fresh.patients["erika"]), fresh.owner("carla"))
    assert (answer.status_code, answer.content) == (never.status_code, never.content)
    assert answer.status_code == 404
    (refused,) = receipts(fresh, f"person/{vault(fresh, 'carla')}")
    assert refused["outcome"] == "8"


def test_a_carer_signs_connects_and_ends_nothing(fresh: HttpWorld) -> None:
    signed = let(fresh)
    theirs, erika = fresh.owner("berta"), fresh.patients["erika"]
    told = fresh.get(f"/fhir/Consent/{signed}", fresh.owner()).json()
    assert fresh.http.put(f"/fhir/Consent/{signed}", json=told, headers=theirs).status_code == 404
    assert fresh.http.post("/fhir/Consent", json=told, headers=theirs).status_code == 422
    assert fresh.http.delete("/app/grants/praxis", headers=theirs).json() == {"ended": 0}
    assert fresh.get(f"/fhir/Observation?patient={erika}", fresh.token("praxis")).status_code == 200
    assert {one["status"] for one in fresh.get("/app/connections", theirs).json()["connections"]} == {"fresh"}


@pytest.mark.parametrize("resource_type", ["AuditEvent", "Provenance"])
def test_receipts_and_origins_are_the_owners_alone(fresh: HttpWorld, resource_type: str) -> None:
    let(fresh)
    answer = fresh.get(f"/fhir/{resource_type}?patient={fresh.patients['erika']}", fresh.owner("berta"))
    assert answer.json().get("entry", []) == []
    one = fresh.get(f"/fhir/{resource_type}", fresh.owner("erika")).json()["entry"][0]["resource"]["id"]
    assert fresh.get(f"/fhir/{resource_type}/{one}", fresh.owner("berta")).status_code == 404


@pytest.mark.attack(17)
@weakens("aggregator.audit.receipts.Condition", "__eq__", lambda *_: True)
def test_what_is_taken_back_is_closed_at_once(fresh: HttpWorld) -> None:
    """The weakened build takes every receipt, whatever the vault's versions are: the held view answers on."""
    let(fresh)
    assert observations(fresh)[0] == 200
    ended = fresh.http.delete(f"/app/grants/person/{vault(fresh, 'berta')}", headers=fresh.owner())
    assert ended.json() == {"ended": 1}
    assert observations(fresh)[0] == 404
    let(fresh)  # named anew
    assert observations(fresh)[0] == 200


@pytest.mark.attack(18)
def test_the_period_ends_while_the_view_is_open(fresh: HttpWorld) -> None:
    let(fresh, period={"start": "2026-01-01", "end": "2026-11-21T21:33:00+01:00"})
    assert observations(fresh)[0] == 200
    fresh.clock.advance(minutes=3, seconds=1)
    assert observations(fresh)[0] == 404


def test_for_other_purposes_a_person_reads_nothing(fresh: HttpWorld) -> None:
    fresh.consent("", actor=person(fresh, "berta"))  # for treatment
    assert observations(fresh)[0] == 404


def test_after_signing_out_a_carer_reads_nothing(fresh: HttpWorld) -> None:
    let(fresh)
    assert observations(fresh)[0] == 200
    told = {"login": "berta", "password": PASSWORD}
    again = fresh.http.post("/auth/sign-in", json=told).json()["token"]
    assert fresh.http.post("/auth/sign-out", headers=fresh.owner("berta")).status_code == 204
    assert observations(fresh)[0] == 401
    fresh.owners["berta"] = again
    assert observations(fresh)[0] == 200
