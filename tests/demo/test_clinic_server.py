"""An application on loopback, in a thread."""

from __future__ import annotations

import threading

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from aggregator.demo.server import serve


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "a table is missing"})


def test_it_answers_dated_until_it_is_stopped() -> None:
    before = threading.active_count()
    server = serve(_hello)
    answer = httpx.get(server.url)
    assert (answer.text, len(answer.headers.get_list("date")), "server" in answer.headers) == ("ok", 1, False)
    server.stop()
    server.stop()
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_an_open_connection_does_not_hold_up_the_end() -> None:
    with httpx.Client() as client:
        with serve(_hello) as server:
            client.get(server.url)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("serve-")]


def test_a_port_that_is_freed_can_be_had_again() -> None:
    with serve(_hello) as first:
        port = int(first.url.rpartition(":")[2])
    with serve(_hello, port=port) as second:
        assert httpx.get(second.url).text == "ok"


def test_a_port_in_use_is_an_error_at_once() -> None:
    with serve(_hello) as server, pytest.raises(OSError, match="in use"):
        serve(_hello, port=int(server.url.rpartition(":")[2]))


def test_an_application_that_does_not_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        serve(_broken)
