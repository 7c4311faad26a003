"""`kill -9` at every durable step and write, a full and a broken disk at every write: nothing acknowledged is lost.

`make test` takes a share, spread over each scenario; `make faults` (AGGREGATOR_FAULTS=all) takes every n.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.rig import Rig, rig
from tests.faults.scenario import SCENARIOS
from tests.faults.shim import Fault, missing
from tests.weaken import weakens

ALL = os.environ.get("AGGREGATOR_FAULTS") == "all"
REASON = missing()
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.timeout(0 if ALL else 300)]
PARTS = 8 if ALL else 1
"""Of what is tried of a scenario, so that several processes have the same to do."""
OFTEN = ("sync", "grants")
"""The scenarios that a share looks at more closely."""
FULL = [
    (name, fault)
    for name in SCENARIOS
    for fault in (Fault.DISK_FULL, Fault.DISK_FULL_ONCE, Fault.DISK_BROKEN)
    if ALL or name in OFTEN or fault is Fault.DISK_FULL
]


@pytest.fixture(scope="module")
def faults() -> Iterator[Rig]:
    """In memory where there is a file system for it: who is killed loses nothing that he has written, synced or not."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder, rig(Path(folder)) as made:
        yield made


def share(total: int, few: int, name: str, part: int) -> Sequence[int]:
    """As `spread`, fewer of most scenarios."""
    return spread(total, few if name in OFTEN else max(1, few // 2), part)


def spread(total: int, few: int, part: int) -> Sequence[int]:
    """1 to total, each PARTS-th of them; or few of them, evenly."""
    if ALL or few >= total:
        return range(1 + part, total + 1, PARTS)
    return [1 + total * (2 * n + 1) // (2 * few) for n in range(few)]


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.attack(48)
def test_killed_at_a_durable_step(faults: Rig, name: str, part: int) -> None:
    steps, _ = faults.count(name)
    assert steps > 10
    faults.fail_each(name, Fault.KILL_AT_STEP, share(steps, 2, name, part))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.attack(48)
def test_killed_in_the_middle_of_a_write(faults: Rig, name: str, part: int) -> None:
    """A torn write: half of it is there."""
    _, writes = faults.count(name)
    faults.fail_each(name, Fault.KILL_AT_WRITE, share(writes, 2, name, part))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("name", "fault"), FULL, ids=lambda one: getattr(one, "name", one))
@pytest.mark.attack(49)
def test_the_disk_is_full_or_broken(faults: Rig, name: str, fault: Fault, part: int) -> None:
    """What failed is told; with room again, the same process and the next one go on."""
    _, writes = faults.count(name)
    faults.fail_each(name, fault, share(writes, 1 + (fault is Fault.DISK_FULL), name, part))


# The rig itself: builds that are weakened in one place are found.


@pytest.mark.attack(48)
@pytest.mark.sqlite_only(reason="the weakening is of its BEGIN")
@weakens("tests.faults.rig.Rig", "weakening", "each statement commits")
def test_a_transaction_that_is_none_is_found(faults: Rig) -> None:
    steps, _ = faults.count("sync")
    for at in range(13, steps + 1, 1 if faults.weakening else 15):
        faults.fail("sync", Fault.KILL_AT_STEP, at)


@pytest.mark.attack(48)
@weakens("tests.faults.rig.Rig", "weakening", "revocations are not finished")
def test_a_revocation_that_nobody_finishes_is_found(faults: Rig) -> None:
    """The grant's end is committed, and the process killed before its key is destroyed: start-up does it."""
    steps, _ = faults.count("grants")
    for at in range(25, steps + 1, 1 if faults.weakening else 50):
        faults.fail("grants", Fault.KILL_AT_STEP, at)


@pytest.mark.attack(49)
@pytest.mark.sqlite_only(reason="PostgreSQL's disk is its server's")
@weakens("tests.faults.rig.Rig", "weakening", "a failed commit is not told")
def test_a_failed_commit_that_nobody_is_told_of_is_found(faults: Rig) -> None:
    _, writes = faults.count("sync")
    for at in range(23, writes, 4 if faults.weakening else 90):
        faults.fail("sync", Fault.DISK_FULL_ONCE, at)
