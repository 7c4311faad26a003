"""The audit chain over rows, in a database of the test's own: what holds, and what goes on from what is remembered."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Table, inspect
from sqlmodel import Session, create_engine

from aggregator.audit import chain, merkle
from aggregator.audit.tables import Receipt
from aggregator.vault.counter import Counter
from aggregator.vault.tables import Vault

pytestmark = pytest.mark.storeless

VAULT, OTHER = "v" * 26, "w" * 26
REMEMBERED = Counter(0, b"", 0, 1, 0, chain.first_head(VAULT))


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    table = inspect(Receipt).local_table
    assert isinstance(table, Table)
    table.create(engine)
    with Session(engine) as made:
        yield made
    engine.dispose()


def receipts(count: int, vault: str = VAULT) -> list[Receipt]:
    return [
        Receipt(vault=vault, position=n, opening=bytes([n]) * 16, number=n - 1, box=b"box %d" % n)
        for n in range(1, count + 1)
    ]


def spelled_out(rows: list[Receipt]) -> bytes:
    """As FORMAT.md says it."""
    head = hashlib.sha256(b"PRA1/audit/" + VAULT.encode()).digest()
    for row in rows:
        box = hashlib.sha256(row.box).digest()
        head = hashlib.sha256(head + row.opening + row.number.to_bytes(4, "big") + box).digest()
    return head


def vault_row(rows: list[Receipt], position: int | None = None) -> Vault:
    """A vault whose head these receipts make; position: what it says of their number."""
    stated = len(rows) if position is None else position
    return Vault(id=VAULT, audit_position=stated, audit_head=spelled_out(rows))  # type: ignore[call-arg]


def test_heads_and_leaves_are_what_the_format_says() -> None:
    (row,) = receipts(1)
    assert chain.first_head(VAULT) == spelled_out([])
    assert chain.next_head(spelled_out([]), row.opening, row.number, row.box) == spelled_out([row])
    assert chain.leaf(VAULT, 258, b"head") == merkle.leaf_hash(VAULT.encode() + b"\0\0\1\2head")
    assert (
        chain.next_head(b"", b"", chain.U32 - 1, b"")
        == hashlib.sha256(b"\xff" * 4 + hashlib.sha256(b"").digest()).digest()
    )
    assert (chain.SIGNED, chain.U32) == (b"PRA1/heads", 2**32)


def test_a_whole_chain_holds() -> None:
    for count in range(4):
        assert chain.holds(receipts(count), vault_row(receipts(count))) is True


def _numbered(at: int, number: int) -> list[Receipt]:
    rows = receipts(3)
    rows[at].number = number
    return rows


def _placed(at: int, position: int) -> list[Receipt]:
    rows = receipts(3)
    rows[at].position = position
    return rows


BROKEN = {
    "one is missing at the end": receipts(2),
    "one is missing at the beginning": receipts(3)[1:],
    "one too many": receipts(4),
    "another order": receipts(3)[::-1],
    "another number": _numbered(1, 7),
    "a number below zero": _numbered(0, -1),
    "a number too large for its place": _numbered(2, chain.U32),
    "another position": _placed(1, 5),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_chain_that_is_not_whole_does_not_hold(case: str) -> None:
    assert chain.holds(BROKEN[case], vault_row(receipts(3))) is False


def test_a_position_alone_breaks_a_chain() -> None:
    """Its hashes are those of the whole one: positions are in no hash."""
    rows = _placed(2, 4)
    assert chain.holds(rows, vault_row(rows)) is False


def test_the_largest_number_has_room() -> None:
    rows = _numbered(2, chain.U32 - 1)
    assert chain.holds(rows, vault_row(rows)) is True
    with pytest.raises(struct.error):
        chain.next_head(b"", b"", chain.U32, b"")


def extends(session: Session, rows: list[Receipt], row: Vault, before: Counter) -> bool:
    session.add_all([*rows, *receipts(5, OTHER)])
    session.flush()
    return chain.extends(session, row, before)


def remembered(count: int) -> Counter:
    return replace(REMEMBERED, audit_position=count, audit_head=spelled_out(receipts(count)))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_chain_goes_on_from_any_of_its_heads(session: Session, count: int) -> None:
    assert extends(session, receipts(3), vault_row(receipts(3)), remembered(count)) is True


@pytest.mark.parametrize("case", ["one is missing at the end", "one too many", "another number", "another position"])
def test_what_is_not_whole_does_not_go_on(session: Session, case: str) -> None:
    rows = [Receipt(**row.model_dump()) for row in BROKEN[case]]
    assert extends(session, rows, vault_row(receipts(3)), remembered(0)) is False


@pytest.mark.parametrize("gone", [2, 3])
def test_a_gap_behind_what_is_remembered_is_seen(session: Session, gone: int) -> None:
    """Its hashes are those of a whole one."""
    rows = [row for row in receipts(4) if row.position != gone]
    row = vault_row(rows, 4)
    assert extends(session, rows, row, remembered(1)) is False


def test_a_receipt_that_stands_at_another_position_does_not_go_on(session: Session) -> None:
    """Their number and their hashes are right."""
    rows = _placed(2, 4)
    assert extends(session, rows, vault_row(rows), remembered(1)) is False


def test_another_history_does_not_go_on_from_what_is_remembered(session: Session) -> None:
    before = replace(remembered(1), audit_head=bytes(32))
    assert extends(session, receipts(3), vault_row(receipts(3)), before) is False


def test_what_lies_before_is_not_looked_at(session: Session) -> None:
    assert extends(session, receipts(3)[1:], vault_row(receipts(3)), remembered(1)) is True
