"""From results to HTTP answers: Bundles, headers, JSON or XML.

https://hl7.org/fhir/R4/http.html. Bodies were printed when they were stored and are spliced in; only XML parses them
again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import Request, Response

from aggregator.demo.fhir_server.bundle import Loaded
from aggregator.demo.fhir_server.refused import Refused, outcome
from aggregator.demo.fhir_server.search import Page
from aggregator.demo.fhir_server.store import Version
from fhir_profiles import xml
from fhir_profiles.text import MAX_DEPTH, NotJson, Resource, depth, dumps, loads

JSON = "application/fhir+json"
XML = "application/fhir+xml"
_STATUS = {"POST": "201 Created", "PUT": "200 OK", "DELETE": "204 No Content"}


def http_date(at: datetime) -> str:
    """As the headers Date and Last-Modified have it."""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A FHIR answer; body is JSON."""
    return Response(body, status, headers, f"{JSON}; charset=utf-8")


def one(version: Version, base: str, status: int = 200) -> Response:
    """A single resource. Raises Refused (410) for a deletion."""
    if version.body is None:
        raise Refused(410, "the resource was deleted")
    headers = {"ETag": version.etag, "Last-Modified": http_date(version.updated)}
    if status == 201:
        headers["Location"] = f"{base}/{version.path}/_history/{version.number}"
    return answer(version.body, status, headers)


def negotiated(request: Request, response: Response) -> Response:
    """The answer in the format that was asked for; 406 where FHIR XML cannot carry it."""
    asked = request.query_params.get("_format") or request.headers.get("accept", "")
    if "xml" not in asked or "json" in asked or not response.headers.get("content-type", "").startswith(JSON):
        return response
    try:
        response.body = xml.to_xml(loads(bytes(response.body)))
    except xml.NotXml:
        return answer(dumps(outcome(406, "FHIR XML cannot carry this resource")), 406)
    response.headers["content-type"] = f"{XML}; charset=utf-8"
    response.headers["content-length"] = str(len(response.body))
    return response


def parsed(request: Request, body: bytes) -> Resource:
    """The resource in a request's body. Raises Refused: 400 for what is none, 415 for another format."""
    kind = request.headers.get("content-type", JSON)
    if "json" not in kind and "xml" not in kind:
        raise Refused(415, f"send {JSON} or {XML}")
    try:
        resource = loads(body) if "json" in kind else xml.to_json(body)
    except (NotJson, xml.NotXml):
        raise Refused(400, "the body does not parse") from None
    if not isinstance(resource, dict) or depth(resource) > MAX_DEPTH:
        raise Refused(400, "the body is no resource")
    return resource


def searchset(page: Page, base: str, at: datetime) -> bytes:
    """The Bundle of one page of a search."""
    entries = [{**_entry(version, base), "search": {"mode": "match"}} for version in page.versions]
    return _bundle("searchset", page, f"{base}/{page.query.resource_type}", at, entries)


def history_bundle(page: Page, base: str, path: str, at: datetime) -> bytes:
    """The Bundle of one page of a history; path: of the history, without base."""
    entries = [
        {
            **_entry(version, base),
            "request": {"method": version.method, "url": version.path},
            "response": _response(version, _STATUS[version.method]),
        }
        for version in page.versions
    ]
    return _bundle("history", page, f"{base}/{path}", at, entries)


def taken(kind: str, loaded: list[Loaded], base: str) -> bytes:
    """The Bundle that answers a Bundle."""
    return dumps(
        {"resourceType": "Bundle", "type": kind, "entry": [{"response": _outcome(one, base)} for one in loaded]}
    )


def _outcome(loaded: Loaded, base: str) -> dict[str, Any]:
    if loaded.reason is not None:
        return {"status": loaded.status, "outcome": loaded.reason.outcome}
    if loaded.version is None:
        return {"status": loaded.status}
    location = f"{base}/{loaded.version.path}/_history/{loaded.version.number}"
    return {**_response(loaded.version, loaded.status), "location": location}


def _response(version: Version, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "etag": version.etag,
        "lastModified": version.updated.isoformat(timespec="milliseconds"),
    }


def _entry(version: Version, base: str) -> dict[str, Any]:
    full = {"fullUrl": f"{base}/{version.path}"}
    return full if version.body is None else {**full, "resource": orjson.Fragment(version.body)}


def _bundle(kind: str, page: Page, url: str, at: datetime, entries: list[dict[str, Any]]) -> bytes:
    own = urlencode([*page.query.params, ("_count", str(page.query.count))])
    links = [{"relation": "self", "url": f"{url}?{own}"}]
    if page.next_token is not None:
        again = [("_page", page.next_token), *(("_format", value) for value in page.query.values("_format"))]
        links.append({"relation": "next", "url": f"{url}?{urlencode(again)}"})
    whole: dict[str, Any] = {
        "resourceType": "Bundle",
        "meta": {"lastUpdated": at.isoformat(timespec="milliseconds")},
        "type": kind,
        "total": page.total,
        "link": links,
    }
    return dumps({**whole, "entry": entries} if entries else whole)
