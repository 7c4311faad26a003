"""What the table makes of names, and of what nobody can judge: raised, judged, or the owner's alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.consent.section_names import Names, at, element_path, told
from aggregator.consent.section_table import Placement, SectionTable
from fhir_profiles import codes
from fhir_profiles.text import Resource
from tests.consent.decide_world import coding, concept, resource

pytestmark = pytest.mark.storeless

TABLE = SectionTable.load()
TABLE_FILE = Path(__file__).parents[2] / "aggregator" / "consent" / "sections.toml"
ROWS = tomllib.loads(TABLE_FILE.read_text(encoding="utf-8"))
NAMED = [(row["section"], name) for row in ROWS["row"] for name in row.get("name", ())]
LOCAL = "https://labor.example/tests"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def place(**elements: Any) -> Placement:
    return TABLE.section_of(resource(**elements))


def planned(*ingredients: str, name: str = "", **elements: Any) -> Placement:
    """A line of a medication plan: a package's number, words for what is in it."""
    parts = [{"itemCodeableConcept": {"text": one}} for one in ingredients]
    held = {"resourceType": "Medication", "id": "m", "code": concept(codes.PZN, "00811744") | {"text": name}}
    contained = [held | ({"ingredient": parts} if parts else {})]
    line = {"type_": "MedicationStatement", "contained": contained, "medicationReference": {"reference": "#m"}}
    return place(**line, **elements)


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    ("ingredient", "section"),
    [
        ("Sertralin 50 mg", "mental-health"),
        ("Sertralinhydrochlorid 55,95 mg", "mental-health"),
        ("sertraline hydrochloride", "mental-health"),
        ("ESCITALOPRAM", "mental-health"),
        ("Lithiumcarbonat", "mental-health"),
        ("Dikaliumclorazepat", "mental-health"),
        ("24 HR Venlafaxine 150 MG Extended Release Oral Capsule", "mental-health"),
        ("Johanniskraut-Trockenextrakt", "mental-health"),
        ("Methylphenidat", "mental-health"),
        ("Levomethadon", "substance-use"),
        ("Buprenorphin/Naloxon", "substance-use"),
        ("Naltrexon", "substance-use"),
        ("Desogestrel 75 µg", "sexual-health"),
        ("Ethinylestradiol + Levonorgestrel", "sexual-health"),
        ("Sildenafil", "sexual-health"),
        ("Emtricitabin/Tenofoviralafenamid", "sexual-health"),
        ("Anti-D-Immunglobulin", "sexual-health"),
    ],
)
def test_a_sensitive_substance_is_known_by_its_name(ingredient: str, section: str) -> None:
    assert planned(ingredient).section == section
    assert planned(name=ingredient).section == section
    assert planned("Ramipril", ingredient).section == section
    assert place(code=concept(LOCAL, "X17") | {"text": f"{ingredient} im Serum"}).section == section


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    ("reason", "section"),
    [
        ("Depression", "mental-health"),
        ("Altersdepression, Erhaltung", "mental-health"),
        ("Stimmung", "mental-health"),
        ("Angst", "mental-health"),
        ("keine Depression", "mental-health"),
        ("Alkoholentzug", "substance-use"),
        ("Sucht", "substance-use"),
        ("Suchterkrankung", "substance-use"),
        ("Ergebnis im Suchtest", "medications"),
        ("Verhütung", "sexual-health"),
        ("Eisenmangel in der Schwangerschaft", "sexual-health"),
        ("Stillzeit", "sexual-health"),
        ("HIV", "sexual-health"),
        ("Schilddrüse", "medications"),
        ("Abstimmung der Dosis", "medications"),
        ("wird untersucht", "medications"),
        ("Archivtabletten", "medications"),
        ("in Abhängigkeit vom Blutdruck", "medications"),
        ("keinen Alkohol trinken", "medications"),
    ],
)
def test_a_reason_or_note_is_read_where_a_medicine_stands(reason: str, section: str) -> None:
    assert planned("Magnesium", reasonCode=[{"text": reason}]).section == section
    assert planned("Magnesium", note=[{"text": reason}]).section == section
    assert planned("Magnesium", dosage=[{"patientInstruction": reason}]).section == section


