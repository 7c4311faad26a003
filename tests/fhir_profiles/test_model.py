"""The door to fhir.resources: what it worked round, what it finds, what it cannot find."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.model import NoModel, Refused, typed
from fhir_profiles.text import Resource, loads

EXTENSION: dict[str, Any] = {"extension": [{"url": "http://e", "valueString": "x"}]}

# What the models accept and the check refuses.
TOO_KIND: dict[str, Resource] = {
    "a decimal as a string": {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "valueQuantity": {"value": "7.2"},
    },
    "a boolean as a string": {"resourceType": "Patient", "active": "true"},
    "a code outside": {"resourceType": "Observation", "status": "foo", "code": {"text": "x"}},
    "a code in a list outside": {
        "resourceType": "Location",
        "position": {"longitude": 1, "latitude": 1},
        "status": "foo",
    },
    "a broken invariant": {"resourceType": "Patient", "contact": [{"gender": "male"}]},
}
# What the models refuse, were it not worked round, and the check accepts.
TOO_STRICT: dict[str, Resource] = {
    "an extension's value by its extension": {
        "resourceType": "Patient",
        "extension": [{"url": "http://e", "_valueCode": EXTENSION}],
    },
    "the same as a modifier": {
        "resourceType": "Patient",
        "modifierExtension": [{"url": "http://e", "_valueCode": EXTENSION}],
    },
    "the id of a resource with an extension": {"resourceType": "Patient", "id": "a", "_id": EXTENSION},
    "the same within a Bundle": {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Patient", "id": "a", "_id": EXTENSION}}],
    },
}


@pytest.mark.parametrize("resource", TOO_KIND.values(), ids=TOO_KIND)
def test_the_models_accept_what_the_check_refuses(resource: Resource) -> None:
    typed(resource)
    assert any(one.severity == "error" for one in check(resource))


@pytest.mark.parametrize("resource", TOO_STRICT.values(), ids=TOO_STRICT)
def test_what_the_models_refuse_wrongly_is_worked_round(resource: Resource) -> None:
    typed(resource)
    assert check(resource) == ()


def test_a_typed_resource() -> None:
    resource = loads(
        '{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":7.20}}'
    )
    assert str(typed(resource).valueQuantity.value) == "7.20"


def test_refused_without_a_value_in_the_message() -> None:
    with pytest.raises(Refused) as caught:
        typed({"resourceType": "Patient", "birthDate": "Geheim", "name": [{"foo": "Geheim"}]})
    assert caught.value.faults[-1] == ("name.0.foo", "extra_forbidden")
    assert "Geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["MedicinalProduct", "Foo", None])
def test_no_model(name: str | None) -> None:
    with pytest.raises(NoModel):
        typed({"resourceType": name})
