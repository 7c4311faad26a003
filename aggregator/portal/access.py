"""/app/access: who may see what, and an end to it at once; and what a Consent said in each of its versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.desk import Desk
from aggregator.consent.facts import FIRST
from aggregator.portal.frame import Frame
from aggregator.portal.sections import in_order
from aggregator.portal.visit import Visit


class AccessPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, desk: Desk) -> None:
        self._frame = frame
        self._desk = desk

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/access")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.show), methods=["GET"])
        add("/end", self._frame.owner(self.end), methods=["POST"])
        add("/withdraw", self._frame.signing(self.withdraw), methods=["POST"])
        add("/consents", self._frame.owner(self.consents), methods=["GET"])
        add("/consent", self._frame.owner(self.consent), methods=["GET"])
        return router

    async def show(self, visit: Visit) -> Response:
        """Each grantee with what it may read, and until when; and every Consent in words."""
        found, last = await self._desk.grantees(visit.principal)
        known = self._desk.names()
        return visit.page(
            "access",
            grantees=found,
            names={one.party.id: (one.words or (one.name, one.name))[visit.at] for one in found},
            sections={one.party.id: in_order(one.sections, visit.language) for one in found},
            changeable=known.keys(),
            last=last,
            always=FIRST,
        )

    async def end(self, visit: Visit) -> Response:
        """Everything that a grantee may do ends now."""
        await self._desk.end(visit.principal, visit.field("party"))
        return visit.go("/app/access")

    async def withdraw(self, visit: Visit) -> Response:
        """A Consent counts no more."""
        await self._desk.withdraw(visit.principal, visit.field("consent"))
        return visit.go("/app/access")

    async def consents(self, visit: Visit) -> Response:
        """Every Consent there is, those that count no more too."""
        return visit.page("consents", consents=await self._desk.consents(visit.principal), at=visit.at)

    async def consent(self, visit: Visit) -> Response:
        """One Consent, its newest version first."""
        versions = await self._desk.history(visit.principal, visit.asked("id"))
        return visit.page("consent", versions=versions, at=visit.at)
