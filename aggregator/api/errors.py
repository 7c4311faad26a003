"""From the service's errors to answers: one table. A caller learns what to mend, and nothing of what lies behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.responses import Response

from aggregator.api.bodies import NotAcceptable, Packed, TooLarge, WrongMediaType
from aggregator.errors import (
    AggregatorError,
    BlobsUnreachable,
    CallerError,
    Changed,
    DatabaseGone,
    DiskBroken,
    DiskFull,
    OperatorError,
    Refused,
    RolledBack,
    SignInFailed,
    Stale,
    Tampered,
    UnlockNeeded,
)
from aggregator.fhir.outcome import FhirError, Issue, operation_outcome
from aggregator.identity.access_requests import TooOften
from aggregator.identity.allowances import Throttled
from aggregator.portability.bulk_exports import TooManyExports
from aggregator.vault import disk
from fhir_profiles.text import NotJson, dumps
from fhir_profiles.xml import NotXml

logger = logging.getLogger(__name__)

FHIR_JSON = "application/fhir+json"

TABLE: Mapping[type[Exception], tuple[int, str]] = {
    SignInFailed: (401, "login"),
    UnlockNeeded: (403, "security"),
    Refused: (403, "forbidden"),
    Changed: (412, "conflict"),
    NotAcceptable: (406, "not-supported"),
    TooLarge: (413, "too-long"),
    WrongMediaType: (415, "not-supported"),
    TooManyExports: (429, "throttled"),
    TooOften: (429, "throttled"),
    Throttled: (429, "throttled"),
    CallerError: (400, "invalid"),
    NotJson: (400, "structure"),
    NotXml: (400, "structure"),
    Stale: (503, "transient"),
    BlobsUnreachable: (503, "transient"),
    DiskFull: (507, "no-store"),
    DiskBroken: (503, "no-store"),
    DatabaseGone: (503, "no-store"),
    RolledBack: (503, "exception"),
    OperatorError: (500, "exception"),
    Tampered: (500, "exception"),
    AggregatorError: (500, "exception"),
}
"""Error -> HTTP status and FHIR issue code. A class that is not listed is answered as its nearest listed parent."""

KNOWN = (AggregatorError, NotJson, NotXml)
"""What `answer` answers; all else is unexpected."""

_BESIDE = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "60"},
    503: {"Retry-After": "1"},
    507: {"Retry-After": "60"},
}
_OURS_TO_MEND = "something is wrong here; the operator can see it in the log"


def answer(error: Exception) -> Response:
    """The OperationOutcome of an error."""
    if isinstance(error, FhirError):
        return Response(error.outcome(), error.status, media_type=FHIR_JSON)
    status, code = _row(error)
    text, place = str(error), error.place if isinstance(error, CallerError | NotXml) else ""
    if isinstance(error, OperatorError) or status == 500:
        logger.error("%s: %s", type(error).__name__, error)
    if status == 500:
        text = _OURS_TO_MEND
    return outcome(status, code, text, place=place, headers=_beside(error, status))


def _beside(error: Exception, status: int) -> Mapping[str, str]:
    if isinstance(error, Throttled):
        return {"Retry-After": str(error.seconds)}
    return {"Accept-Encoding": "identity"} if isinstance(error, Packed) else _BESIDE.get(status, {})


def outcome(
    status: int, code: str, text: str, *, place: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An OperationOutcome with this sentence, about this place in the request."""
    body = dumps(operation_outcome([Issue(severity="error", code=code, text=text, expression=place)]))
    return Response(body, status, headers=dict(headers or {}), media_type=FHIR_JSON)


def unknown(error: Exception) -> Response:
    """For everything else: its name in the log, without the message or locals, which could hold health data."""
    if failed := disk.failure(error):
        return answer(failed)
    logger.error("unexpected %s", type(error).__name__)
    return outcome(500, "exception", _OURS_TO_MEND)


def status(error: Exception) -> int:
    """The HTTP status of an error."""
    return error.status if isinstance(error, FhirError) else _row(error)[0]


def _row(error: Exception) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return 500, "exception"
