"""What of R4's search there is not, and why: one table, for refusals and for the CapabilityStatement."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.fhir.outcome import Unsupported
from aggregator.fhir.page import Pairs

_CONTAINED = "what a resource contains is found with that resource, never as a match of its own"
_NO_VALUE_SETS = "value sets are not expanded here"
_NO_HIERARCHY = "the hierarchies of code systems and resources are not known here"

REFUSED: Mapping[str, str] = {
    "_contained": _CONTAINED,
    "_containedType": _CONTAINED,
    "_filter": "a filter is written as parameters, chains and modifiers, which are fewer and each bounded",
    "_graph": "there is no GraphDefinition to follow; _include and _revinclude name what comes along",
    "_list": "a List is a resource of the record; its entries are read by their references",
    "_query": "no named query is defined",
    "_score": "matches are not ranked: they come in the order of _sort, or of their ids",
}
"""Parameter -> why it is refused, whatever `Prefer: handling` says: without it another question would be answered."""

PARAMETERS: Mapping[str, str] = {
    "phonetic": "names are not compared by their sound here: search name, family or given",
}
"""The same of parameters that not every type has."""

MODIFIERS: Mapping[str, str] = {
    "in": _NO_VALUE_SETS,
    "not-in": _NO_VALUE_SETS,
    "above": _NO_HIERARCHY,
    "below": _NO_HIERARCHY,
}
"""The same of modifiers, where a parameter does not take them."""


def refuse(pairs: Pairs) -> None:
    """Raises Unsupported for the first of a query's parameters that is refused."""
    for name, _ in pairs:
        bare = name.partition(":")[0]
        if bare in REFUSED:
            raise Unsupported(bare, REFUSED[bare])
