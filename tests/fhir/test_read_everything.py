"""read and $everything on the handmade record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir.everything import everything
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.read import read
from aggregator.vault.image import Image, build
from fhir_profiles.text import loads
from tests.fhir.world import GONE, INDEX, LINKS, SmallView, assert_golden, handmade, names, pairs, view_of

VIEW = view_of(handmade())

FOUND: dict[str, list[str]] = {
    "_type=Patient,Encounter": ["stay", "erika", "klinik"],
    "_type=Immunization": [],
    "_since=2026-11-05": ["stay", "metformin"],
    "_since=2026-11-04&_type=Observation": ["pulse", "undated"],
    "_count=3": ["stay", "metformin", "hba1c-2024"],
    "_count=0": [],
    "_type=Observation&start=2025": ["hba1c-2025", "potassium", "pulse", "undated"],
    "_type=Observation&end=2024-12-31": ["hba1c-2024", "undated"],
    "_type=Encounter,Observation&start=2024&end=2024": ["hba1c-2024", "undated"],
    "_type=Encounter,Patient&start=2027": ["stay", "erika", "klinik"],
}

REFUSED = (
    "start=gestern",
    "end=2026-13",
    "start=2026&end=2025",
    "_since=x",
    "_type=Patient%2C%2C",
    "start=2026&start=2025",
)


def test_read_gives_the_body_as_stored() -> None:
    stored = {record.local: record for record in handmade()}
    assert read(VIEW, "Observation", "k3.hba1c-2024") == stored["hba1c-2024"]


@pytest.mark.parametrize("query", FOUND)
def test_everything(query: str) -> None:
    assert names(loads(everything(VIEW, "k3.erika", pairs(query), LINKS, strict=True).body)) == FOUND[query]


@pytest.mark.parametrize("query", REFUSED)
def test_everything_refuses(query: str) -> None:
    with pytest.raises(BadQuery):
        everything(VIEW, "k3.erika", pairs(query), LINKS)


@given(st.integers(2023, 2027), st.integers(0, 2))
def test_care_before_and_from_a_year_is_all(year: int, more: int) -> None:
    def found(query: str) -> set[str]:
        return set(names(loads(everything(VIEW, "k3.erika", pairs(query), LINKS).body)))

    whole = found(f"start={year - more}&end={year + more}")
    assert whole <= found(f"start={year - more}") & found(f"end={year + more}")
    assert found(f"end={year}") | found(f"start={year + 1}") == found("")


def test_everything_is_the_whole_view() -> None:
    bundle = loads(everything(VIEW, "k3.erika", [], LINKS).body)
    assert sorted(names(bundle)) == sorted(record.local for record in handmade())


@pytest.mark.parametrize("count", ["", "_count=1", "_count=3", "_count=500"])
def test_what_is_sent_as_it_lies_there_is_what_is_put_together(count: str) -> None:
    def pages(view: SmallView) -> list[bytes]:
        found, query = list[bytes](), [count]
        while query:
            found.append(everything(view, "k3.erika", pairs(query[0]), LINKS).body)
            links = loads(found[-1])["link"]
            query = [one["url"].partition("?")[2] for one in links if one["relation"] == "next"]
        return found

    bare = SmallView(Image.open(build(handmade(), INDEX, [GONE])))
    assert VIEW.image.framed
    assert pages(VIEW) == pages(bare)


def test_a_page_of_everything_whole() -> None:
    assert_golden(everything(VIEW, "k3.erika", pairs("_count=2&colour=red"), LINKS).body, "everything_page")
