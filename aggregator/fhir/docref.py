"""DocumentReference/$docref: the documents of a patient, and what is made when it is asked for.

http://hl7.org/fhir/us/core/OperationDefinition/docref (US Core; International Patient Access has it too). The one
document that is made on demand is the patient summary (patient_summary.py): its DocumentReference is put together here
and points to `$summary`; it is stored nowhere, so it has no id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from aggregator.fhir import security_labels
from aggregator.fhir.bundle import Answer
from aggregator.fhir.everything import period
from aggregator.fhir.outcome import BadQuery, UnknownParameter, ignored_parameters, operation_outcome
from aggregator.fhir.page import Links, Pairs, single
from aggregator.fhir.patient_summary import CODE, TITLE
from aggregator.fhir.read import read
from aggregator.fhir.view import View, full_url
from aggregator.vault.image import Served
from aggregator.vault.meter import PARSED
from fhir_profiles import build
from fhir_profiles.codes import LOINC
from fhir_profiles.dates import EVER, stretch
from fhir_profiles.text import Resource, dumps, peek

TYPE = "DocumentReference"
PARAMETERS = ("patient", "start", "end", "type", "on-demand")
_UNHEARD = ("_format", "_pretty")
_BOOLEANS = {"true": True, "false": False}

_Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """during: of the care that a document is about; code: (system, None for any; code), None for every type."""

    during: _Stretch | None
    code: tuple[str | None, str] | None
    on_demand: bool
    ignored: tuple[str, ...]
    query: str


def docref(view: View, patient_id: str, pairs: Pairs, links: Links, now: datetime, *, strict: bool = False) -> Answer:
    """A searchset Bundle with every DocumentReference that fits. Raises NotFound, Gone, BadQuery.

    `start`, `end`: days of the care that it is about. `type`: a code or `system|code`. `on-demand=true`: only what is
    made when asked for; that is about the present, so with `start` or `end` there is none.
    """
    read(view, "Patient", patient_id)
    asked = _parse(pairs, strict=strict)
    stored = [] if asked.on_demand else [one for one in _documents(view) if _fits(peek(one.body), asked)]
    entries = [
        _entry(orjson.Fragment(one.body), fullUrl=full_url(view, one, links.base_url), search={"mode": "match"})
        for one in stored
    ]
    if asked.during is None and _is_of([build.coding(LOINC, CODE)], asked):
        entries.append(_entry(_on_demand(patient_id, links.base_url, now), search={"mode": "match"}))
    total = len(entries)
    if asked.ignored:
        entries.append(_entry(operation_outcome(ignored_parameters(asked.ignored)), search={"mode": "outcome"}))
    told = [{"relation": "self", "url": links.url(f"{TYPE}/$docref", asked.query)}]
    meta = security_labels.of(view, [one.rid for one in stored])
    bundle = build.present(resourceType="Bundle", **meta, type="searchset", total=total, link=told, entry=entries)
    return Answer(dumps(bundle), len(stored))


def _parse(pairs: Pairs, *, strict: bool) -> _Asked:
    given = single(pairs, PARAMETERS)
    ignored = tuple(name for name, _ in pairs if name not in PARAMETERS and name not in _UNHEARD)
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    if (on_demand := given.get("on-demand", "false")) not in _BOOLEANS:
        raise BadQuery("on-demand", "neither true nor false")
    return _Asked(
        during=period(given),
        code=_code(given["type"]) if "type" in given else None,
        on_demand=_BOOLEANS[on_demand],
        ignored=ignored,
        query=urlencode([pair for pair in pairs if pair[0] in PARAMETERS]),
    )


def _code(value: str) -> tuple[str | None, str]:
    system, bar, code = value.rpartition("|")
    if not code:
        raise BadQuery("type", "not a code, nor system|code")
    return (system if bar else None), code


def _documents(view: View) -> Sequence[Served]:
    rids = view.image.kinds.get(TYPE, range(0))
    view.image.meter.spend(len(rids) // PARSED)
    return view.image.served(rids)


def _fits(document: Resource, asked: _Asked) -> bool:
    if not _is_of(document.get("type", {}).get("coding", ()), asked):
        return False
    if asked.during is None:
        return True
    low, high = asked.during
    return any(begin < high and end > low for begin, end in _stretches(document))


def _is_of(codings: Sequence[Mapping[str, Any]], asked: _Asked) -> bool:
    if asked.code is None:
        return True
    system, code = asked.code
    return any(one.get("code") == code and system in (None, one.get("system", "")) for one in codings)


def _stretches(document: Resource) -> Iterator[_Stretch]:
    """When the care was that it is about; where it does not say so, when the reference was made."""
    told = document.get("context", {}).get("period", {})
    begin, end = stretch(told.get("start", "")), stretch(told.get("end", ""))
    if begin or end:
        yield begin[0] if begin else EVER[0], end[1] if end else EVER[1]
    elif made := stretch(document.get("date", "")):
        yield made


def _on_demand(patient_id: str, base_url: str, now: datetime) -> Resource:
    """https://profiles.ihe.net/ITI/TF/Volume3/ch-4.2.html#4.2.3.2.29: what a reference to no stored document says."""
    return {
        "resourceType": TYPE,
        "status": "current",
        "docStatus": "final",
        "type": build.codeable(build.coding(LOINC, CODE), text=TITLE),
        "subject": build.reference(f"Patient/{patient_id}"),
        "date": build.instant(now),
        "content": [
            {
                "attachment": {
                    "contentType": "application/fhir+json",
                    "url": f"{base_url}/Patient/{patient_id}/$summary",
                    "title": TITLE,
                }
            }
        ],
    }


def _entry(resource: Any, **others: Any) -> dict[str, Any]:
    return {"resource": resource, **others}
