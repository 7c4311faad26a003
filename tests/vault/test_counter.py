"""A database that was rolled back is noticed: what the key service remembers, who tells it, and what is accepted."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel, col

from aggregator.audit import receipts
from aggregator.audit.receipts import Condition, Opening, ReceiptWriter
from aggregator.errors import KeysMissing, RolledBack, Stale
from aggregator.vault import counter, snapshot, tables
from aggregator.vault.beneath import Beneath
from aggregator.vault.counter import Counter
from aggregator.vault.counter_file import CounterFile
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.keys import Root
from tests.vault.world import LOGIN, PASSWORD, World
from tests.weaken import weakens

BASE = Counter(5, b"chain", 3, 2, 7, b"head")


def remembered(world: World) -> Counter:
    return world.ring.remembered([world.vault])[world.vault]


def in_the_database(world: World) -> Counter:
    with world.store.read() as session:
        return Counter.of(session.get_one(tables.Vault, world.vault))


def receipt(world: World) -> None:
    opening = Opening(world.vault, world.owner.root.audit.public())
    writer = ReceiptWriter(world.store, world.ring)
    writer.write_now([opening.first({"kind": "opened"})])
    writer.close()


WRITERS: dict[str, Callable[[World], object]] = {
    "an envelope": lambda world: world.append("results", world.put("Observation/1")),
    "a receipt": receipt,
    "a Consent": lambda world: world.permit(),
    "the end of a grant": lambda world: (world.permit(), world.grants.end(world.owner, "praxis-b")),
    "a snapshot": lambda world: (world.append("results", world.put("Observation/1")), world.open()),
}


@pytest.mark.parametrize("case", WRITERS)
def test_the_key_service_hears_of_every_head_that_moved(world: World, case: str) -> None:
    before = remembered(world)
    WRITERS[case](world)
    assert remembered(world) == in_the_database(world) != before


def test_a_vault_is_remembered_from_its_sign_up(world: World) -> None:
    assert remembered(world) == in_the_database(world)
    assert remembered(world).log_position == 1


def test_what_was_not_committed_is_not_remembered(world: World) -> None:
    before = remembered(world)
    with suppress(ZeroDivisionError), world.store.write(world.vault) as session:
        session.get_one(tables.Vault, world.vault).log_position = 9
        session.flush()
        raise ZeroDivisionError
    assert remembered(world) == before == in_the_database(world)


def test_a_statement_that_hides_which_vault_it_writes_is_a_bug(world: World) -> None:
    with pytest.raises(KeyError), world.store.write() as session:
        session.execute(update(tables.Vault).where(col(tables.Vault.log_position) == 1).values(epoch=2))


def test_whoever_acts_on_a_vaults_row_reads_it_through_the_counter() -> None:
    """`session.get(Vault, ...)` elsewhere would pass a database that was rolled back."""
    # view: a cache's condition; verify and chain_file: for a chain that may be wrong, which they tell in their own way
    # restoring: what is behind is what it mends
    allowed = {"counter.py", "view.py", "verify.py", "chain_file.py", "restoring.py"}
    code = Path(counter.__file__).parents[1]
    plain = re.compile(r"\.get(_one)?\((tables\.)?Vault,")
    found = {file.name for file in code.rglob("*.py") if plain.search(file.read_text())}
    assert found <= allowed


# What is behind, and what is not.


@pytest.mark.parametrize(
    "older",
    [
        {"log_position": 4},
        {"grant_version": 2},
        {"epoch": 1},
        {"audit_position": 6},
        {"chain": b"another"},
        {"audit_head": b"another"},
        {"log_position": 4, "audit_position": 9, "grant_version": 9, "epoch": 9},
    ],
)
def test_one_member_that_is_older_or_another_makes_it_older(older: dict[str, int | bytes]) -> None:
    assert replace(BASE, **older).behind(BASE)  # type: ignore[arg-type] - each is a member's value


def test_what_grew_in_every_member_or_in_none_is_not_behind() -> None:
    assert not BASE.behind(BASE)
    assert not Counter(6, b"next", 4, 3, 8, b"next").behind(BASE)


@pytest.mark.parametrize("others", [0, 1, 2, 511, 512, 1025])
def test_of_any_number_of_vaults_those_that_are_there_have_a_head(world: World, others: int) -> None:
    with world.store.read() as session:
        transaction = Beneath.of(session.connection(), session.info)
        found = counter.heads(transaction, {world.vault, *(f"nobody-{number}" for number in range(others))})
        assert counter.heads(transaction, ()) == {}
    assert found == {world.vault: in_the_database(world)}


# Rollbacks.


def copied(world: World) -> Callable[[], None]:
    """All rows as they are now; called, they take the place of those that are there then."""
    tables_ = SQLModel.metadata.sorted_tables
    with world.store.read() as session:
        rows = {
            table: [dict(row._mapping) for row in session.connection().execute(table.select())] for table in tables_
        }

    def put_back() -> None:
        with world.unwatched(), world.store.write() as session:
            for table in reversed(tables_):
                session.connection().execute(table.delete())
            for table in tables_:
                if rows[table]:
                    session.connection().execute(table.insert(), rows[table])

    return put_back


ACTS: dict[str, Callable[[World], object]] = {
    "the owner's view": lambda world: world.open(),
    "a grantee's view": lambda world: world.open(world.grantee()),
    "sign-in": lambda world: world.accounts.sign_in(LOGIN, PASSWORD),
    "a session": lambda world: world.accounts.owner(world.owner.token),
    "a Consent": lambda world: world.permit(),
    "the end of a grant": lambda world: world.grants.end(world.owner, "praxis-b"),
}


@pytest.mark.attack(24)
@pytest.mark.parametrize("act", ACTS)
@weakens("aggregator.vault.counter", "_compare", lambda *_: None)
def test_nothing_is_done_with_a_database_that_was_rolled_back(world: World, act: str) -> None:
    """The whole database, as it was before the last receipt: everything in it is right, and our own."""
    world.permit()
    put_back = copied(world)
    receipt(world)
    put_back()
    with pytest.raises(RolledBack, match="aggregator restore"):
        ACTS[act](world)


@pytest.mark.attack(24)
@pytest.mark.parametrize("column", ["log_position", "grant_version", "audit_position", "epoch"])
@weakens("aggregator.vault.counter", "_compare", lambda *_: None)
def test_one_row_rolled_back_is_found(world: World, column: str) -> None:
    world.permit()
    receipt(world)
    world.sql(f"UPDATE vault SET {column} = {column} - 1")
    with world.store.read() as session, pytest.raises(RolledBack):
        counter.head(session, world.vault)


@pytest.mark.attack(24, 31)
@weakens("aggregator.audit.receipts", "_follows", lambda *_: True, about=(24,))
def test_no_receipt_is_appended_to_a_chain_that_was_cut(world: World) -> None:
    """So nothing is answered through a view that is open already. The other vaults' receipts of the batch count."""
    receipt(world)
    for table in ("receipt", "signed_head"):
        world.sql(f"DELETE FROM {table}")
    world.sql("UPDATE vault SET audit_position = 0")
    opening = Opening(world.vault, world.owner.root.audit.public())
    with world.store.write(world.vault) as session:
        row = session.get_one(tables.Vault, world.vault)
        now = Condition(row.grant_version, row.log_position)
        assert receipts.commit(session, world.ring, [opening.next({"kind": "answered"}, now)]) == [False]


