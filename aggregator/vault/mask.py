"""What a grantee's copy of a resource does not tell: references to what is not in the view.

Hidden, never stored and external targets are masked in one way, `display` included, so that none can be told from
another (https://hl7.org/fhir/R4/codesystem-data-absent-reason.html, code `masked`). What is an address without being a
Reference becomes `urn:masked`: where an Attachment lies, and any text that names an instance as a literal reference
does (https://hl7.org/fhir/R4/references.html#literal): a uri, url or canonical, wherever an extension may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Any

from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import Resource

BINARY = "Binary"

_MASKED = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"},
    ]
}
_REDACTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "REDACTED"}
# The members of a Reference; an object that holds others beside them is something else.
_REFERENCE = frozenset({"reference", "_reference", "type", "_type", "identifier", "display", "_display"})
_ELEMENT = frozenset({"id", "extension"})
_ATTACHMENT = frozenset({"contentType", "language", "data", "url", "size", "hash", "title", "creation"})
_OF_REFERENCE = _REFERENCE | _ELEMENT
_OF_ATTACHMENT = _ATTACHMENT | {f"_{name}" for name in _ATTACHMENT} | _ELEMENT
_OBJECTS = frozenset({"coding", "extension", "modifierExtension"})
_NOWHERE = "urn:masked"
# The document itself, and what is contained beside it.
_INLINE = ("data:", "#")
# Published by somebody for everybody, so they name nobody: profiles, code systems, forms and plans that are followed.
_PUBLISHED = frozenset(
    {"ActivityDefinition", "CapabilityStatement", "ChargeItemDefinition", "CodeSystem", "CompartmentDefinition"}
    | {"ConceptMap", "EventDefinition", "GraphDefinition", "ImplementationGuide", "Library", "Measure"}
    | {"MessageDefinition", "NamingSystem", "OperationDefinition", "PlanDefinition", "Questionnaire"}
    | {"SearchParameter", "StructureDefinition", "StructureMap", "TerminologyCapabilities", "ValueSet"}
)
_INSTANCES = RESOURCES - _PUBLISHED
_ADDRESS = re.compile(
    r"(?:[^\s?#|]*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?/?(?:[|#]\S*)?"
)
_LONGEST = 4096  # no address is longer; an Attachment's data is
# A target's name can stand alone; `type` alone names nobody.
_NAMES = frozenset({"reference", "_reference", "display", "_display"})


def references(node: Any) -> Iterator[str]:
    """Every literal reference in a resource, as written, contained resources included.

    A stack, not generators in generators: half the time, and a grantee's view asks this of every resource.
    """
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(target := node.get("reference"), str) and _is_reference(node):
                yield target
            stack += reversed(node.values())
        elif isinstance(node, list):
            stack += reversed(node)


def part_of(resource: Resource) -> str | None:
    """Of a Binary the resource that it was taken out of, or that otherwise decides who may read it ("Type/id").

    https://hl7.org/fhir/R4/binary-definitions.html#Binary.securityContext
    """
    context = resource.get("securityContext") if resource.get("resourceType") == BINARY else None
    target = context.get("reference") if isinstance(context, dict) else None
    return target if isinstance(target, str) else None


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
    labels = meta.get("security")
    meta["security"] = [*(labels if isinstance(labels, list) else []), _REDACTED]
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
            made = self._members(node)
            if _is_attachment(node) and not self._lies_here(node["url"]):
                made["url"] = self._nowhere()
            return made
        if isinstance(node, list):
            return [self.walk(child) for child in node]
        if isinstance(node, str) and "/" in node and node not in self.visible and _is_address(node):
            return self._nowhere()
        return node

    def _members(self, node: dict[str, Any]) -> dict[str, Any]:
        # A `system` says what an identifier or code is of, however it is spelled. Most texts cannot be an address.
        return {
            name: child if name == "system" or (type(child) is str and "/" not in child) else self._member(name, child)
            for name, child in node.items()
        }

    def _member(self, name: str, child: Any) -> Any:
        if name in _OBJECTS and isinstance(child, list):
            # A Coding with a display alone is no Reference, an Extension no Attachment; but one may lie inside.
            return [self._members(one) if isinstance(one, dict) else self.walk(one) for one in child]
        return self.walk(child)

    def _lies_here(self, url: str) -> bool:
        return url in self.visible or url.startswith(_INLINE) or url == _NOWHERE

    def _nowhere(self) -> str:
        self.changed = True
        return _NOWHERE

    def _shown(self, node: dict[str, Any]) -> bool:
        target = node.get("reference")
        return isinstance(target, str) and (target.startswith("#") or target in self.visible)


def _is_reference(node: dict[str, Any]) -> bool:
    """A Reference, literal, logical or a display alone: it has nothing that a Reference has not."""
    if not _OF_REFERENCE.issuperset(node):
        return False
    return not _NAMES.isdisjoint(node) or isinstance(node.get("identifier"), dict)


def _without_narrative(node: Any) -> Any:
    """Without any Narrative: the resource's own, of what it contains, of a Composition's sections."""
    if isinstance(node, dict):
        kept = ((name, child) for name, child in node.items() if not (name == "text" and isinstance(child, dict)))
        return {name: _without_narrative(child) for name, child in kept}
    return [_without_narrative(child) for child in node] if isinstance(node, list) else node


def _is_address(text: str) -> bool:
    """Type/id, at whatever server, of whatever version: of an instance, not of what is published."""
    found = _ADDRESS.fullmatch(text) if len(text) <= _LONGEST else None
    return found is not None and found[1] in _INSTANCES


def _is_attachment(node: dict[str, Any]) -> bool:
    """It has a url, and nothing that an Attachment has not."""
    return isinstance(node.get("url"), str) and _OF_ATTACHMENT.issuperset(node)
