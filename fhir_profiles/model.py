"""The only door to fhir.resources: its models as a second opinion on a resource, and as typed resources.

https://hl7.org/fhir/R4B/. The library holds R5 at the top, R4B and STU3 below, and no R4; R4B is R4 but for the
medicinal products, the evidence resources and a few choices. So `check.py` decides by R4's own tables, and the models
are asked where a resource decides about others (a Consent) or is ours. They are never used to print: the digits of a
decimal would be lost.

Worked round, because R4 allows it and the models refuse it: `_id` of a resource, and `_value...` of an Extension.
Caught by `check.py`, because the models accept it: "7.2" for a decimal, "true" for a boolean, codes outside required
value sets, most invariants.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel, ValidationError

from fhir_profiles.text import Number, Resource

_EXTENSIONS = frozenset({"extension", "modifierExtension"})


class NoModel(LookupError):
    """The library has no model of this type: R4 knows it and R4B does not, or nobody does."""


class Refused(ValueError):
    """The models refuse the resource. faults: (place, kind of fault), without a value of the resource."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{place}: {kind}" for place, kind in faults))
        self.faults = faults


def typed(resource: Resource) -> BaseModel:
    """The resource as a model of the library, for reading. Raises NoModel or Refused."""
    try:
        return _model(str(resource.get("resourceType"))).model_validate(_worked_round(resource, ""))
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False, include_url=False)
        faults = tuple((".".join(str(part) for part in one["loc"]), one["type"]) for one in found)
        raise Refused(faults) from None
    except (AttributeError, KeyError, TypeError, ValueError):  # its own validators trip over a wrong JSON type
        raise Refused((("", "not understood"),)) from None


def elements(name: str) -> frozenset[str]:
    """The JSON members that the library's model of a type has: "Observation.component" -> "code" ... Raises NoModel."""
    fields = _model("".join(part[0].upper() + part[1:] for part in name.split("."))).model_fields
    names = {field.alias or own for own, field in fields.items()}
    return frozenset(names - {"resource_type", "fhir_comments"})


@cache
def _model(name: str) -> type[BaseModel]:
    try:
        model: type[BaseModel] = get_fhir_model_class(name)
    except ValueError:
        raise NoModel("fhir.resources has no R4B model of this type") from None
    return model


def _worked_round(value: Any, name: str) -> Any:
    """A copy that the models take: decimals as Decimal, without what R4 allows and they refuse."""
    if isinstance(value, Number):
        return value.decimal()
    if isinstance(value, list):
        return [_worked_round(one, name) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _worked_round(one, key) for key, one in value.items() if not _refused_wrongly(value, name, key)}


def _refused_wrongly(owner: dict[str, Any], name: str, key: str) -> bool:
    if key == "_id":
        return "resourceType" in owner
    return name in _EXTENSIONS and key.startswith("_value")
