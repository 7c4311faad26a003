"""Links inside a resource, made to point to what they mean here. https://hl7.org/fhir/R4/http.html#trules

In a transaction a link may name another entry by its fullUrl, or a resource by a condition; and anywhere a reference
may spell out this service's own address, which stored references leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.fhir.condition import Condition
from fhir_profiles.structure import PRIMITIVES, RESOURCES, Element, type_of
from fhir_profiles.text import Resource

_LINKS = frozenset({"uri", "url", "oid", "uuid"})  # as the rules name them: no canonical, no string
_HTML = re.compile(r"""((?:href|src)\s*=\s*)(["'])(urn:[^"']+)\2""")
_DOCUMENT = "Bundle"  # its links point into itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """targets: link as it came -> what it is here. base_url: of this service."""

    base_url: str
    targets: Mapping[str, str]

    def relinked(self, resource: Resource) -> Resource:
        """The resource with its links as they are here; nothing else is changed."""
        if resource["resourceType"] == _DOCUMENT:
            return resource
        made: Resource = self._object(resource, resource["resourceType"])
        return made

    def _object(self, node: dict[str, Any], kind: str) -> dict[str, Any]:
        kind = str(node["resourceType"]) if node.get("resourceType") in RESOURCES else kind
        elements = type_of(kind).elements
        return {
            name: self._member(child, kind, elements[name]) if name in elements else child
            for name, child in node.items()
        }

    def _member(self, child: Any, kind: str, element: Element) -> Any:
        if isinstance(child, list):
            return [self._member(one, kind, element) for one in child]
        if isinstance(child, dict) and element.type not in PRIMITIVES:
            return self._object(child, element.type)
        return self._text(child, kind, element) if isinstance(child, str) else child

    def _text(self, text: str, kind: str, element: Element) -> str:
        if element.type == "xhtml":
            return _HTML.sub(
                lambda found: f"{found[1]}{found[2]}{self.targets.get(found[3], found[3])}{found[2]}", text
            )
        if kind == "Reference" and element.name == "reference":
            return self._reference(text)
        return self.targets.get(text, text) if element.type in _LINKS else text

    def _reference(self, text: str) -> str:
        """A part behind `#` stays with its link."""
        whole, mark, part = text.partition("#")
        return self.targets.get(whole, whole).removeprefix(f"{self.base_url}/") + mark + part


def conditions(node: Any) -> Iterator[Condition]:
    """The conditional references in a resource: `Patient?identifier=...`."""
    if isinstance(node, dict):
        reference = node.get("reference")
        condition = Condition.of(reference) if isinstance(reference, str) else None
        if condition and condition.resource_type in RESOURCES:
            yield condition
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from conditions(child)
