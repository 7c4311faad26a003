"""The people are whole and well-formed: numbers with right check digits, one vocabulary."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from aggregator.demo.story import clinic_bundle, expected, people, practices
from aggregator.demo.story_people import facts, moment, term, wall

DATA = Path(__file__).parents[2] / "aggregator" / "demo" / "people"
PERSON_IDS = ("erika", "aylin", "jonas")


def digit_sum(number: int) -> int:
    return sum(int(digit) for digit in str(number))


def kvnr_check(kvnr: str) -> bool:
    """Anlage 1 of the KVNR directive: letter as two digits, weights 1 2 1 2 ..., sums of digits, modulo 10."""
    digits = f"{ord(kvnr[0]) - 64:02d}{kvnr[1:9]}"
    total = sum(digit_sum(int(digit) * (1 + place % 2)) for place, digit in enumerate(digits))
    return re.fullmatch(r"[A-Z]\d{9}", kvnr) is not None and total % 10 == int(kvnr[9])


def pzn_check(pzn: str) -> bool:
    """IFA: the first seven digits weighted 1 to 7, modulo 11."""
    return len(pzn) == 8 and sum(int(pzn[place]) * (place + 1) for place in range(7)) % 11 == int(pzn[7])


def lanr_check(lanr: str) -> bool:
    """KBV: six digits weighted 4 9 4 9 4 9, the seventh fills up to ten; two digits of speciality."""
    total = sum(int(digit) * weight for digit, weight in zip(lanr[:6], (4, 9) * 3, strict=True))
    return len(lanr) == 9 and (10 - total % 10) % 10 == int(lanr[6])


def ik_check(ik: str) -> bool:
    """ARGE-IK: digits three to eight weighted 2 1 2 1 2 1, sums of digits, modulo 10."""
    total = sum(digit_sum(int(digit) * weight) for digit, weight in zip(ik[2:8], (2, 1) * 3, strict=True))
    return len(ik) == 9 and total % 10 == int(ik[8])


def test_three_people_with_sound_numbers() -> None:
    assert tuple(person.id for person in people()) == PERSON_IDS
    assert all(kvnr_check(person.kvnr) for person in people())
    assert len({person.kvnr for person in people()}) == len(PERSON_IDS)
    assert [person.name for person in people()] == ["Erika Muster", "Aylin Demir", "Jonas Petersen"]


def test_every_person_is_known_at_both_practices_under_a_number_of_their_own() -> None:
    for practice in practices():
        numbers = [person.patient_numbers[practice.id] for person in people()]
        assert len(set(numbers)) == len(numbers)


def test_the_stranger_is_well_formed_and_nobody_here() -> None:
    kvnr = facts("faults")["stranger_lab_report"]["person"]["kvnr"]
    assert kvnr_check(kvnr)
    assert kvnr not in {person.kvnr for person in people()}


def test_the_numbers_of_medicines_doctors_and_institutions_check() -> None:
    terms, house = facts("terms"), facts("klinik-nord")
    institutions = [house, *facts("insurer").values()]
    assert all(pzn_check(row["pzn"]) for row in terms["drug"].values())
    assert all(lanr_check(row["lanr"]) for row in house["doctor"].values())
    assert all(lanr_check(practice.lanr) for practice in practices())
    assert all(ik_check(row["ik"]) for row in institutions)


def test_the_house_holds_nobody_whom_no_story_meets() -> None:
    met = {entry["request"]["url"] for person in people() for entry in clinic_bundle(person)["entry"]}
    assert {f"Practitioner/{doctor}" for doctor in facts("klinik-nord")["doctor"]} <= met
    assert {f"Location/{department}" for department in facts("klinik-nord")["department"]} <= met


def test_no_medicine_is_there_twice() -> None:
    drugs = facts("terms")["drug"].values()
    assert len({row["pzn"] for row in drugs}) == len(drugs)


def test_the_vocabulary_holds_no_word_that_nobody_uses() -> None:
    told = "\n".join(path.read_text("utf-8") for path in DATA.glob("*/*.toml")) + (DATA / "faults.toml").read_text(
        "utf-8"
    )
    words = [word for table in facts("terms").values() for word in table]
    assert [word for word in words if not re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])", told)] == []


def test_every_laboratory_code_in_the_map_is_one_that_the_laboratories_use() -> None:
    mapped = [row["local"] for row in tomllib.loads((DATA / "loinc.toml").read_text("utf-8"))["test"]]
    assert len(set(mapped)) == len(mapped)
    assert set(mapped) <= facts("terms")["test"].keys()


def test_each_person_has_a_record_worth_showing() -> None:
    for person in people():
        counts = expected(person)
        own = [counts["clinic"], counts["insurer"]]
        laboratory = sum(count for name, count in counts.items() if name.endswith("/laboratory"))
        plans = sum(count for name, count in counts.items() if name.endswith("/plans"))
        assert sum(own) + laboratory + plans >= 150
        assert 90 <= counts["clinic"] <= 135
        assert 12 <= counts["insurer"] <= 20
        assert 40 <= laboratory <= 70
        assert 10 <= plans <= 25


def test_a_moment_is_a_time_a_day_of_the_stay_or_a_whole_date() -> None:
    start = wall("2023-03-25T10:00")
    assert moment("10:40", start).isoformat() == "2023-03-25T10:40:00+01:00"
    assert moment("+1 07:30", start).isoformat() == "2023-03-26T07:30:00+02:00"  # the clocks went forward that night
    assert moment("2023-04-02T08:00", start) == datetime(2023, 4, 2, 6, 0, tzinfo=UTC)


def test_a_word_that_is_not_in_the_vocabulary_is_refused() -> None:
    with pytest.raises(KeyError):
        term("drug", "wundermittel")


def test_the_oldest_fact_lies_behind_every_birth() -> None:
    assert max(person.birth_date for person in people()) < date(2019, 1, 1)
