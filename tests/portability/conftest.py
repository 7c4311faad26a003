"""A rich record, made once and copied."""

from __future__ import annotations

import pytest

from tests.portability import rich
from tests.sync.sync_world import SyncWorld
from tests.vault.world import World


@pytest.fixture
def syncing(world: World) -> SyncWorld:
    """One whose source has shown everything that it will."""
    made = SyncWorld(world=world)
    rich.fill(made)
    return made
