"""JavaScript's FHIR clients, as npm has them, run by Node: one script each in `clients/`."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api.app_world import SCOPE
from tests.api.clients_story import OBSERVATION, SEARCH, TRANSACTION, assert_told, base, observations, readable
from tests.api.http_world import REDIRECT, HttpWorld
from tests.api.node_clients import CLIENTS, PACKAGES, installed
from tests.api.receiver import RIGHT, WRONG, share
from tests.api.ways_in import sign_in

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


@pytest.mark.timeout(400)
def test_a_receiver_of_links(installed: Path, fresh: HttpWorld) -> None:
    """Another house's reader opens what an owner hands on here: embedded, by address, direct, with a passcode."""
    fresh.clock.now = datetime.now(UTC)  # the reader looks at its own clock
    fresh.owners["erika"] = sign_in(fresh).json()["token"]
    links = {
        "embedded": share(fresh)["address"],
        "long": share(fresh)["link"],
        "direct": share(fresh, direct=True, live=True)["link"],
        "passcode": share(fresh, passcode=RIGHT)["link"],
        "once": share(fresh, once=True)["link"],
    }
    asked = [
        {"link": links["embedded"]},
        {"link": links["long"], "embeddedLengthMax": 100},
        {"link": links["direct"]},
        {"link": links["passcode"], "passcode": RIGHT},
        {"link": links["passcode"], "passcode": WRONG},
        {"link": links["once"]},
        {"link": links["once"]},
    ]
    told = _run(installed / "kill_the_clipboard.mjs", asked)
    read = [("Bundle", "document")]
    assert [[(one["resourceType"], one["type"]) for one in done.get("resources", [])] for done in told] == [
        *([read] * 4),
        [],
        read,
        [],
    ]
    assert [done.get("error") for done in told if "error" in done] == [
        "SHLInvalidPasscodeError",
        "SHLManifestNotFoundError",
    ]


@pytest.mark.timeout(400)
def test_an_app_of_openid_client(installed: Path, fresh: HttpWorld) -> None:
    """Discovery, PKCE, the id_token, refresh, revocation; then the same by a pushed request and with DPoP."""
    given = {
        "issuer": fresh.service.base_url,
        "base": base(fresh),
        "client": "app",
        "redirect": REDIRECT,
        "scope": SCOPE,
        "owner": fresh.owners["erika"],
        "patient": fresh.patients["erika"],
        "now": int(fresh.clock().timestamp()),
    }
    assert _run(installed / "openid_client.mjs", given) == {
        "fhirUser": f"{base(fresh)}/Patient/{fresh.patients['erika']}",
        "scope": SCOPE,
        "counts": [3, 3],
        "ended": "invalid_grant",
        "types": ["bearer", "dpop", "dpop"],
        "bound": [3, 3],
        "patient": fresh.patients["erika"],
    }


def _run(script: Path, given: Any) -> Any:
    """What it prints. Its tokens stand in no list of processes."""
    done = subprocess.run(
        ["node", script], input=orjson.dumps(given), cwd=script.parent, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return orjson.loads(done.stdout)


def test_the_lock_names_no_registry() -> None:
    """Where it is installed from is said by whoever installs."""
    for name in PACKAGES:
        text = (CLIENTS / name).read_text()
        assert "http" not in text
        assert '"resolved"' not in text
