"""A token that is bound to a key is worth nothing without it: https://www.rfc-editor.org/rfc/rfc9449"""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from aggregator.identity import dpop
from fhir_profiles.text import dumps
from tests.api.app_world import App
from tests.api.http_world import REDIRECT, HttpWorld
from tests.weaken import weakens

KEY, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")


def proof(world: HttpWorld, path: str, method: str = "POST", token: str = "", key: ECKey = KEY) -> dict[str, str]:
    """As a request's header."""
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": world.service.base_url + path}
    claims |= {"iat": int(world.clock().timestamp())} | ({"ath": dpop.token_hash(token)} if token else {})
    return {"DPoP": jws.serialize_compact(header, dumps(claims), key, algorithms=["ES256"])}


def redeem(app: App, code: str, key: ECKey | None = KEY) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "client_id": "app"}
    headers = proof(app.world, "/auth/token", key=key) if key else {}
    return app.world.http.post("/auth/token", data=form | {"code_verifier": app.verifier}, headers=headers)


def refresh(world: HttpWorld, token: str, key: ECKey | None = KEY) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app"}
    return world.http.post("/auth/token", data=form, headers=proof(world, "/auth/token", key=key) if key else {})


def read(world: HttpWorld, tokens: dict[str, Any], scheme: str = "DPoP", **headers: str) -> int:
    path = f"/fhir/Observation?patient={tokens['patient']}"
    bearing = {"Authorization": f"{scheme} {tokens['access_token']}"}
    return world.http.get(path, headers=bearing | headers).status_code


@pytest.mark.attack(44)
@weakens("aggregator.api.caller.Callers", "_prove", lambda *_: None)
def test_a_bound_token_opens_nothing_without_its_key(fresh: HttpWorld) -> None:
    app = App(fresh)
    tokens = redeem(app, app.code()).json()
    token = tokens["access_token"]
    assert tokens["token_type"] == "DPoP"
    right = proof(fresh, "/fhir/Observation", "GET", token)
    assert read(fresh, tokens, **right) == 200
    assert read(fresh, tokens, **right) == 401  # taken once
    assert read(fresh, tokens) == 401
    assert read(fresh, tokens, "Bearer", **proof(fresh, "/fhir/Observation", "GET", token)) == 401
    assert read(fresh, tokens, **proof(fresh, "/fhir/Observation", "GET", token, OTHER)) == 401
    assert read(fresh, tokens, **proof(fresh, "/fhir/Observation", "GET")) == 401
    assert read(fresh, tokens, **proof(fresh, "/fhir/Condition", "GET", token)) == 401
    assert read(fresh, tokens, **proof(fresh, "/fhir/Observation", "POST", token)) == 401


def test_a_token_that_is_not_bound_is_no_bound_one(fresh: HttpWorld) -> None:
    tokens = App(fresh).tokens()
    shown = proof(fresh, "/fhir/Observation", "GET", tokens["access_token"])
    assert read(fresh, tokens, "DPoP", **shown) == 401
    assert read(fresh, tokens, "Bearer", **shown) == 200


@pytest.mark.attack(39)
@weakens("aggregator.identity.app_tokens", "_has_its_key", lambda *_: True)
def test_a_bound_refresh_token_and_a_bound_code_take_their_key(fresh: HttpWorld) -> None:
    app = App(fresh)
    tokens = redeem(app, app.code()).json()
    for key in (OTHER, None):
        assert refresh(fresh, tokens["refresh_token"], key).json() == {"error": "invalid_grant"}
    again = refresh(fresh, tokens["refresh_token"]).json()
    assert again["token_type"] == "DPoP"
    code = app.approve(app.ask(dpop_jkt=KEY.thumbprint()))["code"]
    for key in (OTHER, None):
        assert redeem(app, code, key).json() == {"error": "invalid_grant"}
    assert redeem(app, code).status_code == 200


def test_a_proof_that_does_not_hold_is_told(fresh: HttpWorld) -> None:
    app = App(fresh)
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "app"}
    answer = fresh.http.post("/auth/token", data=form, headers=proof(fresh, "/auth/other"))
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_dpop_proof"})
    wrong = app.authorize(dpop_jkt="short").headers["location"]
    assert "error=invalid_request" in wrong
