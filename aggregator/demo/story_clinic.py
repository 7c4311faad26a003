"""A person's years at Klinik Nord as one transaction Bundle (https://hl7.org/fhir/R4/http.html#transaction).

Standing facts (conditions, allergies, vaccinations, plans) have a table each in `clinic.toml`; what happened at a visit
stands in that visit's `facts` (story_facts). A `fault` is a resource written to fail the check; the demo needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

from aggregator.demo.story_directory import department, directory
from aggregator.demo.story_facts import Stay, parse, resource
from aggregator.demo.story_fhir import (
    concept,
    diagnosis,
    labelled,
    named,
    patient,
    reason,
    ref,
    stamp,
    status,
    transaction,
    ucum,
)
from aggregator.demo.story_people import Person, facts, term, wall
from fhir_profiles.build import Part, coding
from fhir_profiles.codes import ACT_CODE, ATC
from fhir_profiles.text import Resource

Row = Mapping[str, Any]

_DEPARTMENTS = "http://fhir.de/CodeSystem/dkgev/Fachabteilungsschluessel"
_KIND_OF_CARE = MappingProxyType({"AMB": "ambulatory", "IMP": "inpatient encounter"})


def clinic_bundle(person: Person) -> Resource:
    """All that the clinic holds of a person: PUT entries with fixed ids and relative references, the fault last."""
    own = [patient(person, person.clinic_id), *_standing(person), *_visits(person)]
    return transaction([*directory(own), *own, *_faults(person)])


def clinic_faults(person: Person) -> tuple[str, ...]:
    """`Type/id` of the resources in the clinic's bundle that fail the FHIR check on purpose."""
    return tuple(f"{fault['resourceType']}/{fault['id']}" for fault in _faults(person))


def _faults(person: Person) -> list[Resource]:
    return [
        deepcopy(row["resource"]) for row in _clinic(person)["fault"]
    ]  # the data is shared, a Bundle is its taker's


def _clinic(person: Person) -> Row:
    return facts(person.id, "clinic")


def _standing(person: Person) -> Iterator[Resource]:
    for table, made in _STANDING.items():
        yield from (made(person, row) for row in _clinic(person).get(table, ()))


def _visits(person: Person) -> Iterator[Resource]:
    for row in _clinic(person)["encounter"]:
        stay = _stay(person, row)
        yield _encounter(stay, row)
        yield from (resource(stay, fact) for fact in stay.facts)


def _stay(person: Person, row: Row) -> Stay:
    start = wall(row["at"])
    return Stay(
        person=person,
        encounter=f"{person.id}-besuch-{start:%Y%m%d%H%M}",
        doctor=row["doctor"],
        department=department(row["doctor"])["name"],
        security=row.get("security", ""),
        prose=row.get("prose", ""),
        facts=tuple(parse(line, start) for line in row["facts"]),
    )


def _encounter(stay: Stay, row: Row) -> Resource:
    place = department(stay.doctor)
    reasons = [{"condition": _condition_ref(stay.person, name)} for name in row["conditions"]]
    return {
        "resourceType": "Encounter",
        "id": stay.encounter,
        **labelled(stay.security),
        "status": "finished",
        "class": coding(ACT_CODE, row["class"], _KIND_OF_CARE[row["class"]]),
        "type": [{"text": row["title"]}],
        "serviceType": concept(_DEPARTMENTS, place["code"], place["display"]),
        "subject": ref("Patient", stay.person.clinic_id),
        "participant": [{"individual": ref("Practitioner", stay.doctor)}],
        "reasonCode": [reason(stay.person, name, wall(row["at"]).year) for name in row["conditions"]],
        "period": {"start": stamp(wall(row["at"])), "end": stamp(wall(row["until"]))},
        "diagnosis": reasons,
        "location": [{"location": ref("Location", place["id"])}],
        "serviceProvider": ref("Organization", "klinik-nord"),
    }


def _condition_ref(person: Person, name: str) -> Part:
    return ref("Condition", f"{person.id}-{name}")


def _head(person: Person, kind: str, row: Row) -> Part:
    return {"resourceType": kind, "id": f"{person.id}-{row['id']}", **labelled(row.get("security", ""))}


