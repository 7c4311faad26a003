"""Invitations: an operator lets somebody sign up, where not everybody may. Good once; stored as a handle alone."""

from __future__ import annotations

import secrets

from sqlmodel import Session, col, delete

from aggregator.errors import CallerError
from aggregator.identity.tables import Invitation
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store

NAME = "invitations"
"""Under which a transaction that invites is written."""
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1: it is read from paper
_LENGTH = 20  # 100 bits: nobody guesses one
_DAY = 86_400  # seconds


def issue(store: Store, key_service: KeyService, now: float, days: int) -> str:
    """A new one, as it goes on paper."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    with store.write(NAME) as session:
        session.exec(delete(Invitation).where(col(Invitation.expires) <= int(now)))
        session.add(Invitation(code=_handle(key_service, code), expires=int(now) + days * _DAY))
    return "-".join(code[at : at + 4] for at in range(0, _LENGTH, 4))


def use(session: Session, key_service: KeyService, code: str, now: float) -> None:
    """Use it up, in the caller's transaction. Raises CallerError, which does not say if it was known, used or over."""
    here = (col(Invitation.code) == _handle(key_service, code), col(Invitation.expires) > int(now))
    if session.exec(delete(Invitation).where(*here)).rowcount != 1:
        raise CallerError.at("invitation", "it is not valid, or not any more")


def _handle(key_service: KeyService, code: str) -> bytes:
    return key_service.handle("invitation", "".join(code.split()).replace("-", "").upper())
