"""What goes wrong at a source, on purpose and as data: which request, the how-manieth, and what comes instead.

Faulty(clinic.app(), [Fault(path=r"/Observation\\?", act=status(503, retry_after=0))])    one 503, then all is well
Faulty(clinic.app(), [Fault(path="/Condition", act=HTML, times=None)])                    HTML for ever
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.demo.fhir_server.refused import outcome
from fhir_profiles.text import dumps

_TRICKLE_BYTES = 16
_TRICKLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Said instead of what the server would say; the server never hears of the request."""

    status: int = 200
    content_type: str = "application/fhir+json"
    body: bytes = b""
    retry_after: int | None = None  # seconds


class Alter(StrEnum):
    """Done to what the server says."""

    HALF = "half"  # the first half of the body
    SAME = "same"  # what the first struck request was answered, whatever is asked: its next link leads back to itself
    TRICKLE = "trickle"  # the whole body, 16 bytes every 20 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What comes in place of which answers.

    path: a regular expression, looked for in path?query. Strikes from the `first` request that matches on (the first is
    1), `times` times or, for None, for ever.
    """

    path: str
    act: Answer | Alter
    first: int = 1
    times: int | None = 1

    def strikes(self, count: int) -> bool:
        """Whether it strikes the count-th request that matches."""
        return count >= self.first and (self.times is None or count < self.first + self.times)


def status(code: int, retry_after: int | None = None) -> Answer:
    """An error as a FHIR server says it; retry_after in seconds."""
    return Answer(status=code, body=dumps(outcome(code, HTTPStatus(code).phrase)), retry_after=retry_after)


HTML = Answer(
    content_type="text/html; charset=utf-8", body=b"<!doctype html><title>Wartung</title><p>Wir sind gleich da."
)
EMPTY = Answer()


@dataclass(slots=True)
class _Recorded:
    """An answer of the application, held back."""

    start: Message = field(default_factory=dict)
    body: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        self.body += message.get("body", b"")


class Faulty:
    """An ASGI application with faults. The first fault that strikes a request is the one."""

    def __init__(self, app: ASGIApp, faults: Iterable[Fault]) -> None:
        self._app = app
        self._faults = tuple(faults)
        self._counts: Counter[Fault] = Counter()
        self._same: dict[Fault, _Recorded] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._struck(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif isinstance(fault.act, Answer):
            await _say(send, fault.act)
        else:
            await _ALTERATIONS[fault.act](self, fault, (scope, receive), send)

    def _struck(self, scope: Scope) -> Fault | None:
        asked = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        matching = [fault for fault in self._faults if re.search(fault.path, asked)]
        self._counts.update(matching)
        return next((fault for fault in matching if fault.strikes(self._counts[fault])), None)

    async def _record(self, request: _Request) -> _Recorded:
        recorded = _Recorded()
        await self._app(*request, recorded.send)
        return recorded

    async def _half(self, _: Fault, request: _Request, send: Send) -> None:
        recorded = await self._record(request)
        await _repeat(send, recorded.start, recorded.body[: len(recorded.body) // 2])

    async def _again(self, fault: Fault, request: _Request, send: Send) -> None:
        if fault not in self._same:
            self._same[fault] = await self._record(request)
        await _repeat(send, self._same[fault].start, self._same[fault].body)

    async def _trickle(self, _: Fault, request: _Request, send: Send) -> None:
        recorded = await self._record(request)
        await send(recorded.start)
        for at in range(0, len(recorded.body), _TRICKLE_BYTES):
            await send(_part(recorded.body[at : at + _TRICKLE_BYTES], more=True))
            await asyncio.sleep(_TRICKLE_SECONDS)
        await send(_part(b"", more=False))


_Request = tuple[Scope, Receive]
_ALTERATIONS: dict[Alter, Callable[[Faulty, Fault, _Request, Send], Awaitable[None]]] = {
    Alter.HALF: Faulty._half,
    Alter.SAME: Faulty._again,
    Alter.TRICKLE: Faulty._trickle,
}


async def _say(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type.encode())]
    if answer.retry_after is not None:
        headers.append((b"retry-after", str(answer.retry_after).encode()))
    await _repeat(send, {"type": "http.response.start", "status": answer.status, "headers": headers}, answer.body)


async def _repeat(send: Send, start: Message, body: bytes) -> None:
    """Send an answer with this body and the length that it has."""
    others = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    await send({**start, "headers": [*others, (b"content-length", str(len(body)).encode())]})
    await send(_part(body, more=False))


def _part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
