"""/app/sign-in and /app/sign-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.errors import CallerError
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit


class SignInPages:
    """The pages."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/sign-in", self._frame.anyone(self.show), methods=["GET"])
        add("/sign-in", self._frame.anyone(self.sign_in), methods=["POST"])
        add("/sign-out", self._frame.anyone(self.sign_out), methods=["POST"])
        return router

    async def show(self, visit: Visit) -> Response:
        """The form; who is signed in already is at home."""
        return visit.go("/app") if visit.known else visit.page("sign-in", wanted="/app", problem="", login="")

    async def sign_in(self, visit: Visit) -> Response:
        """By passkey or password: a new session, whatever cookie the browser had before."""
        login, wanted = visit.field("login"), visit.field("wanted")
        try:
            await self._frame.unlocking.sign_in(visit)
        except CallerError:
            return visit.page("sign-in", 403, wanted=wanted, problem="wrong", login=login)
        return visit.go_on(wanted)

    async def sign_out(self, visit: Visit) -> Response:
        """The session is over, here and in the database."""
        await self._frame.unlocking.leave(visit)
        return visit.page("signed-out")
