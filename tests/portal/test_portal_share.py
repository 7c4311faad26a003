"""A link is made in the owner's browser, and opened in that of somebody who has no account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from aggregator.sharing import encrypted_file, link
from aggregator.sharing.link import Link
from tests.api.http_world import HttpWorld
from tests.api.receiver import PRACTICE, RIGHT, WRONG, receive, share
from tests.portal.browsing import sign_in, speak, wrong_with
from tests.weaken import weakens


def open_as(page: Page, address: str, passcode: str = "") -> None:
    """Somebody opens a link: a new page, as from a QR code."""
    page.goto("about:blank")
    page.goto(address)
    page.get_by_label("Ihr Name oder Ihre Praxis").fill(PRACTICE)
    if passcode:
        page.get_by_label("Geheimzahl").fill(passcode)
    page.get_by_role("button", name="Öffnen").click()


def test_an_owner_makes_a_link_and_somebody_opens_it(page: Page, world: HttpWorld, axe: str) -> None:
    sign_in(page)
    page.get_by_role("link", name="Links für andere").click()
    page.get_by_role("link", name="Neuer Link").click()
    assert wrong_with(page, axe) == []
    page.get_by_label("Wofür ist der Link?").fill("Für die Kur")
    page.get_by_label("Geheimzahl").fill("123")
    page.get_by_role("button", name="Link erstellen").click()
    expect(page.get_by_role("alert")).to_contain_text("6 bis 64 Zeichen")
    expect(page.get_by_label("Wofür ist der Link?")).to_have_value("Für die Kur")
    page.get_by_label("Geheimzahl").fill(RIGHT)
    page.get_by_role("button", name="Link erstellen").click()
    expect(page.get_by_role("img", name="Der Link als QR-Code")).to_be_visible()
    assert wrong_with(page, axe) == []
    address = page.get_by_label("Der Link als Text").input_value()
    assert address.startswith(f"{world.service.base_url}/app/share/view#shlink:/")

    page.goto("/app/share")
    expect(page.get_by_role("heading", name="Für die Kur")).to_be_visible()
    assert wrong_with(page, axe) == []
    open_as(page, address, WRONG)
    expect(page.get_by_role("status")).to_contain_text("Noch 4 Versuche")
    page.get_by_label("Geheimzahl").fill(RIGHT)
    page.get_by_role("button", name="Öffnen").click()
    expect(page.locator(".who")).to_have_text("Erika Muster, 1957-08-13")
    expect(page.locator(".section table").first).to_be_visible()
    assert "#" not in page.url
    assert wrong_with(page, axe) == []
    speak(page, "English")
    expect(page.get_by_role("status")).to_contain_text("leads nowhere")

    page.goto("/app/share")
    page.get_by_role("button", name="End").last.click()
    expect(page.get_by_role("heading", name="Für die Kur")).to_have_count(0)
    page.goto("about:blank")
    page.goto(address)
    page.get_by_label("Your name or your practice").fill(PRACTICE)
    page.get_by_label("Passcode").fill(RIGHT)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("status")).to_contain_text("leads nowhere")


@pytest.mark.attack(44)
@weakens(
    "aggregator.sharing.shares.Shares",
    "viewer",
    lambda self, made: f"{self._base_url}/app/share/view?{made.link.text()}",
)
def test_the_key_is_in_no_request_of_the_browser(page: Page, world: HttpWorld) -> None:
    made, told = share(world, form="collection"), list[str]()
    key = receive(world, made).payload["key"]

    def note(request: Request) -> None:
        told.append(f"{request.url} {request.post_data or ''} {json.dumps(request.all_headers())}")

    page.on("requestfinished", note)
    page.goto(made["address"])
    assert not [one for one in told if made["link"].rpartition("/")[2] in one or key in one]
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    page.get_by_label("Ihr Name oder Ihre Praxis").fill(PRACTICE)
    page.get_by_role("button", name="Öffnen").click()
    expect(page.locator("#shown li").filter(has_text="Messwert oder Befund").first).to_be_visible()
    assert not [one for one in told if key in one]
    assert not any("referer" in one and "shlink" in one for one in told)


def test_a_direct_link_and_one_for_one_opening(page: Page, world: HttpWorld) -> None:
    open_as(page, share(world, direct=True)["address"])
    expect(page.locator(".who")).to_be_visible()
    once = share(world, once=True)["address"]
    open_as(page, once)
    expect(page.locator(".who")).to_be_visible()
    open_as(page, once)
    expect(page.get_by_role("status")).to_contain_text("führt nirgends hin")


@pytest.mark.parametrize("text", ["", "shlink:/", "shlink:/e30", "shlink:/!"])
def test_what_is_no_link_asks_for_nothing(page: Page, text: str) -> None:
    page.goto(f"/app/share/view#{text}")
    expect(page.get_by_role("status")).to_contain_text("führt nirgends hin")
    expect(page.get_by_role("button", name="Öffnen")).to_have_count(0)


HOSTILE = """<div xmlns="http://www.w3.org/1999/xhtml"><script>document.title = "ours"</script>
<style>body { display: none }</style><p onclick="alert(1)" style="position:fixed">Penicillin</p>
<img src="https://elsewhere.example/pixel" onerror="document.title = 'ours'"/><a href="javascript:alert(1)">mehr</a>
<svg xmlns="http://www.w3.org/2000/svg" onload="document.title = 'ours'"/><iframe src="/app"/>
<form action="https://elsewhere.example"><input name="passcode"/></form></div>"""


def hostile(world: HttpWorld, div: str) -> tuple[str, str]:
    """A link of this house's form, and the manifest that is answered for it."""
    made = Link(url=f"{world.service.base_url}/shl/{'x' * 43}", key=bytes(range(32)), label="<b onclick='x'>Kur</b>")
    section = {"title": "<img src=x onerror=alert(1)>Allergien", "text": {"status": "generated", "div": div}}
    patient = {"resourceType": "Patient", "name": [{"text": "<script>alert(1)</script>"}]}
    resources: list[dict[str, Any]] = [{"resourceType": "Composition", "section": [section]}, patient]
    bundle = {"resourceType": "Bundle", "type": "document", "entry": [{"resource": one} for one in resources]}
    jwe = encrypted_file.encrypt(made.key, json.dumps(bundle).encode())
    address = f"{world.service.base_url}/app/share/view#{made.text()}"
    return address, json.dumps({"files": [{"contentType": encrypted_file.FHIR_JSON, "embedded": jwe}]})


