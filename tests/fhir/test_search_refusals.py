"""Every query that cannot be understood: its parameter is named, no value is repeated."""

from __future__ import annotations

import pytest

from aggregator.fhir.everything import everything
from aggregator.fhir.outcome import BadQuery, FhirError, Gone, NotFound, UnknownParameter, Unsupported
from aggregator.fhir.read import read
from aggregator.fhir.search import search
from fhir_profiles.text import loads
from tests.fhir.world import LINKS, assert_golden, handmade, next_query, pairs, view_of

VIEW = view_of(handmade())

REFUSED: dict[str, str] = {
    "code=": "code: an empty value, or a backslash with nothing behind it",
    "code=SECRET,": "code: an empty value, or a backslash with nothing behind it",
    "code=,SECRET": "code: an empty value, or a backslash with nothing behind it",
    "code=SECRET\\": "code: an empty value, or a backslash with nothing behind it",
    "code=|": "code: neither a system nor a code",
    "code:missing=SECRET": "code:missing: neither true nor false",
    "code:missing=true,false": "code:missing: neither true nor false",
    "identifier:of-type=SECRET": "identifier:of-type: not a type's system, its code and a value between bars",
    "identifier:of-type=SECRET|X": "identifier:of-type: not a type's system, its code and a value between bars",
    "subject:identifier=|": "subject:identifier: neither a system nor a code",
    "date=SECRET": "date: its prefix is not one of eq, ne, gt, ge, lt, le, sa, eb, ap",
    "value-quantity=SECRET": "value-quantity: its prefix is not one of eq, ne, gt, ge, lt, le, sa, eb, ap",
    "value-quantity=": "value-quantity: an empty value, or a backslash with nothing behind it",
    "value-quantity=1.": "value-quantity: not a number",
    "value-quantity=1e999": "value-quantity: not a number",
    "value-quantity=5|SECRET": "value-quantity: behind the number's bar a system and, behind one more, a code",
    "value-quantity=5|SECRET|": "value-quantity: a system without a code",
    "code-value-quantity=SECRET": "code-value-quantity: not 2 values with $ between them",
    "code-value-quantity=a$1$2": "code-value-quantity: not 2 values with $ between them",
    "code-value-quantity=a$SECRET": (
        "code-value-quantity: its prefix is not one of eq, ne, gt, ge, lt, le, sa, eb, ap"
    ),
    "date=2026-13": "date: not a date",
    "date=ge": "date: not a date",
    "date=2026,": "date: an empty value, or a backslash with nothing behind it",
    "_lastUpdated=ge2026-11-20T10": "_lastUpdated: not a date",
    "_id=SECRET/1": "_id: not an id",
    "_id=": "_id: an empty value, or a backslash with nothing behind it",
    "patient=Group/k3.SECRET": "patient: a reference to another type",
    "patient=SECRET NAME": "patient: not a reference",
    "patient=Patient/": "patient: not a reference",
    "subject:Patient=Group/1": "subject:Patient: a reference to another type",
    "_count=SECRET": "_count: not a number of resources",
    "_count=-1": "_count: not a number of resources",
    "_count=²": "_count: not a number of resources",
    "_count=1&_count=2": "_count: given twice",
    "_total=SECRET": "_total: not one of none, accurate, estimate",
    "_summary=SECRET": "_summary: not one of true, text, data, count, false",
    "_page=SECRET": "_page: not a page link of this service",
}


