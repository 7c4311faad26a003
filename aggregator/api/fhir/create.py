"""create: by the owner, or by a provider whom the patient lets add to the record.

https://hl7.org/fhir/R4/http.html#create. A provider's is a deposit: create alone, blind, and without conditions.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import deposits
from aggregator.api.access import Act
from aggregator.api.fhir import content
from aggregator.api.fhir.interaction import KIND, Interaction
from aggregator.api.fhir.server import Server, path
from aggregator.api.fhir.writing import write
from aggregator.api.own_writing import WRITTEN
from aggregator.errors import HTTP, CallerError, Refused
from aggregator.sync.deposit import Added, linked
from fhir_profiles.text import Resource


async def create(server: Server, request: Request) -> Response:
    """Its place is in `Location`."""
    (resource_type,) = path(request, "resource_type")
    principal = server.callers.of(request)
    resource = await content.resource(server, request)
    if principal.owner:
        return await write(server, request, resource)
    act = Act("create", resource_type)
    (made,) = await deposit(server, request, act, deposits.one(resource, resource_type))
    headers = {"Location": f"{server.base}/{deposited(made)}", "ETag": f'W/"{made[1].version}"'}
    return Response(status_code=201 if made[1].created else 200, headers=headers)


async def deposit(
    server: Server, request: Request, act: Act, found: list[tuple[str, Resource]]
) -> list[tuple[str, Added]]:
    """What was added to which vault."""
    if "if-none-exist" in request.headers:
        raise CallerError.at(f"{HTTP}If-None-Exist", "is for the owner of a record: a deposit looks at nothing")
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


def deposited(made: tuple[str, Added]) -> str:
    """Where it is read, by whoever may."""
    vault, one = made
    return f"{one.resource_type}/{vault}.{one.local}/_history/{one.version}"


INTERACTIONS = (
    Interaction(
        code="create",
        method="POST",
        path=KIND,
        endpoint=create,
        types=WRITTEN,
        claims={"conditionalCreate": True},
    ),
)
