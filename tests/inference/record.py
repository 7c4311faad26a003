"""A random record that is small and has everything.

All sections, references in every direction, contained resources, narrative, attachments, labels, older versions,
resources that moved to another section, and deleted ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from aggregator.consent.section_table import SectionTable
from aggregator.vault.envelope import Delete, Operation, Put, Remove
from fhir_profiles import codes
from fhir_profiles.text import Resource, dumps

TABLE = SectionTable.load()
UPDATED = "2026-11-20T03:12:44.000+01:00"

NAMES = tuple(
    f"{kind}/{number}"
    for kind, most in {
        **{"Observation": 4, "Condition": 4, "Encounter": 2, "MedicationRequest": 2, "DocumentReference": 2},
        **{"Binary": 2, "Practitioner": 2, "Organization": 2, "PractitionerRole": 1, "Location": 1, "Medication": 1},
        **{"Procedure": 1, "DiagnosticReport": 1, "CarePlan": 1, "ExplanationOfBenefit": 1, "Communication": 1},
        **{"Immunization": 1, "AllergyIntolerance": 1, "ImagingStudy": 1, "Composition": 1, "Provenance": 1},
        **{"ServiceRequest": 1, "List": 1, "Patient": 1, "Consent": 1, "MolecularSequence": 1},
    }.items()
    for number in range(most)
)
"""What a record may hold, by the names that its source has for it."""

CODES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Observation": (*((codes.LOINC, code) for code in ("718-7", "2339-0", "75325-1", "75622-1")), ("urn:lab", "x")),
    "Condition": tuple((codes.ICD_10_GM, code) for code in ("I10.90", "E11.90", "F32.1", "F10.2", "B20")),
    "MedicationRequest": tuple((codes.ATC, code) for code in ("C09AA02", "N06AB06", "N07BC02")),
}
"""Harmless ones and those by which the section table sees what is sensitive."""

DATES = ("2019", "2024-05", "2026-03-02", "2026-11-20T10:00:00+01:00")
CODED_BY = {"MedicationRequest": "medicationCodeableConcept", "Immunization": "vaccineCode", "Composition": "type"}
DATED_BY: Mapping[str, str] = {
    **{"Observation": "effectiveDateTime", "Condition": "onsetDateTime", "MedicationRequest": "authoredOn"},
    **{"Procedure": "performedDateTime", "DocumentReference": "date", "DiagnosticReport": "effectiveDateTime"},
    **{"Immunization": "occurrenceDateTime", "Composition": "date", "ImagingStudy": "started"},
}
REFERRING: Mapping[str, tuple[str, ...]] = {
    "Observation": ("encounter", "performer[]", "hasMember[]", "derivedFrom[]", "focus[]", "basedOn[]"),
    "Condition": ("encounter", "asserter", "recorder", "evidence[].detail[]"),
    "Encounter": (
        "partOf",
        "serviceProvider",
        "participant[].individual",
        "diagnosis[].condition",
        "location[].location",
    ),
    "MedicationRequest": ("encounter", "requester", "reasonReference[]", "medicationReference"),
    "DocumentReference": ("author[]", "custodian", "context.encounter[]", "context.related[]"),
    "Organization": ("partOf",),
    "PractitionerRole": ("practitioner", "organization", "location[]"),
    "Location": ("managingOrganization",),
    "Procedure": ("encounter", "reasonReference[]", "performer[].actor", "report[]"),
    "DiagnosticReport": ("encounter", "result[]", "performer[]"),
    "CarePlan": ("addresses[]", "activity[].reference", "author"),
    "ExplanationOfBenefit": ("provider", "insurer", "enterer"),
    "Communication": ("about[]", "sender", "recipient[]"),
    "Immunization": ("encounter", "location", "reasonReference[]"),
    "AllergyIntolerance": ("encounter", "asserter"),
    "ImagingStudy": ("encounter", "referrer", "reasonReference[]"),
    "Composition": ("encounter", "author[]", "section[].entry[]"),
    "Provenance": ("target[]", "agent[].who"),
    "ServiceRequest": ("encounter", "requester", "reasonReference[]"),
    "List": ("encounter", "source", "entry[].item"),
    "Patient": ("link[].other", "generalPractitioner[]"),
}
"""Where a type refers to others."""

_SUBJECT = {"ExplanationOfBenefit": "patient", "Immunization": "patient", "AllergyIntolerance": "patient"}
_NO_SUBJECT = frozenset({"Binary", "Practitioner", "Organization", "PractitionerRole", "Location", "Medication"})
_NO_SUBJECT |= {"Patient", "Provenance"}
_REQUIRED: Mapping[str, Resource] = {
    "Observation": {"status": "final"},
    "Encounter": {"status": "finished", "class": {"system": codes.ACT_CODE, "code": "AMB"}},
    "DocumentReference": {"status": "current"},
    "MedicationRequest": {"status": "active", "intent": "order"},
}
_LABELS = (
    *((codes.CONFIDENTIALITY, code) for code in ("N", "R", "V")),
    *((codes.ACT_CODE, code) for code in ("PSY", "HIV", "SUD")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """How a vault names what a source has. local: source's name -> local id; patient: the local id of its Patient."""

    vault: str
    patient: str
    local: Callable[[str], str]

    def whole(self, name: str) -> str:
        """`Type/id` of the source's name."""
        return f"{name.partition('/')[0]}/{self.vault}.{self.local(name)}"

    @property
    def subject(self) -> str:
        """The record's own Patient."""
        return f"Patient/{self.vault}.{self.patient}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A resource and what there was before it, oldest first.

    gone: it was deleted in the end. section: where it lies, if the table does not say:
    a part lies where its whole does.
    """

    name: str
    local: str
    versions: tuple[Resource, ...]
    gone: bool = False
    section: str = ""

    @property
    def newest(self) -> Resource:
        """As it is now, or was at last."""
        return self.versions[-1]

    @property
    def sections(self) -> list[str]:
        """Where each version lies or lay."""
        return [self.section or TABLE.section_of(one).section for one in self.versions]

    def envelopes(self, *, past: bool) -> Iterator[tuple[str, list[Operation]]]:
        """(section, operations) of each envelope that brings it; without its past it was never otherwise."""
        kind, number = self.name.partition("/")[0], len(self.versions)
        before = ""
        for version, (section, body) in enumerate(zip(self.sections, self.versions, strict=True), 1):
            if not past and version < number:
                continue
            if before not in ("", section):
                yield before, [Remove(local=self.local, resource_type=kind)]
            put = Put(
                local=self.local, resource_type=kind, version=version, updated=UPDATED, resource=dumps(body), origin={}
            )
            yield section, [put]
            before = section
        if self.gone and past:
            yield before, [Delete(local=self.local, resource_type=kind, version=number + 1, updated=UPDATED)]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One resource's elements."""

    draw: st.DrawFn
    ids: Ids

    def often(self, most: int = 1) -> bool:
        return self.draw(st.integers(0, most)) > 0

    def one(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def elements(self, name: str) -> Resource:
        kind, number = name.split("/")
        made: Resource = dict(_REQUIRED.get(kind, {})) | {"identifier": [{"system": "urn:source", "value": name}]}
        if kind not in _NO_SUBJECT:
            made[_SUBJECT.get(kind, "subject")] = {"reference": self.ids.subject}
        if kind in CODES and self.often(5):
            system, code = self.one(*CODES[kind])
            made[CODED_BY.get(kind, "code")] = {"coding": [{"system": system, "code": code}], "text": f"word{code}"}
        if kind in DATED_BY and self.often(3):
            made[DATED_BY[kind]] = self.one(*DATES)
        made |= getattr(self, f"_{kind.lower()}", dict)()
        for path in self.draw(
            st.lists(st.sampled_from(REFERRING.get(kind, ("extension[]",))), max_size=3, unique=True)
        ):
            _put(made, path, self._reference())
        return made | self._beside(kind, number)

    def _reference(self) -> Resource:
        return self.one(
            *({"reference": self.ids.whole(name)} for name in NAMES),
            *({"reference": "https://elsewhere.example/fhir/Condition/9"}, {"display": "Dr. Seelenfried"}),
            {"reference": self.ids.whole("Condition/2"), "type": "Condition", "display": "Depression"},
        )

    def _beside(self, kind: str, number: str) -> Resource:
        """What any resource may have: labels, narrative, contained ones, an extension that names another."""
        made: Resource = {}
        if not self.often(4):
            system, code = self.one(*_LABELS)
            made["meta"] = {"security": [{"system": system, "code": code}]}
        if not self.often(2):
            div = f'<div xmlns="http://www.w3.org/1999/xhtml">told{kind}{number} depressiv</div>'
            made["text"] = {"status": "generated", "div": div}
        if not self.often(4):
            system, code = self.one(*CODES["Condition"])
            inside = {"resourceType": "Condition", "id": "c", "code": {"coding": [{"system": system, "code": code}]}}
            made["contained"] = [inside | {"asserter": self._reference()}]
        if not self.often(4):
            made["extension"] = [{"url": "urn:about", "valueUri": self.ids.whole(self.one(*NAMES))}]
        return made

    def _observation(self) -> Resource:
        value = {"value": self.one(5, 7.25, 300), "unit": "mg/dL", "system": codes.UCUM, "code": "mg/dL"}
        category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}
        return {"category": [{"coding": [category]}], "valueQuantity": value, "note": [{"text": "beobachtet"}]}

    def _documentreference(self) -> Resource:
        binary = self.ids.whole(self.one("Binary/0", "Binary/1"))
        return {"content": [{"attachment": {"contentType": "text/plain", "url": binary, "title": "Brief"}}]}

    def _practitioner(self) -> Resource:
        return {"name": [{"family": self.one("Sommer", "Seelenfried")}]}

    def _organization(self) -> Resource:
        return {"name": self.one("Praxis am Markt", "Fachklinik für Psychiatrie")}

    def _patient(self) -> Resource:
        return {"name": [{"family": self.one("Muster", "Beispiel")}], "birthDate": self.one("1957-08-13", "1990")}

    def _binary(self) -> Resource:
        whole = self.ids.whole(self.one("DocumentReference/0", "DocumentReference/1"))
        return {"contentType": "text/plain", "data": "YnJpZWY=", "securityContext": {"reference": whole}}


