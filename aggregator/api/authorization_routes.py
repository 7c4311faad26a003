"""/app/authorizations: what an app asks, shown to the patient who answers; for native apps, and as the pages do it.

The members of what is told and of what is chosen: identity/authorizations.py. For the owner's session alone: it comes
as a bearer token, which no other site's page can send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.json_answer import json_answer
from aggregator.api.service import Service
from aggregator.fhir.bundle import Answer

_LIMIT = 64 * 1024


async def approve(
    service: Service, access: Access, principal: Principal, handle: str, choice: Mapping[str, Any]
) -> str:
    """Sign what the patient leaves, with a receipt; returns where the browser goes."""
    owner = principal.as_owner()
    approved = await asyncio.to_thread(service.authorizations.approve, owner, handle, choice)
    act = Act("create", "Consent", f"Consent/{approved.consent}")
    await access.answer(principal, owner.vault, act, lambda _: Answer(b"", 1))
    return approved.url


class AuthorizationRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._service = service
        self._callers = callers
        self._access = access

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/launches", self.launch, methods=["POST"])
        add("/authorizations/{handle}", self.asked, methods=["GET"])
        add("/authorizations/{handle}", self.answer, methods=["POST"])
        add("/authorizations/{handle}", self.deny, methods=["DELETE"])
        return router

    async def launch(self, request: Request) -> Response:
        """{client_id} -> {launch, iss}: what the app's own address is called with, to start it from here."""
        owner = self._callers.of(request).as_owner()
        (client,) = bodies.strings(await bodies.json(request, _LIMIT), "client_id")
        token = await asyncio.to_thread(self._service.authorizations.launch, owner, client)
        return json_answer({"launch": token, "iss": f"{self._service.base_url}/fhir"}, 201)

    async def asked(self, request: Request, handle: str) -> Response:
        """What the app asks of whoever is signed in."""
        owner = self._callers.of(request).as_owner()
        return json_answer(await asyncio.to_thread(self._service.authorizations.asked, handle, owner))

    async def answer(self, request: Request, handle: str) -> Response:
        """The patient's choice -> {redirect}: signed, which needs a fresh unlock."""
        principal = self._callers.of(request)
        choice = await bodies.json(request, _LIMIT)
        return json_answer({"redirect": await approve(self._service, self._access, principal, handle, choice)})

    async def deny(self, request: Request, handle: str) -> Response:
        """The patient wants none of it -> {redirect}."""
        self._callers.of(request).as_owner()
        return json_answer({"redirect": await asyncio.to_thread(self._service.authorizations.deny, handle)})
