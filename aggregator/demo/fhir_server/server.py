"""The store behind its HTTP routes: https://hl7.org/fhir/R4/http.html

    GET    /fhir/metadata, /fhir/.well-known/smart-configuration      open to all
    POST   /auth/token                                                SMART backend services
    POST   /fhir                                                      a Bundle
    GET    /fhir/Type?..., POST /fhir/Type                            search, create
    GET PUT DELETE /fhir/Type/id                                      read, update, delete
    GET    /fhir/Type/_history, /fhir/Type/id/_history[/version]      history, vread

What is loaded before the first request is dated from a fixed day on, so it is the same in every run; whatever is
written later has the time of the server's clock, which is also in the header Date: `meta.lastUpdated` never lies
behind a Date that was given out before.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from aggregator.demo.fhir_server import answers, bundle, search
from aggregator.demo.fhir_server.access import Access, Caller, OAuthError
from aggregator.demo.fhir_server.bundle import Loaded
from aggregator.demo.fhir_server.capability import Offer, capability_statement, smart_configuration
from aggregator.demo.fhir_server.refused import Refused, outcome
from aggregator.demo.fhir_server.store import Store, Version
from connectors.contract import Clock
from fhir_profiles.text import Resource, dumps

_FIRST_DAY = datetime(2024, 1, 1, 8, tzinfo=timezone(timedelta(hours=1)))
_BASE = "/fhir"
_TOKEN = "/auth/token"  # noqa: S105 - a path, not a secret

Handler = Callable[[Request, bytes], Response]


class FhirServer:
    """A FHIR R4 server in memory. `load` and `access` may be used from another thread than the one that serves."""

    def __init__(self, clock: Clock, offer: Offer) -> None:
        self.access = Access(clock)
        self._clock = clock
        self._offer = offer
        self._store = Store()
        self._written = _FIRST_DAY
        self._answering = False
        self._lock = threading.Lock()

    def load(self, resources: Resource, name: str) -> list[Loaded]:
        """Take a Bundle as POST does; one Loaded for each entry, in order.

        name: of the file; the ids of created resources follow from it and the fullUrls. Raises Refused where the whole
        Bundle is refused, and then nothing of it is stored.
        """
        with self._lock:
            return bundle.take(self._store, resources, name, self._now if self._answering else self._fixed)

    def body(self, path: str) -> bytes | None:
        """What it holds now of "Type/id", as its answers show it; None where there is nothing."""
        with self._lock:
            found = self._store.get(*path.split("/", 1))
        return found.body if found else None

    def app(self) -> FastAPI:
        """The ASGI application. Its FHIR base is /fhir."""
        app = FastAPI(openapi_url=None)
        for method, path, handler in self._routes():
            app.add_api_route(path, self._guarded(handler), methods=[method], response_model=None)
        app.add_exception_handler(HTTPException, _no_route)
        return app

    def _routes(self) -> list[tuple[str, str, Handler]]:
        kind, one = f"{_BASE}/{{type}}", f"{_BASE}/{{type}}/{{id}}"
        offered: dict[str, list[tuple[str, str, Handler]]] = {
            "history": [
                ("GET", f"{kind}/_history", self._type_history),
                ("GET", f"{one}/_history", self._history),
                ("GET", f"{one}/_history/{{version}}", self._vread),
            ],
            "writes": [
                ("POST", _BASE, self._post_bundle),
                ("POST", kind, self._create),
                ("PUT", one, self._update),
                ("DELETE", one, self._delete),
            ],
            "backend_services": [
                ("GET", f"{_BASE}/.well-known/smart-configuration", self._smart),
                ("POST", _TOKEN, self._token),
            ],
        }
        more = [route for clause, routes in offered.items() if getattr(self._offer, clause) for route in routes]
        last: list[tuple[str, str, Handler]] = [
            ("GET", f"{_BASE}/metadata", self._metadata),
            ("GET", kind, self._search),
            ("GET", one, self._read),
        ]
        return more + last

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The handler with its refusals as answers, alone on the store, dated."""

        async def guarded(request: Request) -> Response:
            body = await request.body()
            with self._lock:
                self._answering = True
                response = answers.negotiated(request, _refusing(handler, request, body))
                response.headers["Date"] = answers.http_date(self._clock())
            return response

        return guarded

    def _fixed(self) -> datetime:
        return self._stamp(min(self._written + timedelta(seconds=1), self._clock()))

    def _now(self) -> datetime:
        return self._stamp(self._clock())

    def _stamp(self, at: datetime) -> datetime:
        """To the millisecond, as it is printed, and never back."""
        whole = at.replace(microsecond=at.microsecond // 1000 * 1000)
        self._written = max(self._written, whole)
        return self._written

    def _metadata(self, _: Request, __: bytes) -> Response:
        date = _FIRST_DAY.isoformat()
        return answers.answer(dumps(capability_statement(self._offer, self._types(), date)))

    def _smart(self, request: Request, _: bytes) -> Response:
        return JSONResponse(smart_configuration(_root(request) + _TOKEN))

    def _token(self, request: Request, body: bytes) -> Response:
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        token = self.access.token(form, _root(request) + _TOKEN)
        return JSONResponse(token, headers={"Cache-Control": "no-store"})

    def _search(self, request: Request, _: bytes) -> Response:
        caller, kind = self._caller(request), self._type(request)
        query = search.parse(kind, request.query_params.multi_items(), search.search_params(kind))
        page = search.find(self._store, caller, query)
        return answers.answer(answers.searchset(page, _base(request), self._clock()))

    def _read(self, request: Request, _: bytes) -> Response:
        return answers.one(self._readable(request), _base(request))

    def _vread(self, request: Request, _: bytes) -> Response:
        last, number = self._readable(request), request.path_params["version"]
        for version in self._store.versions_of(last.resource_type, last.id):
            if str(version.number) == number:
                return answers.one(version, _base(request))
        raise Refused(404, "there is no such version")

    def _history(self, request: Request, _: bytes) -> Response:
        last = self._readable(request)
        return self._paged(request, self._store.versions_of(last.resource_type, last.id), f"{last.path}/_history")

    def _type_history(self, request: Request, _: bytes) -> Response:
        kind = self._type(request)
        return self._paged(request, self._store.versions(kind), f"{kind}/_history")

    def _paged(self, request: Request, versions: list[Version], path: str) -> Response:
        query = search.parse(self._type(request), request.query_params.multi_items(), {"_since"})
        page = search.history(self._caller(request), query, versions)
        return answers.answer(answers.history_bundle(page, _base(request), path, self._clock()))

    def _post_bundle(self, request: Request, body: bytes) -> Response:
        self._refuse_reader(request)
        resource = answers.parsed(request, body)
        loaded = bundle.take(self._store, resource, _digest(body), self._now)
        return answers.answer(answers.taken(bundle.response_type(resource), loaded, _base(request)))

    def _create(self, request: Request, body: bytes) -> Response:
        kind, condition = request.path_params["type"], request.headers.get("if-none-exist", "")
        return self._write(request, body, {"method": "POST", "url": kind, "ifNoneExist": condition})

    def _update(self, request: Request, body: bytes) -> Response:
        return self._write(request, body, {"method": "PUT", "url": "{type}/{id}".format(**request.path_params)})

    def _delete(self, request: Request, _: bytes) -> Response:
        self._refuse_reader(request)
        asked = {"method": "DELETE", "url": "{type}/{id}".format(**request.path_params)}
        bundle.single(self._store, asked, {}, "", self._now)
        return Response(status_code=204)

    def _write(self, request: Request, body: bytes, asked: Resource) -> Response:
        self._refuse_reader(request)
        loaded = bundle.single(self._store, asked, answers.parsed(request, body), _digest(body), self._now)
        if loaded.version is None:
            raise Refused(500, "the resource was not written")
        return answers.one(loaded.version, _base(request), int(loaded.status[:3]))

    def _types(self) -> frozenset[str]:
        return self._offer.types | self._store.types

    def _caller(self, request: Request) -> Caller:
        return self.access.caller(request.headers.get("authorization", ""))

    def _refuse_reader(self, request: Request) -> None:
        if not self._caller(request).writes:
            raise Refused(403, "this token may read only")

    def _type(self, request: Request) -> str:
        kind = str(request.path_params["type"])
        if kind not in self._types():
            raise Refused(404, "this server has no such resource type")
        return kind

    def _readable(self, request: Request) -> Version:
        """The last version of what the path names. What the caller may not read is as absent as what never was."""
        caller, kind = self._caller(request), self._type(request)
        version = self._store.get(kind, request.path_params["id"])
        if version is None or not caller.may_read(version):
            raise Refused(404, "there is no such resource")
        return version


def _refusing(handler: Handler, request: Request, body: bytes) -> Response:
    try:
        return handler(request, body)
    except Refused as refused:
        headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
        return answers.answer(dumps(refused.outcome), refused.status, headers)
    except OAuthError as error:
        return JSONResponse({"error": error.error, "error_description": error.description}, error.status)


async def _no_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return answers.answer(dumps(outcome(status, "this server does not do that")), status)


def _root(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _base(request: Request) -> str:
    return _root(request) + _BASE


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
