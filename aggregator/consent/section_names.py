"""Names of substances and of reasons for treatment, looked up in the words of a resource.

A medication plan has no code but the package's number (PZN), whose master data may not be shipped; it has the names of
its ingredients. An International Nonproprietary Name is as exact as a code, and its beginning is the same in German,
English and Latin, and in its salts (https://www.who.int/teams/health-product-and-policy-standards/inn). So a name of
the table stands for every word that begins with it: `sertralin` for Sertraline and Sertralinhydrochlorid. A name
written `*depress` is found inside a word as well, for German builds compounds; `sucht.` is that word alone, for a
Suchtest is a screening.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from fhir_profiles.text import Resource

What = TypeVar("What")

ElementPath = tuple[str, ...]
"""The members that lead to an element; none lead to the resource itself."""

_SHORTEST = 3  # letters of a name; its first three are the key under which it is kept
_WORD = re.compile(r"[^\W\d_]{3,}")
_TOLD = frozenset({"text", "display", "div", "patientInstruction", "valueString"})


class Names(Generic[What]):
    """Which of the table's names a text holds, and what each stands for."""

    def __init__(self, names: Iterable[tuple[str, What]]) -> None:
        self._beginnings: dict[str, list[tuple[str, What]]] = {}
        self._anywhere: list[tuple[str, What]] = []
        for written, what in names:
            name = _folded(written.removeprefix("*"))
            if len(name) < _SHORTEST:
                raise ValueError(f"the name {written} is too short to tell anything")
            if written.startswith("*"):
                self._anywhere.append((name, what))
            else:
                self._beginnings.setdefault(name[:_SHORTEST], []).append((name, what))

    def find(self, text: str) -> Iterator[What]:
        """What the names in this text stand for; the same may come twice."""
        if not text:
            return
        folded = _folded(text)
        for word in _WORD.findall(folded):
            for name, what in self._beginnings.get(word[:_SHORTEST], ()):
                if f"{word}.".startswith(name):
                    yield what
        yield from (what for name, what in self._anywhere if name in folded)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def element_path(written: str) -> ElementPath:
    """The path that is written as `ingredient.itemCodeableConcept`; `*` is the whole resource."""
    return () if written == "*" else tuple(written.split("."))


def at(resource: Resource, members: ElementPath) -> list[Any]:
    """Everything at this path; lists are walked, and what is absent gives nothing."""
    if members and members[0] not in resource:
        return []
    found: list[Any] = [resource]
    for member in members:
        held = [one[member] for one in found if isinstance(one, dict) and member in one]
        found = [part for one in held for part in (one if isinstance(one, list) else (one,))]
    return found


def told(nodes: Iterable[Any]) -> str:
    """The texts and displays below these nodes, and those of them that are texts, a line each."""
    texts: list[str] = []
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if type(node) is dict:
            for key, value in node.items():
                if type(value) is str:
                    if key in _TOLD:
                        texts.append(value)
                elif type(value) is dict or type(value) is list:
                    stack.append(value)
        elif type(node) is list:
            stack += [one for one in node if type(one) is not str]
        elif type(node) is str:
            texts.append(node)
    return "\n".join(texts)
