"""delete, by the owner, of what the owner wrote. https://hl7.org/fhir/R4/http.html#delete

What a source wrote ends when the source ends it. By a condition all that it finds is deleted, or nothing is.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.fhir.interaction import KIND, ONE, Interaction
from aggregator.api.fhir.server import Server
from aggregator.api.fhir.writing import write
from aggregator.api.own_writing import WRITTEN


async def delete(server: Server, request: Request) -> Response:
    """What has ended already has ended."""
    return await write(server, request)


INTERACTIONS = (
    Interaction(code="delete", method="DELETE", path=ONE, endpoint=delete, types=WRITTEN),
    Interaction(
        code="delete",
        method="DELETE",
        path=KIND,
        endpoint=delete,
        types=WRITTEN,
        claims={"conditionalDelete": "multiple"},
    ),
)
