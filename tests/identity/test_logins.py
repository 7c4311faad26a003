"""A login that was released: who gets it, who keeps it, and that nobody is talked out of a record."""

from __future__ import annotations

import pytest
from sqlmodel import select

from aggregator.errors import CallerError, OperatorError, SignInFailed
from aggregator.identity import logins
from aggregator.identity.accounts import SignedUp
from aggregator.identity.tables import Unlocker
from tests.vault.world import ERIKA, LOGIN, PASSWORD, World
from tests.weaken import weakens

ANEW = "Ein ganz neues Wort"


def release(world: World, days: int = 7) -> logins.Released:
    world.sql("DELETE FROM owner_session")
    return logins.release(world.store, world.ring, LOGIN, world.clock().timestamp(), days)


def test_who_lost_every_way_in_signs_up_anew_under_the_same_login(world: World) -> None:
    released = release(world)
    world.clock.advance(days=7)
    made = world.accounts.sign_up(LOGIN, ANEW, ERIKA)
    assert made.owner.vault != world.vault
    assert world.accounts.sign_in(LOGIN, ANEW).vault == made.owner.vault
    assert released.vault == world.vault


def test_the_old_record_stays_sealed_and_its_password_opens_it_under_the_later_login(
    world: World, template: tuple[object, SignedUp]
) -> None:
    released = release(world)
    world.clock.advance(days=7)
    made = world.accounts.sign_up(LOGIN, ANEW, ERIKA)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(LOGIN, PASSWORD)
    found = world.accounts.recover(released.later, template[1].recovery_code, "Noch ein neues Wort")
    assert (found.vault, found.root.secret) == (world.vault, world.owner.root.secret)
    assert made.owner.root.secret != found.root.secret


@pytest.mark.attack(47)
@weakens("aggregator.identity.logins", "keep", lambda *_: None)
def test_whoever_has_a_way_in_keeps_the_login_by_signing_in(world: World) -> None:
    """A stranger talked the operator into it: the owner's next sign-in voids that."""
    release(world)
    world.clock.advance(days=6)
    world.accounts.sign_in(LOGIN, PASSWORD)
    world.clock.advance(days=10)
    with pytest.raises(CallerError, match="this login is taken"):
        world.accounts.sign_up(LOGIN, ANEW, ERIKA)
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault


@pytest.mark.attack(47)
def test_a_wrong_password_keeps_nothing(world: World) -> None:
    release(world)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(LOGIN, "Ein falsches Wort")
    world.clock.advance(days=7)
    assert world.accounts.sign_up(LOGIN, ANEW, ERIKA).owner.vault


@pytest.mark.attack(47)
@pytest.mark.parametrize("seconds", [0, 7 * 86_400 - 1])
def test_a_login_is_not_free_before_its_time(world: World, seconds: int) -> None:
    release(world)
    world.clock.advance(seconds=seconds)
    with pytest.raises(CallerError, match="this login is taken"):
        world.accounts.sign_up(LOGIN, ANEW, ERIKA)
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault


def test_nothing_is_released_while_somebody_is_signed_in(world: World) -> None:
    world.accounts.sign_in(LOGIN, PASSWORD)
    with pytest.raises(OperatorError, match="somebody is signed in to this record"):
        logins.release(world.store, world.ring, LOGIN, world.clock().timestamp(), 7)


def test_a_login_that_is_none_is_told_to_the_operator(world: World) -> None:
    with pytest.raises(OperatorError, match="there is no such login"):
        logins.find(world.store, world.ring, "nobody")


def test_a_login_made_free_is_taken_once(world: World) -> None:
    release(world)
    world.clock.advance(days=7)
    world.accounts.sign_up(LOGIN, ANEW, ERIKA)
    with pytest.raises(CallerError, match="this login is taken"):
        world.accounts.sign_up(LOGIN, "Noch ein anderes Wort", ERIKA)


def test_nobody_takes_the_later_login_beforehand(world: World) -> None:
    with pytest.raises(CallerError, match="# cannot be part of one"):
        world.accounts.sign_up(logins.later(LOGIN, world.vault), ANEW, ERIKA)


def test_releasing_touches_no_unlocker(world: World) -> None:
    def rows() -> list[str]:
        with world.store.read() as session:
            return sorted(map(str, session.exec(select(Unlocker)).all()))

    before = rows()
    release(world)
    assert rows() == before
