"""What a feed that keeps nothing brought for nobody known: sealed, for a while, until its person is verified."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from sqlmodel import select

from aggregator.audit.tables import Receipt
from aggregator.errors import Refused, Stale, Tampered
from aggregator.sync import hold, schedule
from aggregator.sync.routes import feed_id
from aggregator.sync.tables import Hold, Quarantine, Route
from aggregator.sync.writing import VaultWriter
from aggregator.vault import tables
from aggregator.vault.key_service import Held
from aggregator.vault.keys import Root
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Item, Reason
from fhir_profiles.text import loads
from tests.sync.queue_source import Queue, serving
from tests.sync.sync_world import (
    KilledHere,
    SyncWorld,
    broken_commits,
    deleted,
    found,
    observation,
    skipped,
)
from tests.sync.test_feeds import MAX, NO_NUMBER, by_vault, feed_row, max_owner, report, stored
from tests.vault.world import ERIKA
from tests.weaken import weakens
from tests.weakened import Plain, any_header


@pytest.fixture
def queue(syncing: SyncWorld) -> Iterator[Queue]:
    """The feed is a queue now."""
    with serving(Queue()) as made:
        syncing.registry.put(made.source())
        yield made


def held(syncing: SyncWorld) -> list[Hold]:
    with syncing.store.read() as session:
        return list(session.exec(select(Hold).order_by(Hold.tag, Hold.item)))  # type: ignore[arg-type]


def as_held(row: Hold) -> Held:
    return Held(row.feed, row.tag, row.item, row.expires, row.box)


# --- from the queue into the hold, and out of it


def test_what_nobody_claims_is_held_and_the_queue_lets_go_of_it(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    queue.brings(MAX, "max", 2)
    assert by_vault(syncing.run_feed()) == {None: (0, 0, 0, "fresh")}
    assert (queue.messages, len(held(syncing)), feed_row(syncing).waiting) == ([], 4, 0)
    assert {row.expires - syncing.clock().timestamp() for row in held(syncing)} == {30 * 86400}


def test_a_verification_writes_what_is_held_for_its_person_and_nothing_else(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    queue.brings(NO_NUMBER, "numberless", 3)
    queue.brings(MAX, "max", 2)
    syncing.run_feed()
    syncing.verify()
    assert (stored(syncing), len(held(syncing)), syncing.opened()) == ([3, 7], 2, [])
    owner = max_owner(syncing)
    assert stored(syncing, owner) == []
    syncing.verify(owner, MAX)
    assert (stored(syncing, owner), held(syncing)) == ([2], [])


def test_from_then_on_items_come_by_the_usual_way_and_nothing_twice(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    connection = syncing.verify()
    queue.brings(ERIKA, "erika")
    queue.brings(ERIKA, "erika2", 8)
    assert by_vault(syncing.run_feed())[syncing.world.vault] == (4, 2, 0, "fresh")
    assert (stored(syncing), held(syncing)) == ([7, 8], [])
    assert {len(versions) for versions in syncing.record()["results"].values()} == {1}
    assert syncing.row(connection).status == "fresh"


def test_what_comes_again_while_it_is_held_is_held_once_in_its_newest_form(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika", 1)
    queue.brings(ERIKA, "erika", 2)
    syncing.run_feed()
    syncing.verify()
    assert (stored(syncing), held(syncing)) == ([2], [])


def test_what_a_vault_could_not_take_is_held_and_keeps_nobody_waiting(syncing: SyncWorld, queue: Queue) -> None:
    owner = max_owner(syncing)
    connection = syncing.verify()
    syncing.verify(owner, MAX)
    with syncing.store.write() as session:
        row = session.exec(select(tables.Mandate).where(tables.Mandate.vault == syncing.world.vault)).one()
        whole, row.box = row.box, row.box[:-1] + bytes([row.box[-1] ^ 1])
    queue.brings(ERIKA, "erika", 1)
    queue.brings(MAX, "max", 2)
    assert by_vault(syncing.run_feed())[syncing.world.vault] == (0, 0, 0, "broken")
    assert (queue.messages, stored(syncing, owner), len(held(syncing))) == ([], [2], 2)
    syncing.world.sql("UPDATE mandate SET box = ? WHERE vault = ?", whole, syncing.world.vault)
    syncing.connections.again(syncing.world.vault, connection, syncing.world.owner.root)
    assert (stored(syncing), held(syncing)) == ([1], [])


def test_what_stands_aside_from_a_queue_is_not_forgotten_by_a_retry_that_cannot_bring_it_back(
    syncing: SyncWorld, queue: Queue
) -> None:
    syncing.verify()
    queue.brings(replace(ERIKA, birth_date="1990-01-01"), "another")
    assert by_vault(syncing.run_feed())[None] == (2, 0, 2, "fresh")
    assert by_vault(syncing.run_feed(again=True))[None] == (2, 0, 2, "fresh")


def test_a_vault_that_changed_meanwhile_has_the_item_come_again(
    syncing: SyncWorld, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the hold: nobody would offer it before the patient asks for it."""
    syncing.verify()
    queue.brings(ERIKA, "erika")

    def stale(*_: object) -> None:
        raise Stale("the sections' keys have changed")

    with monkeypatch.context() as patched:
        patched.setattr(VaultWriter, "commit", stale)
        assert {one.status for one in syncing.run_feed()} == {"late"}
    assert (stored(syncing), held(syncing), len(queue.messages)) == ([], [], 1)
    syncing.run_feed()
    assert (stored(syncing), held(syncing), queue.messages) == ([7], [], [])


