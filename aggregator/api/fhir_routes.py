"""/fhir: metadata, read, search, Patient/$everything; create and update of Consent. No route decides about access."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aggregator import __version__
from aggregator.api import binary, bodies
from aggregator.api.access import Access, Act
from aggregator.api.caller import Callers, Principal
from aggregator.api.create_routes import CreateRoutes
from aggregator.api.deposits import NOT_ADDED
from aggregator.api.errors import FHIR_JSON
from aggregator.api.owner_views import SYNTHESISED
from aggregator.api.pages import Pages
from aggregator.api.service import Service
from aggregator.errors import CallerError, Refused, RolledBack, Tampered
from aggregator.fhir.bundle import Answer, counted
from aggregator.fhir.capability import EVERYTHING, Served, capability
from aggregator.fhir.everything import everything
from aggregator.fhir.outcome import BadQuery, NotFound, TooCostly
from aggregator.fhir.page import PAGE, Links, Pairs
from aggregator.fhir.read import read
from aggregator.fhir.search import search
from aggregator.vault import counter
from aggregator.vault.view import View
from fhir_profiles.structure import RESOURCES

_NOT_STORED = frozenset({"Parameters", "OperationOutcome", "CapabilityStatement"})
_TYPES = frozenset(RESOURCES) - _NOT_STORED
_BUILT = datetime(2026, 11, 21, tzinfo=UTC)
_LONGEST_FORM = 64 * 1024
_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"')
_PATIENT_PARAMETERS = ("patient", "subject", "_id")


class _FhirType(Convertor[str]):
    """A resource type's name in a path: begins with a capital, so `metadata` and `_search` are none."""

    regex = "[A-Z][A-Za-z]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("fhir_type", _FhirType())


