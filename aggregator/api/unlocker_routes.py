"""/app/unlockers and /app/sessions: the ways into one's own record, and where one is signed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.caller import Callers
from aggregator.api.json_answer import json_answer
from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.identity.turns import Turns

_LIMIT = 64 * 1024


class UnlockerRoutes:
    """The routes, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self._service = service
        self._callers = callers
        self._turns = turns

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/unlockers", self.unlockers, methods=["GET"])
        add("/unlockers/password", self.password, methods=["PUT"])
        add("/unlockers/recovery", self.recovery, methods=["POST"])
        add("/unlockers/passkeys/options", self.passkey_options, methods=["POST"])
        add("/unlockers/passkeys", self.passkey, methods=["POST"])
        add("/unlockers/{unlocker}", self.remove, methods=["DELETE"])
        add("/sessions", self.sessions, methods=["GET"])
        add("/sessions", self.end_others, methods=["DELETE"])
        add("/sessions/{session}", self.end, methods=["DELETE"])
        return router

    async def unlockers(self, request: Request) -> Response:
        """The ways into the record: kind, name, since when; of a recovery code, whether it was typed back."""
        owner = self._callers.of(request).as_owner()
        rows = await asyncio.to_thread(self._service.ways_in.listed, owner)
        return json_answer({"unlockers": [asdict(row) | {"created": _time(row.created)} for row in rows]})

    async def password(self, request: Request) -> Response:
        """{password}: a new one, or the first; every other session ends."""
        owner = self._callers.of(request).as_owner()
        (password,) = bodies.strings(await bodies.json(request, _LIMIT), "password")
        await self._turns.take(self._service.ways_in.set_password, owner, password)
        self._callers.forget_owner(owner.vault)
        return Response(status_code=204)

    async def recovery(self, request: Request) -> Response:
        """A new recovery code, shown this once; typed back at /auth/recovery-proof it takes the old one's place."""
        owner = self._callers.of(request).as_owner()
        return json_answer({"recovery_code": await asyncio.to_thread(self._service.ways_in.renew_recovery, owner)}, 201)

    async def passkey_options(self, request: Request) -> Response:
        """{label?} -> {create, get}: options for navigator.credentials, the second to show at once that it opens."""
        owner = self._callers.of(request).as_owner()
        label = _label(await bodies.json(request, _LIMIT))
        return json_answer(await asyncio.to_thread(self._service.ways_in.passkey_options, owner, label))

    async def passkey(self, request: Request) -> Response:
        """{registration, assertion, label?}: what the authenticator answered to both, as toJSON() gives it."""
        owner = self._callers.of(request).as_owner()
        told = await bodies.json(request, _LIMIT)
        registration, assertion = (bodies.member(told, name) for name in ("registration", "assertion"))
        made = await asyncio.to_thread(self._service.ways_in.add_passkey, owner, registration, assertion, _label(told))
        return json_answer({"id": made}, 201)

    async def remove(self, request: Request, unlocker: str) -> Response:
        """Take a way in away, and end the sessions that it opened."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._service.ways_in.remove, owner, unlocker)
        self._callers.forget_owner(owner.vault)
        return Response(status_code=204)

    async def sessions(self, request: Request) -> Response:
        """Where one is signed in: device, by which unlocker, since when, and the hour it was last seen."""
        owner = self._callers.of(request).as_owner()
        now = self._service.clock().timestamp()
        rows = await asyncio.to_thread(self._service.accounts.sessions.listed, owner.vault, owner.root, now)
        times = ("unlocked_at", "seen", "expires")
        told = [
            asdict(row) | {name: _time(getattr(row, name)) for name in times} | {"current": row.id == owner.session}
            for row in rows
        ]
        return json_answer({"sessions": told})

    async def end(self, request: Request, session: str) -> Response:
        """End one of one's sessions; other server processes follow within seconds."""
        owner = self._callers.of(request).as_owner()
        if not await asyncio.to_thread(self._service.accounts.sessions.end, owner.vault, session):
            raise CallerError("there is no such session; GET /app/sessions lists those there are")
        self._callers.forget_owner(owner.vault)
        return Response(status_code=204)

    async def end_others(self, request: Request) -> Response:
        """End every session but this one."""
        owner = self._callers.of(request).as_owner()
        ended = await asyncio.to_thread(self._service.accounts.sessions.end_others, owner.vault, owner.session)
        self._callers.forget_owner(owner.vault)
        return json_answer({"ended": ended})


def _label(told: dict[str, Any]) -> str:
    label = told.get("label", "")
    if not isinstance(label, str):
        raise CallerError("label: a string is needed")
    return label


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
