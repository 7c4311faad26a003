"""Sign-in through a provider: it finds the record, and opens nothing; what it says is checked to the letter."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from aggregator.config import OpenIdSettings
from aggregator.demo.server import serve
from aggregator.errors import OperatorError
from aggregator.identity.openid_provider import Attempt, Provider
from connectors.fetch import Fetcher
from tests.api.http_world import PASSWORD, HttpWorld
from tests.api.openid_server import CLIENT, KEY, SECRET, OpenIdServer
from tests.vault.world import FrozenClock
from tests.weaken import weakens

STRANGER = ECKey.generate_key("P-256", {"kid": "provider"})
Told = dict[str, Any]


@pytest.fixture
def provider(fresh: HttpWorld, tmp_path: Path) -> Iterator[OpenIdServer]:
    """Of the name "konto"; on loopback, which this installation's operator has allowed."""
    server = OpenIdServer(fresh.clock)
    secret = tmp_path / "konto.secret"
    secret.write_text(SECRET + "\n")
    with serve(server.app()) as running:
        server.issuer = running.url
        settings = OpenIdSettings(title="Konto", issuer=running.url, client_id=CLIENT, client_secret_file=secret)
        providers = fresh.service.openid.providers
        assert isinstance(providers, dict)
        providers["konto"] = Provider("konto", settings, Fetcher(loopback=True), fresh.clock)
        yield server


def begin(world: HttpWorld, *, link: bool = False) -> str:
    answer = world.http.post("/auth/openid/konto/begin", headers=world.owner() if link else {})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["location"])


def come_back(world: HttpWorld, told: Told) -> httpx.Response:
    return world.http.get("/auth/openid/konto/callback", params=told)


def linked(world: HttpWorld, provider: OpenIdServer, subject: str = "erika-4711") -> None:
    assert come_back(world, provider.let_in(begin(world, link=True), subject)).json() == {"linked": True}


def unlock(world: HttpWorld, identified: str, password: str = PASSWORD) -> httpx.Response:
    return world.http.post("/auth/openid/sign-in", json={"identified": identified, "password": password})


def test_a_record_is_linked_found_and_then_unlocked_by_its_password(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    assert fresh.get("/auth/openid/links", fresh.owner()).json() == {"links": ["konto"]}
    told = come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).json()
    assert (told["linked"], set(told)) == (False, {"linked", "identified"})
    answer = unlock(fresh, told["identified"])
    assert (answer.status_code, answer.json()["patient"]) == (200, fresh.patients["erika"])
    assert unlock(fresh, told["identified"]).status_code == 401  # once


@pytest.mark.attack(47)
def test_the_provider_alone_opens_nothing(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    token = come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).json()["identified"]
    assert fresh.http.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert [unlock(fresh, token, "falsch falsch falsch").status_code for _ in range(7)] == [401] * 7
    assert unlock(fresh, token).status_code == 401  # too many tries at this record, whoever names it


def test_who_is_not_linked_is_told_what_to_do(fresh: HttpWorld, provider: OpenIdServer) -> None:
    answer = come_back(fresh, provider.let_in(begin(fresh), "somebody"))
    assert answer.status_code == 401
    assert "nobody here is linked" in answer.text


def test_a_link_ends(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    assert fresh.http.delete("/auth/openid/links/konto", headers=fresh.owner()).status_code == 204
    assert come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).status_code == 401


