"""The key ring's files: who may read them, what outlives a backup, and a new master key at every crash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import select

from aggregator.consent.grant import signed
from aggregator.errors import OperatorError, Refused, Tampered
from aggregator.identity import unlockers
from aggregator.identity.tables import Unlocker
from aggregator.vault import key_files, ring_folder
from aggregator.vault.destroyed import DestroyedList, Place
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.ring_folder import FILES
from aggregator.vault.seal import header
from tests.vault.world import World
from tests.weaken import weakens

HEAD = header("unlocker", "a", name="password")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ring = KeyRing.create(tmp_path / "ring")
    ring.create_vault("a", bytes(32))
    ring.close()
    return tmp_path / "ring"


# Who may read it.


@weakens("aggregator.vault.key_files", "refuse_open_to_others", lambda _: None)
@pytest.mark.parametrize("name", ["", "ring.db", "counters.db", "destroyed"])
def test_a_ring_that_others_can_read_is_not_opened(folder: Path, name: str) -> None:
    path = folder / name
    if not path.exists():
        path.touch()
    path.chmod(0o750 if path.is_dir() else 0o640)
    with pytest.raises(OperatorError, match=f"can be read by others; run: chmod {'600' if name else '700'} "):
        KeyRing(folder)


def test_a_ring_of_another_user_is_not_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.vault.key_files.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(OperatorError, match="belongs to another user"):
        KeyRing(folder)


def test_a_half_made_ring_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at each step of making one: the folder is not there, and the next start makes it."""
    for step in ("write", "write_key"):
        with monkeypatch.context() as patched:
            patched.setattr(key_files, step, _killed)
            with pytest.raises(Killed):
                KeyRing.create(tmp_path / "ring")
        assert not (tmp_path / "ring").exists()
    KeyRing.create(tmp_path / "ring").close()
    assert {path.name for path in (tmp_path / "ring").iterdir()} == set(FILES) - {"destroyed"}


def _killed(*_: object) -> None:
    raise Killed


# A backup of the ring does not bring back what was destroyed.


def put_back(world: World, backup: Path) -> KeyRing:
    """The ring as it was; the list of destroyed keys is not taken from the backup."""
    world.ring.close()
    shutil.copy(backup / "ring.db", world.folder / "keys" / "ring.db")
    world.ring = KeyRing(world.folder / "keys")
    return world.ring


def backup(world: World, into: Path) -> Path:
    shutil.copytree(world.folder / "keys", into)
    return into


@pytest.mark.attack(25)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_a_grant_destroyed_after_the_backup_stays_dead(world: World, tmp_path: Path) -> None:
    world.permit()
    grant, older = world.grant(), backup(world, tmp_path / "backup")
    assert world.opened().patient
    world.ring.destroy_grant(world.vault, grant.id)
    ring = put_back(world, older)
    with pytest.raises(Refused, match="holds no such key"):
        ring.open_grant(signed(grant), world.ticket(), world.opening(), world.clock())
    assert ring.rotation_due(world.vault) == 1  # what the ended grant held is told again too


