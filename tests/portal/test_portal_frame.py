"""Cookies over TLS and on this machine, whose form it is, files kept by their hash, and what goes wrong."""

from __future__ import annotations

import logging
import re

import pytest
from starlette.requests import Request
from starlette.responses import Response

from aggregator.portal.cookies import Cookies
from tests.api.http_world import PASSWORD, HttpWorld
from tests.portal.tab import Tab
from tests.weaken import weakens


def _set(base_url: str) -> list[str]:
    response = Response()
    Cookies(base_url).enter(response, "token")
    return response.headers.getlist("set-cookie")


@pytest.mark.attack(47)
@weakens("aggregator.portal.cookies", "LOOPBACK", ("akte.example",))
def test_a_session_is_this_hosts_over_tls_and_no_scripts() -> None:
    for base_url in ("https://akte.example", "http://akte.example"):
        assert _set(base_url)[0] == "__Host-session=token; HttpOnly; Path=/; SameSite=lax; Secure"


def test_on_this_machine_it_goes_without_tls() -> None:
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert _set(f"http://{host}")[0] == "session=token; HttpOnly; Path=/; SameSite=lax"


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://akte.example"}, True),
        ({"origin": "https://akte.example"}, False),
        ({"origin": "https://akte.example.evil"}, True),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_whose_form_it_is(headers: dict[str, str], foreign: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert Cookies("https://akte.example").is_foreign(Request({"type": "http", "headers": raw})) is foreign


def test_files_are_kept_for_ever_and_none_of_another_version_is_there(world: HttpWorld) -> None:
    tab = Tab(world)
    (address,) = re.findall(r'href="(/app/static/\w+/portal\.css)"', tab.page.text)
    found = tab.ask("GET", address)
    assert (found.status_code, found.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    version = address.split("/")[3]
    for other in (f"/app/static/{version}/passwd", f"/app/static/{'0' * 16}/portal.css"):
        assert tab.ask("GET", other).status_code == 404


def test_a_form_of_a_session_that_ended_is_not_done_by_whoever_signs_in_next(world: HttpWorld) -> None:
    tab, other = Tab(world), Tab(world)
    tab.sign_in()
    tab.page = tab.get("/app/ways-in")
    other.sign_in("erika")
    other.get("/app/devices")
    other.send("/app/devices", session="others")
    tab.page = tab.send("/app/ways-in/code")
    assert (tab.page.status_code, 'name="wanted" value="/app"' in tab.page.text) == (403, True)
    assert tab.send("/app/sign-in", login="berta", unlock_password=PASSWORD).headers["location"] == "/app"


@pytest.mark.attack(44)
@weakens("aggregator.portal.frame.disk", "failure", lambda error: error)
def test_what_nobody_expected_is_a_page_that_tells_nothing(
    world: HttpWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tab = Tab(world)
    tab.sign_in()

    def broken(_: str) -> bool:
        raise RuntimeError("a diagnosis")

    monkeypatch.setattr(world.service.accounts, "recovery_proven", broken)
    with caplog.at_level(logging.ERROR):
        answer = tab.get("/app")
    assert answer.status_code == 500
    assert "der Betreiber dieses Dienstes ist zuständig" in answer.text
    assert "diagnosis" not in answer.text + caplog.text
