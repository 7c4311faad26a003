"""What of a view goes into a bulk export: counts and pieces, on the handmade record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir import bulk
from aggregator.fhir.bulk import DELETED, EXPORTED, Wanted, counts, piece, wanted
from aggregator.fhir.outcome import BadQuery
from fhir_profiles.text import loads
from tests.fhir.world import handmade, pairs, record, view_of

VIEW = view_of(handmade())
ALL = Wanted(types=tuple(sorted(EXPORTED)), since=None)


def lines(name: str, asked: Wanted) -> list[str]:
    """The local ids of all pieces."""
    found, after = list[str](), None
    while True:
        made = piece(VIEW, name, asked, after)
        ids = [loads(line)["id"].removeprefix("k3.") for line in made.lines.splitlines()]
        assert len(ids) == made.shown
        found += ids
        if made.last is None:
            return found
        assert made.last == ids[-1]
        after = made.last


@given(st.integers(1, 7))
def test_the_pieces_are_the_whole_whatever_their_size(size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "PIECE", size)
        found = {f"{name}/{local}" for name in counts(VIEW, ALL) for local in lines(name, ALL)}
    assert found == {f"{one.resource_type}/{one.local}" for one in handmade()}


def test_counts_are_of_the_lines() -> None:
    for since in (None, 1_762_243_200_000):
        asked = Wanted(types=("Encounter", "Observation", "Immunization"), since=since)
        told = counts(VIEW, asked)
        assert {name: len(lines(name, asked)) for name in told if name != DELETED} == {
            name: number for name, number in told.items() if name != DELETED
        }
    assert counts(VIEW, Wanted(types=("Immunization",), since=None)) == {}


def test_what_was_deleted_is_told_since_then_alone() -> None:
    asked = Wanted(types=("Observation",), since=1_761_000_000_000)
    assert counts(VIEW, asked)[DELETED] == 1
    (line,) = piece(VIEW, DELETED, asked, None).lines.splitlines()
    assert loads(line)["entry"] == [{"request": {"method": "DELETE", "url": "Observation/k3.mistaken"}}]
    for other in (Wanted(types=("Condition",), since=asked.since), Wanted(types=("Observation",), since=2**41)):
        assert DELETED not in counts(VIEW, other)


def test_a_resource_that_came_in_several_lines_is_one() -> None:
    body = b'{"resourceType":"Basic",\n "id":"k3.b",\r\n "meta":{"versionId":"1","lastUpdated":"2026-11-01T08:00:00Z"}}'
    made = piece(view_of([record(body)]), "Basic", ALL, None)
    assert made.lines.count(b"\n") == 1
    assert loads(made.lines) == loads(body)


@pytest.mark.parametrize(
    "form", ["application/fhir+ndjson", "application/fhir%2Bndjson", "application/ndjson", "ndjson"]
)
def test_formats(form: str) -> None:
    assert wanted(pairs(f"_outputFormat={form}"), {"Basic"}).types == ("Basic",)


def test_what_may_not_be_had_is_named() -> None:
    with pytest.raises(BadQuery, match=r"^_type: Condition may not be exported$"):
        wanted(pairs("_type=Basic,Condition"), {"Basic"})
