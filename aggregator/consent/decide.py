"""May this party, for this purpose, now, read this resource? Pure: consents in, a value with its reason out.

https://hl7.org/fhir/R4/consent.html, with these rules where it leaves room:

- Nothing is open but by a permit of an active Consent that is in force now. Across Consents a deny wins, whatever the
  order or date.
- Within one Consent the deepest matching provision decides; among siblings a deny wins. No effect is flipped by depth.
- In an element a list is OR; between elements, and down the path of nested provisions, AND. Each match is yes, no or
  unknown: a permit counts when its whole path is yes, a deny when its path is not no.
- A permit names its grantee somewhere on its path; a deny without actor is for everyone.
- Without purpose a permit is for every known purpose but HMARKT and BTG, which must be named. Purposes are compared
  exactly by a permit; a deny of a purpose covers those below it (TREAT covers ETREAT).
- A permit is tested against the section a resource lies in, its classifying codes, and dates wholly inside dataPeriod;
  a deny against every section that claims it, every code it mentions, and any overlap (or no date).
- Confidentiality is a scale: a permit of R opens R and lower, a deny of R shuts R and higher; unlabelled is N.
- A sensitive section, and a label the section table calls restricted, opens only when named (class or securityLabel)
  on the path; a resource that several of them claim needs all of them named.
- `identity` opens with its class, or with a permit without class; `directory` with any permit (the view holds what is
  referenced alone); `unsorted` is the owner's, always.
- A payer whose permit names no class, code or instance reads the section `insurance` at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import lru_cache

from aggregator.consent.facts import CONFIDENTIALITY_LEVELS, LAST, Facts, Span, facts_of
from aggregator.consent.provision import (
    PARTY_TYPES,
    PURPOSE_PARENTS,
    PURPOSE_SYSTEM,
    REFERENCE,
    TYPE_SYSTEM,
    UNREADABLE,
    Effect,
    Policy,
    Rule,
    Tokens,
    Unreadable,
    parse,
)
from aggregator.consent.section_table import (
    CONFIDENTIALITY,
    DIRECTORY,
    SECTION_SYSTEM,
    UNSORTED,
    Coding,
    SectionTable,
)

__all__ = [
    "Context",
    "Decider",
    "Deny",
    "Facts",
    "Party",
    "PartyKind",
    "Permit",
    "Policy",
    "Reason",
    "RuleRef",
    "boundaries",
    "decide",
    "facts_of",
    "openable",
    "parse",
]

_ONLY_NAMED = frozenset({"HMARKT", "BTG"})
_READING = frozenset({"access"})
_TOUCHING = frozenset({"access", "use", "disclose"})  # a deny of any of these shuts reading too
_PAYER_READS = (0, frozenset({(SECTION_SYSTEM, "insurance")}))


class PartyKind(Enum):
    """What a party is to the patient."""

    PROVIDER = "provider"
    PAYER = "payer"
    PERSON = "person"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Party:
    """Someone registered with this service. A consent names it as `Organization/<id>` or by one of its identifiers."""

    id: str
    identifiers: frozenset[Coding] = frozenset()
    kind: PartyKind = PartyKind.PROVIDER

    @property
    def tokens(self) -> frozenset[Coding]:
        """All by which a consent's actor can mean this party."""
        return self.identifiers | {(REFERENCE, f"{name}/{self.id}") for name in PARTY_TYPES}


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, for which purpose (a code of v3-ActReason), and when (aware)."""

    party: Party
    purpose: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RuleRef:
    """The Consent's id and the path of a provision in it."""

    consent: str
    path: str


class Reason(StrEnum):
    """Why not. Of several, the one nearest to a permit: they stand in that order."""

    NO_CONSENT = "no-consent"  # no active consent
    NOT_NAMED = "not-named"  # no permit that is understood names this party
    NOT_IN_FORCE = "not-in-force"  # none of those that do is in force now
    PURPOSE = "purpose"  # none of those is for this purpose
    NOT_OPENED = "not-opened"  # no permit covers this resource
    PAYER = "payer"  # a payer's consent must name what lies beyond its claims
    SENSITIVE = "sensitive"  # covered, but its sensitivity is not named
    OWNER_ONLY = "owner-only"  # unsorted: no consent opens it
    REFUSED = "refused"  # a deny matched


