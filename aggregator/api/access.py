"""From a caller and a vault to an answer with its receipt. The one way to a view: no route decides about access.

`opened` is durable before the key service opens a grant; `answered` is durable before the answer leaves, on condition
that grant version and log position are still the view's. If they are not, the view is opened again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import select

from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.audit.receipts import SYSTEM, Condition, Opening
from aggregator.consent import grant
from aggregator.consent.decide import openable, parse
from aggregator.errors import Refused, SignInFailed, Stale
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import FhirError, NotFound
from aggregator.vault import tables, truth
from aggregator.vault import view as views
from aggregator.vault.seal import PublicKey
from aggregator.vault.view import Reader, View

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Act:
    """What is done, for the receipt: FHIR's interaction code, the resource type, and the query as it came."""

    interaction: str
    resource_type: str
    query: str = ""


@dataclass(slots=True)
class Held:
    """An open view with its receipts. `consents`: ids of those that open something to this caller."""

    view: View
    opening: Opening
    condition: Condition
    entry: dict[str, Any]
    expires: float
    consents: Sequence[str] = ()
    used: float = field(default_factory=time.monotonic)


class Access:
    """Holds open views, within their bounds, and answers through them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def answer(self, principal: Principal, vault: str, act: Act, ask: Callable[[View], Answer]) -> Answer:
        """What `ask` makes of the caller's view, its receipt durable. Raises NotFound, Stale and ask's errors."""
        for _ in range(_TRIES):
            held = await self._hold(principal, vault, act)
            answer, error = _try(ask, held.view)
            entry = self._entry(held.entry, act, "answered", shown=answer.shown if answer else 0)
            try:
                await self._service.receipts.write(held.opening.next(entry, held.condition))
            except Stale:
                self._drop(principal.reader, vault)
                continue
            if answer is None:
                raise error or NotFound
            return answer
        raise Stale("the record keeps changing; try again")

    async def refuse(self, principal: Principal, vault: str, act: Act, reason: str) -> None:
        """Receipt a refusal in the vault's chain, or in the system's where there is no such vault: equal in work."""
        with self._service.store.read() as session:
            row = session.get(tables.Vault, vault) or session.get_one(tables.Vault, SYSTEM)
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

    def close(self) -> None:
        """Close every view."""
        while self._held:
            self._held.popitem()[1].view.close()

    async def _hold(self, principal: Principal, vault: str, act: Act) -> Held:
        key = (principal.reader, vault)
        held = self._fresh(key)
        if held is None:
            async with self._locks[key]:  # single flight: those who wait find the view that the first one opened
                held = self._fresh(key) or await self._open(principal, vault, act)
                self._keep(key, held)
        held.used = time.monotonic()
        return held

    def _fresh(self, key: tuple[str, str]) -> Held | None:
        held = self._held.get(key)
        if held is None:
            return None
        now = self._service.clock()
        idle = time.monotonic() - held.used > self._service.config.view.idle_minutes * 60
        ended = held.view.until is not None and now >= held.view.until
        if idle or ended or now.timestamp() >= held.expires:
            self._drop(*key)
            return None
        return held

    def _keep(self, key: tuple[str, str], held: Held) -> None:
        self._held[key] = held
        self._held.move_to_end(key)
        while len(self._held) > self._service.config.view.most:
            self._held.popitem(last=False)[1].view.close()

    def _drop(self, reader: str, vault: str) -> None:
        held = self._held.pop((reader, vault), None)
        if held is not None:
            held.view.close()

    async def _open(self, principal: Principal, vault: str, act: Act) -> Held:
        if principal.owner:
            if principal.owner.vault != vault:
                await self.refuse(principal, vault, act, "not the owner")
                raise NotFound
            return await self._open_owner(principal, vault)
        row = self._grant(principal, vault)
        if row is None:
            await self.refuse(principal, vault, act, "no consent")
            raise NotFound
        return await self._open_grant(principal, row, act)

    async def _open_owner(self, principal: Principal, vault: str) -> Held:
        owner = principal.as_owner()
        reader = views.owner(owner.root, owner.sections, owner.patient)
        opening, entry = await self._opening(principal, vault)
        view = await asyncio.to_thread(
            views.open_view, self._service.store, vault, reader, self._service.indexer, owner.root
        )
        return _held(principal, view, opening, entry, ())

    async def _open_grant(self, principal: Principal, row: tables.Grant, act: Act) -> Held:
        opening, entry = await self._opening(principal, row.vault)
        try:
            reader, consents = await asyncio.to_thread(self._unseal, principal, row)
            view = await asyncio.to_thread(
                views.open_view, self._service.store, row.vault, reader, self._service.indexer
            )
        except Refused:
            await self.refuse(principal, row.vault, act, "the grant has ended")
            raise NotFound from None
        return _held(principal, view, opening, entry, consents)

    def _unseal(self, principal: Principal, row: tables.Grant) -> tuple[Reader, list[str]]:
        """Through the key service, which verifies the caller's own token."""
        if principal.client is None:
            raise SignInFailed("the token is not valid")
        now, party = self._service.clock(), principal.as_party()
        opened = grant.open_grant(row, self._service.key_service, principal.client.ticket, now)
        sections = frozenset(opened.seeds)
        consents = [one["id"] for one in opened.consents if openable([parse(one)], party, sections)]
        return opened.reader(party, principal.purpose, now, self._service.table), consents

    async def _opening(self, principal: Principal, vault: str) -> tuple[Opening, dict[str, Any]]:
        with self._service.store.read() as session:
            row = session.get_one(tables.Vault, vault)
        opening, who = Opening(vault, self._audit_key(row)), _who(principal, row)
        await self._service.receipts.write(opening.first(self._entry(who, Act("operation", ""), "opened")))
        return opening, who

    def _audit_key(self, row: tables.Vault) -> PublicKey:
        """What receipts are sealed to: of a vault as its root signed it, for the system from the key service itself."""
        if row.id == SYSTEM:
            return self._service.key_service.system_audit().public()
        return truth.audit_key(row, self._service.key_service.verification_key(row.id))

    def _grant(self, principal: Principal, vault: str) -> tables.Grant | None:
        grantee = self._service.key_service.handle("party", principal.party)
        with self._service.store.read() as session:
            return session.exec(
                select(tables.Grant).where(tables.Grant.vault == vault, tables.Grant.grantee == grantee)
            ).first()

    def _entry(self, who: dict[str, Any], act: Act, kind: str, **more: Any) -> dict[str, Any]:
        stated = {"kind": kind, "at": _recorded(self._service.clock()), "interaction": act.interaction}
        return who | stated | {"type": act.resource_type, "query": act.query} | more


def _try(ask: Callable[[View], Answer], view: View) -> tuple[Answer | None, FhirError | None]:
    """An answer or the error that is one: a refusal or an empty hand is receipted like everything else."""
    try:
        return ask(view), None
    except FhirError as error:
        return None, error


def _held(principal: Principal, view: View, opening: Opening, who: dict[str, Any], consents: Sequence[str]) -> Held:
    condition = Condition(view.grant_version, view.log_position)
    entry = who | {"grant_version": view.grant_version, "log_position": view.log_position, "consents": list(consents)}
    return Held(view, opening, condition, entry, principal.expires, consents)


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
