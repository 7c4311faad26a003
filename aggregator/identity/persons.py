"""Carers: people with a record of their own whom somebody else's Consents let read, as a parent reads a child's.

They are grantees like every other. A Consent names them as `provision.actor.reference.identifier` {system RECORD,
value: the id of their vault}; they prove who they are with the root of that vault.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from aggregator.consent.decide import Party, PartyKind
from aggregator.consent.reach import named_values
from aggregator.identity.accounts import Owner
from aggregator.identity.tables import Account
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import PERSON, PERSONS_PURPOSE, KeyService, Proof, Ticket
from fhir_profiles.codes import RECORD
from fhir_profiles.text import Resource

_LIFE = 60  # seconds: a ticket is used in the request that makes it
_VAULT = re.compile(r"[a-z2-7]{26}")


def party(vault: str) -> Party:
    """The person whose own vault this is, as a grantee of others."""
    return Party(PERSON + vault, frozenset({(RECORD, vault)}), PartyKind.PERSON)


def party_of(party_id: str) -> Party | None:
    """The same by the party's id; None for one that is no person's."""
    return party(party_id.removeprefix(PERSON)) if party_id.startswith(PERSON) else None


def named(session: Session, consents: Sequence[Resource], but: str) -> list[Party]:
    """Those with an account here whom these Consents name anywhere. but: the vault that they are about."""
    values = {value for value in named_values(consents, RECORD) if _VAULT.fullmatch(value)}
    found = session.exec(select(Account.vault).where(col(Account.vault).in_(values - {but})))
    return [party(vault) for vault in sorted(set(found))]


def ticket(owner: Owner, key_service: KeyService, now: datetime) -> Ticket:
    """For one opening: only who holds the unlocked root of the person's own vault gets one. Raises Refused."""
    token = secrets.token_urlsafe(32)
    stated = {"kind": "proof", "vault": owner.vault, "token": hashlib.sha256(token.encode()).hexdigest()}
    statement = canonical(stated | {"purpose": PERSONS_PURPOSE, "expires": int(now.timestamp()) + _LIFE})
    proof = Proof(owner.vault, statement, owner.root.sign(b"PRA1/proof" + statement))
    return Ticket(token, key_service.admit_person(token, proof, now))
