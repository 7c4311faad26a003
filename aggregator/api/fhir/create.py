"""create: by the owner, or by a provider whom the patient lets add to the record.

https://hl7.org/fhir/R4/http.html#create. A provider's is a deposit: create alone, and blind, unless a condition is to
be judged in what the provider may read.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import deposits
from aggregator.api.access import Act
from aggregator.api.fhir import content, preference
from aggregator.api.fhir.interaction import KIND, Interaction
from aggregator.api.fhir.server import Server, pairs, path
from aggregator.api.fhir.writing import write
from aggregator.api.own_writing import WRITTEN
from aggregator.errors import Refused
from aggregator.fhir.condition import Condition
from aggregator.sync.deposit import Added, linked
from fhir_profiles.text import Resource


async def create(server: Server, request: Request) -> Response:
    """Its place is in `Location`."""
    (resource_type,) = path(request, "resource_type")
    principal = server.callers.of(request)
    resource = await content.resource(server, request)
    if principal.owner:
        return await write(server, request, resource)
    ignored, query = preference.unheard(request, pairs(request)), request.headers.get("if-none-exist")
    condition = Condition(resource_type, query) if query is not None else None
    act = Act("create", resource_type, f"{resource_type}?{query}" if condition else "")
    (made,) = await deposit(server, request, act, deposits.one(resource, resource_type), condition)
    headers = {"Location": f"{server.base}/{deposited(made)}", "ETag": f'W/"{made[1].version}"'}
    return preference.written(request, b"", headers, 201 if made[1].created else 200, ignored=ignored)


async def deposit(
    server: Server,
    request: Request,
    act: Act,
    found: list[tuple[str, Resource]],
    condition: Condition | None = None,
) -> list[tuple[str, Added]]:
    """What was added to which vault; with a condition, what it finds there already."""
    vault = deposits.patient(found)
    principal = server.callers.of(request)
    try:
        for _, resource in found:
            for letter in "cs" if condition else "c":
                principal.require(resource["resourceType"], letter)
    except Refused as error:
        await server.access.refuse(principal, vault, act, str(error))
        raise
    adding = deposits.Deposits(server.service, server.access, server.base)
    return [(vault, one) for one in await adding.add(principal, vault, act, linked(found), condition)]


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
