"""When to pull: one tick looks at due times, which are columns; a due run is claimed by its row's lease.

APScheduler runs the tick alone. A run that is still going when the next tick comes holds its lease: nothing runs twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import col, select, update

from aggregator.errors import AggregatorError, Stale
from aggregator.sync.feeds import run_feed
from aggregator.sync.run import Outcome, Progress, Worker, run
from aggregator.sync.tables import Connection

logger = logging.getLogger(__name__)

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
    """Pull every connection and feed (or those that are due), some at once. What is held elsewhere is left out."""
    gate = asyncio.Semaphore(at_once)

    async def guarded(pull: _Pull) -> list[Outcome]:
        async with gate:
            try:
                return await pull(again=again, due_only=due_only)
            except Stale:
                return []

    # One that fails for a reason of our own (a full disk) is told when all others have had their turn.
    pulls = [*_feeds(worker, observe), *_accounts(worker, due_only, observe)]
    done = await asyncio.gather(*map(guarded, pulls), return_exceptions=True)
    outcomes = list[Outcome]()
    for one in done:
        if isinstance(one, BaseException):
            raise one
        outcomes += one
    return outcomes


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
    return [await run(worker, connection, progress, again=again, due_only=due_only)]


def _feeds(worker: Worker, observe: Observe | None) -> list[_Pull]:
    feeds = [source for source in worker.registry if source.is_feed]
    return [partial(run_feed, worker, source, _progress(observe, source.authority)) for source in feeds]


def _progress(observe: Observe | None, name: str) -> Progress | None:
    return (lambda done, total: observe(name, done, total)) if observe else None


class Schedule:
    """The tick in the background of a serving process."""

    def __init__(self, worker: Worker, tick_seconds: int, jitter_percent: int, at_once: int) -> None:
        self._worker = worker
        self._at_once = at_once
        self._jitter = jitter_percent / 100
        self._scheduler = BackgroundScheduler(timezone="UTC")
        # coalesce and max_instances: a tick that comes late comes once.
        self._scheduler.add_job(self.tick, "interval", seconds=tick_seconds, coalesce=True, max_instances=1)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=True)

    def tick(self) -> list[Outcome]:
        """Pull what is due. Nothing that goes wrong ends the schedule."""
        try:
            outcomes = asyncio.run(sync(self._worker, at_once=self._at_once, due_only=True))
        except AggregatorError as error:
            logger.error("sync: a tick failed: %s: %s", type(error).__name__, error)
            return []
        for outcome in outcomes:
            self._spread(outcome)
        return outcomes

    def _spread(self, outcome: Outcome) -> None:
        """Jitter, a share of the wait: connections that started together do not stay together."""
        share = random.uniform(0, self._jitter)  # noqa: S311 - spreads load, guards nothing
        wait = col(Connection.next_at) - self._worker.clock().timestamp()
        with self._worker.store.write() as session:
            session.exec(
                update(Connection)
                .where(col(Connection.id) == outcome.connection, wait > 0)
                .values(next_at=col(Connection.next_at) + wait * share)
            )
