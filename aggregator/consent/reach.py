"""How far consents can reach, without looking at a resource: which sections, and until when an answer holds.

`openable` is the coarse net that picks the section keys of a grant; `decide` on each resource is the second lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aggregator.consent.context import READ, Party, Path, is_plain_payer, may_permit, named_on, not_no, paths, serves
from aggregator.consent.facts import FIRST, LAST
from aggregator.consent.provision import PURPOSE_PARENTS, TYPE_SYSTEM, UNREADABLE, Effect, Policy, parse
from aggregator.consent.section_table import DIRECTORY, UNSORTED, SectionTable
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource

# A deny with one of these may leave something open, so it shuts no section as a whole.
_NARROWING = ("period", "purposes", "actions", "codes", "labels", "data", "data_period")


def openable(policies: Sequence[Policy], party: Party, sections: frozenset[str], now: datetime) -> frozenset[str]:
    """Those of these sections in which some permit could open something to the party, now or later, for any purpose.

    Never too few. Too many where a deny, a code or a date decides: that is decided on each resource.
    """
    every = [path for policy in policies for path in paths(policy)]
    permits = [path for path in every if may_permit(path, party.tokens) and not _is_past(path, now)]
    denies = [path for path in every if _always_refuses(path, party)]
    return frozenset(
        section
        for section in sections - {UNSORTED}
        if any(_reaches(path, party, section) for path in permits) and not any(_shuts(path, section) for path in denies)
    )


def _is_past(path: Path, now: datetime) -> bool:
    """Whoever has its section's key by it alone has it no longer, and the keys have to change."""
    return _occasion(path).high <= now


def _reaches(path: Path, party: Party, section: str) -> bool:
    table = SectionTable.load()
    if section == DIRECTORY:
        return True
    if is_plain_payer(party, path):
        return section == "insurance"
    if section in table.sensitive and table.names(section).isdisjoint(named_on(path)):
        return False
    return all(_includes(rule.classes, section) for rule in path if isinstance(rule.classes, frozenset))


def _includes(classes: frozenset[tuple[str, str]], section: str) -> bool:
    types = [code for system, code in classes if system == TYPE_SYSTEM]
    table = SectionTable.load()
    return (SECTION_SYSTEM, section) in classes or any(section in table.sections_of_type(name) for name in types)


def _always_refuses(path: Path, party: Party) -> bool:
    """A deny that hits the party whenever, whatever for, and with no test of a resource but its class.

    One without provisions inside it: it decides wherever it matches, and no permit can win against it.
    """
    if path[-1].effect is not Effect.DENY or path[-1].children:
        return False
    return all(
        not_no(rule.actors, party.tokens) and all(getattr(rule, name) in (None, UNREADABLE) for name in _NARROWING)
        for rule in path
    )


def _shuts(path: Path, section: str) -> bool:
    return all(not_no(rule.classes, frozenset({(SECTION_SYSTEM, section)})) for rule in path)


@dataclass(frozen=True, slots=True)
class Occasion:
    """A time, low to high (aware, high excluded), and the purposes for which anything could be permitted in it."""

    low: datetime
    high: datetime
    purposes: frozenset[str]

    def covers(self, now: datetime, purpose: str) -> bool:
        return self.low <= now < self.high and purpose in self.purposes


def occasions(policies: Sequence[Policy], party: Party, action: str = READ) -> list[Occasion]:
    """When and for which purposes some permit could open something to the party: the key service opens at no other."""
    permits = [path for policy in policies for path in paths(policy) if may_permit(path, party.tokens, action)]
    found = {_occasion(path) for path in permits}
    return sorted((one for one in found if one.low < one.high and one.purposes), key=lambda one: (one.low, one.high))


def _occasion(path: Path) -> Occasion:
    periods = [rule.period for rule in path if isinstance(rule.period, tuple)]
    return Occasion(
        max((low for low, _ in periods), default=FIRST),
        min((high for _, high in periods), default=LAST),
        frozenset(purpose for purpose in PURPOSE_PARENTS if serves(path, purpose)),
    )


def boundaries(policies: Sequence[Policy], now: datetime) -> datetime | None:
    """The next instant after `now` at which any period of an active policy begins or ends; None where there is none."""
    periods = [path[-1].period for policy in policies for path in paths(policy)]
    instants = [instant for period in periods if isinstance(period, tuple) for instant in period]
    return min((instant for instant in instants if now < instant < LAST), default=None)


def named_values(consents: Sequence[Resource], system: str) -> set[str]:
    """The values of this system by which these Consents name actors anywhere."""
    return {
        value
        for policy in map(parse, consents)
        for rule in (policy.root.walk() if policy.root else ())
        if isinstance(rule.actors, frozenset)
        for actor_system, value in rule.actors
        if actor_system == system
    }
