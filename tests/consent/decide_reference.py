"""The consent semantics once more, written naively from the specification: no compiling, no sharing, slow and plain.

It reads the Consent itself: every provision for every resource, with min over three values. Facts are taken as given.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aggregator.consent.decide import Context, Facts, PartyKind
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM, SECTIONS
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import Resource

NO, UNKNOWN, YES = 0, 1, 2
LEVELS = "ULMNRV"
KNOWN = {"type", "actor", "purpose", "class", "code", "securityLabel", "data", "period", "dataPeriod", "action"}
BELOW_TREAT = {"TREAT": {"TREAT", "ETREAT", "BTG"}, "ETREAT": {"ETREAT", "BTG"}}


def permitted(consents: list[Resource], context: Context, facts: Facts) -> bool:
    return facts.section != "unsorted" and outcomes(consents, context, facts) == {"permit"}


def outcomes(consents: list[Resource], context: Context, facts: Facts) -> set[str]:
    """What those consents say that say anything."""
    active = [one["provision"] for one in consents if one["status"] == "active" and "provision" in one]
    return {said for said in (outcome([root], context, facts) for root in active) if said}


def outcome(path: list[Resource], context: Context, facts: Facts) -> str | None:
    below = [outcome([*path, child], context, facts) for child in path[-1].get("provision", [])]
    for wins in ("deny", "permit"):
        if wins in below:
            return wins
    effect = path[-1].get("type")
    if len(path) == 1 and effect is None:
        return None
    if effect == "permit":
        return "permit" if permits(path, context, facts) else None
    return "deny" if min(deny_match(node, context, facts) for node in path) > NO else None


def permits(path: list[Resource], context: Context, facts: Facts) -> bool:
    if any(
        set(node) - KNOWN - {"provision"} or (len(path) > 1 and node is not path[0] and "type" not in node)
        for node in path
    ):
        return False
    asks = [context_match(node, context) for node in path]
    named_actor = any("actor" in node for node in path)
    named_purpose = any("purpose" in node for node in path)
    if min(asks) < YES or not named_actor or (not named_purpose and context.purpose in ("HMARKT", "BTG")):
        return False
    covered = min(permit_match(node, facts) for node in path) == YES
    if context.party.kind is PartyKind.PAYER and not any({"class", "code", "data"} & set(node) for node in path):
        covered = covered and facts.section == "insurance"
    named = {tuple_of(one) for node in path for name in ("class", "securityLabel") for one in node.get(name, [])}
    readable = all(permit_match(node, facts, NO) != UNKNOWN for node in path)
    return (covered or (facts.section == "directory" and readable)) and all(named & need for need in facts.needs)


def tuple_of(coding: Resource) -> tuple[str, str]:
    return coding.get("system", ""), coding.get("code", "")


def context_match(node: Resource, context: Context, deny: bool = False) -> int:
    found = [YES]
    if "actor" in node:
        roles = [actor["role"]["coding"][0]["code"] for actor in node["actor"]]
        by = [actor["reference"] for actor in node["actor"]]
        named = {one.get("reference") or tuple(one["identifier"].values()) for one in by}
        mine = bool(named & {f"Organization/{context.party.id}", *context.party.identifiers})
        found.append(UNKNOWN if set(roles) - {"PRCP"} else YES if mine else NO)
    if "purpose" in node:
        wanted = {one["code"] for one in node["purpose"]}
        if deny:
            wanted = set().union(*(BELOW_TREAT.get(one, {one}) for one in wanted))
        found.append(UNKNOWN if "WHIM" in wanted else YES if context.purpose in wanted else NO)
    if "action" in node:
        wanted = {one["coding"][0]["code"] for one in node["action"]}
        found.append(YES if wanted & ({"access", "use"} if deny else {"access"}) else NO)
    if "period" in node:
        low, high = days(node["period"])
        found.append(YES if low <= context.now < high else NO)
    return min(found)


def days(period: dict[str, str]) -> tuple[datetime, datetime]:
    low = datetime.fromisoformat(period["start"]) if "start" in period else datetime.min.replace(tzinfo=UTC)
    high = datetime.fromisoformat(period["end"]) if "end" in period else datetime.max.replace(tzinfo=UTC)
    return low, high + timedelta(seconds=1) if "end" in period else high


def class_match(node: Resource, facts: Facts, sections: set[str]) -> int:
    wanted = [tuple_of(one) for one in node["class"]]
    if any(code not in SECTIONS if system == SECTION_SYSTEM else code not in RESOURCES for system, code in wanted):
        return UNKNOWN
    mine = {(SECTION_SYSTEM, name) for name in sections} | {("http://hl7.org/fhir/resource-types", facts.resource_type)}
    return YES if mine & set(wanted) else NO


def code_match(node: Resource, mine: frozenset[tuple[str, str]]) -> int:
    wanted = [concept.get("coding") for concept in node["code"]]
    if None in wanted:
        return UNKNOWN
    return YES if mine & {tuple_of(codings[0]) for codings in wanted} else NO


def one_label(wanted: tuple[str, str], facts: Facts, deny: bool) -> int:
    if wanted[0] != codes.CONFIDENTIALITY:
        return YES if wanted in facts.labels else NO
    level = max(LEVELS.index(code) for system, code in facts.labels if system == codes.CONFIDENTIALITY)
    limit = LEVELS.index(wanted[1])
    return YES if (level >= limit if deny else level <= limit) else NO


def resource_match(node: Resource, facts: Facts, deny: bool) -> list[int]:
    """Of the criteria on the resource, those that a permit and a deny read alike: a deny looks at more of it."""
    found: list[int] = []
    if "class" in node:
        found.append(class_match(node, facts, {facts.section, *(facts.claims if deny else ())}))
    if "code" in node:
        found.append(code_match(node, facts.codes | (facts.mentioned if deny else frozenset())))
    if "securityLabel" in node:
        found.append(max(one_label(tuple_of(one), facts, deny) for one in node["securityLabel"]))
    if "data" in node:
        named = [one["reference"]["reference"] for one in node["data"]]
        found.append(YES if f"{facts.resource_type}/{facts.id}" in named else NO)
    return found


def permit_match(node: Resource, facts: Facts, otherwise: int = YES) -> int:
    """All criteria on the resource; `otherwise` replaces every NO and YES, so that UNKNOWN alone shows."""
    found = resource_match(node, facts, deny=False)
    if "dataPeriod" in node:
        low, high = days(node["dataPeriod"])
        found.append(YES if facts.dates and low <= facts.dates[0] and facts.dates[1] <= high else NO)
    if otherwise == NO:
        return UNKNOWN if UNKNOWN in found else NO
    return min([YES, *found])


def deny_match(node: Resource, context: Context, facts: Facts) -> int:
    found = [context_match(node, context, deny=True), *resource_match(node, facts, deny=True)]
    if "dataPeriod" in node and facts.dates is not None:
        low, high = days(node["dataPeriod"])
        found.append(YES if facts.dates[0] < high and low < facts.dates[1] else NO)
    return min(found)
