"""What an adversarial reading of the service found once: each stays closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, delete, select

from aggregator.api import access
from aggregator.api.caller import Callers
from aggregator.audit.tables import Receipt
from aggregator.vault import tables
from aggregator.vault import view as views
from fhir_profiles.text import loads
from tests.api.http_world import HttpWorld, classes, consent
from tests.weaken import weakens


def _vault(world: HttpWorld, login: str = "erika") -> str:
    return world.patients[login].partition(".")[0]


@pytest.mark.attack(1, 4)
def test_an_owners_open_view_is_no_other_owners(fresh: HttpWorld) -> None:
    whole = fresh.patients["erika"]
    paths = ("/fhir/Condition?patient={p}", "/fhir/Patient/{p}/$everything", "/fhir/Patient/{p}")
    for path in paths:
        assert fresh.get(path.format(p=whole), fresh.owner()).status_code == 200
    for path in paths:
        assert fresh.get(path.format(p=whole), fresh.owner("berta")).status_code == 404


@pytest.mark.attack(17)
def test_a_grant_that_ends_while_it_is_opened_opens_nothing(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    caller, whole = fresh.token("labor"), fresh.patients["erika"]
    opened, owner = views.open_view, fresh.service.accounts.owner(fresh.owners["erika"])

    def revoked_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(access.views, "open_view", opened)
        fresh.service.grants.end(owner, "labor")
        return opened(*arguments)

    monkeypatch.setattr(access.views, "open_view", revoked_meanwhile)
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code == 404
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).status_code == 404


def test_a_grant_that_is_replaced_while_it_is_opened_is_read_again(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, whole = fresh.token("labor"), fresh.patients["erika"]
    opened, owner = views.open_view, fresh.service.accounts.owner(fresh.owners["erika"])

    def signed_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(access.views, "open_view", opened)
        fresh.service.signing.save_consent(owner, consent(whole, "fremd"))
        return opened(*arguments)

    monkeypatch.setattr(access.views, "open_view", signed_meanwhile)
    assert fresh.get(f"/fhir/Observation?patient={whole}", caller).json()["total"] == 3


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    "provision",
    [
        {"period": {"start": "2025-01-01", "end": "2025-02-28"}},
        {"period": {"start": "2027-01-01", "end": "2027-02-28"}},
        {"purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HPAYMT"}]},
    ],
)
def test_out_of_time_and_purpose_not_even_the_patient_is_there(fresh: HttpWorld, provision: dict[str, Any]) -> None:
    fresh.consent("fremd", **provision)
    whole, caller = fresh.patients["erika"], fresh.token("fremd")
    never = fresh.get("/fhir/Patient/aaaaaaaaaaaaaaaaaaaaaaaaaa.x", caller)
    answer = fresh.get(f"/fhir/Patient/{whole}", caller)
    assert (answer.status_code, answer.content) == (404, never.content)
    assert fresh.get("/fhir/Patient", caller).json()["total"] == 0


def test_counts_over_several_records_add_up(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    caller = fresh.token("labor")
    assert fresh.get("/fhir/Observation?_summary=count", caller).json()["total"] == 4
    first = fresh.get("/fhir/Observation?_count=100", caller).json()
    assert "total" not in first


def test_an_order_is_one_record_s_and_a_search_of_every_type_goes_on_from_one_to_the_next(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    caller = fresh.token("labor")
    refused = fresh.get("/fhir/Observation?_sort=date", caller)
    assert (refused.status_code, refused.json()["issue"][0]["diagnostics"]) == (
        400,
        "_sort: orders one record: name a patient",
    )
    assert fresh.get(f"/fhir/Patient/{fresh.patients['berta']}/Observation?_sort=date", caller).status_code == 200
    total, seen, url = fresh.get("/fhir?_summary=count", caller).json()["total"], 0, "/fhir?_count=3"
    while url:
        answer = fresh.get(url, caller).json()
        seen += len(answer.get("entry", []))
        url = next((one["url"] for one in answer["link"] if one["relation"] == "next"), "")
    assert seen == total > 4


def test_a_damaged_record_does_not_hide_the_others(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    with fresh.service.store.write() as session:
        row = session.get_one(tables.Vault, _vault(fresh, "berta"))
        row.chain = bytes(32)
        session.exec(delete(tables.ImageRow).where(col(tables.ImageRow.vault) == row.id))
        session.exec(delete(tables.Snapshot).where(col(tables.Snapshot.vault) == row.id))
    caller, url, seen = fresh.token("labor"), "/fhir/Observation", 0
    while url:
        answer = fresh.get(url, caller)
        assert answer.status_code == 200
        seen += len(answer.json().get("entry", []))
        url = next((one["url"] for one in answer.json()["link"] if one["relation"] == "next"), "")
    assert seen == 3


@pytest.mark.attack(10)
def test_a_receipt_keeps_a_bounded_part_of_a_query(fresh: HttpWorld) -> None:
    whole = fresh.patients["erika"]
    form = {"patient": whole, "code": "x" * 60_000}
    assert fresh.http.post("/fhir/Observation/_search", data=form, headers=fresh.token("fremd")).status_code == 404
    too_much = {"patient": whole, "code": "x" * 70_000}
    answer = fresh.http.post("/fhir/Observation/_search", data=too_much, headers=fresh.token("fremd"))
    assert answer.status_code == 413
    with fresh.service.store.read() as session:
        sizes = [len(row.box) for row in session.exec(select(Receipt).where(Receipt.vault == _vault(fresh)))]
    assert max(sizes) < 5000


def test_a_stale_client_does_not_bring_a_consent_back(fresh: HttpWorld) -> None:
    whole = fresh.consent("fremd")
    told = consent(fresh.patients["erika"], "fremd") | {"id": whole}
    path, first = f"/fhir/Consent/{whole}", fresh.owner() | {"If-Match": 'W/"1"'}
    assert fresh.http.put(path, json=told | {"status": "inactive"}, headers=first).status_code == 200
    answer = fresh.http.put(path, json=told, headers=first)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (412, "conflict")
    assert fresh.http.put(path, json=told, headers=fresh.owner() | {"If-Match": "yes"}).status_code == 400
    answer = fresh.http.post("/fhir/Consent", json=told, headers=fresh.owner() | {"If-None-Exist": "x"})
    assert answer.status_code == 400


@pytest.mark.attack(30)
def test_a_patient_is_told_of_a_receipt_that_was_removed_or_changed(fresh: HttpWorld) -> None:
    def told() -> list[str]:
        entries = fresh.get("/fhir/AuditEvent?_count=500", fresh.owner()).json()["entry"]
        return [entry["resource"]["id"][-9:] for entry in entries if entry["resource"]["outcome"] == "12"]

    fresh.get("/fhir/Observation", fresh.token("praxis"))
    assert told() == []
    with fresh.service.store.write() as session:
        session.get_one(Receipt, (_vault(fresh), 2)).box = b"changed"
    assert told() == ["000000000", "000000002"]
    with fresh.service.store.write() as session:
        session.exec(delete(Receipt).where(col(Receipt.vault) == _vault(fresh), col(Receipt.position) == 2))
    assert told() == ["000000000"]


def test_a_patient_may_be_named_by_url(shared: HttpWorld) -> None:
    whole = shared.patients["erika"]
    named = f"{shared.service.base_url}/fhir/Patient/{whole}"
    assert shared.get(f"/fhir/Observation?patient={named}", shared.token("labor")).json()["total"] == 3


@pytest.mark.attack(46)
def test_a_query_of_many_conditions_and_alternatives_is_refused(shared: HttpWorld) -> None:
    codes = ",".join(f"c{number}" for number in range(900))
    form = "&".join([f"code={codes}"] * 3)
    headers = shared.token("labor") | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shared.http.post("/fhir/Observation/_search", content=form, headers=headers)
    assert answer.status_code == 400


def test_a_refusal_by_scope_is_receipted(fresh: HttpWorld) -> None:
    caller = fresh.token("praxis", scope="system/Observation.s")
    assert fresh.get(f"/fhir/Condition?patient={fresh.patients['erika']}", caller).status_code == 403
    events = fresh.get("/fhir/AuditEvent?_count=500", fresh.owner()).json()["entry"]
    assert [one["resource"]["outcome"] for one in events].count("8") == 1


def test_what_is_neither_json_nor_xml_is_not_served(shared: HttpWorld) -> None:
    caller = shared.token("labor")
    assert shared.get("/fhir/Observation", caller | {"Accept": "text/html"}).status_code == 406
    assert shared.get("/fhir/Observation?_format=html", caller).status_code == 406
    assert shared.get("/fhir/Observation?_format=json", caller | {"Prefer": "handling=strict"}).status_code == 200
    assert shared.get("/fhir/Observation", caller | {"Accept": "text/html, */*;q=0.1"}).status_code == 200


def test_a_method_that_is_not_there_names_those_that_are(shared: HttpWorld) -> None:
    answer = shared.http.put("/fhir/metadata", headers=shared.owner())
    assert (answer.status_code, answer.json()["resourceType"]) == (405, "OperationOutcome")
    assert "GET" in answer.headers["allow"]


@pytest.mark.attack(33)
@weakens("aggregator.api.held.HeldViews", "sweep", lambda _: None)
@weakens("aggregator.api.held.HeldViews", "drop_reader", lambda *_: None)
def test_views_and_roots_leave_memory_when_their_time_is_over(fresh: HttpWorld) -> None:
    held = access.Access(fresh.service)
    callers = Callers(fresh.service, held.held.drop_reader)
    owner = fresh.service.accounts.owner(fresh.owners["erika"])
    principal = callers.remembered(owner.token)

    async def read() -> None:
        act = access.Act("read", "Patient")
        await held.answer(principal, owner.vault, act, lambda _: access.Answer(b"", 0))

    asyncio.run(read())
    assert len(held.held) == 1
    callers.forget(owner.token)
    assert len(held.held) == 0
    asyncio.run(read())
    fresh.clock.now += timedelta(hours=1)
    held.held.sweep()
    assert len(held.held) == 0


def test_the_budget_closes_what_was_used_least_recently(fresh: HttpWorld) -> None:
    held = access.Access(fresh.service)
    held.held._budget = 1  # less than any view takes: only the newest stays
    callers = Callers(fresh.service, held.held.drop_reader)

    async def read() -> None:
        for login in ("erika", "berta", "erika"):
            owner = fresh.service.accounts.owner(fresh.owners[login])
            principal = callers.remembered(owner.token)
            await held.answer(principal, owner.vault, access.Act("read", ""), lambda _: access.Answer(b"", 0))
            assert len(held.held) == 1

    asyncio.run(read())
    held.held.close()


def test_what_decided_is_named(fresh: HttpWorld) -> None:
    late = fresh.consent("fremd", period={"start": "2027-01-01", "end": "2027-02-28"})
    now = fresh.consent("fremd", **{"class": classes("results")})
    fresh.get(f"/fhir/Observation?patient={fresh.patients['erika']}", fresh.token("fremd"))
    events = [
        one["resource"] for one in loads(fresh.get("/fhir/AuditEvent?_count=500", fresh.owner()).content)["entry"]
    ]
    mine = [
        one["valueString"]
        for event in events
        if event["agent"][0]["name"] == "fremd"
        for one in event["entity"][0]["detail"]
        if one["type"] == "consent"
    ]
    assert set(mine) == {f"Consent/{now}"}
    assert f"Consent/{late}" not in mine


@pytest.mark.attack(17)
def test_an_ended_grant_stays_ended_when_another_consent_is_signed(fresh: HttpWorld) -> None:
    caller, path = fresh.token("labor"), f"/fhir/Observation?patient={fresh.patients['erika']}"
    assert fresh.http.delete("/app/grants/labor", headers=fresh.owner()).json() == {"ended": 1}
    fresh.consent("fremd")
    assert fresh.get(path, caller).status_code == 404
    told = [entry["resource"]["outcomeDesc"] for entry in fresh.get("/fhir/AuditEvent", fresh.owner()).json()["entry"]]
    assert "Sie haben einen Zugriff beendet. / You ended somebody's access." in told
    fresh.consent("labor", **{"class": classes("results")})
    assert fresh.get(path, caller).status_code == 200


@pytest.mark.attack(17)
def test_pages_go_on_with_the_next_record_when_one_is_closed(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    caller = fresh.token("labor")
    first = sorted(("erika", "berta"), key=fresh.patients.__getitem__)[0]
    page = fresh.get("/fhir/Observation?_count=1", caller).json()
    assert page["entry"][0]["resource"]["id"].partition(".")[0] == _vault(fresh, first)
    fresh.http.delete("/app/grants/labor", headers=fresh.owner(first))
    url, seen = next(one["url"] for one in page["link"] if one["relation"] == "next"), 0
    while url:
        answer = fresh.get(url, caller)
        assert answer.status_code == 200
        seen += len(answer.json().get("entry", []))
        url = next((one["url"] for one in answer.json()["link"] if one["relation"] == "next"), "")
    assert seen == {"erika": 1, "berta": 3}[first]


def test_a_search_without_a_match_in_any_record_says_nought(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    answer = fresh.get("/fhir/Observation?code=nope", fresh.token("labor")).json()
    assert answer["total"] == 0
    assert answer["link"][0]["url"].endswith("/fhir/Observation?code=nope")


@pytest.mark.attack(47)
def test_recovery_ends_every_session_at_once(fresh: HttpWorld) -> None:
    told = {"login": "carla", "password": "Korrekt Pferd Batterie", "family": "C", "given": "Carla"}
    made = fresh.http.post("/auth/sign-up", json=told | {"birth_date": "1999-09-09"}).json()
    stolen = {"Authorization": f"Bearer {made['token']}"}
    assert fresh.get("/app/connections", stolen).status_code == 200
    again = {"login": "carla", "recovery_code": made["recovery_code"], "password": "Neu und lang genug"}
    assert fresh.http.post("/auth/recover", json=again).status_code == 200
    assert fresh.get("/app/connections", stolen).status_code == 401


def test_no_redirect_goes_where_the_host_header_says(shared: HttpWorld) -> None:
    answer = shared.http.get("/fhir/Observation/", headers=shared.owner() | {"Host": "evil.example"})
    assert (answer.status_code, "location" in answer.headers) == (404, False)