@pytest.mark.attack(25, 48)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_a_restore_of_the_ring_that_is_killed_loses_no_line_of_the_list(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its renames, the last of them the folder's own: done again, what was destroyed stays so."""
    world.permit()
    grant, older, folder = world.grant(), backup(world, tmp_path / "backup"), world.folder / "keys"
    world.ring.destroy_grant(world.vault, grant.id)
    world.ring.close()
    for file in folder.iterdir():
        if file.name != "destroyed":
            file.unlink()
    renames = 0
    while True:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", _killed_after(renames))
            try:
                ring_folder.restore(older, folder, folder / "destroyed")
                break
            except Killed:
                renames += 1
    assert renames > 5
    world.ring = KeyRing(folder)
    with pytest.raises(Refused, match="holds no such key"):
        world.ring.open_grant(signed(grant), world.ticket(), world.opening(), world.clock())


def _killed_after(renames: int) -> Callable[[Path, Path], Path]:
    real, left = Path.rename, [None] * renames

    def rename(path: Path, target: Path) -> Path:
        if not left:
            raise Killed
        left.pop()
        return real(path, target)

    return rename


@pytest.mark.attack(25)
@weakens("aggregator.vault.destroyed.DestroyedList", "behind", lambda *_: iter(()))
def test_a_grant_made_and_ended_after_the_backup_has_the_keys_change(world: World, tmp_path: Path) -> None:
    """The ring from the backup never had its key: the list alone knows of which epoch it was."""
    older = backup(world, tmp_path / "backup")
    world.permit()
    world.ring.destroy_grant(world.vault, world.grant().id)
    assert put_back(world, older).rotation_due(world.vault) == 1


@pytest.mark.attack(26)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_a_vault_erased_after_the_backup_stays_unreadable_with_the_right_password(world: World, tmp_path: Path) -> None:
    with world.store.read() as session:
        row = session.exec(select(Unlocker).where(Unlocker.vault == world.vault)).first()
    assert row is not None
    head = unlockers.outer_header(row)
    older = backup(world, tmp_path / "backup")
    assert world.ring.unlock(world.vault, head, row.box)
    world.ring.destroy_vault(world.vault)
    ring = put_back(world, older)
    with pytest.raises(Refused, match="holds no such key"):
        ring.unlock(world.vault, head, row.box)


@pytest.mark.attack(25)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_an_unlocker_removed_after_the_backup_stays_removed(world: World, tmp_path: Path) -> None:
    older = backup(world, tmp_path / "backup")
    world.ring.raise_generation(world.vault, 7)
    assert put_back(world, older).generation(world.vault) == 7


@pytest.mark.attack(26)
@weakens("aggregator.vault.ring_rows.RingRows", "erased", lambda *_: False)
def test_an_erased_vaults_id_is_nobodys_again(world: World, tmp_path: Path) -> None:
    """Consents of others name a carer by it. After a restore no counter remembers it, and the list does."""
    older = backup(world, tmp_path / "backup")
    world.ring.destroy_vault(world.vault)
    ring = put_back(world, older)
    ring.new_generation({})
    ring.restored()
    with pytest.raises(Refused, match="does not come back under its id"):
        ring.create_vault(world.vault, bytes(32))


CUTS: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "a line less": lambda data: data[: data[:-1].rindex(b"\n") + 1],
    "another last line": lambda data: data[:-6] + b"xxxxx\n",
}


@pytest.mark.attack(25)
@pytest.mark.parametrize("case", CUTS)
@weakens("aggregator.vault.destroyed.DestroyedList", "behind", lambda *_: iter(()))
def test_a_list_that_was_cut_off_stops_the_start(folder: Path, case: str) -> None:
    ring = KeyRing(folder)
    for grant in ("one", "two"):
        ring.destroy_grant("a", grant)
    ring.close()
    path = folder / "destroyed"
    left = CUTS[case](path.read_bytes())
    path.unlink()
    if left is not None:
        key_files.write(path, left)
    with pytest.raises(OperatorError, match="shorter than the key ring remembers, or another list"):
        KeyRing(folder)


@pytest.mark.attack(25)
@weakens("aggregator.vault.destroyed", "_hash", lambda _: "0" * 32)
def test_a_line_taken_out_of_the_list_is_noticed_by_an_older_ring(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "backup")
    ring = KeyRing(folder)
    for grant in ("one", "two", "three"):
        ring.destroy_grant("a", grant)
    ring.close()
    lines = (folder / "destroyed").read_bytes().splitlines(keepends=True)
    key_files.write(tmp_path / "backup" / "destroyed", lines[0] + lines[2])
    with pytest.raises(OperatorError, match="a line does not follow the one before"):
        KeyRing(tmp_path / "backup")


