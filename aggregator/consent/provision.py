"""A FHIR Consent as a policy: https://hl7.org/fhir/R4/consent.html, read once, in a form that `decide` can evaluate.

Parsing never fails. What cannot be understood (an unknown element, a modifierExtension, a role, a reference form, a
code system, a code with text alone) becomes UNREADABLE in its place: a permit with it never matches, a deny with it
does. A list in which one item is not understood is not understood as a whole.

Understood are, in a provision: type, period, actor, action, securityLabel, purpose, class (our sections, FHIR's
resource types), code, data (meaning `instance`), dataPeriod, provision. The scope must be patient-privacy; policy and
policyRule open nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from aggregator.consent.facts import Span, period
from aggregator.consent.section_table import Coding, SectionTable
from fhir_profiles.codes import ACT_REASON, CONSENT_SCOPE, PARTICIPATION_TYPE
from fhir_profiles.profiles import SECTION_SYSTEM, SECTIONS
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import Resource

TYPE_SYSTEM = "http://hl7.org/fhir/resource-types"
ACTION_SYSTEM = "http://terminology.hl7.org/CodeSystem/consentaction"
REFERENCE = ""
"""The system of a token that is a relative reference, "Type/id"."""

PARTY_TYPES = ("Organization", "Practitioner", "PractitionerRole", "Device")
"""What a reference to a party of this service may call it: `Organization/<party id>`."""

_SCOPE = (CONSENT_SCOPE, "patient-privacy")
_ACTIONS = frozenset({"collect", "access", "use", "disclose", "correct"})

# Who receives: https://terminology.hl7.org/CodeSystem-v3-ParticipationType.html and v3-RoleClass. Other roles (author,
# custodian, witness ...) are not the reader's and are not understood.
_ROLES = frozenset(
    {(PARTICIPATION_TYPE, code) for code in ("PRCP", "IRCP")}
    | {("http://terminology.hl7.org/CodeSystem/v3-RoleClass", code) for code in ("PROV", "ASSIGNED")}
)

# https://terminology.hl7.org/ValueSet-v3-PurposeOfUse.html: parent -> children.
_PURPOSE_TREE = {
    "": "HMARKT HOPERAT HPAYMT HRESCH PATRQT PUBHLTH TREAT",
    "HOPERAT": "CAREMGT DONAT FRAUD GOV HACCRED HCOMPL HDECD HDIRECT HDM HLEGAL HOUTCOMS HPRGRP HQUALIMP HSYSADMIN"
    " LABELING METAMGT MEMADMIN MILCDM PATADMIN PATSFTY PERFMSR RECORDMGT SYSDEV HTEST TRAIN",
    "HPAYMT": "CLMATTCH COVAUTH COVERAGE ELIGDTRM ELIGVER ENROLLM MILDCRG REMITADV",
    "HRESCH": "BIORCH CLINTRCH DSRCH POARCH TRANSRCH",
    "CLINTRCH": "CLINTRCHNPC CLINTRCHPC PRECLINTRCH",
    "PATRQT": "FAMRQT PWATRNY SUPNWK",
    "PUBHLTH": "DISASTER THREAT",
    "TREAT": "CLINTRL COC ETREAT POPHLTH",
    "ETREAT": "BTG ERTREAT",
}
PURPOSE_PARENTS: Final = {child: parent for parent, children in _PURPOSE_TREE.items() for child in children.split()}
"""Each purpose of use that is known, and the one above it ("" for none)."""


class Effect(Enum):
    """What a provision's own type says."""

    PERMIT = "permit"
    DENY = "deny"


class Unreadable(Enum):
    """There is a criterion, and it is not understood."""

    UNREADABLE = "unreadable"


