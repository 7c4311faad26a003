"""The main job of the demo: every source synced, every consent kept, and a second run that stores nothing new.

The whole outcome stands in world/once.json, with short names in place of ids. Where a story has changed, look at the
difference, then renew the file: python -m tests.demo.renew_once
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from aggregator.app import open_service
from aggregator.demo.door import DemoFailed
from aggregator.demo.home import Home, Purse
from aggregator.demo.sources import CLINIC, INSURER, laboratory, plans
from aggregator.demo.story import clinic_faults, expected, people, practices
from aggregator.demo.world import serving
from aggregator.errors import KeysMissing, OperatorError
from fhir_profiles.profiles import SECTIONS
from tests.demo.demo_runs import NIGHT, Run, run

ONCE = Path(__file__).parent / "world" / "once.json"
MAY_DIFFER = ("seconds", "receipts", "stored_bytes")


def comparable(one: Run) -> dict[str, Any]:
    """The outcome with short names in place of ids, without what time and chance decide."""
    text = json.dumps({name: value for name, value in one.told.items() if name not in MAY_DIFFER})
    for whole, short in one.ids.items():
        text = text.replace(whole, short)
    made: dict[str, Any] = json.loads(text)
    return made


def rows(one: Run) -> dict[str, dict[str, Any]]:
    return {row["connection"]: row for row in one.told["sources"]}


def test_the_whole_outcome(first: Run) -> None:
    assert comparable(first) == json.loads(ONCE.read_text(encoding="utf-8"))


def test_every_source_yields_what_its_story_says(first: Run) -> None:
    found = rows(first)
    for person in people():
        counts = expected(person)
        told = {CLINIC: "clinic", INSURER: "insurer"}
        told |= {laboratory(one): f"{one.id}/laboratory" for one in practices()}
        told |= {plans(one): f"{one.id}/plans" for one in practices()}
        stored = {authority: found[f"{authority}/{person.id}"]["stored"] for authority in told}
        assert stored == {authority: counts[name] for authority, name in told.items()}
        assert found[f"{CLINIC}/{person.id}"]["quarantined"] == len(clinic_faults(person))


def test_the_broken_report_stands_aside_at_the_feed_and_everything_is_fresh(first: Run) -> None:
    found = rows(first)
    assert found[laboratory(practices()[0])]["quarantined"] == 1
    assert found[laboratory(practices()[1])]["quarantined"] == 0
    assert {row["status"] for row in found.values()} == {"fresh"}


def test_the_strangers_report_is_in_nobodys_record(first: Run) -> None:
    everything = json.dumps(first.records, default=str)
    assert "Kämmerer" not in everything
    assert "Muster" in everything


@pytest.mark.parametrize("name", ["first", "second"])
def test_the_counts_agree_with_each_other(name: str, request: pytest.FixtureRequest) -> None:
    one: Run = request.getfixturevalue(name)
    for row in one.told["sources"]:
        assert row["found"] == row["stored"] + row["unchanged"] + row["quarantined"]
    for patient in one.told["patients"]:
        assert list(patient["sections"]) == list(SECTIONS)
        assert patient["resources"] == sum(patient["sections"].values()) >= 150
    resources = {patient["id"]: patient["resources"] for patient in one.told["patients"]}
    for row in one.told["providers"]:
        assert row["visible"] + row["withheld"] == resources[row["patient"]]


def test_the_family_doctor_sees_all_but_what_is_sensitive_and_the_laboratory_results_alone(first: Run) -> None:
    visible = {(row["name"], first.ids[row["patient"]]): row["visible"] for row in first.told["providers"]}
    sections = {first.ids[patient["id"]]: patient["sections"] for patient in first.told["patients"]}
    for person in people():
        held = sections[f"<{person.id}>"]
        shut = sum(held[name] for name, one in SECTIONS.items() if one.sensitive) + held["unsorted"]
        # Of the directory a view holds only what something in it names.
        most = sum(held.values()) - shut
        assert most - held["directory"] <= visible["Hausarztpraxis Linden", f"<{person.id}>"] <= most
        # Beside the results the laboratory has the Patient, bare.
        results = visible["Labor Förde MVZ", f"<{person.id}>"] - 1
        assert held["results"] <= results <= held["results"] + held["directory"]
    assert sections["<jonas>"]["mental-health"] > 0


def test_a_second_run_stores_nothing_and_says_the_same(first: Run, second: Run) -> None:
    for row in second.told["sources"]:
        assert row["stored"] == 0
        assert row["unchanged"] == row["found"] - row["quarantined"]
    before, after = comparable(first), comparable(second)
    for row in (*before["sources"], *after["sources"]):
        del row["stored"], row["unchanged"]
    assert after == before


def test_a_second_run_signs_in_with_what_was_kept(first: Run, second: Run) -> None:
    told = [(one["id"], one["login"], one["password"]) for one in first.addresses["patients"]]
    assert [(one["id"], one["login"], one["password"]) for one in second.addresses["patients"]] == told
    assert [one["client_id"] for one in second.addresses["providers"]] == ["hausarzt-linden", "labor-foerde"]
    assert {len(password) for _, _, password in told} == {24}


def test_what_people_keep_to_themselves_is_readable_by_their_owner_alone(demo_home: Path, first: Run) -> None:
    _ = first
    assert stat.S_IMODE((demo_home / "people").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (demo_home / "people").iterdir()} == {0o600}


def test_no_source_key_holds_a_port(first: Run, second: Run) -> None:
    """The sources came up on other ports the second time, and nothing was taken for new."""
    assert first.config != second.config
    assert [row["connection"] for row in first.told["sources"]] == [row["connection"] for row in second.told["sources"]]


def test_a_port_in_use_is_named_with_the_option_that_changes_it(tmp_path: Path) -> None:
    with serving(tmp_path / "one", None, 0, open_service, lambda: NIGHT) as served:
        port = int(served.service.base_url.rpartition(":")[2])
        with (
            pytest.raises(OperatorError, match=rf"port {port}: .*--port"),
            serving(tmp_path / "two", None, port, open_service, lambda: NIGHT),
        ):
            pass


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="--home"), serving(tmp_path / "file", None, 0, open_service):
        pass


def test_a_home_without_its_key_ring_is_not_given_a_new_one(tmp_path: Path) -> None:
    with serving(tmp_path, None, 0, open_service, lambda: NIGHT):
        pass
    (tmp_path / "keys" / "ring.db").unlink()
    with pytest.raises(KeysMissing, match="holds no key ring"), serving(tmp_path, None, 0, open_service):
        pass


def test_people_of_another_home_are_told_so(tmp_path: Path) -> None:
    """What is kept in people/ belongs to the accounts in store/."""
    home = Home.open(tmp_path)
    home.keep("erika", Purse(login="erika", password="another home's", tokens={}, recovery_code="code"))
    with pytest.raises(DemoFailed, match=r"/auth/sign-in was answered 401; .* remove it"):
        run(tmp_path)
