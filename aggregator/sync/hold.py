"""The hold: what a feed that keeps nothing brought, and nobody is verified for yet. Sealed to the operator's hold key.

The worker that fills it cannot open it. The key service opens an item for a patient who, in an owner session, signs a
claim to the item's tag (FORMAT.md section 14); after `sync.hold_days` it is gone. No vault knows of it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import Session, col, delete, func, select

from aggregator.sync.registry import Source
from aggregator.sync.routes import feed_id
from aggregator.sync.run import Worker
from aggregator.sync.tables import Feed, Hold
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.key_service import Held, HoldClaim, KeyService
from aggregator.vault.keys import Root
from aggregator.vault.seal import PublicKey
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Deleted, Found, Identifier, Item, Origin, Reason, Skipped, Subject
from fhir_profiles.text import dumps, loads


def put(
    keys: WorkerKeys, public: PublicKey, feed: bytes, items: Iterable[tuple[bytes, Item]], now: float, seconds: float
) -> list[Hold]:
    """Rows for (tag, item), sealed; before the transaction that keeps them."""
    return [_row(keys, public, feed, tag, item, now, int(now + seconds)) for tag, item in items]


def claim(root: Root, vault: str, feed: bytes, tags: Iterable[bytes], now: datetime) -> HoldClaim:
    """The patient's signed word to the key service that these tags are hers."""
    stated = {"kind": "hold", "vault": vault, "feed": feed.hex(), "tags": sorted(tag.hex() for tag in tags)}
    statement = canonical(stated | {"at": int(now.timestamp())})
    return HoldClaim(vault, statement, root.sign(b"PRA1/hold" + statement))


def rows(session: Session, keys: WorkerKeys, feed: bytes, tags: Sequence[bytes], now: float) -> list[Hold]:
    """What is held under these tags and has not expired, as the feed wrote it: what was forged is not offered."""
    found = session.exec(select(Hold).where(col(Hold.feed) == feed, col(Hold.tag).in_(tags), col(Hold.expires) > now))
    return [row for row in found if is_genuine(keys, row)]


def opened(key_service: KeyService, claimed: HoldClaim, row: Hold, now: datetime) -> Item:
    """One held item. Raises Refused, Tampered."""
    held = Held(row.feed, row.tag, row.item, row.expires, row.box)
    return _unpack(orjson.loads(key_service.open_hold(claimed, held, now)))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a feed has for people who are not verified: counts, nothing of whom.

    waiting: at a source that keeps; held: here. oldest: since when the oldest is held.
    """

    authority: str
    keeps: bool
    waiting: int
    held: int
    oldest: datetime | None


def backlog(worker: Worker, source: Source) -> Backlog:
    """The backlog of one feed."""
    feed = feed_id(worker.keys, source.authority)
    with worker.store.read() as session:
        row = session.get(Feed, feed)
        number, oldest = count(session, feed, worker.clock().timestamp())
    since = datetime.fromtimestamp(oldest, UTC) if oldest is not None else None
    return Backlog(source.authority, source.spec.keeps, row.waiting if row else 0, number, since)


def is_genuine(keys: WorkerKeys, row: Hold) -> bool:
    """The hold's key is public: that the feed's worker wrote the row, only the feed key says."""
    return hmac.compare_digest(row.mac, _mac(keys, row))


def has_expired(session: Session, now: float) -> bool:
    """Is there something to sweep?"""
    return session.exec(select(Hold.tag).where(col(Hold.expires) <= now).limit(1)).first() is not None


def sweep(session: Session, now: float) -> None:
    """What nobody came for is gone."""
    session.exec(delete(Hold).where(col(Hold.expires) <= now))


def count(session: Session, feed: bytes, now: float) -> tuple[int, float | None]:
    """How many items of a feed are held, and since when the oldest is (Unix seconds)."""
    query = select(func.count(), func.min(Hold.at)).where(col(Hold.feed) == feed, col(Hold.expires) > now)
    number, oldest = session.exec(query).one()
    return number, oldest


def _row(keys: WorkerKeys, public: PublicKey, feed: bytes, tag: bytes, item: Item, now: float, expires: int) -> Hold:
    handle = keys.feed_tag("item", item.origin.source_id)
    held = Held(feed, tag, handle, expires, b"")
    box = public.seal(held.header(), orjson.dumps(_pack(item)))
    made = Hold(feed=feed, tag=tag, item=handle, at=now, expires=expires, box=box)
    made.mac = _mac(keys, made)
    return made


def _mac(keys: WorkerKeys, row: Hold) -> bytes:
    digest = hashlib.sha256(row.box).hexdigest()
    return keys.feed_tag("held", row.feed.hex(), row.tag.hex(), row.item.hex(), str(row.expires), digest)


def _pack(item: Item) -> dict[str, Any]:
    """As JSON. A resource is text in it: its numbers stay as they were written."""
    origin = asdict(item.origin) | {"fetched_at": item.origin.fetched_at.isoformat()}
    told: dict[str, Any] = {"origin": origin, "subject": asdict(item.subject) if item.subject else None}
    if isinstance(item, Found):
        return told | {"found": dumps(item.resource).decode(), "warnings": item.warnings}
    if isinstance(item, Deleted):
        return told | {"deleted": item.resource_type}
    return told | {"skipped": item.reason, "raw": b64(item.raw), "detail": item.detail}


def _unpack(told: dict[str, Any]) -> Item:
    origin = Origin(**told["origin"] | {"fetched_at": datetime.fromisoformat(told["origin"]["fetched_at"])})
    subject = _subject(told["subject"])
    if "found" in told:
        return Found(loads(told["found"].encode()), origin, subject, tuple(told["warnings"]))
    if "deleted" in told:
        return Deleted(told["deleted"], origin, subject)
    return Skipped(Reason(told["skipped"]), origin, unb64(told["raw"]), told["detail"], subject)


def _subject(told: dict[str, Any] | None) -> Subject | None:
    if told is None:
        return None
    numbers = tuple(Identifier(one["system"], one["value"]) for one in told["identifiers"])
    return Subject(**told | {"identifiers": numbers})
