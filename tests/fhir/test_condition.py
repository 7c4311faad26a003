"""A condition finds one resource, or none; what is not understood in it finds nothing."""

from __future__ import annotations

import pytest

from aggregator.fhir.condition import Condition, found
from aggregator.fhir.outcome import Ambiguous, BadQuery
from tests.fhir.world import BASE, VAULT, handmade, view_of

VIEW = view_of(handmade())


def test_it_finds_the_one_there_is_or_none() -> None:
    (one, *_) = handmade()
    condition = Condition(one.resource_type, f"_id={VAULT}.{one.local}")
    assert found(VIEW, condition, BASE) == [one]
    assert found(VIEW, Condition(one.resource_type, "_id=none"), BASE) == []
    assert found(VIEW, Condition("Basic", "identifier=none"), BASE) == []


def test_more_than_one_is_told() -> None:
    with pytest.raises(Ambiguous):
        found(VIEW, Condition("Observation", "status=final,amended"), BASE)
    assert len(found(VIEW, Condition("Observation", "status=final,amended", several=True), BASE)) > 1


@pytest.mark.parametrize("query", ["", "_count=1", "identifer=x", "_sort=date"])
def test_what_says_nothing_finds_nothing(query: str) -> None:
    with pytest.raises(BadQuery):
        found(VIEW, Condition("Observation", query), BASE)


def test_a_link_without_a_query_is_none() -> None:
    assert Condition.of("Patient/x") is None
