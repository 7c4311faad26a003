"""One medication of the plan -> MedicationStatement with Dosage (https://hl7.org/fhir/R4/medicationstatement.html).

The status is `unknown`: that a medicine stands on a plan does not say that it is taken. A dose is a number only where
the plan writes one; the plan's fractions (1/2) and its words stay words, and so does an ingredient's strength.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources

from connectors.practice_medication_plan_atc import AtcMap, whole_pzn
from connectors.practice_medication_plan_page import Attributes, Entry, lines
from fhir_profiles.build import Part, codeable, coding, present, quantity
from fhir_profiles.codes import PZN

_TABLES: dict[str, dict[str, str]] = tomllib.loads(
    resources.files("connectors").joinpath("practice_medication_plan.toml").read_text("utf-8")
)
_DOSE_UNIT, _SECTION = _TABLES["dose_unit"], _TABLES["section"]
_WEEKDAY, _WEEKDAY_WORD = _TABLES["weekday"], _TABLES["weekday_word"]
_DOSE_UNIT_SYSTEM = "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_BMP_DOSIEREINHEIT"
_SECTION_SYSTEM = "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_BMP_ZWISCHENUEBERSCHRIFT"
_FORM_SYSTEM = "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_KBV_DARREICHUNGSFORM"
_CATEGORY_SYSTEM = "http://terminology.hl7.org/CodeSystem/medication-statement-category"
_AS_NEEDED, _SELF_MEDICATION = "411", "418"
# Attribute -> when (http://terminology.hl7.org/CodeSystem/v3-TimingEvent and FHIR's own), word
_TIMES = {"m": ("MORN", "morgens"), "d": ("NOON", "mittags"), "v": ("EVE", "abends"), "h": ("NIGHT", "zur Nacht")}
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:,[0-9]{1,2})?")
_FRACTION = re.compile(r"[0-9]/[0-9]")
_FORM_CODE = re.compile(r"[A-Z]{3}")
_CONTAINED = "medication"
_UNNAMED = "ohne Namen"


def heading(section: Attributes) -> str:
    """A section's title: its own text, or the one of its code, or the code itself."""
    code = section.get("c", "")
    return lines(section.get("t")) or _SECTION.get(code, code)


def section_concept(section: Attributes) -> Part:
    """A section as a CodeableConcept; empty for a section without a heading."""
    code = section.get("c", "")
    return codeable(*[coding(_SECTION_SYSTEM, code, _SECTION.get(code, ""))] if code else [], text=heading(section))


def pzn(entry: Entry) -> str:
    """The medication's Pharmazentralnummer with all its digits, or an empty text."""
    return whole_pzn(entry.own.get("p", ""))


def statement(entry: Entry, atc: AtcMap) -> tuple[Part, tuple[str, ...]]:
    """What a medication or recipe says as members of a MedicationStatement, and warnings.

    Without id, subject, source and times, which are the plan's. atc: what the operator says the packages hold.
    """
    doses, warnings = ([], []) if entry.kind == "R" else _dosages(entry)
    if entry.section.get("c", _AS_NEEDED) not in _SECTION:
        warnings.append("the section's code is not in the plan's key table: it is kept as it is")
    made = present(
        status="unknown",
        category=_category(entry.section),
        reasonCode=[codeable(text=lines(entry.own.get("r")))] if lines(entry.own.get("r")) else [],
        note=[{"text": lines(entry.own.get("x"))}] if lines(entry.own.get("x")) else [],
        dosage=doses,
    )
    return _medication(entry, atc) | made, tuple(warnings)


def _category(section: Attributes) -> Part:
    made = section_concept(section)
    if section.get("c") == _SELF_MEDICATION:
        own_choice = coding(_CATEGORY_SYSTEM, "patientspecified", "Patient Specified")
        made = made | {"coding": [*made["coding"], own_choice]}
    return made


