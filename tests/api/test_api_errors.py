"""Every error has its row in the outcome table."""

from __future__ import annotations

import inspect

from aggregator import errors
from aggregator.api.errors import TABLE, answer
from fhir_profiles.check import check
from fhir_profiles.text import loads


def _ours() -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.AggregatorError) and kind is not errors.AggregatorError
    ]


def test_every_error_is_answered_by_a_row() -> None:
    for kind in _ours():
        assert any(parent in TABLE for parent in kind.__mro__), kind
        response = answer(kind("a sentence"))
        outcome = loads(bytes(response.body))
        assert 400 <= response.status_code < 600
        assert [issue for issue in check(outcome) if issue.severity == "error"] == []


def test_what_is_ours_to_mend_tells_nothing_of_the_inside() -> None:
    for kind in (errors.Tampered, errors.OperatorError, errors.AggregatorError):
        assert b"secret detail" not in bytes(answer(kind("secret detail")).body)
