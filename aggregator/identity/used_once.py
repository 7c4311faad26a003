"""What may be used a single time: a `jti`, a challenge. Remembered in the database: by every server, over a restart."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete

from aggregator.identity.tables import UsedAssertion
from aggregator.vault.store import Store

TOKENS = "clients"  # what these transactions take of the store: rows of no vault


def use_once(store: Store, handle: bytes, *, expires: int, now: int) -> bool:
    """False where it was used before. expires: from when on it is refused for its age (Unix seconds)."""
    try:
        with store.write(TOKENS) as session:
            note_use(session, handle, expires=expires, now=now)
    except IntegrityError:
        return False
    return True


def note_use(session: Session, handle: bytes, *, expires: int, now: int) -> None:
    """The same in a transaction of the caller's, which fails with IntegrityError where it was used before."""
    session.exec(delete(UsedAssertion).where(col(UsedAssertion.expires) <= now))
    session.add(UsedAssertion(handle=handle, expires=expires))
