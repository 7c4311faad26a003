"""Every access leaves a receipt before its answer; the patient reads who saw what, why, and what was withheld."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aggregator.audit import chain
from aggregator.audit.receipts import SYSTEM
from tests.api.http_world import HttpWorld


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
        before = chain.check(session, SYSTEM, key).receipts
    fresh.get("/fhir/Patient/aaaaaaaaaaaaaaaaaaaaaaaaaa.x", fresh.token("fremd"))
    with fresh.service.store.read() as session:
        assert chain.check(session, SYSTEM, key).receipts == before + 1


@pytest.mark.attack(30)
def test_the_chain_holds_after_all_of_it(shared: HttpWorld) -> None:
    key, vault = shared.service.key_service.audit_verification_key(), shared.patients["erika"].partition(".")[0]
    shared.everything(shared.token("praxis"))
    with shared.service.store.read() as session:
        verified = chain.check(session, vault, key)
    assert verified.receipts == verified.signed_upto > 5


@pytest.mark.attack(31)
def test_no_receipt_no_answer(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    caller, whole = fresh.token("praxis"), fresh.patients["erika"]
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code == 200

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(fresh.service.receipts), "_commit", disk_full)
    answer = fresh.get(f"/fhir/Observation?patient={whole}", caller)
    assert answer.status_code == 500
    assert "4548-4" not in answer.text
    monkeypatch.undo()
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code == 200


def test_provenance_says_where_a_resource_came_from(shared: HttpWorld) -> None:
    found = shared.get("/fhir/Provenance?_count=100", shared.owner()).json()["entry"]
    told = [entry["resource"] for entry in found]
    observation = next(one for one in told if one["target"][0]["reference"].startswith("Observation/"))
    assert [one["who"]["display"] for one in observation["agent"]] == ["klinik", "clinic_fhir 1.0.0"]
    payload = observation["entity"][0]["what"]["identifier"]
    assert payload["system"] == "urn:ietf:rfc:3986"
    assert re.fullmatch("nih:sha-256-128;[0-9a-f]{32}", payload["value"])
