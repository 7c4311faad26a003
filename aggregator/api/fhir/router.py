"""Which interaction a request asks for: by its method and the parts of its path. An ASGI application of its own.

Every request to /fhir passes here, so it takes nothing along that it does not need: what FastAPI adds to a route
(its stack of middlewares, a regular expression for each route before the right one) was 118 of the 327 µs of a read.

What no interaction answers is told apart: RFC 9110, section 9.3.7 (OPTIONS), 15.5.6 (405). Which methods there are is
no secret of any record, so nobody is asked who they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aggregator.api import asking, encoding, errors
from aggregator.api.fhir import formats
from aggregator.api.fhir.interaction import Interaction, Operation
from aggregator.api.fhir.server import Server, pairs
from aggregator.api.headers import guarded

PREFIX = "/fhir"
_TYPE = "[A-Z][A-Za-z]+"  # a resource type's name begins with a capital: `metadata` is none
_ID = "[^$_/][^/]*"  # an id has no such beginning: an operation's name, `_search`, `_history` are none
_NAME = re.compile(r"\{(\w+)\}")


class Router:
    """Answers whatever lies below /fhir. Where several interactions fit, the table's first does."""

    def __init__(self, server: Server, table: Iterable[Interaction | Operation]) -> None:
        self._server = server
        self._ways: Mapping[tuple[str, int], list[_Way]] = defaultdict(list)
        """By method and number of parts."""
        for one in table:
            way = _Way.to(one)
            for method in way.methods:
                self._ways[method, one.path.count("/")].append(way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing goes on to the server that runs this: it would log a traceback with its message."""
        scope["app"] = self  # a batch asks here anew, entry by entry
        asking.listen(receive)
        response = guarded(await self._answer(Request(scope, receive, send)))
        try:
            await response(scope, receive, encoding.packing(scope, send))
        except Exception as error:  # noqa: BLE001 - of an answer that is under way, so there is no other any more
            errors.unknown(error)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._routed(request)
        except errors.KNOWN as error:
            return await formats.turned(request, errors.answer(error))
        except Exception as error:  # noqa: BLE001 - the last resort
            return errors.unknown(error)

    async def _routed(self, request: Request) -> Response:
        method, path = request.scope["method"], _below(request.scope["path"])
        for way in self._ways.get((method, path.count("/")), ()):
            found = way.pattern.fullmatch(path)
            if found is not None:
                request.scope["path_params"] = found.groupdict()
                return await self._ask(way.asked, request)
        formats.settle(request, pairs(request))
        return await formats.turned(request, _unanswered(method, self._methods(path)))

    def _methods(self, path: str) -> set[str]:
        """By which this path may be asked."""
        ways = (way for all_ in self._ways.values() for way in all_)
        return {method for way in ways if way.pattern.fullmatch(path) for method in way.methods}

    async def _ask(self, asked: Interaction | Operation, request: Request) -> Response:
        """With the installation, and in the form that is asked for."""
        if asked.raw:
            return await asked.endpoint(self._server, request)
        formats.settle(request, pairs(request))
        return await formats.turned(request, await asked.endpoint(self._server, request))


@dataclass(frozen=True, slots=True)
class _Way:
    """A path, below /fhir, with the methods that it is asked by."""

    pattern: re.Pattern[str]
    methods: frozenset[str]
    asked: Interaction | Operation

    @classmethod
    def to(cls, asked: Interaction | Operation) -> _Way:
        methods = {asked.method, "HEAD"} if asked.method == "GET" else {asked.method}
        return cls(_pattern(asked.path), frozenset(methods), asked)


def _below(path: str) -> str:
    """The base may end in a slash: some clients post their Bundles there."""
    return path.removeprefix(PREFIX) if path != f"{PREFIX}/" else ""


def _pattern(path: str) -> re.Pattern[str]:
    """`/{resource_type}/{whole_id}`: what fits it, by these names."""
    parts = _NAME.split(path)  # plain text and names in turn
    return re.compile("".join(_named(part) if place % 2 else re.escape(part) for place, part in enumerate(parts)))


def _named(name: str) -> str:
    return f"(?P<{name}>{_TYPE if name == 'resource_type' else _ID})"


def _unanswered(method: str, fitting: Iterable[str]) -> Response:
    """What is not there is not there; a wrong method is told the right ones."""
    allowed = ", ".join(sorted(fitting))
    if not allowed:
        return errors.outcome(404, "not-found", "there is nothing here that answers this")
    if method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    return errors.outcome(405, "not-supported", f"the method is one of {allowed}", headers={"Allow": allowed})
