"""Bundles taken in over HTTP and in process."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.demo.clinic import Clinic
from aggregator.demo.fhir_server.refused import Refused
from fhir_profiles.text import Resource, dumps, loads
from tests.demo.clinic_world import Clock, World, bundle, expected, loaded_clinic, running


def _post(world: World, resource: Resource) -> Any:
    return world.plain(world.ask("POST", "/fhir", content=dumps(resource)))


def _transaction(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def _creates(resource: Resource, full_url: str = "", **request: str) -> Resource:
    asked = {"method": "POST", "url": resource["resourceType"], **request}
    return {**({"fullUrl": full_url} if full_url else {}), "resource": resource, "request": asked}


@pytest.mark.parametrize("name", ["directory", "patient"])
def test_a_bundle_is_answered_entry_by_entry(name: str) -> None:
    with running() as world:
        answers = {each: _post(world, bundle(each)) for each in ("directory", "patient")}
        assert answers[name] == expected(f"{name}-response")


def test_a_resource_comes_back_as_it_was_sent_but_for_id_meta_and_links() -> None:
    with running(loaded_clinic()) as world:
        patient = world.get("/fhir/Patient")["entry"][0]["resource"]["id"]
        assert world.get(f"/fhir/Observation?patient={patient}&_count=5&unknown=1") == expected("observation-search")


def test_load_says_what_became_of_each_entry() -> None:
    clinic = Clinic(Clock())
    directory = clinic.load(bundle("directory"), "directory.json")
    patient = clinic.load(bundle("patient"), "patient.json")
    told = [(one.index, one.resource_type, one.status, one.id is None) for one in directory + patient]
    assert told == [
        (0, "Organization", "201 Created", False),
        (1, "Practitioner", "201 Created", False),
        (2, "Organization", "200 OK", False),
        (3, "Location", "400 Bad Request", True),
        (0, "Patient", "201 Created", False),
        (1, "Observation", "201 Created", False),
        (2, "Condition", "201 Created", False),
        (3, "Provenance", "201 Created", False),
    ]
    assert directory[2].id == directory[0].id
    assert patient[2].id == "diabetes"
    assert patient[1].full_url == "urn:uuid:11111111-0000-4000-8000-000000000002"


def test_two_runs_with_the_same_files_give_the_same_ids_and_dates() -> None:
    later = Clock()
    later.now = later.now.replace(year=2027)
    with running(loaded_clinic()) as first, running(loaded_clinic(later), later) as second:
        one, other = (
            {
                kind: world.get(f"/fhir/{kind}")["entry"]
                for kind in ("Patient", "Observation", "Condition", "Provenance")
            }
            for world in (first, second)
        )
    assert one == other


def test_the_same_urn_in_two_bundles_is_two_resources() -> None:
    def of(family: str) -> Resource:
        return _transaction(_creates({"resourceType": "Patient", "name": [{"family": family}]}, "urn:uuid:1"))

    clinic = Clinic(Clock())
    ids = [clinic.load(of(name), f"{name}.json")[0].id for name in ("Muster", "Beispiel", "Beispiel")]
    assert len(set(ids)) == 3


def test_a_collection_is_created_entry_by_entry_and_its_links_follow() -> None:
    with running() as world:
        loaded = world.server.load(
            {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [
                    {"fullUrl": "https://a.example/fhir/Patient/p", "resource": {"resourceType": "Patient", "id": "p"}},
                    {"resource": {"resourceType": "Flag", "id": "f", "subject": {"reference": "Patient/p"}}},
                    {"resource": {"resourceType": "List", "entry": [{"item": {"reference": "Flag/f"}}]}},
                ],
            },
            "collection.json",
        )
        patient, flag, listed = (f"{one.resource_type}/{one.id}" for one in loaded)
        assert world.get(f"/fhir/{flag}")["subject"] == {"reference": patient}
        assert world.get(f"/fhir/{listed}")["entry"] == [{"item": {"reference": flag}}]
        assert "p" not in {one.id for one in loaded}


@given(number=st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_a_number_keeps_its_digits(number: str) -> None:
    sent = f'{{"resourceType":"Observation","valueQuantity":{{"value":{number}}}}}'
    loaded = Clinic(Clock()).load(_transaction(_creates(loads(sent))), "numbers.json")
    assert f'"value":{number}}}'.encode() in ((loaded[0].version and loaded[0].version.body) or b"")


def test_the_callers_bundle_is_left_as_it_is() -> None:
    clinic, given = Clinic(Clock()), bundle("patient")
    clinic.load(bundle("directory"), "directory.json")
    before = copy.deepcopy(given)
    clinic.load(given, "patient.json")
    assert given == before


def test_a_transaction_deletes_before_it_creates_and_creates_before_it_updates() -> None:
    group = {"resourceType": "Flag", "id": "flag", "identifier": [{"value": "once"}]}
    with running() as world:
        _post(world, _transaction({"resource": group, "request": {"method": "PUT", "url": "Flag/flag"}}))
        answer = _post(
            world,
            _transaction(
                {"resource": {**group, "id": "other"}, "request": {"method": "PUT", "url": "Flag/other"}},
                {"request": {"method": "DELETE", "url": "Flag/flag"}},
                {"request": {"method": "DELETE", "url": "Flag/never-was"}},
            ),
        )
        assert [entry["response"]["status"] for entry in answer["entry"]] == [
            "201 Created",
            "204 No Content",
            "204 No Content",
        ]
        assert world.get("/fhir/Flag")["total"] == 1


def test_conditional_writes_find_what_is_there() -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "7"}]}
    with running() as world:
        put = {"method": "PUT", "url": "Patient?identifier=urn:x|7"}
        statuses = [
            _post(world, _transaction({"resource": patient, "request": put}))["entry"][0]["response"]["status"]
            for _ in range(2)
        ]
        once = world.ask(
            "POST", "/fhir/Patient", content=dumps(patient), headers={"If-None-Exist": "identifier=urn:x|7"}
        )
        assert (statuses, once.status_code) == (["201 Created", "200 OK"], 200)
        found = world.get("/fhir/Patient?identifier=urn:x|7")
        assert [entry["resource"]["meta"]["versionId"] for entry in found["entry"]] == ["2"]


_GOOD = _creates({"resourceType": "Patient", "identifier": [{"value": "bystander"}]}, "urn:uuid:good")
_REFUSED = {
    "no object": (["x"], 400, "entry 1 is not an object"),
    "no method": ([{"resource": {"resourceType": "Flag"}}], 400, "entry 1 asks for no POST, PUT or DELETE"),
    "get": ([{"request": {"method": "GET", "url": "Flag/1"}}], 400, "entry 1 asks for no POST, PUT or DELETE"),
    "no type": ([_creates({"resourceType": ""})], 400, "entry 1 has no resource type"),
    "other type": (
        [_creates({"resourceType": "Flag"}, url="Goal")],
        400,
        "entry 1 holds another type than its url",
    ),
    "no resource": (
        [{"resource": "x", "request": {"method": "POST", "url": "Flag"}}],
        400,
        "entry 1 holds another type than its url",
    ),
    "meta": (
        [_creates({"resourceType": "Flag", "meta": []})],
        400,
        "entry 1 has a meta that is not an object",
    ),
    "create at id": ([_creates({"resourceType": "Flag"}, url="Flag/1")], 400, "entry 1 creates at an id"),
    "put without id": (
        [_creates({"resourceType": "Flag"}, method="PUT")],
        400,
        "entry 1 names no id",
    ),
    "put to other id": (
        [_creates({"resourceType": "Flag", "id": "a"}, method="PUT", url="Flag/b")],
        400,
        "entry 1 has another id than its url",
    ),
    "one fullUrl twice": ([_creates({"resourceType": "Flag"}, "urn:uuid:good")], 400, "two entries have one fullUrl"),
    "one id twice": (
        [_creates({"resourceType": "Flag", "id": "a"}, method="PUT", url="Flag/a")] * 2,
        400,
        "two entries write one resource",
    ),
    "condition matches nothing": (
        [_creates({"resourceType": "Flag", "author": {"reference": "Patient?identifier=none"}})],
        412,
        "a conditional reference to Patient matches nothing",
    ),
    "condition matches several": (
        [_creates({"resourceType": "Flag", "author": {"reference": "Patient?identifier=twin"}})],
        412,
        "a condition on Patient matches several resources",
    ),
    "other condition": (
        [_creates({"resourceType": "Flag", "author": {"reference": "Patient?name=x"}})],
        400,
        "a condition is one identifier=system|value",
    ),
}


@pytest.fixture(scope="module")
def refusing() -> Iterator[World]:
    """A clinic that holds two patients with one identifier; what is refused leaves it as it is."""
    twin = {"resourceType": "Patient", "identifier": [{"value": "twin"}]}
    with running() as world:
        _post(world, _transaction(_creates(twin), _creates(twin)))
        yield world


@pytest.mark.parametrize("name", _REFUSED)
def test_one_bad_entry_refuses_a_whole_transaction(refusing: World, name: str) -> None:
    entries, status, text = _REFUSED[name]
    answer = refusing.ask("POST", "/fhir", content=dumps(_transaction(_GOOD, *entries)))
    assert (answer.status_code, answer.json()["issue"][0]["diagnostics"]) == (status, text)
    assert refusing.get("/fhir/Patient?identifier=bystander")["total"] == 0


def test_one_bad_entry_of_a_batch_leaves_the_others(refusing: World) -> None:
    entries: list[Any] = [
        "x",
        {"resource": "x", "request": "x"},
        {"request": {"method": "DELETE", "url": "Flag/never-was"}},
        _creates({"resourceType": "Flag", "author": {"reference": "Patient?identifier=twin"}}),
        _creates({"resourceType": "Flag", "author": {"reference": "Flag/1"}}),
    ]
    answer = _post(refusing, {"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert [entry["response"]["status"] for entry in answer["entry"]] == [
        "400 Bad Request",
        "400 Bad Request",
        "204 No Content",
        "412 Precondition Failed",
        "201 Created",
    ]


def test_a_refused_transaction_is_an_error_in_process_too() -> None:
    clinic = Clinic(Clock())
    with pytest.raises(Refused, match="matches nothing") as refused:
        clinic.load(bundle("patient"), "patient.json")
    assert refused.value.line == "412 Precondition Failed"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<html>", "application/fhir+json", 400),
        (b'{"resourceType":"Bundle","resourceType":"Bundle"}', "application/fhir+json", 400),
        (b"[" * 200 + b"]" * 200, "application/fhir+json", 400),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "application/fhir+json", 400),
        (b'{"resourceType":"Patient"}', "application/fhir+json", 400),
        (b'{"resourceType":"Bundle","entry":[]}', "application/fhir+json", 400),
        (b'{"resourceType":"Bundle","type":"batch-response"}', "application/fhir+json", 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":{}}', "application/fhir+json", 400),
        (b"<Bundle/>", "application/fhir+xml", 400),
        (b"{}", "text/csv", 415),
    ],
)
def test_what_is_no_bundle_is_refused(refusing: World, body: bytes, kind: str, status: int) -> None:
    answer = refusing.ask("POST", "/fhir", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
