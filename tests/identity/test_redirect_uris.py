"""Which redirect URIs can be registered, and what matches one."""

from __future__ import annotations

import pytest

from aggregator.identity import redirect_uris
from aggregator.identity.redirect_uris import fault, matches
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

WEB = "https://app.example/back?x=1"
LOOPBACK = "http://127.0.0.1/back"


@pytest.mark.parametrize(
    "uri",
    [
        WEB,
        LOOPBACK,
        "https://app.example",
        "https://app.example:8443/back",
        "http://127.0.0.1:4711/back",
        "http://[::1]/b",
    ],
)
def test_it_can_be_registered(uri: str) -> None:
    assert fault(uri) == ""


@pytest.mark.attack(37)
@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/back",
        "app.example/back",
        "//app.example/back",
        "https:///back",
        "https://",
        "http://app.example/back",
        "http://localhost/back",
        "http://127.0.0.1.evil.example/back",
        "http://127.0.0.2/back",
        "http://[::ffff:127.0.0.1]/back",
        "com.example.app:/back",
        "javascript:alert(1)",
        "data:text/html,x",
        "urn:ietf:wg:oauth:2.0:oob",
        "https://app.example/back#part",
        "https://app.example/back#",
        "https://user@app.example/back",
        "https://@app.example/back",
        "https://app.example@evil.example/back",
        "https://*.app.example/back",
        "https://app.example/*",
        "https://app.example:port/back",
        "https://app.example:99999/back",
        "https://[::1/back",
        "https://app.example/a b",
        "https://app.example\\@evil.example/back",
        "https://app.example/back\n",
        "https://äpp.example/back",
        "https://app.example/" + "x" * 2000,
    ],
)
def test_it_cannot(uri: str) -> None:
    assert fault(uri)


@pytest.mark.attack(37)
@pytest.mark.parametrize(
    "asked",
    [
        "https://app.example/back",
        "https://app.example/back?x=2",
        "https://app.example/back?x=1&y=2",
        "https://app.example/back/?x=1",
        "https://app.example/Back?x=1",
        "https://APP.example/back?x=1",
        "https://app.example:443/back?x=1",
        "https://app.example/a/../back?x=1",
        "https://app.example/%62ack?x=1",
        "https://evil.example/back?x=1",
        "https://app.example.evil.example/back?x=1",
        "http://app.example/back?x=1",
        "https://app.example/back?x=1#",
        " https://app.example/back?x=1",
        "",
    ],
)
@weakens("aggregator.identity.redirect_uris", "matches", lambda registered, _: bool(registered))
def test_it_is_compared_character_by_character(asked: str) -> None:
    assert redirect_uris.matches([WEB], WEB)
    assert not redirect_uris.matches([WEB], asked)


@pytest.mark.parametrize("port", ["", ":1", ":4711", ":65535"])
def test_a_loopback_one_without_a_port_takes_any_port(port: str) -> None:
    assert matches([WEB, LOOPBACK], f"http://127.0.0.1{port}/back")
    assert matches(["http://[::1]/back"], f"http://[::1]{port}/back")


@pytest.mark.attack(37)
@pytest.mark.parametrize(
    "asked",
    [
        "http://127.0.0.1:4711/other",
        "http://127.0.0.1:4711/back?x",
        "http://127.0.0.1:4711/back#x",
        "http://x@127.0.0.1:4711/back",
        "http://127.0.0.1:x/back",
        "http://127.0.0.1:/back",
        "http://127.0.0.1:04711/back",
        "http://127.0.0.1:99999/back",
        "http://127.0.0.1:1@evil.example/back",
        "http://[::1]:4711/back",
        "http://localhost:4711/back",
        "https://127.0.0.1:4711/back",
    ],
)
def test_nothing_else_of_it_may_differ(asked: str) -> None:
    assert not matches([LOOPBACK], asked)


def test_a_loopback_one_with_a_port_takes_that_port_alone() -> None:
    assert matches(["http://127.0.0.1:4711/back"], "http://127.0.0.1:4711/back")
    assert not matches(["http://127.0.0.1:4711/back"], "http://127.0.0.1:4712/back")


def test_only_a_loopback_one_takes_another_port() -> None:
    assert not matches(["https://app.example/back"], "https://app.example:4711/back")
    assert not matches(["https://127.0.0.1/back"], "https://127.0.0.1:4711/back")
