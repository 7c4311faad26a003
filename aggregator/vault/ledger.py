"""What one source account has shown: so a blind writer assigns versions and sees what is unchanged (FORMAT.md, 6)."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, update

from aggregator.errors import Stale
from aggregator.vault import tables
from aggregator.vault.encoding import b32_all, unb32_all
from aggregator.vault.seal import header, unwrap, wrap
from aggregator.vault.vouching import NOTHING

_ID, _TAG = 16, 8
_OWN_META = ("versionId", "lastUpdated", "source")


@dataclass(frozen=True, slots=True)
class Line:
    """The newest of one resource: tag of its content, its section id, its version, whether it ended.

    attached: the tags of the Binaries that were taken out of it, by their numbers.
    """

    tag: bytes
    section: str
    version: int
    deleted: bool = False
    attached: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Ledger:
    """One account's ledger in a writer's hands. `revision` 0 is one that was never stored.

    last: what `vouching.last` gives of the newest envelope that was written with it.
    """

    vault: str
    source: bytes
    keys: bytes = field(repr=False)
    revision: int = 0
    lines: dict[str, Line] = field(default_factory=dict)
    last: bytes = NOTHING

    def tag(self, content: bytes) -> bytes:
        """The tag of content as `content` gives it: equal content, equal tag, for this account alone.

        8 bytes: it only has to differ between two versions of one resource.
        """
        return hmac.digest(self.keys[32:], content, "sha256")[:_TAG]

    def live(self) -> set[str]:
        """The local ids that have not ended."""
        return {local for local, line in self.lines.items() if not line.deleted}


def content(resource: dict[str, Any], print_: Any) -> bytes:
    """What a tag is made of: the resource without what this service writes into its meta."""
    meta = resource.get("meta")
    if not isinstance(meta, dict):
        return bytes(print_(resource))
    kept = {name: value for name, value in meta.items() if name not in _OWN_META}
    return bytes(print_({**resource, "meta": kept}))


def load(session: Session, vault: str, source: bytes, keys: bytes) -> Ledger:
    """The stored ledger, or an empty one. Raises Tampered."""
    row = session.get(tables.Ledger, (vault, source))
    if row is None:
        return Ledger(vault, source, keys)
    stored = unwrap(keys[:32], _header(vault, source), row.box)
    last, lines = stored[: len(NOTHING)], stored[len(NOTHING) :]
    return Ledger(vault, source, keys, row.revision, parse(lines), last)


def save(session: Session, ledger: Ledger) -> None:
    """Store it on condition that nobody has since it was loaded. Raises Stale."""
    box = wrap(ledger.keys[:32], _header(ledger.vault, ledger.source), ledger.last + text(ledger.lines))
    if ledger.revision == 0:
        _insert(session, tables.Ledger(vault=ledger.vault, source=ledger.source, revision=1, box=box))
    else:
        changed = session.exec(
            update(tables.Ledger)
            .where(
                col(tables.Ledger.vault) == ledger.vault,
                col(tables.Ledger.source) == ledger.source,
                col(tables.Ledger.revision) == ledger.revision,
            )
            .values(revision=ledger.revision + 1, box=box)
        )
        if changed.rowcount != 1:
            raise Stale("another run wrote this source's ledger")
    ledger.revision += 1


def text(lines: Mapping[str, Line]) -> bytes:
    """Columns of bytes, which pack without loss: FORMAT.md section 6."""
    names, sections = sorted(lines), sorted({line.section for line in lines.values()})
    ordered, place = [lines[local] for local in names], {section: n for n, section in enumerate(sections)}
    return b"".join(
        (
            struct.pack(">I", len(lines)),
            unb32_all(names),
            *(line.tag for line in ordered),
            struct.pack(f">{len(ordered)}I", *(line.version << 1 | line.deleted for line in ordered)),
            bytes(place[line.section] for line in ordered),
            struct.pack(f">{len(ordered)}H", *(len(line.attached) for line in ordered)),
            *(tag for line in ordered for tag in line.attached),
            ",".join(sections).encode(),
        )
    )


def parse(stored: bytes) -> dict[str, Line]:
    """The inverse of `text`."""
    (number,) = struct.unpack_from(">I", stored)
    ends = list(accumulate((4, _ID * number, _TAG * number, 4 * number, number, 2 * number)))
    ids, tags, states, places, counts = (stored[a:b] for a, b in pairwise(ends))
    attached = [count for (count,) in struct.iter_unpack(">H", counts)]
    end = ends[-1] + _TAG * sum(attached)
    theirs, names = _split(stored[ends[-1] : end]), stored[end:].decode().split(",")
    found = dict[str, Line]()
    for local, tag, (state,), place, count in zip(
        b32_all(ids), _split(tags), struct.iter_unpack(">I", states), places, attached, strict=True
    ):
        own = tuple(islice(theirs, count)) if count else ()
        found[local] = Line(tag, names[place], state >> 1, bool(state & 1), own)
    return found


def _split(tags: bytes) -> Iterator[bytes]:
    return (tag for (tag,) in struct.iter_unpack(f"{_TAG}s", tags))


def _insert(session: Session, row: tables.Ledger) -> None:
    try:
        session.add(row)
        session.flush()
    except IntegrityError:
        raise Stale("another run wrote this source's ledger") from None


def _header(vault: str, source: bytes) -> dict[str, Any]:
    return header("ledger", vault, name=source.hex())
