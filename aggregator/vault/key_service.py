"""What the key service does: the only holder of shred keys, grant keys and the key that signs audit heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from aggregator.vault.audit_key import AuditKey
from aggregator.vault.counter import Memory
from aggregator.vault.seal import PrivateKey, PublicKey, header


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whom a token stands for: a party, for one purpose of use and these scopes, until `expires` (Unix seconds).

    client: of an app's token the app; the party is then one patient's approval of it. patient: the Patient whom it is
    about, by their whole id. key: the thumbprint of the key that whoever brings the token must prove to hold; "" where
    it need not.
    """

    party: str
    purpose: str
    scopes: tuple[str, ...]
    expires: int
    client: str = ""
    patient: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A caller's proof: its token, and the row that the key service sealed when it admitted the caller."""

    token: str = field(repr=False)
    row: bytes = field(repr=False)


GRANT, DEPOSIT, SHARE = "grant", "deposit", "share"

SHARES = "share0"
"""What the id of a link's grant begins with, and no other id: those are hex or base32, which have no 0 behind an e."""

PERSON = "person/"
"""What the id of a party begins with that is a person with a vault here; the vault's id follows."""

PERSONS_PURPOSE = "FAMRQT"
"""A person who reads somebody else's record does so as family or carer, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A person's word, signed by the root of their own vault, that a token is theirs for a few minutes.

    statement: canonical JSON {"kind":"proof","vault","token":sha256 in hex,"purpose","expires":Unix seconds}.
    """

    vault: str
    statement: bytes = field(repr=False)
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedGrant:
    """A grant as it is stored: the root-signed certificate, and the payload in two locks once it is registered.

    kind: GRANT, DEPOSIT for a mandate, or SHARE for what a link leads to: kept and opened in the same way.
    """

    vault: str
    id: str
    certificate: bytes
    signature: bytes
    box: bytes = b""
    kind: str = "grant"


@dataclass(frozen=True, slots=True)
class Held:
    """An item in a feed's hold: sealed to the hold key, at this place, until `expires` (Unix seconds)."""

    feed: bytes
    tag: bytes
    item: bytes
    expires: int
    box: bytes = field(repr=False)

    def header(self) -> dict[str, Any]:
        """Nobody holds it longer, or for somebody else."""
        place = "/".join(part.hex() for part in (self.feed, self.tag, self.item))
        return header("hold", "", name=f"{place}/{self.expires}")


@dataclass(frozen=True, slots=True)
class HoldClaim:
    """A patient's word, signed by the vault's root, that items of a feed under these tags are the patient's.

    statement: canonical JSON {"kind":"hold","vault","feed","tags","at"}.
    """

    vault: str
    statement: bytes = field(repr=False)
    signature: bytes


class KeyService(Memory, Protocol):
    """The embedded key ring now; an external service, with the same calls, in production.

    Raises Refused where it does not do what it is asked, Tampered where a row is not what it should be.
    """

    ring: str
    """The id of this key ring: a store remembers the one it belongs to."""

    def close(self) -> None:
        """Let go of files and connections."""

    def create_vault(self, vault: str, verification_key: bytes) -> None:
        """Draw a shred key and pin the root's verification key: mandates and grants are checked against it alone."""

    def destroy_vault(self, vault: str) -> None:
        """Destroy the shred key and every grant's: nothing of the vault opens any more, in any copy. Twice is once."""

    def verification_key(self, vault: str) -> bytes:
        """The key that was pinned."""

    def lock(self, vault: str, head: dict[str, Any], plaintext: bytes) -> bytes:
        """Wrap under the vault's shred key."""

    def unlock(self, vault: str, head: dict[str, Any], box: bytes) -> bytes:
        """Open what `lock` made."""

    def generation(self, vault: str) -> int:
        """Which unlockers count: those of this generation. 0 until one was first removed or changed."""

    def raise_generation(self, vault: str, generation: int) -> None:
        """Unlockers of an earlier generation are dead, in every copy of the database. It never falls."""

    def register_grant(self, grant: SignedGrant, payload: bytes) -> bytes:
        """Check the patient's signature, draw the grant's key, and return the payload in both locks."""

    def open_grant(self, grant: SignedGrant, ticket: Ticket, opening: bytes, now: datetime) -> bytes:
        """Verify the caller's own ticket, the patient's signature, grantee, purpose and time; then the payload.

        opening: the id of the `opened` receipt, of which `advance` has told. It is used up.
        """

    def grants(self, vault: str) -> Mapping[str, bytes]:
        """Every grant of the vault whose key is there: its id, and its grantee's handle as the patient signed it.

        Without those of links: they end one by one, whatever Consents say. What has to be destroyed is asked here and
        never of a database, which may hide a row while it is asked.
        """

    def destroy_grant(self, vault: str, grant: str, *, ended: bool = True) -> None:
        """Destroy the grant's key: at once, for every copy of the row that exists. Twice is once.

        ended: its grantee lost something, so the epoch whose seeds it held is one that must pass.
        """

    def rotation_due(self, vault: str) -> int:
        """The newest epoch whose seeds an ended grant held: the vault's must be a later one. 0 where none ended.

        Remembered here, so that a database cannot withhold for ever that the keys have to change.
        """

    def admit(self, token: str, admission: Admission) -> bytes:
        """Seal the row that makes this token worth something: of a registered party, never of a person."""

    def admit_person(self, token: str, proof: Proof, now: datetime) -> bytes:
        """The same for a person, checked against the key that was pinned for their own vault: who holds its root."""

    def identify(self, ticket: Ticket, now: datetime) -> Admission:
        """Whom the token stands for."""

    def handle(self, purpose: str, *parts: str) -> bytes:
        """16 keyed bytes that stand for a name."""

    def sign_heads(self, merkle_root: bytes) -> bytes:
        """Sign the Merkle root of changed audit heads."""

    def system_audit(self) -> PrivateKey:
        """The key pair of the system's own receipts: refusals about vaults that do not exist."""

    def audit_verification_key(self) -> bytes:
        """The Ed25519 public key that `sign_heads` signs with."""

    def audit_keys(self) -> Sequence[AuditKey]:
        """All that it ever signed with, by number: the last one does so now."""

    def hold_public(self) -> PublicKey:
        """The key that a feed's hold is sealed to: its private half never leaves the key service."""

    def open_hold(self, claim: HoldClaim, held: Held, now: datetime) -> bytes:
        """One held item, for a patient who has just signed a claim to its tag. Not the worker's to ask by itself."""
