"""What the operations share: their parameters, by GET or by POST, and the record that is meant.

https://hl7.org/fhir/R4/operations.html#request
"""

from __future__ import annotations

from starlette.requests import Request

from aggregator.api import bodies
from aggregator.api.fhir.server import Server, pairs, vault_of
from aggregator.errors import CallerError
from aggregator.fhir.operation import inputs
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Pairs


async def parameters(server: Server, request: Request) -> list[tuple[str, str]]:
    """The query's, and by POST those of a Parameters resource. A stranger's body is not read."""
    if request.method != "POST":
        return pairs(request)
    server.callers.of(request)
    if "content-type" not in request.headers:  # without a body
        return pairs(request)
    body = await bodies.resource(request, server.service.config.http.max_body_bytes)
    told = inputs(body)
    if told.resources:
        raise CallerError(f"{next(iter(told.resources))}: no resource is expected")
    return [*pairs(request), *told.pairs]


def patient(server: Server, given: Pairs, *names: str) -> tuple[str, str]:
    """(vault, whole id) of the one patient that a parameter of these names means. Raises BadQuery."""
    values = {value for name, value in given if name in names}
    if len(values) != 1:
        raise BadQuery(names[0], "name one patient")
    whole_id = values.pop().removeprefix(f"{server.base}/").removeprefix("Patient/")
    return vault_of(whole_id), whole_id
