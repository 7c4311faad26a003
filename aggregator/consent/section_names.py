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

What = TypeVar("What")

WHOLE = "*"
"""As an element's path: the whole resource."""

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
        folded = _folded(text)
        for word in _WORD.findall(folded):
            for name, what in self._beginnings.get(word[:_SHORTEST], ()):
                if f"{word}.".startswith(name):
                    yield what
        yield from (what for name, what in self._anywhere if name in folded)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def at(node: Any, path: str) -> list[Any]:
    """Everything at a path such as `ingredient.itemCodeableConcept`; lists are walked, what is absent gives nothing."""
    found = [node]
    for member in () if path == WHOLE else path.split("."):
        found = [one[member] for one in found if isinstance(one, dict) and member in one]
        found = [part for one in found for part in (one if isinstance(one, list) else (one,))]
    return found


def told(nodes: Iterable[Any]) -> str:
    """The texts and displays below these nodes, a line each."""
    texts, stack = [], list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            texts += [value for key, value in node.items() if key in _TOLD and isinstance(value, str)]
            stack.extend(value for value in node.values() if isinstance(value, dict | list))
        elif isinstance(node, list):
            stack.extend(node)
    return "\n".join(texts)
