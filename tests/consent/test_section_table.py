"""Where each kind of resource lies, what raises it, and that nothing lowers it."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregator.consent.section_table import Coding, Placement, SectionTable
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM, SECTIONS
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import Resource
from tests.consent.decide_world import DEPRESSION, SERTRALINE, coding, concept, confidentiality, resource, sensitivity
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

TABLE = SectionTable.load()
TABLE_FILE = Path(__file__).parents[2] / "aggregator" / "consent" / "sections.toml"
ICD, OPS, ATC, LOINC, SNOMED = codes.ICD_10_GM, codes.OPS, codes.ATC, codes.LOINC, "http://snomed.info/sct"


def place(**elements: Any) -> Placement:
    return TABLE.section_of(resource(**elements))


def test_the_table_and_the_code_system_agree() -> None:
    assert set(TABLE.sensitive) == {section.name for section in SECTIONS.values() if section.sensitive}
    reached = frozenset[str]().union(*map(TABLE.sections_of_type, RESOURCES))
    assert reached == SECTIONS.keys()


def test_every_type_with_a_row_is_a_type_of_r4_and_has_one_row() -> None:
    rows = tomllib.loads(TABLE_FILE.read_text(encoding="utf-8"))["types"]
    named = [name for names in rows.values() for name in names]
    assert set(named) <= RESOURCES
    assert len(named) == len(set(named))


def test_it_is_read_once_and_has_a_version() -> None:
    assert SectionTable.load() is TABLE
    assert TABLE.version >= 1


def test_a_placement_in_full() -> None:
    assert TABLE.section_of(SERTRALINE) == Placement(
        section="mental-health",
        claims=frozenset({"mental-health", "medications"}),
        labels=frozenset({(codes.ACT_CODE, "MH"), (codes.ACT_CODE, "PSY")}),
        needs=frozenset(
            {frozenset({(SECTION_SYSTEM, "mental-health"), (codes.ACT_CODE, "MH"), (codes.ACT_CODE, "PSY")})}
        ),
        codings=frozenset({(ATC, "N06AB06"), (ICD, "F32.1")}),
        reasons=("atc N06A", "icd F20..F99", "type MedicationRequest"),
    )


@pytest.mark.parametrize(
    ("type_", "section"),
    [
        ("Patient", "identity"),
        ("Condition", "problems"),
        ("AllergyIntolerance", "allergies"),
        ("MedicationStatement", "medications"),
        ("Immunization", "immunizations"),
        ("Observation", "results"),
        ("DiagnosticReport", "results"),
        ("Specimen", "results"),
        ("Encounter", "encounters"),
        ("Procedure", "procedures"),
        ("ImagingStudy", "imaging"),
        ("DocumentReference", "documents"),
        ("CarePlan", "care-plans"),
        ("Coverage", "insurance"),
        ("ExplanationOfBenefit", "insurance"),
        ("Communication", "communication"),
        ("MolecularSequence", "genetics"),
        ("Organization", "directory"),
        ("Medication", "directory"),
        ("Consent", "unsorted"),
        ("Provenance", "unsorted"),
        ("Binary", "unsorted"),
        ("Basic", "unsorted"),
        ("Nonsense", "unsorted"),
    ],
)
def test_by_type(type_: str, section: str) -> None:
    placed = place(type_=type_)
    assert placed.section == section
    assert placed.claims == {section}


@pytest.mark.parametrize(
    ("type_", "element", "value", "section"),
    [
        ("Observation", "category", [concept(codes.OBSERVATION_CATEGORY, "imaging")], "imaging"),
        ("Observation", "category", [concept(codes.OBSERVATION_CATEGORY, "laboratory")], "results"),
        ("DiagnosticReport", "category", [concept(codes.DIAGNOSTIC_SERVICE, "RAD")], "imaging"),
        ("DiagnosticReport", "category", [concept(codes.DIAGNOSTIC_SERVICE, "GE")], "genetics"),
        ("ServiceRequest", "category", [concept(SNOMED, "108252007")], "results"),
        ("ServiceRequest", "category", [concept(SNOMED, "387713003")], "procedures"),
        ("List", "code", concept(LOINC, "10160-0"), "medications"),
        ("List", "code", concept(LOINC, "11450-4"), "problems"),
    ],
)
def test_by_category(type_: str, element: str, value: Any, section: str) -> None:
    assert place(type_=type_, **{element: value}).section == section


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    ("system", "code", "section"),
    [
        (ICD, "F00.1", "mental-health"),
        (ICD, "F09", "mental-health"),
        (ICD, "F10.2", "substance-use"),
        (ICD, "F17.2", "substance-use"),
        (ICD, "F19.9", "substance-use"),
        (ICD, "F20.0", "mental-health"),
        (ICD, "F32.1", "mental-health"),
        (ICD, "f32.1", "mental-health"),
        (ICD, "F321", "mental-health"),
        (ICD, "F32.1G", "mental-health"),
        (ICD, "F99", "mental-health"),
        (ICD, "G30.1", "mental-health"),
        (ICD, "X61.9", "mental-health"),
        (ICD, "Z73", "mental-health"),
        (ICD, "U69.32", "substance-use"),
        (ICD, "K70.3", "substance-use"),
        (ICD, "Z72.1", "substance-use"),
        (ICD, "O00.0", "sexual-health"),
        (ICD, "O99.8", "sexual-health"),
        (ICD, "Z34", "sexual-health"),
        (ICD, "N97.9", "sexual-health"),
        (ICD, "A51.0", "sexual-health"),
        (ICD, "B20", "sexual-health"),
        (ICD, "U60.9", "sexual-health"),
        (ICD, "Q90.9", "genetics"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F32.A", "mental-health"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "O9A.21", "sexual-health"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "Z3A.20", "sexual-health"),
        ("http://hl7.org/fhir/sid/icd-10|2019", "F32", "mental-health"),
        ("urn:oid:2.16.840.1.113883.6.90", "F33.1", "mental-health"),
        ("http://hl7.org/fhir/sid/icpc-2", "P76", "mental-health"),
        ("http://hl7.org/fhir/sid/icpc-2", "P15", "substance-use"),
        (ATC, "N05BA01", "mental-health"),
        (ATC, "N06AB06", "mental-health"),
        (ATC, "N07BC02", "substance-use"),
        (ATC, "G03AA07", "sexual-health"),
        (ATC, "J05AR03", "sexual-health"),
        (OPS, "9-607", "mental-health"),
        (OPS, "1-900.0", "mental-health"),
        (OPS, "9-647.0", "substance-use"),
        (OPS, "5-740.0", "sexual-health"),
        (OPS, "1-992.0", "genetics"),
        (LOINC, "44249-1", "mental-health"),
        (LOINC, "44261-6", "mental-health"),
        (LOINC, "75626-2", "substance-use"),
        (LOINC, "75622-1", "sexual-health"),
        (LOINC, "82810-3", "sexual-health"),
        (LOINC, "11525-3", "sexual-health"),
        (ATC, "J06BB01", "sexual-health"),
        (LOINC, "51969-4", "genetics"),
        (SNOMED, "35489007", "mental-health"),
        (SNOMED, "35489007:246112005=24484000", "mental-health"),
        (SNOMED, "72892002", "sexual-health"),
        ("http://varnomen.hgvs.org", "NM_004006.2:c.4375C>T", "genetics"),
        ("http://fhir.de/CodeSystem/dkgev/Fachabteilungsschluessel", "2900", "mental-health"),
        ("http://fhir.de/CodeSystem/dkgev/Fachabteilungsschluessel", "2500", "sexual-health"),
        ("http://ihe-d.de/CodeSystems/AerztlicheFachrichtungen", "PSYC", "mental-health"),
        ("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_EBM", "35110", "mental-health"),
        ("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_EBM", "01772", "sexual-health"),
    ],
)
def test_a_sensitive_code_raises_without_any_label(system: str, code: str, section: str) -> None:
    assert place(code=concept(system, code)).section == section


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (ICD, "E11.9"),
        (ICD, "I10.90"),
        (ICD, "N93.9"),
        (ICD, "N99"),
        (ICD, "P00"),
        (ICD, "G31.8"),
        (ICD, "Z29.0"),
        (ICD, "Z40"),
        (ICD, "F"),
        (ATC, "N02BE01"),
        (ATC, "G03C"),
        (OPS, "5-71"),
        (OPS, "9-984.6"),
        (LOINC, "72166-2"),  # smoking status: in nearly every record
        (LOINC, "4548-4"),
        (LOINC, "8339-4"),  # birth weight: the child's own
        ("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_EBM", "03000"),
    ],
)
def test_its_neighbours_stay_open(system: str, code: str) -> None:
    assert place(code=concept(system, code)).section == "results"


def test_a_gynaecological_department_stays_open() -> None:
    department = concept("http://fhir.de/CodeSystem/dkgev/Fachabteilungsschluessel", "2400")
    assert place(type_="Encounter", serviceType=department).section == "encounters"


def test_pages_messages_and_quantities_are_not_read() -> None:
    known = concept(LOINC, "4548-4")
    page = {"attachment": {"title": "Depression", "data": "RGVwcmVzc2lvbg=="}}
    assert place(type_="DocumentReference", type=known, content=[page]).section == "documents"
    assert place(type_="Communication", payload=[{"contentString": "Depression"}]).section == "communication"
    assert place(code=known, note=[{"text": "F32.1"}]).section == "results"
    assert place(code=known, valueQuantity={"value": 1, "system": ICD, "code": "F32"}).section == "results"


DEEP = {
    "reason": {"reasonCode": [concept(ICD, "F32.1")]},
    "component": {"component": [{"code": concept(LOINC, "44249-1")}]},
    "contained": {"contained": [DEPRESSION]},
    "contained in contained": {"contained": [{"resourceType": "List", "contained": [DEPRESSION]}]},
    "extension": {"extension": [{"url": "https://example.org", "valueCoding": coding(ICD, "F32")}]},
    "second coding": {"code": {"coding": [coding(LOINC, "1-1"), coding(ICD, "F32")]}},
    "value": {"valueCodeableConcept": concept(ICD, "F32")},
    "specialty": {"performer": [{"extension": [{"url": "x", "valueCodeableConcept": concept(SNOMED, "394587001")}]}]},
}


@pytest.mark.attack(15, 19)
@pytest.mark.parametrize("where", DEEP)
def test_the_whole_resource_is_walked(where: str) -> None:
    assert place(**DEEP[where]).section == "mental-health"


@pytest.mark.parametrize(
    ("claiming", "section", "claims"),
    [
        (["F65.4"], "mental-health", {"mental-health", "sexual-health"}),
        (["F32", "F10"], "substance-use", {"mental-health", "substance-use"}),
        (["F32", "F10", "Q90"], "genetics", {"mental-health", "substance-use", "genetics"}),
        (["B20", "F32"], "mental-health", {"mental-health", "sexual-health"}),
    ],
)
def test_the_most_sensitive_row_wins_and_all_must_be_named(claiming: list[str], section: str, claims: set[str]) -> None:
    placed = place(code={"coding": [coding(ICD, code) for code in claiming]})
    assert placed.section == section
    assert placed.claims == claims | {"results"}
    assert {code for need in placed.needs for system, code in need if system == SECTION_SYSTEM} == claims


@pytest.mark.parametrize(
    ("code", "label"), [("B20", "HIV"), ("A50", "STD"), ("Y05", "SDV"), ("F10", "SUD"), ("Q90", "GDIS"), ("F32", "PSY")]
)
def test_the_table_gives_labels(code: str, label: str) -> None:
    assert (codes.ACT_CODE, label) in place(code=concept(ICD, code)).labels


# --- labels of the source: they raise, never lower -------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "section"),
    [
        ("PSY", "mental-health"),
        ("PSYTHPN", "mental-health"),
        ("ETH", "substance-use"),
        ("SUD", "substance-use"),
        ("SEX", "sexual-health"),
        ("HIV", "sexual-health"),
        ("SDV", "sexual-health"),
        ("GDIS", "genetics"),
    ],
)
def test_a_label_raises(label: str, section: str) -> None:
    for labelled in (
        {"meta": {"security": sensitivity(label)}},
        {"contained": [{"resourceType": "Observation", "meta": {"security": sensitivity(label)}}]},
        {"type_": "DocumentReference", "securityLabel": [concept(codes.ACT_CODE, label)]},
    ):
        placed = place(**labelled)
        assert placed.section == section
        assert (codes.ACT_CODE, label) in placed.labels


def believing(self: SectionTable, resource: Resource) -> Placement:
    """As if a label said what there is: whoever labels their data at all is taken at their word."""
    placed = _section_of(self, resource)
    return replace(placed, claims=frozenset(), needs=()) if resource.get("meta", {}).get("security") else placed


_section_of = SectionTable.section_of


@pytest.mark.attack(58)
@weakens("aggregator.consent.section_table.SectionTable", "section_of", believing)
@pytest.mark.parametrize(
    "harmless",
    [
        confidentiality("U"),
        confidentiality("L", "N"),
        [coding(SECTION_SYSTEM, "results")],
        [coding("https://source.example/labels", "harmless")],
    ],
)
def test_a_source_that_calls_its_data_harmless_lowers_nothing(harmless: list[Resource]) -> None:
    for plain in (DEPRESSION, SERTRALINE):
        labelled = copy.deepcopy(plain) | {"meta": {"security": harmless}}
        before, after = TABLE.section_of(plain), TABLE.section_of(labelled)
        assert (after.section, after.claims, after.needs) == (before.section, before.claims, before.needs)
        assert before.labels < after.labels


@pytest.mark.parametrize(
    ("labels", "needs"),
    [
        (confidentiality("N"), set()),
        (confidentiality("R"), {frozenset({(codes.CONFIDENTIALITY, "R"), (codes.CONFIDENTIALITY, "V")})}),
        (confidentiality("V"), {frozenset({(codes.CONFIDENTIALITY, "V")})}),
        (sensitivity("TBOO"), {frozenset({(codes.ACT_CODE, "TBOO")})}),
    ],
)
def test_a_restricted_resource_stays_but_must_be_named(labels: list[Resource], needs: set[frozenset[Coding]]) -> None:
    placed = place(meta={"security": labels})
    assert placed.section == "results"
    assert placed.needs == needs


def test_restricted_is_explained_by_a_sensitive_section_and_very_restricted_is_not() -> None:
    plain = TABLE.section_of(DEPRESSION)
    restricted = TABLE.section_of(DEPRESSION | {"meta": {"security": confidentiality("R")}})
    very = TABLE.section_of(DEPRESSION | {"meta": {"security": confidentiality("V")}})
    assert restricted.needs == plain.needs
    assert very.needs == plain.needs | {frozenset({(codes.CONFIDENTIALITY, "V")})}


def test_a_type_that_is_sensitive_as_such_is_labelled_and_must_be_named() -> None:
    placed = place(type_="MolecularSequence")
    assert placed.labels == {(codes.ACT_CODE, "GDIS")}
    assert placed.needs == {frozenset({(SECTION_SYSTEM, "genetics"), (codes.ACT_CODE, "GDIS")})}
    assert placed.reasons == ("type MolecularSequence",)


def test_nothing_moves_a_consent_out_of_the_owners_hands() -> None:
    placed = place(type_="Consent", meta={"security": sensitivity("PSY")}, category=[concept(ICD, "F32")])
    assert (placed.section, placed.claims) == ("unsorted", {"unsorted"})


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"resourceType": None},
        {"resourceType": ["Observation"]},
        {"resourceType": "Observation", "meta": "x", "contained": "y", "category": 5, "code": None},
        {"resourceType": "Observation", "code": {"coding": [{"system": 1, "code": "F32"}, {"system": ICD}, 7, None]}},
        {
            "resourceType": "Observation",
            "code": {"coding": [{"system": ICD, "code": ""}, {"system": SNOMED, "code": ""}]},
        },
        {"resourceType": "Observation", "meta": {"security": "R"}, "contained": [1]},
    ],
)
def test_content_never_raises(broken: Resource) -> None:
    assert TABLE.section_of(broken).section in {"results", "unsorted"}
