"""Sharing with who has no account, over HTTP: a link is made, opened by somebody else's code, and ends."""

from __future__ import annotations

from tests.api.http_world import HttpWorld
from tests.api.receiver import PRACTICE, receive, share, shared


def test_a_link_leads_to_a_patient_summary(fresh: HttpWorld) -> None:
    made = share(fresh)
    link = receive(fresh, made)
    assert link.payload | {"url": "", "key": ""} == {
        "url": "",
        "key": "",
        "exp": int(fresh.clock().timestamp()) + 72 * 3600,
        "label": "Für den Urlaub",
    }
    assert len(link.payload["url"]) <= 128
    assert made["address"] == f"{fresh.service.base_url}/app/share/view#{made['link']}"
    assert made["qr"].startswith("<svg")
    answer = link.ask()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    bundle = link.decrypt(answer.json()["files"][0]["embedded"])
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "document")
    assert bundle["entry"][0]["resource"]["resourceType"] == "Composition"


def receipts(world: HttpWorld) -> list[str]:
    url = "/fhir/AuditEvent?_count=100"
    events = world.get(url, world.owner()).json()["entry"]
    return [one["resource"]["outcomeDesc"].partition(" / ")[0] for one in events]


def test_every_opening_is_a_receipt(fresh: HttpWorld) -> None:
    link = shared(fresh)
    link.open()
    told = receipts(fresh)
    assert told[-2:] == [
        "Sie haben etwas aus Ihrer Akte für einen Link bereitgelegt.",
        f"Wer sich „{PRACTICE}“ nennt (nicht geprüft), hat Ihren Link „Für den Urlaub“ geöffnet.",
    ]
