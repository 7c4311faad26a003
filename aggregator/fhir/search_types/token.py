"""token: a code of a system, or what stands for one. https://hl7.org/fhir/R4/search.html#token.

A term is (system, code): of CodeableConcept, Coding and Identifier as they stand; a code has the system that its
binding implies; a ContactPoint, a string or a URI has none. The words beside it are found by `:text`, an Identifier by
its type's code too (`:of-type`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from aggregator.fhir.asked import Asked, barred, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.folding import fold
from aggregator.fhir.parameters import IDENTIFIER, TEXT
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.terms import Terms, TermTest
from aggregator.vault.index_rows import Rows
from fhir_profiles.structure import concepts

_TRUTH = "http://terminology.hl7.org/CodeSystem/special-values"


def parse(asked: Asked) -> Condition:
    """`code`, `system|code`, `|code` (of no system), `system|` (any code of it); and what the modifiers take."""
    test, offset = _ASKED[asked.modifier]
    scopes = tuple(scope + offset for scope in asked.parameter.scopes)
    return Terms(name=asked.name, scopes=scopes, tests=tuple(test(asked, value) for value in asked.values))


def coded(asked: Asked, value: str) -> TermTest:
    """A system and a code, or one of them."""
    parts = barred(value)
    if parts is None:
        return TermTest(None, plain(value))
    system, code = map(plain, parts)
    if not system and not code:
        raise asked.bad("neither a system nor a code")
    return TermTest(system, code or None)


def _worded(_: Asked, value: str) -> TermTest:
    return TermTest(None, fold(plain(value)), "begins")


def _typed(asked: Asked, value: str) -> TermTest:
    """`system|code|value`: of an Identifier its type's system and code, and its value."""
    first = barred(value)
    second = first and barred(first[1])
    if not first or not second or not all((first[0], *second)):
        raise asked.bad("not a type's system, its code and a value between bars")
    return TermTest(_type_of(plain(first[0]), plain(second[0])), plain(second[1]))


_ASKED: Mapping[str, tuple[Callable[[Asked, str], TermTest], int]] = {
    "": (coded, 0),
    "not": (coded, 0),
    "text": (_worded, TEXT),
    "of-type": (_typed, IDENTIFIER),
}


def _type_of(system: str, code: str) -> str:
    """Stands for an Identifier's type where a term has its system."""
    return f"{system}|{code}"


def _code(value: Any, leaf: Leaf, scope: int, into: Rows) -> bool:
    return _term(scope, _systems(leaf.value_set).get(value, "") if isinstance(value, str) else "", value, into)


def _boolean(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    return _term(scope, _TRUTH, str(value).lower() if isinstance(value, bool) else None, into)


def _plain(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    return _term(scope, "", value, into)


def _contact(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    return _term(scope, "", value.get("value") if isinstance(value, dict) else None, into)


def _coding(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, dict):
        return False
    _text(value.get("display"), scope, into)
    return _term(scope, value.get("system"), value.get("code"), into)


def _concept(value: Any, leaf: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, dict):
        return False
    _text(value.get("text"), scope, into)
    codings = value.get("coding")
    given = [_coding(one, leaf, scope, into) for one in codings] if isinstance(codings, list) else []
    return any(given)


def _identifier(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, dict):
        return False
    named = value.get("type")
    if isinstance(named, dict):
        _text(named.get("text"), scope, into)
        codings = named.get("coding")
        for one in codings if isinstance(codings, list) else ():
            if isinstance(one, dict):
                system = _type_of(str(one.get("system", "")), str(one.get("code", "")))
                _term(scope + IDENTIFIER, system, value.get("value"), into)
    return _term(scope, value.get("system"), value.get("value"), into)


def _term(scope: int, system: Any, text: Any, into: Rows) -> bool:
    if not isinstance(text, str):
        return False
    into.terms.add((scope, system if isinstance(system, str) else "", text))
    return True


def _text(text: Any, scope: int, into: Rows) -> None:
    if isinstance(text, str):
        into.terms.add((scope + TEXT, "", fold(text)))


@cache
def _systems(value_set: str) -> Mapping[str, str]:
    """The system of each code that a required binding allows."""
    return {code: system for system, code in concepts(value_set)} if value_set else {}


ROWS: Mapping[str, Enter] = {
    "code": _code,
    "boolean": _boolean,
    "string": _plain,
    "id": _plain,
    "uri": _plain,
    "ContactPoint": _contact,
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
}
