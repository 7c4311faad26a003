"""/fhir: metadata, read, search, Patient/$everything; create and update of Consent. No route decides about access."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aggregator import __version__
from aggregator.api import bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.errors import FHIR_JSON
from aggregator.api.owner_views import SYNTHESISED
from aggregator.api.pages import Pages
from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.fhir.bundle import Answer, empty
from aggregator.fhir.capability import EVERYTHING, Served, capability
from aggregator.fhir.everything import everything
from aggregator.fhir.outcome import BadQuery, NotFound, TooCostly
from aggregator.fhir.page import PAGE, Links, Pairs
from aggregator.fhir.read import read
from aggregator.fhir.search import search
from aggregator.vault.view import View
from fhir_profiles.structure import RESOURCES

_NOT_STORED = frozenset({"Parameters", "OperationOutcome", "CapabilityStatement"})
_TYPES = frozenset(RESOURCES) - _NOT_STORED
_BUILT = datetime(2026, 11, 21, tzinfo=UTC)
_PATIENT_PARAMETERS = ("patient", "subject", "_id")


class FhirRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._service = service
        self._callers = callers
        self._access = access
        self._base = f"{service.base_url}/fhir"
        self._pages = Pages(service.key_service, self._base)
        self._capability = capability(
            _served(), base_url=self._base, software="Patient record aggregator", version=__version__, date=_BUILT
        )

    def routes(self) -> list[Route]:
        """In this order: a literal path stands before one with a parameter.

        Plain routes, which get the request as it is: nothing in a FHIR request is a dependency or is validated by
        FastAPI, whose machinery for that took a third of a search's time.
        """
        return [
            Route("/fhir/metadata", self.metadata, methods=["GET"]),
            Route("/fhir/.well-known/smart-configuration", self.smart_configuration, methods=["GET"]),
            Route("/fhir/Consent", self.create_consent, methods=["POST"]),
            Route("/fhir/Consent/{whole_id}", self.update_consent, methods=["PUT"]),
            Route("/fhir/Patient/{whole_id}/$everything", self.everything, methods=["GET"]),
            Route("/fhir/{resource_type}/_search", self.search_form, methods=["POST"]),
            Route("/fhir/{resource_type}/{whole_id}", self.read, methods=["GET"]),
            Route("/fhir/Patient/{whole_id}/{resource_type}", self.search_compartment, methods=["GET"]),
            Route("/fhir/{resource_type}", self.search, methods=["GET"]),
        ]

    async def metadata(self, _: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#capabilities"""
        return _fhir(self._capability)

    async def smart_configuration(self, _: Request) -> Response:
        """https://hl7.org/fhir/smart-app-launch/conformance.html"""
        base = self._service.base_url
        told = {
            "token_endpoint": f"{base}/auth/token",
            "revocation_endpoint": f"{base}/auth/revoke",
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/*.rs"],
            "capabilities": ["client-confidential-asymmetric", "permission-v2"],
        }
        return Response(orjson.dumps(told), media_type="application/json")

    async def read(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#read"""
        resource_type, whole_id = _path(request, "resource_type", "whole_id")
        principal = self._principal(request, resource_type, "r")
        headers: dict[str, str] = {}

        def ask(view: View) -> Answer:
            record = read(self._view(principal, view, resource_type), resource_type, whole_id)
            headers["ETag"] = f'W/"{record.version}"'
            headers["Last-Modified"] = _http_date(record.updated)
            return Answer(record.body, 1)

        act = Act("read", resource_type, f"{resource_type}/{whole_id}")
        answer = await self._access.answer(principal, _vault(whole_id), act, ask)
        return _fhir(answer.body, headers)

    async def everything(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/patient-operation-everything.html"""
        (whole_id,) = _path(request, "whole_id")
        principal = self._principal(request, "Patient", "r")
        principal.require("*", "s")
        pairs, strict = _pairs(request), _strict(request)
        act = Act("operation", "", f"Patient/{whole_id}/$everything")
        links = self._pages.links(principal.reader, _vault(whole_id))

        def ask(view: View) -> Answer:
            return everything(view, whole_id, pairs, links, strict=strict)

        return _fhir((await self._access.answer(principal, _vault(whole_id), act, ask)).body)

    async def search(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#search"""
        return await self._search(request, _pairs(request))

    async def search_form(self, request: Request) -> Response:
        """The same by POST: nothing of the query stands in a URL that somebody logs."""
        form = await bodies.form(request, self._service.config.http.max_body_bytes)
        return await self._search(request, [*_pairs(request), *form])

    async def search_compartment(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#vsearch"""
        (whole_id,) = _path(request, "whole_id")
        return await self._search(request, [("patient", whole_id), *_pairs(request)])

    async def create_consent(self, request: Request) -> Response:
        """An owner signs a new Consent: https://hl7.org/fhir/R4/http.html#create"""
        return await self._sign(request, None)

    async def update_consent(self, request: Request) -> Response:
        """An owner signs a new version of a Consent; `status` inactive revokes it."""
        (whole_id,) = _path(request, "whole_id")
        return await self._sign(request, whole_id)

    async def _sign(self, request: Request, whole_id: str | None) -> Response:
        principal = self._callers.of(request)
        owner = principal.as_owner()
        consent = await bodies.resource(request, self._service.config.http.max_body_bytes)
        if whole_id is not None and (_vault(whole_id) != owner.vault or consent.get("id") not in (None, whole_id)):
            raise NotFound
        local = whole_id.partition(".")[2] if whole_id else None
        body, created = self._service.signing.save_consent(owner, consent, local)
        made = orjson.loads(body)
        headers = {
            "Location": f"{self._base}/Consent/{made['id']}/_history/{made['meta']['versionId']}",
            "ETag": f'W/"{made["meta"]["versionId"]}"',
        }
        act = Act("create" if created else "update", "Consent", f"Consent/{made['id']}")
        await self._access.answer(principal, owner.vault, act, lambda _: Answer(body, 1))
        return _fhir(body, headers, 201 if created else 200)

    async def _search(self, request: Request, pairs: Pairs) -> Response:
        """Over the one vault that is named, else over all that are open to the caller, one after the other."""
        (resource_type,) = _path(request, "resource_type")
        principal, strict = self._principal(request, resource_type, "s"), _strict(request)
        vaults = self._named(principal, pairs)
        act = Act("search-type", resource_type, "&".join(f"{name}={value}" for name, value in pairs))
        if not vaults:
            return _fhir(empty(f"{self._base}/{resource_type}"))
        first, pairs = self._place(principal, vaults, pairs)
        plain = [pair for pair in pairs if pair[0] != PAGE]
        for number in range(first, len(vaults)):
            beyond = self._beyond(principal, vaults[number + 1 :], resource_type, plain)
            links = self._pages.links(principal.reader, vaults[number], beyond)
            ask = self._asking(principal, resource_type, pairs if number == first else plain, links, strict)
            answer = await self._access.answer(principal, vaults[number], act, ask)
            if answer.shown or beyond is None:
                break
        return _fhir(answer.body)

    def _asking(
        self, principal: Principal, resource_type: str, pairs: Pairs, links: Links, strict: bool
    ) -> Callable[[View], Answer]:
        def ask(view: View) -> Answer:
            seen = self._view(principal, view, resource_type)
            return search(seen, resource_type, pairs, links, strict=strict)

        return ask

    def _place(self, principal: Principal, vaults: list[str], pairs: Pairs) -> tuple[int, Pairs]:
        """In which of the vaults a page begins, and the pairs without a link that only says so."""
        token = next((value for name, value in pairs if name == PAGE), None)
        if token is None:
            return 0, pairs
        try:
            vault, place = self._pages.open(principal.reader, token)
            number = vaults.index(vault)
        except ValueError:
            raise BadQuery(PAGE, "not a page link of this service") from None
        return number, pairs if place else [pair for pair in pairs if pair[0] != PAGE]

    def _beyond(self, principal: Principal, rest: list[str], resource_type: str, plain: Pairs) -> str | None:
        if not rest:
            return None
        query = urlencode([*plain, (PAGE, self._pages.seal(principal.reader, rest[0]))])
        return f"{self._base}/{resource_type}?{query}"

    def _named(self, principal: Principal, pairs: Pairs) -> list[str]:
        """The vaults that a search is about: the one it names, else those that are open to the caller."""
        named = {
            _vault(value.removeprefix("Patient/"))
            for name, given in pairs
            if name in _PATIENT_PARAMETERS
            for value in given.split(",")
        }
        if len(named) > 1:
            raise BadQuery("patient", "name one patient")
        vaults = sorted(named) or self._access.vaults(principal)
        most = self._service.config.view.vaults_per_search
        if len(vaults) > most:
            raise TooCostly(most)
        return vaults

    def _principal(self, request: Request, resource_type: str, letter: str) -> Principal:
        principal = self._callers.of(request)
        if resource_type not in _TYPES:
            raise NotFound
        principal.require(resource_type, letter)
        return principal

    def _view(self, principal: Principal, view: View, resource_type: str) -> View:
        """The caller's view; for an owner's receipts and origins the one that is made of them."""
        make = SYNTHESISED.get(resource_type)
        return make(self._service, principal.owner, view) if make and principal.owner else view


def _served() -> list[Served]:
    """What the routes above do, type by type."""
    special = {"Consent": ("create", "update")}
    operations = {"Patient": (EVERYTHING,)}
    return [
        Served(
            resource_type=name,
            interactions=("read", "search-type", *special.get(name, ())),
            operations=operations.get(name, ()),
        )
        for name in sorted(_TYPES)
    ]


def _path(request: Request, *names: str) -> tuple[str, ...]:
    return tuple(request.path_params[name] for name in names)


def _vault(whole_id: str) -> str:
    return whole_id.partition(".")[0]


def _pairs(request: Request) -> list[tuple[str, str]]:
    try:
        return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise CallerError("the query has too many parameters") from None


def _strict(request: Request) -> bool:
    return "handling=strict" in request.headers.get("prefer", "")


def _http_date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def _fhir(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    return Response(body, status, headers=headers, media_type=FHIR_JSON)
