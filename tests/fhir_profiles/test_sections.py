"""Our own definitions: they are valid, and say what the design says."""

from __future__ import annotations

import pytest

from fhir_profiles.check import check
from fhir_profiles.model import typed
from fhir_profiles.profiles import (
    AMENDS_URL,
    SECTION_SYSTEM,
    SECTIONS,
    VERIFICATION_URL,
    WARNING_URL,
    Section,
    definitions,
)
from fhir_profiles.text import Resource


@pytest.mark.parametrize("definition", definitions(), ids=lambda one: str(one["url"]))
def test_a_definition_is_valid(definition: Resource) -> None:
    assert check(definition) == ()
    typed(definition)


def test_their_names() -> None:
    assert {one["url"] for one in definitions()} == {SECTION_SYSTEM, WARNING_URL, AMENDS_URL, VERIFICATION_URL}


def test_the_sections() -> None:
    assert " ".join(SECTIONS) == (
        "identity problems allergies medications immunizations results encounters procedures imaging documents "
        "care-plans insurance communication mental-health sexual-health substance-use genetics directory unsorted"
    )
    assert {name for name, one in SECTIONS.items() if one.sensitive} == {
        "mental-health",
        "sexual-health",
        "substance-use",
        "genetics",
    }
    assert SECTIONS["allergies"] == Section(
        name="allergies", de="Allergien und Unverträglichkeiten", en="Allergies and intolerances", sensitive=False
    )


def test_the_system_counts_its_sections() -> None:
    (system,) = (one for one in definitions() if one["url"] == SECTION_SYSTEM)
    assert system["count"] == len(SECTIONS)
