"""An owner's receipts as a list for people: who did what, when, what for, by which consent, what stayed hidden and why.

The same receipts as the AuditEvents (`owner_views`), which leave nothing out. Here one line stands for what belongs
together: that a view was opened is told only where nothing was answered through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from aggregator.api import owner_views
from aggregator.api.service import Service
from aggregator.audit import receipts
from aggregator.audit.tables import Receipt
from aggregator.consent.decide import Reason
from aggregator.consent.plain import PURPOSES, Words
from aggregator.fhir import receipt_words
from aggregator.identity.accounts import Owner
from aggregator.vault.keys import OWNER

_DAMAGED = {"kind": "damaged", "party": "unknown", "name": "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One receipt. at: None for one that was changed. own: the owner's own doing. consents: the ids of those that
    decided it. withheld: reason -> how many of what was asked for stayed hidden.
    """

    position: int
    at: datetime | None
    own: bool
    emergency: bool
    said: Words
    purpose: Words | None
    consents: tuple[str, ...]
    withheld: Mapping[Reason, int]


def lines(service: Service, owner: Owner, most: int, *, own: bool) -> list[Line]:
    """The newest ones, newest first. own: with what the owner did."""
    told = [one for one in _told(service, owner) if own or one[1]["party"] != OWNER]
    withheld = owner_views.withheld(service, owner)
    return [_line(service, withheld, position, entry) for position, entry in reversed(told[-most:])]


def last_access(service: Service, owner: Owner) -> Mapping[str, datetime]:
    """Party id -> when it last was answered."""
    answered = (entry for _, entry in _told(service, owner) if entry["kind"] == "answered")
    return {entry["party"]: datetime.fromisoformat(entry["at"]) for entry in answered}


def _told(service: Service, owner: Owner) -> Sequence[tuple[int, Mapping[str, Any]]]:
    """(position, entry), oldest first, without openings that led to an answer."""
    with service.store.read() as session:
        rows = session.exec(select(Receipt).where(Receipt.vault == owner.vault).order_by(col(Receipt.position))).all()
    answered = {row.opening for row in rows if row.number}
    leading = {row.position for row in rows if not row.number and row.opening in answered}
    found = receipts.read(rows, owner.vault, owner.root.audit)
    return [(position, entry or _DAMAGED) for position, entry in found if position not in leading]


def _line(service: Service, withheld: owner_views.Answers, position: int, entry: Mapping[str, Any]) -> Line:
    hidden = owner_views.reasons(service, withheld, entry)
    purpose = entry.get("purpose", "")
    return Line(
        position=position,
        at=datetime.fromisoformat(entry["at"]) if "at" in entry else None,
        own=entry["party"] == OWNER,
        emergency=purpose == "BTG",
        said=receipt_words.told(entry),
        purpose=PURPOSES.get(purpose, (purpose, purpose)) if purpose else None,
        consents=tuple(entry.get("consents", ())),
        withheld=hidden,
    )
