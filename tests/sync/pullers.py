"""Two schedulers and ten workers, each a process of its own, at one store: `python -m tests.sync.pullers FOLDER PLACE`.

The source lies in FOLDER: `published` holds how many batches there are, `served` gets a line for each that was given.
They go on until there is a file `stop`. With a third argument a lease holds nobody off.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, update

from aggregator.sync.run import Worker
from aggregator.sync.schedule import Schedule, sync
from aggregator.vault.blob_store import LocalBlobs
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Batch, Cursor
from tests.databases import opened
from tests.sync.sync_world import Script, Scripted, batch, observation, patient
from tests.vault.source import without_tls
from tests.vault.world import TABLE, FrozenClock

SCHEDULERS, WORKERS = 2, 10
AUTHORITY = "klinik"


class Folder(Script):
    """A source that is slow, and writes down what it gave."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        published = int((self._folder / "published").read_text() or "0")
        for number in range(int(cursor or 0), published):
            await asyncio.sleep(0.002)
            with (self._folder / "served").open("a") as file:
                file.write(f"{number}\n")
            yield batch(patient(), observation(f"o{number}"), cursor=str(number + 1))


def worker(folder: Path, place: str) -> Worker:
    """All that one process has."""
    return Worker(
        store=opened(place),
        keys=WorkerKeys.read(folder / "keys"),
        key_service=KeyRing(folder / "keys"),
        registry=Scripted(Folder(folder).source(AUTHORITY)),
        table=TABLE,
        blobs=LocalBlobs(folder / "blobs"),
        clock=FrozenClock(),
        client=without_tls,
    )


def claim_whatever(worker: Worker, session: Session, model: Any, identity: Any, *, due_only: bool) -> str | None:
    """A lease that holds nobody off."""
    token = secrets.token_hex(16) if not due_only or worker else ""
    session.exec(update(model).where(col(model.id) == identity).values(lease=token))
    return token


def main(folder: Path, place: str, *weakened: str) -> int:
    """How many of the processes ended badly."""
    if weakened:
        Worker.claim = claim_whatever  # type: ignore[method-assign]
    children = [_forked(folder, place, number < SCHEDULERS) for number in range(SCHEDULERS + WORKERS)]
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def _forked(folder: Path, place: str, schedules: bool) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        mine = worker(folder, place)
        ticks = Schedule(mine, tick_seconds=3600, jitter_percent=0, at_once=4)
        pull: Callable[[], object] = ticks.tick if schedules else lambda: asyncio.run(sync(mine))
        while not (folder / "stop").exists():
            pull()
            time.sleep(0.05)
        status = 0
    except BaseException:  # noqa: BLE001 - told, and the process ends
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
