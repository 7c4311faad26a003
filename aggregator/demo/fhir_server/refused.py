"""Why a request was not done, and how FHIR says so.

https://hl7.org/fhir/R4/operationoutcome.html, codes from https://hl7.org/fhir/R4/valueset-issue-type.html
"""

from __future__ import annotations

from http import HTTPStatus

from fhir_profiles.text import Resource

# HTTP status -> issue code; what is not here is "processing".
_CODES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    410: "deleted",
    412: "conflict",
    415: "not-supported",
    429: "throttled",
    500: "exception",
    503: "transient",
}


class Refused(Exception):
    """The request was not done. `text` says why, without content of any resource."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    @property
    def line(self) -> str:
        """As Bundle.entry.response.status has it: "412 Precondition Failed"."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    @property
    def outcome(self) -> Resource:
        """The OperationOutcome of this refusal."""
        return outcome(self.status, self.text)


def outcome(status: int, text: str) -> Resource:
    """An OperationOutcome with one error."""
    issue = {"severity": "error", "code": _CODES.get(status, "processing"), "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
