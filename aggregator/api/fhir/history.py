"""history and vread. https://hl7.org/fhir/R4/http.html#history, https://hl7.org/fhir/R4/http.html#vread

The owner's is all there was, from the vault's log; of a type and of the whole record it is the owner's alone. Everybody
else's is that of one resource, and holds the version in their view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.access import Act
from aggregator.api.caller import Principal
from aggregator.api.fhir.interaction import KIND, ONE, Interaction
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir, http_date, pairs, path, vault_of
from aggregator.api.fhir.writing import own
from aggregator.api.owner_views import SYNTHESISED
from aggregator.fhir import history as past
from aggregator.fhir.bundle import Answer
from aggregator.fhir.history import Past
from aggregator.fhir.outcome import NotFound
from aggregator.fhir.resource_types import TYPES
from aggregator.vault import view as views
from aggregator.vault.view import View

_KEPT = TYPES - SYNTHESISED.keys()
_Pasts = Callable[[View], Iterable[Past]]


async def vread(server: Server, request: Request) -> Response:
    """One version."""
    resource_type, whole_id, version = path(request, "resource_type", "whole_id", "version")
    vault, _, local = whole_id.partition(".")
    act = Act("vread", resource_type, f"{resource_type}/{whole_id}/_history/{version}")
    principal = await server.principal(request, act, "r", vault_of(whole_id))
    pasts = await _pasts(server, principal, vault_of(whole_id))
    seen = list[Past]()

    def ask(view: View) -> Answer:
        seen[:] = [past.vread(pasts(view), resource_type, local if vault == view.vault else "", version)]
        return Answer(seen[0].shown(), 1)

    answer = await server.access.answer(principal, vault_of(whole_id), act, ask)
    told = {"ETag": f'W/"{seen[0].version}"', "Last-Modified": http_date(seen[0].updated)}
    return fhir(answer.body, told)


async def of_one(server: Server, request: Request) -> Response:
    """Of one resource. Raises NotFound where there is no version of it."""
    resource_type, whole_id = path(request, "resource_type", "whole_id")
    one = f"{resource_type}/{whole_id}/_history"
    act = Act("history-instance", resource_type, one)
    principal = await server.principal(request, act, "r", vault_of(whole_id))

    def wanted(found: Past) -> bool:
        return (found.resource_type, found.local) == (resource_type, whole_id.partition(".")[2])

    return await _history(server, request, principal, act, vault_of(whole_id), wanted, must=True)


async def of_type(server: Server, request: Request) -> Response:
    """Of all resources of a type."""
    (resource_type,) = path(request, "resource_type")
    act = Act("history-type", resource_type, f"{resource_type}/_history")
    principal = await own(server, request, act)
    vault = principal.as_owner().vault
    return await _history(server, request, principal, act, vault, lambda found: found.resource_type == resource_type)


async def of_all(server: Server, request: Request) -> Response:
    """Of the whole record."""
    act = Act("history-system", "", "_history")
    principal = await own(server, request, act)
    return await _history(server, request, principal, act, principal.as_owner().vault, lambda _: True)


async def _history(
    server: Server,
    request: Request,
    principal: Principal,
    act: Act,
    vault: str,
    wanted: Callable[[Past], bool],
    *,
    must: bool = False,
) -> Response:
    pasts, links = await _pasts(server, principal, vault), server.pages.links(principal.reader, vault)
    asked, careful = pairs(request), strict(request)

    def ask(view: View) -> Answer:
        found = [one for one in pasts(view) if wanted(one)]
        if must and not found:
            raise NotFound
        return past.history(view, found, act.query, asked, links, strict=careful)

    return fhir((await server.access.answer(principal, vault, act, ask)).body)


async def _pasts(server: Server, principal: Principal, vault: str) -> _Pasts:
    """What a caller may see of the past, as a function of the view."""
    owner = principal.owner
    if owner is None or owner.vault != vault:
        return past.of_view
    reader = views.owner(owner.root, owner.sections, owner.patient)
    state = await asyncio.to_thread(views.read_truth, server.service.store, vault, reader)
    return lambda view: past.of_state(state.at(view.log_position))


INTERACTIONS = (
    Interaction(
        code="vread",
        method="GET",
        path=f"{ONE}/_history/{{version}}",
        endpoint=vread,
        types=_KEPT,
        claims={"readHistory": True},
    ),
    Interaction(code="history-instance", method="GET", path=f"{ONE}/_history", endpoint=of_one, types=_KEPT),
    Interaction(code="history-type", method="GET", path=f"{KIND}/_history", endpoint=of_type, types=_KEPT),
    Interaction(code="history-system", method="GET", path="/_history", endpoint=of_all, types=frozenset()),
)
