"""Each line of the consent semantics, and each refusal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from aggregator.consent.decide import Deny, Party, Permit, Reason, RuleRef
from aggregator.consent.provision import Effect
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource
from tests.consent.decide_world import (
    ALCOHOL_AND_DEPRESSION,
    CLAIM,
    DEPRESSION,
    DR_B,
    DR_C,
    GLUCOSE,
    HIV,
    HYPERTENSION,
    INSURER,
    NOW,
    PATIENT,
    PRACTICE,
    PRIVATE_RESULT,
    SERTRALINE,
    action,
    actor,
    asked,
    concept,
    confidentiality,
    consent,
    deny,
    frame,
    permit,
    purpose,
    resource,
    resource_type,
    section,
    sensitivity,
)
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

ICD, LOINC = codes.ICD_10_GM, codes.LOINC


def test_everything_opens_what_is_not_sensitive_and_says_by_which_rule() -> None:
    assert asked(consent(permit())) == Permit((RuleRef("c1", "provision"),))


def test_default_is_deny() -> None:
    assert asked() == Deny(Reason.NO_CONSENT)
    assert asked(consent(None)) == Deny(Reason.NOT_NAMED)


@pytest.mark.parametrize("status", ["draft", "proposed", "rejected", "inactive", "entered-in-error", "ACTIVE", None])
def test_only_active_counts(status: str | None) -> None:
    assert asked(consent(permit(), status=status)) == Deny(Reason.NO_CONSENT)


@pytest.mark.parametrize(
    ("period", "open_"),
    [
        ({"start": "2026-11-21"}, True),
        ({"start": "2026-11-22"}, False),
        ({"end": "2026-11-21"}, True),  # the whole day in Berlin
        ({"end": "2026-11-20"}, False),
        ({"start": "2026", "end": "2026"}, True),
        ({"end": "2026-10"}, False),
        ({"start": "2026-11-21T03:45:00Z"}, True),  # 09:30+05:45 is 03:45 UTC
        ({"start": "2026-11-21T03:45:01Z"}, False),
        ({"end": "2026-11-21T03:44:59Z"}, False),
        ({"end": "2026-11-21T03:45:00Z"}, True),
        ({"start": "2026-11-31"}, False),  # no such day
        ({"start": "2027", "end": "2025"}, False),
        ({}, False),
    ],
)
def test_in_force(period: Resource, open_: bool) -> None:
    assert bool(asked(consent(permit(period=period)))) is open_
    assert bool(asked(consent(frame(permit(), period=period)))) is open_


def test_a_date_is_a_day_in_berlin() -> None:
    last_second = datetime.fromisoformat("2026-11-20T22:59:59+00:00")
    ends = consent(permit(period={"end": "2026-11-20"}))
    assert asked(ends, now=last_second)
    assert asked(ends, now=last_second + timedelta(seconds=1)) == Deny(Reason.NOT_IN_FORCE)


def test_a_nested_period_ends_a_nested_rule_alone() -> None:
    over = {"end": "2020"}
    assert asked(consent(permit(deny(period=over))))
    assert not asked(consent(permit(deny())))


def test_lists_are_or_and_elements_are_and() -> None:
    either = consent(permit(class_=section("results", "problems")))
    assert asked(either, about=GLUCOSE)
    assert asked(either, about=HYPERTENSION)
    both = consent(permit(class_=section("results"), code=[concept(ICD, "I10.90")]))
    assert asked(both, about=GLUCOSE) == Deny(Reason.NOT_OPENED)
    assert asked(both, about=HYPERTENSION) == Deny(Reason.NOT_OPENED)


def test_sections_and_types_in_one_class_list_are_or() -> None:
    mixed = consent(permit(class_=[*section("results"), *resource_type("Condition")]))
    assert asked(mixed, about=GLUCOSE)
    assert asked(mixed, about=HYPERTENSION)
    assert not asked(mixed, about=CLAIM)


def test_depth_does_not_flip() -> None:
    assert asked(consent(deny(permit(class_=section("results")))), about=GLUCOSE)
    assert not asked(consent(deny(permit(class_=section("results")))), about=CLAIM)
    assert not asked(consent(permit(permit(deny()))))


def test_the_deepest_match_decides_and_among_siblings_a_deny() -> None:
    nested = permit(deny(permit(code=[concept(LOINC, "2339-0")]), class_=section("results")))
    assert asked(consent(nested), about=GLUCOSE) == Permit((RuleRef("c1", "provision.provision[0].provision[0]"),))
    assert asked(consent(nested), about=resource()) == Deny(Reason.REFUSED, (RuleRef("c1", "provision.provision[0]"),))
    siblings = frame(permit(), deny(class_=section("results")))
    assert asked(consent(siblings), about=GLUCOSE) == Deny(Reason.REFUSED, (RuleRef("c1", "provision.provision[1]"),))


def test_a_frame_is_anded_into_its_children() -> None:
    framed = consent(frame(permit(actor=None), actor=[actor()], class_=section("results")))
    assert asked(framed, about=GLUCOSE)
    assert not asked(framed, about=CLAIM)
    assert not asked(framed, about=GLUCOSE, party=DR_C)


def test_across_consents_a_deny_wins() -> None:
    shut = consent(deny(class_=section("results")), "c2")
    for order in ([consent(permit()), shut], [shut, consent(permit())]):
        assert asked(*order, about=GLUCOSE) == Deny(Reason.REFUSED, (RuleRef("c2", "provision"),))
        assert asked(*order, about=CLAIM)


# --- grantee ---------------------------------------------------------------------------------------------


def test_a_permit_must_name_its_grantee_and_a_deny_need_not() -> None:
    assert asked(consent(permit(actor=None))) == Deny(Reason.NOT_NAMED)
    assert asked(consent(permit(actor=[actor("praxis-c")]))) == Deny(Reason.NOT_NAMED)
    assert not asked(consent(permit()), consent(deny(), "c2"))
    assert asked(consent(permit()), consent(deny(actor=[actor("praxis-c")]), "c2"))


@pytest.mark.parametrize("kind", ["Organization", "Practitioner", "PractitionerRole", "Device"])
def test_a_party_by_reference(kind: str) -> None:
    named = actor() | {"reference": {"reference": f"{kind}/praxis-b", "display": "Dr. B"}}
    assert asked(consent(permit(actor=[named])))


@pytest.mark.parametrize(("value", "open_"), [("721111100", True), ("721111101", False), ("", False)])
def test_a_party_by_identifier(value: str, open_: bool) -> None:
    named = actor() | {"reference": {"identifier": {"system": codes.BSNR, "value": value}}}
    assert bool(asked(consent(permit(actor=[named])))) is open_


@pytest.mark.parametrize(
    ("system", "role", "open_"),
    [
        (codes.PARTICIPATION_TYPE, "PRCP", True),
        (codes.PARTICIPATION_TYPE, "IRCP", True),
        ("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV", True),
        ("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "ASSIGNED", True),
        ("https://example.org", "PRCP", False),
        (codes.PARTICIPATION_TYPE, "CST", False),
    ],
)
def test_roles(system: str, role: str, open_: bool) -> None:
    assert bool(asked(consent(permit(actor=[actor() | {"role": concept(system, role)}])))) is open_


# --- purpose and action ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "asked_for", "open_"),
    [
        (None, "TREAT", True),
        (None, "HRESCH", True),
        (None, "HMARKT", False),
        (None, "BTG", False),
        (None, "WHIM", False),
        (["HMARKT"], "HMARKT", True),
        (["BTG"], "BTG", True),
        (["TREAT"], "BTG", False),
        (["TREAT"], "ETREAT", False),
        (["TREAT", "HRESCH"], "HRESCH", True),
        (["HRESCH"], "TREAT", False),
    ],
)
def test_purpose_of_a_permit(named: list[str] | None, asked_for: str, open_: bool) -> None:
    limited = consent(permit(purpose=named and purpose(*named)))
    assert bool(asked(limited, purpose=asked_for)) is open_
    if not open_:
        assert asked(limited, purpose=asked_for) == Deny(Reason.PURPOSE)


@pytest.mark.parametrize(
    ("named", "asked_for", "refused"),
    [
        (None, "TREAT", True),
        (["HRESCH"], "TREAT", False),
        (["TREAT"], "ETREAT", True),
        (["TREAT"], "BTG", True),
        (["BTG"], "TREAT", False),
        (["HRESCH"], "PRECLINTRCH", True),
    ],
)
def test_purpose_of_a_deny(named: list[str] | None, asked_for: str, refused: bool) -> None:
    open_ = consent(permit(purpose=purpose(asked_for)))
    shut = consent(deny(purpose=named and purpose(*named)), "c2")
    assert bool(asked(open_, shut, purpose=asked_for)) is not refused


@pytest.mark.parametrize(
    ("named", "permits", "refuses"),
    [
        (["access"], True, True),
        (["collect", "access"], True, True),
        (["use"], False, True),
        (["disclose"], False, True),
        (["collect"], False, False),
        (["correct"], False, False),
    ],
)
def test_action(named: list[str], permits: bool, refuses: bool) -> None:
    assert bool(asked(consent(permit(action=action(*named))))) is permits
    assert bool(asked(consent(permit()), consent(deny(action=action(*named)), "c2"))) is not refuses


# --- what a resource is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "about", "permits", "refuses"),
    [
        (concept(ICD, "F32.1"), DEPRESSION, True, True),
        (concept(ICD, "F32"), DEPRESSION, True, True),  # what stands above a code in its hierarchy
        (concept(ICD, "F32.-"), DEPRESSION, True, True),
        (concept(ICD, "F32.2"), DEPRESSION, False, False),
        (concept(ICD, "F32.1"), SERTRALINE, False, True),  # mentioned, not what it is
        (concept(ICD + "|2026", "F32.-"), DEPRESSION, True, True),
        (concept(ICD, "F32.1!"), DEPRESSION, True, True),
        (concept(codes.ATC, "N06A"), SERTRALINE, True, True),
        (concept(codes.ATC, "N"), SERTRALINE, True, True),
        (concept(LOINC, "2339-0"), GLUCOSE, True, True),
        (concept(LOINC, "2339"), GLUCOSE, False, False),  # LOINC has no hierarchy in its codes
        (concept(LOINC + "|2.77", "2339-0"), GLUCOSE, True, True),
    ],
)
def test_code(code: Resource, about: Resource, permits: bool, refuses: bool) -> None:
    named = section("mental-health", "results")
    assert bool(asked(consent(permit(code=[code], class_=named)), about=about)) is permits
    assert bool(asked(consent(permit(class_=named)), consent(deny(code=[code]), "c2"), about=about)) is not refuses


def test_data_names_an_instance() -> None:
    this = [{"meaning": "instance", "reference": {"reference": "Observation/r1"}}]
    other = [{"meaning": "instance", "reference": {"reference": "Observation/r2"}}]
    assert asked(consent(permit(data=this)))
    assert not asked(consent(permit(data=other)))
    assert not asked(consent(permit()), consent(deny(data=this), "c2"))
    assert asked(consent(permit()), consent(deny(data=other), "c2"))


@pytest.mark.parametrize(
    ("period", "dated", "permits", "refuses"),
    [
        ({"start": "2026-03-02", "end": "2026-03-02"}, {"effectiveDateTime": "2026-03-02"}, True, True),
        ({"start": "2026-03-02", "end": "2026-03-02"}, {"effectiveDateTime": "2026-03"}, False, True),  # overlaps
        ({"start": "2026-03-03"}, {"effectiveDateTime": "2026-03-02"}, False, False),
        ({"end": "2026-03"}, {"effectivePeriod": {"start": "2026-02", "end": "2026-03-31"}}, True, True),
        ({"end": "2026-03"}, {"effectivePeriod": {"start": "2026-02"}}, False, True),  # still going on
        ({"end": "2026-03"}, {}, False, True),  # no date: cannot be told
        ({"end": "2026-03"}, {"effectiveTiming": {"event": ["2026-03-02"]}}, False, True),
        ({"end": "2026-03"}, {"effectiveDateTime": "2026-01", "issued": "2026-11-01T00:00:00Z"}, True, True),
        ({"end": "2026-03"}, {"issued": "2026-11-01T00:00:00Z"}, False, False),
    ],
)
def test_data_period(period: Resource, dated: Resource, permits: bool, refuses: bool) -> None:
    about = resource(**dated)
    assert bool(asked(consent(permit(dataPeriod=period)), about=about)) is permits
    assert bool(asked(consent(permit()), consent(deny(dataPeriod=period), "c2"), about=about)) is not refuses


# --- sensitivity, labels, special sections ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("criteria", "about", "open_"),
    [
        ({}, DEPRESSION, False),
        ({"class_": section("mental-health")}, DEPRESSION, True),
        ({"class_": section("problems")}, DEPRESSION, False),
        ({"class_": resource_type("Condition")}, DEPRESSION, False),
        ({"class_": section("medications")}, SERTRALINE, False),
        ({"class_": section("mental-health")}, SERTRALINE, True),
        ({"securityLabel": sensitivity("PSY")}, SERTRALINE, True),
        ({"securityLabel": sensitivity("SEX")}, SERTRALINE, False),
        ({"securityLabel": sensitivity("HIV")}, HIV, True),
        ({"securityLabel": sensitivity("HIV")}, DEPRESSION, False),
        ({"class_": section("mental-health")}, ALCOHOL_AND_DEPRESSION, False),
        ({"class_": section("substance-use")}, ALCOHOL_AND_DEPRESSION, False),
        ({"class_": section("substance-use", "mental-health")}, ALCOHOL_AND_DEPRESSION, True),
        ({"securityLabel": confidentiality("V")}, DEPRESSION, False),
    ],
)
def test_what_is_sensitive_must_be_named(criteria: Resource, about: Resource, open_: bool) -> None:
    assert bool(asked(consent(permit(**criteria)), about=about)) is open_


def test_the_reason_says_that_the_sensitivity_was_not_named() -> None:
    assert asked(consent(permit()), about=DEPRESSION) == Deny(Reason.SENSITIVE)


@pytest.mark.parametrize(
    "criteria",
    [
        {"class_": section("medications")},  # where its type would place it
        {"class_": section("mental-health")},
        {"class_": resource_type("MedicationRequest")},
        {"securityLabel": sensitivity("PSY")},
        {"securityLabel": sensitivity("MH")},
    ],
)
def test_a_deny_meets_every_section_and_label_that_claims_a_resource(criteria: Resource) -> None:
    shut = consent(deny(**criteria), "c2")
    assert not asked(consent(permit(class_=section("mental-health"))), shut, about=SERTRALINE)


@pytest.mark.parametrize(
    ("named", "permits", "refuses"),
    [
        (None, False, True),
        (["N"], False, True),  # N is lower than R: a deny of N and up meets it
        (["R"], True, True),
        (["V"], True, False),
    ],
)
def test_confidentiality_is_a_scale(named: list[str] | None, permits: bool, refuses: bool) -> None:
    labels = named and confidentiality(*named)
    assert bool(asked(consent(permit(securityLabel=labels)), about=PRIVATE_RESULT)) is permits
    opened = consent(permit(securityLabel=confidentiality("V")))
    assert bool(asked(opened, consent(deny(securityLabel=labels), "c2"), about=PRIVATE_RESULT)) is not refuses


def test_what_is_unlabelled_is_normal() -> None:
    assert asked(consent(permit(securityLabel=confidentiality("N"))), about=GLUCOSE)
    assert not asked(consent(permit(securityLabel=confidentiality("L"))), about=GLUCOSE)
    assert asked(consent(permit()), consent(deny(securityLabel=confidentiality("R")), "c2"), about=GLUCOSE)


def test_of_two_levels_the_higher_counts() -> None:
    both = resource(meta={"security": confidentiality("U", "V")})
    assert not asked(consent(permit(securityLabel=confidentiality("R"))), about=both)


def test_identity_opens_when_named_or_with_everything() -> None:
    assert asked(consent(permit()), about=PATIENT)
    assert asked(consent(permit(class_=section("identity"))), about=PATIENT)
    assert not asked(consent(permit(class_=section("results"))), about=PATIENT)


def test_the_directory_opens_with_any_permit_and_shuts_with_a_deny() -> None:
    results = consent(permit(class_=section("results"), dataPeriod={"start": "2020"}))
    assert asked(results, about=PRACTICE)
    assert not asked(results, about=PRACTICE, party=DR_C)
    assert not asked(results, consent(deny(class_=resource_type("Organization")), "c2"), about=PRACTICE)
    assert asked(results, consent(deny(class_=section("mental-health")), "c2"), about=PRACTICE)


@pytest.mark.parametrize("about", [consent(permit()), resource("Binary"), resource("AuditEvent"), resource("Basic")])
def test_unsorted_is_the_owners_alone(about: Resource) -> None:
    assert asked(consent(permit()), about=about) == Deny(Reason.OWNER_ONLY)
    assert asked(consent(permit(class_=section("unsorted"))), about=about) == Deny(Reason.OWNER_ONLY)


@pytest.mark.parametrize(
    ("criteria", "about", "open_"),
    [
        ({}, CLAIM, True),
        ({}, GLUCOSE, False),
        ({}, PATIENT, False),
        ({"class_": section("results")}, GLUCOSE, True),
        ({"code": [concept(LOINC, "2339-0")]}, GLUCOSE, True),
        ({"securityLabel": sensitivity("PSY")}, DEPRESSION, False),
    ],
)
def test_a_payer_reads_its_claims_unless_more_is_named(criteria: Resource, about: Resource, open_: bool) -> None:
    given = consent(permit(actor=[actor("kasse")], **criteria))
    assert bool(asked(given, about=about, party=INSURER, purpose="HPAYMT")) is open_
    assert asked(given, about=DEPRESSION, party=INSURER).__class__ is Deny


@pytest.mark.parametrize(
    "about", [GLUCOSE, DEPRESSION, SERTRALINE, HIV, ALCOHOL_AND_DEPRESSION, PRIVATE_RESULT, PATIENT]
)
def test_who_names_all_sections_and_the_highest_level_opens_all(about: Resource) -> None:
    named = {"class_": section(*SECTIONS), "securityLabel": confidentiality("V")}
    assert asked(consent(permit(**named)), about=about)
    assert asked(consent(permit(**named)), about=about | {"meta": {"security": confidentiality("V")}})


def test_a_payer_reads_nothing_by_default_and_the_reason_says_so() -> None:
    assert asked(about=CLAIM, party=INSURER) == Deny(Reason.NO_CONSENT)
    assert asked(consent(permit(actor=[actor("kasse")])), about=GLUCOSE, party=INSURER) == Deny(Reason.PAYER)


def test_a_decision_is_true_or_false() -> None:
    assert bool(Permit(()))
    assert not Deny(Reason.NOT_OPENED)
    assert asked(consent(permit()), party=Party("nobody"), now=NOW) == Deny(Reason.NOT_NAMED)
    assert DR_B.tokens >= {(codes.BSNR, "721111100")}


@pytest.mark.attack(53)
@weakens("aggregator.consent.decide", "_STRENGTH", {None: 0, Effect.DENY: 1, Effect.PERMIT: 2})
def test_among_siblings_a_deny_wins_in_whatever_order() -> None:
    inside = [permit(), deny(class_=section("results"))]
    for siblings in (inside, inside[::-1]):
        made = asked(consent(frame(*siblings, actor=[actor()])), about=GLUCOSE)
        assert isinstance(made, Deny)
        assert made.reason is Reason.REFUSED
