"""Every invariant, by the element that breaks it and the nearest one that keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.invariants import RULES
from fhir_profiles.text import Number

TEXT = {"text": "x"}
WHO = {"display": "x"}
HL7 = "http://terminology.hl7.org/CodeSystem/"
PART: dict[str, Any] = {"extension": [{"url": "http://e", "valueBoolean": True}]}


def coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": HL7 + system, "code": code}]}


def basic(**value: Any) -> dict[str, Any]:
    """A resource that carries any data type."""
    return {"resourceType": "Basic", "code": TEXT, "extension": [{"url": "http://e", **value}]}


def repeat(**members: Any) -> dict[str, Any]:
    return basic(valueTiming={"repeat": {"frequency": 1, **members}})


def observation(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": TEXT, **members}


def condition(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "subject": WHO, **members}


def allergy(**members: Any) -> dict[str, Any]:
    return {"resourceType": "AllergyIntolerance", "patient": WHO, **members}


def section(**members: Any) -> dict[str, Any]:
    about = {"status": "final", "type": TEXT, "date": "2024", "author": [WHO], "title": "x"}
    return {"resourceType": "Composition", **about, "section": [{"title": "x", **members}]}


def listed(**members: Any) -> dict[str, Any]:
    return {"resourceType": "List", "status": "current", "mode": "snapshot", **members}


def bundle(kind: str, *entries: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, **members, **({"entry": list(entries)} if entries else {})}


def holding(contained: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Patient", "contained": [{"resourceType": "Patient", **contained}]}


PATIENT = {"resourceType": "Patient", "id": "p"}
REQUEST = {"method": "GET", "url": "Patient"}
RESPONSE = {"status": "200"}
COMPOSITION = {key: value for key, value in section().items() if key != "section"}
HEADER = {"resourceType": "MessageHeader", "eventUri": "http://e", "source": {"endpoint": "http://e"}}
DOCUMENT = {"identifier": {"system": "http://e", "value": "1"}, "timestamp": "2024-02-01T00:00:00Z"}
ONE = {"value": 1}
TWO = {"value": Number("2.0")}

# invariant -> (broken, kept)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ext-1": (basic(valueString="x", extension=[{"url": "http://f", "valueString": "x"}]), basic(valueString="x")),
    "ext-1 neither": (basic(), basic(_valueString=PART)),
    "per-1": (
        basic(valuePeriod={"start": "2024-02-01T10:00:00Z", "end": "2024-02-01T10:30:00+01:00"}),
        basic(valuePeriod={"start": "2024-02-01T10:00:00+01:00", "end": "2024-02-01T09:30:00Z"}),
    ),
    "per-1 days": (
        basic(valuePeriod={"start": "2024-02-02", "end": "2024-02-01"}),
        basic(valuePeriod={"start": "2024-02-01T23:59:60Z", "end": "2024-02-01"}),
    ),
    "per-1 years": (
        basic(valuePeriod={"start": "2025", "end": "2024-12"}),
        basic(valuePeriod={"start": "2024-12", "end": "2024"}),
    ),
    "rng-2": (basic(valueRange={"low": TWO, "high": ONE}), basic(valueRange={"low": TWO, "high": TWO})),
    "qty-3": (
        basic(valueQuantity={"code": "kg"}),
        basic(valueQuantity={"code": "kg", "system": "http://unitsofmeasure.org"}),
    ),
    "rat-1": (basic(valueRatio={"numerator": ONE}), basic(valueRatio={"numerator": ONE, "denominator": ONE})),
    "rat-1 neither": (basic(valueRatio={"id": "a"}), basic(valueRatio=PART)),
    "cpt-2": (basic(valueContactPoint={"value": "1"}), basic(valueContactPoint={"value": "1", "system": "phone"})),
    "att-1": (
        basic(valueAttachment={"data": "QQ=="}),
        basic(valueAttachment={"data": "QQ==", "contentType": "text/plain; charset=utf-8"}),
    ),
    "tim-1": (repeat(duration=1), repeat(duration=1, durationUnit="h")),
    "tim-2": (repeat(period=1), repeat(period=1, periodUnit="d")),
    "tim-4": (repeat(duration=-1, durationUnit="h"), repeat(duration=0, durationUnit="h")),
    "tim-5": (repeat(period=Number("-0.5"), periodUnit="d"), repeat(period=Number("0.5"), periodUnit="d")),
    "tim-6": (repeat(periodMax=1), repeat(periodMax=2, period=1, periodUnit="d")),
    "tim-7": (repeat(durationMax=1), repeat(durationMax=2, duration=1, durationUnit="h")),
    "tim-8": (repeat(countMax=1), repeat(countMax=2, count=1)),
    "tim-10": (repeat(timeOfDay=["08:00:00"], when=["CM"]), repeat(when=["CM"])),
    "dom-2": (holding({"id": "a", "contained": [{"resourceType": "Patient", "id": "b"}]}), holding({"id": "a"})),
    "dom-4": (
        holding({"id": "a", "meta": {"versionId": "1"}}),
        holding({"id": "a", "meta": {"profile": ["http://e"]}}),
    ),
    "dom-4 time": (holding({"id": "a", "meta": {"lastUpdated": "2024-02-01T00:00:00Z"}}), holding({"id": "a"})),
    "dom-5": (
        holding({"id": "a", "meta": {"security": [{"code": "R"}]}}),
        holding({"id": "a", "meta": {"tag": [{"code": "R"}]}}),
    ),
    "contained-id": (holding({"active": True}), holding({"id": "a"})),
    "obs-6": (observation(dataAbsentReason=TEXT, valueString="x"), observation(dataAbsentReason=TEXT)),
    "obs-7": (
        observation(code=coded("v", "a"), valueString="x", component=[{"code": coded("v", "a")}]),
        observation(code=coded("v", "a"), valueString="x", component=[{"code": coded("v", "b")}]),
    ),
    "obs-3": (observation(referenceRange=[{"type": TEXT}]), observation(referenceRange=[{"text": "x"}])),
    "pat-1": (
        {"resourceType": "Patient", "contact": [{"gender": "male"}]},
        {"resourceType": "Patient", "contact": [{"gender": "male", "organization": WHO}]},
    ),
    "con-4": (
        condition(clinicalStatus=coded("condition-clinical", "active"), abatementString="x"),
        condition(clinicalStatus=coded("condition-clinical", "remission"), abatementString="x"),
    ),
    "con-5": (
        condition(
            clinicalStatus=coded("condition-clinical", "active"),
            verificationStatus=coded("condition-ver-status", "entered-in-error"),
        ),
        condition(verificationStatus=coded("condition-ver-status", "entered-in-error")),
    ),
    "con-1": (condition(stage=[{"type": TEXT}]), condition(stage=[{"summary": TEXT}])),
    "con-2": (condition(evidence=[PART]), condition(evidence=[{"detail": [WHO]}])),
    "ait-1": (allergy(), allergy(clinicalStatus=coded("allergyintolerance-clinical", "active"))),
    "ait-2": (
        allergy(
            clinicalStatus=coded("allergyintolerance-clinical", "active"),
            verificationStatus=coded("allergyintolerance-verification", "entered-in-error"),
        ),
        allergy(verificationStatus=coded("allergyintolerance-verification", "entered-in-error")),
    ),
    "org-1": ({"resourceType": "Organization", "active": True}, {"resourceType": "Organization", "name": "x"}),
    "cmp-1": (section(code=TEXT), section(entry=[WHO])),
    "cmp-2": (section(entry=[WHO], emptyReason=TEXT), section(section=[{"entry": [WHO]}], emptyReason=TEXT)),
    "ppc-1": (
        {"resourceType": "Consent", "status": "active", "scope": TEXT, "category": [TEXT]},
        {"resourceType": "Consent", "status": "active", "scope": TEXT, "category": [TEXT], "policyRule": TEXT},
    ),
    "lst-1": (listed(entry=[{"item": WHO}], emptyReason=TEXT), listed(emptyReason=TEXT)),
    "bdl-1": (bundle("collection", total=1), bundle("searchset", total=1)),
    "bdl-2": (
        bundle("collection", {"resource": PATIENT, "search": {"mode": "match"}}),
        bundle("searchset", {"resource": PATIENT, "search": {"mode": "match"}}),
    ),
    "bdl-3": (bundle("batch", {"resource": PATIENT}), bundle("batch", {"request": REQUEST})),
    "bdl-3 elsewhere": (
        bundle("collection", {"resource": PATIENT, "request": REQUEST}),
        bundle("collection", {"resource": PATIENT}),
    ),
    "bdl-4": (bundle("batch-response", {"resource": PATIENT}), bundle("batch-response", {"response": RESPONSE})),
    "bdl-4 elsewhere": (
        bundle("searchset", {"resource": PATIENT, "response": RESPONSE}),
        bundle("searchset", {"resource": PATIENT}),
    ),
    "bdl-5": (bundle("collection", {"fullUrl": "http://e"}), bundle("collection", {"resource": PATIENT})),
    "bdl-7": (
        bundle("collection", *[{"fullUrl": "urn:x:1", "resource": PATIENT}] * 2),
        bundle("history", *[{"fullUrl": "urn:x:1", "request": REQUEST, "response": RESPONSE}] * 2),
    ),
    "bdl-8": (
        bundle("collection", {"fullUrl": "http://e/Patient/1/_history/2", "resource": PATIENT}),
        bundle("collection", {"fullUrl": "http://e/Patient/1", "resource": PATIENT}),
    ),
    "bdl-9": (
        bundle("document", {"resource": COMPOSITION}, timestamp=DOCUMENT["timestamp"]),
        bundle("document", {"resource": COMPOSITION}, **DOCUMENT),
    ),
    "bdl-10": (
        bundle("document", {"resource": COMPOSITION}, identifier=DOCUMENT["identifier"]),
        bundle("document", {"resource": COMPOSITION}, **DOCUMENT),
    ),
    "bdl-11": (
        bundle("document", {"resource": PATIENT}, **DOCUMENT),
        bundle("document", {"resource": COMPOSITION}, **DOCUMENT),
    ),
    "bdl-12": (bundle("message", {"resource": PATIENT}), bundle("message", {"resource": HEADER})),
}


def broken(resource: dict[str, Any]) -> list[str]:
    return [one.text.removeprefix("breaks ").partition(":")[0] for one in check(resource)]


def test_every_rule_has_a_case() -> None:
    assert {rule.key for rules in RULES.values() for rule in rules} == {name.partition(" ")[0] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_broken(name: str) -> None:
    assert broken(CASES[name][0]) == [name.partition(" ")[0]]


@pytest.mark.parametrize("name", CASES)
def test_kept(name: str) -> None:
    assert broken(CASES[name][1]) == []


def test_the_first_and_last_moments_are_compared_without_a_fault() -> None:
    assert broken(basic(valuePeriod={"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-13:00"})) == []
