"""When to pull: one tick looks at due times, which are columns; a due run is claimed by its row's lease.

APScheduler runs the tick alone. A run that is still going when the next tick comes holds its lease: nothing runs twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import col, or_, select, update

from aggregator.errors import AggregatorError, Stale
from aggregator.sync.feeds import feed_id, run_feed
from aggregator.sync.registry import Source
from aggregator.sync.run import Outcome, Progress, Worker, run
from aggregator.sync.tables import Connection, Feed

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
    jobs = [*_feeds(worker, due_only, again, observe), *_accounts(worker, due_only, again, observe)]

    async def guarded(job: Callable[[], Awaitable[list[Outcome]]]) -> list[Outcome]:
        async with gate:
            try:
                return await job()
            except Stale:
                return []

    # One that fails for a reason of our own (a full disk) is told when all others have had their turn.
    done = await asyncio.gather(*(guarded(job) for job in jobs), return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return [outcome for outcomes in done if not isinstance(outcomes, BaseException) for outcome in outcomes]


_Job = Callable[[], Awaitable[list[Outcome]]]


def _accounts(worker: Worker, due_only: bool, again: bool, observe: Observe | None) -> list[_Job]:
    now = worker.clock().timestamp()
    with worker.store.read() as session:
        query = select(Connection).where(col(Connection.is_feed).is_(False), col(Connection.ended).is_(False))
        # What was last pulled in the future was pulled before the clock was set back.
        due = or_(col(Connection.next_at) <= now, col(Connection.last_success) > now)
        rows = session.exec(query.where(due) if due_only else query).all()

    def job(connection: str) -> _Job:
        async def pull() -> list[Outcome]:
            return [await run(worker, connection, _progress(observe, connection), again=again)]

        return pull

    return [job(row.id) for row in rows]


def _feeds(worker: Worker, due_only: bool, again: bool, observe: Observe | None) -> list[_Job]:
    now, jobs = worker.clock().timestamp(), list[_Job]()
    for source in worker.registry:
        if not source.is_feed:
            continue
        with worker.store.read() as session:
            row = session.get(Feed, feed_id(worker.keys, source.authority))
        if due_only and row is not None and now < row.next_at and (row.last_success or 0.0) <= now:
            continue

        async def pull(source: Source = source) -> list[Outcome]:
            return await run_feed(worker, source, _progress(observe, source.authority), again=again)

        jobs.append(pull)
    return jobs


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
