"""Links between the entries of a transaction: what is replaced, and that nothing else is."""

from __future__ import annotations

import pytest

from aggregator.fhir.condition import Condition
from aggregator.fhir.relink import Linking, conditions
from fhir_profiles.text import Resource

URN = "urn:uuid:8a2a3c5e-0f0e-4d9a-9a0e-1d0e0a0b0c0d"
HERE = "Observation/k3.a"
LINKING = Linking(base_url="https://record.example/fhir", targets={URN: HERE, "Patient?identifier=x": "Patient/k3.p"})

REPLACED: dict[str, tuple[Resource, Resource]] = {
    "a reference": (
        {"resourceType": "Basic", "subject": {"reference": URN}},
        {"resourceType": "Basic", "subject": {"reference": HERE}},
    ),
    "by a condition": (
        {"resourceType": "Basic", "subject": {"reference": "Patient?identifier=x"}},
        {"resourceType": "Basic", "subject": {"reference": "Patient/k3.p"}},
    ),
    "with a part": (
        {"resourceType": "Basic", "subject": {"reference": f"{URN}#x"}},
        {"resourceType": "Basic", "subject": {"reference": f"{HERE}#x"}},
    ),
    "in a list, and in what is contained": (
        {
            "resourceType": "List",
            "contained": [{"resourceType": "Basic", "id": "b", "author": {"reference": URN}}],
            "entry": [{"item": {"reference": "#b"}}, {"item": {"reference": URN}}],
        },
        {
            "resourceType": "List",
            "contained": [{"resourceType": "Basic", "id": "b", "author": {"reference": HERE}}],
            "entry": [{"item": {"reference": "#b"}}, {"item": {"reference": HERE}}],
        },
    ),
    "urls and uris": (
        {"resourceType": "Media", "content": {"url": URN}, "extension": [{"url": "http://e.example", "valueUri": URN}]},
        {
            "resourceType": "Media",
            "content": {"url": HERE},
            "extension": [{"url": "http://e.example", "valueUri": HERE}],
        },
    ),
    "narrative": (
        {"resourceType": "Basic", "text": {"div": f"<div><a href=\"{URN}\">{URN}</a><img src='{URN}'/></div>"}},
        {"resourceType": "Basic", "text": {"div": f"<div><a href=\"{HERE}\">{URN}</a><img src='{HERE}'/></div>"}},
    ),
    "the service's own address": (
        {"resourceType": "Basic", "subject": {"reference": "https://record.example/fhir/Patient/k3.p"}},
        {"resourceType": "Basic", "subject": {"reference": "Patient/k3.p"}},
    ),
}

KEPT: dict[str, Resource] = {
    "a string": {"resourceType": "Basic", "code": {"text": URN}},
    "an identifier's value": {"resourceType": "Basic", "identifier": [{"value": URN}]},
    "another link": {"resourceType": "Basic", "subject": {"reference": URN.replace("8a", "9a")}},
    "a canonical": {"resourceType": "Basic", "meta": {"profile": [URN]}},
    "a document's": {"resourceType": "Bundle", "entry": [{"fullUrl": URN}]},
    "an address in a uri": {
        "resourceType": "Basic",
        "identifier": [{"system": "https://record.example/fhir/Patient/k3.p"}],
    },
}


@pytest.mark.parametrize(("before", "after"), REPLACED.values(), ids=REPLACED)
def test_what_is_replaced(before: Resource, after: Resource) -> None:
    assert LINKING.relinked(before) == after


@pytest.mark.parametrize("resource", KEPT.values(), ids=KEPT)
def test_what_is_kept(resource: Resource) -> None:
    assert LINKING.relinked(resource) == resource


def test_conditions_are_found_wherever_they_stand() -> None:
    item = {"reference": "Patient?identifier=x"}
    resource = {"resourceType": "List", "subject": item, "entry": [{"item": item}, {"item": {"reference": "?x"}}]}
    assert list(conditions(resource)) == [Condition("Patient", "identifier=x")] * 2
