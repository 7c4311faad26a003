"""What was measured: the value of an Observation, by the kind that terms.toml gives the word.

Value, components, reference range and interpretation: https://hl7.org/fhir/R4/observation.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from aggregator.demo.story_fhir import concept, ucum
from fhir_profiles.build import Part, codeable, coding
from fhir_profiles.codes import INTERPRETATION, LOINC

_POINTS = "{score}"


def measured(row: Mapping[str, Any], value: str) -> Part:
    """The value part of an Observation: `value[x]` or components, with range and interpretation where there is one."""
    return _KINDS[row.get("kind", "quantity")](row, value)


def flag(row: Mapping[str, Any], value: str) -> str:
    """`L`, `N` or `H` against the range of a row; empty where the row has none."""
    if not {"low", "high"} & row.keys():
        return ""
    number = Decimal(value)
    if "low" in row and number < Decimal(row["low"]):
        return "L"
    return "H" if "high" in row and number > Decimal(row["high"]) else "N"


def _quantity(row: Mapping[str, Any], value: str) -> Part:
    return {"valueQuantity": ucum(value, row["unit"]), **_judged(row, value)}


def _judged(row: Mapping[str, Any], value: str) -> Part:
    found = flag(row, value)
    if not found:
        return {}
    limits = {end: ucum(row[end], row["unit"]) for end in ("low", "high") if end in row}
    return {"interpretation": [codeable(coding(INTERPRETATION, found))], "referenceRange": [limits]}


def _panel(row: Mapping[str, Any], value: str) -> Part:
    return {"component": _components(row, value.split("/"), row["unit"])}


def _items(row: Mapping[str, Any], value: str) -> Part:
    points = value.split(",")
    total = str(sum(int(point) for point in points))
    return {"valueQuantity": ucum(total, _POINTS), "component": _components(row, points, _POINTS)}


def _components(row: Mapping[str, Any], values: list[str], unit: str) -> list[Part]:
    pairs = zip(row["parts"], values, strict=True)
    return [{"code": concept(LOINC, *part), "valueQuantity": ucum(value.strip(), unit)} for part, value in pairs]


_KINDS: Mapping[str, Callable[[Mapping[str, Any], str], Part]] = MappingProxyType(
    {
        "quantity": _quantity,
        "panel": _panel,
        "items": _items,
        "score": lambda _, value: {"valueQuantity": ucum(value, _POINTS)},
        "integer": lambda _, value: {"valueInteger": int(value)},
        "date": lambda _, value: {"valueDateTime": value},
        "text": lambda _, value: {"valueString": value},
    }
)
