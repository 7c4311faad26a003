"""Worlds for the tests over HTTP: one that is only read, shared; and a fresh one for tests that change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.http_world import HttpWorld, classes, http_world
from tests.identity.authenticator import Authenticator


@pytest.fixture(scope="session")
def http_template(tmp_path_factory: pytest.TempPathFactory) -> HttpWorld:
    """Made once and ended; `shared` and `fresh` are copies of it.

    Erika lets the practice read all that is not sensitive, the laboratory its results; Berta lets nobody.
    """
    with http_world(tmp_path_factory.mktemp("settled")) as world:
        world.sign_up("erika", "Muster", "1957-08-13")
        world.sign_up("berta", "Anders", "1990-02-03")
        world.connect("erika", "a")
        world.connect("berta", "b")
        assert {one.status for one in world.sync()} == {"fresh"}
        world.consent("praxis")
        world.consent("labor", **{"class": classes("results")})
    return world


@pytest.fixture(scope="module")
def shared(http_template: HttpWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpWorld]:
    """The settled world, for tests that only read it."""
    with http_world(tmp_path_factory.mktemp("shared"), http_template) as world:
        yield world


@pytest.fixture
def fresh(http_template: HttpWorld, tmp_path: Path) -> Iterator[HttpWorld]:
    """The settled world, this test's own."""
    with http_world(tmp_path, http_template) as world:
        yield world


@pytest.fixture
def device(fresh: HttpWorld) -> Authenticator:
    """A person's, which knows this service."""
    return Authenticator(fresh.service.base_url)
