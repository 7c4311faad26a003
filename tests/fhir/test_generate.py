"""The script that compiles R4's search parameters, on definitions of our own."""

from __future__ import annotations

from typing import Any

from aggregator.fhir.generate import lines

URL = "http://e/SearchParameter/"


def definition(code: str, kind: str, expression: str, *base: str, **more: Any) -> dict[str, Any]:
    return {"url": URL + code, "code": code, "type": kind, "expression": expression, "base": [*base], **more}


DEFINITIONS = [
    definition("name", "string", "Aa.name | (Bb.title as string)", "Aa", "Bb"),
    definition("date", "date", "Aa.date", "Aa"),
    definition("by", "reference", "Aa.by.where(resolve() is Cc)", "Aa", target=["Cc", "Bb"]),
    definition("any", "reference", "any", "Aa", target=[f"T{number}" for number in range(150)]),
    definition(
        "both",
        "composite",
        "Aa",
        "Aa",
        component=[
            {"definition": URL + "name", "expression": "name"},
            {"definition": URL + "date", "expression": "x.as(DateTime)"},
        ],
    ),
    {"url": URL + "_text", "code": "_text", "type": "string", "base": ["Aa"]},
]


def test_a_line_for_each_type_with_its_part_of_the_expression() -> None:
    assert list(lines(DEFINITIONS)) == [
        "Aa\tname\tstring\tAa.name",
        "Bb\tname\tstring\t(Bb.title as string)",
        "Aa\tdate\tdate\tAa.date",
        "Aa\tby\treference\tAa.by.where(resolve() is Cc)\tBb Cc",
        "Aa\tany\treference\tany",
        "Aa\tboth\tcomposite\tAa\tname=name $ date=x.as(dateTime)",
    ]
