"""The demo world, run twice with one home: what the tests of the demo look at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from aggregator.app import open_service
from aggregator.demo.door import Door, new_client
from aggregator.demo.outcome import outcome
from aggregator.demo.sources import Sources
from aggregator.demo.world import World, main_job, serving
from fhir_profiles.text import Resource

NIGHT = datetime(2026, 12, 1, 3, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))  # in UTC still the day before


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. records: patient's short name -> all that the owner reads; store: every file of the store folder while
    the world is up, write-ahead log and all."""

    told: Mapping[str, Any]
    addresses: Mapping[str, Any]
    ids: Mapping[str, str]
    records: Mapping[str, list[Resource]]
    store: bytes
    config: str
    sources: Sources


def run(home: Path, data: Path | None = None, clock: datetime = NIGHT) -> Run:
    """Run the main job on a free port."""
    with serving(home, data, 0, open_service, lambda: clock) as served:
        moved_in: list[tuple[int, int]] = []
        world = asyncio.run(main_job(served, lambda done, of: moved_in.append((done, of))))
        assert moved_in == [(done, len(moved_in)) for done in range(1, len(moved_in) + 1)]
        records = asyncio.run(_records(world))
        store = b"".join(file.read_bytes() for file in sorted((home / "store").iterdir()))
        return Run(
            told=asyncio.run(outcome(world)),
            addresses=world.addresses(),
            ids={one.id: f"<{one.resident.short}>" for one in world.patients},
            records=records,
            store=store,
            config=served.home.config.read_text(encoding="utf-8"),
            sources=served.sources,
        )


async def _records(world: World) -> dict[str, list[Resource]]:
    async with new_client() as client:
        door = Door(client, world.base_url)
        return {
            one.resident.short: [found async for found in door.everything(one.token, one.id)] for one in world.patients
        }