UNREADABLE: Final = Unreadable.UNREADABLE
Tokens = frozenset[Coding] | Unreadable | None
"""A criterion: any of these matches; not understood; or absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One provision. Its criteria are ANDed with each other and with those of the provisions around it.

    path: FHIRPath within the Consent, as provision.provision[1].
    effect: None for a root without type: a frame around its children.
    clear: False where something beside the criteria below is not understood.
    """

    path: str
    effect: Effect | None
    clear: bool
    period: Span | Unreadable | None
    actors: Tokens
    actions: Tokens
    labels: Tokens
    purposes: Tokens
    classes: Tokens
    codes: Tokens
    data: Tokens
    data_period: Span | Unreadable | None
    children: tuple[Rule, ...]

    def walk(self) -> Iterator[Rule]:
        """This rule and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One Consent. problems: what was not understood, in sentences for the patient, without values."""

    consent: str
    active: bool
    root: Rule | None
    problems: tuple[str, ...]


_CONSENT_ELEMENTS = frozenset({
    *("resourceType", "id", "meta", "language", "text", "contained", "identifier", "status", "scope", "category"),
    *("patient", "dateTime", "performer", "organization", "sourceAttachment", "sourceReference", "policy"),
    *("policyRule", "verification", "provision"),
})  # fmt: skip
_PROVISION_ELEMENTS = frozenset({
    *("type", "period", "actor", "action", "securityLabel", "purpose", "class", "code", "data", "dataPeriod"),
    "provision",
})  # fmt: skip
_ALWAYS = frozenset({"id", "extension"})
_GROUP = re.compile(r"[A-Z]\d\d[-–][A-Z]\d\d")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-]{1,64})", re.ASCII)


def parse(consent: Resource) -> Policy:
    """Read a Consent. Never raises for content."""
    provision = consent.get("provision")
    clear = _understood(consent, _CONSENT_ELEMENTS) and _SCOPE in (_concept(consent.get("scope")) or ())
    root = _rule(provision, "provision", clear=clear) if "provision" in consent else None
    return Policy(
        consent=str(consent.get("id", "")),
        active=consent.get("resourceType") == "Consent" and consent.get("status") == "active",
        root=root,
        problems=(
            *(() if clear else ("The consent's own elements or its scope are not understood.",)),
            *_problems(root),
        ),
    )


def _rule(node: Any, path: str, *, clear: bool = True) -> Rule:
    """One provision. A type missing below the root, or unknown anywhere, may be a deny: so it is one, unclear."""
    given = node if isinstance(node, dict) else {}
    effect = next((effect for effect in Effect if effect.value == given.get("type")), None)
    frame = path == "provision" and isinstance(node, dict) and not node.keys() & {"type", "_type"}
    children = given.get("provision", [])
    listed = isinstance(children, list)
    return Rule(
        path=path,
        effect=effect if effect or frame else Effect.DENY,
        clear=clear and listed and (effect is not None or frame) and _understood(node, _PROVISION_ELEMENTS),
        period=_period(given, "period"),
        data_period=_period(given, "dataPeriod"),
        children=tuple(_rule(child, f"{path}.provision[{n}]") for n, child in enumerate(children if listed else [])),
        **{name: _tokens(given, element, read) for name, (element, read) in _READERS.items()},
    )


def _understood(node: Any, elements: frozenset[str]) -> bool:
    """No element that we do not know, no modifierExtension, no primitive that is only an extension."""
    if not isinstance(node, dict):
        return False
    known = elements | _ALWAYS
    return all(key in known or (key[:1] == "_" and key[1:] in node and key[1:] in known) for key in node)


def _period(node: dict[str, Any], element: str) -> Span | Unreadable | None:
    if element not in node:
        return None
    readable = _understood(node[element], frozenset({"start", "end"}))
    return (period(node[element]) if readable else None) or UNREADABLE


def _tokens(node: dict[str, Any], element: str, read: Callable[[Any], frozenset[Coding]]) -> Tokens:
    if element not in node:
        return None
    items = node[element]
    found = [read(item) for item in items] if isinstance(items, list) else []
    return frozenset[Coding]().union(*found) if found and all(found) else UNREADABLE


