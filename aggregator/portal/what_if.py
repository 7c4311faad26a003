"""/app/what-if: whom to let see what, what that would open and shut, and the signature under it, in this order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.desk import ANY_PROVIDER, Desk
from aggregator.consent.plain import CLASSES, Words
from aggregator.errors import CallerError
from aggregator.identity.access_requests import ASKABLE
from aggregator.portal.frame import Frame
from aggregator.portal.sections import bars, in_order
from aggregator.portal.visit import Visit
from fhir_profiles.codes import PARTY_CLASS

DAYS = (1, 30, 90, 365, 1095)


EMERGENCY: Words = ("Nur im Notfall: {who}", "In an emergency only: {who}")


class WhatIfPages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, desk: Desk, sensitive: tuple[str, ...]) -> None:
        self._frame = frame
        self._desk = desk
        self._sensitive = sensitive

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app/what-if")
        add: Callable[..., Any] = router.add_api_route
        add("", self._frame.owner(self.ask), methods=["GET"])
        add("", self._frame.owner(self.show), methods=["POST"])
        add("/sign", self._frame.signing(self.sign), methods=["POST"])
        return router

    async def ask(self, visit: Visit) -> Response:
        """Who, what, how long."""
        party = visit.asked("party")
        before = await self._desk.sharing_with(visit.principal, party) if party in self._names(visit) else None
        ticked = in_order(ASKABLE, visit.language).keys() - set(self._sensitive)
        return self._form(visit, "", party, before.sections or ticked if before else ticked)

    async def show(self, visit: Visit) -> Response:
        """What that would open and shut; nothing is signed yet."""
        party, sections, days = self._chosen(visit)
        if not sections or party not in self._names(visit):
            return self._form(visit, "choose", party, sections)
        proposed, _ = await self._desk.proposal(visit.principal, party, sections, days)
        told = await self._desk.dry_run(visit.principal, party, _purpose(party), proposed)
        return visit.page(
            "what-if-shown",
            party=party,
            who=self._names(visit)[party],
            sections=sorted(sections),
            days=days,
            told=told,
            bars=bars(told, told.then or told.now, visit.language),
        )

    async def sign(self, visit: Visit) -> Response:
        """What was shown is signed."""
        party, sections, days = self._chosen(visit)
        if not sections or party not in self._names(visit):
            raise CallerError.at("section", "one at least is needed, and somebody who is registered")
        proposed, local = await self._desk.proposal(visit.principal, party, sections, days)
        await self._desk.sign(visit.principal, proposed, local)
        return visit.go("/app/access")

    def _names(self, visit: Visit) -> dict[str, str]:
        """Whom there is to choose: whoever helps in an emergency comes last."""
        emergency = CLASSES[PARTY_CLASS, "provider"][visit.at]
        words = EMERGENCY[visit.at].format(who=emergency)
        return {**self._desk.names(), ANY_PROVIDER: words}

    def _chosen(self, visit: Visit) -> tuple[str, frozenset[str], int]:
        return visit.field("party"), frozenset(visit.ticked("section")) & ASKABLE, _days(visit)

    def _form(self, visit: Visit, problem: str, party: str, ticked: Any) -> Response:
        return visit.page(
            "what-if",
            400 if problem else 200,
            problem=problem,
            party=party,
            names=self._names(visit),
            sections=in_order(ASKABLE, visit.language),
            ticked=ticked,
            choices=DAYS,
            days=_days(visit),
        )


def _purpose(party: str) -> str:
    return "BTG" if party == ANY_PROVIDER else "TREAT"


def _days(visit: Visit) -> int:
    """As it was chosen; a month where nothing was."""
    return next((days for days in DAYS if str(days) == visit.field("days")), DAYS[1])
