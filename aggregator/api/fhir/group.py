"""Group/consenting: those who signed a consent for this client, whose records its bulk export takes.

https://hl7.org/fhir/R4/group.html. It is made of the grants there are when it is read and stored nowhere. A member is
named by its record, whose number is the first part of every id in it; whether that consent opens anything just now is
seen when the record is.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, fhir
from aggregator.fhir.outcome import NotFound
from fhir_profiles import build
from fhir_profiles.codes import RECORD
from fhir_profiles.text import Resource, dumps

TYPE = "Group"
CONSENTING = "consenting"


async def read(server: Server, request: Request) -> Response:
    """Only of a client: an owner's record has no such group."""
    principal = server.callers.of(request)
    principal.require(TYPE, "r")
    if principal.client is None:
        raise NotFound
    return fhir(dumps(_group(server.access.vaults(principal))))


def _group(vaults: list[str]) -> Resource:
    members = [{"entity": {"type": "Patient", "identifier": build.identifier(RECORD, vault)}} for vault in vaults]
    return build.present(
        resourceType=TYPE,
        id=CONSENTING,
        active=True,
        type="person",
        actual=True,
        name="Who signed a consent for you",
        quantity=len(vaults),
        member=members,
    )


INTERACTIONS = (
    Interaction(code="read", method="GET", path=f"/{TYPE}/{CONSENTING}", endpoint=read, types=frozenset({TYPE})),
)
