"""To add to a record is asked apart from reading it; parties are of the kinds that settings name."""

from __future__ import annotations

from typing import get_args

import pytest

from aggregator.config import ClientSettings
from aggregator.consent.context import COLLECT, READ
from aggregator.consent.decide import Context, PartyKind, decide, parse
from fhir_profiles.text import Resource
from tests.consent.decide_world import DR_B, GLUCOSE, NOW, action, consent, deny, facts, permit

pytestmark = pytest.mark.storeless

ADDS, READS = permit(action=action("collect")), permit(action=action("access"))


@pytest.mark.parametrize(
    ("provisions", "act", "open_"),
    [
        ([ADDS], COLLECT, True),
        ([ADDS], READ, False),
        ([READS], COLLECT, False),
        ([permit()], COLLECT, False),  # to add is named, or not meant
        ([ADDS, deny(action=action("collect"))], COLLECT, False),
        ([ADDS, deny()], COLLECT, False),
        ([ADDS, deny(action=action("access", "use", "disclose"))], COLLECT, True),
        ([READS, deny(action=action("collect"))], READ, True),
        ([READS, deny(action=action("use"))], READ, False),
        ([READS, deny(action=action("disclose"))], READ, False),
    ],
)
def test_to_add_and_to_read_are_asked_apart(provisions: list[Resource], act: str, open_: bool) -> None:
    policies = [parse(consent(one, f"c{number}")) for number, one in enumerate(provisions)]
    assert bool(decide(policies, Context(DR_B, "TREAT", NOW, act), facts(GLUCOSE))) is open_


def test_every_kind_that_settings_name_is_one() -> None:
    named = get_args(ClientSettings.model_fields["kind"].annotation)
    assert {PartyKind(name) for name in named} == set(PartyKind) - {PartyKind.PERSON}
