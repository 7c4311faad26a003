"""What an owner does with the ways into the record: add, change, renew, remove one, and sign in by passkey.

Every change takes an unlock in the last minutes and touches unlockers and sessions alone, never data.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.errors import CallerError, SignInFailed, Tampered
from aggregator.identity import labels, passkeys, unlockers
from aggregator.identity.accounts import Accounts, Owner
from aggregator.identity.passkeys import Credential, Passkeys
from aggregator.identity.tables import Passkey, Unlocker
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

_MOST = 20
_REFUSED = "the passkey was not accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WayIn:
    """An unlocker as its owner sees it. created: Unix seconds; proven: a recovery code's alone, was it typed back?"""

    id: str
    kind: str
    label: str
    created: int
    proven: bool | None


class WaysIn:
    """The unlockers of one installation's owners."""

    def __init__(
        self, store: Store, key_service: KeyService, accounts: Accounts, passkeys: Passkeys, clock: Clock
    ) -> None:
        self._store = store
        self._key_service = key_service
        self._accounts = accounts
        self._clock = clock
        self.passkeys = passkeys

    def listed(self, owner: Owner) -> list[WayIn]:
        """The owner's unlockers, the oldest first."""
        return [
            WayIn(
                id=row.id,
                kind=row.kind,
                label=labels.read(owner.root, owner.vault, row.id, row.label),
                created=row.created,
                proven=unlockers.proven(self._key_service, row) if row.kind == unlockers.RECOVERY else None,
            )
            for row in self._rows(owner.vault)
        ]

    def set_password(self, owner: Owner, password: str) -> None:
        """A new password, or the first; every other session ends. Raises UnlockNeeded, CallerError."""
        self._accounts.may_sign(owner)
        self._accounts.replace_password(owner.vault, owner.root, unlockers.derive(password), but=owner.session)

    def renew_recovery(self, owner: Owner) -> str:
        """A new recovery code, shown once. The one before it opens until this is typed back. Raises UnlockNeeded."""
        self._accounts.may_sign(owner)
        with self._store.write(owner.vault) as session:
            unproven = [row for row in self._accounts.unlockers(session, owner.vault) if self._is_unproven(row)]
            generation = self._accounts.retire(session, owner.vault, unproven)
            row, code = self._making(owner).recovery()
            unlockers.relock(self._key_service, [row], generation)
            session.add(row)
        self._key_service.raise_generation(owner.vault, generation)
        return code

    def passkey_options(self, owner: Owner, label: str) -> dict[str, object]:
        """Options for the authenticator: `create`, and `get` to show at once that it opens. Raises UnlockNeeded."""
        self._accounts.may_sign(owner)
        known = [row for row in self._rows(owner.vault) if row.kind == unlockers.PASSKEY]
        return self.passkeys.creation(owner.vault, owner.session, labels.stated(label), known)

    def add_passkey(self, owner: Owner, registration: Credential, assertion: Credential, label: str) -> str:
        """Add a passkey that was made and used once in this session; returns its id.

        Raises UnlockNeeded, SignInFailed where it is not accepted, CallerError.
        """
        self._accounts.may_sign(owner)
        label = labels.stated(label)
        made = self.passkeys.registered(registration, assertion, owner.session)
        handle = self.passkeys.handle(made.credential)
        with self._store.write(owner.vault) as session:
            rows = self._accounts.unlockers(session, owner.vault)
            if len(rows) >= _MOST:
                raise CallerError(f"a record has at most {_MOST} ways in; remove one first")
            if session.get(Passkey, handle):
                raise CallerError("this passkey is there already")
            row = self._making(owner).passkey(made.asserted.prf, made.parameters, label)
            session.add(row)
            session.add(
                Passkey(credential=handle, vault=owner.vault, unlocker=row.id, sign_count=made.asserted.sign_count)
            )
        return row.id

    def remove(self, owner: Owner, unlocker: str) -> None:
        """Take an unlocker away, and the sessions that it opened. Raises UnlockNeeded, CallerError."""
        self._accounts.may_sign(owner)
        with self._store.write(owner.vault) as session:
            rows = self._accounts.unlockers(session, owner.vault)
            row = next((one for one in rows if one.id == unlocker), None)
            if row is None:
                raise CallerError("there is no such way into this record")
            self._refuse_to_lock_out(row, [one for one in rows if one.id != unlocker])
            generation = self._accounts.retire(session, owner.vault, [row])
        self._key_service.raise_generation(owner.vault, generation)

    def sign_in(self, assertion: Credential, device: str = "") -> Owner:
        """Unlock by passkey and open an owner session. Raises SignInFailed, CallerError."""
        device = labels.stated(device)
        credential = passkeys.credential_id(assertion)
        with self._store.read() as session:
            known = session.get(Passkey, self.passkeys.handle(credential))
            row = session.get(Unlocker, (known.vault, known.unlocker)) if known else None
            genuine = self._accounts.unlockers(session, row.vault) if row else []
        if known is None or row is None or row.id not in {one.id for one in genuine if one.kind == unlockers.PASSKEY}:
            raise SignInFailed(_REFUSED)
        asserted = self.passkeys.asserted(assertion, row, known.sign_count)
        self.passkeys.use(asserted, credential)
        try:
            root = unlockers.unlock(self._key_service, row, asserted.prf)
        except Tampered:
            raise SignInFailed(_REFUSED) from None
        return self._accounts.open_session(row, root, device)

    def unlock_again(self, owner: Owner, assertion: Credential, device: str = "") -> Owner:
        """The same owner, unlocked now by passkey: in a new session, which takes the place of the old one.

        Raises SignInFailed, also for a passkey that opens another record.
        """
        made = self.sign_in(assertion, device)
        replaced = owner if made.vault == owner.vault else made
        self._accounts.sign_out(replaced.token)
        if replaced is made:
            raise SignInFailed(_REFUSED)
        return made

    def _rows(self, vault: str) -> list[Unlocker]:
        with self._store.read() as session:
            return self._accounts.unlockers(session, vault)

    def _is_unproven(self, row: Unlocker) -> bool:
        return row.kind == unlockers.RECOVERY and not unlockers.proven(self._key_service, row)

    def _refuse_to_lock_out(self, row: Unlocker, others: list[Unlocker]) -> None:
        """What must remain: a recovery code that was typed back, and one more way in."""
        codes = [one for one in others if one.kind == unlockers.RECOVERY and not self._is_unproven(one)]
        if row.kind == unlockers.RECOVERY and not codes:
            raise CallerError(
                "a recovery code is not removed: ask for a new one and type it back, then the old one goes"
            )
        if row.kind != unlockers.RECOVERY and not codes:
            raise CallerError("type your recovery code back first: two ways into a record must remain")
        if all(one.kind == unlockers.RECOVERY for one in others):
            raise CallerError("this is the last way in beside the recovery code; add another one first")

    def _making(self, owner: Owner) -> unlockers.Making:
        return unlockers.Making(self._key_service, owner.vault, owner.root, int(self._clock().timestamp()))
