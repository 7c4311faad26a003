"""What of a view goes into a bulk export: how much of each type there is, and its lines, a piece at a time.

https://hl7.org/fhir/uv/bulkdata/STU2/export.html. A line is a resource as it is stored. Which resources a view no
longer holds it knows of its owner's alone: to a grantee a deletion and a withdrawn consent look alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aggregator.fhir.everything import moment, types
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Pairs, single
from aggregator.fhir.resource_types import TYPES
from aggregator.fhir.view import View
from fhir_profiles.text import dumps

DELETED = "deleted"
PIECE = 500  # resources: what is said in one receipt, and the most that is held on its way out
EXPORTED = TYPES - {"Binary"}
"""A Binary is read by itself, with the same token: its content is no line."""

_FORMATS = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
_PARAMETERS = ("_outputFormat", "_since", "_type")
_UNHEARD = ("_format", "_pretty")
_COUNT = "SELECT count(*) FROM resource WHERE rid >= ? AND rid < ? AND updated >= ?"
_RIDS = "SELECT rid FROM resource WHERE rid >= ? AND rid < ? AND updated >= ? ORDER BY rid LIMIT ?"
_GONE = (
    "SELECT type, local FROM gone WHERE updated >= ? AND type IN (SELECT value FROM json_each(?)) ORDER BY type, local"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """types: of these only. since: stored at or after it, in milliseconds since 1970 UTC; None for all."""

    types: tuple[str, ...]
    since: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines, how many, and the local id behind which the next piece begins; None where there is no more."""

    lines: bytes
    shown: int
    last: str | None


def wanted(pairs: Pairs, allowed: Collection[str]) -> Wanted:
    """What is asked for. allowed: the types that may be had. Raises BadQuery, naming what cannot be had."""
    given = single(pairs, _PARAMETERS)
    if others := [name for name, _ in pairs if name not in _PARAMETERS and name not in _UNHEARD]:
        raise BadQuery(others[0], "not supported by $export; _type, _since and _outputFormat are")
    if given.get("_outputFormat", "ndjson").replace(" ", "+") not in _FORMATS:
        raise BadQuery("_outputFormat", "not one of application/fhir+ndjson, application/ndjson, ndjson")
    asked = types(given["_type"]) if "_type" in given else sorted(allowed)
    if refused := [name for name in asked if name not in allowed]:
        told = "is read by itself, with the same token" if refused[0] == "Binary" else "may not be exported"
        raise BadQuery("_type", f"{refused[0] if refused[0] in TYPES else 'what is no resource type'} {told}")
    since = moment("_since", given["_since"])[0] if "_since" in given else None
    return Wanted(types=tuple(dict.fromkeys(asked)), since=since)


def counts(view: View, asked: Wanted) -> dict[str, int]:
    """How many lines there are of each type that has any."""
    found = {name: _count(view, name, asked) for name in asked.types}
    found[DELETED] = len(_gone(view, asked))
    return {name: number for name, number in found.items() if number}


def piece(view: View, name: str, asked: Wanted, after: str | None) -> Piece:
    """The lines of a type behind this local id, at most PIECE."""
    if name == DELETED:
        gone = _gone(view, asked)
        return Piece(b"".join(_deletions(view, gone[at : at + PIECE]) for at in range(0, len(gone), PIECE)), 0, None)
    rids = view.image.kinds.get(name, range(0))
    start = rids.start if after is None else view.image.after(name, after)
    rows = view.image.select(_RIDS, (start, rids.stop, asked.since or 0, PIECE))
    found = view.image.served([rid for (rid,) in rows])
    body = b"".join(one.body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n" for one in found)
    return Piece(body, len(found), found[-1].local if len(found) == PIECE else None)


def _count(view: View, name: str, asked: Wanted) -> int:
    rids = view.image.kinds.get(name, range(0))
    number: int = view.image.select(_COUNT, (rids.start, rids.stop, asked.since or 0))[0][0] if rids else 0
    return number


def _gone(view: View, asked: Wanted) -> list[tuple[str, str]]:
    """What was deleted since then: without a `_since` nobody asks."""
    if asked.since is None:
        return []
    return [(kind, local) for kind, local in view.image.select(_GONE, (asked.since, dumps(asked.types).decode()))]


def _deletions(view: View, gone: Iterable[tuple[str, str]]) -> bytes:
    """One line: https://hl7.org/fhir/uv/bulkdata/STU2/export.html#response---output-manifest, `deleted`."""
    urls = [f"{kind}/{view.vault}.{local}" for kind, local in gone]
    entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
    return dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}) + b"\n"
