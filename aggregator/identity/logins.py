"""Logins: known by their handle alone, each one vault's; and how one becomes free when its owner has lost every way in.

An operator releases it, on the person's word. Whoever still has a way into the record voids that by signing in within
the days of waiting, so nobody is talked out of a login; and the record is not touched: it stays sealed, and is reached
by its password or code under another login (`later`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, delete, select, update

from aggregator.errors import CallerError, OperatorError
from aggregator.identity.tables import Account, OwnerSession
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store

_LONGEST = 254  # characters, as an e-mail address
_DAY = 86_400  # seconds
_MARK = "#"  # in no login that somebody chose


@dataclass(frozen=True, slots=True)
class Released:
    """A login on its way to be free. free_from: Unix seconds; later: the login of the old record from then on."""

    vault: str
    free_from: int
    later: str


def stated(login: str) -> str:
    """A login as somebody chose it, without blanks around. Raises CallerError."""
    chosen = login.strip()
    if not 0 < len(chosen) <= _LONGEST:
        raise CallerError(f"login: 1 to {_LONGEST} characters are needed")
    if _MARK in chosen:
        raise CallerError(f"login: {_MARK} cannot be part of one")
    return chosen


def handle(key_service: KeyService, login: str) -> bytes:
    """What stands for a login, in any case and with blanks around."""
    return key_service.handle("login", login.strip().casefold())


def later(login: str, vault: str) -> str:
    """The login of a record whose own was released and taken anew."""
    return f"{login.strip()}{_MARK}{vault[:8]}"


def claim(session: Session, key_service: KeyService, login: str, vault: str, now: float) -> None:
    """Give a login to a new vault, in the caller's transaction. Raises CallerError where it is another's."""
    mine = handle(key_service, login)
    account = session.get(Account, mine)
    if account is not None:
        old = account.vault
        session.expunge(account)
        free = (col(Account.login) == mine, col(Account.free_from) <= int(now))
        if session.exec(delete(Account).where(*free)).rowcount != 1:
            raise CallerError("this login is taken")
        session.add(Account(login=handle(key_service, later(login, old)), vault=old))
    session.add(Account(login=mine, vault=vault))


def keep(session: Session, vault: str) -> None:
    """Somebody has a way into this record: its login is not free, whatever was announced."""
    announced = (col(Account.vault) == vault, col(Account.free_from).is_not(None))
    session.exec(update(Account).where(*announced).values(free_from=None))


def find(store: Store, key_service: KeyService, login: str) -> str:
    """The vault of a login, for the operator. Raises OperatorError."""
    with store.read() as session:
        account = session.get(Account, handle(key_service, login))
    if account is None:
        raise OperatorError("there is no such login")
    return account.vault


def release(store: Store, key_service: KeyService, login: str, now: float, days: int) -> Released:
    """Announce that a login will be free after so many days. Raises OperatorError, also while somebody is signed in."""
    vault, mine = find(store, key_service, login), handle(key_service, login)
    free_from = int(now) + days * _DAY
    with store.write(vault, mine.hex()) as session:
        here = select(OwnerSession).where(OwnerSession.vault == vault, OwnerSession.expires > now)
        if session.exec(here).first() is not None:
            raise OperatorError("somebody is signed in to this record, so a way in is not lost; nothing was released")
        session.exec(update(Account).where(col(Account.login) == mine).values(free_from=free_from))
    return Released(vault, free_from, later(login, vault))
