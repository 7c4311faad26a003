"""Whose a resource is, by the elements that put it into a Patient compartment.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html, less those that name a bystander: a child's Coverage has a
parent as policy holder and subscriber, an Encounter has companions, a Communication has readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from aggregator.consent.mandate import Expected
from connectors.contract import Identifier, Reason, Subject
from fhir_profiles.text import MAX_DEPTH, Resource, depth

LITERAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
"""A reference to something of the same source: its type, its id, and perhaps a version."""
_ABSOLUTE = re.compile(rf"[a-z][a-z0-9+.\-]*:.*/{LITERAL.pattern}")

USUAL = ("subject", "patient")
ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "Appointment": ("participant.actor",),
    "AppointmentResponse": ("actor",),
    "AuditEvent": ("entity.what",),
    "Coverage": ("beneficiary",),
    "DocumentReference": ("subject", "context.sourcePatientInfo"),
    "EnrollmentRequest": ("candidate",),
    "Group": ("member.entity",),
    "Person": ("link.target",),
    "Provenance": ("target",),
    "ResearchSubject": ("individual",),
    "Schedule": ("actor",),
    "Task": ("for",),
}
"""Type -> the elements that say whose it is, where those are not the usual ones."""

_PEOPLE = frozenset({"Patient", "Group"})


def named(resource: Resource) -> set[str]:
    """The Patients ("Patient/x") that a resource names by their ids as the ones it is about."""
    targets = [stated.get("reference") for stated in _stated(resource)]
    found = [LITERAL.fullmatch(one) for one in targets if isinstance(one, str)]
    return {f"Patient/{one[2]}" for one in found if one and one[1] == "Patient"}


def is_unnamed(resource: Resource) -> bool:
    """Is anything said of whom it is about, here or in what it contains, that is no reference to a resource's id?"""
    inside = (resource, *objects(resource.get("contained")))
    targets = [stated.get("reference") for one in inside for stated in _stated(one)]
    return not all(isinstance(one, str) and LITERAL.fullmatch(one) for one in targets)


@dataclass(frozen=True, slots=True)
class Whose:
    """One person, as an account's resources may name her.

    patients: the source's Patients that are her ("Patient/x"). document: what lies in the Bundle around a resource, by
    full URL and by "Type/id".
    """

    expected: Expected
    patients: Set[str]
    document: Mapping[str, Resource] = field(default_factory=dict)

    def refuse(self, resource: Resource) -> Reason | None:
        """OTHER_PERSON where it names somebody else, NO_SUBJECT where it names somebody who cannot be told.

        What names nobody, or an Organization or Device, or a person by a display alone, belongs to the account.
        """
        if resource.get("resourceType") == "Bundle":
            return self._refuse_bundle(resource)
        contained = objects(resource.get("contained"))
        inside = {**self.document, **{f"#{one.get('id')}": one for one in contained}}
        return _worst(
            self._refuse_reference(stated, inside) for one in (resource, *contained) for stated in _stated(one)
        )

    def _refuse_bundle(self, bundle: Resource) -> Reason | None:
        """Another's where it holds another's Patient and not hers, or something of another's beside hers."""
        if depth(bundle) > MAX_DEPTH:
            return Reason.NO_SUBJECT  # Bundles in Bundles in Bundles: no record is built so
        entries = objects(bundle.get("entry"))
        held = [one for entry in entries for one in objects(entry.get("resource"))]
        same = {self._is_her(one) for one in held if one.get("resourceType") == "Patient"}
        if False in same and True not in same:
            return Reason.OTHER_PERSON
        document = {f"{one.get('resourceType')}/{one.get('id')}": one for one in held}
        for entry in entries:
            document |= {str(entry.get("fullUrl")): one for one in objects(entry.get("resource"))}
        return _worst(Whose(self.expected, self.patients, document).refuse(one) for one in held)

    def _refuse_reference(self, stated: Resource, inside: Mapping[str, Resource]) -> Reason | None:
        target = stated.get("reference")
        if isinstance(target, str):
            found = inside.get(target.partition("/_history/")[0])
            if found is not None:
                return self._refuse_resource(found)
            if literal := LITERAL.fullmatch(target):
                return self._refuse_literal(literal[1], literal[2])
        same = self._is_her({"identifier": stated.get("identifier")})
        if same is not None:
            return None if same else Reason.OTHER_PERSON
        return _refuse_elsewhere(target, stated.get("type")) if isinstance(target, str) else None

    def _refuse_resource(self, found: Resource) -> Reason | None:
        if found.get("resourceType") == "Patient":
            return Reason.OTHER_PERSON if self._is_her(found) is False else None
        return Reason.NO_SUBJECT if found.get("resourceType") == "Group" else None

    def _refuse_literal(self, kind: str, identity: str) -> Reason | None:
        if kind == "Patient":
            return None if f"{kind}/{identity}" in self.patients else Reason.OTHER_PERSON
        return Reason.NO_SUBJECT if kind == "Group" else None

    def _is_her(self, patient: Resource) -> bool | None:
        return self.expected.compare(subject_of(patient))


def _refuse_elsewhere(target: str, kind: Any) -> Reason | None:
    """Of a reference that leads out of the source: that a Patient elsewhere is the same person cannot be known."""
    if target.startswith("#"):
        return None  # to nothing: that is for the check to say
    absolute = _ABSOLUTE.fullmatch(target)
    named = absolute[1] if absolute else kind
    if isinstance(named, str) and named not in _PEOPLE:
        return None
    return Reason.OTHER_PERSON if named == "Patient" and absolute else Reason.NO_SUBJECT


def _worst(found: Iterator[Reason | None]) -> Reason | None:
    reasons = set(found)
    return next((reason for reason in (Reason.OTHER_PERSON, Reason.NO_SUBJECT) if reason in reasons), None)


def _stated(resource: Resource) -> Iterator[Resource]:
    for path in ELEMENTS.get(str(resource.get("resourceType")), USUAL):
        yield from _at(resource, path.split("."))


def _at(value: Any, path: list[str]) -> Iterator[Resource]:
    for one in objects(value):
        if path:
            yield from _at(one.get(path[0]), path[1:])
        else:
            yield one


def listed(value: Any) -> list[Any]:
    """The value's elements, or the value as the only one: it may not have been checked yet."""
    return value if isinstance(value, list) else [value]


def objects(value: Any) -> list[Resource]:
    """Those elements that are objects."""
    return [one for one in listed(value) if isinstance(one, dict)]


def subject_of(patient: Resource) -> Subject:
    """Who a Patient resource says to be, as far as it can be read: it may not have been checked yet."""
    names = objects(patient.get("name"))
    name = next((one for one in names if one.get("use") == "official"), names[0] if names else {})
    return Subject(
        identifiers=tuple(
            Identifier(one["system"], one["value"])
            for one in objects(patient.get("identifier"))
            if isinstance(one.get("system"), str) and isinstance(one.get("value"), str)
        ),
        family=str(name.get("family", "")),
        given=" ".join(map(str, listed(name.get("given", [])))),
        birth_date=str(patient.get("birthDate", "")),
    )
