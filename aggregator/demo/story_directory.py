"""Klinik Nord itself: its house, departments and doctors, for the persons' Bundles to refer to.

https://hl7.org/fhir/R4/practitionerrole.html: a doctor works as a role at a place of the house.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aggregator.demo.story_fhir import organization, ref
from aggregator.demo.story_people import facts
from fhir_profiles.build import identifier
from fhir_profiles.codes import LANR
from fhir_profiles.text import Resource

Row = Mapping[str, Any]


def department(doctor: str) -> dict[str, str]:
    """Where a doctor works: id, name, code and display of the department, place."""
    house = facts("klinik-nord")
    name = house["doctor"][doctor]["department"]
    return {"id": name, **house["department"][name]}


def directory(own: Iterable[Resource]) -> list[Resource]:
    """The house, departments and doctors that these resources lead to, directly or through one another."""
    house = {f"{entry['resourceType']}/{entry['id']}": entry for entry in _house()}
    wanted: dict[str, None] = {}
    pending = [name for entry in own for name in _references(entry)]
    while pending:
        name = pending.pop()
        if name in house and name not in wanted:
            wanted[name] = None
            pending.extend(_references(house[name]))
    return [house[name] for name in sorted(wanted)]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def _house() -> Iterator[Resource]:
    house = facts("klinik-nord")
    yield organization(house["id"], house)
    for name, row in house["department"].items():
        yield {
            "resourceType": "Location",
            "id": name,
            "status": "active",
            "name": f"{row['name']}, {row['place']}",
            "managingOrganization": ref("Organization", house["id"]),
        }
    for name, row in house["doctor"].items():
        yield from _doctor(house["id"], name, row)


def _doctor(house: str, name: str, row: Row) -> tuple[Resource, Resource]:
    role: Resource = {
        "resourceType": "PractitionerRole",
        "id": f"rolle-{name}",
        "active": True,
        "practitioner": ref("Practitioner", name),
        "organization": ref("Organization", house),
        "location": [ref("Location", row["department"])],
    }
    person: Resource = {
        "resourceType": "Practitioner",
        "id": name,
        "identifier": [identifier(LANR, row["lanr"])],
        "active": True,
        "name": [{"family": row["family"], "given": [row["given"]], "prefix": ["Dr. med."]}],
    }
    return person, role
