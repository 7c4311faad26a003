"""Patients' accounts: sign up, sign in, the owner session.

A login is known by its handle alone, so the database holds no name. A wrong password, an unknown login and a changed
row give one answer in the same time.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from aggregator.audit.chain import first_head
from aggregator.errors import CallerError, SignInFailed, Tampered, UnlockNeeded
from aggregator.identity import unlockers
from aggregator.identity.tables import Account, Attempts, OwnerSession, Unlocker
from aggregator.vault import log, tables
from aggregator.vault.encoding import canonical
from aggregator.vault.envelope import Operation, seal
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import Root, SectionKey, Writer, new_section_id, new_vault_id
from aggregator.vault.seal import expand, header, unwrap, wrap
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS

_FREE_TRIES = 5
_LONGEST_WAIT = 900.0  # seconds
PATIENT_SOURCE = ("vault", "", "Patient")
"""The source key of the vault's one Patient."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An unlocked owner: the root and what it says of the vault."""

    vault: str
    root: Root
    sections: Mapping[str, str]
    unlocked_at: datetime
    expires: datetime
    token: str = field(repr=False, default="")

    @property
    def patient(self) -> str:
        """The local id of the vault's Patient."""
        return self.root.ids().local(*PATIENT_SOURCE)

    def key(self, section: str, epoch: int = 1) -> SectionKey:
        """What sealing to a section takes."""
        seed = self.root.section(self.sections[section], epoch)
        return SectionKey(seed.id, seed.epoch, seed.private_key().public())

    def append(self, session: Session, row: tables.Vault, section: str, operations: Sequence[Operation]) -> int:
        """Write as the owner, inside the caller's transaction."""
        envelope = seal(self.vault, self.key(section), Writer.owner(self.root), operations)
        return log.append(session, row, [envelope])


@dataclass(frozen=True, slots=True)
class SignedUp:
    """A new vault. The recovery code is shown once."""

    owner: Owner
    recovery_code: str = field(repr=False)


