"""Versions, deletions and histories."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest

from aggregator.demo.clinic import Clinic
from fhir_profiles.text import dumps
from tests.demo.clinic_world import Clock, World, expected, running


def _lived(world: World) -> None:
    """A flag that is created, changed and deleted, an hour each, and another that stays."""
    for text in ("first", "second"):
        flag = {"resourceType": "Flag", "id": "1", "code": {"text": text}, "subject": {"reference": "Patient/erika"}}
        world.ask("PUT", "/fhir/Flag/1", content=dumps(flag))
        world.clock.now += timedelta(hours=1)
    world.ask("DELETE", "/fhir/Flag/1")
    world.clock.now += timedelta(hours=1)
    world.ask("PUT", "/fhir/Flag/2", content=b'{"resourceType":"Flag","id":"2"}')


def test_a_history_holds_versions_and_the_deletion_newest_first() -> None:
    with running() as world:
        _lived(world)
        assert world.get("/fhir/Flag/1/_history") == expected("flag-history")


def test_the_history_of_a_type_comes_in_pages() -> None:
    with running() as world:
        _lived(world)
        pages = world.pages("/fhir/Flag/_history?_count=3")
        told = [[(entry["request"]["method"], entry["request"]["url"]) for entry in page["entry"]] for page in pages]
        assert told == [[("PUT", "Flag/2"), ("DELETE", "Flag/1"), ("PUT", "Flag/1")], [("PUT", "Flag/1")]]
        assert {page["total"] for page in pages} == {4}


@pytest.mark.parametrize(
    ("since", "methods"),
    [
        ("2026-03-01T04:00:00.250+05:30", ["PUT", "DELETE"]),
        ("2026-03-01T04:00:00.251+05:30", ["PUT"]),
        ("2026-02-28T22:30:00.250Z", ["PUT", "DELETE"]),
        ("2026-03-02", []),
    ],
)
def test_a_history_since_an_instant(since: str, methods: list[str]) -> None:
    with running() as world:
        _lived(world)
        told = world.get(f"/fhir/Flag/_history?_since={quote(since)}").get("entry", [])
        assert [entry["request"]["method"] for entry in told] == methods


def test_reading_versions() -> None:
    with running() as world:
        _lived(world)
        answers = {
            path: world.ask("GET", f"/fhir/Flag/{path}").status_code
            for path in ("1", "1/_history/1", "1/_history/2", "1/_history/3", "1/_history/4", "2", "3")
        }
        assert answers == {
            "1": 410,
            "1/_history/1": 200,
            "1/_history/2": 200,
            "1/_history/3": 410,
            "1/_history/4": 404,
            "2": 200,
            "3": 404,
        }
        assert world.get("/fhir/Flag/1/_history/1")["code"] == {"text": "first"}


def test_what_is_deleted_is_in_no_search_and_may_come_back() -> None:
    with running() as world:
        _lived(world)
        assert world.get("/fhir/Flag")["total"] == 1
        assert world.get("/fhir/Flag?_id=1")["total"] == 0
        assert world.get("/fhir/Flag?patient=erika")["total"] == 0
        again = world.ask("PUT", "/fhir/Flag/1", content=b'{"resourceType":"Flag","id":"1"}')
        assert (again.status_code, again.json()["meta"]["versionId"]) == (201, "4")


def test_a_patient_sees_deletions_of_their_own_alone() -> None:
    with running() as world:
        _lived(world)
        world.server.access.allow("erika-token", "erika")
        world.server.access.allow("other-token", "other")
        totals = [world.get("/fhir/Flag/_history", token)["total"] for token in ("erika-token", "other-token")]
        assert totals == [3, 0]
        assert world.ask("GET", "/fhir/Flag/1", "other-token").status_code == 404
        assert world.ask("GET", "/fhir/Flag/1/_history", "other-token").status_code == 404


def test_a_server_without_history_says_so_and_serves_none() -> None:
    clock = Clock()
    with running(Clinic(clock, history=False), clock) as world:
        _lived(world)
        paths = ("/fhir/Flag/_history", "/fhir/Flag/2/_history", "/fhir/Flag/2/_history/1")
        assert [world.ask("GET", path).status_code for path in paths] == [404, 404, 404]
        codes = {
            each["code"] for kind in world.get("/fhir/metadata")["rest"][0]["resource"] for each in kind["interaction"]
        }
        assert codes == {"read", "search-type", "create", "update", "delete"}


def test_last_updated_never_lies_behind_a_date_that_was_given_out() -> None:
    with running() as world:
        world.server.load(
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Flag"}}]}, "early"
        )
        early = world.get("/fhir/Flag")["entry"][0]["resource"]["meta"]["lastUpdated"]
        world.server.load(
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Goal"}}]}, "late"
        )
        late = world.get("/fhir/Goal")["entry"][0]["resource"]["meta"]["lastUpdated"]
        assert (early, late) == ("2024-01-01T08:00:01.000+01:00", "2026-03-01T02:00:00.250+05:30")


def test_a_clock_that_goes_back_does_not_take_last_updated_with_it() -> None:
    with running() as world:
        _lived(world)
        world.clock.now -= timedelta(days=1)
        written = world.ask("PUT", "/fhir/Flag/2", content=b'{"resourceType":"Flag","id":"2"}').json()
        assert written["meta"]["lastUpdated"] == "2026-03-01T05:00:00.250+05:30"
