"""patch, by the owner: JSON Patch and FHIRPath Patch. https://hl7.org/fhir/R4/http.html#patch"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.fhir.interaction import KIND, ONE, Interaction
from aggregator.api.fhir.server import Server
from aggregator.api.fhir.writing import write
from aggregator.api.own_writing import WRITTEN
from aggregator.fhir.patch import JSON_PATCH, of_json


async def patch(server: Server, request: Request) -> Response:
    """Over a source's resource it goes on from the amendment, where one stands."""
    limit = server.service.config.http.max_body_bytes
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON_PATCH:
        return await write(server, request, of_json(await bodies.read(request, limit)))
    return await write(server, request, await bodies.resource(request, limit))


INTERACTIONS = (
    Interaction(code="patch", method="PATCH", path=ONE, endpoint=patch, types=WRITTEN),
    Interaction(code="patch", method="PATCH", path=KIND, endpoint=patch, types=WRITTEN),
)
