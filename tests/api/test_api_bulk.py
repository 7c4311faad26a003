"""Bulk export over real sockets: what it takes, who gets it, what ends it, and that nothing of it lies at rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from aggregator.api.fhir import bulk
from aggregator.fhir.outcome import NotFound
from aggregator.portability.tables import BulkExport, BulkExportRecord
from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests import databases
from tests.api.bulk_client import BulkClient
from tests.api.http_world import HttpWorld, classes, consent
from tests.api.second_server import second_server
from tests.weaken import weakens

ASYNC = {"Prefer": "respond-async"}


def client(world: HttpWorld, who: str = "praxis", scope: str = "system/*.rs") -> BulkClient:
    return BulkClient(world.http, lambda: world.token(who, scope=scope))


def revoke(world: HttpWorld, signed: str, who: str, login: str = "erika") -> None:
    told = consent(world.patients[login], who) | {"id": signed, "status": "inactive"}
    answer = world.http.put(f"/fhir/Consent/{signed}", json=told, headers=world.owner(login))
    assert answer.status_code == 200, answer.text


def ids(found: dict[str, list[Resource]]) -> set[str]:
    return {f"{kind}/{one['id']}" for kind, resources in found.items() for one in resources}


def whole(world: HttpWorld, who: dict[str, str], login: str = "erika") -> set[str]:
    return {f"{one['resourceType']}/{one['id']}" for one in world.everything(who, login)}


def vaults(found: dict[str, list[Resource]]) -> set[str]:
    """Whose lines these are."""
    return {str(one["id"])[:26] for resources in found.values() for one in resources}


@pytest.fixture
def one_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status request looks at one record."""
    monkeypatch.setattr(bulk, "_SECONDS", -1.0)


@pytest.mark.attack(12, 13, 14)
@pytest.mark.parametrize("who", ["praxis", "labor"])
def test_an_export_is_what_everything_shows(shared: HttpWorld, who: str) -> None:
    asking = client(shared, who)
    assert ids(asking.everything(asking.kick_off())) == whole(shared, shared.token(who))


def test_every_line_is_valid_and_as_it_is_read(shared: HttpWorld) -> None:
    asking = client(shared)
    for kind, resources in asking.everything(asking.kick_off()).items():
        for one in resources:
            assert check(one) == ()
            assert loads(shared.get(f"/fhir/{kind}/{one['id']}", shared.token("praxis")).content) == one


@pytest.mark.usefixtures("one_a_poll")
def test_all_who_consented(fresh: HttpWorld) -> None:
    fresh.consent("praxis", login="berta")
    asking = client(fresh)
    found = ids(asking.everything(asking.kick_off("Group/consenting/$export")))
    assert asking.progress == ["1 of 2 records"]
    assert found == whole(fresh, fresh.token("praxis")) | whole(fresh, fresh.token("praxis"), "berta")
    group = loads(fresh.get("/fhir/Group/consenting", fresh.token("praxis")).content)
    assert check(group) == ()
    assert group["quantity"] == 2
    assert records(group) == {patient[:26] for patient in fresh.patients.values()}


def records(group: Resource) -> set[str]:
    return {member["entity"]["identifier"]["value"] for member in group.get("member", ())}


def test_the_group_names_nobody_else(shared: HttpWorld) -> None:
    assert records(shared.get("/fhir/Group/consenting", shared.token("labor")).json()) == {
        shared.patients["erika"][:26]
    }
    nobody = loads(shared.get("/fhir/Group/consenting", shared.token("fremd")).content)
    assert check(nobody) == ()
    assert records(nobody) == set()
    assert shared.get("/fhir/Group/consenting", shared.owner()).status_code == 404


def test_types_and_since(shared: HttpWorld) -> None:
    asking = client(shared)
    assert set(asking.everything(asking.kick_off(_type="Observation,Condition"))) == {"Observation", "Condition"}
    assert set(asking.everything(asking.kick_off(_since="2026-11-21T00:00:00Z"))) > {"Observation"}
    assert asking.everything(asking.kick_off(_since="2026-11-22T00:00:00Z")) == {}


