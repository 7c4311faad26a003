"""A provider asks to be let in: what of the record, what for, why, for how long. The patient answers, or does not.

It names the patient by the whole id (`<vault>.<local>`) that the patient has given it; there is no index of people to
look in. Whether there is such a patient, has refused or has not looked yet, all is answered alike: a request for nobody
is stored and receipted under `system`. One provider asks one patient once a month, and a hundred patients a day; what
comes beyond the twenty that a patient finds is stored and never shown. A request is sealed to the patient, with the key
that receipts are sealed to (FORMAT.md section 4, kind `request`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlmodel import Session, col, delete, func, select

from aggregator.audit.receipts import SYSTEM
from aggregator.consent.provision import PURPOSE_PARENTS
from aggregator.consent.section_table import DIRECTORY, UNSORTED
from aggregator.errors import CallerError, Refused, Tampered
from aggregator.identity import attempts
from aggregator.identity.accounts import Owner
from aggregator.identity.owner_writing import Receipt
from aggregator.identity.tables import AccessRequest
from aggregator.vault.encoding import b32, canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import PublicKey, header
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS

ASKABLE = frozenset(SECTIONS) - {DIRECTORY, UNSORTED}
"""The sections that a provider may ask for."""

_LIFE = timedelta(days=30)
_DAY = timedelta(days=1)
_MOST_A_DAY = 100  # patients that one provider asks
_MOST_WAITING = 20  # requests that one patient finds
_LONGEST_WHY = 500  # characters
_LONGEST_STAY = 3 * 366  # days


class TooOften(CallerError):
    """The provider asks too many, or the same one again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a provider asks for. days: how long it wants to read, from the answer on."""

    sections: frozenset[str]
    purposes: frozenset[str]
    why: str
    days: int

    @classmethod
    def stated(cls, told: Mapping[str, Any], allowed: frozenset[str]) -> Wish:
        """As a provider states it. allowed: the purposes registered for it. Raises CallerError."""
        why, days = told.get("why"), told.get("days")
        if not isinstance(why, str) or not 0 < len(why.strip()) <= _LONGEST_WHY or not why.isprintable():
            raise CallerError.at("why", f"a sentence for the patient is needed, of at most {_LONGEST_WHY} characters")
        if type(days) is not int or not 0 < days <= _LONGEST_STAY:
            raise CallerError.at("days", f"a number from 1 to {_LONGEST_STAY} is needed")
        return cls(
            sections=_some(told, "sections", ASKABLE),
            purposes=_some(told, "purposes", allowed & PURPOSE_PARENTS.keys()),
            why=why.strip(),
            days=days,
        )

    def narrowed(self, sections: frozenset[str], days: int) -> Wish:
        """As the patient allows it. Raises CallerError where that is nothing, or more than was asked for."""
        if not sections or not sections <= self.sections or not 0 < days <= self.days:
            raise CallerError("an answer is what was asked for, or less")
        return Wish(sections=sections, purposes=self.purposes, why=self.why, days=days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as its patient finds it."""

    id: str
    party: str
    wish: Wish
    at: datetime


class AccessRequests:
    """Of one installation."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock

    def ask(self, party: str, patient: str, wish: Wish, vault: str, audit: PublicKey, receipt: Receipt) -> None:
        """Leave a request, durable with its receipt. vault, audit: the patient's, or the system's for nobody's.

        Raises TooOften, whoever is asked.
        """
        requester = self._key_service.handle("party", party)
        about = self._key_service.handle("request", party, patient)
        self._refuse_too_often(requester, about)
        now = self._clock()
        row = AccessRequest(
            vault=vault,
            id=b32(os.urandom(16)),
            requester=requester,
            about=about,
            asked=int(now.timestamp()),
            expires=int((now + _LIFE).timestamp()),
            box=b"",
        )
        row.box = audit.seal(_header(row), canonical(_members(party, wish)))
        with self._store.write(vault) as session:
            session.exec(delete(AccessRequest).where(col(AccessRequest.expires) <= row.asked, _of(vault)))
            row.closed = vault == SYSTEM or self._waiting_for(session, vault, row.asked) >= _MOST_WAITING
            if not self._stands(session, about):
                session.add(row)
            session.flush()
            if not receipt(session, 0):
                raise Refused("the receipt of this request does not count")

    def waiting(self, owner: Owner) -> list[Asked]:
        """What the owner has not answered, oldest first. A row that somebody with the database made is left out."""
        now = int(self._clock().timestamp())
        mine = (_of(owner.vault), col(AccessRequest.expires) > now, col(AccessRequest.closed).is_(False))
        with self._store.read() as session:
            rows = session.exec(select(AccessRequest).where(*mine).order_by(col(AccessRequest.asked))).all()
        found = (self._opened(owner, row) for row in rows)
        return [one for one in found if one]

    def close(self, owner: Owner, request: str, *, accepted: bool) -> None:
        """It is answered. Who was let in may ask for more; who was refused asks again when this request has expired."""
        with self._store.write(owner.vault) as session:
            row = session.get(AccessRequest, (owner.vault, request))
            if row is not None and accepted:
                session.delete(row)
            elif row is not None:
                row.closed = True
                session.add(row)

    def _refuse_too_often(self, requester: bytes, about: bytes) -> None:
        now = self._clock().timestamp()
        with self._store.write(attempts.NAME) as session:
            wait = attempts.count(session, about, now)
        since = int(now - _DAY.total_seconds())
        recent = (col(AccessRequest.requester) == requester, col(AccessRequest.asked) > since)
        with self._store.read() as session:
            number = session.exec(select(func.count()).select_from(AccessRequest).where(*recent)).one()
        if wait or number >= _MOST_A_DAY:
            raise TooOften("too many requests; try again later")

    def _stands(self, session: Session, about: bytes) -> bool:
        now = int(self._clock().timestamp())
        same = (col(AccessRequest.about) == about, col(AccessRequest.expires) > now)
        return session.exec(select(AccessRequest.id).where(*same)).first() is not None

    def _waiting_for(self, session: Session, vault: str, now: int) -> int:
        mine = (_of(vault), col(AccessRequest.expires) > now, col(AccessRequest.closed).is_(False))
        return session.exec(select(func.count()).select_from(AccessRequest).where(*mine)).one()

    def _opened(self, owner: Owner, row: AccessRequest) -> Asked | None:
        try:
            told = orjson.loads(owner.root.audit.open(_header(row), row.box))
        except Tampered:
            return None
        wish = Wish(
            sections=frozenset(told["sections"]),
            purposes=frozenset(told["purposes"]),
            why=told["why"],
            days=told["days"],
        )
        return Asked(id=row.id, party=told["party"], wish=wish, at=datetime.fromtimestamp(row.asked, UTC))


def _some(told: Mapping[str, Any], member: str, known: frozenset[str]) -> frozenset[str]:
    """A list of known codes. Raises CallerError that names those there are."""
    given = told.get(member)
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one in known for one in given):
        raise CallerError.at(member, f"a list of some of these is needed: {', '.join(sorted(known))}")
    return frozenset(given)


def _members(party: str, wish: Wish) -> dict[str, Any]:
    lists = {"sections": sorted(wish.sections), "purposes": sorted(wish.purposes)}
    return {"party": party, "why": wish.why, "days": wish.days, **lists}


def _of(vault: str) -> Any:
    return col(AccessRequest.vault) == vault


def _header(row: AccessRequest) -> dict[str, Any]:
    """Bound to its row, its time and its requester: no other can be put under it."""
    return header("request", row.vault, name=f"{row.id}/{row.requester.hex()}/{row.asked}")
