"""Waits after wrong passwords: how they grow, where they end, what is forgotten, and whom they do not bar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import col, select, update

from aggregator.errors import SignInFailed
from aggregator.identity import attempts
from aggregator.identity.accounts import SignedUp
from aggregator.identity.tables import Attempts
from aggregator.identity.unlockers import format_code
from tests.vault.world import LOGIN, PASSWORD, World
from tests.weaken import weakens

HANDLE = b"h" * 16
NOW = 1_795_000_000.0


@pytest.fixture
def code(template: tuple[object, SignedUp]) -> str:
    return template[1].recovery_code


def count(world: World, now: float, login: bytes = HANDLE) -> float:
    with world.store.write() as session:
        return attempts.count(session, login, now)


def failures(world: World) -> list[int]:
    with world.store.read() as session:
        return [row.failures for row in session.exec(select(Attempts))]


def set_row(world: World, **values: float) -> None:
    with world.store.write() as session:
        session.exec(update(Attempts).where(col(Attempts.login) == HANDLE).values(**values))


def test_the_wait_doubles_up_to_a_minute(world: World) -> None:
    now, waits = NOW, []
    for _ in range(13):
        assert count(world, now) == 0
        with world.store.read() as session:
            waits.append(session.get_one(Attempts, HANDLE).next_at - now)
        now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.attack(47)
@given(number=st.integers(1, 2**62))
def test_no_number_of_failures_gives_more_than_a_minute_or_breaks(number: int) -> None:
    assert 0 <= attempts._wait(number) <= 60


@pytest.mark.attack(47)
@pytest.mark.parametrize("number", [1028, 1029, 1_000_000])
def test_ever_more_failures_are_still_counted(world: World, number: int) -> None:
    count(world, NOW)
    set_row(world, failures=number)
    assert count(world, NOW) == 0
    assert failures(world) == [number + 1]
    assert count(world, NOW) == 60


def test_a_try_that_comes_too_early_is_not_counted_and_lengthens_nothing(world: World) -> None:
    for _ in range(5):
        count(world, NOW)
    assert [count(world, NOW + 0.25) for _ in range(3)] == [0.75] * 3
    assert failures(world) == [5]


def test_after_an_hour_a_login_is_forgotten(world: World) -> None:
    for _ in range(5):
        count(world, NOW)
    count(world, NOW + 3600, b"another login's")
    assert sorted(failures(world)) == [1, 5]  # its wait ended a second later, and the hour begins then
    count(world, NOW + 3602, b"another login's")
    assert failures(world) == [2]


@pytest.mark.attack(50)
@weakens("aggregator.identity.attempts", "_LONGEST_WAIT", 1e9)
def test_a_clock_that_was_set_back_keeps_nobody_out(world: World) -> None:
    for _ in range(5):
        count(world, NOW)
    assert count(world, NOW - 86_400) == 0


@pytest.mark.attack(47)
def test_a_refused_sign_in_leaves_its_count_behind(world: World) -> None:
    for _ in range(2):
        with pytest.raises(SignInFailed):
            world.accounts.sign_in("nobody", "Ein falsches Wort")
    assert failures(world) == [2]


# --- the recovery code


@pytest.mark.attack(47)
def test_no_strangers_tries_bar_the_recovery_code_and_a_new_password_ends_the_wait(world: World, code: str) -> None:
    _lock_out(world)
    with pytest.raises(SignInFailed, match="too many tries"):
        world.accounts.sign_in(LOGIN, PASSWORD)
    world.accounts.recover(LOGIN, code, "Ein neues langes Wort")
    assert world.accounts.sign_in(LOGIN, "Ein neues langes Wort").vault == world.vault


@pytest.mark.attack(47)
def test_wrong_recovery_codes_bar_no_password(world: World) -> None:
    for _ in range(9):
        with pytest.raises(SignInFailed, match="login or password is wrong"):
            world.accounts.prove_recovery(LOGIN, format_code("a" * 26))
    assert failures(world) == []
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault


def _lock_out(world: World) -> None:
    """What a stranger leaves behind who tried often."""
    until = world.clock().timestamp() + 60
    with world.store.write() as session:
        session.add(Attempts(login=world.ring.handle("login", LOGIN), failures=50, next_at=until))
