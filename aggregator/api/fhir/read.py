"""read: a resource by its id. https://hl7.org/fhir/R4/http.html#read"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.condition import not_modified, unchanged
from aggregator.api.fhir.interaction import ONE, Interaction
from aggregator.api.fhir.server import Server, fhir, path, vault_of, versioned
from aggregator.fhir import read as reading
from aggregator.fhir.bundle import Answer
from aggregator.vault.view import View


async def read(server: Server, request: Request) -> Response:
    """The resource as it is stored, its version in the ETag."""
    resource_type, whole_id = path(request, "resource_type", "whole_id")
    vault = vault_of(whole_id)
    act = Act("read", resource_type, f"{resource_type}/{whole_id}")
    principal = await server.principal(request, act, "r", vault)
    made = await server.synthesised(principal, resource_type, vault)
    headers: dict[str, str] = {}

    def ask(view: View) -> Answer:
        record = reading.read(made or view, resource_type, whole_id)
        headers.update(versioned(record))
        return Answer(record.body, 1)

    answer = await server.access.answer(principal, vault, act, ask)
    return not_modified(headers) if unchanged(request, headers) else fhir(answer.body, headers)


INTERACTIONS = (Interaction(code="read", method="GET", path=ONE, endpoint=read),)
