"""What cannot be understood: a permit with it opens nothing, a deny with it applies."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.consent.decide import Deny, Reason, RuleRef
from fhir_profiles import codes
from fhir_profiles.text import Resource
from tests.consent.decide_world import (
    DR_C,
    action,
    actor,
    asked,
    coding,
    concept,
    consent,
    deny,
    frame,
    permit,
    purpose,
    resource_type,
    section,
)

pytestmark = pytest.mark.storeless

UNKNOWN: dict[str, dict[str, Any]] = {
    "unknown element": {"mood": "good"},
    "modifierExtension": {"modifierExtension": [{"url": "https://example.org/not", "valueBoolean": True}]},
    "actor role": {"actor": [actor(role="CST")]},
    "actor among known ones": {"actor": [actor(), actor(role="AUT")]},
    "actor without reference": {"actor": [{"role": concept(codes.PARTICIPATION_TYPE, "PRCP")}]},
    "actor as a group": {
        "actor": [{"role": concept(codes.PARTICIPATION_TYPE, "PRCP"), "reference": {"reference": "Group/1"}}]
    },
    "actor elsewhere": {
        "actor": [{"role": concept(codes.PARTICIPATION_TYPE, "PRCP"), "reference": {"reference": "https://x.org/P/1"}}]
    },
    "actor contained": {
        "actor": [{"role": concept(codes.PARTICIPATION_TYPE, "PRCP"), "reference": {"reference": "#b"}}]
    },
    "actor by name": {"actor": [{"role": concept(codes.PARTICIPATION_TYPE, "PRCP"), "reference": {"display": "Dr B"}}]},
    "actor in the record": {"actor": [actor("vault.local")]},
    "action": {"action": action("access", "dance")},
    "label without system": {"securityLabel": [{"code": "N"}]},
    "purpose": {"purpose": purpose("TREAT", "WHIM")},
    "class system": {"class": [coding("urn:ietf:bcp:13", "application/hl7-cda+xml")]},
    "class among known ones": {"class": [*section("results"), coding("https://example.org", "x")]},
    "section": {"class": section("feelings")},
    "resource type": {"class": resource_type("Observaton")},
    "code with text alone": {"code": [{"text": "Blutzucker"}]},
    "code of a group": {"code": [concept(codes.ICD_10_GM, "F30-F39")]},
    "data meaning": {"data": [{"meaning": "related", "reference": {"reference": "Observation/r1"}}]},
    "period": {"period": {"start": "yesterday"}},
    "period of data": {"dataPeriod": {"start": "2020", "note": "?"}},
    "list that is none": {"class": section("results")[0]},
    "empty list": {"class": []},
    "primitive with an extension alone": {"_type": {"extension": []}},
    "children that are no list": {"provision": {"type": "permit"}},
    "a child that is no object": {"provision": ["?"]},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_permit_with_something_unknown_opens_nothing(name: str) -> None:
    provision = permit() | UNKNOWN[name]
    provision.pop("type") if "_type" in provision else None
    assert not asked(consent(provision))
    assert not asked(consent(frame(permit(), **UNKNOWN[name]) if "provision" not in UNKNOWN[name] else provision))


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_deny_with_something_unknown_applies(name: str) -> None:
    provision = deny() | UNKNOWN[name]
    provision.pop("type") if "_type" in provision else None
    assert asked(consent(permit()), consent(provision, "c2")) == Deny(
        Reason.REFUSED, (RuleRef("c2", "provision.provision[0]" if "child that" in name else "provision"),)
    )


def test_a_deny_with_something_unknown_still_spares_whom_it_does_not_mean() -> None:
    other = consent(deny(actor=[actor("praxis-c")], mood="good"), "c2")
    assert asked(consent(permit()), other)
    assert not asked(consent(permit(actor=[actor("praxis-c")])), other, party=DR_C)


@pytest.mark.parametrize(
    "elements",
    [
        {"modifierExtension": [{"url": "https://example.org/not"}]},
        {"implicitRules": "https://example.org/rules"},
        {"scope": concept(codes.CONSENT_SCOPE, "research")},
        {"scope": None},
        {"novelty": True},
    ],
)
def test_a_consent_that_is_not_understood(elements: Resource) -> None:
    assert not asked(consent(permit(), **elements))
    assert not asked(consent(permit()), consent(deny(), "c2", **elements))


@pytest.mark.parametrize("type_", [{}, {"type": "allow"}, {"type": None}])
def test_a_nested_provision_without_a_known_type_may_be_a_deny(type_: Resource) -> None:
    assert not asked(consent(permit(type_)))
    assert not asked(consent(permit({**type_, "provision": [permit()]})))


def test_an_extension_alone_changes_nothing() -> None:
    extended = permit() | {"extension": [{"url": "https://example.org/note"}], "id": "p1", "_type": {"id": "t"}}
    assert asked(consent(extended))
