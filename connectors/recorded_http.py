"""Recorded HTTP, replayed: what a source said, in one readable file an exchange.

    GET https://clinic.example/fhir/Patient/erika

    HTTP/1.1 200
    Content-Type: application/fhir+json

    {"resourceType": "Patient", "id": "erika"}

An exchange answers the request with the same method, address and query. Where several files hold the same request they
answer in the order of their names, and the last one goes on answering. A request that no file holds fails the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx

_Key = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer."""

    method: str
    url: httpx.URL
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def parse(cls, recorded: bytes) -> Exchange:
        """Read one .http file. Raises ValueError where it is not of that form."""
        request, answer, body = recorded.replace(b"\r\n", b"\n").split(b"\n\n", 2)
        method, url = request.decode("utf-8").split()
        status, *headers = answer.decode("utf-8").splitlines()
        return cls(
            method=method,
            url=httpx.URL(url),
            status=int(status.split()[1]),
            headers=tuple(_header(line) for line in headers),
            body=body,
        )


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _key(method: str, url: httpx.URL) -> _Key:
    return method, str(url.copy_with(query=None)), tuple(url.params.multi_items())


def replay(folder: Path) -> httpx.MockTransport:
    """A transport that answers with the exchanges (*.http) of this folder."""
    answers: dict[_Key, list[Exchange]] = {}
    for path in sorted(folder.glob("*.http")):
        exchange = Exchange.parse(path.read_bytes())
        answers.setdefault(_key(exchange.method, exchange.url), []).append(exchange)

    def answer(request: httpx.Request) -> httpx.Response:
        known = answers.get(_key(request.method, request.url))
        if not known:
            raise AssertionError(f"nothing is recorded for {request.method} {request.url}")
        exchange = known.pop(0) if len(known) > 1 else known[0]
        return httpx.Response(exchange.status, headers=list(exchange.headers), content=exchange.body)

    return httpx.MockTransport(answer)
