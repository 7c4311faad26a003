"""A world that syncs, and one line for what a run counted."""

from __future__ import annotations

import pytest

from tests.sync.sync_world import SyncWorld
from tests.vault.world import World


@pytest.fixture
def syncing(world: World) -> SyncWorld:
    return SyncWorld(world=world)
