"""The facts of one stay at the clinic as FHIR resources: a table from the word in a line to the resource it makes.

A line in `clinic.toml` reads `when | kind | ...`:

    obs      | what | value                             Observation (kind of value: terms.toml)
    report   | what | results, by comma | conclusion    DiagnosticReport
    letter   | what | text                              DocumentReference, text/plain
    drug     | which | 1-0-1-0 | condition | status | note   MedicationRequest
    proc     | OPS code | note                          Procedure
    referral | what | condition | note                  ServiceRequest
    message  | text                                     Communication to the patient
    next     | text                                     Appointment at that time

Resource types: https://hl7.org/fhir/R4/resourcelist.html
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from aggregator.demo.story_fhir import LOCAL, concept, labelled, named, reason, ref, stamp
from aggregator.demo.story_people import Person, moment, term
from aggregator.demo.story_values import measured
from fhir_profiles.build import Part, codeable, coding, quantity
from fhir_profiles.codes import ATC, DIAGNOSTIC_SERVICE, OBSERVATION_CATEGORY, OPS, PZN
from fhir_profiles.text import Resource

_PROSE = frozenset({"Communication", "DiagnosticReport", "DocumentReference"})
_WHEN = ("MORN", "NOON", "EVE", "NIGHT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line: when, its kind, and the fields behind."""

    when: datetime
    kind: str
    fields: tuple[str, ...]

    def field(self, position: int) -> str:
        """The field at that position, empty where the line ends before."""
        return self.fields[position] if position < len(self.fields) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """An encounter and what all its facts share.

    security: label codes, see story_fhir.labelled. prose: more of them for what is written in words, for no code tells.
    """

    person: Person
    encounter: str
    doctor: str
    department: str
    security: str
    prose: str
    facts: tuple[Fact, ...]

    def name(self, what: str, when: datetime) -> str:
        """The fixed id of something in this stay; one thing of a name at one minute."""
        return f"{self.person.id}-{what}-{when:%Y%m%d%H%M}"

    def latest(self, what: str, until: datetime) -> Part:
        """A reference to the last observation of that name by then. Raises ValueError where there is none."""
        times = [fact.when for fact in self.facts if fact.kind == "obs" and fact.fields[0] == what]
        return ref("Observation", self.name(what, max(time for time in times if time <= until)))


def parse(line: str, start: datetime) -> Fact:
    """A line of a stay that began at `start`."""
    when, kind, *fields = (field.strip() for field in line.split("|"))
    return Fact(when=moment(when, start), kind=kind, fields=tuple(fields))


def resource(stay: Stay, fact: Fact) -> Resource:
    """What a fact of a stay is in FHIR. Raises KeyError for a kind that is not in the table."""
    return _KINDS[fact.kind](stay, fact)


def _order(drug: str) -> Part:
    """A medicine as a CodeableConcept: ATC and PZN."""
    row = term("drug", drug)
    substance, package = coding(ATC, row["atc"], row["substance"]), coding(PZN, row["pzn"], row["name"])
    return codeable(substance, package, text=row["name"])


def _head(stay: Stay, fact: Fact, kind: str, what: str) -> Part:
    prose = stay.prose if kind in _PROSE else ""
    return {"resourceType": kind, "id": stay.name(what, fact.when), **labelled(f"{stay.security} {prose}")}


def _about(stay: Stay) -> Part:
    return {"subject": ref("Patient", stay.person.clinic_id), "encounter": ref("Encounter", stay.encounter)}


def _observation(stay: Stay, fact: Fact) -> Resource:
    row = term("observation", fact.fields[0])
    return {
        **_head(stay, fact, "Observation", fact.fields[0]),
        "status": "final",
        "category": [codeable(coding(OBSERVATION_CATEGORY, row["category"]))],
        "code": named(row),
        **_about(stay),
        "effectiveDateTime": stamp(fact.when),
        "performer": [ref("Practitioner", stay.doctor)],
        **measured(row, fact.field(1)),
    }


def _report(stay: Stay, fact: Fact) -> Resource:
    row = term("report", fact.fields[0])
    results = [stay.latest(what.strip(), fact.when) for what in fact.field(1).split(",") if what.strip()]
    return {
        **_head(stay, fact, "DiagnosticReport", fact.fields[0]),
        "status": "final",
        "category": [codeable(coding(DIAGNOSTIC_SERVICE, row["category"]))],
        "code": named(row),
        **_about(stay),
        "effectiveDateTime": stamp(fact.when),
        "issued": stamp(fact.when + timedelta(minutes=20)),
        "performer": [ref("Practitioner", stay.doctor)],
        **({"result": results} if results else {}),
        "conclusion": fact.field(2),
    }


