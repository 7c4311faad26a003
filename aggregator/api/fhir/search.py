"""search: of a type or of several, by GET and by POST, and in a patient's compartment. https://hl7.org/fhir/R4/http.html#search"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api import bodies
from aggregator.api.access import Act
from aggregator.api.caller import Principal
from aggregator.api.fhir import formats
from aggregator.api.fhir.interaction import KIND, Interaction
from aggregator.api.fhir.preference import strict
from aggregator.api.fhir.server import Server, fhir, pairs, vault_of
from aggregator.errors import RolledBack, Tampered
from aggregator.fhir import include
from aggregator.fhir import search as searching
from aggregator.fhir.bundle import Answer, counted
from aggregator.fhir.outcome import BadQuery, NotFound, TooCostly
from aggregator.fhir.page import PAGE, Links, Pairs
from aggregator.fhir.sort import SORT
from aggregator.vault.view import View

_OF_PATIENT = "/Patient/{whole_id}"
_LONGEST_FORM = 64 * 1024
_PATIENT_PARAMETERS = ("patient", "subject", "_id")


async def search(server: Server, request: Request) -> Response:
    """https://hl7.org/fhir/R4/http.html#search"""
    return await _search(server, request, pairs(request))


async def search_form(server: Server, request: Request) -> Response:
    """The same by POST: nothing of the query stands in a URL that somebody logs."""
    given = [*pairs(request), *await bodies.form(request, _LONGEST_FORM)]
    formats.settle(request, given)
    return await _search(server, request, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A search as it came. made: the view that it runs on instead of the caller's own."""

    act: Act
    resource_type: str
    patient: str
    pairs: Pairs
    strict: bool
    made: View | None = None

    def of(self, links: Links) -> Callable[[View], Answer]:
        """What answers it on a view."""

        def answer(view: View) -> Answer:
            if self.made:
                self.made.image.measure(view.image.meter)
            asked = self.made or view
            return searching.search(
                asked, self.resource_type, self.pairs, links, strict=self.strict, patient=self.patient
            )

        return answer

    def counts(self) -> bool:
        """Is only a number asked for?"""
        return ("_summary", "count") in self.pairs or ("_count", "0") in self.pairs

    def without_page(self) -> _Asked:
        return replace(self, pairs=[pair for pair in self.pairs if pair[0] != PAGE])


async def _search(server: Server, request: Request, given: Pairs) -> Response:
    """Over the one vault that is named, else over all that are open to the caller, one after the other."""
    resource_type, patient = (request.path_params.get(name, "") for name in ("resource_type", "whole_id"))
    text = "&".join([f"{name}={value}" for name, value in given])
    act = Act("search-type" if resource_type else "search-system", resource_type, text)
    named = vault_of(patient) if patient else _named(given, server.base)
    principal = await server.principal(request, act, "s" if resource_type else "", named)
    for kind in searching.types(resource_type, given, server.base) - {resource_type}:
        await server.principal(request, replace(act, resource_type=kind.replace(include.EVERY, "")), "s", named)
    made = await server.synthesised(principal, resource_type, named)
    asked = _Asked(
        act=act, resource_type=resource_type, patient=patient, pairs=given, strict=strict(request), made=made
    )
    if named is None:
        return fhir(await _search_all(server, principal, _open_to(server, principal), asked))
    links = server.pages.links(principal.reader, named)
    return fhir((await server.access.answer(principal, named, act, asked.of(links))).body)


async def _search_all(server: Server, principal: Principal, vaults: list[str], asked: _Asked) -> bytes:
    """One page: of the first record that has one to show; or the count over all."""
    if len(vaults) > 1 and any(name == SORT for name, _ in asked.pairs):
        raise BadQuery(SORT, "orders one record: name a patient")
    first, asked = _place(server, principal, vaults, asked)
    following, total, answer = asked.without_page(), 0, None
    for number, vault in enumerate(vaults[first:], first):
        beyond = _beyond(server, principal, vaults[number + 1 :], following)
        links = server.pages.links(principal.reader, vault, beyond, partial=len(vaults) > 1)
        ask = (asked if number == first else following).of(links)
        try:
            answer = await server.access.answer(principal, vault, asked.act, ask)
        except (NotFound, Tampered, RolledBack):  # ended meanwhile, or damaged: the others are not the worse for it
            continue
        total += answer.total or 0
        if answer.shown:
            return answer.body
    if answer is not None and len(vaults) == 1:
        return answer.body
    # Nothing to show behind the first record does not mean that there was nothing before it.
    url = _url(server, following, following.pairs)
    return counted(url, total if not first or asked.counts() else None)


def _place(server: Server, principal: Principal, vaults: list[str], asked: _Asked) -> tuple[int, _Asked]:
    """In which of the vaults a page begins, and what is asked there."""
    token = next((value for name, value in asked.pairs if name == PAGE), None)
    if token is None:
        return 0, asked
    try:
        vault, place = server.pages.open(principal.reader, token)
    except ValueError:
        raise BadQuery(PAGE, "not a page link of this service") from None
    number = bisect_left(vaults, vault)  # where it is closed meanwhile, the answer goes on with the next one
    return number, asked if place and vault in vaults else asked.without_page()


def _beyond(server: Server, principal: Principal, rest: list[str], following: _Asked) -> str | None:
    if not rest:
        return None
    return _url(server, following, [*following.pairs, (PAGE, server.pages.seal(principal.reader, rest[0]))])


def _url(server: Server, asked: _Asked, given: Pairs) -> str:
    url = f"{server.base}/{asked.resource_type}" if asked.resource_type else server.base
    return f"{url}?{urlencode(given)}" if given else url


def _open_to(server: Server, principal: Principal) -> list[str]:
    """The vaults that a search without a patient runs over. Raises TooCostly."""
    vaults, most = server.access.vaults(principal), server.service.config.view.vaults_per_search
    if len(vaults) > most:
        raise TooCostly(most)
    return vaults


def _named(given: Pairs, base: str) -> str | None:
    """The vault that a search names: by the id, `Type/id` or URL here of a patient, another subject or the resource."""
    values = [value for name, told in given if name in _PATIENT_PARAMETERS for value in told.split(",")]
    named = {vault_of(value.removeprefix(f"{base}/").rpartition("/")[2]) for value in values}
    if len(named) > 1:
        raise BadQuery("patient", "name one patient")
    return next(iter(named), None)


INTERACTIONS = (
    Interaction(code="search-type", method="GET", path=KIND, endpoint=search),
    Interaction(code="search-type", method="GET", path=f"{_OF_PATIENT}{KIND}", endpoint=search),
    Interaction(code="search-type", method="POST", path=f"{KIND}/_search", endpoint=search_form),
    Interaction(code="search-type", method="POST", path=f"{_OF_PATIENT}{KIND}/_search", endpoint=search_form),
    Interaction(code="search-system", method="GET", path="", endpoint=search, types=frozenset()),
    Interaction(code="search-system", method="POST", path="/_search", endpoint=search_form, types=frozenset()),
    Interaction(code="search-system", method="GET", path=f"{_OF_PATIENT}/*", endpoint=search, types=frozenset()),
    Interaction(
        code="search-system", method="POST", path=f"{_OF_PATIENT}/*/_search", endpoint=search_form, types=frozenset()
    ),
)
