"""Scopes of backend services: what is granted of what was asked, and what a grant allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.identity.scopes import allows, granted

pytestmark = pytest.mark.storeless

GRANTED = {
    "system/*.rs": ("system/*.rs",),
    "system/Observation.rs system/Patient.r": ("system/Observation.rs", "system/Patient.r"),
    "system/*.read": ("system/*.rs",),
    "system/*.*": ("system/*.rs",),
    "system/*.cruds": ("system/*.crs",),
    "system/Observation.cud": ("system/Observation.c",),
    "system/Observation.": (),
    "system/Observation.sr": (),
    "system/observation.rs": (),
    "patient/*.rs": (),
    "user/*.rs openid offline_access": (),
    "system/*.rs system/*.rs": ("system/*.rs",),
    "system/*.rs?category=laboratory": (),
    "": (),
}


@pytest.mark.attack(42)
@pytest.mark.parametrize(("asked", "expected"), GRANTED.items())
def test_what_is_granted(asked: str, expected: tuple[str, ...]) -> None:
    assert granted(asked) == expected


@pytest.mark.attack(42)
@given(st.text(alphabet="system/*.crudspatienO ", max_size=40))
def test_nothing_that_changes_or_deletes_is_ever_granted(asked: str) -> None:
    for scope in granted(asked):
        assert set(scope.rpartition(".")[2]) <= {"c", "r", "s"}
        assert scope in granted(scope)


ALLOWS = [
    (("system/*.rs",), "Observation", "r", True),
    (("system/Observation.r",), "Observation", "s", False),
    (("system/Observation.rs",), "Condition", "r", False),
    (("system/Observation.r", "system/Condition.s"), "Condition", "s", True),
    ((), "Patient", "r", False),
]


@pytest.mark.parametrize(("scopes", "kind", "letter", "expected"), ALLOWS)
def test_what_is_allowed(scopes: tuple[str, ...], kind: str, letter: str, expected: bool) -> None:
    assert allows(scopes, kind, letter) is expected