@pytest.mark.attack(48)
def test_a_torn_line_destroyed_nothing_and_the_list_goes_on(tmp_path: Path) -> None:
    listed = DestroyedList(tmp_path / "destroyed")
    listed.append("vault", "a")
    with listed.path.open("ab") as file:
        file.write(b"0123 vau")
    assert [words for words, _ in listed.behind(Place())] == [["vault", "a"]]
    listed.append("vault", "b")
    assert [words for words, _ in listed.behind(Place())] == [["vault", "a"], ["vault", "b"]]


def test_the_list_may_lie_on_another_disk(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring", tmp_path / "elsewhere")
    ring.create_vault("a", bytes(32))
    ring.destroy_vault("a")
    ring.close()
    assert (tmp_path / "elsewhere").read_text().endswith(" vault a\n")
    with pytest.raises(OperatorError, match="shorter than the key ring remembers"):
        KeyRing(tmp_path / "ring")


# A new master key.


def all_it_does(ring: KeyRing) -> list[object]:
    """Everything that must not change with the master key."""
    return [
        ring.ring,
        ring.handle("party", "x"),
        ring.audit_verification_key(),
        ring.system_audit().public().raw,
        ring.hold_public().raw,
        ring.verification_key("a"),
    ]


def test_a_new_master_key_changes_nothing_else(folder: Path) -> None:
    ring = KeyRing(folder)
    box, before = ring.lock("a", HEAD, b"root"), all_it_does(ring)
    files = {name: (folder / name).read_bytes() for name in ("master.key", "ring.db")}
    ring.rotate_master()
    for one in (ring, KeyRing(folder)):
        assert (one.unlock("a", HEAD, box), all_it_does(one)) == (b"root", before)
        one.close()
    assert not {name for name, data in files.items() if (folder / name).read_bytes() == data}
    assert {path.name for path in folder.iterdir()} == set(FILES) - {"destroyed"}


def test_the_old_master_key_opens_the_ring_no_more(folder: Path) -> None:
    old = (folder / "master.key").read_bytes()
    ring = KeyRing(folder)
    ring.rotate_master()
    ring.close()
    key_files.write(folder / "master.key", old)
    with pytest.raises(OperatorError, match="the master key is not the one"):
        KeyRing(folder)


def test_a_ring_in_use_gets_no_new_master_key(folder: Path) -> None:
    ring, other = KeyRing(folder), KeyRing(folder)
    with pytest.raises(OperatorError, match="is in use"):
        ring.rotate_master()
    other.close()
    ring.rotate_master()
    ring.close()


STEPS = [
    ("aggregator.vault.master_key.FileKey.successor", "before the new key"),
    ("aggregator.vault.ring_rows.RingRows.rewrap", "before the ring's commit"),
    ("aggregator.vault.ring_rows._again", "within it"),
    ("aggregator.vault.master_key.FileKey.settle", "before the new name"),
    ("aggregator.vault.key_files.sync_folder", "anywhere in the files"),
]


@pytest.mark.attack(48)
@pytest.mark.parametrize(("place", "when"), STEPS)
def test_killed_while_the_master_key_changes(
    folder: Path, place: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = when
    ring = KeyRing(folder)
    box, before = ring.lock("a", HEAD, b"root"), all_it_does(ring)
    with monkeypatch.context() as patched:
        patched.setattr(place, _killed)
        with pytest.raises(Killed):
            ring.rotate_master()
    ring.close()
    again = KeyRing(folder)
    assert (again.unlock("a", HEAD, box), all_it_does(again)) == (b"root", before)
    again.rotate_master()
    assert again.unlock("a", HEAD, box) == b"root"
    again.close()
    assert not list(folder.glob("*.new"))


def test_tokens_stay_valid_and_no_key_is_anothers(folder: Path) -> None:
    ring = KeyRing(folder)
    ring.create_vault("b", bytes(32))
    box = ring.lock("a", HEAD, b"root")
    ring.rotate_master()
    with pytest.raises(Tampered):
        ring.unlock("b", HEAD, box)
    ring.close()
