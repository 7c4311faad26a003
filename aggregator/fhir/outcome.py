"""Errors as FHIR tells them: one tree, each with its HTTP status and issue code, and the OperationOutcome it becomes.

https://hl7.org/fhir/R4/operationoutcome.html. A message may name a parameter; it never holds a value, neither one of
the record nor one that the caller sent. An issue's `expression` is the error's place in the request.

    FhirError (a CallerError)
    ├── BadQuery              400 invalid        a parameter's value, modifier or page link cannot be understood
    │   ├── UnknownParameter  400 not-supported  named under `Prefer: handling=strict` alone
    │   └── Unsupported       400 not-supported  one of R4's own that there is not here; the text says why
    ├── NotFound              404 not-found      not in this view, whether it exists or not
    ├── Gone                  410 deleted        was in this view and is deleted
    ├── TooCostly             403 too-costly     would run over more records than one request may
    ├── TooMuch               403 too-costly     takes more work than one request may
    ├── NotAllowed            405 not-supported  not on this kind of resource, for anybody
    ├── Conflict              409 business-rule  not on this resource; the text says who may
    ├── Ambiguous             412 multiple-matches  a condition finds more than it may
    ├── Unmatched             412 not-found      a link by a condition that finds nothing
    ├── BadPatch              400 invalid        no patch
    │   └── PatchFailed       422 processing     a patch that does not fit the resource
    └── NotValid              422 invalid        a resource that is not FHIR R4; an issue for each place
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from aggregator.errors import HTTP, CallerError
from fhir_profiles.text import Resource, dumps

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # what is no name of a parameter is not repeated


class FhirError(CallerError):
    """The root. `status` is HTTP's, `code` one of https://hl7.org/fhir/R4/valueset-issue-type.html."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "processing"

    def outcome(self) -> bytes:
        """The OperationOutcome of this error, as JSON."""
        told = Issue(severity="error", code=self.code, text=str(self), expression=self.place)
        return dumps(operation_outcome([told]))


class BadQuery(FhirError):
    """The search cannot be understood."""

    code = "invalid"

    def __init__(self, parameter: str, text: str) -> None:
        """text: what is wrong, a sentence's end without a value."""
        super().__init__(f"{_shown(parameter)}: {text}")
        self.parameter = parameter
        self.place = _place(parameter)


class UnknownParameter(BadQuery):
    """A parameter that this resource type does not have here."""

    code = "not-supported"

    def __init__(self, parameter: str) -> None:
        super().__init__(parameter, "not a search parameter here")


class Unsupported(BadQuery):
    """A parameter of R4 that is refused."""

    code = "not-supported"


class NotFound(FhirError):
    """Nothing with this id in this view."""

    status = 404
    code = "not-found"

    def __init__(self) -> None:
        super().__init__("no such resource")


class Gone(FhirError):
    """Deleted."""

    status = 410
    code = "deleted"

    def __init__(self) -> None:
        super().__init__("the resource is deleted")


class TooCostly(FhirError):
    """The search names no patient, and more records are open to the caller than one request may run over."""

    status = 403
    code = "too-costly"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"name a patient: without one a search runs over at most {most} records; Patient/$export takes all"
        )


class TooMuch(FhirError):
    """The question is one that would keep the service busy for seconds."""

    status = 403
    code = "too-costly"

    def __init__(self) -> None:
        super().__init__("this is too much work for one request: ask for less at once")


class NotAllowed(FhirError):
    """This is not done to resources of this kind, whoever asks."""

    status = 405
    code = "not-supported"


class Conflict(FhirError):
    """This is not done to this resource here. The text says who may do it, and how."""

    status = 409
    code = "business-rule"


class Ambiguous(FhirError):
    """A condition finds more than it may."""

    status = 412
    code = "multiple-matches"

    def __init__(self, resource_type: str, most: int) -> None:
        super().__init__(f"{resource_type}: the condition finds more than {most}; nothing was changed")


class Unmatched(FhirError):
    """A link names a resource by a condition, and there is none."""

    status = 412
    code = "not-found"

    def __init__(self, place: str) -> None:
        super().__init__(f"{place or 'the resource'}: a conditional reference finds nothing; nothing was changed")
        self.place = place


class BadPatch(FhirError):
    """What was sent is no patch."""

    code = "invalid"


class PatchFailed(BadPatch):
    """The patch does not fit the resource as it is now."""

    status = 422
    code = "processing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One issue of an OperationOutcome. severity: error, warning or information. expression: the place, if any."""

    severity: str
    code: str
    text: str
    expression: str = ""


class NotValid(FhirError):
    """A resource that cannot be taken. The issues name elements, never values."""

    status = 422
    code = "invalid"

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(issues)
        told = (f"{one.expression}: {one.text}" if one.expression else one.text for one in self.issues)
        super().__init__("; ".join(told))

    @classmethod
    def at(cls, place: str, text: str) -> Self:
        return cls([Issue(severity="error", code=cls.code, text=text, expression=place)])

    def outcome(self) -> bytes:
        return dumps(operation_outcome(self.issues))


def operation_outcome(issues: Iterable[Issue]) -> Resource:
    """An OperationOutcome of these issues."""
    return {"resourceType": "OperationOutcome", "issue": [_issue(one) for one in issues]}


def _issue(one: Issue) -> Resource:
    made: Resource = {"severity": one.severity, "code": one.code, "diagnostics": one.text}
    return made | {"expression": [one.expression]} if one.expression else made


def ignored_parameters(names: Iterable[str]) -> list[Issue]:
    """What a search answers beside its matches when it did not know a parameter."""
    text = "ignored, not a search parameter here"
    return [
        Issue(severity="warning", code="not-supported", text=f"{_shown(name)}: {text}", expression=_place(name))
        for name in names
    ]


def _shown(parameter: str) -> str:
    return parameter if _NAME.fullmatch(parameter) else "a parameter"


def _place(parameter: str) -> str:
    return f"{HTTP}{parameter}" if _NAME.fullmatch(parameter) else ""
