"""JavaScript's FHIR clients, as npm has them, run by Node: one script each in `clients/`."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api.clients_story import OBSERVATION, SEARCH, TRANSACTION, assert_told, base, observations, readable
from tests.api.http_world import HttpWorld

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = ("package.json", "package-lock.json", ".npmrc")

pytestmark = pytest.mark.skipif(not shutil.which("node") or not shutil.which("npm"), reason="Node is not here")


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest) -> Path:
    """A folder with the clients as their lock names them; installed once for a lock, kept beside pytest's cache."""
    lock = hashlib.sha256(b"".join((CLIENTS / name).read_bytes() for name in PACKAGES)).hexdigest()
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("node_clients") / lock[:16]
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # xdist's workers share the folder
        for path in CLIENTS.iterdir():
            shutil.copy(path, folder)
        if not (folder / "done").exists():
            _install(folder)
            (folder / "done").touch()
    return folder


def _install(folder: Path) -> None:
    try:
        done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, timeout=280, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not come to an end")
    if done.returncode:
        pytest.skip(f"npm cannot install: {done.stderr.decode()[-300:]}")


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
