"""/app/bring: SMART Health Cards and Links of others, taken over as the owner's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Access
from aggregator.api.bringing import Bringing
from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit
from aggregator.sharing.link import SCHEME
from fhir_profiles.text import NotJson


class BringPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, access: Access) -> None:
        self._frame = frame
        self._bringing = Bringing(service, access)

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/bring")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.show), methods=["GET"])
        add("", self._frame.owner(self.take), methods=["POST"])
        return router

    async def show(self, visit: Visit) -> Response:
        """What is to be taken over: a link, what a QR code holds, or a card's file, pasted."""
        return visit.page("bring", found=[], wrong=False, brought="", recipient="")

    async def take(self, visit: Visit) -> Response:
        """All of it or nothing; the page says whose word it is."""
        assert visit.known is not None  # noqa: S101 - the frame has let in owners alone
        try:
            found = await self._take(visit, visit.known)
        except (CallerError, NotJson):
            kept = {"brought": visit.field("brought"), "recipient": visit.field("recipient")}
            return visit.page("bring", 400, found=[], wrong=True, **kept)
        return visit.page("bring", found=found, wrong=False, brought="", recipient="")

    async def _take(self, visit: Visit, principal: Principal) -> list[dict[str, Any]]:
        text = visit.field("brought")
        if SCHEME in text:
            passcode = visit.secret_field("passcode")
            return await self._bringing.link(principal, text, visit.field("recipient") or "-", passcode)
        if text.startswith("{"):
            return await self._bringing.cards(principal, bodies.parsed(text.encode()))
        return await self._bringing.cards(principal, {"codes": text.split()})
