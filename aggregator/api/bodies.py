"""Request bodies: read within their bound, of the right media type, parsed with numbers as written.

What is sent packed is refused: a bound on bytes says nothing of what they unpack to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from aggregator.errors import HTTP, CallerError
from fhir_profiles.text import Resource, loads
from fhir_profiles.xml import to_json

JSON_TYPES = ("application/fhir+json", "application/json")
XML_TYPES = ("application/fhir+xml", "application/xml")
FORM = "application/x-www-form-urlencoded"
_OF_PARAMETERS = {"charset": "utf-8", "fhirversion": "4.0"}


class TooLarge(CallerError):
    """The body is over the limit."""


class WrongMediaType(CallerError):
    """The body is of another media type than the route takes."""


class Packed(WrongMediaType):
    """The body has a content coding."""


class NotAcceptable(CallerError):
    """The caller wants a form that is not served."""


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises Packed for one that is to be unpacked, TooLarge as soon as it is."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Packed.at(f"{HTTP}Content-Encoding", "send the body as it is")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def resource(request: Request, limit: int) -> Resource:
    """A FHIR resource, as JSON or XML. Raises WrongMediaType, TooLarge, NotJson, NotXml, CallerError."""
    stated = _expect(request, (*JSON_TYPES, *XML_TYPES))
    body = await read(request, limit)
    made = to_json(body) if stated in XML_TYPES else loads(body)
    if not isinstance(made, dict) or not isinstance(made.get("resourceType"), str):
        raise CallerError("a FHIR resource is expected: an object with resourceType")
    return made


async def json(request: Request, limit: int) -> dict[str, Any]:
    """A JSON object."""
    _expect(request, JSON_TYPES)
    return parsed(await read(request, limit))


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises NotJson, CallerError."""
    made = loads(body)
    if not isinstance(made, dict):
        raise CallerError("a JSON object is expected")
    return made


async def form(request: Request, limit: int) -> list[tuple[str, str]]:
    """A form's pairs, in the order they came."""
    _expect(request, (FORM,))
    try:
        text = (await read(request, limit)).decode("ascii")
        return parse_qsl(text, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise CallerError("the form cannot be read") from None


def strings(made: Mapping[str, Any], *names: str) -> list[str]:
    """These members, which must be non-empty strings. Raises CallerError that names the first one that is not."""
    for name in names:
        if not isinstance(made.get(name), str) or not made[name].strip():
            raise CallerError.at(name, "a string is needed")
    return [made[name] for name in names]


def member(made: Mapping[str, Any], name: str) -> dict[str, Any]:
    """This member, which must be an object. Raises CallerError."""
    found = made.get(name)
    if not isinstance(found, dict):
        raise CallerError.at(name, "an object is needed")
    return found


def _expect(request: Request, types: tuple[str, ...]) -> str:
    """The media type, which must be one of these, in UTF-8, and of R4 where it names a version of FHIR."""
    stated, *parameters = request.headers.get("content-type", "").replace(" ", "").lower().split(";")
    if stated not in types or not all(
        _OF_PARAMETERS.get(name, value) == value for name, value in map(_pair, parameters)
    ):
        raise WrongMediaType.at(f"{HTTP}Content-Type", f"{' or '.join(types)} is expected, in UTF-8, of FHIR 4.0")
    return stated


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name, value.strip('"')
