"""SMART backend services: what is sent to sign in, and what becomes of each refusal."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from connectors.contract import ConnectorError, NeedsOperator, SourceChanged, Transient
from connectors.smart_backend import BackendSignIn, Client, read_key
from tests.connectors.fhir_source import BASE, NOW, capabilities, clinic, fhir, pull, searchset

TOKEN_URL = "https://anmeldung.example/token"
_KEY = ECKey.generate_key("P-384", {"kid": "k-1"})
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(_KEY.as_dict(private=True)), "utf-8")
    return path


def _granted(**changed: Any) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "t-1", "token_type": "bearer", "expires_in": 300} | changed)


def _sign_in(key_file: Path, answer: Handler, *, token_url: str | None = TOKEN_URL, base: str = BASE) -> str:
    """The Authorization header that signing in gives."""

    async def run() -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            client = Client(client_id="aggregator", private_key_file=key_file, scope="system/*.rs", token_url=token_url)
            return (await BackendSignIn(http, base, client, lambda: NOW).headers())["Authorization"]

    return asyncio.run(run())


def test_the_assertion_is_what_smart_asks_for(key_file: Path) -> None:
    asked: list[httpx.Request] = []
    given = _sign_in(key_file, lambda request: (asked.append(request), _granted())[1])
    form = {name: values[0] for name, values in parse_qs(asked[0].content.decode()).items()}
    token = jwt.decode(form.pop("client_assertion"), _KEY, algorithms=["ES384"])
    jti = token.claims.pop("jti")
    now = int(NOW.timestamp())
    assert given == "Bearer t-1"
    assert str(asked[0].url) == TOKEN_URL
    assert form == {
        "grant_type": "client_credentials",
        "scope": "system/*.rs",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    assert token.header == {"alg": "ES384", "typ": "JWT", "kid": "k-1"}
    assert token.claims == {"iss": "aggregator", "sub": "aggregator", "aud": TOKEN_URL, "iat": now, "exp": now + 240}
    assert len(jti) >= 32


def test_no_assertion_is_sent_twice(key_file: Path) -> None:
    sent: list[bytes] = []
    for _ in range(2):
        _sign_in(key_file, lambda request: (sent.append(request.content), _granted())[1])
    assert sent[0] != sent[1]


def test_the_token_endpoint_is_looked_up_below_the_base(key_file: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"token_endpoint": TOKEN_URL}) if request.method == "GET" else _granted()

    _sign_in(key_file, answer, token_url=None)
    assert asked == [f"{BASE}/.well-known/smart-configuration", TOKEN_URL]


@pytest.mark.attack(43)
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://anmeldung.example/token",
        "https://127.0.0.1/token",
        "https://localhost/",
        "file:///x",
        "https:///token",
        "https://[::1/token",
        "https://[::1]/token",
        "https://10.0.0.5/token",
        "https://169.254.169.254/token",
        7,
        None,
    ],
)
def test_a_token_endpoint_in_the_clear_or_near_this_machine_is_not_used(key_file: Path, endpoint: object) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, json={"token_endpoint": endpoint})

    with pytest.raises(NeedsOperator, match="token_url"):
        _sign_in(key_file, answer, token_url=None)
    assert asked == ["GET"]


def test_a_token_endpoint_beside_a_base_on_this_machine_is_used(key_file: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        known = httpx.Response(200, json={"token_endpoint": "http://127.0.0.1:8081/token"})
        return known if request.method == "GET" else _granted()

    assert _sign_in(key_file, answer, token_url=None, base="http://127.0.0.1:8081/fhir") == "Bearer t-1"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(400, json={"error": "invalid_client"}), NeedsOperator, "client_id, private_key_file and scope"),
        (httpx.Response(401), NeedsOperator, "client_id, private_key_file and scope"),
        (httpx.Response(403), NeedsOperator, "client_id, private_key_file and scope"),
        (httpx.Response(302, headers={"Location": "https://evil.example"}), NeedsOperator, "has moved"),
        (httpx.Response(404), NeedsOperator, "no such address"),
        (httpx.Response(503), Transient, "503"),
        (httpx.Response(200, text="<html>"), SourceChanged, "other than JSON"),
        (httpx.Response(200, json=["t-1"]), SourceChanged, "other than JSON"),
        (httpx.Response(200, json={}), SourceChanged, "without an access token"),
        (_granted(access_token=""), SourceChanged, "without an access token"),
        (_granted(access_token="a\nb"), SourceChanged, "without an access token"),
        (_granted(access_token={"a": 1}), SourceChanged, "without an access token"),
    ],
)
def test_each_refusal_says_who_must_act(
    key_file: Path, answer: httpx.Response, error: type[ConnectorError], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        _sign_in(key_file, lambda _: answer)
    assert "aggregator" not in str(raised.value)


def test_a_source_without_smart_configuration_needs_a_token_url(key_file: Path) -> None:
    with pytest.raises(NeedsOperator, match="set token_url"):
        _sign_in(key_file, lambda _: httpx.Response(404), token_url=None)


@pytest.mark.parametrize(
    ("life", "lasts"), [(300, 270), (40, 20), (None, 270), ("soon", 270), (-1, 270), (10**12, 270)]
)
def test_a_token_is_kept_until_shortly_before_it_ends(key_file: Path, life: object, lasts: int) -> None:
    asked: list[httpx.Request] = []
    times = [NOW]

    async def run() -> list[int]:
        transport = httpx.MockTransport(lambda request: (asked.append(request), _granted(expires_in=life))[1])
        async with httpx.AsyncClient(transport=transport) as http:
            client = Client(client_id="a", private_key_file=key_file, scope="s", token_url=TOKEN_URL)
            sign_in = BackendSignIn(http, BASE, client, lambda: times[-1])
            counts = []
            for seconds in (0, lasts - 1, lasts):
                times.append(NOW + timedelta(seconds=seconds))
                await sign_in.headers()
                counts.append(len(asked))
            return counts

    assert asyncio.run(run()) == [1, 1, 2]


def test_a_token_that_the_source_forgot_is_renewed_once(key_file: Path) -> None:
    tokens = iter(["t-1", "t-2"])

    def metadata(request: httpx.Request) -> httpx.Response:
        good = request.headers["Authorization"] == "Bearer t-2"
        return fhir(capabilities("Observation")) if good else httpx.Response(401)

    answers = clinic(
        metadata=metadata, token=lambda _: _granted(access_token=next(tokens)), Observation=fhir(searchset())
    )
    sign_in = {"client_id": "a", "private_key_file": key_file, "token_url": f"{BASE}/token", "bearer_token": None}
    assert len(pull(answers, **sign_in)) == 1


def test_an_installation_that_stays_refused_is_the_operators(key_file: Path) -> None:
    answers = clinic(metadata=lambda _: httpx.Response(401), token=lambda _: _granted())
    sign_in = {"client_id": "a", "private_key_file": key_file, "token_url": f"{BASE}/token", "bearer_token": None}
    with pytest.raises(NeedsOperator, match="refuses this installation"):
        pull(answers, **sign_in)


def test_a_key_in_pem_is_named_by_its_thumbprint(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(_KEY.as_pem(private=True))
    key = read_key(path)
    assert (key.kid, key.thumbprint()) == (None, _KEY.thumbprint())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"{",
        b"{}",
        b'{"kty": "EC", "crv": "P-384", "x": 1, "y": 2}',
        b'{"kty": "oct", "k": "AAAA"}',
        json.dumps(_KEY.as_dict(private=False)).encode(),
        json.dumps(ECKey.generate_key("P-256").as_dict(private=True)).encode(),
        RSAKey.generate_key(2048).as_pem(private=True),
    ],
)
def test_a_file_without_a_usable_key_is_the_operators(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(NeedsOperator, match="EC key on P-384"):
        read_key(path)


def test_a_missing_key_file_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="private_key_file cannot be read"):
        read_key(tmp_path / "absent")
