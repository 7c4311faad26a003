"""/app/cards: SMART Health Cards that an owner brings along, taken as the owner's own with what their check came to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.service import Service
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotFound
from aggregator.fhir.read import read
from aggregator.sharing import brought, encrypted_file, health_card
from aggregator.sharing.brought import Brought
from aggregator.vault.view import View

_LIMIT = 2_000_000
_CARD = "SMART Health Card"


class BroughtRoutes:
    """The routes, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._service = service
        self._callers = callers
        self._access = access

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/cards", self.cards, methods=["POST"])
        return router

    async def cards(self, request: Request) -> Response:
        """{verifiableCredential} as in a .smart-health-card file, or {codes: ["shc:/...", ...]} as QR codes have it.

        All of them or none. The answer says of each card whose word it is, and which resources it brought.
        """
        principal = self._callers.of(request)
        principal.as_owner()
        texts = health_card.texts(await bodies.json(request, _LIMIT))
        found = [await asyncio.to_thread(self._read, text) for text in texts]
        return _json({"cards": [await self._take(principal, one) for one in found]}, 201)

    def _read(self, text: str) -> Brought:
        card = health_card.read(text)
        verdict = health_card.check(card, self._service.issuers.of(card), self._service.clock())
        original = orjson.dumps({"verifiableCredential": [text]})
        return Brought(
            entries=card.entries,
            original=original,
            media_type=encrypted_file.HEALTH_CARD,
            name=_CARD,
            verdict=verdict,
        )

    async def _take(self, principal: Principal, found: Brought) -> dict[str, Any]:
        owner, verdict = principal.as_owner(), found.verdict
        told = {"result": verdict.result, "issuer": verdict.issuer, "reason": verdict.reason}
        document = f"{owner.vault}.{brought.document(owner, found.original)}"
        if await self._is_here(principal, document):
            return told | {"document": f"DocumentReference/{document}", "resources": [], "known": True}
        written = await asyncio.to_thread(self._write, principal, found)
        return told | {"document": f"DocumentReference/{document}", "resources": written, "known": False}

    async def _is_here(self, principal: Principal, document: str) -> bool:
        """Was it brought before?"""

        def ask(view: View) -> Answer:
            return Answer(read(view, "DocumentReference", document).body, 1)

        act = Act("read", "DocumentReference", document)
        try:
            await self._access.answer(principal, principal.as_owner().vault, act, ask)
        except NotFound:
            return False
        return True

    def _write(self, principal: Principal, found: Brought) -> list[str]:
        owner, service = principal.as_owner(), self._service
        changes = brought.changes(owner, found, service.signing.person(owner).birth_date, service.clock())
        act = Act("create", "", f"{found.name} of {found.verdict.issuer}")
        receipt = self._access.receipt(principal, owner.vault, act, written=len(changes))
        written = service.writing.write(owner, changes, receipt)
        return [f"{one.resource_type}/{owner.vault}.{one.local}" for one in written[:-1]]


def _json(told: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(told), status, media_type="application/json")
