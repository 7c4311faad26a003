"""Two who open one vault at once, while somebody writes: nothing is lost, and both views are right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import col, select

from aggregator.errors import Stale, Tampered
from aggregator.vault import snapshot, tables, view
from aggregator.vault.image import Record
from aggregator.vault.snapshot import Made
from aggregator.vault.view import View
from tests.vault.test_image_outside import Another
from tests.vault.world import INDEX, World
from tests.weaken import weakens

ROUNDS = 100


def opened(world: World) -> View:
    return view.open_view(world.store, world.vault, world.reader(), INDEX, world.owner.root)


def held(made: View) -> set[str]:
    """Every body, read: an image that names another snapshot's texts does not give them."""
    try:
        return {record.local for record in made.image.fetch(range(1, made.image.count() + 1))}
    except (Stale, Tampered) as error:
        pytest.fail(str(error))


def told(world: World) -> set[str]:
    try:
        return {put.local for _, put in world.truth().state.current()}
    except Tampered as error:
        pytest.fail(str(error))


def log_positions(world: World) -> list[int]:
    with world.store.read() as session:
        return list(session.exec(select(tables.LogEntry.position).order_by(col(tables.LogEntry.position))))


def meanwhile(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Between an opener's reading and its writing, each time, the next of these happens."""
    waiting, make = list(steps), snapshot.make

    def interrupted(*args: Any, **kwargs: Any) -> Made:
        made = make(*args, **kwargs)
        if waiting:
            waiting.pop(0)()
        return made

    monkeypatch.setattr(snapshot, "make", interrupted)


@weakens("aggregator.vault.view", "_unchanged", lambda *_: True)
def test_of_two_openers_the_slower_one_takes_what_the_faster_one_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faster one has seen an envelope more, and let it go from the log: overwritten, it would be lost."""
    world.append("results", world.put("Observation/1"))
    faster = list[View]()

    def overtake() -> None:
        world.append("results", world.put("Observation/2"))
        faster.append(opened(world))

    meanwhile(monkeypatch, overtake)
    slower = opened(world)
    both = {world.owner.patient, world.local("Observation/1"), world.local("Observation/2")}
    assert held(slower) == held(faster[0]) == both
    monkeypatch.undo()
    assert told(world) == both
    for made in (slower, *faster):
        made.close()


@weakens("aggregator.vault.view", "_unchanged", lambda *_: True)
def test_two_at_one_position_keep_one_snapshot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append("results", world.put("Observation/1"))
    faster = list[View]()
    meanwhile(monkeypatch, lambda: faster.append(opened(world)))
    slower = opened(world)
    assert held(faster[0]) == held(slower)
    slower.close()
    faster[0].close()


def test_who_is_overtaken_each_time_has_a_view_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored then, and the log stays; the view holds its bodies itself, whatever happens to snapshots."""
    numbers = iter(range(10))

    def overtake() -> None:
        world.append("results", world.put(f"Observation/{next(numbers)}"))

    meanwhile(monkeypatch, overtake, overtake)
    made = opened(world)
    assert (made.log_position, log_positions(world)) == (2, [1, 2, 3])
    monkeypatch.undo()
    opened(world).close()
    assert len(held(made)) == 2
    made.close()


def test_a_new_index_version_needs_the_grant_alone(world: World) -> None:
    """No owner has been there: the image of the older version is built anew from the truth."""
    world.append("results", world.put("Observation/1", {"status": "final"}))
    world.permit()
    reader = world.grantee()
    old = world.open(reader)
    assert old.image.index_version == INDEX.version
    made = view.open_view(world.store, world.vault, reader, Another(), None)
    assert made.image.index_version == Another.version
    assert held(made) == held(old)
    again = view.open_view(world.store, world.vault, reader, Refusing(), None)
    assert held(again) == held(old)
    for one in (made, again):
        one.close()


class Refusing(Another):
    """Of the newer version too: what it would index is there already."""

    def rows(self, *_: object) -> Any:
        raise AssertionError("the stored image is of this version")


def test_a_hundred_times_two_open_while_a_third_writes(world: World) -> None:
    """Every view holds all that was there when it was opened, and in the end everything is there."""
    world.permit()
    reader = world.grantee()

    def write() -> None:
        for number in range(ROUNDS):
            world.append("results", world.put(f"Observation/{number}"))

    def look(who: Callable[[], View]) -> int:
        seen = 0
        for _ in range(ROUNDS):
            made = who()
            records: list[Record] = made.image.fetch(range(1, min(made.image.count(), 3) + 1)) if who is grantee else []
            count = made.image.count("Observation")
            assert count >= seen
            assert len(records) <= 3
            seen = count
            made.close()
        return seen

    def owner() -> View:
        return opened(world)

    def grantee() -> View:
        return view.open_view(world.store, world.vault, reader, INDEX)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(write), *(pool.submit(look, who) for who in (owner, owner, grantee))]
        for one in done:
            one.result()
    everything = {world.owner.patient, *(world.local(f"Observation/{number}") for number in range(ROUNDS))}
    assert told(world) >= everything
    last = opened(world)
    assert held(last) >= everything
    assert log_positions(world) == []
    last.close()
