"""A search as it was asked, understood: parameters, prefixes and separators become conditions on the index.

https://hl7.org/fhir/R4/search.html. Values divided by commas are alternatives, a repeated parameter is one more
condition. No modifier is understood but a reference's type (`subject:Patient`); every other is an error, because to
leave it out would answer another question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from aggregator.fhir import page
from aggregator.fhir.index import fold, reference_term
from aggregator.fhir.outcome import BadQuery, UnknownParameter
from aggregator.fhir.page import Pairs
from aggregator.fhir.parameters import Kind, Parameter, parameter
from fhir_profiles.dates import stretch


@dataclass(frozen=True, slots=True)
class TermTest:
    """A term of this system and text. None: any; begins: the text is the beginning."""

    system: str | None
    text: str | None
    begins: bool = False


@dataclass(frozen=True, slots=True)
class SpanTest:
    """A stretch of time (milliseconds since 1970 UTC, high excluded) and how a resource's own must lie to it."""

    prefix: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of these tests must hold. Of a kind's tests there are only its own."""

    parameter: Parameter
    terms: tuple[TermTest, ...] = ()
    spans: tuple[SpanTest, ...] = ()
    ids: tuple[str, ...] = ()


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


PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")
RESULT_PARAMETERS = (page.COUNT, "_total", "_summary", page.PAGE)

MOST_CONDITIONS = 50
MOST_ALTERNATIVES = 1000
MOST_DATES = 100
MOST_IN_ALL = 2000  # alternatives of all conditions together

_UNHEARD = frozenset({"_format", "_pretty"})  # about the answer's form, which is settled before a search begins
_TOTALS = {"none": False, "accurate": True, "estimate": True}
_SUMMARIES = {"false": False, "count": True}
_VALUE = re.compile(r"(?:[^\\,]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BAR = re.compile(r"((?:[^\\|]|\\.)*)\|(.*)", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]+")
_TYPED_ID = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_URL = re.compile(r"[a-z][a-z0-9+.\-]*:\S+")


def parse(resource_type: str, pairs: Pairs, *, base_url: str, strict: bool) -> Query:
    """What the parameters ask for. strict: an unknown parameter raises UnknownParameter instead of being ignored.

    Raises BadQuery, naming the parameter, for whatever cannot be understood.
    """
    results = page.single(pairs, RESULT_PARAMETERS)
    asked = [pair for pair in pairs if pair[0] not in RESULT_PARAMETERS and pair[0] not in _UNHEARD]
    found = [(name, _condition(resource_type, name, value, base_url)) for name, value in asked]
    conditions = [condition for _, condition in found if condition is not None]
    ignored = tuple(name for name, condition in found if condition is None)
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    if len(conditions) > MOST_CONDITIONS:
        raise BadQuery(conditions[-1].parameter.name, f"more than {MOST_CONDITIONS} conditions")
    if sum(len(one.terms) + len(one.spans) + len(one.ids) for one in conditions) > MOST_IN_ALL:
        raise BadQuery(conditions[-1].parameter.name, f"more than {MOST_IN_ALL} alternatives in all")
    only_count = _chosen(results, "_summary", _SUMMARIES)
    return Query(
        resource_type=resource_type,
        pairs=[pair for pair in pairs if pair[0] != page.PAGE and pair[0] not in ignored],
        conditions=tuple(conditions),
        ignored=ignored,
        count=0 if only_count else page.count(results.get(page.COUNT, str(page.DEFAULT_COUNT))),
        total=only_count or _chosen(results, "_total", _TOTALS),
        page=results.get(page.PAGE),
    )


def _chosen(results: dict[str, str], name: str, choices: dict[str, bool]) -> bool:
    chosen = choices.get(results[name]) if name in results else False
    if chosen is None:
        raise BadQuery(name, f"not one of {', '.join(choices)}")
    return chosen


