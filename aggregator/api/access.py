"""From a caller and a vault to an answer with its receipt. The one way to a view: no route decides about access.

`opened` is durable before the key service opens a grant; `answered` is durable before the answer leaves, on condition
that grant version and log position are still the view's. If they are not, the view is opened again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import select

from aggregator.api.caller import Principal
from aggregator.api.held import Held, HeldViews, Key
from aggregator.api.service import Service
from aggregator.audit.receipts import SYSTEM, Condition, Opening
from aggregator.consent import grant
from aggregator.errors import Refused, Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import FhirError, NotFound
from aggregator.vault import counter, tables, truth
from aggregator.vault import view as views
from aggregator.vault.seal import PublicKey
from aggregator.vault.view import Reader, View

_TRIES = 4
_LONGEST_QUERY = 1000  # characters of a query that a receipt keeps; of a longer one its hash as well


@dataclass(frozen=True, slots=True)
class Act:
    """What is done, for the receipt: FHIR's interaction code, the resource type, and the query as it came."""

    interaction: str
    resource_type: str
    query: str = ""


class Access:
    """Answers through views. `held` are the open ones."""

    def __init__(self, service: Service) -> None:
        settings = service.config.view
        self._service = service
        self._locks: dict[Key, _Lock] = {}
        self.held = HeldViews(service.clock, settings.idle_minutes * 60.0, settings.memory_megabytes * 1_000_000)

    async def answer(self, principal: Principal, vault: str, act: Act, ask: Callable[[View], Answer]) -> Answer:
        """What `ask` makes of the caller's view, its receipt durable. Raises NotFound, Stale and ask's errors."""
        if principal.owner and principal.owner.vault != vault:
            await self.refuse(principal, vault, act, "not the owner")
            raise NotFound
        for _ in range(_TRIES):
            try:
                held = await self._hold(principal, vault, act)
                answer, error = _try(ask, held.view)
                entry = self._entry(held.entry, act, "answered", shown=answer.shown if answer else 0)
                await self._service.receipts.write(held.opening.next(entry, held.condition))
            except Stale:
                self.held.drop((principal.reader, vault))
                continue
            if answer is None:
                raise error or NotFound
            return answer
        raise Stale("the record keeps changing; try again")

    async def refuse(self, principal: Principal, vault: str, act: Act, reason: str) -> None:
        """Receipt a refusal in the vault's chain, or in the system's where there is no such vault: equal in work."""
        with self._service.store.read() as session:
            row = counter.head(session, vault) or counter.known_head(session, SYSTEM)
        opening = Opening(row.id, self._audit_key(row))
        entry = self._entry(_who(principal, row), act, "refused", reason=reason)
        await self._service.receipts.write(opening.first(entry))

    def vaults(self, principal: Principal) -> list[str]:
        """The vaults that hold a grant for this client, in a fixed order."""
        if principal.owner:
            return [principal.owner.vault]
        grantee = self._service.key_service.handle("party", principal.party)
        with self._service.store.read() as session:
            return sorted(session.exec(select(tables.Grant.vault).where(tables.Grant.grantee == grantee)).all())

    async def _hold(self, principal: Principal, vault: str, act: Act) -> Held:
        key = (principal.reader, vault)
        held = self.held.get(key)
        if held is not None:
            return held
        async with self._single_flight(key):  # those who wait find the view that the first one opened
            held = self.held.get(key)
            if held is None:
                opener = self._open_owner if principal.owner else self._open_grant
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
        opening, entry = await self._opening(principal, vault, act)
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
        opening, entry = await self._opening(principal, vault, act)
        try:
            reader, consents = await asyncio.to_thread(self._unseal, principal, row, opening.id)
        except Refused as error:
            if self._grant(principal, vault)[1] != version:
                raise Stale("the grant was replaced") from None
            await self.refuse(principal, vault, act, str(error))
            raise NotFound from None
        view = await asyncio.to_thread(views.open_view, self._service.store, vault, reader, self._service.indexer)
        # The version that was read together with the grant: one that came since must not count for this view.
        return _held(principal, view, version, opening, entry | {"consents": consents})

    def _unseal(self, principal: Principal, row: tables.Grant, opening: bytes) -> tuple[Reader, list[str]]:
        """Through the key service, which verifies the caller's own token."""
        caller, now = principal.as_client(), self._service.clock()
        opened = grant.open_grant(row, self._service.key_service, caller.ticket, opening, now)
        party = caller.client.party
        reader = opened.reader(party, principal.purpose, now, self._service.table)
        return reader, opened.deciding(party, principal.purpose, now)

    async def _opening(self, principal: Principal, vault: str, act: Act) -> tuple[Opening, dict[str, Any]]:
        """A durable `opened` receipt: before the key service is asked."""
        with self._service.store.read() as session:
            row = counter.known_head(session, vault)
        opening, who = Opening(vault, self._audit_key(row)), _who(principal, row)
        await self._service.receipts.write(opening.first(self._entry(who, act, "opened")))
        return opening, who

    def _audit_key(self, row: tables.Vault) -> PublicKey:
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

    def _entry(self, who: dict[str, Any], act: Act, kind: str, **more: Any) -> dict[str, Any]:
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


def _try(ask: Callable[[View], Answer], view: View) -> tuple[Answer | None, FhirError | None]:
    """An answer or the error that is one: a refusal or an empty hand is receipted like everything else."""
    try:
        return ask(view), None
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
