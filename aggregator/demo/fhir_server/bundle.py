"""Takes a Bundle in, as any FHIR server does.

https://hl7.org/fhir/R4/http.html#transaction. A transaction is done as a whole or refused as a whole; a batch is a row
of transactions of one entry; a Bundle of another type (collection, document, searchset, message, history) is a
transaction that creates each of its entries.

The id of a created resource follows from the Bundle's name and the entry's fullUrl alone, so the same files give the
same ids in every run; an id that is taken already is never given twice.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregator.demo.fhir_server.references import only_match, relinked, resolver
from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.store import Store, Version
from fhir_profiles.text import Resource

_IDS = uuid.UUID("6f2c0c1e-5f0b-5a8e-9a57-0d3f6f6a7c11")  # never changes: every id of the demo follows from it
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_RESTFUL = re.compile(r"https?://.+/([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})")
_ASKING = frozenset({"transaction", "batch"})  # their entries say what to do
_TELLING = frozenset({"collection", "document", "searchset", "message", "history"})  # theirs are created
_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2}  # https://hl7.org/fhir/R4/http.html#trules


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of one entry.

    id: the one it has on this server; None where it was refused. status: as in Bundle.entry.response.status. version:
    what the store has for it now. reason: why it was refused.
    """

    index: int
    full_url: str
    resource_type: str
    id: str | None
    status: str
    version: Version | None = None
    reason: Refused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    index: int
    full_url: str
    method: str
    resource_type: str
    target: str  # the id in request.url, "" for a create
    condition: str  # ifNoneExist, or the query in request.url
    resource: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """An entry with the id it will have. status 200 with POST means that it was there: nothing is written."""

    entry: _Entry
    id: str
    status: str

    @property
    def writes(self) -> bool:
        return (self.entry.method, self.status) != ("POST", "200 OK")


def take(store: Store, bundle: Resource, name: str, now: Callable[[], datetime]) -> list[Loaded]:
    """Do what the Bundle asks; one answer for each entry, in its order. Raises Refused where nothing was done."""
    entries = _entries(bundle)
    if bundle.get("type") != "batch":
        return _transaction(store, [_read(index, entry, bundle) for index, entry in entries], name, now)
    return [_alone(store, index, entry, bundle, name, now) for index, entry in entries]


def response_type(bundle: Resource) -> str:
    """The Bundle.type of the answer to this Bundle."""
    return "batch-response" if bundle.get("type") == "batch" else "transaction-response"


def single(store: Store, request: Resource, resource: Resource, name: str, now: Callable[[], datetime]) -> Loaded:
    """Do one request, given as Bundle.entry.request has it. Raises Refused."""
    entry = _read(0, {"resource": resource, "request": request}, {"type": "transaction"})
    return _transaction(store, [entry], name, now)[0]


def _entries(bundle: Resource) -> list[tuple[int, Any]]:
    if bundle.get("resourceType") != "Bundle" or not isinstance(bundle.get("entry", []), list):
        raise Refused(400, "not a Bundle")
    if bundle.get("type") not in _ASKING | _TELLING:
        raise Refused(400, "a Bundle of this type is not taken")
    return list(enumerate(bundle.get("entry", [])))


def _alone(store: Store, index: int, raw: Any, bundle: Resource, name: str, now: Callable[[], datetime]) -> Loaded:
    try:
        return _transaction(store, [_read(index, raw, bundle)], name, now)[0]
    except Refused as refused:
        return _refusal(index, _object(raw), refused)


def _refusal(index: int, raw: Resource, refused: Refused) -> Loaded:
    return Loaded(
        index=index,
        full_url=str(raw.get("fullUrl", "")),
        resource_type=_type_of(_object(raw.get("resource"))),
        id=None,
        status=refused.line,
        reason=refused,
    )


def _object(value: Any) -> Resource:
    return value if isinstance(value, dict) else {}


def _read(index: int, raw: Any, bundle: Resource) -> _Entry:
    if not isinstance(raw, dict):
        raise Refused(400, f"entry {index} is not an object")
    resource = _object(raw.get("resource"))
    asks = bundle.get("type") in _ASKING
    request = _object(raw.get("request")) if asks else {"method": "POST", "url": _type_of(resource)}
    if request.get("method") not in _ORDER:
        raise Refused(400, f"entry {index} asks for no POST, PUT or DELETE")
    path, _, query = str(request.get("url", "")).partition("?")
    kind, _, target = path.partition("/")
    entry = _Entry(
        index=index,
        full_url=str(raw.get("fullUrl", "")),
        method=request["method"],
        resource_type=kind,
        target=target,
        condition=query or str(request.get("ifNoneExist", "")),
        resource=resource,
    )
    _refuse_unfit(entry)
    return entry


