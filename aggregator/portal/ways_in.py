"""/app/ways-in: passkeys, password and recovery code. Each change takes an unlock in the last minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.caller import Callers
from aggregator.api.service import Service
from aggregator.errors import CallerError, SignInFailed
from aggregator.identity.turns import Turns
from aggregator.identity.unlockers import LONGEST_PASSWORD, SHORTEST_PASSWORD
from aggregator.portal.frame import Frame
from aggregator.portal.unlocking import ASSERTION, parsed
from aggregator.portal.visit import Visit


class WaysInPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, callers: Callers, turns: Turns) -> None:
        self._frame = frame
        self._ways_in = service.ways_in
        self._accounts = service.accounts
        self._callers = callers
        self._turns = turns

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        owner, signing = self._frame.owner, self._frame.signing
        add("/ways-in", owner(self.show), methods=["GET"])
        add("/ways-in/remove", signing(self.remove), methods=["POST"])
        add("/ways-in/passkey", signing(self.new_passkey), methods=["GET", "POST"])
        add("/ways-in/passkey/add", owner(self.add_passkey), methods=["POST"])
        add("/ways-in/password", signing(self.new_password), methods=["GET"])
        add("/ways-in/password", signing(self.set_password), methods=["POST"])
        add("/ways-in/code", signing(self.new_code), methods=["POST"])
        add("/ways-in/code/proof", owner(self.ask_code), methods=["GET"])
        add("/ways-in/code/proof", owner(self.prove_code), methods=["POST"])
        return router

    async def show(self, visit: Visit, problem: str = "") -> Response:
        """The ways in, the oldest first, and what can be done."""
        rows = await asyncio.to_thread(self._ways_in.listed, visit.owner)
        since = {row.id: datetime.fromtimestamp(row.created, UTC) for row in rows}
        return visit.page("ways-in", 409 if problem else 200, ways=rows, since=since, problem=problem)

    async def remove(self, visit: Visit) -> Response:
        """Take one away, and the sessions that it opened."""
        try:
            await asyncio.to_thread(self._ways_in.remove, visit.owner, visit.field("way"))
        except CallerError:  # it is not there, or the last one but the code
            return await self.show(visit, "must_remain")
        self._callers.forget_owner(visit.owner.vault)
        return visit.go("/app/ways-in")

    async def new_passkey(self, visit: Visit) -> Response:
        """Ask the browser for one, under a name."""
        options = await asyncio.to_thread(self._ways_in.passkey_options, visit.owner, "")
        return visit.page("passkey", options=options)

    async def add_passkey(self, visit: Visit) -> Response:
        """What the authenticator answered to both questions."""
        made, used = parsed(visit, "registration"), parsed(visit, ASSERTION)
        label = visit.field("label")
        try:
            await asyncio.to_thread(self._ways_in.add_passkey, visit.owner, made, used, label)
        except CallerError:
            return await self.show(visit, "no_passkey")
        return visit.go("/app/ways-in")

    async def new_password(self, visit: Visit, problem: str = "") -> Response:
        """Ask for it twice."""
        return visit.page("password", 400 if problem else 200, problem=problem, shortest=SHORTEST_PASSWORD)

    async def set_password(self, visit: Visit) -> Response:
        """Set it; every other session ends."""
        password, again = visit.secret_field("new_password"), visit.secret_field("again")
        if problem := password_problem(password, again):
            return await self.new_password(visit, problem)
        await self._turns.take(self._ways_in.set_password, visit.owner, password)
        self._callers.forget_owner(visit.owner.vault)
        return visit.go("/app/ways-in")

    async def new_code(self, visit: Visit) -> Response:
        """Make a new one and show it, this once."""
        code = await asyncio.to_thread(self._ways_in.renew_recovery, visit.owner)
        return visit.page("code", code=code)

    async def ask_code(self, visit: Visit) -> Response:
        """Ask for it, typed from paper."""
        return visit.page("code-proof", problem="")

    async def prove_code(self, visit: Visit) -> Response:
        """Typed back: from here on it counts, and the one before no longer."""
        try:
            await self._turns.take(self._accounts.prove_own_recovery, visit.owner, visit.field("code"))
        except SignInFailed:
            return visit.page("code-proof", 403, problem="wrong")
        except CallerError:
            return visit.page("code-proof", 400, problem="slip")
        self._callers.forget_owner(visit.owner.vault)
        return visit.go("/app")


def password_problem(password: str, again: str) -> str:
    """What is wrong with a new password that was typed twice; empty for nothing."""
    if password != again:
        return "not_equal"
    return "" if SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD else "too_short"
