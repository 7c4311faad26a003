"""_include and _revinclude: a table, a law against a naive walk, the limit, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir import include
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.search import search
from aggregator.vault.image import Record
from fhir_profiles.text import Resource, dumps, loads
from tests.fhir.world import LINKS, SmallView, assert_golden, entries, handmade, pairs, record, view_of

VIEW = view_of(handmade())
META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}


def beside(bundle: Resource) -> list[str]:
    return [f"{one['resourceType']}/{one['id'].removeprefix('k3.')}" for one in entries(bundle, "include")]


INCLUDED: dict[tuple[str, str], list[str]] = {
    ("Observation", "_id=k3.potassium&_include=Observation:subject"): ["Patient/erika"],
    ("Observation", "_id=k3.potassium&_include=Observation:patient:Patient"): ["Patient/erika"],
    ("Observation", "_id=k3.potassium&_include=Observation:subject:Group"): [],
    ("Observation", "_id=k3.potassium&_include=Encounter:subject"): [],
    ("Observation", "_include=Observation:subject"): ["Patient/erika", "Patient/klinik"],
    ("Observation", "_id=k3.hba1c-2025&_include=*"): ["Patient/klinik"],
    ("Observation", "_id=k3.hba1c-2025&_include=Observation:*"): ["Patient/klinik"],
    ("Observation", "_id=k3.pulse&_include=*"): [],
    ("Patient", "_id=k3.klinik&_revinclude=Observation:subject"): ["Observation/hba1c-2025"],
    ("Patient", "_id=k3.klinik&_revinclude=*"): ["Observation/hba1c-2025"],
    ("Patient", "_id=k3.erika&_revinclude=Observation:*"): ["Observation/hba1c-2024", "Observation/potassium"],
    ("Patient", "_id=k3.erika&_revinclude=Observation:subject:Group"): [],
    ("Patient", "_id=k3.none&_revinclude=*&_include=*"): [],
}


@pytest.mark.parametrize(("resource_type", "query"), INCLUDED)
def test_included(resource_type: str, query: str) -> None:
    bundle = loads(search(VIEW, resource_type, pairs(query), LINKS, strict=True).body)
    assert beside(bundle) == INCLUDED[resource_type, query]


def test_a_whole_answer() -> None:
    query = "code=K&_include=Observation:subject&_revinclude:iterate=MedicationRequest:subject&_elements=status"
    assert_golden(search(VIEW, "Observation", pairs(query), LINKS).body, "search_included")


REFUSED = {
    f"{name}={value}": f"{name}: {text}"
    for name in ("_include", "_revinclude")
    for value, text in {
        "Observation:colour": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
        "Observation:code": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
        "Observation:subject:Colour": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
        "Observation": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
        "SECRET:subject": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
        "": "not Type:parameter, Type:parameter:Type, Type:* or *, of references",
    }.items()
} | {
    "_include:recurse=*": "_include:recurse: iterate is the only modifier",
    "_include=*&_summary=text": "_summary: text does not go with _include or _revinclude",
}


@pytest.mark.parametrize("query", REFUSED)
def test_refused(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", pairs(query), LINKS)
    assert str(caught.value) == REFUSED[query]


NODES = [f"n{number}" for number in range(6)]
graphs = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from([*NODES, "hidden"]), max_size=3))


def provenances(graph: dict[str, list[str]]) -> list[Record]:
    """Resources of one type that refer to others of it."""
    made: list[dict[str, Any]] = [
        {
            "resourceType": "Provenance",
            "id": f"k3.{name}",
            "meta": META,
            "target": [{"reference": f"Provenance/k3.{one}"} for one in targets],
        }
        for name, targets in graph.items()
    ]
    return [record(dumps(one)) for one in made]


def walk(edges: dict[str, list[str]], start: str, *, iterate: bool) -> set[str]:
    reached, waiting = set[str](), [start]
    while waiting:
        found = {target for one in waiting for target in edges.get(one, ()) if target in edges} - reached
        reached |= found
        waiting = sorted(found) if iterate else []
    return reached - {start}


@settings(max_examples=150, deadline=None)
@given(graphs.filter(bool), st.booleans(), st.booleans())
def test_what_is_included_is_what_a_naive_walk_reaches(graph: dict[str, list[str]], iterate: bool, back: bool) -> None:
    start = min(graph)
    turned = {name: [other for other, targets in graph.items() if name in targets] for name in graph}
    name = ("_revinclude" if back else "_include") + (":iterate" if iterate else "")
    query = [("_id", f"k3.{start}"), (name, "Provenance:target")]
    bundle = loads(search(view_of(provenances(graph)), "Provenance", query, LINKS, strict=True).body)
    assert [name.partition("/")[2] for name in beside(bundle)] == sorted(
        walk(turned if back else graph, start, iterate=iterate)
    )


def many(number: int) -> SmallView:
    return view_of(provenances({"n0": [], **{f"x{one:04}": ["n0"] for one in range(number)}}))


@pytest.mark.parametrize(("number", "told"), [(3, False), (4, True)])
def test_a_page_has_a_limit_and_says_where_it_is_reached(
    monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    monkeypatch.setattr(include, "MOST", 3)
    query = pairs("_id=k3.n0&_revinclude:iterate=Provenance:target")
    bundle = loads(search(many(number), "Provenance", query, LINKS).body)
    assert beside(bundle) == ["Provenance/x0000", "Provenance/x0001", "Provenance/x0002"]
    assert [one["issue"][0]["code"] for one in entries(bundle, "outcome")] == (["incomplete"] if told else [])
