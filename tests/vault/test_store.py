"""The database: a write is whole or not at all, and durable when it returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlmodel import select

from aggregator.errors import OperatorError
from aggregator.vault import log, sqlite, tables
from aggregator.vault.store import Store
from tests.vault.world import World


def row(name: str) -> tables.ImageRow:
    return tables.ImageRow(vault=name, reader="r", built_for="1", box=b"box")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "a.db")
    made.create()
    yield made
    made.close()


def names(store: Store) -> list[str]:
    with store.read() as session:
        return sorted(session.exec(select(tables.ImageRow.vault)))


def _write_and_fail(store: Store) -> None:
    with store.write() as session:
        session.add(row("b"))
        session.flush()
        raise RuntimeError("power cut")


def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    with store.write() as session:
        session.add(row("a"))
    with pytest.raises(RuntimeError, match="power cut"):
        _write_and_fail(store)
    assert names(store) == ["a"]


def test_a_log_that_raises_leaves_position_and_chain(world: World) -> None:
    before = world.truth()
    with pytest.raises(RuntimeError, match="power cut"):
        _append_and_fail(world)
    assert world.truth() == before


def _append_and_fail(world: World) -> None:
    with world.store.write() as session:
        log.append(session, session.get_one(tables.Vault, world.vault), [b"one", b"two"])
        raise RuntimeError("power cut")


def test_a_reader_sees_one_moment_and_waits_for_no_writer(store: Store) -> None:
    with store.write() as session:
        session.add(row("a"))
    with store.read() as reading:
        assert len(reading.exec(select(tables.ImageRow)).all()) == 1
        with store.write() as session:
            session.add(row("b"))
        assert len(reading.exec(select(tables.ImageRow.vault)).all()) == 1
    assert names(store) == ["a", "b"]


def test_what_was_committed_is_there_for_another_process(store: Store) -> None:
    with store.write() as session:
        session.add(row("a"))
    with sqlite3.connect(f"file:{store.place}?mode=ro", uri=True) as other:
        assert other.execute("SELECT vault FROM image").fetchall() == [("a",)]
    other.close()


def test_its_settings_are_those_that_durability_takes(store: Store) -> None:
    with store.read() as session:
        found = {
            name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}


class Refusing:
    """A connection whose file SQLite cannot turn the write-ahead log on for."""

    def __init__(self, code: int) -> None:
        self._error = sqlite3.OperationalError()
        self._error.sqlite_errorcode = code

    def execute(self, _: str) -> None:
        raise self._error


class WaitedError(Exception):
    """Somebody has begun to wait."""


def wait(_: float) -> None:
    raise WaitedError


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (sqlite3.SQLITE_BUSY_RECOVERY, WaitedError),
        (sqlite3.SQLITE_PROTOCOL, WaitedError),
        (sqlite3.SQLITE_FULL, sqlite3.OperationalError),
        (sqlite3.SQLITE_IOERR_WRITE, sqlite3.OperationalError),
    ],
)
def test_a_start_waits_for_other_processes_and_not_for_a_full_disk(
    code: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", wait)
    with pytest.raises(raised):
        sqlite.write_ahead(cast(sqlite3.Connection, Refusing(code)))


def test_a_checkpoint_empties_the_log_file(store: Store) -> None:
    with store.write() as session:
        session.add(row("a"))
    file = Path(store.place)
    wal = file.with_name("a.db-wal")
    assert wal.stat().st_size > 0
    store.checkpoint()
    assert wal.stat().st_size == 0
    assert store.size() == file.stat().st_size


def test_a_folder_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"store: the folder .* does not exist; create it or set store\.path"):
        Store(tmp_path / "missing" / "a.db")
