"""Reading the truth: the newest snapshot and the log behind it, folded with the seeds at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from sqlmodel import Session, select

from aggregator.errors import Tampered
from aggregator.vault import log, snapshot, tables
from aggregator.vault.encoding import canonical
from aggregator.vault.envelope import claim, open_envelope
from aggregator.vault.fold import State, fold
from aggregator.vault.keys import OWNER, Certificate, SectionSeed, read_certificate, verify
from aggregator.vault.seal import PublicKey

logger = logging.getLogger(__name__)

SNAPSHOT_AFTER = 1
"""Envelopes behind the snapshot at which an owner's opening writes a new one."""


@dataclass(slots=True)
class Truth:
    """What one reader's seeds open: the state, how far it reaches, and which log positions were refused and why."""

    vault: tables.Vault
    state: State
    tail: int
    refused: dict[int, str] = field(default_factory=dict)


def head(session: Session, vault: str, verification_key: bytes) -> tables.Vault:
    """The vault's row, whose verification key must be the one the reader trusts. Raises Tampered."""
    row = session.get(tables.Vault, vault)
    if row is None or row.verification_key != verification_key:
        raise Tampered("a vault's row is missing or names another verification key")
    return row


def read(session: Session, vault: tables.Vault, seeds: Mapping[str, SectionSeed]) -> Truth:
    """The state of the sections whose seeds are given (by section name). Raises Tampered.

    An envelope whose author has no certificate for its section, or that does not verify, is left out and reported: one
    forged row must not close a whole vault.
    """
    listed = snapshot.manifest(session, vault)
    entries = log.after(session, vault, listed.position, listed.chain)
    truth = Truth(vault, snapshot.read(session, vault.id, listed, seeds), len(entries))
    writers = _writers(session, vault)
    # The owner may write everywhere, always.
    writers[OWNER] = Certificate(OWNER, vault.verification_key, frozenset(seed.id for seed in seeds.values()), 1)
    names = {seed.id: name for name, seed in seeds.items()}
    for entry in entries:
        try:
            stated = claim(entry.envelope)
            name = names.get(stated.section)
            if name is None:
                continue
            public = _authorised(writers, stated.writer, stated.section, entry.position)
            operations = open_envelope(vault.id, entry.envelope, seeds[name], stated.writer, public)
        except Tampered as error:
            truth.refused[entry.position] = str(error)
            logger.warning("vault log: position %d is refused: %s", entry.position, error)
            continue
        fold(truth.state, name, entry.position, stated.writer, operations)
    truth.state.position = vault.log_position
    return truth


def audit_key(vault: tables.Vault, verification_key: bytes) -> PublicKey:
    """The key that receipts are sealed to, once the vault's certificate names it.

    `verification_key` is the one that the key service pinned: whoever holds the database alone could otherwise have
    every later receipt sealed to a key of their own. Raises Tampered.
    """
    stated = canonical({"kind": "vault", "vault": vault.id, "audit": vault.audit_key.hex()})
    verify(verification_key, vault.certificate, b"PRA1/vault" + stated, "vault")
    return PublicKey(vault.audit_key)


def _writers(session: Session, vault: tables.Vault) -> dict[str, Certificate]:
    """Every mandate whose certificate verifies, ended ones too: what they wrote in their time stays."""
    found: dict[str, Certificate] = {}
    for row in session.exec(select(tables.Mandate).where(tables.Mandate.vault == vault.id)):
        try:
            verify(vault.verification_key, row.signature, b"PRA1/mandate" + row.certificate, "mandate")
        except Tampered:
            logger.warning("vault log: a mandate's certificate is forged; what it wrote is left out")
            continue
        made = orjson.loads(row.certificate)
        if (made["vault"], made["mandate"]) == (vault.id, row.id):
            found[row.id] = read_certificate(made)
    return found


def _authorised(writers: Mapping[str, Certificate], writer: str, section: str, position: int) -> bytes:
    certificate = writers.get(writer)
    if certificate is None or not certificate.covers(section, position):
        raise Tampered("its author had no mandate for that section")
    return certificate.public
