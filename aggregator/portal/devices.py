"""/app/devices: where one is signed in, to end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.caller import Callers
from aggregator.api.service import Service
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit

_ALL_OTHERS = "others"


class DevicesPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, callers: Callers) -> None:
        self._frame = frame
        self._service = service
        self._callers = callers

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/devices", self._frame.owner(self.show), methods=["GET"])
        add("/devices", self._frame.owner(self.end), methods=["POST"])
        return router

    async def show(self, visit: Visit) -> Response:
        """Device, since when, and the hour it was last seen; this one first."""
        owner, now = visit.owner, self._service.clock().timestamp()
        rows = await asyncio.to_thread(self._service.accounts.sessions.listed, owner.vault, owner.root, now)
        rows.sort(key=lambda row: row.id != owner.session)
        since = {row.id: datetime.fromtimestamp(row.unlocked_at, UTC) for row in rows}
        return visit.page("devices", sessions=rows, since=since)

    async def end(self, visit: Visit) -> Response:
        """End one, or all but this one."""
        owner, wanted, sessions = visit.owner, visit.field("session"), self._service.accounts.sessions
        if wanted == _ALL_OTHERS:
            await asyncio.to_thread(sessions.end_others, owner.vault, owner.session)
        else:
            await asyncio.to_thread(sessions.end, owner.vault, wanted)
        self._callers.forget_owner(owner.vault)
        return visit.go("/app/devices")
