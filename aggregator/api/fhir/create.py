"""create and transaction, by a provider whom the patient lets add to the record.

https://hl7.org/fhir/R4/http.html#create, https://hl7.org/fhir/R4/http.html#transaction
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, deposits
from aggregator.api.access import Act
from aggregator.api.fhir.interaction import KIND, Interaction
from aggregator.api.fhir.server import Server, fhir, path
from aggregator.errors import CallerError, Refused
from aggregator.fhir.resource_types import TYPES
from aggregator.sync.deposit import Added, linked
from fhir_profiles.text import Resource, dumps


async def create(server: Server, request: Request) -> Response:
    """A provider adds a resource."""
    (resource_type,) = path(request, "resource_type")
    server.callers.of(request).as_client()
    resource = await bodies.resource(request, server.service.config.http.max_body_bytes)
    (made,) = await _add(server, request, Act("create", resource_type), deposits.one(resource, resource_type))
    headers = {"Location": f"{server.base}/{_location(made)}", "ETag": f'W/"{made[1].version}"'}
    return Response(status_code=201 if made[1].created else 200, headers=headers)


async def transaction(server: Server, request: Request) -> Response:
    """A provider adds what a Bundle holds, all or nothing."""
    server.callers.of(request).as_client()
    bundle = await bodies.resource(request, server.service.config.http.max_body_bytes)
    made = await _add(server, request, Act("transaction", "Bundle"), deposits.entries(bundle))
    told = [
        {"response": {"status": "201" if one.created else "200", "location": _location((vault, one))}}
        for vault, one in made
    ]
    return fhir(dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": told}))


async def _add(
    server: Server, request: Request, act: Act, found: list[tuple[str, Resource]]
) -> list[tuple[str, Added]]:
    """What was added to which vault."""
    if "if-none-exist" in request.headers:
        raise CallerError("If-None-Exist is not supported")
    vault = deposits.patient(found)
    principal = server.callers.of(request)
    try:
        for _, resource in found:
            principal.require(resource["resourceType"], "c")
    except Refused as error:
        await server.access.refuse(principal, vault, act, str(error))
        raise
    adding = deposits.Deposits(server.service, server.access)
    return [(vault, one) for one in await adding.add(principal, vault, act, linked(found))]


def _location(made: tuple[str, Added]) -> str:
    vault, one = made
    return f"{one.resource_type}/{vault}.{one.local}/_history/{one.version}"


INTERACTIONS = (
    Interaction(
        code="create",
        method="POST",
        path=KIND,
        endpoint=create,
        types=TYPES - deposits.NOT_ADDED,
    ),
    Interaction(code="transaction", method="POST", path="", endpoint=transaction, types=frozenset()),
)
