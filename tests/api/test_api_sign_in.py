"""Sign-up, sign-in and sign-out over HTTP: all or nothing, several at once, and what ends a session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any

import httpx
import pytest

from aggregator.errors import SignInFailed
from aggregator.identity.accounts import Accounts
from aggregator.identity.turns import MOST_WAITING
from tests.api.http_world import PASSWORD, HttpWorld

CARLA = {"password": PASSWORD, "family": "Dritte", "given": "Carla", "birth_date": "1999-09-09"}


def sign_up(world: HttpWorld, login: str, **told: Any) -> httpx.Response:
    return world.http.post("/auth/sign-up", json=CARLA | {"login": login} | told)


def sign_in(world: HttpWorld, login: str, password: str = PASSWORD) -> httpx.Response:
    return world.http.post("/auth/sign-in", json={"login": login, "password": password})


def bearer(answer: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["issue"][0]["diagnostics"]


def test_who_signed_up_is_signed_in_and_reads_their_patient(shared: HttpWorld) -> None:
    made = sign_up(shared, "carla", kvnr="x110411675")
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert made.json().keys() == {"token", "expires_in", "patient", "recovery_code"}
    patient = shared.get(f"/fhir/Patient/{made.json()['patient']}", bearer(made)).json()
    assert (patient["birthDate"], patient["identifier"][0]["value"]) == ("1999-09-09", "X110411675")
    assert sign_in(shared, "carla").json()["patient"] == made.json()["patient"]


BIRTH_DATE = "birth_date: a date as YYYY-MM-DD is needed that is not in the future"
WRONG = [
    ({"birth_date": "2020-W01-1"}, BIRTH_DATE),
    ({"birth_date": "2026-11-22"}, BIRTH_DATE),
    ({"family": "N\x00\x07"}, "family: 1 to 200 characters are needed, without control characters"),
    ({"given": "B" * 5000}, "given: 1 to 200 characters are needed, without control characters"),
    ({"kvnr": "  nonsense "}, "kvnr: a letter and nine digits are needed"),
    ({"password": "short"}, "the password needs at least 10 characters, at most 1024"),
]


@pytest.mark.attack(46, 47)
@pytest.mark.parametrize(("wrong", "problem"), WRONG)
def test_what_is_wrong_is_told_and_the_login_stays_free(shared: HttpWorld, wrong: dict[str, str], problem: str) -> None:
    login = f"free-{WRONG.index((wrong, problem))}"
    assert told(sign_up(shared, login, **wrong)) == (400, problem)
    assert sign_up(shared, login).status_code == 201


@pytest.mark.attack(47)
def test_wrong_tries_on_a_login_before_it_exists_do_not_spoil_its_sign_up(shared: HttpWorld) -> None:
    for _ in range(5):
        assert sign_in(shared, "dora", "Ein falsches Wort").status_code == 401
    assert "too many tries" in told(sign_in(shared, "dora", "Ein falsches Wort"))[1]
    made = sign_up(shared, "dora")
    assert made.status_code == 201
    assert shared.get(f"/fhir/Patient/{made.json()['patient']}", bearer(made)).status_code == 200
    shared.clock.advance(seconds=61)
    assert sign_in(shared, "dora").status_code == 200


@pytest.mark.attack(47)
def test_each_sign_in_has_a_token_of_its_own_and_no_cookie(shared: HttpWorld) -> None:
    """No browser sends a bearer token by itself: another site's page can forge no request, nor fix a session."""
    answers = [sign_in(shared, "erika") for _ in range(2)]
    assert len({answer.json()["token"] for answer in answers}) == 2
    cookie = {"Cookie": f"token={answers[0].json()['token']}"}
    assert shared.get("/app/connections", cookie).status_code == 401
    assert not any("set-cookie" in answer.headers for answer in answers)


def test_a_taken_login_is_told(shared: HttpWorld) -> None:
    assert told(sign_up(shared, "erika")) == (400, "this login is taken")


@pytest.mark.attack(47)
@pytest.mark.timeout(120)
def test_people_sign_in_at_the_same_time(shared: HttpWorld) -> None:
    """Two of Argon2id at once would hang for ever, with every request that waits for a thread."""
    with ThreadPoolExecutor(6) as people:
        answers = list(people.map(lambda number: sign_in(shared, ("erika", "berta")[number % 2]), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6


@pytest.mark.attack(47)
@pytest.mark.timeout(120)
def test_more_than_can_be_served_are_told_to_come_again_and_nobody_else_waits(
    shared: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = Event()

    def held(*_: object) -> None:
        leave.wait(60)
        raise SignInFailed("login or password is wrong")

    monkeypatch.setattr(Accounts, "sign_in", held)
    with ThreadPoolExecutor(MOST_WAITING + 1) as crowd:
        waiting = [crowd.submit(sign_in, shared, "erika") for _ in range(MOST_WAITING + 1)]
        first = next(as_completed(waiting)).result()
        quarantine = shared.get("/app/quarantine", shared.owner("berta"))
        leave.set()
    assert (first.status_code, first.headers["retry-after"]) == (503, "1")
    assert quarantine.status_code == 200
    assert sorted(one.result().status_code for one in waiting) == [401] * MOST_WAITING + [503]


# --- what ends a session


@pytest.mark.parametrize("way", ["/auth/sign-out", "/auth/revoke"])
def test_a_session_ends_by_sign_out_and_by_revoking_its_token(shared: HttpWorld, way: str) -> None:
    owner = bearer(sign_in(shared, "berta"))
    assert shared.get("/app/connections", owner).status_code == 200
    form = {"token": owner["Authorization"].removeprefix("Bearer ")}
    assert shared.http.post(way, data=form, headers=owner).is_success
    assert shared.get("/app/connections", owner).status_code == 401
    with pytest.raises(SignInFailed):
        shared.service.accounts.owner(form["token"])


@pytest.mark.parametrize("token", ["", "never-was"])
def test_revoking_what_is_no_token_is_done_already(shared: HttpWorld, token: str) -> None:
    assert shared.http.post("/auth/revoke", data={"token": token}).status_code == 200


def test_a_clients_token_is_revoked_as_well(shared: HttpWorld) -> None:
    praxis = shared.token("praxis")
    url = f"/fhir/Patient/{shared.patients['erika']}"
    assert shared.get(url, praxis).status_code == 200
    shared.http.post("/auth/revoke", data={"token": praxis["Authorization"].removeprefix("Bearer ")})
    assert shared.get(url, praxis).status_code == 401
