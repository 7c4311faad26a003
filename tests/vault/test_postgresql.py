"""PostgreSQL's own: who waits for whom, what a start refuses, and that neither error nor server log quotes a row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from contextlib import AbstractContextManager, closing, contextmanager

import psycopg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session, select

from aggregator.api.errors import answer
from aggregator.audit.receipts import Opening, ReceiptWriter
from aggregator.audit.tables import Receipt
from aggregator.consent.mandate import Person
from aggregator.errors import Busy, OperatorError
from aggregator.vault import postgresql, tables
from aggregator.vault.store import Store
from tests import databases
from tests.postgresql import Server
from tests.vault.world import World
from tests.weaken import weakens

SHORT = 0.3  # seconds in which nothing may happen
ENOUGH = 3.0  # seconds in which something must


@pytest.fixture
def server() -> Server:
    if databases.server() is None:
        pytest.skip("on PostgreSQL alone: --store postgresql")
    found = databases.server()
    assert found is not None
    return found


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def _enter(world: World, names: tuple[str, ...], inside: threading.Event, leave: threading.Event) -> None:
    with world.store.write(*names):
        inside.set()
        assert leave.wait(20)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (("a",), ("b",), False),
        (("a",), ("a",), True),
        (("a", "b"), ("b", "c"), True),
        (("a",), (), True),
        ((), ("a",), True),
        ((), (), True),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_writer_waits_for_who_changes_the_same(
    world: World, threads: ThreadPoolExecutor, first: tuple[str, ...], second: tuple[str, ...], waits: bool
) -> None:
    inside, then, leave = threading.Event(), threading.Event(), threading.Event()
    running = [threads.submit(_enter, world, first, inside, leave)]
    assert inside.wait(20)
    running.append(threads.submit(_enter, world, second, then, leave))
    assert then.wait(SHORT if waits else 20) is not waits
    leave.set()
    for one in running:
        one.result(20)


def _everything(store: Store, names: tuple[str, ...]) -> AbstractContextManager[tuple[Session, frozenset[str]]]:
    """Waits for all of them."""

    @contextmanager
    def made() -> Iterator[tuple[Session, frozenset[str]]]:
        with store.write(*names) as session:
            yield session, frozenset(names)

    return made()


@pytest.mark.usefixtures("server")
@weakens("aggregator.vault.store.Store", "write_free", lambda store, *names: _everything(store, names))
def test_who_writes_one_record_for_long_holds_up_no_others_receipts(world: World, threads: ThreadPoolExecutor) -> None:
    """In one batch with it, and behind it. Its own follow when it may, and so do those that came meanwhile."""
    other = world.accounts.sign_up(
        "uwe", "Ein anderes Wort", Person(given="Uwe", family="Muster", birth_date="1960-01-01")
    ).owner
    inside, leave = threading.Event(), threading.Event()
    writing = threads.submit(_enter, world, (world.vault,), inside, leave)
    assert inside.wait(20)
    writer = ReceiptWriter(world.store, world.ring)

    async def write() -> tuple[int, int]:
        held = Opening(world.vault, world.owner.root.audit.public())
        free = Opening(other.vault, other.root.audit.public())
        waiting = [asyncio.create_task(writer.write(held.first({})))]
        done, _ = await asyncio.wait([asyncio.create_task(writer.write(free.first({})))], timeout=ENOUGH)
        waiting += [asyncio.create_task(writer.write(held.next({"n": n}, None))) for n in range(5)]
        later, _ = await asyncio.wait([asyncio.create_task(writer.write(free.next({}, None)))], timeout=ENOUGH)
        assert not any(one.done() for one in waiting)
        leave.set()
        await asyncio.gather(*waiting)
        return len(done), len(later)

    told = asyncio.run(write())
    writing.result(20)
    writer.close()
    with world.store.read() as session:
        numbers = [
            sorted(session.exec(select(Receipt.number).where(Receipt.vault == vault)).all())
            for vault in (world.vault, other.vault)
        ]
    assert told == (1, 1)
    assert numbers == [[0, 1, 2, 3, 4, 5], [0, 1]]


@pytest.mark.usefixtures("server")
def test_who_waits_too_long_hears_that_it_may_try_again(
    world: World, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_SESSION", "-c lock_timeout=50ms -c timezone=UTC")
    inside, leave = threading.Event(), threading.Event()
    writing = threads.submit(_enter, world, (world.vault,), inside, leave)
    assert inside.wait(20)
    hasty = Store(world.store.database.engine.url)
    with pytest.raises(Busy), hasty.write(world.vault):
        pass
    with hasty.write_free(world.vault, "another") as (_, free):
        assert free == {"another"}
    with pytest.raises(Busy), hasty.write():
        pass
    assert answer(Busy("try again")).status_code == 503
    hasty.close()
    leave.set()
    writing.result(20)


@pytest.mark.usefixtures("server")
def test_writers_of_several_vaults_in_any_order_wait_in_no_ring(world: World, threads: ThreadPoolExecutor) -> None:
    names = [f"vault-{number}" for number in range(6)]

    def write(turn: int) -> None:
        for _ in range(20):
            with world.store.write(*(names if turn % 2 else reversed(names))):
                pass

    for one in [threads.submit(write, turn) for turn in range(4)]:
        one.result(60)


@pytest.mark.usefixtures("server")
def test_a_counter_that_is_read_and_written_back_loses_nothing(world: World, threads: ThreadPoolExecutor) -> None:
    def count() -> None:
        for _ in range(25):
            with world.store.write(world.vault) as session:
                session.get_one(tables.Vault, world.vault).grant_version += 1

    running: list[Future[None]] = [threads.submit(count) for _ in range(4)]
    for one in running:
        one.result(60)
    with world.store.read() as session:
        assert session.get_one(tables.Vault, world.vault).grant_version == 100


@pytest.mark.usefixtures("server")
def test_a_reader_waits_for_no_writer_and_writes_nothing(world: World, threads: ThreadPoolExecutor) -> None:
    inside, leave = threading.Event(), threading.Event()
    writing = threads.submit(_enter, world, (), inside, leave)
    assert inside.wait(20)
    with world.store.read() as session:
        assert session.exec(select(tables.Vault.id)).all()
    with pytest.raises(StillWaiting):
        writing.result(SHORT)
    leave.set()
    writing.result(20)
    with pytest.raises(DBAPIError, match="read-only transaction"):
        _write_as_reader(world)


def _write_as_reader(world: World) -> None:
    with world.store.read() as session:
        session.add(tables.ImageRow(vault="a", reader="r", built_for="1", box=b""))
        session.flush()


@pytest.mark.parametrize("setting", ["synchronous_commit"])
def test_a_database_that_forgets_what_it_committed_is_refused(world: World, server: Server, setting: str) -> None:
    url = make_url(databases.told(world.store))
    with server.connect(str(url.database)) as admin:
        admin.execute(f"ALTER DATABASE {url.database} SET {setting} = off".encode())
        try:
            with pytest.raises(OperatorError, match=f"does not keep what it has committed; set {setting} to on"):
                Store(url)
        finally:
            admin.execute(f"ALTER DATABASE {url.database} RESET {setting}".encode())


@pytest.mark.usefixtures("server")
def test_a_server_that_is_not_there_is_the_operators() -> None:
    url = make_url("postgresql+psycopg://aggregator@/none?host=/nowhere")
    with pytest.raises(OperatorError, match=r"^store.url: postgresql none at /nowhere cannot be reached: "):
        Store(url)


@pytest.mark.attack(20)
def test_neither_an_error_nor_the_servers_log_quotes_a_value(world: World, server: Server) -> None:
    row = {"vault": "canary-vault", "reader": "canary-reader", "built_for": "canary-built", "box": b"canary-box"}
    with world.store.write("canary-vault") as session:
        session.add(tables.ImageRow(**row))
    with pytest.raises(IntegrityError) as raised, world.store.write("canary-vault") as session:
        session.add(tables.ImageRow(**row))
    with pytest.raises(psycopg.Error) as beneath, world.store.write_free("canary-vault") as (transaction, _):
        transaction.insert(tables.ImageRow.metadata.tables["image"], [list(row.values())])
    told = f"{raised.value!r} {raised.value} {raised.value.__cause__!r} {raised.value.__cause__}"
    for one in (told, f"{beneath.value!r} {beneath.value}"):
        assert "duplicate key value" in one
        assert "canary" not in one
    assert "canary-box" not in server.log()
    assert "canary-built" not in server.log()


def test_a_server_that_was_restarted_costs_nobody_an_error(world: World, server: Server) -> None:
    url = make_url(databases.told(world.store))
    with closing(Store(url)) as store:
        with store.read() as session:
            before = session.exec(select(tables.Vault.id)).all()
        server.disconnect(str(url.database))  # what a restart does to every connection
        with store.read() as session:
            assert session.exec(select(tables.Vault.id)).all() == before


def test_a_group_commit_that_is_cut_off_is_told_and_the_next_one_counts(world: World, server: Server) -> None:
    opening = Opening(world.vault, world.owner.root.audit.public())
    with closing(ReceiptWriter(world.store, world.ring)) as writer:
        with pytest.raises(psycopg.OperationalError):
            _look_and_be_cut_off(world, server)
        asyncio.run(writer.write(opening.first({})))


def test_a_writer_that_is_cut_off_leaves_nothing_and_holds_up_nobody(world: World, server: Server) -> None:
    with pytest.raises((DBAPIError, psycopg.OperationalError)):
        _write_and_be_cut_off(world, server)
    with world.store.write(world.vault) as session:
        assert session.get_one(tables.Vault, world.vault).grant_version == 0


def _look_and_be_cut_off(world: World, server: Server) -> None:
    with world.store.write_free(world.vault) as (transaction, _):
        server.disconnect(str(make_url(databases.told(world.store)).database))
        transaction.rows(select(tables.Vault.id), {})


def _write_and_be_cut_off(world: World, server: Server) -> None:
    with world.store.write(world.vault) as session:
        session.get_one(tables.Vault, world.vault).grant_version = 99
        session.flush()
        server.disconnect(str(make_url(databases.told(world.store)).database))
