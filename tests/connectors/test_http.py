"""Who must act on which answer, what is tried again, how much is read, where a token may go."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import repeat

import httpx
import pytest
from pydantic import SecretStr

from connectors import http
from connectors.contract import ConnectorError, NeedsOperator, NeedsPatient, SourceChanged, Transient
from connectors.http import BearerToken, NoCredential, Source
from tests.connectors.fhir_source import DATE, NOW, TOKEN, Chunks, get
from tests.weaken import weakens

MB = 1 << 20


def _status(status: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, headers=headers, text=f"<p>{TOKEN} erika</p>")


def _in_turn(*answers: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    left = list(answers)
    return lambda _: left.pop(0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, NeedsOperator),
        (302, NeedsOperator),
        (308, NeedsOperator),
        (400, NeedsOperator),
        (404, NeedsOperator),
        (406, NeedsOperator),
        (408, Transient),
        (410, NeedsOperator),
        (425, Transient),
        (429, Transient),
        (500, Transient),
        (502, Transient),
        (503, Transient),
        (504, Transient),
        (600, SourceChanged),
    ],
)
def test_each_status_says_who_must_act(status: int, error: type[ConnectorError]) -> None:
    with pytest.raises(error) as raised:
        get(_status(status), credential=BearerToken(SecretStr(TOKEN)))
    assert str(status) in str(raised.value)
    assert not any(word in str(raised.value) for word in (TOKEN, "erika", "patient=", "klinik.example"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_the_patients_and_a_refused_installation_the_operators(status: int) -> None:
    with pytest.raises(NeedsPatient, match="the patient must connect it again"):
        get(_status(status), credential=BearerToken(SecretStr(TOKEN)))
    with pytest.raises(NeedsOperator, match="the operator must check"):
        get(_status(status), credential=NoCredential())


@pytest.mark.parametrize(
    ("value", "date", "waits"),
    [
        ("3600", None, timedelta(hours=1)),
        ("Sat, 14 Mar 2026 03:45:00 GMT", DATE, timedelta(minutes=5)),  # counted from the source's clock
        ("Sat, 14 Mar 2026 03:42:53 GMT", None, timedelta(minutes=1)),  # from ours where it does not tell
        ("Sat, 14 Mar 2026 01:00:00 GMT", DATE, timedelta(0)),
        ("soon", None, None),
        ("99999999999999999999", None, None),
        ("-5", None, None),
        ("Sat, 14 Mar 99999999999999999999 03:45:00 GMT", DATE, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, date: str | None, waits: timedelta | None) -> None:
    headers = {"Retry-After": value} | ({"Date": date} if date else {})
    with pytest.raises(Transient) as raised:
        get(_status(429, **headers))
    assert raised.value.retry_after == waits


def test_a_source_that_is_busy_for_a_moment_is_asked_again() -> None:
    busy = [httpx.Response(503), httpx.Response(429, headers={"Retry-After": "7"})]
    assert get(_in_turn(*busy, httpx.Response(200, text="{}"))) == (b"{}", [1.0, 7.0])


def test_a_source_that_is_busy_for_long_is_left_to_the_scheduler() -> None:
    with pytest.raises(Transient) as raised:
        get(_in_turn(httpx.Response(503, headers={"Retry-After": "11"})))
    assert raised.value.retry_after == timedelta(seconds=11)


def test_a_source_that_stays_busy_is_asked_three_times() -> None:
    asked: list[httpx.Request] = []
    with pytest.raises(Transient):
        get(lambda request: (asked.append(request), httpx.Response(503))[1])
    assert len(asked) == 3


@pytest.mark.attack(43)
def test_a_token_follows_no_redirect() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": "https://evil.example/"})

    with pytest.raises(NeedsOperator, match="has moved"):
        get(answer, credential=BearerToken(SecretStr(TOKEN)))
    assert asked == ["klinik.example"]


@pytest.mark.attack(43)
@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/fhir",
        "//evil.example/fhir",
        "http://klinik.example/fhir",
        "https://klinik.example:8443/fhir",
        "https://klinik.example@evil.example/",
        "https://klinik.example.evil.example/",
        "file:///etc/passwd",
    ],
)
def test_nothing_is_sent_to_another_origin(target: str) -> None:
    asked: list[httpx.Request] = []
    with pytest.raises(NeedsOperator, match="another address"):
        get(lambda request: (asked.append(request), httpx.Response(200))[1], target)
    assert asked == []


def test_a_link_that_is_no_address_is_the_sources_fault() -> None:
    with pytest.raises(SourceChanged, match="no address"):
        get(_status(200), "https://[::1")


def test_the_default_port_is_the_same_origin() -> None:
    assert get(_in_turn(httpx.Response(200, text="{}")), "https://klinik.example:443/fhir/metadata") == (b"{}", [])


def test_own_headers_are_sent() -> None:
    asked: list[httpx.Request] = []
    get(
        lambda request: (asked.append(request), httpx.Response(200, text="{}"))[1],
        credential=BearerToken(SecretStr(TOKEN)),
        headers={"X-Api-Key": SecretStr("k")},
    )
    sent = asked[0].headers
    assert (sent["authorization"], sent["x-api-key"], sent["accept-encoding"]) == (f"Bearer {TOKEN}", "k", "gzip")


@pytest.mark.attack(46, 54)
@weakens("connectors.http", "_is_too_much", lambda *_: False, about=(46, 54))
def test_fifty_megabytes_in_one_page_are_not_read() -> None:
    body = Chunks(repeat(b" " * MB, 50))
    with pytest.raises(NeedsOperator, match="more than 32 MB"):
        get(_in_turn(httpx.Response(200, stream=body)))
    assert body.taken == 33


@pytest.mark.attack(46)
def test_a_small_packed_page_cannot_grow_without_bound() -> None:
    bomb = gzip.compress(b" " * (64 * MB))
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Chunks([bomb]))
    tracemalloc.start()
    try:
        with pytest.raises(NeedsOperator, match="more than 1 MB"):
            get(_in_turn(answer), max_bytes=MB)
        assert tracemalloc.get_traced_memory()[1] < 8 * MB
    finally:
        tracemalloc.stop()


def test_a_packed_page_is_unpacked() -> None:
    packed = gzip.compress(b'{"a": 0.40}' * 20_000)
    pieces = [packed[start : start + 7] for start in range(0, len(packed), 7)]
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Chunks(pieces))
    assert get(_in_turn(answer))[0] == b'{"a": 0.40}' * 20_000


@pytest.mark.parametrize(
    ("packing", "body", "error"),
    [
        ("gzip", gzip.compress(b"x" * 9999, mtime=0)[:-12], Transient),
        ("gzip", b"not packed at all", SourceChanged),
        ("br", b"x", SourceChanged),
        ("zstd", b"x", SourceChanged),
    ],
)
def test_what_does_not_unpack(packing: str, body: bytes, error: type[ConnectorError]) -> None:
    with pytest.raises(error):
        get(_in_turn(httpx.Response(200, headers={"Content-Encoding": packing}, stream=Chunks([body]))))


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _from_a_real_server(says: bytes) -> bytes:
    """GET from a server on loopback that says this and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def run() -> bytes:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, httpx.AsyncClient() as client:
            base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return (await Source(client, base, credential=NoCredential(), clock=lambda: NOW).get("metadata")).body

    return asyncio.run(run())


@pytest.mark.attack(54)
@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"resourceType":',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["nothing", "half a head", "half a page", "half a chunk", "another protocol"],
)
def test_an_answer_that_breaks_off_is_tried_again(says: bytes) -> None:
    with pytest.raises(Transient, match="broke off"):
        _from_a_real_server(says)


def test_a_real_server_answers() -> None:
    assert _from_a_real_server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") == b"{}"


def test_nobody_listens() -> None:
    async def run() -> None:
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            await Source(client, f"http://127.0.0.1:{port}", credential=NoCredential(), clock=lambda: NOW).get("x")

    with pytest.raises(Transient, match="failed or broke off"):
        asyncio.run(run())


@pytest.mark.attack(54)
def test_a_source_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                await asyncio.sleep(0)
                yield b" "

    monkeypatch.setattr(http, "EXCHANGE_SECONDS", 0.01)
    with pytest.raises(Transient, match="in time"):
        get(_in_turn(httpx.Response(200, stream=Trickle())))


def test_a_timeout_of_the_client_is_tried_again() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("erika")

    with pytest.raises(Transient, match="in time"):
        get(answer)
