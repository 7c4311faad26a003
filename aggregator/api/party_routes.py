"""Parties: a client registers itself, which opens nothing, and an owner finds whom a Consent can name.

Dynamic client registration: https://www.rfc-editor.org/rfc/rfc7591#section-3
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, oauth_table
from aggregator.api.caller import Callers
from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.identity.oauth_errors import OAuthError
from aggregator.identity.parties import Listed
from aggregator.identity.registration import Unfit, metadata
from aggregator.identity.registrations import Full
from fhir_profiles.text import NotJson

_LIMIT = 16 * 1024
_MOST_FOUND = 20
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class PartyRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers) -> None:
        self._parties = service.parties
        self._callers = callers

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter()
        add: Callable[..., Any] = router.add_api_route
        add(oauth_table.ENDPOINTS["registration_endpoint"], self.register, methods=["POST"])
        add("/app/parties", self.parties, methods=["GET"])
        return router

    async def register(self, request: Request) -> Response:
        """A client's metadata -> its client_id, which is worth something once the operator has approved it."""
        try:
            told = await bodies.json(request, _LIMIT)
            made = await asyncio.to_thread(self._parties.register, told)
        except Unfit as error:
            return _json(error.told(), 400)
        except Full as error:
            return _json(OAuthError("temporarily_unavailable", str(error)).told(), 503)
        except (CallerError, NotJson) as error:
            return _json(Unfit(str(error)).told(), 400)
        issued = {"client_id": made.id, "client_id_issued_at": made.at}
        return _json(issued | metadata(made.claim.settings) | {"registration_state": made.state.value}, 201)

    async def parties(self, request: Request) -> Response:
        """?q=: up to 20 who have these words in name or role, or this identifier; how each was verified."""
        self._callers.of(request).as_owner()
        asked = request.query_params.get("q", "")
        found = await asyncio.to_thread(self._parties.found, asked, _MOST_FOUND)
        return _json({"parties": [listed(one) for one in found]})


def listed(one: Listed) -> dict[str, Any]:
    """Somebody on the list, as JSON."""
    told: Mapping[str, Any] = {
        "id": one.id,
        "name": one.name,
        "role": one.role,
        "kind": one.kind.value,
        "identifiers": [{"system": system, "value": value} for system, value in sorted(one.identifiers)],
        "verified": one.verified,
        "note": one.note,
        "signs_in": one.signs_in,
    }
    return dict(told)


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, headers=_NO_STORE, media_type="application/json")
