"""An owner takes over a card and a link in the browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.api.http_world import HttpWorld
from tests.api.receiver import RIGHT, share
from tests.portal.browsing import sign_in, wrong_with
from tests.sharing.cards import PUBLISHED, signed


def take(page: Page, text: str, passcode: str = "") -> None:
    page.get_by_label("Link, Karte oder Text").fill(text)
    page.get_by_label("Geheimzahl").fill(passcode)
    page.get_by_role("button", name="Übernehmen").click()


def test_a_card_is_taken_over_once(page: Page, axe: str) -> None:
    sign_in(page)
    page.get_by_role("link", name="Etwas mitbringen").click()
    assert wrong_with(page, axe) == []
    card = f'{{"verifiableCredential": ["{signed()}"]}}'
    take(page, card)
    expect(page.get_by_role("status")).to_contain_text("Übernommene Einträge: 1")
    expect(page.get_by_role("status")).to_contain_text("ließ sich nicht prüfen")
    assert wrong_with(page, axe) == []
    take(page, card)
    expect(page.get_by_role("status")).to_contain_text("schon einmal übernommen")


def test_what_is_about_somebody_else_or_of_no_form_is_not_taken(page: Page) -> None:
    sign_in(page, at="/app/bring")
    for text in (PUBLISHED["code"], "{", "shc:/12", "shlink:/e30", "irgendetwas"):
        take(page, text)
        expect(page.get_by_role("alert")).to_contain_text("Es wurde nichts geändert")
    expect(page.get_by_label("Link, Karte oder Text")).to_have_value("irgendetwas")


def test_a_link_is_taken_over(page: Page, world: HttpWorld) -> None:
    world.service.web._loopback = True  # a link of this service's own
    sign_in(page, at="/app/bring")
    take(page, share(world, form="collection", sections=["results"], passcode=RIGHT)["address"], RIGHT)
    expect(page.get_by_role("status")).to_contain_text("Niemand hat das unterschrieben")
