"""A search as it was asked, understood: its parameters become conditions on the view.

https://hl7.org/fhir/R4/search.html. Values divided by commas are alternatives, a repeated parameter is one more
condition. A modifier that is not understood is an error, because to leave it out would answer another question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from aggregator.fhir import chain, results, words
from aggregator.fhir.asked import Asked, alternatives
from aggregator.fhir.clause import Condition, Not
from aggregator.fhir.outcome import BadQuery, UnknownParameter, Unsupported
from aggregator.fhir.page import Pairs
from aggregator.fhir.parameters import SPANS, Kind, Parameter, parameter
from aggregator.fhir.refused import MODIFIERS, PARAMETERS, refuse
from aggregator.fhir.search_types import missing, modifiers, understood
from fhir_profiles.structure import RESOURCES


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search of one resource type, or of several.

    conditions: by resource type, each with the same parameters. ignored: names that are no parameters here, of one of
    the types at least.
    """

    conditions: Mapping[str, tuple[Condition, ...]]
    ignored: tuple[str, ...]


MOST_CONDITIONS = 50
MOST_ALTERNATIVES = 1000
MOST_SPANS = 100  # every row of a scope is compared with each
MOST_IN_ALL = 2000  # alternatives of all conditions together

UNHEARD = frozenset({"_format", "_pretty"})  # about the answer's form, which is settled before a search begins
_MODIFIED: Mapping[str, Callable[[Asked], Condition]] = {
    "missing": missing.parse,
    "not": lambda asked: Not(understood(asked)),
}


def parse(resource_types: Sequence[str], pairs: Pairs, *, base_url: str, strict: bool) -> Query:
    """What the parameters ask for. strict: an unknown parameter raises UnknownParameter instead of being ignored.

    Raises BadQuery, naming the parameter, for whatever cannot be understood.
    """
    refuse(pairs)
    asked = [pair for pair in pairs if not results.is_one(pair[0]) and pair[0] not in UNHEARD]
    found = {kind: [condition(kind, name, value, base_url) for name, value in asked] for kind in resource_types}
    unknown = {place for all_ in found.values() for place, one in enumerate(all_) if one is None}
    ignored = tuple(asked[place][0] for place in sorted(unknown))
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    conditions = {
        kind: tuple(one for place, one in enumerate(all_) if one and place not in unknown)
        for kind, all_ in found.items()
    }
    for all_ in conditions.values():
        _refuse_too_many(all_)
    return Query(conditions=conditions, ignored=ignored)


def condition(resource_type: str, name: str, value: str, base_url: str) -> Condition | None:
    """What a parameter asks of a resource of this type; None where the type has no such parameter. Raises BadQuery."""

    def inner(target: str, rest: str) -> Condition | None:
        return condition(target, rest, value, base_url)

    if name in words.COLUMNS:
        return words.parse(resource_type, name, value)
    if name.startswith(chain.HAS):
        return chain.has(resource_type, name, inner)
    if "." in name:
        return chain.chained(resource_type, name, inner)
    bare, _, modifier = name.partition(":")
    found = parameter(resource_type, bare)
    if found is None:
        return None
    _require_known(found, name, modifier)
    values = tuple(islice(alternatives(name, value), MOST_ALTERNATIVES + 1))
    most = MOST_SPANS if found.kind in SPANS else MOST_ALTERNATIVES
    if len(values) > most:
        raise BadQuery(name, f"more than {most} alternatives")
    asked = Asked(parameter=found, name=name, modifier=modifier, values=values, base_url=base_url)
    return _MODIFIED[modifier](asked) if modifier in _MODIFIED else understood(asked)


def _require_known(found: Parameter, name: str, modifier: str) -> None:
    """A modifier that is left out would answer another question: Raises BadQuery that names it."""
    if reason := PARAMETERS.get(found.name):
        raise Unsupported(name, reason)
    if not modifier or modifier in modifiers(found) or (found.kind is Kind.REFERENCE and modifier in RESOURCES):
        return
    raise Unsupported(name, MODIFIERS.get(modifier, "not a modifier of this parameter"))


def _refuse_too_many(conditions: tuple[Condition, ...]) -> None:
    if len(conditions) > MOST_CONDITIONS:
        raise BadQuery(conditions[-1].name, f"more than {MOST_CONDITIONS} conditions")
    if sum(one.alternatives for one in conditions) > MOST_IN_ALL:
        raise BadQuery(conditions[-1].name, f"more than {MOST_IN_ALL} alternatives in all")
