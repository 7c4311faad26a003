"""The demo's home that these tests share, and what runs a command on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aggregator.__main__ as command_line
from aggregator import memory
from tests.commands.running import PROJECT, Ended, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command in this process."""
    monkeypatch.setattr(memory, "keep_in", lambda: None)  # of this process: pytest's; tests/test_memory.py tries it
    monkeypatch.setattr(memory, "swaps", lambda: False)

    def run_(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["aggregator", *map(str, arguments)])
        code = 0
        try:
            command_line.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        told = capfdbinary.readouterr()
        return Ended(code, told.out.decode(), told.err.decode())

    monkeypatch.setenv("COLUMNS", "200")
    return run_


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo home; its configuration names sources that are gone."""
    folder = tmp_path_factory.mktemp("command-line") / "home"
    subprocess.run(
        [sys.executable, "-m", "aggregator", "demo", "--home", folder, "--once", "--port", "0"],
        check=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
    )
    return folder


@pytest.fixture
def config(home: Path) -> Path:
    return home / "config.toml"


@pytest.fixture(autouse=True)
def _at_full_price(real_argon2: None) -> None:
    """The home's passwords were derived in a process of its own."""