def _coding(node: Any) -> frozenset[Coding]:
    """Empty where it is not understood."""
    if not _understood(node, frozenset({"system", "version", "code", "display", "userSelected"})):
        return frozenset()
    system, code = node.get("system"), node.get("code")
    if not (isinstance(system, str) and isinstance(code, str) and system and code):
        return frozenset()
    return frozenset({SectionTable.load().canonical((system, code))})


def _concept(node: Any) -> frozenset[Coding]:
    """The codings are synonyms: one that is understood is enough."""
    if not _understood(node, frozenset({"coding", "text"})) or not isinstance(node.get("coding"), list):
        return frozenset()
    return frozenset[Coding]().union(*map(_coding, node["coding"]))


def _purpose(node: Any) -> frozenset[Coding]:
    return frozenset(token for token in _coding(node) if token[0] == ACT_REASON and token[1] in PURPOSE_PARENTS)


def _action(node: Any) -> frozenset[Coding]:
    return frozenset(token for token in _concept(node) if token[0] == ACTION_SYSTEM and token[1] in _ACTIONS)


def _code(node: Any) -> frozenset[Coding]:
    """Without ICD's groups: that F32.1 lies in F30-F39 is not known here."""
    return frozenset(token for token in _concept(node) if not _GROUP.fullmatch(token[1]))


def _class(node: Any) -> frozenset[Coding]:
    known = {SECTION_SYSTEM: SECTIONS.keys(), TYPE_SYSTEM: RESOURCES}
    return frozenset(token for token in _coding(node) if token[1] in known.get(token[0], ()))


def _actor(node: Any) -> frozenset[Coding]:
    if not _understood(node, frozenset({"role", "reference"})) or not _concept(node.get("role")) & _ROLES:
        return frozenset()
    return _party(node.get("reference"))


def _party(node: Any) -> frozenset[Coding]:
    """By reference and identifier. A contained or absolute reference, or one into a record or to a group, is unread."""
    if not _understood(node, frozenset({"reference", "type", "identifier", "display"})):
        return frozenset()
    match = _REFERENCE.fullmatch(node["reference"]) if isinstance(node.get("reference"), str) else None
    if "reference" in node and (match is None or match[1] not in PARTY_TYPES):
        return frozenset()
    named = {(REFERENCE, match[0])} if match else set()
    return frozenset(named | _identifier(node["identifier"]) if "identifier" in node else named)


def _identifier(node: Any) -> set[Coding]:
    system, value = (node.get("system"), node.get("value")) if isinstance(node, dict) else (None, None)
    return {(system, value)} if isinstance(system, str) and isinstance(value, str) and system and value else set()


def _data(node: Any) -> frozenset[Coding]:
    if not _understood(node, frozenset({"meaning", "reference"})) or node.get("meaning") != "instance":
        return frozenset()
    reference = node.get("reference")
    target = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(target, str) or not re.fullmatch(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}", target, re.ASCII):
        return frozenset()
    return frozenset({(REFERENCE, target)})


_READERS: dict[str, tuple[str, Callable[[Any], frozenset[Coding]]]] = {
    "actors": ("actor", _actor),
    "actions": ("action", _action),
    "labels": ("securityLabel", _coding),
    "purposes": ("purpose", _purpose),
    "classes": ("class", _class),
    "codes": ("code", _code),
    "data": ("data", _data),
}
CRITERIA = {name: element for name, (element, _) in _READERS.items()} | {
    "period": "period",
    "data_period": "dataPeriod",
}
"""The criteria of a Rule, and the elements they come from."""


def _problems(root: Rule | None) -> Iterator[str]:
    for rule in root.walk() if root else ():
        unread = [f"{rule.path}.{element}" for name, element in CRITERIA.items() if getattr(rule, name) is UNREADABLE]
        for place in unread if rule.clear else [rule.path, *unread]:
            yield f"{place} is not understood: a permit with it opens nothing, a deny with it applies."
