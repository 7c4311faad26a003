"""/app/sign-up and /app/recover: a new record, and the way back into one by its recovery code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.caller import Callers
from aggregator.api.doorway import Doorway
from aggregator.api.service import Service
from aggregator.errors import CallerError, SignInFailed
from aggregator.identity import logins, patient
from aggregator.identity.turns import Turns
from aggregator.identity.unlockers import SHORTEST_PASSWORD
from aggregator.portal.frame import Frame
from aggregator.portal.unlocking import device
from aggregator.portal.visit import Visit
from aggregator.portal.ways_in import password_problem

_KEPT = ("login", "given", "family", "birth_date", "kvnr", "invitation")
"""Fields that stand in the form again where something is wrong: never a password."""


class SignUpPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, callers: Callers, turns: Turns) -> None:
        self._frame = frame
        self._service = service
        self._callers = callers
        self._doorway = Doorway(service, turns)

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/sign-up", self._frame.anyone(self.show), methods=["GET"])
        add("/sign-up", self._frame.anyone(self.sign_up), methods=["POST"])
        add("/recover", self._frame.anyone(self.ask_code), methods=["GET"])
        add("/recover", self._frame.anyone(self.recover), methods=["POST"])
        return router

    async def show(self, visit: Visit, problem: str = "") -> Response:
        """The form, where one can sign up."""
        who = self._service.accounts.who_signs_up
        if who == "closed":
            return visit.page("problem", 403, problem="closed")
        kept = {name: visit.field(name) for name in _KEPT}
        status = 400 if problem else 200
        invited = who == "invitation"
        return visit.page("sign-up", status, kept=kept, problem=problem, invited=invited, shortest=SHORTEST_PASSWORD)

    async def sign_up(self, visit: Visit) -> Response:
        """A record, its owner signed in, and the recovery code, shown this once."""
        password = visit.secret_field("new_password")
        if problem := password_problem(password, visit.secret_field("again")):
            return await self.show(visit, problem)
        try:
            logins.stated(visit.field("login"))
        except CallerError:
            return await self.show(visit, "wrong_login")
        try:
            code = await self._signed_up(visit, password)
        except SignInFailed:
            return await self.show(visit, "wait")
        except CallerError as error:
            return await self.show(visit, f"wrong_{error.place}" if error.place in _KEPT else "taken")
        return visit.page("code", code=code)

    async def _signed_up(self, visit: Visit, password: str) -> str:
        """The recovery code. Raises CallerError, with the place that is wrong."""
        given, family, birth_date, kvnr = (visit.field(name) for name in ("given", "family", "birth_date", "kvnr"))
        today = self._service.clock().date()
        person = patient.stated(family=family, given=given, birth_date=birth_date, kvnr=kvnr or None, today=today)
        accounts, login, invitation = self._service.accounts, visit.field("login"), visit.field("invitation")
        told = (login, password, person, device(visit), invitation)
        made = await self._doorway.through(visit.request, accounts.sign_up, *told)
        await self._frame.unlocking.enter(visit, made.owner)
        return made.recovery_code

    async def ask_code(self, visit: Visit, problem: str = "") -> Response:
        """Login, code and a new password."""
        status, login = 400 if problem else 200, visit.field("login")
        return visit.page("recover", status, login=login, problem=problem, shortest=SHORTEST_PASSWORD)

    async def recover(self, visit: Visit) -> Response:
        """A new password by the recovery code; every session ends but the one that begins."""
        login, code, password = visit.field("login"), visit.field("code"), visit.secret_field("new_password")
        if problem := password_problem(password, visit.secret_field("again")):
            return await self.ask_code(visit, problem)
        try:
            told = (login, code, password, device(visit))
            owner = await self._doorway.through(visit.request, self._service.accounts.recover, *told)
        except SignInFailed:
            return await self.ask_code(visit, "wrong")
        except CallerError:
            return await self.ask_code(visit, "slip")
        self._callers.forget_owner(owner.vault)
        await self._frame.unlocking.enter(visit, owner)
        return visit.go("/app")
