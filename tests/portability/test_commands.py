"""export, import and erase as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aggregator.__main__ import app
from aggregator.errors import AggregatorError
from aggregator.portability import archive
from tests.portability.rich import SECRET, contents
from tests.portability.test_import import DIFFERENT
from tests.sync.sync_world import SyncWorld
from tests.vault.world import LOGIN, PASSWORD

pytestmark = pytest.mark.sqlite_only(reason="the configuration names the world's own file")

SEAL = "noch ein Passwort"


def config(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "config.toml"
    file.write_text('[store]\npath = "store/aggregator.db"\n[keys]\nfolder = "keys"\n[blobs]\nurl = "blobs"\n')
    return file


def secret(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    file = folder / name
    file.touch(mode)
    file.chmod(mode)
    file.write_text(text + "\n")
    return file


def run(file: Path, *arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["--config", str(file), *map(str, arguments)], input=typed)


def told(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def here(syncing: SyncWorld) -> Path:
    syncing.world.store.checkpoint()
    return config(syncing.world.folder)


def read(folder: Path) -> dict[str, bytes]:
    return contents(archive.in_folder(folder))


@pytest.mark.parametrize("form", ["folder", "sealed"])
def test_out_and_in_again(here: Path, tmp_path: Path, form: str) -> None:
    password, seal = secret(tmp_path, "password", PASSWORD), secret(tmp_path, "seal", SEAL)
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "erika.export"
    mine = ["--password-file", password]
    made = told(run(here, "export", LOGIN, "--to", first, "--yes", "--json", *mine))
    assert (made["files"], made["bytes"]) == (len(read(first)), sum(map(len, read(first).values())))
    if form == "sealed":
        told(run(here, "export", LOGIN, "--sealed", file, "--seal-password-file", seal, "--json", *mine))
        assert SECRET.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        assert not list(tmp_path.glob("*.unfinished"))
    there = config(tmp_path / "there")
    source = [file, "--seal-password-file", seal] if form == "sealed" else [first]
    moved = told(run(there, "import", *source, "--login", "erika.neu", "--json", *mine))
    assert (moved["vault"], moved["connect_again"], moved["receipts_finding"]) == (made["vault"], ["klinik"], "")
    told(run(there, "export", "erika.neu", "--to", second, "--yes", "--json", *mine))
    before, after = read(first), read(second)
    different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert different == set(DIFFERENT)
    again = run(there, "import", *source, "--login", "erika.noch", "--json", *mine)
    assert "here already" in str(again.exception)


def test_an_owner_who_has_just_the_recovery_code(here: Path, tmp_path: Path, template: Any) -> None:
    code = secret(tmp_path, "code", template[1].recovery_code)
    made = told(run(here, "export", LOGIN, "--to", tmp_path / "out", "--yes", "--json", "--recovery-file", code))
    assert made["files"] > 10


@pytest.mark.attack(2)
def test_nobody_exports_without_the_owners_secret(here: Path, tmp_path: Path) -> None:
    wrong, out = secret(tmp_path, "wrong", "das falsche Passwort"), tmp_path / "out"
    result = run(here, "export", LOGIN, "--to", out, "--yes", "--password-file", wrong)
    assert isinstance(result.exception, AggregatorError)
    assert not out.exists()


def test_an_open_folder_is_asked_for_twice(here: Path, tmp_path: Path) -> None:
    result = run(here, "export", LOGIN, "--to", tmp_path / "out", typed="n\n")
    assert (result.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "not sealed" in result.output


@pytest.mark.attack(44)
def test_no_secret_is_on_a_command_line_or_in_a_file_that_others_read(here: Path, tmp_path: Path) -> None:
    open_to_all = secret(tmp_path, "open", PASSWORD, 0o644)
    result = run(here, "export", LOGIN, "--to", tmp_path / "out", "--yes", "--password-file", open_to_all)
    assert "chmod 600" in str(result.exception)
    for command in ("export", "import", "erase"):
        options = run(here, command, "--help").output
        assert "--password " not in options
        assert "Example: aggregator" in options


@pytest.mark.parametrize("both", [True, False])
def test_one_form_is_named(here: Path, tmp_path: Path, both: bool) -> None:
    forms = ["--to", str(tmp_path / "a"), "--sealed", str(tmp_path / "b")] if both else []
    assert run(here, "export", LOGIN, *forms).exit_code == 2
    assert run(here, "erase", *(["x", "--vault", "y"] if both else [])).exit_code == 2


def test_an_owner_ends_the_record(here: Path, tmp_path: Path, syncing: SyncWorld) -> None:
    password, paper = secret(tmp_path, "password", PASSWORD), tmp_path / "erased.txt"
    vault = syncing.world.vault
    wrong = run(here, "erase", LOGIN, "--password-file", password, typed="something else\n")
    assert "nothing was erased" in str(wrong.exception)
    result = run(here, "erase", LOGIN, "--password-file", password, "--certificate", paper, typed=f"{vault}\n")
    assert result.exit_code == 0, result.exception
    assert "LÖSCHUNG" in result.output
    assert "30 days" in paper.read_text()
    again = run(here, "erase", LOGIN, "--password-file", password, "--yes")
    assert isinstance(again.exception, AggregatorError)


def test_an_operator_ends_a_record(here: Path, syncing: SyncWorld) -> None:
    made = told(run(here, "erase", "--vault", syncing.world.vault, "--yes", "--json"))
    assert made["statement"]["ordered_by"] == "operator"
    assert all(one["opened_after"] == 0 for one in made["statement"]["tried"].values())


@pytest.mark.attack(26)
def test_a_restored_backup_from_before_does_not_bring_it_back(here: Path, tmp_path: Path, syncing: SyncWorld) -> None:
    """The key ring is today's; and where it is lost too, the list of destroyed keys is."""
    password, backup = secret(tmp_path, "password", PASSWORD), tmp_path / "backup"
    keys = tmp_path / "backup-keys"
    told(run(here, "backup", "--to", backup, "--keys-to", keys, "--json"))
    told(run(here, "erase", LOGIN, "--password-file", password, "--yes", "--json"))
    syncing.world.close()
    for file in (syncing.world.folder / "store").iterdir():
        file.unlink()
    assert told(run(here, "restore", "--from", backup, "--json"))["left_out"] == 2  # and one that never had keys
    result = run(here, "export", LOGIN, "--to", tmp_path / "out", "--yes", "--password-file", password)
    assert isinstance(result.exception, AggregatorError)
