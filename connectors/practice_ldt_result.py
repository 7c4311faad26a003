"""One clinical chemistry result of LDT 3 (Obj_0060) -> Observations (https://hl7.org/fhir/R4/observation.html).

An Obj_0060 may hold one measurement in two units (mg/dl and mmol/l). It becomes two Observations, not one with a
component: LOINC has a code for each property (mass, substance amount), so they differ in `code`, and a search by code
and value must find both. They share the laboratory's result id (7304) as identifier, which tells that they belong
together. See LDT 3.2.20, Obj_0060 and Obj_0042.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.practice_ldt_values import (
    INTERPRETATION,
    RESULT_STATUS,
    instant,
    moment,
    paragraphs,
    quantity,
    value_of,
)
from connectors.xdt import Field, Group
from fhir_profiles.build import Part, codeable, coding, present, reference
from fhir_profiles.codes import DATA_ABSENT_REASON, LOINC, OBSERVATION_CATEGORY
from fhir_profiles.codes import INTERPRETATION as INTERPRETATION_SYSTEM
from fhir_profiles.text import Resource

_CATEGORY = codeable(coding(OBSERVATION_CATEGORY, "laboratory"))
_RANGE_KIND = {"8461": "low", "8462": "high", "7363": "low", "7371": "high"}
_ALARM = ("7363", "7371")
_RANGE_FIELDS = (*_RANGE_KIND, "8424", "8460", "8422", "7316")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a local test code means in LOINC, as the operator says it."""

    loinc: str
    display: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoincMap:
    """The operator's map from the laboratory's test codes to LOINC.

    system: the namespace of the local codes.
    meanings: (local code, unit) -> meaning; a unit of "" holds for every unit.
    """

    system: str
    meanings: Mapping[tuple[str, str], Meaning]

    def codings(self, local: str, name: str, unit: str) -> list[Part]:
        """The LOINC coding where the map has one, then the local code as it is."""
        known = self.meanings.get((local, unit)) or self.meanings.get((local, ""))
        own = coding(self.system, local, name)
        return [coding(LOINC, known.loinc, known.display), own] if known else [own]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a result needs from its report. specimens: vessel id -> (reference, collection time or "")."""

    patient: str
    laboratory: str
    specimens: Mapping[str, tuple[str, str]]
    loinc: LoincMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An Observation without its id. position: which of the result's values it is, counting from 0."""

    resource: Resource
    position: int
    line: int
    warnings: tuple[str, ...]


def observations(result: Group, around: Surroundings) -> list[Observed]:
    """The Observations of one Obj_0060: one for each value (8420), or one without a value."""
    runs: list[tuple[Field, ...]] = list(result.split({"8420"})) or [()]
    return [_observed(result, run, position, around) for position, run in enumerate(runs)]


def _observed(result: Group, run: tuple[Field, ...], position: int, around: Surroundings) -> Observed:
    value, value_warnings = _value(result, run)
    ranges, flags, range_warnings = _limits(run)
    status = RESULT_STATUS.get(result.value("8418"))
    warnings = [*value_warnings, *range_warnings]
    if status is None:
        warnings.append("the status of the result (8418) is missing or unknown")
    resource = present(
        resourceType="Observation",
        identifier=[{"value": told} for told in result.values("7304") if told],
        status=status or "unknown",
        category=[_CATEGORY],
        code=_code(result, value_of(run, "8421"), around.loinc),
        subject=reference(around.patient),
        **_when(result, run, around),
        performer=[reference(around.laboratory)] if around.laboratory else [],
        **value,
        interpretation=flags,
        note=_notes(result, run),
        method=codeable(text=result.value("7302")),
        specimen=_specimen(result, around),
        referenceRange=ranges,
    )
    line = run[0].line if run else result.line
    return Observed(resource=resource, position=position, line=line, warnings=tuple(dict.fromkeys(warnings)))


