"""What an owner writes over HTTP: statuses, headers, conditions, and whose it is."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from aggregator.fhir import condition
from fhir_profiles.check import check
from fhir_profiles.profiles import AMENDS_URL
from fhir_profiles.text import Resource, loads
from tests.api.http_world import HttpWorld, consent
from tests.weaken import weakens

NEVER = "aaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb"
FHIR = {"Content-Type": "application/fhir+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
OBSERVATION = (
    b'{"resourceType":"Observation","status":"final","identifier":[{"system":"http://e.example","value":"1"}],'
    b'"code":{"coding":[{"system":"http://loinc.org","code":"2160-0"}]},"valueQuantity":{"value":0.40}}'
)
CONDITION = "Observation?identifier=http://e.example|1"


def send(
    world: HttpWorld, method: str, path: str, body: bytes | Resource | list[Any] | None = None, **headers: str
) -> httpx.Response:
    """As the owner; FHIR, where the headers say no other type."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = world.owner() | (FHIR if body is not None else {}) | named
    content = {"content": body} if isinstance(body, bytes) or body is None else {"json": body}
    return world.http.request(method, f"/fhir/{path}".rstrip("/"), headers=told, **content)  # type: ignore[arg-type]


def place(answer: httpx.Response) -> str:
    """Type and id of what was written."""
    return answer.headers["location"].partition("/fhir/")[2].partition("/_history")[0]


def created(world: HttpWorld, body: bytes = OBSERVATION) -> str:
    answer = send(world, "POST", loads(body)["resourceType"], body)
    assert answer.status_code == 201, answer.text
    return place(answer)


def theirs(world: HttpWorld, resource_type: str = "Observation") -> Resource:
    """A resource that the clinic wrote."""
    (entry, *_) = world.get(f"/fhir/{resource_type}?_count=1", world.owner()).json()["entry"]
    found: Resource = entry["resource"]
    assert found["meta"]["source"] == "urn:aggregator:source:klinik"
    return found


def test_create_read_update_delete(fresh: HttpWorld) -> None:
    first = send(fresh, "POST", "Observation", OBSERVATION)
    assert first.status_code == 201
    assert first.headers["etag"] == 'W/"1"'
    assert first.headers["last-modified"].endswith("GMT")
    assert b'"value":0.40' in first.content
    one = place(first)
    assert fresh.get(f"/fhir/{one}", fresh.owner()).content == first.content
    assert fresh.get(first.headers["location"], fresh.owner()).content == first.content
    second = send(fresh, "PUT", one, OBSERVATION, If_Match='W/"1"')
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    stale = send(fresh, "PUT", one, OBSERVATION, If_Match='W/"1"')
    assert (stale.status_code, stale.json()["issue"][0]["code"]) == (412, "conflict")
    assert send(fresh, "DELETE", one).status_code == 204
    assert send(fresh, "DELETE", one).status_code == 204
    assert fresh.get(f"/fhir/{one}", fresh.owner()).status_code == 410
    back = send(fresh, "PUT", one, OBSERVATION)
    assert (back.status_code, back.headers["etag"]) == (201, 'W/"4"')


def test_prefer_says_what_comes_back(fresh: HttpWorld) -> None:
    assert send(fresh, "POST", "Observation", OBSERVATION, Prefer="return=minimal").content == b""
    told = send(fresh, "POST", "Observation", OBSERVATION, Prefer="return=OperationOutcome").json()
    assert (told["resourceType"], told["issue"][0]["severity"]) == ("OperationOutcome", "information")
    assert check(told) == ()


