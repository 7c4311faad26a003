"""The FHIR shapes that the demo's clinic and insurer share (https://hl7.org/fhir/R4/datatypes.html)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from aggregator.demo.story_people import Person, facts, term
from fhir_profiles.build import Part, codeable, coding, identifier, quantity, reference
from fhir_profiles.codes import ACT_CODE, CONFIDENTIALITY, ICD_10_GM, IDENTIFIER_TYPE_DE, IKNR, KVNR, LOINC
from fhir_profiles.text import Resource

HL7 = "http://terminology.hl7.org/CodeSystem/"
LOCAL = "https://klinik-nord.example/fhir/CodeSystem/befund"
_SYSTEMS = MappingProxyType({"loinc": LOINC, "snomed": "http://snomed.info/sct", "local": LOCAL})


def concept(system: str, code: str, display: str, version: str = "") -> Part:
    """A CodeableConcept with one Coding; its display is the text as well."""
    return codeable(coding(system, code, display, version=version), text=display)


def status(system: str, code: str) -> Part:
    """A CodeableConcept that holds one code of a code system of HL7."""
    return codeable(coding(HL7 + system, code))


def diagnosis(code: str, year: int) -> Part:
    """An ICD-10-GM code in the edition of that year."""
    return concept(ICD_10_GM, code, term("icd", code), str(year))


def reason(person: Person, condition: str, year: int) -> Part:
    """A condition's code in the edition of that year, so that what was done for it shows so by itself."""
    (icd,) = [row["icd"] for row in facts(person.id, "clinic")["condition"] if row["id"] == condition]
    return diagnosis(icd, year)


def named(row: Mapping[str, Any]) -> Part:
    """The CodeableConcept of a word of terms.toml: a code that is sure, or the clinic's own."""
    system, code = next((system, row[key]) for key, system in _SYSTEMS.items() if key in row)
    return concept(system, code, row["display"])


def ucum(value: str, unit: str) -> Part:
    """A Quantity in UCUM, its digits as written."""
    return quantity(value, unit, code=unit)


def ref(kind: str, name: str) -> Part:
    """A relative reference."""
    return reference(f"{kind}/{name}")


def stamp(at: datetime) -> str:
    """A dateTime or instant with the offset that the wall clock had that day."""
    return at.isoformat(timespec="seconds")


def labelled(codes: str) -> Part:
    """`meta` with security labels: `R PSY` is restricted, and about psychiatry. Empty for no codes."""
    labels = [coding(CONFIDENTIALITY if len(code) == 1 else ACT_CODE, code) for code in codes.split()]
    return {"meta": {"security": labels}} if labels else {}


def patient(person: Person, name: str) -> Resource:
    """The person as the clinic or the insurer knows them, under that source's own id."""
    kind = codeable(coding(IDENTIFIER_TYPE_DE, "KVZ10"))
    return {
        "resourceType": "Patient",
        "id": name,
        "identifier": [identifier(KVNR, person.kvnr, kind=kind)],
        "active": True,
        "name": [{"use": "official", "family": person.family, "given": [person.given]}],
        "telecom": [{"system": "phone", "value": person.phone, "use": "home"}],
        "gender": person.gender,
        "birthDate": person.birth_date.isoformat(),
        "address": [address(person.street, person.postal_code, person.city)],
    }


def address(street: str, postal_code: str, city: str) -> Part:
    """A German Address."""
    return {"type": "both", "line": [street], "city": city, "postalCode": postal_code, "country": "DE"}


def organization(name: str, row: Mapping[str, Any]) -> Resource:
    """A provider or payer known by its IK."""
    return {
        "resourceType": "Organization",
        "id": name,
        "identifier": [identifier(IKNR, row["ik"])],
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
