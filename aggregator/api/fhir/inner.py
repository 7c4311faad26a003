"""A request inside a request: an entry of a batch is asked of this service itself, as its sender would ask it.

So an entry is decided, receipted and answered by the very routes that a single request takes.
"""

from __future__ import annotations

import base64
import string
from http import HTTPStatus
from urllib.parse import quote, unquote

import orjson
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from aggregator.api import errors
from aggregator.api.errors import FHIR_JSON
from aggregator.errors import CallerError
from aggregator.fhir.entries import Entry
from aggregator.fhir.patch import JSON_PATCH
from fhir_profiles.text import Resource, dumps

MOST_BYTES = 32 * 1024 * 1024
"""That the answers to one batch may have together: beyond it entries are not asked any more."""

_IN_A_BUNDLE = (FHIR_JSON, "application/json")
_NO_RESOURCE = "the answer is no resource in JSON, which is all that an entry can hold: ask for it by itself"
_KEPT = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path")
_PASSED = ("authorization", "prefer", "host")


class Asking:
    """Asks on behalf of one request. base_url: what an absolute URL of this service begins with."""

    def __init__(self, request: Request, base_url: str) -> None:
        self._request = request
        self._base_url = base_url
        self._left = MOST_BYTES

    async def ask(self, entry: Entry) -> bytes:
        """The entry of the answer, as JSON."""
        if self._left <= 0:
            return self._told(413, {}, errors.outcome(413, "too-costly", "the answer is too long already").body)
        body, media_type = _body(entry)
        answer = _Answer(body, self._request.receive)
        try:
            await self._request.app(self._scope(entry, media_type), answer.receive, answer.send)
        except CallerError as error:
            refused = errors.answer(error)
            return self._told(refused.status_code, {}, refused.body)
        if answer.body and answer.headers.get("content-type") not in _IN_A_BUNDLE:
            return self._told(406, {}, errors.outcome(406, "not-supported", _NO_RESOURCE).body)
        return self._told(answer.status, answer.headers, bytes(answer.body))

    def _scope(self, entry: Entry, media_type: str) -> Scope:
        path, _, query = entry.url.removeprefix(f"{self._base_url}/").lstrip("/").partition("?")
        if not path:
            raise CallerError.at(f"{entry.place}.request.url", "a Bundle within a batch is not processed")
        sent = {name: self._request.headers[name] for name in _PASSED if name in self._request.headers}
        sent |= dict(entry.headers) | {"accept": FHIR_JSON, "content-type": media_type}
        return {name: self._request.scope[name] for name in _KEPT if name in self._request.scope} | {
            "method": entry.method,
            "path": f"/fhir/{unquote(path)}",
            "raw_path": f"/fhir/{quote(path, safe=string.printable)}".encode(),
            "query_string": quote(query, safe=string.printable).encode(),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in sent.items()],
        }

    def _told(self, status: int, headers: dict[str, str], body: bytes | memoryview) -> bytes:
        response: Resource = {"status": f"{status} {HTTPStatus(status).phrase}"}
        response |= {name: headers[name] for name in ("location", "etag") if name in headers}
        found = {"outcome" if status >= 400 else "resource": orjson.Fragment(bytes(body))} if body else {}
        if status >= 400:
            response |= found
        made = dumps({"response": response} if status >= 400 else found | {"response": response})
        self._left -= len(made)
        return made


def _body(entry: Entry) -> tuple[bytes, str]:
    """What is sent, and its media type."""
    resource = entry.resource
    if resource is None:
        return b"", FHIR_JSON
    if entry.method == "PATCH" and resource.get("contentType") == JSON_PATCH:
        try:
            return base64.b64decode(str(resource.get("data")), validate=True), JSON_PATCH
        except ValueError:
            return b"", JSON_PATCH  # refused as what it is: no patch
    return dumps(resource), FHIR_JSON


class _Answer:
    """The other end of a request: gives the body once, then what the one outside hears, and keeps the answer."""

    def __init__(self, body: bytes, outside: Receive) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self._body: bytes | None = body
        self._outside = outside

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._outside()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
