"""Permission to read: compiled from all active Consents, signed by the patient (FORMAT.md section 8)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from aggregator.consent.decide import (
    Context,
    Decider,
    Deny,
    Occasion,
    Party,
    Permit,
    Reason,
    boundaries,
    facts_of,
    occasions,
    openable,
    parse,
)
from aggregator.consent.section_table import SectionTable
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.epochs import GrantedSeeds
from aggregator.vault.key_service import KeyService, SignedGrant, Ticket
from aggregator.vault.keys import Root, SectionSeed, handle
from aggregator.vault.mask import part_of
from aggregator.vault.seal import KEY_BYTES
from aggregator.vault.view import Reader
from fhir_profiles.text import Resource, dumps, loads

Decides = Callable[[str, Resource], Permit | Deny | None]
"""(section, resource) -> the decision; None for a part, about which its whole decides."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A grant in the hands of the service that answers for its grantee."""

    id: str
    version: int
    seeds: Mapping[str, SectionSeed] = field(repr=False)
    consents: Sequence[Resource] = field(repr=False)
    verification_key: bytes
    image_key: bytes = field(repr=False)
    patient: str

    def decides(self, party: Party, purpose: str, now: datetime, table: SectionTable) -> Decides:
        """The decision on each resource for this party, purpose and time."""
        decider = Decider([parse(consent) for consent in self.consents], Context(party, purpose, now))

        def decide(section: str, resource: Resource) -> Permit | Deny | None:
            facts = facts_of(resource, table.section_of(resource))
            if part_of(resource) is None:
                return decider.decide(facts)
            # No code says what a part is about: what permits its whole opens it, the view asks for that; a deny closes.
            decision = decider.decide(replace(facts, section=section))
            return decision if isinstance(decision, Permit) or decision.reason is Reason.REFUSED else None

        return decide

    def reader(self, party: Party, purpose: str, now: datetime, table: SectionTable) -> Reader:
        """Who opens the view: the grant's seeds, and the decision on each resource for this party, purpose and time."""
        decide = self.decides(party, purpose, now, table)
        until = boundaries([parse(consent) for consent in self.consents], now)

        def permits(section: str, resource: Resource) -> bool:
            return not isinstance(decide(section, resource), Deny)

        who = (
            purpose,
            party.id,
            party.kind.value,
            *(f"{system}|{value}" for system, value in sorted(party.identifiers)),
        )
        return Reader(
            # A handle: neither the purpose nor whom the operator takes the party for stands in the image's row.
            id=f"{self.id}/{handle(self.image_key, 'reader', *who).hex()}",
            seeds=GrantedSeeds(self.seeds),
            verification_key=self.verification_key,
            image_key=self.image_key,
            patient=self.patient,
            depends=f"{self.version}/{table.version}/{until.isoformat() if until else ''}",
            permits=permits,
            until=until,
        )

    def deciding(self, party: Party, purpose: str, now: datetime) -> list[str]:
        """The ids of the Consents that permit the party something now, for this purpose."""
        return [
            consent["id"]
            for consent in self.consents
            if any(one.covers(now, purpose) for one in occasions([parse(consent)], party))
        ]


def compile_grants(
    vault: tables.Vault,
    root: Root,
    key_service: KeyService,
    sections: Mapping[str, str],
    patient: str,
    consents: Sequence[Resource],
    parties: Sequence[Party],
    now: datetime,
) -> list[tables.Grant]:
    """The grants of one grant version: for each party to whom an active Consent could open a section, now or later."""
    policies = [parse(consent) for consent in consents]
    made = []
    for party in parties:
        names = openable(policies, party, frozenset(sections), now)
        if names:
            opened = {name: sections[name] for name in names}
            payload = _payload(vault, root, opened, patient, consents, occasions(policies, party))
            made.append(_sign(vault, root, key_service, party, payload))
    return made


def prospective(
    vault: tables.Vault,
    root: Root,
    sections: Mapping[str, str],
    patient: str,
    consents: Sequence[Resource],
    party: Party,
    now: datetime,
) -> Opened:
    """What the party would hold by these Consents, for the owner to look at: signed by nobody and stored nowhere."""
    names = openable([parse(consent) for consent in consents], party, frozenset(sections), now)
    seeds = _seeds(vault, root, {name: sections[name] for name in names})
    keys = (root.verification_key, os.urandom(KEY_BYTES))
    return Opened("", vault.grant_version, seeds, consents, *keys, patient)


def signed(row: tables.Grant) -> SignedGrant:
    """A stored grant as the key service takes it."""
    return SignedGrant(row.vault, row.id, row.certificate, row.signature, row.box)


def open_grant(row: tables.Grant, key_service: KeyService, ticket: Ticket, opening: bytes, now: datetime) -> Opened:
    """Through the key service, which verifies the caller itself. opening: of the durable `opened` receipt.

    Raises Refused, Tampered.
    """
    body = orjson.loads(key_service.open_grant(signed(row), ticket, opening, now))
    return Opened(
        row.id,
        body["version"],
        {name: SectionSeed(id_, epoch, unb64(seed)) for name, (id_, epoch, seed) in body["sections"].items()},
        [loads(text) for text in body["consents"]],
        unb64(body["verification_key"]),
        unb64(body["image_key"]),
        body["patient"],
    )


def _payload(
    vault: tables.Vault,
    root: Root,
    sections: Mapping[str, str],
    patient: str,
    consents: Sequence[Resource],
    when: Sequence[Occasion],
) -> bytes:
    seeds = _seeds(vault, root, sections)
    return canonical(
        {
            "version": vault.grant_version,
            "occasions": [[one.low.isoformat(), one.high.isoformat(), sorted(one.purposes)] for one in when],
            "sections": {name: [seed.id, seed.epoch, b64(seed.seed)] for name, seed in seeds.items()},
            "consents": [dumps(consent).decode() for consent in consents],
            "verification_key": b64(root.verification_key),
            "image_key": b64(os.urandom(KEY_BYTES)),
            "patient": patient,
        }
    )


def _seeds(vault: tables.Vault, root: Root, sections: Mapping[str, str]) -> dict[str, SectionSeed]:
    return {name: root.section(id_, vault.epoch) for name, id_ in sections.items()}


def _sign(vault: tables.Vault, root: Root, key_service: KeyService, party: Party, payload: bytes) -> tables.Grant:
    grantee = key_service.handle("party", party.id)
    stated: dict[str, Any] = {"kind": "grant", "vault": vault.id, "grant": os.urandom(16).hex()}
    stated |= {"version": vault.grant_version, "epoch": vault.epoch}
    stated |= {"grantee": b64(grantee), "body": hashlib.sha256(payload).hexdigest()}
    certificate = canonical(stated)
    grant = SignedGrant(vault.id, stated["grant"], certificate, root.sign(b"PRA1/grant" + certificate))
    box = key_service.register_grant(grant, payload)
    return tables.Grant(
        vault=vault.id,
        id=grant.id,
        grantee=grantee,
        certificate=certificate,
        signature=grant.signature,
        box=box,
    )
