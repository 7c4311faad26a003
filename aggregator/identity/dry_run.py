"""What would Dr B see? Asked by the owner of a record, of the Consents as they are signed, or with a change to them.

Nothing is worked out twice: the grant is the one that signing would make (`Grants.prospect`), its view is read with its
own section keys and its own decision (`vault.view.look`). A section whose key the grant would not hold is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from aggregator.consent.decide import Deny, Party, Reason
from aggregator.consent.grant import Decides
from aggregator.consent.section_table import DIRECTORY, SectionTable
from aggregator.fhir.short import title, when
from aggregator.identity import signed_consents
from aggregator.identity.accounts import Owner
from aggregator.identity.grants import Grants
from aggregator.vault import tables, truth, view
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.fold import State
from aggregator.vault.mask import part_of
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource, reread

Name = str
"""Of a resource: "Type/id"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One resource in few words. when: a day, month or year, as the resource says it; empty where it says none."""

    section: str
    resource_type: str
    title: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one party would see of a record, and why not the rest. The directory counts only where it is seen."""

    seen: frozenset[Name]
    withheld: Mapping[Name, Reason]

    def reasons(self) -> Mapping[Reason, int]:
        """How many stay hidden, by reason."""
        return Counter(self.withheld.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer. items: every resource that one of the two names. then: with the change, where one was proposed."""

    items: Mapping[Name, Item]
    now: Outlook
    then: Outlook | None = None

    @property
    def gained(self) -> frozenset[Name]:
        """What the change would open."""
        return self.then.seen - self.now.seen if self.then else frozenset()

    @property
    def lost(self) -> frozenset[Name]:
        """What the change would shut."""
        return self.now.seen - self.then.seen if self.then else frozenset()

    def by_section(self, outlook: Outlook) -> Mapping[str, tuple[int, int]]:
        """Section -> how many of it are seen and how many are not, in the order in which people read them."""
        seen = Counter(self.items[name].section for name in outlook.seen)
        withheld = Counter(self.items[name].section for name in outlook.withheld)
        return {name: (seen[name], withheld[name]) for name in SECTIONS if seen[name] or withheld[name]}


class DryRun:
    """Answers for one installation."""

    def __init__(self, store: Store, grants: Grants, table: SectionTable, clock: Clock) -> None:
        self._store = store
        self._grants = grants
        self._table = table
        self._clock = clock

    def ask(self, owner: Owner, party: Party, purpose: str, proposed: Resource | None = None) -> Told:
        """What the party would see now for this purpose. proposed: a new Consent, or an owner's own with a change.

        Raises NotValid for what could not be signed, Tampered.
        """
        if proposed is not None:
            signed_consents.refuse_invalid(owner, proposed)
        with self._store.read() as session:
            row = truth.head(session, owner.vault, owner.root.verification_key)
            state = truth.read(session, row, OwnersSeeds(owner.root, owner.sections)).state
            asking = _Asking(
                grants=self._grants,
                table=self._table,
                now=self._clock(),
                session=session,
                row=row,
                owner=owner,
                party=party,
                purpose=purpose,
                current=_current(state),
            )
            signed = signed_consents.current(state)
            now = asking.outlook(signed, frozenset())
            then = None
            if proposed is not None:
                named = self._grants.named(session, owner, proposed)
                then = asking.outlook([*(one for one in signed if one["id"] != proposed.get("id")), proposed], named)
        return Told(items={name: _item(*asking.current[name]) for name in sorted(asking.current)}, now=now, then=then)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """One question about one moment of a record. current: what there is, with its section."""

    grants: Grants
    table: SectionTable
    now: datetime
    session: Session
    row: tables.Vault
    owner: Owner
    party: Party
    purpose: str
    current: Mapping[Name, tuple[str, Resource]]

    def outlook(self, consents: Sequence[Resource], named: frozenset[str]) -> Outlook:
        opened = self.grants.prospect(self.session, self.row, self.owner, self.party, consents, named)
        asked = (self.party, self.purpose, self.now, self.table)
        found = view.look(self.session, self.row, opened.reader(*asked)) if opened.seeds else []
        held = frozenset(f"{one.resource_type}/{self.row.id}.{one.local}" for one in found) & self.current.keys()
        withheld = dict(self._withheld(opened.decides(*asked), held))
        return Outlook(seen=held - withheld.keys(), withheld=withheld)

    def _withheld(self, decide: Decides, held: frozenset[Name]) -> Iterator[tuple[Name, Reason]]:
        """Why not the rest; and the Patient, who is in every view, but bare where that is shut."""
        patient = f"Patient/{self.row.id}.{self.owner.patient}"
        for name, (section, resource) in self.current.items():
            if section != DIRECTORY and (name not in held or name == patient):
                decision = decide(section, resource)
                if isinstance(decision, Deny):
                    yield name, decision.reason


def _current(state: State) -> dict[Name, tuple[str, Resource]]:
    """Without parts, which come and go with their wholes."""
    found = ((section, reread(put.resource)) for section, put in state.current())
    return {f"{one['resourceType']}/{one['id']}": (section, one) for section, one in found if part_of(one) is None}


def _item(section: str, resource: Resource) -> Item:
    return Item(section=section, resource_type=resource["resourceType"], title=title(resource), when=when(resource))
