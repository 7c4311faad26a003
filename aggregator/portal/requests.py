"""/app/requests: who asks to be let in, what that would open, and the answer: all of it, less, or no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.desk import Desk
from aggregator.consent.plain import PURPOSES
from aggregator.consent.sentences import joined
from aggregator.portal.frame import Frame
from aggregator.portal.sections import bars, in_order
from aggregator.portal.visit import Visit


class RequestPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, desk: Desk) -> None:
        self._frame = frame
        self._desk = desk

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/requests")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.show), methods=["GET"])
        add("/one", self._frame.owner(self.one), methods=["GET"])
        add("/allow", self._frame.signing(self.allow), methods=["POST"])
        add("/refuse", self._frame.owner(self.refuse), methods=["POST"])
        return router

    async def show(self, visit: Visit) -> Response:
        """All that wait for an answer."""
        return visit.page("requests", requests=await self._desk.waiting(visit.principal), names=self._desk.names())

    async def one(self, visit: Visit) -> Response:
        """One of them, with what it would open."""
        asked = await self._desk.asked(visit.principal, visit.asked("id"))
        purpose = min(asked.wish.purposes)
        whole = self._desk.consent_for(visit.owner, asked, asked.wish.sections, asked.wish.days)
        told = await self._desk.dry_run(visit.principal, asked.party, purpose, whole)
        return visit.page(
            "request",
            asked=asked,
            who=self._desk.names()[asked.party],
            purposes=joined(PURPOSES.get(code, (code, code)) for code in sorted(asked.wish.purposes))[visit.at],
            sections=in_order(asked.wish.sections, visit.language),
            gained=len(told.gained),
            bars=bars(told, told.then or told.now, visit.language),
        )

    async def allow(self, visit: Visit) -> Response:
        """The ticked sections, signed."""
        await self._desk.grant(visit.principal, visit.field("request"), frozenset(visit.ticked("section")), None)
        return visit.go("/app/access")

    async def refuse(self, visit: Visit) -> Response:
        """No; nobody is told."""
        await self._desk.refuse(visit.principal, visit.field("request"))
        return visit.go("/app/requests")
