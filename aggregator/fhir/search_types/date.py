"""date: a stretch of time and how a resource's own lies to it. https://hl7.org/fhir/R4/search.html#date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Condition, Values
from aggregator.fhir.view import View
from fhir_profiles.dates import stretch

PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")

_CONTAINED = "({low} >= ? AND {high} <= ?)"
_COMPARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "eq": (_CONTAINED, ("low", "high")),
    "ne": (f"NOT {_CONTAINED}", ("low", "high")),
    "gt": ("{high} > ?", ("high",)),
    "ge": (f"({{high}} > ? OR {_CONTAINED})", ("high", "low", "high")),
    "lt": ("{low} < ?", ("low",)),
    "le": (f"({{low}} < ? OR {_CONTAINED})", ("low", "low", "high")),
    "sa": ("{low} >= ?", ("high",)),
    "eb": ("{high} <= ?", ("low",)),
}
"""How a resource's stretch must lie to the query's, which fills the marks with these of its ends. High is excluded.

https://hl7.org/fhir/R4/search.html#prefix by the letter: `ge` and `le` take what reaches beyond the query's stretch or
lies within it, so a stay that ends on the day asked for is not `ge` that day.
"""


@dataclass(frozen=True, slots=True)
class SpanTest:
    """A stretch of time (milliseconds since 1970 UTC, high excluded) and how a resource's own must lie to it."""

    prefix: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """The resource has a span that passes one of the tests."""

    name: str
    resource_type: str
    scope: int
    tests: tuple[SpanTest, ...]

    @property
    def alternatives(self) -> int:
        """Each test is one."""
        return len(self.tests)

    def clause(self, view: View) -> Clause:
        """Spans of this scope; of scope 0 the time a resource was last updated, which is its own column."""
        size = view.image.count(self.resource_type)
        if not self.scope:
            compared, values = _compared(self.tests, low="{row}.updated", high="({row}.updated + 1)")
            return Clause(table="resource", holds=compared, values=values, size=size)
        compared, values = _compared(self.tests, low="{row}.low", high="{row}.high")
        holds = f"{{row}}.scope = ? AND {compared}"
        return Clause(table="span", holds=holds, values=[self.scope, *values], size=size)


def parse(asked: Asked) -> Condition:
    """A date with or without a prefix."""
    tests = tuple(_test(asked, value) for value in asked.values)
    parameter = asked.parameter
    return Dates(name=asked.name, resource_type=parameter.resource_type, scope=parameter.scope, tests=tests)


def _test(asked: Asked, value: str) -> SpanTest:
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    if prefix not in PREFIXES:
        raise asked.bad(f"its prefix is not one of {', '.join(PREFIXES)}")
    found = stretch(text)
    if found is None:
        raise asked.bad("not a date")
    return SpanTest(prefix, *found)


def _compared(tests: Sequence[SpanTest], *, low: str, high: str) -> tuple[str, Values]:
    texts, values = list[str](), Values()
    for test in tests:
        text, ends = _COMPARED[test.prefix]
        texts.append(text.format(low=low, high=high))
        values.extend(getattr(test, end) for end in ends)
    return f"({' OR '.join(texts)})", values
