"""Where a resource holds Attachments: by its types' structure, at any depth, in extensions and contained resources too.

https://hl7.org/fhir/R4/datatypes.html#Attachment
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from fhir_profiles.structure import PRIMITIVES, RESOURCES, type_of
from fhir_profiles.text import Resource

_ATTACHMENT = "Attachment"


def attachments(resource: Resource) -> Iterator[dict[str, Any]]:
    """The Attachments themselves, in the order of the text. What is not of R4's structure is passed over."""
    kind = resource.get("resourceType")
    if isinstance(kind, str) and kind in RESOURCES:
        yield from _inside(kind, resource)


def _inside(kind: str, node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for child in node:
            yield from _inside(kind, child)
    elif isinstance(node, dict):
        if kind == "Resource":
            yield from attachments(node)
            return
        if kind == _ATTACHMENT:
            yield node
        nested = _nested(kind)
        for name, child in node.items():
            below = nested.get(name)
            if below is None and name.startswith("_"):  # what stands beside a primitive is an Element
                below = "Element"
            if below is not None and isinstance(child, dict | list):
                yield from _inside(below, child)


@cache
def _nested(kind: str) -> dict[str, str]:
    """The elements of a type that are no primitives: name -> type."""
    elements = type_of(kind).elements
    return {name: element.type for name, element in elements.items() if element.type not in PRIMITIVES}
