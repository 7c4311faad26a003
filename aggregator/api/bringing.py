"""What an owner brings along, from what was handed over to what was written: cards, and what others' links hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from aggregator.api import bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotFound
from aggregator.fhir.read import read
from aggregator.sharing import brought, health_card, link, received
from aggregator.sharing.brought import Brought
from aggregator.sharing.encrypted_file import FHIR_JSON, HEALTH_CARD
from aggregator.sharing.health_card import Result, Verdict
from aggregator.sharing.link import Link
from aggregator.sharing.received import Received
from aggregator.vault.view import View

_CARD, _LINK = "SMART Health Card", "SMART Health Link"
_UNSIGNED = "whoever made the link says so, and nobody has signed it"


class Bringing:
    """For the owners of one installation."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self._access = access

    async def cards(self, principal: Principal, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        """{verifiableCredential} or {codes}: all of them or none. Raises CallerError, NotValid."""
        found = [await asyncio.to_thread(self._card, text) for text in health_card.texts(told)]
        return await self._take(principal, found)

    async def link(self, principal: Principal, text: str, recipient: str, passcode: str) -> list[dict[str, Any]]:
        """All that somebody's link leads to, or nothing. Raises CallerError, NotValid."""
        there = link.parse(text)
        files = await asyncio.to_thread(received.receive, self._service.web, there, recipient, passcode)
        found = [one for file in files for one in await asyncio.to_thread(self._file, there, file)]
        return await self._take(principal, found)

    def _file(self, there: Link, file: Received) -> list[Brought]:
        if file.media_type == HEALTH_CARD:
            return [self._card(text) for text in health_card.texts(bodies.parsed(file.content))]
        if file.media_type != FHIR_JSON:
            raise CallerError("the link leads to something else than FHIR or SMART Health Cards; nothing was taken")
        verdict = Verdict(result=Result.UNSIGNED, issuer=urlsplit(there.url).netloc, reason=_UNSIGNED)
        entries = received.entries(file.content)
        return [Brought(entries=entries, original=file.content, media_type=FHIR_JSON, name=_LINK, verdict=verdict)]

    def _card(self, text: str) -> Brought:
        card = health_card.read(text)
        verdict = health_card.check(card, self._service.issuers.of(card), self._service.clock())
        original = orjson.dumps({"verifiableCredential": [text]})
        return Brought(entries=card.entries, original=original, media_type=HEALTH_CARD, name=_CARD, verdict=verdict)

    async def _take(self, principal: Principal, found: Sequence[Brought]) -> list[dict[str, Any]]:
        """All of it in one commit, without what was brought before."""
        owner = principal.as_owner()
        documents = {brought.document(owner, one.original): one for one in found}
        new = {local: one for local, one in documents.items() if not await self._is_here(principal, local)}
        written = await asyncio.to_thread(self._write, principal, list(new.values())) if new else {}
        return [
            {
                "result": one.verdict.result,
                "issuer": one.verdict.issuer,
                "reason": one.verdict.reason,
                "document": f"DocumentReference/{owner.vault}.{local}",
                "known": local not in new,
                "resources": written.get(local, []),
            }
            for local, one in documents.items()
        ]

    async def _is_here(self, principal: Principal, local: str) -> bool:
        """Was it brought before? local: of the original."""
        document = f"{principal.as_owner().vault}.{local}"

        def ask(view: View) -> Answer:
            return Answer(read(view, "DocumentReference", document).body, 1)

        act = Act("read", "DocumentReference", document)
        try:
            await self._access.answer(principal, principal.as_owner().vault, act, ask)
        except NotFound:
            return False
        return True

    def _write(self, principal: Principal, found: Sequence[Brought]) -> dict[str, list[str]]:
        """Local id of an original -> the resources that came with it."""
        owner, service = principal.as_owner(), self._service
        birth_date, now = service.signing.person(owner).birth_date, service.clock()
        parts = {brought.document(owner, one.original): brought.changes(owner, one, birth_date, now) for one in found}
        changes = [change for part in parts.values() for change in part]
        act = Act("create", "", ", ".join(f"{one.name} of {one.verdict.issuer}" for one in found))
        receipt = self._access.receipt(principal, owner.vault, act, written=len(changes))
        service.writing.write(owner, changes, receipt)
        return {
            document: [f"{one.resource_type}/{owner.vault}.{one.local}" for one in part if one.local != document]
            for document, part in parts.items()
        }
