"""Two schedulers and ten workers at one connection, as processes: no pull is lost, none is stored twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlmodel import update

from aggregator.sync.tables import Connection
from tests.databases import told
from tests.sync.pullers import AUTHORITY, Folder
from tests.sync.sync_world import SyncWorld
from tests.vault.world import World
from tests.weaken import weakens

ROOT = Path(__file__).parents[2]
BATCHES = 6
WEAKENED: tuple[str, ...] = ()


@pytest.mark.attack(51)
@weakens("tests.sync.test_sync_processes", "WEAKENED", ("a lease holds nobody off",))
def test_of_twelve_processes_each_batch_comes_from_one(world: World) -> None:
    """While they pull, more is published, and the connection is due again each time."""
    published, served = world.folder / "published", world.folder / "served"
    published.write_text("0")
    served.touch()
    syncing = SyncWorld(world=world, clinic=Folder(world.folder))
    connection = syncing.connect(AUTHORITY)
    arguments = [str(world.folder), told(world.store), *WEAKENED]
    process = subprocess.Popen([sys.executable, "-m", "tests.sync.pullers", *arguments], cwd=ROOT)
    try:
        for number in range(1, BATCHES + 1):
            (world.folder / "next").write_text(str(number))
            (world.folder / "next").rename(published)
            _due(world)
            _wait(served, number)
    finally:
        (world.folder / "stop").touch()
        ended = process.wait(timeout=60)
    syncing.run(connection)
    assert ended == 0
    assert sorted(map(int, served.read_text().split())) == list(range(BATCHES))
    versions = {number: list(syncing.versions(f"Observation/o{number}").values()) for number in range(BATCHES)}
    assert versions == {number: [["1"]] for number in range(BATCHES)}


def _due(world: World) -> None:
    with world.store.write() as session:
        session.exec(update(Connection).values(next_at=0.0))


def _wait(served: Path, number: int) -> None:
    """Until somebody has been given the batch; fifteen seconds at most."""
    for _ in range(1500):
        if len(served.read_text().split()) >= number:
            return
        time.sleep(0.01)
    pytest.fail("nobody pulls")
