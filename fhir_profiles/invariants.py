"""The invariants of FHIR R4 that a single resource can be asked cheaply, by the names the specification gives them.

https://hl7.org/fhir/R4/conformance-rules.html#constraints. A rule is asked only of an element whose own structure is
sound, so it may trust the types it finds. Not here: what needs terminology, other resources, or FHIRPath over a tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Node = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """key: the invariant's name. holds: of one element. text: what must be so."""

    key: str
    holds: Callable[[Node], bool]
    text: str


def _rule(key: str, text: str, holds: Callable[[Node], bool]) -> Rule:
    return Rule(key=key, holds=holds, text=text)


def _has(node: Node, name: str) -> bool:
    """Whether a primitive element is there, be it only by its extension."""
    return name in node or "_" + name in node


def _any(node: Node, names: Iterable[str]) -> bool:
    return any(_has(node, name) for name in names)


def _choice(node: Node, stem: str) -> bool:
    """Whether one of the forms of a choice is there: value[x] for the stem "value"."""
    size = len(stem)
    return any(name.lstrip("_").startswith(stem) and name.lstrip("_")[size : size + 1].isupper() for name in node)


def _in_order(low: str, high: str) -> bool:
    """Whether a dateTime is not after another. Different precisions are compared at the coarser one."""
    if "T" in low and "T" in high:
        try:
            return _moment(low) <= _moment(high)
        except (ValueError, OverflowError):
            return True  # the first and the last day that Python knows: not worth a refusal
    size = min(len(low), len(high), 10)
    return low[:size] <= high[:size]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace(":60", ":59")).astimezone(UTC)


def _period(node: Node) -> bool:
    return "start" not in node or "end" not in node or _in_order(node["start"], node["end"])


def _codings(node: Node, name: str) -> set[str]:
    concept = node.get(name)
    found = concept if isinstance(concept, list) else [concept] if concept else []
    return {coding.get("code", "") for one in found for coding in one.get("coding", ())}


def _obs_7(node: Node) -> bool:
    if not _choice(node, "value"):
        return True
    own = _said(node)
    return all(own.isdisjoint(_said(part)) for part in node.get("component", ()))


def _said(node: Node) -> set[tuple[Any, ...]]:
    """The codings of a code. As sets: two long lists of codings must not take the product of their lengths."""
    names = ("system", "version", "code", "display", "userSelected")
    return {tuple(coding.get(name) for name in names) for coding in node.get("code", {}).get("coding", ())}


def _range(node: Node) -> bool:
    low, high = node.get("low", {}), node.get("high", {})
    if "value" not in low or "value" not in high or low.get("code") != high.get("code"):
        return True
    return bool(_decimal(low["value"]) <= _decimal(high["value"]))


def _decimal(value: Any) -> Any:
    return value if isinstance(value, int) else value.decimal()


def _contained(node: Node, allowed: Callable[[Node], bool]) -> bool:
    return all(allowed(one) for one in node.get("contained", ()))


def _meta_without(*names: str) -> Callable[[Node], bool]:
    return lambda one: not any(name in one.get("meta", ()) for name in names)


def _entries(node: Node) -> list[Node]:
    return list(node.get("entry", ()))


def _first_is(kind: str, resource_type: str) -> Callable[[Node], bool]:
    def holds(node: Node) -> bool:
        if node.get("type") != kind:
            return True
        first = next(iter(_entries(node)), {}).get("resource", {})
        return bool(first.get("resourceType") == resource_type)

    return holds


def _unique_urls(node: Node) -> bool:
    if node.get("type") == "history":
        return True
    seen = set()
    for entry in _entries(node):
        if "fullUrl" in entry:
            version = entry.get("resource", {}).get("meta", {}).get("versionId")
            if (key := (entry["fullUrl"], version)) in seen:
                return False
            seen.add(key)
    return True


def _only(kinds: tuple[str, ...], name: str) -> Callable[[Node], bool]:
    return lambda node: node.get("type") in kinds or not any(name in entry for entry in _entries(node))


def _always(kinds: tuple[str, ...], name: str) -> Callable[[Node], bool]:
    return lambda node: node.get("type") not in kinds or all(name in entry for entry in _entries(node))


_history_url = re.compile(r"/_history/").search
_REQUESTED = ("batch", "transaction", "history")
_ANSWERED = ("batch-response", "transaction-response", "history")

