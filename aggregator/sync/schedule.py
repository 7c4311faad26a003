"""When to pull: one tick looks at due times, which are columns; a due run is claimed by its row's lease.

APScheduler runs the tick alone. A run that is still going when the next tick comes holds its lease: nothing runs twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import col, select, update

from aggregator.errors import AggregatorError, Stale
from aggregator.sync import activation, hold
from aggregator.sync.feeds import feed_not_run, run_feed
from aggregator.sync.registry import Source
from aggregator.sync.run import UNEXPECTED, Outcome, Progress, Worker, not_run, run
from aggregator.sync.tables import Connection
from aggregator.vault import disk
from aggregator.vault.blob_rows import Sweeper

logger = logging.getLogger(__name__)

_SWEEP_HOURS = 12

Observe = Callable[[str, int, int | None], None]
"""Called with (what is synced, items so far, items in all where known)."""


async def sync(
    worker: Worker,
    *,
    at_once: int = 4,
    due_only: bool = False,
    again: bool = False,
    observe: Observe | None = None,
) -> list[Outcome]:
    """Pull every connection and feed, some at once; what another run holds is told so.

    due_only: those whose time has come; what another run holds, or has just pulled, is left out.
    """
    gate = asyncio.Semaphore(at_once)

    async def guarded(pull: _Pull) -> list[Outcome]:
        async with gate:
            return await pull(again=again, due_only=due_only)

    _sweep(worker)
    # One that fails for a reason of our own (a full disk) is told when all others have had their turn.
    pulls = [*_feeds(worker, observe), *_accounts(worker, due_only, observe)]
    done = await asyncio.gather(*map(guarded, pulls), return_exceptions=True)
    outcomes = list[Outcome]()
    for one in done:
        if isinstance(one, BaseException):
            raise one
        outcomes += one
    return outcomes


def _sweep(worker: Worker) -> None:
    """What was kept for a time only, and whose time is over: held items, codes, tries."""
    now = worker.clock().timestamp()
    with worker.store.read() as session:
        due = hold.has_expired(session, now) or activation.has_expired(session, now)
    if due:
        with worker.store.write() as session:
            hold.sweep(session, now)
            activation.sweep(session, now)


class _Pull(Protocol):
    async def __call__(self, *, again: bool, due_only: bool) -> list[Outcome]: ...


def _accounts(worker: Worker, due_only: bool, observe: Observe | None) -> list[_Pull]:
    query = select(Connection.id).where(col(Connection.is_feed).is_(False), col(Connection.ended).is_(False))
    with worker.store.read() as session:
        found = session.exec(query.where(worker.due(Connection)) if due_only else query).all()

    return [partial(_account, worker, connection, _progress(observe, connection)) for connection in found]


async def _account(
    worker: Worker, connection: str, progress: Progress | None, *, again: bool, due_only: bool
) -> list[Outcome]:
    try:
        return [await run(worker, connection, progress, again=again, due_only=due_only)]
    except Stale as held:
        return [] if due_only else [not_run(worker, connection, str(held))]


def _feeds(worker: Worker, observe: Observe | None) -> list[_Pull]:
    feeds = [source for source in worker.registry if source.is_feed]
    return [partial(_feed, worker, source, _progress(observe, source.authority)) for source in feeds]


async def _feed(
    worker: Worker, source: Source, progress: Progress | None, *, again: bool, due_only: bool
) -> list[Outcome]:
    try:
        return await run_feed(worker, source, progress, again=again, due_only=due_only)
    except Stale as held:
        return [] if due_only else [feed_not_run(worker, source, str(held))]


def _progress(observe: Observe | None, name: str) -> Progress | None:
    return (lambda done, total: observe(name, done, total)) if observe else None


class Schedule:
    """The tick in the background of a serving process."""

    def __init__(self, worker: Worker, tick_seconds: int, jitter_percent: int, at_once: int) -> None:
        self._worker = worker
        self._at_once = at_once
        self._jitter = jitter_percent / 100
        self._lock = threading.Lock()
        self._stopped = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._scheduler = BackgroundScheduler(timezone="UTC")
        # coalesce and max_instances: a tick that comes late comes once.
        self._scheduler.add_job(self.tick, "interval", seconds=tick_seconds, coalesce=True, max_instances=1)
        self._sweeper = Sweeper(worker.store, worker.blobs)
        self._scheduler.add_job(self.sweep, "interval", hours=_SWEEP_HOURS, coalesce=True, max_instances=1)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """No further tick; one that is running is cancelled, and its runs give back what they hold."""
        with self._lock:
            self._stopped = True
            if self._running:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)
        self._scheduler.shutdown(wait=True)

    def sweep(self) -> None:
        """Let go the blobs that no row names. What goes wrong is tried again the next time."""
        try:
            self._sweeper.sweep(time.time(), time.monotonic())
        except (AggregatorError, OSError) as error:
            logger.error("blobs: a sweep failed: %s", type(error).__name__)

    def tick(self) -> list[Outcome]:
        """Pull what is due. Nothing that goes wrong ends the schedule."""
        try:
            outcomes = asyncio.run(self._pull())
            for outcome in outcomes:
                self._spread(outcome)
        except asyncio.CancelledError:
            return []
        except Exception as error:  # noqa: BLE001 - the next tick tries again; APScheduler would log a traceback
            known = disk.failure(error) or error
            told = str(known) if isinstance(known, AggregatorError) else UNEXPECTED
            logger.error("sync: a tick failed: %s: %s", type(known).__name__, told)
            return []
        return outcomes

    async def _pull(self) -> list[Outcome]:
        task = asyncio.current_task()
        with self._lock:
            if self._stopped or task is None:
                return []
            self._running = asyncio.get_running_loop(), task
        try:
            return await sync(self._worker, at_once=self._at_once, due_only=True)
        finally:
            with self._lock:
                self._running = None

    def _spread(self, outcome: Outcome) -> None:
        """Jitter, a share of the wait: connections that started together do not stay together."""
        share = random.uniform(0, self._jitter)  # noqa: S311 - spreads load, guards nothing
        wait = col(Connection.next_at) - self._worker.clock().timestamp()
        with self._worker.store.write(outcome.connection) as session:
            session.exec(
                update(Connection)
                .where(col(Connection.id) == outcome.connection, wait > 0)
                .values(next_at=col(Connection.next_at) + wait * share)
            )
