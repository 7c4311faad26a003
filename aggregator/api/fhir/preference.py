"""`Prefer`: how strictly a query is read, and what a write sends back. https://hl7.org/fhir/R4/http.html#return"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.errors import FHIR_JSON
from aggregator.api.headers import header
from aggregator.fhir.outcome import Issue, UnknownParameter, ignored_parameters, operation_outcome
from aggregator.fhir.page import Pairs
from aggregator.fhir.query import UNHEARD
from fhir_profiles.text import dumps

_DONE = Issue(severity="information", code="informational", text="done")


class Return(StrEnum):
    """What a write sends back."""

    MINIMAL = "minimal"
    REPRESENTATION = "representation"
    OUTCOME = "OperationOutcome"


def preferences(request: Request) -> Mapping[str, str]:
    """Name -> value of all that is preferred (RFC 7240); the first of a name counts."""
    found = dict[str, str]()
    for one in ",".join(request.headers.getlist("prefer")).replace(";", ",").split(","):
        name, _, value = one.partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def strict(request: Request) -> bool:
    """Is an unknown parameter an error? https://hl7.org/fhir/R4/search.html#errors"""
    return header(request, b"prefer") is not None and preferences(request).get("handling") == "strict"


def unheard(request: Request, given: Pairs) -> list[Issue]:
    """What tells of the parameters of a write that takes none. Raises UnknownParameter under strict handling."""
    names = [name for name, _ in given if name not in UNHEARD]
    if names and strict(request):
        raise UnknownParameter(names[0])
    return ignored_parameters(names)


def returned(request: Request, ignored: Sequence[Issue] = ()) -> Return:
    """What a write shall send back. Where nothing is preferred: the resource, or the outcome that names the ignored."""
    wanted = preferences(request).get("return")
    otherwise = Return.OUTCOME if ignored else Return.REPRESENTATION
    return next((one for one in Return if one == wanted), otherwise)


def written(
    request: Request,
    body: bytes,
    headers: Mapping[str, str],
    status: int,
    told: Issue = _DONE,
    ignored: Sequence[Issue] = (),
) -> Response:
    """The answer to a write, as preferred. body: the resource as it is now, empty where the caller may not read it.

    told: what was done, and ignored: what was not heard, where the outcome is sent.
    """
    match returned(request, ignored):
        case Return.OUTCOME:
            body = dumps(operation_outcome([told, *ignored]))
        case Return.MINIMAL:
            body = b""
    return Response(body, status, headers=dict(headers), media_type=FHIR_JSON if body else None)
