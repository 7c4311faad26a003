"""POST /app/export: the owner's whole record as one file, sealed by a password of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aggregator.api import bodies
from aggregator.api.caller import Callers
from aggregator.api.service import Service
from aggregator.identity import unlockers
from aggregator.identity.turns import Turns
from aggregator.portability import archive, sealed_file
from aggregator.portability.export import Place, export

_LIMIT = 64 * 1024
_HEADERS = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="record.export"'}


class ExportRoutes:
    """The route, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self._service = service
        self._callers = callers
        self._turns = turns

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/export", self.export, methods=["POST"])
        return router

    async def export(self, request: Request) -> Response:
        """{password}: the file's. It takes a fresh unlock; the receipt is durable before the first byte leaves."""
        service, owner = self._service, self._callers.of(request).as_owner()
        (password,) = bodies.strings(await bodies.json(request, _LIMIT), "password")
        service.accounts.may_sign(owner)
        derived = await self._turns.take(unlockers.derive, password)
        files = await asyncio.to_thread(export, place(service), owner)

        def pieces() -> Iterator[bytes]:
            yield from sealed_file.seal(derived, archive.tar(files))

        return StreamingResponse(pieces(), headers=_HEADERS, media_type="application/octet-stream")


def place(service: Service) -> Place:
    """What an export, an import or an erasure works on."""
    return Place(
        store=service.store,
        blobs=service.blobs,
        key_service=service.key_service,
        receipts=service.receipts,
        clock=service.clock,
    )
