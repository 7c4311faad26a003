"""What a consent decision needs to know of one resource, computed once, when the resource is folded.

Dates mean stretches of time (https://hl7.org/fhir/R4/datatypes.html#dateTime): 2026-11 is a month. How they are read:
fhir_profiles/dates.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from aggregator.consent.section_table import Coding, Placement, SectionTable
from fhir_profiles.codes import CONFIDENTIALITY
from fhir_profiles.dates import EVER, stretch
from fhir_profiles.text import Resource

Span = tuple[datetime, datetime]
"""(low, high), aware, high excluded."""

# A query may leave out seconds and zone; a dateTime may not, and what is no dateTime is not guessed at.
_WHOLE = re.compile(r"[^T]*|.*T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

CONFIDENTIALITY_LEVELS = ("U", "L", "M", "N", "R", "V")
"""From unrestricted to very restricted. What carries none is N, normal."""

# What a resource is, as distinct from what it mentions: provision.code of a permit is looked for in these alone.
_CLASSIFYING = (
    "category",
    "code",
    "type",
    "class",
    "serviceType",
    "vaccineCode",
    "medicationCodeableConcept",
    "procedureCode",
    "modality",
)

# Where a resource holds its own dates: when it happened; only where it does not say, when it was written down.
_TIMED = ("effective", "performed", "occurrence", "onset", "abatement", "serviced", "created", "collected")
_HAPPENED = frozenset(
    (
        *(f"{element}{kind}" for element in _TIMED for kind in ("DateTime", "Date", "Period", "Instant", "Timing")),
        *("billablePeriod", "period", "started", "start", "end", "whenHandedOver", "whenPrepared", "receivedTime"),
    )
)
_WRITTEN = frozenset(
    ("authoredOn", "recordedDate", "dateAsserted", "date", "issued", "recorded", "created", "sent", "authored")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One resource as a consent sees it.

    section: where it lies; a permit is tested against this one. claims: every section a row claims it for; a deny is
    tested against all of them.
    labels: those carried and given, with exactly one Confidentiality, the highest (N where none is carried).
    needs: of each set, one coding must be named by a permit (class or securityLabel).
    codes: the codings that say what it is, each with the codes above it. mentioned: the same for every coding in it.
    dates: the stretch of its own dates; None where it has none that can be read.
    """

    resource_type: str
    id: str
    section: str
    labels: frozenset[Coding]
    codes: frozenset[Coding]
    dates: Span | None
    claims: frozenset[str] = frozenset()
    needs: frozenset[frozenset[Coding]] = frozenset()
    mentioned: frozenset[Coding] = frozenset()


def facts_of(resource: Resource, placement: Placement) -> Facts:
    """The facts of one resource. Never raises for content."""
    return Facts(
        resource_type=str(resource.get("resourceType", "")),
        id=str(resource.get("id", "")),
        section=placement.section,
        labels=_one_confidentiality(placement.labels),
        codes=_with_ancestors(_classifying(resource)),
        dates=_dates(resource),
        claims=placement.claims,
        needs=placement.needs,
        mentioned=_with_ancestors(placement.codings),
    )


@lru_cache(maxsize=1024)
def _one_confidentiality(labels: frozenset[Coding]) -> frozenset[Coding]:
    carried = {code for system, code in labels if system == CONFIDENTIALITY}
    highest = max((CONFIDENTIALITY_LEVELS.index(code) for code in carried & {*CONFIDENTIALITY_LEVELS}), default=3)
    others = {label for label in labels if label[0] != CONFIDENTIALITY}
    return frozenset(others | {(CONFIDENTIALITY, CONFIDENTIALITY_LEVELS[highest])})


def _with_ancestors(codings: Iterable[Coding]) -> frozenset[Coding]:
    table = SectionTable.load()
    return frozenset(above for coding in codings for above in table.ancestors(coding))


def _classifying(resource: Resource) -> Iterator[Coding]:
    canonical = SectionTable.load().canonical
    for element in _CLASSIFYING:
        value = resource.get(element)
        for concept in value if isinstance(value, list) else [value]:
            if isinstance(concept, dict):
                nested = concept.get("coding")
                yield from (
                    canonical((coding["system"], coding["code"]))
                    for coding in (nested if isinstance(nested, list) else [concept])
                    if isinstance(coding, dict)
                    and isinstance(coding.get("system"), str)
                    and isinstance(coding.get("code"), str)
                )


def _dates(resource: Resource) -> Span | None:
    for elements in (_HAPPENED, _WRITTEN):
        spans = [period(resource[element]) for element in elements & resource.keys()]
        known = [span for span in spans if span is not None]
        if spans:
            return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(spans) else None
    return None


def period(value: Any) -> Span | None:
    """The stretch of a date, dateTime, instant or Period; an open end reaches to FIRST or LAST. None: unreadable."""
    if isinstance(value, str):
        return span(value)
    if not isinstance(value, dict) or not value.keys() & {"start", "end"}:
        return None
    start = span(value["start"]) if isinstance(value.get("start"), str) else None
    end = span(value["end"]) if isinstance(value.get("end"), str) else None
    if ("start" in value and start is None) or ("end" in value and end is None):
        return None
    low, high = start[0] if start else FIRST, end[1] if end else LAST
    return (low, high) if low < high else None


def span(text: str) -> Span | None:
    """The stretch that a FHIR date, dateTime or instant means; None for what is none."""
    found = stretch(text) if _WHOLE.fullmatch(text) else None
    return (_moment(found[0]), _moment(found[1])) if found else None


def _moment(milliseconds: int) -> datetime:
    return LAST if milliseconds >= EVER[1] else _EPOCH + timedelta(milliseconds=milliseconds)
