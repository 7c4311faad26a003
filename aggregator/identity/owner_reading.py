"""What an owner reads of the own record while writing: a section as it is, and who the Patient says to be."""

from __future__ import annotations

from sqlmodel import Session

from aggregator.consent.mandate import Person, Signer
from aggregator.errors import Tampered
from aggregator.identity import patient
from aggregator.identity.accounts import Owner
from aggregator.vault import tables, truth
from aggregator.vault.envelope import Put
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.fold import State
from aggregator.vault.view import IDENTITY
from fhir_profiles.text import loads


def section(session: Session, owner: Owner, name: str) -> tuple[tables.Vault, State]:
    """The vault's row, locked where this transaction writes, and one section's state. Raises Tampered."""
    row = truth.head(session, owner.vault, owner.root.verification_key)
    return row, truth.read(session, row, OwnersSeeds(owner.root, {name: owner.sections[name]})).state


def person(session: Session, owner: Owner) -> Person:
    """Who the vault's Patient says to be. Raises Tampered where there is none: sign-up writes it."""
    _, state = section(session, owner, IDENTITY)
    versions = state.sections.get(IDENTITY, {}).get(owner.patient)
    if not versions or not isinstance(put := versions[-1].operation, Put):
        raise Tampered("the vault's Patient is gone")
    return patient.person(loads(put.resource))


def signer(session: Session, owner: Owner) -> Signer:
    """The owner as one who issues mandates. Raises Tampered."""
    return Signer(
        vault=owner.vault,
        root=owner.root,
        sections=owner.sections,
        patient=owner.patient,
        person=person(session, owner),
    )
