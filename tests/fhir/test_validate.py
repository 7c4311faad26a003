"""$validate: what it says of a resource, of the place where it is to go, and of how it was asked."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.errors import CallerError
from aggregator.fhir.operation import inputs
from aggregator.fhir.outcome import BadQuery, NotValid
from aggregator.fhir.validate import validate, validation
from fhir_profiles.check import check
from fhir_profiles.text import Number, Resource, loads
from tests.fhir.world import pairs

FINE: Resource = {"resourceType": "Basic", "id": "k3.b", "code": {"text": "x"}}
BAD: Resource = {"resourceType": "Basic", "colour": "red"}
CORE = "http://hl7.org/fhir/StructureDefinition/Basic"


def told(body: Resource | None, query: str = "", whole_id: str | None = None, kind: str = "Basic") -> list[str]:
    outcome = loads(validate(validation(kind, body, pairs(query), whole_id)))
    assert check(outcome) == ()
    return [
        " ".join(filter(None, [one["severity"], one["code"], *one.get("expression", []), one.get("diagnostics", "")]))
        for one in outcome["issue"]
    ]


def parameters(**given: Any) -> Resource:
    members = [{"name": name, "resource" if name == "resource" else "valueCode": one} for name, one in given.items()]
    return {"resourceType": "Parameters", "parameter": members}


NOTHING = ["information informational"]
ID_IS_NEW = "information informational Basic.id is given anew when it is created"
UNKNOWN_PROFILE = "error not-supported Basic the profile is not known here: it was not looked at"

FOUND: list[tuple[Resource | None, str, str | None, list[str]]] = [
    (FINE, "", None, NOTHING),
    (FINE, f"profile={CORE}", None, NOTHING),
    (FINE, f"mode=profile&profile={CORE}|4.0.1", None, NOTHING),
    (FINE, "profile=http://other.example/Basic", None, [UNKNOWN_PROFILE]),
    (FINE, "mode=create", None, [ID_IS_NEW]),
    (FINE, "mode=update", "k3.b", NOTHING),
    (FINE, "mode=update", "k3.c", ["error invariant Basic.id is not the one in the URL"]),
    (None, "mode=delete", "k3.b", NOTHING),
    (None, "", None, ["error required Basic a resource is needed"]),
    (parameters(resource=FINE), "", None, NOTHING),
    (parameters(resource=FINE, mode="create"), "", None, [ID_IS_NEW]),
    (parameters(mode="delete"), "", "k3.b", NOTHING),
]

REFUSED: dict[str, str] = {
    "mode=guess": "mode: not one of create, update, delete, profile",
    "mode=update": "mode: update is asked of an instance",
    "mode=delete": "mode: delete is asked of an instance",
    "mode=profile": "profile: needed with mode=profile",
    "mode=create&mode=create": "mode: given twice",
}


@pytest.mark.parametrize(("body", "query", "whole_id", "expected"), FOUND)
def test_what_is_said(body: Resource | None, query: str, whole_id: str | None, expected: list[str]) -> None:
    assert told(body, query, whole_id) == expected


def test_what_is_wrong_with_a_resource_is_what_a_source_would_be_told() -> None:
    assert told(BAD) == [f"{one.severity} {one.code} {one.expression} {one.text}" for one in check(BAD)]
    assert "error invariant Person is of another type than the URL" in told(FINE, kind="Person")


def test_parameters_of_its_own_type_are_validated_themselves() -> None:
    assert told(parameters(mode="x"), kind="Parameters") == NOTHING


@pytest.mark.parametrize("query", REFUSED)
def test_what_cannot_be_asked(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        validation("Basic", FINE, pairs(query))
    assert str(caught.value) == REFUSED[query]


def test_parameters_as_a_query() -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "max", "valuePositiveInt": 3},
            {"name": "on-demand", "valueBoolean": True},
            {"name": "low", "valueDecimal": Number("0.40")},
            {"name": "type", "valueCodeableConcept": {"coding": [{"system": "urn:s", "code": "a"}, {"code": "b"}]}},
            {"name": "identifier", "valueIdentifier": {"system": "urn:i", "value": "1"}},
            {"name": "patient", "valueReference": {"reference": "Patient/k3.erika"}},
            {"name": "one", "resource": FINE},
        ],
    }
    told = inputs(body)
    assert told.resources == {"one": FINE}
    assert told.pairs == [
        ("max", "3"),
        ("on-demand", "true"),
        ("low", "0.40"),
        ("type", "urn:s|a,b"),
        ("identifier", "urn:i|1"),
        ("patient", "Patient/k3.erika"),
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (FINE, CallerError),
        ({"resourceType": "Parameters", "parameter": "x"}, NotValid),
        ({"resourceType": "Parameters", "parameter": [{"valueString": "no name"}]}, NotValid),
        ({"resourceType": "Parameters", "parameter": [{"name": "a", "valueRatio": {}}]}, NotValid),
        ({"resourceType": "Parameters", "parameter": [{"name": "a", "valuePeriod": {"start": "2026"}}]}, CallerError),
    ],
)
def test_parameters_that_are_none(body: Resource, error: type[Exception]) -> None:
    with pytest.raises(error):
        inputs(body)
