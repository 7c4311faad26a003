"""Answers and refusals over HTTP: status, form, headers; nothing gives a 500."""

from __future__ import annotations

import pytest

from fhir_profiles.check import check
from fhir_profiles.text import loads
from tests.api.http_world import HttpWorld, consent
from tests.weaken import weakens

REFUSALS = (
    ("/fhir/Nonsense", 404),
    ("/fhir/Nonsense/x", 404),
    ("/fhir/Observation?code:below=x", 400),
    ("/fhir/Observation?date=yesterday", 400),
    ("/fhir/Observation?_count=many", 400),
    ("/fhir/Observation?_page=AAAA", 400),
    ("/fhir/Observation?_page=%FF%00", 400),
    ("/fhir/Observation?patient=a.b,c.d", 400),
    ("/fhir/Observation?" + "&".join(f"a{n}=1" for n in range(300)), 400),
    ("/fhir/Observation/../../etc/passwd", 404),
    ("/fhir/Observation/%00", 404),
    ("/fhir?_type=Nonsense", 400),
    ("/fhir/Observation?_filter=x", 400),
    ("/fhir/Observation?subject.name.family.given.a.b=x", 400),
    ("/fhir/Observation?_include=Observation:code", 400),
    ("/fhir/_search", 405),
    ("/nowhere", 404),
)


@pytest.mark.parametrize(("path", "status"), REFUSALS)
def test_each_refusal_is_an_outcome_with_its_status(shared: HttpWorld, path: str, status: int) -> None:
    answer = shared.get(path, shared.token("praxis"))
    assert answer.status_code == status, answer.text
    outcome = loads(answer.content)
    assert outcome["resourceType"] == "OperationOutcome"
    assert [issue for issue in check(outcome) if issue.severity == "error"] == []


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}]
)
def test_without_a_right_token_nothing_is_said(shared: HttpWorld, header: dict[str, str]) -> None:
    for path in ("/fhir/Observation", f"/fhir/Patient/{shared.patients['erika']}", "/app/connections"):
        answer = shared.get(path, header)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["issue"][0]["code"] == "login"


@pytest.mark.attack(44, 47)
def test_every_answer_forbids_caching_framing_and_referers(shared: HttpWorld) -> None:
    for path in ("/fhir/metadata", "/nowhere", f"/fhir/Patient/{shared.patients['erika']}", "/healthz"):
        headers = shared.get(path, shared.owner()).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_read_names_version_and_time(shared: HttpWorld) -> None:
    answer = shared.get(f"/fhir/Patient/{shared.patients['erika']}", shared.owner())
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"] == "Sat, 21 Nov 2026 20:30:00 GMT"
    assert answer.headers["content-type"] == "application/fhir+json"


@pytest.mark.attack(42)
@weakens("aggregator.fhir.search", "types", lambda resource_type, *_: frozenset({resource_type}))
def test_a_search_looks_at_no_type_that_the_token_does_not_open(shared: HttpWorld) -> None:
    caller, whole = shared.token("praxis", "system/Observation.rs"), shared.patients["erika"]
    opened = ("/Observation?_count=1", "?_type=Observation", f"/Patient/{whole}/Observation")
    assert {path: shared.get(f"/fhir{path}", caller).status_code for path in opened} == dict.fromkeys(opened, 200)
    closed = (
        *("?_type=Observation,Patient", "", f"/Patient/{whole}/*"),
        *("/Observation?subject:Patient.family=x", "/Observation?_has:DiagnosticReport:result:code=x"),
        *("/Observation?_include=Observation:subject:Patient", "/Observation?_include=*"),
        "/Observation?_revinclude=Condition:subject",
    )
    assert {path: shared.get(f"/fhir{path}", caller).status_code for path in closed} == dict.fromkeys(closed, 403)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{", "application/fhir+json", 400),
        (b'{"resourceType":"Consent","resourceType":"Consent"}', "application/fhir+json", 400),
        (b"[]", "application/fhir+json", 400),
        (b'{"resourceType":"Patient"}', "application/fhir+json", 422),
        (b'{"resourceType":"Consent"}', "application/fhir+json", 422),
        (b"<Consent/>", "application/fhir+xml", 400),
        (b"a: Consent", "application/yaml", 415),
        (b"[" * 100_000, "application/fhir+json", 400),
        (b'{"resourceType":"' + b"x" * 3_000_000 + b'"}', "application/fhir+json", 413),
        (b'{"resourceType":"Consent","status":"\\ud800"}', "application/fhir+json", 400),
        (b"\xff\xfe", "application/fhir+json", 400),
    ],
)
@pytest.mark.attack(46)
def test_a_bad_consent_is_refused(shared: HttpWorld, body: bytes, media_type: str, status: int) -> None:
    headers = shared.owner() | {"Content-Type": media_type}
    answer = shared.http.post("/fhir/Consent", content=body, headers=headers)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


