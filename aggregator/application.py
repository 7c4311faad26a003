"""The ASGI application: routes, and the error table."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator import __version__
from aggregator.api import asking, errors, metrics
from aggregator.api.access import Access
from aggregator.api.app_routes import AppRoutes
from aggregator.api.auth_routes import AuthRoutes
from aggregator.api.authorization_routes import AuthorizationRoutes
from aggregator.api.brought_routes import BroughtRoutes
from aggregator.api.caller import Callers
from aggregator.api.consent_routes import ConsentRoutes
from aggregator.api.cross_origin import CrossOrigin
from aggregator.api.desk import Desk
from aggregator.api.export_routes import ExportRoutes
from aggregator.api.fhir import table
from aggregator.api.fhir.router import PREFIX
from aggregator.api.headers import Guarded
from aggregator.api.link_routes import LinkRoutes
from aggregator.api.oauth_routes import OAuthRoutes
from aggregator.api.openid_routes import OpenIdRoutes
from aggregator.api.party_routes import PartyRoutes
from aggregator.api.service import Service
from aggregator.api.shl_routes import ShlRoutes
from aggregator.api.unlocker_routes import UnlockerRoutes
from aggregator.identity.turns import Turns
from aggregator.portal import pages
from fhir_profiles import ucum

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 15.0
_ISSUE_CODES = {404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}


def create_app(service: Service) -> ASGIApp:
    """The application of one installation: /fhir by a way of its own, all else by FastAPI."""
    access = Access(service)
    callers, turns = Callers(service, access.held.drop_reader), Turns()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ucum.prepare()
        # What start-up made stays: to look through all of it again and again stopped every request for up to 0.2 s.
        gc.collect()
        gc.freeze()
        sweeping = asyncio.create_task(_sweep(service, access, callers))
        yield
        sweeping.cancel()
        gc.unfreeze()
        access.held.close()

    app = FastAPI(
        title="Patient record aggregator",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.router.redirect_slashes = False  # the address of a redirect would be the Host header's
    app.include_router(AuthRoutes(service, callers, turns).router())
    app.include_router(OAuthRoutes(service, callers).router())
    app.include_router(AuthorizationRoutes(service, callers, access).router())
    app.include_router(UnlockerRoutes(service, callers, turns).router())
    app.include_router(ExportRoutes(service, callers, turns).router())
    app.include_router(BroughtRoutes(service, callers, access).router())
    app.include_router(LinkRoutes(service, callers).router())
    app.include_router(ShlRoutes(service).router())
    app.include_router(OpenIdRoutes(service, callers, turns).router())
    app.include_router(PartyRoutes(service, callers).router())
    app.include_router(AppRoutes(service, callers, access).router())
    app.include_router(ConsentRoutes(callers, Desk(service, access)).router())
    app.include_router(pages.router(service, callers, access, turns))
    app.add_api_route("/healthz", _healthy, methods=["GET"])
    app.add_api_route("/readyz", _ready(service), methods=["GET"])
    app.add_api_route("/metrics", _metrics(access), methods=["GET"])
    for kind in errors.KNOWN:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(asking.Leaving)
    app.add_middleware(_LastResort)
    app.add_middleware(Guarded)
    return CrossOrigin(_Doors(fhir=table.router(service, callers, access), others=app), service.registered)


async def _sweep(service: Service, access: Access, callers: Callers) -> None:
    """What must happen whether anyone asks for it or not.

    Views and owners' roots leave memory when their time is over; a revocation that a full disk stopped half-way ends,
    and so does what has expired of links.
    """
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        access.held.sweep()
        callers.sweep()
        await asyncio.to_thread(_finish, service)


def _finish(service: Service) -> None:
    try:
        service.grants.finish_revocations()
        service.shares.sweep()
    except Exception as error:  # noqa: BLE001 - the next sweep tries again
        logger.error("a revocation or an expired link is not finished: %s", type(error).__name__)


async def _healthy() -> Response:
    """The process is alive."""
    return Response("ok\n", media_type="text/plain")


def _ready(service: Service) -> Any:
    async def ready() -> Response:
        """The database answers."""
        with service.store.read() as session:
            session.connection().exec_driver_sql("SELECT 1")
        return Response("ok\n", media_type="text/plain")

    return ready


def _metrics(access: Access) -> Any:
    async def numbers() -> Response:
        """What this server has counted."""
        return Response(metrics.exposition(access.allowances.refused), media_type=metrics.MEDIA_TYPE)

    return numbers


async def _known(_: Request, error: Exception) -> Response:
    """Our own errors."""
    return errors.answer(error)


async def _http(_: Request, error: Exception) -> Response:
    """What the router itself refuses: no such route, no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None)
    text = "there is nothing here that answers this"
    return errors.outcome(status, _ISSUE_CODES.get(status, "processing"), text, headers=headers)


class _Doors:
    """What is FHIR goes one way, the rest (and the server's start and end) the other."""

    def __init__(self, fhir: ASGIApp, others: ASGIApp) -> None:
        self._fhir = fhir
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_fhir = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/")
        await (self._fhir if is_fhir else self._others)(scope, receive, send)


class _LastResort:
    """Answers what nothing else caught, and lets it go no further: a server would log its traceback and message."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last resort
            answer = errors.unknown(error)
            if scope["type"] == "http" and not started:
                await answer(scope, receive, send)
