"""Patients' accounts: sign up, sign in, the owner session.

A login is known by its handle alone, so the database holds no name. A wrong password, an unknown login and a changed
row give one answer in the same time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.audit.chain import first_head
from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, Refused, SignInFailed, Stale, Tampered, UnlockNeeded
from aggregator.identity import attempts, invitations, labels, logins, patient, sessions, unlockers
from aggregator.identity.tables import Account, OwnerSession, Passkey, Unlocker
from aggregator.vault import counter, epochs, inheritance, log, tables
from aggregator.vault.encoding import canonical, instant
from aggregator.vault.envelope import Operation, Put, seal
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import OWNER, Inherited, Root, SectionKey, SectionSeed, Writer, new_section_id, new_vault_id
from aggregator.vault.seal import header, unwrap, wrap
from aggregator.vault.store import Store
from aggregator.vault.view import IDENTITY
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource, dumps

WhoSignsUp = Literal["open", "invitation", "closed"]
"""Everybody, who was invited, or nobody."""
PATIENT_SOURCE = ("vault", "", "Patient")
"""The source key of the vault's one Patient."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An unlocked owner: the root and what it says of the vault. session: its id, no secret; seen: its last hour."""

    vault: str
    root: Root
    sections: Mapping[str, str]
    unlocked_at: datetime
    expires: datetime
    token: str = field(repr=False, default="")
    session: str = ""
    seen: int = 0

    @property
    def patient(self) -> str:
        """The local id of the vault's Patient."""
        return self.root.ids().local(*PATIENT_SOURCE)

    @property
    def whole_patient(self) -> str:
        """The whole id of the vault's Patient."""
        return f"{self.vault}.{self.patient}"

    def seed(self, section: str, epoch: int) -> SectionSeed:
        """What opens a section, by its name, in one epoch."""
        return self.root.section(self.sections[section], epoch)

    def key(self, section: str, epoch: int) -> SectionKey:
        """What sealing to a section takes."""
        seed = self.seed(section, epoch)
        return SectionKey(seed.id, seed.epoch, seed.private_key().public())

    def append(self, session: Session, row: tables.Vault, section: str, operations: Sequence[Operation]) -> int:
        """Write as the owner, inside the caller's transaction. row: as `truth.head` gave it there."""
        key = self.key(section, row.epoch)
        envelope = seal(self.vault, key, Writer.owner(self.root), row.log_position + 1, operations)
        return log.append(session, row, [envelope])


@dataclass(frozen=True, slots=True)
class SignedUp:
    """A new vault, its owner signed in. The recovery code is shown once."""

    owner: Owner
    recovery_code: str = field(repr=False)


