"""The coarse net of sections, and the instants at which an answer may change."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from aggregator.consent.decide import Occasion, Party, boundaries, occasions, openable, parse
from aggregator.consent.facts import FIRST
from aggregator.consent.reach import named_values
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource
from tests.consent.decide_world import (
    DR_B,
    INSURER,
    NOW,
    action,
    actor,
    concept,
    consent,
    deny,
    frame,
    permit,
    purpose,
    resource_type,
    section,
    sensitivity,
)

pytestmark = pytest.mark.storeless

SENSITIVE = {section.name for section in SECTIONS.values() if section.sensitive}
OPEN = SECTIONS.keys() - SENSITIVE - {"unsorted"}
RESULTS = {"results", "directory"}


@pytest.mark.parametrize(
    ("provisions", "sections"),
    [
        ([], set()),
        ([permit()], OPEN),
        ([permit(actor=None)], set()),
        ([permit(actor=[actor("praxis-c")])], set()),
        ([permit(mood="good")], set()),
        ([permit(class_=section("results"))], RESULTS),
        ([permit(class_=section("results", "mental-health"))], RESULTS | {"mental-health"}),
        ([permit(class_=section("unsorted"))], {"directory"}),
        ([permit(class_=resource_type("Observation"))], RESULTS | {"imaging"}),
        ([permit(securityLabel=sensitivity("HIV"))], OPEN | {"sexual-health"}),
        ([permit(code=[concept(codes.LOINC, "2339-0")], class_=section("results"))], RESULTS),
        ([frame(permit(actor=None), actor=[actor()], class_=section("results"))], RESULTS),
        ([deny(permit(class_=section("results")))], RESULTS),
        ([permit(purpose=purpose("BTG"), period={"start": "2030"}, class_=section("results"))], RESULTS),
        ([permit(class_=section("results")), permit(class_=section("imaging"))], RESULTS | {"imaging"}),
        ([permit(), deny()], set()),
        ([permit(), deny(actor=[actor()])], set()),
        ([permit(), deny(mood="bad")], set()),
        ([permit(), deny(class_=section("documents", "identity"))], OPEN - {"documents", "identity"}),
        ([frame(permit(), deny(class_=section("documents")))], OPEN - {"documents"}),
        ([permit(), deny(actor=[actor("praxis-c")])], OPEN),
        ([permit(), deny(period={"end": "2020"})], OPEN),
        ([permit(), deny(purpose=purpose("HRESCH"))], OPEN),
        ([permit(), deny(class_=resource_type("Observation"))], OPEN),
    ],
)
def test_the_net(provisions: list[Resource], sections: set[str]) -> None:
    policies = [parse(consent(one, f"c{n}")) for n, one in enumerate(provisions)]
    assert openable(policies, DR_B, frozenset(SECTIONS), NOW) == sections


def test_the_net_picks_from_what_it_is_given() -> None:
    assert openable([parse(consent(permit()))], DR_B, frozenset({"results", "genetics"}), NOW) == {"results"}


def test_an_inactive_consent_catches_nothing() -> None:
    assert openable([parse(consent(permit(), status="draft"))], DR_B, frozenset(SECTIONS), NOW) == frozenset()


def test_a_consent_without_provision_catches_nothing() -> None:
    empty = [parse(consent(None))]
    assert openable(empty, DR_B, frozenset(SECTIONS), NOW) == frozenset()
    assert (occasions(empty, DR_B), boundaries(empty, NOW)) == ([], None)


def test_a_permit_whose_time_is_over_catches_nothing() -> None:
    """Who has a section's key by it alone has it no longer."""
    ends, midnight = [parse(consent(permit(period={"end": "2026-11-21"})))], _at("2026-11-22T00:00+01:00")
    assert openable(ends, DR_B, frozenset(SECTIONS), midnight) == frozenset()
    assert openable(ends, DR_B, frozenset(SECTIONS), midnight - timedelta(microseconds=1)) == OPEN


