"""Which interaction a request asks for: by its method and the parts of its path. An ASGI application of its own.

Every request to /fhir passes here, so it takes nothing along that it does not need: what FastAPI adds to a route
(its stack of middlewares, a regular expression for each route before the right one) was 118 of the 327 µs of a read.

What no interaction answers is told apart: RFC 9110, section 9.3.7 (OPTIONS), 15.5.6 (405). Which methods there are is
no secret of any record, so nobody is asked who they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aggregator.api import errors
from aggregator.api.fhir import formats
from aggregator.api.fhir.interaction import Interaction, Operation
from aggregator.api.fhir.server import Server, pairs

PREFIX = "/fhir"
_TYPE = re.compile("[A-Z][A-Za-z]+")  # a resource type's name begins with a capital: `metadata` is none
# An id has no such beginning: an operation's name, `_search`, `_history` are none.
_ID = re.compile("[^$_].*", re.DOTALL)


class Router:
    """Answers whatever lies below /fhir. Where several interactions fit, the table's first does."""

    def __init__(self, server: Server, table: Iterable[Interaction | Operation]) -> None:
        self._server = server
        self._ways: Mapping[int, list[_Way]] = defaultdict(list)
        for one in table:
            way = _Way.to(one)
            self._ways[len(way.parts)].append(way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # a batch asks here anew, entry by entry
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except errors.KNOWN as error:
            response = await formats.turned(request, errors.answer(error))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method, segments = request.scope["method"], _segments(request.scope["path"])
        others = list[_Way]()
        for way in self._ways.get(len(segments), ()):
            found = way.fits(segments)
            if found is None:
                continue
            if method in way.methods:
                request.scope["path_params"] = found
                return await self._ask(way.asked, request)
            others.append(way)
        formats.settle(request, pairs(request))
        return await formats.turned(request, _unanswered(method, others))

    async def _ask(self, asked: Interaction | Operation, request: Request) -> Response:
        """With the installation, and in the form that is asked for."""
        if asked.raw:
            return await asked.endpoint(self._server, request)
        formats.settle(request, pairs(request))
        return await formats.turned(request, await asked.endpoint(self._server, request))


@dataclass(frozen=True, slots=True)
class _Name:
    """A part of a path that says something: what it is called, and what it may be."""

    name: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Way:
    """A path with the methods that it is asked by."""

    parts: tuple[str | _Name, ...]
    methods: frozenset[str]
    asked: Interaction | Operation

    @classmethod
    def to(cls, asked: Interaction | Operation) -> _Way:
        methods = {asked.method, "HEAD"} if asked.method == "GET" else {asked.method}
        return cls(tuple(map(_part, asked.path.split("/")[1:])), frozenset(methods), asked)

    def fits(self, segments: Sequence[str]) -> dict[str, str] | None:
        """What the path says, by name. There are as many segments as parts."""
        found = dict[str, str]()
        for part, segment in zip(self.parts, segments, strict=True):
            if isinstance(part, _Name):
                if part.pattern.fullmatch(segment) is None:
                    return None
                found[part.name] = segment
            elif part != segment:
                return None
        return found


def _segments(path: str) -> list[str]:
    """What stands between the slashes. The base may end in one: some clients post their Bundles there."""
    return path.removeprefix(PREFIX).split("/")[1:] if path != f"{PREFIX}/" else []


def _part(text: str) -> str | _Name:
    if not text.startswith("{"):
        return text
    name = text[1:-1]
    return _Name(name, _TYPE if name == "resource_type" else _ID)


def _unanswered(method: str, fitting: Iterable[_Way]) -> Response:
    """What is not there is not there; a wrong method is told the right ones."""
    allowed = ", ".join(sorted(frozenset[str]().union(*(way.methods for way in fitting))))
    if not allowed:
        return errors.outcome(404, "not-found", "there is nothing here that answers this")
    if method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    return errors.outcome(405, "not-supported", f"the method is one of {allowed}", headers={"Allow": allowed})
