"""What an owner reads beside the record: receipts as AuditEvents, origins as Provenance. Synthesised when read.

They are put into an image of their own, with what sources themselves say in these types, so that reads, searches and
pages are the same functions of a view as for the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain as chained
from typing import Any

from sqlmodel import col, select

from aggregator.api.service import Service
from aggregator.audit import chain, receipts
from aggregator.audit.tables import Receipt
from aggregator.consent.decide import Party, Reason
from aggregator.consent.withheld import Withheld
from aggregator.fhir import audit_event, provenance
from aggregator.identity import app_parties, persons
from aggregator.identity.accounts import Owner
from aggregator.identity.grant_archive import archived
from aggregator.portability import closed_chains
from aggregator.portability.closed_chains import ClosedChain
from aggregator.vault import counter, tables
from aggregator.vault import view as views
from aggregator.vault.fold import State
from aggregator.vault.image import Image, Record, build
from aggregator.vault.keys import OWNER
from aggregator.vault.view import View
from fhir_profiles.text import Resource


def audit_events(service: Service, owner: Owner) -> View:
    """A view of the owner's receipts, with what each one withheld; a chain that does not hold says so itself."""
    with service.store.read() as session:
        head = counter.known_head(session, owner.vault)
        rows = session.exec(select(Receipt).where(Receipt.vault == owner.vault).order_by(col(Receipt.position))).all()
        closed = [closed_chains.read(session, owner, number) for number in closed_chains.numbers(session, owner.vault)]
    state = _state(service, owner)
    events = _events(service, owner, state, head, rows, closed)
    return _view(service, owner, chained(events, _stored(state, audit_event.TYPE)))


def _events(
    service: Service,
    owner: Owner,
    state: State,
    head: tables.Vault,
    rows: Sequence[Receipt],
    closed: Sequence[ClosedChain],
) -> Iterator[Record]:
    patient, now = f"Patient/{owner.vault}.{owner.patient}", service.clock().isoformat(timespec="milliseconds")
    answers = Withheld(state, _consents(service, owner), service.table)
    if not chain.holds(rows, head):
        yield audit_event.damaged(owner.vault, patient, 0, now)
    for position, entry in receipts.read(rows, owner.vault, owner.root.audit):
        if entry is None:
            yield audit_event.damaged(owner.vault, patient, position, now)
        else:
            yield audit_event.record(owner.vault, patient, position, entry, _withheld(service, answers, entry))
    for number, one in enumerate(closed, 1):
        yield from _closed(owner.vault, patient, number, one, now)


def _closed(vault: str, patient: str, number: int, closed: ClosedChain, now: str) -> Iterator[Record]:
    """An earlier installation's receipts: what was withheld there, nobody can say here."""
    if closed.verdict().finding:
        yield audit_event.damaged(vault, patient, 0, now, number)
    for position, entry in closed.entries():
        try:
            made = audit_event.record(vault, patient, position, entry or {}, {}, number)
        except (KeyError, ValueError, TypeError, AttributeError):  # an imported file may say anything
            made = audit_event.damaged(vault, patient, position, now, number)
        yield made


def provenances(service: Service, owner: Owner) -> View:
    """A view of where everything came from."""
    state = _state(service, owner)
    return _view(service, owner, chained(provenance.records(owner.vault, state), _stored(state, provenance.TYPE)))


SYNTHESISED: Mapping[str, Callable[[Service, Owner], View]] = {
    audit_event.TYPE: audit_events,
    provenance.TYPE: provenances,
}
"""Resource type -> what makes the view that holds it; for owners alone."""


def _state(service: Service, owner: Owner) -> State:
    reader = views.owner(owner.root, owner.sections, owner.patient)
    return views.read_truth(service.store, owner.vault, reader)


def _stored(state: State, resource_type: str) -> Iterator[Record]:
    """What sources gave of this type."""
    return (one for one in views.whole(state) if one.resource_type == resource_type)


def _view(service: Service, owner: Owner, records: Iterable[Record]) -> View:
    return View(owner.vault, OWNER, Image.open(build(records, service.indexer)), 0, 0)


Answers = Withheld
"""What of an owner's record a receipt's party did not see."""


def withheld(service: Service, owner: Owner) -> Answers:
    """Answers for one owner, as long as they are asked in one go."""
    return Withheld(_state(service, owner), _consents(service, owner), service.table)


def reasons(service: Service, answers: Answers, entry: Mapping[str, Any]) -> dict[Reason, int]:
    """Reason -> how many of what a receipt's party asked for it did not see."""
    question, found = _question(service, entry), Counter[Reason]()
    for (_, reason), number in (answers.why(*question) if question else {}).items():
        found[reason] += number
    return dict(sorted(found.items()))


def _withheld(service: Service, answers: Answers, entry: Mapping[str, Any]) -> dict[str, int]:
    """The same by section."""
    question = _question(service, entry)
    return answers.by_section(*question) if question else {}


def party_of(service: Service, party_id: str) -> Party | None:
    """A registered client, a person with a record here, or an app that a patient approved; None for nobody."""
    client = service.registered.get(party_id)
    if client is not None and not client.is_app:
        return client.party
    if party_id.startswith(app_parties.APP):
        return app_parties.party(party_id.removeprefix(app_parties.APP))
    return persons.party_of(party_id)


def _question(service: Service, entry: Mapping[str, Any]) -> tuple[Party, str, datetime, int, int, str] | None:
    """What a receipt asks of them; nothing where it answered nobody who is known."""
    party = party_of(service, entry["party"])
    if party is None or entry["kind"] != "answered":
        return None
    at = datetime.fromisoformat(entry["at"])
    return party, entry["purpose"], at, entry["log_position"], entry["grant_version"], entry["type"]


def _consents(service: Service, owner: Owner) -> Callable[[int], list[Resource]]:
    def consents(version: int) -> list[Resource]:
        with service.store.read() as session:
            return archived(session, service.key_service, owner, version)

    return consents
