"""A provider asks to be let in, a patient answers: equal for whoever is asked, bounded, and signed by the patient."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlmodel import select

from aggregator.api.access import Access
from aggregator.audit.receipts import SYSTEM
from aggregator.fhir.outcome import NotFound
from aggregator.identity import access_requests
from aggregator.identity.tables import AccessRequest
from aggregator.vault import counter
from tests.api.http_world import HttpWorld
from tests.weaken import weakens

NOBODY = "aaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb"
WISH: dict[str, Any] = {
    "sections": ["problems", "results"],
    "purposes": ["TREAT"],
    "why": "Wir behandeln Sie ab Montag wegen Ihres Blutdrucks.",
    "days": 90,
}


def ask(world: HttpWorld, whole: str, client: str = "fremd", **changed: Any) -> httpx.Response:
    told = {"patient": whole} | WISH | changed
    return world.http.post("/auth/access-requests", json=told, headers=world.token(client))


def waiting(world: HttpWorld, login: str = "erika") -> list[dict[str, Any]]:
    answer = world.http.get("/app/access-requests", headers=world.owner(login))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["requests"])


def answer(world: HttpWorld, status: int, login: str = "erika", request: str = "", **told: Any) -> Any:
    (found,) = [request] if request else [one["id"] for one in waiting(world, login)]
    made = world.http.post(f"/app/access-requests/{found}", json=told, headers=world.owner(login))
    assert made.status_code == status, made.text
    return made.json() if made.content else None


def conditions(world: HttpWorld, client: str = "fremd") -> int:
    found = world.get(f"/fhir/Condition?patient={world.patients['erika']}", world.token(client))
    return int(found.json().get("total", 0))


def test_the_patient_finds_it_in_words_and_lets_the_provider_in(fresh: HttpWorld) -> None:
    assert ask(fresh, fresh.patients["erika"]).status_code == 202
    (found,) = waiting(fresh)
    assert (found["name"], found["why"], found["days"]) == ("fremd", WISH["why"], 90)
    assert [one["in_words"]["de"] for one in found["sections"]] == ["Diagnosen und Probleme", "Befunde und Messwerte"]
    assert found["purposes"] == [{"purpose": "TREAT", "in_words": {"de": "Behandlung", "en": "treatment"}}]
    assert conditions(fresh) == 0
    signed = answer(fresh, 201, answer="yes")["consent"]
    assert conditions(fresh) == 1
    period = fresh.get(f"/fhir/Consent/{signed}", fresh.owner()).json()["provision"]["period"]
    assert (period["start"][:10], period["end"][:10]) == ("2026-11-21", "2027-02-19")
    assert waiting(fresh) == []


def test_the_patient_allows_less_but_never_more(fresh: HttpWorld) -> None:
    ask(fresh, fresh.patients["erika"])
    answer(fresh, 400, answer="yes", sections=["problems", "medications"])
    answer(fresh, 400, answer="yes", sections=[])
    answer(fresh, 400, answer="yes", days=91)
    answer(fresh, 400, answer="perhaps")
    signed = answer(fresh, 201, answer="yes", sections=["results"], days=1)["consent"]
    provision = fresh.get(f"/fhir/Consent/{signed}", fresh.owner()).json()["provision"]
    assert [one["code"] for one in provision["class"]] == ["results"]
    assert conditions(fresh) == 0


def test_an_answer_takes_a_fresh_unlock(fresh: HttpWorld) -> None:
    ask(fresh, fresh.patients["erika"])
    fresh.clock.advance(minutes=10)
    answer(fresh, 403, answer="yes")
    answer(fresh, 204, answer="no")


def _only_known(self: Access, vault: str) -> Any:
    """A door that knows who is there and says so."""
    with self._service.store.read() as session:
        row = counter.head(session, vault)
    if row is None:
        raise NotFound
    return row


@pytest.mark.attack(9)
@weakens("aggregator.api.access.Access", "head_or_system", _only_known)
def test_whoever_is_asked_the_answer_is_the_same(fresh: HttpWorld) -> None:
    """A patient, nobody, one who refused, one who does not look: status, headers and body are equal."""
    answers = [ask(fresh, one) for one in (fresh.patients["erika"], NOBODY, fresh.patients["berta"])]
    answer(fresh, 204, answer="no")
    answers += [ask(fresh, one) for one in (fresh.patients["erika"], NOBODY, fresh.patients["berta"])]
    assert {one.status_code for one in answers} == {202}
    assert len({one.content for one in answers}) == 1
    assert len({tuple(sorted(one.headers.keys())) for one in answers}) == 1
    assert waiting(fresh) == []  # who was refused does not come again
    assert len(waiting(fresh, "berta")) == 1


def test_a_request_for_nobody_is_work_like_any_other(fresh: HttpWorld) -> None:
    ask(fresh, NOBODY)
    ask(fresh, fresh.patients["erika"])
    with fresh.service.store.read() as session:
        rows = {row.vault: row for row in session.exec(select(AccessRequest))}
    assert set(rows) == {SYSTEM, fresh.patients["erika"].partition(".")[0]}
    assert len({len(row.box) // 64 for row in rows.values()}) == 1


def test_it_is_sealed_to_the_patient_and_receipted(fresh: HttpWorld) -> None:
    ask(fresh, fresh.patients["erika"])
    with fresh.service.store.read() as session:
        (row,) = session.exec(select(AccessRequest)).all()
    assert b"fremd" not in row.box + row.requester + row.about
    events = fresh.get("/fhir/AuditEvent?_count=200", fresh.owner()).json()["entry"]
    told = [one["resource"]["outcomeDesc"] for one in events]
    assert "fremd hat um Einsicht in Ihre Akte gebeten. / fremd asked to be let into your record." in told


def test_one_provider_asks_one_patient_once_and_not_again_and_again(fresh: HttpWorld) -> None:
    whole = fresh.patients["erika"]
    assert [ask(fresh, whole).status_code for _ in range(6)] == [202] * 5 + [429]
    assert ask(fresh, whole, "labor").status_code == 202
    assert {one["name"] for one in waiting(fresh)} == {"fremd", "labor"}
    fresh.clock.advance(days=31)
    fresh.owners["erika"] = fresh.http.post(
        "/auth/sign-in", json={"login": "erika", "password": "Korrekt Pferd Batterie"}
    ).json()["token"]
    assert waiting(fresh) == []
    ask(fresh, whole)
    assert len(waiting(fresh)) == 1


def test_one_provider_asks_a_bounded_number_of_patients(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_requests, "_MOST_A_DAY", 3)
    others = [f"{'a' * 25}{letter}.{'b' * 26}" for letter in "bcde"]
    assert [ask(fresh, one).status_code for one in others] == [202, 202, 202, 429]
    assert ask(fresh, others[0], "labor").status_code == 202


def test_a_patient_finds_a_bounded_number(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_requests, "_MOST_WAITING", 1)
    assert [ask(fresh, fresh.patients["erika"], client).status_code for client in ("fremd", "labor")] == [202, 202]
    assert [one["name"] for one in waiting(fresh)] == ["fremd"]


def test_a_request_that_the_database_made_up_is_left_out(fresh: HttpWorld) -> None:
    ask(fresh, fresh.patients["erika"])
    with fresh.service.store.write() as session:
        (row,) = session.exec(select(AccessRequest)).all()
        row.asked += 1
        session.add(row)
    assert waiting(fresh) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"sections": []},
        {"sections": ["unsorted"]},
        {"sections": "results"},
        {"purposes": ["HMARKT"]},
        {"why": ""},
        {"why": "x" * 501},
        {"why": "a\u202e\nb"},
        {"days": 0},
        {"days": True},
        {"days": 100_000},
        {"patient": "erika"},
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(shared: HttpWorld, changed: dict[str, Any]) -> None:
    made = ask(shared, NOBODY, **changed)
    assert made.status_code == 400
    assert made.json()["issue"][0]["diagnostics"].startswith(next(iter(changed)))


def test_who_may_ask_and_who_may_answer(fresh: HttpWorld) -> None:
    told = {"patient": fresh.patients["erika"]} | WISH
    assert fresh.http.post("/auth/access-requests", json=told, headers=fresh.owner("berta")).status_code == 403
    assert fresh.http.post("/auth/access-requests", json=told).status_code == 401
    ask(fresh, fresh.patients["erika"])
    (found,) = waiting(fresh)
    answer(fresh, 404, "berta", request=found["id"], answer="yes")
    assert fresh.http.get("/app/access-requests", headers=fresh.token("praxis")).status_code == 403
