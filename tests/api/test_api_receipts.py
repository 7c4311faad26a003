"""Every access leaves a receipt before its answer; the patient reads who saw what, why, and what was withheld."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Connection, event

from aggregator.audit import verify
from aggregator.audit.receipts import SYSTEM
from aggregator.vault import disk
from fhir_profiles.text import Resource
from tests.api.http_world import HttpWorld
from tests.audit import stranger
from tests.weaken import weakens

FULL = str(disk.failure(OSError(28, "No space left on device")))


def _events(world: HttpWorld) -> list[dict[str, Any]]:
    answer = world.get("/fhir/AuditEvent?_count=500", world.owner())
    return [entry["resource"] for entry in answer.json()["entry"]]


def _details(event: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["valueString"] for one in event["entity"][0]["detail"]}


def test_a_search_is_told_with_its_consent_and_what_was_withheld(fresh: HttpWorld) -> None:
    whole = fresh.patients["erika"]
    fresh.get(f"/fhir/Patient/{whole}/$everything", fresh.token("labor"))
    mine = [one for one in _events(fresh) if one["agent"][0]["name"] == "labor"]
    told = _details(mine[-1])
    assert mine[-1]["outcomeDesc"].startswith("labor hat 5 Einträge gesehen; 6 dieser Art blieben verborgen.")
    assert mine[-1]["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
    assert told["query"] == f"Patient/{whole}/$everything"
    assert (told["shown"], told["withheld"]) == ("5", "6")
    assert told["consent"].startswith(f"Consent/{whole.partition('.')[0]}.")
    assert {name: told[name] for name in told if name.startswith("withheld-")} == {
        "withheld-encounters": "1",
        "withheld-identity": "2",
        "withheld-problems": "1",
        "withheld-unsorted": "2",
    }


def test_a_refusal_is_told_too(fresh: HttpWorld) -> None:
    fresh.get(f"/fhir/Observation?patient={fresh.patients['erika']}", fresh.token("fremd"))
    refused = [one for one in _events(fresh) if one["outcome"] == "8"]
    assert [(one["agent"][0]["name"], one["outcomeDesc"]) for one in refused] == [
        (
            "fremd",
            "fremd wollte Ihre Akte lesen und durfte nicht. / fremd wanted to read your record and was not allowed to.",
        )
    ]


def test_refusals_about_nobody_go_to_the_systems_chain(fresh: HttpWorld) -> None:
    key = fresh.service.key_service.audit_verification_key()
    with fresh.service.store.read() as session:
        before = verify.check(session, SYSTEM, key).receipts
    fresh.get("/fhir/Patient/aaaaaaaaaaaaaaaaaaaaaaaaaa.x", fresh.token("fremd"))
    with fresh.service.store.read() as session:
        assert verify.check(session, SYSTEM, key).receipts == before + 1


@pytest.mark.attack(30)
def test_the_chain_holds_after_all_of_it(shared: HttpWorld) -> None:
    key, vault = shared.service.key_service.audit_verification_key(), shared.patients["erika"].partition(".")[0]
    shared.everything(shared.token("praxis"))
    with shared.service.store.read() as session:
        verified = verify.check(session, vault, key)
    assert verified.finding is None
    assert verified.receipts == verified.signed_upto > 5


async def _not_waited(*_: object) -> None:
    """An answer that does not wait for its receipt."""


@pytest.mark.attack(31)
@weakens("aggregator.audit.receipts.ReceiptWriter", "write", _not_waited)
def test_no_receipt_no_answer(fresh: HttpWorld) -> None:
    """The disk is full where receipts are committed: nothing leaves, of an open view or a new one, by any route."""
    whole = fresh.patients["erika"]
    callers = {"an open view": fresh.token("praxis"), "a new view": fresh.token("labor"), "the owner": fresh.owner()}
    assert fresh.get(f"/fhir/Observation?patient={whole}", callers["an open view"]).status_code == 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aggregator.audit.receipts._append", _disk_full)
        for path in (f"Observation?patient={whole}", f"Patient/{whole}", f"Patient/{whole}/$everything"):
            for caller in callers.values():
                answer = fresh.get(f"/fhir/{path}", caller)
                assert (answer.status_code, answer.headers.get("retry-after")) == (507, "60")
                assert answer.json()["issue"][0]["code"] == "no-store"
                assert not re.search("4548-4|Erika|Muster|entry", answer.text)
    for caller in callers.values():
        assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code == 200


def _disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.attack(31, 49)
@pytest.mark.sqlite_only(reason="PostgreSQL's disk is its server's: tests/faults/test_server.py")
@weakens("aggregator.vault.disk", "failure", lambda _: None, about=(49,))
def test_a_store_that_is_full_is_told_and_room_is_all_it_takes(
    fresh: HttpWorld, caplog: pytest.LogCaptureFixture
) -> None:
    token, path = fresh.token("praxis"), f"/fhir/Observation?patient={fresh.patients['erika']}"
    engine = fresh.service.store.database.engine
    event.listen(engine, "begin", _no_more_pages)
    answers = (fresh.get(path, token) for _ in range(100))  # until the pages that there are have been filled
    refused = next(one for one in answers if one.status_code != 200)
    event.remove(engine, "begin", _no_more_pages)
    assert (refused.status_code, refused.headers.get("retry-after")) == (507, "60")
    assert refused.json()["issue"] == [{"severity": "error", "code": "no-store", "diagnostics": FULL}]
    assert f"DiskFull: {FULL}" in caplog.text
    event.listen(engine, "begin", _pages)
    assert fresh.get(path, token).status_code == 200


def _no_more_pages(connection: Connection) -> None:
    """The file may have those that it has: the least that SQLite lets it have."""
    connection.exec_driver_sql("PRAGMA max_page_count = 1")


def _pages(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


def test_the_owners_app_keeps_a_head_and_verifies_the_chain_elsewhere(shared: HttpWorld) -> None:
    """What the two routes give is all that a stranger's verifier needs."""
    shared.everything(shared.token("praxis"))
    kept = shared.get("/app/audit-head", shared.owner()).json()
    shared.everything(shared.token("praxis"))
    answer = shared.get("/app/audit-chain", shared.owner())
    assert answer.headers["content-type"] == "application/x-ndjson"
    key, vault = bytes.fromhex(kept["key"]), shared.patients["erika"].partition(".")[0]
    heads = [(vault, kept["position"], bytes.fromhex(kept["head"])), stranger.paper(kept["line"])]
    assert stranger.is_signed(kept, key)
    assert stranger.verdict(answer.text, key, heads) == ("", 0)
    *_, receipts = stranger.read(answer.text)
    assert len(receipts) > kept["position"]
    assert {shared.get(f"/app/audit-{one}", shared.token("praxis")).status_code for one in ("head", "chain")} == {403}
    assert stranger.verdict(shared.get("/app/audit-chain", shared.owner("berta")).text, key, heads) == ("", 0)


