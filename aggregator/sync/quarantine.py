"""What stands aside: the operator sees reason, connection and time; the payload opens with the patient's key alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import col, select

from aggregator.sync.tables import Quarantine
from aggregator.vault.encoding import b64, unb64
from aggregator.vault.keys import SectionSeed
from aggregator.vault.seal import header
from aggregator.vault.store import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """What an operator may know of an item."""

    connection: str
    item: str
    reason: str
    at: datetime


def standing(store: Store) -> list[Standing]:
    """All items that stand aside in this installation, oldest first."""
    with store.read() as session:
        rows = session.exec(select(Quarantine).order_by(col(Quarantine.at), col(Quarantine.item))).all()
    return [Standing(row.connection, row.item, row.reason, datetime.fromtimestamp(row.at, UTC)) for row in rows]


def opened(store: Store, vault: str, unsorted: SectionSeed) -> list[Mapping[str, Any]]:
    """One patient's items with detail and payload: {item, reason, at, connection, detail, locator, raw}.

    raw: the payload as text where it is UTF-8, else as `data:;base64,...`; None for what is about another person.
    """
    private = unsorted.private_key()
    with store.read() as session:
        rows = session.exec(select(Quarantine).where(Quarantine.owner == vault).order_by(col(Quarantine.at))).all()
    made: list[Mapping[str, Any]] = []
    for row in rows:
        told: dict[str, Any] = {"detail": "", "locator": "", "raw": None}
        if row.payload is not None:
            told = orjson.loads(private.open(header("quarantine", vault, name=row.item), row.payload))
        at = datetime.fromtimestamp(row.at, UTC).isoformat()
        told["raw"] = _text(unb64(told["raw"])) if told["raw"] else None
        made.append({"item": row.item, "reason": row.reason, "at": at, "connection": row.connection} | told)
    return made


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return f"data:;base64,{b64(raw)}"
