"""`aggregator connectors`: what is installed and set, what waits, and activation codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands.running import PERSON, Run


def test_connectors_lists_each_setting_with_type_default_and_owner(run: Run, config: Path) -> None:
    told = {one["name"]: one for one in run("--config", config, "connectors", "--json").json["connectors"]}
    assert sorted(told) == ["clinic_fhir", "insurer_fhir", "practice_ldt", "practice_medication_plan"]
    assert told["clinic_fhir"]["configured"] == ["klinik-nord"]
    settings = {one["name"]: one for one in told["clinic_fhir"]["settings"]}
    assert settings["page_size"] == {
        "name": "page_size",
        "type": "int",
        "required": False,
        "default": 100,
        "account": False,
    }
    assert settings["bearer_token"]["type"] == "SecretStr | None"
    assert settings["bearer_token"]["account"]
    assert settings["base_url"]["required"]


def test_connectors_tells_what_waits_in_each_feed_and_nothing_of_whom(run: Run, config: Path) -> None:
    """The demo's laboratory folder holds a report about somebody who is no patient."""
    feeds = {one.pop("source"): one for one in run("--config", config, "connectors", "--json").json["feeds"]}
    waiting = feeds["hausarzt-linden-labor"]["waiting"]
    assert waiting > 0
    assert feeds["hausarzt-linden-labor"] == {"keeps": True, "waiting": waiting, "held": 0, "oldest": None}
    told = f"hausarzt-linden-labor: items of people who are not verified: {waiting} waiting at the source"
    assert told in run("--config", config, "connectors").out.splitlines()


def test_connectors_are_listed_without_a_configuration(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("connectors")
    assert ended.code == 0
    assert "clinic_fhir" in ended.out
    assert "not configured" in ended.out


def test_connectors_check_tells_whether_a_source_answers(run: Run, config: Path) -> None:
    assert run("--config", config, "connectors", "check", "hausarzt-linden-labor").out == (
        "hausarzt-linden-labor: answers\n"
    )
    ended = run("--config", config, "connectors", "check", "klinik-nord", "--json")
    assert ended.code == 1
    assert len(ended.json["checks"]) == 3
    assert run("--config", config, "connectors", "check", "nowhere").code == 1


def test_connectors_code_issues_an_activation_code(run: Run, config: Path) -> None:
    ended = run("--config", config, "connectors", "code", "hausarzt-linden-labor", *PERSON, "1964-08-12")
    assert ended.code == 0
    assert re.fullmatch(r"([A-Z2-9]{4}-){3}[A-Z2-9]{4}\n", ended.out)


def test_connectors_codes_lists_what_void_takes_back(run: Run, config: Path) -> None:
    issue = ("--config", config, "connectors", "code", "hausarzt-linden-labor", *PERSON, "1964-08-12", "--json")
    made = run(*issue, "--level", "high").json
    listed = run("--config", config, "connectors", "codes", "--json").json["codes"]
    (one,) = [one for one in listed if one["handle"] == made["handle"]]
    assert (one["source"], len(one["handle"])) == ("hausarzt-linden-labor", 8)
    assert f"{made['handle']}  hausarzt-linden-labor, expires " in run("--config", config, "connectors", "codes").out
    assert run("--config", config, "connectors", "void", made["handle"]).out == "the code is void\n"
    ended = run("--config", config, "connectors", "void", made["handle"])
    assert (ended.code, "0 codes begin so" in ended.err) == (1, True)