OBSERVED = {"reference": "Observation/o"}
BY_THE_CLINIC: list[Resource] = [
    {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/a"},
    },
    {
        "resourceType": "Provenance",
        "id": "p",
        "target": [OBSERVED, {"reference": "Patient/a"}],
        "recorded": "2026-11-01T10:00:00Z",
        "agent": [{"who": {"display": "the clinic's own"}}],
    },
]


def test_what_a_source_says_itself_is_read_beside_what_is_made_here(fresh: HttpWorld) -> None:
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in BY_THE_CLINIC
    ]
    fresh.clinic.load({"resourceType": "Bundle", "type": "transaction", "entry": entries}, "own")
    fresh.sync()
    found = fresh.get("/fhir/Provenance?_count=500", fresh.owner()).json()["entry"]
    told = [entry["resource"] for entry in found]
    (theirs,) = (one for one in told if "the clinic's own" in str(one["agent"]))
    assert len(told) > 1
    assert fresh.get(f"/fhir/Provenance/{theirs['id']}", fresh.owner()).json() == theirs


def test_provenance_says_where_a_resource_came_from(shared: HttpWorld) -> None:
    found = shared.get("/fhir/Provenance?_count=100", shared.owner()).json()["entry"]
    told = [entry["resource"] for entry in found]
    observation = next(one for one in told if one["target"][0]["reference"].startswith("Observation/"))
    assert [one["who"]["display"] for one in observation["agent"]] == ["klinik", "clinic_fhir 1.0.0"]
    payload = observation["entity"][0]["what"]["identifier"]
    assert payload["system"] == "urn:ietf:rfc:3986"
    assert re.fullmatch("nih:sha-256-64;[0-9a-f]{16}", payload["value"])
