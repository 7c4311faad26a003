"""What a grantee's copy of a resource does not tell: references to what is not in the view.

Hidden, never stored and external targets are masked in one way, `display` included, so that none can be told from
another (https://hl7.org/fhir/R4/codesystem-data-absent-reason.html, code `masked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from fhir_profiles.text import Resource

_MASKED = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"},
    ]
}
_REDACTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "REDACTED"}
# The members of a Reference; an object that holds others beside them is something else.
_REFERENCE = frozenset({"reference", "_reference", "type", "_type", "identifier", "display", "_display"})
_ELEMENT = frozenset({"id", "extension"})
# A target's name can stand alone; `type` alone names nobody.
_NAMES = frozenset({"reference", "_reference", "display", "_display"})


def references(node: Any) -> Iterator[str]:
    """Every literal reference in a resource, as written, contained resources included."""
    if isinstance(node, dict):
        if isinstance(target := node.get("reference"), str) and _is_reference(node):
            yield target
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def bare(resource: Resource) -> Resource:
    """The resource as a name alone: what a view holds of the patient when `identity` is closed."""
    return {"resourceType": resource["resourceType"], "id": resource["id"]}


def mask(resource: Resource, visible: Set[str]) -> Resource:
    """The resource with every reference masked whose target ("Type/id") is not visible.

    A resource in which something was masked is tagged REDACTED and loses its narratives, which could name it.
    """
    masked = _Masking(visible)
    copy: Resource = masked.walk(resource)
    if not masked.changed:
        return resource
    copy = _without_narrative(copy)
    meta = copy["meta"] = dict(copy.get("meta") or {})
    meta["security"] = [*meta.get("security", []), _REDACTED]
    return copy


class _Masking:
    def __init__(self, visible: Set[str]) -> None:
        self.visible = visible
        self.changed = False

    def walk(self, node: Any) -> Any:
        if isinstance(node, dict):
            if _is_reference(node) and not self._shown(node):
                self.changed = True
                return _MASKED
            return self._members(node)
        if isinstance(node, list):
            return [self.walk(child) for child in node]
        return node

    def _members(self, node: dict[str, Any]) -> dict[str, Any]:
        return {name: self._member(name, child) for name, child in node.items()}

    def _member(self, name: str, child: Any) -> Any:
        if name == "coding" and isinstance(child, list):
            # A Coding with a display alone is no Reference; but one may lie in its extension.
            return [self._members(one) if isinstance(one, dict) else one for one in child]
        # An Attachment's url is a reference in all but name when it points into this server.
        if name == "url" and isinstance(child, str) and _is_local(child) and child not in self.visible:
            self.changed = True
            return "urn:masked"
        return self.walk(child)

    def _shown(self, node: dict[str, Any]) -> bool:
        target = node.get("reference")
        return isinstance(target, str) and (target.startswith("#") or target in self.visible)


def _is_reference(node: dict[str, Any]) -> bool:
    """A Reference, literal, logical or a display alone: it has nothing that a Reference has not."""
    members = node.keys() - _ELEMENT
    if not members or members - _REFERENCE:
        return False
    return bool(members & _NAMES) or isinstance(node.get("identifier"), dict)


def _without_narrative(node: Any) -> Any:
    """Without any Narrative: the resource's own, of what it contains, of a Composition's sections."""
    if isinstance(node, dict):
        kept = ((name, child) for name, child in node.items() if not (name == "text" and isinstance(child, dict)))
        return {name: _without_narrative(child) for name, child in kept}
    return [_without_narrative(child) for child in node] if isinstance(node, list) else node


def _is_local(url: str) -> bool:
    kind, slash, rest = url.partition("/")
    return bool(slash) and kind.isalpha() and kind[:1].isupper() and "/" not in rest
