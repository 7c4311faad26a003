"""An invitation lets one person sign up, once, in time; where sign-up is closed nobody does."""

from __future__ import annotations

import pytest

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, Refused
from aggregator.identity import invitations
from tests.vault.world import World

UWE = Person(family="Nord", given="Uwe", birth_date="1961-02-03")
PASSWORD = "größere Länge"
DAY = 86_400


def _issued(world: World) -> str:
    world.accounts.who_signs_up = "invitation"
    return invitations.issue(world.store, world.ring, world.clock().timestamp(), 14)


def test_it_is_good_once(world: World) -> None:
    code = _issued(world)
    assert world.accounts.sign_up("uwe", PASSWORD, UWE, invitation=code.lower().replace("-", " ")).owner.vault
    with pytest.raises(CallerError, match=r"^invitation: it is not valid, or not any more$"):
        world.accounts.sign_up("udo", PASSWORD, UWE, invitation=code)


def test_it_ends(world: World) -> None:
    code = _issued(world)
    world.clock.advance(seconds=14 * DAY)
    with pytest.raises(CallerError, match=r"^invitation:"):
        world.accounts.sign_up("uwe", PASSWORD, UWE, invitation=code)


def test_without_one_nothing_is_told_of_a_login(world: World) -> None:
    code = _issued(world)
    world.accounts.sign_up("uwe", PASSWORD, UWE, invitation=code)
    told = set()
    for login in ("uwe", "udo"):
        with pytest.raises(CallerError) as refused:
            world.accounts.sign_up(login, PASSWORD, UWE)
        told.add(str(refused.value))
    assert len(told) == 1


def test_a_sign_up_that_fails_leaves_it_good(world: World) -> None:
    code = _issued(world)
    with pytest.raises(CallerError, match="password"):
        world.accounts.sign_up("uwe", "kurz", UWE, invitation=code)
    assert world.accounts.sign_up("uwe", PASSWORD, UWE, invitation=code).owner.vault


def test_where_it_is_closed_nobody_signs_up(world: World) -> None:
    world.accounts.who_signs_up = "closed"
    with pytest.raises(Refused, match=r"^nobody can sign up here"):
        world.accounts.sign_up("uwe", PASSWORD, UWE)
