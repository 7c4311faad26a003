"""create and update of a Consent: an owner signs it. https://hl7.org/fhir/R4/http.html#create, #update"""

from __future__ import annotations

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Act
from aggregator.api.fhir import preference
from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, if_match, pairs, path, vault_of
from aggregator.errors import HTTP, CallerError
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotFound


async def create(server: Server, request: Request) -> Response:
    """An owner signs a new Consent."""
    return await _sign(server, request, None)


async def update(server: Server, request: Request) -> Response:
    """An owner signs a new version of a Consent; `status` inactive revokes it."""
    (whole_id,) = path(request, "whole_id")
    return await _sign(server, request, whole_id)


async def _sign(server: Server, request: Request, whole_id: str | None) -> Response:
    principal = server.callers.of(request)
    owner = principal.as_owner()
    ignored = preference.unheard(request, pairs(request))
    if "if-none-exist" in request.headers:
        raise CallerError.at(f"{HTTP}If-None-Exist", "is not supported")
    consent = await bodies.resource(request, server.service.config.http.max_body_bytes)
    if whole_id is not None and vault_of(whole_id) != owner.vault:
        raise NotFound
    if whole_id is not None and consent.get("id") not in (None, whole_id):
        raise CallerError.at("Consent.id", "is not the one in the URL")
    local = whole_id.partition(".")[2] if whole_id else None
    save = server.service.signing.save_consent
    body, created = await asyncio.to_thread(save, owner, consent, local, if_match(request))
    made = orjson.loads(body)
    headers = {"Location": f"{server.base}/Consent/{made['id']}", "ETag": f'W/"{made["meta"]["versionId"]}"'}
    act = Act("create" if created else "update", "Consent", f"Consent/{made['id']}")
    await server.access.answer(principal, owner.vault, act, lambda _: Answer(body, 1))
    return preference.written(request, body, headers, 201 if created else 200, ignored=ignored)


_CONSENT = frozenset({"Consent"})
INTERACTIONS = (
    Interaction(code="create", method="POST", path="/Consent", endpoint=create, types=_CONSENT),
    Interaction(code="update", method="PUT", path="/Consent/{whole_id}", endpoint=update, types=_CONSENT),
)
