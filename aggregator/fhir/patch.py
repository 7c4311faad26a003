"""patch: JSON Patch or FHIRPath Patch, by the body that came. https://hl7.org/fhir/R4/http.html#patch"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from aggregator.fhir import fhirpath_patch, json_patch
from aggregator.fhir.outcome import BadPatch, Gone
from aggregator.fhir.validity import refuse_invalid
from fhir_profiles.text import Resource, loads

JSON_PATCH = "application/json-patch+json"


def of_json(operations: bytes) -> Resource:
    """A JSON Patch as an entry of a Bundle brings it: a Binary."""
    data = base64.b64encode(operations).decode()
    return {"resourceType": "Binary", "contentType": JSON_PATCH, "data": data}


def patched(body: Resource, place: str = "") -> Callable[[Resource | None], Resource]:
    """What makes the next content of the present one. Raises BadPatch; itself Gone, PatchFailed, NotValid.

    body: Parameters with a FHIRPath Patch, or a Binary with a JSON Patch.
    """
    run = _patch(body)

    def edit(present: Resource | None) -> Resource:
        if present is None:
            raise Gone
        made = run(present)
        if any(made.get(name) != present.get(name) for name in ("resourceType", "id")):
            raise BadPatch("a patch leaves resourceType and id as they are")
        refuse_invalid(made, place)
        return made

    return edit


def _patch(body: Resource) -> Callable[[Resource], Resource]:
    if body.get("resourceType") == "Parameters":
        return lambda present: fhirpath_patch.patch(present, body)
    if body.get("resourceType") == "Binary" and body.get("contentType") == JSON_PATCH:
        operations = loads(_decoded(body.get("data")))
        return lambda present: json_patch.patch(present, operations)
    raise BadPatch(f"a patch is Parameters (FHIRPath Patch), or {JSON_PATCH}; in a Bundle, a Binary of that type")


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, TypeError):
        raise BadPatch.at("Binary.data", "base64 is expected") from None
