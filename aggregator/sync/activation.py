"""Activation codes: by one a practice vouches for a person whose identity it has seen. Stored as a handle alone."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, Refused
from aggregator.sync.routes import feed_id
from aggregator.sync.tables import Activation, WrongCodes
from aggregator.sync.verification import Level, Method, Verification
from aggregator.vault.encoding import canonical
from aggregator.vault.seal import header
from aggregator.vault.worker_keys import WorkerKeys

_LIFE = timedelta(days=30)
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1: a code is read from paper
_LENGTH = 16  # 80 bits
# 80 bits need no limit against guessing; it keeps one account from trying paper that was found or photographed.
_TRIES = 10
_AN_HOUR = 3600.0
_PREFIX = 8
"""Hex digits by which an operator names a code: its handle's, which says nothing of the code."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What an operator may know of a code that was not redeemed yet. prefix: of its handle."""

    prefix: str
    feed: bytes
    expires: datetime


@dataclass(frozen=True, slots=True)
class Code:
    """A code that is there: the source that issued it, and what the practice vouches for."""

    authority: str
    verification: Verification


def issue(keys: WorkerKeys, authority: str, person: Person, level: Level, now: datetime) -> tuple[str, Activation]:
    """The code as it goes on paper, and its row."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    handle, expires = _handle(keys, code), int((now + _LIFE).timestamp())
    told = {"authority": authority, "person": asdict(person), "level": level, "expires": expires}
    told["at"] = now.isoformat(timespec="seconds")
    row = Activation(
        code=handle,
        feed=feed_id(keys, authority),
        person=keys.seal(person_header(handle), canonical(told)),
        expires=expires,
    )
    return "-".join(code[at : at + 4] for at in range(0, _LENGTH, 4)), row


def prefix(keys: WorkerKeys, code: str) -> str:
    """By which an operator finds it among those issued."""
    return _handle(keys, code).hex()[:_PREFIX]


def find(session: Session, keys: WorkerKeys, code: str, now: datetime) -> tuple[Activation, Code]:
    """The row, and what was sealed in it, not what the row beside it says. Raises Refused."""
    row = session.get(Activation, _handle(keys, code))
    if row is None:
        raise not_valid()
    told: dict[str, Any] = orjson.loads(keys.open(person_header(row.code), row.person))
    if told["expires"] < now.timestamp():
        raise not_valid()
    verification = Verification(
        person=Person(**told["person"]),
        method=Method.ACTIVATION_CODE,
        level=Level(told["level"]),
        by=told["authority"],
        at=datetime.fromisoformat(told["at"]),
    )
    return row, Code(told["authority"], verification)


def not_valid() -> Refused:
    """Used, expired, another's or never issued: deliberately not said which."""
    return Refused("this activation code is not valid; ask the practice for a new one")


def count_try(session: Session, vault: str, now: float) -> None:
    """Count one more try before it is made. Raises CallerError after too many wrong ones within the hour.

    The caller commits before it tries: what was counted stays counted.
    """
    row = session.get(WrongCodes, vault)
    # One from the future was written before the clock was set back.
    if row is None or not row.since <= now < row.since + _AN_HOUR:
        row = session.merge(WrongCodes(vault=vault, tries=0, since=now))
    if row.tries >= _TRIES:
        raise CallerError("too many activation codes that are not valid; try again in an hour")
    row.tries += 1
    session.add(row)


def forget_tries(session: Session, vault: str) -> None:
    """After one that was valid."""
    session.exec(delete(WrongCodes).where(col(WrongCodes.vault) == vault))


def issued(session: Session) -> list[Issued]:
    """All codes that were neither redeemed nor swept, the first to expire first."""
    rows = session.exec(select(Activation).order_by(col(Activation.expires), col(Activation.code))).all()
    return [Issued(row.code.hex()[:_PREFIX], row.feed, datetime.fromtimestamp(row.expires, UTC)) for row in rows]


def void(session: Session, start: str) -> None:
    """Make one code worthless. Raises CallerError where the prefix names none, or several."""
    found = [row for row in session.exec(select(Activation)) if row.code.hex().startswith(start.lower())]
    if not start or len(found) != 1:
        raise CallerError(f"{len(found) if start else 'no'} codes begin so; `aggregator connectors codes` lists them")
    session.delete(found[0])


def has_expired(session: Session, now: float) -> bool:
    """Is there something to sweep?"""
    codes = select(Activation.code).where(col(Activation.expires) < now).limit(1)
    tries = select(WrongCodes.vault).where(col(WrongCodes.since) < now - _AN_HOUR).limit(1)
    return any(session.exec(query).first() is not None for query in (codes, tries))


def sweep(session: Session, now: float) -> None:
    """Expired codes go, and with them whom the practice knows; so do counts of the last hour's tries."""
    session.exec(delete(Activation).where(col(Activation.expires) < now))
    session.exec(delete(WrongCodes).where(col(WrongCodes.since) < now - _AN_HOUR))


def _handle(keys: WorkerKeys, code: str) -> bytes:
    return keys.feed_tag("activation", "".join(char for char in code.upper() if char.isalnum()))


def person_header(handle: bytes) -> dict[str, Any]:
    """Of the person to whom a code was given."""
    return header("activation", "", name=handle.hex())
