"""Owner sessions at rest: the root under a key from the token, within the shred key's lock (FORMAT.md section 4).

A session is found by its token's handle and ended by its id, which is no secret. What device it is on stands in its
label, for the owner alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, delete, select, update

from aggregator.errors import Refused, SignInFailed, Tampered
from aggregator.identity import labels
from aggregator.identity.tables import OwnerSession
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import Root
from aggregator.vault.seal import expand, header, unwrap, wrap
from aggregator.vault.store import Store

NAME = "sessions"
"""Under which a transaction that opens or ends a session is written; or a vault's, with the vault's own name."""

_SKEW = 60  # seconds by which a clock may be set back; further, and minutes would become days
_ENDED = "the session has ended; sign in again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A session that begins. unlocker: the id of the row it was opened with; times in Unix seconds."""

    id: str
    vault: str
    root: Root
    token: str = field(repr=False)
    unlocker: str
    device: str
    unlocked_at: int
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A session as its owner sees it. Times in Unix seconds."""

    id: str
    device: str
    unlocker: str
    unlocked_at: int
    seen: int
    expires: int


class Sessions:
    """The owner sessions of one installation."""

    def __init__(self, store: Store, key_service: KeyService) -> None:
        self._store = store
        self._key_service = key_service

    def add(self, session: Session, opening: Opening) -> None:
        """Write its row; those that have ended go."""
        row = OwnerSession(
            token=_token_id(opening.token),
            vault=opening.vault,
            id=opening.id,
            unlocker=opening.unlocker,
            box=b"",
            label=labels.seal(opening.root, opening.vault, opening.id, opening.device),
            expires=opening.expires,
            unlocked_at=opening.unlocked_at,
            seen=hour(opening.unlocked_at),
        )
        inner = wrap(expand(opening.token.encode(), "row"), _header(row), opening.root.secret)
        row.box = self._key_service.lock(opening.vault, _header(row), inner)
        session.exec(delete(OwnerSession).where(col(OwnerSession.expires) <= opening.unlocked_at))
        session.add(row)

    def find(self, session: Session, token: str, now: float) -> tuple[OwnerSession, Root]:
        """The session behind a token. Raises SignInFailed."""
        row = session.get(OwnerSession, _token_id(token))
        if row is None or row.expires <= now or row.unlocked_at > now + _SKEW:
            raise SignInFailed(_ENDED)
        try:
            inner = outer(self._key_service, row)
            return row, Root(unwrap(expand(token.encode(), "row"), _header(row), inner))
        except (Tampered, Refused):
            raise SignInFailed(_ENDED) from None

    def see(self, vault: str, session_id: str, now: float) -> None:
        """Note the hour in which a session was used."""
        with self._store.write(NAME) as session:
            here = (col(OwnerSession.vault) == vault, col(OwnerSession.id) == session_id)
            session.exec(update(OwnerSession).where(*here).values(seen=hour(now)))

    def listed(self, vault: str, root: Root, now: float) -> list[Listed]:
        """The vault's open sessions, the newest first."""
        query = select(OwnerSession).where(OwnerSession.vault == vault, OwnerSession.expires > now)
        with self._store.read() as session:
            rows = session.exec(query.order_by(col(OwnerSession.unlocked_at).desc(), col(OwnerSession.id))).all()
        return [
            Listed(
                id=row.id,
                device=labels.read(root, vault, row.id, row.label),
                unlocker=row.unlocker,
                unlocked_at=row.unlocked_at,
                seen=row.seen,
                expires=row.expires,
            )
            for row in rows
        ]

    def end_token(self, token: str) -> None:
        """Sign out: twice is once."""
        with self._store.write(NAME) as session:
            session.exec(delete(OwnerSession).where(col(OwnerSession.token) == _token_id(token)))

    def end(self, vault: str, session_id: str) -> bool:
        """End one of the vault's sessions; False where there is none with this id."""
        with self._store.write(NAME) as session:
            here = (col(OwnerSession.vault) == vault, col(OwnerSession.id) == session_id)
            return session.exec(delete(OwnerSession).where(*here)).rowcount == 1

    def end_others(self, vault: str, but: str) -> int:
        """End all of the vault's sessions but the one with this id; returns how many."""
        with self._store.write(NAME) as session:
            return end_all(session, vault, but=but)


def outer(key_service: KeyService, row: OwnerSession) -> bytes:
    """What lies within the shred key's lock. Raises Tampered, Refused."""
    return key_service.unlock(row.vault, _header(row), row.box)


def hour(now: float) -> int:
    """The beginning of the hour: when a session was last seen is told no finer."""
    return int(now) // 3600 * 3600


def end_all(session: Session, vault: str, *, but: str = "", unlocker: str = "") -> int:
    """End the vault's sessions, in the caller's transaction: all but the one with this id, or one unlocker's alone."""
    wanted = [col(OwnerSession.vault) == vault, col(OwnerSession.id) != but]
    if unlocker:
        wanted.append(col(OwnerSession.unlocker) == unlocker)
    return session.exec(delete(OwnerSession).where(*wanted)).rowcount


def _token_id(token: str) -> bytes:
    return expand(token.encode(), "id", 16)


def _header(row: OwnerSession) -> dict[str, Any]:
    # Whoever can write the database makes no session longer, no unlock fresher, and keeps none past its unlocker.
    name = f"{row.token.hex()}/{row.id}/{row.unlocker}/{row.unlocked_at}/{row.expires}"
    return header("session", row.vault, name=name)