def _letter(stay: Stay, fact: Fact) -> Resource:
    row = term("letter", fact.fields[0])
    attachment = {
        "contentType": "text/plain; charset=utf-8",
        "language": "de-DE",
        "data": base64.b64encode(_page(stay, row["display"], fact).encode()).decode("ascii"),
        "title": row["display"],
        "creation": stamp(fact.when),
    }
    return {
        **_head(stay, fact, "DocumentReference", fact.fields[0]),
        "status": "current",
        "type": named(row),
        "subject": _about(stay)["subject"],
        "date": stamp(fact.when),
        "author": [ref("Practitioner", stay.doctor)],
        "content": [{"attachment": attachment}],
        "context": {"encounter": [_about(stay)["encounter"]]},
    }


def _page(stay: Stay, title: str, fact: Fact) -> str:
    person = stay.person
    born = f"geb. {person.birth_date:%d.%m.%Y}"
    return (
        f"Klinik Nord, {stay.department}\n{title} vom {fact.when:%d.%m.%Y}\n{person.name}, {born}\n\n{fact.field(1)}\n"
    )


def _drug(stay: Stay, fact: Fact) -> Resource:
    drug, schedule, condition, state = (fact.field(position) for position in range(4))
    note = fact.field(4)
    return {
        **_head(stay, fact, "MedicationRequest", drug),
        "status": state,
        "intent": "order",
        "medicationCodeableConcept": _order(drug),
        **_about(stay),
        "authoredOn": stamp(fact.when),
        "requester": ref("PractitionerRole", f"rolle-{stay.doctor}"),
        "reasonReference": [ref("Condition", f"{stay.person.id}-{condition}")],
        **({"note": [{"text": note}]} if note else {}),
        "dosageInstruction": _dosage(schedule, term("drug", drug).get("unit", "Stück")),
    }


def _dosage(schedule: str, unit: str) -> list[Part]:
    """`1-0-1-0` (morning, noon, evening, night) as one Dosage a time of day; any other text as it stands."""
    parts = schedule.split("-")
    if len(parts) != len(_WHEN):
        return [{"text": schedule}]
    taken = [(when, amount) for when, amount in zip(_WHEN, parts, strict=True) if amount != "0"]
    return [_dose(when, amount, unit) for when, amount in taken]


def _dose(when: str, amount: str, unit: str) -> Part:
    repeat = {"frequency": 1, "period": 1, "periodUnit": "d", "when": [when]}
    return {"timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": quantity(amount, unit)}]}


def _procedure(stay: Stay, fact: Fact) -> Resource:
    code, note = fact.field(0), fact.field(1)
    return {
        **_head(stay, fact, "Procedure", code.replace(".", "-")),
        "status": "completed",
        "code": concept(OPS, code, term("ops", code), str(fact.when.year)),
        **_about(stay),
        "performedDateTime": stamp(fact.when),
        "performer": [{"actor": ref("Practitioner", stay.doctor)}],
        **({"note": [{"text": note}]} if note else {}),
    }


def _referral(stay: Stay, fact: Fact) -> Resource:
    what, condition, note = (fact.field(position) for position in range(3))
    return {
        **_head(stay, fact, "ServiceRequest", what),
        "status": "completed",
        "intent": "order",
        "code": concept(LOCAL, f"ueberweisung-{what}", term("referral", what)),
        **_about(stay),
        "authoredOn": stamp(fact.when),
        "requester": ref("PractitionerRole", f"rolle-{stay.doctor}"),
        "reasonCode": [reason(stay.person, condition, fact.when.year)],
        "reasonReference": [ref("Condition", f"{stay.person.id}-{condition}")],
        **({"note": [{"text": note}]} if note else {}),
    }


def _message(stay: Stay, fact: Fact) -> Resource:
    return {
        **_head(stay, fact, "Communication", "nachricht"),
        "status": "completed",
        **_about(stay),
        "sent": stamp(fact.when),
        "recipient": [ref("Patient", stay.person.clinic_id)],
        "sender": ref("Practitioner", stay.doctor),
        "payload": [{"contentString": fact.field(0)}],
    }


def _next(stay: Stay, fact: Fact) -> Resource:
    who = (ref("Patient", stay.person.clinic_id), ref("Practitioner", stay.doctor))
    return {
        **_head(stay, fact, "Appointment", "termin"),
        "status": "fulfilled",
        "description": fact.field(0),
        "start": stamp(fact.when),
        "end": stamp(fact.when + timedelta(minutes=30)),
        "participant": [{"actor": actor, "status": "accepted"} for actor in who],
    }


_KINDS: Mapping[str, Callable[[Stay, Fact], Resource]] = MappingProxyType(
    {
        "obs": _observation,
        "report": _report,
        "letter": _letter,
        "drug": _drug,
        "proc": _procedure,
        "referral": _referral,
        "message": _message,
        "next": _next,
    }
)
