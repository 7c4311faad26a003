"""Patient/$everything: https://hl7.org/fhir/R4/patient-operation-everything.html"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.interaction import Operation
from aggregator.api.fhir.server import Server, fhir, pairs, path, strict, vault_of
from aggregator.fhir import everything as finding
from aggregator.fhir.bundle import Answer
from aggregator.vault.view import View


async def everything(server: Server, request: Request) -> Response:
    """A page of all that the caller may see of a patient."""
    (whole_id,) = path(request, "whole_id")
    vault = vault_of(whole_id)
    act = Act("operation", "", f"Patient/{whole_id}/$everything")
    asked, strictly = pairs(request), strict(request)
    principal = await server.principal(request, act, "rs", vault, asked)
    links = server.pages.links(principal.reader, vault)

    def ask(view: View) -> Answer:
        return finding.everything(view, whole_id, asked, links, strict=strictly)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


OPERATIONS = (
    Operation(
        name="everything",
        definition="http://hl7.org/fhir/OperationDefinition/Patient-everything|4.0.1",
        method="GET",
        path="/Patient/{whole_id}/$everything",
        endpoint=everything,
        types=frozenset({"Patient"}),
    ),
)