def test_a_note_that_names_another_sections_medicine_goes_with_it() -> None:
    ibuprofen = concept(codes.ATC, "M01AE01") | {"text": "Ibuprofen"}
    note = [{"text": "Nur mit Magenschutz: mit Sertralin blutet es leichter."}]
    assert place(type_="MedicationRequest", medicationCodeableConcept=ibuprofen).section == "medications"
    assert place(type_="MedicationRequest", medicationCodeableConcept=ibuprofen, note=note).section == "mental-health"


@pytest.mark.attack(15, 19)
@pytest.mark.parametrize(
    "elements",
    [
        {"code": concept(codes.LOINC, "1988-5"), "note": [{"text": "unter Sertralin"}]},
        {"code": concept(codes.LOINC, "48765-2"), "valueString": "Sertralin: Ausschlag"},
        {"code": concept(codes.LOINC, "1988-5"), "component": [{"code": {"text": "Sertralin"}}]},
        {
            "type_": "DiagnosticReport",
            "code": concept(codes.LOINC, "11502-2"),
            "conclusion": "Depression ausgeschlossen",
        },
        {"type_": "Encounter", "type": [{"text": "Psychotherapie, Sitzung 8"}]},
        {"type_": "CarePlan", "activity": [{"detail": {"description": "Sertralin zwei Jahre"}}]},
        {"type_": "CareTeam", "name": "Behandlungsteam Psychiatrie"},
        {"type_": "DocumentReference", "description": "Brief der Psychiatrie"},
        {"type_": "List", "note": [{"text": "Sertralin nicht absetzen"}]},
        {"type_": "ExplanationOfBenefit", "item": [{"productOrService": {"text": "Sertralin 100 mg, 100 Stück"}}]},
    ],
)
def test_what_a_thing_is_called_and_its_summary_are_read(elements: Resource) -> None:
    assert place(**elements).section == "mental-health"


def test_a_name_is_a_reason_and_gives_its_rows_labels() -> None:
    placed = planned("Dolutegravir")
    assert placed.reasons == ("name dolutegravir", "type MedicationStatement")
    assert placed.labels == {(codes.ACT_CODE, "SEX"), (codes.ACT_CODE, "HIV")}


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    "unjudged",
    [
        {"code": concept(LOCAL, "CDT")},
        {"code": concept(LOCAL, "K") | {"text": "Kalium"}},
        {"type_": "Condition", "code": {"text": "Paracetamol, Überdosis"}},
        {"code": {"text": "Weitere Angaben im Medikationsplan"}},
        {"code": concept("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown")},
        {"contained": [{"resourceType": "Observation", "code": concept(LOCAL, "CDT")}]},
        {"type_": "DiagnosticReport", "code": concept(LOCAL, "ctg")},
        {"type_": "Condition", "code": {"text": "Zustand nach Trennung"}},
        {"type_": "MedicationRequest", "medicationCodeableConcept": concept(codes.PZN, "48947039")},
        {"type_": "MedicationRequest", "medicationCodeableConcept": {"text": "Cerazette 75 µg"}},
        {"type_": "MedicationRequest", "medicationReference": {"display": "Cerazette 75 µg"}},
        {"type_": "MedicationRequest", "medicationCodeableConcept": concept(RXNORM, "312938")},
        {"type_": "Medication", "code": concept(codes.PZN, "48947039")},
        {"type_": "DocumentReference", "context": {"event": [concept(codes.LOINC, "718-7"), concept(LOCAL, "CDT")]}},
    ],
)
def test_what_nobody_can_judge_is_the_owners_alone(unjudged: Resource) -> None:
    placed = place(**unjudged)
    assert (placed.section, placed.claims, placed.needs) == ("unsorted", {"unsorted"}, frozenset())
    assert placed.reasons == (f"uncoded {unjudged.get('type_', 'Observation')}",)


def test_one_unknown_ingredient_is_enough_and_trade_names_tell_nothing() -> None:
    assert planned("Ramipril 5 mg", "Hydrochlorothiazid 25 mg").section == "medications"
    assert planned("Ramipril 5 mg", "Neuartigin 1 mg").section == "unsorted"
    assert planned(name="Cerazette").section == "unsorted"


