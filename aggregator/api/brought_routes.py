"""/app/cards and /app/received: SMART Health Cards and Links of others that an owner brings along.

What they hold is taken as the owner's own, with what checking it came to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Access
from aggregator.api.bringing import Bringing
from aggregator.api.caller import Callers, Principal
from aggregator.api.service import Service

_LIMIT = 2_000_000


class BroughtRoutes:
    """The routes, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._callers = callers
        self._bringing = Bringing(service, access)

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/cards", self.cards, methods=["POST"])
        add("/received", self.received, methods=["POST"])
        return router

    async def cards(self, request: Request) -> Response:
        """{verifiableCredential} as in a .smart-health-card file, or {codes: ["shc:/...", ...]} as QR codes have it.

        All of them or none. The answer says of each card whose word it is, and which resources it brought.
        """
        principal = self._owner(request)
        told = await bodies.json(request, _LIMIT)
        return _json({"cards": await self._bringing.cards(principal, told)})

    async def received(self, request: Request) -> Response:
        """{link, recipient, passcode?}: all that somebody's SMART Health Link leads to, or nothing.

        recipient: who says to be asking; whoever made the link may read it.
        """
        principal = self._owner(request)
        told = await bodies.json(request, _LIMIT)
        text, recipient = bodies.strings(told, "link", "recipient")
        (passcode,) = bodies.strings(told, "passcode") if told.get("passcode") is not None else ("",)
        return _json({"received": await self._bringing.link(principal, text, recipient, passcode)})

    def _owner(self, request: Request) -> Principal:
        principal = self._callers.of(request)
        principal.as_owner()
        return principal


def _json(told: dict[str, Any]) -> Response:
    return Response(orjson.dumps(told), 201, media_type="application/json")