class Accounts:
    """Sign-up, sign-in and owner sessions of one installation."""

    def __init__(
        self, store: Store, key_service: KeyService, clock: Clock, session_seconds: int, signing_seconds: int
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._session_seconds = session_seconds
        self._signing_seconds = signing_seconds

    def sign_up(self, login: str, password: str) -> SignedUp:
        """A new vault with a password and a recovery code. Raises CallerError for a taken login or a short password."""
        root, vault = Root.generate(), new_vault_id()
        self._key_service.create_vault(vault, root.verification_key)
        by_password = unlockers.password_unlocker(self._key_service, vault, root, password)
        by_code, code = unlockers.recovery_unlocker(self._key_service, vault, root)
        now = self._clock()
        owner = Owner(vault, root, {section: new_section_id() for section in SECTIONS}, now, now)
        try:
            with self._store.write() as session:
                session.add(Account(login=self._login(login), vault=vault))
                session.add_all([by_password, by_code, _new_vault(owner)])
        except IntegrityError:
            raise CallerError("this login is taken") from None
        return SignedUp(owner, code)

    def prove_recovery(self, login: str, code: str) -> None:
        """The code, typed back: before that nothing is synced. Raises CallerError for a slip, SignInFailed."""
        self._unlock(login, unlockers.RECOVERY, code)
        with self._store.write() as session:
            account = session.get(Account, self._login(login))
            if account is not None:
                account.recovery_proven = True

    def sign_in(self, login: str, password: str) -> Owner:
        """Unlock by password and open an owner session; its token is in the answer. Raises SignInFailed."""
        return self._open_session(self._unlock(login, unlockers.PASSWORD, password))

    def recover(self, login: str, code: str, new_password: str) -> Owner:
        """Unlock by recovery code and set a new password; no data is touched. Raises SignInFailed, CallerError."""
        vault, root = self._unlock(login, unlockers.RECOVERY, code)
        row = unlockers.password_unlocker(self._key_service, vault, root, new_password)
        with self._store.write() as session:
            session.merge(row)
            session.exec(delete(OwnerSession).where(col(OwnerSession.vault) == vault))
        return self._open_session((vault, root))

    def owner(self, token: str) -> Owner:
        """The owner behind a session's token. Raises SignInFailed."""
        with self._store.read() as session:
            row = session.get(OwnerSession, _token_id(token))
            if row is None or row.expires <= self._clock().timestamp():
                raise SignInFailed("the session has ended; sign in again")
            try:
                inner = self._key_service.unlock(row.vault, _session_header(row), row.box)
                root = Root(unwrap(expand(token.encode(), "row"), _session_header(row), inner))
            except Tampered:
                raise SignInFailed("the session has ended; sign in again") from None
            return self._owner(session, row, root, token)

    def sign_out(self, token: str) -> None:
        """End the session: its row goes."""
        with self._store.write() as session:
            session.exec(delete(OwnerSession).where(col(OwnerSession.token) == _token_id(token)))

    def may_sign(self, owner: Owner) -> None:
        """Signing takes an unlock in the last minutes. Raises UnlockNeeded."""
        age = (self._clock() - owner.unlocked_at).total_seconds()
        if not 0 <= age <= self._signing_seconds:
            raise UnlockNeeded("signing needs a fresh unlock: sign in again and repeat this within five minutes")

    def recovery_proven(self, vault: str) -> bool:
        """Has the recovery code been typed back?"""
        with self._store.read() as session:
            found = session.exec(select(Account).where(Account.vault == vault)).first()
            return found is not None and found.recovery_proven

    def _unlock(self, login: str, kind: str, secret: str) -> tuple[str, Root]:
        if kind == unlockers.RECOVERY:
            unlockers.parse_code(secret)  # a slip is told for every login, known or not
        handle_ = self._login(login)
        self._count_try(handle_)
        with self._store.read() as session:
            account = session.get(Account, handle_)
            row = session.get(Unlocker, (account.vault, kind)) if account else None
        try:
            if row is None:
                unlockers.waste_time(kind, secret)
                raise Tampered("no such account")
            root = unlockers.unlock(self._key_service, row, secret)
        except Tampered:
            raise SignInFailed("login or password is wrong") from None
        with self._store.write() as session:
            session.exec(delete(Attempts).where(col(Attempts.login) == handle_))
        return row.vault, root

    def _count_try(self, login: bytes) -> None:
        """Counted before it is tried, so that parallel and interrupted tries count too."""
        now = self._clock().timestamp()
        with self._store.write() as session:
            row = session.get(Attempts, login) or Attempts(login=login, failures=0, next_at=0.0)
            if row.next_at > now:
                raise SignInFailed(f"too many tries; wait {int(row.next_at - now) + 1} seconds")
            row.failures += 1
            if row.failures >= _FREE_TRIES:
                row.next_at = now + min(_LONGEST_WAIT, 2.0 ** (row.failures - _FREE_TRIES))
            session.add(row)

    def _open_session(self, unlocked: tuple[str, Root]) -> Owner:
        vault, root = unlocked
        token, now = secrets.token_urlsafe(32), self._clock()
        row = OwnerSession(
            token=_token_id(token),
            vault=vault,
            box=b"",
            expires=int(now.timestamp()) + self._session_seconds,
            unlocked_at=int(now.timestamp()),
        )
        inner = wrap(expand(token.encode(), "row"), _session_header(row), root.secret)
        row.box = self._key_service.lock(vault, _session_header(row), inner)
        with self._store.write() as session:
            session.exec(delete(OwnerSession).where(col(OwnerSession.expires) <= int(now.timestamp())))
            session.add(row)
        with self._store.read() as session:
            return self._owner(session, row, root, token)

    def _owner(self, session: Session, held: OwnerSession, root: Root, token: str) -> Owner:
        row = session.get(tables.Vault, held.vault)
        if row is None:
            raise Tampered("a session's vault is gone")
        sections = orjson.loads(unwrap(root.owner_key(), _sections_header(row.id), row.sections))
        zone = self._clock().tzinfo
        unlocked_at = datetime.fromtimestamp(held.unlocked_at, zone)
        return Owner(row.id, root, sections, unlocked_at, datetime.fromtimestamp(held.expires, zone), token)

    def _login(self, login: str) -> bytes:
        return self._key_service.handle("login", login.strip().casefold())


def _new_vault(owner: Owner) -> tables.Vault:
    audit_key = owner.root.audit.public().raw
    stated = canonical({"kind": "vault", "vault": owner.vault, "audit": audit_key.hex()})
    return tables.Vault(
        id=owner.vault,
        verification_key=owner.root.verification_key,
        audit_key=audit_key,
        certificate=owner.root.sign(b"PRA1/vault" + stated),
        sections=wrap(owner.root.owner_key(), _sections_header(owner.vault), canonical(dict(owner.sections))),
        chain=log.first_link(owner.vault),
        audit_head=first_head(owner.vault),
    )


def _token_id(token: str) -> bytes:
    return expand(token.encode(), "id", 16)


def _sections_header(vault: str) -> dict[str, Any]:
    return header("sections", vault)


def _session_header(row: OwnerSession) -> dict[str, Any]:
    # The times are part of it: whoever can write the database makes no session longer, and no unlock fresher.
    return header("session", row.vault, name=f"{row.token.hex()}/{row.unlocked_at}/{row.expires}")