def test_a_condition_is_judged_in_the_view(fresh: HttpWorld) -> None:
    query = CONDITION.partition("?")[2]
    first = send(fresh, "POST", "Observation", OBSERVATION, If_None_Exist=query)
    again = send(fresh, "POST", "Observation", OBSERVATION, If_None_Exist=query)
    assert (first.status_code, again.status_code) == (201, 200)
    assert place(first) == place(again)
    updated = send(fresh, "PUT", CONDITION, OBSERVATION)
    assert (updated.status_code, place(updated), updated.headers["etag"]) == (200, place(first), 'W/"2"')
    patched = send(fresh, "PATCH", CONDITION, [{"op": "replace", "path": "/status", "value": "amended"}], **JSON_PATCH)
    assert (patched.status_code, patched.json()["status"]) == (200, "amended")
    other = created(fresh)
    for answer in (
        send(fresh, "POST", "Observation", OBSERVATION, If_None_Exist=query),
        send(fresh, "PUT", CONDITION, OBSERVATION),
    ):
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (412, "multiple-matches")
    assert send(fresh, "DELETE", other).status_code == 204
    assert send(fresh, "DELETE", CONDITION).status_code == 204
    assert send(fresh, "DELETE", CONDITION).status_code == 204
    assert fresh.get(f"/fhir/{place(first)}", fresh.owner()).status_code == 410
    assert send(fresh, "PUT", CONDITION, OBSERVATION).status_code == 201


def test_all_that_a_condition_finds_is_deleted_or_nothing_is(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    both = created(fresh), created(fresh)
    for refused, status in (
        (send(fresh, "DELETE", "Observation?status=final"), 409),
        (_too_many(fresh, monkeypatch), 412),
    ):
        assert refused.status_code == status, refused.text
    assert [fresh.get(f"/fhir/{one}", fresh.owner()).status_code for one in both] == [200, 200]
    assert send(fresh, "DELETE", CONDITION).status_code == 204
    assert [fresh.get(f"/fhir/{one}", fresh.owner()).status_code for one in both] == [410, 410]


def _too_many(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    with monkeypatch.context() as narrow:
        narrow.setattr(condition, "MOST", 1)
        return send(world, "DELETE", CONDITION)


def test_any_version_is_one_that_has_not_ended(fresh: HttpWorld) -> None:
    one = created(fresh)
    assert send(fresh, "PUT", one, OBSERVATION, If_Match="*").status_code == 200
    assert send(fresh, "DELETE", one, If_Match="*").status_code == 204
    assert send(fresh, "PUT", one, OBSERVATION, If_Match="*").status_code == 412
    assert send(fresh, "PUT", CONDITION, OBSERVATION, If_Match="*").status_code == 412
    signed = fresh.consent("fremd")
    told = consent(fresh.patients["erika"], "fremd") | {"id": signed}
    assert send(fresh, "PUT", f"Consent/{signed}", told, If_Match="*").status_code == 200
    assert send(fresh, "POST", "Consent", consent(fresh.patients["erika"], "fremd"), If_Match="*").status_code == 412


def test_a_parameter_that_a_create_does_not_take_is_named(fresh: HttpWorld) -> None:
    refused = send(fresh, "POST", CONDITION, OBSERVATION, Prefer="handling=strict")
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["http.identifier"])
    told = send(fresh, "POST", CONDITION, OBSERVATION)
    assert told.status_code == 201
    assert [one.get("expression") for one in told.json()["issue"]] == [None, ["http.identifier"]]
    asked = send(fresh, "POST", f"{CONDITION}&_format=json", OBSERVATION, Prefer="return=representation")
    assert (asked.status_code, asked.json()["resourceType"]) == (201, "Observation")


@pytest.mark.parametrize("query", ["", "_count=1", "identifer=1", "code:below=x"])
def test_a_condition_that_is_not_understood_hits_nothing(shared: HttpWorld, query: str) -> None:
    assert send(shared, "DELETE", f"Observation?{query}").status_code == 400
    assert send(shared, "POST", "Observation", OBSERVATION, If_None_Exist=query).status_code == 400


def test_a_patch_of_either_kind(fresh: HttpWorld) -> None:
    one = created(fresh)
    first = send(fresh, "PATCH", one, [{"op": "add", "path": "/note", "value": [{"text": "n"}]}], **JSON_PATCH)
    assert (first.status_code, first.json()["note"]) == (200, [{"text": "n"}])
    assert b'"value":0.40' in first.content
    parts = [{"name": "type", "valueCode": "delete"}, {"name": "path", "valueString": "Observation.note"}]
    second = send(
        fresh,
        "PATCH",
        one,
        {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]},
        If_Match='W/"2"',
    )
    assert (second.status_code, "note" in second.json()) == (200, False)
    wrong = {
        400: [{"op": "rename", "path": "/note"}],
        422: [{"op": "remove", "path": "/status"}],
        412: [{"op": "test", "path": "/status", "value": "final"}],
    }
    for status, patch in wrong.items():
        match = {"If_Match": 'W/"2"'} if status == 412 else {}
        answer = send(fresh, "PATCH", one, patch, **JSON_PATCH, **match)
        assert answer.status_code == status, answer.text
    renamed = send(fresh, "PATCH", one, [{"op": "replace", "path": "/id", "value": "x"}], **JSON_PATCH)
    assert renamed.status_code == 400
    assert send(fresh, "PATCH", one, b"<diff/>", Content_Type="application/xml-patch+xml").status_code == 415


