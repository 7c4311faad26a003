"""The demo world's people and what their sources hold: the door to the written stories.

    people()                        the three patients
    practices()                     the two practices, each with a laboratory folder and a medication-plan folder
    clinic_bundle(person)           Klinik Nord, a transaction Bundle; clinic_faults(person) names what fails on purpose
    insurer_bundle(person)          the insurer, a transaction Bundle
    lab_reports(person, practice)   LDT 3 files, (name, bytes); LOINC_MAP tells what their codes mean
    medication_plans(person, practice)   BMP XML files, (name, bytes)
    broken_lab_report(), stranger_lab_report()   the files that are wrong on purpose
    expected(person)                how many resources each source should yield

Everything is pure and always the same. The facts stand in `people/`; nobody in them exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from aggregator.demo.story_clinic import clinic_bundle, clinic_faults
from aggregator.demo.story_insurer import insurer_bundle
from aggregator.demo.story_ldt import broken_lab_report, lab_reports, stranger_lab_report
from aggregator.demo.story_people import Person, Practice, facts, people, practices
from aggregator.demo.story_plan import medication_plans

__all__ = [
    "LOINC_MAP",
    "Person",
    "Practice",
    "broken_lab_report",
    "clinic_bundle",
    "clinic_faults",
    "expected",
    "insurer_bundle",
    "lab_reports",
    "medication_plans",
    "people",
    "practices",
    "stranger_lab_report",
]

LOINC_MAP = Path(__file__).parent / "people" / "loinc.toml"


def expected(person: Person) -> Mapping[str, int]:
    """How many clinical resources each source holds that pass the check: 'clinic', 'insurer', 'laboratory', 'plans'.

    'laboratory' counts a DiagnosticReport, a Specimen, an Observation a result and a DocumentReference a PDF; 'plans' a
    List a plan and a MedicationStatement a line. Patient, Organization and Practitioner of those files are not counted.
    """
    own = [facts(person.id, practice.id) for practice in practices()]
    labs = [2 + len(row["results"]) + ("pdf" in row) for practice in own for row in practice["lab"]]
    plans = [1 + sum(map(len, row["pages"])) for practice in own for row in practice["plan"]]
    counts = {
        "clinic": len(clinic_bundle(person)["entry"]) - len(clinic_faults(person)),
        "insurer": len(insurer_bundle(person)["entry"]),
        "laboratory": sum(labs),
        "plans": sum(plans),
    }
    return MappingProxyType(counts)
