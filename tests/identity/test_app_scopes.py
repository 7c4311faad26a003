"""What an app asks for, in parts; whatever it asks, nothing that writes is among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.identity import app_scopes, scopes
from aggregator.identity.app_scopes import Reading
from fhir_profiles.codes import CONDITION_CATEGORY, LOINC, OBSERVATION_CATEGORY

pytestmark = pytest.mark.storeless

READ = {
    "patient/*.rs": Reading(text="patient/*.rs", resource_type="*"),
    "user/Observation.r": Reading(text="user/Observation.r", resource_type="Observation"),
    "patient/Observation.s": Reading(text="patient/Observation.s", resource_type="Observation"),
    "patient/*.read": Reading(text="patient/*.rs", resource_type="*"),
    f"patient/Observation.rs?category={OBSERVATION_CATEGORY}|laboratory": Reading(
        text=f"patient/Observation.rs?category={OBSERVATION_CATEGORY}|laboratory",
        resource_type="Observation",
        codes=((OBSERVATION_CATEGORY, "laboratory"),),
    ),
    "patient/Condition.rs?category=problem-list-item,encounter-diagnosis": Reading(
        text="patient/Condition.rs?category=problem-list-item,encounter-diagnosis",
        resource_type="Condition",
        codes=((CONDITION_CATEGORY, "problem-list-item"), (CONDITION_CATEGORY, "encounter-diagnosis")),
    ),
    f"patient/*.rs?code={LOINC}|4548-4": Reading(
        text=f"patient/*.rs?code={LOINC}|4548-4", resource_type="*", codes=((LOINC, "4548-4"),)
    ),
}
PARTLY = {
    "patient/*.*": "patient/*.rs",
    "patient/*.cruds": "patient/*.rs",
    "user/Condition.crs": "user/Condition.rs",
}
REFUSED = (
    "patient/*.write",
    "patient/Observation.cud",
    "patient/Observation.sr",
    "patient/Observation.",
    "patient/Nothing.rs",
    "patient/observation.rs",
    "patients/*.rs",
    "system/*.rs",
    "profile",
    "launch/encounter",
    "patient/Observation.rs?",
    "patient/Observation.rs?date=ge2026",
    "patient/Observation.rs?category",
    "patient/Observation.rs?category=",
    "patient/Observation.rs?category=laboratory,",
    "patient/Observation.rs?category=|laboratory",
    "patient/Observation.rs?category=a|b&code=c|d",
    "patient/Observation.rs?category=&code=a|b",
    "patient/Observation.rs?category=laboratory&",
    "patient/Observation.rs?component-code=a|b",
    "patient/Observation.rs?code=4548-4",
    "patient/DocumentReference.rs?category=clinical-note",
    "patient/*.rs?category=laboratory",
)


@pytest.mark.parametrize(("scope", "expected"), READ.items())
def test_what_reads_is_told_in_parts(scope: str, expected: Reading) -> None:
    asked = app_scopes.read(scope)
    assert (asked.reading, asked.plain, asked.refused) == ((expected,), (), ())


@pytest.mark.attack(42)
@pytest.mark.parametrize(("scope", "left"), PARTLY.items())
def test_what_writes_as_well_is_left_reading_and_told_as_refused(scope: str, left: str) -> None:
    asked = app_scopes.read(scope)
    assert ([one.text for one in asked.reading], asked.refused) == ([left], (scope,))


@pytest.mark.attack(42)
@pytest.mark.parametrize("scope", REFUSED)
def test_what_is_not_understood_is_refused_by_name(scope: str) -> None:
    asked = app_scopes.read(scope)
    assert (asked.reading, asked.plain, asked.refused) == ((), (), (scope,))


@pytest.mark.parametrize("scope", ["openid", "fhirUser", "launch", "launch/patient", "offline_access", "online_access"])
def test_what_opens_nothing_by_itself_is_granted_as_it_is(scope: str) -> None:
    asked = app_scopes.read(scope)
    assert (asked.reading, asked.plain, asked.refused) == ((), (scope,), ())


def test_a_category_without_a_system_is_of_the_types_own() -> None:
    (found,) = app_scopes.read("patient/Observation.rs?category=vital-signs").reading
    assert found.codes == ((OBSERVATION_CATEGORY, "vital-signs"),)
    assert app_scopes.CONTEXTS == ("patient", "user")


def test_a_request_keeps_its_order_and_says_nothing_twice() -> None:
    asked = app_scopes.read("openid patient/Condition.rs launch/patient patient/*.read openid patient/*.rs")
    assert asked.plain == ("openid", "launch/patient")
    assert asked.granted(asked.reading) == ("openid", "launch/patient", "patient/Condition.rs", "patient/*.rs")
    assert asked.refused == ()


_PARTS = st.sampled_from(
    (
        "patient",
        "user",
        "system",
        "/",
        "*",
        "Observation",
        ".",
        "c",
        "r",
        "u",
        "d",
        "s",
        "read",
        "write",
        "?",
        "code=a|b",
    )
)


@pytest.mark.attack(42)
@given(st.lists(st.lists(_PARTS, max_size=9).map("".join), max_size=4).map(" ".join))
def test_whatever_is_asked_a_token_only_reads(requested: str) -> None:
    asked = app_scopes.read(requested)
    given_ = asked.granted(asked.reading)
    for letter in "cud":
        assert not scopes.allows(given_, "Observation", letter)
    assert not any(one.startswith("system/") for one in given_)
    assert app_scopes.read(" ".join(given_)) == app_scopes.Asked(reading=asked.reading, plain=asked.plain, refused=())
