"""$validate: whether a resource could be stored, told as an OperationOutcome; nothing is stored.

https://hl7.org/fhir/R4/resource-operation-validate.html. What is checked is what a source's resources are checked for
(fhir_profiles/check.py): structure, datatypes, cardinality, required codes, invariants. Of profiles only R4's own are
known: for another one it is said that it was not looked at, because silence would read as conformance.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.fhir.operation import TYPE, inputs
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Pairs, single
from fhir_profiles import build
from fhir_profiles.check import Issue, check
from fhir_profiles.text import Resource, dumps

MODES = ("create", "update", "delete", "profile")
CORE = "http://hl7.org/fhir/StructureDefinition/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What is asked. resource: None where there is none; whole_id: of the instance that it is asked of, if any."""

    resource_type: str
    resource: Resource | None
    mode: str = ""
    profile: str = ""
    whole_id: str | None = None


def validation(resource_type: str, body: Resource | None, pairs: Pairs, whole_id: str | None = None) -> Validation:
    """From a body (the resource itself, or Parameters with it) and the query. Raises CallerError, NotValid."""
    resource = body
    if body is not None and body.get("resourceType") == TYPE != resource_type:
        told = inputs(body)
        pairs, resource = [*pairs, *told.pairs], told.resources.get("resource")
    given = single(pairs, ("mode", "profile"))
    mode, profile = given.get("mode", ""), given.get("profile", "")
    if mode and mode not in MODES:
        raise BadQuery("mode", f"not one of {', '.join(MODES)}")
    if mode in ("update", "delete") and whole_id is None:
        raise BadQuery("mode", f"{mode} is asked of an instance")
    if mode == "profile" and not profile:
        raise BadQuery("profile", "needed with mode=profile")
    return Validation(resource_type=resource_type, resource=resource, mode=mode, profile=profile, whole_id=whole_id)


def validate(asked: Validation) -> bytes:
    """The OperationOutcome: an error for what would not be taken, or one information that nothing was found."""
    if asked.mode == "delete":
        return dumps(build.outcome(()))
    if asked.resource is None:
        return dumps(build.outcome([_issue("required", asked.resource_type, "a resource is needed")]))
    return dumps(build.outcome([*_framed(asked, asked.resource), *check(asked.resource)]))


def _framed(asked: Validation, resource: Resource) -> list[Issue]:
    """What is wrong with the resource in this place, whatever it holds."""
    found, kind = list[Issue](), asked.resource_type
    if resource.get("resourceType") != kind:
        found.append(_issue("invariant", kind, "is of another type than the URL"))
    if asked.mode == "create" and "id" in resource:
        found.append(_issue("informational", f"{kind}.id", "is given anew when it is created", severity="information"))
    if asked.mode == "update" and resource.get("id") != asked.whole_id:
        found.append(_issue("invariant", f"{kind}.id", "is not the one in the URL"))
    if asked.profile and asked.profile.partition("|")[0] != f"{CORE}{kind}":
        found.append(_issue("not-supported", kind, "the profile is not known here: it was not looked at"))
    return found


def _issue(code: str, expression: str, text: str, *, severity: str = "error") -> Issue:
    return Issue(severity=severity, code=code, expression=expression, text=text)
