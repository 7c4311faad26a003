"""batch and transaction over HTTP: all or nothing in one, each on its own in the other; links between entries."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests.api.http_world import HttpWorld
from tests.api.test_api_writing import CONDITION, NEVER, OBSERVATION, created, place, send, theirs
from tests.weaken import weakens

ONE, TWO = "urn:uuid:8a2a3c5e-0f0e-4d9a-9a0e-1d0e0a0b0c0d", "urn:uuid:9b2a3c5e-0f0e-4d9a-9a0e-1d0e0a0b0c0d"
CODE = {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]}
LABORATORY = [
    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
]


def observation(**changed: Any) -> Resource:
    return {"resourceType": "Observation", "status": "final", "code": CODE, "category": LABORATORY} | changed


def report(*results: str) -> Resource:
    made = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "y"}}
    return made | {"result": [{"reference": one} for one in results]}


def entry(method: str, url: str, resource: Resource | None = None, full_url: str = "", **asked: str) -> Resource:
    made: Resource = {"fullUrl": full_url} if full_url else {}
    return made | ({"resource": resource} if resource else {}) | {"request": {"method": method, "url": url, **asked}}


def post(world: HttpWorld, kind: str, *stated: Resource, **headers: str) -> httpx.Response:
    return send(world, "POST", "", {"resourceType": "Bundle", "type": kind, "entry": list(stated)}, **headers)


def log(world: HttpWorld) -> list[str]:
    """What was written since the connection, by versions: the whole record's history."""
    told = world.get("/fhir/_history?_count=500", world.owner()).json()
    return [f"{one['fullUrl']}/{one['response']['etag']}" for one in told["entry"]]


def statuses(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["response"]["status"].partition(" ")[0] for one in answer.json()["entry"]]


def test_a_transaction_is_one_commit_in_the_standards_order(fresh: HttpWorld) -> None:
    old, changed = created(fresh), created(fresh)
    before = len(log(fresh))
    narrative = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{ONE}">x</a></div>'}
    answer = post(
        fresh,
        "transaction",
        entry("GET", f"{changed}"),
        entry("POST", "DiagnosticReport", report(ONE, TWO) | {"text": narrative}, TWO.replace("9b", "ab")),
        entry("PUT", changed, observation(derivedFrom=[{"reference": ONE}]), TWO, ifMatch='W/"1"'),
        entry("POST", "Observation", observation(note=[{"text": ONE}]), ONE),
        entry("DELETE", old),
        entry("GET", "Observation?_summary=count"),
    )
    assert statuses(answer) == ["200", "201", "200", "201", "204", "200"]
    assert check(loads(answer.content)) == ()
    read, made, updated, new, _, _ = answer.json()["entry"]
    target = new["response"]["location"].partition("/_history")[0]
    assert made["resource"]["result"] == [{"reference": target}, {"reference": changed}]
    assert f'href="{target}"' in made["resource"]["text"]["div"]
    assert updated["resource"]["derivedFrom"] == [{"reference": target}]
    assert new["resource"]["note"] == [{"text": ONE}]
    assert read["resource"] == updated["resource"]
    assert len(log(fresh)) == before + 4
    assert fresh.get(f"/fhir/{old}", fresh.owner()).status_code == 410


def test_links_by_condition_and_creates_that_find_something(fresh: HttpWorld) -> None:
    one = created(fresh)
    query = CONDITION.partition("?")[2]
    answer = post(
        fresh,
        "transaction",
        entry("POST", "Observation", observation(), ONE, ifNoneExist=query),
        entry("POST", "DiagnosticReport", report(ONE, CONDITION)),
    )
    assert statuses(answer) == ["200", "201"]
    assert answer.json()["entry"][1]["resource"]["result"] == [{"reference": one}] * 2


FAILING: dict[str, tuple[Resource, int]] = {
    "not valid": (entry("POST", "Observation", {"resourceType": "Observation"}), 422),
    "not there": (entry("DELETE", f"Observation/{NEVER}"), 404),
    "changed meanwhile": (entry("PUT", "OTHER", observation(), ifMatch='W/"7"'), 412),
    "a link that finds nothing": (entry("POST", "DiagnosticReport", report("Observation?identifier=none")), 412),
    "a condition that finds several": (entry("PUT", "Observation?date=gt1900", observation()), 412),
    "to end several, one of them a source's": (entry("DELETE", "Observation?date=gt1900"), 409),
    "a Consent": (entry("POST", "Consent", {"resourceType": "Consent"}), 422),
    "a source's": (entry("DELETE", "THEIRS"), 409),
    "the same twice": (entry("DELETE", "OLD"), 400),
    "no request": ({"resource": observation()}, 400),
    "no method": (entry("MOVE", "Observation"), 400),
    "no resource": (entry("POST", "Observation"), 400),
    "too much resource": (entry("DELETE", "OLD", observation()), 400),
    "no url": (entry("POST", "", observation()), 400),
    "another type": (entry("POST", "Condition", observation()), 400),
    "nowhere": (entry("PUT", "Observation/a/b", observation()), 400),
    "a wrong patch": (entry("PATCH", "OLD", {"resourceType": "Parameters", "parameter": [{"name": "x"}]}), 400),
}


