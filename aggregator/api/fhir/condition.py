"""Conditional reads: who has this version already is told so, and no more.

https://hl7.org/fhir/R4/http.html#cread, RFC 9110, section 13. The receipt is the same: that nothing changed is an
answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.headers import header


def unchanged(request: Request, headers: Mapping[str, str]) -> bool:
    """Does the caller have what these headers (ETag, Last-Modified) name? Only If-None-Match counts where both are."""
    known = header(request, b"if-none-match")
    if known is not None:
        return known.strip() == "*" or _bare(headers["ETag"]) in map(_bare, known.split(","))
    since = header(request, b"if-modified-since")
    return since is not None and _moment(headers["Last-Modified"]) <= _moment(since)


def not_modified(headers: Mapping[str, str]) -> Response:
    """What is answered then."""
    return Response(status_code=304, headers=dict(headers))


def _bare(tag: str) -> str:
    """Weak comparison: what stands before the quotes does not count."""
    return tag.strip().removeprefix("W/")


def _moment(text: str) -> datetime:
    """What is no date is answered as if it were not there: everything is newer."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