def _medication(entry: Entry, atc: AtcMap) -> Part:
    if entry.kind == "R":
        return {"medicationCodeableConcept": codeable(text=lines(entry.own.get("t")) or _UNNAMED)}
    ingredients = [name for told in entry.ingredients if (name := _ingredient(told))]
    named = [*atc.codings(pzn(entry)), coding(PZN, pzn(entry), entry.own.get("a", ""))] if pzn(entry) else []
    name = entry.own.get("a", "") or ("" if named else ", ".join(ingredients) or _UNNAMED)
    form = _form(entry.own)
    if not ingredients and not form:
        return {"medicationCodeableConcept": codeable(*named, text=name)}
    medication = present(
        resourceType="Medication",
        id=_CONTAINED,
        code=codeable(*named, text=name),
        form=form,
        ingredient=[{"itemCodeableConcept": codeable(text=told)} for told in ingredients],
    )
    return {"contained": [medication], "medicationReference": {"reference": f"#{_CONTAINED}"}}


def _ingredient(told: Attributes) -> str:
    return " ".join(part for part in (told.get("w"), told.get("s")) if part)


def _form(own: Attributes) -> Part:
    """The dose form: a code of three capitals (IFA), or the words some programs write in its place."""
    told = own.get("f", "")
    coded = bool(_FORM_CODE.fullmatch(told))
    return codeable(*[coding(_FORM_SYSTEM, told)] if coded else [], text=own.get("fd", "") or ("" if coded else told))


def _dosages(entry: Entry) -> tuple[list[Part], list[str]]:
    own, warnings = entry.own, []
    always = present(
        patientInstruction=lines(own.get("i")),
        asNeededBoolean=True if entry.section.get("c") == _AS_NEEDED else None,
    )
    rhythm = _rhythm(own)
    if rhythm is None:
        warnings.append("the weekday of the weekly dose is not in the plan's key table: the dose is kept as text")
    doses = [_dose(own, time, rhythm) for time in _TIMES if own.get(time, "0") != "0"]
    if any(time in own and not (_AMOUNT.fullmatch(own[time]) or _FRACTION.fullmatch(own[time])) for time in _TIMES):
        warnings.append("a dose is neither number nor fraction: it is kept as text")
    if "du" in own and own["du"] not in _DOSE_UNIT:
        warnings.append("the dose unit's code is not in the plan's key table: it is kept as it is, ask the practice")
    if "t" in own:
        doses.insert(0, {"text": f"{lines(own['t'])} {_unit_text(own)}".strip()})
    return [dose | always for dose in doses or ([_none(own)] if _none(own) or always else [])], warnings


def _none(own: Attributes) -> Part:
    """A plan that says 0 four times says something; one that says nothing does not."""
    return {"text": "-".join(own.get(time, "0") for time in _TIMES)} if any(time in own for time in _TIMES) else {}


def _rhythm(own: Attributes) -> Part | None:
    """Daily, or weekly on one day; None where the day is unknown, because then no rhythm can be told."""
    if "wo" not in own:
        return {"frequency": 1, "period": 1, "periodUnit": "d"}
    day = _WEEKDAY.get(own["wo"])
    return {"dayOfWeek": [day], "frequency": 1, "period": 1, "periodUnit": "wk"} if day else None


def _dose(own: Attributes, time: str, rhythm: Part | None) -> Part:
    when, word = _TIMES[time]
    amount = own[time]
    countable = rhythm is not None and _AMOUNT.fullmatch(amount)
    return present(
        text=f"{_weekly_word(own)}{word}: {amount} {_unit_text(own)}".strip(),
        timing={"repeat": rhythm | {"when": [when]}} if rhythm is not None else {},
        doseAndRate=[{"doseQuantity": _quantity(own, amount)}] if countable else [],
    )


def _weekly_word(own: Attributes) -> str:
    day = own.get("wo", "")
    return f"wöchentlich {_WEEKDAY_WORD.get(day, f'(Tag {day})')} " if day else ""


def _unit_text(own: Attributes) -> str:
    code = own.get("du", "")
    return own.get("dud", "") or _DOSE_UNIT.get(code, f"(Dosiereinheit {code})" if code else "")


def _quantity(own: Attributes, amount: str) -> Part:
    made = quantity(amount.replace(",", "."), own.get("dud", "") or _DOSE_UNIT.get(own.get("du", ""), ""))
    return made | (coding(_DOSE_UNIT_SYSTEM, own["du"]) if "du" in own and "dud" not in own else {})
