"""Observation/$lastn: https://hl7.org/fhir/R4/observation-operation-lastn.html"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.interaction import by_get_and_post
from aggregator.api.fhir.operation import parameters, patient
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir
from aggregator.fhir import last_n as finding
from aggregator.fhir.bundle import Answer
from aggregator.vault.view import View


async def last_n(server: Server, request: Request) -> Response:
    """The newest observations of each code, of the patient that is named."""
    asked, strictly = await parameters(server, request), strict(request)
    vault, _ = patient(server, asked, "patient", "subject")
    act = Act("operation", finding.TYPE, "$lastn?" + "&".join(f"{name}={value}" for name, value in asked))
    principal = await server.principal(request, act, "s", vault)
    links = server.pages.links(principal.reader, vault)

    def ask(view: View) -> Answer:
        return finding.last_n(view, asked, links, strict=strictly)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


OPERATIONS = by_get_and_post(
    name="lastn",
    definition="http://hl7.org/fhir/OperationDefinition/Observation-lastn|4.0.1",
    path="/Observation/$lastn",
    endpoint=last_n,
    resource_type=finding.TYPE,
)
