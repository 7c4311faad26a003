"""What the service hands out and takes back: requests, launches, codes, refresh tokens, sign-ins elsewhere.

Each is 256 random bits; its row is found by a handle and lies under a key of the token and of the key service
together, so that nobody makes one by writing into the database. Of what is used up the row stays, empty, until it
expires: who brings it again is noticed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
from sqlmodel import Session, col, delete, update

from aggregator.errors import Refused, Tampered
from aggregator.identity.tables import AccessToken, HandedOut
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import expand, header, unwrap, wrap
from connectors.contract import Clock


class Kind(StrEnum):
    """What a token was handed out as; it is good for nothing else."""

    PUSHED = "pushed-request"
    REQUEST = "authorization-request"
    LAUNCH = "launch"
    CODE = "authorization-code"
    REFRESH = "refresh-token"
    OPENID = "openid-attempt"
    IDENTIFIED = "openid-identified"


class Used(Refused):
    """It was used before."""


class Desk:
    """Hands out and takes back, in the caller's transaction."""

    def __init__(self, key_service: KeyService, clock: Clock) -> None:
        self._key_service = key_service
        self._clock = clock

    def give(self, session: Session, kind: Kind, told: Mapping[str, Any], expires: int, family: bytes = b"") -> str:
        """A new token that stands for `told` until `expires` (Unix seconds). family: with whom it ends."""
        now = int(self._clock().timestamp())
        session.exec(delete(HandedOut).where(col(HandedOut.expires) <= now))
        token = secrets.token_urlsafe(32)
        row = HandedOut(token=self._id(kind, token), family=family, box=b"", expires=expires)
        row.box = wrap(self._key(kind, token), _header(kind, row), orjson.dumps(told))
        session.add(row)
        return token

    def look(self, session: Session, kind: Kind, token: str) -> dict[str, Any]:
        """What a token stands for. Raises Used, or Refused where there is no such token now."""
        row = session.get(HandedOut, self._id(kind, token))
        if row is not None and row.used:
            raise Used("this was used before")
        return self._open(kind, token, row)

    def take(self, session: Session, kind: Kind, token: str) -> dict[str, Any]:
        """The same, and it is used. Raises the same."""
        told = self.look(session, kind, token)
        here = (col(HandedOut.token) == self._id(kind, token), col(HandedOut.used).is_(False))
        if session.exec(update(HandedOut).where(*here).values(used=True, box=b"")).rowcount != 1:
            raise Used("this was used before")
        return told

    def family(self, authorization: str) -> bytes:
        """What all tokens of one approval have in common, and say of it to nobody."""
        return self._key_service.handle("family", authorization)

    def family_of(self, session: Session, kind: Kind, token: str) -> bytes:
        """That of a token, used or not; empty where there is none."""
        row = session.get(HandedOut, self._id(kind, token))
        return row.family if row else b""

    def _open(self, kind: Kind, token: str, row: HandedOut | None) -> dict[str, Any]:
        if row is None or _is_over(row, self._clock()):
            raise Refused("there is no such thing, or no longer")
        try:
            told: dict[str, Any] = orjson.loads(unwrap(self._key(kind, token), _header(kind, row), row.box))
        except Tampered:
            raise Refused("there is no such thing, or no longer") from None
        return told

    def _id(self, kind: Kind, token: str) -> bytes:
        return self._key_service.handle("handed-out", kind, token)

    def _key(self, kind: Kind, token: str) -> bytes:
        halves = (self._key_service.handle("handed-out-key", kind, token, half) for half in ("1", "2"))
        return expand(b"".join(halves), kind)


def end_family(session: Session, family: bytes) -> None:
    """All tokens of an authorization end: those that are handed out, and what was got for them."""
    session.exec(delete(HandedOut).where(col(HandedOut.family) == family))
    session.exec(delete(AccessToken).where(col(AccessToken.family) == family))


def _is_over(row: HandedOut, now: datetime) -> bool:
    return row.expires <= now.timestamp()


def _header(kind: Kind, row: HandedOut) -> dict[str, Any]:
    # Whoever can write the database makes none last longer, and takes none out of its family.
    return header(kind, "", name=f"{row.token.hex()}/{row.family.hex()}/{row.expires}")
