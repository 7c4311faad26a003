"""number: how a resource's number lies to that which is asked for. https://hl7.org/fhir/R4/search.html#number.

What is asked is as exact as it is written: 100 means 99.5 to 100.5, 100.00 means 99.995 to 100.005, 1e2 means 50 to
150. The prefixes but `eq` and `ne` compare with the number itself; `ap` takes a tenth of it more on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Condition
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.spans import Spans, SpanTest, prefixed
from aggregator.vault.index_rows import Rows, Unit
from fhir_profiles.text import Number

_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?", re.ASCII)

COMPARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "eq": ("({low} >= ? AND {high} < ?)", ("low", "high")),
    "ne": ("NOT ({low} >= ? AND {high} < ?)", ("low", "high")),
    "gt": ("{high} > ?", ("value",)),
    "ge": ("{high} >= ?", ("value",)),
    "lt": ("{low} < ?", ("value",)),
    "le": ("{low} <= ?", ("value",)),
    "sa": ("{low} > ?", ("value",)),
    "eb": ("{high} < ?", ("value",)),
    "ap": ("({low} <= ? AND {high} >= ?)", ("most", "least")),
}
"""How a resource's span must lie to the query's number, which fills the marks with these of its ends."""

Ends = tuple[float | None, float | None]


def parse(asked: Asked) -> Condition:
    """A number with or without a prefix."""
    return Spans.of(asked, _test)


def _test(asked: Asked, value: str) -> SpanTest:
    prefix, text = prefixed(asked, value)
    holds, names = COMPARED[prefix]
    meant = ends(asked, text)
    return SpanTest(holds, tuple(float(meant[name]) for name in names))


def ends(asked: Asked, text: str) -> Mapping[str, Decimal]:
    """What a number as it is written means. Raises BadQuery."""
    if not _NUMBER.fullmatch(text):
        raise asked.bad("not a number")
    value = Decimal(text)
    half, tenth = Decimal((0, (5,), int(value.as_tuple().exponent) - 1)), abs(value) / 10
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "least": value - tenth,
        "most": value + tenth,
    }


def real(value: Any) -> float | None:
    """A JSON number, as far as SQLite holds it."""
    if isinstance(value, Number):
        return float(value.text)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def between(found: Ends, scope: int, unit: Unit | None, into: Rows) -> bool:
    """A range; an end that is left open reaches for ever."""
    low, high = found
    if low is None and high is None:
        return False
    least, most = -float("inf") if low is None else low, float("inf") if high is None else high
    into.spans.add((scope, least, most, unit))
    return True


def _number(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    found = real(value)
    return between((found, found), scope, None, into)


def _range(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    low, high = range_ends(value)
    return between((real(low.get("value")), real(high.get("value"))), scope, None, into)


def range_ends(value: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The low and the high Quantity of a Range; one that is not there is empty."""
    range_ = value if isinstance(value, dict) else {}
    low, high = range_.get("low"), range_.get("high")
    return low if isinstance(low, dict) else {}, high if isinstance(high, dict) else {}


ROWS: Mapping[str, Enter] = {"decimal": _number, "integer": _number, "Range": _range}
