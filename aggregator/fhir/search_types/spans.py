"""Conditions on the spans of an image: what dates, numbers and quantities have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Values, scoped
from aggregator.fhir.view import View

Test = TypeVar("Test")

PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")


@dataclass(frozen=True, slots=True)
class SpanTest:
    """How a resource's span must lie: SQL on `{low}` and `{high}`, and what fills its marks."""

    holds: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested(Generic[Test]):
    """The resource has a span in one of these scopes that passes one of the tests."""

    name: str
    resource_type: str
    scopes: tuple[int, ...]
    tests: tuple[Test, ...]

    @classmethod
    def of(cls, asked: Asked, test: Callable[[Asked, str], Test]) -> Self:
        """Each value that is asked for makes a test."""
        parameter, tests = asked.parameter, tuple(test(asked, value) for value in asked.values)
        return cls(name=asked.name, resource_type=parameter.resource_type, scopes=parameter.scopes, tests=tests)

    @property
    def alternatives(self) -> int:
        """Each test is one."""
        return len(self.tests)


class Spans(Tested[SpanTest]):
    """By its ends alone."""

    __slots__ = ()

    def clause(self, view: View) -> Clause:
        """Every row of these scopes is looked at."""
        passed, values = any_of(self.tests, low="{row}.low", high="{row}.high")
        holds = f"{scoped(self.scopes)} AND {passed}"
        return Clause(table="span", holds=holds, values=values, size=view.image.count(self.resource_type))


def any_of(tests: Sequence[SpanTest], *, low: str, high: str) -> tuple[str, Values]:
    """One of the tests holds of these columns."""
    texts = (test.holds.format(low=low, high=high) for test in tests)
    return f"({' OR '.join(texts)})", [value for test in tests for value in test.values]


def prefixed(asked: Asked, value: str) -> tuple[str, str]:
    """The prefix and what stands behind it. https://hl7.org/fhir/R4/search.html#prefix. Raises BadQuery."""
    if not value[:2].isalpha():
        return "eq", value
    if value[:2] not in PREFIXES:
        raise asked.bad(f"its prefix is not one of {', '.join(PREFIXES)}")
    return value[:2], value[2:]
