"""What is unusual is told at once: a first reading, one at night, a great deal, an emergency; without names or data."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from aggregator.api import access
from aggregator.consent.plain import Words
from aggregator.identity.notices import OUTSIDE, Notices
from aggregator.identity.tables import Notice
from tests.api.http_world import PASSWORD, HttpWorld
from tests.api.test_api_access_requests import NOBODY, ask
from tests.api.test_api_emergency import BREAKING_THE_GLASS, EMERGENCY


def told(world: HttpWorld, login: str = "erika") -> dict[str, Any]:
    answer = world.http.get("/app/notices", headers=world.owner(login))
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def kinds(world: HttpWorld) -> list[str]:
    return sorted(one["kind"] for one in told(world)["notices"])


def read(world: HttpWorld, client: str = "labor", **claims: Any) -> None:
    answer = world.get(f"/fhir/Observation?patient={world.patients['erika']}", world.token(client, **claims))
    assert answer.status_code == 200, answer.text


def signed_in(world: HttpWorld) -> None:
    made = world.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).json()
    world.owners["erika"] = made["token"]


def test_the_first_reading_is_told_once(fresh: HttpWorld) -> None:
    read(fresh)
    read(fresh)
    assert kinds(fresh) == ["first"]
    fresh.clock.advance(hours=13)
    signed_in(fresh)
    read(fresh)
    assert kinds(fresh) == ["first"]
    read(fresh, "praxis")
    assert kinds(fresh) == ["first", "first"]


def test_at_night_it_is_told_again_after_half_a_day(fresh: HttpWorld) -> None:
    fresh.clock.advance(hours=1)
    signed_in(fresh)
    read(fresh)
    assert kinds(fresh) == ["first", "night"]
    fresh.clock.advance(hours=2)
    signed_in(fresh)
    read(fresh)
    assert kinds(fresh) == ["first", "night"]


def test_a_great_deal_is_told_when_it_is_one(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "GREAT_DEAL", 5)
    read(fresh)
    assert kinds(fresh) == ["first"]
    read(fresh)
    assert kinds(fresh) == ["bulk", "first"]


def test_an_emergency_is_loud(fresh: HttpWorld) -> None:
    fresh.consent("nobody", **EMERGENCY)
    read(fresh, "fremd", **BREAKING_THE_GLASS)
    assert kinds(fresh) == ["emergency", "first"]
    (one,) = (notice for notice in told(fresh)["notices"] if notice["kind"] == "emergency")
    assert one["in_words"]["de"] == "Jemand hat im Notfall, ohne Rückfrage, in Ihrer Akte gelesen."


def test_a_request_is_told_and_one_for_nobody_leaves_the_same(fresh: HttpWorld) -> None:
    ask(fresh, fresh.patients["erika"])
    ask(fresh, NOBODY)
    assert (kinds(fresh), told(fresh)["requests"]) == (["request"], 1)
    with fresh.service.store.read() as session:
        assert len(session.exec(select(Notice)).all()) == 2


def test_the_owners_own_reading_is_nothing_unusual(fresh: HttpWorld) -> None:
    fresh.get("/fhir/Observation", fresh.owner())
    assert kinds(fresh) == []


def test_what_ends_soon_is_told(fresh: HttpWorld) -> None:
    fresh.consent("fremd", period={"end": "2026-12-01"})
    assert [one["name"] for one in told(fresh)["ending"]] == ["fremd"]


def test_a_notice_at_rest_names_nobody_and_one_that_was_made_up_is_left_out(fresh: HttpWorld) -> None:
    read(fresh)
    with fresh.service.store.write() as session:
        (row,) = session.exec(select(Notice)).all()
        assert not {b"labor", b"first"} & {row.what, row.box}
        assert b"labor" not in row.box
        row.at += 1
        session.add(row)
    assert kinds(fresh) == []


def test_an_outlet_hears_that_something_happened_and_nothing_else(fresh: HttpWorld) -> None:
    heard = list[tuple[str, Words]]()

    class Outlet:
        def notify(self, vault: str, text: Words) -> None:
            heard.append((vault, text))

    service = fresh.service
    notices = Notices(service.store, service.key_service, service.clock, [Outlet()])
    vault = fresh.patients["erika"].partition(".")[0]
    notices.opened(vault, "labor", "BTG")
    notices.opened(vault, "labor", "BTG")
    assert heard == [(vault, OUTSIDE)]
