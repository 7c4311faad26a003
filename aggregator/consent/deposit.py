"""Permission to add without reading: a provider's deposit, beside its grant (FORMAT.md section 8).

A mandate whose body lies under a key of its own in the key service, opened as a grant is and ended with it. It carries
no seed: whoever holds it writes new resources under the party's own source, and reads nothing.

A Consent permits it by `provision.action` `collect` (http://terminology.hl7.org/CodeSystem/consentaction: "gather
retrieved information"): of that list it is the one that brings data in, and no other is about what comes into a record
without being about reading it. It must be named; a permit without actions is to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from aggregator.consent import mandate
from aggregator.consent.context import COLLECT
from aggregator.consent.decide import (
    Context,
    Decider,
    Party,
    PartyKind,
    Permit,
    facts_of,
    occasions,
    parse,
)
from aggregator.consent.mandate import Mandate, Signer
from aggregator.consent.section_table import UNSORTED, Placement
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.key_service import DEPOSIT, KeyService, SignedGrant, Ticket
from aggregator.vault.keys import Writer
from fhir_profiles.text import Resource, dumps, loads


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit mandate in the hands of the service that writes for its party."""

    mandate: Mandate
    consents: Sequence[Resource] = field(repr=False)

    def permits(self, party: Party, purpose: str, now: datetime) -> Permits:
        """The decision on each resource that the party brings."""
        return Permits(Decider([parse(one) for one in self.consents], Context(party, purpose, now, COLLECT)))

    def deciding(self, party: Party, purpose: str, now: datetime) -> list[str]:
        """The ids of the Consents that permit the party to add something now, for this purpose."""
        return [
            consent["id"]
            for consent in self.consents
            if any(one.covers(now, purpose) for one in occasions([parse(consent)], party, COLLECT))
        ]


@dataclass(frozen=True, slots=True)
class Permits:
    """May this be added? As for reading, but nothing is too sensitive to bring, and `unsorted` takes what comes."""

    decider: Decider

    def __call__(self, resource: Resource, placement: Placement) -> bool:
        facts = facts_of(resource, placement)
        section = "" if facts.section == UNSORTED else facts.section  # one that no permit names
        return isinstance(self.decider.decide(replace(facts, section=section, needs=frozenset())), Permit)


def parties(consents: Sequence[Resource], known: Sequence[Party]) -> list[Party]:
    """The providers whom these Consents let add anything, at any time."""
    policies = [parse(one) for one in consents]
    return [one for one in known if one.kind is PartyKind.PROVIDER and occasions(policies, one, COLLECT)]


def issue(
    vault: tables.Vault, signer: Signer, key_service: KeyService, consents: Sequence[Resource], party: Party
) -> tables.Mandate:
    """The party's deposit mandate, signed by the root and registered with the key service."""
    grantee = key_service.handle("party", party.id)
    writer = Writer.generate(mandate.new_mandate_id())
    authority = f"party/{party.id}"
    when = occasions([parse(one) for one in consents], party, COLLECT)
    body = canonical(
        mandate.body(signer, authority, "", writer)
        | {
            "occasions": [[one.low.isoformat(), one.high.isoformat(), sorted(one.purposes)] for one in when],
            "consents": [dumps(one).decode() for one in consents],
        }
    )
    # No epoch: it holds no seed that could be kept.
    more = {"grantee": b64(grantee), "version": vault.grant_version, "epoch": 0}
    certificate = mandate.certificate(vault, signer, writer, authority, "", body, more)
    one = SignedGrant(vault.id, writer.id, certificate, mandate.sign(signer.root, certificate), kind=DEPOSIT)
    return tables.Mandate(
        vault=vault.id,
        id=writer.id,
        grantee=grantee,
        certificate=certificate,
        signature=one.signature,
        box=key_service.register_grant(one, body),
    )


def open_deposit(
    row: tables.Mandate, key_service: KeyService, ticket: Ticket, opening: bytes, now: datetime
) -> Deposit:
    """Through the key service, which verifies the caller itself. opening: of the durable `opened` receipt.

    Raises Refused, Tampered.
    """
    one = SignedGrant(row.vault, row.id, row.certificate, row.signature, row.box, DEPOSIT)
    body: dict[str, Any] = orjson.loads(key_service.open_grant(one, ticket, opening, now))
    return Deposit(mandate.parse(row.vault, row.id, body), [loads(text) for text in body["consents"]])
