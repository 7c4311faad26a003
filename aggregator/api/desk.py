"""What an owner asks and decides about who sees what: for the JSON routes and for the pages alike.

Each answer is made of the owner's own record, and has its receipt in the owner's own chain before it leaves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aggregator.api import owner_views, receipt_list
from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.receipt_list import Line
from aggregator.api.service import Service
from aggregator.consent.decide import Party
from aggregator.consent.provision import PURPOSE_PARENTS
from aggregator.consent.sharing import Sharing, Who, consent_of, sharing_of, who_is
from aggregator.errors import CallerError, Refused
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotFound
from aggregator.identity import notices
from aggregator.identity.access_requests import AccessRequests, Asked, Wish
from aggregator.identity.accounts import Owner
from aggregator.identity.dry_run import DryRun, Told
from aggregator.identity.notices import Kind
from aggregator.identity.standing import Edition, Grantee, Standing
from fhir_profiles.codes import PARTY_CLASS
from fhir_profiles.text import Resource, loads

ANY_PROVIDER = "any-provider"
"""What the pages call whoever treats in an emergency: no party's id."""

_ANYBODY = Party("", frozenset({(PARTY_CLASS, "provider")}))
_WHOLE_ID = re.compile(r"[a-z2-7]{26}\.[a-z2-7]{26}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """notices: what has happened. ending: whose access ends soon. requests: how many wait for an answer."""

    notices: list[notices.Told]
    ending: list[Grantee]
    requests: int


class Desk:
    """Of one installation."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self._access = access
        self._requests = AccessRequests(service.store, service.key_service, service.clock)
        self._standing = Standing(service.store, service.grants, service.parties, service.clock)
        self._dry_run = DryRun(service.store, service.grants, service.table, service.clock)

    def party(self, party_id: str) -> Party:
        """A grantee; ANY_PROVIDER is one of its class. Raises CallerError."""
        found = _ANYBODY if party_id == ANY_PROVIDER else owner_views.party_of(self._service, party_id)
        if found is None:
            raise CallerError.at("party", "nobody is registered under this name")
        return found

    def names(self) -> Mapping[str, str]:
        """Party id -> what people call it, of all who are registered: apps come by their own way."""
        return {id_: one.settings.name for id_, one in self._service.registered.items() if not one.is_app}

    async def dry_run(self, principal: Principal, party_id: str, purpose: str, proposed: Resource | None) -> Told:
        """What would this party see of the owner's record, now and with a change? Raises CallerError, NotValid."""
        party = self.party(party_id)
        if purpose not in PURPOSE_PARENTS:
            raise CallerError.at("purpose", "a code of v3-PurposeOfUse is needed, as TREAT")
        told = await asyncio.to_thread(self._dry_run.ask, principal.as_owner(), party, purpose, proposed)
        await self._receipt(principal, f"dry run for {party_id}", len(told.items))
        return told

    async def ask(self, principal: Principal, patient: str, told: Mapping[str, Any]) -> None:
        """A registered provider asks a patient to be let in. Says nothing of the patient. Raises CallerError."""
        client = principal.as_client().client
        if client.is_app:
            raise Refused("an app asks for its own approval")
        wish = Wish.stated(told, frozenset(client.settings.purposes))
        if not _WHOLE_ID.fullmatch(patient):
            raise CallerError.at("patient", "a whole Patient id is needed, as the patient gives it to you")
        await asyncio.to_thread(self._ask, principal, patient, wish)

    def _ask(self, principal: Principal, patient: str, wish: Wish) -> None:
        row = self._access.head_or_system(patient.partition(".")[0])
        receipt = self._access.noted(principal, row, Act("operation", "Consent"), "requested")
        self._requests.ask(principal.party, patient, wish, row.id, self._access.audit_key(row), receipt)
        self._service.notices.tell(row.id, [Kind.REQUEST], principal.party, patient)

    async def waiting(self, principal: Principal) -> list[Asked]:
        """The requests that the owner has not answered, of parties that are still registered."""
        found = await asyncio.to_thread(self._requests.waiting, principal.as_owner())
        await self._receipt(principal, "requests", len(found))
        return [one for one in found if one.party in self._service.registered]

    def consent_for(self, owner: Owner, asked: Asked, sections: frozenset[str], days: int) -> Resource:
        """The Consent that grants a request, or less. Raises CallerError."""
        wish, now = asked.wish.narrowed(sections, days), self._service.clock()
        sharing = Sharing(
            who=who_is(self.party(asked.party), self.names()[asked.party]),
            sections=wish.sections,
            purposes=wish.purposes,
            since=now.isoformat(timespec="seconds"),
            until=(now + timedelta(days=wish.days)).isoformat(timespec="seconds"),
        )
        return consent_of(sharing, owner.whole_patient, now)

    async def grant(self, principal: Principal, request: str, sections: frozenset[str] | None, days: int | None) -> str:
        """Answer a request by signing its Consent, whole or narrower; returns the Consent's id. Raises UnlockNeeded."""
        owner, asked = principal.as_owner(), await self.asked(principal, request)
        chosen = asked.wish.sections if sections is None else sections
        consent = self.consent_for(owner, asked, chosen, asked.wish.days if days is None else days)
        signed = await self.sign(principal, consent)
        await asyncio.to_thread(self._requests.close, owner, request, accepted=True)
        return signed

    async def refuse(self, principal: Principal, request: str) -> None:
        """No. The provider is told nothing: it looks like a patient who has not answered."""
        asked = await self.asked(principal, request)
        await asyncio.to_thread(self._requests.close, principal.as_owner(), request, accepted=False)
        await self._receipt(principal, f"request of {asked.party} refused", 0)

    async def sharing_with(self, principal: Principal, party_id: str) -> Sharing | None:
        """The one simple Consent there is for this party, as the owner would say it."""
        found = await asyncio.to_thread(self._simple, principal.as_owner(), party_id)
        return found[0] if found else None

    async def proposal(
        self, principal: Principal, party_id: str, sections: frozenset[str], days: int
    ) -> tuple[Resource, str | None]:
        """A Consent for treatment, and the local id of the one that it changes. Raises CallerError."""
        owner, now = principal.as_owner(), self._service.clock()
        found = await asyncio.to_thread(self._simple, owner, party_id)
        sharing = Sharing(
            who=self._who(party_id),
            sections=sections,
            purposes=_purposes(party_id),
            since=now.isoformat(timespec="seconds"),
            until=(now + timedelta(days=days)).isoformat(timespec="seconds"),
        )
        made = consent_of(sharing, owner.whole_patient, now, found[1] if found else None)
        return made, str(made["id"]).partition(".")[2] if found else None

    def _who(self, party_id: str) -> Who:
        if party_id == ANY_PROVIDER:
            return Who(named=_ANYBODY.identifiers)
        return who_is(self.party(party_id), self.names()[party_id])

    def _simple(self, owner: Owner, party_id: str) -> tuple[Sharing, Resource] | None:
        """The Consent that a change replaces: one that says nothing but which sections this party may read when."""
        named = self._who(party_id).named
        found = [(said, one) for one in self._standing.signed(owner) if (said := sharing_of(one))]
        plain = [(said, one) for said, one in found if said == _plain(said, party_id) and said.who.named == named]
        return plain[0] if len(plain) == 1 else None

    async def withdraw(self, principal: Principal, whole_id: str) -> None:
        """A Consent counts no more; what it says stays. Raises NotFound, UnlockNeeded."""
        signed = await asyncio.to_thread(self._standing.signed, principal.as_owner())
        found = next((one for one in signed if one["id"] == whole_id), None)
        if found is None:
            raise NotFound
        await self.sign(principal, found | {"status": "inactive"}, whole_id.partition(".")[2])

    async def sign(self, principal: Principal, consent: Resource, local: str | None = None) -> str:
        """Sign a Consent, or a new version of one; returns its whole id. Raises UnlockNeeded, NotValid, CallerError."""
        owner = principal.as_owner()
        body, created = await asyncio.to_thread(self._service.signing.save_consent, owner, consent, local)
        whole = str(loads(body)["id"])
        act = Act("create" if created else "update", "Consent", f"Consent/{whole}")
        await self._access.answer(principal, owner.vault, act, lambda _: Answer(body, 1))
        return whole

    async def grantees(self, principal: Principal) -> tuple[list[Grantee], Mapping[str, datetime]]:
        """Who may see what; and when each was last answered, by party id."""
        owner = principal.as_owner()
        found = await asyncio.to_thread(self._standing.grantees, owner)
        last = await asyncio.to_thread(receipt_list.last_access, self._service, owner)
        await self._receipt(principal, "grantees", len(found))
        return found, last

    async def end(self, principal: Principal, party_id: str) -> int:
        """End everything that a grantee may do, at once; needs no fresh unlock."""
        owner = principal.as_owner()
        ended = await asyncio.to_thread(self._service.grants.end, owner, party_id)
        act = Act("delete", "", f"grant of {party_id}")
        await self._access.answer(principal, owner.vault, act, lambda _: Answer(b"", 0))
        return ended

    async def consents(self, principal: Principal) -> list[Edition]:
        """The owner's Consents in words, each as it is now."""
        found = await asyncio.to_thread(self._standing.consents, principal.as_owner())
        await self._receipt(principal, "consents", len(found))
        return found

    async def history(self, principal: Principal, whole_id: str) -> list[Edition]:
        """Every version of one of them, newest first. Raises NotFound."""
        owner = principal.as_owner()
        vault, _, local = whole_id.partition(".")
        found = await asyncio.to_thread(self._standing.history, owner, local) if vault == owner.vault else []
        if not found:
            raise NotFound
        await self._receipt(principal, f"history of Consent/{whole_id}", len(found))
        return found

    async def receipts(self, principal: Principal, most: int, *, own: bool) -> list[Line]:
        """The newest receipts in words. own: with what the owner did. Itself receipted, after they were read."""
        found = await asyncio.to_thread(receipt_list.lines, self._service, principal.as_owner(), most, own=own)
        await self._receipt(principal, "receipts", len(found))
        return found

    async def greeting(self, principal: Principal) -> Greeting:
        """What the owner is to be told first."""
        owner = principal.as_owner()
        found = await asyncio.to_thread(self._greeting, owner)
        await self._receipt(principal, "notices", len(found.notices))
        return found

    def _greeting(self, owner: Owner) -> Greeting:
        return Greeting(
            notices=self._service.notices.unseen(owner),
            ending=[one for one in self._standing.grantees(owner) if one.ends_soon],
            requests=len(self._requests.waiting(owner)),
        )

    async def seen(self, principal: Principal) -> None:
        """The owner has read the notices."""
        await asyncio.to_thread(self._service.notices.see, principal.as_owner())
        await self._receipt(principal, "notices seen", 0)

    async def asked(self, principal: Principal, request: str) -> Asked:
        """One of those that wait. Raises NotFound."""
        found = await asyncio.to_thread(self._requests.waiting, principal.as_owner())
        known = {one.id: one for one in found if one.party in self._service.registered}
        if request not in known:
            raise NotFound
        return known[request]

    async def _receipt(self, principal: Principal, what: str, shown: int) -> None:
        act = Act("operation", "", what)
        await self._access.answer(principal, principal.as_owner().vault, act, lambda _: Answer(b"", shown))


def _plain(said: Sharing, party_id: str) -> Sharing:
    """The same, with nothing that the pages do not ask for."""
    return Sharing(
        who=said.who, sections=said.sections, purposes=_purposes(party_id), since=said.since, until=said.until
    )


def _purposes(party_id: str) -> frozenset[str]:
    return frozenset({"BTG" if party_id == ANY_PROVIDER else "TREAT"})
