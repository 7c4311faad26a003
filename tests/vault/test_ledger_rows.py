"""The ledger as a row, in a database of the test's own: what is kept, and the condition on which it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from sqlalchemy import Table, inspect
from sqlmodel import Session, create_engine, select

from aggregator.errors import Stale, Tampered
from aggregator.vault import ledger, tables
from aggregator.vault.encoding import b32
from aggregator.vault.ledger import Ledger, Line, content, parse, text
from aggregator.vault.seal import header, unwrap
from fhir_profiles.text import dumps

pytestmark = pytest.mark.storeless

VAULT, SOURCE, KEYS = "v" * 26, b"source account 1", bytes(range(64))
A, B, C = (b32(bytes([n]) * 16) for n in (1, 2, 3))
LINES = {
    B: Line(b"tag-of-b", "s2", 1, deleted=True, attached=(b"binary-0", b"binary-1")),
    A: Line(b"tag-of-a", "s1", 3),
    C: Line(b"tag-of-c", "s1", 2**30, attached=(b"binary-2",)),
}


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    table = inspect(tables.Ledger).local_table
    assert isinstance(table, Table)
    table.create(engine)
    with Session(engine) as made:
        yield made
    engine.dispose()


def load(session: Session, source: bytes = SOURCE, vault: str = VAULT) -> Ledger:
    return ledger.load(session, vault, source, KEYS)


def rows(session: Session) -> list[tuple[str, bytes, int]]:
    session.expire_all()
    return sorted((row.vault, row.source, row.revision) for row in session.exec(select(tables.Ledger)))


def test_what_was_never_stored_is_an_empty_one_of_revision_0(session: Session) -> None:
    assert load(session) == Ledger(VAULT, SOURCE, KEYS)
    assert (load(session).revision, load(session).lines) == (0, {})


def test_it_comes_back_as_it_was_saved_and_counts_its_revisions(session: Session) -> None:
    books = Ledger(VAULT, SOURCE, KEYS, lines=dict(LINES))
    for revision in (1, 2, 3):
        ledger.save(session, books)
        session.expire_all()
        assert (books.revision, load(session)) == (revision, books)
    assert load(session).live() == {A, C}
    assert rows(session) == [(VAULT, SOURCE, 3)]


def test_only_its_own_row_is_changed(session: Session) -> None:
    for vault, source in ((VAULT, SOURCE), (VAULT, b"another"), ("w" * 26, SOURCE)):
        ledger.save(session, Ledger(vault, source, KEYS))
    books = load(session)
    books.lines = dict(LINES)
    ledger.save(session, books)
    assert rows(session) == [(VAULT, b"another", 1), (VAULT, SOURCE, 2), ("w" * 26, SOURCE, 1)]
    session.expire_all()
    assert load(session, b"another").lines == load(session, vault="w" * 26).lines == {}
    assert load(session).lines == LINES


@pytest.mark.parametrize("revision", [1, 3])
def test_who_read_another_revision_is_stale_and_writes_nothing(session: Session, revision: int) -> None:
    books = Ledger(VAULT, SOURCE, KEYS)
    ledger.save(session, books)
    ledger.save(session, books)
    other = Ledger(VAULT, SOURCE, KEYS, revision, dict(LINES))
    with pytest.raises(Stale, match="another run wrote this source's ledger"):
        ledger.save(session, other)
    assert (other.revision, rows(session), load(session).lines) == (revision, [(VAULT, SOURCE, 2)], {})


def test_of_two_first_writers_the_second_is_stale(session: Session) -> None:
    ledger.save(session, Ledger(VAULT, SOURCE, KEYS))
    session.expunge_all()  # as in another process
    other = Ledger(VAULT, SOURCE, KEYS)
    with pytest.raises(Stale, match="another run wrote this source's ledger"):
        ledger.save(session, other)
    assert other.revision == 0


def test_the_row_is_bound_to_its_vault_and_source(session: Session) -> None:
    ledger.save(session, Ledger(VAULT, SOURCE, KEYS, lines=dict(LINES), last=b"l" * 96))
    row = session.get_one(tables.Ledger, (VAULT, SOURCE))
    assert unwrap(KEYS[:32], header("ledger", VAULT, name=SOURCE.hex()), row.box) == b"l" * 96 + text(LINES)
    assert load(session) == Ledger(VAULT, SOURCE, KEYS, 1, LINES, b"l" * 96)
    session.add(tables.Ledger(vault="w" * 26, source=SOURCE, revision=1, box=row.box))
    session.add(tables.Ledger(vault=VAULT, source=b"x", revision=1, box=row.box))
    session.flush()
    for place in ({"vault": "w" * 26}, {"source": b"x"}):
        with pytest.raises(Tampered):
            load(session, **place)


def test_the_columns_are_those_of_the_format() -> None:
    assert text({}) == bytes(4)
    assert parse(bytes(4)) == {}
    assert text(LINES) == b"".join(
        (
            b"\0\0\0\3" + b"\1" * 16 + b"\2" * 16 + b"\3" * 16,
            b"tag-of-atag-of-btag-of-c",
            b"\0\0\0\6" + b"\0\0\0\3" + b"\x80\0\0\0",
            b"\0\1\0" + b"\0\0\0\2\0\1",
            b"binary-0binary-1binary-2",
            b"s1,s2",
        )
    )
    assert parse(text(LINES)) == LINES
    assert all(type(line.deleted) is bool for line in parse(text(LINES)).values())


def test_columns_that_are_cut_off_are_no_ledger() -> None:
    whole = {local: Line(b"tag-of-x", "s", 1) for local in (A, B, C)}
    columns = 4 + 3 * (16 + 8 + 4 + 1 + 2)
    for end in range(5, columns):
        with pytest.raises((ValueError, struct.error)):
            parse(text(whole)[:end])


def test_as_many_attachments_as_there_is_room_for() -> None:
    many = {A: Line(b"tag-of-a", "s1", 1, attached=tuple(b"%08d" % n for n in range(2**16 - 1)))}
    assert parse(text(many)) == many


def test_a_tag_is_8_bytes_of_the_second_key_alone() -> None:
    one = Ledger(VAULT, SOURCE, KEYS).tag(b"content")
    assert one.hex() == "481f726b8a8e6dc8"
    assert Ledger("w", b"x", bytes(32) + KEYS[32:]).tag(b"content") == one
    assert Ledger(VAULT, SOURCE, KEYS[:32] + bytes(32)).tag(b"content") != one


@pytest.mark.parametrize("meta", [None, "text", ["list"]])
def test_what_is_no_meta_is_content_as_it_is(meta: object) -> None:
    resource = {"resourceType": "Basic", "meta": meta}
    assert content(resource, dumps) == dumps(resource)
    assert content({"resourceType": "Basic"}, dumps) == b'{"resourceType":"Basic"}'


def test_what_the_service_writes_into_meta_is_no_content() -> None:
    kept = {"security": [{"code": "R"}], "profile": ["p"]}
    resource = {"resourceType": "Basic", "meta": {"versionId": "7", "lastUpdated": "now", **kept, "source": "x"}}
    assert content(resource, dumps) == dumps({"resourceType": "Basic", "meta": kept})
    assert resource["meta"] == {"versionId": "7", "lastUpdated": "now", **kept, "source": "x"}


def test_a_line_is_of_something_that_is_there() -> None:
    line = Line(b"tag", "s1", 1)
    assert (line.deleted, line.attached) == (False, ())


def test_neither_key_is_printed() -> None:
    assert "keys" not in repr(Ledger(VAULT, SOURCE, KEYS))
