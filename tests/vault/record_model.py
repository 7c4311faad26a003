"""A record and who may read it, as dictionaries: what the state machine holds the service against."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.vault.installation import PARTIES, Seen, Told

EVERYBODY = frozenset(PARTIES)
ALWAYS = frozenset({"directory"})
"""What opens with every grant."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A Consent as it was signed last."""

    parties: frozenset[str]
    sections: frozenset[str]
    active: bool
    number: int = 1


@dataclass
class Model:
    """What there is. record: local id -> what is held; ended: who has no grant until a Consent names them anew.

    lost: the database fell back behind a grant version, so that nobody can say who was ended.
    """

    record: dict[str, Told] = field(default_factory=dict)
    cursor: int = 0
    connected: bool = False
    consents: dict[str, Signed] = field(default_factory=dict)
    granted: dict[str, frozenset[str]] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    lost: bool = False
    version: int = 0  # of the grants: how often they were compiled or ended

    def seen(self) -> Seen:
        return Seen(
            self.record,
            self.cursor,
            self.connected,
            {name: (one.number, one.active) for name, one in self.consents.items()},
            frozenset(self.granted),
            EVERYBODY if self.lost else self.ended,
            self.version,
        )

    def put(self, local: str, section: str, value: str | None) -> None:
        """What a source says of a thing: None for a deletion."""
        before = self.record.get(local)
        versions = before[1] if before else ()
        if value is None:
            if before and versions[-1][1] is not None:
                self.record[local] = before[0], (*versions, (versions[-1][0] + 1, None))
            return
        if before and before[0] == section and versions[-1][1] == value:
            return
        number = versions[-1][0] + 1 if versions else 1
        self.record[local] = section, (*versions, (number, value))

    def sign(self, name: str, signed: Signed) -> None:
        self.consents[name] = signed
        self.compile(signed.parties if signed.active else frozenset())

    def compile(self, named: frozenset[str] = frozenset()) -> None:
        """The grants anew, from all Consents."""
        self.ended, self.lost = (EVERYBODY if self.lost else self.ended) - named, False
        self.granted = {
            party: ALWAYS.union(*mine)
            for party in EVERYBODY - self.ended
            if (mine := [one.sections for one in self.consents.values() if one.active and party in one.parties])
        }
        self.version += 1

    def end(self, party: str) -> None:
        self.ended |= {party}
        self.granted.pop(party, None)
        self.version += 1

    def current(self) -> dict[str, tuple[str, str]]:
        return {
            local: (section, versions[-1][1])
            for local, (section, versions) in self.record.items()
            if versions[-1][1] is not None
        }
