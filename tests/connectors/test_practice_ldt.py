"""The laboratory feed: recorded reports in, whole outcome out, and what a watched folder may do to it."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import orjson
import pytest

from connectors import conformance, practice_ldt
from connectors.contract import Batch, Cursor, Found, Item, NeedsOperator, Reason, Skipped
from connectors.practice_ldt import SPEC, LdtSettings
from fhir_profiles import check
from fhir_profiles.text import Number
from tests.connectors.practice_ldt.ldt_text import ldt

TestPracticeLdt = conformance.suite(SPEC, Path(__file__).parent / "practice_ldt")

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
OUTSIDE = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "xdt"

PATIENT = """
8145 Patient
8002 Obj_0045
3119 M310119800
8003 Obj_0045
"""
REPORT = """
8000 8205
{patient}
8117 Befundinformationen
8002 Obj_0017
8311 {order}
7305 {report}
8401 {status}
8003 Obj_0017
8135 Laborergebnisbericht
8002 Obj_0035
{results}
8003 Obj_0035
8001 8205
"""
RESULT = """
8160 UE_Klinische_Chemie
8002 Obj_0060
7304 {number}
7364 {vessel}
8410 {code}
8418 06
8420 {value}
8003 Obj_0060
"""


def report(*results: str, order: str = "7", number: str = "7-1", status: str = "2") -> bytes:
    told = REPORT.format(
        patient=PATIENT.strip(), order=order, report=number, status=status, results="\n".join(results).strip()
    )
    return ldt("\n".join(line for line in told.splitlines() if line))


def result(code: str, value: str, vessel: str = "7-01", number: str = "R1") -> str:
    return RESULT.format(code=code, value=value, vessel=vessel, number=number).strip()


def put(folder: Path, name: str, content: bytes, age: timedelta = timedelta(hours=1)) -> None:
    (folder / name).write_bytes(content)
    changed = (NOW - age).timestamp()
    os.utime(folder / name, (changed, changed))


def pull(folder: Path, cursor: Cursor | None = None, **settings: object) -> list[Batch]:
    async def run() -> list[Batch]:
        async with httpx.AsyncClient() as client:
            told = {"folder": folder, "authority_system": "https://labor.example/tests"} | settings
            connector = SPEC.connect(LdtSettings.model_validate(told), client, lambda: NOW)
            await connector.check()
            return [batch async for batch in connector.pull(cursor)]

    return asyncio.run(run())


def items(batches: list[Batch]) -> list[Item]:
    return [item for batch in batches for item in batch.items]


def reasons(batches: list[Batch]) -> list[Reason]:
    return [item.reason for item in items(batches) if isinstance(item, Skipped)]


def ids(batches: list[Batch], kind: str) -> list[str]:
    return [
        item.origin.source_id for item in items(batches) if isinstance(item, Found) and kind in item.origin.source_id
    ]


def values(batches: list[Batch]) -> dict[str, object]:
    """Observation id -> its number, as the last batch has it."""
    found = [item.resource for item in items(batches) if isinstance(item, Found)]
    return {one["id"]: one["valueQuantity"]["value"] for one in found if one["resourceType"] == "Observation"}


def last_cursor(batches: list[Batch]) -> Cursor | None:
    return next((batch.cursor for batch in reversed(batches) if batch.cursor), None)


def test_what_was_read_is_not_read_again_and_what_was_replaced_is(tmp_path: Path) -> None:
    put(tmp_path, "a.ldt", report(result("CRP", "3.0")))
    put(tmp_path, "b.ldt", report(result("CRP", "4.0"), order="8"))
    first = pull(tmp_path)
    put(tmp_path, "b.ldt", report(result("CRP", "5.0"), order="8"))
    second = pull(tmp_path, last_cursor(first))
    assert items(pull(tmp_path, last_cursor(second))) == []
    assert {item.origin.locator.partition(":")[0] for item in items(second)} == {"b.ldt"}


def test_each_file_is_its_own_batch_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.ldt", "a.LDT", "c.ldt"):
        put(tmp_path, name, report(result("CRP", "3.0"), order=name))
    batches = [batch for batch in pull(tmp_path) if batch.items]
    assert [batch.items[0].origin.locator.partition(":")[0] for batch in batches] == ["a.LDT", "b.ldt", "c.ldt"]


def test_the_cursor_is_stored_now_and_then_and_forgets_files_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(practice_ldt, "_CURSOR_EVERY", 2)
    for number in range(5):
        put(tmp_path, f"{number}.ldt", report(result("CRP", "3.0"), order=str(number)))
    batches = pull(tmp_path)
    assert [batch.cursor is not None for batch in batches] == [False, True, False, True, False, True]
    resumed = pull(tmp_path, batches[1].cursor)
    assert {item.origin.locator.partition(":")[0] for item in items(resumed)} == {"2.ldt", "3.ldt", "4.ldt"}
    (tmp_path / "0.ldt").unlink()
    told = last_cursor(pull(tmp_path, last_cursor(batches)))
    assert told is not None
    assert sorted(orjson.loads(told)["read"]) == ["1.ldt", "2.ldt", "3.ldt", "4.ldt"]


def test_a_file_that_is_being_written_waits(tmp_path: Path) -> None:
    whole = report(result("CRP", "3.0"))
    put(tmp_path, "growing.ldt", whole, age=timedelta(seconds=1))
    put(tmp_path, "copying.ldt", whole[:200], age=timedelta(minutes=1))
    first = pull(tmp_path)
    assert items(first) == []
    put(tmp_path, "growing.ldt", whole)
    put(tmp_path, "copying.ldt", whole[:200], age=timedelta(minutes=10))
    assert reasons(pull(tmp_path, last_cursor(first))) == [Reason.TRUNCATED]


def test_a_name_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    put(tmp_path, "outside.ldt", report(result("CRP", "3.0")))
    (folder / "link.ldt").symlink_to(tmp_path / "outside.ldt")
    (folder / "folder.ldt").mkdir()
    os.mkfifo(folder / "pipe.ldt")
    put(folder, ".hidden.ldt", report(result("CRP", "3.0")))
    assert items(pull(folder)) == []


def test_a_file_too_large_is_quarantined_without_being_read_once(tmp_path: Path) -> None:
    put(tmp_path, "large.ldt", report(result("CRP", "3.0")))
    first = pull(tmp_path, max_bytes=100)
    [item] = items(first)
    assert isinstance(item, Skipped)
    assert (item.reason, item.raw) == (Reason.TOO_LARGE, b"")
    assert items(pull(tmp_path, last_cursor(first), max_bytes=100)) == []
    assert reasons(pull(tmp_path, last_cursor(first))) == []
    assert ids(pull(tmp_path, last_cursor(first)), "Observation")


def test_nothing_in_the_folder_is_changed(tmp_path: Path) -> None:
    put(tmp_path, "a.ldt", report(result("CRP", "3.0")))
    put(tmp_path, "b.ldt", b"broken")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    pull(tmp_path)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_the_final_report_of_an_order_renews_the_results_of_the_partial_one(tmp_path: Path) -> None:
    put(tmp_path, "1.ldt", report(result("CRP", "3.0"), status="1"))
    put(tmp_path, "2.ldt", report(result("TSH", "1.2"), result("CRP", "3.5"), number="7-2"))
    batches = pull(tmp_path)
    assert len(set(ids(batches, "DiagnosticReport"))) == 2
    observations = ids(batches, "Observation")
    assert observations[0] == observations[2]
    assert values(batches)[observations[0].removeprefix("Observation/")] == Number("3.5")


def test_equal_tests_from_two_vessels_and_twice_from_one_are_four_results(tmp_path: Path) -> None:
    twice = [result("GLUC", value, vessel) for value, vessel in (("90", "1"), ("140", "2"), ("91", "1"), ("139", "2"))]
    put(tmp_path, "a.ldt", report(*twice))
    assert sorted(values(pull(tmp_path)).values()) == [90, 91, 139, 140]


def test_ids_do_not_depend_on_the_file_name(tmp_path: Path) -> None:
    put(tmp_path, "a.ldt", report(result("CRP", "3.0")))
    first = pull(tmp_path)
    (tmp_path / "a.ldt").rename(tmp_path / "other name.ldt")
    second = pull(tmp_path)
    assert [item.origin.source_id for item in items(first)] == [item.origin.source_id for item in items(second)]


def test_a_folder_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="does not exist") as raised:
        pull(tmp_path / "Schönfeld")
    assert "Schönfeld" not in str(raised.value)


def test_a_folder_that_may_not_be_read_is_the_operators(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NeedsOperator, match="watched folder"):
        pull(tmp_path / "file")


def test_a_folder_with_too_many_files_is_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice_ldt, "_MOST_FILES", 1)
    put(tmp_path, "a.ldt", b"")
    put(tmp_path, "b.ldt", b"")
    with pytest.raises(NeedsOperator, match="archive"):
        pull(tmp_path)


def test_a_code_that_the_operator_maps_later_is_mapped_in_the_reports_that_were_read_before(tmp_path: Path) -> None:
    put(tmp_path, "a.ldt", report(result("CRP", "3.0")))
    read = pull(tmp_path)
    assert items(pull(tmp_path, last_cursor(read))) == []
    (tmp_path / "map.toml").write_text('[[test]]\nlocal = "CRP"\nloinc = "1988-5"\ndisplay = "CRP"\n', "utf-8")
    again = pull(tmp_path, last_cursor(read), loinc_map=tmp_path / "map.toml")
    [observed] = [item for item in items(again) if isinstance(item, Found) and "Observation" in item.origin.source_id]
    assert [coding["code"] for coding in observed.resource["code"]["coding"]] == ["1988-5", "CRP"]
    assert items(pull(tmp_path, last_cursor(again), loinc_map=tmp_path / "map.toml")) == []


@pytest.mark.parametrize(
    "content",
    [b"[[test", b"[[test]]\nlocal = 1\n", b'[[test]]\nlocal = "A"\nloinc = "1-1"\ndisplay = ""\nunti = "g"\n', b"\xff"],
)
def test_a_wrong_map_of_test_codes_is_the_operators(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "map.toml").write_bytes(content)
    with pytest.raises(NeedsOperator, match="loinc_map is wrong"):
        pull(tmp_path, loinc_map=tmp_path / "map.toml")


def test_a_missing_map_of_test_codes_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="loinc_map cannot be read"):
        pull(tmp_path, loinc_map=tmp_path / "map.toml")


@pytest.mark.outside
def test_the_specifications_own_example(tmp_path: Path) -> None:
    examples = sorted(OUTSIDE.glob("kbv-ldt3*/*.ldt"))
    if not examples:
        pytest.skip("the test data from outside is not here")
    for example in examples:
        put(tmp_path, example.name, example.read_bytes())
    batches = pull(tmp_path)
    found = [item for item in items(batches) if isinstance(item, Found)]
    kinds = [item.resource["resourceType"] for item in found]
    assert kinds == [
        "Patient",
        "Organization",
        "Specimen",
        "Observation",
        "Observation",
        "DiagnosticReport",
        "DocumentReference",
    ]
    assert reasons(batches) == []
    assert [check.check(item.resource) for item in found] == [()] * len(found)
    codes = [item.resource["valueQuantity"]["code"] for item in found if item.resource["resourceType"] == "Observation"]
    assert codes == ["mg/dL", "mmol/L"]


@pytest.mark.outside
def test_other_dialects_from_outside_are_quarantined(tmp_path: Path) -> None:
    others = [path for path in sorted(OUTSIDE.glob("*/*.ldt")) if "kbv-ldt3" not in path.parent.name]
    if not others:
        pytest.skip("the test data from outside is not here")
    for path in others:
        put(tmp_path, path.name, path.read_bytes())
    assert reasons(pull(tmp_path)) == [Reason.VERSION, Reason.VERSION, Reason.VERSION, Reason.UNREADABLE]
