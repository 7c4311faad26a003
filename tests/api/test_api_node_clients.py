"""JavaScript's FHIR clients, as npm has them, run by Node: one script each in `clients/`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api.clients_story import OBSERVATION, SEARCH, TRANSACTION, assert_told, base, observations, readable
from tests.api.http_world import HttpWorld
from tests.api.node_clients import CLIENTS, PACKAGES, installed

__all__ = ["installed"]

pytestmark = pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="Node is not here")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("script", ["fhir_kit_client.mjs", "fhirclient.mjs"])
def test_a_client(installed: Path, fresh: HttpWorld, script: str) -> None:
    provider, before = fresh.token("praxis"), observations(fresh)
    given = {
        "base": base(fresh),
        "token": fresh.owners["erika"],
        "provider": provider["Authorization"].removeprefix("Bearer "),
        "observation": OBSERVATION,
        "search": SEARCH,
        "transaction": TRANSACTION,
    }
    expected = readable(fresh, provider)
    told = _run(installed / script, given)
    exported = told.pop("exported")
    assert_told(told, before)
    assert exported == expected | {"Observation": expected["Observation"] + 1}


def _run(script: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What it prints. Its tokens stand in no list of processes."""
    done = subprocess.run(
        ["node", script], input=orjson.dumps(given), cwd=script.parent, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = orjson.loads(done.stdout)
    return told


def test_the_lock_names_no_registry() -> None:
    """Where it is installed from is said by whoever installs."""
    for name in PACKAGES:
        text = (CLIENTS / name).read_text()
        assert "http" not in text
        assert '"resolved"' not in text
