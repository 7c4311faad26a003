"""A rich record, made once and copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.portability import rich
from tests.sync.sync_world import SyncWorld
from tests.vault.world import FrozenClock, World


@pytest.fixture
def syncing(world: World) -> SyncWorld:
    """One whose source has shown everything that it will."""
    made = SyncWorld(world=world)
    rich.fill(made)
    return made


@pytest.fixture
def there(syncing: SyncWorld, tmp_path: Path) -> Iterator[World]:
    """An empty installation, an hour later."""
    syncing.clock.advance(hours=1)
    made = rich.elsewhere(tmp_path / "there", FrozenClock(syncing.clock()))
    yield made
    made.close()
