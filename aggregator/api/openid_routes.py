"""/auth/openid: sign-in through a provider that says who somebody is; what opens the record is asked afterwards."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.caller import Callers
from aggregator.api.device import device
from aggregator.api.doorway import Doorway
from aggregator.api.service import Service
from aggregator.api.settling import settled
from aggregator.identity.turns import Turns

_LIMIT = 16 * 1024
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_SECONDS = 600


class OpenIdRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self._service = service
        self._openid = service.openid
        self._callers = callers
        self._doorway = Doorway(service, turns)
        self._secure = service.base_url.startswith("https://")
        self._cookie = "__Host-openid" if self._secure else "openid"

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/auth/openid")
        add: Callable[..., Any] = router.add_api_route
        add("", self.providers, methods=["GET"])
        add("/sign-in", self.sign_in, methods=["POST"])
        add("/links", self.links, methods=["GET"])
        add("/links/{provider}", self.unlink, methods=["DELETE"])
        add("/{provider}/begin", self.begin, methods=["POST"])
        add("/{provider}/callback", self.callback, methods=["GET"])
        return router

    async def providers(self) -> Response:
        """Whom one can sign in through."""
        told = [{"provider": name, "title": one.settings.title} for name, one in self._openid.providers.items()]
        return _json({"providers": told})

    async def begin(self, request: Request, provider: str) -> Response:
        """-> {location}: where to send this browser. With an owner's token its record is to be linked."""
        owner = self._callers.of(request).as_owner() if "authorization" in request.headers else None
        browser = secrets.token_urlsafe(32)
        location = await asyncio.to_thread(self._openid.begin, provider, browser, owner)
        answer = _json({"location": location})
        answer.set_cookie(self._cookie, browser, _SECONDS, path="/", secure=self._secure, httponly=True, samesite="lax")
        return answer

    async def callback(self, request: Request, provider: str) -> Response:
        """The provider sends the browser here -> {linked}, and {identified} for who is to unlock now."""
        told, browser = dict(request.query_params), request.cookies.get(self._cookie, "")
        made = await asyncio.to_thread(self._openid.finish, provider, told, browser)
        answer = _json({"linked": made.linked} | ({"identified": made.identified} if made.identified else {}))
        answer.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return answer

    async def sign_in(self, request: Request) -> Response:
        """{identified, password, device?} -> an owner session."""
        told = await bodies.json(request, _LIMIT)
        identified, password = bodies.strings(told, "identified", "password")
        owner = await self._doorway.through(request, self._openid.sign_in, identified, password, device(request, told))
        await settled(self._service, owner)
        lasts = self._service.config.session.owner_minutes * 60
        return _json({"token": owner.token, "expires_in": lasts, "patient": owner.whole_patient})

    async def links(self, request: Request) -> Response:
        """Which providers find the owner's record."""
        owner = self._callers.of(request).as_owner()
        return _json({"links": await asyncio.to_thread(self._openid.links, owner)})

    async def unlink(self, request: Request, provider: str) -> Response:
        """This one finds it no longer."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._openid.unlink, owner, provider)
        return Response(status_code=204)


def _json(told: dict[str, Any]) -> Response:
    return Response(orjson.dumps(told), headers=_NO_STORE, media_type="application/json")
