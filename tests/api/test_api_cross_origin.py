"""Pages of other sites: a registered app's may ask, nobody else's, and never with a cookie."""

from __future__ import annotations

import httpx
import pytest

from aggregator.api import oauth_table
from tests.api.app_world import App, bearer
from tests.api.http_world import HttpWorld
from tests.weaken import weakens

OURS, OTHER = "https://app.example", "https://evil.example"
ALLOWED = "access-control-allow-origin"


def asked(world: HttpWorld, path: str, origin: str, method: str = "GET", **headers: str) -> httpx.Response:
    return world.http.request(method, path, headers={"Origin": origin} | headers)


@pytest.mark.parametrize("path", ["/fhir/metadata", "/fhir/.well-known/smart-configuration", *oauth_table.DOCUMENTS])
def test_what_is_public_is_so_for_everybody(shared: HttpWorld, path: str) -> None:
    assert asked(shared, path, OTHER).headers[ALLOWED] == OTHER
    assert ALLOWED not in shared.http.get(path).headers


@pytest.mark.attack(47)
@weakens("aggregator.api.cross_origin.CrossOrigin", "_registered", lambda _: {OURS, OTHER})
def test_another_sites_page_is_told_nothing(fresh: HttpWorld) -> None:
    held = bearer(App(fresh).tokens())
    for path in ("/fhir/Observation", "/auth/token", "/auth/revoke", "/auth/par"):
        method, wanted = ("GET", "authorization") if path.startswith("/fhir") else ("POST", "content-type")
        before = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
        ours, others = (asked(fresh, path, one, "OPTIONS", **before) for one in (OURS, OTHER))
        assert (ours.status_code, ours.headers[ALLOWED]) == (204, OURS)
        assert wanted in ours.headers["access-control-allow-headers"].lower()
        assert ALLOWED not in others.headers
    answer = asked(fresh, "/fhir/Observation", OURS, **held)
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, OURS)
    assert "Origin" in answer.headers["vary"]
    assert ALLOWED not in asked(fresh, "/fhir/Observation", OTHER, **held).headers


@pytest.mark.parametrize(
    "path", ["/auth/sign-in", "/auth/authorize", "/app/authorizations/x", "/app", "/app/authorize"]
)
def test_what_is_the_patients_is_asked_from_nowhere_else(shared: HttpWorld, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = asked(shared, path, OURS, method, **{"Access-Control-Request-Method": "POST"})
        assert ALLOWED not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
