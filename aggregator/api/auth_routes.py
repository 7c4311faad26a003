"""/auth: patients sign up by password, and in by password or passkey. What is OAuth's there: oauth_routes."""

from __future__ import annotations

import asyncio
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
from aggregator.identity import patient
from aggregator.identity.accounts import Owner
from aggregator.identity.turns import Turns

_LIMIT = 64 * 1024
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class AuthRoutes:
    """The routes, on one installation. What runs Argon2 takes turns; what writes, writes in a thread."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self._service = service
        self._callers = callers
        self._doorway = Doorway(service, turns)

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/auth")
        add: Callable[..., Any] = router.add_api_route
        add("/sign-up", self.sign_up, methods=["POST"])
        add("/recovery-proof", self.recovery_proof, methods=["POST"])
        add("/sign-in", self.sign_in, methods=["POST"])
        add("/passkey/options", self.passkey_options, methods=["POST"])
        add("/passkey", self.passkey, methods=["POST"])
        add("/recover", self.recover, methods=["POST"])
        add("/sign-out", self.sign_out, methods=["POST"])
        return router

    async def sign_up(self, request: Request) -> Response:
        """{login, password, family, given, birth_date, kvnr?, device?, invitation?} -> a vault.

        The recovery code is shown once.
        """
        told = await bodies.json(request, _LIMIT)
        login, password, family, given, birth_date = bodies.strings(
            told, "login", "password", "family", "given", "birth_date"
        )
        kvnr = bodies.strings(told, "kvnr")[0] if told.get("kvnr") is not None else None
        today = self._service.clock().date()
        person = patient.stated(family=family, given=given, birth_date=birth_date, kvnr=kvnr, today=today)
        invitation = bodies.strings(told, "invitation")[0] if "invitation" in told else ""
        named = device(request, told)
        made = await self._doorway.through(
            request, self._service.accounts.sign_up, login, password, person, named, invitation
        )
        return self._session(made.owner, 201, recovery_code=made.recovery_code)

    async def recovery_proof(self, request: Request) -> Response:
        """{login, recovery_code}: typed back, so that it is known to be written down. Before that nothing is synced."""
        login, code = bodies.strings(await bodies.json(request, _LIMIT), "login", "recovery_code")
        vault = await asyncio.to_thread(self._service.accounts.prove_recovery, login, code)
        self._callers.forget_owner(vault)  # a code that went takes its sessions with it
        return Response(status_code=204)

    async def sign_in(self, request: Request) -> Response:
        """{login, password, device?} -> an owner session."""
        told = await bodies.json(request, _LIMIT)
        login, password = bodies.strings(told, "login", "password")
        named = device(request, told)
        owner = await self._doorway.through(request, self._service.accounts.sign_in, login, password, named)
        return self._session(await settled(self._service, owner))

    async def passkey_options(self) -> Response:
        """Options for navigator.credentials.get: the same for everybody, so they tell of nobody."""
        return _json(self._service.ways_in.passkeys.request())

    async def passkey(self, request: Request) -> Response:
        """{credential, device?} -> an owner session. credential: as toJSON() gives it, with what the PRF gave."""
        told = await bodies.json(request, _LIMIT)
        credential, named = bodies.member(told, "credential"), device(request, told)
        owner = await asyncio.to_thread(self._service.ways_in.sign_in, credential, named)
        return self._session(await settled(self._service, owner))

    async def recover(self, request: Request) -> Response:
        """{login, recovery_code, password, device?}: a new password by the recovery code; every session ends."""
        made = await bodies.json(request, _LIMIT)
        login, code, password = bodies.strings(made, "login", "recovery_code", "password")
        named = device(request, made)
        owner = await self._doorway.through(request, self._service.accounts.recover, login, code, password, named)
        self._callers.forget_owner(owner.vault)
        return self._session(await settled(self._service, owner))

    async def sign_out(self, request: Request) -> Response:
        """End the owner session of the bearer token."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._service.accounts.sign_out, owner.token)
        self._callers.forget(owner.token)
        return Response(status_code=204)

    def _session(self, owner: Owner, status: int = 200, **more: str) -> Response:
        told = {
            "token": owner.token,
            "expires_in": self._service.config.session.owner_minutes * 60,
            "patient": owner.whole_patient,
        }
        return _json(told | more, status)


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, headers=_NO_STORE, media_type="application/json")
