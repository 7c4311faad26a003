"""Sign-ins at the same time: one derivation at a time, a bounded queue, and nobody else's threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggregator.errors import Stale
from aggregator.identity import unlockers
from aggregator.identity.turns import Busy, Turns
from aggregator.identity.unlockers import Argon2Parameters
from tests.vault.world import LOGIN, PASSWORD, World


@pytest.mark.attack(47)
@pytest.mark.timeout(60)
def test_many_derive_at_once_and_none_waits_for_ever() -> None:
    """Two derivations at once, outside the lock, hang or fail with MemoryError."""
    with ThreadPoolExecutor(6) as pool:
        keys = set(pool.map(lambda _: _derived(), range(12)))
    assert len(keys) == 1


def _derived() -> bytes:
    return unlockers._argon2(PASSWORD, bytes(16), Argon2Parameters())


@pytest.mark.timeout(60)
def test_many_sign_in_at_once(world: World) -> None:
    async def all_at_once() -> list[str]:
        turns = Turns()
        owners = await asyncio.gather(*(turns.take(world.accounts.sign_in, LOGIN, PASSWORD) for _ in range(4)))
        return [owner.vault for owner in owners]

    assert asyncio.run(all_at_once()) == [world.vault] * 4


@pytest.mark.attack(47)
def test_who_comes_when_too_many_wait_is_told_at_once() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> bool:
        entered.set()
        return leave.wait(30)

    async def crowd() -> list[bool]:
        turns = Turns(most=2)
        inside = [asyncio.ensure_future(turns.take(slow)) for _ in range(2)]
        await asyncio.to_thread(entered.wait, 30)
        with pytest.raises(Busy, match="too many people are signing in just now"):
            await turns.take(slow)
        leave.set()
        await asyncio.gather(*inside)
        return [await turns.take(slow)]

    assert asyncio.run(crowd()) == [True]
    assert issubclass(Busy, Stale)  # which the API answers with 503


def test_who_goes_away_keeps_the_place_until_the_work_is_done() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait(30)

    async def impatient() -> None:
        turns = Turns(most=1)
        gone = asyncio.ensure_future(turns.take(slow))
        await asyncio.to_thread(entered.wait, 30)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        with pytest.raises(Busy):
            await turns.take(slow)
        leave.set()
        while True:
            try:
                return await turns.take(slow)
            except Busy:
                await asyncio.sleep(0)

    asyncio.run(impatient())


def test_turns_are_taken_on_a_thread_of_their_own() -> None:
    async def name() -> str:
        return await Turns().take(lambda: threading.current_thread().name)

    assert asyncio.run(name()).startswith("sign-in")


def test_what_a_call_raises_comes_back_and_frees_its_place() -> None:
    def broken() -> None:
        raise ValueError("on purpose")

    async def twice() -> None:
        turns = Turns(most=1)
        for _ in range(2):
            with pytest.raises(ValueError, match="on purpose"):
                await turns.take(broken)

    asyncio.run(twice())
