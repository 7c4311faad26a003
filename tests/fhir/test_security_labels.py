"""A Bundle's labels: the highest confidentiality of what it holds, and every other label, whichever way it is made."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from aggregator.fhir import history
from aggregator.fhir.docref import docref
from aggregator.fhir.everything import everything
from aggregator.fhir.patient_summary import Making, summary
from aggregator.fhir.search import search
from aggregator.vault.image import Record
from fhir_profiles.codes import ACT_CODE, CONFIDENTIALITY
from fhir_profiles.text import Resource, dumps, loads
from tests.fhir.world import BASE, LINKS, SmallView, pairs, record, view_of
from tests.weaken import weakens

OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
PATIENT = "k3.p"


def labelled(name: str, *labels: tuple[str, str], **elements: object) -> Record:
    """`Type/local` with these labels, (system, code)."""
    kind, local = name.split("/")
    meta = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
    security = [{"system": system, "code": code} for system, code in labels]
    body = {"resourceType": kind, "id": f"k3.{local}", "meta": meta | ({"security": security} if security else {})}
    return record(dumps(body | elements))


def level(code: str) -> tuple[str, str]:
    return CONFIDENTIALITY, code


PSY, HIV, REDACTED = (ACT_CODE, "PSY"), (ACT_CODE, "HIV"), (OBSERVATION_VALUE, "REDACTED")
VIEW = view_of(
    [
        labelled("Patient/p"),
        labelled("Condition/c1", level("R"), PSY, subject={"reference": f"Patient/{PATIENT}"}),
        labelled("Condition/c2", level("V")),
        labelled("Observation/o1", level("L"), HIV, REDACTED, hasMember=[{"reference": "Observation/k3.o2"}]),
        labelled("Observation/o2", REDACTED, status="final"),
        labelled("DocumentReference/d", level("R")),
    ]
)


def told(bundle: Resource) -> list[str]:
    """The codes of its labels."""
    return [one["code"] for one in bundle.get("meta", {}).get("security", ())]


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ("Condition", ["V", "PSY"]),
        ("Condition?_id=k3.c1", ["R", "PSY"]),
        ("Observation", ["N", "HIV", "REDACTED"]),
        ("Observation?status=final", ["REDACTED"]),
        ("Patient", []),
        ("Patient?_revinclude=Condition:subject", ["R", "PSY"]),
        ("Observation?_count=1", ["N", "HIV", "REDACTED"]),
        ("Condition?_elements=code", ["V", "PSY"]),
        ("Condition?_summary=count", []),
        ("?_type=Condition,Observation&_sort=-_id&_count=2", ["REDACTED", "N", "HIV"]),
    ],
)
def test_a_page_has_the_labels_of_what_it_shows(asked: str, codes: list[str]) -> None:
    kind, _, query = asked.partition("?")
    assert sorted(told(loads(search(VIEW, kind, pairs(query), LINKS).body))) == sorted(codes)


@pytest.mark.attack(15)
@weakens("aggregator.fhir.security_labels", "_member", lambda _: {})
def test_every_bundle_has_them() -> None:
    whole = ["V", "HIV", "PSY", "REDACTED"]
    assert told(loads(everything(VIEW, PATIENT, [], LINKS).body)) == whole
    assert told(loads(everything(VIEW, PATIENT, pairs("_type=Condition"), LINKS).body)) == ["V", "PSY"]
    assert told(loads(docref(VIEW, PATIENT, pairs(f"patient={PATIENT}"), LINKS, datetime.now(UTC)).body)) == ["R"]
    past = history.history(VIEW, history.of_view(VIEW), "_history", [], LINKS)
    assert told(loads(past.body)) == whole
    assert "V" in told(loads(summary(VIEW, PATIENT, Making(base_url=BASE, now=datetime.now(UTC), id=UUID(int=1))).body))


def test_the_highest_stands_first_and_each_once_with_its_system() -> None:
    view: SmallView = view_of([labelled("Condition/a", level("R"), PSY), labelled("Condition/b", PSY, level("U"))])
    assert loads(search(view, "Condition", [], LINKS).body)["meta"] == {
        "security": [{"system": CONFIDENTIALITY, "code": "R"}, {"system": ACT_CODE, "code": "PSY"}]
    }