class FhirRoutes:
    """The routes, on one installation."""

    def __init__(self, service: Service, callers: Callers, access: Access) -> None:
        self._service = service
        self._callers = callers
        self._access = access
        self._base = f"{service.base_url}/fhir"
        self._creating = CreateRoutes(service, callers, access, self._base)
        self._pages = Pages(service.key_service, self._base)
        self._capability = capability(
            _served(), base_url=self._base, software="Patient record aggregator", version=__version__, date=_BUILT
        )

    def routes(self) -> list[Route]:
        """Plain routes: what FastAPI adds (validation, injected parameters) is not used here. The busiest first."""
        kind, one = "/fhir/{resource_type:fhir_type}", "/fhir/{resource_type:fhir_type}/{whole_id}"
        return [
            Route(kind, self.search, methods=["GET"]),
            Route("/fhir/Binary/{whole_id}", self.read_binary, methods=["GET"]),
            Route(one, self.read, methods=["GET"]),
            Route("/fhir/Patient/{whole_id}/$everything", self.everything, methods=["GET"]),
            Route("/fhir/Patient/{whole_id}/{resource_type:fhir_type}", self.search_compartment, methods=["GET"]),
            Route(f"{kind}/_search", self.search_form, methods=["POST"]),
            Route("/fhir/Consent", self.create_consent, methods=["POST"]),
            Route("/fhir/Consent/{whole_id}", self.update_consent, methods=["PUT"]),
            Route(kind, self._creating.create, methods=["POST"]),
            Route("/fhir", self._creating.create_all, methods=["POST"]),
            Route("/fhir/metadata", self.metadata, methods=["GET"]),
            Route("/fhir/.well-known/smart-configuration", self.smart_configuration, methods=["GET"]),
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
            "scopes_supported": ["system/*.rs", "system/*.c"],
            "capabilities": ["client-confidential-asymmetric", "permission-v2"],
        }
        return Response(orjson.dumps(told), media_type="application/json")

    async def read(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#read"""
        resource_type, whole_id = _path(request, "resource_type", "whole_id")
        act = Act("read", resource_type, f"{resource_type}/{whole_id}")
        principal = await self._principal(request, act, "r", _vault(whole_id), _pairs(request))
        made = await self._synthesised(principal, resource_type, _vault(whole_id))
        headers: dict[str, str] = {}

        def ask(view: View) -> Answer:
            record = read(made or view, resource_type, whole_id)
            headers["ETag"] = f'W/"{record.version}"'
            headers["Last-Modified"] = _http_date(record.updated)
            return Answer(record.body, 1)

        answer = await self._access.answer(principal, _vault(whole_id), act, ask)
        return _fhir(answer.body, headers)

    async def read_binary(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/binary.html#rest: content as it is, but for who asks for FHIR."""
        (whole_id,) = _path(request, "whole_id")
        vault, pairs = _vault(whole_id), _pairs(request)
        act = Act("read", "Binary", f"Binary/{whole_id}")
        fhir = binary.wants_fhir(request, next((value for name, value in pairs if name == "_format"), None))
        principal = await self._admitted(request, act, "r", vault)
        headers: dict[str, str] = {}
        seen: list[View] = []

        def ask(view: View) -> Answer:
            record = read(view, "Binary", whole_id)
            headers["ETag"] = f'W/"{record.version}"'
            headers["Last-Modified"] = _http_date(record.updated)
            seen[:] = [view]
            return Answer(record.body, 1)

        answer = await self._access.answer(principal, vault, act, ask)
        content = self._content(seen[0], whole_id, answer.body)
        return await (binary.as_fhir(content, headers) if fhir else binary.as_it_is(content, request, headers))

    def _content(self, view: View, whole_id: str, body: bytes) -> binary.Content:
        """What its answer is made of: the view may be closed while it is sent."""
        version = view.grant_version

        def still() -> bool:
            with self._service.store.read() as session:
                row = counter.head(session, view.vault)
            return row is not None and row.grant_version == version

        found = view.image.blob("Binary", whole_id.partition(".")[2])
        return binary.Content(vault=view.vault, body=body, blob=found, blobs=self._service.blobs, still=still)

    async def everything(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/patient-operation-everything.html"""
        (whole_id,) = _path(request, "whole_id")
        act = Act("operation", "", f"Patient/{whole_id}/$everything")
        pairs, strict = _pairs(request), _strict(request)
        principal = await self._principal(request, act, "rs", _vault(whole_id), pairs)
        links = self._pages.links(principal.reader, _vault(whole_id))

        def ask(view: View) -> Answer:
            return everything(view, whole_id, pairs, links, strict=strict)

        return _fhir((await self._access.answer(principal, _vault(whole_id), act, ask)).body)

    async def search(self, request: Request) -> Response:
        """https://hl7.org/fhir/R4/http.html#search"""
        return await self._search(request, _pairs(request))

    async def search_form(self, request: Request) -> Response:
        """The same by POST: nothing of the query stands in a URL that somebody logs."""
        form = await bodies.form(request, _LONGEST_FORM)
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
        if "if-none-exist" in request.headers:
            raise CallerError("If-None-Exist is not supported")
        consent = await bodies.resource(request, self._service.config.http.max_body_bytes)
        if whole_id is not None and _vault(whole_id) != owner.vault:
            raise NotFound
        if whole_id is not None and consent.get("id") not in (None, whole_id):
            raise CallerError("the Consent's id is not the one in the URL")
        local = whole_id.partition(".")[2] if whole_id else None
        save = self._service.signing.save_consent
        body, created = await asyncio.to_thread(save, owner, consent, local, _if_match(request))
        made = orjson.loads(body)
        headers = {"Location": f"{self._base}/Consent/{made['id']}", "ETag": f'W/"{made["meta"]["versionId"]}"'}
        act = Act("create" if created else "update", "Consent", f"Consent/{made['id']}")
        await self._access.answer(principal, owner.vault, act, lambda _: Answer(body, 1))
        return _fhir(body, headers, 201 if created else 200)

    async def _search(self, request: Request, pairs: Pairs) -> Response:
        """Over the one vault that is named, else over all that are open to the caller, one after the other."""
        (resource_type,) = _path(request, "resource_type")
        act = Act("search-type", resource_type, "&".join(f"{name}={value}" for name, value in pairs))
        named = _named(pairs, self._base)
        principal = await self._principal(request, act, "s", named, pairs)
        asked = _Asked(act, pairs, _strict(request), await self._synthesised(principal, resource_type, named))
        if named is None:
            return _fhir(await self._search_all(principal, self._open_to(principal), asked))
        links = self._pages.links(principal.reader, named)
        return _fhir((await self._access.answer(principal, named, act, asked.of(links))).body)

    async def _search_all(self, principal: Principal, vaults: list[str], asked: _Asked) -> bytes:
        """One page: of the first record that has one to show; or the count over all."""
        first, asked = self._place(principal, vaults, asked)
        following, total, answer = asked.without_page(), 0, None
        for number, vault in enumerate(vaults[first:], first):
            beyond = self._beyond(principal, vaults[number + 1 :], following)
            links = self._pages.links(principal.reader, vault, beyond, partial=len(vaults) > 1)
            ask = (asked if number == first else following).of(links)
            try:
                answer = await self._access.answer(principal, vault, asked.act, ask)
            except (
                NotFound,
                Tampered,
                RolledBack,
            ):  # ended meanwhile, or damaged: the other records are not the worse for it
                continue
            total += answer.total or 0
            if answer.shown:
                return answer.body
        if answer is not None and len(vaults) == 1:
            return answer.body
        # Nothing to show behind the first record does not mean that there was nothing before it.
        query = urlencode(following.pairs)
        url = f"{self._base}/{asked.act.resource_type}{'?' if query else ''}{query}"
        return counted(url, total if not first or asked.counts() else None)

    def _place(self, principal: Principal, vaults: list[str], asked: _Asked) -> tuple[int, _Asked]:
        """In which of the vaults a page begins, and what is asked there."""
        token = next((value for name, value in asked.pairs if name == PAGE), None)
        if token is None:
            return 0, asked
        try:
            vault, place = self._pages.open(principal.reader, token)
        except ValueError:
            raise BadQuery(PAGE, "not a page link of this service") from None
        number = bisect_left(vaults, vault)  # where it is closed meanwhile, the answer goes on with the next one
        return number, asked if place and vault in vaults else asked.without_page()

    def _beyond(self, principal: Principal, rest: list[str], following: _Asked) -> str | None:
        if not rest:
            return None
        query = urlencode([*following.pairs, (PAGE, self._pages.seal(principal.reader, rest[0]))])
        return f"{self._base}/{following.act.resource_type}?{query}"

    def _open_to(self, principal: Principal) -> list[str]:
        """The vaults that a search without a patient runs over. Raises TooCostly."""
        vaults, most = self._access.vaults(principal), self._service.config.view.vaults_per_search
        if len(vaults) > most:
            raise TooCostly(most)
        return vaults

    async def _principal(self, request: Request, act: Act, letters: str, vault: str | None, pairs: Pairs) -> Principal:
        """Who asks, and may its token ask this at all. Only JSON is served."""
        bodies.accepts_json(request, pairs)
        return await self._admitted(request, act, letters, vault)

    async def _admitted(self, request: Request, act: Act, letters: str, vault: str | None) -> Principal:
        """The caller. A refusal about a record is receipted there."""
        principal = self._callers.of(request)
        if act.resource_type and act.resource_type not in _TYPES:
            raise NotFound
        try:
            for letter in letters:
                principal.require(act.resource_type or "*", letter)
        except Refused as error:
            if vault:
                await self._access.refuse(principal, vault, act, str(error))
            raise
        return principal

    async def _synthesised(self, principal: Principal, resource_type: str, vault: str | None) -> View | None:
        """For an owner's receipts and origins the view that is made of them; in a thread, it may be long.

        vault: the one that is asked; of somebody else's a carer reads neither.
        """
        make = SYNTHESISED.get(resource_type)
        if make is None or principal.owner is None or vault not in (None, principal.owner.vault):
            return None
        return await asyncio.to_thread(make, self._service, principal.owner)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search as it came. made: the view that it runs on instead of the caller's own."""

    act: Act
    pairs: Pairs
    strict: bool
    made: View | None

    def of(self, links: Links) -> Callable[[View], Answer]:
        """What answers it on a view."""
        return lambda view: search(self.made or view, self.act.resource_type, self.pairs, links, strict=self.strict)

    def counts(self) -> bool:
        """Is only a number asked for?"""
        return ("_summary", "count") in self.pairs or ("_count", "0") in self.pairs

    def without_page(self) -> _Asked:
        return replace(self, pairs=[pair for pair in self.pairs if pair[0] != PAGE])


def _named(pairs: Pairs, base: str) -> str | None:
    """The vault that a search names, by the patient's id, `Patient/id` or URL here, or by resources' ids."""
    values = [value for name, given in pairs if name in _PATIENT_PARAMETERS for value in given.split(",")]
    named = {_vault(value.removeprefix(f"{base}/").removeprefix("Patient/")) for value in values}
    if len(named) > 1:
        raise BadQuery("patient", "name one patient")
    return next(iter(named), None)


def _if_match(request: Request) -> int | None:
    """The version in `If-Match: W/"3"`. Raises CallerError for another form."""
    given = request.headers.get("if-match")
    if given is None:
        return None
    found = _ETAG.fullmatch(given.strip())
    if found is None:
        raise CallerError('If-Match: W/"version" is expected')
    return int(found[1])


def _served() -> list[Served]:
    """What the routes above do, type by type."""
    special = {"Consent": ("create", "update")}
    operations = {"Patient": (EVERYTHING,)}
    return [
        Served(
            resource_type=name,
            interactions=("read", "search-type", *special.get(name, () if name in NOT_ADDED else ("create",))),
            operations=operations.get(name, ()),
        )
        for name in sorted(_TYPES)
    ]


def _path(request: Request, *names: str) -> tuple[str, ...]:
    return tuple(request.path_params[name] for name in names)


def _vault(whole_id: str) -> str:
    """PostgreSQL has no NUL in a text, and no vault has one in its id: what asks for one is answered as not there."""
    return whole_id.partition(".")[0].replace("\0", "\N{REPLACEMENT CHARACTER}")


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
