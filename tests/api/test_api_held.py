"""Open views stay within the budget by what they really take: as they came, their index, and every body unpacked."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

import pytest

from aggregator.api.held import Held, HeldViews
from aggregator.vault.view import View
from tests.vault.world import World
from tests.weaken import weakens

NOTE = "Verlauf ohne Besonderheiten, Kontrolle in drei Monaten. "


def held(made: View, world: World) -> Held:
    never = world.clock().timestamp() + 3600
    return Held(cast(Any, made), cast(Any, None), cast(Any, None), {}, never)


@pytest.fixture
def three(world: World) -> list[View]:
    """Views of a record of half a megabyte, each of its own."""
    puts = [world.put(f"Observation/{number}", {"note": [{"text": NOTE * 20}]}) for number in range(400)]
    world.append("results", *puts)
    return [world.open() for _ in range(3)]


def unpacked(made: View) -> int:
    """Bytes of all bodies, which are in memory once they are read."""
    return sum(len(record.body) for record in made.image.fetch(range(1, made.image.count() + 1)))


def test_a_view_counts_for_all_that_it_may_take(three: list[View]) -> None:
    """Before a body is read already: a budget that grows with reading would be passed by reading."""
    made = three[0]
    before = made.image.size
    bodies = unpacked(made)
    assert bodies > 400_000
    assert made.image.size == before
    assert bodies < before < bodies * 2.5


@pytest.mark.attack(46)
@weakens("aggregator.api.held.HeldViews", "_over", lambda *_: False)
@weakens("aggregator.vault.image.Image", "close", lambda _: None)
def test_what_is_beyond_the_budget_is_closed(world: World, three: list[View]) -> None:
    size = three[0].image.size
    views = HeldViews(world.clock, idle_seconds=60, budget=size * 5 // 2)
    for number, made in enumerate(three):
        views.keep((str(number), world.vault), held(made, world))
    assert len(views) == 2
    assert [views.get((str(number), world.vault)) is not None for number in range(3)] == [False, True, True]
    with pytest.raises(sqlite3.ProgrammingError):
        three[0].image.count("Observation") and three[0].image.fetch([1])
    world.clock.advance(hours=2)
    views.sweep()
    assert len(views) == 0
