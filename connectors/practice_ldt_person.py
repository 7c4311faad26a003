"""Who an LDT report speaks of: the patient (Obj_0045) and the laboratory (Obj_0036).

The patient of a report becomes a Patient of this source, so that `subject` has a target: one per person, found again
by the insurance number, else by name and birth date. https://hl7.org/fhir/R4/patient.html
"""

from __future__ import annotations

from connectors import german_person
from connectors.contract import Subject
from connectors.german_person import Name
from connectors.local_id import local_id
from connectors.xdt import Group
from fhir_profiles.build import Part, codeable, coding, identifier, present
from fhir_profiles.codes import BSNR, IDENTIFIER_TYPE
from fhir_profiles.text import Resource


def subject_of(patient: Group) -> Subject | None:
    """Whose the report is; None unless it names an insurance number, or a whole name with a whole birth date."""
    person = patient.child("8147") or patient
    return german_person.subject(
        insurance_number=patient.value("3119"),
        name=_name(person),
        birth_date=german_person.day(person.value("3103")),
    )


def patient_resource(patient: Group, subject: Subject) -> tuple[Resource, tuple[str, ...]]:
    """The Patient, and warnings."""
    person = patient.child("8147") or patient
    resource = present(
        resourceType="Patient",
        id=_patient_id(subject),
        identifier=_identifiers(patient, subject),
        name=_name(person).human_name(),
        **german_person.gender(person.value("3110")),
        birthDate=subject.birth_date,
        address=[made for group in person.children("8228") if (made := _address(group))],
    )
    warned = patient.value("3119") and not subject.identifiers
    warnings = ("the insurance number (3119) is none: it is kept without its system",) if warned else ()
    return resource, warnings


def _patient_id(subject: Subject) -> str:
    if subject.identifiers:
        return local_id("patient", subject.identifiers[0].value)
    return local_id("patient", subject.family, subject.given, subject.birth_date)


def _identifiers(patient: Group, subject: Subject) -> list[Part]:
    known = [identifier(found.system, found.value) for found in subject.identifiers]
    unknown = [] if known else [identifier("", told) for told in patient.values("3119") if told]
    in_practice = codeable(coding(IDENTIFIER_TYPE, "MR"))
    return [*known, *unknown, *(identifier("", told, kind=in_practice) for told in patient.values("3000") if told)]


def _name(person: Group) -> Name:
    return Name(
        addition=person.value("3100"),
        prefix=person.value("3120"),
        name=person.value("3101"),
        given=tuple(person.values("3102")),
        titles=tuple(person.values("3104")),
    )


def _address(address: Group) -> Part:
    street = " ".join(part for part in (address.value("3107"), address.value("3109")) if part)
    return present(
        line=[line for line in (street, address.value("3115")) if line],
        city=address.value("3113"),
        postalCode=address.value("3112"),
        country=address.value("3114"),
    )


def laboratory_resource(header: Group) -> Resource | None:
    """The laboratory as an Organization, from the file's header; None where the header does not name one."""
    site = next(header.within("Obj_0019"), None)
    number = site.value("0201") if site else ""
    name = _laboratory_name(header, site)
    if not (number or name):
        return None
    return present(
        resourceType="Organization",
        id=local_id("laboratory", number or name),
        identifier=[identifier(BSNR, number)] if number else [],
        name=name,
        address=[made for group in (site or header).within("Obj_0007") if (made := _address(group))],
    )


def _laboratory_name(header: Group, site: Group | None) -> str:
    told = [site.value("0203")] if site else []
    told += [group.value("1250") for group in header.within("Obj_0043")]
    return next((name for name in told if name), "")