class Accounts:
    """Sign-up, sign-in and owner sessions of one installation."""

    def __init__(
        self,
        store: Store,
        key_service: KeyService,
        clock: Clock,
        session_seconds: int,
        signing_seconds: int,
        who_signs_up: WhoSignsUp = "open",
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._session_seconds = session_seconds
        self._signing_seconds = signing_seconds
        self.who_signs_up = who_signs_up
        self.sessions = sessions.Sessions(store, key_service)

    def sign_up(self, login: str, password: str, person: Person, device: str = "", invitation: str = "") -> SignedUp:
        """Account, vault, its Patient and an owner session: all of it, or nothing.

        device: what the session is called. Raises Refused where nobody signs up, CallerError for an invitation that is
        not valid, a taken login, and a login, password or device of a wrong length, NotValid for a person whom FHIR
        cannot say.
        """
        if self.who_signs_up == "closed":
            raise Refused("nobody can sign up here; ask whoever runs this service")
        owner = self._new_owner()
        said = owner_put(owner.patient, patient.resource(owner.whole_patient, person), 1, self._clock())

        def fill(session: Session, row: tables.Vault) -> None:
            owner.append(session, row, IDENTITY, [said])

        return self.found(login, password, owner, fill, device, lambda session: self._admit(session, invitation))

    def heir(self, vault: str, inherited: Inherited) -> Owner:
        """The owner of a vault that is to be: with a new root, and what it keeps of the installation it comes from."""
        return self._signed_in(vault, Root.generate().heir(inherited), _new_sections())

    def found(
        self,
        login: str,
        password: str,
        owner: Owner,
        fill: Callable[[Session, tables.Vault], Any],
        device: str = "",
        admit: Callable[[Session], None] = lambda _: None,
    ) -> SignedUp:
        """Account, vault, what `fill` puts into it, and the owner's session: all of it, or nothing.

        admit: raises where this person may not; before anything is told. Raises CallerError as `sign_up`.
        """
        login, device = logins.stated(login), labels.stated(device)
        handle, derived = logins.handle(self._key_service, login), unlockers.derive(password)
        with self._store.write(owner.vault, handle.hex(), sessions.NAME) as session:
            admit(session)
            # The login before all else: the key service keeps every vault that it has made.
            logins.claim(session, self._key_service, login, owner.vault, self._clock().timestamp())
            self._key_service.create_vault(owner.vault, owner.root.verification_key)
            making = unlockers.Making(self._key_service, owner.vault, owner.root, int(self._clock().timestamp()))
            by_code, code = making.recovery()
            by_password = making.password(derived)
            row = _new_vault(owner)
            keys = epochs.found(row, owner.root, owner.sections)
            session.add_all([by_password, by_code, row, keys])
            fill(session, row)
            self._add_session(session, owner, by_password.id, device)
        return SignedUp(owner, code)

    def prove_recovery(self, login: str, code: str) -> str:
        """The code, typed back: before that nothing is synced; returns the vault.

        A new code counts from here on, and the one before it no longer. Raises CallerError for a slip, SignInFailed.
        """
        found, _ = self._unlock(login, unlockers.RECOVERY, code)
        self._prove(found)
        return found.vault

    def prove_own_recovery(self, owner: Owner, code: str) -> None:
        """The same by who is signed in. Raises CallerError for a slip, SignInFailed."""
        unlockers.parse_code(code)
        found, _ = self._opened_by(self._unlockers_of(owner.vault, unlockers.RECOVERY), code)
        self._prove(found)

    def _prove(self, found: Unlocker) -> None:
        with self._store.write(found.vault) as session:
            _still_opens(session, found)
            codes = [row for row in self.unlockers(session, found.vault) if row.kind == unlockers.RECOVERY]
            for row in codes:
                if row.id == found.id:
                    unlockers.prove(self._key_service, row)
                    session.add(row)
            generation = self.retire(session, found.vault, [row for row in codes if row.id != found.id])
        self._key_service.raise_generation(found.vault, generation)

    def sign_in(self, login: str, password: str, device: str = "") -> Owner:
        """Unlock by password and open an owner session; its token is in the answer. Raises CallerError."""
        handle, device = logins.handle(self._key_service, login), labels.stated(device)
        self._count(handle)
        row, root = self._unlock(login, unlockers.PASSWORD, password)
        return self.open_session(row, root, device, handle)

    def unlock_again(self, owner: Owner, password: str, device: str = "") -> Owner:
        """The same owner, unlocked now by password: in a new session, which takes the place of the old one.

        Raises SignInFailed, CallerError.
        """
        made = self.sign_in_as(owner.vault, password, device)
        self.sign_out(owner.token)
        return made

    def sign_in_as(self, vault: str, password: str, device: str = "") -> Owner:
        """The same for whoever is known already to own this vault: by a session, or a sign-in provider's word."""
        handle, device = self._key_service.handle("unlock", vault), labels.stated(device)
        self._count(handle)
        row, root = self._opened_by(self._unlockers_of(vault, unlockers.PASSWORD), password)
        return self.open_session(row, root, device, handle)

    def sign_in_by_code(self, login: str, code: str, device: str = "") -> Owner:
        """The same by recovery code, for who has just that. Raises CallerError."""
        device = labels.stated(device)
        row, root = self._unlock(login, unlockers.RECOVERY, code)
        return self.open_session(row, root, device, logins.handle(self._key_service, login))

    def recover(self, login: str, code: str, new_password: str, device: str = "") -> Owner:
        """Unlock by recovery code and set a new password; no data is touched.

        Raises SignInFailed, CallerError, Stale where the code was replaced meanwhile.
        """
        device = labels.stated(device)
        row, root = self._unlock(login, unlockers.RECOVERY, code)
        carried = self.replace_password(row.vault, root, unlockers.derive(new_password), by=row)
        return self.open_session(carried or row, root, device, logins.handle(self._key_service, login))

    def replace_password(
        self, vault: str, root: Root, derived: unlockers.DerivedKey, but: str = "", by: Unlocker | None = None
    ) -> Unlocker | None:
        """The password's row goes, a new one comes, and every session ends but the one with the id `but`.

        by: the unlocker that opened the root, returned as it is then. Raises Stale where that one went meanwhile:
        what was changed away sets no password.
        """
        with self._store.write(vault) as session:
            carried = _still_opens(session, by) if by else None
            old = [row for row in self.unlockers(session, vault) if row.kind == unlockers.PASSWORD]
            generation = self.retire(session, vault, old, but=but)
            session.flush()
            making = unlockers.Making(self._key_service, vault, root, int(self._clock().timestamp()))
            made = making.password(derived, old[0].id if old else "")
            unlockers.relock(self._key_service, [made], generation)
            session.add(made)
            sessions.end_all(session, vault, but=but)
        self._key_service.raise_generation(vault, generation)
        return carried

    def unlockers(self, session: Session, vault: str) -> list[Unlocker]:
        """The vault's unlockers that open, given their secret: the oldest first."""
        query = select(Unlocker).where(Unlocker.vault == vault).order_by(col(Unlocker.created), col(Unlocker.id))
        return unlockers.genuine(self._key_service, session.exec(query).all())

    def retire(self, session: Session, vault: str, rows: Sequence[Unlocker], *, but: str = "") -> int:
        """Take unlockers and their sessions away and carry the others to the next generation, which is returned.

        but: the id of a session that lives on.

        A generation is taken even where no row was found: one that somebody hid from this look must not come back.
        The caller tells it to the key service once this is committed: from then on no copy of what went opens anything.
        """
        gone = {row.id for row in rows}
        others = [row for row in self.unlockers(session, vault) if row.id not in gone]
        generation = self._key_service.generation(vault) + 1
        unlockers.relock(self._key_service, others, generation)
        for row in rows:
            session.delete(row)
            session.exec(delete(Passkey).where(col(Passkey.vault) == vault, col(Passkey.unlocker) == row.id))
            sessions.end_all(session, vault, unlocker=row.id, but=but)
        session.add_all(others)
        return generation

    def owner(self, token: str) -> Owner:
        """The owner behind a session's token. Raises SignInFailed."""
        with self._store.read() as session:
            row, root = self.sessions.find(session, token, self._clock().timestamp())
            return self._owner(session, row, root, token)

    def sign_out(self, token: str) -> None:
        """End the session: its row goes."""
        self.sessions.end_token(token)

    def unlocked_lately(self, owner: Owner) -> bool:
        """Was the last unlock within the minutes in which an owner may sign?"""
        # Two times of one zone would be compared as its clocks show them, and an hour comes twice in autumn.
        return 0 <= self._clock().timestamp() - owner.unlocked_at.timestamp() <= self._signing_seconds

    def may_sign(self, owner: Owner) -> None:
        """Signing takes an unlock in the last minutes. Raises UnlockNeeded."""
        if not self.unlocked_lately(owner):
            raise UnlockNeeded("signing needs a fresh unlock: sign in again and repeat this within five minutes")

    def recovery_proven(self, vault: str) -> bool:
        """Has a recovery code been typed back? Raises Tampered where only the database says so."""
        with self._store.read() as session:
            rows = self.unlockers(session, vault)
        return any(unlockers.proven(self._key_service, row) for row in rows if row.kind == unlockers.RECOVERY)

    def refuse_before_safe(self, vault: str) -> None:
        """Nothing is synced into a record that its owner could lose with one thing. Raises CallerError, Tampered."""
        if not self.recovery_proven(vault):
            raise CallerError("type your recovery code back first: nothing is synced before it is proven")
        with self._store.read() as session:
            others = [row for row in self.unlockers(session, vault) if row.kind != unlockers.RECOVERY]
        if not others:
            raise CallerError(
                "set a password or add a passkey first: beside the recovery code one more way in is needed"
            )

    def open_session(self, row: Unlocker, root: Root, device: str, login: bytes | None = None) -> Owner:
        """A session by this unlocker. login: its handle, whose wrong tries are forgotten.

        Raises Stale where an unlocker went since the row was read: that ended the sessions, and none comes after it.
        """
        with self._store.write(row.vault, sessions.NAME, attempts.NAME) as session:
            _still_opens(session, row)
            if login is not None:
                attempts.forget(session, login)
            logins.keep(session, row.vault)
            owner = self._signed_in(row.vault, *_opened(session, row.vault, root))
            self._add_session(session, owner, row.id, device)
        return owner

    def _unlock(self, login: str, kind: str, secret: str) -> tuple[Unlocker, Root]:
        """The row that this secret opens, and its root. Raises SignInFailed, CallerError for a code with a slip."""
        if kind == unlockers.RECOVERY:
            unlockers.parse_code(secret)  # a slip is told for every login, known or not
        with self._store.read() as session:
            account = session.get(Account, logins.handle(self._key_service, login))
            rows = [row for row in self.unlockers(session, account.vault) if row.kind == kind] if account else []
        if not rows:
            unlockers.waste_time(kind, secret)
        return self._opened_by(rows, secret)

    def _opened_by(self, rows: Sequence[Unlocker], secret: str) -> tuple[Unlocker, Root]:
        """The one of these that the secret opens, and its root. Raises SignInFailed."""
        for row in rows:  # two of them only while a new recovery code is not typed back
            with suppress(Tampered):
                return row, unlockers.unlock(self._key_service, row, secret)
        raise SignInFailed("login or password is wrong")

    def _unlockers_of(self, vault: str, kind: str) -> list[Unlocker]:
        with self._store.read() as session:
            return [row for row in self.unlockers(session, vault) if row.kind == kind]

    def _count(self, handle: bytes) -> None:
        """One more try, counted before it is made. Raises SignInFailed where it comes too early."""
        with self._store.write(attempts.NAME) as session:
            wait = attempts.count(session, handle, self._clock().timestamp())
        if wait:
            raise SignInFailed(f"too many tries; wait {int(wait) + 1} seconds")

    def _admit(self, session: Session, invitation: str) -> None:
        if self.who_signs_up == "invitation":
            invitations.use(session, self._key_service, invitation, self._clock().timestamp())

    def _new_owner(self) -> Owner:
        return self._signed_in(new_vault_id(), Root.generate(), _new_sections())

    def _signed_in(self, vault: str, root: Root, sections: Mapping[str, str]) -> Owner:
        """An owner with a new token, unlocked now; in whole seconds, as the session's row has it."""
        now = self._clock().replace(microsecond=0)
        expires = datetime.fromtimestamp(now.timestamp() + self._session_seconds, now.tzinfo)
        return Owner(vault, root, sections, now, expires, secrets.token_urlsafe(32), secrets.token_hex(8))

    def _add_session(self, session: Session, owner: Owner, unlocker: str, device: str) -> None:
        opening = sessions.Opening(
            id=owner.session,
            vault=owner.vault,
            root=owner.root,
            token=owner.token,
            unlocker=unlocker,
            device=device,
            unlocked_at=int(owner.unlocked_at.timestamp()),
            expires=int(owner.expires.timestamp()),
        )
        self.sessions.add(session, opening)

    def _owner(self, session: Session, held: OwnerSession, root: Root, token: str) -> Owner:
        zone = self._clock().tzinfo
        unlocked_at, expires = (datetime.fromtimestamp(at, zone) for at in (held.unlocked_at, held.expires))
        heir, sections = _opened(session, held.vault, root)
        return Owner(held.vault, heir, sections, unlocked_at, expires, token, held.id, held.seen)


def _still_opens(session: Session, row: Unlocker) -> Unlocker:
    """The row as it is now, inside a writer's transaction. Raises Stale where any unlocker went since it was read."""
    now = session.get(Unlocker, (row.vault, row.id))
    if now is None or now.generation != row.generation:
        raise Stale("a way into this record was changed just now; try again")
    return now


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


def _opened(session: Session, vault: str, root: Root) -> tuple[Root, Mapping[str, str]]:
    """The root, with what it inherited, and name -> id of the sections, as its row has them. Raises Tampered."""
    row = counter.head(session, vault)
    if row is None:
        raise Tampered("a session's vault is gone")
    made: dict[str, str] = orjson.loads(unwrap(root.owner_key(), _sections_header(vault), row.sections))
    return inheritance.heir(root, row), made


def _new_sections() -> Mapping[str, str]:
    return {section: new_section_id() for section in SECTIONS}


def _new_vault(owner: Owner) -> tables.Vault:
    audit_key = owner.root.audit.public().raw
    stated = canonical({"kind": "vault", "vault": owner.vault, "audit": audit_key.hex()})
    return tables.Vault(
        id=owner.vault,
        verification_key=owner.root.verification_key,
        audit_key=audit_key,
        certificate=owner.root.sign(b"PRA1/vault" + stated),
        sections=wrap(owner.root.owner_key(), _sections_header(owner.vault), canonical(dict(owner.sections))),
        inherited=inheritance.seal(owner.root, owner.vault),
        chain=log.first_link(owner.vault),
        audit_head=first_head(owner.vault),
    )


def _sections_header(vault: str) -> dict[str, Any]:
    return header("sections", vault)
