"""Patient/$summary: https://hl7.org/fhir/uv/ips/OperationDefinition-summary.html

Of a patient by id: to name one by an identifier is `Patient?identifier=`.
"""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.interaction import by_get_and_post
from aggregator.api.fhir.operation import parameters
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir, path, vault_of
from aggregator.fhir.bundle import Answer
from aggregator.fhir.patient_summary import Making, check_parameters, summary
from aggregator.fhir.read import read
from aggregator.vault.view import View


async def patient_summary(server: Server, request: Request) -> Response:
    """The document, made at this moment of what the caller may see."""
    (whole_id,) = path(request, "whole_id")
    vault = vault_of(whole_id)
    act = Act("operation", "", f"Patient/{whole_id}/$summary")
    asked, strictly = await parameters(server, request), strict(request)
    principal = await server.principal(request, act, "rs", vault)
    making = Making(base_url=server.base, now=server.service.clock(), id=uuid.uuid4())

    def ask(view: View) -> Answer:
        check_parameters(asked, strict=strictly)
        read(view, "Patient", whole_id)
        return summary(view, f"{vault}.{view.patient}", making)  # a source's Patient is this person, too

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


OPERATIONS = by_get_and_post(
    name="summary",
    definition="http://hl7.org/fhir/uv/ips/OperationDefinition/summary|2.0.0",
    path="/Patient/{whole_id}/$summary",
    endpoint=patient_summary,
    resource_type="Patient",
)
