"""The practices' files: right to the byte, and taken whole by the connectors that read such folders."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from aggregator.demo.story import (
    LOINC_MAP,
    Person,
    Practice,
    broken_lab_report,
    expected,
    lab_reports,
    medication_plans,
    people,
    practices,
    stranger_lab_report,
)
from aggregator.demo.story_pdf import pdf
from connectors import practice_ldt, practice_medication_plan
from connectors.contract import Connector, Found, Identifier, Item, Skipped
from fhir_profiles.check import check
from fhir_profiles.codes import KVNR

GOLDEN = Path(__file__).parent / "story"
NOW = datetime(2026, 11, 21, 3, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
EACH_FOLDER = pytest.mark.parametrize("practice", practices(), ids=lambda practice: practice.id)
File = tuple[str, bytes]


def all_reports() -> list[File]:
    own = [report for person in people() for practice in practices() for report in lab_reports(person, practice)]
    return [*own, stranger_lab_report()]


def all_plans() -> list[File]:
    return [plan for person in people() for practice in practices() for plan in medication_plans(person, practice)]


def checksum_of(report: bytes) -> tuple[str, str]:
    """The checksum in a report, and the one it should be."""
    before, told = re.fullmatch(rb"(.*\r\n)0499300([0-9a-f]{40})\r\n01380018221\r\n", report, re.DOTALL).groups()  # type: ignore[union-attr]  # no match fails the test
    return told.decode(), hashlib.sha1(before, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("name", "report"), [*all_reports(), broken_lab_report()], ids=lambda value: str(value)[:12])
def test_every_line_says_its_length(name: str, report: bytes) -> None:
    lines = report.split(b"\r\n")
    assert name.endswith(".ldt")
    assert lines.pop() == b""
    assert [int(line[:3]) for line in lines] == [len(line) + 2 for line in lines]
    assert max(map(len, lines)) <= 990 + 7


def test_every_checksum_is_right_but_the_broken_one() -> None:
    assert all(told == right for told, right in (checksum_of(report) for _, report in all_reports()))
    told, right = checksum_of(broken_lab_report()[1])
    assert told != right


def test_objects_close_in_the_order_they_opened() -> None:
    for _, report in all_reports():
        opened: list[bytes] = []
        for line in report.split(b"\r\n"):
            if line[3:7] in (b"8000", b"8002"):
                opened.append(line[7:])
            if line[3:7] in (b"8001", b"8003"):
                assert opened.pop() == line[7:]
        assert opened == []


@EACH_FOLDER
def test_no_two_files_of_a_folder_share_a_name(practice: Practice) -> None:
    reports = [name for person in people() for name, _ in lab_reports(person, practice)]
    plans = [name for person in people() for name, _ in medication_plans(person, practice)]
    reports += [broken_lab_report()[0], stranger_lab_report()[0]]
    assert len(set(reports)) == len(reports)
    assert len(set(plans)) == len(plans)


def test_one_report_whole() -> None:
    (report,) = [content for name, content in lab_reports(people()[2], practices()[0]) if name == "21101210.ldt"]
    assert report == (GOLDEN / "21101210.ldt").read_bytes()


def test_one_plan_of_two_pages_whole() -> None:
    pages = [(name, page) for name, page in medication_plans(people()[0], practices()[0]) if "2023" in name]
    assert [name for name, _ in pages] == ["10427_2023-03-28_1.xml", "10427_2023-03-28_2.xml"]
    assert [page for _, page in pages] == [(GOLDEN / name).read_bytes() for name, _ in pages]


def test_the_pages_of_a_plan_share_its_id_and_no_other_plan_does() -> None:
    ids: dict[str, set[str]] = {}
    for name, page in all_plans():
        plan = etree.fromstring(page, etree.XMLParser(encoding="iso-8859-1", resolve_entities=False))
        ids.setdefault(str(plan.get("U")), set()).add(name.rpartition("_")[0])
    assert all(re.fullmatch("[0-9A-F]{32}", plan_id) for plan_id in ids)
    assert all(len(stems) == 1 for stems in ids.values())


@given(st.lists(st.text("äöüß()\\ abc123", max_size=20), max_size=5))
def test_a_pdf_says_truly_where_its_objects_lie(lines: list[str]) -> None:
    page = pdf(lines)
    start = int(page.rsplit(b"startxref\n", 1)[1].split()[0])
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n ", page[start:])]
    assert page[start:].startswith(b"xref\n0 6\n")
    assert [page[at : at + 7] for at in offsets] == [b"%d 0 obj" % number for number in range(1, 6)]


def laid(folder: Path, files: list[File]) -> Path:
    """The files in a folder, as old as if nobody were still writing them."""
    for name, content in files:
        (folder / name).write_bytes(content)
        os.utime(folder / name, (NOW.timestamp() - 3600,) * 2)
    return folder


def pulled(connector: Connector) -> list[Item]:
    async def run() -> list[Item]:
        await connector.check()
        return [item async for batch in connector.pull(None) for item in batch.items]

    return asyncio.run(run())


def laboratory(folder: Path) -> Connector:
    settings = {"folder": folder, "authority_system": "https://labor.example/test", "loinc_map": LOINC_MAP}
    return practice_ldt.SPEC.connect(practice_ldt.SPEC.config(**settings), httpx.AsyncClient(), lambda: NOW)


def plans(folder: Path, person: Person, practice: Practice) -> Connector:
    config = practice_medication_plan.SPEC.config(folder=folder, patient_number=person.patient_numbers[practice.id])
    return practice_medication_plan.SPEC.connect(config, httpx.AsyncClient(), lambda: NOW)


def sound(items: list[Item]) -> set[tuple[str, str]]:
    """(insurance number or "", source id) of what was found; proves that it passes the check without a warning."""
    found = [item for item in items if isinstance(item, Found)]
    assert [item.warnings for item in found if item.warnings] == []
    assert [issue for item in found for issue in check(item.resource) if issue.severity == "error"] == []
    return {(whose(item), item.origin.source_id) for item in found}


def whose(item: Found) -> str:
    known = item.subject.identifiers if item.subject else ()
    return next((each.value for each in known if each == Identifier(KVNR, each.value)), "")


@EACH_FOLDER
def test_the_laboratory_connector_takes_what_is_expected(practice: Practice, tmp_path: Path) -> None:
    reports = [report for person in people() for report in lab_reports(person, practice)]
    items = pulled(laboratory(laid(tmp_path, reports)))
    counts = Counter(kvnr for kvnr, _ in sound(items))
    assert len(items) >= len(reports)
    assert counts == {person.kvnr: expected(person)[f"{practice.id}/laboratory"] for person in people()}


def test_the_laboratory_connector_refuses_the_broken_report_and_knows_the_stranger(tmp_path: Path) -> None:
    items = pulled(laboratory(laid(tmp_path, [broken_lab_report(), stranger_lab_report()])))
    assert [item.reason for item in items if isinstance(item, Skipped)] == ["checksum"]
    assert {kvnr for kvnr, _ in sound(items)} == {"K571138400"}


@EACH_FOLDER
@pytest.mark.parametrize("person", people(), ids=lambda person: person.id)
def test_the_plan_connector_takes_what_is_expected(person: Person, practice: Practice, tmp_path: Path) -> None:
    files = [plan for other in people() for plan in medication_plans(other, practice)]
    items = pulled(plans(laid(tmp_path, files), person, practice))
    assert len(sound(items)) == len(items) == expected(person)[f"{practice.id}/plans"]
