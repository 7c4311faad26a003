"""An owner brings SMART Health Cards along, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from aggregator.sharing.health_card import Issuer
from fhir_profiles.profiles import VERIFICATION_URL
from tests.api.http_world import HttpWorld
from tests.api.receiver import receipts
from tests.sharing.cards import PUBLISHED, signed

FILE = {"verifiableCredential": [PUBLISHED["card"]]}


@pytest.fixture
def john(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> HttpWorld:
    """Whom the published example is about has an account, and the operator trusts its issuer."""
    fresh.sign_up("john", "Anyperson", "1951-01-20")
    known = Issuer(name="The specification", trusted=True, keys=[PUBLISHED["key"]])
    monkeypatch.setattr(fresh.service.issuers, "_trusted", {PUBLISHED["issuer"]: known})
    return fresh


def bring(world: HttpWorld, told: dict[str, Any], login: str = "john") -> httpx.Response:
    return world.http.post("/app/cards", json=told, headers=world.owner(login))


def vaccinations(world: HttpWorld, login: str = "john") -> list[dict[str, Any]]:
    answer = world.get(f"/fhir/Immunization?patient={world.patients[login]}", world.owner(login))
    return [one["resource"] for one in answer.json().get("entry", [])]


def test_a_card_is_taken_as_its_owners_own_with_what_its_check_came_to(john: HttpWorld) -> None:
    answer = bring(john, FILE)
    assert answer.status_code == 201, answer.text
    (card,) = answer.json()["cards"]
    assert (card["result"], card["issuer"], card["reason"]) == (
        "verified",
        PUBLISHED["issuer"],
        "signed by The specification",
    )
    assert len(card["resources"]) == 3
    found = vaccinations(john)
    assert {one["patient"]["reference"] for one in found} == {f"Patient/{john.patients['john']}"}
    assert [one["meta"]["extension"] for one in found] == [
        [{"url": VERIFICATION_URL, "valueString": "verified: signed by The specification"}]
    ] * 3
    provenance = john.get(f"/fhir/Provenance/{found[0]['id']}", john.owner("john")).json()
    assert provenance["agent"][0]["who"]["display"] == "owner"
    assert provenance["entity"][0]["what"]["display"].startswith(f"{PUBLISHED['issuer']}: verified")
    assert "Sie haben 4 Einträge in Ihrer Akte geschrieben oder gelöscht." in receipts(john, "john")


def test_the_original_stays_and_a_second_time_brings_nothing_new(john: HttpWorld) -> None:
    (card,) = bring(john, {"codes": [PUBLISHED["code"]]}).json()["cards"]
    document = john.get(f"/fhir/{card['document']}", john.owner("john")).json()
    assert document["content"][0]["attachment"]["contentType"] == "application/smart-health-card"
    (again,) = bring(john, FILE).json()["cards"]
    assert (again["known"], again["resources"], again["document"]) == (True, [], card["document"])
    assert len(vaccinations(john)) == 3


def test_a_change_by_its_owner_takes_the_verification_away(john: HttpWorld) -> None:
    bring(john, FILE)
    one = vaccinations(john)[0] | {"lotNumber": "12"}
    answer = john.http.put(f"/fhir/Immunization/{one['id']}", json=one, headers=john.owner("john"))
    assert answer.status_code == 200
    assert "extension" not in answer.json()["meta"]


@pytest.mark.attack(56, 58)
def test_nobody_writes_a_verification_themselves(fresh: HttpWorld) -> None:
    forged = {"url": VERIFICATION_URL, "valueString": "verified: signed by the clinic"}
    allergy = {
        "resourceType": "AllergyIntolerance",
        "meta": {"extension": [forged]},
        "code": {"text": "Erdbeeren"},
        "clinicalStatus": {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}
            ]
        },
        "patient": {"reference": f"Patient/{fresh.patients['erika']}"},
    }
    answer = fresh.http.post("/fhir/AllergyIntolerance", json=allergy, headers=fresh.owner())
    assert answer.status_code == 201
    assert "extension" not in answer.json()["meta"]


def test_a_card_of_an_issuer_who_is_not_known_is_taken_and_says_so(fresh: HttpWorld) -> None:
    """Its address is asked through the guard, and nothing answers there."""
    (card,) = bring(fresh, {"verifiableCredential": [signed()]}, "erika").json()["cards"]
    assert card["result"] == "unchecked"
    (found,) = vaccinations(fresh, "erika")
    assert found["meta"]["extension"][0]["valueString"].startswith("unchecked: ")


@pytest.mark.attack(55)
def test_a_card_about_somebody_else_is_refused_and_nothing_is_taken(fresh: HttpWorld) -> None:
    answer = bring(fresh, FILE, "erika")
    assert answer.status_code == 400
    assert "another date of birth" in answer.json()["issue"][0]["diagnostics"]
    assert vaccinations(fresh, "erika") == []


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ({"resourceType": "Consent", "status": "active"}, "Bundle.entry[1]"),
        ({"resourceType": "Immunization", "status": 7}, "Bundle.entry[1].resource"),
        ({"resourceType": "Nonsense"}, "Bundle.entry[1]"),
    ],
)
def test_what_cannot_be_taken_is_refused_whole(fresh: HttpWorld, resource: dict[str, Any], place: str) -> None:
    answer = bring(fresh, {"verifiableCredential": [signed(more=[resource])]}, "erika")
    assert 400 <= answer.status_code < 500, answer.text
    assert place in json.dumps(answer.json())
    assert vaccinations(fresh, "erika") == []


def test_cards_are_for_owners(shared: HttpWorld) -> None:
    assert shared.http.post("/app/cards", json=FILE, headers=shared.token("praxis")).status_code == 403
    assert shared.http.post("/app/cards", json=FILE).status_code == 401
