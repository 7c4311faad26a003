"""The keys of grants, deposits and links: drawn for what the patient signed, for whom it names, destroyed for good."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from aggregator.errors import Refused
from aggregator.vault.encoding import b64, unb64
from aggregator.vault.key_service import DEPOSIT, GRANT, SHARE, SHARES, SignedGrant, Ticket
from aggregator.vault.keys import handle, verify
from aggregator.vault.openings import Openings
from aggregator.vault.ring_rows import RingRows
from aggregator.vault.seal import KEY_BYTES, header, unwrap, wrap
from aggregator.vault.tickets import Tickets

_CERTIFICATES = {GRANT: "grant", DEPOSIT: "mandate", SHARE: "share"}  # what the root has signed it as
_LONGEST_NAME = 64


class GrantKeys:
    """What KeyService does with grants. openings: what permits to open one."""

    def __init__(self, rows: RingRows, tickets: Tickets, openings: Openings) -> None:
        self._rows = rows
        self._tickets = tickets
        self._openings = openings

    def holds(self, vault: str, grant: str) -> bool:
        """Is this grant's key there still?"""
        return self._rows.get("SELECT 1 FROM grant_key WHERE vault = ? AND id = ?", vault, grant) is not None

    def register(self, grant: SignedGrant, payload: bytes) -> bytes:
        certificate = self._check(grant, payload)
        key = os.urandom(KEY_BYTES)
        box, grantee = self._rows.wrap(grant.vault, f"grant/{grant.id}", key), unb64(certificate["grantee"])
        row = (grant.vault, grant.id, box, certificate["epoch"], grantee)
        self._rows.run("INSERT INTO grant_key VALUES (?, ?, ?, ?, ?)", *row)
        return wrap(self._rows.shred(grant.vault), _grant_header(grant), wrap(key, _grant_header(grant), payload))

    def open(self, grant: SignedGrant, ticket: Ticket, opening: bytes, now: datetime) -> bytes:
        if not self._openings.use((grant.vault, opening)):
            raise Refused("no receipt of this opening is known to the key service")
        admission = self._tickets.identify(ticket, now)
        key, shred, head = self._key(grant), self._rows.shred(grant.vault), _grant_header(grant)
        payload = unwrap(key, head, unwrap(shred, head, grant.box))
        certificate = self._check(grant, payload)
        if not _is_grantee(certificate, handle(self._rows.own("handles"), "party", admission.party)):
            raise Refused("this grant is another party's")
        if not _is_occasion(orjson.loads(payload)["occasions"], admission.purpose, now):
            raise Refused("this grant opens nothing now for this purpose of use")
        return payload

    def of(self, vault: str) -> Mapping[str, bytes]:
        rows = self._rows.all("SELECT id, grantee FROM grant_key WHERE vault = ?", vault)
        return {grant: grantee for grant, grantee in rows if not grant.startswith(SHARES)}

    def destroy(self, vault: str, grant: str, *, ended: bool = True) -> None:
        if not (_is_word(vault) and _is_word(grant)):  # an intent is a row: what else it names, no key has
            return
        found = self._rows.get("SELECT epoch FROM grant_key WHERE vault = ? AND id = ?", vault, grant)
        epoch = int(found[0]) if found else 0
        self._rows.destroy("grant", vault, grant, str(epoch), "ended" if ended else "replaced")

    def _check(self, grant: SignedGrant, payload: bytes) -> dict[str, Any]:
        signed_as = f"PRA1/{_CERTIFICATES[grant.kind]}".encode() + grant.certificate
        verify(self._rows.verification_key(grant.vault), grant.signature, signed_as, grant.kind)
        certificate: dict[str, Any] = orjson.loads(grant.certificate)
        if "grantee" not in certificate or not _is_about(certificate, grant, payload):
            raise Refused("this grant's certificate is another's")
        return certificate

    def _key(self, grant: SignedGrant) -> bytes:
        box = self._rows.must("SELECT key FROM grant_key WHERE vault = ? AND id = ?", grant.vault, grant.id)
        return self._rows.unwrap(grant.vault, f"grant/{grant.id}", box)


def _is_word(name: str) -> bool:
    """May it stand in the list of destroyed keys? A space or a line break in it would make another line of its own."""
    return name.isascii() and name.isalnum() and len(name) <= _LONGEST_NAME


# Each of these stands for one thing that is asked before a grant opens.


def _is_about(certificate: dict[str, Any], grant: SignedGrant, payload: bytes) -> bool:
    kind = _CERTIFICATES[grant.kind]
    stated = (certificate["kind"], certificate["vault"], certificate.get(kind), certificate["body"])
    return stated == (kind, grant.vault, grant.id, hashlib.sha256(payload).hexdigest())


def _is_grantee(certificate: dict[str, Any], party: bytes) -> bool:
    return bool(certificate["grantee"] == b64(party))


def _is_occasion(occasions: list[tuple[str, str, list[str]]], purpose: str, now: datetime) -> bool:
    return any(
        datetime.fromisoformat(low) <= now < datetime.fromisoformat(high) and purpose in purposes
        for low, high, purposes in occasions
    )


def _grant_header(grant: SignedGrant) -> dict[str, Any]:
    return header(grant.kind, grant.vault, name=grant.id)