def _type_of(resource: Resource) -> str:
    return str(resource.get("resourceType", ""))


def _refuse_unfit(entry: _Entry) -> None:
    """Raise Refused for the first rule that this entry breaks."""
    stores = entry.method != "DELETE"
    rules = {
        "has no resource type": _TYPE.fullmatch(entry.resource_type),
        "holds another type than its url": not stores or _type_of(entry.resource) == entry.resource_type,
        "has a meta that is not an object": not stores or isinstance(entry.resource.get("meta", {}), dict),
        "creates at an id": entry.method != "POST" or not entry.target,
        "names no id": entry.method == "POST" or entry.condition or _ID.fullmatch(entry.target),
        "has another id than its url": entry.method != "PUT"
        or entry.condition
        or entry.resource.get("id") == entry.target,
    }
    for rule, kept in rules.items():
        if not kept:
            raise Refused(400, f"entry {entry.index} {rule}")


def _transaction(store: Store, entries: list[_Entry], name: str, now: Callable[[], datetime]) -> list[Loaded]:
    """Plan everything that can be refused, then write, which cannot."""
    steps = [_planned(store, entry, name) for entry in entries]
    link = resolver(store, _places(steps))
    resources = {step.entry.index: relinked(step.entry.resource, link) for step in steps if step.writes}
    at = now()
    versions = {
        step.entry.index: _write(store, step, resources[step.entry.index], at)
        for step in sorted(steps, key=lambda step: _ORDER[step.entry.method])
        if step.writes
    }
    return [_loaded(store, step, versions.get(step.entry.index)) for step in steps]


def _planned(store: Store, entry: _Entry, name: str) -> _Step:
    matched = only_match(store, entry.resource_type, entry.condition) if entry.condition else None
    if entry.method == "DELETE":
        return _Step(entry=entry, id=matched.id if matched else entry.target, status="204 No Content")
    if matched is not None:
        return _Step(entry=entry, id=matched.id, status="200 OK")
    target = entry.target or _new_id(store, entry, name)
    last = store.get(entry.resource_type, target)
    return _Step(entry=entry, id=target, status="201 Created" if last is None or last.body is None else "200 OK")


def _new_id(store: Store, entry: _Entry, name: str) -> str:
    seed, again = f"{name}\n{entry.resource_type}\n{entry.full_url or entry.index}", 0
    while store.get(entry.resource_type, made := str(uuid.uuid5(_IDS, f"{seed}\n{again}"))) is not None:
        again += 1
    return made


def _places(steps: list[_Step]) -> Mapping[str, str]:
    """Every way in which the entries may be named -> "Type/id". Raises Refused where two entries are one."""
    _refuse_twice([step.entry.full_url for step in steps if step.entry.full_url], "two entries have one fullUrl")
    targets = [f"{step.entry.resource_type}/{step.id}" for step in steps]
    _refuse_twice(
        [target for target, step in zip(targets, steps, strict=True) if step.writes], "two entries write one resource"
    )
    return {alias: target for target, step in zip(targets, steps, strict=True) for alias in _aliases(step.entry)}


def _refuse_twice(names: list[str], text: str) -> None:
    if any(count > 1 for count in Counter(names).values()):
        raise Refused(400, text)


def _aliases(entry: _Entry) -> set[str]:
    restful = _RESTFUL.fullmatch(entry.full_url)
    relative = f"{entry.resource_type}/{entry.resource.get('id')}"  # what "Type/id" means where no fullUrl says so
    return {entry.full_url, restful[1]} if restful else {entry.full_url or relative}


def _write(store: Store, step: _Step, resource: Resource, at: datetime) -> Version | None:
    if step.entry.method == "DELETE":
        return store.delete(step.entry.resource_type, step.id, at)
    return store.put(resource, step.id, step.entry.method, at)


def _loaded(store: Store, step: _Step, written: Version | None) -> Loaded:
    return Loaded(
        index=step.entry.index,
        full_url=step.entry.full_url,
        resource_type=step.entry.resource_type,
        id=step.id,
        status=step.status,
        version=written or store.get(step.entry.resource_type, step.id),
    )
