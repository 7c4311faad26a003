"""date: a stretch of time and how a resource's own lies to it. https://hl7.org/fhir/R4/search.html#date.

A resource's stretch is what its precision means, or the Period's, or a Timing's from first to last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Condition
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.spans import Spans, SpanTest, any_of, prefixed
from aggregator.fhir.view import View
from aggregator.vault.index_rows import Rows
from fhir_profiles.dates import EVER, stretch

Stretch = tuple[int, int]

_CONTAINED = "({low} >= ? AND {high} <= ?)"
_COMPARED: dict[str, tuple[str, tuple[int, ...]]] = {
    "eq": (_CONTAINED, (0, 1)),
    "ne": (f"NOT {_CONTAINED}", (0, 1)),
    "gt": ("{high} > ?", (1,)),
    "ge": (f"({{high}} > ? OR {_CONTAINED})", (1, 0, 1)),
    "lt": ("{low} < ?", (0,)),
    "le": (f"({{low}} < ? OR {_CONTAINED})", (0, 0, 1)),
    "sa": ("{low} >= ?", (1,)),
    "eb": ("{high} <= ?", (0,)),
    "ap": ("({low} < ? AND {high} > ?)", (3, 2)),
}
"""How a resource's stretch must lie to the query's, which fills the marks with these of its ends. High is excluded.

https://hl7.org/fhir/R4/search.html#prefix by the letter: `ge` and `le` take what reaches beyond the query's stretch or
lies within it, so a stay that ends on the day asked for is not `ge` that day. `ap` is what touches the stretch, made
longer by its own length on both sides (ends 2 and 3): a day more for a day, a year for a year.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The resource was last updated at one of these times, which is a column of its own."""

    name: str
    resource_type: str
    tests: tuple[SpanTest, ...]

    @property
    def alternatives(self) -> int:
        """Each test is one."""
        return len(self.tests)

    def clause(self, view: View) -> Clause:
        """A moment is a stretch of one millisecond."""
        holds, values = any_of(self.tests, low="{row}.updated", high="({row}.updated + 1)")
        return Clause(table="resource", holds=holds, values=values, size=view.image.count(self.resource_type))


def parse(asked: Asked) -> Condition:
    """A date with or without a prefix."""
    return Spans.of(asked, _test)


def parse_updated(asked: Asked) -> Condition:
    """The same of `_lastUpdated`."""
    tests = tuple(_test(asked, value) for value in asked.values)
    return Updated(name=asked.name, resource_type=asked.parameter.resource_type, tests=tests)


def _test(asked: Asked, value: str) -> SpanTest:
    prefix, text = prefixed(asked, value)
    found = stretch(text)
    if found is None:
        raise asked.bad("not a date")
    low, high = found
    ends = (low, high, 2 * low - high, 2 * high - low)
    holds, places = _COMPARED[prefix]
    return SpanTest(holds, tuple(ends[place] for place in places))


def _date(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    return _add(_moment(value), scope, into)


def _period(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    return _add(_between(value), scope, into)


def _timing(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    """From the first event to the last, with the bounds of the repetition."""
    if not isinstance(value, dict):
        return False
    events, repeat = value.get("event"), value.get("repeat")
    found = [_moment(event) for event in (events if isinstance(events, list) else ())]
    found.append(_between(repeat.get("boundsPeriod")) if isinstance(repeat, dict) else None)
    known = [one for one in found if one]
    return _add((min(low for low, _ in known), max(high for _, high in known)) if known else None, scope, into)


def _add(found: Stretch | None, scope: int, into: Rows) -> bool:
    if found:
        into.spans.add((scope, *found, None))
    return found is not None


def _moment(value: Any) -> Stretch | None:
    return stretch(value) if isinstance(value, str) else None


def _between(value: Any) -> Stretch | None:
    """A Period. An end left open reaches for ever; one with neither is none."""
    if not isinstance(value, dict):
        return None
    start, end = _moment(value.get("start")), _moment(value.get("end"))
    if start is None and end is None:
        return None
    low, high = start[0] if start else EVER[0], end[1] if end else EVER[1]
    return (low, high) if low < high else None


ROWS: Mapping[str, Enter] = {
    "date": _date,
    "dateTime": _date,
    "instant": _date,
    "Period": _period,
    "Timing": _timing,
}
