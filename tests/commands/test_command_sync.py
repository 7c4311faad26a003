"""`aggregator sync`: what answers is pulled, and who must act is named."""

from __future__ import annotations

import json
from pathlib import Path

from aggregator.app import open_service
from aggregator.demo.sources import Sources
from aggregator.demo.story import people
from aggregator.demo.world import serving
from tests.commands.running import Run


def test_sync_pulls_what_answers_and_says_who_must_act(run: Run, config: Path) -> None:
    ended = run("--config", config, "sync", "--json")
    assert ended.code == 0
    by_source = {row["source"]: row for row in ended.json["connections"]}
    assert by_source["hausarzt-linden-labor"]["status"] == "fresh"
    assert by_source["klinik-nord"]["status"] == "late"
    assert by_source["klinik-nord"]["who"] == "nobody: it is tried again"


def test_sync_of_one_source_with_its_server_up(run: Run, home: Path) -> None:
    with serving(home, None, 0, open_service) as served:
        _let_in(served.sources, home)
        ended = run("--config", home / "config.toml", "sync", "klinik-nord", "--again")
    assert ended.code == 0
    assert ended.out.count("klinik-nord") == 3
    assert "fresh" in ended.out


def _let_in(sources: Sources, home: Path) -> None:
    """What the demo does when a patient moves in."""
    for person in people():
        token = json.loads((home / "people" / f"{person.id}.json").read_bytes())["tokens"]["klinik-nord"]
        sources.clinic.access.allow(token, person.clinic_id)


def test_sync_ends_with_1_where_a_connection_is_broken(run: Run, home: Path, tmp_path: Path) -> None:
    told = (home / "config.toml").read_text(encoding="utf-8")
    broken = tmp_path / "config.toml"
    text = told.replace(str(home / "sources" / "hausarzt-linden" / "plan"), str(tmp_path / "gone"))
    text = text.replace('"store/', f'"{home}/store/').replace('"keys"', f'"{home}/keys"')
    broken.write_text(text.replace('"people/', f'"{home}/people/'), encoding="utf-8")
    ended = run("--config", broken, "sync", "hausarzt-linden-plan")
    assert ended.code == 1
    assert "does not exist" in ended.out
    assert "(the operator)" in ended.out
    assert run("--config", home / "config.toml", "sync", "hausarzt-linden-plan").code == 0


def test_sync_of_something_unknown_is_wrong_use(run: Run, config: Path) -> None:
    ended = run("--config", config, "sync", "nowhere")
    assert ended.code == 2
    assert "nowhere" in ended.err
