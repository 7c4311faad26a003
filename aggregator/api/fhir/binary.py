"""read of a Binary: its content as it is, or as FHIR; a long one in constant memory.

https://hl7.org/fhir/R4/binary.html#rest: who does not ask for a FHIR type gets the bytes under their own type. They
are a stranger's, so a browser must neither run nor show them here: they are an attachment, in a sandbox.
"""

from __future__ import annotations

import re

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aggregator.api.access import Act
from aggregator.api.errors import FHIR_JSON, outcome
from aggregator.api.fhir import formats
from aggregator.api.fhir.condition import not_modified, unchanged
from aggregator.api.fhir.data import Content, as_fhir, begun
from aggregator.api.fhir.formats import FHIR_XML, Form
from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, pairs, path, vault_of, versioned
from aggregator.errors import HTTP
from aggregator.fhir.bundle import Answer
from aggregator.fhir.page import Pairs
from aggregator.fhir.read import read
from aggregator.vault.view import View

# Only these in `Accept` mean the resource: whoever takes application/xml may mean a document that is one.
_FHIR = (FHIR_JSON, FHIR_XML, "application/json", "text/json")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNKNOWN = "application/octet-stream"
_SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
_ATTACHMENT = "attachment"  # without a name: a title may tell what nobody asked for


async def read_binary(server: Server, request: Request) -> Response:
    """Content as it is, but for who asks for FHIR."""
    (whole_id,) = path(request, "whole_id")
    vault, asked = vault_of(whole_id), pairs(request)
    act = Act("read", "Binary", f"Binary/{whole_id}")
    form = wanted(request, asked)
    principal = await server.principal(request, act, "r", vault)
    headers: dict[str, str] = {}
    seen = list[Content]()

    def ask(view: View) -> Answer:
        record = read(view, "Binary", whole_id)
        headers.update(versioned(record))
        seen[:] = [Content.of(server.service, view, record)]
        return Answer(record.body, 1, beside=seen[0].blob.size if seen[0].blob else 0)

    await server.access.answer(principal, vault, act, ask)
    if unchanged(request, headers):
        return not_modified(headers)
    (content,) = seen
    if form is None:
        return await as_it_is(content, request, headers)
    return await formats.turned(request, await as_fhir(content, headers, form))


def wanted(request: Request, asked: Pairs) -> Form | None:
    """The form in FHIR that `_format`, or without one `Accept`, names; None for what it is. Raises NotAcceptable."""
    accept = request.headers.get("accept", "")
    if any(name == "_format" for name, _ in asked) or any(word in accept for word in _FHIR):
        return formats.settle(request, asked)
    return None


async def as_it_is(content: Content, request: Request, headers: dict[str, str]) -> Response:
    """The bytes themselves, or the range of them that is asked for (RFC 9110, section 14)."""
    told = orjson.loads(content.body)
    size = content.size(told)
    headers |= {"Accept-Ranges": "bytes", "Content-Security-Policy": _SANDBOX, "Content-Disposition": _ATTACHMENT}
    if isinstance(told.get("securityContext"), dict) and (context := told["securityContext"].get("reference")):
        headers["X-Security-Context"] = str(context)
    wanted = _range(request, size)
    if wanted == ():
        return outcome(
            416, "processing", "Range: is not in it", place=f"{HTTP}Range", headers={"Content-Range": f"bytes */{size}"}
        )
    start, end = wanted or (0, size)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = await begun(content.data(told, start, end))
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(pieces, 206 if wanted else 200, headers=headers, media_type=_media_type(told))


def _media_type(told: dict[str, str]) -> str:
    """As the resource states it; what is no media type would be another header."""
    stated = str(told.get("contentType", "")).partition(";")[0].strip()
    return stated if _MEDIA_TYPE.fullmatch(stated) else _UNKNOWN


def _range(request: Request, size: int) -> tuple[int, int] | tuple[()] | None:
    """(start, end) that is asked for; () where it is not in it; None for all: none, several, or not understood."""
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or "if-range" in request.headers or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None
    return (start, end) if start < end else ()


INTERACTIONS = (
    Interaction(
        code="read",
        method="GET",
        path="/Binary/{whole_id}",
        endpoint=read_binary,
        types=frozenset({"Binary"}),
        raw=True,
    ),
)
