"""PostgreSQL's server itself: killed with all its processes, or one of them alone, or on a full or broken disk.

Its files lie in memory where there is enough of it, with fsync on: who is killed loses nothing that he has written, so
this finds what is acknowledged before the server was asked to keep it, not a disk that lies. Our process lives on,
answers with an error, and goes on with the server that was started again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import databases
from tests.faults.rig import Rig, rig
from tests.faults.scenario import SCENARIOS
from tests.faults.server import FaultyServer
from tests.faults.shim import Fault, missing
from tests.faults.test_kill import ALL, PARTS, spread
from tests.weaken import weakens

REASON = missing()
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.timeout(0 if ALL else 300)]
NAMES = tuple(SCENARIOS) if ALL else ("sync",)


@pytest.fixture(scope="module")
def faults() -> Iterator[Rig]:
    if not databases.on_postgresql():
        pytest.skip("about PostgreSQL's server")
    server = FaultyServer()
    try:
        place = TemporaryDirectory(dir=server.folder.parent)
        with databases.instead(server), place as folder, rig(Path(folder), server) as made:
            yield made
    finally:
        server.stop()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alone", [False, True], ids=["all of it", "one process"])
@pytest.mark.attack(48)
def test_the_server_is_killed_at_a_durable_step(faults: Rig, name: str, alone: bool, part: int) -> None:
    """With its first process, as `kill -9` or the end of a container does; or one alone, and the first one mends it."""
    assert faults.server
    steps, _ = faults.count(name)
    assert steps > 5
    with faults.server.killed_alone(alone):
        faults.fail_each(name, Fault.KILL_AT_STEP, spread(steps, 2, part))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.attack(48)
def test_the_server_is_killed_in_the_middle_of_a_write(faults: Rig, name: str, part: int) -> None:
    _, writes = faults.count(name)
    faults.fail_each(name, Fault.KILL_AT_WRITE, spread(writes, 1, part))


@pytest.mark.parametrize("fault", [Fault.DISK_FULL, Fault.DISK_FULL_ONCE, Fault.DISK_BROKEN], ids=lambda one: one.name)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.attack(49)
def test_the_servers_disk_is_full_or_broken(faults: Rig, name: str, fault: Fault, part: int) -> None:
    """The server ends itself where it cannot write its log; with room again it is there, and all that it confirmed."""
    _, writes = faults.count(name)
    faults.fail_each(name, fault, spread(writes, 1, part))


@pytest.mark.attack(48)
@weakens("tests.faults.rig.Rig", "weakening", "the server may forget")
def test_a_server_that_confirms_too_early_is_found(faults: Rig) -> None:
    """Our session would let it, and the check of its settings would not notice."""
    _, writes = faults.count("sync")
    for at in range(2, writes + 1, 1 if faults.weakening else 20):
        faults.fail("sync", Fault.KILL_AT_WRITE, at)


@pytest.mark.attack(49)
@weakens("tests.faults.rig.Rig", "weakening", "a failed commit is not told")
def test_a_commit_that_the_server_did_not_confirm_is_found(faults: Rig) -> None:
    _, writes = faults.count("sync")
    for at in range(2, writes + 1, 2 if faults.weakening else 20):
        faults.fail("sync", Fault.DISK_FULL_ONCE, at)
