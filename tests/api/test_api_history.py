"""history and vread over HTTP: the owner's is all there was, everybody else's what is in their view."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests.api.http_world import HttpWorld
from tests.api.test_api_writing import NEVER, OBSERVATION, created, send, theirs
from tests.weaken import weakens

SENSITIVE = [{"system": "https://aggregator.example/fhir/CodeSystem/section", "code": "mental-health"}]


def history(world: HttpWorld, path: str, who: dict[str, str] | None = None) -> list[Resource]:
    """Every entry, page after page."""
    url, found = f"/fhir/{path}", []
    while url:
        answer = world.get(url, who or world.owner())
        assert answer.status_code == 200, answer.text
        bundle = loads(answer.content)
        assert bundle["type"] == "history"
        found += bundle.get("entry", [])
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return found


def told(found: list[Resource]) -> list[tuple[str, str, str]]:
    return [(one["request"]["method"], one["response"]["status"], one["response"]["etag"]) for one in found]


def test_a_history_is_all_versions_the_newest_first(fresh: HttpWorld) -> None:
    one = created(fresh)
    fresh.clock.advance(minutes=1)
    send(fresh, "PUT", one, OBSERVATION)
    fresh.clock.advance(minutes=1)
    send(fresh, "DELETE", one)
    answer = fresh.get(f"/fhir/{one}/_history", fresh.owner())
    assert check(loads(answer.content)) == ()
    assert told(answer.json()["entry"]) == [
        ("DELETE", "204", 'W/"3"'),
        ("PUT", "200", 'W/"2"'),
        ("POST", "201", 'W/"1"'),
    ]
    assert answer.content.count(b'"value":0.40') == 2
    since = answer.json()["entry"][1]["response"]["lastModified"]
    assert [one[2] for one in told(history(fresh, f"{one}/_history?_since={since}"))] == ['W/"3"', 'W/"2"']
    assert [one[2] for one in told(history(fresh, f"{one}/_history?_at={since}"))] == ['W/"2"']
    for kind in (f"{one}/_history", "Observation/_history", "_history"):
        assert told(history(fresh, f"{kind}?_count=1")) == told(history(fresh, kind))
    assert fresh.get(f"/fhir/{one}/_history/2", fresh.owner()).headers["etag"] == 'W/"2"'
    gone = {"3": 410, "4": 404, "0": 404, "x": 404}
    for version, status in gone.items():
        assert fresh.get(f"/fhir/{one}/_history/{version}", fresh.owner()).status_code == status


def test_a_page_goes_on_where_it_ended_whatever_came(fresh: HttpWorld) -> None:
    one = created(fresh)
    send(fresh, "PUT", one, OBSERVATION)
    first = fresh.get(f"/fhir/{one}/_history?_count=1", fresh.owner()).json()
    fresh.clock.advance(minutes=1)
    send(fresh, "PUT", one, OBSERVATION)
    url = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert told(loads(fresh.get(url, fresh.owner()).content)["entry"]) == [("POST", "201", 'W/"1"')]
    other = url.replace("_count=1", "_count=2")
    assert fresh.get(other, fresh.owner()).status_code == 400


def test_a_grantees_history_is_what_they_may_read(fresh: HttpWorld) -> None:
    found = theirs(fresh)
    one = f"Observation/{found['id']}"
    practice = fresh.token("praxis")
    assert [entry["resource"] for entry in history(fresh, f"{one}/_history", practice)] == [
        loads(fresh.get(f"/fhir/{one}", practice).content)
    ]
    assert fresh.get(f"/fhir/{one}/_history/1", practice).json() == fresh.get(f"/fhir/{one}", practice).json()
    for path in ("Observation/_history", "_history"):
        assert fresh.get(f"/fhir/{path}", practice).status_code == 403


@pytest.mark.attack(14)
@weakens("aggregator.fhir.history", "of_view", None)
def test_a_version_that_was_hidden_is_as_one_that_never_was(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was sensitive, now it is not: who reads it now hears nothing of before."""
    from aggregator.api.fhir import history as routes
    from aggregator.fhir import history as past

    if past.of_view is None:  # type: ignore[comparison-overlap]
        monkeypatch.setattr(routes, "_pasts", _everything(fresh))
    secret: Any = loads(OBSERVATION) | {"valueQuantity": {"value": 7777}}
    one = send(fresh, "POST", "Observation", secret | {"meta": {"security": SENSITIVE}}).json()
    path = f"Observation/{one['id']}"
    practice = fresh.token("praxis")
    hidden = [fresh.get(f"/fhir/{where}", practice) for where in (f"{path}/_history/1", f"{path}/_history")]
    never = [fresh.get(f"/fhir/Observation/{NEVER}/{where}", practice) for where in ("_history/1", "_history")]
    assert [(answer.status_code, answer.content) for answer in hidden] == [
        (answer.status_code, answer.content) for answer in never
    ]
    send(fresh, "PUT", path, OBSERVATION)
    shown = history(fresh, f"{path}/_history", practice)
    assert told(shown) == [("PUT", "200", 'W/"2"')]
    assert "7777" not in str(shown)
    assert fresh.get(f"/fhir/{path}/_history/1", practice).content == hidden[0].content


def test_what_moved_to_another_section_keeps_its_history(fresh: HttpWorld) -> None:
    """Once it was sensitive, now it is not: its owner reads on what it was, before and behind the next snapshot."""
    secret: Any = loads(OBSERVATION) | {"valueQuantity": {"value": 7777}, "meta": {"security": SENSITIVE}}
    path = f"Observation/{send(fresh, 'POST', 'Observation', secret).json()['id']}"
    fresh.clock.advance(minutes=1)
    for body in (OBSERVATION, OBSERVATION.replace(b'"final"', b'"amended"')):
        send(fresh, "PUT", path, body)
        fresh.get(f"/fhir/{path}", fresh.owner())
    assert [one[1:] for one in told(history(fresh, f"{path}/_history"))] == [
        ("200", 'W/"3"'),
        ("200", 'W/"2"'),
        ("201", 'W/"1"'),
    ]
    assert b'"value":7777' in fresh.get(f"/fhir/{path}/_history/1", fresh.owner()).content


def _everything(world: HttpWorld) -> Any:
    """A weakened build: everybody's past is the owner's."""
    from aggregator.fhir.history import of_state
    from aggregator.vault import view as views

    async def pasts(*_: Any) -> Any:
        owner = world.service.accounts.owner(world.owners["erika"])
        state = views.read_truth(
            world.service.store, owner.vault, views.owner(owner.root, owner.sections, owner.patient)
        )
        return lambda _view: of_state(state)

    return pasts


@pytest.mark.attack(1)
@pytest.mark.parametrize("where", ["_history", "_history/1"])
def test_another_patients_history_is_as_one_that_never_was(shared: HttpWorld, where: str) -> None:
    berta = shared.patients["berta"]
    answers = [shared.get(f"/fhir/Patient/{one}/{where}", shared.owner()) for one in (berta, NEVER)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