def test_a_narrow_token_exports_what_it_may_read(shared: HttpWorld) -> None:
    asking = client(shared, scope="system/Observation.rs")
    assert set(asking.everything(asking.kick_off())) == {"Observation"}


DELETION = {"request": {"method": "DELETE", "url": "Observation/hba1c-1"}}


def test_an_owners_own_record_with_what_was_deleted(fresh: HttpWorld) -> None:
    asking = BulkClient(fresh.http, fresh.owner)
    before_it = whole(fresh, fresh.owner())
    assert ids(asking.everything(asking.kick_off())) == before_it
    before = fresh.clock().isoformat()
    fresh.clock.advance(minutes=1)
    fresh.clinic.load({"resourceType": "Bundle", "type": "transaction", "entry": [DELETION]}, "gone")
    fresh.sync()
    told = asking.manifest(asking.kick_off(_since=before))
    (file,) = told["deleted"]
    (bundle,) = asking.download(file)
    assert bundle["type"] == "transaction"
    assert [one["request"]["url"] for one in bundle["entry"]] == sorted(before_it - whole(fresh, fresh.owner()))
    grantees = client(fresh)
    assert grantees.manifest(grantees.kick_off(_since=before))["deleted"] == []


def test_the_manifest_says_what_was_asked_and_when(shared: HttpWorld) -> None:
    asking = client(shared)
    status = asking.kick_off(_type="Observation")
    told = asking.manifest(status)
    asking.cancel(status)
    base = shared.service.base_url
    assert told["request"] == f"{base}/fhir/Patient/$export?_type=Observation"
    assert told["transactionTime"] == shared.clock().isoformat(timespec="milliseconds")
    assert [(file["type"], file["count"]) for file in told["output"]] == [("Observation", 3)]
    assert (told["error"], told["deleted"]) == ([], [])


def test_by_post_it_is_the_same(shared: HttpWorld) -> None:
    headers = shared.token("praxis") | ASYNC
    told = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Observation"}]}
    answer = shared.http.post("/fhir/Patient/$export", json=told, headers=headers)
    assert answer.status_code == 202
    asking = client(shared)
    status = answer.headers["content-location"].removeprefix(shared.service.base_url)
    assert set(asking.everything(status)) == {"Observation"}


REFUSED: dict[str, str] = {
    "_typeFilter=Observation?code=1": "_typeFilter: not supported by $export",
    "_elements=id": "_elements: not supported by $export",
    "includeAssociatedData=x": "includeAssociatedData: not supported by $export",
    "patient=x": "patient: not supported by $export",
    "_outputFormat=csv": "_outputFormat: not one of",
    "_type=Nothing": "_type: what is no resource type may not be exported",
    "_type=Binary": "_type: Binary is read by itself, with the same token",
    "_since=gestern": "_since: not an instant",
    "_type=Patient&_type=Patient": "_type: given twice",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_cannot_be_had_is_refused_by_name(shared: HttpWorld, query: str) -> None:
    answer = shared.get(f"/fhir/Patient/$export?{query}", shared.token("praxis") | ASYNC)
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["diagnostics"].startswith(REFUSED[query])


def test_the_kick_off_asks_for_an_asynchronous_answer(shared: HttpWorld) -> None:
    answer = shared.get("/fhir/Patient/$export", shared.token("praxis"))
    assert (answer.status_code, "respond-async" in answer.text) == (400, True)
    assert shared.get("/fhir/Group/other/$export", shared.token("praxis") | ASYNC).status_code == 404
    assert shared.get("/fhir/Group/consenting/$export", shared.owner() | ASYNC).status_code == 404
    narrow = shared.get(
        "/fhir/Patient/$export?_type=Condition", shared.token("praxis", scope="system/Observation.rs") | ASYNC
    )
    assert narrow.status_code == 400


@pytest.mark.attack(2)
@weakens("aggregator.portability.bulk_exports.BulkExports", "_reader", lambda *_: b"all")
def test_an_export_is_its_clients_alone(shared: HttpWorld) -> None:
    asking = client(shared)
    status = asking.kick_off(_type="Observation")
    (file,) = asking.manifest(status)["output"]
    path = file["url"].removeprefix(shared.service.base_url)
    for other in (shared.token("labor"), shared.token("fremd"), shared.owner(), {}):
        for place in (status, path):
            assert shared.get(place, other).status_code in (401, 404)
        assert shared.http.delete(status, headers=other).status_code in (401, 404)
    asking.cancel(status)
    never = shared.get(f"{status}x", shared.token("praxis"))
    assert never.content == shared.get(status, shared.token("praxis")).content


def test_a_cancelled_export_is_not_there_any_more(shared: HttpWorld) -> None:
    asking = client(shared)
    status = asking.kick_off()
    (file, *_) = asking.manifest(status)["output"]
    assert asking.cancel(status) == 202
    for path in (status, file["url"].removeprefix(shared.service.base_url)):
        assert shared.get(path, shared.token("praxis")).status_code == 404
    assert asking.cancel(status) == 404
    with shared.service.store.read() as session:
        assert session.exec(select(BulkExport.id)).all() == session.exec(select(BulkExportRecord.export)).all()


@pytest.mark.attack(10)
@weakens("aggregator.portability.bulk_exports", "MOST", 10**6)
def test_a_client_has_only_so_many_and_each_expires(fresh: HttpWorld) -> None:
    asking = client(fresh)
    first, *_ = [asking.kick_off() for _ in range(5)]
    answer = fresh.get("/fhir/Patient/$export", fresh.token("praxis") | ASYNC)
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, "60")
    client(fresh, "labor").kick_off()
    assert asking.cancel(first) == 202
    last = asking.kick_off()
    fresh.clock.advance(hours=25)
    later = client(fresh)
    assert later.poll(last).status_code == 404
    later.kick_off()
    with fresh.service.store.read() as session:
        assert len(session.exec(select(BulkExport)).all()) == 1


