"""string: a text that begins so, without case and accents. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.index import fold
from aggregator.fhir.search_types.terms import Terms, TermTest


def parse(asked: Asked) -> Condition:
    """Any text."""
    tests = tuple(TermTest("", fold(plain(value)), begins=True) for value in asked.values)
    return Terms(name=asked.name, scope=asked.parameter.scope, tests=tests)
