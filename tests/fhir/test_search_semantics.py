"""What a search finds: a table of queries on the handmade record, whole answers, and a law against a naive filter."""

from __future__ import annotations

import pytest

from aggregator.fhir.query import MOST_ALTERNATIVES, MOST_IN_ALL, MOST_SPANS
from aggregator.fhir.search import search
from fhir_profiles.text import dumps, loads
from tests.fhir.world import BASE, LINKS, assert_golden, entries, handmade, names, pairs, record, view_of

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
