"""The CapabilityStatement: what this service does, told from the tables that do it, so that it cannot say more.

https://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aggregator.fhir import include, words
from aggregator.fhir.parameters import of_type
from aggregator.fhir.refused import MODIFIERS, PARAMETERS, REFUSED
from aggregator.fhir.search_types import TYPES
from fhir_profiles.text import Resource, dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation on a type. definition: the canonical URL of its OperationDefinition."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served of one resource type. interactions: FHIR's codes, such as read, search-type, create.

    claims: further members of the type's entry, such as `versioning`.
    """

    resource_type: str
    interactions: tuple[str, ...]
    operations: tuple[Operation, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)


def capability(
    served: Iterable[Served],
    *,
    base_url: str,
    software: str,
    version: str,
    date: datetime,
    system: Iterable[str] = (),
) -> bytes:
    """The CapabilityStatement, as JSON. date: when what it says last changed, aware of its zone.

    system: the codes of what is served of the whole system. What the standard gives no place is left out.
    """
    whole = [{"code": code} for code in system if code in _OF_THE_SYSTEM]
    return dumps(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": date.isoformat(timespec="seconds"),
            "kind": "instance",
            "software": {"name": software, "version": version},
            "implementation": {"description": software, "url": base_url},
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json"],
            "rest": [
                {
                    "mode": "server",
                    "documentation": f"{_WRITING} {_search()}",
                    "security": _SECURITY,
                    "resource": [_resource(one) for one in served],
                    **({"interaction": whole} if whole else {}),
                    "searchParam": _COMMON,
                    "compartment": ["http://hl7.org/fhir/CompartmentDefinition/patient"],
                }
            ],
        }
    )


# https://hl7.org/fhir/R4/valueset-system-restful-interaction.html
_OF_THE_SYSTEM = frozenset({"transaction", "batch", "search-system", "history-system"})
_SECURITY: Resource = {
    "service": [
        {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }
            ]
        }
    ]
}


_WRITING = (
    "Who owns a record writes; a provider whom a consent lets add to it creates, and no more. Ids are made here. What "
    "a source wrote is never changed here: an update or a patch of it stores an amendment beside it, which names it in "
    "meta.extension and is named in Location; a delete of it is refused. A patch is JSON Patch or FHIRPath Patch. What "
    "a transaction reads is read behind its commit. The history of a type and of the whole is for the owner alone; "
    "that of one resource holds for everybody else the version in their view, and no other."
)


def _search() -> str:
    """The modifiers that a search takes, and what it has not, with the reasons: what no element here has room for."""
    taken = (f"{kind}: {', '.join(one.modifiers) or 'none'}" for kind, one in TYPES.items())
    modifiers = {f":{name}": reason for name, reason in MODIFIERS.items()}
    missing = (f"{name} ({reason})" for name, reason in {**REFUSED, **PARAMETERS, **modifiers}.items())
    return f"Modifiers of search: {'; '.join(taken)}. Of search there is not: {'; '.join(missing)}."


_COMMON = [{"name": name, "type": "string"} for name in words.COLUMNS]


def _resource(served: Served) -> Resource:
    made: Resource = {
        "type": served.resource_type,
        "interaction": [{"code": code} for code in served.interactions],
        **served.claims,
    }
    if "search-type" in served.interactions:
        parameters = [one for one in of_type(served.resource_type).values() if one.name not in PARAMETERS]
        made["searchInclude"] = include.offered(served.resource_type)
        made["searchRevInclude"] = include.offered_back(served.resource_type)
        made["searchParam"] = [{"name": one.name, "type": one.kind.value} for one in parameters]
    if served.operations:
        made["operation"] = [{"name": one.name, "definition": one.definition} for one in served.operations]
    return made
