"""What is remembered of a bulk export: what was asked and how far it is, for its caller alone, for a day."""

from __future__ import annotations

import pytest
from sqlmodel import select

from aggregator.errors import Tampered
from aggregator.portability import bulk_exports
from aggregator.portability.bulk_exports import BulkExports, TooManyExports
from aggregator.portability.tables import BulkExport, BulkExportRecord
from tests.vault.world import World
from tests.weaken import weakens

ASKED = {"operation": "Patient/$export", "types": ["Observation"], "since": None}


def exports(world: World) -> BulkExports:
    return BulkExports(world.store, world.ring, world.clock)


def test_it_goes_on_where_another_process_left_it(world: World) -> None:
    name = exports(world).begin("praxis/TREAT", ASKED, ["b", "a"])
    first = exports(world)
    found = first.find("praxis/TREAT", name)
    assert found
    assert found.asked == ASKED
    assert first.waiting(found, 9) == ["a", "b"]
    assert first.waiting(found, 1) == ["a"]
    assert first.progress(found) == (0, 2)
    first.note(found, {"a": {"Observation": 3}})
    again = exports(world)
    assert again.waiting(found, 9) == ["b"]
    assert again.progress(found) == (1, 2)
    assert again.counts(found) == {"a": {"Observation": 3}}


def test_a_name_opens_nothing_for_another_caller_or_purpose(world: World) -> None:
    made = exports(world)
    name = made.begin("praxis/TREAT", ASKED, ["a"])
    assert made.find("praxis/HPAYMT", name) is None
    assert made.find("labor/TREAT", name) is None
    assert made.find("praxis/TREAT", f"{name}x") is None


def test_it_ends_by_time_or_by_word(world: World) -> None:
    made = exports(world)
    first, second = (made.begin("praxis/TREAT", ASKED, ["a"]) for _ in range(2))
    found = made.find("praxis/TREAT", first)
    assert found
    made.end(found)
    made.note(found, {"a": {}})  # a request that was under way: it makes nothing of it anew
    assert made.find("praxis/TREAT", first) is None
    world.clock.advance(hours=24)
    assert made.find("praxis/TREAT", second) is None
    made.begin("labor/TREAT", ASKED, [])
    with world.store.read() as session:
        assert len(session.exec(select(BulkExport)).all()) == 1
        assert session.exec(select(BulkExportRecord)).all() == []


def test_each_caller_has_so_many(world: World) -> None:
    made = exports(world)
    for _ in range(bulk_exports.MOST):
        made.begin("praxis/TREAT", ASKED, [])
    with pytest.raises(TooManyExports):
        made.begin("praxis/TREAT", ASKED, [])
    made.begin("labor/TREAT", ASKED, [])


@pytest.mark.attack(21)
@weakens("aggregator.portability.bulk_exports", "_bound", lambda *_: b"")
def test_a_box_that_was_moved_does_not_open(world: World) -> None:
    made = exports(world)
    found = made.find("praxis/TREAT", made.begin("praxis/TREAT", ASKED, ["a", "b"]))
    assert found
    made.note(found, {"a": {"Observation": 1}, "b": {}})
    world.sql("UPDATE bulk_export_record SET box = (SELECT box FROM bulk_export_record WHERE vault = 'a')")
    with pytest.raises(Tampered):
        made.counts(found)


@pytest.mark.attack(32)
@weakens("aggregator.portability.bulk_exports", "_BLOCK", 1)
def test_the_length_of_a_box_tells_no_number_of_types(world: World) -> None:
    made = exports(world)
    found = made.find("praxis/TREAT", made.begin("praxis/TREAT", ASKED, ["a", "b"]))
    assert found
    made.note(found, {"a": {"Observation": 100_000, "Condition": 7}, "b": {}})
    with world.store.read() as session:
        boxes = session.exec(select(BulkExportRecord.box)).all()
    assert len({len(box) for box in boxes}) == 1
