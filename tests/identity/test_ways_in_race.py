"""Ways in are changed by two at once: what was changed away changes nothing more, and one code always stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, delete, select

from aggregator.errors import SignInFailed, Stale
from aggregator.identity import unlockers
from aggregator.identity.passkeys import Passkeys
from aggregator.identity.tables import Unlocker
from aggregator.identity.ways_in import WaysIn
from tests.vault.world import LOGIN, PASSWORD, World
from tests.weaken import weakens

THIEFS = "Passwort des Diebes 1"


@pytest.fixture
def ways(world: World) -> WaysIn:
    passkeys = Passkeys(world.store, world.ring, world.clock, "https://record.example")
    return WaysIn(world.store, world.ring, world.accounts, passkeys, world.clock)


def between(patch: pytest.MonkeyPatch, target: Any, name: str, meanwhile: Callable[[], object]) -> None:
    """Once, behind a call that reads and before what is done with it, something else happens."""
    real = getattr(target, name)

    def read(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        patch.setattr(target, name, real)
        meanwhile()
        return found

    patch.setattr(target, name, read)


def proven_code(world: World, ways: WaysIn) -> str:
    code = ways.renew_recovery(world.owner)
    world.accounts.prove_recovery(LOGIN, code)
    return code


@pytest.mark.attack(26, 47)
@weakens("aggregator.identity.accounts", "_still_opens", lambda session, row: session.merge(row), about=(47,))
def test_a_code_that_dies_while_it_is_used_sets_no_password(
    world: World, ways: WaysIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = proven_code(world, ways)
    between(monkeypatch, unlockers, "derive", lambda: proven_code(world, ways))
    with pytest.raises(Stale, match="try again"):
        world.accounts.recover(LOGIN, stolen, THIEFS)
    world.clock.advance(hours=1)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(LOGIN, THIEFS)
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault


def test_a_code_typed_back_while_another_is_made_leaves_both_that_count(
    world: World, ways: WaysIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = proven_code(world, ways)
    shown = ways.renew_recovery(world.owner)
    newer: list[str] = []
    between(monkeypatch, world.accounts, "_unlock", lambda: newer.append(ways.renew_recovery(world.owner)))
    with pytest.raises(Stale, match="try again"):
        world.accounts.prove_recovery(LOGIN, shown)
    assert sorted(one.proven for one in ways.listed(world.owner) if one.kind == unlockers.RECOVERY) == [False, True]
    assert [world.accounts.sign_in_by_code(LOGIN, code).vault for code in (before, *newer)] == [world.vault] * 2


def test_the_old_and_the_new_code_typed_back_at_once_leave_one(
    world: World, ways: WaysIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = proven_code(world, ways)
    new = ways.renew_recovery(world.owner)
    between(monkeypatch, world.accounts, "_unlock", lambda: world.accounts.prove_recovery(LOGIN, new))
    with pytest.raises(Stale, match="try again"):
        world.accounts.prove_recovery(LOGIN, old)
    assert world.accounts.sign_in_by_code(LOGIN, new).vault == world.vault
    assert world.accounts.recovery_proven(world.vault)


@pytest.mark.attack(24, 25)
@weakens("aggregator.vault.key_ring.KeyRing", "raise_generation", lambda *_: None, about=(24, 25))
def test_a_row_that_is_hidden_while_it_is_replaced_does_not_come_back(world: World, ways: WaysIn) -> None:
    """Whoever has the database takes the row away for a moment, and puts it back behind the owner's change."""
    kept = hidden(world, unlockers.PASSWORD)
    ways.set_password(world.owner, "Ganz neues Passwort 1")
    put_back(world, kept)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(LOGIN, PASSWORD)
    code = ways.renew_recovery(world.owner)
    old_code = hidden(world, unlockers.RECOVERY)
    new_code = ways.renew_recovery(world.owner)
    put_back(world, old_code)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in_by_code(LOGIN, code)
    assert world.accounts.sign_in_by_code(LOGIN, new_code).vault == world.vault


def hidden(world: World, kind: str) -> list[dict[str, Any]]:
    with world.store.write() as session:
        rows = [one.model_dump() for one in session.exec(select(Unlocker).where(Unlocker.kind == kind))]
        session.exec(delete(Unlocker).where(col(Unlocker.kind) == kind))
    return rows


def put_back(world: World, rows: list[dict[str, Any]]) -> None:
    with world.store.write() as session:
        for row in rows:
            session.merge(Unlocker(**row))
