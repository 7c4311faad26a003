"""The CapabilityStatement: what this service does, told from the tables that do it, so that it cannot say more.

https://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aggregator.fhir import condition, include, words
from aggregator.fhir.chain import MOST_STEPS, targets
from aggregator.fhir.page import COUNT, MOST
from aggregator.fhir.parameters import Kind, Parameter, of_type
from aggregator.fhir.refused import MODIFIERS, PARAMETERS, REFUSED
from aggregator.fhir.search_types import TYPES
from fhir_profiles.text import Resource, dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served of one resource type, or without a type of all. interactions: FHIR's codes, such as search-type.

    operations: by name, the canonical URL of each one's OperationDefinition.
    claims: further members of the type's entry, such as `versioning`.
    """

    resource_type: str
    interactions: tuple[str, ...]
    operations: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What answers. changed: when its statement said something new for the last time, aware of its zone."""

    name: str
    version: str
    changed: datetime


def capability(software: Software, base_url: str, served: Iterable[Served], whole: Served, security: Resource) -> bytes:
    """The CapabilityStatement, as JSON. whole: what is served of all types together; security: rest.security."""
    return dumps(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": software.changed.isoformat(timespec="seconds"),
            "kind": "instance",
            "software": {"name": software.name, "version": software.version},
            "implementation": {"description": software.name, "url": base_url},
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json", "application/fhir+xml"],
            "rest": [_rest(list(served), whole, security)],
        }
    )


_PATIENT_COMPARTMENT = "http://hl7.org/fhir/CompartmentDefinition/patient"
# https://hl7.org/fhir/R4/valueset-system-restful-interaction.html: the standard has no place for another
_OF_THE_SYSTEM = frozenset({"transaction", "batch", "search-system", "history-system"})


def _rest(served: list[Served], whole: Served, security: Resource) -> Resource:
    made: Resource = {
        "mode": "server",
        "documentation": _DOCUMENTATION,
        "security": security,
        "resource": [_resource(one) for one in served],
        "interaction": [{"code": code} for code in whole.interactions if code in _OF_THE_SYSTEM],
        "searchParam": _COMMON,
        "operation": _operations(whole),
        "compartment": [_PATIENT_COMPARTMENT],
    }
    return {name: value for name, value in made.items() if value}


def _resource(served: Served) -> Resource:
    made: Resource = {
        "type": served.resource_type,
        "interaction": [{"code": code} for code in served.interactions],
        **served.claims,
    }
    if "search-type" in served.interactions:
        made["searchInclude"] = include.offered(served.resource_type)
        made["searchRevInclude"] = include.offered_back(served.resource_type)
        made["searchParam"] = _parameters(served.resource_type)
    made["operation"] = _operations(served)
    return {name: value for name, value in made.items() if value != []}


def _parameters(resource_type: str) -> list[Resource]:
    return [_parameter(one) for name, one in of_type(resource_type).items() if name not in PARAMETERS]


def _parameter(one: Parameter) -> Resource:
    made: Resource = {"name": one.name, "type": one.kind.value}
    if one.kind is Kind.REFERENCE:
        made["documentation"] = f"chains into {', '.join(targets(one)) or 'any type'}"
    return made


def _operations(served: Served) -> list[Resource]:
    return [{"name": name, "definition": definition} for name, definition in served.operations.items()]


_COMMON = [{"name": name, "type": "string"} for name in words.COLUMNS]
_MISSING = {**REFUSED, **PARAMETERS, **{f":{name}": reason for name, reason in MODIFIERS.items()}}
_WRITING = (
    "Who owns a record writes; a provider whom a consent lets add to it creates, and no more. Ids are made here. What "
    "a source wrote is never changed here: an update or a patch of it stores an amendment beside it, which names it in "
    "meta.extension and is named in Location; a delete of it is refused. A condition is judged in the caller's view; "
    f"a delete ends all that it finds, at most {condition.MOST}, or nothing. A patch is JSON Patch or FHIRPath Patch. "
    "What a transaction reads is read behind its commit. The history of a type and of the whole is for the owner "
    "alone; that of one resource holds for everybody else the version in their view, and no other."
)
_DOCUMENTATION = "\n".join(
    (
        _WRITING,
        "",
        "Every search runs in a view: exactly what the caller may see. Parameters may be chained and stand in `_has`, "
        f"over {MOST_STEPS} steps at most; `_include` and `_revinclude` take `:iterate`. `{COUNT}` is at most {MOST}.",
        "",
        "Modifiers:",
        "",
        *(f"- {kind}: {', '.join(f'`:{name}`' for name in one.modifiers) or 'none'}" for kind, one in TYPES.items()),
        "",
        "Of R4's search there is not:",
        "",
        *(f"- `{name}`: {reason}" for name, reason in _MISSING.items()),
    )
)
