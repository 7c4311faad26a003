"""Receipts: durable before an answer leaves, on condition that the view is still right, readable by the owner alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlmodel import col, select

from aggregator.audit import receipts, verify
from aggregator.audit.receipts import Condition, Opening, ReceiptWriter, Sealed
from aggregator.audit.tables import Receipt, SignedHead
from aggregator.errors import Stale
from aggregator.vault import tables
from aggregator.vault.keys import Root
from tests import databases
from tests.vault.world import World
from tests.weaken import weakens


@pytest.fixture
def writer(world: World) -> Iterator[ReceiptWriter]:
    made = ReceiptWriter(world.store, world.ring)
    yield made
    made.close()


@pytest.fixture
def opening(world: World) -> Opening:
    return Opening(world.vault, world.owner.root.audit.public())


def now(world: World) -> Condition:
    with world.store.read() as session:
        row = session.get_one(tables.Vault, world.vault)
        return Condition(row.grant_version, row.log_position)


def rows(world: World) -> list[Receipt]:
    with world.store.read() as session:
        return list(session.exec(select(Receipt).order_by(col(Receipt.position))))


def entries(world: World) -> list[tuple[int, dict[str, Any] | None]]:
    return receipts.read(rows(world), world.vault, world.owner.root.audit)


def test_the_owner_reads_what_was_written_in_order(world: World, writer: ReceiptWriter, opening: Opening) -> None:
    told = [{"kind": "opened"}, {"kind": "answered", "shown": 3, "query": "code=ä"}, {"kind": "answered", "shown": 0}]
    writer.write_now([opening.first(told[0])])
    writer.write_now([opening.next(entry, now(world)) for entry in told[1:]])
    assert entries(world) == [(1, told[0]), (2, told[1]), (3, told[2])]


def test_openings_may_be_interleaved(world: World, writer: ReceiptWriter) -> None:
    one, other = (Opening(world.vault, world.owner.root.audit.public()) for _ in range(2))
    writer.write_now([one.first({"n": 1}), other.first({"n": 2}), one.next({"n": 3}, None), other.next({"n": 4}, None)])
    assert entries(world) == [(n, {"n": n}) for n in range(1, 5)]


MOVED = {
    "a grant's end": lambda world: world.grants.stop(world.vault, "praxis-b"),
    "a batch": lambda world: world.append("results", world.put("Observation/1")),
}


@pytest.mark.parametrize("moved", MOVED)
@pytest.mark.attack(17)
def test_a_receipt_of_a_view_that_is_no_longer_right_is_stale(
    world: World, writer: ReceiptWriter, opening: Opening, moved: str
) -> None:
    condition = now(world)
    MOVED[moved](world)
    with pytest.raises(Stale):
        writer.write_now([opening.next({"kind": "answered"}, condition)])
    with pytest.raises(Stale):
        asyncio.run(writer.write(opening.next({"kind": "answered"}, condition)))
    assert rows(world) == []
    writer.write_now([opening.first({"kind": "opened"})])
    assert len(rows(world)) == 1


@pytest.mark.attack(17)
def test_a_revocation_makes_every_open_view_stale(world: World, writer: ReceiptWriter, opening: Opening) -> None:
    world.permit()
    condition = now(world)
    writer.write_now([opening.next({"kind": "answered"}, condition)])
    world.grants.end(world.owner, "praxis-b")
    with pytest.raises(Stale):
        writer.write_now([opening.next({"kind": "answered"}, condition)])


def test_of_a_batch_the_stale_ones_alone_are_refused(world: World, opening: Opening) -> None:
    good, bad = now(world), replace(now(world), grant_version=9)
    conditions = [good, bad, None, bad, good]
    with world.store.write() as session:
        batch = [opening.next({"n": n}, condition) for n, condition in enumerate(conditions)]
        assert receipts.commit(session, world.ring, batch) == [True, False, True, False, True]
    assert [row.number for row in rows(world)] == [1, 3, 5]


def test_a_vault_that_is_not_there_takes_no_receipt(world: World, writer: ReceiptWriter) -> None:
    with pytest.raises(Stale):
        writer.write_now([Opening("c" * 26, world.owner.root.audit.public()).first({})])
    with world.store.read() as session:
        assert session.exec(select(SignedHead)).all() == []


@pytest.mark.attack(31)
@weakens("aggregator.audit.receipts.ReceiptWriter", "_commit_free", lambda _, batch: [True] * len(batch))
def test_a_receipt_that_cannot_be_written_is_the_callers_error(
    world: World, writer: ReceiptWriter, opening: Opening
) -> None:
    """The disk says no: everybody who waits hears of it, nothing is left, and the next receipt is written."""
    databases.refuse_inserts(world.store, "receipt", "disk full")

    async def three() -> list[BaseException | None]:
        waiting = [writer.write(opening.next({"n": n}, None)) for n in range(3)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    told = asyncio.run(three())
    assert len(told) == 3
    assert all(isinstance(one, Exception) and "disk full" in str(one) for one in told)
    with pytest.raises(Exception, match="disk full"):
        writer.write_now([opening.next({}, None)])
    assert rows(world) == []
    databases.allow_inserts(world.store, "receipt")
    asyncio.run(writer.write(opening.first({})))
    assert len(rows(world)) == 1


@pytest.mark.attack(31)
@weakens("aggregator.audit.receipts.ReceiptWriter", "_commit_free", lambda _, batch: [True] * len(batch))
def test_a_store_that_is_gone_is_the_callers_error(world: World, writer: ReceiptWriter, opening: Opening) -> None:
    world.sql("DROP TABLE receipt")
    with pytest.raises((sqlite3.Error, psycopg.Error), match="receipt"):
        asyncio.run(writer.write(opening.first({})))


def test_it_is_durable_when_write_returns(world: World, writer: ReceiptWriter, opening: Opening) -> None:
    """Another connection sees it at once."""

    async def write_and_look() -> int:
        await writer.write(opening.first({}))
        return len(rows(world))

    assert asyncio.run(write_and_look()) == 1


def test_two_hundred_writers_at_once(world: World, writer: ReceiptWriter) -> None:
    """In the order in which they came, each once; far fewer signatures than receipts; the chain holds."""
    openings = [Opening(world.vault, world.owner.root.audit.public()) for _ in range(8)]

    async def write_all() -> None:
        await asyncio.gather(*(writer.write(one.first({"from": n})) for n, one in enumerate(openings)))
        later = [openings[n % 8].next({"n": n}, now(world)) for n in range(200)]
        await asyncio.gather(*(writer.write(one) for one in later))

    asyncio.run(write_all())
    assert [entry for _, entry in entries(world)] == [{"from": n} for n in range(8)] + [{"n": n} for n in range(200)]
    with world.store.read() as session:
        signatures = len(session.exec(select(SignedHead)).all())
        verified = verify.check(session, world.vault, world.ring.audit_verification_key())
    assert verified.receipts == 208
    assert signatures <= 4  # the first of each round goes alone, the rest together


def test_writers_in_threads_lose_nothing(world: World, writer: ReceiptWriter) -> None:
    def write(opening: Opening) -> None:
        for n in range(10):
            writer.write_now([opening.next({"n": n}, None)])

    openings = [Opening(world.vault, world.owner.root.audit.public()) for _ in range(4)]
    writer.write_now([one.first({}) for one in openings])
    threads = [threading.Thread(target=write, args=(one,)) for one in openings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.store.read() as session:
        assert verify.check(session, world.vault, world.ring.audit_verification_key()).receipts == 44


def test_a_caller_who_no_longer_waits_does_not_hold_up_the_others(world: World, writer: ReceiptWriter) -> None:
    opening = Opening(world.vault, world.owner.root.audit.public())

    async def one_leaves() -> None:
        leaving = asyncio.ensure_future(writer.write(opening.first({"n": 1})))
        staying = asyncio.ensure_future(writer.write(opening.next({"n": 2}, None)))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

    asyncio.run(one_leaves())
    assert [row.number for row in rows(world)] == [0, 1]


@pytest.mark.attack(32)
@weakens("aggregator.audit.receipts", "_BLOCK", 1)
def test_a_receipts_length_tells_little(opening: Opening) -> None:
    """Multiples of 128 bytes beside nonce and tag: a query of 1 and of 90 characters look alike."""
    lengths = [len(opening.next({"query": "x" * size}, None).box) - 12 - 16 for size in range(1, 300)]
    assert set(lengths) == {128, 256, 384}
    assert lengths[0] == lengths[89]


def test_nobody_else_reads_them(world: World, writer: ReceiptWriter, opening: Opening) -> None:
    writer.write_now([opening.first({"kind": "opened"}), opening.next({"kind": "answered"}, None)])
    assert receipts.read(rows(world), world.vault, Root.generate().audit) == [(1, None), (2, None)]


def changed(sealed: Receipt, **values: Any) -> Receipt:
    return Receipt(**(sealed.model_dump() | values))


@pytest.mark.attack(30)
@weakens("aggregator.audit.receipts", "_entry_key", lambda key, *_: (key, b""))
def test_reading_finds_an_entry_edited_or_elsewhere(world: World, writer: ReceiptWriter) -> None:
    one, other = (Opening(world.vault, world.owner.root.audit.public()) for _ in range(2))
    writer.write_now([one.first({}), one.next({"n": 1}, None), one.next({"n": 2}, None), other.first({})])
    first, second, third, fourth = rows(world)
    forgeries = {
        "edited": changed(second, box=second.box[:-1] + bytes([second.box[-1] ^ 1])),
        "another number": changed(second, number=2),
        "another opening": changed(second, opening=fourth.opening),
        "an opening nobody made": changed(second, opening=bytes(16)),
        "another entry's box": changed(second, box=third.box),
        "cut off": changed(second, box=b""),
    }
    for forged in forgeries.values():
        told = receipts.read([first, forged, third, fourth], world.vault, world.owner.root.audit)
        assert [entry for _, entry in told] == [{}, None, {"n": 2}, {}]
    elsewhere = receipts.read([changed(first, opening=bytes(16))], world.vault, world.owner.root.audit)
    assert elsewhere == receipts.read([first], "b" * 26, world.owner.root.audit) == [(1, None)]


def test_a_receipt_is_sealed_where_it_is_made(opening: Opening) -> None:
    """What waits for its commit, or lies in a traceback, holds no entry in clear."""
    sealed: Sealed = opening.next({"query": "Patient?name=Beispielmann"}, None)
    assert b"Beispielmann" not in sealed.box
    assert repr(opening).startswith("<aggregator.audit.receipts.Opening object at ")
