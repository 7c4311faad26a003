"""What an owner asks and decides about who sees what: for the JSON routes and for the pages alike.

Each answer is made of the owner's own record, and has its receipt in the owner's own chain before it leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.consent.decide import Party
from aggregator.consent.provision import PURPOSE_PARENTS
from aggregator.errors import CallerError
from aggregator.fhir.bundle import Answer
from aggregator.identity import persons
from aggregator.identity.dry_run import DryRun, Told
from fhir_profiles.text import Resource


class Desk:
    """Of one installation."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self._access = access
        self._dry_run = DryRun(service.store, service.grants, service.table, service.clock)

    def party(self, party_id: str) -> Party:
        """A registered client, or a person with a record here. Raises CallerError."""
        client = self._service.registered.get(party_id)
        found = client.party if client else persons.party_of(party_id)
        if found is None:
            raise CallerError.at("party", "nobody is registered under this name")
        return found

    def names(self) -> Mapping[str, str]:
        """Party id -> what people call it, of all who are registered."""
        return {id_: client.settings.name for id_, client in self._service.registered.items()}

    async def dry_run(self, principal: Principal, party_id: str, purpose: str, proposed: Resource | None) -> Told:
        """What would this party see of the owner's record, now and with a change? Raises CallerError, NotValid."""
        party = self.party(party_id)
        if purpose not in PURPOSE_PARENTS:
            raise CallerError.at("purpose", "a code of v3-PurposeOfUse is needed, as TREAT")
        told = await asyncio.to_thread(self._dry_run.ask, principal.as_owner(), party, purpose, proposed)
        await self._receipt(principal, f"dry run for {party_id}", len(told.items))
        return told

    async def _receipt(self, principal: Principal, what: str, shown: int) -> None:
        act = Act("operation", "", what)
        await self._access.answer(principal, principal.as_owner().vault, act, lambda _: Answer(b"", shown))
