"""What an owner writes comes back as it was: HL7's examples, through the API as JSON, as XML and from XML again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from aggregator.config import HttpSettings
from fhir_profiles.attachments import attachments
from fhir_profiles.check import check
from fhir_profiles.text import Resource, dumps, loads
from fhir_profiles.xml import to_json
from tests.api.http_world import HttpWorld, http_world
from tests.examples import BY_A_SOURCE, EVERY, FOLDER, INVALID, chunks, content, examples, taken, without_narrative

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="HL7's examples are not here (AGGREGATOR_EXAMPLES)"),
    pytest.mark.timeout(7200),
]

JSON, XML = "application/fhir+json", "application/fhir+xml"
LARGEST = 128_000_000
AT_ONCE = 100


@pytest.fixture
def roomy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpWorld]:
    """A service whose operator lets bodies be as long as the longest example."""
    monkeypatch.setattr("tests.api.http_world.HttpSettings", partial(HttpSettings, max_body_bytes=LARGEST))
    with http_world(tmp_path) as world:
        world.http.timeout = 600
        yield world


def test_what_is_not_r4_is_listed() -> None:
    found = {name for name, resource in examples() if any(issue.severity == "error" for issue in check(resource))}
    assert found == {name for names in INVALID.values() for name in names} & {name for name, _ in examples()}


def test_written_and_read(roomy: HttpWorld) -> None:
    by_owner = ((name, one) for name, one in taken() if one["resourceType"] not in BY_A_SOURCE)
    tried = islice(by_owner, None, None, EVERY)
    for number, chunk in enumerate(chunks(tried, AT_ONCE)):
        Record(roomy, f"person{number}").assert_round_trips(dict(chunk))


class Record:
    """One owner's."""

    def __init__(self, world: HttpWorld, login: str) -> None:
        self._patient = world.sign_up(login, "Muster", "1957-08-13")
        self._http = world.http
        self._owner = world.owner(login)

    def assert_round_trips(self, resources: dict[str, Resource]) -> None:
        """First all are written, then all are read: between two writes every read would open the view anew."""
        kinds = {name: str(one["resourceType"]) for name, one in resources.items()}
        first = {name: self._write(kinds[name], JSON, dumps(self._named(one))) for name, one in resources.items()}
        read = {name: loads(self._read(place, JSON)) for name, place in first.items()}
        xml = {name: self._read(place, XML) for name, place in first.items()}
        second = {name: self._write(kinds[name], XML, body) for name, body in xml.items()}
        again = {name: loads(self._read(place, JSON)) for name, place in second.items()}
        for name, resource in resources.items():
            assert content(self._whole(read[name], resource)) == content(resource), name
            assert without_narrative(to_json(xml[name])) == without_narrative(read[name]), name
            assert without_narrative(content(again[name])) == without_narrative(content(read[name])), name

    def _named(self, resource: Resource) -> Resource:
        """A Patient becomes the record's one."""
        return resource | {"id": self._patient} if resource["resourceType"] == "Patient" else resource

    def _write(self, kind: str, media_type: str, body: bytes) -> str:
        """Where it is. All but the Patient is new."""
        method, place = ("PUT", f"{kind}/{self._patient}") if kind == "Patient" else ("POST", kind)
        headers = self._owner | {"Content-Type": media_type, "Prefer": "return=minimal"}
        answer = self._http.request(method, f"/fhir/{place}", content=body, headers=headers)
        assert answer.status_code in (200, 201), f"{kind}: {answer.text[:500]}"
        return answer.headers["location"].partition("/_history")[0]

    def _read(self, place: str, media_type: str) -> bytes:
        answer = self._http.get(place, headers=self._owner | {"Accept": media_type})
        assert answer.status_code == 200, answer.text
        return answer.content

    def _whole(self, read: Resource, written: Resource) -> Resource:
        """With long attachments in their places again, which the service keeps as Binaries."""
        whole: Resource = loads(dumps(read))
        for mine, theirs in zip(attachments(whole), attachments(written), strict=True):
            if "data" in theirs and "data" not in mine:
                binary = self._http.get(f"/fhir/{mine.pop('url')}", headers=self._owner | {"Accept": "*/*"})
                mine["data"] = base64.b64encode(binary.content).decode()
                if "size" not in theirs:
                    del mine["size"]
        return whole