@pytest.mark.parametrize("query", REFUSED)
def test_refused(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", pairs(query), LINKS)
    assert str(caught.value) == REFUSED[query]
    assert (caught.value.status, caught.value.code) == (400, "invalid")


NOT_SUPPORTED: dict[str, str] = {
    "code:in=SECRET": "code:in: value sets are not expanded here",
    "code:not-in=SECRET": "code:not-in: value sets are not expanded here",
    "code:below=SECRET": "code:below: the hierarchies of code systems and resources are not known here",
    "subject:above=SECRET": "subject:above: the hierarchies of code systems and resources are not known here",
    "code:exact=SECRET": "code:exact: not a modifier of this parameter",
    "date:not=2026": "date:not: not a modifier of this parameter",
    "subject:Colour=SECRET": "subject:Colour: not a modifier of this parameter",
    "code-value-quantity:missing=true": "code-value-quantity:missing: not a modifier of this parameter",
    "_id:exact=a": "_id:exact: not a modifier of this parameter",
}


@pytest.mark.parametrize("query", NOT_SUPPORTED)
def test_what_r4_knows_and_this_service_has_not_is_refused_by_name(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", pairs(query), LINKS)
    assert str(caught.value) == NOT_SUPPORTED[query]
    assert (caught.value.status, caught.value.code) == (400, "not-supported")


def test_a_parameter_is_refused_with_its_reason() -> None:
    with pytest.raises(Unsupported, match=r"^phonetic: names are not compared by their sound here"):
        search(VIEW, "Patient", [("phonetic", "SECRET")], LINKS)


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    ("query", "text"),
    [
        ([("code", ",".join(["SECRET"] * 1001))], "code: more than 1000 alternatives"),
        ([("_id", ",".join(["SECRET"] * 100_000))], "_id: more than 1000 alternatives"),
        ([("date", ",".join(["2026"] * 101))], "date: more than 100 alternatives"),
        ([("code", "SECRET")] * 51, "code: more than 50 conditions"),
    ],
)
def test_too_much_is_refused(query: list[tuple[str, str]], text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", query, LINKS)
    assert str(caught.value) == text


def test_an_unknown_parameter_is_refused_under_strict_handling_alone() -> None:
    with pytest.raises(UnknownParameter, match=r"^colour: not a search parameter here$") as caught:
        search(VIEW, "Observation", pairs("code=K&colour=red"), LINKS, strict=True)
    assert_golden(caught.value.outcome(), "outcome_unknown_parameter")


@pytest.mark.parametrize("name", ["x" * 65, "a b", "<script>", "ä", ""])
def test_a_name_that_is_no_name_is_not_repeated(name: str) -> None:
    with pytest.raises(UnknownParameter, match=r"^a parameter: "):
        search(VIEW, "Observation", [(name, "1")], LINKS, strict=True)


@pytest.mark.parametrize("changed", ["code=K&_count=1", "status=final&_count=2", "status=final&_count=1&_total=none"])
def test_a_page_link_opens_its_own_query_alone(changed: str) -> None:
    first = loads(search(VIEW, "Observation", pairs("status=final&_count=1"), LINKS).body)
    token = dict(next_query(first) or [])["_page"]
    with pytest.raises(BadQuery, match=r"^_page: a page link of another query$"):
        search(VIEW, "Observation", [*pairs(changed), ("_page", token)], LINKS)


EVERYTHING_REFUSED: dict[str, str] = {
    "_since=SECRET": "_since: not an instant",
    "_since=2026&_since=2027": "_since: given twice",
    "_type=": "_type: not a list of resource types",
    "_type=Observation,1": "_type: not a list of resource types",
    "_count=x": "_count: not a number of resources",
    "_page=x": "_page: not a page link of this service",
}


@pytest.mark.parametrize("query", EVERYTHING_REFUSED)
def test_everything_refused(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        everything(VIEW, "k3.erika", pairs(query), LINKS)
    assert str(caught.value) == EVERYTHING_REFUSED[query]


def test_everything_knows_its_parameters() -> None:
    with pytest.raises(UnknownParameter):
        everything(VIEW, "k3.erika", pairs("visit=2026"), LINKS, strict=True)


@pytest.mark.attack(1)
@pytest.mark.parametrize("whole_id", ["k3.none", "x9.erika", "erika", "k3.", "", "k3.erika.x", "k3.hba1c-2024"])
def test_what_is_not_in_the_view_is_not_found_in_one_way(whole_id: str) -> None:
    with pytest.raises(NotFound) as caught:
        read(VIEW, "Patient", whole_id)
    assert caught.value.status == 404
    assert_golden(caught.value.outcome(), "outcome_not_found")
    with pytest.raises(NotFound):
        everything(VIEW, whole_id, [], LINKS)


def test_what_is_deleted_is_gone() -> None:
    with pytest.raises(Gone) as caught:
        read(VIEW, "Observation", "k3.mistaken")
    assert (caught.value.status, caught.value.code) == (410, "deleted")
    with pytest.raises(NotFound):
        read(VIEW, "Patient", "k3.mistaken")


def test_every_error_has_a_status_and_a_code() -> None:
    errors = [FhirError("x"), BadQuery("code", "x"), UnknownParameter("x"), NotFound(), Gone()]
    assert [(error.status, error.code) for error in errors] == [
        (400, "processing"),
        (400, "invalid"),
        (400, "not-supported"),
        (404, "not-found"),
        (410, "deleted"),
    ]
