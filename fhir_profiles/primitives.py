"""The primitive types of FHIR R4: which JSON value is a date, an id, a decimal (https://hl7.org/fhir/R4/datatypes.html).

`ACCEPTS` says quickly that a value is right; whoever needs to know what is wrong asks `fault`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from fhir_profiles.text import Number

MAX_STRING = 1024 * 1024  # characters; the specification's limit for string and what builds on it
_MAX_DIGITS = 64  # of a decimal: far beyond the 18 that the specification asks readers to keep
_MAX_EXPONENT = 999  # beyond it a short text makes a number that fills the memory

_YEAR = r"(?!0000)[0-9]{4}"
_DAY = rf"{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"

_date_text = re.compile(rf"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?|{_DAY}").fullmatch
_date_time_text = re.compile(rf"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?|{_DAY}(?:T{_CLOCK}{_ZONE})?").fullmatch
_instant_text = re.compile(rf"{_DAY}T{_CLOCK}{_ZONE}").fullmatch
_time_text = re.compile(_CLOCK).fullmatch
_INK = r"[^\s\x00-\x1f]+"
_code_text = re.compile(rf"{_INK}(?: {_INK})*").fullmatch
_uri_text = re.compile(_INK).fullmatch
_id_text = re.compile(r"[A-Za-z0-9.-]{1,64}").fullmatch
_oid_text = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+").fullmatch
_uuid_text = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]").search
_decimal_text = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]+))?").fullmatch
_space = re.compile(r"[ \t\r\n]+")

Accepts = Callable[[Any], bool]


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def _string(value: Any) -> bool:
    # The first test settles nearly every string; line breaks and no-break spaces come to the second.
    if type(value) is not str or not 0 < len(value) <= MAX_STRING:
        return False
    return value.isprintable() or not _control(value)


def _text(pattern: Callable[[str], object]) -> Accepts:
    def accepts(value: Any) -> bool:
        return type(value) is str and pattern(value) is not None and len(value) <= MAX_STRING

    return accepts


def _dated(pattern: Callable[[str], object]) -> Accepts:
    def accepts(value: Any) -> bool:
        return type(value) is str and pattern(value) is not None and (len(value) < 10 or _is_day(value))

    return accepts


def _integer(least: int) -> Accepts:
    def accepts(value: Any) -> bool:
        return type(value) is int and least <= value <= 2_147_483_647

    return accepts


def _boolean(value: Any) -> bool:
    return value is True or value is False


def _decimal(value: Any) -> bool:
    if type(value) is int:
        return True
    if type(value) is not Number or len(value.text) > _MAX_DIGITS:
        return False
    match = _decimal_text(value.text)
    return match is not None and abs(int(match["exponent"] or 0)) <= _MAX_EXPONENT


def _base64(value: Any) -> bool:
    if type(value) is not str or not value:
        return False
    try:
        binascii.a2b_base64(_space.sub("", value), strict_mode=True)
    except ValueError:
        return False
    return True


ACCEPTS: dict[str, Accepts] = {
    "base64Binary": _base64,
    "boolean": _boolean,
    "canonical": _text(_uri_text),
    "code": _text(_code_text),
    "date": _dated(_date_text),
    "dateTime": _dated(_date_time_text),
    "decimal": _decimal,
    "id": _text(_id_text),
    "instant": _dated(_instant_text),
    "integer": _integer(-2_147_483_648),
    "markdown": _string,
    "oid": _text(_oid_text),
    "positiveInt": _integer(1),
    "string": _string,
    "time": _text(_time_text),
    "unsignedInt": _integer(0),
    "uri": _text(_uri_text),
    "url": _text(_uri_text),
    "uuid": _text(_uuid_text),
}

_NUMBERS = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})


def fault(kind: str, value: Any) -> tuple[str, str]:
    """(IssueType, sentence) for a value that ACCEPTS[kind] refused. The sentence does not quote it."""
    expected, found = _json_type(kind), _found(value)
    if expected != found:
        return "structure", f"expects a JSON {expected}, found {found}"
    if found == "string" and not value:
        return "value", "is empty"
    if found == "string" and kind != "base64Binary" and len(value) > MAX_STRING:
        return "too-long", f"is longer than {MAX_STRING} characters"
    return "value", f"is not a valid {kind}"


def _json_type(kind: str) -> str:
    if kind == "boolean":
        return "boolean"
    return "number" if kind in _NUMBERS else "string"


def _found(value: Any) -> str:
    """What JSON calls this value."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", Number: "number"}
    return names.get(type(value), "null")
