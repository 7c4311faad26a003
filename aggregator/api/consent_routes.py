"""Who may see what, as JSON: for owners the list, the dry run and the answers to requests; for providers
a place to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.caller import Callers
from aggregator.api.desk import Desk
from aggregator.api.json_answer import json_answer
from aggregator.consent.facts import FIRST
from aggregator.consent.plain import PURPOSES, REASONS, Words
from aggregator.errors import CallerError
from aggregator.identity import notices
from aggregator.identity.access_requests import Asked
from aggregator.identity.dry_run import Item, Name, Outlook, Told
from aggregator.identity.standing import Edition, Grantee
from fhir_profiles.profiles import SECTIONS

_LIMIT = 64 * 1024


class ConsentRoutes:
    """The routes, on one installation."""

    def __init__(self, callers: Callers, desk: Desk) -> None:
        self._callers = callers
        self._desk = desk

    def router(self) -> APIRouter:
        """FastAPI's router."""
        router = APIRouter()
        add: Callable[..., Any] = router.add_api_route
        add("/auth/access-requests", self.ask, methods=["POST"])
        add("/app/access-requests", self.waiting, methods=["GET"])
        add("/app/access-requests/{request_id}", self.answer, methods=["POST"])
        add("/app/dry-run", self.dry_run, methods=["POST"])
        add("/app/grantees", self.grantees, methods=["GET"])
        add("/app/grants/{party:path}", self.end, methods=["DELETE"])
        add("/app/notices", self.notices, methods=["GET"])
        add("/app/consents", self.consents, methods=["GET"])
        add("/app/consents/{whole_id}/history", self.history, methods=["GET"])
        return router

    async def ask(self, request: Request) -> Response:
        """{patient, sections, purposes, why, days}: a provider asks to be let in; the same answer whoever is asked."""
        principal = self._callers.of(request)
        made = await bodies.json(request, _LIMIT)
        (patient,) = bodies.strings(made, "patient")
        await self._desk.ask(principal, patient, made)
        return json_answer({"status": "asked"}, 202)

    async def waiting(self, request: Request) -> Response:
        """What providers have asked of this owner."""
        principal = self._callers.of(request)
        names, found = self._desk.names(), await self._desk.waiting(principal)
        return json_answer({"requests": [{"name": names[one.party], **_asked(one)} for one in found]})

    async def answer(self, request: Request, request_id: str) -> Response:
        """{answer: "yes", sections?, days?} signs a Consent for all that was asked, or less; {answer: "no"}."""
        principal = self._callers.of(request)
        principal.as_owner()
        made = await bodies.json(request, _LIMIT)
        if made.get("answer") == "no":
            await self._desk.refuse(principal, request_id)
            return Response(status_code=204)
        if made.get("answer") != "yes":
            raise CallerError.at("answer", "yes or no is needed")
        sections, days = made.get("sections"), made.get("days")
        if not (sections is None or isinstance(sections, list)) or not (days is None or type(days) is int):
            raise CallerError("sections: a list, and days: a number, where they are given")
        chosen = None if sections is None else frozenset(map(str, sections))
        return json_answer({"consent": await self._desk.grant(principal, request_id, chosen, days)}, 201)

    async def grantees(self, request: Request) -> Response:
        """Who may see what, since when, until when, by which Consents, and when each last read."""
        found, last = await self._desk.grantees(self._callers.of(request))
        return json_answer({"grantees": [_grantee(one, last.get(one.party.id)) for one in found]})

    async def end(self, request: Request, party: str) -> Response:
        """End all that a grantee may read, at once; needs no fresh unlock."""
        return json_answer({"ended": await self._desk.end(self._callers.of(request), party)})

    async def notices(self, request: Request) -> Response:
        """What the owner is to be told first: what has happened, whose access ends soon, who waits."""
        told = await self._desk.greeting(self._callers.of(request))
        return json_answer({
            "notices": [
                {"kind": one.kind, "at": _time(one.at), **_in_words(notices.WORDS[one.kind])} for one in told.notices
            ],
            "ending": [_grantee(one, None) for one in told.ending],
            "requests": told.requests,
        })  # fmt: skip

    async def consents(self, request: Request) -> Response:
        """Each of the owner's Consents as it is now, in words, the last signed first."""
        found = await self._desk.consents(self._callers.of(request))
        return json_answer({"consents": [{"consent": one.consent, **_edition(one)} for one in found]})

    async def history(self, request: Request, whole_id: str) -> Response:
        """Every version of a Consent in words, newest first, and whom it could open anything to."""
        found = await self._desk.history(self._callers.of(request), whole_id)
        return json_answer({"versions": [_edition(one) for one in found]})

    async def dry_run(self, request: Request) -> Response:
        """{party, purpose?, consent?}: what the party would see; consent: a new one, or a changed one with its id."""
        principal = self._callers.of(request)
        principal.as_owner()
        made = await bodies.json(request, _LIMIT)
        (party,) = bodies.strings(made, "party")
        (purpose,) = bodies.strings({"purpose": "TREAT"} | made, "purpose")
        proposed = bodies.member(made, "consent") if "consent" in made else None
        told = await self._desk.dry_run(principal, party, purpose, proposed)
        return json_answer({
            "party": party,
            "purpose": purpose,
            "now": _outlook(told, told.now),
            "then": _outlook(told, told.then) if told.then else None,
            "gained": _items(told.items, told.gained),
            "lost": _items(told.items, told.lost),
        })  # fmt: skip


