"""Client assertions over HTTP: forged, stale, replayed, oversized; and keys at an address of the client's own."""

from __future__ import annotations

import base64
import hmac
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from aggregator.demo.server import Running, listen, serve
from connectors.fetch import Fetcher
from tests.api.http_world import ASSERTION, HttpWorld
from tests.weaken import weakens

STRANGER = ECKey.generate_key("P-384", {"kid": "praxis"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
FIRST, SECOND = (ECKey.generate_key("P-384", {"kid": kid}) for kid in ("first", "second"))

Told = dict[str, Any]


def claims(world: HttpWorld, client: str = "praxis", **changed: Any) -> Told:
    now = int(world.clock().timestamp())
    made = {"iss": client, "sub": client, "aud": f"{world.service.base_url}/auth/token", "exp": now + 200, "jti": "one"}
    return {name: value for name, value in (made | changed).items() if value is not None}


def signed(made: Told, key: Any, **header: Any) -> str:
    head = {"alg": "ES384", "kid": key.kid} | header
    return jwt.encode(head, made, key, algorithms=[head["alg"]])


def raw(header: Told, made: Told, signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(header).encode(), json.dumps(made).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused(world: HttpWorld) -> str:
    """HS384 with the client's public key, which everybody has, as the secret."""
    secret = world.keys["praxis"].as_pem(private=False)
    text = raw({"alg": "HS384", "kid": "praxis"}, claims(world)).rpartition(".")[0]
    return f"{text}.{raw({}, {}, hmac.digest(secret, text.encode(), 'sha384')).rpartition('.')[2]}"


def token(world: HttpWorld, assertion: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "scope": "system/*.rs"}
    return world.http.post("/auth/token", data=form | {"client_assertion": assertion})


def _unverified(text: str, *_: Any, **__: Any) -> Any:
    """A build that reads tokens without checking who signed them."""
    return type("Token", (), {"claims": json.loads(jws.extract_compact(text.encode()).payload)})


FORGED: dict[str, Callable[[HttpWorld], str]] = {
    "alg none": lambda world: raw({"alg": "none", "kid": "praxis"}, claims(world)),
    "alg none, in capitals": lambda world: raw({"alg": "NONE", "kid": "praxis"}, claims(world)),
    "HS384 with the public key as secret": confused,
    "the key of another": lambda world: signed(claims(world), STRANGER),
    "an RSA key that is not registered": lambda world: signed(claims(world), RSA, alg="RS384"),
    "another client's name": lambda world: signed(claims(world, "labor"), world.keys["praxis"]),
}
WITH_KEYS: dict[str, Callable[[HttpWorld], str]] = {
    "its own key in the header": lambda world: signed(
        claims(world), world.keys["praxis"], jwk=world.keys["praxis"].as_dict(private=False)
    ),
    "an address of keys in the header": lambda world: signed(
        claims(world), world.keys["praxis"], jku="https://evil.example/jwks"
    ),
    "a certificate's address in the header": lambda world: signed(
        claims(world), world.keys["praxis"], x5u="https://evil.example/cert"
    ),
}
STALE: dict[str, Callable[[HttpWorld], Told]] = {
    "another audience": lambda _: {"aud": "https://evil.example/auth/token"},
    "over five minutes": lambda world: {"exp": int(world.clock().timestamp()) + 331},
    "expired": lambda world: {"exp": int(world.clock().timestamp()) - 31},
    "no expiry": lambda _: {"exp": None},
    "no jti": lambda _: {"jti": None},
    "another subject": lambda _: {"sub": "labor"},
}


def refuses(world: HttpWorld, assertion: str, what: str) -> None:
    answer = token(world, assertion)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"}), what


@pytest.mark.attack(41)
@weakens("aggregator.identity.assertions.jwt", "decode", _unverified)
def test_who_did_not_sign_gets_no_token(fresh: HttpWorld) -> None:
    for what, forge in FORGED.items():
        refuses(fresh, forge(fresh), what)


@pytest.mark.attack(41)
@weakens("aggregator.identity.assertions", "_UNTRUSTED_KEYS", frozenset())
def test_a_token_that_brings_its_own_key_is_refused_whoever_signed_it(fresh: HttpWorld) -> None:
    for what, forge in WITH_KEYS.items():
        refuses(fresh, forge(fresh), what)


@pytest.mark.attack(40, 41)
@weakens("aggregator.identity.assertions.Assertions", "_check_claims", lambda *_: None, about=(40, 41))
def test_an_assertion_is_for_here_and_for_minutes(fresh: HttpWorld) -> None:
    for what, wrong in STALE.items():
        refuses(fresh, signed(claims(fresh, **wrong(fresh)), fresh.keys["praxis"]), what)


@pytest.mark.attack(41)
@weakens("aggregator.identity.assertions", "use_once", lambda *_, **__: True)
def test_an_assertion_is_taken_once(fresh: HttpWorld) -> None:
    text = signed(claims(fresh), fresh.keys["praxis"])
    assert [token(fresh, text).status_code for _ in range(3)] == [200, 401, 401]


@pytest.mark.attack(41, 46)
def test_an_assertion_without_end_is_refused(fresh: HttpWorld) -> None:
    answer = token(fresh, "x" * 10_000_000)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.attack(41, 46)
@weakens("aggregator.bounded_head", "_LONGEST", 10**9, about=(41, 46))
def test_a_header_without_end_is_not_kept(fresh: HttpWorld) -> None:
    """The connection ends long before. (100 MB take a minute of a core where it does not: here are 24.)"""
    place = urlsplit(str(fresh.http.base_url))
    sent = 0
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(b"GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ")
        try:
            for _ in range(24):
                sent += connection.send(b"x" * 1_000_000)
        except OSError:
            pass
    assert sent < 12_000_000
    assert fresh.http.get("/healthz").status_code == 200


# --- keys at an address


class Site:
    """Where a client keeps its keys: a real server, which remembers how often it was asked."""

    def __init__(self) -> None:
        self.keys, self.asked, self.redirects = [FIRST], 0, False

    def app(self) -> Starlette:
        async def jwks(_: Request) -> Response:
            self.asked += 1
            told = KeySet(list(self.keys)).as_dict(private=False)
            return RedirectResponse("/elsewhere") if self.redirects else JSONResponse(told)

        async def elsewhere(_: Request) -> Response:
            return JSONResponse(KeySet([FIRST]).as_dict(private=False))

        return Starlette(routes=[Route("/jwks", jwks), Route("/elsewhere", elsewhere)])


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def served(site: Site) -> Iterator[Running]:
    with serve(site.app(), listener=listen()) as running:
        yield running


def registered(world: HttpWorld, address: str) -> str:
    """A client with its keys there, whom the operator has let in."""
    told = {"client_name": "Praxis am Ring", "grant_types": ["client_credentials"], "jwks_uri": address}
    answer = world.http.post("/auth/register", json=told)
    assert answer.status_code == 201, answer.text
    client = str(answer.json()["client_id"])
    world.service.parties.approve(client, "for this test")
    return client


@pytest.mark.attack(43)
@weakens("connectors.fetch.Fetcher", "_pinned", lambda _, url: url.host)
def test_keys_within_the_network_are_not_asked_for(fresh: HttpWorld, site: Site, served: Running) -> None:
    client = registered(fresh, f"{served.url}/jwks")
    assert token(fresh, signed(claims(fresh, client), FIRST)).status_code == 401
    assert site.asked == 0


@pytest.fixture
def trial(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> HttpWorld:
    """An installation whose operator has allowed this machine: http.fetch_loopback."""
    monkeypatch.setattr(fresh.service.registered, "_fetch", Fetcher(loopback=True).get)
    return fresh


@pytest.mark.attack(43)
def test_a_redirect_leads_nowhere(trial: HttpWorld, site: Site, served: Running) -> None:
    site.redirects = True
    client = registered(trial, f"{served.url}/jwks")
    assert token(trial, signed(claims(trial, client), FIRST)).status_code == 401


def test_a_client_changes_its_keys_when_it_likes(trial: HttpWorld, site: Site, served: Running) -> None:
    client = registered(trial, f"{served.url}/jwks")

    def status(key: ECKey, jti: str) -> int:
        return token(trial, signed(claims(trial, client, jti=jti), key)).status_code

    assert (status(FIRST, "a"), status(SECOND, "b"), site.asked) == (200, 401, 1)
    site.keys = [SECOND]
    trial.clock.advance(seconds=60)
    assert (status(SECOND, "c"), status(FIRST, "d"), site.asked) == (200, 401, 2)
