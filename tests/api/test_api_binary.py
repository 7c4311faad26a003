"""Attachments over HTTP: as they are or as FHIR, whole or in part, with a receipt before the first byte."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aggregator.api.access import Access, Act
from aggregator.api.caller import Principal
from aggregator.api.fhir import data
from aggregator.vault import blob, tables
from aggregator.vault.stream import CHUNK
from fhir_profiles.text import Resource, loads
from fhir_profiles.xml import to_json
from tests.api.bulk_client import BulkClient
from tests.api.http_world import HttpWorld, http_world
from tests.api.test_api_writing import send
from tests.weaken import weakens

SCAN = random.Random(3).randbytes(5 * CHUNK + 1234)
LETTER = b"<script>alert(document.domain)</script>" * 400
FHIR = {"Accept": "application/fhir+json"}


def document(source_id: str, text: bytes, content_type: str, **more: Any) -> Resource:
    attachment = {"contentType": content_type, "data": base64.b64encode(text).decode(), "title": "Brief"}
    return {
        "resourceType": "DocumentReference",
        "id": source_id,
        "status": "current",
        "subject": {"reference": "Patient/a"},
        "type": {"coding": [{"system": "http://loinc.org", "code": "11490-0"}]},
        "content": [{"attachment": attachment}],
    } | more


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpWorld]:
    """Erika's clinic holds a scan, a page that is hostile, and a psychiatric letter; the practice may read."""
    yield from _letters(tmp_path_factory.mktemp("letters"))


@pytest.fixture
def own_letters(tmp_path: Path) -> Iterator[HttpWorld]:
    """The same, this test's own."""
    yield from _letters(tmp_path)