_ORDER = {reason: place for place, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Permit:
    """Open, by these rules."""

    rules: tuple[RuleRef, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Shut. False in a condition, as Permit is true. rules: those that refused, where any did."""

    reason: Reason
    rules: tuple[RuleRef, ...] = ()

    def __bool__(self) -> bool:
        return False


_Test = tuple[int, frozenset[Coding]]
"""Which of a resource's token sets (class, code, label, instance), and what it must share a token with."""

_ELEMENTS = ("classes", "codes", "labels", "data")


@dataclass(frozen=True, slots=True)
class _Node:
    """One provision, compiled for one context: what of it depends on the resource alone. effect None: only a frame."""

    ref: RuleRef
    effect: Effect | None
    tests: tuple[_Test, ...]
    spans: tuple[Span, ...]
    named: frozenset[Coding]
    payer: bool
    children: tuple[_Node, ...]


_Found = tuple[Effect | None, tuple[RuleRef, ...]]
_NOTHING: _Found = (None, ())
_STRENGTH = {None: 0, Effect.PERMIT: 1, Effect.DENY: 2}
_OWNERS = Deny(Reason.OWNER_ONLY)


class Decider:
    """Policies compiled for one context: `decide` is then a few set operations for each resource."""

    __slots__ = ("_nodes", "_otherwise")

    def __init__(self, policies: Sequence[Policy], context: Context) -> None:
        compiler = _Compiler(context)
        active = [policy for policy in policies if policy.active]
        nodes = [compiler.node(policy.consent, (policy.root,)) for policy in active if policy.root]
        self._nodes = tuple(node for node in nodes if node)
        self._otherwise = Deny(compiler.nearest if active else Reason.NO_CONSENT)

    def decide(self, facts: Facts) -> Permit | Deny:
        """The decision on one resource."""
        if facts.section == UNSORTED:
            return _OWNERS
        case = _Case(facts)
        permits: tuple[RuleRef, ...] = ()
        denies: tuple[RuleRef, ...] = ()
        for node in self._nodes:
            effect, rules = case.outcome(node)
            if effect is Effect.DENY:
                denies += rules
            elif effect is Effect.PERMIT:
                permits += rules
        if denies:
            return Deny(Reason.REFUSED, denies)
        if permits:
            return Permit(permits)
        return Deny(case.missed) if case.missed else self._otherwise


def decide(policies: Sequence[Policy], context: Context, facts: Facts) -> Permit | Deny:
    """One decision. For many resources keep the Decider."""
    return Decider(policies, context).decide(facts)


@lru_cache(maxsize=512)
def _class_tokens(sections: frozenset[str], resource_type: str) -> frozenset[Coding]:
    return frozenset({(SECTION_SYSTEM, section) for section in sections} | {(TYPE_SYSTEM, resource_type)})


class _Case:
    """One resource under decision."""

    __slots__ = ("deny_tokens", "facts", "missed", "permit_tokens")

    def __init__(self, facts: Facts) -> None:
        instance = frozenset({(REFERENCE, f"{facts.resource_type}/{facts.id}")})
        lies = _class_tokens(frozenset({facts.section}), facts.resource_type)
        claimed = _class_tokens(facts.claims | {facts.section}, facts.resource_type)
        self.facts = facts
        self.permit_tokens = (lies, facts.codes, facts.labels, instance)
        self.deny_tokens = (claimed, facts.codes | facts.mentioned, facts.labels, instance)
        self.missed: Reason | None = None

    def outcome(self, node: _Node) -> _Found:
        """What the deepest matching provisions of this one say."""
        if node.children:
            below = self._below(node.children)
            if below[0]:
                return below
        matches = self._denies(node) if node.effect is Effect.DENY else self._permits(node)
        return (node.effect, (node.ref,)) if matches else _NOTHING

    def _below(self, children: tuple[_Node, ...]) -> _Found:
        found = [self.outcome(child) for child in children]
        wins = max((effect for effect, _ in found), key=_STRENGTH.__getitem__)
        return wins, tuple(rule for effect, rules in found if effect is wins for rule in rules)

    def _denies(self, node: _Node) -> bool:
        for kind, wanted in node.tests:
            if self.deny_tokens[kind].isdisjoint(wanted):
                return False
        dates = self.facts.dates
        return dates is None or all(dates[0] < high and low < dates[1] for low, high in node.spans)

    def _permits(self, node: _Node) -> bool:
        if node.effect is None or not (self.facts.section == DIRECTORY or self._covers(node)):
            return False
        if any(need.isdisjoint(node.named) for need in self.facts.needs):
            return self._miss(Reason.SENSITIVE)
        return True

    def _covers(self, node: _Node) -> bool:
        for kind, wanted in node.tests:
            if self.permit_tokens[kind].isdisjoint(wanted):
                return self._miss(Reason.PAYER if node.payer else Reason.NOT_OPENED)
        dates = self.facts.dates
        return not node.spans or (
            dates is not None and all(low <= dates[0] and dates[1] <= high for low, high in node.spans)
        )

    def _miss(self, reason: Reason) -> bool:
        if self.missed is None or _ORDER[self.missed] < _ORDER[reason]:
            self.missed = reason
        return False


class _Compiler:
    """Settles what depends on the context alone. `nearest`: what kept the permit that came nearest from counting."""

    def __init__(self, context: Context) -> None:
        self._now = context.now
        self._party = context.party
        self._tokens = context.party.tokens
        self._purpose = context.purpose
        self._purposes = frozenset((PURPOSE_SYSTEM, code) for code in _upwards(context.purpose))
        self.nearest = Reason.NOT_NAMED

    def node(self, consent: str, path: tuple[Rule, ...]) -> _Node | None:
        """The last rule of the path, or None where neither it nor one below it can ever decide."""
        below = (self.node(consent, (*path, child)) for child in path[-1].children)
        children = tuple(child for child in below if child)
        effect = path[-1].effect if self._counts(path) else None
        if effect is None and not children:
            return None
        payer = effect is Effect.PERMIT and _is_plain_payer(self._party, path)
        return _Node(
            ref=RuleRef(consent, path[-1].path),
            effect=effect,
            tests=(*_tests(path), *((_PAYER_READS,) if payer else ())),
            spans=tuple(rule.data_period for rule in path if isinstance(rule.data_period, tuple)),
            named=_named(path),
            payer=payer,
            children=children,
        )

    def _counts(self, path: tuple[Rule, ...]) -> bool:
        if path[-1].effect is Effect.DENY:
            return self._may_refuse(path)
        hindrance = self._hindrance(path) if path[-1].effect else Reason.NOT_NAMED
        self.nearest = max(self.nearest, hindrance or Reason.NOT_OPENED, key=_ORDER.__getitem__)
        return hindrance is None

    def _hindrance(self, path: tuple[Rule, ...]) -> Reason | None:
        if not _may_permit(path, self._tokens):
            return Reason.NOT_NAMED
        if not all(_contains(rule.period, self._now) for rule in path):
            return Reason.NOT_IN_FORCE
        named = [rule.purposes for rule in path if isinstance(rule.purposes, frozenset)]
        by_default = self._purpose in PURPOSE_PARENTS and self._purpose not in _ONLY_NAMED
        asked = (PURPOSE_SYSTEM, self._purpose)
        return None if (all(asked in purposes for purposes in named) if named else by_default) else Reason.PURPOSE

    def _may_refuse(self, path: tuple[Rule, ...]) -> bool:
        unknown_purpose = self._purpose not in PURPOSE_PARENTS
        return all(
            _not_no(rule.actors, self._tokens)
            and (unknown_purpose or _not_no(rule.purposes, self._purposes))
            and _not_no(_codes(rule.actions), _TOUCHING)
            and _contains(rule.period, self._now)
            for rule in path
        )


def _upwards(purpose: str) -> Iterator[str]:
    while purpose:
        yield purpose
        purpose = PURPOSE_PARENTS.get(purpose, "")


def _not_no(criterion: Tokens | Unreadable | frozenset[str], tokens: frozenset[Coding] | frozenset[str]) -> bool:
    return not isinstance(criterion, frozenset) or not tokens.isdisjoint(criterion)


def _contains(period: Span | Unreadable | None, now: datetime) -> bool:
    return not isinstance(period, tuple) or period[0] <= now < period[1]


def _codes(tokens: Tokens) -> frozenset[str] | None:
    return frozenset(code for _, code in tokens) if isinstance(tokens, frozenset) else None


def _may_permit(path: tuple[Rule, ...], party: frozenset[Coding]) -> bool:
    """All is understood, the party is named, and reading is among the actions: at some time, for some purpose."""
    criteria = ("period", "actors", "actions", "purposes", "data_period", *_ELEMENTS)
    if any(not rule.clear or any(getattr(rule, name) is UNREADABLE for name in criteria) for rule in path):
        return False
    actors = [rule.actors for rule in path if isinstance(rule.actors, frozenset)]
    actions = [_codes(rule.actions) for rule in path]
    named = bool(actors) and not any(party.isdisjoint(wanted) for wanted in actors)
    return named and all(codes is None or codes >= _READING for codes in actions)


def _is_plain_payer(party: Party, path: tuple[Rule, ...]) -> bool:
    named = any(rule.classes or rule.codes or rule.data for rule in path)
    return party.kind is PartyKind.PAYER and not named


def _tests(path: tuple[Rule, ...]) -> tuple[_Test, ...]:
    criteria = [(kind, getattr(rule, name)) for rule in path for kind, name in enumerate(_ELEMENTS)]
    effect = path[-1].effect
    return tuple((kind, _scaled(tokens, effect)) for kind, tokens in criteria if isinstance(tokens, frozenset))


def _scaled(tokens: frozenset[Coding], effect: Effect | None) -> frozenset[Coding]:
    """With the levels of Confidentiality that a permit (those below) or a deny (those above) of one means as well."""
    levels = CONFIDENTIALITY_LEVELS
    named = [levels.index(code) for system, code in tokens if system == CONFIDENTIALITY and code in levels]
    if not named:
        return tokens
    covered = levels[min(named) :] if effect is Effect.DENY else levels[: max(named) + 1]
    return tokens | {(CONFIDENTIALITY, code) for code in covered}


def _named(path: tuple[Rule, ...]) -> frozenset[Coding]:
    criteria = [criterion for rule in path for criterion in (rule.classes, rule.labels)]
    return frozenset[Coding]().union(*(tokens for tokens in criteria if isinstance(tokens, frozenset)))


def openable(policies: Sequence[Policy], party: Party, sections: frozenset[str]) -> frozenset[str]:
    """The coarse net: the sections in which some permit could open something to the party, at any time and purpose.

    Never too few; `decide` is the second lock.
    """
    paths = [path for policy in policies if policy.active and policy.root for path in _paths((policy.root,))]
    permits = [path for path in paths if path[-1].effect is Effect.PERMIT and _may_permit(path, party.tokens)]
    shut = [path for path in paths if path[-1].effect is Effect.DENY and _always(path, party.tokens)]
    return frozenset(
        section
        for section in sections - {UNSORTED}
        if any(_reaches(path, party, section) for path in permits) and not any(_shuts(path, section) for path in shut)
    )


def _paths(path: tuple[Rule, ...]) -> Iterator[tuple[Rule, ...]]:
    yield path
    for child in path[-1].children:
        yield from _paths((*path, child))


def _reaches(path: tuple[Rule, ...], party: Party, section: str) -> bool:
    table = SectionTable.load()
    if section == DIRECTORY:
        return True
    if _is_plain_payer(party, path):
        return section == "insurance"
    if section in table.sensitive and table.names(section).isdisjoint(_named(path)):
        return False
    return all(
        any(
            code == section or (system == TYPE_SYSTEM and section in table.sections_of_type(code))
            for system, code in wanted
        )
        for wanted in (rule.classes for rule in path)
        if isinstance(wanted, frozenset)
    )


def _always(path: tuple[Rule, ...], party: frozenset[Coding]) -> bool:
    """A deny that hits the party at any time, for any purpose, with no test of a resource but its class."""
    free = ("period", "purposes", "actions", "codes", "labels", "data", "data_period")
    return not path[-1].children and all(
        _not_no(rule.actors, party) and all(getattr(rule, name) in (None, UNREADABLE) for name in free) for rule in path
    )


def _shuts(path: tuple[Rule, ...], section: str) -> bool:
    return all(_not_no(rule.classes, frozenset({(SECTION_SYSTEM, section)})) for rule in path)


def boundaries(policies: Sequence[Policy], now: datetime) -> datetime | None:
    """The next instant after `now` at which any period of an active policy begins or ends; None where there is none."""
    rules = [rule for policy in policies if policy.active and policy.root for rule in policy.root.walk()]
    ends = [end for rule in rules if isinstance(rule.period, tuple) for end in rule.period]
    return min((end for end in ends if now < end < LAST), default=None)
