"""uri: a URI, character by character. https://hl7.org/fhir/R4/search.html#uri."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.terms import Terms, TermTest
from aggregator.vault.index_rows import Rows

_COMPARED = {"": "equals", "below": "begins", "above": "begun by"}


def parse(asked: Asked) -> Condition:
    """A URI; under `:below` the beginning of the resource's, under `:above` one that the resource's begins."""
    tests = tuple(TermTest("", plain(value), _COMPARED[asked.modifier]) for value in asked.values)
    return Terms(name=asked.name, scopes=asked.parameter.scopes, tests=tests)


def versions(canonical: str) -> Iterator[str]:
    """A canonical URL as it stands, and without its version: https://hl7.org/fhir/R4/references.html#canonical."""
    yield canonical
    if "|" in canonical:
        yield canonical.partition("|")[0]


def _uri(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, str):
        return False
    into.terms.update((scope, "", one) for one in versions(value))
    return True


ROWS: Mapping[str, Enter] = {"uri": _uri, "url": _uri, "canonical": _uri}
