"""From a caller and a vault to an answer with its receipt. The one way to a view: no route decides about access.

`opened` is durable before the key service opens a grant; `answered` is durable before the answer leaves, on condition
that grant version and log position are still the view's. If they are not, the view is opened again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from aggregator.api import asking
from aggregator.api.caller import Principal
from aggregator.api.held import Held, HeldViews, Key
from aggregator.api.service import Service
from aggregator.audit import receipts
from aggregator.audit.receipts import SYSTEM, Condition, Opening
from aggregator.consent import grant
from aggregator.consent.decide import Party
from aggregator.errors import Busy, Refused, Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import FhirError, NotFound
from aggregator.identity import persons
from aggregator.identity.accounts import Owner
from aggregator.identity.allowances import Allowances
from aggregator.identity.notices import GREAT_DEAL, Kind
from aggregator.identity.owner_writing import Receipt
from aggregator.vault import counter, tables, truth
from aggregator.vault import view as views
from aggregator.vault.key_service import Ticket
from aggregator.vault.keys import OWNER
from aggregator.vault.seal import PublicKey
from aggregator.vault.view import Reader, View

_TRIES = 4
_GRANTED = select(tables.Grant.vault).where(col(tables.Grant.grantee) == bindparam("grantee"))
_LONGEST_QUERY = 1000  # characters of a query that a receipt keeps; of a longer one its hash as well


@dataclass(frozen=True, slots=True)
class Act:
    """What is done, for the receipt: FHIR's interaction code, the resource type, and the query as it came."""

    interaction: str
    resource_type: str
    query: str = ""


