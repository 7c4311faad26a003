"""What who has a link is given: the manifest, or the file. Nothing leaves before its receipt is durable.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html#smart-health-link-manifest-request. A link
that is not there, has expired, was used, was ended or is locked gives one answer, and costs the same work: a look for
its row and one receipt, in the patient's chain or in the system's.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select, update

from aggregator.audit.receipts import SYSTEM
from aggregator.errors import Refused, Tampered
from aggregator.sharing import receipt, rows
from aggregator.sharing.link import DIRECT, LIVE, PASSCODE
from aggregator.sharing.rows import PURPOSE, File, Gate
from aggregator.sharing.shares import Shares
from aggregator.sharing.tables import Share, ShareTicket
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import Admission, KeyService, Ticket
from aggregator.vault.seal import header
from aggregator.vault.store import Store
from connectors.contract import Clock

TICKET_SECONDS = 900
"""How long the address of a file leads to it; the specification allows an hour."""

_ADMITTED = 60  # seconds: who has a link is admitted for the request that is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A manifest request. most: characters of an embedded file, None for any."""

    recipient: str
    passcode: str | None = field(repr=False, default=None)
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is given. location: the last part of the file's address, where it was too long to be embedded."""

    file: File
    live: bool
    location: str = ""


@dataclass(frozen=True, slots=True)
class WrongPasscode:
    """remaining: how many wrong ones the link takes still."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Closed:
    """For the receipt alone: whoever asks learns no reason."""

    reason: str


class Door:
    """The one way to what links lead to."""

    def __init__(self, store: Store, key_service: KeyService, shares: Shares, clock: Clock) -> None:
        self._store = store
        self._key_service = key_service
        self._shares = shares
        self._clock = clock

    def manifest(self, name: str, asked: Asked) -> Opened | WrongPasscode | Closed:
        """By what the link says. Raises Busy, Stale."""
        return self._told(name, asked, direct=False)

    def direct(self, name: str, recipient: str) -> Opened | WrongPasscode | Closed:
        """The file itself, of a link that has no manifest."""
        return self._told(name, Asked(recipient=recipient), direct=True)

    def file(self, token: str) -> File | Closed:
        """What an address leads to, once."""
        with self._store.read() as session:
            ticket = session.get(ShareTicket, rows.handle(token))
        if ticket is None or ticket.expires <= self._clock().timestamp():
            return self._refuse(None, "", "there is no such file, or not any more")
        try:
            return self._fetched(token, ticket)
        except (Refused, Tampered) as error:
            return self._refuse(None, "", str(error))

    def _fetched(self, token: str, ticket: ShareTicket) -> File | Closed:
        told = orjson.loads(self._key_service.unlock(ticket.vault, _bound(ticket), ticket.note))
        found = self._enter(ticket.share, told["recipient"], lambda session: _take(session, ticket))
        if found is None:
            return self._refuse(None, "", "the file was fetched already")
        file = self._opened(*found, Ticket(token, ticket.row))
        if found[0].spent:
            self._shares.spend(found[0])
        return file

    def _told(self, name: str, asked: Asked, *, direct: bool) -> Opened | WrongPasscode | Closed:
        with self._store.read() as session:
            row = session.get(Share, rows.handle(name))
        if row is None:
            return self._refuse(None, asked.recipient, "there is no such link")
        try:
            gate = rows.gate(self._key_service, row)
            if reason := self._shut(row, gate, direct=direct):
                return self._refuse(row, asked.recipient, reason)
            if PASSCODE in gate.flag and (wrong := self._passcode(row, gate, asked)) is not None:
                return wrong
            return self._give(row, gate, name, asked)
        except (Refused, Tampered) as error:
            return self._refuse(row, asked.recipient, str(error))

    def _shut(self, row: Share, gate: Gate, *, direct: bool) -> str:
        """Why the link leads nowhere; empty where it does."""
        if row.spent:
            return "the link was used"
        if row.expires <= self._clock().timestamp():
            return "the link has expired"
        if not row.box or (PASSCODE in gate.flag and row.attempts <= 0):
            return "too many passcodes were wrong"
        return "the link is not opened like this" if (DIRECT in gate.flag) != direct else ""

    def _passcode(self, row: Share, gate: Gate, asked: Asked) -> WrongPasscode | Closed | None:
        """None where it is right. Counted before it is compared: whoever asks at the same time is counted as well."""
        if asked.passcode is None:
            self._refuse(row, asked.recipient, "no passcode was given")
            return WrongPasscode(row.attempts)
        remaining = self._count(row)
        if remaining is None:
            return self._refuse(row, asked.recipient, "too many passcodes were wrong")
        given = rows.passcode_handle(self._key_service, row.handle, unicodedata.normalize("NFKC", asked.passcode))
        if hmac.compare_digest(given, gate.passcode):
            return None
        if remaining == 0:
            self._shares.spend(row)
        self._refuse(row, asked.recipient, "the passcode was wrong")
        return WrongPasscode(remaining)

    def _count(self, row: Share) -> int | None:
        """One try less, of which it returns how many are left; None where none was."""
        here = (col(Share.handle) == row.handle, col(Share.attempts) > 0, col(Share.spent).is_(False))
        with self._store.write(row.vault) as session:
            counted = session.exec(update(Share).where(*here).values(attempts=col(Share.attempts) - 1)).rowcount
            left = session.exec(select(Share.attempts).where(col(Share.handle) == row.handle)).first()
        return left if counted else None

    def _give(self, row: Share, gate: Gate, name: str, asked: Asked) -> Opened | Closed:
        found = self._enter(row.handle, asked.recipient, lambda session: _open(session, row, gate))
        if found is None:
            return self._refuse(row, asked.recipient, "the link was used")
        file = self._opened(*found, self._admit(name, name))
        live = LIVE in gate.flag
        if asked.most is not None and len(file.jwe) > asked.most:
            return Opened(file=file, live=live, location=self._ticket(row, name, asked.recipient))
        if gate.once:
            self._shares.spend(row)
        return Opened(file=file, live=live)

    def _enter(self, share: bytes, recipient: str, take: Callable[[Session], bool]) -> tuple[Share, bytes] | None:
        """The row and the opening's id, once both the taking and its receipt are durable; None for who is too late."""
        with self._store.read() as session:
            vault = session.exec(select(Share.vault).where(col(Share.handle) == share)).first()
        if vault is None:
            return None
        with self._store.write(vault) as session:
            row = session.get(Share, share)
            if row is None or not take(session):
                return None
            label = rows.gate(self._key_service, row).label
            who = receipt.bearer(rows.link_id(row), recipient)
            told = receipt.entry("opened", self._clock(), who, label)
            return row, receipt.commit(session, self._key_service, vault, told)

    def _opened(self, row: Share, opening: bytes, ticket: Ticket) -> File:
        """Through the key service, which asks who it is for itself. Raises Refused, Tampered."""
        payload = self._key_service.open_grant(rows.signed(row), ticket, opening, self._clock())
        return File(**orjson.loads(payload)["file"])

    def _admit(self, name: str, token: str, seconds: int = _ADMITTED) -> Ticket:
        """For who has said the link's name."""
        expires = int(self._clock().timestamp()) + seconds
        admission = Admission(party=rows.party(name), purpose=PURPOSE, scopes=(), expires=expires)
        return Ticket(token, self._key_service.admit(token, admission))

    def _ticket(self, row: Share, name: str, recipient: str) -> str:
        """An address for the file: it is used once, within minutes."""
        token = secrets.token_urlsafe(32)
        made = ShareTicket(
            token=rows.handle(token),
            vault=row.vault,
            share=row.handle,
            row=self._admit(name, token, TICKET_SECONDS).row,
            expires=int(self._clock().timestamp()) + TICKET_SECONDS,
        )
        told = canonical({"recipient": recipient})
        made.note = self._key_service.lock(row.vault, _bound(made), told)
        with self._store.write(row.vault) as session:
            session.add(made)
        return token

    def _refuse(self, row: Share | None, recipient: str, reason: str) -> Closed:
        """A receipt, whatever was asked for."""
        vault, link_id, label = (row.vault, rows.link_id(row), self._label(row)) if row else (SYSTEM, "", "")
        told = receipt.entry("refused", self._clock(), receipt.bearer(link_id, recipient), label, reason=reason)
        with self._store.write(vault) as session:
            receipt.commit(session, self._key_service, vault, told)
        return Closed(reason)

    def _label(self, row: Share) -> str:
        try:
            return rows.gate(self._key_service, row).label
        except (Refused, Tampered):
            return ""


def _open(session: Session, row: Share, gate: Gate) -> bool:
    """One opening: of a link for one it is the only one; a right passcode gives back the try that it was counted as."""
    values: dict[str, Any] = {"spent": gate.once}
    if PASSCODE in gate.flag:
        values["attempts"] = col(Share.attempts) + 1
    here = (col(Share.handle) == row.handle, col(Share.spent).is_(False))
    return session.exec(update(Share).where(*here).values(**values)).rowcount == 1


def _take(session: Session, ticket: ShareTicket) -> bool:
    return session.exec(delete(ShareTicket).where(col(ShareTicket.token) == ticket.token)).rowcount == 1


def _bound(ticket: ShareTicket) -> dict[str, Any]:
    return header("share-ticket", ticket.vault, name=f"{ticket.token.hex()}/{ticket.expires}")