@pytest.fixture(scope="module")
def settled(shared: HttpWorld) -> tuple[HttpWorld, dict[str, str]]:
    """A record that failing transactions leave as it was: two resources of the owner's and one of the clinic's."""
    found = theirs(shared)
    return shared, {"OLD": created(shared), "OTHER": created(shared), "THEIRS": f"Observation/{found['id']}"}


@pytest.mark.parametrize(("failing", "status"), FAILING.values(), ids=FAILING)
def test_a_transaction_that_fails_leaves_nothing(
    settled: tuple[HttpWorld, dict[str, str]], failing: Resource, status: int
) -> None:
    world, names = settled
    before = log(world)
    asked = failing.get("request", {})
    if asked.get("url") in names:
        failing = failing | {"request": asked | {"url": names[asked["url"]]}}
    good = entry("POST", "Observation", observation()), entry("PUT", names["OLD"], observation())
    answer = post(world, "transaction", *good, failing)
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert answer.json()["issue"][0]["expression"][0].startswith("Bundle.entry[")
    assert log(world) == before


def test_what_an_entry_does_not_take_is_told_with_it(fresh: HttpWorld) -> None:
    asked = entry("POST", "Observation?code=x", observation())
    refused = post(fresh, "transaction", asked, Prefer="handling=strict")
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["Bundle.entry[0]"])
    (told,) = post(fresh, "transaction", asked).json()["entry"]
    assert (told["resource"]["resourceType"], told["response"]["outcome"]["issue"][0]["expression"]) == (
        "Observation",
        ["http.code"],
    )


def test_what_is_not_valid_is_told_with_its_entry(shared: HttpWorld) -> None:
    wrong = {"resourceType": "Observation", "status": "final"}
    answer = post(shared, "transaction", entry("GET", "Observation"), entry("POST", "Observation", wrong))
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource.code"]


@pytest.mark.attack(16)
@weakens("aggregator.api.caller.Principal", "require", lambda *_: None)
def test_an_entry_of_a_batch_is_decided_on_its_own(fresh: HttpWorld) -> None:
    """As each would be alone: by the same token, in the same view, with its own receipt."""
    mine = created(fresh)
    berta = send(fresh, "POST", "Observation", OBSERVATION, Authorization=fresh.owner("berta")["Authorization"])
    asked = [
        entry("GET", place(berta)),
        entry("GET", f"Observation?patient={fresh.patients['erika']}"),
        entry("GET", f"Patient/{fresh.patients['erika']}"),
        entry("PUT", mine, observation()),
        entry("GET", f"Observation/{NEVER}"),
    ]
    who = fresh.token("praxis", "system/Observation.rs") | {"Content-Type": "application/fhir+json"}
    answer = fresh.http.post("/fhir", json={"resourceType": "Bundle", "type": "batch", "entry": asked}, headers=who)
    assert statuses(answer) == ["404", "200", "403", "403", "404"]
    first, found, *_, never = answer.json()["entry"]
    assert first == never
    alone = fresh.get(f"/fhir/Observation?patient={fresh.patients['erika']}", who)
    assert found["resource"] == alone.json()
    assert check(loads(answer.content)) == ()


def test_a_batch_writes_and_one_failure_is_nobody_elses(fresh: HttpWorld) -> None:
    one = created(fresh)
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": []}]}
    answer = post(
        fresh,
        "batch",
        entry("POST", "Observation", {"resourceType": "Observation"}),
        entry("POST", "Observation", observation()),
        entry("PUT", one, observation(), ifMatch='W/"9"'),
        entry("PATCH", one, patch),
        entry("DELETE", f"{fresh.service.base_url}/fhir/{one}"),
        entry("GET", one),
        entry("POST", "/", {"resourceType": "Bundle", "type": "batch"}),
    )
    assert statuses(answer) == ["422", "201", "412", "400", "204", "410", "400"]
    assert check(loads(answer.content)) == ()


def test_what_is_not_json_stands_in_no_answer(shared: HttpWorld) -> None:
    """An entry that asks for XML gets none: the Bundle around it would be neither."""
    one = f"Patient/{shared.patients['erika']}"
    answer = post(shared, "batch", entry("GET", f"{one}?_format=xml"), entry("GET", f"{one}?_format=json"))
    assert statuses(answer) == ["406", "200"]


@pytest.mark.attack(46)
@weakens("aggregator.fhir.entries", "MOST", 10**9)
def test_a_bundle_of_very_many_entries_is_refused(shared: HttpWorld) -> None:
    for kind in ("batch", "transaction"):
        answer = post(shared, kind, *[entry("GET", "metadata")] * (1001))
        assert answer.status_code == 400, kind


@pytest.mark.attack(46)
@weakens("aggregator.api.fhir.inner", "MOST_BYTES", 10**9)
def test_the_answers_of_a_batch_are_bounded_together(shared: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from aggregator.api.fhir import inner

    monkeypatch.setattr(inner, "MOST_BYTES", min(inner.MOST_BYTES, 10**9) and inner.MOST_BYTES // 2**12)
    asked = [entry("GET", "metadata")] * 3
    assert statuses(post(shared, "batch", *asked)) == ["200", "413", "413"]


def test_a_bundle_is_of_a_kind_that_is_processed(shared: HttpWorld) -> None:
    assert post(shared, "collection").status_code == 400
    assert send(shared, "POST", "", observation()).status_code == 400
    assert post(shared, "batch").json() == {"resourceType": "Bundle", "type": "batch-response"}
