"""The bulk exports that were asked for: what, by whom, of which records, and how far each was looked at.

https://hl7.org/fhir/uv/bulkdata/STU2/export.html. Nothing that is exported lies here: a row says which records there
are, and in a box under a key of the key service what was asked and how many lines there will be. So an export survives
a restart, and what a patient ends meanwhile is in no file that somebody forgot.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlmodel import Session, col, delete, func, select

from aggregator.errors import CallerError
from aggregator.portability.tables import BulkExport, BulkExportRecord
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import expand, header, lock, unlock
from aggregator.vault.store import Store
from connectors.contract import Clock

LIFE = 24 * 3600  # seconds
MOST = 5
"""Of one caller at a time."""

_BLOCK = 1024  # bytes a box is filled up to a multiple of
_EXPORTS = "bulk exports"  # what the transactions here take of the store: rows of no vault
Counts = Mapping[str, int]


class TooManyExports(CallerError):
    """The caller has as many as it may have."""

    def __init__(self) -> None:
        super().__init__(f"{MOST} exports of yours are under way: DELETE one, or wait until it has expired")


@dataclass(frozen=True, slots=True)
class Export:
    """One of them. id: its row's. asked: as it was begun with. expires: Unix seconds."""

    id: bytes
    asked: Mapping[str, Any]
    expires: int


class BulkExports:
    """Those of one installation. reader: names a caller and the purpose that it was admitted for."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock) -> None:
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._key = expand(key_service.handle(_EXPORTS) + key_service.handle(_EXPORTS, "2"), "export")

    def begin(self, reader: str, asked: Mapping[str, Any], vaults: Sequence[str]) -> str:
        """What its URLs say: 256 bits that are stored nowhere. Raises TooManyExports."""
        name, now = secrets.token_hex(32), int(self._clock().timestamp())
        row = BulkExport(id=_id(name), reader=self._reader(reader), expires=now + LIFE, box=b"")
        row.box = self._lock(row.id, "", asked)
        with self._store.write(_EXPORTS) as session:
            _forget(session, session.exec(select(BulkExport.id).where(col(BulkExport.expires) <= now)).all())
            if len(session.exec(select(BulkExport.id).where(BulkExport.reader == row.reader)).all()) >= MOST:
                raise TooManyExports
            session.add(row)
            session.add_all(BulkExportRecord(export=row.id, vault=vault) for vault in vaults)
        return name

    def find(self, reader: str, name: str) -> Export | None:
        """None for one that never was, has expired, or is somebody else's: nobody learns which."""
        with self._store.read() as session:
            row = session.get(BulkExport, _id(name))
        if row is None or row.reader != self._reader(reader) or row.expires <= self._clock().timestamp():
            return None
        return Export(row.id, self._unlock(row.id, "", row.box), row.expires)

    def waiting(self, export: Export, most: int) -> list[str]:
        """The first records that were not looked at yet."""
        rows = select(BulkExportRecord.vault).where(BulkExportRecord.export == export.id, BulkExportRecord.box == b"")
        with self._store.read() as session:
            return list(session.exec(rows.order_by(BulkExportRecord.vault).limit(most)).all())

    def progress(self, export: Export) -> tuple[int, int]:
        """(how many records were looked at, of how many)."""
        records = select(func.count()).select_from(BulkExportRecord).where(BulkExportRecord.export == export.id)
        with self._store.read() as session:
            waiting = session.exec(records.where(BulkExportRecord.box == b"")).one()
            total = session.exec(records).one()
        return total - waiting, total

    def note(self, export: Export, found: Mapping[str, Counts]) -> None:
        """How many lines these records have. An export that was ended meanwhile stays so."""
        with self._store.write(_EXPORTS) as session:
            for vault, counts in found.items():
                row = session.get(BulkExportRecord, (export.id, vault))
                if row is not None:
                    row.box = self._lock(export.id, vault, counts)
                    session.add(row)

    def counts(self, export: Export) -> dict[str, Counts]:
        """Of every record that was looked at, in a fixed order."""
        with self._store.read() as session:
            rows = session.exec(select(BulkExportRecord).where(BulkExportRecord.export == export.id)).all()
        ordered = sorted((row for row in rows if row.box), key=lambda row: row.vault)
        return {row.vault: self._unlock(row.export, row.vault, row.box) for row in ordered}

    def end(self, export: Export) -> None:
        """Its URLs lead nowhere from now on."""
        with self._store.write(_EXPORTS) as session:
            _forget(session, [export.id])

    def _reader(self, reader: str) -> bytes:
        return self._key_service.handle(_EXPORTS, reader)

    def _lock(self, export: bytes, vault: str, told: Mapping[str, Any]) -> bytes:
        plaintext = orjson.dumps(told)
        plaintext += b" " * (-len(plaintext) % _BLOCK)  # JSON ignores it; the length tells no number of types
        return lock(self._key, _bound(export, vault), plaintext)

    def _unlock(self, export: bytes, vault: str, box: bytes) -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(unlock(self._key, _bound(export, vault), box, "bulk export"))
        return told


def _forget(session: Session, ids: Sequence[bytes]) -> None:
    session.exec(delete(BulkExportRecord).where(col(BulkExportRecord.export).in_(ids)))
    session.exec(delete(BulkExport).where(col(BulkExport.id).in_(ids)))


def _bound(export: bytes, vault: str) -> bytes:
    return canonical(header("bulk-export", vault, name=export.hex()))


def _id(name: str) -> bytes:
    return expand(name.encode(), "id", 16)