def test_what_is_wrong_is_told_with_its_place(shared: HttpWorld) -> None:
    answer = send(shared, "POST", "Observation", {"resourceType": "Observation", "status": "fertig"})
    assert answer.status_code == 422
    told = answer.json()
    assert {one["expression"][0] for one in told["issue"]} == {"Observation.status", "Observation.code"}
    assert check(told) == ()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "Ingredient", {"resourceType": "Ingredient"}, 422),  # R4B knows it, R4 does not
        ("POST", "Observation", {"resourceType": "Condition", "subject": {"display": "x"}}, 400),
        ("PUT", "Observation/my-id", OBSERVATION, 405),
        ("PUT", f"Observation/{NEVER}", OBSERVATION, 404),
        ("DELETE", f"Observation/{NEVER}", None, 404),
        ("PATCH", f"Observation/{NEVER}", [], 404),
        ("PUT", "Provenance/x", {"resourceType": "Provenance"}, 422),
        ("DELETE", "AuditEvent/x", None, 405),
        ("POST", "Patient", {"resourceType": "Patient"}, 405),
        ("DELETE", "Consent/x", None, 405),
    ],
)
def test_what_is_refused(shared: HttpWorld, method: str, path: str, body: Any, status: int) -> None:
    headers = JSON_PATCH if method == "PATCH" else {}
    answer = send(shared, method, path, body, **headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_the_id_in_the_body_is_the_one_in_the_url(fresh: HttpWorld) -> None:
    one, two = created(fresh), created(fresh)
    body = loads(OBSERVATION) | {"valueQuantity": {"value": 1}}
    assert send(fresh, "PUT", one, body | {"id": two.partition("/")[2]}).status_code == 400
    assert send(fresh, "PUT", one, body | {"id": one.partition("/")[2]}).status_code == 200


def test_own_addresses_are_stored_as_references(fresh: HttpWorld) -> None:
    subject = {"reference": f"{fresh.service.base_url}/fhir/Patient/{fresh.patients['erika']}"}
    body = loads(OBSERVATION) | {"valueQuantity": {"value": 1}, "subject": subject}
    assert send(fresh, "POST", "Observation", body).json()["subject"] == {
        "reference": f"Patient/{fresh.patients['erika']}"
    }


def test_over_a_sources_resource_an_amendment_stands(fresh: HttpWorld) -> None:
    found = theirs(fresh)
    one = f"Observation/{found['id']}"
    answer = send(fresh, "PUT", one, found | {"status": "amended"}, Prefer="return=OperationOutcome")
    assert answer.status_code == 201
    assert "stays as it is" in answer.json()["issue"][0]["diagnostics"]
    beside = fresh.get(f"/fhir/{place(answer)}", fresh.owner()).json()
    assert beside["meta"]["extension"] == [{"url": AMENDS_URL, "valueReference": {"reference": one}}]
    assert fresh.get(f"/fhir/{one}", fresh.owner()).json() == found
    assert fresh.sync()[0].stored == 0
    assert fresh.get(f"/fhir/{place(answer)}", fresh.owner()).json() == beside
    origin = fresh.get(f"/fhir/Provenance/{place(answer).partition('/')[2]}", fresh.owner()).json()
    assert origin["entity"] == [{"role": "revision", "what": {"reference": one}}]
    assert origin["agent"][0]["who"]["display"] == "owner"
    patched = send(fresh, "PATCH", one, [{"op": "test", "path": "/status", "value": "amended"}], **JSON_PATCH)
    assert (patched.status_code, place(patched)) == (200, place(answer))
    refused = send(fresh, "DELETE", one)
    assert (refused.status_code, refused.json()["issue"][0]["code"]) == (409, "business-rule")


def test_a_binary_is_written_as_it_is(fresh: HttpWorld) -> None:
    data = bytes(range(256)) * 100
    answer = send(fresh, "POST", "Binary", data, Content_Type="application/pdf")
    assert answer.status_code == 201
    read = fresh.http.get(answer.headers["location"].partition("/_history")[0], headers=fresh.owner())
    assert (read.content, read.headers["content-type"]) == (data, "application/pdf")
    again = send(fresh, "PUT", place(answer), b"kurz", Content_Type="text/plain")
    assert (again.status_code, again.headers["etag"]) == (200, 'W/"2"')
    assert fresh.http.get(f"/fhir/{place(answer)}", headers=fresh.owner()).content == b"kurz"


def test_what_was_written_has_a_receipt(fresh: HttpWorld) -> None:
    one = created(fresh)
    send(fresh, "DELETE", one)
    told = fresh.get("/fhir/AuditEvent?_count=200", fresh.owner()).json()["entry"]
    written = [
        entry["resource"]
        for entry in told
        if {"type": "receipt", "valueString": "written"} in entry["resource"]["entity"][0]["detail"]
    ]
    assert [entry["action"] for entry in written] == ["C", "D"]
    assert written[1]["entity"][0]["detail"][1] == {"type": "query", "valueString": one}
    assert all("You wrote" in entry["outcomeDesc"] for entry in written)


@pytest.mark.attack(1)
@weakens("aggregator.api.fhir.writing", "vault_of", lambda _: "")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_another_patients_id_is_as_one_that_never_was(fresh: HttpWorld, method: str) -> None:
    berta = fresh.http.post("/fhir/Observation", content=OBSERVATION, headers=fresh.owner("berta") | FHIR)
    body = {"PUT": OBSERVATION, "PATCH": b"[]", "DELETE": None}[method]
    headers = JSON_PATCH if method == "PATCH" else {}
    answers = [send(fresh, method, one, body, **headers) for one in (place(berta), f"Observation/{NEVER}")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    told = fresh.get("/fhir/AuditEvent?_count=200", fresh.owner("berta")).text
    assert '"refused"' in told


def test_a_provider_changes_nothing(fresh: HttpWorld) -> None:
    one = created(fresh)
    for who in ("praxis", "fremd"):
        headers = fresh.token(who, "system/*.cruds") | FHIR
        for method in ("PUT", "PATCH", "DELETE"):
            assert fresh.http.request(method, f"/fhir/{one}", content=OBSERVATION, headers=headers).status_code == 403
    assert fresh.get(f"/fhir/{one}", fresh.owner()).headers["etag"] == 'W/"1"'


def test_the_owner_corrects_the_one_patient(fresh: HttpWorld) -> None:
    one = f"Patient/{fresh.patients['erika']}"
    said = fresh.get(f"/fhir/{one}", fresh.owner()).json()
    answer = send(fresh, "PUT", one, said | {"gender": "female"}, If_Match='W/"1"')
    assert (answer.status_code, answer.headers["etag"], answer.json()["gender"]) == (200, 'W/"2"', "female")
    assert send(fresh, "PUT", one, said, If_Match='W/"1"').status_code == 412
    theirs_ = next(
        entry["resource"]["id"]
        for entry in fresh.get("/fhir/Patient?_count=9", fresh.owner()).json()["entry"]
        if entry["resource"]["id"] not in one
    )
    assert send(fresh, "PUT", f"Patient/{theirs_}", said | {"id": theirs_}).status_code == 405
    assert send(fresh, "PUT", f"Patient/{fresh.patients['berta']}", said).status_code == 404
    assert send(fresh, "DELETE", one).status_code == 405
    fresh.clock.advance(minutes=6)
    assert send(fresh, "PUT", one, said).status_code == 403
