"""The operations over HTTP: by GET and by POST, what they need, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests.api.http_world import HttpWorld

LABORATORY = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"


def parameters(**given: str) -> Resource:
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, "valueString": value} for name, value in given.items()],
    }


def body(world: HttpWorld, path: str, who: dict[str, str], told: Resource | None = None) -> Any:
    answer = world.http.post(path, json=told, headers=who) if told is not None else world.get(path, who)
    assert answer.status_code == 200, answer.text
    found = loads(answer.content)
    assert check(found) == ()
    return found


def ids(bundle: Resource) -> list[str]:
    return [entry["resource"].get("id", "made on demand") for entry in bundle.get("entry", ())]


@pytest.mark.parametrize("who", ["praxis", "labor", "erika"])
def test_by_post_it_is_the_same(shared: HttpWorld, who: str) -> None:
    caller, whole = shared.owner() if who == "erika" else shared.token(who), shared.patients["erika"]
    for path, given in [
        (f"/fhir/Patient/{whole}/$everything", {"_type": "Observation", "start": "2026"}),
        ("/fhir/Patient/$everything", {"_count": "3"}),
        ("/fhir/Observation/$lastn", {"patient": whole, "category": LABORATORY, "max": "2"}),
        ("/fhir/DocumentReference/$docref", {"patient": f"Patient/{whole}"}),
    ]:
        query = "&".join(f"{name}={value}" for name, value in given.items())
        got, posted = body(shared, f"{path}?{query}", caller), body(shared, path, caller, parameters(**given))
        assert ids(got) == ids(posted)
        assert ids(got)


def test_everything_of_the_one_record_that_is_open(shared: HttpWorld) -> None:
    whole = shared.patients["erika"]
    for caller in (shared.token("praxis"), shared.owner()):
        assert ids(body(shared, "/fhir/Patient/$everything?_count=500", caller)) == ids(
            body(shared, f"/fhir/Patient/{whole}/$everything?_count=500", caller)
        )
    assert shared.get("/fhir/Patient/$everything", shared.token("fremd")).status_code == 404


def test_everything_of_several_names_the_way(fresh: HttpWorld) -> None:
    fresh.consent("praxis", login="berta")
    answer = fresh.get("/fhir/Patient/$everything", fresh.token("praxis"))
    assert answer.status_code == 400
    assert "$export" in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize("who", ["praxis", "labor", "erika"])
def test_the_summary_holds_what_the_caller_sees(shared: HttpWorld, who: str) -> None:
    caller, whole = shared.owner() if who == "erika" else shared.token(who), shared.patients["erika"]
    everything = {f"{one['resourceType']}/{one['id']}" for one in shared.everything(caller)}
    made = body(shared, f"/fhir/Patient/{whole}/$summary", caller)
    assert made["type"] == "document"
    shown = {"/".join(entry["fullUrl"].split("/")[-2:]) for entry in made["entry"][2:]}
    assert shown <= everything
    again = body(shared, f"/fhir/Patient/{whole}/$summary", caller, parameters(profile=PROFILE))
    assert again["identifier"] != made["identifier"]
    assert [one["fullUrl"] for one in again["entry"][2:]] == [one["fullUrl"] for one in made["entry"][2:]]


PROFILE = "http://hl7.org/fhir/uv/ips/StructureDefinition/Composition-uv-ips"

REFUSED: dict[str, tuple[int, str]] = {
    "/fhir/Patient/{p}/$summary?profile=http://other.example": (400, "profile: not known here"),
    "/fhir/Observation/$lastn?category=laboratory": (400, "patient: name one patient"),
    "/fhir/Observation/$lastn?patient={p}": (400, "code: $lastn needs category or code"),
    "/fhir/Observation/$lastn?patient={p}&subject=x.y&category=a": (400, "patient: name one patient"),
    "/fhir/DocumentReference/$docref": (400, "patient: name one patient"),
    "/fhir/Patient/{p}/$everything?start=2026-02-30": (400, "start: not a date"),
    "/fhir/Patient/$nothing": (404, "there is nothing here"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_refused_by_name(shared: HttpWorld, path: str) -> None:
    answer = shared.get(path.format(p=shared.patients["erika"]), shared.token("praxis"))
    status, text = REFUSED[path]
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
    assert text in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize("path", ["/fhir/Patient/{p}/$summary", "/fhir/Patient/{p}/$everything"])
def test_who_may_read_one_type_alone_gets_no_whole_record(shared: HttpWorld, path: str) -> None:
    narrow = shared.token("praxis", scope="system/Observation.rs")
    assert shared.get(path.format(p=shared.patients["erika"]), narrow).status_code == 403
    whole = shared.patients["erika"]
    assert shared.get(f"/fhir/Observation/$lastn?patient={whole}&category=laboratory", narrow).status_code == 200
    assert shared.get(f"/fhir/DocumentReference/$docref?patient={whole}", narrow).status_code == 403


def test_a_strangers_body_is_not_read(shared: HttpWorld) -> None:
    whole = shared.patients["erika"]
    for path in (f"/fhir/Patient/{whole}/$summary", "/fhir/Observation/$lastn", "/fhir/Basic/$validate"):
        answer = shared.http.post(path, content=b"{", headers={"Content-Type": "application/fhir+json"})
        assert answer.status_code == 401


def test_validate_stores_nothing(shared: HttpWorld) -> None:
    caller, before = shared.token("praxis"), shared.everything(shared.owner())
    basic = {"resourceType": "Basic", "code": {"text": "x"}}
    found = body(shared, "/fhir/Basic/$validate", caller, basic)
    assert [one["severity"] for one in found["issue"]] == ["information"]
    wrong = body(shared, "/fhir/Basic/$validate", caller, {"resourceType": "Basic"})
    assert [one["severity"] for one in wrong["issue"]] == ["error"]
    assert shared.everything(shared.owner()) == before


def test_validate_of_an_instance_needs_to_see_it(shared: HttpWorld) -> None:
    caller, whole = shared.token("praxis"), shared.patients["erika"]
    path = f"/fhir/Patient/{whole}/$validate"
    assert body(shared, path, caller)["issue"][0]["severity"] == "information"
    patient = {"resourceType": "Patient", "id": whole}
    assert body(shared, f"{path}?mode=update", caller, patient)["issue"][0]["severity"] == "information"
    assert shared.http.post(f"{path}?mode=delete", headers=caller).status_code == 200
    assert shared.http.post(path, json=patient, headers=shared.token("fremd")).status_code == 404
