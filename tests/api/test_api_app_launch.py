"""An app asks, the patient approves and narrows, the app reads exactly that, until the patient ends it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fhir_profiles.codes import APP_AUTHORIZATION
from fhir_profiles.text import Resource
from tests.api.app_world import App, answered, bearer
from tests.api.http_world import ASSERTION, PASSWORD, REDIRECT, HttpWorld, classes
from tests.api.second_server import second_server

LABORATORY = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"


TYPES = ("Condition", "Consent", "Encounter", "Observation", "Organization", "Patient", "Practitioner")


def types(world: HttpWorld, tokens: dict[str, Any]) -> list[str]:
    """Those of which an app finds anything."""
    found = {name: world.get(f"/fhir/{name}", bearer(tokens)) for name in TYPES}
    return [name for name, answer in found.items() if answer.status_code == 200 and answer.json()["total"]]


def consents(world: HttpWorld) -> list[Resource]:
    """Erika's that name an app, as the app's approval has signed them."""
    found = world.get("/fhir/Consent?_count=50", world.owner()).json()["entry"]
    named = [one["resource"] for one in found]
    return [one for one in named if APP_AUTHORIZATION in str(one["provision"]["actor"])]


def observations(world: HttpWorld, tokens: dict[str, Any], query: str = "") -> tuple[int, Any]:
    answer = world.get(f"/fhir/Observation?patient={tokens['patient']}{query}", bearer(tokens))
    return answer.status_code, answer.json().get("total")


def test_an_app_reads_what_was_approved(fresh: HttpWorld) -> None:
    tokens = App(fresh).tokens()
    assert tokens["patient"] == fresh.patients["erika"]
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert tokens["scope"] == "launch/patient openid fhirUser offline_access patient/*.rs"
    assert types(fresh, tokens) == ["Condition", "Encounter", "Observation", "Organization", "Patient", "Practitioner"]
    assert fresh.get("/fhir/Observation", bearer(tokens)).json()["total"] == 3


def test_the_id_token_says_who_approved(fresh: HttpWorld) -> None:
    app = App(fresh)
    code = app.approve(app.ask(nonce="n-1"))["code"]
    keys = KeySet.import_key_set(fresh.http.get("/auth/jwks").json())
    claims = jwt.decode(app.redeem(code).json()["id_token"], keys, algorithms=["ES256"]).claims
    now = int(fresh.clock().timestamp())
    assert len(claims.pop("sub")) == 32
    assert claims == {
        "iss": fresh.service.base_url,
        "aud": "app",
        "iat": now,
        "exp": now + 300,
        "nonce": "n-1",
        "fhirUser": f"{fresh.service.base_url}/fhir/Patient/{fresh.patients['erika']}",
    }
    assert "d" not in fresh.http.get("/auth/jwks").json()["keys"][0]


def test_what_is_asked_is_told_in_parts(fresh: HttpWorld) -> None:
    granular = f"patient/Observation.rs?category={LABORATORY}"
    app = App(fresh, scope=f"launch/patient {granular} patient/Condition.cruds patient/*.write profile")
    told = fresh.http.get(f"/app/authorizations/{app.ask()}", headers=fresh.owner()).json()
    sections = {one["name"]: one for one in told.pop("sections")}
    assert sections["results"]["asked"]
    assert {name for name, one in sections.items() if not one["asked"]} == {
        *("mental-health", "sexual-health", "substance-use", "genetics")
    }
    now, erika = fresh.clock(), fresh.patients["erika"]
    assert told == {
        "app": {"id": "app", "name": "Blutdruck-Tagebuch", "verified": "configured", "note": ""},
        "reading": [
            {
                "scope": granular,
                "resource_type": "Observation",
                "codes": [dict(zip(("system", "code"), LABORATORY.split("|"), strict=True))],
            },
            {"scope": "patient/Condition.rs", "resource_type": "Condition", "codes": []},
        ],
        "refused": ["patient/Condition.cruds", "patient/*.write", "profile"],
        "offline": False,
        "openid": False,
        "until": (now + timedelta(hours=1)).isoformat(timespec="seconds"),
        "longest": (now + timedelta(hours=1)).isoformat(timespec="seconds"),
        "persons": [{"vault": erika.partition(".")[0], "patient": erika}],
    }


def test_what_the_patient_takes_away_is_not_there(fresh: HttpWorld) -> None:
    app = App(fresh, scope="offline_access patient/Observation.rs patient/Condition.rs patient/Patient.rs")
    tokens = app.tokens(reading=["patient/Observation.rs", "patient/Patient.rs"])
    assert tokens["scope"] == "offline_access patient/Observation.rs patient/Patient.rs"
    assert types(fresh, tokens) == ["Observation", "Patient"]
    assert fresh.get(f"/fhir/Condition?patient={tokens['patient']}", bearer(tokens)).status_code == 403


def test_sections_narrow_whatever_the_scope_says(fresh: HttpWorld) -> None:
    app = App(fresh)
    assert types(fresh, app.tokens(sections=["problems"])) == ["Condition", "Patient"]
    bare = fresh.get(f"/fhir/Patient/{fresh.patients['erika']}", bearer(app.tokens(sections=["results"]))).json()
    assert "name" not in bare


def test_a_granular_scope_narrows_the_view(fresh: HttpWorld) -> None:
    """Whatever way it is asked for, what is of another category is not there."""
    pulse = {"resourceType": "Observation", "status": "final"}
    pulse |= {"subject": {"reference": f"Patient/{fresh.patients['erika']}"}}
    pulse |= {"category": [{"coding": [{"system": LABORATORY.partition("|")[0], "code": "vital-signs"}]}]}
    pulse |= {"code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}}
    made = fresh.http.post("/fhir/Observation", json=pulse, headers=fresh.owner()).json()["id"]
    for category, found in ((LABORATORY, 3), ("laboratory", 3), ("vital-signs", 1), ("vital-signs,laboratory", 4)):
        tokens = App(fresh, scope=f"patient/Patient.rs patient/Observation.rs?category={category}").tokens()
        assert observations(fresh, tokens) == (200, found)
        assert observations(fresh, tokens, "&_summary=count")[1] == found
        seen = fresh.get(f"/fhir/Observation/{made}", bearer(tokens)).status_code
        assert seen == (200 if "vital" in category else 404)
        assert types(fresh, tokens) == ["Observation", "Patient"]


def test_a_scope_brings_nothing_of_another_type_along(fresh: HttpWorld) -> None:
    tokens = App(fresh, scope="patient/Observation.rs").tokens()
    found = fresh.get("/fhir/Observation", bearer(tokens))
    assert "masked" in found.text
    assert "Practitioner/" not in found.text
    assert fresh.get("/fhir/Practitioner", bearer(tokens)).status_code == 403


def test_an_app_writes_nothing(fresh: HttpWorld) -> None:
    tokens = App(fresh, scope="patient/*.cruds").tokens()
    assert tokens["scope"] == "patient/*.rs"
    sent = {"resourceType": "Observation", "status": "final", "code": {"text": "Puls"}}
    sent |= {"subject": {"reference": f"Patient/{tokens['patient']}"}}
    assert fresh.http.post("/fhir/Observation", json=sent, headers=bearer(tokens)).status_code == 403
    assert fresh.http.delete("/app/grants/praxis", headers=bearer(tokens)).status_code == 403
    assert fresh.http.post("/app/launches", json={"client_id": "app"}, headers=bearer(tokens)).status_code == 403


def test_receipts_name_the_app(fresh: HttpWorld) -> None:
    observations(fresh, App(fresh).tokens())
    found = fresh.get("/fhir/AuditEvent?_count=200", fresh.owner()).json()["entry"]
    mine = [one["resource"] for one in found if one["resource"]["agent"][0]["name"] == "Blutdruck-Tagebuch"]
    assert {one["purposeOfEvent"][0]["coding"][0]["code"] for one in mine} == {"PATRQT"}
    (signed,) = consents(fresh)
    details = [detail for one in mine for detail in one["entity"][0]["detail"]]
    assert {one["valueString"] for one in details if one["type"] == "consent"} == {f"Consent/{signed['id']}"}
    assert signed["provision"]["actor"][0]["reference"]["display"] == "Blutdruck-Tagebuch"


def test_the_patient_finds_it_among_who_may_read_and_ends_it_there(fresh: HttpWorld) -> None:
    tokens = App(fresh).tokens()
    observations(fresh, tokens)
    told = fresh.get("/app/grantees", fresh.owner()).json()["grantees"]
    (mine,) = (one for one in told if one["name"] == "Blutdruck-Tagebuch")
    assert mine["standing"]
    assert datetime.fromisoformat(mine["until"]) == fresh.clock() + timedelta(days=90, seconds=1)  # that one is in it
    (notice,) = fresh.get("/app/notices", fresh.owner()).json()["notices"]
    assert notice["kind"] == "first"
    assert fresh.http.delete(f"/app/grants/{mine['party']}", headers=fresh.owner()).json() == {"ended": 1}
    assert observations(fresh, tokens)[0] in (401, 404)


@pytest.mark.parametrize("way", ["consent", "grant"])
def test_ending_it_ends_its_tokens_at_once(fresh: HttpWorld, way: str) -> None:
    app = App(fresh, client="server-app")
    tokens = app.tokens()
    assert observations(fresh, tokens) == (200, 3)
    (signed,) = consents(fresh)
    if way == "consent":
        ended = signed | {"status": "inactive"}
        assert fresh.http.put(f"/fhir/Consent/{signed['id']}", json=ended, headers=fresh.owner()).status_code == 200
    else:
        named = signed["provision"]["actor"][0]["reference"]["identifier"]["value"]
        assert fresh.http.delete(f"/app/grants/app/{named}", headers=fresh.owner()).json() == {"ended": 1}
    assert observations(fresh, tokens)[0] in (401, 404)
    assert app.refresh(tokens["refresh_token"]).json() == {"error": "invalid_grant"}
    assert introspected(fresh, tokens["access_token"]) == {"active": False}


def introspected(world: HttpWorld, token: str, client: str = "server-app") -> Any:
    form = {"token": token, "client_assertion_type": ASSERTION, "client_assertion": world.assertion(client)}
    return world.http.post("/auth/introspect", data=form).json()


def test_a_client_learns_of_its_own_tokens_alone(fresh: HttpWorld) -> None:
    tokens = App(fresh, client="server-app", scope="patient/Observation.rs").tokens()
    told = introspected(fresh, tokens["access_token"])
    assert len(told.pop("sub")) == 32
    expires = int(fresh.clock().timestamp()) + 3600
    assert told == {
        "iss": fresh.service.base_url,
        "patient": fresh.patients["erika"],
        "active": True,
        "client_id": "server-app",
        "scope": "patient/Observation.rs",
        "exp": expires,
        "token_type": "Bearer",
    }
    assert introspected(fresh, tokens["access_token"], "praxis") == {"active": False}
    assert introspected(fresh, "never-was") == {"active": False}
    asked = {"token": tokens["access_token"], "client_id": "app"}
    assert fresh.http.post("/auth/introspect", data=asked).status_code == 401


def test_without_offline_access_it_lasts_an_hour_and_is_not_refreshed(fresh: HttpWorld) -> None:
    tokens = App(fresh, scope="patient/*.rs").tokens()
    assert "refresh_token" not in tokens
    fresh.clock.now += timedelta(hours=1)
    assert observations(fresh, tokens)[0] == 401


def test_online_access_ends_the_same_day_and_offline_when_the_patient_says(fresh: HttpWorld) -> None:
    sitting, standing = App(fresh, scope="online_access patient/*.rs"), App(fresh)
    until = (fresh.clock() + timedelta(days=30)).isoformat(timespec="seconds")
    short, long = sitting.tokens(), standing.tokens(until=until)
    fresh.clock.now += timedelta(hours=11, minutes=30)
    again = sitting.refresh(short["refresh_token"]).json()
    assert again["expires_in"] == 1800
    fresh.clock.now += timedelta(minutes=31)
    assert sitting.refresh(again["refresh_token"]).json() == {"error": "invalid_grant"}
    assert observations(fresh, again)[0] == 401
    fresh.clock.now += timedelta(days=29)
    long = standing.refresh(long["refresh_token"]).json()
    assert observations(fresh, long) == (200, 3)
    fresh.clock.now += timedelta(days=1)
    assert standing.refresh(long["refresh_token"]).json() == {"error": "invalid_grant"}


def test_an_app_is_started_from_the_patients_own_session(fresh: HttpWorld) -> None:
    told = fresh.http.post("/app/launches", json={"client_id": "app"}, headers=fresh.owner()).json()
    app = App(fresh, scope="launch patient/*.rs")
    assert told["iss"] == app.request["aud"]
    handle = app.ask(launch=told["launch"])
    tokens = app.redeem(app.approve(handle)["code"]).json()
    assert observations(fresh, tokens) == (200, 3)


def test_a_request_is_pushed_from_behind(fresh: HttpWorld) -> None:
    app = App(fresh, client="server-app")
    who = {"client_assertion_type": ASSERTION, "client_assertion": fresh.assertion("server-app")}
    pushed = fresh.http.post("/auth/par", data=app.request | who)
    assert (pushed.status_code, pushed.json()["expires_in"]) == (201, 90)
    named = {"client_id": "server-app", "request_uri": pushed.json()["request_uri"]}
    place = fresh.http.get("/auth/authorize", params=named).headers["location"]
    code = app.approve(place.partition("request=")[2])["code"]
    assert app.redeem(code).status_code == 200
    assert fresh.http.get("/auth/authorize", params=named).status_code == 400
    assert fresh.http.post("/auth/par", data=app.request).json() == {"error": "invalid_client"}


def test_a_request_is_posted_by_a_form_too(shared: HttpWorld) -> None:
    answer = shared.http.post("/auth/authorize", data=App(shared).request)
    assert answer.headers["location"].startswith(f"{shared.service.base_url}/app/authorize?request=")


def test_the_patient_wants_none_of_it(fresh: HttpWorld) -> None:
    app = App(fresh)
    handle = app.ask()
    told = fresh.http.delete(f"/app/authorizations/{handle}", headers=fresh.owner()).json()
    expected = {"error": "access_denied", "state": app.state, "iss": fresh.service.base_url}
    assert answered(told["redirect"]) == expected
    assert fresh.http.post(f"/app/authorizations/{handle}", json={}, headers=fresh.owner()).status_code == 403
    assert consents(fresh) == []


def test_approving_takes_a_fresh_unlock_and_waits_for_it(fresh: HttpWorld) -> None:
    app = App(fresh)
    fresh.clock.now += timedelta(minutes=6)
    handle = app.ask()
    assert fresh.http.post(f"/app/authorizations/{handle}", json={}, headers=fresh.owner()).status_code == 403
    told = fresh.http.post("/auth/sign-in", json={"login": "erika", "password": PASSWORD}).json()
    fresh.owners["erika"] = told["token"]
    assert app.redeem(app.approve(handle)["code"]).status_code == 200


@pytest.mark.parametrize(
    "choice",
    [
        {"reading": []},
        {"reading": ["patient/Condition.rs"]},
        {"reading": "patient/*.rs"},
        {"sections": []},
        {"sections": ["unsorted"]},
        {"sections": [["results"]]},
        {"until": "2099-01-01T00:00:00+01:00"},
        {"until": "2026-12-24T00:00:00"},
        {"until": 7},
        {"patient": "a" * 26 + "." + "b" * 26},
    ],
    ids=str,
)
def test_a_choice_that_is_none_signs_nothing(fresh: HttpWorld, choice: dict[str, Any]) -> None:
    handle = App(fresh).ask()
    answer = fresh.http.post(f"/app/authorizations/{handle}", json=choice, headers=fresh.owner())
    assert answer.status_code == 400, answer.text
    assert consents(fresh) == []


def test_what_is_hidden_by_another_consent_is_hidden_from_apps(fresh: HttpWorld) -> None:
    """A deny without an actor is for everybody."""
    fresh.http.post(
        "/fhir/Consent",
        json=denied(fresh, **{"class": classes("results")}),
        headers=fresh.owner(),
    ).raise_for_status()
    assert observations(fresh, App(fresh).tokens()) == (200, 0)


def denied(world: HttpWorld, **provision: Any) -> Resource:
    coding = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [coding]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{world.patients['erika']}"},
        "policyRule": {"text": "x"},
        "provision": {"provision": [{"type": "deny"} | provision]},
    }


def test_an_app_that_registered_itself_waits_for_the_operator(fresh: HttpWorld) -> None:
    told = {"client_name": "Schrittzähler", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    made = fresh.http.post("/auth/register", json=told)
    assert made.status_code == 201, made.text
    app = App(fresh, client=made.json()["client_id"])
    assert app.authorize().status_code == 400
    fresh.service.parties.approve(app.client, "called back")
    asked = fresh.http.get(f"/app/authorizations/{app.ask()}", headers=fresh.owner()).json()["app"]
    assert asked == {"id": app.client, "name": "Schrittzähler", "verified": "approved", "note": "called back"}
    tokens = app.tokens()
    assert observations(fresh, tokens) == (200, 3)
    fresh.service.parties.registrations.end(app.client)
    fresh.clock.now += timedelta(seconds=10)
    assert app.refresh(tokens["refresh_token"]).json() == {"error": "invalid_client"}
    assert app.authorize().status_code == 400


def test_a_request_is_answered_through_another_process(fresh: HttpWorld, tmp_path: Path) -> None:
    app = App(fresh)
    handle = app.ask()
    with second_server(fresh.service.config, tmp_path) as other:
        told = other.post(f"/app/authorizations/{handle}", json={}, headers=fresh.owner()).json()
        tokens = app.redeem(answered(told["redirect"])["code"]).json()
        path = f"/fhir/Observation?patient={tokens['patient']}"
        assert other.get(path, headers=bearer(tokens)).json()["total"] == 3


def test_a_refresh_token_is_enough_where_there_is_no_key(fresh: HttpWorld) -> None:
    """fhirclient.js sends nothing else; who has a key proves it here too."""
    for client, status in (("app", 200), ("server-app", 400)):
        form = {"grant_type": "refresh_token", "refresh_token": App(fresh, client=client).tokens()["refresh_token"]}
        assert fresh.http.post("/auth/token", data=form).status_code == status


def test_the_answer_goes_to_the_address_that_asked(shared: HttpWorld) -> None:
    told = App(shared).authorize(scope="patient/*.write")
    assert told.headers["location"].startswith(f"{REDIRECT}?error=invalid_scope&")
