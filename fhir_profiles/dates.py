"""FHIR dates as the stretches of time they mean: 2026-11 is a month, 2026-11-20T10:15 a minute.

https://hl7.org/fhir/R4/search.html#date. A stretch is (low, high) in milliseconds since 1970 UTC, high excluded. What
carries no zone is taken in the zone of the sources this service is made for, in the index and in the query alike.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")  # to change it is to raise the index version
EVER = (-(2**53), 2**53)  # wider than the years 1 to 9999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DATE_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


def stretch(text: str) -> tuple[int, int] | None:
    """The stretch of a FHIR date, dateTime or instant; None for what is none.

    Deliberately without a memory: one would keep dates of a record beyond the view that holds it.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return _stretch(match)
    except (ValueError, OverflowError):  # no such day, or a year that datetime does not reach
        return None


def _stretch(match: re.Match[str]) -> tuple[int, int]:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    first = date(int(year), int(month or 1), int(day or 1))
    if hour is None:
        return _midnight(first), _end(first, month, day)
    clock = time(int(hour), int(minute), int(second or 0), tzinfo=_zone(zone))
    low = _millis(datetime.combine(first, clock)) + int((fraction or "0")[:3].ljust(3, "0"))
    return low, low + (60_000 if second is None else 1000 if fraction is None else 1)


def _end(first: date, month: str | None, day: str | None) -> int:
    try:
        return _midnight(_following(first, month, day))
    except (ValueError, OverflowError):  # 9999-12-31, which many write for "without end"
        return EVER[1]


def _following(first: date, month: str | None, day: str | None) -> date:
    """The first day after the year, the month or the day."""
    if month is None:
        return date(first.year + 1, 1, 1)
    if day is None:
        return date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return first + timedelta(days=1)


@lru_cache(maxsize=64)
def _zone(text: str | None) -> tzinfo:
    if text is None:
        return ZONE
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def _midnight(day: date) -> int:
    return _millis(datetime.combine(day, time(tzinfo=ZONE)))


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
