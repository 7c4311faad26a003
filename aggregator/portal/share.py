"""/app/share: links for who has no account, made, listed and ended; and the page that opens one, for that person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from starlette.responses import Response

from aggregator.api.link_routes import wish
from aggregator.api.service import Service
from aggregator.consent.section_table import UNSORTED
from aggregator.errors import CallerError
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit
from aggregator.sharing import qr_code
from aggregator.sharing.shares import Wish
from fhir_profiles.profiles import SECTIONS

DAYS = (1, 3, 7, 30, 365)
_TOLD = ("passcode", "once", "sections")
"""What of a form the page says in its own words where it is wrong."""


class SharePages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service) -> None:
        self._frame = frame
        self._service = service

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/share")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.show), methods=["GET"])
        add("/new", self._frame.owner(self.new), methods=["GET"])
        add("/new", self._frame.signing(self.make), methods=["POST"])
        add("/renew", self._frame.signing(self.renew), methods=["POST"])
        add("/end", self._frame.owner(self.end), methods=["POST"])
        add("/view", self._frame.anyone(self.view), methods=["GET"])
        return router

    async def show(self, visit: Visit) -> Response:
        """Every link: what for, how far it reaches, and what became of it."""
        found = await asyncio.to_thread(self._service.shares.listed, visit.owner)
        until = {one.id: datetime.fromtimestamp(one.expires, UTC) for one in found}
        return visit.page("share", links=found, until=until)

    async def new(self, visit: Visit) -> Response:
        """What is shared, with what, for how long."""
        return self._form(visit, "")

    async def make(self, visit: Visit) -> Response:
        """The new link, shown this once: it is in no other page."""
        try:
            made = await asyncio.to_thread(self._service.shares.make, visit.owner, self._wish(visit))
        except CallerError as error:
            return self._form(visit, error.place if error.place in _TOLD else "other")
        address = self._service.shares.viewer(made)
        drawn = Markup(qr_code.svg(address))  # noqa: S704 - squares, drawn by us
        return visit.page("share-made", address=address, qr=drawn, passcode="P" in made.link.flag)

    async def renew(self, visit: Visit) -> Response:
        """Live links show the record as it is now."""
        await asyncio.to_thread(self._service.shares.renew, visit.owner)
        return visit.go("/app/share")

    async def end(self, visit: Visit) -> Response:
        """A link leads nowhere from now on."""
        await asyncio.to_thread(self._service.shares.end, visit.owner, visit.field("link"))
        return visit.go("/app/share")

    async def view(self, visit: Visit) -> Response:
        """For who has a link. What it says stands behind the #, which is sent to nobody: scripts read it there."""
        return visit.page("share-view")

    def _form(self, visit: Visit, problem: str) -> Response:
        names = {name: getattr(one, visit.language) for name, one in SECTIONS.items() if name != UNSORTED}
        sensitive = self._service.table.sensitive
        ticked = visit.ticked("section") or [name for name in names if name not in sensitive]
        days = visit.field("days") or "3"
        return visit.page(
            "share-new",
            400 if problem else 200,
            **_again(visit),
            sections=names,
            ticked=ticked,
            days=days,
            choices=DAYS,
            problem=problem,
        )

    def _wish(self, visit: Visit) -> Wish:
        """Raises CallerError."""
        sections, days = visit.ticked("section"), visit.field("days")
        if not sections:
            raise CallerError.at("sections", "something is to be shared")
        if days not in map(str, DAYS):
            raise CallerError.at("days", "one of those that there are")
        told = {
            "label": visit.field("label"),
            "form": visit.field("form"),
            "sections": sections,
            "hours": int(days) * 24,
            "once": bool(visit.field("once")),
            "live": bool(visit.field("live")),
            "passcode": visit.secret_field("passcode"),
        }
        return wish(told, self._service.table)


def _again(visit: Visit) -> dict[str, str]:
    """What was written already, but for the passcode."""
    kept = {name: visit.field(name) for name in ("label", "once", "live")}
    return kept | {"form": visit.field("form") or "summary"}
