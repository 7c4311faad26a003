"""A client registers itself over HTTP: it opens nothing before the operator approves, then what a patient says."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.api.http_world import ASSERTION, HttpWorld, consent
from tests.weaken import weakens

LANR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR"
KEY = ECKey.generate_key("P-384", {"kid": "own"})
DOCTOR: dict[str, Any] = {
    "client_name": "Dr. Frei Erfunden",
    "grant_types": ["client_credentials"],
    "jwks": {"keys": [KEY.as_dict(private=False)]},
    "identifiers": [{"system": LANR, "value": "999999900"}],
    "contacts": ["praxis@frei-erfunden.example"],
}
APP: dict[str, Any] = {"client_name": "Tagebuch", "redirect_uris": ["https://app.example/back"]}


def register(world: HttpWorld, told: dict[str, Any]) -> str:
    answer = world.http.post("/auth/register", json=told)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


def sign_in(world: HttpWorld, client: str) -> tuple[int, dict[str, Any]]:
    now = int(world.clock().timestamp())
    claims = {"iss": client, "sub": client, "aud": f"{world.service.base_url}/auth/token", "exp": now + 200}
    text = jwt.encode({"alg": "ES384", "kid": "own"}, claims | {"jti": str(uuid.uuid4())}, KEY, algorithms=["ES384"])
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": text}
    answer = world.http.post("/auth/token", data=form | {"scope": "system/*.rs"})
    return answer.status_code, answer.json()


def sees(world: HttpWorld, client: str) -> int:
    """The status of a read of the patient, by the client's own token."""
    token = sign_in(world, client)[1]["access_token"]
    return world.get(f"/fhir/Patient/{world.patients['erika']}", {"Authorization": f"Bearer {token}"}).status_code


def let_in(world: HttpWorld, client: str) -> None:
    """The patient names the client in a Consent, by its id."""
    told = consent(world.patients["erika"], "x")
    told["provision"]["actor"][0]["reference"] = {"reference": f"Organization/{client}"}
    assert world.http.post("/fhir/Consent", json=told, headers=world.owner()).status_code == 201


@pytest.mark.attack(3)
@weakens("aggregator.identity.registrations.Registrations", "ask", lambda self, claim: self.add(claim, "", ""))
def test_a_doctor_who_registered_alone_reads_nothing_though_a_patient_named_them(fresh: HttpWorld) -> None:
    client = register(fresh, DOCTOR)
    let_in(fresh, client)
    assert sign_in(fresh, client) == (401, {"error": "invalid_client"})


@pytest.mark.attack(3, 9)
@weakens("aggregator.identity.registrations.Registrations", "end", lambda *_: None, about=(3,))
def test_a_doctor_whom_the_operator_approved_reads_what_a_patient_opens_and_nothing_before(fresh: HttpWorld) -> None:
    """Nor does who guesses an insurance number learn whether it is anybody's."""
    client = register(fresh, DOCTOR)
    fresh.service.parties.approve(client, "called the practice back")
    fresh.consent("praxis")  # all grants are made anew, and none is the doctor's
    assert sees(fresh, client) == 404
    token = {"Authorization": f"Bearer {sign_in(fresh, client)[1]['access_token']}"}
    asked = "/fhir/Patient?identifier=http://fhir.de/sid/gkv/kvid-10%7C"
    real, none = (fresh.get(asked + number, token) for number in ("X110411675", "A000000000"))
    assert (real.status_code, real.json()["total"]) == (none.status_code, none.json()["total"]) == (200, 0)
    let_in(fresh, client)
    assert sees(fresh, client) == 200
    fresh.service.parties.registrations.end(client)
    assert sign_in(fresh, client) == (401, {"error": "invalid_client"})


@pytest.mark.attack(3)
def test_a_token_of_a_client_that_the_operator_ended_is_worth_nothing(fresh: HttpWorld) -> None:
    client = register(fresh, DOCTOR)
    fresh.service.parties.approve(client, "called the practice back")
    let_in(fresh, client)
    token = {"Authorization": f"Bearer {sign_in(fresh, client)[1]['access_token']}"}
    fresh.service.parties.registrations.end(client)  # before anybody remembers whom it stands for
    assert fresh.get(f"/fhir/Patient/{fresh.patients['erika']}", token).status_code == 401


def test_the_answer_says_what_is_registered_and_that_it_waits(fresh: HttpWorld) -> None:
    answer = fresh.http.post("/auth/register", json=APP | {"logo_uri": "https://app.example/logo.png", "scope": "x"})
    told = answer.json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert told.pop("client_id").startswith("client-")
    assert told == {
        "client_id_issued_at": int(fresh.clock().timestamp()),
        "client_name": "Tagebuch",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["https://app.example/back"],
        "registration_state": "pending",
    }


WRONG: list[tuple[dict[str, Any], str, str]] = [
    (
        APP | {"redirect_uris": ["http://app.example/back"]},
        "invalid_redirect_uri",
        "redirect_uris: one of them",
    ),
    (APP | {"client_name": "labor"}, "invalid_client_metadata", "client_name: somebody else is registered"),
    (APP | {"client_name": "x" * 20_000}, "invalid_client_metadata", "the body is over 16384 bytes"),
    ({}, "invalid_redirect_uri", "redirect_uris: at least one is needed"),
]


@pytest.mark.attack(3, 37)
def test_what_is_wrong_has_oauths_own_form(fresh: HttpWorld) -> None:
    for told, code, text in WRONG:
        answer = fresh.http.post("/auth/register", json=told)
        assert (answer.status_code, answer.json()["error"]) == (400, code)
        assert answer.json()["error_description"].startswith(text)


NO_OBJECTS = [b"", b"{", b"[]", b"null", b'{"a": "\xff"}', b"[" * 10_000, b'{"a":1,"a":2}']


@pytest.mark.attack(46)
def test_what_is_no_object_is_refused(fresh: HttpWorld) -> None:
    for body in NO_OBJECTS:
        answer = fresh.http.post("/auth/register", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata"), body[:20]


@pytest.mark.attack(3)
def test_so_many_may_wait_and_those_who_come_later_are_told(fresh: HttpWorld) -> None:
    for _ in range(fresh.service.config.parties.most_pending):
        register(fresh, APP)
    answer = fresh.http.post("/auth/register", json=APP)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


def test_an_owner_finds_whom_a_consent_can_name_and_nobody_else_does(fresh: HttpWorld) -> None:
    answer = fresh.get("/app/parties?q=labor", fresh.owner())
    assert answer.json() == {
        "parties": [
            {
                "id": "labor",
                "name": "labor",
                "role": "",
                "kind": "provider",
                "identifiers": [{"system": "https://example.org/parties", "value": "labor"}],
                "verified": "configured",
                "note": "",
                "signs_in": True,
            }
        ]
    }
    assert fresh.http.get("/app/parties?q=labor").status_code == 401
    assert fresh.get("/app/parties?q=labor", fresh.token("praxis")).status_code == 403