def _grantee(one: Grantee, last: datetime | None) -> dict[str, Any]:
    return {
        "party": one.party.id,
        "name": one.name,
        "sections": _sections(one.sections),
        "since": _time(one.since) if one.since > FIRST else None,
        "until": _time(one.until),
        "ends_soon": one.ends_soon,
        "standing": one.standing,
        "consents": one.consents,
        "last_access": _time(last),
    }


def _edition(one: Edition) -> dict[str, Any]:
    return {
        "version": one.version,
        "signed": _time(one.signed),
        "status": one.status,
        "understood": one.said.understood,
        "permits": one.said.permits,
        "in_words": [{"de": german, "en": english} for german, english in one.said.sentences],
        "opened_to": one.opened,
    }


def _sections(names: frozenset[str]) -> list[dict[str, Any]]:
    """In the order in which people read them."""
    return [{"section": name, **_in_words((one.de, one.en))} for name, one in SECTIONS.items() if name in names]


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _asked(one: Asked) -> dict[str, Any]:
    return {
        "id": one.id,
        "party": one.party,
        "at": one.at.isoformat(timespec="seconds"),
        "why": one.wish.why,
        "days": one.wish.days,
        "sections": _sections(one.wish.sections),
        "purposes": [
            {"purpose": code, **_in_words(PURPOSES.get(code, (code, code)))} for code in sorted(one.wish.purposes)
        ],
    }


def _outlook(told: Told, outlook: Outlook) -> dict[str, Any]:
    return {
        "seen": len(outlook.seen),
        "withheld": len(outlook.withheld),
        "sections": [
            {"section": name, **_in_words((SECTIONS[name].de, SECTIONS[name].en)), "seen": seen, "withheld": withheld}
            for name, (seen, withheld) in told.by_section(outlook).items()
        ],
        "reasons": [
            {"reason": reason, **_in_words(REASONS[reason]), "number": number}
            for reason, number in sorted(outlook.reasons().items())
        ],
        "items": _items(told.items, outlook.seen),
    }


def _items(items: Mapping[Name, Item], names: Iterable[Name]) -> list[dict[str, Any]]:
    return [
        {
            "reference": name,
            "section": items[name].section,
            "type": items[name].resource_type,
            "title": items[name].title,
            "when": items[name].when,
        }
        for name in sorted(names)
    ]


def _in_words(words: Words) -> dict[str, Any]:
    return {"in_words": {"de": words[0], "en": words[1]}}
