"""An owner's links: made, listed, made again, ended (FORMAT-LINKS.md)."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, delete, select

from aggregator.consent.section_table import SectionTable
from aggregator.errors import CallerError, Tampered
from aggregator.identity.accounts import Accounts, Owner
from aggregator.identity.grants import Grants
from aggregator.sharing import content, encrypted_file, link, receipt, rows
from aggregator.sharing.content import Content
from aggregator.sharing.link import DIRECT, LIVE, PASSCODE, Link
from aggregator.sharing.rows import File, Gate, Note
from aggregator.sharing.tables import Share, ShareTicket
from aggregator.vault import truth
from aggregator.vault.encoding import instant
from aggregator.vault.index_rows import Indexer
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import KEY_BYTES
from aggregator.vault.store import Store
from connectors.contract import Clock

ATTEMPTS = 5
"""How many wrong passcodes a link takes in its life."""

LONGEST_HOURS = 365 * 24
MOST = 50
"""Links of one record at a time."""

_PASSCODE = range(6, 65)
"""Characters of one: of 10^6 guesses, five are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a link is to be. hours: how long it leads anywhere. once: for one opening. live: made again later on."""

    content: Content
    label: str = ""
    hours: int = 72
    once: bool = False
    live: bool = False
    direct: bool = False
    passcode: str = field(repr=False, default="")

    @property
    def flag(self) -> str:
        """In alphabetical order, as it has to be."""
        flags = ((LIVE, self.live), (PASSCODE, bool(self.passcode)), (DIRECT, self.direct))
        return "".join(letter for letter, stands in flags if stands)


@dataclass(frozen=True, slots=True)
class Made:
    """A new link: its id, and itself, which is shown once."""

    id: str
    link: Link = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A link as its owner sees it. expires: Unix seconds.

    state: open, used, locked by wrong passcodes, expired, or damaged: then nothing else is known of it.
    """

    id: str
    expires: int
    label: str = ""
    made: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    flag: str = ""
    once: bool = False
    attempts: int = 0
    state: str = "damaged"


