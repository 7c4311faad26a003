"""A grantee that asks for too much is told when there is more; the patient and the others are not the worse for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.bulk_client import BulkClient
from tests.api.http_world import HttpWorld, http_world
from tests.weaken import weakens


@pytest.fixture
def strict(http_template: HttpWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpWorld]:
    """The settled world, where ten requests a minute are to be had of a record, and one record an hour."""
    monkeypatch.setenv("AGGREGATOR_LIMITS__RECORD_REQUESTS_PER_MINUTE", "10")
    monkeypatch.setenv("AGGREGATOR_LIMITS__RECORDS_PER_HOUR", "1")
    with http_world(tmp_path, http_template) as world:
        yield world


def _reads(world: HttpWorld, who: dict[str, str], times: int) -> list[int]:
    one = f"/fhir/Patient/{world.patients['erika']}"
    return [world.get(one, who).status_code for _ in range(times)]


@pytest.mark.attack(10)
@weakens("aggregator.identity.allowances.Allowances", "_take", lambda *_: 10**6)
def test_a_harvester_is_held_back_and_nobody_else(strict: HttpWorld) -> None:
    assert _reads(strict, strict.token("praxis"), 12) == [200] * 10 + [429] * 2
    answer = strict.get(f"/fhir/Patient/{strict.patients['erika']}", strict.token("praxis"))
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert answer.json()["issue"][0]["code"] == "throttled"
    assert _reads(strict, strict.owner(), 12) == [200] * 12
    assert _reads(strict, strict.token("labor"), 1) == [200]
    strict.clock.advance(minutes=1)
    assert _reads(strict, strict.token("praxis"), 1) == [200]


@pytest.mark.attack(10)
def test_guesses_at_records_count_as_requests(strict: HttpWorld) -> None:
    """A record that is not there has its limit like one that is."""
    caller, never = strict.token("praxis"), f"/fhir/Patient/{'a' * 26}.{'b' * 26}"
    assert [strict.get(never, caller).status_code for _ in range(12)] == [404] * 10 + [429] * 2


@pytest.mark.attack(10)
@weakens("aggregator.identity.allowances.Allowances", "_count_record", lambda *_: None)
def test_so_many_records_an_hour(strict: HttpWorld) -> None:
    strict.consent("praxis", "berta")
    caller = strict.token("praxis")
    first, second = (strict.get(f"/fhir/Patient/{strict.patients[name]}", caller) for name in ("erika", "berta"))
    assert (first.status_code, second.status_code) == (200, 429)
    strict.clock.advance(hours=1)
    later = strict.token("praxis")
    assert strict.get(f"/fhir/Patient/{strict.patients['berta']}", later).status_code == 200
    assert strict.get(f"/fhir/Patient/{strict.patients['erika']}", later).status_code == 200


@pytest.mark.attack(10)
def test_an_export_goes_on_when_there_is_more(strict: HttpWorld) -> None:
    """What it has looked at is not lost, and is not counted again for its files."""
    strict.consent("praxis", "berta")
    asking = BulkClient(strict.http, lambda: strict.token("praxis"))
    place = asking.kick_off()
    assert [asking.poll(place).status_code for _ in range(2)] == [202, 429]
    assert asking.progress == ["1 of 2 records"]
    strict.clock.advance(hours=1)
    later = BulkClient(strict.http, lambda: strict.token("praxis"))
    patients = next(one for one in later.manifest(place)["output"] if one["type"] == "Patient")
    assert len({one["id"].partition(".")[0] for one in later.download(patients)}) == 2


@pytest.mark.attack(10)
def test_the_operator_is_told_how_often_and_of_nobody(strict: HttpWorld) -> None:
    _reads(strict, strict.token("praxis"), 12)
    told = strict.http.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'aggregator_throttled_total{limit="requests of one record"} 2\n' in told.text
    assert "praxis" not in told.text
    assert strict.patients["erika"].partition(".")[0] not in told.text