BASIC = b'{"resourceType":"Basic","code":{"text":"x"}}'
XML_BASIC = b'<Basic xmlns="http://hl7.org/fhir"><colour value="red"/></Basic>'

PLACES: dict[str, tuple[str, str, bytes | None, dict[str, str], str]] = {
    "a value": ("GET", "Observation?date=yesterday", None, {}, "http.date"),
    "a modifier": ("GET", "Observation?code:below=1", None, {}, "http.code:below"),
    "an unknown parameter": ("GET", "Observation?colour=red", None, {"Prefer": "handling=strict"}, "http.colour"),
    "a form": ("GET", "Observation?_format=yaml", None, {}, "http._format"),
    "what is accepted": ("GET", "Observation", None, {"Accept": "image/png"}, "http.Accept"),
    "what has changed": ("PUT", "Basic?code=a", BASIC, {"If-Match": 'W/"3"'}, "http.If-Match"),
    "a version": ("PUT", "Basic?code=a", BASIC, {"If-Match": "3"}, "http.If-Match"),
    "a media type": ("POST", "Observation", b"a", {"Content-Type": "text/plain"}, "http.Content-Type"),
    "a condition": ("DELETE", "Observation?date=yesterday", None, {}, "http.date"),
    "an element": ("POST", "Observation", b'{"resourceType":"Observation","status":"final"}', {}, "Observation.code"),
    "an element of XML": ("POST", "Basic", XML_BASIC, {"Content-Type": "application/fhir+xml"}, "Basic.colour"),
    "a Consent's": ("POST", "Consent", b'{"resourceType":"Consent","status":"a"}', {}, "Consent.status"),
    "a Bundle's": ("POST", "", b'{"resourceType":"Bundle","type":"history"}', {}, "Bundle.type"),
    "a Bundle's condition": ("POST", "", b"{}", {"If-None-Exist": "code=a"}, "http.If-None-Exist"),
    "an operation's": (
        "POST",
        "Observation/$lastn",
        b'{"resourceType":"Parameters","parameter":{}}',
        {},
        "Parameters.parameter",
    ),
}


@pytest.mark.parametrize(("method", "path", "body", "headers", "place"), PLACES.values(), ids=PLACES)
def test_what_is_wrong_is_told_by_its_place(
    shared: HttpWorld, method: str, path: str, body: bytes | None, headers: dict[str, str], place: str
) -> None:
    told = shared.owner() | {"Content-Type": "application/fhir+json"} | headers
    answer = shared.http.request(method, f"/fhir/{path}", content=body, headers=told)
    assert [one["expression"] for one in answer.json()["issue"]][:1] == [[place]]


def test_only_the_owner_signs(shared: HttpWorld) -> None:
    told = consent(shared.patients["erika"], "praxis")
    assert shared.http.post("/fhir/Consent", json=told, headers=shared.token("praxis")).status_code == 403
    other = consent(shared.patients["berta"], "praxis")
    assert shared.http.post("/fhir/Consent", json=other, headers=shared.owner()).status_code == 422


def test_a_search_by_post_keeps_the_query_out_of_the_url(shared: HttpWorld) -> None:
    form = {"patient": shared.patients["erika"], "code": "http://loinc.org|4548-4"}
    answer = shared.http.post("/fhir/Observation/_search", data=form, headers=shared.token("labor"))
    assert answer.json()["total"] == 2


def test_a_search_over_several_records_goes_from_one_to_the_next(fresh: HttpWorld) -> None:
    fresh.consent("labor", "berta")
    caller, url, seen, pages = fresh.token("labor"), "/fhir/Observation?_count=2", [], 0
    while url:
        bundle = fresh.get(url, caller).json()
        seen += [entry["resource"]["id"].partition(".")[0] for entry in bundle.get("entry", [])]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        pages += 1
    vaults = {fresh.patients[login].partition(".")[0]: number for login, number in (("erika", 3), ("berta", 1))}
    assert {vault: seen.count(vault) for vault in vaults} == vaults
    assert pages == 3
