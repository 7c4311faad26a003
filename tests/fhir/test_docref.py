"""DocumentReference/$docref: which documents fit, and the one that is made when it is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aggregator.fhir.docref import docref
from aggregator.fhir.outcome import BadQuery, NotFound, UnknownParameter
from aggregator.vault.image import Record
from fhir_profiles.codes import KDL, LOINC
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, assert_golden, pairs, record, view_of

NOW = datetime(2026, 11, 20, 3, 12, 44, tzinfo=ZoneInfo("Europe/Berlin"))
META = {"versionId": "1", "lastUpdated": "2026-11-01T08:00:00+01:00"}


def document(local: str, **members: Any) -> Record:
    told = {"resourceType": "DocumentReference", "id": f"k3.{local}", "meta": META, "status": "current"}
    content = [{"attachment": {"contentType": "application/pdf", "url": "Binary/k3.x"}}]
    return record(dumps(told | {"subject": {"reference": "Patient/k3.erika"}, "content": content} | members))


def kind(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


PATIENT = record(dumps({"resourceType": "Patient", "id": "k3.erika", "meta": META}))
STAY = {"period": {"start": "2025-05-01", "end": "2025-05-09"}}
VIEW = view_of(
    [
        PATIENT,
        document("brief", type=kind(KDL, "AD010101"), date="2026-02-01T09:00:00Z"),
        document("entlassung", type=kind(LOINC, "18842-5"), date="2025-06-01T09:00:00Z", context=STAY),
        document("ohne"),
    ]
)

FOUND: dict[str, list[str]] = {
    "": ["brief", "entlassung", "ohne", ""],
    "type=18842-5": ["entlassung"],
    f"type={LOINC}|18842-5": ["entlassung"],
    f"type={KDL}|18842-5": [],
    f"type={LOINC}|60591-5": [""],
    "on-demand=true": [""],
    "on-demand=false&type=AD010101": ["brief"],
    "start=2025-05-09&end=2025-05-31": ["entlassung"],
    "start=2025-06-01": ["brief"],
    "end=2025-04-30": [],
    "start=2025&on-demand=true": [],
}

REFUSED: dict[str, str] = {
    "on-demand=yes": "on-demand: neither true nor false",
    "type=": "type: not a code, nor system|code",
    "start=morgen": "start: not a date",
    "start=2026&end=2025": "end: before start",
    "type=a&type=b": "type: given twice",
}


def found(query: str) -> list[str]:
    bundle = loads(docref(VIEW, "k3.erika", pairs(query), LINKS, NOW, strict=True).body)
    assert bundle["total"] == len(bundle.get("entry", []))
    return [entry["resource"].get("id", "").removeprefix("k3.") for entry in bundle.get("entry", [])]


@pytest.mark.parametrize("query", FOUND)
def test_documents_that_fit(query: str) -> None:
    assert found(query) == FOUND[query]


@pytest.mark.parametrize("query", REFUSED)
def test_what_cannot_be_understood(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        docref(VIEW, "k3.erika", pairs(query), LINKS, NOW)
    assert str(caught.value) == REFUSED[query]


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(UnknownParameter):
        docref(VIEW, "k3.erika", pairs("profile=x"), LINKS, NOW, strict=True)
    assert_golden(docref(VIEW, "k3.erika", pairs("on-demand=true&profile=x"), LINKS, NOW).body, "docref")


def test_another_patient_is_not_there() -> None:
    with pytest.raises(NotFound):
        docref(VIEW, "k4.erika", [], LINKS, NOW)


def test_only_what_the_view_holds_is_counted_as_shown() -> None:
    assert docref(VIEW, "k3.erika", [], LINKS, NOW).shown == 3