def _put(made: Resource, path: str, value: Resource) -> None:
    """At a path like `evidence[].detail[]`, beside what is there."""
    head, _, rest = path.partition(".")
    name, many = head.removesuffix("[]"), head.endswith("[]")
    if name == "extension":
        value = {"url": "urn:other", "valueReference": value}
    inner: Any = value
    if rest:
        inner = made.get(name, {}) if not many else {}
        _put(inner, rest, value)
    made[name] = [*made.get(name, []), inner] if many else inner


def _whole(ids: Ids, name: str, version: int, elements: Resource) -> Resource:
    meta = {"versionId": str(version), "lastUpdated": UPDATED} | elements.pop("meta", {})
    kind = name.partition("/")[0]
    return {"resourceType": kind, "id": ids.whole(name).partition("/")[2], "meta": meta} | elements


@st.composite
def things(draw: st.DrawFn, ids: Ids) -> list[Thing]:
    """Everything of a record but its Patient."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=4, max_size=14, unique=True))
    names += draw(st.sampled_from(([], [one for one in ("DocumentReference/0", "Binary/0") if one not in names])))
    drawing, made = _Drawing(draw, ids), list[Thing]()
    for name in names:
        number = draw(st.sampled_from((1, 1, 1, 2, 3)))
        versions = tuple(_whole(ids, name, version, drawing.elements(name)) for version in range(1, number + 1))
        gone = draw(st.integers(0, 3)) == 3
        made.append(Thing(name=name, local=ids.local(name), versions=versions, gone=gone))
    return [_placed(one, made, ids) for one in made]


def _placed(thing: Thing, found: list[Thing], ids: Ids) -> Thing:
    """A Binary lies where its whole does."""
    context = thing.newest.get("securityContext")
    whole = next((one for one in found if context and ids.whole(one.name) == context["reference"]), None)
    return replace(thing, section=whole.sections[-1]) if whole else thing