@pytest.mark.parametrize(
    ("elements", "section"),
    [
        ({"code": {"coding": [coding(LOCAL, "HB"), coding(codes.LOINC, "718-7")]}}, "results"),
        ({"code": concept(codes.LOINC, "2532-0") | {"text": "Lactate dehydrogenase (LDH)"}}, "results"),
        ({"code": concept(codes.LOINC, "15067-2") | {"text": "Follitropin in Serum"}}, "results"),
        ({"code": concept(codes.LOINC, "5130-4") | {"text": "Anti-DNA-Antikörper"}}, "results"),
        ({"type_": "MedicationRequest", "medicationCodeableConcept": concept(codes.ATC, "M01AE01")}, "medications"),
        ({"type_": "MedicationRequest", "medicationReference": {"reference": "Medication/1"}}, "medications"),
        ({"type_": "MedicationRequest", "medicationCodeableConcept": {"text": "Ibuprofen 400"}}, "medications"),
        ({"type_": "ServiceRequest", "code": concept(LOCAL, "1"), "reasonCode": [concept(codes.ICD_10_GM, "E11")]},
         "care-plans"),
        ({"type_": "DocumentReference", "type": concept(LOCAL, "1")}, "documents"),
        ({"type_": "AllergyIntolerance", "code": {"text": "Bienengift"}}, "allergies"),
        ({"type_": "Immunization", "vaccineCode": {"text": "Tetanus"}}, "immunizations"),
    ],
)  # fmt: skip
def test_what_can_be_judged_or_must_be_seen_stays(elements: Resource, section: str) -> None:
    assert place(**elements).section == section


def test_what_the_operator_maps_moves_by_itself() -> None:
    package = coding(codes.PZN, "48947039")
    for mapped, section in (("G03AC09", "sexual-health"), ("M01AE01", "medications")):
        both = {"coding": [coding(codes.ATC, mapped), package]}
        assert place(type_="MedicationRequest", medicationCodeableConcept=both).section == section


@pytest.mark.parametrize("name", ROWS["judging"]["ordinary"])
def test_no_ordinary_name_holds_a_sensitive_one(name: str) -> None:
    assert planned(name).section == "medications"


@pytest.mark.parametrize(("section", "name"), NAMED)
def test_every_name_raises_to_its_row(section: str, name: str) -> None:
    assert section in planned("Ramipril", name.strip("*.")).claims


def test_what_is_named_has_elements_of_types_that_have_a_section() -> None:
    types = {name for names in ROWS["types"].values() for name in names}
    assert {*ROWS["read"], *ROWS["judging"]["elements"]} <= types
    assert all("unsorted" in TABLE.sections_of_type(name) for name in ROWS["judging"]["elements"])


@given(words=st.lists(st.sampled_from(["Ramipril", "Sertralin", "HIV", "50", "mg", "(", "Depression"])), at_=st.text())
def test_more_words_never_lower(words: list[str], at_: str) -> None:
    few, more = planned(*words or ["Ramipril"]), planned(*words or ["Ramipril"], note=[{"text": at_}])
    assert few.claims - {"unsorted"} <= more.claims


def test_a_name_too_short_to_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Names([("li", "lithium")])


def test_elements_are_found_through_lists_and_content_never_raises() -> None:
    held: Resource = {"a": [{"b": {"text": "x"}}, {"b": [{"text": "y"}, 7]}, "z"], "c": None}
    assert at(held, element_path("a.b")) == [{"text": "x"}, {"text": "y"}, 7]
    assert at(held, element_path("c.d")) == at(held, element_path("x.y")) == []
    assert at(held, element_path("*")) == [held]
    assert sorted(told(at(held, element_path("a.b"))).split()) == ["x", "y"]
    for broken in ("x", 7, [], {"coding": 5}, {"coding": [None]}, {"text": ["x"]}, {"reference": 5}):
        assert place(type_="MedicationRequest", medicationCodeableConcept=broken, contained=broken).section != "results"