@pytest.mark.attack(45)
@pytest.mark.parametrize("div", [HOSTILE, HOSTILE.replace("</p>", "")])
def test_nothing_in_what_was_received_runs_or_is_fetched(page: Page, world: HttpWorld, div: str) -> None:
    address, manifest = hostile(world, div)

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=manifest)

    page.route("**/shl/*", answer)
    open_as(page, address)
    expect(page.locator(".who")).to_have_text("<script>alert(1)</script>")
    expect(page.get_by_role("heading", level=2)).to_have_text("<img src=x onerror=alert(1)>Allergien")
    expect(page.get_by_text("Penicillin")).to_be_visible()
    inside = "[...document.querySelectorAll('#shown *')].flatMap(one => [one.localName, ...one.getAttributeNames()])"
    assert set(page.evaluate(inside)) <= {"p", "h2", "div", "class"}
    assert "ours" not in page.title()
    assert page.locator("#label").text_content() == "<b onclick='x'>Kur</b>"


@pytest.mark.attack(11)
def test_a_file_under_another_cipher_is_not_opened(page: Page, world: HttpWorld) -> None:
    address, manifest = hostile(world, HOSTILE)
    told = json.loads(manifest)
    top, *rest = told["files"][0]["embedded"].split(".")
    header = json.loads(link.decoded(top)) | {"enc": "A128GCM"}
    told["files"][0]["embedded"] = ".".join((link.encoded(json.dumps(header).encode()), *rest))
    page.route("**/shl/*", lambda route: route.fulfill(content_type="application/json", body=json.dumps(told)))
    open_as(page, address)
    expect(page.get_by_role("status")).to_contain_text("nicht entschlüsseln")
