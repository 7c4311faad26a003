"""/app/links: an owner's SMART Health Links for who has no account: made, listed, made again, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.caller import Callers
from aggregator.api.json_answer import json_answer
from aggregator.api.service import Service
from aggregator.consent.section_table import SectionTable
from aggregator.errors import CallerError
from aggregator.sharing import content, qr_code
from aggregator.sharing.shares import Listed, Wish

_LIMIT = 64 * 1024
_MEMBERS: Mapping[str, type] = {
    "label": str,
    "hours": int,
    "once": bool,
    "live": bool,
    "direct": bool,
    "passcode": str,
}


class LinkRoutes:
    """The routes, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers) -> None:
        self._service = service
        self._callers = callers

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/links")
        add: Callable[..., Any] = router.add_api_route
        add("", self.listed, methods=["GET"])
        add("", self.make, methods=["POST"])
        add("/renewals", self.renew, methods=["POST"])
        add("/{link_id}", self.end, methods=["DELETE"])
        return router

    async def make(self, request: Request) -> Response:
        """{label?, form?, sections?, resources?, hours?, once?, live?, direct?, passcode?}: the link is shown once.

        It takes a fresh unlock. The answer has the link as it is, as an address that opens in a browser, and that as a
        QR code.
        """
        owner = self._callers.of(request).as_owner()
        asked = wish(await bodies.json(request, _LIMIT), self._service.table)
        made = await asyncio.to_thread(self._service.shares.make, owner, asked)
        address = self._service.shares.viewer(made)
        told = {"id": made.id, "link": made.link.text(), "address": address, "qr": qr_code.svg(address)}
        return json_answer(told, 201)

    async def listed(self, request: Request) -> Response:
        """The owner's links, without what opens them."""
        owner = self._callers.of(request).as_owner()
        found = await asyncio.to_thread(self._service.shares.listed, owner)
        return json_answer({"links": [_told(one) for one in found]})

    async def renew(self, request: Request) -> Response:
        """Make the files of live links again, from the record as it is now. It takes a fresh unlock."""
        owner = self._callers.of(request).as_owner()
        return json_answer({"renewed": await asyncio.to_thread(self._service.shares.renew, owner)})

    async def end(self, request: Request, link_id: str) -> Response:
        """It leads nowhere from now on."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._service.shares.end, owner, link_id)
        return Response(status_code=204)


def wish(told: Mapping[str, Any], table: SectionTable) -> Wish:
    """What is asked for. Raises CallerError for a member of another type, or one that is not known."""
    if unknown := told.keys() - {*_MEMBERS, "form", "sections", "resources"}:
        raise CallerError.at(min(unknown), "there is no such member")
    for name, kind in _MEMBERS.items():
        if name in told and type(told[name]) is not kind:
            raise CallerError.at(name, f"a {kind.__name__} is expected")
    return Wish(content=content.stated(told, table), **{name: told[name] for name in _MEMBERS if name in told})


def _told(one: Listed) -> dict[str, Any]:
    return {
        "id": one.id,
        "label": one.label,
        "made": one.made,
        "content": one.content,
        "flag": one.flag,
        "once": one.once,
        "attempts": one.attempts if "P" in one.flag else None,
        "state": one.state,
        "expires": datetime.fromtimestamp(one.expires, UTC).isoformat(timespec="seconds"),
    }
