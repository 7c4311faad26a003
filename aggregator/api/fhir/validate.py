"""$validate: https://hl7.org/fhir/R4/resource-operation-validate.html

Of a type it is about the body alone and touches no record. Of an instance the caller must see that instance.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Act
from aggregator.api.fhir.interaction import KIND, ONE, Operation
from aggregator.api.fhir.server import Server, fhir, pairs, path, vault_of
from aggregator.fhir.bundle import Answer
from aggregator.fhir.read import read
from aggregator.fhir.resource_types import TYPES
from aggregator.fhir.validate import validate, validation
from aggregator.vault.view import View
from fhir_profiles.text import Resource, loads


async def validate_type(server: Server, request: Request) -> Response:
    """Could this resource be stored?"""
    (resource_type,) = path(request, "resource_type")
    await server.principal(request, Act("operation", resource_type), "", None)
    return fhir(validate(validation(resource_type, await _body(server, request), pairs(request))))


async def validate_instance(server: Server, request: Request) -> Response:
    """Could this one take the instance's place; by GET, how is the one that is there?"""
    resource_type, whole_id = path(request, "resource_type", "whole_id")
    vault = vault_of(whole_id)
    act = Act("operation", resource_type, f"{resource_type}/{whole_id}/$validate")
    principal = await server.principal(request, act, "r", vault)
    body = await _body(server, request) if request.method == "POST" else None

    def ask(view: View) -> Answer:
        stored = read(view, resource_type, whole_id)
        given = body if request.method == "POST" else loads(stored.body)
        return Answer(validate(validation(resource_type, given, pairs(request), whole_id)), 1)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


async def _body(server: Server, request: Request) -> Resource | None:
    """The resource, or Parameters; none where there is no body, as with mode=delete."""
    if "content-type" not in request.headers:
        return None
    return await bodies.resource(request, server.service.config.http.max_body_bytes)


OPERATIONS = tuple(
    Operation(
        name="validate",
        definition="http://hl7.org/fhir/OperationDefinition/Resource-validate|4.0.1",
        method=method,
        path=f"{place}/$validate",
        endpoint=endpoint,
        types=TYPES,
    )
    for method, place, endpoint in (
        ("POST", KIND, validate_type),
        ("POST", ONE, validate_instance),
        ("GET", ONE, validate_instance),
    )
)
