"""update, by the owner, also where a condition finds the resource. https://hl7.org/fhir/R4/http.html#update

Over a source's resource it stores an amendment beside it, whose place is in `Location`.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.fhir import content
from aggregator.api.fhir.interaction import KIND, ONE, Interaction
from aggregator.api.fhir.server import Server
from aggregator.api.fhir.writing import VERSIONED, write
from aggregator.api.own_writing import WRITTEN


async def update(server: Server, request: Request) -> Response:
    """A new version of what the id, or the condition, names."""
    return await write(server, request, await content.resource(server, request))


INTERACTIONS = (
    Interaction(code="update", method="PUT", path=ONE, endpoint=update, types=WRITTEN, claims=VERSIONED),
    Interaction(
        code="update", method="PUT", path=KIND, endpoint=update, types=WRITTEN, claims={"conditionalUpdate": True}
    ),
)
