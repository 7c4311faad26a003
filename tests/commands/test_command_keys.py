"""`aggregator keys`: what is shown, made and replaced."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sqlmodel import select

from aggregator.app import open_service
from aggregator.config import load
from aggregator.sync.tables import Connection
from tests.commands.running import Run


def test_keys_show_tells_where_the_ring_lies_and_no_secret(run: Run, config: Path, home: Path) -> None:
    told = run("--config", config, "keys", "show", "--json")
    assert told.json["folder"] == str(home / "keys")
    assert told.json["belongs_to_store"]
    assert {row["mode"] for row in told.json["files"] if row["name"] != "destroyed"} == {"0600"}
    for name in ("master.key", "worker.key", "feed.key"):
        assert (home / "keys" / name).read_text().strip() not in told.out


def test_a_new_worker_key_is_made_while_nobody_uses_the_ring(run: Run, config: Path, home: Path) -> None:
    before = (home / "keys" / "worker.key").read_text()
    service = open_service(load(config))
    refused = run("--config", config, "keys", "rotate", "--worker")
    service.close()
    assert (refused.code, "is in use; end what uses it" in refused.err) == (1, True)
    assert (home / "keys" / "worker.key").read_text() == before
    ended = run("--config", config, "keys", "rotate", "--worker")
    assert re.match(r"\d+ rows are sealed to a new worker key; the old one is destroyed\.", ended.out)
    after = (home / "keys" / "worker.key").read_text()
    assert after != before
    assert after.strip() not in ended.out + ended.err
    service = open_service(load(config))
    with service.store.read() as session:
        for row in session.exec(select(Connection)):
            assert service.worker.settings(row)
            service.worker.state(row.vault, row.id, row.state)
    service.close()
    assert run("--config", config, "keys", "rotate").code == 0


def test_a_new_audit_key_leaves_every_chain_and_every_kept_head_good(run: Run, config: Path, tmp_path: Path) -> None:
    kept = tmp_path / "heads.json"
    kept.write_text(run("--config", config, "audit", "head", "--json").out)
    ended = run("--config", config, "keys", "rotate", "--audit")
    assert re.match(r"Audit heads are signed by key 2 now, \d+ chains end under it\.", ended.out)
    ended = run("--config", config, "audit", "verify", "--remembered", kept, "--json")
    assert ended.code == 0
    assert {row["finding"] for row in ended.json["chains"]} == {""}
    again = run("--config", config, "audit", "head", "--json").json["heads"]
    before = json.loads(kept.read_text())["heads"]
    assert {one["head"] for one in again} == {one["head"] for one in before}
    assert {one["key"] for one in again}.isdisjoint(one["key"] for one in before)


def test_keys_init_makes_a_ring_and_its_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    assert run("--config", tmp_path / "config.toml", "keys", "show").code == 1
    assert run("--config", tmp_path / "config.toml", "keys", "init").code == 0
    assert run("--config", tmp_path / "config.toml", "keys", "show").code == 0
