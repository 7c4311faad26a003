"""Many logins from one address: whose it is, how many tries are free, and that what succeeds does not count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request

from aggregator.api import doorway
from aggregator.config import HttpSettings
from tests.api.http_world import PASSWORD, HttpWorld
from tests.weaken import weakens

SOMEBODY, ELSE = "203.0.114.7", "203.0.114.8"


def _request(peer: str, forwarded: str = "") -> Request:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return Request({"type": "http", "headers": headers, "client": (peer, 1)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "found"),
    [
        (SOMEBODY, "", 0, SOMEBODY),
        (SOMEBODY, ELSE, 0, SOMEBODY),  # anybody can write that
        ("127.0.0.1", "", 0, ""),
        ("127.0.0.1", SOMEBODY, 0, ""),  # a proxy that was not named: all behind it would be one
        ("127.0.0.1", SOMEBODY, 1, SOMEBODY),
        ("127.0.0.1", f"{ELSE}, {SOMEBODY}", 1, SOMEBODY),  # what stands before it the caller wrote
        ("10.0.0.2", f"{SOMEBODY}, 10.0.0.1", 2, SOMEBODY),
        (SOMEBODY, "", 1, SOMEBODY),
        ("127.0.0.1", "nonsense", 1, ""),
        ("2a02:2e0:3fe:1001:7777::2", "", 0, "2a02:2e0:3fe:1001::/64"),
    ],
)
def test_whose_address_it_is(peer: str, forwarded: str, proxies: int, found: str) -> None:
    assert doorway.source(_request(peer, forwarded), proxies) == found


@pytest.fixture
def behind(fresh: HttpWorld) -> Iterator[HttpWorld]:
    """The world behind one proxy that the operator has named."""
    named = fresh.service.config.model_copy(update={"http": HttpSettings(trusted_proxies=1)})
    before = fresh.service.config
    object.__setattr__(fresh.service, "config", named)
    yield fresh
    object.__setattr__(fresh.service, "config", before)


def _tried(world: HttpWorld, address: str, login: str, password: str) -> int:
    told = {"login": login, "password": password}
    return world.http.post("/auth/sign-in", json=told, headers={"X-Forwarded-For": address}).status_code


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "count", lambda *_: 0.0)
def test_who_tries_many_logins_waits_and_nobody_else(behind: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "FREE_TRIES", 20)
    for number in range(doorway.FREE_TRIES):
        assert _tried(behind, SOMEBODY, f"login-{number}", "ein Passwort von vielen") == 401
    assert _tried(behind, SOMEBODY, "erika", PASSWORD) == 401
    assert _tried(behind, ELSE, "erika", PASSWORD) == 200
    behind.clock.advance(minutes=2)
    assert _tried(behind, SOMEBODY, "erika", PASSWORD) == 200


def test_what_succeeds_does_not_count(behind: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "FREE_TRIES", 5)
    for _ in range(doorway.FREE_TRIES + 5):
        assert _tried(behind, SOMEBODY, "erika", PASSWORD) == 200
