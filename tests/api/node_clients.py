"""JavaScript packages that tests use, as npm has them and `clients/package-lock.json` names them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = ("package.json", "package-lock.json", ".npmrc")


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
