"""The resource that a request brings; for a Binary also its content as it is. https://hl7.org/fhir/R4/binary.html#rest"""

from __future__ import annotations

import base64

from starlette.requests import Request

from aggregator.api import bodies
from aggregator.api.fhir.server import Server
from fhir_profiles.text import Resource

_BINARY = "Binary"
_FHIR = ("application/fhir+json", "application/fhir+xml")


async def resource(server: Server, request: Request) -> Resource:
    """Raises WrongMediaType, TooLarge, NotJson, CallerError."""
    limit = server.service.config.http.max_body_bytes
    stated = request.headers.get("content-type", "")
    if request.path_params["resource_type"] != _BINARY or stated.partition(";")[0].strip().lower() in _FHIR:
        return await bodies.resource(request, limit)
    data = await bodies.read(request, limit)
    made: Resource = {"resourceType": _BINARY, "contentType": stated or "application/octet-stream"}
    if context := request.headers.get("x-security-context"):
        made["securityContext"] = {"reference": context}
    return made | ({"data": base64.b64encode(data).decode()} if data else {})
