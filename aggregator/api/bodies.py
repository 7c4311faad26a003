"""Request bodies: read within their bound, of the right media type, parsed with numbers as written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from aggregator.errors import CallerError
from fhir_profiles.text import Resource, loads

JSON_TYPES = ("application/fhir+json", "application/json")
FORM = "application/x-www-form-urlencoded"


class TooLarge(CallerError):
    """The body is over the limit."""


class WrongMediaType(CallerError):
    """The body is of another media type than the route takes."""


class NotAcceptable(CallerError):
    """The caller wants a form that is not served."""


def accepts_json(request: Request, pairs: Iterable[tuple[str, str]]) -> None:
    """Raise NotAcceptable where `_format`, or without one `Accept`, takes no JSON."""
    wanted = next((value for name, value in pairs if name == "_format"), None) or request.headers.get("accept", "")
    if wanted and not any(word in wanted for word in ("json", "*/*", "application/*")):
        raise NotAcceptable("only JSON is served: application/fhir+json")


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge as soon as it is."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def resource(request: Request, limit: int) -> Resource:
    """A FHIR resource as JSON. Raises WrongMediaType, TooLarge, NotJson, CallerError."""
    made = await json(request, limit)
    if not isinstance(made.get("resourceType"), str):
        raise CallerError("a FHIR resource is expected: an object with resourceType")
    return made


async def json(request: Request, limit: int) -> dict[str, Any]:
    """A JSON object."""
    _expect(request, JSON_TYPES)
    made = loads(await read(request, limit))
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
            raise CallerError(f"{name}: a string is needed")
    return [made[name] for name in names]


def member(made: Mapping[str, Any], name: str) -> dict[str, Any]:
    """This member, which must be an object. Raises CallerError."""
    found = made.get(name)
    if not isinstance(found, dict):
        raise CallerError(f"{name}: an object is needed")
    return found


def _expect(request: Request, types: tuple[str, ...]) -> None:
    stated = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if stated not in types:
        raise WrongMediaType(f"Content-Type must be {types[0]}")
