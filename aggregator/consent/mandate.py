"""Permission to write without reading, issued by the owner when a source is connected (FORMAT.md section 5).

The certificate is open and root-signed: every fold checks authors against it. The body is sealed to the syncing worker:
the ids of the sections, the keys for ids, tags and the ledger, and the keyed tags of the person expected. The sections'
public keys change with the epoch: a writer takes them from the list that the root signed for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson

from aggregator.errors import Stale, Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.keys import IdKey, Root, Writer, handle, verify
from aggregator.vault.seal import PublicKey, header
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Subject
from fhir_profiles.codes import KVNR

_SIGNED_AS = b"PRA1/mandate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who the patient says to be. birth_date: YYYY-MM-DD; kvnr: the statutory insurance number, where there is one."""

    family: str
    given: str
    birth_date: str
    kvnr: str | None = None

    def __post_init__(self) -> None:
        date.fromisoformat(self.birth_date)


@dataclass(frozen=True, slots=True)
class Expected:
    """The keyed tags of the person that a source should talk about: equal tags, equal person."""

    key: bytes = field(repr=False)
    kvnr: bytes | None = field(repr=False)
    name: bytes = field(repr=False)

    @classmethod
    def of(cls, person: Person, key: bytes) -> Expected:
        kvnr = _kvnr_tag(key, person.kvnr) if person.kvnr else None
        return cls(key, kvnr, _name_tag(key, person))

    def compare(self, subject: Subject) -> bool | None:
        """Is it that person: by the insurance number, else by name and birth date; None where the source is silent."""
        numbers = [identifier.value for identifier in subject.identifiers if identifier.system == KVNR]
        if numbers and self.kvnr is not None:
            return all(_kvnr_tag(self.key, number) == self.kvnr for number in numbers)
        name = _name_tag(self.key, subject)
        return name == self.name if name and self.name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """What the worker holds while it writes for one connection."""

    vault: str
    id: str
    authority: str = field(repr=False)
    account: str = field(repr=False)
    source: bytes
    patient: str
    sections: Mapping[str, str] = field(repr=False)
    ids: IdKey
    ledger_keys: bytes = field(repr=False)
    expected: Expected
    writer: Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """An owner who unlocked within the last minutes, as `identity` vouches for."""

    vault: str
    root: Root = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    patient: str
    person: Person = field(repr=False)


def new_mandate_id() -> str:
    """128 random bits in hex."""
    return os.urandom(16).hex()


def issue(vault: tables.Vault, signer: Signer, worker: PublicKey, *, authority: str, account: str) -> tables.Mandate:
    """A mandate for one source account, signed by the root, its body sealed to the worker."""
    writer = Writer.generate(new_mandate_id())
    sealed = canonical(body(signer, authority, account, writer))
    stated = certificate(vault, signer, writer, authority, account, sealed)
    return tables.Mandate(
        vault=vault.id,
        id=writer.id,
        certificate=stated,
        signature=sign(signer.root, stated),
        box=worker.seal(body_header(vault.id, writer.id), sealed),
    )


