"""An approval as a Consent: valid FHIR, understood whole, and open for exactly what was left."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.consent.decide import Context, Decider, Facts, Permit, parse
from aggregator.identity import app_consents, app_parties, app_scopes
from aggregator.identity.app_consents import Approval
from aggregator.identity.authorizations import OFFERED
from fhir_profiles.check import check
from fhir_profiles.codes import CONFIDENTIALITY, OBSERVATION_CATEGORY

pytestmark = pytest.mark.storeless

NOW = datetime(2026, 11, 21, 21, 30, tzinfo=ZoneInfo("Europe/Berlin"))
VAULT = "a" * 26
AUTHORIZATION = f"{VAULT}.{'b' * 26}"
TYPES = ("Observation", "Condition", "Patient")
CATEGORIES = ("laboratory", "vital-signs")
NORMAL = frozenset({(CONFIDENTIALITY, "N")})


def approval(scope: str, *sections: str) -> Approval:
    return Approval(
        authorization=AUTHORIZATION,
        app="Blutdruck-Tagebuch",
        reading=app_scopes.read(scope).reading,
        sections=sections,
        start=NOW,
        end=NOW + timedelta(days=90),
    )


def test_an_approval_is_a_consent() -> None:
    scope = "patient/Observation.rs?category=laboratory,vital-signs patient/Condition.rs user/*.r"
    made = app_consents.consent(approval(scope, "results", "problems"))
    expected = Path(__file__).parent / "expected" / "app_consent.json"
    assert made == json.loads(expected.read_text("utf-8"))
    assert check({"id": "a", "patient": {"reference": "Patient/a"}, **made}) == ()
    assert parse(made).problems == ()


def test_the_grantee_is_named_in_its_own_vault_alone() -> None:
    made = [app_consents.consent(approval("patient/*.rs", "results"))]
    assert app_parties.named(made, VAULT) == [app_parties.party(AUTHORIZATION)]
    assert app_parties.named(made, "c" * 26) == []
    assert app_parties.vault_of(AUTHORIZATION) == VAULT


@pytest.mark.attack(42)
@given(
    st.lists(st.sampled_from(TYPES), max_size=2, unique=True),
    st.lists(st.sampled_from(CATEGORIES), max_size=2, unique=True),
    st.lists(st.sampled_from(OFFERED), min_size=1, max_size=4, unique=True),
    st.sampled_from(TYPES),
    st.sampled_from(CATEGORIES),
    st.sampled_from(OFFERED),
)
def test_open_is_what_a_scope_names_in_a_section_that_was_left(
    types: list[str], granular: list[str], sections: list[str], resource_type: str, category: str, section: str
) -> None:
    scope = [f"patient/{name}.rs" for name in types]
    scope += [f"patient/Observation.rs?category={one}" for one in granular]
    policy = parse(app_consents.consent(approval(" ".join(scope), *sections)))
    codes = frozenset({(OBSERVATION_CATEGORY, category)})
    facts = Facts(resource_type=resource_type, id="a", section=section, labels=NORMAL, codes=codes, dates=None)
    context = Context(app_parties.party(AUTHORIZATION), app_parties.PURPOSE, NOW)
    named = resource_type in types or (resource_type == "Observation" and category in granular)
    decision = Decider([policy], context).decide(facts)
    assert isinstance(decision, Permit) == (named and section in sections)
    for other in (
        Context(app_parties.party(f"{VAULT}.{'c' * 26}"), app_parties.PURPOSE, NOW),
        Context(context.party, "TREAT", NOW),
        Context(context.party, app_parties.PURPOSE, NOW + timedelta(days=91)),
        Context(context.party, app_parties.PURPOSE, NOW - timedelta(seconds=1)),
    ):
        assert not Decider([policy], other).decide(facts)