def test_an_export_goes_on_after_a_restart(fresh: HttpWorld, tmp_path: Path) -> None:
    """The process that it was begun at is killed, and another one started on the same installation; same token."""
    fresh.consent("praxis", login="berta")
    token = fresh.token("praxis")
    with second_server(fresh.service.config, tmp_path, killed=True) as first:
        begun = BulkClient(first, lambda: token)
        status, other = begun.kick_off(), begun.kick_off()
        told = begun.manifest(other)
    with second_server(fresh.service.config, tmp_path) as again:
        going_on = BulkClient(again, lambda: token)
        assert ids(going_on.everything(status)) == whole(fresh, token) | whole(fresh, token, "berta")
        assert [len(going_on.download(file)) for file in told["output"]] == [file["count"] for file in told["output"]]


@pytest.mark.attack(17, 14)
@pytest.mark.usefixtures("one_a_poll")
def test_a_restart_and_a_revocation_between_kick_off_and_download(fresh: HttpWorld, tmp_path: Path) -> None:
    """Kicked off at one process, polled and downloaded at another that knows nothing of before."""
    signed = fresh.consent("praxis", login="berta")
    before = client(fresh)
    status = before.kick_off()
    before.poll(status)
    with second_server(fresh.service.config, tmp_path) as other:
        after = BulkClient(other, lambda: fresh.token("praxis"))
        told = after.manifest(status)
        patients = next(file for file in told["output"] if file["type"] == "Patient")
        assert vaults({"Patient": after.download(patients)}) == {patient[:26] for patient in fresh.patients.values()}
        revoke(fresh, signed, "praxis", "berta")
        found = {file["type"]: after.download(file) for file in told["output"]}
        assert ids(found) == whole(fresh, fresh.token("praxis"))
        assert vaults(found) == {fresh.patients["erika"][:26]}


