"""The rows that resources give the index, named by their parameter again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir import index
from aggregator.fhir.folding import fold
from aggregator.fhir.parameters import STEP, all_places, of_type, parameter, resource_types
from aggregator.vault.index_rows import Rows, Unit
from fhir_profiles.dates import EVER, stretch
from tests.fhir.world import INDEX

TRUTH = "http://terminology.hl7.org/CodeSystem/special-values"
MEMBERS = sorted({place.expression.partition(".")[0] for place in all_places()} | {"valueQuantity", "component"})

PLACES = {place.scope: f"{place.base}.{place.expression}" for place in all_places()}
BESIDE = ["", " text", " identifier", " present"]


def named(scope: int) -> str:
    return PLACES[scope // STEP * STEP] + BESIDE[scope % STEP]


def flat(rows: Rows) -> set[tuple[Any, ...]]:
    return {(named(scope), *rest) for scope, *rest in [*rows.terms, *rows.links, *rows.spans]}


def rows(resource: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    found = INDEX.rows(resource["resourceType"], resource)
    return flat(found).union(*({(number, *row) for row in flat(part)} for number, part in found.parts.items()))


def day(text: str) -> tuple[int, int]:
    found = stretch(text)
    assert found
    return found


MG_DL = Unit("http://unitsofmeasure.org", "mg/dL", "mg/dl")
CASES: dict[str, tuple[Mapping[str, Any], set[tuple[Any, ...]]]] = {
    "a concept gives each coding and every text, a code the system of its binding": (
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "urn:s", "code": "4548-4", "display": "HbA1c"}, {"code": "X"}], "text": "Ä"},
        },
        {
            ("Observation.status", "http://hl7.org/fhir/observation-status", "final"),
            ("Observation.code", "urn:s", "4548-4"),
            ("Observation.code", "", "X"),
            ("Observation.code text", "", "hba1c"),
            ("Observation.code text", "", "a"),
        },
    ),
    "what cannot be searched is there": (
        {
            "resourceType": "Procedure",
            "code": {"text": "Naht"},
            "subject": {"display": "Erika"},
            "performedString": "früher",
        },
        {
            ("Procedure.code text", "", "naht"),
            ("Procedure.code present", "", ""),
            ("Procedure.subject present", "", ""),
            ("Procedure.performed present", "", ""),
        },
    ),
    "a reference gives type and id, once for subject and patient": (
        {"resourceType": "Observation", "subject": {"reference": "Group/k3.g/_history/3"}},
        {("Observation.subject", "Group", "k3.g")},
    ),
    "an absolute reference keeps its URL and has the type that this names; a contained one is there": (
        {
            "resourceType": "Account",
            "subject": [{"reference": "https://a.example/fhir/Patient/1"}, {"reference": "#p"}],
            "owner": {"reference": "urn:uuid:1", "identifier": {"system": "urn:s", "value": "7"}},
        },
        {
            ("Account.subject", "Patient", "https://a.example/fhir/Patient/1"),
            ("Account.subject present", "", ""),
            ("Account.owner", "", "urn:uuid:1"),
            ("Account.owner identifier", "urn:s", "7"),
        },
    ),
    "a canonical is found without its version": (
        {"resourceType": "CarePlan", "instantiatesCanonical": ["http://a.example/PlanDefinition/7|2"]},
        {
            ("CarePlan.instantiatesCanonical", "PlanDefinition", "http://a.example/PlanDefinition/7"),
            ("CarePlan.instantiatesCanonical", "", "http://a.example/PlanDefinition/7|2"),
        },
    ),
    "values are found through lists": (
        {
            "resourceType": "AllergyIntolerance",
            "reaction": [{"substance": {"coding": [{"code": "a"}]}}, {"substance": {"coding": [{"code": "b"}]}}],
        },
        {("AllergyIntolerance.reaction.substance", "", "a"), ("AllergyIntolerance.reaction.substance", "", "b")},
    ),
    "an identifier has its type, its type's code and its value": (
        {
            "resourceType": "Organization",
            "identifier": [{"type": {"coding": [{"system": "urn:t", "code": "BSNR"}], "text": "BS"}, "value": "7"}],
        },
        {
            ("Organization.identifier", "", "7"),
            ("Organization.identifier text", "", "bs"),
            ("Organization.identifier identifier", "urn:t|BSNR", "7"),
        },
    ),
    "strings are folded, and kept as they are where that is another": (
        {"resourceType": "Organization", "name": "Straße ÖZ", "alias": ["nord"]},
        {("Organization.name", "Straße ÖZ", "strasse oz"), ("Organization.alias", "", "nord")},
    ),
    "a contact has a value, and is one of its system": (
        {"resourceType": "Patient", "telecom": [{"system": "phone", "value": "0511"}, {"system": "email"}]},
        {
            ("Patient.telecom", "", "0511"),
            ("Patient.telecom present", "", ""),
            ("Patient.telecom.where(system='phone')", "", "0511"),
            ("Patient.telecom.where(system='email') present", "", ""),
            ("Patient.deceased.exists() and deceased != false", TRUTH, "false"),
        },
    ),
    "who died on a day died": (
        {"resourceType": "Patient", "deceasedDateTime": "2026-11-20"},
        {
            ("Patient.deceased.as(dateTime)", *day("2026-11-20"), None),
            ("Patient.deceased.exists() and deceased != false", TRUTH, "true"),
        },
    ),
    "a period with one end reaches for ever": (
        {"resourceType": "Encounter", "period": {"end": "2026-11-20"}},
        {("Encounter.period", EVER[0], day("2026-11-20")[1], None)},
    ),
    "a timing reaches from its first event to its last": (
        {
            "resourceType": "Observation",
            "effectiveTiming": {"event": ["2026-02", "2026-01"], "repeat": {"boundsPeriod": {"end": "2027"}}},
        },
        {("Observation.effective", EVER[0], day("2027")[1], None)},
    ),
    "a period that ends before it begins is there": (
        {"resourceType": "Encounter", "period": {"start": "2026-02", "end": "2026-01"}},
        {("Encounter.period present", "", "")},
    ),
    "a quantity keeps its number and its unit": (
        {
            "resourceType": "Observation",
            "valueQuantity": {"value": 5.4, "system": MG_DL.system, "code": MG_DL.code, "unit": MG_DL.text},
        },
        {("Observation.value.as(Quantity)", 5.4, 5.4, MG_DL)},
    ),
    "a comparator leaves an end open": (
        {"resourceType": "Observation", "valueQuantity": {"value": 5, "comparator": "<", "unit": "mg"}},
        {("Observation.value.as(Quantity)", -inf, 5.0, Unit("", "", "mg"))},
    ),
    "samples reach from the lowest to the highest": (
        {
            "resourceType": "Observation",
            "valueSampledData": {"origin": {"value": 10}, "factor": 2, "data": "1 E -2 L 0.5"},
        },
        {("Observation.value.as(SampledData)", 6.0, 12.0, Unit("", "", ""))},
    ),
    "a range, a price and a number": (
        {
            "resourceType": "ChargeItem",
            "factorOverride": 0.5,
            "priceOverride": {"value": 0, "currency": "EUR"},
            "quantity": {"value": 2},
        },
        {
            ("ChargeItem.factorOverride", 0.5, 0.5, None),
            ("ChargeItem.priceOverride", 0.0, 0.0, Unit("urn:iso:std:iso:4217", "EUR", "")),
            ("ChargeItem.quantity", 2.0, 2.0, Unit("", "", "")),
        },
    ),
    "an age from so many years on": (
        {"resourceType": "Condition", "onsetRange": {"low": {"value": 40, "unit": "a"}}},
        {("Condition.onset.as(Range)", 40.0, inf, Unit("", "", "a"))},
    ),
    "a position": (
        {"resourceType": "Location", "position": {"latitude": 52.4, "longitude": 9.7}},
        {("Location.position", 52.4, 9.7, None)},
    ),
    "a document's first entry": (
        {
            "resourceType": "Bundle",
            "entry": [{"resource": {"resourceType": "Composition", "id": "c"}}, {"resource": {"id": "x"}}],
        },
        {("Bundle.entry[0].resource", "Composition", "c")},
    ),
    "what belongs together has rows of its own for each element": (
        {
            "resourceType": "Observation",
            "component": [
                {"code": {"coding": [{"code": "a"}]}, "valueCodeableConcept": {"coding": [{"code": "p"}]}},
                {"code": {"coding": [{"code": "b"}]}},
            ],
        },
        {
            ("Observation.component.code", "", "a"),
            ("Observation.component.code", "", "b"),
            ("Observation.component.value.as(CodeableConcept)", "", "p"),
            (0, "Observation.component.code", "", "a"),
            (0, "Observation.component.value.as(CodeableConcept)", "", "p"),
            (1, "Observation.component.code", "", "b"),
        },
    ),
    "what every resource has": (
        {
            "resourceType": "Binary",
            "id": "k3.b",
            "meta": {"lastUpdated": "2026-11-20T10:00:00Z", "profile": ["u|1"], "source": "s", "tag": [{"code": "t"}]},
        },
        {
            ("Resource.meta.profile", "", "u|1"),
            ("Resource.meta.profile", "", "u"),
            ("Resource.meta.source", "", "s"),
            ("Resource.meta.tag", "", "t"),
        },
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
    names = ["identifier", "category", "code", "subject", "effectiveDateTime", "effectivePeriod", "effectiveTiming"]
    names += ["valueQuantity", "valueSampledData", "valuePeriod", "component", "meta", "valueCodeableConcept"]
    found = rows({"resourceType": "Observation", **dict.fromkeys(names, value)})
    assert {row[-1] for row in found} <= {""}
    assert all(" present" in str(row) for row in found)


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
@given(st.dictionaries(st.sampled_from(MEMBERS), anything))
def test_no_content_stops_the_index(content: dict[str, Any]) -> None:
    for resource_type in ("Observation", "MedicationRequest", "AllergyIntolerance", "Patient", "Encounter", "Location"):
        found = INDEX.rows(resource_type, content)
        for part in (found, *found.parts.values()):
            assert all(isinstance(text, str) for _, *texts in [*part.terms, *part.links] for text in texts)
            assert all(isinstance(end, int | float) for _, low, high, _ in part.spans for end in (low, high))


def test_every_place_can_be_extracted() -> None:
    """An expression that is not understood would stop the first resource of its type."""
    for resource_type in resource_types():
        assert INDEX.rows(resource_type, {"resourceType": resource_type}).links == set()


def test_every_type_has_what_is_common() -> None:
    assert set(of_type("Binary")) == {"_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"}
    assert parameter("Patient", "code") is None
    assert {name: one.scopes for name, one in of_type("Patient").items() if not one.scopes} == {
        "_id": (),
        "_lastUpdated": (),
    }


def test_what_lies_at_one_place_is_indexed_once() -> None:
    subject, patient = parameter("Observation", "subject"), parameter("Observation", "patient")
    assert subject
    assert patient
    assert (subject.scopes, subject.only, patient.only) == (patient.scopes, "", "Patient")


def test_a_reference_parameter_counts_one_type_at_all_its_places_or_every_type() -> None:
    for resource_type in resource_types():
        for one in of_type(resource_type).values():
            assert len({place.only for place in one.places}) <= 1, (resource_type, one.name)


def test_a_changed_table_has_another_version() -> None:
    """Scopes are in the table's order: whoever changes it raises the index's version, then this pair."""
    table = files("aggregator.fhir").joinpath("search_parameters.tsv").read_bytes()
    assert (index.VERSION, hashlib.sha256(table).hexdigest()[:16]) == (3, "5f666929693235db")


@pytest.mark.parametrize(("text", "folded"), [("Änne", "anne"), ("STRASSE", "strasse"), ("ß", "ss"), ("Łódź", "łodz")])
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_another_address_is_another_index() -> None:
    """An image holds the address in the frames of its bodies."""
    one, other = (index.SearchIndex(f"https://{host}.example/fhir") for host in ("one", "two"))
    assert one.version != other.version
    assert one.version == index.SearchIndex("https://one.example/fhir").version