def test_one_sign_in_belongs_to_one_record(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    location = fresh.http.post("/auth/openid/konto/begin", headers=fresh.owner("berta")).json()["location"]
    assert come_back(fresh, provider.let_in(location, "erika-4711")).status_code == 403


def test_the_time_to_unlock_ends(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    token = come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).json()["identified"]
    fresh.clock.advance(minutes=5)
    assert unlock(fresh, token).status_code == 401


# --- what comes back is what was begun here


@pytest.mark.attack(47)
@weakens("aggregator.identity.openid_sign_in", "_hash", lambda _: "")
def test_another_browser_does_not_finish_what_this_one_began(fresh: HttpWorld, provider: OpenIdServer) -> None:
    """Else who begins a link could have somebody else's sign-in linked with their own record."""
    told = provider.let_in(begin(fresh, link=True), "victim")
    fresh.http.cookies.clear()
    assert come_back(fresh, told).status_code == 401
    assert provider.exchanges == 0


@pytest.mark.attack(39)
def test_an_answer_is_taken_once(fresh: HttpWorld, provider: OpenIdServer) -> None:
    location = begin(fresh, link=True)
    cookies = dict(fresh.http.cookies)
    told = provider.let_in(location, "erika-4711")
    assert come_back(fresh, told).status_code == 200
    fresh.http.cookies.update(cookies)
    assert come_back(fresh, told).status_code == 401
    assert provider.exchanges == 1


OTHERS: list[Told] = [{"state": "x"}, {"state": ""}, {"iss": "https://evil.example"}, {"code": ""}, {"code": "guessed"}]


@pytest.mark.attack(40)
def test_an_answer_that_is_another_is_refused(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    for change in OTHERS:
        told = provider.let_in(begin(fresh), "erika-4711")
        assert come_back(fresh, told | change).status_code == 401, change


def test_ten_minutes_are_enough_to_sign_in_there(fresh: HttpWorld, provider: OpenIdServer) -> None:
    told = provider.let_in(begin(fresh, link=True), "erika-4711")
    fresh.clock.advance(minutes=10)
    assert come_back(fresh, told).status_code == 401


# --- the ID token


def _raw(header: Told, claims: Told, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _confused(claims: Told) -> str:
    """The provider's public key as a shared secret."""
    text = _raw({"alg": "HS256", "kid": "provider"}, claims).rpartition(".")[0]
    digest = hmac.digest(KEY.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{_raw({}, {}, digest).rpartition('.')[2]}"


def _unverified(text: str, *_: Any, **__: Any) -> Any:
    return type("Token", (), {"claims": json.loads(jws.extract_compact(text.encode()).payload)})


FORGED: dict[str, Callable[[Told], str]] = {
    "alg none": lambda claims: _raw({"alg": "none", "kid": "provider"}, claims),
    "the public key as a secret": _confused,
    "another key of the same name": lambda claims: jwt.encode({"alg": "ES256", "kid": "provider"}, claims, STRANGER),
}
WRONG: dict[str, Told] = {
    "another issuer": {"iss": "https://evil.example"},
    "for another client": {"aud": "another"},
    "for another party of several": {"aud": [CLIENT, "another"], "azp": "another"},
    "for several, and nobody says for whom": {"aud": [CLIENT, "another"]},
    "another try's": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "expired": {"exp": 1},
    "no expiry": {"exp": None},
    "of a time that has not come": {"iat": 10**11},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is a list": {"sub": ["erika-4711"]},
}


@pytest.mark.attack(41)
@weakens("aggregator.identity.openid_provider.jwt", "decode", _unverified)
def test_an_id_token_that_the_provider_did_not_sign_is_nobodys_word(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    for name, sign in FORGED.items():
        provider.sign = sign
        assert come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).status_code == 401, name


@pytest.mark.attack(40)
def test_an_id_token_is_for_here_for_now_and_for_this_try(fresh: HttpWorld, provider: OpenIdServer) -> None:
    linked(fresh, provider)
    for name, claims in WRONG.items():
        provider.claims = claims
        assert come_back(fresh, provider.let_in(begin(fresh), "erika-4711")).status_code == 401, name


def test_one_of_several_audiences_may_be_meant(fresh: HttpWorld, provider: OpenIdServer) -> None:
    provider.claims = {"aud": [CLIENT, "another"], "azp": CLIENT}
    linked(fresh, provider)


DOCUMENTS: list[Told] = [
    {"issuer": "https://evil.example"},
    {"token_endpoint": "http://evil.example/token"},
    {"jwks_uri": "file:///etc/passwd"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"token_endpoint": None},
]


@pytest.mark.attack(40, 43)
def test_a_provider_that_names_another_or_no_sound_address_is_not_asked(
    fresh: HttpWorld, provider: OpenIdServer
) -> None:
    for document in DOCUMENTS:
        provider.document = document
        assert fresh.http.post("/auth/openid/konto/begin").status_code == 401, document


def test_a_provider_that_is_not_there_is_a_caller_error(fresh: HttpWorld) -> None:
    assert fresh.http.get("/auth/openid").json() == {"providers": []}
    assert fresh.http.post("/auth/openid/nobody/begin").status_code == 400
    assert fresh.http.get("/auth/openid/nobody/callback").status_code == 400


@pytest.mark.storeless
@pytest.mark.parametrize(("setting", "text"), [("private_key_file", "no key"), ("client_secret_file", None)])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, setting: str, text: str | None) -> None:
    file = tmp_path / "file"
    if text is not None:
        file.write_text(text)
    told = {"title": "K", "issuer": "https://id.example", "client_id": "x", setting: file}
    with pytest.raises(OperatorError, match=f"^openid.k.{setting}: {file} "):
        Provider("k", OpenIdSettings.model_validate(told), Fetcher(), lambda: None)  # type: ignore[arg-type, return-value]


@pytest.mark.storeless
@pytest.mark.parametrize(
    "own", [ECKey.generate_key("P-384"), RSAKey.generate_key(2048), None], ids=["EC", "RSA", "none"]
)
def test_the_provider_knows_this_service_by_a_key_or_by_pkce_alone(tmp_path: Path, own: Any) -> None:
    file, clock = tmp_path / "own.json", FrozenClock()
    server = OpenIdServer(clock)

    def known(authorization: str, form: Told) -> bool:
        if own is None:
            return (authorization, form["client_id"], "client_assertion" in form) == ("", CLIENT, False)
        told = jwt.decode(form["client_assertion"], own, algorithms=["ES384", "RS256"]).claims
        return (told["iss"], told["sub"], told["aud"]) == (CLIENT, CLIENT, f"{server.issuer}/token")

    server.knows = known
    settings = {"title": "K", "client_id": CLIENT} | ({"private_key_file": file} if own else {})
    if own:
        file.write_text(json.dumps(own.as_dict(private=True)))
    with serve(server.app()) as running:
        server.issuer = running.url
        made = OpenIdSettings.model_validate(settings | {"issuer": running.url})
        provider = Provider("k", made, Fetcher(loopback=True), clock)
        attempt = Attempt(redirect_uri="https://record.example/back", nonce="n", verifier="v" * 43)
        code = server.let_in(provider.address(attempt, "s"), "erika")["code"]
        assert provider.subject(code, attempt) == "erika"
