"""update of the record's one Patient: its owner corrects who it says to be. https://hl7.org/fhir/R4/http.html#update

Like a signature it takes a fresh unlock: what a source brings is compared with this person.
"""

from __future__ import annotations

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Act
from aggregator.api.fhir import preference
from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, if_match, pairs, path
from aggregator.api.fhir.writing import VERSIONED, own
from aggregator.api.own_writing import NOT_WRITTEN
from aggregator.errors import CallerError
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotAllowed


async def update(server: Server, request: Request) -> Response:
    """A new version of it. A source's Patient stays as it came."""
    (whole_id,) = path(request, "whole_id")
    act = Act("update", "Patient", f"Patient/{whole_id}")
    principal = await own(server, request, act, whole_id)
    owner, ignored = principal.as_owner(), preference.unheard(request, pairs(request))
    said = await bodies.resource(request, server.service.config.http.max_body_bytes)
    if whole_id != owner.whole_patient:
        raise NotAllowed(NOT_WRITTEN["Patient"])
    if said.get("id") not in (None, whole_id):
        raise CallerError.at("Patient.id", "is not the one in the URL")
    body = await asyncio.to_thread(server.service.signing.introduce, owner, said, if_match(request))
    await server.access.answer(principal, owner.vault, act, lambda _: Answer(body, 1))
    version = orjson.loads(body)["meta"]["versionId"]
    headers = {"Location": f"{server.base}/Patient/{whole_id}/_history/{version}", "ETag": f'W/"{version}"'}
    return preference.written(request, body, headers, 200, ignored=ignored)


INTERACTIONS = (
    Interaction(
        code="update",
        method="PUT",
        path="/Patient/{whole_id}",
        endpoint=update,
        types=frozenset({"Patient"}),
        claims=VERSIONED,
    ),
)
