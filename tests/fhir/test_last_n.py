"""Observation/$lastn on a handmade record of measurements."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir.last_n import last_n
from aggregator.fhir.outcome import BadQuery, UnknownParameter
from aggregator.vault.image import Record
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, assert_golden, names, pairs, record, view_of

LOINC = "http://loinc.org"
OWN = "urn:labor"


def observation(
    local: str, day: str, *codings: tuple[str, str], text: str = "", category: str = "laboratory"
) -> Record:
    code: dict[str, Any] = {"coding": [{"system": system, "code": one} for system, one in codings]} if codings else {}
    made = {
        "resourceType": "Observation",
        "id": f"k3.{local}",
        "meta": {"versionId": "1", "lastUpdated": "2026-11-01T08:00:00+01:00"},
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}
        ],
        "code": code | ({"text": text} if text else {}),
        "subject": {"reference": "Patient/k3.erika"},
    }
    return record(dumps(made | ({"effectiveDateTime": day} if day else {})))


RECORD = [
    observation("k-1", "2026-01-01", (OWN, "K")),
    observation("k-2", "2026-02-01", (OWN, "K"), (LOINC, "2823-3")),
    observation("k-3", "2026-03-01", (LOINC, "2823-3")),
    observation("k-undated", "", (LOINC, "2823-3")),
    observation("na-1", "2026-03-02", (LOINC, "2951-2")),
    observation("na-2", "2026-03-02", (LOINC, "2951-2")),
    observation("words-1", "2026-01-05", text="Blut  im Urin"),
    observation("words-2", "2026-01-06", text="blut im urin "),
    observation("pulse", "2026-04-01", (LOINC, "8867-4"), category="vital-signs"),
]
VIEW = view_of(RECORD)
LABORATORY = "patient=k3.erika&category=laboratory"

FOUND: dict[str, list[str]] = {
    LABORATORY: ["na-1", "na-2", "k-3", "words-2"],
    f"{LABORATORY}&max=1": ["na-1", "na-2", "k-3", "words-2"],
    f"{LABORATORY}&max=2": ["na-1", "na-2", "k-3", "k-2", "words-2", "words-1"],
    f"{LABORATORY}&max=100": ["na-1", "na-2", "k-3", "k-2", "k-1", "k-undated", "words-2", "words-1"],
    "patient=k3.erika&code=http://loinc.org|2823-3&max=5": ["k-3", "k-2", "k-undated"],
    "subject=Patient/k3.erika&category=vital-signs": ["pulse"],
    "patient=k3.erika&category=laboratory&date=lt2026-02-15": ["k-2", "words-2"],
    "patient=k3.other&category=laboratory": [],
}

REFUSED: dict[str, str] = {
    "category=laboratory": "patient: $lastn needs patient or subject",
    "patient=k3.erika": "code: $lastn needs category or code",
    "patient=k3.erika&status=final": "code: $lastn needs category or code",
    f"{LABORATORY}&max=0": "max: not a positive number",
    f"{LABORATORY}&max=-1": "max: not a positive number",
    f"{LABORATORY}&max=1&max=2": "max: given twice",
    f"{LABORATORY}&_count=5": "_count: $lastn answers in one Bundle and takes max alone",
    f"{LABORATORY}&_summary=count": "_summary: $lastn answers in one Bundle and takes max alone",
}


@pytest.mark.parametrize("query", FOUND)
def test_the_newest_of_each_code(query: str) -> None:
    bundle = loads(last_n(VIEW, pairs(query), LINKS, strict=True).body)
    assert names(bundle) == FOUND[query]
    assert bundle["total"] == len(FOUND[query])


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_no_such_query(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        last_n(VIEW, pairs(query), LINKS)
    assert str(caught.value) == REFUSED[query]


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(UnknownParameter):
        last_n(VIEW, pairs(f"{LABORATORY}&colour=red"), LINKS, strict=True)
    assert_golden(last_n(VIEW, pairs(f"{LABORATORY}&code=2823-3&colour=red"), LINKS).body, "last_n")


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcde"), max_size=3, unique=True), st.integers(1, 28)), max_size=12),
    st.integers(1, 3),
)
def test_no_group_is_without_its_newest(told: list[tuple[list[str], int]], most: int) -> None:
    """Whatever is left out has a newer one with which its code is shared, directly or through others."""
    made = [
        observation(f"o{number:02}", f"2026-01-{day:02}", *((LOINC, code) for code in codes), text="x")
        for number, (codes, day) in enumerate(told)
    ]
    query = f"{LABORATORY}&max={most}"
    shown = set(names(loads(last_n(view_of(made), pairs(query), LINKS).body)))
    groups = list[tuple[set[str], list[tuple[int, str]]]]()
    for number, (codes, day) in enumerate(told):
        keys = set(codes) or {"text"}
        joined = [group for group in groups if group[0] & keys]
        groups = [group for group in groups if not group[0] & keys]
        members = [member for group in joined for member in group[1]]
        groups.append((keys.union(*(group[0] for group in joined)), [*members, (day, f"o{number:02}")]))
    for _, members in groups:
        limit = sorted(members, reverse=True)[min(most, len(members)) - 1][0]
        assert {name for day, name in members if day >= limit} == shown & {name for _, name in members}