RULES: dict[str, tuple[Rule, ...]] = {
    "Extension": (
        _rule(
            "ext-1", "has either a value or extensions, not both", lambda n: ("extension" in n) != _choice(n, "value")
        ),
    ),
    "Period": (_rule("per-1", "starts no later than it ends", _period),),
    "Range": (_rule("rng-2", "has a low no greater than its high", _range),),
    "Quantity": (
        _rule("qty-3", "has a system where it has a code", lambda n: not _has(n, "code") or _has(n, "system")),
    ),
    "Ratio": (
        _rule(
            "rat-1",
            "has numerator and denominator, or neither and an extension",
            lambda n: (("numerator" in n) == ("denominator" in n)) and ("numerator" in n or "extension" in n),
        ),
    ),
    "ContactPoint": (
        _rule("cpt-2", "has a system where it has a value", lambda n: not _has(n, "value") or _has(n, "system")),
    ),
    "Attachment": (
        _rule("att-1", "has a content type where it has data", lambda n: not _has(n, "data") or _has(n, "contentType")),
    ),
    "Timing.repeat": (
        _rule(
            "tim-1", "has a unit where it has a duration", lambda n: not _has(n, "duration") or _has(n, "durationUnit")
        ),
        _rule("tim-2", "has a unit where it has a period", lambda n: not _has(n, "period") or _has(n, "periodUnit")),
        _rule("tim-4", "has no negative duration", lambda n: "duration" not in n or _decimal(n["duration"]) >= 0),
        _rule("tim-5", "has no negative period", lambda n: "period" not in n or _decimal(n["period"]) >= 0),
        _rule("tim-6", "has a period where it has a longest", lambda n: not _has(n, "periodMax") or _has(n, "period")),
        _rule(
            "tim-7",
            "has a duration where it has a longest",
            lambda n: not _has(n, "durationMax") or _has(n, "duration"),
        ),
        _rule("tim-8", "has a count where it has a highest", lambda n: not _has(n, "countMax") or _has(n, "count")),
        _rule(
            "tim-10",
            "has a time of day or an event, not both",
            lambda n: not (_has(n, "timeOfDay") and _has(n, "when")),
        ),
    ),
    "DomainResource": (
        _rule(
            "dom-2",
            "contains no resource that contains others",
            lambda n: _contained(n, lambda c: "contained" not in c),
        ),
        _rule(
            "dom-4",
            "contains no resource with a version",
            lambda n: _contained(n, _meta_without("versionId", "lastUpdated")),
        ),
        _rule(
            "dom-5",
            "contains no resource with its own security label",
            lambda n: _contained(n, _meta_without("security")),
        ),
        # No invariant of R4 says it, https://hl7.org/fhir/R4/references.html#contained does.
        _rule("contained-id", "contains only resources with an id", lambda n: _contained(n, lambda c: "id" in c)),
    ),
    "Observation": (
        _rule(
            "obs-6",
            "has no reason for an absent value where it has a value",
            lambda n: "dataAbsentReason" not in n or not _choice(n, "value"),
        ),
        _rule("obs-7", "has no value of its own for the code of a component", _obs_7),
    ),
    "Observation.referenceRange": (
        _rule("obs-3", "has at least a low, a high or a text", lambda n: _any(n, ("low", "high", "text"))),
    ),
    "Patient.contact": (
        _rule("pat-1", "has a contact's details", lambda n: _any(n, ("name", "telecom", "address", "organization"))),
    ),
    "Condition": (
        _rule(
            "con-4",
            "is inactive, resolved or in remission where it has abated",
            lambda n: (
                not _choice(n, "abatement")
                or bool(_codings(n, "clinicalStatus") & {"resolved", "remission", "inactive"})
            ),
        ),
        _rule(
            "con-5",
            "has no clinical status where it was entered in error",
            lambda n: "entered-in-error" not in _codings(n, "verificationStatus") or "clinicalStatus" not in n,
        ),
    ),
    "Condition.stage": (
        _rule("con-1", "has a summary or an assessment", lambda n: "summary" in n or "assessment" in n),
    ),
    "Condition.evidence": (_rule("con-2", "has a code or details", lambda n: "code" in n or "detail" in n),),
    "AllergyIntolerance": (
        _rule(
            "ait-2",
            "has no clinical status where it was entered in error",
            lambda n: "entered-in-error" not in _codings(n, "verificationStatus") or "clinicalStatus" not in n,
        ),
        _rule(
            "ait-1",
            "has a clinical status unless it was entered in error",
            lambda n: "entered-in-error" in _codings(n, "verificationStatus") or "clinicalStatus" in n,
        ),
    ),
    "Organization": (_rule("org-1", "has an identifier or a name", lambda n: "identifier" in n or _has(n, "name")),),
    "Composition.section": (
        _rule("cmp-1", "has a text, entries or sections", lambda n: _any(n, ("text", "entry", "section"))),
        _rule(
            "cmp-2",
            "has no reason for being empty where it has entries",
            lambda n: not ("emptyReason" in n and "entry" in n),
        ),
    ),
    "Consent": (_rule("ppc-1", "has a policy or a policy rule", lambda n: "policy" in n or "policyRule" in n),),
    "List": (
        _rule(
            "lst-1",
            "has no reason for being empty where it has entries",
            lambda n: not ("emptyReason" in n and "entry" in n),
        ),
    ),
    "Bundle": (
        _rule(
            "bdl-1",
            "has a total only in a search or history",
            lambda n: not _has(n, "total") or n.get("type") in ("searchset", "history"),
        ),
        _rule("bdl-2", "has search details only in a search", _only(("searchset",), "search")),
        _rule(
            "bdl-3",
            "has requests in a batch, transaction or history, and there alone",
            lambda n: _always(_REQUESTED, "request")(n) and _only(_REQUESTED, "request")(n),
        ),
        _rule(
            "bdl-4",
            "has responses in the answer to a batch or transaction or in a history, and there alone",
            lambda n: _always(_ANSWERED, "response")(n) and _only(_ANSWERED, "response")(n),
        ),
        _rule("bdl-7", "has each full URL once", _unique_urls),
        _rule(
            "bdl-9",
            "has an identifier of a system and value where it is a document",
            lambda n: n.get("type") != "document" or {"system", "value"} <= n.get("identifier", {}).keys(),
        ),
        _rule(
            "bdl-10", "has a date where it is a document", lambda n: n.get("type") != "document" or _has(n, "timestamp")
        ),
        _rule("bdl-11", "begins with a Composition where it is a document", _first_is("document", "Composition")),
        _rule("bdl-12", "begins with a MessageHeader where it is a message", _first_is("message", "MessageHeader")),
    ),
    "Bundle.entry": (
        _rule(
            "bdl-5", "has a resource, a request or a response", lambda n: _any(n, ("resource", "request", "response"))
        ),
        _rule("bdl-8", "has no version in its full URL", lambda n: not _history_url(n.get("fullUrl", ""))),
    ),
}
