"""What is open in memory leaves it by no core file, no debugger and no swap (attack 33)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aggregator import memory
from tests.weaken import weakens

HARD_LIMIT = resource.getrlimit(resource.RLIMIT_CORE)[1]
WEAKENED: list[str] = []  # what the probe's process leaves out


def probed() -> dict[str, Any]:
    return _probed(*WEAKENED)


@cache
def _probed(*weakened: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.probe_memory", *weakened]
    told = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    read: dict[str, Any] = json.loads(told.stdout)
    return read


@pytest.mark.attack(33)
@weakens(__name__, "WEAKENED", ["no_dump"])
def test_no_process_is_handed_the_memory() -> None:
    """Of every command: it is set before one is chosen."""
    assert probed()["dumpable"] == 0


@pytest.mark.attack(33)
@pytest.mark.skipif(HARD_LIMIT == 0, reason="this machine writes no core file anyway")
@weakens(__name__, "WEAKENED", ["no_core_file"])
def test_no_core_file_is_written() -> None:
    assert probed()["core"] == [0, 0]


@pytest.mark.attack(33)
@pytest.mark.skipif(not memory.may_lock(), reason="this machine does not let the process lock its memory")
@weakens(__name__, "WEAKENED", ["no_swap"])
def test_what_may_be_locked_does_not_swap() -> None:
    assert probed()["locked"]


@pytest.mark.attack(33)
@pytest.mark.parametrize(
    ("locked", "places", "swaps"), [("0 kB", 1, True), ("0 kB", 0, False), ("812 kB", 1, False), ("812 kB", 0, False)]
)
def test_memory_swaps_where_it_is_not_locked_and_there_is_a_place_for_it(
    locked: str, places: int, swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_SWAPS", tmp_path / "swaps")
    (tmp_path / "status").write_text(f"Name:\tpython\nVmLck:\t       {locked}\n")
    (tmp_path / "swaps").write_text("Filename\tType\n" + "/swapfile\tfile\n" * places)
    assert memory.swaps() == swaps
