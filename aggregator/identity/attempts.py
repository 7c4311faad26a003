"""Tries at a login's password or from an address, counted before each is made, whether the login is known or not.

After five tries one waits a second, and twice as long after each further one, a minute at most. No longer: whoever
knows a login could otherwise keep its owner out. A minute leaves 1,440 tries a day against ten characters under
Argon2id. A stranger who never stops still makes the owner wait; the recovery code is a way in that nobody's tries bar,
because 130 random bits need no limit. By address (api/doorway.py) more tries are free: many people may share one.
"""

from __future__ import annotations

from sqlmodel import Session, col, delete, update

from aggregator.identity.tables import Attempts

NAME = "attempts"
"""Under which a transaction that counts is written."""

_FREE_TRIES = 5
_LONGEST_WAIT = 60.0  # seconds
_DOUBLINGS = 6  # 2 ** 6 is over the longest wait; an uncapped power overflows at 1,024
_REMEMBERED = 3600.0  # seconds after the last try; five free tries an hour are fewer than one a minute


def count(session: Session, login: bytes, now: float, free: int = _FREE_TRIES) -> float:
    """Count one more try at a handle; returns 0, or the seconds to wait where it came too early.

    The caller refuses after this transaction has committed: what was counted stays counted.
    """
    session.exec(delete(Attempts).where(col(Attempts.next_at) < now - _REMEMBERED))
    row = session.get(Attempts, login) or Attempts(login=login, failures=0, next_at=now)
    # A time further off than any wait was written before the clock was set back.
    if now < row.next_at <= now + _LONGEST_WAIT:
        return row.next_at - now
    row.failures += 1
    row.next_at = now + _wait(row.failures, free)
    session.add(row)
    return 0.0


def forget(session: Session, login: bytes) -> None:
    """After the right password, or a new one."""
    session.exec(delete(Attempts).where(col(Attempts.login) == login))


def take_back(session: Session, login: bytes) -> None:
    """The last try was right: it does not count, those before it do."""
    here = col(Attempts.login) == login
    session.exec(update(Attempts).where(here).values(failures=col(Attempts.failures) - 1))


def _wait(failures: int, free: int = _FREE_TRIES) -> float:
    beyond = failures - free
    return min(_LONGEST_WAIT, 2.0 ** min(beyond, _DOUBLINGS)) if beyond >= 0 else 0.0
