"""A history: every version once, the newest first, page by page; by when it came, and by when it was current."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir.history import Past, history, of_state, of_view
from aggregator.vault.encoding import instant_of
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.fold import State, Version
from fhir_profiles.check import check
from fhir_profiles.dates import EVER
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, VAULT, handmade, next_query, pairs, view_of

MINUTE = 60_000
START = 1_763_000_000_000
PATH = "_history"


def version(local: str, number: int, at: int, *, ends: bool = False) -> Version:
    updated = instant_of(START + at * MINUTE)
    if ends:
        return Version(at, "owner", Delete(local=local, resource_type="", version=number, updated=updated))
    told = {
        "resourceType": "Basic",
        "id": f"{VAULT}.{local}",
        "meta": {"versionId": str(number)},
        "code": {"text": "x"},
    }
    put = Put(local=local, resource_type="Basic", version=number, updated=updated, resource=dumps(told))
    return Version(at, "owner", put)


def state(*chains: list[Version]) -> State:
    return State(sections={"results": {chain[0].operation.local: chain for chain in chains}})


def all_of(found: list[Past], query: str = "") -> list[tuple[str, str, str]]:
    """(id and ETag, method, status) of every entry, page after page."""
    view, told, asked = view_of([]), list[tuple[str, str, str]](), pairs(query)
    while True:
        bundle = loads(history(view, found, PATH, asked, LINKS, strict=True).body)
        assert check(bundle) == ()
        told += [
            (
                one["fullUrl"].rpartition(".")[2] + one["response"]["etag"],
                one["request"]["method"],
                one["response"]["status"],
            )
            for one in bundle.get("entry", ())
        ]
        following = next_query(bundle)
        if following is None:
            return told
        asked = following


def test_what_a_version_was() -> None:
    chain = [version("a", 1, 0), version("a", 2, 1), version("a", 3, 2, ends=True), version("a", 4, 3)]
    assert all_of(list(of_state(state(chain)))) == [
        ('aW/"4"', "PUT", "201"),
        ('aW/"3"', "DELETE", "204"),
        ('aW/"2"', "PUT", "200"),
        ('aW/"1"', "POST", "201"),
    ]


def test_a_view_has_the_present_versions_alone() -> None:
    found = list(of_view(view_of(handmade())))
    assert {(one.resource_type, one.local) for one in found} == {(one.resource_type, one.local) for one in handmade()}
    assert all(one.shown() and one.until == EVER[1] for one in found)


CHAINS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=4)


@given(CHAINS, st.integers(1, 4), st.integers(0, 5), st.integers(0, 5))
def test_pages_and_times_show_each_version_once(gaps: list[list[int]], count: int, since: int, at: int) -> None:
    chains = []
    for name, steps in zip("abcd", gaps, strict=False):
        times = [sum(steps[: place + 1]) for place in range(len(steps))]
        chains.append([version(name, number, time, ends=number == 3) for number, time in enumerate(times, 1)])
    found = list(of_state(state(*chains))) if chains else []
    whole = all_of(found)
    assert len(set(whole)) == len(whole) == sum(map(len, chains))
    assert all_of(found, f"_count={count}") == whole
    moment = instant_of(START + since * MINUTE)
    assert len(all_of(found, f"_since={moment}")) == sum(one.updated >= START + since * MINUTE for one in found)
    current = instant_of(START + at * MINUTE)
    expected = [one for one in found if one.updated <= START + at * MINUTE < one.until]
    assert len(all_of(found, f"_at={current}")) == len(expected)
