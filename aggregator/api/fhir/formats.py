"""The form of an answer: JSON or XML, compact or pretty, as `_format` or else `Accept` says.

https://hl7.org/fhir/R4/http.html#mime-type. Every endpoint answers in compact JSON, which is how resources are stored;
what is asked for in another form is made of that answer here, behind all of them, numbers as they were written. Who
asks for compact JSON pays for nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aggregator.api.bodies import JSON_TYPES, XML_TYPES, NotAcceptable
from aggregator.api.errors import FHIR_JSON
from aggregator.api.headers import header
from aggregator.errors import HTTP
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Pairs
from fhir_profiles.text import dumps, loads
from fhir_profiles.xml import NotXml, to_xml

FHIR_XML = "application/fhir+xml"
_OFFERED = {FHIR_JSON: ("json", "text/json", *JSON_TYPES), FHIR_XML: ("xml", "text/xml", *XML_TYPES)}
_MEDIA_TYPES = {name: media_type for media_type, names in _OFFERED.items() for name in names}
_PRETTY = {"true": True, "false": False}
_VERSION = "4.0"
_SERVED = f"{FHIR_JSON} and {FHIR_XML} of FHIR {_VERSION} are served"
_QUALITY = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
_INLINE = 64 * 1024  # bytes; a longer answer is turned in a thread
_SCOPE = "fhir_form"


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written."""

    media_type: str
    pretty: bool


AS_STORED = Form(FHIR_JSON, pretty=False)


def settle(request: Request, given: Pairs) -> Form:
    """The form that is asked for, kept for `turned`. Raises NotAcceptable for one not served, BadQuery."""
    named, pretty = (
        next((value for name, value in given if name == wanted), None) for wanted in ("_format", "_pretty")
    )
    form = _form(named, header(request, b"accept") or "", pretty)
    request.scope[_SCOPE] = form
    return form


def settled(request: Request) -> Form:
    """The form that `settle` found."""
    form: Form = request.scope.get(_SCOPE, AS_STORED)
    return form


async def turned(request: Request, response: Response) -> Response:
    """A FHIR answer in the form that was settled; any other, and what is streamed in its form already, as it is.

    Raises NotAcceptable where XML cannot say it.
    """
    form = settled(request)
    if form is AS_STORED or response.media_type != FHIR_JSON or isinstance(response, StreamingResponse):
        return response
    if not response.body:
        return response
    body = bytes(response.body)
    response.body = await asyncio.to_thread(written, body, form) if len(body) > _INLINE else written(body, form)
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-type"] = form.media_type
    return response


def written(body: bytes, form: Form) -> bytes:
    """Compact FHIR JSON in another form. Raises NotAcceptable where XML cannot say it."""
    resource = loads(body)
    if form.media_type == FHIR_JSON:
        return dumps(resource, pretty=form.pretty)
    try:
        return to_xml(resource, pretty=form.pretty)
    except NotXml as error:
        raise NotAcceptable(f"this cannot be said in XML, ask for {FHIR_JSON}: {error}") from None


@lru_cache(64)
def _form(named: str | None, accept: str, pretty: str | None) -> Form:
    media_type = _named(named) if named is not None else _accepted(accept)
    if pretty not in (None, *_PRETTY):
        raise BadQuery("_pretty", "true or false is expected")
    form = Form(media_type, _PRETTY.get(pretty or "", False))
    return AS_STORED if form == AS_STORED else form


def _named(text: str) -> str:
    """`_format`; a plus that nobody encoded came as a space."""
    media_type, parameters = parted(text.replace(" ", "+"))
    found = _MEDIA_TYPES.get(media_type)
    if found is None or not of_this_version(parameters):
        raise NotAcceptable.at(f"{HTTP}_format", _SERVED)
    return found


def _accepted(accept: str) -> str:
    """What `Accept` likes best; JSON where it likes both as much (RFC 9110, section 12.5.1)."""
    wanted = [parted(one) for one in accept.split(",") if one.strip()]
    if not wanted:
        return FHIR_JSON
    liked = {media_type: _liked(names, wanted) for media_type, names in _OFFERED.items()}
    best = max(liked, key=lambda media_type: liked[media_type])
    if not liked[best]:
        raise NotAcceptable.at(f"{HTTP}Accept", _SERVED)
    return best


def _liked(names: Iterable[str], wanted: Iterable[tuple[str, tuple[str, ...]]]) -> float:
    """The quality that the most specific range gives to one of these names; 0 for none."""
    ranges = ((2, names), (1, ("application/*",)), (0, ("*/*",)))
    found = [
        (rank, _quality(parameters))
        for media_type, parameters in wanted
        for rank, fitting in ranges
        if media_type in fitting and of_this_version(parameters)
    ]
    return max(found)[1] if found else 0.0


def _quality(parameters: Iterable[str]) -> float:
    stated = (_QUALITY.fullmatch(one) for one in parameters)
    return next((float(one[1]) for one in stated if one), 1.0)


def parted(text: str) -> tuple[str, tuple[str, ...]]:
    """A media type and its parameters, in lower case without spaces."""
    first, *rest = text.replace(" ", "").lower().split(";")
    return first, tuple(rest)


def of_this_version(parameters: Iterable[str]) -> bool:
    """Is it R4, where a version is named? https://hl7.org/fhir/R4/http.html#version-parameter"""
    return all(one == f"fhirversion={_VERSION}" for one in parameters if one.startswith("fhirversion="))
