"""Laws of search: it finds what a naive filter finds, and its pages put together are the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir.everything import everything
from aggregator.fhir.outcome import FhirError
from aggregator.fhir.search import search
from aggregator.vault.image import Record
from fhir_profiles.text import Resource, dumps, loads
from tests.fhir.world import LINKS, SmallView, names, next_query, record, view_of

BERLIN = ZoneInfo("Europe/Berlin")
SYSTEMS = ["", "urn:a", "urn:b"]
CODES = ["1", "2", "3"]
Stretch = tuple[datetime, datetime]

DATES: dict[str, Stretch] = {
    text: (datetime.fromisoformat(low).astimezone(BERLIN), datetime.fromisoformat(high).astimezone(BERLIN))
    for text, low, high in [
        ("2025", "2025-01-01T00:00+01:00", "2026-01-01T00:00+01:00"),
        ("2026", "2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2026-03", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("2026-03-29", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("2026-03-29T12:00", "2026-03-29T12:00+02:00", "2026-03-29T12:01+02:00"),
        ("2026-03-29T10:00:00Z", "2026-03-29T10:00:00+00:00", "2026-03-29T10:00:01+00:00"),
        ("2026-03-29T10:00:00.500Z", "2026-03-29T10:00:00.500+00:00", "2026-03-29T10:00:00.501+00:00"),
        ("2026-12-31", "2026-12-31T00:00+01:00", "2027-01-01T00:00+01:00"),
    ]
}


def contained(one: Stretch, other: Stretch) -> bool:
    return other[0] <= one[0] and one[1] <= other[1]


COMPARED: dict[str, Callable[[Stretch, Stretch], bool]] = {
    "": contained,
    "eq": contained,
    "ne": lambda mine, asked: not contained(mine, asked),
    "gt": lambda mine, asked: mine[1] > asked[1],
    "ge": lambda mine, asked: mine[1] > asked[1] or contained(mine, asked),
    "lt": lambda mine, asked: mine[0] < asked[0],
    "le": lambda mine, asked: mine[0] < asked[0] or contained(mine, asked),
    "sa": lambda mine, asked: mine[0] >= asked[1],
    "eb": lambda mine, asked: mine[1] <= asked[0],
}

codings = st.builds(
    lambda system, code: {"system": system, "code": code} if system else {"code": code},
    st.sampled_from(SYSTEMS),
    st.sampled_from(CODES),
)
concepts = st.lists(codings, max_size=2).map(lambda found: {"coding": found})
facts = st.fixed_dictionaries(
    {},
    optional={
        "code": concepts,
        "category": st.lists(concepts, max_size=2),
        "effectiveDateTime": st.sampled_from(list(DATES)),
    },
)
tokens = st.one_of(
    st.sampled_from(CODES),
    st.builds("{}|{}".format, st.sampled_from(SYSTEMS), st.sampled_from(CODES)),
    st.sampled_from(["urn:a|", "urn:b|"]),
)
asked_dates = st.builds("{}{}".format, st.sampled_from(list(COMPARED)), st.sampled_from(list(DATES)))


def some(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.lists(values, min_size=1, max_size=3).map(lambda chosen: (name, ",".join(chosen)))


queries = st.lists(st.one_of(some("code", tokens), some("category", tokens), some("date", asked_dates)), max_size=4)


def observations(found: Sequence[dict[str, Any]]) -> list[Record]:
    meta = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
    return [
        record(dumps({"resourceType": "Observation", "id": f"k3.o{number:03}", "meta": meta, **fact}))
        for number, fact in enumerate(found)
    ]


def naively(resource: Resource, name: str, value: str) -> bool:
    if name == "date":
        return "effectiveDateTime" in resource and any(
            dated(resource["effectiveDateTime"], one) for one in value.split(",")
        )
    concepts_of = {"code": [resource.get("code", {})], "category": resource.get("category", [])}[name]
    has = [
        (coding.get("system", ""), coding["code"]) for concept in concepts_of for coding in concept.get("coding", [])
    ]
    return any(coded(pair, one) for pair in has for one in value.split(","))


def dated(mine: str, asked: str) -> bool:
    prefix = asked[:2] if asked[0].isalpha() else ""
    return COMPARED[prefix](DATES[mine], DATES[asked.removeprefix(prefix)])


def coded(pair: tuple[str, str], asked: str) -> bool:
    system, bar, code = asked.rpartition("|")
    return (not bar or pair[0] == system) and (not code or pair[1] == code)


@settings(max_examples=300, deadline=None)
@given(st.lists(facts, max_size=12), queries)
def test_search_finds_what_a_naive_filter_finds(found: list[dict[str, Any]], query: list[tuple[str, str]]) -> None:
    records = observations(found)
    bundle = loads(search(view_of(records), "Observation", query, LINKS).body)
    expected = [one.local for one in records if all(naively(loads(one.body), *pair) for pair in query)]
    assert names(bundle) == expected
    assert bundle["total"] == len(expected)


ODD_VIEW = view_of(observations([{"code": {"coding": [{"code": "1"}]}, "effectiveDateTime": "2026"}]))


def pages(view: SmallView, query: list[tuple[str, str]]) -> list[list[str]]:
    found, at = [], [*query]
    while True:
        bundle = loads(search(view, "Observation", at, LINKS).body)
        found.append(names(bundle))
        following = next_query(bundle)
        if following is None:
            return found
        at = following


@settings(max_examples=100, deadline=None)
@given(st.lists(facts, max_size=12), queries, st.integers(1, 14))
def test_pages_together_are_the_whole(found: list[dict[str, Any]], query: list[tuple[str, str]], size: int) -> None:
    view = view_of(observations(found))
    (whole,) = pages(view, query)
    cut = pages(view, [*query, ("_count", str(size))])
    assert [name for page in cut for name in page] == whole
    assert all(len(page) == size for page in cut[:-1])


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 30), min_size=3), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_a_page_link_survives_what_is_written_meanwhile(old: set[int], new: set[int], deleted: set[int]) -> None:
    everyone = observations([{"code": {"coding": [{"code": "1"}]}}] * 31)
    query = [("code", "1"), ("_count", "2")]
    first = loads(search(view_of(everyone[number] for number in old), "Observation", query, LINKS).body)
    then = (old | new) - deleted
    following = next_query(first)
    assert following is not None
    second = loads(search(view_of(everyone[number] for number in then), "Observation", following, LINKS).body)
    shown = sorted(old)[1]
    assert names(second) == [f"o{number:03}" for number in sorted(then) if number > shown][:2]


odd = st.one_of(st.text(max_size=12), st.text("\\\\|,$:=ge2026-/.", max_size=12), tokens, asked_dates)
odd_names = st.sampled_from(
    ["code", "subject", "subject:Patient", "patient", "date", "identifier", "_id", "_lastUpdated", "_count", "_page"]
)


@pytest.mark.attack(46)
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.one_of(odd_names, st.text(max_size=8)), odd), max_size=4), st.booleans())
def test_whatever_is_asked_is_answered_or_refused(query: list[tuple[str, str]], strict: bool) -> None:
    try:
        answer = search(ODD_VIEW, "Observation", query, LINKS, strict=strict).body
    except FhirError as error:
        answer = error.outcome()
    assert loads(answer)["resourceType"] in ("Bundle", "OperationOutcome")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_of_everything_together_are_the_whole(size: int) -> None:
    patient = dumps({"resourceType": "Patient", "id": "k3.p", "meta": {"versionId": "1", "lastUpdated": "2026"}})
    view = view_of([*observations([{}] * 6), record(patient)])
    at: list[tuple[str, str]] | None = [("_count", str(size))]
    found = list[str]()
    while at is not None:
        bundle = loads(everything(view, "k3.p", at, LINKS).body)
        found.extend(names(bundle))
        at = next_query(bundle)
    assert found == [*(f"o{number:03}" for number in range(6)), "p"]


def test_a_page_is_no_longer_than_the_most() -> None:
    view = view_of(observations([{}] * 510))
    assert [len(page) for page in pages(view, [("_count", "100000")])] == [500, 10]
