"""capabilities: what is served here. https://hl7.org/fhir/R4/http.html#capabilities"""

from __future__ import annotations

import asyncio
from functools import lru_cache

import orjson
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import oauth_table
from aggregator.api.fhir import formats
from aggregator.api.fhir.formats import AS_STORED, Form
from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, pairs
from aggregator.fhir.outcome import BadQuery


async def metadata(server: Server, request: Request) -> Response:
    """The CapabilityStatement: https://hl7.org/fhir/R4/capabilitystatement.html

    It needs no token, so that each of its forms is made once.
    """
    asked = pairs(request)
    if any(name == "mode" and value not in _MODES for name, value in asked):
        raise BadQuery("mode", f"not one of {', '.join(_MODES)}: there is no terminology service")
    form = formats.settle(request, asked)
    body = await asyncio.to_thread(_written, server.capability, form)
    return Response(body, media_type=form.media_type)


@lru_cache(4)
def _written(statement: bytes, form: Form) -> bytes:
    return statement if form is AS_STORED else formats.written(statement, form)


async def smart_configuration(server: Server, _: Request) -> Response:
    """https://hl7.org/fhir/smart-app-launch/conformance.html"""
    return Response(orjson.dumps(oauth_table.document(server.service.base_url)), media_type="application/json")


_MODES = ("full", "normative")  # a server may tell all where only the normative part is asked for
_NONE = frozenset[str]()
INTERACTIONS = (
    Interaction(code="capabilities", method="GET", path="/metadata", endpoint=metadata, types=_NONE, raw=True),
    Interaction(
        code="capabilities",
        method="GET",
        path="/.well-known/smart-configuration",
        endpoint=smart_configuration,
        types=_NONE,
        raw=True,
    ),
)
