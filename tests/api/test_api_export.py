"""A record leaves by HTTP and arrives in another installation: through the FHIR API it is the same, byte by byte."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from aggregator.api.export_routes import place
from aggregator.portability import archive, sealed_file
from aggregator.portability.erase import OPERATOR_ORDER, erase
from aggregator.portability.imported import import_record
from aggregator.sync.schedule import sync
from tests.api.http_world import PASSWORD, HttpWorld, http_world
from tests.portability.rich import as_files, contents, values
from tests.weaken import weakens

SEAL = "ein Passwort für die Datei"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[HttpWorld]:
    """Another installation, whose clinic is the same in what it shows."""
    folder = tmp_path / "there"
    folder.mkdir()
    with http_world(folder) as world:
        yield world


def taken(world: HttpWorld, login: str = "erika") -> dict[str, bytes]:
    answer = world.http.post("/app/export", json={"password": SEAL}, headers=world.owner(login))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    stream = sealed_file.unseal(io.BytesIO(answer.content), SEAL)
    return contents(archive.in_tar(stream))


def arrive(made: dict[str, bytes], world: HttpWorld) -> None:
    service = world.service
    imported = import_record(
        place(service), service.worker_keys, service.accounts, lambda: iter(as_files(made)), "erika", PASSWORD
    )
    service.accounts.prove_recovery("erika", imported.signed_up.recovery_code)
    owner = imported.signed_up.owner
    world.owners["erika"], world.patients["erika"] = owner.token, owner.whole_patient


def test_through_the_api_it_is_the_same_byte_by_byte(fresh: HttpWorld, there: HttpWorld) -> None:
    made = taken(fresh)
    arrive(made, there)
    read = 0
    for path in [path for path in made if path.startswith("fhir/")]:
        for line in made[path].splitlines():
            told = orjson.loads(line)
            url = f"/fhir/{told['resourceType']}/{told['id']}"
            before, after = fresh.get(url, fresh.owner()), there.get(url, there.owner())
            assert before.content == after.content == line
            assert before.headers["etag"] == after.headers["etag"]
            assert before.headers["last-modified"] == after.headers["last-modified"]
            read += 1
    assert read == sum(orjson.loads(made["manifest.json"])["sections"].values()) > 10
    assert there.everything(there.owner()) == fresh.everything(fresh.owner())


def test_its_source_stores_nothing_when_it_is_connected_again(fresh: HttpWorld, there: HttpWorld) -> None:
    made = taken(fresh)
    arrive(made, there)
    there.connect("erika", "a")
    (outcome,) = asyncio.run(sync(there.service.worker, again=True))
    assert (outcome.status, outcome.stored, outcome.deleted) == ("fresh", 0, 0)
    assert outcome.unchanged == outcome.found - outcome.quarantined > 5


@pytest.mark.attack(1)
def test_a_consent_that_came_along_opens_nothing(fresh: HttpWorld, there: HttpWorld) -> None:
    arrive(taken(fresh), there)
    answer = there.get(f"/fhir/Patient/{there.patients['erika']}/$everything", there.token("praxis"))
    assert answer.status_code == 404


def test_the_owner_reads_who_had_read_it_before(fresh: HttpWorld, there: HttpWorld) -> None:
    fresh.everything(fresh.token("praxis"))
    made = taken(fresh)
    arrive(made, there)
    found = there.get("/fhir/AuditEvent?_count=200", there.owner()).json()["entry"]
    ids = [entry["resource"]["id"].partition(".")[2] for entry in found]
    number = len(values(made["receipts/entries.ndjson"]))
    assert [f"closed-001-receipt-{one:09d}" for one in range(1, number + 1)] == [one for one in ids if "closed" in one]
    said = {entry["resource"]["outcomeDesc"] for entry in found}
    assert any("took your whole record along" in one for one in said)
    assert any("brought your record here" in one for one in said)
    assert any("praxis" in one.casefold() for one in said)


@pytest.mark.attack(2)
@weakens("aggregator.api.caller.Principal", "as_owner", lambda principal: principal.owner)
def test_only_the_owner_takes_a_record_along(shared: HttpWorld) -> None:
    told = {"password": SEAL}
    assert shared.http.post("/app/export", json=told).status_code == 401
    try:
        by_client = shared.http.post("/app/export", json=told, headers=shared.token("praxis")).status_code
    except Exception as error:
        raise AssertionError("a client is not refused in words") from error
    assert by_client == 403
    erika, berta = (taken(shared, login) for login in ("erika", "berta"))
    vaults = [orjson.loads(made["manifest.json"])["vault"] for made in (erika, berta)]
    assert vaults == [shared.patients[login].partition(".")[0] for login in ("erika", "berta")]
    assert not any(vaults[0].encode() in text for text in berta.values())


@pytest.mark.attack(2)
@weakens("aggregator.identity.accounts.Accounts", "may_sign", lambda _accounts, _owner: None)
def test_it_takes_a_fresh_unlock(fresh: HttpWorld) -> None:
    fresh.clock.advance(minutes=6)
    answer = fresh.http.post("/app/export", json={"password": SEAL}, headers=fresh.owner())
    assert answer.status_code in (401, 403)
    assert "sign in again" in answer.text


def test_a_short_password_is_told(shared: HttpWorld) -> None:
    answer = shared.http.post("/app/export", json={"password": "kurz"}, headers=shared.owner())
    assert answer.status_code == 400
    assert "at least 10 characters" in answer.text


@pytest.mark.attack(26)
def test_a_service_that_runs_answers_nothing_of_what_was_erased(fresh: HttpWorld) -> None:
    patient, owner, client = fresh.patients["erika"], fresh.owner(), fresh.token("praxis")
    paths = [
        f"/fhir/Patient/{patient}",
        f"/fhir/Patient/{patient}/$everything",
        "/fhir/Observation",
        "/fhir/AuditEvent",
    ]
    assert {fresh.get(path, owner).status_code for path in paths} == {200}
    assert fresh.get(paths[1], client).status_code == 200
    erase(place(fresh.service), patient.partition(".")[0], OPERATOR_ORDER, 30)
    assert {fresh.get(path, client).status_code for path in paths[:2]} == {404}
    assert fresh.get(paths[2], client).json().get("entry", []) == []
    for path in [*paths, "/app/unlockers", "/app/quarantine", "/app/audit-chain"]:
        answer = fresh.get(path, owner)
        assert answer.status_code >= 400 or not answer.content.strip() or "entry" not in answer.text, path
        assert answer.status_code < 500 or answer.status_code == 503, (path, answer.text)
    assert fresh.http.post("/app/export", json={"password": SEAL}, headers=owner).status_code >= 400
