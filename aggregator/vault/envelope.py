"""A sealed, signed batch of operations on one section (FORMAT.md section 5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from aggregator.errors import Tampered
from aggregator.vault.blob import Blob, read_member
from aggregator.vault.encoding import milliseconds
from aggregator.vault.keys import SectionKey, SectionSeed, Writer
from aggregator.vault.seal import header, read_header
from fhir_profiles.text import MAX_DEPTH, depth, reread

NONE = bytes(32)
"""What stands for the link of an envelope before, where its writer names none."""

_LINK = 32
_END = _LINK + 64  # and the signature
_KIND = "envelope"
_LOCAL = re.compile(r"[a-z2-7]{26}")
_MOST_VERSIONS = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A version of a resource. `resource` is its JSON with id, meta and references in place; `updated` an instant.

    blob: where the data of a Binary lies that is too long to lie in it.
    """

    local: str
    resource_type: str
    version: int
    updated: str
    resource: bytes
    origin: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    blob: Blob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """The resource ended, with a tombstone."""

    local: str
    resource_type: str
    version: int
    updated: str
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """The resource and its history left this section, without a tombstone."""

    local: str
    resource_type: str


Operation = Put | Delete | Remove


def members(operation: Operation) -> dict[str, Any]:
    """What an operation's line holds, but for the resource."""
    made: dict[str, Any] = {"op": type(operation).__name__.lower(), "id": operation.local}
    made |= {"type": operation.resource_type}
    if not isinstance(operation, Remove):
        made |= {"version": operation.version, "updated": operation.updated, "origin": dict(operation.origin)}
    if isinstance(operation, Put):
        made |= {"blob": operation.blob.member()} if operation.blob else {}
        made |= {"warnings": operation.warnings}
    return made


def read_members(made: Mapping[str, Any], resource: bytes | None = None) -> Operation:
    """The inverse of `members`; a put's has a resource, and no other. Raises KeyError, TypeError or ValueError."""
    if (made["op"] == "put") != (resource is not None):
        raise ValueError("an operation without its resource")
    if made["op"] == "remove":
        return Remove(local=made["id"], resource_type=made["type"])
    said: dict[str, Any] = {"local": made["id"], "resource_type": made["type"], "version": made["version"]}
    said |= {"updated": made["updated"], "origin": made["origin"]}
    if resource is None:
        return Delete(**said)
    blob = read_member(made["blob"]) if "blob" in made else None
    return Put(**said, resource=resource, warnings=tuple(made["warnings"]), blob=blob)


def line(operation: Operation) -> bytes:
    """One operation as a line of NDJSON, without the line break."""
    made = members(operation)
    if isinstance(operation, Put):
        made |= {"resource": orjson.Fragment(operation.resource)}
    return orjson.dumps(made)


# The last member of a put. Inside a JSON string its quotes would be escaped, so this can only be the member itself.
_RESOURCE = b',"resource":'


def parse_line(text: bytes) -> Operation:
    """The inverse of `line`; the resource is cut out, not parsed, so that no number changes."""
    head, found, tail = text.partition(_RESOURCE)
    return read_members(orjson.loads(head + b"}"), tail[:-1]) if found else read_members(orjson.loads(text))


def seal(
    vault: str,
    section: SectionKey,
    writer: Writer,
    number: int,
    operations: Iterable[Operation],
    previous: bytes = NONE,
) -> bytes:
    """An envelope: sealed to the section, signed by the writer. Takes no secret of the section.

    number: what binds it to its place, so that a copy is none: for the owner the log position that it is appended at,
    for a mandate's writer the ledger's revision that it is written with. previous: the link of an envelope that this
    very writer has signed, and vouches for.
    """
    head = header(_KIND, vault, section=section.id, epoch=section.epoch, writer=writer.id, number=number)
    box = section.public.seal(head, b"\n".join(line(operation) for operation in operations))
    return box + previous + writer.sign(signed(_link(previous, box)))


@dataclass(frozen=True, slots=True)
class Claim:
    """What an envelope's header says of itself, before anything is verified."""

    section: str
    epoch: int
    writer: str
    number: int


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope in its parts, of which nothing is verified yet. link: what the signature is over."""

    claim: Claim
    box: bytes
    previous: bytes
    link: bytes
    signature: bytes


def read_envelope(envelope: bytes) -> Signed:
    """Its parts. Raises Tampered for what has no readable header."""
    box, end = envelope[:-_END], envelope[-_END:]
    previous, signature = end[:_LINK], end[_LINK:]
    return Signed(claim(envelope), box, previous, _link(previous, box), signature)


def claim(envelope: bytes) -> Claim:
    """Read the header. Raises Tampered."""
    try:
        head = orjson.loads(read_header(envelope))
        return Claim(str(head["section"]), int(head["epoch"]), str(head["writer"]), int(head["number"]))
    except (KeyError, ValueError, TypeError):
        raise Tampered("a stored envelope has no readable header") from None


def open_envelope(vault: str, box: bytes, seed: SectionSeed, writer: str, number: int) -> list[Operation]:
    """The operations in an envelope's box. Raises Tampered when any byte, section, vault or number is another.

    Who sealed it no box tells: whether it is its writer's says `vouching.genuine`, which is asked first.
    """
    head = header(_KIND, vault, section=seed.id, epoch=seed.epoch, writer=writer, number=number)
    plaintext = seed.private_key().open(head, box)
    try:
        operations = [parse_line(text) for text in plaintext.split(b"\n") if text]
        for operation in operations:
            refuse_unsound(vault, operation)
    except (AttributeError, KeyError, ValueError, TypeError, OverflowError):
        # Signed, so its author wrote it so: a broken writer must not close the vault for everybody else's envelopes.
        raise Tampered("a stored envelope holds no operations") from None
    return operations


def refuse_unsound(vault: str, operation: Operation) -> None:
    """Whatever would fail later, when an image is built or a resource read. Raises as what it is unsound in."""
    _expect(type(operation.local) is str and _LOCAL.fullmatch(operation.local))
    _expect(type(operation.resource_type) is str)
    if isinstance(operation, Remove):
        return
    _expect(type(operation.version) is int and 1 <= operation.version <= _MOST_VERSIONS)
    _expect(isinstance(operation.origin, dict) and all(type(told) is str for told in operation.origin.values()))
    milliseconds(operation.updated)
    if isinstance(operation, Put):
        _expect(all(type(warning) is str for warning in operation.warnings))
        resource = reread(operation.resource)
        brackets = operation.resource.count(b"{") + operation.resource.count(b"[")
        _expect(brackets <= MAX_DEPTH or depth(resource) <= MAX_DEPTH)  # most resources need not be walked
        named = resource.get("resourceType"), resource.get("id")
        _expect(named == (operation.resource_type, f"{vault}.{operation.local}"))
        _expect(isinstance(resource.get("meta", {}), dict))
        _expect(operation.blob is None or operation.resource_type == "Binary")


def _expect(sound: object) -> None:
    if not sound:
        raise ValueError("an operation is not of the format")


def _link(previous: bytes, box: bytes) -> bytes:
    return hashlib.sha256(previous + hashlib.sha256(box).digest()).digest()


def signed(link: bytes) -> bytes:
    """What the signature of the envelope with this link is over."""
    return b"PRA1/envelope" + link
