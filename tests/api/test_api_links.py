"""Sharing with who has no account, over HTTP: a link is made, opened by somebody else's code, and ends."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from aggregator.sharing.tables import Share
from tests.api.http_world import HttpWorld
from tests.api.receiver import PRACTICE, RIGHT, WRONG, is_closed, receipts, receive, share, shared_link
from tests.api.ways_in import sign_in

# What a link leads to.


def test_a_link_leads_to_a_patient_summary(fresh: HttpWorld) -> None:
    made = share(fresh)
    link = receive(fresh, made)
    assert link.payload | {"url": "", "key": ""} == {
        "url": "",
        "key": "",
        "exp": int(fresh.clock().timestamp()) + 72 * 3600,
        "label": "Für den Urlaub",
    }
    assert len(link.payload["url"]) <= 128
    assert made["address"] == f"{fresh.service.base_url}/app/share/view#{made['link']}"
    assert made["qr"].startswith("<svg")
    answer = link.ask()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    (file,) = answer.json()["files"]
    assert file | {"embedded": ""} == {
        "contentType": "application/fhir+json",
        "fhirVersion": "4.0.1",
        "lastUpdated": "2026-11-21T20:30:00.000Z",
        "status": "finalized",
        "embedded": "",
    }
    bundle = link.decrypt(file["embedded"])
    assert (bundle["type"], bundle["entry"][0]["resource"]["resourceType"]) == ("document", "Composition")


def kinds(bundle: dict[str, Any]) -> list[str]:
    return sorted({entry["resource"]["resourceType"] for entry in bundle["entry"]})


def test_sections_and_single_resources_are_shared(fresh: HttpWorld) -> None:
    results = shared_link(fresh, form="collection", sections=["results"]).open()
    assert (results["type"], kinds(results)) == ("collection", ["Observation", "Patient", "Practitioner"])
    (patient,) = [one["resource"] for one in results["entry"] if one["resource"]["resourceType"] == "Patient"]
    assert "name" not in patient
    named = next(one["fullUrl"] for one in results["entry"] if "/Observation/" in one["fullUrl"])
    alone = shared_link(fresh, resources=[named.partition("/fhir/")[2]]).open()
    assert [one["fullUrl"] for one in alone["entry"] if "/Observation/" in one["fullUrl"]] == [named]
    assert "Condition" not in kinds(alone)


@pytest.mark.parametrize(
    ("wish", "place"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": 9000}, "hours"),
        ({"hours": "3"}, "hours"),
        ({"label": "x" * 81}, "label"),
        ({"label": "a\nb"}, "label"),
        ({"passcode": "12345"}, "passcode"),
        ({"passcode": "123456", "direct": True}, "direct"),
        ({"once": True, "live": True}, "once"),
        ({"sections": ["genes"]}, "sections"),
        ({"sections": "results"}, "sections"),
        ({"form": "pdf"}, "form"),
        ({"form": "summary", "resources": ["Patient/x"]}, "form"),
        ({"resources": ["Observation/nothing"]}, "resources"),
        ({"forever": True}, "forever"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_its_place(shared: HttpWorld, wish: dict[str, Any], place: str) -> None:
    answer = shared.http.post("/app/links", json=wish, headers=shared.owner())
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [place])


def test_making_one_takes_a_fresh_unlock(fresh: HttpWorld) -> None:
    fresh.clock.advance(minutes=6)
    answer = fresh.http.post("/app/links", json={}, headers=fresh.owner())
    assert answer.status_code == 403
    assert states(fresh) == []


def test_a_grantee_makes_none(shared: HttpWorld) -> None:
    assert shared.http.post("/app/links", json={}, headers=shared.token("praxis")).status_code == 403


# How it is opened.


def test_every_opening_is_a_receipt_with_the_name_as_it_was_stated(fresh: HttpWorld) -> None:
    link = shared_link(fresh, passcode=RIGHT)
    link.ask()
    link.ask(passcode=WRONG)
    link.open(passcode=RIGHT)
    refused = (
        f"Wer sich „{PRACTICE}“ nennt (nicht geprüft), wollte Ihren Link „Für den Urlaub“ öffnen und durfte nicht."
    )
    assert receipts(fresh)[-4:] == [
        "Sie haben etwas aus Ihrer Akte für einen Link bereitgelegt.",
        refused,
        refused,
        f"Wer sich „{PRACTICE}“ nennt (nicht geprüft), hat Ihren Link „Für den Urlaub“ geöffnet.",
    ]


def test_a_passcode_is_asked_for_and_a_right_one_costs_no_try(fresh: HttpWorld) -> None:
    link = shared_link(fresh, passcode=RIGHT)
    assert link.payload["flag"] == "P"
    for remaining, tried in ((5, {}), (4, {"passcode": WRONG})):
        answer = link.ask(**tried)
        assert (answer.status_code, answer.json()) == (401, {"remainingAttempts": remaining})
    for _ in range(6):
        link.open(passcode=RIGHT)
    assert link.ask(passcode=WRONG).json() == {"remainingAttempts": 3}


def test_what_is_too_long_to_embed_has_an_address_for_one_fetch(fresh: HttpWorld) -> None:
    link = shared_link(fresh)
    (file,) = link.ask(embeddedLengthMax=100).json()["files"]
    assert "embedded" not in file
    assert file["location"].startswith(f"{fresh.service.base_url}/shl/file/")
    answer = fresh.http.get(file["location"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jose")
    assert link.decrypt(answer.text)["type"] == "document"
    assert is_closed(fresh.http.get(file["location"]))
    (other,) = link.ask(embeddedLengthMax=0).json()["files"]
    fresh.clock.advance(minutes=15)
    assert is_closed(fresh.http.get(other["location"]))


def test_a_direct_link_is_the_file_and_has_no_manifest(fresh: HttpWorld) -> None:
    link, other = shared_link(fresh, direct=True), shared_link(fresh)
    assert link.payload["flag"] == "U"
    answer = fresh.http.get(link.path(), params={"recipient": PRACTICE})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jose")
    assert link.decrypt(answer.text)["type"] == "document"
    assert is_closed(link.ask())
    assert is_closed(fresh.http.get(other.path(), params={"recipient": PRACTICE}))


def test_a_link_for_one_opening_opens_once(fresh: HttpWorld) -> None:
    link = shared_link(fresh, once=True)
    link.open()
    assert is_closed(link.ask())
    assert states(fresh) == ["used"]


def test_its_file_may_still_be_fetched_from_its_address_once(fresh: HttpWorld) -> None:
    link = shared_link(fresh, once=True)
    (file,) = link.ask(embeddedLengthMax=0).json()["files"]
    assert is_closed(link.ask())
    assert link.decrypt(fresh.http.get(file["location"]).text)["type"] == "document"
    with fresh.service.store.read() as session:
        assert session.exec(select(Share.box)).one() == b""


def allergy(world: HttpWorld) -> dict[str, Any]:
    active = {"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}
    return {
        "resourceType": "AllergyIntolerance",
        "code": {"text": "Erdbeeren"},
        "patient": {"reference": f"Patient/{world.patients['erika']}"},
        "clinicalStatus": {"coding": [active]},
    }


def test_a_live_link_shows_the_record_as_it_was_when_its_owner_made_it_again(fresh: HttpWorld) -> None:
    live, fixed = shared_link(fresh, live=True, form="collection"), shared_link(fresh, form="collection")
    assert live.payload["flag"] == "L"
    before = len(live.open()["entry"])
    assert fresh.http.post("/fhir/AllergyIntolerance", json=allergy(fresh), headers=fresh.owner()).status_code == 201
    assert len(live.open()["entry"]) == before
    fresh.clock.advance(minutes=3)
    assert fresh.http.post("/app/links/renewals", headers=fresh.owner()).json() == {"renewed": 1}
    (file,) = live.ask().json()["files"]
    assert (file["status"], file["lastUpdated"]) == ("can-change", "2026-11-21T20:33:00.000Z")
    assert len(live.decrypt(file["embedded"])["entry"]) == before + 1
    assert len(fixed.open()["entry"]) == before
    assert fresh.http.post("/app/links/renewals", headers=fresh.owner()).json() == {"renewed": 0}


def test_it_is_made_again_when_its_owner_signs_in_without_what_is_gone(fresh: HttpWorld) -> None:
    made = fresh.http.post("/fhir/AllergyIntolerance", json=allergy(fresh), headers=fresh.owner()).json()
    live = shared_link(fresh, live=True, resources=[f"AllergyIntolerance/{made['id']}"])
    assert "AllergyIntolerance" in kinds(live.open())
    assert fresh.http.delete(f"/fhir/AllergyIntolerance/{made['id']}", headers=fresh.owner()).status_code == 204
    assert "AllergyIntolerance" in kinds(live.open())
    sign_in(fresh)
    assert "AllergyIntolerance" not in kinds(live.open())


def test_what_has_grown_too_long_keeps_nobody_from_signing_in(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = shared_link(fresh, live=True)
    assert fresh.http.post("/fhir/AllergyIntolerance", json=allergy(fresh), headers=fresh.owner()).status_code == 201
    monkeypatch.setattr("aggregator.sharing.encrypted_file.MOST", 100)
    assert sign_in(fresh).status_code == 200
    assert live.ask().json()["files"][0]["lastUpdated"] == "2026-11-21T20:30:00.000Z"


@pytest.mark.parametrize(
    "asked",
    [
        {"recipient": ""},
        {"recipient": "x" * 201},
        {"recipient": 7},
        {"recipient": "P", "passcode": 7},
        {"recipient": "P", "embeddedLengthMax": -1},
        {"recipient": "P", "embeddedLengthMax": True},
    ],
)
def test_a_wrong_request_is_refused_the_same_for_a_link_that_never_was(
    shared: HttpWorld, asked: dict[str, Any]
) -> None:
    assert shared.http.post("/shl/nothing", json=asked).status_code == 400


def test_any_page_may_ask(shared: HttpWorld) -> None:
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    told = shared.http.options("/shl/x", headers=asked).headers
    assert (told["access-control-allow-origin"], told["access-control-allow-headers"]) == ("*", "Content-Type")
    assert "access-control-allow-credentials" not in told
    answer = shared.http.post("/shl/x", json={"recipient": PRACTICE})
    assert answer.headers["access-control-allow-origin"] == "*"


# How it ends.


def states(world: HttpWorld) -> list[str]:
    return [one["state"] for one in world.get("/app/links", world.owner()).json()["links"]]


def test_links_are_listed_without_what_opens_them(fresh: HttpWorld) -> None:
    made = share(fresh, passcode=RIGHT, live=True, sections=["results"], hours=1)
    (told,) = fresh.get("/app/links", fresh.owner()).json()["links"]
    assert told == {
        "id": made["id"],
        "label": "Für den Urlaub",
        "made": "2026-11-21T20:30:00.000Z",
        "content": {"form": "summary", "sections": ["results"], "resources": []},
        "flag": "LP",
        "once": False,
        "attempts": 5,
        "state": "open",
        "expires": "2026-11-21T21:30:00+00:00",
    }


def test_it_ends_when_its_owner_says_so_without_a_fresh_unlock(fresh: HttpWorld) -> None:
    made = share(fresh)
    fresh.clock.advance(minutes=20)
    assert fresh.http.delete(f"/app/links/{made['id']}", headers=fresh.owner()).status_code == 204
    assert is_closed(receive(fresh, made).ask())
    assert states(fresh) == []
    assert receipts(fresh)[-1] == "Sie haben einen Link beendet."
    assert fresh.http.delete(f"/app/links/{made['id']}", headers=fresh.owner()).status_code == 400


def test_it_ends_with_its_time_and_is_swept_with_its_key(fresh: HttpWorld) -> None:
    link = shared_link(fresh, hours=1)
    fresh.clock.advance(hours=1)
    assert is_closed(link.ask())
    assert fresh.service.shares.sweep() == 1
    assert is_closed(link.ask())
    with fresh.service.store.read() as session:
        assert session.exec(select(Share)).all() == []


def test_a_signed_consent_ends_no_link(fresh: HttpWorld) -> None:
    link = shared_link(fresh)
    fresh.consent("fremd")
    link.open()


def test_there_are_not_more_than_somebody_keeps_in_mind(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.sharing.shares.MOST", 1)
    share(fresh)
    assert fresh.http.post("/app/links", json={}, headers=fresh.owner()).status_code == 400
