"""token: a code of a system. https://hl7.org/fhir/R4/search.html#token."""

from __future__ import annotations

from aggregator.fhir.asked import Asked, barred, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.search_types.terms import Terms, TermTest


def parse(asked: Asked) -> Condition:
    """`code`, `system|code`, `|code` (of no system), `system|` (any code of it)."""
    tests = tuple(_test(asked, value) for value in asked.values)
    return Terms(name=asked.name, scope=asked.parameter.scope, tests=tests)


def _test(asked: Asked, value: str) -> TermTest:
    parts = barred(value)
    if parts is None:
        return TermTest(None, plain(value))
    system, code = map(plain, parts)
    if not system and not code:
        raise asked.bad("neither a system nor a code")
    return TermTest(system, code or None)
