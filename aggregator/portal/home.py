"""/app: where everything begins, and the language of the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.desk import Desk
from aggregator.api.service import Service
from aggregator.identity.notices import WORDS
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit

ROOMS = ("access", "requests", "receipts", "share", "bring", "ways-in", "devices")
"""The owner's pages, as home lists them: each a path under /app, with its words in `words/home.toml`."""


class HomePages:
    """The pages."""

    def __init__(self, frame: Frame, service: Service, desk: Desk) -> None:
        self._frame = frame
        self._desk = desk
        self._service = service

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.anyone(self.home), methods=["GET"])
        add("/notices", self._frame.owner(self.seen), methods=["POST"])
        add("/language", self._frame.anyone(self.language), methods=["POST"])
        return router

    async def home(self, visit: Visit) -> Response:
        """The owner's rooms; for everybody else what this is, and the ways in."""
        if visit.known is None:
            return visit.page("welcome", can_sign_up=self._service.accounts.who_signs_up != "closed")
        proven = await asyncio.to_thread(self._service.accounts.recovery_proven, visit.owner.vault)
        told = await self._desk.greeting(visit.principal)
        notices = [(one.at, WORDS[one.kind][visit.at]) for one in told.notices]
        ending = [(one.words or (one.name, one.name))[visit.at] for one in told.ending]
        return visit.page("home", rooms=ROOMS, proven=proven, notices=notices, ending=ending, requests=told.requests)

    async def seen(self, visit: Visit) -> Response:
        """The notices are read."""
        await self._desk.seen(visit.principal)
        return visit.go("/app")

    async def language(self, visit: Visit) -> Response:
        """Set the language, and go back to where it was asked for."""
        visit.speak(visit.field("language"))
        return visit.go_on(visit.field("wanted"))
