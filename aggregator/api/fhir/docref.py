"""DocumentReference/$docref: http://hl7.org/fhir/us/core/OperationDefinition/docref"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.interaction import by_get_and_post
from aggregator.api.fhir.operation import parameters, patient
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir
from aggregator.fhir import docref as finding
from aggregator.fhir.bundle import Answer
from aggregator.vault.view import View


async def docref(server: Server, request: Request) -> Response:
    """The documents of the patient that is named."""
    asked, strictly = await parameters(server, request), strict(request)
    vault, whole_id = patient(server, asked, "patient")
    act = Act("operation", finding.TYPE, "$docref?" + "&".join(f"{name}={value}" for name, value in asked))
    principal = await server.principal(request, act, "s", vault)
    links = server.pages.links(principal.reader, vault)

    def ask(view: View) -> Answer:
        return finding.docref(view, whole_id, asked, links, server.service.clock(), strict=strictly)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


OPERATIONS = by_get_and_post(
    name="docref",
    definition="http://hl7.org/fhir/us/core/OperationDefinition/docref",
    path="/DocumentReference/$docref",
    endpoint=docref,
    resource_type=finding.TYPE,
)
