"""The parameters that are about the answer and not about what is searched. https://hl7.org/fhir/R4/search.html#return"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from aggregator.fhir import include, page, sort
from aggregator.fhir.include import Include
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import COUNT, DEFAULT_COUNT, PAGE, Pairs
from aggregator.fhir.sort import SORT, Key
from aggregator.fhir.subset import PARTS, Part, Summary, elements

T = TypeVar("T")

TOTAL, SUMMARY, ELEMENTS = "_total", "_summary", "_elements"
ONCE = (COUNT, TOTAL, SUMMARY, ELEMENTS, SORT, PAGE)
"""Those of which a query may hold one."""

_TOTALS = {"none": False, "accurate": True, "estimate": True}
_SUMMARIES = {one.value: one for one in Summary}
_ELEMENT = re.compile(r"[a-z][A-Za-z0-9]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """How an answer is to look. total: is the number of all matches asked for; page: where it goes on.

    part, included_part: what is shown of a match and of what comes beside it, None for the whole.
    """

    count: int
    total: bool
    keys: tuple[Key, ...]
    includes: tuple[Include, ...]
    part: Part | None
    included_part: Part | None
    page: str | None


def is_one(name: str) -> bool:
    """Is this a parameter about the answer?"""
    return name in ONCE or include.is_one(name)


def parse(resource_types: Sequence[str], pairs: Pairs) -> Results:
    """What a query of these types says of its answer. Raises BadQuery."""
    given = page.single([pair for pair in pairs if pair[0] in ONCE], ONCE)
    includes, summary = include.parse(pairs), _summary(given)
    if includes and summary is Summary.TEXT:
        raise BadQuery(SUMMARY, "text does not go with _include or _revinclude")
    if summary is not Summary.FALSE and ELEMENTS in given:
        raise BadQuery(ELEMENTS, "does not go with _summary")
    counts = summary is Summary.COUNT
    return Results(
        count=0 if counts else page.count(given.get(COUNT, str(DEFAULT_COUNT))),
        total=counts or _chosen(TOTAL, given.get(TOTAL, "none"), _TOTALS),
        keys=sort.parse(resource_types, given[SORT]) if SORT in given else (),
        includes=includes,
        part=_elements(given[ELEMENTS]) if ELEMENTS in given else PARTS.get(summary),
        included_part=PARTS.get(summary),
        page=given.get(PAGE),
    )


def _summary(given: dict[str, str]) -> Summary:
    return _chosen(SUMMARY, given.get(SUMMARY, Summary.FALSE), _SUMMARIES)


def _chosen(name: str, value: str, choices: dict[str, T]) -> T:
    if value not in choices:
        raise BadQuery(name, f"not one of {', '.join(choices)}")
    return choices[value]


def _elements(value: str) -> Part:
    names = value.split(",")
    if not all(map(_ELEMENT.fullmatch, names)):
        raise BadQuery(ELEMENTS, "not a list of a resource's own elements")
    return elements(names)
