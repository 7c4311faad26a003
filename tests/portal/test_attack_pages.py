"""Attacks on the pages: another site's forms and frames, planted sessions, guessed passwords, script in names."""

from __future__ import annotations

import itertools
import json
import logging
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from starlette.requests import Request

from aggregator.api.caller import Callers, Principal
from aggregator.identity import unlockers
from aggregator.portal import frame as frames
from aggregator.portal.visit import Visit
from tests.api import ways_in
from tests.api.http_world import PASSWORD, HttpWorld
from tests.identity.authenticator import Authenticator
from tests.portal.tab import Tab
from tests.weaken import weakens

SCRIPT = "<script>alert(1)</script>"
PAGES = ("/app", "/app/sign-up", "/app/recover", "/app/devices", "/app/ways-in", "/app/authorize")
CODE = unlockers.format_code("a" * 26)
_BY_BEARER, _RENDERED = Callers.of, frames.Frame._render


@pytest.fixture
def tab(world: HttpWorld) -> Tab:
    """Erika's browser, signed in."""
    made = Tab(world)
    assert made.sign_in().headers["location"] == "/app"
    made.get("/app/devices")
    return made


def _new(world: HttpWorld) -> str:
    """The login of somebody new: a weakened build is tried in the same world."""
    login = f"rot-{uuid.uuid4()}"
    world.sign_up(login, "Rot", "1950-01-01")
    return login


def _believed(*_: object) -> bool:
    return True


def _ours(*_: object) -> bool:
    return False


@pytest.mark.attack(47)
@weakens("aggregator.portal.frame", "proves", _believed)
@pytest.mark.parametrize("proof", ["", "0" * 32, "ä"])
def test_a_form_that_another_site_made_up_is_refused(tab: Tab, proof: str) -> None:
    assert tab.send("/app/devices", session="others", proof=proof).status_code == 403


@pytest.mark.attack(47)
@weakens("aggregator.portal.cookies.Cookies", "is_foreign", _ours)
@pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_form_that_another_site_sends_is_refused_whatever_it_knows(tab: Tab, site: dict[str, str]) -> None:
    assert tab.send("/app/devices", site, session="others").status_code == 403


@pytest.mark.attack(47)
@weakens("aggregator.portal.cookies.Cookies", "is_foreign", _ours)
def test_an_old_browser_tells_its_origin(world: HttpWorld) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 303), (world.service.base_url, 303)):
        tab = Tab(world)
        fields = {"login": "erika", "unlock_password": PASSWORD, "wanted": "/app"}
        hidden = {"proof": re.findall(r'name="proof" value="(\w+)"', tab.page.text)[0]}
        sent = tab.ask("POST", "/app/sign-in", data=hidden | fields, headers={"Origin": origin})
        assert sent.status_code == status, origin


@pytest.mark.attack(47)
@weakens("aggregator.portal.frame", "proves", _believed)
def test_nobody_is_signed_in_by_another_site(world: HttpWorld) -> None:
    """To somebody else's account, into which they would then write."""
    planted, victim = Tab(world), Tab(world)
    victim.page = planted.page  # the attacker's own page, and its proof
    assert victim.send("/app/sign-in", login="berta", unlock_password=PASSWORD).status_code == 403
    assert not victim.session


@pytest.mark.attack(47)
@weakens("aggregator.portal.cookies.Cookies", "enter", lambda *_: None)
def test_a_session_that_was_planted_is_not_the_one_that_is_opened(world: HttpWorld) -> None:
    attacker, victim = Tab(world), Tab(world)
    attacker.sign_in("berta")
    victim.cookies.set("session", attacker.session, domain="127.0.0.1", path="/")
    victim.get("/app")
    planted = attacker.session
    victim.send("/app/sign-in", login="erika", unlock_password=PASSWORD, wanted="/app")
    assert len(victim.cookies) == 1
    assert victim.session != planted
    assert attacker.get("/app/devices").status_code == 403  # what it was planted with has ended


@pytest.mark.attack(47)
@weakens("aggregator.portal.visit", "POLICY", "default-src 'none'")
def test_no_page_is_framed(tab: Tab) -> None:
    for path in PAGES:
        assert "frame-ancestors 'none'" in tab.get(path).headers["content-security-policy"], path


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "count", lambda *_: 0.0)
def test_a_password_is_not_guessed(world: HttpWorld) -> None:
    login = _new(world)
    tab = Tab(world)
    for _ in range(6):
        assert tab.sign_in(login, "geraten und falsch").status_code == 403
    assert tab.sign_in(login).status_code == 403
    world.clock.advance(minutes=2)
    assert tab.sign_in(login).status_code == 303


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "count", lambda *_: 0.0)
def test_who_holds_a_session_does_not_guess_the_password(world: HttpWorld) -> None:
    login = _new(world)
    tab = Tab(world)
    tab.sign_in(login)
    world.clock.advance(minutes=6)
    answers = []
    for password in [*["geraten und falsch"] * 6, PASSWORD]:
        tab.get("/app/ways-in/password")
        answers.append(tab.send("/app/ways-in/code", unlock_password=password).status_code)
    assert answers == [403] * 7


@pytest.mark.attack(47)
@weakens("aggregator.identity.ways_in.WaysIn", "unlock_again", lambda self, _, *more: self.sign_in(*more))
def test_a_passkey_of_another_record_unlocks_nothing(world: HttpWorld) -> None:
    device, login = Authenticator(world.service.base_url), _new(world)
    assert ways_in.register(world, device, world.owner(login)).status_code == 201
    mine, others = Tab(world), Tab(world)
    mine.sign_in(login)
    others.sign_in(_new(world))
    world.clock.advance(minutes=6)
    answers = []
    for tab in (others, mine):
        tab.get("/app/ways-in/password")
        asserted = json.dumps(device.get(ways_in.challenge(world)))
        answers.append(tab.send("/app/ways-in/code", unlock_assertion=asserted).status_code)
    assert answers == [403, 200]


