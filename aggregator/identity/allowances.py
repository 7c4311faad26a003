"""What one grantee may ask for: so many records, requests and bytes, in all and of each record. The owner has no limit.

Who holds a right token and a thousand consents still takes them away no faster than an operator lets them. A limit is
of a window, and what is left of it lies in the database under keyed handles, so it survives a restart and holds over
all servers. A request costs no statement: each server takes a twentieth of a window out of the database and spends
that in memory. So several servers together never spend more than there is but for the answers that are under way, and
one that ends loses what it had taken, until the window ends.

A record that was opened is not counted again for a day: an export opens each once, and its files come after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from sqlmodel import Session, col, delete

from aggregator.config import LimitSettings
from aggregator.errors import CallerError
from aggregator.identity.tables import Allowance
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

NAME = "allowances"
"""Under which a transaction that counts is written."""

_PARTS = 20
_MEGABYTE = 1_000_000
_KNOWN_SECONDS = 24 * 3600
_MOST_PURSES = 10_000


class Throttled(CallerError):
    """More than one grantee may ask for. seconds: until there is more."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(f"more than you may have of {what}; there is more in {seconds} seconds")
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """So much within a window of so many seconds. of_record: of each record by itself."""

    what: str
    most: int
    seconds: int
    of_record: bool = False


@dataclass(slots=True)
class _Purse:
    """What this server has left of what it took out of a window, which ends then (Unix seconds).

    turn: to take more, one at a time: who waits finds what the first one took.
    """

    until: int
    left: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


_Key = tuple[str, str, str]
"""(what is limited, the party, the vault or "")."""


class Allowances:
    """Those of one installation, as this server spends them. refused: how often each limit was reached, here."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock, settings: LimitSettings) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._records = _Limit(what="records", most=settings.records_per_hour, seconds=3600)
        self._requests, self._bytes = _limits(settings)
        self._purses: dict[_Key, _Purse] = {}
        self.refused = Counter[str]({one.what: 0 for one in (self._records, *self._requests, *self._bytes)})

    async def admit(self, party: str, vault: str) -> None:
        """Count a request. Raises Throttled where the party has no more of them, or had its bytes."""
        now = self._now()
        for limit in (*self._bytes, *self._requests):
            purse = self._purse(limit, party, vault, now)
            if purse.left <= 0:
                await self._fill(purse, limit, party, vault)
                now = self._now()  # it waited
        for limit in self._requests:
            self._purse(limit, party, vault, now).left -= 1

    def charge(self, party: str, vault: str, size: int) -> None:
        """Count the bytes of an answer: what it takes too much, the next ones have to wait for."""
        now = self._now()
        for limit in self._bytes:
            self._purse(limit, party, vault, now).left -= size

    async def opening(self, party: str, vault: str) -> None:
        """Count a record that the party has not opened for a day. Raises Throttled."""
        await asyncio.to_thread(self._count_record, party, vault)

    async def _fill(self, purse: _Purse, limit: _Limit, party: str, vault: str) -> None:
        async with purse.turn:
            while purse.left <= 0:
                purse.left += await asyncio.to_thread(self._take, limit, _key(limit, party, vault))

    def _now(self) -> int:
        return int(self._clock().timestamp())

    def _purse(self, limit: _Limit, party: str, vault: str, now: int) -> _Purse:
        """That of the window in which this moment lies."""
        key = _key(limit, party, vault)
        purse = self._purses.get(key)
        if purse is None or not now < purse.until <= now + limit.seconds:
            if len(self._purses) >= _MOST_PURSES:
                self._purses = {key: one for key, one in self._purses.items() if one.until > now}
            purse = self._purses[key] = _Purse(until=_end(limit, now))
        return purse

    def _take(self, limit: _Limit, key: _Key) -> int:
        """A part of what is left of the window. Raises Throttled where nothing is."""
        now = self._now()
        with self._store.write(NAME) as session:
            taken = self._taken(session, limit, key, now, max(1, limit.most // _PARTS))
        if not taken:
            raise self._throttled(limit, now)
        return taken

    def _count_record(self, party: str, vault: str) -> None:
        now, seen = self._now(), self._handle(("seen", party, vault))
        with self._store.write(NAME) as session:
            row = session.get(Allowance, seen)
            if row and now < row.until <= now + _KNOWN_SECONDS:
                return
            session.exec(delete(Allowance).where(col(Allowance.until) <= now))
            taken = self._taken(session, self._records, _key(self._records, party, vault), now, 1)
            if taken:
                session.merge(Allowance(handle=seen, until=now + _KNOWN_SECONDS, used=1))
        if not taken:
            raise self._throttled(self._records, now)

    def _taken(self, session: Session, limit: _Limit, key: _Key, now: int, wanted: int) -> int:
        """How much of this the window has left, taken out of it."""
        handle, end = self._handle(key), _end(limit, now)
        row = session.get(Allowance, handle)
        if row is None or row.until != end:
            row = session.merge(Allowance(handle=handle, until=end, used=0))
        taken = min(wanted, limit.most - row.used)
        row.used += taken
        return taken

    def _throttled(self, limit: _Limit, now: int) -> Throttled:
        self.refused[limit.what] += 1
        return Throttled(limit.what, _end(limit, now) - now)

    def _handle(self, key: _Key) -> bytes:
        return self._key_service.handle(NAME, *key)


def _limits(settings: LimitSettings) -> tuple[tuple[_Limit, ...], tuple[_Limit, ...]]:
    """(of requests, of bytes): each in all and of one record."""
    size, of_one = settings.megabytes_per_hour, settings.record_megabytes_per_hour
    return (
        _Limit(what="requests", most=settings.requests_per_minute, seconds=60),
        _Limit(what="requests of one record", most=settings.record_requests_per_minute, seconds=60, of_record=True),
    ), (
        _Limit(what="bytes", most=size * _MEGABYTE, seconds=3600),
        _Limit(what="bytes of one record", most=of_one * _MEGABYTE, seconds=3600, of_record=True),
    )


def _key(limit: _Limit, party: str, vault: str) -> _Key:
    return limit.what, party, vault if limit.of_record else ""


def _end(limit: _Limit, now: int) -> int:
    """Of the window that this moment lies in."""
    return (now // limit.seconds + 1) * limit.seconds
