"""The sections of a patient summary: which resources each takes, and the table that a person reads there.

https://hl7.org/fhir/uv/ips/StructureDefinition-Composition-uv-ips.html. A resource is taken by what it states of itself
(status, category, code); measurements, of which there are many, by a search, and of them the newest of each code,
because it is a summary. Not there, because no source states it in a form that says so: advance directives, functional
status, the patient's story.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregator.fhir import patient_summary_cells as cells
from aggregator.fhir.page import Pairs
from aggregator.fhir.patient_summary_cells import Resolve
from fhir_profiles.codes import LOINC, OBSERVATION_CATEGORY
from fhir_profiles.text import Resource

Takes = Callable[[Resource], bool]
Column = tuple[str, Callable[[Resource, Resolve], str]]
"""(heading in German and English, what gives a cell's text)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """code, display: LOINC's. takes: resource type -> does the section take it. required: there even where nothing is
    known, with the reason.

    newest: resource type -> the parameters of a search, of whose matches it takes the newest of each code.
    """

    code: str
    display: str
    title: str
    columns: tuple[Column, ...]
    takes: Mapping[str, Takes] = field(default_factory=dict)
    newest: Mapping[str, Pairs] = field(default_factory=dict)
    required: bool = False


_OVER = frozenset({"inactive", "remission", "resolved"})
_WRONG = frozenset({"refuted", "entered-in-error"})
_MEASURED = ("status", "final,amended,corrected")
_PREGNANCY = (
    *("82810-3", "11778-8", "11779-6", "11780-4", "11636-8", "11637-6", "11638-4", "11639-2", "11640-0"),
    *("11612-9", "11613-7", "11614-5", "33065-4"),
)
"""LOINC: whether, when due, and how earlier ones ended."""


def _codes(concept: Any) -> set[str]:
    return {one.get("code", "") for one in concept.get("coding", ())} if isinstance(concept, dict) else set()


def _has(*statuses: str) -> Takes:
    wanted = frozenset(statuses)
    return lambda resource: resource.get("status") in wanted


def _right(resource: Resource) -> bool:
    return not _codes(resource.get("verificationStatus")) & _WRONG


def _over(resource: Resource) -> bool:
    return bool(_codes(resource.get("clinicalStatus")) & _OVER) or any(
        name.startswith("abatement") for name in resource
    )


def _ordered(resource: Resource) -> bool:
    return resource.get("status") in ("active", "on-hold", "unknown") and resource.get("doNotPerform") is not True


def _of(category: str) -> Pairs:
    """Measurements of this category that count."""
    return (_MEASURED, ("category", f"{OBSERVATION_CATEGORY}|{category}"))


_DATE: Column = ("Datum / Date", cells.date)
_STATUS: Column = ("Status", cells.clinical_status)
_MEASUREMENT: tuple[Column, ...] = (
    ("Untersuchung / Test", cells.code),
    ("Ergebnis / Result", cells.result),
    ("Bewertung / Interpretation", cells.interpretation),
    _DATE,
)

SECTIONS = (
    Section(
        code="11450-4",
        display="Problem list - Reported",
        title="Aktuelle Probleme / Problem List",
        takes={"Condition": lambda one: _right(one) and not _over(one)},
        columns=(("Diagnose / Problem", cells.code), _STATUS, ("Seit / Since", cells.date)),
        required=True,
    ),
    Section(
        code="48765-2",
        display="Allergies and adverse reactions Document",
        title="Allergien und Unverträglichkeiten / Allergies and Intolerances",
        takes={"AllergyIntolerance": _right},
        columns=(
            ("Stoff / Substance", cells.code),
            ("Reaktion / Reaction", cells.reactions),
            ("Gefährdung / Criticality", cells.criticality),
            _STATUS,
        ),
        required=True,
    ),
    Section(
        code="10160-0",
        display="History of Medication use Narrative",
        title="Medikation / Medication Summary",
        takes={
            "MedicationStatement": _has("active", "intended", "on-hold", "unknown"),
            "MedicationRequest": _ordered,
        },
        columns=(
            ("Arzneimittel / Medication", cells.medication),
            ("Dosierung / Dosage", cells.dosage),
            ("Seit / Since", cells.date),
        ),
        required=True,
    ),
    Section(
        code="11369-6",
        display="History of Immunization note",
        title="Impfungen / Immunizations",
        takes={"Immunization": _has("completed")},
        columns=(("Impfung / Vaccine", cells.vaccine), _DATE),
    ),
    Section(
        code="30954-2",
        display="Relevant diagnostic tests/laboratory data note",
        title="Befunde / Results",
        newest={"Observation": _of("laboratory"), "DiagnosticReport": (_MEASURED,)},
        columns=_MEASUREMENT,
    ),
    Section(
        code="47519-4",
        display="History of Procedures Document",
        title="Eingriffe und Maßnahmen / History of Procedures",
        takes={"Procedure": _has("completed", "in-progress")},
        columns=(("Maßnahme / Procedure", cells.code), _DATE),
    ),
    Section(
        code="46264-8",
        display="History of medical device use",
        title="Medizinprodukte / Medical Devices",
        takes={"DeviceUseStatement": _has("active", "intended", "on-hold")},
        columns=(("Produkt / Device", cells.device), _DATE),
    ),
    Section(
        code="104605-1",
        display="Alert",
        title="Warnhinweise / Alerts",
        takes={"Flag": _has("active")},
        columns=(("Hinweis / Alert", cells.code), _DATE),
    ),
    Section(
        code="11348-0",
        display="History of Past illness note",
        title="Frühere Erkrankungen / History of Past Problems",
        takes={"Condition": lambda one: _right(one) and _over(one)},
        columns=(("Diagnose / Problem", cells.code), _STATUS, ("Seit / Since", cells.date)),
    ),
    Section(
        code="10162-6",
        display="History of pregnancies Narrative",
        title="Schwangerschaften / Pregnancy History",
        newest={"Observation": (_MEASURED, ("code", ",".join(f"{LOINC}|{code}" for code in _PREGNANCY)))},
        columns=_MEASUREMENT,
    ),
    Section(
        code="18776-5",
        display="Plan of care note",
        title="Behandlungsplan / Plan of Care",
        takes={"CarePlan": _has("active")},
        columns=(("Plan", cells.title), _DATE),
    ),
    Section(
        code="29762-2",
        display="Social history Narrative",
        title="Lebensumstände / Social History",
        newest={"Observation": _of("social-history")},
        columns=_MEASUREMENT,
    ),
    Section(
        code="8716-3",
        display="Vital signs note",
        title="Vitalwerte / Vital Signs",
        newest={"Observation": _of("vital-signs")},
        columns=_MEASUREMENT,
    ),
)
