"""Ways in over HTTP: what is added, changed, removed and lost."""

from __future__ import annotations

import httpx
import pytest

from aggregator.commands import accounts
from aggregator.identity import logins
from tests.api.http_world import PASSWORD, HttpWorld
from tests.api.ways_in import NEW, bearer, by_passkey, challenge, register, sign_in, told, unlockers
from tests.identity.authenticator import Authenticator

CODE_FIRST = "a recovery code is not removed: ask for a new one and type it back, then the old one goes"
LAST = "this is the last way in beside the recovery code; add another one first"

CHANGES: dict[str, tuple[str, str, object]] = {
    "password": ("PUT", "/app/unlockers/password", {"password": NEW}),
    "recovery code": ("POST", "/app/unlockers/recovery", {}),
    "passkey's options": ("POST", "/app/unlockers/passkeys/options", {}),
    "passkey": ("POST", "/app/unlockers/passkeys", {"registration": {}, "assertion": {}}),
    "removal": ("DELETE", "/app/unlockers/0011223344556677", None),
}


@pytest.mark.attack(47)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_takes_a_fresh_unlock_and_an_owner(shared: HttpWorld, change: str) -> None:
    method, path, body = CHANGES[change]
    shared.clock.advance(minutes=6)
    try:
        assert shared.http.request(method, path, json=body, headers=shared.owner()).status_code == 403
        assert shared.http.request(method, path, json=body, headers=shared.token("praxis")).status_code == 403
        assert shared.http.request(method, path, json=body).status_code == 401
    finally:
        shared.clock.advance(minutes=-6)


def test_a_new_password_ends_the_other_sessions(fresh: HttpWorld) -> None:
    other = bearer(sign_in(fresh))
    assert fresh.http.put("/app/unlockers/password", json={"password": NEW}, headers=fresh.owner()).status_code == 204
    assert fresh.get("/app/sessions", other).status_code == 401
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
    assert (sign_in(fresh).status_code, sign_in(fresh, NEW).status_code) == (401, 200)


def test_a_short_password_changes_nothing(shared: HttpWorld) -> None:
    refused = shared.http.put("/app/unlockers/password", json={"password": "short"}, headers=shared.owner())
    assert told(refused) == (400, "the password needs at least 10 characters, at most 1024")
    assert sign_in(shared).status_code == 200


def test_a_new_recovery_code_counts_when_it_was_typed_back_and_the_old_one_till_then(fresh: HttpWorld) -> None:
    told_ = {"login": "carla", "password": PASSWORD, "family": "Dritte", "given": "Carla", "birth_date": "1999-09-09"}
    made = fresh.http.post("/auth/sign-up", json=told_)
    who, old = bearer(made), made.json()["recovery_code"]
    prove(fresh, old)
    codes = [fresh.http.post("/app/unlockers/recovery", headers=who).json()["recovery_code"] for _ in range(2)]
    assert recover(fresh, codes[0]) == 401  # asked for again: never typed back
    assert recover(fresh, old, PASSWORD) == 200
    assert prove(fresh, codes[1]) == 204
    assert recover(fresh, old) == 401
    assert recover(fresh, codes[1]) == 200


def prove(world: HttpWorld, code: str) -> int:
    told_ = {"login": "carla", "recovery_code": code}
    return world.http.post("/auth/recovery-proof", json=told_).status_code


def recover(world: HttpWorld, code: str, password: str = NEW) -> int:
    told_ = {"login": "carla", "recovery_code": code, "password": password}
    return world.http.post("/auth/recover", json=told_).status_code


def test_two_ways_in_remain(fresh: HttpWorld, device: Authenticator) -> None:
    def remove(kind: str) -> httpx.Response:
        return fresh.http.delete(f"/app/unlockers/{unlockers(fresh)[kind]['id']}", headers=fresh.owner())

    assert told(remove("password")) == (400, LAST)
    assert told(remove("recovery")) == (400, CODE_FIRST)
    assert register(fresh, device).status_code == 201
    assert told(remove("recovery")) == (400, CODE_FIRST)
    fresh.owners["erika"] = by_passkey(fresh, device.get(challenge(fresh))).json()["token"]
    assert remove("password").status_code == 204
    assert told(remove("passkey")) == (400, LAST)
    assert sign_in(fresh).status_code == 401
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 200


def test_an_unlocker_that_goes_takes_its_sessions_with_it(fresh: HttpWorld, device: Authenticator) -> None:
    register(fresh, device)
    by_it = bearer(by_passkey(fresh, device.get(challenge(fresh))))
    removed = fresh.http.delete(f"/app/unlockers/{unlockers(fresh)['passkey']['id']}", headers=fresh.owner())
    assert removed.status_code == 204
    assert fresh.get("/app/sessions", by_it).status_code == 401
    assert fresh.get("/app/sessions", fresh.owner()).status_code == 200
    assert by_passkey(fresh, device.get(challenge(fresh))).status_code == 401


@pytest.mark.attack(1)
def test_anothers_unlockers_and_sessions_are_like_none(shared: HttpWorld) -> None:
    berta = shared.owner("berta")
    unlocker = unlockers(shared, berta)["password"]["id"]
    (session, *_) = (row["id"] for row in shared.get("/app/sessions", berta).json()["sessions"])
    for kind, there in (("unlockers", unlocker), ("sessions", session)):
        answers = [shared.http.delete(f"/app/{kind}/{one}", headers=shared.owner()) for one in (there, "0" * 16)]
        assert told(answers[0]) == told(answers[1])
    assert shared.get("/app/sessions", berta).status_code == 200
    assert unlockers(shared, berta)["password"]["id"] == unlocker


def test_who_begins_anew_is_led_to_the_sources_and_the_old_record_tells_what_happened(fresh: HttpWorld) -> None:
    service = fresh.service
    assert not fresh.get("/app/sources", fresh.owner()).json()["start"]
    assert "in_words" not in fresh.get("/app/connections", fresh.owner()).json()
    for login in ("erika", "berta"):
        assert fresh.http.post("/auth/sign-out", headers=fresh.owner(login)).status_code == 204
    accounts.receipt(service, logins.find(service.store, service.key_service, "erika"))
    logins.release(service.store, service.key_service, "erika", fresh.clock().timestamp(), 7)
    fresh.clock.advance(days=7)
    told_ = {"login": "erika", "password": NEW, "family": "Muster", "given": "Erika", "birth_date": "1957-08-13"}
    made = fresh.http.post("/auth/sign-up", json=told_)
    assert made.json()["patient"] != fresh.patients["erika"]
    connections = fresh.get("/app/connections", bearer(made)).json()
    assert connections["connections"] == []
    assert connections["in_words"].keys() == {"de", "en"}
    assert fresh.get("/app/sources", bearer(made)).json()["start"]
    old = {"login": logins.later("erika", fresh.patients["erika"].partition(".")[0]), "password": PASSWORD}
    events = fresh.get("/fhir/AuditEvent?_count=500", bearer(fresh.http.post("/auth/sign-in", json=old))).text
    assert "Der Betreiber hat Ihren Anmeldenamen freigegeben" in events
