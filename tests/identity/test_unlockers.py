"""The rows of unlockers: what two locks and a generation hold against somebody who has the database, old and new."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from sqlmodel import SQLModel

from aggregator.errors import SignInFailed, Stale, Tampered
from aggregator.identity import unlockers
from aggregator.identity.accounts import SignedUp
from aggregator.identity.tables import Unlocker
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.keys import Root
from aggregator.vault.seal import header
from tests.sync.sync_world import KilledHere
from tests.vault.world import ERIKA, LOGIN, PASSWORD, World
from tests.weaken import weakens
from tests.weakened import any_header

WRONG = "login or password is wrong"
NEW = "Ein neues langes Wort"


def change_password(world: World, password: str = NEW) -> None:
    world.accounts.replace_password(world.vault, world.owner.root, unlockers.derive(password))


@pytest.mark.attack(24, 25)
@weakens("aggregator.vault.key_ring.KeyRing", "raise_generation", lambda *_: None, about=(24,))
@weakens("aggregator.vault.key_ring.KeyRing", "generation", lambda *_: 0, about=(24,))
def test_an_old_row_does_not_bring_the_old_password_back(world: World) -> None:
    """With a copy of the database from before the change, and the password from then."""
    old = world.unlocker()
    change_password(world)
    new = world.unlocker()
    world.store_unlocker(old)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)
    world.store_unlocker(new)
    assert world.accounts.sign_in(LOGIN, NEW).vault == world.vault


@pytest.mark.attack(21, 24)
@weakens(
    "aggregator.identity.unlockers", "outer_header", lambda row: header("unlocker", row.vault, name=row.id), about=(24,)
)
def test_an_old_row_is_not_made_newer_by_its_number(world: World) -> None:
    owner = world.accounts.sign_up("uwe", PASSWORD, ERIKA).owner
    old = world.unlocker(vault=owner.vault)
    world.accounts.replace_password(owner.vault, owner.root, unlockers.derive(NEW))
    old.generation = world.ring.generation(owner.vault)
    world.store_unlocker(old)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in("uwe", PASSWORD)


@pytest.mark.attack(24, 48)
@weakens("aggregator.identity.unlockers", "genuine", lambda _, rows: list(rows), about=(48,))
def test_what_was_committed_and_not_told_to_the_key_service_is_told_at_the_next_sign_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends between commit and key service: nothing is locked out, and the old row is dead all the same."""
    old, before = world.unlocker(), world.ring.generation(world.vault)

    def killed(*_: object) -> None:
        raise KilledHere

    with monkeypatch.context() as ending:
        ending.setattr(KeyRing, "raise_generation", killed)
        with pytest.raises(KilledHere):
            change_password(world)
    new = world.unlocker()
    assert world.ring.generation(world.vault) == before
    world.store_unlocker(old)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)
    assert world.ring.generation(world.vault) == before + 1
    world.store_unlocker(new)
    assert world.accounts.sign_in(LOGIN, NEW).vault == world.vault
    with world.store.read() as session:
        assert {row.kind for row in world.accounts.unlockers(session, world.vault)} == {"password", "recovery"}


def test_restoring_an_older_copy_brings_back_what_opened_it_then(world: World) -> None:
    old = [world.unlocker(), world.unlocker("recovery")]
    change_password(world)
    unlockers.restore(world.ring, old)
    for row in old:
        world.store_unlocker(row)
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, NEW)


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_restoring_makes_no_forged_row_genuine(world: World) -> None:
    forged = Unlocker(**world.unlocker("recovery").model_dump() | {"kind": "password"})
    before = (forged.box, forged.generation)
    change_password(world)
    unlockers.restore(world.ring, [forged])
    assert (forged.box, forged.generation) == before


@pytest.mark.attack(47)
def test_a_sign_in_that_meets_a_new_password_opens_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old password was right when it was tried; the change ended every session, and this one comes after it."""
    opened = unlockers.unlock

    def overtaken(*told: Any) -> Root:
        root = opened(*told)
        monkeypatch.setattr(unlockers, "unlock", opened)
        change_password(world)
        return root

    monkeypatch.setattr(unlockers, "unlock", overtaken)
    with pytest.raises(Stale, match="try again"):
        world.accounts.sign_in(LOGIN, PASSWORD)
    now = world.clock().timestamp()
    assert world.accounts.sessions.listed(world.vault, world.owner.root, now) == []


def test_a_generation_never_falls_and_is_each_vaults_own(world: World) -> None:
    world.ring.raise_generation(world.vault, 5)
    world.ring.raise_generation(world.vault, 3)
    assert (world.ring.generation(world.vault), world.ring.generation("another")) == (5, 0)


def test_the_other_unlockers_live_on(world: World, template: tuple[object, SignedUp]) -> None:
    change_password(world)
    recovered = world.accounts.recover(LOGIN, template[1].recovery_code, "Noch ein neues Wort")
    assert recovered.root.secret == world.owner.root.secret
    assert world.accounts.recovery_proven(world.vault)


def test_a_forged_row_neither_counts_nor_stands_in_the_way(world: World) -> None:
    junk = world.unlocker("recovery")
    forged = Unlocker(**junk.model_dump() | {"id": "f" * 16, "kind": "passkey"})
    world.store_unlocker(forged)
    with world.store.read() as session:
        assert "f" * 16 not in {row.id for row in world.accounts.unlockers(session, world.vault)}
    change_password(world)
    assert world.accounts.sign_in(LOGIN, NEW).vault == world.vault


@pytest.mark.attack(26)
@weakens("aggregator.vault.ring_rows.RingRows", "shred", lambda *_: bytes(32))
def test_without_the_shred_key_the_right_password_opens_nothing(world: World) -> None:
    """Erased: the database, from any backup, with the right password and the rest of the key service."""
    vault = world.accounts.sign_up("uwe", PASSWORD, ERIKA).owner.vault
    with closing(sqlite3.connect(world.folder / "keys" / "ring.db", isolation_level=None)) as ring:
        ring.execute("DELETE FROM vault WHERE id = ?", (vault,))
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in("uwe", PASSWORD)
    row = world.unlocker(vault=vault)
    key = unlockers.again(row.parameters, PASSWORD)
    with pytest.raises(Tampered):
        unlockers.unwrap(key, unlockers.inner_header(row), row.box)


@pytest.mark.attack(23)
@pytest.mark.usefixtures("real_argon2")
def test_a_password_costs_what_the_format_says() -> None:
    """FORMAT.md section 4. What is derived for less, by whatever accident, is seen here."""
    made = unlockers.derive(NEW)
    cost = orjson.loads(made.parameters)
    salt = bytes.fromhex(cost.pop("salt"))
    assert cost == {"memory_kib": 64 * 1024, "iterations": 3, "lanes": 4}
    key = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
    assert made.key == key.derive(NEW.encode())


def test_changing_a_password_touches_no_data(world: World) -> None:
    world.append("results", world.put("Observation/1"))
    before = _rows(world)
    change_password(world)
    after = _rows(world)
    assert {name for name in before if before[name] != after[name]} == {"unlocker", "owner_session"}


_TABLES = SQLModel.metadata.tables


def _rows(world: World) -> dict[str, list[str]]:
    """Every row of every table."""
    with world.store.read() as session:
        connection = session.connection()
        return {name: sorted(map(str, connection.execute(table.select()))) for name, table in _TABLES.items()}
