"""The condition of a conditional interaction: a search in the caller's view that must find one resource at most.

https://hl7.org/fhir/R4/http.html#cond-update; what is deleted may be several (#cdelete). Judged in the view, so it
tells nothing of what the view does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from aggregator.fhir.outcome import Ambiguous, BadQuery
from aggregator.fhir.plan import plan
from aggregator.fhir.query import parse
from aggregator.fhir.view import View
from aggregator.vault.image import Record

MOST = 1000
"""Resources that a condition may find where it may find several."""


class Condition(NamedTuple):
    """A type and a query, as it came. several: it may find more than one."""

    resource_type: str
    query: str
    several: bool = False

    @classmethod
    def of(cls, text: str) -> Condition | None:
        """Of `Patient?identifier=x`, None for what has no query."""
        resource_type, mark, query = text.partition("?")
        return cls(resource_type, query) if mark else None


def found(view: View, condition: Condition, base_url: str) -> Sequence[Record]:
    """What satisfies it. Raises Ambiguous for more than may, BadQuery for whatever is not understood in it.

    Strict, whatever the caller prefers: a condition that leaves out a part of itself would hit another resource.
    """
    pairs = parse_qsl(condition.query, keep_blank_values=True)
    kind = condition.resource_type
    conditions = parse((kind,), pairs, base_url=base_url, strict=True).conditions[kind]
    if not conditions:
        raise BadQuery("condition", "a search that says what it looks for is needed")
    most = MOST if condition.several else 1
    rids = [view.image.find(kind, one.local) for one in plan(view, kind, conditions).page(view.image, 0, most + 1)]
    if len(rids) > most:
        raise Ambiguous(kind, most)
    return view.image.fetch([rid for rid in rids if rid is not None])
