"""/app: what a patient does beside FHIR: connect sources and see how fresh they are, what stands aside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter
from sqlmodel import col, select
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aggregator.api import bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.json_answer import json_answer
from aggregator.api.service import Service
from aggregator.audit import chain_file, keys, remembered
from aggregator.errors import CallerError, RolledBack, Tampered
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import NotFound
from aggregator.fhir.read import read
from aggregator.sync import quarantine
from aggregator.sync.registry import Source
from aggregator.sync.tables import Connection
from aggregator.sync.verification import Level, Method, open_facts
from aggregator.vault.view import View
from fhir_profiles.text import loads

_LIMIT = 64 * 1024
_WORDS = {
    "fresh": ("Die Daten sind aktuell.", "The data are up to date."),
    "late": (
        "Die Verbindung klappte nicht; wir versuchen es von selbst wieder.",
        "The connection did not work; we will try again by ourselves.",
    ),
    "broken": (
        "Hier stimmt etwas nicht. Sie müssen nichts tun; der Betreiber dieses Dienstes ist zuständig.",
        "Something is wrong here. You need not do anything; whoever runs this service will mend it.",
    ),
    "sign-in": ("Bitte melden Sie sich bei der Quelle neu an.", "Please sign in at the source again."),
}
"""Status -> what it means, in German and English."""
_START = {
    "de": "Ihre Akte ist noch leer. Verbinden Sie zuerst Ihre Quellen: Klinik, Praxen, Labor, Krankenkasse.",
    "en": "Your record is still empty. Connect your sources first: hospital, practices, laboratory, insurer.",
}
"""What leads whoever begins, or begins anew, to the sources."""
_METHODS = {
    Method.ACTIVATION_CODE: ("mit einem Aktivierungscode", "by an activation code"),
    Method.OPENID: ("über einen Anmeldedienst", "by a sign-in provider"),
    Method.IN_PERSON: ("persönlich", "in person"),
}
_LEVELS = {
    Level.LOW: ("niedrig", "low"),
    Level.SUBSTANTIAL: ("substanziell", "substantial"),
    Level.HIGH: ("hoch", "high"),
}
_VERIFIED = (
    "Sie wurden am {day} {how} identifiziert (Vertrauensniveau {level}).",
    "Your identity was verified {how} on {day} (level of assurance: {level}).",
)
_TOO_LOW = (
    " Diese Quelle verlangt jetzt das Niveau {asked} und liefert nichts mehr; bitten Sie die Praxis um einen neuen"
    " Aktivierungscode.",
    " This source now asks for level {asked} and delivers nothing more; ask the practice for a new activation code.",
)


class AppRoutes:
    """The routes, on one installation; for owners alone."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._service = service
        self._callers = callers
        self._access = access

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter(prefix="/app")
        add: Callable[..., Any] = router.add_api_route
        add("/sources", self.sources, methods=["GET"])
        add("/connections", self.connections, methods=["GET"])
        add("/connections", self.connect, methods=["POST"])
        add("/connections/{connection}", self.disconnect, methods=["DELETE"])
        add("/connections/{connection}/again", self.again, methods=["POST"])
        add("/activations", self.activate, methods=["POST"])
        add("/quarantine", self.quarantine, methods=["GET"])
        add("/audit-head", self.audit_head, methods=["GET"])
        add("/audit-chain", self.audit_chain, methods=["GET"])
        add("/records", self.records, methods=["GET"])
        return router

    async def sources(self, request: Request) -> Response:
        """What can be connected, and what each needs of the patient; `start`: nothing is connected yet."""
        owner = self._callers.of(request).as_owner()
        found = [
            {
                "source": source.authority,
                "title": source.title,
                "by": "activation code" if source.is_feed else "account",
                "account": sorted(source.spec.account),
            }
            for source in self._service.registry
        ]
        with self._service.store.read() as session:
            open_ones = select(Connection).where(Connection.vault == owner.vault, col(Connection.ended).is_(False))
            start = session.exec(open_ones).first() is None
        return json_answer({"sources": found, "start": start})

    async def connections(self, request: Request) -> Response:
        """The owner's connections and how fresh each is, in words."""
        owner = self._callers.of(request).as_owner()
        with self._service.store.read() as session:
            rows = session.exec(select(Connection).where(Connection.vault == owner.vault).order_by(Connection.id)).all()
        told = [self._told(row) for row in rows if not row.ended]
        return json_answer({"connections": told} if told else {"connections": told, "in_words": _START})

    async def connect(self, request: Request) -> Response:
        """{source, account}: connect an account at a source."""
        owner = self._callers.of(request).as_owner()
        made = await bodies.json(request, _LIMIT)
        (source,) = bodies.strings(made, "source")
        account = made.get("account", {})
        if not isinstance(account, dict):
            raise CallerError("account: an object is needed")
        if self._service.registry.find(source) is None:
            raise CallerError("there is no such source; GET /app/sources lists those there are")
        signer = await asyncio.to_thread(self._service.signing.signer, owner)
        connection = await asyncio.to_thread(self._service.connections.connect, signer, source, account)
        return json_answer({"id": connection}, 201)

    async def disconnect(self, request: Request, connection: str) -> Response:
        """End a connection; what it brought stays."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._service.connections.end, owner.vault, connection, owner.root)
        return Response(status_code=204)

    async def again(self, request: Request, connection: str) -> Response:
        """Have the next tick pull this connection from the beginning: what stands aside is tried once more."""
        owner = self._callers.of(request).as_owner()
        await asyncio.to_thread(self._service.connections.again, owner.vault, connection, owner.root)
        return Response(status_code=202)

    async def activate(self, request: Request) -> Response:
        """{code}: redeem a practice's activation code."""
        owner = self._callers.of(request).as_owner()
        (code,) = bodies.strings(await bodies.json(request, _LIMIT), "code")
        signer = await asyncio.to_thread(self._service.signing.signer, owner)
        return json_answer({"id": await asyncio.to_thread(self._service.connections.redeem, signer, code)}, 201)

    async def records(self, request: Request) -> Response:
        """The records that this person may read: their own, and those of others in which a Consent lets them.

        `name` where the Consent opens `identity`. Each one is opened for this, and says so in its receipts.
        """
        principal = self._callers.of(request)
        owner = principal.as_owner()
        told: list[dict[str, Any]] = []
        for vault in [owner.vault, *self._access.cared_for(owner)]:
            with suppress(NotFound, Tampered, RolledBack):  # ended meanwhile, or damaged: the others are told
                told.append(await self._record(principal, vault) | {"own": vault == owner.vault})
        return json_answer({"records": told})

    async def _record(self, principal: Principal, vault: str) -> dict[str, Any]:
        def ask(view: View) -> Answer:
            return Answer(read(view, "Patient", f"{vault}.{view.patient}").body, 1)

        patient = loads((await self._access.answer(principal, vault, Act("read", "Patient"), ask)).body)
        told = {"vault": vault, "patient": patient["id"]}
        return told | ({"name": patient["name"]} if "name" in patient else {})

    async def quarantine(self, request: Request) -> Response:
        """What could not be taken, with reason and payload: it opens with the patient's key alone."""
        owner = self._callers.of(request).as_owner()
        unsorted = partial(owner.seed, "unsorted")
        items = await asyncio.to_thread(quarantine.opened, self._service.store, owner.vault, unsorted)
        return json_answer({"items": items})

    async def audit_head(self, request: Request) -> Response:
        """The newest signed head of the owner's receipts, for the app to keep, and as a line for paper."""
        owner = self._callers.of(request).as_owner()
        with self._service.store.read() as session:
            head = remembered.newest(session, owner.vault)
            if head is None:
                raise CallerError("there is no receipt yet: nobody has read this record")
            told = remembered.as_json(head, keys.signer(session, head))
        return json_answer(told | {"line": remembered.as_line(head.vault, head.position, head.head)})

    async def audit_chain(self, request: Request) -> Response:
        """The owner's receipts, sealed as they lie there, with all their signed heads: to be verified elsewhere."""
        owner = self._callers.of(request).as_owner()
        key = self._service.key_service.audit_verification_key()
        return StreamingResponse(self._chain(owner.vault, key), media_type="application/x-ndjson")

    def _chain(self, vault: str, key: bytes) -> Iterator[bytes]:
        with self._service.store.read() as session:
            yield from chain_file.lines(session, vault, key)

    def _told(self, row: Connection) -> dict[str, Any]:
        authority = self._service.worker.settings(row)["authority"]
        source = self._service.registry.find(authority)  # none: the operator has taken it out of the settings
        german, english = _WORDS[row.status]
        return {
            "id": row.id,
            "source": authority,
            "title": source.title if source else authority,
            "status": row.status,
            "in_words": {"de": german, "en": english},
            "error": row.error,
            "last_success": _time(row.last_success),
            "next": _time(row.next_at) if not row.is_feed else None,
            "verification": self._verification(row, source) if row.is_feed else None,
        }

    def _verification(self, row: Connection, source: Source | None) -> dict[str, Any] | None:
        """How the owner was identified, at best, for a feed."""
        facts = open_facts(self._service.worker_keys, row.vault, row.id, row.verification)
        if not facts:
            return None
        best = max(facts, key=lambda fact: (fact.level.rank, fact.at))
        enough = source is None or best.level.rank >= source.identity_level.rank
        words = dict[str, str]()
        for at, language in enumerate(("de", "en")):
            text = _VERIFIED[at] + ("" if enough else _TOO_LOW[at])
            asked = _LEVELS[source.identity_level][at] if source else ""
            day = f"{best.at:%d.%m.%Y}" if language == "de" else f"{best.at:%Y-%m-%d}"
            words[language] = text.format(
                how=_METHODS[best.method][at], level=_LEVELS[best.level][at], day=day, asked=asked
            )
        told = {"method": best.method, "level": best.level, "by": best.by, "at": best.at.isoformat(timespec="seconds")}
        return told | {"enough": enough, "in_words": words}


def _time(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
