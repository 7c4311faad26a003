"""What many tests need: a frozen clock that is not UTC, a fresh store with its key ring, a patient who signed up.

The world is imported where it is used, so that a test of the connectors loads little of the service.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from aggregator.identity.accounts import SignedUp
    from tests.vault.world import FrozenClock, World

settings.register_profile("default", deadline=None)  # nothing is timed: the machine may be busy


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=("sqlite", "postgresql"), default="sqlite", help="the database under test")


def pytest_configure(config: pytest.Config) -> None:
    """xdist: every worker has its own server, the one that hands out the tests has none."""
    if config.getoption("--store") == "postgresql" and (
        hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    ):
        from tests import databases

        databases.start("postgresql")
        config.add_cleanup(databases.stop)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "sqlite":
        return
    config.hook.pytest_deselected(items=[item for item in items if _once(item)])
    items[:] = [item for item in items if not _once(item)]
    for item in items:
        if mark := item.get_closest_marker("sqlite_only"):
            item.add_marker(pytest.mark.skip(reason=f"about SQLite itself: {mark.kwargs['reason']}"))


def _once(item: pytest.Item) -> bool:
    """What is the same on every database: it is tried on SQLite.

    A weakened build tests the test, but for `make faults`, which weakens what is PostgreSQL's own.
    """
    weakened = _weakened(item) and os.environ.get("AGGREGATOR_FAULTS") != "all"
    return weakened or item.get_closest_marker("storeless") is not None


def _weakened(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("weakening") is not None


@pytest.fixture(autouse=True)
def own_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test takes of PostgreSQL's databases, the next one may have."""
    if request.config.getoption("--store") == "sqlite":
        yield
        return
    from tests import databases

    with databases.own_databases():
        yield


@pytest.fixture(autouse=True)
def no_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that says it reaches no store reaches none."""
    if request.node.get_closest_marker("storeless"):
        reached = "a test that is marked storeless opens a store: it has to run on PostgreSQL too"
        monkeypatch.setattr("aggregator.vault.store.Store.__init__", lambda *_, **__: pytest.fail(reached))


@pytest.fixture(scope="session", autouse=True)
def cheap_argon2() -> None:
    """Before the first world is made."""
    from tests import cheap_argon2

    cheap_argon2.install()


@pytest.fixture
def real_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its full price, as it is served: for what is about Argon2id itself, or was derived by another process."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    from aggregator.identity import unlockers

    monkeypatch.setattr(unlockers, "Argon2id", Argon2id)


@pytest.fixture
def clock() -> FrozenClock:
    """Stands at 2026-11-21T21:30+01:00 until it is moved."""
    from tests.vault.world import FrozenClock

    return FrozenClock()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SignedUp]:
    """The folder of one installation with one signed-up patient: made once, copied by `world`."""
    from tests.vault.world import sign_up

    folder = tmp_path_factory.mktemp("template")
    return folder, sign_up(folder)


@pytest.fixture
def world(template: tuple[Path, SignedUp], tmp_path: Path) -> Iterator[World]:
    """A fresh store and key ring with a signed-up owner, this test's own."""
    from tests.vault.world import copy

    folder, signed_up = template
    made = copy(folder, signed_up.owner, tmp_path)
    yield made
    made.close()