def _code(result: Group, unit: str, loinc: LoincMap) -> Part:
    local, name = " ".join(result.value("8410").split()), result.value("8411")
    codings = loinc.codings(local, name, unit) if local else []
    return codeable(*codings, text=name or local or "Laborergebnis")


def _value(result: Group, run: tuple[Field, ...]) -> tuple[Part, list[str]]:
    if not run or not run[0].value:
        told = _result_text(result, run)
        return ({"valueString": told} if told else {"dataAbsentReason": _absent(result)}), []
    counted = quantity(run)
    if counted is None:
        unit = value_of(run, "8421")
        warnings = ["a value with a unit is no number: it is kept as text"] if unit else []
        return {"valueString": f"{run[0].value} {unit}".strip()}, warnings
    return {"valueQuantity": counted[0]}, [counted[1]] if counted[1] else []


def _result_text(result: Group, run: tuple[Field, ...]) -> str:
    return paragraphs([field.child for field in run or result.fields if field.code == "8237" and field.child])


def _absent(result: Group) -> Part:
    code = "temp-unknown" if RESULT_STATUS.get(result.value("8418")) == "registered" else "unknown"
    return codeable(coding(DATA_ABSENT_REASON, code))


def _when(result: Group, run: tuple[Field, ...], around: Surroundings) -> Part:
    collected = {around.specimens[vessel][1] for vessel in result.values("7364") if vessel in around.specimens}
    measured = next((field.child for field in run if field.code == "8225"), None)
    # A laboratory value speaks of the moment the material was taken; the time of measuring stands in for it.
    effective = collected.pop() if len(collected) == 1 else ""
    issued = instant(result.child("8223")) or instant(measured)
    return {"effectiveDateTime": effective or moment(measured), "issued": issued}


def _notes(result: Group, run: tuple[Field, ...]) -> list[Part]:
    texts = [paragraphs([text]) for code in ("8236", "8167") for text in result.children(code)]
    if run and run[0].value:  # beside a value the text of the result is a remark on it
        texts.append(_result_text(result, run))
    return [{"text": told} for told in texts if told]


def _specimen(result: Group, around: Surroundings) -> Part:
    known = [around.specimens[vessel][0] for vessel in result.values("7364") if vessel in around.specimens]
    return reference(known[0]) if len(known) == 1 else {}


def _limits(run: tuple[Field, ...]) -> tuple[list[Part], list[Part], list[str]]:
    """Reference ranges, interpretations and warnings out of the Obj_0042 behind a value."""
    ranges: list[Part] = []
    flags: list[str] = []
    warnings: list[str] = []
    for limits in (field.child for field in run if field.code == "8142" and field.child):
        flags += [flag for flag in limits.values("8422") if flag and flag not in flags]
        for alarm in (False, True):
            made, told = _range(limits, alarm)
            ranges += [made] if made else []
            warnings += told
    warnings += ["a limit indicator (8422) is unknown"] if set(flags) - INTERPRETATION.keys() else []
    return ranges, [_interpretation(flag) for flag in flags], warnings


def _range(limits: Group, alarm: bool) -> tuple[Part, list[str]]:
    made: Part = {}
    warnings: list[str] = []
    for run in limits.split(_RANGE_FIELDS):
        code = run[0].code
        if code not in _RANGE_KIND or (code in _ALARM) is not alarm:
            continue
        counted = quantity(run)
        if counted is None or "comparator" in counted[0]:
            warnings.append("a limit of the reference range is no number")
            continue
        made[_RANGE_KIND[code]] = counted[0]
        warnings += [counted[1]] if counted[1] else []
    if alarm:
        return (made | {"type": codeable(text="Alarmgrenzen")} if made else {}), warnings
    words = "\n".join([*limits.values("8460"), *limits.values("7316"), *limits.values("7317")])
    return made | present(text=words), warnings


def _interpretation(flag: str) -> Part:
    code = INTERPRETATION.get(flag)
    return codeable(*[coding(INTERPRETATION_SYSTEM, code)] if code else [], text=flag)
