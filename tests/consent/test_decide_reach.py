"""The coarse net of sections, and the instants at which an answer may change."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from aggregator.consent.decide import Party, boundaries, openable, parse
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource
from tests.consent.decide_world import (
    DR_B,
    INSURER,
    NOW,
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
