"""A part of a resource instead of the whole: `_summary` and `_elements`. https://hl7.org/fhir/R4/search.html#summary.

Which elements a summary shows is R4's own data (isSummary, in fhir_profiles.structure), down to nested elements; data
types stay whole. What a resource must have, and what changes the meaning of the rest, is kept in every part. A part is
tagged SUBSETTED, so that nobody takes it for the resource; its numbers keep their text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from fhir_profiles.build import coding
from fhir_profiles.structure import NAMES, Element, type_of
from fhir_profiles.text import Resource, dumps, loads

Part = Callable[[bytes], bytes]
"""From a stored body to the part that is shown."""

SUBSETTED = coding("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED")

_ALWAYS = frozenset({"resourceType", "id", "meta"})


class Summary(StrEnum):
    """The values of `_summary`. FALSE: the whole; COUNT: no resource at all."""

    TRUE = "true"
    TEXT = "text"
    DATA = "data"
    COUNT = "count"
    FALSE = "false"


def elements(names: Iterable[str]) -> Part:
    """The named elements. A choice is named as it is defined (`value`) or as it stands (`valueQuantity`)."""
    wanted = frozenset(names)
    return _part(lambda element: element.name in wanted or element.choice.removesuffix("[x]") in wanted)


def _part(shows: Callable[[Element], bool], *, deep: bool = False) -> Part:
    def part(body: bytes) -> bytes:
        resource = loads(body)
        kept = _kept(resource, resource["resourceType"], shows, deep=deep)
        return dumps(_tagged(kept | _contained(resource.get("contained", ()), kept)))

    return part


def _kept(node: Resource, type_name: str, shows: Callable[[Element], bool], *, deep: bool) -> Resource:
    known, kept = type_of(type_name).elements, Resource()
    for name, value in node.items():
        element = known.get(name.removeprefix("_"))
        if name in _ALWAYS:
            kept[name] = value
        elif element and (shows(element) or element.least or element.modifier):
            kept[name] = _below(value, element, shows) if deep else value
    return kept


def _below(value: Any, element: Element, shows: Callable[[Element], bool]) -> Any:
    """The same of the elements that are nested in this one."""
    if element.type not in NAMES or type_of(element.type).kind != "nested":
        return value
    if isinstance(value, list):
        return [_below(one, element, shows) for one in value]
    return _kept(value, element.type, shows, deep=True) if isinstance(value, dict) else value


def _contained(waiting: Sequence[Resource], kept: Resource) -> Resource:
    """Of what is contained that to which the part still refers."""
    found, text = list[Resource](), dumps(kept)
    while named := [one for one in waiting if f'"#{one["id"]}"'.encode() in text]:
        found += named
        waiting, text = [one for one in waiting if one not in named], dumps(named)
    return {"contained": found} if found else {}


def _tagged(resource: Resource) -> Resource:
    meta = resource.get("meta", {})
    tags = [tag for tag in meta.get("tag", ()) if tag != SUBSETTED]
    resource["meta"] = meta | {"tag": [*tags, SUBSETTED]}
    return resource


PARTS: Mapping[Summary, Part] = {
    Summary.TRUE: _part(lambda element: element.summary, deep=True),
    Summary.TEXT: _part(lambda element: element.name == "text"),
    Summary.DATA: _part(lambda element: element.name != "text"),
}
"""`_summary` -> the part that it shows."""
