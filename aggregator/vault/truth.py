"""Reading the truth: the newest snapshot and the log behind it, folded with the seeds at hand."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
from sqlmodel import Session, select

from aggregator.errors import Tampered
from aggregator.vault import counter, epochs, log, snapshot, tables
from aggregator.vault.encoding import canonical
from aggregator.vault.envelope import Signed, open_envelope, read_envelope
from aggregator.vault.epochs import Epochs, KeyChain, Seeds
from aggregator.vault.fold import State, fold
from aggregator.vault.image import Outside
from aggregator.vault.keys import OWNER, Certificate, read_certificate, verify
from aggregator.vault.seal import PublicKey
from aggregator.vault.vouching import genuine

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Truth:
    """What one reader's seeds open: the state, how far it reaches, and which log positions were refused and why.

    left: the refused envelopes themselves, as far as they are there. texts: the snapshot it was read from. bodies:
    where in it the newest bodies lie. settled: that snapshot is all there is, under the newest epoch. appointed: which
    certificates there were, where an envelope was refused.
    """

    vault: tables.Vault
    state: State
    tail: int
    refused: dict[int, str] = field(default_factory=dict)
    left: list[log.Entry] = field(default_factory=list)
    texts: snapshot.Texts | None = None
    bodies: Outside = field(default_factory=lambda: Outside(texts=(), starts={}))
    settled: bool = False
    appointed: str = ""


def head(session: Session, vault: str, verification_key: bytes) -> tables.Vault:
    """The vault's row, whose verification key must be the one the reader trusts, and whose epoch its root signed.

    Raises Tampered.
    """
    row = counter.head(session, vault)
    if row is None or row.verification_key != verification_key:
        raise Tampered("a vault's row is missing or names another verification key")
    epochs.read(row, verification_key)
    return row


def read(session: Session, vault: tables.Vault, seeds: Seeds) -> Truth:
    """The state of the sections whose seeds are given (by section name). Raises Tampered, Stale for seeds too old.

    An envelope whose author has no certificate for its section, that does not verify, stands elsewhere than where it
    was written, is of another epoch, holds no sound operations or changes what another wrote, is left out and reported:
    one forged row must not close a whole vault. Those that were left out before the snapshot are tried again: a
    mandate's certificate may have been mended.
    """
    chain, since = KeyChain(session, vault.id, seeds), epochs.read(vault, vault.verification_key)
    chain.reach(since.newest)
    listed = snapshot.manifest(session, vault, vault.verification_key)
    entries = log.after(session, vault, listed.position, listed.chain)
    state, bodies = snapshot.read(session, vault.id, listed, chain)
    truth = Truth(vault, state, len(entries), texts=snapshot.stored(session, vault.id), bodies=bodies)
    kept = snapshot.kept(session, vault.id, listed)
    for position in listed.refused.keys() - {entry.position for entry in kept}:
        _refuse(truth, position, "it was refused before, and is gone")
    _fold(truth, chain, since, _authors(session, vault, seeds.ids), [*kept, *entries])
    truth.state.let_go()
    truth.state.position = vault.log_position
    truth.appointed = appointed(session, vault.id) if truth.refused else ""
    truth.settled = (
        truth.texts is not None
        and not entries
        and {entry.position for entry in truth.left} == listed.refused.keys()
        and set(listed.epochs.values()) <= {since.newest}
    )
    return truth


def _fold(
    truth: Truth, chain: KeyChain, since: Epochs, authors: Mapping[str, Certificate], entries: Sequence[log.Entry]
) -> None:
    """One envelope after the other, and what is refused set aside."""
    found, names = dict[int, Signed](), {id_: name for name, id_ in chain.ids.items()}
    for entry in entries:
        with _refusing(truth, entry):
            found[entry.position] = read_envelope(entry.envelope)
    folding = _Folding(truth.state, truth.vault.id, chain, names, since, authors, genuine(found, authors, names.keys()))
    for entry in entries:
        if entry.position in found:
            with _refusing(truth, entry):
                folding.add(entry.position, found[entry.position])


@contextmanager
def _refusing(truth: Truth, entry: log.Entry) -> Iterator[None]:
    try:
        yield
    except Tampered as error:
        _refuse(truth, entry.position, str(error))
        truth.left.append(entry)


@dataclass(frozen=True, slots=True)
class _Folding:
    """What one envelope after the other is folded with. names: of the sections that open. genuine: log positions."""

    state: State
    vault: str
    chain: KeyChain
    names: Mapping[str, str]
    epochs: Epochs
    authors: Mapping[str, Certificate]
    genuine: Set[int]

    def add(self, position: int, envelope: Signed) -> None:
        """One envelope, where it lies in a section whose seed is given. Raises Tampered."""
        stated = envelope.claim
        if stated.section not in self.names:
            return
        author, name = self.authors.get(stated.writer), self.names[stated.section]
        if author is None or not author.covers(stated.section, position):
            raise Tampered("its author had no mandate for that section")
        if stated.epoch != self.epochs.at(position):
            raise Tampered("it is of another epoch than its place in the log")
        self.state.expect(author.writer, stated.section, stated.number, position)
        if position not in self.genuine:
            raise Tampered("the signature of a stored envelope is wrong")
        seed = self.chain.seed(name, stated.epoch)
        operations = open_envelope(self.vault, envelope.box, seed, author.writer, stated.number)
        fold(self.state, name, position, author.source, operations)
        self.state.count(author.writer, stated.section, stated.number)


def _refuse(truth: Truth, position: int, reason: str) -> None:
    truth.refused[position] = reason
    logger.warning("vault log: position %d is refused: %s", position, reason)


def audit_key(vault: tables.Vault, verification_key: bytes) -> PublicKey:
    """The key that receipts are sealed to, once the vault's certificate names it.

    `verification_key` is the one that the key service pinned: whoever holds the database alone could otherwise have
    every later receipt sealed to a key of their own. Raises Tampered.
    """
    stated = canonical({"kind": "vault", "vault": vault.id, "audit": vault.audit_key.hex()})
    verify(verification_key, vault.certificate, b"PRA1/vault" + stated, "vault")
    return PublicKey(vault.audit_key)


def appointed(session: Session, vault: str) -> str:
    """What changes whenever a mandate's certificate does: for what depends on which envelopes were refused."""
    mandate = tables.Mandate
    rows = session.exec(select(mandate.id, mandate.certificate, mandate.signature).where(mandate.vault == vault))
    parts = (part for id_, *row in sorted(rows.all()) for part in (id_.encode(), *row))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _authors(session: Session, vault: tables.Vault, ids: Mapping[str, str]) -> dict[str, Certificate]:
    """By writer id: the owner, and every mandate whose certificate verifies, ended ones too: what they wrote stays."""
    everywhere = frozenset(ids.values())
    owner = Certificate(writer=OWNER, source=OWNER, public=vault.verification_key, sections=everywhere, first=1)
    found = {OWNER: owner}
    for row in session.exec(select(tables.Mandate).where(tables.Mandate.vault == vault.id)):
        try:
            verify(vault.verification_key, row.signature, b"PRA1/mandate" + row.certificate, "mandate")
        except Tampered:
            logger.warning("vault log: a mandate's certificate is forged; what it wrote is left out")
            continue
        made = orjson.loads(row.certificate)
        if row.id != OWNER and (made["vault"], made["mandate"]) == (vault.id, row.id):
            found[row.id] = read_certificate(made)
    return found
