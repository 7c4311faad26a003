"""/app/sign-in and /app/sign-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.caller import Callers
from aggregator.api.device import family
from aggregator.api.service import Service
from aggregator.api.settling import settled
from aggregator.errors import CallerError
from aggregator.identity.accounts import Owner
from aggregator.identity.turns import Turns
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit


class SignInPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, callers: Callers, turns: Turns) -> None:
        self._frame = frame
        self._service = service
        self._callers = callers
        self._turns = turns

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
        """By password: a new session, whatever cookie the browser had before."""
        login, wanted = visit.field("login"), visit.field("wanted")
        try:
            owner = await self._by_password(visit, login)
        except CallerError:
            return visit.page("sign-in", 403, wanted=wanted, problem="wrong", login=login)
        await self._end(visit)
        visit.enter(await settled(self._service, owner))
        return visit.go_on(wanted)

    async def _by_password(self, visit: Visit, login: str) -> Owner:
        device = family(visit.request.headers.get("user-agent", ""))
        password = visit.secret_field("password")
        return await self._turns.take(self._service.accounts.sign_in, login, password, device)

    async def sign_out(self, visit: Visit) -> Response:
        """The session is over, here and in the database."""
        await self._end(visit)
        visit.leave()
        return visit.page("signed-out")

    async def _end(self, visit: Visit) -> None:
        """The session that this browser had."""
        if visit.known is not None:
            await asyncio.to_thread(self._service.accounts.sign_out, visit.known.token)
            self._callers.forget(visit.known.token)
