"""/app/authorize: an app asks, and the patient leaves of it what they want. https://hl7.org/fhir/smart-app-launch/

Allowing signs a Consent, so it takes an unlock in the last minutes; refusing takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.responses import Response

from aggregator.api.access import Access
from aggregator.api.authorization_routes import approve
from aggregator.api.service import Service
from aggregator.errors import CallerError, Refused, UnlockNeeded
from aggregator.portal.frame import Frame
from aggregator.portal.visit import Visit

KINDS = (
    "*",
    "AllergyIntolerance",
    "CarePlan",
    "Condition",
    "Coverage",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Goal",
    "ImagingStudy",
    "Immunization",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Patient",
    "Procedure",
    "QuestionnaireResponse",
)
"""Resource types that the page has words for; of another it tells FHIR's own name."""
ENDS = {
    "hour": timedelta(hours=1),
    "half_day": timedelta(hours=12),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=90),
    "year": timedelta(days=365),
}
"""How long an app may read: what can be chosen, as far as it is not longer than what is allowed at most."""


class AuthorizePages:
    """The pages, on one installation."""

    def __init__(self, frame: Frame, service: Service, access: Access) -> None:
        self._frame = frame
        self._service = service
        self._access = access

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/authorize", self._frame.owner(self.show), methods=["GET"])
        add("/authorize", self._frame.signing(self.allow), methods=["POST"])
        add("/authorize/refuse", self._frame.owner(self.refuse), methods=["POST"])
        return router

    async def show(self, visit: Visit) -> Response:
        """Who asks, for what, for how long, and whether it also reads when nobody is there."""
        return await self._asked(visit, visit.asked("request"))

    async def _asked(self, visit: Visit, handle: str, problem: str = "") -> Response:
        try:
            asked = await asyncio.to_thread(self._service.authorizations.asked, handle, visit.owner)
        except Refused:
            return _gone(visit)
        now, usual, longest = self._service.clock(), *(datetime.fromisoformat(asked[at]) for at in ("until", "longest"))
        return visit.page(
            "authorize",
            400 if problem else 200,
            handle=handle,
            asked=asked,
            app_host=self._host(asked["app"]["id"]),
            kinds=KINDS,
            ends={name: now + length <= usual for name, length in ENDS.items() if now + length <= longest},
            problem=problem,
        )

    async def allow(self, visit: Visit) -> Response:
        """Sign what was left of it."""
        handle, length = visit.field("request"), ENDS.get(visit.field("length"))
        sections, reading = visit.ticked("section"), visit.ticked("reading")
        if not sections or not reading or length is None:
            return await self._asked(visit, handle, "nothing_left")
        until = (self._service.clock() + length).isoformat(timespec="seconds")
        choice = {"sections": sections, "reading": reading, "until": until}
        try:
            return visit.away(await approve(self._service, self._access, visit.principal, handle, choice))
        except UnlockNeeded:
            raise
        except CallerError:  # answered in another window, or too late
            return _gone(visit)

    async def refuse(self, visit: Visit) -> Response:
        """The app is told that it may not."""
        try:
            return visit.away(await asyncio.to_thread(self._service.authorizations.deny, visit.field("request")))
        except Refused:
            return _gone(visit)

    def _host(self, app: str) -> str:
        """Whose address the app is registered with."""
        uris = self._service.registered[app].settings.redirect_uris
        return urlsplit(uris[0]).hostname or "" if uris else ""


def _gone(visit: Visit) -> Response:
    return visit.page("problem", 404, problem="request_gone")
