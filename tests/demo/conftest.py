"""One demo home for all tests of the demo: moving in costs Argon2 for each patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo.demo_runs import Run, run


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="session")
def first(demo_home: Path) -> Run:
    return run(demo_home)


@pytest.fixture(scope="session")
def second(demo_home: Path, first: Run) -> Run:
    """The same home once more."""
    _ = first
    return run(demo_home)
