"""What stands aside: the operator sees reason, connection and time; the payload opens with the patient's key alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import Session, col, select

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What its owner may know of an item. at: Unix seconds. raw: the payload; None where nothing of it was kept."""

    item: str
    source: bytes
    connection: str
    reason: str
    at: float
    detail: str = ""
    locator: str = ""
    raw: bytes | None = field(repr=False, default=None)


def kept(session: Session, vault: str, unsorted: Callable[[int], SectionSeed]) -> Iterator[Kept]:
    """One patient's items, the oldest first. unsorted: epoch -> the owner's own section's seed. Raises Tampered."""
    order = (col(Quarantine.at), col(Quarantine.source), col(Quarantine.item))
    for row in session.exec(select(Quarantine).where(Quarantine.owner == vault).order_by(*order)).all():
        told: dict[str, Any] = {}
        if row.payload is not None:
            told = orjson.loads(_open(vault, row.item, row.payload, unsorted))
            told["raw"] = unb64(told["raw"]) if told["raw"] else None
        yield Kept(item=row.item, source=row.source, connection=row.connection, reason=row.reason, at=row.at, **told)


def seal_payload(vault: str, one: Kept, section: SectionKey | SectionSeed) -> bytes | None:
    """What of an item opens with the patient's key alone; nothing where nothing was kept."""
    if one.raw is None:
        return None
    told = {"detail": one.detail, "locator": one.locator, "raw": b64(one.raw)}
    public = section.public if isinstance(section, SectionKey) else section.private_key().public()
    return public.seal(payload_header(vault, one.item, section), orjson.dumps(told))


def opened(store: Store, vault: str, unsorted: Callable[[int], SectionSeed]) -> list[Mapping[str, Any]]:
    """One patient's items with detail and payload: {item, reason, at, connection, detail, locator, raw}.

    raw: the payload as text where it is UTF-8, else as `data:;base64,...`; None for what is about another person.
    """
    made = list[Mapping[str, Any]]()
    with store.read() as session:
        for one in kept(session, vault, unsorted):
            told = {"item": one.item, "reason": one.reason, "connection": one.connection}
            told |= {"at": datetime.fromtimestamp(one.at, UTC).isoformat()}
            raw = _text(one.raw) if one.raw else None
            made.append(told | {"detail": one.detail, "locator": one.locator, "raw": raw})
    return made


def note_header(vault: str, item: str) -> dict[str, Any]:
    """The header of a note, which is sealed to the worker. vault: "" for a feed's own."""
    return header("quarantine", vault, name=item)


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
