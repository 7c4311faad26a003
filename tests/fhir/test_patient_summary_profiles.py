"""A patient summary satisfies hl7.fhir.uv.ips 2.0.0, as far as its profiles' own constraints can be read here.

Cardinality, fixed values and patterns, slices by a pattern, and invariants (by fhirpathpy) of each resource's profile.
The profiles of Bundle and Composition are not in the data; what they demand stands below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from aggregator.fhir.patient_summary import summary
from fhir_profiles.check import check
from fhir_profiles.text import Resource, dumps, loads, peek
from tests.bench.records import DataMissing, data_folder, records
from tests.fhir.test_patient_summary import MAKING, RECORD
from tests.fhir.world import record, view_of

GUIDE = "fhir-ips/npm-hl7.fhir.uv.ips-2.0.0/conformance"
SECTIONS = {
    "11450-4": {"Condition"},
    "48765-2": {"AllergyIntolerance"},
    "10160-0": {"MedicationStatement", "MedicationRequest"},
    "11369-6": {"Immunization"},
    "30954-2": {"Observation", "DiagnosticReport"},
    "47519-4": {"Procedure"},
    "46264-8": {"DeviceUseStatement"},
    "104605-1": {"Flag"},
    "11348-0": {"Condition"},
    "10162-6": {"Observation"},
    "18776-5": {"CarePlan"},
    "29762-2": {"Observation"},
    "8716-3": {"Observation"},
}
"""LOINC code of a section of Composition-uv-ips -> the types that its entries may have here."""
PROFILED = ("AllergyIntolerance", "Condition", "DeviceUseStatement", "DiagnosticReport", "Immunization", "Medication")
PROFILED += ("MedicationRequest", "MedicationStatement", "Organization", "Patient", "Practitioner", "Procedure")


def profile(name: str) -> Resource:
    try:
        file = data_folder() / GUIDE / f"StructureDefinition-{name}-uv-ips.json"
    except DataMissing as missing:
        pytest.skip(str(missing))
    made: Resource = peek(file.read_bytes())
    return made


def profile_of(resource: Resource) -> Resource | None:
    codes = {one.get("code") for one in resource.get("code", {}).get("coding", ())}
    categories = {one.get("code") for each in resource.get("category", ()) for one in each.get("coding", ())}
    name: str | None = resource["resourceType"]
    if name == "Observation":
        laboratory = "Observation-results-laboratory-pathology" if "laboratory" in categories else None
        name = "Observation-tobaccouse" if "72166-2" in codes else laboratory
    elif name == "Flag":
        name = "Flag-alert"
    elif name not in PROFILED:
        name = None
    return profile(name) if name else None


def values(node: Any, names: list[str]) -> Iterator[Any]:
    """What lies at a path; of a choice whatever it is, and a value that is only extended as well."""
    if not names:
        yield node
        return
    head, *rest = names
    choice = head.removesuffix("[x]")
    for name, child in node.items() if isinstance(node, dict) else ():
        bare = name.removeprefix("_")
        if bare == head or (choice != head and bare.startswith(choice)):
            for one in child if isinstance(child, list) else [child]:
                yield from values(one, rest)


def fits(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            name in value and fits(value[name], one) for name, one in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(fits(own, one) for own in value) for one in pattern)
    return bool(value == pattern)


def faults(resource: Resource) -> Iterator[str]:
    found = profile_of(resource)
    for element in found["differential"]["element"] if found else ():
        path, _, sliced = element["id"].partition(":")
        pattern = next((value for name, value in element.items() if re.match("fixed|pattern", name)), None)
        *above, last = path.split(".")[1:] or [""]
        for parent in values(resource, above) if last else ():
            there = list(values(parent, [last]))
            if sliced:
                there = [one for one in there if pattern is not None and fits(one, pattern)]
            elif pattern is not None and not all(fits(one, pattern) for one in there):
                yield f"{element['id']} pattern"
            most = element.get("max", "*")
            if len(there) < element.get("min", 0) or (most != "*" and len(there) > int(most)):
                yield f"{element['id']} {element.get('min')}..{most}"
        for rule in element.get("constraint", ()) if not sliced else ():
            for one in [resource] if not last else values(resource, path.split(".")[1:]):
                if rule["severity"] == "error" and evaluate(one, rule["expression"], {}, models["r4"]) == [False]:
                    yield f"{element['id']} {rule['key']}"


def assert_is_an_ips(body: bytes) -> None:
    """Bundle-uv-ips and Composition-uv-ips, then every resource by its own profile."""
    assert check(loads(body)) == ()
    bundle = peek(body)
    assert bundle["type"] == "document"
    assert {"identifier", "timestamp"} <= bundle.keys()
    assert all({"search", "request", "response"}.isdisjoint(one) and one["fullUrl"] for one in bundle["entry"])
    by_url = {one["fullUrl"]: one["resource"] for one in bundle["entry"]}
    assert len(by_url) == len(bundle["entry"])
    composition = bundle["entry"][0]["resource"]
    assert fits(composition["type"], {"coding": [{"system": "http://loinc.org", "code": "60591-5"}]})
    assert by_url[composition["subject"]["reference"]]["resourceType"] == "Patient"
    assert [by_url[one["reference"]]["resourceType"] for one in composition["author"]] == ["Device"]
    codes = [one["code"]["coding"][0]["code"] for one in composition["section"]]
    assert len(codes) == len(set(codes))
    assert {"11450-4", "48765-2", "10160-0"} <= set(codes) <= SECTIONS.keys()
    for code, section in zip(codes, composition["section"], strict=True):
        assert section["title"]
        assert section["text"]["div"]
        assert {by_url[one["reference"]]["resourceType"] for one in section.get("entry", ())} <= SECTIONS[code]
        assert ("entry" in section) != ("emptyReason" in section)
    wrong = {(one["resourceType"], fault) for one in by_url.values() for fault in faults(one)}
    assert wrong == set()


def whole(resource: Any) -> Any:
    """References of the data as a vault has them."""
    if isinstance(resource, list):
        return [whole(one) for one in resource]
    if not isinstance(resource, dict):
        return resource
    return {name: _whole(name, child) for name, child in resource.items()}


def _whole(name: str, child: Any) -> Any:
    return re.sub(r"^([A-Z]\w+)/", r"\1/k3.", child) if name == "reference" and isinstance(child, str) else whole(child)


def stored(found: Iterable[Resource]) -> Iterator[Any]:
    meta = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
    return (record(dumps(whole(one) | {"id": f"k3.{one['id']}", "meta": meta})) for one in found)


@pytest.mark.outside
def test_the_handmade_record() -> None:
    assert_is_an_ips(summary(view_of(RECORD), "k3.erika", MAKING).body)


@pytest.mark.outside
def test_every_patient_of_a_record_from_outside() -> None:
    try:
        found = records(640)
    except DataMissing as missing:
        pytest.skip(str(missing))
    view = view_of(stored(found))
    for patient in (one for one in found if one["resourceType"] == "Patient"):
        assert_is_an_ips(summary(view, f"k3.{patient['id']}", MAKING).body)


@pytest.mark.outside
def test_the_check_sees_what_is_wrong() -> None:
    right = loads(next(one.body for one in RECORD if one.local == "kalium-neu"))
    assert set(faults(peek(dumps(right)))) == set()
    for name in ("effectiveDateTime", "performer", "valueQuantity", "subject"):
        assert set(faults(peek(dumps({key: value for key, value in right.items() if key != name}))))
    assert set(faults({"resourceType": "Condition"})) == {"Condition.code 1..*"}
