"""The FHIR shapes that the demo's clinic and insurer share (https://hl7.org/fhir/R4/datatypes.html)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from aggregator.demo.story_people import Person, term
from fhir_profiles.text import Resource, loads

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
ICD = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
OPS = "http://fhir.de/CodeSystem/bfarm/ops"
ATC = "http://fhir.de/CodeSystem/bfarm/atc"
PZN = "http://fhir.de/CodeSystem/ifa/pzn"
LOCAL = "https://klinik-nord.example/fhir/CodeSystem/befund"
IK = "http://fhir.de/sid/arge-ik/iknr"
LANR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR"
BSNR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR"
KVNR = "http://fhir.de/sid/gkv/kvid-10"
HL7 = "http://terminology.hl7.org/CodeSystem/"


def concept(system: str, code: str, display: str, version: str = "") -> Resource:
    """A CodeableConcept with one Coding; its display is the text as well."""
    dated = {"version": version} if version else {}
    return {"coding": [{"system": system, **dated, "code": code, "display": display}], "text": display}


def status(system: str, code: str) -> Resource:
    """A CodeableConcept that holds one code of a code system of HL7."""
    return {"coding": [{"system": HL7 + system, "code": code}]}


def diagnosis(code: str, year: int) -> Resource:
    """An ICD-10-GM code in the edition of that year."""
    return concept(ICD, code, term("icd", code), str(year))


def named(row: Mapping[str, Any]) -> Resource:
    """The CodeableConcept of a word of terms.toml: LOINC where the code is sure, the clinic's own otherwise."""
    system, code = (LOINC, row["loinc"]) if "loinc" in row else (LOCAL, row["local"])
    return concept(system, code, row["display"])


def quantity(value: str, unit: str) -> Resource:
    """A Quantity in UCUM, its digits as written."""
    return {"value": loads(value), "unit": unit, "system": UCUM, "code": unit}


def ref(kind: str, name: str) -> Resource:
    """A relative reference."""
    return {"reference": f"{kind}/{name}"}


def instant(at: datetime) -> str:
    """With seconds and the offset of that day's wall clock."""
    return at.isoformat(timespec="seconds")


def labelled(codes: str) -> Resource:
    """`meta` with security labels: `R PSY` is restricted, and about psychiatry. Empty for no codes."""
    labels = [{"system": HL7 + _label_system(code), "code": code} for code in codes.split()]
    return {"meta": {"security": labels}} if labels else {}


def patient(person: Person, name: str) -> Resource:
    """The person as the clinic or the insurer knows them, under that source's own id."""
    kind = {"coding": [{"system": "http://fhir.de/CodeSystem/identifier-type-de-basis", "code": "KVZ10"}]}
    return {
        "resourceType": "Patient",
        "id": name,
        "identifier": [{"type": kind, "system": KVNR, "value": person.kvnr}],
        "active": True,
        "name": [{"use": "official", "family": person.family, "given": [person.given]}],
        "telecom": [{"system": "phone", "value": person.phone, "use": "home"}],
        "gender": person.gender,
        "birthDate": person.birth_date.isoformat(),
        "address": [address(person.street, person.postal_code, person.city)],
    }


def address(street: str, postal_code: str, city: str) -> Resource:
    """A German Address."""
    return {"type": "both", "line": [street], "city": city, "postalCode": postal_code, "country": "DE"}


def organization(name: str, row: Mapping[str, Any]) -> Resource:
    """A provider or payer known by its IK."""
    return {
        "resourceType": "Organization",
        "id": name,
        "identifier": [{"system": IK, "value": row["ik"]}],
        "active": True,
        "name": row["name"],
        "telecom": [{"system": "phone", "value": row["phone"]}],
        "address": [address(row["street"], row["postal_code"], row["city"])],
    }


def transaction(resources: Iterable[Resource]) -> Resource:
    """A transaction Bundle that puts each resource under its own id (https://hl7.org/fhir/R4/http.html#transaction)."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": [_put(resource) for resource in resources]}


def _put(resource: Resource) -> Resource:
    return {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}


def _label_system(code: str) -> str:
    return "v3-Confidentiality" if len(code) == 1 else "v3-ActCode"
