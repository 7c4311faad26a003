"""Bulk export: kick-off, status, files. https://hl7.org/fhir/uv/bulkdata/STU2/export.html

Nothing of an export lies at rest. What is stored is who asked for what and which records there are. A status request
looks at records for a moment, each through the caller's own view, and counts its lines; a file is made while it is
downloaded, record by record, of the views as they are then. So a consent that ends in between ends that patient's
lines, and memory holds a piece of one record. The server has no token of its own: an export goes on while its client
asks, before a restart and after it. What is changed or added meanwhile comes as it is then, and once more with the next
`_since`; so a file may have other lines than the manifest counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aggregator.api.access import Act
from aggregator.api.caller import Principal
from aggregator.api.fhir.group import CONSENTING
from aggregator.api.fhir.interaction import Operation, by_get_and_post
from aggregator.api.fhir.operation import parameters
from aggregator.api.fhir.server import Server, path
from aggregator.errors import HTTP, CallerError, Refused, RolledBack, Tampered
from aggregator.fhir import bulk
from aggregator.fhir.bulk import DELETED, EXPORTED, Piece, Wanted
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import Issue, NotFound, operation_outcome
from aggregator.identity.allowances import Throttled
from aggregator.portability.bulk_exports import Export
from aggregator.vault.view import View
from fhir_profiles.build import instant
from fhir_profiles.text import dumps

NDJSON = "application/fhir+ndjson"
_ERRORS = "OperationOutcome"
_AT_ONCE = 1000  # records that a status request looks at, at the most
_SECONDS = 2.0  # that a status request looks at records
_RETRY = "1"
_PATHS = ("Patient/$export", f"Group/{CONSENTING}/$export")


async def export_patients(server: Server, request: Request) -> Response:
    """Of every record that is open to the caller: a client's consents, or an owner's own."""
    return await _begin(server, request, _PATHS[0])


async def export_group(server: Server, request: Request) -> Response:
    """The same for the group of those who consented to a client."""
    (group,) = path(request, "whole_id")
    if group != CONSENTING or server.callers.of(request).client is None:
        raise NotFound
    return await _begin(server, request, _PATHS[1])


async def _begin(server: Server, request: Request, operation: str) -> Response:
    principal = server.callers.of(request)
    if "respond-async" not in request.headers.get("prefer", ""):
        raise CallerError.at(f"{HTTP}Prefer", "respond-async is needed; an export is answered by no other way")
    wanted = bulk.wanted(await parameters(server, request), _allowed(principal))
    query = request.scope["query_string"].decode("latin-1")
    asked = {
        "operation": operation,
        "request": f"{server.base}/{operation}{'?' if query else ''}{query}",
        "at": instant(server.service.clock()),
        "types": wanted.types,
        "since": wanted.since,
    }
    vaults = server.access.vaults(principal)
    name = await asyncio.to_thread(server.exports.begin, principal.reader, asked, vaults)
    return Response(status_code=202, headers={"Content-Location": f"{server.base}/bulk/{name}"})


async def status(server: Server, request: Request) -> Response:
    """How far it is: 202, or 200 with the manifest."""
    principal, name, export = _mine(server, request)
    await _look(server, principal, export)
    done, total = await asyncio.to_thread(server.exports.progress, export)
    if done < total:
        return Response(status_code=202, headers={"X-Progress": f"{done} of {total} records", "Retry-After": _RETRY})
    counts = await asyncio.to_thread(server.exports.counts, export)
    expires = format_datetime(datetime.fromtimestamp(export.expires, UTC), usegmt=True)
    manifest = _manifest(f"{server.base}/bulk/{name}", export, counts)
    return Response(dumps(manifest), headers={"Expires": expires}, media_type="application/json")


async def cancel(server: Server, request: Request) -> Response:
    """It is over: what is asked of it from now on is not there."""
    _, _, export = _mine(server, request)
    await asyncio.to_thread(server.exports.end, export)
    return Response(status_code=202)


async def download(server: Server, request: Request) -> Response:
    """One file, made while it is sent."""
    principal, _, export = _mine(server, request)
    (file,) = path(request, "file")
    counts = await asyncio.to_thread(server.exports.counts, export)
    vaults = [vault for vault, found in counts.items() if file in found]
    if not vaults:
        raise NotFound
    if file == _ERRORS:
        lines = b"".join(dumps(_damaged(vault)) + b"\n" for vault in vaults)
        return Response(lines, media_type=NDJSON)
    if file != DELETED:
        principal.require(file, "r")
    return StreamingResponse(_lines(server, request, export, file, vaults), media_type=NDJSON)


def _mine(server: Server, request: Request) -> tuple[Principal, str, Export]:
    (name,) = path(request, "export")
    principal = server.callers.of(request)
    export = server.exports.find(principal.reader, name)
    if export is None:
        raise NotFound
    return principal, name, export


def _allowed(principal: Principal) -> frozenset[str]:
    """The types that the token's scopes let it read."""

    def reads(name: str) -> bool:
        try:
            principal.require(name, "r")
        except Refused:
            return False
        return True

    return frozenset(filter(reads, EXPORTED))


