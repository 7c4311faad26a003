"""What every way of writing shares: that the owner writes, what is asked, and how the answer tells what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.caller import Principal
from aggregator.api.fhir import formats, preference
from aggregator.api.fhir.data import Content, as_fhir
from aggregator.api.fhir.preference import Return
from aggregator.api.fhir.server import Server, http_date, pairs, vault_of
from aggregator.api.own_writing import Done, OwnWriting
from aggregator.errors import Refused
from aggregator.fhir.entries import Entry
from aggregator.fhir.outcome import Issue, NotFound
from aggregator.identity.owner_changes import Written
from aggregator.vault.encoding import milliseconds
from fhir_profiles.text import Resource

VERSIONED: Mapping[str, Any] = {"versioning": "versioned", "updateCreate": False}

_CODES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WITHOUT_DATA = "; its data is long and is read there"
_CONDITIONS = ("if-match", "if-none-exist")


async def own(server: Server, request: Request, act: Act, whole_id: str = "") -> Principal:
    """The owner, who writes here. Raises Refused, for another's record NotFound; both are receipted there."""
    principal = server.callers.of(request)
    vault = vault_of(whole_id)
    if principal.owner is None:
        error: Exception = Refused("this is for the owner of a record alone")
    elif "." in whole_id and vault != principal.owner.vault:
        error = NotFound()
    else:
        return principal
    if whole_id:
        await server.access.refuse(principal, vault, act, str(error))
    raise error


async def write(server: Server, request: Request, resource: Resource | None = None) -> Response:
    """One interaction, by the method and URL of the request."""
    resource_type, whole_id = request.path_params["resource_type"], request.path_params.get("whole_id", "")
    one = f"{resource_type}/{whole_id}" if whole_id else resource_type
    query = request.scope["query_string"].decode("latin-1")
    act = Act(_CODES[request.method], resource_type, f"{one}?{query}" if query else one)
    principal = await own(server, request, act, whole_id)
    conditional = not whole_id and request.method != "POST"
    ignored = [] if conditional else preference.unheard(request, pairs(request))
    entry = Entry(
        method=request.method,
        url=f"{one}?{query}" if conditional else one,
        resource=resource,
        headers={name: request.headers[name] for name in _CONDITIONS if name in request.headers},
    )
    (done,) = await OwnWriting(server.service, server.access, server.base).write(principal, act, [entry])
    return await _answer(server, request, principal, done, ignored)


async def _answer(
    server: Server, request: Request, principal: Principal, done: Done, ignored: Sequence[Issue]
) -> Response:
    """Status, headers, and of the body what `Prefer: return=` asks for: https://hl7.org/fhir/R4/http.html#ops"""
    if done.written is None:
        return Response(status_code=done.status)
    vault, written = principal.as_owner().vault, done.written
    headers = {"ETag": f'W/"{written.version}"', "Last-Modified": http_date(milliseconds(written.updated))}
    if written.body is None:
        return Response(status_code=done.status, headers=headers)
    headers["Location"] = f"{server.base}/{location(vault, written)}"
    if written.blob and preference.returned(request, ignored) is Return.REPRESENTATION:
        content = Content.just_written(server.service, vault, written.body, written.blob)
        return await as_fhir(content, headers, formats.settled(request), done.status)
    return preference.written(request, written.body, headers, done.status, told(vault, written), ignored)


def location(vault: str, written: Written) -> str:
    """Where this version is read."""
    return f"{written.resource_type}/{vault}.{written.local}/_history/{written.version}"


def told(vault: str, written: Written) -> Issue:
    """What was done, in a sentence."""
    text = f"stored as {location(vault, written)}{_WITHOUT_DATA if written.blob else ''}"
    if written.amends:
        text = (
            f"{written.resource_type}/{vault}.{written.amends} is a source's and stays as it is; "
            f"your version of it stands beside it and names it: {text}"
        )
    return Issue(severity="information", code="informational", text=text)
