"""Who a sign-up says to be: what is taken, and what each member refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError
from aggregator.fhir.outcome import NotValid
from aggregator.identity import patient
from tests.vault.world import ERIKA

pytestmark = pytest.mark.storeless

TODAY = date(2026, 11, 21)
TOLD: dict[str, Any] = {"family": "Muster", "given": "Erika", "birth_date": "1957-08-13", "kvnr": None, "today": TODAY}


def test_a_person_is_taken_with_blanks_and_case_made_even() -> None:
    made = patient.stated(**TOLD | {"family": "  von  der Heide ", "given": "Erika\tJosefine", "kvnr": " x110411675 "})
    assert made == Person(family="von der Heide", given="Erika Josefine", birth_date="1957-08-13", kvnr="X110411675")


@pytest.mark.parametrize("born", ["2026-11-21", "2024-02-29", "1900-01-01"])
def test_who_was_born_by_today_is_taken(born: str) -> None:
    assert patient.stated(**TOLD | {"birth_date": born}).birth_date == born


REFUSED: list[tuple[str, Any]] = [
    *(("birth_date", born) for born in ("2020-W01-1", "20200101", "2026-11-22", "2023-02-29", "1957-08", "im August")),
    *(("birth_date", born) for born in (" 1957-08-13", "1957-08-13T00:00", "१९५७-०८-१३", "0000-00-00", "")),
    *(("family", name) for name in ("", " ", "\u00a0", "N" * 201, "N\x00\x07", "N\x7f")),
    *(("given", name) for name in ("", "\t\n", "B" * 5000, "B\x1b[2J")),
    *(
        ("kvnr", number)
        for number in ("", "nonsense", "X11041167", "X1104116755", "1104116750", "Ä110411675", "X११०४११६७५")
    ),
]


@pytest.mark.parametrize(("member", "value"), REFUSED)
def test_what_cannot_be_so_is_refused_with_the_members_name_alone(member: str, value: str) -> None:
    with pytest.raises(CallerError, match=f"^{member}: ") as raised:
        patient.stated(**TOLD | {member: value})
    assert not value.strip() or value not in str(raised.value)


@given(
    family=st.text(), given=st.text(), birth_date=st.dates().map(str), kvnr=st.none() | st.from_regex("[A-Z][0-9]{9}")
)
def test_whoever_is_taken_can_be_said_in_fhir_and_read_back(
    family: str, given: str, birth_date: str, kvnr: str | None
) -> None:
    told = {"family": family, "given": given, "birth_date": birth_date, "kvnr": kvnr, "today": TODAY}
    try:
        made = patient.stated(**told)  # type: ignore[arg-type]  # each member is of its type
    except CallerError:
        return
    assert patient.person(patient.resource("k3.a", made)) == made


@pytest.mark.parametrize("person", [replace(ERIKA, given=""), replace(ERIKA, birth_date="19570813")])
def test_whom_fhir_cannot_say_is_no_patient(person: Person) -> None:
    with pytest.raises(NotValid):
        patient.resource("k3.a", person)
