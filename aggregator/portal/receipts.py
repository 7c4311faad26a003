"""/app/receipts: who did what with the record, when and what for, and what stayed hidden and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.desk import Desk
from aggregator.consent.plain import REASONS
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit

MOST = 50


class ReceiptPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, desk: Desk) -> None:
        self._frame = frame
        self._desk = desk

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/receipts")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.show), methods=["GET"])
        return router

    async def show(self, visit: Visit) -> Response:
        """The newest: of others alone, or all with the owner's own doing."""
        everything = visit.asked("all") == "yes"
        lines = await self._desk.receipts(visit.principal, MOST, own=everything)
        return visit.page("receipts", lines=lines, everything=everything, reasons=REASONS, at=visit.at)
