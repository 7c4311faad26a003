"""A vault's keys, all derived from its root (FORMAT.md section 2), and what they name."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aggregator.errors import Tampered
from aggregator.vault.encoding import b32, unb64
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey, expand

OWNER = "owner"
"""The writer id of the vault's owner, and where a source's handle stands otherwise, the owner's name as well."""

IMPORTED = "import"
"""Who wrote what the owner had signed in another installation: nobody here: until signed it permits nothing."""


def new_vault_id() -> str:
    """128 random bits, 26 characters."""
    return b32(os.urandom(16))


def new_section_id() -> str:
    """64 random bits in hex: a row's section id says nothing of what it is about."""
    return os.urandom(8).hex()


def handle(key: bytes, *parts: str) -> bytes:
    """16 bytes that stand for a name: HMAC-SHA-256(key, parts joined by 0x00)[:16]."""
    return hmac.digest(key, "\0".join(parts).encode(), "sha256")[:16]


def verify(public: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raises Tampered when the Ed25519 signature is not of this key over this message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Tampered(f"the signature of a stored {what} is wrong") from None


@dataclass(frozen=True)
class SectionSeed:
    """What opens one section in one epoch. `id` is the vault's random id for it."""

    id: str
    epoch: int
    seed: bytes = field(repr=False)

    @cached_property
    def _private(self) -> PrivateKey:
        return PrivateKey(self.seed)

    def private_key(self) -> PrivateKey:
        """Made once: a log of a year's syncs is sealed to the same few keys."""
        return self._private

    def snapshot_key(self) -> bytes:
        return expand(self.seed, "snapshot")


@dataclass(frozen=True, slots=True)
class SectionKey:
    """What a writer needs of a section."""

    id: str
    epoch: int
    public: PublicKey


@dataclass(frozen=True, slots=True)
class IdKey:
    """Makes local ids that are stable over re-syncs."""

    key: bytes = field(repr=False)

    def local(self, authority: str, account: str, source_id: str) -> str:
        """The 26 characters behind the dot of a FHIR id."""
        return b32(handle(self.key, authority, account, source_id))


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a vault keeps of the one that it was imported from, so that its ids stay, and sources double nothing.

    content: source handle in hex -> the key of its ledger's tags. audit: what the key pairs of its closed chains of
    receipts are made of, the first chain's first.
    """

    ids: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    content: Mapping[str, bytes] = field(repr=False)
    audit: tuple[bytes, ...] = field(repr=False, default=())


class Root:
    """The vault root in an owner's hands, and all that is derived from it, or was inherited with it."""

    def __init__(self, secret: bytes, inherited: Inherited | None = None) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError("a vault root has 32 bytes")
        self.secret = secret
        self.inherited = inherited

    def heir(self, inherited: Inherited | None) -> Root:
        """The same root with what its vault has inherited."""
        return Root(self.secret, inherited) if inherited else self

    @classmethod
    def generate(cls) -> Root:
        return cls(os.urandom(KEY_BYTES))

    @cached_property
    def _signing(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(expand(self.secret, "sign"))

    @cached_property
    def verification_key(self) -> bytes:
        """The raw Ed25519 public key that the key service pins."""
        return self._signing.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._signing.sign(message)

    def section(self, section_id: str, epoch: int = 1) -> SectionSeed:
        return SectionSeed(section_id, epoch, expand(self.secret, f"section/{section_id}/{epoch}"))

    def ids(self) -> IdKey:
        return IdKey(self.inherited.ids if self.inherited else expand(self.secret, "id"))

    def tag_key(self) -> bytes:
        return self.inherited.tag if self.inherited else expand(self.secret, "tag")

    def ledger_keys(self, source: bytes) -> bytes:
        """64 bytes: the ledger's sealing key, then its content-tag key."""
        own = expand(self.secret, f"ledger/{source.hex()}", 64)
        inherited = self.inherited.content.get(source.hex()) if self.inherited else None
        return own[:KEY_BYTES] + (inherited or own[KEY_BYTES:])

    def owner_key(self) -> bytes:
        return expand(self.secret, "owner")

    def image_key(self) -> bytes:
        return expand(self.secret, "image")

    @cached_property
    def audit(self) -> PrivateKey:
        return PrivateKey(self.audit_seed())

    def audit_seed(self) -> bytes:
        """What the key pair that opens receipts is made of."""
        return expand(self.secret, "audit")

    def source(self, authority: str, account: str) -> bytes:
        """The handle of a source account in this vault."""
        return handle(self.tag_key(), "source", authority, account)


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who may append to the log: the id in the header and the key that signs."""

    id: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, writer_id: str) -> Writer:
        return cls(writer_id, os.urandom(KEY_BYTES))

    @classmethod
    def owner(cls, root: Root) -> Writer:
        return cls(OWNER, expand(root.secret, "sign"))

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def public(self) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()


_HANDLE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A writer's open, root-signed permission: for which source, which sections, and which log positions.

    source: its handle in hex, or OWNER. last: None while the permission stands.
    """

    writer: str
    source: str
    public: bytes
    sections: frozenset[str]
    first: int
    last: int | None = None

    def covers(self, section: str, position: int) -> bool:
        return section in self.sections and self.first <= position and (self.last is None or position <= self.last)


def read_certificate(row: Mapping[str, object]) -> Certificate:
    """From the canonical JSON of a mandate's certificate, already verified. Raises Tampered."""
    sections, source = row.get("sections"), str(row.get("source"))
    if not isinstance(sections, list):
        raise Tampered("a stored mandate has no sections")
    if not _HANDLE.fullmatch(source):  # `owner` would be one that may do everything
        raise Tampered("a stored mandate names no source")
    return Certificate(
        writer=str(row["mandate"]),
        source=source,
        public=unb64(str(row["writer"])),
        sections=frozenset(map(str, sections)),
        first=int(str(row["from"])),
        last=int(str(row["until"])) if "until" in row else None,
    )
