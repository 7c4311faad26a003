"""Patient/$everything: https://hl7.org/fhir/R4/patient-operation-everything.html"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.fhir.interaction import by_get_and_post
from aggregator.api.fhir.operation import parameters
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir, path, vault_of
from aggregator.fhir import everything as finding
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import BadQuery, NotFound
from aggregator.vault.view import View


async def everything(server: Server, request: Request) -> Response:
    """A page of all that the caller may see of a patient."""
    (whole_id,) = path(request, "whole_id")
    return await _answer(server, request, vault_of(whole_id), whole_id)


async def everything_of_one(server: Server, request: Request) -> Response:
    """The same where it needs no name: one record alone is open to the caller."""
    vaults = server.access.vaults(server.callers.of(request))
    if not vaults:
        raise NotFound
    if len(vaults) > 1:
        raise BadQuery("patient", "name one, as Patient/[id]/$everything; $export takes all that are open to you")
    return await _answer(server, request, vaults[0], None)


async def _answer(server: Server, request: Request, vault: str, whole_id: str | None) -> Response:
    act = Act("operation", "", f"Patient/{whole_id}/$everything" if whole_id else "Patient/$everything")
    asked, strictly = await parameters(server, request), strict(request)
    principal = await server.principal(request, act, "rs", vault)
    links = server.pages.links(principal.reader, vault)

    def ask(view: View) -> Answer:
        return finding.everything(view, whole_id or f"{vault}.{view.patient}", asked, links, strict=strictly)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


_DEFINITION = "http://hl7.org/fhir/OperationDefinition/Patient-everything|4.0.1"
OPERATIONS = tuple(
    one
    for place, endpoint in (
        ("/Patient/$everything", everything_of_one),
        ("/Patient/{whole_id}/$everything", everything),
    )
    for one in by_get_and_post("everything", _DEFINITION, place, endpoint, "Patient")
)
