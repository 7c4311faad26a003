"""Backup and restore, through the commands: what comes back, what stays dead, and what a patient is told."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

import aggregator.__main__ as command_line
from aggregator import memory
from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.audit import receipts
from aggregator.audit.receipts import Opening
from aggregator.audit.tables import Receipt
from aggregator.config import load
from aggregator.errors import CallerError, OperatorError, RolledBack
from aggregator.identity import unlockers
from aggregator.sync.tables import Route
from aggregator.vault import blob, blob_copies, blob_rows, tables
from aggregator.vault.blob_store import LocalBlobs
from aggregator.vault.key_ring import KeyRing
from tests import databases
from tests.sync.sync_world import SyncWorld, second_owner
from tests.sync.test_feeds import MAX
from tests.vault.world import DR_B, LABORATORY, LOGIN, PASSWORD, World
from tests.weaken import weakens

Run = Callable[..., Any]
Started = Callable[[Path], Service]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command in this process; what it printed as JSON, or its sentence on stderr where it failed."""
    monkeypatch.setattr(memory, "keep_in", lambda: None)  # of this process: pytest's

    def run_(*arguments: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["aggregator", *map(str, arguments)])
        code = 0
        try:
            command_line.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        told = capfdbinary.readouterr()
        return json.loads(told.out) if code == 0 else told.err.decode()

    return run_


@pytest.fixture
def started(world: World) -> Iterator[Started]:
    """Opens the service of a configuration; it is closed where the test fails as well, as a weakened build's does."""
    with ExitStack() as opened:
        yield lambda config: opened.enter_context(closing(open_service(load(config), world.clock)))


def configured(folder: Path, keys: Path, store: str = "store") -> Path:
    """A configuration for the world's key ring and a store."""
    (folder / store).mkdir(exist_ok=True)
    settings = databases.settings(folder / store / "aggregator.db")
    where = f'url = "{settings.url}"' if settings.url else f'path = "{settings.path}"'
    file = folder / f"{store}.toml"
    file.write_text(f'[store]\n{where}\n[keys]\nfolder = "{keys}"\n[blobs]\nurl = "{folder / store / "blobs"}"\n')
    return file


@pytest.fixture
def lived(world: World) -> World:
    """A patient with a record and a grant, in an installation."""
    world.append("results", world.put("Observation/1"))
    world.permit(DR_B, LABORATORY)
    open_service(load(configured(world.folder, world.folder / "keys"))).close()
    return world


def backed_up(world: World, run: Run) -> tuple[Path, Path]:
    to, keys_to = world.folder.parent / "backup", world.folder.parent / "keys-backup"
    shutil.rmtree(to, ignore_errors=True)
    shutil.rmtree(keys_to, ignore_errors=True)
    told = run("--config", world.folder / "store.toml", "backup", "--to", to, "--keys-to", keys_to, "--json")
    assert isinstance(told, dict), told
    return to, keys_to


def restored(world: World, run: Run, *options: str | Path, keys: Path | None = None) -> tuple[Any, Path]:
    """Into a store of its own; what the command told, and the configuration."""
    world.close()
    config = configured(world.folder, keys or world.folder / "keys", "again")
    return run("--config", config, "restore", *options, "--json"), config


def receipt(world: World) -> None:
    with world.store.write(world.vault) as session:
        opening = Opening(world.vault, world.owner.root.audit.public())
        receipts.commit(session, world.ring, [opening.first({"kind": "opened"})])


def test_what_was_backed_up_comes_back(lived: World, run: Run) -> None:
    to, keys_to = backed_up(lived, run)
    told, config = restored(lived, run, "--from", to, "--keys-from", keys_to, keys=lived.folder / "new-keys")
    assert told == {"vaults": 1, "behind": 0, "ended_grants": 0, "left_out": 0, "missing_attachments": 0}
    service = open_service(load(config), lived.clock)
    owner = service.accounts.sign_in(LOGIN, PASSWORD)
    assert owner.sections == lived.owner.sections
    with service.store.read() as session:
        assert len(session.exec(select(tables.Grant)).all()) == 2
    with pytest.raises(CallerError):
        service.accounts.owner(lived.owner.token)  # all sign-ins end
    service.close()


