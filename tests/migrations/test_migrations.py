"""Alembic's revision makes what the models say; a database that this version cannot read is refused with what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aggregator import migrations
from aggregator.errors import OperatorError
from aggregator.migrations import make
from aggregator.vault.store import Store
from tests import databases

ROOT = Path(__file__).parents[2]
_START = """
import sys, time
from tests import databases
store = databases.opened(sys.argv[1])
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
store.create()
store.close()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    with databases.empty(tmp_path) as where, closing(Store(where)) as made:
        yield made


def _sql(store: Store, *statements: str) -> None:
    with store.database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_the_revision_makes_what_the_models_say(store: Store) -> None:
    store.create()
    with store.database.reading.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), make.metadata())
    assert difference == [], "the tables have changed: run `python -m aggregator.migrations.make`"


def test_the_revision_is_the_one_that_would_be_made_now(tmp_path: Path) -> None:
    make.write(tmp_path / "now.py")
    assert (tmp_path / "now.py").read_text() == make.FILE.read_text(), "run `python -m aggregator.migrations.make`"


def test_a_database_says_its_revision_and_opens_again(store: Store) -> None:
    for _ in range(2):
        store.create()
        with store.database.reading.connect() as connection:
            assert migrations.revision(connection) == migrations.head()


def test_a_start_that_has_nothing_to_do_does_not_import_alembic(store: Store) -> None:
    store.create()
    code = f"""
import sys
from tests import databases
store = databases.opened({databases.told(store)!r})
store.create()
store.close()
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_database_of_a_newer_version_is_refused(store: Store) -> None:
    store.create()
    _sql(store, "UPDATE alembic_version SET version_num = '0009_later'")
    with pytest.raises(OperatorError, match=r"has revision 0009_later, which this version does not know .* or a newer"):
        store.create()


def test_a_store_of_the_first_days_is_refused_and_left_as_it_is(store: Store) -> None:
    _sql(store, "CREATE TABLE installation (id INTEGER PRIMARY KEY, key_ring VARCHAR, format INTEGER)")
    with pytest.raises(OperatorError, match=r"has format 1, .* start a new store .* connect their sources again"):
        store.create()
    with store.database.reading.connect() as connection:
        assert migrations.revision(connection) is None


def test_a_database_of_something_else_is_refused(store: Store) -> None:
    _sql(store, "CREATE TABLE invoices (id INTEGER PRIMARY KEY)")
    with pytest.raises(OperatorError, match="holds the tables of something else"):
        store.create()


def test_two_processes_that_start_on_an_empty_database_both_come_up(store: Store) -> None:
    at = str(time.time() + 2)
    command = [sys.executable, "-c", _START, databases.told(store), at]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0, 0], ended
    store.create()