@pytest.mark.attack(24, 30)
@weakens("aggregator.audit.receipts", "_follows", lambda *_: True, about=(24, 30))
def test_no_receipt_is_appended_to_a_chain_that_was_written_anew(world: World) -> None:
    """Longer than it was, so nothing in its row is older: the key service neither signs its head nor remembers it."""
    put_back = copied(world)
    receipt(world)
    put_back()
    with world.unwatched():
        receipt(world)
        receipt(world)
    before, opening = remembered(world), Opening(world.vault, world.owner.root.audit.public())
    with world.store.write(world.vault) as session:
        row = session.get_one(tables.Vault, world.vault)
        now = Condition(row.grant_version, row.log_position)
        assert receipts.commit(session, world.ring, [opening.next({"kind": "answered"}, now)]) == [False]
    assert remembered(world) == before


def waited_for(world: World) -> None:
    """The same through the group commit."""
    opening = Opening(world.vault, world.owner.root.audit.public())
    with closing(ReceiptWriter(world.store, world.ring)) as writer:
        asyncio.run(writer.write(opening.first({"kind": "opened"})))


@pytest.mark.attack(48)
@pytest.mark.parametrize("write", [receipt, waited_for])
def test_a_receipt_follows_one_of_which_the_key_service_was_not_told(
    world: World, write: Callable[[World], None]
) -> None:
    """Another server's, or one before a crash: true, and ahead."""
    with world.unwatched():
        receipt(world)
    write(world)
    assert remembered(world) == in_the_database(world)
    assert in_the_database(world).audit_position == 2