@pytest.mark.parametrize(
    ("criteria", "sections"), [({}, {"insurance", "directory"}), ({"class_": section("results")}, RESULTS)]
)
def test_the_net_of_a_payer(criteria: Resource, sections: set[str]) -> None:
    policies = [parse(consent(permit(actor=[actor("kasse")], **criteria)))]
    assert openable(policies, INSURER, frozenset(SECTIONS), NOW) == sections
    assert openable(policies, Party("another"), frozenset(SECTIONS), NOW) == frozenset()


@pytest.mark.parametrize(
    ("provision", "next_"),
    [
        (permit(), None),
        (permit(period={"start": "2020"}), None),
        (permit(period={"end": "2026-11-21"}), "2026-11-22T00:00:00+01:00"),
        (permit(period={"start": "2027", "end": "2028"}), "2027-01-01T00:00:00+01:00"),
        (permit(deny(period={"start": "2026-12-01"}), period={"end": "2027"}), "2026-12-01T00:00:00+01:00"),
        (permit(period={"end": "yesterday"}), None),
        (permit(dataPeriod={"end": "2027"}), None),  # limits the data, not the answer
    ],
)
def test_boundaries(provision: Resource, next_: str | None) -> None:
    expected = datetime.fromisoformat(next_) if next_ else None
    assert boundaries([parse(consent(provision))], NOW) == expected
    assert boundaries([parse(consent(provision, status="inactive"))], NOW) is None


def test_a_boundary_that_is_now_has_passed() -> None:
    ends = [parse(consent(permit(period={"end": "2026-11-21"})))]
    midnight = datetime.fromisoformat("2026-11-22T00:00:00+01:00")
    assert boundaries(ends, midnight) is None
    assert boundaries(ends, midnight - timedelta(microseconds=1)) == midnight


def test_an_occasion_is_a_time_and_its_purposes() -> None:
    (one,) = occasions(
        [parse(consent(permit(period={"start": "2026", "end": "2026-11"}, purpose=purpose("TREAT"))))], DR_B
    )
    assert one == Occasion(_at("2026-01-01T00:00+01:00"), _at("2026-12-01T00:00+01:00"), frozenset({"TREAT"}))
    assert [one.covers(now, "TREAT") for now in (one.low, NOW, one.high)] == [True, True, False]
    assert not one.covers(one.low - timedelta(microseconds=1), "TREAT")
    assert not one.covers(NOW, "HPAYMT")


def test_occasions_are_those_of_permits_that_mean_the_party_and_the_act() -> None:
    later, always = permit(period={"start": "2027"}), permit(action=action("collect"))
    policies = [parse(consent(one)) for one in (later, always, permit(actor=[actor("praxis-c")]), deny())]
    assert [one.low for one in occasions(policies, DR_B)] == [_at("2027-01-01T00:00+01:00")]
    assert [one.low for one in occasions(policies, DR_B, "collect")] == [FIRST]
    assert occasions(policies, Party("another")) == []


def test_an_occasion_lies_in_every_period_of_its_path_and_never_nowhere() -> None:
    inner = permit(period={"start": "2026-06", "end": "2028"}, actor=None)
    around = frame(inner, actor=[actor()], period={"start": "2025", "end": "2027"})
    (one,) = occasions([parse(consent(around))], DR_B)
    assert (one.low, one.high) == (_at("2026-06-01T00:00+02:00"), _at("2028-01-01T00:00+01:00"))
    apart = frame(inner, actor=[actor()], period={"end": "2025"})
    assert occasions([parse(consent(apart))], DR_B) == []
    both = [parse(consent(permit(period={"start": year}))) for year in ("2029-06", "2028-06")]
    assert [one.low.year for one in occasions(both, DR_B)] == [2028, 2029]


def test_named_values_are_those_of_the_actors_anywhere() -> None:
    named = actor() | {"reference": {"identifier": {"system": codes.BSNR, "value": "721111100"}}}
    other = actor() | {"reference": {"identifier": {"system": codes.IKNR, "value": "109500969"}}}
    given = [consent(frame(permit(actor=[named, other]), permit(mood="good", actor=None))), consent(None)]
    assert named_values(given, codes.BSNR) == {"721111100"}


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