async def _look(server: Server, principal: Principal, export: Export) -> None:
    """Count the lines of records that nobody has looked at yet: of one, and more as long as there is time."""
    until, found = time.monotonic() + _SECONDS, dict[str, Mapping[str, int]]()
    for vault in await asyncio.to_thread(server.exports.waiting, export, _AT_ONCE):
        try:
            found[vault] = await _count(server, principal, export, vault)
        except Throttled:
            if found:  # what was looked at stays so; the next status request says when there is more
                break
            raise
        if time.monotonic() > until:
            break
    if found:
        await asyncio.to_thread(server.exports.note, export, found)


async def _count(server: Server, principal: Principal, export: Export, vault: str) -> Mapping[str, int]:
    counted = dict[str, int]()

    def ask(view: View) -> Answer:
        counted.update(bulk.counts(view, _wanted(export)))
        return Answer(b"", 0)

    try:
        await server.access.answer(principal, vault, _act(export, ""), ask)
    except NotFound:
        return {}
    except (Tampered, RolledBack):
        return {_ERRORS: 1}
    return counted


async def _lines(
    server: Server, request: Request, export: Export, file: str, vaults: list[str]
) -> AsyncIterator[bytes]:
    """Record by record, piece by piece, each with its receipt. A token that has ended cuts the file off."""
    for vault in vaults:
        after, more = None, True
        while more:
            try:
                found = await _piece(server, server.callers.of(request), export, vault, file, after)
            except NotFound:  # the patient ended it meanwhile
                break
            after, more = found.last, found.last is not None
            yield found.lines


async def _piece(
    server: Server, principal: Principal, export: Export, vault: str, file: str, after: str | None
) -> Piece:
    made = list[Piece]()

    def ask(view: View) -> Answer:
        made[:] = [bulk.piece(view, file, _wanted(export), after)]
        return Answer(made[0].lines, made[0].shown)

    await server.access.answer(principal, vault, _act(export, "" if file == DELETED else file), ask)
    return made[0]


def _wanted(export: Export) -> Wanted:
    return Wanted(types=tuple(export.asked["types"]), since=export.asked["since"])


def _act(export: Export, resource_type: str) -> Act:
    return Act("operation", resource_type, export.asked["operation"])


def _manifest(base: str, export: Export, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """https://hl7.org/fhir/uv/bulkdata/STU2/export.html#response---output-manifest"""
    totals = Counter[str]()
    for found in counts.values():
        totals.update(found)

    def file(name: str, kind: str) -> dict[str, Any]:
        return {"type": kind, "url": f"{base}/{name}", "count": totals[name]}

    return {
        "transactionTime": export.asked["at"],
        "request": export.asked["request"],
        "requiresAccessToken": True,
        "output": [file(name, name) for name in sorted(totals.keys() - {DELETED, _ERRORS})],
        "deleted": [file(DELETED, "Bundle")] if totals[DELETED] else [],
        "error": [file(_ERRORS, _ERRORS)] if totals[_ERRORS] else [],
    }


def _damaged(vault: str) -> dict[str, Any]:
    text = f"record {vault}: it cannot be read; the operator can see why in the log"
    return operation_outcome([Issue(severity="error", code="exception", text=text)])


_DEFINITION = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
_KICK_OFFS = (
    ("/Patient/$export", export_patients, "patient-export", "Patient"),
    ("/Group/{whole_id}/$export", export_group, "group-export", "Group"),
)
_AFTERWARDS = (
    ("GET", "/bulk/{export}", status),
    ("DELETE", "/bulk/{export}", cancel),
    ("GET", "/bulk/{export}/{file}", download),
)
OPERATIONS = (
    *(
        one
        for place, endpoint, definition, resource_type in _KICK_OFFS
        for one in by_get_and_post("export", f"{_DEFINITION}{definition}|2.0.0", place, endpoint, resource_type)
    ),
    *(
        Operation(name="export", definition="", method=method, path=place, endpoint=endpoint, raw=True)
        for method, place, endpoint in _AFTERWARDS
    ),
)
