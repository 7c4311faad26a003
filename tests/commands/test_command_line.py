"""The command line as a whole: what it teaches, and every wrong use with its exit code and its sentence."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

import pytest

import aggregator.__main__ as command_line
from aggregator.errors import OperatorError
from tests.commands.running import PERSON, Ended, Run
from tests.weaken import weakens

COMMANDS = (
    "demo",
    "serve",
    "sync",
    "export",
    "import",
    "erase",
    "backup",
    "restore",
    "accounts",
    "connectors",
    "consents",
    "keys",
    "audit",
    "doctor",
)


def test_help_teaches_each_command_by_an_example(run: Run) -> None:
    listed = run("--help")
    assert listed.code == 0
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", listed.out)
        assert "Example: aggregator" in run(name, "--help").out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("connectors", "code", "hausarzt-linden-labor", *PERSON, "yesterday"), 2, "--birth-date"),
        (("connectors", "code", "klinik-nord", *PERSON, "1964-08-12"), 1, "klinik-nord is no feed"),
        (("audit", "verify", "nobody"), 1, "there is no such chain"),
        (("keys", "init"), 1, "holds a key ring already"),
        (("keys",), 2, "Usage"),
        (("nonsense",), 2, "No such command"),
        (("sync", "--nonsense"), 2, "No such option"),
        (("demo", "--port", "eighty"), 2, "--port"),
        (("demo", "--port", "70000"), 2, "--port"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    run: Run, config: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ended = run("--config", config, *arguments)
    assert ended.code == code
    assert told in ended.err + ended.out
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[http]\nprot = 1", "http.prot: there is no such setting"),
        ("[http]\nport = 'x'", "http.port: Input should be a valid integer"),
        ("[sources.a]\nconnector = 'fax'", "no connector 'fax' is installed"),
        ("[clients.a]\nname = 'A'\njwks_file = 'gone.json'", "clients.a.jwks_file"),
        ("[http", "is not TOML"),
    ],
)
def test_a_wrong_configuration_stops_every_command(run: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    for command in ("sync", "serve", "doctor"):
        ended = run("--config", tmp_path / "config.toml", command)
        assert ended.code == 1
        assert ended.err.startswith("aggregator: ")
        assert told in ended.err
        assert ended.err.count("\n") == 1


def test_a_lost_key_ring_is_told_and_no_new_one_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    assert run("--config", tmp_path / "config.toml", "keys", "init").code == 0
    (tmp_path / "keys" / "master.key").unlink()
    ended = run("--config", tmp_path / "config.toml", "sync")
    assert (ended.code, "Restore the key ring" in ended.err) == (1, True)


def _print_all(_: str) -> int:
    sys.stderr.write(traceback.format_exc())
    return 1


@pytest.mark.attack(33)
@weakens("aggregator.__main__", "_failed", _print_all)
def test_what_nobody_expected_is_told_without_its_content(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("F32.1 of Erika Muster")

    monkeypatch.setattr(command_line, "app", fail)
    ended = run("doctor")
    assert ended.code == 1
    assert re.fullmatch(r"aggregator: ValueError at test_command_line\.py:\d+: this is a bug\n", ended.err)


def test_our_own_errors_are_their_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperatorError("set this")

    monkeypatch.setattr(command_line, "app", fail)
    assert run("doctor") == Ended(1, "", "aggregator: set this\n")