def _condition(person: Person, row: Row) -> Resource:
    ended = {"abatementDateTime": row["until"]} if "until" in row else {}
    noted = {"note": [{"text": row["note"]}]} if "note" in row else {}
    return {
        **_head(person, "Condition", row),
        "clinicalStatus": status("condition-clinical", row["state"]),
        "verificationStatus": status("condition-ver-status", "confirmed"),
        "category": [status("condition-category", "problem-list-item")],
        "code": diagnosis(row["icd"], int(row["noted"][:4])),
        "subject": ref("Patient", person.clinic_id),
        "onsetDateTime": row["since"],
        **ended,
        "recordedDate": row["noted"],
        "recorder": ref("Practitioner", row["by"]),
        **noted,
    }


def _allergy(person: Person, row: Row) -> Resource:
    coded = concept(ATC, row["atc"], row["what"]) if "atc" in row else {"text": row["what"]}
    return {
        **_head(person, "AllergyIntolerance", row),
        "clinicalStatus": status("allergyintolerance-clinical", "active"),
        "verificationStatus": status("allergyintolerance-verification", "confirmed"),
        "type": "allergy",
        "category": [row["category"]],
        "criticality": row["criticality"],
        "code": coded,
        "patient": ref("Patient", person.clinic_id),
        "onsetDateTime": row["since"],
        "recordedDate": row["noted"],
        "recorder": ref("Practitioner", row["by"]),
        "reaction": [{"manifestation": [{"text": row["reaction"]}], "severity": row["severity"]}],
    }


def _immunization(person: Person, row: Row) -> Resource:
    vaccine = term("vaccine", row["what"])
    return {
        "resourceType": "Immunization",
        "id": f"{person.id}-impfung-{row['what']}-{row['on'].replace('-', '')}",
        "status": "completed",
        "vaccineCode": concept(ATC, vaccine["atc"], vaccine["display"]),
        "patient": ref("Patient", person.clinic_id),
        "occurrenceDateTime": row["on"],
        "lotNumber": row["lot"],
        "performer": [{"actor": ref("Practitioner", row["by"])}],
        "protocolApplied": [
            {"targetDisease": [{"text": vaccine["against"]}], "doseNumberPositiveInt": row["dose"]},
        ],
    }


def _goal(person: Person, row: Row) -> Resource:
    measure = term("observation", row["measure"])
    upper = {"high": ucum(row["at_most"], measure.get("unit", "{score}"))}
    return {
        **_head(person, "Goal", row),
        "lifecycleStatus": row["state"],
        "description": {"text": row["text"]},
        "subject": ref("Patient", person.clinic_id),
        "startDate": row["since"],
        "target": [{"measure": named(measure), "detailRange": upper, "dueDate": row["due"]}],
        "addresses": [_condition_ref(person, name) for name in row["conditions"]],
    }


def _care_team(person: Person, row: Row) -> Resource:
    members = [{"member": ref("PractitionerRole", f"rolle-{doctor}")} for doctor in row["doctors"]]
    return {
        **_head(person, "CareTeam", row),
        "status": "active",
        "name": row["name"],
        "subject": ref("Patient", person.clinic_id),
        "period": {"start": row["since"]},
        "participant": [{"member": ref("Patient", person.clinic_id)}, *members],
    }


def _care_plan(person: Person, row: Row) -> Resource:
    ended = {"end": row["until"]} if "until" in row else {}
    todo = "in-progress" if row["state"] == "active" else "completed"
    return {
        **_head(person, "CarePlan", row),
        "status": row["state"],
        "intent": "plan",
        "title": row["title"],
        "subject": ref("Patient", person.clinic_id),
        "period": {"start": row["since"], **ended},
        "author": ref("Practitioner", row["by"]),
        **({"careTeam": [ref("CareTeam", f"{person.id}-{row['team']}")]} if "team" in row else {}),
        "addresses": [_condition_ref(person, name) for name in row["conditions"]],
        **({"goal": [ref("Goal", f"{person.id}-{name}") for name in row["goals"]]} if "goals" in row else {}),
        "activity": [{"detail": {"status": todo, "description": activity}} for activity in row["activities"]],
    }


_STANDING: Mapping[str, Callable[[Person, Row], Resource]] = MappingProxyType(
    {
        "condition": _condition,
        "allergy": _allergy,
        "immunization": _immunization,
        "goal": _goal,
        "care_team": _care_team,
        "care_plan": _care_plan,
    }
)