def _condition(resource_type: str, name: str, value: str, base_url: str) -> Condition | None:
    bare, _, modifier = name.partition(":")
    found = parameter(resource_type, bare)
    if found is None:
        return None
    if modifier and not (found.kind is Kind.REFERENCE and _TYPE.fullmatch(modifier)):
        raise BadQuery(name, "this modifier is not supported")
    asked = _Asked(found, name, modifier, base_url)
    values = list(islice(_alternatives(name, value), MOST_ALTERNATIVES + 1))
    most = MOST_DATES if found.kind is Kind.DATE else MOST_ALTERNATIVES
    if len(values) > most:
        raise BadQuery(name, f"more than {most} alternatives")
    return (_ids if bare == "_id" else _KINDS[found.kind])(asked, values)


@dataclass(frozen=True, slots=True)
class _Asked:
    parameter: Parameter
    name: str
    modifier: str
    base_url: str


def _alternatives(name: str, value: str) -> Iterator[str]:
    """The values between the commas, still escaped. Raises BadQuery for an empty one."""
    at = -1
    while at < len(value):
        end = next(_VALUE.finditer(value, at + 1)).end()
        if end == at + 1 or value[end : end + 1] not in ("", ","):
            raise BadQuery(name, "an empty value, or a backslash with nothing behind it")
        yield value[at + 1 : end]
        at = end


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _ids(asked: _Asked, values: list[str]) -> Condition:
    if not all(map(_ID.fullmatch, values)):
        raise BadQuery(asked.name, "not an id")
    return Condition(parameter=asked.parameter, ids=tuple(values))


def _tokens(asked: _Asked, values: list[str]) -> Condition:
    return Condition(parameter=asked.parameter, terms=tuple(_token(asked.name, value) for value in values))


def _token(name: str, value: str) -> TermTest:
    """`code`, `system|code`, `|code` (of no system), `system|` (any code of it)."""
    barred = _BAR.fullmatch(value)
    if barred is None:
        return TermTest(None, _plain(value))
    system, code = _plain(barred[1]), _plain(barred[2])
    if not system and not code:
        raise BadQuery(name, "neither a system nor a code")
    return TermTest(system, code or None)


def _references(asked: _Asked, values: list[str]) -> Condition:
    only = asked.modifier or ("Patient" if asked.parameter.name == "patient" else None)
    return Condition(parameter=asked.parameter, terms=tuple(_reference(asked, only, _plain(value)) for value in values))


def _reference(asked: _Asked, only: str | None, value: str) -> TermTest:
    """`Type/id`, `id`, or a URL, which under our own address is `Type/id` again."""
    relative = value.removeprefix(f"{asked.base_url}/")
    if _ID.fullmatch(relative):
        return TermTest(only, relative)
    if not (_TYPED_ID.fullmatch(relative) or _URL.fullmatch(relative)):
        raise BadQuery(asked.name, "not a reference")
    system, text = reference_term(relative)
    if only and system not in ("", only):
        raise BadQuery(asked.name, "a reference to another type")
    return TermTest(system, text)


def _strings(asked: _Asked, values: list[str]) -> Condition:
    tests = tuple(TermTest("", fold(_plain(value)), begins=True) for value in values)
    return Condition(parameter=asked.parameter, terms=tests)


def _dates(asked: _Asked, values: list[str]) -> Condition:
    return Condition(parameter=asked.parameter, spans=tuple(_date(asked.name, value) for value in values))


def _date(name: str, value: str) -> SpanTest:
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    if prefix not in PREFIXES:
        raise BadQuery(name, f"its prefix is not one of {', '.join(PREFIXES)}")
    found = stretch(text)
    if found is None:
        raise BadQuery(name, "not a date")
    return SpanTest(prefix, *found)


_KINDS: dict[Kind, Callable[[_Asked, list[str]], Condition]] = {
    Kind.TOKEN: _tokens,
    Kind.REFERENCE: _references,
    Kind.STRING: _strings,
    Kind.DATE: _dates,
}
