"""The demo's sources: what goes wrong on purpose does, once, and the folders look as a practice left them."""

from __future__ import annotations

from pathlib import Path

import httpx

from aggregator.demo.sources import Sources
from aggregator.demo.story import broken_lab_report, people, practices, stranger_lab_report
from tests.demo.demo_runs import NIGHT


def test_a_page_of_the_clinic_answers_503_once(tmp_path: Path) -> None:
    sources, person = Sources.load(tmp_path, lambda: NIGHT), people()[0]
    sources.clinic.access.allow("token", person.clinic_id)
    with sources.serving() as rows, httpx.Client(trust_env=False) as client:
        url = f"{rows[0].settings['base_url']}/Condition?patient={person.clinic_id}"
        answers = [client.get(url, headers={"Authorization": "Bearer token"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert answers[0].headers["Retry-After"] == "0"


def test_each_source_has_its_row_and_no_name_tells_an_address(tmp_path: Path) -> None:
    with Sources.load(tmp_path, lambda: NIGHT).serving() as rows:
        assert [(row.authority, row.connector) for row in rows] == [
            ("klinik-nord", "clinic_fhir"),
            ("nordlicht", "insurer_fhir"),
            ("hausarzt-linden-labor", "practice_ldt"),
            ("hausarzt-linden-plan", "practice_medication_plan"),
            ("facharzt-hafen-labor", "practice_ldt"),
            ("facharzt-hafen-plan", "practice_medication_plan"),
        ]


def test_the_first_practice_holds_the_broken_report_and_the_strangers(tmp_path: Path) -> None:
    sources = Sources.load(tmp_path, lambda: NIGHT)
    wrong = {broken_lab_report()[0], stranger_lab_report()[0]}
    held = [{file.name for file in sources.laboratory_folder(one).iterdir()} for one in practices()]
    assert wrong <= held[0]
    assert wrong.isdisjoint(held[1])


def test_a_file_is_as_old_as_what_it_reports(tmp_path: Path) -> None:
    """A file of the last seconds would count as one that is still being written."""
    Sources.load(tmp_path, lambda: NIGHT)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 20
    assert all(file.stat().st_mtime < NIGHT.timestamp() - 86400 for file in files)
