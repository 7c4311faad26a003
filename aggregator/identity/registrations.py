"""Clients that came while the service ran: each waits for the operator, and each row is sealed by the key service.

Who writes the database alone makes nobody a client and gives no client other keys. (Who puts back an old row brings
back what the operator had ended, until that is ended again: of use to that client alone, which has its own key.)
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from enum import Enum

import orjson
from sqlmodel import Session, col, delete, func, select

from aggregator.config import ClientSettings
from aggregator.errors import CallerError, OperatorError
from aggregator.identity.registration import Claim
from aggregator.identity.tables import RegisteredClient
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

logger = logging.getLogger(__name__)

_ROWS = "registrations"  # what the transactions here take of the store: rows of no vault
_ID = re.compile(r"client-[0-9a-f]{32}")
_WAITS = 30 * 86400  # seconds: then nobody has approved it, and nobody will


class State(Enum):
    """What a registered client may do: only one that is approved may do anything."""

    PENDING = "pending"
    APPROVED = "approved"
    ENDED = "ended"


class Full(CallerError):
    """So many wait for the operator that no more are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A client's row. at: since when it is in its state (Unix seconds). note: how the operator verified the claim."""

    id: str
    state: State
    at: int
    claim: Claim
    note: str = ""
    entry: str = ""
    """The entry of the directory file that it was made from."""


class Registrations:
    """The rows, and what the operator decides about them."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock, most_pending: int) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._most_pending = most_pending

    def ask(self, claim: Claim) -> Registration:
        """A claim that waits for the operator, and opens nothing. Raises Full."""
        made = self._new(State.PENDING, claim)
        with self._store.write(_ROWS) as session:
            pending = col(RegisteredClient.state) == State.PENDING.value
            session.exec(delete(RegisteredClient).where(pending, col(RegisteredClient.at) <= made.at - _WAITS))
            waiting = session.exec(select(func.count()).select_from(RegisteredClient).where(pending)).one()
            if waiting >= self._most_pending:
                raise Full("too many wait for approval; ask whoever runs this service")
            session.add(self._row(made))
        return made

    def add(self, claim: Claim, note: str, entry: str) -> Registration:
        """One whom the operator brings, verified already."""
        made = self._new(State.APPROVED, claim, note, entry)
        with self._store.write(_ROWS) as session:
            session.add(self._row(made))
        return made

    def approve(self, id_: str, note: str) -> Registration:
        """From now on it may sign in as what it claims to be. Raises OperatorError."""
        return self._move(id_, State.PENDING, State.APPROVED, note)

    def end(self, id_: str) -> Registration:
        """From now on it may do nothing. Raises OperatorError."""
        return self._move(id_, State.APPROVED, State.ENDED, None)

    def refuse(self, id_: str) -> None:
        """Nothing is left of it. Raises OperatorError."""
        with self._store.write(_ROWS) as session:
            self._found(session, id_, State.PENDING)
            session.exec(delete(RegisteredClient).where(col(RegisteredClient.id) == id_))

    def all(self, *states: State) -> list[Registration]:
        """Those in these states, the oldest first."""
        wanted = col(RegisteredClient.state).in_([state.value for state in states])
        with self._store.read() as session:
            rows = session.exec(
                select(RegisteredClient).where(wanted).order_by(col(RegisteredClient.at), col(RegisteredClient.id))
            ).all()
        return [found for row in rows if (found := self._read(row))]

    def find(self, id_: str) -> Registration | None:
        """One, in whatever state; None where there is none."""
        if not _ID.fullmatch(id_):
            return None
        with self._store.read() as session:
            row = session.get(RegisteredClient, id_)
        return self._read(row) if row else None

    def _move(self, id_: str, before: State, after: State, note: str | None) -> Registration:
        with self._store.write(_ROWS) as session:
            found = self._found(session, id_, before)
            moved = Registration(
                id=id_,
                state=after,
                at=int(self._clock().timestamp()),
                claim=found.claim,
                note=found.note if note is None else note,
                entry=found.entry,
            )
            session.merge(self._row(moved))
        return moved

    def _found(self, session: Session, id_: str, state: State) -> Registration:
        row = session.get(RegisteredClient, id_) if _ID.fullmatch(id_) else None
        if row is None or row.state != state.value:
            raise OperatorError(f"parties: {id_} is not {state.value}; see: aggregator parties list")
        found = self._read(row)
        if found is None:
            raise OperatorError(f"parties: {id_} is damaged: its row is not what was written")
        return found

    def _new(self, state: State, claim: Claim, note: str = "", entry: str = "") -> Registration:
        id_ = f"client-{secrets.token_hex(16)}"
        return Registration(id=id_, state=state, at=int(self._clock().timestamp()), claim=claim, note=note, entry=entry)

    def _row(self, one: Registration) -> RegisteredClient:
        settings, contacts = one.claim.settings.model_dump(mode="json"), list(one.claim.contacts)
        told = canonical({"settings": settings, "contacts": contacts, "note": one.note, "entry": one.entry}).decode()
        row = RegisteredClient(id=one.id, state=one.state.value, at=one.at, told=told, seal=b"")
        row.seal = self._seal(row)
        return row

    def _read(self, row: RegisteredClient) -> Registration | None:
        """None for a row that is not what was written: it is nobody, and the others are not held up by it."""
        if not hmac.compare_digest(row.seal, self._seal(row)):
            logger.error("parties: the row of a registered client is not what was written")
            return None
        told = orjson.loads(row.told)
        claim = Claim(settings=ClientSettings.model_validate(told["settings"]), contacts=tuple(told["contacts"]))
        state = State(row.state)
        return Registration(id=row.id, state=state, at=row.at, claim=claim, note=told["note"], entry=told["entry"])

    def _seal(self, row: RegisteredClient) -> bytes:
        return self._key_service.handle("registered-client", row.id, row.state, str(row.at), row.told)