@pytest.mark.attack(24, 25)
@weakens("aggregator.vault.restoring", "_end_dead_grants", lambda *_: 2, about=(24, 25))
def test_what_was_revoked_after_the_backup_stays_so_and_the_patient_sees_the_gap(lived: World, run: Run) -> None:
    to, _ = backed_up(lived, run)
    lived.grants.end(lived.owner, DR_B.id)
    receipt(lived)
    told, config = restored(lived, run, "--from", to)
    assert told == {"vaults": 1, "behind": 1, "ended_grants": 2, "left_out": 0, "missing_attachments": 0}
    service = open_service(load(config), lived.clock)
    with service.store.read() as session:
        assert session.exec(select(tables.Grant)).all() == []
        assert {row.grantee for row in session.exec(select(tables.EndedGrantee))} >= {
            service.key_service.handle("party", DR_B.id)
        }
        found = session.exec(select(Receipt).where(Receipt.vault == lived.vault)).all()
    ((_, entry),) = receipts.read(found, lived.vault, lived.owner.root.audit)
    assert entry is not None
    assert entry["kind"] == "restored"
    assert "receipts 1 to 1 are lost" in entry["reason"]
    service.accounts.sign_in(LOGIN, PASSWORD)
    service.close()


def test_who_changed_the_password_after_the_backup_signs_in_with_the_one_before(lived: World, run: Run) -> None:
    to, _ = backed_up(lived, run)
    lived.accounts.replace_password(lived.vault, lived.owner.root, unlockers.derive("Ein ganz anderes Wort"))
    _, config = restored(lived, run, "--from", to)
    service = open_service(load(config), lived.clock)
    service.signing.signer(service.accounts.sign_in(LOGIN, PASSWORD))  # the recovery code is there as well
    with pytest.raises(CallerError):
        service.accounts.sign_in(LOGIN, "Ein ganz anderes Wort")
    service.close()


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "grants", lambda *_: {})
def test_a_grant_made_after_the_backup_dies_with_the_restore(lived: World, run: Run, started: Started) -> None:
    """Its row is lost, a copy of it may not be: it would open, and no later revocation could find its key."""
    to, _ = backed_up(lived, run)
    lived.permit(DR_B)
    kept = lived.grant()
    _, config = restored(lived, run, "--from", to)
    service = started(config)
    assert not service.key_service.holds_grant(kept.vault, kept.id)
    assert service.key_service.rotation_due(kept.vault) == 1  # and its keys change


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "expose", lambda *_: None)
def test_what_a_grantee_kept_before_a_restore_opens_nothing_that_comes_after(
    lived: World, run: Run, started: Started
) -> None:
    """Its grant's key was destroyed as replaced, and the newer one's never was in this ring: it is from the backup."""
    to, keys_to = backed_up(lived, run)
    lived.permit(DR_B)
    new = lived.folder / "new-keys"
    new.mkdir(mode=0o700)
    shutil.copy2(lived.folder / "keys" / "destroyed", new / "destroyed")
    told, config = restored(lived, run, "--from", to, "--keys-from", keys_to, keys=new)
    assert told["ended_grants"] == 2
    service = started(config)
    assert service.key_service.rotation_due(lived.vault) == 1
    assert service.grants.settle(service.accounts.sign_in(LOGIN, PASSWORD))
    with service.store.read() as session:
        assert session.get_one(tables.Vault, lived.vault).epoch == 2


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "expose", lambda *_: None)
def test_who_was_first_let_in_after_the_backup_reads_nothing_that_comes_after_the_restore(
    world: World, run: Run, started: Started
) -> None:
    """Database and key ring are from the backup, and no line tells of a grant that was never ended or replaced."""
    open_service(load(configured(world.folder, world.folder / "keys"))).close()
    to, keys_to = backed_up(world, run)
    world.permit(DR_B)
    told, config = restored(world, run, "--from", to, "--keys-from", keys_to, keys=world.folder / "new-keys")
    assert (told["behind"], told["ended_grants"]) == (0, 0)
    service = started(config)
    assert service.grants.settle(service.accounts.sign_in(LOGIN, PASSWORD))
    with service.store.read() as session:
        assert session.get_one(tables.Vault, world.vault).epoch == 2


