"""What is unusual is told to the patient at once: somebody's first reading, one at night, a great deal, an emergency.

A notice says that something happened and where to look; it holds no health data, and no name of who it was. It lies in
the app's own list, sealed to the patient, and goes through each `Notifier` there is. What an outlet says to the world
outside (an e-mail, a webhook) is `OUTSIDE` and nothing else. The same of the same party is told once in twelve hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson
from sqlalchemy import Select, bindparam
from sqlmodel import Session, col, delete, select, update

from aggregator.audit.receipts import SYSTEM
from aggregator.consent.plain import Words
from aggregator.errors import Tampered
from aggregator.identity.accounts import Owner
from aggregator.identity.tables import Notice
from aggregator.vault import counter, truth
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import PublicKey, header
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.dates import ZONE


class Kind(StrEnum):
    """What happened."""

    FIRST = "first"
    NIGHT = "night"
    BULK = "bulk"
    EMERGENCY = "emergency"
    REQUEST = "request"


WORDS: Final[Mapping[Kind, Words]] = {
    Kind.FIRST: (
        "Jemand hat zum ersten Mal in Ihrer Akte gelesen.",
        "Somebody read your record for the first time.",
    ),
    Kind.NIGHT: ("Jemand hat nachts in Ihrer Akte gelesen.", "Somebody read your record at night."),
    Kind.BULK: ("Jemand hat sehr viel aus Ihrer Akte gelesen.", "Somebody read a great deal of your record."),
    Kind.EMERGENCY: (
        "Jemand hat im Notfall, ohne Rückfrage, in Ihrer Akte gelesen.",
        "Somebody read your record in an emergency, without asking.",
    ),
    Kind.REQUEST: ("Jemand bittet um Einsicht in Ihre Akte.", "Somebody asks to be let into your record."),
}
"""What the app says of it."""

OUTSIDE: Final[Words] = (
    "In Ihrer Gesundheitsakte ist etwas geschehen. Bitte melden Sie sich an und sehen Sie nach.",
    "Something has happened in your health record. Please sign in and look.",
)
"""All that anybody outside of the app is told."""

GREAT_DEAL = 500
"""Resources through one open view."""

_AGAIN = timedelta(hours=12)
_FORGOTTEN = timedelta(days=30)
_NIGHT = (22, 6)  # from, until o'clock, in the zone of the sources


_Rows = Callable[[Select[Any], Mapping[str, Any]], Sequence[Sequence[Any]]]
_BEFORE = select(Notice.at).where(col(Notice.vault) == bindparam("of"), col(Notice.what) == bindparam("about"))


class Notifier(Protocol):
    """An outlet to the world outside."""

    def notify(self, vault: str, text: Words) -> None:
        """Send this patient OUTSIDE. It must not raise: who reads waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice as its patient finds it."""

    kind: Kind
    at: datetime


class Notices:
    """Of one installation. outlets: beside the app's own list."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock, outlets: Sequence[Notifier] = ()) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._outlets = outlets

    def opened(self, vault: str, party: str, purpose: str) -> None:
        """A grantee's view was opened."""
        kinds = [Kind.FIRST]
        kinds += [Kind.EMERGENCY] if purpose == "BTG" else []
        kinds += [Kind.NIGHT] if _is_night(self._clock()) else []
        self.tell(vault, kinds, party)

    def tell(self, vault: str, kinds: Sequence[Kind], *about: str) -> None:
        """Durable when it returns. about: whom; the same is not told again so soon, and a first time once for ever."""
        now = self._clock()
        wanted = {self._what(vault, kind, about): kind for kind in kinds}
        if not self._due(vault, wanted, now, self._store.rows):
            return
        with self._store.write(vault) as session:
            due = self._due(vault, wanted, now, lambda *asked: session.execute(*asked).all())
            audit = self._audit_key(session, vault)
            for what, kind in due.items():
                row = Notice(vault=vault, what=what, at=int(now.timestamp()), box=b"")
                row.box = audit.seal(_header(row), canonical({"kind": kind}))
                session.merge(row)
            if vault == SYSTEM:  # of nobody's nobody needs to know for long
                old = int((now - _FORGOTTEN).timestamp())
                session.exec(delete(Notice).where(col(Notice.vault) == SYSTEM, col(Notice.at) < old))
        for outlet in self._outlets if due and vault != SYSTEM else ():
            outlet.notify(vault, OUTSIDE)

    def unseen(self, owner: Owner) -> list[Told]:
        """What the owner has not seen, newest first. A row that somebody with the database made is left out."""
        mine = (col(Notice.vault) == owner.vault, col(Notice.seen).is_(False))
        with self._store.read() as session:
            rows = session.exec(select(Notice).where(*mine).order_by(col(Notice.at).desc())).all()
        return [one for one in (_opened(owner, row) for row in rows) if one]

    def see(self, owner: Owner) -> None:
        """The owner has seen all there is."""
        with self._store.write(owner.vault) as session:
            session.exec(update(Notice).where(col(Notice.vault) == owner.vault).values(seen=True))

    def _what(self, vault: str, kind: Kind, about: Sequence[str]) -> bytes:
        return self._key_service.handle("notice", vault, kind, *about)

    def _due(self, vault: str, wanted: Mapping[bytes, Kind], now: datetime, rows: _Rows) -> dict[bytes, Kind]:
        """Those that were not told lately. Asked at every opening: one row beneath SQLAlchemy."""
        since, due = (now - _AGAIN).timestamp(), dict[bytes, Kind]()
        for what, kind in wanted.items():
            before = rows(_BEFORE, {"of": vault, "about": what})
            if not before or (kind is not Kind.FIRST and before[0][0] <= since):
                due[what] = kind
        return due

    def _audit_key(self, session: Session, vault: str) -> PublicKey:
        if vault == SYSTEM:
            return self._key_service.system_audit().public()
        return truth.audit_key(counter.known_head(session, vault), self._key_service.verification_key(vault))


def _is_night(now: datetime) -> bool:
    begins, ends = _NIGHT
    hour = now.astimezone(ZONE).hour
    return hour >= begins or hour < ends


def _opened(owner: Owner, row: Notice) -> Told | None:
    try:
        kind = orjson.loads(owner.root.audit.open(_header(row), row.box))["kind"]
    except Tampered:
        return None
    return Told(kind=Kind(kind), at=datetime.fromtimestamp(row.at, UTC))


def _header(row: Notice) -> dict[str, Any]:
    return header("notice", row.vault, name=f"{row.what.hex()}/{row.at}")
