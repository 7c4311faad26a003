"""What a FHIR date means, in milliseconds, in a zone that is not UTC."""

from __future__ import annotations

from datetime import datetime

import pytest

from fhir_profiles.dates import EVER, stretch

MEANINGS = {
    "2026": ("2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
    "2026-12": ("2026-12-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
    "2026-06": ("2026-06-01T00:00:00+02:00", "2026-07-01T00:00:00+02:00"),
    "2026-11-20": ("2026-11-20T00:00:00+01:00", "2026-11-21T00:00:00+01:00"),
    "2026-03-29": ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
    "2024-02-29": ("2024-02-29T00:00:00+01:00", "2024-03-01T00:00:00+01:00"),
    "2026-11-20T10:15": ("2026-11-20T10:15:00+01:00", "2026-11-20T10:16:00+01:00"),
    "2026-11-20T10:15:30Z": ("2026-11-20T10:15:30+00:00", "2026-11-20T10:15:31+00:00"),
    "2026-11-20T10:15:30-05:30": ("2026-11-20T15:45:30+00:00", "2026-11-20T15:45:31+00:00"),
    "2026-11-20T10:15:30.25+01:00": ("2026-11-20T10:15:30.250+01:00", "2026-11-20T10:15:30.251+01:00"),
    "2026-11-20T10:15:30.123456789+01:00": ("2026-11-20T10:15:30.123+01:00", "2026-11-20T10:15:30.124+01:00"),
}

NO_DATES = [
    *("", "20261120", "2026-13", "2026-02-30", "2026-1-1", "2026-11-20T", "2026-11-20T10", "2026-11-20T25:00"),
    *("2026-11-20 10:15", "2026-11-20T10:15:30+0100", "0000", "26", "2026-11-20T10:15:61", "٢٠٢٦", "today", "2026\n"),
]


def millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize("text", MEANINGS)
def test_a_date_is_as_long_as_its_precision(text: str) -> None:
    low, high = MEANINGS[text]
    assert stretch(text) == (millis(low), millis(high))


@pytest.mark.parametrize("text", ["9999", "9999-12", "9999-12-31"])
def test_the_last_day_has_no_end(text: str) -> None:
    found = stretch(text)
    assert found is not None
    assert found[0] < found[1] == EVER[1]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_has_no_stretch(text: str) -> None:
    assert stretch(text) is None
