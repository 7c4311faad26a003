"""The demo world's people and what their sources hold: the door to the written stories.

    people()                        the three patients
    practices()                     the two practices, each with a laboratory folder and a medication-plan folder
    clinic_bundle(person)           Klinik Nord, a transaction Bundle; clinic_faults(person) names what fails on purpose
    insurer_bundle(person)          the insurer, a transaction Bundle
    lab_reports(person, practice)   LDT 3 files, (name, bytes); LOINC_MAP tells what their codes mean
    medication_plans(person, practice)   BMP XML files, (name, bytes); ATC_MAP tells what their packages hold
    broken_lab_report(), stranger_lab_report()   the files that are wrong on purpose
    expected(person)                how many resources each source yields

Everything is pure and always the same. The facts stand in `people/`; nobody in them exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

from aggregator.demo.story_clinic import clinic_bundle, clinic_faults
from aggregator.demo.story_insurer import insurer_bundle
from aggregator.demo.story_ldt import broken_lab_report, lab_reports, stranger_lab_report
from aggregator.demo.story_people import Person, Practice, facts, people, practices
from aggregator.demo.story_plan import medication_plans

__all__ = [
    "ATC_MAP",
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

_MAPS = Path(__file__).parent / "people"
ATC_MAP = _MAPS / "atc.toml"
LOINC_MAP = _MAPS / "loinc.toml"


def expected(person: Person) -> Mapping[str, int]:
    """How many distinct resources each source yields that pass the check, by 'clinic', 'insurer' and the connections
    '<practice>/laboratory' and '<practice>/plans'.

    A laboratory report is a DiagnosticReport, a Specimen, an Observation a result and a DocumentReference where it
    holds a PDF, and all of them share one Patient and one laboratory. Of the plans only the newest stands: a List, a
    MedicationStatement a line, an Observation a fact about the person, the Patient and the author.
    """
    counts = {
        "clinic": len(clinic_bundle(person)["entry"]) - len(clinic_faults(person)),
        "insurer": len(insurer_bundle(person)["entry"]),
    }
    for practice in practices():
        rows = facts(person.id, practice.id)
        counts[f"{practice.id}/laboratory"] = 2 + sum(2 + len(lab["results"]) + ("pdf" in lab) for lab in rows["lab"])
        newest = max(rows["plan"], key=itemgetter("at"))
        counts[f"{practice.id}/plans"] = 3 + sum(map(len, newest["pages"])) + len(newest.get("observed", ()))
    return MappingProxyType(counts)
