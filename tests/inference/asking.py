"""How a request is asked, of the routes themselves without a socket or of a server, and what of an answer is compared.

Everything is compared, status, headers and body, but for what is drawn anew in every answer; of that its length is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import httpx
import orjson

from aggregator.api import asking
from aggregator.api.access import Act
from aggregator.api.caller import Principal
from aggregator.api.fhir import table
from aggregator.api.fhir.router import Router
from aggregator.api.fhir.server import Server
from aggregator.api.held import Held
from aggregator.api.pages import Pages
from aggregator.config import Config
from aggregator.fhir.bundle import Answer as Found
from aggregator.fhir.outcome import NotFound
from aggregator.identity.clients import Caller
from aggregator.portability.bulk_exports import BulkExports
from aggregator.vault.view import View
from tests.inference.twins import PRACTICE
from tests.vault.world import World

BASE = "https://record.example/fhir"
MOST_FOLLOWED = 60
_CAPABILITY = table.statement(BASE)
_DRAWN = re.compile(rb"(?<=_page=)[^\"&]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/bulk/)[0-9a-f]{64}")
"""A page link, a document's own identifier, an export's name."""
_UNTOLD = frozenset({"date", "server"})  # of the server that runs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """path: below /fhir, with what it names filled in. pairs: the query's."""

    method: str
    path: str
    pairs: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def query(self) -> str:
        """As it stands in a URL."""
        return urlencode(self.pairs)


@dataclass(frozen=True, slots=True)
class Answer:
    """As it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def told(self) -> tuple[int, Mapping[str, str], bytes]:
        """What must not depend on what is hidden."""
        kept = {name: _settled(value.encode()).decode() for name, value in self.headers.items() if name not in _UNTOLD}
        return self.status, kept, _settled(self.body)

    def leads(self) -> Iterator[Request]:
        """What a client asks next: further pages, and of an export its status, its files, and its end."""
        if place := self.headers.get("content-location"):
            yield Request(method="GET", path=_below(place))
            return
        is_json = self.headers.get("content-type", "").removeprefix("application/") in ("json", "fhir+json")
        told = orjson.loads(self.body) if is_json and self.body else {}
        if "transactionTime" in told:
            files = [one["url"] for kind in ("output", "deleted", "error") for one in told[kind]]
            yield from (Request(method="GET", path=_below(url)) for url in files)
        links = told.get("link", ()) if told.get("resourceType") == "Bundle" else ()
        for url in (link["url"] for link in links if link["relation"] == "next"):
            yield Request(method="GET", path=_below(url), pairs=_pairs(url))


Ask = Callable[[Request], Answer]


def conversation(ask: Ask, request: Request) -> list[tuple[int, Mapping[str, str], bytes]]:
    """The answers to a request and to all that it leads to; what it began at the server is ended."""
    waiting, told, begun = [request], [], list[str]()
    while waiting and len(told) < MOST_FOLLOWED:
        answer = ask(waiting.pop(0))
        assert answer.status < 500, answer.body
        told.append(answer.told())
        following = [*answer.leads()]
        begun += [one.path for one in following if "content-location" in answer.headers]
        waiting += following
    return told + [ask(Request(method="DELETE", path=path)).told() for path in begun]


def _settled(text: bytes) -> bytes:
    return _DRAWN.sub(lambda drawn: b"%d drawn" % len(drawn[0]), text)


def _below(url: str) -> str:
    return urlsplit(url).path.removeprefix("/fhir")


def _pairs(url: str) -> tuple[tuple[str, str], ...]:
    return tuple(httpx.QueryParams(urlsplit(url).query).multi_items())


class Routes:
    """The router itself, with its real routes; in the place of an installation one view, of which one client asks."""

    def __init__(self, world: World, made: View) -> None:
        self.view, self._access = made, _Access(made)
        self._expires = int(world.clock().timestamp()) + 3600
        self._router = Router(self._server(world), table.TABLE)
        self._runner = asyncio.Runner()

    def __call__(self, request: Request) -> Answer:
        """Ask it."""
        return self._runner.run(self._ask(request))

    def close(self) -> None:
        """Let go of the view."""
        self._runner.close()
        self.view.close()

    def _server(self, world: World) -> Server:
        service: Any = SimpleNamespace(
            config=Config(),
            clock=world.clock,
            store=world.store,
            blobs=world.blobs,
            key_service=world.ring,
            base_url=BASE.removesuffix("/fhir"),
        )
        return Server(
            service=service,
            callers=cast(Any, SimpleNamespace(of=lambda _: self._principal())),
            access=cast(Any, self._access),
            pages=Pages(world.ring, BASE),
            exports=BulkExports(world.store, world.ring, world.clock),
            base=BASE,
            capability=_CAPABILITY,
        )

    def _principal(self) -> Principal:
        admission = SimpleNamespace(scopes=("system/*.cruds",), purpose="TREAT", party=PRACTICE.id)
        caller: Any = SimpleNamespace(client=SimpleNamespace(id=PRACTICE.id, party=PRACTICE), admission=admission)
        return Principal(
            reader="praxis/TREAT",
            name="Praxis",
            party=PRACTICE.id,
            purpose="TREAT",
            expires=self._expires,
            client=cast(Caller, caller),
        )

    async def _ask(self, request: Request) -> Answer:
        sent, told = [{"type": "http.request", "body": request.body, "more_body": False}], list[dict[str, Any]]()

        async def receive() -> Any:
            return sent.pop() if sent else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            told.append(message)

        scope = {"type": "http", "method": request.method, "path": f"/fhir{request.path}"}
        scope |= {"query_string": request.query.encode(), "headers": _raw(request.headers), "scheme": "https"}
        await self._router(
            scope | {"raw_path": scope["path"].encode(), "server": ("record.example", 443)}, receive, send
        )
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in told[0]["headers"]}
        return Answer(told[0]["status"], headers, b"".join(one.get("body", b"") for one in told[1:]))


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


class _Access:
    """In the place of `Access`: one view is open, and no receipt is written."""

    def __init__(self, made: View) -> None:
        self.held = Held(made, cast(Any, None), cast(Any, None), {}, 0.0)

    async def answer(self, _: Principal, vault: str, _act: Act, ask: Callable[[View], Found]) -> Found:
        """What `ask` makes of it."""
        if vault != self.held.view.vault:
            raise NotFound
        return await asking.ask(self.held, ask)

    async def refuse(self, *_: object) -> None:
        """Nothing to note."""

    def vaults(self, _: Principal) -> list[str]:
        """The one."""
        return [self.held.view.vault]


def over_http(http: httpx.Client, caller: Mapping[str, str]) -> Ask:
    """A server, asked as this caller. Its own address, which no other has, is told as that of all."""
    own, all_ = str(http.base_url).rstrip("/"), BASE.removesuffix("/fhir")

    def ask(request: Request) -> Answer:
        url = f"/fhir{request.path}?{request.query}" if request.query else f"/fhir{request.path}"
        headers = {"Accept-Encoding": "identity", **request.headers, **caller}
        answer = http.request(request.method, url, headers=headers, content=request.body or None)
        told = {name.lower(): value.replace(own, all_) for name, value in answer.headers.items()}
        return Answer(answer.status_code, told, answer.content.replace(own.encode(), all_.encode()))

    return ask
