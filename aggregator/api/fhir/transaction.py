"""batch and transaction: several interactions in one request. https://hl7.org/fhir/R4/http.html#transaction

A transaction's writes are one commit; what it reads is read behind that. An entry of a batch is a request of its own:
it goes through the same routes, has its own receipt, and its failure is nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import orjson
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies, deposits
from aggregator.api.access import Act
from aggregator.api.fhir import inner
from aggregator.api.fhir.create import deposit, deposited
from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.preference import Return, returned, unheard
from aggregator.api.fhir.server import Server, fhir
from aggregator.api.fhir.writing import location, own, told
from aggregator.api.own_writing import Done, OwnWriting
from aggregator.errors import HTTP, CallerError, within
from aggregator.fhir import entries
from aggregator.fhir.entries import BATCH, TRANSACTION, Entry
from aggregator.fhir.outcome import Issue, operation_outcome
from fhir_profiles.text import Resource, dumps

_READS = frozenset({"GET", "HEAD"})


async def bundle(server: Server, request: Request) -> Response:
    """By its type; from a provider a collection, too, is what is to be added."""
    if "if-none-exist" in request.headers:
        raise CallerError.at(f"{HTTP}If-None-Exist", "is for the create of one resource; an entry has ifNoneExist")
    sent = await bodies.resource(request, server.service.config.http.max_body_bytes)
    if sent["resourceType"] != "Bundle":
        raise CallerError("a Bundle is expected here")
    if sent.get("type") == BATCH:
        return await _batch(server, request, entries.entries(sent))
    if server.callers.of(request).client:
        return await _deposit(server, request, sent)
    if sent.get("type") != TRANSACTION:
        raise CallerError.at("Bundle.type", f"{BATCH} or {TRANSACTION} is expected here")
    return await _transaction(server, request, entries.entries(sent))


async def _batch(server: Server, request: Request, found: Sequence[Entry]) -> Response:
    asking = inner.Asking(request, server.base)
    return _answer(BATCH, [await asking.ask(entry) for entry in found])


async def _transaction(server: Server, request: Request, found: Sequence[Entry]) -> Response:
    writes = [entry for entry in found if entry.method not in _READS]
    act = Act("transaction", "Bundle")
    principal = await own(server, request, act)
    vault, ignored = principal.as_owner().vault, dict[str, list[Issue]]()
    for entry in writes:
        with within(entry.place):
            ignored[entry.place] = unheard(request, entry.unheard())
    done = await OwnWriting(server.service, server.access, server.base).write(principal, act, writes)
    made = dict(zip((entry.place for entry in writes), done, strict=True))
    wanted, asking = returned(request), inner.Asking(request, server.base)
    answers = [
        _done(wanted, vault, made[entry.place], ignored[entry.place])
        if entry.place in made
        else await asking.ask(entry)
        for entry in found
    ]
    return _answer(TRANSACTION, answers)


async def _deposit(server: Server, request: Request, sent: Resource) -> Response:
    """A provider adds what a Bundle holds, all or nothing."""
    made = await deposit(server, request, Act("transaction", "Bundle"), deposits.entries(sent))
    status = {True: _status(201), False: _status(200)}
    answers = [dumps({"response": {"status": status[one[1].created], "location": deposited(one)}}) for one in made]
    return _answer(TRANSACTION, answers)


def _done(wanted: Return, vault: str, done: Done, ignored: Sequence[Issue]) -> bytes:
    """An entry of the answer, with the resource, or what was done to it, as preferred; and what was not heard of it."""
    answer, response = Resource(), Resource(status=_status(done.status))
    written, issues = done.written, list(ignored)
    if written:
        response |= {"etag": f'W/"{written.version}"', "lastModified": written.updated}
    if written and written.body is not None:
        response["location"] = location(vault, written)
        if wanted is Return.OUTCOME or (written.blob and wanted is Return.REPRESENTATION):
            issues.insert(0, told(vault, written))
        elif wanted is Return.REPRESENTATION:
            answer["resource"] = orjson.Fragment(written.body)
    if issues:
        response["outcome"] = operation_outcome(issues)
    return dumps(answer | {"response": response})


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


def _answer(kind: str, answers: Sequence[bytes]) -> Response:
    head = dumps({"resourceType": "Bundle", "type": f"{kind}-response"})
    return fhir(head[:-1] + (b',"entry":[' + b",".join(answers) + b"]" if answers else b"") + b"}")


_NONE = frozenset[str]()
INTERACTIONS = (
    Interaction(code="transaction", method="POST", path="", endpoint=bundle, types=_NONE),
    Interaction(code="batch", method="POST", path="", endpoint=bundle, types=_NONE),
)