def _letters(folder: Path) -> Iterator[HttpWorld]:
    with http_world(folder) as world:
        hidden = {"meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]}}
        given = [
            document("scan", SCAN, "image/tiff"),
            document("page", LETTER, "text/html"),
            document("hidden", SCAN[::-1], "application/pdf", **hidden),
        ]
        entries = [{"resource": one, "request": {"method": "PUT", "url": _name(one)}} for one in given]
        world.clinic.load({"resourceType": "Bundle", "type": "transaction", "entry": entries}, "letters")
        world.sign_up("erika", "Muster", "1957-08-13")
        world.connect("erika", "a")
        assert {one.status for one in world.sync()} == {"fresh"}
        world.consent("praxis")
        yield world


def _name(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def url(world: HttpWorld, content_type: str) -> str:
    """Where the attachment of that type is, as the owner's DocumentReference says."""
    found = loads(world.get(f"/fhir/DocumentReference?patient={world.patients['erika']}", world.owner()).content)
    attachments = [entry["resource"]["content"][0]["attachment"] for entry in found["entry"]]
    (one,) = [one["url"] for one in attachments if one["contentType"] == content_type]
    return f"/fhir/{one}"


def test_the_content_comes_as_it_is(letters: HttpWorld) -> None:
    for who in (letters.owner(), letters.token("praxis")):
        answer = letters.get(url(letters, "image/tiff"), who)
        assert (answer.status_code, answer.content) == (200, SCAN)
        assert answer.headers["content-type"] == "image/tiff"
        assert answer.headers["content-length"] == str(len(SCAN))
        assert answer.headers["x-security-context"].startswith("DocumentReference/")
        assert answer.headers["etag"] == 'W/"1"'


def test_what_an_export_refers_to_is_read_with_the_same_token(letters: HttpWorld) -> None:
    asking = BulkClient(letters.http, lambda: letters.token("praxis"))
    exported = asking.everything(asking.kick_off())
    assert "Binary" not in exported
    attachments = [one["content"][0]["attachment"] for one in exported["DocumentReference"]]
    places = [one["url"] for one in attachments if "url" in one]
    assert places
    for place in places:
        assert letters.get(f"/fhir/{place}", letters.token("praxis")).status_code == 200


@pytest.mark.parametrize("accept", [FHIR, {"Accept": "application/json"}])
def test_who_asks_for_fhir_gets_the_resource_with_its_data(letters: HttpWorld, accept: dict[str, str]) -> None:
    answer = letters.get(url(letters, "image/tiff"), letters.owner() | accept)
    made = loads(answer.content)
    assert (made["resourceType"], made["contentType"]) == ("Binary", "image/tiff")
    assert base64.b64decode(made["data"], validate=True) == SCAN
    assert answer.headers["content-type"] == "application/fhir+json"
    assert loads(letters.get(f"{url(letters, 'image/tiff')}?_format=json", letters.owner()).content) == made


def test_the_resource_is_the_same_in_xml(letters: HttpWorld) -> None:
    whole = letters.get(url(letters, "image/tiff"), letters.owner() | {"Accept": "application/fhir+xml"})
    assert whole.headers["content-type"] == "application/fhir+xml"
    assert to_json(whole.content) == loads(letters.get(url(letters, "image/tiff"), letters.owner() | FHIR).content)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        (f"bytes={CHUNK - 1}-{CHUNK}", CHUNK - 1, CHUNK + 1),
        (f"bytes={5 * CHUNK}-", 5 * CHUNK, len(SCAN)),
        ("bytes=-10", len(SCAN) - 10, len(SCAN)),
        ("bytes=100-99999999999", 100, len(SCAN)),
    ],
)
def test_a_range_is_answered_alone(letters: HttpWorld, asked: str, start: int, end: int) -> None:
    answer = letters.get(url(letters, "image/tiff"), letters.owner() | {"Range": asked})
    assert (answer.status_code, answer.content) == (206, SCAN[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(SCAN)}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=x-y"])
def test_a_range_that_is_not_understood_is_left_aside(letters: HttpWorld, asked: str) -> None:
    assert letters.get(url(letters, "image/tiff"), letters.owner() | {"Range": asked}).content == SCAN


@pytest.mark.parametrize("asked", [f"bytes={len(SCAN)}-", "bytes=-0", "bytes=999999999-"])
def test_a_range_that_is_not_in_it_is_refused(letters: HttpWorld, asked: str) -> None:
    answer = letters.get(url(letters, "image/tiff"), letters.owner() | {"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(SCAN)}")


@pytest.mark.attack(45)
@weakens("aggregator.api.fhir.binary", "_SANDBOX", "default-src 'self'")
@weakens("aggregator.api.fhir.binary", "_ATTACHMENT", "inline")
def test_a_page_from_a_source_is_neither_shown_nor_run_here(letters: HttpWorld) -> None:
    answer = letters.get(url(letters, "text/html"), letters.owner())
    assert answer.content == LETTER
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


def test_a_long_one_comes_back_whole_when_it_is_written(own_letters: HttpWorld) -> None:
    sent = {"resourceType": "Binary", "contentType": "image/tiff", "data": base64.b64encode(SCAN).decode()}
    for form in ("json", "xml", "json&_pretty=true"):
        answer = send(own_letters, "POST", f"Binary?_format={form}", sent)
        parsed = to_json(answer.content) if form == "xml" else loads(answer.content)
        assert (answer.status_code, {name: parsed[name] for name in sent}) == (201, sent)
        assert f"/{parsed['id']}/_history/1" in answer.headers["location"]
    entry = {"resource": sent, "request": {"method": "POST", "url": "Binary"}}
    answer = send(own_letters, "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    (told,) = answer.json()["entry"]
    assert "resource" not in told
    assert "its data is long" in told["response"]["outcome"]["issue"][0]["diagnostics"]


def test_its_view_may_be_closed_when_it_is_sent(letters: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Access.answer

    async def closing(self: Access, principal: Principal, *given: Any) -> Any:
        found = await answer(self, principal, *given)
        self.held.close()
        return found

    monkeypatch.setattr(Access, "answer", closing)
    for accept in ({}, FHIR):
        assert letters.get(url(letters, "image/tiff"), letters.owner() | accept).status_code == 200


@pytest.mark.attack(1, 15)
def test_a_hidden_ones_binary_is_as_one_that_never_was(letters: HttpWorld) -> None:
    praxis = letters.token("praxis")
    hidden, never = url(letters, "application/pdf"), f"/fhir/Binary/{letters.patients['erika'][:26]}.{'a' * 26}"
    assert letters.get(hidden, letters.owner()).content == SCAN[::-1]
    for accept in ({}, FHIR, {"Range": "bytes=0-1"}):
        answers = [letters.get(path, praxis | accept) for path in (hidden, never)]
        assert [one.status_code for one in answers] == [404, 404]
        assert answers[0].content == answers[1].content
    assert letters.get(hidden, letters.token("labor")).status_code == 404
    assert hidden.rpartition("/")[2] not in letters.get("/fhir/DocumentReference", praxis).text


async def unreceipted(self: Access, principal: Principal, vault: str, act: Act, ask: Any) -> Any:
    """An answer without its receipt."""
    return ask((await self._hold(principal, vault, act)).view)


@pytest.mark.attack(31)
@weakens("aggregator.api.access.Access", "answer", unreceipted)
def test_no_byte_is_read_before_its_receipt(letters: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    path, done = url(letters, "image/tiff"), list[str]()
    write, read = letters.service.receipts.write, blob.read
    monkeypatch.setattr(blob, "read", lambda *place: (done.append("read"), read(*place))[1])

    async def noted(*given: Any) -> None:
        await write(*given)
        done.append("receipt")

    monkeypatch.setattr(letters.service.receipts, "write", noted)
    assert letters.get(path, letters.owner()).status_code == 200
    assert done == ["receipt", "read"]


def test_one_that_was_changed_or_lost_is_an_error_and_no_answer(own_letters: HttpWorld) -> None:
    path = url(own_letters, "image/tiff")
    blobs = own_letters.service.blobs
    for name, _ in list(blobs.ids()):
        blobs.delete(name)
    for accept in ({}, FHIR):
        assert own_letters.get(path, own_letters.owner() | accept).status_code == 500


def unwatched(self: data.Content, _: object, start: int, end: int) -> Iterator[bytes]:
    """An answer that nothing stops."""
    assert self.blob
    return blob.read(self.blobs, self.vault, self.blob, start, end)


@pytest.mark.attack(17)
@weakens("aggregator.api.fhir.data.Content", "data", unwatched)
def test_an_answer_under_way_ends_with_the_consent(own_letters: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    path, praxis = url(own_letters, "image/tiff"), own_letters.token("praxis")
    vault = own_letters.patients["erika"].partition(".")[0]
    monkeypatch.setattr(data, "_STILL_EVERY", 2)
    assert own_letters.get(path, praxis).content == SCAN
    read = blob.read

    def revoking(*place: Any) -> Iterator[bytes]:
        for number, piece in enumerate(read(*place)):
            if number == 1:
                with own_letters.service.store.write() as session:
                    session.get_one(tables.Vault, vault).grant_version += 1
            yield piece

    monkeypatch.setattr(blob, "read", revoking)
    with pytest.raises(httpx.RemoteProtocolError):
        own_letters.get(path, praxis)
