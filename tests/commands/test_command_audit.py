"""`aggregator audit` and `doctor`: chains that hold, heads that are kept, and what needs somebody."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import col, delete

from aggregator import migrations
from aggregator.app import open_service
from aggregator.audit import remembered
from aggregator.audit.tables import Receipt
from aggregator.config import load
from aggregator.vault import blob, blob_rows
from aggregator.vault.seal import FORMAT
from connectors.contract import utc_now
from tests.audit import stranger
from tests.commands.running import Run


def test_audit_verify_walks_every_chain(run: Run, config: Path) -> None:
    ended = run("--config", config, "audit", "verify", "--json")
    assert ended.code == 0
    assert len(ended.json["chains"]) == 4
    assert {row["error"] for row in ended.json["chains"]} == {""}


def test_audit_heads_are_kept_and_remembered(run: Run, config: Path, tmp_path: Path) -> None:
    heads = run("--config", config, "audit", "head")
    kept = tmp_path / "heads.txt"
    kept.write_text(heads.out)
    assert heads.out.count("PRA1-AUDIT") == 3
    assert run("--config", config, "audit", "verify", "--remembered", kept).code == 0
    told = run("--config", config, "audit", "head", "--json")
    ahead = told.json["heads"][0]
    kept.write_text(told.out)
    vault = ahead["vault"]
    assert run("--config", config, "audit", "verify", vault, "--remembered", kept).code == 0
    kept.write_text(remembered.as_line(vault, ahead["position"] + 1, bytes(32)))
    ended = run("--config", config, "audit", "verify", "--remembered", kept, "--json")
    assert ended.code == 1
    found = {row["vault"]: (row["finding"], row["first"]) for row in ended.json["chains"] if row["error"]}
    assert found == {vault: ("truncated", ahead["position"] + 1)}
    lines = run("--config", config, "audit", "chain", vault)
    assert stranger.verdict(lines.out, bytes.fromhex(ahead["key"])) == ("", 0)
    kept.write_bytes(b"\xff")
    assert run("--config", config, "audit", "verify", "--remembered", kept).code == 1
    assert run("--config", config, "audit", "chain", "nobody").code == 1
    assert run("--config", config, "audit", "head", "nobody").code == 1


@pytest.mark.attack(30)
def test_a_receipt_that_is_gone_is_found(run: Run, tmp_path: Path) -> None:
    ended = run("demo", "--home", tmp_path, "--once", "--json", "--port", "0")
    service = open_service(load(tmp_path / "config.toml"), utc_now)
    with service.store.write() as session:
        session.exec(delete(Receipt).where(col(Receipt.position) == 2))
    service.close()
    assert ended.code == 0
    assert run("--config", tmp_path / "config.toml", "audit", "verify").code == 1
    assert "audit chains: these do not hold" in run("--config", tmp_path / "config.toml", "doctor").out


def test_doctor_names_what_needs_somebody(run: Run, config: Path) -> None:
    ended = run("--config", config, "doctor", "--json")
    assert ended.code == 1
    wrong = {one["what"] for one in ended.json["findings"] if not one["ok"]}
    assert wrong == {"source klinik-nord", "source nordlicht"}
    quarantine = next(one for one in ended.json["findings"] if one["what"] == "quarantine")
    assert quarantine["told"] == "1 checksum, 3 invalid"
    database = next(one for one in ended.json["findings"] if one["what"] == "database")
    assert f"aggregator.db, revision {migrations.head()}, format {FORMAT}, " in database["told"]


def test_doctor_says_when_an_attachment_is_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    service = open_service(load(tmp_path / "config.toml"), utc_now)
    kept, lost = (blob.write(service.blobs, "a" * 26, [b"letter"]) for _ in range(2))
    with service.store.write() as session:
        blob_rows.record(session, "a" * 26, 1, [kept, lost])
    told = [run("--config", tmp_path / "config.toml", "doctor").out]
    service.blobs.delete(lost.id)
    told.append(run("--config", tmp_path / "config.toml", "doctor").out)
    service.close()
    assert "attachments: 2 are there" in told[0]
    assert "ACT  attachments: 1 of 2 are not there" in told[1]