def _told(world: HttpWorld, path: str, login: str, **fields: str) -> tuple[int, str, int]:
    """Status, page, and how often Argon2 ran."""
    tab = Tab(world)
    tab.get(path)
    with mock.patch.object(unlockers, "_argon2", wraps=unlockers._argon2) as work:
        answer = tab.send(path, login=login, **fields)
    return answer.status_code, re.sub(r'value="[^"]*"', "", answer.text), work.call_count


@pytest.mark.attack(47)
@weakens("aggregator.identity.unlockers", "waste_time", lambda *_: None)
def test_whether_a_login_exists_is_told_neither_by_words_nor_by_work(world: HttpWorld) -> None:
    login = _new(world)
    wrong = {"unlock_password": "falsch, ganz falsch", "wanted": "/app"}
    assert _told(world, "/app/sign-in", login, **wrong) == _told(world, "/app/sign-in", "nobody", **wrong)
    new = {"code": CODE, "new_password": PASSWORD, "again": PASSWORD}
    assert _told(world, "/app/recover", login, **new) == _told(world, "/app/recover", "nobody", **new)


def _by_cookie(self: Callers, request: Request) -> Principal:
    token = request.cookies.get("session")
    return self.remembered(token) if token else _BY_BEARER(self, request)


@pytest.mark.attack(47)
@weakens("aggregator.api.caller.Callers", "of", _by_cookie)
def test_no_json_route_takes_the_cookie(tab: Tab, world: HttpWorld) -> None:
    for path in ("/app/sessions", "/app/connections", "/app/unlockers"):
        assert tab.ask("GET", path).status_code == 401, path
    patient = world.patients["erika"]
    assert tab.ask("DELETE", "/app/sessions").status_code == 401
    assert tab.ask("POST", "/auth/sign-out").status_code == 401
    assert tab.ask("GET", f"/fhir/Patient/{patient}").status_code == 401


@pytest.mark.attack(47)
def test_no_client_is_an_owner_by_cookie(world: HttpWorld) -> None:
    tab = Tab(world)
    token = world.token("praxis")["Authorization"].removeprefix("Bearer ")
    tab.cookies.set("session", token, domain="127.0.0.1", path="/")
    assert tab.get("/app/devices").status_code == 403


def _unescaped(self: Any, visit: Visit, name: str, values: Mapping[str, Any]) -> str:
    with mock.patch.object(self, "_environment", self._environment.overlay(autoescape=False)):
        return _RENDERED(self, visit, name, values)


@pytest.mark.attack(45)
@weakens("aggregator.portal.frame.Frame", "_render", _unescaped)
def test_a_name_is_shown_as_it_was_written_and_does_nothing(world: HttpWorld, tab: Tab) -> None:
    told = {"login": "erika", "password": PASSWORD, "device": SCRIPT}
    assert world.http.post("/auth/sign-in", json=told).status_code == 200
    shown = tab.get("/app/devices").text
    assert SCRIPT not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    tab.get("/app/sign-in")
    anyone = Tab(world)
    assert SCRIPT not in anyone.send("/app/sign-in", login=f'"{SCRIPT}', unlock_password="x", wanted=SCRIPT).text


@pytest.mark.attack(45)
@weakens("aggregator.portal.visit", "POLICY", "default-src 'none'; script-src 'unsafe-inline'; style-src *")
def test_nothing_but_our_own_files_runs_or_is_fetched(world: HttpWorld, tab: Tab) -> None:
    for one, path in itertools.product((tab, Tab(world)), PAGES):
        policy = one.get(path).headers["content-security-policy"]
        told = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert told["default-src"] == "'none'"
        assert {told[name] for name in told if name.endswith("-src")} == {"'none'", "'self'"}
        assert (told["base-uri"], told["form-action"]) == ("'none'", "'self'")


@pytest.mark.attack(45)
def test_no_template_holds_script_style_or_another_host() -> None:
    for path in Path(frames.__file__).parent.glob("templates/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=|https?://|\| *safe", text), path.name


@pytest.mark.attack(44)
@weakens("aggregator.portal.visit", "proof", lambda secret: secret)
def test_the_session_stands_in_no_address_and_no_page(tab: Tab) -> None:
    assert tab.session
    for path in PAGES:
        answer = tab.get(path)
        assert tab.session not in answer.text
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    refused = tab.send("/app/devices", proof="wrong", session=tab.session)
    assert tab.session not in refused.text
    assert tab.session not in tab.sign_in().headers["location"]


@pytest.mark.attack(44)
def test_nothing_of_a_sign_in_stands_in_a_log(world: HttpWorld, caplog: pytest.LogCaptureFixture) -> None:
    login, tab, wrong = _new(world), Tab(world), "falsch, ganz falsch"
    with caplog.at_level(logging.INFO):
        tab.sign_in(login, wrong)
        tab.sign_in(login)
        session = tab.session
        world.clock.advance(minutes=6)
        tab.get("/app/ways-in/password")
        tab.send("/app/ways-in/code", unlock_password=PASSWORD)
        tab.send("/app/devices", proof="wrong")
    for secret in (login, wrong, PASSWORD, session, tab.session):
        assert secret not in caplog.text


@pytest.mark.attack(47)
@weakens("aggregator.portal.visit", "_HERE", re.compile(r"(?s).*"))
@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/app\\..\\evil", "/app\r\nX: y", "app"])
def test_nobody_is_sent_to_another_site_after_signing_in(world: HttpWorld, wanted: str) -> None:
    assert Tab(world).sign_in(wanted=wanted).headers["location"] == "/app"
