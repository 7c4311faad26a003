"""create by a provider: https://hl7.org/fhir/R4/http.html#create, one resource or a Bundle of them, for one patient.

Blind: nothing is read back without a grant to read. With one, a condition (#ccreate) is judged in the provider's view.
Where no consent permits it, the answer is that of a record that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.audit import receipts
from aggregator.audit.receipts import Condition, Opening
from aggregator.consent import deposit
from aggregator.errors import Busy, CallerError, Refused, Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.condition import Condition as Sought
from aggregator.fhir.condition import found
from aggregator.fhir.outcome import NotFound
from aggregator.identity import deposits
from aggregator.sync import deposit as adding
from aggregator.sync import whose
from aggregator.sync.deposit import Added, Place, Sent
from aggregator.vault import counter, tables
from aggregator.vault.view import View
from fhir_profiles.text import Resource

BUNDLES = ("collection", "transaction")
NOT_ADDED = frozenset({"AuditEvent", "Bundle", "Consent", "Patient", "Provenance"})
"""The owner's to sign, or made here: a deposit brings none."""

_TRIES = 4


class Deposits:
    """Adds what providers send. base_url: of the FHIR API."""

    def __init__(self, service: Service, access: Access, base_url: str) -> None:
        self._service = service
        self._access = access
        self._base_url = base_url

    async def add(
        self, principal: Principal, vault: str, act: Act, sent: Sequence[Sent], condition: Sought | None = None
    ) -> list[Added]:
        """Into this vault, durable with its receipt; or what the condition finds there already.

        Raises NotFound, Refused, NotValid, Ambiguous, BadQuery, Stale.
        """
        for _ in range(_TRIES):
            there, position = await self._judge(principal, vault, act, condition) if condition else ([], None)
            if there:
                return there
            row, version = self._mandate(principal, vault)
            if row is None:
                await self._access.refuse(principal, vault, act, "no consent")
                raise NotFound
            opening, who = await self._access.opening(principal, vault, act)
            entry = self._access.entry(who, act, "deposited")
            try:
                opened = await asyncio.to_thread(self._opened, principal, row, opening.id)
            except Refused as error:
                if self._mandate(principal, vault)[1] != version:
                    continue
                await self._access.refuse(principal, vault, act, str(error))
                raise NotFound from None
            try:
                return await asyncio.to_thread(self._add, principal, opened, version, opening, entry, sent, position)
            except Refused as error:
                await self._access.refuse(principal, vault, act, str(error))
                raise
            except Busy:
                raise
            except Stale:
                continue
        raise Stale("the record keeps changing; try again")

    async def _judge(
        self, principal: Principal, vault: str, act: Act, condition: Sought
    ) -> tuple[list[Added], int | None]:
        """What it finds in the view that the provider reads by, and the log position that this is true for."""
        seen = list[tuple[list[Added], int]]()

        def ask(view: View) -> Answer:
            there = found(view, condition, self._base_url)
            told = [Added(one.resource_type, one.local, one.version, created=False) for one in there]
            seen[:] = [(told, view.log_position)]
            return Answer(b"", len(told))

        await self._access.answer(principal, vault, act, ask)
        return seen[0]

    def _mandate(self, principal: Principal, vault: str) -> tuple[tables.Mandate | None, int]:
        """The caller's deposit mandate and the grant version, of one moment."""
        grantee = self._service.key_service.handle("party", principal.as_client().client.party.id)
        with self._service.store.read() as session:
            row = next(iter(deposits.of(session, vault, grantee)), None)
            head = counter.head(session, vault)
        return row, head.grant_version if head else 0

    def _opened(self, principal: Principal, row: tables.Mandate, opening: bytes) -> deposit.Deposit:
        caller, now = principal.as_client(), self._service.clock()
        return deposit.open_deposit(row, self._service.key_service, caller.ticket, opening, now)

    def _add(
        self,
        principal: Principal,
        opened: deposit.Deposit,
        version: int,
        opening: Opening,
        entry: dict[str, Any],
        sent: Sequence[Sent],
        position: int | None,
    ) -> list[Added]:
        service, now, party = self._service, self._service.clock(), principal.as_client().client.party
        entry |= {"consents": opened.deciding(party, principal.purpose, now), "added": len(sent)}

        def receipt(session: Session, log_position: int) -> bool:
            told = entry | {"grant_version": version, "log_position": log_position}
            sealed = opening.next(told, Condition(version, log_position))
            return all(receipts.commit(session, service.key_service, [sealed]))

        place = Place(
            store=service.store,
            blobs=service.blobs,
            worker=service.worker_keys,
            table=service.table,
            verification_key=service.key_service.verification_key(opening.vault),
        )
        permits = opened.permits(party, principal.purpose, now)
        return adding.add(place, opened.mandate, permits, sent, now, receipt, position)


def one(resource: Resource, resource_type: str) -> list[tuple[str, Resource]]:
    """(full URL, resource) of a single create. Raises CallerError where it is not of this type."""
    if resource["resourceType"] != resource_type:
        raise CallerError("the resource is not of the type in the URL")
    return _checked([("", resource)])


def entries(bundle: Resource) -> list[tuple[str, Resource]]:
    """(full URL, resource) of each create in a Bundle. Raises CallerError for everything else that it may hold."""
    if bundle["resourceType"] != "Bundle" or bundle.get("type") not in BUNDLES:
        raise CallerError.at("Bundle.type", f"{' or '.join(BUNDLES)} is expected here")
    found = []
    for number, entry in enumerate(whose.objects(bundle.get("entry", []))):
        place = f"Bundle.entry[{number}]"
        resource, asked = entry.get("resource"), entry.get("request", {})
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise CallerError.at(f"{place}.resource", "a resource is expected")
        if bundle["type"] == "transaction" and (not isinstance(asked, dict) or not _is_create(asked, resource)):
            raise CallerError.at(f"{place}.request", "only creates are taken (POST and the type, without conditions)")
        found.append((str(entry.get("fullUrl", "")), resource))
    return _checked(found)


def patient(found: Sequence[tuple[str, Resource]]) -> str:
    """The vault that these are about: of the one Patient whom they name by the id here. Raises CallerError."""
    named = set[str]().union(*(whose.named(resource) for _, resource in found))
    if len(named) != 1:
        raise CallerError("name one patient: the subject of what is added must be Patient/<id here>")
    return named.pop().removeprefix("Patient/").partition(".")[0]


def _is_create(asked: dict[str, Any], resource: Resource) -> bool:
    same = asked.get("url") == resource["resourceType"]
    return same and asked.get("method") == "POST" and asked.keys() <= {"method", "url"}


def _checked(found: list[tuple[str, Resource]]) -> list[tuple[str, Resource]]:
    if not found:
        raise CallerError("there is nothing to add")
    if any(resource["resourceType"] in NOT_ADDED for _, resource in found):
        raise CallerError(f"these are not added by others: {', '.join(sorted(NOT_ADDED))}")
    return found
