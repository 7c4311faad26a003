"""What a patient says of a sharing and the Consent that means it: both ways, and what has no such value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.consent.decide import Party, parse
from aggregator.consent.sharing import Sharing, Who, consent_of, sharing_of, who_is
from aggregator.errors import CallerError
from fhir_profiles import check, codes
from fhir_profiles.profiles import SECTIONS
from tests.consent import decide_world as world
from tests.consent.decide_world import DR_B, NOW

pytestmark = pytest.mark.storeless

PATIENT = "aaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb"
PRACTICE = who_is(DR_B, "Praxis Dr. B")
RESULTS = Sharing(who=PRACTICE, sections=frozenset({"results"}), until="2027-11-20")

_dates = st.sampled_from(["", "2026", "2026-11", "2026-11-20", "2026-11-20T10:15:00+01:00"])
_later = st.sampled_from(["", "2027", "2027-02-28", "2027-02-28T10:15:00Z"])
_parties = st.sampled_from([Party("praxis-b"), DR_B, Party("kasse", frozenset({(codes.IKNR, "109500969")}))])
_labels = st.sampled_from([(codes.ACT_CODE, "PSY"), (codes.ACT_CODE, "HIV"), (codes.CONFIDENTIALITY, "R")])
sharings = st.builds(
    Sharing,
    who=st.builds(who_is, _parties, st.sampled_from(["", "Praxis Dr. B", "Ärztehaus"])),
    sections=st.frozensets(st.sampled_from(sorted(SECTIONS)), max_size=4),
    without_types=st.frozensets(st.sampled_from(["Observation", "Condition", "Immunization"]), max_size=2),
    without_labels=st.frozensets(_labels, max_size=2),
    purposes=st.frozensets(st.sampled_from(["TREAT", "HPAYMT", "BTG", "ETREAT"]), max_size=2),
    since=_dates,
    until=_later,
    data_since=_dates,
    data_until=_later,
)


@settings(deadline=None)
@given(sharings)
def test_a_sharing_becomes_a_valid_consent_and_is_read_back(sharing: Sharing) -> None:
    made = consent_of(sharing, PATIENT, NOW)
    assert sharing_of(made) == sharing
    assert parse(made).problems == ()
    assert not [issue for issue in check.check(made) if issue.severity in ("error", "fatal")]


def test_the_whole_consent() -> None:
    sharing = Sharing(
        who=PRACTICE,
        sections=frozenset({"results", "medications"}),
        without_types=frozenset({"Observation"}),
        without_labels=frozenset({(codes.ACT_CODE, "PSY")}),
        since="2026-11-21",
        until="2027-11-20",
        data_since="2020",
    )
    assert consent_of(sharing, PATIENT, NOW) == {
        "resourceType": "Consent",
        "status": "active",
        "scope": world.SCOPE,
        "category": [{"coding": [{"system": codes.LOINC, "code": "59284-0", "display": "Patient Consent"}]}],
        "patient": {"reference": f"Patient/{PATIENT}"},
        "dateTime": "2026-11-21T09:30:00+05:45",
        "policyRule": world.concept(codes.ACT_CODE, "OPTIN"),
        "provision": {
            "type": "permit",
            "period": {"start": "2026-11-21", "end": "2027-11-20"},
            "actor": [
                {
                    "role": {
                        "coding": [
                            {"system": codes.PARTICIPATION_TYPE, "code": "IRCP", "display": "information recipient"}
                        ]
                    },
                    "reference": {
                        "identifier": {"system": codes.BSNR, "value": "721111100"},
                        "display": "Praxis Dr. B",
                    },
                }
            ],
            "purpose": world.purpose("TREAT"),
            "class": world.section("medications", "results"),
            "dataPeriod": {"start": "2020"},
            "provision": [
                {"type": "deny", "class": world.resource_type("Observation")},
                {"type": "deny", "securityLabel": world.sensitivity("PSY")},
            ],
        },
    }


def test_a_change_keeps_what_a_sharing_does_not_say() -> None:
    before = consent_of(RESULTS, PATIENT, NOW) | {
        "id": "x.y",
        "identifier": [{"value": "7"}],
        "verification": [{"verified": True}],
        "status": "inactive",
    }
    changed = consent_of(RESULTS, PATIENT, NOW, before)
    assert changed == before | {"status": "active"}


def test_what_no_consent_can_say_is_refused() -> None:
    nobody = Sharing(who=Who(named=frozenset()))
    two = Sharing(who=Who(named=frozenset({("urn:a", "1"), ("urn:a", "2")})))
    strange = Sharing(who=PRACTICE, sections=frozenset({"feelings"}))
    backwards = Sharing(who=PRACTICE, since="2027", until="2026")
    unreadable = Sharing(who=PRACTICE, until="soon")
    for sharing in (nobody, two, strange, backwards, unreadable):
        with pytest.raises(CallerError, match="cannot be said in a consent"):
            consent_of(sharing, PATIENT, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"actor": [world.actor(), world.actor("praxis-c")]},
        {"actor": [world.actor(role="CST")]},
        {"code": [world.concept(codes.ICD_10_GM, "F32")]},
        {"class": [*world.section("results"), *world.resource_type("Condition")]},
        {"action": world.action("access", "collect")},
        {"securityLabel": world.confidentiality("N")},
        {"data": [{"meaning": "instance", "reference": {"reference": "Observation/1"}}]},
        {"period": {"start": "2026-13-01"}},
        {"modifierExtension": [{"url": "urn:not"}]},
        {"type": "deny"},
        {"provision": [world.permit(class_=world.section("results"))]},
        {"provision": [world.deny(class_=world.section("results"))]},
        {"provision": [world.deny(class_=world.resource_type("Condition"), securityLabel=world.sensitivity("PSY"))]},
        {"provision": [world.deny(class_=world.resource_type("Condition"), purpose=world.purpose("TREAT"))]},
        {"provision": [world.deny(world.permit(), class_=world.resource_type("Condition"))]},
        {"provision": [world.deny(class_=world.resource_type("Condition")), world.deny(actor=[world.actor()])]},
    ],
)
def test_a_consent_that_says_more_has_no_such_value(changed: dict[str, Any]) -> None:
    made = consent_of(RESULTS, PATIENT, NOW)
    assert sharing_of(made | {"provision": made["provision"] | changed}) is None


def test_one_that_is_not_in_effect_has_none() -> None:
    made = consent_of(RESULTS, PATIENT, NOW)
    assert [
        sharing_of(made | one) for one in ({"status": "inactive"}, {"status": "proposed"}, {"modifierExtension": []})
    ] == [None] * 3
    assert sharing_of({"resourceType": "Consent", "status": "active"}) is None
