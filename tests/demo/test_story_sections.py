"""Where everything of the three stories lies: nothing that a person would keep to himself lies open.

`story/open_<person>.txt` lists, by section, what every doctor may read whose consent names no sensitive section. Each
of its lines was judged by a person; a new line waits for one. What no list shows lies in a sensitive section, in
`unsorted` (below), or is a name or an address (`identity`, `directory`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aggregator.consent.section_names import at, element_path, told
from aggregator.consent.section_table import SectionTable
from aggregator.demo.story import (
    ATC_MAP,
    LOINC_MAP,
    Person,
    Practice,
    clinic_bundle,
    insurer_bundle,
    lab_reports,
    medication_plans,
    people,
    practices,
)
from connectors import practice_ldt, practice_medication_plan
from connectors.contract import ConnectorSpec, Found
from fhir_profiles.text import Resource
from tests.demo.test_story_files import NOW, File, laid, pulled

GOLDEN = Path(__file__).parent / "story"
TABLE = SectionTable.load()
SHUT = {"unsorted", *TABLE.sensitive}
NAMES = {"identity", "directory"}
EVERYONE = pytest.mark.parametrize("person", people(), ids=lambda person: person.id)
# A gynaecologist's department sees every woman: its name is no secret, and stands on what is open.
DEPARTMENT = "Frauenheilkunde und Geburtshilfe"
# Where a resource says what it is, unless in its code.
CALLED = {
    **dict.fromkeys(("CarePlan", "List"), "title"),
    **dict.fromkeys(("Coverage", "DocumentReference", "Encounter", "Specimen"), "type.text"),
    **dict.fromkeys(("CareTeam", "Location"), "name"),
    **{"Appointment": "description", "Goal": "description.text", "Communication": "payload.contentString"},
    **{"ExplanationOfBenefit": "item.productOrService.text", "Immunization": "vaccineCode.text"},
    **{"MedicationRequest": "medicationCodeableConcept.text", "MedicationStatement": "contained.code.text"},
    **dict.fromkeys(("Organization", "Patient", "Practitioner", "PractitionerRole"), "id"),
}
PRIVATE = re.compile(
    "depress|psych|sertralin|mirtazapin|lorazepam|stimmung|suizid|phq|alkohol|sucht(?!est)|abstinen|carbohydrate"
    "|schwanger|geburt|wehen|entbind|wochenb|stillen|stillt|mutter|kind|neugeb|anti-d|verhüt|desogestrel|kontrazep"
    "|chlamyd|hiv|lues|syphilis|partner|sexu",
    re.IGNORECASE,
)


def read(spec: ConnectorSpec[Any], folder: Path, files: list[File], **settings: object) -> list[Resource]:
    folder.mkdir(parents=True)
    config = spec.config(folder=laid(folder, files), **settings)
    found = pulled(spec.connect(config, httpx.AsyncClient(), lambda: NOW))
    return [item.resource for item in found if isinstance(item, Found)]


def planned(person: Person, practice: Practice, folder: Path, atc_map: Path | None) -> list[Resource]:
    settings = {"patient_number": person.patient_numbers[practice.id], "atc_map": atc_map}
    return read(practice_medication_plan.SPEC, folder, medication_plans(person, practice), **settings)


def everything(person: Person, folder: Path) -> Iterator[Resource]:
    for bundle in (clinic_bundle(person), insurer_bundle(person)):
        yield from (entry["resource"] for entry in bundle["entry"])
    laboratory = {"authority_system": "https://labor.example/test", "loinc_map": LOINC_MAP}
    for practice in practices():
        yield from read(practice_ldt.SPEC, folder / practice.id / "lab", lab_reports(person, practice), **laboratory)
        yield from planned(person, practice, folder / practice.id / "plan", ATC_MAP)


def open_ones(person: Person, folder: Path) -> list[tuple[str, Resource]]:
    placed = [(TABLE.section_of(one).section, one) for one in everything(person, folder)]
    return [(section, one) for section, one in placed if section not in SHUT | NAMES]


def words(found: Resource) -> str:
    """All that a person reads in a resource: its texts, its prose, its documents."""
    prose = [str(found.get(name, "")) for name in ("conclusion", "title", "name", "description", "payload", "activity")]
    pages = [base64.b64decode(part["attachment"]["data"]) for part in found.get("content", ())]
    read_as = [page.decode("cp1252" if page.startswith(b"%PDF") else "utf-8") for page in pages]
    return "\n".join([told([found]), str(found.get("valueString", "")), *prose, *read_as]).replace(DEPARTMENT, "")


def called(found: Resource) -> str:
    return "; ".join(at(found, element_path(CALLED.get(found["resourceType"], "code.text"))))


@EVERYONE
@pytest.mark.attack(19)
def test_what_lies_open_was_judged_by_a_person(person: Person, tmp_path: Path) -> None:
    lines = {f"{section} | {one['resourceType']} | {called(one)}" for section, one in open_ones(person, tmp_path)}
    golden = GOLDEN / f"open_{person.id}.txt"
    assert sorted(lines) == golden.read_text("utf-8").splitlines()


@EVERYONE
@pytest.mark.attack(19)
def test_no_word_of_what_lies_open_is_private(person: Person, tmp_path: Path) -> None:
    found = [(one["id"], PRIVATE.findall(words(one))) for _, one in open_ones(person, tmp_path)]
    assert [(name, private) for name, private in found if private] == []


@pytest.mark.attack(19)
def test_what_nobody_mapped_and_no_name_tells_is_the_patients_alone(tmp_path: Path) -> None:
    unsorted = [
        (person.id, called(one))
        for person in people()
        for one in everything(person, tmp_path / person.id)
        if TABLE.section_of(one).section == "unsorted"
    ]
    assert unsorted == [("aylin", "Toxoplasmose-IgG"), ("aylin", "B-Streptokokken (PCR, Abstrich)")]


@pytest.mark.attack(19)
def test_what_hides_among_ordinary_things_is_found(tmp_path: Path) -> None:
    placed = [
        (person.id, one["resourceType"], called(one), TABLE.section_of(one).section)
        for person in people()
        for one in everything(person, tmp_path / person.id)
        if one["id"] in BY_ID or called(one) in BY_NAME
    ]
    assert {found[1:] for found in placed} == {
        ("Observation", "Sertralin-Spiegel", "mental-health"),  # no map: by its name
        ("Observation", "CDT (Carbohydrate-deficient Transferrin)", "substance-use"),  # by the operator's LOINC
        ("MedicationRequest", "Ibuprofen 600 mg Filmtabletten", "mental-health"),  # a note names sertraline
        ("MedicationStatement", "Sertralin 100 mg Filmtabletten", "mental-health"),
        ("MedicationStatement", "Sertralin 50 mg Filmtabletten", "mental-health"),
        ("MedicationRequest", "Sertralin 50 mg Filmtabletten", "mental-health"),
        ("MedicationRequest", "Sertralin 100 mg Filmtabletten", "mental-health"),
        ("MedicationStatement", "Desogestrel 75 µg Filmtabletten", "sexual-health"),
        ("MedicationRequest", "Desogestrel 75 µg Filmtabletten", "sexual-health"),
        ("DocumentReference", "Geburtsbericht", "sexual-health"),
        ("CareTeam", "Geburtshilfe", "sexual-health"),
    }


BY_ID = {"jonas-ibuprofen-600-202109280845"}
BY_NAME = {
    *("Sertralin-Spiegel", "CDT (Carbohydrate-deficient Transferrin)", "Geburtsbericht", "Geburtshilfe"),
    *("Sertralin 50 mg Filmtabletten", "Sertralin 100 mg Filmtabletten", "Desogestrel 75 µg Filmtabletten"),
}


@EVERYONE
def test_a_laboratorys_pdf_lies_where_its_most_sensitive_result_lies(person: Person, tmp_path: Path) -> None:
    found = {one["id"]: one for one in everything(person, tmp_path)}
    pages = [one for one in found.values() if "related" in one.get("context", {})]
    assert pages
    for page in pages:
        (report,) = (found[one["reference"].partition("/")[2]] for one in page["context"]["related"])
        results = [TABLE.section_of(found[one["reference"].partition("/")[2]]) for one in report["result"]]
        sensitive = {claim for result in results for claim in result.claims} & set(TABLE.sensitive)
        assert TABLE.section_of(page).claims == {"documents", *sensitive}


@EVERYONE
def test_the_plans_lie_alike_with_the_operators_map_and_without(person: Person, tmp_path: Path) -> None:
    for practice in practices():
        known = planned(person, practice, tmp_path / practice.id / "known", ATC_MAP)
        unknown = planned(person, practice, tmp_path / practice.id / "unknown", None)
        assert [TABLE.section_of(one).section for one in known] == [TABLE.section_of(one).section for one in unknown]