@pytest.mark.attack(24, 31)
@weakens("aggregator.audit.receipts", "_heads", lambda transaction, vaults: (counter.heads(transaction, vaults), []))
def test_a_group_commit_takes_nothing_for_a_vault_that_was_rolled_back(world: World) -> None:
    put_back = copied(world)
    receipt(world)
    put_back()
    before = remembered(world)
    with pytest.raises(Stale):
        waited_for(world)
    assert remembered(world) == before


@pytest.mark.attack(24)
@weakens("aggregator.vault.counter", "_extends", lambda *_: True)
def test_a_longer_log_of_another_history_is_found(world: World) -> None:
    """Rolled back by two envelopes and filled up with three forged ones, chained as they must be."""
    put_back = copied(world)
    for number in (1, 2):
        world.append("results", world.put(f"Observation/{number}"))
    put_back()
    with world.unwatched():
        world.append_raw(b"forged", b"forged", b"forged")
    with pytest.raises(RolledBack):
        world.open()


def rolled_back_and_filled_up(world: World) -> tuple[int, bytes]:
    """By somebody with the database: a true envelope twice in the place of a newer one. Position and chain then."""
    kept = world.append("results", world.put("Observation/1"))
    world.append("results", world.put("Observation/1", {"status": "entered-in-error"}, version=2))
    with world.store.read() as session:
        one = session.get_one(tables.LogEntry, (world.vault, kept))
    world.sql("DELETE FROM log WHERE vault = ? AND position > ?", world.vault, kept)
    world.sql("UPDATE vault SET log_position = ?, chain = ? WHERE id = ?", kept, one.chain, world.vault)
    with world.unwatched():
        position = world.append_raw(one.envelope, one.envelope)
    return position, in_the_database(world).chain


def listed(world: World, position: int, chain: bytes) -> bytes:
    """A manifest that says so."""
    same: dict[str, object] = {"kind": "snapshot", "vault": world.vault, "sections": {}, "epochs": {}}
    return canonical(same | {"position": position, "chain": b64(chain), "refused": {}, "numbers": {}})


def put_snapshot(world: World, position: int, manifest: bytes, signature: bytes) -> None:
    world.sql("INSERT INTO snapshot VALUES (?, ?, ?, ?)", world.vault, position, manifest, signature)


_MANIFEST = snapshot.manifest


@pytest.mark.attack(24)
@weakens("aggregator.vault.snapshot", "verify", lambda *_: None)
@weakens("aggregator.vault.snapshot", "manifest", lambda session, row, _: _MANIFEST(session, row, row.verification_key))
def test_a_snapshot_that_the_root_did_not_sign_stands_for_no_log(world: World) -> None:
    """With it in the database for a moment alone, the key service would remember the log that was rolled back."""
    position, chain = rolled_back_and_filled_up(world)
    before, other = remembered(world), Root(bytes(32))
    manifest = listed(world, position, chain)
    put_snapshot(world, position, manifest, other.sign(b"PRA1/snapshot" + manifest))
    world.sql("UPDATE vault SET verification_key = ? WHERE id = ?", other.verification_key, world.vault)
    with world.store.read() as session, pytest.raises(RolledBack):
        counter.head(session, world.vault)
    assert remembered(world) == before


