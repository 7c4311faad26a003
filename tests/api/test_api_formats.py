"""The form of answers and bodies: JSON and XML, pretty, packed, conditional; what cannot be had is refused by name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping

import brotli
import pytest
import zstandard

from fhir_profiles.text import loads
from fhir_profiles.xml import to_json, to_xml
from tests.api.http_world import HttpWorld, consent

JSON, XML = "application/fhir+json", "application/fhir+xml"

WANTED: tuple[tuple[str, str, str], ...] = (
    ("", "", JSON),
    ("", "*/*", JSON),
    ("", "application/json", JSON),
    ("", "application/fhir+xml", XML),
    ("", "text/xml;q=0.9, application/fhir+json;q=0.5", XML),
    ("", "application/xml;q=0.1, application/*", JSON),
    ("", "application/fhir+json; fhirVersion=4.0", JSON),
    ("", "application/fhir+json; fhirVersion=3.0, */*;q=0.1", JSON),
    ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", XML),
    ("_format=xml", JSON, XML),
    ("_format=application/fhir+xml", "", XML),
    ("_format=application/fhir%2Bxml", "text/html", XML),
    ("_format=json", XML, JSON),
    ("_format=application/json;fhirVersion=4.0", XML, JSON),
)


@pytest.mark.parametrize(("query", "accept", "media_type"), WANTED)
def test_an_answer_has_the_form_that_is_asked_for(shared: HttpWorld, query: str, accept: str, media_type: str) -> None:
    patient = shared.patients["erika"]
    answer = shared.get(f"/fhir/Patient/{patient}?{query}", shared.owner() | ({"Accept": accept} if accept else {}))
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), answer.text
    assert (to_json if media_type == XML else loads)(answer.content)["id"] == patient


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("_format=turtle", ""),
        ("_format=application/fhir+json;fhirVersion=5.0", ""),
        ("", "text/turtle"),
        ("", "application/fhir+json;q=0"),
        ("", "application/fhir+json; fhirVersion=3.0"),
        ("", "nonsense"),
    ],
)
def test_a_form_that_is_not_served_is_not_acceptable(shared: HttpWorld, query: str, accept: str) -> None:
    answer = shared.get(f"/fhir/Observation?{query}", shared.owner() | ({"Accept": accept} if accept else {}))
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (406, "not-supported")


def test_every_page_is_the_same_in_both_forms_its_numbers_as_written(shared: HttpWorld) -> None:
    for path in (
        f"/fhir/Patient/{shared.patients['erika']}/$everything",
        "/fhir/Observation?_count=2",
        "/fhir/metadata",
    ):
        as_json = shared.get(path, shared.owner())
        as_xml = shared.get(path, shared.owner() | {"Accept": XML})
        assert as_xml.headers["content-type"] == XML
        assert _without_page(to_json(as_xml.content)) == _without_page(loads(as_json.content))


def test_pretty_is_the_same_for_people(shared: HttpWorld) -> None:
    path = f"/fhir/Patient/{shared.patients['erika']}"
    for form, read in ((JSON, loads), (XML, to_json)):
        plain = shared.get(path, shared.owner() | {"Accept": form}).content
        pretty = shared.get(f"{path}?_pretty=true", shared.owner() | {"Accept": form}).content
        assert pretty.count(b"\n  ") > 3
        assert read(pretty) == read(plain)
    assert shared.get(f"{path}?_pretty=yes", shared.owner()).status_code == 400


def test_an_error_has_the_form_too(shared: HttpWorld) -> None:
    for path, status in (("/fhir/Observation?date=x", 400), ("/fhir/Observation/none", 404), ("/fhir/nowhere", 404)):
        answer = shared.get(path, shared.token("praxis") | {"Accept": XML})
        assert answer.status_code == status
        assert to_json(answer.content)["resourceType"] == "OperationOutcome"


def test_the_form_of_a_search_by_post_may_stand_in_its_body(shared: HttpWorld) -> None:
    form = {"patient": shared.patients["erika"], "_format": "xml"}
    answer = shared.http.post("/fhir/Observation/_search", data=form, headers=shared.owner())
    assert to_json(answer.content)["type"] == "searchset"


def test_a_resource_is_taken_as_xml(fresh: HttpWorld) -> None:
    told = to_xml(consent(fresh.patients["berta"], "labor"))
    headers = fresh.owner("berta") | {"Content-Type": f"{XML}; charset=UTF-8", "Accept": XML}
    answer = fresh.http.post("/fhir/Consent", content=told, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (201, XML)
    assert to_json(answer.content)["patient"] == {"reference": f"Patient/{fresh.patients['berta']}"}


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<", 400),
        (b"<Consent/>", 400),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><Consent xmlns="http://hl7.org/fhir"/>', 400),
        (b'<Consent xmlns="http://hl7.org/fhir"><status value="active"><b/></status></Consent>', 400),
        (b'<Citation xmlns="http://hl7.org/fhir"/>', 400),
        (b'<Consent xmlns="http://hl7.org/fhir"/>', 422),
        (b"<a>" * 100_000, 400),
        (b"\xff\xfe", 400),
    ],
)
def test_bad_xml_is_refused(shared: HttpWorld, body: bytes, status: int) -> None:
    answer = shared.http.post("/fhir/Consent", content=body, headers=shared.owner() | {"Content-Type": XML})
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", f"{JSON}; charset=latin-1", f"{JSON}; fhirVersion=5.0", "application/x-www-form-urlencoded"],
)
def test_a_body_of_another_kind_is_refused(shared: HttpWorld, media_type: str) -> None:
    headers = shared.owner() | {"Content-Type": media_type}
    answer = shared.http.post("/fhir/Consent", content=b"{}", headers=headers)
    assert (answer.status_code, "accept-encoding" in answer.headers) == (415, False)


@pytest.mark.attack(46)
def test_what_is_sent_packed_is_refused_before_it_is_read(shared: HttpWorld) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    headers = shared.owner() | {"Content-Type": JSON, "Content-Encoding": "gzip"}
    answer = shared.http.post("/fhir/Consent", content=bomb, headers=headers)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "zstd": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
    "br": brotli.decompress,
    "gzip": lambda packed: zlib.decompress(packed, wbits=31),
}
ACCEPTED = (
    ("gzip", "gzip"),
    ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br"),
    ("gzip, deflate, br, zstd", "zstd"),
    ("*", "zstd"),
    ("zstd;q=0, *", "br"),
    ("identity", ""),
    ("gzip;q=0.2, identity;q=0.9", ""),
    ("gzip;q=0", ""),
    ("compress", ""),
    ("", ""),
    (";;,q=", ""),
)


@pytest.mark.parametrize(("accepted", "coding"), ACCEPTED)
def test_an_answer_is_packed_as_the_caller_likes_it_best(shared: HttpWorld, accepted: str, coding: str) -> None:
    path = "/fhir/metadata"
    bare = shared.get(path, {"Accept-Encoding": "identity"}).content
    with shared.http.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding", "") == coding
    assert UNPACK.get(coding, bytes)(packed) == bare


def test_what_is_small_or_not_below_fhir_stays_as_it_is(shared: HttpWorld) -> None:
    for path in (f"/fhir/Observation?_count=0&patient={shared.patients['erika']}", "/app/connections"):
        answer = shared.get(path, shared.owner() | {"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers


def test_who_has_the_newest_version_is_told_so(shared: HttpWorld) -> None:
    path, caller = f"/fhir/Patient/{shared.patients['erika']}", shared.owner()
    headers = shared.get(path, caller).headers
    tag, when = headers["etag"], headers["last-modified"]
    has: dict[tuple[str, str], int] = {
        ("If-None-Match", tag): 304,
        ("If-None-Match", tag.removeprefix("W/")): 304,
        ("If-None-Match", f'"x", {tag}'): 304,
        ("If-None-Match", "*"): 304,
        ("If-None-Match", 'W/"99"'): 200,
        ("If-Modified-Since", when): 304,
        ("If-Modified-Since", "Fri, 20 Nov 2026 20:30:00 GMT"): 200,
        ("If-Modified-Since", "yesterday"): 200,
    }
    for (name, value), status in has.items():
        answer = shared.get(path, caller | {name: value})
        assert (answer.status_code, answer.headers["etag"]) == (status, tag), (name, value)
        assert (answer.content == b"") == (status == 304)
    both = {"If-None-Match": 'W/"99"', "If-Modified-Since": when}
    assert shared.get(path, caller | both).status_code == 200


def test_wrong_methods_are_told_the_right_ones(shared: HttpWorld) -> None:
    for method, path, allowed in (
        ("DELETE", "/fhir/metadata", "GET, HEAD"),
        ("PUT", "/fhir", "GET, HEAD, POST"),
        ("PUT", "/fhir/Observation/_search", "POST"),
        ("TRACE", "/fhir/metadata", "GET, HEAD"),
    ):
        answer = shared.http.request(method, path)
        assert answer.status_code == 405
        assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", ")), (method, path)
        assert answer.json()["issue"][0]["code"] == "not-supported"
    answer = shared.http.options("/fhir/Observation")
    assert (answer.status_code, answer.content) == (204, b"")
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["allow"].split(", "))


def test_head_is_a_get_without_its_body(shared: HttpWorld) -> None:
    for path in (f"/fhir/Patient/{shared.patients['erika']}", "/fhir/metadata", "/fhir/Observation?_count=1"):
        head = shared.http.head(path, headers=shared.owner())
        assert (head.status_code, head.content) == (200, b"")


def _without_page(bundle: dict[str, object]) -> dict[str, object]:
    """A page link is sealed anew each time."""
    return {name: value for name, value in bundle.items() if name != "link"}