@pytest.mark.attack(26)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_a_vault_erased_after_the_backup_does_not_come_back_with_it(lived: World, run: Run) -> None:
    """Database and key ring from before the erasure, with the right password; the list was kept elsewhere."""
    to, keys_to = backed_up(lived, run)
    lived.ring.destroy_vault(lived.vault)
    new = lived.folder / "new-keys"
    new.mkdir(mode=0o700)
    shutil.copy2(lived.folder / "keys" / "destroyed", new / "destroyed")
    told, config = restored(lived, run, "--from", to, "--keys-from", keys_to, keys=new)
    assert told["left_out"] == 1
    service = open_service(load(config), lived.clock)
    with pytest.raises(CallerError):
        service.accounts.sign_in(LOGIN, PASSWORD)
    service.close()


def test_no_route_of_a_feed_leads_to_a_vault_that_was_left_out(lived: World, run: Run) -> None:
    syncing = SyncWorld(world=lived)
    other = second_owner(lived, MAX)
    syncing.verify()
    kept = syncing.verify(replace(other, unlocked_at=lived.clock()), MAX)
    to, _ = backed_up(lived, run)
    lived.ring.destroy_vault(lived.vault)
    told, config = restored(lived, run, "--from", to)
    assert (told["vaults"], told["left_out"]) == (1, 1)
    service = open_service(load(config), lived.clock)
    with service.store.read() as session:
        assert set(session.exec(select(Route.connection))) == {kept}
    service.close()


@pytest.mark.attack(24)
def test_an_empty_database_in_the_place_of_the_real_one_is_refused(lived: World) -> None:
    lived.close()
    with pytest.raises(RolledBack):
        open_service(load(configured(lived.folder, lived.folder / "keys", "again")))


@pytest.mark.attack(24)
@weakens("aggregator.vault.counter_file.CounterFile", "generation", lambda _: 1)
def test_the_database_from_before_a_restore_is_refused_where_no_row_of_it_is_behind(
    lived: World, run: Run, started: Started
) -> None:
    to, _ = backed_up(lived, run)
    _, config = restored(lived, run, "--from", to)
    open_service(load(config)).close()
    with pytest.raises(RolledBack, match="not of the same restore"):
        started(configured(lived.folder, lived.folder / "keys"))


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (2, "has format 2, which was never released .* start a new store .* connect their sources again"),
        (4, "has format 4, this version reads 3; use the version that wrote it"),
    ],
)
def test_a_store_of_another_format_is_refused(lived: World, started: Started, form: int, told: str) -> None:
    databases.execute(lived.store, "UPDATE installation SET format = ?", (form,))
    with pytest.raises(OperatorError, match=told):
        started(lived.folder / "store.toml")


def test_a_restore_that_was_killed_before_its_commit_is_done_again(
    lived: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, _ = backed_up(lived, run)
    receipt(lived)
    whole = KeyRing.new_generation

    class Killed(BaseException):
        pass

    def killed(ring: KeyRing, counters: Any) -> None:
        whole(ring, counters)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KeyRing, "new_generation", killed)
        with pytest.raises(Killed):
            restored(lived, run, "--from", to)
    told, _ = restored(lived, run, "--from", to)
    assert told["behind"] == 1


