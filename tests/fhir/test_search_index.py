"""The rows that resources give the index, named by their parameter again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir.index import SearchIndex, fold
from aggregator.fhir.parameters import indexed, of_type, parameter
from fhir_profiles.dates import EVER, stretch
from tests.fhir.world import INDEX, handmade

NAMES = {one.scope: one.name for one in indexed()}


def rows(resource: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    terms, spans = INDEX.rows(resource["resourceType"], resource)
    return {(NAMES[scope], *rest) for scope, *rest in [*terms, *spans]}


CASES: dict[str, tuple[Mapping[str, Any], set[tuple[Any, ...]]]] = {
    "a concept gives each coding, a code the system of its binding": (
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4"}, {"code": "X"}, {"display": "y"}]},
        },
        {
            ("status", "http://hl7.org/fhir/observation-status", "final"),
            ("code", "http://loinc.org", "4548-4"),
            ("code", "", "X"),
        },
    ),
    "a reference gives type and id; patient counts Patients alone": (
        {"resourceType": "Observation", "subject": {"reference": "Group/k3.g"}},
        {("subject", "Group", "k3.g")},
    ),
    "an absolute reference stays whole; a contained one gives nothing": (
        {"resourceType": "Account", "subject": [{"reference": "https://a.example/Patient/1"}, {"reference": "#p"}]},
        {("subject", "", "https://a.example/Patient/1")},
    ),
    "values are found through lists": (
        {
            "resourceType": "AllergyIntolerance",
            "reaction": [{"substance": {"coding": [{"code": "a"}]}}, {"substance": {"coding": [{"code": "b"}]}}],
        },
        {("code", "", "a"), ("code", "", "b")},
    ),
    "strings are folded": (
        {"resourceType": "Organization", "name": "Straße ÖZ", "alias": ["Nord"]},
        {("name", "", "strasse oz"), ("name", "", "nord")},
    ),
    "a period with one end reaches for ever": (
        {"resourceType": "Encounter", "period": {"end": "2026-11-20"}},
        {("date", EVER[0], (stretch("2026-11-20") or EVER)[1])},
    ),
    "a timing reaches from its first event to its last": (
        {
            "resourceType": "Observation",
            "effectiveTiming": {"event": ["2026-02", "2026-01"], "repeat": {"boundsPeriod": {"end": "2027"}}},
        },
        {("date", EVER[0], (stretch("2027") or EVER)[1])},
    ),
    "a period that ends before it begins gives nothing": (
        {"resourceType": "Encounter", "period": {"start": "2026-02", "end": "2026-01"}},
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows(case: str) -> None:
    resource, expected = CASES[case]
    assert rows(resource) == expected


@pytest.mark.parametrize(
    "value", [None, 1, True, "x", "2026-99", [], {}, [None], [[1]], {"coding": "x"}, {"coding": [1]}]
)
def test_a_value_of_another_shape_gives_no_row_and_no_error(value: Any) -> None:
    names = ("identifier", "category", "code", "subject", "effectiveDateTime", "effectivePeriod", "effectiveTiming")
    assert rows({"resourceType": "Observation", **dict.fromkeys(names, value)}) == set()


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just("2026-11-20")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["coding", "system", "code", "value", "reference", "start", "end", "event", "repeat"]),
            inner,
        ),
    ),
    max_leaves=8,
)


@pytest.mark.attack(46)
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({one.elements[0].path[0] for one in indexed()})), anything))
def test_no_content_stops_the_index(content: dict[str, Any]) -> None:
    for resource_type in ("Observation", "MedicationRequest", "AllergyIntolerance", "Patient", "Encounter"):
        terms, spans = INDEX.rows(resource_type, content)
        assert all(isinstance(text, str) for _, *texts in terms for text in texts)
        assert all(low < high for _, low, high in spans)


def test_a_type_without_parameters_gives_no_row() -> None:
    assert INDEX.rows("Binary", {"resourceType": "Binary"}) == (set(), set())


def test_every_parameter_of_the_table_can_be_extracted() -> None:
    """An element whose datatype had no rule would stop the start."""
    assert {one.resource_type for one in indexed()} >= {record.resource_type for record in handmade()}
    assert SearchIndex().version == INDEX.version


def test_every_type_has_id_and_last_updated() -> None:
    assert [one.scope for one in of_type("Binary").values()] == [0, 0]
    assert parameter("Patient", "_id") is not None
    assert parameter("Patient", "code") is None


def test_a_changed_table_has_another_version() -> None:
    """Scopes are the table's lines: whoever changes it raises SearchIndex.version, then this pair."""
    table = files("aggregator.fhir").joinpath("search_parameters.tsv").read_bytes()
    assert (SearchIndex.version, hashlib.sha256(table).hexdigest()[:16]) == (1, "2a0b4c655025980c")


@pytest.mark.parametrize(("text", "folded"), [("Änne", "anne"), ("STRASSE", "strasse"), ("ß", "ss"), ("Łódź", "łodz")])
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded
