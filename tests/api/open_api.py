"""An OpenAPI document of the FHIR API, made of the table of interactions: what schemathesis makes requests from.

https://spec.openapis.org/oas/v3.1.0. Its parameters are loose on purpose: every value may be anything, beside some that
mean something, so that requests get past the first check.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aggregator.api.fhir.interaction import Interaction, Operation

FHIR, FORM = "application/fhir+json", "application/x-www-form-urlencoded"
PATCH = "application/json-patch+json"
TYPES = ("Observation", "Patient", "Consent", "Binary", "AuditEvent", "Provenance", "List", "Ingredient")
# No word: what it overlaps with is left out of a choice.
JUNK = {"type": "string", "pattern": "^[^A-Za-z0-9]{1,9}$"}
RESULTS = ("_count", "_sort", "_include", "_revinclude", "_elements", "_summary", "_total", "_type", "_since", "_page")
SEARCHED = ("_id", "_lastUpdated", "patient", "code", "date", "code:not", "subject:Patient", "nothing", "_format")
VALUES = ("2024", "ge2024-02-30", "a|b", "http://loinc.org|4548-4", "Observation:subject", "*", "-1", "5.40|mg", "\\")
HEADERS = {
    "Accept": ("application/fhir+xml", "application/fhir+json;q=0.1, */*"),
    "Prefer": ("handling=strict", "return=minimal", "return=OperationOutcome", "respond-async"),
    "If-Match": ('W/"1"', "*"),
    "If-None-Match": ('W/"1"', "*"),
    "If-Modified-Since": ("Sat, 21 Nov 2026 20:30:00 GMT",),
    "If-None-Exist": ("identifier=a|b", "_id="),
}
RESOURCE = {
    "type": "object",
    "properties": {
        "resourceType": {"enum": [*TYPES, "Bundle", "Parameters"]},
        "id": {"type": "string"},
        "status": {"enum": ["final", "active", 1]},
        "subject": {"type": "object"},
        "entry": {"type": "array", "items": {"type": "object"}},
        "parameter": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["resourceType"],
}
OPERATIONS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test", ""]},
            "path": {"enum": ["/status", "/code/coding/0", "/-", "", "x"]},
            "from": {"enum": ["/status", "/x"]},
            "value": {},
        },
    },
}
QUERY = {
    "type": "object",
    "propertyNames": {"enum": [*RESULTS, *SEARCHED]},
    "additionalProperties": {"anyOf": [{"enum": VALUES}, JUNK]},
    "maxProperties": 4,
}
BODIES = {FHIR: {"anyOf": [RESOURCE, {"type": "array"}, {"type": "string"}, {"type": "null"}]}}
OF_METHOD = {"POST": BODIES, "PUT": BODIES, "PATCH": BODIES | {PATCH: OPERATIONS}}


def document(table: Iterable[Interaction | Operation], ids: Iterable[str]) -> dict[str, Any]:
    """The document; ids: those of resources that are there."""
    paths: dict[str, dict[str, Any]] = {}
    for one in table:
        path = _path(one.path)
        paths.setdefault(f"/fhir{path}", {})[one.method.lower()] = _operation(one.method, path, list(ids))
    return {"openapi": "3.1.0", "info": {"title": "FHIR R4", "version": "4.0.1"}, "paths": paths}


def _path(path: str) -> str:
    return path.replace(":fhir_type", "").replace(":fhir_id", "")


def _operation(method: str, path: str, ids: list[str]) -> dict[str, Any]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    made: dict[str, Any] = {
        "parameters": [
            *(_parameter("path", name, TYPES if name == "resource_type" else (*ids, "1")) for name in names),
            {"in": "query", "name": "query", "style": "form", "explode": True, "schema": QUERY},
            *(_parameter("header", name, values) for name, values in HEADERS.items()),
        ],
        "responses": {"default": {"description": "a FHIR resource"}},
    }
    bodies = {FORM: {"type": "object", "additionalProperties": _loose(VALUES)}} if path.endswith("_search") else {}
    bodies = bodies or OF_METHOD.get(method, {})
    if bodies:
        made["requestBody"] = {"content": {media_type: {"schema": schema} for media_type, schema in bodies.items()}}
    return made


def _parameter(place: str, name: str, values: Iterable[str]) -> dict[str, Any]:
    return {"in": place, "name": name, "required": place == "path", "schema": _loose(values)}


def _loose(values: Iterable[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(values)}, JUNK]}
