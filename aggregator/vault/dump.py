"""The database as files, and back: one consistent look, whatever database it is (FORMAT.md section 15).

    DIR/manifest.json       format, key ring, time, and of each table its columns, rows and the SHA-256 of its file;
                            of each attachment the SHA-256
    DIR/<table>.jsonl.zst   one JSON array a row, in the order of the columns; bytes in base64

Nothing in it opens without the key ring. Images (caches) and sign-ins (which end at a restore) are left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard
from sqlalchemy import LargeBinary, Table
from sqlmodel import Session, SQLModel

from aggregator.errors import OperatorError
from aggregator.vault import key_files
from aggregator.vault.tables import Installation

FORMAT = 1
LEFT_OUT = frozenset({"image", "owner_session", "access_token", "share_ticket", "handed_out"})
_MANIFEST = "manifest.json"
_AT_ONCE = 1000  # rows
_BLOB = re.compile(r"[a-z2-7]{26}")  # an id, which is a file's name

Observe = Callable[[str, int], None]
"""Called with (table, its rows so far)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpedTable:
    """A table's file."""

    columns: list[str]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What belongs to a dump. store_format: the vaults'; ring: the key ring that opens it. blobs: id -> SHA-256."""

    format: int
    store_format: int
    ring: str
    made: str
    tables: Mapping[str, DumpedTable]
    blobs: Mapping[str, str]


def write(session: Session, folder: Path, made: str, observe: Observe) -> Manifest:
    """All rows, as this transaction sees them. It is no dump before `finish`."""
    installation = session.get_one(Installation, 1)
    dumped = {str(table.name): _write_table(session, table, folder, observe) for table in _tables()}
    return Manifest(
        format=FORMAT, store_format=installation.format, ring=installation.key_ring, made=made, tables=dumped, blobs={}
    )


def finish(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the last of all files: what was interrupted has none, and passes for no backup."""
    key_files.write(folder / _MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))


def read(folder: Path) -> Manifest:
    """The manifest, when every file is the one that it names. Raises OperatorError."""
    try:
        told = orjson.loads((folder / _MANIFEST).read_bytes())
        tables = {name: DumpedTable(**one) for name, one in told.pop("tables").items()}
        manifest = Manifest(**told, tables=tables)
        if not all(_BLOB.fullmatch(blob) for blob in manifest.blobs):
            raise ValueError("no blob's id")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise OperatorError(f"{folder} holds no whole backup: its {_MANIFEST} cannot be read") from None
    if manifest.format != FORMAT:
        raise OperatorError(f"{folder} is a backup of format {manifest.format}; this version reads {FORMAT}")
    known = {table.name: [column.name for column in table.columns] for table in _tables()}
    for name, one in tables.items():
        if known.get(name) != one.columns:
            raise OperatorError(f"{folder} was made by another version: its table {name} is not this version's")
        if _sha256(folder / _file(name)) != one.sha256:
            raise OperatorError(f"{folder / _file(name)} is not the file that was written; take another backup")
    if missing := known.keys() - tables.keys():
        raise OperatorError(f"{folder} was made by another version: it has no table {', '.join(sorted(missing))}")
    return manifest


def load(session: Session, folder: Path, gone: Collection[str], observe: Observe) -> None:
    """All rows but those of these vaults, into empty tables, inside the caller's transaction."""
    ended = _connections(folder, gone)
    for table in _tables():
        batch: list[dict[str, Any]] = []
        done = 0
        for row in rows(folder, table):
            if _vault(table, row) not in gone and row.get("connection") not in ended:
                batch.append(row)
            if len(batch) == _AT_ONCE:
                session.connection().execute(table.insert(), batch)
                done += len(batch)
                observe(table.name, done)
                batch = []
        if batch:
            session.connection().execute(table.insert(), batch)
        observe(table.name, done + len(batch))


def rows(folder: Path, table: Table) -> Iterator[dict[str, Any]]:
    """A table's rows, as they are inserted."""
    binary = {column.name for column in table.columns if isinstance(column.type, LargeBinary)}
    names = [column.name for column in table.columns]
    with (folder / _file(table.name)).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        for line in _lines(plain):
            values = dict(zip(names, orjson.loads(line), strict=True))
            yield {
                name: b64decode(value) if name in binary and value is not None else value
                for name, value in values.items()
            }


def _write_table(session: Session, table: Table, folder: Path, observe: Observe) -> DumpedTable:
    names = [str(column.name) for column in table.columns]
    path, done = folder / _file(table.name), 0
    found = (
        session.connection().execution_options(yield_per=_AT_ONCE).execute(table.select().order_by(*table.primary_key))
    )
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:
            for row in found:
                packed.write(orjson.dumps([_plain(value) for value in row]) + b"\n")
                done += 1
                if done % _AT_ONCE == 0:
                    observe(table.name, done)
        file.flush()
        os.fsync(file.fileno())
    observe(table.name, done)
    return DumpedTable(columns=names, rows=done, sha256=_sha256(path))


def _plain(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes | memoryview) else value


def _tables() -> list[Table]:
    return [table for table in SQLModel.metadata.sorted_tables if table.name not in LEFT_OUT]


def _vault(table: Table, row: Mapping[str, Any]) -> Any:
    """Whose row it is; nobody's, where it says that a vault was erased."""
    if table.name == "erasure":
        return None
    return row["id"] if table.name == "vault" else row.get("vault", row.get("owner"))


def _connections(folder: Path, gone: Collection[str]) -> Collection[str]:
    """The connections of these vaults: what hangs on one, as a feed's route does, names no vault."""
    if not gone:
        return frozenset()
    return frozenset(row["id"] for row in rows(folder, SQLModel.metadata.tables["connection"]) if row["vault"] in gone)


def _file(table: str) -> str:
    return f"{table}.jsonl.zst"


def _lines(plain: Any) -> Iterator[bytes]:
    left = b""
    while piece := plain.read(1 << 20):
        *whole, left = (left + piece).split(b"\n")
        yield from whole


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
