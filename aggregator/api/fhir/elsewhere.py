"""What no interaction answers: a wrong method is told the right ones, and what is not there is not there.

RFC 9110, section 9.3.7 (OPTIONS) and 15.5.6 (405). Which methods there are is no secret of any record, so nobody is
asked who they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from aggregator.api.errors import outcome
from aggregator.api.fhir import formats
from aggregator.api.fhir.server import pairs
from aggregator.errors import CallerError


class Elsewhere:
    """Answers whatever below /fhir none of these routes does."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        with suppress(CallerError):  # what cannot be had in that form is told as it is
            formats.settle(request, pairs(request))
        await (await formats.turned(request, self._answer(scope)))(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        allowed = self._allowed(scope)
        if not allowed:
            return outcome(404, "not-found", "there is nothing here that answers this")
        headers = {"Allow": ", ".join(allowed)}
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return outcome(405, "not-supported", f"the method is one of {headers['Allow']}", headers=headers)

    def _allowed(self, scope: Scope) -> list[str]:
        fitting = (route.methods or () for route in self._routes if route.matches(scope)[0] is not Match.NONE)
        return sorted(set[str]().union(*fitting))
