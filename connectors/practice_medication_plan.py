"""Account: a patient's medication plans (BMP 2.4 to 2.8) in a practice's folder, as `<patient number>_*.xml`.

https://update.kbv.de/ita-update/Verordnungen/Arzneimittel/BMP

The newest whole plan in the folder is the patient's plan: each pull lists all that it says, so what an older plan said
and it does not is gone. A folder without a whole plan says nothing, and takes nothing back. A plan of which a page is
missing waits for that page, and the one before it stays in force; when it has waited for as long as the setting says,
it is quarantined. The cursor holds since when which plan waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import orjson
from pydantic import PositiveInt, StringConstraints

from connectors.contract import (
    Batch,
    Clock,
    ConnectorSpec,
    Cursor,
    Found,
    Kind,
    Origin,
    Reason,
    Settings,
    Skipped,
)
from connectors.folder import Entry, Folder
from connectors.local_id import local_id
from connectors.practice_medication_plan_atc import AtcMap, atc_map
from connectors.practice_medication_plan_page import Page, Plan, merge, missing_pages, read_page
from connectors.practice_medication_plan_resources import plan_items
from connectors.refused import Refused

_LARGEST = 1_000_000  # bytes; the largest plan fits into three bar codes of 1,500 characters


class MedicationPlanSettings(Settings):
    """Where the plans lie and whose they are.

    folder: the practice's folder. atc_map: a TOML file of [[product]] tables with pzn, atc, display: what the packages
    hold. page_wait_hours: how long a plan waits for a missing page. patient_number: the patient's number at the
    practice; without "_", so that no number is the beginning of another's file names.
    """

    folder: Path
    atc_map: Path | None = None
    page_wait_hours: PositiveInt = 72
    patient_number: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]


class PracticeMedicationPlan:
    """The connector. See connectors.contract.Connector."""

    def __init__(self, settings: MedicationPlanSettings, _client: httpx.AsyncClient, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = Folder(settings.folder, clock)

    async def check(self) -> None:
        """Raise NeedsOperator unless the folder can be listed and the map of packages can be read."""
        atc_map(self._settings.atc_map)
        await self._entries()

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        """One batch: the newest whole plan, and what had to be quarantined."""
        now, before, atc = self._clock(), _waiting(cursor), atc_map(self._settings.atc_map)
        entries = await self._entries()
        if not all(entry.settled for entry in entries):
            return  # the newest plan may be the one that is being written
        pages, skipped = await self._pages(entries, now)
        plans, waiting = [], {}
        for plan_id, found in pages.items():
            if missing_pages(found):
                waiting[plan_id] = before.get(plan_id, now)
            else:
                plans += _merged(found, now, skipped)
        skipped += [self._overdue(pages[plan_id], now) for plan_id, since in waiting.items() if self._late(since, now)]
        found_items = self._newest(plans, now, atc, skipped)
        listed = frozenset(item.origin.source_id for item in found_items) if found_items else None
        yield Batch((*found_items, *skipped), cursor=_cursor(waiting), listed=listed)

    async def _entries(self) -> list[Entry]:
        prefix = f"{self._settings.patient_number}_"
        return await self._folder.entries(lambda name: name.startswith(prefix) and name.lower().endswith(".xml"))

    async def _pages(self, entries: list[Entry], now: datetime) -> tuple[dict[str, list[Page]], list[Skipped]]:
        """The pages in the folder by plan, and the files that are none."""
        pages: dict[str, list[Page]] = {}
        skipped = []
        for entry in entries:
            raw = await self._folder.read(entry, _LARGEST)
            if raw is None:
                skipped += _unread(entry, now)
                continue
            try:
                page = read_page(entry.name, raw)
            except Refused as refused:
                skipped.append(_skipped(refused, raw, [entry.name], f"file/{entry.name}", now))
            else:
                pages.setdefault(page.plan_id, []).append(page)
        return pages, skipped

    def _late(self, since: datetime, now: datetime) -> bool:
        return now - since >= timedelta(hours=self._settings.page_wait_hours)

    def _overdue(self, pages: list[Page], now: datetime) -> Skipped:
        refused = Refused(Reason.PAGE_MISSING, f"{pages[0].pages} pages belong to the plan, and not all of them came")
        return _skipped_plan(refused, pages, now)

    def _newest(self, plans: list[Plan], now: datetime, atc: AtcMap, skipped: list[Skipped]) -> list[Found]:
        """The items of the newest plan; a refusal goes to `skipped`."""
        newest = max(plans, key=lambda plan: (plan.printed, plan.plan_id), default=None)
        if newest is None:
            return []
        try:
            return plan_items(newest, self._settings.patient_number, now, atc)
        except Refused as refused:
            skipped.append(_skipped(refused, newest.raw, newest.names, _plan_source(newest.plan_id), now))
            return []


def _waiting(cursor: Cursor | None) -> dict[str, datetime]:
    told: dict[str, str] = orjson.loads(cursor)["waiting"] if cursor else {}
    return {plan_id: datetime.fromisoformat(since) for plan_id, since in told.items()}


def _cursor(waiting: dict[str, datetime]) -> Cursor:
    told = {plan_id: since.isoformat() for plan_id, since in waiting.items()}
    return Cursor(orjson.dumps({"waiting": told}, option=orjson.OPT_SORT_KEYS).decode("utf-8"))


def _merged(pages: list[Page], now: datetime, skipped: list[Skipped]) -> list[Plan]:
    try:
        return [merge(pages)]
    except Refused as refused:
        skipped.append(_skipped_plan(refused, pages, now))
        return []


def _unread(entry: Entry, now: datetime) -> list[Skipped]:
    if entry.size <= _LARGEST:  # gone since it was listed
        return []
    refused = Refused(Reason.TOO_LARGE, f"the file has {entry.size} bytes, which is no medication plan")
    return [_skipped(refused, b"", [entry.name], f"file/{entry.name}", now)]


def _plan_source(plan_id: str) -> str:
    return f"plan/{local_id(plan_id)}"


def _skipped_plan(refused: Refused, pages: list[Page], now: datetime) -> Skipped:
    raw = b"\n".join(page.raw for page in pages)
    return _skipped(refused, raw, [page.name for page in pages], _plan_source(pages[0].plan_id), now)


def _skipped(refused: Refused, raw: bytes, names: Iterable[str], source_id: str, now: datetime) -> Skipped:
    origin = Origin.of(raw, locator=", ".join(names), source_id=source_id, fetched_at=now)
    return Skipped(refused.reason, origin, raw, f"The medication plan is not taken: {refused}.")


SPEC = ConnectorSpec(
    name="practice_medication_plan",
    version="1.0.0",
    title="Medication plan from a practice's folder (BMP 2.4 to 2.8)",
    config=MedicationPlanSettings,
    connect=PracticeMedicationPlan,
    kind=Kind.ACCOUNT,
    resource_types=("Patient", "Practitioner", "Organization", "MedicationStatement", "Observation", "List"),
    incremental=False,
    reports_deletions=True,
    min_interval=timedelta(minutes=1),
    account=frozenset({"patient_number"}),
    account_id="patient_number",
)
