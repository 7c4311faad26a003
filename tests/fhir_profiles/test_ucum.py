"""Units of measure: one's numbers in another, and what is written for them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_profiles.ucum import conversion
from fhir_profiles.unit_spellings import spelled

CONVERTED = [
    ("mg/dL", "g/L", "540", 5.4),
    ("g/L", "mg/dL", "5.4", 540.0),
    ("10*3/uL", "10*9/L", "4.5", 4.5),
    ("Cel", "[degF]", "37", 98.6),
    ("[degF]", "Cel", "98.6", 37.0),
    ("m[IU]/L", "u[IU]/mL", "2.5", 2.5),
    ("[in_i]", "cm", "1", 2.54),
    ("%", "1", "7.2", 0.072),
    ("mL/min/{1.73_m2}", "mL/min", "90", 90.0),
    ("{score}", "1", "3", 3.0),
    ("mg/g{creat}", "mg/g", "30", 30.0),
    ("[pH]", "[pH]", "7.4", 7.4),  # no unit that pint knows, but the same
]
NOT_THE_SAME = [
    *(("mmol/L", "mg/dL"), ("mg", "mL"), ("dB", "1"), ("[pH]", "1"), ("Erika", "mg"), ("mg", ""), ("((", "mg")),
    *(("10*9999", "1"), ("10*999999999", "1"), ("m" * 41, "m"), ("a" * 10_000, "a")),
]


@pytest.mark.parametrize(("of", "to", "number", "expected"), CONVERTED)
def test_converted(of: str, to: str, number: str, expected: float) -> None:
    convert = conversion(of, to)
    assert convert is not None
    assert convert(Decimal(number)) == expected


@pytest.mark.parametrize(("of", "to"), NOT_THE_SAME)
def test_what_does_not_measure_the_same_is_not_converted(of: str, to: str) -> None:
    assert conversion(of, to) is None


@settings(max_examples=50, deadline=None)
@given(st.text("mgLd/.{}[]()10*-^ ", max_size=12), st.sampled_from(["mg", "1", "/min"]))
def test_no_text_is_too_odd(of: str, to: str) -> None:
    convert = conversion(of, to)
    assert convert is None or isinstance(convert(Decimal(1)), float)


def test_spelled() -> None:
    assert [spelled(text) for text in ["mg/dl", "mg / dl", "Tsd/µl", "Tsd/\u03bcl", "MG/DL", "Erika"]] == [
        *["mg/dL", "mg/dL", "10*3/uL", "10*3/uL"],
        *[None, None],
    ]
