"""Whether what a caller sends is FHIR R4: each error is an issue that names its place."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.fhir.outcome import Issue, NotValid
from fhir_profiles import check as checking
from fhir_profiles.check import check
from fhir_profiles.text import Resource


def refuse_invalid(resource: Resource, place: str = "") -> None:
    """Raise NotValid. place: where the resource stands in a Bundle, `Bundle.entry[3]`."""
    issues = check(resource)
    if any(one.severity == "error" for one in issues):
        raise not_valid(issues, place)


def not_valid(issues: Iterable[checking.Issue], place: str = "") -> NotValid:
    """The error of these issues; place as above."""
    return NotValid(
        Issue(severity=one.severity, code=one.code, text=one.text, expression=_within(place, one.expression))
        for one in issues
    )


def _within(place: str, expression: str) -> str:
    if not place:
        return expression
    _, dot, rest = expression.partition(".")
    return f"{place}.resource{dot}{rest}"
