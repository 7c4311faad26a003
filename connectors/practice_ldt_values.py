"""The values inside an LDT report: moments, texts, numbers with units, and the tables of practice_ldt.toml.

Decimals are written with a point (LDT 3.2.20, rule on field 8420); what is no such number stays text as it came.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources

from connectors.german_person import day
from connectors.xdt import Field, Group
from fhir_profiles import build
from fhir_profiles.unit_spellings import spelled

_DIMENSIONLESS = "9"  # field 8419

_TABLES: dict[str, dict[str, str]] = tomllib.loads(
    resources.files("connectors").joinpath("practice_ldt.toml").read_text("utf-8")
)
REPORT_STATUS = _TABLES["report_status"]
RESULT_STATUS = _TABLES["result_status"]
INTERPRETATION = _TABLES["interpretation"]
MEDIA_TYPE = _TABLES["media_type"]
UNMAPPED_RESULTS = _TABLES["unmapped_results"]

_NUMBER = re.compile(r"(?P<comparator><=|>=|<|>)?\s*(?P<digits>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)?(?:\d{3})?")
_ZONE = re.compile(r"UTC(?:([+-])(\d{1,2})(?::?([0-5]\d))?)?")
_LARGEST_OFFSET = 14


def moment(timestamp: Group | None) -> str:
    """An Obj_0054 (7278 day, 7279 clock, 7273 zone) as a FHIR dateTime.

    Without a zone the clock cannot be told, so the day alone remains; empty where not even that is there.
    """
    if timestamp is None:
        return ""
    told = day(timestamp.value("7278"))
    clock, offset = _clock(timestamp.value("7279")), _offset(timestamp.value("7273"))
    return f"{told}T{clock}{offset}" if len(told) == len("2026-01-31") and clock and offset else told


def instant(timestamp: Group | None) -> str:
    """The same as a FHIR instant, which is only where day, clock and zone are all known; else empty."""
    told = moment(timestamp)
    return told if "T" in told else ""


def _clock(told: str) -> str:
    found = _CLOCK.fullmatch(told)
    return f"{found[1]}:{found[2]}:{found[3] or '00'}" if found else ""


def _offset(told: str) -> str:
    found = _ZONE.fullmatch(told)
    if found is None or int(found[2] or 0) > _LARGEST_OFFSET:
        return ""
    return f"{found[1] or '+'}{int(found[2] or 0):02}:{found[3] or '00'}"


def paragraphs(texts: list[Group]) -> str:
    """The lines (3564) of Obj_0068 texts, one line each, an empty line between two texts."""
    return "\n\n".join("\n".join(found) for group in texts if (found := group.values("3564")))


def value_of(run: tuple[Field, ...], code: str) -> str:
    """The first content of that field in a run of fields."""
    return next((field.value for field in run if field.code == code), "")


def quantity(run: tuple[Field, ...]) -> tuple[build.Part, str] | None:
    """The run's first field as a FHIR Quantity with the unit (8421) that follows it, and a warning or "".

    None where that field holds no number. A unit without a UCUM code keeps its text alone.
    """
    found = _NUMBER.fullmatch(run[0].value)
    if found is None:
        return None
    unit, dimensionless = value_of(run, "8421"), value_of(run, "8419") == _DIMENSIONLESS
    code = spelled(unit) or "" if unit else "1" if dimensionless else ""
    made = build.quantity(found["digits"], unit, code=code, comparator=found["comparator"] or "")
    return made, "" if code or not unit else "a unit has no UCUM code in unit_spellings.toml: it is kept as its text"
