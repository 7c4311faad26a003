"""A whole medication plan -> Patient, author, MedicationStatements, Observations and the List that orders them.

Ids must mean the same in the next plan, and `U` is new at every print. So a medication is known by its PZN, else by
everything that names it (name, form, ingredients), else by its text, each with its place among equals; its section is
how it is taken, not what it is. Equal means surely the same, so a changed dose is an update of the same statement;
anything else is another statement, and the old one is gone.

Allergies stay the words that the plan has (an Observation): its one line may name several, or say that there are none,
and an AllergyIntolerance would claim one. Free text (X) belongs to no medication: it stands as notes in the List.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from connectors import german_person
from connectors.contract import Found, Origin, Reason, Subject
from connectors.local_id import local_id, type_and_id
from connectors.practice_medication_plan_atc import AtcMap
from connectors.practice_medication_plan_dosage import heading, pzn, section_concept, statement
from connectors.practice_medication_plan_page import Attributes, Entry, Plan, lines
from connectors.refused import Refused
from fhir_profiles.build import Part, codeable, coding, identifier, present, quantity, reference
from fhir_profiles.codes import IKNR, LANR, LOINC, OBSERVATION_CATEGORY, URI
from fhir_profiles.text import Resource

_LIST_CODE = codeable(coding(LOINC, "10160-0", "History of Medication use Narrative"), text="Medikationsplan")
# Attribute -> LOINC code, LOINC display, category, unit, UCUM code
_MEASURED = {
    "w": ("29463-7", "Body weight", "vital-signs", "kg", "kg"),
    "h": ("8302-2", "Body height", "vital-signs", "cm", "cm"),
    "c": ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "laboratory", "mg/dl", "mg/dL"),
}
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)(?:[.,][0-9]+)?")
_INSTANCE = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")
_YES = "1"


def plan_items(plan: Plan, account: str, fetched_at: datetime, atc: AtcMap) -> list[Found]:
    """Everything the plan says. account: the patient's number at the practice. Raises Refused: NO_SUBJECT."""
    patient = plan.patient
    subject = german_person.subject(
        insurance_number=patient.get("egk", ""),
        name=_patient_name(patient),
        birth_date=german_person.day(patient.get("b", "")),
    )
    if subject is None:
        raise Refused(Reason.NO_SUBJECT, "the plan names neither an insurance number nor a name with a birth date")
    made = list(_resources(plan, subject, account, atc))
    return [
        Found(resource, _origin(plan, resource, fetched_at), subject=subject, warnings=warnings)
        for resource, warnings in made
    ]


def _origin(plan: Plan, resource: Resource, fetched_at: datetime) -> Origin:
    locator = ", ".join(plan.names)
    return Origin.of(plan.raw, locator=locator, source_id=type_and_id(resource), fetched_at=fetched_at)


def _resources(plan: Plan, subject: Subject, account: str, atc: AtcMap) -> Iterator[tuple[Resource, tuple[str, ...]]]:
    patient, author = _patient(plan.patient, subject, account), _author(plan.author)
    yield patient, ()
    if author is not None:
        yield author, ()
    shared = _Shared(plan, patient, author)
    statements = [(entry, *shared.statement(entry, atc)) for entry in plan.entries if entry.kind != "X"]
    for _, resource, warnings in statements:
        yield resource, warnings
    yield from shared.observations()
    yield shared.list([(entry, resource) for entry, resource, _ in statements]), ()


def _patient(told: Attributes, subject: Subject, account: str) -> Resource:
    return present(
        resourceType="Patient",
        id=account,
        identifier=[identifier(found.system, found.value) for found in subject.identifiers],
        name=_patient_name(told).human_name(),
        **german_person.gender(told.get("s", "")),
        birthDate=subject.birth_date,
    )


def _patient_name(told: Attributes) -> german_person.Name:
    return german_person.Name(
        addition=told.get("z", ""),
        prefix=told.get("v", ""),
        name=told.get("f", ""),
        given=(told.get("g", ""),),
        titles=(told.get("t", ""),),
    )


def _author(told: Attributes) -> Resource | None:
    """Who printed the plan: a Practitioner where a physician number says so, else an Organization, if it is named."""
    name = told.get("n", "")
    place = present(line=[told["s"]] if "s" in told else [], postalCode=told.get("z"), city=told.get("c"))
    contact = [{"system": kind, "value": told[key]} for key, kind in (("p", "phone"), ("e", "email")) if key in told]
    reachable = present(telecom=contact, address=[place] if place else [])
    if "lanr" in told:
        numbers = [identifier(LANR, told["lanr"])]
        person = present(resourceType="Practitioner", id=local_id("lanr", told["lanr"]), identifier=numbers)
        return person | present(name=[{"text": name}] if name else []) | reachable
    # There is no published system for the pharmacies' number.
    pharmacy = [identifier("", told["idf"], kind=codeable(text="Apotheken-IDF"))] if "idf" in told else []
    hospital = [identifier(IKNR, told["kik"])] if "kik" in told else []
    key = told.get("kik") or told.get("idf") or name
    if not key:
        return None
    organization = present(resourceType="Organization", id=local_id("author", key), identifier=[*pharmacy, *hospital])
    return organization | present(name=name) | reachable


