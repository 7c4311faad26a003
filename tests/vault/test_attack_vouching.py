"""What the database's thief makes of `previous`, with and without the key of another writer: nothing that counts."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from aggregator.vault import tables
from aggregator.vault.envelope import NONE, read_envelope
from aggregator.vault.keys import Writer
from tests.vault.world import World
from tests.weaken import weakens
from tests.weakened import named_is_enough

FORGED = "the signature of a stored envelope is wrong"


def signed(world: World, writer: Writer, number: int, previous: bytes = NONE) -> bytes:
    """An envelope with one observation, named for its number."""
    return world.envelope(
        "results", world.put(f"Observation/{number}"), writer=writer, number=number, previous=previous
    )


def link(envelope: bytes) -> bytes:
    return read_envelope(envelope).link


def spoiled(envelope: bytes) -> bytes:
    return envelope[:-64] + bytes(64)


def observations(world: World) -> set[int]:
    """Those that are in the record, by their numbers."""
    held = world.truth().state.sections.get("results", {})
    return {number for number in range(9) if world.local(f"Observation/{number}") in held}


@pytest.mark.attack(28)
@weakens("aggregator.vault.truth", "genuine", named_is_enough)
def test_an_envelope_that_only_claims_to_be_vouched_for_is_left_out(world: World) -> None:
    """Forgeries that name one another, between the genuine and behind them."""
    writer, thief = world.connect().writer, Writer.generate("")
    one = signed(world, writer, 1)
    two = signed(world, Writer(writer.id, thief.seed), 2, link(one))
    three = signed(world, Writer(writer.id, thief.seed), 3, link(two))
    four = signed(world, writer, 4, link(one))
    world.append_raw(one, two, three, four)
    assert (world.truth().refused, observations(world)) == ({3: FORGED, 4: FORGED}, {1, 4})


@pytest.mark.attack(28)
@weakens("aggregator.vault.truth", "genuine", named_is_enough)
def test_a_forged_one_between_two_genuine_ones_is_left_out_and_the_older_ones_count(world: World) -> None:
    """The older ones have no signature of their own left: the newest one's is over them."""
    writer = world.connect().writer
    one = signed(world, writer, 1)
    two = signed(world, writer, 2, link(one))
    forged = signed(world, Writer(writer.id, bytes(32)), 3, link(two))
    hidden = signed(world, Writer(writer.id, bytes(32)), 4, link(forged))
    five = signed(world, writer, 5, link(two))
    world.append_raw(spoiled(one), spoiled(two), forged, hidden, five)
    assert (world.truth().refused, observations(world)) == ({4: FORGED, 5: FORGED}, {1, 2, 5})


@pytest.mark.attack(28)
@weakens("aggregator.vault.truth", "genuine", named_is_enough)
def test_whoever_has_one_writers_key_vouches_for_no_other_writer(world: World) -> None:
    ended, writer = world.connect().writer, world.connect().writer
    forged = signed(world, Writer(writer.id, bytes(32)), 1)
    voucher = signed(world, ended, 2, link(forged))
    world.append_raw(forged, voucher)
    assert (world.truth().refused, observations(world)) == ({2: FORGED}, {2})


@pytest.mark.attack(24, 28)
@weakens("aggregator.vault.fold.State", "expect", lambda *_: None, about=(24,))
def test_vouched_for_is_not_yet_in_its_place(world: World) -> None:
    """A copy of an old envelope is named by a genuine one, and is refused as ever."""
    writer = world.connect().writer
    one = signed(world, writer, 1)
    world.append_raw(one, signed(world, writer, 2, link(one)), one, signed(world, writer, 3, link(one)))
    told = world.truth().refused
    assert told == {4: "it is a copy of an older one, or stands elsewhere than where it was written"}


@pytest.mark.attack(28)
def test_a_grantee_reads_what_is_vouched_for_in_a_section_that_it_cannot_open(world: World) -> None:
    world.permit(**{"class": [{"system": "https://aggregator.example/fhir/CodeSystem/section", "code": "results"}]})
    writer = world.connect().writer
    one = signed(world, writer, 1)
    two = world.envelope("problems", world.put("Condition/1"), writer=writer, number=2, previous=link(one))
    world.append_raw(spoiled(one), two)
    reader = world.grantee()
    assert "problems" not in reader.seeds.ids
    assert world.open(reader).image.count("Observation") == 1


@pytest.mark.attack(28)
@weakens("aggregator.vault.truth", "genuine", named_is_enough)
def test_what_was_refused_before_a_snapshot_is_not_vouched_for_behind_it(world: World) -> None:
    writer = world.connect().writer
    forged = signed(world, Writer(writer.id, bytes(32)), 1)
    position = world.append_raw(forged)
    world.open()
    world.append_raw(signed(world, Writer(writer.id, bytes(32)), 2, link(forged)), signed(world, writer, 3))
    assert (world.truth().refused, observations(world)) == ({position: FORGED, position + 1: FORGED}, {3})


def test_what_was_kept_for_a_mended_certificate_counts_by_what_was_kept_with_it(world: World) -> None:
    writer = world.connect().writer
    one = signed(world, writer, 1)
    world.append_raw(spoiled(one), signed(world, writer, 2, link(one)))
    world.sql("UPDATE mandate SET signature = CAST(x'00' || signature AS BLOB)")
    world.open()
    world.sql("UPDATE mandate SET signature = substr(signature, 2)")
    assert (world.truth().refused, observations(world)) == ({}, {1, 2})
    with world.store.read() as session:
        assert list(session.exec(select(tables.LogEntry.position).order_by(col(tables.LogEntry.position)))) == [2, 3]
