"""/fhir: create, by a provider whom the patient lets add to the record. https://hl7.org/fhir/R4/http.html#create"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, deposits
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers
from aggregator.api.errors import FHIR_JSON
from aggregator.api.service import Service
from aggregator.errors import CallerError, Refused
from aggregator.sync.deposit import Added, linked
from fhir_profiles.text import Resource, dumps


class CreateRoutes:
    """The routes, on one installation. base: what locations begin with."""

    def __init__(self, service: Service, callers: Callers, access: Access, base: str) -> None:
        self._service = service
        self._callers = callers
        self._access = access
        self._base = base
        self._deposits = deposits.Deposits(service, access)

    async def create(self, request: Request) -> Response:
        """A provider adds a resource: https://hl7.org/fhir/R4/http.html#create"""
        resource_type = request.path_params["resource_type"]
        self._callers.of(request).as_client()
        resource = await bodies.resource(request, self._service.config.http.max_body_bytes)
        (made,) = await self._add(request, Act("create", resource_type), deposits.one(resource, resource_type))
        headers = {"Location": f"{self._base}/{_location(made)}", "ETag": f'W/"{made[1].version}"'}
        return Response(status_code=201 if made[1].created else 200, headers=headers)

    async def create_all(self, request: Request) -> Response:
        """A provider adds what a Bundle holds, all or nothing: https://hl7.org/fhir/R4/http.html#transaction"""
        self._callers.of(request).as_client()
        bundle = await bodies.resource(request, self._service.config.http.max_body_bytes)
        made = await self._add(request, Act("transaction", "Bundle"), deposits.entries(bundle))
        told = [
            {"response": {"status": "201" if one.created else "200", "location": _location((vault, one))}}
            for vault, one in made
        ]
        body = dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": told})
        return Response(body, media_type=FHIR_JSON)

    async def _add(self, request: Request, act: Act, found: list[tuple[str, Resource]]) -> list[tuple[str, Added]]:
        """What was added to which vault."""
        if "if-none-exist" in request.headers:
            raise CallerError("If-None-Exist is not supported")
        vault = deposits.patient(found)
        principal = self._callers.of(request)
        try:
            for _, resource in found:
                principal.require(resource["resourceType"], "c")
        except Refused as error:
            await self._access.refuse(principal, vault, act, str(error))
            raise
        return [(vault, one) for one in await self._deposits.add(principal, vault, act, linked(found))]


def _location(made: tuple[str, Added]) -> str:
    vault, one = made
    return f"{one.resource_type}/{vault}.{one.local}/_history/{one.version}"
