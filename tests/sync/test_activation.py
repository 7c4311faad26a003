"""Activation codes: tries are limited, expired ones are swept, the operator lists and voids them."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import select

from aggregator.errors import CallerError, Refused
from aggregator.sync import activation, schedule
from aggregator.sync.tables import Activation, WrongCodes
from tests.sync.sync_world import SyncWorld
from tests.sync.test_feeds import MAX, max_owner
from tests.vault.world import ERIKA
from tests.weaken import weakens

WRONG = "AAAA-BBBB-CCCC-DDDD"


def redeem(syncing: SyncWorld, code: str) -> str:
    return syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code)


def guess(syncing: SyncWorld, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Refused, match="this activation code is not valid"):
            redeem(syncing, WRONG)


@pytest.mark.attack(55)
@weakens("aggregator.sync.activation", "count_try", lambda _session, _vault, _now: None)
def test_ten_wrong_codes_an_hour_are_enough(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", ERIKA)
    guess(syncing, 10)
    with pytest.raises(CallerError, match=r"^too many activation codes that are not valid; try again in an hour$"):
        redeem(syncing, code)
    syncing.clock.advance(minutes=59)
    with pytest.raises(CallerError, match="too many"):
        redeem(syncing, code)
    syncing.clock.advance(minutes=1)
    assert redeem(syncing, code)


def test_one_owners_tries_keep_no_other_out(syncing: SyncWorld) -> None:
    guess(syncing, 10)
    code = syncing.connections.issue_code("labor", MAX)
    assert syncing.connections.redeem(syncing.world.signing.signer(max_owner(syncing)), code)


def test_a_right_code_ends_the_count(syncing: SyncWorld) -> None:
    guess(syncing, 9)
    redeem(syncing, syncing.connections.issue_code("labor", ERIKA))
    guess(syncing, 10)


@pytest.mark.attack(50)
def test_a_clock_that_is_set_back_keeps_nobody_out(syncing: SyncWorld) -> None:
    guess(syncing, 10)
    syncing.clock.advance(days=-1)
    assert redeem(syncing, syncing.connections.issue_code("labor", ERIKA))


def test_expired_codes_and_old_counts_are_swept(syncing: SyncWorld) -> None:
    syncing.connections.issue_code("labor", ERIKA)
    guess(syncing, 1)
    syncing.clock.advance(days=29)
    code = syncing.connections.issue_code("labor", MAX)
    asyncio.run(schedule.sync(syncing.worker, due_only=True))
    syncing.clock.advance(days=2)
    asyncio.run(schedule.sync(syncing.worker, due_only=True))
    with syncing.store.read() as session:
        assert session.exec(select(WrongCodes)).all() == []
        (row,) = session.exec(select(Activation))
    assert row.code.hex().startswith(activation.prefix(syncing.world.worker, code))


def test_the_operator_voids_a_code_by_its_handle(syncing: SyncWorld) -> None:
    codes = [syncing.connections.issue_code("labor", person) for person in (ERIKA, MAX)]
    prefixes = [activation.prefix(syncing.world.worker, code) for code in codes]
    with syncing.store.read() as session:
        assert {one.prefix for one in activation.issued(session)} == set(prefixes)
    with syncing.store.write() as session:
        activation.void(session, prefixes[0].upper())
        assert [one.prefix for one in activation.issued(session)] == [prefixes[1]]
    with pytest.raises(Refused):
        redeem(syncing, codes[0])


@pytest.mark.parametrize(("start", "told"), [("", "no codes begin so"), ("0123456789abcdef", "0 codes begin so")])
def test_a_prefix_that_names_no_one_code_voids_none(syncing: SyncWorld, start: str, told: str) -> None:
    syncing.connections.issue_code("labor", ERIKA)
    with syncing.store.write() as session, pytest.raises(CallerError, match=told):
        activation.void(session, start)
    with syncing.store.read() as session:
        assert len(activation.issued(session)) == 1
