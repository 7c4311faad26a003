"""FHIR R4 over REST as a client sees it: reads, searches and histories page by page, JSON or XML, numbers as written.

https://hl7.org/fhir/R4/http.html
https://hl7.org/fhir/R4/bundle.html
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from connectors import fhir_xml_page
from connectors.contract import NeedsOperator, SourceChanged, Transient
from connectors.http import Answer, Source
from fhir_profiles import text, xml
from fhir_profiles.text import Resource

ABSENT = frozenset({404, 410})
_MAX_PAGES = 5_000
_JSON_TYPES = ("application/fhir+json", "application/json", "application/json+fhir", "text/json")
_XML_TYPES = ("application/fhir+xml", "application/xml", "application/xml+fhir", "text/xml")
_READERS: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(_JSON_TYPES, text.loads),
    **dict.fromkeys(_XML_TYPES, fhir_xml_page.to_json),
}
_WEB_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the server says it can: interactions per resource type, and of the whole system.

    date: the server's clock as it answered, None where it does not tell.
    """

    types: Mapping[str, frozenset[str]]
    system: frozenset[str]
    date: datetime | None

    def offers(self, resource_type: str, interaction: str) -> bool:
        """Whether the server offers this; a type that is listed without interactions is taken to be searchable."""
        offered = self.types.get(resource_type)
        if offered is None:
            return False
        return interaction in offered or (not offered and interaction in ("read", "search-type"))


class FhirServer:
    """Reads, searches and histories at one Source. All raise ConnectorError alone."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def base(self) -> httpx.URL:
        """The service base, with a slash at its end."""
        return self._source.base

    async def capabilities(self) -> Capabilities:
        """The CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html)."""
        answer = await self._source.get("metadata")
        statement = parse(answer)
        if statement.get("resourceType") != "CapabilityStatement":
            raise NeedsOperator("The source is no FHIR R4 server: the operator must check base_url.")
        if not str(statement.get("fhirVersion", "")).startswith("4."):
            raise NeedsOperator("The source speaks another version of FHIR than R4: the operator must check base_url.")
        rest = [part for part in dicts(statement.get("rest")) if part.get("mode") == "server"]
        listed = [resource for part in rest for resource in dicts(part.get("resource"))]
        return Capabilities(
            types={str(resource.get("type")): _interactions(resource) for resource in listed},
            system=frozenset(code for part in rest for code in _interactions(part)),
            date=answer.date,
        )

    async def read(self, resource_type: str, local_id: str) -> Resource | None:
        """One resource; None where the server holds none (404) or holds it no more (410)."""
        answer = await self._source.get(f"{resource_type}/{local_id}", also=ABSENT)
        return None if answer.status in ABSENT else parse(answer)

    async def pages(self, target: str, params: Mapping[str, str], bundle_type: str) -> AsyncIterator[list[Any]]:
        """The entries, as they came, of each page of a searchset or history, along the `next` links.

        An entry may be anything; in XML its resource may be `Unreadable` (connectors/fhir_xml_page.py).

        Raises SourceChanged for what is no such Bundle and for a source that gives the same page or link again.
        """
        following: str | httpx.URL | None = target
        asked: Mapping[str, str] | None = params
        seen: set[bytes] = set()
        while following is not None:
            answer = await self._source.get(following, asked)
            bundle = _bundle(parse(answer), bundle_type)
            entries, following, asked = bundle.get("entry", []), _next(bundle, answer), None
            marks = _marks(entries, following)
            if marks & seen or len(seen) > 2 * _MAX_PAGES:
                raise SourceChanged("The source gives the same page again and again.")
            seen |= marks
            yield entries


def parse(answer: Answer) -> Resource:
    """The resource in an answer, JSON or XML by its content type.

    Raises NeedsOperator for a web page, Transient for an answer that was cut off, SourceChanged for anything else that
    is not FHIR.
    """
    body = answer.body.strip()
    if answer.content_type == "text/html" or body[:14].lower().startswith(_WEB_PAGE):
        raise NeedsOperator(
            "The source answers with a web page instead of FHIR: the operator must check base_url, and whether a "
            "sign-in page stands before the source."
        )
    if not body.endswith((b"}", b"]", b">")):
        raise Transient("The source's answer is empty or was cut off: it is tried again.")
    read = _READERS.get(answer.content_type)
    if read is None:
        raise SourceChanged("The source answers with something other than FHIR.")
    try:
        value = read(body)
    except (text.NotJson, xml.NotXml):
        raise SourceChanged("The source's answer does not parse as FHIR.") from None
    if not isinstance(value, dict) or text.depth(value) > text.MAX_DEPTH:
        raise SourceChanged("The source's answer is no FHIR resource.")
    return value


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects in a list; nothing for anything else: what a source says is not yet checked."""
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _interactions(holder: dict[str, Any]) -> frozenset[str]:
    return frozenset(str(interaction.get("code")) for interaction in dicts(holder.get("interaction")))


def _bundle(value: Resource, bundle_type: str) -> Resource:
    if value.get("resourceType") != "Bundle" or value.get("type") != bundle_type:
        raise SourceChanged(f"The source answers with something other than a {bundle_type} Bundle.")
    if not isinstance(value.get("entry", []), list):
        raise SourceChanged("The source answers with a Bundle whose entries are no list.")
    return value


def _next(bundle: Resource, answer: Answer) -> httpx.URL | None:
    links = [link.get("url") for link in dicts(bundle.get("link")) if link.get("relation") == "next"]
    if not links:
        return None
    try:
        return answer.url.join(str(links[0]))
    except httpx.InvalidURL:
        raise SourceChanged("The source gave a link that is no address.") from None


def _marks(entries: list[Any], following: httpx.URL | None) -> set[bytes]:
    """By what a page is known again: where it leads, and what it holds."""
    marked = ([repr(entries).encode()] if entries else []) + ([str(following).encode()] if following else [])
    return {hashlib.sha256(mark).digest() for mark in marked}
