"""A practice's medication plans for a person as BMP 2.8 XML (the federal medication plan, SGB V section 31a).

One file a page, `<patient number>_<date>_<page>.xml`, in ISO-8859-1 without a declaration, as the DataMatrix on paper
carries it. Pages of one plan share its id `U`. A line in the data reads `section | drug | schedule | reason | hint`;
the schedule is `1-0-1-0` or free text, a drug is a word of terms.toml.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Any

from lxml import etree

from aggregator.demo.story_people import Person, Practice, facts, term

Row = Mapping[str, Any]

_CHARSET = "iso-8859-1"
_GENDER = MappingProxyType({"female": "W", "male": "M"})
_TIMES = ("m", "d", "v", "h")
_UNITS = MappingProxyType({"Stück": "1", "IE": "p"})  # key table S_BMP_DOSIEREINHEIT


def medication_plans(person: Person, practice: Practice) -> list[tuple[str, bytes]]:
    """(file name, content) of the person's plans in that practice's folder, oldest first, a page each."""
    return [page for row in facts(person.id, practice.id)["plan"] for page in _pages(person, practice, row)]


def _pages(person: Person, practice: Practice, row: Row) -> list[tuple[str, bytes]]:
    pages = row["pages"]
    stem = f"{person.patient_numbers[practice.id]}_{row['at'][:10]}"
    return [
        (f"{stem}_{number}.xml", _xml(person, practice, row, number, lines))
        for number, lines in enumerate(pages, start=1)
    ]


def _xml(person: Person, practice: Practice, row: Row, number: int, lines: list[str]) -> bytes:
    paged = {"a": str(number), "z": str(len(row["pages"]))} if len(row["pages"]) > 1 else {}
    plan = etree.Element("MP", {"v": "028", "U": _plan_id(person, practice, row), **paged, "l": "de-DE"})
    etree.SubElement(plan, "P", _person(person))
    etree.SubElement(plan, "A", _author(practice, row))
    if "observed" in row:
        etree.SubElement(plan, "O", dict(row["observed"]))
    for section, group in groupby((_fields(line) for line in lines), key=lambda fields: fields[0]):
        _section(plan, section, [fields[1:] for fields in group])
    return etree.tostring(plan, encoding="unicode").encode(_CHARSET)


def _plan_id(person: Person, practice: Practice, row: Row) -> str:
    named = f"{person.kvnr} {practice.bsnr} {row['at']}"
    return hashlib.sha256(named.encode()).hexdigest()[:32].upper()


def _person(person: Person) -> dict[str, str]:
    born = f"{person.birth_date:%Y%m%d}"
    return {"g": person.given, "f": person.family, "egk": person.kvnr, "b": born, "s": _GENDER[person.gender]}


def _author(practice: Practice, row: Row) -> dict[str, str]:
    return {
        "lanr": practice.lanr,
        "n": practice.name,
        "s": practice.street,
        "z": practice.postal_code,
        "c": practice.city,
        "p": practice.phone,
        "t": row["at"],
    }


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split("|")]


def _section(plan: etree._Element, section: str, lines: list[list[str]]) -> None:
    opened = etree.SubElement(plan, "S", {"c": section})
    for fields in lines:
        drug, schedule, reason, hint = [*fields, "", ""][:4]
        row = term("drug", drug)
        told = {"i": hint} if hint else {}
        known = {"p": row["pzn"], "a": row["name"], "f": row["form"]}
        taken = etree.SubElement(opened, "M", {**known, **_schedule(schedule, row), **told, "r": reason})
        etree.SubElement(taken, "W", {"w": row["substance"], "s": row["strength"]})


def _schedule(schedule: str, row: Row) -> dict[str, str]:
    amounts = schedule.split("-")
    if len(amounts) != len(_TIMES):
        return {"t": schedule}
    taken = {time: amount for time, amount in zip(_TIMES, amounts, strict=True) if amount != "0"}
    return {**taken, "du": _UNITS[row.get("unit", "Stück")]}
