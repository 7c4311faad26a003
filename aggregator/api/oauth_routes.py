"""/auth, as OAuth and SMART have it: apps ask, get tokens, ask about them and end them; clients sign in by themselves.

https://hl7.org/fhir/smart-app-launch/app-launch.html and https://hl7.org/fhir/smart-app-launch/backend-services.html.
Errors have OAuth's own form (https://www.rfc-editor.org/rfc/rfc6749#section-5.2). An error that belongs to no known
address is a page, which leads nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from aggregator.api import bodies, oauth_table
from aggregator.api.caller import Callers
from aggregator.api.headers import header
from aggregator.api.service import Service
from aggregator.api.unknown_app import PAGE
from aggregator.errors import CallerError, Refused, SignInFailed
from aggregator.identity.app_tokens import GRANT_TYPES
from aggregator.identity.authorization_requests import Pairs
from aggregator.identity.oauth_errors import NoRedirect, OAuthError, RedirectError

_LIMIT = 64 * 1024
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
APPROVING = "/app/authorize"
"""The page on which a patient answers; `request` is the handle of what is asked."""

_Route = Callable[["OAuthRoutes", Request], Awaitable[Response]]


def _in_oauths_form(route: _Route) -> _Route:
    @wraps(route)
    async def answered(self: OAuthRoutes, request: Request) -> Response:
        try:
            return await route(self, request)
        except OAuthError as error:
            return _json(error.told(), 401 if error.code == "invalid_client" else 400)
        except SignInFailed as error:
            return _json({"error": str(error)}, 401)
        except Refused as error:
            return _json({"error": str(error)}, 400)
        except CallerError as error:
            return _json({"error": "invalid_request", "error_description": str(error)}, 400)

    return answered


class OAuthRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers) -> None:
        self._service = service
        self._callers = callers

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter()
        add: Callable[..., Any] = router.add_api_route
        routes = {
            "authorization_endpoint": (self.authorize, ["GET", "POST"]),
            "token_endpoint": (self.token, ["POST"]),
            "introspection_endpoint": (self.introspect, ["POST"]),
            "revocation_endpoint": (self.revoke, ["POST"]),
            "pushed_authorization_request_endpoint": (self.push, ["POST"]),
            "jwks_uri": (self.jwks, ["GET"]),
        }
        for name, (route, methods) in routes.items():
            add(oauth_table.ENDPOINTS[name], route, methods=methods)
        for path in oauth_table.DOCUMENTS:
            add(path, self.document, methods=["GET"])
        return router

    async def authorize(self, request: Request) -> Response:
        """Keep what an app asks, and send the browser to where the patient answers."""
        try:
            pairs: Pairs = request.query_params.multi_items()
            if request.method == "POST":
                pairs = await bodies.form(request, _LIMIT)
            handle = await asyncio.to_thread(self._service.authorizations.begin, pairs)
        except NoRedirect:
            return Response(PAGE, 400, headers=_NO_STORE, media_type="text/html")
        except RedirectError as error:
            return _redirect(error.url)
        return _redirect(f"{self._service.base_url}{APPROVING}?request={handle}")

    @_in_oauths_form
    async def push(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc9126"""
        pairs = await bodies.form(request, _LIMIT)
        client = await asyncio.to_thread(self._service.app_tokens.authenticate, dict(pairs), self._audience)
        key = await asyncio.to_thread(self._key, request)
        return _json(await asyncio.to_thread(self._service.authorizations.push, client, pairs, key), 201)

    @_in_oauths_form
    async def token(self, request: Request) -> Response:
        """Of an app, or of a client that comes by itself."""
        form = dict(await bodies.form(request, _LIMIT))
        if form.get("grant_type") not in GRANT_TYPES:
            return _json(await asyncio.to_thread(self._service.clients.token, form, self._audience))
        try:
            key = await asyncio.to_thread(self._key, request)
            return _json(await asyncio.to_thread(self._service.app_tokens.token, form, self._audience, key))
        except OAuthError:
            self._callers.forget_apps()  # it may have come for the second time, and ended others
            raise

    @_in_oauths_form
    async def introspect(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc7662: for a client that proves who it is, about its own tokens."""
        form = dict(await bodies.form(request, _LIMIT))
        if "client_assertion" not in form:
            raise OAuthError("invalid_client")
        client = await asyncio.to_thread(self._service.app_tokens.authenticate, form, self._audience)
        told = await asyncio.to_thread(self._service.app_tokens.introspect, client, form.get("token", ""))
        return _json(told)

    async def revoke(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc7009: whoever holds a token may end it, whosever it is."""
        token = dict(await bodies.form(request, _LIMIT)).get("token", "")
        await asyncio.to_thread(self._service.app_tokens.revoke, token)
        await asyncio.to_thread(self._service.clients.revoke, token)
        with suppress(SignInFailed):  # no owner's, or ended already
            owner = await asyncio.to_thread(self._service.accounts.owner, token)
            await asyncio.to_thread(self._service.accounts.sign_out, token)
            self._callers.forget_owner(owner.vault)
        self._callers.forget(token)
        self._callers.forget_apps()
        return Response(status_code=200)

    async def jwks(self) -> Response:
        """The keys that verify id_tokens."""
        return _json(self._service.app_tokens.keys())

    async def document(self) -> Response:
        """The same as /fhir/.well-known/smart-configuration, for those who look here."""
        return _json(oauth_table.document(self._service.base_url))

    def _key(self, request: Request) -> str:
        """The thumbprint of the key that the tokens are to be bound to; "" where there is none. Raises Refused."""
        proof, url = header(request, b"dpop"), self._service.base_url + request.url.path
        return self._service.proofs.take(proof, method=request.method, url=url) if proof is not None else ""

    @property
    def _audience(self) -> str:
        return self._service.base_url + oauth_table.ENDPOINTS["token_endpoint"]


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 302, headers=_NO_STORE)


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, headers=_NO_STORE, media_type="application/json")
