"""The paths of a FHIRPath Patch: names, indexes and a few functions. https://hl7.org/fhir/R4/fhirpatch.html

    Patient.name[0].given.first()
    Patient.contact.where(name.family = 'Muster' and gender = 'female').telecom
    Observation.value.ofType(Quantity).value

What leads to elements that can be changed in place, and no more: a computed value has no place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhir_profiles.structure import PRIMITIVES, RESOURCES, Element, type_of
from fhir_profiles.text import Number, Resource

LONGEST = 1000
"""Characters of a path."""

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]+`)|(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[.()\[\]=]))",
    re.ASCII,
)


class BadPath(ValueError):
    """The path is none that is understood here."""


@dataclass(slots=True)
class Node:
    """An element where it lies. owner: the type that has it; holder: the object it is a member of; at: its index."""

    value: Any
    type: str
    element: Element | None = None
    owner: str = ""
    holder: dict[str, Any] = field(default_factory=dict)
    at: int | None = None

    def remove(self) -> None:
        """Take it out; a list that it leaves empty goes with it."""
        if self.element is None:
            return
        if self.at is not None:
            del self.holder[self.element.name][self.at]
        if self.at is None or not self.holder[self.element.name]:
            del self.holder[self.element.name]


def find(resource: Resource, path: str) -> list[Node]:
    """The elements that the path leads to, in the order of the text. Raises BadPath."""
    if len(path) > LONGEST:
        raise BadPath(f"a path has at most {LONGEST} characters")
    return _Reader(path).path([Node(resource, str(resource["resourceType"]))], whole=True)


def members(kind: str, name: str) -> list[Element]:
    """The elements of a type that a path calls by this name: of a choice all its forms."""
    elements = type_of(kind).elements.values()
    return [one for one in elements if one.name == name or one.choice == f"{name}[x]"]


class _Reader:
    """A path read from left to right, and followed as it is read."""

    def __init__(self, path: str) -> None:
        self._tokens = list(_tokens(path))
        self._at = 0

    def path(self, nodes: Sequence[Node], *, whole: bool = False) -> list[Node]:
        """Follow names, indexes and functions until something else comes."""
        found, first = list(nodes), True
        while first or self._took("."):
            name = self._take("name")
            if self._took("("):
                found = self._function(name, found)
            elif not (first and name in RESOURCES):
                found = [child for node in found for child in _children(node, name)]
            while self._took("["):
                index = int(self._take("number"))
                found = found[index : index + 1]
                self._expect("]")
            first = False
        if whole and self._at < len(self._tokens):
            raise BadPath("the path is not understood to its end")
        return found

    def _function(self, name: str, nodes: list[Node]) -> list[Node]:
        run = _FUNCTIONS.get(name)
        if run is None:
            raise BadPath(f"of FHIRPath's functions only {', '.join(_FUNCTIONS)} are understood in a patch")
        found = run(self, nodes)
        self._expect(")")
        return found

    def where(self, nodes: list[Node]) -> list[Node]:
        """Those for which each comparison holds. The condition is read anew for each of them."""
        begin, kept = self._at, list[Node]()
        for node in nodes or [Node({}, "Element")]:
            self._at = begin
            if self._holds(node) and nodes:
                kept.append(node)
        return kept

    def _holds(self, node: Node) -> bool:
        holds = self._compared(node)
        while self._took("and"):
            holds = self._compared(node) and holds
        return holds

    def _compared(self, node: Node) -> bool:
        found = self.path([node])
        self._expect("=")
        kind, text = self._next()
        if kind not in ("text", "number", "name") or (kind == "name" and text not in ("true", "false")):
            raise BadPath("a comparison is with a text, a number, true or false")
        return any(_literal(one.value) == text for one in found) and len(found) == 1

    def first(self, nodes: list[Node]) -> list[Node]:
        return nodes[:1]

    def last(self, nodes: list[Node]) -> list[Node]:
        return nodes[-1:]

    def of_type(self, nodes: list[Node]) -> list[Node]:
        name = self._take("name")
        return [node for node in nodes if node.type == name]

    def extension(self, nodes: list[Node]) -> list[Node]:
        url = self._take("text")
        found = [child for node in nodes for child in _children(node, "extension")]
        return [child for child in found if isinstance(child.value, dict) and child.value.get("url") == url]

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise BadPath("the path ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, wanted: str) -> str:
        kind, text = self._next()
        if kind != wanted:
            raise BadPath(f"a {wanted} is expected in the path")
        return text

    def _took(self, text: str) -> bool:
        taken = self._at < len(self._tokens) and self._tokens[self._at] in (("sign", text), ("name", text))
        self._at += taken
        return taken

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise BadPath(f"{sign} is expected in the path")


_FUNCTIONS: Mapping[str, Callable[[_Reader, list[Node]], list[Node]]] = {
    "where": _Reader.where,
    "first": _Reader.first,
    "last": _Reader.last,
    "ofType": _Reader.of_type,
    "extension": _Reader.extension,
}


def _tokens(path: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(path.rstrip())
    while at < end:
        found = _TOKEN.match(path, at)
        if found is None or found.lastgroup is None:
            raise BadPath("a sign in the path is not understood")
        kind, text = found.lastgroup, found[found.lastgroup]
        yield kind, _unquoted(text) if kind in ("text", "name") else text
        at = found.end()


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "'`" else text


def _children(node: Node, name: str) -> Iterator[Node]:
    if not isinstance(node.value, dict) or node.type in PRIMITIVES:
        return
    for element in members(node.type, name):
        value = node.value.get(element.name)
        for at, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if one is not None:
                yield Node(one, _type(element, one), element, node.type, node.value, at)


def _type(element: Element, value: Any) -> str:
    kind = value.get("resourceType") if element.type == "Resource" and isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in RESOURCES else element.type


def _literal(value: Any) -> str | None:
    """As it stands in a path."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Number):
        return value.text
    return str(value) if isinstance(value, int | str) else None
