"""The medication plan: recorded plans in, whole outcome out, and what happens from one plan to the next."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import conformance
from connectors.contract import Batch, Cursor, Found, NeedsOperator, Reason, Skipped
from connectors.practice_medication_plan import SPEC, MedicationPlanSettings
from connectors.practice_medication_plan_atc import AtcMap
from connectors.practice_medication_plan_dosage import statement
from connectors.practice_medication_plan_page import Entry
from fhir_profiles import check, text
from fhir_profiles.codes import ATC, PZN
from fhir_profiles.text import Resource

TestPracticeMedicationPlan = conformance.suite(SPEC, Path(__file__).parent / "practice_medication_plan")

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
NO_MAP = AtcMap({})
OUTSIDE = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "bmp"


def plan(
    medications: str,
    *,
    printed: str = "2026-03-01T12:00:00",
    plan_id: str = "A1",
    pages: str = "",
    section: str = "412",
) -> bytes:
    told = (
        f'<MP v="028" U="{plan_id}"{pages} l="de-DE"><P g="Jörg" f="Grünwald" b="19520229"/>'
        f'<A n="Praxis Brömmel" t="{printed}"/><S c="{section}">{medications}</S></MP>'
    )
    return told.encode("iso-8859-1")


def put(folder: Path, name: str, content: bytes, age: timedelta = timedelta(hours=1)) -> None:
    (folder / name).write_bytes(content)
    changed = (NOW - age).timestamp()
    os.utime(folder / name, (changed, changed))


def pull(
    folder: Path, cursor: Cursor | None = None, now: datetime = NOW, number: str = "7", atc_map: Path | None = None
) -> list[Batch]:
    async def run() -> list[Batch]:
        async with httpx.AsyncClient() as client:
            settings = MedicationPlanSettings(folder=folder, patient_number=number, atc_map=atc_map)
            connector = SPEC.connect(settings, client, lambda: now)
            await connector.check()
            return [batch async for batch in connector.pull(cursor)]

    return asyncio.run(run())


def statements(batch: Batch) -> dict[str, Resource]:
    found = [item.resource for item in batch.items if isinstance(item, Found)]
    return {one["id"]: one for one in found if one["resourceType"] == "MedicationStatement"}


def texts(batch: Batch) -> list[str]:
    return [one["dosage"][0]["text"] for one in statements(batch).values()]


def reasons(batch: Batch) -> list[Reason]:
    return [item.reason for item in batch.items if isinstance(item, Skipped)]


def test_a_changed_dose_or_section_updates_the_statement_and_what_is_dropped_is_no_longer_listed(
    tmp_path: Path,
) -> None:
    put(tmp_path, "7_1.xml", plan('<M p="811744" m="1" du="1"/><M a="Ramipril" f="TAB" m="1" du="1"/>'))
    [before] = pull(tmp_path)
    newer = plan('<M p="811744" m="2" du="1"/>', printed="2026-03-02T12:00:00", plan_id="B2", section="424")
    put(tmp_path, "7_2.xml", newer)
    [after] = pull(tmp_path, before.cursor)
    kept, dropped = statements(before)
    assert texts(after) == ["morgens: 2 Stück"]
    assert list(statements(after)) == [kept]
    assert before.listed is not None
    assert after.listed is not None
    assert before.listed - after.listed == {f"MedicationStatement/{dropped}"}


def test_the_same_name_with_another_strength_is_another_statement(tmp_path: Path) -> None:
    put(tmp_path, "7_1.xml", plan('<M a="Ramipril" m="1"><W w="Ramipril" s="5 mg"/></M>'))
    [before] = pull(tmp_path)
    put(tmp_path, "7_1.xml", plan('<M a="Ramipril" m="1"><W w="Ramipril" s="10 mg"/></M>'))
    [after] = pull(tmp_path)
    assert statements(before).keys().isdisjoint(statements(after))


def test_the_order_of_the_files_does_not_decide_which_plan_is_in_force(tmp_path: Path) -> None:
    put(tmp_path, "7_a.xml", plan('<M a="Neu" m="1"/>', printed="2026-03-02T12:00:00", plan_id="B"))
    put(tmp_path, "7_z.xml", plan('<M a="Alt" m="2"/>', printed="2025-03-02T12:00:00", plan_id="A"))
    [batch] = pull(tmp_path)
    assert texts(batch) == ["morgens: 1"]


def test_nothing_reads_active(tmp_path: Path) -> None:
    put(tmp_path, "7_1.xml", plan('<M a="Eins" m="1"/><R t="Salbe"/>'))
    [batch] = pull(tmp_path)
    assert {one["status"] for one in statements(batch).values()} == {"unknown"}


def test_a_missing_page_is_waited_for_and_quarantined_in_the_end(tmp_path: Path) -> None:
    put(tmp_path, "7_1.xml", plan('<M a="Eins" m="1"/>', pages=' a="1" z="2"'))
    [first] = pull(tmp_path)
    [waiting] = pull(tmp_path, first.cursor, NOW + timedelta(hours=71, minutes=59))
    [late] = pull(tmp_path, waiting.cursor, NOW + timedelta(hours=72))
    assert (first.items, waiting.items, first.listed, late.listed) == ((), (), None, None)
    assert reasons(late) == [Reason.PAGE_MISSING]
    put(tmp_path, "7_2.xml", plan('<M a="Zwei" m="2"/>', pages=' a="2" z="2"'))
    [whole] = pull(tmp_path, late.cursor, NOW + timedelta(hours=73))
    assert texts(whole) == ["morgens: 1", "morgens: 2"]
    assert reasons(whole) == []
    assert whole.cursor == '{"waiting":{}}'


def test_a_file_that_is_being_written_holds_everything_back(tmp_path: Path) -> None:
    put(tmp_path, "7_old.xml", plan('<M a="Alt" m="1"/>'))
    put(tmp_path, "7_new.xml", b"<MP", age=timedelta(seconds=1))
    assert pull(tmp_path) == []


def test_an_emptied_folder_takes_nothing_back(tmp_path: Path) -> None:
    [batch] = pull(tmp_path)
    assert (batch.items, batch.listed) == ((), None)


def test_a_number_that_begins_another_does_not_find_its_files(tmp_path: Path) -> None:
    put(tmp_path, "77_1.xml", plan('<M a="Fremd" m="1"/>'))
    put(tmp_path, "7.xml", plan('<M a="Fremd" m="1"/>'))
    [batch] = pull(tmp_path)
    assert batch.items == ()


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    put(tmp_path, "outside.xml", plan('<M a="Fremd" m="1"/>'))
    (folder / "7_link.xml").symlink_to(tmp_path / "outside.xml")
    [batch] = pull(folder)
    assert batch.items == ()


def test_a_file_too_large_for_a_plan_is_quarantined(tmp_path: Path) -> None:
    put(tmp_path, "7_1.xml", plan('<M a="Eins" m="1"/>') + b" " * 1_000_000)
    [batch] = pull(tmp_path)
    assert reasons(batch) == [Reason.TOO_LARGE]


@pytest.mark.parametrize("number", ["", "7_8", "../7", "a b", "7" * 65])
def test_a_patient_number_that_is_no_plain_name_is_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        MedicationPlanSettings(folder=Path("plans"), patient_number=number)


def test_a_folder_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="does not exist"):
        pull(tmp_path / "nowhere")


def test_a_package_that_the_operator_names_has_its_atc_code_from_then_on(tmp_path: Path) -> None:
    put(tmp_path, "7_1.xml", plan('<M p="811744" m="1"><W w="Sertralin" s="50 mg"/></M><M p="4711" m="1"/>'))
    [before] = pull(tmp_path)
    table = tmp_path / "atc.toml"
    table.write_text('[[product]]\npzn = "811744"\natc = "N06AB06"\ndisplay = "Sertralin"\n', "utf-8")
    [after] = pull(tmp_path, before.cursor, atc_map=table)
    package, atc = {"system": PZN, "code": "00811744"}, {"system": ATC, "code": "N06AB06", "display": "Sertralin"}
    [known, unknown] = statements(after).values()
    assert statements(before).keys() == statements(after).keys()
    assert known["contained"][0]["code"]["coding"] == [atc, package]
    assert unknown["medicationCodeableConcept"] == {"coding": [{"system": PZN, "code": "00004711"}]}


@pytest.mark.parametrize(
    "content",
    [
        "[[product",
        'product = "x"',
        "[[product]]\npzn = 811744\n",
        '[[product]]\npzn = "811744"\natc = "n06"\ndisplay = ""\n',
        '[[product]]\npzn = "123456789"\natc = "N06AB06"\ndisplay = ""\n',
        '[[package]]\npzn = "811744"\natc = "N06AB06"\ndisplay = ""\n',
    ],
)
def test_a_wrong_map_of_packages_is_the_operators(tmp_path: Path, content: str) -> None:
    table = tmp_path / "atc.toml"
    table.write_text(content, "utf-8")
    with pytest.raises(
        NeedsOperator, match=r"atc_map is wrong: it needs \[\[product\]\] tables with pzn, atc, display"
    ):
        pull(tmp_path, atc_map=table)


def test_a_missing_map_of_packages_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="atc_map cannot be read"):
        pull(tmp_path, atc_map=tmp_path / "atc.toml")


@given(amount=st.from_regex(r"(?:[1-9][0-9]{0,3}|[0-9],[0-9]{1,2}|[1-9][0-9],[0-9])", fullmatch=True))
def test_a_dose_keeps_its_digits(amount: str) -> None:
    entry = Entry(kind="M", section={}, own={"a": "Eins", "m": amount, "du": "1"}, ingredients=())
    [dosage] = statement(entry, NO_MAP)[0]["dosage"]
    quantity = dosage["doseAndRate"][0]["doseQuantity"]
    assert text.dumps(quantity["value"]).decode() == amount.replace(",", ".")


@given(amount=st.sampled_from(["1/8", "1/4", "1/3", "1/2", "2/3", "3/4"]))
def test_a_fraction_stays_a_word(amount: str) -> None:
    entry = Entry(kind="M", section={}, own={"a": "Eins", "h": amount, "du": "1"}, ingredients=())
    [dosage] = statement(entry, NO_MAP)[0]["dosage"]
    assert (dosage["text"], "doseAndRate" in dosage) == (f"zur Nacht: {amount} Stück", False)


@pytest.mark.outside
def test_the_specifications_own_examples(tmp_path: Path) -> None:
    examples = sorted(OUTSIDE.glob("transcribed/*.xml"))
    if not examples:
        pytest.skip("the test data from outside is not here")
    counts = {}
    for example in examples:
        # Two of them are the pages of one plan, so those two share a folder.
        name = example.name.partition("_")[0]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        put(folder, f"7_{example.name}", example.read_bytes())
    for folder in sorted(tmp_path.iterdir()):
        [batch] = pull(folder)
        found = [item for item in batch.items if isinstance(item, Found)]
        assert len(found) == len(batch.items)
        assert [check.check(item.resource) for item in found] == [()] * len(found)
        counts[folder.name] = len(statements(batch))
    assert counts == {"v2.4": 4, "v2.7": 1, "v2.8": 3}
