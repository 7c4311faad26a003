"""Reads, searches and pages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.demo.fhir_server import search
from aggregator.demo.fhir_server.access import Caller
from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.store import Store
from fhir_profiles.check import check
from fhir_profiles.text import dumps
from fhir_profiles.xml import to_json
from tests.demo.clinic_world import Clock, World, expected, loaded_clinic, running

_PATIENT = "4cdad971-9527-5ec7-94fa-a9c384719320"
_OBSERVATION = "9ea266f2-a489-5475-a3a5-4c2fba365823"
_LOADED = "2024-01-01T08:00:04.000+01:00"  # when the second Bundle was loaded, in every run


@pytest.fixture(scope="module")
def clinic() -> Iterator[World]:
    """A loaded clinic that is only read."""
    with running(loaded_clinic()) as world:
        yield world


def _found(world: World, path: str) -> list[str]:
    return [entry["resource"]["id"] for entry in world.get(path).get("entry", [])]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        (f"patient={_PATIENT}", True),
        (f"patient=Patient/{_PATIENT}", True),
        (f"subject=Patient/{_PATIENT}", True),
        ("patient=somebody", False),
        (f"_id={_OBSERVATION}", True),
        (f"_id=never-was,{_OBSERVATION},{_OBSERVATION}", True),
        ("_id=never-was", False),
        (f"_id={_OBSERVATION}&patient=somebody", False),
        (f"patient={_PATIENT}&_id=never-was", False),
        ("identifier=anything", False),
        ("unknown=is-ignored", True),
        (f"_lastUpdated=ge{_LOADED}", True),
        (f"_lastUpdated=gt{_LOADED}", False),
        (f"_lastUpdated=le{_LOADED}", True),
        (f"_lastUpdated=lt{_LOADED}", False),
        (f"_lastUpdated={_LOADED}", True),
        ("_lastUpdated=eq2024-01-01", True),
        ("_lastUpdated=gt2024-01-01", False),
        ("_lastUpdated=gt0001-01-01T00:00:00+14:00", True),
        ("_lastUpdated=ge2024-01-01T07:00:04Z", True),
        ("_lastUpdated=ge2024-01-01T07:00:05Z", False),
        ("_lastUpdated=ge2024-01-01T07:00:04Z&_lastUpdated=lt2024-01-01T07:00:05Z", True),
    ],
)
def test_a_search_finds(clinic: World, query: str, *, found: bool) -> None:
    assert _found(clinic, f"/fhir/Observation?{quote(query, safe='=&?')}") == ([_OBSERVATION] if found else [])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("http://fhir.de/sid/arge-ik/iknr|260550131", True),
        ("260550131", True),
        ("no,260550131", True),
        ("|260550131", False),
        ("http://other.example|260550131", False),
    ],
)
def test_a_search_by_identifier_finds(clinic: World, query: str, *, found: bool) -> None:
    assert bool(_found(clinic, f"/fhir/Organization?identifier={quote(query)}")) is found


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fhir/Observation?_count=many", 400),
        ("/fhir/Observation?_page=guess", 400),
        ("/fhir/Observation?_page=W10", 400),
        ("/fhir/Observation?_page=W1tdLC0xLDBd", 400),  # [[],-1,0]
        ("/fhir/Observation?_page=W1tdLCJ4IiwwXQ", 400),  # [[],"x",0]
        ("/fhir/Observation?_lastUpdated=ge9999-12-31", 400),
        ("/fhir/Observation?_lastUpdated=ge-yesterday", 400),
        ("/fhir/Observation?_lastUpdated=ne2024-01-01", 400),
        ("/fhir/Observation?patient=a,b", 400),
        ("/fhir/Observation?patient=Group/1", 400),
        ("/fhir/Observation/never-was", 404),
        ("/fhir/Unheard", 404),
        ("/fhir/Unheard/1", 404),
        ("/elsewhere", 404),
    ],
)
def test_what_cannot_be_answered_is_an_operation_outcome(clinic: World, path: str, status: int) -> None:
    answer = clinic.ask("GET", path)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")
    assert answer.headers["Content-Type"].startswith("application/fhir+json")


def test_a_read_tells_version_and_time() -> None:
    with running(loaded_clinic()) as world:
        answer = world.ask("GET", f"/fhir/Observation/{_OBSERVATION}")
        assert {name: answer.headers[name] for name in ("etag", "last-modified", "date")} == {
            "etag": 'W/"1"',
            "last-modified": "Mon, 01 Jan 2024 07:00:04 GMT",
            "date": "Sat, 28 Feb 2026 20:30:00 GMT",
        }
        assert b'"value":7.20,' in answer.content


def test_xml_by_accept_and_by_format_keeps_the_digits() -> None:
    with running(loaded_clinic()) as world:
        path = f"/fhir/Observation/{_OBSERVATION}"
        accepted = world.ask("GET", path, headers={"Accept": "application/fhir+xml"})
        asked = world.ask("GET", f"{path}?_format=xml")
        assert accepted.content == asked.content
        assert accepted.headers["Content-Type"] == "application/fhir+xml; charset=utf-8"
        assert b'<value value="7.20"/>' in accepted.content
        created = world.ask(
            "POST", "/fhir/Observation", content=accepted.content, headers={"Content-Type": "application/fhir+xml"}
        )
        assert created.status_code == 201
        assert created.headers["Location"].endswith(f"/fhir/Observation/{created.json()['id']}/_history/1")
        assert b'"value":7.20,' in created.content


def test_the_next_page_comes_in_the_format_of_the_first() -> None:
    with running(loaded_clinic()) as world:
        for number in range(3):
            world.ask("PUT", f"/fhir/Flag/{number}", content=dumps({"resourceType": "Flag", "id": str(number)}))
        path, pages = "/fhir/Flag?_count=1&_format=xml", 0
        while path:
            page = to_json(world.ask("GET", path).content)
            path = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
            pages += 1
        assert pages == 3


def test_what_xml_cannot_carry_is_refused_and_not_dropped() -> None:
    with running() as world:
        world.ask("PUT", "/fhir/Flag/1", content=b'{"resourceType":"Flag","id":"1","colour":"red"}')
        assert world.ask("GET", "/fhir/Flag/1?_format=xml").status_code == 406


def test_the_capability_statement_is_golden_and_valid() -> None:
    with running(loaded_clinic()) as world:
        told = world.get("/fhir/metadata")
        assert not [issue for issue in check(told) if issue.severity == "error"]
        types = ("Patient", "Observation", "Coverage", "Organization")
        told["rest"][0]["resource"] = [each for each in told["rest"][0]["resource"] if each["type"] in types]
        assert told == expected("metadata")


def test_the_capability_statement_names_a_type_as_soon_as_it_is_stored() -> None:
    with running() as world:
        types = []
        for _ in range(2):
            types.append({each["type"] for each in world.get("/fhir/metadata")["rest"][0]["resource"]})
            world.ask("POST", "/fhir/Basis", content=b'{"resourceType":"Basis"}')
        assert types[1] - types[0] == {"Basis"}


def test_what_changes_while_pages_are_turned_is_never_left_out() -> None:
    with running() as world:
        for number in range(6):
            world.ask("PUT", f"/fhir/Flag/{number}", content=dumps({"resourceType": "Flag", "id": str(number)}))
        first = world.get("/fhir/Flag?_count=2")
        world.ask("PUT", "/fhir/Flag/0", content=b'{"resourceType":"Flag","id":"0"}')
        world.ask("DELETE", "/fhir/Flag/1")
        rest = world.pages(first["link"][1]["url"].removeprefix("http://clinic"))
        ids = [[entry["resource"]["id"] for entry in page["entry"]] for page in [first, *rest]]
        assert ids == [["0", "1"], ["2", "3"], ["4", "5"], ["0"]]


def _store(count: int, deleted: set[int]) -> Store:
    store, clock = Store(), Clock()
    for number in range(count):
        subject = {"reference": f"Patient/{number % 3}"}
        store.put({"resourceType": "Flag", "subject": subject}, f"f{number}", "PUT", clock())
    for number in deleted:
        store.delete("Flag", f"f{number}", clock())
    return store


def _turn(store: Store, caller: Caller, pairs: list[tuple[str, str]]) -> list[search.Page]:
    pages: list[search.Page] = []
    while not pages or pages[-1].next_token:
        asked = [("_page", pages[-1].next_token or "")] if pages else pairs
        pages.append(search.find(store, caller, search.parse("Flag", asked, search.search_params("Flag"))))
    return pages


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 30), size=st.integers(1, 12), patient=st.sampled_from([None, "0", "2"]), data=st.data())
def test_the_pages_together_are_the_whole_search(count: int, size: int, patient: str | None, data: Any) -> None:
    deleted = data.draw(st.sets(st.integers(0, count), max_size=count))
    store = _store(count, deleted)
    pages = _turn(store, Caller(patient=patient), [("_count", str(size))])
    ids = [version.id for page in pages for version in page.versions]
    assert ids == [
        f"f{number}" for number in range(count) if number not in deleted and patient in (None, str(number % 3))
    ]
    assert {page.total for page in pages} == {len(ids)}
    assert all(len(page.versions) == size for page in pages[:-1])


def test_a_count_of_nought_counts_alone() -> None:
    pages = _turn(_store(5, set()), Caller(patient=None), [("_count", "0")])
    assert [(page.total, page.versions) for page in pages] == [(5, [])]


def test_a_page_link_does_not_widen_what_a_token_opens() -> None:
    store = _store(9, set())
    token = _turn(store, Caller(patient=None), [("_count", "1")])[0].next_token
    query = search.parse("Flag", [("_page", token or "")], {"_id"})
    assert {version.patients for version in search.find(store, Caller(patient="2"), query).versions} == {
        frozenset({"2"})
    }
    named = search.parse("Flag", [("patient", "1")], {"patient"})
    with pytest.raises(Refused, match="another patient"):
        search.find(store, Caller(patient="2"), named)


def test_the_order_of_a_listing_is_the_order_of_writes() -> None:
    store, numbers = Store(), list(range(20))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        store.put({"resourceType": "Flag"}, f"f{number}", "PUT", Clock()())
    ids = ",".join(f"f{number}" for number in range(20))
    by_id = search.find(store, Caller(patient=None), search.parse("Flag", [("_id", ids)], {"_id"}))
    assert [version.id for version in by_id.versions] == [f"f{number}" for number in numbers]
