"""Patients' accounts: sign up, sign in, the owner session.

A login is known by its handle alone, so the database holds no name. A wrong password, an unknown login and a changed
row give one answer in the same time.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.audit.chain import first_head
from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, SignInFailed, Tampered, UnlockNeeded
from aggregator.identity import attempts, patient, unlockers
from aggregator.identity.tables import Account, OwnerSession, Unlocker
from aggregator.vault import log, tables
from aggregator.vault.encoding import canonical, instant
from aggregator.vault.envelope import Operation, Put, seal
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import OWNER, Root, SectionKey, Writer, new_section_id, new_vault_id
from aggregator.vault.seal import expand, header, unwrap, wrap
from aggregator.vault.store import Store
from aggregator.vault.view import IDENTITY
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource, dumps

_LONGEST_LOGIN = 254  # characters, as an e-mail address
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

    @property
    def whole_patient(self) -> str:
        """The whole id of the vault's Patient."""
        return f"{self.vault}.{self.patient}"

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
    """A new vault, its owner signed in. The recovery code is shown once."""

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

    def sign_up(self, login: str, password: str, person: Person) -> SignedUp:
        """Account, vault, its Patient and an owner session: all of it, or nothing.

        Raises CallerError for a taken login and for a login or password of a wrong length, Invalid for a person whom
        FHIR cannot say.
        """
        if not 0 < len(login.strip()) <= _LONGEST_LOGIN:
            raise CallerError(f"login: 1 to {_LONGEST_LOGIN} characters are needed")
        owner = self._new_owner()
        said = owner_put(owner.patient, patient.resource(owner.whole_patient, person), 1, self._clock())
        derived = unlockers.derive(password)
        with self._store.write() as session:
            # Looked for first: the key service keeps every vault that it has made.
            if session.get(Account, self._login(login)):
                raise CallerError("this login is taken")
            self._key_service.create_vault(owner.vault, owner.root.verification_key)
            by_code, code = unlockers.recovery_unlocker(self._key_service, owner.vault, owner.root)
            by_password = unlockers.password_unlocker(self._key_service, owner.vault, owner.root, derived)
            row = _new_vault(owner)
            session.add_all([Account(login=self._login(login), vault=owner.vault), by_password, by_code, row])
            owner.append(session, row, IDENTITY, [said])
            self._add_session(session, owner)
        return SignedUp(owner, code)

    def prove_recovery(self, login: str, code: str) -> None:
        """The code, typed back: before that nothing is synced. Raises CallerError for a slip, SignInFailed."""
        vault, _ = self._unlock(login, unlockers.RECOVERY, code)
        proof = self._key_service.lock(vault, _proof_header(vault), b"proven")
        with self._store.write() as session:
            session.get_one(Account, self._login(login)).recovery_proof = proof

    def sign_in(self, login: str, password: str) -> Owner:
        """Unlock by password and open an owner session; its token is in the answer. Raises SignInFailed."""
        now, handle = self._clock().timestamp(), self._login(login)
        with self._store.write() as session:
            wait = attempts.count(session, handle, now)
        if wait:
            raise SignInFailed(f"too many tries; wait {int(wait) + 1} seconds")
        vault, root = self._unlock(login, unlockers.PASSWORD, password)
        return self._open_session(handle, vault, root)

    def recover(self, login: str, code: str, new_password: str) -> Owner:
        """Unlock by recovery code and set a new password; no data is touched. Raises SignInFailed, CallerError."""
        vault, root = self._unlock(login, unlockers.RECOVERY, code)
        row = unlockers.password_unlocker(self._key_service, vault, root, unlockers.derive(new_password))
        with self._store.write() as session:
            session.merge(row)
            session.exec(delete(OwnerSession).where(col(OwnerSession.vault) == vault))
        return self._open_session(self._login(login), vault, root)

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
        """Has the recovery code been typed back? Raises Tampered where only the database says so."""
        with self._store.read() as session:
            found = session.exec(select(Account).where(Account.vault == vault)).first()
        if found is None or not found.recovery_proof:
            return False
        return self._key_service.unlock(vault, _proof_header(vault), found.recovery_proof) == b"proven"

    def _unlock(self, login: str, kind: str, secret: str) -> tuple[str, Root]:
        if kind == unlockers.RECOVERY:
            unlockers.parse_code(secret)  # a slip is told for every login, known or not
        with self._store.read() as session:
            account = session.get(Account, self._login(login))
            row = session.get(Unlocker, (account.vault, kind)) if account else None
        try:
            if row is None:
                unlockers.waste_time(kind, secret)
                raise Tampered("no such account")
            return row.vault, unlockers.unlock(self._key_service, row, secret)
        except Tampered:
            raise SignInFailed("login or password is wrong") from None

    def _new_owner(self) -> Owner:
        sections = {section: new_section_id() for section in SECTIONS}
        return self._signed_in(new_vault_id(), Root.generate(), sections)

    def _signed_in(self, vault: str, root: Root, sections: Mapping[str, str]) -> Owner:
        """An owner with a new token, unlocked now; in whole seconds, as the session's row has it."""
        now = self._clock().replace(microsecond=0)
        expires = now + timedelta(seconds=self._session_seconds)
        return Owner(vault, root, sections, now, expires, secrets.token_urlsafe(32))

    def _open_session(self, login: bytes, vault: str, root: Root) -> Owner:
        with self._store.write() as session:
            attempts.forget(session, login)
            owner = self._signed_in(vault, root, _sections(session, vault, root))
            self._add_session(session, owner)
        return owner

    def _add_session(self, session: Session, owner: Owner) -> None:
        """The session's row; those that have ended go."""
        row = OwnerSession(
            token=_token_id(owner.token),
            vault=owner.vault,
            box=b"",
            expires=int(owner.expires.timestamp()),
            unlocked_at=int(owner.unlocked_at.timestamp()),
        )
        inner = wrap(expand(owner.token.encode(), "row"), _session_header(row), owner.root.secret)
        row.box = self._key_service.lock(owner.vault, _session_header(row), inner)
        session.exec(delete(OwnerSession).where(col(OwnerSession.expires) <= row.unlocked_at))
        session.add(row)

    def _owner(self, session: Session, held: OwnerSession, root: Root, token: str) -> Owner:
        zone = self._clock().tzinfo
        unlocked_at, expires = (datetime.fromtimestamp(at, zone) for at in (held.unlocked_at, held.expires))
        return Owner(held.vault, root, _sections(session, held.vault, root), unlocked_at, expires, token)

    def _login(self, login: str) -> bytes:
        return self._key_service.handle("login", login.strip().casefold())


def owner_put(local: str, resource: Resource, version: int, now: datetime) -> Put:
    """A resource as the owner writes it: `meta` says which version it is, and since when."""
    updated = instant(now)
    meta = dict(resource.get("meta") or {}) | {"versionId": str(version), "lastUpdated": updated}
    first = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
    return Put(
        local=local,
        resource_type=resource["resourceType"],
        version=version,
        updated=updated,
        resource=dumps(first | resource | {"meta": meta}),
        origin={"source": OWNER},
    )


def _sections(session: Session, vault: str, root: Root) -> Mapping[str, str]:
    """Name -> id of the vault's sections. Raises Tampered."""
    row = session.get(tables.Vault, vault)
    if row is None:
        raise Tampered("a session's vault is gone")
    made: dict[str, str] = orjson.loads(unwrap(root.owner_key(), _sections_header(vault), row.sections))
    return made


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


def _proof_header(vault: str) -> dict[str, Any]:
    return header("recovery-proof", vault)


def _session_header(row: OwnerSession) -> dict[str, Any]:
    # The times are part of it: whoever can write the database makes no session longer, and no unlock fresher.
    return header("session", row.vault, name=f"{row.token.hex()}/{row.unlocked_at}/{row.expires}")
