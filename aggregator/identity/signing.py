"""What an owner signs: the vault's Patient, and Consents. Each change of Consents compiles every grant anew.

A Consent counts only when it was written by the owner: one from a source is a document and permits nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from aggregator.consent.mandate import Person, Signer
from aggregator.errors import CallerError, Changed
from aggregator.identity import owner_reading, patient, signed_consents
from aggregator.identity.accounts import Accounts, Owner, owner_put
from aggregator.identity.grants import Grants
from aggregator.identity.owner_changes import is_current
from aggregator.vault.encoding import b32
from aggregator.vault.envelope import Put
from aggregator.vault.fold import Version
from aggregator.vault.keys import OWNER
from aggregator.vault.store import Store
from aggregator.vault.view import IDENTITY
from connectors.contract import Clock
from fhir_profiles.text import Resource


class Signing:
    """Writes as the owner; every call needs an unlock within the last minutes."""

    def __init__(self, store: Store, accounts: Accounts, grants: Grants, clock: Clock) -> None:
        self._store = store
        self._accounts = accounts
        self._grants = grants
        self._clock = clock

    def introduce(self, owner: Owner, said: Resource, if_match: int | None = None) -> bytes:
        """Correct the vault's one Patient, who says to be this one; returns it as it is stored.

        if_match: as for a Consent. Raises UnlockNeeded, NotValid, Changed, and CallerError where it does not say who.
        """
        self._accounts.may_sign(owner)
        made = patient.corrected(said, owner.whole_patient, self._clock().date())
        with self._store.write(owner.vault) as session:
            row, state = owner_reading.section(session, owner, IDENTITY)
            before = state.sections.get(IDENTITY, {}).get(owner.patient, [])
            if not is_current(if_match, before):
                raise Changed("the Patient has changed since you read it; read it again")
            put = self._put(owner.patient, made, before)
            owner.append(session, row, IDENTITY, [put])
        return put.resource

    def signer(self, owner: Owner) -> Signer:
        """The owner as one who may issue mandates. Raises UnlockNeeded, CallerError."""
        self._accounts.may_sign(owner)
        self._accounts.refuse_before_safe(owner.vault)
        with self._store.read() as session:
            return owner_reading.signer(session, owner)

    def person(self, owner: Owner) -> Person:
        """Who the vault's Patient says to be. Raises Tampered where there is none: sign-up writes it."""
        with self._store.read() as session:
            return owner_reading.person(session, owner)

    def save_consent(
        self, owner: Owner, consent: Resource, local: str | None = None, if_match: int | None = None
    ) -> tuple[bytes, bool]:
        """Sign a Consent (a new one, or a new version of `local`) and compile the grants: (as stored, is it new).

        if_match: the version that the caller read. Raises Changed where it is not the current one, UnlockNeeded,
        NotValid, CallerError for an id that is not a Consent of the owner.
        """
        self._accounts.may_sign(owner)
        signed_consents.refuse_invalid(owner, consent)
        chosen = local or b32(os.urandom(16))
        with self._store.write(owner.vault) as session:
            row, state = owner_reading.section(session, owner, signed_consents.SECTION)
            before = state.sections.get(signed_consents.SECTION, {}).get(chosen, [])
            if local and not signed_consents.is_own(before):
                raise CallerError("there is no such Consent of yours")
            if not is_current(if_match, before):
                raise Changed("the Consent has changed since you read it; read it again")
            made = dict(consent) | {"id": f"{owner.vault}.{chosen}"}
            made.setdefault("patient", {"reference": f"Patient/{owner.whole_patient}"})
            put = self._put(chosen, made, before)
            position = owner.append(session, row, signed_consents.SECTION, [put])
            state.sections.setdefault(signed_consents.SECTION, {})[chosen] = [*before, Version(position, OWNER, put)]
            named = self._grants.reopen(session, owner, made)
            intents = self._grants.compile(session, row, owner, signed_consents.current(state), named)
        self._grants.destroy(intents)
        return put.resource, not before

    def _put(self, local: str, resource: Resource, before: Sequence[Version]) -> Put:
        version = before[-1].operation.version + 1 if before else 1
        return owner_put(local, resource, version, self._clock())