@pytest.mark.attack(24)
@weakens("aggregator.vault.log", "after", lambda *_: [])
def test_a_signed_snapshot_stands_for_the_log_up_to_its_own_end(world: World) -> None:
    """It reaches beyond the counter since a crash came between: what is behind it must still lead to the row."""
    with world.unwatched():
        world.append("results", world.put("Observation/1"))
        world.append("results", world.put("Observation/2"))
        world.open()
        world.append("results", world.put("Observation/3"))
    world.sql("UPDATE log SET envelope = ? WHERE vault = ?", b"another", world.vault)
    with world.store.read() as session, pytest.raises(RolledBack):
        counter.head(session, world.vault)


@pytest.mark.attack(24)
@weakens("aggregator.vault.counter", "_extends", lambda *_: True)
def test_a_longer_audit_chain_of_another_history_is_found(world: World) -> None:
    put_back = copied(world)
    receipt(world)
    put_back()
    with world.unwatched():
        receipt(world)
        receipt(world)
    with pytest.raises(RolledBack):
        world.open()


@pytest.mark.attack(48)
def test_a_crash_between_the_commit_and_the_counter_loses_nothing(world: World) -> None:
    """The database is ahead: that is accepted, and the key service hears of it."""
    before = remembered(world)
    with world.unwatched():
        world.append("results", world.put("Observation/1"))
        receipt(world)
    assert remembered(world) == before
    assert "results" in world.open().image.sections()
    assert remembered(world) == in_the_database(world) != before


@pytest.mark.attack(48)
def test_a_newer_snapshot_stands_for_the_log_that_it_let_go(world: World) -> None:
    before = remembered(world)
    with world.unwatched():
        world.append("results", world.put("Observation/1"))
        world.open()
    assert remembered(world) == before
    assert "results" in world.open().image.sections()
    assert remembered(world) == in_the_database(world)


@pytest.mark.attack(48)
def test_a_crash_before_the_first_counter_loses_nothing(world: World) -> None:
    world.ring._counters._db.execute("DELETE FROM counter")
    world.open()
    assert remembered(world) == in_the_database(world)


def test_a_transaction_that_began_before_anothers_commit_is_told_to_look_again(world: World) -> None:
    """Two server processes: what looks older is only the reader's moment."""
    with world.store.read() as session:
        session.connection().exec_driver_sql("SELECT * FROM vault").all()
        world.append("results", world.put("Observation/1"))
        with pytest.raises(Stale):
            counter.head(session, world.vault)


# The file.


def test_a_counter_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "counters.db").touch()
    file = CounterFile(tmp_path / "counters.db")
    file.advance({"a": BASE, "b": BASE})
    file.advance({"a": Counter(4, b"older", 4, 1, 6, b"older")})
    assert file.remembered(["a", "b", "c"]) == {"a": replace(BASE, grant_version=4), "b": BASE}
    file.advance({"a": Counter(6, b"newer", 3, 3, 8, b"newer")})
    assert file.remembered(["a"]) == {"a": Counter(6, b"newer", 4, 3, 8, b"newer")}
    file.close()


def test_counters_that_are_gone_are_no_new_ones(world: World) -> None:
    (world.folder / "keys" / "counters.db").unlink()
    with pytest.raises(KeysMissing, match=r"counters\.db is missing"):
        CounterFile(world.folder / "keys" / "counters.db")


def test_it_is_on_the_disk_when_it_returns(world: World) -> None:
    database = world.ring._counters._db
    pragmas = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_many_vaults_are_asked_for_at_once(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "counters.db").close()
    (tmp_path / "counters.db").touch()
    file = CounterFile(tmp_path / "counters.db")
    many = {f"v{number}": replace(BASE, log_position=number) for number in range(1201)}
    file.advance(many)
    assert file.remembered(many) == many
    file.close()
