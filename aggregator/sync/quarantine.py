"""What stands aside: the operator sees reason, connection and time; the payload opens with the patient's key alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import col, select

from aggregator.errors import Tampered
from aggregator.sync.tables import Quarantine
from aggregator.vault.encoding import b64, unb64
from aggregator.vault.keys import SectionKey, SectionSeed
from aggregator.vault.seal import header, read_header
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


def opened(store: Store, vault: str, unsorted: Callable[[int], SectionSeed]) -> list[Mapping[str, Any]]:
    """One patient's items with detail and payload: {item, reason, at, connection, detail, locator, raw}.

    unsorted: epoch -> the seed of the owner's own section.

    raw: the payload as text where it is UTF-8, else as `data:;base64,...`; None for what is about another person.
    """
    with store.read() as session:
        rows = session.exec(select(Quarantine).where(Quarantine.owner == vault).order_by(col(Quarantine.at))).all()
    made: list[Mapping[str, Any]] = []
    for row in rows:
        told: dict[str, Any] = {"detail": "", "locator": "", "raw": None}
        if row.payload is not None:
            told = orjson.loads(_open(vault, row.item, row.payload, unsorted))
        at = datetime.fromtimestamp(row.at, UTC).isoformat()
        told["raw"] = _text(unb64(told["raw"])) if told["raw"] else None
        made.append({"item": row.item, "reason": row.reason, "at": at, "connection": row.connection} | told)
    return made


def payload_header(vault: str, item: str, section: SectionKey | SectionSeed) -> dict[str, Any]:
    """The header of a payload, which is sealed to the owner's own section."""
    return header("quarantine", vault, section=section.id, epoch=section.epoch, name=item)


def _open(vault: str, item: str, box: bytes, unsorted: Callable[[int], SectionSeed]) -> bytes:
    try:
        epoch = int(orjson.loads(read_header(box))["epoch"])
    except (KeyError, ValueError, TypeError):
        raise Tampered("a stored quarantine has no readable header") from None
    seed = unsorted(epoch)
    return seed.private_key().open(payload_header(vault, item, seed), box)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return f"data:;base64,{b64(raw)}"
