"""What a grantee did not see: computed in the patient's own view, from what a receipt holds.

A receipt names log position, grant version, party, purpose and time; the truth gives the record as it was then, the
grant archive the Consents of then. So the patient sees what was withheld, and the grantee's side never counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aggregator.consent.decide import Context, Decider, Deny, Facts, Party, Policy, Reason, boundaries, facts_of, parse
from aggregator.consent.section_table import DIRECTORY, SectionTable
from aggregator.vault.fold import State
from aggregator.vault.mask import part_of
from fhir_profiles.text import Resource, loads

Consents = Callable[[int], Sequence[Resource]]
"""Grant version -> the Consents that were in force with it."""


@dataclass(slots=True)
class Withheld:
    """Answers for one vault; each (position, version, party, purpose, time between boundaries) is decided once."""

    state: State
    consents: Consents
    table: SectionTable
    _facts: dict[int, Sequence[tuple[str, Facts]]] = field(default_factory=dict)
    _policies: dict[int, Sequence[Policy]] = field(default_factory=dict)
    _known: dict[tuple[int, int, str, str, datetime | None], Mapping[tuple[str, str, Reason], int]] = field(
        default_factory=dict
    )

    def by_section(
        self, party: Party, purpose: str, at: datetime, log_position: int, grant_version: int, resource_type: str
    ) -> dict[str, int]:
        """Section -> how many resources of this type ("" for all) the party did not see. The directory is left out."""
        found: Counter[str] = Counter()
        for (section, _), number in self.why(party, purpose, at, log_position, grant_version, resource_type).items():
            found[section] += number
        return dict(sorted(found.items()))

    def why(
        self, party: Party, purpose: str, at: datetime, log_position: int, grant_version: int, resource_type: str
    ) -> Mapping[tuple[str, Reason], int]:
        """The same by section and reason."""
        policies = self._policies_of(grant_version)
        # Until the same next boundary no period begins or ends, so the decisions are the same.
        key = (log_position, grant_version, party.id, purpose, boundaries(policies, at))
        if key not in self._known:
            self._known[key] = self._count(Decider(policies, Context(party, purpose, at)), log_position)
        found: Counter[tuple[str, Reason]] = Counter()
        for (kind, section, reason), number in self._known[key].items():
            if resource_type in ("", kind):
                found[section, reason] += number
        return found

    def _policies_of(self, grant_version: int) -> Sequence[Policy]:
        if grant_version not in self._policies:
            self._policies[grant_version] = [parse(one) for one in self.consents(grant_version)]
        return self._policies[grant_version]

    def _count(self, decider: Decider, log_position: int) -> Mapping[tuple[str, str, Reason], int]:
        decisions = (
            (facts.resource_type, section, decider.decide(facts))
            for section, facts in self._all_facts(log_position)
            if section != DIRECTORY
        )
        return Counter((kind, section, one.reason) for kind, section, one in decisions if isinstance(one, Deny))

    def _all_facts(self, log_position: int) -> Sequence[tuple[str, Facts]]:
        if log_position not in self._facts:
            current = [(section, loads(put.resource)) for section, put in self.state.at(log_position).current()]
            self._facts[log_position] = [
                (section, facts_of(resource, self.table.section_of(resource)))
                for section, resource in current
                if part_of(resource) is None  # it counts with its whole
            ]
        return self._facts[log_position]
