"""string: a text that begins so, without case and accents. https://hl7.org/fhir/R4/search.html#string.

A term's text is the folded one; its system is the text as it stands, where that is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.folding import fold
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.terms import Terms, TermTest
from aggregator.vault.index_rows import Rows


def parse(asked: Asked) -> Condition:
    """Any text: the beginning, any part of it under `:contains`, the whole as it is written under `:exact`."""
    tests = tuple(_test(asked.modifier, plain(value)) for value in asked.values)
    return Terms(name=asked.name, scopes=asked.parameter.scopes, tests=tests)


def _test(modifier: str, text: str) -> TermTest:
    folded = fold(text)
    if modifier == "exact":
        return TermTest(_written(text, folded), folded)
    return TermTest(None, folded, "contains" if modifier else "begins")


def _written(text: str, folded: str) -> str:
    return "" if text == folded else text


def _string(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, str):
        return False
    folded = fold(value)
    into.terms.add((scope, _written(value, folded), folded))
    return True


def _parts(*names: str) -> Enter:
    def rows(value: Any, leaf: Leaf, scope: int, into: Rows) -> bool:
        found = [value.get(name) for name in names] if isinstance(value, dict) else []
        texts = [text for one in found for text in (one if isinstance(one, list) else [one])]
        given = [_string(text, leaf, scope, into) for text in texts]
        return any(given)

    return rows


ROWS: Mapping[str, Enter] = {
    "string": _string,
    "markdown": _string,
    "HumanName": _parts("family", "given", "prefix", "suffix", "text"),
    "Address": _parts("line", "city", "district", "state", "postalCode", "country", "text"),
}
