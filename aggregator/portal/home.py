"""/app: where everything begins, and the language of the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit

ROOMS = ("ways-in", "devices")
"""The owner's pages, as home lists them: each a path under /app, with its words in `words/home.toml`."""


class HomePages:
    """The pages."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.anyone(self.home), methods=["GET"])
        add("/language", self._frame.anyone(self.language), methods=["POST"])
        return router

    async def home(self, visit: Visit) -> Response:
        """The owner's rooms; for everybody else what this is, and the ways in."""
        return visit.page("home", rooms=ROOMS) if visit.known else visit.page("welcome")

    async def language(self, visit: Visit) -> Response:
        """Set the language, and go back to where it was asked for."""
        visit.speak(visit.field("language"))
        return visit.go_on(visit.field("wanted"))
