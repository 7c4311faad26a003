"""What a search finds: a table of queries on the handmade record, whole answers, and a law against a naive filter."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.query import MOST_ALTERNATIVES, MOST_IN_ALL, MOST_SPANS
from aggregator.fhir.search import search
from fhir_profiles.text import dumps, loads
from tests.fhir.world import BASE, LINKS, SmallView, assert_golden, entries, handmade, names, pairs, record, view_of

VIEW = view_of(handmade())
HBA1C = ["hba1c-2024", "hba1c-2025"]
DATED = [*HBA1C, "potassium", "pulse"]
ALL = [*DATED, "undated"]

OBSERVATIONS: dict[str, list[str]] = {
    "": ALL,
    # tokens
    "code=4548-4": HBA1C,
    "code=http://loinc.org|4548-4": HBA1C,
    "code=|HBA1C": ["hba1c-2024"],
    "code=|4548-4": [],
    "code=urn:labor|": ["potassium"],
    "code=http://loinc.org|": [*HBA1C, "pulse"],
    "code=k": [],
    "code=K,8867-4": ["potassium", "pulse"],
    "code=4548-4&code=HBA1C": ["hba1c-2024"],
    "code=4548-4,HBA1C": HBA1C,
    "status=final": ["hba1c-2024", "potassium", "pulse", "undated"],
    "status=http://hl7.org/fhir/observation-status|amended": ["hba1c-2025"],
    "status=|amended": [],
    "category=laboratory": [*HBA1C, "potassium"],
    r"identifier=urn:labor|a\|b": ["hba1c-2024"],
    r"identifier=a\|b": ["hba1c-2024"],
    r"identifier=a\,b": [],
    # references
    "patient=Patient/k3.erika": ["hba1c-2024", "potassium"],
    "patient=k3.erika": ["hba1c-2024", "potassium"],
    f"patient={BASE}/Patient/k3.erika": ["hba1c-2024", "potassium"],
    "patient=k3.erika,k3.klinik": [*HBA1C, "potassium"],
    "subject:Patient=k3.klinik": ["hba1c-2025"],
    "subject:Group=k3.klinik": [],
    "subject=https://elsewhere.example/fhir/Patient/9": ["pulse"],
    "patient=https://elsewhere.example/fhir/Patient/9": ["pulse"],  # by the type that the URL names
    "subject:Patient=https://elsewhere.example/fhir/Patient/9": ["pulse"],
    "subject=9": [],
    "patient=Patient/k3.labor": [],
    # ids
    "_id=k3.pulse": ["pulse"],
    "_id=k3.pulse,k3.potassium,k3.none,x9.pulse,pulse": ["potassium", "pulse"],
    "_id=k3.erika": [],
    "_id=k3.pulse&code=K": [],
    # dates
    "date=2024-05-14": ["hba1c-2024"],
    "date=2024": ["hba1c-2024"],
    "date=eq2024-05-14T07:10:00Z": ["hba1c-2024"],
    "date=2025-05-01": [],
    "date=2025": ["hba1c-2025"],
    "date=ne2024": ["hba1c-2025", "potassium", "pulse"],
    "date=gt2025-05-15": ["hba1c-2025", "potassium", "pulse"],
    "date=gt2025-05": ["potassium", "pulse"],
    "date=ge2025-05": ["hba1c-2025", "potassium", "pulse"],
    "date=ge2026-10-23": ["potassium"],
    "date=ge2026-10-24": [],  # by the letter: potassium's days neither reach beyond that day nor lie within it
    "date=lt2025-05-01": ["hba1c-2024"],
    "date=lt2025-05-02": HBA1C,
    "date=le2025-05": HBA1C,
    "date=le2024-05-14": ["hba1c-2024"],
    "date=sa2025-05": ["potassium", "pulse"],
    "date=sa2026-10-20": [],
    "date=eb2026-10-20": HBA1C,
    "date=eb2026-10-20T04:00:01Z": HBA1C,
    "date=ge2025&date=lt2026": ["hba1c-2025"],
    "date=2024,2025": HBA1C,
    "date=2026-10": ["potassium", "pulse"],
    "date=le9999-12-31": DATED,
    "_lastUpdated=2026-11-03": ["hba1c-2025", "potassium"],
    "_lastUpdated=gt2026-11-03T08:00:00.250%2B01:00": ["potassium", "pulse", "undated"],
    "_lastUpdated=ge2026-11-03T08:00:00.250%2B01:00": ["hba1c-2025", "potassium", "pulse", "undated"],
    "_lastUpdated=lt2026-11-02": ["hba1c-2024"],
    "_lastUpdated=le2026-11-01&status=final": ["hba1c-2024"],
    # what modifiers ask
    "code:text=kalium": ["potassium"],
    "code:text=ohne": ["undated"],
    "code:not=4548-4": ["potassium", "pulse", "undated"],
    "code:not=4548-4,K": ["pulse", "undated"],
    "code:missing=true": [],  # a text is a code's too, though none can be searched
    "code:missing=false": ALL,
    "category:missing=true": ["undated"],
    "date:missing=true": ["undated"],
    "patient:missing=true": ["undated"],
    "subject:missing=true": [],
    "value-quantity:missing=true": ["pulse", "undated"],
    "status:not=final&code:not=K": ["hba1c-2025"],
    # numbers with units
    "value-quantity=7.2": ["hba1c-2024"],
    "value-quantity=7": ["hba1c-2024"],
    "value-quantity=7.20": ["hba1c-2024"],
    "value-quantity=7.0": [],
    "value-quantity=7.2||%25": ["hba1c-2024"],
    "value-quantity=7.2|http://unitsofmeasure.org|%25": ["hba1c-2024"],  # a text that is known to mean a UCUM code
    "value-quantity=0.072|http://unitsofmeasure.org|1": ["hba1c-2024"],
    "value-quantity=gt5||%25": HBA1C,
    "value-quantity=lt7.2": ["hba1c-2025", "potassium"],
    "value-quantity=le7.2": [*HBA1C, "potassium"],
    "value-quantity=ne7.2": ["hba1c-2025", "potassium"],
    "value-quantity=ap7": HBA1C,
    "value-quantity=ge4,sa7": [*HBA1C, "potassium"],
    # what belongs together
    "code-value-quantity=4548-4$7.2": ["hba1c-2024"],
    "code-value-quantity=K$7.2": [],
    "code-value-quantity=http://loinc.org|4548-4$gt6,K$4.0": [*HBA1C, "potassium"],
    "combo-code-value-quantity=4548-4$lt7": ["hba1c-2025"],
    # all together
    "patient=k3.erika&category=laboratory&date=ge2026&status=final": ["potassium"],
}

OTHERS: dict[tuple[str, str], list[str]] = {
    ("Patient", "name=mull"): ["erika"],
    ("Patient", "name=ANNE"): ["erika"],
    ("Patient", "family=Müller"): ["erika"],
    ("Patient", "given=Müller"): [],
    ("Patient", "identifier=4711"): ["klinik"],
    ("Patient", "identifier=|4711"): ["klinik"],
    ("Organization", "name=nord,ozt"): ["labor"],
    ("Organization", "name=dr"): [],
    ("MedicationRequest", "date=2026-11-09"): ["metformin"],
    ("MedicationRequest", "code=A10BA02"): ["metformin"],
    ("Encounter", "date=ge2030"): ["stay"],
    ("Encounter", "date=lt2026-11-01"): [],
    ("Encounter", "status=in-progress"): ["stay"],
    ("Immunization", "date=2026"): [],
    ("Binary", "_id=k3.x"): [],
    ("Patient", "name:contains=lüden"): ["erika"],
    ("Patient", "name:exact=Änne"): ["erika"],
    ("Patient", "name:exact=änne"): [],
    ("Patient", "gender:missing=true"): ["klinik"],
    ("Patient", "birthdate=lt1970"): ["erika"],
    ("Patient", "deceased=false"): ["erika", "klinik"],
    ("Patient", "link=k3.erika"): ["klinik"],
    ("Patient", "_tag:missing=false"): [],
    ("Encounter", "class=IMP"): ["stay"],
    ("MedicationRequest", "intent:not=order"): [],
}


@pytest.mark.parametrize("query", OBSERVATIONS)
def test_observations(query: str) -> None:
    bundle = loads(search(VIEW, "Observation", pairs(query), LINKS, strict=True).body)
    assert names(bundle) == OBSERVATIONS[query]
    assert bundle["total"] == len(OBSERVATIONS[query])


@pytest.mark.parametrize(("resource_type", "query"), OTHERS)
def test_other_types(resource_type: str, query: str) -> None:
    bundle = loads(search(VIEW, resource_type, pairs(query), LINKS, strict=True).body)
    assert names(bundle) == OTHERS[resource_type, query]


GOLDEN = {
    "search_page": ("Observation", "code=4548-4&date=ge2020&_count=1"),
    "search_last_page_total": ("Observation", "category=laboratory&_total=accurate&_count=2"),
    "search_count": ("Observation", "status=final&_summary=count"),
    "search_count_zero": ("Observation", "_count=0"),
    "search_nothing": ("Observation", "code=none"),
    "search_ignored": ("Encounter", "status=in-progress&colour=red&_sort=date"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_whole_answers(name: str) -> None:
    resource_type, query = GOLDEN[name]
    assert_golden(search(VIEW, resource_type, pairs(query), LINKS).body, name)


def test_bodies_are_served_byte_for_byte() -> None:
    answer = search(VIEW, "Observation", [], LINKS).body
    bodies = [record.body for record in handmade() if record.resource_type == "Observation"]
    assert all(body in answer for body in bodies)
    assert b"7.20" in answer
    assert b"6.40e0" in answer


def test_an_ignored_parameter_is_named_and_not_in_the_links() -> None:
    bundle = loads(search(VIEW, "Encounter", pairs("colour=red&status=in-progress"), LINKS).body)
    assert bundle["link"][0]["url"] == f"{BASE}/Encounter?status=in-progress"
    (outcome,) = entries(bundle, "outcome")
    assert [issue["diagnostics"] for issue in outcome["issue"]] == ["colour: ignored, not a search parameter here"]


def test_form_parameters_are_not_the_search_s() -> None:
    bundle = loads(search(VIEW, "Encounter", pairs("_format=json&_pretty=true"), LINKS, strict=True).body)
    assert names(bundle) == ["stay"]


def test_an_empty_view_answers() -> None:
    bundle = loads(search(view_of([]), "Observation", pairs("code=x&date=2026&_id=k3.a"), LINKS).body)
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_many_terms_of_one_condition() -> None:
    """More terms than are asked row by row, walked and asked, and as many alternatives as there may be."""
    codes = [f"code-{number}" for number in range(MOST_ALTERNATIVES)]
    concept = {"coding": [{"code": code} for code in codes]}
    meta = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
    body = dumps({"resourceType": "Observation", "id": "k3.many", "meta": meta, "code": concept})
    view = view_of([*handmade(), record(body)])
    dates = ",".join(["1999"] * (MOST_SPANS - 1) + ["2024"])
    for query, expected in [
        ([("code", ",".join(codes))], ["many"]),
        ([("code", ",".join(codes)), ("code", "code-7")], ["many"]),
        ([("code", ",".join([*codes[1:], "K"]))], ["many", "potassium"]),
        ([("date", dates)] * (MOST_IN_ALL // MOST_SPANS), ["hba1c-2024"]),
        ([("_id", ",".join(f"k3.{name}" for name in ALL * 2)), ("status", "amended")], ["hba1c-2025"]),
    ]:
        assert names(loads(search(view, "Observation", query, LINKS).body)) == expected


def of(resource_type: str, **members: Any) -> SmallView:
    """A view of one resource, named one."""
    meta = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
    return view_of([record(dumps({"resourceType": resource_type, "id": "k3.one", "meta": meta, **members}))])


GLUCOSE = {"value": 540, "unit": "mg/dl", "system": "http://unitsofmeasure.org", "code": "mg/dL"}
HANNOVER = {"latitude": 52.3759, "longitude": 9.7320}
ONE: list[tuple[SmallView, str, str, bool]] = [
    (of("Observation", valueQuantity=GLUCOSE), "Observation", f"value-quantity={asked}", found)
    for asked, found in {
        "5.4|http://unitsofmeasure.org|g/L": True,
        "gt5.39|http://unitsofmeasure.org|g/L": True,
        "5.45|http://unitsofmeasure.org|g/L": False,
        "540|http://unitsofmeasure.org|mmol/L": False,
        "540||mg/dl": True,
        "540||mg/dL": True,
        "540||g/L": False,
        "540|urn:else|mg/dL": False,
    }.items()
]
ONE += [
    (of("Observation", valueQuantity={"value": 5.4, "unit": "g/l"}), "Observation", f"value-quantity={asked}", found)
    for asked, found in {"540|http://unitsofmeasure.org|mg/dL": True, "5.4||g/L": True, "5.4||g/l": True}.items()
]
ONE += [
    (of("Location", position=HANNOVER), "Location", f"near={asked}", found)
    for asked, found in {
        "52.2689|10.5268|60|km": True,  # Braunschweig
        "52.2689|10.5268|50|km": False,
        "52.2689|10.5268|60000|m": True,
        "52.2689|10.5268|35|[mi_us]": True,
        "52.37|9.73": True,
        "52.2689|10.5268": False,
        "0|0|1,52.37|9.73": True,
    }.items()
]
ONE += [
    (of("RiskAssessment", prediction=[{"probabilityDecimal": 0.31}]), "RiskAssessment", f"probability={asked}", found)
    for asked, found in {"0.31": True, "0.3": True, "0.310": True, "0.32": False, "3.1e-1": True, "gt0.3": True}.items()
]
ONE += [
    (of("ValueSet", url="http://e/a/b"), "ValueSet", f"url{asked}", found)
    for asked, found in {
        "=http://e/a": False,
        ":below=http://e/a": True,
        ":above=http://e/a/b/c": True,
        ":above=http://e/a": False,
    }.items()
]
ONE += [
    (of("Condition", onsetAge={"value": 40, "comparator": ">"}), "Condition", f"onset-age={asked}", found)
    for asked, found in {
        "gt1000": True,
        "lt41": True,
        "lt40": False,
        "eb1000": False,
        "ne5||Tabletten": False,  # of no unit, which is no unknown one
    }.items()
]


@pytest.mark.parametrize(("view", "resource_type", "query", "found"), ONE, ids=[query for _, _, query, _ in ONE])
def test_one_resource(view: SmallView, resource_type: str, query: str, found: bool) -> None:
    bundle = loads(search(view, resource_type, pairs(query), LINKS, strict=True).body)
    assert names(bundle) == (["one"] if found else [])


@pytest.mark.parametrize("value", ["SECRET", "1", "1|2|3|SECRET", "1|x", "1|2|x", "1|2|3|km|5", "|||"])
def test_what_is_no_place(value: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(of("Location", position=HANNOVER), "Location", [("near", value)], LINKS)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "missing"), [({"position": HANNOVER}, False), ({"position": {"longitude": 9.7}}, False), ({}, True)]
)
def test_whether_there_is_a_place(location: dict[str, Any], missing: bool) -> None:
    for asked in (True, False):
        answer = loads(
            search(of("Location", **location), "Location", [("near:missing", str(asked).lower())], LINKS).body
        )
        assert bool(names(answer)) == (asked == missing)


@pytest.mark.parametrize("name", ["_id", "_lastUpdated"])
def test_what_every_resource_has_is_never_missing(name: str) -> None:
    found = [
        loads(search(VIEW, "Observation", [(f"{name}:missing", asked)], LINKS).body) for asked in ("true", "false")
    ]
    assert [names(one) for one in found] == [[], names(loads(search(VIEW, "Observation", [], LINKS).body))]


def test_a_negation_at_the_end_of_a_chain() -> None:
    for query, expected in {
        "subject:Patient.gender:not=female": ["hba1c-2025"],
        "subject:Patient.gender:missing=true": ["hba1c-2025"],
        "subject:Patient.gender:not=male": ["hba1c-2024", "hba1c-2025", "potassium"],
    }.items():
        assert names(loads(search(VIEW, "Observation", pairs(query), LINKS).body)) == expected
