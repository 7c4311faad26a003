"""What an owner reads beside the record: receipts as AuditEvents, origins as Provenance. Synthesised when read.

They are put into an image of their own, so that reads, searches and pages are the same functions of a view as for the
record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlmodel import col, select

from aggregator.api.service import Service
from aggregator.audit import receipts
from aggregator.audit.tables import Receipt
from aggregator.consent.withheld import Withheld
from aggregator.fhir import audit_event, provenance
from aggregator.identity.accounts import Owner
from aggregator.identity.signing import archive_header
from aggregator.vault import tables
from aggregator.vault import view as views
from aggregator.vault.image import Image, Record, build
from aggregator.vault.seal import unwrap
from aggregator.vault.view import View
from fhir_profiles.text import Resource, loads


def audit_events(service: Service, owner: Owner, view: View) -> View:
    """A view of the owner's receipts, with what each one withheld."""
    with service.store.read() as session:
        rows = session.exec(select(Receipt).where(Receipt.vault == owner.vault).order_by(col(Receipt.position))).all()
    reader = views.owner(owner.root, owner.sections, owner.patient)
    withheld = Withheld(views.read_truth(service.store, owner.vault, reader), _archive(service, owner), service.table)
    patient = f"Patient/{owner.vault}.{owner.patient}"
    entries = receipts.read(rows, owner.vault, owner.root.audit)
    return _view(
        service,
        view,
        (
            audit_event.record(owner.vault, patient, position, entry, _withheld(service, withheld, entry))
            for position, entry in entries
        ),
    )


def provenances(service: Service, owner: Owner, view: View) -> View:
    """A view of where everything came from."""
    reader = views.owner(owner.root, owner.sections, owner.patient)
    state = views.read_truth(service.store, owner.vault, reader)
    return _view(service, view, provenance.records(owner.vault, state))


SYNTHESISED: Mapping[str, Callable[[Service, Owner, View], View]] = {
    audit_event.TYPE: audit_events,
    provenance.TYPE: provenances,
}
"""Resource type -> the view that holds it; for owners alone."""


def _view(service: Service, view: View, records: Iterable[Record]) -> View:
    image = Image.open(build(records, service.indexer))
    return View(view.vault, view.reader, image, view.log_position, view.grant_version)


def _withheld(service: Service, withheld: Withheld, entry: Mapping[str, Any]) -> dict[str, int]:
    client = service.registered.get(entry["party"])
    if client is None or entry["kind"] != "answered":
        return {}
    at = datetime.fromisoformat(entry["at"])
    places = (entry["log_position"], entry["grant_version"])
    return withheld.by_section(client.party, entry["purpose"], at, *places, entry["type"])


def _archive(service: Service, owner: Owner) -> Callable[[int], list[Resource]]:
    def consents(version: int) -> list[Resource]:
        with service.store.read() as session:
            row = session.get(tables.GrantArchive, (owner.vault, version))
        if row is None:
            return []
        told = orjson.loads(unwrap(owner.root.owner_key(), archive_header(owner.vault, version), row.box))
        return [loads(text) for text in told["consents"]]

    return consents
