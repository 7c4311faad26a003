"""An owner brings along what somebody's SMART Health Link leads to, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aggregator.sharing import encrypted_file, link
from aggregator.sharing.link import Link
from connectors.contract import Transient
from fhir_profiles.profiles import VERIFICATION_URL
from tests.api.http_world import HttpWorld
from tests.api.receiver import RIGHT, WRONG, share
from tests.sharing.cards import PUBLISHED, signed
from tests.weaken import weakens

ELSEWHERE = Link(url="https://elsewhere.example/shl/1", key=bytes(range(32)))


def bring(world: HttpWorld, text: str, **more: Any) -> httpx.Response:
    return world.http.post("/app/received", json={"link": text, "recipient": "Erika"} | more, headers=world.owner())


def told(answer: httpx.Response) -> str:
    return str(answer.json()["issue"][0]["diagnostics"])


@pytest.fixture
def loopback(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> HttpWorld:
    """This machine may be asked, so that a link of this service's own can be opened."""
    monkeypatch.setattr(fresh.service.web, "_loopback", True)
    return fresh


@pytest.fixture
def elsewhere(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Link]:
    """A service of others', which answers one link with these files."""

    def serve(*files: dict[str, str], flag: str = "") -> Link:
        manifest = json.dumps({"files": list(files)}).encode()
        monkeypatch.setattr(fresh.service.web, "post", lambda *_, **__: manifest)
        return Link(url=ELSEWHERE.url, key=ELSEWHERE.key, flag=flag)

    return serve


def file(content: Any, media_type: str = encrypted_file.FHIR_JSON, key: bytes = ELSEWHERE.key) -> dict[str, str]:
    jwe = encrypted_file.encrypt(key, json.dumps(content).encode(), media_type)
    return {"contentType": media_type, "embedded": jwe}


def allergy(**more: Any) -> dict[str, Any]:
    active = {"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}
    said = {"resourceType": "AllergyIntolerance", "id": "a", "clinicalStatus": {"coding": [active]}}
    return said | {"code": {"text": "Erdbeeren"}, "patient": {"reference": "Patient/p"}} | more


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {"fullUrl": f"https://e.example/{one['resourceType']}/{one['id']}", "resource": one} for one in resources
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1957-08-13"}


@pytest.mark.parametrize("wish", [{}, {"direct": True}, {"passcode": RIGHT}])
def test_a_link_of_this_form_is_opened_and_taken(loopback: HttpWorld, wish: dict[str, Any]) -> None:
    made = share(loopback, form="collection", sections=["identity", "results"], **wish)
    passcode = {"passcode": RIGHT} if "passcode" in wish else {}
    answer = bring(loopback, made["address"], **passcode)
    assert answer.status_code == 201, answer.text
    (got,) = answer.json()["received"]
    assert (got["result"], got["known"]) == ("unsigned", False)
    assert got["issuer"].startswith("127.0.0.1")
    assert {name.partition("/")[0] for name in got["resources"]} == {"Observation", "Organization", "Practitioner"}


def test_a_wrong_passcode_is_told(loopback: HttpWorld) -> None:
    made = share(loopback, passcode=RIGHT)
    answer = bring(loopback, made["link"], passcode=WRONG)
    assert (answer.status_code, told(answer)) == (
        400,
        "the link does not open: it has ended, the passcode is wrong, or nobody answers",
    )


@pytest.mark.attack(43)
@weakens("connectors.fetch.Fetcher", "_pinned", lambda _, url: url.host)
def test_a_link_into_this_machines_network_is_not_asked(fresh: HttpWorld) -> None:
    made = share(fresh)
    assert bring(fresh, made["link"]).status_code == 400
    (one,) = fresh.get("/app/links", fresh.owner()).json()["links"]
    assert one["state"] == "open"


def test_what_it_holds_is_the_owners_own_and_points_to_the_owners_patient(
    fresh: HttpWorld, elsewhere: Callable[..., Link]
) -> None:
    made = elsewhere(file(bundle(PATIENT, allergy())))
    (got,) = bring(fresh, made.text()).json()["received"]
    one = fresh.get(f"/fhir/{got['resources'][0]}", fresh.owner()).json()
    assert one["patient"]["reference"] == f"Patient/{fresh.patients['erika']}"
    assert one["meta"]["extension"] == [
        {"url": VERIFICATION_URL, "valueString": "unsigned: whoever made the link says so, and nobody has signed it"}
    ]
    (again,) = bring(fresh, made.text()).json()["received"]
    assert (again["known"], again["resources"]) == (True, [])


def test_a_card_behind_a_link_is_checked_as_a_card(fresh: HttpWorld, elsewhere: Callable[..., Link]) -> None:
    made = elsewhere(file({"verifiableCredential": [signed()]}, encrypted_file.HEALTH_CARD))
    (got,) = bring(fresh, made.text()).json()["received"]
    assert (got["result"], len(got["resources"])) == ("unchecked", 1)


def test_of_several_files_all_are_taken_or_none(fresh: HttpWorld, elsewhere: Callable[..., Link]) -> None:
    wrong = file({"verifiableCredential": [PUBLISHED["card"]]}, encrypted_file.HEALTH_CARD)
    made = elsewhere(file(bundle(PATIENT, allergy())), wrong)
    assert "another date of birth" in told(bring(fresh, made.text()))
    assert fresh.get("/fhir/AllergyIntolerance", fresh.owner()).json()["total"] == 0


@pytest.mark.attack(11, 46)
@pytest.mark.parametrize(
    "files",
    [
        [],
        [{}],
        [{"embedded": 7}],
        [file(bundle(PATIENT))] * 11,
        [file(bundle(PATIENT), "application/smart-api-access")],
        [file(bundle(PATIENT), key=bytes(32))],
        [file([])],
        [file({"resourceType": "Bundle", "entry": [{}]})],
        [file({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": 7}}]})],
        [{"embedded": "x.y.z"}],
    ],
    ids=map(str, range(10)),
)
def test_what_is_not_of_the_form_is_refused(
    fresh: HttpWorld, elsewhere: Callable[..., Link], files: list[dict[str, str]]
) -> None:
    assert bring(fresh, elsewhere(*files).text()).status_code == 400


@pytest.mark.parametrize("text", ["shlink:/", "https://example.org", link.SCHEME + "e30"])
def test_what_is_no_link_is_refused(shared: HttpWorld, text: str) -> None:
    assert told(bring(shared, text)) == "this is no SMART Health Link"


def test_nobody_answers(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> bytes:
        raise Transient("nobody is there")

    monkeypatch.setattr(fresh.service.web, "post", nobody)
    assert bring(fresh, ELSEWHERE.text()).status_code == 400
