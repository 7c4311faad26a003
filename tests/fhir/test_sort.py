"""_sort: a table of orders, laws on pages of every order, and what cannot be sorted by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.search import search
from aggregator.fhir.sort import LONGEST
from aggregator.vault.image import Record
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, SmallView, handmade, names, next_query, pairs, record, view_of

VIEW = view_of(handmade())

ORDERS: dict[str, list[str]] = {
    "date": ["hba1c-2024", "hba1c-2025", "potassium", "pulse", "undated"],
    "-date": ["potassium", "pulse", "hba1c-2025", "hba1c-2024", "undated"],
    "code": ["hba1c-2024", "hba1c-2025", "pulse", "potassium", "undated"],
    "-code": ["potassium", "hba1c-2024", "pulse", "hba1c-2025", "undated"],
    "_lastUpdated": ["hba1c-2024", "hba1c-2025", "potassium", "pulse", "undated"],
    "-_lastUpdated": ["pulse", "undated", "potassium", "hba1c-2025", "hba1c-2024"],
    "_id": ["hba1c-2024", "hba1c-2025", "potassium", "pulse", "undated"],
    "-_id": ["undated", "pulse", "potassium", "hba1c-2025", "hba1c-2024"],
    "status,-date": ["hba1c-2025", "potassium", "pulse", "hba1c-2024", "undated"],
    "subject,-_id": ["potassium", "hba1c-2024", "pulse", "hba1c-2025", "undated"],
}


@pytest.mark.parametrize("order", ORDERS)
def test_orders(order: str) -> None:
    """A period counts by its beginning, in a descending order by its end; of two codes the first, or the last."""
    bundle = loads(search(VIEW, "Observation", [("_sort", order)], LINKS, strict=True).body)
    assert names(bundle) == ORDERS[order]


REFUSED = {
    "_sort=colour": "_sort: not by a search parameter of this type",
    "_sort=": "_sort: not by a search parameter of this type",
    "_sort=date,": "_sort: not by a search parameter of this type",
    "_sort=date:SECRET": "_sort: not by a search parameter of this type",
    "_sort=date&_sort=code": "_sort: given twice",
    f"_sort={','.join(['date'] * 9)}": "_sort: more than 8 keys",
}


@pytest.mark.parametrize("query", REFUSED)
def test_refused(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", pairs(query), LINKS)
    assert str(caught.value) == REFUSED[query]


META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
CODES, DATES = ["", "a", "B", "ä", "c" * (LONGEST + 1), "c" * (LONGEST + 2)], ["", "2024", "2025-05", "2025-05-04"]
SYSTEMS = ["urn:x", "urn:y"]
facts = st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from(DATES), st.sampled_from(SYSTEMS)), max_size=9)
keys = st.lists(st.sampled_from(["date", "code", "_lastUpdated", "_id", "status"]), min_size=1, max_size=3, unique=True)
orders = keys.flatmap(lambda chosen: st.tuples(*(st.sampled_from([key, f"-{key}"]) for key in chosen))).map(",".join)


def observation(number: int, fact: tuple[str, str, str]) -> Record:
    code, date, system = fact
    made: dict[str, Any] = {"resourceType": "Observation", "id": f"k3.o{number:02}", "meta": META}
    made |= {"code": {"coding": [{"system": system, "code": code}]}} if code else {}
    return record(dumps(made | ({"effectiveDateTime": date} if date else {})))


def pages(view: SmallView, query: list[tuple[str, str]]) -> list[list[str]]:
    found, at = list[list[str]](), [*query]
    while True:
        bundle = loads(search(view, "Observation", at, LINKS).body)
        found.append(names(bundle))
        following = next_query(bundle)
        if following is None:
            return found
        at = following


@settings(max_examples=150, deadline=None)
@given(facts, orders, st.integers(1, 5))
def test_pages_of_any_order_are_all_that_is_found_once(
    found: list[tuple[str, str, str]], order: str, size: int
) -> None:
    view = view_of(observation(number, fact) for number, fact in enumerate(found))
    (whole,) = pages(view, [("_sort", order)])
    assert sorted(whole) == [f"o{number:02}" for number in range(len(found))]
    cut = pages(view, [("_sort", order), ("_count", str(size))])
    assert [name for page in cut for name in page] == whole
    assert all(len(page) == size for page in cut[:-1])


@settings(max_examples=100, deadline=None)
@given(facts, st.sampled_from(["code", "-code", "date", "-date"]))
def test_the_order_is_that_of_the_values_and_none_comes_last(found: list[tuple[str, str, str]], order: str) -> None:
    view = view_of(observation(number, fact) for number, fact in enumerate(found))
    (whole,) = pages(view, [("_sort", order)])
    place = 0 if order.endswith("code") else 1
    shown = [found[int(name[1:])][place] for name in whole]
    there = [value for value in shown if value]
    assert shown[len(there) :] == [""] * (len(shown) - len(there))
    compared = [value[:LONGEST] if place == 0 else _end(value, order) for value in there]
    assert compared == sorted(compared, reverse=order.startswith("-"))


def _end(date: str, order: str) -> str:
    """2025 begins with its first day and ends with its last."""
    return date.ljust(10, "-" if order == "date" else "~")


@settings(max_examples=60, deadline=None)
@given(facts.filter(lambda found: len(found) > 3), st.sets(st.integers(0, 8)), orders)
def test_a_page_link_of_any_order_survives_what_is_written_and_deleted(
    found: list[tuple[str, str, str]], late: set[int], order: str
) -> None:
    """What there was at both pages, and stayed as it was, is shown on one of them and on none twice."""
    everyone = [observation(number, fact) for number, fact in enumerate(found)]
    old = [one for number, one in enumerate(everyone) if number not in late] or everyone
    first = loads(search(view_of(old), "Observation", [("_sort", order), ("_count", "2")], LINKS).body)
    following = next_query(first)
    if following is None:
        return
    shown = names(first)
    left = [one for one in everyone if one.local != shown[0]]
    rest = [name for page in pages(view_of(left), following) for name in page]
    (whole,) = pages(view_of(everyone), [("_sort", order)])
    assert [*rest] == whole[whole.index(shown[-1]) + 1 :]
