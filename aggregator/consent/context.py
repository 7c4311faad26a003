"""Who asks, for what and when, and what of a provision that settles before any resource is looked at.

A path is a provision with those around it, outermost first; its criteria are ANDed. A criterion that is not understood
is neither yes nor no: `may_permit` fails on it, `may_refuse` passes over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from aggregator.consent.facts import Span
from aggregator.consent.provision import (
    CRITERIA,
    PARTY_TYPES,
    PURPOSE_PARENTS,
    REFERENCE,
    UNREADABLE,
    Effect,
    Policy,
    Rule,
    Tokens,
    Unreadable,
)
from aggregator.consent.section_table import Coding
from fhir_profiles.codes import ACT_REASON

Path = tuple[Rule, ...]

_ONLY_NAMED = frozenset({"HMARKT", "BTG"})
READ, COLLECT = "access", "collect"
"""What is asked for: to read, or to add to the record."""

# A deny of any of these shuts it.
_TOUCHING = {READ: frozenset({"access", "use", "disclose"}), COLLECT: frozenset({"collect"})}


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
    """Who asks, for which purpose (a code of v3-ActReason), when (aware), and to do what."""

    party: Party
    purpose: str
    now: datetime
    action: str = READ


def paths(policy: Policy) -> Iterator[Path]:
    """Every path of an active policy; none of one that is not."""
    if policy.active and policy.root:
        yield from _below((policy.root,))


def _below(path: Path) -> Iterator[Path]:
    yield path
    for child in path[-1].children:
        yield from _below((*path, child))


def may_permit(path: Path, party: frozenset[Coding], action: str = READ) -> bool:
    """A permit, all understood, that names the party, the action among its own: at some time, for some purpose.

    Without actions it is one to read; what adds to the record must be named.
    """
    if path[-1].effect is not Effect.PERMIT or not all(rule.clear for rule in path):
        return False
    if any(getattr(rule, name) is UNREADABLE for rule in path for name in CRITERIA):
        return False
    actors = [rule.actors for rule in path if isinstance(rule.actors, frozenset)]
    named = [codes for codes in map(_codes, (rule.actions for rule in path)) if codes is not None]
    meant = all(action in codes for codes in named) and (action == READ or bool(named))
    return meant and bool(actors) and not any(party.isdisjoint(wanted) for wanted in actors)


def in_force(path: Path, now: datetime) -> bool:
    """No period on the path is known to lie elsewhere."""
    return all(_contains(rule.period, now) for rule in path)


def serves(path: Path, purpose: str) -> bool:
    """A permit's purposes, compared exactly; without any, every known purpose but those that must be named."""
    named = [rule.purposes for rule in path if isinstance(rule.purposes, frozenset)]
    if not named:
        return purpose in PURPOSE_PARENTS and purpose not in _ONLY_NAMED
    return all((ACT_REASON, purpose) in purposes for purposes in named)


def may_refuse(path: Path, context: Context) -> bool:
    """A deny that is not known to be for others, for other purposes or actions, or for another time."""
    purposes = frozenset((ACT_REASON, code) for code in _upwards(context.purpose))
    unknown_purpose, touching = context.purpose not in PURPOSE_PARENTS, _TOUCHING[context.action]
    return in_force(path, context.now) and all(
        not_no(rule.actors, context.party.tokens)
        and (unknown_purpose or not_no(rule.purposes, purposes))
        and not touching.isdisjoint(_codes(rule.actions) or touching)
        for rule in path
    )


def not_no(criterion: Tokens, tokens: frozenset[Coding]) -> bool:
    """Absent, not understood, or matched by one of the tokens."""
    return not isinstance(criterion, frozenset) or not tokens.isdisjoint(criterion)


def is_plain_payer(party: Party, path: Path) -> bool:
    """A payer whom the path gives no class, code or instance: it reads its claims at most."""
    named = any(rule.classes or rule.codes or rule.data for rule in path)
    return party.kind is PartyKind.PAYER and not named


def named_on(path: Path) -> frozenset[Coding]:
    """The sections and labels that the path names."""
    criteria = [criterion for rule in path for criterion in (rule.classes, rule.labels)]
    return frozenset[Coding]().union(*(tokens for tokens in criteria if isinstance(tokens, frozenset)))


def _upwards(purpose: str) -> Iterator[str]:
    while purpose:
        yield purpose
        purpose = PURPOSE_PARENTS.get(purpose, "")


def _contains(period: Span | Unreadable | None, now: datetime) -> bool:
    return not isinstance(period, tuple) or period[0] <= now < period[1]


def _codes(tokens: Tokens) -> frozenset[str] | None:
    return frozenset(code for _, code in tokens) if isinstance(tokens, frozenset) else None
