"""A rich record, made once and copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.identity.accounts import SignedUp
from tests.portability import rich
from tests.sync.sync_world import SyncWorld
from tests.vault.world import FrozenClock, World, copy


@pytest.fixture(scope="session")
def filled(template: tuple[Path, SignedUp], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once and ended; `syncing` is a copy of it."""
    folder, signed_up = template
    world = copy(folder, signed_up.owner, tmp_path_factory.mktemp("rich"))
    rich.fill(SyncWorld(world=world))
    world.store.checkpoint()
    world.close()
    return world


@pytest.fixture
def syncing(filled: World, tmp_path: Path) -> Iterator[SyncWorld]:
    """One whose source has shown everything that it will."""
    world = copy(filled.folder, filled.owner, tmp_path)
    world.clock.now = filled.clock.now
    made = SyncWorld(world=world)
    made.clinic.says([rich.now("4")])
    yield made
    world.close()


@pytest.fixture
def there(syncing: SyncWorld, tmp_path: Path) -> Iterator[World]:
    """An empty installation, an hour later."""
    syncing.clock.advance(hours=1)
    made = rich.elsewhere(tmp_path / "there", FrozenClock(syncing.clock()))
    yield made
    made.close()
