"""Apps that run in a browser ask from their own site: those that are registered may, anybody may read what is public.

https://hl7.org/fhir/smart-app-launch/app-launch.html#considerations-for-cross-origin-resource-sharing-cors-support and
https://fetch.spec.whatwg.org/#http-cors-protocol. No cookie counts on these routes, and none is let through: an app
comes with its token or with nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.api import oauth_table
from aggregator.identity.client_registry import Client

_PUBLIC = frozenset(
    (
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        oauth_table.ENDPOINTS["jwks_uri"],
        *oauth_table.DOCUMENTS,
    )
)
_OF_APPS = frozenset(
    oauth_table.ENDPOINTS[name]
    for name in ("token_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint")
)
_FHIR = "/fhir/"
_REMEMBERED_SECONDS = 5.0  # who is registered just now is a question to the database
_SHARED = (
    (b"access-control-expose-headers", b"Location, Content-Location, ETag, Last-Modified, Retry-After"),
    (b"vary", b"Origin"),
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, DPoP, Content-Type, Accept, Prefer, If-Match, If-None-Exist",
    "Access-Control-Max-Age": "600",
}


class CrossOrigin:
    """What a browser is told about who may ask. clients: who is registered."""

    def __init__(self, app: ASGIApp, clients: Mapping[str, Client]) -> None:
        self._app = app
        self._clients = clients
        self._origins: frozenset[str] = frozenset()
        self._until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin")
        if origin is None or not self._may_ask(scope["path"], origin):
            await self._app(scope, receive, send)
            return
        shared = ((b"access-control-allow-origin", origin.encode("latin-1")), *_SHARED)

        async def sharing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *shared]
            await send(message)

        preflight = scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None
        await (Response(status_code=204, headers=_PREFLIGHT) if preflight else self._app)(scope, receive, sharing)

    def _may_ask(self, path: str, origin: str) -> bool:
        if path in _PUBLIC:
            return True
        return (path in _OF_APPS or path.startswith(_FHIR)) and origin in self._registered()

    def _registered(self) -> frozenset[str]:
        now = time.monotonic()
        if now >= self._until:
            apps = (one.settings.redirect_uris for one in self._clients.values() if one.is_app)
            self._origins, self._until = (
                frozenset(_origin(uri) for uris in apps for uri in uris),
                now + _REMEMBERED_SECONDS,
            )
        return self._origins


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _header(scope: Scope, name: bytes) -> str | None:
    if scope["type"] != "http":
        return None
    return next((bytes(value).decode("latin-1") for one, value in scope["headers"] if one == name), None)
