"""What an operation is called with by POST: a Parameters resource, read as the parameters that GET has in its query.

https://hl7.org/fhir/R4/operations.html#request
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.errors import CallerError
from aggregator.fhir.validity import not_valid
from fhir_profiles.check import check
from fhir_profiles.text import Number, Resource

TYPE = "Parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """pairs: as a query has them. resources: those that are whole resources, by name."""

    pairs: list[tuple[str, str]]
    resources: Mapping[str, Resource]


def inputs(body: Resource) -> Inputs:
    """Raises CallerError, NotValid: what the resources in it are like is not looked at."""
    if body.get("resourceType") != TYPE:
        raise CallerError("a Parameters resource is expected")
    faults = [one for one in check(body) if one.severity == "error" and ".resource" not in one.expression]
    if faults:
        raise not_valid(faults)
    given = body.get("parameter", ())
    return Inputs(
        pairs=[(one["name"], _text(number, one)) for number, one in enumerate(given) if "resource" not in one],
        resources={one["name"]: one["resource"] for one in given if "resource" in one},
    )


def _text(number: int, parameter: Mapping[str, Any]) -> str:
    kind, value = next(((name, value) for name, value in parameter.items() if name.startswith("value")), ("", None))
    if isinstance(value, dict):
        if kind not in _TEXTS:
            raise CallerError.at(f"{TYPE}.parameter[{number}]", "a parameter of this datatype is not understood")
        return _TEXTS[kind](value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.text if isinstance(value, Number) else str("" if value is None else value)


def _token(value: Mapping[str, Any], code: str) -> str:
    return f"{value['system']}|{value.get(code, '')}" if "system" in value else str(value.get(code, ""))


def _concept(value: Mapping[str, Any]) -> str:
    return ",".join(_token(coding, "code") for coding in value.get("coding", ()))


_TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "valueCoding": lambda value: _token(value, "code"),
    "valueCodeableConcept": _concept,
    "valueIdentifier": lambda value: _token(value, "value"),
    "valueReference": lambda value: str(value.get("reference", "")),
}
