"""Search and history, a page at a time.

https://hl7.org/fhir/R4/search.html, https://hl7.org/fhir/R4/http.html#history. A parameter that this server does not
know is ignored, as FHIR asks for, and absent from the `self` link.

A page link holds the query and the place of the last row in the order of all writes. What changes while someone turns
the pages moves behind that place, so it may come twice but is never left out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from aggregator.demo.fhir_server.access import Caller
from aggregator.demo.fhir_server.compartment import PATIENT_PATHS
from aggregator.demo.fhir_server.references import with_identifier
from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.store import Store, Version

Params = tuple[tuple[str, str], ...]
Match = Callable[[Version], bool]

_DEFAULT_COUNT = 50
_MOST = 500
_SUBJECT = frozenset({"subject", "deliverTo"})  # the elements whose search parameter is called `subject`
_PERSONAL = frozenset({"Patient", *PATIENT_PATHS} - {"Device"})  # a Device may belong to nobody
_GENERAL = {"_id": "token", "_lastUpdated": "date", "identifier": "token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What was asked. after: the sequence of the last row already shown, 0 at the first page."""

    resource_type: str
    params: Params
    count: int
    after: int = 0

    def values(self, name: str) -> list[str]:
        """All values of a parameter."""
        return [value for given, value in self.params if given == name]

    def next_token(self, last: Version) -> str:
        """The opaque part of the link to the page behind this row."""
        return base64.urlsafe_b64encode(orjson.dumps([self.params, self.count, last.sequence])).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """total: rows of all pages. next_token: None at the end."""

    query: Query
    total: int
    versions: list[Version]
    next_token: str | None


def search_params(resource_type: str) -> dict[str, str]:
    """The search parameters of a type -> their kind."""
    paths = PATIENT_PATHS.get(resource_type, ())
    named = {"patient": "reference"} if paths else {}
    return {**_GENERAL, **named, **({"subject": "reference"} if _SUBJECT.intersection(paths) else {})}


def parse(resource_type: str, raw: Iterable[tuple[str, str]], known: Iterable[str]) -> Query:
    """Read a query string. Raises Refused (400) for a page or a count that is none."""
    given = list(raw)
    pages = [value for name, value in given if name == "_page"]
    if pages:
        return _turned(resource_type, pages[-1])
    counts = [value for name, value in given if name == "_count"]
    if not all(re.fullmatch(r"\d{1,6}", value) for value in counts):
        raise Refused(400, "_count is a number")
    params = tuple((name, value) for name, value in given if name in {*known, "_format"} and value)
    return Query(
        resource_type=resource_type, params=params, count=min(int(counts[-1]), _MOST) if counts else _DEFAULT_COUNT
    )


def _turned(resource_type: str, token: str) -> Query:
    try:
        params, count, after = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        pairs = tuple((str(name), str(value)) for name, value in params)
        if not 0 <= count <= _MOST:
            raise ValueError("_count")
        return Query(resource_type=resource_type, params=pairs, count=int(count), after=int(after))
    except (ValueError, TypeError) as error:
        raise Refused(400, "this page link is not from here") from error


def find(store: Store, caller: Caller, query: Query) -> Page:
    """Search a type, oldest write first. Raises Refused: 400 for an unreadable value, 403 for another patient."""
    matches = [_MATCHES[name](value, store, query) for name, value in query.params if name in _MATCHES]
    _refuse_other_patient(caller, query)
    found = [
        version
        for version in _candidates(store, caller, query)
        if caller.may_read(version) and all(match(version) for match in matches)
    ]
    return _page(query, found, [version for version in found if version.sequence > query.after])


def history(caller: Caller, query: Query, versions: Iterable[Version]) -> Page:
    """These versions (given oldest first), newest first, since `_since`. Raises Refused (400)."""
    since = [_instant(value) for value in query.values("_since")]
    found = [
        version
        for version in reversed(list(versions))
        if caller.may_read(version) and all(version.updated >= start for start in since)
    ]
    return _page(query, found, [version for version in found if not query.after or version.sequence < query.after])


def _page(query: Query, found: list[Version], rest: list[Version]) -> Page:
    shown = rest[: query.count]
    more = len(rest) > len(shown) > 0
    return Page(query=query, total=len(found), versions=shown, next_token=query.next_token(shown[-1]) if more else None)


def _candidates(store: Store, caller: Caller, query: Query) -> Iterable[Version]:
    """Few rows that are sure to hold all matches, in the order they were written."""
    if ids := query.values("_id"):
        rows = [store.get(query.resource_type, each) for each in dict.fromkeys(ids[0].split(","))]
        return sorted((row for row in rows if row is not None and row.body is not None), key=lambda row: row.sequence)
    named = [_patient_id(value) for name in ("patient", "subject") for value in query.values(name)]
    own = [caller.patient] if caller.patient and query.resource_type in _PERSONAL else []
    patient = next(iter(named + own), None)
    return store.current(query.resource_type, patient)


def _refuse_other_patient(caller: Caller, query: Query) -> None:
    named = {_patient_id(value) for name in ("patient", "subject") for value in query.values(name)}
    if caller.patient is not None and named - {caller.patient}:
        raise Refused(403, "this token is for another patient")


def _patient_id(value: str) -> str:
    if "," in value or ("/" in value and not re.search(r"(^|/)Patient/[^/]+$", value)):
        raise Refused(400, "patient is one id or Patient/id")
    return value.rpartition("/")[2]


def _by_patient(value: str, _: Store, __: Query) -> Match:
    patient = _patient_id(value)
    return lambda version: patient in version.patients


def _by_id(value: str, _: Store, __: Query) -> Match:
    ids = frozenset(value.split(","))
    return lambda version: version.id in ids


def _by_identifier(value: str, store: Store, query: Query) -> Match:
    ids = {version.id for token in value.split(",") for version in with_identifier(store, query.resource_type, token)}
    return lambda version: version.id in ids


def _by_update(value: str, _: Store, __: Query) -> Match:
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    if prefix not in _COMPARISONS:
        raise Refused(400, "_lastUpdated takes eq, ge, gt, le and lt")
    start, end = _span(text)
    compare = _COMPARISONS[prefix]
    return lambda version: compare(version.updated, start, end)


# A date without a time stands for the whole day: [start, end).
_COMPARISONS: dict[str, Callable[[datetime, datetime, datetime], bool]] = {
    "eq": lambda at, start, end: start <= at < end,
    "ge": lambda at, start, _: at >= start,
    "gt": lambda at, _, end: at >= end,
    "le": lambda at, _, end: at < end,
    "lt": lambda at, start, _: at < start,
}

_MATCHES: dict[str, Callable[[str, Store, Query], Match]] = {
    "_id": _by_id,
    "_lastUpdated": _by_update,
    "identifier": _by_identifier,
    "patient": _by_patient,
    "subject": _by_patient,
}

_WIDTHS = {
    10: timedelta(days=1),
    16: timedelta(minutes=1),
    19: timedelta(seconds=1),
}  # length of the text before fraction and zone -> how long it lasts; longer ones to the millisecond


def _span(text: str) -> tuple[datetime, datetime]:
    local = re.sub(r"(Z|[+-]\d\d:\d\d)$", "", text) if "T" in text else text
    start = _instant(text)
    try:
        return start, start + _WIDTHS.get(len(local), timedelta(milliseconds=1))
    except OverflowError:
        raise Refused(400, "a date lies beyond all time") from None


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, "a date is YYYY-MM-DD, or with time and zone") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
