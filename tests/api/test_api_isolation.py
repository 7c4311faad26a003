"""Nobody reads what no consent opens, and nobody learns that it exists."""

from __future__ import annotations

import pytest

from tests.api.http_world import HttpWorld
from tests.weaken import weakens

NEVER = "aaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb"
ROUTES = (
    "/fhir/Patient/{id}",
    "/fhir/Patient/{id}/$everything",
    "/fhir/Patient/{id}/$summary",
    "/fhir/Patient/{id}/$validate",
    "/fhir/Observation/$lastn?patient={id}&category=laboratory",
    "/fhir/DocumentReference/$docref?patient={id}",
    "/fhir/Patient/{id}/Observation",
    "/fhir/Observation?patient={id}",
    "/fhir/Observation?patient=Patient/{id}&_summary=count",
    "/fhir/Observation?subject={id}&_total=accurate",
    "/fhir/Patient?_id={id}",
    "/fhir/AuditEvent?patient={id}",
    "/fhir/Consent?patient={id}",
)


@pytest.mark.attack(1, 4, 9)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("who", ["praxis", "labor", "fremd", "erika"])
def test_another_patient_answers_like_one_that_never_was(shared: HttpWorld, route: str, who: str) -> None:
    caller = shared.owner("erika") if who == "erika" else shared.token(who)
    other = shared.get(route.format(id=shared.patients["berta"]), caller)
    never = shared.get(route.format(id=NEVER), caller)
    assert (other.status_code, other.content) == (404, never.content)
    assert never.status_code == 404


@pytest.mark.attack(3)
def test_a_registered_client_without_consent_reads_nothing(shared: HttpWorld) -> None:
    stranger = shared.token("fremd")
    assert shared.get(f"/fhir/Patient/{shared.patients['erika']}", stranger).status_code == 404
    answer = shared.get("/fhir/Observation", stranger)
    assert (answer.status_code, answer.json()["total"], "entry" in answer.json()) == (200, 0, False)


def test_each_grantee_sees_what_its_consent_opens(shared: HttpWorld) -> None:
    seen = {
        who: sorted({resource["resourceType"] for resource in shared.everything(caller)})
        for who, caller in {
            "erika": shared.owner(),
            "praxis": shared.token("praxis"),
            "labor": shared.token("labor"),
        }.items()
    }
    assert seen == {
        "erika": ["Condition", "Consent", "Encounter", "Observation", "Organization", "Patient", "Practitioner"],
        "praxis": ["Condition", "Encounter", "Observation", "Organization", "Patient", "Practitioner"],
        "labor": ["Observation", "Patient", "Practitioner"],
    }


def test_the_directory_shows_only_who_is_referred_to(shared: HttpWorld) -> None:
    names = [
        resource["name"][0]["family"]
        for resource in shared.everything(shared.token("labor"))
        if resource["resourceType"] == "Practitioner"
    ]
    assert names == ["Sommer"]


def test_the_patient_is_a_bare_name_where_identity_is_closed(shared: HttpWorld) -> None:
    whole = shared.patients["erika"]
    answer = shared.get(f"/fhir/Patient/{whole}", shared.token("labor"))
    assert answer.json() == {"resourceType": "Patient", "id": whole}


@pytest.mark.attack(15)
def test_references_to_what_is_hidden_are_masked(shared: HttpWorld) -> None:
    resources = shared.everything(shared.token("labor"))
    (first,) = [one for one in resources if one.get("effectiveDateTime") == "2026-03-01"]
    masked = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
    }
    assert first["encounter"] == masked
    assert first["meta"]["security"][-1]["code"] == "REDACTED"
    assert first["performer"][0]["display"] == "Dr. Sommer"
    assert first["valueQuantity"]["value"].text == "7.20"


@pytest.mark.attack(42)
def test_scopes_bound_what_a_token_does(shared: HttpWorld) -> None:
    caller = shared.token("praxis", scope="system/Observation.s system/Patient.cruds")
    whole = shared.patients["erika"]
    assert shared.get(f"/fhir/Observation?patient={whole}", caller).status_code == 200
    assert shared.get(f"/fhir/Condition?patient={whole}", caller).status_code == 403
    assert shared.get(f"/fhir/Patient/{whole}/$everything", caller).status_code == 403


@pytest.mark.attack(8)
@weakens("aggregator.api.app_routes.AppRoutes", "_told", lambda self, row: dict(self._service.worker.settings(row)))
def test_no_answer_holds_a_key_or_a_credential_of_a_source(shared: HttpWorld) -> None:
    caller = shared.owner()
    for path in ("/app/connections", "/app/sources", "/app/quarantine", "/fhir/AuditEvent", "/fhir/Provenance"):
        answer = shared.get(path, caller)
        assert answer.status_code == 200
        assert "clinic-token-of" not in answer.text


def test_what_belongs_to_the_owner_is_closed_to_clients(shared: HttpWorld) -> None:
    caller = shared.token("praxis")
    for path in ("/app/connections", "/app/quarantine"):
        assert shared.get(path, caller).status_code == 403
    for path in ("/fhir/AuditEvent", "/fhir/Provenance", "/fhir/Consent"):
        assert "entry" not in shared.get(f"{path}?patient={shared.patients['erika']}", caller).json()
