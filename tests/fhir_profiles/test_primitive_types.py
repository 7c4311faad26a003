"""What is and is not a value of each primitive type: https://hl7.org/fhir/R4/datatypes.html#primitive."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.primitives import ACCEPTS, MAX_STRING, fault
from fhir_profiles.structure import PRIMITIVES
from fhir_profiles.text import Number

GOOD: dict[str, list[Any]] = {
    "base64Binary": ["QQ==", "QUJD", "QU JD\nQQ==", "+/+/"],
    "boolean": [True, False],
    "canonical": ["http://example.org/a|1.0", "#a"],
    "code": ["a", "a b", "entered-in-error", "4.0.1"],
    "date": ["2024", "2024-02", "2024-02-29", "0001-01-01", "9999-12-31"],
    "dateTime": [
        "2024",
        "2024-02",
        "2024-02-29",
        "2024-02-29T23:59:60Z",
        "2024-02-29T10:00:00.123456789+14:00",
        "2024-02-29T00:00:00-13:59",
    ],
    "decimal": [0, -7, Number("7.20"), Number("-0.0"), Number("1e-7"), Number("1234567890123456789012345")],
    "id": ["a", "A-1.b", "x" * 64],
    "instant": ["2024-02-29T10:00:00Z", "2024-02-29T10:00:00.1+01:00"],
    "integer": [0, 2_147_483_647, -2_147_483_648],
    "markdown": ["# a\n\n* b"],
    "oid": ["urn:oid:1.2.276.0.76.4.8", "urn:oid:2.999.0"],
    "positiveInt": [1, 2_147_483_647],
    "string": ["a", " ", "Grüße\r\n\t\u00a0x", "\U0001f600", "x" * MAX_STRING],
    "time": ["00:00:00", "23:59:60", "10:00:00.5"],
    "unsignedInt": [0, 5],
    "uri": ["http://example.org/ä", "urn:oid:1.2", "a"],
    "url": ["https://example.org"],
    "uuid": ["urn:uuid:0dc5c0f8-5b54-4d52-8b65-6d7b3b4b4d9c"],
}

BAD: dict[str, list[Any]] = {
    "base64Binary": ["", "Q", "QQ", "QQ=", "QQ==QQ==", "Q-_Q", 1],
    "boolean": ["true", 0, None],
    "canonical": ["", "a b", "\x00", 1],
    "code": ["", " a", "a ", "a  b", "a\tb", "a\x01", 1, None],
    "date": ["0000", "2024-13", "2024-2-1", "2024-02-30", "2023-02-29", "20240201", "2024-02-01T00:00:00Z", "24", 2024],
    "dateTime": [
        "2024-02-01T10:00:00",
        "2024-02-01T10:00Z",
        "2024-02-01T24:00:00Z",
        "2024-02-01T10:60:00Z",
        "2024-02-01T10:00:00+14:01",
        "2024-02-01T10:00:00.Z",
        "2024-02-01 10:00:00Z",
        "2023-02-29T10:00:00Z",
        "2024-02T10:00:00Z",
        "٢٠٢٤",
    ],
    "decimal": ["7.2", True, None, Number("1" * 65), Number("1e1000"), Number("1e-1000"), 7.2],
    "id": ["", "a_b", "x" * 65, "ä", "a/b", 1],
    "instant": ["2024-02-29", "2024-02-29T10:00:00", "2024-02-30T10:00:00Z"],
    "integer": [2_147_483_648, -2_147_483_649, Number("1.0"), Number("1e3"), True, "1"],
    "markdown": ["", 1],
    "oid": ["1.2.3", "urn:oid:3.1", "urn:oid:1.02", "urn:oid:1"],
    "positiveInt": [0, -1],
    "string": ["", "a\x00", "\x1f", "x" * (MAX_STRING + 1), 1, None, ["a"]],
    "time": ["24:00:00", "10:00", "10:00:00Z", "1:00:00"],
    "unsignedInt": [-1],
    "uri": ["", "a b", "\u00a0"],
    "url": [" https://example.org"],
    "uuid": ["0dc5c0f8-5b54-4d52-8b65-6d7b3b4b4d9c", "urn:uuid:0DC5C0F8-5b54-4d52-8b65-6d7b3b4b4d9c"],
}


def cases(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(kind, value) for kind, values in table.items() for value in values]


def test_every_primitive_type_has_its_rule_and_its_cases() -> None:
    assert ACCEPTS.keys() | {"xhtml"} == PRIMITIVES
    assert GOOD.keys() == BAD.keys() == ACCEPTS.keys()


@pytest.mark.parametrize(("kind", "value"), cases(GOOD), ids=lambda value: repr(value)[:40])
def test_accepted(kind: str, value: Any) -> None:
    assert ACCEPTS[kind](value)


@pytest.mark.parametrize(("kind", "value"), cases(BAD), ids=lambda value: repr(value)[:40])
def test_refused(kind: str, value: Any) -> None:
    assert not ACCEPTS[kind](value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "", ("value", "is empty")),
        ("string", "x" * (MAX_STRING + 1), ("too-long", "is longer than 1048576 characters")),
        ("date", "2024-02-30", ("value", "is not a valid date")),
        ("decimal", "7.2", ("structure", "expects a JSON number, found string")),
        ("boolean", 1, ("structure", "expects a JSON boolean, found number")),
        ("string", {}, ("structure", "expects a JSON string, found object")),
        ("string", None, ("structure", "expects a JSON string, found null")),
        ("integer", Number("1.0"), ("value", "is not a valid integer")),
    ],
    ids=repr,
)
def test_the_fault_is_named(kind: str, value: Any, expected: tuple[str, str]) -> None:
    assert fault(kind, value) == expected