class _Shared:
    """What the resources of one plan have in common."""

    def __init__(self, plan: Plan, patient: Resource, author: Resource | None) -> None:
        self._plan = plan
        self._subject = reference(type_and_id(patient))
        self._author = reference(type_and_id(author)) if author else {}
        # List.source allows no Organization.
        self._list_source = self._author if author and author["resourceType"] == "Practitioner" else {}
        self._seen: Counter[tuple[str, ...]] = Counter()

    def statement(self, entry: Entry, atc: AtcMap) -> tuple[Resource, tuple[str, ...]]:
        """The MedicationStatement of a medication or recipe, and its warnings."""
        key = _identity(entry)
        local = local_id("statement", *key, self._seen[key])
        self._seen[key] += 1
        own, warnings = statement(entry, atc)
        common = present(
            subject=self._subject,
            effectiveDateTime=self._plan.moment,
            dateAsserted=self._plan.moment,
            informationSource=self._author,
        )
        return {"resourceType": "MedicationStatement", "id": local} | own | common, warnings

    def observations(self) -> Iterator[tuple[Resource, tuple[str, ...]]]:
        """What the plan says of the patient beside the medicines: O."""
        told = self._plan.observed
        for key, (code, display, category, unit, ucum) in _MEASURED.items():
            if key in told:
                concept = codeable(coding(LOINC, code, display))
                value, warnings = _measured(told[key], unit, ucum)
                yield self._observation(key, concept, category, value), warnings
        if told.get("p") == _YES:
            pregnant = {"valueCodeableConcept": codeable(coding(LOINC, "LA15173-0", "Pregnant"))}
            concept = codeable(coding(LOINC, "82810-3", "Pregnancy status"))
            yield self._observation("p", concept, "social-history", pregnant), ()
        if told.get("b") == _YES:
            concept = codeable(coding(LOINC, "63895-7", "Breastfeeding status"))
            yield self._observation("b", concept, "social-history", {"valueBoolean": True}), ()
        if "ai" in told:
            concept = codeable(coding(LOINC, "48765-2"), text="Allergien und Unverträglichkeiten")
            yield self._observation("ai", concept, "", {"valueString": lines(told["ai"])}), ()
        if "x" in told:
            concept = codeable(text="Weitere Angaben im Medikationsplan")
            yield self._observation("x", concept, "", {"valueString": lines(told["x"])}), ()

    def _observation(self, key: str, concept: Part, category: str, value: Part) -> Resource:
        return present(
            resourceType="Observation",
            id=local_id("observation", key),
            status="final",
            category=[codeable(coding(OBSERVATION_CATEGORY, category))] if category else [],
            code=concept,
            subject=self._subject,
            effectiveDateTime=self._plan.moment,
            **value,
        )

    def list(self, statements: list[tuple[Entry, Resource]]) -> Resource:
        """The plan itself: its statements in order, each flagged with its section's heading."""
        notes = [_free_text(entry) for entry in self._plan.entries if entry.kind == "X"]
        return present(
            resourceType="List",
            id=local_id("plan"),
            identifier=_instance(self._plan.plan_id),
            status="current",
            mode="snapshot",
            title="Medikationsplan",
            code=_LIST_CODE,
            subject=self._subject,
            date=self._plan.moment,
            source=self._list_source,
            note=[{"text": told} for told in notes if told],
            entry=[
                present(flag=section_concept(entry.section), item=reference(type_and_id(resource)))
                for entry, resource in statements
            ],
        )


def _identity(entry: Entry) -> tuple[str, ...]:
    if entry.kind == "R":
        return ("recipe", entry.own.get("t", ""))
    if pzn(entry):
        return ("pzn", pzn(entry))
    named = [entry.own.get(key, "") for key in ("a", "f", "fd")]
    for ingredient in entry.ingredients:
        named += [ingredient.get("w", ""), ingredient.get("s", "")]
    return ("name", *named)


def _measured(told: str, unit: str, ucum: str) -> tuple[Part, tuple[str, ...]]:
    if not _DECIMAL.fullmatch(told):
        return {"valueString": f"{told} {unit}"}, ("a measured value is no number: it is kept as text",)
    return {"valueQuantity": quantity(told.replace(",", "."), unit, code=ucum)}, ()


def _free_text(entry: Entry) -> str:
    title = heading(entry.section)
    return ": ".join(part for part in (title, lines(entry.own.get("t"))) if part)


def _instance(plan_id: str) -> list[Part]:
    """`U` as a UUID where it has a UUID's form."""
    found = _INSTANCE.fullmatch(plan_id.lower())
    return [identifier(URI, "urn:uuid:" + "-".join(found.groups())) if found else identifier("", plan_id)]
