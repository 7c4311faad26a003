"""An interaction and an operation as data. The routes and the CapabilityStatement are both made of these alone.

https://hl7.org/fhir/R4/http.html, https://hl7.org/fhir/R4/operations.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.fhir.server import Server
from aggregator.fhir.resource_types import TYPES

Endpoint = Callable[[Server, Request], Awaitable[Response]]


KIND = "/{resource_type}"
ONE = f"{KIND}/{{whole_id}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One way to ask for something.

    code: https://hl7.org/fhir/R4/valueset-restful-interaction.html; an interaction may have several ways (a search by
    GET and by POST). path: below /fhir, made of KIND and ONE. types: those that have it; none for the whole system's.
    raw: it answers in a form of its own, which `_format` and `Accept` do not choose. claims: what else the
    CapabilityStatement says of each of these types because of it.
    """

    code: str
    method: str
    path: str
    endpoint: Endpoint
    types: frozenset[str] = TYPES
    raw: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One way to call an operation. name: without the `$`; definition: its canonical URL; the rest as above."""

    name: str
    definition: str
    method: str
    path: str
    endpoint: Endpoint
    types: frozenset[str] = frozenset()
    raw: bool = False


def by_get_and_post(
    name: str, definition: str, path: str, endpoint: Endpoint, resource_type: str
) -> tuple[Operation, Operation]:
    """An operation on a type that changes nothing may be called both ways."""
    types = frozenset({resource_type})
    get, post = (
        Operation(name=name, definition=definition, method=method, path=path, endpoint=endpoint, types=types)
        for method in ("GET", "POST")
    )
    return get, post
