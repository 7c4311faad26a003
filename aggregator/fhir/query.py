"""A search as it was asked, understood: its parameters become conditions on the view.

https://hl7.org/fhir/R4/search.html. Values divided by commas are alternatives, a repeated parameter is one more
condition. No modifier is understood but a reference's type (`subject:Patient`); every other is an error, because to
leave it out would answer another question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from aggregator.fhir import chain, page
from aggregator.fhir.asked import Asked, alternatives
from aggregator.fhir.clause import Condition
from aggregator.fhir.outcome import BadQuery, UnknownParameter
from aggregator.fhir.page import Pairs
from aggregator.fhir.parameters import Kind, parameter
from aggregator.fhir.search_types import PARSERS, own_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search of one resource type.

    pairs: what was understood, without the page, as the links repeat it. ignored: names that are no parameters here.
    """

    resource_type: str
    pairs: Pairs
    conditions: tuple[Condition, ...]
    ignored: tuple[str, ...]
    count: int
    total: bool
    page: str | None


RESULT_PARAMETERS = (page.COUNT, "_total", "_summary", page.PAGE)

MOST_CONDITIONS = 50
MOST_ALTERNATIVES = 1000
MOST_DATES = 100
MOST_IN_ALL = 2000  # alternatives of all conditions together

_UNHEARD = frozenset({"_format", "_pretty"})  # about the answer's form, which is settled before a search begins
_TOTALS = {"none": False, "accurate": True, "estimate": True}
_SUMMARIES = {"false": False, "count": True}
_TYPE = re.compile(r"[A-Z][A-Za-z]+")


def parse(resource_type: str, pairs: Pairs, *, base_url: str, strict: bool) -> Query:
    """What the parameters ask for. strict: an unknown parameter raises UnknownParameter instead of being ignored.

    Raises BadQuery, naming the parameter, for whatever cannot be understood.
    """
    results = page.single(pairs, RESULT_PARAMETERS)
    asked = [pair for pair in pairs if pair[0] not in RESULT_PARAMETERS and pair[0] not in _UNHEARD]
    found = [(name, condition(resource_type, name, value, base_url)) for name, value in asked]
    conditions = tuple(one for _, one in found if one is not None)
    ignored = tuple(name for name, one in found if one is None)
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    _refuse_too_many(conditions)
    only_count = _chosen(results, "_summary", _SUMMARIES)
    return Query(
        resource_type=resource_type,
        pairs=[pair for pair in pairs if pair[0] != page.PAGE and pair[0] not in ignored],
        conditions=conditions,
        ignored=ignored,
        count=0 if only_count else page.count(results.get(page.COUNT, str(page.DEFAULT_COUNT))),
        total=only_count or _chosen(results, "_total", _TOTALS),
        page=results.get(page.PAGE),
    )


def condition(resource_type: str, name: str, value: str, base_url: str) -> Condition | None:
    """What a parameter asks of a resource of this type; None where the type has no such parameter. Raises BadQuery."""

    def inner(target: str, rest: str) -> Condition | None:
        return condition(target, rest, value, base_url)

    if name.startswith(chain.HAS):
        return chain.has(resource_type, name, inner)
    if "." in name:
        return chain.chained(resource_type, name, inner)
    bare, _, modifier = name.partition(":")
    found = parameter(resource_type, bare)
    if found is None:
        return None
    if modifier and not (found.kind is Kind.REFERENCE and _TYPE.fullmatch(modifier)):
        raise BadQuery(name, "this modifier is not supported")
    values = tuple(islice(alternatives(name, value), MOST_ALTERNATIVES + 1))
    most = MOST_DATES if found.kind is Kind.DATE else MOST_ALTERNATIVES
    if len(values) > most:
        raise BadQuery(name, f"more than {most} alternatives")
    asked = Asked(parameter=found, name=name, modifier=modifier, values=values, base_url=base_url)
    return own_id.parse(asked) if bare == "_id" else PARSERS[found.kind](asked)


def _refuse_too_many(conditions: tuple[Condition, ...]) -> None:
    if len(conditions) > MOST_CONDITIONS:
        raise BadQuery(conditions[-1].name, f"more than {MOST_CONDITIONS} conditions")
    if sum(one.alternatives for one in conditions) > MOST_IN_ALL:
        raise BadQuery(conditions[-1].name, f"more than {MOST_IN_ALL} alternatives in all")


def _chosen(results: dict[str, str], name: str, choices: dict[str, bool]) -> bool:
    chosen = choices.get(results[name]) if name in results else False
    if chosen is None:
        raise BadQuery(name, f"not one of {', '.join(choices)}")
    return chosen