def certificate(
    vault: tables.Vault,
    signer: Signer,
    writer: Writer,
    authority: str,
    account: str,
    body: bytes,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """What every fold checks authors against, from the next log position on. more: members beside the usual ones."""
    stated: dict[str, Any] = {
        "kind": "mandate",
        "vault": vault.id,
        "mandate": writer.id,
        "writer": b64(writer.public()),
        "sections": sorted(signer.sections.values()),
        "source": signer.root.source(authority, account).hex(),
        "from": vault.log_position + 1,
        "body": hashlib.sha256(body).hexdigest(),
    }
    return canonical(stated | dict(more or {}))


def sign(root: Root, certificate: bytes) -> bytes:
    """The root's signature over a certificate."""
    return root.sign(_SIGNED_AS + certificate)


def end(row: tables.Mandate, root: Root, position: int) -> None:
    """No envelope behind this log position counts as its writer's any more: the certificate is signed anew with an end.

    Raises Tampered for a row that the root did not sign, and leaves it: a forger gets no signature here.
    """
    stated = _certificate(row, root.verification_key)
    row.certificate = canonical({"until": position} | stated)
    row.signature = sign(root, row.certificate)


def open_mandate(row: tables.Mandate, worker: WorkerKeys, verification_key: bytes) -> Mandate:
    """In the worker's hands. `verification_key` is the one that the key service pinned. Raises Tampered, Stale."""
    stated = _certificate(row, verification_key)
    if "until" in stated:
        raise Stale("this mandate has ended")
    opened = worker.open(body_header(row.vault, row.id), row.box)
    if stated["body"] != hashlib.sha256(opened).hexdigest():
        raise Tampered("a stored mandate is not the one its certificate names")
    return parse(row.vault, row.id, orjson.loads(opened))


def _certificate(row: tables.Mandate, verification_key: bytes) -> dict[str, Any]:
    """What the root signed for this row and no other. Raises Tampered."""
    verify(verification_key, row.signature, _SIGNED_AS + row.certificate, "mandate")
    stated: dict[str, Any] = orjson.loads(row.certificate)
    if (stated["vault"], stated["mandate"]) != (row.vault, row.id):
        raise Tampered("a stored mandate is not the one its certificate names")
    return stated


def body(signer: Signer, authority: str, account: str, writer: Writer) -> dict[str, Any]:
    """What a writer for one source account needs: the sections' ids, the keys for ids and ledger, whom to expect."""
    root = signer.root
    source = root.source(authority, account)
    expected = Expected.of(signer.person, root.tag_key())
    return {
        "vault": signer.vault,
        "authority": authority,
        "account": account,
        "source": source.hex(),
        "patient": signer.patient,
        "sections": dict(signer.sections),
        "ids": b64(root.ids().key),
        "ledger": b64(root.ledger_keys(source)),
        "tags": [b64(expected.key), b64(expected.kvnr) if expected.kvnr else "", b64(expected.name)],
        "writer": b64(writer.seed),
    }


def parse(vault: str, mandate: str, body: Mapping[str, Any]) -> Mandate:
    """The inverse: a body in its writer's hands."""
    key, kvnr, name = body["tags"]
    return Mandate(
        vault=vault,
        id=mandate,
        authority=body["authority"],
        account=body["account"],
        source=bytes.fromhex(body["source"]),
        patient=body["patient"],
        sections=body["sections"],
        ids=IdKey(unb64(body["ids"])),
        ledger_keys=unb64(body["ledger"]),
        expected=Expected(unb64(key), unb64(kvnr) if kvnr else None, unb64(name)),
        writer=Writer(mandate, unb64(body["writer"])),
    )


def _kvnr_tag(key: bytes, number: str) -> bytes:
    return handle(key, "kvnr", comparable_number(number))


def _name_tag(key: bytes, who: Person | Subject) -> bytes:
    """Empty where the name cannot be compared."""
    name = comparable_name(who)
    return handle(key, "name", *name) if name else b""


def comparable_number(number: str) -> str:
    """An insurance number as it is compared."""
    return number.strip().upper()


def comparable_name(who: Person | Subject) -> tuple[str, str, str] | None:
    """Family name, first given name and birth date as they are compared; None where one of them is not wholly said."""
    first = re.split(r"[\s-]", who.given.strip(), maxsplit=1)[0]  # sources differ in how many given names they hold
    stated = (_fold(who.family), _fold(first), who.birth_date)
    return stated if stated[0] and stated[1] and _WHOLE_DATE.fullmatch(who.birth_date) else None


_WHOLE_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SPELLINGS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


def _fold(name: str) -> str:
    """Case, blanks, hyphens, and how an umlaut is written or encoded make no difference."""
    composed = unicodedata.normalize("NFC", name)
    return "".join(char for char in composed.casefold().translate(_SPELLINGS) if char.isalnum())


def body_header(vault: str, mandate: str) -> dict[str, Any]:
    """Of a mandate's body, which is sealed to the worker."""
    return header("mandate", vault, name=mandate)
