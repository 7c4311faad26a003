"""/shl: what a SMART Health Link leads to, for who has no account.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html. A link that leads nowhere is answered in
one way, whatever became of it. Any page may ask, since nothing but what the link says counts: no cookie, no token.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, errors
from aggregator.api.service import Service
from aggregator.errors import HTTP, CallerError
from aggregator.sharing.door import Asked, Closed, Opened, WrongPasscode
from aggregator.sharing.encrypted_file import FHIR_JSON

_LIMIT = 16 * 1024
_LONGEST_NAME = 200
_NAME = re.compile(r"[A-Za-z0-9_-]{43}")
_Found = TypeVar("_Found")
_JOSE, _FHIR_VERSION = "application/jose", "4.0.1"
_ANYBODY = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT = _ANYBODY | {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "600",
}


class ShlRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/shl")
        add: Callable[..., Any] = router.add_api_route
        add("/file/{token}", self.file, methods=["GET"])
        add("/file/{token}", self.preflight, methods=["OPTIONS"])
        add("/{name}", self.manifest, methods=["POST"])
        add("/{name}", self.direct, methods=["GET"])
        add("/{name}", self.preflight, methods=["OPTIONS"])
        return router

    async def preflight(self) -> Response:
        """https://fetch.spec.whatwg.org/#cors-preflight-fetch"""
        return Response(status_code=204, headers=_PREFLIGHT)

    async def manifest(self, request: Request, name: str) -> Response:
        """{recipient, passcode?, embeddedLengthMax?} -> the manifest, whose one file is encrypted."""
        told = await bodies.json(request, _LIMIT)
        asked = Asked(recipient=_recipient(told.get("recipient")), passcode=_passcode(told), most=_most(told))
        found = await self._ask(self._service.door.manifest, name, asked)
        if isinstance(found, WrongPasscode):
            return _json({"remainingAttempts": found.remaining}, 401)
        return _json({"files": [self._file(found)]}) if isinstance(found, Opened) else _nowhere()

    async def direct(self, request: Request, name: str) -> Response:
        """?recipient=: the file of a link that has no manifest."""
        recipient = _recipient(request.query_params.get("recipient"))
        found = await self._ask(self._service.door.direct, name, recipient)
        return _jose(found.file.jwe) if isinstance(found, Opened) else _nowhere()

    async def file(self, token: str) -> Response:
        """What a manifest's `location` leads to, once."""
        found = await self._ask(self._service.door.file, token)
        return _nowhere() if isinstance(found, Closed) else _jose(found.jwe)

    async def _ask(self, door: Callable[..., _Found], name: str, *told: object) -> _Found | Closed:
        """What has not even the form of a name is none: it costs no receipt."""
        return await asyncio.to_thread(door, name, *told) if _NAME.fullmatch(name) else Closed("no name")

    def _file(self, opened: Opened) -> dict[str, str]:
        """https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html#files-array"""
        location = f"{self._service.base_url}/shl/file/{opened.location}"
        where = {"location": location} if opened.location else {"embedded": opened.file.jwe}
        status = "can-change" if opened.live else "finalized"
        return {
            "contentType": FHIR_JSON,
            "fhirVersion": _FHIR_VERSION,
            "lastUpdated": opened.file.updated,
            "status": status,
            **where,
        }


def _recipient(stated: object) -> str:
    """Who asks, as they say themselves: for the patient to read."""
    if not isinstance(stated, str) or not stated.strip() or len(stated) > _LONGEST_NAME:
        raise CallerError.at(f"{HTTP}recipient", f"who you are is needed: 1 to {_LONGEST_NAME} characters")
    return "".join(one if unicodedata.category(one)[0] != "C" else " " for one in stated).strip()


def _passcode(told: dict[str, Any]) -> str | None:
    stated = told.get("passcode")
    if stated is not None and (not isinstance(stated, str) or len(stated) > _LONGEST_NAME):
        raise CallerError.at("passcode", "a short string is expected")
    return stated


def _most(told: dict[str, Any]) -> int | None:
    stated = told.get("embeddedLengthMax")
    if stated is not None and (type(stated) is not int or stated < 0):
        raise CallerError.at("embeddedLengthMax", "a whole number is expected")
    return stated


def _nowhere() -> Response:
    text = "there is no such link, or not any more: ask whoever gave it to you"
    return errors.outcome(404, "not-found", text, headers=_ANYBODY)


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, headers=_ANYBODY, media_type="application/json")


def _jose(jwe: str) -> Response:
    return Response(jwe, headers=_ANYBODY, media_type=_JOSE)
