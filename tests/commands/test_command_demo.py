"""`aggregator demo`: told to programs and to people, once or until it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commands.running import PROJECT, Run


def test_demo_once_as_json_is_one_object_and_nothing_else(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "half.json").write_text("{")
    ended = run("demo", "--home", home, "--once", "--json", "--port", 0, "--data", tmp_path / "data")
    assert ended.code == 0
    assert ended.json.keys() == {
        *("seconds", "sources", "patients", "providers", "data", "receipts", "stored_bytes", "raw_bytes"),
    }
    assert {row["stored"] for row in ended.json["sources"]} == {0}
    assert ended.err == "not taken: half.json: is no FHIR Bundle\n"


def test_demo_once_tells_people_what_came_of_it(run: Run, home: Path) -> None:
    ended = run("demo", "--home", home, "--once", "--port", "0")
    assert ended.code == 0
    assert "klinik-nord/erika" in ended.out
    assert "Hausarztpraxis Linden" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_demo_serves_until_it_is_stopped_and_what_it_prints_works(home: Path, tmp_path: Path, stop: int) -> None:
    command = [sys.executable, "-m", "aggregator", "demo", "--home", home, "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as up:
        try:
            assert up.stdout is not None
            up.stdout.readline()
            told = _addresses(tmp_path / "demo.json")
            assert told.keys() == {"base_url", "portal_url", "patients", "providers"}
            for one in (told["patients"][0], told["providers"][0]):
                answer = httpx.get(
                    f"{told['base_url']}/fhir/Patient/{told['patients'][0]['id']}",
                    headers={"Authorization": f"Bearer {one['token']}"},
                    trust_env=False,
                )
                assert answer.status_code == 200
        finally:
            up.send_signal(stop)
        _, err = up.communicate(timeout=30)
    assert up.returncode == 0
    assert b"curl" in err


def _addresses(file: Path) -> dict[str, Any]:
    """demo.json, which comes just after the outcome."""
    for _ in range(500):
        if file.exists():
            break
        time.sleep(0.02)
    made: dict[str, Any] = json.loads(file.read_bytes())
    return made
