"""A command whose disk is full says who must act and how, and does its work once there is room."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.running import PROJECT, Run
from tests.full_disk import room
from tests.weaken import weakens

TOLD = (
    r"aggregator: a disk (is full: make room where|cannot be read or written: see whether) "
    r"[^\n]+, then do the same again; nothing [^\n]+\n"
)


@pytest.mark.attack(49)
@weakens("aggregator.vault.disk", "failure", lambda _: None)
@pytest.mark.parametrize("arguments", [("keys", "rotate"), ("keys", "rotate", "--worker")], ids=" ".join)
def test_a_full_disk_is_told_and_room_is_all_it_takes(run: Run, config: Path, arguments: tuple[str, ...]) -> None:
    command = ("--config", config, *arguments)
    with room(4096):
        ended = run(*command)
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(TOLD, ended.err)
    assert run(*command).code == 0


def test_a_backup_that_found_no_room_is_none_and_is_written_elsewhere(run: Run, config: Path, tmp_path: Path) -> None:
    with room(64 * 1024):  # of the database's tables one is longer
        ended = run("--config", config, "backup", "--to", tmp_path / "first")
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(TOLD, ended.err)
    assert "holds no whole backup" in run("--config", config, "restore", "--from", tmp_path / "first").err
    assert "a backup never overwrites anything" in run("--config", config, "backup", "--to", tmp_path / "first").err
    assert run("--config", config, "backup", "--to", tmp_path / "second").code == 0


def test_what_cannot_be_printed_is_a_failure(config: Path) -> None:
    command = [sys.executable, "-m", "aggregator", "--config", config, "keys", "show", "--json"]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=False
        )
    assert ended.returncode == 1
    assert re.fullmatch(TOLD, ended.stderr.decode())