class Access:
    """Answers through views. held: the open ones; allowances: how much a grantee may ask for."""

    def __init__(self, service: Service) -> None:
        settings = service.config.view
        self._service = service
        self._locks: dict[Key, _Lock] = {}
        self.allowances = Allowances(service.store, service.key_service, service.clock, service.config.limits)
        self.held = HeldViews(service.clock, settings.idle_minutes * 60.0, settings.memory_megabytes * 1_000_000)

    async def answer(self, principal: Principal, vault: str, act: Act, ask: Callable[[View], Answer]) -> Answer:
        """What `ask` makes of the caller's view, its receipt durable. Raises as `ask`; Throttled, NotFound, Stale."""
        principal = principal.toward(vault)
        if principal.party != OWNER:
            await self.allowances.admit(principal.party, vault)
        for _ in range(_TRIES):
            try:
                held = await self._hold(principal, vault, act)
                answer, error = await _try(held, ask)
                entry = self.entry(held.entry, act, "answered", shown=answer.shown if answer else 0)
                await self._service.receipts.write(held.opening.next(entry, held.condition))
            except Busy:
                raise
            except Stale:
                self.held.drop((principal.reader, vault))
                continue
            if answer is None:
                raise error or NotFound
            await self._watch(principal, vault, held, answer.shown)
            if principal.party != OWNER:
                self.allowances.charge(principal.party, vault, len(answer.body) + answer.beside)
            return answer
        raise Stale("the record keeps changing; try again")

    async def _watch(self, principal: Principal, vault: str, held: Held, shown: int) -> None:
        """Tell the patient where a grantee reads a great deal, as soon as it does."""
        before, held.shown = held.shown, held.shown + shown
        if before < GREAT_DEAL <= held.shown and principal.party != OWNER:
            await asyncio.to_thread(self._service.notices.tell, vault, [Kind.BULK], principal.party)

    def receipt(self, principal: Principal, vault: str, act: Act, **more: Any) -> Receipt:
        """What puts the receipt of an owner's write into the commit of that write: nothing is opened for it."""
        with self._service.store.read() as session:
            row = counter.known_head(session, vault)
        return self.noted(principal, row, act, "written", **more)

    def noted(self, principal: Principal, row: tables.Vault, act: Act, kind: str, **more: Any) -> Receipt:
        """What puts a receipt of this kind into the chain of this vault, in the commit of what it is about."""
        opening, who = Opening(row.id, self.audit_key(row)), _who(principal, row)

        def commit(session: Session, log_position: int) -> bool:
            told = self.entry(who | ({"log_position": log_position} if log_position else {}), act, kind, **more)
            return all(receipts.commit(session, self._service.key_service, [opening.first(told)]))

        return commit

    async def refuse(self, principal: Principal, vault: str, act: Act, reason: str) -> None:
        """Receipt a refusal in the vault's chain, or in the system's where there is no such vault: equal in work."""
        row = self.head_or_system(vault)
        opening = Opening(row.id, self.audit_key(row))
        entry = self.entry(_who(principal.toward(vault), row), act, "refused", reason=reason)
        await self._service.receipts.write(opening.first(entry))

    def head_or_system(self, vault: str) -> tables.Vault:
        """The vault's row; the system's where there is no such vault."""
        with self._service.store.read() as session:
            return counter.head(session, vault) or counter.known_head(session, SYSTEM)

    def vaults(self, principal: Principal) -> list[str]:
        """The vaults that a search runs over: those with a grant for this client, in a fixed order, or the owner's."""
        return [principal.owner.vault] if principal.owner else self._granted(principal.party)

    def cared_for(self, owner: Owner) -> list[str]:
        """The vaults of others that hold a grant for this person."""
        return self._granted(persons.party(owner.vault).id)

    def _granted(self, party: str) -> list[str]:
        grantee = self._service.key_service.handle("party", party)
        return sorted(vault for (vault,) in self._service.store.rows(_GRANTED, {"grantee": grantee}))

    async def _hold(self, principal: Principal, vault: str, act: Act) -> Held:
        key = (principal.reader, vault)
        held = self.held.get(key)
        if held is not None:
            return held
        async with self._single_flight(key):  # those who wait find the view that the first one opened
            held = self.held.get(key)
            if held is None:
                opener = self._open_owner if principal.party == OWNER else self._open_grant
                held = await opener(principal, vault, act)
                self.held.keep(key, held)
            return held

    @asynccontextmanager
    async def _single_flight(self, key: Key) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, _Lock())
        lock.users += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[key]

    async def _open_owner(self, principal: Principal, vault: str, act: Act) -> Held:
        owner = principal.as_owner()
        reader = views.owner(owner.root, owner.sections, owner.patient)
        opening, entry = await self.opening(principal, vault, act)
        view = await asyncio.to_thread(
            views.open_view, self._service.store, vault, reader, self._service.indexer, owner.root
        )
        await asyncio.to_thread(self._service.accounts.owner, owner.token)  # not one who signed out meanwhile
        return _held(principal, view, view.grant_version, opening, entry | {"consents": []})

    async def _open_grant(self, principal: Principal, vault: str, act: Act) -> Held:
        """Raises Stale where the grant was replaced while it was opened: then there may be another."""
        row, version = self._grant(principal, vault)
        if row is None:
            await self.refuse(principal, vault, act, "no consent")
            raise NotFound
        await self.allowances.opening(principal.party, vault)
        principal = await asyncio.to_thread(self._by_name, principal)
        opening, entry = await self.opening(principal, vault, act)
        try:
            reader, consents = await asyncio.to_thread(self._unseal, principal, row, opening.id)
        except Refused as error:
            if self._grant(principal, vault)[1] != version:
                raise Stale("the grant was replaced") from None
            await self.refuse(principal, vault, act, str(error))
            raise NotFound from None
        view = await asyncio.to_thread(views.open_view, self._service.store, vault, reader, self._service.indexer)
        if principal.owner:
            await asyncio.to_thread(self._service.accounts.owner, principal.owner.token)  # as for an owner's own view
        await asyncio.to_thread(self._service.notices.opened, vault, principal.party, principal.purpose)
        # The version that was read together with the grant: one that came since must not count for this view.
        return _held(principal, view, version, opening, entry | {"consents": consents})

    def _unseal(self, principal: Principal, row: tables.Grant, opening: bytes) -> tuple[Reader, list[str]]:
        """Through the key service, which verifies the caller's own token, or the proof of a person."""
        now = self._service.clock()
        party, ticket = self._credentials(principal, now)
        opened = grant.open_grant(row, self._service.key_service, ticket, opening, now)
        reader = principal.within_scopes(opened.reader(party, principal.purpose, now, self._service.table))
        return reader, opened.deciding(party, principal.purpose, now)

    def _credentials(self, principal: Principal, now: datetime) -> tuple[Party, Ticket]:
        if principal.owner:
            ticket = persons.ticket(principal.owner, self._service.key_service, now)
            return persons.party(principal.owner.vault), ticket
        caller = principal.as_client()
        return caller.client.party, caller.ticket

    def _by_name(self, principal: Principal) -> Principal:
        """For the receipts of whoever let this person read: they are told the name that the person's own record has."""
        if principal.owner is None:
            return principal
        person = self._service.signing.person(principal.owner)
        return replace(principal, name=f"{person.given} {person.family}")

    async def opening(self, principal: Principal, vault: str, act: Act) -> tuple[Opening, dict[str, Any]]:
        """A durable `opened` receipt: before the key service is asked."""
        with self._service.store.read() as session:
            row = counter.known_head(session, vault)
        opening, who = Opening(vault, self.audit_key(row)), _who(principal, row)
        await self._service.receipts.write(opening.first(self.entry(who, act, "opened")))
        return opening, who

    def audit_key(self, row: tables.Vault) -> PublicKey:
        """What receipts are sealed to: of a vault as its root signed it, for the system from the key service itself."""
        if row.id == SYSTEM:
            return self._service.key_service.system_audit().public()
        return truth.audit_key(row, self._service.key_service.verification_key(row.id))

    def _grant(self, principal: Principal, vault: str) -> tuple[tables.Grant | None, int]:
        """The caller's grant and the grant version, of one moment."""
        grantee = self._service.key_service.handle("party", principal.party)
        mine = select(tables.Grant).where(tables.Grant.vault == vault, tables.Grant.grantee == grantee)
        with self._service.store.read() as session:
            row = session.exec(mine).first()
            head = counter.head(session, vault)
        return row, head.grant_version if head else 0

    def entry(self, who: dict[str, Any], act: Act, kind: str, **more: Any) -> dict[str, Any]:
        """What a receipt says."""
        stated = {"kind": kind, "at": _recorded(self._service.clock()), "interaction": act.interaction}
        return who | stated | {"type": act.resource_type, "query": _kept(act.query)} | more


@dataclass(slots=True)
class _Lock:
    """A lock that is forgotten when nobody uses it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


def _kept(query: str) -> str:
    if len(query) <= _LONGEST_QUERY:
        return query
    return f"{query[:_LONGEST_QUERY]}... sha256:{hashlib.sha256(query.encode()).hexdigest()}"


async def _try(held: Held, ask: Callable[[View], Answer]) -> tuple[Answer | None, FhirError | None]:
    """An answer or the error that is one: a refusal or an empty hand is receipted like everything else."""
    try:
        return await asking.ask(held, ask), None
    except FhirError as error:
        return None, error


def _held(principal: Principal, view: View, grant_version: int, opening: Opening, entry: dict[str, Any]) -> Held:
    condition = Condition(grant_version, view.log_position)
    told = entry | {"grant_version": grant_version, "log_position": view.log_position}
    return Held(view, opening, condition, told, principal.expires)


def _who(principal: Principal, row: tables.Vault) -> dict[str, Any]:
    return {
        "party": principal.party,
        "name": principal.name,
        "purpose": principal.purpose,
        "grant_version": row.grant_version,
        "log_position": row.log_position,
    }


def _recorded(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")
