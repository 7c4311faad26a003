"""Owner sessions over HTTP: listed, named, ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import select

from aggregator.api.caller import Callers
from aggregator.errors import SignInFailed
from aggregator.identity.tables import OwnerSession
from tests import databases
from tests.api.http_world import PASSWORD, HttpWorld
from tests.api.ways_in import bearer, sign_in, told, unlockers


def test_sessions_are_listed_with_their_devices(fresh: HttpWorld) -> None:
    sign_in(fresh, device="Küchen-Tablet")
    agent = {"User-Agent": "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"}
    fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}, headers=agent)
    rows = fresh.get("/app/sessions", fresh.owner()).json()["sessions"]
    assert {row["device"] for row in rows} >= {"Küchen-Tablet", "Firefox, Android"}
    assert [row["current"] for row in rows].count(True) == 1
    assert {row["unlocker"] for row in rows} == {unlockers(fresh)["password"]["id"]}
    assert {(row["unlocked_at"], row["seen"]) for row in rows} == {
        ("2026-11-21T20:30:00+00:00", "2026-11-21T20:00:00+00:00")
    }


@pytest.mark.parametrize("name", ["x" * 61, "a\nb", 7])
def test_a_devices_name_is_short_and_plain(shared: HttpWorld, name: object) -> None:
    told_ = {"login": "erika", "password": PASSWORD, "device": name}
    assert shared.http.post("/auth/sign-in", json=told_).status_code == 400


@pytest.mark.attack(20, 32)
def test_a_devices_name_is_for_its_owner_alone_and_of_one_length(fresh: HttpWorld) -> None:
    sign_in(fresh, device="Klinik am See, Station 4")
    sign_in(fresh, device="x")
    with fresh.service.store.read() as session:
        found = session.exec(select(OwnerSession.label)).all()
    assert len({len(label) for label in found}) == 1
    assert b"Station 4" not in databases.stored_bytes(fresh.service.store)


def test_the_hour_of_the_last_request_is_noted(fresh: HttpWorld) -> None:
    fresh.clock.advance(minutes=25)
    who = bearer(sign_in(fresh))
    fresh.clock.advance(minutes=10)
    for _ in range(50):
        seen = {row["seen"] for row in fresh.get("/app/sessions", who).json()["sessions"] if row["current"]}
        if seen == {"2026-11-21T21:00:00+00:00"}:
            break
    assert seen == {"2026-11-21T21:00:00+00:00"}


def test_a_session_is_ended_from_another(fresh: HttpWorld) -> None:
    other = bearer(sign_in(fresh, device="verloren"))
    assert fresh.get("/app/connections", other).status_code == 200
    rows = fresh.get("/app/sessions", fresh.owner()).json()["sessions"]
    lost = next(row["id"] for row in rows if row["device"] == "verloren")
    assert fresh.http.delete(f"/app/sessions/{lost}", headers=fresh.owner()).status_code == 204
    assert fresh.get("/app/connections", other).status_code == 401
    again = fresh.http.delete(f"/app/sessions/{lost}", headers=fresh.owner())
    assert told(again) == (400, "there is no such session; GET /app/sessions lists those there are")


def test_another_server_process_follows_when_it_looks_again(fresh: HttpWorld) -> None:
    other, who = Callers(fresh.service, lambda _: None), bearer(sign_in(fresh))
    token = who["Authorization"].removeprefix("Bearer ")
    other.remembered(token)
    assert fresh.http.delete("/app/sessions", headers=fresh.owner()).status_code == 200
    other._known[token] = replace(other._known[token], until=0.0)  # as it is five seconds later
    with pytest.raises(SignInFailed):
        other.remembered(token)


def test_all_other_sessions_are_ended_at_once(fresh: HttpWorld) -> None:
    others = [bearer(sign_in(fresh)) for _ in range(2)]
    berta = fresh.get("/app/sessions", fresh.owner("berta")).status_code
    assert fresh.http.delete("/app/sessions", headers=fresh.owner()).json() == {"ended": 2}
    assert [fresh.get("/app/sessions", who).status_code for who in others] == [401, 401]
    assert (berta, fresh.get("/app/sessions", fresh.owner("berta")).status_code) == (200, 200)
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
