"""Who may see what, as its owner reads it: grantees, what ends soon, each Consent's history."""

from __future__ import annotations

from typing import Any

from aggregator.consent.decide import PartyKind
from aggregator.identity.directory import Entry
from aggregator.identity.parties import Parties
from aggregator.identity.standing import Standing
from fhir_profiles.codes import ACT_REASON, LANR, PARTICIPATION_TYPE, PARTY_CLASS
from tests.api.http_world import HttpWorld, classes, consent


def grantees(world: HttpWorld) -> dict[str, dict[str, Any]]:
    answer = world.http.get("/app/grantees", headers=world.owner())
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["grantees"]}


def test_who_may_see_what_and_since_when(fresh: HttpWorld) -> None:
    fresh.get(f"/fhir/Patient/{fresh.patients['erika']}", fresh.token("labor"))
    found = grantees(fresh)
    assert set(found) == {"labor", "praxis"}
    labor = found["labor"]
    assert [one["section"] for one in labor["sections"]] == ["results", "directory"]
    assert (labor["since"][:10], labor["until"][:10]) == ("2025-12-31", "2027-12-31")
    assert (labor["standing"], labor["ends_soon"], len(labor["consents"])) == (True, False, 1)
    assert labor["last_access"] == "2026-11-21T21:30:00+01:00"
    assert found["praxis"]["last_access"] is None


def test_who_is_ended_is_gone_at_once(fresh: HttpWorld) -> None:
    assert fresh.http.delete("/app/grants/labor", headers=fresh.owner()).json() == {"ended": 1}
    assert set(grantees(fresh)) == {"praxis"}


def test_what_ends_within_a_fortnight_is_told(fresh: HttpWorld) -> None:
    fresh.consent("fremd", period={"start": "2026-01-01", "end": "2026-12-01"})
    assert {name: one["ends_soon"] for name, one in grantees(fresh).items()} == {
        "fremd": True,
        "labor": False,
        "praxis": False,
    }
    fresh.consent("fremd", period={"start": "2020-01-01", "end": "2020-12-01"})
    assert len(grantees(fresh)["fremd"]["consents"]) == 1  # what is over permits nothing


def test_a_class_is_told_once(fresh: HttpWorld) -> None:
    role = {"coding": [{"system": PARTICIPATION_TYPE, "code": "IRCP"}]}
    anyone = {"role": role, "reference": {"identifier": {"system": PARTY_CLASS, "value": "provider"}}}
    fresh.consent("nobody", actor=[anyone], purpose=[{"system": ACT_REASON, "code": "BTG"}])
    found = grantees(fresh)
    assert set(found) == {"labor", "praxis", "jede hier angemeldete Praxis oder Klinik"}
    assert [one["section"] for one in found["labor"]["sections"]] == ["results", "directory"]


def test_the_history_of_a_consent_in_words(fresh: HttpWorld) -> None:
    signed = fresh.consent("fremd", **{"class": classes("results")})
    narrower = consent(fresh.patients["erika"], "fremd") | {"id": signed, "status": "inactive"}
    assert fresh.http.put(f"/fhir/Consent/{signed}", json=narrower, headers=fresh.owner()).status_code == 200
    answer = fresh.http.get(f"/app/consents/{signed}/history", headers=fresh.owner())
    newest, first = answer.json()["versions"]
    assert (newest["version"], newest["status"], newest["permits"], newest["opened_to"]) == (2, "inactive", False, [])
    assert newest["in_words"][0]["de"] == "Diese Einwilligung gilt nicht."
    assert (first["version"], first["permits"], first["opened_to"]) == (1, True, ["fremd"])
    assert first["in_words"] == [
        {
            "de": "Erlaubt ist: für fremd; Bereiche: Befunde und Messwerte; Zweck: Behandlung; "
            "gültig ab 01.01.2026 bis 31.12.2027.",
            "en": "Permitted is: to fremd; sections: Results; purpose: treatment; "
            "in force from 2026-01-01 until 2027-12-31.",
        }
    ]


def test_every_consent_is_listed_in_words(fresh: HttpWorld) -> None:
    signed = fresh.consent("fremd", period={"start": "2020-01-01", "end": "2020-12-31"})
    found = fresh.http.get("/app/consents", headers=fresh.owner()).json()["consents"]
    assert len(found) == 3
    (over,) = (one for one in found if one["consent"] == signed)
    assert over["opened_to"] == []


def test_anothers_consent_has_no_history_here(fresh: HttpWorld) -> None:
    signed = fresh.consent("fremd")
    assert fresh.http.get(f"/app/consents/{signed}/history", headers=fresh.owner("berta")).status_code == 404
    assert fresh.http.get(f"/app/consents/{signed}x/history", headers=fresh.owner()).status_code == 404
    assert fresh.http.get("/app/grantees", headers=fresh.token("praxis")).status_code == 403


def test_who_stands_in_a_directory_is_told_by_name_and_role(fresh: HttpWorld) -> None:
    """In the words of a Consent that names them by an identifier, as a doctor's number."""
    service, token = fresh.service, fresh.owners["erika"]
    entry = Entry(
        id="Practitioner/b",
        name="Dr. Bettina Brandt",
        role="Allgemeinmedizin",
        kind=PartyKind.PROVIDER,
        identifiers=frozenset({(LANR, "123456701")}),
    )
    parties = Parties(
        service.parties._clients, service.parties.registrations, {entry.id: entry}, str.encode, service.clock
    )
    named = {"reference": {"identifier": {"system": LANR, "value": "123456701"}}}
    actor = consent("x", "y")["provision"]["actor"][0] | named
    local = fresh.consent("nobody", actor=[actor]).partition(".")[2]
    standing = Standing(service.store, service.grants, parties, service.clock)
    (edition,) = standing.history(service.accounts.owner(token), local)
    assert any("Dr. Bettina Brandt (Allgemeinmedizin)" in german for german, _ in edition.said.sentences)
