"""Emergency access: a class of actors and the purpose BTG, only where the patient has allowed both by name."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.codes import ACT_REASON, PARTICIPATION_TYPE, PARTY_CLASS
from tests.api.http_world import ASSERTION, HttpWorld, classes, consent
from tests.weaken import weakens

ANY_PROVIDER = {
    "role": {"coding": [{"system": PARTICIPATION_TYPE, "code": "IRCP"}]},
    "reference": {"identifier": {"system": PARTY_CLASS, "value": "provider"}},
}
EMERGENCY: dict[str, Any] = {"actor": [ANY_PROVIDER], "purpose": [{"system": ACT_REASON, "code": "BTG"}]}
BREAKING_THE_GLASS = {"extensions": {"hl7-b2b": {"purpose_of_use": ["BTG"]}}}


def _conditions(world: HttpWorld, caller: dict[str, str]) -> int:
    answer = world.get(f"/fhir/Condition?patient={world.patients['erika']}", caller)
    return int(answer.json().get("total", 0))


@pytest.mark.attack(9)
@weakens("aggregator.consent.context", "_ONLY_NAMED", frozenset())
def test_an_emergency_opens_only_what_the_patient_has_allowed_for_one(fresh: HttpWorld) -> None:
    assert _conditions(fresh, fresh.token("fremd", **BREAKING_THE_GLASS)) == 0
    unnamed = consent(fresh.patients["erika"], "fremd", **{"class": classes("results")})
    del unnamed["provision"]["purpose"]  # for every purpose but those that must be named
    assert fresh.http.post("/fhir/Consent", json=unnamed, headers=fresh.owner()).status_code == 201
    results = f"/fhir/Observation?patient={fresh.patients['erika']}"
    assert fresh.get(results, fresh.token("fremd")).json()["total"] == 3
    assert "entry" not in fresh.get(results, fresh.token("fremd", **BREAKING_THE_GLASS)).json()
    fresh.consent("nobody", **EMERGENCY)
    assert _conditions(fresh, fresh.token("fremd", **BREAKING_THE_GLASS)) == 1
    assert _conditions(fresh, fresh.token("fremd")) == 0


def test_one_of_the_class_may_be_left_out(fresh: HttpWorld) -> None:
    fresh.consent("nobody", **EMERGENCY)
    fresh.consent("fremd", type="deny", purpose=EMERGENCY["purpose"])
    assert _conditions(fresh, fresh.token("fremd", **BREAKING_THE_GLASS)) == 0


def test_a_purpose_that_is_not_registered_for_the_client_is_refused(shared: HttpWorld) -> None:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "scope": "system/*.rs"}
    assertion = shared.assertion("labor", **BREAKING_THE_GLASS)
    answer = shared.http.post("/auth/token", data=form | {"client_assertion": assertion})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
