"""How much a grantee may ask for: over servers, restarts and windows, in all and of each record."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import col, delete

from aggregator.config import LimitSettings
from aggregator.identity import allowances
from aggregator.identity.allowances import Allowances, Throttled
from aggregator.identity.tables import Allowance
from tests.vault.world import World
from tests.weaken import weakens

LIMITS = LimitSettings(
    records_per_hour=3,
    requests_per_minute=60,
    record_requests_per_minute=40,
    megabytes_per_hour=2,
    record_megabytes_per_hour=1,
)
MANY = 500


@pytest.fixture(autouse=True)
def on_the_hour(world: World) -> None:
    world.clock.now = world.clock.now.replace(minute=0, second=0, microsecond=0)


def server(world: World) -> Allowances:
    """One that begins to serve."""
    return Allowances(world.store, world.ring, world.clock, LIMITS)


def admitted(one: Allowances, party: str, vault: str, most: int = MANY) -> int:
    """How many requests are, one after the other, until one is not."""
    for number in range(most):
        try:
            asyncio.run(one.admit(party, vault))
        except Throttled:
            return number
    return most


def opened(one: Allowances, party: str, *vaults: str) -> list[str]:
    """Which records are."""
    found = []
    for vault in vaults:
        try:
            asyncio.run(one.opening(party, vault))
        except Throttled:
            continue
        found.append(vault)
    return found


@pytest.mark.attack(10)
@weakens("aggregator.identity.allowances.Allowances", "_take", lambda *_: 10**6)
def test_so_many_requests_in_a_minute_of_one_record_and_in_all(world: World) -> None:
    one = server(world)
    assert admitted(one, "praxis", "v1") == 40
    assert admitted(one, "praxis", "v2") == 20
    assert admitted(one, "praxis", "v3") == 0
    assert admitted(one, "labor", "v1", 10) == 10  # another's limit is another's
    world.clock.advance(seconds=59)
    assert admitted(one, "praxis", "v1") == 0
    world.clock.advance(seconds=1)
    assert admitted(one, "praxis", "v1") == 40


def test_many_at_once_take_it_out_together(world: World) -> None:
    """Not a part of the window each, and none of them is refused while there is some left."""
    one = server(world)

    async def ask() -> None:
        await asyncio.gather(*(one.admit("praxis", "v1") for _ in range(40)))

    asyncio.run(ask())
    assert not any(one.refused.values())


@pytest.mark.attack(10)
def test_a_limit_says_when_there_is_more(world: World) -> None:
    one = server(world)
    admitted(one, "praxis", "v1")
    world.clock.advance(seconds=12)
    with pytest.raises(Throttled, match="requests of one record; there is more in 48 seconds") as raised:
        asyncio.run(one.admit("praxis", "v1"))
    assert raised.value.seconds == 48
    assert {what: number for what, number in one.refused.items() if number} == {"requests of one record": 2}


@pytest.mark.attack(10)
@weakens(
    "aggregator.identity.allowances.Allowances", "_taken", lambda _self, _session, _limit, _key, _now, wanted: wanted
)
def test_a_restart_gives_nothing_back_and_two_servers_share_one_limit(world: World) -> None:
    before, after, beside = server(world), server(world), server(world)
    first = admitted(before, "praxis", "v1", 11)
    second = [admitted(one, "praxis", "v1", 1) for _ in range(MANY) for one in (after, beside)]
    assert first == 11
    assert 40 - 2 < first + sum(second) <= 40  # what `before` had taken and not spent is lost: less than a slice
    assert server(world).refused == dict.fromkeys(before.refused, 0)


@pytest.mark.attack(10)
@weakens("aggregator.identity.allowances.Allowances", "charge", lambda *_: None)
def test_so_many_bytes_in_an_hour(world: World) -> None:
    one = server(world)
    asyncio.run(one.admit("praxis", "v1"))
    one.charge("praxis", "v1", 990_000)
    assert admitted(one, "praxis", "v1", 1) == 1
    one.charge("praxis", "v1", 500_000)  # the last one may be too long
    assert admitted(one, "praxis", "v1") == 0
    assert admitted(server(world), "praxis", "v1") == 0
    assert admitted(one, "praxis", "v2", 1) == 1
    one.charge("praxis", "v2", 600_000)
    assert admitted(one, "praxis", "v3") == 0
    assert admitted(one, "labor", "v1", 1) == 1
    world.clock.advance(hours=1)
    assert admitted(one, "praxis", "v1", 1) == 1


@pytest.mark.attack(10)
@weakens("aggregator.identity.allowances.Allowances", "_count_record", lambda *_: None)
def test_so_many_records_in_an_hour_and_none_twice_a_day(world: World) -> None:
    one = server(world)
    assert opened(one, "praxis", "v1", "v2", "v1", "v3", "v4", "v2") == ["v1", "v2", "v1", "v3", "v2"]
    assert opened(server(world), "praxis", "v4", "v1") == ["v1"]
    assert opened(one, "labor", "v4") == ["v4"]
    world.clock.advance(hours=1)
    assert opened(one, "praxis", "v4", "v5", "v1", "v6", "v7") == ["v4", "v5", "v1", "v6"]
    world.clock.advance(hours=23)
    assert opened(one, "praxis", "v1", "v2", "v3", "v8") == ["v1", "v2", "v3"]


def test_a_clock_that_was_set_back_keeps_nobody_out(world: World) -> None:
    one = server(world)
    assert admitted(one, "praxis", "v1") == 40
    opened(one, "praxis", "v1", "v2", "v3")
    world.clock.advance(days=-30)
    assert admitted(one, "praxis", "v1") == 40
    assert opened(one, "praxis", "v9") == ["v9"]


def test_what_is_over_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowances, "_MOST_PURSES", 4)
    one = server(world)
    asyncio.run(one.admit("praxis", "v1"))
    assert len(one._purses) == 4
    world.clock.advance(days=2)
    asyncio.run(one.admit("praxis", "v2"))
    assert len(one._purses) == 4
    opened(one, "praxis", "v1")
    with world.store.write() as session:
        assert (
            session.exec(delete(Allowance).where(col(Allowance.until) <= int(world.clock().timestamp()))).rowcount == 0
        )


@pytest.mark.attack(20)
def test_its_rows_name_nobody(world: World) -> None:
    one = server(world)
    asyncio.run(one.admit("praxis-am-markt", world.vault))
    opened(one, "praxis-am-markt", world.vault)
    world.store.checkpoint()
    assert b"praxis-am-markt" not in world.raw()
