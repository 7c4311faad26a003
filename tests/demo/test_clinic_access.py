"""Who gets in, and to what."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from fhir_profiles.text import dumps
from tests.demo.clinic_world import Clock, World, loaded_clinic, running

_KEYS: dict[str, Key] = {"ES384": ECKey.generate_key("P-384"), "RS384": RSAKey.generate_key(2048)}
_PATIENT = "4cdad971-9527-5ec7-94fa-a9c384719320"
_OBSERVATION = "9ea266f2-a489-5475-a3a5-4c2fba365823"


def _two_patients(world: World) -> None:
    """Käthe from the files, and Bruno with a Device; each with a token."""
    for resource in (
        {"resourceType": "Patient", "id": "bruno"},
        {"resourceType": "Device", "id": "pump", "patient": {"reference": "Patient/bruno"}},
        {"resourceType": "Device", "id": "scanner"},
        {"resourceType": "Flag", "id": "nobodys"},
        {"resourceType": "Group", "id": "both", "member": [{"entity": {"reference": "Patient/bruno"}}]},
    ):
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        assert world.ask("PUT", path, content=dumps(resource)).status_code == 201
    world.server.access.allow("kaethe-token", _PATIENT)
    world.server.access.allow("bruno-token", "bruno")


@pytest.fixture(scope="module")
def clinic() -> Iterator[World]:
    """A clinic with two patients, that is only read."""
    with running(loaded_clinic()) as world:
        _two_patients(world)
        yield world


@pytest.mark.parametrize(
    ("path", "kaethe", "bruno"),
    [
        (f"Patient/{_PATIENT}", 200, 404),
        ("Patient/bruno", 404, 200),
        (f"Observation/{_OBSERVATION}", 200, 404),
        (f"Observation/{_OBSERVATION}/_history", 200, 404),
        (f"Observation/{_OBSERVATION}/_history/1", 200, 404),
        (f"Observation?patient={_PATIENT}", 200, 403),
        (f"Observation?subject=Patient/{_PATIENT}", 200, 403),
        ("Observation?patient=never-was", 403, 403),
        ("Device/pump", 404, 200),
        ("Device/scanner", 200, 200),
        ("Flag/nobodys", 404, 404),
        ("Group/both", 404, 200),
    ],
)
def test_a_token_opens_one_patient_and_the_directory(clinic: World, path: str, kaethe: int, bruno: int) -> None:
    statuses = [clinic.ask("GET", f"/fhir/{path}", f"{who}-token").status_code for who in ("kaethe", "bruno")]
    assert statuses == [kaethe, bruno]


def test_what_is_hidden_is_answered_like_what_never_was(clinic: World) -> None:
    hidden, absent = (
        clinic.ask("GET", f"/fhir/{path}", "bruno-token")
        for path in (f"Observation/{_OBSERVATION}", "Observation/never-was")
    )
    assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content)


def test_searches_hold_what_the_token_opens(clinic: World) -> None:
    tokens = ("kaethe-token", "bruno-token", "operator-token")
    totals = {
        kind: tuple(clinic.get(f"/fhir/{kind}", token)["total"] for token in tokens)
        for kind in ("Patient", "Observation", "Provenance", "Device", "Organization", "Flag", "Group")
    }
    assert totals == {
        "Patient": (1, 1, 2),
        "Observation": (1, 0, 1),
        "Provenance": (1, 0, 1),
        "Device": (1, 2, 2),
        "Organization": (1, 1, 1),
        "Flag": (0, 0, 1),
        "Group": (0, 1, 1),
    }
    assert clinic.get(f"/fhir/Observation?_id={_OBSERVATION}", "bruno-token")["total"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_patients_token_writes_nothing(clinic: World, method: str) -> None:
    paths = {"POST": "/fhir/Flag", "PUT": "/fhir/Flag/1", "DELETE": f"/fhir/Observation/{_OBSERVATION}"}
    assert clinic.ask(method, paths[method], "kaethe-token", content=b"{}").status_code == 403
    assert clinic.ask("POST", "/fhir", "kaethe-token", content=b"{}").status_code == 403
    assert clinic.get(f"/fhir/Observation/{_OBSERVATION}")["status"] == "final"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic operator-token", "operator-token"])
def test_without_a_token_only_the_metadata_are_open(clinic: World, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    refused = clinic.client.get("/fhir/Patient", headers=headers)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert clinic.client.get("/fhir/metadata", headers=headers).status_code == 200
    assert clinic.client.get("/fhir/.well-known/smart-configuration", headers=headers).status_code == 200


def _claims(world: World, **changed: Any) -> dict[str, Any]:
    url = world.client.get("/fhir/.well-known/smart-configuration").json()["token_endpoint"]
    ends = int((world.clock.now + timedelta(minutes=4)).timestamp())
    return {"iss": "aggregator", "sub": "aggregator", "aud": url, "exp": ends, "jti": secrets.token_hex(16), **changed}


def _sign_in(world: World, assertion: str, **changed: str) -> Any:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
        "scope": "system/*.read",
        **changed,
    }
    return world.client.post("/auth/token", data=form)


def _signed(claims: dict[str, Any], alg: str = "ES384", key: Key | None = None) -> str:
    return jwt.encode({"alg": alg}, claims, key or _KEYS[alg], algorithms=[alg])


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_a_backend_service_signs_in_and_reads_until_its_token_ends(alg: str) -> None:
    clock = Clock()
    with running(loaded_clinic(clock), clock) as world:
        world.server.access.register("aggregator", _KEYS[alg].as_dict(private=False))
        answer = _sign_in(world, _signed(_claims(world), alg))
        told = answer.json()
        token = told.pop("access_token")
        assert told == {"token_type": "bearer", "expires_in": 300, "scope": "system/*.read"}
        assert world.get("/fhir/Observation", token)["total"] == 1
        assert world.ask("POST", "/fhir/Flag", token, content=b'{"resourceType":"Flag"}').status_code == 403
        world.clock.now += timedelta(minutes=5)
        assert world.ask("GET", "/fhir/Observation", token).status_code == 401


def test_a_backend_service_with_a_writing_scope_writes() -> None:
    with running() as world:
        world.server.access.register("aggregator", _KEYS["ES384"].as_dict(private=False))
        told = _sign_in(world, _signed(_claims(world)), scope="openid system/*.cruds").json()
        assert told["scope"] == "system/*.cruds"
        written = world.ask("POST", "/fhir/Flag", told["access_token"], content=b'{"resourceType":"Flag"}')
        assert written.status_code == 201


_WRONG: dict[str, tuple[Callable[[World], tuple[str, dict[str, str]]], str]] = {
    "grant type": (lambda world: (_signed(_claims(world)), {"grant_type": "password"}), "unsupported_grant_type"),
    "assertion type": (lambda world: (_signed(_claims(world)), {"client_assertion_type": "x"}), "invalid_client"),
    "scope": (lambda world: (_signed(_claims(world)), {"scope": "patient/*.read"}), "invalid_scope"),
    "no assertion": (lambda _: ("", {}), "invalid_client"),
    "not a JWT": (lambda _: ("a.b.c", {}), "invalid_client"),
    "too long": (lambda world: (_signed(_claims(world, pad="x" * 9000)), {}), "invalid_client"),
    "unknown client": (lambda world: (_signed(_claims(world, iss="other", sub="other")), {}), "invalid_client"),
    "iss is a list": (lambda world: (_signed(_claims(world, iss=["aggregator"])), {}), "invalid_client"),
    "sub is another": (lambda world: (_signed(_claims(world, sub="other")), {}), "invalid_client"),
    "other audience": (lambda world: (_signed(_claims(world, aud="https://other.example")), {}), "invalid_client"),
    "expired": (lambda world: (_signed(_claims(world, exp=int(world.clock.now.timestamp()))), {}), "invalid_client"),
    "too long a life": (
        lambda world: (_signed(_claims(world, exp=int(world.clock.now.timestamp()) + 302)), {}),
        "invalid_client",
    ),
    "exp is no number": (lambda world: (_signed(_claims(world, exp="soon")), {}), "invalid_client"),
    "no jti": (lambda world: (_signed(_claims(world, jti="")), {}), "invalid_client"),
    "another key": (
        lambda world: (_signed(_claims(world), key=ECKey.generate_key("P-384")), {}),
        "invalid_client",
    ),
    "another algorithm": (
        lambda world: (_signed(_claims(world), "HS256", OctKey.generate_key(256)), {}),
        "invalid_client",
    ),
}


@pytest.fixture(scope="module")
def registered() -> Iterator[World]:
    """A clinic that knows one backend service."""
    with running() as world:
        world.server.access.register("aggregator", _KEYS["ES384"].as_dict(private=False))
        yield world


@pytest.mark.parametrize("name", _WRONG)
def test_a_backend_service_that_breaks_a_rule_gets_no_token(registered: World, name: str) -> None:
    make, error = _WRONG[name]
    assertion, changed = make(registered)
    answer = _sign_in(registered, assertion, **changed)
    assert answer.json()["error"] == error
    assert answer.status_code == (401 if error == "invalid_client" else 400)
    assert _sign_in(registered, _signed(_claims(registered))).status_code == 200


def test_an_assertion_serves_once() -> None:
    with running() as world:
        world.server.access.register("aggregator", _KEYS["ES384"].as_dict(private=False))
        assertion = _signed(_claims(world))
        assert [_sign_in(world, assertion).status_code for _ in range(2)] == [200, 401]
