"""A Consent in plain sentences: nothing of it is dropped, and what is not understood is told as that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from aggregator.consent.decide import Reason, parse
from aggregator.consent.plain import REASONS
from aggregator.consent.provision import CRITERIA, UNREADABLE
from aggregator.consent.sentences import Told, told
from aggregator.consent.sharing import Sharing, consent_of, who_is
from fhir_profiles import codes
from fhir_profiles.text import Resource
from tests.consent import decide_world as world
from tests.consent.test_decide_laws import _consents
from tests.consent.test_sharing import PATIENT

pytestmark = pytest.mark.storeless

NAMES = {("", "Organization/praxis-b"): "Praxis Dr. B"}


def _said(consent: Resource) -> Told:
    return told(consent, NAMES)


def test_a_simple_sharing() -> None:
    sharing = Sharing(
        who=who_is(world.DR_B, "Praxis Dr. B"),
        sections=frozenset({"results", "medications"}),
        without_labels=frozenset({(codes.ACT_CODE, "PSY")}),
        since="2026-11-21",
        until="2027-11-20",
        data_since="2020",
    )
    assert _said(consent_of(sharing, PATIENT, world.NOW)) == Told(
        sentences=(
            (
                "Erlaubt ist: für Praxis Dr. B; Bereiche: Medikamente, Befunde und Messwerte; Zweck: Behandlung; "
                "gültig ab 21.11.2026 bis 20.11.2027; nur, was geschah ab 01.01.2020.",
                "Permitted is: to Praxis Dr. B; sections: Medications, Results; purpose: treatment; "
                "in force from 2026-11-21 until 2027-11-20; only what happened from 2020-01-01.",
            ),
            (
                "Davon ausgenommen ist: was gekennzeichnet ist als Psychiatrie.",
                "Excluded from that is: what is labelled as psychiatry.",
            ),
        ),
        understood=True,
        permits=True,
    )


def test_a_permission_without_a_class_is_not_told_to_open_what_is_sensitive() -> None:
    (german, english), within = _said(world.consent(world.permit(world.deny()))).sentences
    assert german == "Erlaubt ist: alles, was nicht besonders geschützt ist; für Praxis Dr. B."
    assert english == "Permitted is: everything that is not specially protected; to Praxis Dr. B."
    assert within[1] == "Excluded from that is: everything in it."


def test_what_is_not_understood_is_told_and_permits_nothing() -> None:
    shown = _said(world.consent(world.permit(class_=world.section("feelings"))))
    assert (shown.understood, shown.permits) == (False, False)
    assert shown.sentences[0][1].startswith("A part of it cannot be understood by this service")
    assert shown.sentences[1][1] == "Permitted is: to Praxis Dr. B; sections: not understood."


def test_an_inactive_one_says_so_and_permits_nothing() -> None:
    shown = _said(world.consent(world.permit(), status="inactive"))
    assert (shown.sentences[0][1], shown.permits) == ("This consent is not in effect.", False)


def test_one_without_a_provision() -> None:
    assert _said(world.consent(None)).sentences == (
        ("Sie erlaubt und verbietet nichts.", "It permits and forbids nothing."),
    )


@settings(deadline=None)
@given(_consents)
def test_every_provision_has_its_sentence_with_every_criterion(consents: list[Resource]) -> None:
    for consent in consents:
        policy, shown = parse(consent), _said(consent)
        rules = list(policy.root.walk()) if policy.root else []
        sentences = shown.sentences[len(shown.sentences) - len(rules) :]
        for rule, (german, english) in zip(rules, sentences, strict=True):
            given_ = [name for name in CRITERIA if getattr(rule, name) is not None]
            assert german.count("; ") + 1 >= len(given_)
            unread = sum(getattr(rule, name) is UNREADABLE for name in given_) + (not rule.clear)
            assert english.count("not understood") == unread


def test_every_reason_has_words() -> None:
    assert REASONS.keys() == set(Reason)
