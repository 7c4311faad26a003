"""Feed: a watched folder of LDT 3 laboratory reports (KBV, version 3.2.20).

https://update.kbv.de/ita-update/Labor/Labordatenkommunikation/

Each file is one batch. A file that is not whole and right (checksum, trailer, character set) is quarantined as a whole
and without a subject: half a report is worse than none. The cursor holds what has been read, by name and content, for
the files that still lie in the folder; a file that is replaced under its name is read again, and all are when the map
of test codes changes. The folder is the operator's: nothing in it is moved or deleted, so old files are archived by
whoever puts them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, PositiveInt

from connectors import operator_map, xdt
from connectors.contract import (
    Batch,
    Clock,
    ConnectorSpec,
    Cursor,
    Item,
    Kind,
    NeedsOperator,
    Origin,
    Reason,
    Settings,
    Skipped,
)
from connectors.folder import Entry, Folder
from connectors.practice_ldt_report import Source, report_items, skipped_record, subject_of_record
from connectors.practice_ldt_result import LoincMap, Meaning
from connectors.refused import Refused

_TRAILER_WAIT = timedelta(minutes=5)  # a younger file without its end is still on its way, not broken
_CURSOR_EVERY = 25  # files; the cursor grows with the folder, and repeating a few files after a crash is harmless
_MARK = 24  # hex digits of a SHA-256: enough to see that a file or its codes' meanings are others
_MOST_FILES = 50_000  # keeps the cursor below 3 MB
_REPORT = "8205"


class LdtSettings(Settings):
    """Where the reports lie and what their codes mean.

    folder: the watched folder. authority_system: the URI of the laboratory's own test codes. loinc_map: a TOML file of
    [[test]] tables with local, loinc, display and, where a test has several, unit. max_bytes: the largest file taken.
    """

    folder: Path
    authority_system: str
    loinc_map: Path | None = None
    max_bytes: PositiveInt = 20_000_000


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    local: str
    loinc: str
    display: str
    unit: str = ""


class PracticeLdt:
    """The connector. See connectors.contract.Connector."""

    def __init__(self, settings: LdtSettings, _client: httpx.AsyncClient, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = Folder(settings.folder, clock)

    async def check(self) -> None:
        """Raise NeedsOperator unless the folder can be listed and the map of test codes can be read."""
        _loinc_map(self._settings)
        await self._entries()

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        """One batch for each file that is new or has changed."""
        loinc = _loinc_map(self._settings)
        entries = await self._entries()
        before = _read_before(cursor)
        read = {entry.name: before[entry.name] for entry in entries if entry.name in before}
        stored = before
        for count, entry in enumerate((entry for entry in entries if entry.settled), 1):
            mark, items = await self._file(entry, read.get(entry.name), loinc)
            if items:
                read[entry.name] = mark
                saved = count % _CURSOR_EVERY == 0
                stored = dict(read) if saved else stored
                yield Batch(tuple(items), cursor=_cursor(read) if saved else None)
        if read != stored or cursor is None:
            yield Batch((), cursor=_cursor(read))

    async def _entries(self) -> list[Entry]:
        entries = await self._folder.entries(_is_ldt)
        if len(entries) > _MOST_FILES:
            raise NeedsOperator(f"The watched folder holds more than {_MOST_FILES} reports: archive the older ones.")
        return entries

    async def _file(self, entry: Entry, known: str | None, loinc: LoincMap) -> tuple[str, list[Item]]:
        """The file's mark and items; no items where it is known already or not yet whole."""
        if entry.size > self._settings.max_bytes:
            mark = f"{entry.size} bytes"
            return mark, [] if mark == known else [self._too_large(entry)]
        raw = await self._folder.read(entry, self._settings.max_bytes)
        if raw is None:
            return "", []
        digest = hashlib.sha256(raw).hexdigest()
        mark = _mark(digest, loinc)
        if mark == known:
            return "", []
        source = Source(name=entry.name, raw=raw, sha256=digest, fetched_at=self._clock(), loinc=loinc)
        return mark, _file_items(source, settled=abs(entry.age) >= _TRAILER_WAIT)

    def _too_large(self, entry: Entry) -> Skipped:
        origin = Origin.of(b"", locator=entry.name, source_id=f"file/{entry.name}", fetched_at=self._clock())
        detail = f"The file has {entry.size} bytes, more than this installation takes; it stays in its folder."
        return Skipped(Reason.TOO_LARGE, origin, b"", detail)


def _is_ldt(name: str) -> bool:
    return name.lower().endswith(".ldt") and not name.startswith(".")


def _read_before(cursor: Cursor | None) -> dict[str, str]:
    read: dict[str, str] = orjson.loads(cursor)["read"] if cursor else {}
    return read


def _cursor(read: dict[str, str]) -> Cursor:
    return Cursor(orjson.dumps({"read": read}, option=orjson.OPT_SORT_KEYS).decode("utf-8"))


def _file_items(source: Source, settled: bool) -> list[Item]:
    """The items of a file: of its reports, or one Skipped for the whole. None while it may still be on its way."""
    version = xdt.version(source.raw)
    if version and not version.startswith("LDT3"):
        return [_refused(source, Reason.VERSION, f"The file is {version}; this connector reads LDT 3.")]
    try:
        file = xdt.parse(source.raw)
    except Refused as refused:
        if refused.reason is Reason.TRUNCATED and not settled:
            return []
        return [_refused(source, refused.reason, f"The file is not taken: {refused}.")]
    if not version:
        return [_refused(source, Reason.VERSION, "The file does not say that it is LDT 3 (field 0001).")]
    items = [item for record in file.records for item in _record_items(source, file, record)]
    return items or [_refused(source, Reason.UNKNOWN_TYPE, "The file holds no report.")]


def _record_items(source: Source, file: xdt.File, record: xdt.Group) -> list[Item]:
    if record.name == _REPORT:
        return report_items(source, file, record)
    detail = "The record is no laboratory report."
    return [skipped_record(source, record, Reason.UNKNOWN_TYPE, detail, subject_of_record(record))]


def _refused(source: Source, reason: Reason, detail: str) -> Skipped:
    return Skipped(reason, source.origin(f"file/{source.name}", 1), source.raw, detail)


def _loinc_map(settings: LdtSettings) -> LoincMap:
    rows = operator_map.rows("loinc_map", settings.loinc_map, "test", _Row)
    meanings = {(row.local, row.unit): Meaning(loinc=row.loinc, display=row.display) for row in rows}
    return LoincMap(system=settings.authority_system, meanings=meanings)


def _mark(digest: str, loinc: LoincMap) -> str:
    """What was read, and with which meanings: when the operator maps another code, the reports are read again."""
    meanings = sorted((*key, meaning.loinc, meaning.display) for key, meaning in loinc.meanings.items())
    return hashlib.sha256(orjson.dumps([digest, meanings])).hexdigest()[:_MARK]


SPEC = ConnectorSpec(
    name="practice_ldt",
    version="1.0.0",
    title="Laboratory reports from a watched folder (LDT 3)",
    config=LdtSettings,
    connect=PracticeLdt,
    kind=Kind.FEED,
    resource_types=("Patient", "Organization", "Specimen", "Observation", "DiagnosticReport", "DocumentReference"),
    incremental=True,
    reports_deletions=False,
    min_interval=timedelta(minutes=1),
)