class Shares:
    """The links of one installation. base_url: of the service."""

    def __init__(
        self,
        *,
        store: Store,
        key_service: KeyService,
        accounts: Accounts,
        grants: Grants,
        table: SectionTable,
        indexer: Indexer,
        clock: Clock,
        base_url: str,
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._accounts = accounts
        self._grants = grants
        self._indexer = indexer
        self._clock = clock
        self._base_url = base_url
        self.table = table

    def make(self, owner: Owner, wish: Wish) -> Made:
        """Durable with its receipt when it returns. Raises UnlockNeeded, CallerError, Tampered."""
        self._accounts.may_sign(owner)
        wish = _sound(wish)
        now, name, key = self._clock(), link.encoded(os.urandom(KEY_BYTES)), os.urandom(KEY_BYTES)
        row = Share(
            handle=rows.handle(name),
            vault=owner.vault,
            attempts=ATTEMPTS if wish.passcode else 0,
            expires=int(now.timestamp()) + wish.hours * 3600,
        )
        passcode = rows.passcode_handle(self._key_service, row.handle, wish.passcode) if wish.passcode else ""
        asked = Gate(flag=wish.flag, once=wish.once, passcode=passcode, label=wish.label)
        row.gate = rows.lock_gate(self._key_service, row, asked)
        grantee = self._key_service.handle("party", rows.party(name))
        told = Note(
            label=wish.label,
            made=instant(now),
            content=wish.content.told(),
            grantee=grantee.hex(),
            position=self._position(owner),
            key=link.encoded(key) if wish.live else "",
        )
        row.note = rows.seal_note(owner.root, row, told)
        file = self._file(owner, wish.content, key, now)
        rows.register(self._key_service, owner.root, row, grantee, now, file)
        with self._store.write(owner.vault) as session:
            if len(rows.of_vault(session, owner.vault)) >= MOST:
                raise CallerError(f"you have {MOST} links: end one that you no longer need")
            session.add(row)
            self._receipt(session, owner, "shared", row, wish.label, file.shown)
        url = f"{self._base_url}/shl/{name}"
        return Made(rows.link_id(row), Link(url=url, key=key, expires=row.expires, flag=wish.flag, label=wish.label))

    def viewer(self, made: Made) -> str:
        """The link as an address that opens in a browser: what stands behind the # is sent to nobody."""
        return f"{self._base_url}/app/share/view#{made.link.text()}"

    def listed(self, owner: Owner) -> list[Listed]:
        """Those that there are; what has expired goes with the next sweep, and stays in the receipts."""
        with self._store.read() as session:
            found = rows.of_vault(session, owner.vault)
        return [self._listed(owner, row) for row in found]

    def end(self, owner: Owner, link_id: str) -> None:
        """At once, and without a fresh unlock. Raises CallerError where there is no such link."""
        with self._store.write(owner.vault) as session:
            row = _find(session, owner, link_id)
            intent = rows.retire(session, row)
            session.delete(row)
            self._receipt(session, owner, "unshared", row, self._listed(owner, row).label)
        self._grants.destroy([intent])

    def renew(self, owner: Owner) -> int:
        """Make the files of live links again, where the record has moved on since; returns how many.

        Under the key that each has, with a nonce of its own. One that has grown too long stays as it was. Raises
        UnlockNeeded, Tampered.
        """
        self._accounts.may_sign(owner)
        position = self._position(owner)
        with self._store.read() as session:
            found = [row for row in rows.of_vault(session, owner.vault) if self._state(row) == "open"]
        notes = {row.handle: rows.note(owner.root, row) for row in found}
        old = [row for row in found if notes[row.handle].key and notes[row.handle].position < position]
        return sum(self._renew(owner, row, replace(notes[row.handle], position=position)) for row in old)

    def sweep(self) -> int:
        """What has expired goes, with its keys, and so does a link for one opening whose file nobody fetched."""
        now = int(self._clock().timestamp())
        with self._store.read() as session:
            over = session.exec(select(ShareTicket).where(col(ShareTicket.expires) <= now)).all()
            expired = session.exec(select(Share).where(col(Share.expires) <= now)).all()
        for ticket in over:
            self._forget(ticket)
        for row in expired:
            with self._store.write(row.vault) as session:
                intent = rows.retire(session, row)
                session.exec(delete(Share).where(col(Share.handle) == row.handle))
            self._grants.destroy([intent])
        return len(expired)

    def spend(self, row: Share) -> None:
        """A link for one opening has done what it is for, or too many passcodes were wrong: its key is destroyed."""
        with self._store.write(row.vault) as session:
            found = session.get(Share, row.handle)
            if found is None:
                return
            intent = rows.retire(session, found)
            session.add(found)
        self._grants.destroy([intent])

    def _forget(self, ticket: ShareTicket) -> None:
        with self._store.write(ticket.vault) as session:
            session.exec(delete(ShareTicket).where(col(ShareTicket.token) == ticket.token))
            row = session.get(Share, ticket.share)
            left = session.exec(select(ShareTicket.token).where(ShareTicket.share == ticket.share)).first()
        if row is not None and row.spent and left is None:
            self.spend(row)

    def _position(self, owner: Owner) -> int:
        with self._store.read() as session:
            return truth.head(session, owner.vault, owner.root.verification_key).log_position

    def _renew(self, owner: Owner, before: Share, told: Note) -> bool:
        now = self._clock()
        try:
            wanted = content.stated(told.content, self.table)
            file = self._file(owner, wanted, link.decoded(told.key), now, again=True)
        except CallerError:
            return False
        with self._store.write(owner.vault) as session:
            row = session.get(Share, before.handle)
            if row is None or row.grant != before.grant:  # ended, or another session was faster
                return False
            intent = rows.intend(session, row.vault, row.grant)
            row.note = rows.seal_note(owner.root, row, told)
            rows.register(self._key_service, owner.root, row, bytes.fromhex(told.grantee), now, file)
            session.add(row)
            self._receipt(session, owner, "shared", row, told.label, file.shown)
        self._grants.destroy([intent])
        return True

    def _file(self, owner: Owner, wanted: Content, key: bytes, now: datetime, *, again: bool = False) -> File:
        """again: what has gone meanwhile is left out."""
        made = content.make(self._store, self._indexer, owner, wanted, now, f"{self._base_url}/fhir")
        if not again:
            content.refuse_missing(wanted, made)
        return File(jwe=encrypted_file.encrypt(key, made.body), updated=instant(now), shown=made.shown)

    def _listed(self, owner: Owner, row: Share) -> Listed:
        """Whoever damages a row keeps its owner neither from seeing nor from ending the others, or this one."""
        made = Listed(id=rows.link_id(row), expires=row.expires)
        try:
            asked, told = rows.gate(self._key_service, row), rows.note(owner.root, row)
        except Tampered:
            return made
        known = replace(made, label=told.label, made=told.made, content=told.content)
        return replace(known, flag=asked.flag, once=asked.once, attempts=row.attempts, state=self._state(row))

    def _state(self, row: Share) -> str:
        if row.expires <= self._clock().timestamp():
            return "expired"
        return "used" if row.spent else "open" if row.box else "locked"

    def _receipt(
        self, session: Session, owner: Owner, kind: str, row: Share, label: str, shown: int | None = None
    ) -> None:
        told = receipt.entry(kind, self._clock(), receipt.owner(), label, query=rows.link_id(row), shown=shown)
        receipt.commit(session, self._key_service, owner.vault, told)


def _sound(wish: Wish) -> Wish:
    """Raises CallerError for what no link can be."""
    label = unicodedata.normalize("NFC", wish.label).strip()
    passcode = unicodedata.normalize("NFKC", wish.passcode)
    if len(label) > link.LONGEST_LABEL or any(unicodedata.category(one)[0] == "C" for one in label):
        raise CallerError.at("label", f"at most {link.LONGEST_LABEL} characters, without control characters")
    if not 1 <= wish.hours <= LONGEST_HOURS:
        raise CallerError.at("hours", f"a link leads somewhere for 1 to {LONGEST_HOURS} hours")
    if passcode and len(passcode) not in _PASSCODE:
        raise CallerError.at("passcode", f"{_PASSCODE.start} to {_PASSCODE.stop - 1} characters")
    if passcode and wish.direct:
        raise CallerError.at("direct", "a file without a manifest cannot ask for a passcode")
    if wish.once and wish.live:
        raise CallerError.at("once", "a link for one opening shows nothing new later: choose one of the two")
    return replace(wish, label=label, passcode=passcode)


def _find(session: Session, owner: Owner, link_id: str) -> Share:
    for row in rows.of_vault(session, owner.vault):
        if rows.link_id(row) == link_id:
            return row
    raise CallerError("there is no such link; GET /app/links lists those there are")