@pytest.mark.attack(17)
@weakens("aggregator.audit.receipts.Condition", "__eq__", lambda *_: True)
def test_a_revocation_while_a_file_is_being_sent_ends_that_patients_lines(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, signed = client(fresh, "fremd"), fresh.consent("fremd")
    (file,) = asking.manifest(asking.kick_off(_type="Observation"))["output"]
    monkeypatch.setattr("aggregator.fhir.bulk.PIECE", 1)
    piece, sent = bulk._piece, list[int]()

    async def revoking(*args: Any) -> Any:
        if len(sent) == 1:
            await asyncio.to_thread(revoke, fresh, signed, "fremd")
        found = await piece(*args)
        sent.append(found.shown)
        return found

    monkeypatch.setattr(bulk, "_piece", revoking)
    assert file["count"] == 3
    assert len(asking.download(file)) == 1


async def _asked_once(server: Any, request: Any, export: Any, file: str, vaults: list[str]) -> AsyncIterator[bytes]:
    """The lines as they would be if a caller were looked at once: what its token no longer opens is left out."""
    principal, after, more = server.callers.of(request), None, True
    while more:
        try:
            found = await bulk._piece(server, principal, export, vaults[0], file, after)
        except NotFound:
            return
        after, more = found.last, found.last is not None
        yield found.lines


@pytest.mark.attack(17, 42)
@weakens("aggregator.api.fhir.bulk", "_lines", _asked_once)
def test_a_token_that_ends_while_a_file_is_being_sent_cuts_it_off(
    fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off, not ended: a client takes no half file for a whole one."""
    asking = client(fresh)
    (file,) = asking.manifest(asking.kick_off(_type="Observation"))["output"]
    monkeypatch.setattr("aggregator.fhir.bulk.PIECE", 1)
    piece = bulk._piece

    async def expiring(*args: Any) -> Any:
        found = await piece(*args)
        fresh.clock.advance(hours=2)
        return found

    monkeypatch.setattr(bulk, "_piece", expiring)
    with pytest.raises(httpx.RemoteProtocolError):
        asking.download(file)


def receipts(world: HttpWorld) -> Counter[str]:
    """How many were shown, of the answers of exports."""
    told = world.get("/fhir/AuditEvent?_count=500", world.owner()).json()["entry"]
    details = [{one["type"]: one["valueString"] for one in entry["resource"]["entity"][0]["detail"]} for entry in told]
    return Counter(one["shown"] for one in details if one["query"] == "Patient/$export" and "shown" in one)


def test_every_piece_has_its_receipt(shared: HttpWorld) -> None:
    asking, before = client(shared), receipts(shared)
    asking.everything(asking.kick_off(_type="Observation,Condition"))
    assert receipts(shared) - before == Counter(["0", "1", "3"])  # counted; the condition; the observations


@pytest.mark.attack(20)
def test_nothing_that_is_exported_lies_at_rest(shared: HttpWorld) -> None:
    asking = client(shared)
    status = asking.kick_off(_type="Observation")
    (file,) = asking.manifest(status)["output"]
    asking.download(file)
    with shared.service.store.read() as session:
        boxes = [row.box for row in session.exec(select(BulkExport)).all()]
        boxes += [row.box for row in session.exec(select(BulkExportRecord)).all()]
    assert asking.cancel(status) == 202
    assert len(boxes) >= 2
    for box in boxes:
        assert b"Observation" not in box
        assert b"export" not in box


def test_the_statement_names_both_exports(shared: HttpWorld) -> None:
    resources = {one["type"]: one for one in shared.http.get("/fhir/metadata").json()["rest"][0]["resource"]}
    for kind, definition in (("Patient", "patient-export"), ("Group", "group-export")):
        named = {one["name"]: one["definition"] for one in resources[kind]["operation"]}
        assert named["export"] == f"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{definition}|2.0.0"


def test_a_damaged_record_is_told_and_keeps_back_no_other(fresh: HttpWorld) -> None:
    fresh.consent("praxis", login="berta", **{"class": classes("results")})
    asking = client(fresh)
    vault = fresh.patients["berta"].partition(".")[0]
    for change in (
        "UPDATE snapshot_section SET box = x'00' WHERE vault = ?",
        "UPDATE log SET envelope = x'00' WHERE vault = ?",
        "DELETE FROM image WHERE vault = ?",
    ):
        databases.execute(fresh.service.store, change, (vault,))
    told = asking.manifest(asking.kick_off())
    (file,) = told["error"]
    (outcome,) = asking.download(file)
    assert vault in outcome["issue"][0]["diagnostics"]
    found = {file["type"]: asking.download(file) for file in told["output"]}
    assert vaults(found) == {fresh.patients["erika"][:26]}