def test_two_people_of_one_name_leave_it_in_the_hold(syncing: SyncWorld, queue: Queue) -> None:
    twin = max_owner(syncing, replace(ERIKA, kvnr=MAX.kvnr))
    syncing.verify(twin, replace(ERIKA, kvnr=MAX.kvnr))
    syncing.verify()
    queue.brings(NO_NUMBER, "one-of-both")
    syncing.run_feed()
    syncing.verify()
    assert (stored(syncing), stored(syncing, twin), len(held(syncing))) == ([], [], 2)


def test_what_is_held_keeps_its_numbers_as_written() -> None:
    lines = b'{"resourceType":"Observation","id":"o","valueQuantity":{"value":0.40}}'
    items: list[Item] = [
        found(loads(lines), ERIKA, ("a warning",)),
        replace(deleted("Observation/o"), subject=report(ERIKA, "e")[0].subject),
        skipped("file/a", Reason.CHECKSUM, b"\xff\x00", ERIKA),
        skipped("file/a"),
    ]
    packed = [orjson.dumps(hold._pack(item)) for item in items]
    assert [hold._unpack(orjson.loads(one)) for one in packed] == items
    assert b"0.40" in packed[0]


# --- crash, race, expiry


@pytest.mark.attack(48)
def test_killed_while_verifying_it_is_held_or_written_never_neither(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    code = syncing.connections.issue_code("labor", ERIKA)
    signer = syncing.world.signing.signer(syncing.fresh())
    with broken_commits(2), pytest.raises(KilledHere):
        syncing.connections.redeem(signer, code)
    assert (stored(syncing), len(held(syncing))) == ([], 2)
    syncing.connections.redeem(signer, code)
    assert (stored(syncing), held(syncing)) == ([7], [])


@pytest.mark.attack(48)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_pulling_what_was_not_stored_is_still_in_the_queue(
    syncing: SyncWorld, queue: Queue, number: int
) -> None:
    queue.brings(ERIKA, "erika")
    with broken_commits(number), pytest.raises(KilledHere):
        syncing.run_feed()
    assert bool(queue.messages) != bool(held(syncing))
    syncing.world.sql("UPDATE feed SET lease_until = 0")
    syncing.run_feed()
    syncing.verify()
    assert (stored(syncing), held(syncing), queue.messages) == ([7], [], [])


@pytest.mark.attack(51)
@weakens("aggregator.sync.connect.Connections", "_offer_again", lambda *_: None)
def test_who_is_verified_while_an_item_is_on_its_way_into_the_hold_still_receives_it(
    syncing: SyncWorld, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the routes and the commit that holds the item: that commit must not count."""
    queue.brings(ERIKA, "erika")
    whole, verified = hold.put, list[str]()

    def put(*arguments: object) -> list[Hold]:
        made = whole(*arguments)  # type: ignore[arg-type]
        verified.extend([] if verified else [syncing.verify()])
        return made

    monkeypatch.setattr(hold, "put", put)
    syncing.run_feed()
    syncing.run_feed()
    assert (stored(syncing), held(syncing), queue.messages) == ([7], [], [])


@pytest.mark.attack(57)
@weakens("aggregator.sync.hold", "sweep", lambda _session, _now: None)
def test_what_nobody_came_for_is_swept_by_the_tick(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    syncing.clock.advance(days=29, hours=23)
    asyncio.run(schedule.sync(syncing.worker))
    assert len(held(syncing)) == 2
    syncing.clock.advance(hours=2)
    asyncio.run(schedule.sync(syncing.worker, due_only=True))
    assert held(syncing) == []
    syncing.verify()
    assert stored(syncing) == []


@pytest.mark.attack(50)
def test_a_clock_that_jumps_back_a_day_loses_nothing_held(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    syncing.clock.advance(days=-1)
    asyncio.run(schedule.sync(syncing.worker))
    syncing.verify()
    assert stored(syncing) == [7]


# --- what shows, and who can open it


@pytest.mark.attack(20, 57)
@weakens("aggregator.vault.seal", "AESGCM", Plain, about=(20,))
def test_nothing_held_shows_in_a_vault_a_quarantine_a_receipt_or_in_the_clear(syncing: SyncWorld, queue: Queue) -> None:
    syncing.verify()
    receipts = count(syncing, Receipt)
    queue.brings(MAX, "geheimnis")
    outcomes = syncing.run_feed()
    assert by_vault(outcomes) == {syncing.world.vault: (0, 0, 0, "fresh"), None: (0, 0, 0, "fresh")}
    assert (syncing.opened(), count(syncing, Quarantine), count(syncing, Receipt)) == ([], 0, receipts)
    stored_bytes = syncing.raw()
    for canary in ("geheimnis", "Geheimnisvoll", "M987654326"):
        assert canary.encode() not in stored_bytes
    assert len(held(syncing)) == 2


def count(syncing: SyncWorld, table: type) -> int:
    with syncing.store.read() as session:
        return len(session.exec(select(table)).all())


@pytest.mark.attack(29, 57)
@weakens(
    "aggregator.vault.key_ring.KeyRing", "hold_public", lambda ring: WorkerKeys.read(ring._path).public(), about=(29,)
)
def test_the_worker_with_all_its_keys_opens_nothing_held(syncing: SyncWorld, queue: Queue) -> None:
    """The nightly worker has worker.key and the whole database."""
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    (row, _) = held(syncing)
    with pytest.raises(Tampered):
        syncing.world.worker.open(as_held(row).header(), row.box)


CLAIMS: dict[str, Callable[[Root, Hold], tuple[Root, bytes, bytes, int]]] = {
    "signed by another root": lambda _, row: (Root(os.urandom(32)), row.tag, row.feed, 0),
    "to another tag": lambda root, row: (root, b"t" * 16, row.feed, 0),
    "at another feed": lambda root, row: (root, row.tag, b"f" * 16, 0),
    "an old one": lambda root, row: (root, row.tag, row.feed, -301),
    "from the future": lambda root, row: (root, row.tag, row.feed, 301),
}


@pytest.mark.attack(57)
@weakens("aggregator.vault.hold_key", "verify", lambda *_: None)
@weakens("aggregator.vault.hold_key", "_covers", lambda *_: True)
@weakens("aggregator.vault.hold_key", "_CLAIM_SECONDS", 10**9)
def test_the_key_service_opens_for_a_patients_own_and_fresh_claim_alone(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    row, now, vault = held(syncing)[0], syncing.clock(), syncing.world.vault
    right = hold.claim(syncing.world.owner.root, vault, row.feed, [row.tag], now)
    assert hold.opened(syncing.world.ring, right, row, now)
    for make in CLAIMS.values():
        root, tag, feed, seconds = make(syncing.world.owner.root, row)
        wrong = hold.claim(root, vault, feed, [tag], now + timedelta(seconds=seconds))
        with pytest.raises((Refused, Tampered)):
            hold.opened(syncing.world.ring, wrong, row, now)


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_a_held_row_that_is_moved_or_lengthened_opens_for_nobody(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    row, now = held(syncing)[0], syncing.clock()
    for change in ({"tag": b"t" * 16}, {"item": b"i" * 16}, {"expires": row.expires + 86400}):
        moved = Hold(**row.model_dump() | change)
        claim = hold.claim(syncing.world.owner.root, syncing.world.vault, moved.feed, [moved.tag], now)
        with pytest.raises(Tampered):
            hold.opened(syncing.world.ring, claim, moved, now)
    syncing.clock.advance(days=31)
    late = hold.claim(syncing.world.owner.root, syncing.world.vault, row.feed, [row.tag], syncing.clock())
    with pytest.raises(Refused, match="held no longer"):
        hold.opened(syncing.world.ring, late, row, syncing.clock())


@pytest.mark.attack(22, 57)
@weakens("aggregator.sync.hold", "is_genuine", lambda _keys, _row: True, about=(57,))
def test_what_somebody_else_put_into_the_hold_is_not_offered(syncing: SyncWorld, queue: Queue) -> None:
    """The hold's key is public, and a tag is seen in the database: only the feed's own rows count."""
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    first = held(syncing)[0]
    ring, seconds = syncing.world.ring, syncing.worker.hold_seconds
    forged = report(ERIKA, "erika")[0], found(observation("o-forged", 666, "Patient/erika"), ERIKA)
    rows = hold.put(
        syncing.world.worker,
        ring.hold_public(),
        first.feed,
        [(first.tag, item) for item in forged],
        syncing.clock().timestamp(),
        seconds,
    )
    with syncing.store.write() as session:
        for row in rows:
            row.mac = first.mac
            session.merge(row)
    syncing.verify()
    assert 666 not in stored(syncing)


def test_one_damaged_row_keeps_nobody_from_being_verified(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(ERIKA, "erika")
    queue.brings(ERIKA, "erika2", 8)
    syncing.run_feed()
    damaged = next(
        row for row in held(syncing) if row.item == syncing.world.worker.feed_tag("item", "Observation/o-erika")
    )
    syncing.world.sql(
        "UPDATE hold SET box = ? WHERE item = ?", damaged.box[:-1] + bytes([damaged.box[-1] ^ 1]), damaged.item
    )
    syncing.verify()
    assert (stored(syncing), len(held(syncing))) == ([8], 1)


def test_when_a_connection_ends_its_person_is_unknown_again(syncing: SyncWorld, queue: Queue) -> None:
    syncing.end(syncing.verify())
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    assert (stored(syncing), len(held(syncing)), count(syncing, Route)) == ([], 2, 0)


def test_counts_say_how_many_and_since_when(syncing: SyncWorld, queue: Queue) -> None:
    feed, now = feed_id(syncing.world.worker, "labor"), syncing.clock().timestamp()
    with syncing.store.read() as session:
        assert hold.count(session, feed, now) == (0, None)
    queue.brings(ERIKA, "erika")
    syncing.run_feed()
    with syncing.store.read() as session:
        assert hold.count(session, feed, now) == (2, now)
        assert hold.count(session, feed, now + 31 * 86400) == (0, None)
    told = hold.backlog(syncing.worker, syncing.registry.source("labor"))
    assert (told.authority, told.keeps, told.waiting, told.held, told.oldest) == ("labor", False, 0, 2, syncing.clock())


def test_who_says_too_little_is_set_aside_and_never_held(syncing: SyncWorld, queue: Queue) -> None:
    queue.brings(replace(ERIKA, family="", given="", kvnr=None), "nobody")
    syncing.run_feed()
    assert (held(syncing), count(syncing, Quarantine)) == ([], 2)
