"""xDT files: what is whole is read, and whatever was changed or cut on the way is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import xdt
from connectors.contract import Reason
from connectors.practice_ldt_values import moment, quantity
from connectors.refused import Refused
from connectors.xdt import Field, Group
from fhir_profiles import text
from tests.connectors.practice_ldt.ldt_text import ldt

RECORD = """
8000 8205
8145 Patient
8002 Obj_0045
3119 M310119800
3000 größer als µ und €
8003 Obj_0045
8401 2
8001 8205
"""
WHOLE = ldt(RECORD)


def group(*fields: tuple[str, str]) -> Group:
    told = tuple(Field(code=code, value=value, line=number) for number, (code, value) in enumerate(fields))
    return Group(name="Obj_0054", fields=told, line=0, start=0, end=0)


def test_a_whole_file_is_read_with_its_objects_and_places() -> None:
    file = xdt.parse(WHOLE)
    [record] = file.records
    patient = record.child("8145")
    assert patient is not None
    assert (record.name, record.value("8401"), patient.name) == ("8205", "2", "Obj_0045")
    assert patient.value("3000") == "größer als µ und €"
    assert WHOLE[patient.start : patient.end].startswith(b"0178002Obj_0045\r\n")
    assert WHOLE[patient.start : patient.end].endswith(b"0178003Obj_0045\r\n")
    assert file.wrong_lengths == ()
    assert xdt.version(WHOLE) == "LDT3.2.20"


def test_a_run_of_fields_begins_with_its_head() -> None:
    told = group(("7306", "01"), ("8420", "1"), ("8421", "g/l"), ("8420", "2"))
    assert [[field.value for field in run] for run in told.split({"8420"})] == [["1", "g/l"], ["2"]]
    assert told.split({"9999"}) == []


@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(Refused):
        xdt.parse(WHOLE[:cut])


@given(place=st.integers(0, len(WHOLE) - len("01380018221\r\n") - 1), byte=st.integers(0, 255))
def test_a_file_with_one_byte_changed_is_refused(place: int, byte: int) -> None:
    changed = WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    if changed.lower() == WHOLE.lower() or 7 > place - WHOLE.index(b"0499300") >= 0:
        return  # the checksum's own digits may be capitals, and its line's length is not summed
    with pytest.raises(Refused):
        xdt.parse(changed)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ldt(RECORD.replace("8003 Obj_0045\n", "")), Reason.UNREADABLE),
        (ldt(RECORD.replace("8145 Patient\n", "")), Reason.UNREADABLE),
        (ldt(RECORD, header="8000 8205\n8001 8205"), Reason.UNREADABLE),
        (ldt(RECORD + "8401 2"), Reason.UNREADABLE),
        (ldt("8000 8205\n" + "8145 x\n8002 Obj\n" * 40 + "8003 Obj\n" * 40 + "8001 8205"), Reason.UNREADABLE),
        (ldt("8000 8205\n8145 x\n8002 A\n8003 A\n8002 B\n8003 B\n8001 8205"), Reason.UNREADABLE),
        (b"\r\n", Reason.UNREADABLE),
    ],
)
def test_a_wrong_structure_is_refused(content: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        xdt.parse(content)
    assert refused.value.reason is reason
    assert "310119800" not in str(refused.value)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (("20260312", "081530", "UTC+1"), "2026-03-12T08:15:30+01:00"),
        (("20260312", "0815", "UTC-03:30"), "2026-03-12T08:15:00-03:30"),
        (("20260312", "081530123", "UTC"), "2026-03-12T08:15:30+00:00"),
        (("20260312", "081530", ""), "2026-03-12"),
        (("20260312", "081530", "UTC+99"), "2026-03-12"),
        (("20260312", "991530", "UTC+1"), "2026-03-12"),
        (("20260312", "", "UTC+1"), "2026-03-12"),
        (("20260300", "081530", "UTC+1"), "2026-03"),
        (("20260000", "", ""), "2026"),
        (("20260230", "081530", "UTC+1"), ""),
        (("gestern", "", ""), ""),
    ],
)
def test_a_timestamp_says_no_more_than_it_knows(told: tuple[str, str, str], expected: str) -> None:
    assert moment(group(("7278", told[0]), ("7279", told[1]), ("7273", told[2]))) == expected


@given(st.from_regex(r"(<=|>=|<|>)? ?-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_a_number_keeps_its_digits(told: str) -> None:
    counted = quantity((Field(code="8420", value=told, line=1),))
    assert counted is not None
    made, warning = counted
    comparator = made.get("comparator", "")
    assert told.startswith(comparator)
    assert text.dumps(made["value"]).decode() == told.removeprefix(comparator).strip()
    assert warning == ""


@pytest.mark.parametrize("told", ["7,20", "05", ".5", "5.", "1:80", "positiv", "+", "", "1x10^6", "<", "NaN", "1 2"])
def test_what_is_no_number_of_the_format_is_none(told: str) -> None:
    assert quantity((Field(code="8420", value=told, line=1),)) is None