def test_a_restore_that_was_killed_after_its_commit_is_over_once_the_service_starts(
    lived: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next restore would tell the patients of a gap that is not theirs, and revive what ended since."""
    to, _ = backed_up(lived, run)

    class Killed(BaseException):
        pass

    def killed(_: KeyRing) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KeyRing, "restored", killed)
        with pytest.raises(Killed):
            restored(lived, run, "--from", to)
    service = open_service(load(lived.folder / "again.toml"), lived.clock)
    service.grants.end(service.accounts.sign_in(LOGIN, PASSWORD), DR_B.id)
    now = service.key_service.remembered([lived.vault])
    service.close()
    ring = KeyRing(lived.folder / "keys")
    assert ring.before_restore()[lived.vault] == now[lived.vault]
    ring.close()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed file": (lambda to: (to / "log.jsonl.zst").write_bytes(b"x"), "is not the file that was written"),
    "a missing file": (lambda to: (to / "vault.jsonl.zst").unlink(), "is not the file that was written"),
    "no manifest": (lambda to: (to / "manifest.json").unlink(), "holds no whole backup"),
    "half a manifest": (lambda to: (to / "manifest.json").write_text("{"), "holds no whole backup"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_backup_is_refused_before_anything_is_written(lived: World, run: Run, case: str) -> None:
    to, _ = backed_up(lived, run)
    spoil, sentence = WRONG[case]
    spoil(to)
    told, _ = restored(lived, run, "--from", to)
    assert sentence in told
    assert not (lived.folder / "again" / "aggregator.db").exists()


def test_nothing_is_overwritten(lived: World, run: Run) -> None:
    to, keys_to = backed_up(lived, run)
    config = lived.folder / "store.toml"
    assert "never overwrites" in run("--config", config, "backup", "--to", to)
    assert "holds an installation" in run("--config", config, "restore", "--from", to)
    told, _ = restored(lived, run, "--from", to, "--keys-from", keys_to)
    assert "leave the option out" in told


def test_keys_and_database_lie_apart(lived: World, run: Run) -> None:
    config, to = lived.folder / "store.toml", lived.folder.parent / "b"
    assert "--keys-to: the keys never lie" in run("--config", config, "backup", "--to", to, "--keys-to", to / "keys")
    assert "a backup belongs elsewhere" in run("--config", config, "backup", "--to", lived.folder / "keys" / "b")
    assert not to.exists()


def test_nothing_in_the_backup_of_the_database_is_in_clear(lived: World, run: Run) -> None:
    to, keys_to = backed_up(lived, run)
    assert oct(to.stat().st_mode & 0o777) == oct(keys_to.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in keys_to.iterdir()} == {"0o600"}
    manifest = json.loads((to / "manifest.json").read_bytes())
    assert not {"owner_session", "access_token", "image"} & manifest["tables"].keys()


def test_a_backup_of_one_database_is_restored_into_the_other_and_back(lived: World, run: Run) -> None:
    if not databases.on_postgresql():
        pytest.skip("needs both databases: --store postgresql")
    to, _ = backed_up(lived, run)
    flat = lived.folder / "flat.toml"
    flat.write_text(f'[store]\npath = "{lived.folder}/flat/aggregator.db"\n[keys]\nfolder = "{lived.folder}/keys"\n')
    lived.close()
    first = run("--config", flat, "restore", "--from", to, "--json")
    second_backup = lived.folder.parent / "second"
    shutil.rmtree(second_backup, ignore_errors=True)
    run("--config", flat, "backup", "--to", second_backup, "--json")
    second, config = restored(lived, run, "--from", second_backup)
    assert first == second == {"vaults": 1, "behind": 0, "ended_grants": 0, "left_out": 0, "missing_attachments": 0}
    service = open_service(load(config), lived.clock)
    assert service.accounts.sign_in(LOGIN, PASSWORD).sections == lived.owner.sections
    service.close()


@pytest.fixture
def attached(lived: World) -> str:
    """The id of an attachment of the record."""
    made = blob.write(LocalBlobs(lived.folder / "store" / "blobs"), lived.vault, iter([bytes(50_000)]))
    with lived.store.write(lived.vault) as session:
        blob_rows.record(session, lived.vault, 1, [made])
    return made.id


def test_attachments_come_back(lived: World, run: Run, attached: str) -> None:
    to, _ = backed_up(lived, run)
    told, config = restored(lived, run, "--from", to)
    assert told["missing_attachments"] == 0
    stored = [LocalBlobs(lived.folder / name / "blobs").read(attached, 0, 1 << 20) for name in ("store", "again")]
    assert len({b"".join(parts) for _, parts in stored}) == 1
    assert {oct(file.stat().st_mode & 0o777) for file in (to / "blobs").iterdir()} == {"0o600"}
    assert config.exists()


@pytest.mark.usefixtures("attached")
def test_a_backup_that_was_killed_before_its_last_attachment_is_none(
    lived: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(blob_copies, "_write", killed)
        with pytest.raises(Killed):
            backed_up(lived, run)
    told, _ = restored(lived, run, "--from", lived.folder.parent / "backup")
    assert "holds no whole backup" in told


LOST: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: file.unlink(),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-1]),
}


@pytest.mark.parametrize("case", LOST)
def test_an_attachment_that_is_not_whole_in_the_backup_is_told(
    lived: World, run: Run, attached: str, case: str
) -> None:
    to, _ = backed_up(lived, run)
    LOST[case](to / "blobs" / attached)
    told, _ = restored(lived, run, "--from", to)
    assert told["missing_attachments"] == 1
    assert list(LocalBlobs(lived.folder / "again" / "blobs").ids()) == []


@pytest.mark.attack(24)
@weakens("aggregator.vault.key_files.FolderLock", "alone", lambda _: None)
def test_a_restore_beside_a_running_service_touches_none_of_its_counters(lived: World, run: Run) -> None:
    to, _ = backed_up(lived, run)
    service = open_service(load(lived.folder / "store.toml"), lived.clock)
    receipt(lived)
    before = service.key_service.remembered([lived.vault])
    told, _ = restored(lived, run, "--from", to)
    after = service.key_service.remembered([lived.vault])
    service.close()
    assert after == before
    assert "is in use; end what uses it" in told


def test_a_lost_key_ring_comes_back_to_the_database_that_is_there(lived: World, run: Run) -> None:
    _, keys_to = backed_up(lived, run)
    lived.grants.end(lived.owner, DR_B.id)
    second_owner(lived, MAX)
    lived.close()
    config, folder = lived.folder / "store.toml", lived.folder / "keys"
    whole = (folder / "destroyed").read_bytes()
    (folder / "ring.db").unlink()
    assert "aggregator restore --keys-from" in run("--config", config, "doctor", "--json")
    assert "move it away, but not its list" in run("--config", config, "restore", "--keys-from", keys_to)
    for file in folder.iterdir():
        if file.name != "destroyed":
            file.unlink()
    assert run("--config", config, "restore", "--keys-from", keys_to, "--json").keys() == {"ring"}
    assert (folder / "destroyed").read_bytes() == whole
    service = open_service(load(config), lived.clock)
    owner = service.accounts.sign_in(LOGIN, PASSWORD)
    assert service.key_service.rotation_due(owner.vault) == 1  # what was ended since is so
    with pytest.raises(CallerError):  # her keys were drawn after the backup
        service.accounts.sign_in("person-1", "Noch ein langes Wort")
    service.close()


def test_lost_counters_come_back_as_it_is_said(lived: World, run: Run) -> None:
    _, keys_to = backed_up(lived, run)
    receipt(lived)
    lived.close()
    file = lived.folder / "keys" / "counters.db"
    for left in lived.folder.glob("keys/counters.db*"):
        left.unlink()
    assert f"cp -p FOLDER/counters.db {file}" in run("--config", lived.folder / "store.toml", "doctor", "--json")
    shutil.copy2(keys_to / "counters.db", file)
    service = open_service(load(lived.folder / "store.toml"), lived.clock)
    service.accounts.sign_in(LOGIN, PASSWORD)
    service.close()


def test_a_restore_names_what_it_restores(lived: World, run: Run) -> None:
    assert "name --from, or --keys-from" in run("--config", lived.folder / "store.toml", "restore")
