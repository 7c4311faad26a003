"""What every interaction works with: who asks, what is asked, and how an answer goes out as FHIR.

A `Server` is handed to each endpoint; the functions below it read a request. An endpoint asks for its `principal`
first, so that a token that may not ask at all is refused, with a receipt, before anything else is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.errors import FHIR_JSON
from aggregator.api.headers import header
from aggregator.api.owner_views import SYNTHESISED
from aggregator.api.pages import Pages
from aggregator.api.service import Service
from aggregator.errors import CallerError, Refused
from aggregator.fhir.entries import version
from aggregator.fhir.outcome import NotFound
from aggregator.fhir.resource_types import TYPES
from aggregator.portability.bulk_exports import BulkExports
from aggregator.vault.image import Record
from aggregator.vault.view import View

_PAIRS = "fhir_pairs"
_MOST_FIELDS = 200  # of a query


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The FHIR API of one installation. base: its URL, without a slash at the end; capability: its statement."""

    service: Service
    callers: Callers
    access: Access
    pages: Pages
    exports: BulkExports
    base: str
    capability: bytes

    async def principal(self, request: Request, act: Act, letters: str, vault: str | None) -> Principal:
        """Who asks, and may its token ask this at all. A refusal about a record is receipted there."""
        principal = self.callers.of(request)
        if act.resource_type and act.resource_type not in TYPES:
            raise NotFound
        try:
            for letter in letters:
                principal.require(act.resource_type or "*", letter)
        except Refused as error:
            if vault:
                await self.access.refuse(principal, vault, act, str(error))
            raise
        return principal

    async def synthesised(self, principal: Principal, resource_type: str, vault: str | None) -> View | None:
        """For an owner's receipts and origins the view that is made of them; in a thread, it may be long.

        vault: the one that is asked; of somebody else's a carer reads neither.
        """
        make = SYNTHESISED.get(resource_type)
        if make is None or principal.owner is None or vault not in (None, principal.owner.vault):
            return None
        return await asyncio.to_thread(make, self.service, principal.owner)


def path(request: Request, *names: str) -> tuple[str, ...]:
    """These parts of the path."""
    return tuple(request.path_params[name] for name in names)


def vault_of(whole_id: str) -> str:
    """PostgreSQL has no NUL in a text, and no vault has one in its id: what asks for one is answered as not there."""
    return whole_id.partition(".")[0].replace("\0", "\N{REPLACEMENT CHARACTER}")


def pairs(request: Request) -> list[tuple[str, str]]:
    """The query, percent-decoded, in the order it came; read once. Raises CallerError."""
    known: list[tuple[str, str]] | None = request.scope.get(_PAIRS)
    if known is None:
        fields = request.scope["query_string"].decode("latin-1").split("&")
        if len(fields) > _MOST_FIELDS:
            raise CallerError("the query has too many parameters")
        known = request.scope[_PAIRS] = [_pair(field) for field in fields if field]
    return known


def _pair(field: str) -> tuple[str, str]:
    """As `urllib.parse.parse_qsl` has it, in a fifth of its time: most of a query has nothing to decode."""
    name, _, value = field.partition("=")
    return _decoded(name), _decoded(value)


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="replace")


def if_match(request: Request) -> int | None:
    """The version in `If-Match: W/"3"`, or ANY. Raises CallerError for another form."""
    return version(header(request, b"if-match"))


def versioned(record: Record) -> dict[str, str]:
    """The headers that name a resource's version and its time."""
    return {"ETag": f'W/"{record.version}"', "Last-Modified": http_date(record.updated)}


@lru_cache(1024)
def http_date(milliseconds: int) -> str:
    """As `Last-Modified` has it; of milliseconds since 1970 UTC. Many resources came at one time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def fhir(body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """An answer as FHIR."""
    return Response(body, status, headers=headers, media_type=FHIR_JSON)
